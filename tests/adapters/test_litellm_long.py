"""LiteLLM's real proxy with `KtGuardrail`, killed again and again, and while it holds hundreds of requests."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from proxies import KEY, Model, Proxy
from room import Room
from test_litellm import chat, guard, made, model, room

from kt_escalation.errors import KtError

__all__ = ["model", "room"]
pytestmark = pytest.mark.soak

# --- killed -----------------------------------------------------------------------------------------

CALLERS, LIVES = 4, 12.0
#: The reasons for which a caller asks again.
_AGAIN = (openai.APIConnectionError, openai.ConflictError, openai.InternalServerError)


class Campaign:
    """Callers who ask a proxy until they are told, people who decide, and a proxy that dies."""

    def __init__(self, room: Room, model: Model, proxy: Proxy, seed: int) -> None:
        self.room, self.model, self.proxy, self.seed = room, model, proxy, seed
        self.numbers = itertools.count()
        self.over = threading.Event()
        self.fates: dict[str, str] = {}
        self.decided: set[str] = set()
        self.heard: Counter[str] = Counter()
        self.wrong: list[Any] = []

    def run(self, kills: int) -> None:
        chance = random.Random(self.seed)
        with ThreadPoolExecutor(CALLERS + 1) as pool:
            work = [pool.submit(self._asks, chance.random()) for _ in range(CALLERS)]
            work.append(pool.submit(self._decides))
            try:
                for _ in range(kills):
                    time.sleep(chance.random() * LIVES)
                    self.proxy.end(signal.SIGKILL)
                    self.proxy.start()
                time.sleep(LIVES)
            finally:
                self.over.set()
            for one in work:
                one.result(120)
        assert not self.wrong
        asked = [str(one) for one in self.model.asked]
        for name, fate in self.fates.items():
            calls = sum(f"({name})" in one for one in asked)
            assert calls <= (fate == "approved"), (name, fate, calls)
            assert self.heard[name] <= calls
            assert self.room.commits("release").count(f"kt: release esc_{name}") <= (fate == "approved")
            assert self.room.commits("raise").count(f"kt: raise esc_{name}") <= 1
        assert self.heard

    def _asks(self, seed: float) -> None:
        chance = random.Random(seed)
        while not self.over.is_set():
            name = f"kill{self.seed}-{next(self.numbers)}"
            self.fates[name] = chance.choice(["approved", "approved", "denied"])
            while not self.over.is_set() and not self._asked(name, chance):
                time.sleep(chance.random())

    def _asked(self, name: str, chance: random.Random) -> bool:
        """Ask once, and perhaps hang up; whether that was the last word."""
        try:
            made(self.proxy, chat, name, chance.random() < 0.3, timeout=chance.choice([2, 30, 30]))
        except _AGAIN as error:
            return "already_released" in str(error) or "withdrawn" in str(error)
        except openai.OpenAIError as error:
            if not isinstance(error, openai.PermissionDeniedError) and "stream" not in str(error):
                # A stream says in its text what would be a status.
                return "already_released" in str(error)
            return True
        self.heard[name] += 1
        if name not in self.decided:
            self.wrong.append(name)
        return True

    def _decides(self) -> None:
        while not self.over.wait(0.3):
            try:
                wanted: dict[str, list[str]] = {}
                for one in self.room.alice.list(status="queued", fetch=True).records:
                    name = str(one.request_id).partition(":")[0]
                    if name in self.fates:
                        self.decided.add(name)
                        wanted.setdefault(self.fates[name], []).append(one.escalation_id)
                for outcome, names in wanted.items():
                    self.room.alice.claim_many(names)
                    self.room.alice.resolve_many(names, outcome, "so it is")
            except KtError:
                # Something was withdrawn meanwhile: they look again.
                continue


def test_killed_twenty_times_it_releases_once_and_only_what_is_approved(room: Room, model: Model) -> None:
    proxy = Proxy(room.folder, model, guard(room))
    try:
        Campaign(room, model, proxy, random.randrange(1 << 32)).run(int(os.environ.get("KT_KILLS", "20")))
    finally:
        proxy.end(signal.SIGKILL)


# --- holding ----------------------------------------------------------------------------------------


@pytest.fixture
def plain_room(tmp_path: Path) -> Iterator[Room]:
    """A room where a decision is not for one use: a release would be a push for each of hundreds."""
    found = Room(tmp_path)
    with found.alice:
        yield found


@pytest.fixture
def holding(plain_room: Room, model: Model) -> Iterator[Proxy]:
    """A proxy whose guardrail holds only what names it."""
    config = guard(plain_room, default_on=False, mode=["pre_call"], kt_hold=280)
    found = Proxy(plain_room.folder, model, config)
    yield found
    found.end(signal.SIGKILL)


def test_others_are_not_slower_while_hundreds_are_held_and_memory_is_flat(
    plain_room: Room, model: Model, holding: Proxy
) -> None:
    room = plain_room
    found = asyncio.run(_measured(room, model, holding))
    alone = statistics.median(found.pop(0)[0])
    for number, (others, told) in found.items():
        assert statistics.median(others) < 1.5 * alone + 0.02, (number, alone, others)
        # With the time that the proxy and the model take for all of them at once.
        assert len(told) == number
        assert max(told) < 120
    memory = [_memory(holding)]
    for turn in range(3):
        asyncio.run(_held(room, model, holding, f"again{turn}", 500, 0))
        memory.append(_memory(holding))
    assert memory[-1] < memory[1] + (24 << 20), memory


async def _measured(room: Room, model: Model, proxy: Proxy) -> dict[int, tuple[list[float], list[float]]]:
    found = {}
    for number in (0, 1, 50, 500):
        found[number] = await _held(room, model, proxy, f"held{number}", number, 60)
    return found


async def _held(
    room: Room, model: Model, proxy: Proxy, prefix: str, number: int, others: int
) -> tuple[list[float], list[float]]:
    """Hold so many while so many others ask; how long these took, and how long after the decision the held were told."""
    names = [f"{prefix}-{at}" for at in range(number)]
    took, told, before = [], [], len(model.asked)
    async with openai.AsyncOpenAI(
        api_key=KEY, base_url=f"http://127.0.0.1:{proxy.port}/v1", max_retries=0, timeout=280
    ) as client:

        async def ask(said: str, **more: Any) -> float:
            message: Any = {"role": "user", "content": said}
            await client.chat.completions.create(model="mock", messages=[message], **more)
            return time.monotonic()

        held = [
            asyncio.create_task(
                ask(f"({name})", extra_headers={"x-request-id": name}, extra_body={"guardrails": ["kt"]})
            )
            for name in names
        ]
        ids = [f"esc_{name}" for name in names]
        while number and not {*ids} <= {
            one.escalation_id for one in room.alice.list(limit=0, fetch=True).records
        }:
            await asyncio.sleep(0.2)
            assert not any(one.done() for one in held)
        for _ in range(others):
            began = time.monotonic()
            took.append(await ask("Hello") - began)
        assert len(model.asked) == before + others
        if number:
            await asyncio.to_thread(room.alice.claim_many, ids)
            await asyncio.to_thread(room.alice.resolve_many, ids, "approved", "so it is")
            pushed = time.monotonic()
            told = [one - pushed for one in await asyncio.gather(*held)]
    assert len(model.asked) == before + others + number
    return took, told


def _memory(proxy: Proxy) -> int:
    """The bytes that the proxy has in memory."""
    pages = Path(f"/proc/{proxy.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
