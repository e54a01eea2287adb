"""Makes notices of deadlines and leases that end soon, each once. See docs/telling.md."""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ..model.deadlines import claim_by, resolve_by
from ..model.event import DUE, Event
from ..model.times import format_time, parse_time
from .timeline import told_of

if TYPE_CHECKING:
    from ..model.record import Record
    from ..storage.interface import Snapshot


def notices(
    snapshot: Snapshot, now: datetime, within: timedelta, cursor: str, told: Container[str]
) -> Iterator[Event]:
    """A notice for each open escalation that time alone changes within ``within``, or should have changed already.

    The earliest ends come first. ``told`` has the ids of notices that were sent before. ``cursor`` is the
    position in history, which a notice does not move.
    """
    rows, _ = snapshot.rows(resolved=False)
    ending = [row for row in rows if row.deadline and parse_time(row.deadline) - now <= within]
    ending.sort(key=lambda row: (row.deadline, row.escalation_id))
    for entry in snapshot.entries(ending):
        event = _notice(entry.record, snapshot.revision, now, cursor)
        if event is not None and event.id not in told:
            yield event


def _notice(record: Record, commit: str, now: datetime, cursor: str) -> Event | None:
    lease = record.claim.expires_at if record.claim else None
    holder = record.claim.claimed_by if record.claim else ""
    ends = [
        (end, f"{words} {format_time(end)}")
        for end, words in (
            (resolve_by(record), "it must be decided by"),
            (claim_by(record), "somebody must claim it by"),
            (lease, f"the lease of {holder} ends at"),
        )
        if end is not None
    ]
    if not ends:
        return None
    deadline, text = min(ends)
    return Event(
        commit=commit,
        at=now,
        author="kt",
        email="",
        escalation_id=record.escalation_id,
        index=0,
        action=DUE,
        actor="kt",
        outcome=None,
        text=text,
        status=record.status,
        cursor=cursor,
        claim=record.claim,
        claim_before=record.claim,
        deadline=deadline,
        **told_of(record),
    )
