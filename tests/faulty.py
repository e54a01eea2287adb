"""`kt` that fails at a named point of the commit protocol: the shipped package knows nothing of it.

`KT_TEST_FAULT=before-push:kill python faulty.py escalation claim …` ends the process there as the kernel would;
`:full` raises what a full disk raises; `:pause` waits to be killed. `before-push.2` is that point of a command's second
store. `lab.start` runs it where the variable is set, forked from a process that is warm unless it is killed from outside.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

VARIABLE = "KT_TEST_FAULT"
#: Every step of design, section 5, before and after. While the push is on its way, after its answer is there, and
#: after this clone knows of it, the change has landed and only its report is left.
POINTS = (
    *(
        f"{when}-{step}"
        for step in ("lock", "turn", "fetch", "decide", "build")
        for when in ("before", "after")
    ),
    *("before-push", "during-push", "after-push", "after-settle", "before-follow", "after-follow"),
)


_times: Counter[str] = Counter()


def reached(name: str) -> None:
    """Fail here if that is asked for."""
    wanted, _, how = os.environ.get(VARIABLE, "").partition(":")
    point, _, time_of = wanted.partition(".")
    if point != name:
        return
    _times[name] += 1
    if _times[name] != int(time_of or 1):
        return
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if how == "pause":
        time.sleep(60)


def around(owner: Any, name: str, before: str = "", after: str = "") -> None:
    """Let a function be a point before it is called and one after it has returned."""
    inner = getattr(owner, name)

    @wraps(inner)
    def outer(*args: Any, **kwargs: Any) -> Any:
        reached(before)
        found = inner(*args, **kwargs)
        reached(after)
        return found

    setattr(owner, name, outer)


def entering(owner: Any, name: str, step: str) -> None:
    """The same for a context: before it is entered, and inside."""
    inner: Callable[..., Any] = getattr(owner, name)

    @contextmanager
    def outer(*args: Any, **kwargs: Any) -> Iterator[None]:
        reached(f"before-{step}")
        with inner(*args, **kwargs):
            reached(f"after-{step}")
            yield

    setattr(owner, name, outer)


def arm() -> None:
    """Put all the points into the `kt` of this process."""
    from kt_escalation.actions import commit_loop
    from kt_escalation.storage import waiting
    from kt_escalation.storage.clone import GitStore
    from kt_escalation.storage.newest_tip import NewestTip
    from kt_escalation.storage.writer import Writer

    entering(GitStore, "writing", "lock")
    entering(NewestTip, "turn", "turn")
    for look in ("guess", "tip", "start"):
        around(NewestTip, look, before="before-fetch")
    for look in ("guess", "start"):
        around(NewestTip, look, after="after-fetch")
    around(commit_loop, "decided", "before-decide", "after-decide")
    around(Writer, "prepare_files", "before-build", "after-build")
    around(Writer, "send", "before-push", "after-push")
    around(waiting, "answer", before="during-push")
    around(Writer, "settle", after="after-settle")
    around(Writer, "follow", "before-follow", "after-follow")


if __name__ == "__main__":
    # The folder of this file holds modules of the tests, which kt must not find.
    sys.path.pop(0)
    arm()
    from kt_escalation import cli

    cli.main()
