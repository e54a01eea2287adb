"""One case in one file: its README's commands run as printed, with git alone, and find what was changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, git, kt, kt_process, record_text, shell
from pages import as_printed
from test_cli_life import at_a_terminal

from kt_escalation.core.text import is_hidden

REASON = "Fine.\n```sh\nrm -rf /\n```\n<script>\x1b[2J \u202e # Heading"
ROSTER = """
teams:
  - {team_id: triage, members: [alice, bob]}
users:
  - {user_id: alice, emails: [alice@example.com], roles: [reviewer, gateway], signing_keys: ["KEY"]}
  - {user_id: bob, emails: [bob@example.com, Bob@Home.example], roles: [reviewer]}
  - {user_id: seed, emails: [seed@example.com], roles: [admin]}
"""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case that is only looked at, so that one serves many tests."""
    return built(Lab(tmp_path_factory.mktemp("case")))


def built(lab: Lab) -> Path:
    """Alice's clone of a store where she raised, claimed, noted and decided one thing, and signed it."""
    key = lab.folder / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", str(key)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    public = key.with_suffix(".pub").read_text().strip()
    lab.put({"policies/roster.yaml": ROSTER.replace("KEY", public), "policies/$(touch pwned).yaml": ""})
    clone = lab.clone("alice")
    for name, value in (("gpg.format", "ssh"), ("user.signingKey", str(key)), ("commit.gpgsign", "true")):
        git("config", name, value, cwd=clone)
    for name in ("one", "other"):
        done(clone, "raise", "--request-id", name, "--reason-code", "a.b", "--summary", f"The {name} case")
    done(clone, "claim", "--id", "esc_one")
    done(clone, "note", "--id", "esc_one", "--text", "Asked legal")
    done(clone, "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", REASON)
    done(clone, "raise", "--request-id", "late", "--reason-code", "a.b")
    return clone


def done(cwd: Path, *args: str) -> Any:
    ran = kt(*args, "--json", cwd=cwd)
    assert ran.code == 0, ran.err
    return ran.json


def unpacked(clone: Path, *args: str) -> Path:
    """The folder that an artefact unpacks to."""
    out = clone.parent / "case.tar"
    done(clone, "evidence", *(args or ("--id", "esc_one")), "-o", str(out))
    folder = clone.parent / "elsewhere"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with tarfile.open(out) as tar:
        tar.extractall(folder, filter="data")
    [top] = folder.iterdir()
    return top


