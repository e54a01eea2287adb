"""A store that is forged in the tests: legal steps are kt's, others plain git's; and a server with the hook."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import warm
from lab import Ran, git, kt

from kt_escalation.model.times import format_time

ROSTER = """\
teams:
  - {team_id: legal, members: [alice, bob]}
  - {team_id: security, members: [carol]}
users:
  - {user_id: alice, emails: [alice@example.com, alice@home.example], roles: [reviewer]}
  - {user_id: bob, emails: [bob@example.com], roles: [reviewer]}
  - {user_id: carol, emails: [carol@example.com], roles: [reviewer]}
  - {user_id: boss, emails: [boss@example.com], roles: [admin]}
  - {user_id: gw, emails: [gw@example.com], roles: [gateway]}
  - {user_id: eve, emails: [eve@example.com], roles: [auditor]}
"""
SETTINGS = """\
default_route: {team_id: legal}
claims: {lease: 1h}
rules:
  - match: {severity: critical}
    approvals: 2
    claim_within: 3h
    resolve_within: 4h
    fallback: {team_id: security}
"""
ONE, TWO, DONE = "queue/esc_one.yaml", "queue/esc_two.yaml", "queue/esc_done.yaml"


class Forge:
    """A store in one repository, where legal steps are kt's and others plain git's."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store"
        git("init", "--quiet", str(self.path), cwd=folder)
        self.write("policies/policy-config.yaml", "pack: {enabled: true}\n")
        self.write("policies/roster.yaml", ROSTER)
        self.write("policies/settings.yaml", SETTINGS)
        self.commit("boss", "start")
        self.raised("one")
        self.raised("two", severity="critical")
        self.raised("done")
        self.kt("alice", "claim", "--id", "esc_done")
        self.kt("alice", "resolve", "--id", "esc_done", "--outcome", "denied", "--reason", "no")

    def raised(self, name: str, **flags: str) -> None:
        given = [word for key, value in flags.items() for word in (f"--{key}", value)]
        self.kt("gw", "raise", "--request-id", name, "--reason-code", "a.b", *given)

    def kt(self, who: str, *args: str) -> None:
        ran = kt(*args, cwd=self.path, env=identity(who))
        assert ran.code == 0, ran.err

    def git(self, *args: str, who: str = "alice") -> str:
        return git(*args, cwd=self.path, env=identity(who))

    def read(self, path: str) -> str:
        return (self.path / path).read_text()

    def write(self, path: str, text: str) -> None:
        (self.path / path).parent.mkdir(parents=True, exist_ok=True)
        (self.path / path).write_text(text)

    def edit(self, path: str, *pairs: tuple[str, str]) -> None:
        """Change a file's text; each pattern must be there."""
        text = self.read(path)
        for pattern, by in pairs:
            assert re.search(pattern, text, re.MULTILINE), f"{pattern} is not in {text}"
            text = re.sub(pattern, by, text, count=1, flags=re.MULTILINE)
        self.write(path, text)

    def commit(self, who: str, message: str = "kt: by hand", **env: str) -> str:
        git("add", "--all", cwd=self.path)
        git("commit", "--quiet", "--allow-empty", "-m", message, cwd=self.path, env={**identity(who), **env})
        return self.tip()

    def tip(self) -> str:
        return tip_of(self.path / ".git")

    def resolved(self, name: str) -> str:
        found = git("ls-files", f"queue/resolved/*/esc_{name}.yaml", cwd=self.path)
        assert found
        return found

    def as_kt_does(self, who: str, *args: str) -> None:
        """Let kt make a step, and take its commit back, leaving the files: the ground for a forgery."""
        self.kt(who, *args)
        git("reset", "--quiet", "--soft", "HEAD^", cwd=self.path)

    def as_kt_does_unsigned(self, who: str, *args: str) -> None:
        """The same with a key that can no longer sign."""
        self.git("config", "commit.gpgsign", "false")
        self.as_kt_does(who, *args)
        self.git("config", "commit.gpgsign", "true")


def tip_of(git_dir: Path) -> str:
    """The commit that HEAD stands for; read from the files, where a branch has its own, since it is asked so often."""
    head = (git_dir / "HEAD").read_text().strip()
    loose = git_dir / head.removeprefix("ref: ")
    if head.startswith("ref: ") and loose.is_file():
        return loose.read_text().strip()
    return git("rev-parse", "HEAD", cwd=git_dir)


def identity(who: str) -> dict[str, str]:
    email = who if "@" in who else f"{who}@example.com"
    return {
        "GIT_AUTHOR_NAME": who,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": who,
        "GIT_COMMITTER_EMAIL": email,
    }


def later(**span: int) -> str:
    return format_time(datetime.now(UTC) + timedelta(**span))


