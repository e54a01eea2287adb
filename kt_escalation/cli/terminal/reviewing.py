"""Handles one escalation in a reviewer's session: shows it, and does what the keys say."""

from __future__ import annotations

import shutil
import sys
from dataclasses import field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from ...errors import (
    AlreadyClaimed,
    AlreadyResolved,
    BranchTaken,
    ClaimIdDiffers,
    Interrupted,
    KtError,
    NotClaimed,
    NotFound,
    NotHolder,
    RemoteUnreachable,
    ShownDiffers,
)
from ...frozen import dataclass
from ...model.text import visible
from ...model.vocabulary import AMENDING, CATEGORIES, Outcome
from ...reporting import facts
from ..output import for_people, report, report_decision, warn
from . import clock, screen
from .keyboard import Back, Keyboard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...model.record import Amendment, Fallback
    from ...results import Found
    from ...store import Store

_OUTCOMES: dict[str, Outcome] = {"a": "approved", "d": "denied", "r": "redacted", "w": "rewritten"}
_KEYS = {
    "a": "approve",
    "d": "deny",
    "r": "redact",
    "w": "rewrite",
    "n": "note",
    "h": "hand on",
    "v": "view all",
    "s": "skip",
    "q": "quit",
}
_CATEGORIES = {str(number): word for number, word in enumerate(CATEGORIES, 1)}
_YES_OR_NO = {"y": "yes", "n": "no"}
_EDIT = "e"
# A text that was typed before is shown up to this length.
_SHOWN_OF_KEPT = 60
#: The errors that mean that the escalation is no longer the session's.
GONE = (AlreadyClaimed, AlreadyResolved, BranchTaken, ClaimIdDiffers, NotClaimed, NotFound, NotHolder)


class Quit(Exception):
    """The reviewer quits."""


@dataclass(frozen=True)
class HeldEscalation:
    """The escalation of the session (empty while it is being claimed), and the claim's id.

    ``taken``: the session claimed it, so the session must give it back. ``proposes``: nobody holds it; the
    claim and the decision are proposed together.
    """

    escalation_id: str
    claim_id: str | None
    taken: bool
    proposes: bool = False


@dataclass
class SessionTally:
    """The session's results so far, and texts that the reviewer has typed and not used."""

    handled: int = 0
    skipped: int = 0
    #: Escalations not to offer again: skipped, proposed, or handed on to a team that the reviewer may be in.
    passed: set[str] = field(default_factory=set)
    #: By escalation and by what it was typed for.
    typed: dict[tuple[str, str], str] = field(default_factory=dict)

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.handled} handled{skipped}"


