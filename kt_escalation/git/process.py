"""Runs git processes: environment, input, output, waiting, progress, and termination.

Every process is an `Underway`. Its stderr is read together with its stdout, so a full pipe never blocks it.
Every wait ends: a local git that neither reads nor writes anything for `SILENCE_SECONDS` is killed, and
GitFailed reports it. A broken pipe to git is GitFailed as well, never BrokenPipeError, which means the reader
of kt's own output.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import GitFailed
from ..model.progress import Wait
from ..model.text import visible
from .pipes import BUFFER, KEPT_STDERR, Pipes

# The only `GIT_*` variables of the user that are passed on. All others choose repositories, indexes, objects,
# dates or formats, and belong to git while it runs a hook (githooks).
_KEPT = (
    r"GIT_(SSH.*|ASKPASS|CONFIG_.+|SSL.*|HTTP.*|PROXY.*|CURL.*|TRACE.*|PYTHON_.*|EXEC_PATH|TEMPLATE_DIR"
    r"|ALLOW_PROTOCOL|PROTOCOL|CEILING_DIRECTORIES|DISCOVERY_ACROSS_FILESYSTEM|(AUTHOR|COMMITTER)_(NAME|EMAIL))"
)
# In a pre-receive hook the new objects are in quarantine, where only these lead (git-receive-pack).
_QUARANTINE = frozenset({"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"})
ENVIRONMENT = {
    "LANGUAGE": "C",
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    # Commits go through a pipe in large pieces, and not one by one.
    "GIT_FLUSH": "0",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_MERGE_AUTOEDIT": "no",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
}
# git removes its lock files if it is asked to end. It is killed only afterwards.
_GRACE_SECONDS = 2.0
#: How long a local git process may be silent: long enough to type a passphrase.
SILENCE_SECONDS = 300.0
# How much of git's stderr an error repeats.
_SHOWN_STDERR = 2_000
#: With the value `debug`, kt logs each process. `--debug` sets it.
LOG = "KT_LOG"
# How many characters of a process's arguments are logged.
_SHOWN_ARGUMENTS = 1_000
# The lines of `GIT_TRACE` and similar variables, among git's own messages.
_TRACE = re.compile(r"^(?:remote: )?(?:\d\d:\d\d:\d\d\.\d{6} |\{\"event\":\").*\n?", re.MULTILINE)
# Credentials in an address, in its query, and in a setting. The patterns are compiled when they are first
# needed.
_IN_ADDRESS = r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@"
_IN_QUERY = r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^?#\s]*[?#])\S*?(?=[\"')>]*[:,.;]?(?:\s|$))"
_IN_SETTING = (
    r"(?is)([\w.:/-]*(?:header|token|password|passwd|secret|credential|authorization|cookie)[\w.-]*=).*"
)


def masked(text: str) -> str:
    """A text in which passwords and queries are removed from addresses.

    Queries stay in lines that come from the remote, because forges print the address that opens a pull
    request.
    """
    if "://" not in text:
        return text
    lines = re.sub(_IN_ADDRESS, r"\1***@", text).split("\n")
    return "\n".join(
        line if line.startswith("remote:") else re.sub(_IN_QUERY, r"\1***", line) for line in lines
    )


def shown(args: Sequence[str]) -> str:
    """A command's arguments on one line, without passwords, tokens and headers."""
    words = (re.sub(_IN_SETTING, r"\1***", masked(word)) for word in args)
    return visible(shlex.join(words))[:_SHOWN_ARGUMENTS]


def command_of(args: Sequence[str]) -> str:
    """The git command in the arguments: the first one that is neither an option nor a setting."""
    return next((arg for arg in args if not arg.startswith("-") and "=" not in arg), "git")


