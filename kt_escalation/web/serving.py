"""Runs the desk until its terminal closes. It listens only on a loopback address."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import uvicorn

from ..errors import BadInput
from ..frozen import dataclass
from .app import create
from .desk import Desk
from .figures import FiguresCache
from .live import Live
from .security import Keys

if TYPE_CHECKING:
    from ..read_store import ReadStore
    from ..store import Store

#: The only address that the desk listens at.
LOOPBACK = "127.0.0.1"
# The variables that show on Linux that there are windows, or which browser the user wants.
_WINDOWS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
# How long open requests may take when the desk ends, in seconds.
_GRACE = 5


@dataclass(frozen=True)
class Open:
    """An open desk: its address with the token, and its `Desk`."""

    address: str
    desk: Desk
    ended: threading.Event


@contextlib.contextmanager
def opened(
    store: Store, follower: ReadStore, path: str, port: int, tell: Callable[[str], None]
) -> Iterator[Open]:
    """Serve a desk over a store, in separate threads. At the end, nothing listens any more.

    ``follower`` is another view of the same store, which follows the remote. ``port`` 0 takes a free port.
    ``tell`` is called with a line about each bug. The desk's claims are not given back here; call
    `Desk.give_back` afterwards. Raises BadInput if the port is not available, NotAStore, NoIdentity,
    BrokenPolicies.
    """
    keys = Keys()
    live = Live(follower.cursor)
    desk = Desk(store, FiguresCache(path))
    # The first page is quick, and errors that prevent a desk are reported before the address is printed.
    desk.queue("claimable")
    with _listening(port) as sock:
        host = f"{LOOPBACK}:{sock.getsockname()[1]}"
        app = create(desk, live, keys, host, tell)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        ended = threading.Event()

        def run() -> None:
            try:
                server.run([sock])
            finally:
                ended.set()

        thread = threading.Thread(target=run, name="kt-desk")
        live.start()
        thread.start()
        try:
            yield Open(f"http://{host}/#{keys.launch}", desk, ended)
        finally:
            live.close()
            desk.figures.close()
            server.should_exit = True
            thread.join()


def _listening(port: int) -> socket.socket:
    # Without the protocol asyncio leaves Nagle's algorithm on, and each answer is 40 ms late.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
        sock.listen()
    except (OSError, OverflowError) as error:
        sock.close()
        why = error.strerror if isinstance(error, OSError) else "there is no such port"
        raise BadInput(
            problem=f"port {port} is not available: {why}; leave out --port for a free one"
        ) from None
    return sock


def browse(address: str) -> None:
    """Open the address in the user's browser, if it has a window. A text browser would take over the terminal."""
    if sys.platform == "linux" and not any(os.environ.get(name) for name in _WINDOWS):
        return
    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(address)
