"""The commands that only read: list, get, log, schema, doctor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ...errors import AnswerIsNo, KtError
from ...model.text import plural
from ...model.times import format_time
from ...model.vocabulary import OUTCOMES, SEVERITIES, STATUSES, VERBS
from ...reporting import plain_text
from ..app import escalation
from ..options import (
    Count,
    asks,
    chooses,
    common,
    common_to_several,
    flag,
    of_request,
    read_time,
    reads,
    reads_fresh,
    takes,
    takes_ids,
)
from ..output import attributes, exit_with, journal_time, on_terminal, put_json, unreadable, warn
from ..stores import in_stores, store_of
from ..terminal import pager
from ..terminal.progress import drawn, printed

if TYPE_CHECKING:
    from ...doctor import Finding
    from ...multistore import MergedListing
    from ...results import Found, Moment
    from ...rules.available_actions import AvailableAction
    from ...rules.permissions import Quorum
    from ...store import Store

#: The options that go into a `Query` unchanged.
_AS_GIVEN = ("team", "user", "agent_id", "mine", "overdue", "claimable", "sort", "limit", "cursor")
#: The options that leave escalations out of a listing.
_NARROWING = (
    *("request_ids", "severities", "since"),
    *(option for option in _AS_GIVEN if option not in ("sort", "limit")),
)


class _Status(click.Choice[str]):
    """A status to list, or an outcome in any of its words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        word = str(value).lower()
        if word in VERBS or word in OUTCOMES:
            return VERBS.get(word, word)
        if word not in STATUSES:
            statuses, outcomes = ", ".join(STATUSES), ", ".join(OUTCOMES)
            self.fail(f"{value!r} is neither a status ({statuses}) nor an outcome ({outcomes})", param, ctx)
        return super().convert(word, param, ctx)


@escalation.command("list", short_help="List escalations, the most severe and oldest first.")
@click.option(
    "--status",
    "statuses",
    type=_Status(list(STATUSES)),
    multiple=True,
    default=["open"],
    help="Only escalations with this status (default open), or resolved with this outcome: approved, denied, and so "
    "on. May be repeated.",
)
@chooses(
    "--severity",
    "severities",
    SEVERITIES,
    "Only escalations of this severity. May be repeated.",
    multiple=True,
)
@takes(
    "--request-id",
    "request_ids",
    "ID",
    "Only the escalation of this request. May be repeated.",
    multiple=True,
)
@takes("--team", "TEAM", "Only escalations routed to this team.")
@takes("--user", "USER", "Only escalations routed to this user or held by them.")
@flag("--mine", "Only escalations that you hold.")
@flag(
    "--overdue",
    "Only escalations that are past a deadline or a lease, or that nobody on the roster can decide.",
)
@flag("--claimable", "Only escalations that you could claim now.")
@takes("--agent-id", "ID", "Only escalations of this agent.")
@takes("--since", "TIME", "Only escalations created since then: 2h, 7d, or an RFC 3339 time.")
@takes(
    "--sort",
    "ORDER",
    "The order: severity, created, raised, queued or id. A leading - reverses it: -created.",
    default="severity",
    show_default=True,
)
@click.option(
    "--limit", type=Count(min=0), default=50, show_default=True, help="Print at most this many; 0 prints all."
)
@takes("--cursor", "CURSOR", "Continue after the page that printed this next_cursor.")
@reads_fresh
@common_to_several
def list_command(**given: Any) -> None:
    """List escalations, the most severe first; among equals, the oldest first.

    A terminal shows a table. If the terminal is narrow, columns are left out in this order: reason,
    route, holder, age, status, deadline, summary. Without a terminal, each escalation is one line of
    tab-separated fields: id, severity, status, age, deadline, route, holder, reason, summary. The
    deadline is the next moment at which time alone changes the escalation: the end of a lease, of the
    time to claim it, or of the time to resolve it.

    With several stores it prints one list, and each line begins with the store. Name the stores with
    -C, once for each, or with kt.store in your git configuration, which is used if the current folder
    is in no store. If a store cannot be read, stderr says so, and the exit code is that of the error.
    """
    from ... import multistore
    from ...model.query import Query

    now = datetime.now(UTC)
    wanted = Query(
        statuses=frozenset().union(*(STATUSES.get(status, ()) for status in given["statuses"])),
        outcomes=frozenset(given["statuses"]).intersection(OUTCOMES),
        escalation_ids=frozenset(map(of_request, given["request_ids"])),
        severities=frozenset(given["severities"]),
        since=read_time(given["since"], now),
        **{key: given[key] for key in _AS_GIVEN},
    )
    with drawn() as progress:
        people = on_terminal() and not given["as_json"]
        ask = asks(given["fetch"], given["rev"], people=people)
        how = multistore.ListOptions(
            given["rev"], bool(given["fetch"]), given["as_json"], people, ask, progress
        )
        found = in_stores(
            given["repo"],
            lambda path: multistore.one(path, wanted, how),
            lambda paths: multistore.several(paths, wanted, how),
        )
    for path, error in found.faults:
        warn(f"{path}: {error.message}; its escalations are not in this list")
    for store, item in found.invalid:
        warn(f"{f'{store}: ' if store else ''}{item.path}: {item.error}; it is not in this list")
    if given["as_json"]:
        put_json(_as_json(found))
    else:
        if on_terminal():
            from ..terminal import views

            lines = views.listing(found.rows, now, more=found.next_cursor is not None)
        else:
            lines = plain_text.listing([(item.row, item.store) for item in found.rows], now)
        for line in lines:
            click.echo(line)
        if not found.rows and not found.faults:
            narrowed = any(given[k] for k in _NARROWING) or tuple(given["statuses"]) != ("open",)
            none = "no escalation matches" if narrowed else "nothing is open"
            warn(f"{none}: {found.hint}" if found.hint else none)
        for store, old in found.ages:
            warn(f"{f'{store}: ' if store else ''}{old}")
        if found.next_cursor and not on_terminal():
            warn(f"there are more: show all with --limit 0, or go on with --cursor {found.next_cursor}")
    if found.faults:
        exit_with(found.faults[0].error.exit_code)


