"""Judges the line for everybody who waits in one process. Each new commit is judged once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime

from ..errors import IllegalRecord
from ..storage.clone import GitStore
from . import record_history
from .mark import Mark
from .record_history import Proven, Rewritten, Wanted
from .run import History, Run


class Watched:
    """The judge of a store that is followed. Several threads may use it.

    It answers at once if none of its findings could be about a record. Otherwise it calls
    `record_history.proven`, which judges that record by itself and names the violation.
    """

    def __init__(self, store: GitStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._mark: Mark | None = None
        self._run: Run | None = None

    @property
    def start(self) -> str | None:
        """The commit that starts the store, None while nothing has been judged."""
        return self._mark.start if self._mark else None

    def catch_up(self, revision: str, now: datetime) -> None:
        """Judge new commits up to a commit of the line, so that less is left when a decision comes."""
        with self._lock:
            self._reach(History(self._store), self._newest(revision), now)

    def proven(self, revision: str, wanted: Sequence[Wanted], now: datetime) -> list[Proven | IllegalRecord]:
        """The proof of each record, or the error; see `record_history.proven`. Raises ShallowClone."""
        with self._lock:
            past = History(self._store)
            here = self._newest(revision)
            run = self._reach(past, here, now)
            if run is None and self._mark is not None:
                # Whatever the clone's files say by now: this process has seen another history.
                return record_history.elsewhere(wanted, self._mark.commit)
            known = [record_history.plainly(past, run, here, one) if run else None for one in wanted]
        rest = [one for one, answer in zip(wanted, known, strict=True) if answer is None]
        alone = iter(record_history.proven(self._store, revision, rest, now) if rest else ())
        return [answer or next(alone) for answer in known]

    def _newest(self, revision: str) -> str:
        return record_history.newest(self._store, revision, self._mark or record_history.waited(self._store))

    def _reach(self, past: History, revision: str, now: datetime) -> Run | None:
        """The run that has judged the line up to a commit.

        None if that does not continue from the last judged commit.
        """
        if self._run is not None and self._mark is not None and self._mark.commit == revision:
            return self._run
        if self._mark is not None:
            mark = record_history.moved(past, self._mark, revision)
            if mark is None:
                return None
        else:
            try:
                mark = record_history.since(past, revision)
            except Rewritten:
                return None
        self._run = record_history.judged(past, revision, mark, now)
        self._mark = self._run.judge.mark(revision)
        return self._run
