"""The bench measures every row and says so in a table, in JSON and in Markdown; how fast is not asked here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab import git
from pages import as_printed

from kt_escalation import audit

ROOT = Path(__file__).parent.parent
# Those of the design, section 12, and the seconds of a report, of a push of 100, and of who waits.
BUDGETS = (
    *("1.0 ×", "1.3 ×", "1.2 ×", "rate ≥ 0.9 ×", "2 s", "1.3 ×", "2.0 ×", "1.2 ×", "2.0 ×", "10 s", "0.5 s"),
    *("1.2 ×", "1.5 ×", "1.5 ×", "1.5 ×", "1.5 ×", "1 s", "1 s"),
)


def bench(tmp_path: Path, *rows: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "bench",
            "--small",
            "--stores",
            str(tmp_path / "stores"),
            "--output",
            str(tmp_path),
            *rows,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def measured(tmp_path: Path, *names: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a small run of some rows, or of all, has saved; each row is whole, and in the table and on the page."""
    ran = bench(tmp_path, *names)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    rows = [row for several in found["rows"].values() for row in several]
    for row in rows:
        assert row["value"] > 0
        assert len(row["values"]) >= 1
        assert (row["ratio"] is None) == (row["floor"] is None)
        assert len(row["values"]) == len(row["floors"]) or not row["floors"]
        assert f"| {row['work']} " in ran.stdout
        assert f"| {row['work']} " in (tmp_path / "RESULTS.md").read_text()
    assert found["about"].keys() >= {"machine", "python", "git", "libraries", "date"}
    return found, rows


def test_a_row_is_measured_beside_its_floor(tmp_path: Path) -> None:
    found, rows = measured(tmp_path, "list", "claim")
    assert [*found["rows"]] == ["list", "claim"]
    assert len(rows) >= 3


@pytest.mark.soak
def test_every_row_of_the_design_is_measured_beside_its_floor(tmp_path: Path) -> None:
    _, rows = measured(tmp_path)
    assert tuple(row["budget"] for row in rows if row["budget"] and "MB" not in row["budget"]) == BUDGETS
    # What was built is legal from the first commit to the last.
    judged = [audit.verify(living) for living in (tmp_path / "stores").glob("living-*")]
    assert {report.steps for report in judged} == {20, 30, 60}
    assert all(report.clean for report in judged)
    [signed] = [audit.verify(store) for store in (tmp_path / "stores").glob("signed-*")]
    assert signed.clean
    assert signed.signatures.held == signed.steps == 20


def test_the_page_names_targets_that_there_are(tmp_path: Path) -> None:
    """Each is make's to run; the rows themselves are measured above."""
    ran = as_printed("performance.md", ROOT, replace={"make ": "make --dry-run "})
    assert "-m bench growth" in ran[0]


@pytest.mark.soak
def test_growth_is_a_table_and_a_plot_and_leaves_the_other_rows_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps({"rows": {}, "growth": {}}))
    ran = bench(tmp_path, "growth")
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["rows"] == {}
    assert {"`claim`", "`list`", "`verify` of one more"} <= found["growth"]["seconds"].keys()
    assert found["growth"]["resolved"] == [20, 60]
    plot = (tmp_path / "growth.svg").read_text()
    assert plot.startswith("<svg ")
    assert len(re.findall('stroke-width="2"', plot)) >= 4
    [store] = (tmp_path / "stores").glob("resting-10-60.*")
    archived = git("ls-tree", "-r", "--name-only", "main", "queue/resolved/", cwd=store).splitlines()
    names = [git("show", f"main:{path}", cwd=store) for path in archived if path.endswith(".ids")]
    assert sum(len(text.splitlines()) for text in names) == 60
