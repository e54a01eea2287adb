"""Commits a change: reads the tip, decides, builds, pushes, and starts again if another commit came first."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from ..errors import GitFailed, Interrupted, KtError, PushRefused, RemoteUnreachable, exhausted
from ..model.times import to_millis
from ..results import Result
from ..rules.permissions import Actor
from ..storage.effect import LAST_LOOK, LEAST_FOR_PUSH, LOOK_AGAIN, Effect, EffectOutcome, OnEffect
from ..storage.interface import (
    Author,
    Onto,
    Port,
    Prepared,
    Progress,
    Request,
    Snapshot,
    Stale,
    WrongGuess,
)
from .plan import Decide, Plan, decided, result_of
from .proposing import Proposing, default_name

# The first pause after a lost race is as long as the attempt, and at least this long. It doubles each time,
# up to the longest. The real pause is a random part of it.
FIRST_PAUSE = 0.08
LONGEST_PAUSE = 1.5
MOST_DOUBLINGS = 10
# The least time for a fetch, in seconds, even if the time is over.
LEAST_FOR_FETCH = 0.1


class _Sent(NamedTuple):
    """A commit that was sent and not answered, and the result if it lands.

    ``base`` is its parent on the store branch. It is None for a proposal, which is on the branch ``onto``.
    """

    commit: str
    result: Result
    base: str | None
    onto: str = ""


@dataclass
class _Attempts:
    """The attempts at one change, within ``seconds`` from now."""

    seconds: float
    #: The remote's name, for the error.
    remote: str | None
    progress: Progress | None = None
    count: int = 0
    # The remote's message when it last refused a push, and the tip at that time. The third is the message
    # once it is known that no other commit was first.
    said: str = ""
    said_of: str = ""
    stuck: str = ""

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._end = self._began + self.seconds

    @property
    def are_over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._end

    def left(self, least: float = LEAST_FOR_FETCH) -> float:
        """The seconds that are left, but at least ``least``."""
        return max(self._end - time.monotonic(), least)

    def begin(self) -> None:
        """Begin the next attempt."""
        self.count += 1
        self._began = time.monotonic()

    def read(self, revision: str) -> None:
        """Note the tip that this attempt starts from."""
        self.stuck = self.said if revision == self.said_of else ""

    def require_time_to_push(self) -> None:
        """Raise RetriesExhausted if too little time is left to wait for the answer to another push."""
        if self.count > 1 and self._end - time.monotonic() < LEAST_FOR_PUSH:
            raise self.exhausted()

    def pause(self) -> None:
        """Wait for a random time, which grows with each lost race and with the duration of an attempt.

        Raises RetriesExhausted if no time is left.
        """
        if self.are_over:
            raise self.exhausted()
        if self.progress:
            waited = self.seconds - (self._end - time.monotonic())
            self.progress("others were first; trying again", int(waited * 10), int(self.seconds * 10))
        took = time.monotonic() - self._began
        longest = max(FIRST_PAUSE, took) * 2 ** min(self.count - 1, MOST_DOUBLINGS)
        longest = min(longest, max(LONGEST_PAUSE, took), self.left(0))
        time.sleep(random.uniform(0, longest))  # noqa: S311 - jitter, not a secret

    def exhausted(self) -> KtError:
        """The error for a change that was not committed in time."""
        return exhausted(self.count, self.seconds, self.remote, self.stuck)


@dataclass
class _Change(Effect):
    """One change on its way: the request, the outcome so far, and the result if it has landed."""

    decide: Decide = lambda *_: Plan()
    partial: bool = False
    #: The branch on which it is proposed; empty for the usual name, None for the store branch itself.
    branch: str | None = None
    #: Whether it may be decided by the policies as this clone keeps them.
    kept: bool = False
    result: Result | None = None
    #: Why the last push has no answer, and all pushes without an answer.
    unanswered: str = ""
    sent: list[_Sent] = field(default_factory=list)

    def seen(self, tip: str, holds: Callable[[str], bool]) -> bool:
        """Whether a commit without an answer has landed, now that the store branch is at ``tip``. Records it.

        A commit that was to follow another one did not land if that one did not, because no remote accepts it
        any more.
        """
        for earlier in self.sent:
            if holds(earlier.commit):
                self.result = earlier.result
                self.found(earlier.commit)
                return True
        self.sent = [earlier for earlier in self.sent if earlier.base in (tip, None)]
        if not self.sent:
            self.lost()
        return False

    def final_result(self, warning: str = "") -> Result:
        """The result for the caller, with a warning about what went wrong after the change had landed."""
        assert self.result  # noqa: S101 - known before anything is sent
        return replace(self.result, warnings=(*self.result.warnings, *filter(None, [warning])))


@dataclass
class CommitLoop:
    """Commits decisions to one store, within these limits in seconds.

    ``on_effect`` is called with the record of each change before anything is sent.
    """

    port: Port
    clock: Callable[[], datetime]
    lock_timeout: float
    retry_timeout: float
    follow_checkout: bool
    progress: Progress | None = None
    on_effect: OnEffect | None = None
    #: The last commit that has landed on the store branch.
    last_commit: str | None = None

    def __post_init__(self) -> None:
        self._proposing = Proposing(self.port)
        self._rehearsed = False

    def commit(
        self, decide: Decide, partial: bool, branch: str | None = None, *, kept: bool = False
    ) -> Result:
        """Decide and commit until the change has landed or cannot land (docs/design.md, *How a step is committed*).

        With a ``branch`` the commit is pushed there, to be merged by a pull request, and the store branch
        stays as it is. An empty branch stands for ``kt/<action>/<id>``. ``kept`` is as in
        `Snapshot.policies`.
        """
        change = _Change(decide=decide, partial=partial, branch=branch, kept=kept)
        if self.on_effect:
            self.on_effect(change)
        warning = ""
        try:
            warning = self._commit(change)
        except (Exception, KeyboardInterrupt) as caught:
            # Only this place decides the outcome. It looks only at the record: an exception says nothing
            # about the ref.
            words = _words(caught)
            if change.outcome is EffectOutcome.SENT:
                words = "; then: ".join(filter(None, [change.unanswered, words]))
                raise change.given_up(words) from caught
            if change.outcome is not EffectOutcome.LANDED:
                raise _named(caught) from caught.__cause__
            warning = _left(words) if branch is None else f"cut short after the push: {words}"
        result = change.final_result(warning)
        if result.changed:
            self.last_commit = change.commit
        return result

    def _commit(self, change: _Change) -> str:
        """Commit the change under the clone's lock, and update the checkout.

        Returns a warning if the checkout could not be updated.
        """
        if change.branch is not None:
            self.port.require_proposable(change.branch)
        with self.port.writing(self.lock_timeout):
            rehearse = functools.partial(self._rehearse, change)
            with self.port.turn(rehearse) if change.branch is None else nullcontext():
                # Leases and deadlines begin when the change is made, not when the wait for it began.
                now = to_millis(self.clock())
                try:
                    self._until_landed(change, now)
                except (Exception, KeyboardInterrupt):
                    if change.outcome is EffectOutcome.SENT:
                        self._look_again(change)
                    if change.outcome is not EffectOutcome.LANDED:
                        raise
            return self._follow(change) if change.branch is None else ""

    def _rehearse(self, change: _Change, newer: Snapshot | None = None) -> None:
        """Decide on this clone's own state once, and on each ``newer`` one, to load modules and read files in advance.

        While a store has the turn, all others wait, so this is done before. It is limited to `_Change.kept`
        steps, which only decide.
        """
        if change.kept and (newer or not self._rehearsed):
            self._rehearsed = True
            with suppress(Exception):
                here, now = newer or self.port.read(), to_millis(self.clock())
                decided(change.decide, change.partial, here, self.port.author(), now, kept=True)

    # --- attempts ---------------------------------------------------------------------------------

    def _until_landed(self, change: _Change, now: datetime) -> None:
        """Try until the outcome is certain; ``change`` records it."""
        attempts = _Attempts(self.retry_timeout, self.port.remote, self.progress)
        look = self.port.guess if change.branch is None else self.port.tip
        newest: Snapshot | None = None
        while True:
            attempts.begin()
            try:
                snapshot = newest or look(attempts.left())
                look, newest = self.port.tip, None
                if self._attempt(change, snapshot, attempts, now):
                    return
            except WrongGuess as wrong:
                newest = wrong.newest
                attempts.count -= 1
                continue
            except Stale as stale:
                attempts.said, attempts.said_of = str(stale), snapshot.revision
            except RemoteUnreachable:
                # Asking again makes sense only after a push without an answer. If the time ran out while the
                # remote was asked and it had answered before, the time was too short.
                if not change.sent and (attempts.count == 1 or not attempts.are_over):
                    raise
            attempts.pause()

    def _attempt(self, change: _Change, snapshot: Snapshot, attempts: _Attempts, now: datetime) -> bool:
        """Decide on a snapshot and send the commit. Returns whether the outcome is certain.

        Raises Stale if another commit came first.
        """
        holds = functools.partial(self.port.contains, snapshot)
        if change.sent and change.branch is None and change.seen(snapshot.revision, holds):
            return True
        attempts.read(snapshot.revision)
        # The remote answers meanwhile.
        author = self.port.author()
        onto = None
        try:
            actor, plan = decided(change.decide, change.partial, snapshot, author, now, kept=change.kept)
        except KtError as error:
            # A refusal must come from the newest state.
            self.port.confirm(snapshot, attempts.left())
            own = self._on_own(change, snapshot, attempts, author, now, named_by(error), "")
            if own is None:
                raise
            onto, snapshot, plan = own
        else:
            names = [one.new.escalation_id for one in plan.changes]
            usual = default_name(plan) if plan.changes else ""
            own = self._on_own(change, snapshot, attempts, author, now, names, usual)
            if own is not None:
                onto, snapshot, plan = own
        if onto is not None and not plan.changes:
            # The branch has the requested change already.
            change.result = self._proposing.result(plan, onto.branch, snapshot.revision, found=True)
            change.found(snapshot.revision)
            return True
        if not plan.changes and not plan.others:
            self.port.confirm(snapshot, attempts.left())
            change.result = result_of(plan, snapshot.revision, changed=False)
            change.found(snapshot.revision)
            return True
        attempts.require_time_to_push()
        if change.branch is not None and onto is None:
            onto = self._onto(change, snapshot, attempts, actor, plan)
            if onto is None:
                return True
        prepared = self._prepare(change, snapshot, plan, author, now, onto)
        return self._send(change, snapshot, attempts, plan, prepared, onto)

    def _on_own(
        self,
        change: _Change,
        snapshot: Snapshot,
        attempts: _Attempts,
        author: Author,
        now: datetime,
        names: Sequence[str],
        usual: str,
    ) -> tuple[Onto, Snapshot, Plan] | None:
        """The change on top of the actor's own open proposal for the same record, so that both are one pull request.

        None if there is no such proposal, if the change already has a branch of its own (the ``usual``
        branch), or if it cannot be made there.
        """
        if change.branch is None or change.partial or len(names) != 1:
            return None
        branch = change.branch
        found = self._proposing.own(names[0], branch, snapshot, author.email, attempts.left(LEAST_FOR_PUSH))
        if usual in found or (branch and usual):
            return None
        refusal: KtError | None = None
        for name, there in found.items():
            assert there.tip is not None  # noqa: S101 - an own proposal has one
            try:
                _, plan = decided(change.decide, change.partial, there.tip, author, now, kept=change.kept)
            except KtError as error:
                refusal = error
            else:
                return Onto(name, there.commit), there.tip, plan
        if refusal is not None and not usual:
            raise refusal
        return None

    def _onto(
        self, change: _Change, snapshot: Snapshot, attempts: _Attempts, actor: Actor, plan: Plan
    ) -> Onto | None:
        """The branch to propose on. None if it already proposes exactly this; that is recorded. Raises BranchTaken."""
        name = change.branch or default_name(plan)
        there = self.port.proposal(name, snapshot, attempts.left(LEAST_FOR_PUSH))
        for earlier in change.sent:
            if there and there.commit == earlier.commit:
                change.result = earlier.result
                change.found(earlier.commit)
                return None
        same = self._proposing.same(there, snapshot, change.decide, actor, plan, name)
        if there and same:
            change.result = self._proposing.result(same, name, there.commit, found=True)
            change.found(there.commit)
            return None
        return Onto(name, there.commit if there else None)

    def _prepare(
        self,
        change: _Change,
        snapshot: Snapshot,
        plan: Plan,
        author: Author,
        now: datetime,
        onto: Onto | None,
    ) -> Prepared:
        """Build the commit, and record the expected result."""
        when = max([now, *(one.new.last_time for one in plan.changes)])
        request = Request(snapshot, plan.changes, str(plan.message), author, when, plan.others)
        prepared = self.port.prepare(request, onto)
        change.result = self._result(plan, prepared, onto)
        change.facts = self._facts(plan, onto)
        return prepared

    def _send(
        self,
        change: _Change,
        snapshot: Snapshot,
        attempts: _Attempts,
        plan: Plan,
        prepared: Prepared,
        onto: Onto | None,
    ) -> bool:
        """Push the commit.

        Returns True if it has landed, False if there is no answer. Raises the error if it was refused.
        """
        assert change.result  # noqa: S101 - since it was prepared
        base, branch = (None, onto.branch) if onto else (snapshot.revision, "")
        out = _Sent(prepared.commit, change.result, base, branch)
        change.sent.append(out)
        send = functools.partial(prepared.send, attempts.left(LEAST_FOR_PUSH))
        try:
            refusal = change.send(prepared.commit, send)
        except Exception as error:
            # The push may have landed: the next look at the remote shows it.
            change.unanswered = _words(error)
            return False
        change.sent.remove(out)
        if isinstance(refusal, Stale | PushRefused) and onto is None:
            # The fetch beside the push may have found the newest tip by now, or that access is denied.
            self.port.confirm(snapshot, attempts.left())
        if refusal is not None:
            raise refusal
        prepared.settle()
        # Some servers print the address that opens a pull request.
        change.result = self._result(plan, prepared, onto)
        return True

    def _result(self, plan: Plan, prepared: Prepared, onto: Onto | None) -> Result:
        if onto:
            return self._proposing.result(plan, onto.branch, prepared.commit)
        return result_of(plan, prepared.commit, changed=True)

    def _facts(self, plan: Plan, onto: Onto | None) -> Mapping[str, Any]:
        """The facts for the error if it stays unknown whether the commit has landed."""
        find = plan.find or "kt escalation list --fetch"
        if onto:
            find = f"git ls-remote {self.port.remote} {onto.branch}"
        return {"remote": self.port.remote, "find": find, "claim_id": plan.claim_id}

    # --- after the push ---------------------------------------------------------------------------

    def _look_again(self, change: _Change) -> None:
        """Keep looking at the remote for a moment before a push is reported as unanswered, and record what is found."""
        end = time.monotonic() + LAST_LOOK
        with suppress(Exception, KeyboardInterrupt):
            while not self._looked(change, max(end - time.monotonic(), LEAST_FOR_FETCH)):
                if time.monotonic() >= end:
                    return
                # A push that was sent may still be under way.
                time.sleep(LOOK_AGAIN)

    def _looked(self, change: _Change, timeout: float) -> bool:
        """Whether one look at the remote shows the outcome of all commits that were sent. Records it."""
        tip = self.port.tip(timeout)
        there = [self.port.proposal(out.onto, tip, timeout) for out in change.sent[-1:] if out.onto]
        proposed = {proposal.commit for proposal in there if proposal}
        change.seen(tip.revision, lambda commit: commit in proposed or self.port.contains(tip, commit))
        return change.outcome is not EffectOutcome.SENT

    def _follow(self, change: _Change) -> str:
        """Update the checkout. Returns a warning if that was not possible."""
        if not self.follow_checkout or change.commit is None:
            return ""
        return _left(self.port.follow(change.commit))


def _left(words: str | None) -> str:
    """The warning for a checkout that could not be updated."""
    return f"the checkout was left as it is: {words}" if words else ""


def as_ours(error: KtError | OSError) -> KtError:
    """The exception that stopped a change, as an error of kt."""
    if isinstance(error, OSError):
        return GitFailed(says="this machine failed: {words}", words=_words(error))
    return error


def _named(error: BaseException) -> BaseException:
    """The exception that stopped a change, as an error of kt if there is one for it."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted()
    return as_ours(error) if isinstance(error, OSError) else error


def named_by(error: KtError) -> Sequence[str]:
    """The id of the only escalation that an error names, or None."""
    name = error.facts.get("escalation_id")
    return [name] if isinstance(name, str) else []


def _words(error: BaseException) -> str:
    """An exception in words."""
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return "interrupted"
    if isinstance(error, KtError):
        # Without the remedy, and without a word on what has changed: that is not known.
        return error.summary
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
