"""The results of the use cases, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import Failure, KtError
from .frozen import dataclass
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
    """The result of one line of a batch: the escalation, or the error.

    ``changed`` means that this commit raised it. A line with neither an id nor an error is an event that does
    not escalate.
    """

    number: int
    escalation_id: str | None = None
    changed: bool = False
    error: KtError | None = None


@dataclass(frozen=True)
class Result:
    """The result of an action: the records as they are now, and the commit that changed them.

    ``changed`` is False for a repeat. ``written`` counts the records that the commit changed, ``unchanged``
    the repeats among several, ``skipped`` the events that do not escalate. ``failed`` lists failures, with
    ``partial`` only. ``lines`` has the result of each line, if the input had lines. ``warnings`` are about
    the checkout and unreadable files, never about the effect.
    ``proposed`` means that the commit is on ``branch`` of the remote and nothing has changed yet: the records
    are as they would become, and ``changed`` is False. ``found`` says whether the same was proposed before,
    and ``request_url`` where to open a pull request, if that is known.
    ``decisions`` are proved decisions on escalations that were raised again. One has ``release`` True only if
    `wait` would return it now. Else ``decision_errors`` has the error that `wait` would raise, by id.
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
    """One escalation as `get` returns it: the record, and the place where it was read.

    ``reopened_by`` has the ids of escalations that reopen it, ``quorum`` the approvals that are missing,
    ``deadline`` the next moment at which time alone changes it, and ``overdue`` the reason if it needs
    attention.
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
    #: The amendment that is released in place of the request, the digest of what is released, and the use of
    #: the decision.
    amendment: Amendment | None = None
    digest: str | None = None
    release: Release | None = None
    #: The file of its release, if there is one that cannot be read.
    invalid: tuple[Invalid, ...] = ()


@dataclass(frozen=True)
class Decision:
    """A decision for a program, as `wait` and `release` return it.

    ``release`` says whether the request may be run: as the ``amendment`` if there is one, else unchanged.
    ``digest`` is that of the action that may be run. ``by`` are the people who decided, ``signed`` says
    whether every step of the record has a good signature by its author, and ``commit`` is the one that
    resolved it. ``release_id`` is set if this call has taken the decision for its one use: ``changed`` means
    that it took it just now. ``repeat`` means that it was already taken under that id, which does not permit
    you to run the request again.
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
        from .model.value import plain

        names = ("escalation_id", "request_id", "outcome", "release")
        return {
            **{name: getattr(self, name) for name in names},
            "amendment": plain(self.amendment) if self.amendment else None,
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
    """A recorded receipt, whether this call has written it, and in which commit."""

    escalation_id: str
    release_id: str
    receipt: Receipt
    commit: str | None
    changed: bool
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The receipt and its commit as JSON values."""
        from .model.value import plain

        names = ("escalation_id", "release_id", "receipt", "commit", "changed")
        return {name: getattr(self, name) for name in names} | {"receipt": plain(self.receipt)}


@dataclass(frozen=True)
class Listing:
    """A page of records, the cursor of the next page, and the files that could not be read."""

    records: tuple[Record, ...]
    next_cursor: str | None
    invalid: tuple[Invalid, ...]


@dataclass(frozen=True)
class Swept:
    """The due actions of a sweep, the result, and unreadable files.

    Due actions that failed are in ``result.failed``, and not in ``due``.
    """

    due: tuple[Due, ...]
    result: Result
    invalid: tuple[Invalid, ...]


@dataclass(frozen=True)
class Compacted:
    """The result of a compaction: the number of records for each month (`2026/03`) and for each new archive, by path.

    ``left`` are files of those months that stay as they are, with the reason. ``more`` means that one commit
    was not enough.
    """

    months: Mapping[str, int]
    archives: Mapping[str, int]
    left: tuple[Invalid, ...]
    more: bool
    result: Result


@dataclass(frozen=True)
class Moment:
    """One line of the log: an action on one escalation, or a compaction of many (None).

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
