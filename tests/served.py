"""`kt gateway serve` as a process, and calls of it."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN = "a-token-of-the-tests"  # noqa: S105
AUTH = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Answered:
    """An answer of the server."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def code(self) -> str:
        found: str = self.json["error"]["code"]
        return found


class Served:
    """`kt gateway serve` as a process."""

    def __init__(self, clone: Path, folder: Path, *options: str, listen: str = "127.0.0.1:0") -> None:
        folder.mkdir(exist_ok=True)
        token = folder / "token"
        token.write_text(f"{TOKEN}\n")
        args = ("--listen", listen, "--token-file", str(token), "--journal", str(folder / "journal"))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kt_escalation", "gateway", "serve", "-C", str(clone), *args, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), self.process.communicate()
        self.port = int(line.rpartition(":")[2])

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        token: bool = True,
    ) -> Answered:
        """One call on a connection of its own."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)) as connection:
            connection.request(method, path, data, {**(AUTH if token else {}), **(headers or {})})
            answer = connection.getresponse()
            return Answered(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it; its exit code and what it said."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err


def until(said: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end
        time.sleep(0.05)
