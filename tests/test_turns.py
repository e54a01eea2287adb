"""The fast way of writing: no more git processes than needed, right answers from an old clone, turns on one host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from faulty import VARIABLE
from lab import Lab, end, git, kt, start, wait_for

from kt_escalation import Store
from kt_escalation.actions.plan import Plan
from kt_escalation.errors import AlreadyClaimed, HistoryRewritten, NoStoreBranch, NotFound
from kt_escalation.rules.permissions import Actor
from kt_escalation.storage import lock, push_queue
from kt_escalation.storage.clone import GitStore
from kt_escalation.storage.interface import Author, Snapshot
from kt_escalation.testing import MemoryRemote, MemoryStore

A_CLAIM = ["cat-file", "config", "fetch", "merge", "push", "rev-parse", "var"]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the git commands that kt starts; git's own processes do not pass here."""
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    log = tmp_path / "started"
    wrapper = tmp_path / "bin/git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$*" >>{log}\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def commands(log: Path) -> list[str]:
    """The names of the git commands started so far, sorted; and none from now on."""
    known = {
        *A_CLAIM,
        "update-ref",
        "commit-tree",
        "unpack-objects",
        "merge-base",
        "symbolic-ref",
        "ls-remote",
    }
    lines = log.read_text().splitlines()
    log.write_text("")
    return sorted(next((word for word in said.split() if word in known), said) for said in lines)


# --- how little is started --------------------------------------------------------------------------


def test_a_claim_starts_seven_git_processes(lab: Lab, started: Path) -> None:
    lab.escalations("one", "two")
    clone = lab.clone("alice")
    for name in ("esc_one", "esc_two"):
        started.write_text("")
        assert kt("claim", "--id", name, cwd=clone).code == 0
        assert commands(started) == A_CLAIM


def test_who_comes_back_at_once_only_pushes(lab: Lab, started: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_queue, "AT_ONCE", 60.0)
    monkeypatch.setattr(push_queue, "SLICE_SECONDS", 60.0)
    lab.escalations("one", "two", "three", "four")
    with Store.open(lab.clone("alice"), follow_checkout=False) as store:
        store.claim("esc_one")
        store.claim("esc_two")
        started.write_text("")
        landed = store.claim("esc_three").commit
        assert commands(started) == ["push"]
        assert landed == lab.tip()
        started.write_text("")
        # What is not a push is an answer, and answers come from the remote.
        assert not store.claim("esc_three").changed
        assert commands(started) == ["fetch"]


def test_objects_are_written_as_git_writes_them(lab: Lab) -> None:
    lab.escalations("one", "two")
    clone = lab.clone("alice")
    before = {*(clone / ".git/objects").glob("??/*")}
    assert kt("claim", "--id", "esc_one", cwd=clone).code == 0
    made = {*(clone / ".git/objects").glob("??/*")} - before
    assert len(made) == 4
    assert {path.stat().st_mode & 0o777 for path in made} == {0o444}
    git("config", "core.sharedRepository", "group", cwd=clone)
    assert kt("claim", "--id", "esc_two", cwd=clone).code == 0
    shared = {*(clone / ".git/objects").glob("??/*")} - before - made
    assert len(shared) == 4
    git("fsck", "--strict", cwd=clone)
    assert git("rev-parse", "HEAD", cwd=clone) == lab.tip()


def test_what_was_just_written_is_read_without_git(lab: Lab) -> None:
    with closing(GitStore(lab.clone("alice"))) as store:
        repository = store.repository
        small, large = (repository.object_id("blob", data) for data in (b"small", b"large"))
        repository.write_objects([(small, "blob", b"small")], flush=False)
        repository.write_objects([(large, "blob", b"large")], flush=False)
        [found] = repository.objects.get([large], largest=5)
        assert found
        assert found.data == b"large"
        assert repository.objects._process is None
        # What is larger than allowed, or was written before that, comes from git as ever.
        both = repository.objects.get([large, small], largest=4)
        assert [one and one.data for one in both] == [None, None]
        assert [one and one.data for one in repository.objects.get([small, large])] == [b"small", b"large"]


# --- what an old clone answers ----------------------------------------------------------------------


def test_an_old_clone_claims_what_it_has_never_seen(lab: Lab) -> None:
    clone = lab.clone("alice")
    lab.escalations("new")
    ran = kt("claim", "--id", "esc_new", "--json", cwd=clone)
    assert ran.code == 0
    assert ran.json["commit"] == lab.tip()
    assert git("rev-list", "--count", "--all", "--not", "origin/main", cwd=clone) == "0"


