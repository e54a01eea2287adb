"""The HTTP response for each result: its status and its body. No body contains a path or address of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import (
    AmbiguousId,
    BadInput,
    Conflict,
    GitLocked,
    IllegalRecord,
    KtError,
    NotAllowed,
    NotFound,
    WaitTimeout,
)
from ..frozen import dataclass
from ..results import Decision

#: The `Retry-After` in seconds: while a decision is pending, and if the store cannot be asked.
RETRY_PENDING, RETRY_AWAY = 5, 2
#: The only words about this machine that an error may contain.
_THIS_MACHINE = "this machine"
# The messages of errors that the caller did not cause. The details go only to the gateway's log.
_AWAY = {
    "interrupted": "the gateway is stopping; send the request again",
    "remote_unreachable": "the store's remote cannot be reached; send the request again",
    "outcome_unknown": "it is not known whether the change landed; send the request again",
    "wait_timeout": "it is not known yet whether it was raised; send the request again",
}
# The next steps for callers over HTTP or MCP, in place of commands.
_REMEDIES = {
    "amended": "say amended=true if you apply the decision's changes",
    "release_needed": "take it with a release",
    "not_released": "release it first",
    "not_resolved": "nothing may be released yet",
    "already_resolved": "a resolved record never changes",
}


@dataclass(frozen=True)
class Answer:
    """An HTTP response: a status, a body, and headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


class Refused(Exception):
    """The request is refused before an escalation is raised. ``answer`` is the response."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.answer = refusal(
            status, code, message, {name.replace("_", "-"): value for name, value in headers.items()}
        )


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    """The response for an error."""
    return Answer(status, {"error": {"code": code, "message": message}}, headers or {})


def decided(decision: Decision) -> Answer:
    """The response for a decision, including a denial."""
    used = {"changed": decision.changed, "repeat": decision.repeat}
    return Answer(200, {**decision.as_json(), **used}, {})


def pending(escalation_id: str, status: str) -> Answer:
    """The response while nobody has decided."""
    return Answer(
        202,
        {"escalation_id": escalation_id, "status": status},
        {"Location": f"/v1/reviews/{escalation_id}", "Retry-After": str(RETRY_PENDING)},
    )


def failed(error: Exception, hidden: Iterable[str] = ()) -> Answer:
    """The response for an error. ``hidden`` lists texts about this machine that no body may contain."""
    status = _status(error)
    if status >= 500 or not isinstance(error, KtError):
        code = error.code if isinstance(error, KtError) else "bug"
        otherwise = (
            "the store cannot be used now; the gateway's log says why" if status == 503 else "a bug in kt"
        )
        return refusal(status, code, _AWAY.get(code, otherwise), {"Retry-After": str(RETRY_AWAY)})
    facts = {key: value for key, value in error.as_json().items() if key not in ("store", "besides")}
    facts["message"] = _message(error)
    return Answer(status, {"error": _without(facts, [text for text in hidden if text])}, {})


def _message(error: KtError) -> str:
    """The error's message, without hints that only help at a command line."""
    remedy = _REMEDIES.get(error.code, error.remedy)
    if any(word in remedy for word in ("`", "--", " -C ", "command")):
        remedy = ""
    return "; ".join(filter(None, (error.summary, remedy)))


def _status(error: Exception) -> int:
    if isinstance(error, WaitTimeout | GitLocked):
        return 503
    if isinstance(error, IllegalRecord | Conflict):
        return 409
    for kinds, status in (((BadInput, AmbiguousId), 400), ((NotAllowed,), 403), ((NotFound,), 404)):
        if isinstance(error, kinds):
            return status
    return 503 if isinstance(error, KtError) else 500


def _without(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, str):
        for text in hidden:
            value = value.replace(text, _THIS_MACHINE)
        return value
    if isinstance(value, dict):
        return {key: _without(one, hidden) for key, one in value.items()}
    return [_without(one, hidden) for one in value] if isinstance(value, list | tuple) else value
