"""Proposals: changes that are pushed to a branch beside the store branch, to be merged by a pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ..errors import BranchTaken, KtError
from ..policies.policy_set import assemble
from ..results import Result
from ..rules import permissions
from ..rules.permissions import Actor
from ..storage.commit_message import Message
from ..storage.interface import PROPOSALS, Port, Proposal, Snapshot
from .plan import Decide, Plan, result_of

# The time of an actor who only reads.
NEVER = datetime.min.replace(tzinfo=UTC)


class Proposing:
    """Reads what a branch of the remote proposes, and makes the result for a proposal's caller."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def result(self, plan: Plan, name: str, commit: str, found: bool = False) -> Result:
        """The result of a plan that is proposed on a branch. ``found`` means that it was proposed before."""
        return replace(
            result_of(plan, commit, changed=False),
            written=0 if found else len(plan.changes),
            proposed=True,
            branch=name,
            found=found,
            request_url=self._port.request_address(name),
        )

    def own(
        self, escalation_id: str, branch: str, snapshot: Snapshot, email: str, timeout: float
    ) -> Mapping[str, Proposal]:
        """The actor's own open proposals for one record, by branch.

        Another action on the record builds on them.
        With a ``branch`` only that branch is read, otherwise all branches with the usual names. A proposal
        that the store branch has overtaken is left out. Raises as `Port.proposal`.
        """
        if branch:
            there = self._port.proposal(branch, snapshot, timeout)
            found = {branch: there} if there else {}
        else:
            found = dict(self._port.proposals(escalation_id, snapshot, timeout))
        actor = permissions.actor(email, NEVER, assemble(*snapshot.policies()))
        return {
            name: there for name, there in found.items() if _is_own(there, escalation_id, snapshot, actor)
        }

    def same(
        self,
        there: Proposal | None,
        snapshot: Snapshot,
        decide: Decide,
        actor: Actor,
        plan: Plan,
        name: str,
    ) -> Plan | None:
        """The branch's proposal if it is the actor's own and the same as the plan. None if the branch is free.

        To compare them, the rules run on the store as the branch would leave it: if nothing is left to do,
        the proposal is the same. A branch is free if it does not exist, is merged, or is the actor's own
        proposal for the same records which the store branch has changed since. Such a proposal can no longer
        be merged, and it holds nobody else's work. Raises BranchTaken.
        """
        if there is None or there.merged:
            return None
        mine = bool(there.emails) and all(actor.is_me(email) for email in there.emails)
        alike = False
        if there.base is not None and there.tip is not None:
            alike = there.paths <= _paths(there.base, plan) | _paths(there.tip, plan)
            overtaken = any(
                there.base.find(change.new.escalation_id) != snapshot.find(change.new.escalation_id)
                for change in plan.changes
            )
            # Other proposals than those of records are about policies.
            overtaken |= bool(plan.others) and there.base.policies()[0] != snapshot.policies()[0]
            if mine and overtaken and alike:
                return None
            again = _repeat(decide, there.tip, actor) if mine and not overtaken else None
            if again and len(again.records) == len(plan.records):
                return again
        raise self._taken(there, actor, plan, name, mine=mine, alike=alike)

    def _taken(
        self, there: Proposal, actor: Actor, plan: Plan, name: str, *, mine: bool, alike: bool
    ) -> BranchTaken:
        """The error for a branch that holds other changes. ``alike`` means that it changes only the same records."""
        commit = f"commit {there.commit[:12]}"
        who = ", ".join(
            sorted({permissions.known_as(email, actor.policies.roster) for email in there.emails})
        )
        error = BranchTaken(branch=name, remote=self._port.remote, commit=there.commit, by=who)
        if mine:
            error.what = f"{commit} by you"
            error.hint += ", or delete that branch with `git push {remote:sh} --delete {branch:sh}`"
        elif alike and isinstance(plan.message, Message):
            # A branch with its own name may propose anything. A branch with our name proposes what the name
            # says.
            to = f"to {plan.message.action}" if name == default_name(plan) else "a change of"
            listed = _listed(plan.message.escalation_ids)
            error.says = f"{{by}} proposes {to} {listed} already, on {{branch}} ({commit})"
            error.hint = "the first one to be merged wins; propose yours as well with --branch NAME"
        else:
            error.what = f"{commit} by {who}" if who else commit
        return error


def _is_own(there: Proposal, escalation_id: str, snapshot: Snapshot, actor: Actor) -> bool:
    """Whether a proposal is open, by the actor, about one record only, and not overtaken by the store branch."""
    if there.merged or there.base is None or there.tip is None or not there.emails:
        return False
    paths = {path for side in (there.base, there.tip) for path in side.paths(escalation_id)}
    return (
        all(actor.is_me(email) for email in there.emails)
        and there.paths <= paths
        and there.base.find(escalation_id) == snapshot.find(escalation_id)
    )


def _repeat(decide: Decide, tip: Snapshot, actor: Actor) -> Plan | None:
    try:
        found = decide(tip, actor)
    except KtError:
        return None
    return None if found.changes or found.others else found


def _paths(snapshot: Snapshot, plan: Plan) -> set[str]:
    """The files that a plan changes."""
    records = {path for change in plan.changes for path in snapshot.paths(change.new.escalation_id)}
    return records | plan.others.keys()


def _listed(escalation_ids: Sequence[str]) -> str:
    first, *others = sorted(escalation_ids)
    return f"{first} and {len(others)} more" if others else first


def default_name(plan: Plan) -> str:
    """The branch name `kt/<action>/<id>`.

    For several escalations it has the first id in order, like the commit's message.
    """
    message = plan.message
    if isinstance(message, Message):
        return f"{PROPOSALS}{message.action}/{min(message.escalation_ids)}"
    return f"{PROPOSALS}{plan.called}"
