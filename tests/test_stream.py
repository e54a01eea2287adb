"""`raise --batch` as a stream: an acknowledged line is on the remote, whatever dies in between."""

from __future__ import annotations

import json
import os
import random
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from counts import examples
from faulty import POINTS, VARIABLE
from gateway_input import event, ndjson, record
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import KT, Lab, Ran, git, kt, kt_process
from pages import as_printed

from kt_escalation import KtError, Store
from kt_escalation.actions import stream
from kt_escalation.storage.yaml_text import json_lines

PATIENCE = 60.0


class Stream:
    """A running `raise --batch -`, that is given lines and answers with lines."""

    def __init__(self, clone: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*KT, "escalation", "raise", "--batch", "-", *options],
            cwd=clone,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._read = b""

    def send(self, *lines: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(ndjson(*lines))

    def answers(self, count: int) -> list[str]:
        """The next answers, as many as are asked for."""
        end = time.monotonic() + PATIENCE
        assert self.process.stdout
        while self._read.count(b"\n") < count:
            ready, _, _ = select.select([self.process.stdout], [], [], end - time.monotonic())
            more = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert more, f"only {self._read!r} came"
            self._read += more
        *lines, self._read = self._read.split(b"\n", count)
        return [line.decode() for line in lines]

    def end(self) -> Ran:
        """Send no more and wait for the end; what was not taken as an answer is in ``out``."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return Ran(self.process.returncode, (self._read + out).decode(), err.decode())


@contextmanager
def streaming(clone: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Stream]:
    """A stream that is over with the block, however that ends."""
    running = Stream(clone, *options, env=env)
    try:
        yield running
    finally:
        running.process.kill()
        with suppress(ValueError):
            running.process.communicate(timeout=PATIENCE)


@pytest.fixture
def gw(lab: Lab) -> Path:
    """The gateway's clone."""
    return lab.clone("gw")


def raised(lab: Lab) -> set[str]:
    """The ids on the remote."""
    return {Path(name).stem for name in lab.files() if name.startswith("queue/")}


def wait_until(so: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.01)


# --- when lines are raised --------------------------------------------------------------------------


def test_lines_are_raised_by_count_and_each_is_acknowledged_when_it_is_on_the_remote(
    lab: Lab, gw: Path
) -> None:
    with streaming(gw, "--flush-count", "2") as running:
        running.send(record("a"), "", event("b"), record("c"))
        assert running.answers(2) == ["1 esc_a raised", "3 esc_b raised"]
        assert raised(lab) == {"esc_a", "esc_b"}
        running.send(event("d", verdict="allow"), record("a"))
        assert running.answers(2) == ["4 esc_c raised", "5 - skipped"]
        ended = running.end()
    assert (ended.code, ended.out) == (0, "6 esc_a unchanged\n")
    assert ended.err == "kt: 3 raised (1 already done, 1 skipped as not escalating) in 2 commits\n"
    assert lab.commits("raise") == ["kt: raise esc_c", "kt: raise 2 escalations"]


def test_lines_are_raised_by_time_while_the_writer_says_nothing(lab: Lab, gw: Path) -> None:
    with streaming(gw, "--flush-every", "1") as running:
        running.send(record("a"), record("b"))
        assert running.answers(2) == ["1 esc_a raised", "2 esc_b raised"]
        assert raised(lab) == {"esc_a", "esc_b"}
        running.send(record("c"))
        assert running.answers(1) == ["3 esc_c raised"]
        assert running.end().code == 0
    assert len(lab.commits("raise")) == 2


def test_in_json_an_answer_says_line_status_id_commit_and_whether_that_commit_brought_it(
    lab: Lab, gw: Path
) -> None:
    lines = ndjson(record("a"), event("b", verdict="allow"), record("a"), "{", record("a", summary="Another"))
    (gw / "lines").write_bytes(lines)
    ran = kt("raise", "--batch", "lines", "--flush-every", "0", "--partial", "--json", cwd=gw)
    assert (ran.code, ran.err) == (0, "")
    told = [json.loads(line) for line in ran.out.splitlines()]
    had = {"escalation_id": "esc_a", "commit": lab.tip()}
    none = {"escalation_id": None, "commit": None, "changed": False}
    assert told[:3] == [
        {"line": 1, "status": "raised", **had, "changed": True},
        {"line": 2, "status": "skipped", **none},
        {"line": 3, "status": "unchanged", **had, "changed": False},
    ]
    for number, code, answer in ((4, "bad_input", told[3]), (5, "different_content", told[4])):
        assert answer.pop("message")
        assert answer == {"line": number, "status": "failed", **none, "code": code}


def test_a_fifo_is_read_until_its_last_writer_is_gone(lab: Lab, gw: Path) -> None:
    os.mkfifo(gw / "fifo")

    def write() -> None:
        with (gw / "fifo").open("wb") as file:
            file.write(ndjson(record("a")))

    writer = threading.Thread(target=write)
    writer.start()
    ran = kt("raise", "--batch", "fifo", "--flush-count", "9", cwd=gw)
    writer.join()
    assert (ran.code, ran.out) == (0, "1 esc_a raised\n")
    assert raised(lab) == {"esc_a"}


def test_the_checkout_is_brought_along_at_the_end_and_work_in_it_stays(lab: Lab, gw: Path) -> None:
    (gw / "README.md").write_text("My own words.\n")
    with streaming(gw, "--flush-count", "1") as running:
        running.send(record("a"), record("b"))
        running.answers(2)
        assert not (gw / "queue").exists()
        assert running.end().code == 0
    assert git("status", "--porcelain", cwd=gw) == " M README.md"
    assert git("rev-parse", "HEAD", cwd=gw) == lab.tip()
    assert (gw / "queue/esc_b.yaml").exists()


def test_without_a_remote_what_is_acknowledged_is_in_the_local_branch(gw: Path) -> None:
    git("remote", "remove", "origin", cwd=gw)
    with streaming(gw, "--flush-count", "1") as running:
        running.send(record("a"))
        assert running.answers(1) == ["1 esc_a raised"]
        git("cat-file", "-e", "HEAD:queue/esc_a.yaml", cwd=gw)
        assert running.end().code == 0
    assert git("status", "--porcelain", cwd=gw) == ""


def test_while_a_flush_is_pushed_the_writer_waits_and_memory_does_not_grow(lab: Lab, gw: Path) -> None:
    go = lab.folder / "go"
    lab.hook("pre-receive", f"touch started; while [ ! -e {go} ]; do sleep 0.05; done")
    with streaming(gw, "--flush-count", "1") as running:
        running.send(record("first"))
        wait_until((lab.remote / "started").exists)
        pipe = running.process.stdin
        assert pipe
        os.set_blocking(pipe.fileno(), False)
        accepted, line = 0, ndjson(event("same", verdict="allow"))
        with suppress(BlockingIOError):
            while accepted < 10_000_000:
                accepted += os.write(pipe.fileno(), line)
        assert accepted < 1_000_000
        os.set_blocking(pipe.fileno(), True)
        go.touch()
        assert running.answers(1) == ["1 esc_first raised"]


# --- lines with a fault -----------------------------------------------------------------------------


def test_a_fault_stops_the_stream_and_refuses_its_whole_flush_but_none_before_it(lab: Lab, gw: Path) -> None:
    with streaming(gw, "--flush-count", "2", "--json") as running:
        running.send(record("a"), record("b"))
        running.answers(2)
        running.send(record("c"), record("a", summary="Another"), record("d"))
        ended = running.end()
    assert (ended.code, ended.out) == (6, "")
    assert raised(lab) == {"esc_a", "esc_b"}
    assert [(fault["line"], fault["code"]) for fault in ended.error["failed"]] == [(4, "different_content")]
    assert ended.error["unacknowledged_from"] == 3
    assert "line 3 on" in ended.error["message"]
    assert "--partial" in ended.error["message"]


def test_a_fault_is_told_by_its_number_in_text_as_well(lab: Lab, gw: Path) -> None:
    (gw / "lines").write_bytes(ndjson(record("a"), "[]", "", "{"))
    ran = kt("raise", "--batch", "lines", "--flush-count", "9", cwd=gw)
    assert ran.code == 2
    assert ran.out == ""
    assert raised(lab) == set()
    assert re.fullmatch(
        r"kt: line 2: .*\nkt: line 4: .*\nkt: nothing from line 1 on is acknowledged; .*--partial\n", ran.err
    )


def test_partial_goes_on_and_says_what_is_wrong_with_each_line(lab: Lab, gw: Path) -> None:
    with streaming(gw, "--flush-count", "2", "--partial") as running:
        running.send("{", "[]", record("a"), record("a", summary="Another"), record("b"))
        first = ["1 - failed", "2 - failed", "3 esc_a raised", "4 - failed"]
        assert running.answers(4) == first
        ended = running.end()
    assert (ended.code, ended.out) == (0, "5 esc_b raised\n")
    *faults, last = ended.err.splitlines()
    assert [fault.split(": ")[1] for fault in faults] == ["line 1", "line 2", "line 4"]
    assert last == "kt: 2 raised (3 failed) in 2 commits"


@pytest.mark.parametrize(("bad", "code"), [("{", 2), (record("taken", summary="other"), 6)])
def test_partial_that_could_have_nothing_ends_with_the_first_faults_code(
    lab: Lab, gw: Path, bad: object, code: int
) -> None:
    lab.escalations("taken")
    (gw / "lines").write_bytes(ndjson(event("no", verdict="allow"), bad, "[]"))
    ran = kt("raise", "--batch", "lines", "--flush-count", "1", "--partial", cwd=gw)
    assert (ran.code, ran.out) == (code, "1 - skipped\n2 - failed\n3 - failed\n")


def test_one_id_twice_is_no_fault_within_a_flush_or_across_them(lab: Lab, gw: Path) -> None:
    (gw / "lines").write_bytes(ndjson(*(record("a") for _ in range(4))))
    ran = kt("raise", "--batch", "lines", "--flush-count", "2", cwd=gw)
    assert ran.code == 0
    assert ran.out == "1 esc_a raised\n2 esc_a unchanged\n3 esc_a unchanged\n4 esc_a unchanged\n"
    assert lab.commits("raise") == ["kt: raise esc_a"]


def test_a_line_that_is_too_long_or_not_utf_8_is_refused_alone(lab: Lab, gw: Path) -> None:
    long = json.dumps(record("long", event_context={"excerpt": "x" * stream.MAX_LINE})).encode()
    lines = [b'{"request_id": "\xff"}', long, json.dumps(record("a")).encode(), long]
    (gw / "lines").write_bytes(b"\n".join(lines))
    ran = kt("raise", "--batch", "lines", "--flush-count", "9", "--partial", cwd=gw)
    assert (ran.code, ran.out) == (0, "1 - failed\n2 - failed\n3 esc_a raised\n4 - failed\n")
    assert "line 1: is not UTF-8" in ran.err
    assert "line 2: is longer than 1024 KiB" in ran.err
    assert "line 4: is longer" in ran.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--reason-code", "a.b", "--flush-count", "2"), "go with --batch"),
        (("--event", "-", "--flush-every", "2s"), "go with --batch"),
        (("--batch", "-", "--flush-count", "0"), "--flush-count"),
        (("--batch", "-", "--flush-every", "soon"), "not a duration"),
        (("--batch", "missing", "--flush-count", "1"), "missing: No such file"),
        (("--batch", ".", "--flush-count", "1"), "Is a directory"),
    ],
)
def test_what_makes_no_stream_is_exit_2(gw: Path, options: tuple[str, ...], says: str) -> None:
    ran = kt("raise", *options, cwd=gw)
    assert ran.code == 2
    assert ran.out == ""
    assert says in ran.err


