"""The deadlines and the lease of a record, from its own keys.

`sweep` decides whether one has passed, and what follows.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .record import Record


def resolve_by(record: Record) -> datetime | None:
    """Until when it must be resolved; counted from raising."""
    return _after(record.raised_at, record.requires.resolve_within)


def claim_by(record: Record) -> datetime | None:
    """Until when it must be claimed, while it waits; counted from when it began to wait."""
    return _after(record.queued_at, record.requires.claim_within) if record.status == "queued" else None


def deadline(record: Record) -> datetime | None:
    """The next moment at which time alone would change it: a claim to come, a lease, the end."""
    if record.resolution is not None:
        return None
    lease = record.claim.expires_at if record.claim else None
    ends = [end for end in (resolve_by(record), claim_by(record), lease) if end is not None]
    return min(ends, default=None)


def _after(start: datetime, within: timedelta | None) -> datetime | None:
    try:
        return start + within if within is not None else None
    except OverflowError:
        # After the year 9999 no clock of ours comes.
        return None
