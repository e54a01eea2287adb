"""docs/reference.md is generated from the commands, the errors, and the JSON that the commands print.

After an intended change, `UPDATE_GOLDEN=1 pytest tests/test_reference.py` writes the page again.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import click
from golden_files import commands
from lab import Lab, git, kt, kt_policy, record_text
from pages import TOP, UPDATE

from kt_escalation import errors
from kt_escalation.cli import app

#: How many commands an option must have, with the same words, to be told once for all.
MANY = 5
#: How wide a line of JSON may be.
WIDTH = 100
PAGE = TOP / "docs/reference.md"
HEAD = """\
# Commands

This page lists all commands with their options, exit codes, error codes and JSON. It is generated from the code, and a test
compares the two.

`kt-escalation` is another name for `kt escalation`. Without `-C` the store is that of `KT_REPO`, else that of the current
folder. Write durations as `90` or `90s`, `15m`, `2h`, `7d`, and times as in RFC 3339. Give an id as an argument or with
`--id`, or name its request with `--request-id`. `get`, `log` and `evidence` take a whole id or a unique prefix; all other
commands need the whole id.

Results go to stdout, everything else to stderr. kt honours `NO_COLOR` and never asks a script anything. `--debug`, before or
after the command, or `KT_LOG=debug` prints a line to stderr for each git process: its duration, its exit code and its
arguments, without passwords and tokens.

