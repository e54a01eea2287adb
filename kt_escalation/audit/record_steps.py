"""Judges what a commit with one parent does to records: each step must be legal, or restore a legal state."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ..model.record import Record
from ..policies.policy_set import Policies
from ..rules.judge_step import Violation
from ..storage import lookup
from ..storage.commits import Commit
from . import steps
from .commit_contents import CommitContents
from .findings import Findings
from .judged_line import JudgedLine
from .known_records import KnownRecords
from .messages import Brought
from .scope import Scope, Tally
from .statements import Statements
from .steps import Reopening, Sides, State


class RecordSteps:
    """Follows records along the line, step by step."""

    #: What is wrong with a step that goes on from an illegal state.
    not_restored = Violation(
        "restore",
        "expected its last legal state, by an admin (`kt escalation restore`), before anything else",
    )

    def __init__(
        self,
        scope: Scope,
        judged: JudgedLine,
        commits: CommitContents,
        records: KnownRecords,
        statements: Statements,
        findings: Findings,
        tally: Tally,
    ) -> None:
        self._scope = scope
        self._judged = judged
        self._commits = commits
        self._records = records
        self._statements = statements
        self._findings = findings
        self._tally = tally

    def judge(self, commit: Commit, now: Policies, name: str, sides: Sides, brought: list[Brought]) -> None:
        """Judge what a commit does to one record."""
        self._tally.steps += 1
        olds, news = self._commits.contents.sides(sides)
        parent = self._judged.sound or commit.parents[0]
        if name in self._records.illegal:
            if steps.is_restored(
                commit, now, self._records.illegal[name], self._commits.standing(commit.oid, name)
            ):
                self._records.restored(name, self._records.illegal[name])
            else:
                self._records.blame(name, commit, (news or olds)[0].path, self.not_restored)
            brought += self._statements.made(commit, name, olds, news)
            return
        is_known = not olds and bool(news) and self._records.exists(name)
        found = list(
            steps.judge(
                *(commit, now, olds, news, partial(self.reopening, parent)),
                is_known=is_known,
                now=self._scope.now,
            )
        )
        # The message may also name an illegal step.
        brought += self._statements.made(commit, name, olds, news, restored=bool(found))
        if not found:
            self._records.know(name, news[0])
            # A record does not say when its claim was renewed.
            is_renewal = any(steps.claim_of(old) == steps.claim_of(news[0]) != "" for old in olds)
            late = self._too_late(commit, now, news[0], is_renewal=is_renewal)
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

    def _too_late(self, commit: Commit, now: Policies, state: State, *, is_renewal: bool) -> Violation | None:
        """Why an arriving step comes too late; when an earlier step arrived is not known."""
        if not self._scope.arriving or self._records.base is None or is_renewal:
            return None
        until = steps.lease_of(state)
        if until is not None and self._scope.now - until <= now.settings.claims.clock_tolerance:
            return None
        return steps.too_late(commit, state, self._scope.now, now)

    def reopened_once(self, commit: Commit, changed: Mapping[str, Sides]) -> None:
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
        """What a commit knows about the record that another one reopens."""
        snapshot = self._commits.snapshot(commit)
        if record.reopens in self._records.illegal:
            # It cannot be reopened in its illegal state, but the reviewers of its last legal one still count.
            legal = self._records.illegal[record.reopens]
            return Reopening(decided=legal.record if legal else None)
        if snapshot is None or record.reopens is None:
            return Reopening()
        again = lookup.open_reopener(snapshot, record.reopens, but=record.escalation_id)
        return Reopening(lookup.record_of(snapshot, record.reopens), again)
