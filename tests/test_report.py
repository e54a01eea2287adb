"""The page about a store: its figures are those of `stats`, its timelines those of `events`, its texts only text."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import errorbook
import pytest
from counts import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lab import Lab, kt, kt_process
from office import DAY, HIDDEN, HOSTILE, NOW, Office, many
from pages import as_printed, text_of
from strategies import texts
from terminal import at_a_terminal, kt_at_a_terminal

from kt_escalation.cli.commands.report import report_command
from kt_escalation.model.text import is_hidden, visible
from kt_escalation.reporting import extras, figures
from kt_escalation.reporting.extras import how_to_install
from kt_escalation.reporting.html import charts, page
from kt_escalation.reporting.overview import PERIODS, Overview, report
from kt_escalation.reporting.statistics import Window

DOCS = Path(__file__).parent.parent / "docs"
PAGE = text_of("report.md")
SUMMARY = {"escalations", "open", "overdue", "shown", "size", "sha256", "revision", "file", "invalid"}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with ten weeks of work in it, that is only looked at."""
    made = Office(tmp_path_factory.mktemp("office") / "store.git")
    made.work(420)
    return made.save()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which every text of strangers is hostile."""
    made = Office(tmp_path_factory.mktemp("hostile") / "store.git")
    made.hostility()
    return made.save()


@pytest.fixture(scope="module")
def found(office: Path) -> Overview:
    return report(office, now=NOW)


class Parsed(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, its visible text, its data."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(data.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.raw[self.cdata_elem][-1] += data
        else:
            self.text.append(data)

    @property
    def data(self) -> dict[str, Any]:
        """What the script is given."""
        given: dict[str, Any] = json.loads(self.raw["script"][0])
        return given

    def timelines(self) -> Iterator[tuple[str, list[tuple[str, str, str, str, str]]]]:
        """Each escalation's commits, actions, actors, outcomes and words, as the script reads them."""
        data, first = self.data, 0
        for number, name in enumerate(data["ids"]):
            count = data["cases"][number * 14 + 13]
            told = []
            for at in range(first, first + count):
                _, *said = data["events"][at * 5 : at * 5 + 5]
                action, actor, outcome, words = (data["texts"][index] for index in said)
                told.append((data["commits"][at * 12 : at * 12 + 12], action, actor, outcome, words))
            first += count
            yield name, told


# --- the facts --------------------------------------------------------------------------------------


def test_what_the_office_did_is_legal(office: Path, hostile: Path) -> None:
    for store in (office, hostile):
        ran = kt("verify", cwd=store)
        assert ran.code == 0, ran.out


@pytest.mark.parametrize("window", [Window(), Window(NOW - 20 * DAY), Window(NOW - 30 * DAY, NOW - 9 * DAY)])
def test_its_figures_are_those_of_stats(office: Path, window: Window) -> None:
    made = report(office, now=NOW, window=window, period="week")
    told = {"team": made.teams, "policy": made.policies, "model": made.models, "reviewer": made.reviewers}
    for by, rows in told.items():
        counted = figures.stats(office, now=NOW, by=by, window=window)  # type: ignore[arg-type]
        assert rows == counted.rows
        assert rows
        assert made.total == counted.total
    counted = figures.stats(office, now=NOW, by="period", period="week", window=window)
    assert [row for row in made.periods if row.raised or row.resolved] == list(counted.rows)


def test_its_timelines_are_those_of_events(office: Path, found: Overview) -> None:
    told: dict[str, list[Any]] = {}
    for line in kt("events", "--json", cwd=office).out.splitlines():
        event = json.loads(line)
        said = (event["action"], event["actor"], event["outcome"] or "", event["text"] or "")
        told.setdefault(event["escalation_id"], []).append((event["commit"][:12], *said))
    assert dict(Parsed(page.page(found).data).timelines()) == told
    assert {action for events in told.values() for _, action, *_ in events} >= {
        *("raise", "claim", "unclaim", "note", "assign", "review", "resolve", "sweep", "reopen")
    }


def test_what_needs_somebody_now_comes_first(found: Overview) -> None:
    keys = [(not case.is_open, case.overdue is None) for case in found.cases]
    assert keys == sorted(keys)
    assert len({*keys}) == 3
    ended = [case.resolved_at for case in found.cases if case.resolved_at]
    assert ended == sorted(ended, reverse=True)


