"""The facts about records that a run of the judge keeps: which exist, which are illegal, and their last legal states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.commits import Commit
from ..storage.snapshot import GitSnapshot
from ..storage.trees import FileChange
from .commit_contents import LONG_AGO
from .findings import Findings, key
from .mark import ViolationKey
from .record_files import RecordChanges, State, by_record
from .scope import Scope


class KnownRecords:
    """Keeps the facts about records that the judge needs along the line."""

    def __init__(self, scope: Scope, findings: Findings) -> None:
        self._scope = scope
        self._findings = findings
        #: The store at the mark from which this run continues.
        self.base: GitSnapshot | None = None
        #: Records that are illegal now, each with its last legal state; and the violations that waivers must accept.
        self.illegal: dict[str, State | None] = {}
        self.owed: dict[str, set[ViolationKey]] = {}
        #: Those that were illegal at the mark from which this run continues.
        self.illegal_at_mark: Mapping[str, State | None] = {}
        #: Records whose state is accepted only by a waiver.
        self.waived: set[str] = set()
        #: For each record, the commits that changed it with which something is wrong as a whole, such as their signature.
        self.doubted: dict[str, set[str]] = {}
        #: If the run looks at some records only: the legal states of each, and which were imported.
        self.legal: dict[str, list[State | None]] = {}
        self.imported: set[str] = set()
        #: The commit of the last legal step of each of these, and when its decision came to the line.
        self.by: dict[str, str] = {}
        self.landed: dict[str, datetime] = {}
        #: The commits that changed each of these, by id.
        self.touching: dict[str, set[str]] = {}
        #: Are told of each new legal state of a record, with when the line got it.
        self.followers: list[Callable[[str, State, datetime], None]] = []
        #: The date of the commit of the line that is judged.
        self.arrived = LONG_AGO
        # Hashes of ids: for a million they take a tenth of the memory.
        self._known: set[int] = set()

    def resume(
        self,
        base: GitSnapshot | None,
        illegal: dict[str, State | None],
        owed: dict[str, set[ViolationKey]],
        waived: set[str],
        doubted: dict[str, set[str]],
    ) -> None:
        """Continue from the mark of another run."""
        self.base, self.illegal, self.owed = base, illegal, owed
        self.waived, self.doubted = waived, doubted
        self.illegal_at_mark = dict(illegal)
        # An illegally deleted record existed as well.
        self._known |= {hash(name) for name in (*illegal, *waived)}

    def follow(self, earlier: KnownRecords) -> None:
        """Add the facts of the previous run about the records that both runs look at."""
        self.imported |= earlier.imported
        for name, commits in earlier.touching.items():
            self.touch(name, *commits)
        self.by = {**earlier.by, **self.by}
        self.landed = {**self.landed, **earlier.landed}
        for name, states in earlier.legal.items():
            self.legal[name] = [*states, *self.legal.get(name, ())]

    def excuse(self, accepted: Iterable[Violation]) -> None:
        """Make records legal again if waivers accept all their violations."""
        for found in accepted:
            name = found.escalation_id
            if name in self.owed:
                self.owed[name].discard(key(found))
                if not self.owed[name]:
                    del self.owed[name]
                    self.waived.add(name)
                    self.illegal.pop(name, None)

    def doubt(self, commit: Commit, names: Iterable[str]) -> None:
        """Note for some records a commit that changed them if something is wrong with it as a whole."""
        for name in names if commit.oid in self._findings.guilty else ():
            self.doubted.setdefault(name, set()).add(commit.oid)

    def is_believed(self, name: str) -> bool:
        """Whether legal steps led to a record's state, and nothing is wrong with their commits, waived or not."""
        if name in self.illegal or name in self.waived:
            return False
        return self._findings.guilty.isdisjoint(self.doubted.get(name, ()))

    def touch(self, name: str, *commits: str) -> None:
        """Note commits that changed a record, if the run looks at some records only."""
        if self._scope.only is not None:
            self.touching.setdefault(name, set()).update(commits)

    def was_here(self, name: str) -> None:
        """Note that a record existed, legal or not."""
        self._known.add(hash(name))

    @property
    def looks_at_all(self) -> bool:
        """Whether this run looks at all records."""
        return self._scope.only is None

    def looks_at(self, name: str) -> bool:
        """Whether this run looks at a record."""
        return self._scope.only is None or name in self._scope.only

    def is_wanted(self, change: FileChange) -> bool:
        """Whether a change is one of a record that this run looks at, so that its contents must be read."""
        name = layout.id_of(change.path)
        # A compaction deletes many files; they are compared by id only.
        return name is not None and self.looks_at(name) and (change.new is not None or change.old is not None)

    def by_record(self, changes: Iterable[FileChange]) -> dict[str, RecordChanges]:
        """The changes of the records that this run looks at, by id."""
        found = by_record(changes)
        only = self._scope.only
        return found if only is None else {name: sides for name, sides in found.items() if name in only}

    def exists(self, name: str) -> bool:
        """Whether a record has been in the store, in this run or before it."""
        return hash(name) in self._known or (self.base is not None and self.base.has(name))

    def know(self, name: str, state: State | None, commit: str = "") -> None:
        """Note the new legal state of a record, and the commit of the step that led to it."""
        if commit and (self._scope.keeps or self._scope.only is not None):
            self.by[name] = commit
        if state is not None:
            for follow in self.followers:
                follow(name, state, self.arrived)
        self._note(name, state)

    def _note(self, name: str, state: State | None) -> None:
        self._known.add(hash(name))
        if self._scope.only is not None:
            self.legal[name] = [*self.legal.get(name, ()), state]

    def restored(self, name: str, state: State | None) -> None:
        """Note that a record has its last legal state again, or that one without a legal state is gone."""
        self.illegal.pop(name)
        self.owed.pop(name, None)
        self._findings.heal(name, of_release=False)
        if state is None:
            self._known.discard(hash(name))
        else:
            self._note(name, state)

    def blame(self, name: str, commit: Commit, path: str, violation: Violation) -> None:
        """Note a violation that makes a record illegal from now on."""
        found = self._findings.find(commit, path, violation, name)
        self.owed.setdefault(name, set()).add(key(found))
