"""The judge and a simple oracle agree on who is guilty of what was released, received and archived."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import hostile
import pytest
import uses
from lab import git

from kt_escalation import audit
from kt_escalation.audit.hook import receive

#: What must have happened in the histories of a slice.
KINDS = frozenset(
    ["use", "receipt", "legal", "mended", "archived", "guilty", "merge", "elsewhere", "spoiled", "gone", "undecided",
     "by_nobody", "edited", "untimely", "answered", "archive"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("first", "count"),
    [
        pytest.param(0, 30, id="slice"),
        *(pytest.param(n, 500, id=f"from-{n}", marks=pytest.mark.soak) for n in range(0, 5_000, 500)),
    ],
)
def test_judge_and_oracle_agree_on_uses(tmp_path: Path, first: int, count: int) -> None:
    made = [uses.make(seed) for seed in range(first, first + count)]
    git("init", "--quiet", "--bare", "-b", "main", str(tmp_path), cwd=tmp_path)
    hostile.write([one.tale.graph for one in made], tmp_path, {})
    told: list[str] = []
    found: Counter[str] = Counter()
    for one in made:
        tip, now = one.main.tip, one.tale.graph.now
        report = audit.verify(tmp_path, tip, afresh=True, now=now)
        told += uses.disagreements(one, {violation.commit for violation in report.violations})
        git("update-ref", "refs/heads/main", one.tale.start, cwd=tmp_path)
        refused = [*receive(tmp_path, [(one.tale.start, tip, "refs/heads/main")], now=now)]
        if one.guilty and not refused:
            told.append(f"seed {one.seed}: the hook takes it in")
        found.update(one.kinds)
        found["clean"] += not one.guilty
    assert not told, "\n".join(told[:20])
    assert found.keys() >= KINDS
    assert count * 0.05 < found["clean"] < count * 0.6
