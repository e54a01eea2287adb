"""What our tool would never write: each forgery is a real commit, found and named for what it is."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from forge import (
    ONE,
    ROSTER,
    SETTINGS,
    TWO,
    Forge,
    assert_found,
    assert_nothing_forged_is_released,
    assert_refused,
    identity,
    in_full,
    later,
    others,
    push,
    rules_of,
    serve,
    side,
    waive,
    way_in,
)
from lab import git, kt

from kt_escalation import Store

WAIVERS = "policies/waivers.yaml"
FORGERIES: dict[str, tuple[str, str, Callable[[Forge], None]]] = {}


def forgery(rule: str, said: str = "") -> Callable[[Callable[[Forge], None]], Callable[[Forge], None]]:
    """Enter a forgery into the corpus, with the rule that it breaks and words of what was expected."""

    def enter(make: Callable[[Forge], None]) -> Callable[[Forge], None]:
        FORGERIES[make.__name__.replace("_", " ")] = (rule, said, make)
        return make

    return enter


# --- people ---------------------------------------------------------------------------------------


@forgery("actor", "claim.claimed_by bob")
def a_claim_in_anothers_name(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("bob")


@forgery("not_holder", "held by alice since")
def a_resolution_of_anothers_claim(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    path = forge.resolved("one")
    forge.edit(path, ("reviewer: alice", "reviewer: bob"), ("resolved_by: alice", "resolved_by: bob"))
    forge.commit("bob")


@forgery("not_allowed", "mallory@example.com may not claim esc_one: is not on the roster")
def a_claim_by_somebody_who_is_not_on_the_roster(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("claimed_by: alice", "claimed_by: mallory@example.com"))
    forge.commit("mallory")


@forgery("not_allowed", "eve may not claim esc_one: does not have the role reviewer")
def a_claim_by_an_auditor(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("claimed_by: alice", "claimed_by: eve"))
    forge.commit("eve")


@forgery("not_allowed", "it is routed to team legal")
def a_claim_by_a_reviewer_of_another_team(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("claimed_by: alice", "claimed_by: carol"))
    forge.commit("carol")


@forgery("not_allowed", "mallory@example.com may not claim esc_one: is not on the roster")
def an_enrolment_in_the_same_commit(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("claimed_by: alice", "claimed_by: mallory"))
    forge.write(
        "policies/roster.yaml",
        ROSTER.replace("[alice, bob]", "[alice, bob, mallory]")
        + "  - {user_id: mallory, emails: [mallory@example.com], roles: [reviewer, admin]}\n",
    )
    forge.commit("mallory")


@forgery("policies", "an admin of the roster before it (boss)")
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


@forgery("policies", "policies/roster.yaml:1:2: ")
def a_roster_that_cannot_be_read(forge: Forge) -> None:
    forge.write("policies/roster.yaml", "{{{\n")
    forge.commit("boss")


@forgery("policies", "policies/roster.yaml: is empty")
def an_empty_roster(forge: Forge) -> None:
    forge.write("policies/roster.yaml", "")
    forge.commit("boss")


@forgery("policies", "belongs to both")
def a_roster_in_which_one_address_is_two_peoples(forge: Forge) -> None:
    forge.edit("policies/roster.yaml", ("bob@example.com", "alice@example.com"))
    forge.commit("boss")


@forgery("tree", "is a symbolic link")
def a_roster_that_is_a_link(forge: Forge) -> None:
    (forge.path / "policies/roster.yaml").unlink()
    (forge.path / "policies/roster.yaml").symlink_to("other.yaml")
    forge.commit("boss")


@forgery("policies", "policies/settings.yaml")
def settings_that_cannot_be_read(forge: Forge) -> None:
    forge.write("policies/settings.yaml", "{{{\n")
    forge.commit("boss")


@forgery("policies", "policies/settings.yaml:9:1: signatures")
def settings_with_a_value_that_means_nothing(forge: Forge) -> None:
    forge.write("policies/settings.yaml", f"{SETTINGS}signatures: always\n")
    forge.commit("boss")


@forgery("policies", "policies/waivers.yaml")
def waivers_that_cannot_be_read(forge: Forge) -> None:
    forge.write("policies/waivers.yaml", "waivers: [{rule: fork}]\n")
    forge.commit("boss")


@forgery("policies", "an admin of the roster before it (boss)")
def an_admin_by_a_roster_after_one_that_cannot_be_read(forge: Forge) -> None:
    forge.write("policies/roster.yaml", "{{{\n")
    forge.commit("boss")
    forge.write(
        "policies/roster.yaml", ROSTER.replace("home.example], roles: [", "home.example], roles: [admin, ")
    )
    forge.commit("alice")


@forgery("not_allowed", "mallory@example.com may not claim esc_one: is not on the roster")
def a_claim_where_the_roster_cannot_be_read(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    claimed = forge.read(ONE).replace("claimed_by: alice", "claimed_by: mallory@example.com")
    git("reset", "--quiet", "--hard", cwd=forge.path)
    forge.write("policies/roster.yaml", "{{{\n")
    forge.commit("boss")
    forge.write(ONE, claimed)
    forge.commit("mallory")


@forgery("policies", "somebody with the role admin (boss)")
def a_last_admin_who_gives_up_the_role(forge: Forge) -> None:
    forge.edit("policies/roster.yaml", (r"roles: \[admin\]", "roles: []"))
    forge.commit("boss")


@forgery("policies", "somebody with the role admin (boss)")
def a_roster_with_nobody(forge: Forge) -> None:
    forge.write("policies/roster.yaml", "users: []\n")
    forge.commit("boss")


@forgery("not_allowed")
def an_escalation_raised_by_a_reviewer(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.edit("queue/esc_new.yaml", ("raised_by: gw", "raised_by: alice"))
    forge.commit("alice")


@forgery("actor", "raised_by gw")
def an_escalation_raised_in_anothers_name(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.edit("queue/esc_new.yaml", ("raised_by: gw", "raised_by: boss"))
    forge.commit("gw")


@forgery("actor", "notes.0.by bob")
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


@forgery("quorum", "2 people's reviews, or one denial; it has 1")
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


@forgery("not_allowed", "alice may not resolve esc_two: has decided so already")
def a_quorum_filled_by_one_person_under_two_addresses(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_two")
    forge.kt("alice", "resolve", "--id", "esc_two", "--outcome", "approved", "--reason", "ok")
    forge.kt("alice@home.example", "claim", "--id", "esc_two")
    forge.as_kt_does("alice", "resolve", "--id", "esc_two", "--outcome", "denied", "--reason", "ok")
    path = forge.resolved("two")
    forge.edit(
        path, ("    outcome: denied", "    outcome: approved"), ("  outcome: denied", "  outcome: approved")
    )
    forge.commit("alice@home.example")


@forgery("quorum", "requires.approvals 2")
def a_rule_that_is_weakened_in_the_record(forge: Forge) -> None:
    forge.edit(TWO, ("approvals: 2", "approvals: 1"))
    forge.commit("alice")


@forgery("quorum", "requires.approvals 2")
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


@forgery("invalid_creation", "status queued")
def a_record_born_resolved(forge: Forge) -> None:
    forge.raised("new")
    forge.kt("alice", "claim", "--id", "esc_new")
    forge.kt("alice", "resolve", "--id", "esc_new", "--outcome", "approved", "--reason", "ok")
    git("reset", "--quiet", "--soft", "HEAD~3", cwd=forge.path)
    forge.commit("gw")


@forgery("already_claimed", "held by alice since")
def a_claim_over_a_live_lease(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.edit(
        ONE,
        ("claimed_by: alice", "claimed_by: bob"),
        ("claim_id: .*", "claim_id: mine"),
        ("claimed_at: .*", f'claimed_at: "{later()}"'),
    )
    forge.commit("bob")


@forgery("transition", "severity critical")
def a_severity_lowered(forge: Forge) -> None:
    forge.edit(TWO, ("severity: critical", "severity: low"))
    forge.commit("alice")


@forgery("transition", "route.team_id legal")
def a_route_changed_without_a_word(forge: Forge) -> None:
    forge.edit(ONE, ("team_id: legal", "team_id: security"))
    forge.commit("boss")


@forgery("invalid_creation", "route.team_id legal")
def a_route_that_no_policy_gives(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.edit("queue/esc_new.yaml", ("team_id: legal", "team_id: security"))
    forge.commit("gw")


@forgery("invalid_creation", "escalation_id esc_new")
def an_id_that_its_request_does_not_make(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.write("queue/esc_else.yaml", forge.read("queue/esc_new.yaml").replace("esc_new", "esc_else"))
    (forge.path / "queue/esc_new.yaml").unlink()
    forge.commit("gw")


@forgery("transition", "notes as before")
def a_note_taken_away(forge: Forge) -> None:
    forge.kt("alice", "note", "--id", "esc_one", "--text", "suspicious")
    forge.write(ONE, re.sub(r"notes:\n(  .*\n)+", "", forge.read(ONE)))
    forge.commit("alice")


@forgery("transition", "reviews.0.reason hm")
def a_review_reworded(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_two")
    forge.kt("alice", "resolve", "--id", "esc_two", "--outcome", "approved", "--reason", "hm")
    forge.edit(TWO, ("reason: hm", "reason: sure"))
    forge.commit("alice")


@forgery("lease", "claim.expires_at")
def a_lease_longer_than_the_settings_give(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("expires_at: .*", f'expires_at: "{later(days=2)}"'))
    forge.commit("alice")


@forgery("not_holder")
def a_lease_renewed_by_another(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("expires_at: .*", f'expires_at: "{later(hours=1)}"'))
    forge.commit("bob")


@forgery("transition", "claim.claim_id")
def a_claim_id_changed(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("claim_id: .*", "claim_id: another"))
    forge.commit("alice")


@forgery("transition", "resolution.outcome denied")
def an_outcome_that_no_review_gave(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no")
    forge.edit(forge.resolved("one"), ("resolution:\n  outcome: denied", "resolution:\n  outcome: approved"))
    forge.commit("alice")


@forgery("shown", "reviews.0.shown")
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


@forgery("time", "claim.claimed_at")
def time_turned_back(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(
        ONE,
        ("claimed_at: .*", f'claimed_at: "{later(hours=-3)}"'),
        ("expires_at: .*", f'expires_at: "{later(hours=-2)}"'),
    )
    forge.commit("alice")


@forgery("time", "no time later than the commit")
def a_time_that_has_not_come(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.edit(
        ONE,
        ("claimed_at: .*", 'claimed_at: "2099-01-01T00:00:00.000Z"'),
        ("expires_at: .*", 'expires_at: "2099-01-01T01:00:00.000Z"'),
    )
    forge.commit("alice")


@forgery("time", "no time later than the commit, 2026-01-01")
def a_backdated_commit(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("alice", GIT_COMMITTER_DATE="2026-01-01T00:00:00Z", GIT_AUTHOR_DATE="2026-01-01T00:00:00Z")


@forgery("deadline", "no expiry before")
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


@forgery("deadline", "no fallback before")
def a_fallback_before_its_time(forge: Forge) -> None:
    forge.edit(
        TWO,
        ("  team_id: legal\n  source: default", "  team_id: security\n  source: fallback"),
        ('  claim_within: "3h"\n', ""),
        ("queued_at: .*", f'queued_at: "{later()}"'),
    )
    forge.commit("alice")


@forgery("deadline", "no earlier than the times in the record")
def a_claim_over_a_lease_before_its_end_in_one_commit_with_its_decision(forge: Forge) -> None:
    forge.write("policies/settings.yaml", SETTINGS.replace("lease: 1h", "lease: 1s"))
    forge.commit("boss")
    forge.kt("alice", "claim", "--id", "esc_one")
    time.sleep(1.5)
    # The lease is over, and the tolerance of two minutes is not.
    with at(forge, "bob", seconds=120) as store:
        store.claim("esc_one")
        store.resolve("esc_one", "approved", "mine")
    forge.git("reset", "--quiet", "--soft", "HEAD~2")
    forge.commit("bob")


@forgery("not_allowed", "decided what it reopens")
def a_decision_again_by_who_decided_with_a_withdrawn_reopening_between(forge: Forge) -> None:
    for who in ("alice", "bob"):
        forge.kt(who, "claim", "--id", "esc_two")
        forge.kt(who, "resolve", "--id", "esc_two", "--outcome", "approved", "--reason", "ok")
    first = reopened(forge, "esc_two")
    forge.kt("boss", "withdraw", "--id", first, "--reason", "oops")
    again = reopened(forge, first)
    until = f'  claimed_at: "{later()}"\n  expires_at: "{later(hours=1)}"\n'
    forge.edit(
        f"queue/{again}.yaml",
        ("status: queued", "status: claimed"),
        (
            "^notes:",
            f"claim:\n  claim_id: c9\n  claimed_by: alice\n{until}notes:",
        ),
    )
    forge.commit("alice")


def reopened(forge: Forge, name: str) -> str:
    """Reopen an escalation; the id of the new one."""
    ran = kt("reopen", "--id", name, "--reason", "again", "--json", cwd=forge.path, env=identity("boss"))
    found: str = ran.json["escalation"]["escalation_id"]
    return found


@forgery("file", "is not a time from 1970 to 8999")
def a_lease_from_before_all_times(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.edit(ONE, ("expires_at: .*", 'expires_at: "0001-01-01T00:00:00.000Z"'))
    forge.commit("bob")


@forgery("time", "created_at")
def an_escalation_from_the_future(forge: Forge) -> None:
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.edit("queue/esc_new.yaml", ("created_at: .*", f'created_at: "{later(hours=1)}"'))
    forge.commit("gw")


# --- files ----------------------------------------------------------------------------------------


@forgery("file", "belongs at queue/esc_one.yaml")
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


@forgery("tree", "is a symbolic link")
def a_symbolic_link_in_place_of_a_record(forge: Forge) -> None:
    (forge.path / ONE).unlink()
    (forge.path / ONE).symlink_to("/etc/passwd")
    forge.commit("alice")


@forgery("tree", "is executable")
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


@forgery("duplicate_file")
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


@forgery("message")
def a_message_that_names_another_actor(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("alice", SAID.replace("alice", "bob"))


@forgery("message")
def a_message_that_names_another_escalation(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("alice", SAID.replace("Kt-Escalation: esc_one", "Kt-Escalation: esc_two"))


@forgery("message")
def a_message_that_tells_another_action(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("alice", SAID.replace("Kt-Action: claim", "Kt-Action: note"))


@forgery("message")
def a_message_that_tells_another_outcome(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no")
    forge.commit("alice", f"{SAID.replace('claim', 'resolve')}Kt-Outcome: approved\n")


# --- the graph ------------------------------------------------------------------------------------


@forgery("merge")
def a_merge_that_changes_a_record_of_its_own(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "main")
    forge.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    forge.edit(ONE, ("severity: medium", "severity: low"))
    forge.commit("alice")


@forgery("dropped", "which the branch never had")
def a_merge_that_drops_a_claim(forge: Forge) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "main")
    forge.git("merge", "--quiet", "--no-ff", "-s", "ours", "-m", "merge", "side")


@forgery("dropped")
def a_merge_with_its_parents_swapped_that_drops_the_main_line(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.kt("alice", "claim", "--id", "esc_one")
    main = forge.tip()
    forge.git("reset", "--quiet", "--hard", "side")
    forge.git("merge", "--quiet", "--no-ff", "-s", "ours", "-m", "merge", main)


@forgery("dropped", "which the branch never had")
def two_claims_that_a_merge_chooses_between(forge: Forge) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.git("merge", "--quiet", "--no-ff", "-s", "ours", "-m", "merge", "side")


@forgery("dropped")
def two_notes_that_git_merges_cleanly(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_one", "--text", "side")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "main")
    forge.git("merge", "--quiet", "--no-ff", "-X", "ours", "-m", "merge", "side")


@forgery("not_allowed", "bob may not claim esc_one")
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


MALLORY = ROSTER + "  - {user_id: mallory, emails: [mallory@example.com], roles: [reviewer, admin]}\n"


@forgery("policies")
def a_merge_that_drops_a_change_of_policies(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.write("policies/roster.yaml", ROSTER.replace("[alice, bob]", "[alice]"))
    forge.commit("boss")
    forge.git("merge", "--quiet", "--no-commit", "--no-ff", "side", who="bob")
    forge.write("policies/roster.yaml", ROSTER)
    forge.commit("bob")


@forgery("policies")
def policies_of_its_own_in_a_merge(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "main")
    forge.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    forge.write("policies/settings.yaml", SETTINGS.replace("approvals: 2", "approvals: 1"))
    forge.commit("alice")


@forgery("policies")
def two_enrolments_that_excuse_each_other_by_merges(forge: Forge) -> None:
    forge.git("switch", "--quiet", "-c", "one")
    forge.write("policies/roster.yaml", MALLORY)
    first = forge.commit("mallory", "one")
    forge.git("switch", "--quiet", "-c", "two", "main")
    forge.write("policies/roster.yaml", MALLORY)
    forge.commit("mallory", "two")
    forge.git("merge", "--quiet", "--no-ff", "-m", "one into two", first, who="mallory")
    forge.git("switch", "--quiet", "one")
    forge.git("merge", "--quiet", "--no-ff", "-m", "two into one", "two^", who="mallory")
    forge.git("merge", "--quiet", "--no-ff", "-m", "both", "two", who="mallory")
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--ff-only", "one")


@forgery("policies")
def policies_by_an_admin_since_removed(forge: Forge) -> None:
    forge.write("policies/roster.yaml", MALLORY)
    forge.commit("boss")
    forge.git("switch", "--quiet", "-c", "side")
    forge.write("policies/policy-config.yaml", "pack: {enabled: false}\n")
    forge.commit("mallory")
    forge.git("switch", "--quiet", "-")
    forge.write("policies/roster.yaml", ROSTER)
    forge.commit("boss")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "main")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="alice")


@forgery("merge")
def an_octopus_that_changes_a_record_of_its_own(forge: Forge) -> None:
    for name in ("a", "b"):
        forge.git("switch", "--quiet", "-c", name, "main")
        forge.raised(f"of-{name}")
    forge.git("switch", "--quiet", "main")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "main")
    forge.git("merge", "--quiet", "--no-commit", "--no-ff", "a", "b")
    forge.edit(ONE, ("severity: medium", "severity: low"))
    forge.commit("alice")
    assert len(forge.git("log", "-1", "--format=%P").split()) == 3


@forgery("merge")
def a_record_that_only_a_merge_has(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "main")
    forge.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    forge.write("queue/esc_new.yaml", forge.read(ONE).replace("esc_one", "esc_new"))
    forge.commit("alice")


@forgery("foreign")
def a_foreign_file_that_only_a_merge_has(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "main")
    forge.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    forge.write("queue/run.sh", "#!/bin/sh\n")
    forge.commit("alice")


def another_root(forge: Forge, *paths: str) -> None:
    """A branch without history, which keeps some of the files and is checked out."""
    forge.git("switch", "--quiet", "--orphan", "root")
    forge.write("README.md", "Another history.\n")
    if paths:
        forge.git("checkout", "--quiet", "main", "--", *paths)
    forge.commit("mallory", "another root")


@forgery("start")
def records_of_an_unrelated_history(forge: Forge) -> None:
    done = forge.read(forge.resolved("done"))
    path = forge.resolved("done").replace("esc_done", "esc_new")
    another_root(forge)
    forge.write(path, done.replace("esc_done", "esc_new").replace("request_id: done", "request_id: new"))
    forge.commit("mallory")
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--allow-unrelated-histories", "-m", "merge", "root", who="alice")


@forgery("start")
def a_root_that_begins_as_a_store(forge: Forge) -> None:
    another_root(forge, "policies")
    forge.raised("new")
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--allow-unrelated-histories", "-m", "merge", "root", who="alice")


@forgery("merge")
def a_merge_with_a_root_without_a_store_that_changes_a_record(forge: Forge) -> None:
    another_root(forge)
    forge.git("switch", "--quiet", "main")
    options = ("--quiet", "--no-commit", "--no-ff", "--allow-unrelated-histories")
    forge.git("merge", *options, "root", who="alice")
    forge.edit(ONE, ("severity: medium", "severity: low"))
    forge.commit("alice")


# --- wholesale, and behind the tools' backs -------------------------------------------------------


@forgery("deleted")
def the_whole_queue_removed(forge: Forge) -> None:
    forge.git("rm", "--quiet", "-r", "queue")
    forge.commit("boss")


@forgery("deleted")
def the_whole_store_moved_into_a_folder(forge: Forge) -> None:
    (forge.path / "moved").mkdir()
    forge.git("mv", "queue", "policies", "moved")
    forge.commit("boss")


@forgery("policies")
def all_policies_removed(forge: Forge) -> None:
    forge.git("rm", "--quiet", "-r", "policies")
    forge.commit("alice")


@forgery("tree", "no folder as git writes one")
def policies_that_become_a_file(forge: Forge) -> None:
    forge.git("rm", "--quiet", "-r", "policies")
    forge.write("policies", "mine\n")
    forge.commit("boss")


@forgery("tree", "no folder as git writes one")
def policies_that_become_a_link(forge: Forge) -> None:
    forge.git("mv", "policies", "mine")
    (forge.path / "policies").symlink_to("mine")
    forge.commit("alice")


@forgery("tree", "no folder as git writes one")
def a_queue_that_becomes_a_link(forge: Forge) -> None:
    forge.git("mv", "queue", "mine")
    (forge.path / "queue").symlink_to("mine")
    forge.commit("alice")


@forgery("file")
def a_submodule_in_the_queue_that_git_is_told_to_pass_over(forge: Forge) -> None:
    forge.write(".gitmodules", f'[submodule "x"]\n\tpath = {ONE}\n\turl = ./x\n\tignore = all\n')
    forge.git("add", ".gitmodules")
    forge.git("rm", "--quiet", "--cached", ONE)
    forge.git("update-index", "--add", "--cacheinfo", f"160000,{forge.tip()},{ONE}")
    forge.git("commit", "--quiet", "-m", "tidy up")


@forgery("foreign")
def two_names_that_differ_only_in_case(forge: Forge) -> None:
    forge.write("queue/Esc_one.yaml", forge.read(ONE))
    forge.commit("alice")


@forgery("file")
def a_record_without_content(forge: Forge) -> None:
    forge.write(ONE, "")
    forge.commit("alice")


@forgery("file")
def a_record_that_is_too_large(forge: Forge) -> None:
    forge.write("queue/esc_large.yaml", forge.read(ONE) + "#" * 300_000)
    forge.commit("gw")


@forgery("policies")
def a_waiver_by_a_reviewer(forge: Forge) -> None:
    forge.edit(ONE, ("severity: medium", "severity: low"))
    bad = forge.commit("alice")
    waive(forge, (bad, "transition", ONE))
    forge.commit("alice")


def raw_commit(forge: Forge, *pairs: tuple[str, str]) -> None:
    """Make the newest commit anew from its raw text, as only `git hash-object` would."""
    raw = git("cat-file", "commit", "HEAD", cwd=forge.path) + "\n"
    for pattern, by in pairs:
        assert re.search(pattern, raw, re.MULTILINE), f"{pattern} is not in {raw}"
        raw = re.sub(pattern, by, raw, count=1, flags=re.MULTILINE)
    path = forge.path.parent / "raw"
    path.write_bytes(raw.encode("latin-1"))
    made = git("hash-object", "-t", "commit", "-w", "--literally", str(path), cwd=forge.path)
    git("reset", "--quiet", "--hard", made, cwd=forge.path)


@forgery("not_allowed")
def a_commit_without_an_address(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    raw_commit(forge, ("^author .*>", "author Alice <>"))


@forgery("time")
def a_commit_without_a_time(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    raw_commit(forge, (r"^committer (.*>) .*$", r"committer \1"))


@forgery("transition")
def a_forgery_in_a_foreign_encoding(forge: Forge) -> None:
    forge.edit(ONE, ("severity: medium", "severity: low"))
    forge.commit("alice")
    raw_commit(forge, ("^author alice", "encoding UTF-16\nauthor \xe9\xff"))


@forgery("message")
def a_message_that_names_two_actors(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("alice", f"{SAID}Kt-Actor: bob\n")


@forgery("message")
def a_message_that_tells_two_actions(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("alice", f"{SAID}Kt-Action: resolve\n")


@forgery("message")
def a_message_that_calls_an_assignment_a_claim(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("boss", "assign", "--id", "esc_one", "--to", "bob", "--reason", "x")
    forge.commit("boss", SAID.replace("alice", "bob"))


@pytest.mark.parametrize("name", others(FORGERIES))
def test_a_forgery_is_found_by_verify_and_the_hook(forge: Forge, server: Path, name: str) -> None:
    rule, said, make = FORGERIES[name]
    make(forge)
    assert_found(forge, server, rule, said)


@pytest.mark.parametrize("name", in_full(FORGERIES))
def test_a_forgery_is_found_and_named(forge: Forge, server: Path, name: str) -> None:
    rule, said, make = FORGERIES[name]
    assert kt("verify", cwd=forge.path).code == 0
    make(forge)
    found = assert_refused(forge, server, rule, said, by=way_in(FORGERIES, name))
    assert_nothing_forged_is_released(forge, found)


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
    assert (
        f"commit {bad[:12]} by alice@example.com: {ONE}: transition: expected severity medium: no action"
        in ran.err
    )


def test_the_store_branch_is_neither_deleted_nor_rewritten(forge: Forge, server: Path) -> None:
    git("config", "receive.denyDeleteCurrent", "ignore", cwd=server)
    deleted = push(forge, server, what=":main")
    assert deleted.code == 1
    assert "the store branch is never deleted" in deleted.err
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    forge.kt("bob", "note", "--id", "esc_two", "--text", "another past")
    rewritten = push(forge, server, "--force")
    assert rewritten.code == 1
    assert "the store branch is never rewritten" in rewritten.err


def test_the_first_push_to_an_empty_server_is_judged_too(forge: Forge, tmp_path: Path) -> None:
    server = tmp_path / "empty.git"
    git("init", "--quiet", "--bare", str(server), cwd=tmp_path)
    assert kt("hook", "install", "--server", str(server), cwd=tmp_path).code == 0
    good = forge.tip()
    forge.edit(ONE, ("severity: medium", "severity: low"))
    forge.commit("alice")
    ran = push(forge, server)
    assert ran.code == 1
    assert ": transition: expected" in ran.err
    # Neither by way of another branch, which is nobody's business while it is one beside the store's.
    assert "topic holds a store, but this hook guards main" in push(forge, server, what="HEAD:topic").err
    assert push(forge, server, what=f"{good}:refs/heads/main").code == 0
    assert push(forge, server, what="HEAD:topic").code == 0
    assert ": transition: expected" in push(forge, server, what="HEAD:main").err
    assert git("rev-parse", "main", cwd=server) == good


def test_the_old_tip_stays_on_the_first_parent_line(forge: Forge, server: Path) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.kt("alice", "claim", "--id", "esc_one")
    assert push(forge, server).code == 0
    main = forge.tip()
    forge.git("reset", "--quiet", "--hard", "side")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", main)
    ran = push(forge, server)
    assert ran.code == 1
    assert "must have the store branch as its first parent" in ran.err


@pytest.mark.parametrize(
    ("variable", "pusher", "taken"),
    [
        ("REMOTE_USER", "alice", True),
        ("GL_USERNAME", "alice@home.example", True),
        ("GITEA_PUSHER_NAME", "bob", False),
        ("GL_USERNAME", "mallory", False),
    ],
)
def test_who_pushes_is_who_acts(forge: Forge, variable: str, pusher: str, taken: bool) -> None:
    server = serve(forge, "--pusher-from", variable)
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
    assert ran.code == 1
    assert "cannot be judged within 0 s" in ran.err


def test_a_push_of_many_steps_is_judged_in_one_pass(forge: Forge, server: Path, tmp_path: Path) -> None:
    started = []
    for steps in (1, 12):
        for number in range(steps):
            forge.kt("alice", "note", "--id", "esc_one", "--text", f"{steps}, {number}")
        traces = tmp_path / f"of-{steps}"
        traces.mkdir()
        assert push(forge, server, GIT_TRACE2_EVENT=str(traces)).code == 0
        # One file for each git that ran (git documentation, api-trace2).
        started.append(len(list(traces.iterdir())))
    assert started[0] == started[1] > 5


def test_another_hook_is_left_alone(forge: Forge, server: Path) -> None:
    (server / "hooks/pre-receive").write_text("#!/bin/sh\n")
    ran = kt("hook", "install", "--server", str(server), "--json", cwd=forge.path)
    assert ran.code == 2
    assert "is another hook; call this from it" in ran.error["message"]


def test_the_corpus_is_large() -> None:
    assert len(FORGERIES) >= 60


def test_who_acted_before_the_first_roster_is_counted_once(tmp_path: Path) -> None:
    forge = Forge.__new__(Forge)
    forge.path = tmp_path / "store"
    git("init", "--quiet", str(forge.path), cwd=tmp_path)
    forge.write("policies/settings.yaml", SETTINGS.replace("default_route: {team_id: legal}\n", ""))
    forge.commit("boss", "start")
    forge.raised("one")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.write("policies/roster.yaml", ROSTER)
    forge.commit("boss", "a roster")
    forge.kt("alice@home.example", "note", "--id", "esc_one", "--text", "looking")
    forge.raised("two")
    assert kt("verify", "--json", cwd=forge.path).json["people"] == ["alice", "boss", "gw"]


def test_the_summary_counts_steps_commits_and_people(forge: Forge) -> None:
    forge.kt("alice@home.example", "note", "--id", "esc_one", "--text", "the same person")
    ran = kt("verify", "--afresh", cwd=forge.path)
    words = "6 steps in 7 commits by 2 people: 0 violations; 6 of the commits unsigned"
    nobody = "nothing proves names: signatures are not required, and who pushed is not known here"
    assert ran.code == 0
    assert ran.out == ""
    assert ran.err == f"kt: {words}; {nobody}\n"
    checked = kt("check", "HEAD^..HEAD", cwd=forge.path)
    assert (
        checked.err
        == f"kt: 1 step in 1 commit since {forge.git('rev-parse', '--short=12', 'HEAD^')} by 1 person: 0 violations; 1 of the commits unsigned; {nobody}\n"
    )
    actor = {"ACTOR": "alice"}
    checked = kt("check", "HEAD^..HEAD", "--actor-from", "ACTOR", cwd=forge.path, env=actor)
    assert checked.code == 0
    assert "unsigned (a name without a signature is not proven)\n" in checked.err
    assert "nothing proves names" not in checked.err
    told = kt("verify", "--afresh", "--json", cwd=forge.path).json
    assert (told["steps"], told["commits"], told["imported"], told["people"]) == (6, 7, 0, ["alice", "gw"])
    assert told["revision"] == forge.tip()
    assert told["since"] is None


def test_the_next_run_looks_at_what_is_new_and_a_range_at_what_it_names(forge: Forge) -> None:
    assert kt("verify", cwd=forge.path).code == 0
    known = forge.tip()
    for text in ("one", "two"):
        forge.kt("alice", "note", "--id", "esc_one", "--text", text)
    told = kt("verify", "--json", cwd=forge.path).json
    assert (told["since"], told["commits"], told["steps"]) == (known, 2, 2)
    told = kt("verify", f"{known}..HEAD~1", "--json", cwd=forge.path).json
    assert (told["since"], told["revision"], told["commits"]) == (known, forge.git("rev-parse", "HEAD~1"), 1)
    # What was found is found again, until it is gone or waived.
    forge.edit(ONE, ("severity: medium", "severity: low"))
    bad = forge.commit("alice")
    for _ in range(2):
        assert rules_of(forge) == ["transition"]
    assert rules_of(forge, f"{known}..HEAD~1") == []
    assert rules_of(forge, f"{bad}~1..{bad}") == ["transition"]


def test_a_rewritten_history_is_told(forge: Forge) -> None:
    assert kt("verify", cwd=forge.path).code == 0
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    forge.kt("bob", "note", "--id", "esc_two", "--text", "another past")
    ran = kt("verify", "--json", cwd=forge.path)
    assert ran.code == 1
    assert ran.json["violations"][0]["rule"] == "rewritten"


def test_a_topic_branch_is_no_rewritten_history(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.kt("alice", "claim", "--id", "esc_one")
    assert rules_of(forge) == []
    forge.git("switch", "--quiet", "side")
    assert rules_of(forge) == []
    forge.git("config", "kt.branch", "main")
    assert rules_of(forge) == []
    forge.git("switch", "--quiet", "main")
    assert rules_of(forge) == []


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
    assert ran.json["violations"] == []
    assert ran.code == 0


def test_policies_that_a_merge_by_an_admin_brings_in_are_legal(forge: Forge) -> None:
    forge.git("switch", "--quiet", "-c", "side")
    forge.write("policies/settings.yaml", SETTINGS.replace("1h", "2h"))
    forge.commit("mallory")
    forge.git("switch", "--quiet", "-")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="boss")
    assert kt("verify", "--json", cwd=forge.path).json["violations"] == []


def test_policies_that_an_admin_has_merged_on_the_side_are_for_an_admin_to_bring_in(forge: Forge) -> None:
    forge.git("switch", "--quiet", "-c", "side")
    forge.git("switch", "--quiet", "-c", "inner")
    for hours in "23":
        forge.write("policies/settings.yaml", SETTINGS.replace("1h", f"{hours}h"))
        forge.commit("mallory")
    forge.git("switch", "--quiet", "side")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "inner", who="boss")
    forge.git("switch", "--quiet", "main")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "main")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="bob")
    assert rules_of(forge, "--afresh") == ["policies"]
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="boss")
    assert rules_of(forge, "--afresh") == []


def test_a_file_that_cannot_be_read_is_mended_by_an_admin_of_the_last_that_could(forge: Forge) -> None:
    forge.write("policies/roster.yaml", "{{{\n")
    forge.commit("boss")
    broken = kt("claim", "--id", "esc_one", "--json", cwd=forge.path, env=identity("alice"))
    assert broken.code == 2
    assert broken.error["code"] == "broken_policies"
    forge.write("policies/roster.yaml", ROSTER)
    forge.commit("boss")
    assert rules_of(forge, "--afresh") == ["policies"]
    forge.kt("alice", "claim", "--id", "esc_one")
    # What is broken again falls back to the last that could be read, not to the one of before.
    forge.edit("policies/roster.yaml", (r"  - \{user_id: bob, .*\n", ""), (r", bob\]", "]"))
    forge.commit("boss")
    forge.write("policies/roster.yaml", "{{{\n")
    forge.commit("boss")
    forge.edit(ONE, ("claimed_by: alice", "claimed_by: bob"))
    forge.commit("bob")
    assert rules_of(forge, "--afresh") == ["policies", "policies", "not_allowed"]


def test_who_was_admin_last_may_change_policies_where_nobody_is(forge: Forge) -> None:
    server = forge.path.parent / "none.git"
    forge.edit("policies/roster.yaml", (r"roles: \[admin\]", "roles: []"))
    forge.commit("boss")
    git("clone", "--quiet", "--bare", str(forge.path), str(server), cwd=forge.path)
    forge.write("policies/roster.yaml", ROSTER)
    forge.commit("boss")
    assert rules_of(forge, "--afresh") == ["policies"]
    assert kt("check", f"{git('rev-parse', 'main', cwd=server)}..HEAD", cwd=forge.path).code == 0
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    forge.write("policies/roster.yaml", ROSTER)
    forge.commit("alice")
    assert rules_of(forge, "--afresh") == ["policies", "policies"]


def test_a_store_that_begins_with_a_roster_that_cannot_be_read_has_none(tmp_path: Path) -> None:
    forge = Forge.__new__(Forge)
    forge.path = tmp_path / "store"
    git("init", "--quiet", str(forge.path), cwd=tmp_path)
    forge.write("policies/roster.yaml", "{{{\n")
    forge.commit("boss")
    forge.write("policies/roster.yaml", ROSTER)
    forge.commit("alice")
    assert rules_of(forge) == ["policies"]


def test_a_damage_that_an_admin_restores_is_one_violation_that_can_be_waived(forge: Forge) -> None:
    forge.write(ONE, "broken\n")
    damage = forge.commit("alice")
    forge.kt("boss", "restore", "--id", "esc_one", "--reason", "by accident")
    forge.kt("alice", "claim", "--id", "esc_one")
    ran = kt("verify", "--json", cwd=forge.path)
    assert [(v["commit"], v["rule"]) for v in ran.json["violations"]] == [(damage, "file")]
    waive(forge, (damage, "file", ONE))
    forge.commit("boss")
    ran = kt("verify", "--json", cwd=forge.path)
    assert ran.code == 0
    assert len(ran.json["waived"]) == 1


def test_a_base_that_has_moved_on_is_told_with_the_name(forge: Forge) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "claim", "--id", "esc_one")
    ran = kt("check", "HEAD..side", "--json", cwd=forge.path)
    moved = [found for found in ran.json["violations"] if found["rule"] == "moved"]
    assert ran.code == 1
    assert "esc_one is held by alice" in moved[0]["expected"]


def test_a_shallow_clone_says_how_to_get_the_rest(forge: Forge, tmp_path: Path) -> None:
    git("clone", "--quiet", "--depth", "1", forge.path.as_uri(), str(tmp_path / "shallow"), cwd=tmp_path)
    ran = kt("verify", "--json", cwd=tmp_path / "shallow")
    assert ran.code == 2
    assert ran.error["code"] == "shallow_clone"
    assert "--unshallow" in ran.error["message"]


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


def test_a_lease_from_before_a_shorter_one_is_no_time_to_come(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.write("policies/settings.yaml", SETTINGS.replace("lease: 1h", "lease: 5m"))
    forge.commit("boss")
    forge.kt("bob", "note", "--id", "esc_one", "--text", "still hers")
    assert kt("verify", "--json", cwd=forge.path).json["violations"] == []


# --- what only check and hook can tell ------------------------------------------------------------


def test_a_waiver_does_not_come_in_with_what_it_excuses(forge: Forge, server: Path) -> None:
    before = forge.tip()
    forge.edit(ONE, ("severity: medium", "severity: low"))
    bad = forge.commit("alice")
    waive(forge, (bad, "transition", ONE))
    forge.commit("boss")
    # An admin may accept what is done already, but the door is kept by what stands at the base.
    assert kt("verify", cwd=forge.path).code == 0
    checked = kt("check", f"{before}..HEAD", "--json", cwd=forge.path)
    assert [found["rule"] for found in checked.json["violations"]] == ["transition"]
    assert ": transition: " in push(forge, server).err


def test_a_waiver_names_the_whole_id_of_a_commit_before_it(forge: Forge) -> None:
    waive(forge)
    odd = forge.commit("alice")
    waive(forge, (odd[:12], "policies", WAIVERS))
    forge.commit("boss")
    assert rules_of(forge) == ["policies", "policies"], "seven digits are ground in a minute"
    waive(forge, (odd, "policies", WAIVERS))
    forge.commit("boss")
    assert rules_of(forge) == ["policies"], "what could not be read is a violation of its own"


def test_who_was_removed_gains_nothing_by_a_merge_with_its_parents_swapped(
    forge: Forge, server: Path
) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.write("policies/roster.yaml", ROSTER.replace("[alice, bob]", "[alice]"))
    main = forge.commit("boss")
    assert push(forge, server).code == 0
    forge.git("reset", "--quiet", "--hard", "side")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", main, who="bob")
    checked = kt("check", f"{main}..HEAD", "--json", cwd=forge.path)
    assert [found["rule"] for found in checked.json["violations"]] == ["not_allowed"]
    ran = push(forge, server)
    assert ran.code == 1
    assert "must have the store branch as its first parent" in ran.err


def test_a_branch_from_before_what_the_base_has_done_since_may_come_in(forge: Forge, server: Path) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "main")
    assert push(forge, server).code == 0
    before = forge.tip()
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    assert kt("check", f"{before}..HEAD", "--json", cwd=forge.path).json["violations"] == []
    assert push(forge, server).code == 0


def test_a_commit_from_the_end_of_days_is_held_against_our_own_clock(forge: Forge, server: Path) -> None:
    before = forge.tip()
    forge.kt("alice", "claim", "--id", "esc_one")
    claimed = ("claimed_at: .*", 'claimed_at: "8999-12-31T00:00:00.000Z"')
    forge.edit(ONE, claimed, ("expires_at: .*", 'expires_at: "8999-12-31T01:00:00.000Z"'))
    forge.git("commit", "--quiet", "--amend", "--no-edit", "--all")
    raw_commit(forge, (r"^committer (.*>) .*$", r"committer \1 99999999999999999 -9959"))
    checked = kt("check", f"{before}..HEAD", "--json", cwd=forge.path)
    assert {found["rule"] for found in checked.json["violations"]} == {"time"}
    assert ": time: " in push(forge, server).err


def test_a_replacement_hides_nothing(forge: Forge, server: Path) -> None:
    good = forge.tip()
    forge.edit(ONE, ("severity: medium", "severity: low"))
    bad = forge.commit("alice")
    ran = push(forge, server)
    forge.git("replace", bad, good)
    assert ": transition: " in ran.err
    git("fetch", "--quiet", str(forge.path), "main", "refs/replace/*:refs/replace/*", cwd=server)
    for command in (("verify",), ("check", f"{good}..{bad}")):
        found = kt(*command, "--json", cwd=forge.path).json["violations"]
        assert [violation["rule"] for violation in found] == ["transition"]
    assert ": transition: " in push(forge, server, GIT_NO_REPLACE_OBJECTS="1").err


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        *(
            (f"refs/tags/{name}", 1)
            for name in ("origin/main", "remotes/origin/MAIN", "HEAD", "fork/HEAD", "origin")
        ),
        ("refs/heads/HEAD", 1),
        ("refs/heads/feature/main", 0),
        ("refs/tags/main-1.0", 0),
    ],
)
def test_a_name_that_clones_take_for_the_remotes_store_branch_is_refused(
    forge: Forge, server: Path, ref: str, code: int
) -> None:
    """Git prefers a tag `origin/main` to the branch of the remote, and fetches a branch HEAD over the remote's HEAD."""
    ran = push(forge, server, what=f"HEAD:{ref}")
    assert ran.code == code, ran.err
    assert (f"kt: {ref} could be taken for the store branch" in ran.err) == bool(code)


