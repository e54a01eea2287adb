"""kt over real servers: the same promises by path, over HTTP and over ssh."""

from __future__ import annotations

import os
import random
import re
import string
import subprocess
import time
from collections import Counter

import pytest
from forge import identity
from hosts import ROSTER, Host, OverGitolite, OverHttp, OverSsh, Server, Site, clone, until
from lab import Ran, end, git, kt, on_a_terminal, start
from pages import as_printed

REVIEWERS = ("alice", "bob", "carol", "dora", "emil", "fay")


class Person:
    """Somebody with a clone by way of a host."""

    def __init__(self, site: Site, host: Host, name: str, folder: str | None = None) -> None:
        self.name = name
        self.env = host.environment(name)
        self.clone = clone(host, name, site.folder / (folder or f"{name}-{host.name}"))

    def kt(self, *args: str) -> Ran:
        return kt(*args, cwd=self.clone, env=self.env)

    def start(self, *args: str) -> subprocess.Popen[str]:
        return start(*args, cwd=self.clone, env=self.env)

    def git(self, *args: str) -> str:
        return git(*args, cwd=self.clone, env=self.env)

    def push(self, *args: str) -> Ran:
        """Push as plain git does."""
        done = subprocess.run(
            ["git", "push", *args],
            cwd=self.clone,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)


# --- what works -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["path", "http", "ssh"])
def test_an_escalation_lives_from_init_to_the_gateways_answer(empty: Site, way: str) -> None:
    site, host = empty, empty.start(way)
    boss = Person(site, host, "boss")
    made = boss.kt("init")
    assert made.code == 0, made.err
    # The hook is told user ids, which mean somebody once there is a roster.
    admin = "  - {user_id: boss, emails: [boss@example.com], roles: [admin]}\n"
    (boss.clone / "policies/roster.yaml").write_text(ROSTER + admin)
    boss.git("add", "policies")
    boss.git("commit", "--quiet", "-m", "who is who")
    assert boss.push("origin", "HEAD:main").code == 0
    gateway, alice, bob = (Person(site, host, name) for name in ("gw", "alice", "bob"))
    raised = gateway.kt("raise", "--request-id", "job", "--reason-code", "a.b")
    assert raised.code == 0, raised.err
    waiting = gateway.start("wait", "--id", "esc_job", "--timeout", "60")

    claimed = alice.kt("claim", "--id", "esc_job", "--json")
    assert claimed.code == 0
    assert claimed.json["commit"] == site.tip()
    late = bob.kt("claim", "--id", "esc_job")
    assert late.code == 6
    assert "held by alice" in late.err
    resolved = alice.kt("resolve", "--id", "esc_job", "--outcome", "allow", "--reason", "fine")
    assert resolved.code == 0, resolved.err

    answer = end(waiting)
    assert answer.code == 0
    assert answer.json["release"] is True
    bob.git("pull", "--quiet")
    verified = bob.kt("verify", "--json")
    assert verified.code == 0
    assert verified.json["people"] == ["alice", "boss", "gw"]


def test_of_four_clones_one_gets_it_and_the_others_are_told_who(site: Site, host: Host) -> None:
    race(site, [Person(site, host, name) for name in REVIEWERS[:4]])


def test_of_clones_by_path_http_and_ssh_one_gets_it_and_the_others_are_told_who(site: Site) -> None:
    ways = [site.start(name) for name in ("path", "http", "ssh")]
    race(site, [Person(site, ways[number % 3], name) for number, name in enumerate(REVIEWERS)])


def race(site: Site, people: list[Person]) -> None:
    """All claim the same at once."""
    running = [person.start("claim", "--id", "esc_job") for person in people]
    ended = [end(process) for process in running]
    assert Counter(ran.code for ran in ended) == {0: 1, 6: len(people) - 1}, [ran.err for ran in ended]
    winner = next(person.name for person, ran in zip(people, ended, strict=True) if ran.code == 0)
    assert all(f"held by {winner} since" in ran.err for ran in ended if ran.code == 6)
    assert len(site.commits("claim esc_job")) == 1
    assert f"claimed_by: {winner}\n" in site.file("queue/esc_job.yaml")