def blocks(folder: Path) -> list[str]:
    """The shell blocks of an artefact's README: with git alone, in a clone that one trusts, with kt."""
    return re.findall(r"^```sh\n(.*?)^```$", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what the README prints where there is git and a shell and nothing else."""
    tools = folder.parent.parent / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("git", "ssh-keygen"):
        if not (tools / name).exists():
            (tools / name).symlink_to(shutil.which(name) or "")
    return subprocess.run(
        ["/bin/sh", "-c", blocks(folder)[0]],
        cwd=folder,
        env={**os.environ, "PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_checked_with_git_alone_as_printed(case: Path) -> None:
    folder = unpacked(case)
    ran = checked(folder)
    assert (ran.returncode, ran.stdout) == (0, "it all holds\n"), ran.stderr
    assert blocks(folder)[0].count(" verify-commit ") == 4 and "pwned" not in blocks(folder)[0]
    assert ran.stderr.count('Good "git" signature for alice@example.com') == 4
    assert [path.name for path in folder.parent.rglob("pwned")] == []


def cloned(case: Path, name: str, *options: str) -> Path:
    """A clone of a case's remote."""
    path = case.parent / name
    remote = (case.parent / "remote.git").as_uri()
    git("clone", "--quiet", *options, remote, str(path), cwd=case.parent)
    return path


def test_it_is_checked_in_a_clone_that_one_trusts_and_with_kt_as_printed(case: Path) -> None:
    folder = unpacked(case)
    assert checked(folder).returncode == 0
    _, there, with_kt = blocks(folder)
    shell(there, cloned(case, "auditor"))
    assert "verify --afresh" in with_kt and "log --id esc_one" in with_kt
    shell(with_kt, folder)
    ran = kt("verify", "--require-signatures", "--json", cwd=folder / "store")
    # The roster itself came in unsigned; the case did not.
    assert {found["path"] for found in ran.json["violations"]} == {"policies/$(touch pwned).yaml"}


def test_the_bundle_ends_where_the_case_does(case: Path) -> None:
    folder = unpacked(case)
    assert checked(folder).returncode == 0
    tip = git("rev-parse", "HEAD", cwd=folder / "store")
    assert git("log", "-1", "--format=%s", cwd=folder / "store") == "kt: resolve esc_one as approved"
    summary = done(case, "evidence", "--id", "esc_one", "-o", "/dev/null")
    assert summary["tip"] == tip == summary["steps"][-1] and len(summary["steps"]) == 4
    assert summary["revision"] == git("rev-parse", "HEAD", cwd=case)


def test_what_held_at_each_step_is_in_it_as_text(case: Path) -> None:
    folder = unpacked(case)
    raised, claimed, _, resolved = sorted((folder / "steps").iterdir())
    assert "\nKt-Action: claim\n" in (claimed / "commit.txt").read_text()
    assert (raised / "esc_one.yaml").read_text() == git("show", "HEAD~5:queue/esc_one.yaml", cwd=case) + "\n"
    assert "outcome: approved" in (resolved / "esc_one.yaml").read_text()
    [tree] = (folder / "policies").iterdir()
    assert tree.name == git("rev-parse", "HEAD:policies", cwd=case)[:12]
    assert "user_id: alice" in (tree / "roster.yaml").read_text()
    page = (folder / "README.md").read_text()
    assert "    roster   alice: roles reviewer, gateway; teams triage; 1 signing keys\n" in page
    assert "policies/$(touch pwned).yaml" in page


def test_what_strangers_wrote_is_never_markdown_nor_a_command(case: Path) -> None:
    page = (unpacked(case) / "README.md").read_text()
    assert not any(is_hidden(char) for char in page.replace("\n", ""))
    assert all(
        line.startswith("    ") for line in page.splitlines() if "rm -rf" in line or "<script>" in line
    )
    assert page.count("```sh\\n") == 2 and "# Heading\n" in page and "\n# Heading" not in page


# --- what was changed is found ----------------------------------------------------------------------


def names(case: Path) -> list[str]:
    folder = unpacked(case)
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_any_file_that_was_changed_is_found(case: Path) -> None:
    found = [name for name in names(case) if name not in ("README.md",) and not name.endswith("signers")]
    assert len(found) == 1 + 2 * 4 + 2
    folder = unpacked(case)
    for name in found:
        path = folder / name
        data = path.read_bytes()
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        ran = checked(folder)
        assert ran.returncode != 0 and "it all holds" not in ran.stdout, name
        path.write_bytes(data)
        shutil.rmtree(folder / "store", ignore_errors=True)
    assert checked(folder).returncode == 0


def test_another_history_in_the_bundles_place_is_found(case: Path) -> None:
    folder = unpacked(case)
    forger = cloned(case, "forger")
    eve = ("-c", "user.name=Eve", "-c", "user.email=eve@example.com")
    git(*eve, "commit", "--quiet", "--amend", "--no-edit", "--reset-author", cwd=forger)
    git("bundle", "create", "--quiet", str(folder / "store.bundle"), "HEAD", "main", cwd=forger)
    assert checked(folder).returncode != 0


def test_a_signature_by_another_key_than_the_rosters_is_found(lab: Lab) -> None:
    case = built(lab)
    path = lab.folder / "other-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    git("config", "user.signingKey", str(path), cwd=case)
    done(case, "claim", "--id", "esc_other")
    assert checked(unpacked(case, "--id", "esc_other")).returncode != 0


# --- what it carries --------------------------------------------------------------------------------


def test_minimal_holds_the_steps_and_nobody_elses_records(case: Path) -> None:
    folder = unpacked(case, "--minimal", "--id", "esc_one")
    ran = checked(folder)
    assert (ran.returncode, ran.stdout) == (0, "it all holds\n"), ran.stderr
    store = folder / "store"
    listed = git("cat-file", "--batch-all-objects", "--batch-check", cwd=store).splitlines()
    texts = [git("cat-file", "blob", line.split()[0], cwd=store) for line in listed if " blob " in line]
    records = [text for text in texts if text.startswith("schema_version")]
    assert len(records) == 4 and all("escalation_id: esc_one\n" in text for text in records)
    assert not (folder / "store.bundle").exists()
    assert "all 7 commits" not in (folder / "README.md").read_text()
    assert "The one case" in git("show", "--format=%B", git("rev-parse", "HEAD~5", cwd=case), "-s", cwd=store)


def test_the_page_says_what_else_the_bundle_carries(case: Path) -> None:
    page = (unpacked(case) / "README.md").read_text()
    count = git("rev-list", "--count", "HEAD~1", cwd=case)
    assert f"carries more than this case**: all {count} commits" in page


def test_what_it_reopens_and_what_reopens_it_come_along(lab: Lab) -> None:
    case = built(lab)
    again = done(case, "reopen", "--id", "esc_one", "--reason", "Misread")["escalation"]["escalation_id"]
    for name in ("esc_one", again):
        summary = done(case, "evidence", "--id", name, "-o", "/dev/null")
        assert set(summary["escalation_ids"]) == {"esc_one", again} and len(summary["steps"]) == 5
    folder = unpacked(case, "--id", again)
    assert checked(folder).returncode == 0
    assert f"log --id {again}" in blocks(folder)[2]


def test_several_at_once_and_by_prefix(case: Path) -> None:
    summary = done(case, "evidence", "--id", "esc_one", "--id", "esc_othe", "-o", "/dev/null")
    assert summary["escalation_ids"] == ["esc_one", "esc_other"] and len(summary["steps"]) == 5
    assert checked(unpacked(case, "--id", "esc_one", "--id", "esc_other")).returncode == 0


def test_steps_on_a_side_branch_are_in_the_bundle_with_their_merge(lab: Lab) -> None:
    lab.escalations("one")
    clone = lab.clone("alice")
    git("config", "kt.remote", "", cwd=clone)
    git("switch", "--quiet", "-c", "side", cwd=clone)
    done(clone, "claim", "--id", "esc_one")
    git("switch", "--quiet", "main", cwd=clone)
    git("commit", "--quiet", "--allow-empty", "-m", "meanwhile", cwd=clone)
    git("merge", "--quiet", "--no-edit", "side", cwd=clone)
    merge = git("rev-parse", "HEAD", cwd=clone)
    git("commit", "--quiet", "--allow-empty", "-m", "later", cwd=clone)
    summary = done(clone, "evidence", "--id", "esc_one", "-o", "/dev/null")
    assert summary["tip"] == merge and len(summary["steps"]) == 2
    assert checked(unpacked(clone)).returncode == 0


@pytest.mark.parametrize("more", [(), ("--minimal",)])
def test_a_sha256_store_in_a_folder(tmp_path: Path, more: tuple[str, ...]) -> None:
    lab = Lab(tmp_path, object_format="sha256")
    lab.put(
        {"a b/policies/x.yaml": "pack: {enabled: true}\n", "a b/queue/esc_one.yaml": record_text("one")}, "in"
    )
    clone = lab.clone("alice")
    git("config", "kt.root", "a b", cwd=clone)
    done(clone, "claim", "--id", "esc_one")
    folder = unpacked(clone, "--id", "esc_one", *more)
    ran = checked(folder)
    assert (ran.returncode, ran.stdout) == (0, "it all holds\n"), ran.stderr
    if not more:
        shell(blocks(folder)[2], folder)


def test_a_store_whose_first_commit_holds_the_record(tmp_path: Path) -> None:
    clone = tmp_path / "alone"
    git("init", "--quiet", str(clone), cwd=tmp_path)
    for key, value in (("user.name", "Alice"), ("user.email", "alice@example.com")):
        git("config", key, value, cwd=clone)
    (clone / "queue").mkdir()
    (clone / "queue/esc_one.yaml").write_text(record_text("one"))
    git("add", "queue", cwd=clone)
    git("commit", "--quiet", "-m", "all", cwd=clone)
    for more in ((), ("--minimal",)):
        folder = unpacked(clone, "--id", "esc_one", *more)
        assert checked(folder).stdout == "it all holds\n"
        assert "parent   none: it begins the history" in (folder / "README.md").read_text()


# --- what is refused --------------------------------------------------------------------------------


def test_what_is_not_there_makes_no_file(case: Path) -> None:
    out = case.parent / "none.tar"
    ran = kt("evidence", "--id", "esc_nobody", "-o", str(out), "--json", cwd=case)
    assert (ran.code, ran.error["code"]) == (7, "not_found")
    assert not out.exists()


def test_a_shallow_clone_has_no_history_to_give(case: Path) -> None:
    clone = cloned(case, "shallow", "--depth", "1")
    ran = kt("evidence", "--id", "esc_one", "-o", "/dev/null", "--json", cwd=clone)
    assert (ran.code, ran.error["code"]) == (2, "shallow_clone")


def test_a_tar_is_for_a_file_or_a_pipe_and_not_for_a_terminal(case: Path) -> None:
    code, shown = at_a_terminal("evidence", "--id", "esc_one", "-o", "-", cwd=case)
    assert code == 2 and "-o FILE" in shown
    with (case.parent / "piped.tar").open("wb") as file:
        subprocess.run(
            [sys.executable, "-m", "kt_escalation", "escalation", "evidence", "--id", "esc_one", "-o", "-"],
            cwd=case,
            stdout=file,
            check=True,
        )
    with tarfile.open(case.parent / "piped.tar") as tar:
        assert "evidence-esc_one/README.md" in tar.getnames()
    assert json.loads(kt_process("evidence", "--id", "esc_one", "-o", "/dev/null", "--json", cwd=case).out)


# --- the page for the auditor -----------------------------------------------------------------------


def test_the_commands_of_the_page_run_as_printed(lab: Lab) -> None:
    clone = lab.clone("alice")
    done(clone, "raise", "--request-id", "req_42", "--reason-code", "a.b")
    done(clone, "claim", "--id", "esc_req_42")
    done(clone, "resolve", "--id", "esc_req_42", "--outcome", "denied", "--reason", "no")
    # After the case was unpacked one stands in its folder; the numbers are the store's again.
    as_printed("evidence.md", clone, replace={"kt escalation stats\n": "cd ..\nkt escalation stats\n"})
    assert (clone / "evidence-esc_req_42/store/queue").is_dir()
