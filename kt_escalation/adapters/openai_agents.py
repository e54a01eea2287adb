"""Asks people to approve the tool calls of the OpenAI Agents SDK. See docs/adapters/openai-agents.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import BadInput
from ..gateway.tool_calls import REASON_CODE
from . import sdk
from .calls import Call, CallVerdict, decide
from .steps import AnyGateway, run_async


class Reviews:
    """Runs an agent, and asks people about each tool call that needs approval.

    ``gateway`` is an `AsyncGateway`. ``timeout`` is how long to wait for people, in seconds. The ids of the
    requests are made from ``caller``, the run and the call. ``show`` puts arguments into git, where reviewers
    see them.
    """

    def __init__(
        self,
        gateway: AnyGateway,
        *,
        timeout: float | None = None,
        caller: str = "openai-agents",
        reason_code: str = REASON_CODE,
        show: bool = True,
    ) -> None:
        self._gateway, self._timeout = gateway, timeout
        self._caller, self._reason_code, self._show = caller, reason_code, show

    async def run(
        self, agent: Any, given: Any, *, run_id: str, keep: Callable[[str], object], **options: Any
    ) -> Any:
        """Run an agent from an input to its end, and return the SDK's result.

        Choose a ``run_id`` that no other run has. ``keep`` is called with the state of the run as JSON at
        each pause, before people are asked. Store it, and pass it to `resume` after a crash or a time-out.
        ``options`` are those of the SDK's `Runner.run`. Raises WaitTimeout if nobody decides in time,
        MissingExtra, and the errors of `Gateway.ask`.
        """
        runner = sdk("agents", "openai-agents").Runner
        result = await runner.run(agent, given, **options)
        while result.interruptions:
            state = result.to_state()
            keep(state.to_string())
            await self.decide(state, run_id)
            result = await runner.run(agent, state, **options)
        return result

    async def resume(
        self, agent: Any, kept: str, *, run_id: str, keep: Callable[[str], object], **options: Any
    ) -> Any:
        """Continue a run from its last stored state, in any process. Raises as `run`.

        A decision that was taken is not returned again: AlreadyReleased means that a process which died may
        have run the tool. ``kept`` must come from your own storage, because the SDK does not check who wrote
        it.
        """
        state = await sdk("agents.run_state", "openai-agents").RunState.from_string(agent, kept)
        await self.decide(state, run_id)
        return await self.run(agent, state, run_id=run_id, keep=keep, **options)

    async def decide(self, state: Any, run_id: str) -> None:
        """Ask people about every call that a `RunState` is waiting for, and write the decisions into it.

        Raises as `run`.
        """
        items = state.get_interruptions()
        calls = [
            Call(name, given, f"{self._caller}:{run_id}:{call_id}", None, self._reason_code, self._show)
            for name, given, call_id in calls_of(items)
        ]
        # The SDK runs the model's own call, so an amended decision must not be taken.
        verdicts = await run_async(decide(self._gateway, calls, self._timeout, amends=False))
        for item, verdict in zip(items, verdicts, strict=True):
            if verdict.release:
                state.approve(item)
            else:
                state.reject(item, rejection_message=rejection_of(verdict))


def calls_of(items: Sequence[Any]) -> list[tuple[str, Any, str]]:
    """The name, the arguments and the id of each call that waits for approval. Raises BadInput.

    The arguments are parsed from the model's JSON. A call that is neither of a function nor of an MCP server
    has no arguments.
    """
    found = []
    for item in items:
        name, given, call_id = item.name, item.arguments, item.call_id
        if not name or given is None or not call_id:
            raise BadInput(
                problem=f"people cannot decide on {name or 'a call'}: it has no name, id or arguments"
            )
        try:
            arguments = json.loads(given)
        except ValueError:
            raise BadInput(problem=f"the arguments of {name[:80]!r} are not JSON") from None
        found.append((name, arguments, call_id))
    return found


def rejection_of(verdict: CallVerdict) -> str:
    """The message to the model about a call that is not run."""
    if verdict.is_amended:
        instead = json.dumps(verdict.arguments, ensure_ascii=False)
        return f"Not run. A reviewer wants other arguments ({verdict.words}). You may call it with {instead}"
    return f"Not run. {verdict.words}"
