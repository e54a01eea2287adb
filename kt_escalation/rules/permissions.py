"""Who may do what: checks roles, routes and four eyes for each action. See docs/rights.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ..errors import NotAllowed
from ..model.record import Record, Review
from ..model.vocabulary import RELEASING
from ..policies.policy_set import Policies
from ..policies.roster import Role, Roster, person


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
    return Act(known_as(email, policies.roster), now, policies)


def known_as(name: str, roster: Roster | None) -> str:
    """The user id that lists an e-mail, else the name as it is: how people stand in records."""
    return roster.by_email.get(name.casefold(), name) if roster else name


def require_role(act: Act, action: str, escalation_id: str, *roles: Role) -> None:
    """Raise NotAllowed unless the actor has one of the roles; without a roster nobody is asked."""
    missing = _role_missing(act.policies.roster, act.actor, roles)
    if missing:
        raise _refusal(act, action, escalation_id, missing)


def may_review(record: Record, act: Act, action: str, deciders: Iterable[str] = ()) -> None:
    """Raise NotAllowed unless the actor may claim and decide this escalation (design, section 4).

    ``deciders`` are those who decided the escalation that this one reopens.
    """
    deciders = tuple(deciders)
    missing = why_not(record, act.policies, act.actor, deciders)
    if missing:
        others = candidates(record, act.policies, deciders)
        if others is not None:
            missing += (
                f"; {', '.join(others)} may"
                if others
                else "; nobody may until an admin changes policies/roster.yaml"
            )
        raise _refusal(act, action, record.escalation_id, missing)


def why_not(record: Record, policies: Policies, name: str, deciders: Iterable[str] = ()) -> str | None:
    """What keeps somebody from claiming and deciding this escalation, None if nothing does."""
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
    if record.requires.approvals > 1:
        needed = f"it needs {record.requires.approvals} people"
        if person(roster, record.raised_by) == who:
            return f"{needed} and {name} raised it"
        if any(person(roster, decider) == who for decider in deciders):
            return f"{needed} and {name} decided the one that it reopens"
    if record.status != "resolved" and any(person(roster, r.reviewer) == who for r in record.reviews):
        return f"{name} has reviewed it already"
    return None


def candidates(record: Record, policies: Policies, deciders: Iterable[str] = ()) -> tuple[str, ...] | None:
    """The users who may claim and decide this escalation; None where no roster says who there is."""
    if policies.roster is None:
        return None
    deciders = tuple(deciders)
    users = (user.user_id for user in policies.roster.users)
    return tuple(user for user in users if why_not(record, policies, user, deciders) is None)


@dataclass(frozen=True)
class Quorum:
    """How far an open escalation is from its decision: what is asked, given, missing, and from whom.

    ``given`` counts people by releasing outcome; ``candidates`` is None without a roster.
    """

    approvals: int
    given: Mapping[str, int]
    missing: int
    candidates: tuple[str, ...] | None


def quorum(record: Record, policies: Policies, deciders: Iterable[str] = ()) -> Quorum | None:
    """What is still missing for a decision, and who could give it; None once it is resolved."""
    if record.resolution is not None:
        return None
    given: dict[str, int] = {
        outcome: votes(record.reviews, outcome, policies)
        for outcome in dict.fromkeys(review.outcome for review in record.reviews)
        if outcome in RELEASING
    }
    asked = record.requires.approvals
    return Quorum(
        asked, given, asked - max(given.values(), default=0), candidates(record, policies, deciders)
    )


def votes(reviews: Iterable[Review], outcome: str, policies: Policies) -> int:
    """How many different people gave this outcome."""
    return len({person(policies.roster, review.reviewer) for review in reviews if review.outcome == outcome})


def is_admin(act: Act) -> bool:
    """Whether the actor has the role admin; without a roster everybody may what an admin may."""
    return _role_missing(act.policies.roster, act.actor, ("admin",)) is None


def require_known(act: Act, action: str) -> None:
    """Raise NotAllowed for who is not on the roster; without one everybody is."""
    roster = act.policies.roster
    if roster is not None and not roster.knows(act.actor):
        missing = f"{act.actor} is not on the roster"
        raise NotAllowed(actor=act.actor, action=action, escalation_id="the store", missing=missing)


def _role_missing(roster: Roster | None, name: str, roles: tuple[Role, ...]) -> str | None:
    if roster is None:
        return None
    user = roster.by_id.get(person(roster, name))
    if user and set(roles) & set(user.roles):
        return None
    wanted = " or ".join(roles)
    have = ", ".join(roster.with_role(*roles)) or "nobody"
    who = name or "nobody"
    missing = f"{who} has not the role {wanted}" if user else f"{who} is not on the roster"
    return f"{missing} ({wanted}: {have})"


def _refusal(act: Act, action: str, escalation_id: str, missing: str) -> NotAllowed:
    who = act.actor or "somebody without an e-mail"
    return NotAllowed(actor=who, action=action, escalation_id=escalation_id, missing=missing)