def test_an_old_clone_refuses_by_what_is_so_now(lab: Lab) -> None:
    lab.escalations("one", "two")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    assert kt("claim", "--id", "esc_one", cwd=bob).code == 0
    late = kt("claim", "--id", "esc_one", "--json", cwd=alice)
    assert late.code == 6
    assert late.error["claimed_by"] == "bob@example.com"
    assert kt("unclaim", "--id", "esc_one", cwd=bob).code == 0
    # To this clone it is bob's still: that is no reason to say no.
    assert kt("claim", "--id", "esc_one", cwd=alice).code == 0


def test_an_old_clone_takes_no_former_claim_for_a_repeat(lab: Lab) -> None:
    lab.escalations("one")
    office, home = (
        lab.clone("office", email="alice@example.com"),
        lab.clone("home", email="alice@example.com"),
    )
    assert kt("claim", "--id", "esc_one", cwd=office).code == 0
    assert kt("unclaim", "--id", "esc_one", cwd=home).code == 0
    again = kt("claim", "--id", "esc_one", "--json", cwd=office)
    assert again.code == 0
    assert again.json["changed"] is True
    assert "status: claimed" in lab.file("queue/esc_one.yaml")


def in_a_slice(lab: Lab, monkeypatch: pytest.MonkeyPatch, *names: str) -> Store:
    """A store that has written just now, and asks nobody before it writes again."""
    for name in ("AT_ONCE", "SLICE_SECONDS"):
        monkeypatch.setattr(push_queue, name, 60.0)
    lab.escalations("one", "two", *names)
    store = Store.open(lab.clone("alice"), follow_checkout=False)
    store.claim("esc_one")
    store.claim("esc_two")
    return store


def test_a_remote_that_was_set_back_gets_nothing_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_a_slice(lab, monkeypatch, "three") as store:
        git("update-ref", "refs/heads/main", "main~1", cwd=lab.remote)
        tip = lab.tip()
        with pytest.raises(HistoryRewritten):
            store.claim("esc_three")
        assert lab.tip() == tip


def test_a_branch_that_is_gone_is_not_made_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_a_slice(lab, monkeypatch, "three") as store:
        git("update-ref", "-d", "refs/heads/main", cwd=lab.remote)
        with pytest.raises(NoStoreBranch):
            store.claim("esc_three")
        assert git("for-each-ref", cwd=lab.remote) == ""


