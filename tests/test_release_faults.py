"""Whatever dies around a release or a receipt: it is had once, the repeat says so, and a lost answer is looked for."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from faulty import POINTS, VARIABLE
from forge import identity
from gateways import DIGEST, GATEWAY_SETTINGS, Gate, made_in
from lab import Ran, git, kt, kt_process

ACTIONS = {
    "release": ["release", "--id", "esc_r1", "--digest", DIGEST, "--release-id", "T1", "--json"],
    "receipt": ["receipt", "--id", "esc_r1", "--status", "executed", "--json"],
}
# Every kill is a case of the soak; one in four, spread over both actions and all points, of every run.
KILLS = [
    pytest.param(action, point, marks=[] if number % 4 == 0 else [pytest.mark.soak])
    for number, (action, point) in enumerate((action, point) for action in ACTIONS for point in POINTS)
]


#: A remote in the state before each action.
GROUND: dict[str, Path] = {}


def ground(action: str) -> Path:
    if action not in GROUND:
        folder = Path(os.environ["HOME"]) / f"before-{action}"
        folder.mkdir()
        gate = Gate(made_in(folder))
        # Those of `tool.call` may be used for 15 minutes alone.
        rule = "  - {match: {reason_code: c.d}, single_use: true}\n"
        gate.forge.write("policies/settings.yaml", f"{GATEWAY_SETTINGS}{rule}")
        gate.forge.commit("boss", "a decision that may be used at any time")
        gate.decided("r1", reason_code="c.d")
        if action == "receipt":
            gate.released("esc_r1")
        GROUND[action] = folder / "remote.git"
        git("clone", "--quiet", "--bare", str(gate.forge.path), str(GROUND[action]), cwd=folder)
    return GROUND[action]


class Served:
    """A remote with one decision for one use, and a gateway's clone of it."""

    def __init__(self, folder: Path, action: str) -> None:
        self.remote, self.clone = folder / "remote.git", folder / "gw"
        shutil.copytree(ground(action), self.remote)
        git("clone", "--quiet", str(self.remote), str(self.clone), cwd=folder)

    def run(self, *args: str, **env: str) -> Ran:
        return kt_process(*args, cwd=self.clone, env={**identity("gw"), **env})

    def hook(self, name: str, script: str) -> None:
        path = self.remote / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def made(self, action: str) -> list[str]:
        subjects = git("log", "--format=%s", "main", cwd=self.remote).splitlines()
        return [subject for subject in subjects if subject.startswith(f"kt: {action} ")]


@pytest.mark.parametrize(("action", "point"), KILLS)
def test_after_a_kill_it_is_had_once(tmp_path: Path, action: str, point: str) -> None:
    served = Served(tmp_path, action)
    died = served.run(*ACTIONS[action], **{VARIABLE: f"{point}:kill"})
    assert died.code == -signal.SIGKILL
    landed = bool(served.made(action))
    again = served.run(*ACTIONS[action])
    assert again.code == 0, again.err
    assert again.json["changed"] is not landed
    if action == "release":
        # It was had by whoever died, and that is no leave to run again.
        assert again.json["repeat"] is landed
    assert len(served.made(action)) == 1
    assert kt("verify", "main", cwd=served.remote).code == 0
    assert not list((served.clone / ".git").rglob("*.lock"))


@pytest.mark.parametrize("action", ACTIONS)
def test_a_push_that_lands_and_loses_its_answer_is_told_as_done(tmp_path: Path, action: str) -> None:
    served = Served(tmp_path, action)
    served.hook("post-receive", "kill -9 $PPID")
    ran = served.run(*ACTIONS[action])
    assert ran.code == 0, ran.err
    assert ran.json["changed"] is True
    assert len(served.made(action)) == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_answers_that_are_always_lost_end_in_exit_9_and_nothing_may_be_run(
    tmp_path: Path, action: str
) -> None:
    served = Served(tmp_path, action)
    served.hook("pre-receive", "kill -9 $PPID")
    ran = served.run(*ACTIONS[action], "--retry-timeout", "2")
    assert (ran.code, ran.error["code"]) == (9, "outcome_unknown")
    assert ran.out == ""
    assert served.made(action) == []
    served.hook("pre-receive", "exit 0")
    again = served.run(*ACTIONS[action])
    assert again.code == 0
    assert again.json["changed"]
    assert len(served.made(action)) == 1


def test_a_remote_that_has_lost_the_release_is_not_taken_for_one_that_never_had_it(tmp_path: Path) -> None:
    served = Served(tmp_path, "release")
    before = git("rev-parse", "main", cwd=served.remote)
    assert served.run(*ACTIONS["release"]).json["changed"]
    git("update-ref", "refs/heads/main", before, cwd=served.remote)
    ran = served.run(*ACTIONS["release"][:-3], "--release-id", "T2", "--json")
    assert (ran.code, ran.error["code"]) == (4, "history_rewritten")
    assert served.made("release") == []
