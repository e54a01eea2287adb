"""Texts of records as files hold them: small ones made by argument, a full one, and bad ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lab import record_text

from kt_escalation.model.record import (
    Claim,
    Fallback,
    Note,
    Record,
    Requires,
    Resolution,
    Review,
    Route,
)
from kt_escalation.model.vocabulary import MAX_BYTES

DAY = "2026-11-23"


def at(hour: int, minute: int = 0) -> str:
    return f'"{DAY}T{hour:02}:{minute:02}:00.000Z"'


def open_text(name: str, severity: str = "medium", *, route: str = "", holder: str = "", **more: str) -> str:
    """A queued record's text; a claimed one's with a holder."""
    text = record_text(name, severity, **more).replace(
        "route:\n", f"route:\n  {route}\n" if route else "route:\n"
    )
    if not holder:
        return text
    claim = f"claim:\n  claim_id: T\n  claimed_by: {holder}\n  claimed_at: {at(9)}\n"
    return text.replace("status: queued", "status: claimed") + claim


def resolved_text(name: str, outcome: str = "approved", *, hour: int = 10, **more: str) -> str:
    """A resolved record's text."""
    decided = f"outcome: {outcome}\n{{}}reason: fine\n"
    review = decided.format("    ") + f"    reviewed_at: {at(hour)}\n    claim_id: T\n    shown: {'0' * 64}\n"
    end = decided.format("  ") + f"  resolved_by: bob@example.com\n  resolved_at: {at(hour)}\n"
    return (
        open_text(name, holder="bob@example.com", **more).replace("status: claimed", "status: resolved")
        + f"reviews:\n  - reviewer: bob@example.com\n    {review}resolution:\n  {end}"
    )


def resolved_path(name: str) -> str:
    return f"queue/resolved/{DAY.replace('-', '/')}/esc_{name}.yaml"


NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


SMALL_TEXT = """\
schema_version: 1
escalation_id: esc_small
status: queued
severity: medium
reason_code: oversight.required
created_at: "2026-03-04T12:00:00.000Z"
raised_at: "2026-03-04T12:00:00.000Z"
raised_by: gw@example.com
queued_at: "2026-03-04T12:00:00.000Z"
route:
  source: default
requires:
  approvals: 1
"""


FULL = Record(
    escalation_id="esc_full",
    status="resolved",
    severity="critical",
    reason_code="loans.unsuitable",
    summary="A loan offer to a customer without income",
    created_at=NOON,
    raised_at=NOON,
    raised_by="gw@example.com",
    queued_at=NOON,
    request_id="0777",
    agent_id="no",
    session_id="12:30:45",
    config_version="1.10",
    provider="bank-eu",
    model="~",
    policy="human-oversight",
    event_context={
        "empty": {},
        "excerpt": "first line\nsecond line\n",
        "policy_results": [{"latency_ms": 3, "policy_kind": "human-oversight"}, [], [[None, True]]],
        "scores": {"risk": 0.75, "tiny": 1e-07},
    },
    labels={"on": "2026-03-04"},
    route=Route(team_id="loans", source="policies/p.yaml#providers.targets[0]", policies="0a" * 20),
    requires=Requires(
        approvals=2,
        claim_within=timedelta(minutes=15),
        resolve_within=timedelta(hours=4),
        fallback=Fallback(user_id="erin"),
    ),
    reopens="esc_small",
    claim=Claim(claim_id="c1", claimed_by="carol", claimed_at=NOON, expires_at=NOON + timedelta(hours=4)),
    reviews=(
        Review(
            reviewer="carol",
            outcome="denied",
            reason="x" * 101,
            category="other",
            reviewed_at=NOON,
            claim_id="c1",
            shown="5e" * 32,
        ),
    ),
    notes=(Note(by="dave", at=NOON, text="- looks\n  odd"),),
    resolution=Resolution(
        outcome="denied", reason="no", category="other", resolved_by="carol", resolved_at=NOON
    ),
)


