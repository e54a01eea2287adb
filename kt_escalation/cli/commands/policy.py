"""`kt policy`: lint, route, replay, waive, schema."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ...audit.formats import Annotation, for_github
from ...errors import AnswerIsNo
from ...model.text import plural, visible
from ...model.times import format_duration
from ...model.value import plain
from ...model.vocabulary import SEVERITIES
from ...reporting.plain_text import whom
from ..app import policy
from ..options import chooses, common, flag, proposes, read_time, takes, writes
from ..output import attributes, change_as_json, exit_with, put_json, request_line, warn
from ..stores import store_of, writing_store
from ..terminal.progress import drawn

if TYPE_CHECKING:
    from ...actions.policy import Explanation, Moved
    from ...model.record import Requires
    from ...policies.policy_file import Fault
    from ...policies.policy_set import Policies


@policy.command("lint", short_help="Find all faults in the policy files.")
@flag("--github", "Print GitHub workflow annotations.")
@flag("--strict", "Exit 1 for a warning, too.")
@common
def lint_command(github: bool, strict: bool, repo: str, as_json: bool) -> None:
    """Report every fault in policies/ at once, as `file:line:column: message`.

    Reads the files in the folder, committed or not. Exits 1 if there is a fault. A setting that is
    legal but probably a mistake gives a warning; with --strict, a warning exits 1 as well.
    """
    from ...actions import policy as policies

    linted = policies.lint(repo)
    faults = linted.faults
    if as_json:
        is_ok = not (faults or (strict and linted.warnings))
        put_json({"ok": is_ok, "faults": [*map(_fault, faults)], "warnings": [*map(_fault, linted.warnings)]})
    elif github:
        for line in (*for_github(_notes(faults)), *for_github(_notes(linted.warnings), "warning")):
            click.echo(line)
    else:
        for fault in faults:
            click.echo(visible(str(fault)))
    for warning in linted.warnings:
        warn(f"warning: {warning}")
    refused = strict and linted.warnings
    found = f"{plural(len(faults), 'fault')} found" if faults else "no fault found"
    warned = f", but {plural(len(linted.warnings), 'warning')}, which --strict refuses" if refused else ""
    warn(f"{found}{warned}")
    if faults or refused:
        exit_with(AnswerIsNo.exit_code)


def _notes(faults: Iterable[Fault]) -> list[Annotation]:
    return [Annotation(it.file, it.problem, it.line or 0, it.column or 0) for it in faults]


def _fault(fault: Fault) -> dict[str, Any]:
    return {**attributes(fault, "file", "line", "column"), "message": fault.problem}


@policy.command("route", short_help="Explain where an escalation would go, and why.")
@takes("--provider", "ID", "The provider target's id.")
@takes("--model", "NAME", "The requested model.")
@chooses("--severity", SEVERITIES, "How urgent it is (default medium).")
@takes("--reason-code", "CODE", "Why a human is asked.")
@takes("--policy", "KIND", "The kind of policy that escalated.")
@takes("--policies", "DIR", "Use the policies in this folder instead of the committed ones.")
@takes("--rev", "REV", "Use the policies of this revision.")
@common
def route_command(**given: Any) -> None:
    """Explain where an escalation would go: which rules were tried, which one decided, and why."""
    from ...actions import policy as policies

    keys = {key: given[key] for key in ("provider", "model", "severity", "reason_code", "policy")}
    found = policies.explain(_policies(given), keys)
    if given["as_json"]:
        put_json(_explained(found))
        return
    for tried in found.tried:
        click.echo(f"{'->' if tried.won else '  '} {visible(tried.rule)}: {visible(tried.why)}")
    click.echo(f"goes to {visible(whom(found.route))} (by {visible(found.route.source)})")
    click.echo(f"asks for {_asks(found.requires)}")


@policy.command("replay", short_help="Show which past escalations changed policies would move.")
@takes("--policies", "DIR", "The folder with the changed policies.", required=True)
@takes("--since", "TIME", "Only escalations created since then: 7d, or an RFC 3339 time.")
@takes("--rev", "REV", "Read the escalations of this revision.")
@common
def replay_command(**given: Any) -> None:
    """Route past escalations by changed policies, and show those that would go elsewhere.

    The committed policies are the comparison. Escalations that the gateway itself routed are left
    out, because no policy decides their route.
    """
    from ...actions import policy as policies

    other = policies.read(given["policies"])
    since = read_time(given["since"], datetime.now(UTC))
    with drawn() as progress:
        looked_at, moved = policies.replay(given["repo"], other, since, given["rev"], progress)
    if given["as_json"]:
        put_json({"looked_at": looked_at, "moved": [*map(_moved, moved)]})
        return
    for one in moved:
        was = f"{whom(one.was.route)}, {_asks(one.was.requires)}"
        would_be = f"{whom(one.would_be.route)}, {_asks(one.would_be.requires)}"
        click.echo(f"{one.record.escalation_id}\t{visible(was)}\t->\t{visible(would_be)}")
    warn(f"{len(moved)} of {looked_at} would have had another route or other requirements")


@policy.command("waive", short_help="Accept a violation that cannot be undone.")
@takes("--commit", "ID", "The whole id of the commit that `verify` names.", required=True)
@takes("--rule", "RULE", "The rule that the commit breaks.", required=True)
@takes("--path", "PATH", "The file that `verify` names.", required=True)
@takes("--reason", "TEXT", "Why you accept the violation.", required=True)
@proposes
@writes
@common
def waive_command(**given: Any) -> None:
    """Accept a violation that cannot be undone. For admins.

    Adds an entry to policies/waivers.yaml in a separate commit, and leaves the other entries as they
    are. `verify --json` prints the commit, rule and path of each violation. A waiver does not release
    a request: `wait` still refuses an escalation that was resolved against the rules.
    """
    keys = {key: given[key] for key in ("commit", "rule", "path", "reason")}
    with writing_store(given) as store:
        result = store.waive(**keys, branch=given["branch"])
    warn(*result.warnings)
    what = f"{keys['rule']} of commit {keys['commit'][:12]} ({keys['path']})"
    if given["as_json"]:
        put_json({"waiver": keys, **change_as_json(result)})
    elif result.proposed:
        already = " already" if result.found else ""
        click.echo(visible(f"proposed to waive {what} on branch {result.branch}{already}"))
        click.echo(visible(request_line(result)))
    elif result.changed:
        click.echo(visible(f"waived {what} in commit {(result.commit or '')[:12]}"))
    else:
        click.echo(visible(f"{what} is waived already"))


@policy.command("schema", short_help="Print the JSON Schema of a policy file.")
@click.argument("file", type=click.Choice(("roster", "settings", "waivers", "pack")))
@common
def schema_command(file: str, **_: Any) -> None:
    """Print the JSON Schema of roster.yaml, settings.yaml, waivers.yaml or a policy pack.

    Editors and linters can check your files with it. The schema of a pack describes the keys that kt
    reads, and allows all others, which belong to the gateway. `kt policy lint` also finds faults that
    a schema cannot describe, such as a team that is not in the roster.
    """
    from ...policies.policy_set import schema_of

    # The output is always JSON, and no store is needed.
    put_json(schema_of(file))


def _policies(given: dict[str, Any]) -> Policies:
    from ...actions import policy as policies

    if given["policies"] is not None:
        return policies.read(given["policies"])
    with drawn() as progress, store_of(given["repo"], progress=progress) as store:
        found = store.policies(rev=given["rev"])
    found.require_sound()
    return found


def _explained(found: Explanation) -> dict[str, Any]:
    return {
        "route": plain(found.route),
        "requires": plain(found.requires),
        "tried": [attributes(one, "rule", "won", "why") for one in found.tried],
    }


def _moved(one: Moved) -> dict[str, Any]:
    sides = {"was": _explained(one.was), "would_be": _explained(one.would_be)}
    return {"escalation_id": one.record.escalation_id, **sides}


def _asks(requires: Requires) -> str:
    parts = [f"{requires.approvals} approval{'s' if requires.approvals > 1 else ''}"]
    if requires.claim_within is not None:
        parts.append(f"a claim within {format_duration(requires.claim_within)}")
    if requires.resolve_within is not None:
        parts.append(f"a decision within {format_duration(requires.resolve_within)}")
    return ", ".join(parts)
