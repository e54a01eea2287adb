"""What the adapters make of the vendors' JSON, and how calls are decided, without the vendors' packages."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from lab import kt_gateway
from room import Room

from kt_escalation.adapters import langchain, openai_agents, steps
from kt_escalation.adapters import litellm_calls as litellm
from kt_escalation.adapters.calls import Call, CallVerdict, decide
from kt_escalation.errors import AlreadyReleased, BadInput, MissingExtra, WaitTimeout
from kt_escalation.gateway import AsyncGateway, Gateway, contracts, tool_calls

ARGS = {"amount": 100, "to": "bob"}
KEY = contracts.key_of("secret")


def verdict(outcome: str = "approved", arguments: Any = ARGS) -> CallVerdict:
    return CallVerdict("esc_1", outcome, outcome != "denied", arguments, "so it is")


# --- ids and drafts ---------------------------------------------------------------------------------


def test_the_same_call_of_the_same_caller_is_the_same_request() -> None:
    def made(caller: str = "a", arguments: Any = ARGS, **more: Any) -> dict[str, Any]:
        return tool_calls.draft_of("refund", arguments, caller=caller, **more)

    assert made() == made()
    assert made()["request_id"] != made("b")["request_id"]
    assert made()["request_id"] != made(arguments={**ARGS, "amount": 1})["request_id"]
    assert made(request_id="mine")["request_id"] == "mine"
    assert made()["event_context"] == {"input": ARGS}
    assert "event_context" not in made(show=False)
    with pytest.raises(BadInput, match="refund"):
        made(arguments={"amount": 2**60})


def test_a_description_that_may_hold_arguments_is_shown_only_with_them() -> None:
    shown = Call("refund", ARGS, "r1", "Refund\n100 to bob")
    assert shown.draft()["event_context"]["description"] == "Refund\n100 to bob"
    hidden = Call("refund", ARGS, "r1", "Refund\n100 to bob", show=False).draft()
    assert "bob" not in str(hidden)


# --- LangChain --------------------------------------------------------------------------------------


def batch(*allowed: str) -> dict[str, Any]:
    return {
        "action_requests": [
            {"name": "refund", "args": ARGS, "description": "d"},
            {"name": "refund", "args": {"amount": 1}},
        ],
        "review_configs": [{"action_name": "refund", "allowed_decisions": list(allowed)}],
    }


def test_the_middleware_of_langchain_is_answered_action_by_action() -> None:
    asked = batch("approve", "edit", "reject")
    assert langchain.calls_of(asked) == [("refund", ARGS, "d"), ("refund", {"amount": 1}, None)]
    assert langchain.answer_of(asked, [verdict("rewritten", {"amount": 2}), verdict("denied")]) == {
        "decisions": [
            {"type": "edit", "edited_action": {"name": "refund", "args": {"amount": 2}}},
            {"type": "reject", "message": "denied: so it is"},
        ]
    }
    [call] = langchain.calls_of(
        {"type": "tool_approval", "name": "refund", "args": ARGS, "tool_call_id": "1"}
    )
    assert call == ("refund", ARGS, None)
    assert langchain.answer_of({"type": "tool_approval", "name": "x"}, [verdict()]) == {"type": "approve"}
    [(name, value, _)] = langchain.calls_of("Shall I?")
    assert (name, value) == ("interrupt", "Shall I?")
    answer = langchain.answer_of("Shall I?", [verdict("rewritten", "You shall")])
    assert (answer["release"], answer["value"]) == (True, "You shall")


@pytest.mark.parametrize(
    ("found", "allowed"),
    [
        (verdict("rewritten", {"amount": 1}), ("approve", "reject")),
        (verdict("rewritten", "a text"), ("approve", "edit", "reject")),
        (verdict(), ("edit", "reject")),
        (verdict("denied"), ("approve", "edit", "reject")),
    ],
)
def test_what_a_tool_does_not_allow_is_rejected(found: CallVerdict, allowed: tuple[str, ...]) -> None:
    assert langchain.decision_of("refund", found, allowed)["type"] == "reject"


def test_a_tool_that_nobody_could_refuse_is_not_asked_about() -> None:
    with pytest.raises(BadInput, match="does not allow reject"):
        langchain.calls_of(batch("approve", "edit"))


# --- OpenAI Agents ----------------------------------------------------------------------------------


def test_calls_of_openai_agents_are_read_or_refused() -> None:
    item = SimpleNamespace(name="refund", arguments='{"amount": 100, "to": "bob"}', call_id="c1")
    assert openai_agents.calls_of([item]) == [("refund", ARGS, "c1")]
    for wrong in ({"arguments": None}, {"arguments": "{"}, {"name": None}, {"call_id": None}):
        with pytest.raises(BadInput):
            openai_agents.calls_of([SimpleNamespace(**{**vars(item), **wrong})])
    assert openai_agents.rejection_of(verdict("denied")) == "Not run. denied: so it is"
    assert '{"amount": 1}' in openai_agents.rejection_of(verdict("rewritten", {"amount": 1}))


# --- LiteLLM ----------------------------------------------------------------------------------------


def drafted(headers: dict[str, str], data: dict[str, Any] | None = None, kind: str = "request") -> Any:
    body = litellm.body_of({"texts": ["Greet bob"], "model": "gpt"}, data or {}, kind)
    return litellm.draft_of(body, headers, data or {}, KEY, 5)


def test_ids_of_litellm_come_from_the_header_or_from_caller_and_content() -> None:
    assert drafted({"x-request-id": "r1", "idempotency-key": "k1"})["request_id"] == "r1"
    assert drafted({"idempotency-key": "k1"})["request_id"] == "k1"
    assert drafted({})["request_id"] == drafted({})["request_id"]
    other = {"metadata": {"user_api_key_hash": "somebody"}}
    assert drafted({}, other)["request_id"] != drafted({})["request_id"]
    assert drafted({"x-request-id": "r1"}, kind="response")["request_id"].startswith("r1:response:")
    answers = [
        drafted({}, {"messages": [{"role": "user", "content": text}]}, "response")["request_id"]
        for text in ("Greet bob", "Greet bob", "Greet al")
    ]
    assert answers[0] == answers[1] != answers[2]
    callers = [
        contracts.litellm_caller(one)
        for one in ({}, None, {"user_api_key_hash": "5f"}, {"user_api_key_end_user_id": "5f"})
    ]
    assert callers[0] == callers[1]
    assert len({*map(str, callers)}) == 3
    several = {"prompt": ["Greet bob", "Greet al"]}
    assert drafted({"x-request-id": "r1"}, several)["request_id"].startswith("r1:request:")
    draft = drafted({"x-request-id": "r1"})
    assert draft["event_context"]["excerpt"] == "Greet"
    assert "bob" not in str(draft)


def test_litellm_keeps_headers_in_many_places() -> None:
    place = {"headers": {"X-Request-Id": "r1"}}
    for data in ({"proxy_server_request": place}, {"metadata": place}, {"litellm_metadata": place}):
        assert litellm.headers_of(data) == {"x-request-id": "r1"}
    logging = SimpleNamespace(model_call_details={"litellm_params": {"metadata": place}})
    assert litellm.headers_of({}, logging) == {"x-request-id": "r1"}
    assert litellm.headers_of({"metadata": None}) == {}


def test_what_litellm_hands_over_is_json_or_refused() -> None:
    class Tool:
        def model_dump(self, *, mode: str) -> dict[str, str]:
            return {"mode": mode}

    found = litellm.body_of({"texts": [], "tool_calls": [Tool()]}, {"model": "m"}, "response")
    assert found == {"texts": [], "tool_calls": [{"mode": "json"}], "model": "m", "input_type": "response"}
    with pytest.raises(BadInput):
        litellm.body_of({"texts": [object()]}, {}, "request")
    assert litellm.is_stream({"stream": True})
    assert litellm.is_stream({}, SimpleNamespace(stream=True))
    assert not litellm.is_stream({}, SimpleNamespace(model_call_details={}))


@pytest.mark.parametrize("ends", ["http.disconnect", "answer"])
def test_a_caller_who_has_gone_is_heard_and_one_who_was_answered_has_not_gone(
    monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """As servers tell it: a request in two parts, then nothing until the caller goes or has the answer."""
    found: list[bool] = []

    async def app(_: Any, receive: Any, send: Any) -> None:
        gone = asyncio.ensure_future(litellm.caller_gone())
        await asyncio.sleep(0.01)
        # It takes no part of the request from whoever reads that.
        assert [(await receive())["body"] for _ in range(2)] == [b"a", b"b"]
        assert not gone.done()
        if ends == "answer":
            await send({"type": "http.response.body", "body": b""})
        over.set()
        await asyncio.sleep(0.05)
        found.append(gone.done())
        gone.cancel()

    parts = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b"},
    ]
    over = asyncio.Event()

    async def receive() -> Any:
        if parts:
            return parts.pop(0)
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        return

    server = SimpleNamespace(app=SimpleNamespace(middleware_stack=app))
    monkeypatch.setitem(sys.modules, "litellm.proxy.proxy_server", server)
    for _ in range(2):
        litellm.listen_to_callers()
    asyncio.run(server.app.middleware_stack({"type": "http"}, receive, send))
    assert found == [ends == "http.disconnect"]


# --- deciding ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(room: Room) -> Iterator[Gateway]:
    with Gateway.open(room.gw, journal_folder=room.folder / "journal") as made:
        yield made


def asked(*names: str) -> list[Call]:
    return [Call("refund", ARGS, name, reason_code="tool.call") for name in names]


def test_calls_are_raised_together_and_taken_only_when_all_are_decided(room: Room, gateway: Gateway) -> None:
    with pytest.raises(WaitTimeout):
        steps.run(decide(gateway, asked("a1", "a2", "a3"), 2))
    assert len(room.commits("raise esc_a1")) == 1
    room.decide("a1")
    with pytest.raises(WaitTimeout):
        steps.run(decide(gateway, asked("a1", "a2", "a3"), 2))
    assert not room.commits("release")
    with ThreadPoolExecutor(1) as pool:
        deciding = pool.submit(steps.run, decide(gateway, asked("a1", "a2", "a3"), 60))
        room.decide("a2", outcome="denied")
        room.decide("a3", outcome="rewritten", amendment={"amount": 1})
        first, second, third = deciding.result(60)
    assert (first.release, first.arguments, second.release) == (True, ARGS, False)
    assert (third.release, third.arguments, third.is_amended) == (True, {"amount": 1}, True)
    assert first.release_id
    assert third.release_id
    # Nobody is given it again, unless the one who had it is dead.
    with pytest.raises(AlreadyReleased):
        steps.run(decide(gateway, asked("a1", "a2", "a3"), 60))
    again = steps.run(decide(gateway, asked("a1", "a2", "a3"), 60, again=True))
    assert again == [first, second, third]
    assert len(room.commits("release esc_a1")) == 1


def test_what_another_gateway_had_is_given_to_nobody_again(room: Room, gateway: Gateway) -> None:
    """Its journal says whose it was, and not the name in the release, which is the same here."""
    with Gateway.open(room.clone("replica", who="gw"), journal_folder=room.folder / "other") as replica:
        with ThreadPoolExecutor(1) as pool:
            deciding = pool.submit(steps.run, decide(replica, asked("d1"), 60))
            while not room.commits("raise esc_d1"):
                continue
            room.decide("d1")
            [had] = deciding.result(60)
        assert replica.gave("esc_d1") == had.release_id
    with pytest.raises(AlreadyReleased):
        steps.run(decide(gateway, asked("d1"), 60, again=True))
    assert gateway.gave("esc_d1") is None
    assert len(room.commits("release esc_d1")) == 1


def test_who_cannot_amend_takes_nothing_that_is_amended(room: Room, gateway: Gateway) -> None:
    with ThreadPoolExecutor(1) as pool:
        deciding = pool.submit(steps.run, decide(gateway, asked("b1"), 60, amends=False))
        while not room.commits("raise esc_b1"):
            continue
        room.decide("b1", outcome="rewritten", amendment={"amount": 1})
        [found] = deciding.result(60)
    assert (found.release, found.arguments) == (False, {"amount": 1})
    assert not room.commits("release esc_b1")


def test_each_kind_of_gateway_has_its_own_way(room: Room, gateway: Gateway) -> None:
    async def work() -> None:
        with pytest.raises(BadInput, match="AsyncGateway"):
            await steps.run_async(decide(gateway, asked("c1"), 1))
        async with AsyncGateway.open(room.gw, journal_folder=room.folder / "journal") as opened:
            with pytest.raises(BadInput, match="asyncio"):
                steps.run(decide(opened, asked("c1"), 1))
            with pytest.raises(WaitTimeout):
                await steps.run_async(decide(opened, asked("c1"), 1))
            listed = await opened.list(request_id="c1")
            assert [one.escalation_id for one in listed.records] == ["esc_c1"]

    asyncio.run(work())


# --- what is missing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("litellm.integrations.custom_guardrail", "litellm"),
        ("langgraph.types", "langgraph"),
        ("agents", "openai-agents"),
    ],
)
def test_an_sdk_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(MissingExtra, match=rf"\[{extra}\]"):
        import_module("kt_escalation.adapters").sdk(module, extra)


def test_mcp_that_is_not_installed_is_named(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    monkeypatch.delitem(sys.modules, "kt_escalation.gateway.mcp", raising=False)
    ran = kt_gateway("mcp", cwd=room.gw)
    assert ran.code == 2
    assert "gateway mcp needs mcp" in ran.err
    assert "[mcp]" in ran.err
