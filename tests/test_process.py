"""git that talks too much, dies in the middle, hangs, or breaks a pipe: no hang, and never half an answer."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest
from lab import Lab, git, kt, kt_process, path_to_git

from kt_escalation.errors import GitFailed
from kt_escalation.git import process
from kt_escalation.git.objects import chunks
from kt_escalation.git.process import Underway, shown
from kt_escalation.git.repository import Repository

#: Enough to fill a pipe that nobody reads many times over.
A_MILLION = "head -c 1048576 /dev/zero | tr '\\0' w | fold -w 100 | sed 's/^/warning: /' >&2; echo >&2"
READING = ("list --json", "log", "stats --json", "get a1 --json", "verify")


def made(script: str, **options: bool) -> Underway:
    """A process that is a script of the shell."""
    return Underway(("sh", "-c"), (script,), **options)


@pytest.fixture
def alice(lab: Lab) -> Path:
    """A clone of a store with three escalations, whose objects are in one pack."""
    lab.escalations("a1", "a2", "a3")
    return lab.clone("alice")


# --- what git says beside its answers -----------------------------------------------------------------


@pytest.mark.parametrize("variable", ["GIT_TRACE", "GIT_TRACE_PACK_ACCESS", "GIT_TRACE2_PERF"])
def test_a_life_goes_on_while_git_traces_all_that_it_does(lab: Lab, variable: str) -> None:
    lab.escalations(*(f"b{number}" for number in range(700)))
    bob = lab.clone("bob")
    traced = {variable: "1"}
    listed = kt("list", "--json", "--limit", "0", cwd=bob, env=traced)
    assert listed.code == 0
    assert len(listed.json["escalations"]) == 700
    for command in ("claim esc_b1", "resolve esc_b1 --outcome denied --reason no", "log", "verify"):
        ran = kt(*command.split(), cwd=bob, env=traced)
        assert (ran.code, "trace" in ran.err) == (0, False), ran.err
    # Of a refusal only what git said is repeated.
    lab.hook("pre-receive", "echo not today >&2; exit 1")
    refused = kt("claim", "esc_b2", cwd=bob, env=traced)
    assert refused.code == 4
    assert "not today" in refused.err
    assert ".c:" not in refused.err


def test_a_million_bytes_of_warnings_stop_nothing(alice: Path, tmp_path: Path) -> None:
    env = {"PATH": path_to_git(tmp_path, f'{A_MILLION}\ngit "$@"')}
    for command in (*READING, "claim esc_a1", "evidence esc_a1 -o proof.tar"):
        ran = kt(*command.replace(" a1", " esc_a1").split(), cwd=alice, env=env)
        assert ran.code == 0, ran.err


def test_of_many_warnings_the_last_are_kept_and_an_error_repeats_none_of_them() -> None:
    done = made(f"{A_MILLION}; echo 'fatal: the disk is gone' >&2; exit 128").finish()
    assert done.status == 128
    assert len(done.err) <= 64 * 1024
    assert done.words == "the disk is gone"


def test_what_git_started_may_hold_its_pipe_for_longer_than_it_lives() -> None:
    began = time.monotonic()
    done = made("sleep 60 >/dev/null & echo $!; echo said >&2").finish()
    os.kill(int(done.text), 9)
    assert done.err == "said\n"
    assert time.monotonic() - began < 30


# --- git that dies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "kill -9 $$"])
@pytest.mark.parametrize("size", [0, 70])
def test_half_an_answer_of_git_is_never_taken_for_a_whole_one(
    alice: Path, tmp_path: Path, end: str, size: int
) -> None:
    for asked, fed, commands in (
        # It answers what it was asked first, and dies.
        ("cat-file", "head -n 1 | ", ("list --json", "get esc_a1 --json", "claim esc_a1", "verify")),
        # An empty history of exit 0 cannot be told from none.
        ("log", "", ("log", "events") if size or end != "exit 0" else ()),
    ):
        folder = tmp_path / asked
        folder.mkdir()
        half = f'{fed}git "$@" | head -c {size}; {end}'
        path = path_to_git(folder, f'case " $* " in *" {asked} "*) {half} ;; esac\ngit "$@"')
        for command in commands:
            ran = kt(*command.split(), cwd=alice, env={"PATH": path})
            assert (ran.code, ran.out) == (2, ""), (asked, command, ran)
            assert asked in ran.err
            assert ran.err.count("\n") == 1


def test_a_question_that_git_fails_to_answer_is_no_empty_answer(alice: Path, tmp_path: Path) -> None:
    path = path_to_git(
        tmp_path, 'case " $* " in *" rev-list "* | *" diff-tree "*) exit 137 ;; esac\ngit "$@"'
    )
    repository = Repository(alice)
    head = git("rev-parse", "HEAD", cwd=alice)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        for asked in (
            lambda: repository.rev_list([head]),
            lambda: repository.new_commits([head]),
            lambda: repository.count([head]),
            lambda: repository.changed(f"{head}~1", head),
        ):
            with pytest.raises(GitFailed, match="status 137"):
                asked()
    repository.objects.close()


# --- git that hangs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["rev-parse", "cat-file", "log"])
def test_a_git_that_answers_nothing_is_ended_and_named(
    alice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr(process, "SILENCE_SECONDS", 0.5)
    path = path_to_git(tmp_path, f'case " $* " in *" {asked} "*) exec sleep 600 ;; esac\ngit "$@"')
    began = time.monotonic()
    ran = kt("log", cwd=alice, env={"PATH": path})
    assert ran.code == 2
    assert time.monotonic() - began < 30
    assert f"git {asked} failed: it neither wrote nor read anything" in ran.err


def test_a_git_that_takes_nothing_is_ended_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SILENCE_SECONDS", 0.3)
    hangs = made("exec sleep 600", stdin=True)
    hangs.give(bytes(1 << 20))
    with pytest.raises(GitFailed, match="neither wrote nor read"):
        hangs.finish()


# --- pipes that break ---------------------------------------------------------------------------------


def test_a_broken_pipe_to_git_is_an_error_of_gits() -> None:
    with pytest.raises(GitFailed, match="no room left"):
        made("exec <&-; echo 'fatal: no room left' >&2; exit 3", stdin=True).send(bytes(1 << 20))
    # Whatever its exit code says.
    deaf = made("exec <&-; exit 0", stdin=True)
    deaf.give(bytes(1 << 20))
    with pytest.raises(GitFailed, match="did not read all"):
        deaf.finish()


def test_evidence_that_git_stops_making_is_no_whole_archive(alice: Path, tmp_path: Path) -> None:
    path = path_to_git(
        tmp_path,
        'case " $* " in *" pack-objects "*) exec <&-; echo \'fatal: died\' >&2; exit 1 ;; esac\ngit "$@"',
    )
    ran = kt_process("evidence", "esc_a1", "-o", "-", cwd=alice, env={"PATH": path})
    assert ran.code == 2
    assert "git pack-objects failed: died" in ran.err


# --- cat-file -----------------------------------------------------------------------------------------


def test_a_store_in_a_folder_called_as_an_answer_of_git(lab: Lab) -> None:
    for clone in (lab.clone("alice"), lab.clone("bob")):
        git("config", "kt.root", "my blob", cwd=clone)
    folder = lab.folder / "alice/my blob"
    folder.mkdir()
    for command in (
        "init",
        "raise --request-id r1 --reason-code a.b --severity low --summary s",
    ):
        ran = kt(*command.split(), cwd=folder)
        assert ran.code == 0, ran.err
    bob = lab.folder / "bob"
    for command in ("list --fetch --json", "claim esc_r1", "log", "verify"):
        ran = kt(*command.split(), cwd=bob)
        assert ran.code == 0, ran.err


def test_names_that_look_like_answers_or_like_more_questions(alice: Path) -> None:
    objects = Repository(alice).objects
    head = git("rev-parse", "HEAD", cwd=alice)
    names = [
        f"{head}:a blob 12",
        f"{head}:{head} blob 12",
        f"{head}:x missing",
        f"{head}:queue",
        "no",
        f"{head}:",
    ]
    found = objects.get(names)
    assert [one.kind if one else None for one in found] == [None, None, None, "tree", None, "tree"]
    with pytest.raises(GitFailed, match="line feed"):
        objects.get([f"{head}:queue\ncontents {head}"])
    # Answers that are longer than all pipes, and names that are.
    long = [f"{head}:{'x' * 4000}"] * 600
    assert objects.get([*long, head])[-1]
    assert all(len(some) <= 500 for some in chunks(long))
    objects.close()


def test_whatever_breaks_in_on_an_answer_the_next_question_gets_its_own(
    alice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = Repository(alice).objects
    head = git("rev-parse", "HEAD", cwd=alice)
    queue, top = objects.ids_of([f"{head}:queue", f"{head}^{{tree}}"])
    some = Underway.some

    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(Underway, "some", interrupted)
    with pytest.raises(KeyboardInterrupt):
        objects.ids_of([f"{head}:queue"])
    monkeypatch.setattr(Underway, "some", some)
    assert objects.ids_of([f"{head}^{{tree}}", f"{head}:queue"]) == [top, queue]
    objects.close()


# --- what is told -------------------------------------------------------------------------------------


def untimed(said: str) -> str:
    """`said` without how long curl tried, which is another number each time."""
    return re.sub(r" after \d+ ms: ", " after N ms: ", said)


def test_a_line_tells_of_each_process_and_of_no_password(alice: Path, tmp_path: Path) -> None:
    git("remote", "set-url", "origin", "http://bob:hunter2@127.0.0.1:1/x.git?token=hunter3", cwd=alice)
    quiet = kt("list", "--fetch", cwd=alice)
    for ran in (
        kt("list", "--fetch", "--debug", cwd=alice),
        kt("--debug", "list", "--fetch", cwd=alice),
        kt("list", "--fetch", cwd=alice, env={"KT_LOG": "debug"}),
    ):
        lines = ran.err.splitlines()
        told = [line for line in lines if " ms, exit " in line]
        assert (ran.code, untimed(lines[-1])) == (quiet.code, untimed(quiet.err.strip()))
        assert any(": git rev-parse --absolute-git-dir" in line for line in told)
        assert any("exit 128: git -c gc.auto=0" in line and " fetch " in line for line in told), ran.err
        assert "hunter" not in ran.err
        assert "127.0.0.1:1/x.git?***" in ran.err
    assert " ms, " not in quiet.err
    assert "KT_LOG" not in os.environ


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("push", "https://me:pw@host/x"), "push 'https://***@host/x'"),
        (("fetch", "ssh://token@host/x"), "fetch 'ssh://***@host/x'"),
        (("fetch", "https://host/x?a=1&private_token=it's"), "fetch 'https://host/x?***'"),
        (("fetch", "https://me@host/x#key=1"), "fetch 'https://***@host/x#***'"),
        (
            ("-c", "http.extraHeader=Authorization: Basic c2VjcmV0", "fetch"),
            "-c 'http.extraHeader=***' fetch",
        ),
        (("-c", "http.https://h/.extraheader=x: y", "fetch"), "-c 'http.https://h/.extraheader=***' fetch"),
        (("-c", "my.privateToken=abc\ndef", "fetch"), "-c 'my.privateToken=***' fetch"),
        (("log", "a\x1b[31mb"), "log 'a\\x1b[31mb'"),
    ],
)
def test_arguments_are_shown_without_what_lets_somebody_in(args: tuple[str, ...], line: str) -> None:
    assert shown(args) == line


def test_a_stderr_that_is_gone_stops_nothing(alice: Path) -> None:
    ran = kt("list", "--debug", cwd=alice)
    assert ran.code == 0
    gone = made(
        f"cd '{alice}' && exec '{sys.executable}' -m kt_escalation escalation list --debug 2>&-"
    ).finish()
    assert (gone.status, gone.out.decode()) == (0, ran.out)
