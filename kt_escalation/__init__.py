"""A human-review queue for AI gateways that lives in a git repository.

`Store` does in Python what `kt escalation` does in a shell; `errors` has the errors that it raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .answers import Found, Listing, Moment, Result, Swept
    from .core.feed import Event
    from .core.model import Record
    from .core.query import Query
    from .desk import Store
    from .errors import KtError

__all__ = [
    "Event",
    "Found",
    "KtError",
    "Listing",
    "Moment",
    "Query",
    "Record",
    "Result",
    "Store",
    "Swept",
    "__version__",
]

_HOMES = {
    "Event": "core.feed",
    "Found": "answers",
    "KtError": "errors",
    "Listing": "answers",
    "Moment": "answers",
    "Query": "core.query",
    "Record": "core.model",
    "Result": "answers",
    "Store": "desk",
    "Swept": "answers",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for: a script that only wants an error pays for no git."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
