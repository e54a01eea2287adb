"""`KtGuardrail` in LiteLLM's real proxy, driven by OpenAI's real client over loopback."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from proxies import Model, Proxy, asked, decide
from room import Room

from kt_escalation import Store

#: What is asked of this model expires after some seconds.
SOON = "mock-soon"
AMENDED = {"request": {"texts": ["Greet al"]}, "response": {"texts": ["Hello al"]}}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = Room(tmp_path_factory.mktemp("room"))
    policy = made.folder / "boss"
    made.clone("boss")
    settings = policy / "policies/settings.yaml"
    rules = [
        (f"{{model: {SOON}}}", "resolve_within: 8s"),
        (f"{{model: {SOON}-text}}", "resolve_within: 8s"),
        ("{reason_code: gateway.review}", "valid_for: 15m"),
    ]
    with settings.open("a") as file:
        file.writelines(f"  - match: {match}\n    single_use: true\n    {more}\n" for match, more in rules)
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
        "kt_hold": 60,
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
        messages=[{"role": "user", "content": [{"type": "text", "text": f"Greet bob ({name})"}]}],
        stream=stream,
        extra_headers={"x-request-id": name},
    )
    if not stream:
        return str(found.choices[0].message.content)
    return heard(name, (one.choices[0].delta.content or "" for one in found if one.choices))


def completion(client: openai.OpenAI, name: str, stream: bool, model: str = "mock") -> str:
    """What a completion of a prompt gets."""
    found: Any = client.completions.create(
        model=f"{model}-text",
        prompt=f"Greet bob ({name})",
        stream=stream,
        extra_headers={"x-request-id": name},
    )
    return heard(name, (one.choices[0].text or "" for one in found)) if stream else str(found.choices[0].text)


def responses(client: openai.OpenAI, name: str, stream: bool, model: str = "mock") -> str:
    """What a request of the newer API gets."""
    found: Any = client.responses.create(
        model=model, input=f"Greet bob ({name})", stream=stream, extra_headers={"x-request-id": name}
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


def made(proxy: Proxy, call: Any, name: str, stream: bool, model: str = "mock", **more: Any) -> str:
    """What a call gets on a connection of its own."""
    with proxy.client(**more) as client:
        return str(call(client, name, stream, model))


def is_for(name: str, kind: str) -> Callable[[Any], bool]:
    """Whether a record, or a request's id, is about the request of a call or about its response."""

    def matches(found: Any) -> bool:
        asks = str(getattr(found, "request_id", found))
        return asks == name if kind == "request" else asks.startswith(f"{name}:{kind}:")

    return matches


@dataclass(frozen=True)
class Case:
    """What becomes of a call: people say ``outcome`` to its request or to its response, and approve the other."""

    outcome: str
    kind: str
    stream: bool
    #: Whether this guardrail can send what a reviewer wrote in place of an answer that is no stream.
    amends: bool

    @property
    def is_amended(self) -> bool:
        return self.outcome in ("rewritten", "redacted")

    @property
    def is_sent(self) -> bool:
        """Whether the caller gets an answer of the model's."""
        if self.is_amended:
            return self.kind == "request" or (self.amends and not self.stream)
        return self.outcome == "approved"

    @property
    def answer(self) -> str:
        return "Hello al" if self.is_amended and self.kind == "response" else "Hello bob"

    def says(self, kind: str) -> str:
        return self.outcome if kind == self.kind else "approved"


OUTCOMES = ("approved", "rewritten", "redacted", "denied", "expired", "withdrawn")


def cases_of(prefix: str, kind: str, *, amends: bool) -> dict[str, Case]:
    """Every outcome of a request or of a response, as a stream and not."""
    return {
        f"{prefix}_{outcome}_{kind}_{stream}".lower(): Case(outcome, kind, stream, amends)
        for outcome in OUTCOMES
        for stream in (False, True)
    }


def played(room: Room, proxy: Proxy, call: Any, cases: Mapping[str, Case]) -> dict[str, str | Exception]:
    """Make all calls at once, while people decide; what each got, or its error."""
    with ThreadPoolExecutor(len(cases)) as pool, Store.open(room.gw, follow_checkout=False) as gateway:
        calling = {
            # As clients of OpenAI's do, they ask again where nobody has decided in time.
            name: pool.submit(
                made,
                proxy,
                call,
                name,
                case.stream,
                SOON if case.outcome == "expired" else "mock",
                max_retries=2,
                timeout=120,
            )
            for name, case in cases.items()
        }
        while not all(one.done() for one in calling.values()):
            wanted: dict[tuple[str, str], list[str]] = {}
            for one in room.alice.list(status="queued", fetch=True).records:
                name, colon, _ = str(one.request_id).partition(":")
                kind = "response" if colon else "request"
                if name in cases:
                    wanted.setdefault((cases[name].says(kind), kind), []).append(one.escalation_id)
            for (outcome, kind), names in wanted.items():
                if outcome == "withdrawn":
                    for one in names:
                        gateway.withdraw(one, "nobody asks any more")
                elif outcome != "expired":
                    room.alice.claim_many(names)
                    amendment = AMENDED[kind] if outcome in ("rewritten", "redacted") else None
                    room.alice.resolve_many(names, outcome, "so it is", amendment=amendment)
            time.sleep(0.1)
    found = {name: one.exception() or one.result() for name, one in calling.items()}
    return {name: one if isinstance(one, Exception) else str(one) for name, one in found.items()}


