"""Commits a change: reads the tip, decides, builds, pushes, and starts again if somebody was first.

See docs/design.md, *How a step is committed*. This module does not know what is decided.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from ..errors import (
    BranchTaken,
    Failure,
    GitFailed,
    Interrupted,
    KtError,
    PushRefused,
    RemoteUnreachable,
    SeveralFailed,
    exhausted,
)
from ..model.record import Record
from ..model.times import to_millis
from ..policies.policy_set import assemble
from ..results import Line, Result
from ..rules import permissions
from ..rules.permissions import Act
from ..storage.commit_message import Message, Words
from ..storage.effect import LAST_LOOK, LEAST_FOR_PUSH, LOOK_AGAIN, Effect, OnEffect, Outcome
from ..storage.interface import (
    PROPOSALS,
    Author,
    Change,
    Onto,
    Port,
    Progress,
    Proposal,
    Request,
    Snapshot,
    Stale,
    WrongGuess,
)
from .inputs import ALONE

# The first pause after a lost race is as long as the attempt was and this at least, and is doubled each
# time up to the longest; the real one is a random part of it.
FIRST_PAUSE = 0.08
LONGEST_PAUSE = 1.5
MOST_DOUBLINGS = 10
# What a fetch is given at least, in seconds, however late it is.
LEAST_FOR_FETCH = 0.1


@dataclass(frozen=True)
class Plan:
    """What the rules decided on one snapshot; nothing to change means that it is all so already."""

    changes: tuple[Change, ...] = ()
    message: Message | Words | None = None
    records: tuple[Record, ...] = ()
    unchanged: int = 0
    failed: tuple[Failure, ...] = ()
    lines: tuple[Line, ...] = ()
    warnings: tuple[str, ...] = ()
    find: str | None = None
    #: Files that are written (None: deleted) beside the records that change, by path.
    others: Mapping[str, bytes | None] = field(default_factory=dict)
    #: What the branch is called after ``kt/`` on which it is proposed, where its message names no escalation.
    called: str = ""

    @property
    def claim_id(self) -> str | None:
        """The claim's id that its message names, if any."""
        return self.message.claim_id if isinstance(self.message, Message) else None


Decide = Callable[[Snapshot, Act], Plan]


