"""Which escalations are shown or taken, in which order, and where a page ends (design, section 8)."""

from __future__ import annotations

import base64
import binascii
import heapq
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from ..errors import BadInput
from .row import Row
from .times import parse_time
from .words import SEVERITIES

_RANK = {severity: rank for rank, severity in enumerate(SEVERITIES)}

Key = tuple[Any, ...]


def _severity(row: Row) -> Key:
    return (_RANK[row.severity], row.created_at, row.escalation_id)


#: Orders by name; a leading dash turns one round.
SORTS: dict[str, Callable[[Row], Key]] = {
    "severity": _severity,
    "created": lambda row: (row.created_at, row.escalation_id),
    "raised": lambda row: (row.raised_at, row.escalation_id),
    "queued": lambda row: (row.queued_at, row.escalation_id),
    "id": lambda row: (row.escalation_id,),
}
DEFAULT_SORT = "severity"
#: What each order's keys are made of.
_KINDS: dict[str, tuple[type, ...]] = {
    "severity": (int, str, str),
    "created": (str, str),
    "raised": (str, str),
    "queued": (str, str),
    "id": (str,),
}


@dataclass(frozen=True)
class Filter:
    """What a listing asks for; a field that is None or empty matches anything."""

    statuses: frozenset[str] = frozenset({"queued", "claimed"})
    severities: frozenset[str] = frozenset()
    team: str | None = None
    user: str | None = None
    agent_id: str | None = None
    since: datetime | None = None

    def matches(self, row: Row) -> bool:
        """Whether the row is asked for."""
        if row.status not in self.statuses:
            return False
        if self.severities and row.severity not in self.severities:
            return False
        if self.team is not None and row.team_id != self.team:
            return False
        if self.user is not None and self.user.casefold() not in {
            (row.user_id or "").casefold(),
            (row.holder or "").casefold(),
        }:
            return False
        if self.agent_id is not None and row.agent_id != self.agent_id:
            return False
        return self.since is None or parse_time(row.created_at) >= self.since


class Page(NamedTuple):
    """Some rows in order and the cursor of the next page, None at the end."""

    rows: tuple[Row, ...]
    next_cursor: str | None


def select(rows: Iterable[Row], wanted: Filter, sort: str, limit: int, cursor: str | None) -> Page:
    """The page after ``cursor`` of the rows that match, ``limit`` of them (0 for all).

    Raises BadInput for an unknown order or a cursor that is not one of this order.
    """
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise BadInput(problem=f"{sort!r} is no order; use one of {', '.join(SORTS)}, with - for the reverse")
    key, reverse = SORTS[name], sort.startswith("-")
    found = [row for row in rows if wanted.matches(row)]
    if cursor is not None:
        after = _read_cursor(cursor, sort)
        found = [row for row in found if (key(row) < after if reverse else key(row) > after)]
    # One more than is shown tells whether there are more; keys differ, since ids do.
    first = heapq.nlargest if reverse else heapq.nsmallest
    found = first(limit + 1 if limit else len(found), found, key=key)
    if limit and len(found) > limit:
        return Page(tuple(found[:limit]), _write_cursor(sort, key(found[limit - 1])))
    return Page(tuple(found), None)


def _write_cursor(sort: str, key: Key) -> str:
    text = json.dumps([sort, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, sort: str) -> Key:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        made_for, *key = json.loads(base64.b64decode(padded.encode(), b"-_", validate=True))
        kinds = _KINDS[made_for.removeprefix("-")]
        if tuple(type(part) for part in key) != kinds:
            raise ValueError
    except (KeyError, AttributeError, ValueError, TypeError, binascii.Error, UnicodeError, RecursionError):
        raise BadInput(problem="that cursor is none; take it from next_cursor of the page before") from None
    if made_for != sort:
        raise BadInput(problem=f"that cursor was made with --sort {made_for[:40]}, not {sort}")
    return tuple(key)


def in_order(rows: Iterable[Row]) -> Sequence[Row]:
    """Most severe, then oldest first: the order in which `claim --next` takes them."""
    return sorted(rows, key=_severity)
