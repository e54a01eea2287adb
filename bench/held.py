"""What it costs to hold many requests in one process: git processes, fetches, and how soon they are told."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kt_escalation import Store
from kt_escalation.gateway import AsyncGateway
from kt_escalation.gateway.core import EVERY_SECONDS

from . import stores
from .measure import git

if TYPE_CHECKING:
    from .rows import Bench, Lab, RecordSummary

# So many looks at the remote happen before a decision.
_LOOKS = 2
# Decisions come at so many moments between two looks.
_ROUNDS = 5


class _Held(NamedTuple):
    """Git processes and fetches from the first question to the last answer, and when they were told.

    ``told`` has the median of each round in seconds after its push, ``last`` the longest of all.
    """

    processes: int
    fetches: int
    told: list[float]
    last: float


def held(bench: Bench) -> Iterator[RecordSummary]:
    """Many who wait in one process, beside one who waits."""
    from .rows import RecordSummary

    most = bench.scale.held
    with bench.lab(bench.stores.resting(bench.scale.waiting)) as lab:
        found = {number: _hold(lab, number) for number in sorted({1, min(50, most), most})}
    one = found.pop(1)
    for number, many in found.items():
        yield RecordSummary(
            f"{number:,} who wait in one process: git processes", "", [float(many.processes)],
            "one who waits", [float(one.processes)], "1.5 ×",
        )  # fmt: skip
        yield RecordSummary(
            f"{number:,} who wait in one process: fetches", "", [float(many.fetches)],
            "one who waits", [float(one.fetches)], "1.5 ×",
        )  # fmt: skip
    for number, many in {1: one, **found}.items():
        yield RecordSummary(
            f"{number:,} who wait in one process: told after the push", "s", many.told,
            budget="1 s", note=f"decided together, {_ROUNDS} times; the last after {many.last:.2f} s",
        )  # fmt: skip


def _hold(lab: Lab, number: int) -> _Held:
    gateway = lab.clone(f"{stores.GATEWAY}-{number}")
    reviewer = lab.clone(f"{stores.REVIEWERS[0]}-{number}")
    for clone, who in ((gateway, stores.GATEWAY), (reviewer, stores.REVIEWERS[0])):
        for key, value in (("user.name", who.title()), ("user.email", f"{who}@example.com")):
            git("config", key, value, cwd=clone)
    log, path = _counted(lab.folder)
    before = os.environ["PATH"]
    os.environ["PATH"] = path
    try:
        return asyncio.run(_decided(gateway, reviewer, number, log, lab.folder / f"journal-{number}"))
    finally:
        os.environ["PATH"] = before


async def _decided(gateway: Path, reviewer: Path, number: int, log: Path, journal: Path) -> _Held:
    told: list[list[float]] = []

    async def ask(opened: AsyncGateway, name: str, pushed: asyncio.Future[float]) -> float:
        await opened.ask({"request_id": name, "reason_code": "a.b"}, timeout=300)
        at = time.monotonic()
        return at - await pushed

    with Store.open(reviewer, follow_checkout=False) as store:
        async with AsyncGateway.open(gateway, journal_folder=journal) as opened:
            for turn in range(_ROUNDS):
                names = [f"held-{number}-{turn}-{at}" for at in range(number)]
                pushed = asyncio.get_running_loop().create_future()
                asked = [asyncio.create_task(ask(opened, name, pushed)) for name in names]
                await _looks(opened, _LOOKS)
                ids = [f"esc_{name}" for name in names]
                await asyncio.to_thread(store.claim_many, ids)
                await _looks(opened, 1)
                await asyncio.sleep(EVERY_SECONDS * turn / _ROUNDS)
                await asyncio.to_thread(store.resolve_many, ids, "approved", stores.REASON)
                pushed.set_result(time.monotonic())
                told.append(await asyncio.gather(*asked))
            processes, fetches = len(log.read_text().splitlines()), opened.metrics().fetches
            return _Held(processes, fetches, [*map(statistics.median, told)], max(map(max, told)))


async def _looks(opened: AsyncGateway, count: int) -> None:
    """Return when so many looks at the remote have begun from now on."""
    end = opened.metrics().fetches + count
    while opened.metrics().fetches < end:
        await asyncio.sleep(0.02)


def _counted(folder: Path) -> tuple[Path, str]:
    """A file with a line for each git process, and the PATH on which git writes it."""
    log, program = folder / "processes", folder / "counting" / "git"
    if not program.exists():
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho x >>{log}\nexec {shutil.which("git")} "$@"\n')
        program.chmod(0o755)
    log.write_text("")
    return log, f"{program.parent}:{os.environ['PATH']}"
