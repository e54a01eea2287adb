"""`kt escalation review` at a real terminal: what was shown is what is decided, and nothing is left claimed."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forge import ROSTER, SETTINGS
from lab import Lab, git, kt, path_to_git
from terminal import Seat

KEYS = "q quit: "
CATEGORY = "Enter none: "
SURE = "y or n: "
SLOW_PUSH = 'case " $* " in *" push "*) sleep 2 ;; esac\ngit "$@"'
INTERRUPT, END = "\x03", "\x04"


def put(lab: Lab, *records: dict[str, object]) -> None:
    """Raise escalations, in one commit."""
    lines = "\n".join(json.dumps({"reason_code": "oversight.required", **keys}) for keys in records)
    gateway = lab.folder / "gw" if (lab.folder / "gw").exists() else lab.clone("gw")
    ran = kt("raise", "--batch", "-", cwd=gateway, stdin=lines.encode())
    assert ran.code == 0, ran.err


@pytest.fixture(scope="module")
def morning(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A store with two escalations, `esc_first` and `esc_later`, and a clone of Alice's."""
    lab = Lab(tmp_path_factory.mktemp("morning"))
    put(
        lab,
        {"request_id": "first", "severity": "critical", "summary": "The first"},
        {"request_id": "later", "severity": "low", "summary": "The later one"},
    )
    lab.clone("look")
    lab.clone("alice")
    return lab


@pytest.fixture
def lab(morning: Lab, tmp_path: Path) -> Lab:
    return morning.copy(tmp_path)


@pytest.fixture
def alice(lab: Lab) -> Path:
    return lab.folder / "alice"


def record(lab: Lab, name: str) -> dict[str, Any]:
    """A record as it is at the remote's tip."""
    found: dict[str, Any] = kt("get", "--fetch", "--id", name, "--json", cwd=lab.folder / "look").json
    return found["escalation"]


def holders(lab: Lab) -> dict[str, str]:
    """Who holds what at the remote's tip, whose history must be legal."""
    look = lab.folder / "look"
    listed = kt("list", "--fetch", "--json", "--limit", "0", cwd=look).json["escalations"]
    git("merge", "--quiet", "--ff-only", "origin/main", cwd=look)
    judged = kt("verify", cwd=look)
    assert judged.code == 0, judged.out
    return {item["escalation_id"]: item["claim"]["claimed_by"] for item in listed if "claim" in item}


def decide(seat: Seat, key: str, reason: str = "fine", *, category: str = "\r") -> str:
    """Decide what is shown; what was shown."""
    shown = seat.press(KEYS, key)
    seat.write(reason)
    seat.press(CATEGORY, category)
    seat.press(SURE, "y")
    return shown


def editor(folder: Path, script: str) -> dict[str, str]:
    """An editor that is a shell script; `$1` is the file."""
    path = folder / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"EDITOR": str(path), "VISUAL": ""}


WRITES = """{ printf 'No.\\n\\nIt names a customer.\\n'; cat "$1"; } >"$1.new" && mv "$1.new" "$1" """


# --- a morning's work -------------------------------------------------------------------------------


def test_a_whole_session(lab: Lab, alice: Path, tmp_path: Path) -> None:
    put(lab, {"request_id": "more"}, {"request_id": "most"})
    seat = Seat("review", cwd=alice, env=editor(tmp_path, WRITES))
    shown = decide(seat, "a", "Complies with policy", category="2")
    assert "0 handled" in shown
    assert "The first" in shown
    assert re.search(r"held by +alice@example.com since \d\d:\d\d\n", shown)
    shown = seat.press(KEYS, "s")
    assert "resolved esc_first as approved in commit " in shown
    assert "esc_more  medium  claimed" in shown
    assert "1 handled, " not in shown
    assert "1 handled" in shown
    assert "esc_more is back in the queue" in decide(seat, "d", "e")
    assert "esc_later  low" in seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert seat.rest.splitlines()[-1] == "2 handled, 1 skipped"
    assert holders(lab) == {}
    first, most = record(lab, "esc_first"), record(lab, "esc_most")
    assert first["resolution"]["reason"] == "Complies with policy"
    assert first["resolution"]["category"] == "true_positive_approved"
    assert most["resolution"]["outcome"] == "denied"
    assert "category" not in most["resolution"]
    assert most["resolution"]["reason"] == "No.\n\nIt names a customer."
    assert [record(lab, f"esc_{name}")["status"] for name in ("more", "later")] == ["queued", "queued"]


