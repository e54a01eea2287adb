"""What a reviewer does at a desk: pages and forms over real loopback, and the record at the remote's tip."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
from counts import examples
from desks import Served, desk
from forge import ROSTER, SETTINGS
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import Lab, git, kt, kt_policy, path_to_git
from office import HIDDEN, HOSTILE
from pages import as_printed

from kt_escalation import Store
from kt_escalation.errors import Interrupted
from kt_escalation.model import digests
from kt_escalation.model.times import moments_in
from kt_escalation.reporting import limits
from kt_escalation.web.app import create
from kt_escalation.web.desk import Desk, QueuePage
from kt_escalation.web.figures import FiguresCache
from kt_escalation.web.live import Live
from kt_escalation.web.pages import marked
from kt_escalation.web.plain import sentence
from kt_escalation.web.security import Keys

SLOW_PUSH = 'case " $* " in *" push "*) sleep 3 ;; esac\ngit "$@"'
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
INPUT = {"to": "everyone@example.com", "subject": "Offer", "body": "Dear all,\nhere it is."}
ACTION = {
    "kind": "tool.call",
    "name": "send_mail",
    "digest": digests.of_action("tool.call", "send_mail", INPUT),
    "edit_schema": {
        "type": "object",
        "required": ["to"],
        "properties": {"to": {"type": "string", "maxLength": 80}},
    },
}


def put(lab: Lab, *records: dict[str, Any]) -> None:
    """Raise escalations, in one commit."""
    gateway = lab.folder / "gw"
    gateway = gateway if gateway.exists() else lab.clone("gw")
    lines = "\n".join(json.dumps({"reason_code": "oversight.required", **keys}) for keys in records)
    ran = kt("raise", "--batch", "-", cwd=gateway, stdin=lines.encode())
    assert ran.code == 0, ran.err


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("desk"))
    reasons = f"{SETTINGS}reasons:\n  false_positive: ['Known sender', 'Known <b>list</b>']\n"
    lab.put({"policies/roster.yaml": ROSTER, "policies/settings.yaml": reasons}, "people")
    lab.clone("look")
    return lab


@pytest.fixture(scope="module")
def alice(place: Lab) -> Iterator[Served]:
    with desk(place.clone("alice"), "--retry-timeout", "3") as it:
        yield it


def record(lab: Lab, name: str) -> dict[str, Any]:
    """A record as it is at the remote's tip."""
    found: dict[str, Any] = kt(
        "get", "--fetch", "--id", name, "--json", "--include-context", cwd=lab.folder / "look"
    ).json
    return found["escalation"]


def fetch(served: Served) -> None:
    """Let the desk know what is new, as an open page does."""
    git("fetch", "--quiet", "origin", cwd=served.clone)


def raised(lab: Lab, served: Served, name: str, **keys: Any) -> str:
    put(lab, {"request_id": name, **keys})
    fetch(served)
    return f"e/esc_{name}"


def kt_json(served: Served, name: str) -> dict[str, Any]:
    """A record as the command line has it in the same clone."""
    found: dict[str, Any] = kt("get", "--id", f"esc_{name}", "--json", cwd=served.clone).json
    return found["escalation"]


def titles(page: str) -> list[str]:
    """The titles of a list, from the top."""
    return re.findall(r'<a class="title"[^>]*>([^<]*)</a>', page)


def decision(served: Served, at: str, **typed: str) -> dict[str, str]:
    """The fields of a decision as the escalation's page has them."""
    return {"shown": served.shown(at.removeprefix("e/")), **typed}


# --- looking ----------------------------------------------------------------------------------------


