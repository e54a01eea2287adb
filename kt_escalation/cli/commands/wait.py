"""The commands that use decisions: wait, release, receipt."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...errors import AnswerIsNo, Usage
from ...model.vocabulary import RELEASING
from ..app import escalation
from ..options import common, flag, takes, takes_ids, takes_time, writes
from ..output import attributes, exit_with, put_json, warn, what_to_do
from ..stores import store_of, work, writing_store

if TYPE_CHECKING:
    from ...results import Decision
    from ...store import Store

F = TypeVar("F", bound=Callable[..., Any])


def _uses(function: F) -> F:
    """The options of commands that act on a decision."""
    for option in (
        flag(
            "--require-signatures",
            "Accept only steps that their authors signed, whatever the settings require.",
        ),
        flag(
            "--amended",
            "You apply amendments: you run what the decision says. Without this option, redacted and rewritten exit 6.",
        ),
        takes(
            "--release-id",
            "TOKEN",
            "Your own token for this release (default: a new one). If you repeat it, kt says that you already had the decision.",
        ),
        takes(
            "--digest",
            "DIGEST",
            "The digest of the action that you are going to run. If the record has another one, exits 6.",
        ),
    ):
        function = option(function)
    return function


@escalation.command("wait", short_help="Wait until an escalation is resolved.")
@takes_ids(one=True)
@takes_time("--timeout", "Give up after this long (default: wait for ever).")
@takes_time("--interval", "How often to ask the remote (default: every 0.5s at first, every 15s later).")
@flag(
    "--deadline-sweep",
    "When a deadline of this escalation passes, apply what is due for it, as `sweep` does.",
)
@flag("--release", "Take the decision for its one use, as `release` does.")
@_uses
@writes
@common
def wait_command(**given: Any) -> None:
    """Wait until an escalation is resolved, and print the decision as JSON.

    Exits 0 if you may run the request now, 1 if it was denied, has expired or was withdrawn, 6 if the
    decision may not be used in this way, and 8 if --timeout passed first. It asks the remote every half
    second at first, and every 15 seconds later.
    """
    # A program wants nothing but the answer. A person at a terminal wants to see that the command is not stuck.
    tell = warn if sys.stderr.isatty() else lambda _: None
    if given["deadline_sweep"]:
        # A sweep that has landed says nothing about the decision: the exit code is that of the wait.
        work.begin_session()
    if given["release"]:
        _release(given, tell, waits=True)
        return
    if given["release_id"] is not None:
        raise Usage(problem="--release-id goes with --release")
    work.changes = given["deadline_sweep"]
    with store_of(given["repo"]) as store:
        options = {key: given[key] for key in ("digest", "amended", "require_signatures", "interval")}
        ask = partial(store.wait, given["escalation_id"], tell=tell, **options)
        found = _waited(store, given, ask, tell)
    put_json(_answer(found))
    _end(found)


def _waited(
    store: Store, given: dict[str, Any], ask: Callable[..., Decision], tell: Callable[[str], None]
) -> Decision:
    """The result of ``ask``, which is called with a timeout. Sweeps meanwhile if requested."""
    if not given["deadline_sweep"]:
        return ask(timeout=given["timeout"])
    return store.sweeping(given["escalation_id"], given["timeout"], lambda left: ask(timeout=left), tell)


@escalation.command("release", short_help="Take a decision for its one use.")
@takes_ids(one=True)
@_uses
@writes
@common
def release_command(**given: Any) -> None:
    """Take a decision for its one use: nobody else can take it afterwards.

    Run the request only if this command exits 0 and says `changed`. If you repeat your own release, it exits
    0 too and says that you had the decision already. Then find out what happened, and do not run the request
    again. Exits 6 if no decision releases the request, or if the decision was released before, is too old, or
    is about another action.
    """
    _release(given, lambda _: None, waits=False)


def _release(given: dict[str, Any], tell: Callable[[str], object], *, waits: bool) -> None:
    def told(line: str) -> None:
        # The release id is printed before it is used, also for a program, so that it can find a lost answer.
        if "under release id" in line and given["release_id"] is None:
            warn(line)
        else:
            tell(line)

    with writing_store(given) as store:
        options = {key: given[key] for key in ("digest", "release_id", "amended", "require_signatures")}
        if waits:
            options |= {"interval": given["interval"], "tell": told}
            found = _waited(
                store, given, partial(store.wait_and_release, given["escalation_id"], **options), told
            )
        else:
            found = store.release(given["escalation_id"], **options, tell=told)
    # From here on the exit code is the outcome of the release.
    work.is_session = False
    warn(*found.warnings)
    if waits or given["as_json"]:
        put_json({**_answer(found), **attributes(found, "changed", "repeat", "release_commit")})
    elif found.release_id is None:
        click.echo(
            f"{found.escalation_id} is {found.outcome}, and not for one use, so nothing was written and no receipt is "
            f"needed: {what_to_do(found)}"
        )
    elif found.repeat:
        click.echo(
            f"{found.escalation_id} was released under {found.release_id} already; do not run it again"
        )
    else:
        commit = (found.release_commit or "")[:12]
        click.echo(
            f"released {found.escalation_id} under {found.release_id} in commit {commit}: {what_to_do(found)}"
        )
    _end(found)


@escalation.command("receipt", short_help="Record the result of a release.")
@takes_ids(one=True)
@takes("--status", "STATUS", "executed, failed or unknown.", required=True)
@takes("--result-digest", "DIGEST", "sha256: and the digest of the result, in hex.")
@takes("--release-id", "TOKEN", "Refuse if the release has another id.")
@takes("--reason", "TEXT", "What you know about the result. Required for an admin after unknown.")
@writes
@common
def receipt_command(**given: Any) -> None:
    """Record the result of your release. A receipt is final, except unknown.

    The receipt is your own statement: kt cannot see what the gateway did.
    """
    with writing_store(given) as store:
        options = {key: given[key] for key in ("result_digest", "reason", "release_id")}
        found = store.receipt(given["escalation_id"], given["status"], **options)
    warn(*found.warnings)
    if given["as_json"]:
        put_json(found.as_json())
        return
    if found.changed:
        click.echo(f"{found.escalation_id} is {found.receipt.status}, in commit {(found.commit or '')[:12]}")
    else:
        click.echo(f"{found.escalation_id} has that receipt already ({found.receipt.status})")


def _end(found: Decision) -> None:
    if found.outcome not in RELEASING:
        exit_with(AnswerIsNo.exit_code)


def _answer(found: Decision) -> dict[str, Any]:
    record = found.record.as_dict()
    record.pop("event_context", None)
    return {
        **found.as_json(),
        "do": what_to_do(found),
        "resolution": record["resolution"],
        "escalation": record,
        "path": found.path,
    }
