"""The clone's index of archives, which finds a record in them without reading them all.

It is a file under git's common dir that can be deleted at any time. It is filled from blobs, whose
ids name their content for ever, and every answer is held against the archives that the snapshot has; so it
is never wrong. Where it cannot be kept, one in memory takes its place.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..core import compaction
from .archives import Archive, Place
from .objects import chunks
from .port import Progress, told

# The number is that of the schema: another one is another file.
_FILE = "archives-1.db"
_WAIT_SECONDS = 10.0
# How many files of ids (some 40 KB each) and how many archives (1 MiB) are in memory at once.
_IDS_AT_ONCE = 64
_ARCHIVES_AT_ONCE = 16
_REOPENS = re.compile(rb'^reopens: "?(esc_[a-z0-9_-]+)"?$', re.MULTILINE)
# Greater than any character of an id.
_AFTER = "\x7f"

_SCHEMA = """
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS listed (number INTEGER PRIMARY KEY, blob TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS member
        (id TEXT, number INTEGER, at INTEGER, PRIMARY KEY (id, number)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS searched (number INTEGER PRIMARY KEY, blob TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS reopening
        (id TEXT, number INTEGER, at INTEGER, PRIMARY KEY (id, number, at)) WITHOUT ROWID;
    COMMIT;
"""

#: Gives the bytes of blobs, in order; None for what is too large to be an archive's.
Read = Callable[[Sequence[str]], Sequence[bytes | None]]
_Pairs = list[tuple[str, int]]


class Index:
    """Which id is in which archive, for one clone; for several threads and processes at once.

    ``read`` gives blobs of the repository; ``progress`` is told of filling it.
    """

    def __init__(self, folder: Path, read: Read, progress: Progress | None = None) -> None:
        self._folder = folder
        self._read = read
        self._progress = progress
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None
        # The archives that were last seen to be in it, by the table that they are in.
        self._seen: dict[str, Sequence[Archive]] = {}

    def find(self, archives: Sequence[Archive], escalation_id: str) -> list[Place]:
        """The places of an id in these archives; more than one only where that is a violation."""
        return self._places(_LISTED, archives, escalation_id)

    def reopening(self, archives: Sequence[Archive], escalation_id: str) -> list[Place]:
        """The places in these archives of what reopens an id."""
        return self._places(_SEARCHED, archives, escalation_id)

    def beginning(self, archives: Sequence[Archive], prefix: str) -> list[str]:
        """The ids in these archives that begin with a text, sorted."""
        with self._holding(_LISTED, archives) as known:
            have = {archive.ids for archive in archives}
            rows = known.execute(
                "SELECT id, blob FROM member JOIN listed USING (number) WHERE id >= ? AND id < ?",
                (prefix, prefix + _AFTER),
            )
            return sorted({name for name, blob in rows if blob in have})

    def close(self) -> None:
        """Close the file; it is opened again when something is asked."""
        with self._lock:
            self._drop()

    def _places(self, table: _Table, archives: Sequence[Archive], escalation_id: str) -> list[Place]:
        if not archives:
            return []
        with self._holding(table, archives) as known:
            asked = f"SELECT blob, at FROM {table.rows} JOIN {table.blobs} USING (number) WHERE id = ?"  # noqa: S608
            rows = known.execute(asked, (escalation_id,)).fetchall()
        if not rows:
            return []
        by_blob = {table.blob(archive): archive for archive in archives}
        places = [Place(by_blob[blob], at) for blob, at in rows if blob in by_blob]
        return sorted(places, key=lambda place: (place.archive.path, place.at))

    # --- filling it -------------------------------------------------------------------------------

    @contextmanager
    def _holding(self, table: _Table, archives: Sequence[Archive]) -> Iterator[sqlite3.Connection]:
        """The index with these archives in one of its tables."""
        with self._lock:
            if self._open is None or self._seen.get(table.blobs) is not archives:
                self._fill(table, archives)
                self._seen[table.blobs] = archives
            assert self._open  # noqa: S101 - filling it has opened it
            yield self._open

    def _fill(self, table: _Table, archives: Sequence[Archive]) -> None:
        try:
            self._fill_kept(table, archives)
        except (OSError, sqlite3.OperationalError):
            # The disk is full or may not be written, or somebody does not let go of it: memory will do.
            self._drop()
            self._open = self._made(":memory:")
            self._add(table, archives, self._open)

    def _fill_kept(self, table: _Table, archives: Sequence[Archive]) -> None:
        path = self._folder / _FILE
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._open = self._open or self._made(str(path))
            self._add(table, archives, self._open)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            # It is damaged, and can be made again.
            self._drop()
            for name in (path, path.with_name(f"{_FILE}-journal")):
                name.unlink(missing_ok=True)
            self._open = self._made(str(path))
            self._add(table, archives, self._open)

    def _drop(self) -> None:
        if self._open:
            self._open.close()
        self._open = None
        self._seen.clear()

    def _made(self, where: str) -> sqlite3.Connection:
        opened = sqlite3.connect(where, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            if not opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'reopening'").fetchone():
                opened.executescript(_SCHEMA)
        except sqlite3.Error:
            opened.close()
            raise
        return opened

    def _add(self, table: _Table, archives: Sequence[Archive], known: sqlite3.Connection) -> None:
        have = {row[0] for row in known.execute(f"SELECT blob FROM {table.blobs}")}  # noqa: S608
        missing = sorted({table.blob(archive) for archive in archives} - have)
        parts = [*chunks(missing, table.at_once)]
        for some in told(self._progress, "indexing archives", parts, len(parts)):
            found = [table.pairs(data) for data in self._read(some)]
            with _writing(known):
                for blob, pairs in zip(some, found, strict=True):
                    made = known.execute(f"INSERT OR IGNORE INTO {table.blobs} (blob) VALUES (?)", (blob,))  # noqa: S608
                    if made.rowcount:  # else another process was faster
                        rows = ((name, made.lastrowid, at) for name, at in pairs)
                        known.executemany(f"INSERT OR IGNORE INTO {table.rows} VALUES (?, ?, ?)", rows)  # noqa: S608


@dataclass(frozen=True)
class _Table:
    """One of the index's two tables: what it is filled from, and how."""

    rows: str
    blobs: str
    blob: Callable[[Archive], str]
    pairs: Callable[[bytes | None], _Pairs]
    at_once: int


def _members(data: bytes | None) -> _Pairs:
    """The ids in a file of ids, and their places; the index takes them as they come."""
    lines = (data or b"").decode("ascii", errors="replace").split("\n")
    return [(name, at) for at, name in enumerate(lines) if name]


def _reopenings(data: bytes | None) -> _Pairs:
    """The ids that an archive's records reopen, and the places of those records."""
    if data is None or b"\nreopens: " not in data:
        return []
    try:
        pieces = compaction.read(data)
    except compaction.BadArchive:
        return []
    found = ((_REOPENS.search(piece), at) for at, piece in enumerate(pieces))
    return [(match[1].decode(), at) for match, at in found if match]


_LISTED = _Table("member", "listed", lambda archive: archive.ids, _members, _IDS_AT_ONCE)
_SEARCHED = _Table("reopening", "searched", lambda archive: archive.data, _reopenings, _ARCHIVES_AT_ONCE)


@contextmanager
def _writing(known: sqlite3.Connection) -> Iterator[None]:
    known.execute("BEGIN IMMEDIATE")
    try:
        yield
        known.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            known.execute("ROLLBACK")
        raise
