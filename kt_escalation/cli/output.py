"""Prints the result of an action, for people or for programs."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from ..model.text import visible
from ..model.times import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from ..model.record import Record
    from ..multistore import Taken
    from ..results import Decision, Result
    from ..storage.interface import Invalid

_DO = {
    "approved": "release the request as it is",
    "redacted": "release the request redacted, as the review's reason says",
    "rewritten": "release the request rewritten, as the review's reason says",
    "denied": "do not release the request",
    "expired": "do not release the request: nobody decided in time",
    "withdrawn": "do not release the request: it was withdrawn",
}


def report(
    result: Result, as_json: bool, several: bool, done: str, same: str, propose: str = "change {id}"
) -> None:
    """Print the result of an action.

    ``done`` is the sentence for one changed record, ``same`` for an unchanged one. ``propose`` completes the
    sentence that begins "proposed to".
    """
    warn(*result.warnings)
    if as_json:
        put_json(as_json_of(result, several))
        return
    for failure in result.failed:
        where = f"line {failure.where}" if isinstance(failure.where, int) else failure.where
        warn(f"{where}: {failure.error.message}")
    commit = (result.commit or "")[:12]
    if several:
        for record in result.records:
            click.echo(record.escalation_id)
        extra = [f"{result.unchanged} already done"] if result.unchanged else []
        extra += [f"{result.skipped} skipped as not escalating"] if result.skipped else []
        extra += [f"{len(result.failed)} failed"] if result.failed else []
        inside = f" ({', '.join(extra)})" if extra else ""
        if result.proposed:
            warn(f"{result.written} proposed{inside} on branch {result.branch} in commit {commit}")
            warn(request_line(result))
            return
        where = f" in commit {commit}" if result.changed else ""
        warn(f"{result.written} changed{inside}{where}")
        return
    for record in result.records:
        words = _sentence(record, result, done if result.changed else same)
        if result.found:
            words = f"{record.escalation_id} is proposed on branch {result.branch} already"
        elif result.proposed:
            to = _sentence(record, result, propose)
            words = f"proposed to {to} on branch {result.branch} in commit {commit}"
        click.echo(visible(words))
    if result.proposed:
        click.echo(visible(request_line(result)))


def report_of_several(taken: Taken, as_json: bool, several: bool, done: str, same: str) -> None:
    """Print the results of an action in several stores, each with the name of its store."""
    for path, result in taken.results:
        warn(*(f"{path}: {text}" for text in result.warnings))
    if as_json and not several:
        [(path, result)] = taken.results
        put_json({"store": path, **as_json_of(result, several=False)})
    elif as_json:
        put_json(
            {
                "escalations": [
                    {"store": path, **record.as_dict()}
                    for path, result in taken.results
                    for record in result.records
                ],
                "commits": {path: result.commit for path, result in taken.results},
                "changed": any(result.changed for _, result in taken.results),
                "unchanged": sum(result.unchanged for _, result in taken.results),
                "failed": [
                    {"store": path, **attributes(error, "code", "message")} for path, error in taken.faults
                ],
            }
        )
    elif several:
        for path, result in taken.results:
            for record in result.records:
                click.echo(visible(path) + f"\t{record.escalation_id}")
            where = f" in commit {(result.commit or '')[:12]}" if result.changed else ""
            warn(f"{path}: {result.written} changed{where}")
    else:
        [(path, result)] = taken.results
        words = _sentence(result.record, result, done if result.changed else same)
        click.echo(visible(f"{path}: {words}"))


def _sentence(record: Record, result: Result, words: str) -> str:
    """Fill the facts about a record into a sentence."""
    return words.format(
        id=record.escalation_id,
        holder=record.claim.claimed_by if record.claim else "",
        claim=record.claim.claim_id if record.claim else "",
        until=f" until {journal_time()(record.claim.expires_at).rstrip()}"
        if record.claim and record.claim.expires_at
        else "",
        outcome=record.reviews[-1].outcome if record.reviews else "",
        commit=(result.commit or "")[:12],
        status=record.resolution.outcome if record.resolution else record.status,
    )


def report_decided(result: Result, several: bool) -> None:
    """Print decisions on escalations that were raised again. A decision that cannot be used becomes a warning."""
    errors = {failure.where: failure.error for failure in result.decision_errors}
    if several:
        for found in result.decisions:
            if found.escalation_id not in errors:
                warn(
                    f"{found.escalation_id} is {found.outcome} by {', '.join(found.by)}: {what_to_do(found)}"
                )
    for error in errors.values():
        warn(error.message)


def report_decision(result: Result, as_json: bool, several: bool) -> None:
    """Print the result of `resolve`."""
    short = not several and result.record.resolution is None
    done = "resolved {id} as {outcome} in commit {commit}"
    propose = "resolve {id} as {outcome}"
    if short:
        done = "reviewed {id} as {outcome} in commit {commit}; it needs another reviewer"
        propose = "review {id} as {outcome}"
    report(result, as_json, several, done, "{id} is {outcome} by you already", propose)


def request_line(result: Result) -> str:
    """The next step for a proposal."""
    where = result.request_url or f"a pull request from {result.branch}"
    return f"nothing changes until it is merged; open {where}"


def as_json_of(result: Result, several: bool) -> dict[str, Any]:
    """The JSON of an action on one record, or on several. See docs/reference.md."""
    one = change_as_json(result)
    if not several:
        return {"escalation": result.records[0].as_dict() if result.records else None, **one}
    return {
        "escalations": [record.as_dict() for record in result.records],
        **one,
        **attributes(result, "unchanged", "skipped"),
        "failed": [failure.as_json() for failure in result.failed],
    }


def change_as_json(result: Result) -> dict[str, Any]:
    """The JSON of an action's commit."""
    names = ("proposed", "branch", "request_url") if result.proposed else ()
    return attributes(result, "commit", "changed", *names)


