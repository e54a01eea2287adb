"""Named points in the commit protocol at which the tests can make this process fail.

`KT_TEST_FAULT=before-push:kill` ends the process there as the kernel would; `:full` raises what a
full disk raises; `:pause` waits to be killed. Only the tests set the variable.
"""

from __future__ import annotations

import errno
import os
import signal
import time

VARIABLE = "KT_TEST_FAULT"

#: Every step of design, section 5, before and after.
POINTS = tuple(
    f"{when}-{step}"
    for step in ("lock", "turn", "fetch", "decide", "build", "push", "follow")
    for when in ("before", "after")
)


def point(name: str) -> None:
    """Fail here if the tests ask for it."""
    wanted, _, how = os.environ.get(VARIABLE, "").partition(":")
    if wanted != name:
        return
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if how == "pause":
        time.sleep(60)