@dataclass
class _Landing(Effect):
    """What has become of one change, and what its caller is told when it has landed."""

    result: Result | None = None
    #: What kept the last answer away, where a push has none; and each push that has none.
    unanswered: str = ""
    sent: list[_Sent] = field(default_factory=list)

    def seen(self, tip: str, holds: Callable[[str], bool]) -> bool:
        """Whether something without an answer has landed, now that the store branch is at ``tip``; then it is recorded.

        What was to follow another commit did not land, and no remote takes it any more.
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

    def told(self, warning: str = "") -> Result:
        """What the caller gets, with a word about what went wrong since."""
        assert self.result  # noqa: S101 - known before anything is sent
        return replace(self.result, warnings=(*self.result.warnings, *filter(None, [warning])))


class _Sent(NamedTuple):
    """A commit that was sent and not answered, and what it would come to.

    ``base`` is what it follows on the store branch; None for a proposal, which is on the branch ``onto``.
    """

    commit: str
    result: Result
    base: str | None
    onto: str = ""


@dataclass
class Lander:
    """Lands what is decided on one store, within these bounds in seconds.

    ``on_effect`` is told the record of each change before anything is done about it.
    """

    port: Port
    clock: Callable[[], datetime]
    lock_timeout: float
    retry_timeout: float
    follow_checkout: bool
    progress: Progress | None = None
    on_effect: OnEffect | None = None
    #: The last commit that was landed on the store branch.
    landed: str | None = None

    def land(self, decide: Decide, partial: bool, branch: str | None = None) -> Result:
        """Decide and commit until it has landed or cannot land (design, section 5).

        With a ``branch`` the commit goes there, to be merged by a pull request, and the store branch stays
        as it is; empty stands for ``kt/<action>/<id>``.
        """
        landing = _Landing()
        if self.on_effect:
            self.on_effect(landing)
        warning = ""
        try:
            if branch is not None:
                self.port.require_proposable(branch)
            with self.port.writing(self.lock_timeout):
                with self.port.turn() if branch is None else nullcontext():
                    # Leases and deadlines begin when the change is made, not when the wait for it began.
                    now = to_millis(self.clock())
                    try:
                        self._until_landed(landing, decide, partial, now, branch)
                    except (Exception, KeyboardInterrupt):
                        if landing.outcome is Outcome.SENT:
                            self._look_again(landing)
                        if landing.outcome is not Outcome.LANDED:
                            raise
                if branch is None:
                    warning = self._follow(landing)
        except (Exception, KeyboardInterrupt) as caught:
            # The one place that says how it ended. It looks at the record alone: what was raised, and from
            # where, says nothing about the ref.
            words = _words(caught)
            if landing.outcome is Outcome.SENT:
                words = "; then: ".join(filter(None, [landing.unanswered, words]))
                raise landing.given_up(words) from caught
            if landing.outcome is not Outcome.LANDED:
                raise _named(caught) from caught.__cause__
            warning = _left(words) if branch is None else f"cut short after the push: {words}"
        result = landing.told(warning)
        if result.changed:
            self.landed = landing.commit
        return result

    def _until_landed(
        self, landing: _Landing, decide: Decide, partial: bool, now: datetime, branch: str | None
    ) -> None:
        """Land it, and record it in ``landing``; returns when that has an end that is certain."""
        end = time.monotonic() + self.retry_timeout
        attempts = 0
        # What the remote said where it last did not take a push, the tip for which that was, and the former once it is
        # known that nobody was first.
        said = said_of = stuck = ""
        look = self.port.guess if branch is None else self.port.tip
        newest: Snapshot | None = None
        while True:
            attempts += 1
            began = time.monotonic()
            try:
                snapshot = newest or look(max(end - began, LEAST_FOR_FETCH))
                look, newest = self.port.tip, None
                holds = functools.partial(self.port.contains, snapshot)
                if landing.sent and branch is None and landing.seen(snapshot.revision, holds):
                    return
                stuck = said if snapshot.revision == said_of else ""
                # The remote answers meanwhile.
                author = self.port.author()
                try:
                    act, plan = _decided(decide, partial, snapshot, author, now)
                except KtError:
                    # Only the newest state may say no.
                    self.port.confirm(snapshot, max(end - time.monotonic(), LEAST_FOR_FETCH))
                    raise
                if not plan.changes and not plan.others:
                    self.port.confirm(snapshot, max(end - time.monotonic(), LEAST_FOR_FETCH))
                    landing.result = _result(plan, snapshot.revision, changed=False)
                    landing.found(snapshot.revision)
                    return
                left = max(end - time.monotonic(), LEAST_FOR_PUSH)
                if attempts > 1 and end - time.monotonic() < LEAST_FOR_PUSH:
                    raise exhausted(attempts, self.retry_timeout, self.port.remote, stuck)
                when = max([now, *(change.new.last_time for change in plan.changes)])
                request = Request(snapshot, plan.changes, str(plan.message), author, when, plan.others)
                onto = None
                if branch is not None:
                    name = branch or _default_name(plan)
                    there = self.port.proposal(name, snapshot, left)
                    onto = Onto(name, there.commit if there else None)
                    if self._proposed_already(landing, there, snapshot, decide, act, plan, name):
                        return
                prepared = self.port.prepare(request, onto)
                landing.result = (
                    self._proposed(plan, onto.branch, prepared.commit)
                    if onto
                    else _result(plan, prepared.commit, changed=True)
                )
                landing.facts = self._facts(plan, onto)
                left = max(end - time.monotonic(), LEAST_FOR_PUSH)
                out = _Sent(
                    prepared.commit,
                    landing.result,
                    *((None, onto.branch) if onto else (snapshot.revision,)),
                )
                landing.sent.append(out)
                try:
                    refusal = landing.send(prepared.commit, functools.partial(prepared.send, left))
                except Exception as error:
                    # Whatever that was, the push may have landed: the next look at the remote tells.
                    landing.unanswered = _words(error)
                else:
                    landing.sent.remove(out)
                    if isinstance(refusal, Stale | PushRefused) and onto is None:
                        # What was asked beside the push may have told the newest by now, or that nobody is let in.
                        self.port.confirm(snapshot, max(end - time.monotonic(), LEAST_FOR_FETCH))
                    if refusal is not None:
                        raise refusal
                    prepared.settle()
                    if onto:
                        # Some servers say it in their answer to the push.
                        landing.result = self._proposed(plan, onto.branch, prepared.commit)
                    return
            except WrongGuess as wrong:
                newest = wrong.newest
                attempts -= 1
                continue
            except Stale as stale:
                said, said_of = str(stale), snapshot.revision
            except RemoteUnreachable:
                # Only a push that is out there makes it worth asking again. If the time ran out while a remote was
                # asked that had answered before, the time is what was missing.
                if not landing.sent and (attempts == 1 or time.monotonic() < end):
                    raise
            if time.monotonic() >= end:
                raise exhausted(attempts, self.retry_timeout, self.port.remote, stuck)
            if self.progress:
                waited = self.retry_timeout - (end - time.monotonic())
                self.progress(
                    "others were first; trying again", int(waited * 10), int(self.retry_timeout * 10)
                )
            _pause(attempts, time.monotonic() - began, end)

    def _look_again(self, landing: _Landing) -> None:
        """Look at the remote a little longer and record what that tells, before a push is told to have no answer."""
        end = time.monotonic() + LAST_LOOK
        with suppress(Exception, KeyboardInterrupt):
            while not self._looked(landing, max(end - time.monotonic(), LEAST_FOR_FETCH)):
                if time.monotonic() >= end:
                    return
                # What was sent may still be on its way.
                time.sleep(LOOK_AGAIN)

    def _looked(self, landing: _Landing, timeout: float) -> bool:
        """Whether one look at the remote tells what has become of all that was sent; then it is recorded."""
        tip = self.port.tip(timeout)
        there = [self.port.proposal(out.onto, tip, timeout) for out in landing.sent[-1:] if out.onto]
        proposed = {proposal.commit for proposal in there if proposal}
        landing.seen(tip.revision, lambda commit: commit in proposed or self.port.contains(tip, commit))
        return landing.outcome is not Outcome.SENT

    def _facts(self, plan: Plan, onto: Onto | None) -> Mapping[str, Any]:
        """What is to be said where it cannot be learnt whether it landed."""
        find = plan.find or "kt escalation list --fetch"
        if onto:
            find = f"git ls-remote {self.port.remote} {onto.branch}"
        return {"remote": self.port.remote, "find": find, "claim_id": plan.claim_id}

    def _follow(self, landing: _Landing) -> str:
        """Bring the checkout along; a warning where it could not be."""
        if not self.follow_checkout or landing.commit is None:
            return ""
        return _left(self.port.follow(landing.commit))

    def _proposed_already(
        self,
        landing: _Landing,
        there: Proposal | None,
        snapshot: Snapshot,
        decide: Decide,
        act: Act,
        plan: Plan,
        name: str,
    ) -> bool:
        """Whether the branch proposes just that by now; then it is recorded. Raises BranchTaken."""
        for earlier in landing.sent:
            if there and there.commit == earlier.commit:
                landing.result = earlier.result
                landing.found(earlier.commit)
                return True
        found = self._settle(there, snapshot, decide, act, plan, name)
        if there is None or found is None:
            return False
        landing.result = self._proposed(found, name, there.commit, found=True)
        landing.found(there.commit)
        return True

    def _proposed(self, plan: Plan, name: str, commit: str, found: bool = False) -> Result:
        return replace(
            _result(plan, commit, changed=False),
            written=0 if found else len(plan.changes),
            proposed=True,
            branch=name,
            found=found,
            request_url=self.port.request_address(name),
        )

    def _settle(
        self,
        there: Proposal | None,
        snapshot: Snapshot,
        decide: Decide,
        act: Act,
        plan: Plan,
        name: str,
    ) -> Plan | None:
        """What the branch proposes, if that is the actor's own and just what is to be proposed; None if it is free.

        The former is asked of the rules themselves: decided on the store as the branch would have it, nothing is
        left to do, as with any repeat. Free is a branch that is not there, is merged, or is the actor's own
        proposal for these very records, which the store branch has changed since: that can no longer be merged,
        and nobody else's work is in it. Raises BranchTaken.
        """
        if there is None or there.merged:
            return None
        mine = bool(there.emails) and all(act.is_me(email) for email in there.emails)
        alike = False
        if there.base is not None and there.tip is not None:
            alike = there.paths <= _paths(there.base, plan) | _paths(there.tip, plan)
            overtaken = any(
                there.base.find(change.new.escalation_id) != snapshot.find(change.new.escalation_id)
                for change in plan.changes
            )
            # What is proposed besides records are policies.
            overtaken |= bool(plan.others) and there.base.policies()[0] != snapshot.policies()[0]
            if mine and overtaken and alike:
                return None
            again = _repeat(decide, there.tip, act) if mine and not overtaken else None
            if again and len(again.records) == len(plan.records):
                return again
        raise self._taken(there, act, plan, name, mine=mine, alike=alike)

    def _taken(
        self, there: Proposal, act: Act, plan: Plan, name: str, *, mine: bool, alike: bool
    ) -> BranchTaken:
        """The error for a branch that holds something else; ``alike`` if that changes the same records only."""
        commit = f"commit {there.commit[:12]}"
        who = ", ".join(sorted({permissions.known_as(email, act.policies.roster) for email in there.emails}))
        error = BranchTaken(branch=name, remote=self.port.remote, commit=there.commit, by=who)
        if mine:
            error.what = f"{commit} by you"
            error.hint += ", or delete that branch with `git push {remote:sh} --delete {branch:sh}`"
        elif alike and isinstance(plan.message, Message):
            # A branch with a name of its own may propose whatever, one with ours proposes what it is called for.
            to = f"to {plan.message.action}" if name == _default_name(plan) else "a change of"
            listed = _listed(plan.message.escalation_ids)
            error.says = f"{{by}} proposes {to} {listed} already, on {{branch}} ({commit})"
            error.hint = "whoever is merged first has it; propose yours beside it with --branch NAME"
        else:
            error.what = f"{commit} by {who}" if who else commit
        return error


def _repeat(decide: Decide, tip: Snapshot, act: Act) -> Plan | None:
    try:
        found = decide(tip, act)
    except KtError:
        return None
    return None if found.changes or found.others else found


def _paths(snapshot: Snapshot, plan: Plan) -> set[str]:
    """The files that a plan changes."""
    records = {path for change in plan.changes for path in snapshot.paths(change.new.escalation_id)}
    return records | plan.others.keys()


def _listed(escalation_ids: Sequence[str]) -> str:
    first, *others = sorted(escalation_ids)
    return f"{first} and {len(others)} more" if others else first


def _default_name(plan: Plan) -> str:
    """`kt/<action>/<id>`; of several the first in the order of ids, as in the commit's message."""
    message = plan.message
    if isinstance(message, Message):
        return f"{PROPOSALS}{message.action}/{min(message.escalation_ids)}"
    return f"{PROPOSALS}{plan.called}"


