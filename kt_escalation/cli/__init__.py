"""The command line: a thin user of the package. `main` is `kt`, `main_escalation` is `kt-escalation`."""

from __future__ import annotations

import gc
import sys

# A command reads tens of thousands of values that all live until it ends. Looking through them for
# cycles as often as Python does by default takes a tenth of its time and finds next to nothing.
_OBJECTS_BETWEEN_COLLECTIONS = 100_000


def main() -> None:
    """Run `kt`."""
    _main("kt")


def main_escalation() -> None:
    """Run `kt-escalation`, which is `kt escalation`."""
    _main("kt-escalation")


def _main(program: str) -> None:
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    from .edge import run

    sys.exit(run(program, sys.argv[1:]))
