"""What the judge takes for very many commits that anybody may push: empty ones, merges within each other, carried ones.

A commit that does nothing takes ten microseconds to make, so it must cost the judge little more than git itself.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import hostile
import pytest
from hostile import email
from lab import git
from tale import Tale

from kt_escalation import audit
from kt_escalation.audit.commit_contents import CommitContents
from kt_escalation.audit.hook import receive

EMPTY = 75_000
CARRIED = 1_000
DEEP = 20


def empty(repository: Path, tip: str, count: int, seconds: int) -> str:
    """So many commits above a tip that change nothing."""
    who = f"committer Somebody <{email('mallory')}> {seconds} +0000\ndata 2\nx\n"
    lines = [
        f"commit refs/heads/empty\n{who}from {tip}\n\n",
        *[f"commit refs/heads/empty\n{who}\n"] * (count - 1),
    ]
    subprocess.run(
        ["git", "fast-import", "--quiet"], cwd=repository, input="".join(lines).encode(), check=True
    )
    return git("rev-parse", "refs/heads/empty", cwd=repository)


def on_top(tale: Tale, commit: str, tip: str) -> str:
    """The same commit with another parent."""
    kind, data = tale.graph.objects[commit]
    lines = data.decode().split("\n")
    return tale.graph.add(kind, "\n".join([lines[0], f"parent {tip}", *lines[2:]]).encode())


def used(work: Callable[[], object]) -> float:
    """The seconds of CPU that some work takes, here and in its processes."""
    before = time.process_time(), getrusage(RUSAGE_CHILDREN)
    work()
    after = getrusage(RUSAGE_CHILDREN)
    children = after.ru_utime + after.ru_stime - before[1].ru_utime - before[1].ru_stime
    return time.process_time() - before[0] + children


class Doors:
    """A repository, and what verify, check and the hook take for what comes after its base."""

    def __init__(self, repository: Path, tale: Tale) -> None:
        self.path, self.tale = repository, tale

    def costs(self, base: str, tip: str) -> tuple[float, float, float]:
        """The seconds of CPU of verify, check and the hook, none of which finds anything."""
        now = self.tale.graph.now
        git("update-ref", "refs/heads/main", base, cwd=self.path)

        def nothing(found: Sequence[object]) -> None:
            assert not found

        return (
            used(lambda: nothing(audit.verify(self.path, tip, afresh=True, now=now).violations)),
            used(lambda: nothing(audit.check(self.path, f"{base}..{tip}", now=now).violations)),
            used(lambda: nothing([*receive(self.path, [(base, tip, "refs/heads/main")], now=now)])),
        )


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    git("init", "--quiet", "--bare", "-b", "main", str(tmp_path), cwd=tmp_path)
    return Doors(tmp_path, tale)


@pytest.mark.parametrize("count", [1_000, pytest.param(EMPTY, marks=pytest.mark.soak)])
def test_empty_commits_cost_little_more_than_git_itself(doors: Doors, count: int) -> None:
    tale, base = doors.tale, doors.tale.main.tip
    claim = tale.does(tale.side(), "alice", "claim")
    hostile.write([tale.graph], doors.path, {})
    end = empty(doors.path, base, count, int(tale.graph.now.timestamp()))
    floor = used(
        lambda: subprocess.run(["git", "log", "-p", end], cwd=doors.path, check=True, capture_output=True)
    )
    costs = doors.costs(base, end)
    # They are in; somebody goes on.
    again = on_top(tale, claim, end)
    hostile.write([tale.graph], doors.path, {})
    later = doors.costs(end, again)
    assert max(costs) < 8 * floor + 1, (costs, floor)
    assert max(later[1:]) < 2 * floor + 1, (later, floor)


@pytest.mark.parametrize("count", [100, pytest.param(CARRIED, marks=pytest.mark.soak)])
def test_carried_commits_are_judged_in_proportion(doors: Doors, count: int) -> None:
    tale, base = doors.tale, doors.tale.main.tip
    side = tale.side()
    for number in range(count):
        tale.does(side, "alice", "note", message=f"by hand, {number}\n") if number % 10 == 9 else tale.put(
            side, {"src/main.py": f"{number}\n"}, "bob"
        )
    tale.put(tale.main, {"README.md": "Hello again\n"}, "bob")
    tale.merge(tale.main, side.tip, "bob")
    hostile.write([tale.graph], doors.path, {})
    costs = doors.costs(base, tale.main.tip)
    assert max(costs) < 1 + count * 0.005, costs


def test_merges_within_each_other_are_judged_in_proportion(doors: Doors) -> None:
    tale, base = doors.tale, doors.tale.main.tip
    inner = tale.side()
    for number in range(DEEP):
        tale.does(inner, "gw", "raise", f"esc_d{number}")
        outer = tale.side(base)
        tale.put(outer, {f"src/{number}.py": "1\n"}, "bob")
        tale.merge(outer, inner.tip, "bob")
        inner = outer
    tale.put(tale.main, {"README.md": "Hello again\n"}, "bob")
    tale.merge(tale.main, inner.tip, "bob")
    hostile.write([tale.graph], doors.path, {})
    costs = doors.costs(base, tale.main.tip)
    assert max(costs) < 2, costs


def many_claims_left_out_by_one_merge(tale: Tale, count: int) -> None:
    """Each claim is on another commit of the branch."""
    joined = None
    for number in range(count):
        tale.put(tale.main, {"README.md": f"{number}\n"}, "bob")
        side = tale.side()
        tale.does(side, "alice", "claim")
        if joined is not None:
            tale.merge(side, joined.tip, "mallory", files=side.files)
        joined = side
    assert joined is not None
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, joined.tip, "bob", files=tale.main.files)


def one_claim_left_out_by_many_merges(tale: Tale, count: int) -> None:
    side = tale.side()
    tale.does(side, "alice", "claim")
    for number in range(count):
        tale.put(tale.main, {"README.md": f"{number}\n"}, "bob")
        tale.merge(tale.main, side.tip, "bob", files=tale.main.files)


@pytest.mark.parametrize("tell", [many_claims_left_out_by_one_merge, one_claim_left_out_by_many_merges])
def test_what_merges_leave_out_is_looked_for_in_the_branch_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[Tale, int], None]
) -> None:
    compared = read = 0
    differences, standing = CommitContents.differences, CommitContents.standing

    def comparing(self: CommitContents, pairs: Sequence[tuple[str | None, str]]) -> object:
        nonlocal compared
        compared += len(pairs)
        return differences(self, pairs)

    def reading(self: CommitContents, commit: str, name: str) -> object:
        nonlocal read
        read += 1
        return standing(self, commit, name)

    monkeypatch.setattr(CommitContents, "differences", comparing)
    monkeypatch.setattr(CommitContents, "standing", reading)
    started = []
    for count in (10, 40):
        tale = Tale()
        tale.does(tale.main, "gw", "raise")
        repository, traces = tmp_path / f"of-{count}", tmp_path / f"traces-{count}"
        for folder in (repository, traces):
            folder.mkdir()
        git("init", "--quiet", "--bare", "-b", "main", str(repository), cwd=repository)
        hostile.write([tale.graph], repository, {})
        tell(tale, count)
        hostile.write([tale.graph], repository, {})
        line = len(tale.graph.objects)
        compared = read = 0
        with monkeypatch.context() as patch:
            patch.setenv("GIT_TRACE2_EVENT", str(traces))
            report = audit.verify(repository, tale.main.tip, afresh=True, now=tale.graph.now)
        assert {one.rule for one in report.violations} == {"dropped"}
        assert 0 < compared <= 2 * count + 2 < line
        assert read <= 4 * count + 10
        # One file for each git that ran (git documentation, api-trace2).
        started.append(len(list(traces.iterdir())))
    assert started[0] == started[1]


def test_branches_from_before_what_the_hook_knows_are_dated_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where signatures are required, it matters what acted before each place where one has left the line."""
    started = []
    for count in (20, 60):
        tale = Tale()
        tale.put(tale.main, {hostile.SETTINGS: hostile.settings(signed=True)}, "boss")
        sides = []
        for number in range(count):
            tale.does(tale.main, "gw", "raise", f"esc_n{number}")
            sides.append(tale.side())
        joined = sides[0]
        for number, side in enumerate(sides):
            tale.put(side, {f"src/{number}.py": "1\n"}, "bob")
            if side is not joined:
                tale.merge(side, joined.tip, "bob")
            joined = side
        base = tale.main.tip
        tale.merge(tale.main, joined.tip, "bob")
        repository, traces = tmp_path / f"of-{count}", tmp_path / f"traces-{count}"
        traces.mkdir()
        git("init", "--quiet", "--bare", "-b", "main", str(repository), cwd=tmp_path)
        hostile.write([tale.graph], repository, {})
        git("update-ref", "refs/heads/main", base, cwd=repository)
        with monkeypatch.context() as patch:
            patch.setenv("GIT_TRACE2_EVENT", str(traces))
            assert not [*receive(repository, [(base, tale.main.tip, "refs/heads/main")], now=tale.graph.now)]
        # One file for each git that ran (git documentation, api-trace2).
        started.append(len(list(traces.iterdir())))
    assert started[0] == started[1]


def test_the_store_is_not_opened_at_each_commit_of_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records are followed by what commits change: opening the store takes git and the judge longer than all the rest."""
    opened: list[str] = []
    snapshot = CommitContents.snapshot
    monkeypatch.setattr(
        CommitContents, "snapshot", lambda self, commit: opened.append(commit) or snapshot(self, commit)
    )
    counts = []
    for many in (4, 40):
        tale = Tale()
        for number in range(many):
            tale.does(tale.main, "gw", "raise", f"esc_n{number}")
            tale.does(tale.main, "alice", "claim", f"esc_n{number}")
        repository = tmp_path / str(many)
        git("init", "--quiet", "--bare", str(repository), cwd=tmp_path)
        hostile.write([tale.graph], repository, {})
        opened.clear()
        assert not audit.verify(repository, tale.main.tip, afresh=True, now=tale.graph.now).violations
        counts.append(len(opened))
    assert counts[0] == counts[1]
