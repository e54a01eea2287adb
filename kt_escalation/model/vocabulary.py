"""The vocabulary of a record, and its limits. See docs/record.md.

It is not part of the model, so that the command line can offer the words without importing pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, get_args

SCHEMA_VERSION = 1
# Raising leaves room for deciding, in canonical bytes: of what is raised; of what somebody adds who may not
# decide it; and of every text that leaves it open. What is left is for a claim and the end.
MAX_BYTES = 256 * 1024
MAX_RAISED = 192 * 1024
MAX_NOTED = 224 * 1024
MAX_OPEN = 248 * 1024
MAX_DEPTH = 32
MAX_SUMMARY = 200
MAX_TEXT = 16_384
MAX_NAME = 1_000
# The longest path that Linux opens (PATH_MAX); git could hold a longer one, and nobody could check it out.
MAX_PATH = 4_096
# A YAML key longer than 1,024 characters is no simple key, and one character may be written as ten.
MAX_KEY = 100
MAX_LABELS = 64
MAX_DIGITS = 300
# A hundred years: any deadline in it is a time that exists.
LONGEST = timedelta(days=36_500)

Status = Literal["queued", "claimed", "resolved"]
Severity = Literal["critical", "high", "medium", "low"]
Outcome = Literal["approved", "redacted", "rewritten", "denied", "expired"]
Category = Literal[
    "false_positive",
    "true_positive_approved",
    "true_positive_blocked",
    "needs_policy_update",
    "needs_rewrite",
    "duplicate",
    "other",
]
SEVERITIES: tuple[str, ...] = get_args(Severity)
CATEGORIES: tuple[str, ...] = get_args(Category)
#: What a reviewer may decide; `expired` is the sweep's alone.
DECISIONS: tuple[str, ...] = ("approved", "redacted", "rewritten", "denied")
#: Every outcome that a record may have.
OUTCOMES: tuple[str, ...] = get_args(Outcome)
#: What a commit's message may say that it does (design, sections 4 and 5); the last four are yet to come.
ACTIONS = (
    *("raise", "claim", "renew", "unclaim", "resolve", "review", "assign", "note", "sweep", "reopen"),
    *("restore", "compact", "withdraw", "release", "receipt", "erase"),
)
RELEASING = frozenset({"approved", "redacted", "rewritten"})
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
    """An outcome that a reviewer may give, by our word or the gateway's.

    Raises ValueError with the words that are known.
    """
    word = text.strip().lower()
    found = VERBS.get(word)
    if found:
        return found
    for outcome in ("approved", "redacted", "rewritten", "denied"):
        if word == outcome:
            return outcome
    if word == "expired":
        raise ValueError(f"expired is written by the sweep only; decide with one of {', '.join(DECISIONS)}")
    known = ", ".join((*DECISIONS, *VERBS))
    raise ValueError(f"{re.sub(r'[^ -~]', '?', text)[:40]!r} is not an outcome; use one of {known}")
