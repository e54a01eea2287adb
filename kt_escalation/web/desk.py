"""What a reviewer does at the desk, as the use cases of `Store`, and what the desk has claimed meanwhile."""

from __future__ import annotations

import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import KtError, Usage
from ..model.query import Query
from ..model.vocabulary import AMENDING
from ..reporting import facts

if TYPE_CHECKING:
    from ..model.record import Record
    from ..model.summary import Row
    from ..results import Found, Moment, Result
    from ..rules.available_actions import Move
    from ..store import Store

#: The views of the queue, each with its query.
VIEWS: Mapping[str, Query] = {
    "claimable": Query(claimable=True),
    "mine": Query(mine=True),
    "overdue": Query(overdue=True),
    "all": Query(),
}
PAGE = 50
# The most decisions on their page, and the most alike ones that are claimed or decided together.
MOST_DECIDED, MOST_ALIKE = 50, 100

Alike = tuple[str | None, str, str | None]


@dataclass(frozen=True)
class Typed:
    """What a reviewer has typed so far. It is shown again whenever nothing could be done with it."""

    outcome: str = ""
    reason: str = ""
    category: str = ""
    amendment: str | None = None
    shown: str = ""
    note: str = ""
    whom: str = ""
    why: str = ""

    @staticmethod
    def of(form: Mapping[str, list[str]]) -> Typed:
        """The fields of a form. A browser writes each line's end as CRLF."""
        texts = {name: values[0].replace("\r\n", "\n") for name, values in form.items()}
        return Typed(**{name: texts[name] for name in Typed.__dataclass_fields__ if name in texts})

    @property
    def texts(self) -> Iterable[str]:
        """What would be a loss."""
        return filter(None, (self.reason, self.note, self.why))


@dataclass(frozen=True)
class Shown:
    """An escalation as the desk shows it: what `get` has, and what the caller may do by `available_actions`."""

    found: Found
    moves: Mapping[str, Move]
    refusals: Mapping[str, KtError]
    problem: str | None = None

    @property
    def record(self) -> Record:
        return self.found.record

    @property
    def can_claim(self) -> bool:
        """Whether the caller may claim it now."""
        return "claim" in self.moves

    @property
    def can_resolve(self) -> bool:
        """Whether the caller holds it and may decide it."""
        return "resolve" in self.moves

    @property
    def state(self) -> str:
        """What changes whenever the page would."""
        return f"{self.found.blob} {' '.join(self.moves)}"


@dataclass(frozen=True)
class QueuePage:
    """A page of the queue, how many are alike each row, and the files that cannot be read."""

    rows: tuple[Row, ...]
    alike: Mapping[str, int]
    next_cursor: str | None
    invalid: tuple[Any, ...]
    revision: str


