"""Many who ask at once in one clone: one commit for all who raise, one fetch for all who wait."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from lab import Lab, end, git, kt, start, wait_for

from kt_escalation import Store
from kt_escalation.actions.group_commit import GroupCommit
from kt_escalation.errors import DifferentContent, KtError, OutcomeUnknown


def counted(lab: Lab, clone: Path, seconds: float) -> Path:
    """A file with a line for each fetch of a clone, each of which takes so long."""
    log, program = lab.folder / "fetches", lab.folder / "upload-pack"
    log.touch()
    program.write_text(f'#!/bin/sh\necho >>{log}\nsleep {seconds}\nexec git-upload-pack "$@"\n')
    program.chmod(0o755)
    git("config", "remote.origin.uploadpack", str(program), cwd=clone)
    return log


def raised_at_once(store: Store, names: list[str]) -> list[Future[object]]:
    with ThreadPoolExecutor(len(names)) as pool:
        return [
            pool.submit(store.raise_, request_id=name, reason_code="a.b", summary=str(number))
            for number, name in enumerate(names)
        ]


def test_raises_of_many_threads_share_a_few_commits(lab: Lab) -> None:
    with Store.open(lab.clone("gw")) as store:
        before = int(git("rev-list", "--count", "main", cwd=lab.remote))
        done = raised_at_once(store, [f"n{number}" for number in range(100)])
    results = [one.result() for one in done]
    commits = int(git("rev-list", "--count", "main", cwd=lab.remote)) - before
    # A raise costs a commit and a push, so all of them take no longer than three.
    assert commits <= 3
    for number, result in enumerate(results):
        assert isinstance(result, type(results[0]))
        assert [record.escalation_id for record in result.records] == [f"esc_n{number}"]
        assert (result.changed, result.written, result.unchanged) == (True, 1, 0)
    assert kt("verify", cwd=lab.clone("eve")).code == 0


def test_each_of_those_who_share_a_commit_has_an_answer_of_its_own(lab: Lab) -> None:
    with Store.open(lab.clone("gw")) as store:
        store.create(request_id="old", reason_code="a.b", summary="as it was")
        same = raised_at_once(store, ["new", *["old"] * 3, *["twice"] * 2])
    told = Counter(type(one.exception()).__name__ for one in same)
    # Of the two with one id and other content one was first.
    assert told == {"NoneType": 2, DifferentContent.__name__: 4}
    assert {"queue/esc_new.yaml", "queue/esc_old.yaml", "queue/esc_twice.yaml"} <= set(lab.files())


def test_where_a_server_refuses_all_for_one_of_them_the_others_come_in(lab: Lab) -> None:
    lab.hook(
        "update",
        'git diff --name-only "$2" "$3" | grep -q esc_bad && { echo "no bad ones" >&2; exit 1; }; exit 0',
    )
    with Store.open(lab.clone("gw")) as store:
        done = raised_at_once(store, ["good-1", "bad", "good-2", "good-3"])
    refused = [one.exception() for one in done]
    assert [isinstance(error, KtError) for error in refused] == [False, True, False, False]
    assert "no bad ones" in str(refused[1])


def test_whoever_is_interrupted_while_it_commits_is_told_that_nobody_knows() -> None:
    landed: list[int] = []

    def land(items: list[int]) -> list[int]:
        if items == [1]:
            raise KeyboardInterrupt
        landed.extend(items)
        return items

    group: GroupCommit[int, int] = GroupCommit(land)  # type: ignore[arg-type]
    with pytest.raises(OutcomeUnknown):
        group.join(1)
    assert group.join(2) == 2
    assert landed == [2]


def test_many_who_wait_in_one_clone_share_a_fetch_and_keep_nobody_from_raising(lab: Lab) -> None:
    lab.escalations(*(f"n{number}" for number in range(12)))
    clone = lab.clone("gw")
    with Store.open(clone) as store, ThreadPoolExecutor(12) as pool:
        fetches = counted(lab, clone, 0.5)
        waits = [pool.submit(store.wait, f"esc_n{number}", timeout=2.0) for number in range(12)]
        time.sleep(0.1)
        ran = kt("raise", "--request-id", "new", "--reason-code", "a.b", cwd=clone)
        assert ran.code == 0, ran.err
        assert all(wait.exception() is not None for wait in waits)
    # One that all of them share for each time that they look, and one beside the raise.
    assert len(fetches.read_text().splitlines()) <= 10


@pytest.mark.soak
def test_fifty_who_wait_keep_a_raise_no_longer_than_three_fetches(lab: Lab) -> None:
    lab.escalations(*(f"n{number}" for number in range(50)))
    clone = lab.clone("gw")
    fetches = counted(lab, clone, 1.5)
    fetches.unlink()
    typed = [("wait", "--id", f"esc_n{number}", "--timeout", "30s") for number in range(50)]
    waits = [start(*args, cwd=clone, forked=True) for args in typed]
    wait_for(fetches)
    took = []
    # While the first one is raised, those who wait are still starting.
    for number in range(4):
        began = time.monotonic()
        # What asking this remote once takes at this moment, on a machine that may be busy.
        git("ls-remote", "--quiet", "origin", "main", cwd=clone)
        asked = time.monotonic()
        new = ("raise", "--request-id", f"new-{number}", "--reason-code", "a.b")
        ran = end(start(*new, cwd=clone, forked=True))
        took.append((time.monotonic() - asked) / (asked - began))
        assert ran.code == 0, ran.err
    assert max(took[1:]) <= 3
    assert {end(process).code for process in waits} == {8}
