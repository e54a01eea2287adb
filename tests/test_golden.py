"""What the command line prints, word for word: `--help` of every command, and listings, pages, logs and errors.

After a change that is meant, `UPDATE_GOLDEN=1 pytest tests/test_golden.py` writes the files anew; the diff is
then read like code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from filelock import FileLock
from golden_files import GOLDEN, commands, compare
from lab import Lab, git, kt, record_text
from terminal import at_a_terminal

from kt_escalation.cli import app

WIDTH = "80"
# The age of what is still to come is 0s, today and whenever the tests run.
DAY = "2199-11-23"


# --- help -------------------------------------------------------------------------------------------


HELP = {"-".join(("help", "kt", *path)): path for path in commands(app.kt)}


def command_at(path: tuple[str, ...]) -> click.Command:
    """The command of these words."""
    command: click.Command = app.kt
    for word in path:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


@pytest.mark.parametrize("name", HELP)
def test_the_help_of_every_command(name: str) -> None:
    ran = CliRunner().invoke(app.kt, [*HELP[name], "--help"], prog_name="kt", env={"COLUMNS": WIDTH})
    assert ran.exit_code == 0
    compare(name, ran.output)
    command = command_at(HELP[name])
    assert command.help
    assert all(isinstance(item, click.Argument) or item.help for item in command.params), (
        "an option says nothing"
    )


GROUPS = [name for name, path in HELP.items() if isinstance(command_at(path), click.Group)]


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_lists_each_of_its_commands_once_and_in_one_line(name: str) -> None:
    group = command_at(HELP[name])
    assert isinstance(group, click.Group)
    shown = CliRunner().invoke(app.kt, [*HELP[name], "--help"], prog_name="kt", env={"COLUMNS": WIDTH}).output
    for command in group.commands.values():
        line = rf"^  {command.name} +{re.escape(command.short_help or 'missing')}$"
        assert len(re.findall(line, shown, re.MULTILINE)) == (0 if command.hidden else 1), command.name


# --- a little store ---------------------------------------------------------------------------------


def at(hour: int) -> str:
    return f'"{DAY}T{hour:02}:00:00.000Z"'


def record(name: str, severity: str, *, route: str = "", more: str = "", **keys: str) -> str:
    times = {key: at(9) for key in ("created_at", "raised_at", "queued_at")}
    text = record_text(name, severity, **{**times, **keys})
    return text.replace("route:\n", f"route:\n  {route}\n" if route else "route:\n") + more


CLAIM = f"claim:\n  claim_id: 01jd7q\n  claimed_by: bob@example.com\n  claimed_at: {at(10)}\n"
NOTE = (
    f'notes:\n  - by: alice@example.com\n    at: {at(11)}\n    text: "Asked the owner.\\nShe knows \\e[2J."\n'
)
DECIDED = "outcome: denied\n{0}reason: No customer names.\n{0}category: true_positive_blocked\n{0}"
CONTEXT = """
  prompt_hash: "hmac-sha256:7265"
  policy_results:
    - policy_kind: human-oversight
      verdict: escalate
      reason_code: oversight.required
  scores:
    risk: 0.7
    html: "<b>=1+1"
"""
DONE = (
    record("done", "high", status="resolved", summary="A refund", more=CLAIM)
    + f"reviews:\n  - reviewer: bob@example.com\n    {DECIDED.format('    ')}reviewed_at: {at(12)}\n"
    + f"    claim_id: 01jd7q\n    shown: {'0' * 64}\n"
    + f"resolution:\n  {DECIDED.format('  ')}resolved_by: bob@example.com\n  resolved_at: {at(12)}\n"
)
FULL = record(
    "full",
    "critical",
    route="team_id: legal",
    more=NOTE,
    summary='"Üben: a transfer of 12,000 EUR to an account that was opened yesterday"',
    request_id="Req/1",
    agent_id='"\\e[31magent\\u202e"',
    session_id="sess_1",
    config_version="cfg-1",
    provider="acme",
    model="big",
    policy="human-oversight",
    event_context=CONTEXT.rstrip("\n"),
    labels="\n  ticket: T-1",
)
#: What is put into the store, one commit each.
STEPS = (
    {"queue/esc_full.yaml": FULL, "queue/esc_low.yaml": record("low", "low")},
    {"queue/esc_held.yaml": record("held", "high", status="claimed", more=CLAIM, route="user_id: bob")},
    {f"queue/resolved/{DAY.replace('-', '/')}/esc_done.yaml": DONE},
    {"queue/esc_torn.yaml": "<<<<<<< HEAD\n", "policies/settings.yaml": "claims: {lease: soon}\n"},
)


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A store whose records and commits have the same times, and so the same ids, in every run."""
    with pytest.MonkeyPatch.context() as patch:
        for hour in range(len(STEPS) + 1):
            for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
                patch.setenv(name, f"2026-11-23T{hour + 12:02}:00:00Z")
            if hour == 0:
                lab = Lab(tmp_path_factory.mktemp("little"))
            else:
                lab.put(STEPS[hour - 1], f"step {hour}")
    lab.clone("alice")
    yield lab