def test_what_is_open_is_there_whatever_the_window_says(found: Overview, office: Path) -> None:
    window = Window(NOW - 3 * DAY, NOW - 2 * DAY)
    made = report(office, now=NOW, window=window)
    waiting = [case for case in found.cases if case.is_open]
    assert [case for case in made.cases if case.is_open] == waiting
    others = [case for case in made.cases if not case.is_open]
    assert 0 < len(others) < len(found.cases) - len(waiting)
    assert made.total.open < len(waiting)


def test_one_teams_page_tells_of_no_other(found: Overview, office: Path) -> None:
    made = report(office, now=NOW, team="legal")
    assert {case.row.team_id for case in made.cases} == {"legal"}
    assert len(made.cases) == sum(case.row.team_id == "legal" for case in found.cases)
    assert [row.key for row in made.teams] == ["legal"]
    assert made.total.raised == len(made.cases)
    told = {*re.findall(r"esc_[a-z0-9_-]+", page.page(made).data.decode())}
    assert (
        told == {case.row.escalation_id for case in made.cases} < {c.row.escalation_id for c in found.cases}
    )


@pytest.mark.parametrize(("days", "period"), [(10, "day"), (100, "week"), (1000, "month")])
def test_periods_fit_the_time_that_is_told_and_none_is_missing(office: Path, days: int, period: str) -> None:
    made = report(office, now=NOW, window=Window(NOW - timedelta(days=days)))
    keys = [row.key for row in made.periods]
    assert made.period == period
    assert keys == sorted({*keys})
    assert 0 < len(keys) <= PERIODS
    assert {"day": "2026-11-23", "week": "2026-W48", "month": "2026-11"}[period] == keys[-1]
    longer = report(office, now=NOW + 300 * DAY, period="day")
    assert len(longer.periods) == PERIODS
    assert not any(row.raised for row in longer.periods)


# --- the page ---------------------------------------------------------------------------------------

_ELEMENTS = """
a body button caption circle code dd defs details div dl dt figcaption figure footer form g h1 h2 h3 head header html
input label li main meta nav noscript ol option p path pattern rect script section select span style summary svg table
tbody td text th thead time title tr ul
"""


@pytest.fixture(scope="module", params=["office", "hostile"])
def parsed(request: pytest.FixtureRequest) -> Parsed:
    return Parsed(page.page(report(request.getfixturevalue(request.param), now=NOW)).data)


