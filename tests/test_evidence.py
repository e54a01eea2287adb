"""One case in one file: its README's commands run as printed, with git alone, and find what was changed.

What needs `kt escalation verify` is in test_evidence_new_judge.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from evidence_case import (
    ROSTER,
    as_known,
    block,
    blocks,
    built,
    checked,
    cloned,
    commands,
    done,
    holds,
    unpacked,
)
from lab import Lab, git, kt, kt_process, record_text, shell
from past import Past
from terminal import at_a_terminal

from kt_escalation.model.text import is_hidden

EVE = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Eve"), ("EMAIL", "eve@example.com"))
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case that is only looked at, so that one serves many tests."""
    return built(Lab(tmp_path_factory.mktemp("case")))


def test_it_is_checked_with_git_alone_as_printed(case: Path) -> None:
    folder = unpacked(case)
    ran = checked(folder, as_known(case, folder))
    assert holds(ran, 4, 4), ran.stderr
    assert "pwned" not in "".join(blocks(folder))
    assert ran.stderr.count('Good "git" signature for alice with') == 4
    assert [path.name for path in folder.parent.parent.rglob("pwned")] == []


def test_nothing_is_checked_before_an_id_is_known(case: Path) -> None:
    ran = checked(unpacked(case), "")
    assert ran.returncode != 0
    assert "the whole id of the commit, from elsewhere" in ran.stderr


def test_a_clone_that_one_trusts_says_whether_it_has_the_commit(case: Path) -> None:
    folder = unpacked(case)
    shell(block(folder, "grep -x"), cloned(case, "auditor"))
    other = cloned(case, "older")
    git("reset", "--quiet", "--hard", "HEAD~1", cwd=other)
    with pytest.raises(AssertionError, match="grep -x"):
        shell(block(folder, "grep -x"), other)


def test_the_bundle_ends_at_the_commit_of_which_it_tells(case: Path) -> None:
    tip, older = git("rev-parse", "HEAD", "HEAD~2", cwd=case).split()
    for rev, commit, steps in (("HEAD", tip, 4), ("HEAD~2", older, 3)):
        summary = done(case, "evidence", "--id", "esc_one", "--rev", rev, "-o", "/dev/null")
        assert (summary["tip"], summary["revision"], len(summary["steps"])) == (commit, commit, steps)
        folder = unpacked(case, "--id", "esc_one", "--rev", rev)
        assert f"as it was at commit `{commit}`" in (folder / "README.md").read_text()
        assert holds(checked(folder, commit), steps, steps)
        assert git("rev-parse", "HEAD", cwd=case.parent / "check/store") == commit
    # Whoever knows another commit is told.
    ran = checked(folder, tip)
    assert ran.returncode != 0
    assert f"ends at {older}, and you know {tip}" in ran.stderr


@pytest.mark.parametrize("options", [(), ("--minimal",)])
def test_the_same_commit_gives_the_same_bytes_whatever_a_clone_has_and_is_set_to(
    case: Path, options: tuple[str, ...]
) -> None:
    other = cloned(case, f"elsewhere{len(options)}")
    git("repack", "-qadfb", "--depth=99", "--window=50", cwd=other)
    for name, value in {
        "core.compression": "9",
        "pack.compression": "1",
        "pack.window": "1",
        "pack.depth": "2",
        "pack.threads": "4",
        "core.bigFileThreshold": "1",
    }.items():
        git("config", name, value, cwd=other)
    ways = [
        done(clone, "evidence", "--id", "esc_one", *options, "-o", "/dev/null") for clone in (case, other)
    ]
    assert ways[0]["sha256"] == ways[1]["sha256"]


