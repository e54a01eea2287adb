"""`claim`, `unclaim`, `resolve` and `note`: who may do what when, what it commits, and what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, Ran, git, ids, kt, record_text
from terminal import Seat, at_a_terminal

ACTION_KEYS = {"escalation", "commit", "changed"}
SEVERAL_KEYS = {"escalations", "commit", "changed", "unchanged", "skipped", "failed"}
ROSTER = """
users:
  - {user_id: alice, emails: [alice@example.com, alice@home.example.com], roles: [reviewer]}
  - {user_id: bob, emails: [bob@example.com], roles: [reviewer]}
  - {user_id: carol, emails: [carol@example.com], roles: [auditor]}
teams:
  - {team_id: legal, members: [alice]}
"""


@pytest.fixture
def alice(lab: Lab) -> Path:
    """Alice's clone of a store with one escalation, `esc_job`."""
    lab.escalations("job")
    return lab.clone("alice")


@pytest.fixture
def bob(lab: Lab) -> Path:
    return lab.clone("bob")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """One store for all that is refused and so cannot change it: alice holds `esc_job`, `esc_free` waits."""
    lab = Lab(tmp_path_factory.mktemp("kept"))
    lab.escalations("job", "free", "free-with-a-long-name")
    lab.clone("bob")
    claim(lab.clone("alice"))
    return lab


def refused(kept: Lab, *args: str, person: str = "alice") -> Ran:
    """A command on the kept store that must fail, with one line, and change nothing."""
    before = kept.tip()
    ran = kt(*args, cwd=kept.folder / person)
    assert ran.code != 0
    assert ran.out == ""
    assert len(ran.err.strip().splitlines()) == 1
    assert kept.tip() == before
    return ran


def text_of(name: str, *, team: str | None = None, user: str | None = None, **more: str) -> str:
    """A queued record's text, routed to a team or a user."""
    route = f"route:\n  team_id: {team}\n" if team else f"route:\n  user_id: {user}\n" if user else "route:\n"
    return record_text(name, **more).replace("route:\n", route)


def claim(cwd: Path, *options: str, id_: str = "esc_job") -> dict[str, Any]:
    return done(kt("claim", "--id", id_, *options, "--json", cwd=cwd))


def resolve(cwd: Path, *options: str, outcome: str = "approved") -> Ran:
    args = ("--id", "esc_job", "--outcome", outcome, "--reason", "fine", "--json")
    return kt("resolve", *args, *options, cwd=cwd)


