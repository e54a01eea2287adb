"""`kt policy waive` and `kt policy schema`: a waiver is one line more in a file that keeps all it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from forge import ROSTER
from hypothesis import given
from hypothesis import strategies as st
from lab import Lab, Ran, git, kt, kt_policy
from proposals import branches, merge
from schema_faults import faults
from strategies import texts

from kt_escalation.policies.policy_file import WAIVERS
from kt_escalation.policies.policy_set import assemble
from kt_escalation.storage import yaml_parser, yaml_text

GOOD = "queue/esc_one.yaml"
TOP = Path(__file__).parent.parent


@pytest.fixture
def store(lab: Lab) -> Lab:
    """A store with a roster, and a record that Alice has changed by hand."""
    lab.put({"policies/roster.yaml": ROSTER})
    gateway, alice = lab.clone("gateway", email="gw@example.com"), lab.folder / "by-hand"
    assert kt("raise", "--request-id", "one", "--reason-code", "a.b", cwd=gateway).code == 0
    lab.clone("by-hand", email="alice@example.com")
    text = (alice / GOOD).read_text()
    (alice / GOOD).write_text(text.replace("severity: medium", "severity: low"))
    git("commit", "--quiet", "--all", "-m", "lower", cwd=alice)
    git("push", "--quiet", "origin", "HEAD:main", cwd=alice)
    return lab


def waive(clone: Path, *more: str, commit: str = "", rule: str = "transition", path: str = GOOD) -> Ran:
    named = ["--commit", commit or git("rev-parse", "origin/main", cwd=clone), "--rule", rule, "--path", path]
    return kt_policy("waive", *named, "--reason", "It was 'low': #1", "--json", *more, cwd=clone)


def test_an_admin_accepts_what_verify_names_and_that_alone(store: Lab) -> None:
    boss = store.clone("boss")
    [found] = kt("verify", "--json", cwd=boss).json["violations"]
    again = {key: found[key] for key in ("commit", "rule", "path")}
    ran = waive(boss, **again)
    assert ran.code == 0
    assert ran.json == {
        "waiver": {**again, "reason": "It was 'low': #1"},
        "commit": store.tip(),
        "changed": True,
    }
    assert yaml.safe_load(store.file(WAIVERS)) == {"waivers": [ran.json["waiver"]]}
    assert store.commits()[0] == f"Waive transition of {found['commit'][:12]}"
    assert git("log", "-1", "--format=%b", "main", cwd=store.remote) == "    It was 'low': #1\n"
    assert git("status", "--porcelain", cwd=boss) == "", "the checkout came along"
    report = kt("verify", "--json", cwd=boss)
    assert report.code == 0
    assert [one["commit"] for one in report.json["waived"]] == [found["commit"]]
    tip = store.tip()
    repeat = waive(boss, **again)
    assert repeat.code == 0
    assert repeat.json["changed"] is False
    assert store.tip() == tip
    # Another file of the same commit is another violation.
    assert waive(boss, commit=found["commit"], path="queue/esc_two.yaml").json["changed"] is True
    assert kt_policy("lint", cwd=boss).code == 0


@pytest.mark.parametrize("who", ["alice", "eve", "gw", "mallory"])
def test_nobody_else_may(store: Lab, who: str) -> None:
    tip = store.tip()
    ran = waive(store.clone(who))
    assert (ran.code, ran.error["code"]) == (3, "not_allowed")
    assert store.tip() == tip


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"commit": "0123456789ab"}, "whole id"),
        ({"commit": "0" * 40}, "not a commit of the store branch"),
        ({"commit": "HEAD"}, "whole id"),
        ({"commit": "A" * 40}, "whole id"),
        ({"rule": "fork"}, "not a rule"),
        ({"rule": "trailers"}, "not a rule"),
        ({"path": ""}, "path"),
    ],
    ids=str,
)
def test_what_names_no_violation_is_refused(store: Lab, named: dict[str, str], words: str) -> None:
    tip, boss = store.tip(), store.clone("boss")
    if named.get("path") == "":
        ran = kt_policy(
            *("waive", "--commit", tip, "--rule", "tree", "--path", "", "--reason", "r", "--json"), cwd=boss
        )
    else:
        ran = waive(boss, **named)
    assert (ran.code, ran.error["code"]) == (2, "bad_input")
    assert words in ran.error["message"]
    assert store.tip() == tip


def test_a_commit_that_is_not_on_the_store_branch_is_refused(store: Lab) -> None:
    boss = store.clone("boss")
    git("commit", "--quiet", "--allow-empty", "-m", "beside", cwd=boss)
    tag = git("rev-parse", "HEAD", cwd=boss)
    git("tag", "-a", "-m", "t", "t", "HEAD~1", cwd=boss)
    for name in (tag, git("rev-parse", "t", cwd=boss), git("rev-parse", "HEAD^{tree}", cwd=boss)):
        ran = waive(boss, commit=name)
        assert (ran.code, ran.error["code"]) == (2, "bad_input"), name


@pytest.mark.parametrize("text", ["", "oops: 1\n", "waivers: [\n", "waivers: [{commit: 1}]\n", "- a\n"])
def test_a_file_that_cannot_be_read_is_left_as_it_is(store: Lab, text: str) -> None:
    store.put({WAIVERS: text})
    tip = store.tip()
    ran = waive(store.clone("boss"))
    assert (ran.code, ran.error["code"]) == (2, "broken_policies")
    assert WAIVERS in ran.error["message"]
    assert store.tip() == tip


def test_it_can_be_proposed_and_counts_when_it_is_merged(store: Lab) -> None:
    boss, bad = store.clone("boss"), store.tip()
    name = f"kt/waive/{bad[:12]}-transition"
    ran = waive(boss, "--branch", commit=bad)
    assert ran.code == 0
    assert ran.json["proposed"] is True
    assert ran.json["changed"] is False
    assert ran.json["branch"] == name
    assert branches(store) == {"main": bad, name: ran.json["commit"]}
    again = waive(boss, "--branch", commit=bad)
    assert again.json["commit"] == ran.json["commit"] == branches(store)[name], "it is there already"
    other = waive(boss, "--branch", name, commit=bad, path="queue/esc_two.yaml")
    assert (other.code, other.error["code"]) == (6, "branch_taken")
    # Once the policies have moved on it is made again, on top of them.
    store.put({"policies/settings.yaml": "rules: []\n"})
    fresh = waive(boss, "--branch", commit=bad)
    assert fresh.code == 0
    assert git("rev-parse", f"{name}^", cwd=store.remote) == store.tip()
    merge(store, name)
    assert waive(boss, commit=bad).json["changed"] is False


# --- the file ---------------------------------------------------------------------------------------

ITEM = {"commit": "0" * 40, "rule": "tree", "path": "queue/a: b", "reason": "x, {y} # z\nand more"}
ONE = f'{{commit: "{"1" * 40}", rule: tree, path: a, reason: b}}'
FILES = {
    "nothing": "",
    "an empty list": "waivers: []\n",
    "an empty list with words": "# why\nwaivers: []  # none\n# yet\n",
    "a block": f"waivers:\n  - {ONE}\n",
    "a block without a last line feed": f"waivers:\n  - {ONE}",
    "a block that is not indented": f"waivers:\n- {ONE}\n",
    "a block that is far in": f"---\n# a\nwaivers:\n      # b\n      - {ONE}  # c\n\n      # d\n",
    "a flow": f"waivers: [{ONE}]\n",
    "a flow with a comma": f"waivers: [{ONE}, ]  # d\n",
    "a flow in lines": f"waivers: [\n  # ü\n  {ONE},\n  {ONE} # c\n]\n",
    "all flow": f"{{waivers: [{ONE}]}}\n",
    "CRLF": f"waivers:\r\n  - {ONE}\r\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_file_keeps_its_lines_and_its_words(text: str) -> None:
    made = yaml_parser.with_item(text.encode(), "waivers", ITEM).decode()
    before = yaml_text.load_yaml(text.encode()).value["waivers"] if text else []
    assert yaml_text.load_yaml(made.encode()).value == {"waivers": [*before, ITEM]}
    kept = [line for line in text.splitlines() if line.strip() and "[]" not in line and "]" not in line]
    assert [line for line in made.splitlines() if line in kept] == kept
    assert [word for word in text.split() if word.startswith("#")] == [
        word for word in made.split() if word.startswith("#")
    ][: text.count("#")]
    assert assemble(None, {WAIVERS: yaml_text.policy_file(WAIVERS, made.encode())}).faults == ()


@pytest.mark.parametrize("text", ["{}\n", f"waivers:\n  - {ONE}\n...\n", "waivers: text\n", "a\n"])
def test_what_cannot_be_added_to_is_said_so(text: str) -> None:
    with pytest.raises(yaml_text.Malformed, match="by hand"):
        yaml_parser.with_item(text.encode(), "waivers", ITEM)


def test_a_file_does_not_grow_larger_than_one_may_be() -> None:
    text = f"waivers: []\n# {'x' * (256 * 1024 - 100)}\n"
    with pytest.raises(yaml_text.Malformed, match="larger than 256 KiB"):
        yaml_parser.with_item(text.encode(), "waivers", ITEM)


@given(
    st.sampled_from(sorted(FILES.values())), st.lists(texts(min_size=1, max_size=300), min_size=1, max_size=3)
)
def test_any_text_is_one_item_more(text: str, reasons: list[str]) -> None:
    data, wanted = text.encode(), yaml_text.load_yaml(text.encode()).value["waivers"] if text else []
    for reason in reasons:
        data = yaml_parser.with_item(data, "waivers", {**ITEM, "reason": reason})
        wanted = [*wanted, {**ITEM, "reason": reason}]
    assert yaml_text.load_yaml(data).value == {"waivers": wanted}


# --- schema -----------------------------------------------------------------------------------------

SOUND: dict[str, list[Any]] = {
    "roster": [{}, yaml.safe_load(ROSTER)],
    "settings": [
        {},
        {"claims": {"lease": "4h", "clock_tolerance": 90, "max_per_reviewer": 5, "proposals": "14d"}},
        {"default_route": {"team_id": "a"}, "signatures": "required"},
        {"rules": [{"match": {"severity": "low"}, "approvals": 2, "resolve_within": "4h"}]},
    ],
    "waivers": [{}, {"waivers": [ITEM]}],
    "pack": [
        {},
        yaml.safe_load((TOP / "policies/policy-config.yaml").read_text()),
        {"pack": None, "providers": {"targets": None}, "anything": [1]},
        {"providers": {"targets": [{"id": "a", "model": "m", "models": None, "more": 1}]}},
        {"providers": {"targets": [{"id": "a", "model": None, "models": [{"id": "m", "aliases": ["n"]}]}]}},
        {"providers": {"targets": [{"id": "a", "escalation_routing": {"team_id": "t", "user_id": None}}]}},
        {"providers": {"targets": [{"id": "a", "models": [{"model_id": "m", "escalation_routing": None}]}]}},
    ],
}
BAD: dict[str, list[Any]] = {
    "roster": [{"x": 1}, {"users": [{"user_id": "a b", "emails": ["a@b"]}]}, {"users": [{"user_id": "a"}]}],
    "settings": [{"claims": {"lease": "soon"}}, {"signatures": "maybe"}, {"claims": {"proposals": 1.5}}],
    "waivers": [{"waivers": [{**ITEM, "commit": "0" * 12}]}, {"waivers": [{"commit": "0" * 40}]}],
    "pack": [
        [],
        {"pack": {"enabled": "yes"}},
        {"pack": {"enabled": None}},
        {"pack": "starter"},
        {"providers": []},
        {"providers": {"targets": {}}},
        {"providers": {"targets": ["a"]}},
        {"providers": {"targets": [{"model": "m"}]}},
        {"providers": {"targets": [{"id": " "}]}},
        {"providers": {"targets": [{"id": "a", "model": 4}]}},
        {"providers": {"targets": [{"id": "a", "model": "m", "models": []}]}},
        {"providers": {"targets": [{"id": "a", "models": ["m"]}]}},
        {"providers": {"targets": [{"id": "a", "models": [{"aliases": ["m"]}]}]}},
        {"providers": {"targets": [{"id": "a", "models": [{"model_id": "", "id": "m"}]}]}},
        {"providers": {"targets": [{"id": "a", "models": [{"id": "m", "aliases": "n"}]}]}},
        {"providers": {"targets": [{"id": "a", "models": [{"id": "m", "aliases": [1]}]}]}},
        {"providers": {"targets": [{"id": "a", "escalation_routing": {}}]}},
        {"providers": {"targets": [{"id": "a", "escalation_routing": "t"}]}},
        {"providers": {"targets": [{"id": "a", "escalation_routing": {"team_id": "t", "user_id": "u"}}]}},
        {"providers": {"targets": [{"id": "a", "escalation_routing": {"team_id": "t" * 1001}}]}},
    ],
}


@pytest.mark.parametrize("name", SOUND)
def test_a_schema_takes_what_kt_takes(name: str, tmp_path: Path) -> None:
    ran = kt_policy("schema", name, cwd=tmp_path)
    assert ran.code == 0
    assert ran.json["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    path = f"policies/{name}.yaml"
    for value, good in [*((one, True) for one in SOUND[name]), *((one, False) for one in BAD[name])]:
        assert (faults(value, ran.json, ran.json) == []) is good, value
        data = yaml.safe_dump(value, allow_unicode=True).encode()
        assert (assemble(None, {path: yaml_text.policy_file(path, data)}).faults == ()) is good, value
    assert kt_policy("schema", name, "--json", cwd=tmp_path).out == ran.out


def test_the_kinds_of_file_with_a_schema_are_named_on_one_line(tmp_path: Path) -> None:
    ran = kt_policy("schema", cwd=tmp_path)
    assert ran.code == 2
    assert "Choose from: roster, settings, waivers, pack; see" in ran.err


def test_there_is_no_schema_of_another_file(tmp_path: Path) -> None:
    assert kt_policy("schema", "policy", cwd=tmp_path).code == 2
