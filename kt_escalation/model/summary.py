"""The summary of a record for listings: everything that filters, orders and tables need.

It is made once from a whole record, and can then be kept and shown without the model. Times are texts as
written, which sort correctly, and derived values are already computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .deadlines import deadline
from .times import format_time

if TYPE_CHECKING:
    from .record import Record


class Row(NamedTuple):
    """One record's line; ``blob`` is the id of the bytes that it was read from, ``path`` its place.

    ``path`` is where the record belongs, below the store's top; ``holder`` and ``claim_id`` are those
    of its claim; ``deadline`` is the moment at which time alone would change it (`deadlines`).
    """

    blob: str
    path: str
    escalation_id: str
    status: str
    severity: str
    reason_code: str
    summary: str | None
    created_at: str
    raised_at: str
    queued_at: str
    agent_id: str | None
    team_id: str | None
    user_id: str | None
    holder: str | None
    claim_id: str | None
    outcome: str | None
    deadline: str | None


def row_of(record: Record, path: str, blob: str) -> Row:
    """The row of a record that belongs at ``path``."""
    end = deadline(record)
    return Row(
        blob,
        path,
        record.escalation_id,
        record.status,
        record.severity,
        record.reason_code,
        record.summary,
        format_time(record.created_at),
        format_time(record.raised_at),
        format_time(record.queued_at),
        record.agent_id,
        record.route.team_id,
        record.route.user_id,
        record.claim.claimed_by if record.claim else None,
        record.claim.claim_id if record.claim else None,
        record.resolution.outcome if record.resolution else None,
        format_time(end) if end else None,
    )
