"""Shows records as plain text, the same for every destination. For terminals see `cli.terminal`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..model.text import plural, visible
from ..model.times import age, format_duration, format_time, lasted, parse_time
from . import limits

if TYPE_CHECKING:
    from ..model.event import Event
    from ..model.record import Amendment, Claim, Record, Resolution, Route
    from ..model.summary import RecordSummary
    from ..results import Found, Moment
    from ..rules.permissions import Quorum

__all__ = ["cells", "due", "left", "listing", "missing", "page", "span", "timeline", "visible", "whom"]

# Below this many seconds, a time is given in minutes and seconds.
_COUNTED_IN_SECONDS = 600


def whom(route: Route | RecordSummary) -> str:
    """The team or user of a route, in a word or two."""
    if route.team_id:
        return f"team {route.team_id}"
    return f"user {route.user_id}" if route.user_id else "anyone"


def listing(page: Sequence[tuple[RecordSummary, str | None]], now: datetime) -> Iterator[str]:
    """One line of tab-separated fields for each row, without a header.

    If several stores are listed, each row comes with its store, which is the first field.
    """
    yield from ("\t".join((*((visible(store),) if store else ()), *cells(row, now))) for row, store in page)


def cells(row: RecordSummary, now: datetime) -> tuple[str, ...]:
    """The cells of a listing: id, severity, status, age, deadline, route, holder, reason, summary."""
    return (
        row.escalation_id,
        row.severity,
        row.outcome or row.status,
        age(now - parse_time(row.created_at)),
        due(row, now),
        visible(whom(row)),
        visible(row.holder or "-"),
        visible(row.reason_code),
        visible(row.summary or ""),
    )


def due(row: RecordSummary, now: datetime) -> str:
    """The time to the deadline: ``in 2h``, ``5m ago``."""
    return span(parse_time(row.deadline), now) if row.deadline else "-"


def span(end: datetime, now: datetime) -> str:
    """The time until another time, or since it: ``in 2h``, ``5m ago``."""
    return f"in {age(end - now)}" if end > now else f"{age(now - end)} ago"


def left(end: datetime, now: datetime) -> str:
    """The time until another time, or since it, as precisely as people need it: ``3h59m``, ``5m ago``."""
    seconds = int((end - now).total_seconds())
    whole = abs(seconds)
    said = lasted(whole if whole < _COUNTED_IN_SECONDS else whole - whole % 60)
    return said if seconds > 0 else f"{said} ago"


def ended_by(end: Resolution) -> str:
    """The person who resolved it. For an expiry, the deadline and the person who swept."""
    return f"its deadline (swept by {end.resolved_by})" if end.outcome == "expired" else end.resolved_by


def page(found: Found, include_context: bool, now: datetime) -> Iterator[str]:
    """One escalation as a page of `key: value` lines."""
    record = found.record
    yield f"{record.escalation_id}  {record.severity}  {record.status}"
    if record.summary:
        yield f"  {visible(record.summary)}"
    yield from _fields(
        ("reason", record.reason_code),
        ("created", f"{format_time(record.created_at)} ({age(now - record.created_at)} ago)"),
        ("raised", f"{format_time(record.raised_at)} by {record.raised_by}"),
        ("request", record.request_id),
        ("agent", record.agent_id),
        ("session", record.session_id),
        ("config", record.config_version),
        ("provider", record.provider),
        ("model", record.model),
        ("policy", record.policy),
        ("for", f"{whom(record.route)} (by {record.route.source})"),
        ("reopens", record.reopens),
        ("reopened", ", ".join(found.reopened_by) or None),
        ("deadline", format_time(found.deadline) if found.deadline else None),
        ("overdue", found.overdue),
        ("missing", missing(found.quorum) if found.quorum else None),
    )
    yield from _fields(
        *((name, _on_one_line(f"{text} ({digest})" if digest else text)) for name, text, digest in use(found))
    )
    for key, value in (record.labels or {}).items():
        yield _field("label", f"{key} = {value}")
    yield from _policy_results(record)
    if record.event_context and include_context:
        yield _field("context", "")
        for line in json.dumps(record.event_context, indent=2, ensure_ascii=False).splitlines():
            yield f"    {visible(line)}"
    elif record.event_context:
        yield _field("context", f"{plural(len(record.event_context), 'key')}; shown with --include-context")
    if record.claim:
        yield _claimed(record.claim, is_open=record.resolution is None)
    for note in record.notes:
        yield _field("note", f"{note.by} at {format_time(note.at)}")
        yield from _said(note.text)
    for review in record.reviews:
        category = f" ({review.category})" if review.category else ""
        who = f"{review.outcome}{category} by {review.reviewer} at {format_time(review.reviewed_at)}"
        yield _field("review", who)
        yield from _said(review.reason)
        if review.amendment is not None:
            yield from _said(amended(review.amendment))
    if record.resolution:
        end = record.resolution
        yield _field("resolved", f"{end.outcome} by {ended_by(end)} at {format_time(end.resolved_at)}")
        if not record.reviews:
            yield from _said(end.reason)
    yield _field("file", f"{found.path} at {found.commit[:12]}")
    yield _field("shown", found.shown)


def _claimed(claim: Claim, *, is_open: bool) -> str:
    at = format_time(claim.claimed_at)
    if not is_open:
        return _field("claimed", f"by {claim.claimed_by} at {at} (claim {claim.claim_id})")
    until = f", until {format_time(claim.expires_at)}" if claim.expires_at else ""
    return _field("held by", f"{claim.claimed_by} since {at}{until} (claim {claim.claim_id})")


def _on_one_line(text: str) -> str:
    first, *rest = text.split("\n")
    return f"{first}{': ' if rest else ''}{'; '.join(line.strip() for line in rest)}"


def use(found: Found) -> Iterator[tuple[str, str, str | None]]:
    """The proposed action, the released action, and the result of the release: keys, values and their digests."""
    record, used = found.record, found.release
    action, within = record.action, record.requires.valid_for
    if action is not None:
        yield "proposed", f"{action.kind} {action.name}", action.digest
    if action is not None and action.edit_schema is not None:
        yield "may be", f"amended to\n{limits.spelled(action.edit_schema)}", None
    if record.requires.single_use or within:
        once = "once" if record.requires.single_use else "as often as asked"
        yield "released", f"{once}, {f'within {format_duration(within)}' if within else 'at any time'}", None
    if found.digest is not None:
        what = "the amendment" if found.amendment is not None else "as proposed"
        yield "effective", what, found.digest
    if used is not None:
        yield (
            "used",
            f"by {used.released_by} at {format_time(used.released_at)} under {used.release_id}",
            None,
        )
        receipt = used.receipt
        if receipt is not None:
            said = f": {receipt.reason}" if receipt.reason else ""
            when = format_time(receipt.receipt_at)
            yield "receipt", f"{receipt.status} by {receipt.receipt_by} at {when}{said}", None


def amended(amendment: Amendment) -> str:
    """The amendment of a decision, for people."""
    value = amendment.value
    if value is None:
        return f"amended as above ({amendment.digest})"
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"amended to ({amendment.digest}):\n{text}"


def missing(quorum: Quorum) -> str:
    """The approvals that are still missing, and the people who can give them."""
    given = ", ".join(f"{count} {outcome}" for outcome, count in quorum.given.items())
    so_far = f" ({given} so far)" if given else ""
    who = "anybody"
    if quorum.candidates is not None:
        again = " or ".join(quorum.otherwise)
        nobody = f"nobody else: {again} has to decide otherwise" if again else "nobody on the roster"
        who = ", ".join(quorum.candidates) or nobody
    return f"{quorum.missing} of {plural(quorum.approvals, 'approval')}{so_far}, from {who}"


def _fields(*pairs: tuple[str, str | None]) -> Iterator[str]:
    for key, value in pairs:
        if value is not None:
            yield _field(key, value)


def _field(key: str, value: str) -> str:
    return f"  {key.ljust(9)} {visible(value)}".rstrip()


def _policy_results(record: Record) -> Iterator[str]:
    context: dict[str, Any] = record.event_context or {}
    results = context.get("policy_results")
    for result in results if isinstance(results, list) else ():
        if isinstance(result, dict):
            words = " ".join(
                str(result[key]) for key in ("policy_kind", "verdict", "reason_code") if key in result
            )
            yield _field("result", words)
    scores = context.get("scores")
    for key, value in scores.items() if isinstance(scores, dict) else ():
        yield _field("score", f"{key} = {value}")


def _said(text: str) -> Iterator[str]:
    for line in visible(text, lines=True).split("\n"):
        yield f"    {line}"


def timeline(
    moments: Iterator[Moment] | Iterator[Event], *, at: Callable[[datetime], str] = format_time
) -> Iterator[str]:
    """One line for each event, in order. ``at`` formats its time."""
    for moment in moments:
        outcome = f" as {moment.outcome}" if moment.outcome else ""
        text = f": {visible(moment.text)}" if moment.text else ""
        who = visible(moment.actor or moment.email)
        if moment.outcome == "expired" and moment.action == "sweep":
            who = f"its deadline (swept by {who})"
        other = (
            f" (commit by {visible(moment.email)})"
            if moment.actor and "@" in moment.actor and moment.actor.casefold() != moment.email.casefold()
            else ""
        )
        yield (
            f"{at(moment.at)}  {moment.commit[:12]}  {moment.action.ljust(8)} "
            f"{moment.escalation_id or '-'}  {who}{other}{outcome}{text}"
        )
