"""`kt gateway serve` killed at random moments, its callers cut off, its remote taken away: nothing is released twice."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gateways import draft
from lab import kt
from room import Room
from served import AUTH, Served

from kt_escalation.errors import KtError

AMENDMENT = {"amount": 9}
#: What people say to a request, None for nothing. `rewritten` is for whoever applies amendments.
FATES = ("approved", "approved", "approved", "rewritten", "denied", None)
# So many callers ask at once, and each asks for one request at most so often.
CALLERS, TRIES = 6, 40
#: How long a gateway lives at most once it answers, in seconds: a request is raised, decided and released in that time.
LIVES = 4.0


class Campaign:
    """Callers who ask until they are told, a reviewer, and a gateway that dies again and again."""

    def __init__(self, room: Room, folder: Path, seed: int) -> None:
        self.room, self.folder, self.seed = room, folder, seed
        self.numbers = itertools.count()
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.fates: dict[str, str | None] = {}
        self.decided: set[str] = set()
        #: What callers were told with `release`, and how the last answer to each request ended.
        self.heard: dict[str, list[Any]] = {}
        self.ended: dict[str, int] = {}
        self.wrong: list[Any] = []
        self.counts: Counter[str] = Counter()
        self.served = self._start("127.0.0.1:0")

    def _start(self, listen: str) -> Served:
        return Served(self.room.gw, self.folder, "--hold", "2s", listen=listen)

    def run(self, kills: int) -> None:
        """Kill it so many times, then let everybody finish, and look at what came of it."""
        chance = random.Random(self.seed)
        listen = f"127.0.0.1:{self.served.port}"
        with ThreadPoolExecutor(CALLERS + 1) as pool:
            work = [pool.submit(self._asks, chance.random()) for _ in range(CALLERS)]
            work.append(pool.submit(self._decides))
            try:
                for _ in range(kills):
                    time.sleep(chance.random() * LIVES)
                    if chance.random() < 0.1:
                        with self.room.away():
                            time.sleep(chance.random())
                            self.served.end(signal.SIGKILL)
                    else:
                        self.served.end(signal.SIGTERM if chance.random() < 0.1 else signal.SIGKILL)
                    self.counts["kills"] += 1
                    self.served = self._start(listen)
                time.sleep(5)
            finally:
                self.over.set()
            for one in work:
                one.result(120)
        self._settled()

    # --- callers ----------------------------------------------------------------------------------

    def _asks(self, seed: float) -> None:
        chance = random.Random(seed)
        while not self.over.is_set():
            name = f"k{self.seed}-{next(self.numbers)}"
            with self.lock:
                self.fates[name] = chance.choice(FATES)
            for _ in range(TRIES):
                if self.over.is_set() or self._asked(name, chance):
                    break

    def _asked(self, name: str, chance: random.Random) -> bool:
        """Ask once, and perhaps hang up meanwhile; whether that was the last word."""
        data = json.dumps(draft(name)).encode()
        call = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=20)
        try:
            if chance.random() < 0.3:
                self._cuts(data, chance)
                return False
            call.request("POST", "/v1/reviews?amended=true", data, AUTH)
            answer = call.getresponse()
            status, found = answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            # Nobody is there; whether it was killed meanwhile or has not started, they ask again.
            time.sleep(chance.random())
            return False
        finally:
            call.close()
        self._hears(name, status, found)
        return status in (200, 409)

    def _cuts(self, data: bytes, chance: random.Random) -> None:
        with socket.create_connection(("127.0.0.1", self.served.port), timeout=20) as caller:
            head = (
                f"POST /v1/reviews?amended=true HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data)}\r\n"
                f"Authorization: {AUTH['Authorization']}\r\n\r\n"
            )
            caller.sendall(head.encode() + data)
            self.counts["cuts"] += 1
            time.sleep(chance.random() * 2)

    def _hears(self, name: str, status: int, found: Any) -> None:
        with self.lock:
            self.counts[str(status)] += 1
            if status in (200, 409):
                self.ended[name] = status
            if status == 200 and found["release"]:
                self.heard.setdefault(name, []).append(found)
                if name not in self.decided:
                    self.wrong.append(("not decided", name, found))
            elif status not in (200, 202, 409, 503):
                self.wrong.append(("unexpected", name, status, found))
            if status == 409 and found["error"]["code"] != "already_released":
                self.wrong.append(("unexpected", name, found))

    # --- people -----------------------------------------------------------------------------------

    def _decides(self) -> None:
        while not self.over.wait(0.3):
            try:
                self._decide()
            except KtError:
                # The remote is away, or something has changed meanwhile: they look again.
                continue

    def _decide(self) -> None:
        alice = self.room.alice
        found = [one for one in alice.list(status="open", fetch=True).records if one.request_id]
        mine: dict[str, list[str]] = {}
        for one in found:
            fate = self.fates.get(str(one.request_id))
            if fate is not None:
                mine.setdefault(fate, []).append(one.escalation_id)
        for fate, names in mine.items():
            alice.claim_many(names)
            with self.lock:
                # From now on it may be decided, whatever the answer is.
                self.decided.update(name.removeprefix("esc_") for name in names)
            amendment = AMENDMENT if fate == "rewritten" else None
            alice.resolve_many(names, fate, "so it is", amendment=amendment)

    # --- what came of it --------------------------------------------------------------------------

    def _settled(self) -> None:
        """Hold everything that was heard and committed to the promises."""
        assert not self.wrong, self.wrong
        code, err = self.served.end()
        assert code == 0, err
        assert "Traceback" not in err, err
        for name, heard in self.heard.items():
            assert len(heard) == 1, heard
            fate = self.fates[name]
            assert heard[0]["outcome"] == fate in ("approved", "rewritten"), (fate, heard)
            assert (heard[0]["amendment"] or {}).get("value") == (AMENDMENT if fate == "rewritten" else None)
        subjects = Counter(self.room.commits("esc_"))
        for name, fate in self.fates.items():
            released = sum(n for one, n in subjects.items() if one.startswith(f"kt: release esc_{name} "))
            released += subjects[f"kt: release esc_{name}"]
            assert released <= (fate in ("approved", "rewritten")), (name, fate, released)
            assert released or name not in self.heard
        # Whoever was told that somebody has had it: the journal gave it, and the caller had hung up or heard it.
        journal = (self.folder / "journal/releases.ndjson").read_text().splitlines()
        lines = [json.loads(line) for line in journal]
        given = Counter(line["escalation_id"] for line in lines if line["state"] == "given")
        assert set(given.values()) <= {1}
        for name, status in self.ended.items():
            assert status == 200 or given[f"esc_{name}"] == 1, name
        assert {f"esc_{name}" for name in self.heard} <= set(given)
        ran = kt("verify", cwd=self.room.alice_path)
        assert ran.code == 0, ran.out
        assert self.heard
        assert self.counts["kills"]


def test_killed_and_cut_off_at_random_it_releases_once_and_only_what_is_approved(
    room: Room, tmp_path: Path
) -> None:
    Campaign(room, tmp_path, 1).run(4)


@pytest.mark.soak
def test_killed_and_cut_off_a_thousand_times(room: Room, tmp_path: Path) -> None:
    for seed in range(20):
        Campaign(room, tmp_path / str(seed), seed).run(50)
