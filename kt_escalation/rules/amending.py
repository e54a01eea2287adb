"""Amendments: what a reviewer may release in place of a request. See docs/record.md, *Amendments*."""

from __future__ import annotations

from typing import Any

from ..errors import BadAmendment, BadInput
from ..model import digests
from ..model.edit_schema import misfit
from ..model.json_value import check_json
from ..model.record import Amendment, Record, Review
from ..model.vocabulary import AMENDING, MAX_AMENDMENTS, Outcome

# How deep a value may be nested, so that the record around it is not too deep.
_DEPTH_ABOVE = 5


def made(value: Any, media_type: str) -> Amendment:
    """The amendment with a value. Raises BadAmendment for a value that a record cannot hold."""
    if value is None:
        raise BadAmendment(pointer="", problem="null is not a value that can be released")
    try:
        check_json(value, _DEPTH_ABOVE)
        digest = digests.of_value(value)
        size = len(digests.canonical_json(value))
    except ValueError as error:
        raise BadAmendment(pointer="", problem=f"it {error}") from None
    if size > MAX_AMENDMENTS:
        problem = f"it has {size} bytes, and all amendments of a record have {MAX_AMENDMENTS // 1024} KiB"
        raise BadAmendment(pointer="", problem=problem)
    return Amendment(media_type=media_type, digest=digest, value=value)


def fitting(record: Record, outcome: Outcome, given: Amendment | None) -> Amendment | None:
    """The amendment in the form for the next review of a record.

    If an earlier review has the same value, it is only the digest, with that review's media type. Raises
    BadInput if the outcome takes no amendment, or needs one; BadAmendment if it does not fit.
    """
    if outcome not in AMENDING:
        if given is not None:
            raise BadInput(problem=f"an amendment goes with redacted or rewritten, not with {outcome}")
        return None
    if given is None:
        if record.action is not None:
            raise BadAmendment(
                pointer="",
                problem=f"{outcome} needs one here: the gateway has said what it will do "
                f"({record.action.kind} {record.action.name}), and must be told what instead",
            )
        return None
    known = with_value(record.reviews, given.digest)
    value = given.value if given.value is not None else known and known.value
    if value is None:
        raise BadAmendment(pointer="", problem=f"no review has an amendment with the digest {given.digest}")
    schema = record.action.edit_schema if record.action else None
    wrong = misfit(schema, value) if schema is not None else None
    if wrong is not None:
        pointer, problem = wrong
        raise BadAmendment(pointer=pointer, problem=f"{pointer or 'the whole'}: {problem}")
    if known is not None:
        # The digest does not cover the media type, and the last of a quorum must not choose another one.
        return Amendment(media_type=known.media_type, digest=given.digest)
    sizes = [
        len(digests.canonical_json(one.amendment.value))
        for one in record.reviews
        if one.amendment and one.amendment.value is not None
    ]
    if sum(sizes) + len(digests.canonical_json(value)) > MAX_AMENDMENTS:
        problem = f"all amendments of a record together have at most {MAX_AMENDMENTS // 1024} KiB"
        raise BadAmendment(pointer="", problem=problem)
    return given


def with_value(reviews: tuple[Review, ...], digest: str) -> Amendment | None:
    """The first amendment with that digest, which has the value. None if no review has it."""
    amendments = (review.amendment for review in reviews if review.amendment is not None)
    return next((one for one in amendments if one.digest == digest), None)


def effective(record: Record) -> Amendment | None:
    """The amendment that a resolved escalation releases, with its value. None if it is not amended."""
    end = record.resolution
    if end is None or end.outcome not in AMENDING or not record.reviews:
        return None
    last = record.reviews[-1].amendment
    if last is None or last.value is not None:
        return last
    return with_value(record.reviews, last.digest)


def effective_digest(record: Record) -> str | None:
    """The digest of what is released: of the amendment, else of the action. None if neither is known."""
    amendment = effective(record)
    if amendment is not None:
        return amendment.digest
    return record.action.digest if record.action is not None else None
