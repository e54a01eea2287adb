"""Turns a gateway's decision event, or a record written by a user, into a draft. See docs/gateway.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..frozen import dataclass
from ..model.record import Draft, Fallback
from ..model.value import InvalidValue
from .routing import PackFault, parse_routing

_AS_THEY_ARE = ("request_id", "agent_id", "session_id", "config_version", "reason_code")


class BadDraft(ValueError):
    """The event or record cannot be raised. The message says why."""


@dataclass(frozen=True)
class Raisable:
    """Something to raise: the draft, which of its keys were given, and the event's own route."""

    draft: Draft
    given: frozenset[str]
    routing: Fallback | None = None


def is_event(value: Mapping[str, Any]) -> bool:
    """Whether a line of a batch is a decision event, and not a record."""
    return any(key in value for key in ("event_type", "event_id", "verdict"))


def from_event(event: object, *, provider: str | None = None, model: str | None = None) -> Raisable | None:
    """The draft for a decision event, or None if its verdict is not ``escalate``.

    ``provider`` and ``model`` are used if the event names none. Raises BadDraft.
    """
    if not isinstance(event, Mapping):
        raise BadDraft("is not a decision event: it is not a mapping")
    if not isinstance(event.get("verdict"), str):
        raise BadDraft("is not a decision event: verdict is missing")
    if event["verdict"] != "escalate":
        return None
    if event.get("request_id") is None:
        raise BadDraft("request_id is missing")
    values = {key: event[key] for key in _AS_THEY_ARE if event.get(key) is not None}
    if event.get("timestamp") is not None:
        values["created_at"] = event["timestamp"]
    details = event.get("details")
    if details is not None and not isinstance(details, Mapping):
        raise BadDraft("details must be a mapping")
    context = {key: event[key] for key in ("prompt_hash", "prompt_redacted") if event.get(key) is not None}
    context.update(details or {})
    if context:
        values["event_context"] = context
    kind = _escalating_policy(context.get("policy_results"))
    if kind is not None:
        values["policy"] = kind
    if provider is not None:
        values["provider"] = provider
    if model is not None:
        values["model"] = model
    return Raisable(_draft(values), frozenset(values), _routing(event.get("metadata")))


def from_record(value: object, *, provider: str | None = None, model: str | None = None) -> Raisable:
    """The draft in a record written by a user. Raises BadDraft."""
    if not isinstance(value, Mapping):
        raise BadDraft("is not a record: it is not a mapping")
    for key in ("claim", "reviews", "notes", "resolution"):
        if key in value:
            raise BadDraft(f"{key} is not given when raising: it comes from what reviewers do")
    if "reopens" in value:
        raise BadDraft("reopens is not given when raising: use `kt escalation reopen`")
    values = {key: item for key, item in value.items() if item is not None}
    if provider is not None:
        values.setdefault("provider", provider)
    if model is not None:
        values.setdefault("model", model)
    given_route = values.get("route")
    routing = None
    if isinstance(given_route, Mapping) and any(
        given_route.get(key) is not None for key in ("team_id", "user_id")
    ):
        routing = _parse(given_route, "route")
    return Raisable(_draft(values), frozenset(values), routing)


def _draft(values: Mapping[str, Any]) -> Draft:
    try:
        draft = Draft.parse(values)
    except InvalidValue as error:
        raise BadDraft(str(error)) from None
    for key in ("prompt", "raw_prompt", "messages"):
        if key in (draft.event_context or {}):
            raise BadDraft(
                f"event_context.{key}: a raw prompt never goes into git; give a hash or an excerpt"
            )
    return draft


def _escalating_policy(results: object) -> str | None:
    for result in results if isinstance(results, list) else ():
        if isinstance(result, Mapping) and result.get("verdict") == "escalate":
            kind = result.get("policy_kind")
            if isinstance(kind, str) and kind:
                return kind
    return None


def _routing(metadata: object) -> Fallback | None:
    if not isinstance(metadata, Mapping):
        return None
    routing = metadata.get("escalation_routing")
    if routing is None or (
        isinstance(routing, Mapping) and not any(routing.get(k) for k in ("team_id", "user_id"))
    ):
        return None
    return _parse(routing, "metadata.escalation_routing")


def _parse(routing: object, where: str) -> Fallback:
    try:
        return parse_routing(routing)
    except PackFault as fault:
        raise BadDraft(f"{where}: {fault}") from None
