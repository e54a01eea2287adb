"""The statistics of a queue: how many escalations, their outcomes and durations, and who decided.

Each number belongs to the period of its event: a raise to the period of the raise, a decision to the period
of the decision. Numbers of open or overdue escalations are current, and belong to the period of the raise.
See docs/evidence.md, *Numbers*.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import field
from datetime import datetime
from typing import Literal, get_args

from ..frozen import dataclass
from ..model.record import Record, Review
from ..model.release import Release
from ..model.vocabulary import RELEASING, Outcome
from ..policies.policy_set import Policies
from ..policies.roster import person
from ..rules import due_actions, transitions
from ..rules.permissions import Actor

By = Literal["period", "team", "reviewer", "policy", "model"]
Period = Literal["day", "week", "month"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)
#: The claims of each escalation from history: when each claim was made, by claim id, the first one first.
ClaimTimes = Mapping[str, Mapping[str, datetime]]


@dataclass(frozen=True)
class Spans:
    """Durations in seconds: how many were measured, and three percentiles."""

    count: int
    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True)
class Row:
    """The numbers of one group. ``key`` is None for escalations without a team, policy or model."""

    key: str | None
    raised: int
    resolved: int
    open: int
    overdue: int
    outcomes: Mapping[str, int]
    released: int
    executed: int
    unused: int
    time_to_claim: Spans
    time_to_resolve: Spans
    second_reviews: int
    reopened: int
    reversals: int


@dataclass(frozen=True)
class ReviewerRow:
    """One person's decisions. ``approval_share`` is between 0 and 1, or None if nothing was decided.

    ``reversed`` counts decisions with another outcome after a reopening. ``holds`` counts claims that are
    live now.
    """

    key: str
    decisions: int
    outcomes: Mapping[str, int]
    approval_share: float | None
    time_to_decide: Spans
    second_reviews: int
    reversed: int
    holds: int


@dataclass(frozen=True)
class Window:
    """The time in which events count: from ``since``, included, to ``until``, excluded."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        """Whether a time is inside the window."""
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


ALWAYS = Window()


def spans(seconds: Iterable[float]) -> Spans:
    """The percentiles of some durations, with linear interpolation."""
    found = sorted(seconds)
    if len(found) < 2:
        only = found[0] if found else None
        return Spans(len(found), only, only, only)
    cuts = statistics.quantiles(found, n=100, method="inclusive")
    # Rounded to milliseconds, the precision of a record's times.
    return Spans(len(found), *(round(cuts[percent - 1], 3) for percent in (50, 90, 99)))


def period_of(moment: datetime, period: Period) -> str:
    """The UTC day, ISO week or month of a time: ``2026-11-23``, ``2026-W48``, ``2026-11``."""
    if period == "week":
        year, week, _ = moment.isocalendar()
        return f"{year:04}-W{week:02}"
    return moment.isoformat()[: 10 if period == "day" else 7]


def has_earlier_claims(record: Record) -> bool:
    """Whether a record has, or may have, earlier claims that only history shows.

    The record holds its last claim. There was an earlier one if it was queued again after it was raised, if
    it was decided under another claim, or if its lease could end and be claimed by somebody else.
    """
    claim = record.claim
    if record.queued_at != record.raised_at:
        return True
    if claim is None:
        return False
    return claim.expires_at is not None or any(r.claim_id != claim.claim_id for r in record.reviews)


def is_for_one_use(record: Record) -> bool:
    """Whether a record's decision releases once only."""
    end = record.resolution
    return end is not None and end.outcome in RELEASING and record.requires.single_use is True


@dataclass
class _Group:
    raised: int = 0
    resolved: int = 0
    open: int = 0
    overdue: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    released: int = 0
    executed: int = 0
    unused: int = 0
    to_claim: list[float] = field(default_factory=list)
    to_resolve: list[float] = field(default_factory=list)
    second_reviews: int = 0
    reopened: int = 0
    reversals: int = 0

    def row(self, key: str | None) -> Row:
        counts = {name: value for name, value in vars(self).items() if name not in ("to_claim", "to_resolve")}
        return Row(key, time_to_claim=spans(self.to_claim), time_to_resolve=spans(self.to_resolve), **counts)


def nothing(key: str | None) -> Row:
    """The numbers of a group without events."""
    return _Group().row(key)


@dataclass
class _Reviewer:
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    to_decide: list[float] = field(default_factory=list)
    second_reviews: int = 0
    reversed: int = 0
    holds: int = 0

    def row(self, key: str) -> ReviewerRow:
        decisions = sum(self.outcomes.values())
        share = self.outcomes["approved"] / decisions if decisions else None
        counts = (self.second_reviews, self.reversed, self.holds)
        return ReviewerRow(key, decisions, self.outcomes, share, spans(self.to_decide), *counts)


#: The group that a record belongs to, by the kind of group. A period depends on the time of an event.
_KEYS: Mapping[By, Callable[[Record], str | None]] = {
    "team": lambda record: record.route.team_id,
    "policy": lambda record: record.policy,
    "model": lambda record: record.model,
}


