"""Checks the input of callers: ids, outcomes, texts, numbers. `drafts` reads what is to be raised."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..errors import BadInput
from ..model import digests, ids
from ..model.record import Action, Fallback
from ..model.value import InvalidValue
from ..model.vocabulary import CATEGORIES, MAX_NAME, MAX_TEXT, Category, Outcome, parse_outcome
from ..policies.waivers import Waiver, is_rule


def text(given: str, what: str) -> str:
    """The given value, if it is a text. Raises BadInput, so that a wrong type does not cause a TypeError elsewhere."""
    if not isinstance(given, str):
        raise BadInput(problem=f"{what} must be a text, not {shown(given)}")
    return given


def seconds(given: float | None, what: str) -> float | None:
    """A number of seconds, None for no limit. Raises BadInput."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
        raise BadInput(problem=f"{what} must be a number of seconds from 0 on, or None, not {shown(given)}")
    return given


def count(given: int, what: str) -> int:
    """A whole number from 1 on. Raises BadInput."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise BadInput(problem=f"{what} must be a whole number from 1 on, not {shown(given)}")
    return given


def shown(given: object) -> str:
    return repr(given)[:80]


def one_id(given: str) -> str:
    """An id, or the beginning of one, as a text. Raises BadInput for a list of ids."""
    if not isinstance(given, str):
        raise BadInput(problem=f"one escalation id is needed, not {shown(given)}")
    return given


def several_ids(given: Collection[str]) -> Collection[str]:
    """Ids as a list or another collection. Raises BadInput for a single text."""
    if isinstance(given, str | bytes) or not isinstance(given, Collection):
        raise BadInput(problem=f"a list of escalation ids is needed, not {shown(given)}")
    return given


def whole_ids(given: Collection[str]) -> Sequence[str]:
    """Ids for an action that writes: whole ids, each once. Raises BadInput."""
    if not several_ids(given):
        raise BadInput(problem="no escalation id was given")
    for name in map(one_id, given):
        if not ids.is_escalation_id(name):
            hint = ids.how_to_give(name, "give a whole one such as esc_abc123")
            raise BadInput(problem=f"{name[:80]!r} is not a valid escalation id", hint=hint)
    return list(dict.fromkeys(given))


def id_of_request(request_id: str) -> str:
    """The id of the escalation of a request. Raises BadInput."""
    try:
        text(request_id, "the request id").encode()
    except UnicodeEncodeError:
        raise BadInput(problem="the request id is not valid Unicode text") from None
    if not 0 < len(request_id) <= MAX_NAME:
        raise BadInput(problem=f"the request id has {len(request_id)} characters; it has 1 to {MAX_NAME}")
    return ids.from_request(request_id)


def waiver(commit: str, rule: str, path: str, reason: str) -> Waiver:
    """The waiver for a violation, with its reason. Raises BadInput."""
    if not is_rule(text(rule, "the rule")):
        raise BadInput(
            problem=f"{rule[:80]!r} is not a rule",
            hint="`kt escalation verify` names the rule of each violation",
        )
    try:
        return Waiver(commit=commit, rule=rule, path=path, reason=words(reason, "the reason"))
    except InvalidValue as error:
        raise BadInput(problem=str(error)) from None


def action_digest(kind: str, name: str, given: Any, key: bytes | None = None) -> str:
    """The digest of an action. Raises BadInput for an invalid kind or name, and NotIJson."""
    found = digests.of_action(kind, name, given, key)
    try:
        return Action(kind=kind, name=name, digest=found).digest
    except InvalidValue as error:
        raise BadInput(problem=str(error)) from None


def whom(user: str | None, team: str | None) -> Fallback:
    """The user or the team to assign to. Raises BadInput."""
    if (user is None) == (team is None):
        raise BadInput(problem="an escalation is assigned to either a user or a team")
    name = text(team if user is None else user, "the user or team")  # type: ignore[arg-type]
    try:
        return Fallback(user_id=user, team_id=team)
    except ValueError:
        raise BadInput(problem=f"{name[:80]!r} is not a valid name of a user or a team") from None


def outcome(given: str) -> Outcome:
    """The outcome for a word of kt or of the gateway. Raises BadInput."""
    try:
        return parse_outcome(text(given, "the outcome"))
    except ValueError as error:
        raise BadInput(problem=str(error)) from None


def claim_id(given: str | None) -> str | None:
    """The caller's own token for a claim, or None. Raises BadInput."""
    if given is not None and not ids.CLAIM_ID.fullmatch(text(given, "the claim id")):
        raise BadInput(problem=f"{given[:80]!r} is not a claim id: letters, digits, dots, dashes, at most 64")
    return given


def category(given: str | None) -> Category | None:
    """A category, or None. Raises BadInput."""
    if given is None:
        return None
    for known in CATEGORIES:
        if text(given, "the category") == known:
            return known  # type: ignore[return-value]
    raise BadInput(problem=f"{given[:80]!r} is not a category; use one of {', '.join(CATEGORIES)}")


def words(given: str, what: str) -> str:
    """The text of a person, as a record stores it. Raises BadInput."""
    found = text(given, what).replace("\r\n", "\n").strip()
    if not found:
        raise BadInput(problem=f"{what} is empty")
    if len(found) > MAX_TEXT:
        raise BadInput(problem=f"{what} has {len(found)} characters; at most {MAX_TEXT} are kept")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise BadInput(problem=f"{what} is not valid Unicode text") from None
    return found
