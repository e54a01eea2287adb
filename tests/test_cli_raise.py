"""`raise`: what a gateway may hand in, what becomes of it, and what a repeat or a fault in it does."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from gateway_input import event, ndjson, record
from lab import Lab, Ran, git, ids, kt

from kt_escalation.cli import options

ACTION_KEYS = {"escalation", "commit", "changed"}
BATCH_KEYS = {"escalations", "commit", "changed", "unchanged", "skipped", "failed"}
NOW = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

PACK = """
pack: {enabled: true}
providers:
  targets:
    - id: acme-prod
      escalation_routing: {team_id: target-team}
      models:
        - model_id: big
          aliases: [large, small]
          escalation_routing: {team_id: model-team}
        - model_id: small
    - id: personal
      model: tiny
      escalation_routing: {user_id: alice@example.com}
    - id: bare
      models: [{id: big}, {id: odd}]
"""
SETTINGS = "default_route: {team_id: triage}\n"


@pytest.fixture
def gw(lab: Lab) -> Path:
    """The gateway's clone."""
    return lab.clone("gw")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """One store for everything that is refused and so cannot change it."""
    lab = Lab(tmp_path_factory.mktemp("kept"))
    lab.clone("gw")
    return lab


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A store with packs, one of them disabled, and a default route; what the checkout says is not asked."""
    lab = Lab(tmp_path_factory.mktemp("routed"))
    gw = lab.clone("gw")
    lab.put(
        {
            "policies/a.yaml": PACK.replace("true", "false").replace("-team", "-off"),
            "policies/b.yaml": PACK,
            "policies/settings.yaml": SETTINGS,
        }
    )
    (gw / "policies/policy-config.yaml").write_text("the: checkout is not asked\n")
    return lab


def batch(gw: Path, *lines: object, options: tuple[str, ...] = ()) -> Ran:
    return kt("raise", "--batch", "-", "--json", *options, cwd=gw, stdin=ndjson(*lines))


def raised(gw: Path, *args: str, stdin: bytes = b"") -> dict[str, Any]:
    """The record that a raise gives."""
    ran = kt("raise", *args, "--json", cwd=gw, stdin=stdin)
    assert ran.code == 0, ran.err
    assert ran.json["changed"] is True
    found: dict[str, Any] = ran.json["escalation"]
    return found


# --- one from flags ---------------------------------------------------------------------------------


def test_flags_become_the_record_and_raising_decides_the_rest(lab: Lab, gw: Path) -> None:
    given = {
        "request_id": "req_1",
        "reason_code": "oversight.required",
        "severity": "high",
        "provider": "acme",
        "model": "big",
        "policy": "human-oversight",
        "agent_id": "agent-1",
        "session_id": "sess_1",
        "config_version": "cfg-1",
        "summary": "A refund of 12,000 EUR",
    }
    flags = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", value)]
    ran = kt("raise", *flags, "--json", cwd=gw)
    assert ran.code == 0
    assert set(ran.json) == ACTION_KEYS
    assert ran.err == ""
    assert ran.json["commit"] == lab.tip()
    assert ran.json["changed"] is True
    found = ran.json["escalation"]
    decided = {key: value for key, value in found.items() if key not in given}
    assert {key: found[key] for key in given} == given
    times = {decided.pop(key) for key in ("created_at", "raised_at", "queued_at")}
    assert len(times) == 1
    assert re.fullmatch(NOW, times.pop())
    tree = git("rev-parse", f"{lab.tip()}:policies", cwd=lab.remote)
    assert decided == {
        "schema_version": 1,
        "escalation_id": "esc_req_1",
        "status": "queued",
        "raised_by": "gw@example.com",
        "route": {"source": "default", "policies": tree},
        "requires": {"approvals": 1},
    }
    assert "queue/esc_req_1.yaml" in lab.files()


def test_without_json_one_line_says_what_was_raised_where(lab: Lab, gw: Path) -> None:
    args = ["raise", "--request-id", "r", "--reason-code", "a.b"]
    assert kt(*args, cwd=gw).out == f"raised esc_r in commit {lab.tip()[:12]}\n"
    assert kt(*args, cwd=gw).out == "esc_r is there already (queued)\n"


@pytest.mark.parametrize("request_id", ["plain-1", "Req/With Spaces", "../../etc/passwd", "ü", "x" * 61])
def test_the_id_comes_from_the_request_so_that_raising_twice_is_raising_once(
    gw: Path, request_id: str
) -> None:
    fits = request_id == "plain-1"
    hashed = f"esc_h{hashlib.sha256(request_id.encode()).hexdigest()[:40]}"
    found = raised(gw, "--request-id", request_id, "--reason-code", "a.b")
    assert found["escalation_id"] == (f"esc_{request_id}" if fits else hashed)
    assert found["request_id"] == request_id


def test_without_a_request_id_the_id_is_a_new_ulid_each_time(gw: Path) -> None:
    first, second = (raised(gw, "--reason-code", "a.b")["escalation_id"] for _ in range(2))
    assert all(re.fullmatch("esc_[0-9a-hjkmnp-tv-z]{26}", name) for name in (first, second))
    assert first != second


@pytest.mark.parametrize("text", ['{"excerpt": "please", "n": 1}', "excerpt: please\nn: 1\n"])
@pytest.mark.parametrize("stdin", [True, False])
def test_a_context_file_is_json_or_yaml_for_the_reviewer(gw: Path, text: str, stdin: bool) -> None:
    (gw / "context").write_text(text)
    found = raised(
        gw, "--reason-code", "a.b", "--context", "-" if stdin else "context", stdin=text.encode() * stdin
    )
    assert found["event_context"] == {"excerpt": "please", "n": 1}


@pytest.mark.parametrize(
    ("args", "stdin", "says"),
    [
        ([], b"", "nothing to raise"),
        (["--request-id", "r"], b"", "--reason-code is missing"),
        (["--reason-code", "no spaces"], b"", "reason_code"),
        (["--reason-code", "a.b", "--summary", "two\nlines"], b"", "summary"),
        (["--reason-code", "a.b", "--summary", "x" * 201], b"", "summary"),
        (["--reason-code", "a.b", "--severity", "urgent"], b"", "severity"),
        (["--reason-code", "a.b", "--context", "-"], b"[1]", "event_context"),
        (["--reason-code", "a.b", "--context", "-"], b'{"prompt": "raw"}', "raw prompt"),
        (["--reason-code", "a.b", "--context", "missing"], b"", "missing: No such file"),
        (["--file", "-", "--batch", "-"], b"", "cannot go together"),
        (["--file", "-", "--summary", "x"], b"", "--summary cannot go with --file"),
        (["--event", "-", "--context", "x"], b"", "--context cannot go with --event"),
        (["--file", "-"], b"", "empty"),
        (["--file", "-"], b"- a list", "not a mapping"),
        (["--file", "-"], b"reason_code: a.b\nreason_code: a.b\n", "twice"),
        (["--file", "-"], b"reason_code: &a a.b\n", "anchor"),
        (["--file", "-"], b"reason_code: a.b\nsurprise: 1\n", "surprise"),
        (["--file", "-"], b"reason_code: a.b\nraised_by: bob@example.com\n", "raised_by"),
        (["--file", "-"], b"reason_code: a.b\nreopens: esc_other\n", "reopens"),
        (["--file", "-"], b"reason_code: a.b\nschema_version: 2\n", "schema_version"),
        (["--file", "-"], b"reason_code: a.b\nescalation_id: esc_X\n", "escalation_id"),
        (["--file", "-"], b"reason_code: a.b\nrequest_id: r\nescalation_id: esc_x\n", "escalation_id"),
        (["--event", "-"], b'{"verdict": "escalate", "reason_code": "a.b"}', "request_id is missing"),
        (["--event", "-"], b'{"request_id": "r"}', "verdict is missing"),
    ],
)
def test_what_cannot_be_raised_is_bad_input_and_writes_nothing(
    kept: Lab, args: list[str], stdin: bytes, says: str
) -> None:
    ran = kt("raise", *args, cwd=kept.folder / "gw", stdin=stdin)
    assert ran.code == 2
    assert says in ran.err
    assert ran.out == ""
    assert len(ran.err.strip().splitlines()) == 1
    assert kept.commits() == ["start"]


@pytest.mark.parametrize("key", ["claim", "reviews", "notes", "resolution"])
def test_what_reviewers_do_is_not_given_when_raising(kept: Lab, key: str) -> None:
    text = json.dumps({**record(), key: None}).encode()
    ran = kt("raise", "--file", "-", cwd=kept.folder / "gw", stdin=text)
    assert ran.code == 2
    assert key in ran.err
    assert kept.commits() == ["start"]


# --- one from a file --------------------------------------------------------------------------------


@pytest.mark.parametrize("stdin", [True, False])
def test_a_file_holds_a_record_as_yaml_or_json(lab: Lab, gw: Path, stdin: bool) -> None:
    text = (
        "request_id: r\nreason_code: a.b\nlabels: {answer: 'no', ticket: '0777'}\nroute: {team_id: legal}\n"
    )
    (gw / "record.yaml").write_text(text)
    found = raised(gw, "--file", "-" if stdin else "record.yaml", stdin=text.encode() * stdin)
    assert found["labels"] == {"answer": "no", "ticket": "0777"}
    assert (found["route"]["team_id"], found["route"]["source"]) == ("legal", "event")


@pytest.mark.parametrize("option", ["--file", "--event", "--batch", "--context"])
def test_a_file_without_an_end_is_not_read_for_ever(
    gw: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr(options, "_LARGEST_FILE", 3 << 20)
    more = ("--reason-code", "a.b") if option == "--context" else ()
    ran = kt("raise", option, "/dev/zero", *more, "--json", cwd=gw)
    assert (ran.code, ran.error["message"]) == (2, "/dev/zero is larger than 3 MiB")


def test_a_raised_record_can_be_raised_again_as_it_was_given(gw: Path) -> None:
    found = raised(gw, "--request-id", "r", "--reason-code", "a.b", "--summary", "s")
    again = kt("raise", "--file", "-", "--json", cwd=gw, stdin=json.dumps(found).encode())
    assert again.code == 0
    assert again.json["changed"] is False


# --- events -----------------------------------------------------------------------------------------


def test_an_event_becomes_a_record_as_the_design_maps_it(gw: Path) -> None:
    found = raised(gw, "--event", "-", "--provider", "acme", "--model", "big", stdin=ndjson(event()))
    details = event()["details"]
    expected = {
        "escalation_id": "esc_req_1",
        "request_id": "req_1",
        "agent_id": "agent-claims-intake",
        "config_version": "cfg-7f3a21",
        "reason_code": "oversight.required",
        "created_at": "2026-11-23T09:14:02.000Z",
        "policy": "human-oversight",
        "provider": "acme",
        "model": "big",
        "severity": "medium",
        "event_context": {"prompt_hash": "hmac-sha256:7265", "prompt_redacted": True, **details},
    }
    assert {key: found[key] for key in expected} == expected
    assert "session_id" not in found


def test_an_event_from_the_future_is_created_now_and_keeps_its_own_time_in_the_context(gw: Path) -> None:
    found = raised(gw, "--event", "-", stdin=ndjson(event(timestamp="2199-01-01T00:00:00Z")))
    assert found["created_at"] == found["raised_at"]
    assert found["event_context"]["timestamp"] == "2199-01-01T00:00:00.000Z"
    again = kt("raise", "--event", "-", cwd=gw, stdin=ndjson(event(timestamp="2199-01-01T00:00:00Z")))
    assert again.code == 0
    assert "there already" in again.out


def test_one_event_gives_the_single_record_as_well_as_the_counts(gw: Path) -> None:
    ran = kt("raise", "--event", "-", "--json", cwd=gw, stdin=ndjson(event()))
    assert set(ran.json) == ACTION_KEYS | BATCH_KEYS
    assert ran.json["escalations"] == [ran.json["escalation"]]


@pytest.mark.parametrize("verdict", ["allow", "block", "redact"])
def test_events_that_do_not_escalate_are_none_of_ours_and_are_counted(
    lab: Lab, gw: Path, verdict: str
) -> None:
    ran = kt("raise", "--event", "-", "--json", cwd=gw, stdin=ndjson(event(verdict=verdict)))
    assert ran.code == 0
    assert ran.json == {
        "escalations": [],
        "commit": None,
        "changed": False,
        "unchanged": 0,
        "skipped": 1,
        "failed": [],
    }
    assert lab.commits("kt:") == []


def test_ndjson_of_events_is_one_commit_and_one_push(lab: Lab, gw: Path) -> None:
    lab.hook("post-receive", "echo push >> pushes")
    before = lab.tip()
    lines = [event("b"), event("a"), "", event("c", verdict="allow"), event("a")]
    ran = kt("raise", "--event", "-", "--json", cwd=gw, stdin=ndjson(*lines))
    assert ran.code == 0
    assert set(ran.json) == BATCH_KEYS
    assert ids(ran.json["escalations"]) == ["esc_b", "esc_a"]
    assert (ran.json["changed"], ran.json["unchanged"], ran.json["skipped"]) == (True, 1, 1)
    assert git("rev-parse", f"{ran.json['commit']}^", cwd=lab.remote) == before
    assert (lab.remote / "pushes").read_text() == "push\n"
    message = git("log", "-1", "--format=%B", "main", cwd=lab.remote)
    assert message == (
        "kt: raise 2 escalations\n\nKt-Action: raise\nKt-Escalation: esc_a\nKt-Escalation: esc_b\n"
        "Kt-Count: 2\nKt-Actor: gw@example.com\n"
    )


def test_a_batch_without_json_lists_the_ids_on_stdout_and_the_counts_on_stderr(lab: Lab, gw: Path) -> None:
    (gw / "events.ndjson").write_bytes(ndjson(event("a"), event("b", verdict="allow"), event("a")))
    ran = kt("raise", "--event", "events.ndjson", cwd=gw)
    assert ran.out == "esc_a\n"
    assert ran.err == (
        f"kt: 1 changed (1 already done, 1 skipped as not escalating) in commit {lab.tip()[:12]}\n"
    )


def test_more_than_a_hundred_are_named_up_to_a_hundred_and_counted(lab: Lab, gw: Path) -> None:
    ran = batch(gw, *(record(f"r{number:03}") for number in range(101)))
    assert ran.code == 0
    assert len(ran.json["escalations"]) == 101
    message = git("log", "-1", "--format=%B", "main", cwd=lab.remote).splitlines()
    named = [line for line in message if line.startswith("Kt-Escalation: ")]
    assert named == [f"Kt-Escalation: esc_r{number:03}" for number in range(100)]
    assert "Kt-Count: 101" in message
    assert message[0] == "kt: raise 101 escalations"


# --- batches and their faults -----------------------------------------------------------------------


def test_a_batch_mixes_events_and_records(lab: Lab, gw: Path) -> None:
    (gw / "batch").write_bytes(ndjson(event("a"), record("b", severity="low")))
    ran = kt("raise", "--batch", "batch", "--json", "--model", "big", cwd=gw)
    assert ran.code == 0
    assert set(ran.json) == BATCH_KEYS
    assert ran.json["failed"] == []
    found = {item["escalation_id"]: item for item in ran.json["escalations"]}
    assert found["esc_a"]["policy"] == "human-oversight"
    assert found["esc_b"]["severity"] == "low"
    assert {item["model"] for item in found.values()} == {"big"}


BAD_LINES = (
    record("good"),
    '{"request_id": ',
    "[]",
    "",
    event("no-reason", reason_code=None),
    event("bad-time", timestamp="yesterday"),
    record("odd", surprise=1),
)


def test_bad_lines_are_named_by_number_and_stop_the_whole_batch(lab: Lab, gw: Path) -> None:
    before = lab.tip()
    ran = batch(gw, *BAD_LINES)
    assert ran.code == 2
    assert ran.out == ""
    assert lab.tip() == before
    assert ran.error["code"] == "several_failed"
    assert [set(fault) for fault in ran.error["failed"]] == [{"line", "code", "message"}] * 5
    assert [fault["line"] for fault in ran.error["failed"]] == [2, 3, 5, 6, 7]
    plain = kt("raise", "--batch", "-", cwd=gw, stdin=ndjson(*BAD_LINES)).err.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in plain[:5]] == [
        f"line {number}" for number in (2, 3, 5, 6, 7)
    ]
    assert "nothing was written" in plain[5]
    assert "--partial" in plain[5]
    assert len(plain) == 6


def test_one_bad_line_alone_is_still_named_by_its_number(gw: Path) -> None:
    ran = batch(gw, record("good"), "{")
    assert ran.code == 2
    assert [fault["line"] for fault in ran.error["failed"]] == [2]
    assert ran.error["message"].endswith("nothing was written; fix it, or do the others with --partial")


def test_partial_is_offered_only_where_there_are_others_that_could_be_raised(gw: Path) -> None:
    for lines, fix in ((("{",), "fix it"), (("{", "["), "fix them")):
        ran = batch(gw, *lines)
        assert ran.code == 2
        assert ran.error["message"].endswith(f"nothing was written; {fix}")
        stream = gw / "lines.ndjson"
        stream.write_bytes(ndjson(*lines))
        told = kt("raise", "--batch", str(stream), "--flush-count", "9", cwd=gw)
        assert told.code == 2
        assert told.err.endswith(f"is acknowledged; {fix} and send it again\n")


def test_partial_takes_the_good_lines_and_reports_the_others(lab: Lab, gw: Path) -> None:
    ran = batch(gw, *BAD_LINES, options=("--partial",))
    assert ran.code == 0
    assert ids(ran.json["escalations"]) == ["esc_good"]
    assert [fault["line"] for fault in ran.json["failed"]] == [2, 3, 5, 6, 7]
    assert {fault["code"] for fault in ran.json["failed"]} == {"bad_input"}
    assert len(lab.commits("kt: raise")) == 1
    again = batch(gw, *BAD_LINES, options=("--partial",))
    assert again.code == 0, "already so is had as well"
    assert again.json["changed"] is False, "already so is had as well"
    plain = kt("raise", "--batch", "-", "--partial", cwd=gw, stdin=ndjson(*BAD_LINES))
    assert plain.code == 0
    assert "line 2: " in plain.err
    assert "5 failed" in plain.err


@pytest.mark.parametrize(
    ("first", "code"), [('{"broken', 2), (record("taken", summary="other"), 6)], ids=["bad", "taken"]
)
def test_partial_that_can_have_nothing_ends_with_the_first_faults_code(
    lab: Lab, gw: Path, first: object, code: int
) -> None:
    lab.escalations("taken")
    before = lab.tip()
    ran = batch(gw, first, "[]", record("taken", summary="other"), options=("--partial",))
    assert ran.code == code
    assert lab.tip() == before
    assert [fault["line"] for fault in ran.error["failed"]] == [1, 2, 3]


def test_an_empty_batch_is_done_with_nothing(lab: Lab, gw: Path) -> None:
    ran = batch(gw)
    assert ran.code == 0
    assert ran.json["escalations"] == []
    assert ran.json["changed"] is False
    assert lab.commits("kt:") == []


def test_one_id_twice_in_a_batch_is_no_fault_with_the_same_content(lab: Lab, gw: Path) -> None:
    ran = batch(gw, record("r"), record("r"))
    assert ran.code == 0
    assert ids(ran.json["escalations"]) == ["esc_r"]
    assert ran.json["unchanged"] == 1
    assert lab.commits("raise") == ["kt: raise esc_r"]


def test_one_id_twice_in_a_batch_is_a_fault_with_other_content(lab: Lab, gw: Path) -> None:
    lines = (record("r", summary="one"), record("r", summary="two"))
    before = lab.tip()
    ran = batch(gw, *lines)
    assert ran.code == 6
    assert lab.tip() == before
    assert [(fault["line"], fault["code"]) for fault in ran.error["failed"]] == [(2, "different_content")]
    partial = batch(gw, *lines, options=("--partial",))
    assert partial.code == 0
    assert partial.json["escalations"][0]["summary"] == "one"
    assert [fault["line"] for fault in partial.json["failed"]] == [2]


# --- repeats ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "again",
    [
        {},
        {"timestamp": "2026-01-01T00:00:00Z"},
        {"metadata": {"escalation_routing": {"team_id": "other"}}},
        {"agent_id": None},
    ],
    ids=["same", "another time", "another route", "a key not given"],
)
def test_a_repeat_changes_nothing_whatever_raising_decides(lab: Lab, gw: Path, again: dict[str, Any]) -> None:
    first = raised(gw, "--event", "-", stdin=ndjson(event()))
    before = lab.tip()
    ran = kt("raise", "--event", "-", "--json", cwd=gw, stdin=ndjson(event(**again)))
    assert ran.code == 0
    assert ran.json["changed"] is False
    assert ran.json["unchanged"] == 1
    assert ran.json["escalation"] == first
    assert ran.json["commit"] == before == lab.tip()


@pytest.mark.parametrize(
    ("again", "differs"),
    [
        ({"reason_code": "other.code"}, "reason_code"),
        ({"agent_id": "another"}, "agent_id"),
        ({"details": {"scores": {}}}, "event_context"),
    ],
)
def test_other_content_under_the_same_id_is_a_conflict_that_names_the_key(
    lab: Lab, gw: Path, again: dict[str, Any], differs: str
) -> None:
    raised(gw, "--event", "-", stdin=ndjson(event()))
    before = lab.tip()
    ran = kt("raise", "--event", "-", "--json", cwd=gw, stdin=ndjson(event(**again)))
    assert ran.code == 6
    assert lab.tip() == before
    assert ran.error["code"] == "different_content"
    assert differs in ran.error["differs"]
    assert ran.error["escalation_id"] == "esc_req_1"


def test_a_repeat_is_known_whatever_became_of_the_escalation(lab: Lab, gw: Path) -> None:
    args = ("raise", "--request-id", "r", "--reason-code", "a.b", "--json")
    kt(*args, cwd=gw)
    kt("claim", "--id", "esc_r", cwd=gw)
    assert kt(*args, cwd=gw).json["escalation"]["status"] == "claimed"
    kt("resolve", "--id", "esc_r", "--outcome", "denied", "--reason", "no", cwd=gw)
    before = lab.tip()
    ran = kt(*args, cwd=gw)
    assert ran.json["changed"] is False
    assert ran.json["escalation"]["status"] == "resolved"
    assert kt(*args, "--summary", "new", cwd=gw).code == 6
    assert lab.tip() == before


# --- routing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "route", "source"),
    [
        (["--provider", "acme-prod", "--model", "big"], "model-team", "#providers.targets[0].models[0]"),
        (["--provider", "acme-prod", "--model", "large"], "model-team", "#providers.targets[0].models[0]"),
        (["--provider", "acme-prod", "--model", "small"], "target-team", "#providers.targets[0]"),
        (["--provider", "acme-prod", "--model", "none"], "target-team", "#providers.targets[0]"),
        (["--provider", "acme-prod"], "target-team", "#providers.targets[0]"),
        (["--provider", "bare", "--model", "big"], "triage", "default"),
        (["--provider", "unknown", "--model", "big"], "triage", "default"),
        (["--model", "large"], "model-team", "#providers.targets[0].models[0]"),
        (["--model", "odd"], "triage", "default"),
        ([], "triage", "default"),
    ],
)
def test_the_packs_at_the_tip_say_who_it_goes_to_and_the_record_says_why(
    routed: Lab, args: list[str], route: str, source: str
) -> None:
    found = raised(routed.folder / "gw", "--reason-code", "a.b", *args)
    prefix = "policies/b.yaml" if source.startswith("#") else ""
    assert found["route"] == {
        "team_id": route,
        "source": f"{prefix}{source}",
        "policies": git("rev-parse", "main:policies", cwd=routed.remote),
    }
    assert found["status"] == "queued"


def test_what_is_routed_to_a_user_is_born_claimed_with_the_lease_of_the_settings(lab: Lab, gw: Path) -> None:
    lab.put({"policies/p.yaml": PACK, "policies/settings.yaml": "claims: {lease: 4h, max_per_reviewer: 1}\n"})
    for name in ("one", "two"):
        found = raised(gw, "--request-id", name, "--reason-code", "a.b", "--model", "tiny")
        assert found["status"] == "claimed"
        assert found["route"]["user_id"] == "alice@example.com"
        claim = found["claim"]
        assert set(claim) == {"claim_id", "claimed_by", "claimed_at", "expires_at"}
        assert claim["claimed_by"] == "alice@example.com"
        assert claim["claimed_at"] == found["raised_at"]
    alice = lab.clone("alice")
    done = kt("resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok", cwd=alice)
    assert done.code == 0, done.err


def test_an_event_may_name_its_own_route(lab: Lab, gw: Path) -> None:
    lab.put({"policies/p.yaml": PACK})
    for number, (routing, expected) in enumerate(
        [
            ({"team_id": "legal", "user_id": None}, {"team_id": "legal"}),
            ({"team_id": None, "user_id": "bob"}, {"user_id": "bob"}),
            ({"team_id": None, "user_id": None}, {"team_id": "model-team"}),
        ]
    ):
        asked = event(f"r{number}", metadata={"escalation_routing": routing})
        found = raised(gw, "--event", "-", "--model", "big", stdin=ndjson(asked))
        assert {key: found["route"][key] for key in expected} == expected
        assert (found["route"]["source"] == "event") == ("model-team" not in expected.values())
    both = event("r9", metadata={"escalation_routing": {"team_id": "legal", "user_id": "bob"}})
    assert kt("raise", "--event", "-", cwd=gw, stdin=ndjson(both)).code == 2


BROKEN = (
    "providers: {targets: [{id: x, escalation_routing: {team_id: a, user_id: b}}]}\n",
    "pack: [\n",
    "pack: {enabled: true}\npack: {enabled: true}\n",
    "<<<<<<< HEAD\npack: {}\n=======\n>>>>>>> theirs\n",
    "\x00",
)


def test_with_a_broken_pack_nothing_is_lost_and_the_source_names_it(lab: Lab, gw: Path) -> None:
    lab.put({"policies/b.yaml": PACK, "policies/settings.yaml": SETTINGS})
    for broken in BROKEN:
        lab.put({"policies/a.yaml": broken})
        found = raised(gw, "--reason-code", "a.b", "--provider", "acme-prod")
        assert found["route"]["team_id"] == "triage", broken
        assert found["status"] == "queued", broken
        assert "policies/a.yaml" in found["route"]["source"]
        assert "default" in found["route"]["source"]


def test_only_gateways_and_admins_may_raise_where_there_is_a_roster(lab: Lab, gw: Path) -> None:
    lab.put(
        {
            "policies/roster.yaml": "users:\n"
            "  - {user_id: gateway-1, emails: [GW@example.com], roles: [gateway]}\n"
            "  - {user_id: alice, emails: [alice@example.com], roles: [reviewer]}\n"
        }
    )
    assert raised(gw, "--reason-code", "a.b")["raised_by"] == "gateway-1"
    before = lab.tip()
    for name in ("alice", "stranger"):
        ran = kt("raise", "--reason-code", "a.b", "--json", cwd=lab.clone(name))
        assert ran.code == 3
        assert ran.error["code"] == "not_allowed"
    assert lab.tip() == before


# --- JSON in files ----------------------------------------------------------------------------------


def had(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [ran.json["escalation"]["escalation_id"]]


EMOJI = '{"request_id": "e", "reason_code": "a.b", "summary": "\\ud83d\\ude00 \\\\ud83d"}'


def test_json_that_escapes_what_lies_beyond_the_first_plane_is_read_as_json(gw: Path) -> None:
    assert had(kt("raise", "--file", "-", "--json", cwd=gw, stdin=EMOJI.encode())) == ["esc_e"]
    record = kt("get", "esc_e", "--json", cwd=gw).json["escalation"]
    assert record["summary"] == json.loads(EMOJI)["summary"] == "\U0001f600 \\ud83d"
    args = ("raise", "--request-id", "c", "--reason-code", "a.b", "--context", "-", "--json")
    assert had(kt(*args, cwd=gw, stdin=b'{"excerpt": "\\uD83D\\uDE00"}')) == ["esc_c"]
    shown = kt("get", "esc_c", "--include-context", "--json", cwd=gw).json["escalation"]
    assert shown["event_context"] == {"excerpt": "\U0001f600"}
    yaml = b'request_id: y\nreason_code: a.b\nsummary: "{\\"a\\": 1}"\n'
    assert had(kt("raise", "--file", "-", "--json", cwd=gw, stdin=yaml)) == ["esc_y"]
    flow = b"{request_id: f, reason_code: a.b, summary: NaN}"
    assert had(kt("raise", "--file", "-", "--json", cwd=gw, stdin=flow)) == ["esc_f"], "text, as in all YAML"


@pytest.mark.parametrize(
    "bad", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", '"\\ud83d"', '"a\\ude00"']
)
@pytest.mark.parametrize("how", ["--file", "--event", "--batch", "--context"])
def test_what_no_json_may_hold_is_refused_with_its_place(kept: Lab, how: str, bad: str) -> None:
    gw = kept.folder / "gw"
    context = f'{{"score": 1.5, "text": "NaN 1e999 \\\\ud83d", "bad": {bad}}}'
    event = f'{{"verdict": "escalate", "request_id": "b", "reason_code": "a.b", "details": {context}}}'
    record = f'{{"request_id": "b",\n "reason_code": "a.b",\n "event_context": {context}}}'
    text = {"--file": record, "--event": event, "--batch": f"{EMOJI}\n{event}\n", "--context": context}[how]
    more = ("--reason-code", "a.b") if how == "--context" else ()
    tip = git("rev-parse", "main", cwd=gw)
    ran = kt("raise", how, "-", *more, "--json", cwd=gw, stdin=text.encode())
    assert ran.code == 2
    assert ran.out == ""
    assert git("rev-parse", "main", cwd=gw) == tip
    [fault] = ran.error.get("failed", [ran.error])
    line = {"--file": 3, "--batch": 2}.get(how)
    found = f"line {fault['line']}: {fault['message']}" if how == "--batch" else fault["message"]
    assert (f"line {line}: " in found) == (line is not None)
    column = (
        max(row.find(f": {bad}") for row in text.splitlines()) + 3 + bad.count("a\\") + bad.count('"') // 2
    )
    assert found.endswith(f", at column {column}"), found
