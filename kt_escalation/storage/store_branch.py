"""Finds the branch that holds the store: from the clone's settings, or by asking the remote."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress

from ..errors import GitFailed, NoStoreBranch
from ..git.process import Done
from .interface import PROPOSALS
from .location import Location
from .waiting import unreachable


class StoreBranch:
    """The branch of the store in one clone."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._repository = location.repository

    @property
    def known(self) -> str | None:
        """The store branch as this clone knows it, without asking the remote."""
        asked = self._repository.config.get("kt.branch")
        if asked:
            return asked
        remote = self._location.remote
        return self._repository.remote_head(remote) if remote else self._repository.head_branch()

    @property
    def own(self) -> str | None:
        """The store branch of a server's repository, to which people push. Its remotes do not matter."""
        return self._repository.config.get("kt.branch") or self._repository.head_branch()

    def to_write(self, timeout: float) -> str:
        """The store branch. If nothing here names it, the remote is asked once. Raises NoStoreBranch."""
        known = self.known
        if known:
            return known
        remote = self._location.remote
        if remote is None:
            raise NoStoreBranch(
                problem="the head is detached and there is no remote",
                hint="switch to the branch with `git switch`, or name it with `git config kt.branch NAME`",
            )
        asked = self._repository.ask_remote_head(remote, timeout)
        if asked.status != 0:
            raise unreachable(remote, asked, timeout)
        found = head_in(asked)
        if found is None:
            raise self.headless(timeout)
        self._repository.remember_remote_head(remote, found)
        return found

    def headless(self, timeout: float) -> NoStoreBranch:
        """The error for a remote whose HEAD names no existing branch. Its fact ``branches`` lists those that exist."""
        remote = self._location.remote
        asked = self._repository.ask_branches(remote or "", timeout)
        found = re.findall(r"\trefs/heads/(\S+)$", asked.text, re.MULTILINE) if asked.status == 0 else []
        branches = [branch for branch in found if not branch.startswith((PROPOSALS, "refs/"))]
        problem = f"the HEAD of {remote} names no branch that exists"
        if not branches:
            return NoStoreBranch(
                problem=problem,
                hint="if nobody has made the store yet, run `kt escalation init`; else push it with "
                f"`git push -u {shlex.quote(remote or '')} HEAD`, or name its branch with `git config kt.branch NAME`",
            )
        here = self._repository.head_branch()
        name = shlex.quote(
            here if here and here in branches else branches[0] if len(branches) == 1 else "NAME"
        )
        return NoStoreBranch(
            problem=f"{problem}, though it has {', '.join(branches[:3])}",
            hint=f"if the store is on {name}, run `git symbolic-ref HEAD refs/heads/{name}` on the server, "
            f"or here `git remote set-head {shlex.quote(remote or '')} {name}`",
            branches=branches,
        )

    def learn_head(self, branch: str, timeout: float) -> str | None:
        """Remember the remote's HEAD after the first push to ``branch``.

        Returns a warning if HEAD names another branch.
        """
        remote = self._location.remote
        if remote is None or self._repository.config.get("kt.branch"):
            return None
        asked = self._repository.ask_remote_head(remote, timeout)
        found = head_in(asked)
        if found == branch:
            # If this fails, the next command asks the remote again.
            with suppress(GitFailed):
                self._repository.remember_remote_head(remote, found)
        if asked.status != 0 or found == branch:
            return None
        name = shlex.quote(branch)
        return (
            f"the HEAD of {remote} names {found or 'no branch that exists'}, so other clones do not find the store "
            f"on {branch}; run `git symbolic-ref HEAD refs/heads/{name}` on the server, "
            f"or in each clone `git remote set-head {shlex.quote(remote)} {name}`"
        )


def head_in(asked: Done) -> str | None:
    """The branch that HEAD names in an answer to `ask_remote_head`, or None if there is no such branch."""
    found = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", asked.text, re.MULTILINE)
    return found[1] if found else None


def tip_in(branch: str, asked: Done) -> str | None:
    """The branch's commit in an answer to `ask_branch`, or None if there is no such branch."""
    found = re.search(rf"^([0-9a-f]+)\trefs/heads/{re.escape(branch)}$", asked.text, re.MULTILINE)
    return found[1] if found else None


def alike(branch: str, asked: Done) -> list[str]:
    """The refs in an answer to `ask_branch` that git would also take for the branch, the longest first."""
    names = rf"\t(refs/(?:heads|tags)/(?:refs/heads/)+{re.escape(branch)})$"
    return sorted(re.findall(names, asked.text, re.MULTILINE), key=len, reverse=True)
