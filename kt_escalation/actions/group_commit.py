"""Group commit: calls of several threads share one commit, and each gets an answer of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import Interrupted, OutcomeUnknown

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

#: The most items in one commit.
MOST = 500
#: How long an interrupted caller waits for the answer to the push under way, in seconds.
INTERRUPT_SECONDS = 5.0
_POLL_SECONDS = 0.01


@dataclass(eq=False)
class _Call(Generic[_Item, _Answer]):
    """The request of one thread, and its answer."""

    item: _Item
    answer: _Answer | Exception | None = None


class GroupCommit(Generic[_Item, _Answer]):
    """Callers that arrive while a commit is under way share the next commit.

    ``land`` commits several items together. It returns a result or an error for each item, in the same order.
    """

    def __init__(self, land: Callable[[Sequence[_Item]], Sequence[_Answer | Exception]]) -> None:
        self._land = land
        self._calls: list[_Call[_Item, _Answer]] = []
        # A leader that is interrupted while it hands over does not wait for itself.
        self._gathering, self._leading = threading.RLock(), threading.RLock()

    def join(self, item: _Item) -> _Answer:
        """The result of one item. Raises the error that ``land`` returns or raises for it."""
        call: _Call[_Item, _Answer] = _Call(item)
        with self._gathering:
            self._calls.append(call)
        try:
            with self._leading:
                while call.answer is None:
                    self._lead()
        except KeyboardInterrupt:
            self._interrupted(call)
        answer = call.answer
        assert answer is not None  # noqa: S101 - the leader has answered every caller
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _interrupted(self, call: _Call[_Item, _Answer]) -> None:
        """Answer an interrupted call. If its item was not taken yet, nothing was requested."""
        with self._gathering:
            if call in self._calls:
                self._calls.remove(call)
                call.answer = Interrupted()
        until = time.monotonic() + INTERRUPT_SECONDS
        while call.answer is None and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        call.answer = call.answer or _unknown()

    def _lead(self) -> None:
        calls: list[_Call[_Item, _Answer]] = []
        answers: Sequence[_Answer | Exception] = ()
        failure: Exception | None = None
        try:
            with self._gathering:
                calls, self._calls = self._calls[:MOST], self._calls[MOST:]
            answers = self._land([call.item for call in calls])
        except Exception as error:
            failure = error
        finally:
            # Also after other exceptions: nobody may wait for ever, or get an answer that is not known.
            for number, call in enumerate(calls):
                call.answer = answers[number] if answers else failure or _unknown()


def _unknown() -> OutcomeUnknown:
    return OutcomeUnknown(
        commit="a commit", remote="the remote", words="interrupted", find="kt escalation list --fetch"
    )
