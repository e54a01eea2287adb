"""What became of decisions for one use, as each reader tells it: all of them tell the same facts."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from evidence_case import as_known, checked, holds, unpacked
from lab import kt
from past import UsedPast
from test_report import Parsed

from kt_escalation.reporting.html.page import page
from kt_escalation.reporting.overview import report
from kt_escalation.reporting.statistics import Window

#: What happened to each after it was decided: action, by whom, and in what words.
FACTS: dict[str, list[tuple[str, str, str]]] = {
    "esc_anna": [("release", "gw", "under T.anna"), ("receipt", "gw", "executed")],
    "esc_berta": [("release", "gw", "under T.berta"), ("receipt", "gw", "unknown")],
    "esc_clara": [("release", "gw", "under T.clara")],
    "esc_dora": [],
}
RELEASED = sum(told != [] for told in FACTS.values())
EXECUTED = sum(("receipt", "gw", "executed") in told for told in FACTS.values())
UNUSED = sum(told == [] for told in FACTS.values())
JANUARY = Window(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))


@pytest.fixture(scope="module", params=["as files", "in archives"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is only looked at, before and after a compaction."""
    past = UsedPast(tmp_path_factory.mktemp("used"))
    if request.param == "in archives":
        past.compact()
    return past.path


def used(entries: list[dict[str, Any]]) -> dict[str, list[tuple[str, str, str]]]:
    """The uses among the entries of a log or among events, oldest first, by escalation."""
    found: dict[str, list[tuple[str, str, str]]] = {name: [] for name in FACTS}
    for one in entries:
        if one["action"] in ("release", "receipt"):
            found[one["escalation_id"]].append((one["action"], one["actor"], one["text"]))
    return found


def test_the_log_tells_them(store: Path) -> None:
    assert used(kt("log", "--json", "--limit", "0", cwd=store).json["entries"][::-1]) == FACTS
    for name, told in FACTS.items():
        entries = kt("log", "--id", name, "--json", cwd=store).json["entries"]
        assert used(entries[::-1])[name] == told


def test_the_events_tell_them(store: Path) -> None:
    lines = kt("events", "--json", cwd=store).out.splitlines()
    assert used([json.loads(line) for line in lines]) == FACTS


def test_a_release_over_a_record_is_no_release_and_a_record_among_releases_no_raise(tmp_path: Path) -> None:
    past = UsedPast(tmp_path)
    over, among = past.path / "queue/esc_one.yaml", past.path / "queue/released/2024/01/08/esc_dora.yaml"
    shutil.copy(past.path / "queue/released/2024/01/05/esc_anna.yaml", over)
    past.commit("boss", "over a record")
    among.parent.mkdir()
    shutil.copy(past.path / "queue/resolved/2024/01/08/esc_dora.yaml", among)
    past.commit("boss", "among releases")
    found = [("esc_dora", "is a record, and no release"), ("esc_one", "is a release, and no record")]
    entries = kt("log", "--json", "--limit", "2", cwd=past.path).json["entries"]
    assert [(one["escalation_id"], one["text"]) for one in entries] == found
    events = [json.loads(line) for line in kt("events", "--json", cwd=past.path).out.splitlines()[-2:]]
    assert [(one["escalation_id"], one["text"]) for one in events[::-1]] == found
    assert {one["action"] for one in entries + events} == {"unreadable"}
    readme = (unpacked(past.path, "--id", "esc_dora") / "README.md").read_text()
    said = re.findall(rf"{entries[0]['commit'][:12]}  (.*)", readme)
    assert set(said) == {f"unreadable esc_dora: {found[0][1]}"}


def test_the_figures_count_them_where_they_happened(store: Path) -> None:
    args = ("stats", "--since", "2024-01-01T00:00:00Z", "--json")
    for more, counted in (
        ((), (RELEASED, EXECUTED, UNUSED)),
        (("--until", "2024-01-06T00:00:00Z"), (1, 1, 0)),
    ):
        total = kt(*args, *more, cwd=store).json["total"]
        assert (total["released"], total["executed"], total["unused"]) == counted
    assert total["outcomes"]["approved"] == 1


def test_an_export_has_a_row_for_each(store: Path, tmp_path: Path) -> None:
    told = kt("export", "-o", str(tmp_path / "out"), "--json", cwd=store).json
    assert (told["released"], told["executed"], told["unused"]) == (RELEASED, EXECUTED, UNUSED)
    rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    uses = {row["release"]["escalation_id"]: row["release"] for row in rows if "release" in row}
    assert {name: use["release_id"] for name, use in uses.items()} == {
        name: told[0][2].removeprefix("under ") for name, told in FACTS.items() if told
    }
    assert {name: use["receipt"]["status"] for name, use in uses.items() if use.get("receipt")} == {
        name: told[1][2] for name, told in FACTS.items() if len(told) > 1
    }


def test_the_report_tells_and_counts_them(store: Path) -> None:
    made = report(store, now=datetime(2024, 2, 1, tzinfo=UTC), window=JANUARY)
    data = page(made).data
    for name, count in (("released", RELEASED), ("executed", EXECUTED), ("unused", UNUSED)):
        assert f'<dd id="used-{name}">{count}</dd>'.encode() in data
    timelines = dict(Parsed(data).timelines())
    for name, told in FACTS.items():
        events = [(action, actor, words) for _, action, actor, _, words in timelines[name]]
        assert [one for one in events if one[0] in ("release", "receipt")] == told


def test_a_report_of_a_store_without_such_decisions_says_nothing_of_them(store: Path) -> None:
    early = Window(datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 2, 1, tzinfo=UTC))
    data = page(report(store, now=datetime(2024, 2, 1, tzinfo=UTC), window=early)).data
    assert b"used-released" not in data


@pytest.mark.parametrize("more", [(), ("--minimal",)])
def test_evidence_tells_them_and_is_checked_with_git_alone(store: Path, more: tuple[str, ...]) -> None:
    folder = unpacked(store, "--id", "esc_anna", *more)
    readme = (folder / "README.md").read_text()
    told = re.findall(
        r"^    \S+  \w{12}  (release|receipt) esc_anna(?: as \w+)? by (\w+): (.*)$", readme, re.M
    )
    assert told == FACTS["esc_anna"]
    texts = [path.read_text() for path in sorted(folder.glob("texts/steps/*/queue/**/esc_anna.yaml"))]
    assert ["release_id: T.anna" in text for text in texts].count(True) == 2
    assert "status: executed" in texts[-1]
    ran = checked(folder, as_known(store, folder))
    assert holds(ran, readme.count("\n### "), 0), ran.stderr
