"""The line: the sequence of commits from the store's start to the tip whose states are the store's states.

See docs/design.md, *One line, and not the graph*. Every commit has one line parent, so lines are paths in a
forest. It is usually the first parent. At a merge that brings nothing to the first parent's side it may be
the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from heapq import heappop, heappush

from ..git.objects import chunks
from ..storage.trees import StoreEntries

#: What makes the store at each of some commits.
EntriesOf = Callable[[Sequence[str]], Sequence[StoreEntries]]
# So many commits are added at a time, and git is asked once for the stores at all their merges.
_AT_ONCE = 1_000


class Lines:
    """The line parent of each commit of a history; the commits are given with their parents, parents first.

    Anybody can make many merges of commits that are far away. So no question about one commit may take time in
    proportion to a line. Each commit has a pointer to an ancestor far up its line, chosen as in a skew-binary
    list (Myers, *An applicative random-access stack*, 1983). With these, two lines meet and a line is searched in
    logarithmic time.
    """

    def __init__(self, commits: Iterable[tuple[str, Sequence[str]]], entries: EntriesOf) -> None:
        self._entries = entries
        # Commits are numbered as they are added, so along a line the numbers grow. 0 is above every root.
        self._number: dict[str, int] = {}
        self._names: list[str] = [""]
        self._above = [0]
        self._depth = [-1]
        self._jump = [0]
        # Of the line of each commit: the newest merge, and the newest commit that follows another parent than the first.
        self._merge = [0]
        self._turn = [0]
        # All parents of each merge.
        self._parents: dict[int, tuple[int, ...]] = {}
        # Results that later questions use: see `_store`, `_newest`, `_is_same` and `_reached`.
        self._stores: dict[str, StoreEntries] = {}
        self._found: dict[tuple[int, int], int] = {}
        self._same_to: dict[int, int] = {}
        self._reached_from = 0
        self._reached_beside: set[int] = set()
        for some in chunks(commits, _AT_ONCE):
            self._learn(name for made, parents in some if len(parents) == 2 for name in (made, *parents))
            for commit, parents in some:
                self.add(commit, parents)

    def add(self, commit: str, parents: Sequence[str]) -> None:
        """Add a commit whose parents were added before."""
        number = self._number[commit] = len(self._names)
        self._names.append(commit)
        above = self._number[parents[0]] if parents else 0
        merge, turn = self._merge[above], self._turn[above]
        if len(parents) > 1:
            merge = number
            every = self._parents[number] = tuple(self._number[parent] for parent in parents)
            if len(parents) == 2:
                above = self._chosen(number, *every)
            turn = self._turn[above] if above == every[0] else number
        depth, far = self._depth, self._jump[above]
        further = self._jump[far]
        self._jump.append(further if depth[above] - depth[far] == depth[far] - depth[further] else above)
        self._above.append(above)
        depth.append(depth[above] + 1)
        self._merge.append(merge)
        self._turn.append(turn)

    def __contains__(self, commit: str) -> bool:
        return commit in self._number

    def parents(self, commit: str) -> tuple[str, ...]:
        """All parents of a commit."""
        return tuple(self._names[parent] for parent in self._parents_of(self._number[commit]))

    def above(self, commit: str) -> str | None:
        """The line parent of a commit, None for a root."""
        return self._name(self._above[self._number[commit]])

    def depth(self, commit: str) -> int:
        """How many commits of its line are above a commit."""
        return self._depth[self._number[commit]]

    def of(self, tip: str, until: str | None = None) -> list[str]:
        """The line of a commit, oldest first, down to and without ``until``."""
        found = []
        at, end = self._number[tip], self._number.get(until or "", 0)
        while at not in (0, end):
            found.append(self._names[at])
            at = self._above[at]
        return found[::-1]

    def is_on(self, line: str, commit: str) -> bool:
        """Whether a commit is on the line of another one."""
        number = self._number[commit]
        return self._newest_until(self._number[line], number) == number

    def fork(self, merge: str) -> str | None:
        """The newest commit of the first parent's line that the second parent of a merge of two can reach."""
        parents = self._parents_of(self._number[merge])
        return self._name(self._newest(*parents)) if len(parents) == 2 else None

    def newest_on(self, line: str, commit: str) -> str | None:
        """The newest commit on the line of ``line`` that is ``commit`` or one of its ancestors."""
        return self._name(self._newest(self._number[line], self._number[commit]))

    def carried(self, sides: Sequence[str], line: str) -> list[str]:
        """The commits that can be reached from ``sides`` and not from ``line``, parents first."""
        tip = self._number[line]
        found = self._beside(tip, [self._number[side] for side in sides], self._reached(tip))
        return [self._names[number] for number in sorted(found)]

    def is_above(self, commit: str, other: str) -> bool:
        """Whether a commit is an ancestor of another one, or the same."""
        return self.is_on(other, commit) or Ancestors(self, other).has(commit)

    def number(self, commit: str) -> int:
        """The position of a commit in the order in which the commits were added."""
        return self._number[commit]

    def resting(self, tip: str, commit: str) -> str | None:
        """The commit on the tip's line whose store has the same history as ``commit``; None if there is none.

        If ``commit`` is on the line, this is ``commit`` itself. Otherwise the store must not change between the
        point where the line of ``commit`` leaves the tip's line and ``commit``.
        """
        if commit not in self._number:
            return None
        end, number = self._number[tip], self._number[commit]
        newest = self._newest(end, number)
        if newest in (0, number):
            return self._name(newest)
        if newest != self._shared(end, number) or not self.is_above(commit, tip):
            return None
        return self._name(newest) if self._is_same(newest, number) else None

    def _name(self, number: int) -> str | None:
        return self._names[number] if number else None

    def _parents_of(self, number: int) -> tuple[int, ...]:
        above = self._above[number]
        return self._parents.get(number) or ((above,) if above else ())

    def _store(self, number: int) -> StoreEntries:
        """What makes the store at a commit."""
        name = self._names[number]
        self._learn([name])
        return self._stores[name]

    def _learn(self, commits: Iterable[str]) -> None:
        """Read what makes the store at some commits, if it is not known yet."""
        unknown = list(dict.fromkeys(commit for commit in commits if commit not in self._stores))
        if unknown:
            self._stores.update(zip(unknown, self._entries(unknown), strict=True))

    def _chosen(self, merge: int, first: int, second: int) -> int:
        """The parent of a merge along which the line continues."""
        shared = self._shared(first, second)
        if not shared:
            return first
        if self._store(merge) == self._store(first) or self._store(merge) != self._store(second):
            return first
        # If the line left a first parent here before, an admin may have acted there.
        went_past = self._turn[first] > shared
        if went_past or not self._is_same(shared, first):
            return first
        return second if self._newest(first, second) == shared else first

    def _is_same(self, old: int, new: int) -> bool:
        """Whether the store is the same at each commit of the line of ``new``, back to ``old``."""
        wanted = self._store(old)
        passed = []
        at = new
        while at > old and self._store(at) == wanted:
            passed.append(at)
            # Up to there it is known to be the same.
            at = self._same_to.get(at, self._above[at])
        is_same = at <= old
        end = at if is_same else next(reversed(passed), 0)
        self._same_to.update((one, end) for one in passed if one != end)
        return is_same

    def _newest(self, line: int, commit: int) -> int:
        """The same as `newest_on`, by numbers.

        The line of ``commit`` can reach others only through its merges, so only these are looked at. What a merge
        reaches depends on the part of the line that is older than the merge, and is remembered with its end.
        """
        start = self._shared(line, commit)
        # The newest commit reached from each merge beside the line, and from each of their parents beside the line.
        values: dict[int, int] = {}
        tops: dict[int, int] = {}
        asked: dict[int, tuple[int, int]] = {}
        waiting = [(commit, start)]
        while waiting:
            at, shared = waiting.pop()
            merge, part = self._merge[at], line
            while merge > shared and merge not in values:
                part = self._newest_until(part, merge)
                known = self._found.get((part, merge))
                if known is not None:
                    values[merge] = known
                    break
                values[merge] = shared
                asked[merge] = part, merge
                for parent in self._parents[merge]:
                    # An older one cannot reach a newer one.
                    if parent > shared and parent != self._above[merge] and parent not in tops:
                        tops[parent] = self._shared(line, parent)
                        waiting.append((parent, tops[parent]))
                merge = self._merge[self._above[merge]]
        for merge in sorted(asked):
            for parent in self._parents[merge]:
                reached = values.get(self._merge[parent], tops.get(parent, 0))
                values[merge] = max(values[merge], reached)
            self._found[asked[merge]] = values[merge]
        return values.get(self._merge[commit], start)

    def _shared(self, one: int, other: int) -> int:
        """The newest commit that two lines share, 0 if there is none."""
        above, depth, jump = self._above, self._depth, self._jump
        if depth[one] < depth[other]:
            one, other = other, one
        wanted = depth[other]
        while depth[one] > wanted:
            one = jump[one] if depth[jump[one]] >= wanted else above[one]
        while one != other:
            # At one depth, both pointers are equally long.
            if jump[one] != jump[other]:
                one, other = jump[one], jump[other]
            else:
                one, other = above[one], above[other]
        return one

    def _newest_until(self, line: int, limit: int) -> int:
        """The newest commit on a line whose number is at most ``limit``, 0 if there is none."""
        above, jump = self._above, self._jump
        while line > limit:
            line = jump[line] if jump[line] > limit else above[line]
        return line

    def _reached(self, tip: int) -> Set[int]:
        """The commits beside the line of a tip that the tip can reach.

        The tips that are asked for are usually one line, so what is known of one is extended for the next.
        """
        if self._newest_until(tip, self._reached_from) != self._reached_from:
            self._reached_from = 0
            self._reached_beside.clear()
        sides: list[int] = []
        merge = self._merge[tip]
        while merge > self._reached_from:
            sides += self._parents[merge]
            merge = self._merge[self._above[merge]]
        self._reached_beside |= self._beside(tip, sides, self._reached_beside)
        self._reached_from = tip
        return self._reached_beside

    def _beside(self, line: int, commits: Iterable[int], known: Set[int]) -> set[int]:
        """Some commits and their ancestors, without those on a line and the known ones with theirs."""
        found: set[int] = set()
        waiting = list(commits)
        while waiting:
            at = waiting.pop()
            if at in known or at in found:
                continue
            shared = self._shared(line, at)
            while at > shared and at not in known and at not in found:
                found.add(at)
                waiting += self._parents.get(at, ())
                at = self._above[at]
        return found


class Ancestors:
    """The ancestors of some commits and these themselves; looked for only as far back as somebody asks."""

    def __init__(self, lines: Lines, *commits: str) -> None:
        self._lines = lines
        self._known: set[str] = set()
        # Newest first: what is looked at was reached from everything that can reach it.
        self._waiting: list[tuple[int, str]] = []
        for commit in commits:
            self.add(commit)

    def add(self, commit: str) -> None:
        """Add one more commit and its ancestors."""
        if commit not in self._known:
            self._known.add(commit)
            heappush(self._waiting, (-self._lines.number(commit), commit))

    def has(self, commit: str) -> bool:
        """Whether a commit is one of them."""
        number = self._lines.number(commit)
        while commit not in self._known and self._waiting and -self._waiting[0][0] > number:
            _, newest = heappop(self._waiting)
            for parent in self._lines.parents(newest):
                self.add(parent)
        return commit in self._known
