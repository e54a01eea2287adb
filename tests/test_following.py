"""Nobody waits for ever: whatever fails in the loop that follows a store, those who wait are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from forge import Forge

from kt_escalation import Store
from kt_escalation.actions import decision, following
from kt_escalation.actions.read_session import ReadSession
from kt_escalation.audit.watched import Watched
from kt_escalation.results import Decision
from kt_escalation.storage.poll import Poll
from kt_escalation.storage.snapshot import GitSnapshot

# What the loop calls, one after the other.
PARTS = [
    (ReadSession, "snapshot"),
    (following.Following, "_follow"),
    (following.Following, "_failed"),
    (following.Following, "_tell"),
    (following.Following, "_catch_up"),
    (following.Waiter, "see"),
    (GitSnapshot, "find"),
    (GitSnapshot, "release"),
    (GitSnapshot, "policies"),
    (GitSnapshot, "learn"),
    (decision, "proofs"),
    (Watched, "__init__"),
    (Watched, "proven"),
]


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield Forge(tmp_path_factory.mktemp("decided")).path


def answer(store: Store) -> Decision:
    """What a wait says within a minute."""
    pool = ThreadPoolExecutor(1)
    found: Future[Decision] = pool.submit(store.wait, "esc_done", 30)
    try:
        return found.result(60)
    finally:
        pool.shutdown(wait=False)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("where", "name"), PARTS, ids=lambda part: getattr(part, "__name__", part))
def test_who_waits_is_told_whatever_fails(
    decided: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, times: int
) -> None:
    real, left = getattr(where, name), [times]

    def fails(*args: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError(name)
        return real(*args, **more)

    monkeypatch.setattr(where, name, fails)
    with Store.open(decided) as store:
        try:
            assert answer(store).outcome == "denied"
        except RuntimeError as error:
            assert str(error) == name
        left[0] = 0
        assert answer(store).outcome == "denied"


def test_a_pause_begins_with_the_look_however_long_the_look_takes(
    decided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    see = following.Waiter.see

    def slow(*args: Any) -> Any:
        time.sleep(0.3)
        return see(*args)

    monkeypatch.setattr(following.Waiter, "see", slow)
    seen = threading.Event()
    with Store.open(decided) as store:
        loop = store._session.following
        waiter = following.Waiter("esc_one", Poll(None, 30.0), lambda _: seen.set())
        loop.attend(waiter)
        assert seen.wait(60)
        assert waiter.due == loop._began + 30.0
        # No pause is longer than what is left of the time.
        assert Poll(5.0, 30.0).due(time.monotonic()) < time.monotonic() + 5.01
