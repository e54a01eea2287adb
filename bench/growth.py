"""How the cost of daily work grows with what has been resolved, and archived, over the years."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kt_escalation.model import ids

from . import stores
from .measure import Failed, git, kt, middle
from .rows import Bench
from .stores import REVIEWERS


def growth(bench: Bench, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each command by the number of resolved escalations; all sizes are measured in turn."""
    sizes = bench.scale.archived
    past = ids.from_request(stores.request_id(0, "past"))
    measured: dict[str, dict[int, list[float]]] = {}
    megabytes, files, clones = [], [], []
    with ExitStack() as stack:
        for size in sizes:
            began = time.monotonic()
            lab = stack.enter_context(bench.lab(bench.stores.resting(bench.scale.waiting, archived=size)))
            clone = lab.clone(REVIEWERS[0])
            clones.append((size, clone, iter(list(lab.tree()))))
            megabytes.append(_megabytes(clone / ".git"))
            files.append(len(git("ls-tree", "-r", "--name-only", "HEAD", cwd=clone).splitlines()))
            say(f"{size:,} resolved: built and cloned in {time.monotonic() - began:.0f} s")
            for command in ("list", "verify"):
                took = _took((command,), clone, say)
                say(f"{size:,} resolved: the first `{command}` took {took or 0:.1f} s")
        for _ in range(bench.scale.repeat):
            for size, clone, names in clones:
                name = next(names)
                commands: dict[str, tuple[str, ...]] = {
                    "`claim`": ("claim", "--id", name),
                    "`verify` of one more": ("verify",),
                    "`list`": ("list",),
                    "`get`, an open one": ("get", "--id", name),
                    "`get`, an archived one": ("get", "--id", past),
                }
                for work, words in commands.items():
                    took = _took(words, clone, say)
                    if took is not None:
                        measured.setdefault(work, {}).setdefault(size, []).append(took)
    return {
        "resolved": list(sizes),
        "seconds": {
            work: [middle(found[size]) if size in found else None for size in sizes]
            for work, found in measured.items()
        },
        "megabytes": megabytes,
        "files": files,
    }


def _took(words: Sequence[str], clone: Path, say: Callable[[str], None]) -> float | None:
    try:
        return kt(*words, cwd=clone)
    except Failed as error:
        say(str(error))
        return None


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1024**2
