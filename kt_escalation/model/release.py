"""The release of a decision, and the receipt for it: the file in `queue/released/`. See docs/gateway.md.

The order of the fields is the order of the written keys.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, get_args

from pydantic import Field

from .record import ActionDigest, EscalationId, Line, Text, Time, Value, ValueDigest

ReceiptStatus = Literal["executed", "failed", "unknown"]
RECEIPT_STATUSES: tuple[str, ...] = get_args(ReceiptStatus)
RELEASE_ID = r"^[A-Za-z0-9._-]{1,64}$"
ReleaseId = Annotated[str, Field(pattern=RELEASE_ID)]
#: After so long a release is archived although nobody has said for good what came of it.
UNANSWERED = timedelta(days=90)


class Receipt(Value):
    """What came of a release, in the gateway's own words."""

    status: ReceiptStatus
    result_digest: ValueDigest | None = None
    receipt_by: Line
    receipt_at: Time
    reason: Text | None = None


class Release(Value):
    """That a decision was used: for what, under which id, by whom and when."""

    schema_version: Literal[2] = 2
    escalation_id: EscalationId
    outcome: Literal["approved", "redacted", "rewritten"]
    digest: ActionDigest | None = None
    resolved_at: Time
    release_id: ReleaseId
    released_by: Line
    released_at: Time
    receipt: Receipt | None = None

    @property
    def closed_at(self) -> datetime | None:
        """From when on it is archived although its receipt is not final; None if it is final."""
        is_final = self.receipt is not None and self.receipt.status != "unknown"
        return None if is_final else self.released_at + UNANSWERED

    @property
    def last_time(self) -> datetime:
        """The latest time in it."""
        return max(self.released_at, self.receipt.receipt_at) if self.receipt else self.released_at
