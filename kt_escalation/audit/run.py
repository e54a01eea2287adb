"""One run of the judge over a stretch of the line, from its start or from the end of another run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from ..errors import KtError
from ..rules.judge_step import Violation
from ..storage import commits
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.interface import Progress
from ..storage.snapshot import GitSnapshot
from ..storage.trees import StoreEntries, Trees
from .judge import Judge
from .line import Lines
from .mark import Mark
from .scope import RunCounts, Scope
from .second_half import SecondHalf, guessed

# A line of so many commits is worth a second process.
_LONG = 4_000


@dataclass
class Run:
    """The result of a run."""

    judge: Judge
    lines: Lines
    violations: list[Violation]
    #: The commit of the line after which it began, None for a whole history.
    since: str | None

    def plain(self, tip: str) -> dict[str, Any]:
        """The run up to the tip as JSON values, for `of`."""
        judge = self.judge
        legal = judge.records.legal.items()
        return {
            "mark": judge.mark(tip).plain(),
            "passed": judge.passed.plain() if judge.passed else None,
            "tally": {**vars(judge.tally), "people": sorted(judge.tally.people)},
            "legal": {name: [state and state.file for state in states] for name, states in legal},
            "touching": {name: sorted(some) for name, some in judge.records.touching.items()},
            "by": judge.records.by,
            "landed": {name: when.isoformat() for name, when in judge.records.landed.items()},
        }

    @classmethod
    def of(cls, values: Mapping[str, Any] | None, judge: Judge, lines: Lines) -> Run | None:
        """The result of a run in another process. Its ``judge`` has judged nothing."""
        end = Mark.of(values["mark"]) if values else None
        if values is None or end is None:
            return None
        judge.resume(end)
        judge.passed = Mark.of(values["passed"])
        judge.tally.add(RunCounts(**{**values["tally"], "people": set(values["tally"]["people"])}))
        for name, files in values["legal"].items():
            judge.records.legal[name] = [file and judge.commits.contents.state(*file) for file in files]
        for name, some in values["touching"].items():
            judge.records.touch(name, *some)
        judge.records.by |= values["by"]
        for name, when in values["landed"].items():
            judge.records.landed[name] = datetime.fromisoformat(when)
        return cls(judge, lines, [], end.commit)

    def followed_by(self, rest: Run) -> Run:
        """This run and a second one that continued from its end, as one run."""
        judge, before = rest.judge, self.judge
        judge.tally.add(before.tally)
        judge.passed = judge.passed or before.passed
        judge.records.follow(before.records)
        every = (*judge.findings.earlier, *judge.findings.found)
        return Run(judge, rest.lines, list(dict.fromkeys(every)), self.since)

    def mark(self, tip: str) -> Mark | None:
        """The mark at the tip, or at the commit that the run should pass. None if it did not meet that commit."""
        return self.judge.passed if tip == self.judge.passing else self.judge.mark(tip)


class History:
    """The history of a store's repository."""

    def __init__(self, store: GitStore) -> None:
        self.store = store
        self.trees = Trees(store.repository, store.root)
        self._lines: dict[tuple[str, str | None], Lines] = {}
        # What several records have in common when it is asked when each of them came.
        self._rows: dict[tuple[str, str], Sequence[str]] = {}
        self._headers: dict[str, Commit] = {}
        self._snapshots: dict[str, GitSnapshot] = {}

    def lines(self, tip: str, since: str | None = None) -> Lines:
        """The lines of a commit's history; only what is new ``since`` one of its commits if that is a single row."""
        key = (tip, since)
        if key not in self._lines:
            self._lines[key] = self._row(tip, since) if since else self._whole(tip)
        return self._lines[key]

    def first_parents(self, low: str, high: str) -> Sequence[str]:
        """The commits by first parents after ``low`` up to ``high``, oldest first. Asked once for each pair."""
        if (low, high) not in self._rows:
            self._rows[low, high] = self.store.repository.rev_list(["--first-parent", high, f"^{low}"])
        return self._rows[low, high]

    def header(self, commit: str) -> Commit:
        """One commit without its changes. Read only once. Raises GitFailed."""
        if commit not in self._headers:
            self._headers[commit] = commits.header(self.store, commit)
        return self._headers[commit]

    def at(self, commit: str) -> GitSnapshot:
        """The store at a commit. Read only once. Raises NotAStore."""
        if commit not in self._snapshots:
            self._snapshots[commit] = self.store.at(commit)
        return self._snapshots[commit]

    def _row(self, tip: str, since: str) -> Lines:
        pairs = self._pairs([tip, f"^{since}"])
        # Where ``since`` is newer than the tip, there is nothing after it.
        is_row = (bool(pairs) or tip == since) and all(
            parents == [before]
            for (_, parents), before in zip(pairs, [since, *(c for c, _ in pairs)], strict=False)
        )
        return Lines([(since, ()), *pairs], self._entries) if is_row else self.lines(tip)

    def _whole(self, tip: str) -> Lines:
        return Lines(self._pairs([tip]), self._entries)

    def _pairs(self, revisions: Sequence[str]) -> list[tuple[str, list[str]]]:
        found = (line.split() for line in self.store.repository.parents(revisions))
        return [(commit, parents) for commit, *parents in found]

    def _entries(self, commits: Sequence[str]) -> list[StoreEntries]:
        trees = self.store.repository.objects.ids_of([f"{commit}^{{tree}}" for commit in commits])
        found = iter(self.trees.entries([tree for tree in trees if tree]))
        return [
            next(found) if tree else StoreEntries(commit, commit, commit)
            for commit, tree in zip(commits, trees, strict=True)
        ]

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
                    return mark.moved(resting)
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
        line = lines.of(tip, since.commit if since else None)
        if since is None and not scope.arriving and len(line) >= _LONG and self.store.repository.is_settled:
            guess = None
            # What cannot be read is for the judge to say.
            with suppress(KtError):
                guess = guessed(self.store, self.trees, line)
            if guess is not None:
                return self._in_halves(guess, line, scope, passing, progress)
        return self._judged(tip, line, lines, scope, since, passing, progress)

    def _judged(
        self,
        tip: str,
        line: Sequence[str],
        lines: Lines,
        scope: Scope,
        since: Mark | None,
        passing: str | None,
        progress: Progress | None,
    ) -> Run:
        judge = self._judge(lines, scope, passing)
        if since is not None:
            judge.resume(since)
            judge.before_mark(partial(self._dated, since.commit, lines, scope))
        wanted = [tip, f"^{since.commit}"] if since else [tip]
        violations = judge.judge(commits.signed_headers(self.store, wanted), line, progress)
        return Run(judge, lines, violations, since.commit if since else None)

    def _dated(self, commit: str, lines: Lines, scope: Scope) -> Judge:
        """A run up to a commit that looks at no record: it knows the newest date up to each commit."""
        only = Scope(scope.now, frozenset(), always_signed=scope.always_signed)
        return self._judged(commit, lines.of(commit), lines, only, None, None, None).judge

    def _in_halves(
        self, guess: Mark, line: Sequence[str], scope: Scope, passing: str | None, progress: Progress | None
    ) -> Run:
        """Judge a whole line, its second half in another process at the same time."""
        tip, lines = line[-1], self.lines(line[-1])
        half = line.index(guess.commit) + 1

        def told(before: int, label: str, done: int, _: int) -> None:
            if progress is not None:
                progress(label, before + done, len(line))

        ahead = SecondHalf(self.store, guess, tip, scope, passing)
        try:
            first = self._judged(guess.commit, line[:half], lines, scope, None, passing, partial(told, 0))
            mark = first.judge.mark(guess.commit)
            answer = ahead.answer(mark)
        finally:
            ahead.close()
        second = Run.of(answer, self._judge(lines, scope, passing), lines)
        if second is None:
            second = self._judged(tip, line[half:], lines, scope, mark, passing, partial(told, half))
        told(half, "judging commits", len(line) - half, 0)
        return first.followed_by(second)

    def _judge(self, lines: Lines, scope: Scope, passing: str | None) -> Judge:
        judge = Judge(self.store, lines, scope, self.trees)
        judge.passing = passing
        return judge
