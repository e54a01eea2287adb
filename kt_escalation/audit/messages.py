"""Parses the statements of a commit message about the store, and compares them with the commit.

The record is the authority. But people read `git log`, so a message with one of kt's subjects or trailers
must say what its commit contains (rule `message` in docs/rules.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from typing import NamedTuple

from ..errors import BadInput
from ..model import changes
from ..model.record import Record
from ..model.text import HIDDEN
from ..model.vocabulary import ACTIONS
from ..policies.roster import Roster, person
from ..storage import layout
from ..storage.commit_message import MAX_NAMED
from ..storage.commits import Commit
from ..storage.location import root_of

_KEYS = (
    "kt-action",
    "kt-escalation",
    "kt-count",
    "kt-actor",
    "kt-claim",
    "kt-outcome",
    "kt-release",
    "kt-root",
)
# Messages as kt writes them need none of these, so `re` compiles them only when it is asked for them.
_STATES = rf"({'|'.join(_KEYS)})(?![a-z-])[ \t]*(:?)[ \t]*(.*)"
_LINE, _PLAIN = f"(?i){_STATES}", f"(?im)^({_STATES})$"
# What is hidden but ends no line, and what Unicode lets a program leave out (Default_Ignorable_Code_Point).
_UNSEEN = (
    rf"(?!\s)[{HIDDEN}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    r"\U00013430-\U00013455\U000e0000-\U000e0fff]"
)
# What moves a cursor, or ends a line only for some programs; and whole sequences of it (ECMA-48).
_MOVING = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]"
_ESCAPES = (
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*+(?:\x07|\x1b\\|\x9c)?|\x1b[@-_]"
)
# Words of kt, with whatever blanks are in them.
_WORDS = rf"(?i)kt\s*:\s*(?:{'|'.join(ACTIONS)})|{'|'.join(_KEYS)}"
# A trailer's line with a part of its value on the next.
_FOLDED = rf"(?im)^(?:{'|'.join(_KEYS)})[ \t]*:.*\n[ \t]+\S"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
_SUBJECT = rf"(?i)kt:\s*({'|'.join(ACTIONS)})\s+(?:(esc_[a-z0-9_-]+)|(\d+)\s+escalations)(?:\s+as\s+(\w+))?"
# What kt writes about one escalation in visible ASCII, as nearly all messages are; its free text is indented.
_WRITTEN = re.compile(
    rf"kt: ({'|'.join(ACTIONS)}) (esc_[a-z0-9_-]+)(?: as ([a-z]+))?(?: (?![aA][sS]\b)[!-~][ -~]*)?\n\n"
    r"(?:(?:    [ -~]*+)?+\n)*+"
    r"(Kt-Action: ([!-~]+))\nKt-Escalation: ([!-~]+)\nKt-Actor: ([!-~]+)\n(?:Kt-Claim: ([!-~]+)\n)?"
    r"(?:Kt-Outcome: ([!-~]+)\n)?(?:Kt-Release: ([!-~]+)\n)?(?:Kt-Root: ([!-~]+)\n)?"
)
# What foretells the files that it has changed.
_FIRST_LINE = re.compile(r"kt: ([a-z]+) (esc_[a-z0-9_-]+)")
# A message is kept if it is no longer than this, or states something and is no longer than that.
_SHORT, _LONGEST = 1_000, 64 * 1024
_RESOLVING = ("resolve", "withdraw", "sweep")
# What git itself calls a merge (git-fmt-merge-msg, JGit). GitLab puts the branch that it merges into in quotes as well.
_NAMED_BY_GIT = (
    r"Merge (?:branch '(?P<branch>[^']+)'(?: of \S.*| into [^'].*)?"
    r"|remote-tracking branch '(?P<tracking>[^']+)'.*"
    r"|commit '[^']*'.*|[^\s:/]*+[:/]\S*+(?: into .*)?)"
)
_MAIN = ("main", "master")

_PARTS: Mapping[str, str] = {
    "kt-action": "action",
    "kt-actor": "actor",
    "kt-outcome": "outcome",
    "kt-claim": "claim_id",
    "kt-count": "count",
    "kt-release": "release_id",
    "kt-root": "root",
}


@dataclass(slots=True)
class Statement:
    """One statement of a message: what was done to which escalations, and by whom. An empty value was not stated.

    ``root`` is the store's folder: None if it was not stated, empty if nobody can say which folder was meant.
    """

    words: str
    action: str = ""
    ids: list[str] = field(default_factory=list)
    actor: str = ""
    outcome: str = ""
    claim_id: str = ""
    count: str = ""
    release_id: str = ""
    root: str | None = None
    is_odd: bool = False

    def is_told_by(self, other: Statement) -> bool:
        """Whether another statement says everything that this subject says."""
        same = (self.action, self.ids, self.outcome or other.outcome)
        return same == (other.action, other.ids, other.outcome)


class Brought(NamedTuple):
    """One action of a commit: its escalation, possible names, actor, outcome, claim ids and release id."""

    escalation_id: str
    actions: frozenset[str]
    actor: str
    outcome: str | None = None
    claim_ids: frozenset[str] = frozenset()
    release_id: str | None = None


def is_pull(message: str, *branches: str | None) -> bool:
    """Whether git wrote the message of a merge, as `git pull` does when it takes in the store branch.

    ``branches`` are possible names of the store branch; main and master count as well.
    """
    found = re.fullmatch(_NAMED_BY_GIT, message.partition("\n")[0].rstrip())
    if found is None:
        return False
    named = found["branch"] or found["tracking"]
    return named is None or any(named == one or named.endswith(f"/{one}") for one in {*branches, *_MAIN})


def files_told(commit: Commit) -> tuple[str, ...]:
    """The files that a commit of kt has probably changed: what it removed, then what it wrote.

    The first line of its message and its date say so, and both may lie.
    """
    found = _FIRST_LINE.match(commit.message)
    if found is None or len(commit.parents) != 1:
        return ()
    action, name = found.groups()
    still = f"{layout.QUEUE}/{name}{layout.SUFFIX}"
    if action in _RESOLVING:
        return still, f"{layout.RESOLVED}/{layout.day_of(commit.committed_at)}/{name}{layout.SUFFIX}"
    if action == "release":
        return (f"{layout.RELEASED}/{layout.day_of(commit.committed_at)}/{name}{layout.SUFFIX}",)
    return (still,)


def shortened(commit: Commit) -> Commit:
    """The commit without a message too long to be kept. kt's own are shorter, so a long one may state nothing."""
    message = commit.message
    if len(message) <= _SHORT:
        return commit
    is_kept = len(message) <= _LONGEST
    states = bool(statements(message)) if is_kept else _says_something(message)
    if is_kept and states:
        return commit
    short = commit._replace(message=message[:_SHORT].partition("\n")[0])
    why = f"it states something in more than {_LONGEST // 1024} KiB"
    return short._replace(author="", email="", committer="", unread=commit.unread or why) if states else short