def test_the_queue_is_what_list_shows(place: Lab, alice: Served) -> None:
    raised(place, alice, "q-low", severity="low", summary="The low one")
    raised(place, alice, "q-high", severity="critical", summary="The critical one")
    raised(place, alice, "q-other", severity="high", summary="For security", model="m-1", policy="p-1")
    listed = kt("list", "--claimable", "--json", cwd=alice.clone).json["escalations"]
    shown = alice.get().text
    assert titles(shown) == [item.get("summary", item["reason_code"]) for item in listed]
    assert titles(alice.get("?view=all&q=LOW").text) == ["The low one"]
    assert titles(alice.get("?view=mine").text) == []
    assert "You hold nothing" in alice.get("?view=mine").words
    assert "Nothing is overdue" in alice.get("?view=overdue").words
    assert "no words" not in alice.get("?q=nosuch").words
    assert titles(alice.get("?q=nosuch").text) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("?cursor=x", "is not a cursor"),
        ("?view=nosuch", "there is no view 'nosuch'"),
        ("?veiw=mine", "takes no 'veiw'"),
        ("?q=a&q=b", "q stands twice"),
        ("decided?q=a", "takes no 'q'"),
        ("e/esc_q-low?x", "takes no 'x'"),
    ],
)
def test_an_address_that_no_page_has_is_refused_in_one_line(alice: Served, path: str, said: str) -> None:
    answer = alice.get(path)
    assert answer.status == 400
    assert said.lower() in answer.words.lower()


def test_the_figures_of_the_state_page_come_after_the_page(place: Lab, alice: Served) -> None:
    put(place, {"request_id": "figures"})
    fetch(alice)
    first = alice.get("state")
    assert "The history is being read" in first.words
    assert "Outcomes" not in first.words
    assert f"{len(titles(alice.get('?view=all').text))} open" in re.sub(
        r"open (\d+)", r"\1 open", first.words
    )
    figures = alice.get("state/figures")
    assert "data-part" in figures.text
    assert "Raised and resolved by" in figures.words
    # They are read once for a commit.
    assert "data-part" in alice.get("state").text
    put(place, {"request_id": "more-figures"})
    fetch(alice)
    assert "data-part" not in alice.get("state").text


def test_an_escalation_shows_what_get_shows(place: Lab, alice: Served) -> None:
    at = raised(
        place,
        alice,
        "facts",
        summary="Facts",
        agent_id="mailer",
        model="m-9",
        labels={"case": "L-77"},
        event_context={
            "policy_results": [
                {"policy_kind": "human-oversight", "verdict": "escalate", "reason_code": "x.y"}
            ],
            "excerpt": "Please send it\nto all",
            "scores": {"risk": 0.75},
            "input": INPUT,
        },
        action=ACTION,
    )
    page = alice.get(at).words
    told = kt("get", "--id", "esc_facts", "--include-context", cwd=alice.clone).out
    for fact in (
        "mailer",
        "m-9",
        "case = L-77",
        "human-oversight",
        "0.75",
        "Please send it",
        "send_mail",
        "everyone@",
    ):
        assert fact in page
        assert fact in told
    digest = ACTION["digest"]
    assert digest in page
    assert digest in told
    # What it may become is told as people read it, and as it is written where programs' facts are folded away.
    limit = "to: text, at most 80 characters (required)"
    assert limit in page
    assert limit in told
    assert "maxLength" in json.dumps(kt_json(alice, "facts"))
    readable, _, technical = alice.get(at).text.partition("technical")
    assert "maxLength" not in readable
    assert "maxLength" in technical
    for outcome in ("Releases the request", "Nothing is released", "Releases what you make of it"):
        assert outcome in page
    assert "raise by gw" in alice.get(f"{at}/history").words
    # Nothing is chosen beforehand, and what only programs need is folded away.
    assert "checked" not in alice.get(at).text
    assert " open>" not in alice.get(at).text
    folded = re.search(r"<details class=.technical.>.*?</details>", alice.get(at).text, re.S)
    assert folded
    assert "esc_facts.yaml" in folded[0]


def test_what_is_not_there_says_so(place: Lab, alice: Served) -> None:
    at = raised(place, alice, "there")
    assert alice.get("e/esc_nowhere").status == 404
    assert "no escalation" in alice.get("e/esc_nowhere").words
    assert alice.post("e/esc_nowhere/claim").headers["x-kt-error"] == "not_found"
    assert alice.get("nothing").status == 404
    unknown = alice.post(f"{at}/nosuch")
    assert unknown.status == 404
    assert "no such action" in unknown.words


