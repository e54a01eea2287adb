"""Raises escalations: one, several in one commit, and those of several threads together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..errors import Failure, KtError, PushRefused, SeveralFailed
from ..model import ids
from ..model.progress import counted
from ..model.record import Record
from ..results import ALONE, Line, Result
from ..rules import creation, size_limits
from ..rules.permissions import Actor
from ..storage import lookup
from ..storage.commit_message import Message
from ..storage.interface import Change, Snapshot
from . import decision, drafts
from .commit_loop import as_ours
from .group_commit import GroupCommit
from .plan import Plan
from .session import Session


class Raising:
    """Raises escalations in one session. Threads that raise at the same time share a commit."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._group = GroupCommit(self.together)

    def one(self, item: drafts.Item) -> Result:
        """Raise one escalation. Threads that raise at the same time share a commit."""
        if item is None or isinstance(item, KtError):
            return self.several([(ALONE, item)])
        return self._answered(self._group.join(item))

    def several(self, items: Iterable[tuple[int, drafts.Item]], *, partial: bool = False) -> Result:
        """Raise several escalations in one commit. Each item is a line number with a draft or an error.

        A draft of None counts as skipped. It is all or nothing, unless ``partial``. Raises the error if only
        one item was given and it failed, else SeveralFailed.
        """
        return self._answered(self._landed(items, partial=partial))

    def _answered(self, result: Result) -> Result:
        """Add the decisions on escalations that were already decided when they were raised again.

        They are proved after the clone's lock is released. Nothing here changes what has landed.
        """
        again = [record.escalation_id for record in result.records if record.resolution is not None]
        if not again:
            return result
        try:
            snapshot = self._session.port.read(result.commit)
            entries = [lookup.entry(snapshot, name) for name in again]
            decisions, errors = decision.answers(self._session, snapshot, entries)
        except (KtError, OSError) as caught:
            error = as_ours(caught)
            decisions, errors = (), tuple(Failure(name, error) for name in again)
        return replace(result, decisions=decisions, decision_errors=errors)

    def _landed(self, items: Iterable[tuple[int, drafts.Item]], *, partial: bool = False) -> Result:
        wanted = [(number, item, os.urandom(ids.ULID_RANDOM_BYTES)) for number, item in items]
        skipped = [Line(number) for number, item, _ in wanted if item is None]
        if len(skipped) == len(wanted):
            return Result((), None, False, skipped=len(skipped), lines=tuple(skipped))
        claim_id = self._session.token()

        def decide(snapshot: Snapshot, actor: Actor) -> Plan:
            new: dict[str, Record] = {}
            had: dict[str, Record] = {}
            lines, failed = [], []
            for number, item, randomness in counted(self._session.progress, "raising", wanted, len(wanted)):
                try:
                    if item is None:
                        lines.append(Line(number))
                        continue
                    if isinstance(item, KtError):
                        raise item
                    name = creation.escalation_id(item, actor.now, randomness)
                    existing = new.get(name) or had.get(name) or lookup.existing(snapshot, name)
                    if existing:
                        creation.same_as_raised(existing, item)
                        had[name] = existing
                    else:
                        raised = creation.raise_(item, name, actor, claim_id)
                        new[name] = had[name] = size_limits.require_fit(raised)
                    lines.append(Line(number, name, changed=existing is None))
                except KtError as error:
                    lines.append(Line(number, error=error))
                    failed.append(Failure(number, error))
            return Plan(
                changes=tuple(Change(None, record) for record in new.values()),
                message=Message("raise", list(new), actor.name, text=_summary(new.values())),
                records=tuple(had.values()),
                unchanged=len(lines) - len(skipped) - len(failed) - len(new),
                failed=tuple(failed),
                lines=tuple(lines),
            )

        return replace(self._session.commit(decide, partial=partial, kept=True), skipped=len(skipped))

    def together(self, items: Sequence[drafts.Item]) -> Sequence[Result | Exception]:
        """Raise the items of several threads in one commit. Returns a result or an error for each."""
        if len(items) == 1:
            return [self._landed([(ALONE, items[0])])]
        try:
            result = self._landed(enumerate(items), partial=True)
        except SeveralFailed as error:
            return [failure.error for failure in error.failures]
        except PushRefused:
            # A server may refuse all because of one of them.
            return [self._alone(item) for item in items]
        records = {record.escalation_id: record for record in result.records}
        return [
            line.error
            or replace(
                result,
                records=(records[line.escalation_id or ""],),
                changed=line.changed,
                written=int(line.changed),
                unchanged=int(not line.changed),
                failed=(),
                lines=(line._replace(number=ALONE),),
            )
            for line in result.lines
        ]

    def _alone(self, item: drafts.Item) -> Result | Exception:
        try:
            return self._landed([(ALONE, item)])
        except KtError as error:
            return error


def _summary(records: Iterable[Record]) -> str | None:
    found = list(records)
    return found[0].summary if len(found) == 1 else None
