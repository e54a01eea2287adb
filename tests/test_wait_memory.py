"""What a clone remembers makes its waits cheap, and makes it believe nothing that `verify` would not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from forge import ONE, Forge, identity, rules_of, side
from gateways import Gate, made_in
from hypothesis import given
from hypothesis import strategies as st
from lab import kt
from past import Past
from sample_records import FULL

from kt_escalation.audit import milestones, record_history
from kt_escalation.audit.mark import remembered
from kt_escalation.audit.run import History, Run
from kt_escalation.storage import layout, lookup, notebook, yaml_text
from kt_escalation.storage.clone import GitStore
from kt_escalation.storage.reopenings import Reopenings
from kt_escalation.testing import MemoryRemote, MemorySnapshot

# --- what is found again without a look at everything ----------------------------------------------

PREFIXES = st.integers(0, 200_000), st.integers(0, 200_000), st.integers(0, 70_000)


@given(*PREFIXES)
def test_milestones_are_those_of_the_whole_line_wherever_it_was_judged_in_parts(
    first: int, second: int, third: int
) -> None:
    commits = range(first + second + third)
    marks: tuple[Any, ...] = ()
    count = 0
    for part in (first, second, third):
        marks = milestones.extended(marks, count, commits[count : count + part])  # type: ignore[arg-type]
        count += part
    assert marks == milestones.extended((), 0, commits)  # type: ignore[arg-type]
    assert len(marks) <= 128
    assert list(marks) == sorted(marks)
    apart = milestones.distance(count)
    assert [one + 1 for one in marks] == [*range(apart, count + 1, apart)]


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_first_of_many_is_found(count: int, at: int) -> None:
    row = [str(number) for number in range(count)]
    assert milestones.first(row, lambda one: int(one) >= at) == min(at, count)


@pytest.fixture(scope="module")
def long_ago(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store where one was decided on the line, one by a merge, one long ago for one use, and one is in an archive."""
    gate = Gate(made_in(tmp_path_factory.mktemp("long")))
    forge = gate.forge
    gate.decided("plain", reason_code="a.b")
    side(forge, "claim", "--id", "esc_one", who="alice")
    forge.git("switch", "--quiet", "side")
    forge.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    forge.git("switch", "--quiet", "-")
    forge.kt("bob", "note", "--id", "esc_two", "--text", "meanwhile")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="bob")
    gate.decided("once", reason_code="tool.call")
    gate.decided("again", reason_code="a.b")
    forge.kt("bob", "reopen", "--id", "esc_again", "--reason", "look again")
    for number in range(3):
        forge.kt("bob", "note", "--id", "esc_two", "--text", f"after {number}")
    return forge.path


NAMES = ("esc_plain", "esc_one", "esc_once", "esc_again", "esc_done")


def copied(path: Path, folder: Path) -> Forge:
    made = Forge.__new__(Forge)
    made.path = folder / "store"
    shutil.copytree(path, made.path)
    return made


def answered(forge: Forge, name: str) -> tuple[int, dict[str, Any]]:
    """What a wait says, as the gateway."""
    ran = kt("wait", "--id", name, "--timeout", "1s", "--json", cwd=forge.path, env=identity("gw"))
    return ran.code, ran.json if ran.out else ran.error


