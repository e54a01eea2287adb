"""Names the violation of an illegal step, by how it differs from the most similar rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..model.json_value import same_json
from ..model.record import Record

#: The rule for each key, the most important first. For all other keys, the caller names the rule.
RULES = {
    "actor": ("raised_by", "claimed_by", "reviewer", "resolved_by", "by"),
    "quorum": ("approvals",),
    "time": ("created_at", "raised_at", "queued_at", "claimed_at", "reviewed_at", "resolved_at", "at"),
    "lease": ("expires_at",),
    "shown": ("shown",),
    "amendment": ("amendment", "media_type", "digest", "value"),
}
# Longer values would hide the rest of the message.
_SHOWN = 80


def named(made: Record, found: Record, otherwise: str) -> tuple[str, str]:
    """The rule that a record breaks, and the value that the rule gives: ``claim.claimed_by bob``.

    ``made`` is the result of the rule, ``found`` the actual record; they must differ. ``otherwise`` is the
    rule's name if the differing keys do not tell more.
    """
    differing = list(_differing(made.as_dict(), found.as_dict()))
    for rule, keys in RULES.items():
        for path, expected in differing:
            if path.rpartition(".")[2] in keys:
                return rule, expected
    return otherwise, differing[0][1]


def _differing(made: Any, found: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The path of each key that differs, joined by dots, and the expected value."""
    if isinstance(made, Mapping) and isinstance(found, Mapping):
        for key in dict.fromkeys([*made, *found]):
            yield from _differing(made.get(key), found.get(key), f"{path}.{key}" if path else key)
    elif isinstance(made, list) and isinstance(found, list) and len(made) == len(found):
        for number, (one, other) in enumerate(zip(made, found, strict=True)):
            yield from _differing(one, other, f"{path}.{number}")
    elif made is None and found is not None:
        yield path, f"expected no {path}"
    elif not same_json(made, found):
        value = "as before" if isinstance(made, list | Mapping) else str(made)
        yield path, f"expected {path} {value if len(value) <= _SHOWN else value[:_SHOWN] + '…'}"