def test_each_decision_has_its_key_and_the_end_of_the_queue_is_a_good_end(lab: Lab, alice: Path) -> None:
    seat = Seat("review", cwd=alice)
    decide(seat, "r")
    decide(seat, "w")
    assert seat.ended() == 0
    assert seat.rest.splitlines()[-1] == "2 handled; the queue is empty"
    assert [record(lab, name)["resolution"]["outcome"] for name in ("esc_first", "esc_later")] == [
        "redacted",
        "rewritten",
    ]


def test_what_was_skipped_is_not_offered_again_and_nothing_to_do_is_exit_7(lab: Lab, alice: Path) -> None:
    seat = Seat("review", cwd=alice)
    assert "esc_first" in seat.press(KEYS, "s")
    assert "esc_later" in seat.press(KEYS, "s")
    assert seat.ended() == 7
    assert "kt: nothing to claim: the queue is empty, except for the 2 that you skipped" in seat.rest
    assert holders(lab) == {}
    assert Seat("review", "--team", "legal", cwd=alice).ended() == 7


def test_a_slow_remote_is_shown_while_the_reviewer_waits_for_it(
    lab: Lab, alice: Path, tmp_path: Path
) -> None:
    seat = Seat("review", cwd=alice, env={"PATH": path_to_git(tmp_path, SLOW_PUSH)})
    assert "pushing  [" in decide(seat, "a")
    # The bar of the decision is gone before the next one is shown.
    shown = seat.press(KEYS, "q")
    assert "pushing  [" in shown
    assert "resolved esc_first" in shown
    assert seat.ended() == 0
    assert holders(lab) == {}
    last_bar = seat.raw.partition("resolved esc_first")[0].rpartition("pushing  [")[2]
    assert last_bar.endswith("\r\x1b[K\x1b[?25h")


def test_an_interrupt_while_the_remote_is_slow_leaves_no_bar(lab: Lab, alice: Path, tmp_path: Path) -> None:
    seat = Seat("review", cwd=alice, env={"PATH": path_to_git(tmp_path, SLOW_PUSH)})
    decide(seat, "a")
    seat.until("pushing  [")
    seat.type(INTERRUPT)
    assert seat.ended() == 130
    assert "interrupted: waiting for the answer to the push  [" in seat.plain
    lines = [line.rpartition("\x1b[K\x1b[?25h")[2] for line in seat.raw.replace("\r\n", "\n").split("\n")]
    assert any(line.startswith("resolved esc_first as approved") for line in lines)
    assert holders(lab) == {}


@pytest.mark.parametrize("at", ["key", "line"])
def test_who_stopped_it_and_comes_back_is_asked_again(lab: Lab, alice: Path, at: str) -> None:
    seat = Seat("review", cwd=alice)
    question = KEYS
    if at == "line":
        seat.press(KEYS, "d")
        question = "\n> "
    seat.until(question)
    seat.kill(signal.SIGSTOP)
    seat.cook()
    seat.kill(signal.SIGCONT)
    if at == "line":
        seat.write("no")
        seat.press(CATEGORY, "\r")
        seat.press(SURE, "y")
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert (record(lab, "esc_first")["status"] == "resolved") == (at == "line")
    assert holders(lab) == {}


