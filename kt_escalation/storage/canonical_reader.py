"""Reads the canonical text of a record back, key by key.

The record is written again and must give the same text, so the reader need not be trusted. If the text is not
canonical, the result is None; then `storage.yaml_text` reads it as YAML and reports its faults. Texts of keys
that occurred before are not parsed again, which saves most of the work on a history.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..model import canonical
from ..model.record import Claim, Note, Record, Resolution, Review
from ..model.times import CANONICAL_TIME, parse_time
from ..model.value import Check, Value, checker, hints, plain

# A cache of values by the text of their key. If it has this many, all are dropped. Longer texts are not
# cached, because they rarely come twice.
_REMEMBERED = 10_000
_LONGEST = 512
# Names and words, which repeat often.
_SHORT = 40
_known: dict[str, tuple[int, str, Any]] = {}

_ORDER = {key: index for index, key in enumerate(Record.KEYS)}
#: Keys that canonical text always has.
_ALWAYS = frozenset(
    {"schema_version", "escalation_id", "status", "severity", "reason_code", "created_at", "raised_at",
     "raised_by", "queued_at", "route", "requires"}
)  # fmt: skip
# Keys with nothing below them but texts and times, and those of them that hold a list of such values.
_PARTS: Mapping[str, type[Value]] = {
    "claim": Claim, "reviews": Review, "notes": Note, "resolution": Resolution,
}  # fmt: skip
_SEVERAL = frozenset({"reviews", "notes"})
_NEXT_KEY = re.compile(r"\n(?=[a-z])")
_TIMES = frozenset({"created_at", "raised_at", "queued_at"})
_TIME = re.compile(f'"{CANONICAL_TIME}"', re.ASCII)
_INT = re.compile(r"-?[0-9]+", re.ASCII)
_FLOAT = re.compile(r"-?[0-9]+\.[0-9]+(e[+-]?[0-9]+)?", re.ASCII)
_ESCAPE = re.compile(r'\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(["\\ntr]))')
_ESCAPED = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None, "{}": {}, "[]": []}


class _NotCanonical(ValueError):
    """The text is not canonical."""


@dataclass(eq=False)
class Reading:
    """A record, and the canonical text of each of its keys."""

    record: Record
    texts: Mapping[str, str]

    @property
    def shown(self) -> str:
        """The same as `canonical.shown` of the record."""
        texts = [text for key, text in self.texts.items() if key not in canonical.NOT_SHOWN]
        return hashlib.sha256("\n".join([*texts, ""]).encode()).hexdigest()


def read(text: str) -> Reading | None:
    """The record in canonical text. None if the text is not exactly canonical, or is not a record."""
    if text[-1:] != "\n":
        return None
    texts: dict[str, str] = {}
    values: dict[str, Any] = {}
    last = -1
    try:
        for chunk in _NEXT_KEY.split(text[:-1]):
            place, key, value = _known.get(chunk) or _learn(chunk)
            if place <= last:
                return None
            last = place
            texts[key] = chunk
            values[key] = value
        if not texts.keys() >= _ALWAYS:
            return None
        record = Record.of(values)
        record.check()
    except (ValueError, KeyError, IndexError, OverflowError, RecursionError):
        return None
    return Reading(record, texts)


def _learn(chunk: str) -> tuple[int, str, Any]:
    """The place in order, the key and the value in a key's text. Raises ValueError, KeyError, IndexError."""
    key, _, text = chunk.partition(": ")
    if "\n" in chunk:
        key = chunk[: chunk.index(":")]
        value = _lines(key, chunk) or _any(key, chunk)
    elif key in _TIMES and _TIME.fullmatch(text):
        # These values differ between records, but there is only one way to write them, so they need not be
        # written again.
        value = parse_time(text[1:-1])
    elif text[0] == '"' or text[0].isalpha():
        bare = _text(text)
        value = _check(key)(bare)
        if value != bare:
            # Text that stands for another type has a form of its own.
            raise _NotCanonical
    else:
        value = _any(key, chunk)
    found = _ORDER[key], key, value
    if len(chunk) <= _LONGEST:
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[chunk] = found
    return found


def _any(key: str, chunk: str) -> Any:
    """The value in any canonical text of a key, proved by writing all of it again."""
    lines = chunk.split("\n")
    found, end = _mapping(lines, 0, 0)
    [item] = found.values()
    value = _check(key)(item)
    # Absent values are not written, and text is plain already.
    if end != len(lines) or value is None or value == ():
        raise _NotCanonical
    if canonical.text_of(key, plain(value)) != chunk:
        raise _NotCanonical
    return value


@cache
def _check(key: str) -> Check:
    """The function that checks and converts a key's value."""
    return checker(_types()[key])


@cache
def _types() -> Mapping[str, Any]:
    return hints(Record)


