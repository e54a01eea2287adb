"""What trees are foretold to be is what they are, and a wrong guess changes nothing but the time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab import git

from kt_escalation.git.commit import FileChange, change_of
from kt_escalation.git.objects import Object
from kt_escalation.git.repository import Repository
from kt_escalation.storage import foretold
from kt_escalation.storage.foretold import Foreteller
from kt_escalation.storage.parsed_tree import Tree
from kt_escalation.storage.trees import Trees

NAMES = [f"esc_{letter}{number}" for letter in "abmyz" for number in (1, 10, 2)]
Files = dict[str, tuple[str, bytes]]


class Past:
    """A repository, and the root trees of a random history in it, each with the files that were changed for it."""

    def __init__(self, path: Path, root: str, object_format: str) -> None:
        git("init", "--quiet", f"--object-format={object_format}", str(path), cwd=path.parent)
        self.path, self.root = path, f"{root}/" if root else ""
        self._blobs: dict[bytes, str] = {}
        files: Files = {
            "README.md": ("100644", b"x"),
            f"{self.root}policies/roster.yaml": ("100644", b"teams: []"),
        }
        self.files = files | {f"{self.root}queue/.gitkeep": ("100644", b"")}

    def _blob(self, data: bytes) -> str:
        if data not in self._blobs:
            told = ["git", "hash-object", "-w", "--stdin"]
            done = subprocess.run(told, cwd=self.path, input=data, capture_output=True, check=True)
            self._blobs[data] = done.stdout.decode().strip()
        return self._blobs[data]

    def tree(self) -> str:
        """The root tree of the files as they are now."""
        lines = []
        for path, (mode, data) in self.files.items():
            lines.append(f"{mode} {self._blob(data)}\t{path}\n")
        git("read-tree", "--empty", cwd=self.path)
        subprocess.run(
            ["git", "update-index", "--index-info"], cwd=self.path, input="".join(lines).encode(), check=True
        )
        return git("write-tree", cwd=self.path)

    def step(self, random: Random, number: int) -> list[str]:
        """Change a record as kt does: raise it, write it again, or move it. The files, below the store's top."""
        name, data = random.choice(NAMES), b"%d\n" % number
        still = f"queue/{name}.yaml"
        done = f"queue/resolved/20{random.randint(24, 25)}/0{random.randint(1, 2)}/01/{name}.yaml"
        if f"{self.root}{still}" in self.files and random.random() < 0.6:
            del self.files[f"{self.root}{still}"]
            self.files[f"{self.root}{done}"] = "100644", data
            return [still, done]
        self.files[f"{self.root}{still}"] = "100644", data
        return [still]

    def beside(self, random: Random, changed: str) -> None:
        """Change something that nobody would guess."""
        path = random.choice(
            ["README.md", f"{self.root}policies/settings.yaml", f"{self.root}queue/esc_other.yaml", changed]
        )
        mode = "100755" if path == changed else "100644"
        if path in self.files or path != changed:
            self.files[path] = mode, b"%d" % random.randrange(10**9)


