"""Judges the omissions of a merge: it must keep the legal changes of the other side.

A change is kept if the merge has its result, or the result of a later legal change on top of it. It is also
kept if the line had that result, for example by a squash or a rebase, after the commit's branch left the
line, and continued from it. A change that only takes back what the branch itself had done asks for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..rules import judge_step
from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.commits import touches_archives
from ..storage.trees import Difference
from . import record_steps
from .incoming import CarriedStep, Incoming, is_same
from .line import Ancestors
from .line_states import Files, contents_of
from .merge_policies import MergePolicies
from .parts import Parts
from .policies_in_force import is_policy
from .record_files import RecordChanges


class MergeOmissions:
    """Judges the omissions of one merge."""

    def __init__(self, parts: Parts, incoming: Incoming, policies: MergePolicies) -> None:
        self._parts = parts
        self._incoming = incoming
        self._policies = policies
        # What was found to be left out, by record or file.
        self._noted: set[str] = set()

    def judge(self, since_fork: Difference, steps: Mapping[str, Sequence[CarriedStep]]) -> None:
        """Note the omitted changes of the other side since the fork, and the omitted steps that led to them."""
        self._check_states_kept(since_fork)
        self._check_steps_kept(steps)

    def _check_states_kept(self, since_fork: Difference) -> None:
        """Check each file that the other side changed: the merge must have its state, or the line must have had it."""
        parts = self._parts
        left = (
            parts.commits.between(parts.commits.tree_of(self._incoming.other), self._incoming.commit.tree)
            if since_fork.changes
            else Difference()
        )
        theirs, missing = (self._incoming.by_item(one.changes, archives=True) for one in (since_fork, left))
        for key in sorted(theirs.keys() & missing.keys()):
            name = None if is_policy(key) or layout.archive_at(key) else key
            if is_policy(key) and self._policies.may_leave_out():
                self._policies.acted = self._incoming.now.roster is not None
                continue
            wanted = self._incoming.files_at(self._incoming.other, name) if name else theirs[key].after
            if not self._line_had(key, wanted, self._incoming.fork):
                self._note_left_out(
                    key,
                    theirs[key],
                    f"as {self._incoming.other[:12]} has it, which the branch never had; merge it, or revert it there first (`git revert`)",
                )

    def _note_left_out(self, key: str, sides: RecordChanges, expected: str) -> None:
        """Note an omission, once for each record or file. ``expected`` says what should have been kept."""
        if key in self._noted:
            return
        self._noted.add(key)
        paths = [sides.path]
        if not is_policy(key) and not layout.archive_at(key):
            sources = [self._incoming.other, *([self._incoming.fork] if self._incoming.fork else [])]
            # If a tree cannot be read, there is no path to name.
            paths = [
                path for at in sources for path, _, _ in sorted(self._incoming.files_at(at, key)) if path
            ] + paths
        name = key if paths[0] != key else None
        self._parts.findings.find(
            self._incoming.commit, paths[0], Violation("dropped", f"expected {key} {expected}"), name
        )

    def _check_steps_kept(self, steps: Mapping[str, Sequence[CarriedStep]]) -> None:
        """Check that each legal carried step is kept.

        Otherwise a decision could be lost: its author could undo it, or an earlier merge could leave it out.
        """
        lines = self._parts.lines
        for key, some in steps.items():
            name = None if is_policy(key) else key
            final = self._final(key)
            if len(some) == 1 and is_same(some[0].after, final):
                continue
            # The steps that are kept and what is above them, by the state before each step.
            kept: dict[frozenset[tuple[str, str]], Ancestors] = {}
            for step in reversed([step for step in some if self._is_legal(key, step)]):
                made, following = step.side.commit.oid, kept.get(contents_of(step.after))
                if (
                    is_same(step.after, final)
                    or self._line_had(key, step.after, self._incoming.fork)
                    or (following is not None and following.has(made))
                    or self._is_undone(key, step, self._incoming.fork)
                    or self._line_had(key, step.after, self._incoming.left(step.side.commit))
                    or self._is_undone(key, step, self._incoming.left(step.side.commit))
                ):
                    kept.setdefault(contents_of(step.before), Ancestors(lines)).add(made)
                    continue
                if name is None and self._may_drop(step):
                    self._policies.acted = True
                else:
                    self._note_left_out(
                        key,
                        step.sides,
                        f"to go on from what {made[:12]} made of it; revert that on the branch itself (`git revert`), or rebase it (`git rebase`)",
                    )

    def _is_undone(self, key: str, step: CarriedStep, since: str | None) -> bool:
        """Whether a carried step only takes back what the branch itself had done since the commit ``since``."""
        return since is not None and is_same(step.after, self._parts.line_states.at(since, key))

    def _final(self, key: str) -> Files:
        """The state of a record or policy file in the merge."""
        if is_policy(key):
            return self._parts.commits.version_in(self._incoming.commit.tree, key)
        return frozenset(self._parts.commits.standing(self._incoming.commit.oid, key))

    def _is_legal(self, key: str, step: CarriedStep) -> bool:
        """Whether a carried step is legal, both by the policies where it was made and by those of the line."""
        parts = self._parts
        commit = parts.commits.changed(step.side)
        if is_policy(key):
            there = parts.commits.written_at(commit.parents[0])
            by_line = there.roster is not None and not any(self._policies.by_no_admin(step))
            return by_line and not judge_step.judge_policies(commit.email, there)
        if key in self._incoming.illegal and is_same(
            step.before, self._incoming.files_at(self._incoming.first, key)
        ):
            return record_steps.is_restored(
                commit,
                self._incoming.now,
                self._incoming.illegal[key],
                parts.commits.standing(commit.oid, key),
            )
        if touches_archives(commit):
            return False
        olds, news = parts.commits.contents.sides(step.sides)
        if not news or any(state.problem for state in (*olds, *news)):
            return False
        return not any(self._incoming.wrong(commit, olds, news, is_known=False))

    def _may_drop(self, step: CarriedStep) -> bool:
        """Whether the author of the merge may omit a policy change: by the policies before it, after it, and on both sides."""
        if not self._policies.may_bring():
            return False
        commit = step.side.commit
        rosters = (
            self._parts.commits.written_at(commit.oid),
            self._parts.commits.written_at(commit.parents[0]),
        )
        return not any(
            judge_step.judge_policies(self._incoming.commit.email, policies) for policies in rosters
        )

    def _line_had(self, key: str, wanted: Files, since: str | None) -> bool:
        """Whether the line has made a state of a record or file after the commit ``since``."""
        return self._parts.line_states.had(key, wanted, self._incoming.first, since)
