"""The lock that orders the processes of one clone. Only this module imports filelock.

The kernel releases the lock when its holder dies, so no repair is ever needed. The holder's name is written
beside the lock, for the message of a process that waits in vain. Waiting processes queue, so that each gets
its turn.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from ..errors import GitFailed, LockTimeout
from ..model.progress import TELL_SECONDS
from ..model.times import format_time
from .arrival_queue import ArrivalQueue
from .interface import Progress

POLL_SECONDS = 0.02
#: The remedy if the lock's folder cannot be written.
LET_WRITE = "let this user write there, or use a clone of your own"


@contextmanager
def held(folder: Path, timeout: float, progress: Progress | None = None) -> Iterator[None]:
    """Hold the lock in ``folder`` (created if missing). Waits at most ``timeout`` seconds.

    ``progress`` is called while it waits. Raises LockTimeout with the holder's pid and start time.
    """
    lock = FileLock(folder / "lock")
    try:
        folder.mkdir(exist_ok=True)
        _acquire(lock, timeout, progress)
    except Timeout:
        where, known = str(folder / "lock"), holder(folder)
        if known is None:
            raise LockTimeout(lock=where, says="the clone's lock is held by another process") from None
        raise LockTimeout(lock=where, pid=known["pid"], since=known["since"]) from None
    except OSError as error:
        raise GitFailed(
            says="the clone's lock cannot be taken: {words}",
            words=f"{folder}: {error.strerror or error}",
            hint=LET_WRITE,
        ) from None
    try:
        _sign(folder)
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, timeout: float, progress: Progress | None) -> None:
    """Take the lock. Raises Timeout, OSError."""
    began = told = time.monotonic()
    with ArrivalQueue(Path(lock.lock_file).parent / "waiting") as queue:
        while True:
            if queue.is_first:
                with suppress(Timeout):
                    lock.acquire(timeout=0)
                    return
            now = time.monotonic()
            if now - began >= timeout:
                raise Timeout(lock.lock_file)
            queue.join()
            if progress is not None and now - told >= TELL_SECONDS:
                progress("waiting for another kt in this clone", int((now - began) * 10), int(timeout * 10))
                told = now
            time.sleep(POLL_SECONDS)


def holder(folder: Path) -> dict[str, str] | None:
    """The ``pid`` of the last holder, and ``since`` when it held the lock. None if that could not be written."""
    try:
        said = json.loads((folder / "holder").read_text())
        return {"pid": str(said["pid"]), "since": str(said["since"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def hindrance(folder: Path) -> str | None:
    """The reason why nobody can take the lock, in words. None if somebody can."""
    try:
        folder.mkdir(exist_ok=True)
        with TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"{folder}: {error.strerror or error}"


def is_free(folder: Path) -> bool:
    """Whether nobody holds the lock at this moment."""
    if not (folder / "lock").exists():
        return True
    try:
        with FileLock(folder / "lock", timeout=0):
            return True
    except (Timeout, OSError):
        return False


def _sign(folder: Path) -> None:
    said = json.dumps({"pid": os.getpid(), "since": format_time(datetime.now(UTC))})
    # This text is only for a message. A full disk must not stop the holder, and half a text is ignored.
    with suppress(OSError):
        (folder / "holder").write_text(said)
