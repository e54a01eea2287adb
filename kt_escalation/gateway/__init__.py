"""Holds requests until people have decided: for threads, for asyncio, and over HTTP (`http`). See docs/adapters/."""

from __future__ import annotations

from .held import Metrics as Metrics
from .options import GatewayOptions as GatewayOptions
from .tasks import AsyncGateway as AsyncGateway
from .threads import Gateway as Gateway

__all__ = ["AsyncGateway", "Gateway", "GatewayOptions", "Metrics"]
