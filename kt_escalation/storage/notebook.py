"""A clone's notes for itself: small files below `kt/` in git's common directory.

A note has a tag under the clone's key, and a file without the right tag is ignored; `clone_key` says what
that protects against. Each note can be deleted at any time; kt then finds out its content again. So a note
alone must never release a request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import atomic_file, clone_key

#: A larger file is not a note of ours.
LARGEST = 16 * 1024 * 1024
# What a tag is for, and a file's first line: the format, and the tag of the name and of all that follows.
_KIND = "note 1"
_FIRST_LINE = re.compile(rb"kt note 1 ([0-9a-f]{%d})\n" % (2 * clone_key.TAG_BYTES))


def read(folder: Path, name: str) -> Mapping[str, Any] | None:
    """The note of that name, as JSON values; None if there is none that this clone has written.

    ``folder`` is the clone's `kt/`.
    """
    key = clone_key.read(folder)
    try:
        with (folder / name).open("rb") as file:
            head, text = file.readline(100), file.read(LARGEST + 1)
    except OSError:
        return None
    found = _FIRST_LINE.fullmatch(head)
    if key is None or found is None or len(text) > LARGEST:
        return None
    if clone_key.tag(key, _KIND, name.encode(), b"\0", text) != bytes.fromhex(found[1].decode()):
        return None
    told = json.loads(text)
    return told if isinstance(told, dict) else None


def write(folder: Path, name: str, note: Mapping[str, Any]) -> None:
    """Replace the note of that name, and flush it to disk.

    ``note`` holds JSON values. If two processes write the same note, the later one wins. Raises OSError if it
    cannot be written, ValueError if it is too large.
    """
    text = json.dumps(note, allow_nan=False).encode()
    if len(text) > LARGEST:
        raise ValueError(f"the note {name} would be {len(text)} bytes; at most {LARGEST} are kept")
    tag = clone_key.tag(clone_key.make(folder), _KIND, name.encode(), b"\0", text)
    atomic_file.write(folder / name, b"kt note 1 %s\n%s" % (tag.hex().encode(), text))
