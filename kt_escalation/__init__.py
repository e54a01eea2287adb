"""A human-review queue for AI gateways that lives in a git repository.

`Store` does in Python what `kt escalation` does in a shell; `errors` has the errors that it raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .errors import KtError
    from .model.event import Event
    from .model.query import Query
    from .model.record import Record
    from .results import Decision, Found, Listing, Moment, Received, Result, Swept
    from .store import Store

__all__ = [
    "Decision",
    "Event",
    "Found",
    "KtError",
    "Listing",
    "Moment",
    "Query",
    "Received",
    "Record",
    "Result",
    "Store",
    "Swept",
    "__version__",
]

_HOMES = {
    "Decision": "results",
    "Received": "results",
    "Event": "model.event",
    "Found": "results",
    "KtError": "errors",
    "Listing": "results",
    "Moment": "results",
    "Query": "model.query",
    "Record": "model.record",
    "Result": "results",
    "Store": "store",
    "Swept": "results",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for: a script that only wants an error pays for no git."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
