"""The options that several commands share, and the reading of their values."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from ..errors import BadInput, Usage
from ..model.ids import is_escalation_id
from ..model.text import visible
from ..model.times import parse_duration, parse_time
from .stores import folder, only_one, work

#: A name that a shell can export (POSIX, 8.1, environment variable definition).
VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
F = TypeVar("F", bound=Callable[..., Any])


def _debug(ctx: click.Context, _: click.Parameter, debug: bool) -> None:
    """Let the git that this command runs be told of, as `KT_LOG=debug` does."""
    if debug and os.environ.get("KT_LOG") != "debug":
        os.environ["KT_LOG"] = "debug"
        ctx.find_root().call_on_close(lambda: os.environ.pop("KT_LOG", None))


def in_folder(
    text: str, callback: Callable[..., Any] | None = None, *, hide_debug: bool = True
) -> Callable[[F], F]:
    """The options that every command has: `-C`, as git has it, and `--debug`, which only groups list."""

    def decorated(function: F) -> F:
        function = click.option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_debug,
            hidden=hide_debug,
            help="Print a line to stderr for each git process: how long it took, its exit code, its arguments.",
        )(function)
        return click.option("-C", "repo", multiple=True, metavar="DIR", callback=callback, help=text)(
            function
        )

    return decorated


_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON; errors are JSON on stderr.")


def in_one_store(function: F) -> F:
    """The option of every command that works on one store: `-C`."""
    return in_folder("Work in this folder's repository.", lambda _, __, value: only_one(value))(function)


def common(function: F) -> F:
    """The same and `--json`, which all have but a session at a terminal."""
    return in_one_store(_AS_JSON(function))


def common_to_several(function: F) -> F:
    """The same for a command that may work on several stores; ``repo`` are all their folders."""
    return in_folder("Work in this folder's repository; may be repeated for several stores.")(
        _AS_JSON(function)
    )


def reads(function: F) -> F:
    """The options of commands that read committed state."""
    function = click.option("--fetch", is_flag=True, help="Ask the remote first.")(function)
    return click.option("--rev", metavar="REV", help="Read this revision instead of the newest known one.")(
        function
    )


def changes(function: F) -> F:
    """Mark a command that changes something: when it fails, that nothing was changed is worth a word."""

    @wraps(function)
    def begun(*args: Any, **kwargs: Any) -> Any:
        work.changes = True
        return function(*args, **kwargs)

    return cast(F, begun)


def writes(function: F) -> F:
    """The options of commands that write to a store."""
    function = changes(function)
    function = click.option(
        "--retry-timeout",
        type=SPAN,
        default=30.0,
        metavar="TIME",
        help="Give up after this long (default 30s).",
    )(function)
    return click.option(
        "--lock-timeout",
        type=SPAN,
        default=60.0,
        metavar="TIME",
        help="Wait this long for the clone's lock (60s).",
    )(function)


PARTIAL = click.option(
    "--partial",
    is_flag=True,
    help="Do what can be done of several, and exit 0 if any was; without it, all or nothing.",
)


def _no_id_for_a_branch(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    """Refuse an id that was meant as an argument and that `--branch`, standing before it, took as its name."""
    if name is not None and is_escalation_id(name):
        raise Usage(
            problem=f"--branch takes the next word as the name of the branch, and {name} is an escalation id",
            hint=f"write `{name} --branch`, or give the branch another name",
        )
    return name


def proposes(function: F) -> F:
    """The option of actions that can be proposed as a pull request."""
    return click.option(
        "--branch",
        is_flag=False,
        flag_value="",
        metavar="[NAME]",
        callback=_no_id_for_a_branch,
        help="Propose it on this branch of the remote, to be merged by a pull request "
        "(without a name kt/<action>/<id>); nothing changes before that.",
    )(function)


def begun_ids(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The ids that begin so, for the shell: of what is open, else of what is resolved; none where anything fails."""
    from ..model.query import Query
    from ..read_store import ReadStore

    # A shell that asks while somebody types has no use for an error.
    with suppress(Exception), ReadStore.at(folder(ctx, ctx.params.get("repo"))) as shelf:
        rows = shelf.rows(Query(limit=0)).page.rows
        found = [
            CompletionItem(
                row.escalation_id, help=visible(f"{row.severity} {row.summary or row.reason_code}")
            )
            for row in rows
            if row.escalation_id.startswith(begun)
        ]
        return found or [CompletionItem(name) for name in shelf.resolved_ids(begun)]
    return []