def test_figures_that_are_being_read_do_not_hold_up_the_end_of_a_desk(place: Lab) -> None:
    look = place.folder / "look"
    figures = FiguresCache(str(look))
    figures.close()
    with pytest.raises(Interrupted):
        figures.read(git("rev-parse", "HEAD", cwd=look))


def test_a_bug_is_a_page_that_says_so_and_the_terminal_has_the_rest(place: Lab) -> None:
    class Broken(Desk):
        """A desk that fails in a way that nobody has thought of."""

        def queue(self, *_: object) -> QueuePage:
            raise ZeroDivisionError

    keys, told, sent = Keys(), list[str](), list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"host", b"127.0.0.1:1"), (b"cookie", keys.cookie().partition(";")[0].encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"{keys.room}/",
        "query_string": b"",
        "headers": headers,
    }
    with Store.open(place.folder / "look") as store:
        app = create(Broken(store, FiguresCache(".")), Live(store.cursor), keys, "127.0.0.1:1", told.append)
        with pytest.raises(ZeroDivisionError):
            asyncio.run(app({**scope, "root_path": "", "raw_path": b"/"}, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    assert b"This is a bug in kt" in sent[1]["body"]
    assert "ZeroDivisionError" in told[0]


# --- doing ------------------------------------------------------------------------------------------


def test_a_decision_needs_a_reason_and_one_confirmation_that_names_it(place: Lab, alice: Served) -> None:
    at = raised(place, alice, "decide", severity="high", summary="Decide me")
    claimed = alice.post(f"{at}/claim")
    assert claimed.status == 200
    assert "You hold it now" in claimed.words
    assert record(place, "esc_decide")["claim"]["claimed_by"] == "alice"
    for typed, said in (
        ({"outcome": "approved"}, "needs a reason"),
        ({"outcome": "approved", "reason": " \r\n"}, "needs a reason"),
        ({"reason": "because"}, "Choose an outcome"),
        ({"outcome": "expired", "reason": "because"}, "Only the sweep"),
        ({"outcome": "aprove", "reason": "because"}, "is not an outcome; use one of"),
    ):
        answer = alice.post(f"{at}/decide", decision(alice, at, **typed))
        assert said in answer.words
        assert typed.get("reason", "").strip() in answer.text
    # Any word for an outcome will do.
    typed = decision(alice, at, outcome="Approve", reason="It is fine\r\nreally", category="false_positive")
    asked = alice.post(f"{at}/decide", typed)
    assert "Approve this?" in asked.words
    assert "esc_decide" in asked.words
    assert "Decide me" in asked.words
    assert "It is fine\nreally" in asked.text
    assert record(place, "esc_decide")["status"] == "claimed"
    back = alice.post(f"{at}/decide", {**typed, "step": "back"})
    assert "It is fine" in back.text
    assert 'value="approved" id="outcome-approved" data-key="a" checked' in back.text
    done = alice.post(f"{at}/decide", {**typed, "step": "sure"})
    assert "It is decided" in done.words
    found = record(place, "esc_decide")
    assert found["resolution"]["outcome"] == "approved"
    assert found["resolution"]["reason"] == "It is fine\nreally"
    assert found["reviews"][0]["shown"] == typed["shown"]
    assert found["resolution"]["category"] == "false_positive"
    mine = alice.get("decided").words
    assert "Decide me" in mine
    assert "It is fine" in mine
    kt("note", "--id", "esc_q-low", "--text", "Only a note", cwd=alice.clone)
    assert "Only a note" not in alice.get("decided").words


def test_next_leads_to_the_one_that_claim_next_gives(place: Lab, alice: Served) -> None:
    raised(place, alice, "urgent", severity="critical", summary="Urgent")
    first = kt("list", "--claimable", "--json", "--limit", "1", cwd=alice.clone).json["escalations"][0][
        "escalation_id"
    ]
    answer = alice.post("next")
    assert answer.status == 303
    assert answer.headers["location"] == f"{alice.room}e/{first}"
    assert record(place, first)["claim"]["claimed_by"] == "alice"
    given = alice.post(f"e/{first}/unclaim")
    assert "back in the queue" in given.words
    assert record(place, first)["status"] == "queued"


def test_a_note_a_longer_lease_and_a_hand_on(place: Lab, alice: Served) -> None:
    at = raised(place, alice, "handing", summary="Handing")
    noted = alice.post(f"{at}/note", {"note": "Ask the sender", "reason": "half a reason"})
    assert "note is on record" in noted.words
    assert "Ask the sender" in noted.words
    assert record(place, "esc_handing")["notes"][0]["text"] == "Ask the sender"
    alice.post(f"{at}/claim")
    before = record(place, "esc_handing")["claim"]["expires_at"]
    alice.post(f"{at}/renew")
    assert record(place, "esc_handing")["claim"]["expires_at"] > before
    for typed in ({"why": "yours"}, {"why": "yours", "whom": "nobody"}, {"whom": "team:security"}):
        answer = alice.post(f"{at}/assign", typed)
        assert 'role="alert"' in answer.text
        assert typed.get("why", "") in answer.text
    assert "handed it on" in alice.post(f"{at}/assign", {"whom": "team:security", "why": "yours"}).words
    assert record(place, "esc_handing")["route"]["team_id"] == "security"


def test_an_amendment_is_edited_and_its_difference_is_shown_before_it_counts(
    place: Lab, alice: Served
) -> None:
    at = raised(place, alice, "amend", summary="Mail", event_context={"input": INPUT}, action=ACTION)
    alice.post(f"{at}/claim")
    page = alice.get(at).text
    assert page.count("everyone@example.com") >= 3
    assert 'name="amendment"' in page
    typed = decision(alice, at, outcome="rewritten", reason="To one person")
    for amendment, said in (
        ('{"to": 7}', "/to"),
        ("{}", "required"),
        ('"just text"', "does not fit"),
        ('{"to": "x",', "is not JSON"),
    ):
        answer = alice.post(f"{at}/decide", {**typed, "amendment": amendment})
        assert said in answer.words
        assert "To one person" in answer.text
        assert "alert" in answer.text
    value = {**INPUT, "to": "one@example.com"}
    text = json.dumps(value, indent=2).replace("\n", "\r\n")
    asked = alice.post(f"{at}/decide", {**typed, "amendment": text})
    assert "<del>-  &#34;to&#34;: &#34;everyone@example.com&#34;</del>" in asked.text
    assert "<ins>+  &#34;to&#34;: &#34;one@example.com&#34;</ins>" in asked.text
    assert "<del>-  &#34;body" not in asked.text
    alice.post(f"{at}/decide", {**typed, "amendment": text, "step": "sure"})
    review = record(place, "esc_amend")["reviews"][0]
    assert review["amendment"]["value"] == value
    assert review["outcome"] == "rewritten"
    fetch(alice)
    assert "How it was amended" in alice.get(at).words
    assert "one@example.com" in alice.get(at).text
    assert "What each outcome does" not in alice.get(at).words


def test_a_proposal_that_the_record_does_not_hold_is_called_so(place: Lab, alice: Served) -> None:
    at = raised(place, alice, "unseen", summary="A refund", action=ACTION)
    alice.post(f"{at}/claim")
    assert "The escalation does not hold it" in alice.get(at).words


@pytest.mark.parametrize(
    ("schema", "lines"),
    [
        ({}, ["anything"]),
        ({"type": "string", "minLength": 1}, ["text, at least 1 character"]),
        (
            {
                "type": "object",
                "required": ["order", "other"],
                "additionalProperties": False,
                "properties": {
                    "order": {"const": "A-1"},
                    "sum": {"type": ["number", "null"], "minimum": 0, "maximum": 9.5},
                    "to whom": {"type": "array", "items": {"enum": ["a", 1]}, "maxItems": 3},
                    "cc": False,
                },
            },
            [
                "these fields",
                '  order: exactly "A-1" (required)',
                "  sum: a number or null, 0 to 9.5",
                '  "to whom": a list, at most 3 items',
                '    each item: one of "a", 1',
                "  cc: nothing: it has to be left out",
                "  other: anything (required)",
                "  no other field",
            ],
        ),
        (
            {"anyOf": [{"type": "boolean"}, {"additionalProperties": {"type": "integer"}}]},
            [
                "anything that fits this",
                "  either: true or false",
                "  or: anything that fits this",
                "    each other field: a whole number",
            ],
        ),
    ],
)
def test_what_an_amendment_may_become_is_spelled_out(schema: dict[str, Any], lines: list[str]) -> None:
    assert limits.spelled(schema).split("\n") == lines


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("held since 2026-03-04T12:00:00.000Z, not now", ("held since ", NOON, ", not now")),
        ("2026-03-04T12:00:00.000Z", (NOON,)),
        # What no store writes stays: another form, no such day, a part of a name.
        *(
            (text, (text,))
            for text in ("2026-03-04T12:00:00Z", "2026-02-30T12:00:00.000Z", "x2026-03-04T12:00:00.000Z")
        ),
        ("", ()),
    ],
)
def test_times_in_a_message_are_found(message: str, parts: tuple[Any, ...]) -> None:
    assert moments_in(message) == parts


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a decision needs a reason", "A decision needs a reason."),
        ("esc_a is gone..", "esc_a is gone."),
        ("", "."),
    ],
)
def test_a_message_reads_as_one_sentence(message: str, shown: str) -> None:
    assert sentence(message) == shown


