"""Raises lines as they arrive, a few at a time: `raise --batch` with a flush. See docs/streaming.md.

At most one flush is read and not yet raised. While a flush is pushed nothing is read, so a writer that is
faster waits in its own pipe.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..errors import BadInput, Interrupted, KtError, SeveralFailed
from ..model.vocabulary import MAX_BYTES
from ..results import Line, Result
from . import drafts

# The most bytes of lines in one commit, approximately.
_FLUSH_BYTES = 8 * 1024 * 1024
# A record is smaller than this, even if JSON escapes each character and an event has more keys.
MAX_LINE = 4 * MAX_BYTES
_READ_BYTES = 64 * 1024
# select(2) accepts at most some years. A longer time is cut to this.
_LONGEST_WAIT = 20 * 86_400.0


class Arrived(NamedTuple):
    """A line, its number from 1, and when it was read. Only the beginning of a line that is too long is kept."""

    number: int
    data: bytes
    at: float


def raised(
    source: int,
    raise_many: Callable[[Sequence[tuple[int, drafts.Item]], bool], Result],
    *,
    flush_count: int,
    flush_every: float | None,
    partial: bool,
    provider: str | None,
    model: str | None,
) -> Iterator[Result]:
    """The results of `Store.raise_stream`."""
    # The first line without a known result.
    first = 1
    try:
        for lines in flushes(source, flush_count, flush_every):
            items = [(line.number, _item(line.data, provider, model)) for line in lines]
            try:
                result = raise_many(items, partial)
            except SeveralFailed as error:
                if not partial:
                    raise
                result = _all_failed(items, error)
            yield result
            first = lines[-1].number + 1
    except KeyboardInterrupt:
        raise unacknowledged(Interrupted(says="interrupted"), first) from None
    except KtError as error:
        raise unacknowledged(error, first) from None


def unacknowledged(error: KtError, line: int) -> KtError:
    """The error that ends a stream. It says from which line on nothing is acknowledged."""
    fix = "fix that and send it again; lines that were raised before change nothing"
    if isinstance(error, SeveralFailed):
        fix = f"{error.fix} and send it again{error.others}"
    error.unacknowledged_from = line
    # Earlier lines may have changed something.
    error.unchanged = ""
    error.hint = f"nothing from line {line} on is acknowledged; {fix}"
    return error


def flushes(source: int, count: int, every: float | None) -> Iterator[Sequence[Arrived]]:
    """The lines that are not empty, in flushes of at most ``count`` lines or ``every`` seconds, as soon as they arrive.

    ``source`` is a file descriptor, which is read to its end. Raises BadInput.
    """
    waiting: list[Arrived] = []
    size, number, rest, ended = 0, 0, b"", False
    while not ended:
        due = waiting[0].at + every if waiting and every is not None else None
        if _ready(source, due):
            data = _read(source)
            ended = not data
            *whole, rest = (rest + (data or b"\n")).split(b"\n")
            # Enough of a line without an end to see that it is too long.
            rest = rest[: MAX_LINE + 1]
            now = time.monotonic()
            for number, line in enumerate(whole, number + 1):  # noqa: B020 - goes on from the last number
                if line.strip():
                    waiting.append(Arrived(number, line, now))
                    size += len(line)
        while waiting and (
            ended
            or len(waiting) >= count
            or size >= _FLUSH_BYTES
            or (every is not None and time.monotonic() >= waiting[0].at + every)
        ):
            yield waiting[:count]
            del waiting[:count]
            size = sum(len(line.data) for line in waiting)


def _ready(source: int, due: float | None) -> bool:
    """Whether there is something to read, or the end, before the monotonic time ``due``."""
    left = _LONGEST_WAIT if due is None else min(max(due - time.monotonic(), 0), _LONGEST_WAIT)
    return bool(select.select([source], [], [], left)[0])


def _read(source: int) -> bytes:
    """Read what is available. Empty at the end. Raises BadInput."""
    try:
        return os.read(source, _READ_BYTES)
    except OSError as error:
        raise BadInput(problem=f"the lines cannot be read: {error.strerror}") from None


def _item(line: bytes, provider: str | None, model: str | None) -> drafts.Item:
    if len(line) > MAX_LINE:
        return BadInput(problem=f"is longer than {MAX_LINE // 1024} KiB")
    return drafts.read_line(line, provider=provider, model=model)


def _all_failed(items: Sequence[tuple[int, drafts.Item]], error: SeveralFailed) -> Result:
    """The result of a flush in which every line failed."""
    faults = {failure.where: failure.error for failure in error.failures}
    lines = tuple(Line(number, error=faults.get(number)) for number, _ in items)
    skipped = sum(1 for _, item in items if item is None)
    return Result((), None, False, skipped=skipped, failed=error.failures, lines=lines)
