"""Reads the line ahead of the judge, in batches; for a long line another process compares the trees meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from ..git.objects import Object
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.tree_comparison import Ahead
from ..storage.trees import Difference, Trees

#: The commits of the line in one batch.
BATCH = 256
# A line of so many commits is worth another process that compares their trees.
_LONG = 4_000

#: The commits of a batch, what each changed, and the contents of the records that it changed, as far as they are read.
Compared = tuple[list[Commit], list[Difference], Mapping[str, Object]]


def compared(
    store: GitStore, trees: Trees, last: str | None, batches: Iterable[list[Commit]], count: int
) -> Iterator[Compared]:
    """Compare each commit of some batches with the one before it; ``last`` is the root tree before the first."""
    if count < _LONG or not store.repository.is_settled:
        for batch in batches:
            roots = [last, *(commit.tree for commit in batch)]
            last = roots[-1]
            yield batch, trees.differences(list(pairwise(roots))), {}
        return
    ahead = Ahead(store.repository, store.root, trees)
    waiting: list[list[Commit]] = []
    try:
        for batch in batches:
            roots = [last, *(commit.tree for commit in batch)]
            last = roots[-1]
            ahead.ask(roots)
            waiting.append(batch)
            if len(waiting) == 2:
                yield waiting.pop(0), *ahead.answer()
        yield waiting.pop(0), *ahead.answer()
    finally:
        ahead.close()