# --- what ends a stream -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_what_was_read_and_not_flushed_unacknowledged(
    lab: Lab, gw: Path, number: signal.Signals
) -> None:
    with streaming(gw, "--flush-count", "2") as running:
        running.send(record("a"), record("b"), record("c"))
        running.answers(2)
        running.process.send_signal(number)
        ended = running.end()
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.startswith("kt: interrupted; nothing from line 3 on is acknowledged; ")
    assert raised(lab) == {"esc_a", "esc_b"}
    assert git("rev-parse", "HEAD", cwd=gw) == lab.tip(), "the checkout was left behind"


def test_a_signal_in_the_middle_of_a_push_waits_for_its_answer_and_then_ends_the_stream(
    lab: Lab, gw: Path
) -> None:
    lab.hook("pre-receive", "touch started; sleep 1")
    with streaming(gw, "--flush-count", "2") as running:
        running.send(record("a"), record("b"), record("c"), record("d"))
        wait_until((lab.remote / "started").exists)
        running.process.send_signal(signal.SIGTERM)
        ended = running.end()
    assert (ended.code, ended.out) == (130, "1 esc_a raised\n2 esc_b raised\n")
    assert "nothing from line 3 on" in ended.err
    assert raised(lab) == {"esc_a", "esc_b"}


