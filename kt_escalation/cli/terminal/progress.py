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

#: Work shorter than this many seconds shows no bar. After that, the bar moves this often in the same time.
PATIENCE, STROKES = 0.5, 5
# The width of a bar, and of the text beside it: brackets, blanks, percentage, remaining time.
_WIDTH, _BESIDE = 36, 22
_CURSOR = "\x1b[?25h"


class Drawing:
    """Draws a bar on stderr, for one kind of work after another. It is a `model.progress.Progress`."""

    def __init__(self) -> None:
        # When this work began, and when it last reported.
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
            # There was a question to the user, or a pause.
            self._begun = now
        self._last = now
        if self._work != (what, total):
            # The same label with another total is new work.
            _end(self._bar)
            self._work, self._bar = (what, total), None
            self._due = max(self._begun + PATIENCE, now + stroke)
        ends = done >= total
        if now >= self._due or (self._bar and ends):
            with suppress(OSError):
                if self._bar is None:
                    # The bar is stored before it is drawn, so it is removed even if ^C comes meanwhile.
                    self._bar = _bar_of(what, total)
                    self._bar.render_progress()
                self._bar.update(done - self._bar.pos)
                # A user who stops kt here, with ^Z or a signal, needs a visible cursor.
                click.echo(_CURSOR, file=sys.stderr, nl=False)
            self._due = now + stroke
        if ends:
            _end(self._bar)
            self._work = self._bar = None

    def end(self) -> None:
        """Remove the bar, and draw no more."""
        self._over = True
        _end(self._bar)
        self._bar = None


@contextmanager
def drawn(*, prints: bool = False) -> Iterator[Drawing | None]:
    """Show bars for long operations inside. None if nobody could see a bar.

    That is the case if stderr is not a terminal, or cannot move its cursor (``TERM=dumb``). It is also the
    case if the command ``prints`` while it works and stdout is a pipe, perhaps to a pager on the same
    terminal.
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
    """Yield items to print. Once there is output on the terminal, no bar is drawn."""
    for item in items:
        _remove_bar_for_output(drawing)
        yield item


class Printed:
    """The same as `printed`, for output in bytes."""

    def __init__(self, out: BinaryIO, drawing: Drawing | None) -> None:
        self._out = out
        self._drawing = drawing

    def write(self, data: bytes) -> int:
        """Write the bytes."""
        _remove_bar_for_output(self._drawing)
        return self._out.write(data)


def _remove_bar_for_output(drawing: Drawing | None) -> None:
    if drawing and sys.stdout.isatty():
        drawing.end()


def _bar_of(what: str, total: int) -> ProgressBar[int]:
    """A bar that fits on one line of the terminal, because a wrapped bar could not be removed."""
    import shutil

    room = max(2, shutil.get_terminal_size().columns - _BESIDE)
    label = what[: room - 1]
    width = min(_WIDTH, room - len(label))
    return click.progressbar(length=total, label=label, file=sys.stderr, width=width)


def _end(bar: ProgressBar[int] | None) -> None:
    """Remove the bar."""
    # If the terminal is gone, the work still continues.
    with suppress(OSError):
        if bar is not None:
            click.echo(f"\r\x1b[K{_CURSOR}", file=sys.stderr, nl=False)


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False
