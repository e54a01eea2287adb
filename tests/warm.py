"""`kt` without the start of Python: a process that has imported everything forks for each call.

The rest is as real as ever: each call is a process with its caller's folder, environment and streams. One that kills
itself where the tests ask for that takes the process that its caller sees along.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import pkgutil
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import faulty

_CLIENT = """\
#!{python} -IS
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
said = [os.getcwd(), str(len(sys.argv)), *sys.argv, *(f"{{k}}={{v}}" for k, v in os.environ.items())]
socket.send_fds(server, [b"."], [0, 1, 2])
server.sendall("\\0".join(said).encode(errors="surrogateescape"))
server.shutdown(socket.SHUT_WR)
code = server.recv(8)
if not code and {fault!r} in os.environ:
    os.kill(os.getpid(), 9)
sys.exit(int(code or 5))
"""


@functools.cache
def kt_folder() -> Path:
    """The folder of a `kt` that lasts as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="kt-warm-"))
    atexit.register(shutil.rmtree, folder)
    client = folder / "kt"
    client.write_text(
        _CLIENT.format(python=sys.executable, address=str(folder / "socket"), fault=faulty.VARIABLE)
    )
    client.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        here = listener.fileno()
        server = subprocess.Popen(
            [sys.executable, __file__, str(here)], pass_fds=[here], start_new_session=True
        )
    atexit.register(server.wait)
    # Its calls end with it: a page may have started a server.
    atexit.register(os.killpg, server.pid, signal.SIGTERM)
    return folder


def _serve(listener: socket.socket) -> None:
    import git  # noqa: F401 - what a command imports
    import yaml  # noqa: F401

    import kt_escalation
    from kt_escalation.cli import edge

    for module in pkgutil.walk_packages(kt_escalation.__path__, "kt_escalation."):
        # An extra that the tests do without may be missing.
        if not module.name.endswith("__main__"):
            with suppress(ModuleNotFoundError):
                importlib.import_module(module.name)
    while True:
        caller, _ = listener.accept()
        # Those that have ended are waited for, so that what they cost counts as the tests'.
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork():
            caller.close()
            continue
        _, streams, _, _ = socket.recv_fds(caller, 1, 3)
        with caller.makefile("rb") as read:
            said = read.read().decode(errors="surrogateescape").split("\0")
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
            # By lines, as Python has it on a terminal, so that the two come in their order.
            setattr(sys, name, open(number, mode, buffering=1, encoding="utf-8", closefd=False))  # noqa: SIM115
        os.chdir(said[0])
        end = 2 + int(said[1])
        os.environ.clear()
        os.environ.update(pair.split("=", 1) for pair in said[end:])
        sys.argv = said[2:end]
        if faulty.VARIABLE in os.environ:
            faulty.arm()
        code = edge.run("kt", sys.argv[1:])
        sys.stdout.flush()
        caller.sendall(str(code).encode())
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
