"""A decision is for one thing, once: what gateways may do with it, and what no forger can."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import errorbook
import pytest
from forge import (
    Forge,
    assert_found,
    assert_nothing_forged_is_released,
    assert_refused,
    identity,
    in_full,
    offer,
    others,
    push,
    serve,
    side,
    waive,
    way_in,
)
from gateways import DIGEST, INPUT, Gate, draft, made_in
from lab import end, git, kt, start
from past import acting

from kt_escalation import Store
from kt_escalation.errors import ReleaseExpired
from kt_escalation.model.release import Release
from kt_escalation.model.times import format_time
from kt_escalation.rules import releasing
from kt_escalation.testing import MemoryRemote, MemorySnapshot

OTHER = "sha256:" + "0" * 64


@pytest.fixture(scope="session")
def gate_ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = made_in(tmp_path_factory.mktemp("gate"))
    # It leaves fewer files to copy.
    made.git("gc", "--quiet")
    return made.path


@pytest.fixture
def gate(gate_ground: Path, tmp_path: Path) -> Gate:
    made = Forge.__new__(Forge)
    made.path = tmp_path / "store"
    shutil.copytree(gate_ground, made.path)
    return Gate(made)


# --- what a gateway may do ------------------------------------------------------------------------


def test_an_approval_is_used_once_and_a_receipt_says_what_came_of_it(gate: Gate) -> None:
    name = gate.decided("r1")
    needed = gate.run("gw", "wait", "--id", name, "--json")
    assert needed.code == 6
    assert needed.error["code"] == "release_needed"
    errorbook.hold(needed, gate.forge.path)
    early = gate.run("gw", "receipt", "--id", name, "--status", "executed", "--json")
    assert early.code == 6
    assert early.error["code"] == "not_released"
    errorbook.hold(early, gate.forge.path)
    had = gate.do("gw", "release", "--id", name, "--digest", DIGEST, "--release-id", "T.1", "--json").json
    assert had["release"]
    assert had["changed"]
    assert not had["repeat"]
    assert (had["digest"], had["release_id"], had["by"]) == (DIGEST, "T.1", ["alice"])
    assert had["release_commit"] == gate.forge.tip()
    assert had["commit"] == gate.forge.git("rev-parse", "HEAD^")
    again = gate.do("gw", "release", "--id", name, "--digest", DIGEST, "--release-id", "T.1", "--json").json
    assert again["repeat"]
    assert not again["changed"]
    for token in ((), ("--release-id", "T.2")):
        other = gate.run("gw", "release", "--id", name, "--digest", DIGEST, *token, "--json")
        assert other.code == 6
        assert other.error["code"] == "already_released"
        assert (other.error["release_id"], other.error["released_by"]) == ("T.1", "gw")
    errorbook.hold(other, gate.forge.path)
    assert gate.run("gw", "wait", "--id", name, "--json").error["code"] == "already_released"
    told = gate.do("gw", "receipt", "--id", name, "--status", "executed", "--json").json
    assert told["changed"]
    assert told["release_id"] == "T.1"
    assert told["receipt"]["receipt_by"] == "gw"
    assert not gate.do("gw", "receipt", "--id", name, "--status", "executed", "--json").json["changed"]
    other = gate.run("gw", "receipt", "--id", name, "--status", "failed", "--json")
    assert other.code == 6
    assert other.error["code"] == "other_receipt"
    errorbook.hold(other, gate.forge.path)
    assert gate.forge.git("log", "-2", "--format=%s").splitlines() == [
        f"kt: receipt {name} executed",
        f"kt: release {name}",
    ]
    assert "Kt-Release: T.1" in gate.forge.git("log", "-1", "--format=%B")
    assert gate.run("boss", "verify", "--afresh").code == 0


def test_what_a_merge_restores_and_decides_is_used_as_any_other(gate: Gate) -> None:
    name, forge = gate.raised("r1"), gate.forge
    path = f"queue/{name}.yaml"
    forge.edit(path, ("^severity: .*", "severity: low"))
    forge.commit("mallory")
    forge.git("switch", "--quiet", "-c", "side")
    gate.do("boss", "restore", "--id", name, "--reason", "forged")
    gate.review("alice", name, "approved")
    forge.git("switch", "--quiet", "main")
    gate.raised("r2")
    forge.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side", who="bob")
    told = gate.run("boss", "verify", "--json").json["violations"]
    waive(forge, *sorted({(one["commit"], one["rule"], one["path"]) for one in told}))
    forge.commit("boss")
    assert gate.do("gw", "release", "--id", name, "--digest", DIGEST, "--json").json["release"]
    for args in ((), ("--afresh",)):
        ran = gate.run("boss", "verify", *args)
        assert ran.code == 0, ran.out


def test_the_file_has_the_keys_in_their_order(gate: Gate) -> None:
    name = gate.decided("r1")
    path = gate.released(name)
    gate.do("gw", "receipt", "--id", name, "--status", "failed", "--reason", "the bank was closed")
    text = gate.forge.read(path)
    assert re.findall(r"^(?:  )?(\w+):", text, re.MULTILINE) == [
        *("schema_version", "escalation_id", "outcome", "digest", "resolved_at", "release_id"),
        *("released_by", "released_at", "receipt", "status", "receipt_by", "receipt_at", "reason"),
    ]
    assert path == gate.forge.resolved("r1").replace("/resolved/", "/released/")


def test_after_unknown_an_admin_says_once_what_it_was(gate: Gate) -> None:
    name = gate.decided("r1")
    gate.released(name)
    gate.do("gw", "receipt", "--id", name, "--status", "unknown")
    assert gate.run("gw", "receipt", "--id", name, "--status", "executed").code == 3
    assert gate.run("boss", "receipt", "--id", name, "--status", "executed").code == 2
    gate.do("boss", "receipt", "--id", name, "--status", "executed", "--reason", "the bank says so")
    late = gate.run("boss", "receipt", "--id", name, "--status", "failed", "--reason", "no", "--json")
    assert late.code == 3 or late.error["code"] == "other_receipt"
    assert gate.run("boss", "verify", "--afresh").code == 0


@pytest.mark.parametrize(
    ("who", "args", "code", "exit_code"),
    [
        ("gw", (), "bad_input", 2),
        ("gw", ("--digest", "nonsense"), "bad_input", 2),
        ("gw", ("--digest", DIGEST, "--release-id", "a b"), "bad_input", 2),
        ("gw", ("--digest", OTHER), "other_action", 6),
        ("alice", ("--digest", DIGEST), "not_allowed", 3),
        ("alice", ("--digest", OTHER), "not_allowed", 3),
    ],
)
def test_a_release_is_refused(gate: Gate, who: str, args: tuple[str, ...], code: str, exit_code: int) -> None:
    name = gate.decided("r1")
    ran = gate.run(who, "release", "--id", name, *args, "--json")
    assert (ran.code, ran.error["code"]) == (exit_code, code)
    if code == "other_action":
        errorbook.hold(ran, gate.forge.path)
    assert gate.release_path(name) == ""


def test_what_is_open_denied_or_withdrawn_is_not_released(gate: Gate) -> None:
    name = gate.raised("r1")
    assert (
        gate.run("gw", "release", "--id", name, "--digest", DIGEST, "--json").error["code"] == "not_resolved"
    )
    denied = gate.decided("r2", "denied")
    ran = gate.run("gw", "release", "--id", denied, "--digest", DIGEST, "--json")
    assert (ran.code, ran.error["code"]) == (6, "not_releasing")
    errorbook.hold(ran, gate.forge.path)
    waited = gate.run("gw", "wait", "--release", "--id", denied, "--digest", DIGEST)
    assert waited.code == 1
    assert waited.json["release"] is False
    assert waited.json["by"] == ["alice"]
    gate.do("gw", "withdraw", "--id", name, "--reason", "the caller is gone")
    waited = gate.run("gw", "wait", "--id", name)
    assert waited.code == 1
    assert waited.json["outcome"] == "withdrawn"
    assert waited.json["release"] is False
    ran = gate.run("gw", "release", "--id", name, "--digest", DIGEST, "--json")
    assert (ran.code, ran.error["code"]) == (6, "not_releasing")


def test_what_an_open_escalation_reopens_is_not_released(gate: Gate) -> None:
    name = gate.decided("r1")
    gate.do("bob", "reopen", "--id", name, "--reason", "look again")
    for args in (("release",), ("wait", "--release")):
        ran = gate.run("gw", *args, "--id", name, "--digest", DIGEST, "--json")
        assert (ran.code, ran.error["code"]) == (6, "already_reopened")


@pytest.mark.parametrize(
    ("outcome", "code"), [("denied", "tool.call"), ("approved", "a.b"), ("withdrawn", "tool.call")]
)
def test_a_reopening_that_was_not_withdrawn_ends_a_decision_for_good(
    gate: Gate, outcome: str, code: str
) -> None:
    """Whatever it ends in: there are never two decisions to run one request by."""
    name = gate.decided("r1", reason_code=code)
    again = reopened(gate, name, outcome)
    for args in (("release",), ("wait", "--release"), ("wait",)):
        ran = gate.run("gw", *args, "--id", name, "--digest", DIGEST, "--json")
        if outcome == "withdrawn":
            # It is as if nobody had asked.
            assert ran.code == 0 if args == ("release",) else ran.error["code"] == "already_released"
            continue
        assert (ran.code, ran.error["code"], ran.error["reopened_by"]) == (6, "already_reopened", again)
        assert ran.error["outcome"] == outcome
        assert f"kt escalation wait --id {again}" in ran.err
    assert gate.run("boss", "verify").code == 0


def test_a_reopening_of_one_that_was_withdrawn_counts_as_well(gate: Gate) -> None:
    name = gate.decided("r1")
    again = reopened(gate, reopened(gate, name, "withdrawn"), "denied")
    ran = gate.run("gw", "release", "--id", name, "--digest", DIGEST, "--json")
    assert (ran.code, ran.error["code"], ran.error["reopened_by"]) == (6, "already_reopened", again)


def reopened(gate: Gate, name: str, outcome: str) -> str:
    """Reopen one as bob, and end that; its id."""
    ran = gate.do("bob", "reopen", "--id", name, "--reason", "look again", "--json")
    again: str = ran.json["escalation"]["escalation_id"]
    if outcome == "withdrawn":
        gate.do("bob", "withdraw", "--id", again, "--reason", "I misread it")
    else:
        gate.review("alice", again, outcome)
    return again


@pytest.mark.parametrize("how", ["withdrawn", "taken away", "taken away when it was decided", "waived"])
def test_only_legal_steps_end_a_reopening(gate: Gate, how: str) -> None:
    """Who has pushed something past the hook, so that a decision looks undoubted, gains nothing by it."""
    name = gate.decided("r1")
    again = reopened(gate, name, "denied") if "decided" in how else ""
    if not again:
        ran = gate.do("bob", "reopen", "--id", name, "--reason", "look again", "--json")
        again = ran.json["escalation"]["escalation_id"]
    path = git("ls-files", f"queue/**{again}.yaml", cwd=gate.forge.path)
    if "taken" in how:
        (gate.forge.path / path).unlink()
    else:
        gate.forge.as_kt_does("bob", "withdraw", "--id", again, "--reason", "it was right")
        found = gate.forge.resolved(again.removeprefix("esc_"))
        gate.forge.edit(found, ("resolved_by: bob", "resolved_by: alice"))
    gate.forge.commit("alice")
    before = gate.forge.tip()
    [wrong] = kt("verify", "--json", cwd=gate.forge.path).json["violations"]
    assert wrong["escalation_id"] == again
    if how == "waived":
        waive(gate.forge, (wrong["commit"], wrong["rule"], wrong["path"]))
        gate.forge.commit("boss")
        assert gate.run("boss", "verify").code == 0
    for args in (("release", "--digest", DIGEST), ("wait", "--release", "--digest", DIGEST), ("wait",)):
        ran = gate.run("gw", *args, "--id", name, "--json")
        assert (ran.code, ran.error["code"], ran.error["commit"]) == (6, "illegal_record", before)
    # A clone that has judged nothing yet says the same.
    shutil.rmtree(gate.forge.path / ".git/kt")
    assert gate.run("gw", "wait", "--id", name, "--json").error["code"] == "illegal_record"
    write_release(gate, name)
    rules = {
        one["rule"] for one in kt("verify", "--afresh", "--json", cwd=gate.forge.path).json["violations"]
    }
    assert rules == ({"release"} if how == "waived" else {"release", wrong["rule"]})


def test_a_release_that_the_store_began_with_is_the_only_one_of_its_id(gate: Gate) -> None:
    """Whether the judge sees all of history or goes on from a mark."""
    path = gate.released(gate.decided("r1"))
    gate.forge.write("queue/released/2001/01/01/esc_r1.yaml", gate.forge.read(path))
    (gate.forge.path / path).unlink()
    (gate.forge.path / gate.forge.resolved("r1")).unlink()
    gate.forge.git("checkout", "--quiet", "--orphan", "new")
    gate.forge.commit("boss", "The store as it was handed over")
    name = gate.decided("r1")
    assert gate.run("boss", "verify").code == 0
    write_release(gate, name, release_id="T2")
    for more in ((), ("--afresh",)):
        found = kt("verify", "--json", *more, cwd=gate.forge.path).json["violations"]
        assert [one["rule"] for one in found] == ["release"], found


def test_a_circle_of_reopenings_that_a_forger_made_is_gone_round_once(gate: Gate) -> None:
    """Otherwise whoever may push stops the server's hook, and each `wait`."""
    name = gate.decided("r1", reason_code="a.b")
    again = reopened(gate, name, "denied")
    server = serve(gate.forge)
    more = f"  approvals: 1\nreopens: {again}\n"
    gate.forge.edit(gate.forge.resolved("r1"), ("  approvals: 1\n", more))
    gate.forge.commit("alice")
    gate.forge.as_kt_does("bob", "reopen", "--id", again, "--reason", "and again")
    gate.forge.commit("bob")
    assert gate.run("boss", "verify").code == 1
    assert gate.run("gw", "wait", "--id", name).code == 6
    assert offer(gate.forge, server).code == 1


