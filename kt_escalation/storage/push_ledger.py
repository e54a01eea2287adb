"""The pushers of each commit: a file on the server to which the hook appends, one line for each commit.

The hook adds a line when it has judged a push and accepts it. So a line proves that the pusher asked the
server to take that commit. Nobody else can add a line in their name, as long as pushers can run only git;
somebody with a shell on the server can write the file. A line does not say who made the commit, whether the
push landed, or what was there before the hook.

The hook does not know, and need not know, what becomes of a push after it has ended: another hook may refuse
it, somebody else may be faster, the server may die. A commit that was on no ref of the server when it was
pushed is noted as *new*, and that restarts its list of pushers: if an earlier push had landed and its branch
still existed, the commit would have been there. So for a commit that is on a ref, ``who`` names the people
who pushed it since it was last on none. The only exception is two pushes of one commit at the same moment:
the last noted one counts, no matter which of them lands, and the author of the commit can push it again.

Lines are only appended, under a lock and in one write, and are on disk before ``record`` returns. A line that
was cut off by a crash belongs to a push that never landed. It is never read, and the next writer ends it
first.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from ..errors import BadInput
from .atomic_file import flush_folder

NAME = "pushed"
# The commit, the pusher (encoded as in a URL), and `+` for a new commit or `=` for one that was on a ref
# already. The sign is at the end, so a line that was cut off is not a valid line with another name.
_LINE = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) (\S{1,4000}) ([+=])")
_CHUNK = 1 << 20
_MODE = 0o600
_MOST_NAME = 300


class Ledger:
    """The ledger in a folder: the repository's own `kt/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / NAME

    def record(self, pusher: str, new: Collection[str], again: Collection[str] = ()) -> None:
        """Record the pusher of these commits: of ``new`` ones, and of those that are already on a ref of the server.

        The lines are on disk when it returns. Raises BadInput if they cannot be written; then the push must
        be refused.
        """
        name = quote(pusher, safe="@+:")
        if not pusher or len(pusher) > _MOST_NAME:
            raise BadInput(problem=f"{pusher[:40]!r} is not a name to record a push under")
        text = "".join(
            f"{commit} {name} {mark}\n" for mark, commits in (("+", new), ("=", again)) for commit in commits
        )
        if not text:
            return
        try:
            self._append(text.encode("ascii"))
        except OSError as error:
            raise self._unusable(error) from None

    def _append(self, lines: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        created = not self._path.exists()
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
        try:
            # The kernel releases the lock if this process dies.
            fcntl.flock(handle, fcntl.LOCK_EX)
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                lines = b"\n" + lines
            while lines:
                lines = lines[os.write(handle, lines) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        if created:
            flush_folder(self._folder)

    def who(self, commits: Collection[str]) -> dict[str, frozenset[str]]:
        """The pushers of each commit since it was last on no ref. Empty if no line names it.

        Reads the file once for all commits. Raises BadInput if it cannot be read.
        """
        found: dict[bytes, set[str]] = {commit.encode(): set() for commit in commits}
        if found:
            try:
                for commit, pusher, mark in self._lines(found):
                    if mark == b"+":
                        found[commit].clear()
                    found[commit].add(unquote(pusher.decode("ascii")))
            except OSError as error:
                raise self._unusable(error) from None
        return {commit.decode(): frozenset(pushers) for commit, pushers in found.items()}

    def _lines(self, wanted: Collection[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
        """The whole lines about these commits, in order."""
        width = max(map(len, wanted))
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            rest = b""
            while chunk := file.read(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line[:width] in wanted:
                        whole = _LINE.fullmatch(line)
                        if whole and whole[1] in wanted:
                            yield whole[1], whole[2], whole[3]

    def _unusable(self, error: OSError) -> BadInput:
        return BadInput(
            problem=f"{self._path}, which says who pushed what, cannot be used: {error.strerror}",
            hint="an administrator of the server lets the user that serves git write there",
        )
