"""The store at one commit: the records, the policies and what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..git.objects import TreeEntry, chunks
from ..model.progress import counted
from ..model.summary import RecordSummary, summary_of
from . import layout
from .finder import Finder
from .interface import Entry, Invalid, Used
from .listing import Listing
from .reader import READING, Reader
from .snapshot_files import File, SnapshotFiles

if TYPE_CHECKING:
    from ..model.archive_file import Kind
    from ..model.record import Record
    from ..model.release import Release
    from ..policies.policy_file import PolicyFile
    from .archives import Archive, Place

# When all files are read: how many at once, and how many records are remembered meanwhile.
_AT_ONCE = 500
_KEPT = 2_000


class GitSnapshot:
    """The store at one commit. Raises NotAStore if the commit has neither `queue/` nor `policies/`."""

    def __init__(self, reader: Reader, commit: str) -> None:
        self._reader = reader
        self._commit = commit
        found = reader.trees.folders(commit)
        if found is None or found == (None, None):
            raise reader.location.not_a_store(commit)
        self._queue_id, self._policies_id = found
        self.files = SnapshotFiles(reader, self._queue_id)
        self._finder = Finder(reader, self.files, commit)
        self._listing = Listing(reader, self.files, self._finder, self._queue_id)

    @property
    def revision(self) -> str:
        return self._commit

    @property
    def queue_id(self) -> str | None:
        """The tree id of `queue/`. It identifies every byte below it."""
        return self._queue_id

    @property
    def archives(self) -> tuple[Archive, ...]:
        """The archives, oldest month first."""
        return self.files.archives

    # --- all records ------------------------------------------------------------------------------

    def open(self) -> Iterator[Entry | Invalid]:
        rows, invalid = self._listing.open_rows(whole=True)
        yield from self.entries(rows)
        yield from invalid

    def resolved(self) -> Iterator[Entry | Invalid]:
        files = [*chunks(self.files.resolved_files, _AT_ONCE)]
        parts: list[Sequence[File] | Archive] = [*files, *self.archives]
        for part in counted(self._reader.progress, READING, parts, len(parts)):
            if isinstance(part, Sequence):
                yield from self._reader.read(part)
            else:
                yield from self._reader.archived.all_in(part)

    def everything(
        self, known: Mapping[str, Record] | None = None
    ) -> Iterator[tuple[str, TreeEntry, Entry | Used | Invalid | None]]:
        """Every file below `queue/` in git's order: its path, and its record or release, or None for a foreign file.

        ``known`` has records by blob id, which are not read again. An archive is listed once for each file in
        it. Unlike `open` and `resolved`, this keeps at most a few thousand records in memory.
        """
        if self._queue_id is None:
            return
        reader = self._reader
        repository, full = reader.repository, reader.location.full
        if repository.is_partial:
            reader.fetch_missing(self._queue_id)
        files = repository.files(self._queue_id)
        if reader.progress:
            total = sum(1 for _ in repository.files(self._queue_id))
            files = counted(reader.progress, READING, files, total)
        archives = (*self.archives, *self.files.release_archives)
        parts = {path: archive for archive in archives for path in layout.both(archive.name)}
        while some := [(f"{layout.QUEUE}/{path}", entry) for path, entry in islice(files, _AT_ONCE)]:
            released = [item for item in some if layout.released_id(item[0])]
            beside = {path for path, _ in released} | parts.keys()
            ours = [item for item in some if item[1].name not in layout.HARMLESS and item[0] not in beside]
            held: dict[str, Entry | Used | Invalid] = dict(
                zip((path for path, _ in ours), reader.read(ours, known), strict=True)
            )
            held.update((path, self._finder.used(path, entry)) for path, entry in released)
            for path, entry in some:
                archive = parts.get(path)
                if archive is None:
                    yield full(path), entry, held.get(path)
                elif path == archive.path:
                    archived = reader.archived
                    is_used = archive.name.kind == "released"
                    items = archived.releases_in(archive) if is_used else archived.all_in(archive)
                    yield from ((full(path), entry, item) for item in items)
                else:
                    yield full(path), entry, None
                reader.forget_beyond(_KEPT)

    def policies(self, *, kept: bool = False) -> tuple[str | None, Mapping[str, PolicyFile]]:
        return self._reader.policies(self._policies_id, kept=kept) if self._policies_id else (None, {})

    def blobs(self, oids: Sequence[str]) -> Iterator[tuple[str, bytes | str]]:
        """Blob ids with their bytes, or with the reason why they cannot be read."""
        return self._reader.blobs(oids)

    # --- rows -------------------------------------------------------------------------------------

    def rows(self, *, resolved: bool) -> tuple[list[RecordSummary], list[Invalid]]:
        if not resolved:
            return self._listing.open_rows(whole=False)
        rows: list[RecordSummary] = []
        invalid: list[Invalid] = []
        for item in self.resolved():
            if isinstance(item, Entry):
                rows.append(summary_of(item.record, layout.path_of(item.record), item.blob))
            else:
                invalid.append(item)
        return rows, invalid

    def entries(self, rows: Sequence[RecordSummary]) -> Iterator[Entry]:
        return self._listing.entries(rows)

    def plain(self, rows: Sequence[RecordSummary]) -> Iterator[dict[str, Any]]:
        return self._listing.plain(rows)

    # --- by id ------------------------------------------------------------------------------------

    def learn(self, escalation_ids: Sequence[str]) -> None:
        self._finder.learn(escalation_ids)

    def find(self, escalation_id: str) -> Entry | Invalid | None:
        return self._finder.find(escalation_id)

    def places(self, escalation_id: str) -> Sequence[Place]:
        """The places of an id in archives. More than one is a violation."""
        return self._finder.places(escalation_id)

    def is_archived(self, escalation_id: str, kind: Kind) -> bool:
        """Whether an archive of records, or one of releases, holds an id."""
        return bool(self.places(escalation_id) if kind == "resolved" else self.release_places(escalation_id))

    def release_places(self, escalation_id: str) -> Sequence[Place]:
        """The places of an id in archives of releases. More than one is a violation."""
        return self._finder.release_places(escalation_id)

    def paths(self, escalation_id: str) -> Sequence[str]:
        return self._finder.paths(escalation_id)

    def has(self, escalation_id: str) -> bool:
        """Whether there is a file with this id's name, or an archive that holds the id."""
        return self._finder.has(escalation_id)

    def has_file(self, path: str) -> bool:
        """Whether there is a resolved record's file at a path below the store's top, or its archive; see `Finder`."""
        return self._finder.has_file(path)

    def release(self, record: Record) -> Release | Invalid | None:
        return self._finder.release(record)

    def has_release(self, escalation_id: str) -> bool:
        """Whether any folder or archive of releases has a release of an id, valid or not."""
        return self._finder.has_release(escalation_id)

    def release_files_of(self, escalation_id: str) -> list[tuple[str, str, str]]:
        """The release files of an id; see `Finder.release_files_of`."""
        return self._finder.release_files_of(escalation_id)

    def reopeners(self, escalation_id: str) -> Sequence[Record]:
        return self._finder.reopeners(escalation_id)

    def is_reopened(self, escalation_id: str) -> bool:
        """Whether any record here reopens an id."""
        return self._finder.is_reopened(escalation_id)

    def ids(self, *, resolved: bool, prefix: str = "") -> Sequence[str]:
        return self._finder.ids(resolved=resolved, prefix=prefix)

    def files_of(self, escalation_id: str) -> list[tuple[str, str, str]]:
        """The path, mode and blob id of each file of an id; see `Finder.files_of`."""
        return self._finder.files_of(escalation_id)
