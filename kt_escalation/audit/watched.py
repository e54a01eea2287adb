"""Judges the line once for all records that somebody watches: each new commit is looked at once, whoever waits."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ..errors import IllegalRecord
from ..rules.judge_step import Violation
from ..storage.clone import GitStore
from .findings import key
from .judge import Judge
from .mark import Mark, remember, remembered
from .record_files import State
from .record_history import WAITED, Proven, Wanted, born, is_standing, moved, proven
from .report import reported
from .run import History, Run
from .scope import Scope

# Up to this many new commits are looked at one by one before git is asked.
_NEAR = 32


@dataclass
class _Known:
    """What is known of one record up to the mark; ``touched`` are the commits that changed it."""

    states: list[State | None] = field(default_factory=list)
    imported: bool = False
    by: str | None = None
    landed: datetime | None = None
    touched: set[str] = field(default_factory=set)


class Watched:
    """The judge of all records that are watched in one clone. Several threads may use it.

    It answers at once for what is clean. Wherever anything is odd it asks `record_history.proven`, which
    judges that record alone and names what is wrong.
    """

    def __init__(self, store: GitStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        self._known: dict[str, _Known] = {}
        self._mark: Mark | None = None
        self._judge: Judge | None = None
        # The records that are judged alone, and the commits whose violations are waived.
        self._odd: set[str] = set()
        self._waived: frozenset[str] = frozenset()

    @property
    def start(self) -> str | None:
        """The commit that starts the store, None while nothing has been judged."""
        return self._mark.start if self._mark else None

    def watch(self, names: Iterable[str]) -> None:
        """Follow these records too."""
        with self._lock:
            self._wanted |= set(names)

    def forget(self, names: Iterable[str]) -> None:
        """Follow these records no longer."""
        with self._lock:
            for name in names:
                self._wanted.discard(name)
                self._known.pop(name, None)
                self._odd.discard(name)

    def catch_up(self, revision: str, now: datetime) -> None:
        """Judge what is new up to a commit of the line, so that less is left when a decision comes."""
        with self._lock:
            self._reach(revision, (), now)

    def proven(self, revision: str, wanted: Sequence[Wanted], now: datetime) -> list[Proven | IllegalRecord]:
        """What is proven of each record, or the error; see `record_history.proven`. Raises ShallowClone."""
        with self._lock:
            revision_here = self._newest(revision)
            is_clean = self._reach(revision_here, {name for one in wanted for name in one.ids}, now)
            known = [self._proven(revision_here, one) if is_clean else None for one in wanted]
        rest = [one for one, answer in zip(wanted, known, strict=True) if answer is None]
        alone = iter(proven(self._store, revision, rest, now) if rest else ())
        return [answer or next(alone) for answer in known]

    def _newest(self, revision: str) -> str:
        """A commit of the line, or a newer one that somebody else has seen: what is resolved does not change."""
        mark, repository = self._mark, self._store.repository
        at: str | None = revision
        if mark is None:
            return revision
        # Nearly always it is a little ahead of the mark, and that needs no process.
        for _ in range(_NEAR):
            if at == mark.commit:
                return revision
            at = repository.objects.id_of(f"{at}^1") if at else None
        return mark.commit if repository.is_ancestor(revision, mark.commit) else revision

    def _proven(self, revision: str, wanted: Wanted) -> Proven | None:
        """What is proven of a record where all is clean, else None."""
        judge, names = self._judge, wanted.ids
        if judge is None or self._odd.intersection(names):
            return None
        touched: set[str] = set().union(*(self._known[name].touched for name in names))
        if touched & self._waived:
            return None
        for name in names:
            known = self._known[name]
            last = known.states[-1] if known.states else None
            if name == wanted.name and (known.imported or last is None):
                return None
            there = judge.commits.standing(revision, name)
            if (known.states or not known.imported) and not is_standing(last, there):
                return None
        first = self._known[wanted.name]
        return Proven(first.by or revision, first.landed, all(map(judge.authors.is_well_signed, touched)))

    def _reach(self, revision: str, names: Collection[str], now: datetime) -> bool:
        """Judge up to a commit of the line, with these records too. Returns whether the line is clean up to there."""
        past = History(self._store)
        if self._mark is None:
            self._mark = next(iter(remembered(self._store, WAITED)), None)
        if self._mark is not None and self._mark.commit != revision:
            mark = moved(past, self._mark, revision)
            if mark is None:
                return False
            self._mark = mark
        fresh = (self._wanted | set(names)) - self._known.keys() - self._odd
        if self._mark is not None and fresh and not self._learn(past, self._mark.commit, fresh, now):
            return False
        if self._mark is None or self._mark.commit != revision or self._judge is None:
            wanted = self._known.keys() | (fresh if self._mark is None else set())
            run = self._clean(past, revision, set(wanted), now, self._mark)
            if run is None:
                return False
            self._mark, self._judge = run.judge.mark(revision), run.judge
            remember(self._store, WAITED, self._mark)
        return True

    def _learn(self, past: History, commit: str, names: set[str], now: datetime) -> bool:
        """Learn what is known up to a commit of records that were not watched before."""
        there = self._store.at(commit)
        old = {name for name in names if there.has(name)}
        if old != names and born(self._store, commit, sorted(names - old)):
            old = names
        if old and self._clean(past, commit, set(old), now, None) is None:
            return False
        for name in names - old:
            self._known[name] = _Known()
        return True

    def _clean(
        self, past: History, revision: str, names: set[str], now: datetime, since: Mark | None
    ) -> Run | None:
        """Judge some records up to a commit, and keep what is found; None if the line itself is not clean.

        A record with a violation of its own is left to be judged alone, and the others are judged without it.
        """
        while True:
            run = past.run(revision, Scope(now, only=frozenset(names)), since=since)
            records, healed = run.judge.records, run.judge.findings.healed
            report = reported(run, revision)
            wrong = [found for found in report.violations if key(found) not in healed]
            waived = [found for found in report.waived if key(found) not in healed]
            odd = _names((*wrong, *waived)) | records.illegal.keys() | records.waived
            if not odd & names:
                break
            self._odd |= odd & names
            names -= odd
            for name in odd:
                self._known.pop(name, None)
        if wrong:
            return None
        self._waived = frozenset(found.commit for found in waived)
        for name in names:
            self._absorb(name, run)
        return run

    def _absorb(self, name: str, run: Run) -> None:
        """Add to what is known of a record what a run has found."""
        records, known = run.judge.records, self._known.setdefault(name, _Known())
        known.states += records.legal.get(name, ())
        known.imported |= name in records.imported
        known.by = records.by.get(name, known.by)
        known.landed = known.landed or records.landed.get(name)
        known.touched |= records.touching.get(name, set())


def _names(violations: Iterable[Violation]) -> set[str]:
    return {found.escalation_id for found in violations if found.escalation_id is not None}
