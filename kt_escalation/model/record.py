"""The record of an escalation and its parts, as frozen values. See docs/record.md.

The order of the fields is the order of the written keys. Nothing here reads or writes files:
`storage.yaml_text` parses YAML, and `model.canonical` writes the canonical text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from . import digests, forms
from .edit_schema import check_schema
from .json_value import check_json
from .text import has_hidden
from .times import format_duration, format_time, in_store, parse_duration, parse_time
from .value import Constraint, ListOf, Value, between, form, length, plain
from .vocabulary import (
    AMENDING,
    LONGEST,
    MAX_AMENDMENTS,
    MAX_KEY,
    MAX_LABELS,
    MAX_NAME,
    MAX_PATH,
    MAX_SUMMARY,
    MAX_TEXT,
    Category,
    Outcome,
    Severity,
    Status,
)


def _one_line(text: str) -> str:
    # Visible ASCII, which nearly all of it is, needs no closer look.
    if not (text.isascii() and text.isprintable()) and has_hidden(text):
        raise ValueError("must be one line without control characters")
    return text


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _whole_number(value: object) -> object:
    if type(value) is not int:
        raise ValueError("must be a whole number")
    return value


def _true(value: object) -> object:
    if value is not True:
        raise ValueError("must be true")
    return value


def _parse_time(value: object) -> object:
    return parse_time(value) if isinstance(value, str) else value


def _parse_duration(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    span = parse_duration(value) if isinstance(value, str) else value
    if isinstance(span, timedelta) and span > LONGEST:
        raise ValueError(f"is longer than {LONGEST.days} days")
    return span


def _context(value: dict[str, Any]) -> dict[str, Any]:
    check_json(value, 2)
    return value


def _edit_schema(value: dict[str, Any]) -> dict[str, Any]:
    check_json(value, 3)
    check_schema(value)
    return value


def _amended(value: Any) -> Any:
    if value is not None:
        check_json(value, 5)
    return value


_TEXT, _LINE = Constraint(_said), Constraint(_one_line)

Time = Annotated[
    datetime,
    Constraint(
        _parse_time,
        before=True,
        write=format_time,
        # From 1970 to 8999; `times.in_store` checks it.
        json={"type": "string", "format": "date-time", "pattern": "^(19[7-9]|[2-8][0-9]{2})[0-9]-"},
    ),
    Constraint(in_store),
]
Duration = Annotated[
    timedelta,
    Constraint(
        _parse_duration,
        before=True,
        write=format_duration,
        # A number is a duration in seconds.
        json={"type": ["string", "integer"], "pattern": "^[0-9]+[smhd]?$", "minimum": 0},
    ),
]

EscalationId = Annotated[str, form(forms.ESCALATION_ID)]
ClaimId = Annotated[str, form(forms.CLAIM_ID)]
OneLine = Annotated[str, length(1, MAX_NAME), _LINE]
Path = Annotated[str, length(1, MAX_PATH)]
Name = Annotated[str, length(1, MAX_NAME)]
Text = Annotated[str, length(1, MAX_TEXT), _TEXT]
Summary = Annotated[str, length(1, MAX_SUMMARY), _LINE]
ReasonCode = Annotated[str, form(forms.REASON_CODE), length(0, 128)]
Context = Annotated[dict[str, Any], Constraint(_context)]
ActionDigest = Annotated[str, form(forms.ACTION_DIGEST)]
ValueDigest = Annotated[str, form(forms.VALUE_DIGEST)]
MediaType = Annotated[str, form(forms.MEDIA_TYPE)]
EditSchema = Annotated[dict[str, Any], Constraint(_edit_schema)]
# True and 1.0 equal 1 in Python, but they are different YAML.
TrueAlone = Annotated[Literal[True], Constraint(_true, before=True)]
SchemaVersion = Annotated[Literal[1, 2], Constraint(_whole_number, before=True)]
Labels = Annotated[
    dict[Annotated[str, length(1, MAX_KEY), _LINE], Annotated[str, length(0, MAX_NAME)]],
    length(0, MAX_LABELS),
]


class Action(Value):
    """What the gateway will do if the request is released."""

    _json_keys = ("edit_schema",)

    kind: ReasonCode
    name: OneLine
    digest: ActionDigest
    edit_schema: EditSchema | None = None


class Route(Value):
    """The team or user that an escalation goes to, and what decided that."""

    team_id: OneLine | None = None
    user_id: OneLine | None = None
    source: OneLine
    policies: Annotated[str, form(forms.TREE_ID)] | None = None

    def check(self) -> None:
        if self.team_id is not None and self.user_id is not None:
            raise ValueError("has both team_id and user_id")


class Fallback(Value):
    """Where an escalation goes if nobody claims it in time."""

    team_id: OneLine | None = None
    user_id: OneLine | None = None

    def check(self) -> None:
        if (self.team_id is None) == (self.user_id is None):
            raise ValueError("needs exactly one of team_id and user_id")


class Requires(Value):
    """What the settings required when the escalation was raised."""

    approvals: Annotated[int, between(1, 20)] = 1
    claim_within: Duration | None = None
    resolve_within: Duration | None = None
    fallback: Fallback | None = None
    single_use: TrueAlone | None = None
    valid_for: Duration | None = None


class Claim(Value):
    """The claim on an escalation: the holder, its start, and its end."""

    claim_id: ClaimId
    claimed_by: OneLine
    claimed_at: Time
    expires_at: Time | None = None

    def same_as(self, other: Claim | None) -> bool:
        """Whether it is the same claim. The lease may differ."""
        return other is not None and (self.claim_id, self.claimed_by, self.claimed_at) == (
            other.claim_id,
            other.claimed_by,
            other.claimed_at,
        )


class Amendment(Value):
    """What a reviewer made of the proposed action: the value, or only the digest of one that an earlier review has."""

    _json_keys = ("value",)

    media_type: MediaType
    digest: ValueDigest
    value: Annotated[Any, Constraint(_amended)] = None

    def check(self) -> None:
        if self.value is not None and digests.of_value(self.value) != self.digest:
            raise ValueError("digest is not that of the value")


class Review(Value):
    """One reviewer's decision, and the digest of the content that was decided on."""

    reviewer: OneLine
    outcome: Outcome
    reason: Text
    category: Category | None = None
    amendment: Amendment | None = None
    reviewed_at: Time
    claim_id: ClaimId
    shown: Annotated[str, form(forms.DIGEST)]


