"""The archives in a snapshot, and the places of records in them.

`model.archive_file` has their format. See docs/compaction.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..frozen import dataclass
from ..model.archive_file import ArchiveName
from . import layout


@dataclass(frozen=True)
class Archive:
    """One archive of a snapshot: its path below the store's top and the ids of its two blobs."""

    name: ArchiveName
    path: str
    data: str
    ids: str


@dataclass(frozen=True)
class Place:
    """The place of a record: an archive, and the record's position in it, counted from 0."""

    archive: Archive
    at: int


def among(files: Mapping[str, str]) -> tuple[Archive, ...]:
    """The archives among plain files (path to blob id), oldest month first. An archive needs both of its files."""
    found = {name: (path, oid) for path, oid in files.items() if (name := layout.archive_at(path))}
    return tuple(
        Archive(name, path, oid, found[beside][1])
        for name, (path, oid) in sorted(found.items(), key=lambda item: (item[0].series, item[0].number))
        if not name.is_ids and (beside := replace(name, is_ids=True)) in found
    )
