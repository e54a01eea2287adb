"""Whose a signature is: the key, its owner on the roster, and the actor (design, section 9, *People*)."""

from __future__ import annotations

import base64
import binascii
import hashlib

from .rights import known_as
from .roster import Roster
from .verify import Violation

# What git says of a signature that holds: good, or good by a key that git itself has no name for.
_HOLDS = frozenset({"G", "U"})
_WORDS = {
    "B": "it is bad",
    "X": "it has expired",
    "Y": "its key has expired",
    "R": "its key was revoked",
    "E": "it cannot be checked here",
}


def judge(
    verdict: str, fingerprint: str, email: str, committer: str, roster: Roster | None
) -> tuple[Violation, ...]:
    """The violations of a commit's signature where one is required.

    ``verdict`` and ``fingerprint`` are git's (`git log`, ``%G?`` and ``%GF``), ``roster`` that of the
    commit's parent.
    """
    if verdict == "N":
        return (Violation("unsigned", f"a signature of {email}"),)
    if verdict not in _HOLDS:
        return (Violation("signature", f"a signature that holds; {_WORDS.get(verdict, 'it does not')}"),)
    actor = known_as(email, roster)
    if known_as(committer, roster) != actor:
        return (Violation("signature", f"a commit by {actor} alone; {committer} committed it"),)
    user = roster.by_id.get(actor) if roster else None
    known = [_fingerprint(key) for key in user.signing_keys] if user else []
    if fingerprint not in known:
        keys = ", ".join(known) or "none is on the roster"
        return (Violation("signature", f"a key of {actor} ({keys}); it is by {fingerprint}"),)
    return ()


def _fingerprint(key: str) -> str:
    """A roster's key as git names it: SHA256 of an SSH key (RFC 4253 blob), or an OpenPGP fingerprint."""
    parts = key.split()
    if len(parts) < 2:
        return key.replace(" ", "").upper()
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except binascii.Error:
        return key
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
