"""The line: the sequence of commits from the store's start to the tip whose states are the store's states.

See docs/design.md, *One line, and not the graph*. Every commit has one line parent, so lines are paths in a
forest. It is usually the first parent. At a merge that brings nothing to the first parent's side it may be
the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush

from ..storage.trees import StoreEntries

#: What makes the store at a commit.
EntriesOf = Callable[[str], StoreEntries]


class Lines:
    """The line parent of each commit of a history; the commits are given with their parents, parents first."""

    def __init__(self, commits: Iterable[tuple[str, Sequence[str]]], entries: EntriesOf) -> None:
        self._entries = entries
        self._order: dict[str, int] = {}
        self._parents: dict[str, tuple[str, ...]] = {}
        self._above: dict[str, str | None] = {}
        self._depth: dict[str, int] = {}
        self._forks: dict[str, str | None] = {}
        for commit, parents in commits:
            self.add(commit, parents)

    def add(self, commit: str, parents: Sequence[str]) -> None:
        """Add a commit whose parents were added before."""
        self._order[commit] = len(self._order)
        if len(parents) > 1:
            self._parents[commit] = tuple(parents)
        above = parents[0] if parents else None
        if len(parents) == 2:
            above = self._chosen(commit, parents[0], parents[1])
        self._above[commit] = above
        self._depth[commit] = self._depth[above] + 1 if above is not None else 0

    def __contains__(self, commit: str) -> bool:
        return commit in self._order

    def parents(self, commit: str) -> tuple[str, ...]:
        """All parents of a commit."""
        above = self._above[commit]
        return self._parents.get(commit) or ((above,) if above is not None else ())

    def above(self, commit: str) -> str | None:
        """The line parent of a commit, None for a root."""
        return self._above[commit]

    def depth(self, commit: str) -> int:
        """How many commits of its line are above a commit."""
        return self._depth[commit]

    def of(self, tip: str, until: str | None = None) -> list[str]:
        """The line of a commit, oldest first, down to and without ``until``."""
        found = []
        at: str | None = tip
        while at is not None and at != until:
            found.append(at)
            at = self._above[at]
        return found[::-1]

    def fork(self, merge: str) -> str | None:
        """The newest commit of the first parent's line that the second parent of a merge can reach."""
        return self._forks.get(merge)

    def newest_on(self, line: str, commit: str) -> str | None:
        """The newest commit on the line of ``line`` that is ``commit`` or one of its ancestors."""
        shared = self._shared(line, commit)
        between = set(self.of(line, shared))
        if commit in between:
            return commit
        lowest = self._order[shared] if shared is not None else -1
        best, waiting, seen = shared, [commit], {commit}
        while waiting:
            for parent in self.parents(waiting.pop()):
                if parent in seen or self._order[parent] <= lowest:
                    continue
                seen.add(parent)
                if parent in between:
                    if best is None or self._depth[parent] > self._depth[best]:
                        best = parent
                else:
                    waiting.append(parent)
        return best

    def carried(self, sides: Sequence[str], line: str) -> list[str]:
        """The commits that can be reached from ``sides`` and not from ``line``, parents first."""
        known = {line}
        found: set[str] = set()
        # Newest first: when a commit is looked at, it is known whether the line can reach it.
        waiting = [-self._order[commit] for commit in {*sides, line}]
        names = {self._order[commit]: commit for commit in {*sides, line}}
        heapify(waiting)
        open_sides = len({*sides} - known)
        while open_sides:
            commit = names.pop(-heappop(waiting))
            is_known = commit in known
            if not is_known:
                found.add(commit)
                open_sides -= 1
            for parent in self.parents(commit):
                order = self._order[parent]
                if order not in names:
                    names[order] = parent
                    heappush(waiting, -order)
                    open_sides += not is_known
                elif is_known and parent not in known:
                    open_sides -= 1
                if is_known:
                    known.add(parent)
        return sorted(found, key=self._order.__getitem__)

    def is_above(self, commit: str, other: str) -> bool:
        """Whether a commit is an ancestor of another one, or the same."""
        return commit in self._reached([other], self._order[commit])

    def resting(self, tip: str, commit: str) -> str | None:
        """The commit on the tip's line whose store has the same history as ``commit``; None if there is none.

        If ``commit`` is on the line, this is ``commit`` itself. Otherwise the store must not change between the
        point where the line of ``commit`` leaves the tip's line and ``commit``.
        """
        if commit not in self._order:
            return None
        newest = self.newest_on(tip, commit)
        if newest is None or newest == commit:
            return newest
        if newest != self._shared(tip, commit) or not self.is_above(commit, tip):
            return None
        return newest if self._is_same(newest, commit) else None

    def _chosen(self, merge: str, first: str, second: str) -> str:
        """The parent of a merge along which the line continues."""
        shared = self._shared(first, second)
        fork = self._forks[merge] = self.newest_on(first, second)
        if fork is None or fork != shared:
            return first
        made, brought = self._entries(merge), self._entries(second)
        if made != brought or made == self._entries(first):
            return first
        # If the line left a first parent here before, an admin may have acted there.
        went_past = any(
            self.above(at) != self.parents(at)[0] for at in self.of(first, fork) if at in self._parents
        )
        return second if self._is_same(fork, first) and not went_past else first

    def _is_same(self, old: str, new: str) -> bool:
        """Whether the store is the same at each commit of the line of ``new``, back to ``old``."""
        wanted = self._entries(old)
        at: str | None = new
        while at is not None and at != old:
            if self._entries(at) != wanted:
                return False
            at = self._above[at]
        return True

    def _shared(self, one: str, other: str) -> str | None:
        """The newest commit that two lines share."""
        a: str | None = one
        b: str | None = other
        while a is not None and b is not None and a != b:
            if self._depth[a] >= self._depth[b]:
                a = self._above[a]
            else:
                b = self._above[b]
        return a if a == b else None

    def _reached(self, commits: Sequence[str], lowest: int) -> set[str]:
        """Some commits and their ancestors, back to the index ``lowest`` in the order."""
        found: set[str] = set()
        waiting = [commit for commit in commits if self._order[commit] >= lowest]
        while waiting:
            commit = waiting.pop()
            if commit not in found:
                found.add(commit)
                waiting += [parent for parent in self.parents(commit) if self._order[parent] >= lowest]
        return found
