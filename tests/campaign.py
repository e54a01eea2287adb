"""The exception campaign: whatever is raised at whichever line behind the push, the exit code does not lie.

A command runs in this process, on real git, and is traced. From the moment when its commit is sent until the
command has returned, each source line of the package is a place where something may be raised: ^C, a full disk,
no memory, an error of our own. Each is raised there once, in a run of its own, and the verdict is the history.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from lab import Lab, Ran, git, kt, record_text

import kt_escalation
from kt_escalation.errors import PushRefused
from kt_escalation.storage.effect import Effect

PACKAGE = str(Path(kt_escalation.__file__).parent)
#: A push that goes on without the command that started it has landed after so many seconds.
ARRIVES_SECONDS = 0.3
#: A line of the package: its file and number.
Place = tuple[str, int]


#: What may be raised anywhere.
ERRORS: Mapping[str, Callable[[], BaseException]] = {
    "interrupt": KeyboardInterrupt,
    "full disk": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "no memory": MemoryError,
    "our own": lambda: PushRefused(remote="origin", branch="main", words="made up"),
}


class Tracer:
    """Sees each line of the package behind a push, and raises something at one of them."""

    def __init__(self, at: Place | None = None, raises: Callable[[], BaseException] | None = None) -> None:
        self._at = at
        self._raises = raises
        self.seen: dict[Place, None] = {}
        self.raised = False
        self._sent = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Trace this thread."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _call(self, frame: FrameType, _: str, __: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event != "line":
            return self._line
        self._sent = self._sent or frame.f_code is Effect.send.__code__
        if self._sent and not self.raised:
            place = (frame.f_code.co_filename, frame.f_lineno)
            self.seen.setdefault(place)
            if place == self._at and self._raises:
                self.raised = True
                raise self._raises()
        return self._line


@dataclass
class Case:
    """A kind of command: what is typed, and the words of its commit."""

    kind: str
    args: tuple[str, ...]
    words: str
    #: Without a remote.
    alone: bool
    #: The branch on which the commit lands.
    branch: str = "main"
    #: The folders of its stores.
    stores: tuple[str, ...] = ("one",)
    folder: Path = Path()

    def __str__(self) -> str:
        return f"{self.kind} without a remote" if self.alone else self.kind

    def build(self, folder: Path) -> None:
        """Make the ground that each run gets a copy of."""
        self.folder = folder
        for name in self.stores:
            (folder / name).mkdir(parents=True)
            lab = Lab(folder / name)
            if self.kind == "sweep":
                lab.put({"queue/esc_job.yaml": OVERDUE})
            else:
                lab.escalations("job")
            clone = lab.clone("alice")
            if self.kind.startswith("resolve"):
                assert kt("claim", "--id", "esc_job", cwd=clone).code == 0
            if self.kind == "init":
                # The store branch of both holds no store yet.
                for where in (lab.remote, clone):
                    git("update-ref", "-d", "refs/heads/main", cwd=where)
                git("symbolic-ref", "--delete", "refs/remotes/origin/HEAD", cwd=clone)
                git("update-ref", "-d", "refs/remotes/origin/main", cwd=clone)
                git("read-tree", "--empty", cwd=clone)
                shutil.rmtree(clone / "queue")
                shutil.rmtree(clone / "policies")
            if self.alone:
                git("remote", "remove", "origin", cwd=clone)

    def copy(self, folder: Path) -> Path:
        """A copy of the ground; the clone in which the command is typed."""
        shutil.copytree(self.folder, folder, symlinks=True)
        for config in folder.glob("*/alice/.git/config"):
            config.write_text(config.read_text().replace(str(self.folder), str(folder)))
        return folder / "one/alice"

    def typed(self, folder: Path) -> list[str]:
        """The arguments in that copy."""
        named = [word for name in self.stores[1:] for word in ("-C", str(folder / name / "alice"))]
        return [*self.args, *(["-C", str(folder / "one/alice"), *named] if named else [])]

    def run(self, folder: Path, tracer: Tracer) -> Ran:
        """Run it on a copy of the ground."""
        clone = self.copy(folder)
        with tracer.watching():
            return kt(*self.typed(folder), cwd=clone)

    def landed(self, folder: Path, store: str) -> int:
        """How often it is in the history of a store."""
        where = folder / store / ("alice" if self.alone else "remote.git")
        log = git("log", "--branches", "--format=%s", cwd=where)
        return sum(self.words in line for line in log.splitlines())

    def judge(self, folder: Path, code: int, ended: float | None = None) -> None:
        """Hold an exit code against the history, and the index against the branch.

        ``ended`` is when the command did, by the monotonic clock; now, if that is not known.
        """
        landed = 0
        if code not in (0, 9):
            # A push that goes on without us would have landed by then.
            time.sleep(max(0.0, (ended or time.monotonic()) + ARRIVES_SECONDS - time.monotonic()))
        for name in self.stores:
            clone = folder / name / "alice"
            # What is on its way goes on without us.
            until = time.monotonic() + 20
            while list((clone / ".git").rglob("*.lock")):
                assert time.monotonic() < until, "a lock is left behind"
                time.sleep(0.01)
            # What the user commits next must be their own.
            staged = git("diff", "--cached", "--name-only", cwd=clone, env={"GIT_OPTIONAL_LOCKS": "0"})
            assert staged == "", "the index is half made"
            landed += self.landed(folder, name)
        assert landed <= len(self.stores)
        assert code == 9 or (code == 0) == (landed > 0), f"exit {code}, and {landed} landed"


OVERDUE = record_text(
    "job", raised_at='"2026-01-01T00:00:00.000Z"', created_at='"2026-01-01T00:00:00.000Z"'
).replace("  approvals: 1\n", "  approvals: 1\n  resolve_within: 1h\n")


def cases() -> Iterator[Case]:
    """Every kind of command, with and without a remote."""
    for alone in (False, True):
        yield Case("claim", ("claim", "--id", "esc_job"), "claim esc_job", alone)
        yield Case("raise", ("raise", "--reason-code", "a.b", "--request-id", "new"), "raise esc_new", alone)
        resolve = ("resolve", "--id", "esc_job", "--outcome", "approved", "--reason", "fine")
        yield Case("resolve", resolve, "resolve esc_job", alone)
        yield Case("sweep", ("sweep", "--json"), "sweep esc_job", alone)
        yield Case("init", ("init",), "init the store", alone)
        if not alone:
            claim = ("claim", "--id", "esc_job", "--branch", "")
            yield Case("claim on a branch", claim, "claim esc_job", alone, "kt/claim/esc_job")
            yield Case(
                "resolve on a branch", (*resolve, "--branch", "kt/mine"), "resolve esc_job", alone, "kt/mine"
            )
            note = ("note", "--id", "esc_job", "--text", "hm", "--branch", "")
            yield Case("note on a branch", note, "note esc_job", alone, "kt/note/esc_job")
        yield Case(
            "several", ("claim", "--next", "--count", "2"), "claim esc_job", alone, stores=("one", "two")
        )


class Grounds:
    """Gives cases the ground that they begin on, each made once. ``begin`` changes a user's clone on a new ground."""

    def __init__(
        self, factory: pytest.TempPathFactory, begin: Callable[[Path], None] = lambda _: None
    ) -> None:
        self._factory, self._begin = factory, begin
        self._made: dict[str, Path] = {}

    def __call__(self, case: Case) -> Case:
        if str(case) not in self._made:
            self._made[str(case)] = self._factory.mktemp("case") / "ground"
            case.build(self._made[str(case)])
            for clone in case.folder.glob("*/alice"):
                self._begin(clone)
        case.folder = self._made[str(case)]
        return case
