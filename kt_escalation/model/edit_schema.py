"""The JSON Schema for amendments.

Only a closed list of keywords is allowed, so that every reader gets the same result.
See docs/record.md, *What an amendment must fit*. Only this module imports jsonschema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

#: The most bytes of a schema as compact JSON, and how deep it may be nested.
MAX_SCHEMA = 8 * 1024
MAX_SCHEMA_DEPTH = 16
#: The most comparisons of a part of a value with a part of a schema for one amendment. Everybody who judges
#: makes them.
MAX_COMPARISONS = 50_000
_TYPES = frozenset({"null", "boolean", "object", "array", "number", "string", "integer"})


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise ValueError unless a mapping is a schema of the known keywords, small enough and well-formed."""
    size = len(json.dumps(schema, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())
    if size > MAX_SCHEMA:
        raise ValueError(f"is {size} bytes; a schema has at most {MAX_SCHEMA // 1024} KiB")
    if _depth(schema) > MAX_SCHEMA_DEPTH:
        raise ValueError(f"is nested deeper than {MAX_SCHEMA_DEPTH} levels")
    _schema(schema, "")


def _depth(value: Any) -> int:
    below = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    deeper = isinstance(value, Mapping | list | tuple)
    return deeper + max(map(_depth, below), default=0)


def _schema(value: Any, at: str) -> None:
    if isinstance(value, bool):
        return
    if not isinstance(value, Mapping):
        raise ValueError(f"{at or 'the schema'} must be a schema: a mapping, true or false")
    for keyword, given in value.items():
        check = _KEYWORDS.get(keyword)
        if check is None:
            raise ValueError(
                f"{at}/{keyword}: {keyword} is not one of the keywords {', '.join(sorted(_KEYWORDS))}"
            )
        check(given, f"{at}/{keyword}")


def _type(value: Any, at: str) -> None:
    names = value if isinstance(value, list | tuple) else [value]
    if not names or not all(isinstance(name, str) and name in _TYPES for name in names):
        raise ValueError(f"{at} must be one or several of {', '.join(sorted(_TYPES))}")
    if len(set(names)) < len(names):
        raise ValueError(f"{at} names a type twice")


def _schemas_by_name(value: Any, at: str) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{at} must be a mapping of schemas")
    for name, schema in value.items():
        _schema(schema, f"{at}/{_escaped(name)}")


def _schemas(value: Any, at: str) -> None:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{at} must be a list of schemas, at least one")
    for number, schema in enumerate(value):
        _schema(schema, f"{at}/{number}")


def _names(value: Any, at: str) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{at} must be a list of names")
    if len(set(value)) < len(value):
        raise ValueError(f"{at} has a name twice")


def _values(value: Any, at: str) -> None:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{at} must be a list of values, at least one")


def _number(value: Any, at: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{at} must be a number")


def _count(value: Any, at: str) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"{at} must be a whole number, at least 0")


def _any(_: Any, __: str) -> None:
    """Accept any value."""


_KEYWORDS: Mapping[str, Callable[[Any, str], None]] = {
    "type": _type,
    "properties": _schemas_by_name,
    "required": _names,
    "additionalProperties": _schema,
    "items": _schema,
    "enum": _values,
    "const": _any,
    "minimum": _number,
    "maximum": _number,
    "minLength": _count,
    "maxLength": _count,
    "minItems": _count,
    "maxItems": _count,
    "anyOf": _schemas,
}


def misfit(schema: Mapping[str, Any], value: Any) -> tuple[str, str] | None:
    """The place where a JSON value does not fit a schema, as a JSON pointer (RFC 6901), and the reason.

    None if it fits.
    If there are several places, it is the first one. The pointer is empty for the value as a whole.
    """
    if _left(schema, value, MAX_COMPARISONS) < 0:
        return "", f"it takes more than {MAX_COMPARISONS} comparisons to check it against the schema"
    from jsonschema import Draft202012Validator

    found = [
        ("".join(f"/{_escaped(str(part))}" for part in error.absolute_path), str(error.message))
        for error in Draft202012Validator(dict(schema)).iter_errors(value)
    ]
    return min(found, default=None)


def _left(schema: Any, value: Any, budget: int) -> int:
    """The number of comparisons that are left after a value was checked against a schema.

    Below 0 if there are too few.
    """
    budget -= 1
    if isinstance(schema, bool):
        return budget
    for keyword in ("enum", "const", "required"):
        budget -= _nodes(schema[keyword]) if keyword in schema else 0
    parts = [(one, value) for one in schema.get("anyOf", ())]
    if isinstance(value, Mapping):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        below = ((known.get(key, others), item) for key, item in value.items())
        parts += [(one, item) for one, item in below if one is not None]
    elif isinstance(value, list | tuple) and "items" in schema:
        parts += [(schema["items"], item) for item in value]
    for one, item in parts:
        if budget < 0:
            break
        budget = _left(one, item, budget)
    return budget


def _nodes(value: Any) -> int:
    below = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return 1 + sum(map(_nodes, below))


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
