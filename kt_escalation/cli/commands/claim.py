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
    PARTIAL,
    Count,
    called,
    common,
    common_to_several,
    proposes,
    read_file,
    takes_ids,
    writes,
)
from ..output import report, report_decision, report_of_several, warn
from ..stores import in_stores, only_one, work, writing_store
from ..terminal.progress import drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.record import Record
    from ...results import Result


@escalation.command("claim", short_help="Take an escalation for review.")
@takes_ids(required=False)
@click.option(
    "--next",
    "take_next",
    is_flag=True,
    help="Take the most severe escalation that you may review; among equals, the oldest.",
)
@click.option("--team", metavar="TEAM", help="With --next: only escalations of this team.")
@click.option("--count", type=Count(min=1), metavar="N", help="With --next: take up to this many.")
@click.option("--renew", is_flag=True, help="With an id: extend your claim by a whole lease, from now.")
@click.option(
    "--claim-id",
    metavar="TOKEN",
    help="Your own token for this claim. The same token again is a repeat; a different one is a conflict.",
)
@PARTIAL
@proposes
@writes
@common_to_several
@click.pass_context
def claim_command(ctx: click.Context, /, **given: Any) -> None:
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
            ctx,
            given["repo"],
            lambda path: _claim(ctx, {**given, "repo": path}, wanted),
            lambda paths: _claim_next_of_several(ctx, paths, given),
        )
    else:
        _claim(ctx, {**given, "repo": only_one(given["repo"])}, wanted)


def _claim(ctx: click.Context, given: dict[str, Any], wanted: list[str]) -> None:
    """Claim or renew claims in one store."""
    several = given["several"] or given["count"] is not None
    with writing_store(ctx, given) as store:
        if given["renew"]:
            result = store.renew_many(
                wanted, claim_id=given["claim_id"], partial=given["partial"], branch=given["branch"]
            )
        elif given["take_next"]:
            result = store.claim_next(
                team=given["team"],
                count=given["count"] or 1,
                claim_id=given["claim_id"],
                branch=given["branch"],
            )
        else:
            result = store.claim_many(
                wanted, claim_id=given["claim_id"], partial=given["partial"], branch=given["branch"]
            )
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


def _claim_next_of_several(ctx: click.Context, paths: Sequence[str], given: dict[str, Any]) -> None:
    """Claim the next escalations of several stores."""
    from ... import multistore

    if given["branch"] is not None:
        raise Usage(problem="--branch proposes in one store, and several are named", hint="name one with -C")
    with drawn() as progress:
        taken = multistore.claim_next(
            paths,
            team=given["team"],
            count=given["count"] or 1,
            claim_id=given["claim_id"],
            lock_timeout=given["lock_timeout"],
            retry_timeout=given["retry_timeout"],
            progress=progress,
            on_effect=work.effects.append,
        )
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
        ctx.exit(last.error.exit_code)


@escalation.command("unclaim", short_help="Give an escalation that you hold back to the queue.")
@takes_ids()
@click.option("--claim-id", metavar="TOKEN", help="Refuse if this is not the current claim.")
@click.option(
    "--force",
    is_flag=True,
    help="Give back an escalation that somebody else holds. For admins; needs --reason.",
)
@click.option("--reason", metavar="TEXT", help="With --force: the reason. It is added as a note.")
@PARTIAL
@proposes
@writes
@common
@click.pass_context
def unclaim_command(ctx: click.Context, /, **given: Any) -> None:
    """Give an escalation that you hold back to the queue.

    With --force, an admin takes it away from its holder. Without a roster, anyone may do so.
    """
    wanted = given["escalation_ids"]
    if given["force"] != (given["reason"] is not None):
        raise Usage(problem="--force and --reason go together", hint="say why with --reason TEXT")
    with writing_store(ctx, given) as store:
        result = store.unclaim_many(
            wanted,
            claim_id=given["claim_id"],
            force_reason=given["reason"],
            partial=given["partial"],
            branch=given["branch"],
        )
    several = given["several"]
    done, same = "gave {id} back in commit {commit}", "{id} is in the queue already"
    report(result, given["as_json"], several, done, same, "give {id} back")


@escalation.command("resolve", short_help="Decide an escalation that you hold.")
@takes_ids()
@click.option(
    "--outcome",
    "--resolution",
    "outcome",
    required=True,
    metavar="OUTCOME",
    shell_complete=lambda _, __, begun: [word for word in DECISIONS if word.startswith(begun)],
    help="approved, redacted, rewritten or denied. These verbs work too: approve, allow, redact, rewrite, deny, reject, block.",
)
@click.option(
    "--reason",
    "--note",
    "reason",
    required=True,
    metavar="TEXT",
    help="Why. The text is kept in history for ever.",
)
@click.option("--category", type=click.Choice(CATEGORIES), help="What kind of case it was, for statistics.")
@click.option("--claim-id", metavar="TOKEN", help="Refuse if this is not the current claim.")
@click.option(
    "--shown",
    metavar="DIGEST",
    help="Refuse if the record has changed since `get` printed this digest (`shown`).",
)
@click.option(
    "--amendment",
    metavar="FILE",
    help="With redacted or rewritten: what the request is released as, JSON or text; - reads stdin.",
)
@click.option(
    "--media-type",
    metavar="TYPE",
    help="With --amendment: what the file holds (default: JSON if it parses as such, else text).",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation at a terminal.")
@PARTIAL
@proposes
@writes
@common
@click.pass_context
def resolve_command(ctx: click.Context, /, **given: Any) -> None:
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
    with writing_store(ctx, given) as store:
        decide = partial(
            store.resolve_many,
            wanted,
            given["outcome"],
            given["reason"],
            category=given["category"],
            claim_id=given["claim_id"],
            shown=given["shown"],
            amendment=amendment,
            partial=given["partial"],
            branch=given["branch"],
        )
        if not given["yes"] and sys.stdin.isatty() and sys.stderr.isatty():
            before = decide(dry_run=True)
            for text in before.warnings:
                warn(text)
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
@click.option("--text", required=True, metavar="TEXT", help="The text of the note.")
@proposes
@writes
@common
@click.pass_context
def note_command(ctx: click.Context, /, **given: Any) -> None:
    """Add a note to an open escalation. Reviewers see it with the escalation."""
    with writing_store(ctx, given) as store:
        result = store.note(given["escalation_id"], given["text"], branch=given["branch"])
    done, same = "noted on {id} in commit {commit}", "{id} has that note already"
    report(result, given["as_json"], False, done, same, "add a note to {id}")