# --- what the hook refuses ------------------------------------------------------------------------


def test_a_forged_step_is_refused_and_named(site: Site, host: Host) -> None:
    before = site.tip()
    bob = Person(site, host, "bob")
    record = bob.clone / "queue/esc_job.yaml"
    record.write_text(record.read_text().replace("severity: medium", "severity: low"))
    bob.git("commit", "--quiet", "--all", "-m", "kt: note esc_job")
    forged = bob.git("rev-parse", "HEAD")
    ran = bob.push("origin", "HEAD:main")
    assert ran.code == 1
    words = f"remote: kt: commit {forged[:12]} by bob@example.com: queue/esc_job.yaml: transition: expected "
    assert words in ran.err
    assert site.tip() == before


def test_nobody_acts_in_anothers_name(site: Site, host: Host) -> None:
    before = site.tip()
    bob = Person(site, host, "bob")
    bob.git("config", "user.email", "alice@example.com")
    ran = bob.kt("claim", "--id", "esc_job", "--json")
    assert ran.code == 4
    assert ran.error["code"] == "push_refused"
    assert "by alice@example.com: pusher: expected a commit by bob, who is pushing" in ran.error["message"]
    assert site.tip() == before
    bob.git("config", "user.email", "bob@example.com")
    assert bob.kt("claim", "--id", "esc_job").code == 0


def test_a_push_of_which_nobody_is_named_as_the_pusher_is_refused(site: Site) -> None:
    alice = Person(site, site.by_path, "alice")
    alice.env = {}
    ran = alice.kt("claim", "--id", "esc_job")
    assert ran.code == 4
    assert "this server does not say who is pushing" in ran.err
    assert site.commits("claim") == []


def test_the_store_branch_is_neither_deleted_nor_rewritten(site: Site, host: Host) -> None:
    before = site.tip()
    alice = Person(site, host, "alice")
    deleted = alice.push("origin", ":main")
    assert deleted.code == 1
    assert "kt: the store branch is never deleted" in deleted.err
    alice.git("commit", "--quiet", "--amend", "--reset-author", "-m", "kt: another past")
    rewritten = alice.push("--force", "origin", "HEAD:main")
    assert rewritten.code == 1
    assert "kt: the store branch is never rewritten" in rewritten.err
    assert site.tip() == before


def test_a_branch_that_would_stop_every_push_is_refused(site: Site, host: Host) -> None:
    bob = Person(site, host, "bob")
    ran = bob.push("origin", "HEAD:refs/heads/refs/heads/main")
    assert ran.code == 1
    assert "kt: refs/heads/refs/heads/main could be taken for the store branch" in ran.err
    # Let in by a server without the hook, it stops nobody who uses kt, but over HTTP, where the cure is told.
    git("update-ref", "refs/heads/refs/heads/main", "main", cwd=site.repository)
    claimed = bob.kt("claim", "--id", "esc_job")
    assert claimed.code == (4 if host.name == "http" else 0), claimed.err
    cure = ("push", "origin", "--delete", "refs/heads/refs/heads/main")
    assert (f"delete that with `git {' '.join(cure)}`" in claimed.err) == (host.name == "http")
    bob.git(*cure)
    assert bob.kt("claim", "--id", "esc_job").code == 0
    assert len(site.commits("claim esc_job")) == 1


# --- gitolite -------------------------------------------------------------------------------------


