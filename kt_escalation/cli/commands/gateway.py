"""`kt gateway serve` and `kt gateway mcp`: hold the requests of other programs, over HTTP and MCP.

See docs/adapters/.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ...errors import BadInput
from ..app import gateway
from ..options import Count, chooses, in_one_store, takes, takes_time
from ..output import warn
from ..stores import work

_LONGEST_TOKEN = 4096
_JOURNAL = takes(
    "--journal",
    "DIR",
    "The folder for the journal of releases (default: below $XDG_STATE_HOME or ~/.local/state).",
)


@gateway.command("serve", short_help="Hold requests over HTTP.")
@takes(
    "--listen",
    "HOST:PORT",
    "Listen here. Port 0 takes a free one.",
    default="127.0.0.1:8181",
    show_default=True,
)
@takes(
    "--token-file",
    "FILE",
    "The first line is the token that callers give, as `Authorization: Bearer` or `x-api-key`.",
    required=True,
)
@takes_time(
    "--hold", "How long to hold a request, unless it says otherwise (default 25s, at most 5m).", default=25.0
)
@takes("--max-held", "N", "Hold at most this many at once (default 1000).", type=Count(min=1), default=1000)
@takes(
    "--excerpt",
    "N",
    "Put this many characters of a text into git, where reviewers see them (default 0).",
    type=Count(min=0),
    default=0,
)
@takes("--header", "headers", "NAME", "Show reviewers this header. May be repeated.", multiple=True)
@chooses(
    "--on-cancel",
    ["keep", "withdraw"],
    "What happens to a review when its caller disconnects.",
    default="keep",
    show_default=True,
)
@_JOURNAL
@in_one_store
def serve_command(repo: str, listen: str, token_file: str, journal: str | None, **given: Any) -> None:
    """Raise escalations for other programs, hold their requests, and answer with the decisions.

    The command prints one line, its address, and runs until SIGTERM or ^C. Then it answers every held request
    with 503 and ends within 5 seconds. The reviews stay open, and the same request finds its decision later.
    """
    try:
        from ...gateway import server, service
    except ModuleNotFoundError as error:
        from ...reporting import extras

        raise extras.missing("gateway serve", "gateway", error) from None
    from ...gateway import AsyncGateway

    work.begin_session()
    _require_hold(given["hold"])
    given |= {"token": _token(token_file), "headers": _headers(given["headers"])}
    options = service.HttpOptions(hidden=_hidden(repo), **given)

    async def run() -> None:
        async with AsyncGateway.open(repo, journal_folder=journal, tell=warn) as opened:
            with server.listening(listen) as listener:

                def ready() -> None:
                    click.echo(f"listening on {server.address_of(listener)}")
                    sys.stdout.flush()

                await server.serve(opened, options, listener, ready, warn)

    asyncio.run(run())


@gateway.command("mcp", short_help="Hold requests of agents over MCP.")
@takes_time("--hold", "Hold a call at most this long (default 25s, at most 5m).", default=25.0)
@_JOURNAL
@in_one_store
def mcp_command(repo: str, hold: float, journal: str | None) -> None:
    """Serve the Model Context Protocol on stdin and stdout: agents ask for reviews and get decisions.

    The tools are request_review, await_review, get_review, list_reviews and withdraw_review. No tool can
    decide. The command runs until stdin ends.
    """
    try:
        from ...gateway import mcp
    except ModuleNotFoundError as error:
        from ...reporting import extras

        raise extras.missing("gateway mcp", "mcp", error) from None
    from ...gateway import AsyncGateway

    work.begin_session()
    _require_hold(hold)
    # A stdin that was closed is a null device that cannot be read (`edge`); the SDK would fail in the middle.
    with suppress(OSError):
        if fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            raise BadInput(
                problem="stdin is closed, and agents write their calls to it; an agent's host starts this command"
            )
    options = mcp.McpOptions(hold, _hidden(repo))

    async def run() -> None:
        async with AsyncGateway.open(repo, journal_folder=journal, tell=warn) as opened:
            await mcp.serve(opened, options)

    asyncio.run(run())


def _require_hold(hold: float) -> None:
    """Raise BadInput for a hold that is too long."""
    from ...gateway.options import LONGEST_HOLD

    if hold > LONGEST_HOLD:
        raise BadInput(problem=f"--hold is at most {LONGEST_HOLD:.0f} s")


def _hidden(where: str) -> tuple[str, ...]:
    """Texts about this machine that no answer may contain."""
    return (str(Path(where).resolve()), os.path.expanduser("~"))  # noqa: PTH111


def _headers(names: Sequence[str]) -> tuple[str, ...]:
    """The names of headers. Raises BadInput, since a name that no request can have would show reviewers nothing."""
    for name in names:
        if re.fullmatch(r"[!#$%&'*+.^_`|~\w-]+", name, re.ASCII) is None:
            raise BadInput(problem=f"--header {name[:80]!r} is not a valid name of a header")
    return tuple(names)


def _token(path: str) -> str:
    """The token: the first line of its file. Raises BadInput."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            token = file.readline(_LONGEST_TOKEN).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(problem=f"{path}: {getattr(error, 'strerror', 'is not UTF-8')}") from None
    if not token or not token.isascii() or not token.isprintable():
        raise BadInput(
            problem=f"the first line of {path} is not a token: printable ASCII without spaces around it"
        )
    return token
