"""Whatever dies in the middle: killed processes, lost answers, silent and hostile remotes."""

from __future__ import annotations

import http.server
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import errorbook
import pytest
from campaign import Case, Grounds, cases
from faulty import POINTS, VARIABLE
from lab import Lab, end, git, kt, kt_process, on_a_terminal, start, state, wait_for

from kt_escalation.actions.initialize import create
from kt_escalation.errors import RetriesExhausted

#: The points that `init` does not meet: it takes no turns, and decides nothing about a record.
NOT_OF_INIT = ("before-turn", "after-turn", "before-decide", "after-decide")


def kills() -> Iterator[tuple[Case, str]]:
    """Each kind of command with each of its points; with several stores, those of the second one too."""
    for case in cases():
        if case.branch != "main":
            continue
        for number in range(1, len(case.stores) + 1):
            for point in POINTS:
                if case.kind != "init" or point not in NOT_OF_INIT:
                    yield case, point if number == 1 else f"{point}.{number}"


# Every kill is a case of the soak; one in eleven, spread over all kinds and points, of every run.
KILLS = [
    pytest.param(case, point, id=f"{case}, {point}", marks=[] if number % 11 == 0 else [pytest.mark.soak])
    for number, (case, point) in enumerate(kills())
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Case]:
    """Gives a case the ground that it begins on, with work of its user's in progress."""
    return Grounds(tmp_path_factory, begin_work)


def begin_work(clone: Path) -> None:
    """Let the user of a clone have work in progress."""
    (clone / "README.md").write_text("My own words.\n")
    (clone / "staged.txt").write_text("staged\n")
    git("add", "staged.txt", cwd=clone)
    (clone / "staged.txt").write_text("staged, and changed since\n")
    (clone / "untracked.txt").write_text("untracked\n")


def mine(clone: Path) -> dict[str, str]:
    """The user's work in progress."""
    names = ("README.md", "staged.txt", "untracked.txt")
    return {
        **{name: (clone / name).read_text() for name in names},
        "index": git("ls-files", "--stage", "README.md", "staged.txt", cwd=clone),
    }


