"""A reviewer's actions at the desk, as the use cases of `Store`, and the claims that the desk has made."""

from __future__ import annotations

import secrets
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import KtError, Usage
from ..frozen import dataclass
from ..model import canonical
from ..model.query import Query
from ..model.vocabulary import AMENDING, parse_outcome
from ..reporting import facts
from .figures import FiguresCache

if TYPE_CHECKING:
    from ..model.record import Record
    from ..model.summary import RecordSummary
    from ..results import Found, Moment, Result
    from ..rules.available_actions import AvailableAction
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

AlikeKey = tuple[str | None, str, str | None]


@dataclass(frozen=True)
class Alike:
    """One of several similar escalations: the record, the digest of what is shown, and the actions of the caller."""

    record: Record
    shown: str
    can_claim: bool
    can_resolve: bool


@dataclass(frozen=True)
class Typed:
    """The text that a reviewer has typed. It is shown again if the action failed."""

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
        """Read the fields of a form. Browsers end lines with CRLF. The outcome may be any of its words."""
        texts = {name: values[0].replace("\r\n", "\n") for name, values in form.items()}
        with suppress(KeyError, ValueError):
            # An unknown outcome is kept, and refused later with the list of outcomes.
            texts["outcome"] = parse_outcome(texts["outcome"])
        return Typed(**{name: texts[name] for name in Typed.__dataclass_fields__ if name in texts})

    @property
    def texts(self) -> Iterable[str]:
        """The texts that would be lost."""
        return filter(None, (self.reason, self.note, self.why))


@dataclass(frozen=True)
class Shown:
    """An escalation as the desk shows it: the result of `get`, and the caller's available actions."""

    found: Found
    actions: Mapping[str, AvailableAction]
    refusals: Mapping[str, KtError]
    problem: str | None = None

    @property
    def record(self) -> Record:
        return self.found.record

    @property
    def state(self) -> str:
        """A value that changes whenever the page would change."""
        return f"{self.found.blob} {' '.join(self.actions)}"


@dataclass(frozen=True)
class QueuePage:
    """A page of the queue, the number of similar open escalations for each row, and the unreadable files."""

    rows: tuple[RecordSummary, ...]
    alike: Mapping[str, int]
    next_cursor: str | None
    invalid: tuple[Any, ...]
    revision: str


