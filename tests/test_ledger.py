"""The server's ledger of who pushed what: whole lines only, in order, on disk, and quick to ask."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kt_escalation.errors import BadInput
from kt_escalation.store.ledger import NAME, Ledger

ONE, TWO, THREE = (letter * 40 for letter in "abc")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "kt")


def test_nobody_has_pushed_what_no_line_names(ledger: Ledger) -> None:
    assert ledger.who([ONE]) == {ONE: frozenset()}
    ledger.record("alice", [TWO])
    assert ledger.who([ONE, TWO]) == {ONE: frozenset(), TWO: frozenset({"alice"})}
    assert ledger.who([]) == {}


def test_whoever_pushes_it_as_well_is_added(ledger: Ledger) -> None:
    ledger.record("mallory", [ONE])
    ledger.record("alice", [TWO], again=[ONE])
    assert ledger.who([ONE, TWO]) == {ONE: frozenset({"mallory", "alice"}), TWO: frozenset({"alice"})}


def test_what_was_on_no_ref_was_pushed_by_nobody_before(ledger: Ledger) -> None:
    """Alice's push was refused by another hook, or she took her branch back; then somebody pushes a copy."""
    ledger.record("alice", [ONE])
    ledger.record("bob", [], again=[ONE])
    ledger.record("mallory", [ONE])
    assert ledger.who([ONE])[ONE] == {"mallory"}
    ledger.record("alice", [], again=[ONE])
    assert ledger.who([ONE])[ONE] == {"mallory", "alice"}


@pytest.mark.parametrize("cut", range(1, 52))
def test_a_line_that_was_cut_off_is_never_read_and_harms_no_other(tmp_path: Path, cut: int) -> None:
    ledger = Ledger(tmp_path)
    ledger.record("alice", [ONE])
    ledger.record("mallory", [ONE])
    path = tmp_path / NAME
    whole = path.read_bytes()
    os.truncate(path, len(whole) - cut)
    assert ledger.who([ONE])[ONE] == {"alice"}
    ledger.record("bob", [TWO])
    # But for its line feed it was all there; else it counts for nobody, nor for whose name begins alike.
    assert ledger.who([ONE, TWO]) == {
        ONE: frozenset({"mallory" if cut == 1 else "alice"}),
        TWO: frozenset({"bob"}),
    }
    assert path.read_bytes().startswith(whole[: len(whole) - cut])


@given(st.text(min_size=1, max_size=60))
def test_any_name_is_one_name_again(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("kt"))
    try:
        name.encode()
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            ledger.record(name, [ONE])
        return
    ledger.record(name, [ONE, TWO])
    assert ledger.who([ONE, TWO]) == {ONE: frozenset({name}), TWO: frozenset({name})}


@pytest.mark.parametrize("name", ["", "x" * 301])
def test_no_name_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(BadInput, match="no name to record"):
        ledger.record(name, [ONE])
    assert ledger.who([ONE])[ONE] == frozenset()


def test_longer_ids_are_told_apart_from_shorter_ones(ledger: Ledger) -> None:
    long = "a" * 64
    ledger.record("alice", [long])
    ledger.record("bob", [ONE])
    assert ledger.who([long]) == {long: frozenset({"alice"})}
    assert ledger.who([ONE]) == {ONE: frozenset({"bob"})}


def write_many(folder: Path, name: str, count: int) -> None:
    ledger = Ledger(folder)
    for number in range(count):
        ledger.record(name, [f"{number:040x}"], again=[f"{number + 1:040x}"])


def test_pushes_at_once_lose_no_line(tmp_path: Path) -> None:
    names = [f"user{number}" for number in range(4)]
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=write_many, args=(tmp_path, name, 25)) for name in names]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    lines = (tmp_path / NAME).read_text().splitlines()
    assert sorted(lines) == sorted(
        f"{number + plus:040x} {name} {mark}"
        for name in names
        for number in range(25)
        for plus, mark in ((0, "+"), (1, "="))
    )


def test_what_is_recorded_outlives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from kt_escalation.store.ledger import Ledger; "
        f"Ledger(Path(sys.argv[1])).record('alice', ['{ONE}']); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert Ledger(tmp_path).who([ONE])[ONE] == {"alice"}


def test_a_million_lines_are_answered_in_bounded_time_and_room(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record("alice", [f"{number:040x}" for number in range(1_000_000)])
    wanted = [f"{number:040x}" for number in range(0, 1_000_000, 1000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    found = ledger.who([*wanted, "f" * 40])
    took = time.process_time() - began
    assert all(found[commit] == {"alice"} for commit in wanted) and found["f" * 40] == frozenset()
    assert took < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_where_it_cannot_be_written_it_says_who_can_help(tmp_path: Path) -> None:
    (tmp_path / "kt").write_text("in the way")
    for ask in (lambda it: it.record("alice", [ONE]), lambda it: it.who([ONE])):
        with pytest.raises(BadInput, match=r"cannot be used: .*an administrator of the server"):
            ask(Ledger(tmp_path / "kt"))
