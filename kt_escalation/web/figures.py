"""The figures of the state page.

They need the whole history, so they are read in the background and kept for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..errors import Interrupted

# Ages and deadlines of figures that are older than this are no longer true, in seconds.
_FRESH = 60.0


@dataclass
class FiguresCache:
    """The figures of `report` for the store at ``path``. Pages that ask at the same time share one reading."""

    path: str
    _made: tuple[str, float, Mapping[str, Any]] | None = None
    _making: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    def known(self, revision: str) -> Mapping[str, Any] | None:
        """The figures of a revision, if they were read recently."""
        made = self._made
        if made is None or made[0] != revision or time.monotonic() - made[1] > _FRESH:
            return None
        return made[2]

    def read(self, revision: str) -> Mapping[str, Any]:
        """Read the figures of a revision. This may take as long as reading all of history.

        Raises NotAStore, ShallowClone, GitFailed, and Interrupted if the desk closes meanwhile.
        """
        from ..reporting.html.page import facts_of
        from ..reporting.overview import report

        with self._making:
            found = self.known(revision)
            if found is None:
                now = datetime.now(UTC)
                overview = report(self.path, now=now, rev=revision, progress=self._go_on)
                found = {**facts_of(overview), "read_at": now}
                self._made = revision, time.monotonic(), found
            return found

    def close(self) -> None:
        """Stop reading."""
        self._closed = True

    def _go_on(self, *_: object) -> None:
        if self._closed:
            raise Interrupted
