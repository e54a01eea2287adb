"""LiteLLM's real proxy before a model of our own, and people who decide what it asks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
from room import Room

KEY = "sk-of-the-tests"
#: The names of the model and how LiteLLM calls it. What is asked of `soon` ones expires after some seconds.
MODELS = {
    "mock": "openai",
    "mock-soon": "openai",
    "mock-text": "text-completion-openai",
    "mock-soon-text": "text-completion-openai",
}
#: How long LiteLLM may take to start, in seconds: it imports for most of them.
STARTS = 300


class _Server(ThreadingHTTPServer):
    # Hundreds may be released in one moment.
    request_queue_size = 1024
    daemon_threads = True


class Model:
    """An upstream that speaks OpenAI's API, keeps what it was asked, and says `Hello bob` in three pieces."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model.asked.append({"path": self.path, **body})
                said = model.answer(self.path, body)
                self.send_response(200)
                self.send_header("content-type", said[0])
                self.send_header("content-length", str(len(said[1])))
                self.end_headers()
                self.wfile.write(said[1])

            def log_message(self, *_: Any) -> None:
                return

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, body: Mapping[str, Any]) -> tuple[str, bytes]:
        if "responses" in path:
            return _responses(str(body["model"]), bool(body.get("stream")))
        chat = "chat" in path
        base = {"id": "c1", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        if not body.get("stream"):
            text = (
                {"message": {"role": "assistant", "content": "Hello bob"}} if chat else {"text": "Hello bob"}
            )
            choice = {"index": 0, "finish_reason": "stop", **text}
            kind = "chat.completion" if chat else "text_completion"
            return "application/json", json.dumps(
                {**base, "object": kind, "choices": [choice], "usage": usage}
            ).encode()
        lines = []
        for word, end in (("Hello", None), (" bob", None), ("", "stop")):
            text = {"delta": {"content": word}} if chat else {"text": word}
            kind = "chat.completion.chunk" if chat else "text_completion"
            choice = {"index": 0, "finish_reason": end, **text}
            lines.append(f"data: {json.dumps({**base, 'object': kind, 'choices': [choice]})}\n\n")
        return "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode()


def _responses(model: str, stream: bool) -> tuple[str, bytes]:
    """What a model says in OpenAI's newer API."""
    part = {"type": "output_text", "text": "Hello bob", "annotations": []}
    item = {"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    whole = {
        "id": "r1",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": "completed",
        "output": [item],
        "usage": usage,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
    }
    if not stream:
        return "application/json", json.dumps(whole).encode()
    at = {"item_id": "m1", "output_index": 0, "content_index": 0}
    events = [
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "content": [], "status": "in_progress"},
        },
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        *(
            {"type": "response.output_text.delta", **at, "delta": word, "logprobs": []}
            for word in ("Hello", " bob")
        ),
        {"type": "response.output_text.done", **at, "text": "Hello bob", "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    lines = (
        f"event: {one['type']}\ndata: {json.dumps({**one, 'sequence_number': n})}\n\n"
        for n, one in enumerate(events)
    )
    return "text/event-stream", "".join(lines).encode()


class Proxy:
    """LiteLLM's proxy as a process, and a client of OpenAI's for it."""

    def __init__(self, folder: Path, model: Model, guardrail: Mapping[str, Any], **general: Any) -> None:
        self.config = folder / "config.yaml"
        self.log = folder / "proxy.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        upstream = {"api_key": "none", "api_base": f"http://127.0.0.1:{model.port}/v1"}
        config = {
            "model_list": [
                {"model_name": name, "litellm_params": {**upstream, "model": f"{kind}/{name}"}}
                for name, kind in MODELS.items()
            ],
            "guardrails": [{"guardrail_name": "kt", "litellm_params": dict(guardrail)}],
            "general_settings": {"master_key": KEY, **general},
            "litellm_settings": {"telemetry": False, "num_retries": 0},
        }
        # JSON is YAML.
        self.config.write_text(json.dumps(config))
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", "from litellm import run_server; run_server()"),
                    *("--config", str(self.config), "--host", "127.0.0.1", "--port", str(self.port)),
                ],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.config.parent,
            )
        try:
            self.until(self._answers, STARTS)
        except BaseException:
            self.end(signal.SIGKILL)
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def until(self, said: Callable[[], Any], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not said():
            assert time.monotonic() < end, self.log.read_text()[-4000:]
            time.sleep(0.1)

    def client(self, **more: Any) -> openai.OpenAI:
        given = {"max_retries": 0, "timeout": 120, **more}
        return openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{self.port}/v1", **given)

    def end(self, number: int = signal.SIGTERM) -> float:
        """End it; how long that took."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - begun


def asked(
    room: Room, asks: Callable[[Any], bool], calling: Future[Any] | None = None, seconds: float = 40
) -> str:
    """The id of the one open escalation that is meant, once it is there."""
    end = time.monotonic() + seconds
    while True:
        found = [one for one in room.alice.list(fetch=True).records if asks(one)]
        if found:
            [record] = found
            return str(record.escalation_id)
        assert not (calling and calling.done()), calling and (calling.exception() or calling.result())
        assert time.monotonic() < end
        time.sleep(0.05)


def decide(
    room: Room,
    asks: Callable[[Any], bool],
    outcome: str,
    amendment: Any = None,
    calling: Future[Any] | None = None,
) -> str:
    """Let alice decide the one open escalation that is meant; its id."""
    name = asked(room, asks, calling)
    room.alice.claim(name)
    room.alice.resolve(name, outcome, "so it is", amendment=amendment)
    return name
