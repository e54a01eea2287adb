"""The files of the store at one commit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ..git.objects import FILE, TREE, TreeEntry
from . import layout, trees
from .reader import Reader

if TYPE_CHECKING:
    from ..model.archive_file import Kind
    from .archives import Archive

#: A path below the store's folder and the entry there.
File = tuple[str, TreeEntry]
_RESOLVED, _RELEASED = (folder.rpartition("/")[2] for folder in (layout.RESOLVED, layout.RELEASED))


class SnapshotFiles:
    """The files below one tree of `queue/` (None: there is no such folder). Each level is read when it is needed."""

    def __init__(self, reader: Reader, queue_id: str | None) -> None:
        self._reader = reader
        self._repository = reader.repository
        self._queue_id = queue_id

    @cached_property
    def queue(self) -> list[TreeEntry]:
        """All entries of `queue/` itself."""
        return trees.own(self._repository.parse_tree(self._queue_data), layout.QUEUE)

    @cached_property
    def open_files(self) -> list[File]:
        """The entries of `queue/` itself that are open escalations, or should be."""
        return [
            (f"{layout.QUEUE}/{entry.name}", entry)
            for entry in self.queue
            if entry.name not in layout.HARMLESS
            and (entry.mode != TREE or entry.name not in (_RESOLVED, _RELEASED))
        ]

    def open_file(self, name: str) -> File | None:
        """The entry of that name in `queue/` itself."""
        line = self._queue_lines.get(os.fsencode(name))
        if line is None:
            return None
        [entry] = self._repository.parse_tree(line)
        return f"{layout.QUEUE}/{name}", entry

    @cached_property
    def below_resolved(self) -> list[File]:
        """All files below `queue/resolved/`. git is asked once for each level of folders."""
        return self._below(_RESOLVED)

    @cached_property
    def below_released(self) -> list[File]:
        """All files below `queue/released/`."""
        return self._below(_RELEASED)

    def _below(self, name: str) -> list[File]:
        level = [(f"{layout.QUEUE}/{e.name}", e.oid) for e in self.queue if e.mode == TREE and e.name == name]
        files = []
        while level:
            found = self._repository.objects.get([oid for _, oid in level])
            deeper = []
            for (path, _), tree in zip(level, found, strict=True):
                for entry in self._reader.own_entries(tree, path):
                    below = f"{path}/{entry.name}"
                    if entry.mode == TREE:
                        deeper.append((below, entry.oid))
                    elif entry.name not in layout.HARMLESS:
                        files.append((below, entry))
            level = deeper
        return files

    def file_at(self, path: str) -> TreeEntry | None:
        """The entry at a path below the store's top, which begins with `queue/`; only the folders on the way are read."""
        folder, _, name = path.rpartition("/")
        return next((one for one in self._folder(folder) if one.name == name), None)

    def _folder(self, path: str) -> list[TreeEntry]:
        """The entries of a folder, empty if there is none."""
        _, *folders = path.split("/")
        entries, at = self.queue, layout.QUEUE
        for folder in folders:
            entry = next((one for one in entries if one.name == folder and one.mode == TREE), None)
            if entry is None:
                return []
            at = f"{at}/{folder}"
            [tree] = self._repository.objects.get([entry.oid])
            entries = self._reader.own_entries(tree, at)
        return entries

    @cached_property
    def archives(self) -> tuple[Archive, ...]:
        """The archives, oldest month first. An archive needs both of its files."""
        return self._archives(self.below_resolved)

    @cached_property
    def release_archives(self) -> tuple[Archive, ...]:
        """The archives of releases, oldest month first."""
        return self._archives(self.below_released)

    def archives_of(self, kind: Kind, month: str) -> tuple[Archive, ...]:
        """The archives of one kind and month; only the folders on the way are read."""
        folder = f"{layout.QUEUE}/{kind}/{month}"
        return self._archives([(f"{folder}/{one.name}", one) for one in self._folder(folder)])

    def _archives(self, files: Sequence[File]) -> tuple[Archive, ...]:
        from .archives import among

        found = among({path: e.oid for path, e in files if e.mode == FILE})
        if found and self._queue_id and self._repository.is_partial and self._reader.location.remote:
            self._reader.fetch_missing(self._queue_id, {archive.ids for archive in found})
        return found

    @cached_property
    def resolved_files(self) -> list[File]:
        """The files below `queue/resolved/` that are not archives."""
        return _without(self.below_resolved, self.archives)

    @cached_property
    def released_files(self) -> list[File]:
        """The files below `queue/released/` that are not archives."""
        return _without(self.below_released, self.release_archives)

    @cached_property
    def resolved_by_name(self) -> Mapping[str, File]:
        """The same files by their names."""
        return {entry.name: (path, entry) for path, entry in self.resolved_files}

    @cached_property
    def released_by_name(self) -> Mapping[str, File]:
        """The files of releases by their names."""
        return {entry.name: (path, entry) for path, entry in self.released_files}

    @cached_property
    def _queue_data(self) -> bytes:
        [found] = self._repository.objects.get([self._queue_id]) if self._queue_id else [None]
        return found.data if found and found.kind == "tree" and found.data else b""

    @cached_property
    def _queue_lines(self) -> Mapping[bytes, bytes]:
        """The unparsed entries of `queue/` by name, so that one can be found without parsing the others."""
        return self._repository.tree_lines(self._queue_data)


def _without(files: list[File], archives: Sequence[Archive]) -> list[File]:
    """Files without those of archives."""
    if not archives:
        return files
    parts = {oid for archive in archives for oid in (archive.data, archive.ids)}
    return [
        (path, entry) for path, entry in files if entry.oid not in parts or layout.archive_at(path) is None
    ]
