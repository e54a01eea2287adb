"""Signs a whole history with SSH keys, as fast as its commits can be written; `git rebase` would take minutes."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kt_escalation.git.objects import pack_of

from .measure import Failed, git

_TYPE, _WIDTH = b"ssh-ed25519", 70


class Keys:
    """A key of each person's, the same every time."""

    def __init__(self, people: Iterable[str]) -> None:
        self._keys = {
            who: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(who.encode()).digest()) for who in people
        }

    def line(self, who: str) -> str:
        """The public key as a roster lists it."""
        return f"{_TYPE.decode()} {base64.b64encode(self._blob(who)).decode()}"

    def signed(self, who: str, commit: bytes) -> bytes:
        """A raw commit with somebody's signature (OpenSSH, PROTOCOL.sshsig)."""
        fields = (b"git", b"", b"sha512")
        told = b"SSHSIG" + b"".join(map(_string, (*fields, hashlib.sha512(commit).digest())))
        value = _string(_TYPE) + _string(self._keys[who].sign(told))
        shown = b"SSHSIG\0\0\0\1" + b"".join(map(_string, (self._blob(who), *fields, value)))
        text = base64.b64encode(shown)
        lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
        armor = [b"-----BEGIN SSH SIGNATURE-----", *lines, b"-----END SSH SIGNATURE-----"]
        head, _, message = commit.partition(b"\n\n")
        return head + b"\ngpgsig " + b"\n ".join(armor) + b"\n\n" + message

    def _blob(self, who: str) -> bytes:
        return _string(_TYPE) + _string(self._keys[who].public_key().public_bytes_raw())


def sign(store: Path, branch: str, keys: Keys) -> None:
    """Make every commit of a branch that has no merges one that its author has signed."""
    oids = git("rev-list", "--reverse", branch, cwd=store).split()
    new: dict[bytes, bytes] = {}
    objects: list[tuple[str, bytes]] = []
    for oid, raw in _commits(store, oids).items():
        for old, moved in (
            (parent, new[parent]) for parent in re.findall(rb"^parent (.*)$", raw, re.MULTILINE)
        ):
            raw = raw.replace(old, moved, 1)
        author = re.search(rb"^author .*<(.*)@", raw, re.MULTILINE)
        assert author
        commit = keys.signed(author[1].decode(), raw)
        objects.append(("commit", commit))
        new[oid.encode()] = hashlib.sha1(b"commit %d\0%b" % (len(commit), commit)).hexdigest().encode()  # noqa: S324
    git("index-pack", "--stdin", "--fix-thin", cwd=store, stdin=pack_of(objects, "sha1"))
    git("update-ref", f"refs/heads/{branch}", new[oids[-1].encode()].decode(), cwd=store)


def _commits(store: Path, oids: Iterable[str]) -> Mapping[str, bytes]:
    asked = "".join(f"{oid}\n" for oid in oids).encode()
    done = subprocess.run(
        ["git", "cat-file", "--batch"], cwd=store, input=asked, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise Failed(f"git cat-file ended with status {done.returncode}")
    found, at = {}, 0
    while at < len(done.stdout):
        end = done.stdout.index(b"\n", at)
        oid, _, size = done.stdout[at:end].decode().split(" ")
        found[oid] = done.stdout[end + 1 : end + 1 + int(size)]
        at = end + int(size) + 2
    return found


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