@dataclass
class Desk:
    """A reviewer's desk over one store. Several pages may use it at once."""

    store: Store
    path: str
    #: The claims that were made here and not ended here: the claim's id by escalation id.
    taken: dict[str, str] = field(default_factory=dict)
    # Claims whose answer was lost, so that nobody knows yet of what.
    _unknown: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # --- looking ----------------------------------------------------------------------------------

    def queue(self, view: str, words: str = "", cursor: str | None = None) -> QueuePage:
        """A page of a view, narrowed to rows with all the words. Raises BadInput."""
        query = replace(VIEWS.get(view, VIEWS["all"]), words=words or None, limit=PAGE, cursor=cursor)
        found = self.store.rows(query)
        entries = found.snapshot.entries(found.page.rows)
        kinds = {entry.record.escalation_id: _kind(entry.record) for entry in entries}
        counts: dict[Alike, int] = defaultdict(int)
        for kind in kinds.values():
            counts[kind] += 1
        alike = {name: counts[kind] for name, kind in kinds.items()}
        revision = found.snapshot.revision
        return QueuePage(found.page.rows, alike, found.page.next_cursor, found.invalid, revision)

    def shown(self, escalation_id: str, *, fetch: bool = False) -> Shown:
        """An escalation and what may be done with it. Raises NotFound, UnreadableRecord, BadInput."""
        found = self.store.get(escalation_id, fetch=fetch)
        try:
            moves = self.store.moves(found)
        except KtError as error:
            return Shown(found, {}, {}, error.message)
        possible = {move.action: move for move in moves if move.refusal is None}
        return Shown(found, possible, {move.action: move.refusal for move in moves if move.refusal})

    def alike(self, escalation_id: str) -> Sequence[Shown]:
        """The open ones with the same policy, reason code and model, itself among them, in the queue's order."""
        kind = _kind(self.store.get(escalation_id).record)
        rows = self.store.rows(Query())
        same = [row for row in rows.page.rows if row.reason_code == kind[1]]
        names = [
            entry.record.escalation_id for entry in rows.snapshot.entries(same) if _kind(entry.record) == kind
        ]
        return [self.shown(name) for name in names[:MOST_ALIKE]]

    def decided(self) -> Sequence[tuple[Moment, str | None]]:
        """The caller's own decisions, newest first, each with the summary of its escalation."""
        me, found = self.store.actor(), []
        for moment in self.store.log():
            if moment.action in ("resolve", "review") and moment.actor == me and moment.escalation_id:
                found.append((moment, self._summary(moment.escalation_id)))
                if len(found) == MOST_DECIDED:
                    break
        return found

    def _summary(self, escalation_id: str) -> str | None:
        try:
            record = self.store.get(escalation_id).record
        except KtError:
            return None
        return record.summary or record.reason_code

    def reasons(self) -> Mapping[str, Sequence[str]]:
        """The texts of the settings that a reason may begin with, by category."""
        return {str(category): texts for category, texts in self.store.policies().settings.reasons.items()}

    # --- doing ------------------------------------------------------------------------------------

    def claim(self, escalation_ids: Sequence[str]) -> Result:
        """Claim some in one commit, and remember to give them back. Raises as `Store.claim_many`."""
        token = secrets.token_hex(13)
        # Remembered before it is done: whatever becomes of the answer, the end of the desk gives it back.
        with self._lock:
            before = {name: self.taken.get(name) for name in escalation_ids}
            self.taken |= dict.fromkeys(escalation_ids, token)
        try:
            result = self.store.claim_many(escalation_ids, claim_id=token)
        except KtError as error:
            if error.exit_code != _UNKNOWN:
                with self._lock:
                    for name, known in before.items():
                        self._restore(name, known)
            raise
        return result

    def claim_next(self, passing: Sequence[str] = ()) -> Record:
        """Claim the next one in turn. Raises NothingToClaim."""
        token = secrets.token_hex(13)
        try:
            record = self.store.claim_next(claim_id=token, passing=passing).record
        except KtError as error:
            if error.exit_code == _UNKNOWN:
                self._unknown.add(token)
            raise
        with self._lock:
            self.taken[record.escalation_id] = token
        return record

    def renew(self, shown: Shown) -> Result:
        """Begin the lease again."""
        return self.store.renew(shown.record.escalation_id, claim_id=_claim_id(shown.record))

    def unclaim(self, shown: Shown) -> Result:
        """Give it back to the queue."""
        result = self.store.unclaim(shown.record.escalation_id, claim_id=_claim_id(shown.record))
        self._ended([shown.record.escalation_id])
        return result

    def note(self, shown: Shown, typed: Typed) -> Result:
        """Add a note."""
        return self.store.note(shown.record.escalation_id, typed.note.strip())

    def assign(self, shown: Shown, typed: Typed) -> Result:
        """Hand it on to `team:NAME` or `user:NAME`."""
        kind, _, name = typed.whom.partition(":")
        if kind not in ("team", "user") or not name:
            raise Usage(problem="choose to whom it goes")
        result = self.store.assign(
            shown.record.escalation_id,
            typed.why.strip(),
            team=name if kind == "team" else None,
            user=name if kind == "user" else None,
            claim_id=_claim_id(shown.record),
        )
        self._ended([shown.record.escalation_id])
        return result

    def resolve(self, shown: Shown, typed: Typed, *, dry_run: bool) -> Result:
        """Decide it as it was shown; with ``dry_run`` only say what would be refused, and what to know before."""
        record = shown.record
        result = self.store.resolve(
            record.escalation_id,
            _required(typed),
            typed.reason.strip(),
            category=typed.category or None,
            claim_id=_claim_id(record),
            shown=typed.shown,
            amendment=amendment_of(record, typed),
            dry_run=dry_run,
        )
        if not dry_run:
            self._ended([record.escalation_id])
        return result

    def resolve_alike(self, digests: Mapping[str, str], typed: Typed, *, dry_run: bool) -> Result:
        """Decide several in one commit, each as it was shown: ``digests`` by escalation id."""
        if not digests:
            raise Usage(problem="choose at least one of them")
        outcome = _required(typed)
        if outcome in AMENDING:
            raise Usage(problem=f"{outcome} changes each request in its own way: decide them one by one")
        result = self.store.resolve_many(
            list(digests),
            outcome,
            typed.reason.strip(),
            category=typed.category or None,
            shown=digests,
            dry_run=dry_run,
        )
        if not dry_run:
            self._ended(digests)
        return result

    # --- the end ----------------------------------------------------------------------------------

    def give_back(self, tell: Callable[[str], None]) -> KtError | None:
        """Give back what was claimed here and not decided, a commit for each claim. The error that prevented it."""
        groups: dict[str, list[str]] = defaultdict(list)
        for name, token in self.taken.items():
            groups[token].append(name)
        failed = self._find_unknown(groups) if self._unknown else None
        for token, names in groups.items():
            names = [name for name in names if self._still_held(name, token)]
            if not names:
                continue
            try:
                self.store.unclaim_many(names, claim_id=token, partial=True)
            except KtError as error:
                listed = " ".join(names)
                error.hint = f"give them back with `kt escalation unclaim {listed} --claim-id {token}`"
                failed = error
            else:
                for name in names:
                    tell(f"{name} is back in the queue")
        return failed

    def _find_unknown(self, groups: dict[str, list[str]]) -> KtError | None:
        """Add the claims whose answer was lost. The error that prevented it."""
        try:
            rows = self.store.rows(Query(mine=True), fetch=True).page.rows
        except KtError as error:
            error.hint = "see with `kt escalation list --mine --fetch` what you hold, and give it back"
            return error
        for row in rows:
            if row.claim_id in self._unknown:
                groups[row.claim_id].append(row.escalation_id)
        return None

    def _still_held(self, escalation_id: str, token: str) -> bool:
        """Whether the claim is still there as far as is known here. If that cannot be read, it may be."""
        try:
            claim = self.store.get(escalation_id).record
        except KtError:
            return True
        return claim.status == "claimed" and claim.claim is not None and claim.claim.claim_id == token

    def _ended(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                self.taken.pop(name, None)

    def _restore(self, name: str, known: str | None) -> None:
        if known is None:
            self.taken.pop(name, None)
        else:
            self.taken[name] = known


# The exit code of an action whose outcome could not be learnt.
_UNKNOWN = 9


def _kind(record: Record) -> Alike:
    return record.policy, record.reason_code, record.model


def _claim_id(record: Record) -> str | None:
    return record.claim.claim_id if record.claim else None


def _required(typed: Typed) -> str:
    """The outcome, if both it and a reason are given."""
    if not typed.outcome:
        raise Usage(problem="choose an outcome")
    if not typed.reason.strip():
        raise Usage(problem="a decision needs a reason")
    return typed.outcome


def amendment_of(record: Record, typed: Typed) -> Any:
    """What the reviewer made of what is proposed, None if the outcome or the record takes none."""
    from ..actions import amendments

    if typed.outcome not in AMENDING or typed.amendment is None:
        return None
    if record.action is None and typed.amendment == facts.text_of(facts.proposed(record)):
        return None
    return amendments.read(typed.amendment.encode("utf-8", "surrogatepass"))
