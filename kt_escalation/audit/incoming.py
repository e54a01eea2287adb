"""The side that a merge brings to the line: the steps of its commits for each record and policy file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from ..frozen import dataclass
from ..model.record import Record
from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.commits import Commit
from ..storage.trees import Difference, FileChange
from . import record_steps
from .commit_contents import SideCommit
from .line import Ancestors
from .line_states import Files, contents_of
from .parts import Parts
from .policies_in_force import at_fork, is_policy
from .record_files import RecordChanges, State
from .record_steps import Reopening

# At most so many chains of commits are tried for one state; an honest merge has a few.
_MOST_CHAINS = 100


@dataclass(frozen=True)
class CarriedStep:
    """The change of one record or policy file by one carried commit."""

    side: SideCommit
    before: Files
    after: Files
    sides: RecordChanges


class Incoming:
    """One parent of a merge, which the merge brings to the line."""

    def __init__(
        self, parts: Parts, commit: Commit, difference: Difference, carried: Sequence[SideCommit], other: str
    ) -> None:
        self._parts = parts
        #: The merge, and what it changes against the line.
        self.commit = commit
        self.changes = difference.changes
        #: The commits that it carries in, and its parent that they lead to.
        self.carried = carried
        self.other = other
        #: The policies in force before it, and what was illegal on the line, with the last legal state.
        self.now = parts.policies.policies
        self.illegal = dict(parts.records.illegal)
        #: The commit of the line before it, and the one where the other side left the line.
        self.first = parts.lines.above(commit.oid) or commit.parents[0]
        self.fork = parts.lines.newest_on(self.first, other)

    def since_fork(self) -> Difference:
        """The changes of the other side since the fork."""
        parts = self._parts
        return parts.commits.between(
            parts.commits.tree_of(self.fork) if self.fork else None, parts.commits.tree_of(self.other)
        )

    def touches_store(self) -> bool:
        """Whether the store of any carried commit differs from the line's, even if it was undone later."""
        trees = self._parts.trees
        trees.entries([side.commit.tree for side in self.carried])
        [first] = trees.entries([self._parts.commits.tree_of(self.first)])
        return any(trees.entries([side.commit.tree]) != [first] for side in self.carried)

    def steps(self) -> Mapping[str, Sequence[CarriedStep]]:
        """The changes by carried commits with one parent, for each record (by id) and each policy file (by path)."""
        found: dict[str, list[CarriedStep]] = {}
        for side in self.carried:
            if len(side.commit.parents) != 1:
                continue
            for key, sides in self.by_item(self._parts.commits.difference(side).changes).items():
                before, after = self.both_sides(key, side.commit.parents[0], side.commit.oid, sides)
                found.setdefault(key, []).append(CarriedStep(side, before, after, sides))
        return found

    def by_item(self, changes: Sequence[FileChange], *, archives: bool = False) -> dict[str, RecordChanges]:
        """The changes of each record that this run looks at, by id; of each policy file, and archive if asked, by path."""
        files = (c for c in changes if is_policy(c.path) or (archives and layout.archive_at(c.path)))
        return self._parts.records.by_record(changes) | {change.path: alone(change) for change in files}

    def makers(self, change: FileChange) -> list[Commit]:
        """The carried commits with one parent that made a version of a file, parents first."""
        commits = self._parts.commits
        return [commits.changed(side) for side in self._makers.get((change.path, change.new), ())]

    @cached_property
    def _makers(self) -> dict[tuple[str, str | None], list[SideCommit]]:
        """The carried commits with one parent that made each version of each file, by path and id."""
        found: dict[tuple[str, str | None], list[SideCommit]] = {}
        for side in self.carried:
            if len(side.commit.parents) == 1:
                for made in self._parts.commits.difference(side).changes:
                    found.setdefault((made.path, made.new), []).append(side)
        return found

    def wrong(
        self, commit: Commit, olds: Sequence[State], news: Sequence[State], *, is_known: bool
    ) -> Iterator[tuple[str, Violation]]:
        """The violations of a carried commit's step of a record whose state before it is legal, by path."""
        left = self.left(commit)
        policies = at_fork(self.now, self._parts.policy_changes.at(left)) if left is not None else self.now
        policies = self._parts.policy_changes.as_named_at(policies, left or commit.parents[0])
        return record_steps.judge(
            *(commit, policies, olds, news, self.reopening),
            is_known=is_known,
            now=self._parts.scope.now,
            least=self.now if not olds else None,
        )

    def both_sides(self, key: str, old: str, new: str, sides: RecordChanges) -> tuple[Files, Files]:
        """The files of a record, or a policy file, before and after a change.

        An illegal record may have several files, and a commit may have changed only some of them.
        """
        if key not in self.illegal:
            return sides.before, sides.after
        return self.files_at(old, key), self.files_at(new, key)

    def chains(
        self, before: Files, after: Files, steps: Sequence[CarriedStep]
    ) -> Iterator[list[CarriedStep]]:
        """The chains of steps from one state to another; each commit is an ancestor of the next."""
        leading: dict[Files, list[CarriedStep]] = {}
        for step in steps:
            leading.setdefault(step.after, []).append(step)
        waiting: list[list[CarriedStep]] = [[step] for step in leading.get(after, ())]
        tried = 0
        while waiting and tried < _MOST_CHAINS:
            tried += 1
            chain = waiting.pop()
            if chain[0].before == before:
                yield chain
            ancestors = Ancestors(self._parts.lines, chain[0].side.commit.oid)
            longer: list[list[CarriedStep]] = []
            for step in reversed(leading.get(chain[0].before, ())):
                # No more of them can be tried.
                if len(longer) == _MOST_CHAINS:
                    break
                if step is not chain[0] and ancestors.has(step.side.commit.oid):
                    longer.append([step, *chain])
            waiting = [*waiting, *reversed(longer)][-_MOST_CHAINS:]

    def left(self, commit: Commit) -> str | None:
        """The newest commit of the line that a carried commit builds on: where its branch left the line.

        It may be older than the fork, if the line was merged into the branch since.
        """
        return self._parts.lines.newest_on(self.first, commit.parents[0])

    def reopening(self, record: Record) -> Reopening:
        """The record that a new record reopens, as the merge leaves it."""
        return self._parts.steps.reopening(self.commit.oid, record)

    def files_at(self, commit: str, name: str) -> Files:
        """The files of a record at a commit."""
        return frozenset(self._parts.commits.standing(commit, name))


def is_same(one: Files, other: Files) -> bool:
    """Whether two states have equal contents; a record in an archive equals its former file."""
    return contents_of(one) == contents_of(other)


def alone(change: FileChange) -> RecordChanges:
    """The change of a single file."""
    return RecordChanges((change,) if change.old else (), (change,) if change.new else ())
