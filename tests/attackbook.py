"""`golden/attacks.txt`: what `verify`, `check`, the hook and `wait` say of each attack, to be read at one go.

Each line is a rule, the file, and the commit by its way from the tip. `UPDATE_GOLDEN=1 pytest tests/test_attacks.py`
writes it anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import book
from lab import Ran, git

FILE = Path(__file__).parent / "golden/attacks.txt"
_LINE = re.compile(r"commit ([0-9a-f]{12}) by .*?: (\S+): (\w+): ")


def hold(name: str, repository: Path, verify: Ran, check: Ran, hook: Ran, wait: Ran | None) -> None:
    """Hold what they say of an attack to the book; `wait` where there is something to wait for."""
    named = _ways(repository)
    told = {
        "verify": _found(verify, named),
        "check": _found(check, named),
        "hook": _lines(hook.err, named) or _plain(hook.err),
    }
    if wait is not None:
        lines = _lines(wait.error["message"], named) if wait.code not in (0, 1) else []
        code = f", {wait.error['code']}" if wait.code not in (0, 1) else ""
        told["wait"] = [f"exit {wait.code}{code}", *lines]
    text = "".join(
        f"{caller}:\n" + "".join(f"  {line}\n" for line in lines) for caller, lines in _together(told).items()
    )
    if os.environ.get("UPDATE_GOLDEN"):
        book.renew(FILE, name, text, _parsed, lambda name, said: f"# {name}\n{said}")
    assert _parsed(FILE.read_text()).get(name) == text


def _ways(repository: Path) -> Mapping[str, str]:
    """The name of each commit as its way from the tip, by its first twelve digits; the shortest, first parents first."""
    lines = git("rev-list", "--parents", "HEAD", cwd=repository).splitlines()
    parents = {commit: above for commit, *above in map(str.split, lines)}
    named = {next(iter(parents)): "HEAD"}
    waiting = [*named]
    for commit in waiting:
        for number, parent in enumerate(parents[commit], 1):
            if parent not in named:
                named[parent] = f"{named[commit]}^{number if number > 1 else ''}"
                waiting.append(parent)
    return {commit[:12]: re.sub(r"\^{2,}(?!\d)", _generations, way) for commit, way in named.items()}


def _generations(found: re.Match[str]) -> str:
    return f"~{len(found[0])}"


def _found(ran: Ran, named: Mapping[str, str]) -> list[str]:
    if ran.code == 1:
        return sorted(_said(v["commit"], v["path"], v["rule"], named) for v in ran.json["violations"])
    return [f"exit {ran.code}, {ran.error['code']}"]


def _lines(text: str, named: Mapping[str, str]) -> list[str]:
    return sorted(_said(*found, named) for found in _LINE.findall(text))


def _said(commit: str, path: str, rule: str, named: Mapping[str, str]) -> str:
    settled = re.sub(r"\d{4}/\d\d/\d\d", "<day>", re.sub(r"esc_01[0-9a-z]{24}", "<id>", path))
    return f"{rule} {settled} at {named[commit[:12]]}"


def _plain(text: str) -> list[str]:
    """The hook's lines that are about no commit."""
    lines = (line.partition("kt: ")[2] for line in text.splitlines())
    return [re.sub(r"\b[0-9a-f]{12}\b", "<id>", re.sub(r"/\S+", "<path>", line)) for line in lines if line]


def _together(told: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Those together that say the same."""
    found: dict[str, Sequence[str]] = {}
    for caller, lines in told.items():
        same = next((callers for callers, others in found.items() if others == lines), None)
        if same is not None:
            del found[same]
        found[f"{same}, {caller}" if same else caller] = lines
    return found


def _parsed(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# (.*)\n((?:.+\n)+)", text, re.MULTILINE))
