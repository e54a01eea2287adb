"""`init --ci`: the files for GitHub and GitLab are what those read, and their scripts judge real branches."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import warm
import yaml
from lab import Lab, Ran, git, kt
from proposals import raised

from kt_escalation.audit import formats

SPEC = "git+https://git.example.com/it's/kt-escalation@0123456"
HUB, JOB, TOP = ".github/workflows/kt-escalation.yml", ".gitlab/kt-escalation.yml", ".gitlab-ci.yml"


def parsed(text: str) -> Any:
    """YAML with every scalar as it is written: `on` is a key of GitHub's, not a boolean."""
    return yaml.load(text, yaml.BaseLoader)  # noqa: S506 - makes strings, lists and mappings only


def bash(script: str, cwd: Path, env: Mapping[str, str]) -> Ran:
    """Run a script as the runners of both do."""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=cwd,
        env={
            **os.environ,
            "PATH": f"{warm.kt_folder()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            **env,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


ROSTER = b"users:\n" + b"".join(
    b"  - {user_id: %s, emails: [%s@example.com], roles: [reviewer, gateway, admin],"
    b' logins: ["github:%s-k", "gitlab:%s-k"]}\n' % (who, who, who, who)
    for who in (b"alice", b"bob", b"gateway", b"seed")
)


@pytest.fixture(params=["github", "gitlab"])
def forge(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the check for both, one good branch and one that claims in another's name."""
    lab = Lab(tmp_path_factory.mktemp("ci"))
    lab.put({"policies/roster.yaml": ROSTER})
    raised(lab, "one", "two")
    alice = lab.clone("alice")
    for name in ("github", "gitlab"):
        assert kt("init", "--ci", name, "--install", SPEC, cwd=alice).code == 0
    assert kt("claim", "--id", "esc_one", "--branch", "good", cwd=alice).code == 0
    assert kt("claim", "--id", "esc_two", "--branch", "forged", cwd=lab.clone("bob")).code == 0
    git("fetch", "--quiet", cwd=alice)
    git("checkout", "--quiet", "forged", cwd=alice)
    git("commit", "--quiet", "--amend", "--reset-author", "--no-edit", cwd=alice)
    git("push", "--quiet", "--force", "origin", "forged", cwd=alice)
    return lab.folder


@pytest.fixture
def branches(made: Path, tmp_path: Path) -> Lab:
    """One's own copy of that, with a fresh seed."""
    lab = Lab.__new__(Lab)
    lab.folder, lab.remote = tmp_path, tmp_path / "remote.git"
    shutil.copytree(made / "remote.git", lab.remote)
    lab.seed = lab.clone("seed")
    return lab


def merged(lab: Lab, clone: Path, branch: str) -> str:
    """The merge commit that a forge makes to try a branch, checked out as its CI does."""
    git("checkout", "--quiet", "--detach", "origin/main", cwd=clone)
    git("merge", "--quiet", "--no-ff", "-m", "try", f"origin/{branch}", cwd=clone)
    return git("rev-parse", "HEAD", cwd=clone)


# --- GitHub -------------------------------------------------------------------------------------------


def test_the_workflow_asks_for_little_and_takes_nothing_from_a_fork(branches: Lab) -> None:
    flow = parsed(branches.file(HUB))
    assert flow["on"] == {
        "pull_request": {"branches": ["main"], "types": ["opened", "synchronize", "reopened", "edited"]},
        "merge_group": {"branches": ["main"]},
    }
    assert flow["permissions"] == {"contents": "read"}
    [job] = flow["jobs"].values()
    checkout = job["steps"][0]
    assert checkout["with"] == {"fetch-depth": "0", "persist-credentials": "false"}
    for step in job["steps"]:
        assert ("${{" not in step.get("run", "") and "uses" not in step) or re.search(r"@v\d+$", step["uses"])
    assert "secrets" not in branches.file(HUB)
    # GitHub shows 50 annotations of a job; each step may have all that it shows of one.
    assert len(job["steps"]) * formats.ANNOTATIONS <= 50


def value(expression: str, event: Mapping[str, str]) -> str:
    """What `${{ … }}` stands for in an event: the first of the alternatives that there is."""
    found = re.fullmatch(r"\$\{\{ (.*) \}\}", expression)
    if found is None:
        return expression
    return next(filter(None, (event.get(name, "") for name in found[1].split(" || "))), "")


def on_github(lab: Lab, clone: Path, event: Mapping[str, str], env: Mapping[str, str]) -> list[Ran]:
    """Run the workflow's own steps, kt being installed."""
    [job] = parsed(lab.file(HUB))["jobs"].values()
    install, *steps = [step for step in job["steps"] if "run" in step]
    assert shlex.split(install["run"]) == ["pip", "install", SPEC]
    assert len(steps) == 2
    env = {**env, **job["env"], "GITHUB_STEP_SUMMARY": str(lab.folder / "summary.md")}
    return [
        bash(step["run"], clone, {**env, **{k: value(v, event) for k, v in step.get("env", {}).items()}})
        for step in steps
    ]


def opened(lab: Lab, clone: Path, branch: str, by: str, sent: str = "") -> dict[str, str]:
    """The event of a pull request that somebody has opened, and somebody else may have pushed to."""
    return {
        "github.event.pull_request.head.sha": git("rev-parse", f"origin/{branch}", cwd=clone),
        "github.event.pull_request.user.login": by,
        "github.actor": sent or by,
    }


@pytest.mark.parametrize(("branch", "code"), [("good", 0), ("forged", 1)])
def test_a_pull_request_on_github(branches: Lab, branch: str, code: int) -> None:
    clone = branches.clone("runner")
    merged(branches, clone, branch)
    check, lint = on_github(branches, clone, opened(branches, clone, branch, "alice-k"), {})
    assert (check.code, lint.code) == (code, 0), check
    assert check.out.startswith("::error file=queue/esc_two.yaml::") == bool(code)
    assert "kt escalation check" in (branches.folder / "summary.md").read_text()


def test_a_base_that_has_moved_on_names_who_was_first(branches: Lab) -> None:
    assert kt("claim", "--id", "esc_one", cwd=branches.clone("bob")).code == 0
    clone = branches.clone("runner")
    check, _ = on_github(branches, clone, opened(branches, clone, "good", "alice-k"), {})
    assert check.code == 1
    assert "held by bob (" in check.out


@pytest.mark.parametrize(("branch", "code"), [("good", 0), ("forged", 1)])
def test_an_entry_of_a_merge_queue_on_github(branches: Lab, branch: str, code: int) -> None:
    clone = branches.clone("runner")
    base = git("rev-parse", "origin/main", cwd=clone)
    event = {
        "github.event.merge_group.head_sha": merged(branches, clone, branch),
        "github.event.merge_group.base_sha": base,
    }
    check, lint = on_github(branches, clone, event, {})
    assert (check.code, lint.code) == (code, 0), check


def test_the_workflow_lints_the_policies(branches: Lab) -> None:
    clone = branches.clone("runner")
    (clone / "policies/settings.yaml").write_text("claims: {lease: soon}\n")
    check, lint = on_github(branches, clone, opened(branches, clone, "HEAD", "alice-k"), {})
    assert (check.code, lint.code) == (0, 1)
    assert lint.out.startswith("::error file=policies/settings.yaml,line=1")


# --- GitLab -------------------------------------------------------------------------------------------


def on_gitlab(lab: Lab, clone: Path, env: Mapping[str, str]) -> Ran:
    [job] = parsed(lab.file(JOB)).values()
    assert [shlex.split(line) for line in job["before_script"]] == [["pip", "install", SPEC]]
    variables = {**job["variables"], "GITLAB_USER_LOGIN": "alice-k"}
    return bash("\n".join(job["script"]), clone, {**variables, **env})


def test_the_job_runs_for_merge_requests_with_all_of_history(branches: Lab) -> None:
    [job] = parsed(branches.file(JOB)).values()
    assert job["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}]
    assert job["variables"]["GIT_DEPTH"] == "0"
    assert job["artifacts"]["when"] == "always"
    assert set(job["artifacts"]["reports"]) == {"junit", "codequality"}
    assert parsed(branches.file(TOP)) == {"include": [{"local": JOB}]}


@pytest.mark.parametrize(
    ("event", "branch", "code"),
    [
        ("detached", "good", 0),
        ("detached", "forged", 1),
        ("merged_result", "forged", 1),
        ("merge_train", "good", 0),
        ("merge_train", "forged", 1),
    ],
)
def test_a_merge_request_on_gitlab(branches: Lab, event: str, branch: str, code: int) -> None:
    clone = branches.clone("runner")
    source, target = (git("rev-parse", f"origin/{name}", cwd=clone) for name in (branch, "main"))
    env = {"CI_MERGE_REQUEST_EVENT_TYPE": event, "CI_MERGE_REQUEST_DIFF_BASE_SHA": target}
    if event == "detached":
        git("checkout", "--quiet", "--detach", source, cwd=clone)
        env["CI_COMMIT_SHA"] = source
    else:
        env["CI_COMMIT_SHA"] = merged(branches, clone, branch)
        env |= {"CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": source, "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": target}
    ran = on_gitlab(branches, clone, env)
    assert ran.code == code, ran
    [job] = parsed(branches.file(JOB)).values()
    for kind, name in job["artifacts"]["reports"].items():
        text = (clone / name).read_text()
        assert ("esc_two" in text) == bool(code)
        assert text.startswith("<?xml" if kind == "junit" else "[")


# --- what init writes ---------------------------------------------------------------------------------


def test_a_new_store_has_the_check_in_its_first_commit(tmp_path: Path, forge: str) -> None:
    env = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Me"}
    env |= {"GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "me@example.com"}
    ran = kt("init", "--ci", forge, "new", cwd=tmp_path, env=env)
    assert ran.code == 0
    assert "made a store" in ran.out
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "new") == "1"
    files = git("ls-files", cwd=tmp_path / "new").splitlines()
    made = ["policies/policy-config.yaml", "queue/.gitkeep"]
    assert files == [*([HUB] if forge == "github" else [TOP, JOB]), *made]
    # Nothing is installed by a name that somebody else could take.
    text = (tmp_path / "new" / files[-2]).read_text()
    assert "--install" in ran.err
    assert "pip install" not in text.replace("`pip install`", "")
    assert git("status", "--porcelain", cwd=tmp_path / "new") == ""


def test_a_store_that_is_there_gets_it_in_one_commit_once(lab: Lab, forge: str) -> None:
    alice = lab.clone("alice")
    count = len(lab.commits())
    ran = kt("init", "--ci", forge, "--json", cwd=alice)
    assert ran.code == 0
    assert ran.json["commit"] == lab.tip()
    assert len(lab.commits()) == count + 1
    assert lab.commits("kt: check what is proposed")
    assert git("status", "--porcelain", cwd=alice) == ""
    again = kt("init", "--ci", forge, cwd=alice)
    assert again.code == 0
    assert "a store already" in again.out
    assert len(lab.commits()) == count + 1
    assert kt("verify", cwd=alice).code == 0


def test_no_file_of_ones_own_is_overwritten(lab: Lab) -> None:
    lab.put({TOP: "build: {script: make}\n", HUB: "mine\n"})
    alice = lab.clone("alice")
    ran = kt("init", "--ci", "gitlab", cwd=alice)
    assert ran.code == 0
    assert "left as it is; add to its `include:`" in ran.err
    assert lab.file(TOP) == "build: {script: make}"
    assert JOB in lab.files()
    ran = kt("init", "--ci", "github", "--json", cwd=alice)
    assert ran.code == 0
    assert ran.json["changed"] is False
    assert lab.file(HUB) == "mine"
    assert kt("init", "--ci", "bitbucket", cwd=alice).code == 2


def test_the_check_of_a_store_in_a_folder_knows_the_folder(lab: Lab, forge: str) -> None:
    folder = 'deep/a "b" é'
    lab.put({f"{folder}/policies/roster.yaml": ROSTER})
    alice = lab.clone("alice")
    git("config", "kt.root", folder, cwd=alice)
    assert kt("raise", "--request-id", "r1", "--reason-code", "a.b", cwd=alice).code == 0
    assert kt("init", "--ci", forge, "--install", SPEC, cwd=alice).code == 0
    ran = kt("claim", "--id", "esc_r1", "--branch", "b", "--json", cwd=alice)
    clone = lab.clone("runner")
    if forge == "github":
        event = {
            "github.event.pull_request.head.sha": ran.json["commit"],
            "github.event.pull_request.user.login": "alice-k",
            "github.actor": "alice-k",
        }
        found = on_github(lab, clone, event, {})
    else:
        found = [on_gitlab(lab, clone, {"CI_COMMIT_SHA": ran.json["commit"]})]
    assert [one.code for one in found] == [0] * len(found), found
    assert "1 step in 1 commit" in found[0].err


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_a_job_that_does_not_know_where_kt_comes_from_says_so(lab: Lab, ci: str) -> None:
    alice = lab.clone("alice")
    ran = kt("init", "--ci", ci, cwd=alice)
    assert ran.code == 0
    assert "the job fails until it knows where kt comes from" in ran.err
    [job] = (parsed(lab.file(HUB))["jobs"] if ci == "github" else parsed(lab.file(JOB))).values()
    line = job["steps"][2]["run"] if ci == "github" else job["before_script"][0]
    done = bash(line, lab.folder, {})
    assert done.code == 1
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert f"`kt escalation init --ci {ci} --install SPEC`" in done.err


@pytest.mark.parametrize(
    "spec",
    [
        "kt-escalation==0.1.0",
        "kt-escalation[report] >=0.1,<1",
        "kt-escalation @ https://example.com/kt_escalation-0.1.0-py3-none-any.whl",
        "https://example.com/kt%20escalation.tar.gz#sha256=0",
        "git+ssh://git@example.com/kt.git@main",
        "/opt/kt/kt_escalation-0.1.0-py3-none-any.whl",
        "/opt/$(touch here)/a 'b' `c`",
    ],
)
def test_what_is_installed_is_one_word_of_the_shell(lab: Lab, forge: str, spec: str) -> None:
    assert kt("init", "--ci", forge, "--install", spec, cwd=lab.clone("alice")).code == 0
    [job] = (parsed(lab.file(HUB))["jobs"] if forge == "github" else parsed(lab.file(JOB))).values()
    line = job["steps"][2]["run"] if forge == "github" else job["before_script"][0]
    ran = bash(f'pip() {{ printf "%s\\n" "$#" "$1" "$2"; }}\n{line}', lab.folder, {})
    assert (ran.code, ran.out) == (0, f"2\ninstall\n{spec}\n")


@pytest.mark.parametrize(
    "spec",
    [
        *("", " ", "a\nb", "--index-url=https://example.com", "-rrequirements.txt", "${{ secrets.TOKEN }}"),
        *(".", "./kt", "vendor/kt", "..", "kt.whl", "kt.tar.gz[report]", "file:kt", "git+file:///x", "~/kt"),
        *("kt @ ./kt", "kt @ file:kt", "http://example.com/kt.whl", "a b"),
    ],
)
def test_what_a_stranger_could_choose_is_not_installed(lab: Lab, spec: str) -> None:
    before = lab.tip()
    ran = kt("init", "--ci", "github", "--install", spec, "--json", cwd=lab.clone("alice"))
    assert (ran.code, ran.error["code"]) == (2, "bad_input")
    assert lab.tip() == before


def test_what_is_installed_goes_with_a_ci(lab: Lab) -> None:
    ran = kt("init", "--install", "kt-escalation", "--json", cwd=lab.clone("alice"))
    assert (ran.code, ran.error["code"]) == (2, "usage")


def test_a_branch_is_named_as_each_of_them_reads_it(tmp_path: Path, forge: str) -> None:
    name = "!a+b$c'd"
    env = {"GIT_CONFIG_COUNT": "3", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Me"}
    env |= {"GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "me@example.com"}
    env |= {"GIT_CONFIG_KEY_2": "init.defaultBranch", "GIT_CONFIG_VALUE_2": name}
    assert kt("init", "--ci", forge, "new", cwd=tmp_path, env=env).code == 0
    text = parsed((tmp_path / "new" / (HUB if forge == "github" else JOB)).read_text())
    if forge == "github":
        assert text["on"]["pull_request"]["branches"] == ["\\!a\\+b$c'd"]
        assert text["jobs"]["kt"]["env"]["KT_STORE_BRANCH"] == name
    else:
        assert text["kt"]["variables"]["KT_STORE_BRANCH"] == "!a+b$$c'd"
