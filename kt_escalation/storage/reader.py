"""Reads records and policy files from a clone's blobs, and remembers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import TYPE_CHECKING

from ..git.objects import FILE, TREE, Object, TreeEntry
from ..model.vocabulary import MAX_BYTES
from . import cache, layout, trees
from .interface import Entry, Invalid, Progress
from .location import Location

if TYPE_CHECKING:
    from ..model.record import Record
    from ..model.release import Release
    from ..policies.policy_file import PolicyFile
    from .archived_records import ArchivedRecords
    from .reopenings import Reopenings

    #: What is known about a blob: its bytes, the record in them, or as text why it cannot be read.
    BlobContent = bytes | Record | str

#: The label under which progress is reported while many records are read.
READING = "reading escalations"
FETCH_OBJECTS_SECONDS = 60.0
# How many records are remembered, by blob id. The content of an id never changes.
_REMEMBERED = 20_000
# How many policy files are read at once. Each can be as large as a file may be.
_POLICIES_AT_ONCE = 16
_BAD_MODES = {"120000": "a symbolic link", "160000": "a submodule", "100755": "executable", TREE: "a folder"}


class Reader:
    """Reads one clone for one process. ``progress`` is called while many files or commits are read."""

    def __init__(self, location: Location, progress: Progress | None) -> None:
        self.location = location
        self.repository = location.repository
        self.progress = progress
        self._parsed: dict[str, Record] = {}
        #: The resolved files of some names, by the tree of `queue/` and the name (`SnapshotFiles.resolved_named`).
        self.named: dict[tuple[str | None, str], list[tuple[str, TreeEntry]]] = {}
        # The policies that were read last, with the id of their tree: from git, and from this clone's cache.
        self._policies: tuple[str, Mapping[str, PolicyFile]] | None = None
        self._kept_policies: tuple[str, Mapping[str, PolicyFile]] | None = None

    # --- records ----------------------------------------------------------------------------------

    def parse(self, path: str, oid: str, data: BlobContent) -> Entry | Invalid:
        """The record in a file below `queue/`. If ``data`` is text, it says why the file could not be read."""
        found = self.record(oid, data)
        if isinstance(found, str):
            return Invalid(self.location.full(path), found, layout.id_of(path))
        wrong = layout.misplaced(found, path)
        if wrong:
            return Invalid(self.location.full(path), wrong, layout.id_of(path))
        return Entry(found, self.location.full(path), oid)

    def record(self, oid: str, data: BlobContent) -> Record | str:
        """The record in a blob, or why there is none."""
        found = self._parsed.get(oid)
        if found is None:
            read = load(data) if isinstance(data, bytes) else data
            if isinstance(read, str):
                return read
            found = read
            if isinstance(data, bytes):
                # Records from the cache on disk may be shown. Decisions need those that `find` reads from git.
                self.remember(oid, found)
        return found

    def read(
        self, files: Sequence[tuple[str, TreeEntry]], known: Mapping[str, Record] | None = None
    ) -> Iterator[Entry | Invalid]:
        """The records in files below `queue/`, in order. ``known`` has records by blob id, which are not read again."""
        held = self.known(entry.oid for _, entry in files)
        if known:
            held.update((entry.oid, known[entry.oid]) for _, entry in files if entry.oid in known)
        wanted = [entry.oid for path, entry in files if not refused(path, entry) and entry.oid not in held]
        held.update(self.blobs(wanted))
        for path, entry in files:
            problem = refused(path, entry)
            if problem:
                yield Invalid(self.location.full(path), problem, layout.id_of(path))
            else:
                yield self.parse(path, entry.oid, held.get(entry.oid, ""))

    def blobs(self, oids: Sequence[str]) -> Iterator[tuple[str, bytes | str]]:
        """Blob ids with their bytes, or with the reason why they cannot be read."""
        for oid, found in zip(oids, self.repository.objects.get(oids, largest=MAX_BYTES), strict=True):
            yield oid, _bytes(found)

    def blob_of(self, data: bytes) -> str:
        """The id that bytes have as a blob."""
        return self.repository.object_id("blob", data)

    def known(self, oids: Iterable[str]) -> dict[str, BlobContent]:
        """The records among these blobs that this process remembers."""
        return {oid: self._parsed[oid] for oid in oids if oid in self._parsed}

    def remember(self, oid: str, record: Record) -> None:
        """Remember a record in memory."""
        self.forget_beyond(_REMEMBERED - 1)
        self._parsed[oid] = record

    def forget_beyond(self, most: int) -> None:
        """Forget all records if there are more than ``most``."""
        if len(self._parsed) > most:
            self._parsed.clear()

    @cached_property
    def cache(self) -> cache.Cache:
        """The clone's cache on disk of records that were read before."""
        return cache.Cache(self.location.lock_folder / "records")

    @cached_property
    def archived(self) -> ArchivedRecords:
        """The reader of records in archives."""
        from .archived_records import ArchivedRecords

        return ArchivedRecords(self)

    @cached_property
    def reopenings(self) -> Reopenings:
        """The index of records that reopen others."""
        from .reopenings import Reopenings

        return Reopenings(self)

    # --- trees ------------------------------------------------------------------------------------

    @cached_property
    def trees(self) -> trees.Trees:
        """The strict reader of this store's trees."""
        return trees.Trees(self.repository, self.location.root)

    def own_entries(self, found: Object | None, folder: str) -> list[TreeEntry]:
        """The entries of a folder of the store. Raises UnreadableStore."""
        if found is None or found.data is None:
            raise trees.Unsound("is missing from this clone, or is not a folder", folder)
        try:
            return trees.own(self.repository.parse_tree(found.data), folder)
        except trees.Unsound as error:
            raise error.at(folder) from None

    def fetch_missing(self, tree: str, among: AbstractSet[str] | None = None) -> None:
        """Fetch, in one request, the blobs below a tree that a partial clone lacks. With ``among``, only these."""
        missing = [oid for oid in self.repository.missing(tree) if among is None or oid in among]
        if len(missing) > 1 and self.location.remote:
            self.repository.fetch_objects(self.location.remote, missing, FETCH_OBJECTS_SECONDS)

    # --- policies ---------------------------------------------------------------------------------

    def policies(self, tree: str, *, kept: bool = False) -> tuple[str, Mapping[str, PolicyFile]]:
        """The parsed files of a tree of `policies/`. Snapshots with the same tree share them.

        ``kept`` allows values from this clone's cache (`kept_policies`), and adds missing ones to it.
        """
        if self._policies is not None and self._policies[0] == tree:
            return self._policies
        if not kept:
            self._policies = (tree, self.policy_files(tree))
            return self._policies
        if self._kept_policies is None or self._kept_policies[0] != tree:
            from . import kept_policies

            files = kept_policies.read(self.location.lock_folder, tree)
            if files is None:
                kept_policies.write(self.location.lock_folder, *self.policies(tree))
                return self.policies(tree)
            self._kept_policies = (tree, files)
        return self._kept_policies

    def policy_files(self, tree: str) -> dict[str, PolicyFile]:
        """The parsed files of a tree of `policies/`, by path below the store's folder. Raises UnreadableStore."""
        return dict(self.parsed_policies(self.policy_entries(tree)))

    def policy_entries(self, tree: str) -> dict[str, TreeEntry]:
        """The files in a tree of `policies/`, by path below the store's folder. Raises UnreadableStore."""
        [found] = self.repository.objects.get([tree])
        return {
            f"{layout.POLICIES}/{entry.name}": entry
            for entry in self.own_entries(found, layout.POLICIES)
            if entry.name.endswith(layout.SUFFIX) and entry.mode != TREE
        }

    def parsed_policies(self, entries: Mapping[str, TreeEntry]) -> Iterator[tuple[str, PolicyFile]]:
        """The parsed files of some entries, by their paths in name order. Only a few are in memory at once."""
        paths = sorted(entries)
        for at in range(0, len(paths), _POLICIES_AT_ONCE):
            some = paths[at : at + _POLICIES_AT_ONCE]
            blobs = self.repository.objects.get([entries[path].oid for path in some], largest=MAX_BYTES)
            for path, blob in zip(some, blobs, strict=True):
                yield path, _policy_file(entries[path], _bytes(blob))

    def close(self) -> None:
        """End the git process that reads objects, and close the index of archives."""
        self.repository.objects.close()
        if "archived" in self.__dict__:
            self.archived.close()


