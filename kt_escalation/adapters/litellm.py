"""`KtGuardrail`: a guardrail that runs in the process of LiteLLM's proxy, without `kt gateway serve`.

See docs/adapters/litellm.md. Everything but a release raises an error, and an error blocks the request:
LiteLLM does not call the model, or withholds the model's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ..errors import Amended, BadInput, KtError, WaitTimeout
from ..gateway import AsyncGateway, answers, contracts
from ..gateway.held import OnCancel
from ..gateway.options import require_on_cancel
from ..gateway.tasks import CallerGone, unless_gone
from . import sdk
from .litellm_calls import body_of, caller_gone, draft_of, headers_of, is_stream, listen_to_callers

_DENIED, _PENDING, _GONE = 403, 409, 499


class GuardrailMethods:
    """The methods of `KtGuardrail` that LiteLLM's `CustomGuardrail` does not have.

    ``kt_store`` is the gateway's clone. ``api_key`` is a secret for digests of texts. ``kt_hold`` is how long
    to hold a request, in seconds. ``kt_journal`` is the folder of the journal. ``kt_excerpt`` is how many
    characters of a text reviewers see. ``kt_on_cancel`` says whether to keep or withdraw an escalation when
    its caller disconnects. The other parameters are LiteLLM's. Raises BadInput.
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
        kt_on_cancel: OnCancel = "keep",
        **given: Any,
    ) -> None:
        if not kt_store or not api_key:
            raise BadInput(problem="the guardrail needs kt_store, a clone, and api_key, a secret of its own")
        require_on_cancel(kt_on_cancel)
        super().__init__(**given)
        modes = str(given.get("event_hook"))
        self._holds_answers = "post_call" in modes
        if self._holds_answers and "pre_call" not in modes:
            raise BadInput(problem="post_call needs pre_call beside it: only there can a stream be refused")
        self._key = contracts.key_of(api_key)
        self._hold, self._excerpt, self._on_cancel = float(kt_hold), int(kt_excerpt), kt_on_cancel
        listen_to_callers()
        self._gateway = AsyncGateway.open(kt_store, journal_folder=kt_journal)
        self._opening, self._is_open = asyncio.Lock(), False

    async def apply_guardrail(
        self, inputs: Any, request_data: dict[str, Any], input_type: str, logging_obj: Any = None
    ) -> Any:
        """The inputs as people released them. Raises HTTPException for everything else.

        Status 409 with `Retry-After` means that nobody has decided yet. If the caller sends the same request
        later, the wait continues.
        """
        try:
            body = body_of(inputs, request_data, input_type)
            self._require_held(request_data, input_type, logging_obj)
            draft = draft_of(
                body, headers_of(request_data, logging_obj), request_data, self._key, self._excerpt
            )
            if not self._is_open:
                async with self._opening:
                    if not self._is_open:
                        await self._gateway.__aenter__()
                        self._is_open = True
            amends = contracts.litellm_amends(body, is_stream=is_stream(request_data, logging_obj))
            asking = self._gateway.ask(draft, timeout=self._hold, amended=amends, on_cancel=self._on_cancel)
            decision = await unless_gone(asking, caller_gone())
        except Amended as error:
            raise _blocked(_DENIED, error.outcome, f"{error.escalation_id}: {contracts.UNCHANGED}") from None
        except CallerGone:
            raise _blocked(_GONE, "gone", "nobody waits for the answer") from None
        except WaitTimeout as error:
            raise _blocked(_PENDING, "pending", error.escalation_id, {"Retry-After": "5"}) from None
        except KtError as error:
            found = answers.failed(error)
            words = f"{error.code}: {found.body['error']['message']}"
            raise _blocked(found.status, error.code, words, found.headers) from None
        answer = contracts.litellm_answer(decision, body)
        if answer["action"] == "NONE":
            return inputs
        if answer["action"] == "BLOCKED":
            raise _blocked(_DENIED, decision.outcome, answer["blocked_reason"])
        return {**inputs, "texts": answer["texts"]}

    def _require_held(self, request_data: dict[str, Any], input_type: str, logging_obj: Any) -> None:
        """Raise BadInput if LiteLLM would stream the answer to this request without asking the guardrail."""
        if input_type != "request" or not self._holds_answers or not is_stream(request_data, logging_obj):
            return
        call_type = getattr(logging_obj, "call_type", None)
        handlers = {
            kind.value: made
            for kind, made in sdk("litellm.llms", "litellm").load_guardrail_translation_mappings().items()
        }
        handler = handlers.get(call_type)
        if handler is None or "process_output_streaming_response" not in _own(handler):
            raise BadInput(problem=f"a streamed answer of {call_type} cannot be held; ask without stream")


def _own(handler: type) -> set[str]:
    """The methods of one of LiteLLM's handlers that the common base class does not have."""
    return {name for kind in handler.__mro__ if kind.__name__ != "BaseTranslation" for name in vars(kind)}


def _blocked(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Exception:
    error: Exception = sdk("fastapi", "litellm").HTTPException(
        status, {"error": {"code": code, "message": message}}, dict(headers or {})
    )
    return error


def __getattr__(name: str) -> Any:
    """Create `KtGuardrail` when LiteLLM asks for it. Raises MissingExtra."""
    if name != "KtGuardrail":
        raise AttributeError(name)
    base = sdk("litellm.integrations.custom_guardrail", "litellm").CustomGuardrail
    made = type(
        name,
        (GuardrailMethods, base),
        {"__doc__": GuardrailMethods.__doc__, "apply_guardrail": GuardrailMethods.apply_guardrail},
    )
    globals()[name] = made
    return made
