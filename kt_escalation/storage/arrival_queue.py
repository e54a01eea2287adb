"""Lets those who wait for a lock have it in the order in which they came. The kernel's own locks keep no order."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from threading import get_ident


class ArrivalQueue:
    """The processes and threads that wait for one lock, in the order in which they came.

    Each waiting process has a file that is locked while the process lives.
    If no file can be written, there is no queue, and the first process that tries gets the lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = ""
        self._handle = -1
        # The open file of the first process that is waiting. Nobody else can be first before it has gone.
        self._before = -1

    def __enter__(self) -> ArrivalQueue:
        return self

    def __exit__(self, *_: object) -> None:
        if self._before >= 0:
            os.close(self._before)
        if self._handle >= 0:
            with suppress(OSError):
                (self._folder / self._name).unlink()
            os.close(self._handle)

    @property
    def is_first(self) -> bool:
        """Whether no earlier process is still waiting."""
        if self._before >= 0:
            if not _is_free(self._before):
                return False
            os.close(self._before)
            self._before = -1
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.name[0] != ".")
        except OSError:
            return True
        return all(self._is_gone(name) for name in takewhile(self._name.__ne__, names))

    def join(self) -> None:
        """Join the end of the queue, unless this process is already in it."""
        if self._name:
            return
        # The clock is the host's, so all of its processes queue in the order in which they came.
        self._name = f"{time.monotonic_ns():020d}-{os.getpid()}-{get_ident()}"
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            self._handle = os.open(self._folder / f".{self._name}", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A process that sees the file sees it locked.
            (self._folder / f".{self._name}").rename(self._folder / self._name)

    def _is_gone(self, name: str) -> bool:
        """Whether the process at this place has left the queue or died."""
        try:
            handle = os.open(self._folder / name, os.O_RDWR)
        except OSError:
            return True
        if not _is_free(handle):
            self._before = handle
            return False
        os.close(handle)
        with suppress(OSError):
            (self._folder / name).unlink()
        return True


def _is_free(handle: int) -> bool:
    """Whether the process that has locked a file has left the queue or died. Several may ask at once."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
