"""What has become of a change that was sent: the commit loop records it, and all reports read it.

An exception says where a command was interrupted, and nothing about the ref. So the exit code depends on this
record alone: the change landed, it was never sent, or the outcome is unknown. See docs/design.md, *How a step
is committed*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..errors import OutcomeUnknown

# How long the remote is looked at before a push is told to have no answer, and how often, in seconds.
LAST_LOOK, LOOK_AGAIN = 3.0, 0.3
# A push that is started with less than this left, in seconds, would only lose its answer.
LEAST_FOR_PUSH = 0.5


class Outcome(Enum):
    """Where a change is on its way to the store branch."""

    NOT_SENT = "not sent"  # never sent, or sent and refused: it did not land and will not
    SENT = "sent"  # on its way, without an answer so far
    LANDED = "landed"  # the ref has moved
    UNKNOWN = "unknown"  # sent, and nobody waits for the answer any more


@dataclass
class Effect:
    """The one record of what has become of a command's change."""

    outcome: Outcome = Outcome.NOT_SENT
    commit: str | None = None
    #: What the error says where the outcome is unknown, besides the commit: see `OutcomeUnknown`.
    facts: Mapping[str, Any] = field(default_factory=dict)

    def send(self, commit: str, push: Callable[[], Exception | None]) -> Exception | None:
        """Send a commit by ``push``, which returns None when the ref has moved, or why it has not and will not.

        Returns that answer. Whatever is raised instead says nothing about the ref: the outcome stays `SENT`.
        """
        # An earlier push of this command may have no answer yet; a refusal of this one does not change that.
        before = self.outcome
        self.commit = commit
        self.outcome = Outcome.SENT
        refusal = push()
        self.outcome = Outcome.LANDED if refusal is None else before
        return refusal

    def lost(self) -> None:
        """Record that nothing that was sent has landed or will, and that nothing is on its way."""
        self.outcome = Outcome.NOT_SENT

    def found(self, commit: str) -> None:
        """Record that the change was seen on the store branch."""
        self.commit = commit
        self.outcome = Outcome.LANDED

    def given_up(self, words: str) -> OutcomeUnknown:
        """Record that no answer is waited for any more; the error that says so."""
        self.outcome = Outcome.UNKNOWN
        return OutcomeUnknown(commit=self.commit, words=words, **self.facts)


#: Is told each effect of a command when the command begins it.
OnEffect = Callable[[Effect], object]
