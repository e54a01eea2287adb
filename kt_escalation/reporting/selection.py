"""Filters events."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..frozen import dataclass
from ..model.event import Event


@dataclass(frozen=True)
class Selection:
    """Filters of events. An empty filter matches everything. An event must match all filters.

    ``teams`` are teams of the route. ``users`` are users of the route, the holder, and earlier holders.
    ``is_me`` says whether a name is the caller's; if it is given, only the caller's events match: those that
    are routed to the caller by name, or that the caller holds or held before. If the record cannot be read,
    only its action is known, and only the filter by action applies.
    """

    teams: Collection[str] = ()
    users: Collection[str] = ()
    severities: Collection[str] = ()
    actions: Collection[str] = ()
    is_me: Callable[[str], bool] | None = None

    def has(self, event: Event) -> bool:
        """Whether an event matches all filters."""
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
    """The user of the route, the holder, and earlier holders, unless the escalation is resolved."""
    claims = (event.claim, event.claim_before)
    names = (event.user_id, *(claim.claimed_by for claim in claims if claim))
    return {name for name in names if name}