def test_a_decision_that_is_not_for_one_use_is_answered_and_nothing_is_written(gate: Gate) -> None:
    name = gate.decided("r1", reason_code="a.b")
    before = gate.forge.tip()
    for args in (("wait",), ("wait", "--release"), ("release", "--json")):
        ran = gate.do("gw", *args, "--id", name, "--digest", DIGEST)
        assert ran.json["release"]
        assert ran.json["release_id"] is None
        assert ran.json["do"] == "release the request as it is"
        other = gate.run("gw", *args, "--id", name, "--digest", OTHER)
        assert other.code == 6
    ran = gate.do("gw", "release", "--id", name, "--digest", DIGEST)
    assert "not for one use, so nothing was written and no receipt is needed: release the request" in ran.out
    assert gate.forge.tip() == before


def test_a_receipt_where_there_is_no_release_says_whether_one_is_missing(gate: Gate) -> None:
    name = gate.raised("r1")
    for prepare, said in (
        (None, "was not released: it is queued; wait for the decision with `kt escalation wait --release"),
        ("approved", f"was not released; release it first with `kt escalation release --id {name}`"),
    ):
        if prepare:
            gate.review("alice", name, prepare)
        ran = gate.run("gw", "receipt", "--id", name, "--status", "executed", "--json")
        assert (ran.code, ran.error["code"]) == (6, "not_released")
        assert said in ran.error["message"]
    for other, outcome, said in (
        (gate.raised("r2"), "denied", "it is denied, so nothing was to be run"),
        (
            gate.raised("r3", reason_code="a.b"),
            "approved",
            "no receipt: its decision is not for one use; nothing",
        ),
    ):
        gate.review("alice", other, outcome)
        ran = gate.run("gw", "receipt", "--id", other, "--status", "executed", "--json")
        assert (ran.code, ran.error["code"]) == (6, "not_released")
        assert said in ran.error["message"]
        assert "release it first" not in ran.error["message"]


