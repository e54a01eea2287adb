"""The commands that govern a queue: hand on, force, reopen, restore, sweep, wait; and `kt policy`."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import errorbook
import pytest
from forge import identity
from governed import GOVERNED, ROSTER, SETTINGS, ago, critical, put, raised
from lab import Lab, Ran, git, ids, kt, kt_policy, kt_process, record_text

from kt_escalation import Store
from kt_escalation.errors import WaitTimeout


@pytest.fixture
def governed(lab: Lab) -> Lab:
    """A store with a roster and settings."""
    lab.put(GOVERNED)
    return lab


def held(name: str, by: str, until: str, **since: int) -> str:
    """An escalation that somebody has held since then, with a lease."""
    text = record_text(
        name, created_at=ago(days=1), raised_at=ago(days=1), raised_by="gw", queued_at=ago(days=1)
    )
    text = text.replace("status: queued", "status: claimed")
    return f"{text}claim:\n  claim_id: c1\n  claimed_by: {by}\n  claimed_at: {ago(**since)}\n  expires_at: {until}\n"


# --- roster and settings --------------------------------------------------------------------------


def test_people_are_known_by_their_user_id_whatever_the_address(governed: Lab) -> None:
    name = raised(governed, "one")
    home = governed.clone("alice", email="ALICE@home.example")
    assert kt("claim", "--id", name, cwd=home).code == 0
    assert "claimed_by: alice\n" in governed.file(f"queue/{name}.yaml")
    work = governed.clone("work", email="alice@example.com")
    assert kt("claim", "--id", name, "--json", cwd=work).json["changed"] is False
    assert kt("resolve", "--id", name, "--outcome", "denied", "--reason", "no", cwd=work).code == 0


@pytest.mark.parametrize(
    ("who", "args", "words"),
    [
        ("carol", ["claim", "--id", "esc_one"], "it is routed to team legal; alice, bob may"),
        ("eve", ["claim", "--id", "esc_one"], "eve may not claim esc_one: does not have the role reviewer; alice, bob may"),
        ("eve", ["note", "--id", "esc_one", "--text", "x"], "eve may not note on esc_one: does not have the role reviewer or admin (alice, bob, carol, dora, boss have it)"),
        ("mallory", ["claim", "--id", "esc_one"], "mallory@example.com may not claim esc_one: is not on the roster"),
        ("alice", ["raise", "--reason-code", "a.b"], ": does not have the role gateway or admin (boss, gw have it)"),
        ("alice", ["unclaim", "--id", "esc_one", "--force", "--reason", "x"], ": does not have the role admin (boss has it)"),
        ("alice", ["restore", "--id", "esc_one", "--reason", "x"], ": does not have the role admin (boss has it)"),
        ("mallory", ["sweep"], "mallory@example.com may not sweep the store: is not on the roster"),
        ("boss", ["assign", "--id", "esc_one", "--to", "eve", "--reason", "x"], "eve does not have the role reviewer"),
        ("boss", ["assign", "--id", "esc_one", "--team", "nobody", "--reason", "x"], "there is no team nobody"),
    ],
)  # fmt: skip
def test_who_may_not_is_told_what_is_missing_and_who_has_it(
    governed: Lab, who: str, args: list[str], words: str
) -> None:
    raised(governed, "one")
    before = governed.tip()
    ran = kt(*args, "--json", cwd=governed.clone(who))
    assert ran.code == 3
    assert ran.error["code"] == "not_allowed"
    assert words in ran.error["message"]
    assert governed.tip() == before


def test_the_roster_counts_at_the_tip_and_not_in_the_working_tree(governed: Lab) -> None:
    name = raised(governed, "one")
    mallory = governed.clone("mallory")
    me = "  - {user_id: mallory, emails: [mallory@example.com], roles: [reviewer, admin]}\n"
    roster = (mallory / "policies/roster.yaml").read_text() + me
    (mallory / "policies/roster.yaml").write_text(roster.replace("[alice, bob]", "[alice, bob, mallory]"))
    assert kt("claim", "--id", name, cwd=mallory).code == 3
    git("commit", "--quiet", "-am", "let me in", cwd=mallory)
    assert kt("claim", "--id", name, cwd=mallory).code == 3


@pytest.mark.parametrize(
    ("file", "text", "place", "words"),
    [
        ("settings", "claims:\n  lease: soon\n", ":2:3", "claims.lease: 'soon' is not a duration"),
        ("settings", "claims: {leese: 4h}\n", ":1:10", "claims.leese: is not a known key"),
        ("settings", "rules:\n  - approvals: many\n", ":2:5", "rules[0].approvals"),
        ("settings", "rules:\n  - claim_within: 1h\n", ":2:5", "claim_within and fallback go together"),
        ("roster", "users:\n  - {user_id: a, emails: []}\n", ":2:18", "users[0].emails"),
        ("roster", "users: [\n", ":2:1", "is not YAML"),
        ("roster", "users: []\nusers: []\n", ":2:1", "the key 'users' stands twice"),
    ],
)
def test_a_broken_roster_or_settings_is_one_error_with_file_path_and_line(
    lab: Lab, file: str, text: str, place: str, words: str
) -> None:
    lab.put({f"policies/{file}.yaml": text})
    before = lab.tip()
    ran = kt("raise", "--reason-code", "a.b", "--json", cwd=lab.clone("alice"))
    assert ran.code == 2
    assert ran.error["code"] == "broken_policies"
    assert ran.error["message"].startswith(f"policies/{file}.yaml{place}: ")
    assert words in ran.error["message"]
    assert lab.tip() == before


# --- quorum ---------------------------------------------------------------------------------------


def test_a_quorum_of_two_from_raising_to_release(governed: Lab) -> None:
    name = raised(governed, "one", severity="critical")
    alice, bob = governed.clone("alice"), governed.clone("bob")
    assert kt("claim", "--id", name, cwd=alice).code == 0
    shown = kt("get", "--id", name, "--json", cwd=alice).json["shown"]
    wrong = kt(
        "resolve", "--id", name, "--outcome", "allow", "--reason", "ok", "--shown", "0" * 64, cwd=alice
    )
    assert wrong.code == 6
    assert "has changed since it was shown" in wrong.err
    first = kt("resolve", "--id", name, "--outcome", "allow", "--reason", "ok", "--shown", shown, cwd=alice)
    assert first.code == 0
    assert "it needs another reviewer" in first.out
    assert governed.commits("kt: review esc_one as approved (1 of 2)")
    page = kt("get", "--id", name, "--fetch", cwd=bob)
    assert "1 of 2 approvals (1 approved so far), from bob" in page.out
    quorum = kt("get", "--id", name, "--json", cwd=bob).json["quorum"]
    assert quorum == {"approvals": 2, "given": {"approved": 1}, "missing": 1, "candidates": ["bob"]}
    again = kt("claim", "--next", cwd=alice)
    assert again.code == 7
    assert "alice has reviewed it already; bob may" in again.err
    assert kt("claim", "--id", name, cwd=alice).code == 0
    same = kt("resolve", "--id", name, "--outcome", "allow", "--reason", "as I said", cwd=alice)
    assert same.code == 3
    assert (
        f"alice may not resolve {name}: has decided so already, and may only decide otherwise; bob may"
        in same.err
    )
    assert kt("unclaim", "--id", name, cwd=alice).code == 0
    assert kt("claim", "--id", name, cwd=bob).code == 0
    last = kt("resolve", "--id", name, "--outcome", "approved", "--reason", "too", "--json", cwd=bob)
    record = last.json["escalation"]
    assert record["status"] == "resolved"
    assert [r["reviewer"] for r in record["reviews"]] == ["alice", "bob"]
    assert record["reviews"][0]["shown"] == shown == record["reviews"][1]["shown"]


# --- leases ---------------------------------------------------------------------------------------


def test_a_lease_is_given_shown_and_renewed(governed: Lab) -> None:
    name = raised(governed, "one")
    alice, bob = governed.clone("alice"), governed.clone("bob")
    first = kt("claim", "--id", name, "--json", cwd=alice).json["escalation"]["claim"]
    assert first["expires_at"] > first["claimed_at"]
    time.sleep(0.01)
    renewed = kt("claim", "--id", name, "--renew", "--claim-id", first["claim_id"], "--json", cwd=alice)
    after = renewed.json["escalation"]["claim"]
    assert renewed.json["changed"]
    assert after["expires_at"] > first["expires_at"]
    assert {**after, "expires_at": 0} == {**first, "expires_at": 0}
    assert kt("claim", "--id", name, "--renew", cwd=bob).code == 6
    assert kt("claim", "--id", name, "--renew", "--claim-id", "other", cwd=alice).code == 6
    assert governed.commits("kt: renew esc_one")
    assert "\tin 59m\t" in kt("list", cwd=alice).out or "\tin 1h\t" in kt("list", cwd=alice).out


def test_who_claims_over_a_lapsed_lease_names_the_one_before(governed: Lab) -> None:
    put(governed, one=held("one", "bob", ago(hours=1), hours=2))
    alice, bob = governed.clone("alice"), governed.clone("bob")
    ran = kt("claim", "--id", "esc_one", cwd=alice)
    assert ran.code == 0
    assert "the lapsed claim of bob is over" in ran.err
    assert governed.commits("kt: claim esc_one over the lapsed claim of bob")
    late = kt("resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "late", cwd=bob)
    assert late.code == 6
    assert "held by alice since" in late.err


def test_the_limit_of_live_claims_is_kept(lab: Lab) -> None:
    lab.put({"policies/settings.yaml": "claims: {max_per_reviewer: 2}\n"})
    lab.escalations("a", "b", "c", "d")
    alice = lab.clone("alice")
    taken = kt("claim", "--next", "--count", "4", "--json", cwd=alice)
    assert ids(taken.json["escalations"]) == ["esc_a", "esc_b"]
    ran = kt("claim", "--id", "esc_c", cwd=alice)
    assert ran.code == 3
    assert "alice@example.com may not claim " in ran.err
    assert ": holds 2 already and the limit is 2" in ran.err
    assert kt("claim", "--id", "esc_a", "--json", cwd=alice).json["changed"] is False


# --- assign, force, reopen, restore ---------------------------------------------------------------


def test_an_escalation_is_handed_to_a_person_and_to_a_team(governed: Lab) -> None:
    name = raised(governed, "one")
    alice, boss = governed.clone("alice"), governed.clone("boss")
    kt("claim", "--id", name, cwd=alice)
    ran = kt("assign", "--id", name, "--to", "bob@example.com", "--reason", "knows it", "--json", cwd=alice)
    record = ran.json["escalation"]
    assert ran.code == 0
    assert record["status"] == "claimed"
    assert record["claim"]["claimed_by"] == "bob"
    assert record["route"]["user_id"] == "bob"
    assert record["route"]["source"] == "assigned"
    assert [note["text"] for note in record["notes"]] == ["knows it"]
    assert governed.commits("kt: assign esc_one to bob")
    assert (
        kt("assign", "--id", name, "--to", "bob", "--reason", "x", "--json", cwd=boss).json["changed"]
        is False
    )
    assert kt("assign", "--id", name, "--team", "legal", "--reason", "mine", cwd=alice).code == 6
    back = kt("assign", "--id", name, "--team", "security", "--reason", "theirs", cwd=boss)
    assert back.code == 0
    assert "assigned esc_one to team security" in back.out
    assert "team_id: security" in governed.file(f"queue/{name}.yaml")
    story = kt("log", "--id", name, "--fetch", cwd=alice).out.splitlines()
    assert [line.split()[2] for line in story] == ["assign", "assign", "claim", "raise"]
    assert "boss: to team security: theirs" in story[0]


def test_without_a_roster_anyone_may_force_and_an_assignee_needs_an_address(lab: Lab) -> None:
    lab.escalations("one")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    kt("claim", "--id", "esc_one", cwd=alice)
    assert kt("unclaim", "--id", "esc_one", cwd=bob).code == 6
    assert kt("unclaim", "--id", "esc_one", "--force", cwd=bob).code == 2
    ran = kt("unclaim", "--id", "esc_one", "--force", "--reason", "she is away", cwd=bob)
    assert ran.code == 0
    assert lab.commits("kt: unclaim esc_one by force from alice@example.com")
    assert "text: she is away" in lab.file("queue/esc_one.yaml")
    assert kt("assign", "--id", "esc_one", "--to", "bob", "--reason", "x", cwd=bob).code == 2
    assert kt("assign", "--id", "esc_one", "--to", "bob@example.com", "--reason", "x", cwd=alice).code == 0
    assert kt("resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no", cwd=bob).code == 0


def test_what_was_resolved_is_reopened_as_an_escalation_of_its_own(governed: Lab) -> None:
    name = raised(governed, "one", severity="critical", summary="A thing")
    alice = governed.clone("alice")
    open_still = kt("reopen", "--id", name, "--reason", "x", "--json", cwd=alice)
    assert open_still.code == 6
    assert open_still.error["code"] == "not_resolved"
    errorbook.hold(open_still, governed.folder)
    kt("claim", "--id", name, cwd=alice)
    kt("resolve", "--id", name, "--outcome", "denied", "--reason", "no", cwd=alice)
    resolved = next(path for path in governed.files() if "resolved" in path)
    before = governed.file(resolved)
    ran = kt("reopen", "--id", name, "--reason", "it was right", "--json", cwd=alice)
    record = ran.json["escalation"]
    assert ran.code == 0
    assert record["reopens"] == name
    assert record["status"] == "queued"
    assert record["summary"] == "A thing"
    assert record["raised_by"] == "alice"
    assert "reviews" not in record
    assert governed.file(resolved) == before
    again = kt("reopen", "--id", name, "--reason", "it was right", "--json", cwd=alice)
    assert again.json["changed"] is False
    assert again.json["escalation"] == record
    other = kt("reopen", "--id", name, "--reason", "also", "--json", cwd=governed.clone("bob"))
    assert other.code == 6
    assert other.error["code"] == "already_reopened"
    errorbook.hold(other, governed.folder)
    there = kt("get", "--id", name, "--json", cwd=alice).json
    assert there["reopened_by"] == [record["escalation_id"]]
    assert f"reopens   {name}" in kt("get", "--id", record["escalation_id"], cwd=alice).out
    refused = kt("claim", "--id", record["escalation_id"], cwd=alice)
    assert refused.code == 3
    assert ": raised it, and it needs 2 people" in refused.err


@pytest.mark.parametrize(
    "damage",
    [
        {"queue/esc_one.yaml": "<<<<<<< ours\n"},
        {"queue/esc_one.yaml": record_text("one", "low")},
        {"queue/resolved/2026/11/01/esc_one.yaml": record_text("one")},
    ],
    ids=["unreadable", "illegal", "twice"],
)
def test_a_record_is_restored_to_its_last_legal_state(governed: Lab, damage: Mapping[str, str]) -> None:
    name = raised(governed, "one")
    alice, boss = governed.clone("alice"), governed.clone("boss")
    kt("claim", "--id", name, cwd=alice)
    good = governed.file("queue/esc_one.yaml")
    nothing = kt("restore", "--id", name, "--reason", "x", "--json", cwd=boss)
    assert nothing.code == 6
    assert nothing.error["code"] == "nothing_to_restore"
    errorbook.hold(nothing, governed.folder)
    governed.put(damage, "by hand")
    ran = kt("restore", "--id", name, "--reason", "a merge went wrong", cwd=boss)
    assert ran.code == 0, ran.err
    assert "until an admin accepts it with `kt policy waive`" in ran.err, ran.err
    assert governed.file("queue/esc_one.yaml") == good
    assert [path for path in governed.files() if "esc_one" in path] == ["queue/esc_one.yaml"]
    assert governed.commits("kt: restore esc_one")
    assert kt("resolve", "--id", name, "--outcome", "denied", "--reason", "no", cwd=alice).code == 0


def test_what_never_was_legal_is_deleted(governed: Lab) -> None:
    raised(governed, "one")
    governed.put({"queue/esc_two.yaml": "x\n"}, "by hand")
    boss = governed.clone("boss")
    ran = kt("restore", "--id", "esc_two", "--reason", "by nobody", "--json", cwd=boss)
    assert (ran.code, ran.json["escalation"], ran.json["changed"]) == (0, None, True)
    assert [path for path in governed.files() if "queue/" in path] == ["queue/esc_one.yaml"]
    found = kt("verify", "--afresh", "--json", cwd=boss).json["violations"]
    assert [one["rule"] for one in found] == ["file"]


def test_nobody_claims_again_what_reopens_a_record_that_cannot_be_read(governed: Lab) -> None:
    governed.put({"policies/settings.yaml": "rules: [{match: {}, approvals: 2}]\n"}, "two")
    name = raised(governed, "one")
    alice = governed.clone("alice")
    assert kt("claim", "--id", name, cwd=alice).code == 0
    assert kt("resolve", "--id", name, "--outcome", "denied", "--reason", "x", cwd=alice).code == 0
    again = kt("reopen", "--id", name, "--reason", "again", "--json", cwd=alice).json["escalation"][
        "escalation_id"
    ]
    [path] = [path for path in governed.files() if path.endswith(f"/{name}.yaml")]
    assert kt("claim", "--id", again, cwd=alice).code == 3
    governed.put({path: "x\n"}, "damaged")
    ran = kt("claim", "--id", again, cwd=alice)
    assert ran.code == 2, ran.err
    assert f"{path} cannot be read" in ran.err, ran.err
    assert kt("claim", "--next", cwd=alice).code == 7


# --- sweep ----------------------------------------------------------------------------------------


def swept_store(lab: Lab) -> Path:
    put(
        lab,
        late=critical("late", hours=5),
        waiting=critical("waiting", minutes=20),
        fresh=critical("fresh", minutes=5),
        lapsed=held("lapsed", "bob", ago(hours=1), hours=2),
        living=held("living", "bob", ago(minutes=1), hours=1),
    )
    return lab.clone("eve")


def test_a_sweep_does_all_that_is_due_in_one_commit(governed: Lab) -> None:
    eve = swept_store(governed)
    before = governed.tip()
    dry = kt("sweep", "--dry-run", "--json", cwd=eve)
    assert governed.tip() == before
    assert dry.json["changed"] is False
    assert dry.json["dry_run"] is True
    assert {due["escalation_id"]: due["action"] for due in dry.json["due"]} == {
        "esc_late": "expire",
        "esc_waiting": "reroute",
        "esc_lapsed": "release",
    }
    ran = kt("sweep", cwd=eve)
    assert ran.code == 0
    assert "3 swept in commit" in ran.err
    assert git("rev-list", "--count", f"{before}..main", cwd=governed.remote) == "1"
    body = git("log", "-1", "--format=%B", "main", cwd=governed.remote)
    assert "esc_lapsed: release, the lease of bob ended at" in body
    assert "Kt-Action: sweep" in body
    late = kt("get", "--id", "esc_late", "--json", cwd=eve).json["escalation"]
    assert late["resolution"]["outcome"] == "expired"
    assert "reviews" not in late
    waiting = kt("get", "--id", "esc_waiting", "--json", cwd=eve).json["escalation"]
    assert waiting["route"]["team_id"] == "security"
    assert waiting["route"]["source"] == "fallback"
    assert "claim_within" not in waiting["requires"]
    assert waiting["requires"]["resolve_within"] == "4h"
    again = kt("sweep", "--json", cwd=eve)
    assert again.code == 0
    assert again.json["changed"] is False
    assert again.json["due"] == []


def test_two_sweeps_at_once_do_the_work_once(governed: Lab) -> None:
    clones = [swept_store(governed), governed.clone("alice")]
    ran: list[Ran] = []
    threads = [
        threading.Thread(target=lambda where=where: ran.append(kt_process("sweep", "--json", cwd=where)))
        for where in clones
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.code for one in ran] == [0, 0]
    assert sorted(one.json["changed"] for one in ran) == [False, True]
    assert len(governed.commits("sweep")) == 1


def test_an_unreadable_file_does_not_keep_the_rest_from_being_swept(governed: Lab) -> None:
    governed.put({"queue/esc_torn.yaml": "<<<<<<< ours\n"})
    ran = kt("sweep", cwd=swept_store(governed))
    assert ran.code == 0
    assert "queue/esc_torn.yaml" in ran.err
    assert len(ran.out.splitlines()) == 3
    ran = kt("sweep", "--json", cwd=governed.folder / "eve")
    assert [one["path"] for one in ran.json["invalid"]] == ["queue/esc_torn.yaml"]
    assert ran.json["failed"] == []


SWEPT = {"slice": 200, "soak": 10_000}


@pytest.mark.parametrize("size", ["slice", pytest.param("soak", marks=pytest.mark.soak)])
def test_very_many_are_swept_in_one_commit(governed: Lab, size: str) -> None:
    names = [f"n{number}" for number in range(SWEPT[size])]
    put(governed, **{name: critical(name, hours=5) for name in names})
    eve = governed.clone("eve")
    ran = kt("sweep", "--json", "--retry-timeout", "5m", cwd=eve)
    assert ran.code == 0
    assert len(ran.json["escalations"]) == len(names)
    assert len(governed.commits(f"sweep {len(names)} escalations")) == 1
    assert not [path for path in governed.files() if path.startswith("queue/esc_")]


# --- list -----------------------------------------------------------------------------------------


def test_a_list_can_be_of_mine_of_the_overdue_and_of_what_i_could_claim(governed: Lab) -> None:
    swept_store(governed)
    put(governed, away=record_text("away").replace("source: default", "user_id: zoe\n  source: event"))
    bob, carol = governed.clone("bob"), governed.clone("carol")

    def listed(where: Path, *args: str) -> set[str]:
        return {
            name.removeprefix("esc_")
            for name in ids(kt("list", *args, "--json", cwd=where).json["escalations"])
        }

    assert listed(bob, "--mine") == {"lapsed", "living"}
    assert listed(bob, "--overdue") == {"late", "waiting", "lapsed", "away"}
    assert listed(bob, "--claimable") == {"late", "waiting", "fresh", "lapsed"}
    assert listed(carol, "--claimable") == {"lapsed"}
    assert listed(carol, "--mine") == set()
    assert "who is not on the roster" in kt("get", "--id", "esc_away", cwd=bob).out


@pytest.mark.parametrize(
    ("who", "state", "words"),
    [
        ("alice", "all_held", "the only one is held (bob 1)"),
        ("carol", "not_for_you", "the one that waits is not for you (it is routed to team legal; alice may)"),
    ],
)
def test_nothing_to_claim_says_why(governed: Lab, who: str, state: str, words: str) -> None:
    empty = kt("claim", "--next", "--json", cwd=governed.clone("early", email="alice@example.com"))
    assert empty.code == 7
    assert empty.error["state"] == "empty"
    put(governed, one=held("one", "bob", ago(minutes=-30), minutes=1))
    if who == "carol":
        put(governed, one=critical("one", minutes=1).replace("gw", "bob"))
    ran = kt("claim", "--next", "--json", cwd=governed.clone(who))
    assert ran.code == 7
    assert ran.error["state"] == state
    assert words in ran.error["message"]


# --- wait -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "code", "release"),
    [
        ("approved", 0, True),
        ("redact --amended", 0, True),
        ("rewrite --amended", 0, True),
        ("block", 1, False),
    ],
)
def test_a_caller_waits_for_the_decision_and_is_told_what_to_do(
    lab: Lab, outcome: str, code: int, release: bool
) -> None:
    raised(lab, "one")
    alice, caller = lab.clone("alice"), lab.clone("caller")
    kt("claim", "--id", "esc_one", cwd=alice)
    outcome, *amended = outcome.split()

    def decide() -> None:
        time.sleep(0.7)
        done = kt_process("resolve", "--id", "esc_one", "--outcome", outcome, "--reason", "so", cwd=alice)
        assert done.code == 0

    thread = threading.Thread(target=decide)
    thread.start()
    ran = kt_process("wait", "--id", "esc_one", "--timeout", "30s", *amended, cwd=caller)
    thread.join()
    if amended:
        unaware = kt("wait", "--id", "esc_one", cwd=caller)
        assert unaware.code == 6
        assert "may not be run unchanged" in unaware.err
    assert ran.code == code
    assert ran.json["release"] is release
    assert ran.json["resolution"]["reason"] == "so"
    assert ran.json["do"].startswith("release" if release else "do not release")


def test_an_expired_one_is_not_released(governed: Lab) -> None:
    then = datetime.now(UTC) - timedelta(hours=5)
    with Store.open(governed.clone("gw"), clock=lambda: then) as store:
        store.create(request_id="late", reason_code="a.b", severity="critical")
    eve = governed.clone("eve")
    assert kt("sweep", cwd=eve).code == 0
    ran = kt("wait", "--id", "esc_late", cwd=eve)
    assert ran.code == 1
    assert ran.json["outcome"] == "expired"
    assert ran.json["release"] is False


def test_a_wait_applies_what_is_due_at_the_deadline_if_it_is_asked_to(lab: Lab) -> None:
    rules = "rules:\n  - match: {severity: high}\n    resolve_within: 2s\n"
    lab.put({"policies/settings.yaml": f"claims: {{clock_tolerance: 1s}}\n{rules}"})
    caller = lab.clone("caller")
    for name, more in (("one", ()), ("two", ("--release",))):
        raised(lab, name, severity="high")
        began = time.monotonic()
        ran = kt(
            "wait",
            "--id",
            f"esc_{name}",
            "--deadline-sweep",
            "--timeout",
            "60s",
            "--interval",
            "1s",
            *more,
            cwd=caller,
        )
        assert ran.code == 1
        assert ran.json["outcome"] == "expired"
        assert ran.json["release"] is False
        assert time.monotonic() - began < 30
    assert len(lab.commits("kt: sweep")) == 2
    # What is due for others is not this caller's business, and a sweep that landed is no decision.
    raised(lab, "other", severity="high")
    raised(lab, "quiet")
    time.sleep(2)
    ran = kt("wait", "--id", "esc_quiet", "--deadline-sweep", "--timeout", "1s", "--json", cwd=caller)
    assert ran.code == 8
    assert ran.error["seconds"] == 1
    assert len(lab.commits("kt: sweep")) == 2


def test_a_sweep_that_landed_does_not_make_a_wait_succeed(lab: Lab) -> None:
    lab.put({"policies/settings.yaml": "claims: {lease: 1s, clock_tolerance: 0s}\n"})
    raised(lab, "one")
    caller = lab.clone("caller")
    assert kt("claim", "--id", "esc_one", cwd=lab.clone("alice")).code == 0
    ran = kt("wait", "--id", "esc_one", "--deadline-sweep", "--timeout", "4s", "--json", cwd=caller)
    assert ran.code == 8
    assert ran.error["status"] == "queued"
    assert lab.commits("kt: sweep")


def test_waiting_ends_with_exit_8_and_asks_for_what_is_there(lab: Lab) -> None:
    lab.escalations("one")
    caller = lab.clone("caller")
    began = time.monotonic()
    ran = kt("wait", "--id", "esc_one", "--timeout", "1s", "--json", cwd=caller)
    assert ran.code == 8
    assert ran.error["code"] == "wait_timeout"
    assert "it is queued" in ran.error["message"]
    errorbook.hold(ran, lab.folder)
    assert 1 <= time.monotonic() - began < 5
    assert kt("wait", "--id", "esc_none", cwd=caller).code == 7
    git("remote", "set-url", "origin", str(lab.folder / "gone"), cwd=caller)
    assert kt("wait", "--id", "esc_one", cwd=caller).code == 4


def test_waiting_from_a_thread_of_a_program(lab: Lab) -> None:
    raised(lab, "one")
    alice, caller = lab.clone("alice"), lab.clone("caller")
    found = []
    with Store.open(caller) as waiting, Store.open(alice) as acting:
        with pytest.raises(WaitTimeout):
            waiting.wait("esc_one", timeout=0.1)
        thread = threading.Thread(target=lambda: found.append(waiting.wait("esc_one", timeout=30)))
        thread.start()
        acting.claim("esc_one")
        acting.resolve("esc_one", "approved", "fine")
        thread.join()
    assert found[0].record.resolution.outcome == "approved"


def test_a_decision_that_was_edited_into_the_file_releases_nothing(lab: Lab) -> None:
    raised(lab, "one")
    alice, caller = lab.clone("alice"), lab.clone("caller")
    kt("claim", "--id", "esc_one", cwd=alice)
    kt("resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no", cwd=alice)
    path = next(path for path in lab.files() if "resolved" in path)
    decided = lab.file(path)
    lab.put({path: decided.replace("denied", "approved") + "\n"}, "tidy")
    ran = kt("wait", "--id", "esc_one", "--json", cwd=caller)
    assert ran.code == 6
    assert ran.error["code"] == "illegal_record"
    assert ran.out == ""
    assert [ran.error[key] for key in ("commit", "rule", "path")] == [lab.tip(), "resolved", path]
    errorbook.hold(ran, lab.folder)
    assert kt("restore", "--id", "esc_one", "--reason", "edited", cwd=alice).code == 0
    assert kt("wait", "--id", "esc_one", cwd=caller).code == 1


def test_who_is_wanted_by_nobody_on_the_roster_is_overdue_and_told_by_doctor(governed: Lab) -> None:
    put(governed, lost=record_text("lost").replace("source: default", "team_id: ghosts\n  source: default"))
    bob = governed.clone("bob")
    assert ids(kt("list", "--overdue", "--json", cwd=bob).json["escalations"]) == ["esc_lost"]
    found = kt("doctor", "--json", cwd=bob)
    [bad] = [finding for finding in found.json["findings"] if not finding["ok"]]
    assert found.code == 0
    assert (bad["check"], bad["fixed_by"]) == ("people", "admin")
    assert kt("doctor", cwd=governed.clone("boss")).code == 1
    assert "esc_lost: nobody on the roster may decide it (routed to team ghosts)" in bad["detail"]


def test_an_escalation_that_needs_two_is_not_given_to_one(governed: Lab) -> None:
    name = raised(governed, "one", severity="critical")
    ran = kt("assign", "--id", name, "--to", "bob", "--reason", "x", cwd=governed.clone("boss"))
    assert ran.code == 3
    assert "it needs 2 more people, so give it to a team" in ran.err


def test_a_reopened_one_is_reopened_only_at_the_end_of_its_chain(lab: Lab) -> None:
    lab.escalations("one")
    alice = lab.clone("alice")

    def denied(name: str) -> None:
        kt("claim", "--id", name, cwd=alice)
        assert kt("resolve", "--id", name, "--outcome", "denied", "--reason", "no", cwd=alice).code == 0

    denied("esc_one")
    second = kt("reopen", "--id", "esc_one", "--reason", "a", "--json", cwd=alice).json["escalation"]
    denied(second["escalation_id"])
    third = kt("reopen", "--id", second["escalation_id"], "--reason", "b", "--json", cwd=alice)
    again = kt("reopen", "--id", "esc_one", "--reason", "c", "--json", cwd=alice)
    assert again.code == 6
    assert again.error["reopened_by"] == third.json["escalation"]["escalation_id"]


def test_the_same_note_again_is_a_repeat(lab: Lab) -> None:
    lab.escalations("one")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    assert kt("note", "--id", "esc_one", "--text", "hm", "--json", cwd=alice).json["changed"] is True
    assert kt("note", "--id", "esc_one", "--text", "hm", "--json", cwd=alice).json["changed"] is False
    assert kt("note", "--id", "esc_one", "--text", "hm", "--json", cwd=bob).json["changed"] is True


@pytest.mark.parametrize("option", ["--team", "--user", "--agent-id"])
def test_an_empty_filter_is_bad_input_and_no_other_question(lab: Lab, option: str) -> None:
    assert kt("list", option, "", cwd=lab.clone("alice")).code == 2


def test_an_event_raised_from_python_is_skipped_where_it_does_not_escalate(lab: Lab) -> None:
    event = {"event_type": "decision", "request_id": "one", "verdict": "escalate", "reason_code": "a.b"}
    with Store.open(lab.clone("gw")) as store:
        assert store.raise_event(event, model="m").record.model == "m"
        assert store.raise_event({**event, "request_id": "two", "verdict": "allow"}).skipped == 1
    assert lab.commits("raise") == ["kt: raise esc_one"]


# --- kt policy ------------------------------------------------------------------------------------

BROKEN_PACK = """\
pack: {enabled: true}
providers:
  targets:
    - id: a
      model: m
      models: []
      escalation_routing: {team_id: legal, user_id: bob}
    - id: b
      escalation_routing: {}
      models:
        - model_id: x
          aliases: [y, z]
        - model_id: y
        - {aliases: [q]}
        - model_id: x
          escalation_routing: {team_id: ''}
        - model_id: w
          aliases: [z]
    - id: b
      id: c
    - id: b
      escalation_routing: {team_id: ghosts}
