"""A parsed file below `policies/`, and the faults in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROSTER = "policies/roster.yaml"
SETTINGS = "policies/settings.yaml"
WAIVERS = "policies/waivers.yaml"
#: The files below `policies/` that are no packs.
OURS = frozenset({ROSTER, SETTINGS, WAIVERS})

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Fault:
    """Something wrong in a policy file: where (line and column from 1, 0 if not known), and what."""

    file: str
    line: int
    column: int
    problem: str

    @property
    def where(self) -> str:
        """``policies/settings.yaml:3:5``."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


@dataclass(frozen=True)
class PolicyFile:
    """Its value and where each part of it stands; ``problem`` where there is no value.

    ``repeated`` are keys that stand twice, where the reader was asked to go on.
    """

    value: Any = None
    problem: str | None = None
    line: int = 0
    column: int = 0
    marks: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    repeated: tuple[tuple[int, int, str], ...] = ()

    def fault(self, file: str, path: Path, problem: str) -> Fault:
        """A fault at a path of the value, or at the nearest part of it that is there."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.marks:
                return Fault(file, *self.marks[path[:end]], problem)
        return Fault(file, 0, 0, problem)
