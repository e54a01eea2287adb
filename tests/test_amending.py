"""Digests, amendments, the quorum over them, and whose review counts."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from sample_policies import LEASE, NOW, record
from strategies import json_values

from kt_escalation import Store, action
from kt_escalation.actions import amendments
from kt_escalation.errors import BadAmendment, BadInput, NotAllowed
from kt_escalation.model import canonical, digests
from kt_escalation.model.edit_schema import MAX_SCHEMA_DEPTH, check_schema, misfit
from kt_escalation.model.record import Action, Record, Requires
from kt_escalation.policies.policy_file import PolicyFile
from kt_escalation.policies.policy_set import Policies, assemble
from kt_escalation.reporting import plain_text
from kt_escalation.rules import amending, judge_step, permissions, transitions
from kt_escalation.rules.permissions import Actor, actor
from kt_escalation.testing import MemoryRemote

# --- digests ----------------------------------------------------------------------------------------

#: RFC 8785, 3.2.2 and 3.2.4: the sample input, and the bytes that it becomes.
RFC_INPUT = json.loads(
    r'{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
    r'"string": "\u20ac$\u000F\u000aA\u0027\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}'
)
RFC_OUTPUT = bytes.fromhex(
    "7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e"
    "756d62657273223a5b3333333333333333332e333333333333332c31652b3330"
    "2c342e352c302e3030322c31652d32375d2c22737472696e67223a22e282ac24"
    "5c75303030665c6e4127425c225c5c5c5c5c222f227d"
)
#: RFC 8785, 3.2.3: keys are sorted by their UTF-16 code units.
RFC_KEYS = {
    "\u20ac": "Euro Sign",
    "\r": "Carriage Return",
    "\ufb33": "Hebrew Letter Dalet With Dagesh",
    "1": "One",
    "\U0001f600": "Emoji: Grinning Face",
    "\u0080": "Control",
    "\u00f6": "Latin Small Letter O With Diaeresis",
}
RFC_ORDER = ("\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33")
#: RFC 8785, appendix B: numbers, and how they are written.
RFC_NUMBERS = [
    (0.0, "0"),
    (-0.0, "0"),
    (5e-324, "5e-324"),
    (-1.7976931348623157e308, "-1.7976931348623157e+308"),
    (9007199254740992.0, "9007199254740992"),
    (295147905179352830000.0, "295147905179352830000"),
    (9.999999999999997e22, "9.999999999999997e+22"),
    (1e23, "1e+23"),
    (333333333.3333332, "333333333.3333332"),
    (1e21, "1e+21"),
    (0.000001, "0.000001"),
]


def test_the_vectors_of_the_rfc() -> None:
    assert digests.canonical_json(RFC_INPUT) == RFC_OUTPUT
    assert tuple(json.loads(digests.canonical_json(RFC_KEYS))) == RFC_ORDER
    for number, text in RFC_NUMBERS:
        assert digests.canonical_json(number).decode() == text


def test_a_digest_is_of_kind_name_and_input() -> None:
    plain = action.digest("tool.call", "refund", {"b": 1, "a": 2.0})
    assert plain == action.digest("tool.call", "refund", {"a": 2, "b": 1.0})
    # sha256 of {"input":{"a":2,"b":1},"kind":"tool.call","name":"refund"}, by sha256sum.
    assert plain == "sha256:f3ec01585ce5f17e31c8cbb838832269a77bff423aba84dc7360c158c9111283"
    keyed = action.digest("tool.call", "refund", {"a": 2, "b": 1}, key=b"secret")
    assert keyed.startswith("hmac-sha256:")
    assert keyed[12:] != plain[7:]
    assert action.digest("tool.call", "refund", {"a": 2, "b": 1}, key=b"other") != keyed


@pytest.mark.parametrize("value", [2**53, -(2**53), float("nan"), float("inf"), "\ud800", {1: 2}, {"a": {1}}])
def test_what_is_no_i_json_has_no_digest(value: Any) -> None:
    with pytest.raises(action.NotIJson):
        action.digest("a", "b", value)


def test_what_is_too_deep_has_no_digest() -> None:
    value: Any = 0
    for _ in range(100_000):
        value = [value]
    with pytest.raises(action.NotIJson, match="too deep"):
        action.digest("a", "b", value)


# --- schemas ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"pattern": "a"}, "/pattern: pattern is not one of the keywords"),
        ({"$ref": "#"}, "is not one of the keywords"),
        ({"properties": {"a/b": {"format": "date"}}}, "/properties/a~1b/format"),
        ({"type": "text"}, "/type must be one or several of"),
        ({"type": []}, "/type must be"),
        ({"type": ["string", "string"]}, "names a type twice"),
        ({"required": "a"}, "/required must be a list of names"),
        ({"required": ["a", "a"]}, "a name twice"),
        ({"enum": []}, "/enum must be a list"),
        ({"anyOf": []}, "/anyOf must be a list of schemas"),
        ({"anyOf": [1]}, "/anyOf/0 must be a schema"),
        ({"minimum": "1"}, "/minimum must be a number"),
        ({"minimum": True}, "/minimum must be a number"),
        ({"maxLength": -1}, "/maxLength must be a whole number"),
        ({"maxLength": 1.0}, "/maxLength must be a whole number"),
        ({"const": "x" * 9000}, "a schema has at most 8 KiB"),
    ],
)
def test_a_schema_that_is_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_schema(schema)


def test_a_schema_is_at_most_sixteen_deep() -> None:
    schema: Any = {}
    for _ in range(MAX_SCHEMA_DEPTH - 1):
        schema = {"items": schema}
    check_schema(schema)
    with pytest.raises(ValueError, match="deeper than 16"):
        check_schema({"items": schema})


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b/", "~"]), inner),
    max_leaves=5,
)
_TYPES = st.sampled_from(["null", "boolean", "object", "array", "number", "string", "integer"])
_SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries(
        {},
        optional={
            "type": _TYPES | st.lists(_TYPES, min_size=1, max_size=3, unique=True),
            "enum": st.lists(_VALUES, min_size=1, max_size=2),
            "const": _VALUES,
            "minimum": st.integers(-3, 3),
            "maxLength": st.integers(0, 3),
            "minItems": st.integers(0, 2),
            "required": st.lists(st.sampled_from(["a", "b/", "~"]), unique=True, max_size=2),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "b/", "~"]), inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=5,
)


@settings(max_examples=examples(50))
@given(_SCHEMAS.filter(lambda schema: isinstance(schema, dict)), _VALUES)
def test_what_is_taken_as_a_schema_is_one_and_the_pointer_leads_to_what_does_not_fit(
    schema: dict[str, Any], value: Any
) -> None:
    check_schema(schema)
    Draft202012Validator.check_schema(schema)
    wrong = misfit(schema, value)
    assert (wrong is None) == Draft202012Validator(schema).is_valid(value)
    if wrong is not None:
        for part in wrong[0].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            value = value[int(name)] if isinstance(value, list) else value[name]


# --- amendments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "media_type", "kind", "value"),
    [
        (b'{"a": 1}', None, "application/json", {"a": 1}),
        (b"Dear Bob,\n", None, "text/plain", "Dear Bob,\n"),
        (b'{"a": 1}', "text/plain", "text/plain", '{"a": 1}'),
        (b"# Hi", "text/markdown; charset=utf-8", "text/markdown", "# Hi"),
        (b"[1]", "application/vnd.a+json", "application/vnd.a+json", [1]),
        (b'"quoted"', None, "application/json", "quoted"),
    ],
)
def test_an_amendment_is_json_where_it_parses_as_such_or_is_said_to_be(
    data: bytes, media_type: str | None, kind: str, value: Any
) -> None:
    found = amendments.read(data, media_type)
    assert (found.media_type, found.value) == (kind, value)
    assert found.digest == digests.of_value(value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"anyOf": [{"type": "null"}] * 480}}, [1] * 12_000),
        ({"items": {"enum": [*range(1500)]}}, [-1] * 8_000),
        ({"items": {"const": [0] * 3_000}}, [[0] * 4] * 2_000),
        (
            {"additionalProperties": {"required": [f"k{n}" for n in range(800)]}},
            {str(n): {} for n in range(2_000)},
        ),
        ({"anyOf": [{"items": {"type": "string"}}] * 200}, [1] * 12_000),
    ],
)
def test_nobody_is_held_up_by_a_schema_that_takes_long(schema: dict[str, Any], value: Any) -> None:
    check_schema(schema)
    began = time.process_time()
    found = misfit(schema, value)
    assert found is not None
    assert "comparisons" in found[1]
    assert time.process_time() - began < 2


def test_an_ordinary_schema_of_the_largest_amendment_is_held_against_it() -> None:
    rows = [{"id": number, "to": "someone"} for number in range(800)]
    row = {
        "properties": {"id": {"type": "integer"}, "to": {"enum": ["someone", "nobody"]}},
        "required": ["id"],
    }
    assert misfit({"type": "array", "items": row}, rows) is None


@pytest.mark.parametrize(
    ("data", "media_type", "error"),
    [
        (b"{", "application/json", BadInput),
        (b"\xff", None, BadInput),
        (b"x", "no type", BadInput),
        (b"null", None, BadAmendment),
        (b"9007199254740992", None, BadAmendment),
        (b'{"a": 1, "a": 2}', None, BadAmendment),
        (b"[" * 40 + b"]" * 40, None, BadAmendment),
        (b'"' + b"x" * 25_000 + b'"', None, BadAmendment),
    ],
)
def test_an_amendment_that_cannot_be(data: bytes, media_type: str | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        amendments.read(data, media_type)


USERS = [
    *({"user_id": who, "emails": [f"{who}@example.com"], "roles": ["reviewer"]} for who in ("a", "b", "c")),
    {"user_id": "boss", "emails": ["boss@example.com"], "roles": ["admin"]},
    {"user_id": "gw", "emails": ["gw@example.com"], "roles": ["gateway"]},
]


def policies() -> Policies:
    """Three reviewers, an admin and a gateway."""
    found = assemble("1" * 40, {"policies/roster.yaml": PolicyFile({"users": USERS})})
    found.require_sound()
    return found


RULES = policies()
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}


def two(**keys: Any) -> Record:
    """One that needs two people, about an action that may be amended."""
    proposed = Action(kind="tool.call", name="pay", digest="sha256:" + "1" * 64, edit_schema=SCHEMA)
    return record(requires=Requires(approvals=2), action=proposed, **keys)


def who(name: str) -> Actor:
    return actor(f"{name}@example.com", NOW, RULES)


def reviewed(before: Record, name: str, outcome: Any, value: Any = None) -> Record:
    """Claim and decide, as the judge must accept."""
    held = transitions.claim(before, who(name), f"claim-{name}-{len(before.reviews)}")
    given = amendments.of(value) if value is not None else None
    after = transitions.resolve(held, who(name), outcome, "so", amendment=given)
    told = judge_step.StepContext(f"{name}@example.com", NOW, RULES)
    assert judge_step.judge(before, held, told) == judge_step.judge(held, after, told) == ()
    return after


def test_a_quorum_is_over_one_amendment() -> None:
    first = reviewed(two(), "a", "rewritten", {"n": 1})
    assert first.schema_version == 2
    assert first.status == "queued"
    other = reviewed(first, "b", "rewritten", {"n": 2})
    assert other.resolution is None
    agreed = reviewed(other, "c", "rewritten", {"n": 1.0})
    assert agreed.resolution
    assert agreed.resolution.outcome == "rewritten"
    last = agreed.reviews[-1].amendment
    assert last is not None
    assert last.value is None
    assert last.digest == first.reviews[0].amendment.digest
    effective = amending.effective(agreed)
    assert effective is not None
    assert effective.value == {"n": 1}
    assert amending.effective_digest(agreed) == effective.digest


def test_of_each_person_the_newest_review_counts() -> None:
    first = reviewed(two(), "a", "approved")
    split = reviewed(first, "b", "rewritten", {"n": 1})
    mind = reviewed(split, "a", "rewritten", {"n": 1})
    assert mind.resolution
    assert mind.resolution.outcome == "rewritten"
    changed = reviewed(reviewed(split, "b", "rewritten", {"n": 2}), "c", "rewritten", {"n": 1})
    assert changed.resolution is None


def test_who_has_reviewed_may_only_decide_otherwise() -> None:
    first = reviewed(two(), "a", "approved")
    held = transitions.claim(first, who("a"), "again")
    with pytest.raises(NotAllowed, match="may only decide otherwise; b, c may"):
        transitions.resolve(held, who("a"), "approved", "more words")
    assert transitions.resolve(held, who("a"), "denied", "no").resolution


def test_a_split_that_cannot_end_is_told() -> None:
    first = reviewed(two(), "a", "approved")
    assert permissions.split(first, RULES) is None
    second = reviewed(first, "b", "rewritten", {"n": 1})
    assert permissions.split(second, RULES) is None
    third = reviewed(second, "c", "rewritten", {"n": 2})
    told = permissions.split(third, RULES)
    assert told
    assert "nobody is left" in told
    assert "decide otherwise, or deny it" in told
    assert permissions.split(reviewed(third, "a", "denied"), RULES) is None


@pytest.mark.parametrize("outcome", ["approved", "denied"])
def test_an_amendment_goes_with_a_change(outcome: Any) -> None:
    held = transitions.claim(two(), who("a"), "x")
    with pytest.raises(BadInput, match="goes with redacted or rewritten"):
        transitions.resolve(held, who("a"), outcome, "so", amendment=amendments.of({"n": 1}))


@pytest.mark.parametrize(
    ("value", "pointer"), [({"n": 10}, "/n"), ({}, ""), ({"n": "1"}, "/n"), ("text", ""), ([1], "")]
)
def test_an_amendment_that_does_not_fit_is_refused_with_the_place(value: Any, pointer: str) -> None:
    held = transitions.claim(two(), who("a"), "x")
    with pytest.raises(BadAmendment) as refused:
        transitions.resolve(held, who("a"), "rewritten", "so", amendment=amendments.of(value))
    assert refused.value.facts["pointer"] == pointer


def test_all_amendments_together_are_bounded() -> None:
    open_one = record(requires=Requires(approvals=3))
    first = reviewed(open_one, "a", "rewritten", "x" * 20_000)
    with pytest.raises(BadAmendment, match="24 KiB"):
        reviewed(first, "b", "rewritten", "y" * 20_000)
    again = reviewed(first, "b", "rewritten", "x" * 20_000)
    assert len(again.reviews) == 2


def test_a_record_of_version_one_stays_one() -> None:
    before = record(requires=Requires(approvals=1))
    after = reviewed(before, "a", "rewritten")
    assert before.schema_version == after.schema_version == 1


def test_withdrawing_is_judged_as_it_is_done() -> None:
    before = record()
    later = NOW + LEASE
    for name in ("gw", "boss"):
        after = transitions.withdraw(before, actor(f"{name}@example.com", later, RULES), "gone")
        assert after.resolution
        assert after.resolution.outcome == "withdrawn"
        assert after.schema_version == 2
        told = judge_step.StepContext(f"{name}@example.com", later, RULES)
        assert judge_step.judge(before, after, told) == ()
        [wrong] = judge_step.judge(before, after, judge_step.StepContext("a@example.com", later, RULES))
        assert wrong.rule == "withdraw"


TWO_APPROVALS = "rules:\n  - match: {severity: critical}\n    approvals: 2\n"
TWO_REVIEWERS = "users:\n" + "".join(
    f"  - {{user_id: {name}, emails: [{name}@example.com], roles: [{role}]}}\n"
    for name, role in (("a", "reviewer"), ("b", "reviewer"), ("gw", "gateway"))
)


def approved_once(files: dict[str, str]) -> dict[str, Store]:
    """The stores of a gateway and two people, one of whom has approved what needs both."""
    remote = MemoryRemote({"policies/settings.yaml": TWO_APPROVALS, **files})
    stores = {name: remote.store(f"{name}@example.com") for name in ("gw", "a", "b")}
    stores["gw"].create(request_id="r", reason_code="a.b", severity="critical")
    assert stores["a"].claim("esc_r").warnings == ()
    stores["a"].resolve("esc_r", "approve", "fine")
    return stores


@pytest.mark.parametrize(
    ("files", "who"), [({"policies/roster.yaml": TWO_REVIEWERS}, "b"), ({}, "another person")]
)
def test_who_claims_again_what_waits_for_another_reviewer_is_told_so(files: dict[str, str], who: str) -> None:
    stores = approved_once(files)
    [warning] = stores["a"].claim("esc_r").warnings
    assert f"a review by {who}, who cannot claim it while you hold it: unless you decide otherwise" in warning
    assert warning.endswith("give it back with `kt escalation unclaim --id esc_r`")
    stores["a"].unclaim("esc_r")
    assert stores["b"].claim("esc_r").warnings == ()


def test_a_split_is_said_before_it_is_made_and_then_who_has_to_decide_otherwise() -> None:
    stores = approved_once({"policies/roster.yaml": TWO_REVIEWERS})
    with pytest.raises(NotAllowed, match=r"role reviewer; b may$"):
        stores["gw"].claim("esc_r")
    stores["b"].claim("esc_r")
    [told] = stores["b"].resolve("esc_r", "redact", "rather so", dry_run=True).warnings
    assert "nobody is left to review it" in told
    assert stores["b"].get("esc_r").record.status == "claimed"
    assert stores["b"].resolve("esc_r", "redact", "rather so").warnings == (told,)
    with pytest.raises(NotAllowed, match=r"role reviewer; a, b may, to decide otherwise$"):
        stores["gw"].claim("esc_r")
    found = stores["a"].get("esc_r")
    assert found.overdue == "nobody is left to review it but who has: a or b has to decide otherwise"
    assert found.quorum is not None
    assert plain_text.missing(found.quorum) == (
        "1 of 2 approvals (1 approved, 1 redacted so far), from nobody else: a or b has to decide otherwise"
    )
    # That is what is needed now, and in nobody's way.
    assert stores["a"].claim("esc_r").warnings == ()
    assert stores["a"].resolve("esc_r", "redact", "rather so").record.resolution


# --- what Python takes for equal -----------------------------------------------------------------


@st.composite
def twins(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two JSON values that Python takes for equal, whether or not they are the same JSON."""

    def twin(value: Any) -> Any:
        if isinstance(value, list):
            return [twin(one) for one in value]
        if isinstance(value, dict):
            return {key: twin(one) for key, one in value.items()}
        if not isinstance(value, int | float):
            return value
        kinds = [value, bool(value), *([float(value), int(value), -value] if abs(value) < 2**53 else [])]
        return draw(st.sampled_from([other for other in kinds if other == value]))

    value = draw(st.one_of(st.booleans(), st.integers(-2, 2), json_values()))
    return value, twin(value)


@settings(max_examples=examples(50))
@given(twins())
def test_a_step_that_changes_what_only_python_takes_for_equal_is_found(pair: tuple[Any, Any]) -> None:
    one, other = ({"k": value} for value in pair)
    assert one == other
    before = record(event_context=one)
    held = transitions.claim(before, who("a"), "c1")
    forged = held.replace(event_context=other)
    same = canonical.dumps(held) == canonical.dumps(forged)
    assert (held == forged) == same
    told = judge_step.judge(before, forged, judge_step.StepContext("a@example.com", NOW, RULES))
    assert [found.rule for found in told] == ([] if same else ["transition"])


def test_the_last_of_a_quorum_chooses_no_other_media_type() -> None:
    first = reviewed(two(), "a", "rewritten", {"n": 1})
    held = transitions.claim(first, who("b"), "again")
    given_ = amendments.of({"n": 1}, "application/x-other+json")
    after = transitions.resolve(held, who("b"), "rewritten", "so", amendment=given_)
    found = amending.effective(after)
    assert found is not None
    assert (found.media_type, found.value) == ("application/json", {"n": 1})
