"""Follows a store for everybody who waits: one thread, one fetch for all, and each new commit is judged once.

Nobody misses a decision: a waiter is registered first, and then the loop looks at a state that was fetched
later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Self

from ..errors import GitLocked, Interrupted, KtError, LockTimeout, NotFound, RemoteUnreachable
from ..storage import lookup
from ..storage.interface import Entry, Snapshot
from ..storage.poll import Poll
from . import decision
from .decision import Proof
from .read_session import ReadSession

#: How long closing may take, in seconds, even if something hangs.
CLOSE_SECONDS = 2.0
# git is asked to end. After this time it is killed.
_ASKED_SECONDS = 1.0
#: Errors that may go away and do not end a wait: of the remote, and of the locks of this clone.
TRANSIENT_ERRORS = (RemoteUnreachable, GitLocked, LockTimeout)
# After this many new tips without a decision they are judged, so that the next decision does not wait for
# that.
_TIPS_AT_ONCE = 50


class Look(NamedTuple):
    """What one look at the store shows of one record.

    ``proof`` or ``error`` ends the wait. ``over`` means that the wait's time was over before the look.
    ``words`` is set when the remote stops answering or answers again.
    """

    entry: Entry | None = None
    snapshot: Snapshot | None = None
    proof: Proof | None = None
    error: Exception | None = None
    words: str = ""
    over: bool = False

    @property
    def ends(self) -> bool:
        """Whether this look ends the wait."""
        return self.proof is not None or self.error is not None or self.over


class Waiter:
    """A wait for one record. ``told`` is called on the loop's thread with each look that has news."""

    def __init__(self, escalation_id: str, poll: Poll, told: Callable[[Look], object]) -> None:
        self.escalation_id = escalation_id
        self.poll = poll
        self.told = told
        self.due = time.monotonic()
        #: Whether a look has shown the record; and the commit and the blob id of the last state that was
        #: shown.
        self.has_looked = False
        self.revision = self.blob = ""

    def knows(self, record_blob: str = "") -> Self:
        """Mark the record as seen, so that no failure of the remote ends the wait."""
        self.has_looked, self.blob = True, record_blob
        return self

    def see(self, snapshot: Snapshot) -> Entry | None:
        """The record, if it has changed since the last look. Raises NotFound, BadInput, UnreadableRecord."""
        if snapshot.revision == self.revision:
            return None
        try:
            entry = lookup.entry(snapshot, self.escalation_id)
        except NotFound:
            # If it is a prefix of ids, the error says so.
            lookup.whole(snapshot, self.escalation_id)
            raise
        news = entry.blob != self.blob
        self.revision, self.blob, self.has_looked = snapshot.revision, entry.blob, True
        return entry if news else None