def _as_json(found: MergedListing) -> dict[str, Any]:
    """The JSON of a listing. With several stores, each item names its store."""

    def at(store: str | None) -> dict[str, str]:
        return {"store": store} if store else {}

    return {
        "escalations": [{**at(item.store), **(item.plain or {})} for item in found.rows],
        "next_cursor": found.next_cursor,
        "invalid": [
            *({**at(path), "path": None, "error": error.message} for path, error in found.faults),
            *({**at(store), **attributes(item, "path", "error")} for store, item in found.invalid),
        ],
    }


def _quorum(found: Quorum | None) -> dict[str, Any] | None:
    """The state of a quorum as JSON. People who may only decide otherwise are listed with the reviews."""
    return attributes(found, "approvals", "given", "missing", "candidates") if found else None


@escalation.command("get", short_help="Show one escalation.")
@takes_ids(one=True, begun=True)
@flag("--include-context", "Show the whole context of the event.")
@reads_fresh
@common
def get_command(
    include_context: bool, rev: str | None, fetch: bool | None, as_json: bool, **given: Any
) -> None:
    """Show one escalation: what happened, who holds it, and how it ended.

    A terminal shows a page for reviewers, with the commands that you may run next.
    """
    with drawn() as progress, store_of(given["repo"], progress=progress) as store:
        ask = asks(fetch, rev, people=on_terminal() and not as_json)
        old = store.freshen(ask) if ask is not None else None
        found = store.get(given["escalation_id"], rev=rev, fetch=bool(fetch))
        for item in found.invalid:
            warn(f"{item.path}: {item.error}; whether it was released cannot be read")
        if not as_json:
            page = [*_page(store, found, include_context, past=rev is not None)]
            # A reader at a terminal may take longer than the store is needed.
            if progress:
                progress.end()
            pager.show(page)
            if old:
                warn(old)
            return
    from ...model.value import plain

    record = found.record.as_dict()
    if not include_context:
        record.pop("event_context", None)
    put_json(
        {
            "escalation": record,
            **attributes(found, "path", "blob", "commit", "shown", "reopened_by"),
            "deadline": format_time(found.deadline) if found.deadline else None,
            "overdue": found.overdue,
            "quorum": _quorum(found.quorum),
            "amendment": plain(found.amendment) if found.amendment else None,
            "digest": found.digest,
            "release": plain(found.release) if found.release else None,
            "invalid": unreadable(found.invalid),
        }
    )


