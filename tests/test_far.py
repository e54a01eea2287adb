"""The promises and the races with a network of 100 ms between a clone and its remote."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from far import FarLab, far_lab
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from lab import end, git, kt, start
from test_promises import Life, OnGit

from kt_escalation.actions import commit_loop
from kt_escalation.storage.clone import GitStore


class FarAway(OnGit):
    """A bare remote, and clones that are a network away from it."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._lab = self._stack.enter_context(far_lab(Path(self._folder)))
        self._lab.put(files)
        self._ports: list[GitStore] = []

    def close(self) -> None:
        for port in self._ports:
            port.close()
        self._stack.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[FarLab]:
    with far_lab(tmp_path) as made:
        yield made


@pytest.mark.soak
@pytest.mark.parametrize(("examples", "steps"), [(100, 30)])
def test_the_promises_hold_over_a_network_whatever_people_do(
    examples: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_loop, "FIRST_PAUSE", 0.0)
    machine = type("FarLife", (Life,), {"make_world": staticmethod(FarAway)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )


@pytest.mark.parametrize(
    "clones", [3, *(pytest.param(16, marks=pytest.mark.soak, id=f"16-{n}") for n in range(50))]
)
def test_many_clones_want_one_escalation_over_a_network_and_one_gets_it(lab: FarLab, clones: int) -> None:
    lab.escalations("wanted")
    people = [lab.clone(f"r{n}") for n in range(clones)]
    started = [start("claim", "--id", "esc_wanted", cwd=clone, forked=True) for clone in people]
    ended = [end(process) for process in started]
    assert Counter(ran.code for ran in ended) == {0: 1, 6: clones - 1}, [ran.err for ran in ended]
    winner = f"r{next(n for n, ran in enumerate(ended) if ran.code == 0)}@example.com"
    assert all(f"held by {winner}" in ran.err for ran in ended if ran.code == 6)
    assert len(lab.commits("claim esc_wanted")) == 1


@pytest.mark.soak
@pytest.mark.parametrize("number", range(25))
def test_every_exit_0_over_a_network_is_in_the_history_and_no_other_is(lab: FarLab, number: int) -> None:
    lab.escalations("one", "two")
    clone, other = lab.clone("alice"), lab.clone("bob")
    assert kt("claim", "--id", "esc_two", cwd=clone).code == 0
    typed = {
        "claim esc_one": (clone, "claim", "--id", "esc_one"),
        "resolve esc_two": (clone, "resolve", "--id", "esc_two", "--outcome", "denied", "--reason", "no"),
        "raise esc_three": (other, "raise", "--request-id", "three", "--reason-code", "a.b"),
        "raise esc_four": (clone, "raise", "--request-id", "four", "--reason-code", "a.b"),
    }
    started = [start(*args, "--json", cwd=cwd, forked=True) for cwd, *args in typed.values()]
    history = [end(process) for process in started]
    commits = git("log", "--format=%H", "main", cwd=lab.remote)
    for words, ran in zip(typed, history, strict=True):
        assert (ran.code == 0) == bool(lab.commits(words)), ran.err
        assert ran.code == 0, ran.err
        assert ran.json["commit"] in commits


def test_a_claim_over_a_network_is_one_push_and_a_fetch_beside_it(lab: FarLab) -> None:
    lab.escalations("one")
    clone = lab.clone("alice")
    assert kt("claim", "--id", "esc_one", cwd=clone).code == 0
    assert lab.line.connections <= 2
