"""The files of the store at one commit."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ..git.objects import FILE, NAMES, TREE, TreeEntry
from . import layout, trees
from .reader import Reader

if TYPE_CHECKING:
    from ..model.archive_file import ArchiveKind
    from .archives import Archive

#: A path below the store's folder and the entry there.
File = tuple[str, TreeEntry]
# From so many on, looking for a file by its name takes longer than listing all.
_FEW = 4
# The results of so many searches by name are remembered.
_NAMED = 100
# The levels of folders down to those of months, which hold archives.
_MONTHS = 3
# The form of a tree that holds plain files and nothing else, by whether ids are SHA-256.
_PLAIN = [re.compile(rb"(?:100644 [^\0/]+\0.{%d})*" % width, re.DOTALL) for width in (20, 32)]
_RESOLVED, _RELEASED = (folder.rpartition("/")[2] for folder in (layout.RESOLVED, layout.RELEASED))


class SnapshotFiles:
    """The files below one tree of `queue/` (None: there is no such folder). Each level is read when it is needed."""

    def __init__(self, reader: Reader, queue_id: str | None) -> None:
        self._reader = reader
        self._repository = reader.repository
        self._queue_id = queue_id
        self._folders: dict[str, Mapping[str, TreeEntry]] = {}
        # How often a file was looked for by its name.
        self._asked = 0

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

    def resolved_named(self, name: str) -> list[File]:
        """The files of that name below `queue/resolved/`. The first few are looked for without listing all others."""
        known = self._reader.named.get((self._queue_id, name))
        if known is not None:
            return known
        self._asked += 1
        if self._asked > _FEW or "below_resolved" in self.__dict__:
            if name in self._doubled:
                return [one for one in self.resolved_files if one[1].name == name]
            return [one for one in [self.resolved_by_name.get(name)] if one]
        if len(self._reader.named) >= _NAMED:
            self._reader.named.clear()
        found = self._reader.named[self._queue_id, name] = self._below(_RESOLVED, f" {name}\0".encode())
        return found

    def _below(self, top: str, wanted: bytes | None = None, depth: int | None = None) -> list[File]:
        """All files below a folder of the queue, or only those of a name, or only so many levels of folders."""
        level = [(f"{layout.QUEUE}/{e.name}", e.oid) for e in self.queue if e.mode == TREE and e.name == top]
        plain = _PLAIN[self._repository.object_format == "sha256"]
        files = []
        while level and depth != 0:
            found = self._repository.objects.get([oid for _, oid in level])
            deeper = []
            for (path, _), tree in zip(level, found, strict=True):
                data = tree.data if tree else None
                if wanted is not None and data is not None and wanted not in data and plain.fullmatch(data):
                    continue
                for entry in self._reader.own_entries(tree, path):
                    below = f"{path}/{entry.name}"
                    if entry.mode == TREE:
                        deeper.append((below, entry.oid))
                    elif entry.name not in layout.HARMLESS and (
                        wanted is None or wanted == f" {entry.name}\0".encode(*NAMES)
                    ):
                        files.append((below, entry))
            level = deeper
            depth = depth - 1 if depth is not None else None
        return files

    def file_at(self, path: str) -> TreeEntry | None:
        """The entry at a path below the store's top, which begins with `queue/`; only the folders on the way are read."""
        folder, _, name = path.rpartition("/")
        return self._folder(folder).get(name)

    def _folder(self, path: str) -> Mapping[str, TreeEntry]:
        """The entries of a folder by name, none if there is no such folder. Each is read once."""
        if path not in self._folders:
            above, _, name = path.rpartition("/")
            if not above:
                entries = self.queue
            else:
                entry = self._folder(above).get(name)
                entries = []
                if entry is not None and entry.mode == TREE:
                    [tree] = self._repository.objects.get([entry.oid])
                    entries = self._reader.own_entries(tree, path)
            self._folders[path] = {one.name: one for one in reversed(entries)}
        return self._folders[path]

    @cached_property
    def archives(self) -> tuple[Archive, ...]:
        """The archives, oldest month first. An archive needs both of its files."""
        return self._archives(self._below(_RESOLVED, depth=_MONTHS))

    @cached_property
    def release_archives(self) -> tuple[Archive, ...]:
        """The archives of releases, oldest month first."""
        return self._archives(self._below(_RELEASED, depth=_MONTHS))

    def archives_of(self, kind: ArchiveKind, month: str) -> tuple[Archive, ...]:
        """The archives of one kind and month; only the folders on the way are read."""
        folder = f"{layout.QUEUE}/{kind}/{month}"
        return self._archives(
            [(f"{folder}/{name}", one) for name, one in sorted(self._folder(folder).items())]
        )

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
        """The files of `resolved_files` by their names."""
        return {entry.name: (path, entry) for path, entry in self.resolved_files}

    @cached_property
    def _doubled(self) -> frozenset[str]:
        """The names of several resolved files."""
        counted = Counter(entry.name for _, entry in self.resolved_files)
        return frozenset(name for name, count in counted.items() if count > 1)

    @cached_property
    def released_by_name(self) -> Mapping[str, Sequence[File]]:
        """The files of releases by their names."""
        found: dict[str, list[File]] = {}
        for path, entry in self.released_files:
            found.setdefault(entry.name, []).append((path, entry))
        return found

    @cached_property
    def _queue_data(self) -> bytes:
        [found] = self._repository.objects.get([self._queue_id]) if self._queue_id else [None]
        return found.data if found and found.kind == "tree" and found.data else b""

    @cached_property
    def _queue_lines(self) -> Mapping[bytes, bytes]:
        """The unparsed entries of `queue/` by name, so that one can be found without parsing the others."""
        return self._repository.tree_lines(self._queue_data)


def _without(files: list[File], archives: Sequence[Archive]) -> list[File]:
    """The files that are not archives."""
    if not archives:
        return files
    parts = {oid for archive in archives for oid in (archive.data, archive.ids)}
    return [
        (path, entry) for path, entry in files if entry.oid not in parts or layout.archive_at(path) is None
    ]
