"""Commands that judge: `verify` a history, and `check` a pull request."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ...audit import formats
from ...errors import AnswerIsNo, BadInput, Usage
from ...model.text import plural, visible
from ..app import escalation
from ..options import VARIABLE, chooses, common, flag, takes
from ..output import attributes, exit_with, warn
from ..terminal.progress import drawn

if TYPE_CHECKING:
    from ... import audit
    from ...audit import Report
    from ...rules.judge_step import Violation

_MEND = (
    "an admin brings a record back with `kt escalation restore --id ID --reason TEXT`, and accepts what cannot be "
    "undone with `kt policy waive`"
)
_NOBODY_PROVEN = "nothing proves names: signatures are not required, and who pushed is not known here"
_TAKE_BACK = "take these commits out of the branch, and make the steps with kt, as the author"
FORMATS = ("text", "json", "junit", "github", "gitlab")


@escalation.command("verify", short_help="Check that every step in history was legal.")
@click.argument("range_", metavar="[RANGE]", required=False)
@flag("--afresh", "Judge all of history again, also what this clone has verified.")
@flag("--require-signatures", "Require signatures, whatever the settings say.")
@takes("--contains", "COMMIT", "Fail unless history goes through this commit, which you know from elsewhere.")
@common
def verify_command(range_: str | None, repo: str, as_json: bool, **given: Any) -> None:
    """Check that every step in history was legal, and made by a person who was allowed to make it.

    Without a range, it judges all of history up to HEAD. This clone remembers the last tip without a
    violation, so the next run judges only what is new. Exits 1 if there is a violation.
    """
    from ... import audit

    with drawn() as progress:
        report = audit.verify(repo, range_, progress=progress, **given)
    _tell(report, "json" if as_json else "text", None, _MEND)
    _answer(report)


@escalation.command("check", short_help="Judge what a pull request would bring in.")
@click.argument("range_", metavar="[BASE..HEAD]", required=False)
@chooses("--format", "form", FORMATS, "How to print the result (default text).")
@takes(
    "-o",
    "--output",
    "FILE",
    "Write the JSON, JUnit or GitLab report to this file. The text is still printed.",
)
@takes(
    "--actor-from",
    "actor_from",
    "VAR",
    "The environment variable that names who sent the request. They must have made every step in it. May be repeated.",
    multiple=True,
)
@takes(
    "--logins",
    "FORGE",
    "These names are logins of this forge (github, gitlab, ...). They are compared with the roster's logins, not with ids or e-mails.",
)
@flag("--strict", "A change of the files that run this check is a violation.")
@chooses(
    "--method",
    ["merge", "rebase", "squash"],
    "How the request will be merged (default: as git would merge it).",
)
@common
def check_command(range_: str | None, output: str | None, as_json: bool, **given: Any) -> None:
    """Judge what a pull request would bring in, by the policies of its base and this machine's clock.

    Without a range, it judges the commits of HEAD that the remote's store branch does not have. It is
    also a violation if the base has changed the same record meanwhile. Exits 1 if there is a violation.

    --format github prints annotations and appends to the step's summary; gitlab prints a code quality
    report.
    """
    from ... import audit

    asked = {given["form"]} if given["form"] else set()
    asked |= {"json"} if as_json else set()
    if len(asked) > 1:
        raise Usage(problem=f"{' and '.join(sorted(asked))} cannot both be printed", hint="give one of them")
    chosen = asked.pop() if asked else "text"
    if output is not None and chosen in ("text", "github"):
        raise Usage(problem=f"-o goes with --format json, junit and gitlab, not with {chosen}")
    with drawn() as progress:
        options = {"method": given["method"], "strict": given["strict"], "progress": progress}
        actors = _actors(given["actor_from"], given["logins"])
        report = audit.check(given["repo"], range_, now=datetime.now(UTC), actors=actors, **options)
    _tell(report, chosen, output, _TAKE_BACK)
    _answer(report)


def _actors(variables: tuple[str, ...], forge: str | None) -> list[audit.Sender] | None:
    """The people who sent a pull request, from the variables that name them; None without --actor-from.

    Raises BadInput.
    """
    from ... import audit
    from ...policies.roster import is_forge

    if forge is not None and not is_forge(forge):
        raise BadInput(problem=f"--logins is {forge[:40]!r}, which is not a forge; give one such as github")
    if forge is not None and not variables:
        raise Usage(problem="--logins goes with --actor-from VAR")
    if not variables:
        return None
    found = []
    for name in variables:
        if not VARIABLE.fullmatch(name):
            raise BadInput(problem=f"--actor-from is {name[:40]!r}, which is not the name of a variable")
        value = os.environ.get(name, "").strip()
        if not value:
            raise BadInput(
                problem=f"{name} is empty or not set, so nobody knows who sent the request",
                hint="let the job set it, or leave --actor-from out and let nothing rest on names",
            )
        found.append(audit.Sender(value, forge))
    return found


def _tell(report: Report, form: str, output: str | None, remedy: str) -> None:
    """Print a report. If it goes to a file, print its text form as well."""
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
        for line in formats.for_github(formats.notes(report)):
            click.echo(line)
        left = formats.write_summary(report, _summary(report))
        if left:
            warn(left)
    else:
        from ...audit import violation_line

        for violation in report.violations:
            click.echo(visible(violation_line(violation)))
    if form != "json" or output is not None:
        warn(*(f"note: {note}" for note in report.notes))
        if report.violations:
            warn(f"what to do: {remedy}")
        warn(_summary(report))


def _written(report: Report, form: str) -> str | None:
    """The report as a separate document, or None for text and for GitHub."""
    if form == "json":
        return json.dumps(_as_json(report), indent=2) + "\n"
    if form == "junit":
        return formats.junit(report, _summary(report))
    return formats.code_quality(report) if form == "gitlab" else None


def _answer(report: Report) -> None:
    if not report.clean:
        exit_with(AnswerIsNo.exit_code)


def _summary(report: Report) -> str:
    since = f" since {report.since[:12]}" if report.since else ""
    steps, commits = plural(report.steps, "step"), plural(report.commits, "commit")
    people = plural(len(report.people), "person", "people")
    imported = f", {plural(report.imported, 'record')} imported" if report.imported else ""
    waived = f", {len(report.waived)} waived" if report.waived else ""
    looked_at = f"{steps} in {commits}{since} by {people}{imported}"
    signatures = report.signatures
    unsigned = "unsigned" if report.nobody_proven else "unsigned (a name without a signature is not proven)"
    said = [
        f"{count} of the commits {what}"
        for count, what in (
            (signatures.held, "signed as required"),
            (signatures.unasked, "signed unasked and not checked"),
            (signatures.unsigned, unsigned),
        )
        if count
    ]
    if report.nobody_proven:
        said.append(_NOBODY_PROVEN)
    return f"{looked_at}: {'; '.join([plural(len(report.violations), 'violation') + waived, *said])}"


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "ok": report.clean,
        **attributes(report, "revision", "since", "commits", "steps", "imported"),
        "signatures": asdict(report.signatures),
        "people": list(report.people),
        "violations": [_violation_as_json(violation) for violation in report.violations],
        "waived": [_violation_as_json(violation) for violation in report.waived],
        "notes": list(report.notes),
        "nobody_proven": report.nobody_proven,
    }


def _violation_as_json(violation: Violation) -> dict[str, Any]:
    plain = attributes(violation, "commit", "author", "path", "escalation_id", "rule", "expected")
    return {key: value for key, value in plain.items() if value is not None}
