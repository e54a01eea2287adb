"""The use cases: what people and gateways do with a store.

Each one reads the newest state, lets the rules decide on it, commits, and starts again where
somebody else was first (design, section 5). Nothing here knows git, YAML or a terminal.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from .core import canonical, events, ids, query, story, transitions
from .core.model import CATEGORIES, MAX_TEXT, Category, Record, parse_outcome
from .core.policies import Policies, assemble
from .core.query import Filter, Page
from .core.times import to_millis
from .core.transitions import Act
from .errors import (
    AmbiguousId,
    BadInput,
    Failure,
    GitFailed,
    Interrupted,
    KtError,
    NotFound,
    NothingToClaim,
    OutcomeUnknown,
    RemoteUnreachable,
    RetriesExhausted,
    SeveralFailed,
    UnreadableRecord,
)
from .store import codec, doctor, faults, history, setup
from .store.doctor import Finding
from .store.gitstore import GitStore
from .store.message import Message
from .store.port import Author, Change, Entry, Invalid, Port, Snapshot, Stale, Unanswered

__all__ = ["Failure", "Finding", "Found", "Listing", "Moment", "Result", "Store"]

#: The line number of what did not come in lines.
ALONE = 0

LOCK_TIMEOUT = 60.0
RETRY_TIMEOUT = 30.0
# The first pause after a lost race, doubled up to the longest; the real one is a random part of it.
FIRST_PAUSE = 0.04
LONGEST_PAUSE = 1.5
# A push that is started with less than this left, in seconds, would only lose its answer.
LEAST_FOR_PUSH = 0.5

_T = TypeVar("_T")


@dataclass(frozen=True)
class Result:
    """What a command has done: the records as they are now and the commit that made them so.

    ``changed`` is False for a repeat. ``unchanged`` counts the repeats among several, ``skipped``
    events that do not escalate, ``failed`` what could not be had (with ``partial`` only).
    ``warnings`` are about the checkout, never about the effect.
    """

    records: tuple[Record, ...]
    commit: str | None
    changed: bool
    unchanged: int = 0
    skipped: int = 0
    failed: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    replaced: tuple[Record, ...] = ()

    @property
    def record(self) -> Record:
        """The only record of an action on one escalation."""
        [record] = self.records
        return record


@dataclass(frozen=True)
class Found:
    """One escalation as `get` gives it: the record and where exactly it was read."""

    record: Record
    path: str
    blob: str
    commit: str
    shown: str


@dataclass(frozen=True)
class Listing:
    """A page of records, the cursor of the next, and the files that could not be read."""

    page: Page
    invalid: tuple[Invalid, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of the page."""
        return self.page.records


@dataclass(frozen=True)
class Moment:
    """One line of the timeline: what a commit did to one escalation."""

    commit: str
    at: datetime
    author: str
    email: str
    escalation_id: str
    action: str
    actor: str | None
    outcome: str | None
    text: str | None


@dataclass(frozen=True)
class _Plan:
    """What the rules decided on one snapshot; nothing to change means that it is all so already."""

    changes: tuple[Change, ...] = ()
    message: Message | None = None
    records: tuple[Record, ...] = ()
    unchanged: int = 0
    failed: tuple[Failure, ...] = ()
    find: str | None = None


_Decide = Callable[[Snapshot, Act], _Plan]