def test_somebody_who_stands_in_no_line_is_seen(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_a_slice(lab, monkeypatch, "three", "four") as store:
        monkeypatch.setenv("XDG_CACHE_HOME", str(lab.folder / "another host"))
        bob = lab.clone("bob")
        assert kt("claim", "--id", "esc_three", cwd=bob).code == 0
        monkeypatch.delenv("XDG_CACHE_HOME")
        with pytest.raises(AlreadyClaimed):
            store.claim("esc_three")
        assert kt("note", "--id", "esc_three", "--text", "hm", cwd=bob).code == 0
        assert store.claim("esc_four").commit == lab.tip()


# --- turns ------------------------------------------------------------------------------------------


def test_a_killed_process_leaves_its_place(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_queue, "PATIENCE", 600.0)
    lab.escalations("one")
    holder, clone = lab.clone("holder"), lab.clone("alice")
    paused = start("claim", "--id", "esc_one", cwd=holder, env={VARIABLE: "after-turn:pause"})
    wait_for(holder / ".git/kt/holder")
    paused.send_signal(signal.SIGKILL)
    end(paused)
    assert kt("claim", "--id", "esc_one", cwd=clone).code == 0


def test_one_who_does_not_move_is_passed_by(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_queue, "PATIENCE", 0.2)
    lab.escalations("one")
    clone = lab.clone("alice")
    with push_queue.PushQueue(lab.remote.as_uri()).turn() as turn:
        assert turn == push_queue.Turn()
        assert kt("claim", "--id", "esc_one", cwd=clone).code == 0


@pytest.mark.parametrize("what", ["a file in its place", "no home", "nonsense in the note"])
def test_without_a_line_nothing_fails(lab: Lab, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.escalations("one", "two")
    clone = lab.clone("alice")
    cache = lab.folder / "cache"
    if what == "a file in its place":
        cache.write_text("")
    elif what == "no home":
        monkeypatch.setenv("HOME", "/dev/null")
    else:
        assert kt("claim", "--id", "esc_two", cwd=clone, env={"XDG_CACHE_HOME": str(cache)}).code == 0
        [note] = cache.glob("kt-escalation/*/last")
        note.write_bytes(b"1e308 \xff\0 what")
    env = {} if what == "no home" else {"XDG_CACHE_HOME": str(cache)}
    ran = kt("claim", "--id", "esc_one", cwd=clone, env=env)
    assert ran.code == 0
    assert ran.err == ""


def test_on_a_slow_remote_a_slice_has_as_many_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(push_queue, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(push_queue, "AT_ONCE", 60.0)
    holder, waiting = push_queue.PushQueue("a remote"), push_queue.PushQueue("a remote")
    monkeypatch.setattr(push_queue, "PATIENCE", 0.0)
    free = []
    for _ in range(push_queue.TURNS):
        with holder.turn():
            pass
        handle = waiting._take()
        free.append(handle is not None)
        if handle is not None:
            os.close(handle)
    assert free == [False] * (push_queue.TURNS - 1) + [True]


def test_a_slice_is_nobody_elses_however_often_they_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(push_queue, "_POLL_SECONDS", 0.00001)
    monkeypatch.setattr(push_queue, "SLICE_SECONDS", 6000.0)
    monkeypatch.setattr(push_queue, "AT_ONCE", 60.0)
    monkeypatch.setattr(push_queue, "PATIENCE", 600.0)
    holder, waiting = push_queue.PushQueue("a remote"), push_queue.PushQueue("a remote")

    def wait() -> push_queue.Turn:
        with waiting.turn() as turn:
            return turn

    with ThreadPoolExecutor(1) as pool:
        with holder.turn():
            turn = pool.submit(wait)
        for _ in range(300):
            with holder.turn() as again:
                assert again.again
        assert not turn.done()
        holder.end_slice()
        with holder.turn():
            holder.end_slice()
        assert not turn.result().again


def test_what_is_done_meanwhile_is_done_once_and_only_by_those_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done: list[str] = []
    holder, waiting = push_queue.PushQueue("a remote"), push_queue.PushQueue("a remote")
    monkeypatch.setattr(push_queue, "PATIENCE", 0.1)
    with holder.turn(lambda: done.append("holder")), waiting.turn(lambda: done.append("waiting")):
        assert done == ["waiting"]


def test_whoever_is_next_gets_ready_once_when_the_slice_before_is_about_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(push_queue, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(push_queue, "AT_ONCE", 60.0)
    holder, had = push_queue.PushQueue("a remote"), 0
    ready: list[tuple[str, int]] = []

    def wait(name: str) -> None:
        with push_queue.PushQueue("a remote").turn(soon=lambda: ready.append((name, had))):
            pass

    with ThreadPoolExecutor(2) as pool:
        for had in range(push_queue.TURNS):
            with holder.turn():
                for name in ("next", "last") if had == 0 else ():
                    pool.submit(wait, name)
                    while not [*tmp_path.glob("kt-escalation/*/waiting/0*")]:
                        time.sleep(0.005)
                time.sleep(0.1)
    [(name, turns)] = ready
    assert name == "next"
    assert push_queue.TURNS - 3 <= turns < push_queue.TURNS


def test_whoever_is_next_fetches_before_its_turn(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_queue, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(push_queue, "AT_ONCE", 60.0)
    clone, holder = lab.clone("alice"), push_queue.PushQueue(lab.remote.as_uri())
    lab.escalations("new")

    def is_known() -> bool:
        return git("rev-parse", "origin/main", cwd=clone) == lab.tip()

    with Store.open(clone, follow_checkout=False) as store, ThreadPoolExecutor(1) as pool:
        for had in range(push_queue.TURNS):
            with holder.turn():
                if had == 0:
                    claimed = pool.submit(store.claim, "esc_new")
                time.sleep(0.2)
                assert had or not is_known()
                last = had == push_queue.TURNS - 1
                until = time.monotonic() + (30 if last else 0)
                while not is_known() and time.monotonic() < until:
                    time.sleep(0.02)
        assert is_known()
        assert claimed.result().commit == lab.tip()


def test_those_who_wait_for_a_turn_have_it_in_the_order_in_which_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    holder, had = push_queue.PushQueue("a remote"), list[int]()

    def wait(name: int) -> None:
        with push_queue.PushQueue("a remote").turn():
            had.append(name)

    with ThreadPoolExecutor(8) as pool, holder.turn():
        for name in range(8):
            pool.submit(wait, name)
            while len([*tmp_path.glob("kt-escalation/*/waiting/0*")]) <= name:
                time.sleep(0.005)
        holder.end_slice()
    assert had == [*range(8)]


@pytest.mark.parametrize("fails", [False, True])
def test_whoever_waits_for_a_turn_decides_once_before_and_that_counts_for_nothing(fails: bool) -> None:
    class Waits(MemoryStore):
        """A store that has to wait for each turn."""

        @contextmanager
        def turn(self, meanwhile: Callable[[], None]) -> Iterator[None]:
            meanwhile()
            yield

    remote = MemoryRemote({"policies/policy-config.yaml": b"pack: {enabled: true}\n"})
    store = Store(Waits(remote, Author("Alice", "alice@example.com")))
    counted: list[str] = []

    def decide(snapshot: Snapshot, actor: Actor) -> Plan:
        counted.append(actor.name)
        if fails and len(counted) == 1:
            raise NotFound(escalation_id="esc_one")
        return Plan()

    for _ in range(2):
        assert not store._session.commit(decide, kept=True).changed
    assert len(counted) == 3
    # What does more than decide is not done for nothing.
    store._session.commit(decide)
    assert len(counted) == 4


# --- what is newer -----------------------------------------------------------------------------------


def test_the_audit_is_asked_about_merges_and_forks_alone(lab: Lab) -> None:
    clone = lab.clone("alice")
    first = line = lab.tip()
    asked: list[str] = []

    def commit(words: str, *parents: str) -> str:
        named = [word for parent in parents for word in ("-p", parent)]
        return git("commit-tree", "-m", words, *named, f"{first}^{{tree}}", cwd=clone)

    def audit(_: GitStore, tip: str, seen: str) -> bool:
        asked.append(seen)
        return False

    commits = [line]
    for _ in range(9):
        line = commit("next", line)
        commits.append(line)
    fork = commit("fork", first)
    merge = commit("merge", fork, line)
    with closing(GitStore(clone, goes_on=audit)) as store:
        newest = store.newest_tip
        assert all(newest.goes_on(line, seen) for seen in commits)
        assert asked == []
        assert not newest.goes_on(line, fork)
        assert not newest.goes_on(merge, first)
        assert not newest.goes_on(commits[3], commits[5])
        assert asked == [fork, first, commits[5]]


STANDS = """
import sys, time
from pathlib import Path
from kt_escalation.storage import lock, push_queue
me, log, people = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
push_queue.AT_ONCE, push_queue.PATIENCE = 0.0, 600.0
queue, turns, everybody = push_queue.PushQueue("a remote"), 0, False
print("ready", flush=True)
sys.stdin.readline()
while not everybody:
    with queue.turn():
        before = log.read_text()
        time.sleep(0.002)
        log.write_text(before + me)
        turns += 1
        everybody = all(before.count(one) >= 10 for one in people)
print(turns)
"""


def test_turns_go_round_and_nobody_has_one_beside_another(tmp_path: Path) -> None:
    people, log = "abcdef", tmp_path / "log"
    log.write_text("")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", STANDS, one, str(log), people],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for one in people
    ]
    for process in running:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    turns = [int(process.communicate()[0]) for process in running]
    said = log.read_text()
    # Two at once would have overwritten each other's letters.
    assert len(said) == sum(turns)


# --- the clone's lock -------------------------------------------------------------------------------


def test_those_who_wait_for_the_lock_of_a_clone_have_it_in_the_order_in_which_they_came(
    tmp_path: Path,
) -> None:
    had: list[int] = []

    def wait(name: int) -> None:
        with lock.held(tmp_path, 60.0):
            had.append(name)

    with ThreadPoolExecutor(9) as pool:
        with lock.held(tmp_path, 60.0):
            for name in range(8):
                pool.submit(wait, name)
                while len([*(tmp_path / "waiting").glob("0*")]) <= name:
                    time.sleep(0.005)
            # Somebody who was killed while they waited, and was there first.
            (tmp_path / "waiting" / "00000000000000000000-1-1").touch()
        pool.submit(wait, 8)
    assert had[:8] == [*range(8)]
    assert not [*(tmp_path / "waiting").iterdir()]
