"""The commands that manage a queue: assign, reopen, restore, sweep, compact."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from ...errors import Usage
from ...model.text import visible
from ..app import escalation
from ..options import PARTIAL, SPAN, common, proposes, takes_ids, writes
from ..output import as_json_of, put_json, report, warn
from ..stores import writing_store

_REASON = click.option(
    "--reason", required=True, metavar="TEXT", help="Why. The text is kept in history for ever."
)


@escalation.command("assign", short_help="Hand an escalation to a user or a team.")
@takes_ids()
@click.option(
    "--to", "user", metavar="USER", help="Assign it to this user, by id or e-mail. The user then holds it."
)
@click.option("--team", metavar="TEAM", help="Put it into this team's queue.")
@_REASON
@click.option("--claim-id", metavar="TOKEN", help="Refuse if this is not the current claim.")
@PARTIAL
@proposes
@writes
@common
@click.pass_context
def assign_command(ctx: click.Context, /, **given: Any) -> None:
    """Hand an escalation to a user or a team. For the person who holds it, and for admins."""
    if (given["user"] is None) == (given["team"] is None):
        raise Usage(problem="assign needs --to USER or --team TEAM", hint="give one of the two")
    with writing_store(ctx, given) as store:
        result = store.assign_many(
            given["escalation_ids"],
            given["reason"],
            user=given["user"],
            team=given["team"],
            claim_id=given["claim_id"],
            partial=given["partial"],
            branch=given["branch"],
        )
    to = f"team {given['team']}" if given["team"] else "{holder}"
    report(
        result,
        given["as_json"],
        given["several"],
        f"assigned {{id}} to {to} in commit {{commit}}",
        f"{{id}} is with {to} already",
        f"assign {{id}} to {to}",
    )


@escalation.command("reopen", short_help="Raise a resolved escalation again, under a new id.")
@takes_ids(one=True)
@_REASON
@writes
@common
@click.pass_context
def reopen_command(ctx: click.Context, /, **given: Any) -> None:
    """Raise a resolved escalation again, as a new escalation. The resolved one stays as it is."""
    with writing_store(ctx, given) as store:
        result = store.reopen(given["escalation_id"], given["reason"])
    report(
        result,
        given["as_json"],
        False,
        f"reopened {visible(given['escalation_id'])} as {{id}} in commit {{commit}}",
        f"{visible(given['escalation_id'])} is reopened as {{id}} already",
    )


@escalation.command("restore", short_help="Bring back the last legal state of a damaged record.")
@takes_ids(one=True)
@_REASON
@writes
@common
@click.pass_context
def restore_command(ctx: click.Context, /, **given: Any) -> None:
    """Bring a damaged record back to its last legal state. For admins.

    A record that never had a legal state is deleted.
    """
    with writing_store(ctx, given) as store:
        result = store.restore(given["escalation_id"], given["reason"])
    report(result, given["as_json"], False, "restored {id} ({status}) in commit {commit}", "")
    if not given["as_json"]:
        if not result.records:
            commit = (result.commit or "")[:12]
            click.echo(
                f"deleted {visible(given['escalation_id'])}, which was never legal, in commit {commit}"
            )
        warn(
            "history keeps what was wrong: `verify` exits 1 until an admin accepts it with `kt policy waive`"
        )


@escalation.command("sweep", short_help="Apply all deadlines and leases that have passed.")
@click.option("--dry-run", is_flag=True, help="Print what is due, and change nothing.")
@writes
@common
@click.pass_context
def sweep_command(ctx: click.Context, /, **given: Any) -> None:
    """Apply all deadlines and leases that have passed, in one commit. Run it from cron or CI.

    An escalation that was not resolved in time expires, which does not release the request. If a
    claim's lease is over, the escalation goes back to the queue. An escalation that nobody claimed in
    time goes to its fallback. Two sweeps, one after the other or at once, do the work only once.
    """
    with writing_store(ctx, given) as store:
        swept = store.sweep(dry_run=given["dry_run"])
    result = swept.result
    for text in result.warnings:
        warn(text)
    for item in swept.invalid:
        warn(f"{item.path}: {item.error}; it was not swept")
    for failure in result.failed:
        warn(f"{failure.where} was not swept: {failure.error.summary}")
    if given["as_json"]:
        due = [
            {"escalation_id": one.before.escalation_id, "action": one.kind, "why": one.why}
            for one in swept.due
        ]
        put_json({**as_json_of(result, several=True), "due": due, "dry_run": given["dry_run"]})
        return
    for one in swept.due:
        click.echo(f"{one.before.escalation_id}\t{one.kind}\t{visible(one.why)}")
    if given["dry_run"]:
        warn(f"{len(swept.due)} due; nothing was changed")
    else:
        where = f" in commit {(result.commit or '')[:12]}" if result.changed else ""
        warn(f"{len(swept.due)} swept{where}")


@escalation.command("compact", short_help="Move escalations resolved months ago into archives.")
@click.option(
    "--before",
    type=SPAN,
    default="90d",
    show_default=True,
    metavar="TIME",
    help="Archive months that ended at least this long ago.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be archived, and change nothing.")
@writes
@common
@click.pass_context
def compact_command(ctx: click.Context, /, **given: Any) -> None:
    """Move escalations that were resolved months ago into archives. For admins.

    Archives keep a store with many escalations fast. Every record stays the same byte for byte, every
    command still finds it, and `verify` checks this. One commit makes at most 64 archives of 1 MiB. If
    there is more to archive, the command says so; then run it again.
    """
    with writing_store(ctx, given) as store:
        done = store.compact(timedelta(seconds=given["before"]), dry_run=given["dry_run"])
    for text in done.result.warnings:
        warn(text)
    for item in done.left:
        warn(f"{item.path}: {item.error}; it stays as it is")
    count = sum(done.archives.values())
    if given["as_json"]:
        put_json(
            {
                "commit": done.result.commit,
                "changed": done.result.changed,
                "dry_run": given["dry_run"],
                "compacted": count,
                "months": {month.replace("/", "-"): number for month, number in done.months.items()},
                "archives": list(done.archives),
                "left": [{"path": item.path, "error": item.error} for item in done.left],
                "more": done.more,
            }
        )
        return
    for path, number in done.archives.items():
        click.echo(f"{path}\t{number}")
    if given["dry_run"]:
        warn(f"{count} would be compacted; nothing was changed")
    elif done.result.changed:
        warn(f"{count} compacted in commit {(done.result.commit or '')[:12]}")
    else:
        warn("nothing to compact")
    if done.more:
        warn("there is more to compact; run the command again")
