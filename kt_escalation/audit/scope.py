"""The scope of a run of the judge: what it looks at, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ..storage.commits import Commit


@dataclass(frozen=True)
class Scope:
    """What is judged, by which clock, and how strictly.

    ``only`` are the records that are looked at, None for all. ``arriving`` says that the commits are yet to come
    in, so that also what does not act may not be from the future.
    """

    now: datetime
    only: frozenset[str] | None = None
    arriving: bool = False
    always_signed: bool = False


@dataclass
class Tally:
    """What was looked at."""

    commits: int = 0
    steps: int = 0
    imported: int = 0
    #: Commits that acted: signed as required, signed though nobody asked, not signed.
    held: int = 0
    unasked: int = 0
    unsigned: int = 0
    people: set[str] = field(default_factory=set)
    #: Merges of the line that brought something, by which a fresh clone cannot know which side was the branch.
    merges: int = 0


@dataclass(frozen=True)
class Acted:
    """A commit that acted or said something: it is its author's to push."""

    commit: Commit
    actor: str