class Judged:
    """The runs of the judge: from which commit each went on, and what it looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[tuple[str | None, bool]] = []
        run = History.run

        def noted(history: History, tip: str, scope: Any, **more: Any) -> Run:
            since = more.get("since")
            self.runs.append((since.commit if since else None, scope.only is None))
            return run(history, tip, scope, **more)

        monkeypatch.setattr(History, "run", noted)


def test_each_answer_is_that_of_a_clone_that_remembers_nothing(
    long_ago: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge = copied(long_ago, tmp_path)
    with monkeypatch.context() as patch:
        # Without the short way, each is judged by itself over the whole line.
        patch.setattr(record_history, "_is_plainly_legal", lambda *_: False)
        whole = {name: answered(forge, name) for name in NAMES}
    assert [whole[name][0] for name in NAMES] == [0, 0, 6, 6, 1]
    forget(forge)
    judged = Judged(monkeypatch)
    assert {name: answered(forge, name) for name in NAMES} == whole
    # The first one judges all; each later one what is new, also for those from long before.
    tip = forge.tip()
    assert judged.runs == [(None, True)] + [(tip, True)] * (len(NAMES) - 1)


def test_each_answer_is_the_same_for_records_in_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = Past(tmp_path)
    before = {name: answered(past, name)[1] for name in ("esc_anna", "esc_dora")}
    past.compact()
    judged = Judged(monkeypatch)
    for name, told in before.items():
        code, now = answered(past, name)
        keys = ("commit", "resolved_at", "signed", "outcome", "by")
        assert code == 1
        assert [now[key] for key in keys] == [told[key] for key in keys]
    assert all(is_full and since for since, is_full in judged.runs)


def test_what_is_signed_step_by_step_is_known_for_old_ones_too(signed: Forge) -> None:
    from forge import sign_as

    sign_as(signed, "alice")
    for name, who in (("one", "alice"), ("two", "alice")):
        signed.kt(who, "claim", "--id", f"esc_{name}")
        if name == "two":
            continue
        signed.kt(who, "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    for more in ((), ("--require-signatures",)):
        for _ in range(2):
            ran = kt("wait", "--id", "esc_one", *more, "--json", cwd=signed.path, env=identity("gw"))
            told = (ran.code, ran.json["signed"] if ran.out else ran.error["code"])
            # It was raised before signatures were asked for.
            assert told == ((0, False) if not more else (6, "illegal_record")), told


def forget(forge: Forge) -> None:
    shutil.rmtree(forge.path / ".git/kt", ignore_errors=True)


def test_the_mark_of_verify_spares_the_first_wait_its_run(
    long_ago: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge = copied(long_ago, tmp_path)
    forget(forge)
    assert kt("verify", cwd=forge.path).code == 0
    judged = Judged(monkeypatch)
    assert answered(forge, "esc_plain")[0] == 0
    assert judged.runs == [(forge.tip(), True)]


# --- what it never makes it believe ------------------------------------------------------------------


def test_what_is_wrong_elsewhere_keeps_nobody_waiting_and_what_is_wrong_here_does(
    long_ago: Path, tmp_path: Path
) -> None:
    forge = copied(long_ago, tmp_path)
    assert answered(forge, "esc_plain")[0] == 0
    forge.edit("queue/esc_two.yaml", ("severity: critical", "severity: low"))
    forge.commit("mallory")
    assert rules_of(forge) == ["transition"]
    assert answered(forge, "esc_plain")[0] == 0
    # A message that is not true is nobody's state.
    forge.commit("mallory", "kt: resolve esc_plain as denied")
    assert answered(forge, "esc_plain")[0] == 0
    forge.edit(forge.resolved("plain"), ("reason: so it is", "reason: so it was"))
    forge.commit("mallory")
    for _ in range(2):
        assert answered(forge, "esc_plain")[1]["code"] == "illegal_record"
        assert answered(forge, "esc_one")[0] == 0


FORGERIES: dict[str, Callable[[Forge], object]] = {
    "a decision of an old one that changes": lambda forge: forge.edit(
        forge.resolved("plain"), ("reason: so it is", "reason: so it was")
    ),
    "a second file of an old one": lambda forge: forge.write(ONE.replace("one", "plain"), forge.read(forge.resolved("plain"))),
    "an old one that moves to another day": lambda forge: (
        forge.write("queue/resolved/2020/01/01/esc_plain.yaml", forge.read(forge.resolved("plain"))),
        (forge.path / forge.resolved("plain")).unlink(),
    ),
    "policies by somebody who may not": lambda forge: forge.write("policies/settings.yaml", "rules: []\n"),
}  # fmt: skip


#: What cannot be read where it lies is said before anything is judged.
UNREADABLE = ("a second file of an old one", "an old one that moves to another day")


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("seen", ["before the forgery", "with the forgery", "never"])
def test_a_forgery_of_an_old_one_is_not_released_whatever_was_remembered(
    long_ago: Path, tmp_path: Path, forgery: str, seen: str
) -> None:
    forge = copied(long_ago, tmp_path)
    forget(forge)
    if seen == "before the forgery":
        assert answered(forge, "esc_plain")[0] == 0
    FORGERIES[forgery](forge)
    forge.commit("mallory")
    if seen == "with the forgery":
        answered(forge, "esc_done")
    code = "unreadable_record" if forgery in UNREADABLE else "illegal_record"
    for _ in range(2):
        assert answered(forge, "esc_plain")[1]["code"] == code
    # To take it back heals nothing, unless an admin does.
    forge.git("revert", "--no-edit", "HEAD", who="bob")
    assert answered(forge, "esc_plain")[1]["code"] == "illegal_record"


def spoilt(text: bytes) -> Iterator[tuple[str, bytes]]:
    """A note that was changed: cut off, a bit turned in each part, another one's head, and nothing."""
    yield "nothing", b""
    yield "half", text[: len(text) // 2]
    for at in range(8, len(text), max(1, len(text) // 12)):
        yield f"bit at {at}", text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
    head, body = text.split(b"\n", 1)
    marks = json.loads(body)
    for branch in marks:
        for name in ("illegal", "found", "owed", "unreleased"):
            marks[branch][0][name] = {} if isinstance(marks[branch][0][name], dict) else []
    yield "believing", head + b"\n" + json.dumps(marks).encode()


def test_a_mark_that_was_changed_is_no_mark(
    long_ago: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge = copied(long_ago, tmp_path)
    forget(forge)
    forge.edit(forge.resolved("plain"), ("reason: so it is", "reason: so it was"))
    forge.commit("mallory")
    answered(forge, "esc_one")
    note = forge.path / ".git/kt" / record_history.WAITED
    whole = note.read_bytes()
    for how, text in spoilt(whole):
        note.write_bytes(text)
        with closing(GitStore(forge.path)) as store:
            assert remembered(store, record_history.WAITED) == [], how
        assert answered(forge, "esc_plain")[1]["code"] == "illegal_record", how


@pytest.mark.parametrize("other", ["verified", "judged-signed", "received"])
def test_a_mark_of_another_kind_or_of_another_clone_is_no_mark(
    long_ago: Path, tmp_path: Path, other: str
) -> None:
    forge = copied(long_ago, tmp_path)
    forget(forge)
    answered(forge, "esc_one")
    kt("verify", cwd=forge.path)
    folder = forge.path / ".git/kt"
    mark = (folder / record_history.WAITED).read_bytes()
    (tmp_path / "other").mkdir()
    stranger = copied(long_ago, tmp_path / "other")
    forget(stranger)
    stranger.edit(stranger.resolved("plain"), ("reason: so it is", "reason: so it was"))
    stranger.commit("mallory")
    answered(stranger, "esc_one")
    (stranger.path / ".git/kt" / record_history.WAITED).write_bytes(mark)
    assert answered(stranger, "esc_plain")[1]["code"] == "illegal_record"
    (folder / other).write_bytes(mark)
    assert notebook.read(folder, other) is None


# --- what reopens a record ---------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "is_bounded"), [(10, False), (60, True)])
def test_a_long_chain_of_reopenings_is_not_gone_along_for_each_record_of_it(
    length: int, is_bounded: bool
) -> None:
    """A forger's push of thousands would otherwise keep the server's hook busy for hours."""
    names = [f"esc_{number}" for number in range(length)]
    chain = [
        FULL.replace(escalation_id=name, reopens=before) for before, name in pairwise(["esc_full", *names])
    ]
    files = {layout.path_of(one): yaml_text.dumps(one) for one in chain}
    found = lookup.open_reopener(MemorySnapshot(MemoryRemote(files).commits[-1]), "esc_full")
    assert (found is not None) == is_bounded


def test_what_reopens_one_is_noted_once_and_read_only_where_it_changed(
    long_ago: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge = copied(long_ago, tmp_path)
    forget(forge)
    searched: list[str] = []
    search = Reopenings._searched

    def counted(self: Reopenings, commit: str) -> dict[str, str]:
        searched.append(commit)
        return search(self, commit)

    monkeypatch.setattr(Reopenings, "_searched", counted)

    def reopened(name: str, *more: str) -> Sequence[str]:
        found: Sequence[str] = kt("get", "--id", name, *more, "--json", cwd=forge.path).json["reopened_by"]
        return found

    [first] = reopened("esc_again")
    before = forge.tip()
    forge.kt("alice", "claim", "--id", first)
    forge.kt("alice", "resolve", "--id", first, "--outcome", "denied", "--reason", "no")
    forge.kt("bob", "reopen", "--id", "esc_again", "--reason", "and again")
    assert len(searched) == 1
    both = reopened("esc_again")
    assert both[0] == first
    assert len(both) == 2
    assert reopened("esc_again", "--rev", before) == [first]
    assert reopened("esc_one") == []
    assert len(searched) == 1
    forget(forge)
    assert reopened("esc_again") == both
    assert len(searched) == 2
    note = forge.path / ".git/kt/reopened"
    note.write_bytes(note.read_bytes().replace(first.encode(), b"esc_nobody".ljust(len(first), b"x")))
    assert reopened("esc_again") == both
    assert len(searched) == 3
