"""Accepts a violation by a line of `policies/waivers.yaml`."""

from __future__ import annotations

from ..errors import BadInput, BrokenPolicies
from ..model.value import plain
from ..policies.policy_file import WAIVERS
from ..policies.policy_set import assemble
from ..results import Result
from ..rules import permissions
from ..rules.permissions import Actor
from ..storage import yaml_parser, yaml_text
from ..storage.clone import GitStore
from ..storage.commit_message import PlainMessage
from ..storage.interface import Snapshot
from . import inputs
from .plan import Plan
from .session import Session


def waive(
    session: Session, commit: str, rule: str, path: str, reason: str, *, branch: str | None = None
) -> Result:
    """Accept one violation that `verify` lists. ``commit`` is its whole id."""
    waiver = inputs.waiver(commit, rule, path, reason)
    port = session.port
    if not isinstance(port, GitStore):
        raise BadInput(problem="this store has no files to change")
    file, name = port.full(WAIVERS), commit[:12]

    def decide(snapshot: Snapshot, actor: Actor) -> Plan:
        if port.repository.commit_of(commit) != commit or not port.contains(snapshot, commit):
            raise BadInput(
                problem=f"{commit} is not a commit of the store branch",
                hint="`kt escalation verify --json` gives the whole id of each violation's commit",
            )
        permissions.require_role(actor, "waive", f"{rule} of {name}", "admin")
        here = assemble(*snapshot.policies())
        broken = here.broken.get(WAIVERS)
        if broken:
            raise BrokenPolicies(where=broken.where, problem=broken.problem)
        if any(known.covers(commit, rule, path) for known in here.waivers):
            return Plan()
        [there] = port.repository.objects.get([f"{snapshot.revision}:{file}"])
        try:
            data = yaml_parser.with_item((there and there.data) or b"", "waivers", plain(waiver))
        except yaml_text.Malformed as error:
            raise BadInput(problem=f"{WAIVERS} {error}") from None
        return Plan(
            message=PlainMessage(f"Waive {rule} of {name}", waiver.reason),
            find=f"git log {name}.. -- {file}",
            others={file: data},
            called=f"waive/{name}-{rule}",
        )

    return session.commit(decide, branch=branch)
