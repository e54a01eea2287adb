"""All errors of kt, with their codes, exit codes, facts and messages.

The codes are a closed list (docs/reference.md, *Exit codes*). Scripts match on ``code``, and people read
``message``. Each class says what happened and what to do next, and declares its facts as typed attributes.
The code that raises the error gives the facts. Times are texts as in RFC 3339.
"""

from __future__ import annotations

from collections.abc import Iterator

from .base import KtError as KtError
from .conflict import AlreadyClaimed as AlreadyClaimed
from .conflict import AlreadyReleased as AlreadyReleased
from .conflict import AlreadyReopened as AlreadyReopened
from .conflict import AlreadyResolved as AlreadyResolved
from .conflict import Amended as Amended
from .conflict import BranchTaken as BranchTaken
from .conflict import ClaimIdDiffers as ClaimIdDiffers
from .conflict import Conflict as Conflict
from .conflict import DifferentContent as DifferentContent
from .conflict import GitLocked as GitLocked
from .conflict import IllegalRecord as IllegalRecord
from .conflict import NotClaimed as NotClaimed
from .conflict import NotFound as NotFound
from .conflict import NothingToClaim as NothingToClaim
from .conflict import NothingToRestore as NothingToRestore
from .conflict import NotHolder as NotHolder
from .conflict import NotReleased as NotReleased
from .conflict import NotReleasing as NotReleasing
from .conflict import NotResolved as NotResolved
from .conflict import OtherAction as OtherAction
from .conflict import OtherReceipt as OtherReceipt
from .conflict import PathStaged as PathStaged
from .conflict import ReleaseExpired as ReleaseExpired
from .conflict import ReleaseNeeded as ReleaseNeeded
from .conflict import ShownDiffers as ShownDiffers
from .remote import DeliveryFailed as DeliveryFailed
from .remote import HistoryRewritten as HistoryRewritten
from .remote import Interrupted as Interrupted
from .remote import LockTimeout as LockTimeout
from .remote import OutcomeUnknown as OutcomeUnknown
from .remote import PushRefused as PushRefused
from .remote import RemoteFault as RemoteFault
from .remote import RemoteUnreachable as RemoteUnreachable
from .remote import RetriesExhausted as RetriesExhausted
from .remote import WaitTimeout as WaitTimeout
from .remote import exhausted as exhausted
from .usage import AmbiguousId as AmbiguousId
from .usage import AnswerIsNo as AnswerIsNo
from .usage import BadAmendment as BadAmendment
from .usage import BadInput as BadInput
from .usage import BrokenPolicies as BrokenPolicies
from .usage import Bug as Bug
from .usage import ClockSkew as ClockSkew
from .usage import Failure as Failure
from .usage import GitFailed as GitFailed
from .usage import MissingExtra as MissingExtra
from .usage import NoIdentity as NoIdentity
from .usage import NoStoreBranch as NoStoreBranch
from .usage import NotAllowed as NotAllowed
from .usage import NotAStore as NotAStore
from .usage import NotInHistory as NotInHistory
from .usage import SeveralFailed as SeveralFailed
from .usage import ShallowClone as ShallowClone
from .usage import UnreadableRecord as UnreadableRecord
from .usage import UnreadableStore as UnreadableStore
from .usage import Usage as Usage


def codes() -> frozenset[str]:
    """The codes of all errors, which are a closed list."""

    def below(kind: type[KtError]) -> Iterator[str]:
        yield kind.code
        for other in kind.__subclasses__():
            yield from below(other)

    return frozenset(below(KtError))
