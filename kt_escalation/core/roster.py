"""Who people are and what they may do: `policies/roster.yaml` as a value (design, section 6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from .model import Line, Value

Role = Literal["reviewer", "admin", "gateway", "auditor"]

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def _slug(text: str) -> str:
    if not _SLUG.fullmatch(text):
        raise ValueError("must be a slug or a UUID: letters, digits, dots, dashes and underscores")
    return text


def _email(text: str) -> str:
    if "@" not in text:
        raise ValueError("is no e-mail address")
    return text


Slug = Annotated[Line, AfterValidator(_slug)]
Email = Annotated[Line, AfterValidator(_email)]


class Team(Value):
    """A team and its members."""

    team_id: Slug
    name: Line | None = None
    members: tuple[Slug, ...] = ()


class User(Value):
    """A person or a machine, with every address and key that is theirs."""

    user_id: Slug
    name: Line | None = None
    emails: Annotated[tuple[Email, ...], Field(min_length=1)]
    roles: tuple[Role, ...] = ()
    signing_keys: tuple[Line, ...] = ()


class Roster(Value):
    """All teams and users."""

    teams: tuple[Team, ...] = ()
    users: tuple[User, ...] = ()

    @model_validator(mode="after")
    def _unambiguous(self) -> Roster:
        owners: dict[str, str] = {}
        ids = set()
        for user in self.users:
            if user.user_id in ids:
                raise ValueError(f"user {user.user_id} is listed twice")
            ids.add(user.user_id)
            for email in user.emails:
                other = owners.setdefault(email.casefold(), user.user_id)
                if other != user.user_id:
                    raise ValueError(f"{email} belongs to both {other} and {user.user_id}")
        teams = [team.team_id for team in self.teams]
        if len(set(teams)) != len(teams):
            raise ValueError("a team is listed twice")
        return self

    @cached_property
    def by_email(self) -> Mapping[str, str]:
        """User id by case-folded e-mail."""
        return {email.casefold(): user.user_id for user in self.users for email in user.emails}

    @cached_property
    def by_id(self) -> Mapping[str, User]:
        """User by id."""
        return {user.user_id: user for user in self.users}

    def members(self, team_id: str) -> tuple[str, ...]:
        """The user ids of a team, none for a team that is not listed."""
        return next((team.members for team in self.teams if team.team_id == team_id), ())

    def with_role(self, *roles: Role) -> tuple[str, ...]:
        """The user ids that have any of the roles."""
        return tuple(user.user_id for user in self.users if set(roles) & set(user.roles))


def tuples(value: Any) -> Any:
    """Lists from YAML as the tuples that frozen models hold, all the way down."""
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return value


def person(roster: Roster | None, actor: str) -> str:
    """Whose name an actor's is: the user id that lists the e-mail, else the name without case.

    So one person under two addresses, or before and after there was a roster, is one person
    (design, section 4, *People*).
    """
    if "@" not in actor:
        return actor
    folded = actor.casefold()
    return roster.by_email.get(folded, folded) if roster else folded
