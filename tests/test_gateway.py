"""Gateways: held together, told once, released once, gone within two seconds."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from gateways import DIGEST, draft
from lab import git
from room import Room, counting_git

from kt_escalation import Store, errors
from kt_escalation.gateway import AsyncGateway, Gateway
from kt_escalation.gateway.journal import Journal, Pins


@pytest.fixture
def gateway(room: Room, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway.open(room.gw, journal_folder=tmp_path / "journal", every=0.2) as opened:
        yield opened


def plain(name: str, **more: Any) -> dict[str, Any]:
    return {"request_id": name, "reason_code": "a.b", **more}


def until(said: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_is_asked_is_raised_held_and_released_once(room: Room, gateway: Gateway) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gateway.ask, draft("once"))
        until(lambda: gateway.metrics().held == 1 and bool(room.commits("kt: raise", "esc_once")))
        room.decide("once")
        decision = asked.result(20)
    assert (decision.outcome, decision.release, decision.changed) == ("approved", True, True)
    assert decision.digest == DIGEST
    assert decision.by == ("alice",)
    assert len(room.commits("kt: release esc_once")) == 1
    with pytest.raises(errors.AlreadyReleased):
        gateway.ask(draft("once"), timeout=20)
    receipt = gateway.receipt("esc_once", "executed")
    assert receipt.release_id == decision.release_id
    assert receipt.changed
    assert gateway.get("esc_once").release is not None
    found = gateway.metrics()
    assert (found.held, found.oldest, found.raised, dict(found.decided)) == (0, 0.0, 1, {"approved": 1})


def test_a_denial_is_an_answer_and_an_amendment_is_for_who_applies_it(room: Room, gateway: Gateway) -> None:
    gateway.create(draft("no"))
    room.decide("no", outcome="denied")
    assert gateway.ask(draft("no"), timeout=20).release is False
    gateway.create(draft("less"))
    room.decide("less", outcome="rewritten", amendment={"amount": 9})
    with pytest.raises(errors.Amended):
        gateway.ask(draft("less"), timeout=20)
    decision = gateway.ask(draft("less"), timeout=20, amended=True)
    assert decision.amendment is not None
    assert decision.amendment.value == {"amount": 9}


def test_waiting_uses_nothing_and_releasing_waits_for_nobody(room: Room, gateway: Gateway) -> None:
    gateway.create(draft("later"))
    with pytest.raises(errors.NotResolved):
        gateway.release("esc_later", digest=DIGEST)
    with pytest.raises(errors.WaitTimeout) as late:
        gateway.wait("esc_later", timeout=3)
    assert late.value.status == "queued"
    room.decide("later")
    with pytest.raises(errors.ReleaseNeeded):
        gateway.wait("esc_later", timeout=20)
    assert gateway.release("esc_later", digest=DIGEST).changed
    with pytest.raises(errors.NotFound):
        gateway.wait("esc_nobody", timeout=20)
    gateway.create(plain("gone"))
    assert gateway.withdraw("esc_gone", "nobody asks any more").changed


def test_an_event_is_asked_as_a_record_is_and_what_cannot_be_is_refused(gateway: Gateway) -> None:
    event = {"verdict": "escalate", "request_id": "event", "reason_code": "a.b"}
    with pytest.raises(errors.WaitTimeout) as late:
        gateway.ask(event, timeout=2)
    assert late.value.escalation_id == "esc_event"
    for wrong in ({**event, "verdict": "allow"}, {"reason_code": "A B"}, {}, [event]):
        with pytest.raises(errors.BadInput):
            gateway.ask(wrong)  # type: ignore[arg-type]
    with pytest.raises(errors.BadInput):
        gateway.ask(event, on_cancel="forget")  # type: ignore[arg-type]


def test_whoever_stops_is_withdrawn_or_kept(room: Room, gateway: Gateway) -> None:
    with ThreadPoolExecutor(2) as pool:
        stop = threading.Event()
        kept = pool.submit(gateway.ask, plain("kept"), stop=stop)
        dropped = pool.submit(gateway.ask, plain("dropped"), stop=stop, on_cancel="withdraw")
        until(lambda: bool(room.commits("raise", "esc_kept") or room.commits("raise 2")))
        stop.set()
        for one in (kept, dropped):
            with pytest.raises(errors.Interrupted):
                one.result(10)
    until(lambda: bool(room.commits("kt: withdraw esc_dropped")))
    assert room.commits("esc_kept") == room.commits("raise", "esc_kept")


EVERY = 0.5


def held_by(room: Room, folder: Path, log: Path, number: int) -> tuple[int, int, float]:
    """How many git processes and fetches it takes to hold so many for three looks and tell them all, and how many seconds."""
    names = [f"n{number}-{at}" for at in range(number)]
    log.write_text("")

    async def main() -> int:
        async with AsyncGateway.open(
            room.gw, journal_folder=folder / f"journal-{number}", every=EVERY
        ) as gateway:
            asked = [asyncio.create_task(gateway.ask(plain(name), timeout=60)) for name in names]
            while gateway.metrics().fetches < 3:
                await asyncio.sleep(0.02)
            await asyncio.get_running_loop().run_in_executor(None, lambda: room.decide(*names))
            decisions = await asyncio.gather(*asked)
            assert {one.outcome for one in decisions} == {"approved"}
            assert len(decisions) == number
            return gateway.metrics().fetches

    # The reviewer's count too, as many for one as for all.
    began = time.monotonic()
    fetches = asyncio.run(main())
    return len(log.read_text().splitlines()), fetches, time.monotonic() - began


def test_many_who_are_held_cost_what_one_costs(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, path = counting_git(tmp_path)
    monkeypatch.setenv("PATH", path)
    counts = {number: held_by(room, tmp_path, log, number) for number in (1, 50, 500)}
    # The remote is asked by the clock, not by the number of those who are held; the longer it takes, the more often.
    beside = {number: processes - fetches for number, (processes, fetches, _) in counts.items()}
    assert all(fetches <= seconds / EVERY + 1 for _, fetches, seconds in counts.values()), counts
    assert all(beside[number] <= 1.5 * beside[1] + 6 for number in (50, 500)), counts


def test_a_cancelled_task_leaves_nothing_behind(room: Room, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncGateway.open(room.gw, journal_folder=tmp_path, every=0.2) as gateway:
            asked = asyncio.create_task(gateway.ask(plain("cancelled"), on_cancel="withdraw"))
            await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert gateway.metrics().held == 0
            while not room.commits("kt: withdraw esc_cancelled"):
                await asyncio.sleep(0.05)
            with pytest.raises(errors.WaitTimeout):
                await gateway.ask(plain("late"), timeout=0.01)
            with pytest.raises(errors.NotFound):
                await gateway.get("esc_nobody")

    asyncio.run(main())
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("kt ")])


def test_closing_takes_two_seconds_whatever_hangs(room: Room, tmp_path: Path) -> None:
    clone = room.clone("hangs", who="gw")
    gateway = Gateway.open(clone, journal_folder=tmp_path, every=0.2)
    gateway.create(plain("hanging"))
    room.hanging(clone)
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(gateway.wait, "esc_hanging")
        raised = pool.submit(gateway.ask, plain("never"))
        time.sleep(1)
        began = time.monotonic()
        gateway.close()
        took = time.monotonic() - began
        for one in (held, raised):
            with pytest.raises(errors.Interrupted):
                one.result(1)
    assert took < 2.5
    with pytest.raises(errors.Interrupted):
        gateway.ask(plain("after"))
    gateway.close()


def test_a_store_that_is_closed_ends_its_waits(room: Room) -> None:
    store = Store.open(room.gw)
    store.create(plain("waits"))
    with ThreadPoolExecutor(2) as pool:
        seen = threading.Event()
        wait = pool.submit(store.wait, "esc_waits", tell=lambda _: seen.set())
        seen.wait(20)
        stop = threading.Event()
        stopped = pool.submit(store.wait, "esc_waits", stop=stop)
        stop.set()
        with pytest.raises(errors.Interrupted):
            stopped.result(2)
        store.close()
        with pytest.raises(errors.Interrupted):
            wait.result(2)


def test_while_the_remote_is_away_nothing_is_released_and_nothing_is_lost(room: Room, tmp_path: Path) -> None:
    is_away(room, tmp_path, "weather", 1)


@pytest.mark.soak
def test_while_the_remote_is_away_for_a_minute(room: Room, tmp_path: Path) -> None:
    is_away(room, tmp_path, "storm", 60)


def is_away(room: Room, folder: Path, name: str, seconds: float) -> None:
    """Cut three who are held off from the remote, where people decide meanwhile."""
    told: list[str] = []
    names = [f"{name}{number}" for number in range(3)]
    with (
        Gateway.open(room.gw, journal_folder=folder, every=0.1, tell=told.append) as gateway,
        ThreadPoolExecutor(3) as pool,
    ):
        for one in names:
            gateway.create(draft(one))
        asked = [pool.submit(gateway.ask, draft(one)) for one in names]
        fetches = gateway.metrics().fetches
        until(lambda: gateway.metrics().fetches > fetches + 1 and gateway.metrics().held == 3)
        with room.cut_off(room.gw):
            until(lambda: gateway.metrics().failures > 0)
            end = time.monotonic() + seconds
            room.decide(names[0])
            room.decide(names[1], outcome="denied")
            with pytest.raises(errors.RemoteUnreachable):
                gateway.wait(f"esc_{names[2]}", timeout=20)
            with pytest.raises(errors.RemoteUnreachable):
                gateway.ask(plain(f"{name}-unheard"), timeout=20)
            until(lambda: gateway.metrics().failures > 3 and time.monotonic() > end, seconds + 20)
            assert not any(one.done() for one in asked)
            assert gateway.metrics().held == 3
            assert not room.commits("release", f"esc_{name}")
        first, second = (one.result(20) for one in asked[:2])
        assert (first.release, second.outcome, second.release) == (True, "denied", False)
        room.decide(names[2])
        assert asked[2].result(20).changed
    assert told[0].startswith("cannot reach the remote")
    assert told[-1] == "the remote answers again"
    assert [len(room.commits(f"release esc_{one}")) for one in names] == [1, 0, 1]
    assert not room.commits(f"esc_{name}-unheard")


def test_what_it_raised_expires_by_it(room: Room, tmp_path: Path) -> None:
    git("pull", "--quiet", cwd=room.folder / "boss") if (room.folder / "boss").exists() else room.clone(
        "boss"
    )
    boss = room.folder / "boss"
    settings = boss / "policies/settings.yaml"
    settings.write_text(
        settings.read_text() + "  - match: {reason_code: soon.over}\n    resolve_within: 1s\n"
    )
    git("commit", "--quiet", "-am", "What is over soon expires", cwd=boss)
    git("push", "--quiet", cwd=boss)
    with Gateway.open(room.gw, journal_folder=tmp_path, every=0.2) as gateway:
        decision = gateway.ask({"request_id": "soon", "reason_code": "soon.over"}, timeout=20)
    assert decision.outcome == "expired"
    assert not decision.release
    assert len(room.commits("kt: sweep esc_soon")) == 1


def test_what_was_given_is_not_given_again_though_the_remote_has_lost_it(room: Room, tmp_path: Path) -> None:
    before = git("rev-parse", "main", cwd=room.remote)
    with Gateway.open(room.gw, journal_folder=tmp_path / "journal", every=0.2) as gateway:
        gateway.create(draft("lost"))
        room.decide("lost")
        decided = git("rev-parse", "main", cwd=room.remote)
        assert gateway.ask(draft("lost"), timeout=20).changed
        released = git("rev-parse", "main", cwd=room.remote)
    # The remote is restored from a backup, and the gateway's clone is made anew.
    git("update-ref", "refs/heads/main", decided, cwd=room.remote)
    again = room.clone("again", who="gw")
    try:
        with (
            Gateway.open(again, journal_folder=tmp_path / "journal", every=0.2) as gateway,
            pytest.raises(errors.HistoryRewritten),
        ):
            gateway.ask(draft("lost"), timeout=20)
        pins = tmp_path / "journal/pins.json"
        pins.write_text(json.dumps({**json.loads(pins.read_text()), "tip": before}))
        with (
            Gateway.open(again, journal_folder=tmp_path / "journal", every=0.2) as gateway,
            pytest.raises(errors.AlreadyReleased),
        ):
            gateway.ask(draft("lost"), timeout=20)
        assert not room.commits("kt: release esc_lost")
    finally:
        git("update-ref", "refs/heads/main", released, cwd=room.remote)


def outcomes(*asked: Future[Any]) -> list[str]:
    """What came of each: given, or the code of the error."""
    found = []
    for one in asked:
        error = one.exception(30)
        found.append(
            error.code if isinstance(error, errors.KtError) else "given" if one.result().changed else "no"
        )
    return sorted(found)


def test_of_all_who_ask_for_one_request_one_is_given_its_decision(room: Room, tmp_path: Path) -> None:
    """Twice in one gateway, in another process's on the same journal, and in a replica with a clone of its own."""
    replica = room.clone("replica", who="gw")
    with (
        Gateway.open(room.gw, journal_folder=tmp_path / "one", every=0.2) as one,
        Gateway.open(room.gw, journal_folder=tmp_path / "one", every=0.2) as beside,
        Gateway.open(replica, journal_folder=tmp_path / "two", every=0.2) as other,
        ThreadPoolExecutor(4) as pool,
    ):
        asked = [pool.submit(gateway.ask, draft("race")) for gateway in (one, one, beside, other)]
        until(lambda: all(gateway.metrics().fetches for gateway in (one, beside, other)))
        room.decide("race")
        assert outcomes(*asked) == ["already_released"] * 3 + ["given"]
    assert len(room.commits("kt: release esc_race")) == 1 == len(room.commits("raise", "esc_race"))


