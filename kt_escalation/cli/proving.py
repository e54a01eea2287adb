"""Commands for who checks: verify a history, check a pull request, and judge pushes on a server."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..core.text import plural, visible
from ..errors import AnswerIsNo, BadInput, Usage
from . import reports
from .app import SPAN, changes, common, escalation, folder, put_json, warn
from .progress import drawn

if TYPE_CHECKING:
    from ..core.verify import Violation
    from ..audit import Report

#: How long the server's hook may take, in seconds; hosts stop hooks that take longer.
HOOK_SECONDS = 4.0
_MEND = (
    "an admin brings a record back with `kt escalation restore --id ID --reason TEXT`, and accepts what cannot be "
    "undone in policies/waivers.yaml"
)
_TAKE_BACK = "take these commits out of the branch, and make the steps with kt, as the author"
FORMATS = ("text", "json", "junit", "github", "gitlab")


@escalation.command("verify")
@click.argument("range_", metavar="[RANGE]", required=False)
@click.option("--afresh", is_flag=True, help="Judge everything, also what this clone has found clean before.")
@click.option("--require-signatures", is_flag=True, help="Ask for signatures where the settings do not.")
@common
@click.pass_context
def verify_command(
    ctx: click.Context,
    range_: str | None,
    afresh: bool,
    require_signatures: bool,
    repo: str | None,
    as_json: bool,
) -> None:
    """Judge whether every step in history was legal, by somebody entitled.

    Without a range all of history up to HEAD; this clone remembers the last tip that was clean, and
    the next run looks at what is new. Exits 1 if there is a violation.
    """
    from .. import audit

    with drawn() as progress:
        report = audit.verify(
            folder(ctx, repo),
            range_,
            afresh=afresh,
            require_signatures=require_signatures,
            progress=progress,
        )
    _tell(report, "json" if as_json else "text", None, _MEND)
    _answer(ctx, report)


@escalation.command("check")
@click.argument("range_", metavar="[BASE..HEAD]", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="How to tell what was found (default text).",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Write the JSON, JUnit or GitLab report to this file; text still goes to the log.",
)
@click.option("--github", is_flag=True, help="The same as --format github.")
@common
@click.pass_context
def check_command(
    ctx: click.Context,
    range_: str | None,
    form: str | None,
    output: str | None,
    github: bool,
    repo: str | None,
    as_json: bool,
) -> None:
    """Judge what a pull request would bring in, by the policies of its base and this machine's clock.

    Without a range: what HEAD has that the remote's store branch has not. A record that the base has
    changed meanwhile is a violation too. Exits 1 if there is one.

    github prints annotations and appends to the step's summary; gitlab is a code quality report.
    """
    from .. import audit

    asked = {form} if form else set()
    asked |= ({"github"} if github else set()) | ({"json"} if as_json else set())
    if len(asked) > 1:
        raise Usage(problem=f"{' and '.join(sorted(asked))} cannot both be printed", hint="give one of them")
    chosen = asked.pop() if asked else "text"
    if output is not None and chosen in ("text", "github"):
        raise Usage(problem=f"-o goes with --format json, junit and gitlab, not with {chosen}")
    with drawn() as progress:
        report = audit.check(folder(ctx, repo), range_, now=datetime.now(UTC), progress=progress)
    _tell(report, chosen, output, _TAKE_BACK)
    _answer(ctx, report)


@escalation.group("hook")
def hook() -> None:
    """Put the check on a server."""


@hook.command("install")
@click.option("--server", "server", required=True, metavar="REPO", help="The bare repository on the server.")
@click.option(
    "--branch", metavar="NAME", help="Guard this branch (kt.branch there); else the one that HEAD names."
)
@click.option("--root", metavar="DIR", help="The store is in this folder of it (kt.root there).")
@click.option(
    "--pusher-from",
    metavar="VAR",
    help="The environment variable in which the server names who pushes; a push without it is refused.",
)
@click.option(
    "--timeout", type=SPAN, metavar="TIME", help="Refuse what cannot be judged within this long (4s)."
)
@changes
@common
def install_command(
    server: str,
    branch: str | None,
    root: str | None,
    pusher_from: str | None,
    timeout: float | None,
    repo: str | None,
    as_json: bool,
) -> None:
    """Install a pre-receive hook that refuses any push of an illegal step to the store branch.

    GL_USERNAME, REMOTE_USER and GITEA_PUSHER_NAME are known as the pusher's name.
    """
    del repo
    from .. import audit

    if pusher_from is not None and not _VARIABLE.fullmatch(pusher_from):
        raise BadInput(
            problem=f"--pusher-from is {pusher_from[:40]!r}, which is no name of a variable; give one such as REMOTE_USER"
        )
    options = [*(["--pusher-from", pusher_from] if pusher_from else [])]
    options += ["--timeout", f"{timeout:.0f}s"] if timeout is not None else []
    command = [sys.executable, "-m", "kt_escalation", *_RECEIVE, *options]
    done = verdict.install(server, command, branch=branch, root=root)
    for text in done.warnings:
        warn(text)
    if as_json:
        put_json({"hook": str(done.path), "changed": True, "branch": done.branch, "root": done.root})
    else:
        guarded = f"the branch {done.branch}" if done.branch else "no branch"
        inside = f", the store in {done.root}" if done.root else ""
        click.echo(visible(f"installed {done.path}; it guards {guarded}{inside}"))


_RECEIVE = ("escalation", "hook", "pre-receive")
# What a shell can export (POSIX, 8.1, environment variable definition).
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PUSHER_NAMES = ("GL_USERNAME", "REMOTE_USER", "GITEA_PUSHER_NAME")


@hook.command("pre-receive", hidden=True)
@click.option("--pusher-from", metavar="VAR", help="As `hook install` was given it.")
@click.option("--timeout", type=SPAN, help="As `hook install` was given it (4s).")
@click.pass_context
def receive_command(ctx: click.Context, pusher_from: str | None, timeout: float | None) -> None:
    """What the installed hook runs: old id, new id and ref of each update on stdin."""
    from .. import audit

    # GitLab shows on its pages only what begins so (GitLab documentation, server hooks).
    lead = "GL-HOOK-ERR: " if os.environ.get("GL_REPOSITORY") or os.environ.get("GL_USERNAME") else ""
    refused = False
    with _limited(HOOK_SECONDS if timeout is None else timeout, lead):
        updates = [(old, new, ref) for old, new, ref in (line.split() for line in sys.stdin)]
        names = (pusher_from,) if pusher_from else _PUSHER_NAMES
        pusher = next((os.environ[name] for name in names if os.environ.get(name)), None)
        judged = audit.receive(
            ".",
            updates,
            now=datetime.now(UTC),
            pusher=pusher,
            # Asked for by name, it must be there: a server that lost the setting would let everybody in.
            anonymous=pusher_from is None,
        )
        for line in judged:
            click.echo(f"{lead}kt: {visible(line)}", err=True)
            refused = True
    if refused:
        ctx.exit(AnswerIsNo.exit_code)


@contextmanager
def _limited(seconds: float, lead: str) -> Iterator[None]:
    """Refuse the push, by ending this process, if what is done here takes longer than so many seconds.

    Whatever it is that takes long: one huge commit, git itself, or what git asks about a signature.
    """

    def refuse() -> None:
        click.echo(
            f"{lead}kt: this push cannot be judged within {seconds:g} s; push it in smaller parts", err=True
        )
        os._exit(AnswerIsNo.exit_code)

    timer = threading.Timer(seconds, refuse)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell(report: Report, form: str, output: str | None, remedy: str) -> None:
    """Print a report, or write it to a file and print its text."""
    whole = _written(report, form)
    if whole is not None and output is not None:
        try:
            with open(output, "w", encoding="utf-8") as file:  # noqa: PTH123 - a name from the command line
                file.write(whole)
        except OSError as error:
            raise BadInput(problem=f"{output}: {error.strerror}") from None
    if whole is not None and output is None:
        click.echo(whole, nl=False)
    elif form == "github":
        for line in reports.for_github(reports.notes(report)):
            click.echo(line)
        left = reports.write_summary(report, _summary(report))
        if left:
            warn(left)
    else:
        from ..audit import told

        for offence in report.violations:
            click.echo(visible(told(offence)))
    if form != "json" or output is not None:
        for note in report.notes:
            warn(f"note: {note}")
        if report.violations:
            warn(f"what to do: {remedy}")
        warn(_summary(report))


def _written(report: Report, form: str) -> str | None:
    """The report in a form that is a document of its own, None for text and for GitHub."""
    if form == "json":
        return json.dumps(_as_json(report), indent=2) + "\n"
    if form == "junit":
        return reports.junit(report, _summary(report))
    return reports.code_quality(report) if form == "gitlab" else None


def _answer(ctx: click.Context, report: Report) -> None:
    if not report.clean:
        ctx.exit(AnswerIsNo.exit_code)


def _summary(report: Report) -> str:
    since = f" since {report.since[:12]}" if report.since else ""
    steps, commits = plural(report.steps, "step"), plural(report.commits, "commit")
    people = plural(len(report.people), "person", "people")
    imported = f", {plural(report.imported, 'record')} imported" if report.imported else ""
    waived = f", {len(report.waived)} waived" if report.waived else ""
    looked_at = f"{steps} in {commits}{since} by {people}{imported}"
    signatures = report.signatures
    said = [
        f"{count} of the commits {what}"
        for count, what in (
            (signatures.held, "signed as required"),
            (signatures.unasked, "signed unasked and not checked"),
            (signatures.unsigned, "unsigned (a name without a signature is a claim, not proof)"),
        )
        if count
    ]
    return f"{looked_at}: {'; '.join([plural(len(report.violations), 'violation') + waived, *said])}"


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "ok": report.clean,
        "revision": report.revision,
        "since": report.since,
        "commits": report.commits,
        "steps": report.steps,
        "imported": report.imported,
        "signatures": asdict(report.signatures),
        "people": list(report.people),
        "violations": [_offence(offence) for offence in report.violations],
        "waived": [_offence(offence) for offence in report.waived],
        "notes": list(report.notes),
    }


def _offence(offence: Violation) -> dict[str, Any]:
    plain = {
        "commit": offence.commit,
        "author": offence.author,
        "path": offence.path,
        "escalation_id": offence.escalation_id,
        "rule": offence.rule,
        "expected": offence.expected,
    }
    return {key: value for key, value in plain.items() if value is not None}
