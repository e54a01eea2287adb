"""Commits: what each says of itself, and what git says that it changed in the store; oldest first."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from ..core.progress import told
from . import layout
from .gitstore import GitStore
from .history import READING, moment, tokens
from .trees import ABSENT, Change

_RECENT = 1000


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


# One token for each commit, in lines: neither names nor addresses can hold a line feed, and no message a NUL.
_FORMAT = "%x01%H%n%P%n%T%n%an%n%ae%n%ce%n%ct%n%B%x00"
_FIELDS = 7


def headers(store: GitStore, revisions: Sequence[str]) -> Iterator[Commit]:
    """The commits that the revisions name (`tip`, `^not-those`) without what they change, parents before children."""
    for token in tokens(store.repository.headers(revisions, _FORMAT)):
        yield _commit(token, ())


def header(store: GitStore, commit: str) -> Commit:
    """One commit without what it changes."""
    return next(headers(store, [f"{commit}^!"]))


def dates(store: GitStore, commit: str) -> list[datetime]:
    """When the newest thousand commits were made that changed the store, up to a commit."""
    form = ["--full-history", f"--max-count={_RECENT}"]
    return [moment(seconds) for seconds in store.repository.dates(commit, form, folders(store))]


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


def folders(store: GitStore) -> list[str]:
    """The store's folders, as git's pathspecs."""
    return [f":(top,literal){store.full(folder)}" for folder in (layout.QUEUE, layout.POLICIES)]


def _commit(head: str, changes: Sequence[Change]) -> Commit:
    oid, parents, tree, author, email, committer, seconds, message = head[1:].split("\n", _FIELDS)
    return Commit(
        oid,
        tuple(parents.split()),
        tree,
        author,
        email,
        committer,
        moment(seconds),
        message,
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
    return commit._replace(changes=tuple(kept))


def touches_archives(commit: Commit) -> bool:
    """Whether a commit changed an archive, or a file that would be one."""
    return any(layout.archive_at(change.path) for change in commit.changes)
