"""Judges the policies that a merge brings: an admin made each version lately, or an admin merges it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..rules import judge_step
from ..rules.judge_step import Violation
from ..storage.trees import FileChange
from . import record_steps
from .incoming import CarriedStep, Incoming, alone
from .parts import Parts
from .policy_changes import PROPOSE_AGAIN


class MergePolicies:
    """Judges the policies of one merge: what it may bring, and what its author may leave out."""

    def __init__(self, parts: Parts, incoming: Incoming) -> None:
        self._parts = parts
        self._incoming = incoming
        #: Whether its author has acted by it: approved a change of policies, or left one out.
        self.acted = False

    def judge(self, steps: Mapping[str, Sequence[CarriedStep]], change: FileChange) -> Violation | None:
        """Why the merge may not bring a version of a policy file. None if it may."""
        if self._parts.start.moves_root(self._incoming.commit, change):
            return self._parts.start.one_root
        sides, some = alone(change), steps.get(change.path, ())
        wrong: Violation | None = None
        for chain in self._incoming.chains(sides.before, sides.after, some):
            found = next(self._by_no_admins(chain), None) or self._is_over(change, chain)
            if found is None:
                return None
            wrong = wrong or found
        # An admin who pulls takes in what others have pushed and approves none of it.
        pulled = (
            next(self._by_no_admins(some), None)
            if self._parts.statements.is_pull(self._incoming.commit)
            else None
        )
        if pulled:
            words = "a merge that git itself named approves nothing (`git merge --no-ff -m TEXT` does)"
            return replace(pulled, expected=f"{pulled.expected}; {words}")
        if not self.may_bring():
            return wrong or self._not_brought()
        self.acted = True
        return self._parts.authors.unproven(
            self._incoming.commit, self._incoming.now, self._parts.judged.newest
        )

    def _by_no_admins(self, steps: Iterable[CarriedStep]) -> Iterator[Violation]:
        """The same as `by_no_admin`, for several commits. Each violation names its commit."""
        for step in steps:
            for violation in self.by_no_admin(step):
                yield replace(violation, commit=step.side.commit.oid, author=step.side.commit.email)

    def by_no_admin(self, step: CarriedStep) -> Iterator[Violation]:
        """Why a carried commit may not have changed a policy file."""
        commit = step.side.commit
        yield from judge_step.judge_policies(commit.email, self._incoming.now)
        unproven = self._parts.authors.unproven(commit, self._incoming.now, step.side.newest)
        if unproven is not None:
            yield unproven

    def _is_over(self, change: FileChange, chain: Sequence[CarriedStep]) -> Violation | None:
        """Why what admins once proposed cannot be merged by everybody any more: it was taken back, or it is too old.

        Anybody may keep such commits, so an admin has to approve them again.
        """
        incoming, parts = self._incoming, self._parts
        arrived = parts.arrival(incoming.commit)
        for step in chain:
            late = record_steps.too_late(step.side.commit, None, arrived, incoming.now)
            if late is not None:
                return Violation("policies", f"{PROPOSE_AGAIN}; {late.expected}")
        versions = (alone(change).before, *(step.after for step in chain))
        since = incoming.left(chain[0].side.commit)
        if any(parts.line_states.left(change.path, one, incoming.first, since) for one in versions):
            taken_back = "the branch has taken back such a change of the file since"
            return Violation("policies", f"{PROPOSE_AGAIN}; {taken_back}")
        return None

    def _not_brought(self) -> Violation:
        admins = ", ".join(self._incoming.now.roster.with_role("admin")) if self._incoming.now.roster else ""
        if not admins:
            return Violation(
                "policies", "expected the branch's version, or one that a merged commit made from it"
            )
        return Violation(
            "policies",
            f"expected an admin of the earlier roster ({admins}), since the merge brings one of its own",
        )

    def may_bring(self) -> bool:
        """Whether its author is an admin by the line's policies in force and by those of the other side."""
        if self._incoming.now.roster is None:
            return False
        other = self._parts.commits.written_at(self._incoming.other)
        both = (self._incoming.now, other)
        by_right = not any(judge_step.judge_policies(self._incoming.commit.email, side) for side in both)
        return other.roster is not None and by_right

    def may_leave_out(self) -> bool:
        """Whether its author may leave out policy changes of the other side; without a roster everybody may."""
        nobody = (
            self._incoming.now.roster is None
            and self._parts.commits.written_at(self._incoming.other).roster is None
        )
        return nobody or self.may_bring()
