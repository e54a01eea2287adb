"""Reads one escalation, with the facts that a reader needs and the actions that are available."""

from __future__ import annotations

from ..errors import KtError, UnreadableRecord
from ..model import canonical, deadlines
from ..model.record import Record
from ..model.release import Release
from ..policies.policy_set import Policies, assemble
from ..results import Found
from ..rules import amending, due_actions, permissions
from ..rules.available_actions import AvailableAction, available_actions
from ..storage import lookup
from ..storage.interface import Invalid, Snapshot
from . import candidates
from .read_session import ReadSession


def found(session: ReadSession, snapshot: Snapshot, escalation_id: str) -> Found:
    """The escalation with that whole id. Raises NotFound, UnreadableRecord."""
    entry = lookup.entry(snapshot, escalation_id)
    record, policies = entry.record, assemble(*snapshot.policies())
    # Only a resolved escalation can be reopened.
    reopeners = snapshot.reopeners(record.escalation_id) if record.resolution else ()
    release = snapshot.release(record) if record.requires.single_use and record.resolution else None
    return Found(
        record,
        entry.path,
        entry.blob,
        snapshot.revision,
        canonical.shown(record),
        tuple(reopener.escalation_id for reopener in reopeners),
        _quorum(snapshot, record, policies),
        deadlines.deadline(record),
        due_actions.overdue(record, policies, session.clock()),
        amending.effective(record),
        amending.effective_digest(record) if record.resolution else None,
        release if isinstance(release, Release) else None,
        (release,) if isinstance(release, Invalid) else (),
    )


def _quorum(snapshot: Snapshot, record: Record, policies: Policies) -> permissions.Quorum | None:
    try:
        return permissions.quorum(record, policies, lookup.deciders(snapshot, record))
    except UnreadableRecord:
        # Who may decide it depends on who decided the escalation that it reopens.
        return None


def available(session: ReadSession, it: Found) -> tuple[AvailableAction, ...]:
    """The actions that the caller may take on an escalation, and why others are refused."""
    snapshot = session.port.read(it.commit)
    actor = session.actor(snapshot)
    actor.policies.require_sound()
    record = it.record
    unknown: KtError | None = None
    deciders: tuple[str, ...] = ()
    try:
        deciders = lookup.deciders(snapshot, record)
    except UnreadableRecord as error:
        unknown = error
    could = available_actions(
        record,
        actor,
        deciders=deciders,
        held=candidates.held(snapshot, actor),
        reopener=lookup.open_reopener(snapshot, record.escalation_id) if record.resolution else None,
    )
    # The people who decided the escalation that it reopens may not get it, and they are not known here.
    barred = ("claim", "assign", "resolve", "renew") if unknown else ()
    return tuple(AvailableAction(one.action, unknown) if one.action in barred else one for one in could)
