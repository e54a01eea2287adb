"""What fits is checked without pydantic, and what does not by pydantic: both must take the same and make the same of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import Lab, kt, loaded
from sample_records import FULL
from strategies import records

from kt_escalation.model import pydantic_schema
from kt_escalation.model.record import Draft, Fallback, OneLine, Record, Route
from kt_escalation.model.release import Release
from kt_escalation.model.value import InvalidValue, Value, checker, parse, plain
from kt_escalation.policies.roster import Roster
from kt_escalation.policies.settings import Settings
from kt_escalation.policies.waivers import Waivers

pytestmark = pytest.mark.fast

NOON = "2026-03-04T12:00:00.000Z"
AMENDED = {
    "media_type": "application/json",
    "digest": "sha256:" + "4" * 64,
    "value": {"amount": 5},
}
#: A good one of each kind, with all of its keys.
GOOD: Mapping[type[Value], dict[str, Any]] = {
    Record: {
        **FULL.as_dict(),
        "schema_version": 2,
        "action": {"kind": "tool.call", "name": "pay", "digest": "sha256:" + "0" * 64,
                   "edit_schema": {"type": "object"}},
        "requires": {"approvals": 2, "claim_within": "15m", "resolve_within": 90, "single_use": True,
                     "valid_for": "1h", "fallback": {"user_id": "erin"}},
    },
    Draft: {
        "schema_version": 1, "escalation_id": "esc_a", "status": "queued", "severity": "low", "reason_code": "a.b",
        "summary": "s", "created_at": NOON, "raised_by": "gw", "request_id": "r", "agent_id": "a",
        "event_context": {"deep": [1, 1.5, None, {"a": True}]}, "labels": {"k": "v"}, "route": {"team_id": "t"},
        "requires": {"approvals": 1}, "action": {"kind": "a.b", "name": "n", "digest": "hmac-sha256:" + "a" * 64},
    },
    Release: {
        "schema_version": 2, "escalation_id": "esc_a", "outcome": "approved", "digest": "sha256:" + "0" * 64,
        "resolved_at": NOON, "release_id": "T.1", "released_by": "gw", "released_at": NOON,
        "receipt": {"status": "executed", "result_digest": "sha256:" + "1" * 64, "receipt_by": "gw",
                    "receipt_at": NOON, "reason": "done"},
    },
    Roster: {
        "teams": [{"team_id": "loans", "name": "Loans", "members": ["alice", "bob"]}],
        "users": [{"user_id": "alice", "name": "A", "emails": ["a@example.com"], "roles": ["reviewer", "admin"],
                   "signing_keys": ["ssh-ed25519 AAAA"], "logins": ["gitlab:alice"]}],
    },
    Settings: {
        "default_route": {"team_id": "loans"}, "signatures": "required",
        "claims": {"lease": "4h", "clock_tolerance": "2m", "max_per_reviewer": 3, "proposals": "14d"},
        "rules": [{"match": {"severity": "high", "team_id": "loans"}, "approvals": 2, "claim_within": "1h",
                   "fallback": {"team_id": "x"}, "resolve_within": "2d", "single_use": True, "valid_for": "1h"}],
        "reasons": {"other": ["because", "so"]},
    },
    Waivers: {"waivers": [{"commit": "0" * 40, "rule": "tree", "path": "queue", "reason": "so it is"}]},
}  # fmt: skip
#: What somebody may write where something else belongs.
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -1, 21, 10**30, 1.0, 1.5, float("nan"), "", " ", "x", "a\nb", "a\u202eb", "\ud800",
    "A b", "x" * 101, "x" * 301, "x" * 5_001, "esc_b", "esc_b\n", "0" * 40, "0" * 40 + "\n", "0" * 64, "a@b", "gitlab:b",
    "sha256:" + "0" * 64 + "\n", "approved", "queued", "resolved", "low", "2026-03-04", NOON, "2026-13-04T12:00:00Z", "15m",
    "1x", "9" * 400 + "d", [], ["x"], ["x", "x"], [None], [[]], (), ("x",), {}, {"x": 1}, {5: 5}, {None: None}, {"a": {"b": {}}},
    {"type": "object"}, {"type": 5}, {"team_id": "t"}, {"team_id": "t", "user_id": "u"}, {"y" * 201: "z"}, b"x", object(),
    datetime(2026, 3, 4, tzinfo=UTC), datetime(2026, 3, 4), datetime(2026, 3, 4, tzinfo=timezone(timedelta(hours=1))),
    timedelta(hours=1), Fallback.of({"team_id": "t"}), Route.of({"source": "default"}), AMENDED,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all parts of a plain value."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def put(value: Any, path: tuple[Any, ...], change: Any) -> Any:
    """A copy of a plain value in which ``change`` has made something else of the part at ``path``."""
    if not path:
        return change(value)
    key, *rest = path
    copy = value.copy()
    copy[key] = put(value[key], tuple(rest), change)
    return copy


@st.composite
def damaged(draw: st.DrawFn, good: Any) -> Any:
    """A good value with one or two odd parts, or with a key too many or too few."""
    value = good
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(places(value))))
        odd = draw(st.sampled_from(ODD))
        how = draw(st.integers(0, 3))

        def change(part: Any, odd: Any = odd, how: int = how) -> Any:
            if how == 0 and isinstance(part, dict) and part:
                return {key: item for key, item in part.items() if key != sorted(part, key=str)[0]}
            if how == 1 and isinstance(part, dict):
                return {**part, "surplus": odd}
            if how == 2 and isinstance(part, list):
                return [*part, *part, odd]
            return odd

        value = put(value, path, change)
    return value


def agreed(kind: Any, value: Any) -> Any:
    """What both make of a value; None if both refuse it."""
    try:
        checked = checker(kind)(value)
    except ValueError:
        checked = None
    try:
        validated = pydantic_schema.validate(kind, value)
    except InvalidValue as error:
        assert error.faults, value
        validated = None
    assert type(checked) is type(validated), value
    assert checked == validated, value
    assert repr(checked) == repr(validated), value
    return checked


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.__name__)
def test_a_good_value_is_taken_with_all_that_it_says(kind: type[Value]) -> None:
    found = agreed(kind, GOOD[kind])
    assert found is not None
    assert plain(found).keys() >= GOOD[kind].keys()
    assert agreed(kind, plain(found)) == found


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.__name__)
def test_each_part_may_be_odd(kind: type[Value]) -> None:
    refused = 0
    for path in places(GOOD[kind]):
        for odd in ODD:
            refused += agreed(kind, put(GOOD[kind], path, lambda _, odd=odd: odd)) is None
    assert refused > 200


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.__name__)
@settings(max_examples=examples(200))
@given(data=st.data())
def test_several_parts_may_be_odd(kind: type[Value], data: st.DataObject) -> None:
    agreed(kind, data.draw(damaged(GOOD[kind])))


@settings(max_examples=examples(100))
@given(records(), st.data())
def test_any_record_may_be_odd(record: Record, data: st.DataObject) -> None:
    assert agreed(Record, record.as_dict()) == record
    agreed(Record, data.draw(damaged(record.as_dict())))


def test_what_does_not_fit_is_named_with_all_its_faults() -> None:
    with pytest.raises(InvalidValue) as raised:
        parse(Draft, {"reason_code": "a b", "severity": "worst", "surplus": 1, "labels": {"k": 5}})
    assert {path for path, _ in raised.value.faults} == {
        ("reason_code",),
        ("severity",),
        ("surplus",),
        ("labels", "k"),
    }
    assert "\n" not in str(raised.value)


def test_text_that_fitted_once_fits_again_and_nothing_that_equals_it_does() -> None:
    class Odd(str):
        __slots__ = ()

    for text in ("alice", "x" * 200):
        for _ in range(2):
            assert checker(OneLine)(text) is text
            with pytest.raises(ValueError, match="is no text"):
                checker(OneLine)(Odd(text))
    for number in range(3_000):
        assert checker(OneLine)(f"name {number}") == f"name {number}"
    for _ in range(2):
        with pytest.raises(ValueError, match="one line"):
            checker(OneLine)("a\nb")


def test_a_value_is_frozen() -> None:
    value = Fallback(team_id="t")
    with pytest.raises(AttributeError):
        value.team_id = "u"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del value.team_id
    with pytest.raises(InvalidValue):
        Fallback(team_id="t", user_id="u")
    assert value == Fallback(team_id="t")
    assert hash(value) == hash(Fallback(team_id="t"))
    assert repr(value) == "Fallback(team_id='t', user_id=None)"


def test_no_command_that_works_loads_pydantic(lab: Lab) -> None:
    clone = lab.clone("gateway")
    commands = [
        ("raise", "--reason-code", "a.b", "--request-id", "r"),
        ("list", "--json"),
        ("get", "--id", "esc_r"),
        ("claim", "--id", "esc_r"),
        ("note", "--id", "esc_r", "--text", "seen"),
        ("resolve", "--id", "esc_r", "--outcome", "approved", "--reason", "fine"),
        ("wait", "--id", "esc_r"),
        ("log",),
        ("verify",),
        ("sweep",),
        ("stats",),
    ]
    for command in commands:
        assert "pydantic" not in loaded(*command, cwd=clone)[1], command
    refused = kt("raise", "--reason-code", "a b", cwd=clone)
    assert refused.code == 2
    assert "reason_code" in refused.err
    done = subprocess.run(
        [sys.executable, "-c", "import sys, kt_escalation.audit.hook; print('pydantic' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"
