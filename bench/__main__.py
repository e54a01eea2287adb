"""`python -m bench [ROW …]`: measure, print the table, write `results.json` and `RESULTS.md`.

Rows are named as in `rows.ROWS`, all by default, and `rows.APART`. These, and `growth`, the one that plots, have to
be asked for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import report
from .growth import growth
from .measure import Failed, neutral
from .rows import APART, ROWS, SMALL, Bench, Scale
from .stores import Stores

_HERE = Path(__file__).parent


def main(args: Sequence[str]) -> int:
    """Measure what is asked for; 1 if some of it could not be measured, whatever the numbers say."""
    asked = _parsed(args)
    scale = SMALL if asked.small else Scale()
    if asked.repeat:
        scale = replace(scale, repeat=asked.repeat, repeat_long=asked.repeat)
    rows: dict[str, list[dict[str, Any]]] = {}
    grown: dict[str, Any] = {}
    failed = False
    asked.stores.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=asked.stores) as folder:
        neutral(Path(folder))
        bench = Bench(Stores(asked.stores), Path(folder), scale)
        for name in asked.rows or ROWS:
            began = time.monotonic()
            try:
                if name == "growth":
                    grown = growth(bench, _say)
                else:
                    rows[name] = [row.as_json() for row in {**ROWS, **APART}[name](bench)]
            except Failed as error:
                failed = True
                _say(f"{name}: could not be measured: {error}")
            else:
                _say(f"{name}: measured in {time.monotonic() - began:.0f} s")
    if rows:
        print(report.table([report.HEAD, *(report.cells(row) for found in rows.values() for row in found)]))
    if grown:
        print(report.growth_table(grown), end="")
    report.save(asked.output, rows, grown)
    return 1 if failed else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parsed(args: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"{', '.join([*ROWS, *APART])}, growth (default: all but {', '.join(APART)} and growth)",
    )
    parser.add_argument("--small", action="store_true", help="as small as can be, to see that it works")
    parser.add_argument("--repeat", type=int, metavar="N", help="measure everything so many times")
    parser.add_argument(
        "--stores", type=Path, default=_HERE / ".stores", help="where stores are built and kept"
    )
    parser.add_argument("--output", type=Path, default=_HERE, help="where the results are written")
    asked = parser.parse_args(args)
    unknown = set(asked.rows) - {*ROWS, *APART, "growth"}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return asked


sys.exit(main(sys.argv[1:]))
