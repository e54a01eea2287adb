"""Drafts for the tool calls of agents, for adapters and MCP. See docs/gateway.md, *What an approval is for*."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..errors import BadInput
from ..model import digests

#: The default for the reason code.
REASON_CODE = "agent.tool_call"
_KIND = "tool.call"


def digest_of(name: str, arguments: Any) -> str:
    """The digest of a tool call. Raises BadInput for arguments that JSON cannot represent exactly."""
    try:
        return digests.of_action(_KIND, name, arguments)
    except digests.NotIJson as error:
        raise BadInput(problem=f"the arguments of {name[:80]!r}: {error}") from None


def id_of(caller: str, digest: str) -> str:
    """An id for a request that has none. The same call by the same caller is the same request."""
    return hashlib.sha256(f"{caller}\0{digest}".encode()).hexdigest()[:40]


def draft_of(
    name: str,
    arguments: Any,
    *,
    caller: str,
    request_id: str | None = None,
    edit_schema: Mapping[str, Any] | None = None,
    show: bool = True,
    **keys: Any,
) -> dict[str, Any]:
    """The draft for a tool call. Raises BadInput.

    ``caller`` is the caller's name. Without a ``request_id``, the same call by the same caller is the same
    request. ``show`` puts the arguments into git, where reviewers see and edit them. Without it, reviewers
    see only the digest and ``keys``, the record's other keys.
    """
    digest = digest_of(name, arguments)
    action = {"kind": _KIND, "name": name, "digest": digest}
    if edit_schema is not None:
        action["edit_schema"] = dict(edit_schema)  # type: ignore[assignment]
    context = dict(keys.pop("event_context", None) or {})
    if show:
        context["input"] = arguments
    given = {key: value for key, value in keys.items() if value is not None}
    return {
        "request_id": request_id or id_of(caller, digest),
        "reason_code": REASON_CODE,
        "summary": f"Run {name}"[:200],
        "action": action,
        **({"event_context": context} if context else {}),
        **given,
    }
