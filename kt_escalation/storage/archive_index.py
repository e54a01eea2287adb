"""The clone's index of archives, which finds a record in them without reading them all. See docs/compaction.md.

It is two files below `kt/` in git's common directory that can be deleted at any time: one maps ids to
archives, the other maps ids to the escalations that reopen them. Both are made from blobs, whose ids name
their content for ever. Only the index can say that an id is in no archive, so tags bind both files to the
clone (`clone_key` explains them), and a file without the right tag is made again. If a file cannot be kept,
memory takes its place.

A file is a line with the length and the tag of its head, the head, and blocks of rows. The head is JSON: the
blobs of the rows, and for each block its first row, its length and its tag. So the head's tag binds all of
it, and a question reads the head and one or two blocks. A row is an id, the number of a blob and a place in
it; rows are sorted by bytes.
"""

from __future__ import annotations

import json
import mmap
import re
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from heapq import merge
from itertools import accumulate
from pathlib import Path

from ..frozen import dataclass
from ..git.objects import chunks
from ..model import archive_file
from ..model.progress import counted
from . import atomic_file, clone_key
from .archives import Archive, Place
from .interface import Progress
from .reopenings import REOPENS

# How many files of ids (about 40 KB each) and how many archives (1 MiB each) are read at once.
_IDS_AT_ONCE = 64
_ARCHIVES_AT_ONCE = 16
_ROWS_IN_BLOCK = 1000
# What a tag is for. The number is the version of the format, as in the files' names.
_HEAD, _BLOCK = "archives 2", "archived 2"
_FIRST_LINE = re.compile(rb"kt archives (\d{1,9}) ([0-9a-f]{%d})\n" % (2 * clone_key.TAG_BYTES))

#: Returns the bytes of blobs, in order; None for a blob that is too large to be an archive.
Read = Callable[[Sequence[str]], Sequence[bytes | None]]
_Pairs = list[tuple[str, int]]


class Index:
    """The index of one clone. Several threads and processes may use it at once.

    ``read`` returns blobs of the repository. ``progress`` is called while the index is filled.
    """

    def __init__(self, folder: Path, read: Read, progress: Progress | None = None) -> None:
        self._folder = folder
        self._read = read
        self._progress = progress
        self._lock = threading.Lock()
        self._known: dict[str, _Rows] = {}

    def find(self, archives: Sequence[Archive], escalation_id: str) -> list[Place]:
        """The places of an id in these archives. More than one place is a violation."""
        return self._places(_LISTED, archives, escalation_id)

    def reopening(self, archives: Sequence[Archive], escalation_id: str) -> list[Place]:
        """The places in these archives of the escalations that reopen an id."""
        return self._places(_SEARCHED, archives, escalation_id)

    def beginning(self, archives: Sequence[Archive], prefix: str) -> list[str]:
        """The ids in these archives that begin with a prefix, sorted."""
        have = {archive.ids for archive in archives}
        found = self._asked(_LISTED, have, prefix)
        return sorted({name for name, blob, _ in found if blob in have})

    def close(self) -> None:
        """Free the memory. The next question reads the files again."""
        with self._lock:
            self._known.clear()

    def _places(self, table: _Table, archives: Sequence[Archive], escalation_id: str) -> list[Place]:
        # Two archives of the same records have equal files.
        by_blob: dict[str, list[Archive]] = {}
        for archive in archives:
            by_blob.setdefault(table.blob(archive), []).append(archive)
        found = self._asked(table, by_blob.keys(), f"{escalation_id} ") if by_blob else []
        places = [
            Place(archive, at)
            for name, blob, at in found
            if name == escalation_id
            for archive in by_blob.get(blob, ())
        ]
        return sorted(places, key=lambda place: (place.archive.path, place.at))

    def _asked(self, table: _Table, blobs: Set[str], begin: str) -> list[tuple[str, str, int]]:
        """The id, blob and place of each row that begins with ``begin``. The rows of ``blobs`` are indexed first."""
        with self._lock:
            try:
                return self._holding(table, blobs).beginning(begin)
            except _Damaged:
                known = self._known[table.name] = self._filled(table, _Rows(), blobs)
                return known.beginning(begin)

    # --- filling it -------------------------------------------------------------------------------

    def _holding(self, table: _Table, blobs: Set[str]) -> _Rows:
        """Rows that include those of these blobs: from memory, from the file, or indexed now."""
        known = self._known.get(table.name)
        if known is None or not blobs <= known.numbers.keys():
            known = self._kept(table) or _Rows()
            if not blobs <= known.numbers.keys():
                known = self._filled(table, known, blobs)
            self._known[table.name] = known
        return known

    def _kept(self, table: _Table) -> _Rows | None:
        """The rows in the file, or None if this clone has not written one."""
        key = clone_key.read(self._folder)
        if key is None:
            return None
        try:
            with (self._folder / table.name).open("rb") as file:
                return _Rows(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), key, table.name)
        except (OSError, ValueError, _Damaged):
            return None

    def _filled(self, table: _Table, known: _Rows, blobs: Set[str]) -> _Rows:
        """The known rows and those of these blobs. Writes them to disk if possible."""
        missing = sorted(blobs - known.numbers.keys())
        numbers = {**known.numbers, **{blob: at for at, blob in enumerate(missing, len(known.numbers))}}
        new: list[bytes] = []
        parts = [*chunks(missing, table.at_once)]
        for some in counted(self._progress, "indexing archives", parts, len(parts)):
            for blob, data in zip(some, self._read(some), strict=True):
                new += (b"%s %d %d" % (name.encode(), numbers[blob], at) for name, at in table.pairs(data))
        new.sort()
        key = b""
        with suppress(OSError):
            key = clone_key.make(self._folder)
        data = _written([*numbers], merge(known.lines(b""), new), key, table.name)
        # If the disk is full or cannot be written, the rows stay in memory.
        with suppress(OSError):
            atomic_file.write(self._folder / table.name, data)
        return _Rows(data, key, table.name)


