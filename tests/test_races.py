"""Exactly one winner: real processes, real clones, a real bare remote."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from lab import Lab, Ran, end, git, kt, start

CLONES = 16


def rounds(slice_: int, soak: int) -> list[object]:
    """Some rounds in every run, all of them in `make soak`."""
    return [*range(slice_), *(pytest.param(n, marks=pytest.mark.soak) for n in range(slice_, soak))]


def race(commands: list[tuple[Path, list[str]]], *, hosts: bool = False) -> list[Ran]:
    """Start all at once and wait for all; with ``hosts`` as on a host each, where they stand in no line."""
    running = [
        start(
            *args,
            cwd=cwd,
            env={"XDG_CACHE_HOME": str(cwd.with_name(f"{cwd.name}-cache"))} if hosts else None,
            forked=True,
        )
        for cwd, args in commands
    ]
    return [end(process) for process in running]


def no_traceback(ran: Ran) -> None:
    assert "Traceback" not in ran.err, ran.err
    assert ran.code != 5, ran.err


@pytest.mark.parametrize("number", rounds(2, 50))
def test_sixteen_clones_want_one_escalation_and_one_gets_it(lab: Lab, number: int) -> None:
    lab.escalations("wanted")
    clones = [lab.clone(f"r{n}") for n in range(CLONES)]
    ended = race([(clone, ["claim", "--id", "esc_wanted"]) for clone in clones], hosts=number % 2 == 0)
    for ran in ended:
        no_traceback(ran)
    assert Counter(ran.code for ran in ended) == {0: 1, 6: CLONES - 1}
    winner = f"r{next(n for n, ran in enumerate(ended) if ran.code == 0)}@example.com"
    assert all(f"held by {winner}" in ran.err for ran in ended if ran.code == 6)
    assert len(lab.commits("claim esc_wanted")) == 1
    assert f"claimed_by: {winner}" in lab.file("queue/esc_wanted.yaml")


@pytest.mark.parametrize("number", rounds(1, 50))
def test_one_identity_in_sixteen_clones_claims_once(lab: Lab, number: int) -> None:
    lab.escalations("wanted")
    clones = [lab.clone(f"r{n}", email="same@example.com") for n in range(CLONES)]
    ended = race([(clone, ["claim", "--id", "esc_wanted", "--json"]) for clone in clones])
    assert [ran.code for ran in ended] == [0] * CLONES
    assert Counter(ran.json["changed"] for ran in ended) == {True: 1, False: CLONES - 1}
    assert len(lab.commits("claim")) == 1


@pytest.mark.parametrize("number", rounds(1, 50))
def test_claim_ids_of_their_own_tell_workers_of_one_identity_apart(lab: Lab, number: int) -> None:
    lab.escalations("wanted")
    clones = [lab.clone(f"r{n}", email="same@example.com") for n in range(CLONES)]
    ended = race(
        [
            (clone, ["claim", "--id", "esc_wanted", "--claim-id", f"worker-{n}"])
            for n, clone in enumerate(clones)
        ],
        hosts=number % 2 == 0,
    )
    assert Counter(ran.code for ran in ended) == {0: 1, 6: CLONES - 1}
    winner = next(n for n, ran in enumerate(ended) if ran.code == 0)
    assert f"claim_id: worker-{winner}\n" in lab.file("queue/esc_wanted.yaml").replace('"', "")
    assert len(lab.commits("claim")) == 1


@pytest.mark.parametrize("number", rounds(1, 50))
def test_sixteen_processes_in_one_clone_are_ordered_by_its_lock(lab: Lab, number: int) -> None:
    lab.escalations("wanted")
    clone = lab.clone("alice")
    ended = race([(clone, ["claim", "--id", "esc_wanted", "--claim-id", f"w{n}"]) for n in range(CLONES)])
    assert Counter(ran.code for ran in ended) == {0: 1, 6: CLONES - 1}
    assert len(lab.commits("claim")) == 1


@pytest.mark.parametrize("number", rounds(1, 25))
def test_every_exit_0_is_in_the_history_and_no_other_is(lab: Lab, number: int) -> None:
    lab.escalations("one", "two")
    clone = lab.clone("alice")
    assert kt("claim", "--id", "esc_two", cwd=clone).code == 0
    ended = race(
        [
            (clone, ["claim", "--id", "esc_one", "--json"]),
            (clone, ["resolve", "--id", "esc_two", "--outcome", "denied", "--reason", "no", "--json"]),
            (clone, ["note", "--id", "esc_two", "--text", "hm", "--json"]),
            (clone, ["raise", "--request-id", "three", "--reason-code", "a.b", "--json"]),
        ]
    )
    history = git("log", "--format=%H", "main", cwd=lab.remote)
    for ran, words in zip(
        ended, ("claim esc_one", "resolve esc_two", "note esc_two", "raise esc_three"), strict=True
    ):
        no_traceback(ran)
        assert (ran.code == 0) == bool(lab.commits(words))
        if ran.code == 0:
            assert ran.json["commit"] in history
    # The note may come too late, when it is resolved already; nothing else can fail.
    assert [ran.code for n, ran in enumerate(ended) if n != 2] == [0, 0, 0]
    assert ended[2].code in (0, 6)


DRAIN = {"slice": (4, 10), "soak": (8, 100)}


@pytest.mark.parametrize("hosts", [False, True], ids=["one host", "many hosts"])
@pytest.mark.parametrize("size", ["slice", pytest.param("soak", marks=pytest.mark.soak)])
def test_clones_drain_a_queue_and_nobody_fails_while_any_is_left(lab: Lab, size: str, hosts: bool) -> None:
    workers, total = DRAIN[size]
    lab.escalations(*(f"job-{n}" for n in range(total)))
    clones = [lab.clone(f"r{n}") for n in range(workers)]
    claimed: list[str] = []
    empty = 0
    while not empty:
        ended = race([(clone, ["claim", "--next", "--json"]) for clone in clones], hosts=hosts)
        for ran in ended:
            assert ran.code in (0, 7), ran.err
            if ran.code == 0:
                claimed.append(ran.json["escalation"]["escalation_id"])
        empty = sum(1 for ran in ended if ran.code == 7)
    assert sorted(claimed) == sorted({*claimed})
    assert len(claimed) == total
    assert len(lab.commits("claim")) == total
    last = kt("claim", "--next", cwd=clones[0])
    assert last.code == 7
    assert re.search(r"all \d+ are held", last.err)