def _result(plan: Plan, commit: str, *, changed: bool) -> Result:
    return Result(
        records=plan.records,
        commit=commit,
        changed=changed,
        written=len(plan.changes),
        unchanged=plan.unchanged,
        failed=plan.failed,
        lines=plan.lines,
        warnings=plan.warnings,
        replaced=tuple(change.old.record for change in plan.changes if change.old),
    )


def _left(words: str | None) -> str:
    """The warning for a checkout that was not brought along."""
    return f"the checkout was left as it is: {words}" if words else ""


def _named(error: BaseException) -> BaseException:
    """What stopped a change, as an error of ours where it has a name."""
    if isinstance(error, KeyboardInterrupt):
        return Interrupted()
    if isinstance(error, OSError):
        return GitFailed(says="this machine failed: {words}", words=_words(error))
    return error


def _words(error: BaseException) -> str:
    """What was raised, in words."""
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return "interrupted"
    if isinstance(error, KtError):
        # Without its remedy, and without a word of what has changed: that is what is not known.
        return error.summary
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _decided(
    decide: Decide, partial: bool, snapshot: Snapshot, author: Author, now: datetime
) -> tuple[Act, Plan]:
    policies = assemble(*snapshot.policies())
    policies.require_sound()
    act = permissions.act(author.email, now, policies)
    plan = decide(snapshot, act)
    require_had(plan, partial)
    return act, plan


def require_had(plan: Plan, partial: bool) -> None:
    """Raise what failed, unless some of it may and could be had."""
    if not plan.failed or (partial and plan.records):
        return
    if len(plan.failed) == 1 and (isinstance(plan.failed[0].where, str) or plan.failed[0].where == ALONE):
        raise plan.failed[0].error
    raise SeveralFailed(plan.failed)


def _pause(attempts: int, took: float, end: float) -> None:
    """Let the others go first: for a random part of what grows with each lost race, and with what one takes here."""
    longest = max(FIRST_PAUSE, took) * 2 ** min(attempts - 1, MOST_DOUBLINGS)
    longest = min(longest, max(LONGEST_PAUSE, took), max(end - time.monotonic(), 0))
    time.sleep(random.uniform(0, longest))  # noqa: S311 - jitter, not a secret