def test_what_held_at_each_step_is_in_it_as_text(case: Path) -> None:
    folder = unpacked(case)
    raised, claimed, _, resolved = sorted((folder / "texts/steps").iterdir())
    assert "\nKt-Action: claim\n" in (claimed / "commit.txt").read_text()
    assert (raised / "queue/esc_one.yaml").read_text() == git(
        "show", "HEAD~5:queue/esc_one.yaml", cwd=case
    ) + "\n"
    [record] = resolved.glob("queue/resolved/*/*/*/esc_one.yaml")
    assert "outcome: approved" in record.read_text()
    [tree] = (folder / "texts/policies").iterdir()
    assert tree.name == git("rev-parse", "HEAD:policies", cwd=case)
    assert "user_id: alice" in (tree / "roster.yaml").read_text()
    page = (folder / "README.md").read_text()
    assert "    roster   alice: roles reviewer, gateway; teams triage; 1 signing keys\n" in page
    assert "policies/$(touch pwned).yaml" in page


@pytest.mark.parametrize("more", [(), ("--minimal",)])
def test_each_file_that_one_commit_changed_is_in_it_by_its_own_path(
    case: Path, more: tuple[str, ...]
) -> None:
    """Somebody moves the record and adds a release, and all is taken back; files in odd folders are not copied."""
    clone = cloned(case, f"several-{len(more)}")
    for key, value in (("user.name", "Eve"), ("user.email", "eve@example.com")):
        git("config", key, value, cwd=clone)
    [record] = (path.relative_to(clone) for path in (clone / "queue/resolved").rglob("esc_one.yaml"))
    text = (clone / record).read_text()
    made = {f"queue/{folder}/2026/01/02/esc_one.yaml": folder for folder in ("resolved", "released")}
    elsewhere = "queue/resolved/esc_one.yaml"
    (clone / record).unlink()
    for name, content in {**made, elsewhere: "x", 'queue/resolved/a b/"x"/z/esc_one.yaml': "x"}.items():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(content)
    git("add", "--all", "queue", cwd=clone)
    git("commit", "--quiet", "-m", "tidy up", cwd=clone)
    git("revert", "--no-edit", "HEAD", cwd=clone)
    folder = unpacked(clone, "--id", "esc_one", *more)
    *_, moved, restored = sorted((folder / "texts/steps").iterdir())
    assert names(moved) == sorted(["commit.txt", *made])
    for name, content in made.items():
        assert (moved / name).read_text() == content
    assert names(restored) == sorted(["commit.txt", str(record)])
    assert (restored / record).read_text() == text
    assert f"      {elsewhere}\n" in (folder / "README.md").read_text()
    ran = checked(folder, as_known(clone, folder))
    assert holds(ran, 6, 4), ran.stderr


def test_what_strangers_wrote_is_never_markdown_nor_a_command(case: Path) -> None:
    page = (unpacked(case) / "README.md").read_text()
    assert not any(is_hidden(char) for char in page.replace("\n", ""))
    assert all(
        line.startswith("    ") for line in page.splitlines() if "rm -rf" in line or "<script>" in line
    )
    assert page.count("```sh\\n") == 2
    assert "# Heading\n" in page
    assert "\n# Heading" not in page


# --- what was changed is found ----------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("more", [(), ("--minimal",)])
def test_any_text_that_was_changed_left_out_or_added_is_found(case: Path, more: tuple[str, ...]) -> None:
    folder = unpacked(case, "--id", "esc_one", *more)
    known = as_known(case, folder)
    texts = [name for name in names(folder) if name.startswith("texts/")]
    assert len(texts) == 2 * 4 + 2
    roster = next(name for name in texts if name.endswith("roster.yaml"))
    record = next(name for name in texts if name.endswith("esc_one.yaml"))
    for name in (roster, record, texts[0]):
        path = folder / name
        data = path.read_bytes()
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        ran = checked(folder, known)
        assert ran.returncode != 0, name
        assert "it all holds" not in ran.stdout, name
        assert f"{name} differ\n" in ran.stderr
        assert "are not what git has" in ran.stderr
        assert (case.parent / "check/proved" / name.removeprefix("texts/")).read_bytes() == data
        path.unlink()
        ran = checked(folder, known)
        assert ran.returncode != 0, name
        assert "Only in proved/" in ran.stderr, name
        path.write_bytes(data)
    step = sorted((folder / "texts/steps").iterdir())[1]
    step.rename(folder / "texts/gone")
    ran = checked(folder, known)
    assert ran.returncode != 0
    assert f"Only in proved/steps: {step.name}" in ran.stderr
    (folder / "texts/gone").rename(step)
    assert holds(checked(folder, known), 4, 4)


