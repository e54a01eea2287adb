"""`KtGuardrail`: a guardrail of LiteLLM's proxy in its own process, without `kt gateway serve`. See docs/adapters/litellm.md.

Everything but a release raises, and what raises blocks: LiteLLM calls no model, or withholds what the model answered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from ..errors import BadInput, KtError, WaitTimeout
from ..gateway import AsyncGateway, answers, contracts
from ..gateway.tool_calls import id_of
from . import sdk

_DENIED, _PENDING = 403, 409


class Guard:
    """What `KtGuardrail` does, beside what LiteLLM's `CustomGuardrail` does.

    ``kt_store`` is the gateway's clone, ``api_key`` a secret for digests of texts, ``kt_hold`` how long a request is held
    in seconds, ``kt_journal`` the folder of what was released, ``kt_excerpt`` how many characters of a text reviewers see.
    The others are LiteLLM's. Raises BadInput.
    """

    # LiteLLM reads these: nothing of a streamed answer goes out before people have decided on all of it.
    streaming_buffer_until_moderated = True
    streaming_end_of_stream_only = True

    def __init__(
        self,
        *,
        kt_store: str = "",
        api_key: str = "",
        kt_hold: float = 25.0,
        kt_journal: str | None = None,
        kt_excerpt: int = 0,
        **given: Any,
    ) -> None:
        if not kt_store or not api_key:
            raise BadInput(problem="the guardrail needs kt_store, a clone, and api_key, a secret of its own")
        super().__init__(**given)
        self._key = contracts.key_of(api_key)
        self._hold, self._excerpt = float(kt_hold), int(kt_excerpt)
        self._gateway = AsyncGateway.open(kt_store, journal_folder=kt_journal)
        self._opening, self._is_open = asyncio.Lock(), False

    async def apply_guardrail(
        self, inputs: Any, request_data: dict[str, Any], input_type: str, logging_obj: Any = None
    ) -> Any:
        """The inputs as people released them. Raises HTTPException for everything else.

        409 with `Retry-After` says that nobody has decided: the same request later goes on waiting.
        """
        try:
            body = body_of(inputs, request_data, input_type)
            draft = draft_of(
                body, headers_of(request_data, logging_obj), request_data, self._key, self._excerpt
            )
            if not self._is_open:
                async with self._opening:
                    if not self._is_open:
                        await self._gateway.__aenter__()
                        self._is_open = True
            decision = await self._gateway.ask(draft, timeout=self._hold, amended=True)
        except WaitTimeout as error:
            raise _blocked(_PENDING, "pending", error.escalation_id, {"Retry-After": "5"}) from None
        except KtError as error:
            found = answers.failed(error)
            raise _blocked(found.status, error.code, found.body["error"]["message"], found.headers) from None
        answer = contracts.litellm_answer(decision, body)
        if answer["action"] == "NONE":
            return inputs
        if answer["action"] == "BLOCKED":
            raise _blocked(_DENIED, decision.outcome, answer["blocked_reason"])
        if input_type == "response" and is_stream(request_data, logging_obj):
            # LiteLLM would send what the model said, not what the reviewer wrote.
            raise _blocked(_DENIED, decision.outcome, "a streamed answer cannot be changed")
        return {**inputs, "texts": answer["texts"]}


def _blocked(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Exception:
    error: Exception = sdk("fastapi", "litellm").HTTPException(
        status, {"error": {"code": code, "message": message}}, dict(headers or {})
    )
    return error


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
    draft = contracts.litellm_draft({**body, "litellm_call_id": "none"}, headers, key, excerpt)
    digest = draft["action"]["digest"]
    metadata = {**(request_data.get("metadata") or {}), **(request_data.get("litellm_metadata") or {})}
    name = contracts.request_id(headers) or id_of(str(metadata.get("user_api_key_hash") or ""), digest)
    prompts = request_data.get("prompt")
    # One request may bring several prompts, and its model another answer each time: each is a question of its own.
    if body["input_type"] == "response" or (isinstance(prompts, list) and len(prompts) > 1):
        name = f"{name}:{body['input_type']}:{digest[-16:]}"
    return {**draft, "request_id": name}


def is_stream(request_data: Mapping[str, Any], logging_obj: Any = None) -> bool:
    """Whether the caller gets the answer as a stream."""
    details = getattr(logging_obj, "model_call_details", None) or {}
    return bool(request_data.get("stream") or getattr(logging_obj, "stream", False) or details.get("stream"))


def __getattr__(name: str) -> Any:
    """`KtGuardrail`, made when LiteLLM asks for it. Raises MissingExtra."""
    if name != "KtGuardrail":
        raise AttributeError(name)
    base = sdk("litellm.integrations.custom_guardrail", "litellm").CustomGuardrail
    made = type(name, (Guard, base), {"__doc__": Guard.__doc__, "apply_guardrail": Guard.apply_guardrail})
    globals()[name] = made
    return made
