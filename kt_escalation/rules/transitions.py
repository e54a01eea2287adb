"""The transition table: what may happen to an escalation, by whom, and the resulting record.

See docs/rights.md. Each function takes a record and returns the next one. If the action is a repeat, it
returns the same object; if it is refused, it raises an error with the reason. Errors come in this order:
faulty input, missing rights, wrong state. How a record comes into being is in creation.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ..errors import (
    AlreadyClaimed,
    AlreadyResolved,
    BadInput,
    ClaimIdDiffers,
    ClockSkew,
    NotAllowed,
    NotClaimed,
    NotHolder,
    ShownDiffers,
)
from ..model import canonical
from ..model.record import (
    Amendment,
    Claim,
    Fallback,
    Note,
    Record,
    Resolution,
    Review,
    Route,
)
from ..model.times import format_duration, format_time
from ..model.vocabulary import (
    MAX_NOTED,
    MAX_OPEN,
    RELEASING,
    Category,
    Outcome,
)
from ..policies.roster import person
from . import amending
from .permissions import (
    Actor,
    candidates,
    decided_before,
    has_reviewed,
    is_admin,
    known_as,
    may_review,
    opinion_of,
    quorum,
    require_role,
    votes,
    why_not,
)
from .size_limits import require_fit

_LEFT_OPEN = "what is still to be decided"

# --- claim and unclaim ----------------------------------------------------------------------------


def claim(
    record: Record,
    actor: Actor,
    claim_id: str,
    *,
    given: bool = False,
    deciders: Iterable[str] = (),
    held: int = 0,
) -> Record:
    """The record held by the actor.

    ``given`` means that the caller chose the claim id (fencing): the same id again is a repeat, another id of
    the same person is a conflict. ``deciders`` are the people who decided what this one reopens, here and
    below (`lookup.deciders`). ``held`` is how many live claims the actor has. Raises NotAllowed, AlreadyResolved,
    AlreadyClaimed, ClaimIdDiffers, ClockSkew.
    """
    current = record.claim if record.status == "claimed" else None
    if current and actor.is_me(current.claimed_by) and not lapsed(record, actor):
        if given and current.claim_id != claim_id:
            raise _claim_id_differs(record, current, claim_id)
        return record
    may_review(record, actor, "claim", deciders)
    limit = actor.policies.settings.claims.max_per_reviewer
    if limit is not None and held >= limit and record.status != "resolved":
        raise NotAllowed(
            actor=actor.name,
            action="claim",
            escalation_id=record.escalation_id,
            missing=f"{actor.name} holds {held} already and the limit is {limit}",
            hint="resolve or give back one of them first",
        )
    _require_open(record)
    if current and not lapsed(record, actor):
        raise _held(record, current)
    now = stamp(record, actor)
    return record.replace(status="claimed", claim=new_claim(actor, claim_id, now, actor.name))


def new_claim(actor: Actor, claim_id: str, now: datetime, holder: str) -> Claim:
    """A claim that begins now, with the lease of the settings."""
    lease = actor.policies.settings.claims.lease
    return Claim(
        claim_id=claim_id, claimed_by=holder, claimed_at=now, expires_at=now + lease if lease else None
    )


def lapsed(record: Record, actor: Actor) -> bool:
    """Whether the claim's lease is over, with the tolerance for clocks (docs/operator.md)."""
    if record.claim is None or record.claim.expires_at is None:
        return False
    return actor.now > record.claim.expires_at + actor.policies.settings.claims.clock_tolerance


def renew(
    record: Record, actor: Actor, *, claim_id: str | None = None, deciders: Iterable[str] = ()
) -> Record:
    """The record with its lease begun again. The same object if that does not make it longer.

    Raises NotAllowed, AlreadyResolved, NotClaimed, NotHolder, ClaimIdDiffers, ClockSkew.
    """
    may_review(record, actor, "renew", deciders)
    current = _holder(record, actor, "renew it", claim_id)
    lease = actor.policies.settings.claims.lease
    until = stamp(record, actor) + lease if lease else None
    if until == current.expires_at or (until and current.expires_at and until < current.expires_at):
        return record
    return record.replace(claim=current.replace(expires_at=until))


