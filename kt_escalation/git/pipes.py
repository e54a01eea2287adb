"""The pipes of a running process, read and written together, so that a full pipe never blocks it."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
from collections.abc import Callable
from contextlib import suppress

# How many bytes are read at once, and how far a process may write ahead of its reader, if the system allows
# it.
BUFFER = 1 << 16
_AHEAD = 1 << 20
#: How many bytes of stderr are kept: its end, where git says why it failed.
KEPT_STDERR = 1 << 16
# How often to check a process that has no descriptor to wait for.
_GLANCE_SECONDS = 0.05


class Pipes:
    """The pipes of a process that was started with pipes for stdout and stderr, and perhaps for stdin.

    ``out`` has the chunks of stdout that nobody has taken yet, ``err`` the end of stderr. ``refused`` means
    that the process closed its stdin before it had read everything. ``on_stderr`` is called with each chunk
    of stderr.
    """

    def __init__(self, process: subprocess.Popen[bytes], on_stderr: Callable[[bytes], object] | None) -> None:
        assert process.stdout  # noqa: S101 - the callers' promise
        assert process.stderr  # noqa: S101
        self._process = process
        self._on_stderr = on_stderr
        self.out: list[bytes] = []
        self.err = b""
        self.refused = False
        self._stdout: int | None = process.stdout.fileno()
        self._stderr: int | None = process.stderr.fileno()
        self._stdin = process.stdin.fileno() if process.stdin else None
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        # Becomes readable when the process ends (pidfd_open(2), Linux).
        self._pidfd: int | None = None
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):
                self._pidfd = os.pidfd_open(process.pid)
                self._poll.register(self._pidfd, select.POLLIN)
        # What is yet to be written, and whether stdin is closed after it.
        self._to_write = memoryview(b"")
        self._last = False
        if self._stdin is not None:
            os.set_blocking(self._stdin, False)

    @property
    def has_stdout(self) -> bool:
        """Whether stdout is still open."""
        return self._stdout is not None

    @property
    def has_stderr(self) -> bool:
        """Whether stderr is still open. A child of the process may hold it open for longer than the process lives."""
        return self._stderr is not None

    @property
    def tells_end(self) -> bool:
        """Whether `turn` returns as soon as the process ends."""
        return self._pidfd is not None

    @property
    def is_writing(self) -> bool:
        """Whether there is input that the process has not read."""
        return bool(self._to_write)

    def give(self, data: bytes, *, last: bool) -> None:
        """Write these bytes as fast as the process reads them. With ``last``, close stdin after them."""
        self._to_write = memoryview(bytes(self._to_write) + data if self._to_write else data)
        self._last = last
        if self._stdin is None:
            return
        self._write(self._stdin)
        if self._to_write and self._stdin is not None:
            self._poll.register(self._stdin, select.POLLOUT)

    def turn(self, seconds: float) -> bool:
        """Transfer all data that is ready within so many seconds. Returns whether there was any."""
        if self._stdout is None and self._pidfd is None:
            # Only stderr is left, and nothing wakes us when the process ends.
            if self._process.poll() is not None:
                return True
            seconds = min(seconds, _GLANCE_SECONDS)
        ready = self._poll.poll(max(0.0, seconds) * 1000)
        for number, _ in ready:
            if number == self._stdin:
                self._write(number)
            elif number == self._pidfd:
                self._process.wait()
                self._poll.unregister(number)
            else:
                self._read(number)
        return bool(ready)

    def widen(self) -> None:
        """Let the process write far ahead of its reader (fcntl(2), `F_SETPIPE_SZ`; Linux only)."""
        if self._stdout is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
            # A user with very many pipes gets a refusal. Then everything still works, but slower.
            with suppress(OSError):
                fcntl.fcntl(self._stdout, fcntl.F_SETPIPE_SZ, _AHEAD)

    def close_stdout(self) -> None:
        """Stop reading stdout."""
        if self._stdout is not None:
            self._shut(self._stdout)

    def close(self) -> None:
        """Close all of them."""
        self._close_stdin()
        for number in (self._stdout, self._stderr):
            if number is not None:
                self._shut(number)
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _read(self, number: int) -> None:
        data = os.read(number, BUFFER)
        if not data:
            self._shut(number)
        elif number == self._stdout:
            self.out.append(data)
        else:
            self.err = (self.err + data)[-KEPT_STDERR:]
            if self._on_stderr:
                self._on_stderr(data)

    def _write(self, number: int) -> None:
        try:
            while self._to_write:
                self._to_write = self._to_write[os.write(number, self._to_write[:_AHEAD]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.refused = True
            self._to_write = memoryview(b"")
        if self._last or self.refused:
            self._close_stdin()
        else:
            with suppress(KeyError):
                self._poll.unregister(number)

    def _close_stdin(self) -> None:
        if self._stdin is not None and self._process.stdin:
            with suppress(KeyError):
                self._poll.unregister(self._stdin)
            self._stdin = None
            self._process.stdin.close()

    def _shut(self, number: int) -> None:
        """Close a pipe that is read from."""
        self._poll.unregister(number)
        if number == self._stdout:
            self._stdout = None
            pipe = self._process.stdout
        else:
            self._stderr = None
            pipe = self._process.stderr
        if pipe:
            pipe.close()
