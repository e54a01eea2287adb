"""A store in a git repository, for reading: the files that a clone knows, and the store at one commit."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, GitFailed, NotAStore
from ..git.objects import FILE, TREE, Object, TreeEntry, chunks
from ..git.repository import Repository
from ..model.progress import told
from ..model.summary import Row, row_of
from ..model.vocabulary import MAX_BYTES
from . import cache, layout, trees
from .interface import Entry, Invalid, Progress
from .trees import KT_YAML

if TYPE_CHECKING:
    from ..model.record import Record
    from ..policies.policy_file import PolicyFile
    from .archive_index import Index
    from .archives import Archive, Place

    #: What is known of a blob: its bytes, the record in them, or as text what keeps it from being read.
    Held = bytes | Record | str

#: What is told of reading many records.
READING = "reading escalations"
FETCH_OBJECTS_SECONDS = 60.0
# Whole records are kept by blob id, which names their content for ever; this many at most.
_REMEMBERED = 20_000
_FIRST_FEW = 8
# How many files are read at once where all of them are, and how many records are kept meanwhile.
_AT_ONCE = 500
_KEPT = 2_000
_BAD_MODES = {"120000": "a symbolic link", "160000": "a submodule", "100755": "executable", TREE: "a folder"}
# A `.kt.yaml` of more bytes is none.
MAX_KT_YAML = 4096
_RESOLVED = layout.RESOLVED.rpartition("/")[2]


class GitReader:
    """The store below `kt.root` of one repository, and what has been read of it already.

    Raises NotAStore and GitFailed where there is no repository to work with, BadInput for settings
    that cannot be.
    """

    def __init__(self, start: Path, *, quarantined: bool = False, progress: Progress | None = None) -> None:
        #: Told by all that reads or writes many files or commits.
        self.progress = progress
        self.repository = Repository(start, quarantined=quarantined, progress=progress)
        self._parsed: dict[str, Record] = {}
        #: The policies that were read last, by their tree's id.
        self.policies: tuple[str, Mapping[str, PolicyFile]] | None = None

    @cached_property
    def root(self) -> str:
        """The store's folder: `kt.root` of this clone, else what `.kt.yaml` of the newest commit here names."""
        refs = [f"refs/remotes/{self.repository.config.get('kt.remote') or 'origin'}/HEAD", "HEAD"]
        tip = next((ref for ref in refs if self.repository.objects.id_of(f"{ref}^{{commit}}")), None)
        return self.root_at(tip)

    def root_at(self, commit: str | None) -> str:
        """The store's folder for whoever goes by a commit; `kt.root` of this clone comes first. Raises BadInput."""
        asked = self.repository.config.get("kt.root")
        if asked is not None:
            return root_of(asked)
        found = self.root_named(commit)
        if found is None:
            raise BadInput(
                problem=f"{KT_YAML} cannot be read; it says `root: FOLDER` and nothing else",
                hint="mend it, or name the folder with `git config kt.root FOLDER`",
            )
        return found

    @cached_property
    def remote(self) -> str | None:
        """The remote: `kt.remote`, else `origin`, else none (design, section 2)."""
        known = self.repository.remotes()
        asked = self.repository.config.get("kt.remote")
        if asked and asked not in known:
            raise BadInput(problem=f"kt.remote is {asked!r}, but there is no such remote; see `git remote`")
        return asked or ("origin" if asked is None and "origin" in known else None)

    def at(self, commit: str) -> GitSnapshot:
        """The store at a commit. Raises NotAStore."""
        return GitSnapshot(self, commit)

    def not_a_store(self, commit: str) -> NotAStore:
        """The error for a commit without a store where `kt.root` says, with where one may be."""
        problem = f"{commit[:12]} has neither queue/ nor policies/ there"
        folders = self.repository.folders(commit)
        inside = f"/{layout.POLICIES}"
        found = sorted(name.removesuffix(inside) for name in folders if name.endswith(inside))
        if self.root or not found:
            return NotAStore(where=str(self._where), problem=problem)
        hint = f"if the store is in {found[0]}, run `git config kt.root {shlex.quote(found[0])}`; else make one with `kt escalation init`"
        return NotAStore(where=str(self._where), problem=problem, hint=hint)

    @property
    def _where(self) -> Path:
        return (self.repository.toplevel or self.repository.git_dir) / self.root

    def full(self, path: str) -> str:
        """A path below the store's top as one from the repository's top."""
        return f"{self.root}/{path}" if self.root else path

    def below(self, path: str) -> str:
        """A path from the repository's top as one below the store's top."""
        return path.removeprefix(f"{self.root}/") if self.root else path

    def blob_of(self, data: bytes) -> str:
        """The id that bytes have as a blob."""
        return self.repository.object_id("blob", data)

    def parse(self, path: str, oid: str, data: Held) -> Entry | Invalid:
        """What a file below `queue/` holds; ``data`` as text says why it could not be read."""
        found = self._record(oid, data)
        if isinstance(found, str):
            return Invalid(self.full(path), found, layout.id_of(path))
        wrong = layout.misplaced(found, path)
        if wrong:
            return Invalid(self.full(path), wrong, layout.id_of(path))
        return Entry(found, self.full(path), oid)

    def parse_archived(self, archive: Archive, escalation_id: str, oid: str, data: Held) -> Entry | Invalid:
        """What an archive holds for an id: an entry with the archive's path and the id of its own bytes."""
        path = self.full(archive.path)
        found = self._record(oid, data)
        if isinstance(found, str):
            return Invalid(path, f"{escalation_id}: {found}", escalation_id)
        wrong = layout.misfiled(found, archive.name.month, escalation_id)
        return Invalid(path, wrong, escalation_id) if wrong else Entry(found, path, oid)

    def _record(self, oid: str, data: Held) -> Record | str:
        """The record in the bytes that an id names, or what keeps it from being read."""
        found = self._parsed.get(oid)
        if found is None:
            read = _load(data) if isinstance(data, bytes) else data
            if isinstance(read, str):
                return read
            found = read
            if isinstance(data, bytes):
                # What this clone has kept on disk is good enough to be shown; `find` reads git.
                self.remember(oid, found)
        return found

    def known(self, oids: Iterable[str]) -> dict[str, Held]:
        """The whole records of those of the blobs that this process has; it may forget them any time."""
        return {oid: self._parsed[oid] for oid in oids if oid in self._parsed}

    def remember(self, oid: str, record: Record) -> None:
        """Keep a whole record for whoever asks for it next in this process."""
        if len(self._parsed) >= _REMEMBERED:
            self._parsed.clear()
        self._parsed[oid] = record

    @property
    def lock_folder(self) -> Path:
        """Where the clone's lock is: shared by all its worktrees."""
        return self.repository.common_dir / "kt"

    @cached_property
    def cache(self) -> cache.Cache:
        """What this clone has read before."""
        return cache.Cache(self.lock_folder / "records")

    @cached_property
    def index(self) -> Index:
        """Which id is in which archive; a file beside the lock, which all worktrees share."""
        from .archive_index import Index

        return Index(self.lock_folder, self.archive_blobs, self.progress)

    def contents(self, data: str | None, beside: str | None) -> Mapping[str, bytes]:
        """An archive's files by id, from the ids of both of its blobs. Raises BadArchive, GitFailed."""
        from ..model.archive_file import contents

        wanted = [oid for oid in (data, beside) if oid is not None]
        read = dict(zip(wanted, self.archive_blobs(wanted), strict=True))
        return contents(read.get(data or ""), read.get(beside or ""))

    def archive_blobs(self, oids: Sequence[str]) -> list[bytes | None]:
        """The bytes of archives' files, None for what is too large to be one. Raises GitFailed for what is missing."""
        from ..model.archive_file import MAX_ARCHIVE

        found = self.repository.objects.get(oids, largest=MAX_ARCHIVE)
        for oid, item in zip(oids, found, strict=True):
            if item is None:
                words = f"{oid}, a part of the store's archives, is missing from this clone; run `git fetch`"
                raise GitFailed(command="cat-file", words=words)
        return [item.data if item else None for item in found]

    @cached_property
    def trees(self) -> trees.Trees:
        """The strict reader of this store's trees."""
        return trees.Trees(self.repository, self.root)

    def own_entries(self, found: Object | None, folder: str) -> list[TreeEntry]:
        """The entries of a folder of the store. Raises UnreadableStore."""
        if found is None or found.data is None:
            raise trees.Unsound("is missing from this clone, or is no folder", folder)
        try:
            return trees.own(self.repository.parse_tree(found.data), folder)
        except trees.Unsound as error:
            raise error.at(folder) from None

    def policy_files(self, tree: str) -> dict[str, PolicyFile]:
        """The parsed files of a tree of `policies/` by path below the store's top. Raises UnreadableStore."""
        [found] = self.repository.objects.get([tree])
        entries = [
            entry
            for entry in self.own_entries(found, layout.POLICIES)
            if entry.name.endswith(layout.SUFFIX) and entry.mode != TREE
        ]
        blobs = self.repository.objects.get([entry.oid for entry in entries], largest=MAX_BYTES)
        return {
            f"{layout.POLICIES}/{entry.name}": _policy_file(entry, _bytes(blob))
            for entry, blob in zip(entries, blobs, strict=True)
        }

    def root_named(self, commit: str | None) -> str | None:
        """The folder that `.kt.yaml` names at a commit, empty for the top; None where that cannot be read."""
        if commit is None:
            return ""
        tree = self.repository.objects.id_of(f"{commit}^{{tree}}")
        entry = trees.Trees(self.repository, "").entries([tree])[0].kt_yaml if tree else None
        if entry is None or entry == tree:
            # A tree that cannot be read names nothing; whoever reads the store is told so.
            return ""
        [found] = self.repository.objects.get([entry.partition(" ")[2]], largest=MAX_KT_YAML)
        from . import yaml_text

        try:
            return root_of(yaml_text.root_in((found.data if found else None) or b""))
        except (BadInput, yaml_text.Malformed):
            return None

    def close(self) -> None:
        """End the git process that reads objects, and close the index of archives."""
        self.repository.objects.close()
        if "index" in self.__dict__:
            self.index.close()


