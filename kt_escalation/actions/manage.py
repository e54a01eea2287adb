"""Assigns, reopens and restores escalations, mostly for admins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..errors import NotFound, NothingToRestore
from ..model.record import Record
from ..results import Result
from ..rules import creation, permissions, size_limits, transitions
from ..rules.permissions import Actor
from ..storage import lookup
from ..storage.commit_message import Message
from ..storage.interface import Change, Entry, Snapshot
from ..storage.snapshot import GitSnapshot
from . import inputs
from .each import each
from .options import Options
from .plan import Plan
from .session import Session


def assign(
    session: Session,
    escalation_ids: Collection[str],
    reason: str,
    options: Options,
    *,
    user: str | None = None,
    team: str | None = None,
) -> Result:
    """Hand escalations to a user or to a team's queue."""
    whom = inputs.whom(user, team)
    words = inputs.words(reason, "the reason")
    claim_id = inputs.claim_id(options.claim_id)
    token = session.token()

    def rule(snapshot: Snapshot, actor: Actor, entry: Entry, _: int) -> Record:
        deciders = lookup.deciders(snapshot, entry.record)
        return transitions.assign(
            entry.record, actor, whom, words, token, claim_id=claim_id, deciders=deciders
        )

    options = replace(options, claim_id=token if user is not None else None)
    to = f"to {user}" if user is not None else f"to team {team}"
    return each(session, "assign", escalation_ids, rule, options, text=words, detail=lambda _: to)


def reopen(session: Session, escalation_id: str, reason: str) -> Result:
    """Raise a resolved escalation again, as a new one that names it."""
    inputs.whole_ids([escalation_id])
    words = inputs.words(reason, "the reason")
    new_id = f"esc_{session.token()}"

    def decide(snapshot: Snapshot, actor: Actor) -> Plan:
        record = lookup.entry(snapshot, escalation_id).record
        again = lookup.open_reopener(snapshot, escalation_id)
        new = size_limits.require_fit(creation.reopen(record, actor, words, new_id, again))
        if new.escalation_id != new_id:
            return Plan(records=(new,), unchanged=1)
        message = Message("reopen", [new_id], actor.name, detail=f"for {escalation_id}", text=words)
        return Plan((Change(None, new),), message, (new,))

    return session.commit(decide)


def restore(session: Session, escalation_id: str, reason: str) -> Result:
    """Bring an illegal or unreadable record back to its last legal state, or delete it if it has none."""
    inputs.whole_ids([escalation_id])
    words = inputs.words(reason, "the reason")

    def decide(snapshot: Snapshot, actor: Actor) -> Plan:
        permissions.require_role(actor, "restore", escalation_id, "admin")
        legal = _last_legal(session, snapshot, escalation_id)
        found, paths = snapshot.find(escalation_id), snapshot.paths(escalation_id)
        message = Message("restore", [escalation_id], actor.name, text=words)
        if legal is None:
            _require_no_archive(snapshot, escalation_id)
            return Plan(message=message, others=dict.fromkeys(paths))
        whole = isinstance(found, Entry) and found.blob == session.port.blob_id(legal)
        if whole and len(paths) == 1:
            raise NothingToRestore(escalation_id=escalation_id)
        _require_no_archive(snapshot, escalation_id)
        return Plan((Change(None, legal, tuple(paths)),), message, (legal,))

    return session.commit(decide)


def _last_legal(session: Session, snapshot: Snapshot, escalation_id: str) -> Record | None:
    """The last state of a record that legal steps led to, None if no state was legal. Raises NotFound, ShallowClone."""
    from ..audit import record_history

    last = record_history.last_legal(session.git, snapshot.revision, escalation_id, session.clock())
    if last is not None and last.record is not None:
        return last.record
    if not snapshot.paths(escalation_id):
        raise NotFound(escalation_id=escalation_id)
    return None


def _require_no_archive(snapshot: Snapshot, escalation_id: str) -> None:
    """Raise NothingToRestore for a record in an archive: archives never change."""
    places = snapshot.places(escalation_id) if isinstance(snapshot, GitSnapshot) else ()
    if places:
        raise NothingToRestore(
            says="{escalation_id} is in {path}, and an archive never changes",
            hint="take other files of that id out of the queue with `git rm`; what is wrong in the archive "
            "can only be accepted, in policies/waivers.yaml",
            escalation_id=escalation_id,
            path=places[0].archive.path,
        )
