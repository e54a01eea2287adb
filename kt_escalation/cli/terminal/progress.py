"""Shows the progress of long operations at a terminal."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import click

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

_T = TypeVar("_T")

#: Work that ends within so many seconds shows nothing; after that a bar moves so often in as many.
PATIENCE, STROKES = 0.5, 5
# How wide a bar is, and what stands beside it: brackets, blanks, the per cent, the time to come.
_WIDTH, _BESIDE = 36, 22
_CURSOR = "\x1b[?25h"


class Drawing:
    """A bar on stderr for one kind of work after the other, told of as `core.progress.Progress`."""

    def __init__(self) -> None:
        # When this stretch of work began, and when it was last told of.
        self._begun = self._last = time.monotonic()
        self._due = 0.0
        self._work: tuple[str, int] | None = None
        self._bar: ProgressBar[int] | None = None
        self._over = False

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._over:
            return
        now = time.monotonic()
        stroke = PATIENCE / STROKES
        if self._work is None and now - self._last > PATIENCE:
            # Somebody was asked something, or it was idle.
            self._begun = now
        self._last = now
        if self._work != (what, total):
            # Also where the same work has begun again, with more of it.
            _end(self._bar)
            self._work, self._bar = (what, total), None
            self._due = max(self._begun + PATIENCE, now + stroke)
        ends = done >= total
        if now >= self._due or (self._bar and ends):
            with suppress(OSError):
                if self._bar is None:
                    # Known before it is drawn, so that it is taken away even where ^C comes meanwhile.
                    self._bar = _bar_of(what, total)
                    self._bar.render_progress()
                self._bar.update(done - self._bar.pos)
                # Whoever stops us here, with ^Z or worse, wants to see where they type.
                click.echo(_CURSOR, file=sys.stderr, nl=False)
            self._due = now + stroke
        if ends:
            _end(self._bar)
            self._work = self._bar = None

    def end(self) -> None:
        """Take the bar away, and draw none from here on."""
        self._over = True
        _end(self._bar)
        self._bar = None


@contextmanager
def drawn(*, prints: bool = False) -> Iterator[Drawing | None]:
    """Bars for what lasts in here; None where nobody could see one.

    That is where stderr is no terminal, or one that cannot move its cursor (``TERM=dumb``); and of what
    ``prints`` while it works wherever that goes through a pipe, perhaps into a pager on the same terminal.
    """
    hidden = not sys.stderr.isatty() or os.environ.get("TERM") == "dumb"
    if hidden or (prints and not (sys.stdout.isatty() or _is_file(1))):
        yield None
        return
    drawing = Drawing()
    try:
        yield drawing
    finally:
        drawing.end()


def printed(items: Iterable[_T], drawing: Drawing | None) -> Iterator[_T]:
    """What is printed while more of it is made: once there is some on the terminal, no bar may be in between."""
    for item in items:
        _make_way(drawing)
        yield item


class Printed:
    """The same for what is written in bytes."""

    def __init__(self, out: BinaryIO, drawing: Drawing | None) -> None:
        self._out = out
        self._drawing = drawing

    def write(self, data: bytes) -> int:
        """Write it."""
        _make_way(self._drawing)
        return self._out.write(data)


def _make_way(drawing: Drawing | None) -> None:
    if drawing and sys.stdout.isatty():
        drawing.end()


def _bar_of(what: str, total: int) -> ProgressBar[int]:
    """A bar that fits one line of the terminal: what is wrapped could not be taken away."""
    import shutil

    room = max(2, shutil.get_terminal_size().columns - _BESIDE)
    label = what[: room - 1]
    width = min(_WIDTH, room - len(label))
    return click.progressbar(length=total, label=label, file=sys.stderr, width=width)


def _end(bar: ProgressBar[int] | None) -> None:
    """Take the bar away."""
    # A terminal that is gone keeps nobody from finishing the work.
    with suppress(OSError):
        if bar is not None:
            click.echo(f"\r\x1b[K{_CURSOR}", file=sys.stderr, nl=False)


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False
