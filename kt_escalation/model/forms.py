"""The form that each text of a record must have, as a pattern and in words, and what pydantic found wrong, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import ids

if TYPE_CHECKING:
    from pydantic import ValidationError

ESCALATION_ID, CLAIM_ID = f"^{ids.ESCALATION_ID.pattern}$", f"^{ids.CLAIM_ID.pattern}$"
REASON_CODE = r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$"
TREE_ID, DIGEST = r"^[0-9a-f]{40}([0-9a-f]{24})?$", r"^[0-9a-f]{64}$"
ACTION_DIGEST, VALUE_DIGEST = r"^(hmac-)?sha256:[0-9a-f]{64}$", r"^sha256:[0-9a-f]{64}$"
MEDIA_TYPE = r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$"
#: A commit's whole id, by SHA-1 or SHA-256.
COMMIT_ID = r"^([0-9a-f]{40}|[0-9a-f]{64})$"
#: What each pattern requires, in words.
_FORMS = {
    COMMIT_ID: "must be a commit's whole id, 40 or 64 hex digits",
    ids.RELEASE_ID: "must be letters, digits, _, . and -, 64 at most",
    ESCALATION_ID: "must be esc_ and then small letters, digits, _ and -, 64 characters at most",
    CLAIM_ID: "must be letters, digits, _, . and -, 64 at most, and begin with a letter or digit",
    REASON_CODE: "must be letters, digits, _ and -, in parts joined by dots, such as oversight.required",
    TREE_ID: "must be the whole id of a git tree",
    DIGEST: "must be the 64 hex digits that `get` shows as shown",
    ACTION_DIGEST: "must be sha256: or hmac-sha256: and 64 hex digits; `kt escalation digest` prints it",
    VALUE_DIGEST: "must be sha256: and 64 hex digits",
    MEDIA_TYPE: "must be a media type in small letters, such as application/json",
}
#: What each type requires, in words.
_TYPES = {
    "string_type": "must be text, in quotes where it looks like something else",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "int_type": "must be a whole number",
    "int_parsing_size": "is too large",
    "bool_type": "must be true or false",
    "datetime_type": "must be an RFC 3339 time such as 2026-11-23T10:00:00Z",
    "time_delta_type": "must be a duration such as 90s, 15m, 2h or 7d",
    "invalid_key": "has a key that is not text",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
}


def findings(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Pydantic's errors as pairs: the path of a key, and what is wrong with it."""
    said = []
    for finding in error.errors(include_url=False, include_input=False):
        what = finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "missing":
            what = "is missing"
        elif finding["type"] == "extra_forbidden":
            what = "is not a known key"
        elif finding["type"] in ("string_too_long", "too_long"):
            what = f"is longer than {finding['ctx']['max_length']}"
        elif finding["type"] in ("string_too_short", "too_short"):
            what = "must not be empty"
        elif finding["type"] == "string_pattern_mismatch":
            pattern = finding["ctx"]["pattern"]
            what = _FORMS.get(pattern, f"must match {pattern}")
        elif finding["type"] in _TYPES:
            what = _TYPES[finding["type"]].format_map(finding.get("ctx", {}))
        elif finding["type"] == "literal_error":
            what = f"must be {finding['ctx']['expected']}"
        said.append((finding["loc"], what))
    return said


def explain(error: ValidationError) -> str:
    """Pydantic's errors on one line: each key with what is wrong with it."""
    named = ((".".join(map(str, path)), what) for path, what in findings(error))
    return "; ".join(f"{where}: {what}" if where else what for where, what in named)