class Reviewing:
    """Shows one escalation after another, and carries out the reviewer's choices."""

    def __init__(self, store: Store, keyboard: Keyboard, tally: SessionTally) -> None:
        self._store = store
        self._ask = keyboard
        self._tally = tally
        # If a note is proposed, the commit that has it: the decision is proposed on top of it.
        self._at: str | None = None

    def handle(self, held: HeldEscalation, place: str) -> None:
        """Handle one escalation until it is done. ``place`` is its place in the session: ``2 of 13``. Raises Quit."""
        self._at = None
        while not self._show(held, self._found(held), place):
            pass

    def _found(self, held: HeldEscalation) -> Found:
        if self._at is not None:
            return self._store.get(held.escalation_id, rev=self._at)
        return self._store.get(held.escalation_id, fetch=not held.taken)

    def _show(self, held: HeldEscalation, found: Found, place: str) -> bool:
        """Show the escalation and do what the reviewer says. Returns False to show it again."""
        from . import views

        self._ask.require_going()
        click.echo()
        _put(screen.rule(str(self._tally)))
        _put(views.page(found, None, include_context=True, now=datetime.now(UTC), technical=False))
        click.echo()
        keys = in_lines(*map(" ".join, _KEYS.items()))
        while True:
            # The escalation's name is next to the question, even after a long page.
            _put(screen.headline(found.record, place))
            key = self._ask.key(f"{keys}:", _KEYS)
            try:
                done = self._do(key, held, found)
            except Back:
                click.echo("\n(^C once more ends the session)")
                continue
            except ShownDiffers:
                click.echo(f"{held.escalation_id} has changed since it was shown; here it is again")
                self._at = None
                return False
            except GONE as error:
                _say(error.message if isinstance(error, BranchTaken) else error.summary)
                self._tally.passed |= {held.escalation_id} if held.proposes else set()
                return True
            except Interrupted:
                raise KeyboardInterrupt from None
            except KtError as error:
                # The remote may come back, or another name may be given. The claim is still ours.
                _say(_again(error))
                continue
            if done is not None:
                return done

    def _do(self, key: str, held: HeldEscalation, found: Found) -> bool | None:
        """Carry out a key. Returns whether the escalation is done: False to show it again, None to ask again."""
        if key in _OUTCOMES:
            return True if self._decide(held, found, _OUTCOMES[key]) else None
        if key == "n":
            return False if self._note(held, found) else None
        if key == "h":
            return True if self._hand_on(held, found) else None
        if key == "v":
            self._view(found)
            return None
        if key == "s":
            return self._skip(held)
        raise Quit

    def _view(self, found: Found) -> None:
        from . import pager, views

        with self._ask.lent():
            pager.show(views.page(found, None, include_context=True, now=datetime.now(UTC)), always=True)

    def _decide(self, held: HeldEscalation, found: Found, outcome: Outcome) -> bool:
        name = held.escalation_id
        reason = self._text("decision", f"Why {outcome}?", found)
        if not reason:
            return False
        amendment: Amendment | None = None
        if outcome in AMENDING and found.record.action is not None:
            from . import amending

            amendment = amending.asked(self._ask, found.record, outcome)
            if amendment is None:
                return False
        keys = {**_CATEGORIES, "\r": "none", "\n": "none"}
        question = in_lines("Category:", *map(" ".join, _CATEGORIES.items()), "Enter none:")
        decide = partial(
            self._store.resolve,
            *(name, outcome, reason),
            category=_CATEGORIES.get(self._ask.key(question, keys, back=True)),
            claim_id=held.claim_id,
            shown=found.shown,
            amendment=amendment,
        )
        if found.record.requires.approvals > 1 and not held.proposes:
            # Whether enough people are left depends on the newest state.
            for text in decide(dry_run=True).warnings:
                warn(text)
        click.echo(facts.outcomes(found)[outcome])
        if not self._agreed(f"Resolve {name} as {outcome}?"):
            return False
        self._still_held(held, found)
        if held.proposes:
            self._store.claim(name, branch="")
            decide = partial(decide, branch="")
        result = decide()
        report_decision(result, as_json=False, several=False)
        self._did("decision", held)
        return True

    def _note(self, held: HeldEscalation, found: Found) -> bool:
        text = self._text("note", "What do you want to say?", found)
        if not text:
            return False
        result = self._store.note(held.escalation_id, text, branch="" if held.proposes else None)
        done, same = "noted on {id} in commit {commit}", "{id} has that note already"
        report(result, False, False, done, same, "add a note to {id}")
        self._tally.typed.pop((held.escalation_id, "note"), None)
        self._at = result.commit if held.proposes else None
        return True

    def _hand_on(self, held: HeldEscalation, found: Found) -> bool:
        name = held.escalation_id
        if held.proposes:
            click.echo(
                "with --branch you can decide and note; hand it on with `kt escalation assign --branch`"
            )
            return False
        [one] = (one for one in self._store.available_actions(found) if one.action == "assign")
        if one.refusal:
            raise one.refusal
        target = self._whom(one.to)
        if target is None:
            return False
        kind, whom = target
        reason = self._text("assign", f"Why to {kind} {whom}?", found)
        if not reason or not self._agreed(f"Hand {name} on to {kind} {whom}?"):
            return False
        self._still_held(held, found)
        result = self._store.assign(
            name,
            reason,
            team=whom if kind == "team" else None,
            user=whom if kind == "user" else None,
            claim_id=held.claim_id,
        )
        report(result, False, False, "handed {id} on in commit {commit}", "{id} is there already")
        self._tally.passed.add(name)
        self._did("assign", held)
        return True

    def _whom(self, to: Sequence[Fallback]) -> tuple[str, str] | None:
        """Ask for a team or a user until the name exists. None if the reviewer cancels."""
        teams = [whom.team_id for whom in to if whom.team_id]
        users = [whom.user_id for whom in to if whom.user_id]
        known = _choices(teams, users)
        while True:
            words = self._ask.line(f"To whom? ({known}; empty = cancel)", back=True).split()
            if not words:
                return None
            kind, name = (
                (words[0], words[1]) if len(words) == 2 and words[0] in ("team", "user") else ("", words[0])
            )
            places = (("team", teams, "@" not in name), ("user", users, "@" in name))
            fits = [
                (one, name)
                for one, names, looks_so in places
                if kind in ("", one) and (name in names if to else looks_so or kind)
            ]
            if len(fits) == 1 and len(words) == 1 + bool(kind):
                return fits[0]
            said = " ".join(words)
            if len(fits) > 1:
                click.echo(visible(f"{said} is a team and a user: write team {said}, or user {said}"))
            else:
                click.echo(visible(f"you cannot hand it to {said!r}{_meant(name, [*teams, *users])}"))

    def _skip(self, held: HeldEscalation) -> bool:
        if held.proposes:
            click.echo(f"{held.escalation_id} is left as it is")
        elif not held.taken:
            click.echo(f"{held.escalation_id} stays yours")
            return True
        else:
            self._store.unclaim(held.escalation_id, claim_id=held.claim_id)
            click.echo(f"{held.escalation_id} is back in the queue")
        self._tally.passed.add(held.escalation_id)
        self._tally.skipped += 1
        return True

    def _still_held(self, held: HeldEscalation, found: Found) -> None:
        """Claim it again if the lease ended. Raises AlreadyClaimed if somebody else has claimed it."""
        claim = found.record.claim
        now = datetime.now(UTC)
        if held.claim_id and claim and claim.expires_at and claim.expires_at <= now:
            click.echo(f"your lease ended at {clock.local(claim.expires_at, now)}; claiming it again")
            self._store.claim(held.escalation_id, claim_id=held.claim_id)

    def _agreed(self, question: str) -> bool:
        return self._ask.key(f"{question} y or n:", _YES_OR_NO, back=True) == "y"

    def _text(self, what: str, question: str, found: Found) -> str:
        """Ask for a text. The default is the text that was typed before and not used. Empty if the reviewer cancels."""
        record = found.record
        key = record.escalation_id, what
        kept = self._tally.typed.get(key, "")
        begins = " ".join(kept.split())
        begins = f"{begins[: _SHOWN_OF_KEPT - 1]}…" if len(begins) > _SHOWN_OF_KEPT else begins
        empty = f'Enter = "{begins}", ^C = cancel' if kept else "empty = cancel"
        text = self._ask.line(f"{question} (one line; {_EDIT} opens your editor, {empty})", back=True) or kept
        if text == _EDIT:
            about = f"{question} {record.escalation_id}: {record.summary or record.reason_code}"
            text = self._ask.text(about, kept)
            click.echo(visible(text, lines=True))
        if text:
            self._tally.typed[key] = text
        return text

    def _did(self, what: str, held: HeldEscalation) -> None:
        self._tally.typed.pop((held.escalation_id, what), None)
        self._tally.handled += 1
        if held.proposes:
            self._tally.passed.add(held.escalation_id)


def _again(error: KtError) -> str:
    """The message for an error after which the session continues."""
    if isinstance(error, RemoteUnreachable):
        return f"{error.summary}; nothing changed, and what you typed is kept: press the key again when it answers"
    return error.message


def _choices(teams: Sequence[str], users: Sequence[str]) -> str:
    """The possible assignees: ``team legal, or one of alice, bob``."""
    if not teams and not users:
        return "team NAME, or a user's e-mail"
    named = [f"team {name}" for name in teams]
    if users:
        named.append(f"one of {', '.join(users)}" if len(users) > 1 else users[0])
    return ", ".join([*named[:-1], f"or {named[-1]}"]) if len(named) > 1 else named[0]


def _meant(name: str, known: Sequence[str]) -> str:
    """A suggestion for a mistyped name."""
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def in_lines(*pieces: str) -> str:
    """Join the pieces, with as many lines as the terminal needs. No piece is broken."""
    lines = [""]
    for piece in pieces:
        longer = f"{lines[-1]}  {piece}".lstrip()
        if lines[-1] and len(longer) >= shutil.get_terminal_size().columns:
            lines.append(piece)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _say(text: str) -> None:
    click.echo(for_people(text, sys.stdout))


def _put(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
