"""A commit, and how it is read from its bytes."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import NamedTuple

from .objects import NAMES

#: The mode of the side of a change that has no file.
ABSENT = "000000"
# The encodings (git-commit, i18n.commitEncoding) in which every ASCII character is written as in ASCII. What git makes of
# a commit in any other one may have no author, and not even be its own message.
_LIKE_ASCII = re.compile(
    r"utf-?8|(?:us-)?ascii|iso-?8859-?\d{1,2}|latin-?1|koi8-[ru]|(?:windows-|cp)125\d"
    r"|cp(?:437|85[028]|866|874|9(?:32|36|49|50))|euc-?(?:jp|kr|cn)|gb(?:2312|k|18030)|big5|shift[-_]jis|sjis",
    re.ASCII | re.IGNORECASE,
)
# A commit as git writes it today (git-commit-tree): in UTF-8, with no other header than a signature. Each part of it can be
# read in one way only.
_PLAIN = re.compile(
    r"tree ([0-9a-f]{40,64})\n"
    r"((?:parent [0-9a-f]{40,64}\n)*)"
    r"author (?!\s)([^<>\n]+)(?<!\s) <([^<>\n]*)> [0-9]{1,12} [+-][0-9]{4}\n"
    r"committer [^<>\n]+ <([^<>\n]*)> ([0-9]{1,12}) [+-][0-9]{4}\n"
    r"((?:gpgsig(?:-sha256)? [^\n]*\n(?: [^\n]*\n)*)*)"
    r"\n"
)
_AUTHOR = re.compile(rb"^author ([^\n]*?) ?<([^<>\n]*)>", re.MULTILINE)
_COMMITTER = re.compile(rb"^committer [^\n]*<([^<>\n]*)> (\d{1,18})", re.MULTILINE)
# The end of the year 9999, in seconds since 1970.
_LAST_SECOND = 253_402_300_799


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
    kt does not read the message: the commit is too large, or in an encoding that is read as if it were UTF-8.
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
    tree, above, author, email, committer, seconds, signature = found.groups()
    when = datetime.fromtimestamp(min(int(seconds), _LAST_SECOND), UTC)
    parents, message = tuple(above.split()[1::2]), text[found.end() :]
    return Commit(oid, parents, tree, author, email, committer, when, message), bool(signature)


def as_written(commit: bytes) -> tuple[str, str, str, datetime, str]:
    """The author, both e-mails, the committer's time and the message of a raw commit, read as UTF-8; empty if missing."""
    head, _, message = commit.partition(b"\n\n")
    author, committer = _AUTHOR.search(head), _COMMITTER.search(head)
    name, email = (os.fsdecode(author[1]), os.fsdecode(author[2])) if author else ("", "")
    by, seconds = (os.fsdecode(committer[1]), committer[2].decode()) if committer else ("", "")
    return name, email, by, moment(seconds), os.fsdecode(message.partition(b"\0")[0])


def is_like_ascii(encoding: str) -> bool:
    """Whether an encoding, none by default, writes every ASCII character as ASCII does."""
    return not encoding or bool(_LIKE_ASCII.fullmatch(encoding))


def is_signed(data: bytes) -> bool:
    """Whether a raw commit has a signature, valid or not."""
    return b"\ngpgsig" in data and b"\ngpgsig" in data.partition(b"\n\n")[0]


def moment(seconds: str) -> datetime:
    """A committer's time as a valid time. In a raw commit it can be missing, or any number."""
    return datetime.fromtimestamp(min(max(int(seconds or 0), 0), _LAST_SECOND), UTC)