def reading(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the objects that are read from now on."""
    kinds: list[str] = []
    get = repository.objects.get

    def watched(names: Sequence[str], largest: int | None = None) -> list[Object | None]:
        found = get(names, largest)
        kinds.extend(one.kind for one in found if one)
        return found

    monkeypatch.setattr(repository.objects, "get", watched)
    return kinds


@pytest.fixture(params=["", "team/a b"])
def root(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_right_guesses_read_no_tree_and_find_the_same(
    tmp_path: Path, root: str, object_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    past, random = Past(tmp_path / "r", root, object_format), Random(f"{root}{object_format}")
    roots, guesses = [past.tree()], []
    for number in range(40):
        guesses.append(past.step(random, number))
        roots.append(past.tree())
    pairs = list(pairwise(roots))
    repository = Repository(past.path)
    wanted = Trees(repository, root).differences(pairs)
    trees = Trees(repository, root)
    trees.differences(pairs[:1])
    kinds = reading(repository, monkeypatch)
    assert trees.differences(pairs[1:], guesses[1:]) == wanted[1:]
    repository.objects.close()
    assert kinds == [], "all of them were foretold"
    moved = [one for one in wanted if len(one.changes) == 2]
    assert len(moved) > 5, "records were also resolved"


@pytest.mark.parametrize("seed", range(6))
def test_wrong_guesses_find_the_same(tmp_path: Path, root: str, seed: int) -> None:
    past, random = Past(tmp_path / "r", root, "sha256" if seed % 2 else "sha1"), Random(seed)
    roots: list[str | None] = [past.tree()]
    guesses: list[list[str]] = []
    for number in range(40):
        guess = past.step(random, number)
        if random.random() < 0.3:
            past.beside(random, f"{past.root}{guess[-1]}")
        if random.random() < 0.2:
            guess = random.choice(
                [[], [f"queue/{random.choice(NAMES)}.yaml"], ["queue"], ["queue/resolved/x/y.yaml"]]
            )
        guesses.append(guess)
        roots.append(past.tree())
    roots.append(roots[0])
    guesses.append(["queue/esc_a1.yaml"])
    pairs = list(pairwise([None, *roots]))
    repository = Repository(past.path)
    wanted = Trees(repository, root).differences(pairs)
    assert Trees(repository, root).differences(pairs, [["queue/esc_a1.yaml"], *guesses]) == wanted
    repository.objects.close()


# --- written trees, as they may be ------------------------------------------------------------------

Leaf = tuple[bytes, bytes]
#: The entries of a folder by name: mode and id, or what is in the folder.
Node = dict[bytes, "Leaf | Node"]

_STORED = ["queue/esc_a.yaml", "queue/esc_b.yaml", "queue/resolved/2024/03/10/esc_a.yaml"]
_STORED_NAMES = st.sampled_from([b"esc_a.yaml", b"esc_b.yaml"])
# Names that end with others, begin with them, sort beside them, or look like the beginning of an entry.
_ODD_NAMES = st.sampled_from(
    [
        b"esc_a.yaml",
        b"esc_a.yaml-",
        b"esc_a.yaml0",
        b"x esc_a.yaml",
        b"100644 esc_a.yaml",
        b"esc_a",
        b"esc_b.yaml",
        b"queue",
        b"queue.",
        b"queue0",
        b"40000 queue",
        b"resolved",
        b"resolved-",
        b"2024",
        b"10",
        b" ",
        b"\xff",
    ]
)
_ODD_IDS = st.sampled_from(
    [b"100644 esc_a.yaml\0", b"\0", b" queue\0", b"40000 queue\0", b"z100644 esc_b.yaml\0", b"100"]
)
_ODD_MODES = st.sampled_from([b"100644"] * 6 + [b"100755", b"120000", b"160000", b"0100644", b"644", b"0"])
_LEAVES = st.tuples(_ODD_MODES, _ODD_IDS)
_INSIDE: st.SearchStrategy[Node] = st.recursive(
    st.dictionaries(_ODD_NAMES, _LEAVES, max_size=4),
    lambda below: st.dictionaries(_ODD_NAMES, _LEAVES | below, max_size=5),
    max_leaves=12,
)


@st.composite
def stores(draw: st.DrawFn) -> Node:
    """The root tree of a store with anything in it and beside it."""
    node: Node = {}
    for name in (b"10", b"03", b"2024", b"resolved", b"queue"):
        # A file in its place, nothing, or the folder; and others beside it.
        there = draw(st.sampled_from([node] * 8 + [{}, draw(_LEAVES)]))
        node = {**draw(_INSIDE), **draw(st.dictionaries(_STORED_NAMES, _LEAVES, max_size=2)), name: there}
    return without_empty(node)


class Written:
    """Trees that were written by hand, and a foreteller that reads them."""

    def __init__(self, object_format: str, root: str) -> None:
        self._hash = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}[object_format]
        self.width = self._hash().digest_size
        self.trees: dict[str, bytes] = {}
        self.way = root.split("/") if root else []
        self.foreteller = Foreteller(object_format, self.way, self.tree)

    def tree(self, oid: str) -> Tree:
        return Tree(self.trees[oid], self.width)

    def full(self, oid: bytes) -> bytes:
        """An id of the right length."""
        return (oid * self.width)[: self.width]

    def write(self, node: Node) -> str:
        """Write a folder and those in it. Its id."""
        lines = []
        for name, inside in node.items():
            if not isinstance(inside, dict):
                lines.append((name, b"%b %b\0%b" % (inside[0], name, self.full(inside[1]))))
            elif inside := without_empty(inside):
                lines.append((name + b"/", b"40000 %b\0%b" % (name, bytes.fromhex(self.write(inside)))))
        return self.add(b"".join(line for _, line in sorted(lines)))

    def add(self, data: bytes) -> str:
        """Add a tree of any bytes. Its id."""
        oid = self._hash(b"tree %d\0" % len(data) + data).hexdigest()
        self.trees[oid] = data
        return oid

    def files(self, node: Node, above: str = "") -> dict[str, tuple[str, str]]:
        """Mode and id of everything that is no folder, by path."""
        found: dict[str, tuple[str, str]] = {}
        for name, inside in node.items():
            path = f"{above}{os.fsdecode(name)}"
            if isinstance(inside, dict):
                found |= self.files(inside, f"{path}/")
            else:
                found[path] = inside[0].decode(), self.full(inside[1]).hex()
        return found

    def changed(self, old: Node, new: Node) -> set[FileChange]:
        was, now = self.files(old), self.files(new)
        top = "".join(f"{part}/" for part in self.way)
        return {
            change_of(path.removeprefix(top), was.get(path), now.get(path))
            for path in was.keys() | now.keys()
            if was.get(path) != now.get(path)
        }


def without_empty(node: Node) -> Node:
    """A folder without those in it that hold no file, which git does not write."""
    cleaned = {
        name: without_empty(inside) if isinstance(inside, dict) else inside for name, inside in node.items()
    }
    return {name: inside for name, inside in cleaned.items() if inside != {}}


def with_file(node: Node, way: Sequence[bytes], leaf: Leaf | None) -> tuple[Node, bool]:
    """A folder with another version of a file, or without it; and whether all on the way to it is as kt writes it."""
    [name, *rest] = way
    there = node.get(name)
    if rest:
        if there is not None and not isinstance(there, dict):
            return node, False
        inside, is_plain = with_file(there or {}, rest, leaf)
        return {**node, name: inside}, is_plain
    if isinstance(there, dict):
        return node, False
    others = {one: inside for one, inside in node.items() if one != name}
    return (others if leaf is None else {**others, name: leaf}), there is None or there[0] == b"100644"


@given(
    st.data(),
    st.sampled_from(["sha1", "sha256"]),
    st.sampled_from(["", "40000 queue/queue"]),
    stores(),
)
def test_what_is_foretold_of_hostile_trees_is_true(
    data: st.DataObject, object_format: str, root: str, node: Node
) -> None:
    written = Written(object_format, root)
    if root and data.draw(st.booleans()):
        node = {**node, b"40000 queue": {b"queue": node}}
    old = written.write(node)
    for _ in range(data.draw(st.integers(1, 5))):
        paths = data.draw(st.lists(st.sampled_from(_STORED), min_size=1, max_size=2, unique=True).map(sorted))
        leaf = data.draw(st.none() | _ODD_IDS.map(lambda oid: (b"100644", oid)))
        after, is_plain = node, True
        for path in paths:
            way = [os.fsencode(part) for part in [*written.way, *path.split("/")]]
            after, is_as_expected = with_file(after, way, leaf if path == paths[-1] else None)
            is_plain = is_plain and is_as_expected
        is_right = data.draw(st.booleans())
        if not is_right:
            # Something that was not guessed differs as well, or nothing of what was guessed.
            after = data.draw(st.just(node) | _INSIDE.map(lambda more: {**after, **more}))  # noqa: B023
        after = without_empty(after)
        new = written.write(after)
        found = written.foreteller.changes(old, new, paths, leaf and written.full(leaf[1]).hex())
        if found is not None:
            assert sorted(found, key=str) == sorted(written.changed(node, after), key=str)
        elif is_right and is_plain and after:
            raise AssertionError("a right guess was not taken")
        if data.draw(st.booleans()):
            for oid, tree in written.foreteller.close():
                assert tree.data == written.trees[oid]
                again = Tree(tree.data, written.width)
                assert (tree.starts, tree.index) == (again.starts, again.index)
        if found is not None or data.draw(st.booleans()):
            node, old = after, new


def test_a_second_entry_of_a_name_is_not_foretold() -> None:
    written = Written("sha1", "")
    path, oid = "queue/esc_a.yaml", written.full(b"new").hex()
    file = b"100644 esc_a.yaml\0" + bytes.fromhex(oid)
    other = b"40000 esc_a.yaml\0" + bytes.fromhex(written.write({b"x": (b"100644", b"x")}))

    def in_queue(data: bytes) -> bytes:
        return b"40000 queue\0" + bytes.fromhex(written.add(data))

    beside_folder = written.add(in_queue(other)), written.add(in_queue(file + other))
    queue_file = b"100644 queue\0" + bytes.fromhex(oid)
    beside_file = written.add(queue_file), written.add(queue_file + in_queue(file))
    for old, new in (beside_folder, beside_file):
        assert written.foreteller.changes(old, new, [path], oid) is None


def test_a_folder_is_found_again_after_one_was_added_before_it() -> None:
    written, node, old = of_many(3)
    for number, path in enumerate(["queue/resolved/2024/03/10/a.yaml", "queue/esc_b.yaml"] * 3):
        leaf = b"100644", b"%d" % number
        path = path.replace("esc_b", f"esc_b{number}")
        after, _ = with_file(node, path.encode().split(b"/"), leaf)
        new = written.write(after)
        found = written.foreteller.changes(old, new, [path], written.full(leaf[1]).hex())
        assert set(found or ()) == written.changed(node, after)
        node, old = after, new


def of_many(count: int) -> tuple[Written, Node, str]:
    """A store with so many open escalations, and its root tree."""
    written = Written("sha1", "")
    node: Node = {b"queue": {b"esc_%06d.yaml" % n: (b"100644", b"%020d" % n) for n in range(count)}}
    return written, node, written.write(node)


def test_a_claim_among_ten_thousand_copies_none_of_them() -> None:
    written, node, old = of_many(10_000)
    queue = node[b"queue"]
    assert isinstance(queue, dict)
    for number in (5_000, 4_999):
        name = b"esc_%06d.yaml" % number
        queue[name] = b"100644", b"new"
        new = written.write(node)
        tracemalloc.start()
        try:
            found = written.foreteller.changes(
                old, new, [f"queue/{name.decode()}"], written.full(b"new").hex()
            )
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert found is not None
        old = new
    # The first one opened the folder.
    assert most < 10_000 * 20


def test_folders_are_closed_when_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foretold, "_MOST_BYTES", 2_000)
    written, node, old = of_many(5)
    read: list[str] = []
    tree = written.foreteller._tree
    monkeypatch.setattr(written.foreteller, "_tree", lambda oid: read.append(oid) or tree(oid))
    for day in range(1, 29):
        for name in range(4):
            path = f"queue/resolved/2024/03/{day:02}/esc_{name}.yaml"
            leaf = b"100644", b"%d" % name
            node, _ = with_file(node, path.encode().split(b"/"), leaf)
            new = written.write(node)
            assert written.foreteller.changes(old, new, [path], written.full(leaf[1]).hex()) is not None
            assert sum(len(one.data) for one in written.foreteller._open.values()) < 4_000
            old = new
    assert 10 < len(read) < 100, "they are read again when they were closed, and only then"


def test_nothing_is_foretold_from_a_change_that_was_interrupted() -> None:
    written, node, old = of_many(5)
    path = "queue/esc_000001.yaml"
    changed, _ = with_file(node, path.encode().split(b"/"), (b"100644", b"new"))
    new, oid = written.write(changed), written.full(b"new").hex()
    assert written.foreteller.changes(old, new, [path], oid) is not None
    other, _ = with_file(changed, b"queue/esc_000002.yaml".split(b"/"), (b"100644", b"new"))
    both = written.write(other)

    def interrupted(data: bytearray) -> bytes:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(written.foreteller, "_id", interrupted)
        with pytest.raises(KeyboardInterrupt):
            written.foreteller.changes(new, both, ["queue/esc_000002.yaml"], oid)
    assert written.foreteller.close() == []
    assert written.foreteller.changes(new, both, [path], oid) is None
    found = written.foreteller.changes(new, both, ["queue/esc_000002.yaml"], oid)
    assert set(found or ()) == written.changed(changed, other)
