"""A signed case, its evidence unpacked, and the check that its README prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from lab import Lab, git, kt

REASON = "Fine.\n```sh\nrm -rf /\n```\n<script>\x1b[2J \u202e # Heading"


ROSTER = """
teams:
  - {team_id: triage, members: [alice, bob]}
users:
  - {user_id: alice, emails: [alice@example.com], roles: [reviewer, gateway], signing_keys: ["KEY"]}
  - {user_id: bob, emails: [bob@example.com, Bob@Home.example], roles: [reviewer]}
  - {user_id: seed, emails: [seed@example.com], roles: [admin]}
"""


def built(lab: Lab) -> Path:
    """Alice's clone of a store where she raised, claimed, noted and decided one thing, and signed it."""
    key = lab.folder / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", str(key)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    public = key.with_suffix(".pub").read_text().strip()
    lab.put({"policies/roster.yaml": ROSTER.replace("KEY", public), "policies/$(touch pwned).yaml": ""})
    clone = lab.clone("alice")
    for name, value in (("gpg.format", "ssh"), ("user.signingKey", str(key)), ("commit.gpgsign", "true")):
        git("config", name, value, cwd=clone)
    for name in ("one", "other"):
        done(clone, "raise", "--request-id", name, "--reason-code", "a.b", "--summary", f"The {name} case")
    done(clone, "claim", "--id", "esc_one")
    done(clone, "note", "--id", "esc_one", "--text", "Asked legal")
    done(clone, "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", REASON)
    done(clone, "raise", "--request-id", "late", "--reason-code", "a.b")
    return clone


def done(cwd: Path, *args: str) -> Any:
    ran = kt(*args, "--json", cwd=cwd)
    assert ran.code == 0, ran.err
    return ran.json


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive as its reader does. Python's `tarfile` learnt to be careful in 3.11.4 only."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)


def unpacked(clone: Path, *args: str) -> Path:
    """The folder that an artefact unpacks to."""
    out = clone.parent / "case.tar"
    done(clone, "evidence", *(args or ("--id", "esc_one")), "-o", str(out))
    folder = clone.parent / "elsewhere"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    unpack(out, folder)
    [top] = folder.iterdir()
    return top


def blocks(folder: Path) -> list[str]:
    """The shell blocks of an artefact's README, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def block(folder: Path, word: str) -> str:
    """The one shell block of an artefact's README that holds a word."""
    [found] = [text for text in blocks(folder) if word in text]
    return found


def as_known(clone: Path, folder: Path) -> str:
    """The ids that somebody with a clone gives to who got an artefact: by what its README says, or the tip's."""
    if (folder / "store.bundle").exists():
        return git("rev-parse", "HEAD", cwd=clone)
    ran = subprocess.run(
        ["sh", "-euc", block(folder, "grep -x")], cwd=clone, capture_output=True, text=True, check=True
    )
    return " ".join(ran.stdout.split()[1:])


def commands(folder: Path) -> str:
    """The commands of the README that check it with git alone."""
    return block(folder, "git init") + block(folder, "keys()")


def checked(folder: Path, known: str, script: str = "") -> subprocess.CompletedProcess[str]:
    """Run what the README prints, in an empty folder, with what every system has and git and ssh-keygen."""
    place = folder.parent.parent / "check"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    tools = folder.parent.parent / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("git", "ssh-keygen", "awk", "diff", "find", "grep", "mkdir", "sed", "tr"):
        if not (tools / name).exists():
            (tools / name).symlink_to(shutil.which(name) or "")
    return subprocess.run(
        ["/bin/sh", "-ec", script or commands(folder)],
        cwd=place,
        env={**os.environ, "PATH": str(tools), "known": known, "from": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def holds(ran: subprocess.CompletedProcess[str], steps: int, signed: int) -> bool:
    """Whether the last line says that it all holds, of so many steps."""
    last = f"it all holds: {steps} steps; {signed} of them signed by a key that the roster before it has for its author"
    return ran.returncode == 0 and ran.stdout.splitlines()[-1] == last


def cloned(case: Path, name: str, *options: str) -> Path:
    """A clone of a case's remote."""
    path = case.parent / name
    remote = (case.parent / "remote.git").as_uri()
    git("clone", "--quiet", *options, remote, str(path), cwd=case.parent)
    return path