def statements(message: str) -> list[Statement]:
    """The statements of a message: its subject, then the lines that begin with one of kt's keys."""
    return _as_written(message) or _any_statements(message)


def _as_written(message: str) -> list[Statement] | None:
    """The statements of a message in kt's own form, whose subject repeats its trailers. None for any other message."""
    found = _WRITTEN.fullmatch(message)
    if found is None:
        return None
    action, name, as_outcome, words, told_action, told_name, actor, claim, outcome, release, root = (
        found.groups("")
    )
    if told_action != action or told_name != name or as_outcome not in ("", outcome) or root != _folder(root):
        return None
    return [Statement(words, action, [name], actor, outcome, claim, release_id=release, root=root or None)]


def _any_statements(message: str) -> list[Statement]:
    """The statements of any message."""
    found: list[Statement] = []
    if _is_disguised(message):
        # Nobody can say what a terminal makes of it.
        found.append(Statement(ascii(message), is_odd=True))
    message = _visible(message)
    subject = re.match(_SUBJECT, _subject(message))
    if subject:
        ids, count = [subject[2]] if subject[2] else [], subject[3] or ""
        outcome = (subject[4] or "").lower()
        found.append(Statement(subject[0], subject[1].lower(), ids, outcome=outcome, count=count))
    if "kt-" not in message.lower():
        return found
    current: Statement | None = None
    for words, name, colon, value in _lines(message):
        key = name.lower()
        if current is None or key == "kt-action":
            current = Statement(words.strip())
            found.append(current)
        current.is_odd |= not colon
        _take(current, key, value.strip())
    if current is not None and re.search(_FOLDED, message):
        # git reads the line after it as a part of the value (git-interpret-trailers).
        current.is_odd = True
    roots = {statement.root for statement in found if statement.root is not None}
    if len(roots) == 1:
        # A message is about one store, and the subject cannot name its folder.
        for statement in found:
            statement.root = next(iter(roots))
    if subject and len(found) == 2 and found[0].is_told_by(found[1]):
        # The subject repeats the lines.
        del found[0]
    return found


