"""What this clone has read before: the rows and the plain values of records, by the ids of their blobs.

An id names its content for ever, so what was read from it is never wrong; what may be wrong is the
file. It lies below git's common directory and can be deleted at any time: whatever is damaged, foreign
or missing, or cannot be written, costs the next reading time, and nothing else.

The file is a line that names the parser, and then segments, each written by one call: its lengths and
a checksum, the rows, and the records as JSON. Any number of processes append to it; whoever finds more
in it than listings still want writes a new file and puts it in place.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import struct
import threading
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ..core.row import Row

#: How many records are put away at once, in one segment.
AT_ONCE = 500
#: A record of more bytes than this, as JSON, is not kept; its row is.
LARGEST = 32 * 1024
# How much is kept that the newest listing has not asked for: former states, and what other folders of the
# repository, worktrees and revisions hold. Reading that many rows takes a few milliseconds.
_SPARE = 10_000
_MOST_SEGMENTS = 200

# A segment's head: a mark, the length of the rows, that of the records, the checksum of the rows.
_HEAD = struct.Struct("<4sIII")
_MARK = b"kt\r\n"
# The newest format that every Python we run on reads.
_MARSHAL = 4

# The text of these decides what is read from a blob, so it names the parser: no number to forget.
_CORE = ("canonical", "deadlines", "ids", "model", "reader", "row", "text", "times", "words")
_PARSER = (*(f"core/{name}.py" for name in _CORE), "store/cache.py", "store/codec.py", "store/layout.py")


class Kept(NamedTuple):
    """What a blob holds: a row and the record as JSON (nothing if it is too large), or what is wrong."""

    blob: str
    found: Row | str
    body: bytes = b""


class Cache:
    """The file, and all that is known from it and since. Several threads may use it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._first_line = b"kt records %08x\n" % _parser()
        #: By the blob's id: its row, or what is wrong with it.
        self.known: dict[str, Row | str] = {}
        self._load()

    # --- reading ----------------------------------------------------------------------------------

    def _load(self) -> None:
        """Take in the file as far as it is as it should be."""
        # The segments whose bodies nobody has asked for yet: where they begin, and each one's length.
        self._uncounted: list[tuple[int, Sequence[tuple[str, int, int]]]] = []
        self._places: dict[str, tuple[int, int, int]] = {}
        self._segments = 0
        self._sound = False
        with contextlib.suppress(OSError, struct.error, ValueError, EOFError, TypeError):
            with self._file.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if file.readline(len(self._first_line)) != self._first_line:
                    return
                while (at := file.tell()) < size:
                    mark, length, bodies, checksum = _HEAD.unpack(file.read(_HEAD.size))
                    start = at + _HEAD.size + length
                    if mark != _MARK or start + bodies > size:
                        return
                    data = file.read(length)
                    if zlib.crc32(data) != checksum:
                        return
                    rows, problems, places = marshal.loads(data)  # noqa: S302 - what we wrote, by its checksum
                    self.known.update((row.blob, row) for row in map(Row._make, rows))
                    self.known.update(problems)
                    self._uncounted.append((start, places))
                    self._segments += 1
                    file.seek(start + bodies)
            self._sound = True

    def bodies(self, blobs: Iterable[str]) -> Mapping[str, Any]:
        """The records of those of the blobs that are kept whole, as plain values."""
        return {blob: json.loads(data) for blob, data in self._read(blobs)}

    def _read(self, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        with self._lock, contextlib.suppress(OSError):
            for start, places in self._uncounted:
                for blob, length, checksum in places:
                    self._places[blob] = (start, length, checksum)
                    start += length
            self._uncounted.clear()
            with self._file.open("rb") as file:
                for blob in blobs:
                    start, length, checksum = self._places.get(blob, (0, 0, 0))
                    if not length:
                        continue
                    file.seek(start)
                    data = file.read(length)
                    # Another process may have put a new file in place since this one was taken in.
                    if len(data) == length and zlib.crc32(data) == checksum:
                        yield blob, data

    # --- writing ----------------------------------------------------------------------------------

    def add(self, items: Sequence[Kept]) -> None:
        """Put away what was read just now, `AT_ONCE` of it at most."""
        with self._lock:
            segment, places = _segment(items)
            with contextlib.suppress(OSError):
                if not (self._sound and self._append(segment, places)):
                    self._replace(chain(self._packed([*self.known]), [segment]))
            self.known.update((item.blob, item.found) for item in items)

    def trim(self, wanted: Collection[str]) -> None:
        """Drop what a listing has not asked for, once that is much."""
        with self._lock:
            if len(self.known) > len(wanted) + _SPARE or self._segments > _MOST_SEGMENTS:
                wanted = [blob for blob in wanted if blob in self.known]
                with contextlib.suppress(OSError):
                    self._replace(self._packed(wanted))
                self.known = {blob: self.known[blob] for blob in wanted}

    def _packed(self, blobs: Sequence[str]) -> Iterator[bytes]:
        """Segments of what is known already."""
        for at in range(0, len(blobs), AT_ONCE):
            some = blobs[at : at + AT_ONCE]
            bodies = dict(self._read(some))
            yield _segment([Kept(blob, self.known[blob], bodies.get(blob, b"")) for blob in some])[0]

    def _append(self, segment: bytes, places: Sequence[tuple[str, int, int]]) -> bool:
        """Put a segment behind the others, in one piece; whether that is done."""
        with self._file.open("a+b", buffering=0) as file:
            file.seek(0)
            # Another kt may have put its own file in place, or somebody none.
            if file.read(len(self._first_line)) != self._first_line or file.write(segment) != len(segment):
                return False
            self._uncounted.append((file.tell() - sum(length for _, length, _ in places), places))
            self._segments += 1
        return True

    def _replace(self, segments: Iterable[bytes]) -> None:
        """Write a new file, put it in place, and take it in."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_name(f"{self._file.name}.{os.getpid()}-{os.urandom(4).hex()}")
        try:
            with new.open("xb") as file:
                file.write(self._first_line)
                file.writelines(segments)
            new.replace(self._file)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        self._load()


def body(plain: Mapping[str, Any]) -> bytes:
    """A record's plain values as they are kept; nothing if that is too large."""
    data = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    return data if len(data) <= LARGEST else b""


def _segment(items: Sequence[Kept]) -> tuple[bytes, list[tuple[str, int, int]]]:
    """A segment's bytes, and its bodies: of which blob, how long, with which checksum."""
    rows = [tuple(item.found) for item in items if not isinstance(item.found, str)]
    problems = [(item.blob, item.found) for item in items if isinstance(item.found, str)]
    places = [(item.blob, len(item.body), zlib.crc32(item.body)) for item in items if item.body]
    data = marshal.dumps((rows, problems, places), _MARSHAL)
    bodies = b"".join(item.body for item in items)
    return _HEAD.pack(_MARK, len(data), len(bodies), zlib.crc32(data)) + data + bodies, places


def _parser() -> int:
    """What tells this parser from an older one. Without its sources no file is taken for its own."""
    checksum = 0
    try:
        for name in _PARSER:
            checksum = zlib.crc32((Path(__file__).parents[1] / name).read_bytes(), checksum)
    except OSError:
        return int.from_bytes(os.urandom(4))
    return checksum
