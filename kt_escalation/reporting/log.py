"""Lists what happened to one escalation or all, newest first. See docs/reference.md, `log`."""

from __future__ import annotations

from collections.abc import Iterator

from ..model import changes
from ..results import Moment
from ..storage import history
from ..storage.clone import GitStore


def moments(store: GitStore, revision: str, escalation_id: str | None, limit: int) -> Iterator[Moment]:
    """The actions in the history of ``revision``; ``limit`` counts commits, 0 is no limit."""
    for step in history.steps(store, revision, escalation_id, limit):
        told = changes.between(step.before, step.after)
        if step.released:
            told = changes.of_release(*step.released)
        if step.folded:
            told = (changes.Happening("compact", text=step.folded),)
        if step.problem:
            told = (changes.Happening("unreadable", text=step.problem),)
        for happening in reversed(told):
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
            )
