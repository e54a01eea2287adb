"""The threads on which a gateway commits and reads. Escalations that are raised at the same time share a commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..actions import drafts
from ..actions.raise_ import Raising
from ..actions.session import Session
from ..frozen import dataclass
from ..results import Result
from .worker import Worker, elsewhere

# So many raises share one commit at most.
_MOST = 500
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Raise:
    """A draft to raise, and the callback for its result."""

    item: drafts.Item
    done: Callable[[Result | Exception], object]


@dataclass(frozen=True)
class _Do:
    """Any other job that commits or reads, and the callback for its result."""

    work: Callable[[], Any]
    done: Callable[[Any], object]


class GatewayWriter:
    """Runs all commits one after the other on one thread, and reads on another thread.

    ``idle`` is called between jobs; see `Worker`. The callback ``done`` of a job is called on the thread that
    ran the job.
    """

    def __init__(self, session: Session, idle: Callable[[], float | None]) -> None:
        self._raising = Raising(session)
        #: How many escalations were raised, and how many jobs failed.
        self.raised = self.failures = 0
        self._writer: Worker[_Raise | _Do] = Worker(
            "kt gateway writer", self._write, _refuse, most=_MOST, idle=idle
        )
        self._reader: Worker[_Do] = Worker("kt gateway reader", self._read, _refuse, most=1)

    def raise_(self, item: drafts.Item, done: Callable[[Result | Exception], object]) -> None:
        """Raise an escalation. It shares a commit with others that are waiting."""
        self._writer.add(_Raise(item, done))

    def commit(self, work: Callable[[], Any], done: Callable[[Any], object]) -> None:
        """Run a job that commits."""
        self._writer.add(_Do(work, done))

    def read(self, work: Callable[[], Any], done: Callable[[Any], object]) -> None:
        """Run a job that only reads, without waiting for commits."""
        self._reader.add(_Do(work, done))

    def require_here(self) -> None:
        """Raise BadInput in a process that was forked from the one that opened the gateway."""
        if self._writer.is_elsewhere:
            raise elsewhere()

    def wake(self) -> None:
        """Call ``idle`` again."""
        self._writer.wake()

    def close(self, seconds: float) -> None:
        """Refuse all jobs that have not begun, and wait for running jobs for a limited time."""
        self._reader.close(0.0)
        self._writer.close(seconds)

    def _write(self, jobs: Sequence[_Raise | _Do]) -> None:
        raises = [job for job in jobs if isinstance(job, _Raise)]
        if raises:
            try:
                answers = self._raising.together([job.item for job in raises])
            except Exception as error:
                answers = [error] * len(raises)
            for job, answer in zip(raises, answers, strict=True):
                self.raised += isinstance(answer, Result) and answer.changed
                self.failed(answer)
                job.done(answer)
        for one in jobs:
            if isinstance(one, _Do):
                answer = _outcome(one.work)
                self.failed(answer)
                one.done(answer)

    def _read(self, jobs: Sequence[_Do]) -> None:
        for job in jobs:
            job.done(_outcome(job.work))

    def failed(self, found: object) -> None:
        """Count a result if it is an error."""
        self.failures += isinstance(found, Exception)


def _refuse(job: _Raise | _Do, error: Exception) -> None:
    job.done(error)


def _outcome(work: Callable[[], _Answer]) -> _Answer | Exception:
    try:
        return work()
    except Exception as error:
        return error
