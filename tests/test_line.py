"""The line and what merges bring to it, against their definitions; and what it takes to find them.

Anybody may make merges of commits that are far away, so the time for one merge must not grow with the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from kt_escalation.audit.line import Ancestors, Lines
from kt_escalation.storage.trees import StoreEntries

#: The parents of each commit, by number, and its store.
Made = Sequence[tuple[Sequence[int], str]]


@st.composite
def graphs(draw: st.DrawFn) -> Made:
    """Commits with parents that are often the newest, and stores that are often equal."""
    made: list[tuple[list[int], str]] = []
    for number in range(draw(st.integers(1, 18))):
        near = st.integers(max(number - 3, 0), number - 1) if number else st.nothing()
        parent = st.one_of(near, st.integers(0, number - 1)) if number else st.nothing()
        count = draw(st.sampled_from((1, 1, 1, 2, 2, 2, 2, 3, 0))) if number else 0
        made.append(([draw(parent) for _ in range(count)], draw(st.sampled_from("aab"))))
    return made


class Plain:
    """What `Lines` has to find, by its definition."""

    def __init__(self, made: Made) -> None:
        self.parents = [tuple(parents) for parents, _ in made]
        self.stores = [store for _, store in made]
        self.ancestors: list[set[int]] = []
        self.above: list[int | None] = []
        for number, parents in enumerate(self.parents):
            self.ancestors.append({number}.union(*(self.ancestors[parent] for parent in parents)))
            self.above.append(self._above(number))

    def line(self, tip: int | None) -> list[int]:
        """The line of a commit, newest first."""
        found = []
        while tip is not None:
            found.append(tip)
            tip = self.above[tip]
        return found

    def newest_on(self, line: int, commit: int) -> int | None:
        return next((one for one in self.line(line) if one in self.ancestors[commit]), None)

    def resting(self, tip: int, commit: int) -> int | None:
        if commit in self.line(tip):
            return commit
        newest, beside = self.newest_on(tip, commit), self.line(commit)
        if newest not in beside or commit not in self.ancestors[tip]:
            return None
        since = beside[: beside.index(newest)]
        return newest if {self.stores[one] for one in since} <= {self.stores[newest]} else None

    def _above(self, number: int) -> int | None:
        parents = self.parents[number]
        if len(parents) != 2:
            return parents[0] if parents else None
        first, second = parents
        fork = self.newest_on(first, second)
        if fork is None or fork not in self.line(second):
            return first
        since = self.line(first)[: self.line(first).index(fork)]
        is_quiet = all(self.stores[one] == self.stores[fork] for one in (*since, first))
        is_brought = self.stores[number] == self.stores[second] != self.stores[first]
        is_first = all(self.above[one] == self.parents[one][0] for one in since if self.parents[one])
        return second if is_quiet and is_brought and is_first else first


def name(number: int) -> str:
    return f"c{number}"


def lines_of(made: Made) -> Lines:
    stores = {name(number): StoreEntries(store) for number, (_, store) in enumerate(made)}
    pairs = [(name(number), [*map(name, parents)]) for number, (parents, _) in enumerate(made)]
    return Lines(pairs, lambda commits: [stores[commit] for commit in commits])


def named(number: int | None) -> str | None:
    return None if number is None else name(number)


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(graphs(), st.randoms(use_true_random=False))
def test_lines_are_what_they_are_defined_to_be(made: Made, random: Any) -> None:
    lines, plain = lines_of(made), Plain(made)
    every = range(len(made))
    # What was asked before must not matter.
    pairs = [(one, other) for one in every for other in every]
    random.shuffle(pairs)
    for one in every:
        assert lines.above(name(one)) == named(plain.above[one])
        assert lines.parents(name(one)) == tuple(map(name, plain.parents[one]))
        assert lines.depth(name(one)) == len(plain.line(one)) - 1
        fork = plain.newest_on(*plain.parents[one]) if len(plain.parents[one]) == 2 else None
        assert lines.fork(name(one)) == named(fork)
    for one, other in pairs:
        first, second = name(one), name(other)
        line = plain.line(one)
        assert lines.is_on(first, second) == (other in line)
        assert lines.newest_on(first, second) == named(plain.newest_on(one, other))
        assert lines.is_above(first, second) == (one in plain.ancestors[other])
        assert lines.resting(first, second) == named(plain.resting(one, other))
        low = line.index(other) if other in line else len(line)
        assert lines.of(first, second) == [*map(name, reversed(line[:low]))]
        sides = random.sample(every, min(2, len(every)))
        beside = set().union(*(plain.ancestors[side] for side in sides)) - plain.ancestors[one]
        assert lines.carried([*map(name, sides)], first) == [*map(name, sorted(beside))]


@settings(max_examples=examples(100), deadline=None, derandomize=True)
@given(graphs(), st.randoms(use_true_random=False))
def test_ancestors_may_be_added_and_asked_for_in_any_order(made: Made, random: Any) -> None:
    lines, plain = lines_of(made), Plain(made)
    ancestors, known = Ancestors(lines), set()
    for _ in range(20):
        added, asked = random.choice(range(len(made))), random.choice(range(len(made)))
        ancestors.add(name(added))
        known |= plain.ancestors[added]
        assert ancestors.has(name(asked)) == (asked in known)


# --- what it takes --------------------------------------------------------------------------------------


class Counted(list[int]):
    """A list that counts how often something in it is looked up."""

    count = 0

    def __getitem__(self, at: Any) -> Any:
        Counted.count += 1
        return super().__getitem__(at)


def looked_up(made: Iterable[Sequence[int]]) -> int:
    """How often a pointer is followed when a judge asks for what it asks for at each merge of its line."""
    lines = Lines([], lambda commits: [StoreEntries()] * len(commits))
    for kind in ("_above", "_jump", "_depth", "_merge", "_turn"):
        setattr(lines, kind, Counted(getattr(lines, kind)))
    Counted.count = 0
    for number, parents in enumerate(made):
        lines.add(name(number), [*map(name, parents)])
    for commit in lines.of(name(number)):
        first, *others = lines.parents(commit) or ("",)
        for other in others:
            lines.fork(commit)
            lines.newest_on(first, other)
            lines.carried([other], first)
    return Counted.count


def merges_of_the_root(count: int) -> list[list[int]]:
    return [[], *([number] if number % 2 else [number, 0] for number in range(count))]


def merges_of_what_left_long_ago(count: int) -> list[list[int]]:
    """A line; then each of its commits has a child, which is merged."""
    made = [[], *([number] for number in range(count))]
    for number in range(count):
        made += [[number], [len(made) - 1, len(made)]]
        made[-1] = [count if number == 0 else len(made) - 3, len(made) - 2]
    return made


def merges_of_a_long_branch(count: int) -> list[list[int]]:
    """A branch with a merge in each commit, every one of which is merged after it is complete."""
    made = [[], *([number, 0] for number in range(count))]
    tip = 0
    for number in range(1, count):
        made.append([tip, number])
        tip = len(made) - 1
    return made


def branches_beside_one_another(count: int) -> list[list[int]]:
    """Two branches, each of which merges the other again and again."""
    made: list[list[int]] = [[], [0], [0]]
    for number in range(count):
        made += [[2 * number + 1, 2 * number + 2], [2 * number + 2, 2 * number + 1]]
    return made


@pytest.mark.parametrize(
    "made",
    [
        merges_of_the_root,
        merges_of_what_left_long_ago,
        merges_of_a_long_branch,
        branches_beside_one_another,
    ],
)
def test_a_merge_takes_no_longer_on_a_longer_line(made: Callable[[int], list[list[int]]]) -> None:
    few, many = made(250), made(2_000)
    # The logarithm of the length grows by a third.
    assert looked_up(many) / len(many) < 1.7 * looked_up(few) / len(few)
