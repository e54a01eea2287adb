"""`kt escalation review`: a session that goes through escalations one by one and leaves no claims behind.

See docs/reviewing.md.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import shutil
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ...errors import (
    AlreadyClaimed,
    AlreadyResolved,
    ClaimIdDiffers,
    Interrupted,
    KtError,
    NotClaimed,
    NotFound,
    NothingToClaim,
    NotHolder,
    ShownDiffers,
    Usage,
)
from ...model.query import Query
from ...model.text import visible
from ...model.times import format_time
from ...model.vocabulary import AMENDING, CATEGORIES, Outcome
from ..app import escalation
from ..options import in_one_store, writes
from ..output import report, report_decision, warn
from ..stores import work, writing_store
from ..terminal.keyboard import Keyboard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.summary import Row
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
    "s": "skip",
    "q": "quit",
}
_CATEGORIES = {str(number): word for number, word in enumerate(CATEGORIES, 1)}
_YES_OR_NO = {"y": "yes", "n": "no"}
_EDIT = "e"
# The errors that mean that the escalation is no longer ours.
_GONE = (AlreadyClaimed, AlreadyResolved, ClaimIdDiffers, NotClaimed, NotFound, NotHolder)


@escalation.command("review", short_help="Decide one escalation after another at a terminal.")
@click.option("--team", metavar="TEAM", help="Only escalations of this team.")
@writes
@in_one_store
@click.pass_context
def review_command(ctx: click.Context, /, **given: Any) -> None:
    """Decide one escalation after another at a terminal.

    The session begins with the escalations that you hold, then claims the ones that `claim --next`
    would give you. Each is shown whole and waits for one key: a approves, d denies, r redacts, w
    rewrites, n adds a note, h hands it on, s skips it, q quits. Before a decision you are asked for a
    reason (one line, or e for your $EDITOR), a category, and a confirmation. No answer is preselected.
    If the record has changed since it was shown, it is shown again.

    An escalation that you skip goes back to the queue, and this session does not offer it again. When
    the session ends, with q, ^C or a closed terminal, it gives back what it claimed. What you held
    before stays yours.

    Exits 0 if you quit, or if nothing is left and you decided or handed on at least one; 7 if there was
    nothing to claim; 130 after ^C; 4 or 9 if the remote was lost. The message then has the command that
    gives the escalation back.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Usage(
            problem="review needs a terminal",
            hint="scripts take one with `kt escalation claim --next` and decide it with `kt escalation resolve`",
        )
    work.begin_session()
    keyboard = Keyboard()
    with keyboard.watched(), writing_store(ctx, given) as store:
        Session(store, keyboard, given["team"]).run()


@dataclass(frozen=True)
class Held:
    """The escalation of the session (empty while it is being claimed), and the claim's id.

    ``taken``: the session claimed it, so the session has to give it back.
    """

    escalation_id: str
    claim_id: str
    taken: bool


class _Quit(Exception):
    """The reviewer quits."""