def refused(path: str, entry: TreeEntry, *, is_release: bool = False) -> str | None:
    """Why an entry below `queue/` cannot be a record's file or a release's, judging only by its name and mode."""
    if entry.mode != FILE:
        return f"is {_BAD_MODES.get(entry.mode, 'no plain file')}, not an escalation's file"
    if layout.id_of(path) is None and not is_release:
        return "is not named as an escalation's file"
    return None


def load(data: bytes) -> Record | str:
    """The record in a blob's bytes, or why there is none."""
    from . import yaml_text

    try:
        return yaml_text.loads(data)
    except yaml_text.Malformed as error:
        return str(error)


def release(data: bytes) -> Release | str:
    """The release in a blob's bytes, or why there is none."""
    from . import yaml_text

    try:
        return yaml_text.load_release(data)
    except yaml_text.Malformed as error:
        return str(error)


def _bytes(found: Object | None) -> bytes | str:
    """A blob's bytes, or why they cannot be read."""
    if found is None:
        return "is missing from this clone; run `git fetch`"
    return f"is larger than {MAX_BYTES // 1024} KiB" if found.data is None else found.data


def _policy_file(entry: TreeEntry, data: bytes | str) -> PolicyFile:
    from ..policies.policy_file import PolicyFile
    from . import yaml_text

    if entry.mode != FILE:
        return PolicyFile(problem=f"is {_BAD_MODES.get(entry.mode, 'no plain file')}")
    if isinstance(data, str):
        return PolicyFile(problem=data)
    return yaml_text.policy_file(f"{layout.POLICIES}/{entry.name}", data)
