"""The log of one escalation: quick where git can help, and the same wherever its file has been."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import histories
import pytest
from lab import Lab, git, kt

from kt_escalation.storage import history
from kt_escalation.storage.clone import GitStore
from kt_escalation.storage.history import Step


def logs(repository: Path, tip: str) -> dict[str, list[Step]]:
    store = GitStore(repository)
    try:
        snapshot = store.at(tip)
        names = [*snapshot.ids(resolved=False), *snapshot.ids(resolved=True)]
        return {name: list(history.steps(store, tip, name)) for name in names}
    finally:
        store.close()


def ordered(found: dict[str, list[Step]]) -> dict[str, list[Step]]:
    return {name: sorted(steps, key=lambda step: step.commit) for name, steps in found.items()}


def test_asking_for_each_file_tells_the_same_as_asking_for_all_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "--quiet", "--bare", str(tmp_path), cwd=tmp_path)
    # A repository has one store, so those in a folder are left out: which folder it is changes nothing here.
    made = [one for one in map(histories.make, range(40)) if not one.root]
    assert len(made) >= 30
    ids = histories.write(made, tmp_path)
    tips = [ids[one.seed][one.tip] for one in made]
    for number, tip in enumerate(tips):
        git("update-ref", f"refs/heads/{number}", tip, cwd=tmp_path)
    moves, asked = history._moves, []

    def noted(*args: object) -> object:
        asked.append(moves(*args))
        return asked[-1]

    monkeypatch.setattr(history, "_moves", noted)
    by_file = [logs(tmp_path, tip) for tip in tips]
    assert sum(life is not None for life in asked) > len(asked) // 2 > 10
    git("commit-graph", "write", "--reachable", "--changed-paths", cwd=tmp_path)
    assert [logs(tmp_path, tip) for tip in tips] == by_file
    monkeypatch.setattr(history, "_moves", lambda *_: None)
    everywhere = [logs(tmp_path, tip) for tip in tips]
    # Of what happened beside each other, on two branches, neither is before the other.
    assert [ordered(found) for found in everywhere] == [ordered(found) for found in by_file]


def test_changed_path_filters_are_asked_of_a_resolved_one(lab: Lab) -> None:
    lab.escalations(*(f"n{number}" for number in range(8)))
    clone = lab.clone("alice")
    for number in range(8):
        kt("claim", "--id", f"esc_n{number}", cwd=clone)
    kt("resolve", "--id", "esc_n5", "--outcome", "denied", "--reason", "No", "--yes", cwd=clone)
    plain = kt("log", "--id", "esc_n5", "--json", cwd=clone)
    assert [step["action"] for step in plain.json["entries"]] == ["resolve", "claim", "raise"]
    git("commit-graph", "write", "--reachable", "--changed-paths", cwd=clone)
    trace = lab.folder / "trace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_TRACE2_EVENT", str(trace))
        assert kt("log", "--id", "esc_n5", "--json", cwd=clone) == plain
    said = [json.loads(line) for line in trace.read_text().splitlines()]
    ruled_out = [one["value"]["definitely_not"] for one in said if one.get("category") == "bloom"]
    assert len(ruled_out) == 2
    assert min(ruled_out) >= 6


def test_nothing_looks_for_the_encoding_that_a_commit_names(lab: Lab) -> None:
    """It takes git minutes to look for this one."""
    lab.escalations("one")
    clone = lab.clone("alice")
    kt("claim", "--id", "esc_one", cwd=clone)
    head, _, words = git("cat-file", "commit", "HEAD", cwd=clone).partition("\n\n")
    data = f"{head}\nencoding {'/x' * 300_000}\n\n{words}\n"
    made = git("hash-object", "-t", "commit", "-w", "--stdin", cwd=clone, stdin=data)
    git("push", "--quiet", "--force", "origin", f"{made}:main", cwd=clone)
    git("fetch", "--quiet", cwd=clone)
    git("reset", "--quiet", "--hard", made, cwd=clone)
    for command in ("log", "log --id esc_one", "stats", "events", "report -o report.html"):
        ran = kt(*command.split(), cwd=clone)
        assert ran.code == 0, ran.err
    with closing(GitStore(clone)) as store:
        assert [step.commit for step in history.steps(store, made, actors=["alice"])] == [made]