def done(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran.err
    found: dict[str, Any] = ran.json
    return found


def message(lab: Lab) -> str:
    return git("log", "-1", "--format=%B", "main", cwd=lab.remote)


# --- claim ------------------------------------------------------------------------------------------


def test_a_claim_makes_the_caller_the_holder_at_the_remotes_tip(lab: Lab, alice: Path) -> None:
    ran = kt("claim", "--id", "esc_job", "--json", cwd=alice)
    assert ran.code == 0
    assert set(ran.json) == ACTION_KEYS
    assert ran.err == ""
    assert ran.json["changed"] is True
    assert ran.json["commit"] == lab.tip()
    held = ran.json["escalation"]
    assert held["status"] == "claimed"
    assert set(held["claim"]) == {"claim_id", "claimed_by", "claimed_at"}
    assert held["claim"]["claimed_by"] == "alice@example.com"
    assert "status: claimed\n" in lab.file("queue/esc_job.yaml")


def test_without_json_each_action_is_one_line_that_names_its_commit(lab: Lab, alice: Path) -> None:
    def tip() -> str:
        return lab.tip()[:12]

    args = ["--id", "esc_job", "--claim-id", "T1"]
    assert kt("claim", *args, cwd=alice).out == f"claimed esc_job (claim T1) in commit {tip()}\n"
    assert kt("claim", *args, cwd=alice).out == "esc_job is yours already (claim T1)\n"
    noted = kt("note", "--id", "esc_job", "--text", "hm", cwd=alice)
    assert noted.out == f"noted on esc_job in commit {tip()}\n"
    assert kt("unclaim", *args, cwd=alice).out == f"gave esc_job back in commit {tip()}\n"
    assert kt("claim", *args, cwd=alice).code == 0
    decide = ["resolve", "--id", "esc_job", "--outcome", "block", "--reason", "no"]
    assert kt(*decide, cwd=alice).out == f"resolved esc_job as denied in commit {tip()}\n"
    assert kt(*decide, cwd=alice).out == "esc_job is denied by you already\n"


def test_whoever_comes_second_is_told_who_holds_it_since_when(lab: Lab, alice: Path, bob: Path) -> None:
    held = claim(alice)["escalation"]["claim"]
    before = lab.tip()
    ran = kt("claim", "--id", "esc_job", "--json", cwd=bob)
    assert ran.code == 6
    assert ran.error["code"] == "already_claimed"
    assert lab.tip() == before
    assert (ran.error["claimed_by"], ran.error["since"]) == ("alice@example.com", held["claimed_at"])
    assert f"alice@example.com since {held['claimed_at']}" in kt("claim", "--id", "esc_job", cwd=bob).err


def test_several_ids_are_one_commit_and_one_push(lab: Lab, alice: Path) -> None:
    lab.escalations("b", "a")
    lab.hook("post-receive", "echo push >> pushes")
    ran = kt("claim", "--id", "esc_b", "--id", "esc_a", "--id", "esc_b", "--json", cwd=alice)
    assert set(done(ran)) == SEVERAL_KEYS
    assert ids(ran.json["escalations"]) == ["esc_b", "esc_a"]
    assert (lab.remote / "pushes").read_text() == "push\n"
    assert ran.json["commit"] == lab.tip()
    assert len({item["claim"]["claim_id"] for item in ran.json["escalations"]}) == 1
    lines = message(lab).splitlines()
    assert lines[0] == "kt: claim 2 escalations"
    assert lines[2:6] == [
        "Kt-Action: claim",
        "Kt-Escalation: esc_a",
        "Kt-Escalation: esc_b",
        "Kt-Count: 2",
    ]


def test_ids_may_come_from_stdin(lab: Lab, alice: Path) -> None:
    lab.escalations("a", "b")
    ran = kt("claim", "--id", "-", "--json", cwd=alice, stdin=b"esc_a\nesc_b\n\n")
    assert ids(done(ran)["escalations"]) == ["esc_a", "esc_b"]
    one = kt("unclaim", "--id", "-", "--json", cwd=alice, stdin=b"esc_a")
    assert set(done(one)) == SEVERAL_KEYS
    plain = kt("claim", "--id", "-", cwd=alice, stdin=b"esc_a esc_b")
    assert plain.out == "esc_a\nesc_b\n"
    assert plain.err == f"kt: 1 changed (1 already done) in commit {lab.tip()[:12]}\n"
    assert kt("claim", "--id", "-", cwd=alice, stdin=b"").code == 2


def test_several_are_all_or_nothing_with_every_fault_named(lab: Lab, alice: Path, bob: Path) -> None:
    lab.escalations("held")
    claim(bob, id_="esc_held")
    before = lab.tip()
    args = ["claim", "--id", "esc_job", "--id", "esc_held", "--id", "esc_gone", "--json"]
    ran = kt(*args, cwd=alice)
    assert ran.code == 6
    assert lab.tip() == before
    assert [(fault["id"], fault["code"]) for fault in ran.error["failed"]] == [
        ("esc_held", "already_claimed"),
        ("esc_gone", "not_found"),
    ]
    assert {frozenset(fault) for fault in ran.error["failed"]} == {frozenset({"id", "code", "message"})}
    plain = kt(*args[:-1], cwd=alice).err
    assert "esc_held: " in plain
    assert "esc_gone: " in plain
    assert "--partial" in plain


def test_partial_takes_what_can_be_had(lab: Lab, alice: Path, bob: Path) -> None:
    lab.escalations("held")
    claim(bob, id_="esc_held")
    args = ["claim", "--id", "esc_held", "--id", "esc_job", "--id", "esc_gone", "--partial", "--json"]
    ran = kt(*args, cwd=alice)
    assert set(done(ran)) == SEVERAL_KEYS
    assert ids(ran.json["escalations"]) == ["esc_job"]
    assert [fault["id"] for fault in ran.json["failed"]] == ["esc_held", "esc_gone"]
    again = done(kt(*args, cwd=alice))
    assert (again["changed"], again["unchanged"]) == (False, 1), "already so is had as well"
    before = lab.tip()
    none = kt("claim", "--id", "esc_gone", "--id", "esc_held", "--partial", cwd=alice)
    assert none.code == 7, "the first fault's code"
    assert lab.tip() == before, "the first fault's code"


def test_a_lapsed_lease_can_be_claimed_over_and_the_commit_names_the_last_holder(
    lab: Lab, alice: Path
) -> None:
    lapsed = record_text("old").replace("status: queued", "status: claimed") + (
        'claim:\n  claim_id: T\n  claimed_by: bob@example.com\n  claimed_at: "2026-11-23T09:00:00.000Z"\n'
        '  expires_at: "2026-11-23T09:05:00.000Z"\n'
    )
    lab.put({"queue/esc_old.yaml": lapsed, "policies/settings.yaml": "claims: {lease: 4h}\n"})
    ran = kt("claim", "--id", "esc_old", cwd=alice)
    assert ran.code == 0
    assert "the lapsed claim of bob@example.com" in ran.err
    assert "over the lapsed claim of bob@example.com" in message(lab)
    held = done(kt("get", "--id", "esc_old", "--json", cwd=alice))["escalation"]["claim"]
    assert held["claimed_by"] == "alice@example.com"
    assert held["expires_at"] > held["claimed_at"]


# --- claim --next -----------------------------------------------------------------------------------


@pytest.fixture
def queue(lab: Lab) -> list[str]:
    """Five queued escalations; their ids in the order in which they are due."""
    early, late = '"2026-11-23T01:00:00.000Z"', '"2026-11-23T08:00:00.000Z"'
    lab.put(
        {
            "queue/esc_low.yaml": text_of("low", severity="low", created_at=early),
            "queue/esc_b.yaml": text_of("b", severity="high", created_at=late, team="legal"),
            "queue/esc_a.yaml": text_of("a", severity="high", created_at=late),
            "queue/esc_z.yaml": text_of("z", severity="high", created_at=early, team="legal"),
            "queue/esc_top.yaml": text_of("top", severity="critical", created_at=late),
        }
    )
    return ["esc_top", "esc_z", "esc_a", "esc_b", "esc_low"]


def test_next_takes_the_most_severe_then_the_oldest(lab: Lab, queue: list[str]) -> None:
    alice, bob = lab.clone("alice"), lab.clone("bob")
    taken = [done(kt("claim", "--next", "--json", cwd=(alice, bob)[turn % 2])) for turn in range(5)]
    assert [item["escalation"]["escalation_id"] for item in taken] == queue
    assert {frozenset(item) for item in taken} == {frozenset(ACTION_KEYS)}
    ran = kt("claim", "--next", "--json", cwd=alice)
    assert ran.code == 7
    assert ran.error["code"] == "nothing_to_claim"
    assert ran.error["state"] == "all_held"
    assert ran.error["held_by"] == {"alice@example.com": 3, "bob@example.com": 2}
    assert "all 5 are held (alice@example.com 3, bob@example.com 2)" in ran.error["message"]


def test_next_with_a_count_takes_at_most_so_many_in_one_commit(lab: Lab, queue: list[str]) -> None:
    alice = lab.clone("alice")
    first = done(kt("claim", "--next", "--count", "2", "--json", cwd=alice))
    assert set(first) == SEVERAL_KEYS
    assert ids(first["escalations"]) == queue[:2]
    rest = done(kt("claim", "--next", "--count", "9", "--json", cwd=alice))
    assert ids(rest["escalations"]) == queue[2:]
    assert rest["failed"] == []
    assert lab.commits("claim") == ["kt: claim 3 escalations", "kt: claim 2 escalations"]


def test_next_of_a_team_takes_only_what_is_routed_there(lab: Lab, queue: list[str]) -> None:
    alice = lab.clone("alice")
    take = ("claim", "--next", "--team", "legal", "--json")
    taken = [done(kt(*take, cwd=alice))["escalation"]["escalation_id"] for _ in range(2)]
    assert taken == ["esc_z", "esc_b"]
    assert kt(*take, cwd=alice).error["state"] == "all_held"
    ran = kt("claim", "--next", "--team", "nobody", "--json", cwd=alice)
    assert ran.code == 7
    assert "nothing waits for team nobody" in ran.error["message"]


def test_next_on_an_empty_queue_says_that_it_is_empty(lab: Lab) -> None:
    before = lab.tip()
    ran = kt("claim", "--next", "--json", cwd=lab.clone("alice"))
    assert ran.code == 7
    assert ran.error["state"] == "empty"
    assert "the queue is empty" in ran.error["message"]
    assert lab.tip() == before


def test_next_says_when_what_waits_is_not_for_the_caller(lab: Lab, queue: list[str]) -> None:
    lab.put({"policies/roster.yaml": ROSTER})
    bob = lab.clone("bob")
    taken = done(kt("claim", "--next", "--count", "9", "--json", cwd=bob))
    assert ids(taken["escalations"]) == ["esc_top", "esc_a", "esc_low"], "the others are for legal"
    ran = kt("claim", "--next", "--json", cwd=bob)
    assert ran.code == 7
    assert ran.error["state"] == "not_for_you"
    assert "none of the 2 waiting is for you" in ran.error["message"]
    assert "legal" in ran.error["message"]


def test_next_with_the_same_claim_id_is_a_repeat(lab: Lab, queue: list[str]) -> None:
    alice = lab.clone("alice")
    first, again, other = (
        done(kt("claim", "--next", "--claim-id", token, "--json", cwd=alice)) for token in ("T1", "T1", "T2")
    )
    assert (first["changed"], again["changed"], other["changed"]) == (True, False, True)
    assert again["escalation"] == first["escalation"]
    assert other["escalation"]["escalation_id"] == queue[1]


def test_next_does_not_pass_over_an_unreadable_file_in_silence(lab: Lab, alice: Path) -> None:
    lab.put({"queue/esc_torn.yaml": "<<<<<<< HEAD\n"})
    ran = kt("claim", "--next", cwd=alice)
    assert ran.code == 0
    assert "esc_job" in ran.out
    assert "queue/esc_torn.yaml" in ran.err
    ran = kt("claim", "--next", cwd=lab.clone("bob"))
    assert ran.code == 7
    assert "queue/esc_torn.yaml" in ran.err


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--id", "esc_job", "--next"],
        ["--id", "esc_job", "--count", "2"],
        ["--id", "esc_job", "--team", "legal"],
        ["--next", "--count", "0"],
        ["--next", "--claim-id", "not one"],
        ["--id", "job"],
        ["--id", "esc_JOB"],
        ["--id", "esc_jo*"],
        ["--id", ""],
    ],
    ids=" ".join,
)
def test_a_claim_that_makes_no_sense_is_bad_usage(kept: Lab, args: list[str]) -> None:
    assert refused(kept, "claim", *args).code == 2


