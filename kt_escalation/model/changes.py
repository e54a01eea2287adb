"""The actions between two states of a record, derived from the record itself."""

from __future__ import annotations

from typing import NamedTuple

from .record import Record, Review
from .release import Release

# The outcomes that no reviewer gives, and the action that does.
_ENDS = {"expired": "sweep", "withdrawn": "withdraw"}


class Happening(NamedTuple):
    """One action on an escalation: its name, the actor named in the record, and the reviewer's text."""

    action: str
    actor: str | None = None
    outcome: str | None = None
    text: str | None = None


def between(before: Record | None, after: Record | None) -> tuple[Happening, ...]:
    """The actions that lead from one state to the next, in order. ``change`` if no action explains it."""
    if after is None:
        return (Happening("delete"),) if before else ()
    if before is None:
        return (_creation(after), *_notes_and_decisions(after, (), int(after.reopens is not None)))
    if before.route != after.route or _reassigned(before, after):
        return (_rerouted(before, after),)
    found: list[Happening] = []
    given_back = before.claim is not None and after.claim is None
    known = len(before.notes)
    decided = len(after.reviews) > len(before.reviews)
    if after.claim and after.claim.same_as(before.claim):
        if before.claim != after.claim:
            found.append(Happening("renew", after.claim.claimed_by))
    elif after.claim:
        found.append(Happening("claim", after.claim.claimed_by))
    if given_back and not decided:
        forced = after.notes[known] if len(after.notes) > known else None
        known += forced is not None
        found.append(
            Happening("unclaim", forced.by, text=forced.text) if forced else _released(before, after)
        )
    if before.resolution is None:
        found += _notes_and_decisions(after, before.reviews, known)
    if not found and before != after:
        found.append(Happening("change"))
    return tuple(found)


def of_release(before: Release | None, after: Release | None) -> tuple[Happening, ...]:
    """The action between two states of a release's file: a release or a receipt."""
    if after is None:
        return (Happening("delete"),) if before else ()
    found = []
    if before is None:
        found.append(Happening("release", after.released_by, after.outcome, f"under {after.release_id}"))
    receipt = after.receipt
    if receipt is not None and (before is None or before.receipt != receipt):
        said = f"{receipt.status}: {receipt.reason}" if receipt.reason else receipt.status
        found.append(Happening("receipt", receipt.receipt_by, text=said))
    return tuple(found) or (Happening("change"),)


def _creation(after: Record) -> Happening:
    if after.reopens:
        return Happening("reopen", after.raised_by, text=after.notes[0].text if after.notes else None)
    return Happening("raise", after.raised_by)


def _notes_and_decisions(
    after: Record, known_reviews: tuple[Review, ...], known_notes: int
) -> list[Happening]:
    """The notes and decisions that were added to a record."""
    found = [Happening("note", note.by, text=note.text) for note in after.notes[known_notes:]]
    reviews = after.reviews[len(known_reviews) :]
    by_reviewers = after.resolution is not None and after.resolution.outcome not in _ENDS
    for review in reviews:
        last = by_reviewers and review is after.reviews[-1]
        action = "resolve" if last else "review"
        found.append(Happening(action, review.reviewer, review.outcome, review.reason))
    if after.resolution and not (reviews and by_reviewers):
        end = after.resolution
        action = _ENDS.get(end.outcome, "resolve")
        found.append(Happening(action, end.resolved_by, end.outcome, end.reason))
    return found


def _reassigned(before: Record, after: Record) -> bool:
    """Whether the escalation was assigned again to the user that it was already routed to."""
    if after.route.source != "assigned" or after.claim is None or after.claim.same_as(before.claim):
        return False
    last = after.notes[-1] if len(after.notes) > len(before.notes) else None
    return last is not None and last.at == after.claim.claimed_at and last.by != after.claim.claimed_by


def _rerouted(before: Record, after: Record) -> Happening:
    to = f"to team {after.route.team_id}" if after.route.team_id else f"to {after.route.user_id}"
    if after.route.source == "assigned" and len(after.notes) > len(before.notes):
        note = after.notes[-1]
        return Happening("assign", note.by, text=f"{to}: {note.text}")
    return Happening("sweep", None, text=f"nobody claimed it in time; {to}")


def _released(before: Record, after: Record) -> Happening:
    claim = before.claim
    if claim and claim.expires_at and after.queued_at > claim.expires_at:
        return Happening("sweep", None, text=f"the lease of {claim.claimed_by} was over")
    return Happening("unclaim", claim.claimed_by if claim else None)
