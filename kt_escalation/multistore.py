"""Several stores as one queue: `list` merges them, `claim --next` takes the most urgent of all.

See docs/many-stores.md. Each is an ordinary store. They are opened and read one after the other. If a store
cannot be read, the others still are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from .actions.listing import Rows
from .errors import BadInput, Interrupted, KtError, NotAStore, NothingToClaim, OutcomeUnknown
from .frozen import dataclass
from .git.repository import user_paths
from .model import query
from .model.query import Key, Page, Query
from .model.summary import RecordSummary
from .read_store import ReadStore
from .storage.interface import Invalid, Progress

if TYPE_CHECKING:
    from .actions.options import OpenOptions
    from .model.record import Record
    from .results import Result
    from .store import Store


# After these errors nothing more may be claimed: one may be claimed already, or the user has stopped.
_ENDING = (OutcomeUnknown, Interrupted)


class StoreFault(NamedTuple):
    """A store that could not be read: its path, and the error."""

    store: str
    error: KtError


class Listed(NamedTuple):
    """A row of a listing.

    ``store`` is set if several stores are listed, ``plain`` (the whole record) if it was asked for, and
    ``proposed`` if this clone knows a branch that proposes an action on it.
    """

    store: str | None
    row: RecordSummary
    plain: dict[str, Any] | None
    proposed: str | None = None


@dataclass(frozen=True)
class MergedListing:
    """A page of one or several stores: rows in order, unreadable files, and stores that could not be read.

    ``hint`` says why the page may be empty, if that is known. ``ages`` has the age of each store that is not
    fresh.
    """

    rows: Sequence[Listed]
    next_cursor: str | None
    invalid: Sequence[tuple[str | None, Invalid]]
    faults: Sequence[StoreFault] = ()
    hint: str | None = None
    ages: Sequence[tuple[str | None, str]] = ()


@dataclass(frozen=True)
class Taken:
    """The claimed escalations of each store, most urgent first, and the stores where claiming failed."""

    results: Sequence[tuple[str, Result]]
    faults: Sequence[StoreFault]


def of_the_user() -> Sequence[str]:
    """The stores that the user's own git configuration names, `kt.store`. Raises BadInput, GitFailed."""
    found = user_paths("kt.store")
    for path in found:
        if not Path(path).is_absolute():
            raise BadInput(
                problem=f"kt.store is {path!r} in your git configuration; give the whole path, or one that begins with ~/"
            )
    return found


def is_in_one(folder: str) -> bool:
    """Whether a folder is in a store, as far as is known without asking a remote."""
    try:
        with ReadStore.open(folder) as store:
            store.revision()
    except NotAStore:
        return False
    except KtError:
        # Something is wrong with it. The error comes when it is used.
        return True
    return True


@dataclass(frozen=True)
class ListOptions:
    """How stores are listed.

    ``whole`` adds the records as plain values, ``marks`` the open proposals. With ``ask`` the remotes are asked
    for at most so many seconds together (0: not at all), and a store that is not fresh gets an age.
    """

    rev: str | None
    fetch: bool
    whole: bool
    marks: bool = False
    ask: float | None = None
    progress: Progress | None = None

    def read(
        self, path: str, wanted: Query, ask: float | None, name: str | None = None
    ) -> tuple[Rows, Sequence[Listed], str | None]:
        """One store's rows, the same under the store's name, and its age if it is not fresh."""
        with ReadStore.open(path, progress=self.progress) as store:
            old = store.freshen(ask) if ask is not None else None
            found = store.rows(wanted, rev=self.rev, fetch=self.fetch)
            rows = found.page.rows
            plain = found.plain() if self.whole else [None] * len(rows)
            proposed = store.proposed(found.snapshot.revision) if self.marks and rows else {}
            pairs = zip(rows, plain, strict=True)
            listed = [Listed(name, row, record, proposed.get(row.escalation_id)) for row, record in pairs]
        return found, listed, old


def one(path: str, wanted: Query, how: ListOptions) -> MergedListing:
    """The page of one store. Its rows do not name the store. Raises as `ReadStore.rows`."""
    found, rows, old = how.read(path, wanted, how.ask)
    invalid = [(None, item) for item in found.invalid]
    ages = [(None, old)] if old else []
    return MergedListing(rows, found.page.next_cursor, invalid, hint=found.hint, ages=ages)


def several(paths: Iterable[str], wanted: Query, how: ListOptions) -> MergedListing:
    """The page of all stores. Raises BadInput for a query that no store could answer."""
    query.select((), replace(wanted, place=(0,)))
    pages: dict[int, Page] = {}
    listed: dict[tuple[int, str], Listed] = {}
    invalid: list[tuple[str | None, Invalid]] = []
    faults: list[StoreFault] = []
    hints: set[str | None] = set()
    ages: list[tuple[str | None, str]] = []
    until = time.monotonic() + (how.ask or 0)
    for place, path in enumerate(paths):
        ask = max(until - time.monotonic(), 0) if how.ask is not None else None
        try:
            found, rows, old = how.read(path, replace(wanted, place=(place,)), ask, path)
        except KtError as error:
            faults.append(StoreFault(path, error))
            continue
        pages[place] = found.page
        ages += [(path, old)] if old else []
        hints.add(found.hint)
        listed |= {(place, item.row.escalation_id): item for item in rows}
        invalid += [(path, item) for item in found.invalid]
    merged, cursor = query.merge(pages, wanted)
    page = [listed[place, row.escalation_id] for place, row in merged]
    # If one store lists the team, the others need not.
    hint = None if page or None in hints else "; ".join(filter(None, hints))
    return MergedListing(page, cursor, invalid, faults, hint or None, ages)


