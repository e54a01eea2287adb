"""The outcome of a change that was sent. The commit loop records it, and every report reads it.

An exception says where a command was interrupted, but nothing about the ref. So only this record decides the
exit code: the change landed, it was never sent, or the outcome is unknown. See docs/design.md, *How a step
is committed*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..errors import OutcomeUnknown

# How long the remote is asked before the outcome of a push is unknown, and how often, in seconds.
LAST_LOOK, LOOK_AGAIN = 3.0, 0.3
# The least time left, in seconds, to start a push: with less, its answer would come too late.
LEAST_FOR_PUSH = 0.5


class EffectOutcome(Enum):
    """How far a change has come on its way to the store branch."""

    NOT_SENT = "not sent"  # never sent, or sent and refused: it did not land and will not
    SENT = "sent"  # on its way, without an answer so far
    LANDED = "landed"  # the ref has moved
    UNKNOWN = "unknown"  # sent, and nobody waits for the answer any more


@dataclass
class Effect:
    """The outcome of one command's change."""

    outcome: EffectOutcome = EffectOutcome.NOT_SENT
    commit: str | None = None
    #: The facts of the error if the outcome stays unknown, besides the commit: see `OutcomeUnknown`.
    facts: Mapping[str, Any] = field(default_factory=dict)

    def send(self, commit: str, push: Callable[[], Exception | None]) -> Exception | None:
        """Send a commit with ``push``. Returns None if the ref has moved, else the final reason why it has not.

        If ``push`` raises an exception, the state of the ref is unknown, and the outcome stays `SENT`.
        """
        # An earlier push of this command may still be unanswered, even if this one is refused.
        before = self.outcome
        self.commit = commit
        self.outcome = EffectOutcome.SENT
        refusal = push()
        self.outcome = EffectOutcome.LANDED if refusal is None else before
        return refusal

    def lost(self) -> None:
        """Record that no commit that was sent has landed or will land."""
        self.outcome = EffectOutcome.NOT_SENT

    def found(self, commit: str) -> None:
        """Record that the change was seen on the store branch."""
        self.commit = commit
        self.outcome = EffectOutcome.LANDED

    def given_up(self, words: str) -> OutcomeUnknown:
        """Record that kt no longer waits for an answer. Returns the error to report."""
        self.outcome = EffectOutcome.UNKNOWN
        return OutcomeUnknown(commit=self.commit, words=words, **self.facts)


#: Called with each effect when a command begins it.
OnEffect = Callable[[Effect], object]
