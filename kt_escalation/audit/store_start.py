"""Judges the start of a store: its first commit is imported, it starts once, and it stays in one folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.trees import KT_YAML, Difference, FileChange, Trees
from . import record_files
from .archives import Archives
from .commit_contents import CommitContents
from .findings import Findings
from .judged_line import JudgedLine
from .known_records import KnownRecords
from .line import Lines
from .policies_in_force import InForce, is_policy
from .scope import RunCounts


@dataclass(eq=False)
class StoreStart:
    """Finds the store's start, and the commits without a store."""

    #: What is wrong with naming another folder.
    one_root = Violation("root", "expected the folder that was named when the store began")

    _store: GitStore
    _lines: Lines
    _trees: Trees
    _judged: JudgedLine
    _commits: CommitContents
    _records: KnownRecords
    _archives: Archives
    _policies: InForce
    _findings: Findings
    _tally: RunCounts
    #: The commit that starts the store, None as long as there is none.
    commit: str | None = field(default=None, init=False)
    #: The folders that `.kt.yaml` named before the store started.
    named: set[str] = field(default_factory=set, init=False)
    # The commits of the line without a store, and whether the others that were asked about have one.
    _bare: set[str] = field(default_factory=set, init=False)
    _holding: dict[str, bool] = field(default_factory=dict, init=False)

    def resume(self, mark: str, start: str | None, named: Iterable[str], *, is_sound: bool) -> None:
        """Go on from the mark of another run, at a commit whose tree could be read, or not."""
        self.commit, self.named = start, set(named)
        if start is None or (is_sound and not self._trees.has_store(self._commits.tree_of(mark))):
            self._bare.add(mark)

    def is_before(self, commit: Commit) -> bool:
        """Whether the store has not started at a commit; if so, note which folder `.kt.yaml` names there."""
        if self._trees.has_store(commit.tree):
            return False
        self._bare.add(commit.oid)
        [top] = self._commits.other("").entries([commit.tree])
        named = self._store.location.root_named(commit.oid) if top.kt_yaml else ""
        if named is not None and self._commits.other(named).has_store(commit.tree):
            self.named.add(named)
        return True

    def start(self, commit: Commit, difference: Difference) -> None:
        """Import the content of the store's first commit. Nobody can say how it came about."""
        self.commit = commit.oid
        if len(commit.parents) > 1:
            self._second(commit)
        changes = [change for change in difference.changes if change.new]
        self._commits.contents.learn(changes)
        policies = [change for change in changes if is_policy(change.path)]
        tree = self._commits.policies_tree(commit.tree)
        for path, violation in self._policies.begin(self._judged.count, tree, policies):
            self._findings.find(commit, path, violation)
        commit = commit._replace(changes=tuple(changes))
        self._archives.imported(commit)
        self._import_records(commit, changes)
        if self._records.looks_at_all:
            for change, violation in self._commits.foreign(changes):
                self._findings.find(commit, change.path, violation)
        self._judged.newest = commit.committed_at
        if self.named - {self._store.location.root_named(commit.oid)}:
            self._findings.find(commit, KT_YAML, self.one_root)

    def _import_records(self, commit: Commit, changes: Iterable[FileChange]) -> None:
        for name, sides in self._records.by_record(changes).items():
            _, news = self._commits.contents.sides(sides)
            self._tally.imported += len(news)
            found = list(record_files.faults(news))
            if len(news) > 1 or self._records.exists(name):
                found.append((news[-1].path, Violation("duplicate_file", f"expected one file for {name}")))
            for path, violation in found:
                self._records.illegal[name] = None
                self._records.blame(name, commit, path, violation)
            self._records.know(name, news[0] if not news[0].problem else None)
            self._records.imported.add(name)

    def judge_restart(self, commit: Commit, difference: Difference) -> None:
        """A store that was deleted may not start again."""
        changes = difference.changes
        gone = bool(changes) and changes[-1].new is None and all(change.new is None for change in changes)
        if not gone and (self._lines.above(commit.oid) or "") not in self._bare:
            return
        if not self._trees.has_store(commit.tree):
            self._bare.add(commit.oid)
        elif not any(map(self.holds, commit.parents)):
            self._second(commit)

    def judge_beside(self, commit: Commit) -> None:
        """A commit beside the line may not start a store of its own."""
        if not any(map(self.holds, commit.parents)) and self._trees.has_store(commit.tree):
            self._second(commit)

    def _second(self, commit: Commit) -> None:
        expected = "expected one beginning of the store, by a commit with one parent at most"
        self._findings.find(commit, layout.QUEUE, Violation("start", expected))

    def holds(self, commit: str) -> bool:
        """Whether a commit has a store."""
        if self._judged.position(commit) is not None:
            return commit not in self._bare
        # Refused commits of the line are not before the start, and nobody can say that they have none. A run from a mark
        # does not know their positions.
        if commit == self.commit or commit in self._commits.read_as:
            return True
        if commit not in self._holding:
            self._holding[commit] = self._trees.has_store(self._commits.tree_of(commit))
        return self._holding[commit]

    def moves_root(self, commit: Commit, change: FileChange) -> bool:
        """Whether a change of `.kt.yaml` names another folder for the store than when it started."""
        if change.path != KT_YAML or self.commit is None:
            return False
        named, commits = self._store.location.root_named, self._commits
        before, now = named(self.commit), named(commit.oid)
        return before not in (None, now) and commits.other(before or "").has_store(
            commits.tree_of(self.commit)
        )
