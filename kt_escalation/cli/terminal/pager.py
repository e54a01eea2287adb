"""Shows what is longer than the terminal in the user's pager, as git does."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from itertools import chain, islice

import click

# What `less` does unless its user says otherwise: quit if one screen has it all, keep colours, leave the text there.
_LESS = "FRX"


def show(lines: Iterable[str], *, always: bool = False) -> None:
    """Print lines; at a terminal with fewer rows through `$PAGER`, by default `less`. Unless ``always``, all must be read.

    An empty `PAGER`, `cat` and a dumb terminal mean none.
    """
    rest = iter(lines)
    room = shutil.get_terminal_size().lines - 1
    first = list(islice(rest, room + 1)) if _has_pager() else []
    if len(first) > room or (always and first):
        os.environ.setdefault("LESS", _LESS if not always else _LESS.replace("F", ""))
        click.echo_via_pager(f"{line}\n" for line in chain(first, rest))
        return
    for line in chain(first, rest):
        click.echo(line)


def _has_pager() -> bool:
    """Whether a pager is wanted and somebody could use it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        return False
    return os.environ.get("PAGER", "less").strip() not in ("", "cat")
