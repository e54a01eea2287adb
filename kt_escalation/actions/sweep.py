"""Applies deadlines and lapsed leases."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial

from ..errors import Failure, KtError, NotAllowed, UnreadableRecord
from ..model.times import format_time
from ..results import Result, Swept
from ..rules import due_actions, permissions, size_limits
from ..rules.permissions import Actor
from ..storage import lookup
from ..storage.commit_message import Message
from ..storage.interface import Change, Entry, Invalid, Snapshot
from .plan import Plan
from .session import Session

# How many actions the commit message of a sweep lists; the changes themselves show the others.
_LISTED = 100


def sweep(session: Session, *, dry_run: bool = False, only: Collection[str] | None = None) -> Swept:
    """Apply all deadlines and leases that have passed, in one commit. ``only`` limits it to these records."""
    found = _Sweep(session.token(), only)
    if dry_run:
        snapshot = session.snapshot(fetch=True)
        plan = found.decide(snapshot, session.actor(snapshot))
        told = Result((), snapshot.revision, False, failed=plan.failed, warnings=plan.warnings)
        return Swept(found.due, told, found.invalid)
    result = session.commit(found.decide, partial=True)
    return Swept(found.due, result, found.invalid)


@dataclass
class _Sweep:
    """The result of the last decision: due actions, and unreadable files."""

    token: str
    only: Collection[str] | None = None
    due: tuple[due_actions.Due, ...] = ()
    invalid: tuple[Invalid, ...] = ()

    def decide(self, snapshot: Snapshot, actor: Actor) -> Plan:
        rows, bad = snapshot.rows(resolved=False)
        self.invalid, now = tuple(bad), format_time(actor.now)
        late = (
            row.escalation_id
            for row in rows
            if row.deadline is not None
            and row.deadline <= now
            and (self.only is None or row.escalation_id in self.only)
        )
        # What is written is based on the record itself, never on what this clone's cache has kept of it.
        items = (snapshot.find(name) for name in late)
        entries = {item.record.escalation_id: item for item in items if isinstance(item, Entry)}
        due, warnings = self._due(snapshot, actor, entries.values())
        self.due, failed = _that_fit(due)
        named = [due.before.escalation_id for due in self.due]
        text = "\n".join(f"{due.before.escalation_id}: {due.kind}, {due.why}" for due in self.due[:_LISTED])
        alone = self.due[0].after if len(self.due) == 1 else None
        outcome = alone.resolution.outcome if alone and alone.resolution else None
        return Plan(
            tuple(Change(entries[due.before.escalation_id], due.after) for due in self.due),
            Message("sweep", named, actor.name, outcome=outcome, text=text),
            tuple(due.after for due in self.due),
            failed=failed,
            warnings=warnings,
        )

    def _due(
        self, snapshot: Snapshot, actor: Actor, entries: Iterable[Entry]
    ) -> tuple[list[due_actions.Due], tuple[str, ...]]:
        """The due actions, and why others are not taken. Raises NotAllowed if the actor is not on the roster.

        If the fallback is somebody who may not have the escalation, it stays where it is. Nobody fails by that.
        """
        permissions.require_known(actor, "sweep")
        found: list[due_actions.Due] = []
        told: list[str] = []
        deciders = partial(lookup.deciders, snapshot)
        for entry in entries:
            try:
                found += due_actions.due([entry.record], actor, self.token, deciders)
            except (NotAllowed, UnreadableRecord) as error:
                told.append(f"{entry.record.escalation_id} does not go to its fallback: {error.message}")
        return found, tuple(told)


def _that_fit(found: Iterable[due_actions.Due]) -> tuple[tuple[due_actions.Due, ...], tuple[Failure, ...]]:
    """The due actions that can be done, and those that would make a record too large."""
    dues, failed = [], []
    for due in found:
        try:
            size_limits.require_fit(due.after)
            dues.append(due)
        except KtError as error:
            failed.append(Failure(due.before.escalation_id, error))
    return tuple(dues), tuple(failed)
