"""The options that several commands share, and the parsing of their values."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import wraps
from typing import Any, BinaryIO, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from ..errors import BadInput, Usage
from ..model.ids import is_escalation_id
from ..model.text import visible
from ..model.times import parse_duration, parse_time
from .stores import folder, work

#: A name that a shell can export (POSIX, 8.1, environment variable definition).
VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# What is read of a file at once, and at most, in bytes. The longest batch that is in use has a tenth of that.
_PIECE, _LARGEST_FILE = 1 << 20, 256 << 20
F = TypeVar("F", bound=Callable[..., Any])


def _debug(ctx: click.Context, _: click.Parameter, debug: bool) -> None:
    """Log the git processes of this command, as `KT_LOG=debug` does."""
    if debug and os.environ.get("KT_LOG") != "debug":
        os.environ["KT_LOG"] = "debug"
        ctx.find_root().call_on_close(lambda: os.environ.pop("KT_LOG", None))


def flag(*words: str, **more: Any) -> Callable[[F], F]:
    """An option without a value: its names, and its help."""
    *names, told = words
    return click.option(*names, is_flag=True, help=told, **more)


def takes(*words: str, **more: Any) -> Callable[[F], F]:
    """An option with a value: its names, the word that stands for the value, and its help."""
    *names, metavar, told = words
    return click.option(*names, metavar=metavar, help=told, **more)


def takes_time(*words: str, **more: Any) -> Callable[[F], F]:
    """An option whose value is a duration, in seconds: its names, and its help."""
    *names, told = words
    return takes(*names, "TIME", told, type=SPAN, **more)


def chooses(*words: Any, **more: Any) -> Callable[[F], F]:
    """An option with one of some words as its value: its names, the words, and its help."""
    *names, choices, told = words
    return click.option(*names, type=click.Choice(choices), help=told, **more)


def in_folder(
    text: str, callback: Callable[..., Any] | None = None, *, hide_debug: bool = True
) -> Callable[[F], F]:
    """The options of every command: `-C`, as in git, and `--debug`, which only the help of groups shows."""

    def decorated(function: F) -> F:
        function = click.option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_debug,
            hidden=hide_debug,
            help="Print a line to stderr for each git process: its duration, its exit code and its arguments.",
        )(function)
        return click.option("-C", "repo", multiple=True, metavar="DIR", callback=callback, help=text)(
            function
        )

    return decorated


_AS_JSON = flag("--json", "as_json", "Print JSON. Errors are JSON on stderr.")


def in_one_store(function: F) -> F:
    """The option of commands that work on one store: `-C`. ``repo`` is the store's folder, also without it."""
    return in_folder("Work in this folder's repository.", lambda ctx, _, named: folder(ctx, named))(function)


def common(function: F) -> F:
    """The options of every command, and `--json`. Only an interactive session does not have them."""
    return in_one_store(_AS_JSON(function))


def common_from(text: str) -> Callable[[F], F]:
    """The same as `common`, for commands whose argument is a path below the folder of `-C`; ``text`` says so."""
    return lambda function: in_folder(text, lambda ctx, _, named: folder(ctx, named))(_AS_JSON(function))


def common_to_several(function: F) -> F:
    """The same as `common`, for commands that may work on several stores. ``repo`` has all their folders."""
    return in_folder("Work in this folder's repository. May be repeated for several stores.")(
        _AS_JSON(function)
    )


_REV = takes("--rev", "REV", "Read this revision instead of the newest one that is known here.")
#: How long a terminal waits for the remote before it shows what is known here.
ASK_SECONDS = 2.0


def reads(function: F) -> F:
    """The options of commands that read committed state."""
    function = flag("--fetch", "Fetch from the remote first.")(function)
    return _REV(function)


def reads_fresh(function: F) -> F:
    """The options of commands that read committed state, and at a terminal ask the remote first."""
    function = click.option(
        "--fetch/--no-fetch",
        default=None,
        help="Fetch from the remote first, or not. By default only a terminal does, for at most 2 s.",
    )(function)
    return _REV(function)


def asks(given: bool | None, rev: str | None, *, people: bool) -> float | None:
    """How many seconds to ask the remote before the output is shown to people.

    None if an option already says what to do.
    """
    if given or rev is not None or not people:
        return None
    return 0.0 if given is False else ASK_SECONDS


def changes(function: F) -> F:
    """Mark a command that changes something. If it fails, the message says that nothing was changed."""

    @wraps(function)
    def begun(*args: Any, **kwargs: Any) -> Any:
        work.changes = True
        return function(*args, **kwargs)

    return cast(F, begun)


