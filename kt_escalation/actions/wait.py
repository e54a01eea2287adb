"""Waits for the decision on an escalation."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import RemoteUnreachable, WaitTimeout
from ..model.record import Record
from ..model.times import to_millis
from ..results import Decision
from ..storage import lookup
from ..storage.clone import GitStore
from ..storage.interface import Entry, Snapshot
from ..storage.poll import Poll
from . import decision, inputs, use
from .read_session import ReadSession


def wait(
    session: ReadSession,
    escalation_id: str,
    timeout: float | None,
    tell: Callable[[str], None],
    *,
    digest: str | None = None,
    amended: bool = False,
    signed: bool = False,
) -> Decision:
    """Ask the remote again and again until the escalation is resolved, and answer only what the judge believes."""
    use.action_digest(digest)
    snapshot, entry = resolved(session, escalation_id, timeout, tell)
    found = decision.proof(session, snapshot, entry, signed=signed)
    return decision.plain_answer(found, to_millis(session.clock()), digest, amended=amended)


def resolved(
    session: ReadSession, escalation_id: str, timeout: float | None, tell: Callable[[str], None]
) -> tuple[Snapshot, Entry]:
    """The first state that was seen in which the escalation is resolved, whether legally or not."""
    from ..audit.verify import require_history

    inputs.whole_ids([escalation_id])
    timeout = inputs.seconds(timeout, "the timeout")
    if isinstance(session.port, GitStore):
        require_history(session.port)
    last: Record | None = None
    poll, told_last = Poll(timeout), ""
    while True:
        try:
            # Others who wait in this clone ask as often; an answer half a pause old need not be asked for again.
            max_age = 0.0 if last is None else poll.pause / 2
            snapshot = session.snapshot(fetch=True, max_age=max_age)
            entry = lookup.entry(snapshot, lookup.whole(snapshot, escalation_id))
            last = entry.record
            if last.resolution is not None:
                return snapshot, entry
            holder = f" by {last.claim.claimed_by}" if last.claim else ""
            line = f"{last.escalation_id} is {last.status}{holder}; waiting for the decision"
            if line != told_last:
                tell(line)
                told_last = line
        except RemoteUnreachable:
            # The network may come and go while somebody thinks; only a failure of the first question is raised.
            if last is None:
                raise
        if poll.is_over:
            status = last.status if last else "not known"
            raise WaitTimeout(escalation_id=escalation_id, seconds=timeout, status=status)
        poll.wait()
