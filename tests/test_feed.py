"""`events` and `watch`: what is told, in which order, from where on, and to whom it is handed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from types import SimpleNamespace
from typing import Any

import errorbook
import pytest
from lab import KT, Lab, Ran, git, kt, kt_process, record_text
from pages import as_printed, text_of

from kt_escalation import Event, Store, errors
from kt_escalation.reporting import delivery

KEYS = [
    *("id", "time", "action", "escalation_id", "status", "actor", "outcome", "text", "severity"),
    *("reason_code", "request_id", "team_id", "user_id", "author", "commit", "cursor"),
]
SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
WAIT_SECONDS = 30.0


def lines(ran: Ran) -> list[dict[str, Any]]:
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


def told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["action"], event["escalation_id"]) for event in events]


def names(ran: Ran) -> list[str]:
    return [event["escalation_id"] for event in lines(ran)]


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that another thread or process does."""
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A remote on which Alice has raised, claimed, noted and resolved `esc_r1`."""
    lab = Lab(tmp_path_factory.mktemp("lived"))
    clone = lab.clone("alice")
    kt("raise", "--request-id", "r1", "--reason-code", "a.b", "--severity", "high", cwd=clone)
    kt("claim", "--id", "esc_r1", cwd=clone)
    kt("note", "--id", "esc_r1", "--text", "Wait\x1b[2J", cwd=clone)
    kt("resolve", "--id", "esc_r1", "--outcome", "approved", "--reason", "Fine", "--yes", cwd=clone)
    return lab.remote


@pytest.fixture
def alice(lab: Lab, lived: Path) -> Path:
    """Alice's clone of a store with that history."""
    shutil.rmtree(lab.remote)
    shutil.copytree(lived, lab.remote)
    git("fetch", "--quiet", "--force", "origin", "+main:refs/remotes/origin/main", cwd=lab.seed)
    git("reset", "--quiet", "--hard", "origin/main", cwd=lab.seed)
    return lab.clone("alice")


# --- what is told -----------------------------------------------------------------------------------


def test_each_action_is_one_event_in_order_with_all_its_keys(alice: Path) -> None:
    events = lines(kt("events", "--json", cwd=alice))
    assert [event["action"] for event in events] == ["raise", "claim", "note", "resolve"]
    assert [event["status"] for event in events] == ["queued", "claimed", "claimed", "resolved"]
    assert all(list(event) == KEYS for event in events)
    last = events[-1]
    assert (last["outcome"], last["text"], last["actor"]) == ("approved", "Fine", "alice@example.com")
    assert (last["severity"], last["reason_code"], last["request_id"]) == ("high", "a.b", "r1")
    assert last["author"] == {"name": "Alice", "email": "alice@example.com"}
    assert last["commit"] == git("rev-parse", "HEAD", cwd=alice)
    assert len({event["id"] for event in events}) == 4


def test_the_log_says_the_same_in_the_other_direction(alice: Path) -> None:
    log = kt("log", "--json", cwd=alice).json["entries"]
    events = lines(kt("events", "--format", "json", cwd=alice))
    assert [(m["commit"], m["action"]) for m in log] == [(e["commit"], e["action"]) for e in events[::-1]]


def test_text_makes_control_characters_visible_and_json_escapes_them(alice: Path) -> None:
    shown = kt("events", cwd=alice)
    assert len(shown.out.splitlines()) == 4
    assert "Wait\\x1b[2J" in shown.out
    for form in ("text", "json", "cloudevents"):
        assert "\x1b" not in kt("events", "--format", form, cwd=alice).out


def test_cloudevents_are_what_the_package_reads(lab: Lab, alice: Path) -> None:
    from cloudevents.core.formats.json import JSONFormat

    ran = kt("events", "--format", "cloudevents", cwd=alice)
    plain = lines(kt("events", "--json", cwd=alice))
    for line, event in zip(ran.out.splitlines(), plain, strict=True):
        read = JSONFormat().read(None, line)
        assert (read.get_id(), read.get_specversion()) == (event["id"], "1.0")
        assert read.get_type() == f"kt.escalation.{event['action']}"
        assert read.get_source() == lab.remote.as_uri()
        assert read.get_subject() == "esc_r1"
        assert read.get_datacontenttype() == "application/json"
        when = read.get_time()
        assert when is not None
        assert when.isoformat(timespec="milliseconds").replace("+00:00", "Z") == event["time"]
        assert read.get_data() == event


def test_what_no_action_explains_is_told_as_well(lab: Lab) -> None:
    lab.escalations("job", "gone", "odd")
    lab.put({"queue/esc_job.yaml": "<<<<<<<\n"}, "torn")
    lab.put({"queue/esc_job.yaml": record_text("job")}, "mended")
    (lab.seed / "queue/esc_gone.yaml").unlink()
    (lab.seed / "queue/esc_link.yaml").symlink_to("esc_odd.yaml")
    (lab.seed / "queue/esc_odd.yaml").write_text(record_text("odd", "low"))
    (lab.seed / "queue/notes.txt").write_text("x")
    git("add", "--all", cwd=lab.seed)
    git("commit", "--quiet", "-m", "by hand", cwd=lab.seed)
    git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},queue/esc_sub.yaml", cwd=lab.seed)
    git("commit", "--quiet", "-m", "a submodule", cwd=lab.seed)
    git("push", "--quiet", "origin", "HEAD:main", cwd=lab.seed)
    events = lines(kt("events", "--json", cwd=lab.clone("alice")))
    assert told(events[:3]) == [("raise", "esc_gone"), ("raise", "esc_job"), ("raise", "esc_odd")]
    assert told(events[3:]) == [
        ("unreadable", "esc_job"),
        ("restore", "esc_job"),
        ("delete", "esc_gone"),
        ("unreadable", "esc_link"),
        ("change", "esc_odd"),
        ("unreadable", "esc_sub"),
    ]
    assert [event["status"] for event in events[3:6]] == [None, "queued", None]
    assert events[4]["actor"] == "seed@example.com"


