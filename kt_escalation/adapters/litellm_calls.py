"""What LiteLLM hands to a guardrail, as kt's drafts. See docs/adapters/litellm.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import BadInput
from ..gateway import contracts


def body_of(inputs: Mapping[str, Any], request_data: Mapping[str, Any], input_type: str) -> dict[str, Any]:
    """A call of `apply_guardrail` as the body of LiteLLM's generic guardrail. Raises BadInput."""
    try:
        body: dict[str, Any] = json.loads(
            json.dumps(dict(inputs), default=lambda one: one.model_dump(mode="json"))
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise BadInput(problem=f"the call is not JSON: {type(error).__name__}") from None
    return {**body, "input_type": input_type, "model": body.get("model") or request_data.get("model")}


def headers_of(request_data: Mapping[str, Any], logging_obj: Any = None) -> dict[str, str]:
    """The headers of the caller's request, in lower case, from wherever LiteLLM keeps them at this point."""
    details = getattr(logging_obj, "model_call_details", None) or {}
    params = details.get("litellm_params") or {}
    for place in (
        request_data.get("proxy_server_request"),
        request_data.get("metadata"),
        request_data.get("litellm_metadata"),
        params.get("proxy_server_request"),
        params.get("metadata"),
    ):
        found = place.get("headers") if isinstance(place, Mapping) else None
        if found:
            return {str(name).lower(): str(value) for name, value in found.items()}
    return {}


def draft_of(
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    request_data: Mapping[str, Any],
    key: bytes,
    excerpt: int,
) -> dict[str, Any]:
    """What is raised for a call, under the request's own id, or one of the caller and the content. Raises BadInput."""
    known = {**(request_data.get("metadata") or {}), **(request_data.get("litellm_metadata") or {})}
    caller: list[Any] = contracts.litellm_caller(known)
    if body["input_type"] == "response":
        # The same answer to another question is another answer.
        caller.append({name: request_data.get(name) for name in ("messages", "prompt", "input")})
    prompts = request_data.get("prompt")
    return contracts.litellm_draft(
        body,
        key,
        excerpt,
        request_id=contracts.request_id(headers),
        caller=caller,
        # One request may bring several prompts, and its model another answer each time.
        several=isinstance(prompts, list) and len(prompts) > 1,
    )


def is_stream(request_data: Mapping[str, Any], logging_obj: Any = None) -> bool:
    """Whether the caller gets the answer as a stream."""
    details = getattr(logging_obj, "model_call_details", None) or {}
    return bool(request_data.get("stream") or getattr(logging_obj, "stream", False) or details.get("stream"))