def _page(store: Store, found: Found, include_context: bool, *, past: bool) -> Iterator[str]:
    """The page as lines. At a terminal, and without `--rev`, it ends with the available actions."""
    now = datetime.now(UTC)
    if not on_terminal():
        return plain_text.page(found, include_context, now)
    from ..terminal import views

    actions: Sequence[AvailableAction] | str | None = None
    try:
        actions = None if past else store.available_actions(found)
    except KtError as error:
        actions = error.message
    return views.page(found, actions, include_context=include_context, now=now)


@escalation.command("log", short_help="Show what happened and when, newest first.")
@takes_ids(required=False, one=True, begun=True)
@click.option("--limit", type=Count(min=0), default=0, help="Read at most this many commits; 0 reads all.")
@reads
@common
def log_command(escalation_id: str | None, repo: str, as_json: bool, **given: Any) -> None:
    """Show what happened and when, newest first, from git history.

    In a shallow clone it exits 2 where the history is cut off. With --limit it may end before that.
    """
    with drawn(prints=not as_json) as progress, store_of(repo, progress=progress) as store:
        moments = store.log(escalation_id, **given)
        if as_json:
            put_json({"entries": [_moment(moment) for moment in moments]})
            return
        pager.show(printed(plain_text.timeline(moments, at=journal_time()), progress))


def _moment(moment: Moment) -> dict[str, Any]:
    plain = {
        "commit": moment.commit,
        "at": format_time(moment.at),
        "author": {"name": moment.author, "email": moment.email},
        **attributes(moment, "escalation_id", "action", "actor", "outcome", "text"),
    }
    return {key: value for key, value in plain.items() if value is not None}


@escalation.command("schema", short_help="Print the JSON Schema of the record.")
@common
def schema_command(**_: Any) -> None:
    """Print the JSON Schema of the record."""
    from ...model import record_schema

    # The output is always JSON, and no store is needed.
    put_json(record_schema.schema())


@escalation.command("doctor", short_help="Find problems of this clone, and say how to fix them.")
@common
def doctor_command(repo: str, as_json: bool) -> None:
    """Find problems of this clone, and say how to fix each of them and who can.

    Exits 1 if there is a problem that you can fix in this clone.
    """
    with drawn() as progress, store_of(repo, progress=progress) as store:
        findings = store.doctor()
    bad = [finding for finding in findings if not finding.ok]
    ours = [finding for finding in bad if finding.fixed_by == "you"]
    if as_json:
        put_json({"ok": not ours, "findings": [_found(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = "BAD" if not finding.ok else "!! " if finding.remedy else "ok "
            click.echo(f"{mark} {finding.check.ljust(9)} {plain_text.visible(finding.detail)}")
            if finding.remedy:
                click.echo(f"    {_FIXED_BY[finding.fixed_by]}:  {plain_text.visible(finding.remedy)}")
    said = f"{len(bad)} of {plural(len(findings), 'check')} failed"
    if ours and not as_json:
        raise AnswerIsNo(problem=said)
    if ours:
        exit_with(AnswerIsNo.exit_code)
    if bad and not as_json:
        warn(f"{said}; there is nothing to fix in this clone")


_FIXED_BY = {
    "you": "to fix it",
    "admin": "an admin can fix it",
    "server": "the administrator of the server can fix it",
}


def _found(finding: Finding) -> dict[str, Any]:
    more = ("remedy", "fixed_by") if finding.remedy or not finding.ok else ()
    return attributes(finding, "check", "ok", "detail", *more)