def test_a_store_below_a_folder_tells_its_own_events_only(lab: Lab) -> None:
    lab.put({"review/policies/.gitkeep": "", "review/queue/esc_in.yaml": record_text("in")})
    lab.escalations("out")
    clone = lab.clone("alice")
    assert names(kt("events", "--json", cwd=clone)) == ["esc_out"]
    git("config", "kt.root", "review", cwd=clone)
    assert names(kt("events", "--json", cwd=clone)) == ["esc_in"]


def test_a_git_that_breaks_off_is_an_error_and_no_end(lab: Lab) -> None:
    for name in ("one", "two", "three"):
        lab.escalations(name)
    broken = git("rev-parse", "HEAD~2:queue", cwd=lab.seed)
    git("fetch", "--quiet", cwd=lab.seed)
    (lab.seed / ".git/objects" / broken[:2] / broken[2:]).unlink()
    ran = kt("events", "--json", cwd=lab.seed)
    assert (ran.code, ran.error["code"]) == (2, "git_failed")


def test_a_file_that_is_missing_from_the_clone_is_an_error_and_no_event(lab: Lab) -> None:
    lab.escalations("one")
    blob = git("rev-parse", "HEAD:queue/esc_one.yaml", cwd=lab.seed)
    (lab.seed / ".git/objects" / blob[:2] / blob[2:]).unlink()
    ran = kt("events", "--json", cwd=lab.seed)
    assert (ran.code, ran.out) == (2, "")
    assert blob in ran.error["message"]


# --- from where on ----------------------------------------------------------------------------------


def test_a_batch_of_many_is_one_event_each_and_can_be_left_in_the_middle(lab: Lab) -> None:
    wanted = [f"n{number:03}" for number in range(230)]
    lab.escalations(*wanted)
    clone = lab.clone("alice")
    events = lines(kt("events", "--json", cwd=clone))
    assert [event["escalation_id"] for event in events] == [f"esc_{name}" for name in wanted]
    for at in (0, 99, 100, 228, 229):
        assert lines(kt("events", "--json", "--since", events[at]["cursor"], cwd=clone)) == events[at + 1 :]
    page = kt("events", "--json", "--limit", "30", cwd=clone)
    assert lines(page) == events[:30]
    assert events[29]["cursor"] in page.err


def test_several_actions_in_one_commit_are_several_events(lab: Lab) -> None:
    """An imported record tells its whole life, and a cursor may stand between two of its actions."""
    lab.put({"queue/resolved/2026/11/24/esc_done.yaml": resolved()})
    clone = lab.clone("alice")
    events = lines(kt("events", "--json", cwd=clone))
    assert [event["action"] for event in events] == ["raise", "resolve"]
    assert [event["id"].rpartition("/")[2] for event in events] == ["0", "1"]
    assert lines(kt("events", "--json", "--since", events[0]["cursor"], cwd=clone)) == events[1:]


def resolved() -> str:
    end = 'outcome: denied\n{0}reason: "No."\n'
    return (
        record_text("done", status="resolved")
        + 'claim:\n  claim_id: 01jd7q\n  claimed_by: bob@example.com\n  claimed_at: "2026-11-24T10:00:00.000Z"\n'
        + f"reviews:\n  - reviewer: bob@example.com\n    {end.format('    ')}"
        + f'    reviewed_at: "2026-11-24T11:00:00.000Z"\n    claim_id: 01jd7q\n    shown: {"0" * 64}\n'
        + f"resolution:\n  {end.format('  ')}  resolved_by: bob@example.com\n"
        + '  resolved_at: "2026-11-24T11:00:00.000Z"\n'
    )


def test_since_takes_a_revision_a_time_and_a_duration(lab: Lab) -> None:
    for hour, name in ((1, "one"), (2, "two"), (3, "three")):
        when = f"2026-11-23T0{hour}:00:00Z"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GIT_COMMITTER_DATE", when)
            lab.escalations(name)
    git("tag", "mark", "HEAD~1", cwd=lab.seed)
    git("push", "--quiet", "origin", "mark", cwd=lab.seed)
    clone = lab.clone("alice")

    def since(text: str, *more: str) -> list[str]:
        return names(kt("events", "--json", "--since", text, *more, cwd=clone))

    assert since("mark") == since("HEAD~1") == ["esc_three"]
    assert since("2026-11-23T02:00:00Z") == ["esc_two", "esc_three"]
    assert since("2026-11-23T02:00:01Z") == ["esc_three"]
    assert since("1s") == []
    assert since("36500d") == ["esc_one", "esc_two", "esc_three"]
    assert since("HEAD~3", "--rev", "mark") == ["esc_one", "esc_two"]
    assert since("HEAD") == []


