"""How long work is shown: on a terminal, to whoever sits there, and nowhere else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from forge import Forge, identity, waive
from lab import git, kt, path_to_git
from terminal import _KT, kt_at_a_terminal

from kt_escalation.model.archive_file import ArchiveName
from kt_escalation.storage.archive_index import Index
from kt_escalation.storage.archives import Archive

#: More than are judged at a time, so that the bar moves.
COMMITS = 800
# Those of the store that it is made from.
STEPS = 5
BAR = "judging commits  ["
#: How a bar is taken away, so that a line stands alone at its end.
GONE = "\r\x1b[K\x1b[?25h"
READING = "reading escalations  ["
#: More than are read at a time, so that what is read is told in parts.
WAITING = 600


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with many commits behind it that are nobody's business."""
    store = Forge(tmp_path_factory.mktemp("long"))
    who = "Somebody <somebody@example.com> 1735776000 +0000"
    first = f"from {store.tip()}\n"
    stream = "".join(
        f"commit refs/heads/main\ncommitter {who}\ndata 1\nx\n{first * (not number)}M 100644 inline other.txt\n"
        f"data {len(str(number))}\n{number}\n"
        for number in range(COMMITS)
    )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=store.path, input=stream.encode(), check=True)
    git("reset", "--quiet", "--hard", cwd=store.path)
    return store.path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which more wait than are read at a time."""
    store = tmp_path_factory.mktemp("many")
    git("init", "--quiet", cwd=store)
    for key, value in (("user.name", "Gateway"), ("user.email", "gateway@example.com")):
        git("config", key, value, cwd=store)
    assert kt("init", cwd=store).code == 0
    lines = (f'{{"request_id": "r{n}", "reason_code": "x.y"}}\n' for n in range(WAITING))
    (store / ".git/batch").write_text("".join(lines))
    assert kt("raise", "--batch", ".git/batch", cwd=store).code == 0
    return store


def test_judging_many_commits_shows_a_bar_that_ends_before_the_summary(long_store: Path) -> None:
    ran, cursor_is_back = kt_at_a_terminal("verify", "--afresh", cwd=long_store)
    assert (ran.code, ran.out, cursor_is_back) == (0, "", True)
    *bar, summary = ran.err.replace(GONE, "\n").splitlines()
    assert summary.startswith(f"kt: {STEPS} steps in ")
    assert BAR not in summary
    percents = [int(found) for found in re.findall(r"(\d+)%", " ".join(bar))]
    assert len(percents) > 3
    assert percents == sorted(percents)
    assert percents[-1] == 100


def test_a_pull_request_of_many_commits_shows_one_too(long_store: Path) -> None:
    ran, cursor_is_back = kt_at_a_terminal("check", f"HEAD~{COMMITS - 1}..HEAD", cwd=long_store)
    assert (ran.code, ran.out, cursor_is_back) == (0, "", True)
    assert BAR in ran.err


def test_it_has_no_colour_and_what_is_printed_is_the_same(long_store: Path) -> None:
    ran, _ = kt_at_a_terminal("verify", "--afresh", "--json", cwd=long_store, NO_COLOR="1")
    assert BAR in ran.err
    assert not re.search("\x1b\\[[0-9;]*m", ran.err)
    assert ran.out == kt("verify", "--afresh", "--json", cwd=long_store).out


@pytest.mark.parametrize(
    ("patience", "env"),
    [pytest.param(3600, {}, id="short work"), pytest.param(0, {"TERM": "dumb"}, id="a dumb terminal")],
)
def test_nothing_is_drawn_of(long_store: Path, patience: float, env: dict[str, str]) -> None:
    ran, _ = kt_at_a_terminal("verify", "--afresh", cwd=long_store, patience=patience, **env)
    assert ran.code == 0
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith(f"kt: {STEPS} steps in ")
    assert "\x1b" not in ran.err


def test_nothing_is_drawn_where_stderr_is_no_terminal(long_store: Path) -> None:
    command = [sys.executable, "-c", _KT.format(0, 60), "verify", "--afresh"]
    ran = subprocess.run(command, cwd=long_store, capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith(f"kt: {STEPS} steps in ")


def test_what_is_waived_no_more_is_told_without_judging_all_of_it_again(
    long_store: Path, tmp_path: Path
) -> None:
    store = Forge.__new__(Forge)
    store.path = shutil.copytree(long_store, tmp_path / "store")
    store.write("queue/mine.txt", "x")
    mine = store.commit("alice", "mine")
    waive(store, (mine, "foreign", "queue/mine.txt"))
    store.commit("boss", "accept it")
    assert kt("verify", cwd=store.path).code == 0
    # The clone remembers what was waived.
    waive(store)
    store.commit("boss", "accept it no more")
    ran, cursor_is_back = kt_at_a_terminal("verify", cwd=store.path)
    assert ran.code == 1
    assert "mine.txt: foreign: " in ran.out
    assert cursor_is_back
    assert [line.count("100%") for line in ran.err.split(GONE) if BAR in line] == [1]


def test_it_is_left_in_order_by_an_interrupt(long_store: Path, tmp_path: Path) -> None:
    # What it has told of history is judged; then the disk hangs.
    path = path_to_git(tmp_path, 'git "$@"\ncase " $* " in *" log "*) exec sleep 600 ;; esac')
    ran, cursor_is_back = kt_at_a_terminal("verify", "--afresh", cwd=long_store, until=BAR, PATH=path)
    assert (ran.code, ran.out, cursor_is_back) == (130, "", True)
    *bar, last, end = ran.err.split("\r\n")
    assert BAR in "".join(bar)
    assert end == ""
    assert last == "kt: interrupted"


# ^C just when a bar has hidden the cursor.
_INTERRUPTED = """
from click import _termui_impl as drawing
draw = drawing.ProgressBar.render_progress
def drawn_and_interrupted(bar):
    draw(bar)
    raise KeyboardInterrupt