In the JSON below, `"…"` is any text, `0` any number, and `{…}` [a record](record.md). An error is
`{"error": {"code": "…", "message": "…"}}` on stderr, with the facts of its code if they are known (see
[exit codes](#exit-codes)).
"""
SETTINGS = """\
## Settings in git

| `git config` | is | default |
|---|---|---|
| `kt.remote` | the remote that holds the store; empty for none | `origin`; none if there are no remotes |
| `kt.branch` | the store branch | the branch that the remote's HEAD names; without a remote the one that is checked out |
| `kt.root` | the folder that holds `queue/` and `policies/`; each clone sets it for itself | the top |
| `kt.store` | your stores, one value each, in your global configuration, for `list` and `claim --next` outside any store | none |
| `kt.forge` | `github`, `gitlab`, `gitea` or `forgejo`, if the host's name does not say it | by the host's name |

You act under git's identity (`user.name`, `user.email`). kt signs commits if your git signs.

"""
EXITS = """\
## Exit codes

| exit | means |
|---|---|
| 0 | done: it is on the remote (without one: in the local branch, flushed to disk) |
| 1 | the answer is no: `wait` ended in a denial, an expiry or a withdrawal; `verify` or `check` found a violation; `lint` or `doctor` found a fault |
| 2 | bad usage or bad input; nothing was written |
| 3 | you may not do that |
| 4 | the remote could not be reached or refused the push; nothing changed |
| 5 | a bug in kt; the line says where the traceback is |
| 6 | conflict: the state forbids it: somebody else holds it, it is resolved or released, or other content has that id |
| 7 | no such escalation; nothing to claim |
| 8 | timed out; nothing changed |
| 9 | the push's outcome is unknown; run the same command again, it finds its own effect (`claim --next` only with the same `--claim-id`) |
| 130 | interrupted by ^C, SIGTERM or SIGHUP, or a question was answered with no; nothing changed (a stream: nothing from the line that it names on is acknowledged) |

If kt was killed (SIGKILL), treat that like exit 9: run the same command again. `several_failed` has the exit code of the first
error in its list `failed`.

## Error codes

With `--json` an error has one of these codes. No command gives any other.

| exit | code | means | facts |
|---|---|---|---|
| 0 | | done | |
"""


# --- commands -----------------------------------------------------------------------------------------


def at(path: tuple[str, ...]) -> click.Command:
    """The command of these words."""
    found: click.Command = app.kt
    for word in path:
        assert isinstance(found, click.Group)
        found = found.commands[word]
    return found


COMMANDS = {
    " ".join(("kt", *path)): at(path) for path in commands(app.kt) if not isinstance(at(path), click.Group)
}


def options(command: click.Command) -> list[tuple[str, str]]:
    """Each option as it is typed, and its help."""
    context = click.Context(command, parent=click.Context(app.kt, **app.kt.context_settings))
    # What stands as an argument is in the usage.
    named = [it for it in command.get_params(context) if not isinstance(it, click.Argument)]
    found = [parameter.get_help_record(context) for parameter in named]
    return [(cell(names), cell(text)) for names, text in filter(None, found)]


def cell(text: str) -> str:
    """A text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<").replace("``", "`")


SHARED = {
    option
    for option, count in Counter(
        option for command in COMMANDS.values() for option in options(command)
    ).items()
    if count >= MANY
}


def table(rows: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> str:
    return "| option | |\n|---|---|\n" + "".join(f"| `{names}` | {text} |\n" for names, text in rows)


def section(name: str, command: click.Command) -> str:
    """What the page says of one command."""
    context = click.Context(command, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    text = f"## {name}\n\n```text\n{name} {usage}\n```\n\n{inspect.cleandoc(command.help or '')}\n\n"
    own = [option for option in options(command) if option not in SHARED]
    text += f"{table(own)}\n" if own else ""
    also = [names for names, text in options(command) if (names, text) in SHARED]
    return (
        f"{text}Common options, [described below](#options-of-many-commands): "
        + ", ".join(f"`{names}`" for names in also)
        + ".\n"
    )


# --- errors -------------------------------------------------------------------------------------------


def error_kinds() -> list[type[errors.KtError]]:
    """The errors that a command may end with: those that none of the others is a kind of."""
    every = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.KtError)
    ]
    return [kind for kind in every if not any(kind in other.__mro__[1:] for other in every)]


def errors_table() -> str:
    rows = []
    for kind in sorted(
        error_kinds(), key=lambda kind: (kind is errors.SeveralFailed, kind.exit_code, kind.code)
    ):
        means = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]
        declared = [name for name in vars(kind).get("__annotations__", {}) if name in kind.fact_names]
        facts = dict.fromkeys([*re.findall(r"\{(\w+)", kind.says + kind.hint), *declared])
        exit_code = "that of the first" if kind is errors.SeveralFailed else str(kind.exit_code)
        rows.append(
            f"| {exit_code} | `{kind.code}` | {cell(means)} | {', '.join(f'`{f}`' for f in facts)} |\n"
        )
    return EXITS + "".join(rows)


# --- JSON ---------------------------------------------------------------------------------------------


def shape(value: Any) -> Any:
    """A JSON value without what differs from run to run."""
    if isinstance(value, dict):
        return (
            ...
            if {"schema_version", "escalation_id"} <= value.keys()
            else {k: shape(v) for k, v in value.items()}
        )
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, str):
        return "…"
    return value if isinstance(value, bool) or value is None else 0


def drawn(value: Any, indent: str = "") -> str:
    """A shape as text: in one line where that fits."""
    if value is ...:
        return "{…}"
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {drawn(item, indent + '  ')}" for key, item in value.items()]
        line = "{" + ", ".join(parts) + "}"
        if len(indent + line) <= WIDTH and "\n" not in line:
            return line
        return "{\n" + ",\n".join(f"{indent}  {part}" for part in parts) + f"\n{indent}}}"
    if isinstance(value, list):
        return "[" + ", ".join(drawn(item, indent) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


#: Commands whose JSON is shown, in an order in which each has something to say.
ASKED = (
    "escalation raise --request-id one --reason-code a.b --severity high",
    "escalation raise --batch lines.ndjson --partial",
    "escalation list",
    "escalation get --id esc_one",
    "escalation claim --id esc_one",
    "escalation claim --id esc_six --branch",
    "escalation claim --next --count 1",
    "escalation unclaim --id esc_one",
    "escalation note --id esc_one --text Text",
    "escalation assign --id esc_one --to me@example.com --reason Reason",
    "escalation resolve --id esc_one --outcome denied --reason Reason",
    "escalation wait --id esc_one",
    "escalation raise --request-id use --reason-code tool.use",
    "escalation release --id esc_use --release-id T1",
    "escalation receipt --id esc_use --status executed",
    "escalation withdraw --id esc_gone --reason Reason",
    "escalation digest --kind tool.call --name refund input.json",
    "escalation reopen --id esc_one --reason Reason",
    "escalation restore --id esc_torn --reason Reason",
    "escalation sweep --dry-run",
    "escalation log --limit 1",
    "escalation events --limit 1",
    "escalation verify",
    "escalation check HEAD~1..HEAD",
    "escalation export -o population.jsonl",
    "escalation evidence --id esc_one -o case.tar",
    "escalation stats --by team",
    "escalation report -o report.html",
    "escalation compact --dry-run",
    "escalation doctor",
    "escalation hook install --server ../remote.git",
    "escalation hook status --server ../remote.git",
    "escalation hook uninstall --server ../remote.git",
    "escalation init",
    "policy lint",
    "policy route --model gpt-4o",
    "policy replay --policies other",
    "policy waive --commit COMMIT --rule file --path queue/esc_torn.yaml --reason Reason",
)
#: The same in another place: what `watch` prints is what `events` prints, and a schema is no answer of a store.
ELSEWHERE = {"kt escalation watch", "kt escalation schema", "kt policy schema"}


def answers(lab: Lab) -> dict[str, list[tuple[str, str]]]:
    """By command, what was typed and the shape of what came back."""
    clone = lab.clone("me")
    (clone / "lines.ndjson").write_text(
        '{"request_id": "six", "reason_code": "a.b", "severity": "medium"}\n{}\n'
    )
    (clone / "policies/bad.yaml").write_text("providers: none\n")
    (clone / "other").mkdir()
    (clone / "other/pack.yaml").write_text(
        "providers: {targets: [{id: a, model: m, escalation_routing: {team_id: t}}]}\n"
    )
    (clone / "input.json").write_text('{"amount": 100}\n')
    rule = "rules: [{match: {reason_code: tool.use}, single_use: true, valid_for: 15m}]\n"
    lab.put({"policies/settings.yaml": rule})
    for args in (
        ("raise", "--request-id", "gone", "--reason-code", "a.b"),
        ("raise", "--request-id", "use", "--reason-code", "tool.use"),
        ("claim", "--id", "esc_use"),
        ("resolve", "--id", "esc_use", "--outcome", "approved", "--reason", "Reason"),
    ):
        assert kt(*args, cwd=clone).code == 0
    lab.put({"queue/esc_late.yaml": LATE, f"queue/resolved/{DAY.replace('-', '/')}/esc_old.yaml": OLD})
    assert kt("raise", "--request-id", "torn", "--reason-code", "a.b", "--model", "m", cwd=clone).code == 0
    lab.put({"queue/esc_torn.yaml": "<<<<<<<\n"})
    found: dict[str, list[tuple[str, str]]] = {}
    for asked in ASKED:
        group, *args = asked.replace("COMMIT", git("rev-parse", "origin/main", cwd=clone)).split()
        ran = (kt_policy if group == "policy" else kt)(*args, "--json", cwd=clone)
        assert ran.out, f"{asked}: {ran.err}"
        name = max((name for name in COMMANDS if f"kt {asked} ".startswith(f"{name} ")), key=len)
        found.setdefault(name, []).append((f"kt {asked} --json", drawn(shape(json.loads(ran.out)))))
    return found


DAY = "2024-02-03"
WHEN = f'"{DAY}T10:00:00.000Z"'
TIMES = dict.fromkeys(("created_at", "raised_at", "queued_at"), WHEN)
LATE = record_text("late", "low", **TIMES) + "  claim_within: 15m\n  fallback:\n    team_id: security\n"
DECIDED = "outcome: denied\n{0}reason: No.\n{0}"
OLD = (
    record_text("old", status="resolved", **TIMES)
    + f"claim:\n  claim_id: x\n  claimed_by: me@example.com\n  claimed_at: {WHEN}\n"
    + f"reviews:\n  - reviewer: me@example.com\n    {DECIDED.format('    ')}reviewed_at: {WHEN}\n"
    + f"    claim_id: x\n    shown: {'0' * 64}\n"
    + f"resolution:\n  {DECIDED.format('  ')}resolved_by: me@example.com\n  resolved_at: {WHEN}\n"
)


# --- the page -----------------------------------------------------------------------------------------


def test_the_page_is_what_the_code_says(lab: Lab) -> None:
    shown = answers(lab)
    written = HEAD
    for name, command in COMMANDS.items():
        written += f"\n{section(name, command)}"
        for typed, text in shown.get(name, []):
            written += f"\n```text\n$ {typed}\n{text}\n```\n"
    written += f"\n## Options of many commands\n\n{table(sorted(SHARED))}\n{SETTINGS}{errors_table()}"
    if UPDATE:
        PAGE.write_text(written)
    assert PAGE.read_text() == written, "write it again with UPDATE_GOLDEN=1"


def test_the_json_of_every_command_is_shown(lab: Lab) -> None:
    with_json = {
        name
        for name, command in COMMANDS.items()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert set(answers(lab)) == with_json - ELSEWHERE


def test_the_tables_of_exits_name_every_code_and_exit_and_no_other() -> None:
    known = {kind.code: kind.exit_code for kind in error_kinds() if kind is not errors.SeveralFailed}
    assert set(known) == errors.codes() - {"conflict", "error", "several_failed"}
    exits, codes = PAGE.read_text().split("## Exit codes\n")[1].split("## Error codes\n")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| .* \|$", codes, re.MULTILINE)
    assert {code: int(exit_code) for exit_code, code in rows} == known
    meanings = re.findall(r"^\| (\d+) \| .+ \|$", exits, re.MULTILINE)
    assert {int(exit_code) for exit_code in meanings} == {0, *known.values()}


def test_the_first_line_of_each_module_of_commands_names_its_commands_and_no_others() -> None:
    found: dict[str, list[str]] = {}
    for path in commands(app.kt):
        command: click.Command = app.kt
        for word in path:
            assert isinstance(command, click.Group)
            command = command.commands[word]
        if not isinstance(command, click.Group):
            assert command.callback is not None
            found.setdefault(inspect.unwrap(command.callback).__module__, []).append(path[-1])
    told = {name: set(re.findall(r"[a-z-]+", _first_line(name))) for name in found}
    every = {word for names in found.values() for word in names}
    assert {name: words & every for name, words in told.items()} == {
        name: set(names) for name, names in found.items()
    }


def _first_line(module: str) -> str:
    return str(sys.modules[module].__doc__).splitlines()[0]
