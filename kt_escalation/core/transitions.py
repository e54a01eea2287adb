"""The transition table: what may happen to an escalation, by whom, and what it becomes (design, section 4).

Each function takes a record and gives the next one, or the very same object where the action is a
repeat, or raises the error that says why not. The order of refusal is the design's: what is wrong
with the input, who may not, and only then the state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from ..errors import (
    AlreadyClaimed,
    AlreadyResolved,
    BadInput,
    ClaimIdDiffers,
    ClockSkew,
    DifferentContent,
    NotAllowed,
    NotClaimed,
    NotHolder,
    ShownDiffers,
)
from . import canonical, ids
from .events import Raisable
from .model import (
    MAX_BYTES,
    RELEASING,
    Category,
    Claim,
    Note,
    Outcome,
    Record,
    Resolution,
    Review,
    Route,
    explain,
)
from .policies import Policies
from .roster import Role, person
from .times import format_time

# What raising decides by itself; a repeat is not judged by it (design, section 4, *Repeats*).
_DECIDED = frozenset(
    {
        "schema_version",
        "escalation_id",
        "status",
        "created_at",
        "raised_at",
        "raised_by",
        "queued_at",
        "route",
    }
)


@dataclass(frozen=True)
class Act:
    """Who acts, when, and under which policies (those at the commit's parent)."""

    actor: str
    now: datetime
    policies: Policies

    @property
    def person(self) -> str:
        """The actor as one person, whatever the address."""
        return person(self.policies.roster, self.actor)

    def is_me(self, name: str) -> bool:
        """Whether a name in a record is the actor."""
        return person(self.policies.roster, name) == self.person


def act(email: str, now: datetime, policies: Policies) -> Act:
    """An act by the owner of an e-mail: by user id where the roster knows it."""
    roster = policies.roster
    return Act(roster.by_email.get(email.casefold(), email) if roster else email, now, policies)


# --- raise ----------------------------------------------------------------------------------------


def escalation_id(raisable: Raisable, now: datetime, random: bytes) -> str:
    """The id that a draft gets (design, section 3). Raises BadInput where the draft asks for another."""
    draft = raisable.draft
    if draft.request_id is not None:
        derived = ids.from_request(draft.request_id)
        if draft.escalation_id not in (None, derived):
            raise BadInput(
                problem=f"escalation_id is {draft.escalation_id}, but this request_id makes it {derived}"
            )
        return derived
    return draft.escalation_id or f"esc_{ids.ulid(now, random)}"


def raise_(raisable: Raisable, new_id: str, act: Act, claim_id: str) -> Record:
    """The record of a new escalation, born claimed where it is routed to a user.

    Raises NotAllowed for who may not raise, BadInput for a draft that contradicts what raising decides.
    """
    _role(act, "raise", new_id, "gateway", "admin")
    draft, now = raisable.draft, act.now
    if draft.raised_by is not None and not act.is_me(draft.raised_by):
        raise BadInput(problem=f"raised_by is {draft.raised_by}, but you are {act.actor}")
    route = _route(raisable, act)
    requires = act.policies.settings.requirements(
        severity=draft.severity,
        reason_code=draft.reason_code,
        provider=draft.provider,
        model=draft.model,
        policy=draft.policy,
        route=route,
    )
    if draft.requires is not None and draft.requires != requires:
        raise BadInput(problem="requires is not what the settings ask for; leave it out")
    context = draft.event_context
    created = draft.created_at or now
    if created > now:
        context = {**(context or {}), "timestamp": format_time(created)}
        created = now
    keys = draft.model_dump(
        include={
            "severity", "reason_code", "summary", "request_id", "agent_id", "session_id",
            "config_version", "provider", "model", "policy", "labels",
        }
    )  # fmt: skip
    claim = _claim(act, claim_id, now, route.user_id) if route.user_id else None
    try:
        record = Record(
            **keys,
            escalation_id=new_id,
            status="claimed" if claim else "queued",
            created_at=created,
            raised_at=now,
            raised_by=act.actor,
            queued_at=now,
            event_context=context,
            route=route,
            requires=requires,
            claim=claim,
        )
    except ValidationError as error:
        raise BadInput(problem=explain(error)) from None
    return _fits(record)


def _route(raisable: Raisable, act: Act) -> Route:
    if raisable.routing:
        whom = raisable.routing
        return Route(team_id=whom.team_id, user_id=whom.user_id, source="event", policies=act.policies.tree)
    return act.policies.route(raisable.draft.provider, raisable.draft.model)


def same_as_raised(existing: Record, raisable: Raisable) -> None:
    """Return where raising the draft again would be a repeat; raise DifferentContent where it would not."""
    differs = []
    for key in sorted(raisable.given - _DECIDED):
        was, is_now = getattr(existing, key), getattr(raisable.draft, key)
        if key == "event_context":
            was, is_now = _without_timestamp(was), _without_timestamp(is_now)
        if was != is_now:
            differs.append(key)
    if differs:
        raise DifferentContent(escalation_id=existing.escalation_id, differs=", ".join(differs))


def _without_timestamp(context: dict[str, Any] | None) -> dict[str, Any]:
    # Raising puts a future event's time there, so it is part of no comparison.
    return {key: value for key, value in (context or {}).items() if key != "timestamp"}


# --- claim and unclaim ----------------------------------------------------------------------------


def claim(
    record: Record,
    act: Act,
    claim_id: str,
    *,
    given: bool = False,
    deciders: Iterable[str] = (),
    held: int = 0,
) -> Record:
    """The record held by the actor.

    ``given`` says that the caller chose the claim id (fencing): the same one is a repeat, another
    of the same person a conflict. ``deciders`` are those who decided what this one reopens, ``held``
    how many live claims the actor has.
    Raises NotAllowed, AlreadyResolved, AlreadyClaimed, ClaimIdDiffers, ClockSkew.
    """
    current = record.claim if record.status == "claimed" else None
    if current and act.is_me(current.claimed_by) and not lapsed(record, act):
        if given and current.claim_id != claim_id:
            raise _claim_id_differs(record, current, claim_id)
        return record
    may_review(record, act, "claim", deciders)
    limit = act.policies.settings.claims.max_per_reviewer
    if limit is not None and held >= limit and record.status != "resolved":
        raise _not_allowed(
            act, "claim", record.escalation_id, f"you hold {held} already and the limit is {limit}"
        )
    _require_open(record)
    if current and not lapsed(record, act):
        raise _held(record, current)
    now = stamp(record, act)
    return _fits(record.replace(status="claimed", claim=_claim(act, claim_id, now, act.actor)))


def _claim(act: Act, claim_id: str, now: datetime, holder: str) -> Claim:
    lease = act.policies.settings.claims.lease
    return Claim(
        claim_id=claim_id, claimed_by=holder, claimed_at=now, expires_at=now + lease if lease else None
    )


def lapsed(record: Record, act: Act) -> bool:
    """Whether the claim's lease is over, with the tolerance for clocks (design, section 4, *Lease*)."""
    if record.claim is None or record.claim.expires_at is None:
        return False
    return act.now > record.claim.expires_at + act.policies.settings.claims.clock_tolerance


def unclaim(record: Record, act: Act, *, claim_id: str | None = None) -> Record:
    """The record given back to the queue by its holder.

    Raises AlreadyResolved, NotClaimed, NotHolder, ClaimIdDiffers, ClockSkew.
    """
    _holder(record, act, "give it back", claim_id)
    return _fits(record.replace(status="queued", claim=None, queued_at=stamp(record, act)))


# --- resolve --------------------------------------------------------------------------------------


def resolve(
    record: Record,
    act: Act,
    outcome: Outcome,
    reason: str,
    *,
    category: Category | None = None,
    claim_id: str | None = None,
    shown: str | None = None,
) -> Record:
    """The record resolved, or queued again for another reviewer while its quorum is short.

    ``shown`` is the digest of what the caller decided on; it must still be the record's.
    Raises NotAllowed, AlreadyResolved, NotClaimed, NotHolder, ClaimIdDiffers, ShownDiffers, ClockSkew.
    """
    if outcome == "expired":
        raise BadInput(problem="expired is written by the sweep only")
    if _reviewed_so(record, act, outcome, reason, category, claim_id):
        return record
    may_review(record, act, "resolve")
    current = _holder(record, act, "resolve it", claim_id)
    digest = canonical.shown(record)
    if shown is not None and shown != digest:
        raise ShownDiffers(escalation_id=record.escalation_id, shown=digest, given=shown)
    now = stamp(record, act)
    review = Review(
        reviewer=act.actor,
        outcome=outcome,
        reason=reason,
        category=category,
        reviewed_at=now,
        claim_id=current.claim_id,
        shown=digest,
    )
    reviews = (*record.reviews, review)
    if outcome in RELEASING and votes(reviews, outcome, act.policies) < record.requires.approvals:
        return _fits(record.replace(status="queued", claim=None, queued_at=now, reviews=reviews))
    resolution = Resolution(
        outcome=outcome, reason=reason, category=category, resolved_by=act.actor, resolved_at=now
    )
    return _fits(record.replace(status="resolved", reviews=reviews, resolution=resolution))


def votes(reviews: Iterable[Review], outcome: Outcome, policies: Policies) -> int:
    """How many different people gave this outcome."""
    return len({person(policies.roster, review.reviewer) for review in reviews if review.outcome == outcome})


def _reviewed_so(
    record: Record, act: Act, outcome: Outcome, reason: str, category: Category | None, claim_id: str | None
) -> bool:
    """Whether the actor's own decision, the same in every word, is what last happened to the record."""
    if record.status == "claimed" or not record.reviews:
        return False
    last = record.reviews[-1]
    same = (last.outcome, last.reason, last.category) == (outcome, reason, category)
    return same and act.is_me(last.reviewer) and claim_id in (None, last.claim_id)


# --- note -----------------------------------------------------------------------------------------


def note(record: Record, act: Act, text: str) -> Record:
    """The record with one more note. Raises NotAllowed, AlreadyResolved, ClockSkew."""
    _role(act, "note on", record.escalation_id, "reviewer", "admin")
    _require_open(record)
    added = Note(by=act.actor, at=stamp(record, act), text=text)
    return _fits(record.replace(notes=(*record.notes, added)))


# --- who ------------------------------------------------------------------------------------------


def may_review(record: Record, act: Act, action: str, deciders: Iterable[str] = ()) -> None:
    """Raise NotAllowed unless the actor may claim and decide this escalation (design, section 4)."""
    escalation_id = record.escalation_id
    roster = act.policies.roster
    if roster is not None:
        _role(act, action, escalation_id, "reviewer")
        route = record.route
        if route.user_id is not None and not act.is_me(route.user_id):
            raise _not_allowed(act, action, escalation_id, f"it is routed to {route.user_id}")
        if route.team_id is not None and act.person not in roster.members(route.team_id):
            members = ", ".join(roster.members(route.team_id)) or "nobody"
            missing = f"it is routed to team {route.team_id} ({members})"
            raise _not_allowed(act, action, escalation_id, missing)
    if record.requires.approvals > 1:
        if act.is_me(record.raised_by):
            raise _not_allowed(act, action, escalation_id, "it needs two people and you raised it")
        if any(act.is_me(decider) for decider in deciders):
            raise _not_allowed(act, action, escalation_id, "you decided the escalation that it reopens")
    if record.status != "resolved" and any(act.is_me(review.reviewer) for review in record.reviews):
        raise _not_allowed(act, action, escalation_id, "you have reviewed it; another person must")


def _role(act: Act, action: str, escalation_id: str, *roles: Role) -> None:
    roster = act.policies.roster
    if roster is None:
        return
    user = roster.by_id.get(act.person)
    if user and set(roles) & set(user.roles):
        return
    wanted = " or ".join(roles)
    have = ", ".join(roster.with_role(*roles)) or "nobody"
    missing = f"the role {wanted} is missing" if user else "you are not on the roster"
    raise _not_allowed(act, action, escalation_id, f"{missing} ({wanted}: {have})")


def _not_allowed(act: Act, action: str, escalation_id: str, missing: str) -> NotAllowed:
    return NotAllowed(actor=act.actor, action=action, escalation_id=escalation_id, missing=missing)


# --- state ----------------------------------------------------------------------------------------


def stamp(record: Record, act: Act) -> datetime:
    """The time to write: never before the record's last one (design, section 5). Raises ClockSkew."""
    last = record.last_time
    if last - act.now > act.policies.settings.claims.clock_tolerance:
        raise ClockSkew(escalation_id=record.escalation_id, now=format_time(act.now), last=format_time(last))
    return max(act.now, last)


def _require_open(record: Record) -> None:
    if record.resolution is not None:
        raise AlreadyResolved(
            escalation_id=record.escalation_id,
            outcome=record.resolution.outcome,
            resolved_by=record.resolution.resolved_by,
            resolved_at=format_time(record.resolution.resolved_at),
        )


def _holds(record: Record, act: Act) -> bool:
    return record.claim is not None and act.is_me(record.claim.claimed_by)


def _holder(record: Record, act: Act, action: str, claim_id: str | None) -> Claim:
    _require_open(record)
    if record.claim is None:
        raise NotClaimed(escalation_id=record.escalation_id)
    if not _holds(record, act):
        raise NotHolder(
            escalation_id=record.escalation_id,
            claimed_by=record.claim.claimed_by,
            since=format_time(record.claim.claimed_at),
            actor=act.actor,
            action=action,
        )
    if claim_id is not None and claim_id != record.claim.claim_id:
        raise _claim_id_differs(record, record.claim, claim_id)
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


def _fits(record: Record) -> Record:
    size = len(canonical.dumps(record).encode())
    if size > MAX_BYTES:
        raise BadInput(
            problem=f"{record.escalation_id} would be {size} bytes, more than the {MAX_BYTES // 1024} KiB of a record"
        )
    return record
