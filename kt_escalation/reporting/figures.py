"""Reads records and history, and computes the statistics of a queue from them.

`statistics` defines each number. See docs/evidence.md, *Numbers*.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from ..actions.opening import reading
from ..errors import ShallowClone
from ..model.record import Record
from ..model.release import Release
from ..model.times import to_millis
from ..policies.policy_set import assemble
from ..storage import lookup
from ..storage.claims import taken
from ..storage.interface import Entry, Invalid, Progress, Used
from ..storage.snapshot import GitSnapshot
from . import statistics as numbers
from .statistics import ALWAYS, By, Period, ReviewerRow, Row, Window


@dataclass(frozen=True)
class Figures:
    """The statistics of a store at one revision, at the time ``at``. ``rows`` are the groups of kind ``by``."""

    revision: str
    at: datetime
    window: Window
    by: By | None
    period: Period | None
    total: Row
    rows: tuple[Row, ...] | tuple[ReviewerRow, ...]
    invalid: tuple[Invalid, ...]


def stats(
    path: str | os.PathLike[str] = ".",
    *,
    now: datetime,
    by: By | None = None,
    period: Period = "month",
    window: Window = ALWAYS,
    rev: str | None = None,
    fetch: bool = False,
    progress: Progress | None = None,
) -> Figures:
    """Count what happened within a window, in groups if ``by`` is given. `statistics` defines each number.

    Most numbers come from the records. Claims that a record no longer holds come from history.

    Raises BadInput, NotAStore, and ShallowClone if history is needed and cut off.
    """
    with reading(path, rev, fetch=fetch, progress=progress) as (store, snapshot):
        invalid: list[Invalid] = []
        claims: dict[str, Mapping[str, datetime]] = {}
        tally = numbers.Tally(
            assemble(*snapshot.policies()),
            to_millis(now),
            claims,
            lambda name: lookup.record_of(snapshot, name),
            by=(by,) if by else (),
            period=period,
            window=window,
        )
        earlier = set()
        # git lists releases before what is resolved.
        used: dict[str, Release] = {}
        for entry in entries(snapshot, invalid, used):
            if numbers.has_earlier_claims(entry.record):
                earlier.add(entry.record.escalation_id)
            else:
                tally.add(entry.record, used.get(entry.record.escalation_id))
        if earlier:
            if store.repository.is_shallow:
                raise ShallowClone(where=str(path))
            claims.update(taken(store, snapshot.revision, earlier))
            for entry in entries(snapshot, [], used):
                if entry.record.escalation_id in earlier:
                    tally.add(entry.record, used.get(entry.record.escalation_id))
        rows = tally.reviewers if by == "reviewer" else tally.rows(by) if by else ()
        kind = period if by == "period" else None
        return Figures(snapshot.revision, now, window, by, kind, tally.total, rows, tuple(invalid))


def entries(
    snapshot: GitSnapshot,
    invalid: list[Invalid],
    used: dict[str, Release],
    known: Mapping[str, Record] | None = None,
) -> Iterator[Entry]:
    """Every record, one after another. Releases, and files that cannot be read, are collected separately.

    ``known`` has records by blob id, which are not read again.
    """
    for _, _, item in snapshot.everything(known):
        if isinstance(item, Entry):
            yield item
        elif isinstance(item, Used):
            used[item.release.escalation_id] = item.release
        elif isinstance(item, Invalid):
            invalid.append(item)