def test_wait_and_run_never_runs_what_was_rewritten(gate: Gate) -> None:
    changed = {**INPUT, "amount": 90}
    for number, (reason_code, extra) in enumerate([("a.b", ()), ("tool.call", ("--release",))]):
        name = gate.decided(f"r{number}", "rewritten", changed, reason_code=reason_code)
        args = ("wait", *extra, "--id", name, "--digest", DIGEST)
        ran = gate.run("gw", *args, "--json")
        assert (ran.code, ran.error["code"]) == (6, "amended")
        assert gate.release_path(name) == ""
        if not extra:
            errorbook.hold(ran, gate.forge.path)
        ran = gate.do("gw", *args, "--amended")
        amendment = ran.json["amendment"]
        assert amendment["value"] == changed
        assert amendment["digest"] == ran.json["digest"] != DIGEST
    assert f'digest: "{ran.json["digest"]}"' in gate.forge.read(gate.release_path("esc_r1"))
    assert gate.run("boss", "verify", "--afresh").code == 0


def test_an_amendment_that_does_not_fit_is_refused_with_its_pointer(gate: Gate) -> None:
    name = gate.raised("r1")
    gate.do("alice", "claim", "--id", name)
    before = gate.forge.tip()
    args = ("--outcome", "rewritten", "--reason", "less", "--amendment", "-", "--json")
    ran = gate.run("alice", "resolve", "--id", name, *args, stdin='{"amount": "90"}')
    assert (ran.code, ran.error["code"], ran.error["pointer"]) == (2, "bad_amendment", "/amount")
    twice = gate.run("alice", "resolve", "--id", name, *args, stdin='{"amount": 9, "amount": 90}')
    assert (twice.code, twice.error["problem"]) == (2, "stdin holds a key twice")
    errorbook.hold(ran, gate.forge.path)
    assert gate.forge.tip() == before


def test_a_decision_is_used_in_its_time(gate: Gate) -> None:
    name, plain = gate.decided("r1"), gate.decided("r2", reason_code="later.use")
    late = datetime.now(UTC) + timedelta(minutes=16)
    with Store.open(gate.forge.path, clock=lambda: late) as store:
        gate.forge.git("config", "user.email", "gw@example.com")
        gate.forge.git("config", "user.name", "gw")
        with pytest.raises(ReleaseExpired, match="could be released until") as late_one:
            store.release(name, digest=DIGEST)
        found = late_one.value
        typed = ("release", "--id", name, "--digest", DIGEST)
        errorbook.hold_line(found.code, found.exit_code, found.message, gate.forge.path, typed)
        with pytest.raises(Exception, match="could be released until"):
            store.wait(plain)
    with Store.open(gate.forge.path) as store:
        assert store.wait(plain).outcome == "approved"
        assert store.release(name, digest=DIGEST).changed


def test_a_repository_with_remotes_never_releases_on_a_branch_of_its_own(gate: Gate, tmp_path: Path) -> None:
    name = gate.decided("r1")
    gate.forge.git("remote", "add", "upstream", str(tmp_path / "elsewhere.git"))
    ran = gate.run("gw", "release", "--id", name, "--digest", DIGEST, "--json")
    assert (ran.code, ran.error["code"]) == (2, "no_store_branch")
    assert "upstream" in ran.error["message"]


def test_a_made_up_release_id_is_on_disk_and_said_before_it_is_used(gate: Gate) -> None:
    name = gate.decided("r1")
    ran = gate.do("gw", "release", "--id", name, "--digest", DIGEST, "--json")
    token = ran.json["release_id"]
    assert f"releasing {name} under release id {token}" in ran.err
    note = next((gate.forge.path / ".git/kt").glob("releases"))
    assert json.loads(note.read_text().split("\n", 1)[1]) == {name: token}


