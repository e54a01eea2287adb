"""`kt escalation review`: a session that goes through escalations one by one and leaves no claims behind.

See docs/reviewing.md.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from ...errors import Interrupted, KtError, LockTimeout, NothingToClaim, RemoteUnreachable, Usage
from ...model.query import Query
from ...model.text import visible
from ...storage.poll import Poll
from ..app import escalation
from ..options import flag, in_one_store, takes, writes
from ..output import warn
from ..stores import work, writing_store
from ..terminal.keyboard import Keyboard
from ..terminal.reviewing import GONE, HeldEscalation, Quit, Reviewing, SessionTally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.summary import RecordSummary
    from ...store import Store

_BELL = "\a"
# To count what else a reviewer may claim, each open escalation is judged. With more than this, the delay
# would be noticed.
_MOST_COUNTED = 2_000


@escalation.command("review", short_help="Decide one escalation after another at a terminal.")
@takes("--team", "TEAM", "Only escalations of this team.")
@flag("--wait", "When nothing is left, wait for the next one for you, and ring the bell.")
@flag("--branch", "Propose each claim and decision together as one pull request, and change nothing else.")
@writes
@in_one_store
def review_command(**given: Any) -> None:
    """Decide one escalation after another at a terminal.

    The session begins with the escalations that you hold, then claims the ones that `claim --next`
    would give you. Each is shown whole and waits for one key: a approves, d denies, r redacts, w
    rewrites, n adds a note, h hands it on, v opens it in your pager, s skips it, q quits. Before a decision
    you are asked for a reason (one line, or e for your $EDITOR), a category, and a confirmation. No answer
    is preselected. If the record has changed since it was shown, it is shown again. What you have typed
    is offered again if the decision did not come about.

    An escalation that you skip goes back to the queue, and this session does not offer it again. At a
    question, ^C goes back to the keys. When the session ends, with q, ^C at the keys or a closed terminal,
    it gives back what it claimed. What you held before stays yours.

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
    with keyboard.watched(), writing_store(given) as store:
        ReviewSession(store, keyboard, given["team"], waits=given["wait"], proposes=given["branch"]).run()


class ReviewSession:
    """A reviewer's session: which escalation is next, and what is left claimed at the end."""

    def __init__(
        self,
        store: Store,
        keyboard: Keyboard,
        team: str | None,
        *,
        waits: bool = False,
        proposes: bool = False,
    ) -> None:
        self._store = store
        self._ask = keyboard
        self._team = team
        self._waits = waits
        self._proposes = proposes
        self._held: HeldEscalation | None = None
        self._tally = SessionTally()
        self._one = Reviewing(store, keyboard, self._tally)
        # How many were shown before this one, and those that the reviewer held at the start and has not seen.
        self._before = 0
        self._poll = Poll()
        self._own: list[RecordSummary] = []

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
                told=str(self._tally),
            ) from None
        if ended and not isinstance(ended, Quit):
            if left:
                warn(left.message)
            raise ended
        if left:
            raise left
        if ended:
            click.echo(str(self._tally))

    def _work(self) -> None:
        self._own = [
            row
            for row in self._own_claims()
            if row.claim_id and (self._team is None or row.team_id == self._team)
        ]
        while self._own:
            row = self._own.pop(0)
            self._handle(HeldEscalation(row.escalation_id, row.claim_id, taken=False))
        told = False
        while True:
            self._ask.require_going()
            try:
                held = self._next()
            except NothingToClaim as error:
                self._held = None
                if not self._waits:
                    self._nothing_left(error)
                    return
                if not told:
                    click.echo(
                        visible(f"{self._tally}; {self._why(error)}; waiting for the next one (q quits)")
                    )
                told = True
            except (RemoteUnreachable, LockTimeout) as error:
                if not told:
                    raise
                self._held = None
                click.echo(visible(f"{error.summary}; trying again"))
            else:
                if told:
                    click.echo(_BELL, nl=False)
                told = False
                self._handle(held)
                self._poll.restart()
                continue
            if self._ask.pause(self._poll.next(), "q"):
                # The terminal may have shown the key.
                click.echo()
                raise Quit

    def _next(self) -> HeldEscalation:
        """The next escalation in turn, claimed unless it is only to be proposed. Raises NothingToClaim."""
        passed = set(self._tally.passed)
        if self._proposes:
            snapshot = self._store.rows(Query(limit=1), fetch=True).snapshot
            passed |= self._store.proposed(snapshot.revision).keys()
            result = self._store.claim_next(team=self._team, passing=passed, dry_run=True)
            return HeldEscalation(result.record.escalation_id, None, taken=False, proposes=True)
        # With our own token we can recognize our claim, even if the answer is lost.
        token = secrets.token_hex(13)
        self._held = HeldEscalation("", token, taken=True)
        result = self._store.claim_next(team=self._team, claim_id=token, passing=passed)
        warn(*result.warnings)
        return HeldEscalation(result.record.escalation_id, token, taken=True)

    def _handle(self, held: HeldEscalation) -> None:
        """Handle one escalation until it is done."""
        self._held = held
        self._one.handle(held, self._place(held))
        self._held = None
        self._before += 1

    def _place(self, held: HeldEscalation) -> str:
        """The place of an escalation among those of this session: ``2 of 13``."""
        number = self._before + 1
        rows = self._store.rows(Query(team=self._team))
        if len(rows.page.rows) > _MOST_COUNTED:
            return str(number)
        claimable = self._store.rows(Query(team=self._team, claimable=True)).page.rows
        more = {row.escalation_id for row in claimable} - self._tally.passed - {held.escalation_id}
        return f"{number} of {number + len(more | {row.escalation_id for row in self._own})}"

    def _nothing_left(self, error: NothingToClaim) -> None:
        """End the session. Raises the error if nothing was handled."""
        if not self._tally.handled:
            error.why = self._why(error)
            raise error
        click.echo(visible(f"{self._tally}; {self._why(error)}"))

    def _why(self, error: NothingToClaim) -> str:
        skipped = self._tally.skipped
        return f"{error.why}, except for the {skipped} that you skipped" if skipped else error.why

    def _own_claims(self) -> Sequence[RecordSummary]:
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
        except GONE:
            return None
        except (KtError, KeyboardInterrupt) as caught:
            error = caught if isinstance(caught, KtError) else Interrupted()
            hint = _how_to_give_back(name, held.claim_id)
            error.unchanged, error.hint = "", hint
            return error
        finally:
            self._ask.heed()
        return None


def _say(text: str) -> None:
    """Print a line. The terminal may be gone."""
    with contextlib.suppress(OSError):
        click.echo(text)


def _how_to_give_back(name: str, claim_id: str | None) -> str:
    if not name:
        return "see with `kt escalation list --mine --fetch` whether you still hold one, and give it back"
    return (
        f"{name} may still be claimed by you: give it back with "
        f"`kt escalation unclaim --id {name} --claim-id {claim_id}`"
    )