class Done(NamedTuple):
    """A git process that has ended. ``timed_out`` means that it was stopped after the timeout."""

    status: int
    out: bytes
    err: str
    timed_out: bool = False

    @property
    def text(self) -> str:
        return os.fsdecode(self.out).rstrip("\n")

    @property
    def words(self) -> str:
        """git's error message as one line. Warnings are used only if there is nothing else."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("hint:")]
        lines = [line for line in lines if not line.startswith("warning:")] or lines
        said = " / ".join(line.removeprefix("fatal: ").removeprefix("error: ") for line in lines)
        return said[-_SHOWN_STDERR:] or f"git ended with status {self.status}"


def environment(quarantined: bool = False) -> dict[str, str]:
    """The environment variables for git. In a hook's quarantine they include the place of the new objects."""

    def passes(name: str) -> bool:
        if not name.startswith("GIT_"):
            return True
        return bool(re.fullmatch(_KEPT, name) or (quarantined and name in _QUARANTINE))

    return {**{key: value for key, value in os.environ.items() if passes(key)}, **ENVIRONMENT}


class Underway:
    """A process from its start to its end. ``args`` is its name in errors and in the log.

    Only one thread at a time may use it. With ``session`` a signal to our terminal does not reach it.
    ``on_stderr`` is called with all output on stderr, of which only the end is kept. ``inherits`` lists
    further files that the process has open. Raises GitFailed if the program does not exist.
    """

    def __init__(
        self,
        program: Sequence[str],
        args: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bool = False,
        session: bool = False,
        on_stderr: Callable[[bytes], object] | None = None,
        inherits: Sequence[int] = (),
    ) -> None:
        self._args = args
        self._session = session
        self._began = time.monotonic()
        try:
            self._process = subprocess.Popen(
                [*program, *args],
                cwd=cwd,
                env=environment() if env is None else env,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=session,
                bufsize=0,
                pass_fds=inherits,
                # Python ignores SIGXFSZ, and git inherits that. So a file that may not grow causes an error
                # message, and not a kill that leaves locks behind. git restores SIGPIPE itself
                # (common-main.c).
                restore_signals=False,
            )
        except FileNotFoundError as error:
            if error.filename == cwd:
                raise
            raise no_git(error.strerror or str(error)) from error
        self._pipes = Pipes(self._process, on_stderr)

    # --- giving and reading -----------------------------------------------------------------------

    def give(self, data: bytes, *, last: bool = True) -> None:
        """Write these bytes as fast as git reads them, and read its output meanwhile. ``last`` closes its stdin."""
        self._pipes.give(data, last=last)

    def send(self, data: bytes, silence: float | None = None) -> None:
        """Send these bytes now. Raises GitFailed if git does not read them."""
        self.give(data, last=False)
        while self._pipes.is_writing:
            self._pass(silence)
        if self._pipes.refused:
            raise self.failed("it ended without an answer")

    def some(self, silence: float | None = None, wait: Wait | None = None) -> bytes:
        """The next bytes of the output, empty at its end. Raises GitFailed after a long silence."""
        while not self._pipes.out:
            if not self._pipes.has_stdout:
                return b""
            self._pass(silence, wait)
        return self._pipes.out.pop(0)

    def stream(self, wait: Wait | None = None) -> Iterator[bytes]:
        """All output as it arrives. Raises GitFailed if git fails, so half an answer never counts as a whole one."""
        self.widen()
        try:
            while chunk := self.some(None, wait):
                # git writes in small pieces. Waiting for more is cheaper than handling each. But if progress
                # is shown, everything that has arrived is passed on.
                parts, size = [chunk], len(chunk)
                while size < BUFFER and not wait and (more := self.some()):
                    parts.append(more)
                    size += len(more)
                yield b"".join(parts)
            done = self.finish(wait)
        finally:
            self.give_up()
        if done.status != 0:
            raise GitFailed(command=command_of(self._args), words=done.words)

    def widen(self) -> None:
        """Enlarge the output pipe, so that git can write far ahead of its reader."""
        self._pipes.widen()

    # --- ending -----------------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def answer(self, timeout: float) -> Done | None:
        """The ended process, or None if it does not end within ``timeout`` seconds. It can be called again."""
        end = time.monotonic() + max(0.0, timeout)
        while self._is_open:
            if not self._pipes.turn(end - time.monotonic()) and time.monotonic() >= end:
                return None
        return self._done() if self._exits(end - time.monotonic()) else None

    def finish(self, wait: Wait | None = None) -> Done:
        """Wait for the end of the process, as long as it produces output. Raises GitFailed if it does not end."""
        while self._is_open:
            self._pass(None, wait)
        if not self._exits(SILENCE_SECONDS):
            raise self._silent(SILENCE_SECONDS)
        done = self._done()
        if self._pipes.refused and done.status == 0:
            raise GitFailed(command=command_of(self._args), words="it did not read all of its input")
        return done

    def give_up(self) -> Done:
        """Stop the process if it is running. git gets time to remove its locks; in a session, its children are stopped too."""
        lives = self.is_alive
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.is_alive:
                self._signal(number)
            if self.answer(_GRACE_SECONDS):
                break
        # A child of the process may have left the session and keep the pipes open.
        self._pipes.close()
        return self._done(timed_out=lives)

    def ask_to_end(self, *, now: bool = False) -> None:
        """Make the thread that waits for the process stop waiting. Any thread may call this.

        The process is asked to end, or with ``now`` killed.
        """
        if self.is_alive:
            self._signal(signal.SIGKILL if now else signal.SIGTERM)

    def failed(self, otherwise: str) -> GitFailed:
        """Stop the process, and return the error: git's own words, or else ``words``."""
        ended = self.answer(_GRACE_SECONDS) or self.give_up()
        return GitFailed(
            command=command_of(self._args), words=ended.words if ended.err.strip() else otherwise
        )

    def close(self) -> None:
        """Close the process's input, so that it ends by itself."""
        self.give(b"")
        self._pipes.close_stdout()
        if self.answer(_GRACE_SECONDS) is None:
            self.give_up()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if self._session:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)

    def _exits(self, seconds: float) -> bool:
        """Whether the process ends within so many seconds after its output has ended."""
        end = time.monotonic() + seconds
        while self._pipes.tells_end and self._process.returncode is None:
            if not self._pipes.turn(end - time.monotonic()) and time.monotonic() >= end:
                return False
        try:
            self._process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        # Its last words.
        for _ in range(KEPT_STDERR // select.PIPE_BUF):
            if not self._pipes.has_stderr or not self._pipes.turn(0):
                break
        return True

    def _done(self, *, timed_out: bool = False) -> Done:
        status = self._process.returncode
        if self._began and status is not None:
            tell(self._args, self._began, status)
            self._began = 0.0
            self._pipes.close()
        said = self._pipes.err
        if len(said) == KEPT_STDERR:
            # The text begins in the middle of a line.
            said = said.partition(b"\n")[2]
        words = _TRACE.sub("", said.decode(errors="replace"))
        return Done(
            -signal.SIGKILL if status is None else status, b"".join(self._pipes.out), masked(words), timed_out
        )

    def _silent(self, silence: float) -> GitFailed:
        self.give_up()
        return GitFailed(
            command=command_of(self._args),
            words=f"it neither wrote nor read anything for {silence:.0f} s and was stopped",
        )

    @property
    def _is_open(self) -> bool:
        """Whether there may be more output."""
        return self._pipes.has_stdout or (self._pipes.has_stderr and self._process.returncode is None)

    def _pass(self, silence: float | None = None, wait: Wait | None = None) -> None:
        """Transfer data through a pipe. Raises GitFailed if nothing moves within so many seconds."""
        silence = SILENCE_SECONDS if silence is None else silence
        step = wait.seconds if wait else None
        end = time.monotonic() + silence
        while not self._pipes.turn(silence if step is None else step):
            if time.monotonic() >= end:
                raise self._silent(silence)
            if wait:
                wait.lasts()
        if wait:
            wait.ends()


def tell(args: Sequence[str], began: float, status: int) -> None:
    """If `KT_LOG` is set, log a process that has ended: its duration, exit code and arguments."""
    if os.environ.get(LOG) != "debug":
        return
    ended = f"exit {status}" if status >= 0 else f"signal {-status}"
    lasted = (time.monotonic() - began) * 1000
    # A failure to log must not stop the command.
    with suppress(OSError, ValueError, AttributeError):
        print(f"kt: {lasted:.1f} ms, {ended}: git {shown(args)}", file=sys.stderr, flush=True)  # noqa: T201


def no_git(words: str) -> GitFailed:
    """The error if git is not installed."""
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
