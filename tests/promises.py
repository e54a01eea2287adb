"""What the state machine stands on: a port that fails when told to, and the promises as checks.

The checks say design, sections 1 and 4, once more and apart from `core.transitions` on purpose: what
both get wrong in the same way is rarer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta

from kt_escalation.errors import RemoteUnreachable
from kt_escalation.model.record import Record
from kt_escalation.model.vocabulary import RELEASING
from kt_escalation.storage import layout, yaml_text
from kt_escalation.storage.interface import Author, Onto, Port, Prepared, Request, Snapshot, Unanswered

#: What can happen to a commit: somebody comes first; it lands or does not, and no answer comes; and
#: after that the remote may say nothing more.
FAULTS = ("none", "second", "landed", "lost", "landed and silent", "lost and silent")

TOLERANCE = timedelta(minutes=2)

KEPT_FOR_EVER = (
    "schema_version", "escalation_id", "severity", "reason_code", "summary", "created_at", "raised_at",
    "raised_by", "request_id", "agent_id", "session_id", "config_version", "provider", "model", "policy",
    "event_context", "labels", "reopens",
)  # fmt: skip


class FaultyPush:
    """A commit whose push meets a fault."""

    def __init__(self, port: FaultyPort, prepared: Prepared, fault: str) -> None:
        self._port = port
        self._prepared = prepared
        self._fault = fault
        self.commit = prepared.commit

    def send(self, timeout: float) -> Exception | None:
        """Send it, or lose it on the way."""
        self._port.silent = self._fault.endswith("silent")
        if self._fault.startswith("lost"):
            raise Unanswered("hung up")
        refusal = self._prepared.send(timeout)
        if self._fault.startswith("landed"):
            raise Unanswered("hung up")
        return refusal

    def settle(self) -> None:
        """As it is."""
        self._prepared.settle()


class FaultyPort:
    """A real store whose commits meet the faults in ``faults``, one each."""

    def __init__(self, port: Port, somebody_else: Callable[[], object]) -> None:
        self._port = port
        self._somebody_else = somebody_else
        self.silent = False
        self.faults: deque[str] = deque()

    @property
    def remote(self) -> str | None:
        return self._port.remote

    def plan(self, *faults: str) -> None:
        """Let these faults meet the next commits, and the remote speak again."""
        self.silent = False
        self.faults = deque(faults)

    def writing(self, timeout: float) -> AbstractContextManager[None]:
        return self._port.writing(timeout)

    def turn(self, meanwhile: Callable[[], None]) -> AbstractContextManager[None]:
        return self._port.turn(meanwhile)

    def author(self) -> Author:
        return self._port.author()

    def read(self, rev: str | None = None) -> Snapshot:
        return self._port.read(rev)

    def newest(self, timeout: float, max_age: float = 0.0) -> Snapshot:
        return self.tip(timeout)

    def tip(self, timeout: float) -> Snapshot:
        if self.silent:
            raise RemoteUnreachable(remote=self.remote, words="no answer")
        return self._port.tip(timeout)

    def guess(self, timeout: float) -> Snapshot:
        return self._port.guess(timeout)

    def confirm(self, snapshot: Snapshot, timeout: float) -> None:
        if self.silent:
            raise RemoteUnreachable(remote=self.remote, words="no answer")
        self._port.confirm(snapshot, timeout)

    def prepare(self, request: Request, proposal: Onto | None = None) -> FaultyPush:
        fault = self.faults.popleft() if self.faults else "none"
        if fault == "second":
            self._somebody_else()
        return FaultyPush(self, self._port.prepare(request, proposal), fault)

    def blob_id(self, record: Record) -> str:
        return self._port.blob_id(record)

    def contains(self, snapshot: Snapshot, commit: str) -> bool:
        return self._port.contains(snapshot, commit)

    def follow(self, revision: str) -> str | None:
        return self._port.follow(revision)


def records(files: Mapping[str, bytes]) -> dict[str, Record]:
    """The records of a tree, each where it belongs and in canonical form."""
    found: dict[str, Record] = {}
    for path, data in files.items():
        if path.startswith(f"{layout.QUEUE}/"):
            record = yaml_text.loads(data)
            assert yaml_text.dumps(record) == data, f"{path} is not canonical"
            assert layout.path_of(record) == path, f"{path} is misplaced"
            assert record.escalation_id not in found, f"{record.escalation_id} stands twice"
            found[record.escalation_id] = record
    return found


def check_step(
    before: Record | None, after: Record | None, email: str, admin: bool, known: Callable[[str], str]
) -> None:
    """Assert that one step is a move of the transition table, made by whom the record says.

    ``known`` gives the one name of a person whom a record may name by user id or by e-mail.
    """
    assert after is not None, "a record was deleted"
    author = known(email)
    before, after = before and _with_one_name_each(before, known), _with_one_name_each(after, known)
    if before is None:
        assert after.status in ("queued", "claimed")
        assert not after.reviews
        assert len(after.notes) == (after.reopens is not None)
        assert after.raised_by == author
        return
    assert before.status != "resolved", "a resolved record changed"
    for key in KEPT_FOR_EVER:
        assert getattr(before, key) == getattr(after, key), f"{key} changed"
    assert after.last_time >= before.last_time, "time went back"
    assert after.reviews[: len(before.reviews)] == before.reviews, "a review was rewritten"
    assert after.notes[: len(before.notes)] == before.notes, "a note was rewritten"
    noted = len(after.notes) > len(before.notes)
    there = (after.claim.claimed_by if after.claim else None) == after.route.user_id
    moved = after.route.source == "assigned" and noted and there and before.claim != after.claim
    if before.route != after.route or moved:
        _check_rerouted(before, after, author, admin)
    else:
        _check_holder(before, after, author, admin)
    _check_decision(before, after, author)


def _with_one_name_each(record: Record, known: Callable[[str], str]) -> Record:
    route = record.route
    return record.replace(
        raised_by=known(record.raised_by),
        route=route.replace(user_id=known(route.user_id)) if route.user_id else route,
        claim=record.claim and record.claim.replace(claimed_by=known(record.claim.claimed_by)),
        reviews=tuple(r.replace(reviewer=known(r.reviewer)) for r in record.reviews),
        notes=tuple(note.replace(by=known(note.by)) for note in record.notes),
        resolution=record.resolution
        and record.resolution.replace(resolved_by=known(record.resolution.resolved_by)),
    )


def _check_rerouted(before: Record, after: Record, author: str, admin: bool) -> None:
    assert after.requires == before.requires.replace(claim_within=None)
    holder = after.claim.claimed_by if after.claim else None
    assert holder == after.route.user_id
    if after.route.source == "assigned":
        assert after.notes[-1].by == author
        assert len(after.notes) == len(before.notes) + 1
        assert admin or (before.claim is not None and before.claim.claimed_by == author)
        assert holder is None or after.requires.approvals < 2 or holder != after.raised_by
    else:
        assert after.route.source == "fallback"
        assert before.claim is None
        assert before.requires.claim_within is not None
        assert after.queued_at >= before.queued_at + before.requires.claim_within, "rerouted too soon"


def _check_holder(before: Record, after: Record, author: str, admin: bool) -> None:
    if before.claim == after.claim:
        return
    until = before.claim.expires_at if before.claim else None
    over = until is not None and after.last_time > until + TOLERANCE
    if after.claim is None:
        assert before.claim is not None
        forced = admin and len(after.notes) > len(before.notes) and after.notes[-1].by == author
        assert before.claim.claimed_by == author or forced or over, "somebody else's claim was given back"
        return
    assert after.claim.claimed_by == author, "claimed for somebody else"
    if before.claim and before.claim.claimed_at == after.claim.claimed_at:
        assert before.claim.claimed_by == author, "renewed for somebody else"
        return
    assert before.claim is None or over, "a live claim was taken"
    assert after.requires.approvals < 2 or after.raised_by != author, "claimed by who raised it"
    assert all(review.reviewer != author for review in after.reviews), "claimed to review twice"


def _check_decision(before: Record, after: Record, author: str) -> None:
    new = after.reviews[len(before.reviews) :]
    assert len(new) <= 1, "two decisions in one step"
    for review in new:
        assert before.claim, "not the holder's"
        assert before.claim.claimed_by == author == review.reviewer, "not the holder's"
        assert review.claim_id == before.claim.claim_id
        assert all(other.reviewer != author for other in before.reviews), "reviewed twice"
    if after.resolution is None:
        return
    assert after.resolution.resolved_by == author
    if after.resolution.outcome == "expired":
        within = after.requires.resolve_within
        assert not new
        assert within is not None
        assert after.resolution.resolved_at >= after.raised_at + within, "expired too soon"
        return
    assert new, "resolved without a decision"
    assert after.resolution.outcome == new[0].outcome, "resolved without a decision"
    if after.resolution.outcome in RELEASING:
        agreed = {r.reviewer for r in after.reviews if r.outcome == after.resolution.outcome}
        assert len(agreed) >= after.requires.approvals, "released by too few"
        assert after.requires.approvals < 2 or after.raised_by not in agreed, "released by who raised it"