def side(forge: Forge, *args: str, who: str = "bob") -> None:
    """A step on a side branch; the main line is checked out again afterwards."""
    forge.git("switch", "--quiet", "-c", "side")
    forge.kt(who, *args)
    forge.git("switch", "--quiet", "-")


#: A server for each state of a store that one was made for: the hook's installation starts fifty processes.
SERVERS: dict[tuple[object, ...], Path] = {}


def serve(forge: Forge, *options: str) -> Path:
    """A bare repository with the history so far, and the hook; a copy where a store in the same state had one.

    The hook as it is installed is what tests/test_hosting.py and tests/servers push to.
    """
    bare = forge.path.parent / "server.git"
    key = (
        *options,
        forge.git("for-each-ref"),
        (forge.path / ".git/HEAD").read_text(),
        *sorted((name, value) for name, value in os.environ.items() if name.startswith(("GIT_", "KT_"))),
    )
    if key not in SERVERS:
        # One whose installation failed stays there, and must not be in the way of the next one.
        kept = (
            Path(tempfile.mkdtemp(prefix="server-", dir=Path(os.environ["GIT_CONFIG_GLOBAL"]).parent))
            / "kept.git"
        )
        git("clone", "--quiet", "--bare", "--no-hardlinks", str(forge.path), str(kept), cwd=forge.path)
        git("remote", "remove", "origin", cwd=kept)
        ran = kt("hook", "install", "--server", str(kept), *options, cwd=forge.path)
        assert ran.code == 0, ran.err
        SERVERS[key] = kept
    shutil.copytree(SERVERS[key], bare, symlinks=True)
    hook = bare / "hooks/pre-receive"
    hook.write_text(hook.read_text().replace(str(SERVERS[key]), str(bare)))
    spare_start(bare)
    return bare


def spare_start(server: Path) -> None:
    """Let the hook's last line, the command, be run without the start of Python; the rest stays as it was installed."""
    hook = server / "hooks/pre-receive"
    start, _, command = hook.read_text().rpartition(f"\n{sys.executable} -I -m kt_escalation ")
    assert start
    # The four seconds that it has are less than a busy machine may need for a push.
    limit = "" if "--timeout" in command else " --timeout 60s"
    hook.write_text(f"{start}\n{warm.kt_folder()}/kt {command.rstrip()}{limit}\n")