class Note(Value):
    """A comment on an escalation."""

    by: OneLine
    at: Time
    text: Text


class Resolution(Value):
    """The final decision on an escalation."""

    outcome: Outcome
    reason: Text
    category: Category | None = None
    resolved_by: OneLine
    resolved_at: Time


class Record(Value):
    """One escalation, from its raise to its resolution."""

    _json_keys = ("event_context",)

    schema_version: SchemaVersion = 1
    escalation_id: EscalationId
    status: Status
    severity: Severity = "medium"
    reason_code: ReasonCode
    summary: Summary | None = None
    created_at: Time
    raised_at: Time
    raised_by: OneLine
    queued_at: Time
    request_id: Name | None = None
    agent_id: Name | None = None
    session_id: Name | None = None
    config_version: Name | None = None
    provider: Name | None = None
    model: Name | None = None
    policy: Name | None = None
    event_context: Context | None = None
    action: Action | None = None
    labels: Labels | None = None
    route: Route
    requires: Requires = Requires.of({})
    reopens: EscalationId | None = None
    claim: Claim | None = None
    reviews: ListOf[Review] = ()
    notes: ListOf[Note] = ()
    resolution: Resolution | None = None

    def check(self) -> None:
        """Raise ValueError if the status does not agree with the other keys."""
        self._check_for(self._needed_version())

    def _check_for(self, needed: Literal[1, 2]) -> None:
        if (self.status == "resolved") != (self.resolution is not None):
            raise ValueError("status and resolution do not agree")
        if self.status == "claimed" and self.claim is None:
            raise ValueError("is claimed but has no claim")
        if self.status == "queued" and self.claim is not None:
            raise ValueError("is queued but has a claim")
        if self.schema_version != needed:
            raise ValueError(f"schema_version is {self.schema_version}; with these keys it must be {needed}")
        if needed == 2:
            _check_amendments(self.reviews)

    def _needed_version(self) -> Literal[1, 2]:
        """2 if and only if the record uses something that version 1 does not have."""
        requires = self.requires
        is_new = (
            self.action is not None
            or requires.single_use is not None
            or requires.valid_for is not None
            or (self.resolution is not None and self.resolution.outcome == "withdrawn")
            or (self.reviews != () and any(review.amendment is not None for review in self.reviews))
        )
        return 2 if is_new else 1

    @property
    def last_time(self) -> datetime:
        """The latest time in the record."""
        times = [self.created_at, self.raised_at, self.queued_at]
        if self.claim:
            times.append(self.claim.claimed_at)
        if self.reviews:
            times += [review.reviewed_at for review in self.reviews]
        if self.notes:
            times += [note.at for note in self.notes]
        if self.resolution:
            times.append(self.resolution.resolved_at)
        return max(times)

    def as_dict(self) -> dict[str, Any]:
        """The record as plain JSON values, in the order of the keys, without absent ones."""
        return {
            key: plain(value) for key, value in self.__dict__.items() if value is not None and value != ()
        }

    def replace(self, **changes: Any) -> Record:
        """A copy with some keys changed, which must have been checked. Raises ValueError if they disagree."""
        return self._agreed(super().replace(**changes))

    @classmethod
    def made(cls, parts: Mapping[str, Any]) -> Record:
        """A record of checked parts, with the schema version that they need. Raises ValueError if they disagree."""
        return cls._agreed(cls.of(parts))

    @staticmethod
    def _agreed(record: Record) -> Record:
        """The record with the schema version that it needs. Raises ValueError if its keys disagree."""
        needed = record._needed_version()
        if record.schema_version != needed:
            record = Value.replace(record, schema_version=needed)
        record._check_for(needed)
        return record


