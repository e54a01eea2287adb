"""Reads records and releases out of archives. See docs/compaction.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ..errors import GitFailed
from ..model import archive_file
from . import layout
from .archive_index import Index
from .archives import Archive, Place
from .interface import Entry, Invalid, Used
from .reader import Reader, release

if TYPE_CHECKING:
    from .reader import BlobContent


class _Kept(NamedTuple):
    """An archive that was read: the ids of its two blobs, its files by id and in order, or what is wrong with it."""

    blobs: tuple[str | None, str | None]
    files: Mapping[str, bytes]
    items: tuple[tuple[str, bytes], ...]
    problem: str


class ArchivedRecords:
    """The records and releases in the archives of one clone, and the index that finds them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._location = reader.location
        self._repository = reader.repository
        # The archive that was read last: many ids of one are asked for one after another.
        self._kept: _Kept | None = None

    @cached_property
    def index(self) -> Index:
        """The index of all archives that this clone has read; its worktrees share it."""
        return Index(self._location.lock_folder, self._blobs, self._reader.progress)

    def contents(self, data: str | None, beside: str | None) -> Mapping[str, bytes]:
        """The files in an archive by escalation id, from the ids of its two blobs. Raises BadArchive, GitFailed."""
        return self._read(data, beside).files

    def _read(self, data: str | None, beside: str | None) -> _Kept:
        kept = self._kept
        if kept is None or kept.blobs != (data, beside):
            wanted = [oid for oid in (data, beside) if oid is not None]
            read = dict(zip(wanted, self._blobs(wanted), strict=True))
            try:
                files = archive_file.contents(read.get(data or ""), read.get(beside or ""))
                kept = _Kept((data, beside), files, tuple(files.items()), "")
            except archive_file.BadArchive as error:
                kept = _Kept((data, beside), {}, (), str(error))
            self._kept = kept
        if kept.problem:
            raise archive_file.BadArchive(kept.problem)
        return kept

    def _at(self, place: Place) -> tuple[str, bytes]:
        """The id and the bytes of the file at a place. Raises BadArchive, IndexError."""
        return self._read(place.archive.data, place.archive.ids).items[place.at]

    def parse(self, archive: Archive, escalation_id: str, oid: str, data: BlobContent) -> Entry | Invalid:
        """The record of an id in an archive. The entry has the archive's path and the blob id of the record's bytes."""
        path = self._location.full(archive.path)
        found = self._reader.record(oid, data)
        if isinstance(found, str):
            return Invalid(path, f"{escalation_id}: {found}", escalation_id)
        wrong = layout.misfiled(found, archive.name.month, escalation_id)
        return Invalid(path, wrong, escalation_id) if wrong else Entry(found, path, oid)

    def parse_release(self, archive: Archive, escalation_id: str, data: bytes) -> Used | Invalid:
        """The release of an id in an archive, with the archive's path and the blob id of its own bytes."""
        path, found = self._location.full(archive.path), release(data)
        if isinstance(found, str):
            return Invalid(path, f"{escalation_id}: {found}", escalation_id)
        wrong = layout.release_misfiled(found, archive.name.month, escalation_id)
        return Invalid(path, wrong, escalation_id) if wrong else Used(found, path, self._reader.blob_of(data))

    def all_in(self, archive: Archive) -> Iterator[Entry | Invalid]:
        """All records in one archive."""
        for name, data in self._files(archive):
            if isinstance(data, Invalid):
                yield data
            else:
                yield self.parse(archive, name, self._reader.blob_of(data), data)

    def releases_in(self, archive: Archive) -> Iterator[Used | Invalid]:
        """All releases in one archive of releases."""
        for name, data in self._files(archive):
            yield data if isinstance(data, Invalid) else self.parse_release(archive, name, data)

    def _files(self, archive: Archive) -> Iterator[tuple[str, bytes | Invalid]]:
        try:
            yield from self.contents(archive.data, archive.ids).items()
        except archive_file.BadArchive as error:
            yield "", Invalid(self._location.full(archive.path), str(error))

    def at(self, places: Sequence[Place], escalation_id: str | None = None) -> Iterator[Entry | Invalid]:
        """The records at places in archives. A record with another id than ``escalation_id`` is invalid."""
        for place in places:
            found = self._file_at(place, escalation_id)
            if isinstance(found, Invalid):
                yield found
            else:
                name, data = found
                yield self.parse(place.archive, name, self._reader.blob_of(data), data)

    def release_at(self, place: Place, escalation_id: str) -> Used | Invalid:
        """The release at a place in an archive. A release with another id is invalid."""
        found = self._file_at(place, escalation_id)
        return found if isinstance(found, Invalid) else self.parse_release(place.archive, *found)

    def _file_at(self, place: Place, escalation_id: str | None) -> tuple[str, bytes] | Invalid:
        """The id and the bytes of the file at a place."""
        try:
            name, data = self._at(place)
            if escalation_id not in (None, name):
                raise archive_file.BadArchive(f"holds {name} where the index has {escalation_id}")
        except (archive_file.BadArchive, IndexError) as error:
            return Invalid(self._location.full(place.archive.path), str(error), escalation_id)
        return name, data

    def blob_at(self, place: Place, escalation_id: str) -> str | None:
        """The blob id of the bytes at a place. None if the archive does not have the id there."""
        with suppress(archive_file.BadArchive, IndexError):
            name, data = self._at(place)
            return self._reader.blob_of(data) if name == escalation_id else None
        return None

    def bytes_at(self, places: Iterable[Place]) -> dict[str, bytes | str]:
        """The bytes of records at places in archives, by their blob ids; each archive is read once."""
        wanted: dict[Archive, list[int]] = {}
        for place in places:
            wanted.setdefault(place.archive, []).append(place.at)
        found: dict[str, bytes | str] = {}
        for archive, numbers in wanted.items():
            with suppress(archive_file.BadArchive, IndexError):
                files = [*self.contents(archive.data, archive.ids).values()]
                found.update((self._reader.blob_of(data), data) for data in (files[at] for at in numbers))
        return found

    def close(self) -> None:
        """Close the index."""
        if "index" in self.__dict__:
            self.index.close()

    def _blobs(self, oids: Sequence[str]) -> list[bytes | None]:
        """The bytes of archive files.

        None for a file that is too large to be an archive. Raises GitFailed for a missing file.
        """
        found = self._repository.objects.get(oids, largest=archive_file.MAX_ARCHIVE)
        for oid, item in zip(oids, found, strict=True):
            if item is None:
                words = f"{oid}, a part of the store's archives, is missing from this clone; run `git fetch`"
                raise GitFailed(command="cat-file", words=words)
        return [item.data if item else None for item in found]