def test_nothing_is_preselected(lab: Lab, alice: Path) -> None:
    """EU AI Act 14(4): no outcome comes about by Enter, by another key, or without a reason and a yes."""
    seat = Seat("review", cwd=alice)
    for key in ("\r", "x", "\x1b[A", "ay", " ", "1", "a"):
        seat.press(KEYS, key)
    seat.write("")
    seat.press(KEYS, "a")
    seat.write("fin\x1b[De")
    assert r"that contains control characters: fin\x1b[De" in seat.press(KEYS, "a")
    seat.write("\udcff")
    seat.press(KEYS, "d")
    seat.write("fine")
    seat.press(CATEGORY, "x")
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "\r")
    seat.press(SURE, "n")
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert seat.plain.splitlines()[-1] == "0 handled"
    assert lab.commits("resolve") == []
    assert holders(lab) == {}


def test_a_note_becomes_part_of_what_is_shown(lab: Lab, alice: Path) -> None:
    seat = Seat("review", cwd=alice)
    seat.press(KEYS, "n")
    seat.write("I have asked the owner")
    assert "I have asked the owner" in decide(seat, "a").split("noted on esc_first in commit ")[1]
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    reviewed = record(lab, "esc_first")
    shown = kt("get", "--id", "esc_first", "--json", cwd=lab.folder / "look").json["shown"]
    assert reviewed["reviews"][0]["shown"] == shown
    assert reviewed["notes"][0]["by"] == "alice@example.com"


def test_what_is_decided_is_what_was_shown(lab: Lab, alice: Path) -> None:
    seat = Seat("review", cwd=alice)
    seat.press(KEYS, "a")
    assert kt("note", "--id", "esc_first", "--text", "Wait!", cwd=lab.clone("bob")).code == 0
    seat.write("fine")
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "y")
    again = seat.press(KEYS, "q")
    assert "esc_first has changed since it was shown; here it is again" in again
    assert "Wait!" in again
    assert seat.ended() == 0
    assert lab.commits("resolve") == []
    assert holders(lab) == {}


def test_what_one_holds_comes_first_and_stays_held(lab: Lab, alice: Path) -> None:
    assert kt("claim", "--id", "esc_later", cwd=alice).code == 0
    seat = Seat("review", cwd=alice)
    assert "esc_later" in seat.press(KEYS, "s")
    assert "esc_later stays yours" in seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert holders(lab) == {"esc_later": "alice@example.com"}
    seat = Seat("review", cwd=alice)
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert holders(lab) == {"esc_later": "alice@example.com"}
    seat = Seat("review", cwd=alice)
    decide(seat, "a")
    assert "esc_first" in seat.press(KEYS, INTERRUPT)
    assert seat.ended() == 130
    assert holders(lab) == {}


def test_a_team_is_all_that_is_offered(lab: Lab, alice: Path) -> None:
    for team in ("legal", "tax"):
        lab.put({"policies/settings.yaml": f"default_route: {{team_id: {team}}}\n"})
        put(lab, {"request_id": team})
    assert kt("claim", "--id", "esc_tax", cwd=alice).code == 0
    seat = Seat("review", "--team", "legal", cwd=alice)
    assert "esc_legal" in decide(seat, "d")
    assert seat.ended() == 0
    assert "1 handled; nothing waits for team legal" in seat.rest


def test_a_record_cannot_act_on_the_terminal(lab: Lab, alice: Path) -> None:
    hostile = "\x1b[2J\u202e[bold]x[/]"
    context = {"excerpt": hostile, hostile: "\r\x85", "scores": {hostile: hostile}}
    put(lab, {"request_id": "zero", "severity": "critical", "agent_id": hostile, "event_context": context})
    assert kt("claim", "--id", "esc_zero", cwd=alice).code == 0
    seat = Seat("review", cwd=alice)
    assert r"\x1b[2J\u202e[bold]x[/]" in seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert not re.search(r"\x1b(?!\[[0-9;]*m)|\u202e|\x85", seat.raw)


# --- with a roster ----------------------------------------------------------------------------------


@pytest.fixture
def court(tmp_path: Path) -> Lab:
    """A store with a roster; `esc_two` needs two people, `esc_one` one."""
    lab = Lab(tmp_path)
    lab.put({"policies/roster.yaml": ROSTER, "policies/settings.yaml": SETTINGS})
    put(lab, {"request_id": "two", "severity": "critical"}, {"request_id": "one", "severity": "low"})
    lab.clone("look", email="eve@example.com")
    lab.clone("alice")
    return lab


