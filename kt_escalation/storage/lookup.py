"""Answers questions about a snapshot: which record an id names, who decided it, what reopens it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial

from ..errors import AmbiguousId, BadInput, NotFound, UnreadableRecord
from ..model import ids
from ..model.record import Record
from .clone import GitStore
from .interface import Entry, Invalid, Snapshot
from .snapshot import GitSnapshot

# Nobody reopens one request this often, one time after the other or each time again. Without a limit, a forger's long
# chain would be followed for each record in it.
_MOST_REOPENED = 32
# How long a reader waits for the remote, in seconds.
_FETCH_SECONDS = 30.0


def snapshot(store: GitStore, rev: str | None, *, fetch: bool) -> GitSnapshot:
    """The store at a revision, by default the newest that this clone knows. ``fetch`` asks the remote first."""
    if fetch:
        tip = store.newest(_FETCH_SECONDS)
        if rev is None:
            return tip
    return store.read(rev)


def existing(snapshot: Snapshot, escalation_id: str) -> Record | None:
    """The record with that id, or None. Raises UnreadableRecord."""
    found = snapshot.find(escalation_id)
    if isinstance(found, Invalid):
        raise UnreadableRecord(path=found.path, problem=found.error, escalation_id=escalation_id)
    return found.record if found else None


def record_of(snapshot: Snapshot, escalation_id: str | None) -> Record | None:
    """The record with that id, or None if there is none or it cannot be read."""
    found = snapshot.find(escalation_id) if escalation_id is not None else None
    return found.record if isinstance(found, Entry) else None


def entry(snapshot: Snapshot, escalation_id: str) -> Entry:
    """The record with that id, and its place. Raises NotFound, UnreadableRecord."""
    found = snapshot.find(escalation_id)
    if found is None:
        raise NotFound(escalation_id=escalation_id)
    if isinstance(found, Invalid):
        raise UnreadableRecord(path=found.path, problem=found.error, escalation_id=escalation_id)
    return found


def named(snapshot: Snapshot, text: str) -> str:
    """The whole id for a text: the text itself, or the only id that begins with it. Open escalations come first."""
    if ids.is_escalation_id(text) and snapshot.find(text) is not None:
        return text
    if not ids.is_prefix(text):
        if ids.is_escalation_id(text):
            raise NotFound(escalation_id=text)
        how = "give a whole one such as esc_abc123, or at least 4 characters after esc_"
        raise BadInput(problem=f"{text[:80]!r} is not a valid escalation id", hint=ids.how_to_give(text, how))
    for resolved in (False, True):
        fits = sorted(snapshot.ids(resolved=resolved, prefix=text))
        if len(fits) == 1:
            return fits[0]
        if fits:
            shown = ", ".join(fits[:5]) + (f" and {len(fits) - 5} more" if len(fits) > 5 else "")
            raise AmbiguousId(prefix=text, candidates=shown)
    raise NotFound(escalation_id=text)


def whole(snapshot: Snapshot, escalation_id: str) -> str:
    """The id of an existing escalation. Raises NotFound, or BadInput if the text is only the beginning of ids."""
    if snapshot.find(escalation_id) is not None:
        return escalation_id
    fits = [name for done in (False, True) for name in snapshot.ids(resolved=done, prefix=escalation_id)]
    if fits:
        more = f" and {len(fits) - 3} more" if len(fits) > 3 else ""
        raise BadInput(
            problem=f"{escalation_id} is not a whole id, but the beginning of {', '.join(fits[:3])}{more}",
            hint="give the whole id",
        )
    raise NotFound(escalation_id=escalation_id)


def deciders(snapshot: Snapshot, record: Record) -> tuple[str, ...]:
    """The people who decided what this escalation reopens, directly or through others. Raises UnreadableRecord."""
    return reviewers(record, lambda name: existing(snapshot, name))


def reviewers(record: Record, find: Callable[[str], Record | None]) -> tuple[str, ...]:
    """The people who reviewed any escalation that this one reopens, directly or through others.

    Whoever decided once may not decide again, however often the decision was reopened meanwhile. Empty unless two
    approvals are needed.
    """
    if record.requires.approvals < 2:
        return ()
    return tuple({review.reviewer: None for one in _origins(record, find) for review in one.reviews})


def _origins(record: Record, find: Callable[[str], Record | None]) -> Iterator[Record]:
    """The escalations that this one reopens, directly or through others, newest first.

    A forger can let records reopen each other in a circle. No legal chain is longer than the limit (`open_reopener`).
    """
    seen = {record.escalation_id}
    while record.reopens is not None and record.reopens not in seen and len(seen) <= _MOST_REOPENED:
        seen.add(record.reopens)
        origin = find(record.reopens)
        if origin is None:
            return
        yield origin
        record = origin


def reopeners(snapshot: Snapshot, escalation_id: str, *, but: str | None = None) -> Iterator[Record]:
    """The escalations, open or resolved, that reopen this one, directly or through others. ``but`` is left out.

    A forger can let records reopen each other in a circle; each is found once.
    """
    waiting, seen = [escalation_id], {escalation_id, but}
    while waiting:
        for record in snapshot.reopeners(waiting.pop()):
            if record.escalation_id not in seen:
                seen.add(record.escalation_id)
                waiting.append(record.escalation_id)
                yield record


def open_reopener(snapshot: Snapshot, escalation_id: str, *, but: str | None = None) -> Record | None:
    """The open escalation that reopens this one, directly or through others, or None. ``but`` is left out.

    The search is limited. If there are very many, or if this one stands for very many itself, the last one that was read is
    returned, open or not.
    """
    this = record_of(snapshot, escalation_id)
    for number, one in enumerate(_origins(this, partial(record_of, snapshot)) if this else (), start=1):
        if number == _MOST_REOPENED:
            return one
    for number, one in enumerate(reopeners(snapshot, escalation_id, but=but), start=1):
        if one.resolution is None or number == _MOST_REOPENED:
            return one
    return None


def effective_reopening(reopeners: Iterable[Record], suspect: Container[str] = ()) -> Record | None:
    """The reopening that replaces the decision on the original, or None: the newest open one, else the newest.

    A withdrawn reopening counts only if it is ``suspect``.
    """
    counting = [
        one
        for one in reopeners
        if one.resolution is None or one.resolution.outcome != "withdrawn" or one.escalation_id in suspect
    ]
    return max(
        counting,
        key=lambda one: (one.resolution is None, one.last_time, one.escalation_id),
        default=None,
    )
