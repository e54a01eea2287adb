"""Ten thousand random legal histories raise no alarm: not in `verify`, not in `check`, not bit by bit."""

from __future__ import annotations

from pathlib import Path
from random import Random

import histories
import pytest
from histories import History
from kt_escalation.verdict import Report
from lab import git

from kt_escalation import verdict
from kt_escalation.store import layout

AT_ONCE = 500


def alarms(seed: int, report: Report) -> list[str]:
    """What was found, with the number that makes the history again."""
    return [f"seed {seed}: {verdict.told(offence)}" for offence in report.violations]


def base_of(history: History) -> int | None:
    """A commit on the first-parent line from which on no policies change, as for a pull request."""
    graph = history.graph
    line = graph.first_line(history.tip)
    there = {path for at in line for path in graph.commits[at].files if histories.is_policy(path)}
    assert there
    at = Random(history.seed).choice(line)
    base = graph.after(at)
    news = graph.ancestors(history.tip) - graph.ancestors(at)
    same = all(graph.commits[new].policies == base for new in news) and base is not None
    return at if same and news and graph.after(history.tip) == base else None


@pytest.mark.parametrize(
    ("first", "count"),
    [
        pytest.param(0, 100, id="slice"),
        *(
            pytest.param(n, AT_ONCE, id=f"from-{n}", marks=pytest.mark.soak)
            for n in range(0, 10_000, AT_ONCE)
        ),
    ],
)
def test_legal_histories_raise_no_alarm(tmp_path: Path, first: int, count: int) -> None:
    git("init", "--quiet", "--bare", str(tmp_path), cwd=tmp_path)
    made = [histories.make(seed) for seed in range(first, first + count)]
    merges = sum(len(commit.parents) > 1 for history in made for commit in history.graph.commits)
    assert merges >= count // 2, "histories of nothing but single lines prove little"
    folded = sum(
        any(map(layout.archive_at, commit.files)) for history in made for commit in history.graph.commits
    )
    assert folded >= count // 5, "some months must be over"
    ids = histories.write(made, tmp_path)
    found: list[str] = []
    checked = 0
    for history in made:
        seed, commits = history.seed, ids[history.seed]
        tip = commits[history.tip]
        found += alarms(seed, verdict.verify(tmp_path, tip, afresh=True))
        if seed % 5 == 0:
            # The clone remembers where it was clean, and looks at what is new.
            (tmp_path / "kt/verified").unlink(missing_ok=True)
            middle = history.graph.first_line(history.tip)[len(history.graph.first_line(history.tip)) // 2]
            if history.graph.after(middle) is not None:
                found += alarms(seed, verdict.verify(tmp_path, commits[middle]))
            found += alarms(seed, verdict.verify(tmp_path, tip))
        if seed % 2 == 0 and (base := base_of(history)) is not None:
            checked += 1
            wanted = f"{commits[base]}..{tip}"
            found += alarms(seed, verdict.check(tmp_path, wanted, now=history.now))
    assert not found, "\n".join(found[:20])
    assert checked >= count // 10


def test_a_history_is_the_same_each_time() -> None:
    assert histories.make(7) == histories.make(7)
