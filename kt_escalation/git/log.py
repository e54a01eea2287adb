"""Reads history: commits with their changes, and the files of a commit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from ..errors import GitFailed
from .command import Git
from .commit import (
    ABSENT,
    Commit,
    FileChange,
    by_nobody,
    is_signed,
    moment,
    plain_commit,
    unread_commit,
)
from .commit_signature import MAX_COMMIT
from .objects import REQUESTS_AT_ONCE, TreeEntry, chunks, whole_objects
from .process import line_ended, nul_ended

# Shows every difference, whatever the user's settings or a .gitmodules file would leave out.
_RAW = ("-z", "--raw", "--no-abbrev", "--no-renames", "--ignore-submodules=none")
# Before the changes of each commit. Everything else about it is read from its bytes: git would look for the encoding that the
# commit names, which takes it minutes for some names.
_ID = ("--format=%x01%H%x00", "--no-show-signature")
# One token for each commit, split into lines. Names and addresses cannot contain a line feed, nor a message a
# NUL.
_WHOLE = "--format=%H%n%P%n%T%n%an%n%ae%n%ce%n%ct%n%B"
_FIELDS = 8
# So many raw commits are in memory at a time.
_RAW_AT_ONCE = 50
# The beginning of a large commit, which has its headers: so many chunks of 64 KiB or more.
_CHUNKS_OF_LARGE = 16
_LOG = (*_RAW, *_ID, "--topo-order", "--full-history")


class Log(Git):
    """The history of a repository. Paths of changed files begin at the top of the repository."""

    def log(self, rev: str, paths: Sequence[str], limit: int) -> Iterator[Commit]:
        """Commits that touch the pathspecs, newest first."""
        count = (f"--max-count={limit}",) if limit else ()
        return self._commits(self._stream("log", *_LOG, *count, rev, "--", *paths))

    def log_of_words(self, rev: str, words: Sequence[str]) -> Iterator[Commit]:
        """The commits whose message contains one of the words, in upper or lower case, newest first.

        git reads the trees of these commits only.
        """
        # In the bytes of the message: its encoding is not looked for.
        options = ("--fixed-strings", "--regexp-ignore-case", "--encoding=none")
        asked = (*options, *(f"--grep={word}" for word in words))
        return self._commits(self._stream("log", *_LOG, *asked, rev, "--"))

    def log_of_file(self, rev: str, path: str) -> Iterator[Commit]:
        """The commits that touch one file, whose path begins at the top of the repository.

        git uses the commit-graph's changed-path filters only for one literal path without pathspec magic.
        """
        return self._commits(self._stream("--literal-pathspecs", "log", *_LOG, rev, "--", path))

    def walk(
        self, revisions: Sequence[str], paths: Sequence[str], *, merges: str = "off"
    ) -> Iterator[Commit]:
        """All commits that the revisions name, parents first, with their changes below the paths.

        A merge has no changes, or with ``merges="combined"`` the differences from every parent.
        """
        order = ("--topo-order", "--reverse", "--full-history", "--sparse")
        form = f"--diff-merges={merges}"
        return self._commits(self._stream("log", *_RAW, *_ID, *order, form, *revisions, "--", *paths))

    def headers(self, revisions: Sequence[str]) -> Iterator[Commit]:
        """The commits in the order of `walk`, without their changes."""
        oids = [line.partition(" ")[0] for line in self.parents(revisions)]
        return (commit for commit, _ in self.commits(oids))

    def commits(self, oids: Sequence[str]) -> Iterator[tuple[Commit, bool]]:
        """Commits without their changes, each with whether it has a signature, valid or not.

        They are read from their bytes, and by git if git would not have written them so but reads them in one way only.
        Raises GitFailed.
        """
        for some in chunks(zip(oids, self._bytes_of(oids), strict=True), _RAW_AT_ONCE):
            read = [self._read(oid, data) for oid, data in some]
            odd = [oid for (oid, _), known in zip(some, read, strict=True) if known is None]
            asked = self._asked_of_git(odd)
            for (oid, data), known in zip(some, read, strict=True):
                yield known or (asked[oid], is_signed(data or b""))

    def _read(self, oid: str, data: bytes | None) -> tuple[Commit, bool] | None:
        """A commit from its bytes, if possible, and whether it has a signature."""
        if data is None:
            return self._large(oid), False
        plain = plain_commit(oid, data)
        if plain is not None:
            return plain
        unread = unread_commit(oid, data)
        return (unread, is_signed(data)) if unread else None

    def _large(self, oid: str) -> Commit:
        """A commit of which only the beginning is read."""
        answer = self._stream("cat-file", "commit", oid)
        begin = b"".join(islice(answer, _CHUNKS_OF_LARGE))
        answer.close()
        _, *parents = next(self.parents(["--no-walk", oid])).split()
        tree = self.objects.id_of(f"{oid}^{{tree}}")
        if tree is None:
            raise GitFailed(command="cat-file", words=f"the tree of {oid} is missing")
        why = f"it is larger than {MAX_COMMIT // 1024} KiB"
        return by_nobody(oid, tuple(parents), tree, begin, why)._replace(message="")

    def _asked_of_git(self, oids: Sequence[str]) -> dict[str, Commit]:
        """Commits as git reads them. Raises GitFailed."""
        if not oids:
            return {}
        options = ("-z", "--no-walk=unsorted", "--no-show-signature", "--no-patch", _WHOLE)
        answer = _tokens(self._stream("log", *options, *oids, "--"))
        found = {commit.oid: commit for commit in map(_commit, answer)}
        if found.keys() != set(oids):
            raise GitFailed(command="log", words=f"it says nothing of some of {', '.join(oids)}"[:200])
        return found

    def _bytes_of(self, oids: Sequence[str]) -> Iterator[bytes | None]:
        """The bytes of each commit, None for a larger one than is read. Raises GitFailed if one is missing."""
        if len(oids) <= REQUESTS_AT_ONCE:
            for some in chunks(oids, _RAW_AT_ONCE):
                for oid, one in zip(some, self.objects.get(some, MAX_COMMIT), strict=True):
                    if one is None:
                        raise GitFailed(command="cat-file", words=f"{oid} missing")
                    yield one.data
            return
        asked = "".join(f"{oid}\n" for oid in oids).encode()
        yield from whole_objects(self._stream("cat-file", "--batch", "--buffer", stdin=asked), MAX_COMMIT)

    def parents(self, revisions: Sequence[str]) -> Iterator[str]:
        """For each commit, in the order of `walk`, a line with its id and its parents' ids."""
        return line_ended(self._stream("rev-list", "--topo-order", "--reverse", "--parents", *revisions))

    def changing(self, commit: str, options: Sequence[str], paths: Sequence[str]) -> list[Commit]:
        """The commits, up to one, that changed something below the paths."""
        oids = self._asked("rev-list", *options, commit, "--", *paths).text.split()
        return [found for found, _ in self.commits(oids)]

    def emails(self, revisions: Sequence[str]) -> frozenset[str]:
        """The e-mails of the authors of the commits that the revisions name; empty for nobody's."""
        return frozenset(commit.email for commit in self.headers(revisions))

    @property
    def has_path_filters(self) -> bool:
        """Whether any file of the commit-graph has changed-path filters (gitformat-commit-graph)."""
        folder = self.common_dir / "objects/info"
        for path in (folder / "commit-graph", *folder.glob("commit-graphs/graph-*.graph")):
            with suppress(OSError), path.open("rb") as file:
                # The header has eight bytes, the seventh of which is the number of chunks. Each chunk has a
                # line of twelve bytes.
                head = file.read(8)
                if b"BDAT" in file.read(12 * head[6]):
                    return True
        return False

    # --- what a commit holds ----------------------------------------------------------------------

    def folders(self, commit: str) -> list[str]:
        """The paths of all folders of a commit."""
        return self._asked("ls-tree", "-r", "-d", "-z", "--name-only", commit).text.split("\0")[:-1]

    def files(self, tree: str) -> Iterator[tuple[str, TreeEntry]]:
        """All files below a tree with their paths, in git's order, read in pieces. Raises GitFailed."""
        for line in nul_ended(self._stream("ls-tree", "-r", "-z", "--full-tree", tree)):
            facts, _, path = os.fsdecode(line).partition("\t")
            mode, _, oid = facts.split(" ")
            yield path, TreeEntry(mode, path.rpartition("/")[2], oid)

    def grep(self, commit: str, pattern: str, folder: str, leave_out: str) -> list[tuple[str, str]]:
        """The lines below a folder of a commit that match a basic regular expression, each after its file's path.

        Files that match ``leave_out`` (gitglossary, *pathspec*, glob) are not searched.
        """
        where = [f":(top,literal){folder}", f":(top,glob,exclude){in_glob(folder)}/{leave_out}"]
        done = self._asked(
            "grep", "-G", "-a", "-z", "--full-name", "-e", pattern, commit, "--", *where, fine=(0, 1)
        )
        found = (line.partition("\0") for line in done.text.split("\n"))
        return [(name.partition(":")[2], line) for name, _, line in found if line]

    def changed(self, old: str, new: str) -> frozenset[str]:
        """The paths of all files that differ between two commits."""
        done = self._asked("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)
        return frozenset(done.text.split("\0")) - {""}

    def merged_tree(self, one: str, other: str) -> tuple[str | None, list[str]]:
        """The tree that git makes by merging two commits (None if they conflict), and the conflicting files."""
        options = ("--write-tree", "--allow-unrelated-histories", "--no-messages", "--name-only", "-z")
        done = self._asked("merge-tree", *options, one, other, fine=(0, 1))
        tree, *files = os.fsdecode(done.out).split("\0")
        return (tree if done.status == 0 else None), sorted(filter(None, files))

    # --- what git answers ---------------------------------------------------------------------------

    def _commits(self, answer: Iterator[bytes]) -> Iterator[Commit]:
        """The commits of an answer of `git log`, with their changes. Raises GitFailed."""
        for some in chunks(_changed(answer), _RAW_AT_ONCE):
            read = self.commits([oid for oid, _ in some])
            for (commit, _), (_, changes) in zip(read, some, strict=True):
                yield commit._replace(changes=changes)


def in_glob(path: str) -> str:
    """A path in a glob, with its special characters escaped."""
    return "".join(f"\\{char}" if char in "*?[\\" else char for char in path)


def _changed(answer: Iterator[bytes]) -> Iterator[tuple[str, tuple[FileChange, ...]]]:
    """The id of each commit with its changes, from tokens that all end with a NUL. Raises GitFailed."""
    tokens = _tokens(answer)
    oid = ""
    changes: list[FileChange] = []
    for token in tokens:
        # A line feed separates a commit from its changes.
        if token[:1] == "\n":
            token = token.lstrip("\n")
        kind = token[:1]
        if kind == ":" and oid:
            changes.append(_change(token, next(tokens, "")))
        elif kind == "\x01":
            if oid:
                yield oid, tuple(changes)
            oid, changes = token[1:], []
        elif kind:
            raise _malformed(token)
    if oid:
        yield oid, tuple(changes)


def _commit(token: str) -> Commit:
    """A commit as git tells it. Raises GitFailed."""
    fields = token.split("\n", _FIELDS - 1)
    if len(fields) != _FIELDS:
        raise _malformed(token)
    oid, parents, tree, author, email, committer, seconds, message = fields
    return Commit(oid, tuple(parents.split()), tree, author, email, committer, moment(seconds), message)


def _change(token: str, path: str) -> FileChange:
    # One colon, one mode and one id for each parent, then those of the result (git-diff, combined raw
    # format).
    facts = token.lstrip(":").split(" ")
    parents = len(token) - len(token.lstrip(":"))
    if not path or len(facts) != 2 * parents + 3:
        raise _malformed(token)
    old_mode, new_mode, old, new = facts[0], facts[parents], facts[parents + 1], facts[2 * parents + 1]
    return FileChange(
        path, old_mode, new_mode, None if old_mode == ABSENT else old, None if new_mode == ABSENT else new
    )


def _malformed(token: str) -> GitFailed:
    return GitFailed(command="log", words=f"its answer holds {token[:100]!r}, or ends in the middle")


def _tokens(chunks: Iterator[bytes]) -> Iterator[str]:
    """The tokens of git's output, each of which ends with a NUL. Raises GitFailed if the last one does not."""
    rest = b""
    for chunk in chunks:
        whole, nul, tail = (rest + chunk).rpartition(b"\0")
        if nul:
            yield from os.fsdecode(whole).split("\0")
        rest = tail
    if rest:
        raise _malformed(os.fsdecode(rest))
