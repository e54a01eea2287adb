"""Commands for auditors: export, evidence, stats, report."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ...errors import MissingExtra, Usage
from ...model.text import plural, visible
from ...model.times import format_time, lasted
from ..app import common, escalation, folder, put_json, read_time, reads, takes_ids, warn
from ..terminal.progress import Printed, drawn

if TYPE_CHECKING:
    from ...reporting.export import Exported
    from ...reporting.figures import Figures
    from ...reporting.statistics import ReviewerRow, Row, Spans, Window

_STDOUT = "-"


@escalation.command("export", short_help="Write all escalations at one commit to a file")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="JSON lines, exact; or CSV, safe to open in a spreadsheet.",
)
@click.option("-o", "out", default=_STDOUT, metavar="FILE", help="Write here; stdout without it.")
@reads
@common
@click.pass_context
def export_command(ctx: click.Context, /, **given: Any) -> None:
    """Write every escalation at one commit, open and resolved, with digests to reconcile.

    The rows are in the order of `git ls-tree -r`, and the same commit gives the same bytes everywhere.
    A file that cannot be read is a row too. The counts, the tree id of queue/ and the sha256 of what was
    written are said on stderr; with --json as JSON, on stdout where -o names a file.
    """
    from ...reporting import export

    with drawn(prints=given["out"] == _STDOUT) as progress, _output(given["out"]) as out:
        done = export.export(
            folder(ctx, given["repo"]),
            Printed(out, progress) if given["out"] == _STDOUT else out,
            given["form"],
            rev=given["rev"],
            fetch=given["fetch"],
            progress=progress,
        )
    for item in done.invalid:
        warn(f"{item.path} {item.error}; it is a row without a record")
    if not given["as_json"]:
        where = f"queue/ is tree {done.tree}" if done.tree else "there is no queue/"
        warn(
            f"{plural(done.records, 'escalation')} ({done.open} open, {done.resolved} resolved), "
            f"{plural(len(done.invalid), 'unreadable file')}, at commit {done.revision}; {where}; listing {done.listing}; sha256 {done.sha256}"
        )
    else:
        _put_summary(_summary(done), given["out"])


def _summary(done: Exported) -> dict[str, Any]:
    return {
        "revision": done.revision,
        "tree": done.tree,
        "records": done.records,
        "open": done.open,
        "resolved": done.resolved,
        "invalid": [{"path": item.path, "error": item.error} for item in done.invalid],
        "listing": done.listing,
        "sha256": done.sha256,
        "size": done.size,
    }


@escalation.command("evidence", short_help="Put the proof of one case into one file")
@takes_ids(begun=True)
@click.option("-o", "out", required=True, metavar="FILE", help="The tar to write; - is stdout.")
@click.option(
    "--minimal", is_flag=True, help="Leave out the history, and with it everybody else's escalations."
)
@reads
@common
@click.pass_context
def evidence_command(ctx: click.Context, /, **given: Any) -> None:
    """Put all that proves an escalation's life into one file, to be checked offline.

    It is a tar with a git bundle of the history up to the commit that is read, each step's commit,
    record and policies (roster and waivers too) as text, and a README that says how to check it with
    git alone and with kt, once the commit's id is known from elsewhere. What the escalation reopens,
    and what reopens it, comes along.
    """
    from ...reporting import evidence

    if given["out"] == _STDOUT and sys.stdout.isatty():
        raise Usage(problem="a tar is nothing for a terminal", hint="name a file with -o FILE")
    with drawn() as progress, _output(given["out"]) as out:
        done = evidence.evidence(
            folder(ctx, given["repo"]),
            given["escalation_ids"],
            out,
            minimal=given["minimal"],
            rev=given["rev"],
            fetch=given["fetch"],
            progress=progress,
        )
    if given["as_json"]:
        _put_summary(asdict(done), given["out"])
        return
    carries = "with the history up to commit" if done.tip else "without the history, as of commit"
    warn(
        f"{plural(len(done.steps), 'step')} of {', '.join(done.escalation_ids)}, {carries} {done.revision}; "
        f"{done.size} bytes, sha256 {done.sha256}"
    )


@escalation.command("report", short_help="Write the state of the queue as one HTML page")
@click.option("-o", "out", required=True, metavar="FILE", help="The page to write; - is stdout.")
@click.option("--since", metavar="TIME", help="Only what happened since: 2h, 7d, or an RFC 3339 time.")
@click.option("--until", metavar="TIME", help="Only what happened before: 2h (ago), or an RFC 3339 time.")
@click.option("--team", metavar="TEAM", help="Only what is routed to this team.")
@click.option(
    "--period",
    type=click.Choice(["day", "week", "month"]),
    help="What the charts over time count by; without it, what fits their length. UTC.",
)
@reads
@common
@click.pass_context
def report_command(ctx: click.Context, /, **given: Any) -> None:
    """Write the state of the queue as one page of HTML that needs no network.

    What is open and overdue, how long it takes, how it ends, each reviewer's load, and each escalation's
    timeline, to search and to sort. All that is open is there whatever --since says; the figures are those
    of `stats`. It needs two libraries more than the other commands: the extra `report`.
    """
    if given["out"] == _STDOUT and sys.stdout.isatty():
        raise Usage(problem="a page is nothing for a terminal", hint="name a file with -o FILE")
    try:
        from ...reporting.html.page import page
    except ModuleNotFoundError as error:
        from ..extras import how_to_install

        raise MissingExtra(
            command="report", library=error.name, extra="report", install=how_to_install("report")
        ) from None
    from ...reporting.overview import report

    now = datetime.now(UTC)
    with _uncollected(), drawn() as progress:
        found = report(
            folder(ctx, given["repo"]),
            now=now,
            window=_window(given, now),
            team=given["team"],
            period=given["period"],
            rev=given["rev"],
            fetch=given["fetch"],
            progress=progress,
        )
    made = page(found)
    with _output(given["out"]) as out:
        out.write(made.data)
    for item in found.invalid:
        warn(f"{item.path} {item.error}; it is not counted")
    waiting = [case for case in found.cases if case.is_open]
    overdue = sum(case.overdue is not None for case in waiting)
    digest = hashlib.sha256(made.data).hexdigest()
    if given["as_json"]:
        summary = {
            "revision": found.revision,
            "escalations": len(found.cases),
            "shown": made.shown,
            "open": len(waiting),
            "overdue": overdue,
            "invalid": [{"path": item.path, "error": item.error} for item in found.invalid],
            "sha256": digest,
            "size": len(made.data),
        }
        _put_summary(summary, given["out"])
        return
    left = len(found.cases) - made.shown
    more = f"; the {left} resolved the longest ago are counted, but not listed: see --since" if left else ""
    warn(
        f"{plural(len(found.cases), 'escalation')} ({len(waiting)} open, {overdue} overdue) at commit "
        f"{found.revision[:12]}; {len(made.data)} bytes, sha256 {digest}{more}"
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for garbage: all that a report reads is kept, and looking costs a fifth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _window(given: dict[str, Any], now: datetime) -> Window:
    """The window of `--since` and `--until`. Raises BadInput, Usage."""
    from ...reporting.statistics import Window

    window = Window(read_time(given["since"], now), read_time(given["until"], now, "--until"))
    if window.since and window.until and window.since >= window.until:
        raise Usage(problem="--since is not before --until")
    return window


@escalation.command("stats", short_help="Count escalations, outcomes and times")
@click.option("--since", metavar="TIME", help="Only what happened since: 2h, 7d, or an RFC 3339 time.")
@click.option("--until", metavar="TIME", help="Only what happened before: 2h (ago), or an RFC 3339 time.")
@click.option(
    "--by",
    type=click.Choice(["period", "team", "reviewer", "policy", "model"]),
    help="A line for each of these, beside the total.",
)
@click.option(
    "--period",
    type=click.Choice(["day", "week", "month"]),
    help="With --by period: how long one is (default month); UTC.",
)
@reads
@common
@click.pass_context
def stats_command(ctx: click.Context, /, **given: Any) -> None:
    """Count what was raised and decided, how it ended, how long it took, and by whom.

    Each number belongs to the moment at which it happened: a raise, a first claim, a decision. What is
    open or overdue is so now. Times are the 50th, 90th and 99th percentile, in seconds in JSON.
    Without a terminal the table is tab-separated, with a head.
    """
    from ...reporting import figures

    if given["period"] and given["by"] != "period":
        raise Usage(problem="--period goes with --by period")
    now = datetime.now(UTC)
    with drawn() as progress:
        found = figures.stats(
            folder(ctx, given["repo"]),
            now=now,
            by=given["by"],
            period=given["period"] or "month",
            window=_window(given, now),
            rev=given["rev"],
            fetch=given["fetch"],
            progress=progress,
        )
    for item in found.invalid:
        warn(f"{item.path} {item.error}; it is not counted")
    if given["as_json"]:
        put_json(_figures(found))
        return
    for line in _table(found):
        click.echo(line)


def _figures(found: Figures) -> dict[str, Any]:
    since, until = found.window.since, found.window.until
    return {
        "revision": found.revision,
        "at": format_time(found.at),
        "since": format_time(since) if since else None,
        "until": format_time(until) if until else None,
        "by": found.by,
        "period": found.period,
        "total": _plain(found.total),
        "rows": [_plain(row) for row in found.rows],
        "invalid": [{"path": item.path, "error": item.error} for item in found.invalid],
    }


def _plain(row: Row | ReviewerRow) -> dict[str, Any]:
    return asdict(row)


# --- the table ------------------------------------------------------------------------------------

_HEAD = (
    *("raised", "resolved", "open", "overdue"),
    *("approved", "redacted", "rewritten", "denied", "expired"),
    *("claim p50", "p90", "p99", "resolve p50", "p90", "p99", "second", "reopened", "reversed"),
)
_REVIEWER_HEAD = (
    *("decisions", "approved", "redacted", "rewritten", "denied", "approval"),
    *("decide p50", "p90", "p99", "second", "reversed", "holds"),
)
_GAP = "  "


def _table(found: Figures) -> Iterator[str]:
    from ...reporting.statistics import ReviewerRow, Row

    head: tuple[str, ...]
    if found.by == "reviewer":
        head = ("reviewer", *_REVIEWER_HEAD)
        rows = [_reviewer_cells(row) for row in found.rows if isinstance(row, ReviewerRow)]
    else:
        head = (found.by or "all", *_HEAD)
        rows = [_cells(row.key, row) for row in found.rows if isinstance(row, Row)]
        rows.append(_cells("total", found.total))
    if not sys.stdout.isatty():
        yield from ("\t".join(cells) for cells in (head, *rows))
        return
    widths = [max(len(cells[i]) for cells in (head, *rows)) for i in range(len(head))]
    for cells in (tuple(cell.upper() for cell in head), *rows):
        first, *others = cells
        padded = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:], strict=True))]
        yield _GAP.join(padded)


def _cells(key: str | None, row: Row) -> tuple[str, ...]:
    counts = (row.raised, row.resolved, row.open, row.overdue, *row.outcomes.values())
    ends = (row.second_reviews, row.reopened, row.reversals)
    return (
        visible(key) if key else "-",
        *map(str, counts),
        *_percentiles(row.time_to_claim),
        *_percentiles(row.time_to_resolve),
        *map(str, ends),
    )


def _reviewer_cells(row: ReviewerRow) -> tuple[str, ...]:
    outcomes = [str(count) for outcome, count in row.outcomes.items() if outcome != "expired"]
    share = "-" if row.approval_share is None else f"{row.approval_share:.0%}"
    return (
        visible(row.key),
        str(row.decisions),
        *outcomes,
        share,
        *_percentiles(row.time_to_decide),
        str(row.second_reviews),
        str(row.reversed),
        str(row.holds),
    )


def _percentiles(spans: Spans) -> tuple[str, ...]:
    return tuple(lasted(seconds) for seconds in (spans.p50, spans.p90, spans.p99))


# --- where it goes --------------------------------------------------------------------------------


def _put_summary(summary: dict[str, Any], out: str) -> None:
    """What was written, as JSON on stdout, or in a line on stderr where stdout has what was written."""
    if out == _STDOUT:
        click.echo(json.dumps({"file": None, **summary}), err=True)
    else:
        put_json({"file": out, **summary})


@contextmanager
def _output(name: str) -> Iterator[BinaryIO]:
    """The file to write, or stdout for ``-``. Raises BadInput."""
    from ...storage.output_file import written

    if name == _STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with written(name) as file:
            yield file
