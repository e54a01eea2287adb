"""A human-review queue for AI gateways that lives in a git repository.

`Store` does in Python what `kt escalation` does in a shell. The other names are the types of what it takes and
returns; `errors` has the errors that it raises, and `testing` a store in memory for your own tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .actions.initialize import InitResult as InitResult
    from .actions.listing import Rows as Rows
    from .actions.policy import Explanation as Explanation
    from .actions.policy import Linted as Linted
    from .actions.policy import Moved as Moved
    from .audit import Report as Report
    from .audit import Sender as Sender
    from .doctor import Finding as Finding
    from .errors import Failure as Failure
    from .errors import KtError as KtError
    from .model.event import Event as Event
    from .model.query import Query as Query
    from .model.record import Claim as Claim
    from .model.record import Note as Note
    from .model.record import Record as Record
    from .model.record import Requires as Requires
    from .model.record import Resolution as Resolution
    from .model.record import Review as Review
    from .model.record import Route as Route
    from .policies.policy_file import Fault as Fault
    from .policies.policy_set import Policies as Policies
    from .reporting.evidence import Evidence as Evidence
    from .reporting.export import Exported as Exported
    from .reporting.figures import Figures as Figures
    from .reporting.overview import Case as Case
    from .reporting.overview import Overview as Overview
    from .results import Compacted as Compacted
    from .results import Decision as Decision
    from .results import Found as Found
    from .results import Line as Line
    from .results import Listing as Listing
    from .results import Moment as Moment
    from .results import Received as Received
    from .results import Result as Result
    from .results import Swept as Swept
    from .rules.available_actions import AvailableAction as AvailableAction
    from .rules.due_actions import Due as Due
    from .rules.judge_step import Violation as Violation
    from .rules.permissions import Quorum as Quorum
    from .storage.effect import Effect as Effect
    from .storage.interface import Invalid as Invalid
    from .store import Store as Store

#: The exported names, by the module that has them.
_MODULES = {
    "actions.initialize": ("InitResult",),
    "actions.listing": ("Rows",),
    "actions.policy": ("Explanation", "Linted", "Moved"),
    "audit": ("Report", "Sender"),
    "doctor": ("Finding",),
    "errors": ("Failure", "KtError"),
    "model.event": ("Event",),
    "model.query": ("Query",),
    "model.record": ("Claim", "Note", "Record", "Requires", "Resolution", "Review", "Route"),
    "policies.policy_file": ("Fault",),
    "policies.policy_set": ("Policies",),
    "reporting.evidence": ("Evidence",),
    "reporting.export": ("Exported",),
    "reporting.figures": ("Figures",),
    "reporting.overview": ("Case", "Overview"),
    "results": ("Compacted", "Decision", "Found", "Line", "Listing", "Moment", "Received", "Result", "Swept"),
    "rules.available_actions": ("AvailableAction",),
    "rules.due_actions": ("Due",),
    "rules.judge_step": ("Violation",),
    "rules.permissions": ("Quorum",),
    "storage.effect": ("Effect",),
    "storage.interface": ("Invalid",),
    "store": ("Store",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: a script that only needs an error does not load git."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    """All names, loaded or not, so that completion shows them."""
    return sorted({*globals(), *__all__})
