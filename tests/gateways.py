"""A store whose settings ask for single use, what gateways raise into it, and what they do with decisions."""

from __future__ import annotations

import json
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
        """Raise one, and let alice decide it."""
        made = self.raised(name, **more)
        self.review("alice", made, outcome, amendment)
        return made

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


def made_in(folder: Path) -> Forge:
    """A new store of that kind."""
    forge = Forge(folder)
    forge.write("policies/settings.yaml", GATEWAY_SETTINGS)
    forge.commit("boss", "settings for gateways")
    return forge
