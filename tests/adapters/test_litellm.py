"""`KtGuardrail` in LiteLLM's real proxy, driven by OpenAI's real client over loopback."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from proxies import Model, Proxy, decide
from room import Room

NUMBERS = itertools.count()
AMENDED = {"request": {"texts": ["Greet al"]}, "response": {"texts": ["Hello al"]}}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = Room(tmp_path_factory.mktemp("room"))
    policy = made.folder / "boss"
    made.clone("boss")
    settings = policy / "policies/settings.yaml"
    settings.write_text(
        settings.read_text()
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


@pytest.fixture(scope="module")
def proxy(room: Room, model: Model) -> Iterator[Proxy]:
    made = Proxy(
        room.folder,
        model,
        {
            "guardrail": "kt_escalation.adapters.litellm.KtGuardrail",
            "mode": ["pre_call", "post_call"],
            "default_on": True,
            "api_key": "a-secret-of-the-tests",
            "kt_store": str(room.gw),
            "kt_journal": str(room.folder / "journal"),
            "kt_hold": 20,
        },
    )
    yield made
    assert made.end() < 15


#: What callers got of streams, by their request's id, also of those that ended in an error.
HEARD: dict[str, str] = {}


def heard(name: str, pieces: Iterable[str]) -> str:
    HEARD[name] = ""
    for piece in pieces:
        HEARD[name] += piece
    return HEARD[name]


def chat(client: openai.OpenAI, name: str, stream: bool) -> str:
    """What a chat gets."""
    found: Any = client.chat.completions.create(
        model="mock",
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