def test_a_reader_that_is_gone_ends_it_and_nothing_is_pretended(lab: Lab, gw: Path) -> None:
    with streaming(gw, "--flush-count", "1") as running:
        running.send(record("a"))
        assert running.answers(1) == ["1 esc_a raised"]
        assert running.process.stdout
        running.process.stdout.close()
        running.send(record("b"), record("c"))
        assert running.process.wait(PATIENCE) == 130
        assert running.process.stderr
        said = running.process.stderr.read().decode()
    assert said.startswith("kt: stopped: the acknowledgements cannot be written (Broken pipe); ")
    assert "nothing from line 2 on" in said
    assert len(said.splitlines()) == 1
    assert raised(lab) == {"esc_a", "esc_b"}, "a line that nobody heard of is there, one after it is not"


def test_a_remote_that_is_gone_is_exit_4_and_the_lines_are_named(lab: Lab, gw: Path) -> None:
    with streaming(gw, "--flush-count", "1", "--json", "--retry-timeout", "2") as running:
        running.send(record("a"))
        running.answers(1)
        lab.remote.rename(lab.folder / "gone.git")
        running.send(record("b"))
        ended = running.end()
    assert (ended.code, ended.out) == (4, "")
    assert ended.error["code"] == "remote_unreachable"
    assert ended.error["unacknowledged_from"] == 2


