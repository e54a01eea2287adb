"""Runs the HTTP gateway: its socket, its shutdown, and time limits for idle connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import BadInput
from .http import app_of
from .service import HttpOptions, Service
from .tasks import AsyncGateway

# How long the head of a request may take to arrive, and how long a connection may be idle, in seconds.
_HEAD_SECONDS = 5.0
_IDLE_SECONDS = 5
# How long to wait, in seconds, until all answers are written after the gateway has closed.
_LAST_SECONDS = 2
# The most connections beyond the held requests.
_SPARE = 200
_BACKLOG = 2048


class _Protocol(H11Protocol):
    """HTTP/1.1 with a time limit for the head of a request. A connection that is too slow is closed."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and self._waiting is None:
            self._wait()
        super().data_received(data)
        if self.cycle is not None and self.cycle is not cycle and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(_HEAD_SECONDS, self._close)

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


class _Server(uvicorn.Server):
    """A uvicorn server that reports the request to stop, and does not raise the signal again at its end."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], object]) -> None:
        super().__init__(config)
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.end()

    def end(self) -> None:
        """Ask the server to stop."""
        if not self.should_exit:
            self.should_exit = True
            self._ending()


def listening(listen: str) -> socket.socket:
    """A socket that listens on HOST:PORT. Raises BadInput."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise BadInput(problem=f"{listen[:80]!r} is not HOST:PORT, such as 127.0.0.1:8181")
    try:
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        # asyncio turns Nagle's algorithm off only where the protocol is named: otherwise each answer is 40 ms late.
        found = socket.socket(family, kind, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(_BACKLOG)
    except OSError as error:
        raise BadInput(problem=f"cannot listen on {listen}: {error.strerror or error}") from None
    return found


def address_of(opened: socket.socket) -> str:
    """The address of a listening socket."""
    host, port, *_ = opened.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    gateway: AsyncGateway,
    options: HttpOptions,
    opened: socket.socket,
    ready: Callable[[], object] = lambda: None,
    log: Callable[[str], object] = lambda _: None,
    stop: threading.Event | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until ``stop`` is set. Then end within 5 seconds.

    Every held request is answered with 503 and `Retry-After`. The reviews stay open.
    """
    service = Service(gateway, options, log)
    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[Any]] = []

    def ending() -> None:
        service.is_stopping = True
        loop.call_soon_threadsafe(lambda: closing.append(loop.create_task(gateway.close())))

    config = uvicorn.Config(
        app_of(service),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=options.max_held + _SPARE,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    server = _Server(config, ending)
    watching = loop.create_task(_until(stop, server)) if stop is not None else None
    ready()
    try:
        await server.serve(sockets=[opened])
    finally:
        if watching is not None:
            watching.cancel()
        for task in closing:
            with contextlib.suppress(Exception):
                await task


async def _until(stop: threading.Event, server: _Server) -> None:
    while not stop.is_set():
        await asyncio.sleep(0.05)
    server.end()
