"""A human-review queue for AI gateways that lives in a git repository.

`Store` does in Python what `kt escalation` does in a shell. The other names are the types of what it takes and
returns; `errors` has the errors that it raises, and `testing` a store in memory for your own tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .actions.initialize import InitResult
    from .actions.listing import Rows
    from .actions.policy import Explanation, Linted, Moved
    from .audit import Report, Sender
    from .doctor import Finding
    from .errors import Failure, KtError
    from .model.event import Event
    from .model.query import Query
    from .model.record import Claim, Note, Record, Requires, Resolution, Review, Route
    from .policies.policy_file import Fault
    from .policies.policy_set import Policies
    from .reporting.evidence import Evidence
    from .reporting.export import Exported
    from .reporting.figures import Figures
    from .reporting.overview import Case, Overview
    from .results import Compacted, Decision, Found, Line, Listing, Moment, Received, Result, Swept
    from .rules.available_actions import AvailableAction
    from .rules.due_actions import Due
    from .rules.judge_step import Violation
    from .rules.permissions import Quorum
    from .storage.effect import Effect
    from .storage.interface import Invalid
    from .store import Store

__all__ = [
    "AvailableAction",
    "Case",
    "Claim",
    "Compacted",
    "Decision",
    "Due",
    "Effect",
    "Event",
    "Evidence",
    "Explanation",
    "Exported",
    "Failure",
    "Fault",
    "Figures",
    "Finding",
    "Found",
    "InitResult",
    "Invalid",
    "KtError",
    "Line",
    "Linted",
    "Listing",
    "Moment",
    "Moved",
    "Note",
    "Overview",
    "Policies",
    "Query",
    "Quorum",
    "Received",
    "Record",
    "Report",
    "Requires",
    "Resolution",
    "Result",
    "Review",
    "Route",
    "Rows",
    "Sender",
    "Store",
    "Swept",
    "Violation",
    "__version__",
]

_HOMES = {
    "Sender": "audit",
    "Case": "reporting.overview",
    "Claim": "model.record",
    "Compacted": "results",
    "Decision": "results",
    "Received": "results",
    "Due": "rules.due_actions",
    "Effect": "storage.effect",
    "Event": "model.event",
    "Evidence": "reporting.evidence",
    "Explanation": "actions.policy",
    "Exported": "reporting.export",
    "Failure": "errors",
    "Fault": "policies.policy_file",
    "Figures": "reporting.figures",
    "Finding": "doctor",
    "Found": "results",
    "Invalid": "storage.interface",
    "KtError": "errors",
    "Line": "results",
    "Linted": "actions.policy",
    "Listing": "results",
    "InitResult": "actions.initialize",
    "Moment": "results",
    "AvailableAction": "rules.available_actions",
    "Moved": "actions.policy",
    "Note": "model.record",
    "Overview": "reporting.overview",
    "Policies": "policies.policy_set",
    "Query": "model.query",
    "Quorum": "rules.permissions",
    "Record": "model.record",
    "Report": "audit",
    "Requires": "model.record",
    "Resolution": "model.record",
    "Result": "results",
    "Review": "model.record",
    "Route": "model.record",
    "Rows": "actions.listing",
    "Store": "store",
    "Swept": "results",
    "Violation": "rules.judge_step",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: a script that only needs an error does not load git."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    """All names, loaded or not, so that completion shows them."""
    return sorted({*globals(), *__all__})
