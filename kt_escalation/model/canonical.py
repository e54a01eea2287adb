"""The one way to write a record: each content has one sequence of bytes. See docs/record.md.

No YAML library is used, so that the bytes behind commits and digests do not change with a library's version.
A property test compares every text with what PyYAML reads from it.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any

from .record import Record
from .text import HIDDEN, is_ascii

# A line longer than this is easier to read, and to compare, as a block of its own.
LONG_TEXT = 100

# Plain only what no YAML 1.1 or 1.2 reader could take for anything but this string.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/]*(?:[ .@+-]+[A-Za-z0-9_/]+)*", re.ASCII)
_WORDS = frozenset(["y", "n", "yes", "no", "true", "false", "on", "off", "null", "nan", "inf"])
# Written as an escape: what is hidden, what only looks like a blank, and what no font agrees on. The
# ranges are spelt out, since the bytes must not change with the Unicode version that a Python knows.
_HARD_TO_SEE = f"{HIDDEN}\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\ue000-\uf8ff\U000f0000-\U0010ffff"
_ESCAPED = re.compile(f"[{_HARD_TO_SEE}]")
_TO_ESCAPE = re.compile(f'["\\\\{_HARD_TO_SEE}]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}

#: The keys that `shown` does not cover: it is about those above `claim` without status and queued_at, and
#: the notes.
NOT_SHOWN = frozenset({"status", "queued_at", "claim", "reviews", "resolution"})

#: Where the keys are the gateway's or the user's own.
FREE = frozenset({"event_context", "labels"})


def dumps(record: Record) -> str:
    """The record as canonical YAML text, ending in a line feed."""
    return _document(record.as_dict())


def shown(record: Record) -> str:
    """The sha256, in hex, of what a reviewer of this record is shown (design, section 3, `reviews`)."""
    plain = {key: value for key, value in record.as_dict().items() if key not in NOT_SHOWN}
    return hashlib.sha256(_document(plain).encode()).hexdigest()


def _document(plain: dict[str, Any]) -> str:
    return "".join(f"{text_of(key, value)}\n" for key, value in plain.items())


def text_of(key: str, plain: Any) -> str:
    """The text of one key of a record, without the line feed at its end."""
    lines: list[str] = []
    _value(f"{key}:", plain, "", lines, key in FREE)
    return "\n".join(lines)


def item_of(plain: dict[str, Any], indent: str) -> str:
    """The text of one item of a list whose dashes stand at ``indent``, with the line feed at its end."""
    lines: list[str] = []
    _value(f"{indent}-", plain, indent, lines, False)
    return "".join(f"{line}\n" for line in lines)


def _mapping(mapping: dict[str, Any], lead: str, indent: str, lines: list[str], free: bool) -> None:
    """The lines of a mapping, the first of them behind ``lead``."""
    # Where the keys are not ours their order is no content, so it is always the same.
    for key in sorted(mapping) if free else mapping:
        _value(f"{lead}{on_a_line(key)}:", mapping[key], indent, lines, free)
        lead = indent


def _value(head: str, value: Any, indent: str, lines: list[str], free: bool) -> None:
    """Append ``value`` after ``head``, which is ``key:`` or ``-``; nested lines go below ``indent``."""
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
    """Whether the text is long and survives as a literal block: no leading blank, no trailing ones, all visible."""
    if len(text) <= LONG_TEXT and "\n" not in text:
        return False
    body = text.removesuffix("\n")
    if "\n" not in body and len(body) <= LONG_TEXT:
        return False
    if not body or body[0] in " \t\n" or body[-1] == "\n":
        return False
    return all(line == line.rstrip() and _is_clear(line) for line in body.split("\n"))


def _is_clear(line: str) -> bool:
    return is_ascii(line) or _ESCAPED.search(line) is None


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
        # YAML 1.1 wants the dot to see a number at all.
        mantissa += ".0"
    return f"{mantissa}{e}{exponent}"


def on_a_line(text: str) -> str:
    """How a text is written that is no block, and every key."""
    return _remembered(text) if len(text) <= SHORT else _written(text)


def _written(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if is_ascii(text) and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{_TO_ESCAPE.sub(_escape, text)}"'


# Most of what is written are keys and names that have been written before.
SHORT = 64
_remembered = lru_cache(4096)(_written)


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    point = ord(char)
    escaped = _ESCAPES.get(char)
    if escaped:
        return escaped
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
