"""The judge and the oracle agree on ten thousand hostile graphs, and on any that hypothesis thinks of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import hostile
import oracle
import pytest
from hostile import Graph
from hypothesis import HealthCheck, given, settings
from lab import git

from kt_escalation import audit

AT_ONCE = 500
#: Rules that the oracle must have found in the graphs of a slice: each class of attack is among them.
CLASSES = frozenset(
    [
        "actor",
        "archive",
        "born",
        "compaction",
        "deleted",
        "dropped",
        "foreign",
        "merge",
        "message",
        "not_allowed",
        "policies",
        "restore",
        "root",
        "start",
        "time",
        "tree",
        "twice",
        "unsigned",
    ]
)


def disagreements(graphs: Sequence[Graph], repository: Path) -> tuple[list[str], Counter[str]]:
    """Where the two differ about graphs, written to a new repository; and how often the oracle found what."""
    git("init", "--quiet", "--bare", "-b", "main", str(repository), cwd=repository)
    names = {f"refs/heads/g{number}": graph.tip for number, graph in enumerate(graphs)}
    hostile.write(graphs, repository, names)
    told: list[str] = []
    count: Counter[str] = Counter()
    objects = oracle.objects_in(repository)
    for graph in graphs:
        verdict = oracle.judge(objects, graph.tip, graph.now)
        report = audit.verify(repository, graph.tip, afresh=True, now=graph.now)
        found = oracle.disagreements(
            verdict, {one.commit for one in report.violations}, {one.commit for one in report.waived}
        )
        told += [f"seed {graph.seed}: {line}" for line in found]
        count.update({one.rule for one in verdict.violations if one.sure})
        count.update(clean=bool(verdict.clean), waived=bool(verdict.waived))
    return told, count


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
def test_judge_and_oracle_agree(tmp_path: Path, first: int, count: int) -> None:
    told, found = disagreements([hostile.make(seed) for seed in range(first, first + count)], tmp_path)
    assert not told, "\n".join(told[:20])
    assert count * 0.15 < found["clean"] < count * 0.6, "neither harm alone nor harmlessness proves much"
    assert found["waived"] >= count * 0.05
    assert found.keys() >= CLASSES


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(hostile.graphs())
def test_judge_and_oracle_agree_on_any_graph(graph: Graph) -> None:
    with TemporaryDirectory() as repository:
        told, _ = disagreements([graph], Path(repository))
    assert not told, "\n".join([*told, *graph.story])