def test_a_first_review_goes_back_to_the_queue_for_somebody_else(court: Lab) -> None:
    seat = Seat("review", cwd=court.folder / "alice")
    assert re.search(r"missing +2 of 2 approvals, from alice, bob", decide(seat, "a"))
    shown = seat.press(KEYS, "q")
    assert "it needs another reviewer" in shown
    assert "esc_one" in shown
    assert seat.ended() == 0
    assert holders(court) == {}
    assert record(court, "esc_two")["status"] == "queued"
    seat = Seat("review", cwd=court.clone("bob"))
    assert "1 of 2 approvals (1 approved so far), from bob" in decide(seat, "a")
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert record(court, "esc_two")["resolution"]["outcome"] == "approved"


def test_handing_on_names_who_there_is_and_a_slip_changes_nothing(court: Lab) -> None:
    alice = court.folder / "alice"
    seat = Seat("review", cwd=alice)
    seat.press(KEYS, "s")
    seat.press(KEYS, "h")
    assert "To whom? (team legal, team security, or one of alice, bob, carol; empty = cancel)" in seat.write(
        "bop"
    )
    # It is checked at once, and asked again.
    assert "you cannot hand it to 'bop'; did you mean bob?" in seat.write("team bob")
    assert "you cannot hand it to 'team bob'" in seat.write("")
    seat.press(KEYS, "h")
    seat.write("security")
    seat.write("theirs")
    assert "Hand esc_one on to team security?" in seat.press(SURE, "n")
    seat.press(KEYS, "h")
    seat.write("team security")
    assert 'Enter = "theirs"' in seat.write("")
    seat.press(SURE, "y")
    assert seat.ended() == 0
    assert "handed esc_one on in commit" in seat.rest
    handed = record(court, "esc_one")
    assert handed["route"]["team_id"] == "security"
    assert handed["notes"][0]["text"] == "theirs"
    assert holders(court) == {}


def test_without_a_roster_an_address_is_a_user_and_a_word_a_team(lab: Lab, alice: Path) -> None:
    seat = Seat("review", cwd=alice)
    for whom in ("bob@example.com", "{id}"):
        seat.press(KEYS, "h")
        seat.write(whom)
        seat.write("theirs")
        seat.press(SURE, "y")
    assert seat.ended() == 0
    assert record(lab, "esc_later")["route"]["team_id"] == "{id}"
    assert holders(lab) == {"esc_first": "bob@example.com"}


def test_who_may_not_review_is_told_so(court: Lab) -> None:
    seat = Seat("review", cwd=court.clone("carol"))
    assert seat.ended() == 7
    assert "none of the 2 waiting is for you" in seat.rest


# --- however it ends --------------------------------------------------------------------------------

