"""Compares each new state of the store with the journal's pins: the first commit, and the newest commit that was seen."""

from __future__ import annotations

import time

from ..actions.session import Session
from ..errors import HistoryRewritten
from ..storage.interface import Snapshot
from .journal import Journal

# The newest commit is pinned at most so often, in seconds.
_PIN_SECONDS = 5.0


class Pinned:
    """Checks the states of one gateway's store."""

    def __init__(self, session: Session, notes: Journal) -> None:
        self._session, self._journal = session, notes
        self._is_pinned, self._pinned_at = False, float("-inf")

    def require(self, snapshot: Snapshot) -> None:
        """Raise HistoryRewritten if a state does not continue from the pinned commits. Otherwise pin it."""
        pins, git = self._journal.pins, self._session.git
        if not self._is_pinned and pins.tip is not None and pins.tip != snapshot.revision:
            there = git.repository.objects.id_of(f"{pins.tip}^{{commit}}") is not None
            goes_on = there and git.repository.is_ancestor(pins.tip, snapshot.revision)
            if not goes_on or not git.newest_tip.goes_on(snapshot.revision, pins.tip):
                raise HistoryRewritten(branch=pins.branch, remote=git.remote or "", seen=pins.tip[:12])
        watched = self._session.watched
        start = watched.start if watched is not None else None
        if None not in (start, pins.start) and start != pins.start:
            raise HistoryRewritten(branch=pins.branch, remote=git.remote or "", seen=(pins.start or "")[:12])
        now = time.monotonic()
        if not self._is_pinned or now - self._pinned_at >= _PIN_SECONDS or (start and not pins.start):
            self._journal.pin(start, snapshot.revision)
            self._is_pinned, self._pinned_at = True, now
