"""What was measured, for people and for scripts: a table, `results.json`, `RESULTS.md` and a plot."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import floors

HEAD = ("work", "value", "floor", "ratio", "budget", "")
_LIBRARIES = ("click", "cryptography", "filelock", "GitPython", "pydantic", "PyYAML")


def about() -> dict[str, str]:
    """The machine, the versions, and when."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "kt": _git("describe", "--always", "--dirty"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "git": _git("version").split()[2],
        "libraries": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }


def save(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]], growth: Mapping[str, Any]) -> None:
    """Write `results.json` and `RESULTS.md`; what was not measured this time stays as it was."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    known = json.loads(file.read_text()) if file.exists() else {"rows": {}, "growth": {}}
    known["about"] = now = about()
    known["rows"] |= {name: [{**row, "kt": now["kt"]} for row in found] for name, found in rows.items()}
    known["growth"] = growth or known["growth"]
    file.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    (folder / "RESULTS.md").write_text(_markdown(known))
    if growth:
        (folder / "growth.svg").write_text(_svg(growth))


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row as the cells of the table."""
    floor, unit = row["floor"], row["unit"]
    ratios = row["ratios"]
    spread = f" ({min(ratios):.2f}–{max(ratios):.2f})" if len(ratios) > 1 else ""
    return [
        row["work"],
        amount(row["value"], unit),
        amount(floor, unit) if floor is not None else "",
        f"{row['ratio']:.2f} ×{spread}" if floor is not None else "",
        row["budget"] or "",
        row["note"],
    ]


def amount(value: float, unit: str) -> str:
    """A value with its unit."""
    if unit != "s":
        return f"{value:,.0f} {unit}"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells under the head, in columns, as Markdown that can be read as it is."""
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width for width in wide]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, wide, strict=True))} |"
        for line in (lines[0], rule, *lines[1:])
    )


def _markdown(known: Mapping[str, Any]) -> str:
    rows = []
    for row in (row for found in known["rows"].values() for row in found):
        earlier = "" if row["kt"] == known["about"]["kt"] else f"(kt {row['kt']})"
        *line, note = cells(row)
        rows.append([*line, f"{note} {earlier}".strip()])
    parts = [
        "# What kt costs\n",
        "Written by `make bench`; how to read it is in [docs/performance.md](../docs/performance.md).\n",
        "\n".join(f"- {key}: {value}" for key, value in known["about"].items()) + "\n",
        "Medians; the ratio is that of pairs measured in turn, with the smallest and the largest of them.\n",
        table([HEAD, *rows]) + "\n",
        "## The floors\n",
        _floors(),
    ]
    if known["growth"]:
        parts += [
            "## Growth\n",
            "![Time by resolved escalations](growth.svg)\n",
            growth_table(known["growth"]),
        ]
    return "\n".join(parts)


def _floors() -> str:
    imports = " ".join(["python", "-c", f'"{floors.IMPORTS[2]}"'])
    claim = Path(floors.CLAIM[0]).read_text()
    plain = "\n".join(f"    {line}".rstrip() for line in claim.splitlines())
    return (
        f"Imports: `{imports}`. Batch: `{' '.join(floors.FAST_IMPORT)}` from a stream on disk into an empty\n"
        f"repository, and for a checkout `{' '.join(floors.CHECKOUT)}` there. History: `{' '.join(floors.HISTORY)}`\n"
        f"to the null device. A claim by plumbing:\n\n{plain}\n"
    )


# --- growth ---------------------------------------------------------------------------------------


def growth_table(growth: Mapping[str, Any]) -> str:
    """Each kind of work by how many are resolved."""
    sizes = growth["resolved"]
    lines = [["", *(f"{size:,}" for size in sizes)]]
    for work, values in growth["seconds"].items():
        lines.append([work, *(amount(value, "s") if value is not None else "–" for value in values)])
    lines.append(["size of `.git`", *(amount(size, "MB") for size in growth["megabytes"])])
    lines.append(["files at the tip", *(f"{count:,}" for count in growth["files"])])
    return table(lines) + "\n"


_COLOURS = ("#1b6ca8", "#c1440e", "#2e7d32", "#7b1fa2", "#555555")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 400, 60, 20, 200, 50


def _svg(growth: Mapping[str, Any]) -> str:
    """Milliseconds over the resolved escalations, the latter in powers of ten."""
    sizes: Sequence[int] = growth["resolved"]
    series: Mapping[str, Sequence[float | None]] = growth["seconds"]
    top = max(value for values in series.values() for value in values if value is not None) * 1100
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(size: int) -> float:
        return _LEFT + (math.log10(size) - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(millis: float) -> float:
        return _HEIGHT - _BOTTOM - millis / top * (_HEIGHT - _TOP - _BOTTOM)

    box = f'width="{_WIDTH}" height="{_HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="13">',
        f'<rect {box} fill="white"/>',
    ]
    for size in sizes:
        parts.append(
            f'<text x="{x(size):.0f}" y="{_HEIGHT - 30}" text-anchor="middle">{size:,}</text>'
            f'<path d="M{x(size):.0f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#dddddd"/>'
        )
    for share in range(5):
        millis = top * share / 4
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y(millis) + 4:.0f}" text-anchor="end">{millis:.0f}</text>'
            f'<path d="M{_LEFT} {y(millis):.0f}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>'
        )
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 8}">resolved escalations; milliseconds upwards</text>')
    for (work, values), colour in zip(series.items(), _COLOURS, strict=False):
        known = [
            (x(size), y(value * 1000)) for size, value in zip(sizes, values, strict=True) if value is not None
        ]
        if not known:
            continue
        line = "L".join(f"{at:.1f} {up:.1f}" for at, up in known)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at, up = known[-1]
        parts.append(
            f'<text x="{at + 8:.0f}" y="{up + 4:.0f}" fill="{colour}">{work.replace("`", "")}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


# --- the machine ----------------------------------------------------------------------------------


def _git(*args: str) -> str:
    done = subprocess.run(
        ["git", *args], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine() or sys.platform


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.0f} GB"