#: How to come to each question of a session.
QUESTIONS: dict[str, Callable[[Seat], object]] = {
    "the keys": lambda seat: seat.press(KEYS, ""),
    "the reason": lambda seat: (seat.press(KEYS, "a"), seat.until("\n> ")),
    "the category": lambda seat: (seat.press(KEYS, "a"), seat.write("fine"), seat.press(CATEGORY, "")),
    "the confirmation": lambda seat: (
        seat.press(KEYS, "a"),
        seat.write("fine"),
        seat.press(CATEGORY, "\r"),
        seat.press(SURE, ""),
    ),
    "the note": lambda seat: (seat.press(KEYS, "n"), seat.until("\n> ")),
    "to whom": lambda seat: (seat.press(KEYS, "h"), seat.until("\n> ")),
    "why to them": lambda seat: (seat.press(KEYS, "h"), seat.write("legal"), seat.until("\n> ")),
    "the handing on": lambda seat: (
        seat.press(KEYS, "h"),
        seat.write("legal"),
        seat.write("theirs"),
        seat.press(SURE, ""),
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_interrupt_at_any_question_leaves_nothing_claimed(lab: Lab, alice: Path, question: str) -> None:
    seat = Seat("review", cwd=alice)
    QUESTIONS[question](seat)
    if question != "the keys":
        # The first one only goes back.
        seat.type(INTERRUPT)
        assert "^C once more ends the session" in seat.press(KEYS, "")
    seat.type(INTERRUPT)
    assert seat.ended() == 130
    assert seat.rest.splitlines()[-2:] == [
        "esc_first is back in the queue",
        "kt: interrupted; 0 handled; no claim of this session is left",
    ]
    assert holders(lab) == {}
    assert len(lab.commits("unclaim")) == 1


@pytest.mark.parametrize(
    ("how", "question"),
    [
        ("hang up", "the keys"),
        ("hang up", "the reason"),
        ("SIGTERM", "the keys"),
        ("SIGHUP", "the reason"),
        ("end of input", "the keys"),
        ("end of input", "the reason"),
    ],
)
def test_a_terminal_that_goes_away_leaves_nothing_claimed(
    lab: Lab, alice: Path, question: str, how: str
) -> None:
    seat = Seat("review", cwd=alice)
    QUESTIONS[question](seat)
    if how == "hang up":
        seat.hang_up()
    else:
        if how == "end of input":
            seat.type(END)
        else:
            seat.kill(signal.Signals[how])
        assert seat.ended() == 130
    assert holders(lab) == {}
    assert len(lab.commits("unclaim")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_does_not_stop_the_giving_back(lab: Lab, alice: Path, number: signal.Signals) -> None:
    seat = Seat("review", cwd=alice)
    seat.press(KEYS, "")
    lab.hook("pre-receive", "sleep 1")
    for _ in range(4):
        seat.kill(number)
        time.sleep(0.2)
    assert seat.ended() == 130
    assert holders(lab) == {}


def test_an_impatient_interrupt_while_giving_back_says_how(lab: Lab, alice: Path) -> None:
    seat = Seat("review", cwd=alice)
    seat.press(KEYS, "")
    lab.hook("pre-receive", f"touch {lab.folder}/asked; sleep 30")
    seat.type("q")
    while not (lab.folder / "asked").exists():
        time.sleep(0.01)
    seat.type(INTERRUPT)
    assert seat.ended() == 9
    [command] = re.findall(r"give it back with `(kt escalation unclaim [^`]+)`", seat.rest)
    (lab.remote / "hooks/pre-receive").unlink()
    kt(*command.split()[2:], cwd=alice)
    assert holders(lab) == {}


def test_an_interrupt_while_a_claim_is_on_its_way_leaves_nothing_claimed(lab: Lab, alice: Path) -> None:
    lab.hook("pre-receive", f"touch {lab.folder}/asked; sleep 1")
    seat = Seat("review", cwd=alice)
    while not (lab.folder / "asked").exists():
        time.sleep(0.01)
    seat.type(INTERRUPT)
    assert seat.ended() == 130
    assert holders(lab) == {}
    assert len(lab.commits("claim esc_first")) == 2


def test_an_interrupt_in_the_editor_is_the_editors(lab: Lab, alice: Path, tmp_path: Path) -> None:
    script = (
        f"trap 'echo trapped' INT\ntouch {tmp_path}/open\nwhile [ -e {tmp_path}/open ]; do sleep 0.05; done\n"
    )
    seat = Seat("review", cwd=alice, env=editor(tmp_path, script + WRITES))
    seat.press(KEYS, "d")
    seat.write("e")
    while not (tmp_path / "open").exists():
        time.sleep(0.01)
    seat.type(INTERRUPT)
    seat.until("trapped")
    (tmp_path / "open").unlink()
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "y")
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert record(lab, "esc_first")["resolution"]["reason"].startswith("No.\n")


@pytest.mark.parametrize("script", ["true", "exit 3", "printf '\\377' >\"$1\"", ': >"$1"'])
def test_an_editor_that_gives_nothing_goes_back(lab: Lab, alice: Path, tmp_path: Path, script: str) -> None:
    seat = Seat("review", cwd=alice, env=editor(tmp_path, script))
    seat.press(KEYS, "d")
    seat.write("e")
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert lab.commits("resolve") == []
    assert holders(lab) == {}


# --- others, and the remote -------------------------------------------------------------------------


def test_two_reviewers_at_once_never_see_the_same(lab: Lab, alice: Path) -> None:
    put(lab, *({"request_id": name} for name in "abcdef"))
    seats = [Seat("review", cwd=alice), Seat("review", cwd=lab.clone("bob"))]
    seen: list[list[str]] = [[], []]
    for _ in range(3):
        for seat, names in zip(seats, seen, strict=True):
            [name] = re.findall(r"^(esc_\w+)  \w+  claimed$", decide(seat, "a"), re.MULTILINE)
            names.append(name)
    last = [re.findall(r"^(esc_\w+)  \w+  claimed$", seat.press(KEYS, ""), re.MULTILINE) for seat in seats]
    all_seen = [*seen[0], *seen[1], *last[0], *last[1]]
    assert len(all_seen) == len(set(all_seen)) == 8
    assert sorted(holders(lab).values()) == ["alice@example.com", "bob@example.com"]
    for seat in seats:
        seat.type("q")
    assert [seat.ended() for seat in seats] == [0, 0]
    assert holders(lab) == {}


def lapsing(lab: Lab) -> None:
    """Leases that end at once."""
    lab.put({"policies/settings.yaml": "claims: {lease: 1s, clock_tolerance: 0s}\n"})


def test_a_lease_that_has_ended_is_claimed_again_where_nobody_has(lab: Lab, alice: Path) -> None:
    lapsing(lab)
    seat = Seat("review", cwd=alice)
    assert re.search(r"lease +until \d\d:\d\d \([01]s", seat.press(KEYS, "a"))
    time.sleep(1.2)
    assert kt("sweep", cwd=lab.clone("bob")).code == 0
    seat.write("fine")
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "y")
    assert "your lease ended at " in seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert record(lab, "esc_first")["resolution"]["outcome"] == "approved"
    assert len(lab.commits("claim esc_first")) == 2
    assert holders(lab) == {}


def test_what_somebody_else_has_claimed_meanwhile_is_theirs(lab: Lab, alice: Path) -> None:
    lapsing(lab)
    seat = Seat("review", cwd=alice)
    seat.press(KEYS, "a")
    time.sleep(1.2)
    lab.put({"policies/settings.yaml": "claims: {lease: 1h}\n"})
    assert kt("unclaim", "--id", "esc_first", "--force", "--reason", "gone", cwd=lab.clone("bob")).code == 0
    assert kt("claim", "--id", "esc_first", cwd=lab.folder / "bob").code == 0
    seat.write("fine")
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "y")
    shown = seat.press(KEYS, "q")
    assert "esc_first is held by bob@example.com since " in shown
    assert "esc_later  low  claimed" in shown
    assert seat.ended() == 0
    assert holders(lab) == {"esc_first": "bob@example.com"}


