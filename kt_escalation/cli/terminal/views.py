"""The content of a listing and of an escalation's page for a terminal, as plain text. `screen` lays it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ...model.times import parse_time
from ...reporting import facts, plain_text
from . import clock, screen
from .screen import Column, PageSection, Toned

if TYPE_CHECKING:
    from ...model.record import Record
    from ...model.summary import RecordSummary
    from ...multistore import Listed
    from ...reporting.facts import Fact
    from ...results import Found
    from ...rules.available_actions import AvailableAction

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

# The places of the status and of the deadline among the cells of a row.
_STATUS, _DUE = 2, 4

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


def _row(item: Listed, now: datetime) -> Sequence[Toned]:
    row = item.row
    tones = {1: row.severity, 2: row.outcome or "", 4: "late" if _is_late(row, now) else ""}
    cells = [*plain_text.cells(row, now)]
    if row.deadline:
        cells[_DUE] = plain_text.left(parse_time(row.deadline), now)
    # A branch is often left over after its request was merged in another way; a second claim is no news.
    if item.proposed and row.status != "resolved" and (item.proposed, row.status) != ("claim", "claimed"):
        cells[_STATUS] += f", {item.proposed} proposed"
    return [(item.store or "", ""), *((cell, tones.get(at, "")) for at, cell in enumerate(cells))]


def _is_late(row: RecordSummary, now: datetime) -> bool:
    return row.deadline is not None and parse_time(row.deadline) <= now


def page(
    found: Found,
    actions: Sequence[AvailableAction] | str | None,
    *,
    include_context: bool,
    now: datetime,
    technical: bool = True,
) -> Iterator[str]:
    """The page of an escalation, with its available actions: a list, the reason why they are unknown, or None.

    Without ``include_context``, the page shows only the excerpt, results and scores of the context. Without
    ``technical``, it leaves out ids and digests that do not help to decide.
    """
    record = found.record
    status = facts.status(record)
    title = [
        (record.escalation_id, "head"),
        (record.severity, record.severity),
        (status, record.resolution.outcome if record.resolution else ""),
    ]
    known = facts.sections(found, now, whole=include_context)
    sections = [
        *(
            PageSection(
                section.title, [_pair(fact, now) for fact in section.facts if technical or not fact.technical]
            )
            for section in known
        ),
        PageSection("What you may do", _next(record, actions)),
    ]
    yield from screen.page(title, record.summary, sections)


def _pair(fact: Fact, now: datetime) -> tuple[Toned, Toned]:
    said = "".join(part if isinstance(part, str) else clock.local(part, now) for part in fact.said)
    return (fact.name, fact.name_tone), (said.rstrip("\n"), fact.tone)


def _next(record: Record, actions: Sequence[AvailableAction] | str | None) -> list[tuple[Toned, Toned]]:
    """The commands that the rules allow, and the reason why the most important one is refused."""
    if actions is None:
        return []
    if isinstance(actions, str):
        return [(("nothing", "faint"), (clock.spoken(actions), ""))]
    refused = {one.action: one.refusal for one in actions if one.refusal}
    possible = {one.action: one for one in actions if not one.refusal}
    if "unclaim" in possible:
        possible.pop("force", None)
    pairs: list[tuple[Toned, Toned]] = []
    for action in ("claim", "resolve"):
        # The first of these two that is not just a repeat has the reason.
        if action in refused and not record.resolution and not {"claim", "resolve"} & possible.keys():
            pairs.append(
                ((COMMANDS[action][0], "faint"), (f"no: {clock.spoken(refused[action].summary)}", ""))
            )
            break
    for action, (words, command) in COMMANDS.items():
        if action in possible:
            to = possible[action].to
            if to and not any(whom.team_id for whom in to):
                command = _TO_USER
            line = f"kt escalation {command.format(id=record.escalation_id)}"
            pairs.append(((words, "faint"), (line, "command")))
    return pairs
