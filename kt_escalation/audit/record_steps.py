"""Judges steps of records: one by itself, and those that a commit with one parent takes on the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from ..frozen import dataclass
from ..model.record import Record
from ..model.times import format_duration, format_time
from ..policies.policy_set import Policies
from ..rules import judge_step, permissions
from ..rules.judge_step import StepContext, Violation
from ..storage import layout, lookup
from ..storage.commits import Commit
from .commit_contents import CommitContents
from .findings import Findings
from .judged_line import JudgedLine
from .known_records import KnownRecords
from .messages import Brought
from .record_files import RecordChanges, State, claim_of, faults, lease_of
from .scope import RunCounts, Scope
from .statements import Statements


@dataclass(frozen=True)
class Reopening:
    """The facts about the record that another one reopens: the record, an earlier reopening of it, and who decided.

    If it is illegal, it cannot be reopened, and there is no ``origin``. ``deciders`` are as in `lookup.reviewers`.
    """

    origin: Record | None = None
    reopener: Record | None = None
    deciders: tuple[str, ...] = ()


_NOTHING = Reopening()
#: What is wrong with a step of an illegal record.
NOT_RESTORED = Violation(
    "restore", "expected its last legal state, by an admin (`kt escalation restore`), before anything else"
)


def judge(
    commit: Commit,
    policies: Policies,
    olds: Sequence[State],
    news: Sequence[State],
    reopening: Callable[[Record], Reopening],
    *,
    is_known: bool,
    least: Policies | None = None,
    now: datetime | None = None,
) -> Iterator[tuple[str, Violation]]:
    """The violations of a step of a record whose state before it is legal, by path.

    ``is_known`` means that another file of that id is, or was, in the store. ``now`` is the judge's clock.
    """
    old, new = olds[0] if olds else None, news[0] if news else None
    where = new.path if new else old.path if old else layout.QUEUE
    if len(news) > 1 or (new is not None and old is None and is_known):
        yield where, Violation("duplicate_file", f"expected one file for {layout.id_of(where)}")
        return
    if new is not None and new.problem:
        yield from faults([new])
        return
    if old is not None and old.problem:
        # Only a waiver can have made that legal, and nobody knows what a step from there would be.
        yield where, NOT_RESTORED
        return
    before, after = old.record if old else None, new.record if new else None
    found = reopening(after) if after is not None and after.reopens is not None else _NOTHING
    context = StepContext(
        commit.email,
        commit.committed_at,
        policies,
        found.deciders,
        found.origin,
        found.reopener,
        old.shown if old else None,
        now,
        least,
    )
    for violation in judge_step.judge(before, after, context):
        yield where, violation


def too_late(commit: Commit, state: State | None, arrived: datetime, policies: Policies) -> Violation | None:
    """Why a step arrives too late by the settings' `claims.proposals`, or None.

    A copy of an old commit may be committed again later, so the times in the record count too.
    """
    limit = policies.settings.claims.proposals
    made = commit.committed_at
    if state is not None and state.record is not None:
        made = min(made, state.record.last_time)
    if arrived - made <= limit:
        return None
    expected = f"expected it to be merged within {format_duration(limit)}; it is of {format_time(made)}"
    return Violation("time", expected)


def is_restored(
    commit: Commit,
    policies: Policies,
    legal: State | None,
    standing: Sequence[tuple[str, str, str]],
) -> bool:
    """Whether an admin brought an illegal record back to its last legal state, or deleted a record that had none.

    ``standing`` are all files of that id after the commit: path, mode and id.
    """
    is_admin = permissions.is_admin(permissions.actor(commit.email, commit.committed_at, policies))
    return is_admin and is_as_it_was(legal, standing)


def is_as_it_was(legal: State | None, standing: Sequence[tuple[str, str, str]]) -> bool:
    """Whether all that is there of a record is its last legal state, or nothing if it had none."""
    if legal is None:
        return not standing
    homes = {legal.path}
    if layout.archive_at(legal.path) and legal.record is not None:
        # If its archive is gone, it can only come back as a file of its own.
        homes.add(layout.path_of(legal.record))
    return any(list(standing) == [(home, legal.mode, legal.oid)] for home in homes)


@dataclass(eq=False)
class RecordSteps:
    """Follows records along the line, step by step."""

    #: The violation of a step that follows an illegal state.
    _scope: Scope
    _judged: JudgedLine
    _commits: CommitContents
    _records: KnownRecords
    _statements: Statements
    _findings: Findings
    _tally: RunCounts

    def judge(
        self, commit: Commit, now: Policies, name: str, sides: RecordChanges, brought: list[Brought]
    ) -> None:
        """Judge a commit's changes of one record."""
        self._tally.steps += 1
        olds, news = self._commits.contents.sides(sides)
        parent = self._judged.sound or commit.parents[0]
        if name in self._records.illegal:
            if is_restored(
                commit, now, self._records.illegal[name], self._commits.standing(commit.oid, name)
            ):
                self._records.restored(name, self._records.illegal[name])
            else:
                self._records.blame(name, commit, (news or olds)[0].path, NOT_RESTORED)
            brought += self._statements.made(commit, name, olds, news)
            return
        is_known = not olds and bool(news) and self._records.exists(name)
        found = list(
            judge(
                *(commit, now, olds, news, partial(self.reopening, parent)),
                is_known=is_known,
                now=self._scope.now,
            )
        )
        # The message may also name an illegal step.
        brought += self._statements.made(commit, name, olds, news, restored=bool(found))
        if not found:
            self._records.know(name, news[0], commit.oid)
            late = self._too_late(commit, now, olds, news[0])
            if late is not None:
                self._findings.find(commit, news[0].path, late, name)
            return
        legal = (
            olds[0] if olds else next(iter(self._commits.states(parent, name)), None) if is_known else None
        )
        self._records.was_here(name)
        self._records.illegal[name] = legal
        for path, violation in found:
            self._records.blame(name, commit, path, violation)

    def _too_late(
        self, commit: Commit, now: Policies, olds: Sequence[State], state: State
    ) -> Violation | None:
        """Why an arriving step comes too late. The arrival times of earlier steps are not known."""
        if not self._scope.arriving or self._records.base is None:
            return None
        if any(claim_of(old) == claim_of(state) != "" for old in olds):
            # A record does not say when its claim was renewed.
            return None
        until = lease_of(state)
        if until is not None and self._scope.now - until <= now.settings.claims.clock_tolerance:
            return None
        return too_late(commit, state, self._scope.now, now)

    def reopened_once(self, commit: Commit, changed: Mapping[str, RecordChanges]) -> None:
        """No two records that one commit raises may reopen the same record; earlier ones are found step by step."""
        if len(changed) < 2:
            return
        first: dict[str, str] = {}
        for name, sides in changed.items():
            record = (
                self._commits.contents.sides(sides)[1][0].record if sides.news and not sides.olds else None
            )
            if record is None or record.reopens is None or record.resolution is not None:
                continue
            other = first.setdefault(record.reopens, name)
            if other != name:
                expected = f"expected {record.reopens} to be reopened once; {other} does as well"
                self._records.illegal.setdefault(name, None)
                self._records.blame(name, commit, sides.path, Violation("already_reopened", expected))

    def reopening(self, commit: str, record: Record) -> Reopening:
        """The facts, at a commit, about the record that another one reopens."""
        snapshot = self._commits.snapshot(commit)

        def legal(name: str) -> Record | None:
            """The record's state; if that is illegal, its last legal one, whose reviewers still count."""
            if name in self._records.illegal:
                state = self._records.illegal[name]
                return state.record if state else None
            return lookup.record_of(snapshot, name) if snapshot else None

        deciders = lookup.reviewers(record, legal)
        if snapshot is None or record.reopens is None or record.reopens in self._records.illegal:
            return Reopening(deciders=deciders)
        again = lookup.open_reopener(snapshot, record.reopens, but=record.escalation_id)
        return Reopening(lookup.record_of(snapshot, record.reopens), again, deciders)
