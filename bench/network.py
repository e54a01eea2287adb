"""What a change costs over a network: real servers of the tests' own behind a delay line of 100 ms a round trip."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import floors
from .delay import Delay
from .measure import Failed, git, kt, pairs, seconds

if TYPE_CHECKING:
    from .rows import Bench, RecordSummary

#: A round trip, in seconds.
ROUND_TRIP = 0.1
_TESTS = Path(__file__).parents[1] / "tests"
WAYS = ("ssh", "ssh with ControlMaster", "http")


class Far:
    """A repository behind the delay line, and two clones of it: one for kt, one for plain git."""

    def __init__(self, stack: ExitStack, folder: Path, way: str, round_trip: float = ROUND_TRIP) -> None:
        sys.path[:0] = [str(_TESTS), str(_TESTS / "servers")]
        hosts: Any = import_module("hosts")
        (folder / "keys").mkdir()
        keys = hosts.make_keys(folder / "keys")
        made = hosts.Site(folder, keys)
        made.found()
        stack.callback(made.stop)
        host = made.start(way.partition(" ")[0])
        self.line = stack.enter_context(Delay(host.port, round_trip))
        if way.startswith("ssh"):
            known = host.folder / "known_hosts"
            known.write_text(known.read_text().replace(f":{host.port} ", f":{self.line.port} "))
        host.port = self.line.port
        self.repository: Path = made.repository
        self.kt, self.git = (hosts.clone(host, "alice", folder / name) for name in ("ours", "plain"))
        self.gateway: Path = hosts.clone(host, "gw", folder / "gateway")
        if way.endswith("ControlMaster"):
            # A socket's path is short.
            sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="kt-"))
            for clone, who in ((self.kt, "a"), (self.git, "a"), (self.gateway, "g")):
                # Whoever comes through a connection that is open is whoever has opened it.
                shared = f" -o ControlMaster=auto -o ControlPath={sockets}/{who} -o ControlPersist=600"
                command = git("config", "core.sshCommand", cwd=clone) + shared
                git("config", "core.sshCommand", command, cwd=clone)
                git("ls-remote", "--heads", "origin", cwd=clone)
                if clone != self.git:
                    stack.callback(seconds, [*command.split(), "-O", "exit", "127.0.0.1"], folder)

    def push(self) -> float:
        """How long a plain `git push` of one commit takes, which changes nothing of the store."""
        git("fetch", "--quiet", "origin", cwd=self.git)
        git("reset", "--quiet", "--hard", "origin/main", cwd=self.git)
        git("commit", "--quiet", "--allow-empty", "-m", "plain", cwd=self.git)
        return seconds(["git", "push", "--quiet", "origin", "HEAD:main"], self.git)


class _Work:
    """The commands that are timed, one life of an escalation after another, and how many connections each makes."""

    def __init__(self, far: Far) -> None:
        self._far = far
        self._name = ""
        self.connections = 0

    def _kt(self, *args: str, cwd: Path) -> float:
        # What this clone knows is the newest.
        git("fetch", "--quiet", "origin", cwd=cwd)
        before = self._far.line.connections
        took = kt(*args, cwd=cwd)
        self.connections = max(self.connections, self._far.line.connections - before)
        return took

    def floor(self) -> float:
        """Our imports, and a push of git's."""
        return seconds(floors.IMPORTS, self._far.git) + self._far.push()

    def raised(self) -> float:
        self._name = f"n{time.monotonic_ns()}"
        return self._kt("raise", "--request-id", self._name, "--reason-code", "a.b", cwd=self._far.gateway)

    def claimed(self) -> float:
        return self._kt("claim", "--id", f"esc_{self._name}", cwd=self._far.kt)

    def resolved(self) -> float:
        args = ("resolve", "--id", f"esc_{self._name}", "--outcome", "denied", "--reason", "no")
        return self._kt(*args, cwd=self._far.kt)


def network(bench: Bench) -> Iterator[RecordSummary]:
    """Commands over a network, each beside one push of git's over the same."""
    from .rows import RecordSummary

    for way in WAYS:
        with ExitStack() as stack:
            folder = bench.work / f"far-{way.replace(' ', '-')}"
            folder.mkdir()
            far = Far(stack, folder, way)
            work = _Work(far)
            steps = {"raise": work.raised, "claim": work.claimed, "resolve": work.resolved}
            found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in steps}
            for _ in range(bench.scale.repeat):
                for name, step in steps.items():
                    found[name][0].append(step())
                    found[name][1].append(work.floor())
            for name, (values, plain) in found.items():
                yield RecordSummary(
                    f"`{name}` over {way}, {ROUND_TRIP * 1000:.0f} ms", "s", values, "imports + `git push`", plain,
                    "1.3 ×", f"at most {work.connections} connections",
                )  # fmt: skip
            yield _open(far, way, bench.scale.repeat)


def _open(far: Far, way: str, repeat: int) -> RecordSummary:
    from kt_escalation import Store

    from .rows import RecordSummary

    with Store.open(far.gateway, follow_checkout=False) as store:

        def raised() -> float:
            git("fetch", "--quiet", "origin", cwd=far.gateway)
            began = time.perf_counter()
            if not store.create(request_id=f"open-{time.monotonic_ns()}", reason_code="a.b").changed:
                raise Failed("it was raised already")
            return time.perf_counter() - began

        values, plain = pairs(repeat, raised, far.push)
    return RecordSummary(
        f"a raise over {way}, {ROUND_TRIP * 1000:.0f} ms, through a store that is open", "s", values, "`git push`",
        plain, "1.1 ×",
    )  # fmt: skip
