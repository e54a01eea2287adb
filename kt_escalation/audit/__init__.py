"""Judges history: whether each step of a store, a pull request or a push is legal. See docs/rules.md."""

from .check import check
from .hook import receive
from .report import Report, violation_line
from .scope import Sender
from .verify import verify

__all__ = ["Report", "Sender", "check", "receive", "verify", "violation_line"]
