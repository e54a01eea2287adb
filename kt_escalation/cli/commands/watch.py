"""The commands that follow a store: events, watch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ...errors import BadInput, WaitTimeout
from ...model.event import HAPPENINGS
from ...model.times import format_time
from ...model.vocabulary import SEVERITIES
from ...reporting import plain_text
from ..app import escalation
from ..options import Count, F, chooses, common, flag, read_time, reads, takes, takes_time
from ..output import for_people, journal_time, warn
from ..stores import store_of
from ..terminal.progress import drawn, printed

if TYPE_CHECKING:
    from ...model.event import Event
    from ...reporting.delivery import Taker
    from ...store import Store

#: The formats for chats.
CHATS = ("slack", "teams")
# Beside the file with the cursor, with the notices that were told.
_TOLD = ".due"
# How often the position is kept while filters leave events out.
_SECONDS_BETWEEN_WRITES = 1.0


def _format(*more: str) -> Callable[[F], F]:
    chats = ", or a message for slack or teams" if more else ""
    return chooses(
        "--format",
        "form",
        ["text", "json", "cloudevents", *more],
        f"How to print each event, on one line: text (default), json, {'' if more else 'or '}cloudevents "
        f"(CloudEvents 1.0 as JSON){chats}. --json is the same as --format json.",
    )


@escalation.command("events", short_help="Show what happened, oldest first.")
@takes(
    "--since",
    "WHEN",
    "Only events after a revision or a cursor, or since a time: 2h, 7d, or an RFC 3339 time.",
)
@takes("--limit", "N", "Print at most this many (default: all).", type=Count(min=1))
@_format()
@reads
@common
def events_command(**given: Any) -> None:
    """Show what happened, oldest first: one event for each action on each escalation.

    Events are read from git history, so you can print them again at any time. Each has a cursor. To
    continue after an event, run the command again with --since CURSOR.
    """
    form = given["form"] or ("json" if given["as_json"] else "text")
    with drawn(prints=True) as progress, store_of(given["repo"], progress=progress) as store:
        found = store.events(_since(given["since"]), rev=given["rev"], fetch=given["fetch"])
        show = _printer(store, form)
        last, count = None, 0
        for event in printed(islice(found, given["limit"]), progress):
            show(event)
            last, count = event, count + 1
    if last and count == given["limit"]:
        warn(f"there may be more: go on with --since {last.cursor}")


@escalation.command("watch", short_help="Print each event as it happens, or pass it on.")
@takes(
    "--since", "WHEN", "Begin after a revision or a cursor, or at a time (2h, or RFC 3339), instead of now."
)
@takes("--cursor", "cursor", "FILE", "Keep the position in this file, and continue there next time.")
@takes("--team", "teams", "TEAM", "Only events of escalations that are routed to this team.", multiple=True)
@takes(
    "--user",
    "users",
    "USER",
    "Only events of escalations that are routed to this user, or that the user holds or held before.",
    multiple=True,
)
@flag("--mine", "Only events of escalations that are routed to you by name, or that you hold or held before.")
@chooses(
    "--severity", "severities", SEVERITIES, "Only events of escalations of this severity.", multiple=True
)
@takes(
    "--action",
    "actions",
    "ACTION",
    "Only events with this action: raise, claim, resolve, assign, due, and so on. This option and the four before it may be repeated.",
    type=click.Choice(HAPPENINGS),
    multiple=True,
)
@takes_time(
    "--due",
    "Send a notice this long before a deadline or lease ends, once. With --cursor, a restart does not repeat it.",
)
@takes(
    "--exec",
    "command",
    "CMD",
    "Run this program for each event, without a shell. It gets the event as JSON on stdin.",
)
@takes(
    "--webhook",
    "URL",
    "Send each event to this address, signed with KT_WEBHOOK_SECRET (slack and teams: not signed).",
)
@takes(
    "--webhook-file",
    "FILE",
    "The same, with the address in the first line of this file, so that no list of processes shows it.",
)
@takes(
    "--retries",
    "N",
    "How many times to try again before giving up.",
    type=Count(min=0),
    default=8,
    show_default=True,
)
@takes_time("--interval", "How often to ask the remote (default: every 0.5s at first, every 15s later).")
@flag("--once", "Exit when there are no more events.")
@takes("--count", "N", "Exit after this many events.", type=Count(min=1))
@takes_time("--timeout", "Exit after this long.")
@_format(*CHATS)
@common
def watch_command(**given: Any) -> None:
    """Print each event as it happens, or pass it to a program or a webhook.

    Events come in order and at least once. The cursor moves after an event was delivered, so no event
    is lost, and after a crash the last one may come again. An event is delivered when it is printed,
    when --exec exits 0, or when --webhook answers 2xx. Without --since and a cursor, it begins now.
    With filters, the cursor also moves past what they leave out.

    Exits 8 if an event could not be delivered after all tries, or if --timeout passed before --count events came.
    """
    from ...reporting.selection import Selection

    taker, form = _receiver(given)
    place = _Position(given["cursor"])
    with store_of(given["repo"]) as store:
        since = place.begin(store, given["since"])
        hand_over = _delivering(store, taker, form, given["retries"]) if taker else _printer(store, form)
        names = ("teams", "users", "severities", "actions")
        wanted = Selection(
            **{name: given[name] for name in names}, is_me=store.is_me() if given["mine"] else None
        )
        events = store.watch(
            _since(since),
            interval=given["interval"],
            timeout=given["timeout"],
            once=given["once"],
            tell=warn,
            due=timedelta(seconds=given["due"]) if given["due"] is not None else None,
            told=place.told,
        )
        count = 0
        with place.kept():
            for event in events:
                if not wanted.has(event):
                    place.passed(event)
                    continue
                hand_over(event)
                place.delivered(event)
                count += 1
                if count == given["count"]:
                    break
    if given["count"] and count < given["count"] and given["timeout"] is not None and not given["once"]:
        raise WaitTimeout(
            says="{count} of {wanted:event|events} came within {seconds:g} s",
            hint="the others may still come",
            count=count,
            wanted=given["count"],
            seconds=given["timeout"],
        )


class _Position:
    """Stores the position and the sent notices in files; in memory without ``cursor``."""

    def __init__(self, cursor: str | None) -> None:
        from ...reporting.delivery import CursorFile, NoticesFile

        self._file = CursorFile(cursor) if cursor else None
        self._notices = NoticesFile(f"{cursor}{_TOLD}") if cursor else None
        self._left_out: str | None = None
        self._written = float("-inf")

    @property
    def told(self) -> Container[str]:
        """The ids of notices that were sent before."""
        return () if self._notices is None else self._notices

    def begin(self, store: Store, since: str | None) -> str:
        """The start: the position in the file, else ``since``, which is then stored."""
        stored = self._file.read() if self._file else None
        if stored is not None:
            return stored
        begin = _begin(store, since)
        if self._file:
            # From here on, a kill loses no event, not even before the first one.
            self._file.write(begin)
        return begin

    def delivered(self, event: Event) -> None:
        """Store that an event was delivered."""
        if event.deadline is None:
            self._write(event.cursor)
        elif self._notices is not None:
            self._notices.add(event.id)

    def passed(self, event: Event) -> None:
        """Note that a filter left out an event. If kt crashes before this is stored, the event is left out again."""
        if event.deadline is None:
            self._left_out = event.cursor
            if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
                self._write(event.cursor)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Store the position at the end of the block, even after an error."""
        try:
            yield
        finally:
            if self._left_out is not None:
                self._write(self._left_out)

    def _write(self, cursor: str) -> None:
        if self._file:
            self._file.write(cursor)
        self._left_out, self._written = None, time.monotonic()


