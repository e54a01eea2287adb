"""`kt gateway mcp`, driven by the real client of the MCP SDK over the pipes of a real process."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from room import Room

REFUND = {"amount": 100, "to": "bob"}
TOOLS = {"request_review", "await_review", "get_review", "list_reviews", "withdraw_review"}


@asynccontextmanager
async def agent(room: Room, *options: str) -> AsyncIterator[Client]:
    """An agent that has started a server of its own."""
    args = [
        "-m",
        "kt_escalation",
        "gateway",
        "mcp",
        "-C",
        str(room.gw),
        "--journal",
        str(room.folder / "journal"),
    ]
    with (room.folder / "mcp.log").open("a") as log:
        server = StdioServerParameters(command=sys.executable, args=[*args, *options])
        async with Client(stdio_client(server, errlog=log)) as client:
            yield client


async def said(call: Awaitable[Any]) -> dict[str, Any]:
    """What a tool answers, also in words."""
    result = await call
    text: dict[str, Any] = json.loads(result.content[0].text)
    assert result.structured_content == text
    assert ("error" in text) == bool(result.is_error)
    found: dict[str, Any] = text.get("error", text)
    return found


def asked(client: Client, name: str, **more: Any) -> Awaitable[dict[str, Any]]:
    given = {"tool": "refund", "input": REFUND, "request_id": name, "reason_code": "tool.call", **more}
    return said(client.call_tool("request_review", given))


def awaited(client: Client, name: str, **more: Any) -> Awaitable[dict[str, Any]]:
    given = {"escalation_id": f"esc_{name}", "tool": "refund", "input": REFUND, **more}
    return said(client.call_tool("await_review", given))


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(100):
            await work()

    asyncio.run(limited())


def test_an_agent_asks_waits_and_may_run_what_was_approved_once(room: Room) -> None:
    async def work() -> None:
        told: list[tuple[float, float | None, str | None]] = []

        async def progress(past: float, total: float | None, words: str | None) -> None:
            told.append((past, total, words))

        async with agent(room, "--hold", "6s") as client:
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == TOOLS
            assert not [tool.name for tool in tools if "resolve" in tool.name or "decide" in tool.name]
            given = {"tool": "refund", "input": REFUND, "request_id": "m1", "reason_code": "tool.call"}
            begun = time.monotonic()
            pending = await said(client.call_tool("request_review", given, progress_callback=progress))
            assert 5 < time.monotonic() - begun < 15
            assert pending == {"status": "pending", "escalation_id": "esc_m1", "release": False}
            assert [(total, words) for _, total, words in told] == [(6.0, "waiting for a reviewer")]
            looked = await said(client.call_tool("get_review", {"escalation_id": "esc_m1"}))
            assert looked["status"] == "queued"
            assert "release" not in looked
            waiting = asyncio.ensure_future(awaited(client, "m1"))
            await asyncio.to_thread(room.decide, "m1")
            decided = await waiting
            assert (decided["status"], decided["outcome"], decided["release"]) == (
                "decided",
                "approved",
                True,
            )
            assert decided["release_id"]
            assert (await awaited(client, "m1"))["code"] == "already_released"
            assert (await asked(client, "m1"))["code"] == "already_released"
        assert len(room.commits("raise esc_m1")) == len(room.commits("release esc_m1")) == 1

    run(work)


def test_each_outcome_has_its_answer(room: Room) -> None:
    async def work() -> None:
        async with agent(room) as client:
            names = ("d1", "d2", "d3", "d4", "d5")
            begun = await asyncio.gather(*(asked(client, name, hold=3) for name in names))
            assert {one["status"] for one in begun} == {"pending"}
            assert (await asked(client, "d1", hold=0))["status"] == "pending"
            smaller = {"amount": 10, "to": "bob"}
            await asyncio.to_thread(room.decide, "d1", outcome="denied")
            await asyncio.to_thread(room.decide, "d2", "d3", outcome="rewritten", amendment=smaller)
            denied = await awaited(client, "d1")
            assert (denied["status"], denied["outcome"], denied["release"]) == ("decided", "denied", False)
            assert (await awaited(client, "d2"))["code"] == "amended"
            amended = await awaited(client, "d2", amended=True)
            assert amended["release"]
            assert amended["amendment"]["value"] == smaller
            assert (await asked(client, "d3", amended=True))["amendment"]["value"] == smaller
            taken = await said(
                client.call_tool("withdraw_review", {"escalation_id": "esc_d4", "reason": "not needed"})
            )
            assert taken["changed"]
            withdrawn = await awaited(client, "d4")
            assert (withdrawn["outcome"], withdrawn["release"]) == ("withdrawn", False)
            # What was approved is these arguments, and no others.
            await asyncio.to_thread(room.decide, "d5")
            assert (await awaited(client, "d5", input={"amount": 101}))["code"] == "other_action"
            assert (await asked(client, "d5", input={"amount": 101}))["code"] == "different_content"
            assert (await awaited(client, "d5"))["release"] is True
            listed = await said(client.call_tool("list_reviews", {"status": "resolved", "limit": 200}))
            shown = {one["escalation_id"]: one["outcome"] for one in listed["reviews"]}
            assert shown["esc_d1"] == "denied"
            assert shown["esc_d4"] == "withdrawn"

    run(work)


def test_the_server_is_killed_while_it_holds_and_the_next_one_finds_the_decision(room: Room) -> None:
    async def work() -> None:
        async with agent(room) as client:
            waiting = asyncio.ensure_future(asked(client, "k1"))
            while not await asyncio.to_thread(room.commits, "raise esc_k1"):
                await asyncio.sleep(0.1)
            begun = time.monotonic()
        # The agent has gone: its server ends by itself, at once.
        assert time.monotonic() - begun < 2
        with pytest.raises(Exception, match=r".+"):
            await waiting
        await asyncio.to_thread(room.decide, "k1")
        async with agent(room) as client:
            assert (await asked(client, "k1"))["release"] is True
        assert len(room.commits("raise esc_k1")) == len(room.commits("release esc_k1")) == 1

    run(work)


def test_what_is_wrong_says_what_and_names_nothing_of_the_machine(room: Room) -> None:
    async def work() -> None:
        async with agent(room) as client:
            assert (await awaited(client, "nothing"))["code"] == "not_found"
            assert (await asked(client, "w1", reason_code="no word"))["code"] == "bad_input"
            assert (await asked(client, "w2", input={"amount": 2**60}))["code"] == "bad_input"
            with room.away():
                away = await asked(client, "w3")
            assert away["code"] in ("remote_unreachable", "outcome_unknown")
            assert str(room.folder) not in json.dumps(away)
            # Without an id the same call of the same agent is the same request.
            given = {"tool": "refund", "input": REFUND, "hold": 2}
            first = await said(client.call_tool("request_review", given))
            again = await said(client.call_tool("request_review", given))
            assert first == again
            assert first["status"] == "pending"
            other = await said(client.call_tool("request_review", {**given, "input": {"amount": 1}}))
            assert other["escalation_id"] != first["escalation_id"]

    run(work)
    assert "Traceback" not in Path(room.folder / "mcp.log").read_text()


def test_what_no_tool_takes_is_refused_in_one_line(room: Room) -> None:
    async def work() -> None:
        async with agent(room) as client:
            for name, given, wrong in (
                ("get_review", {"escalation_id": 5}, "escalation_id: must be text"),
                ("get_review", {}, "escalation_id: is missing"),
                ("list_reviews", {"limit": -1}, "limit: must be at least 1"),
                ("request_review", {"tool": "t", "input": []}, "input: must be a mapping"),
                ("decide_review", {}, "there is no tool 'decide_review'"),
            ):
                found = await said(client.call_tool(name, given))
                assert found["code"] == "bad_input"
                assert found["message"].startswith(wrong)

    run(work)


def test_a_line_that_is_no_message_is_answered(room: Room) -> None:
    def line(number: int, method: str, **params: Any) -> bytes:
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        return json.dumps(message).encode() + b"\n"

    given = {"tool": "t", "input": {"text": "half of it: \ud83d"}, "hold": 0}
    lines = [
        line(
            1,
            "initialize",
            protocolVersion="2025-06-18",
            capabilities={},
            clientInfo={"name": "raw", "version": "1"},
        ),
        line(2, "tools/call", name="request_review", arguments=given),
        b"{\n",
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
    ]
    args = [sys.executable, "-m", "kt_escalation", "gateway", "mcp", "-C", str(room.gw)]
    done = subprocess.run(
        [*args, "--journal", str(room.folder / "journal-raw")],
        input=b"".join(lines),
        capture_output=True,
        timeout=60,
    )
    answers = [json.loads(answer) for answer in done.stdout.splitlines()]
    assert [(one["id"], one.get("error", {}).get("code")) for one in answers] == [
        (1, None),
        (2, -32700),
        (None, -32700),
        (None, -32700),
        (None, -32700),
    ]
    assert done.returncode == 0


def test_without_stdin_it_says_so(room: Room) -> None:
    command = (
        f"exec {shlex.quote(sys.executable)} -m kt_escalation gateway mcp -C {shlex.quote(str(room.gw))} <&-"
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kt: stdin is closed")
