"""Who raises a request again is told what was decided meanwhile, and believes it only as `wait` does."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from forge import identity
from gateways import DIGEST, Gate, draft, made_in
from lab import Ran

from kt_escalation import Store
from kt_escalation.results import Result
from kt_escalation.testing import MemoryRemote

AMENDED = {"amount": 9}
#: What is raised again, by its request id: for one use where the reason code asks for that.
DRAFTS = {
    name: draft(name, reason_code)
    for name, reason_code in {
        "ok": "later.use",
        "no": "later.use",
        "changed": "later.use",
        "once": "tool.call",
        "used": "tool.call",
        "taken_back": "later.use",
        "again": "later.use",
        "forged": "later.use",
        "open": "later.use",
    }.items()
}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """A store in which each of them was raised, and all but one were decided."""
    gate = Gate(made_in(tmp_path_factory.mktemp("again")))
    gate.do("gw", "raise", "--batch", "-", stdin=lines(*DRAFTS))
    gate.review("alice", "esc_ok", "approved")
    gate.review("alice", "esc_no", "denied")
    gate.review("alice", "esc_changed", "rewritten", AMENDED)
    gate.review("alice", "esc_once", "approved")
    gate.review("alice", "esc_used", "approved")
    gate.released("esc_used")
    gate.do("gw", "withdraw", "--id", "esc_taken_back", "--reason", "the caller hung up")
    gate.review("alice", "esc_again", "approved")
    gate.do("bob", "reopen", "--id", "esc_again", "--reason", "too quick")
    gate.review("alice", "esc_forged", "denied")
    path = gate.forge.resolved("forged")
    gate.forge.write(path, gate.forge.read(path).replace("denied", "approved"))
    gate.forge.commit("eve")
    return gate


def lines(*names: str) -> str:
    return "".join(f"{json.dumps(DRAFTS[name])}\n" for name in names)


def told_by_wait(gate: Gate, name: str) -> Ran:
    return gate.run("gw", "wait", "--id", f"esc_{name}", "--timeout", "0", "--json")


def told_again(gate: Gate, name: str) -> dict[str, Any]:
    """The JSON of raising one of them again."""
    found = gate.do("gw", "raise", "--file", "-", "--json", stdin=lines(name)).json
    assert not found["changed"]
    return dict(found)


# --- one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in DRAFTS if name != "open"])
def test_the_answer_of_a_raise_is_what_wait_would_say(gate: Gate, name: str) -> None:
    waited, found = told_by_wait(gate, name), told_again(gate, name)
    if waited.code in (0, 1):
        assert found["decision"] == {key: waited.json[key] for key in found["decision"]}
        assert list(found["decision"]) == [
            *("escalation_id", "request_id", "outcome", "release", "amendment", "digest"),
            *("reason", "by", "signed", "resolved_at", "commit", "release_id"),
        ]
        assert found["decision"]["release"] == (waited.code == 0)
        assert "decision_error" not in found
    else:
        assert found["decision_error"] == waited.error
        assert "decision" not in found or found["decision"]["release"] is False


def test_what_is_proved_is_told_and_nothing_else_may_be_run(gate: Gate) -> None:
    told = {name: told_again(gate, name) for name in DRAFTS}
    assert {name: (one.get("decision") or {}).get("outcome") for name, one in told.items()} == {
        "ok": "approved",
        "no": "denied",
        "changed": "rewritten",
        "once": "approved",
        "used": "approved",
        "taken_back": "withdrawn",
        "again": "approved",
        "forged": None,
        "open": None,
    }
    assert [name for name, one in told.items() if one.get("decision", {}).get("release")] == ["ok"]
    assert {name: one["decision_error"]["code"] for name, one in told.items() if "decision_error" in one} == {
        "changed": "amended",
        "once": "release_needed",
        "used": "already_released",
        "again": "already_reopened",
        "forged": "illegal_record",
    }
    assert told["changed"]["decision"]["amendment"]["value"] == AMENDED
    assert (told["once"]["decision"]["digest"], told["once"]["decision"]["by"]) == (DIGEST, ["alice"])
    assert set(told["open"]) == {"escalation", "commit", "changed"}


@pytest.mark.parametrize(
    ("name", "out", "err"),
    [
        ("ok", "esc_ok is there already (approved by alice): release the request as it is", ""),
        ("no", "esc_no is there already (denied by alice): do not release the request", ""),
        ("once", "esc_once is there already (approved by alice)", "`kt escalation release"),
        ("forged", "esc_forged is there already (resolved)", "commit"),
        ("open", "esc_open is there already (queued)", ""),
    ],
)
def test_people_are_told_in_one_line_and_what_is_not_proved_is_not_called_approved(
    gate: Gate, name: str, out: str, err: str
) -> None:
    ran = gate.do("gw", "raise", "--file", "-", stdin=lines(name))
    assert ran.out == f"{out}\n"
    assert err in ran.err if err else not ran.err


# --- several --------------------------------------------------------------------------------------


def test_several_raised_again_have_each_their_own_answer_and_a_forged_one_spoils_no_other(
    gate: Gate,
) -> None:
    found = gate.do("gw", "raise", "--batch", "-", "--json", stdin=lines(*DRAFTS)).json
    one_by_one = {name: told_again(gate, name) for name in DRAFTS}
    assert found["decisions"] == [one["decision"] for one in one_by_one.values() if "decision" in one]
    assert {failure["id"]: failure["code"] for failure in found["decision_errors"]} == {
        f"esc_{name}": one["decision_error"]["code"]
        for name, one in one_by_one.items()
        if "decision_error" in one
    }
    ran = gate.do("gw", "raise", "--batch", "-", stdin=lines("ok", "forged", "open"))
    assert ran.out.splitlines() == ["esc_ok", "esc_forged", "esc_open"]
    assert "esc_ok is approved by alice: release the request as it is" in ran.err
    assert "esc_forged is approved" not in ran.err
    assert "no legal step" not in ran.out


def test_a_stream_answers_each_line(gate: Gate, tmp_path: Path) -> None:
    source = tmp_path / "lines.ndjson"
    source.write_text(lines(*DRAFTS))
    stream = ("raise", "--batch", str(source), "--flush-count", "4")
    assert gate.do("gw", *stream).out.splitlines() == [
        "1 esc_ok unchanged approved",
        "2 esc_no unchanged denied",
        "3 esc_changed unchanged amended",
        "4 esc_once unchanged release_needed",
        "5 esc_used unchanged already_released",
        "6 esc_taken_back unchanged withdrawn",
        "7 esc_again unchanged already_reopened",
        "8 esc_forged unchanged illegal_record",
        "9 esc_open unchanged",
    ]
    for name, line in zip(DRAFTS, gate.do("gw", *stream, "--json").out.splitlines(), strict=True):
        answer, alone = json.loads(line), told_again(gate, name)
        for key in ("decision", "decision_error"):
            assert answer.get(key) == alone.get(key)


def test_the_package_gives_decisions_to_each_thread_and_to_several(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in identity("gw").items():
        monkeypatch.setenv(name, value)
    with Store.open(gate.forge.path) as store, ThreadPoolExecutor(4) as pool:
        results = dict(zip(DRAFTS, pool.map(store.create, DRAFTS.values()), strict=True))
        several = store.raise_many(DRAFTS.values())
    assert [name for name, one in results.items() if one.decision and one.decision.release] == ["ok"]
    assert {name for name, one in results.items() if one.decision is None} == {"forged", "open"}
    assert [failure.error.code for failure in results["forged"].decision_errors] == ["illegal_record"]
    assert several.decisions == tuple(one.decision for one in results.values() if one.decision)
    assert several.decision is None
    assert len(several.decision_errors) == 5


def test_a_store_in_memory_answers_alike() -> None:
    remote = MemoryRemote()
    gateway, alice = remote.store("gw@example.com"), remote.store("alice@example.com")

    def again() -> Result:
        return gateway.create(request_id="r", reason_code="a.b")

    assert again().changed
    assert again().decision is None
    alice.claim("esc_r")
    alice.resolve("esc_r", "approve", "fine")
    found = again().decision
    assert found is not None
    assert found.release
    assert found == gateway.wait("esc_r", 0)
