"""Making a store: the layout and sample policies as a first commit (design, section 8, `init`)."""

from __future__ import annotations

import os
import time
from datetime import datetime
from importlib import resources
from pathlib import Path

from ..errors import BadInput, NotAStore
from . import git
from .gitstore import GitStore
from .port import Author

MESSAGE = "kt: init the store\n"


def create(
    folder: Path, now: datetime, lock_timeout: float, retry_timeout: float
) -> tuple[str | None, tuple[str, ...]]:
    """Make a store in a folder; the commit (None if there was one) and warnings.

    A folder inside a repository, but not its top, becomes that repository's `kt.root`.
    Raises BadInput and what writing raises.
    """
    author = _author(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(problem=f"{folder}: {error.strerror}") from None
    try:
        store = GitStore(folder)
    except NotAStore:
        git.init(folder)
        store = GitStore(folder)
    try:
        inside = store.repository.inside(folder)
        if inside and store.root and inside != store.root:
            raise BadInput(
                problem=f"this repository has its store in {store.root}; for another one in {inside}, "
                "point git config kt.root there first"
            )
        if inside and not store.root:
            store.repository.configure("kt.root", inside)
            store.close()
            store = GitStore(folder)
        return _begin(store, author, now, lock_timeout, retry_timeout)
    finally:
        store.close()


def _author(folder: Path) -> Author:
    """Who acts there, asked before anything is made. Raises NoIdentity."""
    here = folder.absolute()
    while not os.path.isdir(here):  # noqa: PTH112 - a Path's own is_dir raises for a name too long
        here = here.parent
    try:
        store = GitStore(here)
    except NotAStore:
        return git.author_outside(here)
    try:
        return store.author()
    finally:
        store.close()


def _begin(
    store: GitStore, author: Author, now: datetime, lock_timeout: float, retry_timeout: float
) -> tuple[str | None, tuple[str, ...]]:
    files: dict[str, bytes | None] = {
        store.full(f"policies/{item.name}"): item.read_bytes()
        for item in resources.files("kt_escalation.templates").iterdir()
        if item.name.endswith(".yaml")
    }
    with store.writing(lock_timeout):
        end = time.monotonic() + retry_timeout
        base = store.start(retry_timeout)
        try:
            if base is not None:
                store.at(base)
                return None, ()
        except NotAStore:
            pass
        commit = store.commit_files(base, files, MESSAGE, author, now, end)
        left = store.follow(commit)
    return commit, (left,) if left else ()
