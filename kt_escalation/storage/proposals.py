"""Finds proposals: branches of the remote with proposed changes. See docs/pull-requests.md."""

from __future__ import annotations

import re

from ..errors import BadInput, NotAStore
from ..git.repository import Repository
from . import waiting
from .interface import PROPOSALS, Proposal, Snapshot, Stale
from .newest_tip import NewestTip
from .reader import Reader
from .snapshot import GitSnapshot
from .store_branch import tip_in

# Servers keep a branch as a file. Every file system allows names of this length.
MAX_BRANCH = 200


class Proposals:
    """The proposals on the remote of one clone."""

    def __init__(self, reader: Reader, newest: NewestTip) -> None:
        self._reader = reader
        self._location = reader.location
        self._repository = reader.repository
        self._newest = newest

    def require_proposable(self, branch: str) -> None:
        """See `interface.Port`."""
        from ..git import pull_request_page

        self._location.require_remote_choice()
        if self._location.remote is None:
            raise BadInput(
                problem="--branch proposes a change on the remote, and this store has none; do it without --branch"
            )
        forge = self._repository.config.get("kt.forge")
        if forge and forge not in pull_request_page.FORGES:
            raise BadInput(
                problem=f"kt.forge is {forge!r}; it is one of {', '.join(pull_request_page.FORGES)}"
            )
        if branch:
            require_branch_name(self._repository, branch)

    def proposal(self, branch: str, tip: Snapshot, timeout: float) -> Proposal | None:
        """See `interface.Port`."""
        if branch == self._newest.branch:
            raise BadInput(problem=f"{branch} is the store branch itself; propose on another branch")
        remote = self._location.remote or ""
        asked = self._repository.ask_branch(remote, branch, timeout)
        if asked.status != 0:
            raise waiting.unreachable(remote, asked, timeout)
        commit = tip_in(branch, asked)
        if commit is None:
            return None
        got = self._repository.fetch_branch(remote, branch, timeout)
        if got.timed_out:
            raise waiting.unreachable(remote, got, timeout)
        if self._repository.commit_of(commit) is None:
            raise Stale
        if self._repository.is_ancestor(commit, tip.revision):
            return Proposal(commit, merged=True)
        fork = self._repository.merge_base(tip.revision, commit)
        if fork is None:
            return Proposal(commit)
        return Proposal(
            commit,
            False,
            self._store_at(commit),
            self._store_at(fork),
            self._repository.emails([commit, f"^{tip.revision}"]),
            self._repository.changed(fork, commit),
        )

    def of(self, escalation_id: str, tip: Snapshot, timeout: float) -> dict[str, Proposal]:
        """See `interface.Port.proposals`."""
        remote = self._location.remote or ""
        asked = self._repository.ask_branch(remote, f"{PROPOSALS}*/{escalation_id}", timeout)
        if asked.status != 0:
            raise waiting.unreachable(remote, asked, timeout)
        names = re.findall(
            rf"\trefs/heads/({PROPOSALS}[a-z]+/{re.escape(escalation_id)})$", asked.text, re.MULTILINE
        )
        found = {name: self.proposal(name, tip, timeout) for name in sorted(names)}
        return {name: proposal for name, proposal in found.items() if proposal is not None}

    def request_address(self, branch: str, said: str) -> str | None:
        """The address at which to open a pull request, or None if unknown. ``said`` is the remote's answer to the push."""
        from ..git import pull_request_page

        address = self._repository.push_address(self._location.remote or "")
        forge = self._repository.config.get("kt.forge")
        return pull_request_page.request_address(address, self._newest.branch, branch, forge or None, said)

    def _store_at(self, commit: str) -> GitSnapshot | None:
        try:
            return GitSnapshot(self._reader, commit)
        except NotAStore:
            return None


def require_branch_name(repository: Repository, branch: str) -> None:
    """Raise BadInput if a name is not valid for a branch, or would cause trouble."""
    odd = branch.startswith(("-", "refs/")) or branch == "HEAD" or len(branch.encode()) > MAX_BRANCH
    if odd or not repository.is_branch_name(branch):
        raise BadInput(
            problem=f"{branch[:80]!r} is not a valid branch name; give one such as kt/claim/esc_abc123"
        )
