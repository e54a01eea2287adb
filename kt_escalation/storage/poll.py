"""The pauses between questions to a remote: short at first, then longer, to spare the host."""

from __future__ import annotations

import random
import time

_FIRST_SECONDS, _GROWTH, _LONGEST_SECONDS = 0.5, 1.5, 15.0


class Poll:
    """Pauses until ``timeout`` seconds have passed (None: no end). Each takes ``interval`` seconds, if given."""

    def __init__(self, timeout: float | None = None, interval: float | None = None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout
        self._interval = interval
        self.pause = _FIRST_SECONDS if interval is None else interval

    @property
    def is_over(self) -> bool:
        """Whether the timeout has passed."""
        return self._end is not None and time.monotonic() >= self._end

    def restart(self) -> None:
        """Make the pauses short again, after news."""
        self.pause = _FIRST_SECONDS if self._interval is None else self._interval

    def wait(self) -> None:
        """Sleep for one pause, at most until the timeout."""
        time.sleep(self.next())

    def next(self) -> float:
        """How many seconds the next pause takes, at most until the timeout."""
        now = time.monotonic()
        return max(self.due(now) - now, 0)

    def due(self, since: float) -> float:
        """When the next pause ends that began at ``since``, by the monotonic clock. Not later than the timeout."""
        nap = self.pause
        if self._interval is None:
            nap *= random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
            self.pause = min(self.pause * _GROWTH, _LONGEST_SECONDS)
        return since + nap if self._end is None else min(since + nap, self._end)
