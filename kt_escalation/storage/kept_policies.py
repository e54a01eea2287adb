"""Caches the parsed files of this clone's newest `policies/`, so that a command need not load YAML for them.

The cache is stored under the id of their tree, which never means other content, with a tag under the clone's
key (`clone_key` explains it). The file can be deleted at any time. A decision by cached policies must be
judged again from git's own objects before anybody relies on it: the cache must never release a request or
prove anything.
"""

from __future__ import annotations

import contextlib
import marshal
from collections.abc import Mapping
from pathlib import Path

from ..policies.policy_file import PolicyFile
from . import atomic_file, clone_key

#: The version of the cache. Increase it with every change of how a file of `policies/` is parsed, or of this
#: format. `tests/test_cache.py` compares it with the result for a set of samples.
VERSION = 1
#: A larger file is not a cache of ours.
LARGEST = 4 * 1024 * 1024
_NAME = "policies"
_KIND = f"policies {VERSION}"
# The newest format that every supported Python reads. It keeps what YAML's aliases share shared.
_MARSHAL = 4


def read(folder: Path, tree: str) -> dict[str, PolicyFile] | None:
    """The files of a tree of `policies/` by path, or None if they are not cached. ``folder`` is the clone's `kt/`."""
    key = clone_key.read(folder)
    try:
        with (folder / _NAME).open("rb") as file:
            tag, data = file.read(clone_key.TAG_BYTES), file.read(LARGEST + 1)
    except OSError:
        return None
    if key is None or len(data) > LARGEST or clone_key.tag(key, _KIND, data) != tag:
        return None
    kept, files = marshal.loads(data)  # noqa: S302 - written by this clone, by its tag
    if kept != tree:
        return None
    return {path: PolicyFile(value, marks=marks) for path, value, marks in files}


def write(folder: Path, tree: str, files: Mapping[str, PolicyFile]) -> None:
    """Cache the files of a tree in place of the previous ones. A tree with an unreadable file is not cached."""
    if any(file.problem is not None for file in files.values()):
        return
    data = marshal.dumps(
        (tree, [(path, file.value, dict(file.marks)) for path, file in files.items()]), _MARSHAL
    )
    if len(data) > LARGEST:
        return
    # If the cache cannot be written, the files are parsed again next time.
    with contextlib.suppress(OSError):
        key = clone_key.make(folder)
        atomic_file.write(folder / _NAME, clone_key.tag(key, _KIND, data) + data)
