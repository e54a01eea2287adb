"""Follows the store's newest commit for all open pages, in one thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from ..errors import KtError, RemoteUnreachable
from .plain import Plain

# The pauses between two questions to the remote while a page is open, in seconds: from the first, which comes again
# with each change and each page, to the longest.
_FIRST, _LONGEST, _GROWTH = 1.0, 10.0, 1.5
# How long the end of a desk waits for the running question, in seconds.
_PATIENCE = 10.0


class Live:
    """The store's newest commit, or the reason why the remote cannot be asked."""

    def __init__(self, ask: Callable[[], str]) -> None:
        self._ask = ask
        self._listeners = 0
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._state: tuple[str, Plain | None] = ("", None)
        self._heard = datetime.now(UTC)
        self._thread = threading.Thread(target=self._run, name="kt-desk-live", daemon=True)

    def start(self) -> None:
        """Start asking the remote."""
        self._thread.start()

    def close(self) -> None:
        """Stop asking the remote. Waits only briefly for a running fetch."""
        self._stop.set()
        self._wake.set()
        self._thread.join(_PATIENCE)

    @property
    def closed(self) -> bool:
        """Whether the desk is closing."""
        return self._stop.is_set()

    @property
    def away(self) -> Plain | None:
        """Why the last fetch failed. None if it succeeded."""
        return self._state[1]

    def listen(self) -> None:
        """Count one more page that listens."""
        self._listeners += 1
        self._wake.set()

    def leave(self) -> None:
        """Count one page less."""
        self._listeners -= 1

    def told(self) -> str:
        """The message to pages, as JSON: the revision, and the reason and git's words if the remote cannot be reached, else null."""
        revision, away = self._state
        return json.dumps({"revision": revision, "away": away})

    def _run(self) -> None:
        pause = _FIRST
        while not self._stop.is_set():
            if self._listeners < 1:
                # No page is open: do not ask the remote until there is one.
                self._wake.wait()
            self._wake.clear()
            before = self._state
            self._state = self._asked()
            if self._state != before or self._wake.wait(pause):
                pause = _FIRST
            else:
                pause = min(pause * _GROWTH, _LONGEST)

    def _asked(self) -> tuple[str, Plain | None]:
        try:
            revision = self._ask()
        except (KtError, OSError) as error:
            return self._state[0], self._away(error)
        self._heard = datetime.now(UTC)
        return revision, None

    def _away(self, error: KtError | OSError) -> Plain:
        why = "The remote cannot be reached."
        words = ""
        if isinstance(error, RemoteUnreachable):
            words = error.words
        elif isinstance(error, KtError):
            why, words = Plain.of(error)
        else:
            words = error.strerror or str(error)
        return Plain(
            f"{why} You see what was known at {self._heard.astimezone():%H:%M}. What you type is kept, and the page tries "
            "again by itself.",
            words,
        )
