"""Files that hold what is said to people word by word, renewed by the tests themselves (`UPDATE_GOLDEN=1`)."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Mapping
from pathlib import Path


def renew(
    file: Path,
    name: str,
    text: str,
    parsed: Callable[[str], Mapping[str, str]],
    entry: Callable[[str, str], str],
) -> None:
    """Put one entry into a book; tests that run beside this one write theirs at the same time."""
    with file.open("a+") as book:
        fcntl.flock(book, fcntl.LOCK_EX)
        book.seek(0)
        found = {**parsed(book.read()), name: text}
        book.seek(0)
        book.truncate()
        book.write("\n".join(entry(*one) for one in sorted(found.items())))
