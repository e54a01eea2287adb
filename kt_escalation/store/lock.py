"""The lock that orders the processes of one clone; the only module that imports filelock.

The kernel releases it when its holder dies, so nothing ever has to be repaired. Who holds it is
written beside it, for the one who waits in vain.
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

from ..core.progress import TELL_SECONDS
from ..core.times import format_time
from ..errors import GitFailed, LockTimeout
from .port import Progress

POLL_SECONDS = 0.02
#: What to do where the lock's folder cannot be written.
LET_WRITE = "let this user write there, or use a clone of your own"


@contextmanager
def held(folder: Path, timeout: float, progress: Progress | None = None) -> Iterator[None]:
    """Hold the lock in ``folder`` (made if missing), waiting at most ``timeout`` seconds.

    ``progress`` is told of the waiting. Raises LockTimeout with the holder's pid and since when.
    """
    lock = FileLock(folder / "lock")
    try:
        folder.mkdir(exist_ok=True)
        _acquire(lock, timeout, progress)
    except Timeout:
        known = holder(folder) or {"says": "the clone's lock is held by another process"}
        raise LockTimeout(lock=str(folder / "lock"), **known) from None
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
    if progress is None:
        lock.acquire(timeout=timeout, poll_interval=POLL_SECONDS)
        return
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        try:
            lock.acquire(timeout=max(0, min(TELL_SECONDS, timeout - waited)), poll_interval=POLL_SECONDS)
        except Timeout:
            if waited >= timeout:
                raise
            progress("waiting for another kt in this clone", int(waited * 10), int(timeout * 10))
        else:
            return


def holder(folder: Path) -> dict[str, str] | None:
    """The ``pid`` that last took the lock and ``since`` when, None where that could not be written."""
    try:
        said = json.loads((folder / "holder").read_text())
        return {"pid": str(said["pid"]), "since": str(said["since"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def hindrance(folder: Path) -> str | None:
    """What keeps anybody from taking the lock, in words, None if nothing does."""
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
    new = folder / f"holder.{os.getpid()}"
    # Only words for the one who waits: a full disk must not stop the one who works.
    with suppress(OSError):
        new.write_text(said)
        new.replace(folder / "holder")
