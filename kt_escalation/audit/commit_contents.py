"""Reads the contents of commits: trees, the store in each commit, records and policy files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..errors import GitFailed, KtError
from ..git.objects import FILE
from ..model import archive_file
from ..model.archive_file import ArchiveKind, ArchiveName
from ..policies.policy_set import Policies
from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.snapshot import GitSnapshot
from ..storage.trees import Difference, FileChange, Trees, Unsound
from .policies_in_force import Written
from .record_files import QUEUE_FILES, Contents, RecordChanges, State

#: The ids of an archive and of the file of ids beside it.
ArchiveFiles = tuple[str, str]

#: No commit is read as earlier (`git.commit.moment`).
LONG_AGO = datetime.fromtimestamp(0, UTC)
# The stores of so many commits are kept: of a merge, its parents, and their fork.
_SNAPSHOTS_KEPT = 4
# The files beside records of so many root trees are remembered.
_VERSIONS_KEPT = 200
# The only other file that may be in a folder of the queue; it must be empty.
_KEEP = ".gitkeep"


def refused(wrong: Unsound) -> tuple[str, Violation]:
    """The violation of a tree that git itself would not have written, by path."""
    where = wrong.path.rstrip("/") or layout.QUEUE
    return where, Violation("tree", f"expected a tree as git writes it; it {wrong.problem}")


@dataclass(slots=True)
class SideCommit:
    """A commit beside the line: its changes, once they were read, and the newest date of a commit that acted up to it."""

    commit: Commit
    difference: Difference | None = None
    newest: datetime = LONG_AGO


class CommitContents:
    """Reads commits, and refuses trees that git itself would not have written."""

    def __init__(self, store: GitStore, trees: Trees) -> None:
        self.store = store
        self._trees = trees
        #: Policies by their trees, and records by their blobs.
        self.written = Written(store)
        self.contents = Contents(store)
        #: The commits that are not on the line, until a merge has brought them.
        self.sides: dict[str, SideCommit] = {}
        #: Commits of the line whose trees are refused, each with the earlier commit whose tree counts instead.
        self.read_as: dict[str, str] = {}
        # Readers of stores in other folders.
        self._others: dict[str, Trees] = {}
        self._snapshots: dict[str, GitSnapshot | None] = {}
        self._policy_versions: dict[str, dict[str, tuple[str, str, str]]] = {}

    def other(self, root: str) -> Trees:
        """The reader of a store in another folder."""
        if root not in self._others:
            self._others[root] = Trees(self.store.repository, root)
        return self._others[root]

    def difference(self, side: SideCommit) -> Difference:
        """The changes of a carried commit against its first parent."""
        if side.difference is None:
            parents = side.commit.parents
            side.difference = self.between(self.tree_of(parents[0]) if parents else None, side.commit.tree)
        return side.difference

    def changed(self, side: SideCommit) -> Commit:
        """A carried commit with its changes against its first parent."""
        return side.commit._replace(changes=self.difference(side).changes)

    def between(self, old: str | None, new: str) -> Difference:
        """The differences between two root trees."""
        if old is not None and old != new:
            one, other = self._trees.entries([old, new])
            if one == other:
                return Difference()
        [found] = self._trees.differences([(old, new)])
        return found

    def differences(self, pairs: Sequence[tuple[str | None, str]]) -> list[Difference]:
        """The differences between the root trees of each pair."""
        return self._trees.differences(pairs)

    def tree_of(self, commit: str) -> str:
        """The root tree of a commit."""
        side = self.sides.get(commit)
        if side is not None:
            return side.commit.tree
        found = self.store.repository.objects.id_of(f"{self.read_as.get(commit, commit)}^{{tree}}")
        if found is None:
            raise GitFailed(
                command="cat-file", words=f"commit {commit} is missing from this clone; run `git fetch`"
            )
        return found

    def written_at(self, commit: str) -> Policies:
        """The policies in a commit, legal or not."""
        return self.written.of(self.policies_tree(self.tree_of(commit)))

    def version(self, commit: str, path: str) -> frozenset[tuple[str, str, str]]:
        """A policy file or archive at a commit: path, mode and id, or nothing."""
        return self.version_in(self.tree_of(commit), path)

    def version_in(self, root: str, path: str) -> frozenset[tuple[str, str, str]]:
        """The same as `version`, in a root tree."""
        if root not in self._policy_versions:
            if len(self._policy_versions) > _VERSIONS_KEPT:
                self._policy_versions.clear()
            [found] = self._trees.differences([(None, root)])
            kept = {
                c.path: (c.path, c.new_mode, c.new or "")
                for c in found.changes
                if not (layout.id_of(c.path) or layout.released_id(c.path))
            }
            self._policy_versions[root] = kept
        version = self._policy_versions[root].get(path)
        return frozenset({version} if version else ())

    def foreign(self, changes: Iterable[FileChange]) -> Iterator[tuple[FileChange, Violation]]:
        """The changes that add foreign files below `queue/`."""
        for change in changes:
            if self._is_foreign(change):
                yield change, Violation("foreign", "expected nothing but escalations below queue/")

    def _is_foreign(self, change: FileChange) -> bool:
        """Whether a change adds a file to the queue that is neither a record, an archive nor `.gitkeep`."""
        if change.new is None or not change.path.startswith(QUEUE_FILES) or layout.id_of(change.path):
            return False
        if change.path.rpartition("/")[2] == _KEEP and change.new_mode == FILE:
            return change.new != self.store.reader.blob_of(b"")
        return layout.archive_at(change.path) is None and layout.released_id(change.path) is None

    def policies_tree(self, root: str) -> str | None:
        """The tree of `policies/` in a root tree."""
        found = self._trees.entries([root])[0].policies
        return found.partition(" ")[2] if found and found.startswith("40000 ") else None

    def snapshot(self, commit: str) -> GitSnapshot | None:
        """The store at a commit, or None if it has none that can be read."""
        commit = self.read_as.get(commit, commit)
        if commit not in self._snapshots:
            while len(self._snapshots) >= _SNAPSHOTS_KEPT:
                del self._snapshots[next(iter(self._snapshots))]
            try:
                self._snapshots[commit] = self.store.at(commit)
            except KtError:
                self._snapshots[commit] = None
        return self._snapshots[commit]

    def states(self, commit: str, name: str) -> list[State]:
        """All files of a record at a commit; one in an archive has the id of its own bytes."""
        return [self.contents.state(*file) for file in self.standing(commit, name)]

    def before(self, name: str, sides: RecordChanges, parent: str) -> State | None:
        """The state of a record before a change: from its file, else from an archive of the parent."""
        return next(iter(self.contents.sides(sides)[0] or self.states(parent, name)), None)

    def standing(self, commit: str, name: str) -> list[tuple[str, str, str]]:
        """Path, mode and id of all files of a record at a commit.

        If they cannot be read, a value that equals no other.
        """
        try:
            snapshot = self.snapshot(commit)
            return snapshot.files_of(name) if snapshot else []
        except Unsound:
            return [("", "", commit)]

    def archives_changed(
        self, commit: Commit, changes: Iterable[FileChange], kind: ArchiveKind
    ) -> Iterator[tuple[ArchiveFiles | None, ArchiveFiles | None]]:
        """The archives of which a commit with these changes touched a file, each before it and after it.

        None where one of its files is missing: then no command reads the other one.
        """
        found: dict[ArchiveName, dict[str, FileChange]] = {}
        for change in changes:
            name = layout.archive_at(change.path)
            if name is not None and name.kind == kind:
                found.setdefault(replace(name, is_ids=False), {})[change.path] = change
        for archive, changed in found.items():
            before: list[str] = []
            after: list[str] = []
            for path in layout.both(archive):
                if path in changed:
                    _, old_mode, new_mode, old, new = changed[path]
                    before += [old] if old and old_mode == FILE else []
                    after += [new] if new and new_mode == FILE else []
                else:
                    standing = [oid for _, mode, oid in self.version(commit.oid, path) if mode == FILE]
                    before += standing
                    after += standing
            yield _both(before), _both(after)

    def ids_in(self, beside: str) -> list[str]:
        """The ids in the file beside an archive. Empty if that is malformed or missing."""
        [found] = self.store.repository.objects.get([beside], archive_file.MAX_ARCHIVE)
        with suppress(archive_file.BadArchive):
            return archive_file.read_ids(found.data or b"") if found else []
        return []


def _both(files: list[str]) -> ArchiveFiles | None:
    return (files[0], files[1]) if len(files) == 2 else None