def unclaim(
    record: Record, actor: Actor, *, claim_id: str | None = None, force_reason: str | None = None
) -> Record:
    """The record given back to the queue by its holder, or by an admin with a reason.

    Raises NotAllowed, AlreadyResolved, NotClaimed, NotHolder, ClaimIdDiffers, ClockSkew.
    """
    if force_reason is None:
        _holder(record, actor, "give it back", claim_id)
        return record.replace(status="queued", claim=None, queued_at=stamp(record, actor))
    if record.status == "queued" and _noted_so(record, actor, force_reason):
        return record
    require_role(actor, "give back", record.escalation_id, "admin")
    _require_open(record)
    current = _claimed(record)
    if claim_id is not None and claim_id != current.claim_id:
        raise _claim_id_differs(record, current, claim_id)
    now = stamp(record, actor)
    back = record.replace(
        status="queued", claim=None, queued_at=now, notes=_noted(record, actor, now, force_reason)
    )
    return require_fit(back, MAX_OPEN, _LEFT_OPEN)


# --- assign ---------------------------------------------------------------------------------------


def assign(
    record: Record,
    actor: Actor,
    whom: Fallback,
    reason: str,
    new_claim_id: str,
    *,
    claim_id: str | None = None,
    deciders: Iterable[str] = (),
) -> Record:
    """The record routed to a user, who then holds it, or to a team's queue, with the reason as a note.

    For the holder and for admins; without a roster also for anyone while nobody holds it.
    Raises BadInput, NotAllowed, AlreadyResolved, NotHolder, ClaimIdDiffers, ClockSkew.
    """
    deciders = tuple(deciders)
    roster = actor.policies.roster
    if whom.user_id is not None:
        whom = Fallback(user_id=known_as(whom.user_id, roster))
    if whom.user_id is not None and roster is None and "@" not in whom.user_id:
        raise BadInput(
            problem=f"there is no roster that says who {whom.user_id} is; give the e-mail of their git identity"
        )
    require_role(actor, "assign", record.escalation_id, "reviewer", "admin")
    _require_open(record)
    if _is_with(record, actor, whom):
        return record
    if not is_admin(actor) or (roster is None and record.claim):
        _holder(record, actor, "assign it", claim_id)
    elif claim_id is not None and claim_id != _claimed(record).claim_id:
        raise _claim_id_differs(record, _claimed(record), claim_id)
    if roster is not None and whom.team_id is not None and not roster.has_team(whom.team_id):
        raise _no_such(actor, record, f"there is no team {whom.team_id} on the roster")
    if whom.user_id is not None:
        routed = record.replace(route=Route(user_id=whom.user_id, source="assigned"))
        missing = why_not(routed, actor.policies, whom.user_id, deciders)
        if has_reviewed(record, actor.policies, whom.user_id):
            missing = missing or f"{whom.user_id} has reviewed it already"
        short = quorum(record, actor.policies)
        if short and short.missing > 1:
            missing = missing or f"it needs {short.missing} more people, so give it to a team"
        if missing:
            raise _no_such(actor, record, missing)
    now = stamp(record, actor)
    noted = record.replace(notes=_noted(record, actor, now, reason))
    moved = reroute(noted, actor, whom, "assigned", now, new_claim_id, deciders=deciders)
    return require_fit(moved, MAX_OPEN, _LEFT_OPEN)


def reroute(
    record: Record,
    actor: Actor,
    whom: Fallback,
    source: str,
    now: datetime,
    claim_id: str,
    *,
    deciders: Iterable[str],
) -> Record:
    """The record in a team's queue, or held by a user. Raises NotAllowed for a user who decided what it reopens."""
    to_user = whom.user_id is not None
    barred = (
        decided_before(record, actor.policies, whom.user_id, deciders) if whom.user_id is not None else None
    )
    if barred:
        raise NotAllowed(
            actor=whom.user_id or "",
            action="claim",
            escalation_id=record.escalation_id,
            missing=barred,
            hint="assign it to somebody else with `kt escalation assign`",
        )
    return record.replace(
        status="claimed" if to_user else "queued",
        route=Route(team_id=whom.team_id, user_id=whom.user_id, source=source, policies=actor.policies.tree),
        requires=record.requires.replace(claim_within=None),
        claim=new_claim(actor, claim_id, now, whom.user_id) if whom.user_id is not None else None,
        queued_at=now,
    )


def _is_with(record: Record, actor: Actor, whom: Fallback) -> bool:
    """Whether the record is already in that team's queue, or held by that user."""
    if (record.route.team_id, record.route.user_id) != (whom.team_id, whom.user_id):
        return False
    if record.claim is None or whom.user_id is None:
        return record.status == "queued" and whom.user_id is None
    roster = actor.policies.roster
    return person(roster, record.claim.claimed_by) == person(roster, whom.user_id)


