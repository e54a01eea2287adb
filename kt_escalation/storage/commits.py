"""Commits, oldest first: their metadata and messages, and the files of the store that they change."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ..errors import GitFailed
from ..git.commit import Commit as Commit
from ..model.progress import counted
from . import layout
from .clone import GitStore
from .history import READING

#: So many commits `changing` finds.
RECENT = 1000


def headers(store: GitStore, revisions: Sequence[str]) -> Iterator[Commit]:
    """The commits that the revisions name (`tip`, `^not-those`), without their changes, parents before children."""
    return store.repository.headers(revisions)


def signed_headers(store: GitStore, revisions: Sequence[str]) -> Iterator[tuple[Commit, bool]]:
    """`headers`, each with whether the commit has a signature, valid or not. Raises GitFailed."""
    lines = [*store.repository.parents(revisions)]
    found = store.repository.commits([line.partition(" ")[0] for line in lines])
    for line, (commit, is_signed) in zip(lines, found, strict=True):
        if line != " ".join((commit.oid, *commit.parents)):
            words = (
                f"it and {commit.oid} itself name different parents; `git commit-graph verify` may say why"
            )
            raise GitFailed(command="rev-list", words=words)
        yield commit, is_signed


def header(store: GitStore, commit: str) -> Commit:
    """One commit without its changes. Raises GitFailed."""
    for found in headers(store, [f"{commit}^!"]):
        return found
    raise GitFailed(command="log", words=f"it says nothing of {commit}")


def changing(store: GitStore, commit: str, start: str) -> list[Commit]:
    """The newest thousand commits, up to one, that changed the store after the commit that started it."""
    some = (f"^{start}", f"--max-count={RECENT}")
    try:
        return store.repository.changing(commit, ["--full-history", *some], folders(store))
    except GitFailed:
        # If git itself cannot read some tree on the way, all commits count.
        return store.repository.changing(commit, some, [])


def walk(store: GitStore, revisions: Sequence[str], *, merged: bool = False) -> Iterator[Commit]:
    """The commits that the revisions name (`tip`, `^not-those`), parents before children.

    The store's progress is called for each. With ``merged``, a merge has the changes that none of its parents
    has, compared with its first parent.
    """
    found = _walked(store, revisions, merged)
    return (
        counted(store.progress, READING, found, store.repository.count(revisions))
        if store.progress
        else found
    )


def _walked(store: GitStore, revisions: Sequence[str], merged: bool) -> Iterator[Commit]:
    merges = "combined" if merged else "off"
    for commit in store.repository.walk(revisions, folders(store), merges=merges):
        if commit.changes and store.root:
            below = (change._replace(path=store.below(change.path)) for change in commit.changes)
            commit = commit._replace(changes=tuple(below))
        yield commit


def folders(store: GitStore) -> list[str]:
    """The store's folders, as git's pathspecs."""
    return [f":(top,literal){store.full(folder)}" for folder in (layout.QUEUE, layout.POLICIES)]


def without(commit: Commit, moved: Container[str]) -> Commit:
    """A commit without the files that it moved into archives, and without those archives."""
    kept = (c for c in commit.changes if c.path not in moved and not layout.archive_at(c.path))
    return commit._replace(changes=tuple(kept))


def touches_archives(commit: Commit) -> bool:
    """Whether a commit changed an archive, or a file that would be one."""
    return any(layout.archive_at(change.path) for change in commit.changes)
