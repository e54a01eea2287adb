"""Chooses the files that a compaction moves into archives, and builds the archives. See docs/compaction.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import NamedTuple

from ..frozen import dataclass
from ..git.objects import FILE, TreeEntry, chunks
from ..model import archive_file
from ..model.archive_file import ArchiveChanges, Batch, Member, NewArchive
from ..model.progress import counted
from . import commits, layout
from .clone import GitStore
from .commits import Commit
from .interface import Invalid
from .reader import READING, refused, release
from .snapshot import GitSnapshot
from .snapshot_files import File, SnapshotFiles

# How many files are read at once to find those that can be archived.
_AT_ONCE = 500


class Fit(NamedTuple):
    """A file that can be archived: its size, and the earliest time if it cannot be archived yet."""

    size: int
    since: datetime | None = None


#: What is known about files, by path and blob id: that they fit, or why they cannot be archived.
Known = dict[tuple[str, str], Fit | str]


@dataclass(frozen=True)
class Compaction:
    """What one compaction does. ``more``: another one is needed after it. ``left``: the files that stay as they are."""

    batches: tuple[Batch, ...]
    more: bool
    left: tuple[Invalid, ...]

    @property
    def names(self) -> list[str]:
        """The ids of the escalations whose records or releases are archived, each once, in order."""
        return sorted({member.escalation_id for batch in self.batches for member in batch.members})

    @property
    def months(self) -> Mapping[str, int]:
        """How many records and releases of each month are archived, in order."""
        return Counter(batch.name.month for batch in self.batches for _ in batch.members)

    @property
    def paths(self) -> Mapping[str, int]:
        """How many files each new archive holds, by path below the store's top."""
        return {layout.archive_path(batch.name): len(batch.members) for batch in self.batches}


def planned(
    store: GitStore, snapshot: GitSnapshot, limit: datetime, now: datetime, known: Known
) -> Compaction:
    """The compaction at ``now`` of the months that end before ``limit``.

    A release without a final receipt waits for one, see `Release.closed_at`. ``known`` is filled, so that the
    next call reads only files that are new.
    """
    members: list[Member] = []
    left: list[Invalid] = []
    parts = snapshot.files
    highest = layout.last_archives(path for path, _ in (*parts.below_resolved, *parts.below_released))
    for kind, every in _KINDS.items():
        files = [
            (month, path, entry)
            for path, entry in every(parts)
            if (month := layout.month_of(path)) and archive_file.is_closed(month, limit)
        ]
        _look(store, snapshot, files, known)
        count = Counter(_name(path) for path, _ in every(parts))
        if kind == "resolved":
            count.update(snapshot.ids(resolved=False))
        for month, path, entry in files:
            fit, name = known[path, entry.oid], _name(path)
            if isinstance(fit, Fit) and (count[name] > 1 or snapshot.is_archived(name, kind)):
                fit = "is not the only file for its id"
            if isinstance(fit, str):
                left.append(Invalid(store.full(path), fit, name or None))
            elif fit.since is None or fit.since <= now:
                members.append(Member(month, name, path, entry.oid, fit.size, kind))
    found = archive_file.batches(members, highest)
    batches = tuple(islice(found, archive_file.MOST_ARCHIVES))
    return Compaction(batches, next(found, None) is not None, tuple(left))


_KINDS: Mapping[archive_file.ArchiveKind, Callable[[SnapshotFiles], Sequence[File]]] = {
    "resolved": lambda parts: parts.resolved_files,
    "released": lambda parts: parts.released_files,
}


def _name(path: str) -> str:
    return layout.id_of(path) or layout.released_id(path) or ""


def files_of(store: GitStore, snapshot: GitSnapshot, batches: Sequence[Batch]) -> dict[str, bytes | None]:
    """The files of the commit: those of each archive are written, and those of its records are deleted."""
    files: dict[str, bytes | None] = {}
    for batch in batches:
        read = dict(snapshot.blobs([member.oid for member in batch.members]))
        pieces = [data for member in batch.members if isinstance(data := read[member.oid], bytes)]
        archive, beside = layout.both(batch.name)
        files[store.full(archive)] = archive_file.write(pieces)
        names = [member.escalation_id for member in batch.members]
        files[store.full(beside)] = archive_file.write_ids(names)
        files.update((store.full(member.path), None) for member in batch.members)
    return files


def done_by(store: GitStore, commit: Commit, parent: GitSnapshot | None) -> ArchiveChanges:
    """A commit's changes to archives, and to files that it may have moved into them."""
    parts: dict[str, str | None] = {}
    changed: list[str] = []
    deleted: dict[str, str] = {}
    others: list[str] = []
    for change in commit.changes:
        if layout.archive_at(change.path):
            if change.old is not None or change.new is None:
                changed.append(change.path)
            else:
                parts[change.path] = change.new if change.new_mode == FILE else None
        elif change.new is None and change.old is not None and layout.month_of(change.path):
            deleted[change.path] = change.old
        else:
            others.append(change.path)
    names = {replace(name, is_ids=False) for name in map(layout.archive_at, parts) if name}
    made = []
    for name in names:
        path, beside = layout.both(name)
        made.append(
            NewArchive(
                name, path, partial(store.reader.archived.contents, parts.get(path), parts.get(beside))
            )
        )
    files = parent.files if parent else None
    there = (*files.below_resolved, *files.below_released) if files else ()
    highest = layout.last_archives(path for path, _ in there)
    return ArchiveChanges(made, deleted, highest, changed, others)


def without_moved(store: GitStore, commit: Commit) -> Commit:
    """A commit's changes without the files that it moved into archives byte for byte."""
    if not commits.touches_archives(commit):
        return commit
    verdict = archive_file.judge(done_by(store, commit, None), commit.committed_at, store.reader.blob_of)
    return commits.without(commit, verdict.moved)


def _look(
    store: GitStore, snapshot: GitSnapshot, files: Sequence[tuple[str, str, TreeEntry]], known: Known
) -> None:
    """Read the files that are not known yet, a few at a time."""
    unknown = [(path, entry) for _, path, entry in files if (path, entry.oid) not in known]
    for some in chunks(counted(store.progress, READING, unknown, len(unknown)), _AT_ONCE):
        read = dict(snapshot.blobs([entry.oid for _, entry in some]))
        for path, entry in some:
            known[path, entry.oid] = _fit(store, path, entry, read[entry.oid])


def _fit(store: GitStore, path: str, entry: TreeEntry, data: bytes | str) -> Fit | str:
    """The size of a file that can be archived, else the reason why it cannot."""
    is_release = layout.released_id(path) is not None
    problem = refused(path, entry, is_release=is_release)
    if problem or isinstance(data, str):
        return problem or str(data)
    since = None
    if is_release:
        used = release(data)
        if isinstance(used, str):
            return used
        since = used.closed_at
    else:
        found = store.reader.parse(path, entry.oid, data)
        if isinstance(found, Invalid):
            return found.error
    return archive_file.why_unfit(data) or Fit(len(data), since)