def test_a_push_whose_outcome_cannot_be_learnt_is_exit_9_and_acknowledges_nothing(lab: Lab, gw: Path) -> None:
    lab.hook("pre-receive", "kill -9 $PPID")
    (gw / "lines").write_bytes(ndjson(record("a")))
    ran = kt("raise", "--batch", "lines", "--flush-count", "1", "--retry-timeout", "1", "--json", cwd=gw)
    assert (ran.code, ran.out) == (9, "")
    assert ran.error["code"] == "outcome_unknown"
    assert ran.error["unacknowledged_from"] == 1


# --- kills ------------------------------------------------------------------------------------------


def resend(lab: Lab, gw: Path, names: Sequence[str]) -> None:
    """Send everything again; then all of it is there, each raised by one commit only."""
    (gw / "again").write_bytes(ndjson(*map(record, names)))
    ran = kt("raise", "--batch", "again", "--flush-count", "5", cwd=gw)
    assert ran.code == 0, ran.err
    assert len(ran.out.splitlines()) == len(names)
    assert raised(lab) == {f"esc_{name}" for name in names}
    messages = git("log", "--format=%B", "main", cwd=lab.remote)
    told = re.findall(r"^Kt-Escalation: (\S+)$", messages, re.MULTILINE)
    assert sorted(told) == sorted(f"esc_{name}" for name in names)


KILLS = [
    pytest.param(point, marks=[] if number % 3 == 0 else [pytest.mark.soak])
    for number, point in enumerate(POINTS)
]


@pytest.mark.parametrize("point", KILLS)
def test_after_a_kill_at_any_step_everything_can_be_sent_again(lab: Lab, gw: Path, point: str) -> None:
    names = ["a", "b", "c"]
    (gw / "lines").write_bytes(ndjson(*map(record, names)))
    died = kt_process(
        *("raise", "--batch", "lines", "--flush-count", "2"), cwd=gw, env={VARIABLE: f"{point}:kill"}
    )
    # The checkout is brought along after the last flush, so all is acknowledged by then.
    all_told = point in ("before-follow", "after-follow")
    told = "1 esc_a raised\n2 esc_b raised\n3 esc_c raised\n" if all_told else ""
    assert (died.code, died.out) == (-signal.SIGKILL, told)
    resend(lab, gw, names)


@pytest.mark.parametrize(
    "number", [*range(2), *(pytest.param(n, marks=pytest.mark.soak) for n in range(2, 30))]
)
def test_killed_at_any_moment_what_was_acknowledged_is_there(lab: Lab, gw: Path, number: int) -> None:
    chance = random.Random(number)
    names = [f"n{n}" for n in range(20)]
    for _ in range(2):
        with streaming(gw, "--flush-count", str(chance.randint(1, 6)), "--flush-every", "1") as running:
            running.send(*map(record, names))
            heard = running.answers(chance.randint(1, 12))
            time.sleep(chance.random() * 0.1)
            running.process.kill()
            # A line that is not whole acknowledges nothing.
            heard += running.end().out.split("\n")[:-1]
        there = raised(lab)
        for line in heard:
            assert re.fullmatch(r"\d+ esc_n\d+ (raised|unchanged)", line)
            assert line.split()[1] in there
    resend(lab, gw, names)


