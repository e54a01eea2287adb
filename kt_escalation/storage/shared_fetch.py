"""Shares fetches between the processes and threads of one clone: one fetch serves all that ask at the same time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .atomic_file import write

_POLL_SECONDS = 0.01
_NOTE = "fetched"
# Clocks count from the start of the host. They are compared only if the calendar's clock shows the same start.
_SAME_HOUR = 3600.0


def shared(folder: Path, branch: str, fetch: Callable[[], None], timeout: float, max_age: float) -> bool:
    """Fetch, unless this clone has begun another fetch since this call, or within ``max_age`` seconds before it.

    ``folder`` is the clone's own. If ``fetch`` raises, nobody shares its result. Returns False if another fetch
    took longer than ``timeout`` seconds.
    """
    wanted, end = time.monotonic() - max_age, time.monotonic() + timeout
    note = folder / _NOTE
    try:
        folder.mkdir(exist_ok=True)
        handle = os.open(folder / "fetching", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        # If the folder cannot be written, fetches cannot be shared.
        fetch()
        return True
    try:
        while True:
            if _begun(note, branch) >= wanted:
                return True
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL_SECONDS)
        if _begun(note, branch) < wanted:
            began = time.monotonic()
            fetch()
            with suppress(OSError):
                write(note, f"{began} {time.time()} {branch}".encode())
        return True
    finally:
        os.close(handle)


def last(folder: Path, remote: str) -> float | None:
    """When the last shared fetch from a remote began, in seconds since 1970; None if none is known."""
    with suppress(OSError, ValueError):
        _, when, name = (folder / _NOTE).read_text().split(" ", 2)
        return float(when) if name.startswith(f"{remote}/") else None
    return None


def _begun(note: Path, branch: str) -> float:
    """When the last successful fetch of a branch began, by the host's clock; long ago if that is unknown."""
    with suppress(OSError, ValueError):
        began, when, name = note.read_text().split(" ", 2)
        same_start = abs(time.time() - float(when)) < _SAME_HOUR and float(began) <= time.monotonic()
        if same_start and name == branch:
            return float(began)
    return float("-inf")
