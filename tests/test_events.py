"""A gateway's decision events as drafts, and drafts as new records (design, sections 3 and 4)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kt_escalation.actions.drafts import read_items
from kt_escalation.errors import BadInput, DifferentContent, KtError
from kt_escalation.model.record import Fallback, Record, Route
from kt_escalation.policies import decision_event
from kt_escalation.policies.decision_event import BadDraft, Raisable
from kt_escalation.policies.policy_file import PolicyFile
from kt_escalation.policies.policy_set import Policies, assemble
from kt_escalation.rules import creation, permissions
from kt_escalation.storage import yaml_text

pytestmark = pytest.mark.fast

SAMPLES = Path(__file__).parent / "samples"
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
ERIN = "6a1f0c55-0d0e-4e57-9a34-90f1c2b3d4e5"
ODD = "Kredit 77/Ünïcode – a & b"

EVENT: Mapping[str, Any] = {
    "event_type": "decision",
    "request_id": "loan-1",
    "timestamp": "2026-03-04T10:00:00Z",
    "verdict": "escalate",
    "reason_code": "loans.unsuitable",
    "details": {"policy_results": [{"policy_kind": "suitability", "verdict": "escalate"}]},
    "prompt_hash": "hmac-sha256:00",
    "prompt_redacted": False,
}


def drafted(**changes: Any) -> Raisable:
    """The draft of the event with some keys changed; None takes a key out."""
    found = decision_event.from_event(
        {key: value for key, value in {**EVENT, **changes}.items() if value is not None}
    )
    assert found
    return found


def raised(item: Raisable, policies: Policies | None = None, now: datetime = NOON) -> Record:
    actor = permissions.actor("gw@example.com", now, policies or Policies())
    return creation.raise_(item, creation.escalation_id(item, now, bytes(10)), actor, "c1")


def sample(name: str) -> dict[int, Raisable | KtError | None]:
    return dict(read_items((SAMPLES / name).read_bytes(), "event"))


# --- the samples ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "escalation_id", "policy", "created_at", "routing"),
    [
        (1, "esc_loan-2041-a", "human-oversight", "08:30:15.000", Fallback(team_id="underwriting")),
        (2, "esc_loan-2042-b", "confidence-scorer", "08:31:00.250", None),
        (3, "esc_loan-2042-b", "confidence-scorer", "08:31:00.250", None),
        (
            5,
            "esc_b9d1c2aa-70f4-4f0e-8a86-52b7d1a3e001",
            "account-number-filter",
            "08:35:59.000",
            Fallback(user_id=ERIN),
        ),
        (7, f"esc_h{hashlib.sha256(ODD.encode()).hexdigest()[:40]}", "suitability", "08:40:00.000", None),
        (8, "esc_loan-2045-e", "flagged-review", "12:00:00.000", None),
    ],
)
def test_each_sample_that_escalates_is_raised_as_the_design_says(
    line: int, escalation_id: str, policy: str, created_at: str, routing: Fallback | None
) -> None:
    item = sample("events.ndjson")[line]
    assert isinstance(item, Raisable)
    assert item.routing == routing
    record = raised(item)
    assert (record.escalation_id, record.policy) == (escalation_id, policy)
    assert record.as_dict()["created_at"] == f"2026-03-04T{created_at}Z"
    assert record.config_version == "cfg-harbour-12"
    assert record.raised_by == "gw@example.com"
    assert record.event_context
    assert record.event_context["prompt_redacted"] is True
    assert yaml_text.loads(yaml_text.dumps(record)) == record
    assert "customer really wrote" not in yaml_text.dumps(record).decode()


def test_samples_with_another_verdict_are_none_of_ours() -> None:
    assert [line for line, item in sample("events.ndjson").items() if item is None] == [4, 6]


BROKEN = {
    2: "not JSON",
    3: "request_id is missing",
    4: "not a mapping",
    5: "verdict is missing",
    6: "'yesterday at noon' is not an RFC 3339 time",
    7: "'2026-02-30T10:00:00Z' is not a time that exists",
    8: "request_id: must be text, in quotes where it looks like something else",
    9: "reason_code",
    10: "metadata.escalation_routing: needs exactly one of team_id and user_id, has both",
    11: "event_context.messages: a raw prompt never goes into git",
    12: "a key twice",
    13: "NaN is not a number that JSON has",
    14: "1e999 is not a number that JSON has",
    15: "details must be a mapping",
    16: "is half of a character",
    17: "event_context: is nested deeper than 32 levels",
}


def test_every_bad_line_of_the_broken_sample_is_told_and_no_good_one() -> None:
    items = sample("events-broken.ndjson")
    assert [line for line, item in items.items() if isinstance(item, KtError)] == list(BROKEN)
    assert [line for line, item in items.items() if isinstance(item, Raisable)] == [1, 19]


@pytest.mark.parametrize("line", BROKEN)
def test_a_bad_line_says_what_is_wrong_with_it(line: int) -> None:
    fault = sample("events-broken.ndjson")[line]
    assert isinstance(fault, BadInput)
    assert BROKEN[line] in fault.message
    assert "\n" not in fault.message


# --- from event to draft --------------------------------------------------------------------------


def test_an_event_gives_exactly_these_keys() -> None:
    item = drafted(agent_id="a", session_id="s", config_version="1", severity="critical", labels={"a": "b"})
    assert item.given == {
        *("request_id", "agent_id", "session_id", "config_version", "reason_code", "created_at"),
        *("event_context", "policy"),
    }
    assert item.draft.severity == "medium"
    assert item.draft.labels is None
    assert item.draft.event_context == {
        "prompt_hash": "hmac-sha256:00",
        "prompt_redacted": False,
        "policy_results": [{"policy_kind": "suitability", "verdict": "escalate"}],
    }


@pytest.mark.parametrize(
    ("results", "policy"),
    [
        ([{"policy_kind": "a", "verdict": "allow"}, {"policy_kind": "b", "verdict": "escalate"}], "b"),
        ([{"policy_kind": "a", "verdict": "escalate"}, {"policy_kind": "b", "verdict": "escalate"}], "a"),
        ([{"policy_kind": "a", "verdict": "allow"}], None),
        ([], None),
        ([None, "a", {"verdict": "escalate"}, {"policy_kind": 5, "verdict": "escalate"}], None),
        ({"verdict": "escalate"}, None),
    ],
)
def test_the_policy_is_the_kind_of_the_first_result_that_escalates(
    results: object, policy: str | None
) -> None:
    assert drafted(details={"policy_results": results}).draft.policy == policy


@pytest.mark.parametrize("verdict", ["allow", "block", "redact", "ESCALATE", ""])
def test_an_event_that_does_not_escalate_is_no_draft_however_bad_it_is(verdict: str) -> None:
    assert decision_event.from_event({"verdict": verdict, "request_id": 5, "details": []}) is None


@pytest.mark.parametrize("key", ["agent_id", "session_id", "timestamp", "details", "prompt_hash", "metadata"])
def test_a_key_that_is_null_is_a_key_that_is_absent(key: str) -> None:
    assert decision_event.from_event({**EVENT, key: None}) == drafted(**{key: None})


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (None, "not a mapping"),
        ([], "not a mapping"),
        ("escalate", "not a mapping"),
        ({}, "verdict is missing"),
        ({"verdict": ["escalate"]}, "verdict is missing"),
        ({"verdict": "escalate"}, "request_id is missing"),
        ({"verdict": "escalate", "request_id": None}, "request_id is missing"),
        ({"verdict": "escalate", "request_id": "a"}, "reason_code: is missing"),
        ({**EVENT, "request_id": ""}, "request_id: "),
        ({**EVENT, "request_id": "a" * 1001}, "request_id: "),
        ({**EVENT, "agent_id": 7}, "agent_id: "),
        ({**EVENT, "timestamp": 1772625600}, "created_at: "),
        ({**EVENT, "details": "none"}, "details must be a mapping"),
        ({**EVENT, "metadata": {"escalation_routing": "legal"}}, "metadata.escalation_routing: "),
        ({**EVENT, "metadata": {"escalation_routing": {"team_id": 5}}}, "metadata.escalation_routing: "),
        (
            {**EVENT, "metadata": {"escalation_routing": {"team_id": "a\x1b"}}},
            "metadata.escalation_routing: ",
        ),
        *(({**EVENT, "details": {key: "x"}}, "raw prompt") for key in ("prompt", "raw_prompt", "messages")),
    ],
)
def test_a_bad_event_is_refused_with_its_reason(event: object, problem: str) -> None:
    with pytest.raises(BadDraft, match=problem):
        decision_event.from_event(event)


@pytest.mark.parametrize("key", ["prompt", "raw_prompt", "messages"])
def test_a_raw_prompt_is_refused_in_a_record_too(key: str) -> None:
    with pytest.raises(BadDraft, match=f"event_context.{key}: a raw prompt never goes into git"):
        decision_event.from_record({"reason_code": "a", "event_context": {key: "x"}})


@pytest.mark.parametrize("key", ["claim", "reviews", "notes", "resolution", "reopens", "unknown"])
def test_a_record_given_to_raise_holds_nothing_that_reviewers_decide(key: str) -> None:
    with pytest.raises(BadDraft, match=key):
        decision_event.from_record({"reason_code": "a", key: None if key == "notes" else []})


# --- from draft to record -------------------------------------------------------------------------

PACK = {"providers": {"targets": [{"id": "bank-eu", "escalation_routing": {"team_id": "loans"}}]}}
POLICIES = assemble("a" * 40, {"policies/p.yaml": PolicyFile(PACK)})


@pytest.mark.parametrize(
    ("routing", "team_id", "user_id", "source"),
    [
        ({"team_id": "legal"}, "legal", None, "event"),
        ({"team_id": "legal", "user_id": None}, "legal", None, "event"),
        ({"user_id": "erin"}, None, "erin", "event"),
        ({"team_id": None, "user_id": None}, "loans", None, "policies/p.yaml#providers.targets[0]"),
        ({}, "loans", None, "policies/p.yaml#providers.targets[0]"),
        (None, "loans", None, "policies/p.yaml#providers.targets[0]"),
    ],
)
def test_the_events_own_route_comes_before_the_packs(
    routing: object, team_id: str | None, user_id: str | None, source: str
) -> None:
    item = decision_event.from_event(
        {**EVENT, "metadata": {"escalation_routing": routing}}, provider="bank-eu"
    )
    assert item
    record = raised(item, POLICIES)
    assert record.route == Route(team_id=team_id, user_id=user_id, source=source, policies="a" * 40)
    assert record.status == ("claimed" if user_id else "queued")
    assert (record.claim.claimed_by if record.claim else None) == user_id


@pytest.mark.parametrize("lease", ["4h", "9999d", "999999999d"])
def test_the_longest_lease_is_a_fault_of_the_settings_or_a_lease(lease: str) -> None:
    policies = assemble(None, {"policies/settings.yaml": PolicyFile({"claims": {"lease": lease}})})
    if not policies.faults:
        record = raised(drafted(metadata={"escalation_routing": {"user_id": "erin"}}), policies)
        assert record.claim
        assert record.claim.expires_at
        assert yaml_text.loads(yaml_text.dumps(record)) == record


def test_provider_and_model_fill_what_events_do_not_say() -> None:
    item = decision_event.from_event(EVENT, provider="bank-eu", model="m")
    assert item
    assert (item.draft.provider, item.draft.model) == ("bank-eu", "m")
    kept = decision_event.from_record({"reason_code": "a", "provider": "mine"}, provider="bank-eu", model="m")
    assert (kept.draft.provider, kept.draft.model) == ("mine", "m")


@pytest.mark.parametrize(
    ("timestamp", "created_at", "kept"),
    [
        (None, "2026-03-04T12:00:00.000Z", None),
        ("2019-01-01T00:00:00Z", "2019-01-01T00:00:00.000Z", None),
        ("2026-03-04T12:00:00Z", "2026-03-04T12:00:00.000Z", None),
        ("2026-03-04T12:00:00.001Z", "2026-03-04T12:00:00.000Z", "2026-03-04T12:00:00.001Z"),
        ("2999-01-01T01:00:00+01:00", "2026-03-04T12:00:00.000Z", "2999-01-01T00:00:00.000Z"),
    ],
)
def test_a_future_event_is_created_now_and_its_own_time_kept(
    timestamp: str | None, created_at: str, kept: str | None
) -> None:
    record = raised(drafted(timestamp=timestamp))
    assert record.as_dict()["created_at"] == created_at
    assert record.event_context
    assert record.event_context.get("timestamp") == kept
    assert record.event_context["prompt_hash"] == "hmac-sha256:00"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"timestamp": "2026-03-04T10:00:01Z"},
        {"metadata": {"escalation_routing": {"team_id": "legal"}}},
        {"timestamp": None},
        {"details": None, "prompt_hash": None, "prompt_redacted": None},
    ],
    ids=repr,
)
@pytest.mark.parametrize("timestamp", ["2026-03-04T10:00:00Z", "2999-01-01T00:00:00Z"])
def test_raising_the_same_request_again_is_a_repeat(timestamp: str, changes: dict[str, Any]) -> None:
    first = raised(drafted(timestamp=timestamp))
    again = drafted(**{"timestamp": timestamp, **changes})
    assert creation.escalation_id(again, NOON, b"\xff" * 10) == first.escalation_id
    creation.same_as_raised(first, again)


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"reason_code": "other"}, "reason_code"),
        ({"agent_id": "a"}, "agent_id"),
        ({"prompt_hash": "hmac-sha256:01"}, "event_context"),
        (
            {"details": {"policy_results": [{"policy_kind": "b", "verdict": "escalate"}]}},
            "event_context, policy",
        ),
    ],
)
def test_other_content_under_the_same_request_is_told_by_key(changes: dict[str, Any], differs: str) -> None:
    first = raised(drafted())
    with pytest.raises(DifferentContent) as caught:
        creation.same_as_raised(first, drafted(**changes))
    assert caught.value.facts == {"escalation_id": "esc_loan-1", "differs": differs}
    assert (caught.value.escalation_id, caught.value.differs) == ("esc_loan-1", differs)


@pytest.mark.parametrize("request_id", ["Loan-1", "a/b", "-a", "_a", "a" * 61, "../x", "ünï", "a b", "a\n"])
def test_a_request_id_that_fits_no_file_name_becomes_a_digest_and_is_kept_as_it_is(request_id: str) -> None:
    record = raised(drafted(request_id=request_id))
    assert record.escalation_id == f"esc_h{hashlib.sha256(request_id.encode()).hexdigest()[:40]}"
    assert record.request_id == request_id
