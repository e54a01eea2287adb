"""Foretells the trees of a commit whose message names what it did, so that they need not be read.

Where the files that a commit probably changed are known, git looks up the last one's version in a short answer. The
trees that the commit has if it changed nothing else are then written from those before it. If their id is the commit's,
they are the commit's to the last byte. If not, nothing was learnt, and the trees have to be read.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache

from ..git.commit import ABSENT, FileChange
from ..git.objects import FILE, NAMES, TREE
from ..git.trees import Unsound
from .parsed_tree import Tree

# What an entry begins with, before its id.
_FILE, _FOLDER = (b"%b %%b\0" % mode.encode() for mode in (FILE, TREE))
# How many bytes of folders stay open. Their indexes take about twice as many.
_MOST_BYTES = 4 * 1024 * 1024

# An entry's sort key, and what it begins with.
_Entry = tuple[bytes, bytes]


class _Unforetold(Exception):
    """The trees before the commit are not as expected."""


class _Folder:
    """A tree that is changed in place: its bytes, and the sort keys and sizes of its entries."""

    __slots__ = ("_last", "data", "keys", "sizes")

    def __init__(self, tree: Tree) -> None:
        keys, sizes = tree.index
        self.data, self.keys, self.sizes = bytearray(tree.data), keys.copy(), sizes.copy()
        # The entry that was given an id last, and where that begins and ends, until an entry is added or removed.
        self._last: tuple[_Entry | None, int, int] = None, 0, 0

    def closed(self, width: int) -> Tree:
        """The tree as it is now, which takes over the index."""
        return Tree(bytes(self.data), width, None, (self.keys, self.sizes))

    def get(self, entry: _Entry) -> bytes | None:
        """The id of an entry. None if it is absent. Raises _Unforetold if it has another mode."""
        at, start, is_there = self._find(entry)
        return bytes(self.data[start + len(entry[1]) : start + self.sizes[at]]) if is_there else None

    def put(self, entry: _Entry, oid: bytes | None) -> bytes | None:
        """Give an entry an id, or remove it (None). Returns the id that it had; None if it was absent.

        Raises _Unforetold if it has another mode.
        """
        data = self.data
        last, begin, end = self._last
        if entry is not last or oid is None:
            at, start, is_there = self._find(entry)
            if not is_there:
                if oid is not None:
                    self._add(at, start, entry, oid)
                return None
            begin, end = start + len(entry[1]), start + self.sizes[at]
            if oid is None:
                old = bytes(data[begin:end])
                del data[start:end], self.keys[at], self.sizes[at]
                self._last = None, 0, 0
                return old
            self._last = entry, begin, end
        old = bytes(data[begin:end])
        data[begin:end] = oid
        return old

    def _find(self, entry: _Entry) -> tuple[int, int, bool]:
        """Where an entry is, or would be: index and offset, and whether it is there."""
        key, head = entry
        data, keys, sizes = self.data, self.keys, self.sizes
        at = bisect_left(keys, key)
        start = sum(sizes[:at]) if at * 2 < len(sizes) else len(data) - sum(sizes[at:])
        if at < len(keys) and keys[at] == key:
            if data[start : start + len(head)] != head:
                raise _Unforetold
            return at, start, True
        other = key[:-1] if key.endswith(b"/") else key + b"/"
        if keys[(place := bisect_left(keys, other)) : place + 1] == [other]:
            raise _Unforetold
        return at, start, False

    def _add(self, at: int, start: int, entry: _Entry, oid: bytes) -> None:
        key, head = entry
        self.data[start:start] = head + oid
        self.keys.insert(at, key)
        self.sizes.insert(at, len(head) + len(oid))
        self._last = None, 0, 0


# What was put where, with the id that was there before.
_Done = tuple[_Folder, _Entry, bytes | None]


class Foreteller:
    """Writes the trees of a store in the folder ``root``, each from the one before.

    ``tree`` returns the one with an id, and raises Unsound.
    """

    def __init__(self, object_format: str, root: Sequence[str], tree: Callable[[str], Tree]) -> None:
        self._hash = hashlib.sha256 if object_format == "sha256" else hashlib.sha1
        self._width = self._hash(usedforsecurity=False).digest_size
        self._root, self._tree = "".join(f"{part}/" for part in root), tree
        # A root tree, or nothing while it is being changed, and folders in it. One that it does not have is empty.
        self._at = ""
        self._open: dict[str, _Folder] = {}
        self._counted = 0
        # The ids of those that were changed; of an empty one, nothing.
        self._new: dict[str, bytes] = {}

    def close(self) -> list[tuple[str, Tree]]:
        """Close all folders. Returns the newest trees that were written, with their ids."""
        new: list[tuple[str, Tree]] = []
        # If something else than a wrong guess has interrupted a change, nobody knows what they are.
        if self._at:
            new = [
                (oid.hex(), self._open[path].closed(self._width)) for path, oid in self._new.items() if oid
            ]
        self._at = ""
        self._open.clear()
        self._new.clear()
        return new

    def changes(
        self, old: str, new: str, paths: Sequence[str], oid: str | None
    ) -> tuple[FileChange, ...] | None:
        """The changes from one root tree to another, if they are all in these files. None if not, or if nobody knows.

        ``paths`` are below the store's top, each once. ``oid`` is the last one's id in the new tree (None: absent). The
        others are absent there, and in folders on the way to the last.
        """
        done: list[_Done] = []
        made: dict[str, bytes] = {}
        changes: tuple[FileChange, ...] = ()
        try:
            self._start(old)
        except Unsound:
            return None
        self._at = ""
        try:
            changes = self._write(paths, oid, done, made)
        except (_Unforetold, Unsound):
            made.clear()
        if made.get("", b"").hex() == new:
            self._at = new
            self._new.update(made)
            return changes
        for folder, entry, before in reversed(done):
            folder.put(entry, before)
        self._at = old
        return None

    def _start(self, root: str) -> None:
        """Begin at a root tree, with what is open in it already, unless that is too much. Raises Unsound."""
        is_large = False
        if self._counted != len(self._open):
            self._counted = len(self._open)
            is_large = sum(len(one.data) for one in self._open.values()) > _MOST_BYTES
        if self._at != root or is_large:
            self.close()
            self._open[""] = _Folder(self._tree(root))

    def _write(
        self, paths: Sequence[str], oid: str | None, done: list[_Done], made: dict[str, bytes]
    ) -> tuple[FileChange, ...]:
        """Change the files and the folders above them. Adds what was done, and the new ids of the folders."""
        places = [self._split(path) for path in paths]
        last, _ = places[-1]
        way = _way(last)
        for path, above, entry in reversed(way):
            if path not in self._open:
                found = self._open[above].get(entry)
                self._open[path] = _Folder(self._tree(found.hex()) if found else Tree(b"", self._width))
        changes: list[FileChange] = []
        for path, (folder, name) in zip(paths, places, strict=True):
            if not last.startswith(folder):
                raise _Unforetold
            new = oid if path is paths[-1] else None
            inner, entry = self._open[folder], (name, _FILE % name)
            before = inner.put(entry, bytes.fromhex(new) if new else None)
            done.append((inner, entry, before))
            old = before.hex() if before else None
            if old != new:
                changes.append(FileChange(path, FILE if old else ABSENT, FILE if new else ABSENT, old, new))
        # The last one's folder, and then those above it.
        for path, above, entry in way:
            made[path] = self._id(inner.data)
            inner = self._open[above]
            # git writes no entry for an empty folder.
            done.append((inner, entry, inner.put(entry, made[path] or None)))
        made[""] = self._id(inner.data)
        return tuple(changes)

    def _split(self, path: str) -> tuple[str, bytes]:
        """The folder of a file of the store, with a slash behind it unless it is the root, and the file's name."""
        folder, slash, name = f"{self._root}{path}".rpartition("/")
        return folder + slash, name.encode(*NAMES)

    def _id(self, data: bytearray) -> bytes:
        """The id of a tree. Nothing if it is empty."""
        if not data:
            return b""
        hashed = self._hash(b"tree %d\0" % len(data), usedforsecurity=False)
        hashed.update(data)
        return hashed.digest()


@lru_cache(64)
def _way(folder: str) -> tuple[tuple[str, str, _Entry], ...]:
    """A folder and those above it, without the root: path, path of the one above, and the entry in that.

    All paths but the root's end with a slash.
    """
    found: list[tuple[str, str, _Entry]] = []
    above = ""
    for name in folder.split("/")[:-1]:
        raw = name.encode(*NAMES)
        found.insert(0, (f"{above}{name}/", above, (raw + b"/", _FOLDER % raw)))
        above = f"{above}{name}/"
    return tuple(found)
