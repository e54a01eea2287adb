"""A lab whose remote is a network away: git's own daemon behind a delay line, 100 ms there and back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import Lab, git

from bench.delay import Delay

ROUND_TRIP = 0.1
_LOOPBACK = "127.0.0.1"
_START_SECONDS = 20.0


class FarLab(Lab):
    """A bare remote, which clones reach through ``line`` alone."""

    line: Delay

    def clone(self, name: str, *options: str, email: str | None = None) -> Path:
        """A clone for a person, made from the disk; from then on it is far away."""
        path = super().clone(name, *options, email=email)
        git("remote", "set-url", "origin", f"git://{_LOOPBACK}:{self.line.port}/remote.git", cwd=path)
        return path


@contextmanager
def far_lab(folder: Path, round_trip: float = ROUND_TRIP) -> Iterator[FarLab]:
    """A lab in a folder, with the daemon for as long as it is wanted."""
    lab = FarLab(folder)
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port = int(probe.getsockname()[1])
    serve = (f"--listen={_LOOPBACK}", f"--port={port}", f"--base-path={folder}", "--enable=receive-pack")
    with (folder / "daemon").open("wb") as words:
        daemon = subprocess.Popen(
            ["git", "daemon", "--reuseaddr", "--export-all", *serve],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + _START_SECONDS
        while not _answers(port):
            assert daemon.poll() is None, (folder / "daemon").read_text()
            assert time.monotonic() < end, (folder / "daemon").read_text()
            time.sleep(0.02)
        with Delay(port, round_trip) as lab.line:
            yield lab
    finally:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_LOOPBACK, port)) == 0
