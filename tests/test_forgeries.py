"""What our tool would never write: each forgery is a real commit, found and named for what it is."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lab import Ran, git, kt

from kt_escalation.core.times import format_time

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
    claim_within: 15m
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
        return git("rev-parse", "HEAD", cwd=self.path)

    def resolved(self, name: str) -> str:
        found = git("ls-files", f"queue/resolved/*/esc_{name}.yaml", cwd=self.path)
        assert found
        return found

    def as_kt_does(self, who: str, *args: str) -> None:
        """Let kt make a step, and take its commit back, leaving the files: the ground for a forgery."""
        self.kt(who, *args)
        git("reset", "--quiet", "--soft", "HEAD^", cwd=self.path)


def identity(who: str) -> dict[str, str]:
    email = who if "@" in who else f"{who}@example.com"
    return {
        "GIT_AUTHOR_NAME": who,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": who,
        "GIT_COMMITTER_EMAIL": email,
    }


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The legal history that every forgery is built on."""
    return Forge(tmp_path_factory.mktemp("ground")).path


@pytest.fixture
def forge(ground: Path, tmp_path: Path) -> Forge:
    made = Forge.__new__(Forge)
    made.path = tmp_path / "store"
    git("clone", "--quiet", "--no-hardlinks", str(ground), str(made.path), cwd=tmp_path)
    git("remote", "remove", "origin", cwd=made.path)
    return made


def later(**span: int) -> str:
    return format_time(datetime.now(UTC) + timedelta(**span))


FORGERIES: dict[str, tuple[str, Callable[[Forge], None]]] = {}


def forgery(rule: str) -> Callable[[Callable[[Forge], None]], Callable[[Forge], None]]:
    """Enter a forgery into the corpus, with the rule that it breaks."""

    def enter(make: Callable[[Forge], None]) -> Callable[[Forge], None]:
        FORGERIES[make.__name__.replace("_", " ")] = (rule, make)
        return make

    return enter


# --- people ---------------------------------------------------------------------------------------