class _Damaged(Exception):
    """The file was not written by this clone, or is damaged."""


class _Rows:
    """The rows of a file, or of its bytes in memory. The tag of each block is checked when it is read."""

    def __init__(self, data: bytes | mmap.mmap = b"", key: bytes = b"", name: str = "") -> None:
        """Raises _Damaged."""
        self._data, self._key, self._name = data, key, name
        #: The blobs that the rows are from, with the number of each.
        self.numbers: dict[str, int] = {}
        self._firsts: list[bytes] = []
        self._blocks: list[tuple[int, int, str]] = []
        if not data:
            return
        line = data[: data.find(b"\n") + 1]
        found = _FIRST_LINE.fullmatch(line)
        head = data[len(line) : len(line) + int(found[1])] if found else b""
        if not found or _tag(key, _HEAD, name, head) != found[2].decode():
            raise _Damaged
        blobs, blocks = json.loads(head)
        self.numbers = {blob: number for number, blob in enumerate(blobs)}
        ends = accumulate((length for _, length, _ in blocks), initial=len(line) + len(head))
        self._blocks = [(start, length, tag) for start, (_, length, tag) in zip(ends, blocks, strict=False)]
        self._firsts = [first.encode() for first, *_ in blocks]

    def beginning(self, text: str) -> list[tuple[str, str, int]]:
        """The id, blob and place of each row that begins with ``text``. Raises _Damaged."""
        blobs = [*self.numbers]
        found = (line.decode().rsplit(" ", 2) for line in self.lines(text.encode()))
        return [(name, blobs[int(number)], int(at)) for name, number, at in found]

    def lines(self, begin: bytes) -> Iterator[bytes]:
        """The rows that begin with these bytes, in order. Raises _Damaged."""
        first = max(bisect_right(self._firsts, begin) - 1, 0)
        for start, length, tag in self._blocks[first:]:
            block = self._data[start : start + length]
            if _tag(self._key, _BLOCK, self._name, block) != tag:
                raise _Damaged
            for line in block.split(b"\n"):
                if line.startswith(begin):
                    yield line
                elif line > begin:
                    return


def _written(blobs: Sequence[str], rows: Iterator[bytes], key: bytes, name: str) -> bytes:
    """The bytes of a file with these rows."""
    blocks: list[bytes] = []
    head: list[tuple[str, int, str]] = []
    for some in chunks(rows, _ROWS_IN_BLOCK):
        block = b"\n".join(some)
        head.append((some[0].decode(), len(block), _tag(key, _BLOCK, name, block)))
        blocks.append(block)
    told_of = json.dumps([blobs, head]).encode()
    first = b"kt archives %d %s\n" % (len(told_of), _tag(key, _HEAD, name, told_of).encode())
    return b"".join([first, told_of, *blocks])


def _tag(key: bytes, kind: str, name: str, data: bytes) -> str:
    return clone_key.tag(key, kind, name.encode(), b"\0", data).hex()


@dataclass(frozen=True)
class _Table:
    """How one of the index's two files is filled, and from what."""

    name: str
    blob: Callable[[Archive], str]
    pairs: Callable[[bytes | None], _Pairs]
    at_once: int


def _members(data: bytes | None) -> _Pairs:
    """The ids in a file of ids, and their places."""
    lines = (data or b"").decode("ascii", errors="replace").split("\n")
    return [(name, at) for at, name in enumerate(lines) if name]


def _reopenings(data: bytes | None) -> _Pairs:
    """The ids that records of an archive reopen, and the places of those records."""
    if data is None or b"\nreopens: " not in data:
        return []
    try:
        pieces = archive_file.read(data)
    except archive_file.BadArchive:
        return []
    found = ((REOPENS.search(piece), at) for at, piece in enumerate(pieces))
    return [(match[1].decode(), at) for match, at in found if match]


_LISTED = _Table("archives-2-ids", lambda archive: archive.ids, _members, _IDS_AT_ONCE)
_SEARCHED = _Table("archives-2-reopened", lambda archive: archive.data, _reopenings, _ARCHIVES_AT_ONCE)
