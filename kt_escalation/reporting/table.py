"""Writes a record as a table row that is safe to open in a spreadsheet. See docs/evidence.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..model.record import Action, Claim, Record, Requires, Resolution, Route
from ..model.release import Release
from ..model.text import visible
from ..model.value import Value

#: The parts of a record whose keys have columns of their own.
PARTS: Mapping[str, type[Value]] = {
    "action": Action,
    "route": Route,
    "requires": Requires,
    "claim": Claim,
    "resolution": Resolution,
}


def _columns() -> Iterator[str]:
    for key in Record.KEYS:
        yield from (f"{key}.{inner}" for inner in PARTS[key].KEYS) if key in PARTS else (key,)
    yield from (f"release.{key}" for key in Release.KEYS if key not in Record.KEYS)


#: The columns of the CSV export, in order: first where the row was read, then the record's keys, then those
#: that a release has of its own. A dot leads to a key of one of the parts, or of the release. Lists and free
#: mappings are JSON text.
COLUMNS = ("blob", "path", "error", *_columns())
# The characters that start a formula, in all widths that some spreadsheets accept (OWASP, *CSV Injection*).
_FORMULA = "=+-@＝＋－＠﹦﹢﹣﹫"
#: The prefix of a cell that would be a formula, and of one that already begins with the prefix.
QUOTE = "'"


def row(blob: str, path: str, record: Mapping[str, Any] | None, error: str | None) -> tuple[str, ...]:
    """The cells of one file, in the order of `COLUMNS`. ``record`` is a `Record` or, under ``release``, a release, as JSON."""
    known = {"blob": blob, "path": path, "error": error}
    return tuple(
        cell(known[column] if column in known else _value(record or {}, column)) for column in COLUMNS
    )


def cell(value: Any) -> str:
    """A value as text that is safe in a spreadsheet and a terminal. Empty for None.

    Hidden characters are escaped, line feeds stay. Text that begins like a formula, even after blanks, gets
    an apostrophe in front, and so does text that begins with an apostrophe. To get the original text, remove
    one apostrophe.
    """
    if value is None:
        return ""
    text = visible(value, lines=True) if isinstance(value, str) else _json(value)
    first = text.lstrip()[:1]
    return f"{QUOTE}{text}" if text.startswith(QUOTE) or (first and first in _FORMULA) else text


def _json(value: Any) -> str:
    """A value as JSON text. Hidden characters are escaped as in JSON."""
    text = json.dumps(value, ensure_ascii=False)
    if visible(text) == text:
        return text
    return "".join(char if visible(char) == char else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    """A character as a JSON escape, by its UTF-16 units (RFC 8259, section 7)."""
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _value(record: Mapping[str, Any], column: str) -> Any:
    value: Any = record
    for key in column.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