@forgery("transition")
def a_claim_in_anothers_name(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("bob")


@forgery("not_holder")
def a_resolution_of_anothers_claim(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    path = forge.resolved("one")
    forge.edit(path, ("reviewer: alice", "reviewer: bob"), ("resolved_by: alice", "resolved_by: bob"))
    forge.commit("bob")


@forgery("not_allowed")
def a_claim_by_somebody_who_is_not_on_the_roster(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("claimed_by: alice", "claimed_by: mallory@example.com"))
    forge.commit("mallory")


@forgery("not_allowed")
def a_claim_by_an_auditor(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("claimed_by: alice", "claimed_by: eve"))
    forge.commit("eve")


@forgery("not_allowed")
def a_claim_by_a_reviewer_of_another_team(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("claimed_by: alice", "claimed_by: carol"))
    forge.commit("carol")


@forgery("not_allowed")
def an_enrolment_in_the_same_commit(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("claimed_by: alice", "claimed_by: mallory"))
    forge.write(
        "policies/roster.yaml",
        ROSTER.replace("[alice, bob]", "[alice, bob, mallory]")
        + "  - {user_id: mallory, emails: [mallory@example.com], roles: [reviewer, admin]}\n",
    )
    forge.commit("mallory")


@forgery("policies")
def an_enrolment_in_two_commits(forge: Forge) -> None:
    forge.write(
        "policies/roster.yaml",
        ROSTER.replace("[alice, bob]", "[alice, bob, mallory]")
        + "  - {user_id: mallory, emails: [mallory@example.com], roles: [reviewer, admin]}\n",
    )
    forge.commit("mallory")
    forge.kt("mallory", "claim", "--id", "esc_one")


@forgery("policies")
def a_weaker_rule_by_a_reviewer(forge: Forge) -> None:
    forge.write("policies/settings.yaml", SETTINGS.replace("approvals: 2", "approvals: 1"))
    forge.commit("alice")


@forgery("policies")
def a_roster_that_is_taken_away(forge: Forge) -> None:
    (forge.path / "policies/roster.yaml").unlink()
    forge.commit("alice")


@forgery("not_allowed")
def an_escalation_raised_by_a_reviewer(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.edit("queue/esc_new.yaml", ("raised_by: gw", "raised_by: alice"))
    forge.commit("alice")


@forgery("born")
def an_escalation_raised_in_anothers_name(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.edit("queue/esc_new.yaml", ("raised_by: gw", "raised_by: boss"))
    forge.commit("gw")


@forgery("transition")
def a_note_in_anothers_name(forge: Forge) -> None:
    forge.as_kt_does("alice", "note", "--id", "esc_one", "--text", "fine")
    forge.commit("bob")


@forgery("not_holder")
def a_claim_given_back_by_another(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "unclaim", "--id", "esc_one")
    forge.commit("bob")


@forgery("not_allowed")
def a_claim_forced_by_a_reviewer(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("boss", "unclaim", "--id", "esc_one", "--force", "--reason", "x")
    forge.edit(ONE, ("by: boss", "by: bob"))
    forge.commit("bob")


@forgery("not_holder")
def an_escalation_assigned_by_who_does_not_hold_it(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("boss", "assign", "--id", "esc_one", "--team", "security", "--reason", "x")
    forge.edit(ONE, ("by: boss", "by: bob"))
    forge.commit("bob")


# --- quorum ---------------------------------------------------------------------------------------


@forgery("transition")
def a_quorum_that_is_short_by_one(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_two")
    forge.edit(TWO, ("approvals: 2", "approvals: 1"))
    text = forge.read(TWO)
    claim = re.search(r'claim_id: ("?\w+"?)', text)
    now = later()
    assert claim
    review = (
        f'reviews:\n  - reviewer: alice\n    outcome: approved\n    reason: ok\n    reviewed_at: "{now}"\n'
        f'    claim_id: {claim[1]}\n    shown: "{"0" * 64}"\nresolution:\n  outcome: approved\n  reason: ok\n'
        f'  resolved_by: alice\n  resolved_at: "{now}"\n'
    )
    day = now[:10].replace("-", "/")
    forge.write(
        f"queue/resolved/{day}/esc_two.yaml", text.replace("status: claimed", "status: resolved") + review
    )
    (forge.path / TWO).unlink()
    forge.commit("alice")


@forgery("not_allowed")
def a_quorum_filled_by_one_person_under_two_addresses(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_two")
    forge.kt("alice", "resolve", "--id", "esc_two", "--outcome", "approved", "--reason", "ok")
    forge.as_kt_does("bob", "claim", "--id", "esc_two")
    forge.edit(TWO, ("claimed_by: bob", "claimed_by: alice"))
    forge.commit("alice@home.example")


@forgery("transition")
def a_rule_that_is_weakened_in_the_record(forge: Forge) -> None:
    forge.edit(TWO, ("approvals: 2", "approvals: 1"))
    forge.commit("alice")


@forgery("born")
def an_escalation_born_with_a_weaker_rule(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b", "--severity", "critical")
    forge.edit("queue/esc_new.yaml", ("approvals: 2", "approvals: 1"))
    forge.commit("gw")


# --- states ---------------------------------------------------------------------------------------


@forgery("resolved")
def a_resolved_record_edited(forge: Forge) -> None:
    forge.edit(forge.resolved("done"), ("reason: [\"']?no.*$", "reason: oh well"))
    forge.commit("alice")


@forgery("deleted")
def a_resolved_record_deleted(forge: Forge) -> None:
    (forge.path / forge.resolved("done")).unlink()
    forge.commit("alice")


@forgery("deleted")
def an_open_record_deleted(forge: Forge) -> None:
    (forge.path / ONE).unlink()
    forge.commit("boss")


@forgery("born")
def a_record_born_resolved(forge: Forge) -> None:
    forge.raised("new")
    forge.kt("alice", "claim", "--id", "esc_new")
    forge.kt("alice", "resolve", "--id", "esc_new", "--outcome", "approved", "--reason", "ok")
    git("reset", "--quiet", "--soft", "HEAD~3", cwd=forge.path)
    forge.commit("gw")


@forgery("already_claimed")
def a_claim_over_a_live_lease(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.edit(
        ONE,
        ("claimed_by: alice", "claimed_by: bob"),
        ("claim_id: .*", "claim_id: mine"),
        ("claimed_at: .*", f'claimed_at: "{later()}"'),
    )
    forge.commit("bob")


@forgery("transition")
def a_severity_lowered(forge: Forge) -> None:
    forge.edit(TWO, ("severity: critical", "severity: low"))
    forge.commit("alice")


@forgery("transition")
def a_route_changed_without_a_word(forge: Forge) -> None:
    forge.edit(ONE, ("team_id: legal", "team_id: security"))
    forge.commit("boss")


@forgery("born")
def a_route_that_no_policy_gives(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.edit("queue/esc_new.yaml", ("team_id: legal", "team_id: security"))
    forge.commit("gw")


@forgery("born")
def an_id_that_its_request_does_not_make(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.write("queue/esc_else.yaml", forge.read("queue/esc_new.yaml").replace("esc_new", "esc_else"))
    (forge.path / "queue/esc_new.yaml").unlink()
    forge.commit("gw")


@forgery("transition")
def a_note_taken_away(forge: Forge) -> None:
    forge.kt("alice", "note", "--id", "esc_one", "--text", "suspicious")
    forge.write(ONE, re.sub(r"notes:\n(  .*\n)+", "", forge.read(ONE)))
    forge.commit("alice")


@forgery("transition")
def a_review_reworded(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_two")
    forge.kt("alice", "resolve", "--id", "esc_two", "--outcome", "approved", "--reason", "hm")
    forge.edit(TWO, ("reason: hm", "reason: sure"))
    forge.commit("alice")


@forgery("transition")
def a_lease_longer_than_the_settings_give(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("expires_at: .*", f'expires_at: "{later(days=2)}"'))
    forge.commit("alice")


@forgery("not_holder")
def a_lease_renewed_by_another(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("expires_at: .*", f'expires_at: "{later(hours=1)}"'))
    forge.commit("bob")


@forgery("transition")
def a_claim_id_changed(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("claim_id: .*", "claim_id: another"))
    forge.commit("alice")


@forgery("transition")
def an_outcome_that_no_review_gave(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no")
    forge.edit(forge.resolved("one"), ("resolution:\n  outcome: denied", "resolution:\n  outcome: approved"))
    forge.commit("alice")


@forgery("transition")
def a_digest_of_something_else_shown(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no")
    forge.edit(forge.resolved("one"), ("shown: .*", f'shown: "{"0" * 64}"'))
    forge.commit("alice")


@forgery("not_resolved")
def a_reopening_of_what_is_open(forge: Forge) -> None:
    forge.as_kt_does("alice", "reopen", "--id", "esc_done", "--reason", "wrong")
    [path] = git("ls-files", "queue/esc_0*", cwd=forge.path).splitlines()
    forge.edit(path, ("reopens: esc_done", "reopens: esc_one"))
    forge.commit("alice")


@forgery("already_reopened")
def a_second_reopening_of_the_same(forge: Forge) -> None:
    forge.as_kt_does("alice", "reopen", "--id", "esc_done", "--reason", "wrong")
    [path] = git("ls-files", "queue/esc_0*", cwd=forge.path).splitlines()
    text = forge.read(path)
    forge.git("reset", "--quiet", "--hard")
    forge.kt("bob", "reopen", "--id", "esc_done", "--reason", "no, mine")
    forge.write(path, text)
    forge.commit("alice")


# --- time -----------------------------------------------------------------------------------------


@forgery("transition")
def time_turned_back(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(
        ONE,
        ("claimed_at: .*", f'claimed_at: "{later(hours=-3)}"'),
        ("expires_at: .*", f'expires_at: "{later(hours=-2)}"'),
    )
    forge.commit("alice")


@forgery("time")
def a_time_that_has_not_come(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(
        ONE,
        ("claimed_at: .*", 'claimed_at: "2099-01-01T00:00:00.000Z"'),
        ("expires_at: .*", 'expires_at: "2099-01-01T01:00:00.000Z"'),
    )
    forge.commit("alice")


@forgery("time")
def a_backdated_commit(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("alice", GIT_COMMITTER_DATE="2026-01-01T00:00:00Z", GIT_AUTHOR_DATE="2026-01-01T00:00:00Z")


@forgery("transition")
def an_expiry_before_its_time(forge: Forge) -> None:
    text = forge.read(TWO)
    end = later()
    told = f'resolution:\n  outcome: expired\n  reason: not resolved within 4h\n  resolved_by: alice\n  resolved_at: "{end}"\n'
    forge.write(
        f"queue/resolved/{end[:10].replace('-', '/')}/esc_two.yaml",
        text.replace("status: queued", "status: resolved") + told,
    )
    (forge.path / TWO).unlink()
    forge.commit("alice")


@forgery("not_holder")
def a_living_claim_swept(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    text = re.sub(r"claim:\n(  .*\n)+", "", forge.read(ONE)).replace("status: claimed", "status: queued")
    forge.write(ONE, re.sub("queued_at: .*", f'queued_at: "{later()}"', text))
    forge.commit("eve")


@forgery("transition")
def a_fallback_before_its_time(forge: Forge) -> None:
    forge.edit(
        TWO,
        ("  team_id: legal\n  source: default", "  team_id: security\n  source: fallback"),
        ('  claim_within: "15m"\n', ""),
        ("queued_at: .*", f'queued_at: "{later()}"'),
    )
    forge.commit("alice")


@forgery("born")
def an_escalation_from_the_future(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.edit("queue/esc_new.yaml", ("created_at: .*", f'created_at: "{later(hours=1)}"'))
    forge.commit("gw")


# --- files ----------------------------------------------------------------------------------------


@forgery("file")
def an_open_record_in_the_resolved_folder(forge: Forge) -> None:
    forge.write("queue/resolved/2026/11/23/esc_one.yaml", forge.read(ONE))
    (forge.path / ONE).unlink()
    forge.commit("alice")


@forgery("file")
def a_resolved_record_in_the_wrong_day(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no")
    path = forge.resolved("one")
    forge.write("queue/resolved/2020/01/01/esc_one.yaml", forge.read(path))
    (forge.path / path).unlink()
    forge.commit("alice")


@forgery("foreign")
def a_foreign_file_in_the_queue(forge: Forge) -> None:
    forge.write("queue/README.md", "hello\n")
    forge.commit("alice")


@forgery("file")
def a_symbolic_link_in_place_of_a_record(forge: Forge) -> None:
    (forge.path / ONE).unlink()
    (forge.path / ONE).symlink_to("/etc/passwd")
    forge.commit("alice")


@forgery("file")
def an_executable_record(forge: Forge) -> None:
    (forge.path / ONE).chmod(0o755)
    forge.commit("alice")


@forgery("file")
def conflict_markers(forge: Forge) -> None:
    forge.write(ONE, f"<<<<<<< ours\n{forge.read(ONE)}=======\n>>>>>>> theirs\n")
    forge.commit("alice")


@forgery("canonical")
def another_way_to_write_the_same(forge: Forge) -> None:
    forge.write(ONE, f"# a remark\n{forge.read(ONE)}")
    forge.commit("alice")


@forgery("twice")
def a_second_file_for_the_same_escalation(forge: Forge) -> None:
    forge.write("queue/resolved/2026/11/23/esc_one.yaml", forge.read(ONE))
    forge.commit("alice")


@forgery("file")
def a_record_under_anothers_name(forge: Forge) -> None:
    forge.write("queue/esc_other.yaml", forge.read(ONE))
    forge.commit("gw")


@forgery("restore")
def a_restoration_by_a_reviewer(forge: Forge) -> None:
    good = forge.read(ONE)
    forge.write(ONE, "broken\n")
    forge.commit("alice")
    forge.write(ONE, good)
    forge.commit("alice")


@forgery("restore")
def a_restoration_to_what_never_was(forge: Forge) -> None:
    good = forge.read(ONE)
    forge.write(ONE, "broken\n")
    forge.commit("alice")
    forge.write(ONE, good.replace("severity: medium", "severity: low"))
    forge.commit("boss")


@forgery("deleted")
def one_legal_step_that_hides_another(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    (forge.path / TWO).unlink()
    forge.commit("alice")


# --- words ----------------------------------------------------------------------------------------

SAID = "kt: claim esc_one\n\nKt-Action: claim\nKt-Escalation: esc_one\nKt-Actor: alice\n"


@forgery("trailers")
def a_message_that_names_another_actor(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("alice", SAID.replace("alice", "bob"))


@forgery("trailers")
def a_message_that_names_another_escalation(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("alice", SAID.replace("Kt-Escalation: esc_one", "Kt-Escalation: esc_two"))


@forgery("trailers")
def a_message_that_tells_another_action(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("alice", SAID.replace("Kt-Action: claim", "Kt-Action: note"))


@forgery("trailers")
def a_message_that_tells_another_outcome(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no")
    forge.commit("alice", f"{SAID.replace('claim', 'resolve')}Kt-Outcome: approved\n")


# --- the graph ------------------------------------------------------------------------------------


def side(forge: Forge, *args: str, who: str = "bob") -> None:
    """A step on a side branch; the main line is checked out again afterwards."""
    forge.git("switch", "--quiet", "-c", "side")
    forge.kt(who, *args)
    forge.git("switch", "--quiet", "-")


@forgery("merge")
def a_merge_that_changes_a_record_of_its_own(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "main")
    forge.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    forge.edit(ONE, ("severity: medium", "severity: low"))
    forge.commit("alice")


@forgery("merge")
def a_merge_that_drops_a_claim(forge: Forge) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "main")
    forge.git("merge", "--quiet", "--no-ff", "-s", "ours", "-m", "merge", "side")


@forgery("merge")
def a_merge_with_its_parents_swapped_that_drops_the_main_line(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.kt("alice", "claim", "--id", "esc_one")
    main = forge.tip()
    forge.git("reset", "--quiet", "--hard", "side")
    forge.git("merge", "--quiet", "--no-ff", "-s", "ours", "-m", "merge", main)


@forgery("fork")
def two_claims_that_a_merge_chooses_between(forge: Forge) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.git("merge", "--quiet", "--no-ff", "-s", "ours", "-m", "merge", "side")


@forgery("fork")
def two_notes_that_git_merges_cleanly(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_one", "--text", "side")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "main")
    forge.git("merge", "--quiet", "--no-ff", "-X", "ours", "-m", "merge", "side")


@forgery("not_allowed")
def a_side_branch_by_somebody_since_removed(forge: Forge) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.write("policies/roster.yaml", ROSTER.replace("[alice, bob]", "[alice]"))
    forge.commit("boss")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")


@forgery("policies")
def policies_that_a_merge_by_a_reviewer_brings_in(forge: Forge) -> None:
    forge.git("switch", "--quiet", "-c", "side")
    forge.write("policies/settings.yaml", SETTINGS.replace("approvals: 2", "approvals: 1"))
    forge.commit("mallory")
    forge.git("switch", "--quiet", "-")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="alice")


@pytest.fixture
def server(forge: Forge, tmp_path: Path) -> Path:
    """A bare repository with the history so far, and the hook."""
    bare = tmp_path / "server.git"
    git("clone", "--quiet", "--bare", "--no-hardlinks", str(forge.path), str(bare), cwd=tmp_path)
    assert kt("hook", "install", "--server", str(bare), cwd=tmp_path).code == 0
    return bare


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


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_found_and_named(forge: Forge, server: Path, name: str) -> None:
    rule, make = FORGERIES[name]
    before = forge.tip()
    assert kt("verify", "--json", cwd=forge.path).json["ok"] is True
    make(forge)
    ran = kt("verify", "--afresh", "--json", cwd=forge.path)
    assert ran.code == 1 and ran.json["ok"] is False
    assert rule in {found["rule"] for found in ran.json["violations"]}, ran.json["violations"]
    again = kt("verify", "--json", cwd=forge.path)
    assert again.code == 1 and {v["rule"] for v in again.json["violations"]} >= {rule}
    checked = kt("check", f"{before}..HEAD", "--json", cwd=forge.path)
    assert checked.code == 1 and rule in {found["rule"] for found in checked.json["violations"]}
    refused = push(forge, server)
    assert refused.code == 1 and "pre-receive hook declined" in refused.err
    assert git("rev-parse", "main", cwd=server) == before
    assert f": {rule}: " in refused.err


def test_what_is_legal_is_taken_in_by_the_server(forge: Forge, server: Path) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "main")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    ran = push(forge, server)
    assert ran.code == 0, ran.err
    assert git("rev-parse", "main", cwd=server) == forge.tip()
    other = forge.path.parent / "bob"
    git("clone", "--quiet", str(server), str(other), cwd=forge.path.parent)
    done = kt(
        "resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no", cwd=other, env=identity("bob")
    )
    assert done.code == 0, done.err


def test_kt_tells_the_words_of_the_servers_hook(forge: Forge, server: Path) -> None:
    forge.git("remote", "add", "origin", str(server))
    forge.git("fetch", "--quiet", "origin")
    forge.edit(ONE, ("severity: medium", "severity: low"))
    bad = forge.commit("alice")
    git("update-ref", "refs/heads/main", bad, cwd=forge.path)
    ran = push(forge, server)
    assert f"{bad[:12]} by alice@example.com  {ONE}: transition: expected" in ran.err


def test_the_store_branch_is_neither_deleted_nor_rewritten(forge: Forge, server: Path) -> None:
    git("config", "receive.denyDeleteCurrent", "ignore", cwd=server)
    deleted = push(forge, server, what=":main")
    assert deleted.code == 1 and "the store branch is never deleted" in deleted.err
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    forge.kt("bob", "note", "--id", "esc_two", "--text", "another past")
    rewritten = push(forge, server, "--force")
    assert rewritten.code == 1 and "the store branch is never rewritten" in rewritten.err


def test_the_old_tip_stays_on_the_first_parent_line(forge: Forge, server: Path) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.kt("alice", "claim", "--id", "esc_one")
    assert push(forge, server).code == 0
    main = forge.tip()
    forge.git("reset", "--quiet", "--hard", "side")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", main)
    ran = push(forge, server)
    assert ran.code == 1 and "must have the store branch as its first parent" in ran.err


@pytest.mark.parametrize(
    ("variable", "pusher", "taken"),
    [
        ("REMOTE_USER", "alice", True),
        ("GL_USERNAME", "alice@home.example", True),
        ("GITEA_PUSHER_NAME", "bob", False),
        ("GL_USERNAME", "mallory", False),
    ],
)
def test_who_pushes_is_who_acts(forge: Forge, server: Path, variable: str, pusher: str, taken: bool) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    ran = push(forge, server, **{variable: pusher})
    assert (ran.code == 0) == taken
    if not taken:
        assert f"pusher: expected a commit by {pusher}" in ran.err
        assert ("GL-HOOK-ERR: kt: " in ran.err) == (variable == "GL_USERNAME")


def test_a_server_that_was_asked_for_the_pusher_must_name_one(forge: Forge, server: Path) -> None:
    again = kt("hook", "install", "--server", str(server), "--pusher-from", "WHO", cwd=forge.path)
    assert again.code == 0
    forge.kt("alice", "claim", "--id", "esc_one")
    assert "this server does not say who is pushing" in push(forge, server, REMOTE_USER="alice").err
    assert "expected a commit by bob, who is pushing" in push(forge, server, WHO="bob").err
    assert push(forge, server, WHO="alice").code == 0


def test_what_cannot_be_judged_in_time_is_refused(forge: Forge, server: Path) -> None:
    assert kt("hook", "install", "--server", str(server), "--timeout", "0s", cwd=forge.path).code == 0
    forge.kt("alice", "claim", "--id", "esc_one")
    ran = push(forge, server)
    assert ran.code == 1 and "cannot be judged within 0 s" in ran.err


def test_another_hook_is_left_alone(forge: Forge, server: Path) -> None:
    (server / "hooks/pre-receive").write_text("#!/bin/sh\n")
    ran = kt("hook", "install", "--server", str(server), "--json", cwd=forge.path)
    assert ran.code == 2 and "is another hook; call this from it" in ran.error["message"]


def test_the_corpus_is_large() -> None:
    assert len(FORGERIES) >= 60


def test_a_rewritten_history_is_told(forge: Forge) -> None:
    assert kt("verify", cwd=forge.path).code == 0
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    forge.kt("bob", "note", "--id", "esc_two", "--text", "another past")
    ran = kt("verify", "--json", cwd=forge.path)
    assert ran.code == 1 and ran.json["violations"][0]["rule"] == "rewritten"


# --- and what is legal raises no alarm ------------------------------------------------------------


def test_a_whole_life_with_merges_and_a_squash_is_clean(forge: Forge) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "main")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    forge.kt("bob", "note", "--id", "esc_one", "--text", "looking")
    forge.kt("bob", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    git("reset", "--quiet", "--soft", "HEAD~2", cwd=forge.path)
    forge.commit("bob", "both in one")
    forge.write("policies/roster.yaml", ROSTER.replace("[alice, bob]", "[alice]"))
    forge.commit("boss")
    forge.kt("alice", "reopen", "--id", "esc_done", "--reason", "wrong")
    ran = kt("verify", "--afresh", "--json", cwd=forge.path)
    assert ran.json["violations"] == [] and ran.code == 0


def test_policies_that_a_merge_by_an_admin_brings_in_are_legal(forge: Forge) -> None:
    forge.git("switch", "--quiet", "-c", "side")
    forge.write("policies/settings.yaml", SETTINGS.replace("1h", "2h"))
    forge.commit("mallory")
    forge.git("switch", "--quiet", "-")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="boss")
    assert kt("verify", "--json", cwd=forge.path).json["violations"] == []


def test_a_damage_that_an_admin_restores_is_one_violation_that_can_be_waived(forge: Forge) -> None:
    forge.write(ONE, "broken\n")
    damage = forge.commit("alice")
    forge.kt("boss", "restore", "--id", "esc_one", "--reason", "by accident")
    forge.kt("alice", "claim", "--id", "esc_one")
    ran = kt("verify", "--json", cwd=forge.path)
    assert [(v["commit"], v["rule"]) for v in ran.json["violations"]] == [(damage, "file")]
    waiver = f"waivers:\n  - {{commit: {damage[:12]}, rule: file, reason: an accident}}\n"
    forge.write("policies/waivers.yaml", waiver)
    forge.commit("boss")
    ran = kt("verify", "--json", cwd=forge.path)
    assert ran.code == 0 and len(ran.json["waived"]) == 1


def test_a_base_that_has_moved_on_is_told_with_the_name(forge: Forge) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "claim", "--id", "esc_one")
    ran = kt("check", "HEAD..side", "--json", cwd=forge.path)
    moved = [found for found in ran.json["violations"] if found["rule"] == "moved"]
    assert ran.code == 1 and "esc_one is held by alice" in moved[0]["expected"]


def test_a_shallow_clone_says_how_to_get_the_rest(forge: Forge, tmp_path: Path) -> None:
    git("clone", "--quiet", "--depth", "1", forge.path.as_uri(), str(tmp_path / "shallow"), cwd=tmp_path)
    ran = kt("verify", "--json", cwd=tmp_path / "shallow")
    assert ran.code == 2 and ran.error["code"] == "shallow_clone" and "--unshallow" in ran.error["message"]


# --- signatures -----------------------------------------------------------------------------------


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


def sign_as(forge: Forge, who: str) -> None:
    """Let git sign with somebody's key from now on."""
    for key, value in (
        ("gpg.format", "ssh"),
        ("user.signingKey", str(key_of(forge, who))),
        ("commit.gpgsign", "true"),
    ):
        forge.git("config", key, value)


@pytest.fixture
def signed(forge: Forge) -> Forge:
    """A store whose settings require signatures, with keys of alice's and boss's on the roster."""
    roster = ROSTER
    for who in ("alice", "boss"):
        public = key_of(forge, who).with_suffix(".pub").read_text().strip()
        roster = re.sub(rf"(user_id: {who}, .*?roles: \[\w+\])", rf'\1, signing_keys: ["{public}"]', roster)
    forge.write("policies/roster.yaml", roster)
    forge.write("policies/settings.yaml", f"{SETTINGS}signatures: required\n")
    sign_as(forge, "boss")
    forge.commit("boss", "signatures from now on")
    return forge


def rules_of(forge: Forge, *args: str) -> list[str]:
    return [found["rule"] for found in kt("verify", *args, "--json", cwd=forge.path).json["violations"]]


def test_a_signature_by_the_actors_own_key_is_clean(signed: Forge) -> None:
    sign_as(signed, "alice")
    signed.kt("alice", "claim", "--id", "esc_one")
    assert rules_of(signed) == []
    # Before that nothing was signed, and the first key counts from the commit after the one that lists it.
    assert set(rules_of(signed, "--require-signatures")) == {"unsigned", "signature"}
    assert (
        "unsigned: a name without a signature is a claim, not proof"
        in kt("verify", "--afresh", cwd=signed.path).err
    )


def test_what_is_not_signed_is_a_violation_where_it_must_be(signed: Forge) -> None:
    signed.git("config", "commit.gpgsign", "false")
    signed.kt("alice", "claim", "--id", "esc_one")
    assert rules_of(signed) == ["unsigned"]


def test_a_good_signature_by_somebody_elses_key_is_a_violation(signed: Forge) -> None:
    sign_as(signed, "boss")
    signed.kt("alice", "claim", "--id", "esc_one")
    assert rules_of(signed) == ["signature"]


def test_a_key_that_the_roster_no_longer_lists_is_a_violation(signed: Forge) -> None:
    sign_as(signed, "boss")
    signed.edit("policies/roster.yaml", (r"(user_id: alice, .*?), signing_keys: \[.*?\]", r"\1"))
    signed.commit("boss", "alice lost her key")
    sign_as(signed, "alice")
    signed.kt("alice", "claim", "--id", "esc_one")
    assert rules_of(signed) == ["signature"]


def test_a_commit_that_another_committed_is_a_violation(signed: Forge) -> None:
    sign_as(signed, "alice")
    signed.as_kt_does("alice", "claim", "--id", "esc_one")
    signed.commit("alice", GIT_COMMITTER_EMAIL="bob@example.com")
    assert rules_of(signed) == ["signature"]


def test_a_signature_that_was_tampered_with_is_a_violation(signed: Forge) -> None:
    sign_as(signed, "alice")
    signed.kt("alice", "claim", "--id", "esc_one")
    raw = git("cat-file", "commit", "HEAD", cwd=signed.path)
    path = signed.path.parent / "forged"
    path.write_text(raw.replace("kt: claim esc_one", "kt: claim  esc_one") + "\n")
    forged = git("hash-object", "-t", "commit", "-w", str(path), cwd=signed.path)
    git("update-ref", "refs/heads/main", forged, cwd=signed.path)
    assert rules_of(signed) == ["signature"]


def test_who_is_named_by_e_mail_and_acts_by_user_id_is_one_person(forge: Forge) -> None:
    event = (
        '{"event_type": "decision", "request_id": "mine", "verdict": "escalate", "reason_code": "a.b",'
        ' "metadata": {"escalation_routing": {"user_id": "Alice@Home.example"}}}'
    )
    (forge.path.parent / "event.json").write_text(event)
    forge.kt("gw", "raise", "--event", "../event.json")
    forge.kt("alice", "claim", "--id", "esc_mine", "--renew")
    forge.kt("alice", "resolve", "--id", "esc_mine", "--outcome", "denied", "--reason", "no")
    assert kt("verify", "--json", cwd=forge.path).json["violations"] == []
