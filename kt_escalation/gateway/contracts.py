"""The protocols of other gateways: LiteLLM's generic guardrail, Envoy's `ext_authz` and nginx's `auth_request`.

Their requests become drafts, and decisions become their responses. Everything that is not a release blocks
the request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..errors import BadInput
from ..model import digests
from ..results import Decision

REASON_CODE = "gateway.review"
#: The headers that can name a request. The first one counts.
REQUEST_IDS = ("x-request-id", "idempotency-key")
# LiteLLM sends this instead of the value of a header that it was not told to forward.
_HIDDEN = "[present]"
# The parts of a call that pass after a release, besides its texts.
_CONTENT = ("images", "tools", "tool_calls", "structured_messages")
_MAX_NAME = 200


def key_of(token: str) -> bytes:
    """The key for digests of texts.

    Without the gateway's token, nobody can test whether a digest is that of a guessed text.
    """
    return hashlib.sha256(b"kt gateway digests\0" + token.encode()).digest()


def request_id(headers: Mapping[str, str]) -> str | None:
    """The request id in the headers, or None."""
    found = (headers.get(name, "").strip() for name in REQUEST_IDS)
    return next((one for one in found if one and one != _HIDDEN), None)


# --- LiteLLM ----------------------------------------------------------------------------------------


def litellm_draft(
    body: Mapping[str, Any],
    key: bytes,
    excerpt: int,
    *,
    request_id: str | None,
    caller: Any,
    several: bool = False,
) -> dict[str, Any]:
    """The draft for a call of LiteLLM's guardrail. Raises BadInput.

    Without a ``request_id``, the same content from the same ``caller`` counts as the same request. ``caller``
    is JSON that tells callers apart. ``several`` says that one request leads to more than one question. A
    keyed digest of the texts goes into git, with at most ``excerpt`` characters of the plain text.
    """
    texts, kind = texts_of(body), body.get("input_type")
    if kind not in ("request", "response"):
        raise BadInput(problem="input_type is neither request nor response")
    content = {"texts": texts, **{one: body[one] for one in _CONTENT if body.get(one)}}
    model = body.get("model")
    named = model[:_MAX_NAME] if isinstance(model, str) and model else "litellm"
    try:
        digest = digests.of_action(f"model.{kind}", named, content, key)
    except digests.NotIJson as error:
        raise BadInput(problem=f"the call {error}") from None
    name = request_id or _content_id(key, caller, digest)
    shown = " ".join(texts)[:excerpt]
    return {
        # The input and the output of one request are two questions, and each answer of a model is another
        # one.
        "request_id": f"{name}:{kind}:{digest[-16:]}" if several or kind == "response" else name,
        "reason_code": REASON_CODE,
        "action": {
            "kind": f"model.{kind}",
            "name": named,
            "digest": digest,
            "edit_schema": _texts_schema(len(texts)),
        },
        "event_context": {"prompt_hash": digest, **({"excerpt": shown} if shown else {})},
        **({"model": named} if named != "litellm" else {}),
    }


def _content_id(key: bytes, caller: Any, digest: str) -> str:
    """An id for a request that has none. It is keyed, because the data that tells callers apart may be guessed."""
    text = json.dumps([caller, digest], sort_keys=True, default=str)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:40]


def litellm_request_id(body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """The request id of LiteLLM's caller, as LiteLLM passes it on, or None."""
    given = body.get("request_headers")
    theirs = (
        {str(name).lower(): value for name, value in given.items() if isinstance(value, str)}
        if isinstance(given, Mapping)
        else {}
    )
    return request_id(theirs) or request_id(headers)


def litellm_caller(known: object) -> list[str]:
    """The caller as LiteLLM knows it: the hash of the API key, and the user that the key's owner names."""
    about = known if isinstance(known, Mapping) else {}
    return [str(about.get(f"user_api_key_{name}") or "") for name in ("hash", "end_user_id")]


def litellm_amends(body: Mapping[str, Any], *, is_stream: bool = True) -> bool:
    """Whether LiteLLM can send an amended text.

    It cannot for a streamed answer, which it sends as the model wrote it.
    """
    return body.get("input_type") == "request" or not is_stream


UNCHANGED = "what a reviewer wrote cannot be sent in place of this answer"


def litellm_answer(decision: Decision, body: Mapping[str, Any]) -> dict[str, Any]:
    """LiteLLM's response for a decision: unchanged, with the amended texts, or blocked."""
    if not decision.release:
        return litellm_block(f"{decision.outcome}: {decision.reason}", decision.escalation_id)
    if decision.outcome == "approved":
        return {"action": "NONE"}
    value = decision.amendment.value if decision.amendment is not None else None
    texts = value.get("texts") if isinstance(value, Mapping) else None
    if not isinstance(texts, list | tuple) or not _are_texts(texts) or len(texts) != len(texts_of(body)):
        return litellm_block(f"{decision.outcome}, but without texts to send instead", decision.escalation_id)
    return {"action": "GUARDRAIL_INTERVENED", "texts": [*texts]}


def litellm_block(reason: str, escalation_id: str | None = None) -> dict[str, Any]:
    """LiteLLM's response for everything that is not released."""
    return {"action": "BLOCKED", "blocked_reason": f"{escalation_id}: {reason}" if escalation_id else reason}


def texts_of(body: Mapping[str, Any]) -> list[str]:
    """The texts of a call. Raises BadInput."""
    texts = body.get("texts") or []
    if not _are_texts(texts):
        raise BadInput(problem="texts is not a list of texts")
    return [*texts]


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _texts_schema(count: int) -> dict[str, Any]:
    texts = {"type": "array", "items": {"type": "string"}, "minItems": count, "maxItems": count}
    return {
        "type": "object",
        "required": ["texts"],
        "properties": {"texts": texts},
        "additionalProperties": False,
    }


# --- Envoy and nginx --------------------------------------------------------------------------------


def authz_draft(
    method: str, target: str, headers: Mapping[str, str], shown: Sequence[str], key: bytes
) -> dict[str, Any]:
    """The draft for a request that a proxy asks about. Raises BadInput.

    ``target`` is the path with the query. It may hold secrets, so only a keyed digest of it goes into git.
    ``shown`` names the headers that reviewers see.
    """
    name = request_id(headers)
    if name is None:
        raise BadInput(problem="the request has no id: x-request-id or Idempotency-Key")
    seen = {one: headers[one] for one in sorted({one.lower() for one in shown}) if one in headers}
    content = {"method": method, "target": target, "headers": seen}
    digest = "hmac-sha256:" + hmac.new(key, digests.canonical_json(content), hashlib.sha256).hexdigest()
    path = target.partition("?")[0]
    return {
        "request_id": name,
        "reason_code": REASON_CODE,
        "event_context": {"method": method, "path": path, "headers": seen, "request_digest": digest},
    }


AuthzStatus = Literal[200, 403]


def authz_answer(decision: Decision) -> tuple[AuthzStatus, dict[str, str]]:
    """The proxy's response for a decision. A proxy cannot amend a request, so only an unchanged release passes."""
    passes = decision.release and decision.outcome == "approved"
    found = {
        "x-kt-escalation": decision.escalation_id,
        "x-kt-outcome": decision.outcome,
        "x-kt-reason": header_text(decision.reason),
    }
    return (200 if passes else 403), found


def header_text(text: str) -> str:
    """A text in the form of a header's value: printable ASCII on one line, at most 200 characters."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:200].strip()