def test_commands_that_write_need_the_whole_id(kept: Lab) -> None:
    ran = refused(kept, "claim", "--id", "esc_free-with", "--json")
    assert ran.code == 7
    assert ran.error["code"] == "not_found"


# --- fencing ----------------------------------------------------------------------------------------


def test_the_same_claim_id_is_a_repeat_and_another_of_the_same_person_a_conflict(
    lab: Lab, alice: Path
) -> None:
    first = claim(alice, "--claim-id", "worker-1")
    before = lab.tip()
    again = claim(alice, "--claim-id", "worker-1")
    assert again == {**first, "changed": False}
    assert lab.tip() == before
    other = kt("claim", "--id", "esc_job", "--claim-id", "worker-2", "--json", cwd=alice)
    assert other.code == 6
    assert other.error["code"] == "claim_id_differs"
    assert (other.error["claim_id"], other.error["given"]) == ("worker-1", "worker-2")


@pytest.mark.parametrize(
    "args",
    [["unclaim", "--id", "esc_job"], ["resolve", "--id", "esc_job", "--outcome", "denied", "--reason", "no"]],
    ids=["unclaim", "resolve"],
)
def test_unclaim_and_resolve_refuse_a_claim_id_that_is_not_the_current_one(
    lab: Lab, alice: Path, args: list[str]
) -> None:
    claim(alice, "--claim-id", "worker-1")
    before = lab.tip()
    ran = kt(*args, "--claim-id", "worker-2", "--json", cwd=alice)
    assert ran.code == 6
    assert ran.error["code"] == "claim_id_differs"
    assert lab.tip() == before
    assert kt(*args, "--claim-id", "worker-1", cwd=alice).code == 0


