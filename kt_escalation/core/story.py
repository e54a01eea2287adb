"""What happened between two states of a record, told from the record itself (design, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

from .model import Record


@dataclass(frozen=True)
class Happening:
    """One action on one escalation: what, by whom as the record says, and the reviewer's words."""

    action: str
    actor: str | None = None
    outcome: str | None = None
    text: str | None = None


def between(before: Record | None, after: Record | None) -> tuple[Happening, ...]:
    """The actions that lead from one state to the next, in order; ``change`` for what no action explains."""
    if after is None:
        return (Happening("delete"),) if before else ()
    found: list[Happening] = []
    if before is None:
        found.append(Happening("reopen" if after.reopens else "raise", after.raised_by))
    known_reviews = len(before.reviews) if before else 0
    known_notes = len(before.notes) if before else 0
    if after.claim and after.claim != (before.claim if before else None):
        renewed = (
            before is not None and before.claim is not None and before.claim.claim_id == after.claim.claim_id
        )
        if before is not None:
            found.append(Happening("renew" if renewed else "claim", after.claim.claimed_by))
    for note in after.notes[known_notes:]:
        found.append(Happening("note", note.by, text=note.text))
    for review in after.reviews[known_reviews:]:
        last = after.resolution is not None and review is after.reviews[-1]
        found.append(
            Happening("resolve" if last else "review", review.reviewer, review.outcome, review.reason)
        )
    if after.resolution and not (before and before.resolution) and len(after.reviews) == known_reviews:
        end = after.resolution
        found.append(Happening("resolve", end.resolved_by, end.outcome, end.reason))
    given_back = before and before.status == "claimed" and after.status == "queued"
    if given_back and len(after.reviews) == known_reviews:
        found.append(Happening("unclaim", before.claim.claimed_by if before and before.claim else None))
    if not found and before != after:
        found.append(Happening("change"))
    return tuple(found)
