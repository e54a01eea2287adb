"""Finds escalations in a snapshot by their ids, without reading the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ..git.objects import FILE, TreeEntry
from . import layout
from .interface import Entry, Invalid, Used
from .reader import Reader, release
from .snapshot_files import File, SnapshotFiles

if TYPE_CHECKING:
    from ..model.record import Record
    from ..model.release import Release
    from .archives import Place


class Finder:
    """Finds escalations among the files and archives of one commit."""

    def __init__(self, reader: Reader, commit: str, queue_id: str | None) -> None:
        self._reader = reader
        self._location = reader.location
        self._commit = commit
        self._queue_id = queue_id
        self.files = SnapshotFiles(reader, queue_id)

    def learn(self, escalation_ids: Sequence[str]) -> None:
        """See `interface.Snapshot`."""
        names = (f"{name}{layout.SUFFIX}" for name in escalation_ids)
        deque(self._reader.read([file for name in names for file in self._named(name)[:1]]), maxlen=0)

    def find(self, escalation_id: str) -> Entry | Invalid | None:
        """See `interface.Snapshot`."""
        name = f"{escalation_id}{layout.SUFFIX}"
        found = self._named(name)
        if found:
            return next(iter(self._reader.read(found[:1])))
        places = self.places(escalation_id)[:1]
        return next(iter(self._reader.archived.at(places, escalation_id)), None) if places else None

    def _named(self, name: str) -> Sequence[File]:
        """The open and the resolved files of a name. There should be only one."""
        return [*filter(None, [self.files.open_file(name)]), *self.files.resolved_named(name)[-1:]]

    def places(self, escalation_id: str) -> Sequence[Place]:
        """The places of an id in archives. More than one is a violation."""
        archives = self.files.archives
        return self._reader.archived.index.find(archives, escalation_id) if archives else ()

    def paths(self, escalation_id: str) -> Sequence[str]:
        """See `interface.Snapshot`."""
        name = f"{escalation_id}{layout.SUFFIX}"
        files = [f"{layout.QUEUE}/{entry.name}" for entry in self.files.queue if entry.name == name]
        files += [path for path, _ in self.files.resolved_named(name)]
        files += [place.archive.path for place in self.places(escalation_id)]
        return [self._location.full(path) for path in files]

    def has(self, escalation_id: str) -> bool:
        """Whether there is a file with this id's name, or an archive that holds the id."""
        name = f"{escalation_id}{layout.SUFFIX}"
        if self.files.open_file(name) is not None or self.files.resolved_named(name):
            return True
        return bool(self.places(escalation_id))

    def release(self, record: Record) -> Release | Invalid | None:
        """See `interface.Snapshot`."""
        name, path = record.escalation_id, layout.release_path(record)
        entry = self.files.file_at(path)
        if entry is None:
            archives = self.files.archives_of("released", layout.month_of(path) or "")
            places = self._reader.archived.index.find(archives, name) if archives else ()
            found = self._reader.archived.release_at(places[0], name) if places else None
        else:
            found = self.used(path, entry)
        return found.release if isinstance(found, Used) else found

    def has_file(self, path: str) -> bool:
        """Whether there is a resolved record's file at a path, or an archive of its month that holds its id.

        Reads only the folders on the way.
        """
        if self.files.file_at(path) is not None:
            return True
        archives = self.files.archives_of("resolved", layout.month_of(path) or "")
        return bool(archives and self._reader.archived.index.find(archives, layout.id_of(path) or ""))

    def used(self, path: str, entry: TreeEntry) -> Used | Invalid:
        """The release in a file of `queue/released/`."""
        found: Release | str = "is not a plain file, as a release is"
        if entry.mode == FILE:
            [(_, data)] = self._reader.blobs([entry.oid])
            found = release(data) if isinstance(data, bytes) else data
        if isinstance(found, str):
            return Invalid(self._location.full(path), found, layout.released_id(path))
        return Used(found, self._location.full(path), entry.oid)

    def has_release(self, escalation_id: str) -> bool:
        """Whether any folder or archive of releases has a release of an id, valid or not."""
        if f"{escalation_id}{layout.SUFFIX}" in self.files.released_by_name:
            return True
        return bool(self.release_places(escalation_id))

    def release_files_of(self, escalation_id: str) -> list[tuple[str, str, str]]:
        """The path, mode and blob id of each release file of an id. For an archive with a release, only the path."""
        files = self.files.released_by_name.get(f"{escalation_id}{layout.SUFFIX}", ())
        found = [(path, entry.mode, entry.oid) for path, entry in files]
        return sorted(found) + [(place.archive.path, "", "") for place in self.release_places(escalation_id)]

    def release_places(self, escalation_id: str) -> Sequence[Place]:
        """The places of an id in archives of releases. More than one is a violation."""
        archives = self.files.release_archives
        return self._reader.archived.index.find(archives, escalation_id) if archives else ()

    def reopeners(self, escalation_id: str) -> Sequence[Record]:
        """See `interface.Snapshot`."""
        files = [
            (path, entry)
            for path in self._reopened.get(escalation_id, ())
            if (entry := self.files.file_at(path)) is not None
        ]
        read = [*self._reader.read(files)]
        if self.files.archives:
            archived = self._reader.archived
            read += archived.at(archived.index.reopening(self.files.archives, escalation_id))
        found = [item.record for item in read if isinstance(item, Entry)]
        fits = [record for record in found if record.reopens == escalation_id]
        return sorted(fits, key=lambda record: (record.raised_at, record.escalation_id))

    def is_reopened(self, escalation_id: str) -> bool:
        """Whether any record, in a file or an archive, reopens an id."""
        if escalation_id in self._reopened:
            return True
        archives = self.files.archives
        return bool(archives and self._reader.archived.index.reopening(archives, escalation_id))

    @cached_property
    def _reopened(self) -> Mapping[str, list[str]]:
        """The files that reopen an escalation, by its id."""
        found: dict[str, list[str]] = {}
        for path, origin in self._reader.reopenings.at(self._commit).items():
            found.setdefault(origin, []).append(path)
        return found

    def ids(self, *, resolved: bool, prefix: str = "") -> Sequence[str]:
        """See `interface.Snapshot`."""
        names = (
            (path for path, _ in self.files.resolved_files)
            if resolved
            else (entry.name for entry in self.files.queue)
        )
        found = [name for name in map(layout.id_of, names) if name and name.startswith(prefix)]
        if resolved and self.files.archives:
            found += self._reader.archived.index.beginning(self.files.archives, prefix)
        return found

    def files_of(self, escalation_id: str) -> list[tuple[str, str, str]]:
        """The path below the store's folder, the mode and the blob id of each file of an id.

        A record in an archive has the archive's path and the id of its own bytes, or no mode and id if the
        archive cannot be read.
        """
        name = f"{escalation_id}{layout.SUFFIX}"
        open_one = self.files.open_file(name)
        found = [(path, entry.mode, entry.oid) for path, entry in ([open_one] if open_one else [])]
        found += [(path, entry.mode, entry.oid) for path, entry in self.files.resolved_named(name)]
        for place in self.places(escalation_id):
            blob = self._reader.archived.blob_at(place, escalation_id)
            found.append((place.archive.path, FILE if blob else "", blob or ""))
        return found
