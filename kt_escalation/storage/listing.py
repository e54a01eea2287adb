"""Lists the escalations of a snapshot as summaries, from the clone's cache if possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import GitFailed
from ..git.objects import FILE, chunks
from ..model.progress import counted
from ..model.summary import RecordSummary, summary_of
from . import cache, layout
from .finder import Finder
from .interface import Entry, Invalid
from .reader import READING, load, refused

if TYPE_CHECKING:
    from .archives import Place

_FIRST_FEW = 8


class Summaries(Finder):
    """The summaries of one snapshot, and the records behind them."""

    def open_rows(self, *, whole: bool) -> tuple[list[RecordSummary], list[Invalid]]:
        """The summaries of open escalations, and the files that cannot be read. ``whole`` also remembers the records.

        Blobs that the cache does not know are read and added to it.
        """
        reader, files = self._reader, self.files.open_files
        known = reader.cache.known
        new = [entry.oid for path, entry in files if entry.oid not in known and not refused(path, entry)]
        unread = self._learn(new, whole) if new else {}
        known = reader.cache.known
        rows: list[RecordSummary] = []
        invalid: list[Invalid] = []
        for path, entry in files:
            row = known.get(entry.oid) or unread.get(entry.oid, "")
            if isinstance(row, RecordSummary) and row.path == path and entry.mode == FILE:
                rows.append(row)
                continue
            problem = refused(path, entry)
            if problem is None and isinstance(row, RecordSummary):
                problem = layout.out_of_place(row.escalation_id, row.status, row.path, path)
            invalid.append(Invalid(reader.location.full(path), problem or str(row), layout.id_of(path)))
        reader.cache.trim([entry.oid for _, entry in files])
        return rows, invalid

    def entries(self, rows: Sequence[RecordSummary]) -> Iterator[Entry]:
        """See `interface.Snapshot`."""
        from ..model.record import Record

        reader = self._reader
        for some in _growing(rows):
            places = self._places_of(some)
            held = reader.known(row.blob for row in some)
            missing = [row for row in some if row.blob not in held]
            kept = reader.cache.bodies(row.blob for row in missing)
            if places:
                held.update(reader.archived.bytes_at(places[row] for row in missing if row in places))
            held.update(
                reader.blobs([row.blob for row in missing if row not in places and row.blob not in kept])
            )
            for row in some:
                data = held.get(row.blob, "")
                if row.blob in kept:
                    data = Record.parse(kept[row.blob])
                found = (
                    reader.archived.parse(places[row].archive, row.escalation_id, row.blob, data)
                    if row in places
                    else reader.parse(row.path, row.blob, data)
                )
                if not isinstance(found, Entry):
                    raise GitFailed(command="cat-file", words=f"{row.path} is not there any more")
                yield found

    def plain(self, rows: Sequence[RecordSummary]) -> Iterator[dict[str, Any]]:
        """See `interface.Snapshot`."""
        for some in chunks(rows, cache.AT_ONCE):
            kept = self._reader.cache.bodies(row.blob for row in some)
            entries = self.entries([row for row in some if row.blob not in kept])
            for row in some:
                yield kept[row.blob] if row.blob in kept else next(entries).record.as_dict()

    def _learn(self, oids: Sequence[str], whole: bool) -> Mapping[str, str]:
        """Read blobs into the cache; returns the ids of those that could not be read, with the reason."""
        reader = self._reader
        if self._queue_id and reader.repository.is_partial and reader.location.remote:
            reader.fetch_missing(self._queue_id)
        unread: dict[str, str] = {}
        parts = [*chunks(oids, cache.AT_ONCE)]
        for some in counted(reader.progress, READING, parts, len(parts)):
            kept = []
            for oid, data in reader.blobs(some):
                if isinstance(data, str):
                    unread[oid] = data
                    continue
                found = load(data)
                if isinstance(found, str):
                    kept.append(cache.Kept(oid, found))
                    continue
                if whole:
                    reader.remember(oid, found)
                row = summary_of(found, layout.path_of(found), oid)
                kept.append(cache.Kept(oid, row, cache.body(found.as_dict())))
            if kept:
                reader.cache.add(kept)
        return unread

    def _places_of(self, rows: Sequence[RecordSummary]) -> dict[RecordSummary, Place]:
        """The places of those records that are in archives, by summary."""
        by_name = self.files.resolved_by_name if any(row.status == "resolved" for row in rows) else {}
        moved = [
            row
            for row in rows
            if row.status == "resolved" and f"{row.escalation_id}{layout.SUFFIX}" not in by_name
        ]
        return {row: places[0] for row in moved if (places := self.places(row.escalation_id))}


def _growing(rows: Sequence[RecordSummary]) -> Iterator[Sequence[RecordSummary]]:
    """The summaries in batches that grow, because the first match often comes early."""
    at, size = 0, _FIRST_FEW
    while at < len(rows):
        yield rows[at : at + size]
        at, size = at + size, min(2 * size, cache.AT_ONCE)
