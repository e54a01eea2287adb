"""Reads amendments: what a reviewer releases a request as, from a file or from an editor."""

from __future__ import annotations

import re
from typing import Any

from ..errors import BadAmendment, BadInput
from ..model.record import Amendment
from ..rules import amending
from ..storage import yaml_text

JSON_TYPE, TEXT_TYPE = "application/json", "text/plain"
_JSON_TYPE = r"application/json|.*[+/]json"


def read(data: bytes, media_type: str | None = None, *, name: str = "the amendment") -> Amendment:
    """The amendment in a file's bytes.

    It is JSON if ``media_type`` says so, or if there is none and the bytes parse as JSON; otherwise it is text.
    Raises BadInput for what cannot be read so, BadAmendment for what a record cannot hold.
    """
    kind = (media_type or "").partition(";")[0].strip().lower()
    wants_json = not kind or re.fullmatch(_JSON_TYPE, kind) is not None
    try:
        text = yaml_text.decode(data)
    except yaml_text.Malformed as error:
        raise BadInput(problem=f"{name} {error}") from None
    try:
        if wants_json:
            return of(yaml_text.load_json(data), kind or JSON_TYPE)
    except yaml_text.NotJson as error:
        if kind:
            raise BadInput(problem=f"{name} {error}") from None
    except yaml_text.Malformed as error:
        raise BadAmendment(pointer="", problem=f"{name} {error}") from None
    return of(text, kind or TEXT_TYPE)


def of(value: Any, media_type: str | None = None) -> Amendment:
    """The amendment of a JSON value or a text; an amendment is one already. Raises BadInput, BadAmendment."""
    if isinstance(value, Amendment):
        return value
    kind = media_type or (TEXT_TYPE if isinstance(value, str) else JSON_TYPE)
    try:
        return amending.made(value, kind)
    except ValueError:
        raise BadInput(problem=f"{kind[:80]!r} is not a valid media type such as application/json") from None
