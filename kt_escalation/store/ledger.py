"""Which commits a server got from whom: what lets a pusher bring in what others have pushed there before.

One file beside the server's other notes, a line for each commit and the name under which it was pushed, appended
before the push is taken in. A push that is refused after that leaves lines of commits which are not there, and they
claim no more than that: this name has pushed that commit here. Whoever may write in the server's repository may write
here as well, so it proves something only about people who reach the repository through git alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Container, Iterable
from pathlib import Path

from ..errors import GitFailed

_NAME = "pushed"
# A line holds a commit's id, a blank and the name; longer names are none that a server gives.
_LONGEST_NAME = 200
_CHUNK = 1 << 20


class Ledger:
    """The ledger in a folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / _NAME

    def record(self, pusher: str, commits: Iterable[str]) -> None:
        """Write down that somebody has pushed some commits; on disk when this returns. Raises GitFailed."""
        name = _one_line(pusher)
        text = "".join(f"{commit} {name}\n" for commit in commits).encode()
        if not text:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                # What a crash has cut off ends here, so that the next line is whole.
                begins_anew = file.tell() > 0 and not self._ends_whole()
                file.write((b"\n" if begins_anew else b"") + text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise GitFailed(
                says="the list of who has pushed what, {path}, cannot be written: {words}",
                path=str(self._file),
                words=error.strerror or str(error),
            ) from None

    def who(self, commits: Container[str]) -> dict[str, frozenset[str]]:
        """Under which names some commits were pushed; a line that is not whole counts for nothing."""
        found: dict[str, set[str]] = {}
        try:
            with self._file.open("rb") as file:
                rest = b""
                while chunk := file.read(_CHUNK):
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        oid, blank, name = line.decode(errors="replace").partition(" ")
                        if blank and name and oid in commits:
                            found.setdefault(oid, set()).add(name)
        except FileNotFoundError:
            pass
        return {oid: frozenset(names) for oid, names in found.items()}

    def _ends_whole(self) -> bool:
        with self._file.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def _one_line(name: str) -> str:
    return " ".join(name.split())[:_LONGEST_NAME]
