"""The engine of both gateways.

It raises escalations together, waits for all of them in one loop, releases each once, and returns futures.

| thread | does |
|---|---|
| `kt following` | asks the remote, judges, notifies those who wait (`actions.following`) |
| `kt gateway writer` | commits, one change after the other; raises that wait together share a commit |
| `kt gateway reader` | reads single escalations |
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from ..actions import decide, decision, get, inputs, listing, use
from ..actions.following import TRANSIENT_ERRORS, Following, Look, Waiter
from ..actions.listing import Filters
from ..actions.opening import opened
from ..actions.options import Options
from ..actions.session import Session
from ..errors import BadInput, Interrupted, KtError, NotResolved, OutcomeUnknown, RetriesExhausted
from ..model.record import Record
from ..model.times import to_millis
from ..model.vocabulary import RELEASING
from ..results import Decision, Found, Listing, Received, Result
from ..storage import lookup
from ..storage.poll import Poll
from . import journal
from .deadlines import Deadlines
from .held import HeldRequest, Metrics, OnCancel, item_of, settle
from .options import require_on_cancel
from .pinned import Pinned
from .proofs import Proofs
from .uses import Uses
from .writer import GatewayWriter

#: How often the remote is asked while anybody waits, in seconds.
EVERY_SECONDS = 1.0
#: `close` returns within this many seconds, even if something hangs: two for the loop, and at the same time
#: those of the writer.
CLOSE_SECONDS = 2.0
_WRITER_SECONDS, _LEAST_SECONDS = 1.5, 0.05
_GONE = "the caller has gone"

_Answer = TypeVar("_Answer")


class Core:
    """The store of an open gateway. Every method returns at once, with a future for results that take longer."""

    def __init__(
        self, session: Session, notes: journal.Journal, every: float, tell: Callable[[str], object]
    ) -> None:
        self._session = session
        self.journal = notes
        self._uses = Uses(session, notes)
        self._every = every
        self._say = tell
        self._lock = threading.Lock()
        self._held: dict[HeldRequest, None] = {}
        self._proofs = Proofs(every)
        self._decided: Counter[str] = Counter()
        self._closed = False
        self._following = Following(session, every, Pinned(session, notes).require, eager=True)
        self._deadlines = Deadlines(session, lambda error: self._writer.failed(error))
        self._writer = GatewayWriter(session, self._deadlines.sweep)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        journal_folder: str | os.PathLike[str] | None = None,
        every: float = EVERY_SECONDS,
        clock: Callable[[], datetime] | None = None,
        tell: Callable[[str], object] = lambda _: None,
    ) -> Core:
        """Open the store in the repository that contains ``path``.

        Raises NotAStore, GitFailed, BadInput, ShallowClone.
        """
        from ..audit.verify import require_history

        if every <= 0:
            raise BadInput(problem="the pause between two questions to the remote is more than 0 seconds")
        store = opened(path)
        try:
            require_history(store)
            folder = Path(journal_folder) if journal_folder is not None else journal.folder_of(store)
            notes = journal.Journal(folder, journal.pins_of(store))
        except BaseException:
            store.close()
            raise
        return cls(Session(store, clock, follow_checkout=False), notes, every, tell)

    # --- asking -----------------------------------------------------------------------------------

    def ask(
        self,
        draft: Mapping[str, Any],
        timeout: float | None,
        on_cancel: OnCancel,
        *,
        digest: str | None,
        amended: bool,
    ) -> HeldRequest:
        """Raise an escalation, wait for its decision and release it.

        With ``timeout`` 0, check for a decision only once after raising. Raises BadInput for a draft that cannot
        be raised, and for parameters that cannot be used.
        """
        require_on_cancel(on_cancel)
        inputs.seconds(timeout, "the timeout")
        item = item_of(draft)
        action = item.draft.action
        digest = digest or (action.digest if action else None)
        held = HeldRequest(None, True, digest, amended, timeout, on_cancel)
        use.action_digest(held.digest)
        self._hold(held)

        def raised(found: Result | Exception) -> None:
            if isinstance(found, Exception):
                self._end(held, error=found)
                return
            record = found.record
            held.escalation_id = record.escalation_id
            self._saw(held, record)
            if held.gone:
                self._leave(held)
            else:
                self._attend(held, at_once=timeout == 0)

        self._writer.raise_(item, raised)
        return held

    def hold(
        self, escalation_id: str, *, timeout: float | None, releases: bool, digest: str | None, amended: bool
    ) -> HeldRequest:
        """Wait for the decision on an existing escalation, and release it if ``releases``. Raises BadInput.

        To release, and with ``timeout`` 0, check for a decision only once.
        """
        inputs.seconds(timeout, "the timeout")
        inputs.whole_ids([escalation_id])
        use.action_digest(digest)
        held = HeldRequest(escalation_id, releases, digest, amended, timeout)
        self._hold(held)
        known = self._proofs.of(escalation_id)
        if known is not None:
            self._proven(held, known)
        else:
            self._attend(held, at_once=releases or timeout == 0)
        return held

    def give_up(self, held: HeldRequest, *, withdraw: bool) -> bool:
        """Stop waiting. Returns False if the release has already begun; then the future has its result soon."""
        with held.lock:
            if held.releasing.is_set() and not withdraw:
                return False
            held.gone, held.withdraws = True, withdraw
        self._leave(held)
        return True

    # --- single actions ---------------------------------------------------------------------------

    def create(self, draft: Mapping[str, Any]) -> Future[Result]:
        """Raise one escalation. It shares a commit with others that are raised at the same time."""
        future: Future[Result] = Future()

        def raised(found: Result | Exception) -> None:
            if isinstance(found, Result):
                self._note(found.record)
            settle(future, found)

        self._writer.raise_(item_of(draft), raised)
        return future

    def receipt(
        self, escalation_id: str, status: str, *, result_digest: str | None, reason: str | None
    ) -> Future[Received]:
        """Record the result of a release."""
        return self._commit(
            lambda: use.receipt(
                self._session, escalation_id, status, result_digest=result_digest, reason=reason
            )
        )

    def withdraw(self, escalation_id: str, reason: str) -> Future[Result]:
        """Withdraw an open escalation."""
        return self._commit(lambda: decide.withdraw(self._session, [escalation_id], reason, Options()))

    def get(self, escalation_id: str) -> Future[Found]:
        """One escalation as this clone knows it."""

        def work() -> Found:
            inputs.whole_ids([escalation_id])
            snapshot = self._session.snapshot()
            return get.found(self._session, snapshot, lookup.whole(snapshot, escalation_id))

        return self._read(work)

    def list(self, filters: Filters) -> Future[Listing]:
        """The escalations that match as this clone knows them."""
        return self._read(lambda: listing.records(self._session, listing.query_of(**filters)))

    def metrics(self) -> Metrics:
        """The gateway's current metrics."""
        with self._lock:
            oldest = min((held.since for held in self._held), default=None)
            return Metrics(
                len(self._held),
                0.0 if oldest is None else time.monotonic() - oldest,
                self._writer.raised,
                dict(self._decided),
                self._writer.failures + self._following.failures,
                self._following.looks,
            )

    def close(self) -> None:
        """End all waits with Interrupted, and stop all threads, within 2 seconds."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = [*self._held]
        end = time.monotonic() + CLOSE_SECONDS
        for held in left:
            self._end(held, error=Interrupted())
        _at_once(end, self._following.close, lambda: self._writer.close(_WRITER_SECONDS))
        self.journal.close()
        # Do not wait for a git process that hangs.
        _at_once(max(end, time.monotonic() + _LEAST_SECONDS), self._session.close)

    # --- waiting ----------------------------------------------------------------------------------

    def _hold(self, held: HeldRequest) -> None:
        self._writer.require_here()
        with self._lock:
            if self._closed:
                raise Interrupted()
            self._held[held] = None

    def _attend(self, held: HeldRequest, *, at_once: bool = False) -> None:
        name = held.escalation_id
        assert name is not None  # noqa: S101 - the callers have it
        poll = Poll(0.0 if at_once else None, self._every)
        waiter = held.waiter = Waiter(name, poll, lambda look: self._looked(held, look))
        if held.status != "not known":
            waiter.knows()
        try:
            self._following.attend(waiter)
        except Interrupted as error:
            self._end(held, error=error)

    def _looked(self, held: HeldRequest, look: Look) -> None:
        """Handle the loop's look at one escalation. This runs on the loop's thread, so slow work is passed on."""
        if look.words:
            self._say(look.words)
        if look.entry is not None:
            self._saw(held, look.entry.record)
        if look.error is not None:
            self._end(held, error=look.error)
        elif look.proof is not None:
            self._proofs.keep(look.proof)
            self._proven(held, look.proof)
        elif look.over:
            name = held.escalation_id or ""
            self._end(held, error=NotResolved(escalation_id=name, status=held.status))

    def _proven(self, held: HeldRequest, proof: decision.Proof) -> None:
        end = proof.record.resolution
        releases = end is not None and end.outcome in RELEASING
        if releases and held.releases and proof.record.requires.single_use:
            with held.lock:
                if held.gone:
                    return
                held.releasing.set()
            self._writer.commit(lambda: self._uses.take(held), lambda found: self._released(held, found))
            return
        try:
            now = to_millis(self._session.clock())
            self._end(held, found=decision.plain_answer(proof, now, held.digest, amended=held.amended))
        except KtError as error:
            self._end(held, error=error)

    def _leave(self, held: HeldRequest) -> None:
        """Drop a request whose caller has disconnected."""
        with self._lock:
            self._held.pop(held, None)
        if held.waiter is not None:
            self._following.leave(held.waiter)
        name = held.escalation_id
        if held.withdraws and name is not None:
            held.withdraws = False
            self._writer.commit(
                lambda: decide.withdraw(self._session, [name], _GONE, Options()), lambda _: None
            )

    def _end(
        self, held: HeldRequest, *, found: Decision | None = None, error: Exception | None = None
    ) -> None:
        with self._lock:
            if self._held.pop(held, held) is held:
                return
            if found is not None:
                self._decided[found.outcome] += 1
        if held.waiter is not None:
            self._following.leave(held.waiter)
        settle(held.future, found if found is not None else error)

    # --- releasing --------------------------------------------------------------------------------

    def _released(self, held: HeldRequest, found: Decision | Exception) -> None:
        """Return the decision, or wait again if the remote could not be reached meanwhile."""
        with held.lock:
            held.releasing.clear()
            if held.gone:
                return
            again = (
                isinstance(found, (*TRANSIENT_ERRORS, RetriesExhausted, OutcomeUnknown)) and not self._closed
            )
            if isinstance(found, Decision):
                found = self._uses.given(found)
        if again:
            self._attend(held)
        elif isinstance(found, Decision):
            self._end(held, found=found)
        else:
            self._end(held, error=found)

    # --- committing -------------------------------------------------------------------------------

    def _commit(self, work: Callable[[], _Answer]) -> Future[_Answer]:
        future: Future[_Answer] = Future()
        self._writer.commit(work, lambda found: settle(future, found))
        return future

    def _read(self, work: Callable[[], _Answer]) -> Future[_Answer]:
        future: Future[_Answer] = Future()
        self._writer.read(work, lambda found: settle(future, found))
        return future

    def _saw(self, held: HeldRequest, record: Record) -> None:
        held.status = record.status
        self._note(record)

    def _note(self, record: Record) -> None:
        self._deadlines.note(record)
        self._writer.wake()


def _at_once(end: float, *works: Callable[[], object]) -> None:
    """Run several functions at once, and wait for them until a time on the monotonic clock at most."""
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