class Following:
    """The loop of one session. Its thread runs only while somebody waits.

    At least ``least`` seconds pass between the starts of two fetches. ``guard`` is called with each new state
    before any waiter sees it. If it raises an error, all waiters get that error. With ``eager``, each new
    state is judged at once, and not only when a decision has arrived.
    """

    def __init__(
        self,
        session: ReadSession,
        least: float = 0.0,
        guard: Callable[[Snapshot], object] = lambda _: None,
        *,
        eager: bool = False,
    ) -> None:
        self._session = session
        self._least = least
        self._guard = guard
        self._changed = threading.Condition()
        self._waiters: dict[Waiter, None] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._began = float("-inf")
        self._offline = False
        self._judged = ""
        # The number of new tips since the last judging, and the number that starts a judging.
        self._tips, self._most_tips = 0, 1 if eager else _TIPS_AT_ONCE
        #: The number of looks at the remote, and of those that failed.
        self.looks = self.failures = 0

    def attend(self, waiter: Waiter) -> None:
        """Start a wait. The next look that begins includes it. Raises Interrupted after `close`."""
        with self._changed:
            if self._closed:
                raise Interrupted()
            self._waiters[waiter] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kt following", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def leave(self, waiter: Waiter) -> None:
        """End a wait. Its callback is not called any more."""
        with self._changed:
            self._waiters.pop(waiter, None)
            self._changed.notify_all()

    def close(self) -> None:
        """End the loop within 2 seconds, even if the remote hangs. All waits get Interrupted."""
        with self._changed:
            self._closed = True
            left, self._waiters = [*self._waiters], {}
            thread = self._thread
            self._changed.notify_all()
        for waiter in left:
            waiter.told(Look(error=Interrupted()))
        if thread is None or thread is threading.current_thread():
            return
        for seconds, now in ((_ASKED_SECONDS, False), (CLOSE_SECONDS - _ASKED_SECONDS, True)):
            if self._session.has_git:
                self._session.git.newest_tip.hang_up(now=now)
            thread.join(seconds)

    # --- the loop ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while waiters := self._next():
            try:
                self._round(waiters)
            except Exception as error:
                # Nobody else can tell the waiters about this error. They would wait for ever.
                self.failures += 1
                for waiter in waiters:
                    with suppress(Exception):
                        self._tell(waiter, Look(error=error))

    def _round(self, waiters: Sequence[Waiter]) -> None:
        """Look at the remote once, and notify the waiters."""
        self._began = time.monotonic()
        self.looks += 1
        try:
            # A new waiter needs a newer answer from the remote. For the others, a recent answer is enough.
            max_age = min(waiter.poll.pause / 2 if waiter.has_looked else 0.0 for waiter in waiters)
            snapshot = self._session.snapshot(fetch=True, max_age=max_age)
            if snapshot.revision != self._judged:
                self._guard(snapshot)
        except Exception as error:
            self.failures += 1
            self._failed(waiters, error)
        else:
            self._look(waiters, snapshot)

    def _next(self) -> Sequence[Waiter]:
        """Pause until the next look is due, and return the waiters then. Empty at the end."""
        with self._changed:
            while self._waiters and not self._closed:
                first = min(waiter.due for waiter in self._waiters)
                left = max(first, self._began + self._least) - time.monotonic()
                if left <= 0:
                    return [*self._waiters]
                self._changed.wait(left)
            # A waiter that comes from now on starts another thread.
            self._thread = None
            return ()

    def _failed(self, waiters: Sequence[Waiter], error: Exception) -> None:
        passes = isinstance(error, TRANSIENT_ERRORS)
        gone = f"cannot reach the remote, and will keep trying: {error.summary}" if passes else ""  # type: ignore[attr-defined]
        words, self._offline = "" if self._offline else gone, passes
        for waiter in waiters:
            if not passes or not waiter.has_looked:
                self._tell(waiter, Look(error=error))
            else:
                self._tell(waiter, Look(words=words, over=waiter.poll.is_over))

    def _look(self, waiters: Sequence[Waiter], snapshot: Snapshot) -> None:
        words, self._offline = "the remote answers again" if self._offline else "", False
        self._follow(waiters, snapshot)
        over = {waiter: waiter.poll.is_over for waiter in waiters}
        seen: dict[Waiter, Entry | None] = {}
        for waiter in waiters:
            try:
                seen[waiter] = waiter.see(snapshot)
            except Exception as error:
                self._tell(waiter, Look(error=error, words=words))
        ready = {waiter: entry for waiter, entry in seen.items() if entry and entry.record.resolution}
        try:
            # One run of the judge for all of them.
            proofs = decision.proofs(self._session, snapshot, [*ready.values()]) if ready else []
        except Exception as error:
            for waiter in seen:
                self._tell(waiter, Look(error=error, words=words))
            return
        proven = dict(zip(ready, proofs, strict=True))
        for waiter, entry in seen.items():
            found = proven.get(waiter)
            if isinstance(found, KtError):
                self._tell(waiter, Look(error=found, words=words))
            else:
                self._tell(waiter, Look(entry, snapshot, found, words=words, over=over[waiter]))
        self._catch_up(snapshot)

    def _follow(self, waiters: Sequence[Waiter], snapshot: Snapshot) -> None:
        """Read the records of all waiters in one request, and count new commits."""
        session = self._session
        if not session.has_git:
            return
        if snapshot.revision != self._judged:
            # This only saves requests. A record that cannot be read is reported by the waiter that needs it.
            with suppress(KtError):
                snapshot.learn([waiter.escalation_id for waiter in waiters])
        if session.watched is None:
            from ..audit.watched import Watched

            session.watched = Watched(session.git)
        self._tips += snapshot.revision != self._judged
        self._judged = snapshot.revision

    def _catch_up(self, snapshot: Snapshot) -> None:
        """Judge new commits without a decision, if there are many."""
        watched = self._session.watched
        if watched is not None and self._tips >= self._most_tips:
            self._tips = 0
            # A failure of the judge is reported with the next decision.
            with suppress(KtError):
                watched.catch_up(snapshot.revision, self._session.clock())

    def _tell(self, waiter: Waiter, look: Look) -> None:
        """Notify a waiter, unless it has left meanwhile."""
        with self._changed:
            if waiter not in self._waiters:
                return
            if look.ends:
                del self._waiters[waiter]
            else:
                # Pauses begin with the look, so that a slow judge does not delay the next look.
                waiter.due = waiter.poll.due(self._began)
        if look.entry is not None or look.words or look.ends:
            waiter.told(look)
