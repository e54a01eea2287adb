"""`Gateway`: holds requests for programs with threads. See docs/adapters/index.md."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as OutOfTime
from typing import Any, Self, TypeVar, Unpack

from ..actions.listing import Filters
from ..errors import Interrupted, NotResolved
from ..results import Decision, Found, Listing, Received, Result
from .core import Core
from .held import HeldRequest, Metrics, OnCancel
from .options import LOOK_SECONDS, RELEASE_SECONDS, GatewayOptions

_Answer = TypeVar("_Answer")
# How often the caller's own `stop` is looked at, in seconds.
_STOP_SECONDS = 0.1


class Gateway:
    """Raises escalations, waits for their decisions and releases them, for any number of threads at once.

    One loop follows the store for all threads, and escalations that are raised at the same time share a
    commit. You may run a request only if you get a `Decision` with ``release`` True. Open a gateway with
    `Gateway.open`, and close it with `close` or as a context manager.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    @classmethod
    def open(cls, path: str | os.PathLike[str] = ".", **options: Unpack[GatewayOptions]) -> Self:
        """Open the store in the repository that contains ``path``. The options are those of `GatewayOptions`.

        Raises NotAStore, GitFailed, BadInput, ShallowClone.
        """
        return cls(Core.open(path, **options))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all waits and threads within 2 seconds. Held requests get Interrupted."""
        self._core.close()

    def metrics(self) -> Metrics:
        """The gateway's current metrics, as a frozen value."""
        return self._core.metrics()

    def ask(
        self,
        draft: Mapping[str, Any],
        *,
        timeout: float | None = None,
        on_cancel: OnCancel = "keep",
        amended: bool = False,
        digest: str | None = None,
        stop: threading.Event | None = None,
    ) -> Decision:
        """Raise an escalation from a record's keys or a decision event, wait for the decision, and take it for its one use.

        ``timeout`` is in seconds. With 0 the escalation is raised, and the store is read once. ``amended``
        says that the caller applies amendments. ``digest`` is that of the action that will be run; the
        default is the digest of the draft's own action. If ``stop`` is set or the caller is interrupted,
        ``on_cancel`` says whether the escalation is kept or withdrawn.
        A denial is a result too, with ``release`` False. If you ask again for the same request, you get the
        same escalation, and its decision if nobody has got it yet.
        Raises BadInput, NotAllowed, DifferentContent, WaitTimeout (the escalation stays open), IllegalRecord,
        Amended, AlreadyReleased, OtherAction, ReleaseExpired, AlreadyReopened, RemoteUnreachable,
        Interrupted, and the errors of writing.
        """
        held = self._core.ask(draft, timeout, on_cancel, digest=digest, amended=amended)
        return self._looked(held, stop)

    def wait(
        self,
        escalation_id: str,
        *,
        timeout: float | None = None,
        amended: bool = False,
        digest: str | None = None,
        stop: threading.Event | None = None,
    ) -> Decision:
        """Wait for the decision on an existing escalation, and do not use it. With ``timeout`` 0, look once.

        Raises as `Store.wait`.
        """
        held = self._core.hold(escalation_id, timeout=timeout, releases=False, digest=digest, amended=amended)
        return self._looked(held, stop)

    def release(
        self,
        escalation_id: str,
        *,
        digest: str | None = None,
        amended: bool = False,
        timeout: float | None = 60.0,
    ) -> Decision:
        """Take a decision for its one use.

        Only one call gets it. A denial is a result too, with ``release`` False.
        Raises NotFound, NotResolved, AlreadyReleased and the other errors of `ask`.
        """
        held = self._core.hold(escalation_id, timeout=timeout, releases=True, digest=digest, amended=amended)
        return self._answer(held, timeout, None)

    def create(self, draft: Mapping[str, Any]) -> Result:
        """Raise one escalation. Threads that raise at the same time share a commit. Raises as `Store.create`."""
        return _result(self._core.create(draft))

    def receipt(
        self, escalation_id: str, status: str, *, result_digest: str | None = None, reason: str | None = None
    ) -> Received:
        """Record the result of a release: executed, failed or unknown. Raises as `Store.receipt`."""
        return _result(self._core.receipt(escalation_id, status, result_digest=result_digest, reason=reason))

    def withdraw(self, escalation_id: str, reason: str) -> Result:
        """Withdraw an open escalation. Raises as `Store.withdraw`."""
        return _result(self._core.withdraw(escalation_id, reason))

    def get(self, escalation_id: str) -> Found:
        """One escalation as this clone knows it, without asking the remote.

        Raises NotFound, UnreadableRecord, BadInput.
        """
        return _result(self._core.get(escalation_id))

    def gave(self, escalation_id: str) -> str | None:
        """The release id under which this gateway returned the decision, according to its journal.

        None if it did not.
        """
        return self._core.journal.given(escalation_id)

    def list(self, **filters: Unpack[Filters]) -> Listing:
        """The matching escalations as this clone knows them, without asking the remote.

        The filters are those of `Store.list`. Raises BadInput, NotAStore, NoIdentity.
        """
        return _result(self._core.list(filters))

    def _looked(self, held: HeldRequest, stop: threading.Event | None) -> Decision:
        """The result within the caller's time. 0 allows the time of one look."""
        try:
            return self._answer(held, LOOK_SECONDS if held.timeout == 0 else held.timeout, stop)
        except NotResolved:
            raise held.late() from None

    def _answer(self, held: HeldRequest, timeout: float | None, stop: threading.Event | None) -> Decision:
        try:
            return _decided(held.future, timeout, stop)
        except OutOfTime:
            if not self._core.give_up(held, withdraw=False):
                try:
                    return held.future.result(RELEASE_SECONDS)
                except OutOfTime:
                    self._core.give_up(held, withdraw=True)
            raise held.late() from None
        except (KeyboardInterrupt, _Stopped) as error:
            self._core.give_up(held, withdraw=held.on_cancel == "withdraw")
            if isinstance(error, _Stopped):
                raise Interrupted() from None
            raise


class _Stopped(Exception):
    """The caller's own event was set."""


def _decided(future: Future[Decision], timeout: float | None, stop: threading.Event | None) -> Decision:
    if stop is None:
        return future.result(timeout)
    left = timeout
    while True:
        if stop.is_set():
            raise _Stopped
        pause = _STOP_SECONDS if left is None else min(_STOP_SECONDS, left)
        try:
            return future.result(pause)
        except OutOfTime:
            if future.done():
                raise
            if left is not None:
                left -= pause
                if left <= 0:
                    raise


def _result(future: Future[_Answer]) -> _Answer:
    try:
        return future.result()
    except CancelledError:
        raise Interrupted() from None
