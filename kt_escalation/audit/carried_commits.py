"""Judges each commit that a merge carries to the line: no second start, no false message, no missing signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ..storage import commits
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.trees import Difference
from .authors import Authors
from .commit_contents import LONG_AGO, CommitContents, SideCommit
from .judged_line import JudgedLine
from .known_records import KnownRecords
from .line import Lines
from .policies_in_force import InForce, is_policy
from .releases import Releases
from .scope import Scope
from .statements import Statements
from .store_start import StoreStart

# At most so many, since each of them may bring all that the others bring; an honest branch has a few.
_MOST_ASKED = 16
# For so many places before the mark git is asked what acted up to each; for more, all before the mark is judged again.
_MOST_FORKS = 16


@dataclass(eq=False)
class CarriedCommits:
    """Judges carried commits by the rules that hold even if the merge takes nothing from them."""

    _store: GitStore
    _lines: Lines
    _scope: Scope
    _judged: JudgedLine
    _commits: CommitContents
    _records: KnownRecords
    _releases: Releases
    _statements: Statements
    _authors: Authors
    _start: StoreStart
    _policies: InForce
    # How many of the merges that one merge carries were asked what each of their commits did.
    _asked: int = 0
    #: Makes a run over what comes before the mark, and returns its carried commits.
    before_mark: Callable[[], CarriedCommits] | None = field(default=None, init=False)
    _earlier: CarriedCommits | None = field(default=None, init=False)
    # The newest date up to each commit that a merge has carried.
    _newest: dict[str, datetime] = field(default_factory=dict, init=False)
    # The newest date up to a commit before the mark, and up to a time. Many branches may have left the line there.
    _dates: dict[tuple[str, datetime], datetime] = field(default_factory=dict, init=False)

    def judge(self, merge: Commit) -> list[SideCommit]:
        """Judge all commits that a merge carries to the line, and return them."""
        above = self._lines.above(merge.oid) or ""
        found = self.reached(above, [parent for parent in merge.parents if parent != above])
        self._asked = 0
        for side in found:
            self._judge_one(side)
        return found

    def reached(self, line: str, others: Sequence[str]) -> list[SideCommit]:
        """The commits that can be reached from some commits and not from one of the line, parents first."""
        if not others:
            # Nothing to look for; a root has not even a line above it.
            return []
        sides = self._commits.sides
        return [sides[oid] for oid in self._lines.carried(others, line) if oid in sides]

    def _judge_one(self, side: SideCommit) -> None:
        commit, now = side.commit, self._policies.policies
        self._start.judge_beside(commit)
        side.newest = max([self._newest_of(parent) for parent in commit.parents], default=LONG_AGO)
        self._statements.judge_unread(commit)
        said = self._statements.said(commit)
        is_merge = len(commit.parents) > 1
        acts = moves = False
        if said or not is_merge:
            difference = self._commits.difference(side)
            if not is_merge:
                acts = self._acts(difference)
                moves = bool(difference.changes) or difference.unsound is not None
                self._releases.refuse(commit, difference.changes, is_carried=True)
            if acts or said:
                self._authors.people(commit, now, acts=acts, newest=side.newest)
            if said:
                brought = [] if difference.unsound else self._statements.brought_by(commit, difference)
                if is_merge and brought and self._asked < _MOST_ASKED:
                    self._asked += 1
                    brought += self._statements.brought_beside(commit, difference)
                self._statements.untrue(commit, said, brought, now)
        side.newest = self._newest[commit.oid] = self._authors.measured(commit, moves, side.newest, now)

    def _acts(self, difference: Difference) -> bool:
        """Whether a carried commit changes anything that this run looks at."""
        if self._scope.only is None:
            return bool(difference.changes) or difference.unsound is not None
        changed = self._records.by_record(difference.changes)
        return bool(changed) or any(is_policy(change.path) for change in difference.changes)

    def _newest_of(self, commit: str) -> datetime:
        """The newest date of a commit that acted, up to a commit."""
        newest = self._newest.get(commit) or self._judged.newest_at(commit)
        if newest is not None:
            return newest
        start, now = self._start.commit, self._policies.policies
        if self.before_mark is None or start is None or not self._authors.is_signed_by_rule(now):
            return LONG_AGO
        # It is before the mark, which does not hold its date.
        limit = self._scope.now + now.settings.claims.clock_tolerance
        known = self._dates.get((commit, limit))
        if known is None and len(self._dates) >= _MOST_FORKS:
            self._earlier = self._earlier or self.before_mark()
            return self._earlier._newest_of(commit)
        if known is None:
            known = self._dates[commit, limit] = self._asked_of_git(commit, start, limit)
        return known

    def _asked_of_git(self, commit: str, start: str, limit: datetime) -> datetime:
        """The newest date up to a commit and up to a time, of the newest commits that changed the store."""
        found = commits.changing(self._store, commit, start)
        latest = sorted(found, key=lambda one: one.committed_at, reverse=True)
        dates = (
            one.committed_at for one in latest if one.committed_at <= limit and self._is_proven(one, commit)
        )
        # If nobody has proven any of so many, one that somebody has may be just before them.
        oldest = latest[-1].committed_at if len(found) == commits.RECENT else LONG_AGO
        return next(dates, min(oldest, limit))

    def _is_proven(self, commit: Commit, tip: str) -> bool:
        """Whether a commit before the mark bears its author's signature, if the policies then required one."""
        lines = self._lines
        at = lines.newest_on(tip, commit.oid)
        then = lines.depth(at) - (at == commit.oid) if at is not None else -1
        policies = self._policies.before(then, lines.depth)
        return self._authors.unproven(commit, policies, commit.committed_at) is None
