"""Describes the schema for an amendment to people: a line for each field, with its type and its limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..model.text import plural

_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "these fields",
    "null": "null",
}
# The limits of a schema, each with its words for the lower, the upper and both ends.
_LIMITS = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", "character"),
    ("minItems", "maxItems", "item"),
)
_ANY = "anything"


def spelled(schema: Mapping[str, Any]) -> str:
    """The schema as lines of text. The lines about a field's or an item's parts are indented below it."""
    return "\n".join(_lines(schema, "", 0))


def _lines(schema: Any, name: str, depth: int, note: str = "") -> Iterator[str]:
    label = f"{name}: " if name else ""
    yield f"{'  ' * depth}{label}{_value(schema)}{note}"
    if isinstance(schema, Mapping):
        yield from _below(schema, depth + 1)


def _below(schema: Mapping[str, Any], depth: int) -> Iterator[str]:
    fields, needed = schema.get("properties", {}), schema.get("required", ())
    for name, inner in fields.items():
        yield from _lines(inner, _name(name), depth, " (required)" if name in needed else "")
    for name in needed:
        if name not in fields:
            yield from _lines(True, _name(name), depth, " (required)")
    others = schema.get("additionalProperties")
    if others is False:
        yield f"{'  ' * depth}no other field"
    elif isinstance(others, Mapping):
        yield from _lines(others, "each other field", depth)
    if "items" in schema:
        yield from _lines(schema["items"], "each item", depth)
    for number, one in enumerate(schema.get("anyOf", ()), 1):
        yield from _lines(one, "either" if number == 1 else "or", depth)


def _name(name: str) -> str:
    """A field's name, in quotes if it could be taken for something else."""
    return name if name.isidentifier() else json.dumps(name, ensure_ascii=False)


def _value(schema: Any) -> str:
    """The allowed values, in a few words."""
    if not isinstance(schema, Mapping):
        return _ANY if schema else "nothing: it has to be left out"
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    words = [" or ".join(_TYPES[kind] for kind in kinds)] if kinds else []
    for low, high, unit in _LIMITS:
        least, most = schema.get(low), schema.get(high)
        if least is not None and most is not None:
            words.append(f"{_json(least)} to {_many(most, unit)}")
        elif least is not None:
            words.append(f"at least {_many(least, unit)}")
        elif most is not None:
            words.append(f"at most {_many(most, unit)}")
    if "const" in schema:
        words.append(f"exactly {_json(schema['const'])}")
    if "enum" in schema:
        words.append(f"one of {', '.join(map(_json, schema['enum']))}")
    if words:
        return ", ".join(words)
    return f"{_ANY} that fits this" if schema else _ANY


def _many(number: Any, unit: str) -> str:
    return plural(number, unit) if unit else _json(number)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
