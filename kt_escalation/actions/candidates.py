"""The escalations that somebody may claim, and the reason if there are none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..errors import KtError, NotAllowed, UnreadableRecord
from ..model.record import Record
from ..model.summary import RecordSummary
from ..model.text import plural
from ..model.times import format_time
from ..rules import due_actions, permissions, transitions
from ..rules.permissions import Actor
from ..storage.interface import Snapshot
from ..storage.lookup import deciders

# How many different reasons a message lists.
_MOST_REASONS = 3


def held(snapshot: Snapshot, actor: Actor) -> int:
    """The number of live claims that the actor holds. Call it only if there is a limit."""
    if actor.policies.settings.claims.max_per_reviewer is None:
        return 0
    rows, _ = snapshot.rows(resolved=False)
    mine = [row for row in rows if row.holder is not None and actor.is_me(row.holder)]
    return sum(not transitions.lapsed(entry.record, actor) for entry in snapshot.entries(mine))


def holder(row: RecordSummary, actor: Actor) -> str | None:
    """The holder according to the summary, if the lease has not ended. Most rows of a queue need nothing more."""
    live = row.deadline is None or row.deadline > format_time(actor.now)
    return row.holder if live else None


def is_claim(row: RecordSummary, actor: Actor, claim_id: str) -> bool:
    """Whether the actor holds the escalation under this claim id."""
    return row.claim_id == claim_id and row.holder is not None and actor.is_me(row.holder)


def is_mine(row: RecordSummary, actor: Actor) -> bool:
    """Whether the actor holds the escalation."""
    return row.status == "claimed" and row.holder is not None and actor.is_me(row.holder)


def standing(row: RecordSummary) -> tuple[object, ...]:
    """Everything that the rules read of an open escalation to tell who may decide it, except deadlines and leases.

    Two escalations with the same standing get the same answer at the same time.
    """
    # The row does not say who decided the escalation that it reopens.
    alone = row.escalation_id if row.reopens is not None else None
    return row.status, row.team_id, row.user_id, row.barred, alone


def is_overdue(_: Snapshot, record: Record, actor: Actor) -> bool:
    """Whether the escalation needs attention before its turn."""
    return due_actions.overdue(record, actor.policies, actor.now) is not None


def is_claimable(snapshot: Snapshot, record: Record, actor: Actor) -> bool:
    """Whether the actor could claim the escalation now."""
    free = record.status == "queued" or (record.status == "claimed" and transitions.lapsed(record, actor))
    if not free or permissions.has_reviewed(record, actor.policies, actor.name):
        return False
    try:
        return permissions.why_not(record, actor.policies, actor.name, deciders(snapshot, record)) is None
    except UnreadableRecord:
        # It is not known here whether the actor has already decided.
        return False


@dataclass
class Why:
    """Why nothing could be claimed."""

    holders: dict[str, int] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    proposals: int = 0

    def held(self, holder: str) -> None:
        """Count an escalation that somebody holds."""
        self.holders[holder] = self.holders.get(holder, 0) + 1

    def proposed(self) -> None:
        """Count an escalation that a pull request would claim."""
        self.proposals += 1

    def refused(self, error: KtError) -> None:
        """Note an escalation that the actor may not claim."""
        self.refusals.append(error.missing if isinstance(error, NotAllowed) else error.message)

    def reviewed(self, record: Record, actor: Actor) -> None:
        """Note an escalation that the actor has reviewed and that waits for other reviewers."""
        others = permissions.candidates(record, actor.policies)
        may = f"; {', '.join(others)} may" if others else ""
        self.refusals.append(f"{actor.name} has reviewed it already{may}")

    def text(self, team: str | None) -> str:
        """The reason, for people."""
        held = ", ".join(f"{name} {count}" for name, count in sorted(self.holders.items()))
        if self.proposals:
            held = ", ".join(filter(None, (held, plural(self.proposals, "open proposal"))))
        if self.refusals:
            count = len(self.refusals)
            which = "the one that waits is not" if count == 1 else f"none of the {count} waiting is"
            why = f"{which} for you ({self._refusals()})"
            return f"{why}; the others are held ({held})" if held else why
        if held:
            count = sum(self.holders.values()) + self.proposals
            return f"the only one is held ({held})" if count == 1 else f"all {count} are held ({held})"
        return f"nothing waits for team {team}" if team else "the queue is empty"

    def _refusals(self) -> str:
        """The reasons, each once. If there are several, each comes with the number of its escalations."""
        counted = Counter(self.refusals)
        if len(counted) == 1:
            return self.refusals[0]
        told = [f"{count}: {reason}" for reason, count in counted.most_common(_MOST_REASONS)]
        return " / ".join([*told, *(["and more"] if len(counted) > len(told) else [])])

    @property
    def state(self) -> str:
        """The reason, for scripts."""
        return "not_for_you" if self.refusals else "all_held" if self.holders or self.proposals else "empty"

    @property
    def held_by(self) -> dict[str, int]:
        """The number of claims that each person holds, by name."""
        return dict(sorted(self.holders.items()))
