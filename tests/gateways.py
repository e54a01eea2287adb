"""A store whose settings ask for single use, what gateways raise into it, and what they do with decisions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forge import SETTINGS, Forge, identity
from lab import Ran, git, kt

from kt_escalation import action

#: One for each way in which a decision may be bound; `later.use` is checked for its time alone.
RULES = """\
  - match: {reason_code: tool.call}
    single_use: true
    valid_for: 15m
  - match: {reason_code: tool.two}
    approvals: 2
    single_use: true
  - match: {reason_code: later.use}
    valid_for: 15m
"""
GATEWAY_SETTINGS = f"{SETTINGS}{RULES}"
INPUT = {"amount": 100, "to": "bob"}
DIGEST = action.digest("tool.call", "refund", INPUT)
SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "maximum": 100}, "to": {"type": "string"}},
    "required": ["amount"],
    "additionalProperties": False,
}


def draft(name: str, reason_code: str = "tool.call", **more: Any) -> dict[str, Any]:
    """What a gateway raises for a refund."""
    found = {"kind": "tool.call", "name": "refund", "digest": DIGEST, "edit_schema": SCHEMA}
    return {"request_id": name, "reason_code": reason_code, "action": found, **more}


class Gate:
    """People and gateways at work in one forge."""

    def __init__(self, forge: Forge) -> None:
        self.forge = forge

    def run(self, who: str, *args: str, stdin: str = "") -> Ran:
        """Run a command as somebody, whatever comes of it."""
        return kt(*args, cwd=self.forge.path, env=identity(who), stdin=stdin.encode())

    def do(self, who: str, *args: str, stdin: str = "") -> Ran:
        """Run a command that must succeed."""
        ran = self.run(who, *args, stdin=stdin)
        assert ran.code == 0, ran.err
        return ran

    def raised(self, name: str, **more: Any) -> str:
        """Raise one."""
        self.do("gw", "raise", "--file", "-", stdin=json.dumps(draft(name, **more)))
        return f"esc_{name}"

    def decided(self, name: str, outcome: str = "approved", amendment: Any = None, **more: Any) -> str:
        """Raise one, and let alice decide it; where that was done in the same state already, what came of it is copied."""

        def make() -> None:
            self.review("alice", self.raised(name, **more), outcome, amendment)

        once(self.forge.path, repr((name, outcome, amendment, more)), make)
        return f"esc_{name}"

    def review(self, who: str, name: str, outcome: str, amendment: Any = None) -> None:
        """Claim one and decide it."""
        self.do(who, "claim", "--id", name)
        given = ("--amendment", "-") if amendment is not None else ()
        self.do(
            who,
            *("resolve", "--id", name, "--outcome", outcome, "--reason", "so it is", *given),
            stdin=json.dumps(amendment),
        )

    def released(self, name: str, token: str = "T1") -> str:  # noqa: S107 - a release id is no secret
        """Release one; the path of its release."""
        self.do("gw", "release", "--id", name, "--digest", DIGEST, "--release-id", token, "--amended")
        return self.release_path(name)

    def release_path(self, name: str) -> str:
        return git("ls-files", f"queue/released/*/{name}.yaml", cwd=self.forge.path)


#: What became of a store by what was done in which state, and when.
MADE: dict[tuple[str, bytes], tuple[float, Path]] = {}
#: A decision is to be used within 15 minutes: one that is older than this is made anew.
FRESH = 240.0


def once(store: Path, what: str, make: Callable[[], None]) -> None:
    """Do something with a store; where it was done to the same store lately, make the same of it by copying files.

    The same are all files but git's objects. Most tests begin with a decision, which starts some forty processes.
    """
    files = _files(store)
    key = (
        what,
        hashlib.sha256(repr([(name, files[name].read_bytes()) for name in sorted(files)]).encode()).digest(),
    )
    since, kept = MADE.get(key, (-FRESH, store))
    if time.monotonic() - since < FRESH:
        left = _files(kept)
        for name in files.keys() - left.keys():
            files[name].unlink()
        shutil.copytree(
            kept / ".git/objects", store / ".git/objects", copy_function=_unless_there, dirs_exist_ok=True
        )
        for name, path in left.items():
            (store / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, store / name)
        return
    since = time.monotonic()
    make()
    kept = Path(os.environ["HOME"]) / f"made-{len(MADE)}-{since}"
    shutil.copytree(store, kept, symlinks=True)
    MADE[key] = since, kept


def _files(store: Path) -> dict[str, Path]:
    """All files of a store by their names, without git's objects."""
    found = {}
    for folder, folders, names in os.walk(store):
        if folder == str(store / ".git"):
            folders.remove("objects")
        found.update({os.path.relpath(f"{folder}/{name}", store): Path(folder, name) for name in names})
    return found


def _unless_there(source: str, target: str) -> str:
    return target if Path(target).exists() else shutil.copy2(source, target)


def made_in(folder: Path) -> Forge:
    """A new store of that kind."""
    forge = Forge(folder)
    forge.write("policies/settings.yaml", GATEWAY_SETTINGS)
    forge.commit("boss", "settings for gateways")
    return forge
