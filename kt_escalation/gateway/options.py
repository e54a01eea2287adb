"""The parameters of both gateways."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from typing import TypedDict

from ..errors import BadInput

#: How long to wait for a release that has begun, in seconds, after the caller's time is over.
RELEASE_SECONDS = 10.0
#: How long the single look of a wait with time 0 may take, in seconds.
LOOK_SECONDS = 10.0
#: The longest hold that a caller over HTTP or MCP may ask for, in seconds.
LONGEST_HOLD = 300.0


class GatewayOptions(TypedDict, total=False):
    """The parameters for opening a gateway.

    ``journal_folder`` is the folder of the journal, by default a folder for this store below
    `$XDG_STATE_HOME` (else `~/.local/state`). ``every`` is the pause between two fetches from the remote, in
    seconds (default 1). ``clock`` returns the time, for tests. ``tell`` is called with a line when the remote
    stops answering, and when it answers again.
    """

    journal_folder: str | os.PathLike[str] | None
    every: float
    clock: Callable[[], datetime] | None
    tell: Callable[[str], object]


def require_on_cancel(value: str) -> None:
    """Raise BadInput unless it is keep or withdraw."""
    if value not in ("keep", "withdraw"):
        raise BadInput(problem=f"on_cancel is {value!r}; it is keep or withdraw")
