"""Checks the callers' input: files of events and records as drafts, ids, outcomes, words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ..errors import BadInput, KtError
from ..model import ids
from ..model.record import Fallback, explain
from ..model.vocabulary import CATEGORIES, MAX_NAME, MAX_TEXT, Category, Outcome, parse_outcome
from ..policies import decision_event
from ..policies.waivers import Waiver, is_rule
from ..storage import yaml_text

#: A draft, what was wrong with it, or None for an event that does not escalate.
Item = decision_event.Raisable | KtError | None

#: The line number of what did not come in lines.
ALONE = 0


def read_items(
    data: bytes, kind: str, *, name: str = "", provider: str | None = None, model: str | None = None
) -> list[tuple[int, Item]]:
    """The drafts in a file: ``record`` (YAML or JSON), ``event`` (one, or NDJSON) or ``batch`` (NDJSON of either).

    A line that cannot be read or used becomes the BadInput that says why; ``name`` is the file's, for
    what stands in it alone.
    """
    if kind == "record":
        return [(ALONE, _item(lambda: yaml_text.load_json_or_yaml(data), kind, provider, model, name))]
    lines = list(yaml_text.json_lines(data))
    if kind == "event" and _is_alone(data, lines):
        return [(ALONE, _item(lambda: yaml_text.load_json(data), kind, provider, model, name))]
    return [(number, read_line(line, kind, provider=provider, model=model)) for number, line in lines]


def _is_alone(data: bytes, lines: Sequence[tuple[int, bytes]]) -> bool:
    """Whether all of it is one JSON value and not several in lines, refused or not."""
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
    """The draft in one line of NDJSON, or the BadInput that says why there is none."""
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
    """The draft in the keys of a record."""
    return _item(lambda: dict(keys), "record", None, None)


def from_event(event: Mapping[str, Any], *, provider: str | None = None, model: str | None = None) -> Item:
    """The draft that a decision event asks for."""
    return _item(lambda: event, "event", provider, model)


def whole_ids(given: Sequence[str]) -> Sequence[str]:
    """Ids for a command that writes: whole, each once. Raises BadInput."""
    if not given:
        raise BadInput(problem="no escalation id was given")
    for name in given:
        if not ids.is_escalation_id(name):
            hint = ids.how_to_give(name, "one looks like esc_abc123 and is given whole")
            raise BadInput(problem=f"{name[:80]!r} is no escalation id", hint=hint)
    return list(dict.fromkeys(given))


def id_of_request(request_id: str) -> str:
    """The id of the escalation that was raised for a request. Raises BadInput."""
    try:
        request_id.encode()
    except UnicodeEncodeError:
        raise BadInput(problem="the request id is not valid Unicode text") from None
    if not 0 < len(request_id) <= MAX_NAME:
        raise BadInput(problem=f"the request id has {len(request_id)} characters; it has 1 to {MAX_NAME}")
    return ids.from_request(request_id)


def waiver(commit: str, rule: str, path: str, reason: str) -> Waiver:
    """A violation to accept, and why. Raises BadInput."""
    if not is_rule(rule):
        raise BadInput(
            problem=f"{rule[:80]!r} is no rule",
            hint="`kt escalation verify` names the rule of each violation",
        )
    try:
        return Waiver(commit=commit, rule=rule, path=path, reason=words(reason, "the reason"))
    except ValidationError as error:
        raise BadInput(problem=explain(error)) from None


def whom(user: str | None, team: str | None) -> Fallback:
    """A user or a team to hand on to. Raises BadInput."""
    if (user is None) == (team is None):
        raise BadInput(problem="an escalation is assigned to either a user or a team")
    try:
        return Fallback(user_id=user, team_id=team)
    except ValueError:
        raise BadInput(problem=f"{(user or team or '')[:80]!r} is no name of a user or a team") from None


def outcome(text: str) -> Outcome:
    """An outcome by our word or the gateway's. Raises BadInput."""
    try:
        return parse_outcome(text)
    except ValueError as error:
        raise BadInput(problem=str(error)) from None


def claim_id(text: str | None) -> str | None:
    """A token of the caller's own, or None. Raises BadInput."""
    if text is not None and not ids.CLAIM_ID.fullmatch(text):
        raise BadInput(problem=f"{text[:80]!r} is no claim id: letters, digits, dots, dashes, at most 64")
    return text


def category(text: str | None) -> Category | None:
    """A category, or None. Raises BadInput."""
    for known in CATEGORIES:
        if text == known:
            return known  # type: ignore[return-value]
    if text is None:
        return None
    raise BadInput(problem=f"{text[:80]!r} is no category; use one of {', '.join(CATEGORIES)}")


def words(text: str, what: str) -> str:
    """Text from a person, fit for a record. Raises BadInput."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise BadInput(problem=f"{what} is empty")
    if len(text) > MAX_TEXT:
        raise BadInput(problem=f"{what} has {len(text)} characters; at most {MAX_TEXT} are kept")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(problem=f"{what} is not valid Unicode text") from None
    return text
