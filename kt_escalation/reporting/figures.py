"""Reads records and history, and computes the statistics of a queue from them.

`statistics` defines each number. See docs/evidence.md, *Numbers*.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

from ..actions.opening import reading
from ..errors import ShallowClone
from ..frozen import dataclass
from ..git.objects import chunks
from ..model.record import Record
from ..model.release import Release
from ..model.times import to_millis
from ..model.vocabulary import MAX_BYTES
from ..policies.policy_set import assemble
from ..storage import commits, layout, lookup, yaml_text
from ..storage.clone import GitStore
from ..storage.interface import Entry, Invalid, Progress, Used
from ..storage.snapshot import GitSnapshot
from . import statistics as numbers
from .statistics import ALWAYS, By, Period, ReviewerRow, Row, Window

# How many commits' files are read from git in one go.
_AT_ONCE = 500
# Where the canonical text of a record names its claim; other texts are parsed.
_CLAIM_ID = re.compile(rb"\nclaim:\n  claim_id: (\S+)\n")


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
            claims.update(claims_in_history(store, snapshot.revision, earlier))
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


def claims_in_history(
    store: GitStore, revision: str, wanted: Collection[str]
) -> dict[str, dict[str, datetime]]:
    """The time of each claim of these escalations up to a revision, by escalation id and claim id."""
    found: dict[str, dict[str, datetime]] = {name: {} for name in wanted}
    for some in chunks(_states(store, revision, found), _AT_ONCE):
        blobs = store.repository.objects.get([oid for _, oid in some], largest=MAX_BYTES)
        for (name, _), blob in zip(some, blobs, strict=True):
            if blob is None or blob.data is None or b"claim" not in blob.data:
                continue
            said = _CLAIM_ID.search(blob.data)
            if said and said[1].decode(errors="replace") in found[name]:
                continue
            try:
                claim = yaml_text.loads(blob.data).claim
            except yaml_text.Malformed:
                continue
            if claim:
                found[name].setdefault(claim.claim_id, claim.claimed_at)
    return found


def _states(store: GitStore, revision: str, wanted: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The escalation id and blob id of every earlier state of these escalations, oldest first."""
    known = frozenset(wanted)
    for commit in commits.walk(store, [revision]):
        for change in commit.changes:
            name = layout.id_of(change.path)
            if name in known and name is not None and change.new is not None:
                yield name, change.new
