"""Judges the archives that a merge brings: a carried commit made each one, and none changes."""

from __future__ import annotations

from collections.abc import Container

from ..model import archive_file
from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.commits import Commit
from .incoming import Incoming, alone
from .parts import Parts
from .record_files import RecordChanges


class MergeArchives:
    """Judges the archives of one merge."""

    def __init__(self, parts: Parts, incoming: Incoming) -> None:
        self._parts = parts
        self._incoming = incoming
        self._compactions: dict[str, tuple[list[tuple[str, Violation]], dict[str, str]]] = {}

    def compaction(self, commit: Commit) -> tuple[list[tuple[str, Violation]], dict[str, str]]:
        """The violations of a carried compaction, and the records that it moved."""
        if commit.oid not in self._compactions:
            self._compactions[commit.oid] = self._parts.archives.compacted(commit, self._incoming.now)
        return self._compactions[commit.oid]

    def add_archived(self, brought: dict[str, RecordChanges]) -> None:
        """Add the records that are only in new archives; note each record that has two files."""
        parts = self._parts
        made = {c.path: c for c in self._incoming.changes if layout.archive_at(c.path) and c.old is None}
        for change in made.values():
            for name in parts.archives.names_in(change, made):
                is_once = len(parts.commits.standing(self._incoming.commit.oid, name)) == 1
                # What is illegal on the branch stays so, wherever it is moved.
                if is_once or name in self._incoming.illegal:
                    brought.setdefault(name, alone(change))
                    continue
                parts.records.illegal.setdefault(
                    name, next(iter(parts.commits.states(self._incoming.first, name)), None)
                )
                parts.records.blame(
                    name,
                    self._incoming.commit,
                    change.path,
                    Violation("duplicate_file", f"expected {name} once"),
                )
                brought.pop(name, None)

    def judge(self, brought: Container[str]) -> None:
        """Check that a carried commit made each archive that it brings, and that none changes.

        ``brought`` are the records that were judged. A carried commit that put archives back as they were restores
        their records.
        """
        parts, incoming = self._parts, self._incoming
        parts.archives.were_here(incoming.commit, incoming.changes)
        parts.archives.doubt(incoming.commit, incoming.changes, brought, incoming.now, self._maker())
        for change in self._incoming.changes:
            if not layout.archive_at(change.path):
                continue
            if change.old is not None:
                parts.findings.find(
                    self._incoming.commit, change.path, Violation("archive", archive_file.FINAL)
                )
                continue
            if not parts.records.looks_at_all:
                continue
            makers = self._incoming.makers(change)
            if not makers:
                expected = "expected each archive as one of the parents has it"
                parts.findings.find(self._incoming.commit, change.path, Violation("merge", expected))
            for maker in makers[:1]:
                for path, violation in self.compaction(maker)[0]:
                    parts.findings.find(maker, path, violation)

    def _maker(self) -> Commit | None:
        """The carried commit that made all archives of the merge that differ from the branch's, None if several did."""
        makers = [
            self._incoming.makers(change)[-1:]
            for change in self._incoming.changes
            if layout.archive_at(change.path)
        ]
        first = makers[0] if makers else []
        return first[0] if first and all(one == first for one in makers) else None
