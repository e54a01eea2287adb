"""What somebody may do with an escalation now, what they may not do, and why.

There is no rule here: each action is tried on the record, and the answer is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..errors import KtError
from ..model.record import Fallback, Record
from . import transitions
from .permissions import Act

# What an action is tried with: a claim's id, a reason, a team; nothing of it is kept.
_ANY = "any"
_ANY_ID = f"esc_{'0' * 26}"


@dataclass(frozen=True)
class Move:
    """One action: possible, or refused with the error that it would end in.

    `unclaim` is giving back one's own, `force` giving back somebody else's; ``to`` are those to whom
    `assign` could hand it, where a roster says who there is.
    """

    action: str
    refusal: KtError | None = None
    to: tuple[Fallback, ...] = ()


def moves(
    record: Record,
    act: Act,
    *,
    deciders: Iterable[str] = (),
    held: int = 0,
    reopener: Record | None = None,
) -> tuple[Move, ...]:
    """What each action on an escalation would come to, but for those that would change nothing.

    ``deciders`` and ``held`` are those of `transitions.claim`, ``reopener`` that of `transitions.reopen`.
    """
    deciders = tuple(deciders)
    tries: dict[str, Callable[[], Record]] = {
        "claim": lambda: transitions.claim(record, act, _ANY, deciders=deciders, held=held),
        "resolve": lambda: transitions.resolve(record, act, "denied", _ANY),
        "renew": lambda: transitions.renew(record, act),
        "unclaim": lambda: transitions.unclaim(record, act),
        "force": lambda: transitions.unclaim(record, act, force_reason=_ANY),
        "note": lambda: transitions.note(record, act, _ANY),
        "reopen": lambda: transitions.reopen(record, act, _ANY, _ANY_ID, reopener),
    }
    found = [move for action, attempt in tries.items() for move in _tried(action, record, attempt)]
    return (*found, *_assign(record, act, deciders))


def _tried(action: str, record: Record, attempt: Callable[[], Record]) -> Iterator[Move]:
    try:
        if attempt() is not record:
            yield Move(action)
    except KtError as error:
        yield Move(action, error)


def _assign(record: Record, act: Act, deciders: tuple[str, ...]) -> Iterator[Move]:
    """Handing it on, tried on everybody there is."""
    roster = act.policies.roster
    everybody = [Fallback(team_id=_ANY)]
    if roster is not None:
        everybody = [Fallback(team_id=team.team_id) for team in roster.teams]
        everybody += [Fallback(user_id=user.user_id) for user in roster.users]
    tried: list[tuple[Fallback, Move]] = []
    for whom in everybody:

        def attempt(whom: Fallback = whom) -> Record:
            return transitions.assign(record, act, whom, _ANY, _ANY, deciders=deciders)

        tried += [(whom, move) for move in _tried("assign", record, attempt)]
    to = tuple(whom for whom, move in tried if move.refusal is None)
    if to:
        yield Move("assign", to=to if roster is not None else ())
    elif tried:
        yield tried[0][1]
