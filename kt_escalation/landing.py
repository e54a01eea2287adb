"""How a change is committed: read the tip, decide, build, push, and again where somebody was first.

The steps and their bounds are those of design, section 5; what is decided is not known here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from .answers import Result
from .core import rights
from .core.model import Record
from .core.policies import assemble
from .core.rights import Act
from .core.times import to_millis
from .errors import (
    Failure,
    GitFailed,
    Interrupted,
    KtError,
    OutcomeUnknown,
    RemoteUnreachable,
    RetriesExhausted,
    SeveralFailed,
)
from .intake import ALONE
from .store import faults
from .store.message import Message
from .store.port import Author, Change, Port, Snapshot, Stale, Unanswered

# The first pause after a lost race, doubled up to the longest; the real one is a random part of it.
FIRST_PAUSE = 0.04
LONGEST_PAUSE = 1.5
# A push that is started with less than this left, in seconds, would only lose its answer.
LEAST_FOR_PUSH = 0.5


@dataclass(frozen=True)
class Plan:
    """What the rules decided on one snapshot; nothing to change means that it is all so already."""

    changes: tuple[Change, ...] = ()
    message: Message | None = None
    records: tuple[Record, ...] = ()
    unchanged: int = 0
    failed: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    find: str | None = None


Decide = Callable[[Snapshot, Act], Plan]


@dataclass
class Lander:
    """Lands what is decided on one store, within these bounds in seconds."""

    port: Port
    clock: Callable[[], datetime]
    lock_timeout: float
    retry_timeout: float
    follow_checkout: bool
    #: The last commit that was landed; a crash report names it.
    landed: str | None = None

    def land(self, decide: Decide, partial: bool) -> Result:
        """Decide and commit until it has landed or cannot land (design, section 5)."""
        now = to_millis(self.clock())
        author = self.port.author()
        faults.point("before-lock")
        with self.port.writing(self.lock_timeout):
            faults.point("after-lock")
            return self._until_landed(decide, partial, now, author)

    def _until_landed(self, decide: Decide, partial: bool, now: datetime, author: Author) -> Result:
        end = time.monotonic() + self.retry_timeout
        sent: list[tuple[Unanswered, Plan]] = []
        attempts = 0
        try:
            while True:
                attempts += 1
                left = end - time.monotonic()
                try:
                    snapshot = self.port.tip(max(left, 0.1))
                    for earlier, plan in sent:
                        if self.port.contains(snapshot, earlier.commit):
                            return self._done(plan, earlier.commit)
                    policies = assemble(*snapshot.policies())
                    policies.require_sound()
                    faults.point("before-decide")
                    plan = decide(snapshot, rights.act(author.email, now, policies))
                    _judge(plan, partial)
                    faults.point("after-decide")
                    if not plan.changes:
                        return self._done(plan, None, snapshot.revision)
                    when = max(change.new.last_time for change in plan.changes)
                    left = end - time.monotonic()
                    if attempts > 1 and left < LEAST_FOR_PUSH:
                        raise RetriesExhausted(attempts=attempts, seconds=self.retry_timeout)
                    commit = self.port.commit(
                        snapshot,
                        plan.changes,
                        str(plan.message),
                        author,
                        max(now, when),
                        max(left, LEAST_FOR_PUSH),
                    )
                    return self._done(plan, commit)
                except Stale:
                    pass
                except Unanswered as unanswered:
                    sent.append((unanswered, plan))
                except RemoteUnreachable:
                    # Only a push that is out there makes it worth asking again.
                    if not sent:
                        raise
                if time.monotonic() >= end:
                    raise RetriesExhausted(attempts=attempts, seconds=self.retry_timeout)
                _pause(attempts, end)
        except OutcomeUnknown:
            raise
        except (KtError, KeyboardInterrupt, OSError) as caught:
            error = _named(caught)
            if not sent:
                raise error from None
            last, plan = sent[-1]
            find = plan.find or "kt escalation list --fetch"
            words = f"{last.words}; then: {error.message}"
            raise OutcomeUnknown(
                commit=last.commit,
                remote=self.port.remote,
                words=words,
                find=find,
                claim_id=plan.message.claim_id if plan.message else None,
            ) from caught

    def _done(self, plan: Plan, commit: str | None, seen: str | None = None) -> Result:
        """The effect is there: from here on nothing can take it back, and nothing may seem to."""
        warnings = plan.warnings
        if commit:
            self.landed = commit
        if self.follow_checkout:
            try:
                left = self.port.follow(commit or seen or "")
            except (Exception, KeyboardInterrupt) as error:
                left = str(error) or type(error).__name__
            if left:
                warnings = (*warnings, f"the checkout was left as it is: {left}")
        return Result(
            records=plan.records,
            commit=commit or seen,
            changed=commit is not None,
            written=len(plan.changes),
            unchanged=plan.unchanged,
            failed=plan.failed,
            warnings=warnings,
            replaced=tuple(change.old.record for change in plan.changes if change.old),
        )


def _named(error: BaseException) -> KtError:
    """What stopped a change, as an error of ours."""
    if isinstance(error, KtError):
        return error
    if isinstance(error, OSError):
        return GitFailed(says="this machine failed: {words}", words=error.strerror or str(error))
    return Interrupted()


def _judge(plan: Plan, partial: bool) -> None:
    """Raise what failed, unless some of it may and could be had."""
    if not plan.failed or (partial and plan.records):
        return
    if len(plan.failed) == 1 and (isinstance(plan.failed[0].where, str) or plan.failed[0].where == ALONE):
        raise plan.failed[0].error
    raise SeveralFailed(plan.failed)


def _pause(attempts: int, end: float) -> None:
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts, 10), max(end - time.monotonic(), 0))
    time.sleep(random.uniform(0, longest))  # noqa: S311 - jitter, not a secret
