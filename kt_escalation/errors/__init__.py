"""All errors of kt, with their codes, exit codes, facts and messages.

The codes are a closed list (docs/reference.md, *Exit codes*). Scripts match on ``code``, and people read
``message``. Each class says what happened and what to do next, and declares its facts as typed attributes.
The code that raises the error gives the facts. Times are texts as in RFC 3339.
"""

from __future__ import annotations

from collections.abc import Iterator

from .base import KtError
from .conflict import (
    AlreadyClaimed,
    AlreadyReleased,
    AlreadyReopened,
    AlreadyResolved,
    Amended,
    BranchTaken,
    ClaimIdDiffers,
    Conflict,
    DifferentContent,
    GitLocked,
    IllegalRecord,
    NotClaimed,
    NotFound,
    NothingToClaim,
    NothingToRestore,
    NotHolder,
    NotReleased,
    NotReleasing,
    NotResolved,
    OtherAction,
    OtherReceipt,
    PathStaged,
    ReleaseExpired,
    ReleaseNeeded,
    ShownDiffers,
)
from .remote import (
    DeliveryFailed,
    HistoryRewritten,
    Interrupted,
    LockTimeout,
    OutcomeUnknown,
    PushRefused,
    RemoteFault,
    RemoteUnreachable,
    RetriesExhausted,
    WaitTimeout,
    exhausted,
)
from .usage import (
    AmbiguousId,
    AnswerIsNo,
    BadAmendment,
    BadInput,
    BrokenPolicies,
    Bug,
    ClockSkew,
    Failure,
    GitFailed,
    MissingExtra,
    NoIdentity,
    NoStoreBranch,
    NotAllowed,
    NotAStore,
    NotInHistory,
    SeveralFailed,
    ShallowClone,
    UnreadableRecord,
    UnreadableStore,
    Usage,
)

__all__ = [
    "AlreadyClaimed",
    "AlreadyReleased",
    "AlreadyReopened",
    "AlreadyResolved",
    "AmbiguousId",
    "Amended",
    "AnswerIsNo",
    "BadAmendment",
    "BadInput",
    "BranchTaken",
    "BrokenPolicies",
    "Bug",
    "ClaimIdDiffers",
    "ClockSkew",
    "Conflict",
    "DeliveryFailed",
    "DifferentContent",
    "Failure",
    "GitFailed",
    "GitLocked",
    "HistoryRewritten",
    "IllegalRecord",
    "Interrupted",
    "KtError",
    "LockTimeout",
    "MissingExtra",
    "NoIdentity",
    "NoStoreBranch",
    "NotAStore",
    "NotAllowed",
    "NotClaimed",
    "NotFound",
    "NotHolder",
    "NotInHistory",
    "NotReleased",
    "NotReleasing",
    "NotResolved",
    "NothingToClaim",
    "NothingToRestore",
    "OtherAction",
    "OtherReceipt",
    "OutcomeUnknown",
    "PathStaged",
    "PushRefused",
    "ReleaseExpired",
    "ReleaseNeeded",
    "RemoteFault",
    "RemoteUnreachable",
    "RetriesExhausted",
    "SeveralFailed",
    "ShallowClone",
    "ShownDiffers",
    "UnreadableRecord",
    "UnreadableStore",
    "Usage",
    "WaitTimeout",
    "codes",
    "exhausted",
]


def codes() -> frozenset[str]:
    """The codes of all errors, which are a closed list."""

    def below(kind: type[KtError]) -> Iterator[str]:
        yield kind.code
        for other in kind.__subclasses__():
            yield from below(other)

    return frozenset(below(KtError))
