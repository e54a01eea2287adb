"""A commit, and how it is read from its bytes."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import NamedTuple

from ..model.times import LAST_SECOND
from .objects import NAMES

#: The mode of the side of a change that has no file.
ABSENT = "000000"
# The encodings (git-commit, i18n.commitEncoding) in which every ASCII character is written as in ASCII, by the names that
# common tools give them. What git makes of a commit in another one may have no author, and not even be its own message; and
# to look for some names takes it minutes.
_LIKE_ASCII = re.compile(
    r"utf-?8|(?:us-)?ascii|ansi_x3\.4-1968|iso[-_]?8859[-_]?\d{1,2}(?::\d{4})?|latin-?\d{1,2}|l\d|koi8-(?:r|u|ru)|tis-620|macintosh|mac-?roman"
    r"|(?:cp|ibm|ibm-)(?:437|85[028]|866|874|9(?:32|36|49|50))|(?:windows-|cp)(?:125\d|31j)|ms932|uhc"
    r"|euc-?(?:jp|jp-ms|kr|cn|tw)|gb(?:2312|k|18030)|big5(?:-?hkscs)?|shift[-_]jis|(?:x-)?sjis",
    re.ASCII | re.IGNORECASE,
)
# The headers that say who made a commit, and how that is to be read. git and other tools take one or the other of several.
_ONCE = (b"author", b"committer", b"encoding")
# A commit as git and others write it today (git-commit-tree): in UTF-8, and with other headers only after those of git's own.
# Each part of it can be read in one way only.
_PLAIN = re.compile(
    r"tree ([0-9a-f]{40,64})\n"
    r"((?:parent [0-9a-f]{40,64}\n)*)"
    r"author (?!\s)([^<>\n]+)(?<!\s) <([^<>\n]*)> [0-9]{1,12} [+-][0-9]{4}\n"
    r"committer [^<>\n]+ <([^<>\n]*)> ([0-9]{1,12}) [+-][0-9]{4}\n"
    r"((?:(?!(?:tree|parent|author|committer|encoding) )[A-Za-z][A-Za-z0-9_:.-]*+ [^\n]*+\n(?: [^\n]*+\n)*+)*+)"
    r"\n"
)
_ABOVE = re.compile(rb"tree [0-9a-fA-F]{40,64}\n(?:parent [0-9a-fA-F]{40,64}\n)*")
_TIME = re.compile(rb"^committer [^\n]*> (\d{1,18})", re.MULTILINE)
_DIGITS = 18


class FileChange(NamedTuple):
    """One changed file: its path, and the mode and id on both sides (None: absent)."""

    path: str
    old_mode: str
    new_mode: str
    old: str | None
    new: str | None


def change_of(path: str, old: tuple[str, str] | None, new: tuple[str, str] | None) -> FileChange:
    """The change of a file from one mode and id to others (None: absent)."""
    old_mode, old_oid = old or (ABSENT, None)
    new_mode, new_oid = new or (ABSENT, None)
    return FileChange(path, old_mode, new_mode, old_oid, new_oid)


class Commit(NamedTuple):
    """One commit, with its changes against its only parent.

    The changes of a merge are those that no parent has, if the caller asked for them. ``unread`` says why
    it can be read in more than one way. Then it is by nobody, and its message is read as UTF-8.
    """

    oid: str
    parents: tuple[str, ...]
    tree: str
    author: str
    email: str
    committer: str
    committed_at: datetime
    message: str
    unread: str = ""
    changes: tuple[FileChange, ...] = ()


def plain_commit(oid: str, data: bytes) -> tuple[Commit, bool] | None:
    """A commit from its bytes, and whether it has a signature. None if git would not have written it so."""
    text = data.decode(*NAMES)
    found = _PLAIN.match(text)
    if found is None or "\0" in text:
        return None
    tree, above, author, email, committer, seconds, more = found.groups()
    when = datetime.fromtimestamp(min(int(seconds), LAST_SECOND), UTC)
    parents, message = tuple(above.split()[1::2]), text[found.end() :]
    commit = Commit(oid, parents, tree, author, email, committer, when, message)
    return commit, "gpgsig" in more and is_signed(data)


def unread_commit(oid: str, data: bytes) -> Commit | None:
    """A raw commit that can be read in more than one way, with why. None for any other one."""
    above, why = _ABOVE.match(data), _why_unread(data)
    if above is None or not why:
        return None
    tree, *parents = above[0].decode().lower().split()[1::2]
    return by_nobody(oid, tuple(parents), tree, data, why)


def by_nobody(oid: str, parents: tuple[str, ...], tree: str, data: bytes, unread: str) -> Commit:
    """A commit that can be read in more than one way, with its first time and its message as UTF-8."""
    head, _, message = data.partition(b"\n\n")
    time = _TIME.search(head)
    when, text = moment(time[1].decode() if time else ""), os.fsdecode(message.partition(b"\0")[0])
    return Commit(oid, parents, tree, "", "", "", when, text, unread)


def _why_unread(data: bytes) -> str:
    headers = [line.partition(b" ") for line in data.partition(b"\n\n")[0].split(b"\n")]
    encoding = ""
    for name in _ONCE:
        values = [value for header, _, value in headers if header == name]
        if len(values) > 1:
            return f"it has several headers `{name.decode()}`"
        if name == b"encoding":
            encoding = os.fsdecode(values[0]) if values else ""
        elif values and max(values[0].count(b"<"), values[0].count(b">")) > 1:
            return f"its {name.decode()} has several addresses"
    if b"\n\n" not in data:
        # git then takes whatever is in its memory for the message.
        return "its headers have no end"
    if b"\0" in data:
        return "it contains a NUL, at which some stop reading"
    is_odd = encoding and not _LIKE_ASCII.fullmatch(encoding)
    return f"it names the encoding {encoding[:40]!r}" if is_odd else ""


def is_signed(data: bytes) -> bool:
    """Whether a raw commit has a signature, valid or not."""
    return b"\ngpgsig" in data and b"\ngpgsig" in data.partition(b"\n\n")[0]


def moment(seconds: str) -> datetime:
    """A committer's time as a time that a store may have. In a raw commit it can be missing, or a number of any length."""
    # Python refuses to read numbers of thousands of digits.
    number = int(seconds or 0) if len(seconds) <= _DIGITS else LAST_SECOND
    return datetime.fromtimestamp(min(max(number, 0), LAST_SECOND), UTC)
