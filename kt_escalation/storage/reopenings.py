"""Finds the record files that reopen another escalation, without a search in all files each time.

The clone has a note of them for one commit. For another commit, only the files that differ are read. If the
note is missing, git searches all files again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from ..git.trees import Unsound
from ..model.vocabulary import MAX_BYTES
from . import layout, notebook
from .trees import FileChange

if TYPE_CHECKING:
    from .reader import Reader

_NOTE = "reopened"
REOPENS = re.compile(rb'^reopens: "?(esc_[a-z0-9_-]+)"?$', re.MULTILINE)
# Files that differ are read up to so many; searching all of them is faster for more.
_MOST = 5_000
# The note is replaced when this many files have changed since.
_MANY = 50


class Reopenings:
    """The record files of one clone that reopen another escalation."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: tuple[str, Mapping[str, str]] | None = None

    def at(self, commit: str) -> Mapping[str, str]:
        """The files at a commit that reopen an escalation, each with the id that it reopens.

        Archives are not searched.
        """
        if self._known is None:
            self._known = self._noted()
        if self._known is None or self._known[0] != commit:
            self._known = commit, self._at(commit)
        return self._known[1]

    def _at(self, commit: str) -> Mapping[str, str]:
        known = self._known
        changes = self._differing(known[0], commit) if known else None
        if known is None or changes is None:
            found = self._searched(commit)
            self._note(commit, found)
            return found
        found = dict(known[1])
        for change in changes:
            found.pop(change.path, None)
        found.update(self._read({one.path: one.new for one in changes if one.new is not None}))
        if len(changes) > _MANY:
            self._note(commit, found)
        return found

    def _differing(self, old: str, new: str) -> list[FileChange] | None:
        """The record files that differ between two commits. None if they are too many to read, or unknown."""
        repository = self._reader.repository
        roots = repository.objects.ids_of([f"{old}^{{tree}}", f"{new}^{{tree}}"])
        if None in roots:
            return None
        try:
            [found] = self._reader.trees.differences([(roots[0], roots[1])])
        except Unsound:
            return None
        changes = [one for one in found.changes if layout.id_of(one.path)]
        return None if found.unsound is not None or len(changes) > _MOST else changes

    def _searched(self, commit: str) -> dict[str, str]:
        """Search all files."""
        repository, location = self._reader.repository, self._reader.location
        folder = location.full(layout.QUEUE)
        above = location.full(layout.QUEUE).removesuffix(layout.QUEUE)
        named = repository.grep(commit, "^reopens: ", folder, "resolved/*/*/archive-*")
        lines = ((path.removeprefix(above), REOPENS.match(line.encode())) for path, line in named)
        return {path: found[1].decode() for path, found in lines if found}

    def _read(self, blobs: Mapping[str, str]) -> dict[str, str]:
        read = self._reader.repository.objects.get(list(blobs.values()), largest=MAX_BYTES)
        found = (
            (path, REOPENS.search(one.data or b"") if one else None)
            for path, one in zip(blobs, read, strict=True)
        )
        return {path: match[1].decode() for path, match in found if match}

    def _noted(self) -> tuple[str, Mapping[str, str]] | None:
        note = notebook.read(self._reader.location.lock_folder, _NOTE) or {}
        commit, files = note.get("commit"), note.get("files")
        if note.get("root") != self._reader.location.root or not isinstance(commit, str):
            return None
        return (commit, files) if isinstance(files, dict) else None

    def _note(self, commit: str, files: Mapping[str, str]) -> None:
        # A clone that cannot be written searches again.
        with suppress(OSError, ValueError):
            note = {"root": self._reader.location.root, "commit": commit, "files": dict(files)}
            notebook.write(self._reader.location.lock_folder, _NOTE, note)
