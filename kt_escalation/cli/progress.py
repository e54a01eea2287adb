"""How long work is shown to whoever sits at a terminal."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from ..store.port import Progress

#: Work that ends within so many seconds shows nothing; after that a bar moves so often in as many.
PATIENCE, STROKES = 0.5, 5


@contextmanager
def drawn(*, prints: bool = False) -> Iterator[Progress | None]:
    """A bar on stderr for each kind of work that is done here; None where nobody could see one.

    That is where stderr is no terminal, or one that cannot move its cursor (``TERM=dumb``); and of what
    ``prints`` while it works wherever that may come to a terminal as well, directly or through a pager.
    """
    hidden = not sys.stderr.isatty() or os.environ.get("TERM") == "dumb"
    if hidden or (prints and not _is_file(1)):
        yield None
        return
    begun = time.monotonic()
    due = 0.0
    work: tuple[str, int] | None = None
    bar: ProgressBar[int] | None = None

    def progress(what: str, done: int, total: int) -> None:
        nonlocal due, work, bar
        now = time.monotonic()
        stroke = PATIENCE / STROKES
        if work != (what, total):
            # Also where the same work has begun again, with more of it.
            _end(bar)
            work, bar, due = (what, total), None, max(begun + PATIENCE, now + stroke)
        ends = done >= total
        if now >= due or (bar and ends):
            with suppress(OSError):
                if bar is None:
                    bar = click.progressbar(length=total, label=what, file=sys.stderr)
                    bar.render_progress()
                bar.update(done - bar.pos)
            due = now + stroke
        if ends:
            _end(bar)
            work = bar = None

    try:
        yield progress
    finally:
        _end(bar)


def _end(bar: ProgressBar[int] | None) -> None:
    """Take the bar away, and show the cursor again, which a bar hides from its first stroke on."""
    # A terminal that is gone keeps nobody from finishing the work.
    with suppress(OSError):
        if bar is not None:
            click.echo("\r\x1b[K\x1b[?25h", file=sys.stderr, nl=False)


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False