def test_one_of_many_gateways_has_it_and_the_others_are_told_who(gate: Gate, tmp_path: Path) -> None:
    race(gate, tmp_path, rounds=1)


@pytest.mark.soak
def test_one_of_many_gateways_has_it_a_hundred_times(gate: Gate, tmp_path: Path) -> None:
    race(gate, tmp_path, rounds=100)


def race(gate: Gate, folder: Path, rounds: int, racers: int = 16) -> None:
    """Let processes on clones of their own take one release, each with its own token."""
    remote = folder / "remote.git"
    git("clone", "--quiet", "--bare", str(gate.forge.path), str(remote), cwd=folder)
    clones = [folder / f"clone{number}" for number in range(racers)]
    for clone in clones:
        git("clone", "--quiet", str(remote), str(clone), cwd=folder)
    gate.forge.git("remote", "add", "origin", str(remote))
    for number in range(rounds):
        # Decided now: a decision for one use has its time, and many rounds take longer.
        name = gate.decided(f"race{number}")
        started = [
            start(
                *("release", "--id", name, "--digest", DIGEST, "--release-id", clone.name, "--json"),
                *("--retry-timeout", "5m", "--lock-timeout", "5m"),
                cwd=clone,
                env=identity("gw"),
                forked=True,
            )
            for clone in clones
        ]
        with ThreadPoolExecutor(racers) as pool:
            ended = list(pool.map(end, started))
        assert sorted(ran.code for ran in ended) == [0] + [6] * (racers - 1), [ran.err for ran in ended]
        [winner] = [ran.json["release_id"] for ran in ended if ran.code == 0]
        losers = [ran.error for ran in ended if ran.code == 6]
        assert all((lost["code"], lost["release_id"]) == ("already_released", winner) for lost in losers)
    assert kt("verify", "main", cwd=remote).code == 0


def test_two_replicas_under_one_token_are_told_apart(gate: Gate, tmp_path: Path) -> None:
    name = gate.decided("r1")
    remote = tmp_path / "remote.git"
    git("clone", "--quiet", "--bare", str(gate.forge.path), str(remote), cwd=tmp_path)
    answers = []
    for replica in ("one", "two"):
        git("clone", "--quiet", str(remote), replica, cwd=tmp_path)
        ran = kt(
            *("release", "--id", name, "--digest", DIGEST, "--release-id", "same", "--json"),
            cwd=tmp_path / replica,
            env=identity("gw"),
        )
        assert ran.code == 0
        answers.append((ran.json["changed"], ran.json["repeat"]))
    assert answers == [(True, False), (False, True)]
    # Whoever reads the token from git is somebody else.
    ran = kt(
        *("release", "--id", name, "--digest", DIGEST, "--release-id", "same", "--json"),
        cwd=tmp_path / "one",
        env=identity("boss"),
    )
    assert (ran.code, ran.error["code"]) == (6, "already_released")


def test_the_hook_refuses_a_release_of_the_future(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.decided("r1")
    server = serve(gate.forge)
    for key, value in identity("gw").items():
        monkeypatch.setenv(key, value)
    with Store.open(gate.forge.path, clock=lambda: datetime.now(UTC) + timedelta(minutes=10)) as store:
        assert store.release("esc_r1", digest=DIGEST).changed
    ran = offer(gate.forge, server)
    assert ran.code == 1
    assert "time: expected a commit no later than now" in ran.err


@pytest.mark.parametrize(("late", "found"), [(-10, True), (-1, False), (0, False), (1, False), (10, True)])
def test_a_release_that_arrives_is_of_now_both_ways(late: int, found: bool) -> None:
    """The record, the commit and its date may agree with each other, and be of another time."""
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    remote = MemoryRemote({"policies/settings.yaml": "rules: [{match: {severity: low}, single_use: true}]\n"})
    with remote.store("gw@example.com", clock=lambda: now) as store:
        store.create(request_id="r", reason_code="a.b", severity="low")
        store.claim("esc_r")
        record = store.resolve("esc_r", "approved", "fine").record
        assert store.release("esc_r").changed
        release = MemorySnapshot(remote.commits[-1]).release(record)
        assert isinstance(release, Release)
        clock = now - timedelta(minutes=late)
        made = releasing.ReleaseCommit("gw@example.com", now, store.policies(), clock)
    violations = [one.expected for one in releasing.judge(releasing.Decided(record, now), release, made)]
    assert violations == ([f"expected a release of now, {format_time(clock)}"] if found else [])


def test_what_commands_print_has_the_keys_of_the_appendix(gate: Gate) -> None:
    name = gate.decided("r1", "rewritten", {**INPUT, "amount": 90})
    had = gate.do("gw", "wait", "--release", "--id", name, "--digest", DIGEST, "--amended").json
    assert list(had)[:12] == [
        *("escalation_id", "request_id", "outcome", "release", "amendment", "digest"),
        *("reason", "by", "signed", "resolved_at", "commit", "release_id"),
    ]
    assert {"do", "resolution", "changed", "release_commit", "repeat"} <= set(had)
    assert set(had["amendment"]) == {"media_type", "digest", "value"}
    assert had["digest"] == had["amendment"]["digest"]
    result = "sha256:" + "5" * 64
    wrong = gate.run("gw", "receipt", "--id", name, "--status", "executed", "--result-digest", "5", "--json")
    assert (wrong.code, wrong.error["code"]) == (2, "bad_input")
    given = gate.do(
        "gw", "receipt", "--id", name, "--status", "executed", "--result-digest", result, "--json"
    ).json
    assert list(given) == ["escalation_id", "release_id", "receipt", "commit", "changed"]
    assert list(given["receipt"]) == ["status", "result_digest", "receipt_by", "receipt_at"]
    assert given["receipt"]["result_digest"] == result
    assert result in gate.forge.read(gate.release_path(name))
    withdrawn = gate.do("gw", "withdraw", "--id", gate.raised("r2"), "--reason", "gone", "--json").json
    assert set(withdrawn) == {"escalation", "commit", "changed"}
    kind = ("--kind", "tool.call", "--name", "refund")
    assert gate.do("gw", "digest", *kind, "--json", stdin=json.dumps(INPUT)).json == {"digest": DIGEST}
    assert gate.do("gw", "digest", *kind, "-", stdin=json.dumps(INPUT)).out == f"{DIGEST}\n"


def test_get_shows_what_was_proposed_what_was_amended_and_what_is_released(gate: Gate) -> None:
    amendment = {**INPUT, "amount": 90}
    name = gate.decided("r1", "rewritten", amendment, reason_code="a.b")
    told = gate.do("bob", "get", "--id", name, "--json").json
    assert told["escalation"]["action"]["digest"] == DIGEST
    assert told["escalation"]["reviews"][0]["amendment"]["value"] == amendment
    assert told["amendment"]["value"] == amendment
    assert told["digest"] == told["amendment"]["digest"] != DIGEST
    shown = gate.do("bob", "get", "--id", name).out
    assert DIGEST in shown
    assert told["digest"] in shown
    assert '"amount": 90' in shown


def test_get_says_that_a_release_cannot_be_read(gate: Gate) -> None:
    name = gate.decided("r1")
    write_release(gate, name, release_id='"a b"')
    told = gate.do("bob", "get", "--id", name, "--json")
    assert told.json["release"] is None
    path, _ = release_text(gate, name)
    assert [item["path"] for item in told.json["invalid"]] == [path]
    assert path in told.err
    assert "release_id: must be" in gate.do("bob", "get", "--id", name).err


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        *(("allow", "approved"), ("approve", "approved"), ("approved", "approved"), ("block", "denied")),
        *(("deny", "denied"), ("reject", "denied"), ("rejected", "denied"), ("denied", "denied")),
        *(("redact", "redacted"), ("rewrite", "rewritten"), ("Approve", "approved")),
    ],
)
def test_outcomes_are_taken_in_the_words_that_people_and_gateways_use(word: str, outcome: str) -> None:
    remote = MemoryRemote()
    store = remote.store("alice@example.com")
    store.create(request_id="r", reason_code="a.b")
    store.claim("esc_r")
    end = store.resolve("esc_r", word, "so it is").record.resolution
    assert end is not None
    assert end.outcome == outcome