def test_since_a_time_neither_walks_nor_reads_what_is_much_older(lab: Lab) -> None:
    for when, name in (
        ("2026-11-20T12:00:00Z", "old"),
        ("2026-11-22T13:00:00Z", "near"),
        ("2026-11-22T09:00:00Z", "slow"),
        ("2026-11-23T12:00:00Z", "new"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GIT_COMMITTER_DATE", when)
            lab.escalations(name)
    old = git("rev-parse", "HEAD~3", "HEAD:queue/esc_old.yaml", cwd=lab.seed).split()
    (lab.seed / ".git/objects" / old[1][:2] / old[1][2:]).unlink()
    log = lab.folder / "trace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_TRACE", str(log))
        ran = kt("events", "--json", "--since", "2026-11-22T13:00:00Z", "--rev", "HEAD", cwd=lab.seed)
    # A clock that was hours behind hides nothing that came before it.
    assert names(ran) == ["esc_near", "esc_new"]
    [walk] = [line for line in log.read_text().splitlines() if "built-in: git log" in line]
    assert f"^{old[0]}" in walk
    assert kt("events", "--json", "--since", "1990-01-01T00:00:00Z", "--rev", "HEAD", cwd=lab.seed).code != 0


@pytest.mark.parametrize("text", ["", "yesterday", "--all", "HEAD~99", "../x", f"{'1' * 39}", "esc_job/1"])
def test_a_since_that_means_nothing_is_refused(alice: Path, text: str) -> None:
    ran = kt("events", "--json", f"--since={text}", cwd=alice)
    assert (ran.code, ran.out, ran.error["code"]) == (2, "", "bad_input")


def test_a_place_that_history_does_not_hold_is_told_and_never_begins_anew(lab: Lab, alice: Path) -> None:
    git("switch", "--quiet", "--create", "side", "HEAD~1", cwd=alice)
    git("commit", "--quiet", "--allow-empty", "-m", "elsewhere", cwd=alice)
    tip = git("rev-parse", "HEAD", cwd=alice)
    for since in ("side", tip, f"{tip}/esc_r1/0", f"{lab.tip()}+{tip}", "1" * 40, f"{'2' * 40}/esc_r1/3"):
        ran = kt("events", "--json", "--since", since, cwd=alice)
        assert (ran.code, ran.out, ran.error["code"]) == (2, "", "not_in_history")
    cursor = alice / "cursor"
    cursor.write_text(f"{tip}\n")
    ran = kt("watch", "--once", "--json", "--cursor", "cursor", cwd=alice)
    assert (ran.code, ran.out, ran.error["code"]) == (2, "", "not_in_history")
    errorbook.hold(ran, lab.folder)
    assert cursor.read_text() == f"{tip}\n"


def test_a_rewritten_remote_stops_a_watch(lab: Lab, alice: Path) -> None:
    git("push", "--quiet", "--force", "origin", "HEAD~1:main", cwd=lab.clone("bob"))
    ran = kt("watch", "--once", "--json", cwd=alice)
    assert (ran.code, ran.error["code"]) == (4, "history_rewritten")


def test_a_shallow_clone_is_refused_with_the_remedy(lab: Lab, alice: Path) -> None:
    ran = kt("events", "--json", cwd=lab.clone("short", "--depth", "1"))
    assert (ran.code, ran.error["code"]) == (2, "shallow_clone")
    assert "--unshallow" in ran.error["message"]
    errorbook.hold(ran, lab.folder)


# --- merges -----------------------------------------------------------------------------------------


def branch(lab: Lab, name: str, *escalations: str, base: str = "main") -> None:
    """Commits on a branch of the seed, one for each escalation."""
    git("switch", "--quiet", "--create", name, base, cwd=lab.seed)
    for item in escalations:
        commit(lab.seed, item)
    git("switch", "--quiet", "main", cwd=lab.seed)


def commit(repository: Path, *escalations: str) -> None:
    for name in escalations:
        path = repository / f"queue/esc_{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(record_text(name))
    git("add", "--all", cwd=repository)
    git("commit", "--quiet", "-m", " ".join(escalations), cwd=repository)


def merge(lab: Lab, *names: str) -> None:
    git("merge", "--quiet", "--no-ff", "--no-edit", *names, cwd=lab.seed)


def test_a_merge_tells_what_it_brings_once_and_nothing_of_its_own(lab: Lab) -> None:
    lab.escalations("first")
    branch(lab, "side", "s1", "s2")
    commit(lab.seed, "m1")
    before = git("rev-parse", "main", cwd=lab.seed)
    with Store.open(lab.seed) as store:
        known = list(store.events(rev="main"))
        merge(lab, "side")
        new = list(store.events(known[-1].cursor, rev="main"))
        everything = list(store.events(rev="main"))
        assert list(store.events(before, rev="main")) == new
    assert [event.escalation_id for event in known] == ["esc_first", "esc_m1"]
    assert [event.escalation_id for event in new] == ["esc_s1", "esc_s2"]
    assert sorted(event.id for event in everything) == sorted(event.id for event in [*known, *new])


def test_a_merge_that_makes_up_a_state_of_its_own_is_told_as_a_change(lab: Lab) -> None:
    lab.escalations("job")
    branch(lab, "side", "other")
    git("merge", "--quiet", "--no-ff", "--no-commit", "side", cwd=lab.seed)
    (lab.seed / "queue/esc_job.yaml").write_text(record_text("job", "low"))
    git("add", "--all", cwd=lab.seed)
    git("commit", "--quiet", "-m", "evil", cwd=lab.seed)
    with Store.open(lab.seed) as store:
        last = list(store.events(rev="main"))[-1]
    assert (last.action, last.escalation_id, last.severity) == ("change", "esc_job", "low")
    assert last.commit == git("rev-parse", "main", cwd=lab.seed)
    assert "merge" in (last.text or "")


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_graph_is_the_rest_after_any_cursor_is_exact(lab: Lab, seed: int) -> None:
    chance = random.Random(seed)
    git("branch", "start", cwd=lab.seed)
    lab.escalations("begin")
    open_branches: list[str] = []
    tips: list[str] = []
    for number in range(14):
        what = chance.choice(["main", "batch", "branch", "merge"])
        if what == "merge" and open_branches:
            merge(lab, *chance.sample(open_branches, chance.randint(1, len(open_branches))))
            open_branches = git(
                "branch", "--no-merged", "main", "--format=%(refname:short)", cwd=lab.seed
            ).split()
        elif what == "branch":
            base = chance.choice(["main", "main~1", "start", *open_branches])
            branch(lab, f"b{number}", f"x{number}", f"y{number}", base=base)
            open_branches.append(f"b{number}")
        else:
            commit(lab.seed, *(f"m{number}_{n}" for n in range(3 if what == "batch" else 1)))
        tips.append(git("rev-parse", "main", cwd=lab.seed))
    with Store.open(lab.seed) as store:
        everything = list(store.events(rev="main"))
        for at, event in enumerate(everything):
            rest = list(store.events(event.cursor, rev="main"))
            assert sorted(e.id for e in rest) == sorted(e.id for e in everything[at + 1 :])
        # The same in pieces, as somebody sees it who asks now and then and stops at any event.
        seen: list[Event] = []
        for tip in tips:
            while True:
                some = list(store.events(seen[-1].cursor if seen else None, rev=tip))
                seen += some[: chance.randint(1, 3)]
                if len(some) <= 1:
                    break
        seen += store.events(seen[-1].cursor, rev="main")
    assert sorted(event.id for event in seen) == sorted(event.id for event in everything)


# --- watch ------------------------------------------------------------------------------------------


def test_a_watch_begins_now_and_its_cursor_says_where_it_was(lab: Lab, alice: Path) -> None:
    assert lines(kt("watch", "--once", "--json", "--cursor", "at", cwd=alice)) == []
    assert (alice / "at").read_text() == f"{lab.tip()}\n"
    lab.escalations("one", "two")
    assert names(kt("watch", "--json", "--count", "1", "--cursor", "at", cwd=alice)) == ["esc_one"]
    assert names(kt("watch", "--once", "--json", "--cursor", "at", cwd=alice)) == ["esc_two"]
    assert lines(kt("watch", "--once", "--json", "--cursor", "at", "--since", "36500d", cwd=alice)) == []
    assert sorted(path.name for path in alice.iterdir()) == [".git", "README.md", "at", "policies", "queue"]


def test_a_watch_since_a_time_does_not_let_it_slip_while_it_was_away(lab: Lab, alice: Path) -> None:
    git("remote", "set-url", "origin", str(lab.folder / "nowhere"), cwd=alice)
    assert kt("watch", "--since", "2h", "--cursor", "at", cwd=alice).code == 4
    stored = datetime.fromisoformat((alice / "at").read_text().strip())
    assert timedelta(hours=1, minutes=59) < datetime.now(UTC) - stored < timedelta(hours=2, minutes=1)
    git("remote", "set-url", "origin", lab.remote.as_uri(), cwd=alice)
    assert len(lines(kt("watch", "--once", "--json", "--cursor", "at", cwd=alice))) == 4


def test_a_watch_ends_when_its_time_is_over(alice: Path) -> None:
    assert kt("watch", "--timeout", "0", cwd=alice) == Ran(0, "", "")
    ran = kt("watch", "--count", "9", "--since", "36500d", "--timeout", "0", "--json", cwd=alice)
    assert (ran.code, ran.error["code"], ran.error["count"]) == (8, "wait_timeout", 4)


@pytest.mark.parametrize("text", ["", "one\ntwo\n", "\xff", "garbage", "HEAD", "2h"])
def test_a_cursor_file_that_holds_none_is_refused_and_kept(alice: Path, text: str) -> None:
    (alice / "at").write_text(text, encoding="latin-1")
    ran = kt("watch", "--once", "--json", "--cursor", "at", cwd=alice)
    assert (ran.code, ran.error["code"]) == (2, "bad_input")
    assert (alice / "at").read_text(encoding="latin-1") == text


def test_a_cursor_file_that_cannot_be_written_ends_the_watch_before_it_begins(alice: Path) -> None:
    ran = kt("watch", "--once", "--cursor", "no/such/folder/at", "--since", "36500d", cwd=alice)
    assert (ran.code, ran.out) == (2, "")
    assert "no/such/folder/at" in ran.err


def test_a_cursor_file_behind_a_link_stays_one(alice: Path) -> None:
    (alice / "at").symlink_to("real")
    kt("watch", "--once", "--cursor", "at", cwd=alice)
    assert (alice / "at").is_symlink()
    assert len((alice / "real").read_text()) == 41


def test_a_remote_that_goes_away_is_told_once_and_once_when_it_is_back(lab: Lab, alice: Path) -> None:
    said: list[str] = []
    seen: list[str] = []

    def look() -> None:
        with Store.open(alice) as store:
            for event in store.watch(lab.tip(), interval=0.02, timeout=WAIT_SECONDS, tell=said.append):
                seen.append(event.escalation_id)
                if event.escalation_id == "esc_three":
                    return

    first = lab.tip()
    watcher = threading.Thread(target=look)
    watcher.start()
    lab.escalations("one")
    until(lambda: seen == ["esc_one"])
    away = lab.remote.rename(lab.folder / "away.git")
    until(lambda: len(said) == 1)
    time.sleep(0.3)
    away.rename(lab.remote)
    until(lambda: len(said) == 2)
    lab.escalations("two", "three")
    watcher.join(WAIT_SECONDS)
    assert lab.tip() != first
    assert seen == ["esc_one", "esc_three"]
    assert len(said) == 2
    assert said[1] == "the remote answers again"


def test_a_remote_that_does_not_answer_at_first_is_exit_4(lab: Lab, alice: Path) -> None:
    lab.remote.rename(lab.folder / "away.git")
    ran = kt("watch", "--json", "--timeout", "1s", cwd=alice)
    assert (ran.code, ran.error["code"]) == (4, "remote_unreachable")


def test_a_store_without_a_remote_can_be_watched(lab: Lab, alice: Path) -> None:
    git("remote", "remove", "origin", cwd=alice)
    kt("watch", "--once", "--cursor", "at", cwd=alice)
    kt("raise", "--request-id", "r2", "--reason-code", "a.b", cwd=alice)
    ran = kt("watch", "--once", "--cursor", "at", "--format", "cloudevents", cwd=alice)
    assert [line["subject"] for line in lines(ran)] == ["esc_r2"]
    assert lines(ran)[0]["source"] == alice.as_uri()


def test_whoever_is_killed_at_any_moment_loses_nothing_and_keeps_the_order(lab: Lab, alice: Path) -> None:
    """kill -9, again and again, between two events and in the middle of one; then the union is complete."""
    wanted = [f"esc_k{number:02}" for number in range(40)]
    out = lab.folder / "taken"
    taker = lab.folder / "taker.py"
    taker.write_text(
        "import json, os, sys\n"
        "line = json.load(sys.stdin)['escalation_id'] + '\\n'\n"
        f"os.write(os.open({str(out)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT), line.encode())\n"
    )
    command = [*KT, "escalation", "watch", "--cursor", "at", "--interval", "0"]
    command += ["--exec", f"{sys.executable} -I -S {taker}"]
    kt("watch", "--once", "--cursor", "at", cwd=alice)
    chance = random.Random(11)
    killed = 0
    for number in range(0, len(wanted), 4):
        lab.escalations(*(item.removeprefix("esc_") for item in wanted[number : number + 4]))
        if number % 8 == 0:
            process = subprocess.Popen(command, cwd=alice, stderr=subprocess.PIPE)
            had = out.stat().st_size if out.exists() else 0
            until(lambda had=had: out.exists() and out.stat().st_size > had)  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.1))
            os.kill(process.pid, signal.SIGKILL)
            _, err = process.communicate()
            killed += process.returncode == -signal.SIGKILL
            assert err == b""
    assert killed == 5
    ran = kt("watch", "--once", "--cursor", "at", "--exec", f"{sys.executable} -I -S {taker}", cwd=alice)
    assert ran.code == 0, ran.err
    taken = out.read_text().split()
    assert list(dict.fromkeys(taken)) == wanted