# --- how lines are put together ---------------------------------------------------------------------


class Pipe:
    """A pipe that a thread writes pieces into."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.source, end = os.pipe()

        def write() -> None:
            with os.fdopen(end, "wb", buffering=0) as file:
                for piece in pieces:
                    file.write(piece)

        self._writer = threading.Thread(target=write)
        self._writer.start()

    def __enter__(self) -> int:
        return self.source

    def __exit__(self, *_: object) -> None:
        self._writer.join()
        os.close(self.source)


@settings(max_examples=examples(100))
@given(
    st.lists(st.binary(max_size=8) | st.sampled_from([b"\n", b"a\n", b"\n\n", b" \n"]), max_size=12),
    st.integers(1, 4),
    st.none() | st.just(0.0),
)
def test_however_they_come_the_lines_are_those_of_the_whole(
    pieces: list[bytes], count: int, every: float | None
) -> None:
    with Pipe(pieces) as source:
        groups = [[*lines] for lines in stream.flushes(source, count, every)]
    assert all(0 < len(lines) <= count for lines in groups)
    whole = [*json_lines(b"".join(pieces))]
    assert [(line.number, line.data) for lines in groups for line in lines] == whole
    if every is None:
        assert all(len(lines) == count for lines in groups[:-1])


def test_of_a_line_without_an_end_only_the_beginning_is_kept() -> None:
    with Pipe([b"x" * stream.MAX_LINE] * 8 + [b"\nshort\n"]) as source:
        [[long, short]] = stream.flushes(source, 9, None)
    assert stream.MAX_LINE < len(long.data) < stream.MAX_LINE + 200_000
    assert (short.number, short.data) == (2, b"short")


def test_many_bytes_are_raised_before_there_are_many_lines() -> None:
    line = b"x" * (stream.MAX_LINE - 1) + b"\n"
    with Pipe([line] * 20) as source:
        sizes = [len(lines) for lines in stream.flushes(source, 1_000, None)]
    assert sum(sizes) == 20
    assert max(sizes) <= 9


# --- the package ------------------------------------------------------------------------------------


def test_the_package_gives_the_result_of_each_flush(lab: Lab, gw: Path) -> None:
    found: list[Any] = []
    with Pipe([ndjson(record("a"), event("b"), "", record("a"))]) as source, Store.open(gw) as store:
        for result in store.raise_stream(source, flush_count=2, model="big"):
            assert {r.escalation_id for r in result.records} <= raised(lab)
            found.append(result)
    assert [result.changed for result in found] == [True, False]
    assert [(line.number, line.escalation_id, line.changed) for result in found for line in result.lines] == [
        (1, "esc_a", True),
        (2, "esc_b", True),
        (4, "esc_a", False),
    ]
    assert {record.model for result in found for record in result.records} == {"big"}


def test_an_error_says_from_which_line_on_nothing_is_known(gw: Path) -> None:
    with (gw / "lines").open("wb") as file:
        file.write(ndjson(record("a"), record("b"), "{"))
    with (gw / "lines").open("rb") as lines, Store.open(gw) as store:
        results = store.raise_stream(lines, flush_count=1)
        assert [next(results).record.escalation_id for _ in range(2)] == ["esc_a", "esc_b"]
        with pytest.raises(KtError) as caught:
            next(results)
    assert caught.value.unacknowledged_from == 3


@pytest.mark.parametrize("wrong", [{"flush_count": 0}, {"flush_every": -1.0}])
def test_a_flush_that_cannot_be_is_refused_before_anything_is_read(gw: Path, wrong: dict[str, Any]) -> None:
    with Store.open(gw) as store, pytest.raises(KtError, match="flush"):
        store.raise_stream(0, **wrong)


# --- the page ---------------------------------------------------------------------------------------


def test_the_commands_of_the_page_run_as_printed(lab: Lab, gw: Path) -> None:
    """The program sends again what the command has sent."""
    (gw / "lines.ndjson").write_bytes(ndjson(record("a"), event("b")))
    _, told = as_printed("streaming.md", gw)
    assert raised(lab) == {"esc_a", "esc_b"}
    assert told.splitlines() == [f"1 esc_a {lab.tip()}", f"2 esc_b {lab.tip()}"]
