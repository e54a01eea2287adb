"""Moves the store branch of this clone: to commit if there is no remote, or after the remote has the commit.

If the branch is checked out, the index and the files without local changes move with it.
"""

from __future__ import annotations

import re
import shlex
import time

from ..errors import Interrupted, PathStaged
from ..git.move import Move, recover
from ..git.refs import held_lock
from ..git.repository import Repository
from . import waiting
from .commit_builder import Versions, entries_at
from .interface import Stale, Unanswered
from .reader import Reader

# kt waits for the checkout as long as it takes, in rounds of this many seconds.
_LONG = 3600.0


class LocalBranch:
    """The store branch of one clone and its checkout."""

    def __init__(self, reader: Reader) -> None:
        self._location = reader.location
        self._repository = reader.repository
        self._progress = reader.progress
        # Why files of the checkout stayed as they were at the last move.
        self._left: str | None = None

    def plan(self, branch: str, commit: str, base: str | None, subject: str, ids: Versions) -> Move:
        """Plan the move of the branch to a commit. If the branch is checked out, the index and the files ``ids`` move too.

        Raises PathStaged, Stale, GitLocked.
        """
        ref = f"refs/heads/{branch}"
        here = self._checkout_of(branch)
        self._left = None
        if here is None:
            return Move(self._repository, ref, commit, base, subject)
        recover(here)
        paths = list(ids)
        # git refreshes the index while it looks, so this must come before copying it.
        dirty = here.modified(paths)
        move = Move(here, ref, commit, base, subject, checked_out=True)
        was = entries_at(self._repository, base, paths)
        index = here.index_entries(paths, move.index)
        for path in paths:
            if index.get(path) != was[path]:
                if self._repository.commit_of(ref) != base:
                    # Somebody ran `git commit` meanwhile, which changed the index.
                    raise Stale
                raise PathStaged(path=path)
        # The branch and the index move. A file with local changes stays as it is.
        dirty |= {path for path in paths if was[path] is None and _exists(here, path)}
        move.plan(ids, was, dirty)
        self._left = (
            f"{', '.join(sorted(dirty)[:3])} has local changes and was left as it is" if dirty else None
        )
        return move

    def move(self, move: Move) -> Exception | None:
        """Carry out a planned move; returns as `Prepared.send` does."""
        done, moved = None, None
        caught: Exception | KeyboardInterrupt | None
        try:
            done, caught = waiting.answer(
                self._progress, "moving the branch", "that", move.start(), time.monotonic() + _LONG
            )
            moved = move.has_moved(done)
        except (Exception, KeyboardInterrupt) as error:
            caught = error
        if moved is None:
            # When no git process runs any more, the branch itself shows the result.
            if not recover(move.repository):
                raise caught or Unanswered("it is still under way")
            moved = self._repository.tip_of(move.ref) == move.new
        if moved:
            self._left = (move.left(done) if done else "") or self._left
            return None
        if caught:
            return Interrupted() if isinstance(caught, KeyboardInterrupt) else caught
        return (move.refusal(done) if done else None) or Stale()

    def follow(self, branch: str, revision: str) -> str | None:
        """Bring the checkout to a commit that landed. Returns why something stayed as it was, or None."""
        return self._left if self._location.remote is None else self._fast_forward(branch, revision)

    def _fast_forward(self, branch: str, revision: str) -> str | None:
        if self._repository.toplevel is None or self._repository.head_branch() != branch:
            return None
        if self._repository.tip_of(f"refs/heads/{branch}") == revision:
            return None
        upstream = shlex.quote(f"{self._location.remote}/{branch}")
        along = f"bring it along with `git merge --ff-only {upstream}`"
        # git changes the index and the files before it notices that the branch is locked.
        ref = self._repository.common_dir / f"refs/heads/{branch}.lock"
        for lock in (self._repository.git_dir / "HEAD.lock", ref):
            if lock.exists():
                return f"another git command holds {lock}; {along}"
        work = self._repository.fast_forward(revision, "kt")
        done = None
        while done is None:
            done = waiting.awaited(self._progress, "bringing the checkout along", work, _LONG)
        if done.status == 0:
            return None
        if "Not possible to fast-forward" in done.err:
            return f"{branch} has commits of its own; bring it along with `git pull --rebase`"
        held = held_lock(done.err)
        if held:
            return f"another git command holds {held}; {along}"
        files = re.findall(r"^\t(\S.*)$", done.err, re.MULTILINE)
        if files:
            return f"{', '.join(files[:3])} has local changes; stash or undo them, then {along}"
        return f"{done.words}; {along}"

    def _checkout_of(self, branch: str) -> Repository | None:
        """The worktree, this one or another, that has the branch checked out."""
        if self._repository.toplevel and self._repository.head_branch() == branch:
            return self._repository
        other = self._repository.worktree_of(branch)
        if other is None or not other.is_dir() or other == self._repository.toplevel:
            return None
        found = Repository(other)
        return found if found.toplevel else None


def _exists(repository: Repository, path: str) -> bool:
    found = repository.toplevel / path if repository.toplevel else None
    return found is not None and (found.exists() or found.is_symlink())
