"""The release of a decision, and the receipt for it: the file in `queue/released/`. See docs/gateway.md.

The order of the fields is the order of the written keys.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, get_args

from . import forms
from .record import ActionDigest, EscalationId, OneLine, Text, Time, ValueDigest
from .value import Value, form

ReceiptStatus = Literal["executed", "failed", "unknown"]
RECEIPT_STATUSES: tuple[str, ...] = get_args(ReceiptStatus)
ReleaseId = Annotated[str, form(forms.RELEASE_ID)]
#: A release without a final receipt is archived after this time.
UNANSWERED = timedelta(days=90)


class Receipt(Value):
    """The result of a release, as the gateway reports it."""

    status: ReceiptStatus
    result_digest: ValueDigest | None = None
    receipt_by: OneLine
    receipt_at: Time
    reason: Text | None = None


class Release(Value):
    """The use of a decision: the action, the release id, the actor and the time."""

    schema_version: Literal[2] = 2
    escalation_id: EscalationId
    outcome: Literal["approved", "redacted", "rewritten"]
    digest: ActionDigest | None = None
    resolved_at: Time
    release_id: ReleaseId
    released_by: OneLine
    released_at: Time
    receipt: Receipt | None = None

    @property
    def closed_at(self) -> datetime | None:
        """The time from which it may be archived without a final receipt. None if its receipt is final."""
        is_final = self.receipt is not None and self.receipt.status != "unknown"
        return None if is_final else self.released_at + UNANSWERED

    @property
    def last_time(self) -> datetime:
        """The latest time in the release or its receipt."""
        return max(self.released_at, self.receipt.receipt_at) if self.receipt else self.released_at