@pytest.mark.parametrize("more", [(), ("--minimal",)])
def test_a_changed_bundle_or_pack_is_found(case: Path, more: tuple[str, ...]) -> None:
    folder = unpacked(case, "--id", "esc_one", *more)
    known = as_known(case, folder)
    [path] = [folder / name for name in names(folder) if name.startswith(("store.", "records."))]
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    ran = checked(folder, known)
    assert ran.returncode != 0
    assert "it all holds" not in ran.stdout


@pytest.mark.parametrize("more", [(), ("--minimal",)])
def test_a_link_or_what_is_no_file_is_found_wherever_it_is(case: Path, more: tuple[str, ...]) -> None:
    """What is compared through it is not what is read through it later, from another folder."""
    folder = unpacked(case, "--id", "esc_one", *more)
    known, script = as_known(case, folder), commands(folder)
    kept = folder.parent / "kept"
    for path in (folder, *sorted(folder.rglob("*"))):
        path.rename(kept)
        for target in (kept, Path(os.path.relpath(kept, path.parent)), Path("/proc/self/cwd/nothing")):
            path.symlink_to(target)
            ran = checked(folder, known, script)
            assert ran.returncode != 0, path
            assert "is or has a link: nothing in it is proved" in ran.stderr
            assert not (folder.parent.parent / "check/store").exists()
            path.unlink()
        kept.rename(path)
    os.mkfifo(folder / "texts/fifo")
    assert "is or has a link" in checked(folder, known).stderr
    (folder / "texts/fifo").unlink()
    assert holds(checked(folder, known), 4, 4)


def test_no_repository_that_is_there_before_is_used(case: Path) -> None:
    """Its settings could say which program checks a signature."""
    folder = unpacked(case)
    ran = checked(folder, as_known(case, folder), f"git init -q --bare store\n{commands(folder)}")
    assert ran.returncode != 0
    assert "store" in ran.stderr
    assert ran.stdout == ""


def test_what_a_changed_text_holds_never_reaches_the_terminal(case: Path) -> None:
    folder = unpacked(case)
    text = next((folder / "texts/steps").iterdir()) / "\x1b[2J"
    text.write_text("\x1b[2J")
    ran = checked(folder, as_known(case, folder))
    assert ran.returncode != 0
    assert "\x1b" not in ran.stderr + ran.stdout


@pytest.mark.parametrize("amend", [True, False])
def test_another_history_in_the_bundles_place_is_found(case: Path, amend: bool) -> None:
    """Changed, with a commit on top, or an older state of it: it does not end where the reader's commit is."""
    folder = unpacked(case)
    known = as_known(case, folder)
    forger = cloned(case, f"forger-{amend}")
    eve = ("-c", "user.name=Eve", "-c", "user.email=eve@example.com")
    commit = ("--amend", "--no-edit", "--reset-author") if amend else ("--allow-empty", "-m", "on top")
    git(*eve, "commit", "--quiet", *commit, cwd=forger)
    for back in ("HEAD", "HEAD~2"):
        git("reset", "--quiet", "--hard", back, cwd=forger)
        git("bundle", "create", "--quiet", str(folder / "store.bundle"), "HEAD", "main", cwd=forger)
        ran = checked(folder, known)
        assert ran.returncode != 0
        assert "nothing here is proved" in ran.stderr
        assert not (case.parent / "check/store").exists()


def test_a_bundle_that_only_says_where_it_ends_is_found(case: Path) -> None:
    folder = unpacked(case)
    known = as_known(case, folder)
    forger = cloned(case, "liar")
    git("reset", "--quiet", "--hard", "HEAD~2", cwd=forger)
    path = folder / "store.bundle"
    git("bundle", "create", "--quiet", str(path), "HEAD", cwd=forger)
    path.write_bytes(
        path.read_bytes().replace(git("rev-parse", "HEAD", cwd=forger).encode(), known.encode(), 1)
    )
    ran = checked(folder, known)
    assert ran.returncode != 0
    assert "it all holds" not in ran.stdout