# --- a command --------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, told instead of slept."""
    pauses: list[float] = []
    monkeypatch.setattr(delivery, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


def script(lab: Lab, text: str) -> Path:
    path = lab.folder / "take.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_command_gets_each_event_on_its_stdin_and_no_shell_reads_its_words(lab: Lab, alice: Path) -> None:
    take = script(lab, f'echo "$#|$1|$2" >> {lab.folder}/words; cat >> {lab.folder}/events')
    ran = kt("watch", "--once", "--since", "36500d", "--exec", f"{take} 'a b' $HOME;x", cwd=alice)
    assert ran == Ran(0, "", "")
    assert (lab.folder / "words").read_text() == "2|a b|$HOME;x\n" * 4
    handed = [json.loads(line) for line in (lab.folder / "events").read_text().splitlines()]
    assert handed == lines(kt("events", "--json", cwd=alice))


def test_a_command_that_fails_is_run_again_and_in_order(lab: Lab, alice: Path, hasty: list[float]) -> None:
    count = lab.folder / "count"
    count.write_text("")
    take = script(
        lab,
        f"echo >> {count}; [ $(wc -l < {count}) -gt 2 ] || exit 7\n"
        f'grep -o \'"action": "[a-z]*"\' >> {lab.folder}/events',
    )
    ran = kt("watch", "--once", "--since", "36500d", "--exec", str(take), cwd=alice)
    assert ran.code == 0
    assert ran.err.count("exited with 7; next try in") == 2
    taken = (lab.folder / "events").read_text().split("\n")[:-1]
    assert taken == [f'"action": "{action}"' for action in ("raise", "claim", "note", "resolve")]
    assert len(hasty) == 2
    assert 0.5 <= hasty[0] <= 1 <= hasty[1] <= 2


def test_a_command_that_never_succeeds_stops_the_watch_and_the_cursor_stays(
    lab: Lab, alice: Path, hasty: list[float]
) -> None:
    take = script(lab, f"grep -q resolve || exit 0; echo >> {lab.folder}/tries; exit 3")
    args = ("watch", "--once", "--since", "36500d", "--cursor", "at", "--retries", "2", "--json")
    ran = kt(*args, "--exec", str(take), cwd=alice)
    assert (ran.code, ran.error["code"], ran.error["tries"]) == (8, "delivery_failed", 3)
    assert "after 3 tries: " in ran.error["message"]
    errorbook.hold(ran, lab.folder)
    assert (lab.folder / "tries").read_text() == "\n" * 3
    rest = lines(kt("watch", "--once", "--json", "--cursor", "at", cwd=alice))
    assert [event["action"] for event in rest] == ["resolve"]
    assert rest[0]["id"] == ran.error["event_id"]


def test_a_command_that_does_not_read_its_stdin_has_taken_the_event(alice: Path) -> None:
    assert kt("watch", "--once", "--since", "36500d", "--exec", "true", cwd=alice) == Ran(0, "", "")


def test_a_command_that_is_ended_by_a_signal_has_failed(lab: Lab, alice: Path) -> None:
    take = script(lab, "kill -9 $$")
    ran = kt("watch", "--once", "--since", "36500d", "--retries", "0", "--exec", str(take), cwd=alice)
    assert ran.code == 8
    assert "was ended by signal 9" in ran.err


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (
            ["--exec", "no-such-program-here a"],
            2,
            "there is no program 'no-such-program-here'; it is run without",
        ),
        (["--exec", "'unclosed"], 2, "cannot be split into words"),
        (["--exec", "  "], 2, "is empty"),
        (["--exec", ""], 2, "is empty"),
        (["--webhook", ""], 2, "is not an address"),
        (["--webhook", "ftp://localhost/x"], 2, "is not an address"),
        (["--exec", "true", "--webhook", "http://localhost/"], 2, "both given"),
        (["--exec", "true", "--format", "text"], 2, "send JSON"),
    ],
)
def test_a_command_that_cannot_be_one_is_told(alice: Path, args: list[str], code: int, words: str) -> None:
    ran = kt("watch", "--once", "--since", "36500d", "--retries", "0", *args, cwd=alice)
    assert ran.code == code
    assert words in ran.err
    assert ran.err.count("\n") == 1
    assert ("after 1 try: " in ran.err) == (code == 8)


