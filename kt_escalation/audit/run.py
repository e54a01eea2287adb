"""One run of the judge over a stretch of the line, from its start or from the end of another run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..rules.judge_step import Violation
from ..storage import commits
from ..storage.clone import GitStore
from ..storage.interface import Progress
from ..storage.trees import StoreEntries, Trees
from .judge import Judge
from .line import Lines
from .mark import Mark
from .scope import Scope


@dataclass
class Run:
    """The result of a run."""

    judge: Judge
    lines: Lines
    violations: list[Violation]
    #: The commit of the line after which it began, None for a whole history.
    since: str | None

    def mark(self, tip: str) -> Mark | None:
        """The mark at the tip, or at the commit that the run should pass; None if it did not meet that commit."""
        return self.judge.passed if tip == self.judge.passing else self.judge.mark(tip)


class History:
    """The history of a store's repository."""

    def __init__(self, store: GitStore) -> None:
        self.store = store
        self.trees = Trees(store.repository, store.root)
        self._lines: dict[tuple[str, str | None], Lines] = {}

    def lines(self, tip: str, since: str | None = None) -> Lines:
        """The lines of a commit's history; only what is new ``since`` one of its commits if that is a single row."""
        key = (tip, since)
        if key not in self._lines:
            self._lines[key] = self._row(tip, since) if since else self._whole(tip)
        return self._lines[key]

    def _row(self, tip: str, since: str) -> Lines:
        pairs = self._pairs([tip, f"^{since}"])
        is_row = all(
            parents == [before]
            for (_, parents), before in zip(pairs, [since, *(c for c, _ in pairs)], strict=False)
        )
        return Lines([(since, ()), *pairs], self._entries) if is_row else self.lines(tip)

    def _whole(self, tip: str) -> Lines:
        return Lines(self._pairs([tip]), self._entries)

    def _pairs(self, revisions: Sequence[str]) -> list[tuple[str, list[str]]]:
        found = (line.split() for line in self.store.repository.parents(revisions))
        return [(commit, parents) for commit, *parents in found]

    def _entries(self, commit: str) -> StoreEntries:
        tree = self.store.repository.objects.id_of(f"{commit}^{{tree}}")
        return self.trees.entries([tree])[0] if tree else StoreEntries(commit, commit, commit)

    def known(
        self, commit: str, marks: Iterable[Mark], now: datetime, progress: Progress | None = None
    ) -> Mark:
        """The mark at a commit of the line: judges what came after one of the marks, or the whole history."""
        since = self.usable(commit, marks)
        if since is not None and since.commit == commit:
            return since
        run = self.run(commit, Scope(now), since=since, progress=progress)
        return run.judge.mark(commit)

    def usable(self, tip: str, marks: Iterable[Mark]) -> Mark | None:
        """The first mark from which the line of a commit continues, moved to the commit where it does."""
        ours = [mark for mark in marks if mark.root == self.store.root]
        exact = next((mark for mark in ours if mark.commit == tip), None)
        if exact is not None:
            return exact
        for mark in ours:
            if self.store.repository.is_ancestor(mark.commit, tip):
                resting = self.lines(tip, mark.commit).resting(tip, mark.commit)
                if resting is not None:
                    return replace(mark, commit=resting)
        return None

    def run(
        self,
        tip: str,
        scope: Scope,
        *,
        since: Mark | None = None,
        lines: Lines | None = None,
        passing: str | None = None,
        progress: Progress | None = None,
    ) -> Run:
        """Judge the line of a commit, from its beginning or ``since`` the mark of another run.

        The run can give a mark at the tip, and at the commit ``passing`` on the way.
        """
        lines = lines or self.lines(tip, since.commit if since else None)
        judge = Judge(self.store, lines, scope, self.trees)
        judge.passing = passing
        if since is not None:
            judge.resume(since)
        line = lines.of(tip, since.commit if since else None)
        wanted = [tip, f"^{since.commit}"] if since else [tip]
        found = commits.headers(self.store, wanted)
        violations = judge.judge(found, line, iter(self.store.repository.signed(wanted)), progress)
        return Run(judge, lines, violations, since.commit if since else None)
