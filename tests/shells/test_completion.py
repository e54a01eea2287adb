"""Completion in real shells, as docs/install.md sets it up: a word is begun, TAB is pressed, and the shell writes the rest."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab, kt

TOP = Path(__file__).parents[2]
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
# As docs/install.md has them.
LINES = re.findall(
    r"^    (.*_KT_COMPLETE=.*?)(?: +#.*)?$", (TOP / "docs/install.md").read_text(), re.MULTILINE
)
BASH, ZSH, FISH = (
    next(line for line in LINES if f"{shell}_source" in line) for shell in ("bash", "zsh", "fish")
)
SECONDS = 20.0
TYPED = (
    ("kt escalation cla", "kt escalation claim "),
    ("kt escalation claim --ne", "kt escalation claim --next "),
    ("kt escalation resolve --outcome app", "kt escalation resolve --outcome approved "),
    ("kt escalation claim --id esc_al", "kt escalation claim --id esc_alpha "),
    ("kt policy li", "kt policy lint "),
)


@pytest.fixture
def clone(lab: Lab) -> Path:
    """A clone in which esc_alpha waits and esc_zulu is resolved."""
    path = lab.clone("alice")
    for name in ("alpha", "beta", "zulu"):
        asked = ("--request-id", name, "--reason-code", "a.b", "--summary", "It's $(odd)")
        assert kt("raise", *asked, cwd=path).code == 0
    assert kt("claim", "--id", "esc_zulu", cwd=path).code == 0
    assert kt("resolve", "--id", "esc_zulu", "--outcome", "denied", "--reason", "No", cwd=path).code == 0
    return path


class Shell:
    """An interactive shell at a terminal."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        pid, self._terminal = pty.fork()
        if pid == 0:
            os.chdir(cwd)
            os.execvpe(command[0], command, {**os.environ, "PATH": PATH, "TERM": "dumb", "PS1": "> "})
        self._pid, self._shown = pid, ""

    def write(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def until(self, text: str) -> None:
        """Wait until the shell has shown a text."""
        end = time.monotonic() + SECONDS
        while text not in self._shown:
            assert time.monotonic() < end, f"{text!r} did not come: {self._shown!r}"
            if select.select([self._terminal], [], [], 0.1)[0]:
                self._shown += os.read(self._terminal, 4096).decode()

    def end(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], [BASH]),
    "zsh": (
        ["zsh", "-f", "-i"],
        ["unset zle_bracketed_paste; autoload -U compinit && compinit -u -D", ZSH],
    ),
}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, clone: Path) -> Iterator[Shell]:
    """A shell that is ready, with the line of docs/install.md."""
    command, lines = SHELLS[request.param]
    started = Shell(command, clone)
    for line in lines:
        started.write(f"{line}\n")
    started.write("echo it is re''ady\n")
    started.until("it is ready")
    yield started
    started.end()


def test_a_begun_word_is_ended(shell: Shell) -> None:
    for begun, whole in TYPED:
        shell.write(f"{begun}\t")
        shell.until(whole)
        # Away with the line.
        shell.write("\x15")


@pytest.mark.parametrize(("begun", "whole"), TYPED)
def test_fish_offers_what_fits(clone: Path, begun: str, whole: str) -> None:
    offered = _fish(clone, begun)
    assert [line.partition("\t")[0] for line in offered] == [whole.split()[-1]]


def test_an_id_is_offered_with_what_it_is_about(clone: Path) -> None:
    assert _fish(clone, "kt escalation get --id esc_") == [
        "esc_alpha\tmedium It's $(odd)",
        "esc_beta\tmedium It's $(odd)",
    ]
    assert _fish(clone, "kt escalation get --id esc_z") == ["esc_zulu"]


def test_where_there_is_no_store_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    assert _fish(tmp_path, "kt escalation get --id esc_") == []


def _fish(cwd: Path, begun: str) -> list[str]:
    done = subprocess.run(
        ["fish", "--no-config", "-c", f'{FISH}; complete -C "{begun}"'],
        cwd=cwd,
        env={**os.environ, "PATH": PATH},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()
