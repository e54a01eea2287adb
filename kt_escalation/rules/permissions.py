"""Checks who may do what: roles, routes, and four eyes. See docs/rights.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from ..errors import NotAllowed
from ..frozen import dataclass
from ..model.record import Record, Review
from ..model.text import without_case
from ..model.vocabulary import RELEASING
from ..policies.policy_set import Policies
from ..policies.roster import Role, Roster, person

#: Who acts where git names no e-mail.
NOBODY = "somebody without an e-mail"


class Actor(NamedTuple):
    """Who acts, when, and under which policies (those at the commit's parent)."""

    name: str
    now: datetime
    policies: Policies

    @property
    def person(self) -> str:
        """The person behind the actor, whichever address was used."""
        return person(self.policies.roster, self.name)

    def is_me(self, name: str) -> bool:
        """Whether a name in a record is this actor."""
        return person(self.policies.roster, name) == self.person


def actor(email: str, now: datetime, policies: Policies) -> Actor:
    """The actor with an e-mail: the user of the roster if it lists the e-mail, else the e-mail itself."""
    return Actor(known_as(email, policies.roster), now, policies)


def known_as(name: str, roster: Roster | None) -> str:
    """The name of a person in records: the user id that lists the e-mail, else the e-mail itself."""
    return roster.by_email.get(without_case(name), name) if roster else name


def require_role(actor: Actor, action: str, escalation_id: str, *roles: Role) -> None:
    """Raise NotAllowed unless the actor has one of the roles. Without a roster, everybody may who is somebody."""
    roster = actor.policies.roster
    missing = _role_missing(roster, actor.name, roles)
    if not missing:
        return
    if roster is not None:
        who = roster.with_role(*roles)
        have = f"{', '.join(who)} {'has' if len(who) == 1 else 'have'} it" if who else "nobody has it"
        missing += f" ({have})"
    raise _refusal(actor, action, escalation_id, missing)


def may_review(record: Record, actor: Actor, action: str, deciders: Iterable[str] = ()) -> None:
    """Raise NotAllowed unless the actor may claim and decide this escalation. See docs/rights.md.

    ``deciders`` are the people who decided what this one reopens (`lookup.deciders`).
    """
    deciders = tuple(deciders)
    missing = why_not(record, actor.policies, actor.name, deciders)
    if missing:
        others = candidates(record, actor.policies, deciders)
        again = otherwise(record, actor.policies, deciders)
        if record.resolution is not None:
            # Nobody is left who may do it.
            pass
        elif others:
            missing += f"; {', '.join(others)} may"
        elif again:
            missing += f"; {', '.join(again)} may, to decide otherwise"
        elif others is not None:
            missing += "; nobody may until an admin changes policies/roster.yaml"
        raise _refusal(actor, action, record.escalation_id, missing)


def why_not(record: Record, policies: Policies, name: str, deciders: Iterable[str] = ()) -> str | None:
    """Why a person may not claim and decide this escalation, or None if they may."""
    roster = policies.roster
    who = person(roster, name)
    if roster is not None:
        missing = _role_missing(roster, name, ("reviewer",))
        if missing:
            return missing
        route = record.route
        if route.user_id is not None and person(roster, route.user_id) != who:
            return f"it is routed to {route.user_id}"
        if route.team_id is not None and who not in roster.members(route.team_id):
            return f"it is routed to team {route.team_id}"
    if record.requires.approvals > 1 and person(roster, record.raised_by) == who:
        return f"{name} raised it, and it needs {record.requires.approvals} people"
    return decided_before(record, policies, name, deciders)


def decided_before(record: Record, policies: Policies, name: str, deciders: Iterable[str]) -> str | None:
    """Why a person may not hold this escalation whatever gives it to them, or None: they decided what it reopens."""
    who = person(policies.roster, name)
    if record.requires.approvals < 2 or all(person(policies.roster, one) != who for one in deciders):
        return None
    return f"{name} decided what it reopens, and it needs {record.requires.approvals} people"


def has_reviewed(record: Record, policies: Policies, name: str) -> bool:
    """Whether a person has already reviewed an open escalation, and may claim it only to decide otherwise."""
    who = person(policies.roster, name)
    reviewers = (person(policies.roster, review.reviewer) for review in record.reviews)
    return record.resolution is None and who in reviewers


def candidates(record: Record, policies: Policies, deciders: Iterable[str] = ()) -> tuple[str, ...] | None:
    """The users who may claim and decide this escalation and have not yet. None if there is no roster."""
    if policies.roster is None:
        return None
    deciders = tuple(deciders)
    users = (user.user_id for user in policies.roster.users)
    return tuple(
        user
        for user in users
        if why_not(record, policies, user, deciders) is None and not has_reviewed(record, policies, user)
    )


def otherwise(record: Record, policies: Policies, deciders: Iterable[str] = ()) -> tuple[str, ...]:
    """The users who have reviewed this escalation, and may claim it again to decide otherwise."""
    deciders = tuple(deciders)
    names = dict.fromkeys(person(policies.roster, review.reviewer) for review in record.reviews)
    return tuple(name for name in names if why_not(record, policies, name, deciders) is None)


@dataclass(frozen=True)
class Quorum:
    """The state of an open escalation's quorum: required, given and missing approvals, and who can give them.

    ``given`` counts people by releasing outcome. ``candidates`` is None without a roster. ``otherwise`` are
    its reviewers, who may only decide otherwise.
    """

    approvals: int
    given: Mapping[str, int]
    missing: int
    candidates: tuple[str, ...] | None
    otherwise: tuple[str, ...] = ()


def quorum(record: Record, policies: Policies, deciders: Iterable[str] = ()) -> Quorum | None:
    """The approvals that are still missing, and who could give them. None if the escalation is resolved."""
    if record.resolution is not None:
        return None
    given: dict[str, int] = {}
    for decision, people in opinions(record.reviews, policies).items():
        if decision.outcome in RELEASING:
            given[decision.outcome] = max(given.get(decision.outcome, 0), len(people))
    asked = record.requires.approvals
    deciders = tuple(deciders)
    return Quorum(
        asked,
        given,
        asked - max(given.values(), default=0),
        candidates(record, policies, deciders),
        otherwise(record, policies, deciders),
    )


class Opinion(NamedTuple):
    """A decision on which reviewers may agree: an outcome, and the digest of the amendment if there is one."""

    outcome: str
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.outcome} with {self.digest[:19]}…" if self.digest else self.outcome


