"""The form that each text of a record must have, as a pattern."""

from __future__ import annotations

from . import ids

ESCALATION_ID, CLAIM_ID = f"^{ids.ESCALATION_ID.pattern}$", f"^{ids.CLAIM_ID.pattern}$"
REASON_CODE = r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$"
RELEASE_ID = r"^[A-Za-z0-9._-]{1,64}$"
TREE_ID, DIGEST = r"^[0-9a-f]{40}([0-9a-f]{24})?$", r"^[0-9a-f]{64}$"
ACTION_DIGEST, VALUE_DIGEST = r"^(hmac-)?sha256:[0-9a-f]{64}$", r"^sha256:[0-9a-f]{64}$"
MEDIA_TYPE = r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$"
#: A commit's whole id, by SHA-1 or SHA-256.
COMMIT_ID = r"^([0-9a-f]{40}|[0-9a-f]{64})$"
