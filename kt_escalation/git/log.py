"""History and what it holds: commits with what they changed, and the files at one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from .command import Git
from .objects import TreeEntry
from .process import (
    line_ended,
    nul_ended,
)

# All that differs, whatever the user's settings or a .gitmodules in the tree would leave out.
_RAW = ("-z", "--raw", "--no-abbrev", "--no-renames", "--ignore-submodules=none")
_LOG = (*_RAW, "--topo-order", "--full-history", "--format=%x01%H%n%an%n%ae%n%ct%x00")


class Log(Git):
    """The history of a repository."""

    def log(self, rev: str, paths: Sequence[str], limit: int) -> Iterator[bytes]:
        """Commits that touch what the pathspecs name, newest first, as raw chunks for `history` to read."""
        count = (f"--max-count={limit}",) if limit else ()
        return self._stream("log", *_LOG, *count, rev, "--", *paths)

    def log_of_file(self, rev: str, path: str) -> Iterator[bytes]:
        """The same for one file, from the repository's top.

        Only so, one literal path and no magic, does git ask the commit-graph's changed-path filters first.
        """
        return self._stream("--literal-pathspecs", "log", *_LOG, rev, "--", path)

    def walk(
        self,
        revisions: Sequence[str],
        form: str,
        paths: Sequence[str],
        *,
        merges: str = "off",
        every: bool = True,
    ) -> Iterator[bytes]:
        """The commits, parents first, with what each changed below the paths; all, or those that touch them.

        Nothing is told for a merge, or with ``merges="combined"`` what differs there from every parent.
        """
        order = (
            *("--topo-order", "--reverse", "--full-history", *(("--sparse",) if every else ())),
            *(f"--diff-merges={merges}", "--no-show-signature"),
        )
        return self._stream("log", *_RAW, *order, f"--format={form}", *revisions, "--", *paths)

    def headers(self, revisions: Sequence[str], form: str) -> Iterator[bytes]:
        """The commits in the order of `walk` without what they changed, NUL-ended."""
        options = ("--topo-order", "--reverse", "--no-show-signature", "--no-patch", f"--format={form}")
        return self._stream("log", "-z", *options, *revisions, "--")

    def parents(self, revisions: Sequence[str]) -> Iterator[str]:
        """A line for each commit in the order of `walk`: its id and its parents' ids."""
        return line_ended(self._stream("rev-list", "--topo-order", "--reverse", "--parents", *revisions))

    def dates(self, commit: str, options: Sequence[str], paths: Sequence[str]) -> list[str]:
        """The committers' seconds of commits up to one that changed something below the paths."""
        form = ("--no-show-signature", "--format=%ct", *options)
        return self._asked("log", *form, commit, "--", *paths).text.split()

    def emails(self, revisions: Sequence[str]) -> frozenset[str]:
        """The authors' e-mails of the commits that the revisions name."""
        done = self._asked("log", "-z", "--format=%ae", *revisions)
        return frozenset(done.text.split("\0")) - {""}

    def email_of(self, commit: str) -> str:
        """The author's e-mail of a commit."""
        return self._asked("log", "--no-walk", "--no-show-signature", "--format=%ae", commit).text

    @property
    def has_path_filters(self) -> bool:
        """Whether some part of the commit-graph tells which paths a commit may have changed (gitformat-commit-graph)."""
        folder = self.common_dir / "objects/info"
        for path in (folder / "commit-graph", *folder.glob("commit-graphs/graph-*.graph")):
            with suppress(OSError), path.open("rb") as file:
                # A header of eight bytes, whose seventh says how many chunks; a line of twelve for each.
                head = file.read(8)
                if b"BDAT" in file.read(12 * head[6]):
                    return True
        return False

    # --- what a commit holds ----------------------------------------------------------------------

    def folders(self, commit: str) -> list[str]:
        """All folders of a commit."""
        return self._asked("ls-tree", "-r", "-d", "-z", "--name-only", commit).text.split("\0")[:-1]

    def files(self, tree: str) -> Iterator[tuple[str, TreeEntry]]:
        """All files below a tree with their paths, in git's order, a little at a time. Raises GitFailed."""
        for line in nul_ended(self._stream("ls-tree", "-r", "-z", "--full-tree", tree)):
            facts, _, path = os.fsdecode(line).partition("\t")
            mode, _, oid = facts.split(" ")
            yield path, TreeEntry(mode, path.rpartition("/")[2], oid)

    def grep(self, commit: str, pattern: str, folder: str, leave_out: str) -> list[str]:
        """The files below a folder of a commit that hold a line of a basic regular expression.

        ``leave_out`` is a pattern (gitglossary, *pathspec*, glob) of files below it that are not searched.
        """
        inside = "".join(f"\\{char}" if char in "*?[\\" else char for char in folder)
        where = [f":(top,literal){folder}", f":(top,glob,exclude){inside}/{leave_out}"]
        done = self._asked(
            "grep", "-G", "-a", "-l", "-z", "--full-name", "-e", pattern, commit, "--", *where, fine=(0, 1)
        )
        return [name.partition(":")[2] for name in done.text.split("\0") if name]

    def changed(self, old: str, new: str) -> frozenset[str]:
        """All paths that differ between two commits."""
        done = self._asked("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)
        return frozenset(done.text.split("\0")) - {""}

    def merged_tree(self, one: str, other: str) -> tuple[str | None, list[str]]:
        """The tree that git makes by merging two commits, None where they conflict; and the files that do.

        Raises GitFailed (git-merge-tree).
        """
        options = ("--write-tree", "--allow-unrelated-histories", "--no-messages", "--name-only", "-z")
        done = self._asked("merge-tree", *options, one, other, fine=(0, 1))
        tree, *files = os.fsdecode(done.out).split("\0")
        return (tree if done.status == 0 else None), sorted(filter(None, files))