def test_refs_of_a_bundle_replace_nothing(case: Path) -> None:
    """`refs/replace` would show other objects than the ids say."""
    folder = unpacked(case)
    known = as_known(case, folder)
    forger = cloned(case, "replacer")
    claimed = git("rev-parse", "HEAD~3:queue/esc_one.yaml", cwd=forger)
    git("replace", claimed, git("rev-parse", "HEAD~5:queue/esc_one.yaml", cwd=forger), cwd=forger)
    tip = git("commit-tree", "HEAD~2^{tree}", "-m", "other", cwd=forger, env=EVE)
    git("replace", known, tip, cwd=forger)
    git("bundle", "create", "--quiet", str(folder / "store.bundle"), "HEAD", "--all", cwd=forger)
    assert holds(checked(folder, known), 4, 4)
    assert git("for-each-ref", "--format=%(refname)", cwd=case.parent / "check/store").split() == [
        "refs/heads/main"
    ]


def test_keys_beside_the_history_count_for_nothing(lab: Lab) -> None:
    """An evil twin: eve signs in alice's name, and hands over her own key as alice's, wherever a text may be."""
    case = built(lab)
    path = lab.folder / "other-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    git("config", "user.signingKey", str(path), cwd=case)
    done(case, "claim", "--id", "esc_other")
    folder = unpacked(case, "--id", "esc_other")
    known = as_known(case, folder)
    ran = checked(folder, known)
    forged = git("rev-parse", "HEAD", cwd=case)
    wanted = f"not signed by a key that the roster before it has for its author: {forged}"
    assert ran.returncode != 0
    assert wanted in ran.stderr
    # The texts of the roster, and files such as earlier versions wrote, with eve's key in them.
    public = path.with_suffix(".pub").read_text().strip()
    for step in (folder / "texts/steps").iterdir():
        (folder / "signers").write_text(f'* namespaces="git" {public}\n')
        (step / "signers").write_text(f'* namespaces="git" {public}\n')
    for text in (folder / "texts/policies").rglob("roster.yaml"):
        text.write_text(ROSTER.replace("KEY", public))
    (folder / "README.md").write_text(
        (folder / "README.md").read_text().replace("alice: roles", "eve: roles")
    )
    ran = checked(folder, known)
    assert ran.returncode != 0
    assert "are not what git has" in ran.stderr
    assert "signers" in ran.stderr
    proved = next((lab.folder / "check/proved/policies").rglob("roster.yaml")).read_text()
    assert public not in proved
    assert "user_id: alice" in proved


@pytest.mark.parametrize(("who", "by"), [("bob", "alice"), ("alice", "bob")])
def test_a_key_of_somebody_else_on_the_roster_is_found(lab: Lab, who: str, by: str) -> None:
    keys = {}
    for name in ("alice", "bob"):
        subprocess.run(
            [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                f"{who}@example.com",
                "-f",
                str(lab.folder / name),
            ],
            check=True,
        )
        keys[name] = (lab.folder / f"{name}.pub").read_text().strip()
    roster = ROSTER.replace("KEY", keys["alice"]).replace(
        "[reviewer]}", f"[reviewer, gateway], signing_keys: ['{keys['bob']}']}}"
    )
    lab.put({"policies/roster.yaml": roster})
    clone = lab.clone(who.upper(), email=f"{who}@example.com")
    for name, value in (
        ("gpg.format", "ssh"),
        ("user.signingKey", str(lab.folder / by)),
        ("commit.gpgsign", "true"),
    ):
        git("config", name, value, cwd=clone)
    done(clone, "raise", "--request-id", "one", "--reason-code", "a.b")
    folder = unpacked(clone)
    ran = checked(folder, as_known(clone, folder))
    assert ran.returncode != 0
    assert "not signed by a key that the roster before it has" in ran.stderr


