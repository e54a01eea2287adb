"""The commands that follow a store: events, watch."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ...errors import BadInput, WaitTimeout
from ...model.times import format_time
from ...reporting import plain_text
from ..app import escalation
from ..options import SPAN, Count, F, common, read_time, reads
from ..output import warn
from ..stores import store_of
from ..terminal.progress import drawn, printed

if TYPE_CHECKING:
    from ...model.event import Event
    from ...reporting.delivery import Taker
    from ...store import Store


def _format(function: F) -> F:
    return click.option(
        "--format",
        "form",
        type=click.Choice(["text", "json", "cloudevents"]),
        help="How to print each event, on one line: text (default), json, or cloudevents (CloudEvents 1.0 as "
        "JSON). --json is the same as --format json.",
    )(function)


@escalation.command("events", short_help="Show what happened, oldest first.")
@click.option(
    "--since",
    metavar="WHEN",
    help="Only events after a revision or a cursor, or since a time: 2h, 7d, or an RFC 3339 time.",
)
@click.option("--limit", type=Count(min=1), metavar="N", help="Print at most this many (default: all).")
@_format
@reads
@common
@click.pass_context
def events_command(ctx: click.Context, /, **given: Any) -> None:
    """Show what happened, oldest first: one event for each action on each escalation.

    Events are read from git history, so you can print them again at any time. Each has a cursor. To
    continue after an event, run the command again with --since CURSOR.
    """
    form = given["form"] or ("json" if given["as_json"] else "text")
    with drawn(prints=True) as progress, store_of(ctx, given["repo"], progress=progress) as store:
        found = store.events(_since(given["since"]), rev=given["rev"], fetch=given["fetch"])
        show = _printer(store, form)
        last, count = None, 0
        for event in printed(islice(found, given["limit"]), progress):
            show(event)
            last, count = event, count + 1
    if last and count == given["limit"]:
        warn(f"there may be more: go on with --since {last.cursor}")


@escalation.command("watch", short_help="Print each event as it happens, or pass it on.")
@click.option(
    "--since",
    metavar="WHEN",
    help="Begin after a revision or a cursor, or at a time (2h, or RFC 3339), instead of now.",
)
@click.option(
    "--cursor",
    "cursor",
    metavar="FILE",
    help="Keep the position in this file, and continue there next time.",
)
@click.option(
    "--exec",
    "command",
    metavar="CMD",
    help="Run this program for each event, without a shell. It gets the event as JSON on stdin.",
)
@click.option(
    "--webhook", metavar="URL", help="Send each event to this address, signed with KT_WEBHOOK_SECRET."
)
@click.option(
    "--retries",
    type=Count(min=0),
    default=8,
    show_default=True,
    metavar="N",
    help="Try this many times more before giving up.",
)
@click.option(
    "--interval",
    type=SPAN,
    metavar="TIME",
    help="How often to ask the remote (default: every 0.5s at first, every 15s later).",
)
@click.option("--once", is_flag=True, help="Exit when there are no more events.")
@click.option("--count", type=Count(min=1), metavar="N", help="Exit after this many events.")
@click.option("--timeout", type=SPAN, metavar="TIME", help="Exit after this long.")
@_format
@common
@click.pass_context
def watch_command(ctx: click.Context, /, **given: Any) -> None:
    """Print each event as it happens, or pass it to a program or a webhook.

    Events come in order and at least once. The cursor moves after an event was delivered, so no event
    is lost, and after a crash the last one may come again. An event is delivered when it is printed,
    when --exec exits 0, or when --webhook answers 2xx. Without --since and a cursor, it begins now.

    Exits 8 if an event could not be delivered after all tries, or if --timeout passed before --count events came.
    """
    from ...reporting.delivery import CursorFile

    taker, form = _receiver(given)
    file = CursorFile(given["cursor"]) if given["cursor"] else None
    with store_of(ctx, given["repo"]) as store:
        stored = file.read() if file else None
        since = stored or _begin(store, given["since"])
        if file and stored is None:
            # From here on, a kill loses no event, not even before the first one.
            file.write(since)
        hand_over = _delivering(store, taker, form, given["retries"]) if taker else _printer(store, form)
        events = store.watch(
            _since(since),
            interval=given["interval"],
            timeout=given["timeout"],
            once=given["once"],
            tell=warn,
        )
        count = 0
        for event in islice(events, given["count"]):
            hand_over(event)
            count += 1
            if file:
                file.write(event.cursor)
    if given["count"] and count < given["count"] and given["timeout"] is not None and not given["once"]:
        raise WaitTimeout(
            says="{count} of {wanted:event|events} came within {seconds:g} s",
            hint="the others may still come",
            count=count,
            wanted=given["count"],
            seconds=given["timeout"],
        )


def _since(text: str | None) -> str | datetime | None:
    """A time if the text is one, else the text itself: a cursor or a revision."""
    try:
        return read_time(text, datetime.now(UTC))
    except BadInput:
        return text


def _begin(store: Store, since: str | None) -> str:
    """The start as it can be kept in a cursor file: a cursor, or a fixed time."""
    when = _since(since)
    return format_time(when) if isinstance(when, datetime) else store.cursor(when)


def _printer(store: Store, form: str) -> Callable[[Event], None]:
    if form == "text":
        return lambda event: click.echo(next(plain_text.timeline(iter([event]))))
    from ...reporting.delivery import body

    return lambda event: click.echo(body(event, form, store.address).decode())


def _receiver(given: dict[str, Any]) -> tuple[Taker | None, str]:
    """The receiver of the events (None: stdout), and their format."""
    from ...reporting import delivery

    command, url = given["command"], given["webhook"]
    given_taker = command is not None or url is not None
    form = given["form"] or ("json" if given["as_json"] or given_taker else "text")
    if not given_taker:
        return None, form
    if command is not None and url is not None:
        raise BadInput(problem="--exec and --webhook are both given; run one `watch` for each")
    if form == "text":
        raise BadInput(problem="--exec and --webhook hand over JSON; give --format json or cloudevents")
    if command is not None:
        return delivery.Command.of(command), form
    delivery.require_address(url)
    keys = delivery.keys(os.environ)
    # git and its child processes must not see the secret.
    del os.environ[delivery.SECRET]
    return delivery.Webhook.of(url, keys, form), form


def _delivering(store: Store, taker: Taker, form: str, retries: int) -> Callable[[Event], None]:
    from ...reporting.delivery import body, hand_over

    return lambda event: hand_over(taker, event, body(event, form, store.address), retries=retries, tell=warn)
