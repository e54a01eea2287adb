"""A delay line on loopback: what goes through it takes as long as over a network of a given round trip.

It stands before a server's port and needs no right of an administrator's. It delays the handshake as well: the first
bytes of a client reach the server after three half round trips, as they would behind SYN, SYN-ACK and ACK.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType

_LOOPBACK = "127.0.0.1"
_CHUNK = 1 << 16


class Delay:
    """Forwards a port of its own to a server's, each byte half a round trip late.

    ``port`` is where it listens, ``connections`` how many were made through it so far. While ``hangs`` is set
    connections are taken and nothing is passed on.
    """

    def __init__(self, to: int, round_trip: float) -> None:
        self._to = to
        self._half = round_trip / 2
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((_LOOPBACK, 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self.hangs = threading.Event()

    def __enter__(self) -> Delay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._listener, *self._open):
            _end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(client)
            threading.Thread(target=self._join, args=(client, time.monotonic()), daemon=True).start()

    def _join(self, client: socket.socket, now: float) -> None:
        reaches = now + 3 * self._half
        time.sleep(max(0.0, reaches - time.monotonic()))
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.create_connection((_LOOPBACK, self._to))
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            # The client has left meanwhile, or nobody serves.
            _end(client)
            return
        self._open.add(server)
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass on what comes, half a round trip later, however much of it is on its way."""
        way: deque[tuple[float, bytes]] = deque()
        come = threading.Condition()

        def deliver() -> None:
            while True:
                with come:
                    while not way:
                        come.wait()
                    due, data = way.popleft()
                time.sleep(max(0.0, due - time.monotonic()))
                while self.hangs.is_set():
                    time.sleep(0.01)
                try:
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(data)
                except OSError:
                    return

        threading.Thread(target=deliver, daemon=True).start()
        data = b"-"
        while data:
            try:
                data = source.recv(_CHUNK)
            except OSError:
                data = b""
            with come:
                way.append((time.monotonic() + self._half, data))
                come.notify()


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
