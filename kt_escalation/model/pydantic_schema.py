"""The types of `model.value` in pydantic's terms: it names all faults of what does not fit, and writes JSON Schemas.

Only this module and the adapters for others' SDKs import pydantic, when it is needed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import core_schema

from . import forms
from .value import Constraint, InvalidValue, KeyFault, Value, hints, plain

#: What each pattern requires, in words.
_FORMS = {
    forms.COMMIT_ID: "must be a commit's whole id, 40 or 64 hex digits",
    forms.RELEASE_ID: "must be letters, digits, _, . and -, 64 at most",
    forms.ESCALATION_ID: "must be esc_ and then small letters, digits, _ and -, 64 characters at most",
    forms.CLAIM_ID: "must be letters, digits, _, . and -, 64 at most, and begin with a letter or digit",
    forms.REASON_CODE: "must be letters, digits, _ and -, in parts joined by dots, such as oversight.required",
    forms.TREE_ID: "must be the whole id of a git tree",
    forms.DIGEST: "must be the 64 hex digits that `get` shows as shown",
    forms.ACTION_DIGEST: "must be sha256: or hmac-sha256: and 64 hex digits; `kt escalation digest` prints it",
    forms.VALUE_DIGEST: "must be sha256: and 64 hex digits",
    forms.MEDIA_TYPE: "must be a media type in small letters, such as application/json",
}
#: What each type requires, in words.
_TYPES = {
    "string_unicode": "is not valid Unicode text",
    "string_type": "must be text, in quotes where it looks like something else",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "int_type": "must be a whole number",
    "int_parsing_size": "is too large",
    "bool_type": "must be true or false",
    "datetime_type": "must be an RFC 3339 time such as 2026-11-23T10:00:00Z",
    "time_delta_type": "must be a duration such as 90s, 15m, 2h or 7d",
    "invalid_key": "has a key that is not text",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
}


def validate(hint: Any, value: object) -> Any:
    """The value of a type. Raises InvalidValue, which names all that is wrong."""
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError) -> InvalidValue:
    """Pydantic's errors in kt's words."""
    said: list[KeyFault] = []
    for finding in error.errors(include_url=False, include_input=False):
        what = finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "missing":
            what = "is missing"
        elif finding["type"] == "extra_forbidden":
            what = "is not a known key"
        elif finding["type"] in ("string_too_long", "too_long"):
            what = f"is longer than {finding['ctx']['max_length']}"
        elif finding["type"] in ("string_too_short", "too_short"):
            what = "must not be empty"
        elif finding["type"] == "string_pattern_mismatch":
            pattern = finding["ctx"]["pattern"]
            what = _FORMS.get(pattern, f"must match {pattern}")
        elif finding["type"] in _TYPES:
            what = _TYPES[finding["type"]].format_map(finding.get("ctx", {}))
        elif finding["type"] == "literal_error":
            what = f"must be {finding['ctx']['expected']}"
        said.append((finding["loc"], what))
    return InvalidValue(said)


def json_schema(hint: Any) -> dict[str, Any]:
    """The JSON Schema of a type."""
    return _adapter(hint).json_schema()


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(strict=True))


def constrained(one: Constraint, schema: Any) -> Any:
    """A type's schema with one constraint more."""
    if one.core is not None:
        # Pydantic itself checks it, and its errors have the figures.
        schema = {**schema, **{key: item for key, item in one.core.items() if item is not None}}
    elif one.check is not None:
        make = (
            core_schema.no_info_before_validator_function
            if one.before
            else core_schema.no_info_after_validator_function
        )
        schema = make(one.check, schema)
    if one.write is not None:
        schema["serialization"] = core_schema.plain_serializer_function_ser_schema(one.write)
    return schema


def of_value(kind: type[Value], handler: Any) -> Any:
    """The schema of a kind of values."""
    fields = {}
    for key, hint in hints(kind).items():
        schema = handler.generate_schema(hint)
        if key not in kind.REQUIRED:
            schema = core_schema.with_default_schema(schema, default=getattr(kind, key))
        fields[key] = core_schema.typed_dict_field(schema, required=key in kind.REQUIRED)

    def made(value: Any, check: Any) -> Any:
        if type(value) is kind:
            return value
        new = kind.of(check(value))
        new.check()
        return new

    keys = core_schema.typed_dict_schema(
        fields, cls=kind, extra_behavior="forbid", config={"strict": True, "title": kind.__name__}
    )
    return core_schema.no_info_wrap_validator_function(
        made, keys, ref=f"{kind.__module__}.{kind.__name__}",
        serialization=core_schema.plain_serializer_function_ser_schema(plain),
    )  # fmt: skip