def test_a_lost_remote_is_said_and_the_way_to_give_back(lab: Lab, alice: Path) -> None:
    seat = Seat("review", "--retry-timeout", "5s", cwd=alice)
    seat.press(KEYS, "a")
    lab.remote.rename(lab.folder / "away")
    seat.write("fine")
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "y")
    assert "the remote origin could not be reached" in seat.press(KEYS, "q")
    assert seat.ended() == 4
    [command] = re.findall(r"give it back with `(kt escalation unclaim [^`]+)`", seat.rest)
    (lab.folder / "away").rename(lab.remote)
    assert holders(lab) == {"esc_first": "alice@example.com"}
    assert kt(*command.split()[2:], cwd=alice).code == 0
    assert holders(lab) == {}


def test_a_remote_that_comes_back_takes_the_decision(lab: Lab, alice: Path) -> None:
    seat = Seat("review", "--retry-timeout", "5s", cwd=alice)
    seat.press(KEYS, "")
    lab.remote.rename(lab.folder / "away")
    seat.type("d")
    seat.write("no")
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "y")
    seat.until("could not be reached")
    (lab.folder / "away").rename(lab.remote)
    decide(seat, "d", "no")
    assert "resolved esc_first as denied" in seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert holders(lab) == {}


def test_without_a_terminal_it_is_bad_usage(lab: Lab, alice: Path) -> None:
    ran = kt("review", cwd=alice)
    assert ran.code == 2
    assert ran.out == ""
    assert lab.commits("claim") == []
    assert re.fullmatch(r"kt: review needs a terminal; scripts take one with .*claim --next.*\n", ran.err)