class Store:
    """An escalation store, opened from a checkout of its repository.

    Every action lands on the remote's store branch before it returns, or raises an error of
    `kt_escalation.errors`, whose ``exit_code`` is that of the command line. A store may be used by
    several threads; each action reads the clock once.
    """

    def __init__(
        self,
        port: Port,
        *,
        clock: Callable[[], datetime] | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        retry_timeout: float = RETRY_TIMEOUT,
        follow_checkout: bool = True,
    ) -> None:
        self._port = port
        self._clock = clock or (lambda: datetime.now(UTC))
        self._lock_timeout = lock_timeout
        self._retry_timeout = retry_timeout
        self._follow_checkout = follow_checkout
        #: The last commit that was landed; a crash report names it.
        self.landed: str | None = None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = ".",
        *,
        clock: Callable[[], datetime] | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        retry_timeout: float = RETRY_TIMEOUT,
        follow_checkout: bool = True,
    ) -> Store:
        """Open the store in the repository that holds ``path``.

        Timeouts are in seconds. ``follow_checkout=False`` leaves the checkout where it is until
        `follow` is called. ``clock`` gives the time, for tests.
        Raises NotAStore, GitFailed, BadInput.
        """
        return cls(
            GitStore(Path(path)),
            clock=clock,
            lock_timeout=lock_timeout,
            retry_timeout=retry_timeout,
            follow_checkout=follow_checkout,
        )

    @staticmethod
    def init(
        path: str | os.PathLike[str] = ".", *, clock: Callable[[], datetime] | None = None
    ) -> tuple[str | None, tuple[str, ...]]:
        """Make a store in a folder: a repository if there is none, sample policies, the first commit.

        Gives the commit, None if there was a store already, and warnings. Raises as writing does.
        """
        now = to_millis((clock or (lambda: datetime.now(UTC)))())
        return setup.create(Path(path), now, LOCK_TIMEOUT, RETRY_TIMEOUT)

    def close(self) -> None:
        """End the helper process that reads git objects; the store may be used again afterwards."""
        if isinstance(self._port, GitStore):
            self._port.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading ----------------------------------------------------------------------------------

    def _snapshot(self, rev: str | None, fetch: bool) -> Snapshot:
        if fetch:
            with self._port.writing(self._lock_timeout):
                tip = self._port.tip(self._retry_timeout)
            return tip if rev is None else self._port.read(rev)
        return self._port.read(rev)

    def list(
        self,
        wanted: Filter | None = None,
        *,
        sort: str = query.DEFAULT_SORT,
        limit: int = 0,
        cursor: str | None = None,
        rev: str | None = None,
        fetch: bool = False,
    ) -> Listing:
        """The escalations that match, from committed state: at once and offline unless ``fetch``.

        Open ones by default, most severe then oldest first; ``limit`` 0 gives all. Raises BadInput,
        NotAStore.
        """
        wanted = wanted or Filter()
        snapshot = self._snapshot(rev, fetch)
        parts: list[Iterator[Entry | Invalid]] = []
        if wanted.statuses & {"queued", "claimed"}:
            parts.append(snapshot.open())
        if "resolved" in wanted.statuses:
            parts.append(snapshot.resolved())
        records, invalid = [], []
        for part in parts:
            for item in part:
                if isinstance(item, Entry):
                    records.append(item.record)
                else:
                    invalid.append(item)
        page = query.select(records, wanted, sort, limit, cursor)
        return Listing(page, tuple(sorted(invalid, key=lambda item: item.path)))

    def get(self, escalation_id: str, *, rev: str | None = None, fetch: bool = False) -> Found:
        """One escalation by its id or a prefix of it that only it has.

        Raises NotFound, AmbiguousId, UnreadableRecord, BadInput.
        """
        snapshot = self._snapshot(rev, fetch)
        entry = _entry(snapshot, _whole_id(snapshot, escalation_id))
        shown = canonical.shown(entry.record)
        return Found(entry.record, entry.path, entry.blob, snapshot.revision, shown)

    def log(
        self, escalation_id: str | None = None, *, rev: str | None = None, fetch: bool = False, limit: int = 0
    ) -> Iterator[Moment]:
        """What happened, newest first, from git history; of one escalation, through its whole life."""
        snapshot = self._snapshot(rev, fetch)
        wanted = _whole_id(snapshot, escalation_id) if escalation_id is not None else None
        if not isinstance(self._port, GitStore):
            raise BadInput(problem="this store has no git history")
        for step in history.steps(self._port, snapshot.revision, wanted, limit):
            told = story.between(step.before, step.after)
            if step.problem:
                told = (story.Happening("unreadable", text=step.problem),)
            for happening in reversed(told):
                yield Moment(
                    step.commit,
                    step.committed_at,
                    step.author,
                    step.email,
                    step.escalation_id,
                    happening.action,
                    happening.actor,
                    happening.outcome,
                    happening.text,
                )

    def policies(self, *, rev: str | None = None) -> Policies:
        """The policies at the newest committed state, faults included."""
        return assemble(*self._snapshot(rev, fetch=False).policies())

    def doctor(self) -> Sequence[Finding]:
        """What could keep this clone from working, each with its remedy."""
        if not isinstance(self._port, GitStore):
            return []
        found = doctor.examine(self._port, self._retry_timeout)
        try:
            snapshot = self._port.read()
        except KtError as error:
            return [*found, Finding("store", False, error.message, "")]
        bad = [
            item
            for part in (snapshot.open(), snapshot.resolved())
            for item in part
            if isinstance(item, Invalid)
        ]
        for item in bad:
            remedy = f"mend it in a commit; its last states are in `git log -p -- {item.path}`"
            found.append(Finding("files", False, f"{item.path}: {item.error}", remedy))
        if not bad:
            found.append(Finding("files", True, "every file below queue/ can be read", ""))
        for file, problem in assemble(*snapshot.policies()).faults:
            found.append(
                Finding("policies", False, f"{file}: {problem}", "mend it in a commit on the store branch")
            )
        return found

    # --- raising ----------------------------------------------------------------------------------

    def raise_(self, record: Mapping[str, Any] | None = None, /, **keys: Any) -> Result:
        """Raise one escalation from the keys of a record (design, section 3).

        Raising the same again changes nothing. Raises BadInput, NotAllowed, DifferentContent, and
        what writing raises.
        """
        draft = _drafted(lambda: events.from_record({**(record or {}), **keys}))
        return self.raise_many([(ALONE, draft)])

    def raise_event(
        self, event: Mapping[str, Any], *, provider: str | None = None, model: str | None = None
    ) -> Result:
        """Raise what a gateway's decision event asks for; ``skipped`` is 1 if it does not escalate."""
        return self.raise_many(
            [(1, _drafted(lambda: events.from_event(event, provider=provider, model=model)))]
        )

    def raise_many(
        self, items: Iterable[tuple[int, events.Raisable | KtError | None]], *, partial: bool = False
    ) -> Result:
        """Raise several in one commit: pairs of a line number and a draft (or what was wrong with it).

        None counts as skipped. All or nothing; with ``partial`` all that can be had.
        Raises the fault, or SeveralFailed with every one of them.
        """
        numbered = list(items)
        skipped = sum(1 for _, item in numbered if item is None)
        wanted = [
            (number, item, os.urandom(ids.ULID_RANDOM_BYTES)) for number, item in numbered if item is not None
        ]
        claim_id = self._nonce()

        def decide(snapshot: Snapshot, act: Act) -> _Plan:
            new: dict[str, Record] = {}
            had: dict[str, Record] = {}
            unchanged, failed = 0, []
            for number, item, randomness in wanted:
                try:
                    if isinstance(item, KtError):
                        raise item
                    name = transitions.escalation_id(item, act.now, randomness)
                    existing = new.get(name) or had.get(name) or _existing(snapshot, name)
                    if existing:
                        transitions.same_as_raised(existing, item)
                        had[name] = existing
                        unchanged += 1
                    else:
                        new[name] = had[name] = transitions.raise_(item, name, act, claim_id)
                except KtError as error:
                    failed.append(Failure(number, error))
            return _Plan(
                changes=tuple(Change(None, record) for record in new.values()),
                message=Message("raise", list(new), act.actor, text=_summary(new.values())),
                records=tuple(had.values()),
                unchanged=unchanged,
                failed=tuple(failed),
            )

        if not wanted:
            return Result((), None, False, skipped=skipped)
        return replace(self._write(decide, partial), skipped=skipped)

    # --- the life of an escalation ----------------------------------------------------------------

    def claim(self, escalation_id: str, *, claim_id: str | None = None) -> Result:
        """Take one escalation. Raises NotFound, NotAllowed, AlreadyClaimed, AlreadyResolved, ClaimIdDiffers."""
        return self.claim_many([escalation_id], claim_id=claim_id)

    def claim_many(
        self, escalation_ids: Sequence[str], *, claim_id: str | None = None, partial: bool = False
    ) -> Result:
        """Take several escalations in one commit, all or nothing unless ``partial``."""
        given = claim_id is not None
        token = _claim_id(claim_id) or self._nonce()

        def step(snapshot: Snapshot, act: Act, entry: Entry, taken: int) -> Record:
            held = _held(snapshot, act) + taken
            deciders = _deciders(snapshot, entry.record)
            return transitions.claim(entry.record, act, token, given=given, deciders=deciders, held=held)

        return self._each("claim", escalation_ids, step, partial, claim_id=token, detail=_over_lapsed)

    def claim_next(self, *, team: str | None = None, count: int = 1, claim_id: str | None = None) -> Result:
        """Take the next ``count`` at most: most severe, then oldest, of what the caller may take.

        Raises NothingToClaim, which says whether the queue is empty, all is held, or none is for
        the caller.
        """
        if count < 1:
            raise BadInput(problem=f"count is {count}; it must be at least 1")
        given = claim_id is not None
        token = _claim_id(claim_id) or self._nonce()

        def decide(snapshot: Snapshot, act: Act) -> _Plan:
            entries = {item.record.escalation_id: item for item in snapshot.open() if isinstance(item, Entry)}
            mine = [e.record for e in entries.values() if given and _is_claim(e.record, act, token)]
            if mine:
                return _Plan(records=tuple(query.in_order(mine)), unchanged=len(mine))
            held = _held(snapshot, act)
            changes: list[Change] = []
            why = _Why()
            for record in query.in_order(entry.record for entry in entries.values()):
                if team is not None and record.route.team_id != team:
                    continue
                if record.claim and not transitions.lapsed(record, act):
                    why.held(record)
                    continue
                try:
                    deciders = _deciders(snapshot, record)
                    claimed = transitions.claim(
                        record, act, token, given=given, deciders=deciders, held=held + len(changes)
                    )
                except KtError as error:
                    why.refused(error)
                    continue
                if claimed is not record:
                    changes.append(Change(entries[record.escalation_id], claimed))
                if len(changes) == count:
                    break
            if not changes:
                raise NothingToClaim(why=why.text(team), **why.facts())
            named = [change.new.escalation_id for change in changes]
            detail = _over_lapsed([change.old.record for change in changes if change.old])
            return _Plan(
                changes=tuple(changes),
                message=Message("claim", named, act.actor, claim_id=token, detail=detail),
                records=tuple(change.new for change in changes),
                find=f"kt escalation get --fetch --id {named[0]}",
            )

        return self._write(decide, partial=False)

    def unclaim(self, escalation_id: str, *, claim_id: str | None = None) -> Result:
        """Give an escalation back to the queue. Raises NotFound, NotClaimed, NotHolder, AlreadyResolved."""
        return self.unclaim_many([escalation_id], claim_id=claim_id)

    def unclaim_many(
        self, escalation_ids: Sequence[str], *, claim_id: str | None = None, partial: bool = False
    ) -> Result:
        """Give several back in one commit, all or nothing unless ``partial``."""
        _claim_id(claim_id)

        def step(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
            return transitions.unclaim(entry.record, act, claim_id=claim_id)

        return self._each("unclaim", escalation_ids, step, partial, claim_id=claim_id)

    def resolve(
        self,
        escalation_id: str,
        outcome: str,
        reason: str,
        *,
        category: str | None = None,
        claim_id: str | None = None,
        shown: str | None = None,
    ) -> Result:
        """Decide an escalation that the caller holds.

        ``outcome`` is one of ours or a verb of the gateway; ``shown`` the digest that `get` gave.
        The record is queued again while its quorum is short.
        Raises BadInput, NotFound, NotAllowed, NotClaimed, NotHolder, AlreadyResolved, ShownDiffers.
        """
        return self.resolve_many(
            [escalation_id], outcome, reason, category=category, claim_id=claim_id, shown=shown
        )

    def resolve_many(
        self,
        escalation_ids: Sequence[str],
        outcome: str,
        reason: str,
        *,
        category: str | None = None,
        claim_id: str | None = None,
        shown: str | None = None,
        partial: bool = False,
    ) -> Result:
        """Decide several in the same way in one commit, all or nothing unless ``partial``."""
        decided = _checked(lambda: parse_outcome(outcome))
        kind = _category(category)
        words = _words(reason, "the reason")
        _claim_id(claim_id)

        def step(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
            return transitions.resolve(
                entry.record, act, decided, words, category=kind, claim_id=claim_id, shown=shown
            )

        return self._each(
            "resolve", escalation_ids, step, partial, claim_id=claim_id, outcome=decided, text=words
        )

    def note(self, escalation_id: str, text: str) -> Result:
        """Say something about an open escalation. Raises NotFound, NotAllowed, AlreadyResolved."""
        words = _words(text, "the note")

        def step(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
            return transitions.note(entry.record, act, words)

        return self._each("note", [escalation_id], step, partial=False, text=words)

    def follow(self) -> str | None:
        """Bring the checkout to the newest state, where that is safe; what stood in the way, else None."""
        with self._port.writing(self._lock_timeout):
            return self._port.follow(self._port.tip(self._retry_timeout).revision)

    # --- how a change is committed ----------------------------------------------------------------

    def _nonce(self) -> str:
        return ids.ulid(self._clock(), os.urandom(ids.ULID_RANDOM_BYTES))

    def _each(
        self,
        action: str,
        escalation_ids: Sequence[str],
        step: Callable[[Snapshot, Act, Entry, int], Record],
        partial: bool,
        *,
        claim_id: str | None = None,
        outcome: str | None = None,
        text: str | None = None,
        detail: Callable[[Sequence[Record]], str] = lambda _: "",
    ) -> Result:
        """Run one rule over each of some records and commit what it gives, all in one."""
        wanted = list(dict.fromkeys(escalation_ids))
        if not wanted:
            raise BadInput(problem="no escalation id was given")
        for name in wanted:
            if not ids.is_escalation_id(name):
                raise BadInput(
                    problem=f"{name[:80]!r} is no escalation id; one looks like esc_abc123 and is given whole"
                )

        def decide(snapshot: Snapshot, act: Act) -> _Plan:
            changes: list[Change] = []
            records: list[Record] = []
            failed: list[Failure] = []
            for name in wanted:
                try:
                    entry = _entry(snapshot, name)
                    after = step(snapshot, act, entry, len(changes))
                except KtError as error:
                    failed.append(Failure(name, error))
                    continue
                records.append(after)
                if after is not entry.record:
                    changes.append(Change(entry, after))
            message = _message(action, changes, act, claim_id, outcome, text, detail)
            return _Plan(
                changes=tuple(changes),
                message=message,
                records=tuple(records),
                unchanged=len(records) - len(changes),
                failed=tuple(failed),
                find=f"kt escalation get --fetch --id {wanted[0]}",
            )

        return self._write(decide, partial)

    def _write(self, decide: _Decide, partial: bool) -> Result:
        """Decide and commit until it has landed or cannot land (design, section 5)."""
        now = to_millis(self._clock())
        author = self._port.author()
        faults.point("before-lock")
        with self._port.writing(self._lock_timeout):
            faults.point("after-lock")
            return self._land(decide, partial, now, author)

    def _land(self, decide: _Decide, partial: bool, now: datetime, author: Author) -> Result:
        end = time.monotonic() + self._retry_timeout
        sent: list[tuple[Unanswered, _Plan]] = []
        attempts = 0
        try:
            while True:
                attempts += 1
                left = end - time.monotonic()
                try:
                    snapshot = self._port.tip(max(left, 0.1))
                    for earlier, plan in sent:
                        if self._port.contains(snapshot, earlier.commit):
                            return self._done(plan, earlier.commit)
                    policies = assemble(*snapshot.policies())
                    policies.require_sound()
                    faults.point("before-decide")
                    plan = decide(snapshot, transitions.act(author.email, now, policies))
                    _judge(plan, partial)
                    faults.point("after-decide")
                    if not plan.changes:
                        return self._done(plan, None, snapshot.revision)
                    when = max(change.new.last_time for change in plan.changes)
                    left = end - time.monotonic()
                    if attempts > 1 and left < LEAST_FOR_PUSH:
                        raise RetriesExhausted(attempts=attempts, seconds=self._retry_timeout)
                    commit = self._port.commit(
                        snapshot, plan.changes, str(plan.message), author, max(now, when), max(left, LEAST_FOR_PUSH)
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
                    raise RetriesExhausted(attempts=attempts, seconds=self._retry_timeout)
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
                remote=self._port.remote,
                words=words,
                find=find,
                claim_id=plan.message.claim_id if plan.message else None,
            ) from caught

    def _done(self, plan: _Plan, commit: str | None, seen: str | None = None) -> Result:
        """The effect is there: from here on nothing can take it back, and nothing may seem to."""
        warnings: tuple[str, ...] = ()
        if commit:
            self.landed = commit
        if self._follow_checkout:
            try:
                left = self._port.follow(commit or seen or "")
            except (Exception, KeyboardInterrupt) as error:
                left = str(error) or type(error).__name__
            if left:
                warnings = (f"the checkout was left as it is: {left}",)
        return Result(
            records=plan.records,
            commit=commit or seen,
            changed=commit is not None,
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


def _judge(plan: _Plan, partial: bool) -> None:
    """Raise what failed, unless some of it may and could be had."""
    if not plan.failed or (partial and plan.records):
        return
    if len(plan.failed) == 1 and (isinstance(plan.failed[0].where, str) or plan.failed[0].where == ALONE):
        raise plan.failed[0].error
    raise SeveralFailed(plan.failed)


def _pause(attempts: int, end: float) -> None:
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts, 10), max(end - time.monotonic(), 0))
    time.sleep(random.uniform(0, longest))  # noqa: S311 - jitter, not a secret


def _message(
    action: str,
    changes: Sequence[Change],
    act: Act,
    claim_id: str | None,
    outcome: str | None,
    text: str | None,
    detail: Callable[[Sequence[Record]], str],
) -> Message | None:
    if not changes:
        return None
    more = detail([change.old.record for change in changes if change.old])
    used = claim_id
    if action in ("resolve", "unclaim"):
        held = {
            change.old.record.claim.claim_id for change in changes if change.old and change.old.record.claim
        }
        used = held.pop() if len(held) == 1 else None
    if action == "resolve" and all(change.new.resolution is None for change in changes):
        action = "review"
        first = changes[0].new
        given = sum(1 for review in first.reviews if review.outcome == outcome)
        more = f"({given} of {first.requires.approvals})" if len(changes) == 1 else more
    named = [change.new.escalation_id for change in changes]
    return Message(action, named, act.actor, claim_id=used, outcome=outcome, detail=more, text=text)


def _over_lapsed(before: Sequence[Record]) -> str:
    holders = sorted({record.claim.claimed_by for record in before if record.claim})
    return f"over the lapsed claim of {', '.join(holders)}" if holders else ""


def _summary(records: Iterable[Record]) -> str | None:
    found = list(records)
    return found[0].summary if len(found) == 1 else None


def _existing(snapshot: Snapshot, escalation_id: str) -> Record | None:
    found = snapshot.find(escalation_id)
    if isinstance(found, Invalid):
        raise UnreadableRecord(path=found.path, problem=found.error, escalation_id=escalation_id)
    return found.record if found else None


def _entry(snapshot: Snapshot, escalation_id: str) -> Entry:
    found = snapshot.find(escalation_id)
    if found is None:
        raise NotFound(escalation_id=escalation_id)
    if isinstance(found, Invalid):
        raise UnreadableRecord(path=found.path, problem=found.error, escalation_id=escalation_id)
    return found


def _whole_id(snapshot: Snapshot, text: str) -> str:
    """The id that a text names: itself, or the only one that it begins, open ones first (design, 8)."""
    if ids.is_escalation_id(text) and snapshot.find(text) is not None:
        return text
    if not ids.is_prefix(text):
        if ids.is_escalation_id(text):
            raise NotFound(escalation_id=text)
        raise BadInput(
            problem=f"{text[:80]!r} is no escalation id; give a whole one such as esc_abc123, "
            "or at least 4 characters after esc_"
        )
    for resolved in (False, True):
        fits = sorted(name for name in snapshot.ids(resolved=resolved) if name.startswith(text))
        if len(fits) == 1:
            return fits[0]
        if fits:
            shown = ", ".join(fits[:5]) + (f" and {len(fits) - 5} more" if len(fits) > 5 else "")
            raise AmbiguousId(prefix=text, candidates=shown)
    raise NotFound(escalation_id=text)


def _held(snapshot: Snapshot, act: Act) -> int:
    """How many live claims the actor has; asked only where there is a limit."""
    if act.policies.settings.claims.max_per_reviewer is None:
        return 0
    return sum(
        1
        for item in snapshot.open()
        if isinstance(item, Entry)
        and item.record.claim
        and act.is_me(item.record.claim.claimed_by)
        and not transitions.lapsed(item.record, act)
    )


def _deciders(snapshot: Snapshot, record: Record) -> tuple[str, ...]:
    if record.reopens is None or record.requires.approvals < 2:
        return ()
    found = snapshot.find(record.reopens)
    return tuple(review.reviewer for review in found.record.reviews) if isinstance(found, Entry) else ()


def _is_claim(record: Record, act: Act, claim_id: str) -> bool:
    return (
        record.claim is not None and record.claim.claim_id == claim_id and act.is_me(record.claim.claimed_by)
    )


@dataclass
class _Why:
    """Why nothing could be claimed."""

    holders: dict[str, int] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)

    def held(self, record: Record) -> None:
        if record.claim:
            self.holders[record.claim.claimed_by] = self.holders.get(record.claim.claimed_by, 0) + 1

    def refused(self, error: KtError) -> None:
        self.refusals.append(str(error.facts.get("missing", error.message)))

    def text(self, team: str | None) -> str:
        held = ", ".join(f"{name} {count}" for name, count in sorted(self.holders.items()))
        if self.refusals:
            why = f"none of the {len(self.refusals)} waiting is for you ({self.refusals[0]})"
            return f"{why}; the others are held ({held})" if held else why
        if held:
            return f"all {sum(self.holders.values())} are held ({held})"
        return f"nothing waits for team {team}" if team else "the queue is empty"

    def facts(self) -> dict[str, Any]:
        state = "not_for_you" if self.refusals else "all_held" if self.holders else "empty"
        return {"state": state, "held_by": dict(sorted(self.holders.items()))}


def _drafted(make: Callable[[], _T]) -> _T:
    try:
        return make()
    except events.BadDraft as error:
        raise BadInput(problem=str(error)) from None


def _checked(make: Callable[[], _T]) -> _T:
    try:
        return make()
    except ValueError as error:
        raise BadInput(problem=str(error)) from None


def _claim_id(text: str | None) -> str | None:
    if text is not None and not ids.CLAIM_ID.fullmatch(text):
        raise BadInput(problem=f"{text[:80]!r} is no claim id: letters, digits, dots, dashes, at most 64")
    return text


def _category(text: str | None) -> Category | None:
    for known in CATEGORIES:
        if text == known:
            return known  # type: ignore[return-value]
    if text is None:
        return None
    raise BadInput(problem=f"{text[:80]!r} is no category; use one of {', '.join(CATEGORIES)}")


def _words(text: str, what: str) -> str:
    """Text from a person, fit for a record. Raises BadInput."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise BadInput(problem=f"{what} is empty")
    if len(text) > MAX_TEXT:
        raise BadInput(problem=f"{what} has {len(text)} characters; at most {MAX_TEXT} are kept")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(problem=f"{what} is not valid Unicode text") from None
    return text


def read_items(
    data: bytes, kind: str, *, provider: str | None = None, model: str | None = None
) -> list[tuple[int, events.Raisable | KtError | None]]:
    """The drafts in a file: ``record`` (YAML or JSON), ``event`` (one, or NDJSON) or ``batch`` (NDJSON of either).

    A line that cannot be read or used becomes the BadInput that says why.
    """
    if kind == "record":
        return [(ALONE, _item(lambda: codec.load_yaml(data).value, False, provider, model))]
    if kind == "event":
        try:
            whole = codec.load_json(data)
        except codec.Malformed:
            pass
        else:
            return [(ALONE, _item(lambda: whole, True, provider, model))]
    return [
        (number, _item(lambda line=line: codec.load_json(line), kind == "event", provider, model))  # type: ignore[misc]
        for number, line in codec.json_lines(data)
    ]


def _item(
    read: Callable[[], Any], always_event: bool, provider: str | None, model: str | None
) -> events.Raisable | KtError | None:
    try:
        value = read()
        if always_event or (isinstance(value, dict) and events.is_event(value)):
            return events.from_event(value, provider=provider, model=model)
        return events.from_record(value, provider=provider, model=model)
    except (codec.Malformed, events.BadDraft) as error:
        return BadInput(problem=str(error))


def read_context(data: bytes) -> Any:
    """The event context in a JSON or YAML file. Raises BadInput."""
    try:
        return codec.load_yaml(data).value
    except codec.Malformed as error:
        raise BadInput(problem=str(error)) from None
