"""The checkout is the user's: nothing of it is reset, stashed or overwritten, and it comes along only where safe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lab import Lab, git, kt, state

from kt_escalation import Store
from kt_escalation.errors import ShallowClone
from kt_escalation.git.process import Done
from kt_escalation.storage.waiting import unreachable


def claim(clone: Path, *options: str, env: dict[str, str] | None = None) -> None:
    ran = kt("claim", "--id", "esc_job", *options, cwd=clone, env=env)
    assert ran.code == 0, ran.err


def test_a_clean_checkout_is_brought_along(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    claim(clone)
    assert git("rev-parse", "HEAD", cwd=clone) == lab.tip()
    assert git("status", "--porcelain", cwd=clone) == ""
    assert "status: claimed" in (clone / "queue/esc_job.yaml").read_text()


def test_a_repeat_brings_the_checkout_along_as_well(lab: Lab) -> None:
    lab.escalations("job")
    here, there = lab.clone("alice"), lab.clone("other", email="alice@example.com")
    claim(there)
    claim(here)
    assert git("rev-parse", "HEAD", cwd=here) == lab.tip()


def test_other_dirty_and_staged_files_survive_while_the_checkout_comes_along(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    (clone / "README.md").write_text("mine\n")
    (clone / "new.txt").write_text("new\n")
    git("add", "new.txt", cwd=clone)
    claim(clone)
    assert git("rev-parse", "HEAD", cwd=clone) == lab.tip()
    assert git("status", "--porcelain", cwd=clone).splitlines() == [" M README.md", "A  new.txt"]


@pytest.mark.parametrize("staged", [False, True])
def test_a_dirty_touched_file_keeps_the_checkout_where_it_is(lab: Lab, staged: bool) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    (clone / "queue/esc_job.yaml").write_text("my notes\n")
    if staged:
        git("add", "--all", cwd=clone)
    before = state(clone)
    ran = kt("claim", "--id", "esc_job", cwd=clone)
    assert ran.code == 0
    assert state(clone) == before
    [line] = ran.err.strip().splitlines()
    assert "queue/esc_job.yaml" in line
    assert "checkout was left" in line


def test_an_untracked_file_in_the_way_keeps_the_checkout_where_it_is(lab: Lab) -> None:
    clone = lab.clone("alice")
    (clone / "queue").mkdir()
    (clone / "queue/esc_r.yaml").write_text("untracked\n")
    before = state(clone)
    assert kt("raise", "--request-id", "r", "--reason-code", "a.b", cwd=clone).code == 0
    assert state(clone) == before


def local_commit(clone: Path) -> None:
    (clone / "mine.txt").write_text("mine\n")
    git("add", "mine.txt", cwd=clone)
    git("commit", "--quiet", "-m", "mine", cwd=clone)


def detached(clone: Path) -> None:
    git("checkout", "--quiet", "--detach", cwd=clone)


def another_branch(clone: Path) -> None:
    git("checkout", "--quiet", "-b", "topic", cwd=clone)
    local_commit(clone)


def merging(clone: Path) -> None:
    git("checkout", "--quiet", "-b", "side", cwd=clone)
    (clone / "README.md").write_text("side\n")
    git("commit", "--quiet", "-am", "side", cwd=clone)
    git("checkout", "--quiet", "main", cwd=clone)
    (clone / "README.md").write_text("main\n")
    git("commit", "--quiet", "-am", "main", cwd=clone)
    import subprocess

    assert subprocess.run(
        ["git", "merge", "--quiet", "side"], cwd=clone, capture_output=True, check=False
    ).returncode


ACTIONS = [
    ["raise", "--request-id", "r", "--reason-code", "a.b"],
    ["claim", "--id", "esc_job"],
    ["unclaim", "--id", "esc_job"],
    ["claim", "--next"],
    ["note", "--id", "esc_job", "--text", "hm"],
    ["resolve", "--id", "esc_job", "--outcome", "denied", "--reason", "no"],
    ["list", "--fetch"],
    ["get", "--id", "esc_job"],
    ["log"],
    ["doctor"],
]


@pytest.mark.parametrize("circumstance", [local_commit, detached, another_branch, merging])
def test_commits_heads_branches_and_merges_are_as_they_were_after_every_command(
    lab: Lab, circumstance
) -> None:  # type: ignore[no-untyped-def]
    lab.escalations("job")
    clone = lab.clone("alice")
    (clone / "untracked.txt").write_text("u\n")
    circumstance(clone)
    before = state(clone)
    for args in ACTIONS:
        ran = kt(*args, cwd=clone)
        assert ran.code == 0, f"{args}: {ran.err}"
        assert state(clone) == before, args
    assert len(lab.commits("kt:")) == 6


def test_a_topic_branch_acts_on_the_store_branch(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    another_branch(clone)
    claim(clone)
    assert lab.commits("claim esc_job")
    assert git("log", "--format=%s", "topic", cwd=clone).splitlines()[0] == "mine"


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"])
def test_an_inherited_variable_does_not_redirect_a_write(lab: Lab, tmp_path: Path, variable: str) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    elsewhere = tmp_path / "elsewhere"
    git("init", "--quiet", str(elsewhere), cwd=tmp_path)
    (elsewhere / "file").write_text("x\n")
    places = {
        "GIT_DIR": elsewhere / ".git",
        "GIT_WORK_TREE": elsewhere,
        "GIT_INDEX_FILE": elsewhere / ".git/index",
        "GIT_OBJECT_DIRECTORY": elsewhere / ".git/objects",
    }
    before = sorted(str(path) for path in elsewhere.rglob("*"))
    claim(clone, env={variable: str(places[variable])})
    assert lab.commits("claim esc_job")
    assert git("rev-parse", "HEAD", cwd=clone) == lab.tip()
    assert git("status", "--porcelain", cwd=clone) == ""
    assert sorted(str(path) for path in elsewhere.rglob("*")) == before


def test_an_inherited_date_is_not_used(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    claim(clone, env={"GIT_AUTHOR_DATE": "@1 +0000", "GIT_COMMITTER_DATE": "@1 +0000"})
    assert int(git("log", "-1", "--format=%ct", "main", cwd=lab.remote)) > 1_600_000_000


def test_it_works_from_inside_a_hook(lab: Lab) -> None:
    lab.escalations("job")
    clone, other = lab.clone("alice"), lab.clone("bob")
    hook = other / ".git/hooks/post-commit"
    hook.parent.mkdir(exist_ok=True)
    import sys

    hook.write_text(
        f"#!/bin/sh\ncd {clone} && {sys.executable} -m kt_escalation escalation claim --id esc_job\n"
    )
    hook.chmod(0o755)
    local_commit(other)
    # git tells its hooks who commits, and whoever that is has acted.
    assert "claimed_by: bob@example.com" in lab.file("queue/esc_job.yaml")


# --- kinds of clones --------------------------------------------------------------------------------


def life(clone: Path) -> None:
    """The whole life of an escalation, in that clone."""
    for args in (
        ["raise", "--request-id", "r", "--reason-code", "a.b"],
        ["claim", "--id", "esc_r"],
        ["resolve", "--id", "esc_r", "--outcome", "approved", "--reason", "ok"],
        ["list", "--status", "all"],
        ["get", "--id", "esc_r"],
        ["log", "--id", "esc_r"],
    ):
        ran = kt(*args, cwd=clone)
        assert ran.code == 0, f"{args}: {ran.err}"
        assert "warning" not in ran.err.lower(), ran.err
        assert "left as it is" not in ran.err, ran.err
    assert git("status", "--porcelain", cwd=clone) == ""


def test_a_linked_worktree(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("checkout", "--quiet", "-b", "topic", cwd=clone)
    linked = lab.folder / "linked"
    git("worktree", "add", "--quiet", str(linked), "main", cwd=clone)
    life(linked)
    assert git("rev-parse", "HEAD", cwd=linked) == lab.tip()
    assert git("status", "--porcelain", cwd=clone) == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--depth=1"],
        ["--filter=blob:none"],
        ["--sparse"],
        ["--filter=blob:none", "--no-checkout"],
        ["--single-branch"],
    ],
    ids=" ".join,
)
def test_shallow_partial_and_sparse_clones(lab: Lab, options: list[str]) -> None:
    lab.escalations("job", "other")
    clone = lab.clone("alice", *options)
    if "--no-checkout" in options:
        git("checkout", "--quiet", "main", cwd=clone)
    life(clone)
    assert len(lab.commits("resolve esc_r")) == 1


@pytest.mark.parametrize(
    "wanted",
    ["tree:0", "combine:blob:none+tree:0", "combine:blob%3Anone+combine:tree%253A1", "object:type=commit"],
)
def test_a_clone_without_trees_is_refused_with_the_command(lab: Lab, wanted: str) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("config", "remote.origin.partialclonefilter", wanted, cwd=clone)
    ran = kt("verify", "--json", cwd=clone)
    assert (ran.code, ran.error["code"]) == (2, "shallow_clone")
    assert "`git fetch --refetch --filter=blob:none`" in ran.error["message"]
    git("config", "remote.origin.partialclonefilter", "combine:blob:none+blob:limit=1k", cwd=clone)
    assert kt("verify", cwd=clone).code == 0


def test_a_sha256_repository(tmp_path: Path) -> None:
    lab = Lab(tmp_path, object_format="sha256")
    lab.escalations("job")
    life(lab.clone("alice"))
    assert len(lab.tip()) == 64


def test_a_store_below_kt_root(lab: Lab) -> None:
    lab.put({"ops/review/policies/p.yaml": "pack: {enabled: true}\n", "queue/theirs.txt": "not ours\n"})
    clone = lab.clone("alice")
    git("config", "kt.root", "ops/review", cwd=clone)
    life(clone)
    assert [path for path in lab.files() if path.startswith("ops/review/queue/resolved/")]
    assert "queue/theirs.txt" in lab.files()


def test_stores_of_one_repository_leave_each_other_legal(lab: Lab) -> None:
    folders = ("", "ops/review", "ops/other")
    lab.put({f"{root}/policies/p.yaml".lstrip("/"): "pack: {enabled: true}\n" for root in folders})
    clone = lab.clone("alice")
    for root in folders:
        git("config", "kt.root", root, cwd=clone)
        life(clone)
        named = git("log", "-1", "--format=%(trailers:key=Kt-Root,valueonly)", "origin/main", cwd=clone)
        assert named.strip() == root
    git("pull", "--quiet", cwd=clone)
    for root in folders:
        git("config", "kt.root", root, cwd=clone)
        ran = kt("verify", "--json", cwd=clone)
        assert ran.json["violations"] == []
        assert ran.json["steps"] > 0


@pytest.mark.parametrize(
    ("named", "code"),
    [
        *(
            (root, 1)
            for root in ("ops/review/", "/ops/review", "Ops/Review", "./ops/review", "ops//review", "//")
        ),
        ("ops/review\nKt-Root: ops/other", 1),
        ("ops/other", 0),
    ],
)
def test_a_false_statement_is_the_stores_however_it_writes_the_folder(
    lab: Lab, named: str, code: int
) -> None:
    lab.put({"ops/review/queue/.gitkeep": ""})
    clone = lab.clone("alice")
    git("config", "kt.root", "ops/review", cwd=clone)
    message = f"kt: resolve esc_r1 as approved\n\nKt-Escalation: esc_r1\nKt-Root: {named}"
    git("commit", "--quiet", "--allow-empty", "-m", message, cwd=clone)
    ran = kt("verify", "--json", cwd=clone)
    assert (ran.code, {found["rule"] for found in ran.json["violations"]}) == (
        code,
        {"message"} if code else set(),
    )


@pytest.mark.parametrize("root", ["../out", "a/../../b", ".git", "a//b"])
def test_a_root_outside_the_repository_is_refused(lab: Lab, root: str) -> None:
    clone = lab.clone("alice")
    git("config", "kt.root", root, cwd=clone)
    assert kt("list", cwd=clone).code == 2


def test_another_remote_and_another_branch_by_configuration(lab: Lab) -> None:
    lab.escalations("job")
    git("branch", "review", "main", cwd=lab.remote)
    clone = lab.clone("alice")
    git("remote", "rename", "origin", "hub", cwd=clone)
    git("config", "kt.remote", "hub", cwd=clone)
    git("config", "kt.branch", "review", cwd=clone)
    before = state(clone)
    claim(clone)
    assert git("log", "-1", "--format=%s", "review", cwd=lab.remote) == "kt: claim esc_job"
    assert lab.commits("claim") == []
    assert state(clone) == before


def test_the_remotes_head_is_asked_once_and_remembered(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("remote", "set-head", "origin", "--delete", cwd=clone)
    claim(clone)
    assert git("symbolic-ref", "refs/remotes/origin/HEAD", cwd=clone) == "refs/remotes/origin/main"


def test_a_remote_that_is_not_configured_is_bad_input(lab: Lab) -> None:
    clone = lab.clone("alice")
    git("config", "kt.remote", "nowhere", cwd=clone)
    ran = kt("claim", "--next", cwd=clone)
    assert ran.code == 2
    assert "nowhere" in ran.err


# --- without a remote -------------------------------------------------------------------------------


def alone(lab: Lab) -> Path:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("remote", "remove", "origin", cwd=clone)
    return clone


def test_without_a_remote_the_local_branch_is_the_store(lab: Lab) -> None:
    clone = alone(lab)
    life(clone)
    assert git("log", "-1", "--format=%s", "main", cwd=clone) == "kt: resolve esc_r as approved"


def test_without_a_remote_a_staged_path_is_a_conflict_and_nothing_is_written(lab: Lab) -> None:
    clone = alone(lab)
    (clone / "queue/esc_job.yaml").write_text("staged by me\n")
    git("add", "--all", cwd=clone)
    before = state(clone)
    ran = kt("claim", "--id", "esc_job", "--json", cwd=clone)
    assert ran.code == 6
    assert ran.error["code"] == "path_staged"
    assert ran.error["path"] == "queue/esc_job.yaml"
    assert state(clone) == before


def test_without_a_remote_a_dirty_path_stays_while_branch_and_index_move(lab: Lab) -> None:
    clone = alone(lab)
    (clone / "queue/esc_job.yaml").write_text("my words\n")
    ran = kt("claim", "--id", "esc_job", cwd=clone)
    assert ran.code == 0
    assert "local changes" in ran.err
    assert (clone / "queue/esc_job.yaml").read_text() == "my words\n"
    assert git("status", "--porcelain", cwd=clone) == " M queue/esc_job.yaml"
    assert "status: claimed" in git("show", "main:queue/esc_job.yaml", cwd=clone)


def test_without_a_remote_a_dirty_path_in_a_move_stays_and_the_rest_comes_along(lab: Lab) -> None:
    clone = alone(lab)
    claim(clone)
    (clone / "queue/esc_job.yaml").write_text("my words\n")
    args = ["resolve", "--id", "esc_job", "--outcome", "denied", "--reason", "no"]
    assert kt(*args, cwd=clone).code == 0
    assert (clone / "queue/esc_job.yaml").read_text() == "my words\n"
    assert git("status", "--porcelain", cwd=clone) == "?? queue/esc_job.yaml"


def test_without_a_remote_a_file_that_was_only_copied_is_no_local_change(lab: Lab) -> None:
    """A folder that comes back from a backup has new times, which git compares before it reads."""
    clone = alone(lab)
    claim(clone)
    kt("raise", "--request-id", "new", "--reason-code", "a.b", cwd=clone)
    claim(clone, "--id", "esc_new")
    (clone / "queue/esc_job.yaml").write_text("my words\n")
    os.utime(clone / "queue/esc_new.yaml", (1, 1))
    both = ["--id", "esc_job", "--id", "esc_new", "--outcome", "denied", "--reason", "no"]
    ran = kt("resolve", *both, cwd=clone)
    assert ran.code == 0
    assert "queue/esc_job.yaml has local changes" in ran.err
    assert git("status", "--porcelain", cwd=clone) == "?? queue/esc_job.yaml"


def test_without_a_remote_a_detached_head_can_read_and_not_write(lab: Lab) -> None:
    clone = alone(lab)
    detached(clone)
    assert kt("list", cwd=clone).code == 0
    ran = kt("claim", "--id", "esc_job", "--json", cwd=clone)
    assert ran.code == 2
    assert ran.error["code"] == "no_store_branch"


def test_without_a_remote_the_branch_may_be_checked_out_elsewhere(lab: Lab) -> None:
    clone = alone(lab)
    git("config", "kt.branch", "main", cwd=clone)
    linked = lab.folder / "linked"
    git("worktree", "add", "--quiet", "-b", "topic", str(linked), cwd=clone)
    before = state_of_linked(linked)
    claim(linked)
    assert state_of_linked(linked) == before
    assert git("status", "--porcelain", cwd=clone) == ""
    assert "status: claimed" in (clone / "queue/esc_job.yaml").read_text()


def state_of_linked(linked: Path) -> list[str]:
    return [
        git(*args, cwd=linked)
        for args in (["rev-parse", "HEAD"], ["ls-files", "-s"], ["status", "--porcelain"])
    ]


def test_a_bare_repository_is_a_store_too(lab: Lab) -> None:
    lab.escalations("job")
    git("config", "user.name", "Bare", cwd=lab.remote)
    git("config", "user.email", "bare@example.com", cwd=lab.remote)
    ran = kt("claim", "--id", "esc_job", cwd=lab.remote)
    assert ran.code == 0, ran.err
    assert lab.commits("claim esc_job")


# --- people and trust -------------------------------------------------------------------------------


@pytest.mark.parametrize("alone_", [False, True])
def test_without_an_identity_writing_says_the_two_commands_that_set_it(lab: Lab, alone_: bool) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    if alone_:
        git("remote", "remove", "origin", cwd=clone)
    git("config", "--unset", "user.email", cwd=clone)
    ran = kt("claim", "--id", "esc_job", "--json", cwd=clone)
    assert ran.code == 2
    assert ran.error["code"] == "no_identity"
    assert "git config user.name" in ran.error["message"]
    assert "git config user.email" in ran.error["message"]
    assert lab.commits("claim") == []
    assert kt("list", cwd=clone).code == 0


@pytest.mark.parametrize("email", ["alice", "", "  "])
def test_an_address_that_could_pass_for_a_user_id_is_no_identity(lab: Lab, email: str) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("config", "user.email", email, cwd=clone)
    assert kt("claim", "--id", "esc_job", cwd=clone).code == 2


def test_author_and_committer_are_the_actor(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    names = {"GIT_AUTHOR_NAME": "Zoë Ü", "GIT_AUTHOR_EMAIL": "zoe@example.com", "GIT_COMMITTER_EMAIL": "x@y"}
    claim(clone, env=names)
    said = git("log", "-1", "--format=%an <%ae> %cn <%ce>", "main", cwd=lab.remote)
    assert said == "Zoë Ü <zoe@example.com> Zoë Ü <zoe@example.com>"


def test_what_git_would_sign_is_signed(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    program = lab.folder / "gpg"
    program.write_text(
        "#!/bin/sh\ncat >/dev/null\necho '[GNUPG:] SIG_CREATED ' >&2\n"
        "printf -- '-----BEGIN PGP SIGNATURE-----\\nby %s\\n-----END PGP SIGNATURE-----\\n' \"$3\"\n"
    )
    program.chmod(0o755)
    for key, value in {"commit.gpgsign": "true", "gpg.program": str(program), "user.signingkey": "K"}.items():
        git("config", key, value, cwd=clone)
    claim(clone)
    assert "gpgsig -----BEGIN PGP SIGNATURE-----" in git("cat-file", "commit", "main", cwd=lab.remote)


def test_a_signature_that_cannot_be_made_writes_nothing(lab: Lab) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    git("config", "commit.gpgsign", "true", cwd=clone)
    git("config", "gpg.program", "/bin/false", cwd=clone)
    ran = kt("claim", "--id", "esc_job", cwd=clone)
    assert ran.code == 2
    assert "sign" in ran.err
    assert lab.commits("claim") == []


def test_a_repository_that_git_considers_unsafe_is_refused_with_gits_words(lab: Lab) -> None:
    clone = lab.clone("alice")
    ran = kt("list", cwd=clone, env={"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"})
    # git's own switch for this is dropped with all other GIT_ variables: only a real owner counts.
    assert ran.code == 0
    if os.geteuid() == 0:
        os.chown(clone / ".git", 12345, 12345)
        os.chown(clone, 12345, 12345)
        ran = kt("list", cwd=clone)
        assert ran.code == 2
        assert "safe.directory" in ran.err


def test_a_remote_in_a_folder_of_another_user_is_not_told_as_unreachable(lab: Lab) -> None:
    clone = lab.clone("alice")
    words = f"fatal: detected dubious ownership in repository at '{lab.remote}'\nfatal: Could not read from remote"
    found = unreachable("origin", Done(128, b"", words), 1)
    if os.geteuid() == 0:
        os.chown(lab.remote, 12345, 12345)
        for args in (("list",), ("claim", "--id", "esc_job")):
            ran = kt(*args, "--fetch" if args == ("list",) else "--json", cwd=clone)
            assert ran.code == 4
            assert found.summary in ran.err
            assert "check the network" not in ran.err
        doctor = kt("doctor", cwd=clone)
        assert found.summary.removeprefix("the remote ") in doctor.out
    assert str(lab.remote) in found.summary
    assert found.remedy.endswith(f"`git config --global --add safe.directory {lab.remote}` on its machine")


@pytest.mark.parametrize("what", ["no repository", "no commit", "no store", "no folder"])
def test_what_is_no_store_says_so(tmp_path: Path, what: str) -> None:
    if what == "no commit":
        git("init", "--quiet", cwd=tmp_path)
    elif what == "no store":
        git("init", "--quiet", cwd=tmp_path)
        git(
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "x",
            cwd=tmp_path,
        )
    args = ["-C", str(tmp_path / "missing")] if what == "no folder" else []
    ran = kt("list", *args, "--json", cwd=tmp_path, env={"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)})
    assert ran.code == 2
    assert ran.error["code"] == "not_a_store"


def test_a_remote_that_is_not_called_origin_is_never_passed_over(lab: Lab) -> None:
    lab.escalations("one")
    clone = lab.clone("alice", "--origin", "upstream")
    refused = kt("claim", "--id", "esc_one", "--json", cwd=clone)
    assert refused.code == 2
    assert "git config kt.remote upstream" in refused.error["message"]
    assert kt("doctor", cwd=clone).code == 1
    git("config", "kt.remote", "upstream", cwd=clone)
    assert kt("claim", "--id", "esc_one", cwd=clone).code == 0
    assert lab.commits("claim esc_one")
    git("config", "kt.remote", "", cwd=clone)
    assert kt("note", "--id", "esc_one", "--text", "here alone", cwd=clone).code == 0
    assert not lab.commits("note")


def test_a_branch_that_is_not_there_is_not_read_as_another(lab: Lab) -> None:
    lab.escalations("one")
    clone = lab.clone("alice")
    git("config", "kt.branch", "nope", cwd=clone)
    ran = kt("list", "--json", cwd=clone)
    assert ran.code == 2
    assert ran.error["code"] == "no_store_branch"
    assert "kt.branch is nope" in ran.err


def test_a_clone_of_a_store_in_a_folder_is_told_which(lab: Lab) -> None:
    lab.put({"ops/review/policies/policy-config.yaml": "pack: {enabled: true}\n"})
    git("rm", "-rq", "policies", cwd=lab.seed)
    git("commit", "--quiet", "-m", "move", cwd=lab.seed)
    git("push", "--quiet", "origin", "HEAD:main", cwd=lab.seed)
    clone = lab.clone("alice")
    ran = kt("list", "--json", cwd=clone)
    assert ran.code == 2
    assert "git config kt.root ops/review" in ran.error["message"]
    git("config", "kt.root", "ops/review", cwd=clone)
    assert kt("list", cwd=clone).code == 0


def test_a_clone_made_before_the_store_is_told_to_fetch(lab: Lab, tmp_path: Path) -> None:
    git("init", "--bare", "--quiet", str(tmp_path / "new.git"), cwd=tmp_path)
    for name in ("early", "maker"):
        git("clone", "--quiet", str(tmp_path / "new.git"), name, cwd=tmp_path)
        git("config", "user.name", name, cwd=tmp_path / name)
        git("config", "user.email", f"{name}@example.com", cwd=tmp_path / name)
    assert kt("init", cwd=tmp_path / "maker").code == 0
    # Not every command has --fetch.
    for args in (["list"], ["verify"]):
        assert "ask the remote with `kt escalation list --fetch`" in kt(*args, cwd=tmp_path / "early").err
    for args in (["list", "--fetch"], ["list"], ["verify"]):
        assert kt(*args, cwd=tmp_path / "early").code == 0


def test_the_log_of_a_shallow_clone_ends_where_its_history_does(lab: Lab) -> None:
    lab.escalations("job", "other")
    older = lab.clone("alice")
    for name in ("one", "two"):
        assert kt("raise", "--request-id", name, "--reason-code", "a.b", cwd=older).code == 0
    clone = lab.clone("bob", "--depth", "2")
    for args in ([], ["--id", "esc_one"], ["--id", "esc_job"]):
        ran = kt("log", "--json", *args, cwd=clone)
        assert (ran.code, ran.error["code"]) == (2, "shallow_clone"), args
    assert [
        one["escalation_id"] for one in kt("log", "--json", "--limit", "1", cwd=clone).json["entries"]
    ] == ["esc_two"]
    assert (
        kt("log", "--json", "--id", "esc_two", cwd=clone).json
        == kt("log", "--json", "--id", "esc_two", cwd=older).json
    )
    [history] = [
        one for one in kt("doctor", "--json", cwd=clone).json["findings"] if one["check"] == "history"
    ]
    assert (history["ok"], history["remedy"]) == (True, "git fetch --unshallow")
    # What nobody did is not known either, also where the last commit here is not by the one who is asked about.
    with Store.open(clone) as store, pytest.raises(ShallowClone):
        list(store.done_by_me())
    git("fetch", "--quiet", "--unshallow", cwd=clone)
    assert kt("log", "--json", cwd=clone).json == kt("log", "--json", cwd=older).json
    with Store.open(clone) as store:
        assert not list(store.done_by_me())