def writes(function: F) -> F:
    """The options of commands that write to a store."""
    function = changes(function)
    function = takes_time(
        "--retry-timeout",
        "How long to keep trying to commit and push before giving up (default 30s).",
        default=30.0,
    )(function)
    return takes_time("--lock-timeout", "How long to wait for the clone's lock (default 60s).", default=60.0)(
        function
    )


PARTIAL = flag(
    "--partial",
    "If some cannot be done, do the others, and exit 0 if any was done. Without it, all or nothing.",
)


REASON = takes("--reason", "TEXT", "Why. The text is kept in history for ever.", required=True)
CLAIM_ID = takes("--claim-id", "TOKEN", "Refuse if this is not the current claim.")


def _no_id_for_a_branch(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    """Refuse a branch name that is an escalation id: `--branch` before an id takes that id as its value."""
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
        help="Propose the change on this branch of the remote (default: kt/<action>/<id>). Nothing changes until "
        "the pull request is merged.",
    )(function)


def begun_ids(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Shell completion of ids: open escalations, else resolved ones; only those for `reopen`. Empty if anything fails."""
    from ..model.query import Query
    from ..read_store import ReadStore

    # A shell that completes while somebody types cannot show an error.
    with suppress(Exception), ReadStore.open(_folder_of(ctx)) as shelf:
        rows = shelf.rows(Query(limit=0)).page.rows if ctx.info_name != "reopen" else ()
        found = [
            CompletionItem(
                row.escalation_id, help=visible(f"{row.severity} {row.summary or row.reason_code}")
            )
            for row in rows
            if row.escalation_id.startswith(begun)
        ]
        return found or [CompletionItem(name) for name in shelf.resolved_ids(begun)]
    return []


def _folder_of(ctx: click.Context) -> str:
    """The store's folder while a shell completes. Commands for several stores have a list."""
    repo = ctx.params.get("repo") or ()
    return repo if isinstance(repo, str) else folder(ctx, repo)


def commit_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options about committing that a command has, as keywords of the store's methods."""
    return {key: given[key] for key in ("claim_id", "branch", "partial") if key in given}


def takes_ids(*, required: bool = True, one: bool = False, begun: bool = False) -> Callable[[F], F]:
    """Add the ways to name escalations: as arguments, with `--id`, or by the request with `--request-id`.

    The command gets ``escalation_ids``, a list of all that were named, and ``several``, whether the output is
    about several. With ``one`` it gets ``escalation_id`` instead. That is None if none was named and
    ``required`` is False. With ``begun``, a unique prefix can stand for an id.
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
            takes(
                "--request-id",
                "request_ids",
                "ID",
                "The one that was raised for this request of the gateway.",
                multiple=True,
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
    """The escalation id of a request. Raises BadInput."""
    from ..actions.inputs import id_of_request

    return id_of_request(request_id)


def _only_id(found: Sequence[str], *, required: bool) -> str | None:
    """The one id that was named. Raises Usage if there are several, or none and one is ``required``."""
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
    """The ids in the arguments. `-` stands for the ids on stdin."""
    found: list[str] = []
    for item in given:
        if item == "-":
            try:
                found += read_file("-").decode().split()
            except UnicodeDecodeError:
                raise BadInput(problem="the ids on stdin are not UTF-8") from None
        else:
            found.append(item)
    return found


def read_file(name: str) -> bytes:
    """The bytes of a file, or of stdin for `-`. Raises BadInput, also for one that has no end."""
    try:
        if name == "-":
            return _whole(sys.stdin.buffer, name)
        with open(name, "rb") as file:  # noqa: PTH123 - a name from the command line
            return _whole(file, name)
    except OSError as error:
        raise BadInput(problem=f"{called(name)}: {error.strerror}") from None


def _whole(file: BinaryIO, name: str) -> bytes:
    # In pieces, so that ^C and SIGTERM are heard between them.
    data = bytearray()
    while piece := file.read(_PIECE):
        data += piece
        if len(data) > _LARGEST_FILE:
            raise BadInput(problem=f"{called(name)} is larger than {_LARGEST_FILE >> 20} MiB")
    return bytes(data)


def called(name: str) -> str:
    """What errors call a file: its name, or stdin."""
    return "stdin" if name == "-" else name


def read_time(text: str | None, now: datetime, option: str = "--since") -> datetime | None:
    """Parse the value of ``--since`` or another option: a time, or a duration before ``now``. Raises BadInput."""
    if text is None:
        return None
    try:
        return now - parse_duration(text)
    except OverflowError:
        raise BadInput(problem=f"{option} {text} is too long ago") from None
    except ValueError:
        pass
    try:
        return parse_time(text)
    except ValueError:
        raise BadInput(
            problem=f"{option} is {text[:40]!r}, neither a duration such as 2h nor a time such as 2026-11-23T10:00:00Z"
        ) from None
