"""The commands that manage a queue: assign, reopen, restore, sweep, compact."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from ...errors import Usage
from ...model.text import visible
from ..app import escalation
from ..options import (
    CLAIM_ID,
    PARTIAL,
    REASON,
    commit_options,
    common,
    flag,
    proposes,
    takes,
    takes_ids,
    takes_time,
    writes,
)
from ..output import as_json_of, attributes, put_json, report, unreadable, warn
from ..stores import writing_store


@escalation.command("assign", short_help="Hand an escalation to a user or a team.")
@takes_ids()
@takes("--to", "user", "USER", "Assign it to this user, by id or e-mail. The user then holds it.")
@takes("--team", "TEAM", "Put it into this team's queue.")
@REASON
@CLAIM_ID
@PARTIAL
@proposes
@writes
@common
def assign_command(**given: Any) -> None:
    """Hand an escalation to a user or a team. For the person who holds it, and for admins."""
    if (given["user"] is None) == (given["team"] is None):
        raise Usage(problem="assign needs --to USER or --team TEAM", hint="give one of the two")
    with writing_store(given) as store:
        to = {"user": given["user"], "team": given["team"]}
        result = store.assign_many(given["escalation_ids"], given["reason"], **to, **commit_options(given))
    whom = f"team {given['team']}" if given["team"] else "{holder}"
    done, same = f"assigned {{id}} to {whom} in commit {{commit}}", f"{{id}} is with {whom} already"
    report(result, given["as_json"], given["several"], done, same, f"assign {{id}} to {whom}")


@escalation.command("reopen", short_help="Raise a resolved escalation again, under a new id.")
@takes_ids(one=True)
@REASON
@writes
@common
def reopen_command(**given: Any) -> None:
    """Raise a resolved escalation again, as a new escalation. The resolved one stays as it is."""
    with writing_store(given) as store:
        result = store.reopen(given["escalation_id"], given["reason"])
    origin = visible(given["escalation_id"])
    done, same = (
        f"reopened {origin} as {{id}} in commit {{commit}}",
        f"{origin} is reopened as {{id}} already",
    )
    report(result, given["as_json"], False, done, same)


@escalation.command("restore", short_help="Bring back the last legal state of a damaged record.")
@takes_ids(one=True)
@REASON
@writes
@common
def restore_command(**given: Any) -> None:
    """Bring a damaged record back to its last legal state. For admins.

    A record that never had a legal state is deleted.
    """
    with writing_store(given) as store:
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
@flag("--dry-run", "Print what is due, and change nothing.")
@writes
@common
def sweep_command(**given: Any) -> None:
    """Apply all deadlines and leases that have passed, in one commit. Run it from cron or CI.

    An escalation that was not resolved in time expires, which does not release the request. If a
    claim's lease is over, the escalation goes back to the queue. An escalation that nobody claimed in
    time goes to its fallback. Two sweeps, one after the other or at once, do the work only once.
    """
    with writing_store(given) as store:
        swept = store.sweep(dry_run=given["dry_run"])
    result = swept.result
    warn(*result.warnings)
    for item in swept.invalid:
        warn(f"{item.path}: {item.error}; it was not swept")
    for failure in result.failed:
        warn(f"{failure.where} was not swept: {failure.error.summary}")
    if given["as_json"]:
        due = [
            {"escalation_id": one.before.escalation_id, "action": one.kind, "why": one.why}
            for one in swept.due
        ]
        told = {"due": due, "invalid": unreadable(swept.invalid), "dry_run": given["dry_run"]}
        put_json({**as_json_of(result, several=True), **told})
        return
    for one in swept.due:
        click.echo(f"{one.before.escalation_id}\t{one.kind}\t{visible(one.why)}")
    if given["dry_run"]:
        warn(f"{len(swept.due)} due; nothing was changed")
    else:
        where = f" in commit {(result.commit or '')[:12]}" if result.changed else ""
        warn(f"{len(swept.due)} swept{where}")


@escalation.command("compact", short_help="Move escalations resolved months ago into archives.")
@takes_time("--before", "Archive months that ended at least this long ago.", default="90d", show_default=True)
@flag("--dry-run", "Print what would be archived, and change nothing.")
@writes
@common
def compact_command(**given: Any) -> None:
    """Move escalations that were resolved months ago into archives. For admins.

    Archives keep a store with many escalations fast. Every record stays the same byte for byte, every
    command still finds it, and `verify` checks this. One commit makes at most 64 archives of 1 MiB. If
    there is more to archive, the command says so; then run it again.
    """
    with writing_store(given) as store:
        done = store.compact(timedelta(seconds=given["before"]), dry_run=given["dry_run"])
    warn(*done.result.warnings)
    for item in done.left:
        warn(f"{item.path}: {item.error}; it stays as it is")
    count = sum(done.archives.values())
    if given["as_json"]:
        put_json(
            {
                **attributes(done.result, "commit", "changed"),
                "dry_run": given["dry_run"],
                "compacted": count,
                "months": {month.replace("/", "-"): number for month, number in done.months.items()},
                "archives": list(done.archives),
                "left": unreadable(done.left),
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
