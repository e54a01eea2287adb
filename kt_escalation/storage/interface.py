"""The interface of a store: snapshots to read, and commits that either land or report why not.

The git store and the in-memory store of the tests implement it. One contract suite tests both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..git.people import Author as Author
from ..model.progress import Progress as Progress
from ..model.summary import Row

if TYPE_CHECKING:
    from ..model.record import Record
    from ..policies.policy_file import PolicyFile


class Stale(Exception):
    """Somebody else's commit came first: read again and decide again. Of a push it tells what the remote said."""


class WrongGuess(Stale):
    """What was taken for the newest state was not: it is ``newest``. Nothing was sent."""

    def __init__(self, newest: Snapshot) -> None:
        super().__init__()
        self.newest = newest


class Unanswered(Exception):
    """A commit was sent and no answer came; whether it landed must be learnt by reading."""


class Entry(NamedTuple):
    """A record as it stands in a snapshot: its path in the repository and the id of its bytes."""

    record: Record
    path: str
    blob: str


class Invalid(NamedTuple):
    """A file that should hold a record and does not."""

    path: str
    error: str
    escalation_id: str | None = None


class Change(NamedTuple):
    """One record written, in place of ``old`` if there was one; ``removed`` are files that go with it."""

    old: Entry | None
    new: Record
    removed: tuple[str, ...] = ()


class Snapshot(Protocol):
    """The store at one revision; it never changes."""

    @property
    def revision(self) -> str:
        """The commit id."""

    def open(self) -> Iterator[Entry | Invalid]:
        """All that is queued or claimed, with what cannot be read."""

    def resolved(self) -> Iterator[Entry | Invalid]:
        """All that is resolved, with what cannot be read."""

    def rows(self, *, resolved: bool) -> tuple[list[Row], list[Invalid]]:
        """A row for each that is open, or resolved, and what cannot be read."""

    def entries(self, rows: Sequence[Row]) -> Iterator[Entry]:
        """The whole records of rows that this snapshot gave."""

    def plain(self, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        """The same as plain JSON values, in the order of the keys."""

    def find(self, escalation_id: str) -> Entry | Invalid | None:
        """The escalation with that id, open or resolved."""

    def paths(self, escalation_id: str) -> Sequence[str]:
        """Every file below `queue/` that is named for that id."""

    def reopeners(self, escalation_id: str) -> Sequence[Record]:
        """The escalations, open or resolved, that reopen that one, oldest first."""

    def ids(self, *, resolved: bool, prefix: str = "") -> Sequence[str]:
        """The ids of the open ones, or of the resolved ones, that begin so; without reading the records."""

    def policies(self) -> tuple[str | None, Mapping[str, PolicyFile]]:
        """The tree id of `policies/` and its files by path below the store's top."""


#: What the names of branches begin with on which changes are proposed, where nobody gives another.
PROPOSALS = "kt/"


class Proposal(NamedTuple):
    """What a branch of the remote holds beside the store branch.

    ``merged`` says that the store branch has it all by now. Else ``tip`` is the store as the branch would
    have it and ``base`` the store that it was made on, None where there is none; ``emails`` are the authors
    and ``paths`` the files of what it adds.
    """

    commit: str
    merged: bool = False
    tip: Snapshot | None = None
    base: Snapshot | None = None
    emails: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Request:
    """A commit that is asked for: these changes on top of ``base``.

    ``others`` are files that are written (None: deleted) beside the records that change, by path.
    """

    base: Snapshot
    changes: Sequence[Change]
    message: str
    author: Author
    when: datetime
    others: Mapping[str, bytes | None] = field(default_factory=dict)


class Onto(NamedTuple):
    """A branch that a change is proposed on, and the commit that it is at; None if there is no such branch."""

    branch: str
    was: str | None


class Prepared(Protocol):
    """A commit that is ready to be sent."""

    @property
    def commit(self) -> str:
        """Its id."""

    def send(self, timeout: float) -> Exception | None:
        """Send it; returns the moment the ref has moved, or why it has not and will not.

        Such an answer is Stale if somebody was first, Interrupted after ^C, else PushRefused, RemoteFault,
        RemoteUnreachable, BranchTaken, GitLocked or GitFailed. Whatever is *raised* says nothing about the ref:
        Unanswered, KeyboardInterrupt, OSError.
        """

    def settle(self) -> None:
        """Let this clone know that it has landed. Nothing that fails here changes that it has."""


class Port(Protocol):
    """A store that can be read and written."""

    def writing(self, timeout: float) -> AbstractContextManager[None]:
        """Take the clone's lock. Raises LockTimeout."""

    def turn(self) -> AbstractContextManager[None]:
        """Wait for one's turn among those on this host who write to the same remote; never in vain for long.

        It only spares lost races: nothing that is right needs it, and it raises nothing.
        """

    def author(self) -> Author:
        """Who is acting. Raises NoIdentity."""

    def read(self, rev: str | None = None) -> Snapshot:
        """The committed state, at once and offline. Raises NotAStore, BadInput for an unknown ``rev``."""

    def tip(self, timeout: float) -> Snapshot:
        """The newest state, from the remote where there is one.

        Raises RemoteUnreachable, HistoryRewritten, NoStoreBranch, NotAStore.
        """

    def newest(self, timeout: float, max_age: float = 0.0) -> Snapshot:
        """The newest state for whoever only reads, without the clone's lock; no older than ``max_age`` seconds.

        All who ask at once in one clone share one answer of the remote. Raises as `tip` does.
        """

    def guess(self, timeout: float) -> Snapshot:
        """What is probably the newest state, at once; the remote is asked meanwhile.

        Whatever is committed on it lands only if it is. Any other answer is good only once `confirm` has
        said so. Raises as `tip` does.
        """

    def confirm(self, snapshot: Snapshot, timeout: float) -> None:
        """Raise WrongGuess if a guess is not the newest state. Raises as `tip` does."""

    def prepare(self, request: Request, proposal: Onto | None = None) -> Prepared:
        """Make the commit that is asked for, so that nothing is left to do but to send it; no ref moves.

        With a ``proposal`` it is for that branch of the remote, and the store branch stays as it is.
        Raises PathStaged, GitLocked, GitFailed, OSError.
        """

    def require_proposable(self, branch: str) -> None:
        """Raise BadInput where nothing can be proposed under that name; empty is a name yet to be made."""

    def proposal(self, branch: str, tip: Snapshot, timeout: float) -> Proposal | None:
        """What that branch of the remote holds beside ``tip``, None if there is no such branch.

        Raises RemoteUnreachable, Stale if it moves meanwhile, BadInput for the store branch itself.
        """

    def request_address(self, branch: str) -> str | None:
        """Where a pull request from that branch is opened, None where that is not known."""

    def blob_id(self, record: Record) -> str:
        """The id that the record's canonical bytes have."""

    def contains(self, snapshot: Snapshot, commit: str) -> bool:
        """Whether a commit is part of the snapshot's history."""

    def follow(self, revision: str) -> str | None:
        """Bring the checkout along where that is safe; what stood in the way, else None."""

    @property
    def remote(self) -> str | None:
        """The remote's name, None without one."""
