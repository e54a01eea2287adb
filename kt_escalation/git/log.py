"""Reads history: commits with their changes, and the files of a commit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from ..errors import GitFailed
from .command import Git
from .objects import TreeEntry
from .process import line_ended, nul_ended

# All that differs, whatever the user's settings or a .gitmodules in the tree would leave out.
_RAW = ("-z", "--raw", "--no-abbrev", "--no-renames", "--ignore-submodules=none")
# One token for each commit, in lines: neither names nor addresses can hold a line feed, and no message a NUL.
_FORMAT = "--format=%x01%H%n%P%n%T%n%an%n%ae%n%ce%n%ct%n%B%x00"
_FIELDS = 8
_LOG = (*_RAW, "--topo-order", "--full-history", _FORMAT)
#: The mode of a side of a change where there is no file.
ABSENT = "000000"
# The end of the year 9999, in seconds since 1970.
_LAST_SECOND = 253_402_300_799


class Change(NamedTuple):
    """One file that differs: its path, and mode and id on both sides (None: absent)."""

    path: str
    old_mode: str
    new_mode: str
    old: str | None
    new: str | None


class Commit(NamedTuple):
    """One commit; ``changes`` are against its only parent, for a merge only what no parent has, if asked for."""

    oid: str
    parents: tuple[str, ...]
    tree: str
    author: str
    email: str
    committer: str
    committed_at: datetime
    message: str
    changes: tuple[Change, ...] = ()


class Log(Git):
    """The history of a repository. Paths of what changed are those from the repository's top."""

    def log(self, rev: str, paths: Sequence[str], limit: int) -> Iterator[Commit]:
        """Commits that touch what the pathspecs name, newest first."""
        count = (f"--max-count={limit}",) if limit else ()
        return _commits(self._stream("log", *_LOG, *count, rev, "--", *paths))

    def log_of_file(self, rev: str, path: str) -> Iterator[Commit]:
        """The same for one file, from the repository's top.

        Only so, one literal path and no magic, does git ask the commit-graph's changed-path filters first.
        """
        return _commits(self._stream("--literal-pathspecs", "log", *_LOG, rev, "--", path))

    def walk(
        self, revisions: Sequence[str], paths: Sequence[str], *, merges: str = "off", every: bool = True
    ) -> Iterator[Commit]:
        """The commits, parents first, with what each changed below the paths; all, or those that touch them.

        Nothing is told for a merge, or with ``merges="combined"`` what differs there from every parent.
        """
        order = (
            *("--topo-order", "--reverse", "--full-history", *(("--sparse",) if every else ())),
            *(f"--diff-merges={merges}", "--no-show-signature"),
        )
        return _commits(self._stream("log", *_RAW, *order, _FORMAT, *revisions, "--", *paths))

    def headers(self, revisions: Sequence[str]) -> Iterator[Commit]:
        """The commits in the order of `walk` without what they changed."""
        options = ("-z", "--topo-order", "--reverse", "--no-show-signature", "--no-patch", _FORMAT)
        return _commits(self._stream("log", *options, *revisions, "--"))

    def parents(self, revisions: Sequence[str]) -> Iterator[str]:
        """A line for each commit in the order of `walk`: its id and its parents' ids."""
        return line_ended(self._stream("rev-list", "--topo-order", "--reverse", "--parents", *revisions))

    def dates(self, commit: str, options: Sequence[str], paths: Sequence[str]) -> list[datetime]:
        """When the commits up to one that changed something below the paths were made."""
        form = ("--no-show-signature", "--format=%ct", *options)
        return [moment(seconds) for seconds in self._asked("log", *form, commit, "--", *paths).text.split()]

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


def _commits(answer: Iterator[bytes]) -> Iterator[Commit]:
    """The commits in an answer of `git log`, a row of tokens of which each ends with a NUL. Raises GitFailed."""
    tokens = _tokens(answer)
    head = ""
    changes: list[Change] = []
    for token in tokens:
        # A line feed parts a commit from what it changed.
        if token[:1] == "\n":
            token = token.lstrip("\n")
        kind = token[:1]
        if kind == ":" and head:
            changes.append(_change(token, next(tokens, "")))
        elif kind == "\x01":
            if head:
                yield _commit(head, changes)
            head, changes = token, []
        elif kind:
            raise _odd(token)
    if head:
        yield _commit(head, changes)


def _commit(token: str, changes: Sequence[Change]) -> Commit:
    fields = token[1:].split("\n", _FIELDS - 1)
    if len(fields) != _FIELDS:
        raise _odd(token)
    oid, parents, tree, author, email, committer, seconds, message = fields
    above = tuple(parents.split())
    return Commit(oid, above, tree, author, email, committer, moment(seconds), message, tuple(changes))


def _change(token: str, path: str) -> Change:
    # One colon, mode and id for each parent, then those of the result (git-diff, combined raw format).
    facts = token.lstrip(":").split(" ")
    parents = len(token) - len(token.lstrip(":"))
    if not path or len(facts) != 2 * parents + 3:
        raise _odd(token)
    old_mode, new_mode, old, new = facts[0], facts[parents], facts[parents + 1], facts[2 * parents + 1]
    return Change(
        path, old_mode, new_mode, None if old_mode == ABSENT else old, None if new_mode == ABSENT else new
    )


def _odd(token: str) -> GitFailed:
    return GitFailed(command="log", words=f"its answer holds {token[:100]!r}, or ends in the middle")


def moment(seconds: str) -> datetime:
    """A committer's time, which may be any number or missing, as a time that exists."""
    return datetime.fromtimestamp(min(max(int(seconds or 0), 0), _LAST_SECOND), UTC)


def _tokens(chunks: Iterator[bytes]) -> Iterator[str]:
    """The NUL-ended parts of git's output. Raises GitFailed where the last one has no end."""
    rest = b""
    for chunk in chunks:
        whole, nul, tail = (rest + chunk).rpartition(b"\0")
        if nul:
            yield from os.fsdecode(whole).split("\0")
        rest = tail
    if rest:
        raise _odd(os.fsdecode(rest))
