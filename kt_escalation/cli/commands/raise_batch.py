"""`raise --batch` as a stream: acknowledges each line when it is on the remote. See docs/streaming.md."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...actions.options import FLUSH_COUNT
from ...actions.stream import unacknowledged
from ...errors import BadInput, Interrupted, KtError
from ...model.text import visible
from .. import signals
from ..output import attributes, discard_output, exit_with, warn
from ..stores import work, writing_store

if TYPE_CHECKING:
    from ...results import Decision, Line, Result
    from ...store import Store

    #: The decision on an escalation that was already decided, and why it may not be used.
    DecisionOrError = tuple[Decision | None, KtError | None]


def stream(given: dict[str, Any]) -> None:
    """Raise lines as they arrive, and print the result of each. Exits like `raise`."""
    work.begin_session()
    counts: Counter[str] = Counter()
    first_fault: KtError | None = None
    options = {key: given[key] for key in ("flush_every", "partial", "provider", "model")}
    with (
        _input(given["batch_file"]) as source,
        writing_store(given, follow_checkout=False) as store,
    ):
        results = store.raise_stream(source, flush_count=given["flush_count"] or FLUSH_COUNT, **options)
        try:
            for result in _until_stopped(results, given["as_json"]):
                counts.update(_status(line) for line in result.lines)
                counts["commits"] += result.changed
                if result.failed and first_fault is None:
                    first_fault = result.failed[0].error
        finally:
            _update_checkout(store)
    if not given["as_json"]:
        others = [f"{counts[word]} {words}" for word, words in _OTHERS.items() if counts[word]]
        inside = f" ({', '.join(others)})" if others else ""
        commits = "1 commit" if counts["commits"] == 1 else f"{counts['commits']} commits"
        warn(f"{counts['raised']} raised{inside} in {commits}")
    if first_fault and not counts["raised"] + counts["unchanged"]:
        exit_with(first_fault.exit_code)


_OTHERS = {"unchanged": "already done", "skipped": "skipped as not escalating", "failed": "failed"}


def _until_stopped(results: Iterator[Result], as_json: bool) -> Iterator[Result]:
    """Yield each result when its lines are acknowledged. Raises Interrupted."""
    # The number of the first line that is not acknowledged.
    first = 1
    stop = _Stop()
    with signals.heeding(stop):
        try:
            while True:
                stop.at_once = True
                result = next(results, None)
                stop.at_once = False
                if result is None:
                    return
                first = result.lines[0].number
                _acknowledge(result, as_json)
                first = result.lines[-1].number + 1
                yield result
                if stop.asked:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise unacknowledged(Interrupted(says="interrupted"), first) from None
        except _OutputFailed as error:
            discard_output()
            raise unacknowledged(
                Interrupted(says=f"stopped: the acknowledgements cannot be written ({error})"), first
            ) from None


class _OutputFailed(Exception):
    """The acknowledgements cannot be written. The message says why."""


class _Stop:
    """Handles a signal: at once while kt waits for lines or raises them, else after the next acknowledgement."""

    def __init__(self) -> None:
        self.asked = False
        self.at_once = False

    def __call__(self, _: int) -> None:
        # The second signal ends at once, because the reader of the acknowledgements may have stalled.
        at_once, self.asked = self.at_once or self.asked, True
        if at_once:
            raise KeyboardInterrupt


@contextmanager
def _input(name: str) -> Iterator[int]:
    """The file descriptor to read from. Raises BadInput."""
    if name == "-":
        yield sys.stdin.fileno()
        return
    try:
        source = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BadInput(problem=f"{name}: {error.strerror}") from None
    try:
        yield source
    finally:
        os.close(source)


def _acknowledge(result: Result, as_json: bool) -> None:
    """Print one line for each input line. All are written before more input is read."""
    warn(*result.warnings)
    if not as_json:
        for failure in result.failed:
            warn(f"line {failure.where}: {failure.error.message}")
    say = _as_json if as_json else _as_text
    decided = _decided(result)
    try:
        sys.stdout.write("".join(f"{say(line, result.commit, decided)}\n" for line in result.lines))
        sys.stdout.flush()
    except OSError as error:
        raise _OutputFailed(error.strerror or error) from None


def _status(line: Line) -> str:
    if line.error:
        return "failed"
    if line.escalation_id is None:
        return "skipped"
    return "raised" if line.changed else "unchanged"


def _decided(result: Result) -> Mapping[str | None, DecisionOrError]:
    decisions = {found.escalation_id: found for found in result.decisions}
    errors = {str(failure.where): failure.error for failure in result.decision_errors}
    return {name: (decisions.get(name), errors.get(name)) for name in (*decisions, *errors)}


def _as_text(line: Line, _: str | None, decided: Mapping[str | None, DecisionOrError]) -> str:
    found, error = decided.get(line.escalation_id, (None, None))
    word = f" {error.code}" if error else f" {found.outcome}" if found else ""
    return f"{line.number} {visible(line.escalation_id or '-')} {_status(line)}{word}"


def _as_json(line: Line, commit: str | None, decided: Mapping[str | None, DecisionOrError]) -> str:
    answer: dict[str, Any] = {
        "line": line.number,
        "status": _status(line),
        "escalation_id": line.escalation_id,
        "commit": commit if line.escalation_id else None,
        "changed": line.changed,
    }
    fault = attributes(line.error, "code", "message") if line.error else {}
    found, error = decided.get(line.escalation_id, (None, None))
    if found:
        answer["decision"] = found.as_json()
    if error:
        answer["decision_error"] = error.as_json()
    return json.dumps(answer | fault)


def _update_checkout(store: Store) -> None:
    """Update the checkout to what has landed. A failure here does not change the exit code."""
    if store.landed is None:
        return
    # A signal may have interrupted an answer of git.
    store.close()
    try:
        left = store.follow(fetch=False)
    except (Exception, KeyboardInterrupt) as error:
        left = str(error) or type(error).__name__
    if left:
        warn(f"the checkout was left as it is: {left}")
