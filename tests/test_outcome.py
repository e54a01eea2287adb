"""An exit code never lies: whatever fails, and wherever, it agrees with the history."""

from __future__ import annotations

import faulthandler
import fcntl
import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from campaign import ERRORS, Case, Grounds, Tracer, cases
from lab import KT, Lab, end, git, kt, kt_process, start, without_side_files

from kt_escalation import Store
from kt_escalation.git import move
from kt_escalation.storage import waiting
from kt_escalation.storage.interface import Author
from kt_escalation.testing import MemoryRemote, MemoryStore


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Case]:
    """Gives a case the ground that it begins on."""
    return Grounds(tmp_path_factory)


# --- the exception campaign -------------------------------------------------------------------------

#: Of these a few lines are tried in every run, of all of them each line in the soak.
SLICE = ("claim", "resolve without a remote", "several")


#: A run that has not ended after so many seconds hangs. On a busy machine one takes a second.
HANGS_SECONDS = 90


class Hang(BaseException):
    """A command that does not end; its stack is in the traceback."""


@contextmanager
def bounded() -> Iterator[None]:
    """Raise Hang where what is inside does not end, with every thread's stack on stderr."""

    def hangs(*_: object) -> None:
        faulthandler.dump_traceback(all_threads=True)
        raise Hang

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANGS_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def campaign(case: Case, folder: Path, most: int | None = None) -> int:
    """Raise each thing at each line behind the push, or so many of them; how often that was."""
    # The first run imports what the others have.
    for name in ("first", "seen"):
        seen = Tracer()
        ran = case.run(folder / name, seen)
        assert ran.code == 0, ran.err
        case.judge(folder / name, ran.code)
    raised, wrong = 0, []
    # The last run is judged after the next one has run, which spares the wait for what it left behind: what was
    # raised, where it ran, its exit code, and when it ended.
    ended: deque[tuple[str, Path, int, float]] = deque()

    def judge() -> None:
        what, where, code, when = ended.popleft()
        try:
            case.judge(where, code, when)
        except AssertionError as told:
            wrong.append(f"{what}: {told}")
        # A push without an answer may still be at work there.
        shutil.rmtree(where, ignore_errors=True)

    every_one = [(place, error) for place in seen.seen for error in ERRORS]
    # Odd, so that all errors come up.
    step = len(every_one) // most | 1 if most else 1
    for number, (place, error) in enumerate(every_one[::step]):
        tracer, where = Tracer(place, ERRORS[error]), folder / f"run{number}"
        what = f"{error} at {place[0]}:{place[1]}"
        try:
            with bounded():
                ran = case.run(where, tracer)
        except Hang as hang:
            stack = "".join(traceback.format_tb(hang.__traceback__)[-6:])
            wrong.append(f"{what}: hangs\n{stack}")
            continue
        # A line that waits for something may not be met each time.
        raised += tracer.raised
        ended.append((what, where, ran.code, time.monotonic()))
        if len(ended) > 1:
            judge()
    while ended:
        judge()
    # No other test is to hear of what was left.
    gc.collect()
    print(f"{case}: {len(seen.seen)} lines, {raised} raised, {len(wrong)} wrong")  # noqa: T201 - the counts, with -s
    assert not wrong, "\n".join([f"{case}:", *wrong])
    return raised


# What is raised while a process starts leaves it to the system.
LEFT = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@LEFT
@pytest.mark.parametrize("case", [case for case in cases() if str(case) in SLICE], ids=str)
def test_whatever_is_raised_behind_the_push_the_exit_code_agrees_with_history(
    case: Case, built: Callable[[Case], Case], tmp_path: Path
) -> None:
    assert campaign(built(case), tmp_path, 8) >= 4


@LEFT
@pytest.mark.soak
@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_whatever_is_raised_at_each_line_behind_the_push_the_exit_code_agrees_with_history(
    case: Case, built: Callable[[Case], Case], tmp_path: Path
) -> None:
    assert campaign(built(case), tmp_path) >= 400


# --- locks that somebody holds ----------------------------------------------------------------------

LOCKS = ("index.lock", "HEAD.lock", "refs/heads/main.lock", "packed-refs.lock")


