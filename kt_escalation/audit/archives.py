"""Judges changes of archives: a compaction must move records and releases unchanged, and archives never change.

See docs/compaction.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from ..errors import NotAllowed
from ..git.objects import FILE, Object
from ..model import archive_file
from ..model.times import format_time
from ..policies.policy_set import Policies
from ..rules import permissions, releasing
from ..rules.judge_step import Violation
from ..storage import compaction, layout
from ..storage.clone import GitStore
from ..storage.commits import Commit, touches_archives, without
from ..storage.trees import FileChange, Unsound
from . import record_files, record_steps
from .commit_contents import ArchiveFiles, CommitContents, refused
from .findings import Findings
from .known_records import KnownRecords
from .messages import Brought
from .record_files import State
from .releases import read
from .scope import RunCounts, Scope

_KINDS: tuple[archive_file.ArchiveKind, ...] = ("resolved", "released")


@dataclass(eq=False)
class Archives:
    """Judges compactions, and reads what new archives hold."""

    _store: GitStore
    _scope: Scope
    _commits: CommitContents
    _records: KnownRecords
    _findings: Findings
    _tally: RunCounts

    def changed(self, commit: Commit) -> None:
        """Note each change of an existing archive, whatever records the run looks at."""
        for change in commit.changes:
            if change.old and layout.archive_at(change.path):
                self._findings.find(commit, change.path, Violation("archive", archive_file.FINAL))
        self.were_here(commit, commit.changes)

    def were_here(self, commit: Commit, changes: Sequence[FileChange]) -> None:
        """Note the ids in new or changed archives, also in forged ones: from now on there is something by that id."""
        for _, after in self._commits.archives_changed(commit, changes, "resolved"):
            for name in filter(self._records.looks_at, self._listed(after)):
                self._records.was_here(name)

    def doubt(
        self,
        commit: Commit,
        changes: Sequence[FileChange],
        judged: Container[str],
        policies: Policies,
        by: Commit | None,
    ) -> None:
        """Make the records illegal that archives hold otherwise than before; ``judged`` are those that were judged.

        No step of a record did that, so no waiver of what is wrong with the archive makes them legal. If the author of
        ``by`` is an admin, they are legal again where they are as they legally were.
        """
        found = list(self._commits.archives_changed(commit, changes, "resolved"))
        listed = [(set(self._listed(before)), set(self._listed(after))) for before, after in found]
        several = Counter(name for _, new in listed for name in new)
        differing: set[str] = set()
        for sides, names in zip(found, listed, strict=True):
            # What a compaction moved is in one archive.
            asked = [name for name in names[0] | names[1] if name not in judged or several[name] > 1]
            asked = list(filter(self._records.looks_at, asked))
            if asked:
                old, new = map(self._held, sides)
                differing.update(name for name in asked if old.get(name) != new.get(name))
        known = self._records
        is_admin = by is not None and permissions.is_admin(
            permissions.actor(by.email, by.committed_at, policies)
        )
        # What happened to the file of a record was judged as a step of it.
        steps = {layout.id_of(change.path) for change in commit.changes}
        for name in sorted(differing):
            known.touch(name, commit.oid)
            if name not in known.illegal:
                # It was legal before, so all that is there of it is its legal state.
                known.illegal[name] = next(iter(self._commits.states(commit.parents[0], name)), None)
            elif is_admin and name not in steps:
                legal = known.illegal[name]
                if record_steps.is_as_it_was(legal, self._commits.standing(commit.oid, name)):
                    known.restored(name, legal)

    def names_around(self, commit: Commit, changes: Sequence[FileChange]) -> set[str]:
        """The ids in the archives that a commit changed, before and after it, of records and of releases."""
        found = (self._commits.archives_changed(commit, changes, kind) for kind in _KINDS)
        return {name for sides in chain(*found) for files in sides for name in self._listed(files)}

    def _held(self, files: ArchiveFiles | None) -> Mapping[str, bytes | str]:
        """What an archive holds, by id. If it is malformed, the same for each id in its file of ids."""
        if files is None:
            return {}
        try:
            return self._store.reader.archived.contents(*files)
        except archive_file.BadArchive:
            return dict.fromkeys(self._listed(files), " ".join(files))

    def judged(self, commit: Commit, policies: Policies, brought: list[Brought]) -> tuple[Commit, set[str]]:
        """Judge what a plain commit did to archives. Returns the rest of the commit, and the records that it moved."""
        found, moved = self.compacted(commit, policies)
        for path, violation in found:
            self._findings.find(commit, path, violation)
        records = set()
        for path, name in moved.items():
            brought.append(Brought(name, frozenset({"compact"}), ""))
            if layout.released_id(path) is None:
                records.add(name)
                self._records.know(name, None if found else self._archived(commit, name))
        self.were_here(commit, commit.changes)
        return without(commit, moved), records

    def compacted(
        self, commit: Commit, policies: Policies
    ) -> tuple[list[tuple[str, Violation]], dict[str, str]]:
        """What is wrong with a compaction, by path; and the ids that it moved into archives, by old path."""
        parent = self._commits.snapshot(commit.parents[0]) if commit.parents else None
        try:
            done = compaction.done_by(self._store, commit, parent)
        except Unsound as error:
            # A carried commit may have any parent.
            return [refused(error)], {}
        verdict = archive_file.judge(done, commit.committed_at, self._store.reader.blob_of)
        found = [(path, Violation(rule, expected)) for path, rule, expected in verdict.violations]
        found += self._too_early(commit, verdict.moved)
        if done.made:
            try:
                who = permissions.actor(commit.email, commit.committed_at, policies)
                permissions.require_role(who, "compact", "the store", "admin")
            except NotAllowed as error:
                found.append((layout.RESOLVED, Violation(error.code, error.summary)))
            limit = self._scope.now + policies.settings.claims.clock_tolerance
            for month in sorted({made.name.month for made in done.made}):
                if not archive_file.is_closed(month, limit):
                    expected = f"expected a month that is over by now, {format_time(self._scope.now)}; {month} is not"
                    found.append((layout.RESOLVED, Violation("compaction", expected)))
        return found, verdict.moved

    def _too_early(self, commit: Commit, moved: Mapping[str, str]) -> Iterator[tuple[str, Violation]]:
        """The violation of archiving a release too early: a receipt may still come for it."""
        released = {change.path: change.old or "" for change in commit.changes if change.path in moved}
        for path in filter(layout.released_id, released):
            found = read(self._store, released[path], FILE)
            if isinstance(found, str):
                yield path, Violation("release", f"expected a release; it {found}")
            elif not releasing.is_closed(found, commit.committed_at):
                expected = "expected a release with a final receipt, or one that nobody answered for 90 days"
                yield path, Violation("compaction", expected)

    def _archived(self, commit: Commit, name: str) -> State | None:
        return next(iter(self._commits.states(commit.oid, name)), None) if self._scope.only else None

    def names_in(self, change: FileChange, made: Mapping[str, FileChange]) -> list[str]:
        """The ids in a new archive that the run looks at; ``made`` are the new archive files by path."""
        found = layout.archive_at(change.path)
        is_records = found is not None and not found.is_ids and found.kind == "resolved"
        beside = made.get(layout.both(found)[1]) if found and is_records else None
        try:
            names = list(self._store.reader.archived.contents(change.new, beside.new)) if beside else []
        except archive_file.BadArchive:
            names = self._commits.ids_in(beside.new or "") if beside else []
        return [name for name in names if self._records.looks_at(name)]

    def _listed(self, files: ArchiveFiles | None) -> list[str]:
        """The ids in an archive. Empty if its file of ids is malformed, or there is no archive."""
        return self._commits.ids_in(files[1]) if files else []

    def imported(self, commit: Commit) -> None:
        """Import the records in the archives of the store's start."""
        if not touches_archives(commit):
            return
        for made in compaction.done_by(self._store, commit, None).made:
            try:
                files = made.read()
            except archive_file.BadArchive as error:
                self._findings.find(commit, made.path, Violation("file", f"expected an archive; it {error}"))
                continue
            self._tally.imported += len(files)
            for name, data in files.items():
                if made.name.kind == "released" or not self._records.looks_at(name):
                    continue
                found = record_files.content(Object("", "blob", len(data), data))
                wrong = found.problem
                if found.record is not None:
                    wrong = layout.misfiled(found.record, made.name.month, name) or wrong
                if wrong is not None:
                    self._findings.find(
                        commit, made.path, Violation("file", f"expected a record: {name} {wrong}"), name
                    )
                elif self._records.exists(name):
                    self._findings.find(
                        commit, made.path, Violation("duplicate_file", f"expected {name} once"), name
                    )
                self._records.was_here(name)
                self._records.imported.add(name)
