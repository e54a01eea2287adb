"""The vocabulary of a record, and its limits. See docs/record.md.

It is separate from the model, so that the command line can offer the words without importing pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, get_args

#: The newest version of the record's format that this kt reads.
SCHEMA_VERSION = 2
# Limits in canonical bytes, each below the limit of a record, so that there is always room for a decision.
# They are for raising, for notes by people who may not decide, and for all other changes that leave the
# record open. The rest is for a claim and the resolution.
MAX_BYTES = 256 * 1024
MAX_RAISED = 192 * 1024
MAX_NOTED = 224 * 1024
MAX_OPEN = 248 * 1024
# Of all amendments of a record together, in bytes of compact JSON.
MAX_AMENDMENTS = 24 * 1024
MAX_DEPTH = 32
MAX_SUMMARY = 200
MAX_TEXT = 16_384
MAX_NAME = 1_000
# The longest path that Linux opens (PATH_MAX). git could store longer ones, but not check them out.
MAX_PATH = 4_096
# A YAML key may have 1,024 characters at most, and a character may be written as ten.
MAX_KEY = 100
MAX_LABELS = 64
MAX_DIGITS = 300
# A hundred years, so that every deadline is a valid time.
LONGEST = timedelta(days=36_500)

Status = Literal["queued", "claimed", "resolved"]
Severity = Literal["critical", "high", "medium", "low"]
Outcome = Literal["approved", "redacted", "rewritten", "denied", "expired", "withdrawn"]
Category = Literal[
    "false_positive",
    "true_positive_approved",
    "true_positive_blocked",
    "needs_policy_update",
    "needs_rewrite",
    "duplicate",
    "other",
]
#: The words that a listing is filtered by, and the statuses that each of them stands for.
STATUSES: Mapping[str, frozenset[Status]] = {
    "open": frozenset({"queued", "claimed"}),
    "all": frozenset({"queued", "claimed", "resolved"}),
    "queued": frozenset({"queued"}),
    "claimed": frozenset({"claimed"}),
    "resolved": frozenset({"resolved"}),
}
SEVERITIES: tuple[str, ...] = get_args(Severity)
CATEGORIES: tuple[str, ...] = get_args(Category)
#: The outcomes that a reviewer may give. Only the sweep writes `expired`, only `withdraw` writes `withdrawn`.
DECISIONS: tuple[str, ...] = ("approved", "redacted", "rewritten", "denied")
#: All outcomes of a record.
OUTCOMES: tuple[str, ...] = get_args(Outcome)
#: The actions that a commit's message may name; see docs/design.md. `erase` does not exist yet.
ACTIONS = (
    *("raise", "claim", "renew", "unclaim", "resolve", "review", "assign", "note", "sweep", "reopen"),
    *("restore", "compact", "withdraw", "release", "receipt", "erase"),
)
RELEASING = frozenset({"approved", "redacted", "rewritten"})
#: The releasing outcomes that change the request, and so carry an amendment.
AMENDING = frozenset({"redacted", "rewritten"})
#: The verbs of people and gateways, accepted on input.
VERBS: Mapping[str, Outcome] = {
    "allow": "approved",
    "approve": "approved",
    "block": "denied",
    "deny": "denied",
    "reject": "denied",
    "rejected": "denied",
    "redact": "redacted",
    "rewrite": "rewritten",
}


def parse_outcome(text: str) -> Outcome:
    """Parse an outcome: one of ours, or the gateway's word for it. Raises ValueError with the known words."""
    word = text.strip().lower()
    found = VERBS.get(word)
    if found:
        return found
    for outcome in ("approved", "redacted", "rewritten", "denied"):
        if word == outcome:
            return outcome
    if word == "expired":
        raise ValueError(f"only the sweep writes expired; decide with one of {', '.join(DECISIONS)}")
    if word == "withdrawn":
        raise ValueError("who raised it withdraws it with `kt escalation withdraw`")
    known = ", ".join((*DECISIONS, *VERBS))
    raise ValueError(f"{re.sub(r'[^ -~]', '?', text)[:40]!r} is not an outcome; use one of {known}")
