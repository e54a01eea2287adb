"""The command line, a thin layer over the package. `main` runs `kt`, `main_escalation` runs `kt-escalation`."""

from __future__ import annotations

import gc
import os
import sys

# The values that a command reads live until it ends. Python's default collects garbage so often that a list
# of 10,000 takes a tenth longer, and it would find almost nothing.
_OBJECTS_BETWEEN_COLLECTIONS = 100_000


def main() -> None:
    """Run `kt`."""
    _main("kt")


def main_escalation() -> None:
    """Run `kt-escalation`, which is `kt escalation`."""
    _main("kt-escalation")


def _main(program: str) -> None:
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    # kt has no pydantic plugins, and to look for them reads the metadata of all installed packages.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from . import signals

    signals.heed()
    from .edge import run

    status = run(program, sys.argv[1:])
    # At exit, Python searches all values once more, which takes a tenth of a command's time. kt does not need
    # this: files are closed and locks released by then.
    gc.freeze()
    sys.exit(status)
