"""Which events somebody wants to be told."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..model.event import Event


@dataclass(frozen=True)
class Selection:
    """Filters of events. What is empty leaves nothing out; several filters must all hold.

    ``teams`` and ``users`` are those that the escalation is routed to, or the user who holds it or held it before.
    ``is_me`` says whether a name is the caller's, if only events of what is the caller's are wanted: what is routed to
    the caller by name, and what the caller holds or held before. An event of which nothing but the action is known,
    because the record cannot be read, is left out by its action alone.
    """

    teams: Collection[str] = ()
    users: Collection[str] = ()
    severities: Collection[str] = ()
    actions: Collection[str] = ()
    is_me: Callable[[str], bool] | None = None

    def has(self, event: Event) -> bool:
        """Whether the event is wanted."""
        if self.actions and event.action not in self.actions:
            return False
        if event.severity is None:
            return True
        if self.severities and event.severity not in self.severities:
            return False
        if self.teams and event.team_id not in self.teams:
            return False
        people = _people(event)
        if self.users and not {name.casefold() for name in self.users} & {name.casefold() for name in people}:
            return False
        return self.is_me is None or any(map(self.is_me, people))


def _people(event: Event) -> Collection[str]:
    """The user whom the escalation is routed to, and those who hold it and held it before, unless it is resolved."""
    claims = (event.claim, event.claim_before)
    names = (event.user_id, *(claim.claimed_by for claim in claims if claim))
    return {name for name in names if name}