def test_with_gitolite_nobody_acts_in_anothers_name(site: Site) -> None:
    """By the logins of gitolite's, which are not the ids of the roster."""
    host = site.start("gitolite")
    assert isinstance(host, OverGitolite)
    alice, bob = Person(site, host, "alice"), Person(site, host, "bob")
    claimed = alice.kt("claim", "--id", "esc_job", "--json")
    assert claimed.code == 0, claimed.err
    assert claimed.json["commit"] == site.tip(), claimed.err
    before = site.tip()
    bob.git("pull", "--quiet")
    for forged, env in (("alice", {}), ("alice", {"GL_USER": "alice-k"})):
        bob.git("config", "user.email", f"{forged}@example.com")
        bob.env = env
        ran = bob.kt("note", "--id", "esc_job", "--text", "in her name", "--json")
        assert ran.code == 4
        assert ran.error["code"] == "push_refused"
        assert (
            "by alice@example.com: pusher: expected a commit by bob, who is pushing" in ran.error["message"]
        )
        assert site.tip() == before
    bob.git("config", "user.email", "bob@example.com")
    assert bob.kt("note", "--id", "esc_job", "--text", "in mine").code == 0
    # gitolite's own rules stay, and its hooks beside ours.
    host.gitolite("setup", "--hooks-only")
    assert site.tip() != before
    assert bob.push("origin", "HEAD:refs/heads/other").code == 0
    found = kt("hook", "status", "--server", str(site.repository), "--json", cwd=site.folder)
    assert found.code == 0
    assert (found.json["pusher_from"], found.json["nobody_proven"]) == ("GL_USER", False)


# --- protected branches and pull requests ---------------------------------------------------------


def test_a_protected_branch_ends_a_claim_with_the_servers_words(site: Site, host: Host) -> None:
    site.protect()
    alice = Person(site, host, "alice")
    began = time.monotonic()
    ran = alice.kt("claim", "--id", "esc_job", "--json")
    assert ran.code == 4
    assert ran.error["code"] == "push_refused"
    assert "only merger pushes to refs/heads/main" in ran.error["message"]
    assert "--branch" in ran.error["message"]
    assert time.monotonic() - began < 15, "a rule is not tried again and again"
    assert site.commits("claim") == []


def merged(merger: Person, branch: str) -> Ran:
    """What docs/servers.md tells whoever merges: look at the proposal, merge it, push."""
    merger.git("pull", "--quiet", "--ff-only")
    checked = merger.kt("check", f"HEAD..origin/{branch}")
    assert checked.code == 0, checked.out
    merger.git("merge", "--quiet", "--no-ff", "--no-edit", f"origin/{branch}")
    return merger.push("origin", "HEAD:main")


def test_a_claim_and_a_decision_are_proposed_checked_and_merged(site: Site, host: Host) -> None:
    site.protect()
    alice, merger = Person(site, host, "alice"), Person(site, host, "merger")
    before = site.tip()
    claimed = alice.kt("claim", "--id", "esc_job", "--branch", "--json")
    assert claimed.code == 0, claimed.err
    assert claimed.json["proposed"] is True
    assert claimed.json["changed"] is False
    assert site.tip("kt/claim/esc_job") == claimed.json["commit"]
    assert site.tip() == before

    ran = merged(merger, "kt/claim/esc_job")
    assert ran.code == 0, ran.err
    assert "claimed_by: alice\n" in site.file("queue/esc_job.yaml")

    decision = ("--outcome", "approved", "--reason", "fine")
    resolved = alice.kt("resolve", "--id", "esc_job", *decision, "--branch", "--json")
    assert resolved.code == 0, resolved.err
    assert resolved.json["proposed"] is True, resolved.err
    assert merged(merger, "kt/resolve/esc_job").code == 0
    waited = alice.kt("wait", "--id", "esc_job", "--timeout", "20")
    assert waited.code == 0
    assert waited.json["escalation"]["resolution"]["resolved_by"] == "alice"
    verified = merger.kt("verify", "--json")
    assert verified.code == 0
    assert verified.json["people"] == ["alice", "gw"]


