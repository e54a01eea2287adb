"""LiteLLM's real proxy with its generic guardrail, as the page configures it, before `kt gateway serve`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import openai
import pytest
from proxies import Model, Proxy, decide
from room import Room
from test_litellm import AMENDED, cases_of, chat, is_for, made, model, require_outcomes, room

__all__ = ["model", "room"]

TOKEN = "a-token-of-the-tests"  # noqa: S105


@pytest.fixture(scope="module")
def proxy(room: Room, model: Model) -> Iterator[Proxy]:
    (room.folder / "token").write_text(TOKEN)
    given = ("--listen", "127.0.0.1:0", "--token-file", str(room.folder / "token"), "--hold", "60s")
    kt = subprocess.Popen(
        [
            *(sys.executable, "-m", "kt_escalation", "gateway", "serve", "-C", str(room.gw)),
            *(*given, "--journal", str(room.folder / "journal")),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert kt.stdout
    with kt.stdout as told:
        address = told.readline().split()[-1]
    made = Proxy(
        room.folder,
        model,
        {
            "guardrail": "generic_guardrail_api",
            "mode": ["pre_call", "post_call"],
            "api_base": address,
            "api_key": TOKEN,
            "extra_headers": ["x-request-id", "idempotency-key"],
            "default_on": True,
            "streaming_buffer_until_moderated": True,
        },
        cancel_on_disconnect=True,
    )
    yield made
    made.end()
    kt.terminate()
    kt.wait(20)


@pytest.mark.parametrize("kind", AMENDED)
def test_each_outcome(room: Room, model: Model, proxy: Proxy, kind: str) -> None:
    require_outcomes(room, proxy, model, chat, cases_of("generic", kind, amends=False))


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_is_not_called_for_a_caller_who_has_gone(
    room: Room, model: Model, proxy: Proxy, stream: bool
) -> None:
    name, before = f"generic_gone_{stream}".lower(), len(model.asked)
    with pytest.raises(openai.APITimeoutError):
        made(proxy, chat, name, stream, timeout=4)
    decide(room, is_for(name, "request"), "approved")
    proxy.until(lambda: room.commits(f"release esc_{name}"))
    time.sleep(2)
    assert len(model.asked) == before
