"""The results of the use cases, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from .errors import Failure, KtError
from .storage.interface import Invalid

if TYPE_CHECKING:
    from .model.record import Record
    from .rules.due_actions import Due
    from .rules.permissions import Quorum


class Line(NamedTuple):
    """What became of one line of a batch: the escalation that it asked for, or why there is none.

    ``changed`` says that this commit brought it. With neither an id nor an error the line is an event that
    does not escalate.
    """

    number: int
    escalation_id: str | None = None
    changed: bool = False
    error: KtError | None = None


@dataclass(frozen=True)
class Result:
    """What a command has done: the records as they are now and the commit that made them so.

    ``changed`` is False for a repeat. ``written`` counts the records that the commit changed,
    ``unchanged`` the repeats among several, ``skipped``
    events that do not escalate, ``failed`` what could not be had (with ``partial`` only); of what was
    given in lines, ``lines`` says what became of each.
    ``warnings`` are about the checkout and about files that cannot be read, never about the effect.
    ``proposed`` says that the commit is on ``branch`` of the remote and nothing has changed yet: the records
    are as they would be, ``changed`` is False, ``found`` whether the same was proposed before, and
    ``request_url`` where a pull request is opened, where that is known.
    """

    records: tuple[Record, ...]
    commit: str | None
    changed: bool
    written: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: tuple[Failure, ...] = ()
    lines: tuple[Line, ...] = ()
    warnings: tuple[str, ...] = ()
    replaced: tuple[Record, ...] = ()
    proposed: bool = False
    branch: str | None = None
    found: bool = False
    request_url: str | None = None

    @property
    def record(self) -> Record:
        """The only record of an action on one escalation."""
        [record] = self.records
        return record


@dataclass(frozen=True)
class Found:
    """One escalation as `get` gives it: the record and where exactly it was read.

    ``reopened_by`` are the ids of those that reopen it, ``quorum`` what is missing for a decision,
    ``deadline`` when time alone would change it, ``overdue`` why it wants attention by now.
    """

    record: Record
    path: str
    blob: str
    commit: str
    shown: str
    reopened_by: tuple[str, ...] = ()
    quorum: Quorum | None = None
    deadline: datetime | None = None
    overdue: str | None = None


@dataclass(frozen=True)
class Listing:
    """A page of records, the cursor of the next, and the files that could not be read."""

    records: tuple[Record, ...]
    next_cursor: str | None
    invalid: tuple[Invalid, ...]


@dataclass(frozen=True)
class Swept:
    """What a sweep found due and what came of it; with files that it could not read.

    What was due and could not be done is in ``result.failed``, and not in ``due``.
    """

    due: tuple[Due, ...]
    result: Result
    invalid: tuple[Invalid, ...]


@dataclass(frozen=True)
class Compacted:
    """What a compaction folded: how many of each month (`2026/03`) and into each new archive, by path.

    ``left`` are files of those months that stay as they are, and why; ``more`` says that one commit
    was not enough.
    """

    months: Mapping[str, int]
    archives: Mapping[str, int]
    left: tuple[Invalid, ...]
    more: bool
    result: Result


@dataclass(frozen=True)
class Moment:
    """One line of the timeline: what a commit did to one escalation, or by compaction to many (None)."""

    commit: str
    at: datetime
    author: str
    email: str
    escalation_id: str | None
    action: str
    actor: str | None
    outcome: str | None
    text: str | None
