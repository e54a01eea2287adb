"""The use of a decision: its one release, within its time, for the action that was decided on; and the receipt.

See docs/gateway.md. Errors come in this order: faulty input, missing rights, wrong state.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ..errors import (
    AlreadyReleased,
    AlreadyReopened,
    BadInput,
    ClockSkew,
    KtError,
    NotAllowed,
    NotReleased,
    NotReleasing,
    NotResolved,
    OtherAction,
    OtherReceipt,
    ReleaseExpired,
)
from ..frozen import dataclass
from ..model.record import Record
from ..model.release import Receipt, ReceiptStatus, Release
from ..model.times import format_time
from ..model.value import plain
from ..model.vocabulary import RELEASING
from ..policies.policy_set import Policies
from . import amending, permissions
from .judge_step import Violation
from .permissions import Actor

# git stores a commit's time in whole seconds, a release in milliseconds.
_COMMIT_TIME = timedelta(seconds=1)


@dataclass(frozen=True)
class Decided:
    """A resolved record, the facts about its use, and when its decision arrived on the store branch.

    ``release`` is its release if it has one, ``reopener`` an escalation that reopens it and was not
    withdrawn.
    """

    record: Record
    landed: datetime
    release: Release | None = None
    reopener: Record | None = None

    @property
    def until(self) -> datetime | None:
        """The end of the time for the release. None if there is no end."""
        end, within = self.record.resolution, self.record.requires.valid_for
        if end is None or within is None:
            return None
        return max(end.resolved_at, self.landed) + within


def require_releasing(record: Record) -> None:
    """Raise NotResolved or NotReleasing unless a record's decision releases something."""
    if record.resolution is None:
        raise NotResolved(
            escalation_id=record.escalation_id,
            status=record.status,
            hint="wait for the decision with `kt escalation wait --release --id {escalation_id}`",
        )
    if record.resolution.outcome not in RELEASING:
        raise NotReleasing(escalation_id=record.escalation_id, outcome=record.resolution.outcome)


def require_digest(record: Record, digest: str | None) -> None:
    """Raise BadInput if a decision for one use is about an action and the caller does not name the action to run."""
    if digest is None and record.action is not None and record.requires.single_use:
        raise BadInput(
            problem=f"{record.escalation_id} is about one action; give the digest of what will be run",
            hint="--digest D; `kt escalation digest` prints it",
        )


def require_receivable(record: Record) -> None:
    """Raise NotReleased for a record that has no release, and cannot have one."""
    name, end = record.escalation_id, record.resolution
    if end is None:
        raise NotReleased(
            says="{escalation_id} was not released: it is {status}",
            hint="wait for the decision with `kt escalation wait --release --id {escalation_id}`",
            escalation_id=name,
            status=record.status,
        )
    if end.outcome not in RELEASING:
        raise NotReleased(
            says="{escalation_id} was not released: it is {status}, so nothing was to be run",
            hint="say what happened in a new escalation, if something was run all the same",
            escalation_id=name,
            status=end.outcome,
        )
    if record.requires.single_use is None:
        raise NotReleased(
            says="{escalation_id} has no release, and so no receipt: its decision is not for one use",
            hint="nothing is missing; to have releases and receipts, ask for single_use in policies/settings.yaml",
            escalation_id=name,
            status=end.outcome,
        )


def require_user(record: Record, actor: Actor) -> None:
    """Raise NotAllowed unless the actor may use decisions."""
    permissions.require_role(actor, "release", record.escalation_id, "gateway", "admin")


def require_action(record: Record, digest: str | None) -> None:
    """Raise OtherAction if a digest is not that of the record's action."""
    action = record.action
    if digest is not None and (action is None or action.digest != digest):
        raise OtherAction(
            escalation_id=record.escalation_id,
            digest=action.digest if action else "that it does not name",
            given=digest,
        )


def require_usable(decided: Decided, now: datetime) -> None:
    """Raise AlreadyReopened or ReleaseExpired if a decision may no longer be used."""
    record, reopener, until = decided.record, decided.reopener, decided.until
    if reopener is not None:
        raise _reopened(record, reopener)
    if until is not None and now > until:
        raise ReleaseExpired(escalation_id=record.escalation_id, until=format_time(until))


def _reopened(record: Record, reopener: Record) -> AlreadyReopened:
    """The error for a decision that was reopened. Only the decision on the reopening counts."""
    found = AlreadyReopened(
        escalation_id=record.escalation_id,
        reopened_by=reopener.escalation_id,
        since=format_time(reopener.raised_at),
    )
    if reopener.resolution is not None:
        found.outcome = reopener.resolution.outcome
        found.says = "{escalation_id} was reopened as {reopened_by} at {since}, which is {outcome}"
        found.hint = "do not run it; the decision on that one counts: `kt escalation wait --id {reopened_by}`"
    return found


def already(release: Release) -> AlreadyReleased:
    """The error for a decision that was already used."""
    return AlreadyReleased(
        escalation_id=release.escalation_id,
        released_by=release.released_by,
        released_at=format_time(release.released_at),
        release_id=release.release_id,
    )


