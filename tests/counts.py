"""How many examples of a property the tests try: some in every run, all of them in `make soak`."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

SOAK = os.environ.get("EXAMPLES") == "soak"


def examples(count: int) -> int:
    """Half as many as this in every run of the tests, and ten times as many in the soak."""
    return count * 10 if SOAK else -(-count // 2)


def every(nth: int, cases: Iterable[object]) -> list[object]:
    """Parameters of which every nth is tried in every run, and all in the soak."""
    return [
        pytest.param(case, marks=() if number % nth == 0 else pytest.mark.soak)
        for number, case in enumerate(cases)
    ]
