"""Commits of the line at regular distances, so that a mark can find one of the line without a list of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# The distance grows with the line, so that a mark keeps at most so many milestones.
_DISTANCE, _MOST = 512, 128


def distance(count: int) -> int:
    """The distance between milestones on a line with so many commits."""
    found = _DISTANCE
    while count // found > _MOST:
        found *= 2
    return found


def extended(known: Sequence[str], count: int, new: Sequence[str]) -> tuple[str, ...]:
    """The milestones of a line, oldest first: ``known`` are those of its first ``count`` commits, ``new`` all others."""
    apart = distance(count + len(new))
    kept = known[apart // distance(count) - 1 :: apart // distance(count)]
    return (*kept, *new[apart - 1 - count % apart :: apart])


def first(commits: Sequence[str], has: Callable[[str], bool]) -> int:
    """The position of the first commit that has something which each later one has too. Their number if none has it."""
    low, high = 0, len(commits)
    while low < high:
        middle = (low + high) // 2
        if has(commits[middle]):
            high = middle
        else:
            low = middle + 1
    return low