@dataclass
class Desk:
    """A reviewer's desk over one store. Several pages may use it at once."""

    store: Store
    figures: FiguresCache
    #: The claims that the desk has made and that are not ended: claim ids by escalation id.
    taken: dict[str, str] = field(default_factory=dict)
    # Claims whose answer was lost, so that their escalations are unknown.
    _unknown: set[str] = field(default_factory=set)
    _claiming: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    # --- looking ----------------------------------------------------------------------------------

    def queue(self, view: str, words: str = "", cursor: str | None = None) -> QueuePage:
        """A page of a view, with only the rows that contain all the words. Raises BadInput."""
        query = replace(VIEWS[view], words=words or None, limit=PAGE, cursor=cursor)
        found = self.store.rows(query)
        counts = Counter(map(_kind, found.snapshot.rows(resolved=False)[0]))
        alike = {
            row.escalation_id: counts[_kind(row)] if _is_kind(_kind(row)) else 1 for row in found.page.rows
        }
        revision = found.snapshot.revision
        return QueuePage(found.page.rows, alike, found.page.next_cursor, found.invalid, revision)

    def shown(self, escalation_id: str) -> Shown:
        """An escalation, and the available actions. Raises NotFound, UnreadableRecord, BadInput."""
        found = self.store.get(escalation_id)
        try:
            actions = self.store.available_actions(found)
        except KtError as error:
            return Shown(found, {}, {}, error.message)
        possible = {one.action: one for one in actions if one.refusal is None}
        return Shown(found, possible, {one.action: one.refusal for one in actions if one.refusal})

    def alike(self, escalation_id: str) -> Sequence[Alike]:
        """The open escalations with the same policy, reason code and model, in the queue's order, including this one."""
        kind = _kind(self.store.get(escalation_id).record)
        if not _is_kind(kind):
            return self.several([escalation_id])
        same = (row.escalation_id for row in self.store.rows(Query()).page.rows if _kind(row) == kind)
        return self.several(tuple(islice(same, MOST_ALIKE)))

    def several(self, escalation_ids: Iterable[str]) -> Sequence[Alike]:
        """The given escalations that are open, with the caller's available actions on each."""
        query = Query(escalation_ids=frozenset(escalation_ids))
        if not query.escalation_ids:
            return ()
        found = self.store.rows(query)
        claimable, mine = (
            {row.escalation_id for row in self.store.rows(narrowed).page.rows}
            for narrowed in (replace(query, claimable=True), replace(query, mine=True))
        )
        records = [entry.record for entry in found.snapshot.entries(found.page.rows)]
        return [
            Alike(
                record,
                canonical.shown(record),
                record.escalation_id in claimable,
                record.escalation_id in mine,
            )
            for record in records
        ]

    def decided(self) -> Sequence[Moment]:
        """The caller's most recent decisions, newest first."""
        mine = (one for one in self.store.done_by_me() if one.action in ("resolve", "review"))
        return tuple(islice(mine, MOST_DECIDED))

    def reasons(self) -> Mapping[str, Sequence[str]]:
        """The texts for reasons from the settings, by category."""
        return {str(category): texts for category, texts in self.store.policies().settings.reasons.items()}

    # --- doing ------------------------------------------------------------------------------------

    def claim(self, escalation_ids: Sequence[str]) -> Result:
        """Claim several escalations in one commit.

        The desk gives them back at its end. Raises as `Store.claim_many`.
        """
        with self._new_claim() as token:
            # Recorded before the claim is made, so that the desk looks for it at its end even if the answer
            # is lost.
            before = self.taken
            self.taken = before | dict.fromkeys(escalation_ids, token)
            try:
                return self.store.claim_many(escalation_ids, claim_id=token)
            except KtError as error:
                if error.exit_code != _UNKNOWN:
                    self.taken = before
                raise

    def claim_next(self, passing: Sequence[str] = ()) -> Record:
        """Claim the next one in turn. Raises NothingToClaim."""
        with self._new_claim() as token:
            try:
                record = self.store.claim_next(claim_id=token, passing=passing).record
            except KtError as error:
                if error.exit_code == _UNKNOWN:
                    self._unknown.add(token)
                raise
            self.taken = self.taken | {record.escalation_id: token}
            return record

    @contextmanager
    def _new_claim(self) -> Iterator[str]:
        """The id for a new claim. Only one claim is made at a time, and none when the desk is closing."""
        with self._claiming:
            if self._closed:
                raise Usage(problem="the desk ends")
            yield secrets.token_hex(13)

    def renew(self, shown: Shown) -> Result:
        """Renew the lease."""
        return self.store.renew(shown.record.escalation_id, claim_id=_claim_id(shown.record))

    def unclaim(self, shown: Shown) -> Result:
        """Give the escalation back to the queue."""
        result = self.store.unclaim(shown.record.escalation_id, claim_id=_claim_id(shown.record))
        self._ended([shown.record.escalation_id])
        return result

    def note(self, shown: Shown, typed: Typed) -> Result:
        """Add a note."""
        return self.store.note(shown.record.escalation_id, typed.note.strip())

    def assign(self, shown: Shown, typed: Typed) -> Result:
        """Assign it to `team:NAME` or `user:NAME`. Without a roster, a team's name or a user's e-mail is enough."""
        kind, colon, name = typed.whom.strip().partition(":")
        if not colon:
            kind, name = "user" if "@" in kind else "team", kind
        if kind not in ("team", "user") or not name:
            raise Usage(problem="choose a team or a user")
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
        """Decide the escalation as it was shown. With ``dry_run``, only return the warnings, or raise the error."""
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
        """Give back all claims that the desk made and nobody decided, with a commit for each.

        Returns the error if one could not be given back.
        Waits for a claim that is under way, and lets no other claim begin.
        """
        with self._claiming:
            self._closed = True
        tokens = {*self.taken.values(), *self._unknown}
        if not tokens:
            return None
        try:
            rows = self.store.rows(Query(mine=True), fetch=True).page.rows
        except KtError as error:
            return self._stranded(error, self.taken)
        groups: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            if row.claim_id in tokens:
                groups[row.claim_id].append(row.escalation_id)
        failed: KtError | None = None
        for token, names in groups.items():
            try:
                self.store.unclaim_many(names, claim_id=token)
            except KtError as error:
                failed = self._stranded(error, dict.fromkeys(names, token))
            else:
                for name in names:
                    tell(f"{name} is back in the queue")
        return failed

    def _stranded(self, error: KtError, held: Mapping[str, str]) -> KtError:
        """The error that lists the commands to give back what may still be claimed."""
        commands = [f"`kt escalation unclaim {name} --claim-id {token}`" for name, token in held.items()]
        if self._unknown:
            commands.append("what `kt escalation list --mine --fetch` shows")
        error.unchanged, error.hint = "", f"give back what may still be yours: {', '.join(commands)}"
        return error

    def _ended(self, names: Iterable[str]) -> None:
        with self._claiming:
            self.taken = {name: token for name, token in self.taken.items() if name not in set(names)}


# The exit code of an action whose outcome could not be learnt.
_UNKNOWN = 9


def _kind(one: Record | RecordSummary) -> AlikeKey:
    return one.policy, one.reason_code, one.model


def _is_kind(kind: AlikeKey) -> bool:
    """Whether an escalation has enough keys to compare it with others. A reason code alone is not enough."""
    return kind[0] is not None or kind[2] is not None


def _claim_id(record: Record) -> str | None:
    return record.claim.claim_id if record.claim else None


def _required(typed: Typed) -> str:
    """The outcome, if an outcome and a reason are given."""
    if not typed.outcome:
        raise Usage(problem="choose an outcome")
    if not typed.reason.strip():
        raise Usage(problem="a decision needs a reason")
    return typed.outcome


def amendment_of(record: Record, typed: Typed) -> Any:
    """The reviewer's amendment, or None if the outcome or the record takes none."""
    from ..actions import amendments

    if typed.outcome not in AMENDING or typed.amendment is None:
        return None
    if record.action is None and typed.amendment == facts.text_of(facts.proposed(record)):
        return None
    schema = (record.action.edit_schema if record.action else None) or {}
    # If only JSON fits, faulty JSON is not taken for a text.
    kind = schema.get("type", "string")
    media_type = amendments.JSON_TYPE if isinstance(kind, str) and kind != "string" else None
    return amendments.read(typed.amendment.encode("utf-8", "surrogatepass"), media_type)
