"""The requests and answers of LangChain's human-in-the-loop middleware, in both of its forms.

See docs/adapters/langgraph.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BadInput
from .calls import CallVerdict


def calls_of(value: Any) -> list[tuple[str, Any, str | None]]:
    """The calls that an interrupt asks about: the name, the arguments and a line of text for each.

    Raises BadInput.
    Both forms of LangChain's middleware are known. Every other value counts as one call of the tool
    `interrupt`.
    """
    if _is_batch(value):
        for config in value.get("review_configs", ()):
            if "reject" not in config.get("allowed_decisions", ()):
                raise BadInput(
                    problem=f"{config.get('action_name')!r} does not allow reject, so nobody could say no"
                )
        return [(one["name"], one["args"], one.get("description")) for one in value["action_requests"]]
    if _is_call(value):
        return [(value["name"], value["args"], value.get("description"))]
    return [("interrupt", value, None)]


def answer_of(value: Any, verdicts: Sequence[CallVerdict]) -> Any:
    """The value with which to resume an interrupt."""
    if _is_batch(value):
        allowed = {
            one.get("action_name"): one["allowed_decisions"] for one in value.get("review_configs", ())
        }
        names = [one["name"] for one in value["action_requests"]]
        return {
            "decisions": [
                decision_of(name, verdict, allowed.get(name, ("approve", "edit", "reject")))
                for name, verdict in zip(names, verdicts, strict=True)
            ]
        }
    [verdict] = verdicts
    if _is_call(value):
        return decision_of(value["name"], verdict, ("approve", "edit", "reject"))
    return {**vars(verdict), "value": verdict.arguments}


def decision_of(name: str, verdict: CallVerdict, allowed: Sequence[str]) -> dict[str, Any]:
    """A verdict as LangChain's approve, edit or reject. A verdict that the tool does not allow becomes a rejection."""
    kind = "edit" if verdict.is_amended else "approve"
    if not verdict.release:
        return {"type": "reject", "message": verdict.words}
    if kind not in allowed or (kind == "edit" and not isinstance(verdict.arguments, dict)):
        return {"type": "reject", "message": f"{verdict.words} (but this tool cannot be run so)"}
    return (
        {"type": "edit", "edited_action": {"name": name, "args": verdict.arguments}}
        if kind == "edit"
        else {"type": kind}
    )


def _is_batch(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("action_requests"), list)


def _is_call(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("type") == "tool_approval"