def test_reasons_of_the_settings_are_offered_by_category(place: Lab, alice: Served) -> None:
    at = raised(place, alice, "reasons")
    alice.post(f"{at}/claim")
    page = alice.get(at).text
    assert '<optgroup label="false positive">' in page
    assert ">Known sender</option>" in page
    assert "Known &lt;b&gt;list&lt;/b&gt;" in page
    assert "<b>list" not in page
    alice.post(f"{at}/unclaim")


def test_reasons_of_another_category_are_a_fault(place: Lab) -> None:
    clone = place.clone("lint")
    text = "reasons:\n  false_positive: [Fine]\n  fals_positive: [Fine]\n  other: ['']\n"
    (clone / "policies/settings.yaml").write_text(text)
    ran = kt_policy("lint", cwd=clone)
    assert ran.code == 1, ran
    assert "settings.yaml:3" in ran.out, ran
    assert "settings.yaml:4" in ran.out, ran
    schema = kt_policy("schema", "settings", cwd=clone).json["properties"]["reasons"]
    assert schema["propertyNames"]["enum"][0] == "false_positive"


def test_alike_ones_are_claimed_in_one_commit_and_decided_in_one(place: Lab, alice: Served) -> None:
    same = {"policy": "pii", "model": "m-2", "reason_code": "pii.detected"}
    names = [f"alike-{number}" for number in range(3)]
    put(place, *({"request_id": name, "summary": f"Alike {name}", **same} for name in names))
    put(place, {"request_id": "unlike", **same, "model": "m-3"})
    fetch(alice)
    assert "3 alike" in alice.get("?q=pii").words
    page = alice.get("e/esc_alike-0/alike").text
    assert "esc_alike-2" in page
    assert "esc_unlike" not in page
    before = len(place.commits("kt: "))
    chosen = ["esc_alike-0", "esc_alike-1"]
    held = alice.post("e/esc_alike-0/alike/claim", {"id": chosen}).text
    digests = dict(re.findall(r'name="shown.(esc_[a-z0-9-]+)" value="([0-9a-f]{64})"', held))
    assert set(digests) == set(chosen)
    assert len(place.commits("kt: ")) == before + 1
    fields = {"id": chosen, **{f"shown.{name}": digest for name, digest in digests.items()}}
    typed = {"outcome": "denied", "reason": "Names a patient"}
    at = "e/esc_alike-0/alike/decide"
    assert "needs a reason" in alice.post(at, {**fields, "outcome": "denied"}).words
    assert "Choose at least one" in alice.post(at, typed).words
    assert "one by one" in alice.post(at, {**fields, **typed, "outcome": "redacted"}).words
    asked = alice.post(at, {**fields, **typed})
    assert "Deny 2?" in asked.words
    assert all(name in asked.words for name in chosen)
    # Somebody adds a note to one of them meanwhile: none is decided on what was not shown.
    assert (
        kt(
            "note", "--id", chosen[0], "--text", "Wait", cwd=place.clone("bob-notes", email="bob@example.com")
        ).code
        == 0
    )
    refused = alice.post(at, {**fields, **typed, "step": "sure"})
    assert "Names a patient" in refused.text
    assert 'role="alert"' in refused.text
    assert record(place, chosen[1])["status"] == "claimed"
    fetch(alice)
    again = alice.get("e/esc_alike-0/alike").text
    digests = dict(re.findall(r'name="shown.(esc_[a-z0-9-]+)" value="([0-9a-f]{64})"', again))
    fields = {"id": chosen, **{f"shown.{name}": digest for name, digest in digests.items()}}
    before = len(place.commits("kt: "))
    assert "2 are decided" in alice.post(at, {**fields, **typed, "step": "sure"}).words
    assert len(place.commits("kt: ")) == before + 1
    for name in chosen:
        found = record(place, name)
        assert found["resolution"]["outcome"] == "denied"
        assert found["reviews"][0]["shown"] == digests[name]