def require_outcomes(room: Room, proxy: Proxy, model: Model, call: Any, cases: Mapping[str, Case]) -> None:
    """Hold what every caller gets, what the model was asked, and what was released to the cases."""
    before = len(model.asked)
    for name, got in played(room, proxy, call, cases).items():
        case = cases[name]
        if case.is_sent:
            assert got == case.answer, (name, got)
            continue
        assert isinstance(got, openai.OpenAIError), (
            name,
            got,
        )
        assert not isinstance(got, openai.APIConnectionError), (
            name,
            got,
        )
        assert "Hello" not in str(got), (name, got, HEARD.get(name))
        assert not HEARD.get(name), (name, got, HEARD.get(name))
    asked = [str(one) for one in model.asked[before:]]
    passed = [case for case in cases.values() if case.kind == "response" or case.is_sent]
    assert len(asked) == len(passed)
    amended = sum(case.is_amended and case.kind == "request" for case in passed)
    assert sum("Greet al" in one for one in asked) == amended
    for name, case in cases.items():
        original = any(f"({name})" in one for one in asked)
        assert original is (case in passed and not (case.is_amended and case.kind == "request")), name
        assert len(room.commits(f"release esc_{name}")) <= 1
    found = {
        one.request_id: one.resolution
        for one in room.alice.list(status="resolved", limit=0, fetch=True).records
    }
    for name, case in cases.items():
        [resolution] = [end for asks, end in found.items() if is_for(name, case.kind)(asks)]
        assert resolution is not None, name
        assert resolution.outcome == case.outcome, name


@pytest.mark.parametrize("kind", AMENDED)
@pytest.mark.parametrize("call", [chat, responses])
def test_each_outcome(room: Room, model: Model, proxy: Proxy, call: Any, kind: str) -> None:
    require_outcomes(room, proxy, model, call, cases_of(f"litellm_{call.__name__}", kind, amends=True))


@pytest.mark.parametrize("kind", AMENDED)
def test_each_outcome_of_completions(room: Room, model: Model, proxy: Proxy, kind: str) -> None:
    cases = cases_of("litellm_text", kind, amends=True)
    streams = {name: case for name, case in cases.items() if case.stream}
    require_outcomes(
        room, proxy, model, completion, {name: cases[name] for name in cases if name not in streams}
    )
    before = len(model.asked)
    # LiteLLM would send these answers without asking its guardrails.
    for name in streams:
        with pytest.raises(openai.BadRequestError, match="cannot be held"):
            made(proxy, completion, name, True)
    assert len(model.asked) == before


def test_the_proxy_is_killed_while_it_holds_and_the_retried_request_finds_its_decision(
    room: Room, model: Model, proxy: Proxy
) -> None:
    before = len(model.asked)
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(made, proxy, chat, "killed_1", False)
        proxy.until(lambda: room.commits("raise esc_killed_1"))
        proxy.end(signal.SIGKILL)
        with pytest.raises(openai.APIConnectionError):
            calling.result(30)
        decide(room, is_for("killed_1", "request"), "approved")
        proxy.start()
        calling = pool.submit(made, proxy, chat, "killed_1", False)
        decide(room, is_for("killed_1", "response"), "approved")
        assert calling.result(60) == "Hello bob"
    assert len(model.asked) == before + 1
    assert len(room.commits("raise esc_killed_1")) == len(room.commits("release esc_killed_1")) == 1
    with pytest.raises(openai.APIStatusError) as error:
        made(proxy, chat, "killed_1", False)
    assert error.value.status_code == 409
    assert "already_released" in str(error.value)
    assert len(model.asked) == before + 1


def test_what_nobody_decides_in_time_is_409_and_a_client_that_tries_again_has_one_escalation(
    room: Room, model: Model, proxy: Proxy
) -> None:
    before = len(model.asked)
    with room.away(), pytest.raises(openai.APIStatusError) as away:
        made(proxy, chat, "away_1", False)
    assert away.value.status_code == 503
    assert str(room.folder) not in str(away.value)
    with pytest.raises(openai.APIStatusError) as error:
        made(proxy, chat, "late_1", False)
    assert error.value.status_code == 409
    assert error.value.response.headers["retry-after"] == "5"
    assert "esc_late_1" in str(error.value)
    assert len(model.asked) == before
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(made, proxy, chat, "late_1", False, max_retries=2)
        decide(room, is_for("late_1", "request"), "approved")
        decide(room, is_for("late_1", "response"), "approved")
        assert calling.result(60) == "Hello bob"
    assert len(room.commits("raise esc_late_1")) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_is_not_called_for_a_caller_who_has_gone(
    room: Room, model: Model, proxy: Proxy, stream: bool
) -> None:
    name, before = f"gone_{stream}".lower(), len(model.asked)
    with pytest.raises(openai.APITimeoutError):
        made(proxy, chat, name, stream, timeout=4)
    proxy.until(lambda: room.commits(f"withdraw esc_{name}"))
    assert len(model.asked) == before
    # The same request asks nobody again, and is told so.
    with pytest.raises(openai.PermissionDeniedError, match="withdrawn"):
        made(proxy, chat, name, stream)
    assert len(model.asked) == before


def test_a_retried_request_without_an_id_finds_its_decision(room: Room, model: Model, proxy: Proxy) -> None:
    before, raised = len(model.asked), len(room.commits("raise"))
    known = {one.escalation_id for one in room.alice.list(fetch=True).records}

    def ask() -> str:
        said = [{"role": "user", "content": "Greet carol"}]
        with proxy.client(max_retries=3) as client:
            found: Any = client.chat.completions.create(model="mock", messages=said)
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
    assert len(model.asked) == before + 1
    assert len(room.commits("raise")) == raised + 2
