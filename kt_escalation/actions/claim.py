"""Claims escalations, by id, the next in turn and for another lease, and gives them back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ..errors import BranchTaken, KtError, NothingToClaim
from ..model import query
from ..model.query import Key
from ..model.record import Record
from ..model.summary import RecordSummary
from ..results import Result
from ..rules import permissions, size_limits, transitions
from ..rules.permissions import Actor
from ..storage import lookup
from ..storage.commit_message import Message
from ..storage.interface import Change, Entry, Invalid, Snapshot
from . import candidates, inputs
from .each import each
from .options import Options
from .plan import Plan
from .session import Session


def claim(
    session: Session,
    escalation_ids: Collection[str],
    options: Options,
) -> Result:
    """Claim escalations by id."""
    given = options.claim_id is not None
    token = inputs.claim_id(options.claim_id) or session.token()

    def rule(snapshot: Snapshot, actor: Actor, entry: Entry, taken: int) -> Record:
        held = candidates.held(snapshot, actor) + taken
        deciders = lookup.deciders(snapshot, entry.record)
        return transitions.claim(entry.record, actor, token, given=given, deciders=deciders, held=held)

    options = replace(options, claim_id=token)
    return each(session, "claim", escalation_ids, rule, options, detail=_over_lapsed, warn=_in_the_way)


def _in_the_way(snapshot: Snapshot, actor: Actor, after: Record) -> str | None:
    """The warning for a claim by who has reviewed it, while others could give what is missing."""
    others = permissions.candidates(after, actor.policies, lookup.deciders(snapshot, after))
    if not permissions.has_reviewed(after, actor.policies, actor.name) or others == ():
        return None
    who = ", ".join(others) if others else "another person"
    return (
        f"{actor.name} has reviewed {after.escalation_id} already and may only decide otherwise; it waits for a review by "
        f"{who}, who cannot claim it while you hold it: unless you decide otherwise, give it back with "
        f"`kt escalation unclaim --id {after.escalation_id}`"
    )


def renew(
    session: Session,
    escalation_ids: Collection[str],
    options: Options,
) -> Result:
    """Begin the lease of each claim again."""
    inputs.claim_id(options.claim_id)

    def rule(snapshot: Snapshot, actor: Actor, entry: Entry, _: int) -> Record:
        deciders = lookup.deciders(snapshot, entry.record)
        return transitions.renew(entry.record, actor, claim_id=options.claim_id, deciders=deciders)

    return each(session, "renew", escalation_ids, rule, options)


def unclaim(
    session: Session,
    escalation_ids: Collection[str],
    options: Options,
    *,
    force_reason: str | None = None,
) -> Result:
    """Give escalations back. With a ``force_reason`` an admin gives back what somebody else holds."""
    inputs.claim_id(options.claim_id)
    reason = None if force_reason is None else inputs.words(force_reason, "the reason")

    def rule(_: Snapshot, actor: Actor, entry: Entry, __: int) -> Record:
        return transitions.unclaim(entry.record, actor, claim_id=options.claim_id, force_reason=reason)

    detail = _by_force if reason else None
    return each(session, "unclaim", escalation_ids, rule, options, text=reason, detail=detail)


def claim_next(
    session: Session,
    options: Options,
    *,
    team: str | None = None,
    count: int = 1,
    until: Key | None = None,
    passing: Collection[str] = (),
) -> Result:
    """Claim the next ``count`` in turn that the caller may claim."""
    inputs.count(count, "the count")
    given = options.claim_id is not None
    token = inputs.claim_id(options.claim_id) or session.token()
    choice = _Next(token, given, count, team, until, set(inputs.several_ids(passing)))
    if options.dry_run:
        return session.preview(choice.decide)
    while True:
        try:
            return session.commit(choice.decide, branch=options.branch, kept=True)
        except BranchTaken as error:
            # Somebody proposes to claim the first of these, so take the next one.
            if options.branch or error.commit is None:
                raise
            choice.proposed.add(error.branch.rpartition("/")[2])


@dataclass
class _Next:
    """Chooses the next escalations in turn.

    ``given`` says whether the caller chose the claim id; ``proposed`` are ids that a branch proposes to claim.
    """

    token: str
    given: bool
    count: int
    team: str | None
    until: Key | None
    passing: set[str]

    def __post_init__(self) -> None:
        self.proposed: set[str] = set()

    def decide(self, snapshot: Snapshot, actor: Actor) -> Plan:
        """The claims to commit. Raises NothingToClaim."""
        rows, unreadable = snapshot.rows(resolved=False)
        mine = [row for row in rows if self.given and candidates.is_claim(row, actor, self.token)]
        if mine:
            had = snapshot.entries(query.in_order(mine))
            return Plan(records=tuple(entry.record for entry in had), unchanged=len(mine))
        why = candidates.Why()
        changes = self._claims(snapshot, actor, rows, why)
        if not changes:
            raise self._nothing(why, unreadable)
        named = [change.new.escalation_id for change in changes]
        detail = _over_lapsed([change.old.record for change in changes if change.old])
        return Plan(
            changes=tuple(changes),
            message=Message("claim", named, actor.name, claim_id=self.token, detail=detail),
            records=tuple(change.new for change in changes),
            warnings=tuple(f"{item.path}: {item.error}; it was passed over" for item in unreadable),
            find=f"kt escalation get --fetch --id {named[0]}",
        )

    def _claims(
        self, snapshot: Snapshot, actor: Actor, rows: Sequence[RecordSummary], why: candidates.Why
    ) -> Sequence[Change]:
        held = candidates.held(snapshot, actor)
        changes: list[Change] = []
        for entry in snapshot.entries(self._free(rows, actor, why)):
            record = entry.record
            if record.claim and not transitions.lapsed(record, actor):
                why.held(record.claim.claimed_by)
                continue
            if permissions.has_reviewed(record, actor.policies, actor.name):
                # The actor may claim it again only to decide otherwise, and therefore only by its id.
                why.reviewed(record, actor)
                continue
            try:
                change = self._claimed(snapshot, actor, record.escalation_id, held + len(changes))
            except KtError as error:
                why.refused(error)
                continue
            if change:
                changes.append(change)
            if len(changes) == self.count:
                break
        return changes

    def _free(
        self, rows: Sequence[RecordSummary], actor: Actor, why: candidates.Why
    ) -> Sequence[RecordSummary]:
        """Those in turn that nobody proposes to claim, and whose summaries say that they may be free."""
        found = []
        for row in query.in_order(row for row in rows if self._fits(row)):
            if row.escalation_id in self.proposed:
                why.proposed()
            elif (holder := candidates.holder(row, actor)) is not None:
                why.held(holder)
            else:
                found.append(row)
        return found

    def _fits(self, row: RecordSummary) -> bool:
        return (
            (self.team is None or row.team_id == self.team)
            and (self.until is None or query.turn(row) <= self.until)
            and row.escalation_id not in self.passing
        )

    def _claimed(self, snapshot: Snapshot, actor: Actor, escalation_id: str, held: int) -> Change | None:
        # The new record is based on the record itself, never on this clone's cache.
        entry = lookup.entry(snapshot, escalation_id)
        deciders = lookup.deciders(snapshot, entry.record)
        after = size_limits.require_fit(
            transitions.claim(entry.record, actor, self.token, given=self.given, deciders=deciders, held=held)
        )
        return Change(entry, after) if after is not entry.record else None

    def _nothing(self, why: candidates.Why, unreadable: Sequence[Invalid]) -> NothingToClaim:
        lost = [item.path for item in unreadable]
        besides = f"; {', '.join(lost[:3])} cannot be read" if lost else ""
        text = f"{why.text(self.team)}{besides}"
        return NothingToClaim(why=text, invalid=lost, state=why.state, held_by=why.held_by)


def _over_lapsed(before: Sequence[Record]) -> str:
    return _with_holders("over the lapsed claim of", before)


def _by_force(before: Sequence[Record]) -> str:
    return _with_holders("by force from", before)


def _with_holders(text: str, before: Sequence[Record]) -> str:
    holders = sorted({record.claim.claimed_by for record in before if record.claim})
    return f"{text} {', '.join(holders)}" if holders else ""