def test_a_roster_that_is_not_written_plainly_stops_the_commands(lab: Lab) -> None:
    case = built(lab)
    text = lab.file("policies/roster.yaml").replace("[reviewer, gateway]", '["review\\x65r", gateway]')
    lab.put({"policies/roster.yaml": text}, "escaped")
    done(case, "claim", "--id", "esc_other")
    folder = unpacked(case, "--id", "esc_other")
    ran = checked(folder, as_known(case, folder))
    assert ran.returncode != 0
    assert "this roster needs kt to be read" in ran.stderr
    assert "roster.yaml:" in ran.stderr
    assert "a quoted text that is not plain" in ran.stderr


# --- what it carries --------------------------------------------------------------------------------


def test_minimal_holds_the_steps_and_nobody_elses_records(case: Path) -> None:
    folder = unpacked(case, "--minimal", "--id", "esc_one")
    known = as_known(case, folder)
    ran = checked(folder, known)
    assert holds(ran, 4, 4), ran.stderr
    store = case.parent / "check/store"
    listed = git("cat-file", "--batch-all-objects", "--batch-check", cwd=store).splitlines()
    texts = [git("cat-file", "blob", line.split()[0], cwd=store) for line in listed if " blob " in line]
    records = [text for text in texts if text.startswith("schema_version")]
    assert len(records) == 4
    assert all("escalation_id: esc_one\n" in text for text in records)
    assert not (folder / "store.bundle").exists()
    assert "more than this case" not in (folder / "README.md").read_text()
    assert "The one case" in git("show", "--format=%B", git("rev-parse", "HEAD~5", cwd=case), "-s", cwd=store)
    # Whoever was told of another step misses it.
    ran = checked(folder, f"{known} {git('rev-parse', 'HEAD', cwd=case)}")
    assert ran.returncode != 0
    assert "is not in the pack" in ran.stderr


def test_minimal_after_many_were_resolved_in_one_commit_can_be_compared(lab: Lab) -> None:
    """git looks into all folders that a commit changed, others' too, to say what it did in one."""
    lab.escalations("one", "two", "three")
    clone = lab.clone("alice")
    for name in ("one", "two", "three"):
        done(clone, "claim", "--id", f"esc_{name}")
    done(clone, "resolve", "--id", "esc_two", "--outcome", "denied", "--reason", "no")
    done(clone, "resolve", "--id", "esc_one", "--id", "esc_three", "--outcome", "denied", "--reason", "no")
    folder = unpacked(clone, "--id", "esc_one", "--minimal")
    ran = checked(folder, as_known(clone, folder))
    assert holds(ran, 3, 0), ran.stderr
    assert ran.stdout.count("not signed, so that its author is a claim") == 3


def test_the_page_says_what_else_the_bundle_carries(case: Path) -> None:
    page = (unpacked(case) / "README.md").read_text()
    count = git("rev-list", "--count", "HEAD", cwd=case)
    assert f"carries more than this case**: all {count} commits" in page


def test_what_it_reopens_and_what_reopens_it_come_along(lab: Lab) -> None:
    case = built(lab)
    again = done(case, "reopen", "--id", "esc_one", "--reason", "Misread")["escalation"]["escalation_id"]
    for name in ("esc_one", again):
        summary = done(case, "evidence", "--id", name, "-o", "/dev/null")
        assert set(summary["escalation_ids"]) == {"esc_one", again}
        assert len(summary["steps"]) == 5
    folder = unpacked(case, "--id", again)
    assert holds(checked(folder, as_known(case, folder)), 5, 5)
    assert f"log --id {again}" in block(folder, "again.tar")


def test_several_at_once_and_by_prefix(case: Path) -> None:
    summary = done(case, "evidence", "--id", "esc_one", "--id", "esc_othe", "-o", "/dev/null")
    assert summary["escalation_ids"] == ["esc_one", "esc_other"]
    assert len(summary["steps"]) == 5
    folder = unpacked(case, "--id", "esc_one", "--id", "esc_other")
    assert holds(checked(folder, as_known(case, folder)), 5, 5)


