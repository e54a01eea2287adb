"""The facts about one escalation as values. A terminal page or a browser page lays them out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ..frozen import dataclass
from ..model.text import plural
from ..model.times import age, format_duration, moments_in
from ..model.vocabulary import AMENDING, DECISIONS
from . import plain_text

if TYPE_CHECKING:
    from ..model.record import Record
    from ..results import Found

#: A text with moments in it, which each reader shows in its own way.
Said = tuple[str | datetime, ...]
# Where a gateway shows what it proposes to run, the first one that is there.
_SHOWN = ("input", "excerpt")
_OF_A_RESULT = ("verdict", "policy_kind", "reason_code")


class Fact(NamedTuple):
    """One fact: its name, its texts, and their tones (a severity, a verdict, an outcome, ``late`` or none).

    ``technical`` marks ids and digests, which do not help to decide.
    """

    name: str
    said: Said
    tone: str = ""
    name_tone: str = "faint"
    technical: bool = False


@dataclass(frozen=True)
class Section:
    """Some facts under one title. A section without facts is not shown."""

    title: str
    facts: tuple[Fact, ...]


def status(record: Record) -> str:
    """The status in one word. For a resolved escalation it is the outcome."""
    return record.resolution.outcome if record.resolution else record.status


def sections(found: Found, now: datetime, *, whole: bool) -> Iterator[Section]:
    """All facts about an escalation. Unless ``whole``, most of the context is only counted."""
    record = found.record
    yield Section("What happened", tuple(_happened(record, now)))
    yield from _context(record.event_context or {}, whole=whole)
    yield Section("What is to be run", tuple(_used(found)))
    yield Section("Who has looked at it", tuple(_looked(record)))
    yield Section("Where it stands", tuple(_stands(found, now)))


def proposed(record: Record) -> Any:
    """The visible form of the proposed action: an earlier amendment, else the context's input or excerpt."""
    from ..rules import amending

    for review in reversed(record.reviews):
        if review.amendment is not None:
            known = amending.with_value(record.reviews, review.amendment.digest)
            return known.value if known is not None else None
    return original(record)


def original(record: Record) -> Any:
    """The visible form of the action as the gateway proposed it, before any amendment."""
    context = record.event_context or {}
    return next((context[key] for key in _SHOWN if key in context), "")


def text_of(value: Any) -> str:
    """A JSON value or a text in the form for a reviewer's editor."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def difference(before: str, after: str) -> Sequence[str]:
    """The difference of two texts, line by line, as `diff -u` prints it. The order of keys in JSON does not matter."""
    try:
        values = [json.loads(text) for text in (before, after)]
    except (ValueError, RecursionError):
        values = []
    if all(isinstance(value, dict | list) for value in values) and values:
        before, after = (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) for value in values)
    return tuple(
        difflib.unified_diff(before.splitlines(), after.splitlines(), "proposed", "amended", lineterm="")
    )


def outcomes(found: Found) -> Mapping[str, str]:
    """The effect that each of the caller's decisions would have now, by outcome."""
    record = found.record
    requires = record.requires
    return {outcome: _effect(record, requires.approvals, outcome) for outcome in DECISIONS}


def _effect(record: Record, approvals: int, outcome: str) -> str:
    if outcome == "denied":
        return "Ends it at once. Nothing is released."
    given = sum(review.outcome == outcome for review in record.reviews)
    if approvals > given + 1:
        return f"Counts as {given + 1} of {approvals} approvals, and it waits for another reviewer."
    what = "what you make of it" if outcome in AMENDING and record.action is not None else "the request"
    if outcome in AMENDING and record.action is None:
        what = f"the request as {outcome}"
    within = record.requires.valid_for
    often = " once" if record.requires.single_use else ""
    return f"Releases {what}{often}{f', within {format_duration(within)}' if within else ''}."


