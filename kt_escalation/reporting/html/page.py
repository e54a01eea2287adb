"""A report as one HTML page that loads nothing and runs only its own script. The only import of Jinja.

The template escapes every text, or the text is JSON that the script reads as data and sets as text. The
page's Content-Security-Policy lists the digests of its one script and its one style, and allows nothing else.
See docs/report.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from ...model.text import visible
from ...model.times import age, format_time, lasted, moments_in, parse_time
from ...model.vocabulary import DECISIONS, OUTCOMES, SEVERITIES
from ..plain_text import left, whom
from . import charts

if TYPE_CHECKING:
    from ..overview import Case, Overview
    from ..statistics import ReviewerRow, Row, Spans

#: The largest page, in bytes. A browser loads this at once, and a mail can carry it.
MAX_BYTES = 5_000_000
# The most rows of a table in the page itself, and the most bars of a chart.
_FIRST_WAITING = 20
_MOST_WAITING, _MOST_ROWS, _MOST_BARS = 100, 50, 12
# The most characters of a reviewer's text and of a name. `get` shows all of it.
_LONGEST_TEXT, _LONGEST_NAME = 600, 200
_OID = 12
_AGES = (
    ("under 1 hour", timedelta(hours=1)),
    ("1 to 4 hours", timedelta(hours=4)),
    ("4 to 24 hours", timedelta(days=1)),
    ("1 to 7 days", timedelta(days=7)),
)
_OLDEST = "over 7 days"


class ReportPage(NamedTuple):
    """The bytes of a page, and the number of escalations whose timeline it has."""

    data: bytes
    shown: int


def page(report: Overview) -> ReportPage:
    """The report as a page of at most `MAX_BYTES`.

    If there is no room for all escalations, the oldest resolved ones are left out.
    """
    texts = {
        name: _file(name)
        for name in ("report.html", "report_patterns.html", "report_figures.html", "report.css", "report.js")
    }
    environment = Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    facts = facts_of(report)
    facts["policy"] = (
        f"default-src 'none'; script-src '{_digest(texts['report.js'])}'; "
        f"style-src '{_digest(texts['report.css'])}'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    # Both are our own files, and contain no closing tag.
    facts["script"], facts["style"] = Markup(texts["report.js"]), Markup(texts["report.css"])  # noqa: S704
    # The size of the page without the data shows how much room the data has.
    before, slot, after = environment.get_template("report.html").render(facts).partition(_SLOT)
    room = MAX_BYTES - len(f"{before}{slot}{after}".encode())
    data = _Data(report.at)
    for case in report.cases:
        if not data.add(case, room):
            break
    return ReportPage(f"{before}{slot}{data.text()}{after}".encode(), len(data.ids))


# No other text in the page looks like this, because its quotes are escaped.
_SLOT = '<script type="application/json" id="data">'


def _file(name: str) -> str:
    return resources.files("kt_escalation.templates").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _seen(value: object) -> object:
    """Make hidden characters of every printed text visible."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _cut(text: str, longest: int = _LONGEST_NAME) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


# --- what the template is given -------------------------------------------------------------------


def facts_of(report: Overview) -> dict[str, Any]:
    """The content of a report's figures, for its templates."""
    now = report.at
    waiting = [case for case in report.cases if case.is_open]
    oldest = min((parse_time(case.row.created_at) for case in waiting), default=None)
    return {
        "title": f"Escalations of team {_cut(report.team)}" if report.team else "Escalations",
        "store": _cut(report.store),
        "revision": report.revision[:_OID],
        "at_case": "#",
        "at": _minute(now),
        "since": _minute(report.window.since),
        "until": _minute(report.window.until),
        "team": report.team,
        "period": report.period,
        "invalid": [(_cut(item.path), _cut(item.error)) for item in report.invalid],
        "most_rows": _MOST_ROWS,
        "open": len(waiting),
        "overdue": sum(case.overdue is not None for case in waiting),
        "held": sum(case.row.status == "claimed" for case in waiting),
        "oldest": age(now - oldest) if oldest else None,
        "total": _group(report.total, ""),
        "first": _FIRST_WAITING,
        "waiting": [_waiting(case, now) for case in waiting[:_MOST_WAITING]],
        "by_age": _by_severity(
            "Open escalations by age and severity",
            waiting,
            lambda case: _age(case, now),
            (*(name for name, _ in _AGES), _OLDEST),
        ),
        "by_team": _by_severity(
            "Open escalations by team and severity", waiting, lambda case: whom(case.row)
        ),
        "severities": SEVERITIES,
        "outcomes": OUTCOMES,
        "periods": [_group(row, "") for row in reversed(report.periods)],
        "flow": _flow(report),
        "times": _times(report),
        "groups": [
            _outcomes("team", report.teams, "no team"),
            _outcomes("policy", report.policies, "no policy"),
            _outcomes("model", report.models, "no model"),
        ],
        "reviewers": _reviewers(report.reviewers),
        "cases": len(report.cases),
    }


