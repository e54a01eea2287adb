"""Turns the calls that LiteLLM makes to a guardrail into drafts. See docs/adapters/litellm.md."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from ..errors import BadInput
from ..gateway import contracts


def body_of(inputs: Mapping[str, Any], request_data: Mapping[str, Any], input_type: str) -> dict[str, Any]:
    """A call of `apply_guardrail` in the form of LiteLLM's generic guardrail API. Raises BadInput."""
    try:
        body: dict[str, Any] = json.loads(
            json.dumps(dict(inputs), default=lambda one: one.model_dump(mode="json"))
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise BadInput(problem=f"the call is not JSON: {type(error).__name__}") from None
    return {**body, "input_type": input_type, "model": body.get("model") or request_data.get("model")}


def headers_of(request_data: Mapping[str, Any], logging_obj: Any = None) -> dict[str, str]:
    """The headers of the caller's request, with names in lower case.

    LiteLLM keeps them in different places at different stages.
    """
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
    """The draft to raise for a call, with the request's own id or an id made from the caller and the content.

    Raises BadInput.
    """
    known = {**(request_data.get("metadata") or {}), **(request_data.get("litellm_metadata") or {})}
    caller: list[Any] = contracts.litellm_caller(known)
    if body["input_type"] == "response":
        # The same answer to another question is a different answer.
        caller.append({name: request_data.get(name) for name in ("messages", "prompt", "input")})
    prompts = request_data.get("prompt")
    return contracts.litellm_draft(
        body,
        key,
        excerpt,
        request_id=contracts.request_id(headers),
        caller=caller,
        # One request may have several prompts, and the model answers each differently.
        several=isinstance(prompts, list) and len(prompts) > 1,
    )


def is_stream(request_data: Mapping[str, Any], logging_obj: Any = None) -> bool:
    """Whether the caller gets the answer as a stream."""
    details = getattr(logging_obj, "model_call_details", None) or {}
    return bool(request_data.get("stream") or getattr(logging_obj, "stream", False) or details.get("stream"))


# --- whether somebody still waits -------------------------------------------------------------------

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class _Caller(NamedTuple):
    """One caller: whether its request was read and its answer sent completely, and how to receive what comes meanwhile."""

    read: asyncio.Event
    answered: asyncio.Event
    receive: _Receive


_CALLER: ContextVar[_Caller | None] = ContextVar("kt_caller", default=None)


class _Listening:
    """Wraps LiteLLM's application, to learn when a caller disconnects.

    A guardrail is not told whose request it holds.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Mapping[str, Any], receive: _Receive, send: _Send) -> None:
        caller = _Caller(asyncio.Event(), asyncio.Event(), receive)

        async def reading() -> _Message:
            message = await receive()
            if not message.get("more_body"):
                caller.read.set()
            return message

        async def sending(message: _Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                caller.answered.set()
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _CALLER.set(caller)
        await self._app(scope, reading, sending)


def listen_to_callers() -> None:
    """Let `caller_gone` observe the callers of LiteLLM's proxy, if this process is a proxy."""
    app = getattr(sys.modules.get("litellm.proxy.proxy_server"), "app", None)
    if app is not None and not isinstance(app.middleware_stack, _Listening):
        app.middleware_stack = _Listening(app.middleware_stack or app.build_middleware_stack())


async def caller_gone() -> None:
    """Return when the caller of this request disconnects.

    Never returns if that cannot be known, or after the answer.
    """
    caller = _CALLER.get()
    if caller is not None:
        await caller.read.wait()
        while not caller.answered.is_set():
            if (await caller.receive())["type"] == "http.disconnect" and not caller.answered.is_set():
                return
    await asyncio.Event().wait()
