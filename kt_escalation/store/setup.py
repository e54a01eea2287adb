"""Making a store: the layout and sample policies as a first commit (design, section 8, `init`)."""

from __future__ import annotations

import time
from datetime import datetime
from importlib import resources
from pathlib import Path

from ..errors import BadInput, NotAStore
from . import git
from .gitstore import GitStore

MESSAGE = "kt: init the store\n"


def create(
    folder: Path, now: datetime, lock_timeout: float, retry_timeout: float
) -> tuple[str | None, tuple[str, ...]]:
    """Make a store in a folder; the commit (None if there was one) and warnings.

    A folder inside a repository, but not its top, becomes that repository's `kt.root`.
    Raises BadInput and what writing raises.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(problem=f"{folder}: {error.strerror}") from None
    try:
        store = GitStore(folder)
    except NotAStore:
        git.init(folder)
        store = GitStore(folder)
    inside = store.repository.inside(folder)
    if inside and not store.root:
        store.repository.configure("kt.root", inside)
        store = GitStore(folder)
    files: dict[str, bytes | None] = {
        store.full(f"policies/{item.name}"): item.read_bytes()
        for item in resources.files("kt_escalation.templates").iterdir()
        if item.name.endswith(".yaml")
    }
    author = store.author()
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
