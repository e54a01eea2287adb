"""Shows long output in the user's pager, as git does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from itertools import chain, islice

import click

# The default options of `less`: quit if one screen is enough, keep colours, leave the text on the screen.
_LESS = "FRX"


def show(lines: Iterable[str], *, always: bool = False) -> None:
    """Print lines. At a terminal with fewer rows, use `$PAGER`, by default `less`.

    Unless ``always``, the reader must have reached the end. An empty `PAGER`, `cat` and a dumb terminal mean
    no pager.
    """
    rest = iter(lines)
    room, first = 0, []
    if _has_pager():
        import shutil

        room = shutil.get_terminal_size().lines - 1
        first = list(islice(rest, room + 1))
    if len(first) > room or (always and first):
        os.environ.setdefault("LESS", _LESS if not always else _LESS.replace("F", ""))
        click.echo_via_pager(f"{line}\n" for line in chain(first, rest))
        return
    for line in chain(first, rest):
        click.echo(line)


def _has_pager() -> bool:
    """Whether the user wants a pager and can use it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        return False
    return os.environ.get("PAGER", "less").strip() not in ("", "cat")