FULL_TEXT = f"""\
schema_version: 1
escalation_id: esc_full
status: resolved
severity: critical
reason_code: loans.unsuitable
summary: A loan offer to a customer without income
created_at: "2026-03-04T12:00:00.000Z"
raised_at: "2026-03-04T12:00:00.000Z"
raised_by: gw@example.com
queued_at: "2026-03-04T12:00:00.000Z"
request_id: "0777"
agent_id: "no"
session_id: "12:30:45"
config_version: "1.10"
provider: bank-eu
model: "~"
policy: human-oversight
event_context:
  empty: {{}}
  excerpt: |
    first line
    second line
  policy_results:
    - latency_ms: 3
      policy_kind: human-oversight
    - []
    -
      -
        - null
        - true
  scores:
    risk: 0.75
    tiny: 1.0e-07
labels:
  "on": "2026-03-04"
route:
  team_id: loans
  source: "policies/p.yaml#providers.targets[0]"
  policies: "{"0a" * 20}"
requires:
  approvals: 2
  claim_within: "15m"
  resolve_within: "4h"
  fallback:
    user_id: erin
reopens: esc_small
claim:
  claim_id: c1
  claimed_by: carol
  claimed_at: "2026-03-04T12:00:00.000Z"
  expires_at: "2026-03-04T16:00:00.000Z"
reviews:
  - reviewer: carol
    outcome: denied
    reason: |-
      {"x" * 101}
    category: other
    reviewed_at: "2026-03-04T12:00:00.000Z"
    claim_id: c1
    shown: "{"5e" * 32}"
notes:
  - by: dave
    at: "2026-03-04T12:00:00.000Z"
    text: |-
      - looks
        odd
resolution:
  outcome: denied
  reason: "no"
  category: other
  resolved_by: carol
  resolved_at: "2026-03-04T12:00:00.000Z"
"""


def with_line(key: str, value: str) -> bytes:
    """The small record with one line more, before the route."""
    return SMALL_TEXT.replace("route:", f"{key}: {value}\nroute:").encode()


def changed(old: str, new: str) -> bytes:
    assert old in SMALL_TEXT
    return SMALL_TEXT.replace(old, new).encode()