def test_the_commands_of_the_page_run_as_printed(site: Site) -> None:
    """In one folder, by way of all three; lighttpd runs already, and asks nobody for a password."""
    site.protect()
    git("init", "--quiet", "--bare", "shop.git", cwd=site.repository.parent)
    ssh, http = site.start("ssh"), site.start("http")
    clones = "".join(f"-c '{key}={value}' " for key, value in http.settings("alice").items())
    alice = " ".join(f"{key}={value}" for key, value in {"REMOTE_USER": "alice", **identity("alice")}.items())
    as_printed(
        "servers.md",
        site.folder,
        replace={
            "REMOTE_USER=boss git push": "cd review; REMOTE_USER=boss git push",
            "ssh://git@git.example.com/srv/git/review.git": f"{ssh.address('alice')} by-ssh",
            "git clone http://git.example.com/git/review.git": f"git clone {clones} {http.address('alice')} by-http",
            "/srv/git": str(site.repository.parent),
            "passwd -6": "passwd -6 word",
            "/etc/lighttpd/git-people": str(site.folder / "people"),
            "kt escalation claim": f"{alice} kt escalation claim",
            "esc_req_42": "esc_job",
        },
        leave=["lighttpd -D -f lighttpd.conf"],
        env={"REMOTE_USER": "merger", **identity("merger")}
        | {"GIT_SSH_COMMAND": ssh.settings("alice")["core.sshCommand"]},
    )
    assert "claimed_by: alice\n" in site.file("queue/esc_job.yaml")


def test_a_forged_proposal_fails_the_check_and_is_refused_when_merged(site: Site) -> None:
    site.protect()
    bob, merger = Person(site, site.start("http"), "bob"), Person(site, site.start("ssh"), "merger")
    before = site.tip()
    record = bob.clone / "queue/esc_job.yaml"
    record.write_text(record.read_text().replace("severity: medium", "severity: low"))
    bob.git("commit", "--quiet", "--all", "-m", "kt: claim esc_job")
    assert bob.push("origin", "HEAD:kt/claim/esc_job").code == 0
    merger.git("fetch", "--quiet")
    checked = merger.kt("check", "HEAD..origin/kt/claim/esc_job", "--json")
    assert checked.code == 1
    assert ("bob@example.com", "transition") in {
        (found["author"], found["rule"]) for found in checked.json["violations"]
    }
    merger.git("merge", "--quiet", "--no-ff", "--no-edit", "origin/kt/claim/esc_job")
    ran = merger.push("origin", "HEAD:main")
    assert ran.code == 1
    assert "by bob@example.com: queue/esc_job.yaml: transition: expected" in ran.err
    assert site.tip() == before


def test_a_squash_of_somebody_elses_proposal_is_refused(site: Site) -> None:
    site.protect()
    alice, merger = (Person(site, site.by_path, name) for name in ("alice", "merger"))
    assert alice.kt("claim", "--id", "esc_job", "--branch").code == 0
    merger.git("fetch", "--quiet")
    merger.git("merge", "--quiet", "--squash", "origin/kt/claim/esc_job")
    merger.git("commit", "--quiet", "-m", "kt: claim esc_job")
    ran = merger.push("origin", "HEAD:main")
    assert ran.code == 1
    assert "by merger@example.com: queue/esc_job.yaml: not_allowed: " in ran.err


def test_of_two_proposals_the_second_fails_the_check_with_who_holds_it(site: Site) -> None:
    site.protect()
    ways = {"alice": "ssh", "bob": "http", "merger": "path"}
    alice, bob, merger = (Person(site, site.start(way), name) for name, way in ways.items())
    assert alice.kt("claim", "--id", "esc_job", "--branch").code == 0
    assert bob.kt("claim", "--id", "esc_job", "--branch", "kt/bobs").code == 0
    assert merged(merger, "kt/claim/esc_job").code == 0
    checked = merger.kt("check", "HEAD..origin/kt/bobs")
    assert checked.code == 1
    assert "esc_job is held by alice" in checked.out


# --- who may come in ------------------------------------------------------------------------------


