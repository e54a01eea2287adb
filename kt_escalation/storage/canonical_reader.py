"""Reads the canonical text of a record back, key by key.

Each text, number or other single value is written again and must give the same text, and the keys must be those that
are written, in the order in which they are written. So the reader need not be trusted. If the text is not canonical,
the result is None; then `storage.yaml_text` reads it as YAML and reports its faults. Texts of keys that occurred
before are not parsed again, which saves most of the work on a history.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, get_args

from ..model import canonical
from ..model.record import Action, Claim, Note, Record, Requires, Resolution, Review, Route, Time
from ..model.times import CANONICAL_TIME, in_store
from ..model.value import Check, Value, checker, hints, plain
from .canonical_parser import WORDS, NotCanonical, pair, unquoted

# A cache of values by the text of their key. If it has this many, all are dropped. Longer texts are not
# cached, because they rarely come twice.
_REMEMBERED = 10_000
_LONGEST = 512
# The same for the keys below those of a record, and for times.
_REMEMBERED_BELOW = 2_000
# Longer contents of records are not cached either.
_LONGEST_CONTENT = 4_096
# Which keys may come together. Records of one store have a few dozen of these.
_COMBINATIONS = 500

# What most steps change of a record is above and below its content, which is read once for all of them.
_HEAD, _TAIL = Record.KEYS[:3], Record.KEYS[Record.KEYS.index("claim") :]
_TAIL_KEY = re.compile(rf"\n(?:{'|'.join(_TAIL)}):")

# Keys of a record with a value of their own below them, and with a list of such values.
_PARTS: Mapping[str, Any] = {
    "action": Action, "route": Route, "requires": Requires, "claim": Claim, "resolution": Resolution,
}  # fmt: skip
_SEVERAL: Mapping[str, Any] = {"reviews": Review, "notes": Note}
_TIME = re.compile(f'"{CANONICAL_TIME}"', re.ASCII)


@dataclass(eq=False)
class Reading:
    """A record, and its canonical text in three parts, without the line feeds between them."""

    record: Record
    #: The keys above ``severity``, those from there to ``claim``, and those from ``claim`` on.
    head: str
    content: str
    tail: str

    @property
    def texts(self) -> Mapping[str, str]:
        """The text of each key."""
        parts = [part for part in (self.head, self.content, self.tail) if part]
        return {text[: text.index(":")]: text for part in parts for text in _next_key("").split(part)}

    @property
    def shown(self) -> str:
        """The same as `canonical.shown` of the record."""
        # Of the first keys it covers the id alone, and all of the content but one line.
        texts = [self.head.split("\n")[1], _without_line(self.content, "queued_at")]
        if self.record.notes:
            texts.append(self.texts["notes"])
        return hashlib.sha256("\n".join([*texts, ""]).encode()).hexdigest()


def _without_line(text: str, key: str) -> str:
    """The text of several keys without one of them, which has one line and is not the first."""
    before, _, behind = text.partition(f"\n{key}: ")
    _, _, after = behind.partition("\n")
    return f"{before}\n{after}"


def read(text: str) -> Reading | None:
    """The record in canonical text. None if the text is not exactly canonical, or is not a record."""
    begin = text.find("\nseverity: ")
    # The last key that every record has above `claim`.
    last = text.find("\nrequires:", begin)
    if text[-1:] != "\n" or begin < 0 or last < 0:
        return None
    found = _TAIL_KEY.search(text, last + 1)
    end = found.start() if found else len(text) - 1
    head, content, tail = text[:begin], text[begin + 1 : end], text[end + 1 : -1]
    try:
        bare = _content(content) if len(content) <= _LONGEST_CONTENT else _read_content(content)
        record = Value.replace(bare, **_head(head), **_tail(tail))
        record.check()
    except (ValueError, KeyError, IndexError, OverflowError, RecursionError):
        return None
    return Reading(record, head, content, tail)


def _head(text: str) -> dict[str, Any]:
    """The parts in the first keys, each of which has one line."""
    parts = _records().parts(text.split("\n"))
    if tuple(parts) != _HEAD:
        raise NotCanonical
    return parts


def _tail(text: str) -> dict[str, Any]:
    """The parts from `claim` on, if there are any."""
    if not text:
        return {}
    parts = _records().parts(_next_key("").split(text))
    if tuple(parts) != tuple(key for key in _TAIL if key in parts):
        raise NotCanonical
    return parts


def _read_content(text: str) -> Record:
    """A record that has only the keys between head and tail."""
    parts = _records().parts(_next_key("").split(text))
    if not _are_complete(Record, (*_HEAD, *parts)):
        raise NotCanonical
    return Record.of(parts)


_content = lru_cache(_REMEMBERED_BELOW)(_read_content)


# --- values of declared keys ----------------------------------------------------------------------


class _Reader:
    """Reads values of one kind from the texts of their keys, which stand at an indent.

    If a text is not canonical, it raises ValueError, KeyError or IndexError.
    """

    def __init__(self, kind: Any, indent: str, most: int) -> None:
        self._kind, self._indent, self._most = kind, indent, most
        types = hints(kind)
        self._checks = {key: checker(hint) for key, hint in types.items()}
        self._times = frozenset(key for key, hint in types.items() if Time in (hint, *get_args(hint)))
        self._known: dict[str, tuple[str, Any]] = {}

    def value(self, text: str) -> Any:
        """The value with all of its keys in the text."""
        parts = self.parts(_next_key(self._indent).split(text))
        if not _are_complete(self._kind, tuple(parts)):
            raise NotCanonical
        made = self._kind.of(parts)
        made.check()
        return made

    def parts(self, chunks: Sequence[str]) -> dict[str, Any]:
        """The checked parts of a value in the texts of their keys, none of which may come twice."""
        known = self._known
        parts = dict([known.get(chunk) or self._learn(chunk) for chunk in chunks])
        if len(parts) != len(chunks):
            raise NotCanonical
        return parts

    def _learn(self, chunk: str) -> tuple[str, Any]:
        key, _, written = chunk.partition(": ")
        if "\n" in chunk:
            key = chunk[: chunk.index(":")]
            value = self._several_lines(key, chunk)
        elif key in self._times:
            value = _time(written)
        else:
            text = _text(written)
            value = None if text is None else self._checks[key](text)
            if text is None or value != text:
                # It stands for another type, such as a duration, which may be written otherwise.
                value = self._any(key, chunk)
        found = key, value
        if len(chunk) <= _LONGEST:
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[chunk] = found
        return found

    def _several_lines(self, key: str, chunk: str) -> Any:
        return self._any(key, chunk)

    def _any(self, key: str, chunk: str) -> Any:
        """The value in any text of a key, proved by writing all of it again."""
        value = self._checks[key](pair(chunk, self._indent)[1])
        # Absent values are not written, and text is plain already.
        if value is None or value == ():
            raise NotCanonical
        _require_written(key, plain(value), chunk, self._indent)
        return value


class _RecordReader(_Reader):
    """Reads records, whose parts may have readers of their own."""

    def _several_lines(self, key: str, chunk: str) -> Any:
        if key in _SEVERAL:
            first, *items = chunk.split("\n  - ")
            if first == f"{key}:":
                return tuple(map(_below(_SEVERAL[key], "    ").value, items))
        first, _, text = chunk.partition("\n  ")
        if first == f"{key}:":
            if key in _PARTS:
                return _below(_PARTS[key], "  ").value(text)
            if key == "event_context":
                return _context(text, self._checks[key])
        return self._any(key, chunk)


@cache
def _records() -> _RecordReader:
    return _RecordReader(Record, "", _REMEMBERED)


@cache
def _below(kind: Any, indent: str) -> _Reader:
    return _Reader(kind, indent, _REMEMBERED_BELOW)


@cache
def _next_key(indent: str) -> re.Pattern[str]:
    """What stands between two keys at an indent. All lines between them are indented further, or empty."""
    return re.compile(rf"\n{indent}(?=[^ \n])")


@lru_cache(_COMBINATIONS)
def _are_complete(kind: Any, keys: tuple[str, ...]) -> bool:
    """Whether these are the keys that some value of a kind is written with, in order."""
    bare = kind.of({})
    always = {key for key in kind.KEYS if key in kind.REQUIRED or getattr(bare, key) not in (None, ())}
    return always.issubset(keys) and keys == tuple(key for key in kind.KEYS if key in keys)


@lru_cache(_REMEMBERED_BELOW)
def _time(written: str) -> datetime:
    """The time in quotes. There is only one way to write it, so it need not be written again."""
    if not _TIME.fullmatch(written):
        raise NotCanonical
    return in_store(datetime.fromisoformat(written[1:-1]))


def _text(written: str) -> str | None:
    """The text of a value on one line, proved by writing it again. None for a number and for a word of YAML."""
    if written[0] == '"':
        text = unquoted(written)
    elif written[0].isalpha() and written not in WORDS:
        text = written
    else:
        return None
    if canonical.on_a_line_once(text) != written or canonical.is_block(text):
        raise NotCanonical
    return text


# --- the event context, whose keys are not declared -------------------------------------------------


_context_known: dict[str, tuple[str, Any]] = {}


def _context(text: str, check: Check) -> dict[str, Any]:
    """The checked event context with all of its keys in the text."""
    chunks = _next_key("  ").split(text)
    context = dict([_context_known.get(chunk) or _learn_context(chunk, check) for chunk in chunks])
    if len(context) != len(chunks) or list(context) != sorted(context):
        raise NotCanonical
    return context


def _learn_context(chunk: str, check: Check) -> tuple[str, Any]:
    key, _, written = chunk.partition(": ")
    is_line = "\n" not in chunk and canonical.on_a_line(key) == key
    value: Any = _text(written) if is_line else None
    if value is None:
        key, value = pair(chunk, "  ")
        _require_written(key, value, chunk, "  ", free=True)
    # Each key is checked alone: there are no conditions on several keys together.
    check({key: value})
    found = key, value
    if len(chunk) <= _LONGEST:
        if len(_context_known) >= _REMEMBERED_BELOW:
            _context_known.clear()
        _context_known[chunk] = found
    return found


def _require_written(key: str, value: Any, chunk: str, indent: str, *, free: bool = False) -> None:
    """Raise ValueError unless the key and its plain value are written in just this way."""
    if canonical.text_of(key, value, indent, free=free) != f"{indent}{chunk}":
        raise NotCanonical