def _lines(key: str, chunk: str) -> Any:
    """The value in a text with one line for each of its parts, as nearly all have. None for any other text.

    Only the texts in these lines can vary, and each of them is written again.
    """
    if key not in _PARTS:
        return None
    form, times = _form(key)
    found = []
    at = len(key) + 1
    while item := form.match(chunk, at):
        parts = item.groupdict().items()
        found.append({name: text if name in times else _text(text) for name, text in parts if text})
        at = item.end()
    if at != len(chunk) or (len(found) > 1 and key not in _SEVERAL):
        return None
    return _check(key)(tuple(found) if key in _SEVERAL else found[0])


def _text(written: str) -> str:
    """The text of a value on one line, proved by writing it again."""
    return _short(written) if len(written) <= _SHORT else _proved(written)


@lru_cache(_REMEMBERED)
def _short(written: str) -> str:
    return _proved(written)


def _proved(written: str) -> str:
    text = _unquoted(written) if written[0] == '"' else written
    if canonical.is_block(text) or canonical.on_a_line(text) != written:
        raise _NotCanonical
    return text


@cache
def _form(key: str) -> tuple[re.Pattern[str], frozenset[str]]:
    """The lines of all parts of a key's value, or of one of its values, and which of the parts are times."""
    kind, lead = _PARTS[key], "  - " if key in _SEVERAL else "  "
    # The few values with an amendment have no such form, and are read like any other text.
    types = {
        name: hint for name, hint in get_type_hints(kind).items() if name in kind.KEYS and name != "amendment"
    }
    for name, hint in types.items():
        parts = {get_origin(part) or part for part in (get_args(hint) or (hint,))}
        if not (get_origin(hint) is Literal or parts <= {str, datetime, Literal, type(None)}):
            raise TypeError(f"{kind.__name__}.{name} is neither text nor a time, so it has no form here")
    times = frozenset(name for name, hint in types.items() if datetime in (hint, *get_args(hint)))
    form = ""
    for name in types:
        text = f'"(?P<{name}>{CANONICAL_TIME})"' if name in times else f"(?P<{name}>[^|].*)"
        line = f"\n{lead}{name}: {text}"
        form += line if name in kind.REQUIRED else f"(?:{line})?"
        lead = " " * len(lead)
    return re.compile(form, re.ASCII), times


# --- text to plain values, the inverse of `canonical` ----------------------------------------------


def _mapping(lines: list[str], at: int, indent: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while at < len(lines) and _starts(lines[at], indent) and lines[at][indent] != "-":
        key, rest = _key(lines[at][indent:])
        if key in found:
            raise _NotCanonical
        found[key], at = _value(lines, at, rest, indent)
    return found, at


def _starts(line: str, indent: int) -> bool:
    return len(line) > indent and line[indent] != " " and (not indent or line[:indent].isspace())


def _key(text: str) -> tuple[str, str]:
    """The key at the beginning of a line, and the text after its colon."""
    if text[0] != '"':
        key, colon, rest = text.partition(":")
    else:
        end = 1
        while text[end] != '"':
            end += 2 if text[end] == "\\" else 1
        key, colon, rest = _unquoted(text[: end + 1]), text[end + 1], text[end + 2 :]
    if colon != ":":
        raise _NotCanonical
    return key, rest


def _value(lines: list[str], at: int, rest: str, indent: int) -> tuple[Any, int]:
    """The value after ``key:`` or ``-`` on line ``at``, which may continue on the next lines; and the line after it."""
    deeper = indent + 2
    if rest in (" |", " |-"):
        body = []
        at += 1
        while at < len(lines) and (not lines[at] or lines[at].startswith(" " * deeper)):
            body.append(lines[at][deeper:])
            at += 1
        return "\n".join(body) + ("\n" if rest == " |" else ""), at
    if rest:
        return _scalar(rest[1:]), at + 1
    if _starts(lines[at + 1], deeper) and lines[at + 1][deeper] == "-":
        return _sequence(lines, at + 1, deeper)
    return _mapping(lines, at + 1, deeper)


def _sequence(lines: list[str], at: int, indent: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while at < len(lines) and _starts(lines[at], indent) and lines[at][indent] == "-":
        rest = lines[at][indent + 1 :]
        if _opens_mapping(rest):
            # The first key of a mapping stands on the line of the dash.
            lines[at] = f"{lines[at][:indent]}  {rest[1:]}"
            item, at = _mapping(lines, at, indent + 2)
        else:
            item, at = _value(lines, at, rest, indent)
        found.append(item)
    return found, at


def _opens_mapping(rest: str) -> bool:
    if not rest or rest in (" |", " |-"):
        return False
    try:
        behind = _key(rest[1:])[1]
    except (ValueError, IndexError):
        return False
    return behind[:1] in ("", " ")


def _scalar(text: str) -> Any:
    if text[0] == '"':
        return _unquoted(text)
    if text in _WORDS or text[0].isalpha():
        return _WORDS.get(text, text)
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _unquoted(text: str) -> str:
    if text[-1] != '"' or len(text) < 2:
        raise _NotCanonical
    inside = text[1:-1]
    return _ESCAPE.sub(_unescaped, inside) if "\\" in inside else inside


def _unescaped(found: re.Match[str]) -> str:
    two, four, eight, short = found.groups()
    return _ESCAPED[short] if short else chr(int(two or four or eight, 16))
