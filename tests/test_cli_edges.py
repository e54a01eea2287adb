"""The edges of the command line: usage, every error and its exit code, terminals, pipes, completion, `init`."""

from __future__ import annotations

import gc
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import errorbook
import pytest
from filelock import FileLock
from forge import Forge, identity, key_of, serve
from golden_files import compare
from lab import KT, Lab, Ran, git, ids, kt, kt_process, record_text, state, unwritable
from sample_records import open_text, resolved_path, resolved_text
from terminal import at_a_terminal
from test_cli_life import ROSTER

from kt_escalation import Store, __version__, errors
from kt_escalation.cli import app
from kt_escalation.read_store import ReadStore
from kt_escalation.storage.lock import held

SCRIPTS = Path(sys.executable).parent
ME = {"GIT_AUTHOR_NAME": "Alice", "GIT_AUTHOR_EMAIL": "alice@example.com"}
CSI = "\x1b["


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """One store for what only reads or is refused: `esc_job` and `esc_top` wait, alice has a clone."""
    lab = Lab(tmp_path_factory.mktemp("kept"))
    lab.put(
        {
            "queue/esc_job.yaml": record_text("job", summary="Üben ist gut"),
            "queue/esc_top.yaml": record_text("top", "critical", agent_id='"\\e[31mred\\u202e"'),
        }
    )
    lab.clone("alice")
    return lab