class Session:
    """A reviewer's session."""

    def __init__(self, store: Store, keyboard: Keyboard, team: str | None) -> None:
        self._store = store
        self._ask = keyboard
        self._team = team
        self._held: Held | None = None
        #: Escalations not to offer again: skipped, or handed on to a team that the reviewer may be in.
        self._passed: set[str] = set()
        self._skipped = 0
        self._handled = 0

    def run(self) -> None:
        """Run until the reviewer quits, nothing is left, or an error occurs. Then give back the claim.

        Raises NothingToClaim if nothing was handled, Interrupted, and the errors of claiming.
        """
        ended: BaseException | None = None
        try:
            try:
                self._work()
            finally:
                self._ask.heed()
        except BaseException as caught:
            # Give back the claim first, whatever the error is.
            ended = caught
        gone = isinstance(ended, OSError) and ended.errno == errno.EIO
        interrupted = gone or isinstance(ended, KeyboardInterrupt | EOFError | Interrupted)
        if interrupted:
            # The cursor is still behind the question.
            _say("")
        left = self._give_back()
        if interrupted:
            raise left or Interrupted(
                says="interrupted; {told}; no claim of this session is left",
                unchanged="",
                told=self._summary(),
            ) from None
        if ended and not isinstance(ended, _Quit):
            if left:
                warn(left.message)
            raise ended
        if left:
            raise left
        if ended:
            click.echo(self._summary())

    def _work(self) -> None:
        for row in self._own_claims():
            if row.claim_id and (self._team is None or row.team_id == self._team):
                self._held = Held(row.escalation_id, row.claim_id, taken=False)
                self._handle(self._held)
        while True:
            self._ask.require_going()
            # With our own token we can recognize our claim, even if the answer is lost.
            token = secrets.token_hex(13)
            self._held = Held("", token, taken=True)
            try:
                result = self._store.claim_next(team=self._team, claim_id=token, passing=self._passed)
            except NothingToClaim as error:
                self._held = None
                why = error.why
                if self._skipped:
                    why += f", but for the {self._skipped} that you skipped"
                if not self._handled:
                    error.why = why
                    raise
                click.echo(visible(f"{self._summary()}; {why}"))
                return
            for text in result.warnings:
                warn(text)
            self._held = Held(result.record.escalation_id, token, taken=True)
            self._handle(self._held)

    def _handle(self, held: Held) -> None:
        """Handle one escalation until it is done."""
        while not self._show(held, self._store.get(held.escalation_id, fetch=not held.taken)):
            pass
        self._held = None

    def _show(self, held: Held, found: Found) -> bool:
        """Show the escalation and do what the reviewer says. Returns False to show it again."""
        from ..terminal import screen, views

        self._ask.require_going()
        click.echo()
        for line in screen.rule(self._summary()):
            click.echo(line)
        for line in views.page(found, None, include_context=True, now=datetime.now(UTC)):
            click.echo(line)
        click.echo()
        keys = _in_lines(*map(" ".join, _KEYS.items()))
        while True:
            key = self._ask.key(f"{keys}:", _KEYS)
            try:
                if key in _OUTCOMES:
                    done = self._decide(held, found, _OUTCOMES[key])
                elif key == "n":
                    if self._note(found):
                        return False
                    done = False
                elif key == "h":
                    done = self._hand_on(held, found)
                elif key == "s":
                    done = self._skip(held)
                else:
                    raise _Quit
            except ShownDiffers:
                click.echo(f"{held.escalation_id} has changed since it was shown; here it is again")
                return False
            except _GONE as error:
                click.echo(visible(error.summary))
                return True
            except Interrupted:
                raise KeyboardInterrupt from None
            except KtError as error:
                # The remote may come back, or another name may be given. The claim is still ours.
                click.echo(visible(error.message))
                continue
            if done:
                return True

    def _decide(self, held: Held, found: Found, outcome: Outcome) -> bool:
        name = held.escalation_id
        reason = self._reason(f"Why {outcome}?", found)
        if not reason:
            return False
        amendment = None
        if outcome in AMENDING and found.record.action is not None:
            from ..terminal import amending

            amendment = amending.asked(self._ask, found.record, outcome)
            if amendment is None:
                return False
        keys = {**_CATEGORIES, "\r": "none", "\n": "none"}
        key = self._ask.key(_in_lines("Category:", *map(" ".join, _CATEGORIES.items()), "Enter none:"), keys)
        decide = partial(
            self._store.resolve,
            *(name, outcome, reason),
            category=_CATEGORIES.get(key),
            claim_id=held.claim_id,
            shown=found.shown,
            amendment=amendment,
        )
        if found.record.requires.approvals > 1:
            # Whether enough people are left depends on the newest state.
            for text in decide(dry_run=True).warnings:
                warn(text)
        if self._ask.key(f"Resolve {name} as {outcome}? y or n:", _YES_OR_NO) != "y":
            return False
        self._still_held(held, found)
        result = decide()
        report_decision(result, as_json=False, several=False)
        self._handled += 1
        return True

    def _note(self, found: Found) -> bool:
        text = self._reason("What do you want to say?", found)
        if not text:
            return False
        result = self._store.note(found.record.escalation_id, text)
        report(result, False, False, "noted on {id} in commit {commit}", "{id} has that note already")
        return True

    def _hand_on(self, held: Held, found: Found) -> bool:
        name = held.escalation_id
        [move] = (move for move in self._store.moves(found) if move.action == "assign")
        if move.refusal:
            raise move.refusal
        teams = [whom.team_id for whom in move.to if whom.team_id]
        users = [whom.user_id for whom in move.to if whom.user_id]
        known = "; ".join(", ".join(some) for some in (teams, users) if some) or "a team, or a user's e-mail"
        whom = self._ask.line(f"To whom? ({known}; empty = cancel)")
        if not whom:
            return False
        # Without a roster, text with an @ is a user, and any other text a team.
        to_team = whom in teams or (not move.to and "@" not in whom)
        reason = self._reason(f"Why to {whom}?", found)
        if not reason:
            return False
        target = f"team {whom}" if to_team else f"user {whom}"
        if self._ask.key(f"Hand {name} on to {target}? y or n:", _YES_OR_NO) != "y":
            return False
        self._still_held(held, found)
        result = self._store.assign(
            name,
            reason,
            team=whom if to_team else None,
            user=None if to_team else whom,
            claim_id=held.claim_id,
        )
        report(result, False, False, "handed {id} on in commit {commit}", "{id} is there already")
        self._passed.add(name)
        self._handled += 1
        return True

    def _skip(self, held: Held) -> bool:
        if not held.taken:
            click.echo(f"{held.escalation_id} stays yours")
            return True
        self._store.unclaim(held.escalation_id, claim_id=held.claim_id)
        self._passed.add(held.escalation_id)
        self._skipped += 1
        click.echo(f"{held.escalation_id} is back in the queue")
        return True

    def _still_held(self, held: Held, found: Found) -> None:
        """Claim it again if the lease ended. Raises AlreadyClaimed if somebody else has claimed it."""
        claim = found.record.claim
        if claim and claim.expires_at and claim.expires_at <= datetime.now(UTC):
            click.echo(f"your lease ended at {format_time(claim.expires_at)}; claiming it again")
            self._store.claim(held.escalation_id, claim_id=held.claim_id)

    def _reason(self, question: str, found: Found) -> str:
        """Ask for a text. Empty if the reviewer cancels."""
        text = self._ask.line(f"{question} (one line; {_EDIT} opens your editor, empty = cancel)")
        if text != _EDIT:
            return text
        record = found.record
        text = self._ask.text(f"{question} {record.escalation_id}: {record.summary or record.reason_code}")
        if text:
            click.echo(visible(text, lines=True))
        return text

    def _summary(self) -> str:
        skipped = f", {self._skipped} skipped" if self._skipped else ""
        return f"{self._handled} handled{skipped}"

    def _own_claims(self) -> Sequence[Row]:
        """The escalations that the reviewer holds on the remote."""
        return self._store.rows(Query(mine=True), fetch=True).page.rows

    def _give_back(self) -> KtError | None:
        """Give back the claim of this session. Returns the error that prevented it, with a remedy."""
        held = self._held
        if held is None or not held.taken:
            return None
        name = held.escalation_id
        try:
            # The remote can be slow, so ^C works here.
            self._ask.heed(signal.SIGINT)
            # If a read was interrupted, git's process is in the middle of an answer.
            self._store.close()
            if not name:
                name = next(
                    (row.escalation_id for row in self._own_claims() if row.claim_id == held.claim_id), ""
                )
            if name:
                self._store.unclaim(name, claim_id=held.claim_id)
                _say(f"{name} is back in the queue")
        except _GONE:
            return None
        except (KtError, KeyboardInterrupt) as caught:
            error = caught if isinstance(caught, KtError) else Interrupted()
            hint = _how_to_give_back(name, held.claim_id)
            error.unchanged, error.hint = "", hint
            return error
        finally:
            self._ask.heed()
        return None


def _in_lines(*pieces: str) -> str:
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
    """Print a line. The terminal may be gone."""
    with contextlib.suppress(OSError):
        click.echo(text)


def _how_to_give_back(name: str, claim_id: str) -> str:
    if not name:
        return "see with `kt escalation list --mine --fetch` whether you still hold one, and give it back"
    return (
        f"{name} may still be claimed by you: give it back with "
        f"`kt escalation unclaim --id {name} --claim-id {claim_id}`"
    )
