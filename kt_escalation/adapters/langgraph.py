"""Asks people about the interrupts of LangGraph and of LangChain's human-in-the-loop middleware.

See docs/adapters/langgraph.md.
"""

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

    ``graph`` needs a checkpointer. ``timeout`` is how long to wait for people, in seconds. The ids of the
    requests are made from ``caller``, the thread and the interrupt, so every process that resumes a thread
    finds the same reviews. ``show`` puts the values of interrupts into git, where reviewers see them.
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

        Raises BadInput if the thread has not finished its previous run (use `resume`), WaitTimeout if nobody
        decides in time, and the errors of `Gateway.ask`. After an error the thread stays interrupted.
        """
        return run(self._started(self._graph.invoke, self._graph.get_state, given, config))

    def resume(self, config: Mapping[str, Any]) -> Any:
        """Continue a thread that has not finished, in any process.

        No other process may be working on the thread.
        If a process took a decision and died before it passed it to the graph, the graph gets the decision
        now. Raises as `run`.
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
        # The graph now uses the values that it was given before. Then only interrupts without an answer are
        # left.
        return (yield from self._on(invoke, state, None, config, again=True))

    def _on(
        self, invoke: _Invoke, state: _State, given: Any, config: Mapping[str, Any], *, again: bool
    ) -> Steps[Any]:
        command = sdk("langgraph.types", "langgraph").Command
        # Written before the graph continues, so that a decision is never passed on twice.
        result = yield lambda: invoke(given, config, durability="sync")
        while left := (yield lambda: state(config)).interrupts:
            answers = yield from self._answers(config, left, again)
            result = yield lambda answers=answers: invoke(  # type: ignore[misc]
                command(resume=answers), config, durability="sync"
            )
            again = False
        return result

    def _answers(self, config: Mapping[str, Any], left: Sequence[Any], again: bool) -> Steps[dict[str, Any]]:
        """The answers to interrupts, by their ids."""
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
