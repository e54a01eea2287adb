"""Debian's nginx with `auth_request`, as the page has it, before a real upstream."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pages import text_of
from proxies import decide
from room import Room

TOKEN = "a-token-of-the-tests"  # noqa: S105


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Site:
    """An upstream, nginx before it, and the gateway that nginx asks."""

    def __init__(self, room: Room) -> None:
        self.room, self.folder = room, room.folder
        self.seen: list[tuple[str, str, bytes]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                site.seen.append((self.command, self.path, body))
                self.send_response(200)
                self.send_header("content-length", "4")
                self.end_headers()
                self.wfile.write(b"done")

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                return

        self.upstream = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.upstream.serve_forever, daemon=True).start()
        self.port, self.kt_port = free_port(), free_port()
        self.serve()
        self.nginx = self._nginx()

    def serve(self, *options: str) -> None:
        """Start the gateway."""
        token = self.folder / "token"
        token.write_text(TOKEN)
        given = ("--listen", f"127.0.0.1:{self.kt_port}", "--token-file", str(token), "--hold", "8s")
        self.kt = subprocess.Popen(
            [
                *(sys.executable, "-m", "kt_escalation", "gateway", "serve", "-C", str(self.room.gw)),
                *(*given, "--journal", str(self.folder / "journal"), *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.kt.stdout
        with self.kt.stdout as told:
            assert told.readline().startswith("listening on")

    def _nginx(self) -> subprocess.Popen[bytes]:
        [page] = re.findall(r"```nginx\n(.*?)```", text_of("adapters/nginx.md"), re.DOTALL)
        upstream = f"127.0.0.1:{self.upstream.server_address[1]}"
        page = page.replace("127.0.0.1:9000", upstream).replace("127.0.0.1:8181", f"127.0.0.1:{self.kt_port}")
        assert "THE-TOKEN" in page
        assert upstream in page
        page = page.replace("THE-TOKEN", TOKEN)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in kinds)
        config = self.folder / "nginx.conf"
        config.write_text(
            f"daemon off; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.log; worker_processes 1;\n"
            f"events {{}}\nhttp {{ access_log off;\n{folders}server {{ listen 127.0.0.1:{self.port};\n{page}}} }}\n"
        )
        found = subprocess.Popen(
            ["/usr/sbin/nginx", "-e", str(self.folder / "nginx.log"), "-c", str(config)],
            start_new_session=True,
        )
        end = time.monotonic() + 20
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return found
            assert found.poll() is None, Path(self.folder / "nginx.log").read_text()
            assert time.monotonic() < end, Path(self.folder / "nginx.log").read_text()
            time.sleep(0.05)

    def call(
        self, name: str, path: str = "/pay?to=bob", body: bytes = b"100"
    ) -> tuple[int, dict[str, str], bytes]:
        """One request of a caller's; no header for an empty name."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", path, body, {"Idempotency-Key": name} if name else {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def calling(self, name: str) -> Future[tuple[int, dict[str, str], bytes]]:
        """A request that is held by now."""
        pool = ThreadPoolExecutor(1)
        found = pool.submit(self.call, name)
        pool.shutdown(wait=False)
        end = time.monotonic() + 20
        while not self.room.commits(f"raise esc_{name}"):
            assert time.monotonic() < end
            time.sleep(0.05)
        return found

    def end(self) -> None:
        os.kill(self.nginx.pid, signal.SIGTERM)
        self.nginx.wait(20)
        self.kt.terminate()
        self.kt.wait(20)
        self.upstream.shutdown()
        self.upstream.server_close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    room = Room(tmp_path_factory.mktemp("room"))
    with room.alice:
        made = Site(room)
        yield made
        made.end()


@pytest.mark.parametrize("outcome", ["approved", "denied", "rewritten"])
def test_only_what_is_approved_reaches_the_upstream(site: Site, outcome: str) -> None:
    before, name = len(site.seen), f"nginx_{outcome}"
    held = site.calling(name)
    # Others are not held up by one that is.
    assert site.call("")[0] == 403
    amendment = {"amount": 1} if outcome == "rewritten" else None
    decide(site.room, lambda record: record.request_id == name, outcome, amendment)
    status, headers, body = held.result(30)
    if outcome == "approved":
        assert (status, body) == (200, b"done")
        assert site.seen[before:] == [("POST", "/pay?to=bob", b"100")]
    else:
        assert status == 403
        assert b"done" not in body
        assert headers["x-kt-reason"]
        assert len(site.seen) == before


def test_what_is_pending_or_has_no_id_is_403_and_the_same_request_later_finds_its_decision(
    site: Site,
) -> None:
    before = len(site.seen)
    assert site.call("")[0] == 403
    assert site.call("nginx_late")[0] == 403
    decide(site.room, lambda record: record.request_id == "nginx_late", "approved")
    # The decision is for this request, and for no other under its id.
    assert site.call("nginx_late", "/pay?to=eve")[0] == 403
    assert len(site.seen) == before
    assert site.call("nginx_late")[0] == 200
    assert len(site.room.commits("raise esc_nginx_late")) == 1


def test_the_gateway_is_killed_while_it_holds_and_decided_meanwhile(site: Site) -> None:
    before = len(site.seen)
    held = site.calling("nginx_killed")
    site.kt.kill()
    site.kt.wait(20)
    assert held.result(30)[0] == 500
    assert site.call("nginx_killed")[0] == 500
    decide(site.room, lambda record: record.request_id == "nginx_killed", "approved")
    site.serve()
    assert len(site.seen) == before
    assert site.call("nginx_killed")[0] == 200
    assert len(site.room.commits("raise esc_nginx_killed")) == 1
