"""Group commit: calls of several threads that share one commit, each with an answer of its own (design, section 5)."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

#: So many share one commit at most.
MOST = 500


@dataclass(eq=False)
class _Call(Generic[_Item, _Answer]):
    """What one thread asks for, and what came of it."""

    item: _Item
    answer: _Answer | BaseException | None = None


class GroupCommit(Generic[_Item, _Answer]):
    """Whoever comes while a commit is under way shares the next one with all who have come by then.

    ``land`` commits several items together; its answers, or errors, are theirs in the same order.
    """

    def __init__(self, land: Callable[[Sequence[_Item]], Sequence[_Answer | Exception]]) -> None:
        self._land = land
        self._calls: list[_Call[_Item, _Answer]] = []
        self._gathering, self._leading = threading.Lock(), threading.Lock()

    def join(self, item: _Item) -> _Answer:
        """What comes of one item. Raises what ``land`` answers or raises for it."""
        call: _Call[_Item, _Answer] = _Call(item)
        with self._gathering:
            self._calls.append(call)
        try:
            with self._leading:
                if call.answer is None:
                    self._lead()
        finally:
            # Whoever is interrupted before its turn has asked for nothing.
            with self._gathering, suppress(ValueError):
                self._calls.remove(call)
        answer = call.answer
        assert answer is not None  # noqa: S101 - whoever leads answers all who have come
        if isinstance(answer, BaseException):
            # Each thread has a traceback of its own.
            raise copy.copy(answer) from answer
        return answer

    def _lead(self) -> None:
        with self._gathering:
            calls, self._calls = self._calls[:MOST], self._calls[MOST:]
        try:
            answers = self._land([call.item for call in calls])
        except BaseException as error:
            for call in calls:
                call.answer = error
            raise
        for call, answer in zip(calls, answers, strict=True):
            call.answer = answer
