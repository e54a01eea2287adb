"""Judges one record's history as `verify` does: `restore` needs its last legal state, `wait` a legal decision."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..errors import IllegalRecord
from ..rules.judge_step import Violation
from ..storage import history
from ..storage.clone import GitStore
from .findings import key
from .mark import Mark, remember, remembered
from .record_files import State
from .report import Report, reported, violation_line
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
class Wanted:
    """A record to be proved: its id and those that it reopens, one after the other, and its path."""

    ids: tuple[str, ...]
    path: str

    @property
    def name(self) -> str:
        """Its id."""
        return self.ids[0]

    def illegal(self, problem: str, *, commit: str = "", rule: str = "", path: str = "") -> IllegalRecord:
        """The error for a record that cannot be proved, with the commit, the rule and the file that say so."""
        return IllegalRecord(
            escalation_id=self.name, path=path or self.path, problem=problem, commit=commit, rule=rule
        )

    def breaks(self, violation: Violation, more: str = "") -> IllegalRecord:
        """The error for a violation."""
        return self.illegal(
            f"{violation_line(violation)}{more}",
            commit=violation.commit,
            rule=violation.rule,
            path=violation.path,
        )


@dataclass(frozen=True)
class Proven:
    """What the judge knows of a record that legal steps led to.

    ``commit`` is the one of its last step, ``landed`` when the line got that, ``signed`` whether each of its steps has a good
    signature by its author.
    """

    commit: str
    landed: datetime | None
    signed: bool


def proven(
    store: GitStore, revision: str, wanted: Sequence[Wanted], now: datetime, *, signed: bool = False
) -> list[Proven | IllegalRecord]:
    """What is proven of each record by one run of the judge: an error unless legal steps led to its state at a commit.

    Violations of the line itself, of policies and of trees count for every record. A state that only a waiver
    accepts releases nothing. Raises ShallowClone.
    """
    past = History(store)
    every = [name for one in wanted for name in one.ids]
    scope = Scope(now, only=frozenset(every), always_signed=signed)
    try:
        since = None if signed else _since(past, revision, every)
    except _Rewritten as error:
        where = f"where this clone has judged it before ({error.commit[:12]})"
        return [one.illegal(f"the branch does not go on from {where}", commit=error.commit) for one in wanted]
    run = past.run(revision, scope, since=since)
    report = reported(run, revision)
    found = [_proven(one, run, report, set(every) - set(one.ids)) for one in wanted]
    # A mark that holds violations of one record would be held against others.
    if not signed and all(isinstance(one, Proven) for one in found):
        remember(store, WAITED, run.judge.mark(revision))
    return found


def _proven(wanted: Wanted, run: Run, report: Report, others: Collection[str]) -> Proven | IllegalRecord:
    """What a run has proven of one of the records that it looked at; ``others`` are the rest of them."""
    name, judge, revision = wanted.name, run.judge, report.revision
    touching = {commit for one in wanted.ids for commit in judge.records.touching.get(one, ())}
    broken = _broken(wanted, touching, run, report, others)
    if broken is not None:
        return broken
    if name in judge.records.illegal or name in judge.records.waived:
        return wanted.illegal(f"no legal step led to what is there in {wanted.path}")
    for one in wanted.ids:
        states = judge.records.legal.get(one, ())
        there = judge.commits.standing(revision, one)
        if one == name and one in judge.records.imported and (not states or is_standing(states[0], there)):
            problem = "it was imported already resolved, and nobody can prove how that came about"
            return wanted.illegal(problem, commit=judge.start or "")
        # The record that is released must be the one that was judged, to the last byte.
        if (states or one not in judge.records.imported) and not is_standing(
            states[-1] if states else None, there
        ):
            return wanted.illegal(f"no legal step led to what is there of {one}")
    return Proven(
        judge.records.by.get(name, revision),
        judge.records.landed.get(name),
        all(map(judge.authors.is_well_signed, touching)),
    )


def _broken(
    wanted: Wanted, touching: Collection[str], run: Run, report: Report, others: Collection[str]
) -> IllegalRecord | None:
    """The error for a violation that was not healed by a restoration; a waiver of one of the record releases nothing.

    Those of the ``others`` alone do not count.
    """
    findings = run.judge.findings
    for violation in report.waived:
        if key(violation) in findings.healed:
            continue
        if violation.escalation_id in wanted.ids or violation.commit in touching:
            return wanted.breaks(violation, " (it is waived, and that releases nothing)")
    for violation in report.violations:
        if key(violation) not in findings.healed and violation.escalation_id not in others:
            return wanted.breaks(violation)
    return None


class _Rewritten(Exception):
    """The line does not go on from a commit up to which this clone has judged it."""

    def __init__(self, commit: str) -> None:
        self.commit = commit


def _since(past: History, revision: str, ids: Sequence[str]) -> Mark | None:
    """The mark of an earlier wait if the records came after it, else None. Raises _Rewritten."""
    mark = next(iter(remembered(past.store, WAITED)), None)
    if mark is None:
        return None
    resting = moved(past, mark, revision)
    if resting is None:
        raise _Rewritten(mark.commit)
    return None if born(past.store, resting.commit, ids) else resting


def moved(past: History, mark: Mark, revision: str) -> Mark | None:
    """A mark at the commit from which the line of a revision goes on from it, None if it does not."""
    lines = past.lines(revision, mark.commit)
    resting = lines.resting(revision, mark.commit) if mark.commit in lines else None
    if resting is None or mark.root != past.store.root:
        return None
    return replace(mark, commit=resting)


def is_standing(state: State | None, files: Sequence[tuple[str, str, str]]) -> bool:
    """Whether a record has one file with that state; in an archive its path differs."""
    return state is not None and [file[1:] for file in files] == [(state.mode, state.oid)]


def born(store: GitStore, commit: str, ids: Sequence[str]) -> bool:
    """Whether any of some records exists at a commit or existed before it."""
    snapshot = store.at(commit)
    if any(snapshot.has(name) for name in ids):
        return True
    specs = [spec for name in ids for spec in history.pathspecs(store, name)]
    return bool(store.repository.rev_list([commit, "--max-count=1", "--full-history", "--", *specs]))
