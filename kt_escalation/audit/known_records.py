"""What a run of the judge knows about records: which exist, which are illegal, and their last legal states."""

from __future__ import annotations

from collections.abc import Iterable

from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.commits import Commit
from ..storage.snapshot import GitSnapshot
from ..storage.trees import Change
from .findings import Findings, key
from .mark import Key
from .scope import Scope
from .steps import Sides, State, by_record


class KnownRecords:
    """Follows records along the line. What has been judged is forgotten, but for what is kept here."""

    def __init__(self, scope: Scope, findings: Findings) -> None:
        self._scope = scope
        self._findings = findings
        #: The store at the mark from which this run goes on.
        self.base: GitSnapshot | None = None
        #: Records that are illegal by now, with the last legal state of each, and what they have to be excused for.
        self.illegal: dict[str, State | None] = {}
        self.owed: dict[str, set[Key]] = {}
        #: Records that go on from a state that only a waiver accepts.
        self.waived: set[str] = set()
        #: Of those that are looked at one by one: the legal states of each, and which came with the start.
        self.legal: dict[str, list[State | None]] = {}
        self.imported: set[str] = set()
        #: The commits that changed one of these.
        self.touching: set[str] = set()
        # Hashes: of a million ids they take a tenth of the room.
        self._known: set[int] = set()

    def resume(
        self,
        base: GitSnapshot | None,
        illegal: dict[str, State | None],
        owed: dict[str, set[Key]],
        waived: set[str],
    ) -> None:
        """Go on from what another run has known."""
        self.base, self.illegal, self.owed, self.waived = base, illegal, owed, waived
        # What was deleted illegally was there all the same.
        self._known |= {hash(name) for name in (*illegal, *waived)}

    def excuse(self, accepted: Iterable[Violation]) -> None:
        """Records are legal again for which waivers accept all that was found."""
        for found in accepted:
            name = found.escalation_id
            if name in self.owed:
                self.owed[name].discard(key(found))
                if not self.owed[name]:
                    del self.owed[name]
                    self.waived.add(name)
                    self.illegal.pop(name, None)

    def was_here(self, name: str) -> None:
        """Note that a record was there, legal or not."""
        self._known.add(hash(name))

    @property
    def looks_at_all(self) -> bool:
        """Whether all records are looked at."""
        return self._scope.only is None

    def looks_at(self, name: str) -> bool:
        """Whether a record is looked at."""
        return self._scope.only is None or name in self._scope.only

    def is_wanted(self, change: Change) -> bool:
        """Whether a change is one of a record that is looked at, and both of its sides have to be read."""
        name = layout.id_of(change.path)
        # What a compaction deletes is compared by its id alone.
        return name is not None and self.looks_at(name) and (change.new is not None or change.old is not None)

    def by_record(self, changes: Iterable[Change]) -> dict[str, Sides]:
        """The changes of the records that are looked at, by id."""
        found = by_record(changes)
        only = self._scope.only
        return found if only is None else {name: sides for name, sides in found.items() if name in only}

    def exists(self, name: str) -> bool:
        """Whether a record was in the store before, in these commits or before them."""
        return hash(name) in self._known or (self.base is not None and self.base.has(name))

    def know(self, name: str, state: State | None) -> None:
        """A record has come, legally, to a state."""
        self._known.add(hash(name))
        if self._scope.only is not None:
            self.legal[name] = [*self.legal.get(name, ()), state]

    def restored(self, name: str, state: State | None) -> None:
        """A record has come back to its last legal state, or what never was one is gone.

        What a merge has left out of it is not brought back by that.
        """
        self.illegal.pop(name)
        self.owed.pop(name, None)
        mine = (found for found in self._findings.of_record(name) if found.rule != "dropped")
        self._findings.healed.update(map(key, mine))
        if state is None:
            self._known.discard(hash(name))
        else:
            self.know(name, state)

    def blame(self, name: str, commit: Commit, path: str, violation: Violation) -> None:
        """Note a violation by which a record is illegal from now on."""
        found = self._findings.find(commit, path, violation, name)
        self.owed.setdefault(name, set()).add(key(found))
