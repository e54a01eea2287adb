"""The deadlines and the lease of a record, computed from its own keys. `sweep` applies them when they have passed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .record import Record


def resolve_by(record: Record) -> datetime | None:
    """The time by which it must be resolved, counted from `raised_at`. None if there is no limit."""
    return _after(record.raised_at, record.requires.resolve_within)


def claim_by(record: Record) -> datetime | None:
    """The time by which it must be claimed, counted from `queued_at`. None if it is held or has no limit."""
    return _after(record.queued_at, record.requires.claim_within) if record.status == "queued" else None


def deadline(record: Record) -> datetime | None:
    """The next moment at which time alone changes the escalation: a claim deadline, a lease, or its expiry."""
    if record.resolution is not None:
        return None
    lease = record.claim.expires_at if record.claim else None
    ends = [end for end in (resolve_by(record), claim_by(record), lease) if end is not None]
    return min(ends, default=None)


def _after(start: datetime, within: timedelta | None) -> datetime | None:
    return start + within if within is not None else None
