"""Foretells the trees of a commit whose message names what it did, so that they need not be read.

Where the files that a commit probably changed are known, git looks up their versions in one short answer each. The
trees that it has if it changed nothing else are then written from those before it. If their id is the commit's, they
are the commit's to the last byte. If not, nothing was learnt, and the trees have to be read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence

from ..git.log import FileChange, change_of
from ..git.objects import FILE, TREE
from .parsed_tree import Tree

_FILE, _FOLDER = FILE.encode(), TREE.encode()
# The names that lead to a file, its path and its id (None: absent).
_GuessedFile = tuple[Sequence[bytes], str, str | None]


class _Unforetold(Exception):
    """The trees before the commit are not as expected."""


class Foreteller:
    """Writes trees. ``tree`` returns the one with an id, and raises Unsound; ``keep`` is given each that was right."""

    def __init__(
        self, object_format: str, tree: Callable[[str], Tree], keep: Callable[[str, Tree], None]
    ) -> None:
        self._hash = hashlib.sha256 if object_format == "sha256" else hashlib.sha1
        self._width = self._hash(usedforsecurity=False).digest_size
        self._tree, self._keep = tree, keep

    def changes(
        self, old: str, new: str, root: Sequence[str], files: Sequence[tuple[str, str | None]]
    ) -> tuple[FileChange, ...] | None:
        """The changes from one root tree to another, if they are all in these files of a store's folder. None if not.

        ``files`` are paths below the folder ``root`` and their ids in the new tree. Raises Unsound.
        """
        made: list[tuple[bytes, Tree]] = []
        changes: list[FileChange] = []
        versions = [(os.fsencode("/".join([*root, path])).split(b"/"), path, oid) for path, oid in files]
        try:
            self._write(self._tree(old), 0, versions, made, changes)
        except _Unforetold:
            return None
        if not made or made[-1][0].hex() != new:
            return None
        for oid, tree in made:
            self._keep(oid.hex(), tree)
        return tuple(changes)

    def _write(
        self,
        tree: Tree | None,
        depth: int,
        versions: Sequence[_GuessedFile],
        made: list[tuple[bytes, Tree]],
        changes: list[FileChange],
    ) -> bytes | None:
        """Write the tree at some depth on the way to these versions, after those below it. Its id, None if it is empty."""
        below: dict[bytes, list[_GuessedFile]] = {}
        for version in versions:
            way, path, new = version
            name = way[depth]
            if len(way) > depth + 1:
                below.setdefault(name, []).append(version)
                continue
            place, old = self._entry(tree, _FILE, name)
            if old != new:
                changes.append(change_of(path, (FILE, old) if old else None, (FILE, new) if new else None))
                tree = self._entered(tree, place, (_FILE, name), bytes.fromhex(new) if new else None)
        for name, inside in below.items():
            place, old = self._entry(tree, _FOLDER, name)
            oid = self._write(self._tree(old) if old else None, depth + 1, inside, made, changes)
            tree = self._entered(tree, place, (_FOLDER, name), oid)
        if tree is None or not tree.data:
            return None
        hashed = self._hash(b"tree %d\0" % len(tree.data), usedforsecurity=False)
        hashed.update(tree.data)
        made.append((hashed.digest(), tree))
        return made[-1][0]

    @staticmethod
    def _entry(tree: Tree | None, mode: bytes, name: bytes) -> tuple[int | None, str | None]:
        """Index and id of an entry. Neither if it is absent. Raises _Unforetold if it has another mode."""
        found = tree.find(name) if tree else None
        if found is None:
            return None, None
        if found[1] != mode:
            raise _Unforetold
        return found[0], found[2].hex()

    def _entered(
        self, tree: Tree | None, place: int | None, entry: tuple[bytes, bytes], oid: bytes | None
    ) -> Tree | None:
        """The tree with another id, or none, for an entry at a place, or for a new one."""
        if tree is not None and place is not None:
            return tree.with_id(place, oid) if oid else tree.without(place)
        if oid is None:
            return tree
        return (tree or Tree(b"", self._width)).with_entry((*entry, oid))
