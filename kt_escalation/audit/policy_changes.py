"""Judges policy changes: an admin must make or merge them. Applies new waivers to earlier violations.

See docs/rules.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ..policies.policy_set import Policies
from ..policies.waivers import Waiver
from ..rules import judge_step
from ..rules.judge_step import Violation
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.trees import FileChange
from . import record_steps
from .authors import Authors
from .commit_contents import CommitContents
from .findings import Findings
from .judged_line import JudgedLine
from .known_records import KnownRecords
from .line import Lines
from .policies_in_force import InForce
from .scope import Scope
from .statements import Statements
from .store_start import StoreStart

#: What becomes of a change of policies that an admin proposed, and that others may not land any more.
PROPOSE_AGAIN = "expected an admin to merge it, or to propose it again (`git rebase --force-rebase`)"


@dataclass(eq=False)
class PolicyChanges:
    """Follows the changes of policies along the line."""

    _store: GitStore
    _lines: Lines
    _scope: Scope
    _judged: JudgedLine
    _commits: CommitContents
    _records: KnownRecords
    _statements: Statements
    _authors: Authors
    _start: StoreStart
    _policies: InForce
    _findings: Findings

    def follow(
        self, commit: Commit, changes: Sequence[FileChange], illegal: Callable[[FileChange], Violation | None]
    ) -> None:
        """Follow the policy changes of a commit of the line. ``illegal`` says why it may not change a file, or None."""
        tree = self._commits.policies_tree(commit.tree)
        found = self._policies.change(self._judged.count, commit.oid, tree, changes, illegal)
        for path, violation in found:
            self._findings.find(commit, path, violation)
        self._count_waivers(commit, tree)

    def by_no_admin(self, commit: Commit, now: Policies, change: FileChange) -> Violation | None:
        """Why the author of a commit may not change a policy file, None if they may."""
        if self._start.moves_root(commit, change):
            return self._start.one_root
        found = next(iter(judge_step.judge_policies(commit.email, now)), None)
        if found is None and self._scope.arriving and self._records.base is not None:
            # It may be an old proposal that somebody else has pushed.
            late = record_steps.too_late(commit, None, self._scope.now, now)
            found = Violation("policies", f"{PROPOSE_AGAIN}; {late.expected}") if late is not None else None
        return found or self._authors.unproven(commit, now, self._judged.newest)

    def admit(self, commit: Commit) -> bool:
        """Accept the policy changes that a merge brings from its first parent, if its author is an admin.

        This is for a merge whose line continues along its second parent. A policy change is legal if an admin
        made it or merges it. The author must be an admin at the commit where the request's branch left the
        line, and not only by the policies that the merge brings. Returns whether the author acted by it.
        """
        fork = self._lines.fork(commit.oid)
        if fork is None or not self._start.holds(fork):
            return False
        asked = self._policies.admissible(partial(self._is_plain_between, fork, commit.oid))
        if not asked or self._statements.is_pull(commit):
            return False
        both = (self.at(fork), self._policies.policies)
        if any(judge_step.judge_policies(commit.email, policies) for policies in both):
            return False
        if self._authors.unproven(commit, both[1], self._judged.newest) is None:
            tree = self._commits.policies_tree(commit.tree)
            self._policies.admit(self._judged.count, tree, asked)
            self._count_waivers(commit, tree)
            self._findings.drop({("policies", oid, self._store.full(path)) for oid, path in asked})
        # Without a valid signature the author acted as well, and the missing signature is reported.
        return True

    def _is_plain_between(self, low: str, high: str, commit: str) -> bool:
        """Whether a commit has one parent and is on a line after ``low`` up to ``high``."""
        lines = self._lines
        is_there = commit in lines and lines.depth(commit) > lines.depth(low) and lines.is_on(high, commit)
        return is_there and len(lines.parents(commit)) == 1

    def as_named_at(self, policies: Policies, commit: str) -> Policies:
        """Policies in force as a record may name them that was routed at a commit.

        Where no tree has the legal versions together, commands name the tree that is there.
        """
        if policies.tree not in self._commits.written.gathered:
            return policies
        return replace(policies, tree=self._commits.policies_tree(self._commits.tree_of(commit)))

    def at(self, commit: str) -> Policies:
        """The policies that were in force at a commit of the line."""
        at = self._judged.position(commit)
        if at is not None:
            return self._policies.at(at)
        return self._policies.before(self._lines.depth(commit), self._lines.depth)

    def _count_waivers(self, commit: Commit, tree: str | None) -> None:
        while waivers := self._policies.added:
            self._policies.added = frozenset()
            self._waive(commit, tree, waivers)

    def _waive(self, commit: Commit, tree: str | None, waivers: Iterable[Waiver]) -> None:
        """Accept those violations before a commit that its new waivers name."""
        accepted = self._findings.accept(waivers, commit)
        self._records.excuse(accepted)
        # A change that breaks several rules is accepted only with all of them.
        standing = {(found.commit, found.path) for found in self._findings.standing}
        changes = dict.fromkeys((found.commit, found.path) for found in accepted)
        excused = [(oid, self._store.below(path)) for oid, path in changes if (oid, path) not in standing]
        self._policies.waive(self._judged.count, tree, excused)
