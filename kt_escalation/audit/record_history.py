"""Judges one record's history as `verify` does: `restore` needs its last legal state, `wait` a legal decision."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from ..errors import IllegalRecord
from ..frozen import dataclass
from ..rules.judge_step import Violation
from ..storage import commits, layout, lookup
from ..storage.clone import GitStore
from . import arrivals, milestones
from .findings import key
from .mark import Mark, remember, remembered
from .record_files import State
from .releases import is_decided, reopening_in
from .report import Report, reported, violation_line
from .run import History, Run
from .scope import Scope
from .verify import FULL, require_history

#: The names of the marks up to which `wait` has judged the line in this clone, by branch: by the settings in force, and
#: with each step signed. Their runs looked at all records.
WAITED, SIGNED = "judged", "judged-signed"
# Its state is legal, so there is nothing to restore.
_IMPORTED = (
    "release nothing; raise the request again under another request id, or reopen this one with "
    "`kt escalation reopen`, and let it be decided here"
)
_UNSIGNED = "release nothing; raise the request again under another id, and let it be decided in signed steps"
# Up to this many new commits are looked at one by one before git is asked.
_NEAR = 32


def last_legal(store: GitStore, revision: str, escalation_id: str, now: datetime) -> State | None:
    """The last legal state of a record up to a commit of the line, None if it had none. Raises ShallowClone."""
    require_history(store)
    records = History(store).run(revision, Scope(now, only=frozenset({escalation_id}))).judge.records
    states = records.legal.get(escalation_id, ())
    return records.illegal.get(escalation_id) or (states[-1] if states else None)


@dataclass(frozen=True)
class Wanted:
    """A record to prove: its id, those that it reopens (a chain), its path, and those that reopen it."""

    origins: tuple[str, ...]
    path: str
    reopeners: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all records that the proof depends on. A reopening may be withdrawn, but only by legal steps."""
        return (*self.origins, *self.reopeners)

    @property
    def doubted(self) -> frozenset[str]:
        """The record's id, and the ids of records that reopen it."""
        return frozenset({self.name, *self.reopeners})

    @property
    def name(self) -> str:
        """Its id."""
        return self.origins[0]

    def illegal(
        self,
        problem: str,
        *,
        commit: str = "",
        rule: str = "",
        path: str = "",
        hint: str = IllegalRecord.hint,
    ) -> IllegalRecord:
        """The error for a record that cannot be proved, with the commit, the rule and the file."""
        return IllegalRecord(
            escalation_id=self.name,
            path=path or self.path,
            problem=problem,
            commit=commit,
            rule=rule,
            hint=_UNSIGNED if rule == "unsigned" else hint,
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
    """The judge's facts about a record that legal steps led to.

    ``commit`` is the one of its last step, ``landed`` is when that arrived on the line, ``signed`` says
    whether each of its steps has a good signature by its author.
    """

    commit: str
    landed: datetime | None
    signed: bool


def proven(
    store: GitStore, revision: str, wanted: Sequence[Wanted], now: datetime, *, signed: bool = False
) -> list[Proven | IllegalRecord]:
    """The proof of each record, or an error if legal steps did not lead to its state at a commit.

    Violations of the line itself, of policies and of trees count for every record. A state that only a waiver
    accepts releases nothing. Raises ShallowClone.
    """
    past = History(store)
    revision = newest(store, revision, waited(store, signed=signed))
    try:
        run = judged(past, revision, since(past, revision, signed=signed), now, signed=signed)
    except Rewritten as error:
        return elsewhere(wanted, error.commit)
    known = [plainly(past, run, revision, one) for one in wanted]
    rest = [_with_lost(one, run) for one, answer in zip(wanted, known, strict=True) if answer is None]
    alone = iter(_alone(past, revision, rest, now, signed=signed) if rest else ())
    return [answer or next(alone) for answer in known]


def _with_lost(wanted: Wanted, run: Run) -> Wanted:
    """A record together with reopenings of it that illegal steps removed."""
    lost = tuple(name for name, origin in _lost(run) if origin in wanted.doubted)
    return replace(wanted, reopeners=tuple(dict.fromkeys((*wanted.reopeners, *lost))))


def _lost(run: Run) -> Iterator[tuple[str, str]]:
    """Illegal records that once legally reopened another one, each with the other one."""
    for name, state in run.judge.records.illegal.items():
        record = reopening_in(state)
        if record is not None and record.reopens is not None:
            yield name, record.reopens


def elsewhere(wanted: Sequence[Wanted], commit: str) -> list[Proven | IllegalRecord]:
    """The errors for records of a branch that does not continue from a commit up to which it was judged before."""
    where = f"where this clone has judged it before ({commit[:12]})"
    return [one.illegal(f"the branch does not continue from {where}", commit=commit) for one in wanted]


def judged(past: History, revision: str, known: Mark | None, now: datetime, *, signed: bool = False) -> Run:
    """Judge the new commits since a mark for all records, and store the new mark in this clone."""
    run = past.run(revision, Scope(now, always_signed=signed, keeps=True), since=known)
    remember(past.store, SIGNED if signed else WAITED, run.judge.mark(revision))
    return run


def plainly(past: History, run: Run, revision: str, wanted: Wanted) -> Proven | None:
    """The proof of a record from a run over all records, if none of its findings could be about this record.

    None otherwise: then the record is judged by itself.
    """
    is_plain = _is_plainly_legal(run, revision, wanted.ids)
    if not is_plain or any(origin in wanted.doubted for _, origin in _lost(run)):
        return None
    records, authors = run.judge.records, run.judge.authors
    step, landed = records.by.get(wanted.name), records.landed.get(wanted.name)
    if step is not None and landed is not None and not authors.is_well_signed(step):
        # It came in this run, and one unsigned step is enough to know.
        return Proven(step, landed, signed=False)
    mark, snapshot = run.judge.mark(revision), run.judge.commits.snapshot(revision)
    record = lookup.record_of(snapshot, wanted.name) if snapshot else None
    found = arrivals.arrival(past, mark, record) if record is not None and record.resolution else None
    if record is None or found is None:
        return None
    signed = authors.is_well_signed(found.step) and all(
        map(authors.is_well_signed, arrivals.touching(past, mark, record, found))
    )
    return Proven(found.step, found.landed, signed)


def _is_plainly_legal(run: Run, revision: str, ids: Sequence[str]) -> bool:
    judge, records = run.judge, run.judge.records
    report = reported(run, revision)
    every = (*report.violations, *report.waived)
    suspect = (records.illegal, records.waived, records.owed, judge.releases.illegal)
    if any(name in found for name in ids for found in suspect):
        return False
    if any(violation.escalation_id in ids for violation in every):
        return False
    healed = judge.findings.healed
    if any(one.escalation_id is None and key(one) not in healed for one in report.violations):
        return False
    if any(key(one) not in healed and _touches(run, one.commit, ids) for one in report.waived):
        return False
    # Nobody can prove how a record came about that was there when the store began.
    began = judge.commits.snapshot(judge.start) if judge.start else None
    if began is None or any(began.has(name) for name in ids):
        return False
    return all(len(judge.commits.standing(revision, name)) == 1 for name in ids)


def _touches(run: Run, commit: str, ids: Sequence[str]) -> bool:
    """Whether a commit changed one of some records or its release, or may have."""
    contents = run.judge.commits
    header = commits.header(contents.store, commit)
    before = contents.tree_of(header.parents[0]) if header.parents else None
    found = contents.between(before, contents.tree_of(commit))
    names = {layout.id_of(one.path) or layout.released_id(one.path) for one in found.changes}
    names |= run.judge.archives.names_around(header, found.changes)
    return found.unsound is not None or not names.isdisjoint(ids)


def _alone(
    past: History, revision: str, wanted: Sequence[Wanted], now: datetime, *, signed: bool
) -> list[Proven | IllegalRecord]:
    """The proof of each record, or the error, from a run over the whole line that looks only at these records."""
    every = [name for one in wanted for name in one.ids]
    run = past.run(revision, Scope(now, only=frozenset(every), always_signed=signed))
    report = reported(run, revision)
    return [_proven(one, run, report, set(every) - set(one.ids)) for one in wanted]


def _proven(wanted: Wanted, run: Run, report: Report, others: Collection[str]) -> Proven | IllegalRecord:
    """The proof of one of the records that a run looked at. ``others`` are the rest of them."""
    name, judge, revision = wanted.name, run.judge, report.revision
    touching = {commit for one in wanted.ids for commit in judge.records.touching.get(one, ())}
    broken = _broken(wanted, touching, run, report, others)
    if broken is not None:
        return broken
    if name in judge.records.illegal or name in judge.records.waived:
        return wanted.illegal(f"no legal step led to the content of {wanted.path}")
    if name in judge.releases.illegal:
        return wanted.illegal(f"no legal step led to what is left of the release of {name}")
    began = judge.commits.snapshot(judge.start) if judge.start else None
    if began is not None and is_decided(began, name):
        problem = "it was imported already resolved or reviewed, and nobody can prove how that came about"
        return wanted.illegal(problem, commit=judge.start or "", hint=_IMPORTED)
    for one in wanted.ids:
        states = judge.records.legal.get(one, ())
        there = judge.commits.standing(revision, one)
        # The record that is released must be the one that was judged, to the last byte.
        if (states or one not in judge.records.imported) and not _is_standing(
            states[-1] if states else None, there
        ):
            return wanted.illegal(f"no legal step led to the state of {one}")
    return Proven(
        judge.records.by.get(name, revision),
        judge.records.landed.get(name),
        all(map(judge.authors.is_well_signed, touching)),
    )


def _broken(
    wanted: Wanted, touching: Collection[str], run: Run, report: Report, others: Collection[str]
) -> IllegalRecord | None:
    """The error for a violation that was not healed by a restoration.

    A record that needs a waiver releases nothing.
    Violations of only the ``others`` do not count.
    """
    findings = run.judge.findings
    for violation in report.waived:
        if key(violation) in findings.healed:
            continue
        if violation.escalation_id in wanted.ids or violation.commit in touching:
            return wanted.breaks(violation, " (it is waived, but a waiver releases nothing)")
    for violation in report.violations:
        if key(violation) not in findings.healed and violation.escalation_id not in others:
            return wanted.breaks(violation)
    return None


class Rewritten(Exception):
    """The line does not continue from a commit up to which this clone has judged it."""

    def __init__(self, commit: str) -> None:
        self.commit = commit


def waited(store: GitStore, *, signed: bool = False) -> Mark | None:
    """The mark up to which a wait in this clone has judged the line."""
    return next(iter(remembered(store, SIGNED if signed else WAITED)), None)


def newest(store: GitStore, revision: str, mark: Mark | None) -> str:
    """A commit of the line, or the newer one of a mark: resolved records do not change.

    Another thread or process of this clone may have judged further than this one.
    """
    at: str | None = revision
    if mark is None:
        return revision
    # Nearly always it is a little ahead of the mark, and that needs no process.
    for _ in range(_NEAR):
        if at == mark.commit:
            return revision
        at = store.repository.objects.id_of(f"{at}^1") if at else None
    return mark.commit if store.repository.is_ancestor(revision, mark.commit) else revision


def since(past: History, revision: str, *, signed: bool = False) -> Mark | None:
    """The mark of an earlier wait, else that of `verify`.

    Raises Rewritten if the branch does not continue from a wait's.
    """
    known = waited(past.store, signed=signed)
    if known is not None:
        found = moved(past, known, revision)
        if found is None:
            raise Rewritten(known.commit)
        return found
    verified = None if signed else next(iter(remembered(past.store, FULL)), None)
    return moved(past, verified, revision) if verified else None


def moved(past: History, mark: Mark, revision: str) -> Mark | None:
    """A mark, moved to the commit from which the line of a revision continues. None if it does not."""
    lines = past.lines(revision, mark.commit)
    resting = lines.resting(revision, mark.commit) if mark.commit in lines else None
    if resting is None or mark.root != past.store.root:
        return None
    found = mark.moved(resting)
    if found.count:
        return found
    # It has lost its milestones, or never had any.
    line = past.lines(resting).of(resting)
    return replace(found, count=len(line), milestones=milestones.extended((), 0, line))


def _is_standing(state: State | None, files: Sequence[tuple[str, str, str]]) -> bool:
    """Whether a record has exactly one file, with that state. In an archive its path differs."""
    return state is not None and [file[1:] for file in files] == [(state.mode, state.oid)]