def laughs(levels: int, width: int = 10) -> bytes:
    """Aliases of lists of aliases: `width` to the power of `levels` items when expanded."""
    rows = ["a0: &a0 [lol]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join([*rows, ""]).encode()


def nested(depth: int, inner: str = "") -> bytes:
    """The small record with containers down to ``depth``, the record itself being the first."""
    return with_line("event_context", "{a: " + "[" * (depth - 2) + inner + "]" * (depth - 2) + "}")


BAD: dict[str, tuple[bytes, str, int]] = {
    "empty": (b"", "empty", 0),
    "blank": (b"\n\n   \n", "empty", 0),
    "only a comment": (b"# nothing\n", "empty", 0),
    "a list": (b"- a\n", "not a mapping", 0),
    "a word": (b"hello\n", "not a mapping", 0),
    "conflict markers": (b"<<<<<<< ours\nstatus: queued\n=======\n>>>>>>> theirs\n", "not YAML", 2),
    "latin-1": (SMALL_TEXT.encode().replace(b"gw@", b"\xfc@"), "UTF-8", 8),
    "UTF-16": (SMALL_TEXT.encode("utf-16"), "UTF-8", 1),
    "NUL": (SMALL_TEXT.encode().replace(b"default", b"de\0fault"), "not YAML", 0),
    "escape character": (SMALL_TEXT.encode().replace(b"default", b"\x1b[31m"), "not YAML", 0),
    "anchor": (with_line("agent_id", "&a b"), "anchor", 10),
    "alias": (with_line("agent_id", "*a"), "alias", 10),
    "tag": (with_line("agent_id", "!!str b"), "tag", 10),
    "python tag": (with_line("agent_id", "!!python/object/apply:os.system [id]"), "tag", 10),
    "merge key with alias": (with_line("<<", "*a"), "alias", 10),
    "duplicate key": (changed("severity:", "status: queued\nseverity:"), "stands twice", 4),
    "duplicate nested key": (with_line("event_context", "{a: 1, a: 2}"), "stands twice", 10),
    "duplicate key in disguise": (changed("severity:", '"status": queued\nseverity:'), "stands twice", 4),
    "two documents": (f"{SMALL_TEXT}---\n{SMALL_TEXT}".encode(), "more than one document", 14),
    "unknown key": (with_line("agentid", "a"), "agentid", 0),
    "unknown key within": (changed("source: default", "source: default\n  team: a"), "route.team", 0),
    "missing key": (changed("reason_code: oversight.required\n", ""), "reason_code: is missing", 0),
    "missing value": (with_line("agent_id", ""), "value is missing", 10),
    "a key that is a list": (with_line("[a]", "b"), "key must be text", 10),
    "a block that does not end": (with_line("agent_id", "[a"), "not YAML", 11),
    "33 levels": (nested(33), "deeper than 32", 10),
    "bottomless": (nested(100_000), "deeper than 32", 10),
    "too large": (with_line("agent_id", "a" * MAX_BYTES), "256 KiB", 0),
    "billion laughs": (SMALL_TEXT.encode() + laughs(12), "anchor", 14),
    "schema 3": (changed("schema_version: 1", "schema_version: 3"), "upgrade kt", 0),
    "schema 2 without need": (changed("schema_version: 1", "schema_version: 2"), "it must be 1", 0),
    "schema 1 with what is new": (
        changed("  approvals: 1", "  approvals: 1\n  single_use: true"),
        "it must be 2",
        0,
    ),
    "single_use false": (changed("  approvals: 1", "  approvals: 1\n  single_use: false"), "single_use", 0),
    "schema 3 with unknown keys": (
        changed("schema_version: 1", "schema_version: 3\nnew: 1"),
        "upgrade kt",
        0,
    ),
    "schema true": (changed("schema_version: 1", "schema_version: true"), "schema_version", 0),
    "schema 1.0": (changed("schema_version: 1", "schema_version: 1.0"), "schema_version", 0),
    "schema 0": (changed("schema_version: 1", "schema_version: 0"), "schema_version", 0),
    "infinite number": (with_line("event_context", "{a: 1e999}"), "not finite", 10),
    "301 digits": (with_line("event_context", "{a: 1" + "0" * 300 + "}"), "300 digits", 10),
    "a number for text": (with_line("agent_id", "5"), "agent_id", 0),
    "an id with a line feed": (changed("esc_small", '"esc_small\\n"'), "escalation_id", 0),
    "an id that climbs": (changed("esc_small", '"esc_../../x"'), "escalation_id", 0),
    "a surrogate": (with_line("agent_id", '"\\ud800"'), "not YAML", 10),
    "a number for a time": (changed('raised_at: "2026-03-04T12:00:00.000Z"', "raised_at: 1"), "raised_at", 0),
    "a date for a time": (
        changed('raised_at: "2026-03-04T12:00:00.000Z"', "raised_at: 2026-03-04"),
        "raised_at",
        0,
    ),
    "both a team and a user": (
        changed("source: default", "source: default\n  team_id: a\n  user_id: b"),
        "both",
        0,
    ),
    "a claim while queued": (
        with_line("claim", '{claim_id: c, claimed_by: a, claimed_at: "2026-03-04T12:00:00Z"}'),
        "claim",
        0,
    ),
    "claimed by nobody": (changed("status: queued", "status: claimed"), "no claim", 0),
    "resolved without an end": (changed("status: queued", "status: resolved"), "resolution", 0),
    "an endless duration": (
        changed("approvals: 1", "approvals: 1\n  claim_within: 99999999999999999999"),
        "claim_within",
        0,
    ),
    "a summary of two lines": (with_line("summary", '"a\\nb"'), "summary", 0),
    "a summary with an escape": (with_line("summary", '"\\e[31m"'), "summary", 0),
    "a summary of 201 characters": (with_line("summary", "a" * 201), "summary", 0),
}
