"""The content of a listing and of an escalation's page for a terminal, as plain text. `screen` lays it out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...model.times import age, format_time, parse_time
from ...reporting import plain_text
from . import screen
from .screen import Column, Section, Words

if TYPE_CHECKING:
    from ...model.record import Record
    from ...model.summary import Row
    from ...multistore import Listed
    from ...results import Found
    from ...rules.available_actions import Move

# The columns by which a reviewer chooses are left out last: severity, summary, deadline.
_COLUMNS = (
    Column("STORE", goes=1, most=30, whole=True),
    Column("ID", whole=True),
    Column("SEVERITY"),
    Column("STATUS", goes=4),
    Column("AGE", goes=5, right=True),
    Column("DUE", goes=3, right=True),
    Column("FOR", goes=7, most=24),
    Column("HOLDER", goes=6, most=28),
    Column("REASON", goes=8, most=32),
    Column("SUMMARY", goes=2, least=24),
)

# The place of the status among the cells of a row.
_STATUS = 2

#: The available actions in words, and the command for each.
COMMANDS = {
    "claim": ("claim it", "claim --id {id}"),
    "resolve": ("decide it", "resolve --id {id} --outcome OUTCOME --reason TEXT"),
    "renew": ("hold it longer", "claim --id {id} --renew"),
    "unclaim": ("give it back", "unclaim --id {id}"),
    "force": ("take it away", "unclaim --id {id} --force --reason TEXT"),
    "assign": ("hand it on", "assign --id {id} --team TEAM --reason TEXT"),
    "note": ("add a note", "note --id {id} --text TEXT"),
    "reopen": ("reopen it", "reopen --id {id} --reason TEXT"),
}
_TO_USER = "assign --id {id} --to USER --reason TEXT"


def listing(page: Sequence[Listed], now: datetime, *, more: bool) -> Iterator[str]:
    """A table of rows, with their stores if there are several. A footer says if there are more rows."""
    if page:
        yield from screen.table(_COLUMNS, [_row(item, now) for item in page])
    if more:
        yield from screen.lines((f"the first {len(page)}; --limit 0 shows all", "faint"))


def _row(item: Listed, now: datetime) -> Sequence[Words]:
    row = item.row
    tones = {1: row.severity, 2: row.outcome or "", 4: "late" if _is_late(row, now) else ""}
    cells = [*plain_text.cells(row, now)]
    # A branch is often left over after its request was merged in another way; a second claim is no news.
    if item.proposed and row.status != "resolved" and (item.proposed, row.status) != ("claim", "claimed"):
        cells[_STATUS] += f", {item.proposed} proposed"
    return [(item.store or "", ""), *((cell, tones.get(at, "")) for at, cell in enumerate(cells))]


def _is_late(row: Row, now: datetime) -> bool:
    return row.deadline is not None and parse_time(row.deadline) <= now


def page(
    found: Found, moves: Sequence[Move] | str | None, *, include_context: bool, now: datetime
) -> Iterator[str]:
    """The page of an escalation, with the available actions: moves, why they are unknown, or None.

    Without ``include_context``, the page shows only the excerpt, results and scores of the context.
    """
    record = found.record
    status = record.resolution.outcome if record.resolution else record.status
    title = [
        (record.escalation_id, "head"),
        (record.severity, record.severity),
        (status, record.resolution.outcome if record.resolution else ""),
    ]
    sections = [
        Section("What happened", _happened(record, now)),
        *_context(record.event_context or {}, whole=include_context),
        Section("What is to be run", _pairs(*plain_text.use(found))),
        Section("Who has looked at it", _looked(record)),
        Section("Where it stands", _stands(found, now)),
        Section("What you may do", _next(record, moves)),
    ]
    yield from screen.page(title, record.summary, sections)


def _pairs(*pairs: tuple[str, str | None], tone: str = "") -> list[tuple[Words, Words]]:
    return [((key, "faint"), (value, tone)) for key, value in pairs if value is not None]


def _happened(record: Record, now: datetime) -> list[tuple[Words, Words]]:
    return [
        *_pairs(
            ("reason", record.reason_code),
            ("created", f"{format_time(record.created_at)} ({age(now - record.created_at)} ago)"),
            ("raised", f"{format_time(record.raised_at)} by {record.raised_by}"),
            ("policy", record.policy),
            ("provider", record.provider),
            ("model", record.model),
            ("agent", record.agent_id),
            ("request", record.request_id),
            ("session", record.session_id),
            ("config", record.config_version),
            ("reopens", record.reopens),
        ),
        *_pairs(*(("label", f"{key} = {value}") for key, value in (record.labels or {}).items())),
    ]


def _context(context: Mapping[str, Any], *, whole: bool) -> Iterator[Section]:
    """The context from the gateway: the results of the policies, the scores, the rest."""
    rest = dict(context)
    results, scores = rest.get("policy_results"), rest.get("scores")
    if isinstance(results, list) and results and all(isinstance(result, dict) for result in results):
        del rest["policy_results"]
        yield Section("What the policies said", [_result(result) for result in results])
    if isinstance(scores, dict) and scores:
        del rest["scores"]
        yield Section("Scores", _pairs(*((key, _spelled(value)) for key, value in scores.items())))
    excerpt = _pairs(("excerpt", _spelled(rest.pop("excerpt")))) if "excerpt" in rest else []
    if whole:
        others = _pairs(*((key, _spelled(value)) for key, value in rest.items()))
    elif rest:
        keys = "1 more key" if len(rest) == 1 else f"{len(rest)} more keys"
        others = _pairs(("context", f"{keys}; show with --include-context"), tone="faint")
    else:
        others = []
    yield Section("Context", [*excerpt, *others])


def _result(result: Mapping[str, Any]) -> tuple[Words, Words]:
    """A policy's verdict, and the reason."""
    verdict = str(result.get("verdict", "-"))
    words = [str(result[key]) for key in ("policy_kind", "reason_code") if key in result]
    known = ("verdict", "policy_kind", "reason_code")
    more = {key: value for key, value in result.items() if key not in known}
    said = ": ".join(words) or "-"
    return (verdict, verdict), (f"{said}\n{_spelled(more)}" if more else said, "")


