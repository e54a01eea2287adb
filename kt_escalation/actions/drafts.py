"""Reads drafts to raise: events and records, from files, lines and mappings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..errors import BadInput, KtError
from ..policies import decision_event
from ..results import ALONE
from ..storage import yaml_text
from .inputs import shown

#: A draft, what was wrong with it, or None for an event that does not escalate.
Item = decision_event.Raisable | KtError | None


def read_items(
    data: bytes, kind: str, *, name: str = "", provider: str | None = None, model: str | None = None
) -> list[tuple[int, Item]]:
    """The drafts in a file, each with its line number.

    The file is a ``record`` (YAML or JSON), an ``event`` (one, or several as NDJSON) or a ``batch`` (records and
    events as NDJSON). A line that cannot be used becomes the BadInput that says why. ``name`` is the name of the
    file, for the message if the file is a single item.
    """
    if kind == "record":
        return [(ALONE, _item(lambda: yaml_text.load_json_or_yaml(data), kind, provider, model, name))]
    lines = list(yaml_text.json_lines(data))
    if kind == "event" and _is_alone(data, lines):
        return [(ALONE, _item(lambda: yaml_text.load_json(data), kind, provider, model, name))]
    return [(number, read_line(line, kind, provider=provider, model=model)) for number, line in lines]


def _is_alone(data: bytes, lines: Sequence[tuple[int, bytes]]) -> bool:
    """Whether the data is one JSON value, valid or not, rather than several lines."""
    try:
        yaml_text.load_json(data)
    except yaml_text.NotJson:
        return False
    except yaml_text.Malformed:
        return len(lines) < 2 or not yaml_text.is_json(lines[0][1])
    return True


def read_line(
    line: bytes, kind: str = "batch", *, provider: str | None = None, model: str | None = None
) -> Item:
    """The draft in one line of NDJSON, or the BadInput that says what is wrong with it."""
    return _item(lambda: yaml_text.load_json(line), kind, provider, model)


def _item(
    read: Callable[[], Any], kind: str, provider: str | None, model: str | None, name: str = ""
) -> Item:
    try:
        value = read()
        looks_like_one = isinstance(value, dict) and decision_event.is_event(value)
        if kind == "record" and looks_like_one:
            raise decision_event.BadDraft("is a decision event, not a record; give it with --event")
        if kind == "event" or looks_like_one:
            return decision_event.from_event(value, provider=provider, model=model)
        return decision_event.from_record(value, provider=provider, model=model)
    except (yaml_text.Malformed, decision_event.BadDraft) as error:
        return BadInput(problem=f"{name}: {error}" if name else str(error))


def read_context(data: bytes, name: str) -> Any:
    """The event context in a JSON or YAML file. Raises BadInput."""
    try:
        return yaml_text.load_json_or_yaml(data)
    except yaml_text.Malformed as error:
        raise BadInput(problem=f"{name}: {error}") from None


def from_keys(keys: Mapping[str, Any]) -> Item:
    """The draft in the keys of a record. Raises BadInput if they are not those of a record."""
    return _item(lambda: dict(mapping(keys)), "record", None, None)


def mapping(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The given value, if it is a mapping. Raises BadInput."""
    if not isinstance(given, Mapping):
        raise BadInput(problem=f"a mapping of a record's keys is needed, not {shown(given)}")
    return given


def from_mappings(
    items: Iterable[Mapping[str, Any]], *, provider: str | None = None, model: str | None = None
) -> list[tuple[int, Item]]:
    """The drafts in records and decision events, each with its number from 1. Raises BadInput."""
    if isinstance(items, Mapping | str | bytes) or not isinstance(items, Iterable):
        raise BadInput(problem=f"a list of records or events is needed, not {shown(items)}")
    return [
        (number, _item(lambda item=item: item, "batch", provider, model))  # type: ignore[misc]
        for number, item in enumerate(items, 1)
    ]


def from_event(event: Mapping[str, Any], *, provider: str | None = None, model: str | None = None) -> Item:
    """The draft for a decision event, or None if the event does not escalate."""
    return _item(lambda: event, "event", provider, model)
