"""Reads the signatures of commits: verifies SSH signatures itself, and the others with git. See docs/signatures.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import GitFailed
from .command import Git
from .commit_signature import MAX_COMMIT, SignatureKind, signature_of
from .objects import Object, chunks

# git takes about 10 ms for a signature. A caller with little time looks at the clock between batches of this
# size. A batch also bounds how many commits of the largest size are in memory.
_SIGNATURES_AT_ONCE = 25


class SignatureFacts(NamedTuple):
    """The facts about a commit's signature.

    For a key that has expired since, they include when the signature was made and when the key expired, in
    seconds since 1970. ``why`` explains the verdict if the letter is not enough.
    """

    verdict: str
    keys: tuple[str, ...] = ()
    made: int | None = None
    expired: int | None = None
    why: str = ""


class Signatures(Git):
    """The signatures of a repository's commits."""

    def signatures(self, commits: Sequence[str]) -> Iterator[tuple[str, SignatureFacts]]:
        """The facts about each commit's signature: the verdict and the keys.

        The verdict is that of `git log` (``%G?``). No key is trusted by name here, so a valid SSH signature
        is ``U``, whoever owns the key. The keys are an SSH key's fingerprint and its line (type and base64),
        or the fingerprints of an OpenPGP key and of its primary key. If the header does not hold a signature
        as git writes it, the verdict is ``-``, for which git has no letter. SSH signatures are verified here,
        all others by git.

        Raises GitFailed.
        """
        for some in chunks(commits, _SIGNATURES_AT_ONCE):
            found = dict(
                zip(some, map(self._signature, self.objects.get(some, MAX_COMMIT), some), strict=True)
            )
            others = [oid for oid, facts in found.items() if facts is None]
            found |= self._signatures(others) if others else {}
            for oid in some:
                yield oid, found[oid] or SignatureFacts("E", why="git did not say whether it holds")

    def _signature(self, commit: Object | None, oid: str) -> SignatureFacts | None:
        """The facts about a raw commit's signature. None if only git can check it."""
        if commit is None or commit.kind != "commit":
            raise GitFailed(command="cat-file", words=f"there is no commit {oid}")
        if commit.data is None:
            return SignatureFacts("-", why=f"the commit is larger than {MAX_COMMIT // 1024} KiB")
        found = signature_of(commit.data, self.object_format)
        if found.kind is SignatureKind.OTHER:
            return None
        if found.kind is not SignatureKind.SSH:
            return SignatureFacts("N" if found.kind is SignatureKind.NONE else "-", why=found.why)
        from . import sshsig

        try:
            key = sshsig.verify(found.signature, found.payload)
        except sshsig.SignatureRefused as refused:
            return SignatureFacts("B", why=f"it is bad: {refused}")
        return SignatureFacts("U", (key.fingerprint, key.line))

    def _signatures(self, commits: Sequence[str]) -> dict[str, SignatureFacts]:
        """git's verdicts on OpenPGP and X.509 signatures."""
        form = ("--no-walk=unsorted", "--no-show-signature", "--format=%H %G? %GF %GP")
        done = self._asked("log", *form, *commits)
        found = {}
        for line in done.text.split("\n"):
            oid, verdict, *keys = line.split(" ")
            if verdict == "N":
                # There is a signature, but git could not run the program that checks it.
                facts = SignatureFacts("E", why="git could not run `gpg` to check it")
            else:
                times = self._key_expiry(oid) if verdict == "Y" else (None, None)
                facts = SignatureFacts(verdict, tuple(key for key in keys if key), *times)
            found[oid] = facts
        return found

    def _key_expiry(self, commit: str) -> tuple[int | None, int | None]:
        """The time of an OpenPGP signature, and when its key expired (GnuPG, doc/DETAILS)."""
        said = self._asked("verify-commit", "--raw", commit, fine=(0, 1)).err
        made = re.search(r"^\[GNUPG:\] VALIDSIG \S+ \S+ (\d+) ", said, re.MULTILINE)
        ends = re.findall(r"^\[GNUPG:\] KEYEXPIRED (\d+)", said, re.MULTILINE)
        return int(made[1]) if made else None, min(map(int, ends), default=None)
