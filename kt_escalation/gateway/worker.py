"""A thread that runs jobs one after the other. It never keeps the process from ending."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..errors import BadInput, Interrupted

_Job = TypeVar("_Job")


def elsewhere() -> BadInput:
    """The error for a forked process: the threads of the gateway are only in the process that opened it."""
    return BadInput(
        problem="the gateway was opened before this process was forked", hint="open one in each process"
    )


class Worker(Generic[_Job]):
    """Runs jobs in the order in which they came. ``do`` gets all waiting jobs, at most ``most`` of them.

    ``idle`` is called between jobs. It returns after how many seconds to call it again, or None. ``refuse``
    gets each job that is not run because the worker was closed.
    """

    def __init__(
        self,
        name: str,
        do: Callable[[Sequence[_Job]], object],
        refuse: Callable[[_Job, Exception], object],
        *,
        most: int,
        idle: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._do, self._refuse, self._most, self._idle = do, refuse, most, idle
        self._changed = threading.Condition()
        self._jobs: list[_Job] = []
        self._closed = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, job: _Job) -> None:
        """Add a job."""
        if self.is_elsewhere:
            self._refuse(job, elsewhere())
            return
        with self._changed:
            if not self._closed:
                self._jobs.append(job)
                self._changed.notify_all()
                return
        self._refuse(job, Interrupted())

    @property
    def is_elsewhere(self) -> bool:
        """Whether this process was forked from the one that has the thread."""
        return self._process != os.getpid()

    def wake(self) -> None:
        """Call ``idle`` again, because its result has changed."""
        with self._changed:
            self._changed.notify_all()

    def close(self, seconds: float) -> None:
        """Refuse all jobs that have not begun, and wait for the running job for a limited time."""
        with self._changed:
            self._closed = True
            left, self._jobs = self._jobs, []
            self._changed.notify_all()
        for job in left:
            self._refuse(job, Interrupted())
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _run(self) -> None:
        while jobs := self._next():
            self._do(jobs)

    def _next(self) -> Sequence[_Job]:
        """Wait for jobs, and return them. Empty when the worker is closed."""
        while True:
            pause = self._idle()
            until = None if pause is None else time.monotonic() + pause
            with self._changed:
                while not self._jobs:
                    if self._closed:
                        return ()
                    left = None if until is None else until - time.monotonic()
                    if left is not None and left <= 0:
                        break
                    if self._changed.wait(left):
                        break
                jobs, self._jobs = self._jobs[: self._most], self._jobs[self._most :]
            if jobs:
                return jobs