# --- what goes wrong --------------------------------------------------------------------------------


def test_a_lost_race_is_told_in_place_and_loses_nothing(place: Lab, alice: Served) -> None:
    at = raised(place, alice, "race", summary="Race")
    bob = place.clone("bob")
    assert kt("claim", "--id", "esc_race", cwd=bob).code == 0
    answer = alice.post(f"{at}/claim", {"note": "what I wanted to note"})
    assert answer.headers["x-kt-error"] == "already_claimed"
    assert "bob" in answer.words
    assert "what I wanted to note" in answer.text
    assert 'role="alert"' in answer.text
    # For a person: since when, in their own time, and the exact time only behind it.
    assert re.search(r"since \d+ \w+, \d\d:\d\d", answer.words)
    assert not re.search(r"\d\dZ", answer.words)


def test_what_changed_meanwhile_is_not_decided(place: Lab, alice: Served) -> None:
    at = raised(place, alice, "changed", summary="Changed")
    alice.post(f"{at}/claim")
    typed = decision(alice, at, outcome="approved", reason="As I saw it")
    assert (
        kt(
            "note",
            "--id",
            "esc_changed",
            "--text",
            "Look again",
            cwd=place.clone("watcher", email="bob@example.com"),
        ).code
        == 0
    )
    answer = alice.post(f"{at}/decide", {**typed, "step": "sure"})
    assert "has changed since it was shown" in answer.words
    assert "As I saw it" in answer.text
    assert "Look again" in answer.text
    assert record(place, "esc_changed")["status"] == "claimed"
    # What it shows now may be decided.
    shown = re.search(r'name="shown" value="([0-9a-f]{64})"', answer.text)
    assert shown
    assert shown[1] != typed["shown"]
    alice.post(f"{at}/decide", {**typed, "shown": shown[1], "step": "sure"})
    assert record(place, "esc_changed")["resolution"]["outcome"] == "approved"


