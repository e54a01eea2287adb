"""`kt escalation web`: a desk in the browser of the reviewer's own machine. See docs/desk.md."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from ...model.text import visible
from .. import signals
from ..app import escalation
from ..options import Count, flag, in_one_store, takes, writes
from ..output import warn
from ..stores import store_of, work


def _print_bug(text: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(visible(text, lines=True), err=True)


@escalation.command("web", short_help="Decide escalations in your browser.")
@takes("--port", "N", "Listen on this port (default: a free one).", type=Count(min=0), default=0)
@flag("--no-open", "Print the address only, and open no browser.")
@writes
@in_one_store
def web_command(port: int, no_open: bool, repo: str, **timeouts: Any) -> None:
    """Open a desk in your browser: the queue, each escalation, your decisions and the store's state.

    The desk runs on this machine only and acts as you, by the same rules as the other commands. It
    prints one line, its address. The address opens the desk once, in one browser.

    The desk ends when you press ^C or close the terminal. It then gives back what it claimed and nobody
    decided.

    Exits 0 at the end; 4 or 9 if something could not be given back. The message then has the command
    that gives it back.
    """
    try:
        from ...web import serving
    except ModuleNotFoundError as error:
        from ...reporting import extras

        raise extras.missing("web", "web", error) from None
    from ...read_store import ReadStore

    work.begin_session()
    with (
        store_of(repo, **timeouts) as store,
        ReadStore.open(repo) as follower,
        contextlib.ExitStack() as stack,
    ):
        with serving.opened(store, follower, repo, port, _print_bug) as it:
            # As soon as the address can be read, ^C is how a desk ends.
            with contextlib.suppress(KeyboardInterrupt):
                click.echo(it.address)
                sys.stdout.flush()
                if not no_open:
                    serving.browse(it.address)
                it.ended.wait()
            # The terminal may be gone and send several signals. The remaining work takes seconds.
            stack.enter_context(signals.heeding(lambda _: None))
        failed = it.desk.give_back(warn)
        if failed:
            raise failed
