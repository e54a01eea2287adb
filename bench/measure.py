"""How things are timed: real processes, the median of several runs, and value beside floor."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median

#: `kt` as its users run it: the script that pip has put beside this Python.
KT = (str(Path(sys.executable).with_name("kt")), "escalation")
_PEAK = (sys.executable, str(Path(__file__).with_name("peak.py")))


class Failed(Exception):
    """A command that had to succeed has not; the text says which and why."""


def neutral(home: Path) -> None:
    """Take the user's own settings out of this process's environment, so that none plays a part."""
    for name in list(os.environ):
        if name.startswith(("GIT_", "KT_", "SSH_", "XDG_")) or name == "NO_COLOR":
            del os.environ[name]
    # Installed tools find their modules compiled; so must ours.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    settings = home / "gitconfig"
    settings.write_text('[init]\n\tdefaultBranch = main\n[protocol "file"]\n\tallow = always\n')
    os.environ.update(HOME=str(home), GIT_CONFIG_GLOBAL=str(settings), GIT_CONFIG_NOSYSTEM="1")


def git(*args: str, cwd: Path, stdin: bytes | None = None) -> str:
    """Run git, which must succeed; its output without the last line feed."""
    done = subprocess.run(["git", *args], cwd=cwd, input=stdin, capture_output=True, check=False)
    if done.returncode != 0:
        raise Failed(f"git {' '.join(args[:3])}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode().removesuffix("\n")


def seconds(
    args: Sequence[str], cwd: Path, *, stdin: Path | None = None, env: Mapping[str, str] | None = None
) -> float:
    """How long a process takes, from before it starts until it has ended; its output goes nowhere.

    Raises Failed, with its last words, if it does not exit 0.
    """
    source: AbstractContextManager[object] = stdin.open("rb") if stdin else nullcontext(subprocess.DEVNULL)
    with source as given, tempfile.TemporaryFile() as words:
        began = time.perf_counter()
        process = subprocess.Popen(
            args,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=given,  # type: ignore[call-overload]
            stdout=subprocess.DEVNULL,
            stderr=words,
        )
        status = process.wait()
        took = time.perf_counter() - began
        if status != 0:
            words.seek(0)
            said = words.read().decode(errors="replace").strip().splitlines()
            raise Failed(f"{' '.join(args[:4])}: exit {status}: {' / '.join(said[-2:])}")
    return took


def kt(*args: str, cwd: Path) -> float:
    """How long `kt escalation` takes, in seconds."""
    return seconds([*KT, *args], cwd)


def kt_peak(*args: str, cwd: Path) -> tuple[float, float]:
    """How long `kt escalation` takes, in seconds, and the most memory that its own process had, in MB."""
    with tempfile.NamedTemporaryFile("r") as answer:
        took = seconds([*_PEAK, answer.name, "escalation", *args], cwd)
        return took, float(answer.read())


def pairs(
    repeat: int, value: Callable[[], float], floor: Callable[[], float], *, warm: bool = True
) -> tuple[list[float], list[float]]:
    """Both, measured in turn, so that a machine that gets slower slows both; ``warm`` drops a first pair.

    Who measures only once wants to see that it works, and drops nothing.
    """
    if warm and repeat > 1:
        value()
        floor()
    values, floors = [], []
    for _ in range(repeat):
        values.append(value())
        floors.append(floor())
    return values, floors


def ratio(values: Sequence[float], floors: Sequence[float]) -> list[float]:
    """Each value by the floor that was measured right after it."""
    return [value / floor for value, floor in zip(values, floors, strict=True)]


def middle(values: Sequence[float]) -> float:
    """The median."""
    return median(values)