def _since(text: str | None) -> str | datetime | None:
    """The text as a time if it is one, else unchanged: a cursor or a revision."""
    try:
        return read_time(text, datetime.now(UTC))
    except BadInput:
        return text


def _begin(store: Store, since: str | None) -> str:
    """The start in the form for a cursor file: a cursor, or a fixed time."""
    when = _since(since)
    return format_time(when) if isinstance(when, datetime) else store.cursor(when)


def _printer(store: Store, form: str) -> Callable[[Event], None]:
    if form == "text":
        at = journal_time()
        # A notice says in its text when something ends.
        return lambda event: click.echo(
            for_people(next(plain_text.timeline(iter([event]), at=at)), sys.stdout)
        )
    return lambda event: click.echo(_body(store, event, form).decode())


def _body(store: Store, event: Event, form: str) -> bytes:
    from ...reporting.delivery import body

    page = store.request_page(event.escalation_id, event.commit) if form in CHATS else None
    return body(event, form, store.address, page)


def _receiver(given: dict[str, Any]) -> tuple[Taker | None, str]:
    """The receiver of the events (None: stdout), and their format."""
    from ...reporting import delivery

    command, url, file = given["command"], given["webhook"], given["webhook_file"]
    options = {"--exec": command, "--webhook": url, "--webhook-file": file}
    takers = [option for option, value in options.items() if value is not None]
    form = given["form"] or ("json" if given["as_json"] or takers else "text")
    if not takers:
        return None, form
    if len(takers) > 1:
        raise BadInput(problem=f"{takers[0]} and {takers[1]} are both given; run one `watch` for each")
    if form == "text":
        raise BadInput(problem="--exec and --webhook send JSON; give another --format than text")
    if command is not None:
        return delivery.Command.of(command), form
    if file is not None:
        url = delivery.address_in(file)
    delivery.require_address(url)
    # The address of a chat is its secret, and it checks no signature.
    keys = () if form in CHATS else delivery.keys(os.environ)
    # git and its child processes must not see the secret.
    os.environ.pop(delivery.SECRET, None)
    return delivery.Webhook(url, keys, form), form


def _delivering(store: Store, taker: Taker, form: str, retries: int) -> Callable[[Event], None]:
    from ...reporting.delivery import hand_over

    return lambda event: hand_over(taker, event, _body(store, event, form), retries=retries, tell=warn)
