"""Objects that no git command would write: trees and commits made byte by byte."""

from __future__ import annotations

import hashlib
import subprocess
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from forge import Forge
from lab import git

ID_BYTES = 20


@dataclass(frozen=True)
class Entry:
    """One entry of a tree, as its bytes are."""

    mode: bytes
    name: bytes
    id: str


Change = Callable[[list[Entry]], list[Entry]]


def written(forge: Forge, kind: str, data: bytes) -> str:
    """An object of any content at all, as git keeps it in a file of its own."""
    data = b"%s %d\0%s" % (kind.encode(), len(data), data)
    name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    path = forge.path / ".git/objects" / name[:2] / name[2:]
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(data))
    return name


def entries(forge: Forge, tree: str) -> list[Entry]:
    """The entries of a tree, read from its bytes."""
    done = subprocess.run(["git", "cat-file", "tree", tree], cwd=forge.path, capture_output=True, check=True)
    found, rest = [], done.stdout
    while rest:
        mode, _, rest = rest.partition(b" ")
        name, _, rest = rest.partition(b"\0")
        found.append(Entry(mode, name, rest[:ID_BYTES].hex()))
        rest = rest[ID_BYTES:]
    return found


def changed(forge: Forge, tree: str, folder: str, change: Change) -> str:
    """The tree with the entries of one folder in it changed."""
    found = entries(forge, tree)
    if folder:
        first, _, rest = folder.partition("/")
        assert any(entry.name == first.encode() for entry in found), folder
        found = [
            replace(entry, id=changed(forge, entry.id, rest, change))
            if entry.name == first.encode()
            else entry
            for entry in found
        ]
    else:
        found = change(found)
    body = b"".join(b"%s %s\0%s" % (e.mode, e.name, bytes.fromhex(e.id)) for e in found)
    return written(forge, "tree", body)


def tree_with(forge: Forge, commit: str, files: Mapping[str, str | None]) -> str:
    """A sound tree: that of a commit, with some files written or removed."""
    index = {"GIT_INDEX_FILE": str(forge.path / ".git/raw-index")}
    git("read-tree", commit, cwd=forge.path, env=index)
    for path, text in files.items():
        if text is None:
            git("update-index", "--force-remove", path, cwd=forge.path, env=index)
        else:
            blob = written(forge, "blob", text.encode())
            entry = f"100644,{blob},{path}"
            git("update-index", "--add", "--cacheinfo", entry, cwd=forge.path, env=index)
    tree = git("write-tree", cwd=forge.path, env=index)
    Path(index["GIT_INDEX_FILE"]).unlink()
    return tree


def committed(
    forge: Forge,
    tree: str,
    who: str,
    *parents: str,
    message: str | bytes = "tidy up\n",
    encoding: str = "",
    seconds: int | None = None,
) -> str:
    """A commit of any tree, message and time; on the newest commit where no parents are named."""
    at = seconds if seconds is not None else int(datetime.now(UTC).timestamp())
    email = who if "@" in who else f"{who}@example.com"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents or (forge.tip(),))]
    lines += [f"author {who} <{email}> {at} +0000", f"committer {who} <{email}> {at} +0000"]
    lines += [f"encoding {encoding}"] if encoding else []
    said = message.encode() if isinstance(message, str) else message
    made = written(forge, "commit", "\n".join(lines).encode() + b"\n\n" + said)
    git("update-ref", "HEAD", made, cwd=forge.path)
    return made