def _minute(moment: datetime | None) -> str | None:
    return f"{format_time(moment)[:16].replace('T', ' ')} UTC" if moment else None


def _in_minutes(text: str) -> str:
    """A text with its times as short as all other times on the page."""
    return "".join(part if isinstance(part, str) else f"{_minute(part)}" for part in moments_in(text))


def _due(deadline: str | None, now: datetime) -> str:
    if deadline is None:
        return "-"
    end = parse_time(deadline)
    return f"in {left(end, now)}" if end > now else left(end, now)


def _waiting(case: Case, now: datetime) -> dict[str, Any]:
    row = case.row
    return {
        "id": row.escalation_id,
        "severity": row.severity,
        "age": age(now - parse_time(row.created_at)),
        "created": row.created_at,
        "due": _due(row.deadline, now),
        "overdue": _in_minutes(case.overdue) if case.overdue else None,
        "holder": _cut(row.holder) if row.holder else None,
        "whom": _cut(whom(row)),
        "reason": row.reason_code,
        "summary": row.summary or "",
    }


def _age(case: Case, now: datetime) -> str:
    span = now - parse_time(case.row.created_at)
    return next((name for name, end in _AGES if span < end), _OLDEST)


def _by_severity(
    title: str, waiting: Sequence[Case], key: Callable[[Case], str], order: Sequence[str] = ()
) -> dict[str, Any]:
    """A chart and a table of open escalations by a key and by severity, in ``order`` or the most frequent first."""
    counted = Counter((key(case), case.row.severity) for case in waiting)
    sums = Counter(key(case) for case in waiting)
    names = [name for name in order if name in sums] or [name for name, _ in sums.most_common()]
    drawn = names[:_MOST_BARS]
    values = {severity: [counted[name, severity] for name in drawn] for severity in SEVERITIES}
    return {
        "title": title,
        "chart": charts.bars(title, drawn, values, charts.HALF) if drawn else None,
        "rows": [
            (_cut(name), [counted[name, severity] for severity in SEVERITIES], sums[name])
            for name in names[:_MOST_ROWS]
        ],
        "more": max(0, len(names) - _MOST_ROWS),
    }


def _flow(report: Overview) -> Markup | None:
    labels = [row.key or "" for row in report.periods]
    values = {
        "raised": [row.raised for row in report.periods],
        "resolved": [row.resolved for row in report.periods],
    }
    return charts.counts(f"Raised and resolved by {report.period}", labels, values) if labels else None


def _times(report: Overview) -> list[dict[str, Any]]:
    """Charts of how long it took to claim and to resolve."""
    labels = [row.key or "" for row in report.periods]
    found = []
    for what, spans in (
        ("claim", [row.time_to_claim for row in report.periods]),
        ("resolve", [row.time_to_resolve for row in report.periods]),
    ):
        title = f"Time to {what} by {report.period}"
        values = {"median": [span.p50 for span in spans], "p90": [span.p90 for span in spans]}
        known = any(span.count for span in spans)
        found.append(
            {"title": title, "what": what, "chart": charts.times(title, labels, values) if known else None}
        )
    return found


def _outcomes(kind: str, rows: Sequence[Row], missing: str) -> dict[str, Any]:
    ordered = sorted(rows, key=lambda row: (-row.resolved, -row.raised, row.key is None, row.key or ""))
    decided = [row for row in ordered if row.resolved][:_MOST_BARS]
    title = f"Outcomes by {kind}"
    values = {name: [row.outcomes[name] for row in decided] for name in OUTCOMES}
    return {
        "kind": kind,
        "title": title,
        "chart": charts.bars(title, [row.key or missing for row in decided], values) if decided else None,
        "rows": [_group(row, missing) for row in ordered[:_MOST_ROWS]],
        "more": max(0, len(rows) - _MOST_ROWS),
    }


def _group(row: Row, missing: str) -> dict[str, Any]:
    return {
        "key": _cut(row.key) if row.key else missing,
        "raised": row.raised,
        "resolved": row.resolved,
        "open": row.open,
        "overdue": row.overdue,
        "outcomes": [row.outcomes[name] for name in OUTCOMES],
        "claim": _spans(row.time_to_claim),
        "resolve": _spans(row.time_to_resolve),
        "second": row.second_reviews,
        "reopened": row.reopened,
        "reversals": row.reversals,
        "used": {name: getattr(row, name) for name in ("released", "executed", "unused")},
    }