def push(forge: Forge, server: Path, *options: str, what: str = "HEAD:main", **env: str) -> Ran:
    """Push the branch as plain git does."""
    done = subprocess.run(
        ["git", "push", *options, str(server), what],
        cwd=forge.path,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def offer(forge: Forge, server: Path) -> Ran:
    """What the server's hook says of a push, run as git would but in this process, without its start of Python."""
    command = shlex.split((server / "hooks/pre-receive").read_text().splitlines()[-1])
    update = f"{git('rev-parse', 'main', cwd=server)} {forge.tip()} refs/heads/main\n"
    return kt(
        *command[command.index("escalation") + 1 :],
        *("--timeout", "60s"),
        cwd=server,
        env={"GIT_DIR": ".", "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(forge.path / ".git/objects")},
        stdin=update.encode(),
    )


def in_full(corpus: Mapping[str, tuple[Any, ...]]) -> list[object]:
    """Forgeries that everybody is asked about: the first of each rule in every run, all of them in `make soak`."""
    first = {rule: name for name, (rule, *_) in reversed(corpus.items())}
    return [
        pytest.param(name, marks=() if first[rule] == name else pytest.mark.soak)
        for name, (rule, *_) in corpus.items()
    ]


def others(corpus: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Those that only the soak asks everybody about: in every run `verify` and the hook are asked."""
    rules = [rule for rule, *_ in corpus.values()]
    return [name for at, name in enumerate(corpus) if rules[at] in rules[:at]]


def way_in(corpus: Mapping[str, tuple[Any, ...]], name: str) -> Callable[[Forge, Path], Ran]:
    """How a forgery comes to the server: the first of each rule by a real push, the others to the same command."""
    first = next(other for other, (rule, *_) in corpus.items() if rule == corpus[name][0])
    return push if name == first else offer


def assert_refused(
    forge: Forge, server: Path, rule: str, said: str = "", *, by: Callable[[Forge, Path], Ran] = push
) -> list[dict[str, Any]]:
    """All three that judge find what has been done since the server's tip, and name it; all that `verify` found."""
    before = git("rev-parse", "main", cwd=server)
    ran = kt("verify", "--afresh", "--json", cwd=forge.path)
    assert ran.code == 1
    assert ran.json["ok"] is False
    told = [found for found in ran.json["violations"] if found["rule"] == rule and said in found["expected"]]
    assert told, ran.json["violations"]
    # Each names the commit, which is new, its author, and a file of the store.
    authors = dict(
        line.split(" ", 1) for line in forge.git("log", "--format=%H %ae", f"{before}..").split("\n")
    )
    for found in told:
        # In an encoding that others read differently it is by nobody.
        is_odd = forge.git("log", "--no-walk", "--format=%e", found["commit"]) == "UTF-16"
        assert found["author"] == ("" if is_odd else authors[found["commit"]])
    assert all(found["path"].partition("/")[0] in ("queue", "policies") for found in told)
    again = kt("verify", cwd=forge.path)
    assert again.code == 1
    for found in told:
        assert f"{found['path']}: {rule}: {found['expected']}" in again.out
    checked = kt("check", f"{before}..HEAD", "--json", cwd=forge.path)
    found = checked.json["violations"]
    assert checked.code == 1, found
    assert any(v["rule"] == rule and said in v["expected"] for v in found), found
    refused = by(forge, server)
    assert refused.code == 1
    assert by is offer or "pre-receive hook declined" in refused.err
    assert git("rev-parse", "main", cwd=server) == before
    assert re.search(f": {rule}: .*{re.escape(said)}", refused.err)
    violations: list[dict[str, Any]] = ran.json["violations"]
    return violations


def assert_found(forge: Forge, server: Path, rule: str, said: str) -> None:
    """`verify` and the server's hook find and name what has been done."""
    ran = kt("verify", "--afresh", "--json", cwd=forge.path)
    told = [(found["rule"], found["expected"]) for found in ran.json["violations"]]
    assert ran.code == 1, told
    assert any(one == rule and said in words for one, words in told), told
    refused = offer(forge, server)
    assert refused.code == 1
    assert re.search(f": {rule}: .*{re.escape(said)}", refused.err), refused.err


def assert_nothing_forged_is_released(forge: Forge, found: Sequence[Mapping[str, Any]]) -> None:
    """No caller that waits for what `verify` has found is told how it was decided."""
    for name in {violation["escalation_id"] for violation in found if "escalation_id" in violation}:
        got = kt("get", "--id", name, "--json", cwd=forge.path)
        if got.code == 0 and got.json["escalation"]["status"] == "resolved":
            waited = kt("wait", "--id", name, "--json", cwd=forge.path)
            assert waited.code == 6
            if waited.error["code"] == "illegal_record" and waited.error["rule"]:
                told = {key: waited.error[key] for key in ("commit", "rule", "path")}
                assert told in [{key: one[key] for key in told} for one in found]


def key_of(forge: Forge, who: str) -> Path:
    """A key pair of somebody's, made once."""
    path = forge.path.parent / f"key-{who}"
    if not path.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", who, "-f", str(path)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
    return path


def require_signatures(forge: Forge) -> None:
    """Let the settings require signatures, with keys of alice's and boss's on the roster."""
    roster = ROSTER
    for who in ("alice", "boss"):
        public = key_of(forge, who).with_suffix(".pub").read_text().strip()
        roster = re.sub(rf"(user_id: {who}, .*?roles: \[\w+\])", rf'\1, signing_keys: ["{public}"]', roster)
    forge.write("policies/roster.yaml", roster)
    forge.write("policies/settings.yaml", f"{SETTINGS}signatures: required\n")
    sign_as(forge, "boss")
    forge.commit("boss", "signatures from now on")


def sign_as(forge: Forge, who: str) -> None:
    """Let git sign with somebody's key from now on; as `git config` would, which is a process for each value."""
    config = forge.path / ".git/config"
    text = config.read_text()
    for section, name, value in (
        ("gpg", "format", "ssh"),
        ("user", "signingKey", f'"{key_of(forge, who)}"'),
        ("commit", "gpgsign", "true"),
    ):
        line = f"\t{name} = {value}\n"
        text, found = re.subn(
            rf"^(\[{section}\]\n(?:\t.*\n)*?)\t{name} = .*\n", rf"\1{line}", text, flags=re.MULTILINE
        )
        text += "" if found else f"[{section}]\n{line}"
    config.write_text(text)


def waive(forge: Forge, *accepted: tuple[str, str, str]) -> None:
    """Write waivers of a commit, a rule and a path each, which are not committed yet."""
    # Quoted: an id may look like a number.
    lines = [
        f'  - {{commit: "{commit}", rule: {rule}, path: "{path}", reason: so be it}}\n'
        for commit, rule, path in accepted
    ]
    forge.write("policies/waivers.yaml", f"waivers:\n{''.join(lines)}" if lines else "waivers: []\n")


def rules_of(forge: Forge, *args: str) -> list[str]:
    return [found["rule"] for found in kt("verify", *args, "--json", cwd=forge.path).json["violations"]]
