"""Signatures, SSH and OpenPGP: whose key, whose name, and when; asked of verify, of check and of the hook."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from forge import (
    ROSTER,
    SETTINGS,
    Forge,
    assert_refused,
    identity,
    key_of,
    later,
    push,
    rules_of,
    serve,
    side,
    sign_as,
    waive,
)
from lab import git, kt
from pages import as_printed

from kt_escalation import Store, audit
from kt_escalation.git.repository import Repository

# --- SSH ------------------------------------------------------------------------------------------


def test_a_signature_by_the_actors_own_key_is_clean(signed: Forge) -> None:
    sign_as(signed, "alice")
    signed.kt("alice", "claim", "--id", "esc_one")
    assert rules_of(signed) == []
    # Before that nothing was signed, and the first key counts from the commit after the one that lists it.
    assert set(rules_of(signed, "--require-signatures")) == {"unsigned", "signature"}


def test_the_commands_of_the_page_run_as_printed(signed: Forge) -> None:
    key = key_of(signed, "alice").with_suffix(".pub")
    as_printed("signatures.md", signed.path, replace={"~/.ssh/id_ed25519.pub": str(key)})
    signed.kt("alice", "claim", "--id", "esc_one")
    assert kt("verify", "--afresh", "--json", cwd=signed.path).json["signatures"]["held"] == 1


def test_the_summary_counts_signatures(signed: Forge) -> None:
    sign_as(signed, "alice")
    signed.kt("alice", "claim", "--id", "esc_one")
    ran = kt("verify", "--afresh", cwd=signed.path)
    assert (
        "0 violations; 1 of the commits signed as required; 1 of the commits signed unasked and not checked; 5 of the commits unsigned (a name without a signature is not proven)\n"
        in ran.err
    )
    counts = kt("verify", "--afresh", "--json", cwd=signed.path).json["signatures"]
    assert counts == {"held": 1, "unasked": 1, "unsigned": 5}


def test_what_is_not_signed_is_a_violation_where_it_must_be(signed: Forge) -> None:
    server = serve(signed)
    signed.git("config", "commit.gpgsign", "false")
    signed.kt("alice", "claim", "--id", "esc_one")
    assert_refused(signed, server, "unsigned")


@pytest.mark.parametrize("which", ["claim", "resolve", "both"])
@pytest.mark.parametrize("carried", [False, True], ids=["plain", "merged"])
def test_a_decision_with_an_unsigned_step_is_not_used_even_if_that_is_waived(
    signed: Forge, which: str, carried: bool
) -> None:
    """A waiver accepts that history is as it is. So says `wait`, and so does whoever judges the release."""
    signed.edit(
        "policies/settings.yaml", ("rules:\n", "rules:\n  - {match: {severity: low}, single_use: true}\n")
    )
    signed.commit("boss", "decisions for one use")
    signed.kt("boss", "raise", "--request-id", "once", "--reason-code", "a.b", "--severity", "low")
    if carried:
        signed.git("switch", "--quiet", "-c", "request")
    accepted = []
    for action, more in (("claim", ()), ("resolve", ("--outcome", "approved", "--reason", "ok"))):
        sign_as(signed, "alice")
        if which in (action, "both"):
            signed.git("config", "commit.gpgsign", "false")
        signed.kt("alice", action, "--id", "esc_once", *more)
        accepted += [signed.tip()] if which in (action, "both") else []
    sign_as(signed, "boss")
    if carried:
        signed.git("switch", "--quiet", "main")
        signed.git("merge", "--quiet", "--no-ff", "-m", "Merge", "request", who="boss")
    found = kt("verify", "--afresh", "--json", cwd=signed.path).json["violations"]
    assert {(one["commit"], one["rule"]) for one in found} == {(oid, "unsigned") for oid in accepted}
    waive(signed, *((one["commit"], one["rule"], one["path"]) for one in found))
    signed.commit("boss", "so be it")
    assert rules_of(signed) == []
    assert kt("wait", "--id", "esc_once", "--json", cwd=signed.path).code == 6
    record = kt("get", "--id", "esc_once", "--json", cwd=signed.path).json["escalation"]
    resolved, now = record["resolution"]["resolved_at"], later()
    signed.write(
        signed.resolved("once").replace("resolved", "released", 1),
        f'schema_version: 2\nescalation_id: esc_once\noutcome: approved\nresolved_at: "{resolved}"\n'
        f'release_id: r1\nreleased_by: boss\nreleased_at: "{now}"\n',
    )
    server = serve(signed)
    signed.commit("boss", "use it")
    assert_refused(signed, server, "release", "a decision that legal steps led to")


@pytest.mark.parametrize("days", [0, 20])
def test_a_merge_that_is_dated_back_lands_no_late_proposal_where_steps_are_signed(
    signed: Forge, days: int
) -> None:
    """What acted before it was later, and is signed, so the merge was later too."""
    begun = datetime.now(UTC)

    def at(who: str, when: datetime) -> Store:
        sign_as(signed, who)
        for key, value in (("name", who), ("email", f"{who}@example.com")):
            signed.git("config", f"user.{key}", value)
        return Store.open(signed.path, clock=lambda: when)

    signed.git("switch", "--quiet", "-c", "topic")
    with at("alice", begun + timedelta(minutes=1)) as store:
        store.claim("esc_one")
        store.resolve("esc_one", "denied", "no")
    signed.git("switch", "--quiet", "main")
    with at("boss", begun + timedelta(days=days, minutes=2)) as store:
        store.note("esc_two", "meanwhile")
    when = (begun + timedelta(minutes=3)).isoformat()
    made = {**identity("boss"), "GIT_COMMITTER_DATE": when, "GIT_AUTHOR_DATE": when}
    git("merge", "--quiet", "--no-ff", "-m", "Merge", "topic", cwd=signed.path, env=made)
    report = audit.verify(signed.path, afresh=True, now=begun + timedelta(days=days, minutes=5))
    assert [one.rule for one in report.violations] == (["time"] if days else [])


@pytest.mark.parametrize("carried", [False, True], ids=["plain", "merged"])
@pytest.mark.parametrize("by", ["nobody", "mallory", "boss"])
def test_what_no_signature_proves_makes_no_later_step_backdated(
    signed: Forge, by: str, carried: bool
) -> None:
    """Else whoever can push stops a store for as long as a date of theirs is ahead, once that time has come.

    Who signs for a date bears it: then either of the two lied, and both names are proven.
    """
    begun = datetime.now(UTC)
    ahead = {"GIT_COMMITTER_DATE": (begun + timedelta(hours=6)).isoformat()}
    if carried:
        signed.git("switch", "--quiet", "-c", "request")
    signed.edit("policies/policy-config.yaml", ("enabled: true", "enabled: false"))
    if by == "nobody":
        signed.git("config", "commit.gpgsign", "false")
    else:
        sign_as(signed, by)
    signed.commit("boss", "ahead", **ahead)
    ahead_of = signed.tip()
    if carried:
        signed.git("switch", "--quiet", "main")
        merge = ("merge", "--quiet", "--no-ff", "--no-gpg-sign", "-m", "Merge pull request #1", "request")
        signed.git(*merge, who="noreply@host.example")
    sign_as(signed, "alice")
    signed.kt("alice", "claim", "--id", "esc_one")
    claimed = signed.tip()
    report = audit.verify(signed.path, afresh=True, now=begun + timedelta(days=1))
    blamed = {(one.commit, one.rule) for one in report.violations}
    unproven = {"nobody": "unsigned", "mallory": "signature"}.get(by)
    assert blamed == {(ahead_of, unproven) if unproven else (claimed, "backdated")}


def test_a_missing_signature_that_is_waived_is_accepted_by_every_run(signed: Forge) -> None:
    signed.git("config", "commit.gpgsign", "false")
    signed.kt("alice", "claim", "--id", "esc_one")
    bad = signed.tip()
    sign_as(signed, "boss")
    waive(signed, (bad, "unsigned", "queue/esc_one.yaml"))
    signed.commit("boss")
    for args in ((), ("--afresh",), ("--afresh",)):
        assert rules_of(signed, *args) == []


def test_settings_that_cannot_be_read_ask_for_what_the_last_ones_asked(signed: Forge) -> None:
    server = serve(signed)
    signed.as_kt_does_unsigned("bob", "claim", "--id", "esc_one")
    signed.git("stash", "--quiet")
    signed.write("policies/settings.yaml", "{{{\n")
    signed.commit("boss")
    signed.git("stash", "pop", "--quiet")
    signed.git("config", "commit.gpgsign", "false")
    signed.commit("bob")
    assert_refused(signed, server, "unsigned")


def test_a_good_signature_by_somebody_elses_key_is_a_violation(signed: Forge) -> None:
    server = serve(signed)
    sign_as(signed, "boss")
    signed.kt("alice", "claim", "--id", "esc_one")
    assert_refused(signed, server, "signature")


def test_a_key_that_the_roster_no_longer_lists_is_a_violation(signed: Forge) -> None:
    server = serve(signed)
    sign_as(signed, "boss")
    signed.edit("policies/roster.yaml", (r"(user_id: alice, .*?), signing_keys: \[.*?\]", r"\1"))
    signed.commit("boss", "alice lost her key")
    sign_as(signed, "alice")
    signed.kt("alice", "claim", "--id", "esc_one")
    assert_refused(signed, server, "signature")


def test_a_commit_that_another_committed_is_a_violation(signed: Forge) -> None:
    server = serve(signed)
    sign_as(signed, "alice")
    signed.as_kt_does("alice", "claim", "--id", "esc_one")
    signed.commit("alice", GIT_COMMITTER_EMAIL="bob@example.com")
    assert_refused(signed, server, "signature")


def test_a_signature_that_was_tampered_with_is_a_violation(signed: Forge) -> None:
    server = serve(signed)
    sign_as(signed, "alice")
    signed.kt("alice", "claim", "--id", "esc_one")
    raw = git("cat-file", "commit", "HEAD", cwd=signed.path)
    path = signed.path.parent / "forged"
    path.write_text(raw.replace("kt: claim esc_one", "kt: claim  esc_one") + "\n")
    forged = git("hash-object", "-t", "commit", "-w", str(path), cwd=signed.path)
    git("update-ref", "refs/heads/main", forged, cwd=signed.path)
    assert_refused(signed, server, "signature")


@pytest.mark.parametrize("nonsense", ["nonsense", "", "-----BEGIN SSH SIGNATURE-----\n AAAA"])
def test_what_is_no_signature_is_told_and_hides_no_other(signed: Forge, nonsense: str) -> None:
    server = serve(signed)
    sign_as(signed, "alice")
    signed.kt("alice", "claim", "--id", "esc_one")
    signed.git("config", "commit.gpgsign", "false")
    signed.kt("bob", "note", "--id", "esc_two", "--text", "hm")
    raw = git("cat-file", "commit", "HEAD", cwd=signed.path)
    path = signed.path.parent / "forged"
    path.write_text(raw.replace("\n\n", f"\ngpgsig {nonsense}\n\n", 1) + "\n")
    forged = git("hash-object", "-t", "commit", "-w", "--literally", str(path), cwd=signed.path)
    git("update-ref", "refs/heads/main", forged, cwd=signed.path)
    signed.git("config", "commit.gpgsign", "true")
    signed.kt("alice", "note", "--id", "esc_one", "--text", "mine")
    said = "it is bad" if "BEGIN" in nonsense else "its header does not hold a signature"
    assert_refused(signed, server, "signature", said)
    assert rules_of(signed, "--afresh") == ["signature"]


def test_a_key_that_was_taken_away_does_not_act_through_an_older_branch(signed: Forge) -> None:
    server = serve(signed)
    sign_as(signed, "alice")
    side(signed, "claim", "--id", "esc_one", who="alice")
    sign_as(signed, "boss")
    signed.edit("policies/roster.yaml", (r"(user_id: alice, .*?), signing_keys: \[.*?\]", r"\1"))
    signed.commit("boss", "alice lost her key")
    signed.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="boss")
    assert rules_of(signed) == ["signature"]
    assert push(signed, server, what="HEAD^:main").code == 0
    assert_refused(signed, server, "signature")


def test_a_branch_from_before_signatures_were_required_signs_as_well(forge: Forge, signed: Forge) -> None:
    server = serve(signed)
    signed.git("switch", "--quiet", "-c", "side", "HEAD^")
    signed.git("config", "commit.gpgsign", "false")
    signed.kt("alice", "claim", "--id", "esc_one")
    signed.git("switch", "--quiet", "-")
    sign_as(signed, "boss")
    signed.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="boss")
    assert_refused(signed, server, "unsigned")


def test_a_merge_that_brings_in_policies_by_an_admins_word_bears_that_admins_signature(signed: Forge) -> None:
    server = serve(signed)
    signed.git("switch", "--quiet", "-c", "side")
    signed.write("policies/settings.yaml", signed.read("policies/settings.yaml").replace("1h", "9h"))
    sign_as(signed, "alice")
    signed.commit("alice")
    signed.git("switch", "--quiet", "-")
    sign_as(signed, "boss")
    signed.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="boss")
    assert rules_of(signed) == []
    signed.git("reset", "--quiet", "--hard", "HEAD^")
    sign_as(signed, "alice")
    signed.git("merge", "--quiet", "--no-ff", "-m", "in the name of boss", "side", who="boss")
    assert_refused(signed, server, "signature")
    signed.git("reset", "--quiet", "--hard", "HEAD^")
    signed.git("merge", "--quiet", "--no-ff", "--no-gpg-sign", "-m", "not signed", "side", who="boss")
    assert_refused(signed, server, "unsigned")


@pytest.mark.parametrize("nested", [False, True])
def test_the_word_for_policies_by_somebody_since_removed_bears_a_signature(
    signed: Forge, nested: bool
) -> None:
    """On the side branch it was legal, and by the line's roster an admin's merge into the line alone excuses it."""
    roster = signed.read("policies/roster.yaml")
    key = key_of(signed, "mallory").with_suffix(".pub").read_text().strip()
    user = f'{{user_id: mallory, emails: [mallory@example.com], roles: [admin], signing_keys: ["{key}"]}}'
    signed.write("policies/roster.yaml", f"{roster}  - {user}\n")
    signed.commit("boss")
    signed.git("switch", "--quiet", "-c", "side")
    settings = signed.read("policies/settings.yaml")
    if nested:
        # Where it was merged on the side, nothing asked for signatures.
        signed.write("policies/settings.yaml", settings.replace("signatures: required\n", ""))
        signed.commit("boss")
        settings = signed.read("policies/settings.yaml")
        signed.git("switch", "--quiet", "-c", "inner")
    signed.write("policies/settings.yaml", settings.replace("1h", "9h"))
    sign_as(signed, "mallory")
    signed.commit("mallory")
    if nested:
        signed.git("switch", "--quiet", "side")
        signed.git("merge", "--quiet", "--no-ff", "--no-gpg-sign", "-m", "merge", "inner", who="boss")
    signed.git("switch", "--quiet", "main")
    sign_as(signed, "boss")
    signed.write("policies/roster.yaml", roster)
    signed.commit("boss")
    server = serve(signed)
    signed.git(
        "merge",
        "--quiet",
        "--no-ff",
        "--no-gpg-sign",
        "-m",
        "merge",
        "side",
        who="alice" if nested else "boss",
    )
    assert_refused(signed, server, "policies" if nested else "unsigned")


def test_a_merge_that_adds_nothing_of_its_own_needs_no_signature(signed: Forge) -> None:
    server = serve(signed)
    sign_as(signed, "alice")
    side(signed, "claim", "--id", "esc_one", who="alice")
    signed.kt("alice", "note", "--id", "esc_two", "--text", "main")
    merge = ("merge", "--quiet", "--no-ff", "--no-gpg-sign", "-m", "Merge pull request #1", "side")
    signed.git(*merge, who="noreply@host.example")
    assert rules_of(signed) == []
    assert push(signed, server).code == 0


def test_a_squash_that_a_host_commits_in_anothers_name_is_a_violation(signed: Forge) -> None:
    server = serve(signed)
    sign_as(signed, "alice")
    side(signed, "claim", "--id", "esc_one", who="alice")
    signed.git("merge", "--quiet", "--squash", "side")
    sign_as(signed, "host")
    signed.commit("alice", GIT_COMMITTER_NAME="Host", GIT_COMMITTER_EMAIL="noreply@host.example")
    assert_refused(signed, server, "signature")


def test_a_commit_that_is_dated_before_what_it_builds_on_is_a_violation(signed: Forge) -> None:
    server = serve(signed)
    sign_as(signed, "alice")
    signed.edit("policies/policy-config.yaml", ("enabled: true", "enabled: false"))
    sign_as(signed, "boss")
    signed.commit("boss", GIT_COMMITTER_DATE="2026-01-01T00:00:00Z")
    assert_refused(signed, server, "backdated")


# --- OpenPGP --------------------------------------------------------------------------------------

#: Lets a key be made, or sign, at another time: the clock is the attacker's own.
FAKED = "KT_TEST_FAKED_TIME"
DAY = 86_400


class Keyring:
    """A GnuPG home of its own, with what another holds. Its path is short, since the agent's socket lies in it."""

    def __init__(self, ground: Path | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="kt-", dir="/tmp"))
        self.home.chmod(0o700)
        if ground:
            # Neither sockets nor locks.
            shutil.copytree(
                ground, self.home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("S.*", "*lock*", ".#*")
            )
        self.program = self.home / "gpg-at"
        self.program.write_text(
            f'#!/bin/sh\nexec gpg --batch ${{{FAKED}:+--faked-system-time ${FAKED}}} "$@"\n'
        )
        self.program.chmod(0o755)

    def gpg(self, *args: str, at: int | None = None, stdin: str = "") -> str:
        env = {**os.environ, **({FAKED: str(at)} if at else {})}
        done = subprocess.run(
            [str(self.program), "--yes", "--passphrase", "", *args],
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make(self, who: str, expires: str = "never", at: int | None = None) -> str:
        """A key pair; its fingerprint. One that never expires is there if the ground holds it."""
        if (expires, at) != ("never", None) or not self.fingerprints(who):
            self.gpg("--quick-gen-key", f"{who}@example.com", "ed25519", "sign", expires, at=at)
        return self.fingerprints(who)[-1]

    def fingerprints(self, who: str) -> list[str]:
        """Those of somebody's keys, the newest last."""
        listed = self.gpg("--list-keys", "--with-colons", "--keyid-format", "long")
        return re.findall(
            rf"^fpr:+([0-9A-F]{{40}}):\n(?:grp.*\n)?uid:.*<?{who}@example\.com", listed, re.MULTILINE
        )

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture(scope="module")
def key_ground() -> Iterator[Path]:
    """A home that holds a key of alice's and one of the boss's."""
    made = Keyring()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", str(made.home))
        for who in ("alice", "boss"):
            made.make(who)
    yield made.home
    made.close()


@pytest.fixture
def ring(key_ground: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyring]:
    made = Keyring(key_ground)
    monkeypatch.setenv("GNUPGHOME", str(made.home))
    yield made
    made.close()


Enrol = Callable[..., Forge]


@pytest.fixture
def pgp(forge: Forge, ring: Keyring) -> Enrol:
    """Makes a store that requires signatures, with OpenPGP keys on the roster."""

    def enrol(**keys: str) -> Forge:
        keys.setdefault("boss", ring.make("boss"))
        roster = ROSTER
        for who, key in keys.items():
            roster = re.sub(rf"(user_id: {who}, .*?roles: \[\w+\])", rf'\1, signing_keys: ["{key}"]', roster)
        forge.write("policies/roster.yaml", roster)
        forge.write("policies/settings.yaml", f"{SETTINGS}signatures: required\n")
        for key, value in (("gpg.program", str(ring.program)), ("commit.gpgsign", "true")):
            forge.git("config", key, value)
        forge.git("config", "user.signingKey", keys["boss"])
        forge.commit("boss", "signatures from now on")
        return forge

    return enrol


def test_an_openpgp_signature_by_the_actors_own_key_is_clean(pgp: Enrol, ring: Keyring) -> None:
    alice = ring.make("alice")
    forge = pgp(alice=alice)
    forge.git("config", "user.signingKey", alice)
    forge.kt("alice", "claim", "--id", "esc_one")
    assert rules_of(forge) == []


def test_a_check_that_hangs_is_refused_in_time(pgp: Enrol, ring: Keyring) -> None:
    alice = ring.make("alice")
    forge = pgp(alice=alice)
    server = serve(forge)
    forge.git("config", "user.signingKey", alice)
    forge.kt("alice", "claim", "--id", "esc_one")
    hangs = server / "hangs"
    hangs.write_text(f"#!/bin/sh\necho $$ > {server}/pid\nexec sleep 600\n")
    hangs.chmod(0o755)
    git("config", "gpg.program", str(hangs), cwd=server)
    assert kt("hook", "install", "--server", str(server), "--timeout", "2s", cwd=forge.path).code == 0
    ran = push(forge, server)
    if (server / "pid").exists():
        os.kill(int((server / "pid").read_text()), signal.SIGKILL)
    assert ran.code == 1
    assert "kt: this push cannot be judged within 2 s; push it in smaller parts" in ran.err


def test_where_gpg_cannot_be_run_nothing_passes_and_it_is_said(pgp: Enrol, ring: Keyring) -> None:
    alice = ring.make("alice")
    forge = pgp(alice=alice)
    forge.git("config", "user.signingKey", alice)
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.git("config", "gpg.program", str(ring.home / "nowhere"))
    [found] = kt("verify", "--afresh", "--json", cwd=forge.path).json["violations"]
    assert found["expected"] == "expected a signature that holds; git could not run `gpg` to check it"


def test_an_openpgp_signature_counts_only_where_git_writes_it(pgp: Enrol, ring: Keyring) -> None:
    """git takes it from anywhere in the head, and sees fewer parents than were signed."""
    alice = ring.make("alice")
    forge = pgp(alice=alice)
    forge.git("config", "user.signingKey", alice)
    side(forge, "note", "--id", "esc_two", "--text", "side", who="alice")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    raw = git("cat-file", "commit", "HEAD", cwd=forge.path)
    [header] = re.findall(r"^gpgsig .*\n(?: .*\n)*", raw, re.MULTILINE)
    first, second = re.findall(r"^parent .*\n", raw, re.MULTILINE)
    path = forge.path.parent / "forged"
    path.write_text(raw.replace(header, "").replace(second, header + second) + "\n")
    forged = git("hash-object", "-t", "commit", "-w", "--literally", str(path), cwd=forge.path)
    assert git("log", "-1", "--format=%G? parent %P", forged, cwd=forge.path) == f"G {first}".strip()
    store = Repository(forge.path)
    found = dict(store.signatures([forge.tip(), forged]))
    store.objects.close()
    assert found[forge.tip()].verdict == "G"
    assert found[forge.tip()].keys == (alice, alice)
    assert (found[forged].verdict, found[forged].why) == ("-", "its header is not where git writes it")


def test_a_subkey_signs_for_the_primary_key_on_the_roster(pgp: Enrol, ring: Keyring) -> None:
    alice = ring.make("alice")
    ring.gpg("--quick-add-key", alice, "ed25519", "sign", "never")
    forge = pgp(alice=alice)
    server = serve(forge)
    forge.git("config", "user.signingKey", alice)
    forge.kt("alice", "claim", "--id", "esc_one")
    used, primary = git("log", "-1", "--format=%GF %GP", cwd=forge.path).split()
    assert used != primary == alice
    assert rules_of(forge) == []
    assert push(forge, server).code == 0


def test_an_openpgp_signature_by_somebody_elses_key_is_a_violation(pgp: Enrol, ring: Keyring) -> None:
    forge = pgp(alice=ring.make("alice"))
    server = serve(forge)
    forge.git("config", "user.signingKey", ring.make("mallory"))
    forge.kt("alice", "claim", "--id", "esc_one")
    assert_refused(forge, server, "signature")


def test_what_was_signed_while_the_key_was_valid_stays_clean_for_ever(pgp: Enrol, ring: Keyring) -> None:
    alice = ring.make("alice", expires="seconds=4")
    forge = pgp(alice=alice)
    server = serve(forge)
    forge.git("config", "user.signingKey", alice)
    forge.kt("alice", "claim", "--id", "esc_one")
    deadline = time.monotonic() + 20
    while (verdict := git("log", "-1", "--format=%G?", cwd=forge.path)) != "Y":
        assert time.monotonic() < deadline, verdict
        time.sleep(0.2)
    assert rules_of(forge) == []
    assert push(forge, server).code == 0


def test_an_expired_key_that_signs_by_a_clock_turned_back_is_found_by_what_it_builds_on(
    pgp: Enrol, ring: Keyring
) -> None:
    past = int(time.time()) - 10 * DAY
    alice = ring.make("alice", expires=f"seconds={5 * DAY}", at=past)
    forge = pgp(alice=alice, bob=(bob := ring.make("bob")))
    server = serve(forge)
    forge.git("config", "user.signingKey", bob)
    forge.kt("bob", "note", "--id", "esc_two", "--text", "later")
    forge.git("config", "user.signingKey", alice)
    forge.as_kt_does_unsigned("alice", "claim", "--id", "esc_one")
    while_valid = past + 4 * DAY
    date = f"@{while_valid} +0000"
    forge.commit("alice", **{FAKED: str(while_valid)}, GIT_COMMITTER_DATE=date, GIT_AUTHOR_DATE=date)
    assert git("log", "-1", "--format=%G? %GF", cwd=forge.path) == f"Y {alice}"
    assert_refused(forge, server, "backdated")


def test_an_expired_key_that_turns_back_only_its_own_clock_is_found(pgp: Enrol, ring: Keyring) -> None:
    past = int(time.time()) - 10 * DAY
    alice = ring.make("alice", expires=f"seconds={5 * DAY}", at=past)
    forge = pgp(alice=alice)
    server = serve(forge)
    forge.git("config", "user.signingKey", alice)
    forge.as_kt_does_unsigned("alice", "claim", "--id", "esc_one")
    forge.commit("alice", **{FAKED: str(past + 4 * DAY)})
    assert_refused(forge, server, "signature")


def test_a_revoked_key_is_a_violation(pgp: Enrol, ring: Keyring) -> None:
    alice = ring.make("alice")
    forge = pgp(alice=alice)
    server = serve(forge)
    forge.git("config", "user.signingKey", alice)
    forge.kt("alice", "claim", "--id", "esc_one")
    certificate = (ring.home / "openpgp-revocs.d" / f"{alice}.rev").read_text()
    ring.gpg("--import", stdin=certificate.replace(":-----BEGIN", "-----BEGIN"))
    assert_refused(forge, server, "signature")


def test_a_key_that_is_not_known_here_is_told_with_the_remedy(pgp: Enrol, ring: Keyring) -> None:
    alice = ring.make("alice")
    forge = pgp(alice=alice)
    forge.git("config", "user.signingKey", alice)
    forge.kt("alice", "claim", "--id", "esc_one")
    ring.gpg("--delete-secret-keys", alice)
    ring.gpg("--delete-keys", alice)
    [found] = kt("verify", "--json", cwd=forge.path).json["violations"]
    assert found["rule"] == "signature"
    assert "import it with `gpg --import`" in found["expected"]