def _check_amendments(reviews: Sequence[Review]) -> None:
    """Raise ValueError unless each digest alone names an earlier value, and all values together are small enough."""
    values: dict[str, int] = {}
    for review in reviews:
        amendment = review.amendment
        if amendment is None:
            continue
        if review.outcome not in AMENDING:
            raise ValueError(
                f"reviews: an amendment goes with redacted or rewritten, not with {review.outcome}"
            )
        if amendment.value is None:
            if amendment.digest not in values:
                raise ValueError("reviews: an amendment without a value names one that no earlier review has")
        elif amendment.digest in values:
            raise ValueError(
                "reviews: an earlier review has the same amendment, so its digest alone is given"
            )
        else:
            values[amendment.digest] = len(digests.canonical_json(amendment.value))
    if sum(values.values()) > MAX_AMENDMENTS:
        raise ValueError(
            f"reviews: its amendments have {sum(values.values())} bytes, more than {MAX_AMENDMENTS // 1024} KiB"
        )


class Draft(Value):
    """The input of `raise`: a record without the keys that raising decides. See docs/record.md."""

    schema_version: SchemaVersion = 1
    escalation_id: EscalationId | None = None
    status: Literal["queued"] | None = None
    severity: Severity = "medium"
    reason_code: ReasonCode
    summary: Summary | None = None
    created_at: Time | None = None
    raised_at: Time | None = None
    raised_by: OneLine | None = None
    queued_at: Time | None = None
    request_id: Name | None = None
    agent_id: Name | None = None
    session_id: Name | None = None
    config_version: Name | None = None
    provider: Name | None = None
    model: Name | None = None
    policy: Name | None = None
    event_context: Context | None = None
    action: Action | None = None
    labels: Labels | None = None
    route: dict[str, Any] | None = None
    requires: Requires | None = None
