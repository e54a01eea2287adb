"""What it costs to hold many requests in one process: git processes, fetches, and how soon they are told."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kt_escalation import Store
from kt_escalation.gateway import AsyncGateway

from . import stores
from .measure import git

if TYPE_CHECKING:
    from .rows import Bench, Lab, Row

# So many looks at the remote happen before the decision.
_LOOKS = 4


class _Held(NamedTuple):
    """Git processes and fetches from the first question to the last answer, and how long after the push each was told."""

    processes: int
    fetches: int
    told: list[float]


def held(bench: Bench) -> Iterator[Row]:
    """Many who wait in one process, beside one who waits."""
    from .rows import Row

    many = bench.scale.held
    with bench.lab(bench.stores.resting(bench.scale.waiting)) as lab:
        one, all_of_them = _hold(lab, 1), _hold(lab, many)
    yield Row(
        f"{many:,} who wait in one process: git processes", "", [float(all_of_them.processes)],
        "one who waits", [float(one.processes)], "1.5 ×",
    )  # fmt: skip
    yield Row(
        f"{many:,} who wait in one process: fetches", "", [float(all_of_them.fetches)],
        "one who waits", [float(one.fetches)], "1.5 ×",
    )  # fmt: skip
    yield Row(
        f"{many:,} who wait in one process: told after the push", "s", all_of_them.told,
        budget="2 s", note=f"the last after {max(all_of_them.told):.2f} s",
    )  # fmt: skip


def _hold(lab: Lab, number: int) -> _Held:
    gateway = lab.clone(f"{stores.GATEWAY}-{number}")
    reviewer = lab.clone(f"{stores.REVIEWERS[0]}-{number}")
    for clone, who in ((gateway, stores.GATEWAY), (reviewer, stores.REVIEWERS[0])):
        for key, value in (("user.name", who.title()), ("user.email", f"{who}@example.com")):
            git("config", key, value, cwd=clone)
    names = [f"held-{number}-{at}" for at in range(number)]
    log, path = _counted(lab.folder)
    before = os.environ["PATH"]
    os.environ["PATH"] = path
    try:
        return asyncio.run(_decided(gateway, reviewer, names, log, lab.folder / f"journal-{number}"))
    finally:
        os.environ["PATH"] = before


async def _decided(gateway: Path, reviewer: Path, names: list[str], log: Path, journal: Path) -> _Held:
    told: list[float] = []
    pushed = asyncio.get_running_loop().create_future()

    async def ask(opened: AsyncGateway, name: str) -> None:
        await opened.ask({"request_id": name, "reason_code": "a.b"}, timeout=300)
        at = time.monotonic()
        told.append(at - await pushed)

    with Store.open(reviewer, follow_checkout=False) as store:
        async with AsyncGateway.open(gateway, journal_folder=journal) as opened:
            asked = [asyncio.create_task(ask(opened, name)) for name in names]
            while opened.metrics().fetches < _LOOKS:
                await asyncio.sleep(0.05)
            ids = [f"esc_{name}" for name in names]
            await asyncio.to_thread(store.claim_many, ids)
            await asyncio.to_thread(store.resolve_many, ids, "approved", stores.REASON)
            pushed.set_result(time.monotonic())
            await asyncio.gather(*asked)
            return _Held(len(log.read_text().splitlines()), opened.metrics().fetches, told)


def _counted(folder: Path) -> tuple[Path, str]:
    """A file with a line for each git process, and the PATH on which git writes it."""
    log, program = folder / "processes", folder / "counting" / "git"
    if not program.exists():
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho x >>{log}\nexec {shutil.which("git")} "$@"\n')
        program.chmod(0o755)
    log.write_text("")
    return log, f"{program.parent}:{os.environ['PATH']}"
