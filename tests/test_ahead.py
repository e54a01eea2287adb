"""Trees compared in another process are told as they are here, also where that process dies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import hostile
import pytest
from lab import git

from kt_escalation import audit
from kt_escalation.audit import read_ahead
from kt_escalation.git.repository import Repository
from kt_escalation.storage.tree_comparison import Ahead
from kt_escalation.storage.trees import Trees

SEEDS = range(12)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("ahead")
    git("init", "--quiet", "--bare", str(path), cwd=path)
    graphs = [hostile.make(seed) for seed in SEEDS]
    hostile.write(graphs, path, {f"refs/heads/g{graph.seed}": graph.tip for graph in graphs})
    return path


@pytest.mark.parametrize("dies", [False, True])
def test_the_judge_finds_the_same(repository: Path, monkeypatch: pytest.MonkeyPatch, dies: bool) -> None:
    graphs = [hostile.make(seed) for seed in SEEDS]
    plain = [audit.verify(repository, graph.tip, afresh=True, now=graph.now) for graph in graphs]
    asked: list[int] = []
    ask = Ahead.ask

    def counted(ahead: Ahead, roots: Sequence[str | None]) -> None:
        asked.append(len(roots))
        if dies and len(asked) % 2 == 0 and ahead._process is not None:
            ahead._process.kill()
            ahead._process.wait()
        ask(ahead, roots)

    monkeypatch.setattr(Ahead, "ask", counted)
    monkeypatch.setattr(read_ahead, "_LONG", 0)
    # Small batches, so that one is always asked for while another is judged.
    monkeypatch.setattr(read_ahead, "BATCH", 4)
    told = [audit.verify(repository, graph.tip, afresh=True, now=graph.now) for graph in graphs]
    assert told == plain
    assert any(report.violations for report in plain) and len(asked) > 2 * len(SEEDS)


def test_records_come_along_once(repository: Path) -> None:
    graph = hostile.make(SEEDS[0])
    found = Repository(repository)
    line = git("rev-list", "--first-parent", "--reverse", graph.tip, cwd=repository).split()
    roots = [None, *(git("rev-parse", f"{commit}^{{tree}}", cwd=repository) for commit in line)]
    trees = Trees(found, "")
    ahead = Ahead(found, "", trees)
    try:
        ahead.ask(roots)
        ahead.ask(roots)
        first, blobs = ahead.answer()
        again, none = ahead.answer()
    finally:
        ahead.close()
    pairs = list(pairwise(roots))
    assert [(one.changes, one.modes) for one in first] == [
        (one.changes, one.modes) for one in trees.differences(pairs)
    ]
    assert [one.changes for one in again] == [one.changes for one in first]
    assert blobs and not none
    assert {oid: blob.data for oid, blob in blobs.items()} == {
        oid: blob.data for oid, blob in zip(blobs, found.objects.get(list(blobs)), strict=True) if blob
    }
    found.objects.close()


def test_no_module_of_the_folder_that_one_works_in_is_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = hostile.make(SEEDS[0])
    clean = audit.verify(repository, graph.tip, afresh=True, now=graph.now)
    for name in ("marshal", "yaml", "kt_escalation"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(read_ahead, "_LONG", 0)
    assert audit.verify(repository, graph.tip, afresh=True, now=graph.now) == clean
    assert not (tmp_path / "ran").exists()
