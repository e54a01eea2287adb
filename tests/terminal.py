"""A reviewer at a real terminal: `kt escalation` as a process of its own session, read and typed to."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import warm
from lab import KT, Ran

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PATIENCE = 60.0


class Seat:
    """A terminal at which one command runs; leave it with `ended` or `hang_up`."""

    def __init__(
        self,
        *args: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        columns: int = 100,
        program: Sequence[str] = KT,
    ) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            os.environ.pop("COLUMNS", None)
            os.execve(
                sys.executable,
                [*program, "escalation", *args],
                {**os.environ, "TERM": "xterm", **(env or {})},
            )
        #: All that the terminal got, as it came.
        self.raw = ""
        self._read = 0

    def until(self, *words: str) -> str:
        """Read on until one of the words comes after what was read before; what came, without colour."""
        end = time.monotonic() + PATIENCE
        while True:
            found = [at + len(word) for word in words if (at := self.plain.find(word, self._read)) >= 0]
            if found:
                told = self.plain[self._read : min(found)]
                self._read = min(found)
                return told
            assert self._more(end - time.monotonic()), f"it ended before {words}:\n{self.rest}"

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._terminal, os.fsencode(text))

    def cook(self) -> None:
        """Set up the terminal as a shell does for itself: whole lines, and an echo."""
        mode = termios.tcgetattr(self._terminal)
        mode[3] |= termios.ICANON | termios.ECHO
        termios.tcsetattr(self._terminal, termios.TCSANOW, mode)

    def press(self, question: str, key: str) -> str:
        """Wait for a question that one key answers, and press it; what was shown before."""
        told = self.until(question)
        # What is typed before the terminal waits for a key is thrown away, as it should be.
        end = time.monotonic() + PATIENCE
        while termios.tcgetattr(self._terminal)[3] & termios.ICANON:
            assert time.monotonic() < end, "nobody waits for a key"
            time.sleep(0.005)
        self.type(key)
        return told

    def write(self, line: str) -> str:
        """Wait for the prompt of a line and type it; what was shown before."""
        told = self.until("\n> ")
        self.type(f"{line}\n")
        return told

    def ended(self) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + PATIENCE
        while self._more(end - time.monotonic()):
            pass
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def hang_up(self) -> None:
        """Close the terminal, and wait for what was running at it."""
        os.close(self._terminal)
        os.waitpid(self.pid, 0)

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def rest(self) -> str:
        """What came since the last question, without colour."""
        return self.plain[self._read :]

    @property
    def plain(self) -> str:
        """All that the terminal got, without colour."""
        return ESCAPES.sub("", self.raw).replace("\r", "")

    def _more(self, patience: float) -> bool:
        """Whether more came before the end."""
        ready, _, _ = select.select([self._terminal], [], [], max(patience, 0))
        assert ready, f"nothing comes any more after:\n{self.rest}"
        try:
            chunk = os.read(self._terminal, 65_536)
        except OSError:  # the last one who had the terminal open is gone
            return False
        self.raw += chunk.decode(errors="replace")
        return bool(chunk)


def at_a_terminal(
    *args: str, cwd: Path, typed: str = "", env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run `kt escalation` on a real terminal; its exit code and all that the terminal showed."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [str(warm.kt_folder() / "kt"), "escalation", *args],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **(env or {})},
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    os.write(terminal, typed.encode())
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the last one who had the terminal open is gone
            break
    os.close(terminal)
    return process.wait(), shown.decode().replace("\r\n", "\n")


# kt as it is, but for how long it waits before it shows anything, and before it tells that git is silent.
_KT = (
    "import sys; from kt_escalation.cli import main_escalation; from kt_escalation.cli.terminal import progress; "
    "from kt_escalation.model import progress as wait; "
    "progress.PATIENCE = {}; wait.TELL_SECONDS = {}; sys.exit(main_escalation())"
)


def kt_at_a_terminal(
    *args: str,
    cwd: Path,
    patience: float = 0,
    until: str | None = None,
    then: Callable[[], object] | None = None,
    file: Path | None = None,
    all_of_it: bool = False,
    tell: float = 60,
    fault: str = "",
    **env: str,
) -> tuple[Ran, bool]:
    """Run kt with a terminal as its stdin and stderr, and a pipe as its stdout; whether the cursor is left shown.

    When ``until`` has been read there, ``then`` is done, without it ^C is typed. ``file`` becomes its stdout
    in place of the pipe, with ``all_of_it`` the terminal does. ``tell`` is how long git may say nothing, in
    seconds, before that is told. ``fault`` is what Python does before it runs kt.
    """
    out_end, out = os.pipe()
    if file:
        os.close(out)
        out = os.open(file, os.O_WRONLY | os.O_CREAT)
    pid, terminal = pty.fork()
    if pid == 0:
        if not all_of_it:
            os.dup2(out, 1)
        os.chdir(cwd)
        program = [sys.executable, "-c", fault + _KT.format(patience, tell), *args]
        os.execvpe(sys.executable, program, {**os.environ, "TERM": "xterm", **env})
    os.close(out)
    printed: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(os.fdopen(out_end, "rb"), printed))
    reader.start()
    shown = b""
    while chunk := _read(terminal):
        shown += chunk
        if until is not None and until.encode() in shown:
            until = None
            then() if then else os.write(terminal, b"\x03")
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    reader.join()
    text = shown.decode()
    return Ran(code, b"".join(printed).decode(), text), text.rfind("\x1b[?25h") >= text.rfind("\x1b[?25l")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # So Linux says that nobody has the terminal's other side any more.
        return b""


def _read_all(pipe: IO[bytes], into: list[bytes]) -> None:
    with pipe:
        into.append(pipe.read())