def release(decided: Decided, actor: Actor, release_id: str) -> Release:
    """The release of a decision under that id. The same object if the actor has already released it.

    Raises NotAllowed, NotResolved, NotReleasing, AlreadyReleased, AlreadyReopened, ReleaseExpired, ClockSkew.
    """
    record = decided.record
    name = record.escalation_id
    require_user(record, actor)
    require_releasing(record)
    end = record.resolution
    assert end is not None  # noqa: S101 - required above
    if record.requires.single_use is None:
        raise BadInput(problem=f"{name} needs no release: the settings did not ask for single_use")
    found = decided.release
    if found is not None:
        if found.release_id == release_id and actor.is_me(found.released_by):
            return found
        raise already(found)
    now = _stamp(record.escalation_id, record.last_time, actor)
    require_usable(decided, now)
    return Release.parse(
        {
            "escalation_id": name,
            "outcome": end.outcome,
            "digest": amending.effective_digest(record),
            "resolved_at": end.resolved_at,
            "release_id": release_id,
            "released_by": actor.name,
            "released_at": now,
        }
    )


def receipt(
    found: Release | None,
    name: str,
    actor: Actor,
    status: ReceiptStatus,
    *,
    result_digest: str | None = None,
    reason: str | None = None,
) -> Release:
    """The release of ``name`` with a receipt, by the person who released it. The same object for a repeat.

    After `unknown` an admin may once record the result, with a reason. Raises BadInput, NotAllowed,
    NotReleased, OtherReceipt, ClockSkew.
    """
    if found is None:
        raise NotReleased(escalation_id=name)
    before = found.receipt
    settles = before is not None and before.status == "unknown" and status != "unknown"
    if settles and reason is None and permissions.is_admin(actor):
        raise BadInput(problem=f"the receipt of {name} says unknown; give a reason for what you know by now")
    mine = actor.is_me(found.released_by)
    if before is not None and actor.is_me(before.receipt_by):
        same = (before.status, before.result_digest, before.reason) == (status, result_digest, reason)
        if same:
            return found
    may = permissions.is_admin(actor) if settles else mine
    if not may:
        who = "an admin may" if settles else f"{found.released_by} released it"
        raise NotAllowed(actor=actor.name, action="give the receipt of", escalation_id=name, missing=who)
    if before is not None and not settles:
        raise OtherReceipt(
            escalation_id=name,
            status=before.status,
            receipt_by=before.receipt_by,
            receipt_at=format_time(before.receipt_at),
        )
    made = Receipt(
        status=status,
        result_digest=result_digest,
        receipt_by=actor.name,
        receipt_at=_stamp(name, found.last_time, actor),
        reason=reason,
    )
    return found.replace(receipt=made)


def is_closed(found: Release, committed_at: datetime) -> bool:
    """Whether a commit of that time may archive a release: its receipt is final, or the time for one is over."""
    return found.closed_at is None or found.closed_at < committed_at + _COMMIT_TIME


def _stamp(name: str, last: datetime, actor: Actor) -> datetime:
    if last - actor.now > actor.policies.settings.claims.clock_tolerance:
        raise ClockSkew(escalation_id=name, now=format_time(actor.now), last=format_time(last))
    return max(actor.now, last)


# --- the judge --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReleaseCommit:
    """The commit of a release or receipt: its author, its time, and the policies in force before it.

    ``now`` is the judge's clock if the commit is arriving.
    """

    email: str
    committed_at: datetime
    policies: Policies
    now: datetime | None = None


def judge(decided: Decided | None, after: Release, made: ReleaseCommit) -> Iterator[Violation]:
    """The violations of a release. ``decided`` is None if no legal steps led to a decision for one use."""
    if decided is None:
        yield Violation(
            "release", "expected a decision that legal steps led to, that releases, and for one use"
        )
        return
    who = permissions.actor(made.email, after.released_at, made.policies)
    try:
        expected = release(decided, who, after.release_id)
    except (KtError, ValueError) as error:
        yield Violation("release", error.summary if isinstance(error, KtError) else str(error))
        return
    yield from _differing("release", expected, after)
    yield from _times("release", after.released_at, made)
    until = decided.until
    if until is not None and made.committed_at > until:
        yield Violation("release", f"expected it by {format_time(until)}")


def judge_receipt(before: Release, after: Release, made: ReleaseCommit) -> Iterator[Violation]:
    """The violations of a change of a release. Only a receipt may be added."""
    given = after.receipt
    if given is None or given == before.receipt:
        yield Violation("receipt", "expected a receipt and no other change")
        return
    who = permissions.actor(made.email, given.receipt_at, made.policies)
    try:
        expected = receipt(
            before,
            before.escalation_id,
            who,
            given.status,
            result_digest=given.result_digest,
            reason=given.reason,
        )
    except (KtError, ValueError) as error:
        yield Violation("receipt", error.summary if isinstance(error, KtError) else str(error))
        return
    yield from _differing("receipt", expected, after)
    yield from _times("receipt", given.receipt_at, made)


def _differing(rule: str, expected: Release, found: Release) -> Iterator[Violation]:
    for key in Release.KEYS:
        if getattr(expected, key) != getattr(found, key):
            yield Violation(rule, f"expected {key} {plain(getattr(expected, key))}")
            return


def _times(rule: str, moment: datetime, made: ReleaseCommit) -> Iterator[Violation]:
    tolerance = made.policies.settings.claims.clock_tolerance + _COMMIT_TIME
    if abs(moment - made.committed_at) >= tolerance:
        yield Violation("time", f"expected the commit's own time, {format_time(made.committed_at)}")
    elif made.now is not None and abs(moment - made.now) > tolerance:
        yield Violation("time", f"expected a {rule} of now, {format_time(made.now)}")
