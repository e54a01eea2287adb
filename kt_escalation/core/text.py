"""Text from strangers: what may be stored, and how it is shown without doing anything to a terminal."""

from __future__ import annotations

import unicodedata

# Controls, bidi and other format characters, separators that end a line, lone surrogates.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def is_hidden(char: str) -> bool:
    """Whether the character would act on a terminal or a reader instead of being seen."""
    return unicodedata.category(char) in _HIDDEN


def visible(text: str, *, lines: bool = False) -> str:
    """The text with every hidden character written out (``\\x1b``, ``\\u202e``).

    With ``lines``, line feeds stay line feeds and tabs become spaces.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_seen(char, lines) for char in text)


def _seen(char: str, lines: bool) -> str:
    if lines and char in "\n\t":
        return char if char == "\n" else "    "
    if not is_hidden(char):
        return char
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    if named:
        return named
    point = ord(char)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def without_hidden(text: str) -> str:
    """The text without hidden characters, line feeds kept: for commit messages."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return "".join(char for char in text if char == "\n" or not is_hidden(char))
