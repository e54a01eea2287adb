"""The scope of a run of the judge, and its counts."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime

from ..storage.commits import Commit


@dataclass(frozen=True)
class Scope:
    """What a run judges, by which clock, and how strictly.

    ``only`` limits it to some records; None means all. ``arriving`` means that the commits are not on the
    store branch yet; then none of them may have a date in the future, even if it changes nothing. ``keeps``
    means that a run over all records also keeps when each arrived on the line, as a run over some records
    does.
    """

    now: datetime
    only: frozenset[str] | None = None
    arriving: bool = False
    always_signed: bool = False
    keeps: bool = False


@dataclass
class Tally:
    """The counts of a run."""

    commits: int = 0
    steps: int = 0
    imported: int = 0
    #: Commits that acted: signed as required, signed although not required, unsigned.
    held: int = 0
    unasked: int = 0
    unsigned: int = 0
    people: set[str] = field(default_factory=set)
    #: Merges on the line that changed the store: a fresh clone cannot know which of their parents was the branch.
    merges: int = 0

    def add(self, earlier: Tally) -> None:
        """Add the counts of an earlier run."""
        for one in fields(self):
            mine, other = getattr(self, one.name), getattr(earlier, one.name)
            setattr(self, one.name, mine | other if one.name == "people" else mine + other)


@dataclass(frozen=True)
class Acted:
    """A commit that acted, or stated something about the store: only its author may push it."""

    commit: Commit
    actor: str
