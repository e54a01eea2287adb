"""A server's hook beside what it judges: where it is installed, that it runs, what it costs, and that it goes again."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from forge import spare_start
from lab import Lab, Ran, git, kt

from kt_escalation.audit import hosting
from kt_escalation.audit.hosting import HookSettings
from kt_escalation.storage.clone import GitStore

ROSTER = """\
users:
  - {user_id: alice, emails: [alice@example.com], roles: [reviewer], logins: ["gitlab:Alice-K", "gitolite:al"]}
  - {user_id: bob, emails: [bob@example.com], roles: [reviewer]}
  - {user_id: boss, emails: [boss@example.com], roles: [admin]}
"""


def hook(server: Path, verb: str, *args: str) -> Ran:
    return kt("hook", verb, "--server", str(server), *args, cwd=server.parent)


def installed(server: Path, *args: str) -> Ran:
    ran = hook(server, "install", *args)
    assert ran.code == 0, ran.err
    return ran


def status(server: Path, *args: str) -> Ran:
    return hook(server, "status", *args)


def note(clone: Path, **env: str) -> Ran:
    """An honest step, committed and pushed."""
    return kt("note", "--id", "esc_job", "--text", "seen", "--json", cwd=clone, env=env)


def config(server: Path) -> str:
    return git("config", "--local", "--list", cwd=server)


@pytest.fixture
def clone(lab: Lab) -> Path:
    """Alice's clone of a store on a server without a hook."""
    lab.escalations("job")
    return lab.clone("alice")


# --- where it is installed ------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [True, False])
def test_it_is_installed_where_git_looks_for_hooks(lab: Lab, clone: Path, relative: bool) -> None:
    git(
        "config", "core.hooksPath", "our-hooks" if relative else str(lab.remote / "our-hooks"), cwd=lab.remote
    )
    assert status(lab.remote).code == 1
    ran = hook(lab.remote, "install", "--json")
    assert ran.json["hook"] == str(lab.remote / "our-hooks/pre-receive")
    assert status(lab.remote, "--json").json["hooks_path"] == str(lab.remote / "our-hooks")
    push_of_nonsense(clone, refused=True)


def push_of_nonsense(clone: Path, *, refused: bool) -> str:
    (clone / "queue").mkdir(exist_ok=True)
    (clone / "queue/esc_odd.yaml").write_text("no record\n")
    git("add", "queue", cwd=clone)
    git("commit", "--quiet", "-m", "nonsense", cwd=clone)
    done = subprocess.run(
        ["git", "push", "origin", "HEAD:main"], cwd=clone, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 1) == refused, done.stderr
    return done.stderr


