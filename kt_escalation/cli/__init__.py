"""The command line, a thin layer over the package. `main` is `kt`, `main_escalation` is `kt-escalation`."""

from __future__ import annotations

import gc
import os
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
    # None of ours is a plugin of pydantic's, and to look for them reads the metadata of all that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from . import signals

    signals.heed()
    from .edge import run

    status = run(program, sys.argv[1:])
    # Before it ends Python looks through all that lives once more, as long as a seventh of a command takes.
    # Nothing of ours waits for that: files are closed and locks are given back by then.
    gc.freeze()
    sys.exit(status)
