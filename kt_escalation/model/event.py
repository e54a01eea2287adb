"""The feed of a store: its events, and the places in history to continue from. See docs/events.md.

An event is one action on one escalation in one commit, derived from the record (`core.story`). A place is a
set of commits that contains all of their ancestors, named by its newest ones. So it stays exact when a merge
brings in older commits than those already read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from .times import format_time

if TYPE_CHECKING:
    from .record import Claim

_OID = r"(?:[0-9a-f]{64}|[0-9a-f]{40})"
_CURSOR = re.compile(rf"({_OID}(?:\+{_OID})*)(?:/(esc_[a-z0-9_-]+)/(\d{{1,9}}))?", re.ASCII)
# What git takes for host and path: `git@example.com:team/review.git` (git-clone, GIT URLS).
_SCP = re.compile(r"(?:[^@/:]+@)?([^:/]+):(?!//)(.+)")


@dataclass(frozen=True)
class Cursor:
    """A place in history: all that ``heads`` contain has been told.

    With ``within``, an escalation's id and a number, the last head is a commit of which only the events
    up to that one have been told; its text is `HEAD[+HEAD…][/ID/NUMBER]`.
    """

    heads: tuple[str, ...] = ()
    within: tuple[str, int] | None = None

    def __str__(self) -> str:
        inside = f"/{self.within[0]}/{self.within[1]}" if self.within else ""
        return "+".join(self.heads) + inside

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The place that a text names, None where it is no cursor."""
        found = _CURSOR.fullmatch(text)
        if not found:
            return None
        within = (found[2], int(found[3])) if found[2] else None
        return cls(tuple(found[1].split("+")), within)

    def past(self, commit: str, parents: Sequence[str]) -> Cursor:
        """The place after one commit more, all of whose ancestors were told before."""
        left = tuple(head for head in self.heads if head not in parents and head != commit)
        return Cursor((*left, commit))

    def at(self, escalation_id: str, index: int) -> Cursor:
        """The place inside the last head, after one of its events."""
        return Cursor(self.heads, (escalation_id, index))


@dataclass(frozen=True)
class Event:
    """One action on one escalation, and the commit that did it.

    ``actor`` is who the record names, else the commit's author; ``at`` the commit's time; ``status``
    and the keys after it are the record's after that commit (of a record that is gone or cannot be
    read: before it), ``status`` None where there is none. ``cursor`` goes on after the event.
    """

    commit: str
    at: datetime
    author: str
    email: str
    escalation_id: str
    index: int
    action: str
    actor: str
    outcome: str | None
    text: str | None
    status: str | None
    severity: str | None
    reason_code: str | None
    request_id: str | None
    team_id: str | None
    user_id: str | None
    cursor: str
    claim: Claim | None = None

    @property
    def id(self) -> str:
        """The event's name, the same in every clone and every run; it holds no full stop."""
        return f"{self.commit}/{self.escalation_id}/{self.index}"

    def as_dict(self) -> dict[str, Any]:
        """JSON values; every key is always there."""
        return {
            "id": self.id,
            "time": format_time(self.at),
            "action": self.action,
            "escalation_id": self.escalation_id,
            "status": self.status,
            "actor": self.actor,
            "outcome": self.outcome,
            "text": self.text,
            "severity": self.severity,
            "reason_code": self.reason_code,
            "request_id": self.request_id,
            "team_id": self.team_id,
            "user_id": self.user_id,
            "author": {"name": self.author, "email": self.email},
            "commit": self.commit,
            "cursor": self.cursor,
        }


def source(address: str) -> str:
    """A remote's address as a URI without a user, a password or a query: where events come from."""
    found = _SCP.fullmatch(address)
    if "://" not in address and found:
        return f"ssh://{quote(found[1])}/{quote(found[2].lstrip('/'))}"
    parts = urlsplit(address)
    if not parts.scheme:
        return f"file://{quote(address)}" if address.startswith("/") else quote(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{quote(parts.path, safe='/%')}"
