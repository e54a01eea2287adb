"""How an escalation comes into being: raised from a draft, or reopening a resolved one. See docs/rights.md.

Errors come in the order of transitions.py: faulty input, missing rights, wrong state.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..errors import (
    AlreadyReopened,
    BadInput,
    DifferentContent,
    NotResolved,
)
from ..model import ids
from ..model.record import (
    Draft,
    Note,
    OneLine,
    Record,
    Requires,
    Route,
)
from ..model.times import format_time
from ..model.value import InvalidValue, parse
from ..model.vocabulary import (
    MAX_NOTED,
    MAX_RAISED,
)
from ..policies.decision_event import Raisable
from .permissions import Actor, require_role
from .size_limits import require_fit
from .transitions import new_claim, stamp

# The keys that raising sets itself. A repeat may differ in them (docs/gateway.md).
_DECIDED = frozenset(
    {
        "schema_version",
        "escalation_id",
        "status",
        "created_at",
        "raised_at",
        "raised_by",
        "queued_at",
        "route",
    }
)


# The keys that a record takes unchanged from its draft.
_KEPT = ("severity", "reason_code", "summary", "request_id", "agent_id", "session_id", "config_version",
         "provider", "model", "policy", "action", "labels")  # fmt: skip


# --- raise ----------------------------------------------------------------------------------------


def escalation_id(raisable: Raisable, now: datetime, random: bytes) -> str:
    """The id that a draft gets (docs/record.md). Raises BadInput if the draft has another one."""
    draft = raisable.draft
    if draft.request_id is not None:
        name = draft.escalation_id or ids.from_request(draft.request_id)
    else:
        name = draft.escalation_id or f"esc_{ids.ulid(now, random)}"
    require_free_id(name, draft.request_id)
    return name


def require_free_id(escalation_id: str, request_id: str | None) -> None:
    """Raise BadInput if an id belongs to another request, or could belong to one.

    So nobody can take the id of a future request (docs/record.md).
    """
    if request_id is None:
        if not ids.is_ulid(escalation_id):
            raise BadInput(
                problem=f"escalation_id is {escalation_id}, which only a request_id makes; give that, or leave both out"
            )
    elif escalation_id != (derived := ids.from_request(request_id)):
        raise BadInput(problem=f"escalation_id is {escalation_id}, but this request_id makes it {derived}")


def raise_(raisable: Raisable, new_id: str, actor: Actor, claim_id: str) -> Record:
    """The record of a new escalation. It is claimed at once if it is routed to a user.

    Raises NotAllowed if the actor may not raise, and BadInput if the draft contradicts the keys that raising
    decides, is too large, or has an id that belongs to another request.
    """
    require_free_id(new_id, raisable.draft.request_id)
    require_role(actor, "raise", new_id, "gateway", "admin")
    draft, now = raisable.draft, actor.now
    if draft.raised_by is not None and not actor.is_me(draft.raised_by):
        raise BadInput(problem=f"raised_by is {draft.raised_by}, but you are {actor.name}")
    route = _route(raisable, actor)
    requires = _requires(draft, route, actor)
    if draft.requires is not None and draft.requires != requires:
        raise BadInput(problem="requires is not what the settings ask for; leave it out")
    context = draft.event_context
    created = draft.created_at or now
    if created > now:
        context = {**(context or {}), "timestamp": format_time(created)}
        created = now
    try:
        raised_by = parse(OneLine, actor.name)
    except InvalidValue as error:
        raise BadInput(problem=f"raised_by: {error}") from None
    claim = new_claim(actor, claim_id, now, route.user_id) if route.user_id else None
    decided = {
        "escalation_id": new_id,
        "status": "claimed" if claim else "queued",
        "created_at": created,
        "raised_at": now,
        "raised_by": raised_by,
        "queued_at": now,
        "event_context": context,
        "route": route,
        "requires": requires,
        "claim": claim,
    }
    if "schema_version" in raisable.given and (draft.schema_version == 2) != (draft.action is not None):
        needed = 2 if draft.action is not None else 1
        raise BadInput(
            problem=f"schema_version is {draft.schema_version}; with these keys it must be {needed}; leave it out"
        )
    raised = Record.made(decided | {key: getattr(draft, key) for key in _KEPT})
    return require_fit(raised, MAX_RAISED, "what is raised, so that there is room to decide it")


def _route(raisable: Raisable, actor: Actor) -> Route:
    if raisable.routing:
        whom = raisable.routing
        return Route(team_id=whom.team_id, user_id=whom.user_id, source="event", policies=actor.policies.tree)
    return actor.policies.route(raisable.draft.provider, raisable.draft.model)


def _requires(asked: Draft | Record, route: Route, actor: Actor) -> Requires:
    return actor.policies.settings.requirements(
        severity=asked.severity,
        reason_code=asked.reason_code,
        provider=asked.provider,
        model=asked.model,
        policy=asked.policy,
        route=route,
    )


def same_as_raised(existing: Record, raisable: Raisable) -> None:
    """Return if raising the draft again would be a repeat. Raise DifferentContent otherwise."""
    differs = []
    for key in sorted(raisable.given - _DECIDED):
        was, is_now = getattr(existing, key), getattr(raisable.draft, key)
        if key == "event_context":
            was, is_now = _content(was), _content(is_now)
        if was != is_now:
            differs.append(key)
    if differs:
        raise DifferentContent(escalation_id=existing.escalation_id, differs=", ".join(differs))


# The keys that may differ between two evaluations of the same request, so they are not part of its content.
# Raising also puts a future event's time into the context.
_MEASURED = frozenset({"timestamp", "scores", "degraded_mode"})


def _content(context: dict[str, Any] | None) -> dict[str, Any]:
    """The content by which a repeat is recognised: the context without values that each evaluation measures again."""
    kept = {key: value for key, value in (context or {}).items() if key not in _MEASURED}
    results = kept.get("policy_results")
    if isinstance(results, list | tuple):
        kept["policy_results"] = [
            {key: value for key, value in one.items() if key != "latency_ms"}
            if isinstance(one, dict)
            else one
            for one in results
        ]
    return kept


# --- reopen ---------------------------------------------------------------------------------------


def reopen(record: Record, actor: Actor, reason: str, new_id: str, reopener: Record | None = None) -> Record:
    """A new escalation with the content of a resolved one. The resolved one stays as it is.

    ``reopener`` is an open escalation that already reopens the same one. If it is the actor's own, with the
    same reason, it is returned. Raises NotAllowed, NotResolved, AlreadyReopened.
    """
    require_free_id(new_id, None)
    require_role(actor, "reopen", record.escalation_id, "reviewer", "admin")
    if record.resolution is None:
        raise NotResolved(escalation_id=record.escalation_id, status=record.status)
    if reopener is not None:
        is_open = reopener.resolution is None
        if (
            is_open
            and actor.is_me(reopener.raised_by)
            and [one.text for one in reopener.notes[:1]] == [reason]
        ):
            return reopener
        found = AlreadyReopened(
            escalation_id=record.escalation_id,
            reopened_by=reopener.escalation_id,
            since=format_time(reopener.raised_at),
        )
        if not is_open:
            found.says = "{escalation_id} was reopened too often, as {reopened_by} at {since} among others"
            found.hint = "raise the request again under another id"
        raise found
    now = stamp(record, actor)
    route = actor.policies.route(record.provider, record.model)
    if record.route.source == "event":
        # The packs do not know where the gateway itself had sent it.
        route = record.route.replace(policies=actor.policies.tree)
    again = record.replace(
        escalation_id=new_id,
        status="queued",
        raised_at=now,
        raised_by=actor.name,
        queued_at=now,
        route=route,
        requires=_requires(record, route, actor),
        reopens=record.escalation_id,
        claim=None,
        reviews=(),
        notes=(Note(by=actor.name, at=now, text=reason),),
        resolution=None,
    )
    return require_fit(again, MAX_NOTED, "what is reopened, so that there is room to decide it")
