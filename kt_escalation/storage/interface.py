"""The interface of a store: snapshots to read, and commits that either land or report why not.

The git store and the in-memory store of the tests implement it. One contract suite tests both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..frozen import dataclass
from ..git.people import Author as Author
from ..model.progress import Progress as Progress
from ..model.summary import RecordSummary

if TYPE_CHECKING:
    from ..model.record import Record
    from ..model.release import Release
    from ..policies.policy_file import PolicyFile


class Stale(Exception):
    """Another commit was first: read again and decide again. After a push, the text is the remote's message."""


class WrongGuess(Stale):
    """A guess was wrong: the newest state is ``newest``. Nothing was sent."""

    def __init__(self, newest: Snapshot) -> None:
        super().__init__()
        self.newest = newest


class Unanswered(Exception):
    """A commit was sent and no answer came. Read the store to learn whether it landed."""


class Entry(NamedTuple):
    """A record as it stands in a snapshot: its path in the repository and the id of its bytes."""

    record: Record
    path: str
    blob: str


class Used(NamedTuple):
    """A release as it stands in a snapshot: its path in the repository and the id of its bytes."""

    release: Release
    path: str
    blob: str


class Invalid(NamedTuple):
    """A file that should hold a record or a release, but does not."""

    path: str
    error: str
    escalation_id: str | None = None


class Change(NamedTuple):
    """One record to write, in place of ``old`` if there was one. ``removed`` lists other files to delete."""

    old: Entry | None
    new: Record
    removed: tuple[str, ...] = ()


class Snapshot(Protocol):
    """The store at one revision. It never changes."""

    @property
    def revision(self) -> str:
        """The commit id."""

    def open(self) -> Iterator[Entry | Invalid]:
        """All open escalations, and the files that cannot be read."""

    def resolved(self) -> Iterator[Entry | Invalid]:
        """All resolved escalations, and the files that cannot be read."""

    def rows(self, *, resolved: bool) -> tuple[list[RecordSummary], list[Invalid]]:
        """The summaries of all open or all resolved escalations, and the files that cannot be read."""

    def entries(self, rows: Sequence[RecordSummary]) -> Iterator[Entry]:
        """The whole records of summaries that this snapshot returned."""

    def plain(self, rows: Sequence[RecordSummary]) -> Iterator[dict[str, Any]]:
        """The same as plain JSON values, with keys in the record's order."""

    def learn(self, escalation_ids: Sequence[str]) -> None:
        """Read several escalations at once, so that `find` need not ask for each."""

    def find(self, escalation_id: str) -> Entry | Invalid | None:
        """The escalation with that id, open or resolved."""

    def paths(self, escalation_id: str) -> Sequence[str]:
        """Every file below `queue/` with that id's name."""

    def release(self, record: Record) -> Release | Invalid | None:
        """The release of a resolved record, with its receipt. Invalid if its file does not hold one."""

    def reopeners(self, escalation_id: str) -> Sequence[Record]:
        """The escalations, open or resolved, that reopen this one, oldest first."""

    def ids(self, *, resolved: bool, prefix: str = "") -> Sequence[str]:
        """The ids of open or of resolved escalations that begin with ``prefix``. Does not read the records."""

    def policies(self, *, kept: bool = False) -> tuple[str | None, Mapping[str, PolicyFile]]:
        """The tree id of `policies/`, and its parsed files by path below the store's top.

        ``kept`` allows values from this clone's cache. Use it only for a step that is judged again before
        anybody relies on it.
        """


#: The prefix of the branches on which changes are proposed by default.
PROPOSALS = "kt/"


class Proposal(NamedTuple):
    """What a branch of the remote adds to the store branch.

    ``merged``: the store branch contains all of it. Otherwise ``tip`` is the store on the branch, and ``base``
    the store that the branch started from (None if there was none). ``emails`` are the authors of the added
    commits, and ``paths`` the files that they change.
    """

    commit: str
    merged: bool = False
    tip: Snapshot | None = None
    base: Snapshot | None = None
    emails: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Request:
    """A commit to make: these changes on top of ``base``.

    ``others`` maps the paths of other files to their new content (None: delete).
    """

    base: Snapshot
    changes: Sequence[Change]
    message: str
    author: Author
    when: datetime
    others: Mapping[str, bytes | None] = field(default_factory=dict)