def masked(lab: Lab, text: str) -> str:
    """A text without what differs from machine to machine: commit ids, folders, versions, spans."""
    for number, commit in enumerate(git("rev-list", "--reverse", "main", cwd=lab.remote).splitlines()):
        text = text.replace(commit, f"<commit {number}>").replace(commit[:12], f"<commit {number}>")
    text = text.replace(str(lab.folder), "<folder>")
    text = re.sub(r"\bgit \d+(\.\d+)+", "git <version>", text)
    text = re.sub(r"answered in \d+ ms", "answered in <n> ms", text)
    return re.sub(r"process \d+ holds the clone's lock since \S+Z", "process <pid> since <time>", text)


def printed(lab: Lab, *args: str) -> str:
    """Everything that a command gives, as one text."""
    ran = kt(*args, cwd=lab.folder / "alice", env={"COLUMNS": WIDTH})
    text = f"$ kt escalation {' '.join(args)}\n{ran.out}"
    text += f"--- stderr\n{ran.err}" if ran.err else ""
    return masked(lab, f"{text}--- exit {ran.code}\n")


LISTS = {
    "text": ["list", "--status", "all"],
    "json": ["list", "--status", "all", "--json"],
    "page": ["list", "--sort", "id", "--limit", "1"],
    "empty": ["list", "--team", "nobody", "--status", "resolved"],
}
SHOWN = {
    "get-text": ["get", "--id", "esc_full"],
    "get-context": ["get", "--id", "esc_full", "--include-context"],
    "get-json": ["get", "--id", "esc_full", "--include-context", "--json"],
    "get-resolved": ["get", "--id", "esc_done"],
    "log-text": ["log"],
    "log-json": ["log", "--json"],
    "events-text": ["events"],
    "events-json": ["events", "--format", "json"],
    "events-cloudevents": ["events", "--format", "cloudevents", "--limit", "1"],
    "export": ["export", "-o", "/dev/null"],
    "stats-text": ["stats", "--by", "team"],
    "stats-reviewers": ["stats", "--by", "reviewer"],
    "error-usage": ["list", "surplus"],
    "error-usage-json": ["claim", "--json"],
    "error-not-found": ["get", "--id", "esc_gone"],
    "error-not-found-json": ["get", "--id", "esc_gone", "--json"],
    "error-unreadable": ["get", "--id", "esc_torn"],
    "error-policies": ["claim", "--id", "esc_low"],
    "error-file": ["raise", "--file", "missing.yaml"],
}
ON_A_TERMINAL = {
    "table": ["list", "--status", "all"],
    "page": ["get", "--id", "esc_full", "--include-context"],
}


@pytest.mark.parametrize("how", LISTS)
def test_a_list(little: Lab, how: str) -> None:
    compare(f"list-{how}", printed(little, *LISTS[how]))


@pytest.mark.parametrize("name", SHOWN)
def test_a_page_a_log_and_an_error(little: Lab, name: str) -> None:
    compare(name, printed(little, *SHOWN[name]))


@pytest.mark.parametrize("name", ON_A_TERMINAL)
def test_a_table_and_a_page_on_a_terminal(little: Lab, name: str) -> None:
    env = {"COLUMNS": "100", "TERM": "xterm"}
    code, shown = at_a_terminal(*ON_A_TERMINAL[name], cwd=little.folder / "alice", env=env)
    assert code == 0
    compare(name, masked(little, shown).replace("\x1b", "<ESC>"))


def test_a_doctor(lab: Lab) -> None:
    lab.clone("alice")
    compare("doctor", printed(lab, "doctor"))


def test_a_doctor_with_findings(little: Lab) -> None:
    folder = little.folder / "alice/.git/kt"
    folder.mkdir(exist_ok=True)
    (folder / "holder").write_text('{"pid": 1, "since": "2026-11-23T10:00:00.000Z"}')
    with FileLock(folder / "lock"):
        compare("doctor-bad", printed(little, "doctor") + printed(little, "doctor", "--json"))


def test_there_is_no_golden_file_that_nothing_is_held_to() -> None:
    held = {*HELP, *(f"list-{how}" for how in LISTS), *SHOWN, *ON_A_TERMINAL, "doctor", "doctor-bad"}
    held |= {"errors", "mistakes", "attacks"}  # by errorbook.py, test_cli_edges.py and attackbook.py
    assert {file.stem for file in GOLDEN.iterdir()} == held
