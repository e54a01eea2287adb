"""Decides escalations, and adds notes to open ones."""

from __future__ import annotations

from collections.abc import Sequence

from ..model.record import Record
from ..results import Result
from ..rules import transitions
from ..rules.permissions import Act
from ..storage.interface import Entry, Snapshot
from . import inputs
from .each import each
from .session import Session


def resolve(
    session: Session,
    escalation_ids: Sequence[str],
    outcome: str,
    reason: str,
    *,
    category: str | None = None,
    claim_id: str | None = None,
    shown: str | None = None,
    partial: bool = False,
    branch: str | None = None,
    dry_run: bool = False,
) -> Result:
    """Decide escalations that the caller holds, all in the same way."""
    decided = inputs.outcome(outcome)
    kind = inputs.category(category)
    words = inputs.words(reason, "the reason")
    inputs.claim_id(claim_id)

    def rule(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
        return transitions.resolve(
            entry.record, act, decided, words, category=kind, claim_id=claim_id, shown=shown
        )

    return each(
        session,
        *("resolve", escalation_ids, rule),
        partial=partial,
        branch=branch,
        claim_id=claim_id,
        outcome=decided,
        text=words,
        dry_run=dry_run,
    )


def note(session: Session, escalation_id: str, text: str, *, branch: str | None = None) -> Result:
    """Add a note to an open escalation."""
    words = inputs.words(text, "the note")

    def rule(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
        return transitions.note(entry.record, act, words)

    return each(session, "note", [escalation_id], rule, branch=branch, text=words)