def hold(folder: Path, case: Case, *locks: str) -> None:
    """Let git's lock files be there in each clone."""
    for store in case.stores:
        for lock in locks:
            path = folder / store / "alice/.git" / lock
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def give_back(folder: Path) -> None:
    for lock in folder.rglob("*/alice/.git/**/*.lock"):
        lock.unlink()


@pytest.mark.parametrize("case", [case for case in cases() if not case.alone], ids=str)
def test_with_a_remote_no_lock_of_the_clone_changes_what_has_landed(
    case: Case, built: Callable[[Case], Case], tmp_path: Path
) -> None:
    clone = built(case).copy(tmp_path / "run")
    hold(tmp_path / "run", case, *LOCKS)
    before = (clone / ".git/index").read_bytes()
    ran = kt(*case.typed(tmp_path / "run"), cwd=clone)
    assert ran.code == 0, ran.err
    # A proposal leaves the checkout alone, so nothing that it needs is held.
    assert ("another git command holds" in ran.err) == (case.branch == "main"), ran.err
    assert (clone / ".git/index").read_bytes() == before
    give_back(tmp_path / "run")
    case.judge(tmp_path / "run", ran.code)


@pytest.mark.parametrize("lock", ["packed-refs.lock", "the ref's own"])
@pytest.mark.parametrize("case", [case for case in cases() if not case.alone], ids=str)
def test_a_lock_that_is_held_on_the_server_is_told_and_never_landed_on(
    case: Case, lock: str, built: Callable[[Case], Case], tmp_path: Path
) -> None:
    clone = built(case).copy(tmp_path / "run")
    typed = [*case.typed(tmp_path / "run"), *(() if case.kind == "init" else ("--retry-timeout", "1"))]
    held = []
    for store in case.stores:
        remote = tmp_path / "run" / store / "remote.git"
        held.append(remote / (lock if lock == "packed-refs.lock" else f"refs/heads/{case.branch}.lock"))
        held[-1].parent.mkdir(parents=True, exist_ok=True)
        held[-1].touch()
    ran = kt(*typed, cwd=clone)
    for path in held:
        path.unlink()
    case.judge(tmp_path / "run", ran.code)
    # To move a ref, git needs the lock of packed refs only where it deletes one.
    assert ran.code == (0 if lock == "packed-refs.lock" else 8), ran.err
    if ran.code:
        assert "Traceback" not in ran.err
        assert kt(*typed, cwd=clone).code == 0


@pytest.mark.parametrize("case", [case for case in cases() if case.alone], ids=str)
def test_without_a_remote_a_held_lock_is_exit_6_and_nothing_is_written(
    case: Case, built: Callable[[Case], Case], tmp_path: Path
) -> None:
    clone = built(case).copy(tmp_path / "run")
    typed = case.typed(tmp_path / "run")
    before = git("ls-files", "--stage", cwd=clone)
    for lock in LOCKS[:3]:
        hold(tmp_path / "run", case, lock)
        ran = kt(*typed, "--json", cwd=clone)
        assert ran.code == 6, (lock, ran.err)
        assert ran.error["code"] == "git_locked", (lock, ran.err)
        assert ran.error["lock"] == str(clone / ".git" / lock)
        assert "nothing was written" in ran.error["message"]
        give_back(tmp_path / "run")
        case.judge(tmp_path / "run", ran.code)
        assert git("ls-files", "--stage", cwd=clone) == before
    hold(tmp_path / "run", case, "packed-refs.lock")
    ran = kt(*typed, cwd=clone)
    give_back(tmp_path / "run")
    assert ran.code == 0, ran.err
    case.judge(tmp_path / "run", ran.code)