def _lines(message: str) -> Iterable[Sequence[str]]:
    """The lines that begin with one of kt's keys: the whole line, the key, the colon and the value."""
    if message.isascii() and message.replace("\n", "").isprintable():
        # The usual case: only line feeds end its lines, and nothing in it is invisible.
        return re.findall(_PLAIN, message)
    return re.findall(_PLAIN, "\n".join(message.splitlines()))


def _says_something(message: str) -> bool:
    """Whether a message has any statement."""
    seen = _visible(message)
    lines = "\n".join(seen.splitlines())
    return bool(_is_disguised(message) or re.match(_SUBJECT, _subject(seen)) or re.search(_PLAIN, lines))


def _is_disguised(message: str) -> bool:
    """Whether a message has words of kt, and characters that move a cursor or end a line only for some."""
    if message.isprintable() or not re.search(_MOVING, message.replace("\r\n", "\n")):
        return False
    plain = re.sub(_UNSEEN, "", re.sub(_MOVING, "", re.sub(_ESCAPES, "", message)))
    return re.search(_WORDS, plain) is not None


def _subject(message: str) -> str:
    """The first paragraph as one line, as git shows it (git-log, `%s`)."""
    line, _, rest = message.partition("\n")
    if line and line == line.strip() and rest[:1] in ("", "\n"):
        return line
    lines = iter(line.strip(" \t\r") for line in message.split("\n"))
    first = next((line for line in lines if line), "")
    return " ".join([first, *takewhile(bool, lines)])


def _take(statement: Statement, key: str, value: str) -> None:
    if key == "kt-escalation" and value:
        statement.ids.append(value)
        return
    name = _PARTS.get(key)
    if name == "root":
        value = _folder(value)
        if statement.root not in (None, value):
            value = ""
        # A store at the top has no folder to name.
        statement.root, statement.is_odd = value, statement.is_odd or not value
        return
    if name is None or not value:
        statement.is_odd = True
        return
    before = getattr(statement, name)
    statement.is_odd |= bool(before) and before != value
    setattr(statement, name, value)


def _folder(value: str) -> str:
    """The folder that a message names, written as kt writes it. Empty if no store can be in it."""
    try:
        return root_of(value)
    except BadInput:
        return ""


def _visible(message: str) -> str:
    """The message without invisible characters, which could hide a key."""
    if message.isascii() and not _CONTROL.search(message):
        return message
    return re.sub(_UNSEEN, "", message)


def untrue(
    said: Sequence[Statement],
    brought: Sequence[Brought],
    roster: Roster | None,
    author: str,
) -> Iterator[str]:
    """A sentence for each false statement, saying what was expected; two addresses of one person are equal."""
    for statement in said:
        wrong = _wrong(statement, brought, roster, author)
        if wrong:
            yield wrong
        elif statement.count:
            names = {one.escalation_id for one in brought}
            if not _counts(statement, names):
                yield f"expected Kt-Count: {len(set(statement.ids)) or len(names)}"


def _counts(statement: Statement, names: Collection[str]) -> bool:
    """Whether a count fits the ids beside it; a message names only the first of very many ids."""
    if not re.fullmatch(r"\d{1,9}", statement.count):
        return False
    named = len(set(statement.ids))
    if 0 < named < MAX_NAMED:
        return int(statement.count) == named
    return named <= int(statement.count) <= len(names)