def claim_next(
    paths: Iterable[str],
    *,
    team: str | None = None,
    count: int = 1,
    claim_id: str | None = None,
    **options: Unpack[OpenOptions],
) -> Taken:
    """Claim the next ``count`` escalations of all stores, the most severe first, then the oldest.

    There is one commit for each store. If a store loses an escalation to somebody else, it is asked again,
    and the choice is repeated. An escalation that is already held under ``claim_id``, in any store, counts as
    a repeat. The other keywords are those of `Store.open`. Raises NothingToClaim, with the reason of each
    store, if all stores answered and none has an escalation to claim. If nothing was claimed and a store did
    not answer, its error is raised.
    """
    with ExitStack() as opened:
        stores = _Stores(opened, options, team, count, claim_id)
        for path in paths:
            stores.ask(path)
        stores.claim()
    if not stores.results:
        raise _why_none(stores.nothing, stores.faults)
    return Taken(stores.results, stores.faults)


@dataclass
class _Stores:
    """The stores of one `claim_next`: their next escalations, and what was claimed in them."""

    opened: ExitStack
    options: OpenOptions
    team: str | None
    count: int
    claim_id: str | None
    asked: dict[str, tuple[Store, Result]] = field(default_factory=dict)
    results: list[tuple[str, Result]] = field(default_factory=list)
    faults: list[StoreFault] = field(default_factory=list)
    nothing: dict[str, NothingToClaim] = field(default_factory=dict)

    def ask(self, path: str, store: Store | None = None) -> None:
        """Ask a store for its next escalations."""
        from .store import Store

        self.asked.pop(path, None)
        try:
            store = store or self.opened.enter_context(Store.open(path, **self.options))
            found = store.claim_next(team=self.team, count=self.count, claim_id=self.claim_id, dry_run=True)
            self.asked[path] = store, found
        except NothingToClaim as error:
            self.nothing[path] = error
        except KtError as error:
            self.faults.append(StoreFault(path, error))

    def claim(self) -> None:
        """Claim the most urgent escalations, until there are enough or none is left."""
        repeats = {path: both for path, both in self.asked.items() if both[1].unchanged}
        if repeats:
            self.asked, self.count = repeats, sum(len(both[1].records) for both in repeats.values())
        left = self.count
        try:
            while left and self.asked:
                path, turns = self._best(left)
                left -= self._claim_in(path, turns)
                if self.faults and self.faults[-1].store == path and ending(self.faults[-1:]):
                    return
        except KeyboardInterrupt:
            if not self.results:
                raise
            self.faults.append(StoreFault(path, Interrupted()))

    def _claim_in(self, path: str, turns: Sequence[Key]) -> int:
        """Claim the escalations with these turns in one store. Returns how many were claimed."""
        store, _ = self.asked[path]
        try:
            result = store.claim_next(
                team=self.team, count=len(turns), claim_id=self.claim_id, until=turns[-1]
            )
        except NothingToClaim:
            self.ask(path, store)
            return 0
        except KtError as error:
            self.faults.append(StoreFault(path, error))
            del self.asked[path]
            return 0
        del self.asked[path]
        self.results.append((path, result))
        return len(result.records)

    def _best(self, left: int) -> tuple[str, Sequence[Key]]:
        """The store with the most urgent escalation, and its turns among the next ``left``."""
        found = ((path, record) for path, (_, result) in self.asked.items() for record in result.records)
        turns = sorted((_turn(record), path) for path, record in found)
        first = turns[0][1]
        return first, [turn for turn, path in turns[:left] if path == first]


def _turn(record: Record) -> Key:
    from .model.summary import summary_of

    return query.turn(summary_of(record, "", ""))


def _why_none(nothing: Mapping[str, NothingToClaim], faults: Sequence[StoreFault]) -> KtError:
    """The error if nothing was claimed. A store that did not answer may still have escalations."""
    reasons = {path: error.why for path, error in nothing.items()}
    if not faults:
        why = "; ".join(f"in {path}: {reason}" for path, reason in reasons.items())
        told = [{"store": path, **error.facts} for path, error in nothing.items()]
        return NothingToClaim(why=why, stores=told)
    told_by = ending(faults) or faults[0]
    reasons |= {path: error.summary for path, error in faults if path != told_by.store}
    error = in_store(*told_by)
    if reasons:
        error.besides = "; ".join(f"in {path}: {reason}" for path, reason in reasons.items())
        error.says += " (besides, {besides})"
    return error


def ending(faults: Sequence[StoreFault]) -> StoreFault | None:
    """The fault that ended the search. It decides the error of the whole call."""
    return next((fault for fault in faults if isinstance(fault.error, _ENDING)), None)


def in_store(path: str, error: KtError) -> KtError:
    """The error, with the path of its store."""
    error.store = path
    error.says = f"{{store}}: {error.says}"
    return error
