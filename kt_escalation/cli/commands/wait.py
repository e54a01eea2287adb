"""The command for gateways: wait for a decision."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ...errors import AnswerIsNo
from ...model.vocabulary import RELEASING
from ..app import SPAN, common, escalation, put_json, store_of, takes_ids, warn

if TYPE_CHECKING:
    from ...results import Found

#: What the gateway should do, by outcome.
_DO = {
    "approved": "release the request as it is",
    "redacted": "release the request redacted, by the review's reason",
    "rewritten": "release the request rewritten, by the review's reason",
    "denied": "do not release the request",
    "expired": "do not release the request: nobody decided in time",
}


@escalation.command("wait", short_help="Wait for the decision on an escalation")
@takes_ids(one=True)
@click.option("--timeout", type=SPAN, metavar="TIME", help="Give up after this long; without it, never.")
@common
@click.pass_context
def wait_command(
    ctx: click.Context, escalation_id: str, timeout: float | None, repo: str | None, as_json: bool
) -> None:
    """Wait until an escalation is resolved, and print how, as JSON.

    Exit 0 means that the request may be released, 1 that it was denied or expired, 8 that --timeout
    was over first. The remote is asked every half second at first, later every fifteen.
    """
    del as_json  # it is JSON in any case
    with store_of(ctx, repo) as store:
        # A caller's program wants the answer alone; who sits there wants to see that nothing hangs.
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
