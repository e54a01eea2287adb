"""`KtGuardrail` in LiteLLM's real proxy, driven by OpenAI's real client over loopback."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import openai
import pytest
from proxies import Model, Proxy, asked, decide
from room import Room

from kt_escalation import Store

NUMBERS = itertools.count()
#: What is asked of this model expires after some seconds.
SOON = "mock-soon"
AMENDED = {"request": {"texts": ["Greet al"]}, "response": {"texts": ["Hello al"]}}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = Room(tmp_path_factory.mktemp("room"))
    policy = made.folder / "boss"
    made.clone("boss")
    settings = policy / "policies/settings.yaml"
    settings.write_text(
        settings.read_text()
        + f"  - match: {{model: {SOON}}}\n    single_use: true\n    resolve_within: 8s\n"
        + "  - match: {reason_code: gateway.review}\n    single_use: true\n    valid_for: 15m\n"
    )
    from lab import git

    git("commit", "--quiet", "--all", "-m", "settings for LiteLLM", cwd=policy)
    git("push", "--quiet", cwd=policy)
    with made.alice:
        yield made


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.server.shutdown()
    made.server.server_close()


def guard(room: Room, **more: Any) -> dict[str, Any]:
    """What a proxy is told about `KtGuardrail`."""
    return {
        "guardrail": "kt_escalation.adapters.litellm.KtGuardrail",
        "mode": ["pre_call", "post_call"],
        "default_on": True,
        "api_key": "a-secret-of-the-tests",
        "kt_store": str(room.gw),
        "kt_journal": str(room.folder / "journal"),
        "kt_hold": 20,
        "kt_on_cancel": "withdraw",
        **more,
    }


@pytest.fixture(scope="module")
def proxy(room: Room, model: Model) -> Iterator[Proxy]:
    made = Proxy(room.folder, model, guard(room))
    yield made
    assert made.end() < 15


#: What callers got of streams, by their request's id, also of those that ended in an error.
HEARD: dict[str, str] = {}


def heard(name: str, pieces: Iterable[str]) -> str:
    HEARD[name] = ""
    for piece in pieces:
        HEARD[name] += piece
    return HEARD[name]


def chat(client: openai.OpenAI, name: str, stream: bool, model: str = "mock") -> str:
    """What a chat gets."""
    found: Any = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": [{"type": "text", "text": "Greet bob"}]}],
        stream=stream,
        extra_headers={"x-request-id": name},
    )
    if not stream:
        return str(found.choices[0].message.content)
    return heard(name, (one.choices[0].delta.content or "" for one in found if one.choices))


def completion(client: openai.OpenAI, name: str, stream: bool) -> str:
    """What a completion of a prompt gets."""
    found: Any = client.completions.create(
        model="mock-text", prompt="Greet bob", stream=stream, extra_headers={"x-request-id": name}
    )
    return heard(name, (one.choices[0].text or "" for one in found)) if stream else str(found.choices[0].text)


def responses(client: openai.OpenAI, name: str, stream: bool) -> str:
    """What a request of the newer API gets."""
    found: Any = client.responses.create(
        model="mock", input="Greet bob", stream=stream, extra_headers={"x-request-id": name}
    )
    if not stream:
        return str(found.output_text)

    def pieces() -> Iterator[str]:
        for one in found:
            if one.type == "response.failed":
                # OpenAI's client hands this event on, and leaves it to its caller.
                raise openai.OpenAIError(one.response.error.message)
            if one.type == "response.output_text.delta":
                yield one.delta

    return heard(name, pieces())


def is_for(name: str, kind: str) -> Callable[[Any], bool]:
    return lambda record: (
        record.request_id == name
        if kind == "request"
        else str(record.request_id).startswith(f"{name}:{kind}:")
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["request", "response"])
@pytest.mark.parametrize("outcome", ["approved", "rewritten", "redacted", "denied"])
@pytest.mark.parametrize("call", [chat, completion, responses])
def test_each_outcome(
    room: Room, model: Model, proxy: Proxy, call: Any, outcome: str, kind: str, stream: bool
) -> None:
    name, before = f"litellm_{next(NUMBERS)}", len(model.asked)
    if call is completion and stream:
        # LiteLLM would send this answer without asking its guardrails.
        with pytest.raises(openai.BadRequestError, match="cannot be held"):
            call(proxy.client(), name, stream)
        assert len(model.asked) == before
        return
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(call, proxy.client(), name, stream)
        amendment = AMENDED[kind] if outcome in ("rewritten", "redacted") else None
        if kind == "response":
            decide(room, is_for(name, "request"), "approved", calling=calling)
        decide(room, is_for(name, kind), outcome, amendment, calling)
        blocked = outcome == "denied" or (amendment is not None and kind == "response" and stream)
        if kind == "request" and not blocked:
            decide(room, is_for(name, "response"), "approved", calling=calling)
        if blocked:
            with pytest.raises(openai.OpenAIError) as error:
                calling.result(60)
            assert "Hello" not in str(error.value) and not HEARD.get(name)
        else:
            expected = "Hello al" if kind == "response" and amendment else "Hello bob"
            assert calling.result(60) == expected
    asked = model.asked[before:]
    assert len(asked) == (0 if kind == "request" and blocked else 1)
    if kind == "request" and not blocked:
        assert ("Greet al" if amendment else "Greet bob") in str(asked)
    names = dict.fromkeys(("request", "response"), 1)
    assert all(len(room.commits(f"release esc_{name}")) <= count for count in names.values())


def test_the_proxy_is_killed_while_it_holds_and_the_retried_request_finds_its_decision(
    room: Room, model: Model, proxy: Proxy
) -> None:
    before = len(model.asked)
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(chat, proxy.client(), "killed_1", False)
        proxy.until(lambda: room.commits("raise esc_killed_1"))
        proxy.end(signal.SIGKILL)
        with pytest.raises(openai.APIConnectionError):
            calling.result(30)
        decide(room, is_for("killed_1", "request"), "approved")
        proxy.start()
        calling = pool.submit(chat, proxy.client(), "killed_1", False)
        decide(room, is_for("killed_1", "response"), "approved")
        assert calling.result(60) == "Hello bob"
    assert len(model.asked) == before + 1
    assert len(room.commits("raise esc_killed_1")) == len(room.commits("release esc_killed_1")) == 1
    with pytest.raises(openai.APIStatusError) as error:
        chat(proxy.client(), "killed_1", False)
    assert error.value.status_code == 409 and "already_released" in str(error.value)
    assert len(model.asked) == before + 1


def test_what_nobody_decides_in_time_is_409_and_a_client_that_tries_again_has_one_escalation(
    room: Room, model: Model, proxy: Proxy
) -> None:
    before = len(model.asked)
    with room.away(), pytest.raises(openai.APIStatusError) as away:
        chat(proxy.client(), "away_1", False)
    assert away.value.status_code == 503 and str(room.folder) not in str(away.value)
    with pytest.raises(openai.APIStatusError) as error:
        chat(proxy.client(), "late_1", False)
    assert error.value.status_code == 409 and error.value.response.headers["retry-after"] == "5"
    assert "esc_late_1" in str(error.value)
    assert len(model.asked) == before
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(chat, proxy.client(max_retries=2), "late_1", False)
        decide(room, is_for("late_1", "request"), "approved")
        decide(room, is_for("late_1", "response"), "approved")
        assert calling.result(60) == "Hello bob"
    assert len(room.commits("raise esc_late_1")) == 1


@pytest.mark.parametrize("outcome", ["expired", "withdrawn"])
def test_what_nobody_decides_is_not_sent(room: Room, model: Model, proxy: Proxy, outcome: str) -> None:
    before = len(model.asked)
    cases = {
        f"{outcome}_{kind}_{stream}".lower(): (kind, stream) for kind in AMENDED for stream in (False, True)
    }
    with ThreadPoolExecutor(len(cases)) as pool, Store.open(room.gw, follow_checkout=False) as gateway:
        calling = {
            name: pool.submit(chat, proxy.client(), name, stream, SOON if outcome == "expired" else "mock")
            for name, (_, stream) in cases.items()
        }
        for name, (kind, _) in cases.items():
            if kind == "response":
                decide(room, is_for(name, "request"), "approved", calling=calling[name])
        if outcome == "withdrawn":
            for name, (kind, _) in cases.items():
                gateway.withdraw(asked(room, is_for(name, kind), calling[name]), "nobody asks any more")
        for name, (_, stream) in cases.items():
            with pytest.raises(openai.OpenAIError) as error:
                calling[name].result(60)
            assert stream or outcome in str(error.value)
            assert "Hello" not in str(error.value) and not HEARD.get(name)
            assert not isinstance(error.value, openai.APIConnectionError)
    assert len(model.asked) == before + 2
    found = [
        one
        for one in room.alice.list(fetch=True).records
        if one.resolution and outcome in str(one.request_id)
    ]
    assert [one.resolution.outcome for one in found if one.resolution].count(outcome) == len(cases)


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_is_not_called_for_a_caller_who_has_gone(
    room: Room, model: Model, proxy: Proxy, stream: bool
) -> None:
    name, before = f"gone_{stream}".lower(), len(model.asked)
    with pytest.raises(openai.APITimeoutError):
        chat(proxy.client(timeout=4), name, stream)
    proxy.until(lambda: room.commits(f"withdraw esc_{name}"))
    assert len(model.asked) == before
    # The same request asks nobody again, and is told so.
    with pytest.raises(openai.PermissionDeniedError, match="withdrawn"):
        chat(proxy.client(), name, stream)
    assert len(model.asked) == before


def test_a_retried_request_without_an_id_finds_its_decision(room: Room, model: Model, proxy: Proxy) -> None:
    before, raised = len(model.asked), len(room.commits("raise"))
    known = {one.escalation_id for one in room.alice.list(fetch=True).records}

    def ask() -> str:
        said = [{"role": "user", "content": "Greet carol"}]
        found: Any = proxy.client(max_retries=3).chat.completions.create(model="mock", messages=said)
        return str(found.choices[0].message.content)

    def is_new(kind: str) -> Callable[[Any], bool]:
        return lambda one: one.escalation_id not in known and one.action.kind == f"model.{kind}"

    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(ask)
        asked(room, is_new("request"), calling)
        proxy.end(signal.SIGKILL)
        decide(room, is_new("request"), "approved")
        proxy.start()
        with suppress(openai.APIConnectionError):
            calling.result(60)
        calling = pool.submit(ask)
        decide(room, is_new("response"), "approved", calling=calling)
        assert calling.result(60) == "Hello bob"
    assert len(model.asked) == before + 1 and len(room.commits("raise")) == raised + 2
