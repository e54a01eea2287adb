"""Text from untrusted sources: what may be stored, and how to show it without any effect on a terminal."""

from __future__ import annotations

import re
import unicodedata

#: Control characters, bidi and other format characters, line separators, lone surrogates and non-characters,
#: as ranges for a regular expression. The ranges are fixed, so what is valid does not depend on Python's
#: Unicode version.
HIDDEN = (
    "\x00-\x1f\x7f-\x9f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
    # git takes text with these bytes for Latin-1, which would turn them into control characters.
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
)
# `re` compiles it when text that is not ASCII first needs it: that takes a millisecond.
_HIDDEN = f"[{HIDDEN}]"
# Characters that a newer Unicode version hides are not shown either.
_KINDS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_WITHOUT_CASE = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def is_hidden(char: str) -> bool:
    """Whether the character affects a terminal or a reader instead of being visible."""
    return re.match(_HIDDEN, char) is not None


def without_case(text: str) -> str:
    """An address or a login as it is compared: only A to Z and a to z are the same.

    `str.casefold` takes ß for ss and ſ for s, which are the addresses of other people (RFC 5891, RFC 6531).
    """
    return text.translate(_WITHOUT_CASE)


def is_ascii(text: str) -> bool:
    """Whether the text has only visible ASCII characters and blanks.

    This is a fast answer for most text, and the same for every Unicode version.
    """
    return text.isascii() and text.isprintable()


def has_hidden(text: str) -> bool:
    """Whether any character of the text is hidden."""
    return not is_ascii(text) and re.search(_HIDDEN, text) is not None


def plural(count: int, one: str, more: str = "") -> str:
    """A number and its noun: ``1 try``, ``2 tries``. Without ``more``, the plural gets an s."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def visible(text: str, *, lines: bool = False) -> str:
    """The text with every hidden character written as an escape (``\x1b``, ``\u202e``).

    With ``lines``, line feeds stay, and tabs become spaces.
    """
    if is_ascii(text):
        return text
    return "".join(_seen(char, lines) for char in text)


def _seen(char: str, lines: bool) -> str:
    if lines and char in "\n\t":
        return char if char == "\n" else "    "
    if not is_hidden(char) and unicodedata.category(char) not in _KINDS:
        return char
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    if named:
        return named
    point = ord(char)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def without_hidden(text: str) -> str:
    """The text without hidden characters, for commit messages. Line feeds stay."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return "".join(char for char in text if char == "\n" or not is_hidden(char))