def spelled(value: Any) -> str:
    """A JSON value for people: mappings line by line, nested values indented, and text unchanged."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value:
        return "\n".join(f"{key}:{_below(item)}" for key, item in value.items())
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "\n".join(f"- {_further_in(item)}" for item in value)
    if isinstance(value, list) and value:
        return ", ".join(map(spelled, value))
    return json.dumps(value)


def _below(value: Any) -> str:
    """The text after a key."""
    several = isinstance(value, dict) or (isinstance(value, list) and "\n" in spelled(value))
    return ("\n  " if value and several else " ") + _further_in(value)


def _further_in(value: Any) -> str:
    # No line of a text can be mistaken for a key at the same level.
    return spelled(value).rstrip("\n").replace("\n", "\n  ")


def _fact(name: str, *said: str | datetime, tone: str = "", technical: bool = False) -> Fact:
    return Fact(name, said, tone, technical=technical)


def _happened(record: Record, now: datetime) -> Iterator[Fact]:
    yield _fact("reason", record.reason_code)
    yield _fact("created", record.created_at, f" ({age(now - record.created_at)} ago)")
    yield _fact("raised", record.raised_at, f" by {record.raised_by}")
    for name, value, technical in (
        ("policy", record.policy, False),
        ("provider", record.provider, False),
        ("model", record.model, False),
        ("agent", record.agent_id, False),
        ("request", record.request_id, True),
        ("session", record.session_id, True),
        ("config", record.config_version, True),
        ("reopens", record.reopens, False),
    ):
        if value is not None:
            yield _fact(name, value, technical=technical)
    for key, value in (record.labels or {}).items():
        yield _fact("label", f"{key} = {value}")


def _context(context: Mapping[str, Any], *, whole: bool) -> Iterator[Section]:
    """The context from the gateway: the results of the policies, the scores, the rest."""
    rest = dict(context)
    results, scores = rest.get("policy_results"), rest.get("scores")
    if isinstance(results, list) and results and all(isinstance(result, dict) for result in results):
        del rest["policy_results"]
        yield Section("What the policies said", tuple(map(_result, results)))
    if isinstance(scores, dict) and scores:
        del rest["scores"]
        yield Section("Scores", tuple(_fact(key, spelled(value)) for key, value in scores.items()))
    facts = [_fact("excerpt", spelled(rest.pop("excerpt")))] if "excerpt" in rest else []
    if whole:
        facts += [
            _fact(key, spelled(value), technical=key.startswith("prompt_")) for key, value in rest.items()
        ]
    elif rest:
        text = f"{plural(len(rest), 'more key')}; show with --include-context"
        facts.append(_fact("context", text, tone="faint"))
    yield Section("Context", tuple(facts))


def _result(result: Mapping[str, Any]) -> Fact:
    """A policy's verdict, and the reason."""
    verdict = str(result.get("verdict", "-"))
    words = [str(result[key]) for key in ("policy_kind", "reason_code") if key in result]
    more = {key: value for key, value in result.items() if key not in _OF_A_RESULT}
    said = ": ".join(words) or "-"
    return Fact(verdict, (f"{said}\n{spelled(more)}" if more else said,), name_tone=verdict)


def _used(found: Found) -> Iterator[Fact]:
    for name, text, digest in plain_text.use(found):
        yield _fact(name, *moments_in(text))
        if digest is not None:
            yield _fact("digest", digest, technical=True)
    schema = found.record.action.edit_schema if found.record.action else None
    if schema is not None:
        yield _fact("schema", json.dumps(schema, ensure_ascii=False), technical=True)


def _looked(record: Record) -> Iterator[Fact]:
    """Notes and reviews, by time."""
    facts = [(note.at, Fact("note", (f"{note.by} at ", note.at, f"\n{note.text}"))) for note in record.notes]
    for review in record.reviews:
        category = f" ({review.category})" if review.category else ""
        more = f"\n{plain_text.amended(review.amendment)}" if review.amendment is not None else ""
        said = (f"{review.reviewer} at ", review.reviewed_at, f"{category}\n{review.reason}{more}")
        facts.append((review.reviewed_at, Fact(review.outcome, said, name_tone=review.outcome)))
    end = record.resolution
    if end and not record.reviews:
        said = (f"{plain_text.ended_by(end)} at ", end.resolved_at, f"\n{end.reason}")
        facts.append((end.resolved_at, Fact(end.outcome, said, name_tone=end.outcome)))
    return (fact for _, fact in sorted(facts, key=lambda item: item[0]))


def _stands(found: Found, now: datetime) -> Iterator[Fact]:
    record, claim, end = found.record, found.record.claim, found.record.resolution
    yield _fact("for", plain_text.whom(record.route))
    yield _fact("routed by", record.route.source, technical=True)
    if claim and end:
        yield _fact("claimed", f"by {claim.claimed_by} at ", claim.claimed_at)
    elif claim:
        yield _fact("held by", f"{claim.claimed_by} since ", claim.claimed_at)
        if claim.expires_at:
            late = "late" if claim.expires_at <= now else ""
            yield _fact("lease", *_until(claim.expires_at, now), tone=late)
        yield _fact("claim id", claim.claim_id, technical=True)
    if end:
        yield _fact("resolved", f"{end.outcome} by {plain_text.ended_by(end)} at ", end.resolved_at)
    if found.quorum:
        yield _fact("missing", plain_text.missing(found.quorum))
    lease = claim.expires_at if claim else None
    if found.deadline and found.deadline != lease:
        late = "late" if found.deadline <= now else ""
        yield _fact("deadline", *_until(found.deadline, now), tone=late)
    if found.overdue is not None:
        yield _fact("overdue", *moments_in(found.overdue), tone="late")
    if found.reopened_by:
        yield _fact("reopened", ", ".join(found.reopened_by))
    yield _fact("file", f"{found.path} at {found.commit[:12]}", technical=True)
    yield _fact("shown", found.shown, technical=True)


def _until(end: datetime, now: datetime) -> Said:
    return ("until ", end, f" ({plain_text.left(end, now)})")
