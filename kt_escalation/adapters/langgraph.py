"""Interrupts of LangGraph, and LangChain's human-in-the-loop middleware, decided in kt. See docs/adapters/langgraph.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import BadInput
from ..gateway.tool_calls import REASON_CODE
from . import sdk
from .calls import Call, decide
from .langchain import answer_of, calls_of
from .steps import AnyGateway, Steps, run, run_async


class Reviews:
    """Runs a compiled graph, and asks people about each of its interrupts.

    ``graph`` has a checkpointer. ``timeout`` is how long to wait for the people, in seconds. ``caller`` goes into the
    ids, which come from the thread and the interrupt: whichever process goes on with a thread finds the same reviews.
    ``show`` puts what is asked into git, where reviewers see it.
    """

    def __init__(
        self,
        gateway: AnyGateway,
        graph: Any,
        *,
        timeout: float | None = None,
        caller: str = "langgraph",
        reason_code: str = REASON_CODE,
        show: bool = True,
    ) -> None:
        self._gateway, self._graph, self._timeout = gateway, graph, timeout
        self._caller, self._reason_code, self._show = caller, reason_code, show

    def run(self, given: Any, config: Mapping[str, Any]) -> Any:
        """Run a thread from an input to its end.

        Raises BadInput if the thread has not finished before (`resume` goes on with it), WaitTimeout if nobody decides
        in time, and what `Gateway.ask` raises. The thread stays interrupted then.
        """
        return run(self._started(self._graph.invoke, self._graph.get_state, given, config))

    def resume(self, config: Mapping[str, Any]) -> Any:
        """Go on with a thread that has not finished, in whichever process, once no other works on it.

        A decision that a dead process had, and did not hand to the graph, is handed to it now. Raises as `run` does.
        """
        return run(self._resumed(self._graph.invoke, self._graph.get_state, config))

    async def arun(self, given: Any, config: Mapping[str, Any]) -> Any:
        """`run` for asyncio, over an `AsyncGateway`."""
        return await run_async(self._started(self._graph.ainvoke, self._graph.aget_state, given, config))

    async def aresume(self, config: Mapping[str, Any]) -> Any:
        """`resume` for asyncio, over an `AsyncGateway`."""
        return await run_async(self._resumed(self._graph.ainvoke, self._graph.aget_state, config))

    def _started(self, invoke: _Invoke, state: _State, given: Any, config: Mapping[str, Any]) -> Steps[Any]:
        if (yield lambda: state(config)).next:
            raise BadInput(problem="the thread has not finished", hint="go on with it by `resume`")
        return (yield from self._on(invoke, state, given, config, again=False))

    def _resumed(self, invoke: _Invoke, state: _State, config: Mapping[str, Any]) -> Steps[Any]:
        found = yield lambda: state(config)
        if not found.next:
            return found.values
        # What the graph has been handed before is used now; only an interrupt without an answer is left afterwards.
        return (yield from self._on(invoke, state, None, config, again=True))

    def _on(
        self, invoke: _Invoke, state: _State, given: Any, config: Mapping[str, Any], *, again: bool
    ) -> Steps[Any]:
        command = sdk("langgraph.types", "langgraph").Command
        # Written before it goes on, so that what was handed over is never handed over twice.
        result = yield lambda: invoke(given, config, durability="sync")
        while left := (yield lambda: state(config)).interrupts:
            answers = yield from self._answers(config, left, again)
            result = yield lambda answers=answers: invoke(  # type: ignore[misc]
                command(resume=answers), config, durability="sync"
            )
            again = False
        return result

    def _answers(self, config: Mapping[str, Any], left: Sequence[Any], again: bool) -> Steps[dict[str, Any]]:
        """What each interrupt is answered, by its id."""
        thread = config["configurable"]["thread_id"]
        calls = [
            [
                Call(
                    name,
                    given,
                    f"{self._caller}:{thread}:{one.id}:{index}",
                    words,
                    self._reason_code,
                    self._show,
                )
                for index, (name, given, words) in enumerate(calls_of(one.value))
            ]
            for one in left
        ]
        verdicts = iter(
            (
                yield from decide(
                    self._gateway, [call for asked in calls for call in asked], self._timeout, again=again
                )
            )
        )
        return {
            one.id: answer_of(one.value, [next(verdicts) for _ in asked])
            for one, asked in zip(left, calls, strict=True)
        }


_Invoke = Callable[..., Any]
_State = Callable[[Mapping[str, Any]], Any]