@pytest.mark.parametrize(("case", "point"), KILLS)
def test_after_a_kill_the_next_command_works_and_nothing_is_half_done(
    case: Case, point: str, built: Callable[[Case], Case], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    clone = built(case).copy(folder)
    typed = case.typed(folder)
    clones = [folder / store / "alice" for store in case.stores]
    before = [*map(mine, clones)]
    died = kt_process(*typed, cwd=clone, env={VARIABLE: f"{point}:kill"})
    assert died.code == -signal.SIGKILL
    assert [*map(mine, clones)] == before

    landed = sum(case.landed(folder, store) for store in case.stores)
    again = kt(*typed, cwd=clone)
    # Once it has landed in every store, no next ones are left.
    nothing_left = case.kind == "several" and landed == len(case.stores)
    assert again.code == (7 if nothing_left else 0), again.err
    assert [*map(mine, clones)] == before
    for store, one in zip(case.stores, clones, strict=True):
        assert case.landed(folder, store) == 1
        assert git("status", "--porcelain", "--", "queue", cwd=one) == "", "the checkout is half made"
        git("fsck", "--strict", cwd=one)
        assert not list((one / ".git").rglob("*.lock"))


def test_a_push_that_lands_and_loses_its_answer_is_reported_as_done(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    lab.hook("post-receive", "kill -9 $PPID")
    ran = kt("claim", "--id", "esc_job", "--json", cwd=clone)
    assert ran.code == 0, ran.err
    assert ran.json["changed"] is True
    assert ran.json["commit"] == lab.tip()
    assert len(lab.commits("claim")) == 1


def test_a_push_that_did_not_land_and_lost_its_answer_is_retried(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    lab.hook("pre-receive", "[ -e died ] || { touch died; kill -9 $PPID; }")
    ran = kt("claim", "--id", "esc_job", cwd=clone)
    assert ran.code == 0, ran.err
    assert (lab.remote / "died").exists()
    assert len(lab.commits("claim")) == 1


def test_answers_that_are_always_lost_end_in_exit_9(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    lab.hook("pre-receive", "kill -9 $PPID")
    ran = kt("claim", "--id", "esc_job", "--retry-timeout", "2", "--json", cwd=clone)
    assert ran.code == 9
    assert ran.error["code"] == "outcome_unknown"
    assert ran.error["claim_id"]
    assert lab.commits("claim") == []


def silent(lab: Lab, clone: Path) -> None:
    """A remote that takes connections and says nothing."""
    program = lab.folder / "silent"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    for what in ("uploadpack", "receivepack"):
        git("config", f"remote.origin.{what}", str(program), cwd=clone)


def silent_after_push(lab: Lab, clone: Path) -> Path:
    """A remote that takes the next push and then answers nothing until the file given is removed."""
    quiet = lab.folder / "quiet"
    upload = lab.folder / "upload-pack"
    upload.write_text(f'#!/bin/sh\nif [ -e {quiet} ]; then exec sleep 60; fi\nexec git-upload-pack "$@"\n')
    upload.chmod(0o755)
    git("config", "remote.origin.uploadpack", str(upload), cwd=clone)
    lab.hook("post-receive", f"touch {quiet}; kill -9 $PPID")
    return quiet


def test_a_remote_that_then_stays_silent_ends_in_exit_9_and_a_later_run_finds_its_own_effect(
    lab: Lab,
) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    quiet = silent_after_push(lab, clone)
    lost = kt("claim", "--id", "esc_job", "--retry-timeout", "2", cwd=clone)
    assert lost.code == 9
    assert "run the same command again" in lost.err
    quiet.unlink()
    lab.hook("post-receive", "exit 0")
    found = kt("claim", "--id", "esc_job", "--json", cwd=clone)
    assert found.code == 0
    assert found.json["changed"] is False
    assert len(lab.commits("claim")) == 1


def test_a_kill_of_the_whole_process_group_leaves_no_lock_on_the_remote_and_no_half_made_checkout(
    lab: Lab,
) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    lab.hook("update", "touch started; sleep 1")
    running = start("claim", "--id", "esc_job", cwd=clone, session=True)
    wait_for(lab.remote / "started")
    os.killpg(running.pid, signal.SIGKILL)
    assert end(running).code == -signal.SIGKILL
    until = time.monotonic() + 20
    while not lab.commits("claim"):
        assert time.monotonic() < until, "the push did not live on"
        time.sleep(0.05)
    lab.hook("update", "exit 0")
    again = kt("claim", "--id", "esc_job", "--json", cwd=clone)
    assert again.code == 0
    assert again.json["changed"] is False
    assert not list(lab.remote.rglob("*.lock"))
    assert git("status", "--porcelain", cwd=clone) == ""
    assert git("rev-parse", "HEAD", cwd=clone) == lab.tip()


def test_a_refusal_by_a_hook_ends_at_once_with_its_words(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    before = state(clone)
    lab.hook("pre-receive", "touch asked-$$; echo 'reviewers push on weekdays only' >&2; exit 1")
    ran = kt("claim", "--id", "esc_job", "--json", cwd=clone)
    assert ran.code == 4
    assert ran.error["code"] == "push_refused"
    assert "reviewers push on weekdays only" in ran.error["message"]
    assert len(list(lab.remote.glob("asked-*"))) == 1
    assert state(clone) == before


def test_an_update_hook_that_says_no_is_a_refusal_too(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    lab.hook("update", "exit 1")
    assert kt("claim", "--id", "esc_job", cwd=clone).code == 4


def test_a_pre_push_hook_of_the_clone_that_says_no_is_a_refusal(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    hook = clone / ".git/hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not from this laptop' >&2\nexit 1\n")
    hook.chmod(0o755)
    ran = kt("claim", "--id", "esc_job", cwd=clone)
    assert ran.code == 4
    assert ran.err.startswith(
        "kt: the pre-push hook of this clone stopped the push to main: not from this laptop; "
    )


def test_ids_of_another_kind_are_a_fault_that_no_repeat_mends(lab: Lab) -> None:
    other = lab.folder / "sha256.git"
    git("init", "--quiet", "--bare", "--object-format=sha256", str(other), cwd=lab.folder)
    clone = lab.folder / "sha1"
    git("init", "--quiet", str(clone), cwd=lab.folder)
    git("remote", "add", "origin", str(other), cwd=clone)
    me = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com"}
    committer = {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com"}
    ran = kt("init", "--json", cwd=clone, env={**me, **committer})
    assert ran.code == 4
    assert "hash algorithm" in ran.error["message"]
    assert "git init --object-format=sha256" in ran.error["message"]
    first = lab.folder / "first"
    git("init", "--quiet", "--object-format=sha256", str(first), cwd=lab.folder)
    git("remote", "add", "origin", str(other), cwd=first)
    assert kt("init", cwd=first, env={**me, **committer}).code == 0
    # Now the remote says so itself, before anything is sent.
    ran = kt("init", "--json", cwd=clone, env={**me, **committer})
    assert ran.code == 4
    assert "git init --object-format=sha256" in ran.error["message"]


def test_a_remote_that_hangs_when_asked_is_given_up_with_exit_4(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    silent(lab, clone)
    began = time.monotonic()
    ran = kt("claim", "--id", "esc_job", "--retry-timeout", "1", "--json", cwd=clone)
    # git sends nothing before it was told where the remote's refs are, so nothing can have landed.
    assert ran.code == 4
    assert ran.error["code"] == "remote_unreachable"
    assert time.monotonic() - began < 15


def test_a_push_that_hangs_is_given_up_with_exit_9(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    lab.hook("pre-receive", "sleep 60")
    began = time.monotonic()
    ran = kt("claim", "--id", "esc_job", "--retry-timeout", "2", cwd=clone)
    assert ran.code == 9
    assert time.monotonic() - began < 20
    assert not list(lab.remote.rglob("*.lock"))


def test_a_push_without_an_answer_is_looked_for_once_more_when_the_time_is_over(lab: Lab) -> None:
    lab.escalations("job", "other")
    alice = lab.clone("alice")
    # It lands, and then the server hangs.
    hook = lab.hook("post-receive", "sleep 60")
    ran = kt("claim", "--id", "esc_job", "--retry-timeout", "2", cwd=alice)
    assert ran.code == 0, ran.err
    assert lab.commits("claim esc_job"), ran.err
    hook.unlink()
    # The first push hangs, and another one comes first: what hangs will not land any more.
    lab.hook("pre-receive", "mkdir hung 2>/dev/null || exit 0; sleep 60")
    running = start("claim", "--id", "esc_other", "--retry-timeout", "3", "--json", cwd=alice)
    wait_for(lab.remote / "hung")
    lab.put({"a.txt": "first\n"})
    late = end(running)
    assert late.code == 8, late.err
    assert late.error["code"] == "retry_timeout", late.err
    assert lab.commits("claim esc_other") == []


def test_init_does_not_pretend_to_know_whether_a_push_without_an_answer_landed(tmp_path: Path) -> None:
    git("init", "--quiet", "--bare", "--initial-branch=main", "r.git", cwd=tmp_path)
    git("clone", "--quiet", "r.git", "clone", cwd=tmp_path)
    clone, hook = tmp_path / "clone", tmp_path / "r.git" / "hooks" / "post-receive"
    for key, value in (("name", "Carol"), ("email", "carol@example.com")):
        git("config", f"user.{key}", value, cwd=clone)
    hook.parent.mkdir(exist_ok=True)
    # The server dies with its commit made.
    hook.write_text('#!/bin/sh\nmv "$PWD" "$PWD.gone"; kill -9 $PPID\n')
    hook.chmod(0o755)
    ran = kt("init", "--json", cwd=clone)
    assert ran.code == 9
    assert ran.error["code"] == "outcome_unknown"
    (tmp_path / "r.git.gone").rename(tmp_path / "r.git")
    assert git("rev-parse", "main", cwd=tmp_path / "r.git") == ran.error["commit"]
    # Where it can be asked, one more look finds that.
    git("update-ref", "-d", "refs/heads/main", cwd=tmp_path / "r.git")
    hook.write_text("#!/bin/sh\nkill -9 $PPID\n")
    ran = kt("init", "--json", cwd=clone)
    assert ran.code == 0
    assert git("rev-parse", "main", cwd=tmp_path / "r.git") == ran.json["commit"]
    hook.unlink()
    assert kt("init", cwd=clone).code == 0, "it finds its own effect"


def test_a_remote_that_is_not_there_is_exit_4(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("remote", "set-url", "origin", str(lab.folder / "gone.git"), cwd=clone)
    ran = kt("claim", "--id", "esc_job", cwd=clone)
    assert ran.code == 4
    assert "could not be reached" in ran.err
    assert kt("list", cwd=clone).code == 0, "reading works offline"


def test_a_rewritten_remote_stops_everything_loudly(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("update-ref", "refs/heads/main", "main~1", cwd=lab.remote)
    ran = kt("claim", "--id", "esc_job", "--json", cwd=clone)
    assert ran.code == 4
    assert ran.error["code"] == "history_rewritten"
    assert "REWRITTEN" in ran.error["message"]


# --- terminals --------------------------------------------------------------------------------------


@pytest.fixture
def http_401() -> Iterator[str]:
    """A web server on loopback that wants a password for everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="kt"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/queue.git"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_remote_that_asks_for_a_password_never_prompts(lab: Lab, http_401: str) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("remote", "set-url", "origin", http_401, cwd=clone)
    code, shown = on_a_terminal(["claim", "--id", "esc_job", "--retry-timeout", "5"], clone, {})
    assert code == 4
    assert "Username for" not in shown.replace("could not read Username for", "")


def test_ssh_has_no_terminal_to_ask_for_a_password_on(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    ssh = lab.folder / "ssh"
    ssh.write_text("#!/bin/sh\nprintf 'Password: ' >/dev/tty || exit 255\nread answer </dev/tty\n")
    ssh.chmod(0o755)
    git("remote", "set-url", "origin", "ssh://git@127.0.0.1/queue.git", cwd=clone)
    env = {"GIT_SSH_COMMAND": str(ssh), "GIT_SSH_VARIANT": "simple"}
    code, shown = on_a_terminal(["claim", "--id", "esc_job", "--retry-timeout", "5"], clone, env)
    assert code == 4
    assert "Password:" not in shown


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize(
    ("hook", "code", "landed", "numbers"),
    [
        ("sleep 1", 0, 1, ENDING[:1]),
        # A supervisor sends one after the other.
        ("sleep 1", 0, 1, ENDING[1:]),
        ("sleep 1; exit 1", 130, 0, ENDING[2:]),
        ("sleep 40", 9, 0, ENDING[:1]),
    ],
    ids=["the answer comes", "a supervisor", "the answer is no", "no answer"],
)
def test_an_interrupt_during_a_push_waits_for_its_answer(
    lab: Lab, hook: str, code: int, landed: int, numbers: tuple[int, ...]
) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    lab.hook("pre-receive", f"touch started; {hook}")
    running = start("claim", "--id", "esc_job", cwd=clone)
    wait_for(lab.remote / "started")
    for number in numbers:
        running.send_signal(number)
    ran = end(running)
    assert (ran.code, "Traceback" in ran.err) == (code, False), ran.err
    assert len(lab.commits("claim")) == landed


@pytest.mark.parametrize("number", ENDING)
def test_an_interrupt_before_the_push_changes_nothing(lab: Lab, number: int) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    args = ("claim", "--id", "esc_job")
    running = start(*args, cwd=clone, env={VARIABLE: "after-decide:pause"})
    wait_for(clone / ".git/kt/holder")
    running.send_signal(number)
    ran = end(running)
    assert ran.code == 130
    assert "nothing changed" in ran.err
    errorbook.hold_line("interrupted", ran.code, ran.err.removeprefix("kt: ").strip(), lab.folder, args)
    assert lab.commits("claim") == []


# --- the disk and the lock --------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["before-build", "after-fetch"])
def test_a_full_disk_of_our_own_is_no_bug(lab: Lab, point: str) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    ran = kt_process("claim", "--id", "esc_job", cwd=clone, env={VARIABLE: f"{point}:full"})
    assert ran.code == 2
    assert "No space left" in ran.err


def test_the_lock_is_given_up_after_its_timeout_and_names_its_holder(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    holder = start("claim", "--id", "esc_job", cwd=clone, env={VARIABLE: "after-lock:pause"})
    wait_for(clone / ".git/kt/holder")
    waiting = kt("claim", "--id", "esc_job", "--lock-timeout", "1", "--json", cwd=clone)
    assert waiting.code == 8
    assert waiting.error["code"] == "lock_timeout"
    assert waiting.error["pid"] == str(holder.pid)
    assert waiting.error["since"].endswith("Z")
    holder.kill()
    end(holder)
    assert kt("claim", "--id", "esc_job", "--lock-timeout", "1", cwd=clone).code == 0


def test_a_lock_that_is_stuck_on_the_remote_ends_in_exit_8(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    lock = lab.remote / "refs/heads/main.lock"
    lock.touch()
    assert stat.S_ISREG(lock.stat().st_mode)
    ran = kt("claim", "--id", "esc_job", "--retry-timeout", "3", "--json", cwd=clone)
    assert ran.code == 8
    assert ran.error["code"] == "retry_timeout"
    assert "nobody was faster: cannot lock ref" in ran.error["message"]
    assert "main.lock" in ran.error["words"]
    assert lab.commits("claim") == []


def test_init_names_what_is_stuck_on_the_remote_as_well(tmp_path: Path) -> None:
    git("init", "--quiet", "--bare", "--initial-branch=main", "r.git", cwd=tmp_path)
    git("clone", "--quiet", "r.git", "clone", cwd=tmp_path)
    for key, value in (("name", "Carol"), ("email", "carol@example.com")):
        git("config", f"user.{key}", value, cwd=tmp_path / "clone")
    (tmp_path / "r.git/refs/heads/main.lock").touch()
    with pytest.raises(RetriesExhausted, match=r"nobody was faster: cannot lock ref.*main\.lock"):
        create(tmp_path / "clone", lock_timeout=1.0, retry_timeout=2.0)


# --- what only seems to be an answer ----------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "audit: authentication failed; going on",
        "http 403 from LDAP, cached answer used",
        "does not support this repository's hash algorithm: skipped",
    ],
)
def test_what_a_servers_hook_says_is_no_answer_to_a_push(lab: Lab, words: str) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    lab.hook("pre-receive", f'echo "{words}" >&2; exit 0')
    lab.hook("post-receive", "kill -9 $PPID")
    ran = kt("claim", "--id", "esc_job", cwd=clone)
    # The answer was lost, and the next look at the remote finds what has landed.
    assert ran.code == 0, ran.err


def test_a_remote_that_is_pushed_to_several_places_is_refused(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    for where in (str(lab.remote), "ssh://nobody@127.0.0.1:9/x.git"):
        git("remote", "set-url", "--add", "--push", "origin", where, cwd=clone)
    ran = kt("claim", "--id", "esc_job", cwd=clone)
    assert ran.code == 2
    assert "is pushed to several places" in ran.err
    assert "status: queued" in lab.file("queue/esc_job.yaml")


def test_a_remote_that_is_pushed_to_another_repository_than_it_is_fetched_from_is_refused(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("init", "--bare", "--quiet", "other.git", cwd=lab.folder)
    git("remote", "set-url", "--push", "origin", str(lab.folder / "other.git"), cwd=clone)
    ran = kt("claim", "--id", "esc_job", cwd=clone)
    assert ran.code == 2, ran.err
    assert "is pushed to another repository than it is fetched from" in ran.err, ran.err
    assert git("for-each-ref", cwd=lab.folder / "other.git") == ""
    # Another address of the same one is none.
    git("remote", "set-url", "--push", "origin", str(lab.remote), cwd=clone)
    lab.put({"a.txt": "moved on\n"})
    assert kt("claim", "--id", "esc_job", cwd=clone).code == 0


def test_hooks_see_nothing_of_how_a_push_is_watched(lab: Lab) -> None:
    lab.escalations("one", "two")
    clone = lab.clone("alice")
    lab.hook("pre-receive", 'test -z "$GIT_TRACE$GIT_TRACE_PACKET"')
    assert kt("claim", "--id", "esc_one", cwd=clone).code == 0
    hook = clone / ".git/hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ntest -z "$GIT_TRACE$GIT_TRACE_PACKET"\n')
    hook.chmod(0o755)
    assert kt("claim", "--id", "esc_two", cwd=clone).code == 0
