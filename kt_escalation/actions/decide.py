"""Decides escalations, and adds notes to open ones."""

from __future__ import annotations

from collections.abc import Collection

from ..model.record import Record
from ..results import Result
from ..rules import transitions
from ..rules.permissions import Act
from ..storage.interface import Entry, Snapshot
from . import inputs
from .each import each
from .options import Options
from .session import Session


def resolve(
    session: Session,
    escalation_ids: Collection[str],
    outcome: str,
    reason: str,
    options: Options,
    category: str | None = None,
    shown: str | None = None,
) -> Result:
    """Decide escalations that the caller holds, all in the same way."""
    decided = inputs.outcome(outcome)
    kind = inputs.category(category)
    words = inputs.words(reason, "the reason")
    inputs.claim_id(options.claim_id)

    def rule(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
        return transitions.resolve(
            entry.record, act, decided, words, category=kind, claim_id=options.claim_id, shown=shown
        )

    return each(session, "resolve", escalation_ids, rule, options, outcome=decided, text=words)


def note(session: Session, escalation_ids: Collection[str], text: str, options: Options) -> Result:
    """Add a note to open escalations."""
    words = inputs.words(text, "the note")

    def rule(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
        return transitions.note(entry.record, act, words)

    return each(session, "note", escalation_ids, rule, options, text=words)
