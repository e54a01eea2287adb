"""Violations that an admin has accepted: `policies/waivers.yaml` as a value. See docs/rules.md."""

from __future__ import annotations

from typing import Annotated

from ..errors import codes
from ..model.forms import COMMIT_ID
from ..model.record import OneLine, Path, Text
from ..model.value import ListOf, Value, form

#: The rules that only the judge checks. A rule that a command checks has the name of the command's error.
RULES = frozenset(
    [
        "actor",
        "amendment",
        "archive",
        "backdated",
        "canonical",
        "compaction",
        "deadline",
        "deleted",
        "dropped",
        "duplicate_file",
        "file",
        "foreign",
        "invalid_creation",
        "lease",
        "merge",
        "message",
        "moved",
        "policies",
        "pusher",
        "quorum",
        "receipt",
        "release",
        "reopens",
        "resolved",
        "restore",
        "rewritten",
        "root",
        "shown",
        "signature",
        "start",
        "time",
        "transition",
        "tree",
        "unchanged",
        "unsigned",
        "withdraw",
    ]
)


def is_rule(name: str) -> bool:
    """Whether a rule has this name."""
    return name in RULES or name in codes()


class Waiver(Value):
    """One accepted violation, and the reason. `verify` prints its commit, rule and path."""

    commit: Annotated[str, form(COMMIT_ID)]
    rule: OneLine
    path: Path
    reason: Text

    @property
    def key(self) -> tuple[str, str, str]:
        """The commit, rule and path of the violation."""
        return self.commit, self.rule, self.path

    def covers(self, commit: str, rule: str, path: str) -> bool:
        """Whether the waiver accepts this violation."""
        return (commit, rule, path) == (self.commit, self.rule, self.path)


class Waivers(Value):
    """The whole file."""

    waivers: ListOf[Waiver] = ()
