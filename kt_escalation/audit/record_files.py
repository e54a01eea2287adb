"""Reads the files of records: their changes by a commit, and the states of each record before and after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from ..git.objects import FILE, Object
from ..model.record import Record
from ..model.vocabulary import MAX_BYTES
from ..rules.judge_step import Violation
from ..storage import layout, yaml_text
from ..storage.clone import GitStore
from ..storage.trees import FileChange

QUEUE_FILES = f"{layout.QUEUE}/"
_NOT_CANONICAL = "is not in canonical form"
# At most so many contents are kept: each may be needed again as the state before the next step.
_REMEMBERED = 4_000


class Content(NamedTuple):
    """The content of a blob: a record or its fault, and the digest of what is shown, if known."""

    record: Record | None
    problem: str | None
    shown: str | None = None


class State(NamedTuple):
    """One file of a record: its place, and the record in it or its fault."""

    path: str
    mode: str
    oid: str
    record: Record | None
    problem: str | None
    shown: str | None = None

    @property
    def file(self) -> tuple[str, str, str]:
        """Path, mode and id, which identify this state."""
        return self.path, self.mode, self.oid


class RecordChanges(NamedTuple):
    """The changes of one record by a commit: files that were deleted or changed, and files that were added or changed."""

    olds: tuple[FileChange, ...]
    news: tuple[FileChange, ...]

    @property
    def path(self) -> str:
        """The path of one of the files: a new one if there is any."""
        return (self.news or self.olds)[0].path

    @property
    def before(self) -> frozenset[tuple[str, str, str]]:
        """The files before it."""
        return frozenset((change.path, change.old_mode, change.old or "") for change in self.olds)

    @property
    def after(self) -> frozenset[tuple[str, str, str]]:
        """The files after it."""
        return frozenset((change.path, change.new_mode, change.new or "") for change in self.news)


def record_at(path: str) -> str | None:
    """The id of the record that a path below the store's top is for, or None."""
    return layout.id_of(path) if path.startswith(QUEUE_FILES) else None


def by_record(changes: Iterable[FileChange]) -> dict[str, RecordChanges]:
    """The changes of record files, by id, in the order of ids."""
    found: dict[str, tuple[list[FileChange], list[FileChange]]] = {}
    for change in changes:
        name = record_at(change.path)
        if name is not None:
            olds, news = found.setdefault(name, ([], []))
            if change.old is not None:
                olds.append(change)
            if change.new is not None:
                news.append(change)
    ordered = sorted(found.items()) if len(found) > 1 else found.items()
    return {name: RecordChanges(tuple(olds), tuple(news)) for name, (olds, news) in ordered}


class Contents:
    """Reads the records in blobs, many at a time, and keeps the newest few thousand."""

    def __init__(self, store: GitStore) -> None:
        self._store = store
        self._known: dict[str, Content] = {}
        #: The ids that records of this run name as the ones that they reopen, legal or not.
        self.reopened: set[str] = set()
        self._states: dict[tuple[str, str, str], State] = {}

    def learn(self, changes: Iterable[FileChange]) -> None:
        """Read the contents of files before and after some changes, if they are not known yet."""
        if len(self._known) > _REMEMBERED:
            self._known = dict(list(self._known.items())[-_REMEMBERED // 2 :])
            self._states.clear()
        wanted = {
            oid: None
            for change in changes
            if record_at(change.path)
            for oid in (change.old, change.new)
            if oid is not None and oid not in self._known
        }
        self._read(list(wanted))

    def _read(self, oids: Sequence[str]) -> None:
        found = self._store.repository.objects.get(oids, MAX_BYTES)
        contents = [content(one) for one in found]
        self.reopened.update(one.record.reopens for one in contents if one.record and one.record.reopens)
        self._known.update(zip(oids, contents, strict=True))

    def state(self, path: str, mode: str, oid: str) -> State:
        """The state of the file at a path."""
        key = path, mode, oid
        if key not in self._states:
            self._states[key] = self._state(*key)
        return self._states[key]

    def _state(self, path: str, mode: str, oid: str) -> State:
        if mode != FILE:
            return State(path, mode, oid, None, f"is no plain file (mode {mode})")
        if oid not in self._known:
            self._read([oid])
        known = self._known[oid]
        wrong = known.problem
        if known.record is not None:
            wrong = layout.misplaced(known.record, path) or wrong
        return State(path, mode, oid, known.record, wrong, known.shown)

    def sides(self, sides: RecordChanges) -> tuple[list[State], list[State]]:
        """The files of a record before and after a commit."""
        return (
            [self.state(change.path, change.old_mode, change.old or "") for change in sides.olds],
            [self.state(change.path, change.new_mode, change.new or "") for change in sides.news],
        )


def content(found: Object | None) -> Content:
    """The content of a blob."""
    if found is None or found.kind != "blob":
        return Content(None, "is no plain file")
    if found.data is None:
        return Content(None, f"is larger than {MAX_BYTES // 1024} KiB")
    reading = yaml_text.canonical_reading(found.data)
    if reading is not None:
        # Only a claimed record can be decided.
        return Content(reading.record, None, reading.shown if reading.record.status == "claimed" else None)
    try:
        return Content(yaml_text.from_yaml(found.data), _NOT_CANONICAL)
    except yaml_text.Malformed as error:
        return Content(None, str(error))


def faults(news: Sequence[State]) -> Iterator[tuple[str, Violation]]:
    """The faults of files by themselves, by path."""
    for state in news:
        if state.problem:
            rule = "canonical" if state.problem == _NOT_CANONICAL else "file"
            yield state.path, Violation(rule, f"expected a record where it belongs: {state.problem}")


def lease_of(state: State | None) -> datetime | None:
    """The end of the lease of a claimed record, else None."""
    record = state.record if state is not None else None
    return record.claim.expires_at if record and record.claim and record.status == "claimed" else None


def claim_of(state: State) -> str:
    """The claim id of a claimed record, else empty."""
    record = state.record
    return record.claim.claim_id if record and record.claim and record.status == "claimed" else ""
