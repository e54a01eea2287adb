"""Parses the signature of a raw commit and its payload, as git does, but stricter about the place of the header.

git removes all headers that begin with `gpgsig` and calls the rest the payload. So anybody could add such a
header to a signed commit and change how git reads it: between two `parent` lines, it hides the second parent,
and the payload stays the same. Here the header must come after `committer`.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

#: Larger commits are not read for their signature. kt's own messages name 100 escalations and stay below 64 KiB.
MAX_COMMIT = 1 << 20
# An X.509 signature carries certificates; none needs more.
_MAX_SIGNATURE = 64 * 1024
# The header of a repository's own object format, and of the other, which git leaves out of the payload as well.
_HEADERS = {"sha1": b"gpgsig", "sha256": b"gpgsig-sha256"}
_ANY_HEADER = re.compile(rb"^(gpgsig[^ \n]*)( ?)([^\n]*\n(?: [^\n]*\n)*)", re.MULTILINE)
# What every commit begins with. git shows a commit with an odd committer as unsigned.
_BEGINNING = re.compile(
    rb"tree [0-9a-f]{40,64}\n"
    rb"(?:parent [0-9a-f]{40,64}\n)*"
    rb"author [^\n]*\n"
    rb"committer [^\n<>]*<[^\n<>]*> (?:0|[1-9][0-9]{0,10}) [+-][0-9]{4}\n"
)
#: How every SSH signature begins.
SSH_BEGINS = b"-----BEGIN SSH SIGNATURE-----"
# git knows what made a signature by how it begins (gpg-interface.c).
_OTHERS = (
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
)


class Kind(Enum):
    """What a commit has for a signature."""

    NONE = "none"
    SSH = "ssh"
    #: OpenPGP or X.509, which git runs other programs for.
    OTHER = "other"
    UNREADABLE = "unreadable"


class CommitSignature(NamedTuple):
    """A commit's signature and what it signs; ``why`` says what is wrong with one that is not read."""

    kind: Kind
    signature: bytes = b""
    payload: bytes = b""
    why: str = ""


def signature_of(commit: bytes, object_format: str) -> CommitSignature:
    """The signature of a raw commit in a repository of that object format (``sha1`` or ``sha256``)."""
    own = _HEADERS[object_format]
    # The head ends with the line feed of its last line.
    end = commit.find(b"\n\n") + 1
    head = commit[:end] if end else commit
    headers = list(_ANY_HEADER.finditer(head))
    if not any(header[1] == own and header[2] for header in headers):
        return CommitSignature(Kind.NONE)
    names = [header[1] for header in headers]
    beginning = _BEGINNING.match(head)
    if not end or b"\0" in head or not beginning or headers[0].start() < beginning.end():
        return _unreadable("its header is not where git writes it")
    if len(set(names)) < len(names) or not {*names} <= {*_HEADERS.values()}:
        return _unreadable("the commit has several")
    signature = next(header[3] for header in headers if header[1] == own).replace(b"\n ", b"\n")
    if len(signature) > _MAX_SIGNATURE:
        return _unreadable(f"it is larger than {_MAX_SIGNATURE // 1024} KiB")
    if signature.startswith(SSH_BEGINS):
        kind = Kind.SSH
    elif signature.startswith(_OTHERS):
        kind = Kind.OTHER
    else:
        return _unreadable("what stands in its place is none")
    return CommitSignature(kind, signature, _ANY_HEADER.sub(b"", head) + commit[end:])


def _unreadable(why: str) -> CommitSignature:
    return CommitSignature(Kind.UNREADABLE, why=why)
