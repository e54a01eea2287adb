"""Violations that an admin has accepted: `policies/waivers.yaml` as a value. See docs/rules.md."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..errors import codes
from ..model.record import COMMIT_ID, Line, Path, Text, Value

#: The rules that only the judge names; what a command refuses is a rule by the name that it has there.
RULES = frozenset(
    [
        "actor",
        "archive",
        "backdated",
        "born",
        "canonical",
        "compaction",
        "deadline",
        "deleted",
        "dropped",
        "file",
        "foreign",
        "lease",
        "merge",
        "message",
        "moved",
        "policies",
        "pusher",
        "quorum",
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
        "twice",
        "unchanged",
        "unsigned",
    ]
)


def is_rule(name: str) -> bool:
    """Whether a violation can be called that."""
    return name in RULES or name in codes()


class Waiver(Value):
    """One violation that cannot be undone, and why it is accepted; commit, rule and path are those that `verify` names."""

    commit: Annotated[str, Field(pattern=COMMIT_ID)]
    rule: Line
    path: Path
    reason: Text

    @property
    def key(self) -> tuple[str, str, str]:
        """The commit, the rule and the path of the violation that it names."""
        return self.commit, self.rule, self.path

    def covers(self, commit: str, rule: str, path: str) -> bool:
        """Whether this is the violation that it names."""
        return (commit, rule, path) == (self.commit, self.rule, self.path)


class Waivers(Value):
    """The whole file."""

    waivers: tuple[Waiver, ...] = ()
