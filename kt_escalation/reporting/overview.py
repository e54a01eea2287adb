"""Collects the content of the report page. See docs/report.md."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ..actions.opening import reading
from ..errors import BadInput
from ..frozen import dataclass
from ..model import query
from ..model.event import Event, source
from ..model.record import Record
from ..model.release import Release
from ..model.summary import RecordSummary, summary_of
from ..model.times import to_millis
from ..policies.policy_set import Policies, assemble
from ..rules import due_actions
from ..storage import layout, lookup
from ..storage.clone import GitStore
from ..storage.interface import Entry, Invalid, Progress
from ..storage.snapshot import GitSnapshot
from . import figures, timeline
from . import statistics as numbers
from .statistics import ALWAYS, Period, ReviewerRow, Tally, Window

# The longest time that the charts show by day, and by week. Longer times are shown by month.
_BY_DAY, _BY_WEEK = timedelta(days=45), timedelta(days=400)
#: The number of periods to show. Only the last ones are shown.
PERIODS = 60


@dataclass(frozen=True)
class Case:
    """One escalation in its current state, and its events, oldest first. ``overdue`` is the reason, if any."""

    row: RecordSummary
    request_id: str | None
    policy: str | None
    model: str | None
    resolved_at: datetime | None
    overdue: str | None
    events: tuple[Event, ...]

    @property
    def is_open(self) -> bool:
        """Whether it is not yet resolved."""
        return self.resolved_at is None


@dataclass(frozen=True)
class Overview:
    """The content of the report page: a store at one revision, at the time ``at``.

    ``cases`` are first the open ones: overdue, then most severe, then oldest. Resolved ones with anything in
    the window follow, newest first. The numbers are those of `statistics`. ``periods`` has a row for each of
    the last periods, even if nothing happened in it.
    """

    #: The address of the store, without user and password.
    store: str
    revision: str
    at: datetime
    window: Window
    team: str | None
    period: Period
    total: numbers.Row
    periods: tuple[numbers.Row, ...]
    teams: tuple[numbers.Row, ...]
    policies: tuple[numbers.Row, ...]
    models: tuple[numbers.Row, ...]
    reviewers: tuple[ReviewerRow, ...]
    cases: tuple[Case, ...]
    invalid: tuple[Invalid, ...]


def report(
    path: str | os.PathLike[str] = ".",
    *,
    now: datetime,
    window: Window = ALWAYS,
    team: str | None = None,
    period: Period | None = None,
    rev: str | None = None,
    fetch: bool = False,
    progress: Progress | None = None,
) -> Overview:
    """Collect the report of a store, or of the escalations routed to one team.

    The numbers count what happened within the window. Without ``period``, the length of the window, or the
    age of the store, decides the length of a period. Records and history are each read once, and ``progress``
    is called meanwhile.

    Raises BadInput, NotAStore, ShallowClone, GitFailed.
    """
    if team == "":
        raise BadInput(problem="the team to report on is empty")
    with reading(path, rev, fetch=fetch, progress=progress) as (store, snapshot):
        read = _read(store, snapshot, team, window)
        policies = assemble(*snapshot.policies())
        records = [entry.record for entry in read.entries]
        period = period or _period(records, window, now)
        by_id = {record.escalation_id: record for record in records}
        tally = Tally(
            policies,
            to_millis(now),
            read.claims,
            lambda name: by_id.get(name) or lookup.record_of(snapshot, name),
            by=("period", "team", "policy", "model"),
            period=period,
            window=window,
        )
        for record in records:
            tally.add(record, read.used.get(record.escalation_id))
        return Overview(
            source(store.location.address),
            snapshot.revision,
            now,
            window,
            team,
            period,
            tally.total,
            _every_period(tally.rows("period"), period, min(now, window.until or now)),
            tally.rows("team"),
            tally.rows("policy"),
            tally.rows("model"),
            tally.reviewers,
            _in_order(_cases(read, policies, now)),
            tuple(read.invalid),
        )


class _Read(NamedTuple):
    """What was read: the escalations, their events and claims by escalation id, and the unreadable files."""

    entries: list[Entry]
    events: dict[str, list[Event]]
    claims: dict[str, dict[str, datetime]]
    invalid: list[Invalid]
    used: dict[str, Release]


def _read(store: GitStore, snapshot: GitSnapshot, team: str | None, window: Window) -> _Read:
    """Read the relevant escalations of a team (None: of all) and their history, each once."""
    place = timeline.place(store, snapshot.revision, None)
    read = _Read([], defaultdict(list), defaultdict(dict), [], {})
    # The last state of each record that was read, with its blob id.
    known: dict[str, tuple[str, Record]] = {}

    def add_entries() -> None:
        for entry in figures.entries(snapshot, read.invalid, read.used, dict(known.values())):
            if (team is None or entry.record.route.team_id == team) and _is_relevant(entry.record, window):
                read.entries.append(entry._replace(record=_without_unused_keys(entry.record)))

    # Without a window, the final states come from history, which is read anyway. Otherwise the events of
    # other escalations are not kept.
    everything = team is None and window == ALWAYS
    if not everything:
        add_entries()
    wanted = {entry.record.escalation_id for entry in read.entries}

    def keep(blob: str, record: Record) -> None:
        if everything:
            known[record.escalation_id] = blob, _without_unused_keys(record)

    for event in timeline.read(store, snapshot.revision, place, keep):
        if everything or event.escalation_id in wanted:
            read.events[event.escalation_id].append(event)
            if event.claim:
                read.claims[event.escalation_id].setdefault(event.claim.claim_id, event.claim.claimed_at)
    if everything:
        add_entries()
    return read


def _without_unused_keys(record: Record) -> Record:
    """The record without the keys that no number needs, which are most of it."""
    return record.replace(event_context=None) if record.event_context else record


def _is_relevant(record: Record, window: Window) -> bool:
    """Whether the record is open, or has (or may have) anything that counts within a window."""
    if record.resolution is None:
        return True
    if window.since is not None and record.last_time < window.since:
        return False
    return window.until is None or record.raised_at < window.until


def _period(records: Sequence[Record], window: Window, now: datetime) -> Period:
    start = window.since or min((record.raised_at for record in records), default=now)
    span = min(now, window.until or now) - start
    return "day" if span <= _BY_DAY else "week" if span <= _BY_WEEK else "month"


def _every_period(rows: Sequence[numbers.Row], period: Period, end: datetime) -> tuple[numbers.Row, ...]:
    """The last periods up to a time, from the first one with an event."""
    if not rows:
        return ()
    known = {row.key: row for row in rows}
    first, last = rows[0].key or "", end.toordinal()
    longest = 31
    days = range(last, max(0, last - PERIODS * longest), -1)
    keys = dict.fromkeys(numbers.period_of(datetime.fromordinal(day), period) for day in days)
    wanted = [key for key in keys if key >= first][:PERIODS]
    return tuple(known.get(key) or numbers.nothing(key) for key in reversed(wanted))


def _cases(read: _Read, policies: Policies, now: datetime) -> Iterator[Case]:
    for entry in read.entries:
        overdue = due_actions.overdue(entry.record, policies, now)
        yield _case(entry, overdue, read.events[entry.record.escalation_id])


def _case(entry: Entry, overdue: str | None, events: Sequence[Event]) -> Case:
    record = entry.record
    return Case(
        summary_of(record, layout.path_of(record), entry.blob),
        record.request_id,
        record.policy,
        record.model,
        record.resolution.resolved_at if record.resolution else None,
        overdue,
        tuple(events),
    )


def _in_order(cases: Iterable[Case]) -> tuple[Case, ...]:
    urgency = query.SORTS["severity"]

    def key(case: Case) -> tuple[bool, bool, float, query.Key]:
        ended = case.resolved_at.timestamp() if case.resolved_at else 0.0
        return (not case.is_open, case.overdue is None, -ended, urgency(case.row))

    return tuple(sorted(cases, key=key))