# --- a webhook --------------------------------------------------------------------------------------


class Receiver:
    """A web server on loopback that checks every signature by itself, and answers as it is told."""

    def __init__(self, *answers: tuple[int, dict[str, str]], secret: str = SECRET) -> None:
        self.answers = list(answers)
        self.taken: list[dict[str, Any]] = []
        self.tries: list[tuple[str, str, dict[str, str]]] = []
        receiver, key = self, base64.b64decode(secret.removeprefix("whsec_"))

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                name, stamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
                mac = hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
                given = self.headers["webhook-signature"].split(" ")
                genuine = f"v1,{base64.b64encode(mac).decode()}" in given
                fresh = abs(time.time() - int(stamp)) < 60
                receiver.tries.append((self.path, name, dict(self.headers)))
                status, headers = receiver.answers.pop(0) if receiver.answers else (204, {})
                if not (genuine and fresh):
                    status = 401
                if status < 300:
                    receiver.taken.append(json.loads(body))
                self.send_response(status)
                for key_, value in headers.items():
                    self.send_header(key_, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = TCPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?token=hidden"

    @contextmanager
    def listening(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()


def send(alice: Path, url: str, *more: str, secret: str | None = SECRET) -> Ran:
    env = {"KT_WEBHOOK_SECRET": secret} if secret is not None else {}
    return kt("watch", "--once", "--since", "36500d", "--webhook", url, *more, cwd=alice, env=env)


def test_a_webhook_gets_every_event_signed_and_in_order_though_some_tries_fail(
    alice: Path, hasty: list[float]
) -> None:
    answers = [(500, {}), (200, {}), (503, {}), (429, {}), (202, {})]
    with Receiver(*answers).listening() as receiver:
        ran = send(alice, receiver.url)
    assert ran.code == 0, ran.err
    assert receiver.taken == lines(kt("events", "--json", cwd=alice))
    assert len(receiver.tries) == 7
    assert len(hasty) == 3
    ids_ = [name for _, name, _ in receiver.tries]
    assert ids_[0] == ids_[1]
    assert ids_[2] == ids_[3] == ids_[4]
    assert all("." not in name for name in ids_)
    headers = receiver.tries[0][2]
    assert headers["Content-Type"] == "application/json"
    assert receiver.tries[0][0] == "/hook?token=hidden"
    assert "hidden" not in ran.err
    assert ran.err.count("answered") == 3


def test_a_webhook_takes_cloudevents_in_structured_mode(alice: Path) -> None:
    with Receiver().listening() as receiver:
        assert send(alice, receiver.url, "--format", "cloudevents").code == 0
    assert [event["type"] for event in receiver.taken][-1] == "kt.escalation.resolve"
    assert receiver.tries[0][2]["Content-Type"].startswith("application/cloudevents+json")


def test_retry_after_is_honoured_as_seconds_and_as_a_date(alice: Path, hasty: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    asked = ["40", later, "999999999", "-5", "soon"]
    with Receiver(*((503, {"Retry-After": text}) for text in asked)).listening() as receiver:
        assert send(alice, receiver.url).code == 0
    assert hasty[0] == 40
    assert 110 < hasty[1] <= 120
    assert hasty[2] == 3600
    assert 4 <= hasty[3] <= 8
    assert 8 <= hasty[4] <= 16


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(alice: Path, hasty: list[float], status: int) -> None:
    with Receiver().listening() as other, Receiver((status, {"Location": other.url})).listening() as receiver:
        ran = send(alice, receiver.url, "--cursor", "at")
    assert ran.code == 8
    assert "a redirect" in ran.err
    assert other.tries == []
    assert len(receiver.tries) == 1
    assert hasty == []


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(alice: Path, hasty: list[float]) -> None:
    with Receiver((410, {})).listening() as receiver:
        ran = send(alice, receiver.url)
    assert ran.code == 8
    assert "answered 410" in ran.err
    assert hasty == []


def test_nobody_there_is_tried_again_and_then_told(alice: Path, hasty: list[float]) -> None:
    receiver = Receiver()
    receiver.server.server_close()
    ran = send(alice, receiver.url, "--retries", "3", "--json")
    assert (ran.code, ran.error["code"], len(hasty)) == (8, "delivery_failed", 3)
    assert "Connection refused" in ran.error["message"]
    assert "hidden" not in ran.err


def test_an_answer_that_takes_too_long_is_a_failed_try(alice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_ANSWER_SECONDS", 0.2)
    silent = TCPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    try:
        ran = send(alice, f"http://127.0.0.1:{silent.server_address[1]}/", "--retries", "0")
    finally:
        silent.server_close()
    assert ran.code == 8
    assert "did not answer: timed out" in ran.err


def test_an_answer_that_drips_is_given_up_within_the_time_for_all_of_it(
    alice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_ANSWER_SECONDS", 0.6)
    cut = threading.Event()

    class Dripping(BaseRequestHandler):
        """Sends a head that never ends, a byte each tenth of a second: no single read takes long."""

        def handle(self) -> None:
            self.request.recv(65536)
            try:
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200:
                    self.request.sendall(bytes([byte]))
                    time.sleep(0.1)
            except OSError:
                cut.set()

    server = TCPServer(("127.0.0.1", 0), Dripping)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        began = time.monotonic()
        ran = send(alice, f"http://127.0.0.1:{server.server_address[1]}/", "--retries", "0")
        took = time.monotonic() - began
        assert cut.wait(10), "and the connection is cut, not left to drip on"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert ran.code == 8
    assert "did not answer: timed out" in ran.err
    assert took < 5


def test_two_secrets_sign_while_one_replaces_the_other(alice: Path) -> None:
    old = base64.b64encode(b"o" * 24).decode()
    with Receiver(secret=old).listening() as receiver:
        assert send(alice, receiver.url, secret=f"{SECRET} {old}").code == 0
        assert send(alice, receiver.url, "--retries", "0", secret=SECRET).code == 8
    assert len(receiver.taken) == 4
    assert len(receiver.tries) == 5


def test_the_signature_is_that_of_the_specification() -> None:
    """The worked example of the Standard Webhooks libraries."""
    keys = delivery.keys({"KT_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    said = delivery.signature(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", [None, "", "whsec_", "whsec_short", "whsec_AAAA", "not base64!", "A" * 88])
def test_without_a_sound_secret_nothing_is_sent_and_nothing_shown(alice: Path, secret: str | None) -> None:
    with Receiver().listening() as receiver:
        ran = send(alice, receiver.url, "--json", secret=secret)
    assert (ran.code, ran.error["code"], receiver.tries) == (2, "bad_input", [])
    assert "KT_WEBHOOK_SECRET" in ran.err
    assert not (secret and secret[6:] and secret in ran.err)


def test_the_secret_reaches_no_process_that_git_starts(lab: Lab, alice: Path) -> None:
    ssh = script(lab, f"env > {lab.folder}/seen; exit 1")
    git("remote", "set-url", "origin", "ssh://localhost/x.git", cwd=alice)
    env = {"KT_WEBHOOK_SECRET": SECRET, "GIT_SSH_COMMAND": str(ssh)}
    ran = kt("watch", "--once", "--webhook", "http://localhost:1/", cwd=alice, env=env)
    assert ran.code == 4
    assert "KT_" not in (lab.folder / "seen").read_text()


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://localhost/x",
            "file:///etc/passwd",
            "localhost/x",
            "http://",
            "",
            "http://[::1/",
            "http://a:b/",
        ),
        *("https://user:hunter2@localhost/", "http://local host/", "http://localhost/\r\nx: y"),
    ],
)
def test_an_address_that_is_none_for_a_webhook_is_refused(alice: Path, url: str) -> None:
    ran = send(alice, url, "--json")
    assert (ran.code, ran.error["code"]) == (2, "bad_input")
    assert "hunter2" not in ran.err


# --- the package ------------------------------------------------------------------------------------


def test_the_package_gives_the_same_events_as_frozen_values(lab: Lab, alice: Path) -> None:
    with Store.open(alice) as store:
        events = list(store.events())
        assert [event.as_dict() for event in events] == lines(kt("events", "--json", cwd=alice))
        assert list(store.events(events[1].cursor)) == events[2:]
        assert list(store.events(datetime(2020, 1, 1, tzinfo=UTC))) == events
        assert list(store.watch(events[2].cursor, once=True)) == events[3:]
        assert list(store.events(store.cursor())) == []
        with pytest.raises(errors.NotInHistory):
            store.events("1" * 40)


def test_the_feed_is_no_slower_where_the_store_has_moved_away_from_the_clone(lab: Lab, alice: Path) -> None:
    bob = lab.clone("bob")
    kt("raise", "--request-id", "r9", "--reason-code", "a.b", cwd=bob)
    assert len(lines(kt("events", "--json", cwd=alice))) == 4
    assert names(kt("events", "--json", "--fetch", cwd=alice))[-1] == "esc_r9"


def test_whoever_stops_reading_stops_the_watch_without_an_error(alice: Path) -> None:
    shell = f"{' '.join(KT)} escalation watch --once --since 36500d | head -n 1"
    done = subprocess.run(["sh", "-c", shell], cwd=alice, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert kt_process("events", cwd=alice).out.startswith(done.stdout)


def test_no_format_needs_the_package_that_others_read_events_with(alice: Path) -> None:
    code = (
        "import sys; from kt_escalation.cli.edge import run; run('kt-escalation', sys.argv[1:]);"
        "sys.stderr.write(str('cloudevents' in sys.modules))"
    )
    for form in ("json", "cloudevents"):
        args = [sys.executable, "-c", code, "events", "--format", form]
        done = subprocess.run(args, cwd=alice, capture_output=True, text=True, check=True)
        assert done.stderr == "False"


def test_where_events_come_from_is_told_without_who_and_how() -> None:
    from kt_escalation.model.event import source

    assert (
        source("https://me:word@example.com/team/review.git?x=1#y") == "https://example.com/team/review.git"
    )
    assert source("git@example.com:team/review.git") == "ssh://example.com/team/review.git"
    assert source("ssh://git@example.com:22/team/a%20b") == "ssh://example.com:22/team/a%20b"
    assert source("/srv/git/a b.git") == "file:///srv/git/a%20b.git"
    assert source("file:///srv/git/x.git") == "file:///srv/git/x.git"


# --- what docs/events.md says -----------------------------------------------------------------------


PAGE = text_of("events.md")


def test_the_commands_of_the_page_run_as_printed(lab: Lab, alice: Path) -> None:
    (lab.folder / "lib").mkdir()
    notify = alice / "notify"
    notify.write_text(f'#!/bin/sh\necho "$@" >> {lab.folder}/notified\ncat > /dev/null\n')
    notify.chmod(0o755)
    secret = base64.b64encode(b"s" * 32).decode()
    with Receiver(secret=secret).listening() as receiver:
        printed = as_printed(
            "events.md",
            alice,
            replace={
                # The page's watches with a webhook run for ever; these end when all is sent.
                "--webhook": "--once --webhook",
                # The files that remember begin before all that happened here.
                "--cursor": "--since 7d --cursor",
                "https://example.com/hook": receiver.url.replace("?", "\\?"),
                "/var/lib/kt": str(lab.folder / "lib"),
                "$(openssl rand -base64 32)": secret,
                'Store.open("review")': 'Store.open(".")',
            },
        )
    assert (lab.folder / "notified").read_text() == "--team legal\n" * 4 + "\n" * 4
    assert len((lab.folder / "lib/journal").read_text().splitlines()) == 4
    actions = ["raise", "claim", "note", "resolve"]
    assert [event["action"] for event in receiver.taken] == actions
    assert printed[-1].splitlines() == [f"{action} esc_r1" for action in actions]


def test_the_check_of_the_page_knows_a_genuine_signature_from_another() -> None:
    [code] = re.findall(r"```python\n(import base64.*?)```", PAGE, re.DOTALL)
    page: dict[str, Any] = {}
    exec(code, page)  # noqa: S102 - the page's own example
    now = int(time.time())
    keys = delivery.keys({"KT_WEBHOOK_SECRET": f"{base64.b64encode(b'o' * 24).decode()} {SECRET}"})

    def genuine(stamp: int, body: bytes, secret: str = SECRET) -> bool:
        signed = delivery.signature(keys, "x/esc_y/0", now, b"{}")
        headers = {"webhook-id": "x/esc_y/0", "webhook-timestamp": str(stamp), "webhook-signature": signed}
        return bool(page["genuine"](secret, headers, body))

    assert genuine(now, b"{}")
    assert not genuine(now, b"{ }")
    assert not genuine(now + 1, b"{}")
    assert not genuine(now - 400, b"{}")
    assert not genuine(now, b"{}", f"whsec_{base64.b64encode(b'x' * 32).decode()}")


def test_the_table_of_the_page_names_every_key_in_its_order() -> None:
    table = PAGE.split("| key | is |")[1].split("\n\n")[0]
    named = [key for row in table.splitlines()[2:] for key in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(KEYS)
