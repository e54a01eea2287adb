"""Lists what happened to one escalation or all, newest first. See docs/reference.md, `log`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..model import changes
from ..model.changes import Happening
from ..results import Moment
from ..storage import history
from ..storage.clone import GitStore


def moments(
    store: GitStore, revision: str, escalation_id: str | None, limit: int, actors: Sequence[str] = ()
) -> Iterator[Moment]:
    """The actions in the history of ``revision``; ``limit`` counts commits, 0 is no limit.

    With ``actors``, only those of commits whose message names one of them.
    """
    for step in history.steps(store, revision, escalation_id, limit, actors):
        told = step.after.record or step.before.record
        for happening in reversed(in_step(step)):
            yield Moment(
                step.commit,
                step.committed_at,
                step.author,
                step.email,
                step.escalation_id or None,
                happening.action,
                happening.actor,
                happening.outcome,
                happening.text,
                (told.summary or told.reason_code) if told else None,
            )


def in_step(step: history.Step) -> tuple[Happening, ...]:
    """What a commit did to one escalation, in order."""
    if step.archived:
        return (Happening("compact", text=step.archived),)
    return between(step.before, step.after)


def between(before: history.Side, after: history.Side) -> tuple[Happening, ...]:
    """What happened between two states of a record's or a release's file, in order."""
    if after.problem:
        return (Happening("unreadable", text=after.problem),)
    if before.problem:
        return (Happening("restore" if after.record or after.release else "delete"),)
    if before.release or after.release:
        return changes.of_release(before.release, after.release)
    return changes.between(before.record, after.record)
