"""A gateway's room: a remote, the gateway's clone and a reviewer's, for tests of what holds requests."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateways import made_in
from lab import git

from kt_escalation import Store


class Room:
    """A bare remote whose store asks for single use of tool calls, a clone of gw's and one of alice's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remote = folder / "remote.git"
        made = made_in(folder)
        git("clone", "--quiet", "--bare", str(made.path), str(self.remote), cwd=folder)
        self.gw = self.clone("gw")
        self.alice_path = self.clone("alice")
        self.alice = Store.open(self.alice_path, follow_checkout=False)

    def clone(self, name: str, *, who: str = "") -> Path:
        """A clone of a person's."""
        path = self.folder / name
        who = who or name
        person = ("-c", f"user.name={who.title()}", "-c", f"user.email={who}@example.com")
        git("clone", "--quiet", *person, self.remote.as_uri(), str(path), cwd=self.folder)
        return path

    def decide(self, *names: str, outcome: str = "approved", amendment: Any = None) -> None:
        """Let alice claim and decide some, in two commits."""
        found = [f"esc_{name}" for name in names]
        self.alice.claim_many(found)
        self.alice.resolve_many(found, outcome, "so it is", amendment=amendment)

    def commits(self, *words: str) -> list[str]:
        """The subjects on the remote's store branch, newest first, that hold all the words."""
        subjects = git("log", "--format=%s", "main", cwd=self.remote).splitlines()
        return [subject for subject in subjects if all(word in subject for word in words)]

    @contextmanager
    def away(self) -> Iterator[None]:
        """Take the remote away for a while."""
        aside = self.remote.with_suffix(".away")
        self.remote.rename(aside)
        try:
            yield
        finally:
            aside.rename(self.remote)

    @contextmanager
    def cut_off(self, clone: Path) -> Iterator[None]:
        """Cut one clone off from the remote for a while; others reach it."""
        git("config", "remote.origin.url", f"{self.remote.as_uri()}.nowhere", cwd=clone)
        try:
            yield
        finally:
            git("config", "remote.origin.url", self.remote.as_uri(), cwd=clone)

    def hanging(self, clone: Path) -> threading.Event:
        """Let every fetch of a clone hang for a minute from now on; the event is set when one has begun."""
        program = self.folder / "hanging"
        program.write_text("#!/bin/sh\ntrap '' TERM\nsleep 60\n")
        program.chmod(0o755)
        git("config", "remote.origin.uploadpack", str(program), cwd=clone)
        return threading.Event()


def counting_git(folder: Path) -> tuple[Path, str]:
    """A file with a line for each git process, and the PATH on which git writes it."""
    import shutil

    log, program = folder / "processes", folder / "counting" / "git"
    program.parent.mkdir(exist_ok=True)
    log.write_text("")
    program.write_text(f'#!/bin/sh\necho "$*" >>{log}\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    return log, f"{program.parent}:{os.environ['PATH']}"
