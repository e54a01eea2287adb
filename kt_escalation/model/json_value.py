"""JSON values that a record can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .vocabulary import MAX_DEPTH, MAX_DIGITS, MAX_KEY


def as_unicode(text: str) -> str:
    """The text itself. Raises ValueError for unpaired surrogates, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode text") from None
    return text


def same_json(one: object, other: object) -> bool:
    """Whether two JSON values are equal to every reader. Python alone takes true for 1, and 1 for 1.0."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_json, one, other))
    # Zero has a sign that only its text shows.
    return type(one) is type(other) and one == other and (type(one) is not float or repr(one) == repr(other))


def check_json(value: object, depth: int = 1) -> None:
    """Raise ValueError unless ``value`` is a JSON value that a record can hold."""
    if isinstance(value, str):
        if not value.isascii():
            as_unicode(value)
    elif isinstance(value, bool) or value is None:
        pass
    elif isinstance(value, int):
        if abs(value) >= 10**MAX_DIGITS:
            raise ValueError(f"holds a number of more than {MAX_DIGITS} digits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("holds a number that is not finite")
    # A dict first: to ask whether something is a Mapping takes as long as all the rest.
    elif isinstance(value, dict) or isinstance(value, Mapping):  # noqa: SIM101
        _require_shallow(depth)
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError("holds a key that is not text")
            if len(as_unicode(key)) > MAX_KEY:
                raise ValueError(f"holds a key of more than {MAX_KEY} characters")
            check_json(item, depth + 1)
    elif isinstance(value, list | tuple):
        _require_shallow(depth)
        for item in value:
            check_json(item, depth + 1)
    else:
        raise ValueError(f"holds a {type(value).__name__}, which is not a JSON value")


def _require_shallow(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