def told_in_one_line(person: Person, env: dict[str, str], *words: str) -> None:
    """A claim on a terminal at which nobody types: exit 4 within seconds, and no question."""
    began = time.monotonic()
    code, shown = on_a_terminal(["claim", "--id", "esc_job"], person.clone, env)
    assert code == 4, shown
    assert time.monotonic() - began < 10
    # What was shown while the server was asked is taken away again.
    [line] = shown.rpartition("\x1b[K\x1b[?25h")[2].split("\r\n")[:-1]
    assert line.startswith("kt: "), line
    assert all(word in line for word in words), line


def test_a_wrong_password_is_told_at_once(site: Site) -> None:
    http = site.start("http")
    assert isinstance(http, OverHttp)
    alice = Person(site, http, "alice")
    http.password("alice", "wrong-word")
    told_in_one_line(alice, {}, "Authentication failed", "check the network and your access")
    told_in_one_line(alice, {}, "terminal prompts disabled")
    http.password("alice", "alice-word")
    assert alice.kt("claim", "--id", "esc_job").code == 0


def test_an_unknown_key_is_told_at_once(site: Site) -> None:
    ssh = site.start("ssh")
    assert isinstance(ssh, OverSsh)
    alice = Person(site, ssh, "alice")
    told_in_one_line(alice, {"GIT_SSH_COMMAND": ssh.client("stranger")}, "Permission denied (publickey)")
    assert alice.kt("claim", "--id", "esc_job").code == 0


def test_a_host_with_another_key_than_it_had_is_told_at_once(site: Site) -> None:
    ssh = site.start("ssh")
    alice = Person(site, ssh, "alice")
    known = ssh.folder / "known_hosts"
    port = known.read_text().partition(" ")[0]
    known.write_text(f"{port} {(site.keys / 'stranger.pub').read_text()}")
    told_in_one_line(alice, {}, "Host key verification failed")
    known.write_text("")
    told_in_one_line(alice, {}, "Host key verification failed")