def _spans(spans: Spans) -> tuple[str, str]:
    return lasted(spans.p50), lasted(spans.p90)


def _reviewers(rows: Sequence[ReviewerRow]) -> dict[str, Any]:
    ordered = sorted(rows, key=lambda row: (-row.decisions, -row.holds, row.key))
    drawn = [row for row in ordered if row.decisions][:_MOST_BARS]
    title = "Decisions by reviewer"
    values = {name: [row.outcomes[name] for row in drawn] for name in DECISIONS}
    return {
        "title": title,
        "decisions": DECISIONS,
        "chart": charts.bars(title, [row.key for row in drawn], values) if drawn else None,
        "rows": [
            {
                "key": _cut(row.key),
                "holds": row.holds,
                "decisions": row.decisions,
                "outcomes": [row.outcomes[name] for name in DECISIONS],
                "share": "-" if row.approval_share is None else f"{row.approval_share:.0%}",
                "decide": _spans(row.time_to_decide),
                "second": row.second_reviews,
                "reversed": row.reversed,
            }
            for row in ordered[:_MOST_ROWS]
        ],
        "more": max(0, len(rows) - _MOST_ROWS),
    }


# --- what the script is given ---------------------------------------------------------------------


def _json(value: object) -> str:
    """JSON for an HTML script element. Nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@dataclass
class _Data:
    """The data for the page's script: escalations and events as numbers.

    A number is a time or the index of a text.
    A case has: severity, state, creation (seconds), end and deadline (seconds since creation, -1 for none), route,
    holder, reason, summary, request, policy, model, why it is overdue, and the number of events. An event has:
    seconds since the creation of its case, action, actor, outcome, text.
    """

    at: datetime
    ids: list[str] = field(default_factory=list)
    _cases: list[int] = field(default_factory=list)
    _events: list[int] = field(default_factory=list)
    _commits: list[str] = field(default_factory=list)
    _texts: list[str] = field(default_factory=lambda: [""])
    _known: dict[str, int] = field(default_factory=lambda: {"": 0})
    _size: int = 1_000  # the keys, and some reserve

    def add(self, case: Case, room: int) -> bool:
        """Add a case if there is room for it. Returns False otherwise."""
        known = len(self._texts)
        numbers, events = self._case(case), self._happened(case)
        size = len(case.row.escalation_id) + len('"",') + len(case.events) * _OID
        size += sum(len(f"{number},") for number in (*numbers, *events))
        size += sum(len(f"{_json(text)},".encode()) for text in self._texts[known:])
        if self._size + size > room:
            del self._texts[known:]
            return False
        self._size += size
        self.ids.append(case.row.escalation_id)
        self._cases += numbers
        self._events += events
        self._commits += [event.commit[:_OID] for event in case.events]
        return True

    def _case(self, case: Case) -> list[int]:
        row = case.row
        created = _seconds(parse_time(row.created_at))
        ends = (case.resolved_at, parse_time(row.deadline) if row.deadline else None)
        names = (
            whom(row),
            row.holder,
            row.reason_code,
            row.summary,
            case.request_id,
            case.policy,
            case.model,
        )
        return [
            self._text(row.severity),
            self._text(row.outcome or row.status),
            created,
            *(max(0, _seconds(moment) - created) if moment else -1 for moment in ends),
            *map(self._text, (*names, case.overdue)),
            len(case.events),
        ]

    def _happened(self, case: Case) -> list[int]:
        created = _seconds(parse_time(case.row.created_at))
        found = []
        for event in case.events:
            found += [
                _seconds(event.at) - created,
                *map(self._text, (event.action, event.actor, event.outcome)),
            ]
            # Making characters visible never shortens a text, so the rest need not be looked at.
            words = visible((event.text or "")[: _LONGEST_TEXT + 1], lines=True)
            found.append(self._number(_cut(words, _LONGEST_TEXT)))
        return found

    def _text(self, text: str | None) -> int:
        return self._number(_cut(visible(text or "")))

    def _number(self, text: str) -> int:
        number = self._known.setdefault(text, len(self._texts))
        if number == len(self._texts):
            self._texts.append(text)
        return number

    def text(self) -> str:
        """The data as JSON."""
        return _json(
            {
                "at": _seconds(self.at),
                "severities": SEVERITIES,
                "texts": self._texts,
                "ids": self.ids,
                "cases": self._cases,
                "events": self._events,
                "commits": "".join(self._commits),
            }
        )


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
