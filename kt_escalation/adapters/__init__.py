"""Adapters for other SDKs: they ask people about tool calls and requests, over a gateway.

One module for each SDK. See docs/adapters/.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import MissingExtra


def sdk(module: str, extra: str) -> Any:
    """Import a module of an SDK. Raises MissingExtra if it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        from ..reporting.extras import how_to_install

        raise MissingExtra(
            command=f"kt_escalation.adapters.{extra.replace('-', '_')}",
            library=error.name,
            extra=extra,
            install=how_to_install(extra),
        ) from None
