"""Judges the author of a commit: required signatures, and no date in the future. See docs/signatures.md."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..model.times import format_time
from ..policies.policy_set import Policies
from ..rules import permissions, signature_check
from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.clone import GitStore
from ..storage.commits import Commit
from .findings import Findings
from .policies_in_force import InForce
from .scope import Acted, Scope, Tally

# Signatures are checked by so many commits at a time.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class _Asked:
    """A commit whose signature is asked for, and by which policies; what it builds on was made by then."""

    commit: Commit
    newest_before: datetime
    policies: Policies


class Authors:
    """Holds the authors of a run's commits to the clock and to their keys."""

    def __init__(
        self, store: GitStore, scope: Scope, findings: Findings, policies: InForce, tally: Tally
    ) -> None:
        self._store = store
        self._scope = scope
        self._findings = findings
        self._policies = policies
        self._tally = tally
        #: The commits that carry a signature.
        self.signed: set[str] = set()
        #: All that acted of what is arriving, in the order in which it came to the line.
        self.acted: list[Acted] = []
        self._unchecked: list[_Asked] = []

    def check_some(self) -> None:
        """Check signatures where there are many to check."""
        if len(self._unchecked) >= _AT_ONCE:
            self.check_signatures()

    def people(self, commit: Commit, now: Policies, *, acts: bool, newest: datetime) -> None:
        """Whoever acts or says something is held to the clock, and to a signature where one is asked."""
        actor = permissions.known_as(commit.email, now.roster)
        self._tally.people.add(actor)
        if self._scope.arriving:
            self.acted.append(Acted(commit, actor))
        elif acts:
            self.not_from_the_future(commit)
        is_signed = commit.oid in self.signed
        self._tally.unsigned += not is_signed
        if self.is_signed_by_rule(now):
            self._unchecked.append(_Asked(commit, newest, now))
        else:
            self._tally.unasked += is_signed

    def unproven(self, commit: Commit, now: Policies, newest: datetime) -> Violation | None:
        """What is wrong with the signature of a commit that changes policies: by it others get their rights."""
        if not self.is_signed_by_rule(now):
            return None
        found = signature_check.UNCHECKED
        for _, facts in self._store.repository.signatures([commit.oid]):
            found = signature_check.Signature(*facts)
        who = signature_check.Signed(commit.email, commit.committer, commit.committed_at, newest)
        return next(iter(signature_check.judge(found, who, now)), None)

    def is_signed_by_rule(self, now: Policies) -> bool:
        """Whether a signature is asked of who acts."""
        return self._scope.always_signed or now.settings.signatures == "required"

    def not_from_the_future(self, commit: Commit) -> None:
        """Note a commit that is later than the clock of whoever judges."""
        now = self._scope.now
        if commit.committed_at - now > self._policies.policies.settings.claims.clock_tolerance:
            when, until = format_time(commit.committed_at), format_time(now)
            expected = f"expected a commit no later than now, {until}; it is of {when}"
            self._findings.find(commit, layout.QUEUE, Violation("time", expected))

    def measured(self, commit: Commit, acts: bool, newest: datetime) -> datetime:
        """The date that the next ones are measured by; one from the future measures nobody."""
        tolerance = self._policies.policies.settings.claims.clock_tolerance
        if not acts or commit.committed_at - self._scope.now > tolerance:
            return newest
        return max(newest, commit.committed_at)

    def check_signatures(self) -> None:
        """The signatures of commits that must have one."""
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
