"""Compacts resolved records and releases of past months into archives."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..errors import BadInput
from ..results import Compacted, Result
from ..rules import permissions
from ..rules.permissions import Actor
from ..storage import compaction
from ..storage.clone import GitStore
from ..storage.commit_message import Message
from ..storage.interface import Snapshot
from .plan import Plan
from .session import Session


def compact(session: Session, before: timedelta, *, dry_run: bool = False) -> Compacted:
    """Compact the months that ended at least ``before`` ago, in one commit."""
    port, known = session.port, compaction.Known()
    if not isinstance(port, GitStore):
        raise BadInput(problem="this store has no files to compact")

    def planned(snapshot: Snapshot, actor: Actor) -> compaction.Compaction:
        permissions.require_role(actor, "compact", "the store", "admin")
        return compaction.planned(port, port.at(snapshot.revision), _ago(actor.now, before), actor.now, known)

    # Everything is read once before the commit loop starts its clock.
    snapshot = session.snapshot(fetch=True)
    found = planned(snapshot, session.actor(snapshot))

    def decide(snapshot: Snapshot, actor: Actor) -> Plan:
        nonlocal found
        found = planned(snapshot, actor)
        if not found.batches:
            return Plan()
        first, *_, last = [*found.months, *found.months]
        span = first if first == last else f"{first} to {last}"
        return Plan(
            message=Message("compact", found.names, actor.name, detail=f"of {span.replace('/', '-')}"),
            others=compaction.files_of(port, port.at(snapshot.revision), found.batches),
        )

    done = Result((), snapshot.revision, False) if dry_run else session.commit(decide)
    return Compacted(found.months, found.paths, found.left, found.more, done)


def _ago(now: datetime, span: timedelta) -> datetime:
    """The time ``span`` before ``now``. Raises BadInput for a negative or too long duration."""
    if span < timedelta():
        raise BadInput(problem="before is negative; give a duration such as 90d")
    try:
        return now - span
    except OverflowError:
        raise BadInput(problem="before is too long ago") from None