"""
BROKEN_ROSTER = """\
teams:
  - {team_id: legal, members: [alice, nobody]}
users:
  - {user_id: alice, emails: [a@example.com]}
  - {user_id: bob, emails: [A@example.com], logins: ["github:one", "gitea:One"]}
  - {user_id: eve, emails: [e@example.com], logins: ["gitea:one", "github:two"]}
"""
BROKEN_SETTINGS = """\
default_route: {user_id: ghost}
rules:
  - match: {severity: high}
  - match: {severity: high, model: m}
  - match: {team_id: ghosts}
  - {match: {team_id: legal}, approvals: 2, claim_within: 1h, fallback: {user_id: bob}}
"""
FAULTS = {
    ("policies/p.yaml", 5, "has either model or models, not both"),
    ("policies/p.yaml", 7, "needs exactly one of team_id and user_id, has both"),
    ("policies/p.yaml", 9, "needs exactly one of team_id and user_id, has neither"),
    ("policies/p.yaml", 12, "the alias y of x hides the model y"),
    ("policies/p.yaml", 14, "a model needs a model_id"),
    ("policies/p.yaml", 15, "the model x is listed twice in target b"),
    ("policies/p.yaml", 16, "team_id: must be text that is not empty"),
    ("policies/p.yaml", 18, "the alias z of w hides the model x"),
    ("policies/p.yaml", 19, "the target b is in policies/p.yaml already"),
    ("policies/p.yaml", 20, "the key 'id' stands twice"),
    ("policies/p.yaml", 21, "the target b is in policies/p.yaml already"),
    ("policies/p.yaml", 22, "there is no team ghosts on the roster"),
    ("policies/roster.yaml", 2, "there is no user nobody"),
    ("policies/roster.yaml", 5, "A@example.com belongs to both alice and bob"),
    ("policies/roster.yaml", 6, "gitea:one belongs to both bob and eve"),
    ("policies/settings.yaml", 1, "there is no user ghost on the roster"),
    ("policies/settings.yaml", 4, "can never match: rules[0] already matches everything it could"),
    ("policies/settings.yaml", 5, "there is no team ghosts on the roster"),
}


def write(clone: Path, **files: str) -> None:
    for name, text in files.items():
        (clone / f"policies/{name}.yaml").write_text(text)


def test_lint_reports_every_fault_at_once_with_its_place(lab: Lab) -> None:
    clone = lab.clone("alice")
    (clone / "policies/policy-config.yaml").unlink()
    write(clone, p=BROKEN_PACK, roster=BROKEN_ROSTER, settings=BROKEN_SETTINGS)
    found = kt_policy("lint", "--json", cwd=clone)
    assert found.code == 1
    assert found.json["ok"] is False
    seen = {(fault["file"], fault["line"], fault["message"]) for fault in found.json["faults"]}
    missing = {
        wanted for wanted in FAULTS if not any(wanted[:2] == s[:2] and wanted[2] in s[2] for s in seen)
    }
    assert missing == set(), seen
    assert len(seen) == len(FAULTS), seen
    lines = kt_policy("lint", cwd=clone).out.splitlines()
    assert len(lines) == len(FAULTS)
    assert all(len(line.split(":", 3)) == 4 for line in lines)
    noted = kt_policy("lint", "--github", cwd=clone).out.splitlines()
    assert sum(line.startswith("::error file=policies/p.yaml,line=") for line in noted) == 9
    warned = [line for line in noted if line.startswith("::warning ")]
    assert noted[len(FAULTS) :] == [f"::error::and {len(FAULTS) - 9} more, in this step's log", *warned]
    assert len(warned) == len(found.json["warnings"]) > 0


def test_lint_finds_waivers_that_can_accept_nothing(lab: Lab) -> None:
    clone = lab.clone("alice")
    good = git("rev-parse", "HEAD", cwd=clone)
    gone = "abcdef12" * 5
    write(
        clone,
        waivers=f"waivers:\n  - {{commit: {good}, rule: merge, path: queue, reason: r}}\n"
        f"  - {{commit: {gone}, rule: merge, path: queue, reason: r}}\n"
        f"  - {{commit: {good}, rule: nonsense, path: queue, reason: r}}\n"
        f"  - {{commit: {good}, rule: not_allowed, path: queue, reason: r}}\n",
    )
    found = kt_policy("lint", "--json", cwd=clone).json["faults"]
    assert [(fault["line"], fault["message"].partition(";")[0]) for fault in found] == [
        (3, f"waivers[1].commit: {gone} is not a commit of this repository"),
        (4, "waivers[2].rule: nonsense is not a rule"),
    ]
    shallow = lab.clone("shallow", "--depth", "1")
    write(shallow, waivers=f"waivers: [{{commit: {gone}, rule: merge, path: queue, reason: r}}]\n")
    assert kt_policy("lint", cwd=shallow).code == 0, "what is not here may be elsewhere"


def test_lint_says_where_an_id_of_digits_alone_wants_quotes(lab: Lab) -> None:
    clone = lab.clone("alice")
    write(clone, waivers=f"waivers:\n  - {{commit: {'12345678' * 5}, rule: merge, path: queue, reason: r}}\n")
    [found] = kt_policy("lint", "--json", cwd=clone).json["faults"]
    assert (found["line"], found["message"]) == (
        2,
        "waivers[0].commit: must be text, in quotes where it looks like something else",
    )


def test_lint_warns_of_a_roster_on_which_nobody_is_admin(lab: Lab) -> None:
    clone = lab.clone("alice")
    write(clone, roster=ROSTER.replace("roles: [admin]", "roles: [reviewer]"))
    ran = kt_policy("lint", cwd=clone)
    assert ran.code == 0
    assert ran.out == ""
    assert "warning: policies/roster.yaml:4:1: nobody has the role admin" in ran.err
    warned = kt_policy("lint", "--json", cwd=clone).json
    assert warned["ok"] is True
    assert [one["line"] for one in warned["warnings"]] == [4]


@pytest.mark.parametrize(
    "login", ["alice", "gitlab:", ":alice", "GitLab:alice", "gitlab:a b", "gitlab:alice:x"]
)
def test_lint_finds_a_login_that_is_none(lab: Lab, login: str) -> None:
    clone = lab.clone("alice")
    write(
        clone,
        roster=ROSTER.replace("roles: [auditor]", f'roles: [auditor], logins: ["github:eve", "{login}"]'),
    )
    [found] = kt_policy("lint", "--json", cwd=clone).json["faults"]
    assert found["line"] == 11
    assert "must be a forge and a login there, such as gitlab:alice-k" in found["message"]


def test_age_keys_are_refused_until_they_mean_something(lab: Lab) -> None:
    clone = lab.clone("alice")
    write(clone, roster=ROSTER.replace("roles: [auditor]", 'roles: [auditor], age_keys: ["age1x"]'))
    assert "age_keys" in kt_policy("lint", cwd=clone).out


DOUBTFUL = """\
default_route: {team_id: legal}
signatures: optional
rules:
  - match: {severity: critical}
    approvals: 2
    claim_within: 5h
    resolve_within: 4h
    fallback: {user_id: bob}
  - match: {severity: high}
    approvals: 3
  - match: {team_id: security}
    claim_within: 4h
    resolve_within: 4h
    fallback: {team_id: security}
