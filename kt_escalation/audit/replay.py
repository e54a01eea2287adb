"""One run of the judge over some stretch of the line, from its start or from where another run has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from .. import lookup
from ..core.verify import Violation
from ..store import commits
from ..store.gitstore import GitStore
from ..store.port import Progress
from ..store.trees import StoreEntries, Trees
from .judge import Judge, Resumed, Scope
from .line import Lines
from .records import State

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Mark:
    """A commit of the line up to which all was clean or waived, as a clone remembers it."""

    commit: str
    start: str
    root: str
    in_force: str | None = None
    legal: Mapping[str, Sequence[str]] = field(default_factory=dict)
    newest: float = 0.0
    waived: tuple[Violation, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The mark as JSON values."""
        values = {name: getattr(self, name) for name in ("commit", "start", "root", "in_force", "newest")}
        return {**values, "legal": self.legal, "waived": [vars(violation) for violation in self.waived]}

    @classmethod
    def of(cls, values: object) -> Mark | None:
        """The mark that some JSON values are, None for none."""
        try:
            given = dict(values)  # type: ignore[call-overload]
            waived = tuple(Violation(**violation) for violation in given.pop("waived", ()))
            return cls(**given, waived=waived)
        except (TypeError, ValueError):
            return None


@dataclass
class Run:
    """What a run came to."""

    judge: Judge
    lines: Lines
    violations: list[Violation]
    #: The commit of the line that it began behind, None if at the beginning.
    since: str | None

    def mark(self, tip: str, waived: Sequence[Violation] = ()) -> Mark | None:
        """Where the next run may begin, None where the store has not."""
        judge = self.judge
        known = judge.policies.policies.tree, judge.policies.legal, judge.newest
        if tip == judge.passing:
            if judge.passed is None:
                return None
            known = judge.passed
        if judge.start is None:
            return None
        tree, legal, newest = known
        versions = {path: list(version) for path, version in legal.items()}
        seconds = newest.timestamp() if newest > _LONG_AGO else 0.0
        return Mark(tip, judge.start, judge.store.root, tree, versions, seconds, tuple(waived))


class History:
    """The commits of a store's repository, and their lines."""

    def __init__(self, store: GitStore) -> None:
        self.store = store
        self.trees = Trees(store.repository, store.root)
        self._lines: dict[tuple[str, str | None], Lines] = {}

    def lines(self, tip: str, since: str | None = None) -> Lines:
        """The lines of all that a commit contains; of what is new ``since`` one of them where that is one row."""
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

    def resumed(self, commit: str, mark: Mark | None = None) -> Resumed:
        """What is known at a commit of the line: by a mark of it, else as it is written there."""
        tree = self.store.repository.objects.id_of(f"{commit}^{{tree}}") or ""
        if mark is not None:
            newest = [datetime.fromtimestamp(mark.newest, UTC)] if mark.newest else []
            legal = {path: (version[0], version[1]) for path, version in mark.legal.items()}
            return Resumed(commit, tree, mark.in_force, newest, legal, mark.start)
        policies = lookup.policies_at(self.store, commit)
        dates: list[datetime] = []
        if policies.settings.signatures == "required":
            dates = commits.dates(self.store, commit)
        return Resumed(commit, tree, None, dates, None, None, policies)

    def run(
        self,
        tip: str,
        scope: Scope,
        *,
        since: Resumed | None = None,
        lines: Lines | None = None,
        passing: str | None = None,
        progress: Progress | None = None,
    ) -> Run:
        """Judge the line of a commit, from the beginning or ``since`` where another run has ended.

        A mark can be had of the tip, and of a commit that the run is ``passing``.
        """
        lines = lines or self.lines(tip, since.commit if since else None)
        judge = Judge(self.store, lines, scope, self.trees)
        judge.passing = passing
        if since is not None:
            judge.resume(since, partial(self._past, scope))
        line = lines.of(tip, since.commit if since else None)
        wanted = [tip, f"^{since.commit}"] if since else [tip]
        found = commits.headers(self.store, wanted)
        violations = judge.judge(found, line, iter(self.store.repository.signed(wanted)), progress)
        return Run(judge, lines, violations, since.commit if since else None)

    def _past(self, scope: Scope, commit: str, name: str) -> tuple[bool, State | None]:
        """Whether a record was illegal at a commit of the line, and its last legal state there, None if it never was."""
        run = self.run(commit, Scope(scope.now, only=frozenset({name})))
        if name in run.judge.illegal:
            return True, run.judge.illegal[name]
        states = run.judge.legal.get(name, ())
        return False, states[-1] if states else None
