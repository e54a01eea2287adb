"""Progress reports of long operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

#: `progress(label, done, total)` is called while a long operation runs.
Progress = Callable[[str, int, int], None]
#: How often progress is reported while something is waited for, in seconds.
TELL_SECONDS = 0.2

_T = TypeVar("_T")


def counted(progress: Progress | None, what: str, items: Iterable[_T], total: int) -> Iterator[_T]:
    """Yield the items, and report before each one, and at the end, how many are done."""
    if progress is None or total < 2:
        yield from items
        return
    for done, item in enumerate(items):
        progress(what, done, total)
        yield item
    progress(what, total, total)


class Wait:
    """A wait of unknown length. It is reported as 0 of 1 while it lasts, and as 1 of 1 at its end."""

    def __init__(self, progress: Progress | None, what: str) -> None:
        self._progress = progress
        self._what = what
        self._told = False

    @property
    def seconds(self) -> float | None:
        """How long to wait before `lasts` is called. None if nobody listens."""
        return TELL_SECONDS if self._progress else None

    def lasts(self) -> None:
        """Report that the wait goes on."""
        if self._progress:
            self._told = True
            self._progress(self._what, 0, 1)

    def ends(self) -> None:
        """Report that the wait is over. It may begin again."""
        if self._progress and self._told:
            self._told = False
            self._progress(self._what, 1, 1)
