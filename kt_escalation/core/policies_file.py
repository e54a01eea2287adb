"""A parsed file below `policies/`, as the store hands it to the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PolicyFile:
    """Its value and where each part of it stands (line and column from 1), or the problem with it."""

    value: Any = None
    problem: str | None = None
    marks: Mapping[tuple[str | int, ...], tuple[int, int]] = field(default_factory=dict)
