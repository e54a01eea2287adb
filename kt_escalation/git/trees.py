"""Parses raw git trees strictly: exactly as git itself would have written them.

git accepts malformed trees. It reads `040000`, `40755` and `100664` as a folder and files, and if two entries
have one name, it takes one of them. A reader with other tolerances would see another tree than git.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain
from operator import ge

from ..errors import UnreadableStore
from .objects import FILE, NAMES, TreeEntry

#: The form of a tree's entry, by the length of its ids.
LINE = {width: re.compile(rb"([0-7]+) ([^\0/]+)\0(.{%d})" % width, re.DOTALL) for width in (20, 32)}
_FILE = FILE.encode()

#: The mode, name and id of an entry, as they are in the tree.
RawEntry = tuple[bytes, bytes, bytes]


_TOP = "its top folder"


class Unsound(UnreadableStore):
    """A tree that git would not have written.

    ``path`` is the folder or entry, from the store's folder; it is empty if only the caller knows it.
    ``problem`` is to be read after the path: "has two entries called queue".
    """

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem=problem, path=path, where=path or _TOP)

    def at(self, path: str) -> Unsound:
        """The same error with its path, unless it has one."""
        self.path = self.path or path
        self.where = self.path or _TOP
        return self


def parse(data: bytes, width: int) -> list[TreeEntry]:
    """The entries of a raw tree object. Raises Unsound if git would not have written it."""
    found = lines(data, width)
    if not found:
        return []
    modes, names, oids = zip(*found, strict=True)
    # No name contains a NUL, so all of them are decoded at once.
    texts = b"\0".join(names).decode(*NAMES).split("\0")
    return [*map(TreeEntry._make, zip(map(bytes.decode, modes), texts, map(bytes.hex, oids), strict=True))]


def lines(data: bytes, width: int) -> list[RawEntry]:
    """The same as raw mode, name and id, all checked. Raises Unsound."""
    found: list[RawEntry] = LINE[width].findall(data)
    if len(b"".join(chain.from_iterable(found))) + 2 * len(found) != len(data):
        raise Unsound("has a malformed entry; an entry is a mode, a name without a slash, and an id")
    wrong = wrong_with(found)
    if wrong:
        raise Unsound(wrong)
    if len({name for _, name, _ in found}) != len(found):
        raise Unsound("has two entries with the same name")
    return found


def wrong_with(found: Sequence[RawEntry]) -> str | None:
    """What is wrong with the names or their order, which is git's own (read-cache.c, *base_name_compare*)."""
    keys = [*map(sort_key, found)]
    if any(map(ge, keys, keys[1:])):
        return "is not sorted as git sorts it"
    for name in [name for _, name, _ in found if name[0] == 46]:
        if name in (b".", b"..") or (name[1:2] in b"gG\xe2" and _is_git(name)):
            return f"has an entry called {shown(name)}"
    return None


def sort_key(line: RawEntry) -> bytes:
    """The sort key of an entry. A folder sorts as if its name ended with a slash."""
    return line[1] + b"/" if is_folder(line[0]) else line[1]


def is_folder(mode: bytes) -> bool:
    """Whether git reads an entry of this mode as a folder."""
    return mode != _FILE and int(mode, 8) & 0o170000 == 0o040000


def _is_git(name: bytes) -> bool:
    return name != b".gitkeep" and folded(name) == ".git"


# HFS+ ignores these characters when it compares names (utf8.c, *next_hfs_char*).
_IGNORED = "[\u200b-\u200f\u202a-\u202e\u206a-\u206f\ufeff]"


def folded(name: bytes) -> str:
    """A name as the most tolerant file system compares it.

    Case, the normal form, and the characters that HFS+ and NTFS ignore make no difference.
    """
    if name.isascii():
        return name.decode().lower().partition(":")[0].rstrip(" .")
    text = unicodedata.normalize("NFC", re.sub(_IGNORED, "", name.decode("utf-8", "replace")))
    return unicodedata.normalize("NFC", text.casefold()).partition(":")[0].rstrip(" .")


def shown(name: bytes) -> str:
    """A name in a form that can be printed."""
    return repr(name.decode("utf-8", "backslashreplace"))[1:-1]
