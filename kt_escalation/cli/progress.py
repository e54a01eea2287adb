"""How long work is shown to whoever sits at a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from ..answers import Progress

#: Work that ends within so many seconds shows nothing.
PATIENCE = 0.5


@contextmanager
def drawn(label: str) -> Iterator[Progress | None]:
    """A bar on stderr for what is done here, ended when it is left; None where nobody could see one.

    That is where stderr is no terminal, or one that cannot move its cursor (``TERM=dumb``).
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    due = time.monotonic() + PATIENCE
    bar: ProgressBar[int] | None = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        if time.monotonic() < due:
            return
        if bar is None or bar.length != total:
            # Also where the work has begun again, with more of it.
            _end(bar)
            bar = click.progressbar(length=total, label=label, file=sys.stderr)
        bar.update(done - bar.pos)

    try:
        yield progress
    finally:
        _end(bar)


def _end(bar: ProgressBar[int] | None) -> None:
    """Leave the line, and show the cursor again: a bar hides it from its first stroke on."""
    if bar is not None:
        bar.render_finish()