class GitSnapshot:
    """The store at one commit. Raises NotAStore where that holds neither `queue/` nor `policies/`."""

    def __init__(self, store: GitReader, commit: str) -> None:
        self._store = store
        self._commit = commit
        found = store.trees.folders(commit)
        if found is None or found == (None, None):
            raise store.not_a_store(commit)
        self._queue_id, self._policies_id = found

    @property
    def revision(self) -> str:
        return self._commit

    def _tree_data(self, name: str) -> bytes:
        [found] = self._store.repository.objects.get([name])
        return found.data if found and found.kind == "tree" and found.data else b""

    @cached_property
    def _queue(self) -> list[TreeEntry]:
        return trees.own(self._store.repository.parse_tree(self._queue_data), layout.QUEUE)

    @cached_property
    def _queue_data(self) -> bytes:
        return self._tree_data(self._queue_id) if self._queue_id else b""

    @cached_property
    def _queue_lines(self) -> Mapping[bytes, bytes]:
        """The lines of `queue/` by name: whoever wants one need not parse all of them."""
        return self._store.repository.tree_lines(self._queue_data)

    def open(self) -> Iterator[Entry | Invalid]:
        rows, invalid = self._rows(self._open_files, whole=True)
        yield from self.entries(rows)
        yield from invalid

    def resolved(self) -> Iterator[Entry | Invalid]:
        files = [*chunks(self.resolved_files, _AT_ONCE)]
        parts: list[Sequence[tuple[str, TreeEntry]] | Archive] = [*files, *self.archives]
        for part in told(self._store.progress, READING, parts, len(parts)):
            yield from self._read(part) if isinstance(part, Sequence) else self._archived(part)

    def rows(self, *, resolved: bool) -> tuple[list[Row], list[Invalid]]:
        if not resolved:
            return self._rows(self._open_files, whole=False)
        rows: list[Row] = []
        invalid: list[Invalid] = []
        for item in self.resolved():
            if isinstance(item, Entry):
                rows.append(row_of(item.record, layout.path_of(item.record), item.blob))
            else:
                invalid.append(item)
        return rows, invalid

    def entries(self, rows: Sequence[Row]) -> Iterator[Entry]:
        from ..model.record import Record

        store = self._store
        for some in _growing(rows):
            archived = self._archived_of(some)
            held = store.known(row.blob for row in some)
            missing = [row for row in some if row.blob not in held]
            kept = store.cache.bodies(row.blob for row in missing)
            held.update(self._pieces(archived[row] for row in missing if row in archived))
            held.update(
                self.blobs([row.blob for row in missing if row not in archived and row.blob not in kept])
            )
            for row in some:
                data = held.get(row.blob, "")
                if row.blob in kept:
                    data = Record.model_validate(kept[row.blob])
                found = (
                    store.parse_archived(archived[row].archive, row.escalation_id, row.blob, data)
                    if row in archived
                    else store.parse(row.path, row.blob, data)
                )
                if not isinstance(found, Entry):
                    raise GitFailed(command="cat-file", words=f"{row.path} is not there any more")
                yield found

    def plain(self, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        for some in chunks(rows, cache.AT_ONCE):
            kept = self._store.cache.bodies(row.blob for row in some)
            entries = self.entries([row for row in some if row.blob not in kept])
            for row in some:
                yield kept[row.blob] if row.blob in kept else next(entries).record.as_dict()

    @cached_property
    def _open_files(self) -> list[tuple[str, TreeEntry]]:
        """All that stands in `queue/` itself."""
        return [
            (f"{layout.QUEUE}/{entry.name}", entry)
            for entry in self._queue
            if entry.name not in layout.HARMLESS and (entry.mode != TREE or entry.name != _RESOLVED)
        ]

    def _rows(
        self, files: Sequence[tuple[str, TreeEntry]], *, whole: bool
    ) -> tuple[list[Row], list[Invalid]]:
        """What files hold, one row each; what is not known yet is read, and kept for next time."""
        store = self._store
        known = store.cache.known
        new = [entry.oid for path, entry in files if entry.oid not in known and not refused(path, entry)]
        unread = self._learn(new, whole) if new else {}
        known = store.cache.known
        rows: list[Row] = []
        invalid: list[Invalid] = []
        for path, entry in files:
            row = known.get(entry.oid) or unread.get(entry.oid, "")
            if isinstance(row, Row) and row.path == path and entry.mode == FILE:
                rows.append(row)
                continue
            problem = refused(path, entry)
            if problem is None and isinstance(row, Row):
                problem = layout.out_of_place(row.escalation_id, row.status, row.path, path)
            invalid.append(Invalid(store.full(path), problem or str(row), layout.id_of(path)))
        store.cache.trim([entry.oid for _, entry in files])
        return rows, invalid

    def _learn(self, oids: Sequence[str], whole: bool) -> Mapping[str, str]:
        """Read blobs into the cache; which of them could not be read, and why."""
        if self._queue_id and self._store.repository.is_partial and self._store.remote:
            self._fetch_missing(self._queue_id)
        unread: dict[str, str] = {}
        parts = [*chunks(oids, cache.AT_ONCE)]
        for some in told(self._store.progress, READING, parts, len(parts)):
            kept = []
            for oid, data in self.blobs(some):
                if isinstance(data, str):
                    unread[oid] = data
                    continue
                found = _load(data)
                if isinstance(found, str):
                    kept.append(cache.Kept(oid, found))
                    continue
                if whole:
                    self._store.remember(oid, found)
                row = row_of(found, layout.path_of(found), oid)
                kept.append(cache.Kept(oid, row, cache.body(found.as_dict())))
            if kept:
                self._store.cache.add(kept)
        return unread

    @property
    def queue_id(self) -> str | None:
        """The tree id of `queue/`, which stands for every byte below it."""
        return self._queue_id

    def everything(
        self, known: Mapping[str, Record] | None = None
    ) -> Iterator[tuple[str, TreeEntry, Entry | Invalid | None]]:
        """Every file below `queue/` by path, in git's order, and what it holds; None: nothing of ours.

        Of blobs that are ``known`` it gives the records that they have there, and reads nothing.
        An archive's file comes once for each record in it. Unlike `open` and `resolved` it keeps a few
        thousand records in memory at most, however many there are.
        """
        if self._queue_id is None:
            return
        if self._store.repository.is_partial:
            self._fetch_missing(self._queue_id)
        files = self._store.repository.files(self._queue_id)
        if self._store.progress:
            total = sum(1 for _ in self._store.repository.files(self._queue_id))
            files = told(self._store.progress, READING, files, total)
        parts = {path: archive for archive in self.archives for path in layout.both(archive.name)}
        while some := [(f"{layout.QUEUE}/{path}", entry) for path, entry in islice(files, _AT_ONCE)]:
            ours = [item for item in some if item[1].name not in layout.HARMLESS and item[0] not in parts]
            held = dict(zip((path for path, _ in ours), self._read(ours, known), strict=True))
            for path, entry in some:
                archive = parts.get(path)
                if archive is None:
                    yield self._store.full(path), entry, held.get(path)
                elif path == archive.path:
                    yield from ((self._store.full(path), entry, item) for item in self._archived(archive))
                else:
                    yield self._store.full(path), entry, None
                if len(self._store._parsed) > _KEPT:
                    self._store._parsed.clear()

    def _archived(self, archive: Archive) -> Iterator[Entry | Invalid]:
        """All that one archive holds."""
        from ..model.archive_file import BadArchive

        try:
            files = self._store.contents(archive.data, archive.ids)
        except BadArchive as error:
            yield Invalid(self._store.full(archive.path), str(error))
            return
        for name, data in files.items():
            yield self._store.parse_archived(archive, name, self._store.blob_of(data), data)

    def _at(self, places: Sequence[Place], escalation_id: str | None = None) -> Iterator[Entry | Invalid]:
        """What stands at places in archives; ``escalation_id`` says what should."""
        from ..model.archive_file import BadArchive

        for place in places:
            try:
                name, data = list(self._store.contents(place.archive.data, place.archive.ids).items())[
                    place.at
                ]
                if escalation_id not in (None, name):
                    raise BadArchive(f"holds {name} where the index has {escalation_id}")
            except (BadArchive, IndexError) as error:
                yield Invalid(self._store.full(place.archive.path), str(error), escalation_id)
            else:
                yield self._store.parse_archived(place.archive, name, self._store.blob_of(data), data)

    def _archived_of(self, rows: Sequence[Row]) -> dict[Row, Place]:
        """Those of the rows that have no file of their own, and where they are."""
        moved = [
            row
            for row in rows
            if row.status == "resolved"
            and f"{row.escalation_id}{layout.SUFFIX}" not in self._resolved_by_name
        ]
        return {row: places[0] for row in moved if (places := self.places(row.escalation_id))}

    def _pieces(self, places: Iterable[Place]) -> dict[str, bytes | str]:
        """The files at places in archives, by the ids of their bytes; each archive is read once."""
        from ..model.archive_file import BadArchive

        wanted: dict[Archive, list[int]] = {}
        for place in places:
            wanted.setdefault(place.archive, []).append(place.at)
        found: dict[str, bytes | str] = {}
        for archive, numbers in wanted.items():
            with suppress(BadArchive, IndexError):
                files = [*self._store.contents(archive.data, archive.ids).values()]
                found.update((self._store.blob_of(data), data) for data in (files[at] for at in numbers))
        return found

    def _fetch_missing(self, tree: str, among: AbstractSet[str] | None = None) -> None:
        """Fetch what a partial clone lacks below a tree, or of that some blobs only, in one go."""
        missing = [oid for oid in self._store.repository.missing(tree) if among is None or oid in among]
        if len(missing) > 1 and self._store.remote:
            self._store.repository.fetch_objects(self._store.remote, missing, FETCH_OBJECTS_SECONDS)

    @cached_property
    def archives(self) -> tuple[Archive, ...]:
        """The archives, oldest month first; a file that lacks the one beside it makes none."""
        from .archives import among

        found = among({path: e.oid for path, e in self.below_resolved if e.mode == FILE})
        if found and self._queue_id and self._store.repository.is_partial and self._store.remote:
            self._fetch_missing(self._queue_id, {archive.ids for archive in found})
        return found

    @cached_property
    def resolved_files(self) -> list[tuple[str, TreeEntry]]:
        """The files below `queue/resolved/` that are no archives."""
        if not self.archives:
            return self.below_resolved
        parts = {oid for archive in self.archives for oid in (archive.data, archive.ids)}
        return [
            (path, entry)
            for path, entry in self.below_resolved
            if entry.oid not in parts or layout.archive_at(path) is None
        ]

    @cached_property
    def below_resolved(self) -> list[tuple[str, TreeEntry]]:
        """All files below `queue/resolved/`, by one round of reading for each level of folders."""
        level = [
            (f"{layout.QUEUE}/{e.name}", e.oid) for e in self._queue if e.mode == TREE and e.name == _RESOLVED
        ]
        files = []
        while level:
            trees = self._store.repository.objects.get([oid for _, oid in level])
            deeper = []
            for (path, _), tree in zip(level, trees, strict=True):
                for entry in self._store.own_entries(tree, path):
                    below = f"{path}/{entry.name}"
                    if entry.mode == TREE:
                        deeper.append((below, entry.oid))
                    elif entry.name not in layout.HARMLESS:
                        files.append((below, entry))
            level = deeper
        return files

    def _read(
        self, files: Sequence[tuple[str, TreeEntry]], known: Mapping[str, Record] | None = None
    ) -> Iterator[Entry | Invalid]:
        store = self._store
        held = store.known(entry.oid for _, entry in files)
        if known:
            held.update((entry.oid, known[entry.oid]) for _, entry in files if entry.oid in known)
        wanted = [entry.oid for path, entry in files if not refused(path, entry) and entry.oid not in held]
        held.update(self.blobs(wanted))
        for path, entry in files:
            problem = refused(path, entry)
            if problem:
                yield Invalid(store.full(path), problem, layout.id_of(path))
            else:
                yield store.parse(path, entry.oid, held.get(entry.oid, ""))

    def blobs(self, oids: Sequence[str]) -> Iterator[tuple[str, bytes | str]]:
        """Ids and their bytes, or what keeps them from being read."""
        for oid, found in zip(oids, self._store.repository.objects.get(oids, largest=MAX_BYTES), strict=True):
            yield oid, _bytes(found)

    def find(self, escalation_id: str) -> Entry | Invalid | None:
        name = f"{escalation_id}{layout.SUFFIX}"
        found = self._open_file(name) or self._resolved_by_name.get(name)
        if found:
            return next(iter(self._read([found])))
        return next(iter(self._at(self.places(escalation_id)[:1], escalation_id)), None)

    def places(self, escalation_id: str) -> Sequence[Place]:
        """Where in archives an id stands; more than one only where that is a violation."""
        return self._store.index.find(self.archives, escalation_id) if self.archives else ()

    def paths(self, escalation_id: str) -> Sequence[str]:
        name = f"{escalation_id}{layout.SUFFIX}"
        files = [f"{layout.QUEUE}/{entry.name}" for entry in self._queue if entry.name == name]
        files += [path for path, entry in self.resolved_files if entry.name == name]
        files += [place.archive.path for place in self.places(escalation_id)]
        return [self._store.full(path) for path in files]

    def has(self, escalation_id: str) -> bool:
        """Whether any file is named for that id, or any archive holds it."""
        name = f"{escalation_id}{layout.SUFFIX}"
        by_name = self._open_file(name) is not None or name in self._resolved_by_name
        return by_name or bool(self.places(escalation_id))

    def reopeners(self, escalation_id: str) -> Sequence[Record]:
        files = [*((f"{layout.QUEUE}/{entry.name}", entry) for entry in self._queue), *self.resolved_files]
        known = {self._store.full(path): (path, entry) for path, entry in files}
        named = self._store.repository.grep(
            self._commit,
            f'^reopens: "*{escalation_id}"*$',
            self._store.full(layout.QUEUE),
            leave_out="resolved/*/*/archive-*",
        )
        read = [*self._read([known[path] for path in named if path in known])]
        if self.archives:
            read += self._at(self._store.index.reopening(self.archives, escalation_id))
        found = [item.record for item in read if isinstance(item, Entry)]
        fits = [record for record in found if record.reopens == escalation_id]
        return sorted(fits, key=lambda record: (record.raised_at, record.escalation_id))

    def _open_file(self, name: str) -> tuple[str, TreeEntry] | None:
        line = self._queue_lines.get(os.fsencode(name))
        if line is None:
            return None
        [entry] = self._store.repository.parse_tree(line)
        return f"{layout.QUEUE}/{name}", entry

    @cached_property
    def _resolved_by_name(self) -> Mapping[str, tuple[str, TreeEntry]]:
        return {entry.name: (path, entry) for path, entry in self.resolved_files}

    def ids(self, *, resolved: bool, prefix: str = "") -> Sequence[str]:
        names = (
            (path for path, _ in self.resolved_files) if resolved else (entry.name for entry in self._queue)
        )
        found = [name for name in map(layout.id_of, names) if name and name.startswith(prefix)]
        if resolved and self.archives:
            found += self._store.index.beginning(self.archives, prefix)
        return found

    def policies(self) -> tuple[str | None, Mapping[str, PolicyFile]]:
        if self._policies_id is None:
            return None, {}
        # The same in every action of a store that lives on, nearly always.
        if self._store.policies is None or self._store.policies[0] != self._policies_id:
            self._store.policies = (self._policies_id, self._store.policy_files(self._policies_id))
        return self._store.policies

    def files_of(self, escalation_id: str) -> list[tuple[str, str, str]]:
        """Path below the store's top, mode and id of each file of an id; of an archived one the id of its own bytes.

        What cannot be read in an archive is there as well, without mode and id.
        """
        name = f"{escalation_id}{layout.SUFFIX}"
        open_one = self._open_file(name)
        found = [(path, entry.mode, entry.oid) for path, entry in ([open_one] if open_one else [])]
        found += [(path, entry.mode, entry.oid) for path, entry in self.resolved_files if entry.name == name]
        for item in self._at(self.places(escalation_id), escalation_id):
            facts = (FILE, item.blob) if isinstance(item, Entry) else ("", "")
            found.append((self._store.below(item.path), *facts))
        return found


def root_of(text: str) -> str:
    """The folder that `kt.root` names, empty for the repository's top. Raises BadInput."""
    root = text.strip("/")
    parts = root.split("/") if root else []
    if any(part in ("", ".", "..", ".git") for part in parts) or any(ord(char) < 32 for char in root):
        raise BadInput(problem=f"kt.root is {text!r}; it must be a folder below the repository's top")
    return root


def refused(path: str, entry: TreeEntry) -> str | None:
    """Why a thing below `queue/` is no record's file, judged by its name and mode alone."""
    if entry.mode != FILE:
        return f"is {_BAD_MODES.get(entry.mode, 'no plain file')}, not an escalation's file"
    if layout.id_of(path) is None:
        return "is not named as an escalation's file"
    return None


def _growing(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows a few at a time and then more: whoever looks for the first that fits often has it soon."""
    at, size = 0, _FIRST_FEW
    while at < len(rows):
        yield rows[at : at + size]
        at, size = at + size, min(2 * size, cache.AT_ONCE)


def _load(data: bytes) -> Record | str:
    """The record in a blob's bytes, or what keeps them from being one."""
    from . import yaml_text

    try:
        return yaml_text.loads(data)
    except yaml_text.Malformed as error:
        return str(error)


def _bytes(found: Object | None) -> bytes | str:
    """A blob's bytes, or what keeps them from being read."""
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
