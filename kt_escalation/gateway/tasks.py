"""`AsyncGateway`: holds requests for programs with asyncio. It never uses the loop's default executor."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Self, TypeVar, Unpack

from ..actions.listing import Filters
from ..errors import Interrupted, NotResolved
from ..results import Decision, Found, Listing, Received, Result
from .core import Core
from .held import HeldRequest, Metrics, OnCancel, settle
from .options import LOOK_SECONDS, RELEASE_SECONDS, GatewayOptions

_Answer = TypeVar("_Answer")


class AsyncGateway:
    """The same as `Gateway`, for asyncio.

    Any number of tasks may ask at once, and a cancelled task leaves nothing running.
    ``async with AsyncGateway.open(path) as gateway`` opens and closes it. Its methods belong to one event
    loop.
    """

    def __init__(self, opening: Callable[[], Core]) -> None:
        self._opening = opening
        self._core: Core | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str] = ".", **options: Unpack[GatewayOptions]) -> Self:
        """A gateway for the store in the repository that contains ``path``. It opens when it is entered.

        The options are those of `GatewayOptions`. Entering raises NotAStore, GitFailed, BadInput and
        ShallowClone.
        """
        return cls(partial(Core.open, path, **options))

    async def __aenter__(self) -> Self:
        self._core = await _in_a_thread(self._opening)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all waits and threads within 2 seconds. Held requests get Interrupted."""
        if self._core is not None:
            await _in_a_thread(self._core.close)

    def metrics(self) -> Metrics:
        """The gateway's current metrics, as a frozen value."""
        return self._open.metrics()

    async def ask(
        self,
        draft: Mapping[str, Any],
        *,
        timeout: float | None = None,
        on_cancel: OnCancel = "keep",
        amended: bool = False,
        digest: str | None = None,
    ) -> Decision:
        """Raise, wait and release as `Gateway.ask` does. Raises the same errors.

        If the task is cancelled, ``on_cancel`` says whether the escalation is kept or withdrawn. After
        WaitTimeout the escalation stays open. With ``timeout`` 0 it is raised, and the store is read once.
        """
        held = self._open.ask(draft, timeout, on_cancel, digest=digest, amended=amended)
        return await self._looked(held)

    async def wait(
        self,
        escalation_id: str,
        *,
        timeout: float | None = None,
        amended: bool = False,
        digest: str | None = None,
    ) -> Decision:
        """Wait for the decision on an existing escalation, and do not use it. With ``timeout`` 0, look once.

        Raises as `Store.wait`.
        """
        held = self._open.hold(escalation_id, timeout=timeout, releases=False, digest=digest, amended=amended)
        return await self._looked(held)

    async def release(
        self,
        escalation_id: str,
        *,
        digest: str | None = None,
        amended: bool = False,
        timeout: float | None = 60.0,
    ) -> Decision:
        """Take a decision for its one use, as `Gateway.release` does."""
        held = self._open.hold(escalation_id, timeout=timeout, releases=True, digest=digest, amended=amended)
        return await self._answer(held, timeout)

    async def create(self, draft: Mapping[str, Any]) -> Result:
        """Raise one escalation. Tasks that raise at the same time share a commit. Raises as `Store.create`."""
        return await _result(self._open.create(draft))

    async def receipt(
        self, escalation_id: str, status: str, *, result_digest: str | None = None, reason: str | None = None
    ) -> Received:
        """Record the result of a release: executed, failed or unknown. Raises as `Store.receipt`."""
        return await _result(
            self._open.receipt(escalation_id, status, result_digest=result_digest, reason=reason)
        )

    async def withdraw(self, escalation_id: str, reason: str) -> Result:
        """Withdraw an open escalation. Raises as `Store.withdraw`."""
        return await _result(self._open.withdraw(escalation_id, reason))

    async def get(self, escalation_id: str) -> Found:
        """One escalation as this clone knows it, without asking the remote.

        Raises NotFound, UnreadableRecord, BadInput.
        """
        return await _result(self._open.get(escalation_id))

    async def gave(self, escalation_id: str) -> str | None:
        """The release id under which this gateway returned the decision, according to its journal.

        None if it did not.
        """
        return self._open.journal.given(escalation_id)

    async def list(self, **filters: Unpack[Filters]) -> Listing:
        """The matching escalations as this clone knows them, without asking the remote.

        The filters are those of `Store.list`. Raises BadInput, NotAStore, NoIdentity.
        """
        return await _result(self._open.list(filters))

    @property
    def _open(self) -> Core:
        if self._core is None:
            raise Interrupted(hint="enter the gateway with `async with` first")
        return self._core

    async def _looked(self, held: HeldRequest) -> Decision:
        """The result within the caller's time. 0 allows the time of one look."""
        try:
            return await self._answer(held, LOOK_SECONDS if held.timeout == 0 else held.timeout)
        except NotResolved:
            raise held.late() from None

    async def _answer(self, held: HeldRequest, timeout: float | None) -> Decision:
        answer = asyncio.wrap_future(held.future)
        try:
            done, _ = await asyncio.wait([answer], timeout=timeout)
            if not done and not self._open.give_up(held, withdraw=False):
                done, _ = await asyncio.wait([answer], timeout=RELEASE_SECONDS)
                if not done:
                    self._open.give_up(held, withdraw=True)
        except asyncio.CancelledError:
            self._open.give_up(held, withdraw=held.on_cancel == "withdraw")
            answer.cancel()
            raise
        if not done:
            answer.cancel()
            raise held.late()
        return answer.result()


class CallerGone(Exception):
    """The caller has disconnected."""


async def unless_gone(asking: Coroutine[Any, Any, _Answer], gone: Coroutine[Any, Any, None]) -> _Answer:
    """Await a result, and cancel it if ``gone`` returns first. Raises CallerGone then."""
    asked, leaving = asyncio.ensure_future(asking), asyncio.ensure_future(gone)
    try:
        await asyncio.wait([asked, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            raise CallerGone
        return asked.result()
    finally:
        asked.cancel()
        leaving.cancel()


async def _result(future: Future[_Answer]) -> _Answer:
    return await asyncio.wrap_future(future)


async def _in_a_thread(work: Callable[[], _Answer]) -> _Answer:
    """Run a function in a new thread and return its result. The default thread pool is left to the program."""
    future: Future[_Answer] = Future()

    def run() -> None:
        try:
            settle(future, work())
        except Exception as error:
            settle(future, error)

    threading.Thread(target=run, name="kt gateway opening", daemon=True).start()
    return await asyncio.wrap_future(future)
