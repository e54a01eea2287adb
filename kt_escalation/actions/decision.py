"""The decision on a resolved escalation, for programs, after the judge has proved it. See docs/gateway.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import Amended, Failure, IllegalRecord, KtError, ReleaseNeeded, UnreadableRecord
from ..frozen import dataclass
from ..model.record import Record
from ..model.release import Release
from ..model.times import to_millis
from ..model.vocabulary import AMENDING, RELEASING
from ..policies.policy_set import Policies, assemble
from ..policies.roster import person
from ..results import Decision
from ..rules import amending, releasing
from ..rules.releasing import Decided
from ..storage import lookup
from ..storage.interface import Entry, Invalid, Snapshot
from .read_session import ReadSession

if TYPE_CHECKING:
    from ..audit.record_history import Proven


@dataclass(frozen=True)
class Proof:
    """A resolved record that is proved by legal steps, and what is known of its use."""

    entry: Entry
    decided: Decided
    commit: str
    signed: bool
    policies: Policies

    @property
    def record(self) -> Record:
        """The record."""
        return self.entry.record

    def decision(self) -> Decision:
        """The decision, before it is used."""
        record, end = self.record, self.record.resolution
        assert end is not None  # noqa: S101 - only what is resolved is proved
        newest = {person(self.policies.roster, one.reviewer): one for one in record.reviews}
        by = tuple(one.reviewer for one in newest.values() if one.outcome == end.outcome)
        return Decision(
            escalation_id=record.escalation_id,
            request_id=record.request_id,
            outcome=end.outcome,
            release=end.outcome in RELEASING,
            amendment=amending.effective(record),
            digest=amending.effective_digest(record),
            reason=end.reason,
            by=by or (end.resolved_by,),
            signed=self.signed,
            resolved_at=end.resolved_at,
            commit=self.commit,
            record=record,
            path=self.entry.path,
        )


def proof(session: ReadSession, snapshot: Snapshot, entry: Entry, *, signed: bool = False) -> Proof:
    """The proof of a resolved record. Raises IllegalRecord, UnreadableRecord, ShallowClone."""
    [found] = proofs(session, snapshot, [entry], signed=signed)
    if isinstance(found, KtError):
        raise found
    return found


def proofs(
    session: ReadSession, snapshot: Snapshot, entries: Sequence[Entry], *, signed: bool = False
) -> list[Proof | KtError]:
    """The proof of each resolved record, or the error that `proof` would raise. Raises ShallowClone."""
    judged: Sequence[Proven | IllegalRecord | None] = [None] * len(entries)
    if session.has_git:
        from ..audit import record_history
        from ..audit.verify import require_history

        require_history(session.git)
        wanted = [
            record_history.Wanted(
                _names(snapshot, entry.record), entry.path, _reopeners(snapshot, entry.record)
            )
            for entry in entries
        ]
        now = session.clock()
        if signed or session.watched is None:
            judged = record_history.proven(session.git, snapshot.revision, wanted, now, signed=signed)
        else:
            judged = session.watched.proven(snapshot.revision, wanted, now)
    found: list[Proof | KtError] = []
    policies: Policies | None = None
    for entry, known in zip(entries, judged, strict=True):
        if isinstance(known, KtError):
            found.append(known)
            continue
        try:
            # A refusal of the judge is reported even if the policies cannot be read.
            policies = policies or assemble(*snapshot.policies())
            found.append(_proof(snapshot, entry, known, policies))
        except KtError as error:
            found.append(error)
    return found


def _proof(snapshot: Snapshot, entry: Entry, known: Proven | None, policies: Policies) -> Proof:
    """The proof of a record from the judge's result (None for a store in memory). Raises UnreadableRecord."""
    record = entry.record
    end = record.resolution
    assert end is not None  # noqa: S101 - only what is resolved is asked for
    commit, landed, is_signed = snapshot.revision, end.resolved_at, False
    if known is not None:
        commit, landed, is_signed = known.commit, known.landed or end.resolved_at, known.signed
    reopener = lookup.effective_reopening(lookup.reopeners(snapshot, record.escalation_id))
    decided = Decided(record, landed, release_of(snapshot, record), reopener)
    return Proof(entry, decided, commit, is_signed, policies)


def _names(snapshot: Snapshot, record: Record) -> tuple[str, ...]:
    """The ids of a record and of the chain of records that it reopens."""
    names = [record.escalation_id]
    while record.reopens is not None and record.reopens not in names:
        names.append(record.reopens)
        origin = lookup.record_of(snapshot, record.reopens)
        if origin is None:
            break
        record = origin
    return tuple(names)


def _reopeners(snapshot: Snapshot, record: Record) -> tuple[str, ...]:
    """The ids of the records that reopen a record, if its decision releases anything."""
    if record.resolution is None or record.resolution.outcome not in RELEASING:
        return ()
    return tuple(one.escalation_id for one in lookup.reopeners(snapshot, record.escalation_id))


def release_of(snapshot: Snapshot, record: Record) -> Release | None:
    """The release of a resolved record. Raises UnreadableRecord."""
    found = snapshot.release(record)
    if isinstance(found, Invalid):
        raise UnreadableRecord(path=found.path, problem=found.error, escalation_id=record.escalation_id)
    return found


def require_amendable(record: Record, *, amended: bool) -> None:
    """Raise Amended for a decision that changes the request, unless the caller applies amendments."""
    end = record.resolution
    if end is None or amended or end.outcome not in AMENDING:
        return
    given = amending.effective(record)
    raise Amended(
        escalation_id=record.escalation_id,
        outcome=end.outcome,
        reason=end.reason,
        amendment_digest=given.digest if given else None,
    )


def plain_answer(found: Proof, now: datetime, digest: str | None, *, amended: bool) -> Decision:
    """The answer to a caller that only waits.

    Raises OtherAction, Amended, AlreadyReleased, AlreadyReopened, ReleaseExpired, and ReleaseNeeded for a
    decision for one use.
    """
    record = found.record
    if record.resolution is None or record.resolution.outcome not in RELEASING:
        return found.decision()
    releasing.require_action(record, digest)
    if found.decided.release is not None:
        raise releasing.already(found.decided.release)
    releasing.require_usable(found.decided, now)
    require_amendable(record, amended=amended)
    if record.requires.single_use:
        raise ReleaseNeeded(escalation_id=record.escalation_id, outcome=record.resolution.outcome)
    return found.decision()


def answers(
    session: ReadSession, snapshot: Snapshot, entries: Sequence[Entry]
) -> tuple[tuple[Decision, ...], tuple[Failure, ...]]:
    """The proved decisions on records that were raised again.

    ``release`` is True only if a plain `wait` would return it now. If `wait` would raise an error, the error
    is among the failures, by escalation id. Raises ShallowClone.
    """
    decisions: list[Decision] = []
    failures: list[Failure] = []
    now = to_millis(session.clock())
    for entry, proved in zip(entries, proofs(session, snapshot, entries), strict=True):
        name = entry.record.escalation_id
        if isinstance(proved, KtError):
            failures.append(Failure(name, proved))
            continue
        try:
            decisions.append(plain_answer(proved, now, None, amended=False))
        except KtError as error:
            decisions.append(replace(proved.decision(), release=False))
            failures.append(Failure(name, error))
    return tuple(decisions), tuple(failures)