# --- what is typed, and where one is ----------------------------------------------------------------


def test_what_it_is_about_stands_beside_the_question(lab: Lab, alice: Path) -> None:
    put(
        lab,
        {
            "request_id": "long",
            "severity": "critical",
            "summary": "Attachment " * 18,
            "event_context": {"excerpt": "words\n" * 60},
            "created_at": "2026-01-01T00:00:00.000Z",
        },
    )
    seat = Seat("review", cwd=alice, columns=60)
    last = seat.press(KEYS, "s").splitlines()
    [line] = [line for line in last[-4:] if line.startswith("esc_long critical  Attachment")]
    assert line.endswith("…  [1 of 3]")
    assert len(line) <= 60
    shown = seat.press(KEYS, "v")
    assert "esc_first critical  The first  [2 of 3]" in shown
    # No digest or id of a claim is between the summary and the question; the pager has them.
    assert "shown" not in shown
    assert "claim id" not in shown
    whole = seat.press(KEYS, "q")
    assert re.search(r"shown +[0-9a-f]{20}", whole)
    assert "claim id" in whole
    assert seat.ended() == 0
    assert holders(lab) == {}


def test_the_pager_gets_the_whole_page(lab: Lab, alice: Path, tmp_path: Path) -> None:
    script = tmp_path / "pager"
    script.write_text(f"#!/bin/sh\ncat > {tmp_path}/paged\n")
    script.chmod(0o755)
    seat = Seat("review", cwd=alice, env={"PAGER": str(script)})
    seat.press(KEYS, "v")
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    paged = (tmp_path / "paged").read_text()
    assert "esc_first" in paged
    assert "claim id" in paged
    assert "The first" in paged


def test_a_typed_reason_is_offered_again_until_it_is_used(lab: Lab, alice: Path) -> None:
    seat = Seat("review", "--retry-timeout", "5s", cwd=alice)
    seat.press(KEYS, "a")
    seat.write("It took me long to write this")
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "n")
    seat.press(KEYS, "a")
    lab.remote.rename(lab.folder / "away")
    assert 'Enter = "It took me long to write this", ^C = cancel' in seat.write("")
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "y")
    seat.until("could not be reached")
    (lab.folder / "away").rename(lab.remote)
    # Another outcome has the same default, and the question names what is decided.
    seat.press(KEYS, "d")
    assert 'Why denied? (one line; e opens your editor, Enter = "It took me long' in seat.write("")
    seat.press(CATEGORY, "\r")
    assert "Resolve esc_first as denied?" in seat.press(SURE, "y")
    seat.press(KEYS, "a")
    assert "empty = cancel" in seat.write(""), "nothing of it is left for the next one"
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert record(lab, "esc_first")["resolution"]["reason"] == "It took me long to write this"


def test_a_typed_reason_outlives_a_claim_that_is_gone(lab: Lab, alice: Path) -> None:
    assert kt("claim", "esc_later", cwd=alice).code == 0
    seat = Seat("review", cwd=alice)
    seat.press(KEYS, "d")
    seat.write("by policy 7")
    assert kt("unclaim", "esc_later", cwd=alice).code == 0
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "y")
    assert "esc_later is not claimed" in seat.press(KEYS, "s")
    seat.press(KEYS, "d")
    assert 'Enter = "by policy 7"' in seat.write("")
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "y")
    seat.ended()
    assert record(lab, "esc_later")["resolution"]["reason"] == "by policy 7"


