"""The signing keys that the roster may list: SSH public keys and OpenPGP fingerprints. See docs/signatures.md."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

# The types of SSH keys that may be on the roster. A line that begins with anything else (options, a certificate) is
# no key of anybody's.
_SSH_KEY = re.compile(
    r" *((?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) +([A-Za-z0-9+/]+=*))(?: .*)?",
    re.ASCII,
)
# OpenPGP and X.509 fingerprints are SHA-1 or SHA-256; a short key id is easily made to fit another key.
_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}", re.ASCII)


def usable(listed: str) -> tuple[str, str] | None:
    """A roster's key as a signature has it, and as it is shown; None for what is not a key.

    An SSH key is its type and base64, whatever comment follows; an OpenPGP key its whole fingerprint.
    """
    found = _SSH_KEY.fullmatch(listed)
    if found:
        key_type, base = found[1].split()
        return f"{key_type} {base}", _fingerprint(base)
    fingerprint = listed.replace(" ", "").upper()
    return (fingerprint, fingerprint) if _FINGERPRINT.fullmatch(fingerprint) else None


def _fingerprint(base: str) -> str:
    """An SSH key's fingerprint, as `ssh-keygen -l` prints it."""
    try:
        blob = base64.b64decode(base, validate=True)
    except binascii.Error:
        return "a key that cannot be read"
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
