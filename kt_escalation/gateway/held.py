"""A held request, a gateway's metrics, and the conversion of drafts."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from typing import Any, Literal, TypeVar

from ..actions import drafts
from ..actions.following import Waiter
from ..errors import BadInput, KtError, WaitTimeout
from ..frozen import dataclass
from ..results import Decision

#: Whether an escalation is kept or withdrawn when its caller disconnects.
OnCancel = Literal["keep", "withdraw"]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Metrics:
    """A gateway's metrics: the requests that it holds, the age of the oldest in seconds, and counts since it was opened.

    ``decided`` counts decisions that were returned, by outcome. ``fetches`` counts fetches from the remote.
    ``failures`` counts fetches, commits and deadlines that failed.
    """

    held: int
    oldest: float
    raised: int
    decided: Mapping[str, int]
    failures: int
    fetches: int


class HeldRequest:
    """A request that is held until its escalation is decided. ``future`` gets the decision or an error.

    ``escalation_id`` and ``status`` are known once the escalation has been raised or read. ``timeout`` is the
    caller's time in seconds; 0 allows one look at the store.
    """

    def __init__(
        self,
        escalation_id: str | None,
        releases: bool,
        digest: str | None,
        amended: bool,
        timeout: float | None,
        on_cancel: OnCancel = "keep",
    ) -> None:
        self.escalation_id = escalation_id
        self.status = "not known"
        self.releases, self.digest, self.amended = releases, digest, amended
        self.timeout, self.on_cancel = timeout, on_cancel
        self.future: Future[Decision] = Future()
        self.since = time.monotonic()
        self.waiter: Waiter | None = None
        self.lock = threading.Lock()
        #: Whether the caller has disconnected, and whether its escalation must then be withdrawn.
        self.gone = self.withdraws = False
        self.releasing = threading.Event()

    def late(self) -> WaitTimeout:
        """The error when the caller's time is over. ``escalation_id`` is empty if it is unknown whether one was raised."""
        if self.escalation_id is not None:
            return WaitTimeout(escalation_id=self.escalation_id, seconds=self.timeout, status=self.status)
        return WaitTimeout(
            says="after {seconds:g} s it is not known yet whether it was raised",
            hint="nothing may be run yet; ask again",
            escalation_id="",
            seconds=self.timeout,
            status=self.status,
        )


def item_of(draft: Mapping[str, Any]) -> Any:
    """The item to raise for a mapping of a record's keys or for a decision event. Raises BadInput."""
    if not isinstance(draft, Mapping):
        raise BadInput(problem="a mapping of a record's keys or a decision event is needed")
    [(_, item)] = drafts.from_mappings([draft])
    if isinstance(item, KtError):
        raise item
    if item is None:
        raise BadInput(problem="the event's verdict is not escalate, so there is nothing to ask")
    return item


def settle(future: Future[_Answer], found: _Answer | Exception | None) -> None:
    """Set a future's result or exception, unless its caller has cancelled it."""
    try:
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)  # type: ignore[arg-type]
    except InvalidStateError:
        return
