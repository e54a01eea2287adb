"""Reads git trees strictly, and refuses a tree that git would not have written.

git tolerates malformed trees: it accepts modes such as `040000` and `100664`, and picks one of two entries with
the same name. A reader with another tolerance sees another tree than git does. So everything that reads a store
uses this module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..errors import GitFailed
from ..git.commit import ABSENT as ABSENT
from ..git.commit import FileChange as FileChange
from ..git.commit import change_of
from ..git.objects import FILE, NAMES, SUBMODULE, TREE, TreeEntry
from ..git.trees import RawEntry, folded, is_folder, shown
from ..git.trees import Unsound as Unsound
from . import layout
from .foretold import Foreteller
from .parsed_tree import Tree, between

if TYPE_CHECKING:
    from ..git.repository import Repository

#: The modes of entries that are neither plain files nor folders, as git writes them, in words.
OTHER_MODES = {"100755": "executable", "120000": "a symbolic link", SUBMODULE: "a submodule"}
#: The file that names the store's folder, at the repository's top (docs/setup.md).
KT_YAML = ".kt.yaml"
# A tree with more bytes, or a commit that changes more files, is not judged.
MAX_TREE = 64 * 1024 * 1024
MAX_CHANGES = 500_000
# A folder that holds the store may have so many bytes, or some twenty thousand entries. Each command and each push reads it,
# so a larger one, which anybody who can push could make, would slow all of them down.
MAX_ABOVE = 1024 * 1024
# How many bytes of trees are remembered for later commits.
_KEPT_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 8 * 1024 * 1024
_OWN_MODES = frozenset({TREE.encode(), FILE.encode()})
_FOREIGN_MODES = frozenset(mode.encode() for mode in OTHER_MODES)
# The folders below `queue/` that are read. Other folders are violations, whatever they hold.
_LEVELS = {
    layout.QUEUE: re.compile(r"resolved|released"),
    "resolved": re.compile(r"\d{4}", re.ASCII),
    "year": re.compile(r"\d\d", re.ASCII),
    "month": re.compile(r"\d\d", re.ASCII),
    "day": re.compile(r"(?!)"),
    layout.POLICIES: re.compile(r"(?!)"),
}
_BELOW = {layout.QUEUE: "resolved", "resolved": "year", "year": "month", "month": "day"}


class Difference(NamedTuple):
    """The differences between two root trees, by path below the store's top, and of `.kt.yaml`.

    A folder in a wrong place is one difference, whatever it holds. ``unsound`` says why the newer tree must not be
    read. ``modes`` has the store's entries that are not plain files, and what they are.
    """

    changes: tuple[FileChange, ...] = ()
    modes: tuple[tuple[str, str], ...] = ()
    unsound: Unsound | None = None


class StoreEntries(NamedTuple):
    """The ids of a store's parts at one commit. If they are equal, so is every byte of the stores."""

    queue: str | None = None
    policies: str | None = None
    kt_yaml: str | None = None


def own(found: Iterable[TreeEntry], folder: str) -> list[TreeEntry]:
    """The entries of a folder of the store. Raises Unsound if git would not have written their modes."""
    entries = list(found)
    for entry in entries:
        if entry.mode not in (FILE, TREE) and entry.mode not in OTHER_MODES:
            raise Unsound(f"has the mode {entry.mode}, which git does not write", f"{folder}/{entry.name}")
    return entries


# NTFS's short form of a longer name, or of a name that begins with a dot.
_SHORT = re.compile(r"(queue|polici|kt|ktyaml|git)~\d+(\.[a-z]{0,3})?")


@lru_cache(1000)
def _misspelled(name: bytes, wanted: frozenset[str]) -> bool:
    """Whether a file system would take an entry for one of the store's, or for `.git`, although git does not."""
    plain = folded(name)
    return (plain in wanted and name != plain.encode()) or _SHORT.fullmatch(plain) is not None


class _Item(NamedTuple):
    """Two trees to compare: the number of their pair, their path and their level in the store."""

    pair: int
    folder: str
    level: str
    old: str | None
    new: str | None


