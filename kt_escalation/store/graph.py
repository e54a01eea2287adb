"""Every commit of a stretch of history, oldest first, with what it changed in the store."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from . import layout
from .gitstore import GitStore
from .history import READING, moment, tokens
from .port import told

ABSENT = "000000"
_RECENT = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """One file that differs: its path below the store's top, and mode and id on both sides (None: absent)."""

    path: str
    old_mode: str
    new_mode: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit; ``changes`` are against its only parent, for a merge only what no parent has, if asked for."""

    oid: str
    parents: tuple[str, ...]
    author: str
    email: str
    committer: str
    committed_at: datetime
    trailers: tuple[tuple[str, str], ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Shape:
    """Where history is no single line: the first and the last commits of each stretch between fork and merge.

    ``count`` is how many commits there are; ``after`` the one that they all follow, each the only child of
    the one before, None where they do not.
    """

    starts: frozenset[str]
    ends: frozenset[str]
    count: int
    after: str | None


NO_SHAPE = Shape(frozenset(), frozenset(), 0, None)


def shape(store: GitStore, revisions: Sequence[str]) -> Shape:
    """The shape of the history that `walk` gives for the same revisions.

    Keeps twenty bytes a commit, and only the edges that do not lead to the commit before.
    """
    order = bytearray()
    width = 0
    edges: list[tuple[int, int]] = []
    last = ""
    count = 0
    after: str | None = None
    for line in store.repository.parents(revisions):
        oid, *above = line.split()
        width = len(oid) // 2
        if above != [last]:
            after = above[0] if count == 0 and len(above) == 1 else None
            for parent in above or [""]:
                before = _index(order, parent, width)
                if before != count - 1:
                    edges.append((before, count))
        order += bytes.fromhex(oid)
        last, count = oid, count + 1
    starts, ends = set(), set()
    for first, end in _joined(edges):
        starts.add(order[first * width : (first + 1) * width].hex())
        ends.add(order[end * width : (end + 1) * width].hex())
    return Shape(frozenset(starts), frozenset(ends), count, after)


def _index(order: bytearray, oid: str, width: int) -> int:
    """The place of a commit among those before, -1 for one that is not among them."""
    raw, end = bytes.fromhex(oid), len(order)
    while raw and (at := order.rfind(raw, 0, end)) >= 0:
        if at % width == 0:
            return at // width
        end = at + width - 1
    return -1


def _joined(edges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The stretches that the edges span, from the commit behind the first to the last, overlaps joined."""
    found: list[tuple[int, int]] = []
    for before, after in sorted(edges):
        if found and before + 1 <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], after))
        else:
            found.append((before + 1, after))
    return found


# One token for each commit, in lines: neither names nor addresses can hold a line feed.
_FORMAT = "%x01%H%n%P%n%an%n%ae%n%ce%n%ct%n%(trailers:only,unfold,separator=%x02)%x00"
_FIELDS = 7


def walk(
    store: GitStore,
    revisions: Sequence[str],
    *,
    merged: bool = False,
    paths: Sequence[str] | None = None,
) -> Iterator[Commit]:
    """The commits that the revisions name (`tip`, `^not-those`), parents before children.

    The store's progress is told of all of them. With ``merged`` also what a merge made that none of its parents has, against the first of them. With
    ``paths`` (git's pathspecs) only the commits that touch these, and only what they did there.
    """
    found = _walked(store, revisions, merged, paths)
    every = paths is None and store.progress is not None
    return told(store.progress, READING, found, store.repository.count(revisions)) if every else found


def _walked(
    store: GitStore, revisions: Sequence[str], merged: bool, paths: Sequence[str] | None
) -> Iterator[Commit]:
    merges = "combined" if merged else "off"
    where = folders(store) if paths is None else paths
    every = paths is None
    found = tokens(store.repository.walk(revisions, _FORMAT, where, merges=merges, every=every))
    head = ""
    changes: list[Change] = []
    for token in found:
        if token[0] == ":":
            changes.append(_change(store, token, next(found)))
        elif token[0] == "\x01":
            if head:
                yield _commit(head, changes)
            head, changes = token, []
    if head:
        yield _commit(head, changes)


def differences(
    store: GitStore, old: str, new: str, paths: Sequence[str] | None = None
) -> tuple[Change, ...]:
    """The files of the store that differ between two commits; with ``paths`` (git's pathspecs) of these."""
    found = tokens(store.repository.diff_tree(old, new, folders(store) if paths is None else paths))
    return tuple(_change(store, token, next(found)) for token in found if token.startswith(":"))


def beginning(store: GitStore, revision: str) -> str:
    """The commit with which the store began: on the first-parent line, unless it was merged in there as well."""
    touching = ["--full-history", revision, "--", *folders(store)]
    first = store.repository.rev_list(["--first-parent", *touching])[0]
    return store.repository.rev_list(touching)[0] if store.repository.is_merge(first) else first


def newest(store: GitStore, commit: str) -> datetime:
    """The latest committer's date of a commit and of what it contains, of which the last thousand count."""
    return max(map(moment, store.repository.dates(commit, _RECENT)), default=moment("0"))


def folders(store: GitStore) -> list[str]:
    """The store's folders, as git's pathspecs."""
    return [f":(top,literal){store.full(folder)}" for folder in (layout.QUEUE, layout.POLICIES)]


def _commit(head: str, changes: Sequence[Change]) -> Commit:
    oid, parents, author, email, committer, seconds, trailers = head[1:].split("\n", _FIELDS - 1)
    return Commit(
        oid,
        tuple(parents.split()),
        author,
        email,
        committer,
        moment(seconds),
        tuple([line.partition(": ")[::2] for line in trailers.split("\x02") if line]),
        tuple(changes),
    )


def _change(store: GitStore, token: str, path: str) -> Change:
    # One colon, mode and id for each parent, then those of the result (git-diff, combined raw format).
    facts = token.lstrip(":").split(" ")
    parents = len(token) - len(token.lstrip(":"))
    old_mode, new_mode, old, new = facts[0], facts[parents], facts[parents + 1], facts[2 * parents + 1]
    return Change(
        store.below(path),
        old_mode,
        new_mode,
        None if old_mode == ABSENT else old,
        None if new_mode == ABSENT else new,
    )


def without(commit: Commit, moved: Container[str]) -> Commit:
    """A commit without the files that it moved and the archives that it moved them to."""
    kept = (c for c in commit.changes if c.path not in moved and not layout.archive_at(c.path))
    return replace(commit, changes=tuple(kept))


def touches_archives(commit: Commit) -> bool:
    """Whether a commit changed an archive, or a file that would be one."""
    return any(layout.archive_at(change.path) for change in commit.changes)
