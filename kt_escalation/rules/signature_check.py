"""Checks a signature against the roster: the key, its owner, the actor, and the dates.

git only says whether a signature matches its commit and a known key. This module decides who may sign in
whose name, and until when. See docs/signatures.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from ..frozen import dataclass
from ..model.times import format_time
from ..policies.policy_set import Policies
from ..policies.signing_keys import usable
from .judge_step import Violation
from .permissions import known_as

#: The rules about signatures.
RULES = frozenset({"unsigned", "signature", "backdated"})
# git's letters for a valid signature: good; good by a key that git does not know by name; or good by a key
# that has since expired, where the dates decide.
_HOLDS = frozenset({"G", "U", "Y"})
_WORDS = {
    "B": "it is bad",
    "-": "its header does not hold a signature",
    "X": "it has expired",
    "R": "its key was revoked",
    "E": "its key is not known here; import it with `gpg --import`",
}


@dataclass(frozen=True)
class Signature:
    """The store's facts about a commit's signature.

    ``verdict`` is that of `git log` (``%G?``), or ``-`` if the header does not hold a signature. ``keys`` are
    an SSH key's fingerprint and its line (type and base64), or the fingerprints of an OpenPGP key and of its
    primary key. ``made`` and ``expired`` (seconds since 1970) are set if the key has expired since. ``why``
    explains the verdict if the letter is not enough.
    """

    verdict: str
    keys: tuple[str, ...] = ()
    made: int | None = None
    expired: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Signed:
    """A signed commit: its author, its own time, and the newest time of the commits before it."""

    email: str
    committer: str
    committed_at: datetime
    newest_before: datetime


def judge(signature: Signature, commit: Signed, policies: Policies) -> tuple[Violation, ...]:
    """The violations of a commit's signature by one set of policies, if they require signatures."""
    if signature.verdict == "N":
        return (Violation("unsigned", f"expected a signature of {commit.email}"),)
    if signature.verdict not in _HOLDS:
        words = signature.why or _WORDS.get(signature.verdict, "it does not")
        return (Violation("signature", f"expected a signature that holds; {words}"),)
    return (*_owner_violations(signature, commit, policies), *_date_violations(signature, commit, policies))


def _owner_violations(signature: Signature, commit: Signed, policies: Policies) -> Iterator[Violation]:
    roster = policies.roster
    actor = known_as(commit.email, roster)
    if known_as(commit.committer, roster) != actor:
        yield Violation("signature", f"expected a commit by {actor} alone; {commit.committer} committed it")
    user = roster.by_id.get(actor) if roster else None
    known = dict(filter(None, map(usable, user.signing_keys))) if user else {}
    if not known.keys() & {*signature.keys}:
        keys = ", ".join(known.values()) or "the roster lists none that can be used"
        by = signature.keys[0] if signature.keys else "an unknown key"
        yield Violation("signature", f"expected a key of {actor} ({keys}); it is by {by}")


def _date_violations(signature: Signature, commit: Signed, policies: Policies) -> Iterator[Violation]:
    """Check the date of a signature by a key that has expired.

    Its own date can be forged, so the commits before it are a lower bound.
    """
    tolerance = policies.settings.claims.clock_tolerance
    if commit.newest_before - commit.committed_at > tolerance:
        expected = (
            f"expected a date no earlier than the commits before it, {format_time(commit.newest_before)}"
        )
        yield Violation("backdated", expected)
    if signature.verdict != "Y":
        return
    if signature.made is None or signature.expired is None:
        yield Violation("signature", "expected a signature that holds; its key expired at an unknown time")
        return
    end = datetime.fromtimestamp(signature.expired, UTC)
    made = datetime.fromtimestamp(signature.made, UTC)
    if max(made, commit.committed_at) > end:
        yield Violation("signature", f"expected a signature from before its key expired, {format_time(end)}")
    elif commit.newest_before - end > tolerance:
        expected = (
            f"expected a date no earlier than the commits before it; its key expired at {format_time(end)}"
        )
        yield Violation("backdated", expected)