def decisions_as_json(result: Result, several: bool) -> dict[str, Any]:
    """The JSON of decisions on escalations that were raised again. Empty if there are none."""
    found: dict[str, Any] = {}
    if not several:
        if result.decision is not None:
            found["decision"] = result.decision.as_json()
        if result.decision_errors:
            found["decision_error"] = result.decision_errors[0].error.as_json()
        return found
    if result.decisions:
        found["decisions"] = [one.as_json() for one in result.decisions]
    if result.decision_errors:
        found["decision_errors"] = [failure.as_json() for failure in result.decision_errors]
    return found


def what_to_do(found: Decision) -> str:
    """The gateway's next step after a decision."""
    if found.amendment is not None:
        return "release the request as the amendment says, and not as it was proposed"
    return _DO[found.outcome]


def on_terminal() -> bool:
    """Whether the output goes to a terminal."""
    return sys.stdout.isatty()


def journal_time() -> Callable[[datetime], str]:
    """The time format for the lines of a journal: exact and in UTC for programs, short and local for people."""
    if not on_terminal():
        return format_time
    from .terminal import clock

    return clock.column


def for_people(text: str, stream: TextIO) -> str:
    """A message in the form for a stream.

    At a terminal, times are short and local. Hidden characters are made visible.
    """
    if stream is not None and stream.isatty():
        from .terminal import clock

        text = clock.spoken(text)
    return visible(text)


def attributes(value: object, *names: str) -> dict[str, Any]:
    """Some attributes of a value by name, in this order."""
    return {name: getattr(value, name) for name in names}


def unreadable(items: Iterable[Invalid]) -> list[dict[str, str]]:
    """The JSON of files that cannot be read."""
    return [attributes(item, "path", "error") for item in items]


def put_json(value: Any) -> None:
    """Print one JSON document. Everything but plain ASCII is escaped, so nothing in it controls a terminal."""
    click.echo(json.dumps(value, indent=2))


def discard_output() -> None:
    """Discard unwritten output, so that Python does not fail on it again at exit."""
    _discard(sys.stdout)


def settle_streams() -> None:
    """Discard output that cannot be written. Otherwise Python would fail on it at exit, with exit code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _discard(stream)


def _discard(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        stream.flush()


def warn(*texts: str) -> None:
    """Print warnings to stderr. An error in doing so does not change the exit code."""
    for text in texts:
        with suppress(OSError):
            click.echo(f"kt: {for_people(text, sys.stderr)}", err=True)


def exit_with(code: int) -> NoReturn:
    """End the command with an exit code that is no error."""
    click.get_current_context().exit(code)
