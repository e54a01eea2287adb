"""Builds commits: the blobs, the trees above them and the commit object. It moves no ref."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import GitFailed
from ..git.objects import FILE, TREE, TreeEntry
from ..git.repository import Repository
from .interface import Author

#: Mode and id of each file that a commit writes, by path; None for a file that it deletes.
Versions = Mapping[str, tuple[str, str] | None]


@dataclass
class Built:
    """A commit that is not written yet: its content, and the objects (id, kind, bytes) that it needs."""

    parents: list[str]
    message: str
    author: Author
    seconds: int
    #: Mode and id of each file that it writes; None for a file that it deletes.
    ids: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    objects: list[tuple[str, str, bytes]] = field(default_factory=list)
    tree: str = ""


def build(
    repository: Repository,
    base: str | None,
    files: Mapping[str, bytes | None],
    message: str,
    author: Author,
    seconds: int,
) -> Built:
    """A commit on top of another that writes files (None: deletes them). It is not written to the repository yet."""
    built = Built([base] if base else [], message, author, seconds)
    for path, blob in files.items():
        built.ids[path] = (FILE, _object(repository, "blob", blob, built)) if blob is not None else None
    leaves = {tuple(path.split("/")): entry for path, entry in built.ids.items()}
    built.tree = _rebuild(repository, f"{base}^{{tree}}" if base else None, leaves, built) or ""
    return built


def write(repository: Repository, built: Built, *, flush: bool) -> str:
    """Write a commit and return its id. It is signed if the user's git signs. ``flush`` waits for the disk."""
    made = (built.tree, built.parents, built.message, built.author, built.seconds)
    if repository.signs:
        repository.write_objects(built.objects, flush=flush)
        return repository.signed_commit(*made, flush=flush)
    commit = _object(repository, "commit", repository.format_commit(*made), built)
    repository.write_objects(built.objects, flush=flush)
    return commit


def entries_at(repository: Repository, commit: str | None, paths: Sequence[str]) -> Versions:
    """Mode and id of paths in a commit. Each folder is read once."""
    found: dict[str, tuple[str, str] | None] = dict.fromkeys(paths)
    if commit is None:
        return found
    folders = sorted({path.rpartition("/")[0] for path in paths})
    trees = repository.objects.get([f"{commit}:{folder}" for folder in folders])
    for folder, tree in zip(folders, trees, strict=True):
        if tree is None or tree.data is None or tree.kind != "tree":
            continue
        for entry in repository.parse_tree(tree.data):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if path in found and entry.mode != TREE:
                found[path] = (entry.mode, entry.oid)
    return found


def _object(repository: Repository, kind: str, data: bytes, built: Built) -> str:
    """Add an object to those of a commit, and return its id."""
    oid = repository.object_id(kind, data)
    built.objects.append((oid, kind, data))
    return oid


def _rebuild(
    repository: Repository,
    old: str | None,
    leaves: Mapping[tuple[str, ...], tuple[str, str] | None],
    built: Built,
) -> str | None:
    """The id of the tree ``old`` with files set or removed; None if the tree is empty then.

    Entries that do not change are copied byte for byte.
    """
    lines: dict[bytes, bytes] = {}
    if old:
        [found] = repository.objects.get([old])
        if found is None or found.data is None:
            raise GitFailed(command="cat-file", words=f"the tree {old} is missing")
        lines = repository.tree_lines(found.data)
    below: dict[str, dict[tuple[str, ...], tuple[str, str] | None]] = {}
    for (name, *rest), leaf in leaves.items():
        if rest:
            below.setdefault(name, {})[tuple(rest)] = leaf
        elif leaf is None:
            lines.pop(os.fsencode(name), None)
        else:
            lines[os.fsencode(name)] = repository.tree_line(TreeEntry(leaf[0], name, leaf[1]))
    for name, inner in below.items():
        key = os.fsencode(name)
        [was] = repository.parse_tree(lines[key]) if key in lines else [None]
        subtree = _rebuild(repository, was.oid if was and was.mode == TREE else None, inner, built)
        if subtree:
            lines[key] = repository.tree_line(TreeEntry(TREE, name, subtree))
        else:
            lines.pop(key, None)
    return _object(repository, "tree", repository.join_tree(lines), built) if lines else None
