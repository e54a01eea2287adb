"""Desks as people have them: `kt escalation web` as a real process, and a browser's requests over real loopback."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

KT = (sys.executable, "-m", "kt_escalation", "escalation", "web")
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    """What a desk has answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def words(self) -> str:
        """What a reader sees, roughly: the text without markup, blanks run together."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.text)).split())


@dataclass
class Served:
    """A desk that runs, and the one browser that may use it."""

    process: subprocess.Popen[str]
    address: str
    clone: Path
    cookie: str = ""
    room: str = ""
    csrf: str = ""
    port: int = field(init=False)

    def __post_init__(self) -> None:
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/#([\w-]{40,})", self.address)
        assert found, self.address
        self.port, self.token = int(found[1]), found[2]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.host}"

    def send(self, method: str, path: str, body: str | None = None, **headers: str | None) -> Answer:
        """Send one request with exactly these headers besides Host and Content-Length; None leaves one out."""
        given = {"host": self.host, **headers}
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(line):
            line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if value is not None:
                    line.putheader(name.replace("_", "-"), value)
            if body is not None:
                line.putheader("content-length", str(len(body)))
            line.endheaders(None if body is None else body.encode())
            got, text = line.getresponse(), b""
            # A request that is refused before its body was read ends in a reset, after all of the answer.
            with contextlib.suppress(ConnectionResetError):
                while part := got.read1(65536):
                    text += part
            return Answer(got.status, dict(got.getheaders()), text.decode())

    def enter(self) -> None:
        """Exchange the token, as the door's script does."""
        got = self.send(
            "POST", "/session", urlencode({"token": self.token}), origin=self.origin, content_type=FORM
        )
        assert got.status == 200, got
        assert got.text.startswith("/"), got
        self.room = got.text
        self.cookie = got.headers["set-cookie"].partition(";")[0]
        found = re.search(r'name="csrf" value="([^"]+)"', self.get().text)
        assert found
        self.csrf = found[1]

    def get(self, path: str = "", **headers: str | None) -> Answer:
        """Open a page behind the door."""
        return self.send("GET", f"{self.room}{path}", **{"cookie": self.cookie, **headers})

    def post(self, path: str, fields: Mapping[str, object] | None = None, **headers: str | None) -> Answer:
        """Send a form of a page."""
        body = urlencode({"csrf": self.csrf, **(fields or {})}, doseq=True)
        sent = {"cookie": self.cookie, "origin": self.origin, "content_type": FORM, **headers}
        return self.send("POST", f"{self.room}{path}", body, **sent)

    def shown(self, name: str) -> str:
        """The digest of what the escalation's page shows."""
        found = re.search(r'name="shown" value="([0-9a-f]{64})"', self.get(f"e/{name}").text)
        assert found
        return found[1]

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """End it as its terminal would; its exit code and what it said at last."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@contextlib.contextmanager
def desk(
    clone: Path, *options: str, enter: bool = True, opens: bool = False, env: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """A desk over a clone, which has ended at the end."""
    process = subprocess.Popen(
        [*KT, *(() if opens else ("--no-open",)), *options],
        cwd=clone,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        line = process.stdout.readline().strip()
        assert line, process.communicate(timeout=60)[1]
        made = Served(process, line, clone)
        if enter:
            made.enter()
        yield made
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
