"""LangGraph's interrupts and LangChain's human-in-the-loop middleware, with the real packages and a scripted model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from room import Room

from kt_escalation.adapters.langgraph import Reviews
from kt_escalation.errors import AlreadyReleased, BadInput, WaitTimeout
from kt_escalation.gateway import AsyncGateway, Gateway

REFUND = {"amount": 100, "to": "bob"}


@pytest.fixture(scope="module")
def gateway(room: Room) -> Iterator[Gateway]:
    with Gateway.open(room.gw, journal_folder=room.folder / "journal") as made:
        yield made


class State(TypedDict, total=False):
    amount: int
    answer: dict[str, Any]


class Process:
    """A process's graph over a checkpointer that outlives it; it may die when its effect has not been written yet."""

    def __init__(self, saver: InMemorySaver) -> None:
        self.ran: list[dict[str, Any]] = []

        def node(state: State) -> State:
            answer = interrupt({"refund": state["amount"]})
            if answer["release"]:
                self.ran.append(answer["value"])
            return {"answer": answer}

        self.graph = (
            StateGraph(State).add_node("node", node).add_edge(START, "node").compile(checkpointer=saver)
        )


class Model(GenericFakeChatModel):
    """LangChain's fake with tools."""

    def bind_tools(self, *_: Any, **__: Any) -> Model:
        return self


class Agent:
    """An agent of LangChain's that calls a tool twice at once, and then says that it is done."""

    def __init__(self, mode: str, allowed: Any = True) -> None:
        self.ran: list[tuple[int, str]] = []

        @tool
        def refund(amount: int, to: str) -> str:
            """Refund an amount to somebody."""
            self.ran.append((amount, to))
            return "paid"

        call = {"name": "refund", "type": "tool_call"}
        calls = [{**call, "args": {**REFUND, "to": to}, "id": f"call_{to}"} for to in ("bob", "eve")]
        says = [AIMessage("", tool_calls=calls), AIMessage("done")]
        middleware = HumanInTheLoopMiddleware({"refund": allowed}, interrupt_mode=mode)
        self.graph = create_agent(
            Model(messages=iter(says)), [refund], middleware=[middleware], checkpointer=InMemorySaver()
        )

    def messages(self, result: dict[str, Any]) -> list[str]:
        return [str(one.content) for one in result["messages"] if one.type == "tool"]


def thread(name: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}}