def opinion_of(review: Review) -> Opinion:
    """The decision of a review."""
    return Opinion(review.outcome, review.amendment.digest if review.amendment else None)


def opinions(reviews: Iterable[Review], policies: Policies) -> Mapping[Opinion, tuple[str, ...]]:
    """The people behind each decision. Only a person's newest review counts."""
    newest = {person(policies.roster, review.reviewer): opinion_of(review) for review in reviews}
    found: dict[Opinion, tuple[str, ...]] = {}
    for who, decision in newest.items():
        found[decision] = (*found.get(decision, ()), who)
    return found


def votes(reviews: Iterable[Review], decision: Opinion, policies: Policies) -> int:
    """The number of people whose newest review has this decision."""
    return len(opinions(reviews, policies).get(decision, ()))


def split(record: Record, policies: Policies, deciders: Iterable[str] = ()) -> str | None:
    """Why the remaining people cannot complete a releasing decision on an open escalation. None if they can.

    None also without a roster, because then nobody knows who remains.
    """
    left = candidates(record, policies, deciders)
    if record.resolution is not None or left is None or not record.reviews:
        return None
    found = {one: who for one, who in opinions(record.reviews, policies).items() if one.outcome in RELEASING}
    asked = record.requires.approvals
    if any(len(who) + len(left) >= asked for who in found.values()) or len(left) >= asked:
        return None
    told = "; ".join(f"{', '.join(who)}: {one}" for one, who in found.items())
    people = f"only {', '.join(left)} is left to review it" if left else "nobody is left to review it"
    return (
        f"it needs {asked} people who decide alike, and {people} ({told}); "
        "one of them has to claim it again and decide otherwise, or deny it"
    )


def is_admin(actor: Actor) -> bool:
    """Whether the actor is an admin. Without a roster, everybody is who is somebody."""
    return _role_missing(actor.policies.roster, actor.name, ("admin",)) is None


def require_known(actor: Actor, action: str) -> None:
    """Raise NotAllowed if the actor is not on the roster. Without a roster, everybody may."""
    roster = actor.policies.roster
    if roster is not None and not roster.knows(actor.name):
        missing = f"{actor.name} is not on the roster"
        raise NotAllowed(actor=actor.name, action=action, escalation_id="the store", missing=missing)


def _role_missing(roster: Roster | None, name: str, roles: tuple[Role, ...]) -> str | None:
    if roster is None:
        return None if name else f"{NOBODY} has no role"
    user = roster.by_id.get(person(roster, name))
    if user and set(roles) & set(user.roles):
        return None
    wanted, who = " or ".join(roles), name or NOBODY
    if user:
        return f"{who} does not have the role {wanted}"
    return f"{who} is not on the roster, and so does not have the role {wanted}"


def _refusal(actor: Actor, action: str, escalation_id: str, missing: str) -> NotAllowed:
    return NotAllowed(actor=actor.name or NOBODY, action=action, escalation_id=escalation_id, missing=missing)
