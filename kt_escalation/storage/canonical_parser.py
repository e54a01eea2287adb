"""Parses the canonical text of values: the inverse of `model.canonical`, which does not know their types.

It may take more than canonical text. Whoever asks has to write the value again and compare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_INT = re.compile(r"-?[0-9]+", re.ASCII)
_FLOAT = re.compile(r"-?[0-9]+\.[0-9]+(e[+-]?[0-9]+)?", re.ASCII)
_ESCAPE = re.compile(r'\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(["\\ntr]))')
_ESCAPED = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}
#: Words that stand for other values than text.
WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None, "{}": {}, "[]": []}


class NotCanonical(ValueError):
    """The text is not canonical."""


def pair(chunk: str, indent: str) -> tuple[str, Any]:
    """The key and the plain value in the text of one key, without the first line's indent.

    Raises ValueError or IndexError.
    """
    lines = f"{indent}{chunk}".split("\n")
    found, end = _mapping(lines, 0, len(indent))
    [item] = found.items()
    if end != len(lines):
        raise NotCanonical
    return item


def _mapping(lines: list[str], at: int, indent: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while at < len(lines) and _starts(lines[at], indent) and lines[at][indent] != "-":
        key, rest = _key(lines[at][indent:])
        if key in found:
            raise NotCanonical
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
        key, colon, rest = unquoted(text[: end + 1]), text[end + 1], text[end + 2 :]
    if colon != ":":
        raise NotCanonical
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
        return unquoted(text)
    if text in WORDS or text[0].isalpha():
        return WORDS.get(text, text)
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def unquoted(text: str) -> str:
    """The text in quotes. Raises ValueError."""
    if text[-1] != '"' or len(text) < 2:
        raise NotCanonical
    inside = text[1:-1]
    return _ESCAPE.sub(_unescaped, inside) if "\\" in inside else inside


def _unescaped(found: re.Match[str]) -> str:
    two, four, eight, short = found.groups()
    return _ESCAPED[short] if short else chr(int(two or four or eight, 16))
