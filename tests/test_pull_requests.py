"""docs/pull-requests.md: its commands run as printed. And the project's own store is legal."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml
from lab import Lab, git, kt, kt_policy
from pages import TOP, as_printed, text_of
from proposals import raised

PAGE = text_of("pull-requests.md")


def test_the_commands_of_the_page_run_as_printed(lab: Lab) -> None:
    raised(lab, "req_42")
    alice = lab.clone("alice")
    as_printed("pull-requests.md", alice)
    assert (alice / "kt.xml").exists()
    assert (alice / "kt-code-quality.json").read_text() == "[]\n"
    # Claim and decision are one request.
    proposed = git("ls-remote", "origin", "refs/heads/kt/*", cwd=alice)
    assert "kt/claim/esc_req_42" in proposed
    assert "kt/resolve" not in proposed
    assert lab.commits("resolve esc_req_42") == ["kt: resolve esc_req_42 as approved"]
    assert lab.commits("check what is proposed on gitlab")


# --- pre-commit ---------------------------------------------------------------------------------------

HOOKS: dict[str, dict[str, Any]] = {
    hook["id"]: hook for hook in yaml.safe_load((TOP / ".pre-commit-hooks.yaml").read_text())
}


def test_the_page_names_the_hooks_that_there_are() -> None:
    [config] = re.findall(r"```yaml\n(repos:.*?)```", PAGE, re.DOTALL)
    [repo] = yaml.safe_load(config)["repos"]
    assert [hook["id"] for hook in repo["hooks"]] == list(HOOKS)
    for hook in HOOKS.values():
        assert hook["language"] == "python"
        assert hook["pass_filenames"] is False


def test_the_lint_hook_runs_for_policies_and_finds_their_faults(lab: Lab) -> None:
    hook = HOOKS["kt-policy-lint"]
    wanted = re.compile(hook["files"])
    assert wanted.search("policies/roster.yaml")
    assert wanted.search("sub/policies/p.yaml")
    assert not wanted.search("queue/esc_a.yaml")
    assert not wanted.search("policies/README.md")
    program, group, *args = shlex.split(hook["entry"])
    assert (program, group) == ("kt", "policy")
    alice = lab.clone("alice")
    assert kt_policy(*args, cwd=alice).code == 0
    (alice / "policies/settings.yaml").write_text("claims: {lease: soon}\n")
    assert kt_policy(*args, cwd=alice).code == 1


def test_the_check_hook_judges_what_is_about_to_be_pushed(lab: Lab) -> None:
    hook = HOOKS["kt-escalation-check"]
    assert hook["stages"] == ["pre-push"]
    assert hook["always_run"] is True
    program, group, *args = shlex.split(hook["entry"])
    assert (program, group) == ("kt", "escalation")
    raised(lab, "one")
    alice = lab.clone("alice")
    assert kt(*args, cwd=alice).code == 0
    record = alice / "queue/esc_one.yaml"
    record.write_text(record.read_text().replace("severity: medium", "severity: low"))
    git("commit", "--quiet", "-am", "by hand", cwd=alice)
    assert kt(*args, cwd=alice).code == 1


# --- the project's own store --------------------------------------------------------------------------


def test_every_step_of_the_projects_own_store_is_legal() -> None:
    if git("rev-parse", "--is-shallow-repository", cwd=TOP) == "true":
        pytest.fail(
            "this checkout is shallow, so its history cannot be verified; run `git fetch --unshallow`"
        )
    ran = kt("verify", "--afresh", "--json", cwd=TOP)
    assert ran.code == 0, ran
    assert ran.json["violations"] == []
    assert ran.json["steps"] >= 10