def program(*args: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run any program as a process of its own."""
    return subprocess.run(
        args, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )


def shell(script: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which `KT` stands for `kt escalation`; a pipe fails with any of its parts."""
    script = script.replace("KT", f"{sys.executable} -m kt_escalation escalation")
    return program("bash", "-o", "pipefail", "-c", script, cwd=cwd, env=env)


# --- usage ------------------------------------------------------------------------------------------

USAGE = [
    (["nonsense"], "nonsense"),
    (["lst"], "did you mean `kt-escalation list`?"),
    (["list", "--limt", "3"], "Did you mean '--limit'?"),
    (["list", "surplus"], "surplus"),
    (["list", "--limit", "x"], "--limit"),
    (["list", "--limit"], "--limit"),
    (["list", "--fetch=yes"], "--fetch"),
    (["list", "--status", "don"], "resolved"),
    (["get"], "no escalation id was given"),
    (["log", "--limit", "-1"], "--limit"),
    (["events", "--limit", "0"], "--limit"),
    (["raise", "surplus"], "surplus"),
    (["raise", "--severity", "urgent", "--reason-code", "a.b"], "critical"),
    (["claim", "--id"], "--id"),
    (["claim", "--next", "--lock-timeout", "soon"], "not a duration"),
    (["claim", "--next", "--retry-timeout", "-1"], "not a duration"),
    (["resolve", "--id", "esc_job"], "--outcome"),
    (["note", "--id", "esc_job"], "--text"),
    (["init", "a", "b"], "b"),
]


@pytest.mark.parametrize(("args", "says"), USAGE, ids=[" ".join(args) for args, _ in USAGE])
def test_wrong_usage_is_exit_2_with_one_clear_line_or_one_json_object(
    kept: Lab, args: list[str], says: str
) -> None:
    ran = kt(*args, cwd=kept.folder / "alice")
    assert ran.code == 2
    assert ran.out == ""
    assert says in ran.err
    assert re.fullmatch(r"kt: .+\n", ran.err)
    as_json = kt(args[0], "--json", *args[1:], cwd=kept.folder / "alice")
    assert as_json.code == 2
    assert as_json.out == ""
    assert len(as_json.err.splitlines()) == 1
    assert as_json.error["code"] == "usage"
    assert as_json.error["message"]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("list", "it is `kt escalation list`; see `kt --help`"),
        ("claim", "it is `kt escalation claim`; see `kt --help`"),
        ("lint", "it is `kt policy lint`; see `kt --help`"),
        ("nonsense", "No such command 'nonsense'; see `kt --help`"),
    ],
)
def test_a_command_without_its_group_is_named_with_it(typed: str, says: str, tmp_path: Path) -> None:
    ran = program(sys.executable, "-m", "kt_escalation", typed, cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.endswith(f"{says}\n")


def test_no_command_at_all_shows_the_help_and_is_bad_usage(kept: Lab) -> None:
    ran = kt(cwd=kept.folder)
    assert ran.code == 2
    assert ran.out == ""
    assert "\nReview:\n" in ran.err
    assert "  claim     Take an escalation for review.\n" in ran.err


@pytest.mark.parametrize(
    ("option", "span"),
    [("--retry-timeout", "25d"), ("--retry-timeout", "999999999d"), ("--lock-timeout", "999999999d")],
)
def test_any_duration_may_be_waited_for(lab: Lab, option: str, span: str) -> None:
    lab.escalations("job")
    ran = kt("claim", "--next", option, span, cwd=lab.clone("alice"))
    gc.collect()  # what a crash leaves behind is noticed here, and not in a later test
    assert ran.code == 0, ran.err


# --- every error that the command line can meet -----------------------------------------------------

CLAIM = ["claim", "--id", "esc_job"]
DENY = ["--outcome", "denied", "--reason", "no"]

#: Command lines that are refused by a store as it stands, by the code of their error.
REFUSED = {
    "bad_input": ["raise", "--reason-code", "not a code"],
    "usage": ["claim"],
    "ambiguous_id": ["get", "--id", "esc_alike"],
    "not_a_store": ["list", "-C", "/"],
    "clock_skew": ["claim", "--id", "esc_later"],
    "several_failed": ["claim", "--id", "esc_gone", "--id", "esc_lost"],
    "already_claimed": ["claim", "--id", "esc_bobs"],
    "already_resolved": ["claim", "--id", "esc_done"],
    "not_claimed": ["resolve", "--id", "esc_job", *DENY],
    "not_holder": ["resolve", "--id", "esc_bobs", *DENY],
    "claim_id_differs": ["claim", "--id", "esc_mine", "--claim-id", "another"],
    "shown_differs": ["resolve", "--id", "esc_mine", *DENY, "--shown", "0" * 64],
    "different_content": ["raise", "--request-id", "job", "--reason-code", "a.b"],
    "not_found": ["claim", "--id", "esc_gone"],
    "nothing_to_claim": ["claim", "--next", "--team", "nobody"],
}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A store with an escalation in every state."""
    lab = Lab(tmp_path_factory.mktemp("full"))
    lab.put(
        {
            **{f"queue/esc_{name}.yaml": open_text(name) for name in ("job", "alike-1", "alike-2")},
            "queue/esc_later.yaml": open_text("later", raised_at='"2199-01-01T00:00:00.000Z"'),
            "queue/esc_bobs.yaml": open_text("bobs", holder="bob@example.com"),
            "queue/esc_mine.yaml": open_text("mine", holder="alice@example.com"),
            resolved_path("done"): resolved_text("done"),
        }
    )
    lab.clone("alice")
    return lab


#: What else is mistyped; none of it reaches a record.
MISTAKEN = """
list --sort colour
list --cursor nonsense
list --since soon
list --rev nonsense
list --team ''
list -C /nowhere
get --id x
get --id esc_
get --id esc_ALIKE
events --since nonsense
stats --period day
stats --since 1d --until 2d
stats --by colour
report -o /nowhere/report.html
report -o report.html --team ''
evidence --id esc_done
evidence --id esc_done -o /nowhere/one.tar
watch --exec ''
watch --exec true --format text
watch --exec true --webhook http://example.com/
watch --webhook nonsense
watch --webhook http://u:p@example.com/
watch --webhook http://example.com/
watch --once --cursor /nowhere/cursor
raise
raise --reason-code a..b
raise --reason-code a.b --summary ''
raise --file missing.yaml
raise --file missing.yaml --reason-code a.b
raise --file one.yaml --batch all.jsonl
raise --reason-code a.b --flush-count 3
raise --reason-code a.b --context missing.json
claim --next --renew
claim --id esc_job --count 2
claim --next --count 0
claim --id job
claim --id esc_job --claim-id 'a b'
claim --id esc_job --branch a..b
claim --id esc_job --branch main
claim --id esc_job -C one -C two
claim --branch esc_job
get esc_job esc_job
get --request-id ''
wait esc_jo
init --install kt-escalation
init --ci github --install ./kt
unclaim --id esc_mine --force
resolve --id esc_mine --outcome fine --reason no
resolve --id esc_mine --outcome expired --reason no
resolve --id esc_mine --outcome denied --reason ''
resolve --id esc_mine --outcome denied --reason no --category other-one
assign --id esc_mine --reason ill
assign --id esc_mine --reason ill --to bob
assign --id esc_mine --reason ill --to ''
note --id esc_mine --text ''
compact --before soon
check nonsense
check -o report.json
init --ci jenkins
hook install --server /nowhere
hook install --server . --pusher-from 'a b'
"""


def test_every_mistake_at_the_keyboard_is_told_in_one_line_that_can_be_read_at_one_go(full: Lab) -> None:
    told = ""
    for args in [*(args for args, _ in USAGE), *map(shlex.split, MISTAKEN.strip().splitlines())]:
        ran = kt(*args, cwd=full.folder / "alice")
        assert ran.code == 2, (args, ran)
        assert ran.out == "", (args, ran)
        assert re.fullmatch(r"kt: .+\n", ran.err), (args, ran)
        assert not errorbook.JARGON.search(ran.err)
        told += f"$ kt escalation {shlex.join(args)}\n{ran.err.removeprefix('kt: ')}\n"
    compare("mistakes", told)


def answer_is_no(lab: Lab, clone: Path) -> list[str]:
    lab.put({"policies/roster.yaml": "users: 1\n"})
    git("fetch", "--quiet", cwd=clone)
    return ["doctor"]


def no_store_branch(lab: Lab, clone: Path) -> list[str]:
    git("config", "kt.branch", "gone", cwd=clone)
    return CLAIM


def no_identity(lab: Lab, clone: Path) -> list[str]:
    git("config", "--unset", "user.email", cwd=clone)
    return CLAIM


def unreadable_record(lab: Lab, clone: Path) -> list[str]:
    lab.put({"queue/esc_job.yaml": "<<<<<<<\n"})
    return CLAIM


def unreadable_store(lab: Lab, clone: Path) -> list[str]:
    """A folder whose mode git reads as `40000` and we do not."""
    whole = subprocess.run(
        ["git", "cat-file", "tree", "HEAD^{tree}"], cwd=lab.seed, capture_output=True, check=True
    ).stdout
    odd = whole.replace(b"40000 queue\0", b"040000 queue\0")
    write = ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    done = subprocess.run(write, cwd=lab.seed, input=odd, capture_output=True, check=True)
    tree = done.stdout.decode().strip()
    assert tree != git("rev-parse", "HEAD^{tree}", cwd=lab.seed)
    commit = git("commit-tree", "-p", "HEAD", "-m", "odd", tree, cwd=lab.seed)
    git("push", "--quiet", "origin", f"{commit}:refs/heads/main", cwd=lab.seed)
    return CLAIM


def broken_policies(lab: Lab, clone: Path) -> list[str]:
    lab.put({"policies/settings.yaml": "claims: [\n"})
    return CLAIM


def git_failed(lab: Lab, clone: Path) -> list[str]:
    git("config", "commit.gpgsign", "true", cwd=clone)
    git("config", "gpg.program", "false", cwd=clone)
    return CLAIM


def not_allowed(lab: Lab, clone: Path) -> list[str]:
    lab.put({"policies/roster.yaml": ROSTER.replace("reviewer", "auditor")})
    return CLAIM


def remote_unreachable(lab: Lab, clone: Path) -> list[str]:
    git("remote", "set-url", "origin", str(lab.folder / "gone.git"), cwd=clone)
    return CLAIM


def push_refused(lab: Lab, clone: Path) -> list[str]:
    lab.hook("pre-receive", "exit 1")
    return CLAIM


def remote_fault(lab: Lab, clone: Path) -> list[str]:
    there = lab.clone("there")
    git("remote", "set-url", "origin", str(there), cwd=clone)
    return CLAIM


def history_rewritten(lab: Lab, clone: Path) -> list[str]:
    git("update-ref", "refs/heads/main", "main~1", cwd=lab.remote)
    return CLAIM


def path_staged(lab: Lab, clone: Path) -> list[str]:
    git("remote", "remove", "origin", cwd=clone)
    (clone / "queue/esc_job.yaml").write_text("mine\n")
    git("add", "--all", cwd=clone)
    return CLAIM


def git_locked(lab: Lab, clone: Path) -> list[str]:
    git("remote", "remove", "origin", cwd=clone)
    (clone / ".git/index.lock").touch()
    return CLAIM


def lock_timeout(lab: Lab, clone: Path) -> list[str]:
    KEEP.enter_context(held(clone / ".git/kt", 1))
    return [*CLAIM, "--lock-timeout", "0"]


#: Locks that tests hold until their end.
KEEP = ExitStack()


def retry_timeout(lab: Lab, clone: Path) -> list[str]:
    (lab.remote / "refs/heads/main.lock").touch()
    return [*CLAIM, "--retry-timeout", "3"]


def outcome_unknown(lab: Lab, clone: Path) -> list[str]:
    lab.hook("pre-receive", "kill -9 $PPID")
    return [*CLAIM, "--retry-timeout", "3"]


def branch_taken(lab: Lab, clone: Path) -> list[str]:
    git("push", "--quiet", "origin", "HEAD:refs/heads/kt/claim", cwd=clone)
    return [*CLAIM, "--branch"]


TROUBLES: tuple[Callable[[Lab, Path], list[str]], ...] = (
    answer_is_no,
    no_store_branch,
    no_identity,
    unreadable_record,
    unreadable_store,
    broken_policies,
    git_failed,
    not_allowed,
    remote_unreachable,
    push_refused,
    remote_fault,
    history_rewritten,
    path_staged,
    git_locked,
    branch_taken,
    lock_timeout,
    retry_timeout,
    outcome_unknown,
)
EXITS = {
    1: ("answer_is_no",),
    2: (
        *("bad_input", "usage", "ambiguous_id", "not_a_store", "no_store_branch", "no_identity"),
        *("clock_skew", "unreadable_record", "unreadable_store", "broken_policies", "git_failed"),
    ),
    3: ("not_allowed",),
    4: ("remote_unreachable", "push_refused", "remote_fault", "history_rewritten"),
    6: (
        *("already_claimed", "already_resolved", "not_claimed", "not_holder", "claim_id_differs"),
        *("shown_differs", "different_content", "path_staged", "git_locked", "branch_taken"),
    ),
    7: ("not_found", "nothing_to_claim", "several_failed"),
    8: ("lock_timeout", "retry_timeout"),
    9: ("outcome_unknown",),
}


def fails(lab: Lab, clone: Path, args: list[str], code: str) -> None:
    """A command that fails as the table says, with one clear line or one JSON object, and changes nothing."""
    before = git("for-each-ref", "refs/heads", cwd=lab.remote)
    ran, as_json = kt(*args, cwd=clone), kt(*args, "--json", cwd=clone)
    KEEP.close()
    assert code in EXITS[ran.code], ran.err
    assert as_json.code == ran.code, ran.err
    assert git("for-each-ref", "refs/heads", cwd=lab.remote) == before
    lines = ran.err.splitlines()
    assert all(line.startswith("kt: ") for line in lines)
    if code == "answer_is_no":
        assert len(lines) == 1
        assert as_json.json["ok"] is False
        assert as_json.err == ""
        errorbook.hold_line(code, ran.code, lines[0].removeprefix("kt: "), lab.folder, args)
        return
    assert len(as_json.err.splitlines()) == 1
    assert as_json.out == ran.out == ""
    assert as_json.error["code"] == code
    errorbook.hold(as_json, lab.folder)
    if code == "several_failed":
        assert [line[:14] for line in lines] == ["kt: esc_gone: ", "kt: esc_lost: ", "kt: nothing wa"]
    elif code in ("outcome_unknown", "retry_timeout", "clock_skew"):
        assert len(lines) == 1, "the words hold a time or a commit"
    else:
        assert lines == [f"kt: {as_json.error['message']}"]


@pytest.mark.parametrize("code", REFUSED)
def test_every_refusal_has_its_exit_code_its_name_and_one_clear_line(full: Lab, code: str) -> None:
    fails(full, full.folder / "alice", REFUSED[code], code)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_trouble_has_its_exit_code_its_name_and_one_clear_line(
    lab: Lab, trouble: Callable[[Lab, Path], list[str]]
) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    fails(lab, clone, trouble(lab, clone), trouble.__name__)


def test_who_holds_the_lock_without_having_signed_is_another_process(lab: Lab) -> None:
    """A full disk keeps the holder from writing who it is."""
    clone = lab.clone("alice")
    (clone / ".git/kt").mkdir()
    with FileLock(clone / ".git/kt/lock"):
        ran = kt(*CLAIM, "--lock-timeout", "0", "--json", cwd=clone)
        found = kt("doctor", cwd=clone).out
    assert ran.code == 8
    assert "pid" not in ran.error
    assert ran.error["message"].startswith("the clone's lock is held by another process; nothing changed; ")
    assert "another process holds the clone's lock" in found
    assert "kill" not in found


def test_a_bug_is_exit_5_and_leaves_its_traceback_in_a_file(
    full: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReadStore, "rows", lambda *_, **__: 1 / 0)
    ran = kt("list", "--json", cwd=full.folder / "alice")
    assert ran.code == 5
    errorbook.hold(ran, full.folder)
    file = Path(ran.error["traceback"])
    assert "ZeroDivisionError" in file.read_text()
    file.unlink()


def test_the_table_above_holds_every_code_of_the_closed_list() -> None:
    def below(kind: type[errors.KtError]) -> set[type[errors.KtError]]:
        return {kind, *(found for child in kind.__subclasses__() for found in below(child))}

    codes = {kind.code for kind in below(errors.KtError)}
    told = {code for group in EXITS.values() for code in group}
    # Two that only group others, one that nothing should bring about, one of a terminal (test_cli_life)
    # and of ^C (test_faults), and those in test_cli_governing, test_forgeries, test_feed and test_report.
    elsewhere = {"wait_timeout", "not_resolved", "already_reopened", "nothing_to_restore", "illegal_record"}
    elsewhere |= {"shallow_clone", "not_in_history", "delivery_failed", "missing_extra"}
    # In test_releases.
    elsewhere |= {"bad_amendment", "amended", "release_needed", "release_expired", "other_action"}
    elsewhere |= {"already_released", "not_released", "not_releasing", "other_receipt"}
    assert codes - told <= {"error", "conflict", "bug", "interrupted", *elsewhere}
    assert set(errorbook.told()) == codes - {"error", "conflict"}
    assert told == {*REFUSED, *(trouble.__name__ for trouble in TROUBLES)}
    assert told <= codes


# --- output that goes nowhere -----------------------------------------------------------------------


def test_a_reader_that_stops_early_ends_a_long_list_quietly(lab: Lab) -> None:
    lab.escalations(*(f"n{number:03}" for number in range(500)), summary="x" * 200)
    done = shell("KT list --limit 0 | head -n 1", lab.clone("alice"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("esc_n000\t")


def test_a_list_that_cannot_be_written_is_one_clear_line_and_no_bug(kept: Lab) -> None:
    for unbuffered in ("", "1"):
        done = shell("KT list > /dev/full", kept.folder / "alice", PYTHONUNBUFFERED=unbuffered)
        said = "kt: the output could not be written: No space left on device; .*\n"
        assert done.returncode == 2
        assert re.fullmatch(said, done.stderr)


READS = ("list", "verify --json", "doctor", "events", "export")


@pytest.mark.parametrize("command", READS)
def test_who_only_reads_is_told_nothing_about_changes(kept: Lab, command: str) -> None:
    done = shell(f"KT {command} > /dev/full", kept.folder / "alice")
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "change" not in done.stderr


def test_what_fails_is_told_to_who_reads_and_with_a_word_on_changes_to_who_writes(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("remote", "set-url", "origin", str(lab.folder / "gone.git"), cwd=clone)
    said = "; check the network and your access, then run the command again\n"
    reads, writes = kt("list", "--fetch", cwd=clone), kt("claim", "--next", cwd=clone)
    assert (reads.code, writes.code) == (4, 4)
    assert reads.err.endswith(said)
    assert writes.err.endswith(said)
    assert "nothing changed" in writes.err
    assert "nothing changed" not in reads.err
    assert "nothing changed" in kt("claim", "--next", "--json", cwd=clone).error["message"]
    assert "changed" not in kt("list", "--fetch", "--json", cwd=clone).error["message"]


@pytest.mark.parametrize("where", ["| true", ">&-"])
def test_a_list_that_nobody_reads_ends_quietly(kept: Lab, where: str) -> None:
    done = shell(f"KT list {where}", kept.folder / "alice")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_output_that_knows_no_umlauts_is_no_bug(kept: Lab) -> None:
    done = shell("KT list", kept.folder / "alice", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "esc_job" in done.stdout
    assert "ben ist gut" in done.stdout


def test_ids_on_stdin_that_are_not_utf_8_are_bad_input(kept: Lab) -> None:
    before = kept.tip()
    done = shell(
        r"printf 'esc_\xff' | KT claim --id -", kept.folder / "alice", PYTHONIOENCODING="utf-8:strict"
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert kept.tip() == before


# --- terminals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)], ids=str
)
def test_a_terminal_gets_a_table_and_colour_unless_it_is_not_wanted(
    kept: Lab, env: dict[str, str], coloured: bool
) -> None:
    code, shown = at_a_terminal("list", cwd=kept.folder / "alice", env=env)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert code == 0
    assert (CSI in shown) == coloured
    assert "\x1b" not in plain
    assert "\t" not in plain
    assert [line.split()[0] for line in plain.splitlines()] == ["ID", "esc_top", "esc_job"]
    assert {plain.splitlines()[row].index(word) for row, word in enumerate(("SEV", "cri", "med"))} == {9}


def test_without_a_terminal_nothing_is_coloured_and_escapes_are_made_visible(kept: Lab) -> None:
    for args in (
        ["list"],
        ["list", "--json"],
        ["get", "--id", "esc_top"],
        ["get", "--id", "esc_top", "--json"],
    ):
        ran = kt(*args, cwd=kept.folder / "alice")
        assert ran.code == 0, args
        assert "\x1b" not in ran.out, args
        assert "\u202e" not in ran.out, args
    assert r"\x1b[31mred\u202e" in kt("get", "--id", "esc_top", cwd=kept.folder / "alice").out


def test_a_terminal_never_gets_what_a_record_would_send_it(kept: Lab) -> None:
    code, shown = at_a_terminal("get", "--id", "esc_top", cwd=kept.folder / "alice")
    assert code == 0
    assert r"\x1b[31mred\u202e" in shown
    assert "\x1b[31mred" not in shown
    assert "\u202e" not in shown


def test_a_table_fits_its_terminal_where_the_ids_do(lab: Lab) -> None:
    lab.escalations("job", summary="word " * 30 + "end")
    clone = lab.clone("alice")
    for columns in ("20", "90", "300"):
        _, shown = at_a_terminal("list", cwd=clone, env={"COLUMNS": columns, "NO_COLOR": "1"})
        assert ("end" in shown) == (columns == "300")
        assert max(map(len, shown.splitlines())) <= max(int(columns), 90)


# --- what is said, and what to do then ----------------------------------------------------------------


def test_a_request_id_where_an_escalation_id_belongs_is_told_what_it_would_be(kept: Lab) -> None:
    for args in (["claim"], ["get"], ["log"], ["note", "--text", "x"]):
        ran = kt(*args, "--id", "job", cwd=kept.folder / "alice")
        assert (ran.code, ran.err) == (2, "kt: 'job' is not a valid escalation id; did you mean esc_job?\n")
    assert "did you mean" not in kt("claim", "--id", "Job", cwd=kept.folder / "alice").err


@pytest.mark.parametrize(
    ("kind", "name", "text", "problem"),
    [
        ("tool call", "refund", "{}", "kind: must be letters, digits, _ and -"),
        ("tool.call", "", "{}", "name: must not be empty"),
        ("tool.call", "refund", "{", "input.json: is not JSON"),
        ("tool.call", "refund", '{"a": NaN}', "input.json: NaN is not a number that JSON has"),
    ],
)
def test_a_digest_that_no_record_could_have_is_refused(
    tmp_path: Path, kind: str, name: str, text: str, problem: str
) -> None:
    (tmp_path / "input.json").write_text(text)
    ran = kt("digest", "--kind", kind, "--name", name, "input.json", cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"kt: {problem}")


def test_a_store_that_nobody_has_made_is_to_be_made(tmp_path: Path) -> None:
    git("init", "--quiet", "--bare", "empty.git", cwd=tmp_path)
    git("clone", "--quiet", "empty.git", "alice", cwd=tmp_path)
    ran = kt("raise", "--reason-code", "a.b", cwd=tmp_path / "alice")
    assert ran.code == 2
    assert "if nobody has made the store yet, run `kt escalation init`" in ran.err


def test_where_there_is_no_store_nobody_is_asked_who_they_are(tmp_path: Path) -> None:
    git("init", "--quiet", str(tmp_path), cwd=tmp_path)
    for commits in (0, 1):
        ran = kt("claim", "--next", "--json", cwd=tmp_path)
        assert (ran.code, ran.error["code"]) == (2, "not_a_store"), commits
        commit_here(tmp_path, f"file-{commits}")


def test_a_shallow_clone_lacks_what_a_command_needs_of_history(lab: Lab) -> None:
    lab.put({"queue/esc_job.yaml": open_text("job"), resolved_path("done"): resolved_text("done")})
    clone = lab.clone("alice", "--depth", "1")
    said = (
        " is a shallow clone, which lacks the history that this needs; get it with `git fetch --unshallow`\n"
    )
    for args in (
        ["check"],
        ["verify"],
        ["evidence", "--id", "esc_job", "-o", "x.tar"],
        ["wait", "--id", "esc_done"],
        ["release", "--id", "esc_done"],
        ["log"],
    ):
        ran = kt(*args, cwd=clone)
        assert ran.code == 2, ran
        assert ran.err.endswith(said), ran


def test_commits_that_the_remote_has_not_are_found(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("bob")
    (clone / "queue/esc_job.yaml").write_text("mine")
    git("add", "queue", cwd=clone)
    git("commit", "--quiet", "-m", "mine", cwd=clone)
    found = [f for f in kt("doctor", "--json", cwd=clone).json["findings"] if f["check"] == "branch"]
    assert "main here has 1 commit to the queue that origin does not have" in found[0]["detail"]
    git("reset", "--quiet", "--keep", "origin/main", cwd=clone)
    assert kt("doctor", cwd=clone).code == 0


def test_one_of_a_thing_is_told_as_one(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("config", "--unset", "user.email", cwd=clone)
    count = len(kt("doctor", "--json", cwd=clone).json["findings"])
    assert kt("doctor", cwd=clone).err == f"kt: 1 of {count} checks failed\n"
    git("config", "kt.remote", "gone", cwd=clone)
    assert kt("doctor", cwd=clone).err == f"kt: 2 of {count - 4} checks failed\n"
    assert (
        "kt: 1 escalation (1 open, 0 resolved), 0 unreadable files, "
        in kt("export", "-o", "x", cwd=lab.seed).err
    )
    assert str(errors.RetriesExhausted(attempts=1, seconds=2)).startswith(
        "others changed the store first, 1 time within 2 s; nothing changed;"
    )
    assert "2 times within" in str(errors.RetriesExhausted(attempts=2, seconds=2))


def test_a_clone_that_cannot_be_written_is_found(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    (clone / ".git/kt").symlink_to(unwritable(lab.folder))
    ran = kt("claim", "--id", "esc_job", "--json", cwd=clone)
    assert (ran.code, ran.error["code"]) == (2, "git_failed")
    words = (
        re.escape(str(clone / ".git/kt"))
        + ": (Permission denied|Operation not permitted|Read-only file system)"
    )
    assert re.fullmatch(
        rf"the clone's lock cannot be taken: {words}; nothing was changed; "
        "let this user write there, or use a clone of your own",
        ran.error["message"],
    )
    assert "nothing was changed" not in kt("list", "--fetch", cwd=clone).err
    [lock] = [f for f in kt("doctor", "--json", cwd=clone).json["findings"] if f["check"] == "lock"]
    assert lock["ok"] is False
    assert re.search(words, lock["detail"])
    assert "clone of your own" in lock["remedy"]
    assert kt("list", cwd=clone).code == 0


# --- programs, repositories and completion ----------------------------------------------------------


def test_kt_escalation_is_kt_with_the_group_and_so_is_the_module(kept: Lab) -> None:
    clone = kept.folder / "alice"
    outputs = {
        program(*command, "list", cwd=clone).stdout
        for command in (
            [str(SCRIPTS / "kt"), "escalation"],
            [str(SCRIPTS / "kt-escalation")],
            [*KT, "escalation"],
        )
    }
    assert len(outputs) == 1
    assert "esc_job" in outputs.pop()


@pytest.mark.parametrize("name", ["kt", "kt-escalation"])
def test_the_version_is_the_packages(kept: Lab, name: str) -> None:
    done = program(str(SCRIPTS / name), "--version", cwd=kept.folder)
    assert (done.returncode, done.stdout) == (0, f"kt, version {__version__}\n")


@pytest.mark.parametrize(
    ("name", "kind"), [("kt", "bash"), ("kt", "zsh"), ("kt", "fish"), ("kt-escalation", "bash")]
)
def test_completion_scripts_are_produced(kept: Lab, name: str, kind: str) -> None:
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    done = program(str(SCRIPTS / name), cwd=kept.folder, env={variable: f"{kind}_source"})
    assert done.returncode == 0
    assert variable in done.stdout
    assert f"{kind}_complete" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("kt escalation cl", ["plain,claim"]),
        ("kt escalation claim --ne", ["plain,--next"]),
        ("kt escalation claim esc_", ["plain,esc_job"]),
        ("kt escalation get esc_d", ["plain,esc_done"]),
        ("kt escalation reopen esc_", ["plain,esc_done"]),
        ("kt policy sc", ["plain,schema"]),
        ("kt policy schema ro", ["plain,roster"]),
    ],
)
def test_what_is_typed_is_completed_as_bash_asks(lab: Lab, words: str, offered: list[str]) -> None:
    lab.put({"queue/esc_job.yaml": open_text("job"), resolved_path("done"): resolved_text("done")})
    count = str(len(words.split()) - 1)
    env = {"_KT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
    assert program(str(SCRIPTS / "kt"), cwd=lab.clone("alice"), env=env).stdout.splitlines() == offered


def test_the_repository_is_that_of_c_then_kt_repo_then_the_current_folder(kept: Lab, lab: Lab) -> None:
    lab.escalations("other")
    here, there = kept.folder / "alice", lab.clone("alice")
    (here / "sub").mkdir(exist_ok=True)

    def listed(*args: str, cwd: Path = here, **env: str) -> list[str]:
        return ids(kt(*args, "--json", cwd=cwd, env=env).json["escalations"])

    assert listed("list") == listed("list", cwd=here / "sub") == ["esc_top", "esc_job"]
    assert listed("list", KT_REPO=str(there)) == ["esc_other"]
    assert listed("list", "-C", str(there)) == listed("-C", str(there), "list") == ["esc_other"]
    assert listed("list", "-C", str(here), cwd=there, KT_REPO=str(there)) == ["esc_top", "esc_job"]


# --- a server's hook, and its branch ------------------------------------------------------------------


@pytest.fixture
def master(tmp_path: Path) -> Path:
    """A server's repository whose HEAD names master, a branch that it has not."""
    git("init", "--bare", "--quiet", "--initial-branch=master", "server.git", cwd=tmp_path)
    return tmp_path / "server.git"


def hooked(server: Path, *args: str) -> Ran:
    return kt("hook", "install", "--server", str(server), *args, cwd=server.parent)


def on_main(server: Path, name: str = "boss") -> Path:
    """A repository with a branch called main, of which the server is the remote."""
    path = server.parent / name
    git("init", "--quiet", "--initial-branch=main", name, cwd=server.parent)
    git("remote", "add", "origin", str(server), cwd=path)
    git("config", "user.name", name.title(), cwd=path)
    git("config", "user.email", f"{name}@example.com", cwd=path)
    return path


def pushed(clone: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return program("git", "push", "origin", *args, cwd=clone)


def test_a_hook_that_would_guard_another_branch_says_so_and_lets_no_store_in(master: Path) -> None:
    cure = f"git -C {master} symbolic-ref HEAD refs/heads/main"
    ran = hooked(master)
    assert ran.code == 0
    assert ran.out.endswith("it guards the branch master\n")
    assert "there is no branch master yet" in ran.err
    assert f"run `{cure}`" in ran.err
    boss = on_main(master)
    refused = kt("init", "--json", cwd=boss)
    assert refused.code == 4
    assert git("for-each-ref", cwd=master) == ""
    assert (
        f"main holds a store, but this hook guards master, which is not a branch there; on the server run `{cure}`"
        in (refused.error["message"])
    )
    assert refused.error["message"].endswith("nothing changed; the administrator of the server can fix that")
    # Whatever holds no store is nobody's business here, and neither is a proposal.
    commit_here(boss, "README.md")
    assert pushed(boss, "main:refs/heads/topic").returncode == 0
    assert program(*cure.split(), cwd=master).returncode == 0
    # The topic might be the store's branch, for all that can be seen from here.
    refused = kt("init", cwd=boss)
    assert refused.code == 2
    assert "for a new store on main run `git config kt.branch main` first" in refused.err
    git("config", "kt.branch", "main", cwd=boss)
    done = kt("init", "--json", cwd=boss)
    assert done.code == 0, done.err
    assert git("rev-parse", "main", cwd=master) == done.json["commit"], done.err


@pytest.mark.parametrize("what", ["changed", "rewritten", "deleted"])
def test_a_store_that_is_there_is_not_touched_while_the_hook_guards_another_branch(
    master: Path, what: str
) -> None:
    boss = on_main(master)
    assert kt("init", cwd=boss).code == 0
    assert "if the store is to be on main, run `git -C " in hooked(master).err
    commit_here(boss, "README.md")
    args = {"changed": ["main"], "rewritten": ["--force", "HEAD^{tree}"], "deleted": ["--delete", "main"]}
    if what == "rewritten":
        git("checkout", "--quiet", "--orphan", "else", cwd=boss)
        git("rm", "--quiet", "-r", "--cached", ".", cwd=boss)
        git("commit", "--quiet", "--allow-empty", "-m", "nothing", cwd=boss)
        args["rewritten"] = ["--force", "else:main"]
    before = git("rev-parse", "main", cwd=master)
    done = pushed(boss, *args[what])
    assert done.returncode == 1
    assert "main holds a store, but this hook guards master" in done.stderr
    assert git("rev-parse", "main", cwd=master) == before
    assert pushed(boss, "HEAD:refs/heads/kt/claim/esc_x").returncode == 0
    # The branch that is guarded may come along with another.
    assert pushed(boss, "main:refs/heads/kt", "main:refs/heads/master").returncode == 1
    assert pushed(boss, "main:refs/heads/topic", "main:refs/heads/master").returncode == 0


def test_a_hook_guards_the_branch_that_it_is_told(master: Path) -> None:
    ran = hooked(master, "--branch", "main", "--json")
    assert ran.code == 0
    assert (ran.json["branch"], ran.json["root"]) == ("main", "")
    assert git("config", "kt.branch", cwd=master) == "main"
    boss = on_main(master)
    made = kt("init", cwd=boss)
    assert made.code == 0
    assert "the HEAD of origin names no branch that exists" in made.err
    assert pushed(boss, "--delete", "main").returncode == 1
    assert "there is no branch" not in hooked(master).err
    assert "guards the branch main\n" in hooked(master).out
    # One that it is told wrong is told how to tell it right.
    assert hooked(master, "--branch", "trunk").code == 0
    commit_here(boss, "README.md")
    assert f"run `git -C {master} config kt.branch main`" in pushed(boss, "main").stderr


def test_who_is_refused_by_the_hook_for_no_signature_is_told_how_to_sign(signed: Forge) -> None:
    server = serve(signed)
    alice = server.parent / "alice"
    git("clone", "--quiet", str(server), str(alice), cwd=server.parent)
    who = identity("alice")
    ran = kt("claim", "--id", "esc_one", "--json", cwd=alice, env=who)
    assert ran.code == 4
    assert ": unsigned: " in ran.error["message"]
    assert ran.error["message"].endswith(
        "; nothing changed; sign what you do: `git config gpg.format ssh`, "
        "`git config user.signingKey ~/.ssh/id_ed25519.pub`, `git config commit.gpgsign true`; see docs/signatures.md"
    )
    for key, value in (
        ("gpg.format", "ssh"),
        ("user.signingKey", key_of(signed, "alice")),
        ("commit.gpgsign", 1),
    ):
        git("config", key, str(value), cwd=alice)
    # Another's words are another's rule.
    told = kt("claim", "--id", "esc_one", cwd=alice, env=identity("bob")).err
    assert "kt's hook on the server refused it" in told
    assert "protected" not in told
    assert "pull request" not in told
    assert kt("claim", "--id", "esc_one", cwd=alice, env=who).code == 0


@pytest.mark.parametrize(
    "args",
    [
        *(["--branch", ""], ["--branch", "a b"], ["--branch", "HEAD"]),
        *(["--root", "../up"], ["--root", "a//b"], ["--root", ".git"]),
        *(
            ["--pusher-from", "a b;rm"],
            ["--pusher-from", ""],
            ["--pusher-from", "1A"],
            ["--pusher-from", "$WHO"],
        ),
    ],
    ids=" ".join,
)
def test_a_hook_that_could_not_work_is_not_installed(master: Path, args: list[str]) -> None:
    before = (master / "config").read_text()
    ran = hooked(master, *args, "--json")
    assert (ran.code, ran.error["code"], ran.out) == (2, "bad_input", "")
    assert not (master / "hooks/pre-receive").exists()
    assert (master / "config").read_text() == before
    assert hooked(master, "--branch", "main", "--root", "review", "--pusher-from", "REMOTE_USER").code == 0


def test_a_hook_that_looks_for_the_store_in_the_wrong_folder_says_where_it_is(lab: Lab) -> None:
    files = {"review/policies/p.yaml": "{}\n", "review/queue/esc_job.yaml": record_text("job")}
    git("rm", "--quiet", "-r", "policies", cwd=lab.seed)
    git("commit", "--quiet", "-m", "no store at the top", cwd=lab.seed)
    lab.put(files, "a store in a folder")
    cure = f"git -C {lab.remote} config kt.root review"
    assert f"but there is one in review; on the server run `{cure}`" in hooked(lab.remote).err
    alice = lab.clone("alice")
    git("config", "kt.root", "review", cwd=alice)
    refused = kt("claim", "--id", "esc_job", cwd=alice)
    assert refused.code == 4
    assert f"on the server run `{cure}`; nothing changed; the administrator of" in refused.err
    told = hooked(lab.remote, "--root", "review")
    assert "there is no store" not in told.err
    assert told.out.endswith("it guards the branch main, the store in review\n")
    assert kt("claim", "--id", "esc_job", cwd=alice).code == 0
    git("config", "kt.root", "..", cwd=lab.remote)
    refused = kt("unclaim", "--id", "esc_job", cwd=alice)
    assert refused.code == 4
    assert "on the server: kt.root is '..'" in refused.err


def test_a_project_that_gets_a_store_later_may_be_pushed_before(tmp_path: Path) -> None:
    git("init", "--bare", "--quiet", "server.git", cwd=tmp_path)
    server = tmp_path / "server.git"
    assert hooked(server).code == 0
    boss = on_main(server)
    for name in ("one", "two"):
        commit_here(boss, name)
        assert pushed(boss, "main").returncode == 0
    assert kt("init", cwd=boss).code == 0
    git("rm", "--quiet", "-r", "policies", cwd=boss)
    (boss / "three").write_text("x")
    git("add", "three", cwd=boss)
    git("commit", "--quiet", "-m", "no store any more", cwd=boss)
    before = git("rev-parse", "main", cwd=server)
    (boss / "queue").mkdir(exist_ok=True)
    (boss / "queue/esc_x.yaml").write_text("x\n")
    git("add", "queue", cwd=boss)
    git("commit", "--quiet", "-m", "rubbish", cwd=boss)
    assert pushed(boss, "main").returncode == 1
    assert git("rev-parse", "main", cwd=server) == before


#: Each fits a push to refs/heads/main, or to what a name may be shortened to, as well as main itself.
ALIKE = ("refs/heads/refs/heads/main", "refs/tags/refs/heads/main", "refs/heads/heads/main", "refs/tags/main")


def test_a_branch_that_git_takes_for_the_stores_stops_nobody_and_is_found(lab: Lab) -> None:
    lab.escalations("job")
    alice = lab.clone("alice")
    for ref in ALIKE:
        git("update-ref", ref, "main", cwd=lab.remote)
    assert "matches more than one" in pushed(alice, "main").stderr
    before = git("for-each-ref", cwd=alice)
    assert kt("claim", "--id", "esc_job", cwd=alice).code == 0
    assert git("log", "-1", "--format=%s", "refs/heads/main", cwd=lab.remote) == "kt: claim esc_job"
    assert before.replace(before[:40], git("rev-parse", "HEAD", cwd=alice)) == git("for-each-ref", cwd=alice)
    # Where there is the other alone, git would push to that.
    git("update-ref", "refs/heads/refs/heads/mine", "refs/heads/main", cwd=lab.remote)
    note = kt("note", "--id", "esc_job", "--text", "x", "--branch", "mine", "--json", cwd=alice)
    assert note.code == 0, note.err
    assert git("rev-parse", "refs/heads/mine", cwd=lab.remote) == note.json["commit"], note.err
    findings = kt("doctor", "--json", cwd=alice).json["findings"]
    bad = [finding["remedy"] for finding in findings if not finding["ok"]]
    assert bad == [f"git push origin --delete {ref}" for ref in ALIKE[:2]]
    for remedy in bad:
        assert program(*remedy.split(), cwd=alice).returncode == 0
    assert kt("doctor", cwd=alice).code == 0
    assert pushed(alice, "HEAD:refs/heads/main").returncode == 0


def test_the_first_push_goes_to_no_branch_of_a_name_alike(tmp_path: Path) -> None:
    git("init", "--bare", "--quiet", "server.git", cwd=tmp_path)
    boss = on_main(tmp_path / "server.git")
    commit_here(boss, "README.md")
    assert pushed(boss, f"main:{ALIKE[0]}").returncode == 0
    made = kt("init", "--json", cwd=boss)
    assert made.code == 0
    assert git("rev-parse", "main", cwd=tmp_path / "server.git") == made.json["commit"]


@pytest.mark.parametrize("ref", ALIKE[:2])
def test_the_hook_takes_in_no_name_that_stops_every_push_and_lets_it_go(lab: Lab, ref: str) -> None:
    assert hooked(lab.remote).code == 0
    alice = lab.clone("alice")
    refused = pushed(alice, f"HEAD:{ref}")
    assert refused.returncode == 1
    assert f"kt: {ref} could be taken for the store branch" in refused.stderr
    git("update-ref", ref, "main", cwd=lab.remote)
    assert pushed(alice, "--delete", ref).returncode == 0


def test_a_remote_whose_head_names_no_branch_is_told_with_the_remedy(master: Path) -> None:
    boss = on_main(master)
    before_push = kt("claim", "--next", cwd=boss)
    assert before_push.code == 2
    made = kt("init", cwd=boss)
    assert made.code == 0
    assert len(made.err.splitlines()) == 1
    here, there = "git remote set-head origin main", "git symbolic-ref HEAD refs/heads/main"
    assert f"run `{there}` on the server, or in each clone `{here}`" in made.err
    for args in (["claim", "--next"], ["check"], ["init"]):
        ran = kt(*args, "--json", cwd=boss)
        assert (ran.code, ran.error["code"], ran.error["branches"]) == (2, "no_store_branch", ["main"])
        assert (
            f"if the store is on main, run `{there}` on the server, or here `{here}`" in ran.error["message"]
        )
    other = on_main(master, "other")
    assert kt("init", cwd=other).code == 2, "not a second store"
    found = [f for f in kt("doctor", "--json", cwd=boss).json["findings"] if not f["ok"]]
    assert len(found) == 1
    assert here in found[0]["remedy"]
    assert there in found[0]["remedy"]
    found = [f for f in kt("doctor", "--json", cwd=master).json["findings"] if f["check"] == "branch"]
    assert found[0]["ok"] is False
    assert found[0]["remedy"] == f"git -C {master} symbolic-ref HEAD refs/heads/main"
    assert program(*here.split(), cwd=boss).returncode == 0
    assert kt("claim", "--next", cwd=boss).code == 7
    assert kt("doctor", cwd=boss).code == 1, "others are still lost"
    assert program(*there.split(), cwd=master).returncode == 0
    assert kt("doctor", cwd=boss).code == 0


def test_a_remote_that_calls_its_branch_otherwise_by_now_is_found(lab: Lab) -> None:
    alice = lab.clone("alice")
    assert kt("doctor", cwd=alice).code == 0
    git("branch", "--move", "main", "trunk", cwd=lab.remote)
    found = [f for f in kt("doctor", "--json", cwd=alice).json["findings"] if not f["ok"]]
    assert [f["remedy"] for f in found] == ["git remote set-head origin --auto"]
    git("fetch", "--quiet", cwd=alice)
    assert program(*found[0]["remedy"].split(), cwd=alice).returncode == 0
    assert kt("doctor", cwd=alice).code == 0


# --- init -------------------------------------------------------------------------------------------


def init(*args: str, cwd: Path, env: dict[str, str] | None = ME) -> Ran:
    ran = kt("init", *args, cwd=cwd, env=env)
    # A process of git's that was left behind is noticed here, and not in whichever test comes later.
    gc.collect()
    return ran


def subjects(where: Path) -> list[str]:
    return git("log", "--format=%s", cwd=where).splitlines()


def commit_here(where: Path, *names: str) -> None:
    for name in names:
        (where / name).write_text(f"{name}\n")
    git("add", *names, cwd=where)
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "mine", cwd=where)


def test_init_makes_a_store_that_works_out_of_a_fresh_folder(tmp_path: Path) -> None:
    ran = init("deep/store", "--json", cwd=tmp_path)
    store = tmp_path / "deep/store"
    assert ran.code == 0, ran.err
    assert ran.json["changed"] is True, ran.err
    assert ran.json["commit"] == git("rev-parse", "HEAD", cwd=store)
    assert subjects(store) == ["kt: init the store"]
    assert git("status", "--porcelain", cwd=store) == ""
    files = git("ls-files", cwd=store).splitlines()
    assert "policies/policy-config.yaml" in files
    assert not [name for name in files if name.endswith("esc_")]
    assert git("log", "-1", "--format=%an <%ae> %cn", cwd=store) == "Alice <alice@example.com> Alice"
    for args in (["raise", "--request-id", "r", "--reason-code", "a.b"], ["claim", "--next"], ["doctor"]):
        assert kt(*args, cwd=store, env=ME).code == 0


def test_init_again_changes_nothing(tmp_path: Path) -> None:
    assert init("store", cwd=tmp_path).code == 0
    before = state(tmp_path / "store")
    again = init("store", "--json", cwd=tmp_path)
    assert again.code == 0
    assert (again.json["changed"], again.json["commit"]) == (False, None)
    assert "is a store already" in init(cwd=tmp_path / "store").out
    assert state(tmp_path / "store") == before


def test_init_adds_one_commit_to_a_repository_and_leaves_its_checkout_alone(tmp_path: Path) -> None:
    git("init", "--quiet", str(tmp_path), cwd=tmp_path)
    commit_here(tmp_path, "README.md", "code.py")
    (tmp_path / "README.md").write_text("changed\n")
    (tmp_path / "staged.txt").write_text("staged\n")
    git("add", "staged.txt", cwd=tmp_path)
    (tmp_path / "untracked.txt").write_text("untracked\n")
    ran = init(cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert subjects(tmp_path) == ["kt: init the store", "mine"], ran.err
    assert git("status", "--porcelain", cwd=tmp_path).splitlines() == [
        " M README.md",
        "A  staged.txt",
        "?? untracked.txt",
    ]
    assert git("show", "--format=", "--name-only", "HEAD", cwd=tmp_path).startswith("policies/")


def test_init_of_a_clone_of_an_empty_remote_lands_there(tmp_path: Path) -> None:
    git("init", "--bare", "--quiet", "remote.git", cwd=tmp_path)
    git("clone", "--quiet", "remote.git", "clone", cwd=tmp_path)
    ran = init("clone", "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert git("rev-parse", "main", cwd=tmp_path / "remote.git") == ran.json["commit"]
    assert subjects(tmp_path / "clone") == ["kt: init the store"]
    assert (
        git("symbolic-ref", "refs/remotes/origin/HEAD", cwd=tmp_path / "clone") == "refs/remotes/origin/main"
    )
    checked = kt("check", cwd=tmp_path / "clone")
    assert (checked.code, ran.err) == (0, ""), checked.err
    assert git("status", "--porcelain", cwd=tmp_path / "clone") == ""
    raised = kt("raise", "--reason-code", "a.b", cwd=tmp_path / "clone", env=ME)
    assert raised.code == 0, raised.err


def test_init_of_a_clone_whose_remote_is_a_store_changes_nothing(lab: Lab) -> None:
    before = lab.tip()
    ran = init("--json", cwd=lab.clone("alice"))
    assert ran.code == 0
    assert ran.json["changed"] is False
    assert lab.tip() == before


def test_init_below_the_top_makes_that_folder_the_stores_root(tmp_path: Path) -> None:
    git("init", "--quiet", str(tmp_path), cwd=tmp_path)
    commit_here(tmp_path, "README.md")
    ran = init("ops/review", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert git("config", "kt.root", cwd=tmp_path) == "ops/review"
    assert "ops/review/policies/policy-config.yaml" in git("ls-files", cwd=tmp_path).splitlines()
    assert kt("raise", "--request-id", "r", "--reason-code", "a.b", cwd=tmp_path, env=ME).code == 0
    assert "ops/review/queue/esc_r.yaml" in git("ls-files", cwd=tmp_path).splitlines()
    before = state(tmp_path)
    assert "is a store already" in init("ops/review", cwd=tmp_path).out
    other = init("elsewhere", cwd=tmp_path)
    assert other.code == 2
    way_out = f"run `git -C {tmp_path} config kt.root elsewhere` first"
    assert f"has its store in ops/review; for another one in elsewhere, {way_out}" in other.err
    assert state(tmp_path) == before


def test_init_in_a_folder_of_a_store_makes_no_second_one(lab: Lab) -> None:
    clone = lab.clone("alice")
    assert init(cwd=clone).code == 0
    lab.escalations("job")
    git("pull", "--quiet", cwd=clone)
    before, tip = state(clone), lab.tip()
    ran = init("sub/x y", cwd=clone)
    assert ran.code == 2
    assert (
        "kt takes queue/ and policies/ in the top folder of this repository for a store; for another one in sub/x y, run"
        in ran.err
    )
    [_, way_out, _] = ran.err.split("`")
    assert init("its top folder", cwd=clone).code == 2
    assert "no store can be in 'a\\nb'" in init("a\nb", cwd=clone).err
    assert not [name for name in ("sub", "its top folder", "a\nb") if (clone / name).exists()]
    assert (state(clone), lab.tip()) == (before, tip)
    subprocess.run(shlex.split(way_out), cwd=lab.folder, check=True)
    assert init("sub/x y", cwd=clone).code == 0
    assert kt("list", cwd=clone).code == 0


def test_init_takes_no_script_called_queue_for_a_store(tmp_path: Path) -> None:
    git("init", "--quiet", str(tmp_path), cwd=tmp_path)
    commit_here(tmp_path, "queue")
    (tmp_path / "policies").mkdir()
    commit_here(tmp_path, "policies/access.yaml")
    ran = init("-C", str(tmp_path), "ops", cwd=tmp_path.parent)
    assert ran.code == 0, ran.err
    assert kt("list", cwd=tmp_path, env=ME).code == 0


def test_init_says_that_a_folder_of_code_called_queue_is_a_store_to_kt(tmp_path: Path) -> None:
    git("init", "--quiet", str(tmp_path), cwd=tmp_path)
    (tmp_path / "queue").mkdir()
    commit_here(tmp_path, "queue/worker.py")
    ran = init("./-ops", cwd=tmp_path)
    assert ran.code == 2
    assert "kt takes queue/ and policies/ in the top folder of this repository for a store" in ran.err
    subprocess.run(shlex.split(ran.err.split("`")[1]), cwd=tmp_path.parent, check=True)
    assert init("./-ops", cwd=tmp_path).code == 0
    assert kt("list", cwd=tmp_path, env=ME).code == 0
    git("config", "--unset", "kt.root", cwd=tmp_path)
    assert init("./-ops", cwd=tmp_path).code == 0, "one that is there is only found again"
    assert git("config", "kt.root", cwd=tmp_path) == "-ops"


@pytest.mark.parametrize("folder", ["", "ops"])
def test_init_in_a_clone_that_is_behind_makes_no_second_store(tmp_path: Path, folder: str) -> None:
    git("init", "--quiet", "--bare", "-b", "main", "remote.git", cwd=tmp_path)
    one, other = tmp_path / "one", tmp_path / "other"
    for clone in (one, other):
        git("clone", "--quiet", "remote.git", clone.name, cwd=tmp_path)
    assert init(*filter(None, [folder]), cwd=one).code == 0
    if folder:
        # Where the store is, the repository says.
        (one / ".kt.yaml").write_text("root: ops\n")
        git("add", ".kt.yaml", cwd=one)
        git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "root", cwd=one)
        git("push", "--quiet", cwd=one)
    refs = git("for-each-ref", cwd=tmp_path / "remote.git")
    ran = init("sub", cwd=other)
    assert (ran.code, git("for-each-ref", cwd=tmp_path / "remote.git")) == (2, refs), ran.err
    assert ("has its store in ops" if folder else "in the top folder of this repository") in ran.err
    assert "kt.root" not in git("config", "--list", cwd=other)
    assert not (other / "sub").exists()


def test_init_finds_its_folder_from_the_one_that_the_option_names(tmp_path: Path) -> None:
    for args, env, made in (
        (("-C", "at", "one"), {}, "at/one"),
        (("-C", "at"), {}, "at"),
        (("two",), {"KT_REPO": str(tmp_path / "at")}, "two"),
    ):
        ran = init(*args, cwd=tmp_path, env={**ME, **env})
        assert ran.code == 0, ran.err
        assert f"made a store in {made} " in ran.out
        assert (tmp_path / made / "queue").is_dir()


def test_init_in_a_bare_repository_makes_the_store_that_others_clone(tmp_path: Path) -> None:
    git("init", "--bare", "--quiet", "bare.git", cwd=tmp_path)
    assert init("bare.git", cwd=tmp_path).code == 0
    files = git("ls-tree", "-r", "--name-only", "HEAD", cwd=tmp_path / "bare.git").splitlines()
    assert files == ["policies/policy-config.yaml", "queue/.gitkeep"]
    assert kt("list", cwd=tmp_path / "bare.git").code == 0


def test_init_without_an_identity_writes_nothing(tmp_path: Path) -> None:
    git("init", "--quiet", "there", cwd=tmp_path)
    for where in ("fresh", "there/sub"):
        ran = init(where, "--json", cwd=tmp_path, env=None)
        assert ran.code == 2
        assert ran.error["code"] == "no_identity"
        assert "git config user.email" in ran.error["message"]
    assert "kt.root" not in git("config", "--list", cwd=tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert [path.name for path in (tmp_path / "there").iterdir()] == [".git"]


def test_init_where_no_folder_can_be_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x\n")
    for name in ("file", "file/below", "x" * 300):
        ran = init(name, cwd=tmp_path)
        assert ran.code == 2, ran.err
        assert len(ran.err.splitlines()) == 1, ran.err


def test_init_of_a_clone_with_a_remote_that_is_gone_changes_nothing(lab: Lab) -> None:
    clone = lab.clone("alice")
    git("remote", "set-url", "origin", str(lab.folder / "gone.git"), cwd=clone)
    before = state(clone)
    ran = init("--json", cwd=clone)
    assert ran.code == 4
    assert ran.error["code"] == "remote_unreachable"
    assert state(clone) == before


def test_without_git_one_line_says_so(lab: Lab) -> None:
    clone = lab.clone("alice")
    nothing = lab.folder / "nothing"
    nothing.mkdir()
    for command in (["list"], ["claim", "--next"], ["init", str(nothing)]):
        done = kt_process(*command, cwd=clone, env={"PATH": str(nothing)})
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("kt: git could not be started: ")
        assert done.err.endswith("; install git 2.39 or newer\n")


def test_a_folder_that_went_away_is_no_store(lab: Lab) -> None:
    clone = lab.clone("alice")
    with Store.open(clone) as store:
        clone.rename(lab.folder / "away")
        with pytest.raises(errors.NotAStore, match="there is no such folder"):
            store.list()


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that call each command below ``group`` that is no group, hidden ones too."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def test_a_group_knows_which_module_has_a_command() -> None:
    for group in (app.escalation, app.policy, app.gateway):
        group.list_commands(click.Context(group))
        homes = {
            name: command.callback.__module__.rpartition(".")[2]
            for name, command in group.commands.items()
            if command.callback is not None
        }
        assert homes == {name: module for module, names in group.modules.items() for name in names}


def test_each_command_is_found_with_no_other_loaded() -> None:
    """In one process of the tests, a command is there because another one was called before."""
    each = """if True:
        import os, sys
        from kt_escalation.cli import app
        for line in sys.stdin:
            if not os.fork():
                app.kt(line.split(), "kt")
            _, status = os.wait()
            print(status, line.strip(), file=sys.stderr)
    """
    asked = [" ".join((*path, "--help")) for path in commands(app.kt)]
    assert {"escalation hook pre-receive --help", "policy schema --help", "gateway mcp --help"} <= {*asked}
    done = subprocess.run(
        [sys.executable, "-c", each], input="\n".join(asked), capture_output=True, text=True
    )
    assert done.stderr.splitlines() == [f"0 {line}" for line in asked]


def test_a_command_loads_its_own_module_and_no_other() -> None:
    """The server's hook must be quick: git waits for it at each push."""
    for group, name, module in (("escalation", "hook", "hook"), ("policy", "lint", "policy")):
        tells = f"import sys; from kt_escalation.cli import app; app.{group}.get_command(None, {name!r}); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", tells], capture_output=True, text=True, check=True)
        loaded = [name for name in done.stdout.split() if name.startswith("kt_escalation.cli.commands.")]
        assert loaded == [f"kt_escalation.cli.commands.{module}"]
