"""The commands of a page, run in the order in which they stand, as its reader would type them.

What counts as a command in the pages at the top and below docs/:

- an indented block, or a fence `sh`: each line, which must succeed;
- a fence `console`: what stands behind `$ ` (and goes on behind `> `), and what it prints is held to the lines
  below it. Ids, times and spans may differ, and a line of three dots stands for any lines. What fails is followed
  by `$ echo $?`;
- a fence `python`: a program; a fence `crontab`: the command of each line;
- a fence that begins with the name of a file below policies/: that file is written.

Other fences, and what begins with `#!`, are text. `UPDATE_GOLDEN=1` writes into the page what its `console` commands have printed.
"""

from __future__ import annotations

import itertools
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import warm

TOP = Path(__file__).parent.parent
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
#: Seconds after which a page that does not end is ended.
LIMIT = 120
#: Wide enough for what is printed, and for the page.
WIDTH = "100"

_BLOCK = re.compile(
    r"^```(?P<kind>\w*)\n(?P<fenced>(?s:.*?))^```$|(?<=\n\n)(?P<indented>(?:(?: {4}.*)?\n)+)", re.M
)
_TYPED = re.compile(r"^\$ (.*(?:\n> .*)*)\n((?:(?!\$ ).*\n)*)", re.M)
_FILE = re.compile(r"# (policies/[\w-]+\.yaml)\n")
_MARK = "--- that was step"


@dataclass(frozen=True)
class Step:
    """Something to run; ``told`` is what a `console` shows below it, from ``begin`` to ``end`` of the page."""

    script: str
    told: str | None = None
    begin: int = 0
    end: int = 0


def file_of(name: str) -> Path:
    """A page's file: one at the top, or one of docs/, by its name alone."""
    return TOP / name if (TOP / name).exists() else TOP / "docs" / name


def text_of(name: str) -> str:
    """A page's text."""
    return file_of(name).read_text()


def steps(text: str) -> Iterator[Step]:
    """All that a page tells its reader to type, in order."""
    for block in _BLOCK.finditer(text):
        kind, body = block["kind"] or "", block["fenced"] or ""
        if block["indented"] is not None:
            if block["indented"].strip():
                yield Step(re.sub(r"^ {4}", "", block["indented"], flags=re.M).strip("\n"))
        elif file := _FILE.match(body):
            yield Step(f"cat > {file[1]} <<'END-OF-FILE'\n{body}END-OF-FILE")
        elif kind == "sh" and not body.startswith("#!"):
            yield Step(body.strip("\n"))
        elif kind == "python":
            yield Step(f"{sys.executable} - <<'END-OF-PROGRAM'\n{body}END-OF-PROGRAM")
        elif kind == "crontab":
            yield from (Step(line.split(maxsplit=5)[5]) for line in body.splitlines())
        elif kind == "console":
            for typed in _TYPED.finditer(body):
                at = block.start("fenced")
                yield Step(typed[1].replace("\n> ", "\n"), typed[2], at + typed.start(2), at + typed.end(2))