def test_a_folder_of_hooks_that_others_share_is_left_alone(
    lab: Lab, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    settings = tmp_path / "settings"
    settings.write_text(f"[core]\n\thooksPath = {shared}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    ran = hook(lab.remote, "install", "--json")
    assert ran.code == 2
    assert "core.hooksPath is set for more than this repository" in ran.error["message"]
    assert not list(shared.iterdir())
    assert not (lab.remote / "hooks/pre-receive").exists()
    assert status(lab.remote, "--json").json["runs"] is False
    cure = ran.error["message"].split("`")[1]
    assert subprocess.run(shlex.split(cure), check=False).returncode == 0
    installed(lab.remote)
    assert status(lab.remote).code == 0
    push_of_nonsense(clone, refused=True)


def test_where_no_hook_can_be_it_says_so(lab: Lab) -> None:
    git("config", "core.hooksPath", os.devnull, cwd=lab.remote)
    ran = hook(lab.remote, "install", "--json")
    assert ran.code == 2
    assert os.devnull in ran.error["message"]


def test_a_working_clone_is_refused_without_force(lab: Lab, clone: Path) -> None:
    for where in (clone, clone / ".git"):
        ran = hook(where, "install", "--json")
        assert ran.code == 2
        assert "is a working clone" in ran.error["message"]
    assert not (clone / ".git/hooks/pre-receive").exists()
    installed(clone, "--force")
    assert status(clone).code == 0


def test_another_hook_is_left_alone_and_one_that_calls_ours_counts(lab: Lab, clone: Path) -> None:
    path = lab.remote / "hooks/pre-receive"
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    ran = hook(lab.remote, "install", "--json")
    assert ran.code == 2
    assert "is another hook; call this from it: " in ran.error["message"]
    found = status(lab.remote)
    assert found.code == 1
    assert "is another hook and does not call kt" in found.err
    path.write_text(f"#!/bin/sh\nset -e\n{ran.error['message'].partition('from it: ')[2]}\n")
    assert status(lab.remote).code == 0
    push_of_nonsense(clone, refused=True)
    assert hook(lab.remote, "uninstall").code == 2
    assert path.exists()


# --- that it runs ---------------------------------------------------------------------------------


def test_status_tells_what_guards_which_branch(lab: Lab, clone: Path) -> None:
    found = status(lab.remote, "--json")
    assert found.code == 1
    assert "there is no " in found.err
    assert found.json == {
        "ok": False,
        "repository": str(lab.remote),
        "hooks_path": str(lab.remote / "hooks"),
        "runs": False,
        "branch": "main",
        "root": "",
        "pusher_from": None,
        "nobody_proven": True,
    }
    installed(lab.remote, "--pusher-from", "REMOTE_USER")
    found = status(lab.remote, "--json")
    assert found.code == 0
    assert found.err == ""
    assert found.json | {"ok": True, "runs": True, "pusher_from": "REMOTE_USER"} == found.json
    assert found.json["nobody_proven"] is False
    assert "guards the branch main, and REMOTE_USER names who pushes" in status(lab.remote).out
    other = status(lab.remote, "--branch", "trunk")
    assert other.code == 1
    assert "it guards main, not trunk; run `git -C" in other.err
    assert status(lab.remote, "--branch", "main").code == 0


def test_status_finds_a_hook_that_git_leaves_out(lab: Lab, clone: Path) -> None:
    installed(lab.remote)
    path = lab.remote / "hooks/pre-receive"
    path.chmod(0o644)
    found = status(lab.remote)
    assert found.code == 1
    assert "it is not executable" in found.err
    push_of_nonsense(clone, refused=False)
    [cure] = [word for word in found.err.split("`") if word.startswith("chmod")]
    assert subprocess.run(shlex.split(cure), check=False).returncode == 0
    assert status(lab.remote).code == 0
    git("config", "core.hooksPath", "elsewhere", cwd=lab.remote)
    assert status(lab.remote).code == 1


@pytest.mark.parametrize(("python", "code"), [("/nowhere/python3", 127), ("/bin/false", 1), ("/bin/true", 0)])
def test_a_hook_whose_python_is_gone_refuses_and_says_who_can_fix_it(
    lab: Lab, clone: Path, python: str, code: int
) -> None:
    installed(lab.remote)
    path = lab.remote / "hooks/pre-receive"
    path.write_text(path.read_text().replace(sys.executable, python))
    assert status(lab.remote).code == 1
    if code == 0:
        return  # whoever replaces Python by another program is the administrator
    ran = note(clone)
    assert ran.code == 4
    assert git("log", "-1", "--format=%s", "main", cwd=lab.remote) != "kt: note esc_job"
    message = ran.error["message"]
    assert f"kt: the hook on the server is broken: it ended with status {code}; " in message
    assert f"runs `kt escalation hook install --server {lab.remote}` there" in message
    assert message.endswith("nothing changed; the administrator of the server can fix that")
    assert "pull request" not in message
    installed(lab.remote)
    assert note(clone).code == 0


def test_a_package_that_is_gone_is_a_broken_hook(lab: Lab, clone: Path, tmp_path: Path) -> None:
    """With the Python that is there, but none of ours in it."""
    installed(lab.remote)
    bare = tmp_path / "bare-python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    path = lab.remote / "hooks/pre-receive"
    path.write_text(path.read_text().replace(sys.executable, str(bare / "bin/python")))
    ran = note(clone)
    assert ran.code == 4
    assert "kt: the hook on the server is broken: it ended with status 1; " in ran.error["message"]
    found = status(lab.remote)
    assert found.code == 1
    assert "No module named kt_escalation" in found.err


def test_on_gitlab_a_broken_hook_is_shown_on_its_pages(lab: Lab, clone: Path) -> None:
    installed(lab.remote)
    path = lab.remote / "hooks/pre-receive"
    path.write_text(path.read_text().replace(sys.executable, "/nowhere/python3"))
    assert (
        "GL-HOOK-ERR: kt: the hook on the server is broken"
        in note(clone, GL_USERNAME="alice").error["message"]
    )


def test_no_module_beside_the_repository_runs_in_the_hook(lab: Lab, clone: Path, tmp_path: Path) -> None:
    installed(lab.remote)
    evil = tmp_path / "evil"
    evil.mkdir()
    for folder in (lab.remote, lab.remote.parent, evil):
        for name in ("yaml", "click", "kt_escalation", "sitecustomize"):
            (folder / f"{name}.py").write_text(
                f"open({str(evil / 'ran')!r}, 'w').close()\nraise SystemExit(0)\n"
            )
    env = {"PYTHONPATH": str(evil), "PYTHONHOME": str(evil), "PYTHONSTARTUP": str(evil / "yaml.py")}
    done = subprocess.run(
        ["git", "push", "--quiet", "origin", "HEAD~0:refs/heads/side"],
        cwd=clone,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no record" not in push_of_nonsense(clone, refused=True)
    assert not (evil / "ran").exists()


def test_a_hook_that_would_not_run_is_not_left_behind(lab: Lab) -> None:
    """As where kt is installed for one user, whose packages `python -I` does not see."""
    with pytest.raises(Exception, match=r"the hook would not run: .*status 1") as caught:
        hosting.install(lab.remote, ["/bin/false"])
    assert "virtual environment" in str(caught.value)
    assert not (lab.remote / "hooks/pre-receive").exists()
    assert "kt." not in config(lab.remote)


# --- what it sets and pins ------------------------------------------------------------------------


def test_it_pins_where_the_store_is_and_what_it_began_with(lab: Lab, clone: Path) -> None:
    installed(lab.remote, "--pusher-from", "GL_USER", "--logins", "gitolite")
    [start] = git("log", "--format=%H", "--reverse", "--", "queue", cwd=clone).splitlines()[:1]
    with_store = GitStore(lab.remote)
    assert hosting.pins(with_store.repository) == HookSettings("main", "", start, "GL_USER", "gitolite")
    with_store.close()
    git("config", "kt.start", "1" * 40, cwd=lab.remote)
    # What is not given again stays as it is.
    told = hook(lab.remote, "install", "--json").json
    assert (told["pusher_from"], told["logins"]) == ("GL_USER", "gitolite")
    assert git("config", "kt.start", cwd=lab.remote) == "1" * 40


def test_git_checks_objects_and_a_push_is_bounded(lab: Lab, clone: Path) -> None:
    git("config", "receive.maxInputSize", "1m", cwd=lab.remote)
    git("config", "receive.fsckObjects", "false", cwd=lab.remote)
    installed(lab.remote)
    settings = dict(line.split("=", 1) for line in config(lab.remote).splitlines())
    wanted = {
        "receive.fsckobjects": "true",
        "receive.fsck.badfilemode": "error",
        "core.commitgraph": "true",
        "fetch.writecommitgraph": "true",
        "gc.writecommitgraph": "true",
        "receive.maxinputsize": "1m",
        "core.bigfilethreshold": "16m",
        "pack.windowmemory": "64m",
    }
    assert wanted.items() <= settings.items()
    git("config", "receive.fsckObjects", "false", cwd=lab.remote)
    assert "receive.fsckObjects is not true" in status(lab.remote).err
    git("config", "receive.fsckObjects", "true", cwd=lab.remote)
    # A mode that git diffs as nothing.
    blob = git("rev-parse", "HEAD:queue/esc_job.yaml", cwd=clone)
    tree = store_object(clone, "tree", b"100664 esc_job.yaml\0" + bytes.fromhex(blob))
    top = git("mktree", cwd=clone, stdin=f"040000 tree {tree}\tqueue\n")
    odd = git("commit-tree", "-p", "HEAD", "-m", "odd", top, cwd=clone)
    done = subprocess.run(
        ["git", "push", "origin", f"{odd}:refs/heads/side"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0, done.stderr
    assert "badFilemode" in done.stderr, done.stderr


def store_object(repository: Path, kind: str, data: bytes) -> str:
    """Write an object as it is, which git's own commands would not."""
    whole = b"%s %d\0%s" % (kind.encode(), len(data), data)
    oid = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
    path = repository / ".git/objects" / oid[:2] / oid[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(whole))
    return oid


def bombed(clone: Path, queue: str) -> str:
    """What the server says of a push that makes this tree the queue."""
    policies = git("rev-parse", "HEAD:policies", cwd=clone)
    top = tree_of(clone, [("40000", "policies", policies), ("40000", "queue", queue)])
    bomb = git("commit-tree", "-p", "HEAD", "-m", "bomb", top, cwd=clone)
    done = subprocess.run(
        ["git", "push", "origin", f"{bomb}:refs/heads/main"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert note(clone).code == 0
    return done.stderr


def test_a_push_that_needs_too_much_memory_is_refused(lab: Lab, clone: Path) -> None:
    """300,000 files, which are one blob."""
    installed(lab.remote, "--memory", "64m", "--timeout", "60s")
    blob = git("hash-object", "-w", "--stdin", cwd=clone, stdin="x\n")
    queue = tree_of(clone, [("100644", f"esc_{number:06}.yaml", blob) for number in range(300_000)])
    # Whether it was Python or a git that it has started which got no more.
    assert "remote: kt: this push cannot be judged within 64 MiB of memory" in bombed(clone, queue)


def test_folders_that_are_no_part_of_a_store_cost_nothing(lab: Lab, clone: Path) -> None:
    """3 million paths in 60 kB: 10,000 files, 300 times."""
    installed(lab.remote, "--memory", "64m")
    blob = git("hash-object", "-w", "--stdin", cwd=clone, stdin="x\n")
    tree = tree_of(clone, [("100644", f"esc_{number:05}.yaml", blob) for number in range(10_000)])
    queue = tree_of(clone, [("40000", f"d{number:03}", tree) for number in range(300)])
    assert "queue/d000: foreign: " in bombed(clone, queue)


@pytest.mark.parametrize("count", [20_000, 30_000])
def test_a_folder_above_the_store_is_not_so_large_that_every_later_push_is_late(
    lab: Lab, clone: Path, count: int
) -> None:
    installed(lab.remote)
    junk = git("hash-object", "-w", "--stdin", cwd=clone, stdin="x\n")
    there = (line.split(maxsplit=3) for line in git("ls-tree", "HEAD", cwd=clone).splitlines())
    entries = [(mode.lstrip("0"), name, oid) for mode, _, oid, name in there]
    # All of them come after what is there.
    assert max(name for _, name, _ in entries) < "z"
    top = tree_of(clone, [*entries, *(("100644", f"z{number:023}", junk) for number in range(count))])
    tip = git("commit-tree", "-p", "HEAD", "-m", "Add files", top, cwd=clone)
    is_large = count * (24 + 28) > 1024 * 1024
    ran = subprocess.run(
        ["git", "push", "--quiet", "origin", f"{tip}:refs/heads/main"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode == 0) == (not is_large), ran.stderr
    assert ("has more than 1024 KiB of entries beside the store" in ran.stderr) == is_large
    # In a clone that has it by another way nothing is written on it.
    git("update-ref", "refs/heads/main", tip, cwd=clone)
    git("update-ref", "refs/remotes/origin/main", tip, cwd=clone)
    verified = kt("verify", "--json", cwd=clone)
    assert [one["rule"] for one in verified.json["violations"]] == ["tree"] * is_large
    listed = kt("list", "--json", "--no-fetch", cwd=clone)
    assert listed.code == (2 if is_large else 0)
    assert not is_large or listed.error["code"] == "unreadable_store"


def tree_of(repository: Path, entries: Sequence[tuple[str, str, str]]) -> str:
    lines = (f"{mode} {name}\0".encode() + bytes.fromhex(oid) for mode, name, oid in entries)
    return store_object(repository, "tree", b"".join(lines))


def test_what_is_wrong_with_a_push_is_told_in_few_lines(lab: Lab, clone: Path) -> None:
    installed(lab.remote)
    for number in range(30):
        (clone / f"queue/esc_n{number}.yaml").write_text("no record\n")
    said = push_of_nonsense(clone, refused=True)
    assert said.count("remote: kt: commit ") == 20
    assert "remote: kt: and more; `kt escalation check` prints all of it" in said


@pytest.mark.parametrize(
    "args",
    [
        ["--logins", "GitLab"],
        ["--logins", "gitlab"],
        ["--memory", "much"],
        ["--pusher-from", "X", "--logins", "a b"],
    ],
    ids=" ".join,
)
def test_nonsense_is_not_installed(lab: Lab, args: list[str]) -> None:
    before = config(lab.remote)
    assert hook(lab.remote, "install", *args).code == 2
    assert config(lab.remote) == before
    assert not (lab.remote / "hooks/pre-receive").exists()


# --- what it says -----------------------------------------------------------------------------------


def test_it_says_what_is_illegal_already_and_that_nothing_proves_names(lab: Lab) -> None:
    said = installed(lab.remote).err
    assert "violation" not in said
    assert "nothing proves names: " in said
    assert "nothing proves names: " in status(lab.remote).err
    (lab.remote / "hooks/pre-receive").unlink()
    lab.put({"queue/notes.txt": "mine\n"})
    said = installed(lab.remote, "--pusher-from", "REMOTE_USER").err
    assert "1 violation on main from before this hook" in said
    assert "nothing proves names" not in said
    assert "1 violation on main" in status(lab.remote).err


def test_where_signatures_are_required_names_are_proven(lab: Lab) -> None:
    lab.put({"policies/settings.yaml": "signatures: required\n"})
    assert "nothing proves names" not in installed(lab.remote).err
    assert status(lab.remote, "--json").json["nobody_proven"] is False


def test_a_new_server_is_guarded_before_there_is_a_store(tmp_path: Path) -> None:
    git("init", "--quiet", "--bare", "--initial-branch=main", "new.git", cwd=tmp_path)
    server = tmp_path / "new.git"
    said = installed(server, "--pusher-from", "REMOTE_USER").err
    assert "there is no branch main yet" in said
    assert "verify" not in said
    assert status(server).code == 0
    assert "kt.start" not in config(server)


# --- who pushes -------------------------------------------------------------------------------------


def test_no_variable_is_known_by_itself(lab: Lab, clone: Path) -> None:
    lab.put({"policies/roster.yaml": ROSTER})
    installed(lab.remote)
    git("pull", "--quiet", cwd=clone)
    assert note(clone, REMOTE_USER="bob", GL_USERNAME="bob", GITEA_PUSHER_NAME="bob").code == 0


@pytest.mark.parametrize("name", ["gitlab:Alice-K", "gitolite:al", "alice\u00a0", "\u3000alice"])
def test_a_name_is_a_login_only_where_it_is_said_to_be_one(lab: Lab, clone: Path, name: str) -> None:
    lab.put({"policies/roster.yaml": ROSTER})
    installed(lab.remote, "--pusher-from", "WHO")
    spare_start(lab.remote)
    git("pull", "--quiet", cwd=clone)
    assert note(clone, WHO=name).code == 4
    assert note(clone, WHO="alice").code == 0


@pytest.mark.parametrize("name", [None, "", "  "])
def test_a_variable_that_is_unset_or_empty_refuses(lab: Lab, clone: Path, name: str | None) -> None:
    lab.put({"policies/roster.yaml": ROSTER})
    installed(lab.remote, "--pusher-from", "WHO")
    spare_start(lab.remote)
    git("pull", "--quiet", cwd=clone)
    ran = note(clone, REMOTE_USER="alice", **({} if name is None else {"WHO": name}))
    assert ran.code == 4
    assert "this server does not say who is pushing" in ran.error["message"]
    assert note(clone, WHO="alice").code == 0


@pytest.mark.parametrize(
    ("forge", "name", "taken"),
    [
        ("gitlab", "alice-k", True),
        ("gitlab", "ALICE-K", True),
        ("gitlab", "alice", False),
        ("gitlab", "alice@example.com", False),
        ("gitlab", "al", False),
        ("github", "Alice-K", False),
        ("gitolite", "al", True),
        ("gitolite", "AL", False),
    ],
)
def test_a_forges_logins_are_matched_and_nothing_else(
    lab: Lab, clone: Path, forge: str, name: str, taken: bool
) -> None:
    lab.put({"policies/roster.yaml": ROSTER})
    installed(lab.remote, "--pusher-from", "WHO", "--logins", forge)
    spare_start(lab.remote)
    git("pull", "--quiet", cwd=clone)
    assert (note(clone, WHO=name).code == 0) == taken


@pytest.mark.parametrize(
    ("options", "boss", "other"), [([], "boss", "eve"), (["--logins", "gitlab"], "Boss-K", "boss")]
)
def test_the_first_roster_says_who_pushes_it(
    tmp_path: Path, options: list[str], boss: str, other: str
) -> None:
    """Before it nobody has a name but an e-mail, so a server that gives others lets nobody act."""
    server, clone = tmp_path / "server.git", tmp_path / "boss"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(server), cwd=tmp_path)
    installed(server, "--pusher-from", "WHO", *options)
    spare_start(server)
    git("clone", "--quiet", str(server), str(clone), cwd=tmp_path)
    git("config", "user.name", "Boss", cwd=clone)
    git("config", "user.email", "boss@example.com", cwd=clone)
    assert kt("init", cwd=clone, env={"WHO": boss}).code == 0
    early = kt("raise", "--request-id", "x", "--reason-code", "a.b", "--json", cwd=clone, env={"WHO": boss})
    assert early.code == 4
    assert "push policies/roster.yaml first" in early.error["message"]
    roster = ROSTER.replace("roles: [admin]", 'roles: [admin], logins: ["gitlab:boss-k"]')
    (clone / "policies/roster.yaml").write_text(roster)
    git("add", "policies", cwd=clone)
    git("commit", "--quiet", "-m", "who is who", cwd=clone)
    for who, code in ((other, 1), (boss, 0)):
        done = subprocess.run(
            ["git", "push", "origin", "HEAD:main"],
            cwd=clone,
            env={**os.environ, "WHO": who},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert ("pusher: expected a commit by" in done.stderr) == bool(code)
    late = kt("raise", "--request-id", "x", "--reason-code", "a.b", cwd=clone, env={"WHO": boss})
    assert late.code == 0, late.err


# --- and it goes again --------------------------------------------------------------------------------


def test_uninstall_takes_away_what_install_brought_and_nothing_else(lab: Lab, clone: Path) -> None:
    git("config", "receive.maxInputSize", "1m", cwd=lab.remote)
    git("config", "kt.forge", "gitea", cwd=lab.remote)
    before = config(lab.remote)
    installed(lab.remote, "--root", "", "--pusher-from", "REMOTE_USER", "--logins", "gitea")
    installed(lab.remote)
    git("config", "pack.threads", "2", cwd=lab.remote)
    ran = hook(lab.remote, "uninstall", "--json")
    assert ran.code == 0
    assert ran.json["changed"] is True
    assert "kt.pusherFrom" in ran.json["settings"]
    assert sorted(config(lab.remote).splitlines()) == sorted([*before.splitlines(), "pack.threads=2"])
    assert not list((lab.remote / "hooks").iterdir())
    again = hook(lab.remote, "uninstall", "--json")
    assert again.code == 0
    assert again.json == {"hook": None, "changed": False, "settings": []}
    assert status(lab.remote).code == 1
    push_of_nonsense(clone, refused=False)


def test_the_hook_can_be_run_by_everybody_and_written_by_its_owner(lab: Lab) -> None:
    installed(lab.remote)
    assert stat.S_IMODE((lab.remote / "hooks/pre-receive").stat().st_mode) == 0o755


def test_the_servers_folder_is_found_from_the_folder_that_the_option_names(clone: Path, lab: Lab) -> None:
    beside = lab.remote.name
    for verb in ("install", "status", "uninstall"):
        ran = kt("hook", verb, "--server", beside, "-C", str(lab.remote.parent), "--json", cwd=clone)
        assert ran.code == 0, ran.err
    assert not (lab.remote / "hooks/pre-receive").exists()
    for args in (["--server", beside], ["--server", str(lab.folder), "-C", str(clone)]):
        # This names a store, and no folder in which servers are.
        env = {"KT_REPO": str(lab.remote.parent)}
        ran = kt("hook", "status", *args, "--json", cwd=clone, env=env)
        assert (ran.code, ran.error["code"]) == (2, "not_a_store")
        assert ran.error["message"].endswith("; name the server's bare repository with --server")
