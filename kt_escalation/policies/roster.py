"""People and machines with roles, teams, keys and logins: `policies/roster.yaml`. See docs/operator.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal

from ..model.record import OneLine
from ..model.text import without_case
from ..model.value import AS_TUPLE, Constraint, ListOf, Value, length
from ..model.vocabulary import MAX_NAME

Role = Literal["reviewer", "admin", "gateway", "auditor"]

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_FORGE = re.compile(r"[a-z][a-z0-9-]{0,30}")
# The logins that forges and gitolite allow. `[bot]` is GitHub's suffix for apps.
_LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+\[\]-]{0,99}", re.ASCII)
# Forges that ignore case in logins. On all others, alice and Alice are two people.
_CASELESS = frozenset({"bitbucket", "forgejo", "gitea", "github", "gitlab"})


def _slug(text: str) -> str:
    if not _SLUG.fullmatch(text):
        raise ValueError("must be a slug or a UUID: letters, digits, dots, dashes and underscores")
    return text


def _email(text: str) -> str:
    if "@" not in text:
        raise ValueError("is not an e-mail address")
    return text


def _login(text: str) -> str:
    forge, colon, name = text.partition(":")
    if not colon or not is_forge(forge) or not _LOGIN.fullmatch(name):
        raise ValueError("must be a forge and a login there, such as gitlab:alice-k")
    return text


def is_forge(name: str) -> bool:
    """Whether the text can name a forge in logins: lower-case letters, digits and dashes."""
    return _FORGE.fullmatch(name) is not None


Slug = Annotated[OneLine, Constraint(_slug, json={"type": "string", "pattern": f"^{_SLUG.pattern}$"})]
Email = Annotated[OneLine, Constraint(_email, json={"type": "string", "pattern": "@", "maxLength": MAX_NAME})]
Login = Annotated[OneLine, Constraint(_login)]


class Team(Value):
    """A team and its members."""

    team_id: Slug
    name: OneLine | None = None
    members: ListOf[Slug] = ()


class User(Value):
    """A person or a machine, with all their addresses, keys and logins."""

    user_id: Slug
    name: OneLine | None = None
    emails: Annotated[tuple[Email, ...], length(1), AS_TUPLE]
    roles: ListOf[Role] = ()
    signing_keys: ListOf[OneLine] = ()
    logins: ListOf[Login] = ()


class Roster(Value):
    """All teams and users."""

    teams: ListOf[Team] = ()
    users: ListOf[User] = ()

    def __eq__(self, other: object) -> bool:
        # The cached lookups are not part of the value.
        return isinstance(other, Roster) and (self.teams, self.users) == (other.teams, other.users)

    @cached_property
    def by_email(self) -> Mapping[str, str]:
        """User ids by e-mail `without_case`."""
        return {without_case(email): user.user_id for user in self.users for email in user.emails}

    @cached_property
    def by_login(self) -> Mapping[str, str]:
        """User ids by `forge:login`. Case is ignored if the forge ignores it."""
        return {_login_key(login): user.user_id for user in self.users for login in user.logins}

    @cached_property
    def by_id(self) -> Mapping[str, User]:
        """Users by id."""
        return {user.user_id: user for user in self.users}

    def knows(self, name: str) -> bool:
        """Whether a user id or an e-mail is listed."""
        return person(self, name) in self.by_id

    def members(self, team_id: str) -> tuple[str, ...]:
        """The user ids of a team. Empty if the team is not listed."""
        return next((team.members for team in self.teams if team.team_id == team_id), ())

    def has_team(self, team_id: str) -> bool:
        """Whether the team is listed."""
        return any(team.team_id == team_id for team in self.teams)

    def with_role(self, *roles: Role) -> tuple[str, ...]:
        """The ids of users with at least one of the roles."""
        return tuple(user.user_id for user in self.users if set(roles) & set(user.roles))


def ambiguities(roster: Roster) -> list[tuple[tuple[str | int, ...], str]]:
    """Ambiguities about who somebody is, as pairs of a path and what is wrong there."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    owners: dict[str, str] = {}
    logins: dict[str, str] = {}
    users: set[str] = set()
    for index, user in enumerate(roster.users):
        if user.user_id in users:
            found.append((("users", index, "user_id"), f"user {user.user_id} is listed twice"))
        users.add(user.user_id)
        for place, email in enumerate(user.emails):
            owner = owners.setdefault(without_case(email), user.user_id)
            if owner != user.user_id:
                where = ("users", index, "emails", place)
                found.append((where, f"{email} belongs to both {owner} and {user.user_id}"))
        for place, login in enumerate(user.logins):
            # This is a fault even if the forge distinguishes case, because readers of the roster would not.
            owner = logins.setdefault(without_case(login), user.user_id)
            if owner != user.user_id:
                where = ("users", index, "logins", place)
                found.append((where, f"{login} belongs to both {owner} and {user.user_id}"))
    teams: set[str] = set()
    for index, team in enumerate(roster.teams):
        if team.team_id in teams:
            found.append((("teams", index, "team_id"), f"team {team.team_id} is listed twice"))
        teams.add(team.team_id)
    return found


def logged_in(roster: Roster, forge: str, login: str) -> str | None:
    """The id of the user with this login on a forge, or None. Ids and e-mails are not logins."""
    return roster.by_login.get(_login_key(f"{forge}:{login}"))


def _login_key(login: str) -> str:
    return without_case(login) if login.partition(":")[0] in _CASELESS else login


def person(roster: Roster | None, actor: str) -> str:
    """The person behind an actor's name: the user id that lists the e-mail, else the name without case.

    So two addresses of one user are one person, and so is a user before and after a roster was added. See
    docs/operator.md.
    """
    if "@" not in actor:
        return actor
    folded = without_case(actor)
    return roster.by_email.get(folded, folded) if roster else folded
