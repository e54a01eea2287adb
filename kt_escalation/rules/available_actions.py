"""The actions that a person may take on an escalation now, and why others are refused.

This module has no rules of its own. It tries each action on the record, and keeps the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..errors import KtError
from ..frozen import dataclass
from ..model.record import Fallback, Record
from . import creation, transitions
from .permissions import Actor

# Sample arguments to try actions with. Nothing of them is kept.
_ANY = "any"
_ANY_ID = f"esc_{'0' * 26}"


@dataclass(frozen=True)
class AvailableAction:
    """One action: possible, or refused with the error that it would raise.

    `unclaim` gives back one's own claim, `force` somebody else's. ``to`` are the teams and users that
    `assign` could hand it to, if there is a roster.
    """

    action: str
    refusal: KtError | None = None
    to: tuple[Fallback, ...] = ()


def available_actions(
    record: Record,
    actor: Actor,
    *,
    deciders: Iterable[str] = (),
    held: int = 0,
    reopener: Record | None = None,
) -> tuple[AvailableAction, ...]:
    """The result of each action on an escalation. Actions that would change nothing are left out.

    For ``deciders`` and ``held`` see `transitions.claim`, for ``reopener`` see `creation.reopen`.
    """
    deciders = tuple(deciders)
    tries: dict[str, Callable[[], Record]] = {
        "claim": lambda: transitions.claim(record, actor, _ANY, deciders=deciders, held=held),
        "resolve": lambda: transitions.resolve(record, actor, "denied", _ANY, deciders=deciders),
        "renew": lambda: transitions.renew(record, actor, deciders=deciders),
        "unclaim": lambda: transitions.unclaim(record, actor),
        "force": lambda: transitions.unclaim(record, actor, force_reason=_ANY),
        "withdraw": lambda: transitions.withdraw(record, actor, _ANY),
        "note": lambda: transitions.note(record, actor, _ANY),
        "reopen": lambda: creation.reopen(record, actor, _ANY, _ANY_ID, reopener),
    }
    found = [move for action, attempt in tries.items() for move in _tried(action, record, attempt)]
    return (*found, *_assign(record, actor, deciders))


def _tried(action: str, record: Record, attempt: Callable[[], Record]) -> Iterator[AvailableAction]:
    try:
        if attempt() is not record:
            yield AvailableAction(action)
    except KtError as error:
        yield AvailableAction(action, error)


def _assign(record: Record, actor: Actor, deciders: tuple[str, ...]) -> Iterator[AvailableAction]:
    """Try to assign it to every team and user."""
    roster = actor.policies.roster
    everybody = [Fallback(team_id=_ANY)]
    if roster is not None:
        everybody = [Fallback(team_id=team.team_id) for team in roster.teams]
        everybody += [Fallback(user_id=user.user_id) for user in roster.users]
    tried: list[tuple[Fallback, AvailableAction]] = []
    for whom in everybody:

        def attempt(whom: Fallback = whom) -> Record:
            return transitions.assign(record, actor, whom, _ANY, _ANY, deciders=deciders)

        tried += [(whom, move) for move in _tried("assign", record, attempt)]
    to = tuple(whom for whom, move in tried if move.refusal is None)
    if to:
        yield AvailableAction("assign", to=to if roster is not None else ())
    elif tried:
        yield tried[0][1]