def takes_ids(*, required: bool = True, one: bool = False, begun: bool = False) -> Callable[[F], F]:
    """The ways to name escalations: as arguments, behind `--id`, or by the request with `--request-id`.

    The command gets ``escalation_ids``, all that were named in whichever way, and ``several``, whether its
    answer is about several; with ``one`` it gets ``escalation_id`` instead, None where none was named and
    none is ``required``. ``begun``: the beginning of an id may stand for it.
    """
    text = "The id, or a unique prefix of it." if begun else "The whole id."
    repeated = "" if one else " May be repeated; - reads ids from stdin."
    metavar = ("ID" if required else "[ID]") + ("" if one else "...")

    def decorated(function: F) -> F:
        @wraps(function)
        def named(*args: Any, **given: Any) -> Any:
            words = (*given.pop("id_arguments"), *given.pop("id_options"))
            found: list[str] = list(words) if one else whole_ids(words)
            found += [of_request(name) for name in given.pop("request_ids")]
            if one:
                given["escalation_id"] = _only_id(found, required=required)
            else:
                given["several"] = len(found) > 1 or "-" in words
                if required and not found and not given["several"]:
                    raise _no_id()
                given["escalation_ids"] = found
            return function(*args, **given)

        for option in (
            click.option(
                "--request-id",
                "request_ids",
                multiple=True,
                metavar="ID",
                help="The one that was raised for this request of the gateway.",
            ),
            click.option(
                "--id",
                "--escalation-id",
                "id_options",
                multiple=True,
                metavar="ID",
                shell_complete=begun_ids,
                help=f"{text}{repeated}",
            ),
            click.argument("id_arguments", nargs=-1, metavar=metavar, shell_complete=begun_ids),
        ):
            named = option(named)
        return cast(F, named)

    return decorated


def of_request(request_id: str) -> str:
    """The id of a request's escalation. Raises BadInput."""
    from ..actions.inputs import id_of_request

    return id_of_request(request_id)


def _only_id(found: Sequence[str], *, required: bool) -> str | None:
    """The one id that was named. Raises Usage where there are several, or none and one is ``required``."""
    if len(found) > 1:
        command = click.get_current_context().command_path
        listed = ", ".join(name[:80] for name in found[:5])
        raise Usage(
            problem=f"`{command}` takes one escalation, and {len(found)} ids were given ({listed})",
            hint="give one id",
        )
    if required and not found:
        raise _no_id()
    return found[0] if found else None


def _no_id() -> Usage:
    command = click.get_current_context().command_path
    return Usage(problem="no escalation id was given", hint=f"give one: `{command} esc_abc123`")


class Span(click.ParamType[float]):
    """A duration such as 90, 90s, 15m, 2h or 7d, in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float | int):
            return float(value)
        try:
            return parse_duration(value).total_seconds()
        except ValueError as error:
            self.fail(str(error), param, ctx)


SPAN = Span()


class Count(click.IntRange):
    """A whole number, at least ``min``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number: int = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a whole number, at least {self.min}", param, ctx)
        return number


def whole_ids(given: Sequence[str]) -> list[str]:
    """The ids of a command line, with `-` standing for those on stdin."""
    found: list[str] = []
    for item in given:
        if item == "-":
            try:
                found += sys.stdin.read().split()
            except UnicodeDecodeError:
                raise BadInput(problem="the ids on stdin are not UTF-8") from None
        else:
            found.append(item)
    return found


def read_file(name: str) -> bytes:
    """A file's bytes, stdin's for `-`. Raises BadInput."""
    try:
        if name == "-":
            return sys.stdin.buffer.read()
        with open(name, "rb") as file:  # noqa: PTH123 - a name from the command line
            return file.read()
    except OSError as error:
        raise BadInput(problem=f"{name}: {error.strerror}") from None


def read_time(text: str | None, now: datetime, option: str = "--since") -> datetime | None:
    """What ``--since`` or another option says: a time, or how long before ``now``. Raises BadInput."""
    if text is None:
        return None
    try:
        return now - parse_duration(text)
    except OverflowError:
        raise BadInput(problem=f"{option} {text} is longer ago than time can say") from None
    except ValueError:
        pass
    try:
        return parse_time(text)
    except ValueError:
        raise BadInput(
            problem=f"{option} is {text[:40]!r}, neither a duration such as 2h nor a time such as 2026-11-23T10:00:00Z"
        ) from None
