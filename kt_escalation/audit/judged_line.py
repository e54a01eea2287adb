"""The part of the line that a run has judged: the position of each commit, and the newest date up to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from . import milestones
from .commit_contents import LONG_AGO


class JudgedLine:
    """Counts the commits of the line as they are judged."""

    def __init__(self) -> None:
        #: The commits that this run judges, oldest first, and how many of them are judged.
        self.commits: Sequence[str] = ()
        self.count = 0
        #: The newest date of the commits that acted.
        self.newest = LONG_AGO
        #: The newest commit whose tree could be read.
        self.sound: str | None = None
        #: The root tree that the next commit is compared with.
        self.root: str | None = None
        self._position: dict[str, int] = {}
        self._newest_at: list[datetime] = []
        self._newest_at_mark = LONG_AGO
        self._before: tuple[int, tuple[str, ...]] = 0, ()

    def resume(
        self,
        commit: str,
        sound: str | None,
        root: str | None,
        newest: datetime,
        before: tuple[int, tuple[str, ...]],
    ) -> None:
        """Continue from the mark of another run.

        ``before`` is the number of commits that it had counted, and its milestones.
        """
        self._before = before
        # A tree that is refused counts for nothing; the next one is compared with the last that was not.
        self.sound, self.root = sound, root
        self.newest = self._newest_at_mark = newest
        self._position[commit] = -1

    def add(self, commit: str) -> None:
        """Note that a commit has been judged."""
        self._position[commit] = self.count
        self._newest_at.append(self.newest)

    def milestones(self, commit: str) -> tuple[int, tuple[str, ...]]:
        """The number of commits of the line up to a judged commit, and the milestones among them."""
        count, known = self._before
        new = self.commits[: self._position.get(commit, -1) + 1]
        return count + len(new), milestones.extended(known, count, new)

    def position(self, commit: str) -> int | None:
        """The position of a commit that was judged; -1 is the mark, None a commit that was not judged."""
        return self._position.get(commit)

    def newest_at(self, commit: str) -> datetime | None:
        """The newest date of a commit that acted, up to a commit of the line. None if that was not judged."""
        at = self._position.get(commit)
        if at is None:
            return None
        return self._newest_at[at] if at >= 0 else self._newest_at_mark
