"""The line of those on one host who push to one remote.

What holds a place is a lock of the kernel's (flock), which ends with its process: nothing ever has to be
repaired. A lock of filelock's costs ten times as much, and here there is one for each place.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

#: How many stand in line in the order in which they came; those behind them come in at random.
PLACES = 8
#: Who comes back within this many seconds has the line for a slice of its time: for so many turns as the
#: first one was long, in seconds no less than this and no more than that.
AT_ONCE, TURNS, SHORTEST_SLICE, LONGEST_SLICE = 0.01, 24, 0.15, 1.0
#: Who is next uses the last so many seconds of a slice to make ready, or the turn of who follows one that has ended.
MAKE_READY = 0.25
#: How long one place is waited for, and the whole line, in seconds: then it goes without.
PATIENCE, LONGEST_LINE = 5.0, 20.0
# The one who is next looks often: until it has seen that the line is free, nobody uses the remote.
_NEXT_SECONDS, _POLL_SECONDS = 0.002, 0.01


class Turn(NamedTuple):
    """What is known at the beginning of a turn.

    ``again``: nobody in the line has had one since ours. ``last``: the newest commit that was known to
    who had the last one, empty where nobody says.
    """

    again: bool = False
    last: str = ""


class _Note(NamedTuple):
    """Until when the one who had the last turn may come back, when the next one should be ready, and the commit it knew."""

    back_until: float = 0.0
    ends: float = 0.0
    tip: str = ""


_NOTHING = _Note()


class Line:
    """The stores of this user's processes that push to one remote, taking turns.

    Clones that race burn each other's pushes, for one of them can land at most. Here they stand in a row
    of places, each a lock: whoever holds one moves up when the next is free, and has its turn in the
    first. Whoever comes back at once keeps the line for a slice of time, which spares a fetch each time.

    It saves work and promises nothing: other hosts, users and programs do not stand in it, and where its
    folder cannot be had or somebody does not move, it is passed by.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        #: The newest commit that is known to be on the remote.
        self.tip = ""
        # Whether this turn is one of several in a slice; when that began and ends; when the last turn ended.
        self._stays = False
        self._began = self._until = self._left = 0.0

    @contextmanager
    def turn(self, make_ready: Callable[[], object] = lambda: None) -> Iterator[Turn]:
        """Have the turn, after a wait that ends in any case.

        Who is next calls ``make_ready`` once, shortly before a slice is over or after one that has ended:
        what is done then need not be done in the turn, while all the others wait.
        """
        began = time.monotonic()
        back = began - self._left < AT_ONCE
        # Who was never here may come back as well.
        self._stays = back or not self._left
        place, turn = None, Turn()
        with suppress(OSError, RuntimeError):
            if back and began < self._until:
                # It may be held for an instant, by the one who is next and looks.
                place = self._step(0, began + AT_ONCE, back=True)
            again = place is not None
            if place is None:
                place = self._stand(make_ready)
                self._began, self._until = time.monotonic(), 0.0
            turn = Turn(again, self._note().tip)
        try:
            yield turn
        finally:
            self._left = time.monotonic()
            if place is not None:
                if not self._stays:
                    self._until = 0.0
                elif not self._until:
                    slice_ = TURNS * (self._left - self._began)
                    self._until = self._began + min(max(slice_, SHORTEST_SLICE), LONGEST_SLICE)
                ends = self._until or self._left + MAKE_READY
                with suppress(OSError):
                    # Whoever comes back gets to the front before the next one moves there.
                    back_until = min(self._left + AT_ONCE, self._until)
                    (self._folder / "last").write_text(f"{back_until} {ends} {self.tip}")
                os.close(place)

    def end(self) -> None:
        """End the slice with this turn: nothing is left to do, or somebody pushes who does not stand here."""
        self._stays = False

    @cached_property
    def _folder(self) -> Path:
        """One for each remote, as this user's clones write its address."""
        import hashlib

        base = os.environ.get("XDG_CACHE_HOME", "")
        caches = Path(base) if os.path.isabs(base) else Path.home() / ".cache"  # noqa: PTH117 - as XDG has it
        name = hashlib.sha256(self._address.encode(errors="surrogateescape")).hexdigest()[:32]
        return caches / "kt-escalation" / name

    def _stand(self, make_ready: Callable[[], object]) -> int | None:
        """Move up from the last place to the first, None where that takes too long."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        end = time.monotonic() + LONGEST_LINE
        held: int | None = None
        for place in reversed(range(PLACES)):
            try:
                until = min(end, time.monotonic() + PATIENCE)
                step = self._step(place, until, None if place else make_ready)
            finally:
                if held is not None:
                    os.close(held)
            if step is None:
                return None
            held = step
        return held

    def _step(
        self, place: int, until: float, make_ready: Callable[[], object] | None = None, *, back: bool = False
    ) -> int | None:
        """Take a place by then: a file that has its lock for as long as it is open.

        The first one is left alone while whoever had the last turn may come ``back``.
        """
        handle = os.open(self._folder / f"place-{place}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while True:
                note = _NOTHING if place or back else self._note()
                now = time.monotonic()
                # One clock serves all processes of a host.
                if now >= until or not 0 < note.back_until - now <= AT_ONCE:
                    with suppress(BlockingIOError):
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        if now >= until or place or back or note == self._note():
                            taken, handle = handle, -1
                            return taken
                        # It has been left since we looked, by somebody who may come back.
                        fcntl.flock(handle, fcntl.LOCK_UN)
                if now >= until:
                    return None
                if make_ready and 0 < note.ends - now <= MAKE_READY:
                    make_ready()
                    make_ready = None
                else:
                    time.sleep(_POLL_SECONDS if place else _NEXT_SECONDS)
        finally:
            if handle >= 0:
                os.close(handle)

    def _note(self) -> _Note:
        """What the one who had the last turn has left."""
        try:
            back_until, ends, tip = (self._folder / "last").read_text().split(" ")
            return _Note(float(back_until), float(ends), tip)
        except (OSError, ValueError):
            return _NOTHING
