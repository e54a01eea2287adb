"""Every commit of a stretch of history, oldest first, with what it changed in the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from . import layout
from .gitstore import GitStore
from .history import moment, tokens

ABSENT = "000000"


@dataclass(frozen=True)
class Change:
    """One file that differs: its path below the store's top, and mode and id on both sides (None: absent)."""

    path: str
    old_mode: str
    new_mode: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Commit:
    """One commit; ``changes`` are against its only parent, and empty for a merge."""

    oid: str
    parents: tuple[str, ...]
    author: str
    email: str
    committer: str
    committed_at: datetime
    trailers: tuple[tuple[str, str], ...]
    changes: tuple[Change, ...]


_FORMAT = "%x01%H%x00%P%x00%an%x00%ae%x00%ce%x00%ct%x00%(trailers:only,unfold,separator=%x02)%x00"
_FIELDS = 7


def walk(store: GitStore, revisions: Sequence[str]) -> Iterator[Commit]:
    """The commits that the revisions name (`tip`, `^not-those`), parents before children."""
    found = tokens(store.repository.walk(revisions, _FORMAT, _folders(store)))
    head: list[str] = []
    changes: list[Change] = []
    for token in found:
        if token.startswith("\x01"):
            if head:
                yield _commit(head, changes)
            head, changes = [token[1:], *(next(found) for _ in range(_FIELDS - 1))], []
        elif token.startswith(":"):
            changes.append(_change(store, token, next(found)))
    if head:
        yield _commit(head, changes)


def differences(store: GitStore, old: str, new: str) -> tuple[Change, ...]:
    """The files of the store that differ between two commits."""
    found = tokens(store.repository.diff_tree(old, new, _folders(store)))
    return tuple(_change(store, token, next(found)) for token in found if token.startswith(":"))


def _folders(store: GitStore) -> list[str]:
    return [f":(top,literal){store.full(folder)}" for folder in (layout.QUEUE, layout.POLICIES)]


def _commit(head: Sequence[str], changes: Sequence[Change]) -> Commit:
    oid, parents, author, email, committer, seconds, trailers = head
    pairs = (line.partition(": ") for line in trailers.split("\x02") if line)
    return Commit(
        oid,
        tuple(parents.split()),
        author,
        email,
        committer,
        moment(seconds),
        tuple((key, value) for key, _, value in pairs),
        tuple(changes),
    )


def _change(store: GitStore, token: str, path: str) -> Change:
    old_mode, new_mode, old, new, _ = token[1:].split(" ")
    return Change(
        path.removeprefix(f"{store.root}/") if store.root else path,
        old_mode,
        new_mode,
        None if old_mode == ABSENT else old,
        None if new_mode == ABSENT else new,
    )
