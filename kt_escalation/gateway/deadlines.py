"""Applies the deadlines of a gateway's escalations, so that a wait also ends if nobody decides in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from ..actions import sweep
from ..actions.session import Session
from ..model.deadlines import deadline
from ..model.record import Record
from ..storage import lookup

# After this many seconds a sweep is tried again that failed or found nothing due.
_AGAIN = 5.0


class Deadlines:
    """The next deadlines of a gateway's escalations. ``failed`` is called with each error of a sweep."""

    def __init__(self, session: Session, failed: Callable[[Exception], object]) -> None:
        self._session, self._failed = session, failed
        self._lock = threading.Lock()
        self._ends: dict[str, datetime] = {}
        self._not_before = 0.0

    def note(self, record: Record) -> None:
        """Remember the record's next deadline."""
        end = deadline(record)
        with self._lock:
            if end is None:
                self._ends.pop(record.escalation_id, None)
            else:
                self._ends[record.escalation_id] = end

    def sweep(self) -> float | None:
        """Apply all deadlines that have passed.

        Returns the seconds until the next deadline, or None if there is none.
        """
        now = self._session.clock()
        with self._lock:
            due = [name for name, end in self._ends.items() if end <= now]
            first = min(self._ends.values(), default=None)
        if not due:
            return None if first is None else max((first - now).total_seconds(), 0.0)
        if time.monotonic() >= self._not_before:
            try:
                sweep.sweep(self._session, only=due)
                self._look_after(due)
            except Exception as error:
                self._failed(error)
                self._not_before = time.monotonic() + _AGAIN
            return 0.0
        return max(self._not_before - time.monotonic(), 0.0)

    def _look_after(self, names: Sequence[str]) -> None:
        """Read the next deadlines of the swept escalations.

        If one is due only by our clock, try it again a moment later.
        """
        snapshot = self._session.snapshot()
        now = self._session.clock()
        for name in names:
            record = lookup.record_of(snapshot, name)
            if record is None:
                with self._lock:
                    self._ends.pop(name, None)
                continue
            self.note(record)
            if (deadline(record) or now) < now:
                self._not_before = time.monotonic() + _AGAIN
