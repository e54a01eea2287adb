"""What the README says is so: its commands run as printed, its tables are complete."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

from lab import Lab, kt_policy
from pages import TOP, as_printed, text_of

from kt_escalation import errors

README = text_of("README.md")
RIGHTS = "Who may do what, and by when"
EVENT = {
    "event_type": "decision",
    "event_id": "vdt_1",
    "request_id": "req_7",
    "verdict": "escalate",
    "reason_code": "a.b",
}


def section(title: str) -> str:
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_commands_run_as_printed(tmp_path: Path) -> None:
    """But those for other shells, those that need hours, and a webhook that ends with its receiver."""
    record = {"request_id": "req_8", "reason_code": "a.b"}
    (tmp_path / "decision.json").write_text(json.dumps(EVENT))
    (tmp_path / "lines.ndjson").write_text(
        f"{json.dumps({**EVENT, 'request_id': 'r9'})}\n{json.dumps(record)}\n"
    )
    me = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Me"}
    me |= {"GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "me@example.com"}
    as_printed(
        "README.md",
        tmp_path,
        replace={
            "make demo": f"make -n -C {TOP} demo",
            "make test": f"make -n -C {TOP} test",
            ". .venv/bin/activate": f"cd {TOP}",
            "pip install .": f"cd {tmp_path}",
            "/srv/git": str(tmp_path),
            "cd review": "cd review && cp ../decision.json ../lines.ndjson .",
            'Store.open("review")': 'Store.open(".")',
        },
        leave=[
            # Nobody types at what runs the page.
            "kt escalation review",
            "kt escalation watch --cursor ~/.kt-sent --webhook https://example.com/hook",
            'eval "$(_KT_COMPLETE=zsh_source kt)"                 # in ~/.zshrc, after compinit',
            "_KT_COMPLETE=fish_source kt | source                 # in ~/.config/fish/config.fish",
        ],
        env=me,
    )


def test_the_python_example_runs_as_printed(lab: Lab) -> None:
    [code] = re.findall(r"```python\n(.*?)```", section("From Python"), re.DOTALL)
    lab.clone("review")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=lab.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "esc_req_43 high queued\napproved\n"
    assert lab.commits("resolve esc_req_43 as approved")


def test_the_roster_and_the_settings_that_it_shows_have_no_fault(lab: Lab) -> None:
    clone = lab.clone("alice")
    for pack in (TOP / "policies").glob("*.yaml"):
        (clone / "policies" / pack.name).write_bytes(pack.read_bytes())
    for name, text in re.findall(r"```yaml\n# policies/(\w+)\.yaml\n(.*?)```", section(RIGHTS), re.DOTALL):
        (clone / f"policies/{name}.yaml").write_text(text)
    ran = kt_policy("lint", "--json", cwd=clone)
    assert ran.json["faults"] == [] and (clone / "policies/roster.yaml").exists()
    assert (clone / "policies/settings.yaml").exists()


def test_the_projects_own_queue_is_a_worked_example() -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "kt_escalation",
            "escalation",
            "-C",
            str(TOP),
            "list",
            "--status",
            "all",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout)
    assert found["invalid"] == []
    assert len({r["severity"] for r in found["escalations"] if r["status"] == "queued"}) >= 3
    assert {r["status"] for r in found["escalations"]} == {"queued", "claimed", "resolved"}


def test_init_brings_the_policies_that_the_project_shows() -> None:
    for pack in (TOP / "policies").glob("*.yaml"):
        assert pack.read_bytes() == (TOP / "kt_escalation/templates" / pack.name).read_bytes()


def test_the_table_of_exits_names_every_code_and_no_other() -> None:
    known = {
        kind.code: kind.exit_code
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.KtError) and not kind.__subclasses__() and kind is not errors.SeveralFailed
    }
    rows = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", section("Exit codes"), re.MULTILINE)
    said = {code: int(exit_code) for exit_code, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    assert said == known