def _spelled(value: Any) -> str:
    """A JSON value for people: mappings line by line, nested values indented, and text unchanged."""
    if isinstance(value, str):
        return value.rstrip("\n")
    if isinstance(value, dict) and value:
        return "\n".join(f"{key}:{_below(item)}" for key, item in value.items())
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "\n".join(f"- {_further_in(item)}" for item in value)
    if isinstance(value, list) and value:
        return ", ".join(map(_spelled, value))
    return json.dumps(value)


def _below(value: Any) -> str:
    """The text after a key."""
    several = isinstance(value, dict) or (isinstance(value, list) and "\n" in _spelled(value))
    return ("\n  " if value and several else " ") + _further_in(value)


def _further_in(value: Any) -> str:
    # No line of a text can be mistaken for a key at the same level.
    return _spelled(value).replace("\n", "\n  ")


def _looked(record: Record) -> list[tuple[Words, Words]]:
    """Notes and decisions, by time."""
    said: list[tuple[datetime, Words, str]] = [
        (note.at, ("note", "faint"), f"{note.by} at {format_time(note.at)}\n{note.text}")
        for note in record.notes
    ]
    for review in record.reviews:
        category = f" ({review.category})" if review.category else ""
        who = f"{review.reviewer} at {format_time(review.reviewed_at)}{category}"
        text = f"{who}\n{review.reason}"
        if review.amendment is not None:
            text = f"{text}\n{plain_text.amended(review.amendment)}"
        said.append((review.reviewed_at, (review.outcome, review.outcome), text))
    end = record.resolution
    if end and not record.reviews:
        who = f"{end.resolved_by} at {format_time(end.resolved_at)}"
        said.append((end.resolved_at, (end.outcome, end.outcome), f"{who}\n{end.reason}"))
    return [(key, (text, "")) for _, key, text in sorted(said, key=lambda item: item[0])]


def _stands(found: Found, now: datetime) -> list[tuple[Words, Words]]:
    record, claim = found.record, found.record.claim
    pairs = _pairs(("for", f"{plain_text.whom(record.route)} (by {record.route.source})"))
    if claim and record.resolution:
        pairs += _pairs(("claimed", f"by {claim.claimed_by} at {format_time(claim.claimed_at)}"))
    elif claim:
        until = f", {_until(claim.expires_at, now)}" if claim.expires_at else ""
        pairs += _pairs(
            ("held by", f"{claim.claimed_by} since {format_time(claim.claimed_at)}{until}"),
            ("claim id", claim.claim_id),
        )
    if record.resolution:
        end = record.resolution
        pairs += _pairs(("resolved", f"{end.outcome} by {end.resolved_by} at {format_time(end.resolved_at)}"))
    if found.quorum:
        pairs += _pairs(("missing", plain_text.missing(found.quorum)))
    if found.deadline:
        pairs += _pairs(
            ("deadline", _until(found.deadline, now)), tone="late" if found.deadline <= now else ""
        )
    pairs += _pairs(("overdue", found.overdue), tone="late")
    return pairs + _pairs(
        ("reopened", ", ".join(found.reopened_by) or None),
        ("file", f"{found.path} at {found.commit[:12]}"),
        ("shown", found.shown),
    )


def _until(end: datetime, now: datetime) -> str:
    return f"until {format_time(end)} ({plain_text.span(end, now)})"


def _next(record: Record, moves: Sequence[Move] | str | None) -> list[tuple[Words, Words]]:
    """The commands that the rules allow, and the reason why the most important one is refused."""
    if moves is None:
        return []
    if isinstance(moves, str):
        return [(("nothing", "faint"), (moves, ""))]
    refused = {move.action: move.refusal for move in moves if move.refusal}
    possible = {move.action: move for move in moves if not move.refusal}
    if "unclaim" in possible:
        possible.pop("force", None)
    pairs: list[tuple[Words, Words]] = []
    for action in ("claim", "resolve"):
        # The first of these two that is not just a repeat has the reason.
        if action in refused and not record.resolution and not {"claim", "resolve"} & possible.keys():
            pairs.append(((COMMANDS[action][0], "faint"), (f"no: {refused[action].summary}", "")))
            break
    for action, (words, command) in COMMANDS.items():
        if action in possible:
            to = possible[action].to
            if to and not any(whom.team_id for whom in to):
                command = _TO_USER
            line = f"kt escalation {command.format(id=record.escalation_id)}"
            pairs.append(((words, "faint"), (line, "command")))
    return pairs
