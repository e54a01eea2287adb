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
        told = step.after or step.before
        for happening in reversed(happened(step)):
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


def happened(step: history.Step) -> tuple[Happening, ...]:
    """What a commit did to one escalation, to its record or to its release, in order."""
    if step.problem:
        return (Happening("unreadable", text=step.problem),)
    if step.archived:
        return (Happening("compact", text=step.archived),)
    if step.released:
        return changes.of_release(*step.released)
    return changes.between(step.before, step.after)
