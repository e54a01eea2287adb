"""Waits for the decision on an escalation."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import RemoteUnreachable, WaitTimeout
from ..results import Found
from ..storage import lookup
from ..storage.clone import GitStore
from ..storage.poll import Poll
from . import get, inputs
from .read_session import ReadSession


def wait(
    session: ReadSession, escalation_id: str, timeout: float | None, tell: Callable[[str], None]
) -> Found:
    """Ask the remote again and again until the escalation is resolved."""
    from ..audit.verify import require_history

    inputs.whole_ids([escalation_id])
    if isinstance(session.port, GitStore):
        require_history(session.port)
    poll, last, told_last = Poll(timeout), None, ""
    while True:
        try:
            # Others who wait in this clone ask as often; an answer half a pause old need not be asked for again.
            max_age = 0.0 if last is None else poll.pause / 2
            snapshot = session.snapshot(fetch=True, max_age=max_age)
            last = get.found(session, snapshot, lookup.whole(snapshot, escalation_id))
            if last.record.resolution is not None:
                _require_legal(session, last)
                return last
            holder = f" by {last.record.claim.claimed_by}" if last.record.claim else ""
            line = f"{last.record.escalation_id} is {last.record.status}{holder}; waiting for the decision"
            if line != told_last:
                tell(line)
                told_last = line
        except RemoteUnreachable:
            # The network may come and go while somebody thinks; only a failure of the first question is raised.
            if last is None:
                raise
        if poll.is_over:
            status = last.record.status if last else "not known"
            raise WaitTimeout(
                escalation_id=escalation_id, seconds=timeout, status=status, record_status=status
            )
        poll.wait()


def _require_legal(session: ReadSession, found: Found) -> None:
    """Raise IllegalRecord unless legal steps on a legal line led to the decision."""
    from ..audit import record_history

    if not isinstance(session.port, GitStore):
        return
    snapshot = session.port.at(found.commit)
    names, record = [found.record.escalation_id], found.record
    while record.reopens is not None and record.reopens not in names:
        names.append(record.reopens)
        origin = lookup.record_of(snapshot, record.reopens)
        if origin is None:
            break
        record = origin
    record_history.require_legal(session.port, found.commit, names, session.clock(), found.path)