@pytest.mark.parametrize("more", [(), ("--minimal",)])
def test_steps_on_a_side_branch_are_in_it(lab: Lab, more: tuple[str, ...]) -> None:
    lab.escalations("one")
    clone = lab.clone("alice")
    git("config", "kt.remote", "", cwd=clone)
    git("switch", "--quiet", "-c", "side", cwd=clone)
    done(clone, "claim", "--id", "esc_one")
    git("switch", "--quiet", "main", cwd=clone)
    git("commit", "--quiet", "--allow-empty", "-m", "meanwhile", cwd=clone)
    git("merge", "--quiet", "--no-edit", "side", cwd=clone)
    folder = unpacked(clone, "--id", "esc_one", *more)
    ran = checked(folder, as_known(clone, folder))
    assert holds(ran, 2, 0)
    assert "made something of its own" not in ran.stdout


def test_a_merge_that_made_something_of_its_own_is_told(lab: Lab) -> None:
    lab.escalations("one")
    clone = lab.clone("alice")
    git("config", "kt.remote", "", cwd=clone)
    git("switch", "--quiet", "-c", "side", cwd=clone)
    done(clone, "claim", "--id", "esc_one")
    git("switch", "--quiet", "main", cwd=clone)
    git("commit", "--quiet", "--allow-empty", "-m", "meanwhile", cwd=clone)
    git("merge", "--quiet", "--no-commit", "side", cwd=clone)
    file = clone / "queue/esc_one.yaml"
    file.write_text(file.read_text().replace("severity: medium", "severity: low"))
    git("commit", "--quiet", "--all", "--no-edit", cwd=clone)
    merge = git("rev-parse", "HEAD", cwd=clone)
    folder = unpacked(clone, "--id", "esc_one")
    assert f"{merge}: a merge that made something of its own" in checked(folder, merge).stdout


@pytest.mark.parametrize("more", [(), ("--minimal",)])
@pytest.mark.parametrize("root", ["a b", "it's [ops]*/$x"])
def test_a_sha256_store_in_a_folder(tmp_path: Path, more: tuple[str, ...], root: str) -> None:
    lab = Lab(tmp_path, object_format="sha256")
    pack, record = f"{root}/policies/x.yaml", f"{root}/queue/esc_one.yaml"
    lab.put({pack: "pack: {enabled: true}\n", record: record_text("one")}, "in")
    clone = lab.clone("alice")
    git("config", "kt.root", root, cwd=clone)
    done(clone, "claim", "--id", "esc_one")
    folder = unpacked(clone, "--id", "esc_one", *more)
    ran = checked(folder, as_known(clone, folder))
    assert holds(ran, 2, 0), ran.stderr
    assert any(name.endswith("x.yaml") for name in names(folder))


@pytest.mark.parametrize("more", [(), ("--minimal",)])
def test_a_store_whose_first_commit_holds_the_record(tmp_path: Path, more: tuple[str, ...]) -> None:
    clone = tmp_path / "alone"
    git("init", "--quiet", str(clone), cwd=tmp_path)
    for key, value in (("user.name", "Alice"), ("user.email", "alice@example.com")):
        git("config", key, value, cwd=clone)
    (clone / "queue/resolved/2026/01/02").mkdir(parents=True)
    (clone / "queue/resolved/2026/01/02/.gitkeep").touch()
    (clone / "queue/esc_one.yaml").write_text(record_text("one"))
    git("add", "queue", cwd=clone)
    git("commit", "--quiet", "-m", "all", cwd=clone)
    folder = unpacked(clone, "--id", "esc_one", *more)
    assert holds(checked(folder, as_known(clone, folder)), 1, 0)
    assert "parent   none: it begins the history" in (folder / "README.md").read_text()


def test_a_compacted_record_is_checked_as_any_other(past: Past) -> None:
    past.compact()
    for more in ((), ("--minimal",)):
        folder = unpacked(past.path, "--id", "esc_anna", *more)
        page = (folder / "README.md").read_text()
        assert "compact esc_anna: into " in page
        ran = checked(folder, as_known(past.path, folder))
        assert holds(ran, page.count("\n### "), 0), ran.stderr
        assert page.count("\n### ") > 2


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
    assert code == 2
    assert "-o FILE" in shown
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
