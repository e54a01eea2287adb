"""A store that is open for writing: a read session with the commit loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime

from ..errors import KtError
from ..model import ids
from ..results import Result
from ..storage.effect import OnEffect
from ..storage.interface import Port, Progress, Snapshot
from .commit_loop import CommitLoop, named_by
from .plan import Decide, raise_failures
from .proposing import Proposing
from .read_session import LOCK_TIMEOUT, RETRY_TIMEOUT, ReadSession


class Session(ReadSession):
    """The newest state, the clock, and a way to commit, for all actions."""

    def __init__(
        self,
        port: Port,
        clock: Callable[[], datetime] | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        retry_timeout: float = RETRY_TIMEOUT,
        *,
        follow_checkout: bool = True,
        progress: Progress | None = None,
        on_effect: OnEffect | None = None,
    ) -> None:
        super().__init__(port, clock, lock_timeout, retry_timeout)
        self.progress = progress
        #: The source of randomness for new ids.
        self.random_bytes: Callable[[int], bytes] = os.urandom
        self._loop = CommitLoop(
            port, self.clock, self.lock_timeout, self.retry_timeout, follow_checkout, progress, on_effect
        )

    @property
    def landed(self) -> str | None:
        """The last commit that this session has landed."""
        return self._loop.last_commit

    def commit(
        self, decide: Decide, *, partial: bool = False, branch: str | None = None, kept: bool = False
    ) -> Result:
        """Run ``decide`` on the newest state and commit its plan. After a lost race, start again.

        With ``partial`` a failure does not stop the rest. With a ``branch`` the commit is proposed there.
        ``kept`` allows policies from this clone's cache, for a step that is judged again before anybody
        relies on it.
        """
        return self._loop.commit(decide, partial, branch, kept=kept)

    def preview(self, decide: Decide, *, partial: bool = False, branch: str | None = None) -> Result:
        """The result that committing would have now, or with a ``branch`` the result of proposing.

        ``replaced`` are the records that would change.
        """
        snapshot = self.snapshot(fetch=True)
        actor = self.actor(snapshot)
        try:
            plan = decide(snapshot, actor)
            raise_failures(plan, partial)
        except KtError as error:
            # The actor's own open proposal may have what is missing here, for example the claim for a
            # decision.
            tip = None if branch is None else self._proposed_tip(snapshot, named_by(error), branch)
            if tip is None:
                raise
            plan = decide(tip, actor)
            raise_failures(plan, partial)
        replaced = tuple(change.old.record for change in plan.changes if change.old)
        return Result(
            plan.records,
            snapshot.revision,
            False,
            unchanged=plan.unchanged,
            replaced=replaced,
            warnings=plan.warnings,
        )

    def _proposed_tip(self, snapshot: Snapshot, names: Sequence[str], branch: str) -> Snapshot | None:
        """The store as the actor's own open proposal for one record would leave it, if there is exactly one."""
        if len(names) != 1:
            return None
        email = self.port.author().email
        own = Proposing(self.port).own(names[0], branch, snapshot, email, self.retry_timeout)
        tips = [there.tip for there in own.values()]
        return tips[0] if len(tips) == 1 else None

    def token(self) -> str:
        """A new ULID, for a claim or an escalation."""
        return ids.ulid(self.clock(), self.random_bytes(ids.ULID_RANDOM_BYTES))
