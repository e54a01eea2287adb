"""Judges the author of a commit: required signatures, and no date in the future. See docs/signatures.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from datetime import datetime

from ..frozen import dataclass
from ..model.times import format_time
from ..policies.policy_set import Policies
from ..rules import permissions, signature_check
from ..rules.judge_step import Violation
from ..storage import commits, layout
from ..storage.clone import GitStore
from ..storage.commits import Commit
from .findings import Findings
from .known_records import KnownRecords
from .policies_in_force import InForce
from .scope import Acted, RunCounts, Scope

# Signatures are checked by so many commits at a time.
_AT_ONCE = 500


@dataclass(frozen=True)
class _Asked:
    """A commit that must be signed, the newest date before it, the policies that require it, and what records it changed."""

    commit: Commit
    newest_before: datetime
    policies: Policies
    changed: tuple[str, ...]


@dataclass(eq=False)
class Authors:
    """Checks dates and signatures, many signatures at a time."""

    _store: GitStore
    _scope: Scope
    _records: KnownRecords
    _findings: Findings
    _policies: InForce
    _tally: RunCounts
    #: The commits that carry a signature.
    signed: set[str] = field(default_factory=set, init=False)
    #: The arriving commits that acted, in the order of the line.
    acted: list[Acted] = field(default_factory=list, init=False)
    _unchecked: list[_Asked] = field(default_factory=list, init=False)
    _well_signed: dict[str, bool] = field(default_factory=dict, init=False)

    def check_some(self) -> None:
        """Check the collected signatures if there are many."""
        if len(self._unchecked) >= _AT_ONCE:
            self.check_signatures()

    def people(
        self, commit: Commit, now: Policies, *, acts: bool, newest: datetime, changed: Iterable[str] = ()
    ) -> None:
        """Check a commit that acts or states something: its date must not be in the future, and it may need a signature.

        ``changed`` are the ids of the records that it changes.
        """
        actor = permissions.known_as(commit.email, now.roster)
        self._tally.people.add(actor)
        if self._scope.arriving:
            self.acted.append(Acted(commit, actor))
        elif acts:
            self.not_from_the_future(commit)
        is_signed = commit.oid in self.signed
        self._tally.unsigned += not is_signed
        if self.is_signed_by_rule(now):
            self._unchecked.append(_Asked(commit, newest, now, tuple(changed)))
        else:
            self._tally.unasked += is_signed

    def unproven(self, commit: Commit, now: Policies, newest: datetime) -> Violation | None:
        """What is wrong with the signature of a commit that changes policies.

        It is checked at once: rights depend on it.
        """
        if not self.is_signed_by_rule(now):
            return None
        found = signature_check.UNCHECKED
        for _, facts in self._store.repository.signatures([commit.oid]):
            found = signature_check.Signature(*facts)
        who = signature_check.Signed(commit.email, commit.committer, commit.committed_at, newest)
        return next(iter(signature_check.judge(found, who, now)), None)

    def check_those_of(self, name: str) -> None:
        """Check the collected signatures if some are of a record's steps."""
        if any(name in asked.changed for asked in self._unchecked):
            self.check_signatures()

    def is_well_signed(self, oid: str) -> bool:
        """Whether a commit has a good signature by its author, by the policies in force at the end of the run."""
        if oid not in self._well_signed:
            self._well_signed[oid] = self._is_well_signed(oid)
        return self._well_signed[oid]

    def _is_well_signed(self, oid: str) -> bool:
        found = [signature_check.Signature(*facts) for _, facts in self._store.repository.signatures([oid])]
        if not found or found[0].verdict == "N":
            return False
        commit = commits.header(self._store, oid)
        who = signature_check.Signed(commit.email, commit.committer, commit.committed_at, commit.committed_at)
        return not signature_check.judge(found[0], who, self._policies.policies)

    def is_signed_by_rule(self, now: Policies) -> bool:
        """Whether signatures are required."""
        return self._scope.always_signed or now.settings.signatures == "required"

    def not_from_the_future(self, commit: Commit) -> None:
        """Note a commit with a date after this machine's clock."""
        now = self._scope.now
        if commit.committed_at - now > self._policies.policies.settings.claims.clock_tolerance:
            when, until = format_time(commit.committed_at), format_time(now)
            expected = f"expected a commit no later than now, {until}; it is of {when}"
            self._findings.find(commit, layout.QUEUE, Violation("time", expected))

    def measured(self, commit: Commit, acts: bool, newest: datetime) -> datetime:
        """The newest date after a commit. A date in the future does not count."""
        tolerance = self._policies.policies.settings.claims.clock_tolerance
        if not acts or commit.committed_at - self._scope.now > tolerance:
            return newest
        return max(newest, commit.committed_at)

    def check_signatures(self) -> None:
        """Check the collected signatures."""
        asked, self._unchecked = self._unchecked, []
        told: dict[str, signature_check.Signature] = {}
        for oid, found in self._store.repository.signatures([one.commit.oid for one in asked]):
            told[oid] = signature_check.Signature(*found)
        for one in asked:
            commit = one.commit
            signature = told.get(commit.oid, signature_check.UNCHECKED)
            who = signature_check.Signed(
                commit.email, commit.committer, commit.committed_at, one.newest_before
            )
            wrong = signature_check.judge(signature, who, one.policies)
            self._tally.held += not wrong
            path = commit.changes[0].path if commit.changes else layout.QUEUE
            for violation in wrong:
                self._findings.find(commit, path, violation)
            self._records.doubt(commit, one.changed)