"""


def warned(clone: Path) -> list[tuple[str, int, str]]:
    """File, line and text of each warning; it alone is no reason to fail, but with --strict."""
    plain, strict = (kt_policy("lint", "--json", *options, cwd=clone) for options in ([], ["--strict"]))
    found = plain.json["warnings"]
    assert plain.json["faults"] == []
    assert (plain.code, plain.json["ok"]) == (0, True)
    assert (strict.code, strict.json["ok"], strict.json["warnings"]) == (int(bool(found)), not found, found)
    return [(one["file"], one["line"], one["message"]) for one in found]


def test_lint_warns_of_what_is_most_likely_not_meant(lab: Lab) -> None:
    clone = lab.clone("alice")
    write(clone, roster=ROSTER, settings=DOUBTFUL)
    unproven = "approvals are asked for, but nothing proves names, so one person can give them all"
    expected = [
        (5, f"2 {unproven}"),
        (6, "claim_within (5h) is longer than resolve_within (4h)"),
        (8, "one user cannot give the 2 approvals"),
        (10, f"3 {unproven}"),
        (10, "team legal has 2 reviewers, and 3 approvals are asked for"),
    ]
    found = warned(clone)
    assert [line for _, line, _ in found] == [line for line, _ in expected], found
    for (file, _, message), (_, said) in zip(found, expected, strict=True):
        assert file == "policies/settings.yaml"
        assert said in message
    assert "unless the server proves who pushes" in found[0][2]
    err = kt_policy("lint", cwd=clone).err
    assert err.count("warning: ") == len(expected)
    assert err.endswith("no fault found\n")
    noted = kt_policy("lint", "--github", "--strict", cwd=clone)
    places = [f"::warning file={file},line={line}," for file, line, _ in found]
    assert [line.partition("col=")[0] for line in noted.out.splitlines()] == places
    strict = kt_policy("lint", "--strict", cwd=clone).err
    assert strict.endswith("no fault found, but 5 warnings, which --strict refuses\n")


def test_lint_warns_of_signatures_that_lock_somebody_out(lab: Lab) -> None:
    """As of the gateway, after which no escalation gets in."""
    clone = lab.clone("alice")
    keyed = ROSTER.replace("roles: [reviewer]", 'roles: [reviewer], signing_keys: ["ssh-ed25519 AAAA"]')
    settings = SETTINGS.replace("rules:", "signatures: required\nrules:")
    write(clone, roster=keyed, settings=settings)
    assert [line for _, line, _ in warned(clone)] == [9, 10]
    said = " ".join(message for *_, message in warned(clone))
    assert "boss (admin) has no signing_keys" in said
    assert "gw (gateway) has no signing_keys" in said
    assert "eve" not in said, "who may only read needs no key, and names are proven"
    assert "approvals" not in said, "who may only read needs no key, and names are proven"


def test_lint_warns_of_a_key_that_is_none_where_signatures_are_required(lab: Lab) -> None:
    """As `judge` reads keys: a short id, a certificate and a line with options are nobody's."""
    clone = lab.clone("alice")
    keys = {
        "alice": "ssh-ed25519 AAAA alice@laptop",
        "bob": "0123456789ABCDEF",
        "carol": "ssh-rsa AAAA",
        "dora": "sk-ssh-ed25519@openssh.com AAAA",
        "boss": "0123 4567 89AB CDEF 0123 4567 89AB CDEF 0123 4567",
        "gw": "restrict ssh-ed25519 AAAA",
    }
    roster = ROSTER
    for user, key in keys.items():
        roster = re.sub(rf"(user_id: {user}, .*?roles: \[.*?\])", rf'\1, signing_keys: ["{key}"]', roster)
    write(clone, roster=roster, settings=SETTINGS.replace("rules:", "signatures: required\nrules:"))
    found = [message for *_, message in warned(clone)]
    assert ["bob (reviewer)" in found[0], "gw (gateway)" in found[1], len(found)] == [True, True, 2], found
    assert all("lists no signing key that can be used" in message for message in found)


