"""The command groups, and which module has which command. Options are in options.py."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from .. import __version__
from ..model.vocabulary import VERBS
from .options import in_folder

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class ReaderGone(Exception):
    """The program that reads the output has stopped."""


class Group(click.Group):
    """A group that loads a command only when it is needed, because loading takes time.

    A closed pipe is left to `edge`, because click would exit 1 even if the change has landed. ``modules`` are those
    of this group, in `commands/`, each with its commands: two groups may have a command of one name. ``sections``
    are the headings under which `--help` lists the commands.
    """

    group_class = type  # a group in a group is of its class

    def __init__(
        self,
        *args: Any,
        modules: Mapping[str, Sequence[str]] | None = None,
        sections: Mapping[str, Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.modules = modules or {}
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
        for module in self.modules:
            _load(module)
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in self.commands:
            for module, names in self.modules.items():
                if cmd_name in names:
                    _load(module)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. Raises UsageError; if another group has the command, the error names it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            asked = next(iter(args), "")  # click removes an unknown option from the list
            names = self.list_commands(ctx)
            for name, group in self.commands.items():
                if isinstance(group, click.Group) and group.get_command(ctx, asked):
                    ours = f"{ctx.command_path} {name} {asked}"
                    raise click.UsageError(f"No such command {asked!r}: it is `{ours}`", ctx) from error
            from difflib import get_close_matches

            if asked in VERBS and "resolve" in names:
                decide = f"{ctx.command_path} resolve ID --outcome {asked} --reason TEXT"
                raise click.UsageError(f"No such command {asked!r}: decide with `{decide}`", ctx) from error
            close = get_close_matches(asked, names, 1)
            if close:
                meant = f"{ctx.command_path} {close[0]}"
                raise click.UsageError(f"No such command {asked!r}: did you mean `{meant}`?", ctx) from error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises ReaderGone."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None
        except KeyboardInterrupt:
            # click ends a terminal's line of ^C with an empty one. Whoever reads stderr as JSON gets one object.
            if sys.stderr.isatty():
                raise
            raise click.Abort from None


_IN_GROUP = in_folder(
    "Work in this folder's repository; `list` and `claim --next` take several.", hide_debug=False
)


@click.group(cls=Group, context_settings=_HELP)
@_IN_GROUP
@click.version_option(__version__, "--version", prog_name="kt")
@click.pass_context
def kt(ctx: click.Context, repo: tuple[str, ...]) -> None:
    """Human review for AI gateways, kept in a git repository."""
    ctx.obj = repo


_MODULES = {
    "read": ("list", "get", "log", "schema", "doctor"),
    "claim": ("claim", "unclaim", "resolve", "note"),
    "init": ("init",),
    "raise_": ("raise",),
    "hook": ("hook",),
    "verify": ("verify", "check"),
    "wait": ("wait", "release", "receipt"),
    "withdraw": ("withdraw", "digest"),
    "review": ("review",),
    "web": ("web",),
    "manage": ("assign", "reopen", "restore", "sweep", "compact"),
    "watch": ("events", "watch"),
    "report": ("export", "evidence", "report", "stats"),
}
_SECTIONS = {
    "Review": ("list", "get", "review", "web", "claim", "unclaim", "note", "assign", "resolve", "reopen"),
    "Raise and wait": (
        "raise",
        "wait",
        "release",
        "receipt",
        "withdraw",
        "digest",
        "events",
        "watch",
        "schema",
    ),
    "Prove and count": ("log", "verify", "check", "export", "evidence", "stats", "report"),
    "Look after the store": ("init", "doctor", "hook", "sweep", "restore", "compact"),
}


@kt.group(
    context_settings=_HELP,
    modules=_MODULES,
    sections=_SECTIONS,
    short_help="Raise, list, claim and resolve escalations",
)
@_IN_GROUP
@click.version_option(__version__, "--version", prog_name="kt")
@click.pass_context
def escalation(ctx: click.Context, repo: tuple[str, ...]) -> None:
    """Raise, list, claim and resolve escalations.

    An escalation is a request that a gateway wants a human to decide. It is one YAML file in the
    store's repository, and every step of its life is a commit.
    """
    ctx.obj = repo or ctx.obj


@kt.group(
    context_settings=_HELP,
    modules={"policy": ("lint", "route", "replay", "waive", "schema")},
    short_help="Check and explain who decides what",
)
@_IN_GROUP
@click.pass_context
def policy(ctx: click.Context, repo: tuple[str, ...]) -> None:
    """Check and explain the policies that say where escalations go.

    `lint` reads the files as they stand in the folder, committed or not; `route` and `replay` read
    what is committed unless --policies names a folder.
    """
    ctx.obj = repo or ctx.obj


@kt.group(
    context_settings=_HELP,
    modules={"gateway": ("serve", "mcp")},
    short_help="Hold requests of other programs",
)
@_IN_GROUP
@click.pass_context
def gateway(ctx: click.Context, repo: tuple[str, ...]) -> None:
    """Hold the requests of other programs until people have decided."""
    ctx.obj = repo or ctx.obj


def _load(module: str) -> None:
    import_module(f".commands.{module}", __package__)
