"""Writes to a terminal: tables that fit its width, and pages that wrap. Only this module imports rich.

It is imported only if stdout is a terminal. Its input is plain text: nothing in it is read as rich's markup,
and control characters are escaped (`model.text`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ...frozen import dataclass
from ...model.text import visible

if TYPE_CHECKING:
    from ...model.record import Record

#: A text and its tone: a severity, a verdict, an outcome, or another key of `_TONES`.
Toned = tuple[str, str]

_TONES = {
    "critical": "bold bright_red",
    "high": "red",
    "medium": "yellow",
    "low": "green",
    "head": "bold",
    "faint": "dim",
    "late": "bold red",
    "command": "cyan",
    "escalate": "yellow",
    "allow": "green",
    "approved": "green",
    "redacted": "green",
    "rewritten": "green",
    "block": "red",
    "denied": "red",
    "expired": "red",
}
_GAP = 2
#: The longest line of a page that is easy to read.
_READABLE = 110
#: Below this width, nothing is laid out. The terminal itself breaks the lines.
_NARROWEST = 20
# rich uses a width only together with a height. The value does not matter here.
_HEIGHT = 25
# The blanks after a line's last word, perhaps with the end of a colour between them.
_BLANKS = re.compile(r" +(\x1b\[0m)? *$")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    It is as wide as its longest cell, at most ``most``. If the terminal is too narrow, columns with the
    highest ``goes`` are left out first; columns with 0 always stay. A column with a ``least`` first shrinks
    to that width before any column is left out, and to half of it before it is left out itself. The cells of
    a ``whole`` column are wrapped instead of cut.
    """

    head: str
    goes: int = 0
    right: bool = False
    most: int | None = None
    least: int | None = None
    whole: bool = False


@dataclass(frozen=True)
class PageSection:
    """A part of a page: a title, and pairs of a label and a value."""

    title: str
    pairs: Sequence[tuple[Toned, Toned]]


def table(columns: Sequence[Column], rows: Sequence[Sequence[Toned]]) -> Iterator[str]:
    """The lines of a table in the terminal's width. Empty columns are left out."""
    widths = _fit(columns, rows)
    laid = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="")
    for column, width in zip(columns, widths, strict=True):
        if width:
            laid.add_column(
                _text((column.head, "head")),
                width=width,
                justify="right" if column.right else "left",
                no_wrap=not column.whole,
                overflow="fold" if column.whole else "ellipsis",
            )
    for row in rows:
        laid.add_row(*(_text(cell) for cell, width in zip(row, widths, strict=True) if width))
    yield from _lines(laid, _width())


def page(title: Sequence[Toned], summary: str | None, sections: Iterable[PageSection]) -> Iterator[str]:
    """The lines of a page in the terminal's width."""
    width = min(_width(), _READABLE)
    yield from _lines(Text("  ").join(_text(words) for words in title), width)
    if summary:
        yield from _lines(_text((summary, "head")), width)
    for section in sections:
        if not section.pairs:
            continue
        yield ""
        yield from lines((section.title, "head"))
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        longest = max(cell_len(visible(key[0])) for key, _ in section.pairs)
        grid.add_column(width=min(longest, width // 3), overflow="fold")
        grid.add_column(overflow="fold")
        for key, value in section.pairs:
            grid.add_row(_text(key), _text(value))
        yield from _lines(Padding(grid, (0, 0, 0, _GAP), expand=False), width)


def lines(*words: Toned) -> Iterator[str]:
    """The lines of a text, wrapped at the width of the terminal."""
    yield from _lines(Text("").join(_text(some) for some in words), min(_width(), _READABLE))


def rule(text: str) -> Iterator[str]:
    """A line across the page with a short text in it."""
    yield from _lines(Rule(_text((text, "")), align="left", style="dim"), min(_width(), _READABLE))


def headline(record: Record, place: str) -> Iterator[str]:
    """An escalation on one line: id, severity, summary, place. Only the summary is shortened."""
    begin, end = f"{record.escalation_id} {record.severity}  ", f"  [{place}]"
    said = Text(visible(record.summary or record.reason_code))
    said.truncate(max(_width() - cell_len(begin) - cell_len(end) - 1, 1), overflow="ellipsis")
    severity = (record.severity, record.severity)
    words = Text("").join(
        [
            _text((f"{record.escalation_id} ", "head")),
            _text(severity),
            Text("  "),
            said,
            _text((end, "faint")),
        ]
    )
    yield from _lines(words, _width())


def _text(words: Toned) -> Text:
    text, tone = words
    # A style for only this part leaves the blanks beside it unstyled.
    return Text().append(visible(text, lines=True), _TONES.get(tone, ""))


def _fit(columns: Sequence[Column], rows: Sequence[Sequence[Toned]]) -> list[int]:
    """The width of each column. 0 for columns that are left out."""
    wanted = []
    for at, column in enumerate(columns):
        said = max((cell_len(visible(row[at][0])) for row in rows if row[at][0] != "-"), default=0)
        width = max(said, cell_len(column.head)) if said or not column.goes else 0
        wanted.append(min(width, column.most or width))
    going = sorted((at for at, column in enumerate(columns) if column.goes), key=lambda at: columns[at].goes)
    while True:
        widths = list(wanted)
        over = sum(width + _GAP for width in widths if width) - _GAP - _width()
        for at, column in enumerate(columns):
            if column.least and over > 0:
                least = column.least // 2 if going[-1:] == [at] else column.least
                taken = min(over, max(widths[at] - least, 0))
                widths[at] -= taken
                over -= taken
        if over <= 0:
            return widths
        if not going:
            # The last resort is an id on several lines.
            return [max(w - over, 1) if c.whole and w else w for c, w in zip(columns, widths, strict=True)]
        wanted[going.pop()] = 0


def _width() -> int:
    return max(shutil.get_terminal_size().columns, _NARROWEST)


def _styled() -> bool:
    """Whether colours are allowed (no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")


def _lines(what: RenderableType, width: int) -> Iterator[str]:
    console = Console(
        width=width,
        height=_HEIGHT,
        color_system="standard" if _styled() else None,
        force_terminal=True,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(what)
    for line in captured.get().removesuffix("\n").split("\n"):
        yield _BLANKS.sub(r"\1", line)
