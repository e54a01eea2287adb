"""What of a piece of evidence only `kt escalation verify` can say: legality, waivers, and which commit it has.

It wants `verify --contains` and waivers with a path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import warm
from evidence_case import as_known, block, built, checked, cloned, done, holds, unpacked
from lab import Lab, git, record_text, shell
from pages import as_printed, steps, text_of

from kt_escalation.reporting import offline_check


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(Lab(tmp_path_factory.mktemp("case")))


def by_kt(folder: Path, known: str) -> subprocess.CompletedProcess[str]:
    """Run what the README prints for who has kt."""
    place = folder.parent.parent / "check"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return subprocess.run(
        ["/bin/sh", "-ec", block(folder, "git init") + block(folder, "again.tar")],
        cwd=place,
        env={
            **os.environ,
            "PATH": f"{warm.kt_folder()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "known": known,
            "from": str(folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_kt_makes_the_same_evidence_again_and_judges_it_as_printed(case: Path) -> None:
    folder = unpacked(case)
    ran = by_kt(folder, as_known(case, folder))
    assert ran.returncode == 0, ran.stderr
    assert "resolve  esc_one" in ran.stdout
    assert "0 violations" in ran.stderr


def test_kt_says_whether_a_clone_has_the_commit_as_printed(case: Path) -> None:
    folder = unpacked(case)
    shell(block(folder, "verify --contains " + as_known(case, folder)), cloned(case, "auditor"))
    older = cloned(case, "older")
    git("reset", "--quiet", "--hard", "HEAD~1", cwd=older)
    with pytest.raises(AssertionError, match="verify --contains"):
        shell(block(folder, "verify --contains " + as_known(case, folder)), older)


def test_kt_finds_a_word_of_the_page_that_was_changed(case: Path) -> None:
    folder = unpacked(case)
    known = as_known(case, folder)
    page = folder / "README.md"
    text = page.read_text()
    page.write_text(text.replace("note esc_one by alice", "note esc_one by bob"))
    ran = by_kt(folder, known)
    assert ran.returncode != 0
    assert "README.md differ" in ran.stderr
    assert "is not what git has" in ran.stderr
    assert (case.parent / "check/again/evidence-esc_one/README.md").read_text() == text
    page.write_text(text)
    (folder / "signers").write_text("* ssh-ed25519 AAAA\n")
    ran = by_kt(folder, known)
    assert ran.returncode != 0
    assert "Only in" in ran.stderr


@pytest.mark.parametrize("root", ["", "a b"])
def test_a_waived_case_verifies_as_of_its_commit_and_not_before(tmp_path: Path, root: str) -> None:
    """The severity was lowered by hand and decided so; the admin cannot undo that, and accepts it."""
    lab = Lab(tmp_path)
    top = f"{root}/" if root else ""
    roster = (
        "users:\n"
        "  - {user_id: seed, emails: [seed@example.com], roles: [admin]}\n"
        "  - {user_id: alice, emails: [alice@example.com], roles: [reviewer, gateway]}\n"
    )
    lab.put({f"{top}policies/roster.yaml": roster, f"{top}policies/x.yaml": "pack: {enabled: true}\n"})
    clone = lab.clone("alice")
    if root:
        git("config", "kt.root", root, cwd=clone)
    done(clone, "raise", "--request-id", "one", "--reason-code", "a.b", "--severity", "high")
    path = f"{top}queue/esc_one.yaml"
    file = clone / path
    git("pull", "--quiet", cwd=clone)
    file.write_text(file.read_text().replace("severity: high", "severity: low"))
    git("commit", "--quiet", "--all", "-m", "Tidy up", cwd=clone)
    git("push", "--quiet", cwd=clone)
    bad = git("rev-parse", "HEAD", cwd=clone)
    waiver = f"{{commit: '{bad}', rule: transition, path: {path}, reason: Agreed by phone}}"
    lab.put({f"{top}policies/waivers.yaml": f"waivers:\n  - {waiver}\n"}, "accept")
    git("pull", "--quiet", cwd=clone)

    folder = unpacked(clone, "--id", "esc_one")
    page = (folder / "README.md").read_text()
    assert f"waived: transition {path} in {bad}: Agreed by phone" in page
    assert "**Accepted by an admin**" in page
    ran = by_kt(folder, as_known(clone, folder))
    assert ran.returncode == 0, ran.stderr
    assert holds(checked(folder, as_known(clone, folder)), 2, 0)
    proved = [path.read_text() for path in (tmp_path / "check/proved/policies").rglob("waivers.yaml")]
    assert any(bad in text for text in proved)

    # As it was before it was accepted, it says nothing of that, and does not verify.
    folder = unpacked(clone, "--id", "esc_one", "--rev", bad)
    assert "waived" not in (folder / "README.md").read_text()
    ran = by_kt(folder, bad)
    assert ran.returncode == 1
    assert "transition" in ran.stderr + ran.stdout


def test_a_waived_signature_is_told_and_not_refused(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    clone = built(lab)
    path = tmp_path / "other-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    git("config", "user.signingKey", str(path), cwd=clone)
    done(clone, "claim", "--id", "esc_other")
    bad = git("rev-parse", "HEAD", cwd=clone)
    waiver = f"{{commit: '{bad}', rule: signature, path: queue/esc_other.yaml, reason: A new key}}"
    lab.put({"policies/waivers.yaml": f"waivers:\n  - {waiver}\n"}, "accept")
    git("pull", "--quiet", cwd=clone)
    folder = unpacked(clone, "--id", "esc_other")
    ran = checked(folder, as_known(clone, folder))
    assert holds(ran, 2, 1), ran.stderr
    assert f"{bad}: its signature does not hold; policies/waivers.yaml names this commit" in ran.stdout


def test_an_older_commit_that_somebody_noted_is_contained(tmp_path: Path) -> None:
    """Whoever knows an older commit only gives that; a history that does not go on from it is found."""
    lab = Lab(tmp_path)
    clone = built(lab)
    folder = unpacked(clone)
    known, noted = as_known(clone, folder), git("rev-parse", "HEAD~3", cwd=clone)
    assert by_kt(folder, known).returncode == 0
    text = block(folder, "again.tar").splitlines()[-1].removesuffix(")")
    place = tmp_path / "check"
    shell(text.replace('"$known"', noted), place)
    forged = git("commit-tree", "HEAD^{tree}", "-p", "HEAD~4", "-m", "x", cwd=clone)
    with pytest.raises(AssertionError, match="verify --afresh"):
        shell(text.replace('"$known"', forged), place)


def test_a_sha256_store_in_a_folder_is_judged_as_printed(tmp_path: Path) -> None:
    lab = Lab(tmp_path, object_format="sha256")
    lab.put({"a b/policies/x.yaml": "pack: {enabled: true}\n", "a b/queue/esc_one.yaml": record_text("one")})
    clone = lab.clone("alice")
    git("config", "kt.root", "a b", cwd=clone)
    done(clone, "claim", "--id", "esc_one")
    folder = unpacked(clone, "--id", "esc_one")
    ran = by_kt(folder, as_known(clone, folder))
    assert ran.returncode == 0, ran.stderr


# --- the page for the auditor -----------------------------------------------------------------------


def test_the_page_has_the_very_commands_of_every_readme() -> None:
    page = text_of("evidence.md")
    assert f"```sh\n{offline_check.taken(False)}```\n" in page
    assert f"```sh\n{offline_check.compared(['esc_req_42'], '', False)}```\n" in page
    assert f"```sh\n{offline_check.judged(['esc_req_42'], '')}```\n" in page


def test_the_commands_of_the_page_run_as_printed(lab: Lab) -> None:
    clone = lab.clone("alice")
    done(clone, "raise", "--request-id", "req_42", "--reason-code", "a.b")
    done(clone, "claim", "--id", "esc_req_42")
    done(clone, "resolve", "--id", "esc_req_42", "--outcome", "denied", "--reason", "no")
    printed = "".join(as_printed("evidence.md", clone))
    assert "it all holds: 3 steps; 0 of them signed" in printed


def test_the_page_finds_a_reopening_that_the_readme_leaves_out(lab: Lab) -> None:
    clone = lab.clone("store")
    for name in ("req_42", "req_421"):
        done(clone, "raise", "--request-id", name, "--reason-code", "a.b")
        done(clone, "claim", "--id", f"esc_{name}")
        done(clone, "resolve", "--id", f"esc_{name}", "--outcome", "denied", "--reason", "no")
    [asks] = [step.script for step in steps(text_of("evidence.md")) if "^reopens: " in step.script]
    known = {**os.environ, "known": git("rev-parse", "HEAD", cwd=clone)}
    ran = subprocess.run(
        ["sh", "-euc", asks], cwd=lab.folder, env=known, capture_output=True, text=True, check=True
    )
    assert (ran.stdout, ran.stderr) == ("", "")
    done(clone, "reopen", "--id", "esc_req_421", "--reason", "new facts")
    again = done(clone, "reopen", "--id", "esc_req_42", "--reason", "new facts")["escalation"][
        "escalation_id"
    ]
    known["known"] = git("rev-parse", "HEAD", cwd=clone)
    ran = subprocess.run(
        ["sh", "-euc", asks], cwd=lab.folder, env=known, capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"{known['known']}:queue/{again}.yaml:reopens: esc_req_42\n"
    # What git cannot look into is not called none.
    known["known"] = "0" * 40
    assert (
        subprocess.run(["sh", "-euc", asks], cwd=lab.folder, env=known, capture_output=True).returncode != 0
    )
