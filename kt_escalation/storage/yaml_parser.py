"""Parses YAML to plain values, and adds to a YAML text. Only this module imports PyYAML.

It is loaded only when needed: text in canonical form needs no YAML parser.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from typing import Any

import yaml

from ..frozen import dataclass
from ..model import canonical
from ..model.value import KeyPath
from ..model.vocabulary import MAX_BYTES, MAX_DEPTH, MAX_DIGITS
from .yaml_text import Malformed, decode

_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"
_INT = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None}
# Other scalars on which YAML 1.1 and the core schema of 1.2 agree. Records do not use them.
_OTHER_WORDS: Mapping[str, object] = {
    **dict.fromkeys(("", "~", "Null", "NULL"), None),
    **dict.fromkeys(("True", "TRUE"), True),
    **dict.fromkeys(("False", "FALSE"), False),
}


@dataclass(frozen=True)
class Document:
    """A parsed YAML document, and the line and column (from 1) of each of its values."""

    value: Any
    marks: Mapping[KeyPath, tuple[int, int]] = field(default_factory=dict)


def load(data: bytes, *, strict: bool = True, repeated: list[tuple[int, int, str]] | None = None) -> Document:
    """One YAML document as plain values, with marks.

    ``strict`` refuses anchors, aliases, tags and missing values, as records must. Otherwise they are read as the
    gateway reads them, and so are words such as `~`, `Null` and `True`. Nesting deeper than 32 is always refused.
    Duplicate keys are refused too, unless ``repeated`` collects them (line, column, problem); then the first value
    counts. Raises Malformed.
    """
    text = decode(data)
    builder = _Builder(strict, repeated)
    # A file over the size limit is refused before it is parsed, so there are never many events.
    try:
        for event in yaml.parse(text, Loader=_Loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"is not YAML: {error.problem or error.context or 'nobody knows why'}"
        if "nesting depth" in problem:
            # From 6.0.4 on, PyYAML refuses deep nesting itself.
            problem = TOO_DEEP
        raise Malformed(problem, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0) from None
    except yaml.YAMLError as error:
        raise Malformed(f"is not YAML: {' '.join(str(error).split())}") from None
    return builder.document()


def with_item(data: bytes, key: str, item: Mapping[str, str]) -> bytes:
    """Add an item to a YAML text that holds only a list under ``key``.

    Everything else in the text stays as it is.
    ``data`` is empty if there is no file yet. Raises Malformed if the item cannot be added.
    """
    text = decode(data)
    if not text:
        return f"{key}:\n{canonical.item_of(dict(item), '  ')}".encode()
    before = load(data).value
    events = list(yaml.parse(text, Loader=_Loader))
    starts: list[Any] = [event for event in events if isinstance(event, yaml.SequenceStartEvent)]
    ends: list[Any] = [event for event in events if isinstance(event, yaml.SequenceEndEvent)]
    made = text
    if not starts:
        made = ""
    elif starts[0].flow_style and before[key]:
        # A list in brackets: the item goes on the same line, before the closing bracket.
        at = ends[-1].start_mark.index
        inside = ", ".join(f"{name}: {canonical.on_a_line(value)}" for name, value in item.items())
        comma = "" if text[:at].rstrip().endswith(",") else ", "
        made = f"{text[:at]}{comma}{{{inside}}}{text[at:]}"
    else:
        indent = "  " if starts[0].flow_style else " " * starts[0].start_mark.column
        if starts[0].flow_style:
            # An empty list: the items replace it, each on a line of its own.
            made = text[: starts[0].start_mark.index].rstrip(" ") + text[ends[0].end_mark.index :]
        made += "" if made.endswith("\n") else "\n"
        made += canonical.item_of(dict(item), indent)
    wanted = {**before, key: [*before.get(key, ()), dict(item)]} if isinstance(before, dict) else None
    if len(made.encode()) > MAX_BYTES:
        raise Malformed(f"would be larger than {MAX_BYTES // 1024} KiB")
    with suppress(Malformed):
        if made and load(made.encode()).value == wanted:
            return made.encode()
    raise Malformed(f"is written in a way to which nothing can be added; add the item to `{key}:` by hand")


class _Builder:
    """Builds plain values from YAML events, with a stack instead of recursion."""

    def __init__(self, strict: bool, repeated: list[tuple[int, int, str]] | None) -> None:
        self.strict = strict
        self.repeated = repeated
        self.documents = 0
        self.root: Any = None
        self.stack: list[tuple[Any, KeyPath]] = []
        self.keys: list[Any] = []
        self.anchors: dict[str, Any] = {}
        self.marks: dict[KeyPath, tuple[int, int]] = {}

    def document(self) -> Document:
        if self.documents == 0:
            raise Malformed("is empty")
        return Document(self.root, self.marks)

    def take(self, event: Any) -> None:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise Malformed("holds more than one document", line, column)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.stack.pop()
            self.keys.pop()
        elif isinstance(event, yaml.AliasEvent):
            if self.strict:
                raise Malformed("an alias (*) is not allowed", line, column)
            if event.anchor not in self.anchors:
                raise Malformed(f"alias *{event.anchor} has no anchor", line, column)
            self.put(self.anchors[event.anchor], line, column)
        elif isinstance(event, yaml.NodeEvent):
            self.node(event, line, column)

    def node(self, event: Any, line: int, column: int) -> None:
        if self.strict and event.anchor:
            raise Malformed("an anchor (&) is not allowed", line, column)
        if self.strict and event.tag:
            raise Malformed("a tag (!) is not allowed", line, column)
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            # As in JSON, keys are text, whatever they look like.
            is_text = event.style or self.awaits_key()
            value = event.value if is_text else _scalar(event.value, line, column, self.strict)
            self.put(value, line, column)
        else:
            value = {} if isinstance(event, yaml.MappingStartEvent) else []
            path = self.put(value, line, column)
            self.stack.append((value, path))
            self.keys.append(_NO_KEY)
            if len(self.stack) > MAX_DEPTH:
                raise Malformed(TOO_DEEP, line, column)
        if event.anchor:
            self.anchors[event.anchor] = value

    def put(self, value: Any, line: int, column: int) -> KeyPath:
        """Put a value into the open container, and return its path."""
        if not self.stack:
            self.root = value
            self.marks[()] = (line, column)
            return ()
        container, path = self.stack[-1]
        if isinstance(container, list):
            here: KeyPath = (*path, len(container))
            container.append(value)
        elif self.keys[-1] is _NO_KEY:
            if not isinstance(value, str):
                raise Malformed("a key must be text", line, column)
            key = value
            if key in container:
                problem = f"the key {key[:60]!r} stands twice"
                if self.repeated is None:
                    raise Malformed(problem, line, column)
                self.repeated.append((line, column, problem))
                self.keys[-1] = _DROPPED
                return (*path, "")
            self.keys[-1] = key
            self.marks[(*path, key)] = (line, column)
            return (*path, key)
        else:
            key = self.keys[-1]
            self.keys[-1] = _NO_KEY
            if key is _DROPPED:
                # The second value of a duplicate key is parsed, so that the rest is read, but not kept.
                return (*path, "")
            here = (*path, key)
            container[key] = value
            # A pair's position is that of its key.
            return here
        self.marks[here] = (line, column)
        return here

    def awaits_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1][0], dict) and self.keys[-1] is _NO_KEY


_NO_KEY: Any = object()
_DROPPED: Any = object()


def _scalar(text: str, line: int, column: int, strict: bool) -> Any:
    """A plain scalar's value by the strict rules of docs/record.md, or as other YAML readers understand it."""
    if text in _WORDS:
        return _WORDS[text]
    if not strict and text in _OTHER_WORDS:
        return _OTHER_WORDS[text]
    if text == "":
        raise Malformed('a value is missing; write null, or "" for empty text', line, column)
    if _INT.fullmatch(text):
        if len(text.lstrip("-")) <= MAX_DIGITS:
            return int(text)
        problem = f"a number has more than {MAX_DIGITS} digits"
    elif _FLOAT.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return number
        problem = "a number is not finite"
    else:
        return text
    if strict:
        raise Malformed(problem, line, column)
    return text
