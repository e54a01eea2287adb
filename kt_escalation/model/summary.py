"""The summary of a record: everything that filters, orders and tables need.

It is computed once from a whole record, and can then be cached and shown without the model. Times are kept as
text, which sorts correctly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .deadlines import deadline
from .times import format_time

if TYPE_CHECKING:
    from .record import Record


class RecordSummary(NamedTuple):
    """The summary of one record.

    ``blob`` is the id of the bytes that it was read from. ``path`` is the record's proper path below the
    store's folder. ``holder`` and ``claim_id`` are those of its claim. ``deadline`` is the next moment at
    which time alone changes it (`model.deadlines`). ``barred`` are people who may not decide it: its
    reviewers, and the person who raised it if it needs several people.
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
    policy: str | None
    model: str | None
    reopens: str | None
    barred: tuple[str, ...]


def summary_of(record: Record, path: str, blob: str) -> RecordSummary:
    """The summary of a record that belongs at ``path``."""
    end = deadline(record)
    return RecordSummary(
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
        record.policy,
        record.model,
        record.reopens,
        _barred(record),
    )


def _barred(record: Record) -> tuple[str, ...]:
    names = {review.reviewer for review in record.reviews}
    if record.requires.approvals > 1:
        names.add(record.raised_by)
    return tuple(sorted(names))