def test_a_ref_of_any_name_that_git_takes_is_judged(forge: Forge, server: Path) -> None:
    """Such as one with what is white space or the end of a line to others, and one that is no text."""

    def pushed(*refs: bytes) -> tuple[int, bytes]:
        args = ["git", "push", "--atomic", str(server), *[b"HEAD:" + ref for ref in refs]]
        done = subprocess.run(args, cwd=forge.path, capture_output=True, check=False)
        return done.returncode, done.stderr

    names = "x\u3000y", "x\u2028y", "x\u0085y", "x\u00a0y", "\udcff\udcfe", "a'b", "\U0001f30d"
    # Outside the guarded branch, and beside it.
    for place in (b"refs/heads/", b"refs/tags/", b"refs/other/"):
        assert pushed(*[place + os.fsencode(name) for name in names])[0] == 0
    for name in names:
        code, told = pushed(b"refs/replace/" + os.fsencode(name))
        assert code == 1
        assert b"kt: refs/replace/" in told
    forge.edit(ONE, ("severity: medium", "severity: low"))
    forge.commit("mallory")
    code, told = pushed(b"refs/heads/main", *[b"refs/heads/z" + os.fsencode(name) for name in names])
    assert code == 1
    assert b": transition: " in told


def test_grafts_hide_nothing(forge: Forge) -> None:
    good = forge.tip()
    forge.edit(ONE, ("severity: medium", "severity: low"))
    forge.commit("alice")
    forge.edit(ONE, ("severity: low", "severity: medium"))
    last = forge.commit("alice")
    (forge.path / ".git/info").mkdir(exist_ok=True)
    (forge.path / ".git/info/grafts").write_text(f"{last} {good}\n")
    assert len(kt("verify", "--json", cwd=forge.path).json["violations"]) == 2


