"""Names a step that no rule makes, by how it differs from the most similar rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..model.record import Record

#: The rule that each key stands for, what matters most first; all others are their caller's.
RULES = {
    "actor": ("raised_by", "claimed_by", "reviewer", "resolved_by", "by"),
    "quorum": ("approvals",),
    "time": ("created_at", "raised_at", "queued_at", "claimed_at", "reviewed_at", "resolved_at", "at"),
    "lease": ("expires_at",),
    "shown": ("shown",),
}
# A value of which more would only hide what is said about it.
_SHOWN = 80


def named(made: Record, found: Record, otherwise: str) -> tuple[str, str]:
    """The rule that a record breaks, and what the rule would have made of it: ``claim.claimed_by bob``.

    ``made`` is what the rule makes, ``found`` what there is, which must differ; ``otherwise`` the rule's
    name where the keys in which they differ say nothing more.
    """
    differing = list(_differing(made.as_dict(), found.as_dict()))
    for rule, keys in RULES.items():
        for path, expected in differing:
            if path.rpartition(".")[2] in keys:
                return rule, expected
    return otherwise, differing[0][1]


def _differing(made: Any, found: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each key that differs, with dots between it and those above, and what was expected there."""
    if isinstance(made, Mapping) and isinstance(found, Mapping):
        for key in dict.fromkeys([*made, *found]):
            yield from _differing(made.get(key), found.get(key), f"{path}.{key}" if path else key)
    elif isinstance(made, list) and isinstance(found, list) and len(made) == len(found):
        for number, (one, other) in enumerate(zip(made, found, strict=True)):
            yield from _differing(one, other, f"{path}.{number}")
    elif made is None and found is not None:
        yield path, f"expected no {path}"
    elif made != found:
        value = "as before" if isinstance(made, list | Mapping) else str(made)
        yield path, f"expected {path} {value if len(value) <= _SHOWN else value[:_SHOWN] + '…'}"
