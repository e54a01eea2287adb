"""Lists escalations as rows, without importing the rules or the model unless a filter needs them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from ..errors import BadInput
from ..frozen import dataclass
from ..model import query
from ..model.query import Page, Query
from ..model.summary import RecordSummary
from ..model.times import format_time
from ..model.vocabulary import SEVERITIES, STATUSES, Severity
from ..storage.interface import Invalid, Snapshot
from .read_session import ReadSession

if TYPE_CHECKING:
    from ..model.record import Record
    from ..results import Listing
    from ..rules.permissions import Actor


@dataclass(frozen=True)
class Rows:
    """A page of rows, which are cheaper than records, and the files that could not be read.

    ``hint`` says why the page may be empty, if that is known.
    """

    page: Page
    invalid: tuple[Invalid, ...]
    snapshot: Snapshot
    hint: str | None = None

    def plain(self) -> Sequence[dict[str, Any]]:
        """The records of the page as plain JSON values. The store must still be open."""
        return list(self.snapshot.plain(self.page.rows))


StatusFilter = Literal["open", "all", "queued", "claimed", "resolved"]


class _Fields(TypedDict, total=False):
    """The filters of a listing that `Query` takes as they are."""

    team: str | None
    user: str | None
    agent_id: str | None
    since: datetime | None
    mine: bool
    overdue: bool
    claimable: bool
    sort: str
    limit: int
    cursor: str | None


class Filters(_Fields, total=False):
    """The filters, the order and the page of a listing.

    ``status``, ``severity`` and ``request_id`` match one value or any of several. ``status`` is by default
    "open", which is queued or claimed; "all" is every status. ``team`` is the team of the route. ``user`` is
    the user of the route or the holder. ``since`` is the earliest time of creation. ``mine`` selects
    escalations that the caller holds. ``overdue`` selects those that are past a deadline or a lease, or that
    nobody can decide. ``claimable`` selects those that the caller could claim now. ``sort`` is severity,
    created, raised, queued or id; a leading - reverses it. ``limit`` 0 returns all. ``cursor`` is that of the
    previous page.
    """

    status: StatusFilter | Collection[StatusFilter]
    severity: Severity | Collection[Severity]
    request_id: str | Collection[str]


def query_of(
    status: StatusFilter | Collection[StatusFilter] = "open",
    severity: Severity | Collection[Severity] = (),
    request_id: str | Collection[str] = (),
    **fields: Unpack[_Fields],
) -> Query:
    """The query for some filters. Raises BadInput for a value that the filter does not have."""
    from . import inputs

    return Query(
        statuses=frozenset().union(*(STATUSES[word] for word in _words(status, "status", STATUSES))),
        severities=frozenset(_words(severity, "severity", SEVERITIES)),
        escalation_ids=frozenset(map(inputs.id_of_request, _several(request_id))),
        **fields,
    )


def _several(given: str | Collection[str]) -> Collection[str]:
    return (given,) if isinstance(given, str) else given


def _words(given: str | Collection[str], what: str, known: Collection[str]) -> Collection[str]:
    words = _several(given)
    for word in words:
        if word not in known:
            raise BadInput(problem=f"{word!r} is not a {what}; use one of {', '.join(known)}")
    return words


def records(session: ReadSession, wanted: Query, *, rev: str | None = None, fetch: bool = False) -> Listing:
    """The matching escalations, as a page of whole records. Raises BadInput, NotAStore, NoIdentity."""
    from ..results import Listing

    found = rows(session, wanted, rev=rev, fetch=fetch)
    page = tuple(entry.record for entry in found.snapshot.entries(found.page.rows))
    return Listing(page, found.page.next_cursor, found.invalid)


def rows(session: ReadSession, wanted: Query, *, rev: str | None, fetch: bool) -> Rows:
    """The matching escalations, as a page of rows. Raises BadInput, NotAStore, NoIdentity."""
    snapshot = session.snapshot(rev, fetch=fetch)
    found: list[RecordSummary] = []
    invalid: list[Invalid] = []
    for resolved, statuses in ((False, {"queued", "claimed"}), (True, {"resolved"})):
        if wanted.statuses & statuses or (resolved and wanted.outcomes):
            more, unreadable = snapshot.rows(resolved=resolved)
            found += more
            invalid += unreadable
    if wanted.mine or wanted.overdue or wanted.claimable:
        # In order, so that no more records are read than the page needs. One more tells whether there is another.
        found = list(query.select(found, replace(wanted, limit=0)).rows)
        most = wanted.limit + 1 if wanted.limit else None
        found = list(islice(_narrowed(session, snapshot, found, wanted), most))
    page = query.select(found, wanted)
    hint = _unknown_team(snapshot, wanted.team) if wanted.team and not page.rows else None
    return Rows(page, tuple(sorted(invalid, key=lambda item: item.path)), snapshot, hint)


def _unknown_team(snapshot: Snapshot, team: str) -> str | None:
    """Why nothing is routed to a team, if the roster does not list it."""
    from ..policies.policy_set import assemble

    roster = assemble(*snapshot.policies()).roster
    if roster is None or roster.has_team(team):
        return None
    teams = ", ".join(sorted(each.team_id for each in roster.teams))
    return (
        f"the roster has no team {team[:80]}; its teams are {teams}" if teams else "the roster has no teams"
    )


def _narrowed(
    session: ReadSession, snapshot: Snapshot, found: Sequence[RecordSummary], wanted: Query
) -> Iterator[RecordSummary]:
    """The rows that pass the filters that need the rules. Each row is judged when it is requested."""
    from . import candidates

    if wanted.mine:
        actor = session.actor(snapshot)
        found = [row for row in found if candidates.is_mine(row, actor)]
    tests = []
    if wanted.overdue:
        actor = session.actor(snapshot, named=False)
        tests.append(_Judge(snapshot, candidates.is_overdue, actor, ("queued", "claimed")))
    if wanted.claimable:
        # A queued escalation may be claimed whatever the time.
        tests.append(_Judge(snapshot, candidates.is_claimable, session.actor(snapshot), ("claimed",)))
    return (row for row in found if all(test.passes(row) for test in tests))


class _Judge:
    """Judges rows by a rule that reads records. It reads only one record for all rows with the same standing.

    ``timed`` are the statuses for which a deadline or lease that has passed can change the answer. Such a row
    is judged by itself.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        rule: Callable[[Snapshot, Record, Actor], bool],
        actor: Actor,
        timed: Collection[str],
    ) -> None:
        self._snapshot = snapshot
        self._rule = rule
        self._actor = actor
        self._timed = timed
        self._now = format_time(actor.now)
        self._known: dict[tuple[object, ...], bool] = {}

    def passes(self, row: RecordSummary) -> bool:
        """The rule's answer for the row's record."""
        from . import candidates

        if row.status in self._timed and row.deadline is not None and row.deadline <= self._now:
            return self._judged(row)
        standing = candidates.standing(row)
        if standing not in self._known:
            self._known[standing] = self._judged(row)
        return self._known[standing]

    def _judged(self, row: RecordSummary) -> bool:
        [entry] = self._snapshot.entries([row])
        return self._rule(self._snapshot, entry.record, self._actor)