def _wrong(
    statement: Statement, brought: Sequence[Brought], roster: Roster | None, author: str
) -> str | None:
    if statement.is_odd:
        return f"expected one value for each key, after a colon; {statement.words[:80]!r} has another form"
    if not brought:
        return f"expected a commit that did what its message says; nothing in it matches {statement.words[:80]!r}"
    ids: Sequence[str | None] = statement.ids or [None]
    for name in ids:
        fits = [one for one in brought if name in (None, one.escalation_id)]
        if not fits:
            told = ", ".join(sorted({one.escalation_id for one in brought})[:5])
            return f"expected Kt-Escalation: {told}; it says {name}"
        for key, told_of, have in _TOLD:
            value = told_of(statement)
            if not value:
                continue
            wanted = person(roster, value) if key == "Kt-Actor" else value
            rest = [one for one in fits if wanted in have(one, roster, author)]
            if not rest:
                words = {word for one in fits for word in have(one, roster, author) if word}
                return f"expected {key}: {', '.join(sorted(words)) or 'none'}; it says {value}"
            fits = rest
    return None


def _people(one: Brought, roster: Roster | None, author: str) -> Collection[str]:
    return (person(roster, one.actor or author),)


# The keys of a statement: the value that one states, and the values that an action allows.
_TOLD: Sequence[
    tuple[str, Callable[[Statement], str], Callable[[Brought, Roster | None, str], Collection[str]]]
] = (
    ("Kt-Action", lambda one: one.action, lambda one, *_: one.actions),
    ("Kt-Actor", lambda one: one.actor, _people),
    ("Kt-Outcome", lambda one: one.outcome, lambda one, *_: (one.outcome or "",)),
    ("Kt-Claim", lambda one: one.claim_id, lambda one, *_: one.claim_ids),
    ("Kt-Release", lambda one: one.release_id, lambda one, *_: (one.release_id or "",)),
)


def brought(
    name: str, before: Record | None, after: Record | None, *, author: str, restored: bool = False
) -> list[Brought]:
    """The actions between two states of a record, with all names that a message may use for each."""
    claim_before = before.claim if before else None
    claim_after = after.claim if after else None
    held = [claim.claim_id for claim in (claim_before, claim_after) if claim]
    claims = frozenset([*held, *(review.claim_id for review in after.reviews)] if after else held)
    if restored:
        return [Brought(name, frozenset({"restore"}), author, None, claims)]
    assigned = after is not None and after.route.source == "assigned"
    found = [
        Brought(name, _names(one.action, assigned), one.actor or "", one.outcome, claims)
        for one in changes.between(before, after)
    ]
    if after is None:
        return found
    # A squash may hide a claim behind the raise before it, the review after it, or an assignment to oneself.
    new = after.reviews[len(before.reviews) :] if before else after.reviews
    held_before = claim_before.claim_id if claim_before else None
    takers = {review.reviewer for review in new if review.claim_id != held_before}
    if claim_after and not claim_after.same_as(claim_before):
        givers = {one.actor for one in found if "assign" in one.actions}
        takers |= {claim_after.claimed_by} if givers <= {claim_after.claimed_by} else set()
    return found + [Brought(name, _CLAIM, taker, None, claims) for taker in sorted(takers)]


_CLAIM = frozenset({"claim"})
_ALIASES: Mapping[str, frozenset[str]] = {
    # Giving back a claim after its lease has the same result as a sweep.
    "sweep": frozenset({"unclaim"}),
    # A review that leaves the quorum short may be in one commit with others that resolve.
    "review": frozenset({"resolve"}),
}
# Assigned again to the team or user that it is routed to already.
_REASSIGNED: Mapping[str, frozenset[str]] = {"unclaim": frozenset({"assign"}), "claim": frozenset({"assign"})}


@cache
def _names(action: str, assigned: bool) -> frozenset[str]:
    """All names that a message may use for an action; ``assigned`` says that somebody has it by an assignment."""
    others = _REASSIGNED.get(action, frozenset()) if assigned else frozenset()
    return frozenset({action}) | _ALIASES.get(action, frozenset()) | others
