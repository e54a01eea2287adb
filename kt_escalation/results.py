"""The results of the use cases, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import Failure, KtError
from .model.times import format_time
from .storage.interface import Invalid

if TYPE_CHECKING:
    from .model.record import Amendment, Record
    from .model.release import Receipt, Release
    from .model.vocabulary import Outcome
    from .rules.due_actions import Due
    from .rules.permissions import Quorum


#: The line number of an item that was not given in lines.
ALONE = 0


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
    ``decisions`` are of escalations that were raised again and are decided by now, as far as they are proved. One has
    ``release`` only if `wait` would give it now; else ``decision_errors`` has the error that `wait` would raise, by id.
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
    decisions: tuple[Decision, ...] = ()
    decision_errors: tuple[Failure, ...] = ()

    @property
    def decision(self) -> Decision | None:
        """The decision on the only escalation that was raised; None if it is open, or cannot be proved."""
        return self.decisions[0] if len(self.records) == 1 and self.decisions else None

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
    #: What the decision releases instead of what was proposed, the digest of what it releases, and its use.
    amendment: Amendment | None = None
    digest: str | None = None
    release: Release | None = None


@dataclass(frozen=True)
class Decision:
    """A decision that a program acts on, as `wait` and `release` give it.

    ``release`` says whether the request may be run: as it is, or where there is an ``amendment`` as that.
    ``digest`` is that of what may be run. ``by`` are the people who decided so, ``signed`` says whether every
    step of the record has a good signature by its author, ``commit`` is the one that resolved it.
    ``release_id`` is the caller's where this call has taken the decision for its one use. ``changed`` says that
    it took it just now, ``repeat`` that it had been taken under that id before, which is no leave to run again.
    """

    escalation_id: str
    request_id: str | None
    outcome: Outcome
    release: bool
    amendment: Amendment | None
    digest: str | None
    reason: str
    by: tuple[str, ...]
    signed: bool
    resolved_at: datetime
    commit: str
    record: Record
    path: str
    release_id: str | None = None
    release_commit: str | None = None
    changed: bool = False
    repeat: bool = False
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The decision as JSON values, flat."""
        from .model.record import plain

        amendment = plain(self.amendment) if self.amendment else None
        return {
            "escalation_id": self.escalation_id,
            "request_id": self.request_id,
            "outcome": self.outcome,
            "release": self.release,
            "amendment": amendment,
            "digest": self.digest,
            "reason": self.reason,
            "by": list(self.by),
            "signed": self.signed,
            "resolved_at": format_time(self.resolved_at),
            "commit": self.commit,
            "release_id": self.release_id,
        }


@dataclass(frozen=True)
class Received:
    """A receipt as it is on record, and whether this call has written it, in which commit."""

    escalation_id: str
    release_id: str
    receipt: Receipt
    commit: str | None
    changed: bool
    warnings: tuple[str, ...] = ()


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
    """One line of the timeline: what a commit did to one escalation, or by compaction to many (None).

    ``summary`` is that of the escalation, or its reason code.
    """

    commit: str
    at: datetime
    author: str
    email: str
    escalation_id: str | None
    action: str
    actor: str | None
    outcome: str | None
    text: str | None
    summary: str | None = None
