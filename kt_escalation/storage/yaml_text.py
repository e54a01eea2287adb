"""Parses YAML and JSON strictly to plain values and records.

Scalars have exactly the types of docs/record.md: YAML 1.1's `no`, `0777`, `12:30` and dates stay strings.
Records refuse anchors, aliases and tags. Policy packs may have them, because the gateway's own reader accepts
them; they are shared and never expanded, so a YAML bomb does no harm.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..model import canonical
from ..model.record import Record
from ..model.value import InvalidValue
from ..model.vocabulary import MAX_BYTES, MAX_DIGITS, SCHEMA_VERSION
from ..policies.policy_file import OURS, PolicyFile
from . import canonical_reader

if TYPE_CHECKING:
    from ..model.release import Release
    from .yaml_parser import Document


class Malformed(ValueError):
    """A text is not valid. ``line`` counts from 1; 0 means unknown."""

    def __init__(self, problem: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.problem = problem
        self.line = line
        self.column = column


class NotJson(Malformed):
    """A text is not JSON."""


def dumps(record: Record) -> bytes:
    """The record as canonical bytes."""
    return canonical.dumps(record).encode()


def loads(data: bytes) -> Record:
    """The record in a file's bytes. Raises Malformed for anything else, with the line if YAML reports one."""
    if len(data) > MAX_BYTES:
        raise Malformed(f"is larger than {MAX_BYTES // 1024} KiB")
    known = canonical_reading(data)
    return known.record if known is not None else from_yaml(data)


def from_yaml(data: bytes) -> Record:
    """The record in YAML bytes, canonical or not. Raises Malformed."""
    value = load_yaml(data).value
    if not isinstance(value, dict):
        raise Malformed("is not a mapping")
    version = value.get("schema_version")
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
        raise Malformed(f"has schema_version {version}, newer than this kt knows: upgrade kt")
    try:
        return Record.parse(value)
    except InvalidValue as error:
        raise Malformed(str(error)) from None


def dumps_release(release: Release) -> bytes:
    """A release as canonical bytes."""
    return canonical.dumps_value(release).encode()


def load_release(data: bytes) -> Release:
    """The release in a file's bytes. Raises Malformed for anything that is not exactly one as kt writes it."""
    if len(data) > MAX_BYTES:
        raise Malformed(f"is larger than {MAX_BYTES // 1024} KiB")
    from ..model.release import Release

    value = load_yaml(data).value
    if not isinstance(value, dict):
        raise Malformed("is not a mapping")
    try:
        release = Release.parse(value)
    except InvalidValue as error:
        raise Malformed(str(error)) from None
    if dumps_release(release) != data:
        raise Malformed("is not in canonical form")
    return release


def canonical_reading(data: bytes) -> canonical_reader.Reading | None:
    """The record in canonical bytes, or None if they are not exactly canonical."""
    if len(data) > MAX_BYTES:
        return None
    try:
        return canonical_reader.read(data.decode())
    except UnicodeDecodeError:
        return None


def decode(data: bytes) -> str:
    """Bytes as UTF-8 text. Raises Malformed otherwise."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Malformed("is not UTF-8", line) from None


def root_in(data: bytes) -> str:
    """The folder that a `.kt.yaml` names: `root: FOLDER` and nothing else. Raises Malformed."""
    value = load_yaml(data, strict=True).value
    if not isinstance(value, dict) or set(value) != {"root"} or not isinstance(value["root"], str):
        raise Malformed("must say `root: FOLDER` and nothing else")
    return value["root"]


def policy_file(path: str, data: bytes, *, go_on: bool = False) -> PolicyFile:
    """A parsed file below `policies/`: packs as the gateway reads them, our own files strictly.

    ``go_on`` notes duplicate keys instead of refusing them.
    """
    repeated: list[tuple[int, int, str]] = []
    try:
        document = load_yaml(data, strict=path in OURS, repeated=repeated if go_on else None)
    except Malformed as error:
        return PolicyFile(problem=error.problem, line=error.line, column=error.column)
    return PolicyFile(document.value, marks=document.marks, repeated=tuple(repeated))


def load_yaml(
    data: bytes, *, strict: bool = True, repeated: list[tuple[int, int, str]] | None = None
) -> Document:
    """One YAML document as plain values, with marks: `yaml_parser.load`, which is loaded here. Raises Malformed."""
    from . import yaml_parser

    return yaml_parser.load(data, strict=strict, repeated=repeated)


def load_json_or_yaml(data: bytes) -> Any:
    """The value of a file that holds JSON or YAML. Raises Malformed.

    JSON is read as JSON, because YAML does not know the pairs of escapes with which JSON writes characters beyond
    U+FFFF.
    """
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        with suppress(NotJson):
            return load_json(data)
    return load_yaml(data).value


def load_json(data: bytes) -> Any:
    """One JSON value, read strictly: without NaN, unpaired surrogates, duplicate keys or endless nesting.

    Raises NotJson if the text is not JSON, Malformed if it is JSON that kt refuses.
    """
    # A reader of JSON may ignore a byte order mark (RFC 8259, 8.1).
    text = decode(data).removeprefix("\ufeff")
    try:
        value = json.loads(
            text,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_int,
            object_pairs_hook=_no_duplicates,
        )
    except json.JSONDecodeError as error:
        raise NotJson(
            f"is not JSON: {error.msg} at column {error.colno}", error.lineno if error.lineno > 1 else 0
        ) from None
    except RecursionError:
        raise Malformed("is nested too deep") from None
    except _NoNumber as error:
        at = next(found.start() for found in re.finditer(_NUMBER, text, re.DOTALL) if found[0] == error.text)
        raise _refused(text, at, f"{error.text[:40]} is not a number that JSON has") from None
    if "\\ud" in text or "\\uD" in text:
        half = next((found for found in re.finditer(_SURROGATES, text) if found[1]), None)
        if half:
            raise _refused(text, half.start(), f"{half[1]} is half of a character")
    return value


def is_json(data: bytes) -> bool:
    """Whether the text is JSON, even if kt refuses it."""
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _refused(text: str, at: int, problem: str) -> Malformed:
    """The error for a place in a JSON text."""
    line, column = text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1
    return Malformed(f"{problem}, at column {column}", line if line > 1 else 0)


# Numbers, and strings, because a string may contain something like a number.
_NUMBER = r'"(?:[^"\\]|\\.)*"|-?(?:Infinity|[0-9][0-9.eE+-]*)|NaN'
# Pairs of escapes that are one character; the group matches an escape that is only half of one.
_SURROGATES = (
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class _NoNumber(Exception):
    """NaN, Infinity, or a number too large for a float."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _no_number(name: str) -> Any:
    raise _NoNumber(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NoNumber(text)
    return number


def _int(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise Malformed(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("holds a key twice")
    return found


def json_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of NDJSON that are not empty, with their numbers from 1."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield number, line
