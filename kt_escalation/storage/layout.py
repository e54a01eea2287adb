"""Maps ids to file paths and back. See docs/record.md."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from ..model import ids

if TYPE_CHECKING:
    from ..model.archive_file import ArchiveName
    from ..model.record import Record
    from ..model.release import Release

QUEUE = "queue"
RESOLVED = "queue/resolved"
RELEASED = "queue/released"
POLICIES = "policies"
SUFFIX = ".yaml"
#: The files below `policies/` that make a folder a store.
ROSTER_NAME, SETTINGS_NAME = "roster.yaml", "settings.yaml"

_KIND = r"queue/(resolved|released)"
_MONTH = re.compile(rf"{_KIND}/(\d{{4}}/\d\d)/\d\d/[^/]+", re.ASCII)
_ARCHIVE = re.compile(rf"{_KIND}/(\d{{4}}/\d\d)/archive-(\d{{4}}|[1-9]\d{{4,8}})\.(yaml|ids)", re.ASCII)

# In a path below the repository's top, where the store may be in a folder.
_BESIDE_RECORDS = re.compile(r"(?:.*/)?queue/(?:released|erased)/.*", re.ASCII | re.DOTALL)
_RELEASED = re.compile(rf"{RELEASED}/\d{{4}}/\d\d/\d\d/([^/]+){re.escape(SUFFIX)}", re.ASCII)

#: Files that git users put into folders and that say nothing about escalations.
HARMLESS = frozenset({".gitkeep", ".gitattributes", ".gitignore"})


def path_of(record: Record) -> str:
    """The path of a record's file below the store's top."""
    if record.resolution is None:
        return open_path(record.escalation_id)
    return f"{RESOLVED}/{day_of(record.resolution.resolved_at)}/{record.escalation_id}{SUFFIX}"


def day_of(moment: datetime) -> str:
    """The folders of a day, such as `2026/03/31`."""
    day = moment.astimezone(UTC)
    return f"{day.year:04}/{day.month:02}/{day.day:02}"


def open_path(escalation_id: str) -> str:
    """The path of an open escalation's file below the store's top."""
    return f"{QUEUE}/{escalation_id}{SUFFIX}"


@lru_cache(4096)
def id_of(path: str) -> str | None:
    """The id that a record's file is named for, None if the path is not that of a record."""
    if _BESIDE_RECORDS.fullmatch(path):
        return None
    name = path.rpartition("/")[2]
    stem = name.removesuffix(SUFFIX)
    return stem if stem != name and ids.is_escalation_id(stem) else None


def release_path(record: Record) -> str:
    """The path of the release of a resolved record, below the store's top."""
    return f"{RELEASED}/{path_of(record).removeprefix(RESOLVED + '/')}"


@lru_cache(4096)
def released_id(path: str) -> str | None:
    """The id that a release's file is named for, None if the path below the store's top is not that of a release."""
    found = _RELEASED.fullmatch(path)
    return found[1] if found and ids.is_escalation_id(found[1]) else None


def misplaced(record: Record, path: str) -> str | None:
    """What is wrong with a record at ``path``, or None if it belongs there."""
    expected = path_of(record)
    return None if path == expected else out_of_place(record.escalation_id, record.status, expected, path)


def out_of_place(escalation_id: str, status: str, expected: str, path: str) -> str:
    """What is wrong with a record that belongs at ``expected`` but is at ``path``."""
    if id_of(path) != escalation_id:
        return f"holds {escalation_id}, which its name does not say"
    return f"is {status} and belongs at {expected}"


def month_of(path: str) -> str | None:
    """The month, such as `2026/03`, of a path in a day's folder of resolved records or of releases; None for other paths."""
    found = _MONTH.fullmatch(path)
    return found[2] if found else None


def archive_at(path: str) -> ArchiveName | None:
    """The archive that a path belongs to, or None."""
    return _archive_at(path) if "/archive-" in path else None


@lru_cache(4096)
def _archive_at(path: str) -> ArchiveName | None:
    found = _ARCHIVE.fullmatch(path)
    if not found:
        return None
    # Imported here, because listing open escalations needs no archives.
    from ..model.archive_file import ArchiveName

    return ArchiveName(
        found[2], int(found[3]), found[4] == "ids", "resolved" if found[1] == "resolved" else "released"
    )


def archive_path(name: ArchiveName) -> str:
    """The path of an archive's file below the store's top."""
    return f"{QUEUE}/{name.series}/archive-{name.number:04}.{'ids' if name.is_ids else 'yaml'}"


def both(name: ArchiveName) -> tuple[str, str]:
    """The paths of an archive and of its file of ids, below the store's top."""
    return archive_path(replace(name, is_ids=False)), archive_path(replace(name, is_ids=True))


def misfiled(record: Record, month: str, escalation_id: str) -> str | None:
    """What is wrong with a record in a month's archive under an id, or None if it belongs there."""
    if record.escalation_id != escalation_id:
        return f"holds {record.escalation_id} where its ids say {escalation_id}"
    path = path_of(record)
    if month_of(path) != month:
        return f"holds {escalation_id}, which belongs at {path}"
    return None


def release_misfiled(release: Release, month: str, escalation_id: str) -> str | None:
    """What is wrong with a release in a month's archive under an id, or None if it belongs there."""
    if release.escalation_id != escalation_id:
        return f"holds {release.escalation_id} where its ids say {escalation_id}"
    day = release.resolved_at.astimezone(UTC)
    other = f"{day.year:04}/{day.month:02}"
    return None if other == month else f"holds the release of {escalation_id}, which belongs to {other}"


def last_archives(paths: Iterable[str]) -> dict[str, int]:
    """The highest archive number of each series (`resolved/2026/03`) among these paths."""
    last: dict[str, int] = {}
    for name in filter(None, map(archive_at, paths)):
        last[name.series] = max(last.get(name.series, 0), name.number)
    return last
