"""The list cache of this clone: summaries and plain values of records, by the ids of their blobs.

An id names its content for ever, so a cached value is never wrong, but the file may be. It is below git's
common directory and can be deleted at any time: if it is damaged, foreign, missing or cannot be written, the
next reading only takes longer. Each part has a tag under the clone's key (`clone_key` explains it), and no
byte with a wrong tag is used.

The file is a line with the version, followed by segments: lengths and tags, the summaries, the offsets of the
records, and the records as JSON. Each segment is written by one call, so several processes can append. If the
file holds much that listings no longer need, a process replaces it with a new one.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import struct
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ..model.summary import RecordSummary
from . import atomic_file, clone_key

#: The version of the file's content. Increase it with every change of what a blob is cached as: the keys of `RecordSummary`
#: and how they are computed, the keys and plain values of a record, the reasons why a blob is not a record, or the
#: format of this file. `tests/test_cache.py` compares it with what is read from a set of samples.
VERSION = 6

#: How many records one segment holds.
AT_ONCE = 500
#: A record with more bytes of JSON than this is not cached; its summary is.
LARGEST = 32 * 1024
# How many summaries are kept that the newest listing did not need: former states, and records of other folders,
# worktrees and revisions. Reading that many takes a few milliseconds.
_SPARE = 10_000
_MOST_SEGMENTS = 200
# The errors of loading a damaged file, or one of another format whose version was not increased.
_DAMAGE = (OSError, struct.error, ValueError, EOFError, TypeError)

# A segment's head: a mark, the lengths of summaries, places and records, and the tags of summaries and places.
_HEAD = struct.Struct(f"<4sIII{clone_key.TAG_BYTES}s{clone_key.TAG_BYTES}s")
_MARK = b"kt\r\n"
_FIRST_LINE = b"kt records %d\n" % VERSION
# What a tag is for. Another version has other tags.
_ROWS, _PLACES, _BODY = (f"{kind} {VERSION}" for kind in ("rows", "places", "body"))
# The newest format that every supported Python reads.
_MARSHAL = 4


class Kept(NamedTuple):
    """What a blob holds: a summary and the record as JSON (empty if it is too large), or what is wrong with it."""

    blob: str
    found: RecordSummary | str
    body: bytes = b""


class Cache:
    """The cache file and its content in memory. Several threads may use it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.RLock()
        #: By blob id: the summary, or what is wrong with the blob.
        self.known: dict[str, RecordSummary | str] = {}
        self._load()

    # --- reading ----------------------------------------------------------------------------------

    def _load(self) -> None:
        """Load the file, up to the first damaged segment."""
        # The segments whose places are not loaded yet: the offset, the length and the tag of the places.
        self._unread: list[tuple[int, int, bytes]] = []
        self._places: dict[str, tuple[int, int, bytes]] = {}
        self._segments = 0
        self._sound = False
        self._key = clone_key.read(self._file.parent)
        if self._key is None:
            return
        with contextlib.suppress(*_DAMAGE), self._file.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.readline(len(_FIRST_LINE)) != _FIRST_LINE:
                return
            while (at := file.tell()) < size:
                head = file.read(_HEAD.size)
                mark, length, places, bodies, rows_tag, places_tag = _HEAD.unpack(head)
                start = at + _HEAD.size + length
                if mark != _MARK or start + places + bodies > size:
                    return
                data = file.read(length)
                if clone_key.tag(self._key, _ROWS, _lengths(length, places, bodies), data) != rows_tag:
                    return
                rows, problems = marshal.loads(data)  # noqa: S302 - written by this clone, by its tag
                self.known.update((row.blob, row) for row in map(RecordSummary._make, rows))
                self.known.update(problems)
                self._unread.append((start, places, places_tag))
                self._segments += 1
                file.seek(start + places + bodies)
            self._sound = True

    def bodies(self, blobs: Iterable[str]) -> Mapping[str, Any]:
        """The cached records among these blobs, as plain values."""
        return {blob: json.loads(data) for blob, data in self._read(blobs)}

    def _read(self, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        with self._lock, contextlib.suppress(OSError):
            if self._key is None:
                return
            with self._file.open("rb") as file:
                for start, length, tag in self._unread:
                    file.seek(start)
                    data = file.read(length)
                    # Another process may have replaced the file since it was loaded.
                    if clone_key.tag(self._key, _PLACES, data) == tag:
                        at = start + length
                        for blob, size, body_tag in marshal.loads(data):  # noqa: S302 - as above
                            self._places[blob] = (at, size, body_tag)
                            at += size
                self._unread.clear()
                for blob in blobs:
                    start, length, tag = self._places.get(blob, (0, 0, b""))
                    if not length:
                        continue
                    file.seek(start)
                    data = file.read(length)
                    if clone_key.tag(self._key, _BODY, data) == tag:
                        yield blob, data

    # --- writing ----------------------------------------------------------------------------------

    def add(self, items: Sequence[Kept]) -> None:
        """Cache what was read from blobs, at most `AT_ONCE` of them."""
        with self._lock:
            with contextlib.suppress(OSError):
                if self._key is None:
                    self._key = clone_key.make(self._file.parent)
                segment = _segment(self._key, items)
                if not (self._sound and self._append(segment)):
                    self._replace(chain(self._packed(self._key, [*self.known]), [segment]))
            self.known.update((item.blob, item.found) for item in items)

    def trim(self, wanted: Collection[str]) -> None:
        """Drop what is not ``wanted``, once that is much."""
        with self._lock:
            if len(self.known) > len(wanted) + _SPARE or self._segments > _MOST_SEGMENTS:
                wanted = [blob for blob in wanted if blob in self.known]
                with contextlib.suppress(OSError):
                    if self._key is not None:
                        self._replace(self._packed(self._key, wanted))
                self.known = {blob: self.known[blob] for blob in wanted}

    def _packed(self, key: bytes, blobs: Sequence[str]) -> Iterator[bytes]:
        """Segments with what is cached for these blobs."""
        for at in range(0, len(blobs), AT_ONCE):
            some = blobs[at : at + AT_ONCE]
            bodies = dict(self._read(some))
            yield _segment(key, [Kept(blob, self.known[blob], bodies.get(blob, b"")) for blob in some])

    def _append(self, segment: bytes) -> bool:
        """Append a segment in one write. False if that was not possible."""
        with self._file.open("a+b", buffering=0) as file:
            file.seek(0)
            # Another version of kt may have replaced the file, or somebody may have deleted it.
            if file.read(len(_FIRST_LINE)) != _FIRST_LINE or file.write(segment) != len(segment):
                return False
            _, length, places, _, _, tag = _HEAD.unpack(segment[: _HEAD.size])
            self._unread.append((file.tell() - len(segment) + _HEAD.size + length, places, tag))
            self._segments += 1
        return True

    def _replace(self, segments: Iterable[bytes]) -> None:
        """Replace the file by one with these segments, and load it."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = atomic_file.beside(self._file)
        try:
            with new.open("xb") as file:
                file.write(_FIRST_LINE)
                file.writelines(segments)
            new.replace(self._file)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        self._load()


def body(plain: Mapping[str, Any]) -> bytes:
    """A record's plain values as JSON; empty if that is too large to cache."""
    data = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    return data if len(data) <= LARGEST else b""


def _segment(key: bytes, items: Sequence[Kept]) -> bytes:
    """A segment: its head, the summaries, the blob id, length and tag of each record, and the records."""
    rows = [tuple(item.found) for item in items if not isinstance(item.found, str)]
    problems = [(item.blob, item.found) for item in items if isinstance(item.found, str)]
    whole = [item for item in items if item.body]
    data = marshal.dumps((rows, problems), _MARSHAL)
    places = marshal.dumps(
        [(item.blob, len(item.body), clone_key.tag(key, _BODY, item.body)) for item in whole], _MARSHAL
    )
    bodies = b"".join(item.body for item in whole)
    sizes = len(data), len(places), len(bodies)
    tags = clone_key.tag(key, _ROWS, _lengths(*sizes), data), clone_key.tag(key, _PLACES, places)
    return _HEAD.pack(_MARK, *sizes, *tags) + data + places + bodies


def _lengths(*sizes: int) -> bytes:
    """The lengths, which the tag of the summaries covers as well."""
    return struct.pack("<3I", *sizes)
