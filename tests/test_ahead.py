"""A line judged in halves, the second of them in another process, is judged as it is by one run over all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import histories
import hostile
import pytest
from gateways import GATEWAY_SETTINGS, Gate, made_in
from lab import git

from kt_escalation.audit import record_history, run
from kt_escalation.audit.mark import Mark
from kt_escalation.audit.report import reported
from kt_escalation.audit.run import History
from kt_escalation.audit.scope import Scope
from kt_escalation.audit.second_half import SecondHalf, first_share, guessed
from kt_escalation.storage import layout
from kt_escalation.storage.clone import GitStore

#: The tree of no files.
EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

#: As many of each in every run, and in the soak.
COUNTS = [9, pytest.param(24, marks=pytest.mark.soak)]


class Case(NamedTuple):
    """One history in the repository: its tip, and the time at which it is judged."""

    tip: str
    now: datetime


@pytest.fixture(scope="module", params=COUNTS)
def count(request: pytest.FixtureRequest) -> int:
    made: int = request.param
    return made


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, count: int) -> Path:
    path: Path = tmp_path_factory.mktemp("ahead")
    git("init", "--quiet", "--bare", str(path), cwd=path)
    return path


@pytest.fixture(scope="module")
def hostile_ones(repository: Path, count: int) -> list[Case]:
    graphs = [hostile.make(seed) for seed in range(count)]
    hostile.write(graphs, repository, {f"refs/heads/g{graph.seed}": graph.tip for graph in graphs})
    return [Case(graph.tip, graph.now) for graph in graphs]


@pytest.fixture(scope="module")
def legal_ones(repository: Path, count: int) -> list[Case]:
    made = [one for one in map(histories.make, range(count)) if not one.root]
    written = histories.write(made, repository)
    return [Case(written[one.seed][one.tip], one.now) for one in made]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Counter[bool]:
    """Makes every line long enough; counts how often the other process was believed, and how often it was not."""
    found: Counter[bool] = Counter()
    answer = SecondHalf.answer

    def counted(half: SecondHalf, mark: Mark) -> dict[str, Any] | None:
        told = answer(half, mark)
        found[told is not None] += 1
        return told

    monkeypatch.setattr(SecondHalf, "answer", counted)
    monkeypatch.setattr(run, "_LONG", 2)
    return found


def judged(repository: Path, case: Case) -> tuple[object, ...]:
    """All that a run finds, and the mark from which the next one goes on."""
    with closing(GitStore(repository)) as store:
        made = History(store).run(case.tip, Scope(case.now))
        return reported(made, case.tip), made.mark(case.tip)


#: What one run over all of it finds, by what was asked.
WHOLE: dict[tuple[Path, Case], tuple[object, ...]] = {}


def whole(
    monkeypatch: pytest.MonkeyPatch, repository: Path, cases: Sequence[Case]
) -> list[tuple[object, ...]]:
    with monkeypatch.context() as patch:
        patch.setattr(run, "_LONG", 1_000_000)
        for case in cases:
            if (repository, case) not in WHOLE:
                WHOLE[repository, case] = judged(repository, case)
    return [WHOLE[repository, case] for case in cases]


def test_a_hostile_line_is_judged_in_halves_as_it_is_whole(
    repository: Path, hostile_ones: list[Case], answers: Counter[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = whole(monkeypatch, repository, hostile_ones)
    assert [judged(repository, case) for case in hostile_ones] == wanted
    # What nobody could guess is judged by one process.
    assert answers[False] > len(hostile_ones) // 2


def test_a_legal_line_is_judged_in_halves_as_it_is_whole(
    repository: Path, legal_ones: list[Case], answers: Counter[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = whole(monkeypatch, repository, legal_ones)
    assert [judged(repository, case) for case in legal_ones] == wanted
    assert answers[True] >= len(legal_ones) // 3


def test_what_may_still_be_used_is_guessed(
    tmp_path: Path, answers: Counter[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decisions for one use, used and not, for a time and at any time, and one that is reopened, on both halves."""
    gate = Gate(made_in(tmp_path))
    gate.forge.write(
        "policies/settings.yaml", f"{GATEWAY_SETTINGS}  - {{match: {{reason_code: c.d}}, single_use: true}}\n"
    )
    gate.forge.commit("boss", "one more rule")
    for name in ("used", "later", "never", "reopened"):
        gate.decided(name)
    gate.decided("anytime", reason_code="c.d")
    gate.decided("denied", "denied")
    gate.decided("plain", reason_code="a.b")
    gate.released("esc_used")
    gate.do("bob", "reopen", "--id", "esc_reopened", "--reason", "look again")
    gate.do("bob", "reopen", "--id", "esc_plain", "--reason", "look again")
    middle = gate.forge.tip()
    for name in ("later", "anytime"):
        gate.released(f"esc_{name}", "T2")
    gate.do("bob", "note", "--id", "esc_two", "--text", "a step among those that are none")
    before, count = (len(git("rev-list", at, cwd=gate.forge.path).split()) for at in (middle, "HEAD"))
    while first_share(count) < before - 1:
        gate.forge.git("commit", "--quiet", "--allow-empty", "-m", "nothing", who="bob")
        count += 1
    case = Case(gate.forge.tip(), datetime.now(UTC))
    [wanted] = whole(monkeypatch, gate.forge.path, [case])
    answers.clear()
    assert judged(gate.forge.path, case) == wanted
    assert answers == {True: 1}
    with closing(GitStore(gate.forge.path)) as store:
        history = History(store)
        line = history.lines(case.tip).of(case.tip)
        assert line[first_share(len(line))] == middle
        found = guessed(store, history.trees, line)
        first = run.History(store).run(middle, Scope(case.now)).judge.mark(middle)
    assert found == first
    assert found.usable.keys() == {"esc_later", "esc_never", "esc_reopened"}


def test_the_first_half_is_enough_if_the_other_process_dies(
    repository: Path, legal_ones: list[Case], answers: Counter[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = whole(monkeypatch, repository, legal_ones[:3])
    begin = SecondHalf.__init__

    def killed(half: SecondHalf, *args: Any) -> None:
        begin(half, *args)
        half._process.kill()

    monkeypatch.setattr(SecondHalf, "__init__", killed)
    assert [judged(repository, case) for case in legal_ones[:3]] == wanted
    assert answers[False]
    assert not answers[True]


def test_the_life_of_a_record_is_the_same(
    repository: Path, legal_ones: list[Case], answers: Counter[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(GitStore(repository)) as store:
        for case in legal_ones[:4]:
            names = sorted(filter(None, map(layout.id_of, store.repository.changed(EMPTY, case.tip))))[:2]
            lives = [record_history.last_legal(store, case.tip, name, case.now) for name in names]
            with monkeypatch.context() as patch:
                patch.setattr(run, "_LONG", 1_000_000)
                assert lives == [record_history.last_legal(store, case.tip, name, case.now) for name in names]
            assert all(lives)
    assert answers[True]


def test_no_module_of_the_folder_that_one_works_in_is_run(
    repository: Path,
    legal_ones: list[Case],
    answers: Counter[bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = whole(monkeypatch, repository, legal_ones[:4])
    for name in ("json", "yaml", "kt_escalation"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    assert [judged(repository, case) for case in legal_ones[:4]] == wanted
    assert answers[True]
    assert not (tmp_path / "ran").exists()
