"""Reads and updates the index and the working tree, which belong to the user."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .command import NO_MAINTENANCE, Git
from .objects import chunks
from .process import Underway

#: No hooks of the checkout run when kt updates it.
_NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")


class Checkout(Git):
    """Reads and updates the checkout of a repository."""

    def inside(self, folder: Path) -> str:
        """A folder's path below the top of the repository. Empty at the top and outside a checkout."""
        if self.toplevel is None:
            return ""
        path = folder.resolve().relative_to(self.toplevel.resolve()).as_posix()
        return "" if path == "." else path

    def worktree_of(self, branch: str) -> Path | None:
        """The worktree, linked or main, in which a branch is checked out. None if there is none."""
        current: Path | None = None
        for line in self._asked("worktree", "list", "--porcelain", "-z").text.split("\0"):
            if line.startswith("worktree "):
                current = Path(line.removeprefix("worktree "))
            elif line == f"branch refs/heads/{branch}":
                return current
        return None

    def fast_forward(self, commit: str, action: str) -> Underway:
        """Update branch, index and files as `git merge --ff-only` does: everything or nothing.

        It refuses to touch anything that the user has changed. It does nothing if the branch already contains
        the commit.
        """
        # To ask whether maintenance is due costs a process, so only one commit in sixteen asks.
        tidy = () if commit.endswith("0") else NO_MAINTENANCE
        options = (
            "--ff-only",
            "--no-squash",
            "--quiet",
            "--no-stat",
            "--no-autostash",
            "--no-verify-signatures",
        )
        args = [*_NO_HOOKS, *tidy, "merge", *options, commit]
        return self._start(args, env={"GIT_REFLOG_ACTION": action}, session=True)

    def index_entries(self, paths: Sequence[str], index: Path) -> dict[str, tuple[str, str]]:
        """The (mode, id) of paths in an index file. The mode of an unmerged path is ``unmerged``."""
        found: dict[str, tuple[str, str]] = {}
        env = {"GIT_LITERAL_PATHSPECS": "1", "GIT_INDEX_FILE": str(index)}
        for some in chunks(paths):
            done = self._asked("ls-files", "--stage", "-z", "--full-name", "--", *some, env=env)
            for line in done.text.split("\0"):
                if line:
                    facts, _, path = line.partition("\t")
                    mode, oid, stage = facts.split(" ")
                    found[path] = (mode, oid) if stage == "0" else ("unmerged", oid)
        return found

    def modified(self, paths: Sequence[str]) -> set[str]:
        """The paths whose file differs from the index in more than its times (`git diff-files` prints both)."""
        found: set[str] = set()
        options = ("--no-ext-diff", "--no-relative", "--no-renames", "--name-only", "-z")
        for some in chunks(paths):
            done = self._asked(
                "-c", "diff.autoRefreshIndex=true", "diff", *options, "--", *some,
                env={"GIT_LITERAL_PATHSPECS": "1"},
            )  # fmt: skip
            found.update(path for path in done.text.split("\0") if path)
        return found

    def begin_script(self, script: str, args: Sequence[str], inherits: Sequence[int]) -> Underway:
        """Start a shell script in its own session."""
        return self._start(args, program=("sh", "-c", script, "kt"), session=True, inherits=inherits)
