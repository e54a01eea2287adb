"""The parameters that all actions share: for committing, and for opening a store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict

from ..frozen import dataclass

if TYPE_CHECKING:
    from ..storage.effect import OnEffect
    from ..storage.interface import Progress


#: The default for the most lines of a stream in one commit.
FLUSH_COUNT = 1_000


@dataclass(frozen=True)
class Options:
    """The parameters for committing an action.

    ``claim_id`` is the caller's own token for the claim. With a ``branch`` the commit is proposed there. With
    ``partial`` a failure does not stop the others. With ``dry_run`` nothing is committed.
    """

    claim_id: str | None = None
    branch: str | None = None
    partial: bool = False
    dry_run: bool = False


class NoteOptions(TypedDict, total=False):
    """The keywords of an action without a claim, as in `Options`."""

    branch: str | None
    dry_run: bool


class CommitOptions(NoteOptions, total=False):
    """The keywords of an action on one escalation, as in `Options`."""

    claim_id: str | None


class BatchOptions(CommitOptions, total=False):
    """The keywords of an action on several escalations, as in `Options`."""

    partial: bool


class OpenOptions(TypedDict, total=False):
    """The keywords with which a store is opened for writing.

    ``lock_timeout`` is how long to wait for the clone's lock (default 60), and ``retry_timeout`` how long to
    keep trying to commit and push (default 30), both in seconds. ``follow_checkout=False`` leaves the files in
    the folder as they are. ``clock`` returns the time, for tests. ``progress(label, done, total)`` is called
    while a long operation runs. ``on_effect`` is called at the start of each action with its `Effect`, which
    records from then on whether the change landed, whatever is raised later.
    """

    clock: Callable[[], datetime] | None
    lock_timeout: float
    retry_timeout: float
    follow_checkout: bool
    progress: Progress | None
    on_effect: OnEffect | None
