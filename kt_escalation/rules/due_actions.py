"""The actions that leases and deadlines require at a given time. See docs/operator.md, *What deadlines do*."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Literal

from ..frozen import dataclass
from ..model.deadlines import claim_by, resolve_by
from ..model.record import Record
from ..model.times import format_duration, format_time
from ..policies.policy_set import Policies
from . import transitions
from .permissions import Actor, candidates, otherwise, require_known

DueKind = Literal["expire", "release", "reroute"]
#: Tells who decided what a record reopens (`lookup.deciders`).
Deciders = Callable[[Record], Iterable[str]]


@dataclass(frozen=True)
class Due:
    """One due action: the record, the action, the reason, and the resulting record."""

    before: Record
    kind: DueKind
    why: str
    after: Record


def due(
    records: Iterable[Record], actor: Actor, claim_id: str, deciders: Deciders = lambda _: ()
) -> tuple[Due, ...]:
    """The actions that are due at ``actor.now``, at most one for each record.

    An overdue record expires. Otherwise a lapsed claim is released. Otherwise a record that nobody claimed in
    time goes to its fallback; if that is a user, the user holds it under ``claim_id``. A record that is newer
    than this clock, by more than the tolerance, is left alone. Raises NotAllowed if the actor is not on the
    roster, or if the fallback is a user who decided what the record reopens.
    """
    require_known(actor, "sweep")
    found = []
    for record in records:
        if record.resolution is None and record.last_time - actor.now <= _tolerance(actor.policies):
            action = _due(record, actor, claim_id, deciders)
            if action:
                found.append(action)
    return tuple(found)


def _due(record: Record, actor: Actor, claim_id: str, deciders: Deciders) -> Due | None:
    requires = record.requires
    end = resolve_by(record)
    if end is not None and actor.now >= end:
        within = format_duration(requires.resolve_within) if requires.resolve_within else "its time"
        return Due(record, "expire", f"not resolved within {within}", transitions.expire(record, actor))
    if record.claim is not None:
        if not transitions.lapsed(record, actor):
            return None
        until = format_time(record.claim.expires_at) if record.claim.expires_at else ""
        why = f"the lease of {record.claim.claimed_by} ended at {until}"
        return Due(record, "release", why, transitions.release(record, actor))
    start = claim_by(record)
    if start is not None and actor.now >= start and requires.fallback is not None and requires.claim_within:
        whom = requires.fallback
        now = transitions.stamp(record, actor)
        barred = deciders(record) if whom.user_id is not None else ()
        after = transitions.reroute(record, actor, whom, "fallback", now, claim_id, deciders=barred)
        to = f"team {whom.team_id}" if whom.team_id else f"user {whom.user_id}"
        why = f"not claimed within {format_duration(requires.claim_within)}; to {to}"
        return Due(record, "reroute", why, after)
    return None


def overdue(record: Record, policies: Policies, now: datetime) -> str | None:
    """Why an open escalation needs attention before its turn, or None.

    Either a deadline or a lease has passed, or nobody on the roster can decide it.
    """
    if record.resolution is not None:
        return None
    for end, what in ((resolve_by(record), "resolve"), (claim_by(record), "claim")):
        if end is not None and now >= end:
            return f"{what} was due at {format_time(end)}"
    if record.claim and record.claim.expires_at and now > record.claim.expires_at + _tolerance(policies):
        return f"the lease of {record.claim.claimed_by} ended at {format_time(record.claim.expires_at)}"
    return nobody_left(record, policies)


def nobody_left(record: Record, policies: Policies) -> str | None:
    """Why nobody on the roster can decide an open escalation, or None if somebody can."""
    user = record.route.user_id
    if user is not None and policies.roster is not None and not policies.roster.knows(user):
        return f"it is routed to {user}, who is not on the roster"
    if record.status == "queued" and candidates(record, policies) == ():
        again = otherwise(record, policies)
        if again:
            return f"nobody is left to review it but who has: {' or '.join(again)} has to decide otherwise"
        team = f"team {record.route.team_id}" if record.route.team_id else "it"
        return f"nobody on the roster may decide it (routed to {team})"
    return None


def _tolerance(policies: Policies) -> timedelta:
    return policies.settings.claims.clock_tolerance
