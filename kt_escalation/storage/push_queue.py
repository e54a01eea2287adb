"""Turns for the stores of one host that push to one remote. See docs/performance.md, *Many who write*.

There is one kernel lock (flock) for each remote's address. The lock ends with its process, so no repair is
ever needed. A lock of filelock takes ten times as long.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from .arrival_queue import ArrivalQueue

#: A store that needs another turn within this many seconds gets a slice of turns. If it did so the last time,
#: it is given longer: on a busy machine the next claim begins 5 to 40 ms later.
AT_ONCE, AGAIN = 0.01, 0.06
#: A slice has at least this many turns, and lasts at least this many seconds if turns are short.
TURNS, SLICE_SECONDS = 8, 1.0
#: A store waits for a turn until nobody has had one for this many seconds, and for this many in all. Then it
#: pushes without one. Those who wait for this clone's lock meanwhile wait 60 by default.
PATIENCE, LONGEST = 20.0, 40.0
# How often the lock is asked for by the store that is next; and how often it reads the note, and those behind it
# ask whether they are next.
_POLL_SECONDS, _WAIT_SECONDS = 0.003, 0.03
# The store that is next gets ready when the slice before its own has had all but so many turns, and this part
# of its time.
_TURNS_LEFT, _PART = 2, 0.7


class Turn(NamedTuple):
    """What a store knows at the beginning of its turn.

    ``again``: no other store has had a turn since its last one. ``last``: the newest commit that the previous
    holder knew, or empty.
    """

    again: bool = False
    last: str = ""


class _Note(NamedTuple):
    """The last holder, until when it may take another turn at once, and the newest commit that it knew."""

    owner: str = ""
    back_until: float = 0.0
    tip: str = ""


class PushQueue:
    """Turns among this user's processes that push to one remote.

    When clones race, at most one push succeeds and the others are wasted. A store that needs another turn at
    once keeps the lock for a slice of turns, which saves a fetch each time. Turns save work and guarantee
    nothing: other hosts, users and programs take no turns. If the folder cannot be created, or a turn does
    not come in time, the push is made without one.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._me = f"{random.getrandbits(64):x}"
        #: The newest commit that is known to be on the remote.
        self.tip = ""
        # How many turns this slice has had, when it began, and when the last of them ended.
        self._turns = 0
        self._began = self._left = 0.0
        self._stays = False
        # How long the others wait for this store to come back.
        self._reserved = AT_ONCE

    @contextmanager
    def turn(
        self, meanwhile: Callable[[], None] = lambda: None, soon: Callable[[], None] = lambda: None
    ) -> Iterator[Turn]:
        """Wait for a turn, for a limited time, and hold it.

        ``meanwhile`` is called once if there is a wait, and ``soon`` once if it is about to end because another
        store's slice does. Both should be quick, since a turn that comes meanwhile waits for them.
        """
        handle, turn = None, Turn()
        longest = max(AT_ONCE, AGAIN)
        self._reserved = longest if time.monotonic() - self._left <= longest else AT_ONCE
        with suppress(OSError, RuntimeError):
            handle = self._take(meanwhile, soon)
            note = self._note()
            turn = Turn(handle is not None and note.owner == self._me, note.tip)
        if not turn.again or not self._turns:
            self._turns, self._began = 0, time.monotonic()
        self._stays = True
        try:
            yield turn
        finally:
            self._left = time.monotonic()
            self._turns += 1
            if self._turns >= TURNS and self._left - self._began >= SLICE_SECONDS:
                self._stays = False
            if not self._stays:
                self._turns = 0
            if handle is not None:
                with suppress(OSError):
                    # A store in its slice returns before the next one takes the lock.
                    back_until = self._left + self._reserved if self._stays else 0.0
                    (self._folder / "last").write_text(f"{self._me} {back_until} {self.tip}")
                os.close(handle)

    def end_slice(self) -> None:
        """End the slice with this turn: there is nothing left to do, or a program that takes no turns has pushed."""
        self._stays = False

    @cached_property
    def _folder(self) -> Path:
        """The folder for a remote's address as this user's clones write it."""
        import hashlib

        base = os.environ.get("XDG_CACHE_HOME", "")
        caches = Path(base) if os.path.isabs(base) else Path.home() / ".cache"  # noqa: PTH117 - as XDG has it
        name = hashlib.sha256(self._address.encode(errors="surrogateescape")).hexdigest()[:32]
        return caches / "kt-escalation" / name

    def _take(
        self, meanwhile: Callable[[], None] = lambda: None, soon: Callable[[], None] = lambda: None
    ) -> int | None:
        """Take the lock, and return its open file. None if that takes too long.

        Only the next store in the queue polls the lock often. The others wait to be next.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        end = time.monotonic() + LONGEST
        if self._turns:
            # The next store may hold the lock for a moment while it checks whether it may take it.
            taken = self._wait(lambda: True, self._left + self._reserved)
            if taken is not None:
                return taken
        with ArrivalQueue(self._folder / "waiting") as queue:
            if queue.is_first and (taken := self._wait(lambda: True, 0.0)) is not None:
                return taken
            queue.join()
            meanwhile()
            return self._wait(lambda: queue.is_first, end, soon)

    def _may_have_it(self) -> bool:
        """Whether no other store has a slice of turns left."""
        note = self._note()
        # One clock serves all processes of a host.
        return note.owner == self._me or not 0 < note.back_until - time.monotonic() <= max(AT_ONCE, AGAIN)

    def _wait(
        self, is_next: Callable[[], bool], end: float, soon: Callable[[], None] | None = None
    ) -> int | None:
        """Wait until this store is the next one, and take the lock when it is free. Returns its open file.

        None if that is not before ``end``, or if the queue does not move.
        """
        handle, taken = os.open(self._folder / "turn", os.O_RDWR | os.O_CREAT, 0o600), False
        try:
            taken = self._comes(handle, is_next, end, soon)
        finally:
            if not taken:
                os.close(handle)
        return handle if taken else None

    def _comes(
        self, handle: int, is_next: Callable[[], bool], end: float, soon: Callable[[], None] | None
    ) -> bool:
        """Whether the lock was taken in time."""
        last, moved = self._note(), time.monotonic()
        # Since when this store is the next one, whom nobody passes, and how many turns have ended since.
        since, turns = (moved, 0) if is_next() else (0.0, 0)
        read = moved
        while not (since and self._locks(handle)):
            now = time.monotonic()
            if now >= min(end, moved + PATIENCE):
                return False
            if not since and is_next():
                since = now
                continue
            # To read the note costs more than to ask for the lock.
            if now - read >= _WAIT_SECONDS:
                read = now
                if (note := self._note()) != last:
                    last, moved, turns = note, now, turns + (since > 0)
            if soon and turns >= TURNS - _TURNS_LEFT and now - since >= _PART * SLICE_SECONDS:
                soon()
                soon = None
            pause = _POLL_SECONDS if since else _WAIT_SECONDS
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter
        return True

    def _locks(self, handle: int) -> bool:
        """Take the lock if it is free and no other store has a slice left."""
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._may_have_it():
                return True
            fcntl.flock(handle, fcntl.LOCK_UN)
        return False

    def _note(self) -> _Note:
        """The note that the last holder has left."""
        try:
            owner, back_until, tip = (self._folder / "last").read_text().split(" ")
            return _Note(owner, float(back_until), tip)
        except (OSError, ValueError):
            return _Note()