def as_printed(
    name: str,
    folder: Path,
    *,
    replace: Mapping[str, str] | None = None,
    leave: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Run a page's commands in a folder, all in one shell on a terminal at which nobody types.

    Gives what each block, and each command of a `console`, has printed.

    ``replace`` puts what is here in place of what the page has, ``leave`` are lines that are not run.
    """
    page, replace = text_of(name), replace or {}
    todo = list(steps(page))
    for line in leave:
        assert any(line in step.script.splitlines() for step in todo), f"{name} has no line {line!r}"
    scripts = []
    for number, step in enumerate(todo):
        script = "\n".join(line for line in step.script.splitlines() if line not in leave)
        for shown, here in replace.items():
            script = script.replace(shown, here)
        # What a console shows may fail; `$ echo $?` finds the exit.
        bounds = ("set -e", "set +e") if step.told is None else ("", "")
        mark = f"status=$?; echo; echo {_MARK} {number}: $status; (exit $status)"
        scripts.append("\n".join((bounds[0], script, bounds[1], mark)))
    path = f"{warm.kt_folder()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    printed = _on_a_terminal(
        "set -u -o pipefail\n" + "\n".join(scripts), folder, {"PATH": path, **(env or {})}
    )
    for shown, here in reversed(replace.items()):
        printed = printed.replace(here, shown)
    parts = re.split(rf"\n?{_MARK} \d+: (\d+)\n", printed)
    outputs, exits = parts[:-1:2], [int(code) for code in parts[1::2]]
    assert len(exits) == len(todo), f"{name}: {todo[len(exits)].script}\n{parts[-1]}"
    for step, told, code, after in zip(todo, outputs, exits, [*todo[1:], None], strict=True):
        asked = after is not None and after.script == "echo $?"
        assert code == 0 or asked, f"{name}: {step.script}\nexit {code}\n{told}"
    shown = [(step, told) for step, told in zip(todo, outputs, strict=True) if step.told is not None]
    wrong = [(step, told) for step, told in shown if not _fits(step.told or "", told)]
    if wrong and UPDATE:
        # All of them, so that an id is the same wherever the page has it; dots stay dots.
        _update(name, page, [(step, told) for step, told in shown if "\n...\n" not in f"\n{step.told}"])
    elif wrong:
        step, told = wrong[0]
        raise AssertionError(f"{name}: {step.script}\n--- on the page\n{step.told}\n--- printed\n{told}")
    return outputs


def _on_a_terminal(script: str, folder: Path, env: Mapping[str, str]) -> str:
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env={
            **os.environ,
            "COLUMNS": WIDTH,
            "GIT_PAGER": "cat",
            "NO_COLOR": "1",
            **env,
        },
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, end = b"", time.monotonic() + LIMIT
    while True:
        ended = shell.poll() is not None
        if select.select([ours], [], [], 0 if ended else 0.1)[0]:
            try:
                chunk = os.read(ours, 65536)
            except OSError:
                chunk = b""  # how Linux says that nobody holds the other side any more
            if not chunk:
                break
            shown += chunk
        elif ended:
            break  # what git has left in the background may hold it for longer
        if not ended and time.monotonic() > end:
            os.killpg(shell.pid, signal.SIGKILL)
    os.close(ours)
    shell.wait()
    # What is taken away again, as a bar is, nobody sees in the end.
    text = re.sub(r"[^\n]*\r\x1b\[K", "", shown.decode(errors="replace"))
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\r", ""))


def _settled(text: str) -> list[str]:
    """The lines of an output without what differs from run to run, and without the width of columns."""
    text = re.sub(r"(?<![^\W_])([0-9a-f]{7,64}|01[0-9a-z]{24})(?![^\W_])", "<id>", text)
    text = re.sub(r"SHA256:[\w+/]{43}", "<key>", text)
    text = re.sub(r"\w{3} \w{3} +\d+ [\d:]+ \d{4} [+-]\d{4}", "<time>", text)
    text = re.sub(r"\d{4}[-/]\d\d[-/]\d\d([T ][\d:.]+(Z| [+-]\d{4}| UTC)?)?", "<time>", text)
    # As people are told it: the hour, and the day if it is another one.
    text = re.sub(r"((Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?\b\d\d:\d\d\b(?!:)", "<time>", text)
    text = re.sub(r"\b\d+(\.\d+)? ?(ms|s|m|h|d)\b", "<span>", text)
    text = re.sub(r"[ \t─]+", " ", text)
    return [line.strip() for line in text.strip("\n").splitlines()]


def _fits(shown: str, printed: str) -> bool:
    lines = (r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in _settled(shown))
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in _settled(printed))) is not None


def _update(name: str, page: str, shown: Sequence[tuple[Step, str]]) -> None:
    cuts = [0, *itertools.chain.from_iterable((step.begin, step.end) for step, _ in shown), len(page)]
    kept = [page[begin:end] for begin, end in zip(cuts[::2], cuts[1::2], strict=True)]
    new = [told.strip("\n") + "\n" if told.strip() else "" for _, told in shown]
    file_of(name).write_text(
        "".join(itertools.chain.from_iterable(itertools.zip_longest(kept, new, fillvalue="")))
    )
