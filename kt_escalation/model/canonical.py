"""Writes a record as text. There is exactly one text for each content. See docs/record.md.

No YAML library is used, so a library's new version cannot change the bytes behind commits and digests. A
property test compares every text with what PyYAML reads from it.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any

from .record import Record
from .text import HIDDEN, is_ascii
from .value import Value, plain

# Longer text is written as a block of its own, which is easier to read and to compare.
LONG_TEXT = 100

# Written without quotes only if every YAML 1.1 and 1.2 reader takes it for this string.
# The two sets of characters have none in common, so no run of them can be matched in another way: `*+` and `++`
# only tell `re` not to try.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/]*+(?:[ .@+-]++[A-Za-z0-9_/]++)*", re.ASCII)
_WORDS = frozenset(["y", "n", "yes", "no", "true", "false", "on", "off", "null", "nan", "inf"])
# Written as an escape: hidden characters, unusual blanks, and characters that fonts show differently. The
# ranges are spelled out, because the bytes must not change with Python's Unicode version.
_HARD_TO_SEE = f"{HIDDEN}\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\ue000-\uf8ff\U000f0000-\U0010ffff"
# `re` compiles these when text that is not ASCII first needs them: that takes some milliseconds.
_ESCAPED = f"[{_HARD_TO_SEE}]"
_TO_ESCAPE = f'["\\\\{_HARD_TO_SEE}]'
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}

#: The keys that `shown` leaves out. It covers the keys above `claim` without schema_version, status and queued_at,
#: and the notes.
NOT_SHOWN = frozenset({"schema_version", "status", "queued_at", "claim", "reviews", "resolution"})
#: The keys that it left out in earlier versions.
NOT_SHOWN_BEFORE = NOT_SHOWN - {"schema_version"}

#: The keys whose values have keys of the gateway or the user, of a record and of its parts.
FREE = frozenset({"event_context", "labels", "edit_schema", "value"})


def dumps(record: Record) -> str:
    """The record as canonical YAML text, with a line feed at the end."""
    return _document(record.as_dict())


def dumps_value(value: Value) -> str:
    """Another value of the store, such as a release, as canonical YAML text, with a line feed at the end."""
    return _document(plain(value))


def shown(record: Record) -> str:
    """The SHA-256 digest, in hex, of the keys that a reviewer decides on. See `shown` in docs/record.md."""
    return _digest(record, NOT_SHOWN)


def shown_before(record: Record) -> str:
    """The digest in older reviews, from before `shown` left out `schema_version`."""
    return _digest(record, NOT_SHOWN_BEFORE)


def _digest(record: Record, left_out: frozenset[str]) -> str:
    kept = {key: value for key, value in record.as_dict().items() if key not in left_out}
    return hashlib.sha256(_document(kept).encode()).hexdigest()


def _document(values: dict[str, Any]) -> str:
    return "".join(f"{text_of(key, value)}\n" for key, value in values.items())


def text_of(key: str, value: Any, indent: str = "", *, free: bool = False) -> str:
    """The text of one key at an indent, without a line feed at the end.

    ``free`` means that the key is within keys of the gateway or the user.
    """
    lines: list[str] = []
    _mapping({key: value}, indent, indent, lines, free)
    return "\n".join(lines)


def item_of(value: dict[str, Any], indent: str) -> str:
    """The text of one list item, whose dash is indented by ``indent``, with a line feed at the end."""
    lines: list[str] = []
    _value(f"{indent}-", value, indent, lines, False)
    return "".join(f"{line}\n" for line in lines)


def _mapping(mapping: dict[str, Any], lead: str, indent: str, lines: list[str], free: bool) -> None:
    """The lines of a mapping. ``lead`` comes before the first line."""
    # The order of foreign keys means nothing, so they are sorted.
    for key in sorted(mapping) if free else mapping:
        _value(f"{lead}{on_a_line(key)}:", mapping[key], indent, lines, free or key in FREE)
        lead = indent


def _value(head: str, value: Any, indent: str, lines: list[str], free: bool) -> None:
    """Append ``value`` after ``head`` (``key:`` or ``-``). Nested lines are indented further than ``indent``."""
    if isinstance(value, str):
        if is_block(value):
            deeper = indent + "  "
            body = value.removesuffix("\n")
            lines.append(f"{head} |" if body != value else f"{head} |-")
            lines.extend(f"{deeper}{line}" if line else "" for line in body.split("\n"))
        else:
            lines.append(f"{head} {on_a_line(value)}")
    elif isinstance(value, dict) and value:
        deeper = indent + "  "
        if head.endswith("-"):
            _mapping(value, f"{head} ", deeper, lines, free)
        else:
            lines.append(head)
            _mapping(value, deeper, deeper, lines, free)
    elif isinstance(value, list | tuple) and value:
        deeper = indent + "  "
        lines.append(head)
        for item in value:
            _value(f"{deeper}-", item, deeper, lines, free)
    elif isinstance(value, dict):
        lines.append(f"{head} {{}}")
    elif isinstance(value, list | tuple):
        lines.append(f"{head} []")
    else:
        lines.append(f"{head} {_scalar(value)}")


def is_block(text: str) -> bool:
    """Whether to write the text as a literal block: it is long, visible, and has no blanks at its ends."""
    if len(text) <= LONG_TEXT and "\n" not in text:
        return False
    body = text.removesuffix("\n")
    if "\n" not in body and len(body) <= LONG_TEXT:
        return False
    if not body or body[0] in " \t\n" or body[-1] == "\n":
        return False
    return all(line == line.rstrip() and _is_clear(line) for line in body.split("\n"))


def _is_clear(line: str) -> bool:
    return is_ascii(line) or re.search(_ESCAPED, line) is None


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return _float(value)


def _float(value: float) -> str:
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if "." not in mantissa:
        # YAML 1.1 reads a number with an exponent only if it has a dot.
        mantissa += ".0"
    return f"{mantissa}{e}{exponent}"


def on_a_line(text: str) -> str:
    """How a key, or a text that is not a block, is written on one line."""
    return _remembered(text) if len(text) <= SHORT else on_a_line_once(text)


def on_a_line_once(text: str) -> str:
    """The same as `on_a_line`, for a text that will hardly come again. It is not cached."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if is_ascii(text) and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{re.sub(_TO_ESCAPE, _escape, text)}"'


# Most texts are keys and names that repeat, so the results are cached.
SHORT = 64
_remembered = lru_cache(4096)(on_a_line_once)


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    point = ord(char)
    escaped = _ESCAPES.get(char)
    if escaped:
        return escaped
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
