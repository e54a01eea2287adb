"""Filters, sorts and pages the escalations of a listing."""

from __future__ import annotations

import base64
import binascii
import heapq
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ..errors import BadInput
from ..frozen import dataclass
from .summary import RecordSummary
from .times import parse_time
from .vocabulary import SEVERITIES

_RANK = {severity: rank for rank, severity in enumerate(SEVERITIES)}

Key = tuple[Any, ...]


def turn(row: RecordSummary) -> Key:
    """The position in the queue. Smaller values come first."""
    return (_RANK[row.severity], row.created_at, row.escalation_id)


#: The orders by name. A leading dash reverses an order.
SORTS: dict[str, Callable[[RecordSummary], Key]] = {
    "severity": turn,
    "created": lambda row: (row.created_at, row.escalation_id),
    "raised": lambda row: (row.raised_at, row.escalation_id),
    "queued": lambda row: (row.queued_at, row.escalation_id),
    "id": lambda row: (row.escalation_id,),
}
DEFAULT_SORT = "severity"
#: The fields that make up the sort key of each order.
_KINDS: dict[str, tuple[type, ...]] = {
    "severity": (int, str, str),
    "created": (str, str),
    "raised": (str, str),
    "queued": (str, str),
    "id": (str,),
}


@dataclass(frozen=True)
class Query:
    """The content of a listing: which escalations, in which order, and which page.

    A field that is None or empty matches everything. ``outcomes`` adds resolved escalations with these
    outcomes to those of ``statuses``. ``mine`` selects escalations that the caller holds. ``overdue`` selects
    those that are past a deadline or a lease, or that nobody on the roster can decide. ``claimable`` selects
    those that the caller could claim now. ``limit`` 0 returns all. ``cursor`` is that of the previous page.
    Each of ``words`` must occur in the id, reason, summary, route, holder or agent; upper and lower case are
    equal. ``place`` is the number of the store if several are listed together.
    """

    statuses: frozenset[str] = frozenset({"queued", "claimed"})
    outcomes: frozenset[str] = frozenset()
    escalation_ids: frozenset[str] = frozenset()
    severities: frozenset[str] = frozenset()
    team: str | None = None
    user: str | None = None
    agent_id: str | None = None
    since: datetime | None = None
    mine: bool = False
    overdue: bool = False
    claimable: bool = False
    sort: str = DEFAULT_SORT
    limit: int = 0
    cursor: str | None = None
    words: str | None = None
    place: tuple[int, ...] = ()

    def matches(self, row: RecordSummary) -> bool:
        """Whether the row matches the query."""
        if row.status not in self.statuses and row.outcome not in self.outcomes:
            return False
        if self.escalation_ids and row.escalation_id not in self.escalation_ids:
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
        if self.words and not _has(row, self.words):
            return False
        return self.since is None or parse_time(row.created_at) >= self.since


def _has(row: RecordSummary, words: str) -> bool:
    """Whether each word is in some text of the row."""
    said = (
        row.escalation_id,
        row.reason_code,
        row.summary,
        row.team_id,
        row.user_id,
        row.holder,
        row.agent_id,
    )
    text = "\n".join(filter(None, said)).casefold()
    return all(word in text for word in words.casefold().split())


class Page(NamedTuple):
    """Rows in order, and the cursor of the next page (None at the end)."""

    rows: tuple[RecordSummary, ...]
    next_cursor: str | None


def select(rows: Iterable[RecordSummary], wanted: Query) -> Page:
    """The page of matching rows.

    Raises BadInput if the order is unknown, the cursor does not belong to the order, the limit is negative,
    or a name is empty.
    """
    key, reverse = _order(wanted.sort)
    if wanted.limit < 0:
        raise BadInput(problem=f"the limit is {wanted.limit}; give a whole number, at least 0; 0 lists all")
    for name in ("team", "user", "agent_id"):
        if getattr(wanted, name) == "":
            raise BadInput(problem=f"the {name.replace('_', ' ')} to list is empty")
    found = [row for row in rows if wanted.matches(row)]
    if wanted.cursor is not None:
        after = _read_cursor(wanted.cursor, wanted.sort, len(wanted.place))
        keys = [(*key(row), *wanted.place) for row in found]
        found = [row for row, at in zip(found, keys, strict=True) if (at < after if reverse else at > after)]
    # One more row than is shown tells whether there is a next page. Keys differ, because ids do.
    limit = wanted.limit
    first = heapq.nlargest if reverse else heapq.nsmallest
    found = first(limit + 1 if limit else len(found), found, key=key)
    if limit and len(found) > limit:
        return Page(tuple(found[:limit]), _write_cursor(wanted.sort, (*key(found[limit - 1]), *wanted.place)))
    return Page(tuple(found), None)


def merge(pages: Mapping[int, Page], wanted: Query) -> tuple[Sequence[tuple[int, RecordSummary]], str | None]:
    """Merge the pages of several stores, by place, into one: (place, row) in order, and the cursor.

    The same escalation in two stores is two rows. The place decides which one is first.
    """
    key, reverse = _order(wanted.sort)
    found = [(place, row) for place, page in pages.items() for row in page.rows]
    found.sort(key=lambda item: (*key(item[1]), item[0]), reverse=reverse)
    limit = wanted.limit or len(found)
    if len(found) <= limit and all(page.next_cursor is None for page in pages.values()):
        return found, None
    place, row = found[limit - 1]
    return found[:limit], _write_cursor(wanted.sort, (*key(row), place))


def _order(sort: str) -> tuple[Callable[[RecordSummary], Key], bool]:
    """The sort key of an order, and whether it is reversed. Raises BadInput."""
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise BadInput(
            problem=f"{sort!r} is not an order; use one of {', '.join(SORTS)}, with - for the reverse"
        )
    return SORTS[name], sort.startswith("-")


def _write_cursor(sort: str, key: Key) -> str:
    text = json.dumps([sort, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, sort: str, places: int) -> Key:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        made_for, *key = json.loads(base64.b64decode(padded.encode(), b"-_", validate=True))
        kinds = _KINDS[made_for.removeprefix("-")] + (int,) * places
        if tuple(type(part) for part in key) != kinds:
            raise ValueError
    except (KeyError, AttributeError, ValueError, TypeError, binascii.Error, UnicodeError, RecursionError):
        raise BadInput(
            problem="that is not a cursor; take it from next_cursor of the previous page"
        ) from None
    if made_for != sort:
        raise BadInput(problem=f"that cursor was made with --sort {made_for[:40]}, not {sort}")
    return tuple(key)


def in_order(rows: Iterable[RecordSummary]) -> Sequence[RecordSummary]:
    """The rows in the order in which `claim --next` takes them: the most severe first, then the oldest."""
    return sorted(rows, key=turn)