# --- unclaim and note -------------------------------------------------------------------------------


def test_unclaim_gives_it_back_to_the_queue_for_the_next_one(lab: Lab, alice: Path, bob: Path) -> None:
    claim(alice)
    ran = kt("unclaim", "--id", "esc_job", "--json", cwd=alice)
    assert set(done(ran)) == ACTION_KEYS
    assert ran.json["changed"] is True
    back = ran.json["escalation"]
    assert back["status"] == "queued"
    assert "claim" not in back
    assert back["queued_at"] > back["raised_at"]
    assert claim(bob)["escalation"]["claim"]["claimed_by"] == "bob@example.com"


def test_a_note_becomes_part_of_the_record_whoever_holds_it(lab: Lab, alice: Path, bob: Path) -> None:
    claim(alice)
    ran = kt("note", "--id", "esc_job", "--text", "  Asked the owner.\r\nShe knows.\n", "--json", cwd=bob)
    assert set(done(ran)) == ACTION_KEYS
    [note] = ran.json["escalation"]["notes"]
    assert set(note) == {"by", "at", "text"}
    assert (note["by"], note["text"]) == ("bob@example.com", "Asked the owner.\nShe knows.")
    assert ran.json["escalation"]["claim"]["claimed_by"] == "alice@example.com"
    assert [line for line in message(lab).splitlines() if line.startswith("    ")] == [
        "    Asked the owner.",
        "    She knows.",
    ]


