"""Real git for the tests: bare remotes, clones with pinned people, and `kt` as real processes."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import warm
from faulty import VARIABLE

from kt_escalation.cli.edge import run

KT = (sys.executable, "-m", "kt_escalation")
FAULTY = (sys.executable, str(Path(__file__).with_name("faulty.py")))


@dataclass(frozen=True)
class Ran:
    """A process that has ended."""

    code: int
    out: str
    err: str
    #: What followed `kt escalation`, where the lab ran it.
    args: tuple[str, ...] = field(default=(), compare=False)

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error of a `--json` command."""
        found: dict[str, Any] = json.loads(self.err.strip().splitlines()[-1])["error"]
        return found


def without_side_files() -> dict[str, str]:
    """The environment of a process whose files may not grow.

    Python would keep bytecode, and coverage its data, of which either could write only a part.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}


def git(*args: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
    """Run git, which must succeed; its output without the last line feed."""
    done = subprocess.run(
        ["git", *args],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"git {' '.join(args)}: {done.stderr}"
    return done.stdout.removesuffix("\n")


def unwritable(folder: Path) -> Path:
    """A folder in which nobody can make a file: not even root in the kernel's own."""
    if os.geteuid() == 0:
        return Path("/sys")
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    return closed


def shell(script: str, cwd: Path) -> None:
    """Run commands as a user's shell would, stopping at the first that fails."""
    path = f"{warm.kt_folder()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


def start(
    *args: str, cwd: Path, env: Mapping[str, str] | None = None, session: bool = False, forked: bool = False
) -> subprocess.Popen[str]:
    """Start `kt escalation`, not waiting for it; one that fails at a point where the tests ask for that.

    With ``forked`` its process is forked from one that is warm: many of them meet each other sooner, and cost less.
    """
    fault = (env or {}).get(VARIABLE, "")
    forked = forked or fault.endswith((":kill", ":full"))
    program = (str(warm.kt_folder() / "kt"),) if forked else FAULTY if fault else KT
    return subprocess.Popen(
        [*program, "escalation", *args],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=session,
    )


def end(process: subprocess.Popen[str], timeout: float = 120) -> Ran:
    """Wait for a process."""
    out, err = process.communicate(timeout=timeout)
    return Ran(process.returncode, out, err)


