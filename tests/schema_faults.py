"""Checks a value by a JSON Schema, with the test's own reading of the words that kt's schema uses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def faults(value: Any, schema: Mapping[str, Any], top: Mapping[str, Any]) -> list[str]:
    """What is wrong with a value by the words of JSON Schema that ours uses."""
    if "$ref" in schema:
        return faults(value, top["$defs"][schema["$ref"].removeprefix("#/$defs/")], top)
    tried = [faults(value, choice, top) for choice in schema.get("anyOf", ())]
    found = [] if [] in tried or not tried else list(tried[0])
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "null": type(None),
        "boolean": bool,
    }
    named = schema.get("type", [])
    asked = [named] if isinstance(named, str) else named
    if asked and not isinstance(value, tuple(kinds[kind] for kind in asked)):
        found.append(f"{value!r} is no {' or '.join(asked)}")
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        found.append(f"{value!r} is not allowed")
    if isinstance(value, str):
        if not re.search(schema.get("pattern", ""), value):
            found.append(f"{value!r} has another form")
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            found.append(f"{value!r} has another length")
    if isinstance(value, list):
        found += [fault for item in value for fault in faults(item, schema.get("items", {}), top)]
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        found += [f"{key} is missing" for key in schema.get("required", ()) if key not in value]
        for key, item in value.items():
            if key not in known and others is False:
                found.append(f"{key} is unknown")
            else:
                found += faults(item, known.get(key, others if isinstance(others, dict) else {}), top)
    return found
