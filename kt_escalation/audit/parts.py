"""The parts of one run of the judge, which share what they know about the line."""

from __future__ import annotations

from datetime import datetime

from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.trees import Trees
from .archives import Archives
from .authors import Authors
from .carried_commits import CarriedCommits
from .commit_contents import CommitContents
from .findings import Findings
from .judged_line import JudgedLine
from .known_records import KnownRecords
from .line import Lines
from .line_states import LineStates
from .policies_in_force import InForce
from .policy_changes import PolicyChanges
from .record_steps import RecordSteps
from .releases import Releases
from .scope import RunCounts, Scope
from .statements import Statements
from .store_start import StoreStart


class Parts:
    """Makes the parts in order: each knows only those before it."""

    def __init__(self, store: GitStore, lines: Lines, scope: Scope, trees: Trees) -> None:
        self.store = store
        self.lines = lines
        self.scope = scope
        self.trees = trees
        self.tally = tally = RunCounts()
        self.judged = judged = JudgedLine()
        self.commits = commits = CommitContents(store, trees)
        self.line_states = LineStates(lines, commits)
        self.findings = findings = Findings(store)
        self.records = records = KnownRecords(scope, findings)
        self.policies = policies = InForce(commits.written)
        self.archives = archives = Archives(store, scope, commits, records, findings, tally)
        self.authors = authors = Authors(store, scope, findings, policies, tally)
        self.releases = releases = Releases(*(store, scope, judged, commits, records, findings, tally))
        self.statements = statements = Statements(store, scope, lines, commits, findings)
        self.start = start = StoreStart(
            *(store, lines, trees, judged, commits, records, archives, policies, findings, tally)
        )
        self.steps = RecordSteps(scope, judged, commits, records, statements, findings, tally)
        self.policy_changes = PolicyChanges(
            *(store, lines, scope, judged, commits, records, statements, authors, start, policies, findings)
        )
        self.carried = CarriedCommits(
            *(store, lines, scope, judged, commits, records, releases, statements, authors, start, policies)
        )

    def arrival(self, commit: Commit) -> datetime:
        """When a merge arrives on the line: now if it is still arriving and now is later than `dated`."""
        is_coming = self.scope.arriving and self.records.base is not None
        return max(self.dated(commit), self.scope.now) if is_coming else self.dated(commit)

    def dated(self, commit: Commit) -> datetime:
        """The date of a merge of the line; where steps are signed, no earlier than that of any commit below it that acted.

        Whoever merges chooses a date, and could give it an early one for a proposal whose time is over. Where nothing
        proves who acted, nothing proves when: one step of a wrong date would make the merges after it late.
        """
        if not self.authors.is_signed_by_rule(self.policies.policies):
            return commit.committed_at
        return max(commit.committed_at, self.judged.newest)