# --- resolve ----------------------------------------------------------------------------------------


def test_resolving_moves_the_file_to_the_day_and_the_log_reads_like_a_journal(lab: Lab, alice: Path) -> None:
    lab.put({"policies/roster.yaml": ROSTER})
    claim(alice, "--claim-id", "01jd")
    reason = "Request complies with policy"
    args = ["resolve", "--id", "esc_job", "--outcome", "approved", "--reason", reason, "--json"]
    ran = kt(*args, "--category", "false_positive", cwd=alice)
    assert set(done(ran)) == ACTION_KEYS
    assert ran.json["commit"] == lab.tip()
    found = ran.json["escalation"]
    end, [review] = found["resolution"], found["reviews"]
    assert found["status"] == "resolved"
    assert found["claim"]["claim_id"] == "01jd"
    assert set(end) == {"outcome", "reason", "category", "resolved_by", "resolved_at"}
    assert set(review) == {"reviewer", "outcome", "reason", "category", "reviewed_at", "claim_id", "shown"}
    assert (end["outcome"], end["reason"], end["category"]) == ("approved", reason, "false_positive")
    assert end["resolved_by"] == review["reviewer"] == "alice"
    assert re.fullmatch("[0-9a-f]{64}", review["shown"])
    day = end["resolved_at"][:10].replace("-", "/")
    assert [path for path in lab.files() if path.startswith("queue/")] == [
        f"queue/resolved/{day}/esc_job.yaml"
    ]
    assert message(lab) == (
        f"kt: resolve esc_job as approved\n\n    {reason}\n\nKt-Action: resolve\nKt-Escalation: esc_job\n"
        "Kt-Actor: alice\nKt-Claim: 01jd\nKt-Outcome: approved\n"
    )