def test_two_tabs_are_one_reviewer(place: Lab, alice: Served) -> None:
    at = raised(place, alice, "tabs", summary="Tabs")
    alice.post(f"{at}/claim")
    typed = decision(alice, at, outcome="denied", reason="No")
    assert "You hold it now" in alice.post(f"{at}/claim").words or "claim" in alice.post(f"{at}/claim").words
    alice.post(f"{at}/decide", {**typed, "step": "sure"})
    other = alice.post(f"{at}/decide", {**typed, "outcome": "approved", "reason": "Yes", "step": "sure"})
    assert "What you typed" in other.words
    assert "Yes" in other.text
    assert "denied" in other.words


def test_while_the_remote_is_away_everything_typed_is_kept(place: Lab, alice: Served) -> None:
    at = raised(place, alice, "away", summary="Away")
    alice.post(f"{at}/claim")
    typed = decision(alice, at, outcome="denied", reason="A long and careful reason", category="other")
    gone = place.remote.with_name("gone.git")
    place.remote.rename(gone)
    try:
        for step in ("", "sure"):
            answer = alice.post(f"{at}/decide", {**typed, "step": step})
            assert "A long and careful reason" in answer.text
            assert 'role="alert"' in answer.text
            alert, _, rest = answer.text.partition('role="alert"')[2].partition("What git says")
            assert "The remote cannot be reached" in alert
            assert "fatal:" not in alert
            assert str(place.remote) in rest
            assert 'value="other" selected' in answer.text
            assert "Nothing that you typed is lost" in answer.words
        assert alice.get(at).status == 200
    finally:
        gone.rename(place.remote)
    assert "It is decided" in alice.post(f"{at}/decide", {**typed, "step": "sure"}).words


