"""LiteLLM's real proxy with its generic guardrail, as the page configures it, before `kt gateway serve`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from proxies import Model, Proxy, decide
from room import Room
from test_litellm import HEARD, chat, is_for

TOKEN = "a-token-of-the-tests"  # noqa: S105


@pytest.fixture(scope="module")
def proxy(room: Room) -> Iterator[Proxy]:
    (room.folder / "token").write_text(TOKEN)
    given = ("--listen", "127.0.0.1:0", "--token-file", str(room.folder / "token"), "--hold", "20s")
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
    model = Model()
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
    )
    yield made
    made.end()
    kt.terminate()
    kt.wait(20)
    model.server.shutdown()
    model.server.server_close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("outcome", ["approved", "denied"])
def test_nothing_of_an_answer_goes_out_before_it_is_approved(
    room: Room, proxy: Proxy, outcome: str, stream: bool
) -> None:
    name = f"generic_{outcome}_{stream}".lower()
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(chat, proxy.client(), name, stream)
        decide(room, is_for(name, "request"), "approved", calling=calling)
        decide(room, lambda one: str(one.request_id).startswith(f"{name}:response"), outcome, calling=calling)
        if outcome == "approved":
            assert calling.result(60) == "Hello bob"
        else:
            with pytest.raises(openai.APIError) as error:
                calling.result(60)
            assert "Hello" not in str(error.value) and not HEARD.get(name)
