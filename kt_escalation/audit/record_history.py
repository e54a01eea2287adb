"""Judges one record's history as `verify` does: `restore` needs its last legal state, `wait` a legal decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..errors import IllegalRecord
from ..storage import history
from ..storage.clone import GitStore
from .findings import key
from .mark import remember, remembered
from .report import reported, told
from .run import History
from .scope import Scope
from .steps import State
from .verify import require_history

#: The clone's note of up to where lines, policies and trees were judged by `wait`, by branch.
WAITED = "waited"


@dataclass(frozen=True)
class Life:
    """The legal states of a record, oldest first (None: none any more), and whether it is illegal now."""

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


def require_legal(
    store: GitStore, revision: str, ids: Sequence[str], now: datetime, path: str, *, signed: bool = False
) -> None:
    """Raise IllegalRecord unless `verify` has nothing against how records came to be what they are at a commit.

    ``ids`` are a record and those that it reopens. Everything on the line that is about the line itself, policies
    and trees counts as well; what a waiver accepts releases nothing.
    """
    past = History(store)
    only = frozenset(ids)
    mark = next(iter(remembered(store, WAITED)), None)
    since = None
    if mark is not None and not signed:
        lines = past.lines(revision, mark.commit)
        resting = lines.resting(revision, mark.commit) if mark.commit in lines else None
        if resting is None or mark.root != store.root:
            where = mark.commit[:12]
            raise _illegal(
                ids[0], path, f"the branch does not go on from {where}, where this clone has judged it before"
            )
        places = _born(store, resting, ids)
        if not places:
            since = replace(mark, commit=resting)
    scope = Scope(now, only=only, always_signed=signed)
    run = past.run(revision, scope, since=since)
    report = reported(run, revision)
    judge = run.judge
    for violation in report.waived:
        if key(violation) in judge.findings.healed:
            continue
        if violation.escalation_id in only or violation.commit in judge.records.touching:
            raise _illegal(ids[0], path, f"{told(violation)} (it is waived, and that releases nothing)")
    for violation in report.violations:
        if key(violation) in judge.findings.healed:
            continue
        raise _illegal(ids[0], path, told(violation))
    if ids[0] in judge.records.illegal or ids[0] in judge.records.waived:
        raise _illegal(ids[0], path, "no legal step led to what is there")
    for name in ids:
        states = judge.records.legal.get(name, ())
        there = judge.commits.standing(revision, name)
        if name == ids[0] and name in judge.records.imported and (not states or _is(states[0], there)):
            raise _illegal(
                name, path, "it was imported already resolved, and nobody can prove how that came about"
            )
        # Whatever was looked at on the way: what is released is what was judged, to the last byte.
        if (states or name not in judge.records.imported) and not _is(states[-1] if states else None, there):
            raise _illegal(name, path, f"no legal step led to what is there of {name}")
    if not signed:
        remember(store, WAITED, run.judge.mark(revision))


def _is(state: State | None, files: Sequence[tuple[str, str, str]]) -> bool:
    """Whether a record's files are one, and that state; in an archive it is at another path."""
    return state is not None and [file[1:] for file in files] == [(state.mode, state.oid)]


def _born(store: GitStore, commit: str, ids: Sequence[str]) -> bool:
    """Whether any of some records was there at a commit or before it; what was deleted was there."""
    snapshot = store.at(commit)
    if any(snapshot.has(name) for name in ids):
        return True
    specs = [spec for name in ids for spec in history.pathspecs(store, name)]
    return bool(store.repository.rev_list([commit, "--max-count=1", "--full-history", "--", *specs]))


def _illegal(escalation_id: str, path: str, problem: str) -> IllegalRecord:
    return IllegalRecord(escalation_id=escalation_id, path=path, problem=problem)