class Elements(HTMLParser):
    """The elements of a page, each with its attributes, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    @staticmethod
    def of(text: str) -> list[tuple[str, dict[str, str | None]]]:
        reader = Elements()
        reader.feed(text)
        return reader.found


def test_no_text_makes_an_element(place: Lab, alice: Served) -> None:
    def told(text: str) -> dict[str, Any]:
        words = f"{text}\n{HIDDEN}"
        return {
            "request_id": f"hostile-{HOSTILE.index(text)}",
            "summary": text[:200],
            "agent_id": text,
            "model": text,
            "policy": text,
            "labels": {text[:100]: text},
            "event_context": {
                text[:100]: words,
                "excerpt": words,
                "policy_results": [{"verdict": text, "x": text}],
            },
        }

    put(place, *map(told, HOSTILE))
    fetch(alice)
    pages = [alice.get("?view=all&q=hostile")]
    for number, text in enumerate(HOSTILE):
        at = f"e/esc_hostile-{number}"
        typed = {"note": text, "reason": f"{text}\n{HIDDEN}", "whom": text, "why": text}
        pages += [alice.get(at), alice.get(f"{at}/alike"), alice.post(f"{at}/assign", typed)]
    pages.append(alice.get(f"?view=all&q={quote(HOSTILE[4])}"))
    # What it becomes, and what it may become, are texts of strangers as well.
    amendment = "\n".join([*HOSTILE, HIDDEN])
    names = {"properties": {text[:90]: {"const": text} for text in HOSTILE}, "required": ["<b>"]}
    schema = {"anyOf": [{"type": "string"}, names]}
    at = raised(place, alice, "hostile-last", action={**ACTION, "name": "<b>x", "edit_schema": schema})
    alice.post(f"{at}/claim")
    typed = decision(alice, at, outcome="rewritten", reason=HOSTILE[0], amendment=amendment)
    pages += [
        alice.get(at),
        *(alice.post(f"{at}/decide", {**typed, "step": step}) for step in ("", "back", "sure")),
    ]
    assert "Rewrite this?" in pages[-3].words
    assert "It is decided" in pages[-1].words
    fetch(alice)
    assert "amended to" in alice.get(at).words
    pages += [alice.get(at), alice.get(f"{at}/history"), alice.get("decided")]
    for page in pages:
        assert page.status == 200
        for name, attributes in Elements.of(page.text):
            assert name not in ("img", "svg", "iframe", "style", "base", "object", "embed"), name
            assert not any(key.startswith("on") or key == "style" for key in attributes)
            assert re.fullmatch(r"[a-z -]*", attributes.get("class") or ""), attributes
            for key in ("href", "src", "action"):
                assert (attributes.get(key) or "/")[0] in "/#", attributes
        assert len(re.findall(r"<script", page.text)) == 1
        marked = re.sub(r"<bdi[^>]*>.</bdi>|<textarea.*?</textarea>", "", page.text, flags=re.S)
        assert "\u202e" not in marked
        assert "\x1b" not in marked


@given(st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from([*HOSTILE, HIDDEN]))
@settings(max_examples=examples(200))
def test_any_text_is_only_text_and_can_be_copied(text: str) -> None:
    class Reader(HTMLParser):
        """What a browser makes of it: its elements, and its text."""

        def __init__(self) -> None:
            super().__init__(convert_charrefs=True)
            self.names: set[str] = set()
            self.said = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.names.add(tag)
            given = dict(attrs)
            assert set(given) <= {"class", "data-seen", "data-point"}
            self.said += chr(int(given["data-point"], 16)) if given["data-point"] else ""

        def handle_data(self, data: str) -> None:
            self.said += data

    reader = Reader()
    reader.feed(str(marked(text)))
    reader.close()
    assert reader.names <= {"bdi"}
    assert reader.said == text


# --- the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_with_its_terminal_and_gives_back_what_it_claimed(place: Lab, number: signal.Signals) -> None:
    name = f"end-{int(number)}"
    clone = place.clone(name, email="bob@example.com")
    put(
        place,
        *({"request_id": f"{name}-{part}", "severity": "critical"} for part in ("held", "mine", "done")),
    )
    # What was held before stays.
    assert kt("claim", "--id", f"esc_{name}-mine", cwd=clone).code == 0
    with desk(clone) as it:
        for part in ("held", "done"):
            assert "You hold it now" in it.post(f"e/esc_{name}-{part}/claim").words
        at = f"e/esc_{name}-done"
        it.post(f"{at}/decide", decision(it, at, outcome="denied", reason="No", step="sure"))
        code, said = it.end(number)
    assert code == 0
    assert f"esc_{name}-held is back in the queue" in said
    assert "mine" not in said
    assert record(place, f"esc_{name}-held")["status"] == "queued"
    assert record(place, f"esc_{name}-mine")["claim"]["claimed_by"] == "bob"
    assert record(place, f"esc_{name}-done")["resolution"]["outcome"] == "denied"


def test_a_claim_that_is_under_way_is_waited_for_and_given_back(place: Lab, tmp_path: Path) -> None:
    clone = place.clone("hasty", email="bob@example.com")
    put(place, {"request_id": "hasty"})
    path = path_to_git(tmp_path, SLOW_PUSH)
    with desk(clone, env={"PATH": path}) as it:
        fetch(it)
        before = len(place.commits("kt: "))
        sent = Thread(target=lambda: it.post("e/esc_hasty/claim"))
        sent.start()
        time.sleep(1)
        code, said = it.end(signal.SIGTERM)
        sent.join()
    assert (code, record(place, "esc_hasty")["status"]) == (0, "queued"), said
    assert len(place.commits("kt: ")) == before + 2
    assert "esc_hasty is back in the queue" in said


def test_what_cannot_be_given_back_is_named_with_the_command(place: Lab) -> None:
    clone = place.clone("stranded", email="bob@example.com")
    put(place, {"request_id": "stranded"})
    with desk(clone, "--retry-timeout", "2") as it:
        fetch(it)
        assert "You hold it now" in it.post("e/esc_stranded/claim").words
        gone = place.remote.with_name("away.git")
        place.remote.rename(gone)
        code, said = it.end()
        gone.rename(place.remote)
    assert code == 4
    assert "kt escalation unclaim esc_stranded --claim-id" in said
    command = re.search(r"kt (escalation unclaim esc_stranded --claim-id \w+)", said)
    assert command
    assert kt(*command[1].split()[1:], cwd=clone).code == 0


def test_the_address_is_opened_in_the_users_browser(place: Lab, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/asked\n')
    browser.chmod(0o755)
    with desk(place.folder / "look", opens=True, enter=False, env={"BROWSER": f"{browser} %s"}) as it:
        deadline = time.monotonic() + 30
        while not (tmp_path / "asked").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (tmp_path / "asked").read_text() == it.address


def test_the_history_that_desks_wrote_is_legal(place: Lab) -> None:
    look = place.folder / "look"
    git("fetch", "--quiet", cwd=look)
    git("merge", "--quiet", "--ff-only", "origin/main", cwd=look)
    judged = kt("verify", cwd=look)
    assert judged.code == 0, judged.out


INTERRUPTED = """\
import signal, subprocess, sys
desk = subprocess.Popen([sys.executable, "-m", "kt_escalation", "escalation", "web", "--no-open"], stdout=-1, text=True)
print(desk.stdout.readline(), end="")
desk.send_signal(signal.SIGINT)
sys.exit(desk.wait())
"""


def test_the_commands_of_the_page_run_as_printed(place: Lab, tmp_path: Path) -> None:
    # Nobody presses ^C at what runs the page.
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    run = f"{sys.executable} {tmp_path}/interrupted.py"
    told = as_printed(
        "desk.md", place.folder / "look", replace={"kt escalation web": run, "pip ": "echo pip "}
    )
    assert "http://127.0.0.1:" in "".join(told)
