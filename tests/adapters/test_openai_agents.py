"""Tool approvals of the OpenAI Agents SDK, with the real package and its own scripted model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agents import Agent, function_tool, set_tracing_disabled
from agents.testing import ScriptedModel, assistant_message, function_call
from room import Room

from kt_escalation.adapters.openai_agents import Reviews
from kt_escalation.errors import AlreadyReleased, WaitTimeout
from kt_escalation.gateway import AsyncGateway

REFUND = {"amount": 100, "to": "bob"}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    set_tracing_disabled(True)
    made = Room(tmp_path_factory.mktemp("room"))
    with made.alice:
        yield made


class Desk:
    """A process with an agent whose model calls a tool, and says that it is done."""

    def __init__(self, *calls: Any, says: str = "done") -> None:
        self.ran: list[tuple[int, str]] = []
        self.kept: list[str] = []

        @function_tool(needs_approval=True)
        def refund(amount: int, to: str) -> str:
            """Refund an amount to somebody."""
            self.ran.append((amount, to))
            return "paid"

        self.model = ScriptedModel([*([list(calls)] if calls else []), [assistant_message(says)]])
        self.agent = Agent(name="clerk", model=self.model, tools=[refund])

    def told(self) -> list[str]:
        """What the model was told that came of its calls."""
        call = self.model.last_call
        assert call is not None
        return [str(one["output"]) for one in call.input if one.get("type") == "function_call_output"]


def refund(call_id: str, **more: Any) -> Any:
    return function_call("refund", json.dumps({**REFUND, **more}), call_id=call_id)


@asynccontextmanager
async def opened(room: Room, timeout: float = 60) -> AsyncIterator[Reviews]:
    async with AsyncGateway.open(room.gw, journal_folder=room.folder / "journal") as gateway:
        yield Reviews(gateway, timeout=timeout, reason_code="tool.call")


async def decided(room: Room, run_id: str, **outcomes: tuple[str, Any]) -> None:
    """Let alice decide the calls of a run once they are all there."""

    def work() -> None:
        end = time.monotonic() + 30
        while True:
            found = {
                str(one.request_id).rpartition(":")[2]: one.escalation_id
                for one in room.alice.list(fetch=True).records
                if f":{run_id}:" in str(one.request_id)
            }
            if set(found) == set(outcomes):
                break
            assert time.monotonic() < end, found
            time.sleep(0.05)
        for call_id, (outcome, amendment) in outcomes.items():
            room.alice.claim(found[call_id])
            room.alice.resolve(found[call_id], outcome, "so it is", amendment=amendment)

    await asyncio.to_thread(work)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 100))  # type: ignore[arg-type]


def test_each_call_is_run_only_as_people_decided(room: Room) -> None:
    async def work() -> None:
        async with opened(room) as reviews:
            desk = Desk(refund("c1"), refund("c2", to="eve"), refund("c3", to="dan"))
            running = asyncio.ensure_future(
                reviews.run(desk.agent, "refund them", run_id="r1", keep=desk.kept.append)
            )
            await decided(
                room,
                "r1",
                c1=("approved", None),
                c2=("denied", None),
                c3=("rewritten", {"amount": 1, "to": "dan"}),
            )
            assert (await running).final_output == "done"
            assert desk.ran == [(100, "bob")]
            paid, denied, changed = desk.told()
            assert paid == "paid"
            assert denied == "Not run. denied: so it is"
            assert changed.endswith('You may call it with {"amount": 1, "to": "dan"}')
            assert len(desk.kept) == 1

    run(work)
    # What was rewritten has not been used: the model would have to ask for it anew.
    assert len(room.commits("release")) == 1


def test_another_process_goes_on_with_what_was_kept(room: Room) -> None:
    async def work() -> None:
        first, second = Desk(refund("c9", amount=9)), Desk()
        async with opened(room, timeout=3) as reviews:
            with pytest.raises(WaitTimeout):
                await reviews.run(first.agent, "refund", run_id="r2", keep=first.kept.append)
        await decided(room, "r2", c9=("approved", None))
        async with opened(room) as reviews:
            found = await reviews.resume(second.agent, first.kept[-1], run_id="r2", keep=second.kept.append)
            assert found.final_output == "done"
            assert (first.ran, second.ran) == ([], [(9, "bob")])
            # A process that died after it had the decision may have run the tool: nobody runs it again.
            third = Desk()
            with pytest.raises(AlreadyReleased):
                await reviews.resume(third.agent, first.kept[-1], run_id="r2", keep=third.kept.append)
            assert third.ran == []

    run(work)