def test_a_caller_who_insists_on_signatures_believes_nothing_unsigned(gate: Gate) -> None:
    name, once = gate.decided("r1", reason_code="a.b"), gate.decided("r2")
    assert gate.do("gw", "wait", "--id", name).json["signed"] is False
    for args in (("wait", "--id", name), ("wait", "--release", "--id", once), ("release", "--id", once)):
        ran = gate.run("gw", *args, "--digest", DIGEST, "--require-signatures", "--json")
        assert (ran.code, ran.error["code"]) == (6, "illegal_record")
        assert ran.error["rule"] == "unsigned"
        assert gate.release_path(once) == ""


def test_one_escalation_is_waited_for_and_shown_at_a_time(gate: Gate) -> None:
    one, two = gate.raised("r1"), gate.raised("r2")
    for command in ("wait", "get", "release", "receipt"):
        more = ("--status", "executed") if command == "receipt" else ()
        for ids in (("--id", one, "--id", two), (one, "--id", two), ("--id", one, "--request-id", "r2")):
            assert gate.run("gw", command, *ids, *more).code == 2, (command, ids)


def test_withdrawing_is_for_who_raised_it_and_for_admins(gate: Gate) -> None:
    for number, who in enumerate(("gw", "boss")):
        name = gate.raised(f"r{number}")
        stranger = gate.run("alice", "withdraw", "--id", name, "--reason", "no", "--json")
        assert (stranger.code, stranger.error["code"]) == (3, "not_allowed")
        gate.do("alice", "claim", "--id", name)
        done = gate.do(who, "withdraw", "--id", name, "--reason", "gone", "--json").json
        assert done["escalation"]["resolution"]["outcome"] == "withdrawn"
        assert done["changed"]
        assert not gate.do(who, "withdraw", "--id", name, "--reason", "gone", "--json").json["changed"]
        late = gate.run(who, "withdraw", "--id", name, "--reason", "other", "--json")
        assert (late.code, late.error["code"]) == (6, "already_resolved")
    assert gate.forge.git("log", "-1", "--format=%s") == "kt: withdraw esc_r1"
    assert gate.run("boss", "verify", "--afresh").code == 0


# --- what no forger can ---------------------------------------------------------------------------

FORGERIES: dict[str, tuple[str, str, Callable[[Gate], None]]] = {}


def forgery(rule: str, said: str = "") -> Callable[[Callable[[Gate], None]], Callable[[Gate], None]]:
    """Enter a forgery into the corpus, with the rule that it breaks and words of what was expected."""

    def enter(make: Callable[[Gate], None]) -> Callable[[Gate], None]:
        FORGERIES[make.__name__.replace("_", " ")] = (rule, said, make)
        return make

    return enter


def release_text(gate: Gate, name: str, **more: str) -> tuple[str, str]:
    """Where the release of a resolved one belongs, and its text, with some keys as given."""
    record = gate.forge.resolved(name.removeprefix("esc_"))
    resolved_at = re.findall(r'resolved_at: (".*")', gate.forge.read(record))[0]
    keys = {
        "schema_version": "2",
        "escalation_id": name,
        "outcome": "approved",
        "digest": f'"{DIGEST}"',
        "resolved_at": resolved_at,
        "release_id": "T1",
        "released_by": "gw",
        "released_at": f'"{format_time(datetime.now(UTC))}"',
        **more,
    }
    return record.replace("/resolved/", "/released/"), "".join(f"{k}: {v}\n" for k, v in keys.items())


def write_release(gate: Gate, name: str, who: str = "gw", **more: str) -> None:
    path, text = release_text(gate, name, **more)
    gate.forge.write(path, text)
    gate.forge.commit(who)


@forgery("release", "expected a decision that legal steps led to")
def a_release_of_what_was_denied(gate: Gate) -> None:
    write_release(gate, gate.decided("r1", "denied"))


@forgery("release", "expected a decision that legal steps led to")
def a_release_of_what_is_open(gate: Gate) -> None:
    name = gate.decided("r1")
    path, text = release_text(gate, name)
    gate.raised("r2")
    gate.forge.write(path.replace("r1", "r2"), text.replace("esc_r1", "esc_r2"))
    gate.forge.commit("gw")


@forgery("release", "expected a decision that legal steps led to")
def a_release_of_what_nobody_has_raised(gate: Gate) -> None:
    path, text = release_text(gate, gate.decided("r1"))
    gate.forge.write(path.replace("r1", "ghost"), text.replace("esc_r1", "esc_ghost"))
    gate.forge.commit("gw")


@forgery("release", "expected a decision that legal steps led to")
def a_release_of_what_is_not_for_one_use(gate: Gate) -> None:
    write_release(gate, gate.decided("r1", reason_code="a.b"))


@forgery("release", "release_id: must be letters, digits")
def a_release_under_an_id_that_is_none(gate: Gate) -> None:
    write_release(gate, gate.decided("r1"), release_id='"a b"')


