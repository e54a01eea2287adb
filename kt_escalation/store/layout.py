"""Where a record's file is: id to path and back (design, section 2)."""

from __future__ import annotations

from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING

from ..core import ids

if TYPE_CHECKING:
    from ..core.model import Record

QUEUE = "queue"
RESOLVED = "queue/resolved"
POLICIES = "policies"
SUFFIX = ".yaml"

#: Files that git users put into folders and that say nothing about escalations.
HARMLESS = frozenset({".gitkeep", ".gitattributes", ".gitignore"})


def path_of(record: Record) -> str:
    """The path of a record's file below the store's top."""
    if record.resolution is None:
        return open_path(record.escalation_id)
    day = record.resolution.resolved_at.astimezone(UTC)
    return f"{RESOLVED}/{day:%Y/%m/%d}/{record.escalation_id}{SUFFIX}"


def open_path(escalation_id: str) -> str:
    """The path of an open escalation's file below the store's top."""
    return f"{QUEUE}/{escalation_id}{SUFFIX}"


@lru_cache(4096)
def id_of(path: str) -> str | None:
    """The id that a file's name stands for, None if it is no name of a record."""
    name = path.rpartition("/")[2]
    stem = name.removesuffix(SUFFIX)
    return stem if stem != name and ids.is_escalation_id(stem) else None


def misplaced(record: Record, path: str) -> str | None:
    """What is wrong with a record standing at ``path``, None if nothing is."""
    expected = path_of(record)
    return None if path == expected else out_of_place(record.escalation_id, record.status, expected, path)


def out_of_place(escalation_id: str, status: str, expected: str, path: str) -> str:
    """What is wrong with a record that belongs at ``expected`` and stands at ``path``."""
    if id_of(path) != escalation_id:
        return f"holds {escalation_id}, which its name does not say"
    return f"is {status} and belongs at {expected}"