class Trees:
    """Reads the trees of one repository. ``root`` is the store's folder, empty for the repository's top."""

    def __init__(self, repository: Repository, root: str) -> None:
        self._repository = repository
        self._way = root.split("/") if root else []
        self._wanted = [self._wanted_at(depth) for depth in range(len(self._way) + 1)]
        self._width = 32 if repository.object_format == "sha256" else 20
        self._known: dict[str, Tree] = {}
        self._foreteller = Foreteller(repository.object_format, self._way, self._tree)
        self._bytes = 0
        self._entries: dict[str, StoreEntries] = {}
        self._unparsed: dict[str, bytes] = {}
        self._at_once = 32
        self._taken = 0

    def _wanted_at(self, depth: int) -> tuple[Mapping[str, str], frozenset[str]]:
        """The entries to look for in a folder above the store, with their levels, and the names that must not be misspelled."""
        wanted = {KT_YAML: "file"} if depth == 0 else {}
        wanted |= (
            {layout.QUEUE: layout.QUEUE, layout.POLICIES: layout.POLICIES}
            if depth == len(self._way)
            else {self._way[depth]: ""}
        )
        return wanted, frozenset({*wanted, ".git"} if depth in (0, len(self._way)) else {".git"})

    # --- what makes the store -----------------------------------------------------------------------

    def entries(self, roots: Sequence[str]) -> list[StoreEntries]:
        """The parts of the store at each of these root trees. An unsound one equals no other."""
        unknown = [root for root in dict.fromkeys(roots) if root not in self._entries]
        if len(self._entries) > 200_000:
            self._entries.clear()
            unknown = [*dict.fromkeys(roots)]
        above = dict(zip(unknown, unknown, strict=True))
        found: dict[str, StoreEntries] = {root: StoreEntries() for root in unknown}
        for depth in range(len(self._way) + 1):
            self._read(above.values())
            below = {}
            for root, oid in above.items():
                try:
                    tree = self._tree(oid)
                    if depth == 0:
                        found[root] = found[root]._replace(kt_yaml=_entry(tree, KT_YAML))
                    if depth == len(self._way):
                        queue, policies = (_entry(tree, name) for name in (layout.QUEUE, layout.POLICIES))
                        found[root] = found[root]._replace(queue=queue, policies=policies)
                    else:
                        part = tree.get(os.fsencode(self._way[depth]))
                        if part and part[0] == TREE:
                            below[root] = part[1]
                except Unsound:
                    found[root] = StoreEntries(root, root, root)
            above = below
        self._entries.update(found)
        return [self._entries[root] for root in roots]

    def folders(self, commit: str) -> tuple[str | None, str | None] | None:
        """The trees of `queue/` and `policies/` at a commit, or None if the commit is missing.

        Raises Unsound if one of them, or a folder above them, is not as git writes it.
        """
        root = self._repository.objects.id_of(f"{commit}^{{tree}}")
        if root is None:
            return None
        self._read([root])
        found: dict[str, str | None] = {}
        item = _Item(0, "", "", None, root)
        while item.level == "" and item.new is not None:
            below = list(self._on_the_way(item, [], list(self._tree(item.new)), []))
            found = {one.level: one.new for one in below}
            if "" not in found:
                break
            item = next(one for one in below if one.level == "")
        return found.get(layout.QUEUE), found.get(layout.POLICIES)

    def has_store(self, root: str) -> bool:
        """Whether a root tree holds a store."""
        [found] = self.entries([root])
        if found.queue == root or _is_folder_entry(found.queue):
            return True
        if found.policies is None or not _is_folder_entry(found.policies):
            return False
        oid = found.policies.partition(" ")[2]
        self._read([oid])
        try:
            names = (layout.ROSTER_NAME, layout.SETTINGS_NAME)
            return any(self._tree(oid).get(name.encode()) for name in names)
        except Unsound:
            return True

    def policies(self, root: str) -> dict[str, tuple[str, str]]:
        """Mode and id of `.kt.yaml` and of each sound entry of `policies/`, by path."""
        [found] = self.entries([root])
        files: dict[str, tuple[str, str]] = {}
        mode, _, oid = (found.kt_yaml or "").partition(" ")
        if mode == FILE:
            files[KT_YAML] = mode, oid
        mode, _, oid = (found.policies or "").partition(" ")
        if mode == TREE:
            with suppress(Unsound):
                there = _versions(self._tree(oid))
                files |= {f"{layout.POLICIES}/{name}": version for name, version in there.items()}
        return files

    # --- what differs -------------------------------------------------------------------------------

    def differences(
        self, pairs: Sequence[tuple[str | None, str | None]], guesses: Sequence[Sequence[str]] = ()
    ) -> list[Difference]:
        """The differences of the store between the root trees of each pair (None: an empty tree).

        Assumes that the older tree is sound. Of the newer one, only what differs is checked. ``guesses`` has, for each
        pair, the files below the store's top that probably differ, each once and where the layout has such files; all but
        the last are absent in the newer tree. Right guesses save reading the trees, wrong ones change nothing.
        """
        found: list[Difference] = []
        at = 0
        while at < len(pairs):
            some = pairs[at : at + self._at_once]
            before = self._taken
            found += self._some_differences(some, guesses[at : at + len(some)])
            at += len(some)
            # A tree of ten thousand files takes half a megabyte, so only a few are read at a time.
            few = self._taken - before > _CHUNK_BYTES
            self._at_once = max(self._at_once // 2, 8) if few else min(self._at_once * 2, 256)
        return found

    def _some_differences(
        self, pairs: Sequence[tuple[str | None, str | None]], guesses: Sequence[Sequence[str]]
    ) -> list[Difference]:
        found: list[Difference] = []
        unread: list[tuple[str | None, str | None]] = []
        for pair, (paths, oid) in zip(pairs, self._guessed(pairs, guesses), strict=True):
            old, new = pair
            changes = None
            if paths and old and new:
                if unread:
                    # What this one is written from.
                    found += self._read_differences(unread)
                    unread = []
                changes = self._foreteller.changes(old, new, paths, oid)
            if changes is None:
                unread.append(pair)
            else:
                found.append(Difference(changes))
        return [*found, *self._read_differences(unread)] if unread else found

    def _guessed(
        self, pairs: Sequence[tuple[str | None, str | None]], guesses: Sequence[Sequence[str]]
    ) -> list[tuple[Sequence[str], str | None]]:
        """For each pair, the guessed files, if they are of use, and the last one's id in the newer tree."""
        nothing: tuple[Sequence[str], None] = (), None
        if not any(guesses):
            return [nothing] * len(pairs)
        above = "".join(f"{part}/" for part in self._way)
        useful = [
            paths if old and new and old != new else ()
            for (old, new), paths in zip(pairs, guesses, strict=True)
        ]
        asked = [f"{new}:{above}{paths[-1]}" for (_, new), paths in zip(pairs, useful, strict=True) if paths]
        try:
            oids = iter(self._repository.objects.ids_of(asked))
        except GitFailed:
            # git ends when it looks for a name in a malformed tree. Reading the trees says what is wrong with them.
            return [nothing] * len(pairs)
        return [(paths, next(oids)) if paths else nothing for paths in useful]

    def _read_differences(self, pairs: Sequence[tuple[str | None, str | None]]) -> list[Difference]:
        if any(old != new for old, new in pairs):
            # They begin where the foretold ones end.
            self._keep(self._foreteller.close())
        return self._differences(pairs)

    def _differences(self, pairs: Sequence[tuple[str | None, str | None]]) -> list[Difference]:
        changes: list[list[FileChange]] = [[] for _ in pairs]
        modes: list[list[tuple[str, str]]] = [[] for _ in pairs]
        unsound: dict[int, Unsound] = {}
        level = [_Item(n, "", "", old, new) for n, (old, new) in enumerate(pairs) if old != new]
        while level:
            self._read(oid for item in level for oid in (item.old, item.new) if oid)
            below: list[_Item] = []
            for item in level:
                if item.pair in unsound:
                    continue
                try:
                    below += self._compare(item, changes[item.pair], modes[item.pair])
                    if len(changes[item.pair]) > MAX_CHANGES:
                        raise Unsound(f"changes more than {MAX_CHANGES} files")
                except Unsound as error:
                    unsound[item.pair] = error.at(item.folder.rstrip("/"))
            level = below
        self._unparsed.clear()
        return [
            Difference(unsound=unsound[n]) if n in unsound else Difference(tuple(some), tuple(modes[n]))
            for n, some in enumerate(changes)
        ]

    def _compare(
        self, item: _Item, changes: list[FileChange], modes: list[tuple[str, str]]
    ) -> Iterator[_Item]:
        old = self._tree(item.old) if item.old else None
        gone: Sequence[RawEntry]
        came: Sequence[RawEntry]
        if item.new is None:
            gone, came = list(old or ()), []
        elif old is None:
            gone, came = [], list(self._tree(item.new))
        elif item.new in self._known:
            gone, came = between(old, self._known[item.new])
        else:
            tree, gone, came = old.followed_by(self._data(item.new))
            self._keep([(item.new, tree)])
        if item.level == "":
            return self._on_the_way(item, gone, came, changes)
        return _within(item, gone, came, changes, modes)

    def _on_the_way(
        self,
        item: _Item,
        gone: Sequence[RawEntry],
        came: Sequence[RawEntry],
        changes: list[FileChange],
    ) -> Iterator[_Item]:
        """Compare folders above the store. Entries that do not lead to the store do not matter."""
        if item.new is not None:
            self._require_small(item.new)
        wanted, spellings = self._wanted[item.folder.count("/")]
        for _, name, _ in came:
            if _misspelled(name, spellings):
                raise Unsound(f"has {shown(name)}, which some file system takes for another name")
        found = {part: (old, new) for part, old, new in _by_name(gone, came)}
        for part, level in wanted.items():
            old, new = found.get(part, (None, None))
            if old == new:
                continue
            if level == "file":
                if new and new[0] != FILE:
                    raise Unsound(f"has it as {_kind(new[0])}", KT_YAML)
                changes.append(change_of(KT_YAML, old, new))
                continue
            if new and new[0] != TREE:
                wrong = part if level else f"{item.folder}{part}"
                raise Unsound(f"is {_kind(new[0])}, and no folder as git writes one", wrong)
            folder = f"{part}/" if level else f"{item.folder}{part}/"
            old_oid = old[1] if old and old[0] == TREE else None
            yield _Item(item.pair, folder, level, old_oid, new[1] if new else None)

    # --- reading ------------------------------------------------------------------------------------

    def _require_small(self, above: str) -> None:
        """Refuse a folder above the store that is too large."""
        if len(self._tree(above).data) > MAX_ABOVE:
            raise Unsound(f"has more than {MAX_ABOVE // 1024} KiB of entries beside the store")

    def _tree(self, oid: str) -> Tree:
        found = self._known.get(oid)
        if found is None:
            found = Tree(self._data(oid), self._width)
            self._keep([(oid, found)])
        return found

    def _data(self, oid: str) -> bytes:
        data = self._unparsed.pop(oid, None)
        if data is None:
            self._read([oid])
            data = self._unparsed.pop(oid, None)
        if data is None:
            raise Unsound("is missing, no folder, or too large to be judged")
        return data

    def _read(self, oids: Iterable[str]) -> None:
        """Read all trees that are not known yet, at once."""
        unknown = [oid for oid in dict.fromkeys(oids) if oid not in self._known and oid not in self._unparsed]
        for oid, found in zip(unknown, self._repository.objects.get(unknown, MAX_TREE), strict=True):
            if found is not None and found.kind == "tree" and found.data is not None:
                self._unparsed[oid] = found.data
                self._taken += len(found.data)

    def _keep(self, found: Iterable[tuple[str, Tree]]) -> None:
        known = self._known
        for oid, tree in found:
            if oid not in known:
                known[oid] = tree
                self._bytes += len(tree.data)
        if self._bytes > _KEPT_BYTES:
            # The newest are compared with the next.
            for other in list(known)[:-2]:
                if self._bytes > _KEPT_BYTES // 2:
                    self._bytes -= len(known.pop(other).data)


def _within(
    item: _Item,
    gone: Sequence[RawEntry],
    came: Sequence[RawEntry],
    changes: list[FileChange],
    modes: list[tuple[str, str]],
) -> Iterator[_Item]:
    """Compare folders of the store. Only plain files, and folders of the layout, are sound."""
    for mode, name, _ in came:
        if mode in _OWN_MODES:
            continue
        path = f"{item.folder}{name.decode(*NAMES)}"
        if mode not in _FOREIGN_MODES:
            raise Unsound(f"has the mode {mode.decode()}, which git does not write", path)
        modes.append((path, OTHER_MODES[mode.decode()]))
    allowed = _LEVELS[item.level]
    for part, old, new in _by_name(gone, came):
        if old == new:
            continue
        path = f"{item.folder}{part}"
        if allowed.fullmatch(part):
            before = old[1] if old and old[0] == TREE else None
            after = new[1] if new and new[0] == TREE else None
            if before or after:
                yield _Item(item.pair, f"{path}/", _BELOW[item.level], before, after)
            old, new = None if before else old, None if after else new
        if old or new:
            changes.append(change_of(path, old, new))


_Version = tuple[str, str]


def _by_name(
    gone: Sequence[RawEntry], came: Sequence[RawEntry]
) -> list[tuple[str, _Version | None, _Version | None]]:
    """The entries that differ, in the order of their names: the name, and mode and id on both sides."""
    if len(gone) == len(came) == 1 and gone[0][1] == came[0][1]:
        # The usual case.
        [(mode, name, oid)], [(new_mode, _, new_oid)] = gone, came
        return [(name.decode(*NAMES), (mode.decode(), oid.hex()), (new_mode.decode(), new_oid.hex()))]
    was, now = _versions(gone), _versions(came)
    return [(name, was.get(name), now.get(name)) for name in sorted({*was, *now})]


def _versions(found: Iterable[RawEntry]) -> dict[str, _Version]:
    return {name.decode(*NAMES): (mode.decode(), oid.hex()) for mode, name, oid in found}


def _entry(tree: Tree, name: str) -> str | None:
    found = tree.get(name.encode())
    return f"{found[0]} {found[1]}" if found else None


def _is_folder_entry(entry: str | None) -> bool:
    """Whether git takes a part of the store for a folder, however its mode is written."""
    return entry is not None and is_folder(entry.partition(" ")[0].encode())


def _kind(mode: str) -> str:
    return OTHER_MODES.get(mode) or {FILE: "a plain file", TREE: "a folder"}.get(mode, f"of the mode {mode}")
