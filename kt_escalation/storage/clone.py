"""A store in a git repository: opens the clone and puts its parts together.

| part | does |
|---|---|
| `location` | the store's folder and remote |
| `store_branch` | its branch |
| `snapshot` | the store at one commit |
| `newest_tip` | the newest commit, from the remote |
| `writer` | making and sending commits |
| `proposals` | the branches of proposed changes |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput, NoStoreBranch, NotAStore, UnreadableStore
from ..git.repository import Repository
from .interface import PROPOSALS, Author, Onto, Progress, Proposal, Request, Snapshot
from .location import Location
from .newest_tip import NewestTip
from .reader import Reader
from .snapshot import GitSnapshot
from .store_branch import StoreBranch

if TYPE_CHECKING:
    from ..model.record import Record
    from .proposals import Proposals
    from .writer import PreparedCommit, Writer


class GitStore:
    """The store in the repository that holds a path. Implements `interface.Port`.

    With ``quarantined`` the store also reads the objects of a push that a server hook is judging. ``goes_on`` lets each fetch
    check that the remote's branch was not rewritten. Raises NotAStore and GitFailed if there is no usable
    repository. Whatever reads the repository's settings raises BadInput if they are invalid.
    """

    def __init__(
        self,
        start: Path,
        *,
        quarantined: bool = False,
        progress: Progress | None = None,
        goes_on: Callable[[GitStore, str, str], bool] | None = None,
    ) -> None:
        self.progress = progress
        self.repository = Repository(start, quarantined=quarantined, progress=progress)
        self.location = Location(self.repository)
        self.reader = Reader(self.location, progress)
        self.branches = StoreBranch(self.location)
        self.newest_tip = NewestTip(self.reader, self.branches, partial(goes_on, self) if goes_on else None)

    @cached_property
    def writer(self) -> Writer:
        """Makes and sends commits."""
        from .writer import Writer

        return Writer(self.reader, self.newest_tip)

    @cached_property
    def _proposals(self) -> Proposals:
        from .proposals import Proposals

        return Proposals(self.reader, self.newest_tip)

    def close(self) -> None:
        """End the git process that reads objects, and close the index of archives."""
        self.reader.close()

    # --- where it is ------------------------------------------------------------------------------

    @property
    def root(self) -> str:
        """The store's folder, empty for the repository's top."""
        return self.location.root

    @property
    def remote(self) -> str | None:
        return self.location.remote

    @property
    def branch(self) -> str | None:
        """The store branch as this clone knows it, without asking the remote."""
        return self.branches.known

    @property
    def lock_folder(self) -> Path:
        """The folder of kt's own files in this clone."""
        return self.location.lock_folder

    def full(self, path: str) -> str:
        """A path below the store's folder as a path from the repository's top."""
        return self.location.full(path)

    def below(self, path: str) -> str:
        """A path from the repository's top as a path below the store's folder."""
        return self.location.below(path)

    # --- reading ----------------------------------------------------------------------------------

    def author(self) -> Author:
        return self.repository.author()

    def read(self, rev: str | None = None) -> GitSnapshot:
        commit = self.repository.commit_of(rev) if rev is not None else self._committed()
        if commit is None:
            if rev is not None:
                raise BadInput(problem=f"{rev!r} names no commit; see `git log --all`")
            hint = (
                "ask the remote with `kt escalation list --fetch`, or make a store with `kt escalation init`"
            )
            raise NotAStore(
                where=str(self.location.where),
                problem="it has no commit yet",
                hint=hint if self.remote else NotAStore.hint,
            )
        return self.at(commit)

    def _committed(self) -> str | None:
        """The local store branch if it contains the remote-tracking one, else the remote-tracking one."""
        branch = self.branch
        if branch is None:
            return self.repository.commit_of("HEAD")
        local = self.repository.tip_of(f"refs/heads/{branch}")
        tracking = self.repository.tip_of(f"refs/remotes/{self.remote}/{branch}") if self.remote else None
        if local and tracking and local != tracking:
            return local if self.repository.is_ancestor(tracking, local) else tracking
        if not (local or tracking) and self.repository.config.get("kt.branch"):
            raise NoStoreBranch(
                problem=f"kt.branch is {branch}, and there is no such branch here",
                hint="fetch it, or name another with `git config kt.branch NAME`",
            )
        return local or tracking or self.repository.commit_of("HEAD")

    def at(self, commit: str) -> GitSnapshot:
        """The store at a commit. Raises NotAStore."""
        return GitSnapshot(self.reader, commit)

    def holds(self, commit: str) -> bool:
        """Whether a commit has a store in the configured folder, even one that cannot be read."""
        with suppress(UnreadableStore):
            try:
                self.at(commit)
            except NotAStore:
                return False
        return True

    def blob_id(self, record: Record) -> str:
        from . import yaml_text

        return self.reader.blob_of(yaml_text.dumps(record))

    def contains(self, snapshot: Snapshot, commit: str) -> bool:
        return self.repository.is_ancestor(commit, snapshot.revision)

    def proposed(self, revision: str) -> Mapping[str, str]:
        """The actions proposed on known branches of the remote that ``revision`` lacks, by escalation id."""
        found = {}
        for branch in self.repository.unmerged(self.remote, PROPOSALS, revision) if self.remote else ():
            action, _, escalation_id = branch.removeprefix(PROPOSALS).partition("/")
            found[escalation_id] = action
        return found

    # --- the newest commit ------------------------------------------------------------------------

    def tip(self, timeout: float) -> GitSnapshot:
        return self.newest_tip.tip(timeout)

    def newest(self, timeout: float, max_age: float = 0.0) -> GitSnapshot:
        return self.newest_tip.newest(timeout, max_age)

    def guess(self, timeout: float) -> GitSnapshot:
        return self.newest_tip.guess(timeout)

    def confirm(self, snapshot: Snapshot, timeout: float) -> None:
        self.newest_tip.confirm(snapshot, timeout)

    # --- writing ----------------------------------------------------------------------------------

    @contextmanager
    def writing(self, timeout: float) -> Iterator[None]:
        from . import lock

        with lock.held(self.lock_folder, timeout, self.progress):
            try:
                yield
            finally:
                self.newest_tip.stop_asking()

    def turn(self, meanwhile: Callable[..., None]) -> AbstractContextManager[None]:
        return self.newest_tip.turn(meanwhile)

    def prepare(self, request: Request, proposal: Onto | None = None) -> PreparedCommit:
        return self.writer.prepare(request, proposal)

    def follow(self, revision: str) -> str | None:
        return self.writer.follow(revision)

    # --- proposals --------------------------------------------------------------------------------

    def require_proposable(self, branch: str) -> None:
        self._proposals.require_proposable(branch)

    def proposal(self, branch: str, tip: Snapshot, timeout: float) -> Proposal | None:
        return self._proposals.proposal(branch, tip, timeout)

    def proposals(self, escalation_id: str, tip: Snapshot, timeout: float) -> Mapping[str, Proposal]:
        return self._proposals.of(escalation_id, tip, timeout)

    def request_address(self, branch: str) -> str | None:
        return self._proposals.request_address(branch, self.writer.said)
