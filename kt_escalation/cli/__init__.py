"""The command line: a thin user of the package. `main` is `kt`, `main_escalation` is `kt-escalation`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `kt`."""
    from .edge import run

    sys.exit(run("kt", sys.argv[1:]))


def main_escalation() -> None:
    """Run `kt-escalation`, which is `kt escalation`."""
    from .edge import run

    sys.exit(run("kt-escalation", sys.argv[1:]))
