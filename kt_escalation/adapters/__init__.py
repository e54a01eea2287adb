"""Adapters for other SDKs: they ask people about tool calls and requests, over a gateway.

One module for each SDK. See docs/adapters/.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def sdk(module: str, extra: str) -> Any:
    """Import a module of an SDK. Raises MissingExtra if it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        from ..reporting import extras

        raise extras.missing(f"kt_escalation.adapters.{extra.replace('-', '_')}", extra, error) from None
