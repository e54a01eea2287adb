"""The engine of both gateways: raises together, waits in one loop, releases once. It answers with futures.

| thread | does |
|---|---|
| `kt following` | asks the remote, judges, tells (`actions.following`) |
| `kt gateway writer` | everything that commits, one after the other, raises that wait together in one commit |
| `kt gateway reader` | reads single escalations |
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from ..actions import decide, decision, get, inputs, sweep, use
from ..actions.following import WEATHER, Following, Look, Waiter
from ..actions.opening import opened
from ..actions.options import Options
from ..actions.raise_ import Raising
from ..actions.session import Session
from ..errors import BadInput, HistoryRewritten, Interrupted, KtError, NotResolved, OutcomeUnknown
from ..model.deadlines import deadline
from ..model.record import Record
from ..model.times import format_time, to_millis
from ..model.vocabulary import RELEASING
from ..results import Decision, Found, Received, Result
from ..storage import lookup
from ..storage.interface import Snapshot
from ..storage.poll import Poll
from . import journal
from .worker import Worker

#: How often the remote is asked while anybody waits, in seconds.
EVERY_SECONDS = 1.0
#: Whatever hangs, `close` returns within so many seconds: the loop's two, and what the writer is given beside them.
CLOSE_SECONDS = 2.0
_WRITER_SECONDS = 1.5
#: So many raises share one commit at most.
_MOST = 500
# A sweep that failed is tried again after so many seconds.
_SWEEP_AGAIN = 5.0
# The newest commit is pinned at most so often, in seconds.
_PIN_SECONDS = 5.0
# So many proofs are kept for whoever asks again.
_REMEMBERED = 10_000
_GONE = "the caller has gone"

OnCancel = Literal["keep", "withdraw"]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Metrics:
    """What a gateway is doing: how many it holds, since how many seconds the oldest of them waits, and counts of its life.

    ``decided`` are the decisions that were answered, by outcome; ``fetches`` are questions to the remote, and
    ``failures`` what failed: questions, commits, deadlines.
    """

    held: int
    oldest: float
    raised: int
    decided: Mapping[str, int]
    failures: int
    fetches: int


@dataclass(frozen=True)
class _Raise:
    """A draft on its way into the store, and who is told what became of it."""

    item: inputs.Item
    done: Callable[[Result | Exception], object]


@dataclass(frozen=True)
class _Do:
    """Anything else that commits or reads, and who is told what came of it."""

    work: Callable[[], Any]
    done: Callable[[Any], object]


class _Judged(NamedTuple):
    """A proof, and until when nobody needs to look again, by the monotonic clock."""

    proof: decision.Proof
    until: float


class Held:
    """One who is held until there is a decision. ``future`` has that, or the error.

    ``escalation_id`` and ``status`` are known once the escalation has been raised or seen.
    """

    def __init__(self, escalation_id: str | None, releases: bool, digest: str | None, amended: bool) -> None:
        self.escalation_id = escalation_id
        self.status = "not known"
        self.releases, self.digest, self.amended = releases, digest, amended
        self.release_id: str | None = None
        self.future: Future[Decision] = Future()
        self.since = time.monotonic()
        self.waiter: Waiter | None = None
        self.lock = threading.Lock()
        #: Whether the caller has gone, and whether its escalation is to be withdrawn then.
        self.gone = self.withdraws = False
        self.releasing = threading.Event()


class Core:
    """A store that is open for a gateway. Everything returns at once, with a future for what takes longer."""

    def __init__(
        self, session: Session, notes: journal.Journal, every: float, tell: Callable[[str], object]
    ) -> None:
        self._session = session
        self._journal = notes
        self._every = every
        self._say = tell
        self._raising = Raising(session)
        self._lock = threading.Lock()
        self._held: dict[Held, None] = {}
        self._deadlines: dict[str, datetime] = {}
        self._known: dict[str, _Judged] = {}
        self._decided: Counter[str] = Counter()
        self._raised = self._failed = 0
        self._pinned_at = float("-inf")
        self._is_pinned = False
        self._sweep_after = 0.0
        self._closed = False
        self._following = Following(session, every, self._guard, eager=True)
        self._writer: Worker[_Raise | _Do] = Worker(
            "kt gateway writer", self._write, _refuse, most=_MOST, idle=self._until_deadline
        )
        self._reader: Worker[_Do] = Worker("kt gateway reader", self._read, _refuse, most=1)

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
        """Open the store in the repository that contains ``path``. Raises NotAStore, GitFailed, BadInput, ShallowClone."""
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

    def ask(self, draft: Mapping[str, Any], *, digest: str | None, amended: bool) -> Held:
        """Raise, wait and release. Raises BadInput for a draft that cannot be raised."""
        item = item_of(draft)
        action = item.draft.action
        held = Held(None, True, digest or (action.digest if action else None), amended)
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
                self._attend(held)

        self._writer.add(_Raise(item, raised))
        return held

    def hold(
        self, escalation_id: str, *, releases: bool, digest: str | None, amended: bool, at_once: bool = False
    ) -> Held:
        """Wait for one that is there, and release it if ``releases``. ``at_once``: look once and do not wait.

        Raises BadInput.
        """
        inputs.whole_ids([escalation_id])
        use.action_digest(digest)
        held = Held(escalation_id, releases, digest, amended)
        self._hold(held)
        known = self._known.get(escalation_id)
        if known is not None and known.until >= time.monotonic():
            self._proven(held, known.proof)
        else:
            self._attend(held, at_once=at_once)
        return held

    def give_up(self, held: Held, *, withdraw: bool) -> bool:
        """Wait no longer. Returns False if its release is under way: then there is an answer soon."""
        with held.lock:
            if held.releasing.is_set() and not withdraw:
                return False
            held.gone, held.withdraws = True, withdraw
        self._leave(held)
        return True

    # --- single actions ---------------------------------------------------------------------------

    def create(self, draft: Mapping[str, Any]) -> Future[Result]:
        """Raise one, together with others who raise now."""
        future: Future[Result] = Future()

        def raised(found: Result | Exception) -> None:
            if isinstance(found, Result):
                self._note(found.record)
            settle(future, found)

        self._writer.add(_Raise(item_of(draft), raised))
        return future

    def receipt(
        self, escalation_id: str, status: str, *, result_digest: str | None, reason: str | None
    ) -> Future[Received]:
        """Say what came of a release."""
        return self._commit(
            lambda: use.receipt(
                self._session, escalation_id, status, result_digest=result_digest, reason=reason
            )
        )

    def withdraw(self, escalation_id: str, reason: str) -> Future[Result]:
        """Take an open escalation back."""
        return self._commit(lambda: decide.withdraw(self._session, [escalation_id], reason, Options()))

    def get(self, escalation_id: str) -> Future[Found]:
        """One escalation as this clone knows it."""

        def work() -> Found:
            inputs.whole_ids([escalation_id])
            snapshot = self._session.snapshot()
            return get.found(self._session, snapshot, lookup.whole(snapshot, escalation_id))

        future: Future[Found] = Future()
        self._reader.add(_Do(work, lambda found: settle(future, found)))
        return future

    def metrics(self) -> Metrics:
        """What it is doing now."""
        with self._lock:
            oldest = min((held.since for held in self._held), default=None)
            return Metrics(
                len(self._held),
                0.0 if oldest is None else time.monotonic() - oldest,
                self._raised,
                dict(self._decided),
                self._failed + self._following.failures,
                self._following.looks,
            )

    def close(self) -> None:
        """End all that is held with Interrupted, and every thread, within 2 seconds."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = [*self._held]
        end = time.monotonic() + CLOSE_SECONDS
        for held in left:
            self._end(held, error=Interrupted())
        closing = [
            threading.Thread(target=one, daemon=True)
            for one in (
                self._following.close,
                lambda: self._writer.close(_WRITER_SECONDS),
                lambda: self._reader.close(_WRITER_SECONDS),
            )
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(max(0.0, end - time.monotonic()))
        self._journal.close()
        # A git that hangs is left to itself rather than waited for.
        ending = threading.Thread(target=self._session.close, daemon=True)
        ending.start()
        ending.join(max(0.05, end - time.monotonic()))

    # --- waiting ----------------------------------------------------------------------------------

    def _hold(self, held: Held) -> None:
        with self._lock:
            if self._closed:
                raise Interrupted()
            self._held[held] = None

    def _attend(self, held: Held, *, at_once: bool = False) -> None:
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

    def _looked(self, held: Held, look: Look) -> None:
        """What the loop has seen of one. This runs on its thread, and hands on all that takes time."""
        if look.words:
            self._say(look.words)
        if look.entry is not None:
            self._saw(held, look.entry.record)
        if look.error is not None:
            self._end(held, error=look.error)
        elif look.proof is not None:
            self._remember(look.proof)
            self._proven(held, look.proof)
        elif look.over:
            name = held.escalation_id or ""
            self._end(held, error=NotResolved(escalation_id=name, status=held.status))

    def _remember(self, proof: decision.Proof) -> None:
        """Keep a proof for whoever asks next: for ever where nothing is released, else until the next look."""
        end = proof.record.resolution
        releases = end is None or end.outcome in RELEASING
        until = time.monotonic() + self._every if releases else float("inf")
        with self._lock:
            self._known[proof.record.escalation_id] = _Judged(proof, until)
            while len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]

    def _proven(self, held: Held, proof: decision.Proof) -> None:
        end = proof.record.resolution
        releases = end is not None and end.outcome in RELEASING
        if releases and held.releases and proof.record.requires.single_use:
            with held.lock:
                if held.gone:
                    return
                held.releasing.set()
            self._writer.add(_Do(lambda: self._release(held), lambda found: self._released(held, found)))
            return
        try:
            now = to_millis(self._session.clock())
            self._end(held, found=decision.plain_answer(proof, now, held.digest, amended=held.amended))
        except KtError as error:
            self._end(held, error=error)

    def _leave(self, held: Held) -> None:
        """Let go of one whose caller has gone."""
        with self._lock:
            self._held.pop(held, None)
        if held.waiter is not None:
            self._following.leave(held.waiter)
        name = held.escalation_id
        if held.withdraws and name is not None:
            held.withdraws = False
            self._writer.add(
                _Do(
                    lambda: decide.withdraw(self._session, [name], _GONE, Options()),
                    lambda found: self._count_failure(found),
                )
            )

    def _end(self, held: Held, *, found: Decision | None = None, error: Exception | None = None) -> None:
        with self._lock:
            if self._held.pop(held, held) is held:
                return
            if found is not None:
                self._decided[found.outcome] += 1
        if held.waiter is not None:
            self._following.leave(held.waiter)
        settle(held.future, found if found is not None else error)

    def _guard(self, snapshot: Snapshot) -> None:
        """Hold each new state against what the journal has pinned. Raises HistoryRewritten."""
        pins, git = self._journal.pins, self._session.git
        if not self._is_pinned and pins.tip is not None and pins.tip != snapshot.revision:
            there = git.repository.objects.id_of(f"{pins.tip}^{{commit}}") is not None
            goes_on = there and git.repository.is_ancestor(pins.tip, snapshot.revision)
            if not goes_on or not git.goes_on(snapshot.revision, pins.tip):
                raise HistoryRewritten(branch=pins.branch, remote=git.remote or "", seen=pins.tip[:12])
        watched = self._session.watched
        start = watched.start if watched is not None else None
        if None not in (start, pins.start) and start != pins.start:
            raise HistoryRewritten(branch=pins.branch, remote=git.remote or "", seen=(pins.start or "")[:12])
        now = time.monotonic()
        if not self._is_pinned or now - self._pinned_at >= _PIN_SECONDS or (start and not pins.start):
            self._journal.pin(start, snapshot.revision)
            self._is_pinned, self._pinned_at = True, now

    # --- releasing --------------------------------------------------------------------------------

    def _release(self, held: Held) -> Decision:
        """Release one on the writer's thread: noted before it is pushed."""
        name = held.escalation_id or ""
        token = held.release_id or self._session.token()
        token = self._journal.begin(name, token, format_time(to_millis(self._session.clock())))
        if held.release_id not in (None, token):
            raise BadInput(problem=f"{name} was begun under the release id {token}; give that one")
        return use.release(self._session, name, digest=held.digest, release_id=token, amended=held.amended)

    def _released(self, held: Held, found: Decision | Exception) -> None:
        """Give the decision, or try again where the remote has gone meanwhile."""
        with held.lock:
            held.releasing.clear()
            if held.gone:
                return
            if isinstance(found, (*WEATHER, OutcomeUnknown)) and not self._closed:
                self._failed += 1
                again = True
            else:
                again = False
                if isinstance(found, Decision) and found.release_id is not None:
                    try:
                        now = format_time(to_millis(self._session.clock()))
                        if found.release_commit is not None:
                            self._journal.pin(None, found.release_commit)
                        self._journal.give(found.escalation_id, found.release_id, now)
                        # What was begun under this id by whoever, nobody was given: this is the one leave to run.
                        found = replace(found, changed=True, repeat=False)
                    except (KtError, OSError) as error:
                        found = error
        if again:
            self._attend(held)
        elif isinstance(found, Decision):
            self._end(held, found=found)
        else:
            self._end(held, error=found)

    # --- committing -------------------------------------------------------------------------------

    def _commit(self, work: Callable[[], _Answer]) -> Future[_Answer]:
        future: Future[_Answer] = Future()
        self._writer.add(_Do(work, lambda found: settle(future, found)))
        return future

    def _write(self, jobs: Sequence[_Raise | _Do]) -> None:
        raises = [job for job in jobs if isinstance(job, _Raise)]
        if raises:
            try:
                answers = self._raising.together([job.item for job in raises])
            except Exception as error:
                answers = [error] * len(raises)
            for job, answer in zip(raises, answers, strict=True):
                self._raised += isinstance(answer, Result) and answer.changed
                self._count_failure(answer)
                job.done(answer)
        for one in jobs:
            if isinstance(one, _Do):
                answer = _outcome(one.work)
                self._count_failure(answer)
                one.done(answer)

    def _read(self, jobs: Sequence[_Do]) -> None:
        for job in jobs:
            job.done(_outcome(job.work))

    def _count_failure(self, found: object) -> None:
        self._failed += isinstance(found, Exception)

    # --- deadlines --------------------------------------------------------------------------------

    def _saw(self, held: Held, record: Record) -> None:
        held.status = record.status
        self._note(record)

    def _note(self, record: Record) -> None:
        """Keep in mind when time alone changes a record of ours."""
        end = deadline(record)
        with self._lock:
            if end is None:
                self._deadlines.pop(record.escalation_id, None)
            else:
                self._deadlines[record.escalation_id] = end
        self._writer.wake()

    def _until_deadline(self) -> float | None:
        """Sweep what is due, on the writer's thread; how many seconds there are until the next deadline."""
        now = self._session.clock()
        with self._lock:
            due = [name for name, end in self._deadlines.items() if end <= now]
            first = min(self._deadlines.values(), default=None)
        if due and time.monotonic() >= self._sweep_after:
            try:
                sweep.sweep(self._session, only=due)
                self._look_after(due)
            except Exception as error:
                self._count_failure(error)
                self._sweep_after = time.monotonic() + _SWEEP_AGAIN
            return 0.0
        if due:
            return max(self._sweep_after - time.monotonic(), 0.0)
        return None if first is None else max((first - now).total_seconds(), 0.0)

    def _look_after(self, names: Sequence[str]) -> None:
        """Learn the next deadlines of what was swept; what is due by our clock alone waits a moment."""
        snapshot = self._session.snapshot()
        now = self._session.clock()
        for name in names:
            record = lookup.record_of(snapshot, name)
            if record is None:
                with self._lock:
                    self._deadlines.pop(name, None)
                continue
            self._note(record)
            if (deadline(record) or now) < now:
                self._sweep_after = time.monotonic() + _SWEEP_AGAIN


def item_of(draft: Mapping[str, Any]) -> Any:
    """What a mapping of a record's keys, or a decision event, asks to be raised. Raises BadInput."""
    if not isinstance(draft, Mapping):
        raise BadInput(problem="a mapping of a record's keys or a decision event is needed")
    [(_, item)] = inputs.from_mappings([draft])
    if isinstance(item, KtError):
        raise item
    if item is None:
        raise BadInput(problem="the event's verdict is not escalate, so there is nothing to ask")
    return item


def settle(future: Future[_Answer], found: _Answer | Exception | None) -> None:
    """Give a future its answer, unless whoever waited for it has gone."""
    try:
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)  # type: ignore[arg-type]
    except InvalidStateError:
        return


def _refuse(job: _Raise | _Do, error: Exception) -> None:
    job.done(error)


def _outcome(work: Callable[[], _Answer]) -> _Answer | Exception:
    try:
        return work()
    except Exception as error:
        return error
