"""The command that creates a store: init."""

from __future__ import annotations

import click

from ...errors import Usage
from ...model.text import visible
from ..app import escalation
from ..options import changes, chooses, common_from, takes
from ..output import on_terminal, put_json, warn
from ..stores import from_folder, work
from ..terminal.progress import drawn

_NEXT = """\
next, as you need it:
  raise an escalation   kt escalation raise --request-id ID --reason-code CODE
  set roles and rules   policies/roster.yaml and policies/settings.yaml, then kt policy lint
  refuse illegal steps  kt escalation hook install --server REPOSITORY, or kt escalation init --ci github (or gitlab)"""


@escalation.command("init", short_help="Create a store, in a new or an existing repository.")
@click.argument("directory", required=False, metavar="[DIR]")
@chooses(
    "--ci", ("github", "gitlab"), "Add a CI job that checks pull requests. Works for an existing store too."
)
@takes(
    "--install",
    "SPEC",
    "With --ci: what the job installs with pip, such as git+https://HOST/PATH@COMMIT. "
    "Without it, the job fails until you fill it in.",
)
@changes
@common_from("Make the store in this folder, or in DIR below it.")
def init_command(
    directory: str | None, ci: str | None, install: str | None, repo: str, as_json: bool
) -> None:
    """Create a store: a repository if there is none, sample policies, and the first commit.

    If the repository has commits, the store is added in one more commit. Existing files are never
    overwritten.
    """
    from ...store import Store

    if install is not None and ci is None:
        raise Usage(problem="--install goes with --ci")
    where = from_folder(repo, directory) if directory else repo
    with drawn() as progress:
        made = Store.init(where, ci=ci, install=install, progress=progress, on_effect=work.effects.append)
    warn(*made.warnings)
    if as_json:
        put_json({"path": where, "commit": made.commit, "changed": made.commit is not None})
    elif made.commit is None:
        click.echo(f"{visible(where)} is a store already{', with the check' if ci else ''}")
    elif made.new:
        click.echo(f"made a store in {visible(where)} (commit {made.commit[:12]})")
        if on_terminal():
            click.echo(_NEXT)
    else:
        click.echo(f"added the check for {ci} to {visible(where)} (commit {made.commit[:12]})")
