"""Runs one rule over several escalations and commits all results together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ..errors import Failure, KtError
from ..model.progress import counted
from ..model.record import Record
from ..results import Result
from ..rules import size_limits
from ..rules.permissions import Actor
from ..storage import lookup
from ..storage.commit_message import Message
from ..storage.interface import Change, Entry, Snapshot
from . import inputs
from .options import Options
from .plan import Plan
from .session import Session

#: A rule for one escalation. The number is how many have changed before it in the same commit.
EachRule = Callable[[Snapshot, Actor, Entry, int], Record]
#: What a commit's subject adds to its action, from the records before the change.
Detail = Callable[[Sequence[Record]], str]
#: A warning about a record before it is written, or None.
Warn = Callable[[Snapshot, Actor, Record], str | None]


def each(
    session: Session,
    action: str,
    escalation_ids: Collection[str],
    rule: EachRule,
    options: Options,
    *,
    outcome: str | None = None,
    text: str | None = None,
    detail: Detail | None = None,
    warn: Warn | None = None,
) -> Result:
    """Run a rule over each escalation, and commit all results in one commit.

    The commit message gets the claim id of ``options``, and ``outcome``, ``text`` and ``detail``.
    """
    wanted = inputs.whole_ids(escalation_ids)

    def decide(snapshot: Snapshot, actor: Actor) -> Plan:
        changes: list[Change] = []
        records: list[Record] = []
        failed: list[Failure] = []
        for name in counted(session.progress, "deciding", wanted, len(wanted)):
            try:
                entry = lookup.entry(snapshot, name)
                after = size_limits.require_fit(rule(snapshot, actor, entry, len(changes)))
            except KtError as error:
                failed.append(Failure(name, error))
                continue
            records.append(after)
            if after is not entry.record:
                changes.append(Change(entry, after))
        return Plan(
            changes=tuple(changes),
            message=_message(action, changes, actor, options.claim_id, outcome, text, detail),
            records=tuple(records),
            unchanged=len(records) - len(changes),
            failed=tuple(failed),
            warnings=tuple(
                said for change in changes if warn and (said := warn(snapshot, actor, change.new)) is not None
            ),
            find=f"kt escalation get --fetch --id {wanted[0]}",
        )

    if options.dry_run:
        return session.preview(decide, partial=options.partial, branch=options.branch)
    return session.commit(decide, partial=options.partial, branch=options.branch, kept=True)


def _message(
    action: str,
    changes: Sequence[Change],
    actor: Actor,
    claim_id: str | None,
    outcome: str | None,
    text: str | None,
    detail: Detail | None,
) -> Message | None:
    if not changes:
        return None
    more = detail([change.old.record for change in changes if change.old]) if detail else ""
    used = claim_id
    if action in ("resolve", "unclaim"):
        held = {
            change.old.record.claim.claim_id for change in changes if change.old and change.old.record.claim
        }
        used = held.pop() if len(held) == 1 else None
    if action == "resolve" and all(change.new.resolution is None for change in changes):
        action = "review"
        first = changes[0].new
        given = sum(1 for review in first.reviews if review.outcome == outcome)
        more = f"({given} of {first.requires.approvals})" if len(changes) == 1 else more
    named = [change.new.escalation_id for change in changes]
    return Message(action, named, actor.name, claim_id=used, outcome=outcome, detail=more, text=text)
