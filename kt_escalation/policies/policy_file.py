"""A parsed file of `policies/`, and the faults in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from ..frozen import dataclass
from ..model.value import KeyPath

ROSTER = "policies/roster.yaml"
SETTINGS = "policies/settings.yaml"
WAIVERS = "policies/waivers.yaml"
#: The files of `policies/` that are not packs.
OURS = frozenset({ROSTER, SETTINGS, WAIVERS})


@dataclass(frozen=True)
class Fault:
    """A fault in a policy file: its position (line and column from 1, 0 if unknown), and what is wrong."""

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
    """A parsed policy file: its value, and the position of each part. ``problem`` is set if it has no value.

    ``repeated`` lists duplicate keys, if the reader was told to continue after them.
    """

    value: Any = None
    problem: str | None = None
    line: int = 0
    column: int = 0
    marks: Mapping[KeyPath, tuple[int, int]] = field(default_factory=dict)
    repeated: tuple[tuple[int, int, str], ...] = ()

    def fault(self, file: str, path: KeyPath, problem: str) -> Fault:
        """A fault at a path in the value, or at the nearest part that exists."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.marks:
                return Fault(file, *self.marks[path[:end]], problem)
        return Fault(file, 0, 0, problem)
