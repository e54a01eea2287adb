"""A plan: the changes that the rules decided on for one snapshot, and the caller's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import datetime

from ..errors import Failure, SeveralFailed
from ..frozen import dataclass
from ..model.record import Record
from ..policies.policy_set import assemble
from ..results import ALONE, Line, Result
from ..rules import permissions
from ..rules.permissions import Actor
from ..storage.commit_message import Message, PlainMessage
from ..storage.interface import Author, Change, Snapshot


@dataclass(frozen=True)
class Plan:
    """The rules' decision for one snapshot. A plan without changes means that everything is already as requested."""

    changes: tuple[Change, ...] = ()
    message: Message | PlainMessage | None = None
    records: tuple[Record, ...] = ()
    unchanged: int = 0
    failed: tuple[Failure, ...] = ()
    lines: tuple[Line, ...] = ()
    warnings: tuple[str, ...] = ()
    find: str | None = None
    #: Files that are written (None: deleted) beside the records that change, by path.
    others: Mapping[str, bytes | None] = field(default_factory=dict)
    #: The rest of the proposal's branch name after ``kt/``, if its message names no escalation.
    called: str = ""

    @property
    def claim_id(self) -> str | None:
        """The claim id in the plan's message, if any."""
        return self.message.claim_id if isinstance(self.message, Message) else None


Decide = Callable[[Snapshot, Actor], Plan]


def decided(
    decide: Decide, partial: bool, snapshot: Snapshot, author: Author, now: datetime, *, kept: bool = False
) -> tuple[Actor, Plan]:
    """The actor and the plan for a snapshot.

    Raises the errors of the rules, and the failures that may not be left out.
    ``kept`` is as in `Snapshot.policies`.
    """
    policies = assemble(*snapshot.policies(kept=kept))
    policies.require_sound()
    actor = permissions.actor(author.email, now, policies)
    plan = decide(snapshot, actor)
    raise_failures(plan, partial)
    return actor, plan


def raise_failures(plan: Plan, partial: bool) -> None:
    """Raise the failures, unless partial results are allowed and there are some."""
    if not plan.failed or (partial and plan.records):
        return
    if len(plan.failed) == 1 and (isinstance(plan.failed[0].where, str) or plan.failed[0].where == ALONE):
        raise plan.failed[0].error
    raise SeveralFailed(plan.failed, others=bool(plan.records))


def result_of(plan: Plan, commit: str, *, changed: bool) -> Result:
    """The result of a plan that is committed, or would be committed, in this commit."""
    return Result(
        records=plan.records,
        commit=commit,
        changed=changed,
        written=len(plan.changes),
        unchanged=plan.unchanged,
        failed=plan.failed,
        lines=plan.lines,
        warnings=plan.warnings,
        replaced=tuple(change.old.record for change in plan.changes if change.old),
    )