def test_a_topic_branch_that_the_line_was_merged_into_is_clean(forge: Forge) -> None:
    forge.git("switch", "--quiet", "-c", "topic")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "topic")
    forge.git("switch", "--quiet", "main")
    forge.write(
        "policies/roster.yaml",
        ROSTER.replace("[carol]", "[carol, boss]").replace("[admin]", "[admin, reviewer]"),
    )
    forge.commit("boss")
    forge.kt("boss", "note", "--id", "esc_one", "--text", "a reviewer by now")
    forge.git("switch", "--quiet", "topic")
    forge.git("merge", "--quiet", "-m", "bring it up to date", "main")
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "topic")
    assert kt("verify", "--json", cwd=forge.path).json["violations"] == []


def at(forge: Forge, who: str, **span: int) -> Store:
    """The store as somebody opens it, with a clock that is off by so much."""
    for key, value in identity(who).items():
        if key.startswith("GIT_AUTHOR_"):
            forge.git("config", f"user.{key.removeprefix('GIT_AUTHOR_').lower()}", value)
    off = timedelta(**span)
    return Store.open(forge.path, clock=lambda: datetime.now(UTC) + off)


def squash(forge: Forge, count: int, who: str) -> None:
    """Make one commit of the last ones."""
    date = forge.git("log", "-1", "--format=%cI")
    forge.git("reset", "--quiet", "--soft", f"HEAD~{count}")
    forge.commit(who, "all in one", GIT_COMMITTER_DATE=date, GIT_AUTHOR_DATE=date)