def test_what_was_released_and_not_given_is_given_by_the_next_process(room: Room, tmp_path: Path) -> None:
    dies = Journal(tmp_path, Pins(room.remote.as_uri(), "main", ""))
    with Gateway.open(room.gw, journal_folder=tmp_path / "another") as gateway:
        gateway.create(draft("dies"))
    room.decide("dies")
    token = dies.begin("esc_dies", "T-dies", "now")
    with Store.open(room.gw, follow_checkout=False) as store:
        assert store.release("esc_dies", digest=DIGEST, release_id=token).changed
    dies.close()
    with Gateway.open(room.gw, journal_folder=tmp_path, every=0.2) as gateway:
        decision = gateway.ask(draft("dies"), timeout=20)
        assert (decision.changed, decision.release_id) == (True, "T-dies")
        with pytest.raises(errors.AlreadyReleased):
            gateway.ask(draft("dies"), timeout=20)
    assert len(room.commits("kt: release esc_dies")) == 1


def test_the_journal_gives_each_decision_to_one(tmp_path: Path) -> None:
    pins = Pins("a remote", "main", "")
    one, other = Journal(tmp_path, pins), Journal(tmp_path, pins)
    assert one.begin("esc_a", "T1", "now") == "T1" == one.begin("esc_a", "T2", "now")
    with pytest.raises(errors.AlreadyReleased):
        other.begin("esc_a", "T3", "now")
    # It dies before it has given the answer: nobody has acted on it, and the other takes over.
    one.close()
    assert other.begin("esc_a", "T3", "now") == "T1"
    other.give("esc_a", "T1", "now")
    for refused in (lambda: other.give("esc_a", "T1", "now"), lambda: other.begin("esc_a", "T4", "now")):
        with pytest.raises(errors.AlreadyReleased):
            refused()
    other.close()
    with (tmp_path / "releases.ndjson").open("ab") as file:
        file.write(b'{"escalation_id": "esc_cut')
    again = Journal(tmp_path, pins)
    assert again.begin("esc_b", "T5", "now") == "T5"
    again.close()
    with pytest.raises(errors.BadInput):
        Journal(tmp_path, Pins("another", "main", ""))
    with (tmp_path / "releases.ndjson").open("ab") as file:
        file.write(b"not ours\n")
    with pytest.raises(errors.BadInput):
        Journal(tmp_path, pins)


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("left", ["all", "no lock files"])
def test_a_copy_of_the_journal_uses_nothing_that_was_begun(tmp_path: Path, left: str, *, ends: bool) -> None:
    pins, folder, copy = Pins("a remote", "main", ""), tmp_path / "journal", tmp_path / "copy"
    one = Journal(folder, pins)
    one.begin("esc_a", "T1", "now")
    one.begin("esc_b", "T2", "now")
    one.give("esc_b", "T2", "now")
    if ends:
        one.close()
    hidden = shutil.ignore_patterns("*.live") if left != "all" else None
    shutil.copytree(folder, copy, ignore=hidden)
    copied = Journal(copy, pins)
    for name in ("esc_a", "esc_b"):
        with pytest.raises(errors.AlreadyReleased):
            copied.begin(name, "T3", "now")
    assert copied.begin("esc_c", "T4", "now") == "T4"
    copied.close()
    if not ends:
        one.close()
    # Moved as it is, it is the same one.
    again = Journal(folder.rename(tmp_path / "moved"), pins)
    assert again.begin("esc_a", "T5", "now") == "T1"
    again.close()


def test_a_process_that_was_forked_later_is_told_and_does_not_wait_for_ever(gateway: Gateway) -> None:
    gateway.create(plain("forked"))
    calls = (
        lambda: gateway.ask(plain("child")),
        lambda: gateway.wait("esc_forked"),
        lambda: gateway.create(plain("child")),
        lambda: gateway.get("esc_forked"),
        lambda: gateway.withdraw("esc_forked", "nobody asks"),
    )
    child = os.fork()
    if not child:
        code = 1
        with suppress(BaseException):
            for call in calls:
                with pytest.raises(errors.BadInput, match="forked"):
                    call()
            code = 0
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert gateway.get("esc_forked").record.status == "queued"


@pytest.mark.parametrize("timeout", [-1, math.nan, "1s", True])
def test_a_timeout_is_a_number_of_seconds(gateway: Gateway, timeout: Any) -> None:
    for call in (
        lambda: gateway.ask(plain("never"), timeout=timeout),
        lambda: gateway.wait("esc_never", timeout=timeout),
        lambda: gateway.release("esc_never", timeout=timeout),
    ):
        with pytest.raises(
            errors.BadInput, match="the timeout must be a number of seconds from 0 on, or None, not "
        ):
            call()
    assert gateway.metrics().raised == 0
