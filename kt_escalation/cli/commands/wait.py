"""The command for gateways: wait for a decision."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ...errors import AnswerIsNo
from ...model.vocabulary import RELEASING
from ..app import escalation
from ..options import SPAN, common, takes_ids
from ..output import put_json, warn
from ..stores import store_of

if TYPE_CHECKING:
    from ...results import Found

#: What the gateway should do, by outcome.
_DO = {
    "approved": "release the request as it is",
    "redacted": "release the request redacted, as the review's reason says",
    "rewritten": "release the request rewritten, as the review's reason says",
    "denied": "do not release the request",
    "expired": "do not release the request: nobody decided in time",
}


@escalation.command("wait", short_help="Wait until an escalation is resolved.")
@takes_ids(one=True)
@click.option(
    "--timeout", type=SPAN, metavar="TIME", help="Give up after this long (default: wait for ever)."
)
@common
@click.pass_context
def wait_command(
    ctx: click.Context, escalation_id: str, timeout: float | None, repo: str | None, as_json: bool
) -> None:
    """Wait until an escalation is resolved, and print the outcome as JSON.

    Exits 0 if the request may be released, 1 if it was denied or expired, and 8 if --timeout passed
    first. It asks the remote every half second at first, and every 15 seconds later.
    """
    del as_json  # the output is always JSON
    with store_of(ctx, repo) as store:
        # A program wants nothing but the answer. A person at a terminal wants to see that the command is not stuck.
        found = store.wait(escalation_id, timeout, warn if sys.stderr.isatty() else lambda _: None)
    put_json(_answer(found))
    resolution = found.record.resolution
    if resolution is None or resolution.outcome not in RELEASING:
        ctx.exit(AnswerIsNo.exit_code)


def _answer(found: Found) -> dict[str, Any]:
    record = found.record.as_dict()
    record.pop("event_context", None)
    outcome = found.record.resolution.outcome if found.record.resolution else "expired"
    return {
        "escalation_id": found.record.escalation_id,
        "outcome": outcome,
        "release": outcome in RELEASING,
        "do": _DO[outcome],
        "resolution": record["resolution"],
        "escalation": record,
        "path": found.path,
        "commit": found.commit,
    }
