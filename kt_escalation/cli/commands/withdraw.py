"""The other commands for gateways: withdraw, digest."""

from __future__ import annotations

from typing import Any

import click

from ...errors import BadInput
from ..app import escalation
from ..options import (
    PARTIAL,
    REASON,
    called,
    commit_options,
    common,
    flag,
    proposes,
    read_file,
    takes,
    takes_ids,
    writes,
)
from ..output import put_json, report
from ..stores import writing_store


@escalation.command("withdraw", short_help="Take back an escalation that nobody needs to decide any more.")
@takes_ids()
@REASON
@PARTIAL
@proposes
@writes
@common
def withdraw_command(**given: Any) -> None:
    """Resolve an open escalation as withdrawn. Nothing is released.

    For the person or gateway who raised it, and for admins.
    """
    with writing_store(given) as store:
        result = store.withdraw_many(given["escalation_ids"], given["reason"], **commit_options(given))
    done, same = "withdrew {id} in commit {commit}", "{id} is withdrawn by you already"
    report(result, given["as_json"], given["several"], done, same, "withdraw {id}")


@escalation.command("digest", short_help="Print the digest of an action, for action.digest.")
@takes("--kind", "KIND", "The kind of action, such as tool.call.", required=True)
@takes("--name", "NAME", "The name of the tool or model.", required=True)
@takes(
    "--key-file",
    "FILE",
    "Make a keyed digest: the key is this file (without a line feed at its end). Then nobody can guess a short input.",
)
@flag("--json", "as_json", "Print JSON. Errors are JSON on stderr.")
@click.argument("file", default="-", metavar="[FILE]")
def digest_command(kind: str, name: str, key_file: str | None, as_json: bool, file: str) -> None:
    """Print the digest of what will be run: FILE holds its input as JSON; - or nothing reads stdin.

    The digest covers the RFC 8785 form of {kind, name, input}.
    """
    from ...actions import inputs
    from ...model.digests import NotIJson
    from ...storage import yaml_text

    key = None
    if key_file is not None:
        key = read_file(key_file).removesuffix(b"\n").removesuffix(b"\r")
        if not key:
            raise BadInput(problem=f"{key_file} is empty, and an empty key keeps nothing secret")
    try:
        found = inputs.action_digest(kind, name, yaml_text.load_json(read_file(file)), key)
    except (yaml_text.Malformed, NotIJson) as error:
        raise BadInput(problem=f"{called(file)}: {error}") from None
    if as_json:
        put_json({"digest": found})
    else:
        click.echo(found)
