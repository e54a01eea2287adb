"""The commands around a claim: claim, unclaim, resolve, note."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ...errors import Interrupted, OutcomeUnknown, Usage
from ...model.vocabulary import CATEGORIES, DECISIONS
from ..app import escalation
from ..options import (
    CLAIM_ID,
    PARTIAL,
    Count,
    called,
    chooses,
    commit_options,
    common,
    common_to_several,
    flag,
    proposes,
    read_file,
    takes,
    takes_ids,
    writes,
)
from ..output import exit_with, report, report_decision, report_of_several, warn
from ..stores import folder, in_stores, work, writing_store
from ..terminal.progress import drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.record import Record
    from ...results import Result


@escalation.command("claim", short_help="Take an escalation for review.")
@takes_ids(required=False)
@flag("--next", "take_next", "Take the most severe escalation that you may review; among equals, the oldest.")
@takes("--team", "TEAM", "With --next: only escalations of this team.")
@takes("--count", "N", "With --next: take up to this many.", type=Count(min=1))
@flag("--renew", "With an id: extend your claim by a whole lease, from now.")
@takes(
    "--claim-id",
    "TOKEN",
    "Your own token for this claim. The same token again is a repeat; a different one is a conflict.",
)
@PARTIAL
@proposes
@writes
@common_to_several
def claim_command(**given: Any) -> None:
    """Take an escalation for review. Only one reviewer can hold it at a time.

    Exits 0 if you hold it on the remote, 6 if somebody else holds it, and 7 if there is nothing to
    claim. The message says who holds it, or why there is nothing.

    --next also works over several stores. Name them with -C, once for each, or with kt.store in your
    git configuration, which is used if the current folder is in no store. It takes the most severe
    escalation of all stores. With --count there is one commit in each store, so some stores may
    succeed and others fail.
    """
    wanted = given["escalation_ids"]
    if (bool(wanted) or given["several"]) == given["take_next"]:
        raise Usage(problem="claim needs an id or --next", hint="give one of the two")
    if not given["take_next"] and (given["team"] or given["count"]):
        raise Usage(problem="--team and --count go with --next")
    if given["renew"] and given["take_next"]:
        raise Usage(problem="--renew goes with an id")
    if given["take_next"]:
        in_stores(
            given["repo"],
            lambda path: _claim({**given, "repo": path}, wanted),
            lambda paths: _claim_next_of_several(paths, given),
        )
    else:
        _claim({**given, "repo": folder(click.get_current_context(), given["repo"])}, wanted)


def _claim(given: dict[str, Any], wanted: list[str]) -> None:
    """Claim or renew claims in one store."""
    several = given["several"] or given["count"] is not None
    with writing_store(given) as store:
        if given["renew"]:
            result = store.renew_many(wanted, **commit_options(given))
        elif given["take_next"]:
            options = {key: given[key] for key in ("team", "claim_id", "branch")}
            result = store.claim_next(count=given["count"] or 1, **options)
        else:
            result = store.claim_many(wanted, **commit_options(given))
    _warn_of_lapsed(result, given)
    done = (
        f"{'renewed' if given['renew'] else 'claimed'} {{id}} (claim {{claim}}){{until}} in commit {{commit}}"
    )
    report(result, given["as_json"], several, done, _YOURS, "renew {id}" if given["renew"] else "claim {id}")


_YOURS = "{id} is yours already (claim {claim}){until}"


def _warn_of_lapsed(result: Result, given: dict[str, Any]) -> None:
    for before in result.replaced:
        if before.claim and not given["renew"] and not result.proposed:
            warn(f"{before.escalation_id}: the lapsed claim of {before.claim.claimed_by} is over")


def _claim_next_of_several(paths: Sequence[str], given: dict[str, Any]) -> None:
    """Claim the next escalations of several stores."""
    from ... import multistore

    if given["branch"] is not None:
        raise Usage(problem="--branch proposes in one store, and several are named", hint="name one with -C")
    with drawn() as progress:
        options = {key: given[key] for key in ("team", "claim_id", "lock_timeout", "retry_timeout")}
        options |= {"progress": progress, "on_effect": work.effects.append}
        taken = multistore.claim_next(paths, count=given["count"] or 1, **options)
    for path, error in taken.faults:
        warn(f"{path}: {error.message}")
    for _, result in taken.results:
        _warn_of_lapsed(result, given)
    report_of_several(
        taken,
        given["as_json"],
        given["count"] is not None,
        "claimed {id} (claim {claim}){until} in commit {commit}",
        _YOURS,
    )
    last = multistore.ending(taken.faults)
    # Claims in other stores stay, so only an unknown outcome changes the exit code; ^C does not.
    if last and isinstance(last.error, OutcomeUnknown):
        exit_with(last.error.exit_code)


@escalation.command("unclaim", short_help="Give an escalation that you hold back to the queue.")
@takes_ids()
@CLAIM_ID
@flag("--force", "Give back an escalation that somebody else holds. For admins; needs --reason.")
@takes("--reason", "TEXT", "With --force: the reason. It is added as a note.")
@PARTIAL
@proposes
@writes
@common
def unclaim_command(**given: Any) -> None:
    """Give an escalation that you hold back to the queue.

    With --force, an admin takes it away from its holder. Without a roster, anyone may do so.
    """
    wanted = given["escalation_ids"]
    if given["force"] != (given["reason"] is not None):
        raise Usage(problem="--force and --reason go together", hint="say why with --reason TEXT")
    with writing_store(given) as store:
        result = store.unclaim_many(wanted, force_reason=given["reason"], **commit_options(given))
    done, same = "gave {id} back in commit {commit}", "{id} is in the queue already"
    report(result, given["as_json"], given["several"], done, same, "give {id} back")


@escalation.command("resolve", short_help="Decide an escalation that you hold.")
@takes_ids()
@takes(
    "--outcome",
    "--resolution",
    "outcome",
    "OUTCOME",
    "approved, redacted, rewritten or denied. These verbs work too: approve, allow, redact, rewrite, deny, reject, block.",
    required=True,
    shell_complete=lambda _, __, begun: [word for word in DECISIONS if word.startswith(begun)],
)
@takes("--reason", "--note", "reason", "TEXT", "Why. The text is kept in history for ever.", required=True)
@chooses("--category", CATEGORIES, "What kind of case it was, for statistics.")
@CLAIM_ID
@takes("--shown", "DIGEST", "Refuse if the record has changed since `get` printed this digest (`shown`).")
@takes(
    "--amendment",
    "FILE",
    "With redacted or rewritten: what the request is released as, JSON or text; - reads stdin.",
)
@takes(
    "--media-type",
    "TYPE",
    "With --amendment: what the file holds (default: JSON if it parses as such, else text).",
)
@flag("--yes", "Do not ask for confirmation at a terminal.")
@PARTIAL
@proposes
@writes
@common
def resolve_command(**given: Any) -> None:
    """Decide an escalation that you hold, with an outcome and a reason.

    "approved" releases the request. "redacted" and "rewritten" release it with changes. "denied" does
    not release it. A resolved escalation never changes again.
    """
    wanted = given["escalation_ids"]
    amendment = None
    if given["amendment"] is not None:
        from ...actions import amendments

        data = read_file(given["amendment"])
        amendment = amendments.read(data, given["media_type"], name=called(given["amendment"]))
    elif given["media_type"] is not None:
        raise Usage(problem="--media-type goes with --amendment")
    with writing_store(given) as store:
        decide = partial(
            store.resolve_many,
            wanted,
            given["outcome"],
            given["reason"],
            category=given["category"],
            shown=given["shown"],
            amendment=amendment,
            **commit_options(given),
        )
        if not given["yes"] and sys.stdin.isatty() and sys.stderr.isatty():
            before = decide(dry_run=True)
            warn(*before.warnings)
            _confirm(before.replaced, given["outcome"])
        result = decide()
    report_decision(result, given["as_json"], given["several"])


def _confirm(records: Sequence[Record], outcome: str) -> None:
    """Ask for confirmation before these records are resolved. Raises Interrupted if the answer is no."""
    from ..terminal.keyboard import Keyboard

    if not records:
        return
    named = ", ".join(
        f"{record.escalation_id} ({record.summary or record.reason_code})" for record in records
    )
    keyboard = Keyboard()
    try:
        with keyboard.watched():
            meant = keyboard.agrees(f"Resolve {named} as {outcome}?")
    except (KeyboardInterrupt, EOFError):
        # The cursor is still behind the question.
        click.echo(err=True)
        raise Interrupted from None
    if not meant:
        raise Interrupted(says="not resolved, as you said")


@escalation.command("note", short_help="Add a note to an open escalation.")
@takes_ids(one=True)
@takes("--text", "TEXT", "The text of the note.", required=True)
@proposes
@writes
@common
def note_command(**given: Any) -> None:
    """Add a note to an open escalation. Reviewers see it with the escalation."""
    with writing_store(given) as store:
        result = store.note(given["escalation_id"], given["text"], **commit_options(given))
    done, same = "noted on {id} in commit {commit}", "{id} has that note already"
    report(result, given["as_json"], False, done, same, "add a note to {id}")
