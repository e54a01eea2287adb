"""Makes commits for the store branch or a proposal, and sends them. See docs/design.md, *How a step is committed*."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..errors import BranchTaken
from ..git.move import Move
from ..model.progress import counted
from . import commit_builder, layout
from .commit_message import in_folder
from .interface import Author, Change, Onto, Request, Stale
from .local_branch import LocalBranch
from .newest_tip import NewestTip
from .pusher import Pusher
from .reader import Reader


@dataclass
class PreparedCommit:
    """A written commit, ready to be sent: by a push to a branch that is at ``lease``, or by a ``move`` in this clone.

    An empty ``lease`` means that the branch does not exist.
    """

    writer: Writer
    commit: str
    branch: str
    lease: str = ""
    proposed: bool = False
    move: Move | None = None

    def send(self, timeout: float) -> Exception | None:
        return self.writer.send(self, timeout)

    def settle(self) -> None:
        self.writer.settle(self)


class Writer:
    """Prepares, sends and settles the commits of one clone."""

    def __init__(self, reader: Reader, newest: NewestTip) -> None:
        self._reader = reader
        self._location = reader.location
        self._repository = reader.repository
        self._newest = newest
        self._pusher = Pusher(reader, newest)
        self._local_branch = LocalBranch(reader)

    @property
    def said(self) -> str:
        """The remote's message about the last push."""
        return self._pusher.said

    def prepare(self, request: Request, proposal: Onto | None) -> PreparedCommit:
        """See `interface.Port`."""
        files = {**self._files(request.changes), **request.others}
        message = in_folder(request.message, self._location.root)
        made = (message, request.author, request.when)
        return self.prepare_files(request.base.revision, files, *made, proposal)

    def _files(self, changes: Sequence[Change]) -> dict[str, bytes | None]:
        """The files that changes write (None: delete), by path."""
        from . import yaml_text

        files: dict[str, bytes | None] = {}
        for change in counted(self._reader.progress, "writing escalations", changes, len(changes)):
            path = self._location.full(layout.path_of(change.new))
            if change.old and change.old.path != path:
                files[change.old.path] = None
            files.update(dict.fromkeys(change.removed))
            files[path] = yaml_text.dumps(change.new)
        return files

    def prepare_files(
        self,
        base: str | None,
        files: Mapping[str, bytes | None],
        message: str,
        author: Author,
        when: datetime,
        proposal: Onto | None = None,
    ) -> PreparedCommit:
        """Make a commit on top of ``base`` that writes files (None: deletes them).

        Without a ``base``, the commit is the first of the store branch. Raises as `Port.prepare` does.
        """
        seconds = int(when.timestamp())
        built = commit_builder.build(self._repository, base, files, message, author, seconds)
        remote, branch = self._location.remote, self._newest.branch
        commit = commit_builder.write(self._repository, built, flush=remote is None)
        if proposal:
            return PreparedCommit(self, commit, proposal.branch, proposal.was or "", proposed=True)
        if remote is None:
            subject = message.partition("\n")[0]
            move = self._local_branch.plan(branch, commit, base, subject, built.ids)
            return PreparedCommit(self, commit, branch, move=move)
        # If the store starts on local commits, the remote does not have the branch yet.
        there = self._repository.tip_of(f"refs/remotes/{remote}/{branch}")
        return PreparedCommit(self, commit, branch, (base or "") if there else "")

    def send(self, prepared: PreparedCommit, timeout: float) -> Exception | None:
        """See `interface.Prepared`."""
        end = time.monotonic() + timeout
        if prepared.move is not None:
            return self._local_branch.move(prepared.move)
        refusal = self._pusher.push(
            prepared.commit, prepared.branch, prepared.lease, end, proposed=prepared.proposed
        )
        if isinstance(refusal, Stale) and prepared.proposed:
            inside = re.search(r"'refs/heads/([^']+)' exists; cannot create", self._pusher.said)
            if inside:
                return BranchTaken(
                    says="the branch {branch} cannot be made on {remote}: "
                    "there is a branch {beside}, and git cannot have both",
                    hint="give another name with --branch NAME, or ask the author of {beside} to rename it",
                    branch=prepared.branch,
                    remote=self._location.remote,
                    beside=inside[1],
                )
        return refusal

    def settle(self, prepared: PreparedCommit) -> None:
        """See `interface.Prepared`."""
        remote = self._location.remote
        if remote is None:
            return
        if not prepared.proposed:
            self._newest.landed(prepared.commit)
            known = self._repository.tip_of(f"refs/remotes/{remote}/{prepared.branch}")
            if known == prepared.commit:
                return
            if known not in (None, prepared.lease) and self._repository.is_ancestor(prepared.commit, known):
                # A fetch has already brought newer commits.
                return
        self._repository.set_tracking(remote, prepared.branch, prepared.commit)

    def follow(self, revision: str) -> str | None:
        """See `interface.Port`."""
        return self._local_branch.follow(self._newest.branch, revision)

    def facts_of(self, prepared: PreparedCommit) -> dict[str, str | None]:
        """Facts for an error about a commit that may or may not have landed."""
        remote = self._location.remote
        there = f"{remote}/{prepared.branch}"
        find = f"git fetch {shlex.quote(remote or '')} && git log {shlex.quote(there)}"
        return {"remote": remote, "find": find if remote else f"git log {prepared.branch}"}
