"""Judges one record's history as `verify` does: `restore` needs its last legal state, `wait` a legal decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..errors import IllegalRecord
from ..storage import history
from ..storage.clone import GitStore
from .findings import key
from .mark import Mark, remember, remembered
from .record_files import State
from .report import reported, violation_line
from .run import History, Run
from .scope import Scope
from .verify import require_history

#: The name of the mark up to which `wait` has judged the line in this clone, by branch.
WAITED = "waited"


@dataclass(frozen=True)
class Life:
    """The legal states of a record, oldest first (None: deleted), and whether it is illegal now."""

    states: tuple[State | None, ...]
    is_illegal: bool

    @property
    def last(self) -> State | None:
        """Its last legal state."""
        return self.states[-1] if self.states else None


def life(store: GitStore, revision: str, escalation_id: str, now: datetime) -> Life:
    """The life of a record up to a commit of the line. Raises ShallowClone."""
    require_history(store)
    run = History(store).run(revision, Scope(now, only=frozenset({escalation_id})))
    judge = run.judge
    states = tuple(judge.records.legal.get(escalation_id, ()))
    if escalation_id in judge.records.illegal and judge.records.illegal[escalation_id] is not None:
        states = (*states, judge.records.illegal[escalation_id])
    return Life(states, escalation_id in judge.records.illegal)


@dataclass(frozen=True)
class Proven:
    """What the judge knows of a record that legal steps led to.

    ``commit`` is the one of its last step, ``landed`` when the line got that, ``signed`` whether each of its steps has a good
    signature by its author.
    """

    commit: str
    landed: datetime | None
    signed: bool


def require_legal(
    store: GitStore, revision: str, ids: Sequence[str], now: datetime, path: str, *, signed: bool = False
) -> Proven:
    """What is proven of the first of some records. Raises IllegalRecord unless legal steps led to their state at a commit.

    ``ids`` are a record and those that it reopens. Violations of the line itself, of policies and of trees count
    too. A state that only a waiver accepts releases nothing.
    """
    past = History(store)
    scope = Scope(now, only=frozenset(ids), always_signed=signed)
    run = past.run(revision, scope, since=None if signed else _since(past, revision, ids, path))
    _require_clean(run, revision, ids, path)
    judge = run.judge
    if ids[0] in judge.records.illegal or ids[0] in judge.records.waived:
        raise _illegal(ids[0], path, "no legal step led to what is there")
    for name in ids:
        states = judge.records.legal.get(name, ())
        there = judge.commits.standing(revision, name)
        if name == ids[0] and name in judge.records.imported and (not states or _is(states[0], there)):
            raise _illegal(
                name, path, "it was imported already resolved, and nobody can prove how that came about"
            )
        # The record that is released must be the one that was judged, to the last byte.
        if (states or name not in judge.records.imported) and not _is(states[-1] if states else None, there):
            raise _illegal(name, path, f"no legal step led to what is there of {name}")
    if not signed:
        remember(store, WAITED, run.judge.mark(revision))
    name = ids[0]
    return Proven(
        judge.records.by.get(name, revision),
        judge.records.landed.get(name),
        all(map(judge.authors.is_well_signed, judge.records.touching)),
    )


def _since(past: History, revision: str, ids: Sequence[str], path: str) -> Mark | None:
    """The mark of an earlier wait if the records came after it, else None. Raises IllegalRecord."""
    mark = next(iter(remembered(past.store, WAITED)), None)
    if mark is None:
        return None
    lines = past.lines(revision, mark.commit)
    resting = lines.resting(revision, mark.commit) if mark.commit in lines else None
    if resting is None or mark.root != past.store.root:
        where = mark.commit[:12]
        raise _illegal(
            ids[0], path, f"the branch does not go on from {where}, where this clone has judged it before"
        )
    return None if _born(past.store, resting, ids) else replace(mark, commit=resting)


def _require_clean(run: Run, revision: str, ids: Sequence[str], path: str) -> None:
    """Raise IllegalRecord for a violation that was not healed by a restoration; a waiver of one releases nothing."""
    judge = run.judge
    report = reported(run, revision)
    for violation in report.waived:
        if key(violation) in judge.findings.healed:
            continue
        if violation.escalation_id in ids or violation.commit in judge.records.touching:
            raise _illegal(
                ids[0], path, f"{violation_line(violation)} (it is waived, and that releases nothing)"
            )
    for violation in report.violations:
        if key(violation) not in judge.findings.healed:
            raise _illegal(ids[0], path, violation_line(violation))


def _is(state: State | None, files: Sequence[tuple[str, str, str]]) -> bool:
    """Whether a record has one file with that state; in an archive its path differs."""
    return state is not None and [file[1:] for file in files] == [(state.mode, state.oid)]


def _born(store: GitStore, commit: str, ids: Sequence[str]) -> bool:
    """Whether any of some records exists at a commit or existed before it."""
    snapshot = store.at(commit)
    if any(snapshot.has(name) for name in ids):
        return True
    specs = [spec for name in ids for spec in history.pathspecs(store, name)]
    return bool(store.repository.rev_list([commit, "--max-count=1", "--full-history", "--", *specs]))


def _illegal(escalation_id: str, path: str, problem: str) -> IllegalRecord:
    return IllegalRecord(escalation_id=escalation_id, path=path, problem=problem)
