"""A clone's own key, and the tags that show which files this clone wrote.

A tag binds each file below `kt/` in git's common directory to the clone: the list cache (`cache`), the
parsed policies (`kept_policies`) and notes (`notebook`). The random key is there too. A file without the right tag is ignored.

This protects against accidents and foreign files: a damaged file, one from another clone or repository, one
that was written by hand or unpacked from an archive. It does not protect against somebody who can read the
key, and usually everybody who may write below `.git` can. So these files alone must never release a request:
`wait` and `get` read the record from git's own objects. A tag does not tell an old state of a file from the
newest one, and a copy of the whole clone, including the key, is that clone.
"""

from __future__ import annotations

import os
from pathlib import Path

from . import atomic_file

try:
    # `hashlib` would load OpenSSL with it, which takes longer than reading ten thousand rows.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

KEY_BYTES = 32
TAG_BYTES = 16
_NAME = "key"
_MODE = 0o600


def read(folder: Path) -> bytes | None:
    """The clone's key, or None if there is none yet or it cannot be read. ``folder`` is the clone's `kt/`."""
    try:
        key = _read(folder / _NAME)
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(KEY_BYTES + 1)


def make(folder: Path) -> bytes:
    """The clone's key, created if there is none. Raises OSError if it can be neither read nor created."""
    known = read(folder)
    if known is not None:
        return known
    folder.mkdir(parents=True, exist_ok=True)
    path, key = folder / _NAME, os.urandom(KEY_BYTES)
    new = atomic_file.beside(path)
    try:
        atomic_file.write(new, key, _MODE)
        if path.exists() and path.stat().st_size != KEY_BYTES:
            # The key is damaged, so the files with its tags are lost either way.
            path.unlink(missing_ok=True)
        try:
            os.link(new, path)
        except FileExistsError:
            # Another process was faster, or the file belongs to another user.
            key = _read(path)
        except OSError:
            # This file system has no hard links.
            new.replace(path)
        return key
    finally:
        new.unlink(missing_ok=True)


def tag(key: bytes, kind: str, *parts: bytes) -> bytes:
    """The tag of these bytes: the keyed BLAKE2b (RFC 7693) of all parts in order.

    ``kind`` names what they are, in at most 16 characters, so that a tag for one thing does not fit another.
    """
    made = blake2b(key=key, digest_size=TAG_BYTES, person=kind.encode("ascii"))
    for part in parts:
        made.update(part)
    return made.digest()
