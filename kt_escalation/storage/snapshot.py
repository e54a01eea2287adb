"""The store at one commit: the records, the policies and what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..git.objects import TreeEntry, chunks
from ..model.progress import counted
from ..model.summary import RecordSummary, summary_of
from . import layout
from .interface import Entry, Invalid, Used
from .listing import Summaries
from .reader import READING, Reader
from .snapshot_files import File

if TYPE_CHECKING:
    from ..model.archive_file import ArchiveKind
    from ..model.record import Record
    from ..policies.policy_file import PolicyFile
    from .archives import Archive

# When all files are read: how many at once, and how many records are remembered meanwhile.
_AT_ONCE = 500
_KEPT = 2_000


class GitSnapshot(Summaries):
    """The store at one commit. Raises NotAStore if the commit has neither `queue/` nor `policies/`.

    Each base class is one topic. Methods without a docstring are those of `interface.Snapshot`.
    """

    def __init__(self, reader: Reader, commit: str) -> None:
        found = reader.trees.folders(commit)
        if found is None or found == (None, None):
            raise reader.location.not_a_store(commit)
        queue_id, self._policies_id = found
        super().__init__(reader, commit, queue_id)

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
        rows, invalid = self.open_rows(whole=True)
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
        for some in chunks(((f"{layout.QUEUE}/{path}", entry) for path, entry in files), _AT_ONCE):
            released = [item for item in some if layout.released_id(item[0])]
            beside = {path for path, _ in released} | parts.keys()
            ours = [item for item in some if item[1].name not in layout.HARMLESS and item[0] not in beside]
            held: dict[str, Entry | Used | Invalid] = dict(
                zip((path for path, _ in ours), reader.read(ours, known), strict=True)
            )
            held.update((path, self.used(path, entry)) for path, entry in released)
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
            return self.open_rows(whole=False)
        rows: list[RecordSummary] = []
        invalid: list[Invalid] = []
        for item in self.resolved():
            if isinstance(item, Entry):
                rows.append(summary_of(item.record, layout.path_of(item.record), item.blob))
            else:
                invalid.append(item)
        return rows, invalid

    def is_archived(self, escalation_id: str, kind: ArchiveKind) -> bool:
        """Whether an archive of records, or one of releases, holds an id."""
        return bool(self.places(escalation_id) if kind == "resolved" else self.release_places(escalation_id))