def test_both_spellings_and_the_gateways_own_verbs_are_taken(lab: Lab) -> None:
    verbs = {"allow": "approved", "block": "denied", "rejected": "denied", "redact": "redacted"}
    verbs |= {"rewrite": "rewritten", **{word: word for word in ("approved", "redacted", "rewritten")}}
    verbs |= {"denied": "denied", "approve": "approved", "deny": "denied", "reject": "denied"}
    lab.escalations(*verbs)
    alice = lab.clone("alice")
    kt("claim", *(word for given in verbs for word in ("--id", f"esc_{given}")), cwd=alice)
    for given, outcome in verbs.items():
        args = ["--escalation-id", f"esc_{given}", "--resolution", given, "--note", "fine", "--json"]
        found = done(kt("resolve", *args, cwd=alice))["escalation"]
        assert found["resolution"]["outcome"] == found["reviews"][0]["outcome"] == outcome
        assert found["resolution"]["reason"] == "fine"
        assert "category" not in found["resolution"]
        assert message(lab).startswith(f"kt: resolve esc_{given} as {outcome}\n")
        assert message(lab).endswith(f"\nKt-Outcome: {outcome}\n")


@pytest.mark.parametrize(
    "options",
    [
        ["--outcome", "expired", "--reason", "x"],
        ["--outcome", "maybe", "--reason", "x"],
        ["--outcome", "", "--reason", "x"],
        ["--outcome", "denied", "--reason", " \n"],
        ["--outcome", "denied", "--reason", "x" * 16_385],
        ["--outcome", "denied", "--reason", "x", "--category", "boring"],
        ["--outcome", "denied", "--reason", "x", "--claim-id", "a b"],
        ["--outcome", "denied"],
        ["--reason", "x"],
    ],
)
def test_a_decision_that_makes_no_sense_is_bad_input(kept: Lab, options: list[str]) -> None:
    assert refused(kept, "resolve", "--id", "esc_job", *options).code == 2


def test_resolve_refuses_when_the_record_is_no_longer_as_it_was_shown(lab: Lab, alice: Path) -> None:
    claim(alice)
    seen = done(kt("get", "--id", "esc_job", "--json", cwd=alice))["shown"]
    assert kt("note", "--id", "esc_job", "--text", "Wait!", cwd=lab.clone("bob")).code == 0
    before = lab.tip()
    ran = resolve(alice, "--shown", seen)
    assert ran.code == 6
    assert ran.error["code"] == "shown_differs"
    assert lab.tip() == before
    now = done(kt("get", "--id", "esc_job", "--json", "--fetch", cwd=alice))["shown"]
    assert now == ran.error["shown"] != seen
    review = done(resolve(alice, "--shown", now))["escalation"]["reviews"][0]
    assert review["shown"] == now


def test_several_can_be_decided_in_one_commit(lab: Lab, alice: Path) -> None:
    lab.escalations("other")
    args = ["--id", "esc_job", "--id", "esc_other"]
    kt("claim", *args, cwd=alice)
    decide = ["resolve", *args, "--outcome", "redact", "--reason", "names removed", "--json"]
    ran = kt(*decide, cwd=alice)
    assert set(done(ran)) == SEVERAL_KEYS
    assert ids(ran.json["escalations"]) == ["esc_job", "esc_other"]
    assert message(lab).startswith("kt: resolve 2 escalations as redacted\n\n    names removed\n")
    again = done(kt(*decide, cwd=alice))
    assert (again["changed"], again["unchanged"]) == (False, 2)


# --- repeats and refusals ---------------------------------------------------------------------------


def test_resolving_the_same_way_again_changes_nothing(lab: Lab, alice: Path) -> None:
    claim(alice)
    first = done(resolve(alice))
    again = done(resolve(alice))
    assert again == {**first, "changed": False}
    assert lab.tip() == first["commit"]


RESOLVE_OTHERWISE = {
    "another outcome": ["--outcome", "denied", "--reason", "fine"],
    "another reason": ["--outcome", "approved", "--reason", "other"],
    "another category": ["--outcome", "approved", "--reason", "fine", "--category", "other"],
}
AFTERWARDS = {
    "claim": ["claim", "--id", "esc_job"],
    "unclaim": ["unclaim", "--id", "esc_job"],
    "note": ["note", "--id", "esc_job", "--text", "but"],
    **{name: ["resolve", "--id", "esc_job", *options] for name, options in RESOLVE_OTHERWISE.items()},
}


