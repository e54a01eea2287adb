"""Who goes first: the lock of one clone, and the line of all clones on this host that push to one remote.

The only module that imports filelock. The kernel releases a lock when its holder dies, so nothing ever
has to be repaired.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from ..core.times import format_time
from ..errors import GitFailed, LockTimeout

POLL_SECONDS = 0.02


@contextmanager
def held(folder: Path, timeout: float) -> Iterator[None]:
    """Hold the clone's lock in ``folder`` (made if missing), waiting at most ``timeout`` seconds.

    Who holds it is written beside it, for the one who waits in vain. Raises LockTimeout with the holder's pid and since when.
    """
    lock = FileLock(folder / "lock")
    try:
        folder.mkdir(exist_ok=True)
        lock.acquire(timeout=timeout, poll_interval=POLL_SECONDS)
    except Timeout:
        pid, since = holder(folder)
        raise LockTimeout(pid=pid, since=since, lock=str(folder / "lock")) from None
    except OSError as error:
        raise GitFailed(command="lock", words=f"{folder}: {error.strerror or error}") from None
    try:
        _sign(folder)
        yield
    finally:
        lock.release()


def holder(folder: Path) -> tuple[str, str]:
    """The pid that last took the lock and when, as far as it could be written."""
    try:
        said = json.loads((folder / "holder").read_text())
        return str(said["pid"]), str(said["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown", "unknown"


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


#: How many stand in line in the order in which they came; those behind them come in at random.
PLACES = 8
#: How long the one in front has the line to itself where it comes back at once, in seconds.
SLICE = 0.15
#: What coming back at once means, in seconds.
AT_ONCE = 0.02
#: How long one place is waited for, and the whole line, in seconds: then it goes without.
PATIENCE, LONGEST_LINE = 5.0, 20.0
# The one who is next looks often: until it has seen that the line is free, nobody uses the remote.
_NEXT_SECONDS, _POLL_SECONDS = 0.002, 0.01


class Line:
    """The stores of this user's processes that push to one remote, taking turns.

    Clones that race burn each other's pushes: at most one of them can land. Here they stand in a row
    of places, each a lock; whoever holds one moves up when the next is free, and has its turn in the
    first. Whoever comes back at once keeps the turn for a slice of time, and then knows that nobody in the line has
    pushed since.

    It spares work and promises nothing: other hosts, users and programs do not stand in it, and where
    its folder cannot be had or somebody does not move, it is passed by.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._until = 0.0
        self._left = 0.0

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Have the turn; whether nobody in this line has had one since ours."""
        back = time.monotonic() - self._left < AT_ONCE
        again = back and time.monotonic() < self._until
        place = None
        with suppress(OSError, RuntimeError):
            place = self._step(0, 0.0) if again else None
            again = place is not None
            if place is None:
                place = self._stand()
                self._until = time.monotonic() + SLICE
        try:
            yield again
        finally:
            self._left = time.monotonic()
            if place is not None:
                # Whoever comes back gets to the front before the next one moves there.
                self._reserve(min(self._left + AT_ONCE, self._until) if back else 0.0)
                os.close(place)

    def end(self) -> None:
        """End the slice: somebody pushes who does not stand here."""
        self._until = 0.0

    @cached_property
    def _folder(self) -> Path:
        """One for each remote, as this user's clones write its address."""
        base = os.environ.get("XDG_CACHE_HOME", "")
        caches = Path(base) if os.path.isabs(base) else Path.home() / ".cache"  # noqa: PTH117 - as XDG has it
        name = hashlib.sha256(self._address.encode(errors="surrogateescape")).hexdigest()[:32]
        return caches / "kt-escalation" / name

    def _stand(self) -> int | None:
        """Move up from the last place to the first, None where that takes too long."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        end = time.monotonic() + LONGEST_LINE
        held: int | None = None
        for place in reversed(range(PLACES)):
            try:
                step = self._step(place, min(end, time.monotonic() + PATIENCE))
            finally:
                if held is not None:
                    os.close(held)
            if step is None:
                return None
            held = step
        return held

    def _step(self, place: int, until: float) -> int | None:
        """Take a place, at once or until then: a file that has its lock for as long as it is open (flock).

        filelock costs ten times as much, and that for each place.
        """
        handle = os.open(self._folder / f"place-{place}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while True:
                if not (place == 0 and until and self._reserved()):
                    with suppress(BlockingIOError):
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        taken, handle = handle, -1
                        return taken
                if time.monotonic() >= until:
                    return None
                time.sleep(_POLL_SECONDS if place else _NEXT_SECONDS)
        finally:
            if handle >= 0:
                os.close(handle)

    def _reserve(self, until: float) -> None:
        with suppress(OSError):
            (self._folder / "reserved").write_text(str(until))

    def _reserved(self) -> bool:
        """Whether the one who was in front may still come back; the clock is one for all processes of a host."""
        try:
            left = float((self._folder / "reserved").read_text()) - time.monotonic()
        except (OSError, ValueError):
            return False
        return 0 < left <= AT_ONCE
