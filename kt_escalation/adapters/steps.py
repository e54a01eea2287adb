"""Runs a generator of steps over either kind of gateway.

Each step is a function to call. Its result is awaited if it is awaitable.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from ..errors import BadInput
from ..frozen import dataclass
from ..gateway import AsyncGateway, Gateway

_Answer = TypeVar("_Answer")
AnyGateway = Gateway | AsyncGateway
Steps = Generator[Callable[[], Any], Any, _Answer]


def run(steps: Steps[_Answer]) -> _Answer:
    """Run the steps over a `Gateway`. Raises BadInput for an `AsyncGateway`."""
    step = _next(steps)
    while not isinstance(step, _End):
        try:
            found = step()
            if inspect.iscoroutine(found):
                found.close()
                raise BadInput(problem="an AsyncGateway needs the methods for asyncio")
        except Exception as error:
            step = _next(steps, error=error)
        else:
            step = _next(steps, found)
    return step.answer


async def run_async(steps: Steps[_Answer]) -> _Answer:
    """Run the steps over an `AsyncGateway`. Raises BadInput for a `Gateway`, which would block the event loop."""
    step = _next(steps)
    while not isinstance(step, _End):
        try:
            found = step()
            if not inspect.isawaitable(found):
                raise BadInput(problem="asyncio needs an AsyncGateway")
            found = await found
        except Exception as error:
            step = _next(steps, error=error)
        else:
            step = _next(steps, found)
    return step.answer


@dataclass(frozen=True)
class _End(Generic[_Answer]):
    answer: _Answer


def _next(
    steps: Steps[_Answer], found: Any = None, error: Exception | None = None
) -> Callable[[], Any] | _End[_Answer]:
    try:
        return steps.throw(error) if error is not None else steps.send(found)
    except StopIteration as end:
        return _End(end.value)
