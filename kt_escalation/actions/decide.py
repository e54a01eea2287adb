"""Decides escalations, and adds notes to open ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..model.record import Record
from ..results import Result
from ..rules import permissions, transitions
from ..rules.permissions import Actor
from ..storage import lookup
from ..storage.interface import Entry, Snapshot
from . import amendments, inputs
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
    shown: str | Mapping[str, str] | None = None,
    amendment: Any = None,
) -> Result:
    """Decide escalations that the caller holds, all in the same way.

    ``shown`` is the digest that the caller decided on, or for several escalations a mapping of digests by id.
    """
    decided = inputs.outcome(outcome)
    kind = inputs.category(category)
    words = inputs.words(reason, "the reason")
    inputs.claim_id(options.claim_id)
    if shown is not None and not isinstance(shown, Mapping):
        inputs.text(shown, "the digest of what was shown")
    amended = None if amendment is None else amendments.of(amendment)

    def rule(snapshot: Snapshot, actor: Actor, entry: Entry, _: int) -> Record:
        return transitions.resolve(
            entry.record,
            actor,
            decided,
            words,
            category=kind,
            claim_id=options.claim_id,
            shown=_digest(shown, entry.record),
            amendment=amended,
            deciders=lookup.deciders(snapshot, entry.record),
        )

    def warn(snapshot: Snapshot, actor: Actor, after: Record) -> str | None:
        why = permissions.split(after, actor.policies, lookup.deciders(snapshot, after))
        return f"{after.escalation_id}: {why}" if why else None

    return each(session, "resolve", escalation_ids, rule, options, outcome=decided, text=words, warn=warn)


def _digest(shown: str | Mapping[str, str] | None, record: Record) -> str | None:
    """The digest that the caller decided on. If digests of several are given, an escalation without one is refused."""
    return shown if shown is None or isinstance(shown, str) else shown.get(record.escalation_id, "none")


def withdraw(session: Session, escalation_ids: Collection[str], reason: str, options: Options) -> Result:
    """Resolve open escalations as withdrawn, for those who raised them and for admins."""
    words = inputs.words(reason, "the reason")

    def rule(_: Snapshot, actor: Actor, entry: Entry, __: int) -> Record:
        return transitions.withdraw(entry.record, actor, words)

    return each(session, "withdraw", escalation_ids, rule, options, text=words)


def note(session: Session, escalation_ids: Collection[str], text: str, options: Options) -> Result:
    """Add a note to open escalations."""
    words = inputs.words(text, "the note")

    def rule(_: Snapshot, actor: Actor, entry: Entry, __: int) -> Record:
        return transitions.note(entry.record, actor, words)

    return each(session, "note", escalation_ids, rule, options, text=words)
