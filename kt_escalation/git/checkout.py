"""The index and the working tree, which are the user's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import GitFailed
from .command import FLUSH, NO_MAINTENANCE, Git
from .objects import chunks
from .process import (
    Underway,
)
from .refs import is_race

#: Hooks of the checkout have nothing to do with bringing it along.
_NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")


class Checkout(Git):
    """What is checked out of a repository, and bringing it along."""

    def inside(self, folder: Path) -> str:
        """A folder's path below the repository's top, empty at the top and outside a checkout."""
        if self.toplevel is None:
            return ""
        path = folder.resolve().relative_to(self.toplevel.resolve()).as_posix()
        return "" if path == "." else path

    def worktree_of(self, branch: str) -> Path | None:
        """The linked or main worktree that has a branch checked out."""
        current: Path | None = None
        for line in self._asked("worktree", "list", "--porcelain", "-z").text.split("\0"):
            if line.startswith("worktree "):
                current = Path(line.removeprefix("worktree "))
            elif line == f"branch refs/heads/{branch}":
                return current
        return None

    def fast_forward(self, commit: str, action: str, *, flush: bool) -> Underway:
        """Bring branch, index and files along as `git merge --ff-only` does: all of it, or nothing.

        It refuses where that would touch anything that the user has changed, and does nothing where the
        branch has the commit already.
        """
        # Whether the repository wants tidying costs a process to ask: one commit in sixteen is enough.
        tidy = () if commit.endswith("0") else NO_MAINTENANCE
        options = (
            "--ff-only",
            "--no-squash",
            "--quiet",
            "--no-stat",
            "--no-autostash",
            "--no-verify-signatures",
        )
        args = [*_NO_HOOKS, *tidy, *(FLUSH if flush else ()), "merge", *options, commit]
        return self._start(args, env={"GIT_REFLOG_ACTION": action}, session=True)

    def index_entries(self, paths: Sequence[str]) -> dict[str, tuple[str, str]]:
        """(mode, id) of paths in the index; an unmerged path has mode ``unmerged``."""
        found: dict[str, tuple[str, str]] = {}
        for some in chunks(paths):
            done = self._asked(
                "ls-files", "--stage", "-z", "--full-name", "--", *some, env={"GIT_LITERAL_PATHSPECS": "1"}
            )
            for line in done.text.split("\0"):
                if line:
                    facts, _, path = line.partition("\t")
                    mode, oid, stage = facts.split(" ")
                    found[path] = (mode, oid) if stage == "0" else ("unmerged", oid)
        return found

    def modified(self, paths: Sequence[str]) -> set[str]:
        """Those of the paths whose file differs from the index, in more than its times (`git diff-files` tells both)."""
        found: set[str] = set()
        options = ("--no-ext-diff", "--no-relative", "--no-renames", "--name-only", "-z")
        for some in chunks(paths):
            done = self._asked(
                "-c", "diff.autoRefreshIndex=true", "diff", *options, "--", *some,
                env={"GIT_LITERAL_PATHSPECS": "1"},
            )  # fmt: skip
            found.update(path for path in done.text.split("\0") if path)
        return found

    def move_branch_and_index(
        self,
        ref: str,
        new: str,
        old: str,
        message: str,
        entries: Mapping[str, tuple[str, str] | None],
        follow: Sequence[str],
    ) -> bool:
        """Move a checked-out branch and the index entries of some paths; whether it still was at ``old``.

        ``entries`` gives each path its (mode, id), or None to remove it; the files in ``follow`` are
        brought along. One shell in a session of its own does it all, so that our death in between
        leaves nothing half done.
        """
        gone = "0" * len(new)
        lines = [
            f"{entry[0]} {entry[1]}\t{path}" if entry else f"0 {gone}\t{path}"
            for path, entry in entries.items()
        ]
        # Too many for a command line; the shell takes the lists away when it ends.
        lists = Path(tempfile.mkdtemp(prefix="kt-"))
        for name, present in (("write", True), ("remove", False)):
            paths = [path for path in follow if (entries[path] is not None) == present]
            (lists / name).write_bytes(os.fsencode("".join(f"{path}\0" for path in paths)))
        script = """
            git_dir=$1 work_tree=$2 message=$3 ref=$4 new=$5 old=$6 lists=$7
            trap 'rm -rf -- "$lists"' EXIT
            exec 3<&0 </dev/null
            g() { git --git-dir="$git_dir" --work-tree="$work_tree" -c core.fsync=all "$@"; }
            g update-ref -m "$message" "$ref" "$new" "$old" || exit 9
            g update-index -z --index-info <&3 || exit 1
            g checkout-index -f -q -z --stdin <"$lists/write"
            cd "$work_tree" && xargs -0 rm -f -- <"$lists/remove"
        """
        args = [
            str(self.git_dir),
            str(self.toplevel),
            message,
            ref,
            new,
            old,
            str(lists),
        ]
        process = self._start(args, program=("sh", "-c", script, "kt"), stdin=True, session=True)
        process.give("".join(f"{line}\0" for line in lines).encode())
        done = process.finish()
        if done.status not in (0, 9) or (done.status == 9 and not is_race(done.err)):
            raise GitFailed(command="update-index", words=done.words)
        return done.status == 0
