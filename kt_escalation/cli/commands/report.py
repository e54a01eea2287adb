"""The commands for auditors: export, evidence, stats, report."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ...errors import Usage
from ...model.text import plural, visible
from ...model.times import format_time, lasted
from ...model.vocabulary import DECISIONS, OUTCOMES
from ..app import escalation
from ..options import chooses, common, flag, read_time, reads, takes, takes_ids
from ..output import attributes, put_json, unreadable, warn
from ..terminal.progress import Printed, drawn

if TYPE_CHECKING:
    from ...reporting.export import Exported
    from ...reporting.figures import Figures
    from ...reporting.statistics import ReviewerRow, Row, Spans, Window

_STDOUT = "-"


@escalation.command("export", short_help="Write all escalations to a file, with digests.")
@chooses(
    "--format",
    "form",
    ["jsonl", "csv"],
    "jsonl is exact. csv is safe to open in a spreadsheet.",
    default="jsonl",
    show_default=True,
)
@takes("-o", "out", "FILE", "The file to write (default stdout).", default=_STDOUT)
@reads
@common
def export_command(**given: Any) -> None:
    """Write every escalation at one commit, open and resolved, with digests to reconcile.

    The rows are in the order of `git ls-tree -r`, and the same commit gives the same bytes everywhere.
    A file that cannot be read is a row too. stderr shows the counts, the tree id of queue/ and the
    SHA-256 of the output. With --json this summary is JSON; if -o names a file, it goes to stdout.
    """
    from ...reporting import export

    with drawn(prints=given["out"] == _STDOUT) as progress, _output(given["out"]) as out:
        sink = Printed(out, progress) if given["out"] == _STDOUT else out
        done = export.export(given["repo"], sink, given["form"], **_at(given), progress=progress)
    for item in done.invalid:
        warn(f"{item.path}: {item.error}; it is a row without a record")
    if not given["as_json"]:
        where = f"queue/ is tree {done.tree}" if done.tree else "there is no queue/"
        warn(
            f"{plural(done.records, 'escalation')} ({done.open} open, {done.resolved} resolved), "
            f"{plural(len(done.invalid), 'unreadable file')}, at commit {done.revision}; {where}; listing {done.listing}; sha256 {done.sha256}"
        )
    else:
        _put_summary(_summary(done), given["out"])


def _summary(done: Exported) -> dict[str, Any]:
    return vars(done) | {"invalid": unreadable(done.invalid)}


@escalation.command("evidence", short_help="Write the proof of an escalation's history to one file.")
@takes_ids(begun=True)
@takes("-o", "out", "FILE", "The tar file to write; - writes to stdout.", required=True)
@flag("--minimal", "Leave out the rest of the history, and with it all other escalations.")
@reads
@common
def evidence_command(**given: Any) -> None:
    """Write everything that proves an escalation's history to one file, to be checked offline.

    The file is a tar. It has a git bundle of the history up to the commit that is read; the commit,
    the record and the policies of each step as text, with roster and waivers; and a README that says
    how to check all of it, with git alone or with kt. To check it, you need the commit's id from
    another source. Escalations that this one reopens, or that reopen it, are included.
    """
    from ...reporting import evidence

    if given["out"] == _STDOUT and sys.stdout.isatty():
        raise Usage(problem="a tar file cannot be written to a terminal", hint="name a file with -o FILE")
    with drawn() as progress, _output(given["out"]) as out:
        how = {"minimal": given["minimal"], **_at(given), "progress": progress}
        done = evidence.evidence(given["repo"], given["escalation_ids"], out, **how)
    if given["as_json"]:
        _put_summary(asdict(done), given["out"])
        return
    carries = "with the history up to commit" if done.tip else "without the history, as of commit"
    warn(
        f"{plural(len(done.steps), 'step')} of {', '.join(done.escalation_ids)}, {carries} {done.revision}; "
        f"{done.size} bytes, sha256 {done.sha256}"
    )


@escalation.command("report", short_help="Write the state of the queue as one HTML page.")
@takes("-o", "out", "FILE", "The HTML file to write; - writes to stdout.", required=True)
@takes("--since", "TIME", "Only events since then: 2h (ago), 7d, or an RFC 3339 time.")
@takes("--until", "TIME", "Only events before then: 2h (ago), 7d, or an RFC 3339 time.")
@takes("--team", "TEAM", "Only escalations routed to this team.")
@chooses(
    "--period",
    ["day", "week", "month"],
    "The unit of time in the charts, in UTC (default: by the length of the time shown).",
)
@reads
@common
def report_command(**given: Any) -> None:
    """Write the state of the queue as one page of HTML that needs no network.

    The page shows open and overdue escalations, durations, outcomes, each reviewer's load, and each
    escalation's timeline; its tables can be searched and sorted. Open escalations are shown whatever
    --since says. The numbers are those of `stats`. The command needs one more library: install the
    extra `report`.
    """
    if given["out"] == _STDOUT and sys.stdout.isatty():
        raise Usage(problem="an HTML page cannot be written to a terminal", hint="name a file with -o FILE")
    from ...reporting.html import page_writer
    from ...reporting.overview import report

    page = page_writer()

    now = datetime.now(UTC)
    with drawn() as progress:
        options = {key: given[key] for key in ("team", "period")} | _at(given)
        found = report(given["repo"], now=now, window=_window(given, now), progress=progress, **options)
    made = page(found)
    with _output(given["out"]) as out:
        out.write(made.data)
    for item in found.invalid:
        warn(f"{item.path}: {item.error}; it is not counted")
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
            "invalid": unreadable(found.invalid),
            "sha256": digest,
            "size": len(made.data),
        }
        _put_summary(summary, given["out"])
        return
    left = len(found.cases) - made.shown
    more = f"; the {left} oldest resolved ones are counted but not listed: see --since" if left else ""
    warn(
        f"{plural(len(found.cases), 'escalation')} ({len(waiting)} open, {overdue} overdue) at commit "
        f"{found.revision[:12]}; {len(made.data)} bytes, sha256 {digest}{more}"
    )


def _at(given: dict[str, Any]) -> dict[str, Any]:
    """The options that say which revision is read."""
    return {key: given[key] for key in ("rev", "fetch")}


def _window(given: dict[str, Any], now: datetime) -> Window:
    """The window of `--since` and `--until`. Raises BadInput, Usage."""
    from ...reporting.statistics import Window

    window = Window(read_time(given["since"], now), read_time(given["until"], now, "--until"))
    if window.since and window.until and window.since >= window.until:
        raise Usage(problem="--since is not before --until")
    return window


@escalation.command("stats", short_help="Count escalations, outcomes and durations.")
@takes("--since", "TIME", "Only events since then: 2h (ago), 7d, or an RFC 3339 time.")
@takes("--until", "TIME", "Only events before then: 2h (ago), 7d, or an RFC 3339 time.")
@chooses(
    "--by",
    ["period", "team", "reviewer", "policy", "model"],
    "Print a line for each of these, and the total.",
)
@chooses(
    "--period", ["day", "week", "month"], "With --by period: the length of a period, in UTC (default month)."
)
@reads
@common
def stats_command(**given: Any) -> None:
    """Count escalations: how many were raised and decided, the outcomes, the durations, and by whom.

    Each number belongs to the time of its event: the raise, the first claim, or the decision. The
    numbers of open and overdue escalations are current. Durations are the 50th, 90th and 99th
    percentile, in seconds in JSON. Without a terminal, the table is tab-separated, with a header line.
    """
    from ...reporting import figures

    if given["period"] and given["by"] != "period":
        raise Usage(problem="--period goes with --by period")
    now = datetime.now(UTC)
    with drawn() as progress:
        options = {"by": given["by"], "period": given["period"] or "month", **_at(given)}
        found = figures.stats(
            given["repo"], now=now, window=_window(given, now), progress=progress, **options
        )
    for item in found.invalid:
        warn(f"{item.path}: {item.error}; it is not counted")
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
        **attributes(found, "by", "period"),
        "total": asdict(found.total),
        "rows": [asdict(row) for row in found.rows],
        "invalid": unreadable(found.invalid),
    }


# --- the table ------------------------------------------------------------------------------------

_HEAD = (
    *("raised", "resolved", "open", "overdue"),
    *OUTCOMES,
    *("released", "executed", "unused"),
    *("claim p50", "p90", "p99", "resolve p50", "p90", "p99", "second", "reopened", "reversed"),
)
_REVIEWER_HEAD = (
    *("decisions", *DECISIONS, "approval"),
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
    counts = (row.raised, row.resolved, row.open, row.overdue, *(row.outcomes[name] for name in OUTCOMES))
    used = (row.released, row.executed, row.unused)
    ends = (row.second_reviews, row.reopened, row.reversals)
    return (
        visible(key) if key else "-",
        *map(str, (*counts, *used)),
        *_percentiles(row.time_to_claim),
        *_percentiles(row.time_to_resolve),
        *map(str, ends),
    )


def _reviewer_cells(row: ReviewerRow) -> tuple[str, ...]:
    share = "-" if row.approval_share is None else f"{row.approval_share:.0%}"
    return (
        visible(row.key),
        str(row.decisions),
        *(str(row.outcomes[name]) for name in DECISIONS),
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
    """Print the summary as JSON: on stdout, or on stderr if stdout has the output itself."""
    if out == _STDOUT:
        click.echo(json.dumps({"file": None, **summary}), err=True)
    else:
        put_json({"file": out, **summary})


@contextmanager
def _output(name: str) -> Iterator[BinaryIO]:
    """The file to write to, or stdout for ``-``. Raises BadInput."""
    from ...storage.output_file import written

    if name == _STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with written(name) as file:
            yield file