def test_without_a_password_nothing_is_served(site: Site) -> None:
    http = site.start("http")
    asked = subprocess.run(
        ["git", "ls-remote", http.address("nobody")],
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 128
    assert "could not read Username" in asked.stderr


def test_a_push_that_is_too_large_for_the_web_server_is_told_at_once(site: Site) -> None:
    http = site.start("http")
    alice = Person(site, http, "alice")
    http.stop()
    with (http.folder / "lighttpd.conf").open("a") as file:
        file.write("server.max-request-size = 1 # KiB\n")
    http.start()
    text = "".join(random.Random(1).choices(string.ascii_letters, k=4000))
    ran = alice.kt("note", "--id", "esc_job", "--text", text, "--json")
    assert ran.code == 4
    assert ran.error["code"] == "push_refused"
    assert "413" in ran.error["message"]
    assert site.commits("note") == []
    assert alice.kt("note", "--id", "esc_job", "--text", "short").code == 0


def test_a_key_lets_its_owner_do_git_and_nothing_else(site: Site) -> None:
    ssh = site.start("ssh")
    assert isinstance(ssh, OverSsh)
    hook = site.repository / "hooks/pre-receive"
    there = f"{ssh.address('alice').partition('//')[2].partition(':')[0]}"
    for command in (["rm", str(hook)], ["sh"], []):
        tried = subprocess.run(
            [*ssh.client("alice").split(), "-p", str(ssh.port), there, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert tried.returncode == 128, tried
        assert "unrecognized command" in tried.stderr, tried
    assert hook.exists()


def test_the_name_of_a_key_cannot_be_changed_from_outside(site: Site) -> None:
    ssh = site.start("ssh")
    assert isinstance(ssh, OverSsh)
    bob = Person(site, ssh, "bob")
    bob.git("config", "user.email", "alice@example.com")
    bob.env = {"REMOTE_USER": "alice", "GIT_SSH_COMMAND": f"{ssh.client('bob')} -o SetEnv=REMOTE_USER=alice"}
    ran = bob.kt("claim", "--id", "esc_job")
    assert ran.code == 4
    assert "expected a commit by bob, who is pushing" in ran.err


# --- servers that are down, die or say nothing ----------------------------------------------------

CLAIM = ("claim", "--id", "esc_job")
# Long enough for a push to arrive on a busy machine, in seconds.
SOON = ("--retry-timeout", "8")
# Holds a push until the test lets it go on; it ends by itself should the test have failed.
HOLD = """#!/bin/sh
touch started
for n in $(seq 400); do [ ! -e release ] || exit 0; sleep 0.05; done
exit 1
"""


def held(site: Site, alice: Person, *options: str) -> subprocess.Popen[str]:
    """A claim whose push has arrived at the server, which has not decided yet."""
    site.hook("update", HOLD)
    running = alice.start(*CLAIM, *options)
    until((site.repository / "started").exists, "the push")
    return running


def let_go(site: Site) -> None:
    (site.repository / "release").touch()
    site.hook("update", "#!/bin/sh\n")


def holds_once(site: Site, alice: Person) -> None:
    """The same command again says that it is theirs, and there is one claim."""
    again = alice.kt(*CLAIM, "--json")
    assert again.code == 0, again.err
    assert again.json["escalation"]["claim"]["claimed_by"] == "alice"
    assert len(site.commits("claim esc_job")) == 1
    assert not list(site.repository.rglob("*.lock"))
    assert alice.git("status", "--porcelain") == ""
    assert alice.git("rev-parse", "HEAD") == site.tip()


def test_a_server_that_is_down_is_told_at_once_and_reading_works(site: Site, server: Server) -> None:
    alice = Person(site, server, "alice")
    server.stop()
    began = time.monotonic()
    ran = alice.kt(*CLAIM, "--json")
    assert ran.code == 4
    assert ran.error["code"] == "remote_unreachable"
    assert re.search(r"(Connection refused|Couldn't connect|Failed to connect)", ran.error["message"])
    assert time.monotonic() - began < 10
    assert alice.kt("list").code == 0
    server.start()
    holds_once(site, alice)


def test_a_server_that_answers_nothing_is_given_up_in_time(site: Site, server: Server) -> None:
    alice = Person(site, server, "alice")
    with server.frozen():
        began = time.monotonic()
        ran = alice.kt(*CLAIM, "--retry-timeout", "1", "--json")
        took = time.monotonic() - began
    assert ran.code == 4
    assert "no answer within 1 s" in ran.error["message"]
    assert took < 8
    holds_once(site, alice)


def test_a_server_that_dies_during_a_push_ends_in_exit_9_and_again_finds_the_truth(
    site: Site, server: Server
) -> None:
    alice = Person(site, server, "alice")
    running = held(site, alice, *SOON, "--json")
    server.stop()
    ran = end(running)
    assert ran.code == 9, ran.err
    assert ran.error["code"] == "outcome_unknown"
    assert "run the same command again" in ran.error["message"]
    assert site.commits("claim") == []
    let_go(site)
    server.start()
    holds_once(site, alice)


def test_a_server_that_dies_and_comes_back_during_a_push_costs_nothing(site: Site, server: Server) -> None:
    alice = Person(site, server, "alice")
    running = held(site, alice, "--json")
    server.stop()
    let_go(site)
    server.start()
    ran = end(running)
    assert ran.code == 0, ran.err
    assert ran.json["changed"] is True, ran.err
    assert ran.json["commit"] == site.tip()
    holds_once(site, alice)


def test_a_push_that_lands_after_its_server_has_died_is_found(site: Site, server: Server) -> None:
    alice = Person(site, server, "alice")
    running = held(site, alice, *SOON, "--json")
    server.die()
    let_go(site)
    ran = end(running)
    assert ran.code in (0, 9), ran.err
    server.start()
    holds_once(site, alice)


def test_a_hook_that_takes_too_long_ends_in_exit_9_and_again_finds_the_truth(site: Site, host: Host) -> None:
    alice = Person(site, host, "alice")
    began = time.monotonic()
    ran = end(held(site, alice, *SOON, "--json"))
    assert ran.code == 9, ran.err
    assert time.monotonic() - began < 25
    let_go(site)
    holds_once(site, alice)
