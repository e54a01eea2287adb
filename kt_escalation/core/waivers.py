"""Known violations, accepted by an admin: `policies/waivers.yaml` as a value (design, section 9)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..errors import codes
from .model import COMMIT_ID, Line, Text, Value

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
        "file",
        "foreign",
        "fork",
        "lease",
        "merge",
        "moved",
        "policies",
        "pusher",
        "quorum",
        "reopens",
        "resolved",
        "restore",
        "rewritten",
        "shown",
        "signature",
        "start",
        "time",
        "trailers",
        "transition",
        "twice",
        "unchanged",
        "unsigned",
    ]
)


def is_rule(name: str) -> bool:
    """Whether a violation can be called that."""
    return name in RULES or name in codes()


class Waiver(Value):
    """One violation that cannot be undone, and why it is accepted."""

    commit: Annotated[str, Field(pattern=COMMIT_ID)]
    rule: Line
    reason: Text

    def covers(self, commit: str, rule: str) -> bool:
        """Whether this is the violation that it names."""
        return commit.startswith(self.commit) and rule == self.rule

    def names_whole(self, commit: str) -> bool:
        """Whether it gives the commit's whole id, which no commit can hold of itself."""
        return commit == self.commit


class Waivers(Value):
    """The whole file."""

    waivers: tuple[Waiver, ...] = ()