def test_nothing_on_it_runs_or_is_fetched_but_what_its_policy_names(parsed: Parsed) -> None:
    """The elements are those of the template, no attribute acts, and each address is on the page."""
    assert {tag for tag, _ in parsed.elements} <= {*_ELEMENTS.split()}
    for tag, attributes in parsed.elements:
        assert not any(name.startswith("on") or name in ("style", "src", "srcset") for name in attributes)
        assert all(value and value.startswith("#") for name, value in attributes.items() if "href" in name), (
            tag
        )
    [policy] = [
        a["content"] or "" for _, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    data, script = parsed.raw["script"]
    [style] = parsed.raw["style"]
    for kind, text in (("script", script), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert json.loads(data)
    assert "<" not in data


def test_a_hostile_record_is_shown_as_text_that_hides_nothing(hostile: Path) -> None:
    made = Parsed(page.page(report(hostile, now=NOW)).data)
    shown = "".join(made.text)
    assert all(text in shown for text in HOSTILE)
    assert not any(is_hidden(char) for char in shown.replace("\n", ""))
    said = made.data["texts"]
    assert not any(is_hidden(char) for text in said for char in text.replace("\n", ""))
    for text in HOSTILE:
        assert f"{text}\n{visible(HIDDEN)}" in said


def test_every_table_and_chart_says_what_it_is(parsed: Parsed) -> None:
    names = [tag for tag, _ in parsed.elements]
    assert names.count("table") == names.count("caption") >= 8
    heads = [attributes for tag, attributes in parsed.elements if tag == "th"]
    assert heads
    assert all(attributes.get("scope") in ("col", "row") for attributes in heads)
    drawn = [attributes for tag, attributes in parsed.elements if tag == "svg" and "role" in attributes]
    assert len(drawn) == 9
    assert all(it["role"] == "img" and it["aria-label"] for it in drawn)
    others = [attributes for tag, attributes in parsed.elements if tag == "svg" and "role" not in attributes]
    legends = [attributes for tag, attributes in parsed.elements if attributes.get("class") == "legend"]
    assert others
    assert all(it.get("aria-hidden") == "true" for it in legends)
    ids = Counter(attributes["id"] for _, attributes in parsed.elements if "id" in attributes)
    assert {*ids.values()} == {1}
    named = [
        name for _, attributes in parsed.elements for name in [attributes.get("aria-labelledby")] if name
    ]
    assert named
    assert {*named} <= {*ids}


def test_an_empty_store_has_a_page_that_says_so(lab: Lab) -> None:
    made = Parsed(page.page(report(lab.clone("alice"), now=NOW)).data)
    shown = "".join(made.text)
    for words in (
        "Nothing waited at this commit: none has ever been raised.",
        "Nothing has happened",
        "Nothing has been decided",
        "Nobody has decided",
    ):
        assert words in shown
    assert made.data["ids"] == []


def test_ten_thousand_have_room_on_it(found: Overview) -> None:
    made = page.page(many(found, 10_000))
    assert made.shown == 10_000
    assert len(made.data) < page.MAX_BYTES


def test_what_has_no_room_is_left_out_and_the_open_ones_never(found: Overview) -> None:
    cases = many(found, 3_000).cases
    long = [
        replace(c, events=tuple(replace(e, text=f"{e.commit} " + "審" * 20_000) for e in c.events))
        for c in cases
    ]
    made = page.page(replace(found, cases=tuple(long)))
    assert page.MAX_BYTES * 0.99 < len(made.data) <= page.MAX_BYTES
    assert sum(case.is_open for case in long) < made.shown < len(long)
    parsed = Parsed(made.data)
    assert parsed.data["ids"] == [case.row.escalation_id for case in long[: made.shown]]
    assert parsed.data["texts"][-1].endswith("…")
    assert {"3000"} == {a["data-cases"] for _, a in parsed.elements if "data-cases" in a}


def test_as_many_groups_as_a_stranger_likes_take_no_more_room(found: Overview) -> None:
    rows = tuple(replace(found.policies[0], key=f"{index} {'x' * 900}") for index in range(20_000))
    made = page.page(replace(found, policies=rows, models=rows, teams=rows))
    assert made.shown == len(found.cases)
    assert len(made.data) < 500_000
    assert b"19950 more: <code>kt escalation stats --by policy</code>" in made.data


# --- the charts -------------------------------------------------------------------------------------


def svg(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)  # noqa: S314 - ours


@given(
    st.lists(st.tuples(texts(1, 60), st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=12),
    st.sampled_from([charts.bars, charts.counts, charts.times]),
)
@example([(text, 3, 4) for text in HOSTILE[:12]], charts.bars)
@example([("a", 0, 0)], charts.times)
@example([("a", 0, 0)], charts.counts)
@settings(max_examples=examples(40))
def test_a_chart_is_marks_and_text_alone_whatever_it_shows(
    rows: list[tuple[str, int, int]], draw: Any
) -> None:
    labels = (
        [text for text, _, _ in rows] if draw is charts.bars else [f"2026-{n:02}" for n in range(len(rows))]
    )
    drawn = draw("A <chart>", labels, {"one": [x for _, x, _ in rows], "two": [y for *_, y in rows]})
    root = svg(drawn)
    parts = list(root.iter())
    assert {part.tag for part in parts} <= {"svg", "g", "rect", "path", "circle", "text", "title"}
    known = {"class", "viewBox", "role", "aria-label", "d", "x", "y", "width", "height", "cx", "cy", "r"}
    assert {name for part in parts for name in part.attrib} <= known
    assert not any(is_hidden(char) for part in parts for char in part.text or "")
    marks = [part for part in parts if part.get("class") == ("bar" if draw is charts.bars else "dot")]
    assert len(marks) == 2 * len(rows)
    assert all(mark.find("title") is not None for mark in marks)
    wide, tall = [float(x) for x in root.attrib["viewBox"].split()][2:]
    for mark in marks:
        x, y = (float(mark.get(name) or mark.attrib[f"c{name}"]) for name in ("x", "y"))
        assert 0 <= x <= x + float(mark.get("width", "0")) <= wide
        assert 0 <= y <= y + float(mark.get("height", "0")) <= tall


def test_a_chart_tells_at_each_mark_what_it_shows() -> None:
    drawn = charts.times("t", ["w1", "w2"], {"median": [100, None]})
    titles = [part.text for part in svg(drawn).iter("title")]
    assert titles == ["w1, median: 1m40s"]
    drawn = charts.bars("t", ["legal", "<triage>"], {"approved": [12345, 1], "denied": [0, 2]})
    titles = [part.text for part in svg(drawn).iter("title")]
    assert "legal, approved: 12,345" in titles
    assert "<triage>, denied: 2" in titles
    shown = [part.text for part in svg(drawn).iter("text") if "value" in part.attrib["class"].split()]
    assert shown == ["12,345"]


# --- the command ------------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_says_what_is_in_it(office: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("an older one")
    ran = kt("report", "-o", str(out), "--json", cwd=office)
    assert ran.code == 0
    assert ran.json.keys() == SUMMARY
    data = out.read_bytes()
    assert ran.json["size"] == len(data)
    assert ran.json["sha256"] == hashlib.sha256(data).hexdigest()
    assert ran.json["escalations"] == ran.json["shown"] == len(Parsed(data).data["ids"])
    assert list(tmp_path.iterdir()) == [out]
    ran = kt("report", "-o", str(out), "--team", "legal", "--since", "1d", cwd=office)
    assert (ran.code, ran.out) == (0, "")
    assert re.match(r"kt: \d+ escalations \(\d+ open, \d+ overdue\) at ", ran.err)
    assert "<h1>Escalations of team legal</h1>" in out.read_text()


def test_whoever_waits_at_a_terminal_sees_how_far_it_is(office: Path, tmp_path: Path) -> None:
    args = ("report", "-o", str(tmp_path / "report.html"))
    ran, cursor = kt_at_a_terminal(*args, cwd=office)
    assert ran.code == 0
    assert "reading history  [" in ran.err
    assert "100%" in ran.err
    assert cursor


def test_the_page_can_go_to_a_pipe_and_not_to_a_terminal(office: Path) -> None:
    ran = kt_process("report", "-o", "-", "--json", cwd=office)
    assert ran.code == 0
    assert ran.out.startswith("<!doctype html>")
    assert json.loads(ran.err)["file"] is None
    code, shown = at_a_terminal("report", "-o", "-", cwd=office)
    assert code == 2
    assert "cannot be written to a terminal" in shown


def test_what_cannot_be_read_is_said_on_the_page(lab: Lab, tmp_path: Path) -> None:
    lab.put({"queue/esc_broken.yaml": "schema_version: [<script>\n"})
    lab.escalations("one")
    out = tmp_path / "report.html"
    ran = kt("report", "-o", str(out), "--json", cwd=lab.clone("alice"))
    assert ran.code == 0
    assert [item["path"] for item in ran.json["invalid"]] == ["queue/esc_broken.yaml"]
    shown = "".join(Parsed(out.read_bytes()).text)
    assert "1 file could not be read and is not counted" in shown
    assert "queue/esc_broken.yaml" in shown


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--since", "1d", "--until", "2d"], "--since is not before --until"),
        (["--since", "soon"], "--since is 'soon'"),
        (["--team", ""], "the team to report on is empty"),
        (["--rev", "nothing"], "nothing"),
    ],
)
def test_bad_input_writes_nothing(office: Path, tmp_path: Path, args: list[str], words: str) -> None:
    ran = kt("report", "-o", str(tmp_path / "report.html"), *args, cwd=office)
    assert ran.code == 2
    assert words in ran.err
    assert not list(tmp_path.iterdir())


def test_a_shallow_clone_is_told_how_to_become_whole(lab: Lab, tmp_path: Path) -> None:
    lab.escalations("one")
    ran = kt("report", "-o", str(tmp_path / "r"), "--json", cwd=lab.clone("shallow", "--depth", "1"))
    assert ran.code == 2
    assert ran.error["code"] == "shallow_clone"
    assert "--unshallow" in ran.error["message"]


def test_without_jinja_it_says_what_to_install(office: Path, tmp_path: Path) -> None:
    """A library that is not there: a module of its name says so, as Python would."""
    (tmp_path / "jinja2.py").write_text("raise ModuleNotFoundError('No module named jinja2', name='jinja2')")
    out = tmp_path / "report.html"
    ran = kt_process("report", "-o", str(out), "--json", cwd=office, env={"PYTHONPATH": str(tmp_path)})
    assert ran.code == 2
    assert not out.exists()
    assert len(ran.err.splitlines()) == 1
    assert (ran.error["code"], ran.error["library"], ran.error["extra"]) == (
        "missing_extra",
        "jinja2",
        "report",
    )
    assert ran.error["message"].endswith(ran.error["install"])
    assert "report" in ran.error["install"]
    line = ran.error["message"].replace(ran.error["install"], "<how to install it>")
    errorbook.hold_line("missing_extra", ran.code, line, tmp_path, ["report", "-o", "report.html"])
    ran = kt_process("stats", cwd=office, env={"PYTHONPATH": str(tmp_path)})
    assert ran.code == 0


def test_without_jinja_the_store_raises_an_error_of_its_own(office: Path, tmp_path: Path) -> None:
    (tmp_path / "jinja2.py").write_text("raise ModuleNotFoundError('No module named jinja2', name='jinja2')")
    program = """
import io
from kt_escalation import Store
from kt_escalation.errors import MissingExtra
with Store.open(".") as store:
    print(type(store.report()).__name__)
    page = io.BytesIO()
    try:
        store.report(page)
    except MissingExtra as error:
        print(error.code, error.library, error.extra, error.install in str(error), page.getvalue())
"""
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=office,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["Overview", "missing_extra jinja2 report True b''"]


@pytest.mark.parametrize(
    ("noted", "told"),
    [
        ({}, "install the extra `report` from where kt was installed from"),
        ({"url": "file:///a%20b", "dir_info": {}}, "run `PYTHON -m pip install '/a b[report]'`"),
        (
            {"url": "file:///src/kt", "dir_info": {"editable": True}},
            "run `PYTHON -m pip install --editable '/src/kt[report]'`",
        ),
        (
            {"url": "https://example.com/kt", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "run `PYTHON -m pip install 'kt-escalation[report] @ git+https://example.com/kt@abc'`",
        ),
        (
            {"url": "https://example.com/kt.whl", "archive_info": {}},
            "run `PYTHON -m pip install 'kt-escalation[report] @ https://example.com/kt.whl'`",
        ),
    ],
    ids=["nothing noted", "a folder", "a checkout", "a repository", "a wheel"],
)
def test_how_to_install_it_goes_by_how_kt_was(noted: dict[str, Any], told: str) -> None:
    assert how_to_install("report", noted) == told.replace("PYTHON", shlex.quote(sys.executable))


def test_how_to_install_it_needs_no_pip_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    noted = {"url": "https://example.com/kt.whl", "archive_info": {}}
    wanted = "'kt-escalation[report] @ https://example.com/kt.whl'"
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    python = shlex.quote(sys.executable)
    assert how_to_install("report", noted) == f"run `uv pip install --python {python} {wanted}`"
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "uv-receipt.toml").write_text("[tool]\n")
    assert how_to_install("report", noted) == f"run `uv tool install --force {wanted}`"


# --- what docs/report.md says ------------------------------------------------------------------------


def test_the_docs_commands_run_as_printed_and_their_pictures_are_there(lab: Lab) -> None:
    lab.escalations("one")
    clone = lab.clone("alice")
    as_printed("report.md", clone, leave=["pip install '.[report]'"])
    assert len(list(clone.glob("*.html"))) == 3
    pictures = re.findall(r"!\[[^\]]+\]\((.+?)\)", PAGE)
    assert len(pictures) == 4
    assert all((DOCS / name).stat().st_size < 200_000 for name in pictures)


def test_the_docs_name_every_option_and_the_page_as_large_as_it_may_be() -> None:
    [table] = re.findall(r"^\| option \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    told = {*re.findall(r"`(--?[a-z]+)", table)}
    own = {option for it in report_command.params for option in it.opts}
    assert told == own - {"--rev", "--fetch", "-C", "--debug"}
    assert "never larger than 5 MB" in PAGE
    assert page.MAX_BYTES == 5_000_000
    assert f"last {PERIODS} periods" in PAGE
    assert "cut after 600 characters" in PAGE
