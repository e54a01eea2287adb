"""The states that a record went through by legal steps: what `restore` goes back to and `wait` releases by."""

from __future__ import annotations

from . import lookup
from .core import verify
from .core.model import Record
from .core.policies import assemble
from .store import history
from .store.gitstore import GitStore


def legal_states(store: GitStore, revision: str, escalation_id: str) -> list[Record]:
    """The states of a record, oldest first, that a row of legal steps led to, up to a commit.

    How it came into the store is taken as it is: there is no state before it to judge by.
    """
    states: list[Record] = []
    for step in reversed([*history.steps(store, revision, escalation_id)]):
        if step.after is None or step.problem or (states and step.after == states[-1]):
            continue
        parent = history.parent(store, step.commit)
        if parent is None or not states:
            states.append(step.after)
            continue
        told = verify.Context(
            step.email,
            step.committed_at,
            assemble(*parent.policies()),
            lookup.deciders(parent, step.after),
            lookup.record_of(parent, step.after.reopens),
        )
        if not verify.judge(states[-1], step.after, told):
            states.append(step.after)
    return states
