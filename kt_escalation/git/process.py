"""How git is run: what it inherits, and how its processes are waited for, read and ended."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO, NamedTuple

from ..errors import GitFailed

# Of what the user has set for git, only this passes on; all else chooses repositories, indexes,
# objects, dates or formats, and is git's own affair while it runs a hook (githooks).
_KEPT = re.compile(
    r"GIT_(SSH.*|ASKPASS|CONFIG_.+|SSL.*|HTTP.*|PROXY.*|CURL.*|TRACE.*|PYTHON_.*|EXEC_PATH|TEMPLATE_DIR"
    r"|ALLOW_PROTOCOL|PROTOCOL|CEILING_DIRECTORIES|DISCOVERY_ACROSS_FILESYSTEM|(AUTHOR|COMMITTER)_(NAME|EMAIL))"
)
# In a pre-receive hook the new objects are in quarantine, where only these lead (git-receive-pack).
_QUARANTINE = re.compile(r"GIT_(OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|QUARANTINE_PATH)")
ENVIRONMENT = {
    "LANGUAGE": "C",
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_MERGE_AUTOEDIT": "no",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
}
# git removes its lock files when it is asked to end; only then is it made to.
_GRACE_SECONDS = 2.0
# What is read from git at once, and how far ahead of us it may write, where the system lets it.
BUFFER = 1 << 16
_AHEAD = 1 << 20


class Done(NamedTuple):
    """A git process that has ended; ``timed_out`` if it had to be made to."""

    status: int
    out: bytes
    err: str
    timed_out: bool = False

    @property
    def text(self) -> str:
        return os.fsdecode(self.out).rstrip("\n")

    @property
    def words(self) -> str:
        """What git complained about, as one line."""
        lines = [
            line.strip() for line in self.err.splitlines() if line.strip() and not line.startswith("hint:")
        ]
        said = " / ".join(line.removeprefix("fatal: ").removeprefix("error: ") for line in lines)
        return said or f"git ended with status {self.status}"


def environment(quarantined: bool = False) -> dict[str, str]:
    """What git gets of our environment; in a hook's quarantine also where the new objects are."""

    def passes(name: str) -> bool:
        if not name.startswith("GIT_"):
            return True
        return bool(_KEPT.fullmatch(name) or (quarantined and _QUARANTINE.fullmatch(name)))

    return {**{key: value for key, value in os.environ.items() if passes(key)}, **ENVIRONMENT}


class Underway:
    """A git process that was started and not waited for."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def answer(self, timeout: float) -> Done | None:
        """Its end, None if there is none within ``timeout`` seconds; it may be asked again."""
        return attend(self._process, None, max(0.0, timeout))

    def give_up(self) -> None:
        """End it if it has not ended, giving git the time to remove its locks."""
        if self._process.returncode is None:
            stop(self._process)


def attend(process: subprocess.Popen[bytes], stdin: bytes | None, seconds: float | None) -> Done | None:
    """The end of a process, None if it does not come within so many; then it may be asked again, without ``stdin``."""
    try:
        out, err = process.communicate(stdin, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    return Done(process.returncode, out, err.decode(errors="replace"))


def ready(pipe: IO[bytes], seconds: float | None) -> bool:
    """Whether something, or the end, comes through a pipe of which nothing is buffered, within so many seconds."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def finish(
    process: subprocess.Popen[bytes], stdin: bytes | None, timeout: float | None, session: bool
) -> Done:
    """Wait for a process, ending it after ``timeout`` seconds; ``session`` if it was started in one of its own."""
    done = attend(process, stdin, timeout)
    if done is None:
        out, err = stop(process, session=session)
        return Done(process.returncode, out, err.decode(errors="replace"), timed_out=True)
    return done


def stop(process: subprocess.Popen[bytes], *, session: bool = True) -> tuple[bytes, bytes]:
    """End a process and, in a session of its own, all that it has started."""

    def send(number: int) -> None:
        try:
            if session:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        except ProcessLookupError:
            pass

    send(signal.SIGTERM)
    try:
        return process.communicate(timeout=_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        send(signal.SIGKILL)
        try:
            return process.communicate(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            # Something it started has left the session and keeps the pipes open.
            return b"", b""


def widen(process: subprocess.Popen[bytes]) -> None:
    """Let a process write far ahead of who reads it (fcntl(2), `F_SETPIPE_SZ`; Linux only)."""
    if process.stdout is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        # A user with very many pipes is refused, and all is only slower.
        with suppress(OSError):
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _AHEAD)


def no_git(words: str) -> GitFailed:
    """The error for a git that is not there."""
    return GitFailed(says="git could not be started: {words}", words=words, hint="install git 2.39 or newer")


def nul_ended(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The NUL-ended lines of git's output."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole


def line_ended(chunks: Iterator[bytes]) -> Iterator[str]:
    """The lines of git's output."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode()
