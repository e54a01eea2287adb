"""Parses the signature and the payload of a raw commit. It is stricter than git about the header's place.

git removes all headers that begin with `gpgsig` and calls the rest the payload. So anybody could add such a
header to a signed commit and change how git reads it: between two `parent` lines, it hides the second parent,
and the payload stays the same. Here the header must come after `committer`.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

#: Signatures of larger commits are not read. kt's own messages name at most 100 escalations and stay below 64
#: KiB.
MAX_COMMIT = 1 << 20
# The largest signature. An X.509 signature contains certificates, and none needs more.
_MAX_SIGNATURE = 64 * 1024
# The header for the repository's object format, and for the other one, which git also leaves out of the
# payload.
_HEADERS = {"sha1": b"gpgsig", "sha256": b"gpgsig-sha256"}
_ANY_HEADER = re.compile(rb"^(gpgsig[^ \n]*+)( ?+)([^\n]*+\n(?: [^\n]*+\n)*+)", re.MULTILINE)
# The first lines of every commit. git reports a commit with a malformed committer as unsigned.
_BEGINNING = re.compile(
    rb"tree [0-9a-f]{40,64}\n"
    rb"(?:parent [0-9a-f]{40,64}\n)*"
    rb"author [^\n]*\n"
    rb"committer [^\n<>]*<[^\n<>]*> (?:0|[1-9][0-9]{0,10}) [+-][0-9]{4}\n"
)
#: The first line of every SSH signature.
SSH_BEGINS = b"-----BEGIN SSH SIGNATURE-----"
# git detects the kind of a signature by its first line (gpg-interface.c).
_OTHERS = (
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
)


class SignatureKind(Enum):
    """The kind of a commit's signature."""

    NONE = "none"
    SSH = "ssh"
    #: OpenPGP or X.509. git runs another program to check it.
    OTHER = "other"
    UNREADABLE = "unreadable"


class CommitSignature(NamedTuple):
    """A commit's signature, and the payload that it signs. ``why`` explains why a signature was not read."""

    kind: SignatureKind
    signature: bytes = b""
    payload: bytes = b""
    why: str = ""


def signature_of(commit: bytes, object_format: str) -> CommitSignature:
    """Parse the signature of a raw commit. The object format is ``sha1`` or ``sha256``."""
    own = _HEADERS[object_format]
    # The head includes the line feed of its last line.
    end = commit.find(b"\n\n") + 1
    head = commit[:end] if end else commit
    headers = list(_ANY_HEADER.finditer(head))
    if not any(header[1] == own and header[2] for header in headers):
        return CommitSignature(SignatureKind.NONE)
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
        kind = SignatureKind.SSH
    elif signature.startswith(_OTHERS):
        kind = SignatureKind.OTHER
    else:
        return _unreadable("its header does not hold a signature")
    return CommitSignature(kind, signature, _ANY_HEADER.sub(b"", head) + commit[end:])


def _unreadable(why: str) -> CommitSignature:
    return CommitSignature(SignatureKind.UNREADABLE, why=why)
