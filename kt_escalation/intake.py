"""What is given to `raise`: files of events and records, and keys, as drafts (design, section 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .core import events
from .errors import BadInput, KtError
from .store import codec

#: A draft, what was wrong with it, or None for an event that does not escalate.
Item = events.Raisable | KtError | None

#: The line number of what did not come in lines.
ALONE = 0


def read_items(
    data: bytes, kind: str, *, provider: str | None = None, model: str | None = None
) -> list[tuple[int, Item]]:
    """The drafts in a file: ``record`` (YAML or JSON), ``event`` (one, or NDJSON) or ``batch`` (NDJSON of either).

    A line that cannot be read or used becomes the BadInput that says why.
    """
    if kind == "record":
        return [(ALONE, _item(lambda: codec.load_yaml(data).value, kind, provider, model))]
    if kind == "event":
        try:
            whole = codec.load_json(data)
        except codec.Malformed:
            pass
        else:
            return [(ALONE, _item(lambda: whole, kind, provider, model))]
    return [
        (number, _item(lambda line=line: codec.load_json(line), kind, provider, model))  # type: ignore[misc]
        for number, line in codec.json_lines(data)
    ]


def _item(read: Callable[[], Any], kind: str, provider: str | None, model: str | None) -> Item:
    try:
        value = read()
        looks_like_one = isinstance(value, dict) and events.is_event(value)
        if kind == "record" and looks_like_one:
            raise events.BadDraft("is a decision event, not a record; give it with --event")
        if kind == "event" or looks_like_one:
            return events.from_event(value, provider=provider, model=model)
        return events.from_record(value, provider=provider, model=model)
    except (codec.Malformed, events.BadDraft) as error:
        return BadInput(problem=str(error))


def read_context(data: bytes) -> Any:
    """The event context in a JSON or YAML file. Raises BadInput."""
    try:
        return codec.load_yaml(data).value
    except codec.Malformed as error:
        raise BadInput(problem=str(error)) from None


def from_keys(keys: Mapping[str, Any]) -> Item:
    """The draft in the keys of a record."""
    return _item(lambda: dict(keys), "record", None, None)


def from_event(event: Mapping[str, Any], *, provider: str | None = None, model: str | None = None) -> Item:
    """The draft that a decision event asks for."""
    return _item(lambda: event, "event", provider, model)
