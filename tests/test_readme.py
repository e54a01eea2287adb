"""What the pages at the top say is so: their commands run as printed, the demo plays, the samples are sound."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from lab import Lab, kt, kt_policy
from pages import TOP, as_printed, text_of

README = text_of("README.md")
MAKE = f"make -n -C {TOP} "
WHO = {
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "user.name",
    "GIT_CONFIG_VALUE_0": "Me",
    "GIT_CONFIG_KEY_1": "user.email",
    "GIT_CONFIG_VALUE_1": "me@example.com",
}
#: How kt can be installed. That it can, test_packaging.py shows.
INSTALL = {
    "pipx install .": ": install-by-pipx",
    "uv tool install .": ": install-by-uv",
    "python3 -m venv ~/.venvs/kt && ~/.venvs/kt/bin/pip install .": ": install-by-pip",
}


def section(title: str) -> str:
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_commands_run_as_printed(tmp_path: Path) -> None:
    told = as_printed(
        "README.md",
        tmp_path,
        replace={
            "/srv/git": str(tmp_path),
            **INSTALL,
        },
        env=WHO,
    )
    assert any('"release": true' in step for step in told)


def test_the_commands_for_who_works_on_kt_are_there(tmp_path: Path) -> None:
    as_printed("CONTRIBUTING.md", tmp_path, replace={"make ": MAKE})


def test_installing_runs_as_printed(lab: Lab, tmp_path: Path) -> None:
    """But for the shells that are not here. In those tests/shells completes."""
    assert kt("hook", "install", "--server", str(lab.remote), cwd=tmp_path).code == 0
    as_printed(
        "install.md",
        tmp_path,
        replace={**INSTALL, "~/": f"{tmp_path}/home/", "/srv/git/review.git": str(lab.remote)},
        leave=[
            'eval "$(_KT_COMPLETE=zsh_source kt)"                 # in ~/.zshrc, after compinit',
            "_KT_COMPLETE=fish_source kt | source                 # in ~/.config/fish/config.fish",
        ],
    )
    assert not (lab.remote / "hooks/pre-receive").exists()


def test_the_demo_shows_the_answer_the_refusal_and_the_proof() -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        [TOP / "demo.sh"], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"release": true' in ran.stdout
    assert "resolved: a resolved record never changes" in ran.stdout
    assert "pre-receive hook declined" in ran.stdout
    assert ": 0 violations" in ran.stderr


def test_the_roster_and_the_settings_that_it_shows_have_no_fault(lab: Lab) -> None:
    clone = lab.clone("alice")
    for pack in (TOP / "policies").glob("*.yaml"):
        (clone / "policies" / pack.name).write_bytes(pack.read_bytes())
    shown = section("Who decides, and how many")
    for name, text in re.findall(r"```yaml\n# policies/(\w+)\.yaml\n(.*?)```", shown, re.DOTALL):
        (clone / f"policies/{name}.yaml").write_text(text)
    ran = kt_policy("lint", "--json", cwd=clone)
    assert ran.json["faults"] == []
    assert (clone / "policies/roster.yaml").exists()
    assert (clone / "policies/settings.yaml").exists()


def test_the_sample_policies_of_init_have_no_fault_and_ask_for_no_warning(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "kt_escalation", "escalation", "init", "store"],
        cwd=tmp_path,
        env={**os.environ, **WHO},
        check=False,
    )
    assert ran.returncode == 0
    linted = kt_policy("lint", "--strict", cwd=tmp_path / "store")
    assert linted.code == 0
    assert linted.err == "kt: no fault found\n"


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
