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
from ..rules.signature_check import Signature
from ..storage import commits, layout
from ..storage.clone import GitStore
from ..storage.commits import Commit
from .findings import Findings
from .policies_in_force import InForce
from .scope import Acted, RunCounts, Scope

# So many signatures are kept: a merge may carry any number of commits.
_KEPT = 5000


@dataclass(eq=False)
class Authors:
    """Checks dates and signatures."""

    _store: GitStore
    _scope: Scope
    _findings: Findings
    _policies: InForce
    _tally: RunCounts
    #: The commits that carry a signature.
    signed: set[str] = field(default_factory=set, init=False)
    #: The arriving commits that acted, in the order of the line.
    acted: list[Acted] = field(default_factory=list, init=False)
    _read: dict[str, Signature] = field(default_factory=dict, init=False)
    _well_signed: dict[str, bool] = field(default_factory=dict, init=False)

    def read(self, commits: Iterable[str], now: Policies) -> None:
        """Read the signatures of some commits at once, if signatures are required, and forget those read before."""
        self._read.clear()
        if self.is_signed_by_rule(now):
            for oid, facts in self._store.repository.signatures([*commits]):
                self._read[oid] = Signature(*facts)

    def people(self, commit: Commit, now: Policies, *, acts: bool, newest: datetime) -> None:
        """Check a commit that acts or states something: its date must not be in the future, and it may need a signature."""
        actor = permissions.known_as(commit.email, now.roster)
        self._tally.people.add(actor)
        if self._scope.arriving:
            self.acted.append(Acted(commit, actor))
        elif acts:
            self.not_from_the_future(commit)
        is_signed = commit.oid in self.signed
        self._tally.unsigned += not is_signed
        if not self.is_signed_by_rule(now):
            self._tally.unasked += is_signed
            return
        wrong = self._judge(commit, now, newest)
        self._tally.held += not wrong
        for violation in wrong:
            path = min((change.path for change in commit.changes), default=layout.QUEUE)
            self._findings.find(commit, path, violation)

    def unproven(self, commit: Commit, now: Policies, newest: datetime) -> Violation | None:
        """What is wrong with the signature of a commit, if signatures are required. ``newest`` is the newest date before it."""
        return next(iter(self._judge(commit, now, newest)), None) if self.is_signed_by_rule(now) else None

    def _judge(self, commit: Commit, now: Policies, newest: datetime) -> tuple[Violation, ...]:
        who = signature_check.Signed(commit.email, commit.committer, commit.committed_at, newest)
        return signature_check.judge(self._signature(commit.oid), who, now)

    def _signature(self, oid: str) -> Signature:
        if oid not in self._read:
            if len(self._read) >= _KEPT:
                self._read.clear()
            [(_, facts)] = self._store.repository.signatures([oid])
            self._read[oid] = Signature(*facts)
        return self._read[oid]

    def is_well_signed(self, oid: str) -> bool:
        """Whether a commit has a good signature by its author, by the policies in force at the end of the run."""
        if oid not in self._well_signed:
            self._well_signed[oid] = self._is_well_signed(oid)
        return self._well_signed[oid]

    def _is_well_signed(self, oid: str) -> bool:
        if self._signature(oid).verdict == "N":
            return False
        commit = commits.header(self._store, oid)
        return not self._judge(commit, self._policies.policies, commit.committed_at)

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

    def measured(self, commit: Commit, acts: bool, newest: datetime, now: Policies) -> datetime:
        """The newest date after a commit.

        A date in the future does not count, nor one that nobody's signature proves where signatures are required:
        by such a date anybody could make later commits of others backdated.
        """
        tolerance = self._policies.policies.settings.claims.clock_tolerance
        date = commit.committed_at
        if not acts or date <= newest or date - self._scope.now > tolerance:
            return newest
        return newest if self.unproven(commit, now, date) else date
