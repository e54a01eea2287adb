"""The acting person, from git's configuration and commits."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import NoIdentity
from ..model.text import is_hidden
from ..model.vocabulary import MAX_NAME


class Author(NamedTuple):
    """The name and e-mail of a committer in git."""

    name: str
    email: str


def author_of(status: int, text: str) -> Author:
    """Parse the status and output of `git var GIT_AUTHOR_IDENT`. Raises NoIdentity."""
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
        # Without an @, an address could be mistaken for a user id of the roster. The rest would not fit into
        # a record.
        raise NoIdentity(says=f"your e-mail in git, {email[:80]!r}, cannot be written into a record")
    return Author(name, email)