def test_waiting_for_the_next_one_rings_the_bell(lab: Lab, alice: Path) -> None:
    seat = Seat("review", "--wait", cwd=alice)
    seat.press(KEYS, "s")
    seat.press(KEYS, "s")
    seat.until("waiting for the next one (q quits)")
    assert "\a" not in seat.raw
    put(lab, {"request_id": "new", "summary": "A new one"})
    assert "esc_new" in decide(seat, "a")
    assert "\a" in seat.raw
    seat.until("waiting for the next one (q quits)")
    lab.remote.rename(lab.folder / "away")
    seat.until("trying again")
    (lab.folder / "away").rename(lab.remote)
    seat.type("q")
    assert seat.ended() == 0
    assert seat.rest.splitlines()[-1] == "1 handled, 2 skipped"
    assert holders(lab) == {}


def test_with_branch_a_claim_and_a_decision_are_one_request(lab: Lab, alice: Path) -> None:
    seat = Seat("review", "--branch", cwd=alice)
    assert "esc_first critical  The first  [1 of 2]" in seat.press(KEYS, "n")
    seat.write("Asked legal")
    seat.press(KEYS, "a")
    seat.write("fine")
    seat.press(CATEGORY, "\r")
    seat.press(SURE, "y")
    assert "proposed to resolve esc_first as approved on branch kt/" in seat.press(KEYS, "s")
    assert seat.ended() == 0, seat.rest
    refs = git("for-each-ref", "--format=%(refname:short)", cwd=lab.remote).split()
    assert len(refs) == 2
    assert lab.commits("claim") == []
    assert holders(lab) == {}
    # What is proposed is not offered again.
    seat = Seat("review", "--branch", cwd=alice)
    assert "esc_later" in seat.press(KEYS, "q")
    assert seat.ended() == 0


# --- amendments -----------------------------------------------------------------------------------


def proposes(lab: Lab) -> None:
    """Raise one that says what will be run, and may be amended; it comes before the others."""
    schema = {"type": "object", "properties": {"amount": {"type": "integer", "maximum": 100}}}
    action = {"kind": "tool.call", "name": "refund", "digest": "sha256:" + "0" * 64, "edit_schema": schema}
    put(
        lab,
        {
            "request_id": "refund",
            "severity": "critical",
            "created_at": "2026-01-01T00:00:00.000Z",
            "action": action,
            "event_context": {"input": {"amount": 100}},
        },
    )


def test_what_is_proposed_is_amended_in_an_editor_and_the_difference_is_shown(
    lab: Lab, alice: Path, tmp_path: Path
) -> None:
    proposes(lab)
    # The first version does not fit, the second does.
    script = 'if grep -q 100 "$1"; then sed -i s/100/500/ "$1"; else sed -i s/500/90/ "$1"; fi'
    seat = Seat("review", cwd=alice, env=editor(tmp_path, script))
    seat.press(KEYS, "w")
    seat.write("only the shipping")
    shown = seat.press("c cancel: ", "e")
    assert "/amount: 500 is greater than the maximum of 100" in shown
    shown = seat.press(CATEGORY, "\r")
    assert re.search(r'-  "amount": 100\s+\+  "amount": 90', shown)
    seat.press(SURE, "y")
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    [review] = record(lab, "esc_refund")["reviews"]
    assert review["amendment"]["value"] == {"amount": 90}
    assert review["outcome"] == "rewritten"
    assert holders(lab) == {}


def test_an_amendment_that_is_cancelled_decides_nothing(lab: Lab, alice: Path, tmp_path: Path) -> None:
    proposes(lab)
    seat = Seat("review", cwd=alice, env=editor(tmp_path, ': > "$1"'))
    seat.press(KEYS, "r")
    seat.write("less")
    seat.press(KEYS, "q")
    assert seat.ended() == 0
    assert "reviews" not in record(lab, "esc_refund")
    assert holders(lab) == {}
