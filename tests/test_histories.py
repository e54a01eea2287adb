"""Ten thousand random legal histories raise no alarm: not in `verify`, not in `check`, not bit by bit."""

from __future__ import annotations

import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import histories
import pytest
from histories import PROPOSALS, ROOT, ROOT_FILE, Graph, History
from lab import git

from kt_escalation import audit
from kt_escalation.audit import Report
from kt_escalation.storage import layout

AT_ONCE = 500


def alarms(seed: int, what: str, report: Report) -> list[str]:
    """What was found, with the number that makes the history again."""
    return [f"seed {seed}: {what}: {violation}" for violation in report.violations]


@pytest.fixture
def repositories(tmp_path: Path) -> dict[str, Path]:
    """A repository for stores at the top, and one where the clone is told where the store is."""
    made = {"": tmp_path / "top", ROOT: tmp_path / "below"}
    for root, path in made.items():
        git("init", "--quiet", "--bare", str(path), cwd=tmp_path)
        if root:
            git("config", "kt.root", root, cwd=path)
    return made


def told_where(history: History) -> str:
    """The root that the clone has to be told: none where the history itself names it."""
    named = any(ROOT_FILE in commit.tree for commit in history.graph.commits)
    return "" if named else history.root


def within(graph: Graph, tip: int, at: int) -> bool:
    """Whether a commit of the line is one of a request that an admin vouched for by merging it."""
    merges = [on for on in graph.line(tip) if graph.acted(on) and on != at and at in graph.ancestors(on)]
    return any(at not in graph.ancestors(graph.commits[merge].parents[0]) for merge in merges)


def merges(repository: Path, base: str, head: str) -> bool:
    """Whether git can merge a request; what both sides have changed is for people to settle."""
    command = ["git", "merge-tree", "--write-tree", "--allow-unrelated-histories", base, head]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    return done.returncode == 0


def doubles(repository: Path, base: str, head: str) -> dict[str, str]:
    """The records of which git leaves two files where it merges a request, and the rule that says so.

    One of them was squashed, and has moved on since: to another file, or into an archive.
    """
    tree = git("merge-tree", "--write-tree", "--allow-unrelated-histories", base, head, cwd=repository)
    paths = git("ls-tree", "-r", "--name-only", tree, cwd=repository).splitlines()
    names = Counter(name for path in paths if (name := layout.id_of(path)))
    ids = [path for path in paths if layout.archive_at(path) and path.endswith(".ids")]
    folded = {
        name for path in ids for name in git("cat-file", "blob", f"{tree}:{path}", cwd=repository).split()
    }
    twice = {name: "duplicate_file" for name, count in names.items() if count > 1}
    return twice | dict.fromkeys(names.keys() & folded, "merge")


def is_fresh(history: History, base: int) -> bool:
    """Whether all that a part of a history brings could still come in: merges of old steps are refused by the clock."""
    new = history.graph.ancestors(history.tip) - history.graph.ancestors(base)
    commits = [history.graph.commits[at] for at in new]
    # A squash may be younger than what it brings.
    told = [after.last_time.timestamp() for commit in commits for _, after in commit.steps]
    oldest = min([*told, *(commit.seconds for commit in commits)])
    return history.now.timestamp() - oldest < PROPOSALS.total_seconds()


def judged(history: History, repository: Path, ids: list[str]) -> list[str]:
    """What the judge finds in a history, in some of the ways in which it is asked."""
    seed, graph, tip = history.seed, history.graph, ids[history.tip]
    chance = Random(seed)
    line = [
        at for at in graph.line(history.tip) if graph.has_store(at) and not within(graph, history.tip, at)
    ]
    # Where the history itself names the store's folder, a clone reads it at its own branch.
    git("update-ref", "HEAD", tip, cwd=repository)
    found = alarms(seed, "verify", audit.verify(repository, tip, afresh=True, now=history.now))
    if seed % 5 == 0:
        # The clone remembers where it was clean, and looks at what is new.
        (repository / "kt/verified").unlink(missing_ok=True)
        middle = ids[line[len(line) // 2]]
        found += alarms(seed, "half", audit.verify(repository, middle, now=history.now))
        found += alarms(seed, "the other half", audit.verify(repository, tip, now=history.now))
    if seed % 2 == 0 and (bases := [at for at in line[1:] if is_fresh(history, at)]):
        report = audit.check(repository, f"{ids[chance.choice(bases)]}..{tip}", now=history.now)
        found += alarms(seed, "check of a part", report)
    if history.requests:
        base, head, merged = chance.choice(history.requests)
        new = graph.ancestors(merged) - graph.ancestors(base)
        now = datetime.fromtimestamp(max(graph.commits[at].seconds for at in new) + 1, UTC)
        report = audit.check(repository, f"{ids[base]}..{ids[head]}", now=now)
        if merges(repository, ids[base], ids[head]):
            twice = doubles(repository, ids[base], ids[head])
            told = {
                one.escalation_id: one.rule
                for one in report.violations
                if one.rule in ("duplicate_file", "merge", "moved")
            }
            # What the request itself changed, and the base has moved on since, is refused for that.
            moved = [name for name, rule in told.items() if rule == "moved"]
            if told != twice | dict.fromkeys(moved, "moved") or not twice.keys() >= {*moved}:
                found += [f"seed {seed}: check of a request that doubles {twice}: {report.violations}"]
            elif not twice:
                found += alarms(seed, "check of a request", report)
        elif {violation.rule for violation in report.violations} != {"moved"}:
            found += [f"seed {seed}: check of what git cannot merge: {report.violations}"]
    return found


@pytest.mark.parametrize(
    ("first", "count"),
    [
        pytest.param(0, 36, id="slice"),
        *(
            pytest.param(n, AT_ONCE, id=f"from-{n}", marks=pytest.mark.soak)
            for n in range(0, 10_000, AT_ONCE)
        ),
    ],
)
def test_legal_histories_raise_no_alarm(repositories: dict[str, Path], first: int, count: int) -> None:
    made = [histories.make(seed) for seed in range(first, first + count)]
    commits = [h.graph.commits[at] for h in made for at in h.graph.ancestors(h.tip)]
    merges = sum(len(commit.parents) > 1 for commit in commits)
    assert merges >= count, "histories of nothing but single lines prove little"
    folded = sum(any(map(layout.archive_at, commit.files)) for commit in commits)
    assert folded >= count // 8, "some months must be over"
    ways = Counter(way for history in made for way in history.methods)
    assert ways.keys() == WAYS, ways
    assert min(ways.values()) >= count // 25, ways
    found: list[str] = []
    for root, repository in repositories.items():
        mine = [history for history in made if told_where(history) == root]
        assert len(mine) >= count // 10
        ids = histories.write(mine, repository)
        for history in mine:
            found += judged(history, repository, ids[history.seed])
    assert not found, "\n".join(found[:20])


#: Every way in which a branch comes back, and what else is merged.
WAYS = {
    "again", "fast-forward", "merge", "octopus", "pick", "pull", "queue", "rebase", "set-up", "squash", "turned",
    "unrelated", "update",
}  # fmt: skip


def test_a_history_is_the_same_each_time() -> None:
    assert histories.make(7) == histories.make(7)
