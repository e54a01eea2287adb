"""The person who acts, from git's configuration and commits."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import NoIdentity
from ..model.text import is_hidden
from ..model.vocabulary import MAX_NAME


class Author(NamedTuple):
    """Who commits, as git knows them."""

    name: str
    email: str


def author_of(status: int, text: str) -> Author:
    """Whom `git var GIT_AUTHOR_IDENT` named, from its status and what it printed. Raises NoIdentity."""
    found = re.fullmatch(r"(.*) <(.*)> \d+ [+-]\d{4}", text)
    if status != 0 or not found:
        raise NoIdentity()
    name, email = found[1], found[2]
    try:
        (name + email).encode()
    except UnicodeEncodeError:
        raise NoIdentity(says="your name or e-mail in git is not UTF-8") from None
    odd = len(email) > MAX_NAME or any(char.isspace() or is_hidden(char) for char in email)
    if "@" not in email or odd:
        # Without the @ an address could pass for a user id of the roster; the rest fits no record.
        raise NoIdentity(says=f"your e-mail in git, {email[:80]!r}, is none that a record can hold")
    return Author(name, email)
