"""The two groups of commands, the options that many commands share, and the opening of a store for a command."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from .. import __version__
from ..errors import BadInput, Usage
from ..model.ids import is_escalation_id
from ..model.text import visible
from ..model.times import parse_duration, parse_time
from .terminal.progress import drawn

if TYPE_CHECKING:
    from ..storage.effect import Effect
    from ..storage.interface import Progress
    from ..store import Store

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Work:
    """What the edge has to know of the command that is at work."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget the command before this one."""
        #: Whether it changes something.
        self.changes = False
        #: What has become of each of its changes.
        self.effects: deque[Effect] = deque()
        #: Whether it answers for each change by itself, when that is made, and goes on.
        self.is_session = False

    def begin_session(self) -> None:
        """Let the command answer for each of its changes by itself; only the last one is kept."""
        self.is_session = True
        self.effects = deque(maxlen=1)


work = Work()


class ReaderGone(Exception):
    """Whoever read our output has stopped."""


class Group(click.Group):
    """A group that loads a command when it is asked for, since each costs a start some time.

    It leaves a closed pipe to the edge; click itself would exit 1 whatever had landed. ``sections`` are the
    headings under which `--help` lists the commands.
    """

    def __init__(
        self, *args: Any, sections: Mapping[str, Sequence[str]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections or {}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in `--help`, section by section."""
        if not self.sections:
            super().format_commands(ctx, formatter)
            return
        width = max(map(len, self.list_commands(ctx)))
        for title, names in self.sections.items():
            with formatter.section(title):
                rows = [(name.ljust(width), self.commands[name].get_short_help_str()) for name in names]
                formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        _load_all()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        for module in _MODULES:
            if cmd_name in self.commands:
                break
            import_module(f".commands.{module}", __package__)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is asked for. Raises UsageError, which names the group that has it, if one has."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            for name, group in self.commands.items():
                if isinstance(group, click.Group) and group.get_command(ctx, args[0]):
                    ours = f"{ctx.command_path} {name} {args[0]}"
                    raise click.UsageError(f"No such command {args[0]!r}: it is `{ours}`", ctx) from error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises ReaderGone."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None


def only_one(named: Sequence[str]) -> str | None:
    """The folder of a command that works on one store, None if none is named. Raises Usage."""
    if len(named) > 1:
        raise Usage(
            problem=f"this works on one store, and -C names {len(named)}",
            hint="give one of them; `list` and `claim --next` take several",
        )
    return named[0] if named else None


def _debug(ctx: click.Context, _: click.Parameter, debug: bool) -> None:
    """Let the git that this command runs be told of, as `KT_LOG=debug` does."""
    if debug and os.environ.get("KT_LOG") != "debug":
        os.environ["KT_LOG"] = "debug"
        ctx.find_root().call_on_close(lambda: os.environ.pop("KT_LOG", None))


def _in_folder(
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


_IN_GROUP = _in_folder(
    "Work in this folder's repository; `list` and `claim --next` take several.", hide_debug=False
)


@click.group(cls=Group, context_settings=_HELP)
@_IN_GROUP
@click.version_option(__version__, "--version", prog_name="kt")
@click.pass_context
def kt(ctx: click.Context, repo: tuple[str, ...]) -> None:
    """Human review for AI gateways, kept in a git repository."""
    ctx.obj = repo


_SECTIONS = {
    "Review": ("list", "get", "review", "claim", "unclaim", "note", "assign", "resolve", "reopen"),
    "Raise and wait": ("raise", "wait", "events", "watch", "schema"),
    "Prove and count": ("log", "verify", "check", "export", "evidence", "stats", "report"),
    "Look after the store": ("init", "doctor", "hook", "sweep", "restore", "compact"),
}


@kt.group(
    cls=Group,
    context_settings=_HELP,
    sections=_SECTIONS,
    short_help="Raise, list, claim and resolve escalations",
)
@_IN_GROUP
@click.version_option(__version__, "--version", prog_name="kt")
@click.pass_context
def escalation(ctx: click.Context, repo: tuple[str, ...]) -> None:
    """Raise, list, claim and resolve escalations.

    An escalation is a request that a gateway wants a human to decide. It is one YAML file in the
    store's repository; every step of its life is a commit that has landed before the command ends.
    """
    ctx.obj = repo or ctx.obj


@kt.group(cls=Group, context_settings=_HELP, short_help="Check and explain who decides what")
@_IN_GROUP
@click.pass_context
def policy(ctx: click.Context, repo: tuple[str, ...]) -> None:
    """Check and explain the policies that say where escalations go.

    `lint` reads the files as they stand in the folder, committed or not; `route` and `replay` read
    what is committed unless --policies names a folder.
    """
    ctx.obj = repo or ctx.obj


_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON; errors are JSON on stderr.")


def in_one_store(function: F) -> F:
    """The option of every command that works on one store: `-C`."""
    return _in_folder("Work in this folder's repository.", lambda _, __, value: only_one(value))(function)


def common(function: F) -> F:
    """The same and `--json`, which all have but a session at a terminal."""
    return in_one_store(_AS_JSON(function))


def common_to_several(function: F) -> F:
    """The same for a command that may work on several stores; ``repo`` are all their folders."""
    return _in_folder("Work in this folder's repository; may be repeated for several stores.")(
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
    from ..actions.listing import Shelf
    from ..model.query import Query

    # A shell that asks while somebody types has no use for an error.
    with suppress(Exception), Shelf.at(folder(ctx, ctx.params.get("repo"))) as shelf:
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


@contextmanager
def store_of(
    ctx: click.Context,
    repo: str | None,
    *,
    lock_timeout: float = 60.0,
    retry_timeout: float = 30.0,
    follow_checkout: bool = True,
    progress: Progress | None = None,
) -> Iterator[Store]:
    """The store that the command line names: `-C`, else KT_REPO, else the current folder's."""
    from ..store import Store

    with Store.open(
        folder(ctx, repo),
        lock_timeout=lock_timeout,
        retry_timeout=retry_timeout,
        follow_checkout=follow_checkout,
        progress=progress,
        on_effect=work.effects.append,
    ) as store:
        yield store


@contextmanager
def writing_store(
    ctx: click.Context, given: dict[str, Any], *, follow_checkout: bool = True
) -> Iterator[Store]:
    """The store for a command that writes, with the timeouts that it was given; what lasts is shown."""
    with (
        drawn() as progress,
        store_of(
            ctx,
            given["repo"],
            lock_timeout=given["lock_timeout"],
            retry_timeout=given["retry_timeout"],
            follow_checkout=follow_checkout,
            progress=progress,
        ) as store,
    ):
        yield store


def folder(ctx: click.Context, repo: str | None) -> str:
    """The folder that the command line names. Raises Usage where it names several."""
    return only_one(_named(ctx, (repo,) if repo else ())) or "."


def in_stores(
    ctx: click.Context, repo: tuple[str, ...], one: Callable[[str], T], several: Callable[[Sequence[str]], T]
) -> T:
    """Do it in the one store that is meant, or in several.

    Several are named with `-C`, or where nothing is named and the current folder is in no store, by `kt.store`
    in the user's git configuration.
    """
    named = _named(ctx, repo)
    if not named:
        from .. import multistore

        named = multistore.of_the_user()
        # Asked before anything else is: nobody wants a repository fetched only to learn that it is no store.
        if not named or multistore.is_in_one("."):
            return one(".")
        return several(named)
    return several(named) if len(named) > 1 else one(named[0])


def _named(ctx: click.Context, repo: tuple[str, ...]) -> Sequence[str]:
    """The folders of `-C`, where the command has it, else its groups; else that of KT_REPO; each once."""
    return list(dict.fromkeys(repo or ctx.obj or filter(None, [os.environ.get("KT_REPO")])))


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


def on_terminal() -> bool:
    """Whether the output is for somebody who looks at a terminal."""
    return sys.stdout.isatty()


def put_json(value: Any) -> None:
    """Print one JSON document; everything but plain ASCII is escaped, so nothing acts on a terminal."""
    click.echo(json.dumps(value, indent=2))


def discard_output() -> None:
    """Let what could not be written go nowhere, instead of failing again when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stdout.flush()


def warn(text: str) -> None:
    """Say something on stderr that changes no exit code, not even where it cannot be written."""
    with suppress(OSError):
        click.echo(f"kt: {visible(text)}", err=True)


# Where commands are, those first that are run most, since each costs a start some time.
_MODULES = ("act", "verify", "wait", "review", "manage", "watch", "report", "policy")


def _load_all() -> None:
    for module in _MODULES:
        import_module(f".commands.{module}", __package__)


# The commands register themselves with the groups above; these, which people wait for most, at once.
from .commands import read  # noqa: E402, F401
