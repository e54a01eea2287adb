"""How many examples of a property the tests try: some in every run, ten times as many in `make soak`."""

from __future__ import annotations

import os


def examples(count: int) -> int:
    """As many as this in every run of the tests."""
    return count * (10 if os.environ.get("EXAMPLES") == "soak" else 1)