def test_what_is_resolved_never_changes_again_and_says_who_resolved_it_how(
    lab: Lab, alice: Path, bob: Path
) -> None:
    claim(alice)
    end = done(resolve(alice))["escalation"]["resolution"]
    before = lab.tip()
    tries = [(alice, name) for name in AFTERWARDS] + [(bob, name) for name in AFTERWARDS]
    for person, name in tries:
        ran = kt(*AFTERWARDS[name], "--json", cwd=person)
        assert ran.code == 6, name
        assert ran.error["code"] == "already_resolved", name
        assert (ran.error["outcome"], ran.error["resolved_by"]) == ("approved", "alice@example.com"), name
        assert ran.error["resolved_at"] == end["resolved_at"], name
        assert f"approved by alice@example.com at {end['resolved_at']}" in ran.error["message"], name
    assert resolve(bob).error["code"] == "already_resolved", "the same, but by another"
    next_one = kt("claim", "--next", "--json", cwd=bob)
    assert next_one.code == 7
    assert next_one.error["state"] == "empty"
    assert lab.tip() == before


@pytest.mark.parametrize("action", ["unclaim", "another outcome"])
def test_only_what_is_claimed_can_be_given_back_or_resolved(kept: Lab, action: str) -> None:
    args = [word.replace("esc_job", "esc_free") for word in AFTERWARDS[action]]
    ran = refused(kept, *args, "--json")
    assert ran.code == 6
    assert ran.error["code"] == "not_claimed"
    assert "kt escalation claim --id esc_free" in ran.error["message"]


@pytest.mark.parametrize("action", ["unclaim", "another outcome"])
def test_only_the_holder_can_give_back_or_resolve(kept: Lab, action: str) -> None:
    ran = refused(kept, *AFTERWARDS[action], "--json", person="bob")
    assert ran.code == 6
    assert ran.error["code"] == "not_holder"
    held = done(kt("get", "--id", "esc_job", "--json", cwd=kept.folder / "alice"))["escalation"]["claim"]
    assert (ran.error["claimed_by"], ran.error["since"]) == ("alice@example.com", held["claimed_at"])
    assert ran.error["actor"] == "bob@example.com"


@pytest.mark.parametrize("action", AFTERWARDS)
def test_an_unknown_id_is_exit_7_that_names_it(kept: Lab, action: str) -> None:
    args = [word.replace("esc_job", "esc_gone") for word in AFTERWARDS[action]]
    ran = refused(kept, *args, "--json")
    assert ran.code == 7
    assert (ran.error["code"], ran.error["escalation_id"]) == ("not_found", "esc_gone")


def test_input_is_judged_before_the_id_and_the_role_before_the_state(lab: Lab, alice: Path) -> None:
    lab.put({"policies/roster.yaml": ROSTER})
    claim(alice)
    carol = lab.clone("carol")
    decide = ["--outcome", "denied", "--reason", "no"]
    assert kt("resolve", "--id", "esc_gone", "--outcome", "maybe", "--reason", "no", cwd=carol).code == 2
    assert kt("resolve", "--id", "esc_gone", *decide, cwd=carol).code == 7
    assert kt("resolve", "--id", "esc_job", *decide, cwd=carol).code == 3
    assert kt("note", "--id", "esc_job", "--text", "hm", cwd=carol).code == 3
    assert kt("claim", "--id", "esc_job", cwd=carol).code == 3
    assert kt("claim", "--id", "esc_job", cwd=lab.clone("bob")).code == 6


def test_alice_is_one_person_under_two_addresses_and_before_there_was_a_roster(lab: Lab, alice: Path) -> None:
    claim(alice)
    lab.put({"policies/roster.yaml": ROSTER})
    home = lab.clone("home", email="Alice@Home.example.com")
    again = done(kt("claim", "--id", "esc_job", "--json", cwd=home))
    assert again["changed"] is False
    assert done(resolve(home))["escalation"]["resolution"]["resolved_by"] == "alice"


# --- a terminal -------------------------------------------------------------------------------------

DECIDE = ("resolve", "--id", "esc_job", "--outcome", "block", "--reason", "no")