def test_what_the_user_commits_after_a_held_lock_takes_nothing_back(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("remote", "remove", "origin", cwd=clone)
    (clone / "mine.txt").write_text("mine\n")
    git("add", "mine.txt", cwd=clone)
    (clone / ".git/index.lock").touch()
    assert kt("claim", "--id", "esc_job", cwd=clone).code == 6
    (clone / ".git/index.lock").unlink()
    assert kt("claim", "--id", "esc_job", cwd=clone).code == 0
    git("commit", "--quiet", "-m", "my own work", cwd=clone)
    assert git("show", "--name-only", "--format=", cwd=clone) == "mine.txt"
    assert kt("verify", cwd=clone).code == 0


# --- a shell that is killed while it moves the branch -----------------------------------------------


@pytest.mark.parametrize("state", ["prepared", "committed"])
def test_a_kill_of_everything_between_index_and_branch_is_settled_by_the_next_command(
    lab: Lab, state: str
) -> None:
    lab.escalations("job", "other")
    clone = lab.clone("alice")
    git("remote", "remove", "origin", cwd=clone)
    (clone / "mine.txt").write_text("mine\n")
    git("add", "mine.txt", cwd=clone)
    hook = clone / ".git/hooks/reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    # kt dies there, and then the whole process group of its shell, git and all.
    pid = f"""$(sed 's/[^0-9]*\\([0-9]*\\).*/\\1/' '{clone}/.git/kt/holder')"""
    hook.write_text(f'#!/bin/sh\n[ "$1" != {state} ] || {{ kill -9 {pid}; kill -9 0; }}\n')
    hook.chmod(0o755)
    assert kt_process("claim", "--id", "esc_job", cwd=clone).code == -signal.SIGKILL
    hook.unlink()
    assert ("kt: claim esc_job" in git("log", "--format=%s", cwd=clone)) == (state == "committed")
    # git refuses to commit now; and who deletes the locks, as git advises, takes nothing back.
    mine = ["git", "commit", "--quiet", "-m", "mine"]
    assert subprocess.run(mine, cwd=clone, capture_output=True, check=False).returncode == 128
    by_hand = lab.folder / "by hand"
    shutil.copytree(clone, by_hand, symlinks=True)
    for lock in (by_hand / ".git").rglob("*.lock"):
        lock.unlink()
    subprocess.run(mine, cwd=by_hand, check=True)
    assert "claimed_by" in git("show", "HEAD:queue/esc_job.yaml", cwd=by_hand)
    assert kt("verify", cwd=by_hand).code == 0
    # The locks of refs are those of a git that has died, and nobody's but its own.
    for lock in ("HEAD.lock", "refs/heads/main.lock"):
        (clone / ".git" / lock).unlink(missing_ok=True)
    assert kt("claim", "--id", "esc_other", cwd=clone).code == 0
    assert not (clone / ".git/index.lock").exists()
    assert not list((clone / ".git").glob("kt-*"))
    subprocess.run(mine, cwd=clone, check=True)
    assert git("show", "--name-only", "--format=", cwd=clone) == "mine.txt"
    assert kt("verify", cwd=clone).code == 0


def test_a_shell_that_is_killed_behind_the_move_is_found_to_have_landed(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("remote", "remove", "origin", cwd=clone)
    hook = clone / ".git/hooks/reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\n[ "$1" != committed ] || kill -9 0\n')
    hook.chmod(0o755)
    assert kt("claim", "--id", "esc_job", cwd=clone).code == 0
    assert not (clone / ".git/index.lock").exists()
    assert git("diff", "--cached", "--name-only", cwd=clone) == ""


def test_a_lock_of_ours_is_settled_once_nobody_is_at_work_whatever_runs_on_this_host(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("remote", "remove", "origin", cwd=clone)
    lock = clone / ".git/index.lock"
    lock.write_text(f"kt {git('rev-parse', 'HEAD', cwd=clone)} refs/heads/main\n")
    monkeypatch.setattr(move, "_PATIENCE", 0.2)
    shell = os.open(clone / ".git", os.O_RDONLY)
    fcntl.flock(shell, fcntl.LOCK_SH)
    assert kt("claim", "--id", "esc_job", cwd=clone).code == 6
    os.close(shell)
    assert kt("claim", "--id", "esc_job", cwd=clone).code == 0
    assert not lock.exists()


@pytest.mark.parametrize(("state", "code"), [("prepared", 130), ("committed", 0)])
def test_without_a_remote_an_interrupt_knows_whether_it_has_landed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, state: str, code: int
) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("remote", "remove", "origin", cwd=clone)
    hook, there = clone / ".git/hooks/reference-transaction", clone / "there"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\n[ "$1" != {state} ] || {{ touch {there}; exec sleep 60; }}\n')
    hook.chmod(0o755)
    monkeypatch.setattr(waiting, "INTERRUPT_SECONDS", 0.2)

    def interrupt() -> None:
        while not there.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    presses = threading.Thread(target=interrupt)
    presses.start()
    ran = kt("claim", "--id", "esc_job", cwd=clone)
    presses.join()
    assert ran.code == code, ran.err
    assert ("kt: claim esc_job" in git("log", "--format=%s", cwd=clone)) == (code == 0)
    assert git("diff", "--cached", "--name-only", cwd=clone) == ""
    assert not list((clone / ".git").glob("*.lock"))


# --- what asks a command to end -----------------------------------------------------------------------

#: Runs `kt`, and sends itself a signal when a module is looked for or a function called. Of what is raised then another
#: error is made, as pydantic does.
SIGNALLED = """
import os, sys

wanted, number = sys.argv[1:3]
sys.argv[1:] = sys.argv[3:]

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), int(number))

def called(frame, event, arg):
    if event == "call" and frame.f_code.co_name == wanted:
        sys.setprofile(None)
        try:
            os.kill(os.getpid(), int(number))
        except KeyboardInterrupt:
            raise RuntimeError("half a model") from None

sys.meta_path.insert(0, Finder)
sys.setprofile(called)
from kt_escalation.cli import main_escalation
main_escalation()
"""


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ("click", signal.SIGTERM),
        ("kt_escalation.cli.commands.raise_", signal.SIGHUP),
        ("decided", signal.SIGTERM),
        # What does not fit loads pydantic.
        ("pydantic_core", signal.SIGINT),
        ("_init_core_attrs", signal.SIGINT),
    ],
)
def test_what_asks_to_end_while_modules_load_is_an_interrupt(lab: Lab, wanted: str, number: int) -> None:
    code = "a b" if wanted in ("pydantic_core", "_init_core_attrs") else "a.b"
    command = [sys.executable, "-c", SIGNALLED, wanted, str(int(number)), "raise", "--reason-code", code]
    done = subprocess.run(command, cwd=lab.seed, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
    assert done.stderr.strip().startswith("kt: interrupted")
    assert done.stderr.strip().count("\n") == 0
    assert lab.commits("raise") == []


def test_what_asks_to_end_while_modules_load_waits_no_longer_than_until_the_store_is_opened(lab: Lab) -> None:
    never = "import kt_escalation.cli.signals as signals; signals._AGAIN = 600\n"
    command = [
        sys.executable,
        "-c",
        never + SIGNALLED,
        "kt_escalation.cli.commands.raise_",
        str(int(signal.SIGHUP)),
    ]
    done = subprocess.run(
        [*command, "raise", "--reason-code", "a.b"], cwd=lab.seed, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
    assert lab.commits("raise") == []


@pytest.mark.parametrize(("kind", "number"), [("several", signal.SIGTERM), ("init", signal.SIGHUP)])
def test_what_asks_to_end_while_something_is_sent_waits_for_its_answer(
    kind: str, number: int, built: Callable[[Case], Case], tmp_path: Path
) -> None:
    [case] = [case for case in cases() if case.kind == kind and not case.alone]
    clone = built(case).copy(tmp_path / "run")
    hook = tmp_path / "run/one/remote.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch started; sleep 1\n")
    hook.chmod(0o755)
    running = start(*case.typed(tmp_path / "run"), cwd=clone)
    while not (hook.parent.parent / "started").exists():
        time.sleep(0.01)
    running.send_signal(number)
    ran = end(running)
    assert ran.code == 0, ran.err
    case.judge(tmp_path / "run", 0)


def test_what_asks_to_end_ends_a_wait(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    running = start("wait", "--id", "esc_job", cwd=clone)
    while not (clone / ".git/kt").exists():
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    ran = end(running)
    assert (ran.code, ran.out) == (130, ""), ran.err
    assert ran.err.startswith("kt: interrupted"), ran.err


# --- output that goes nowhere, disks that are full --------------------------------------------------

OUTPUTS = ("> /dev/full", ">&-", "closed pipe", "2>&-", "2> /dev/full", "> /dev/full 2>&1", ">&- 2>&-")


@pytest.mark.parametrize(
    ("case", "output"),
    [
        # All of them in the soak; each kind of command and each output once in every run.
        pytest.param(
            case, output, id=f"{case}, {output}", marks=[] if (a - b) % 7 == 0 else [pytest.mark.soak]
        )
        for a, case in enumerate(cases())
        for b, output in enumerate(OUTPUTS)
    ],
)
def test_what_has_landed_is_exit_0_wherever_the_output_goes(
    case: Case, output: str, built: Callable[[Case], Case], tmp_path: Path
) -> None:
    clone = built(case).copy(tmp_path / "run")
    reader, writer = os.pipe()
    os.close(reader)
    redirect = "" if output == "closed pipe" else output
    command = ["sh", "-c", f'exec "$@" {redirect}', "sh", *KT, "escalation", *case.typed(tmp_path / "run")]
    done = subprocess.run(
        command,
        cwd=clone,
        stderr=subprocess.PIPE,
        stdout=writer,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0, done.stderr
    case.judge(tmp_path / "run", 0)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert ("has landed" in done.stderr or "have landed" in done.stderr) == (
        output == "> /dev/full"
    ) or case.kind == "several", done.stderr


@pytest.mark.parametrize(
    ("case", "size"),
    [
        # All of them in the soak; each kind of command once in every run.
        pytest.param(case, size, id=f"{case}, {size}", marks=[] if (a - b) % 3 == 0 else [pytest.mark.soak])
        for a, case in enumerate(cases())
        for b, size in enumerate((0, 200, 1_500))
    ],
)
def test_a_disk_that_takes_no_more_at_whichever_write(
    case: Case, size: int, built: Callable[[Case], Case], tmp_path: Path
) -> None:
    clone = built(case).copy(tmp_path / "run")
    command = [*KT, "escalation", *case.typed(tmp_path / "run")]
    if case.kind != "init":
        command += ["--retry-timeout", "1"]
    done = subprocess.run(
        command,
        cwd=clone,
        env=without_side_files(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    case.judge(tmp_path / "run", done.returncode)
    # git is not killed for what it writes, so it says what was wrong, and leaves nothing behind.
    assert done.returncode in (0, 2, 4), done.stderr
    left = {
        path.name for path in (clone / ".git").rglob("*") if ".lock" in path.name or "holder." in path.name
    }
    assert not left
    assert "Traceback" not in done.stderr
    again = kt(*case.typed(tmp_path / "run"), cwd=clone)
    # Once it has landed in both stores, the next ones are nobody's.
    assert again.code == (7 if case.kind == "several" and done.returncode == 0 else 0), again.err


# --- time -------------------------------------------------------------------------------------------


def test_the_time_of_a_change_is_read_when_it_is_made_and_not_when_the_wait_for_it_began() -> None:
    now = datetime(2026, 11, 23, 10, tzinfo=UTC)

    class Busy(MemoryStore):
        """A store whose lock and turn are waited for."""

        @contextmanager
        def writing(self, timeout: float) -> Iterator[None]:
            nonlocal now
            now += timedelta(seconds=60)
            yield

        @contextmanager
        def turn(self, meanwhile: Callable[[], None]) -> Iterator[None]:
            nonlocal now
            now += timedelta(seconds=20)
            yield

    settings = b"claims: {lease: 30m}\n"
    world = MemoryRemote(
        {"policies/policy-config.yaml": b"pack: {enabled: true}\n", "policies/settings.yaml": settings}
    )
    store = Store(Busy(world, Author("Alice", "alice@example.com")), clock=lambda: now)
    raised = store.create(reason_code="a.b", request_id="one")
    assert raised.record.raised_at == datetime(2026, 11, 23, 10, 1, 20, tzinfo=UTC)
    claim = store.claim("esc_one").record.claim
    assert claim
    assert claim.claimed_at == datetime(2026, 11, 23, 10, 2, 40, tzinfo=UTC)
    assert claim.expires_at == claim.claimed_at + timedelta(minutes=30)