def test_the_pack_that_init_writes_is_sound_whatever_the_roster_is(lab: Lab, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    assert kt("init", str(fresh), cwd=tmp_path, env=identity("boss")).code == 0
    assert warned(fresh) == []
    write(fresh, roster="users: [{user_id: a, emails: [a@x.org], roles: [admin, reviewer]}]\n")
    assert warned(fresh) == []


def test_lint_of_sound_policies_and_of_none(lab: Lab) -> None:
    clone = lab.clone("alice")
    write(clone, roster=ROSTER, settings=SETTINGS)
    ran = kt_policy("lint", cwd=clone)
    assert ran.code == 0
    assert ran.out == ""
    assert "no fault found" in ran.err
    assert kt_policy("lint", cwd=lab.folder).code == 2


PACK = """\
pack: {enabled: true}
providers:
  targets:
    - id: first
      models: [{model_id: small}]
    - id: second
      escalation_routing: {team_id: legal}
      models:
        - {model_id: big, escalation_routing: {team_id: security}}
        - {id: small, aliases: [tiny]}
"""


def test_route_explains_the_rules_tried_and_the_one_that_won(governed: Lab) -> None:
    governed.put({"policies/policy-config.yaml": PACK, "policies/off.yaml": PACK.replace("true", "false")})
    clone = governed.clone("alice")
    ran = kt_policy("route", "--model", "big", "--severity", "critical", "--json", cwd=clone)
    assert ran.code == 0
    assert ran.json["route"]["team_id"] == "security"
    assert ran.json["requires"]["approvals"] == 2
    assert [(tried["rule"], tried["won"]) for tried in ran.json["tried"]] == [
        ("policies/off.yaml", False),
        ("policies/policy-config.yaml#providers.targets[0]", False),
        ("policies/policy-config.yaml#providers.targets[1].models[0]", True),
        ("policies/settings.yaml#rules[0]", True),
    ]
    text = kt_policy("route", "--provider", "second", "--model", "tiny", cwd=clone).out
    assert "its id is first, not second" in text
    assert "it matches but has no escalation_routing" in text
    assert "-> policies/policy-config.yaml#providers.targets[1]: it is routed to team legal" in text
    assert "goes to team legal" in kt_policy("route", cwd=clone).out


def test_replay_shows_what_a_change_would_send_elsewhere(governed: Lab) -> None:
    governed.put({"policies/policy-config.yaml": PACK})
    for name, model in (("a", "big"), ("b", "tiny"), ("c", "none")):
        raised(governed, name, model=model)
    clone = governed.clone("alice")
    changed = governed.folder / "changed"
    changed.mkdir()
    for path in (clone / "policies").iterdir():
        (changed / path.name).write_text(path.read_text().replace("team_id: security}}", "team_id: legal}}"))
    ran = kt_policy("replay", "--policies", str(changed), "--json", cwd=clone)
    assert ran.code == 0
    assert ran.json["looked_at"] == 3
    [moved] = ran.json["moved"]
    assert moved["escalation_id"] == "esc_a"
    assert (moved["was"]["route"]["team_id"], moved["would_be"]["route"]["team_id"]) == ("security", "legal")
    text = kt_policy("replay", "--policies", str(changed), "--since", "1d", cwd=clone)
    assert "esc_a\tteam security, 1 approval\t->\tteam legal, 1 approval" in text.out
    (changed / "settings.yaml").write_text("claims: [\n")
    assert kt_policy("replay", "--policies", str(changed), cwd=clone).code == 2
    assert json.loads(kt_policy("route", "--policies", "nowhere", "--json", cwd=clone).err)["error"]["code"]