def _no_such(actor: Actor, record: Record, missing: str) -> NotAllowed:
    return NotAllowed(actor=actor.name, action="assign", escalation_id=record.escalation_id, missing=missing)


# --- resolve --------------------------------------------------------------------------------------


def resolve(
    record: Record,
    actor: Actor,
    outcome: Outcome,
    reason: str,
    *,
    category: Category | None = None,
    claim_id: str | None = None,
    shown: str | None = None,
    digest: str | None = None,
    amendment: Amendment | None = None,
    deciders: Iterable[str] = (),
) -> Record:
    """The record resolved, or back in the queue for another reviewer while approvals are missing.

    ``shown`` is the digest that the caller decided on; it must equal the record's, which is ``digest`` if the
    caller knows it already. ``amendment`` is released in place of the request. Raises BadInput, BadAmendment,
    NotAllowed, AlreadyResolved, NotClaimed, NotHolder, ClaimIdDiffers, ShownDiffers, ClockSkew.
    """
    if outcome in ("expired", "withdrawn"):
        raise BadInput(problem=f"{outcome} is no outcome that a reviewer gives")
    amendment = amending.fitting(record, outcome, amendment)
    if _reviewed_so(record, actor, outcome, reason, category, claim_id, amendment):
        return record
    may_review(record, actor, "resolve", deciders)
    current = _holder(record, actor, "resolve it", claim_id)
    digest = digest or canonical.shown(record)
    if shown is not None and shown != digest:
        raise ShownDiffers(escalation_id=record.escalation_id, shown=digest, given=shown)
    now = stamp(record, actor)
    review = Review(
        reviewer=actor.name,
        outcome=outcome,
        reason=reason,
        category=category,
        amendment=amendment,
        reviewed_at=now,
        claim_id=current.claim_id,
        shown=digest,
    )
    _require_otherwise(record, actor, review)
    reviews = (*record.reviews, review)
    decision = opinion_of(review)
    if outcome in RELEASING and votes(reviews, decision, actor.policies) < record.requires.approvals:
        short = record.replace(status="queued", claim=None, queued_at=now, reviews=reviews)
        return require_fit(short, MAX_OPEN, _LEFT_OPEN)
    resolution = Resolution(
        outcome=outcome, reason=reason, category=category, resolved_by=actor.name, resolved_at=now
    )
    return record.replace(status="resolved", reviews=reviews, resolution=resolution)


def _require_otherwise(record: Record, actor: Actor, review: Review) -> None:
    """Raise NotAllowed if the actor's newest review has the same decision (docs/rights.md, *Quorum*)."""
    mine = [one for one in record.reviews if actor.is_me(one.reviewer)]
    if mine and opinion_of(mine[-1]) == opinion_of(review):
        missing = f"{actor.name} has decided so already, and may only decide otherwise"
        others = candidates(record, actor.policies)
        if others:
            missing += f"; {', '.join(others)} may"
        raise NotAllowed(
            actor=actor.name,
            action="resolve",
            escalation_id=record.escalation_id,
            missing=missing,
            hint="give it back with `kt escalation unclaim`",
        )


def _reviewed_so(
    record: Record,
    actor: Actor,
    outcome: Outcome,
    reason: str,
    category: Category | None,
    claim_id: str | None,
    amendment: Amendment | None,
) -> bool:
    """Whether the record's last change is the actor's own review, with exactly these words."""
    if record.status == "claimed" or not record.reviews:
        return False
    if record.resolution is not None and record.resolution.outcome in ("expired", "withdrawn"):
        return False
    last = record.reviews[-1]
    digests = [one.digest if one else None for one in (last.amendment, amendment)]
    same = (last.outcome, last.reason, last.category, digests[0]) == (outcome, reason, category, digests[1])
    return same and actor.is_me(last.reviewer) and claim_id in (None, last.claim_id)


# --- withdraw -------------------------------------------------------------------------------------


def withdraw(record: Record, actor: Actor, reason: str) -> Record:
    """The record resolved as withdrawn, which releases nothing: by the person who raised it, or by an admin.

    Raises NotAllowed, AlreadyResolved, ClockSkew.
    """
    end = record.resolution
    if end and end.outcome == "withdrawn" and end.reason == reason and actor.is_me(end.resolved_by):
        return record
    if not actor.is_me(record.raised_by) and not is_admin(actor):
        missing = f"{record.raised_by} raised it, and an admin may as well"
        raise NotAllowed(
            actor=actor.name, action="withdraw", escalation_id=record.escalation_id, missing=missing
        )
    _require_open(record)
    now = stamp(record, actor)
    return record.replace(
        status="resolved",
        resolution=Resolution(outcome="withdrawn", reason=reason, resolved_by=actor.name, resolved_at=now),
    )