def test_a_claim_and_a_review_short_of_the_quorum_may_be_one_commit(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_two")
    forge.kt("alice", "resolve", "--id", "esc_two", "--outcome", "approved", "--reason", "ok")
    squash(forge, 2, "alice")
    assert rules_of(forge) == []


def test_steps_that_a_slow_clock_stamps_with_one_time_may_be_one_commit(forge: Forge) -> None:
    with at(forge, "alice", seconds=-60) as store:
        store.claim("esc_one")
        store.resolve("esc_one", "denied", "no")
    squash(forge, 2, "alice")
    assert rules_of(forge) == []


def test_who_gives_back_when_the_lease_is_over_is_no_forger(forge: Forge) -> None:
    forge.write("policies/settings.yaml", SETTINGS.replace("lease: 1h", "lease: 1s, clock_tolerance: 0s"))
    forge.commit("boss")
    forge.kt("bob", "claim", "--id", "esc_one")
    time.sleep(2)
    forge.kt("bob", "unclaim", "--id", "esc_one")
    assert rules_of(forge) == []


def test_what_is_assigned_to_the_same_user_again_is_no_forgery(forge: Forge) -> None:
    assign = ("assign", "--id", "esc_one", "--to", "alice", "--reason", "hers")
    forge.kt("boss", *assign)
    forge.kt("boss", "unclaim", "--id", "esc_one", "--force", "--reason", "away")
    forge.kt("boss", *assign)
    assert rules_of(forge) == []


def test_decisions_and_reviews_may_be_one_commit(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one", "--id", "esc_two")
    both = ("resolve", "--id", "esc_one", "--id", "esc_two", "--outcome", "approved", "--reason", "ok")
    forge.kt("alice", *both)
    assert rules_of(forge) == []