class Onto(NamedTuple):
    """A branch to propose a change on, and the commit that it is at (None: the branch does not exist)."""

    branch: str
    was: str | None


class Prepared(Protocol):
    """A commit that is ready to be sent."""

    @property
    def commit(self) -> str:
        """The commit's id."""

    def send(self, timeout: float) -> Exception | None:
        """Send it. Returns None once the ref has moved, or the error for why it has not and will not.

        That error is Stale if another commit was first, Interrupted after ^C, else PushRefused, RemoteFault,
        RemoteUnreachable, BranchTaken, GitLocked or GitFailed. An exception that is *raised* (Unanswered,
        KeyboardInterrupt, OSError) says nothing about the ref.
        """

    def settle(self) -> None:
        """Update this clone after the commit has landed. An error here does not change that it has landed."""


class Port(Protocol):
    """A store that can be read and written."""

    def writing(self, timeout: float) -> AbstractContextManager[None]:
        """Take the clone's lock. Raises LockTimeout."""

    def turn(self, meanwhile: Callable[..., None]) -> AbstractContextManager[None]:
        """Wait, for a limited time, for a turn among this host's processes that write to the same remote.

        ``meanwhile`` is called if the turn cannot be had at once, and may be called again with a newer snapshot.
        Turns only avoid lost races. Correctness does not depend on them, and waiting raises no error.
        """

    def author(self) -> Author:
        """The person who acts. Raises NoIdentity."""

    def read(self, rev: str | None = None) -> Snapshot:
        """The committed state that is known here, without asking the remote.

        Raises NotAStore, and BadInput for an unknown ``rev``.
        """

    def tip(self, timeout: float) -> Snapshot:
        """The newest state, from the remote if there is one.

        Raises RemoteUnreachable, HistoryRewritten, NoStoreBranch, NotAStore.
        """

    def newest(self, timeout: float, max_age: float = 0.0) -> Snapshot:
        """The newest state for readers, at most ``max_age`` seconds old. Does not take the clone's lock.

        Callers in one clone that ask at the same time share one fetch. Raises as `tip` does.
        """

    def guess(self, timeout: float) -> Snapshot:
        """The state that is probably the newest, at once, while a fetch runs in the background.

        A commit on top of it lands only if the guess is right. For any other use, call `confirm` first. Raises as
        `tip` does.
        """

    def confirm(self, snapshot: Snapshot, timeout: float) -> None:
        """Raise WrongGuess if a guess is not the newest state. Raises as `tip` does."""

    def prepare(self, request: Request, proposal: Onto | None = None) -> Prepared:
        """Make the commit, ready to be sent. Moves no ref.

        With a ``proposal`` the commit is for that branch of the remote, not for the store branch.
        Raises PathStaged, GitLocked, GitFailed, OSError.
        """

    def require_proposable(self, branch: str) -> None:
        """Raise BadInput if nothing can be proposed on that branch. An empty name stands for the default."""

    def proposal(self, branch: str, tip: Snapshot, timeout: float) -> Proposal | None:
        """What that branch of the remote adds to ``tip``, or None if there is no such branch.

        Raises RemoteUnreachable, Stale if it moves meanwhile, BadInput for the store branch itself.
        """

    def proposals(self, escalation_id: str, tip: Snapshot, timeout: float) -> Mapping[str, Proposal]:
        """What the branches named `kt/<action>/<id>` of the remote add to ``tip``, by branch. Raises as `proposal`."""

    def request_address(self, branch: str) -> str | None:
        """The address at which to open a pull request from that branch, or None if it is unknown."""

    def blob_id(self, record: Record) -> str:
        """The blob id of the record's canonical bytes."""

    def contains(self, snapshot: Snapshot, commit: str) -> bool:
        """Whether a commit is part of the snapshot's history."""

    def follow(self, revision: str) -> str | None:
        """Update the checkout if that is safe. Returns what stood in the way, or None."""

    @property
    def remote(self) -> str | None:
        """The remote's name, or None if there is none."""
