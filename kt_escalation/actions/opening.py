"""Opens a store whose fetches notice when the remote has rewritten the branch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..storage.clone import GitStore
from ..storage.interface import Progress
from ..storage.snapshot import GitSnapshot


def opened(path: str | os.PathLike[str], progress: Progress | None = None) -> GitStore:
    """The store in the repository that holds ``path``. Raises NotAStore, GitFailed, BadInput."""
    return GitStore(Path(path), progress=progress, goes_on=_goes_on)


@contextmanager
def reading(
    path: str | os.PathLike[str],
    rev: str | None = None,
    *,
    fetch: bool = False,
    progress: Progress | None = None,
) -> Iterator[tuple[GitStore, GitSnapshot]]:
    """Open a store to read it at one revision, and close it at the end. Raises as `opened` and reading do."""
    from ..storage import lookup

    with closing(opened(path, progress)) as store:
        yield store, lookup.snapshot(store, rev, fetch=fetch)


def _goes_on(store: GitStore, tip: str, seen: str) -> bool:
    # Lines are asked for only where a fetch has brought a merge.
    from ..audit.verify import goes_on

    return goes_on(store, tip, seen)
