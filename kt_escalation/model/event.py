"""The events of a store, and cursors: positions in history to continue from. See docs/events.md.

An event is one action on one escalation in one commit, derived from the record (`model.changes`). A cursor
names a set of commits with all of their ancestors by the newest ones. So it stays exact even if a merge
brings in older commits than those already read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ..frozen import dataclass
from .times import format_time
from .vocabulary import ACTIONS

if TYPE_CHECKING:
    from .record import Claim

_OID = r"(?:[0-9a-f]{64}|[0-9a-f]{40})"
_CURSOR = re.compile(rf"({_OID}(?:\+{_OID})*)(?:/(esc_[a-z0-9_-]+)/(\d{{1,9}}))?", re.ASCII)
# Git's short form of an address: `git@example.com:team/review.git` (git-clone, GIT URLS).
_SCP = re.compile(r"(?:[^@/:]+@)?([^:/]+):(?!//)(.+)")

#: The action of a notice that a deadline or a lease ends soon.
DUE = "due"
#: The actions of events: those of commits that change records, what no action explains, and notices.
HAPPENINGS = (
    *(action for action in ACTIONS if action not in ("compact", "erase")),
    *("change", "delete", "unreadable", DUE),
)


@dataclass(frozen=True)
class Cursor:
    """A position in history: all events in ``heads`` and their ancestors have been delivered.

    With ``within``, an escalation's id and a number, the events of the last head are delivered only up to
    that one. The text form is `HEAD[+HEAD…][/ID/NUMBER]`.
    """

    heads: tuple[str, ...] = ()
    within: tuple[str, int] | None = None

    def __str__(self) -> str:
        inside = f"/{self.within[0]}/{self.within[1]}" if self.within else ""
        return "+".join(self.heads) + inside

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The cursor that a text stands for, or None if it is not a cursor."""
        found = _CURSOR.fullmatch(text)
        if not found:
            return None
        within = (found[2], int(found[3])) if found[2] else None
        return cls(tuple(found[1].split("+")), within)

    def past(self, commit: str, parents: Sequence[str]) -> Cursor:
        """The cursor after one more commit, all of whose ancestors were delivered before."""
        left = tuple(head for head in self.heads if head not in parents and head != commit)
        return Cursor((*left, commit))

    def at(self, escalation_id: str, index: int) -> Cursor:
        """The cursor inside the last head, after one of its events."""
        return Cursor(self.heads, (escalation_id, index))


@dataclass(frozen=True)
class Event:
    """One action on one escalation, and the commit that made it.

    ``actor`` is the person whom the record names, else the commit's author. ``at`` is the commit's time.
    ``status`` and the keys after it are those of the record after the commit, or before it if the record was
    deleted or cannot be read; ``status`` is None if there is none. ``cursor`` is the position after the
    event. ``claim`` and ``claim_before`` are the claims after and before the commit.

    With a ``deadline`` it is no action but a notice that time alone will soon change the escalation: its action is
    ``due``, ``at`` is when it was told, ``commit`` the newest one then, and ``text`` says what ends.
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
    claim_before: Claim | None = None
    summary: str | None = None
    deadline: datetime | None = None

    @property
    def id(self) -> str:
        """The event's id. It is the same in every clone and every run, and has no full stop."""
        if self.deadline is not None:
            return f"{DUE}/{self.escalation_id}/{int(self.deadline.timestamp() * 1000)}"
        return f"{self.commit}/{self.escalation_id}/{self.index}"

    def as_dict(self) -> dict[str, Any]:
        """The event as JSON values. Every key is always present; only a notice has a ``deadline``."""
        ends = {"deadline": format_time(self.deadline)} if self.deadline is not None else {}
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
            **ends,
        }


def source(address: str) -> str:
    """A remote's address as a URI, without user, password or query: the source of events."""
    found = _SCP.fullmatch(address)
    if "://" not in address and found:
        return f"ssh://{quote(found[1])}/{quote(found[2].lstrip('/'))}"
    parts = urlsplit(address)
    if not parts.scheme:
        return f"file://{quote(address)}" if address.startswith("/") else quote(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{quote(parts.path, safe='/%')}"
