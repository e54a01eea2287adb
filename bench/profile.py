"""`python -m bench.profile`: where each millisecond of a cold `claim` and a cold `list` goes.

The tables are printed, and take the place of those in docs/performance.md.

Nothing is traced from outside. Python says itself how long each import takes (`-X importtime`), and each
git process says when it began and ended (`GIT_TRACE2_EVENT`, git's api-trace2). Both cost a little, so
the time of the same command without them stands below.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .measure import KT, Failed, kt, middle, neutral
from .report import table
from .rows import Bench, Scale
from .stores import REVIEWERS, Stores

RUNS = 7
_WATCHED = (sys.executable, "-X", "importtime")
_START = "Python: start and end"
_OURS = "imports: our own modules"
_PYTHONS = "imports: Python's own modules, for us"
_REST = "the rest: our own code, and starting the processes"
# Whatever a library imports for itself counts as the library's.
_LIBRARIES = {
    "click": "click",
    "yaml": "PyYAML",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic",
    "annotated_types": "pydantic",
    "typing_extensions": "pydantic",
    "typing_inspection": "pydantic",
    "git": "GitPython",
    "gitdb": "GitPython",
    "smmap": "GitPython",
    "filelock": "filelock",
}
# It answers questions beside us for as long as we live, and takes no time of its own.
_BESIDE = "cat-file"

Phases = dict[str, float]


_DOCS = Path(__file__).parent.parent / "docs" / "performance.md"
_MARK = "<!-- from here on written by `make profile` -->\n"


def main() -> None:
    """Print a table for each command, and put them into the docs."""
    here = Path(__file__).parent / ".stores"
    here.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=here) as folder:
        neutral(Path(folder))
        bench = Bench(Stores(here), Path(folder), Scale())
        with bench.lab(bench.stores.resting(bench.scale.waiting)) as lab:
            clone = lab.clone(REVIEWERS[0])
            names = iter(list(lab.tree()))
            title = f"`claim`, {bench.scale.waiting:,} open"
            tables = [_profile(title, clone, lambda: ("claim", "--id", next(names)))]
        with bench.lab(bench.stores.resting(bench.scale.listed)) as lab:
            clone = lab.clone(REVIEWERS[0])

            def forgetful() -> Sequence[str]:
                subprocess.run(["rm", "-rf", str(clone / ".git/kt")], check=True)
                return ("list",)

            title = f"`list`, {bench.scale.listed:,} open"
            tables.append(_profile(f"{title}, first run", clone, forgetful))
            tables.append(_profile(f"{title}, second run", clone, lambda: ("list",)))
    told = "\n".join(tables)
    print(told, end="")
    _DOCS.write_text(f"{_DOCS.read_text().partition(_MARK)[0]}{_MARK}\n{told}")


def _profile(title: str, clone: Path, command: Callable[[], Sequence[str]]) -> str:
    kt(*command(), cwd=clone)
    runs, plain = [], []
    for _ in range(RUNS):
        runs.append(_phases(command(), clone))
        plain.append(kt(*command(), cwd=clone))
    keys = list(dict.fromkeys(key for run in runs for key in run))
    lines = [[key, f"{middle([run.get(key, 0.0) for run in runs]) * 1000:.1f}"] for key in keys]
    lines.append(["**without being watched**", f"{middle(plain) * 1000:.1f}"])
    return f"{title}\n\n{table([['phase', 'ms'], *lines])}\n"


def _phases(args: Sequence[str], clone: Path) -> Phases:
    start, words = _run([*_WATCHED, "-c", "pass"], clone)
    at_start = {name for name, _, _ in _owned(words)}
    with tempfile.TemporaryDirectory() as traces:
        total, words = _run([*_WATCHED, *KT, *args], clone, {"GIT_TRACE2_EVENT": traces})
        processes = list(_processes(Path(traces)))
    phases: Phases = {_START: start}
    for name, owner, took in _owned(words):
        if name not in at_start:
            phases[owner] = phases.get(owner, 0.0) + took
    counts = Counter(label for label, _ in processes)
    for label, took in processes:
        times = f" ({counts[label]} of them)" if counts[label] > 1 else ""
        key = f"git {label}{times}"
        phases[key] = phases.get(key, 0.0) + took
    known = sum(took for key, took in phases.items() if not key.startswith("git "))
    known += sum(took for label, took in processes if not _is_beside(label))
    phases[_REST] = total - known
    phases["**all**"] = total
    return phases


def _is_beside(label: str) -> bool:
    return label.startswith(_BESIDE) or ">" in label


def _run(args: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(
        args, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - began
    if done.returncode != 0:
        raise Failed(f"{' '.join(args[-4:])}: {done.stderr.splitlines()[-1]}")
    return took, done.stderr


# --- what Python says -----------------------------------------------------------------------------


def _owned(words: str) -> Iterator[tuple[str, str, float]]:
    """Each import with whose it is and how long it took by itself, in seconds.

    Python names a module after those that it imports, each two blanks deeper.
    """
    lines = [line.removeprefix("import time:").split("|") for line in words.splitlines() if _is_time(line)]
    owners: list[str] = []
    for own, _, name in reversed(lines):
        depth = (len(name) - len(name.lstrip()) - 1) // 2
        module = name.strip()
        top = module.partition(".")[0]
        del owners[depth:]
        if top == "kt_escalation":
            owner = _OURS
        elif top in _LIBRARIES:
            owner = f"imports: {_LIBRARIES[top]}"
        else:
            owner = owners[-1] if owners and owners[-1] != _OURS else _PYTHONS
        owners.append(owner)
        yield module, owner, int(own) / 1e6


def _is_time(line: str) -> bool:
    return line.startswith("import time:") and "[us]" not in line


# --- what git says --------------------------------------------------------------------------------


def _processes(traces: Path) -> Iterator[tuple[str, float]]:
    """Each git process that we started, and with a `>` before it each that those started, in seconds."""
    found = []
    for file in traces.iterdir():
        events = [json.loads(line) for line in file.read_text().splitlines()]
        begun = next(event for event in events if event["event"] == "start")
        ended = events[-1]
        depth = begun["sid"].count("/")
        label = f"{'> ' * depth}{_command(begun['argv'])}"
        found.append((begun["time"], label, float(ended["t_abs"])))
    for _, label, took in sorted(found):
        beside = " (beside)" if _is_beside(label) and ">" not in label else ""
        yield f"{label}{beside}", took


def _command(argv: Sequence[str]) -> str:
    """What a git process was asked to do: its command, without options and values."""
    program = Path(argv[0]).name
    if program.startswith("git-"):
        return program.removeprefix("git-")
    words = iter(argv[1:])
    for word in words:
        if word == "-c":
            next(words)
        elif not word.startswith("-"):
            return word
    return program


if __name__ == "__main__":
    main()