class Tally:
    """Counts records one by one, in total and for each kind of group in ``by``.

    Several names of one person on the roster are counted as one person. ``claims`` are those of the records
    with earlier claims. ``origin`` returns the record that another one reopens, or None if it is unknown.
    """

    def __init__(
        self,
        policies: Policies,
        now: datetime,
        claims: ClaimTimes,
        origin: Callable[[str], Record | None],
        *,
        by: Collection[By] = (),
        period: Period = "month",
        window: Window = ALWAYS,
    ) -> None:
        self._actor = Actor("", now, policies)
        self._claims = claims
        self._origin = origin
        self._period: Period = period
        self._window = window
        self._total = _Group()
        self._groups: dict[By, dict[str | None, _Group]] = {kind: {} for kind in by if kind != "reviewer"}
        self._reviewers: dict[str, _Reviewer] = {}

    def add(self, record: Record, release: Release | None = None) -> None:
        """Count one record, and its release if it has one."""
        self._used(record, release)
        claims = self._claims.get(record.escalation_id, {})
        if record.claim:
            claims = {**claims, record.claim.claim_id: record.claim.claimed_at}
        self._raised(record)
        self._claimed(record, claims)
        for number, review in enumerate(record.reviews):
            self._reviewed(record, review, claims, second=number > 0)
        self._resolved(record)
        if record.status == "claimed" and record.claim and not transitions.lapsed(record, self._actor):
            self._reviewer(record.claim.claimed_by).holds += 1

    @property
    def total(self) -> Row:
        """The total."""
        return self._total.row(None)

    def rows(self, by: By) -> tuple[Row, ...]:
        """The numbers of each group of one kind, by key. Records without a key come last."""
        groups = self._groups[by]
        return tuple(groups[key].row(key) for key in sorted(groups, key=lambda key: (key is None, key or "")))

    @property
    def reviewers(self) -> tuple[ReviewerRow, ...]:
        """The numbers of each person who decided something in the window, or holds something now."""
        rows = (self._reviewers[key].row(key) for key in sorted(self._reviewers))
        return tuple(row for row in rows if row.decisions or row.holds or row.reversed)

    def _raised(self, record: Record) -> None:
        overdue = due_actions.overdue(record, self._actor.policies, self._actor.now) is not None
        for group in self._counted(record, record.raised_at):
            group.raised += 1
            group.reopened += record.reopens is not None
            group.open += record.resolution is None
            group.overdue += overdue

    def _claimed(self, record: Record, claims: Mapping[str, datetime]) -> None:
        # A record routed to a user is claimed when it is raised, so nobody waited and nobody claimed it.
        taken = [at for at in claims.values() if at > record.raised_at]
        if taken and len(taken) == len(claims):
            first = min(taken)
            for group in self._counted(record, first):
                group.to_claim.append((first - record.raised_at).total_seconds())

    def _reviewed(
        self, record: Record, review: Review, claims: Mapping[str, datetime], *, second: bool
    ) -> None:
        for group in self._counted(record, review.reviewed_at):
            group.second_reviews += second
        if not self._window.holds(review.reviewed_at):
            return
        reviewer = self._reviewer(review.reviewer)
        reviewer.outcomes[review.outcome] += 1
        reviewer.second_reviews += second
        since = claims.get(review.claim_id)
        if since is not None:
            reviewer.to_decide.append(max(0.0, (review.reviewed_at - since).total_seconds()))

    def _resolved(self, record: Record) -> None:
        end = record.resolution
        if end is None:
            return
        for group in self._counted(record, end.resolved_at):
            group.resolved += 1
            group.outcomes[end.outcome] += 1
            group.to_resolve.append((end.resolved_at - record.raised_at).total_seconds())
        origin = self._origin(record.reopens) if record.reopens else None
        if origin is None or origin.resolution is None or origin.resolution.outcome == end.outcome:
            return
        for group in self._counted(record, end.resolved_at):
            group.reversals += 1
        if self._window.holds(end.resolved_at):
            over = [review for review in origin.reviews if review.outcome == origin.resolution.outcome]
            for name in {self._person(review.reviewer) for review in over}:
                self._reviewer(name).reversed += 1

    def _used(self, record: Record, release: Release | None) -> None:
        """Count the use of a decision: unused at the time of the decision, a release or a receipt at its own time."""
        end = record.resolution
        if release is None:
            if end is not None and is_for_one_use(record):
                for group in self._counted(record, end.resolved_at):
                    group.unused += 1
            return
        for group in self._counted(record, release.released_at):
            group.released += 1
        if release.receipt is not None and release.receipt.status == "executed":
            for group in self._counted(record, release.receipt.receipt_at):
                group.executed += 1

    def _counted(self, record: Record, moment: datetime) -> Iterator[_Group]:
        """The groups that count an event of a record at some time."""
        if not self._window.holds(moment):
            return
        yield self._total
        for kind, groups in self._groups.items():
            key = period_of(moment, self._period) if kind == "period" else _KEYS[kind](record)
            group = groups.get(key)
            if group is None:
                group = groups[key] = _Group()
            yield group

    def _person(self, name: str) -> str:
        return person(self._actor.policies.roster, name)

    def _reviewer(self, name: str) -> _Reviewer:
        return self._reviewers.setdefault(self._person(name), _Reviewer())
