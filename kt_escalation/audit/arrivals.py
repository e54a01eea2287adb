"""Finds when a resolved record arrived on the line, and the commits that made it, without judging again.

Only for a record whose history is known to be legal: such a record arrived once, and is in each later commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from ..errors import NotAStore
from ..frozen import dataclass
from ..model.record import Record
from ..storage import history, layout
from ..storage.commits import Commit
from . import milestones
from .mark import Mark
from .run import History


@dataclass(frozen=True)
class Arrival:
    """The commit of a record's last step, and the commit of the line that brought it, with its date."""

    step: str
    commit: str
    landed: datetime


def arrival(past: History, mark: Mark, record: Record) -> Arrival | None:
    """When a resolved record arrived on the line up to a mark.

    None if it is not found, or was there at the store's start.
    """
    path = layout.path_of(record)
    pair = _came(past, mark, lambda commit: past.at(commit).has_file(path))
    if pair is None:
        return None
    before, came = pair
    commit = came.oid
    step: str | None = commit
    if len(came.parents) > 1:
        # One of the commits that it carries made the record what it is.
        specs = history.pathspecs(past.store, record.escalation_id)
        found = past.store.repository.rev_list(
            [commit, f"^{before}", "--no-merges", "--full-history", "--", *specs]
        )
        step = next((one for one in reversed(found) if past.at(one).has_file(path)), None)
    return Arrival(step, commit, came.committed_at) if step else None


def touching(past: History, mark: Mark, record: Record, arrived: Arrival) -> Iterator[str]:
    """The commits of a record's steps, from the first to the last.

    A legal merge makes no step of its own: its record is that of a parent, or the result of the steps that it
    brings.
    """
    name, path = record.escalation_id, layout.path_of(record)

    def has(commit: str) -> bool:
        snapshot = past.at(commit)
        return snapshot.files.open_file(f"{name}{layout.SUFFIX}") is not None or snapshot.has_file(path)

    born = _came(past, mark, has)
    after = [f"^{born[0]}"] if born else []
    specs = history.pathspecs(past.store, name)
    yield from past.store.repository.rev_list(
        [arrived.commit, *after, "--no-merges", "--full-history", "--", *specs]
    )


def _came(past: History, mark: Mark, has: Callable[[str], bool]) -> tuple[str, Commit] | None:
    """The last commit of the line that does not have something, and the next one. None if each has it."""
    points = [mark.start or mark.commit, *mark.milestones, mark.commit]

    def has_now(commit: str) -> bool:
        try:
            return has(commit)
        except NotAStore:
            return False

    def between(low: str, row: Sequence[str]) -> tuple[str, Commit] | None:
        at = milestones.first(row, has_now)
        found = past.header(row[at]) if at < len(row) else None
        return (row[at - 1] if at else low, found) if found else None

    at = milestones.first(points, has_now)
    if at in (0, len(points)):
        return None
    low, high = points[at - 1], points[at]
    pair = between(low, past.first_parents(low, high))
    if pair is None or len(pair[1].parents) < 2:
        return pair
    # The line may go along the other parent of a merge, so the whole of it is needed.
    return between(low, past.lines(mark.commit).of(high, low))
