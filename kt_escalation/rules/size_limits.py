"""The size limits of a record, which leave room for its decision."""

from __future__ import annotations

from ..errors import BadInput
from ..model import canonical
from ..model.record import Record
from ..model.vocabulary import MAX_BYTES, MAX_DEPTH

# Upper bounds for canonical text: the bytes of one character of free text, with an indent of 2 for each level
# and as an escape; and the bytes of everything else in a record, and in each note and review.
_MOST_FOR_A_CHARACTER = 2 * (MAX_DEPTH + 2) + 12
_MOST_FOR_A_RECORD, _MOST_FOR_A_PART = 4_096, 1_024


def require_fit(record: Record, most: int = MAX_BYTES, what: str = "a record") -> Record:
    """The record itself. Raises BadInput if its text is larger than ``most`` bytes, the limit for ``what``."""
    # Most records are so small that they need not be written out to check their size.
    if largest(record) <= most:
        return record
    size = len(canonical.dumps(record).encode())
    if size > most:
        problem = f"{record.escalation_id} would be {size} bytes, more than the {most // 1024} KiB of {what}"
        raise BadInput(problem=problem, hint="make it shorter")
    return record


def largest(record: Record) -> int:
    """An upper bound for the size of a record's canonical text, in bytes. It is quick to compute, and much too high."""
    route, fallback, claim, end = record.route, record.requires.fallback, record.claim, record.resolution
    texts = [
        record.summary, record.reason_code, record.request_id, record.agent_id, record.session_id,
        record.config_version, record.provider, record.model, record.policy, record.raised_by,
        route.team_id, route.user_id, route.source,
    ]  # fmt: skip
    if fallback is not None:
        texts += (fallback.team_id, fallback.user_id)
    if claim is not None:
        texts.append(claim.claimed_by)
    if end is not None:
        texts += (end.resolved_by, end.reason)
    if record.event_context is not None:
        texts.append(repr(record.event_context))
    if record.labels is not None:
        texts.append(repr(record.labels))
    if record.action is not None:
        texts += (record.action.kind, record.action.name, record.action.digest)
        texts.append(repr(record.action.edit_schema))
    for note in record.notes:
        texts += (note.by, note.text)
    for review in record.reviews:
        texts += (review.reviewer, review.reason)
        if review.amendment is not None:
            texts += (review.amendment.media_type, review.amendment.digest, repr(review.amendment.value))
    parts = len(record.notes) + len(record.reviews)
    characters = sum(map(len, filter(None, texts)))
    return _MOST_FOR_A_RECORD + parts * _MOST_FOR_A_PART + characters * _MOST_FOR_A_CHARACTER