drawing.ProgressBar.render_progress = drawn_and_interrupted
"""


def test_an_interrupt_while_a_bar_is_drawn_shows_the_cursor_again(long_store: Path) -> None:
    ran, cursor_is_back = kt_at_a_terminal("verify", "--afresh", cwd=long_store, fault=_INTERRUPTED)
    assert (ran.code, ran.out, cursor_is_back) == (130, "", True)
    assert ran.err.endswith(f"{GONE}\r\nkt: interrupted\r\n")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["list"], id="the first list"),
        pytest.param(["stats"], id="stats"),
        pytest.param(["export", "-o", ".git/out"], id="export"),
        pytest.param(["doctor"], id="doctor"),
        pytest.param(["report", "-o", ".git/out"], id="report"),
        pytest.param(["sweep", "--dry-run"], id="sweep"),
    ],
)
def test_reading_many_shows_a_bar_and_what_is_printed_is_the_same(many: Path, command: list[str]) -> None:
    shutil.rmtree(many / ".git/kt", ignore_errors=True)
    ran, cursor_is_back = kt_at_a_terminal(*command, cwd=many)
    assert READING in ran.err
    assert "100%" in ran.err
    assert cursor_is_back
    plain = kt(*command, cwd=many)
    assert (ran.code, len(ran.out.splitlines())) == (plain.code, len(plain.out.splitlines()))
    assert READING not in plain.err


def test_writing_many_shows_each_part_of_the_work(many: Path, tmp_path: Path) -> None:
    git("clone", "--quiet", "--bare", str(many), "remote", cwd=tmp_path)
    git("clone", "--quiet", "remote", "store", cwd=tmp_path)
    batch = (many / ".git/batch").read_text().replace(': "r', ': "s')
    (tmp_path / "batch").write_text(batch)
    who = identity("gateway")
    ran, cursor_is_back = kt_at_a_terminal("raise", "--batch", "../batch", cwd=tmp_path / "store", **who)
    assert (ran.code, cursor_is_back) == (0, True)
    assert re.findall("(raising|writing escalations)  .*?100%", ran.err) == ["raising", "writing escalations"]
    assert ran.err.endswith(
        f"kt: {WAITING} changed in commit {git('rev-parse', 'main', cwd=tmp_path / 'remote')[:12]}\r\n"
    )


def test_what_is_printed_while_it_is_read_has_no_bar_in_it_but_a_file_may_have_one_beside(
    long_store: Path, tmp_path: Path
) -> None:
    into_a_pipe, _ = kt_at_a_terminal("events", cwd=long_store)
    assert (into_a_pipe.err, len(into_a_pipe.out.splitlines())) == ("", STEPS)
    into_a_file, cursor_is_back = kt_at_a_terminal("events", cwd=long_store, file=tmp_path / "events")
    assert "reading history  [" in into_a_file.err
    assert cursor_is_back
    assert (tmp_path / "events").read_text() == into_a_pipe.out


def test_who_waits_for_another_kt_is_told_so(many: Path) -> None:
    lock = FileLock(many / ".git/kt/lock")
    lock.acquire()
    ran, cursor_is_back = kt_at_a_terminal(
        "claim",
        "--id",
        "esc_r1",
        cwd=many,
        until="waiting for another kt in this clone  [",
        then=lock.release,
        tell=0.1,
    )
    assert (ran.code, cursor_is_back) == (0, True)


def test_who_waits_for_a_decision_is_told_for_which_and_may_leave(many: Path) -> None:
    told = "kt: esc_r2 is queued; waiting for the decision"
    ran, _ = kt_at_a_terminal("wait", "--id", "esc_r2", cwd=many, until=told)
    assert (ran.code, ran.out, ran.err.count(told)) == (130, "", 1)
    assert ran.err.endswith("kt: interrupted\r\n")


SILENT = "waiting for git  ["


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        pytest.param("pack-objects", ["evidence", "--id", "esc_r1", "-o", ".git/out"], id="evidence packs"),
        pytest.param("log", ["log", "--id", "esc_r1", "--json"], id="log of one"),
        pytest.param("rev-list", ["events", "-C", "."], id="events count"),
        pytest.param("grep", ["evidence", "--id", "esc_r1", "-o", ".git/out"], id="evidence searches"),
    ],
)
def test_where_git_says_nothing_for_long_that_is_told(
    many: Path, asked: str, command: list[str], tmp_path: Path
) -> None:
    # What the clone has noted need not be searched.
    shutil.rmtree(many / ".git/kt", ignore_errors=True)
    path = path_to_git(tmp_path, f'case " $* " in *" {asked} "*) sleep 1 ;; esac\ngit "$@"')
    ran, cursor_is_back = kt_at_a_terminal(*command, cwd=many, tell=0.1, PATH=path, file=tmp_path / "out")
    assert (ran.code, cursor_is_back) == (0, True)
    assert SILENT in ran.err
    assert ran.err.rstrip("\r\n").count(GONE) >= 1
    said = (tmp_path / "out").read_text()
    assert "waiting" not in said
    assert said == kt(*command, cwd=many).out


def test_whoever_stops_it_sees_the_cursor_and_a_bar_fits_the_line(many: Path, tmp_path: Path) -> None:
    path = path_to_git(tmp_path, 'case " $* " in *" log "*) sleep 1 ;; esac\ngit "$@"')
    command = ("log", "--id", "esc_r1", "--json")
    ran, _ = kt_at_a_terminal(*command, cwd=many, tell=0.1, PATH=path, COLUMNS="40")
    hidden, shown = ran.err.count("\x1b[?25l"), ran.err.count("\x1b[?25h")
    assert shown >= hidden >= 1
    for stroke in ran.err.split("\x1b[?25l")[1:]:
        line, back, _ = stroke.partition("\x1b[?25h")
        assert back
        assert len(line.rstrip()) < 40


@pytest.mark.parametrize(
    "command",
    [["log", "--id", "esc_r1"], ["events", "--limit", "3"], ["export"]],
    ids=lambda command: command[0],
)
def test_what_is_printed_on_the_same_terminal_ends_the_bar_for_good(
    many: Path, command: list[str], tmp_path: Path
) -> None:
    shutil.rmtree(many / ".git/kt", ignore_errors=True)
    path = path_to_git(tmp_path, 'case " $* " in *" log "* | *" config "*) sleep 1 ;; esac\ngit "$@"')
    ran, cursor_is_back = kt_at_a_terminal(*command, cwd=many, tell=0.1, all_of_it=True, PATH=path)
    assert (ran.code, cursor_is_back) == (0, True)
    bars, _, printed = ran.err.rpartition(GONE)
    assert "  [" in bars
    assert bars.count("esc_r") == 0
    # Times are written for people here, so whatever comes before the commit may differ.
    plain = kt(*command, cwd=many).out.replace("\n", "\r\n")
    short, exact = (re.sub(r"^\S+ +(?=[0-9a-f]{12}  )", "", text, flags=re.M) for text in (printed, plain))
    assert short.startswith(exact)


def test_a_claim_over_several_stores_shows_a_remote_that_is_slow(many: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        git("clone", "--quiet", "--bare", str(many), f"{name}.git", cwd=tmp_path)
        git("clone", "--quiet", f"{name}.git", name, cwd=tmp_path)
    path = path_to_git(tmp_path, 'case " $* " in *" fetch "*) sleep 1 ;; esac\ngit "$@"')
    both = ["-C", str(tmp_path / "one"), "-C", str(tmp_path / "other")]
    ran, _ = kt_at_a_terminal(
        *("claim", "--next", *both), cwd=tmp_path, tell=0.1, PATH=path, **identity("alice")
    )
    assert ran.code == 0
    assert "asking the remote  [" in ran.err
    assert "claimed esc_r" in ran.out + ran.err


def test_filling_the_index_of_archives_is_told(tmp_path: Path) -> None:
    names = [
        ArchiveName(f"2024/{month:02}", number, False) for month in range(1, 13) for number in range(1, 9)
    ]
    archives = tuple(
        Archive(name, f"archives/{at}", f"{at:040x}", f"{at + 1000:040x}") for at, name in enumerate(names)
    )
    seen: list[tuple[str, int, int]] = []
    index = Index(
        tmp_path,
        lambda blobs: [f"esc_{int(blob, 16)}\n".encode() for blob in blobs],
        lambda *said: seen.append(said),
    )
    assert [place.archive for place in index.find(archives, "esc_1007")] == [archives[7]]
    index.close()
    assert seen == [("indexing archives", done, 2) for done in (0, 1, 2)]