@forgery("release", "expected digest sha256:")
def a_release_for_another_digest(gate: Gate) -> None:
    write_release(gate, gate.decided("r1"), digest=f'"{OTHER}"')


@forgery("release", "expected digest sha256:")
def a_release_of_the_original_where_it_was_rewritten(gate: Gate) -> None:
    name = gate.decided("r1", "rewritten", {"amount": 1})
    write_release(gate, name, outcome="rewritten")


@forgery("release", "expected outcome rewritten")
def a_release_as_approved_where_it_was_rewritten(gate: Gate) -> None:
    write_release(gate, gate.decided("r1", "rewritten", {"amount": 1}))


@forgery("release", "does not have the role gateway or admin")
def a_release_by_a_reviewer(gate: Gate) -> None:
    write_release(gate, gate.decided("r1"), "alice", released_by="alice")


@forgery("release", "expected released_by gw")
def a_release_in_anothers_name(gate: Gate) -> None:
    write_release(gate, gate.decided("r1"), released_by="boss")


@forgery("time", "expected the commit's own time")
def a_release_dated_ahead(gate: Gate) -> None:
    name = gate.decided("r1")
    moment = format_time(datetime.now(UTC) + timedelta(minutes=10))
    write_release(gate, name, released_at=f'"{moment}"')


@forgery("time", "expected the commit's own time")
def a_late_release_that_says_it_was_in_time(gate: Gate) -> None:
    name = gate.decided("r1")
    path, text = release_text(gate, name)
    gate.forge.write(path, text)
    late = datetime.now(UTC) + timedelta(minutes=16)
    gate.forge.commit("gw", GIT_COMMITTER_DATE=f"{int(late.timestamp())} +0000")


@forgery("release", "could be released until")
def a_late_release(gate: Gate) -> None:
    name = gate.decided("r1")
    late = datetime.now(UTC) + timedelta(minutes=16)
    path, text = release_text(gate, name, released_at=f'"{format_time(late)}"')
    gate.forge.write(path, text)
    gate.forge.commit("gw", GIT_COMMITTER_DATE=f"{int(late.timestamp())} +0000")


@forgery("release", "expected it at queue/released/")
def a_second_release_on_another_day(gate: Gate) -> None:
    name = gate.decided("r1")
    path, text = release_text(gate, name)
    gate.forge.write(re.sub(r"\d{4}/\d\d/\d\d", "2001/01/01", path), text)
    gate.forge.commit("gw")


@forgery("release", "expected a decision that legal steps led to")
def a_release_that_was_used_and_comes_on_another_day(gate: Gate) -> None:
    name = gate.decided("r1")
    gate.released(name)
    path, text = release_text(gate, name, release_id="T2")
    gate.forge.write(re.sub(r"\d{4}/\d\d/\d\d", "2001/01/01", path), text)
    gate.forge.commit("gw")


@forgery("receipt", "expected a receipt and no other change")
def a_release_under_another_token(gate: Gate) -> None:
    path = gate.released(gate.decided("r1"))
    gate.forge.edit(path, ("release_id: T1", "release_id: T2"))
    gate.forge.commit("gw")


@forgery("release", "expected a release to stay where it is")
def a_release_that_is_taken_back(gate: Gate) -> None:
    path = gate.released(gate.decided("r1"))
    (gate.forge.path / path).unlink()
    gate.forge.commit("boss")


@forgery("release", "expected a release to stay where it is")
def a_release_that_moves(gate: Gate) -> None:
    path = gate.released(gate.decided("r1"))
    other = re.sub(r"\d{4}/\d\d/\d\d", "2001/01/01", path)
    gate.forge.write(other, gate.forge.read(path))
    (gate.forge.path / path).unlink()
    gate.forge.commit("boss")


@forgery("release", "it is not in canonical form")
def a_release_in_other_words(gate: Gate) -> None:
    path, text = release_text(gate, gate.decided("r1"))
    gate.forge.write(path, text.replace("outcome: approved", 'outcome: "approved"'))
    gate.forge.commit("gw")


@forgery("release", "is not a known key")
def a_release_with_a_key_of_its_own(gate: Gate) -> None:
    path, text = release_text(gate, gate.decided("r1"))
    gate.forge.write(path, f"{text}again: yes\n")
    gate.forge.commit("gw")


@forgery("release", "which is denied")
def a_release_of_what_was_reopened_and_denied(gate: Gate) -> None:
    name = gate.decided("r1")
    reopened(gate, name, "denied")
    write_release(gate, name)


@forgery("release", "was reopened as")
def a_release_of_what_is_reopened(gate: Gate) -> None:
    name = gate.decided("r1")
    gate.do("bob", "reopen", "--id", name, "--reason", "look again")
    write_release(gate, name)


def receipted(gate: Gate, who: str, status: str = "executed", by: str | None = None, **more: str) -> None:
    path = gate.released(gate.decided("r1"))
    lines = {"status": status, **more, "receipt_by": by or who}
    lines["receipt_at"] = f'"{format_time(datetime.now(UTC))}"'
    text = "".join(f"  {key}: {value}\n" for key, value in lines.items())
    gate.forge.write(path, f"{gate.forge.read(path)}receipt:\n{text}")
    gate.forge.commit(who)


@forgery("receipt", "gw released it")
def a_receipt_by_somebody_else(gate: Gate) -> None:
    receipted(gate, "boss")


@forgery("receipt", "expected receipt")
def a_receipt_in_anothers_name(gate: Gate) -> None:
    receipted(gate, "gw", by="boss")


@forgery("receipt", "says executed")
def a_second_receipt(gate: Gate) -> None:
    name = gate.decided("r1")
    path = gate.released(name)
    gate.do("gw", "receipt", "--id", name, "--status", "executed")
    gate.forge.edit(path, ("status: executed", "status: failed"))
    gate.forge.commit("gw")


@forgery("receipt", "give a reason")
def a_receipt_after_unknown_without_a_reason(gate: Gate) -> None:
    name = gate.decided("r1")
    path = gate.released(name)
    gate.do("gw", "receipt", "--id", name, "--status", "unknown")
    gate.forge.edit(path, ("status: unknown", "status: executed"), ("receipt_by: gw", "receipt_by: boss"))
    gate.forge.commit("boss")


@forgery("message", "expected Kt-Release: T1; it says T2")
def a_message_that_names_another_release(gate: Gate) -> None:
    name = gate.decided("r1")
    path, text = release_text(gate, name)
    gate.forge.write(path, text)
    gate.forge.commit(
        "gw",
        f"kt: release {name}\n\nKt-Action: release\nKt-Escalation: {name}\nKt-Actor: gw\nKt-Release: T2\n",
    )


