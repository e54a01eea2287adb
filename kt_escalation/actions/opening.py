"""Opens a store whose fetches notice when the remote has rewritten the branch."""

from __future__ import annotations

import os
from pathlib import Path

from ..storage.clone import GitStore
from ..storage.interface import Progress


def opened(path: str | os.PathLike[str], progress: Progress | None = None) -> GitStore:
    """The store in the repository that holds ``path``. Raises NotAStore, GitFailed, BadInput."""
    return GitStore(Path(path), progress=progress, goes_on=_goes_on)


def _goes_on(store: GitStore, tip: str, seen: str) -> bool:
    # Lines are asked for only where a fetch has brought a merge.
    from ..audit.verify import goes_on

    return goes_on(store, tip, seen)
