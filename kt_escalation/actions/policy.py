"""The use cases for policy authors: find faults, explain a route, and show the effect of a change."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ..errors import BadInput
from ..frozen import dataclass
from ..model.record import Record, Requires, Route
from ..policies import lint as faults
from ..policies.policy_file import Fault
from ..policies.policy_set import Policies, assemble
from ..policies.routing import Tried
from ..storage.clone import GitStore
from ..storage.interface import Entry, Progress
from ..storage.working_tree import policy_files
from .opening import reading


@dataclass(frozen=True)
class Explanation:
    """The route of an escalation, its requirements, and the rules that were tried."""

    route: Route
    requires: Requires
    tried: tuple[Tried, ...]


@dataclass(frozen=True)
class Moved:
    """An escalation that other policies would have routed elsewhere, or given other requirements."""

    record: Record
    was: Explanation
    would_be: Explanation


@dataclass(frozen=True)
class Linted:
    """The faults in `policies/`, and warnings about settings that are legal but probably mistakes."""

    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]


def lint(path: str | os.PathLike[str] = ".") -> Linted:
    """The faults in the working tree's `policies/`. Paths begin at the repository's top."""
    with closing(GitStore(Path(path))) as store:
        files = policy_files((store.repository.toplevel or Path(path)) / store.full("policies"))
        shallow = store.repository.is_shallow

        def is_commit(name: str) -> bool:
            return shallow or store.repository.commit_of(name) is not None

        def placed(found: Iterable[Fault]) -> tuple[Fault, ...]:
            return tuple(replace(fault, file=store.full(fault.file)) for fault in found)

        return Linted(placed(faults.lint(files, is_commit)), placed(faults.warnings(files)))


def read(folder: str | os.PathLike[str]) -> Policies:
    """The policies in a folder. Raises BadInput for faults that make routing impossible."""
    policies = assemble(None, policy_files(Path(folder)))
    if policies.faults:
        more = f" (and {len(policies.faults) - 1} more)" if len(policies.faults) > 1 else ""
        raise BadInput(problem=f"{policies.faults[0]}{more}")
    return policies


def explain(policies: Policies, keys: Mapping[str, str | None]) -> Explanation:
    """The route of an escalation with these keys, and the reason.

    ``keys`` are severity, reason_code, provider, model and policy as in a record. Absent keys are None.
    """
    tried: list[Tried] = []
    route = policies.route(keys.get("provider"), keys.get("model"), tried)
    requires = policies.settings.requirements(
        severity=keys.get("severity") or "medium",
        reason_code=keys.get("reason_code") or "",
        provider=keys.get("provider"),
        model=keys.get("model"),
        policy=keys.get("policy"),
        route=route,
        tried=tried,
    )
    return Explanation(route, requires, tuple(tried))


def replay(
    path: str | os.PathLike[str],
    policies: Policies,
    since: datetime | None = None,
    rev: str | None = None,
    progress: Progress | None = None,
) -> tuple[int, tuple[Moved, ...]]:
    """Route past escalations by other policies. Returns how many were compared, and which would have moved.

    They are compared with the store's current policies, so that only the change makes a difference.
    Escalations that the gateway itself routed are left out, because no policy decides their route.
    """
    with reading(path, rev, progress=progress) as (_, snapshot):
        current = assemble(*snapshot.policies())
        records = [
            item.record
            for part in (snapshot.open(), snapshot.resolved())
            for item in part
            if isinstance(item, Entry)
        ]
    looked_at = [r for r in records if r.route.source != "event" and (since is None or r.created_at >= since)]
    moved = tuple(_moved(looked_at, current, policies))
    return len(looked_at), moved


def _moved(records: list[Record], current: Policies, other: Policies) -> Iterator[Moved]:
    for record in sorted(records, key=lambda record: (record.created_at, record.escalation_id)):
        keys = {key: getattr(record, key) for key in _KEYS}
        was, would_be = explain(current, keys), explain(other, keys)
        if _effect(was) != _effect(would_be):
            yield Moved(record, was, would_be)


_KEYS = ("severity", "reason_code", "provider", "model", "policy")


def _effect(found: Explanation) -> tuple[str | None, str | None, Requires]:
    return found.route.team_id, found.route.user_id, found.requires