@forgery("message", "nothing in it matches")
def a_message_that_tells_a_release_that_was_not(gate: Gate) -> None:
    gate.forge.commit("gw", f"kt: release {gate.decided('r1')}")


@forgery("release", "expected releases and receipts as plain commits")
def a_release_that_a_merge_brings(gate: Gate) -> None:
    name = gate.decided("r1")
    side(gate.forge, "release", "--id", name, "--digest", DIGEST, who="gw")
    gate.forge.kt("alice", "note", "--id", "esc_two", "--text", "main")
    gate.forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="boss")


@forgery("amendment", "/amount: 900 is greater than the maximum of 100")
def an_amendment_that_breaks_its_schema(gate: Gate) -> None:
    name = gate.raised("r1")
    gate.do("alice", "claim", "--id", name)
    gate.forge.as_kt_does(
        *("alice", "resolve", "--id", name, "--outcome", "rewritten", "--reason", "less"),
        *("--amendment", str(amendment_file(gate, {"amount": 90}))),
    )
    path = gate.forge.resolved("r1")
    from kt_escalation.model import digests

    found = digests.of_value({"amount": 90}), digests.of_value({"amount": 900})
    gate.forge.edit(path, ("amount: 90$", "amount: 900"), (found[0], found[1]))
    gate.forge.commit("alice")


@forgery("file", "digest is not that of the value")
def an_amendment_that_is_not_what_its_digest_says(gate: Gate) -> None:
    name = gate.raised("r1")
    gate.do("alice", "claim", "--id", name)
    gate.forge.as_kt_does(
        *("alice", "resolve", "--id", name, "--outcome", "rewritten", "--reason", "less"),
        *("--amendment", str(amendment_file(gate, {"amount": 90}))),
    )
    gate.forge.edit(gate.forge.resolved("r1"), ("amount: 90$", "amount: 91"))
    gate.forge.commit("alice")


@forgery("amendment", "rewritten needs one here")
def a_decision_that_says_in_prose_what_to_do(gate: Gate) -> None:
    name = gate.raised("r1")
    gate.do("alice", "claim", "--id", name)
    gate.forge.as_kt_does("alice", "resolve", "--id", name, "--outcome", "denied", "--reason", "less")
    path = gate.forge.resolved("r1")
    gate.forge.edit(
        path, ("    outcome: denied", "    outcome: rewritten"), ("  outcome: denied", "  outcome: rewritten")
    )
    gate.forge.commit("alice")


def amendment_file(gate: Gate, value: object) -> Path:
    path = gate.forge.path / ".git/amendment.json"
    path.write_text(json.dumps(value))
    return path


@forgery("quorum", "expected 2 people's reviews")
def a_quorum_over_two_different_amendments(gate: Gate) -> None:
    name = gate.raised("r1", reason_code="tool.two")
    gate.review("alice", name, "rewritten", {"amount": 90})
    gate.do("bob", "claim", "--id", name)
    gate.forge.as_kt_does(
        *("bob", "resolve", "--id", name, "--outcome", "rewritten", "--reason", "less"),
        *("--amendment", str(amendment_file(gate, {"amount": 80}))),
    )
    found = f"queue/{name}.yaml"
    text = gate.forge.read(found)
    claim = gate.forge.git("show", f"HEAD:{found}")
    claim = claim[claim.index("claim:\n") : claim.index("reviews:\n")]
    at = re.findall(r'reviewed_at: "(.*)"', text)[-1]
    text = text.replace("status: queued", "status: resolved").replace("reviews:\n", f"{claim}reviews:\n")
    queued = re.findall(r'queued_at: ".*"', gate.forge.git("show", f"HEAD:{found}"))[0]
    text = re.sub(r'queued_at: ".*"', queued, text)
    text += f'resolution:\n  outcome: rewritten\n  reason: less\n  resolved_by: bob\n  resolved_at: "{at}"\n'
    (gate.forge.path / found).unlink()
    day = at[:10].replace("-", "/")
    gate.forge.write(f"queue/resolved/{day}/{name}.yaml", text)
    gate.forge.commit("bob")


@forgery("withdraw", "gw raised it")
def a_withdrawal_by_a_stranger(gate: Gate) -> None:
    name = gate.raised("r1")
    gate.forge.as_kt_does("gw", "withdraw", "--id", name, "--reason", "gone")
    gate.forge.edit(gate.forge.resolved("r1"), ("resolved_by: gw", "resolved_by: alice"))
    gate.forge.commit("alice")


@forgery("release", "expected a commit of its own")
def a_release_in_the_commit_that_brings_the_decision(gate: Gate) -> None:
    """By somebody who may review and release: nobody else could see the decision before it was used."""
    gate.forge.edit("policies/roster.yaml", (r"roles: \[admin\]", "roles: [admin, reviewer]"))
    gate.forge.edit("policies/roster.yaml", (r"members: \[alice, bob\]", "members: [alice, bob, boss]"))
    gate.forge.commit("boss")
    name = gate.raised("r1")
    gate.do("boss", "claim", "--id", name)
    gate.forge.as_kt_does("boss", "resolve", "--id", name, "--outcome", "approved", "--reason", "ok")
    write_release(gate, name, "boss", released_by="boss")


@forgery("release", "which is still open")
def a_release_while_a_reopening_is_reopened(gate: Gate) -> None:
    name = gate.decided("r1")
    for _ in range(2):
        ran = gate.do("bob", "reopen", "--id", name, "--reason", "look again", "--json")
        name = ran.json["escalation"]["escalation_id"]
        gate.review("alice", name, "approved")
    gate.do("bob", "reopen", "--id", name, "--reason", "look again")
    write_release(gate, "esc_r1")


@forgery("amendment", "expected reviews.1.amendment.media_type application/json")
def a_vote_that_makes_something_else_of_one_amendment(gate: Gate) -> None:
    """The digest that both voted for does not cover the media type."""
    name = gate.raised("r1", reason_code="tool.two")
    gate.review("alice", name, "rewritten", {"amount": 90})
    gate.do("bob", "claim", "--id", name)
    given = str(amendment_file(gate, {"amount": 90}))
    args = ("--outcome", "rewritten", "--reason", "less", "--amendment", given)
    gate.forge.as_kt_does("bob", "resolve", "--id", name, *args)
    path = gate.forge.resolved("r1")
    before, _, rest = gate.forge.read(path).rpartition("media_type: application/json")
    gate.forge.write(path, f"{before}media_type: text/x-shellscript{rest}")
    gate.forge.commit("bob")


