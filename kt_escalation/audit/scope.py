"""The scope of a run of the judge, and its counts."""

from __future__ import annotations

from dataclasses import field, fields
from datetime import datetime

from ..frozen import dataclass
from ..policies.roster import Roster, logged_in, person
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
class RunCounts:
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

    def add(self, earlier: RunCounts) -> None:
        """Add the counts of an earlier run."""
        for one in fields(self):
            mine, other = getattr(self, one.name), getattr(earlier, one.name)
            setattr(self, one.name, mine | other if one.name == "people" else mine + other)


@dataclass(frozen=True)
class Acted:
    """A commit that acted, or stated something about the store: only its author may push it."""

    commit: Commit
    actor: str


@dataclass(frozen=True)
class Sender:
    """Who sent a pull request or a push, as the host or the server names them.

    With a ``forge``, ``name`` is a login there, else a user id or an e-mail.
    """

    name: str
    forge: str | None = None

    def __str__(self) -> str:
        return f"{self.forge}:{self.name}" if self.forge else self.name

    def user(self, roster: Roster | None) -> str | None:
        """The person's user id, or without a roster their e-mail.

        A forge's login is matched with the roster's `logins` of that forge and nothing else; None if no user has it.
        """
        if self.forge is not None:
            return logged_in(roster, self.forge, self.name) if roster else None
        return person(roster, self.name)
