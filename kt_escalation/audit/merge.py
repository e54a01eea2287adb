"""Judges a merge: carried commits must have led to each state that it takes from elsewhere.

See docs/design.md, *One line, and not the graph*. If a record or a policy file differs from the first
parent's, one chain of carried commits with one parent each must explain it. Every step of the chain must be
legal, for its own author and by the policies of the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ..model.times import format_time
from ..rules import judge_step
from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.commits import Commit, touches_archives
from ..storage.trees import Difference
from . import messages, record_files, record_steps
from .commit_contents import SideCommit
from .incoming import CarriedStep, Incoming, is_same
from .merge_archives import MergeArchives
from .merge_omissions import MergeOmissions
from .merge_policies import MergePolicies
from .messages import Brought
from .parts import Parts
from .policies_in_force import is_policy
from .record_files import RecordChanges, State


class Merging:
    """Judges what one merge brings to its line parent from another one of its parents."""

    def __init__(
        self, parts: Parts, commit: Commit, difference: Difference, carried: Sequence[SideCommit], other: str
    ) -> None:
        self._parts = parts
        self._incoming = incoming = Incoming(parts, commit, difference, carried, other)
        self._archives = MergeArchives(parts, incoming)
        self._policies = MergePolicies(parts, incoming)
        self._omissions = MergeOmissions(parts, incoming, self._policies)
        #: The actions that it brought, for the check of its message.
        self.brought: list[Brought] = []

    @property
    def acted(self) -> bool:
        """Whether its author has acted by it, on policies that only an admin may change."""
        return self._policies.acted

    def judge(self) -> None:
        """Judge what the merge brings and what it leaves out."""
        parts, commit = self._parts, self._incoming.commit
        since_fork = self._incoming.since_fork()
        if not (
            self._incoming.changes
            or since_fork.changes
            or since_fork.unsound
            or self._incoming.touches_store()
        ):
            return
        self._judge_carried_merges()
        steps = self._incoming.steps()
        brought = parts.records.by_record(self._incoming.changes)
        self._archives.add_archived(brought)
        # What reopens another one comes after it: whether that is legal must be known then.
        for name in sorted(brought, key=lambda name: (self._depth(name, brought), name)):
            self._record(name, brought[name], steps.get(name, ()))
        self._archives.judge(brought)
        policies = [change for change in self._incoming.changes if is_policy(change.path)]
        if policies:
            parts.policy_changes.follow(commit, policies, partial(self._policies.judge, steps))
        if parts.records.looks_at_all:
            for change, violation in parts.commits.foreign(self._incoming.changes):
                author = next(reversed(self._incoming.makers(change)), commit)
                parts.findings.find(author, change.path, violation)
        self._omissions.judge(since_fork, steps)

    def judge_omissions(self) -> None:
        """Judge only what the merge leaves out."""
        self._judge_carried_merges()
        self._omissions.judge(self._incoming.since_fork(), self._incoming.steps())

    def _judge_carried_merges(self) -> None:
        """A carried merge may make no version of its own: each file must be as one of its parents has it."""
        parts = self._parts
        for side in self._incoming.carried:
            commit = side.commit
            if len(commit.parents) < 2:
                continue
            differing = [
                parts.commits.between(parts.commits.tree_of(parent), commit.tree) for parent in commit.parents
            ]
            changed = [self._incoming.by_item(one.changes) for one in differing]
            authored = set.intersection(*(set(keys) for keys in changed))
            if not authored and not any(one.unsound for one in differing):
                continue
            if (
                authored
                and not judge_step.judge_policies(commit.email, self._incoming.now)
                and self._incoming.now.roster
            ):
                parts.authors.people(commit, self._incoming.now, acts=True, newest=side.newest)
                continue
            expected = "expected a merge that leaves each file as one of its parents has it; rebase instead (`git rebase`)"
            for key in sorted(authored) or [layout.QUEUE]:
                path = changed[0][key].path if authored else key
                name = key if layout.id_of(path) == key else None
                parts.findings.find(commit, path, Violation("merge", expected), name)

    def _record(self, name: str, sides: RecordChanges, steps: Sequence[CarriedStep]) -> None:
        parts = self._parts
        first: tuple[Sequence[CarriedStep], list[tuple[Commit, str, Violation]]] | None = None
        ends = self._incoming.both_sides(name, self._incoming.first, self._incoming.commit.oid, sides)
        if layout.archive_at(sides.path) and name not in self._incoming.illegal:
            # Both its old and its new state are in archives.
            ends = frozenset(), frozenset()
        is_double = self._is_double(name, sides)
        for chain in () if is_double else self._incoming.chains(*ends, steps):
            found = self._wrong_chain(name, chain)
            if not found:
                return
            first = first or (chain, found)
        parts.records.illegal.setdefault(name, parts.commits.before(name, sides, self._incoming.first))
        if first is None:
            expected = (
                f"expected {name} in the branch's state, or in a state that the merged commits made from it"
            )
            if is_double:
                expected = f"expected {name} in its archive only; leave this file out of the merge (`git rm -f {sides.path}`)"
            parts.records.blame(name, self._incoming.commit, sides.path, Violation("merge", expected))
            return
        for commit, path, violation in first[1]:
            parts.records.blame(name, commit, path, violation)
        for step in first[0]:
            # A message may state an illegal action too.
            self.brought += parts.statements.made(
                step.side.commit, name, *parts.commits.contents.sides(step.sides)
            )

    def _is_double(self, name: str, sides: RecordChanges) -> bool:
        """Whether the merge brings a file of a record that the line has in an archive."""
        if sides.olds or not sides.news or layout.archive_at(sides.path):
            return False
        if name in self._incoming.illegal or not self._parts.records.exists(name):
            return False
        return bool(self._incoming.files_at(self._incoming.first, name))

    def _wrong_chain(self, name: str, chain: Sequence[CarriedStep]) -> list[tuple[Commit, str, Violation]]:
        """The violations in a chain of steps of a record. If there are none, its result is recorded."""
        parts = self._parts
        illegal = name in parts.records.illegal
        legal = parts.records.illegal.get(name)
        brought: list[Brought] = []
        state: State | None = None
        for step in chain:
            parts.records.touch(name, step.side.commit.oid)
            commit = parts.commits.changed(step.side)
            olds, news = parts.commits.contents.sides(step.sides)
            if touches_archives(commit) and name in self._archives.compaction(commit)[1].values():
                wrong = self._wrong_compaction(name, commit, step)
                if wrong:
                    return wrong
                brought.append(Brought(name, frozenset({"compact"}), ""))
                continue
            if illegal:
                if not record_steps.is_restored(
                    commit, self._incoming.now, legal, parts.commits.standing(commit.oid, name)
                ):
                    return [(commit, (news or olds)[0].path, record_steps.NOT_RESTORED)]
                illegal, state = False, legal
                brought += parts.statements.made(commit, name, olds, news)
                continue
            wrong = self._wrong_step(name, commit, olds, news)
            if wrong:
                return wrong
            state = news[0]
            before = olds[0].record if olds else None
            brought += messages.brought(name, before, state.record, author=commit.email)
        # A restoration proposes nothing, so it is never late.
        late = self._late(chain[1:] if name in parts.records.illegal else chain, state)
        if late is not None:
            return [late]
        parts.tally.steps += len(chain)
        self.brought += brought
        was_illegal = name in parts.records.illegal
        if was_illegal and not illegal:
            # Compacting an illegal record does not make it legal.
            parts.records.restored(name, legal)
        if state is not None and (not was_illegal or state is not legal):
            parts.records.know(name, state, chain[-1].side.commit.oid)
        return []

    def _wrong_compaction(
        self, name: str, commit: Commit, step: CarriedStep
    ) -> list[tuple[Commit, str, Violation]]:
        """The violations of a carried commit that moved a record into an archive."""
        found, _ = self._archives.compaction(commit)
        wrong = [(commit, path, violation) for path, violation in found]
        if not is_same(step.before, self._incoming.files_at(self._incoming.commit.oid, name)):
            lost = Violation("deleted", "expected the compacted file to be in its archive still")
            wrong.append((self._incoming.commit, step.sides.path, lost))
        return wrong

    def _wrong_step(
        self, name: str, commit: Commit, olds: Sequence[State], news: Sequence[State]
    ) -> list[tuple[Commit, str, Violation]]:
        """The violations of a carried commit's step of a record."""
        incoming, parts = self._incoming, self._parts
        if any(old.problem for old in olds):
            return [(commit, (news or olds)[0].path, record_steps.NOT_RESTORED)]
        is_known = not olds and bool(news) and parts.records.exists(name)
        return [(commit, *found) for found in incoming.wrong(commit, olds, news, is_known=is_known)]

    def _depth(self, name: str, brought: Mapping[str, RecordChanges]) -> int:
        """How many of the records that the merge brings a record reopens, directly or through others."""
        seen: set[str] = set()
        at: str | None = name
        while at is not None and at in brought and at not in seen:
            seen.add(at)
            _, news = self._parts.commits.contents.sides(brought[at])
            at = next((state.record.reopens for state in news if state.record is not None), None)
        return len(seen)

    def _late(
        self, chain: Sequence[CarriedStep], state: State | None
    ) -> tuple[Commit, str, Violation] | None:
        """Why a proposal lands too late: after its lease, or after the time that the settings give proposals."""
        claims = self._incoming.now.settings.claims
        at, arrived = self._incoming.commit.committed_at, self._parts.arrival(self._incoming.commit)
        if state is None or state.record is None or not chain:
            return None
        until = record_files.lease_of(state)
        if until is not None and at - until > claims.clock_tolerance:
            expected = f"expected it to be merged within its lease, by {format_time(until)}"
            return chain[-1].side.commit, state.path, Violation("time", expected)
        if until is not None and arrived - until <= claims.clock_tolerance:
            return None
        for step in chain:
            _, news = self._parts.commits.contents.sides(step.sides)
            late = record_steps.too_late(
                step.side.commit, news[0] if news else None, arrived, self._incoming.now
            )
            if late is not None:
                return step.side.commit, state.path, late
        return None