@forgery("transition", "expected action.edit_schema.properties.amount.maximum 100")
def a_schema_that_is_only_for_python_the_same(gate: Gate) -> None:
    name = gate.raised("r1")
    gate.forge.as_kt_does("alice", "claim", "--id", name)
    gate.forge.edit(f"queue/{name}.yaml", ("maximum: 100$", "maximum: 100.0"))
    gate.forge.commit("alice")


@pytest.mark.parametrize("name", others(FORGERIES))
def test_a_forgery_is_found_by_verify_and_the_hook(gate: Gate, name: str) -> None:
    rule, said, make = FORGERIES[name]
    server = serve(gate.forge)
    make(gate)
    assert_found(gate.forge, server, rule, said)


@pytest.mark.parametrize("name", in_full(FORGERIES))
def test_a_forgery_is_found_and_named(gate: Gate, name: str) -> None:
    rule, said, make = FORGERIES[name]
    server = serve(gate.forge)
    assert gate.run("boss", "verify").code == 0
    make(gate)
    found = assert_refused(gate.forge, server, rule, said, by=way_in(FORGERIES, name))
    assert_nothing_forged_is_released(gate.forge, found)


@pytest.mark.parametrize("minutes", [39, 0])
def test_a_release_backdated_together_with_its_commit_is_refused_by_the_servers_clock(
    gate: Gate, minutes: int
) -> None:
    """Decided 40 minutes ago for 15: late by now, and only the server's clock can tell from the commit."""
    then = datetime.now(UTC) - timedelta(minutes=40)
    with acting("gw"), Store.open(gate.forge.path, clock=lambda: then) as store:
        store.create(draft("r1"))
    with acting("alice"), Store.open(gate.forge.path, clock=lambda: then) as store:
        store.claim("esc_r1")
        store.resolve("esc_r1", "approved", "so be it")
    server = serve(gate.forge)
    made = datetime.now(UTC) - timedelta(minutes=minutes)
    path, text = release_text(gate, "esc_r1", released_at=f'"{format_time(made)}"')
    gate.forge.write(path, text)
    gate.forge.commit("gw", GIT_COMMITTER_DATE=f"{int(made.timestamp())} +0000")
    # From the history alone nobody can tell a clock that was wrong; one that was right is too late.
    assert gate.run("boss", "verify").code == (0 if minutes else 1)
    refused = offer(gate.forge, server)
    assert refused.code == 1
    assert ("expected a release of now" if minutes else "could be released until") in refused.err
    # Nor does its writer use it twice, wherever it is believed.
    assert gate.run("gw", "wait", "--id", "esc_r1").code == 6


def test_a_merge_dated_to_come_does_not_make_a_decision_valid_until_then(gate: Gate) -> None:
    """`valid_for` is counted from the commit of the line that brought the decision."""
    name = gate.raised("r1")
    gate.do("alice", "claim", "--id", name)
    side(gate.forge, "resolve", "--id", name, "--outcome", "approved", "--reason", "ok", who="alice")
    gate.do("bob", "note", "--id", "esc_two", "--text", "main")
    date = f"{int((datetime.now(UTC) + timedelta(days=10)).timestamp())} +0000"
    made = {**identity("bob"), "GIT_COMMITTER_DATE": date}
    git("merge", "--quiet", "--no-ff", "-m", "merge", "side", cwd=gate.forge.path, env=made)
    [found] = kt("verify", "--afresh", "--json", cwd=gate.forge.path).json["violations"]
    assert (found["rule"], found["author"]) == ("time", "bob@example.com")
    assert "no later than now" in found["expected"]
    ran = gate.run("gw", "wait", "--id", name, "--json")
    assert (ran.code, ran.error["code"], ran.error["rule"]) == (6, "illegal_record", "time")


def test_what_is_legal_is_taken_in_by_the_server(gate: Gate) -> None:
    server = serve(gate.forge)
    for number, outcome in enumerate(("approved", "rewritten")):
        name = gate.decided(f"r{number}", outcome, {"amount": 1} if outcome == "rewritten" else None)
        gate.released(name, f"T{number}")
        gate.do("gw", "receipt", "--id", name, "--status", "unknown")
        gate.do("boss", "receipt", "--id", name, "--status", "executed", "--reason", "seen")
    ran = push(gate.forge, server)
    assert ran.code == 0, ran.err


def test_an_admin_takes_an_illegal_release_back_and_it_can_be_released(gate: Gate) -> None:
    name = gate.decided("r1")
    write_release(gate, name, "alice", released_by="alice")
    assert gate.run("boss", "verify").code == 1
    gate.forge.git("rm", "--quiet", gate.release_path(name))
    gate.forge.commit("boss", "Take back what alice released")
    gate.released(name)
    found = kt("verify", "--json", cwd=gate.forge.path).json["violations"]
    assert [(one["rule"], one["author"]) for one in found] == [("release", "alice@example.com")]


def test_a_used_decision_stays_used_whatever_an_admin_makes_of_a_forgery_beside_it(gate: Gate) -> None:
    """Only all files as they legally were take a forgery back; else one could delete the release and keep the copy."""
    name = gate.decided("r1")
    legal = gate.released(name)
    other = f"queue/released/2026/01/01/{name}.yaml"
    text = gate.forge.read(legal)
    copied, changed = {legal: text, other: text}, {legal: text.replace("release_id: T", "release_id: U")}
    ends: list[dict[str, str]] = [{legal: text}, {}, {other: text}, copied, changed]
    used = gate.forge.tip()

    def put(files: dict[str, str], who: str) -> None:
        for path in (legal, other):
            (gate.forge.path / path).unlink(missing_ok=True)
        for path, found in files.items():
            gate.forge.write(path, found)
        gate.forge.commit(who)

    for forged in (copied, changed, {}):
        for last in ends:
            gate.forge.git("reset", "--quiet", "--hard", used)
            shutil.rmtree(gate.forge.path / ".git/kt", ignore_errors=True)
            put(forged, "gw")
            put(last, "boss")
            ran = gate.run("gw", "release", "--id", name, "--digest", DIGEST, "--release-id", "T.2", "--json")
            is_back = last == {legal: text}
            assert (ran.code, ran.error["code"]) == (6, "already_released" if is_back else "illegal_record")


def test_a_request_that_carries_a_release_is_refused_however_it_would_land(gate: Gate) -> None:
    name = gate.decided("r1")
    side(gate.forge, "release", "--id", name, "--digest", DIGEST, who="gw")
    for method in ("merge", "rebase", "squash"):
        ran = kt("check", "main..side", "--method", method, "--json", cwd=gate.forge.path)
        assert ran.code == 1
        assert "release" in {found["rule"] for found in ran.json["violations"]}, method
