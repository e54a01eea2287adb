"""Gives claimed escalations back to the queue."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..model.record import Record
from ..results import Result
from ..rules import transitions
from ..rules.permissions import Actor
from ..storage.interface import Entry, Snapshot
from . import inputs
from .each import each
from .options import Options
from .session import Session


def unclaim(
    session: Session,
    escalation_ids: Collection[str],
    options: Options,
    *,
    force_reason: str | None = None,
) -> Result:
    """Give escalations back. With a ``force_reason`` an admin gives back what somebody else holds."""
    inputs.claim_id(options.claim_id)
    reason = None if force_reason is None else inputs.words(force_reason, "the reason")

    def rule(_: Snapshot, actor: Actor, entry: Entry, __: int) -> Record:
        return transitions.unclaim(entry.record, actor, claim_id=options.claim_id, force_reason=reason)

    detail = _from_holder if reason else None
    return each(session, "unclaim", escalation_ids, rule, options, text=reason, detail=detail)


def _from_holder(before: Sequence[Record]) -> str:
    holders = sorted({record.claim.claimed_by for record in before if record.claim})
    return f"by force from {', '.join(holders)}" if holders else ""