def kt_process(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ran:
    """Run `kt escalation` as a process of its own."""
    return end(start(*args, cwd=cwd, env=env))


def kt(*args: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ran:
    """Run `kt escalation` in this process, which spares the start of Python; all else is as real."""
    return _run("kt-escalation", args, cwd, env, stdin)


def kt_policy(*args: str, cwd: Path) -> Ran:
    """Run `kt policy` in this process."""
    return _run("kt", ("policy", *args), cwd, None, b"")


def kt_gateway(*args: str, cwd: Path) -> Ran:
    """Run `kt gateway` in this process."""
    return _run("kt", ("gateway", *args), cwd, None, b"")


def _run(program: str, args: Sequence[str], cwd: Path, env: Mapping[str, str] | None, stdin: bytes) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    before, here, terminal = dict(os.environ), Path.cwd(), sys.stdin
    os.environ.update(env or {})
    os.chdir(cwd)
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8", errors="surrogateescape")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(program, args)
    finally:
        sys.stdin = terminal
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
    return Ran(code, out.getvalue(), err.getvalue(), tuple(args))


def on_a_terminal(args: list[str], cwd: Path, env: dict[str, str]) -> tuple[int, str]:
    """Run `kt escalation` with a real terminal as stdin, stdout and stderr, at which nobody types."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execvpe(
            sys.executable,
            [*KT, "escalation", *args],
            {**os.environ, **env},
        )
    shown = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode(errors="replace")


def record_text(name: str, severity: str = "medium", **more: str) -> str:
    """A queued record's canonical text, for putting many into a store by git alone."""
    keys = {
        "schema_version": "1",
        "escalation_id": f"esc_{name}",
        "status": "queued",
        "severity": severity,
        "reason_code": "oversight.required",
        "created_at": '"2026-11-23T09:00:00.000Z"',
        "raised_at": '"2026-11-23T09:00:00.000Z"',
        "raised_by": "gw@example.com",
        "queued_at": '"2026-11-23T09:00:00.000Z"',
        **more,
    }
    lines = [f"{key}: {value}" for key, value in keys.items()]
    return "\n".join([*lines, "route:", "  source: default", "requires:", "  approvals: 1", ""])


class Lab:
    """A bare remote and clones of it."""

    def __init__(self, folder: Path, *, object_format: str = "sha1") -> None:
        self.folder = folder
        self.remote = folder / "remote.git"
        git("init", "--bare", "--quiet", f"--object-format={object_format}", str(self.remote), cwd=folder)
        seed = folder / "seed"
        git("init", "--quiet", f"--object-format={object_format}", str(seed), cwd=folder)
        self.seed = seed
        git("config", "user.name", "Seed", cwd=seed)
        git("config", "user.email", "seed@example.com", cwd=seed)
        git("remote", "add", "origin", str(self.remote), cwd=seed)
        self.put(
            {"policies/policy-config.yaml": "pack: {enabled: true}\n", "README.md": "A store.\n"}, "start"
        )

    def copy(self, folder: Path) -> Lab:
        """The same in another folder, clones and all, which costs a quarter of building it."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        for config in [*folder.glob("*/.git/config"), *folder.glob("*.git/config")]:
            config.write_text(config.read_text().replace(str(self.folder), str(folder)))
        made = copy.copy(self)
        made.folder, made.remote, made.seed = folder, folder / "remote.git", folder / "seed"
        return made

    def put(self, files: Mapping[str, str] | Mapping[str, bytes], message: str = "put") -> str:
        """Commit files by git alone and push them."""
        # Where nobody has pushed since, it is here already.
        ours, theirs = self.seed / ".git/refs/remotes/origin/main", self.remote / "refs/heads/main"
        if ours.exists() and not (theirs.exists() and theirs.read_text() == ours.read_text()):
            git("pull", "--quiet", "--rebase", "origin", "main", cwd=self.seed)
        for name, text in files.items():
            path = self.seed / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        git("add", "--all", cwd=self.seed)
        git("commit", "--quiet", "-m", message, cwd=self.seed)
        git("push", "--quiet", "origin", "HEAD:main", cwd=self.seed)
        return git("rev-parse", "HEAD", cwd=self.seed)

    def escalations(self, *names: str, **more: str) -> None:
        """Put queued escalations into the store."""
        self.put({f"queue/esc_{name}.yaml": record_text(name, **more) for name in names}, "raise")

    def clone(self, name: str, *options: str, email: str | None = None) -> Path:
        """A clone for a person."""
        path = self.folder / name
        person = ("-c", f"user.name={name.title()}", "-c", f"user.email={email or f'{name}@example.com'}")
        git("clone", "--quiet", *person, *options, self.remote.as_uri(), str(path), cwd=self.folder)
        return path

    def commits(self, *words: str) -> list[str]:
        """The subjects on the remote's store branch, newest first, that hold all the words."""
        subjects = git("log", "--format=%s", "main", cwd=self.remote).splitlines()
        return [subject for subject in subjects if all(word in subject for word in words)]

    def tip(self) -> str:
        """The remote's newest commit."""
        return git("rev-parse", "main", cwd=self.remote)

    def file(self, path: str) -> str:
        """A file at the remote's tip."""
        return git("show", f"main:{path}", cwd=self.remote)

    def files(self) -> list[str]:
        """All paths at the remote's tip."""
        return git("ls-tree", "-r", "--name-only", "main", cwd=self.remote).splitlines()

    def hook(self, name: str, script: str) -> Path:
        """Install a hook of the remote."""
        path = self.remote / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path


def state(clone: Path) -> dict[str, str]:
    """All of a checkout that belongs to its user."""
    files = sorted(
        path for path in clone.rglob("*") if path.is_file() and ".git" not in path.relative_to(clone).parts
    )
    return {
        "head": (clone / ".git/HEAD").read_text(),
        "commit": git("rev-parse", "HEAD", cwd=clone),
        "heads": git("for-each-ref", "refs/heads", cwd=clone),
        "stash": git("stash", "list", cwd=clone),
        "index": git("ls-files", "--stage", cwd=clone),
        "files": "\n".join(f"{path.relative_to(clone)}: {path.read_bytes()!r}" for path in files),
    }


def ids(listing: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids of records in order."""
    return [item["escalation_id"] for item in listing]


def path_to_git(folder: Path, script: str) -> str:
    """A PATH on which git is a script; in it `git` stands for the real one with all its arguments."""
    program = folder / "bin/git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ngit() {{ {shutil.which("git")} "$@"; }}\n{script}\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


HEAVY = ("pydantic", "yaml", "git", "filelock", "cryptography")


def loaded(*args: str, cwd: Path, env: dict[str, str] | None = None) -> tuple[str, set[str]]:
    """What a command prints, and the modules that its process imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *KT[1:], "escalation", *args],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    traced = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done.stdout, {line.rpartition("|")[2].strip() for line in traced}


def wait_for(path: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} never came"
        time.sleep(0.01)
