"""Escalation ids and claim ids: their form, and how they are derived. See docs/record.md."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

ESCALATION_ID = re.compile(r"esc_[a-z0-9][a-z0-9_-]{0,59}", re.ASCII)
CLAIM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
# A request id that begins like this could be taken for a digest or a ULID, so it is not used unchanged.
_DIGEST = re.compile(r"esc_h[0-9a-f]{40}", re.ASCII)
_ULID = re.compile(r"esc_[0-7][0-9a-hjkmnp-tv-z]{25}", re.ASCII)
_PREFIX = re.compile(r"esc_[a-z0-9][a-z0-9_-]{3,59}", re.ASCII)

# Crockford's base 32 in lower case, from the ULID specification.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ULID_RANDOM_BYTES = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_escalation_id(text: str) -> bool:
    """Whether the text is a whole escalation id."""
    return ESCALATION_ID.fullmatch(text) is not None


def is_prefix(text: str) -> bool:
    """Whether the text can be a prefix of an id: `esc_` and at least 4 characters. See docs/record.md."""
    return _PREFIX.fullmatch(text) is not None


def how_to_give(text: str, how: str) -> str:
    """A hint for a text that is not an id: the same text with ``esc_`` if that is an id, else ``how``."""
    whole = f"esc_{text}"
    return f"did you mean {whole}?" if is_escalation_id(whole) and not text.startswith("esc_") else how


def from_request(request_id: str) -> str:
    """The escalation id of a request. It is always the same one, so a second raise finds the first.

    It is `esc_` and the request id if that fits and cannot be confused with a digest or a ULID. Otherwise it
    is a digest. Escalations without a request id have a ULID.
    """
    plain = f"esc_{request_id}"
    if is_escalation_id(plain) and not _DIGEST.match(plain) and not is_ulid(plain):
        return plain
    import hashlib

    return "esc_h" + hashlib.sha256(request_id.encode()).hexdigest()[:40]


def is_ulid(escalation_id: str) -> bool:
    """Whether an id is `esc_` and a ULID, which is the form for escalations without a request id."""
    return _ULID.fullmatch(escalation_id) is not None


def ulid(now: datetime, random: bytes) -> str:
    """A ULID in lower case: 48 bits of milliseconds, and 80 bits from ``random`` (10 bytes)."""
    millis = (now - _EPOCH) // timedelta(milliseconds=1)
    value = (millis << 80) | int.from_bytes(random[:ULID_RANDOM_BYTES])
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))