@pytest.mark.parametrize(
    ("typed", "options", "code", "asked"),
    [
        ("y\n", (), 0, True),
        ("Yes\n", (), 0, True),
        ("\n", (), 130, True),
        ("", ("--yes",), 0, False),
    ],
    ids=["y", "yes", "just enter", "--yes"],
)
def test_a_terminal_user_is_asked_before_resolving_unless_told_not_to(
    lab: Lab, alice: Path, typed: str, options: tuple[str, ...], code: int, asked: bool
) -> None:
    claim(alice)
    ended, shown = at_a_terminal(*DECIDE, *options, cwd=alice, typed=typed)
    assert ended == code, shown
    assert (bool(re.search(r"Resolve esc_job \(.+\) as block\?", shown))) == asked
    assert len(lab.commits("resolve")) == (code == 0)
    assert ("nothing changed" in shown) == (code == 130)


def test_nobody_is_asked_about_what_is_resolved_already(lab: Lab, alice: Path) -> None:
    claim(alice)
    assert kt(*DECIDE, cwd=alice).code == 0
    ended, shown = at_a_terminal(*DECIDE, cwd=alice, typed="")
    assert ended == 0
    assert "Resolve" not in shown
    ended, shown = at_a_terminal(*DECIDE[:-1], "another", cwd=alice, typed="")
    assert ended == 6
    assert "Resolve" not in shown


def test_what_only_the_remote_knows_is_asked_about_as_well(lab: Lab, alice: Path) -> None:
    claim(alice)
    old = lab.clone("old", email="alice@example.com")
    git("update-ref", "-d", "refs/remotes/origin/main", cwd=old)
    git("reset", "--hard", "--quiet", git("rev-list", "--max-parents=0", "HEAD", cwd=old), cwd=old)
    ended, shown = at_a_terminal(*DECIDE, cwd=old, typed="y\n")
    assert ended == 0
    assert "Resolve esc_job (" in shown


@pytest.mark.parametrize(
    ("args", "code", "why"),
    [
        (("--id", "esc_gone", "--outcome", "denied", "--reason", "no"), 7, "there is no escalation esc_gone"),
        (("--id", "esc_job", "--outcome", "denied", "--reason", " "), 2, "the reason is empty"),
        (("--id", "esc_job", "--outcome", "denied", "--reason", "no"), 6, "is not claimed"),
        (("--id", "esc_job", "--outcome", "bogus", "--reason", "no"), 2, "bogus"),
    ],
    ids=["unknown", "no reason", "not held", "no outcome"],
)
def test_nobody_is_asked_about_what_would_be_refused(
    lab: Lab, alice: Path, args: tuple[str, ...], code: int, why: str
) -> None:
    ended, shown = at_a_terminal("resolve", *args, cwd=alice, typed="")
    assert ended == code
    assert why in shown
    assert "Resolve" not in shown
    assert lab.commits("resolve") == []


def test_who_says_no_is_told_that_it_was_heard(lab: Lab, alice: Path) -> None:
    claim(alice)
    ended, shown = at_a_terminal(*DECIDE, cwd=alice, typed="n\n")
    assert ended == 130
    assert "kt: not resolved, as you said; nothing changed" in shown
    for key in ("\x03", "\x04"):
        seat = Seat(*DECIDE, cwd=alice)
        seat.until("[y/N]: ")
        seat.type(key)
        assert seat.ended() == 130
        assert "\nkt: interrupted; nothing changed" in seat.plain


def test_what_is_neither_yes_nor_no_is_asked_again(lab: Lab, alice: Path) -> None:
    claim(alice)
    seat = Seat(*DECIDE, cwd=alice)
    seat.until("[y/N]: ")
    seat.type("maybe\n")
    assert "type y for yes" in seat.until("[y/N]: ")
    seat.type("y\n")
    assert seat.ended() == 0
    assert len(lab.commits("resolve")) == 1


def test_a_script_is_never_asked(lab: Lab, alice: Path) -> None:
    claim(alice)
    ran = kt(*DECIDE, cwd=alice, stdin=b"n\n")
    assert ran.code == 0
    assert "?" not in ran.out + ran.err
    assert len(lab.commits("resolve")) == 1
