"""Waits for the decision on an escalation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from ..errors import Interrupted, OutcomeUnknown, RetriesExhausted, WaitTimeout
from ..model.deadlines import deadline
from ..model.record import Record
from ..model.times import to_millis
from ..results import Decision
from ..storage import lookup
from ..storage.clone import GitStore
from ..storage.interface import Entry, Snapshot
from ..storage.poll import Poll
from . import decision, inputs, sweep, use
from .decision import Proof
from .following import TRANSIENT_ERRORS, Look, Waiter
from .read_session import ReadSession
from .session import Session

# How often the caller's own `stop` is looked at, in seconds.
_STOP_SECONDS = 0.1
# After this many seconds a sweep is tried again that failed or found nothing due.
_SWEEP_AGAIN_SECONDS = 1.0


def wait(
    session: ReadSession,
    escalation_id: str,
    timeout: float | None,
    tell: Callable[[str], None],
    *,
    digest: str | None = None,
    amended: bool = False,
    signed: bool = False,
    interval: float | None = None,
    stop: threading.Event | None = None,
) -> Decision:
    """Ask the remote repeatedly until the escalation is resolved, and return only a decision that the judge accepts."""
    use.action_digest(digest)
    snapshot, entry, found = resolved(session, escalation_id, timeout, tell, interval=interval, stop=stop)
    if signed:
        found = decision.proof(session, snapshot, entry, signed=True)
    return decision.plain_answer(found, to_millis(session.clock()), digest, amended=amended)


def resolved(
    session: ReadSession,
    escalation_id: str,
    timeout: float | None,
    tell: Callable[[str], None],
    *,
    interval: float | None = None,
    stop: threading.Event | None = None,
) -> tuple[Snapshot, Entry, Proof]:
    """The first state in which the escalation is resolved, and its proof.

    Raises Interrupted when ``stop`` is set or the session is closed.
    """
    from ..audit.verify import require_history

    inputs.whole_ids([escalation_id])
    timeout = inputs.seconds(timeout, "the timeout")
    interval = inputs.seconds(interval, "the interval")
    if isinstance(session.port, GitStore):
        require_history(session.port)
    looks: SimpleQueue[Look] = SimpleQueue()
    waiter = Waiter(escalation_id, Poll(timeout, interval), looks.put)
    following = session.following
    following.attend(waiter)
    last: Record | None = None
    told_last = ""
    try:
        while True:
            look = _next(looks, stop)
            if look.words:
                tell(look.words)
            if look.error is not None:
                raise look.error
            last = look.entry.record if look.entry else last
            if look.proof is not None and look.entry is not None and look.snapshot is not None:
                return look.snapshot, look.entry, look.proof
            line = _line(last)
            if line != told_last:
                tell(line)
                told_last = line
            if look.over:
                status = last.status if last else "not known"
                raise WaitTimeout(escalation_id=escalation_id, seconds=timeout, status=status)
    finally:
        following.leave(waiter)


def sweeping(
    session: Session,
    escalation_id: str,
    timeout: float | None,
    wait: Callable[[float | None], Decision],
    tell: Callable[[str], None],
) -> Decision:
    """The result of ``wait``. Meanwhile the deadlines of the escalation are applied when they pass.

    ``wait`` is called with a number of seconds. Raises WaitTimeout after ``timeout`` seconds, and the errors
    of waiting and sweeping.
    """
    inputs.whole_ids([escalation_id])
    over = None if (left := inputs.seconds(timeout, "the timeout")) is None else time.monotonic() + left
    snapshot, least = session.snapshot(fetch=True), 0.0
    while True:
        due = deadline(lookup.entry(snapshot, lookup.whole(snapshot, escalation_id)).record)
        until = None if due is None else max((due - session.clock()).total_seconds(), least)
        left = None if over is None else max(over - time.monotonic(), 0)
        try:
            return wait(min((one for one in (until, left) if one is not None), default=None))
        except WaitTimeout as error:
            is_over = over is not None and time.monotonic() >= over
            error.seconds = timeout
            swept = (
                until is not None and (left is None or until <= left) and _swept(session, escalation_id, tell)
            )
            if is_over and not swept:
                raise
        # Try again if the deadline is within the clock tolerance, or if the remote could not be reached.
        snapshot, least = session.snapshot(), 0.0 if swept else _SWEEP_AGAIN_SECONDS


def _swept(session: Session, escalation_id: str, tell: Callable[[str], None]) -> bool:
    """Apply the deadlines that have passed.

    Returns whether any had. Errors that may go away are reported to ``tell``.
    """
    try:
        return sweep.sweep(session, only=[escalation_id]).result.changed
    except (*TRANSIENT_ERRORS, RetriesExhausted, OutcomeUnknown) as error:
        tell(error.message)
        return False


def _line(record: Record | None) -> str:
    if record is None:
        return ""
    holder = f" by {record.claim.claimed_by}" if record.claim else ""
    return f"{record.escalation_id} is {record.status}{holder}; waiting for the decision"


def _next(looks: SimpleQueue[Look], stop: threading.Event | None) -> Look:
    """The next look. Raises Interrupted if ``stop`` is set first."""
    while stop is not None:
        if stop.is_set():
            raise Interrupted()
        try:
            return looks.get(timeout=_STOP_SECONDS)
        except Empty:
            continue
    return looks.get()
