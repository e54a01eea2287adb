"""Progress reports of long operations: what they do, and how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

#: Told by work that may last what it does, and how much of how much is done.
Progress = Callable[[str, int, int], None]
#: How often it is told that something is waited for.
TELL_SECONDS = 0.2

_T = TypeVar("_T")


def told(progress: Progress | None, what: str, items: Iterable[_T], total: int) -> Iterator[_T]:
    """The items, with a word on how many are done whenever the next one is asked for, and at the end."""
    if progress is None or total < 2:
        yield from items
        return
    for done, item in enumerate(items):
        progress(what, done, total)
        yield item
    progress(what, total, total)


class Wait:
    """A wait of which nobody knows how long it will be: told as nothing done, and at its end as all."""

    def __init__(self, progress: Progress | None, what: str) -> None:
        self._progress = progress
        self._what = what
        self._told = False

    @property
    def seconds(self) -> float | None:
        """How long to wait until `lasts` is called for; None if nobody is told anyway."""
        return TELL_SECONDS if self._progress else None

    def lasts(self) -> None:
        """It is not over yet."""
        if self._progress:
            self._told = True
            self._progress(self._what, 0, 1)

    def ends(self) -> None:
        """It is over, for now or for good."""
        if self._progress and self._told:
            self._told = False
            self._progress(self._what, 1, 1)