# --- what the sweep does -------------------------------------------------------------------------


def expire(record: Record, actor: Actor) -> Record:
    """The record resolved as expired: its `resolve_within` is over, and nothing is released."""
    within = record.requires.resolve_within
    reason = f"not resolved within {format_duration(within)}" if within else "its time is over"
    now = stamp(record, actor)
    return record.replace(
        status="resolved",
        resolution=Resolution(outcome="expired", reason=reason, resolved_by=actor.name, resolved_at=now),
    )


def release(record: Record, actor: Actor) -> Record:
    """The record queued again: its holder's lease is over."""
    return record.replace(status="queued", claim=None, queued_at=stamp(record, actor))


# --- note -----------------------------------------------------------------------------------------


def note(record: Record, actor: Actor, text: str) -> Record:
    """The record with one more note. The same object if the actor has just added exactly this note.

    A person who may not decide the record may not fill all of it, so that there is room for those who may.
    Raises NotAllowed, AlreadyResolved, ClockSkew, and BadInput if there is no room.
    """
    require_role(actor, "note on", record.escalation_id, "reviewer", "admin")
    _require_open(record)
    if _noted_so(record, actor, text):
        return record
    noted = record.replace(notes=_noted(record, actor, stamp(record, actor), text))
    if why_not(record, actor.policies, actor.name) is None and not has_reviewed(
        record, actor.policies, actor.name
    ):
        return require_fit(noted, MAX_OPEN, _LEFT_OPEN)
    return require_fit(noted, MAX_NOTED, "notes of those who may not decide it")


def _noted(record: Record, actor: Actor, now: datetime, text: str) -> tuple[Note, ...]:
    return (*record.notes, Note(by=actor.name, at=now, text=text))


def _noted_so(record: Record, actor: Actor, text: str) -> bool:
    """Whether the last words in the record are exactly these words by the actor, from an earlier attempt."""
    return bool(record.notes) and actor.is_me(record.notes[-1].by) and record.notes[-1].text == text


# --- state ----------------------------------------------------------------------------------------


def stamp(record: Record, actor: Actor) -> datetime:
    """The time to write into a record, not before its last time. Raises ClockSkew."""
    last = record.last_time
    if last - actor.now > actor.policies.settings.claims.clock_tolerance:
        raise ClockSkew(
            escalation_id=record.escalation_id, now=format_time(actor.now), last=format_time(last)
        )
    return max(actor.now, last)


def _require_open(record: Record) -> None:
    if record.resolution is not None:
        error = AlreadyResolved(
            escalation_id=record.escalation_id,
            outcome=record.resolution.outcome,
            resolved_by=record.resolution.resolved_by,
            resolved_at=format_time(record.resolution.resolved_at),
        )
        if record.resolution.outcome == "expired":
            error.says = "{escalation_id} expired by its deadline at {resolved_at} (swept by {resolved_by})"
        raise error


def _holds(record: Record, actor: Actor) -> bool:
    return record.claim is not None and actor.is_me(record.claim.claimed_by)


def _holder(record: Record, actor: Actor, action: str, claim_id: str | None) -> Claim:
    _require_open(record)
    current = _claimed(record)
    if not _holds(record, actor):
        raise NotHolder(
            escalation_id=record.escalation_id,
            claimed_by=current.claimed_by,
            since=format_time(current.claimed_at),
            actor=actor.name,
            action=action,
        )
    if claim_id is not None and claim_id != current.claim_id:
        raise _claim_id_differs(record, current, claim_id)
    return current


def _claimed(record: Record) -> Claim:
    if record.claim is None:
        raise NotClaimed(escalation_id=record.escalation_id)
    return record.claim


def _held(record: Record, current: Claim) -> AlreadyClaimed:
    return AlreadyClaimed(
        escalation_id=record.escalation_id,
        claimed_by=current.claimed_by,
        since=format_time(current.claimed_at),
        claim_id=current.claim_id,
    )


def _claim_id_differs(record: Record, current: Claim, given: str) -> ClaimIdDiffers:
    return ClaimIdDiffers(
        escalation_id=record.escalation_id,
        claimed_by=current.claimed_by,
        since=format_time(current.claimed_at),
        claim_id=current.claim_id,
        given=given,
    )