def ids(room: Room, thread_name: str, count: int = 1, working: Future[Any] | None = None) -> list[str]:
    """The escalations that a thread has raised, once there are so many."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if working is not None and working.done():
            working.result()
        found = [
            one for one in room.alice.list(fetch=True).records if f":{thread_name}:" in str(one.request_id)
        ]
        if len(found) == count:
            return [one.escalation_id for one in sorted(found, key=lambda one: str(one.request_id))]
        time.sleep(0.05)
    raise AssertionError(thread_name)


def decide(room: Room, name: str, outcome: str = "approved", amendment: Any = None) -> None:
    room.alice.claim(name)
    room.alice.resolve(name, outcome, "so it is", amendment=amendment)


def deciding(room: Room, work: Callable[[], Any], name: str, *outcomes: Any, count: int = 1) -> Any:
    """What work returns while alice decides what it asks."""
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        names = ids(room, name, count, working)
        for escalation, (outcome, amendment) in zip(names, outcomes, strict=True):
            decide(room, escalation, outcome, amendment)
        return working.result(60)


def releases(room: Room, names: list[str]) -> int:
    return sum(len(room.commits(f"release {name}")) for name in names)


@pytest.mark.parametrize(
    ("outcome", "amendment", "ran"),
    [
        ("approved", None, [{"refund": 100}]),
        ("rewritten", {"refund": 10}, [{"refund": 10}]),
        ("denied", None, []),
    ],
)
def test_an_interrupt_is_decided(
    room: Room, gateway: Gateway, outcome: str, amendment: Any, ran: Any
) -> None:
    process = Process(InMemorySaver())
    reviews = Reviews(gateway, process.graph, timeout=60, reason_code="tool.call")
    name = f"one-{outcome}"
    found = deciding(room, lambda: reviews.run({"amount": 100}, thread(name)), name, (outcome, amendment))
    assert process.ran == ran
    assert (found["answer"]["outcome"], found["answer"]["release"]) == (outcome, bool(ran))


def test_another_process_goes_on_with_a_thread_that_nobody_decided_in_time(
    room: Room, gateway: Gateway
) -> None:
    saver = InMemorySaver()
    first, second = Process(saver), Process(saver)
    with pytest.raises(WaitTimeout):
        Reviews(gateway, first.graph, timeout=3, reason_code="tool.call").run({"amount": 7}, thread("late"))
    with pytest.raises(BadInput, match="has not finished"):
        Reviews(gateway, second.graph).run({"amount": 8}, thread("late"))
    [name] = ids(room, "late")
    decide(room, name)
    reviews = Reviews(gateway, second.graph, timeout=60, reason_code="tool.call")
    assert reviews.resume(thread("late"))["answer"]["release"]
    assert (first.ran, second.ran) == ([], [{"refund": 7}])
    assert reviews.resume(thread("late"))["answer"]["release"]
    assert second.ran == [{"refund": 7}]
    assert len(room.commits(f"raise {name}")) == releases(room, [name]) == 1


class Killed(BaseException):
    """The process has ended here."""


@pytest.mark.parametrize(
    "when", ["before it raised", "before it was handed over", "after it was handed over"]
)
def test_a_process_that_died_is_replaced_and_nothing_runs_twice(
    room: Room, gateway: Gateway, when: str
) -> None:
    saver = InMemorySaver()
    first, second = Process(saver), Process(saver)
    name = "dies-" + when.split()[0] + "-" + when.split()[2]
    real, calls = first.graph.invoke, []

    def invoke(*args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) == 2 and when == "before it was handed over":
            raise Killed
        result = real(*args, **more)
        if (len(calls) == 1 and when == "before it raised") or len(calls) == 2:
            raise Killed
        return result

    first.graph.invoke = invoke
    reviews = Reviews(gateway, first.graph, timeout=60, reason_code="tool.call")

    def work() -> None:
        with pytest.raises(Killed):
            reviews.run({"amount": 5}, thread(name))

    other = Reviews(gateway, second.graph, timeout=60, reason_code="tool.call")
    if when == "before it raised":
        work()
        found = deciding(room, lambda: other.resume(thread(name)), name, ("approved", None))
    else:
        deciding(room, work, name, ("approved", None))
        if when == "before it was handed over":
            # Nobody says that the process has died: what it had is not given to a second one.
            held = second.graph.get_state(thread(name)).interrupts
            assert len(held) == 1
        found = other.resume(thread(name))
    assert found["answer"]["release"]
    assert first.ran + second.ran == [{"refund": 5}]
    shown = [one for one in room.commits("raise") if one]
    assert shown
    names = [
        one.escalation_id
        for one in room.alice.list(status="all", limit=0, fetch=True).records
        if f":{name}:" in str(one.request_id)
    ]
    assert len(names) == 1
    assert releases(room, names) == 1


def test_what_another_had_is_not_given_again(room: Room, gateway: Gateway, tmp_path: Path) -> None:
    process = Process(InMemorySaver())
    with pytest.raises(WaitTimeout):
        Reviews(gateway, process.graph, timeout=2, reason_code="tool.call").run(
            {"amount": 1}, thread("other")
        )
    [name] = ids(room, "other")
    decide(room, name)
    clone = room.clone("elsewhere", who="gw")
    with Gateway.open(clone, journal_folder=tmp_path / "journal") as elsewhere:
        digest = elsewhere.get(name).record.action
        assert digest is not None
        assert elsewhere.release(name, digest=digest.digest).release
    with pytest.raises(AlreadyReleased):
        Reviews(gateway, process.graph, timeout=60, reason_code="tool.call").resume(thread("other"))
    assert process.ran == []


@pytest.mark.parametrize("mode", ["batched", "per_call"])
def test_the_middleware_of_langchain_approves_edits_and_rejects(
    room: Room, gateway: Gateway, mode: str
) -> None:
    for name, outcomes, ran, told in (
        ("ok", [("approved", None), ("denied", None)], [(100, "bob")], ["paid", "denied: so it is"]),
        ("edit", [("rewritten", {"amount": 1, "to": "al"})] * 2, [(1, "al")] * 2, ["paid", "paid"]),
    ):
        agent = Agent(mode)
        reviews = Reviews(gateway, agent.graph, timeout=60, reason_code="tool.call")
        config, given = thread(f"{mode}-{name}"), {"messages": [{"role": "user", "content": "refund"}]}
        found = deciding(
            room,
            partial(reviews.run, given, config),
            f"{mode}-{name}",
            *outcomes,
            count=2,
        )
        assert sorted(agent.ran) in (ran, [(100, "eve")])
        assert len(agent.ran) == len(ran)
        said = agent.messages(found)
        assert all(any(word in one for one in said) for word in told), said
        assert found["messages"][-1].content == "done"


def test_a_tool_that_cannot_be_refused_is_not_asked_about(room: Room, gateway: Gateway) -> None:
    agent = Agent("batched", {"allowed_decisions": ["approve", "edit"]})
    with pytest.raises(BadInput, match="does not allow reject"):
        Reviews(gateway, agent.graph).run({"messages": [{"role": "user", "content": "x"}]}, thread("no"))
    assert agent.ran == []


def test_asyncio_has_the_same(room: Room, tmp_path: Path) -> None:
    async def work() -> None:
        process = Process(InMemorySaver())
        async with AsyncGateway.open(room.gw, journal_folder=tmp_path / "journal") as gateway:
            reviews = Reviews(gateway, process.graph, timeout=60, reason_code="tool.call")
            working = asyncio.ensure_future(reviews.arun({"amount": 3}, thread("async")))
            [name] = await asyncio.to_thread(ids, room, "async")
            await asyncio.to_thread(decide, room, name)
            assert (await working)["answer"]["release"]
            assert process.ran == [{"refund": 3}]
            assert (await reviews.aresume(thread("async")))["answer"]["release"]
            with pytest.raises(BadInput, match="asyncio"):
                reviews.run({"amount": 4}, thread("wrong"))

    asyncio.run(work())
