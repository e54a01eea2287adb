"""Telling reviewers: which events `watch` tells to whom, as messages for chats, and before a deadline."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from typing import Any

import pytest
from forge import ROSTER
from hypothesis import given
from hypothesis import strategies as st
from lab import Lab, Ran, git, kt
from pages import as_printed

from kt_escalation import Event, Store
from kt_escalation.model.event import HAPPENINGS
from kt_escalation.model.record import Claim
from kt_escalation.reporting import chat, delivery

SETTINGS = """\
default_route: {route}
claims: {{lease: 4h}}
rules:
  - match: {{severity: critical}}
    resolve_within: 10m
  - match: {{severity: low}}
    resolve_within: 7d
"""
HOSTILE = (
    "<!channel> <@U123> @here #general :smile: *b* _i_ [x](https://evil.example) www.evil.example\n\u202e&lt;"
)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A store with three escalations: `esc_hot` of security, `esc_mid` of legal, `esc_cold` of Bob's."""
    lab = Lab(tmp_path_factory.mktemp("telling"))
    lab.put({"policies/roster.yaml": ROSTER})
    gateway = lab.clone("gw")
    for name, severity, route in (
        ("hot", "critical", "{team_id: security}"),
        ("mid", "medium", "{team_id: legal}"),
        ("cold", "low", "{user_id: bob}"),
    ):
        lab.put({"policies/settings.yaml": SETTINGS.format(route=route)})
        args = (
            "--request-id",
            name,
            "--reason-code",
            "a.b",
            "--severity",
            severity,
            "--summary",
            HOSTILE[:60],
        )
        assert kt("raise", *args, cwd=gateway).code == 0
    alice = lab.clone("alice")
    assert kt("claim", "--id", "esc_mid", cwd=alice).code == 0
    assert kt("unclaim", "--id", "esc_mid", cwd=alice).code == 0
    lab.clone("bob")
    return lab


@pytest.fixture
def alice(office: Lab) -> Path:
    return office.folder / "alice"


def watch(cwd: Path, *args: str) -> Ran:
    return kt("watch", "--once", "--since", "36500d", *args, cwd=cwd)


def told(cwd: Path, *args: str) -> list[tuple[str, str]]:
    ran = watch(cwd, "--json", *args)
    assert ran.code == 0, ran.err
    events = [json.loads(line) for line in ran.out.splitlines()]
    return [(event["action"], event["escalation_id"]) for event in events]


HOT, MID, COLD = ("raise", "esc_hot"), ("raise", "esc_mid"), ("raise", "esc_cold")
HELD = [("claim", "esc_mid"), ("unclaim", "esc_mid")]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("--team security", [HOT]),
        ("--team security --team legal --action raise", [HOT, MID]),
        ("--user BOB", [COLD]),
        ("--user alice", HELD),
        ("--mine", HELD),
        ("--severity low --severity critical", [HOT, COLD]),
        ("--action raise --severity medium", [MID]),
        ("--action due", []),
    ],
)
def test_filters_leave_out_what_is_not_wanted(
    alice: Path, args: str, expected: list[tuple[str, str]]
) -> None:
    assert told(alice, *args.split()) == expected


def test_a_filter_with_a_word_that_nothing_has_is_refused(alice: Path) -> None:
    for args in (("--action", "approve"), ("--severity", "urgent"), ("--format", "irc")):
        assert watch(alice, *args).code == 2


def test_the_cursor_moves_past_what_was_left_out(office: Lab, alice: Path, tmp_path: Path) -> None:
    file = tmp_path / "seen"
    assert told(alice, "--severity", "critical", "--cursor", str(file)) == [HOT]
    tip = git("rev-parse", "origin/main", cwd=alice)
    assert file.read_text().startswith(tip)
    # Nothing is left for whoever goes on without a filter.
    assert told(alice, "--cursor", str(file)) == []


def test_what_cannot_be_read_passes_the_filters(office: Lab, tmp_path: Path) -> None:
    lab = office.copy(tmp_path)
    lab.put({"queue/esc_torn.yaml": "- no record\n"})
    assert told(lab.folder / "alice", "--team", "security", "--severity", "critical")[1:] == [
        ("unreadable", "esc_torn")
    ]
    assert told(lab.folder / "alice", "--team", "security", "--action", "raise") == [HOT]


# --- before a deadline ------------------------------------------------------------------------------


def test_what_will_be_overdue_is_told_once_also_after_a_restart(
    office: Lab, alice: Path, tmp_path: Path
) -> None:
    due = ("due", "esc_hot")
    assert told(alice, "--due", "15m", "--action", "due") == [due]
    cursor = ("--due", "15m", "--cursor", str(tmp_path / "seen"))
    assert told(alice, *cursor).count(due) == 1
    assert told(alice, *cursor) == [], "and not again"
    assert told(alice, "--due", "8d", *cursor[2:]) == [("due", "esc_cold")]
    # A notice moves no cursor and, with the same id, can be told from an event.
    ran = watch(alice, "--json", "--due", "15m", "--action", "due")
    [event] = [json.loads(line) for line in ran.out.splitlines()]
    assert event["id"].startswith("due/esc_hot/")
    assert event["text"].startswith("it must be decided by 2")
    assert event["deadline"] == event["text"].split()[-1]
    assert event["status"] == "queued"


def test_a_lease_that_ends_is_told_to_who_holds_it(office: Lab, tmp_path: Path) -> None:
    lab = office.copy(tmp_path)
    alice = lab.folder / "alice"
    assert kt("claim", "--id", "esc_mid", cwd=alice).code == 0
    wanted = ("--due", "5h", "--mine", "--action", "due")
    assert told(alice, *wanted) == [("due", "esc_mid")]
    assert "the lease of alice ends at" in watch(alice, *wanted).out
    assert told(lab.folder / "bob", *wanted) == [("due", "esc_cold")]
    assert told(alice, "--due", "3h", "--mine", "--action", "due") == []


def test_a_notice_that_could_not_be_told_is_told_at_the_next_start(alice: Path, tmp_path: Path) -> None:
    args = ("--due", "15m", "--action", "due", "--retries", "0", "--cursor", str(tmp_path / "seen"))
    assert watch(alice, *args, "--exec", "false").code == 8
    assert told(alice, *args) == [("due", "esc_hot")]


def test_a_file_of_notices_that_is_none_is_refused(alice: Path, tmp_path: Path) -> None:
    (tmp_path / "seen.due").write_bytes(b"\xff\n")
    ran = watch(alice, "--cursor", str(tmp_path / "seen"), "--due", "1m")
    assert ran.code == 2
    assert "is not a list of notices" in ran.err


def test_the_package_tells_notices_once_in_a_run(office: Lab, alice: Path) -> None:
    with Store.open(alice) as store:
        found = list(store.watch(timeout=0.3, interval=0.05, due=timedelta(minutes=15)))
        assert [(event.action, event.escalation_id) for event in found] == [("due", "esc_hot")]
        again = list(store.watch(once=True, due=timedelta(minutes=15), told={found[0].id}))
        assert again == []


# --- to a chat --------------------------------------------------------------------------------------


@contextmanager
def chat_server() -> Iterator[tuple[str, list[tuple[dict[str, str], dict[str, Any]]]]]:
    """A web server on loopback that takes messages, as a chat does; its address and what it took."""
    taken: list[tuple[dict[str, str], dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            text = body.decode()
            taken.append((dict(self.headers), json.loads(text) if text.startswith("{") else {"text": text}))
            self.send_response(200 if len(taken) > 1 else 429)
            self.send_header("Retry-After", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = TCPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/services/hidden", taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("form", ["slack", "teams"])
def test_a_chat_gets_each_message_without_a_signature_and_its_address_stays_hidden(
    alice: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.01)
    with chat_server() as (url, taken):
        (tmp_path / "address").write_text(f"{url}\n")
        args = ("--format", form, "--webhook-file", str(tmp_path / "address"), "--action", "raise")
        ran = watch(alice, *args)
        assert ran.code == 0
        assert "answered 429" in ran.err
        assert "hidden" not in ran.err
    assert len(taken) == 4, "three, and one again"
    headers, _ = taken[-1]
    assert headers["Content-Type"] == "application/json"
    assert "webhook-signature" not in headers
    printed = watch(alice, "--format", form, "--action", "raise")
    assert [json.loads(line) for line in printed.out.splitlines()] == [body for _, body in taken[1:]]
    assert "kt escalation get esc_hot" in printed.out.splitlines()[0]


def test_an_address_is_given_in_one_way_only(alice: Path, tmp_path: Path) -> None:
    for args in (
        ("--webhook", "http://a/", "--webhook-file", "f"),
        ("--webhook-file", str(tmp_path / "none")),
    ):
        assert watch(alice, "--format", "slack", *args).code == 2
    (tmp_path / "empty").write_text("")
    assert watch(alice, "--format", "slack", "--webhook-file", str(tmp_path / "empty")).code == 2


def test_a_message_links_to_the_pull_request_that_this_clone_knows(office: Lab, tmp_path: Path) -> None:
    lab = office.copy(tmp_path)
    alice = lab.folder / "alice"
    assert kt("claim", "--id", "esc_hot", "--branch", cwd=lab.clone("carol")).code in (0, 3)
    assert kt("claim", "--id", "esc_mid", "--branch", cwd=alice).code == 0
    git("fetch", "--quiet", "origin", cwd=alice)
    # The address of pushes alone names a forge, so that the rest needs none.
    git("config", "remote.origin.pushurl", "git@github.com:acme/review.git", cwd=alice)
    page = "https://github.com/acme/review/compare/main...kt/claim/esc_mid?expand=1"
    slack = watch(alice, "--format", "slack", "--action", "unclaim")
    assert f"<{page}|Open the pull request>" in slack.out
    teams = json.loads(watch(alice, "--format", "teams", "--action", "unclaim").out)
    [action] = teams["attachments"][0]["content"]["actions"]
    assert (action["type"], action["url"]) == ("Action.OpenUrl", page)
    assert (
        "actions"
        not in json.loads(watch(alice, "--format", "teams", "--severity", "low").out)["attachments"][0][
            "content"
        ]
    )


def test_the_recipes_of_the_page_run_as_printed(office: Lab, tmp_path: Path) -> None:
    lab = office.copy(tmp_path)
    alice = lab.folder / "alice"
    told_by = alice / "told"
    for program in ("mail", "notify-send"):
        (alice / program).write_text(f'#!/bin/sh\necho "{program} $@" >> told; cat >> told\n')
        (alice / program).chmod(0o755)
    with chat_server() as (url, taken):
        taken.append(({}, {}))
        as_printed(
            "telling.md",
            alice,
            replace={
                "--format": "--once --format",
                "--cursor": "--since 7d --cursor",
                "/var/lib/kt": str(tmp_path),
                '"mail"': '"./mail"',
                '"notify-send"': '"./notify-send"',
                **dict.fromkeys(
                    (
                        "https://hooks.slack.com/services/T000/B000/XXXX",
                        "https://example.webhook.office.com/workflows/XXXX",
                        "https://ntfy.example.com/legal",
                        "https://events.pagerduty.com/v2/enqueue",
                    ),
                    url,
                ),
            },
        )
    lines = told_by.read_text().splitlines()
    assert "mail -s critical esc_hot: raise legal@example.com" in lines
    assert "See it with: kt escalation get esc_cold" in lines
    assert "notify-send --app-name=kt --urgency=normal kt unclaim esc_mid" in lines
    bodies = [body for _, body in taken[1:]]
    assert sum("blocks" in body for body in bodies) >= 3
    assert sum("attachments" in body for body in bodies) >= 3
    assert {body["event_action"] for body in bodies if "routing_key" in body} == {"trigger"}


TEXT = st.one_of(
    st.text(max_size=40), st.sampled_from([HOSTILE, "x" * 20_000, "\u2060@here", "`code`", "|>"])
)
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
BASE = Event(
    *("c" * 40, NOW, "A", "a@x", "esc__x_-_", 0, "note", "a@x", None, "hi", "claimed", "high", "a.b", "r"),
    *("legal", None, "c" * 40),
    claim=Claim(claimed_by="alice", claimed_at=NOW, claim_id="01"),
)


@given(
    action=st.sampled_from(HAPPENINGS),
    actor=TEXT,
    text=TEXT,
    summary=TEXT,
    team_id=TEXT,
    reason_code=TEXT,
    deadline=st.sampled_from([None, NOW]),
)
def test_no_word_of_a_record_makes_a_mention_a_link_or_markup(action: str, **fields: Any) -> None:
    event = replace(BASE, action=action, **fields)
    slack = chat.message(event, "slack", None)
    assert slack["mrkdwn"] is False
    assert slack["text"].startswith("high esc__x_-_ ")
    marked = [t for t in every(slack["blocks"]) if t.get("type") == "mrkdwn"]
    plain = [t for t in every(slack["blocks"]) if t.get("type") == "plain_text"]
    # What has markup has our own words and the id in quotes only, the same whatever the record says.
    allowed = r"(high `esc__x_-_` [a-z ,]+|(ends <!date\^\d+\^\{date_short_pretty\} \{time\}\|[-\d :]+UTC>  ·  )?`kt escalation get esc__x_-_`)"
    assert len(marked) == 2
    assert all(re.fullmatch(allowed, t["text"]) and t["verbatim"] for t in marked)
    assert len(plain) <= 1
    assert all(t["emoji"] is False and 0 < len(t["text"]) <= 3000 for t in plain)
    teams = chat.message(event, "teams", None)
    body = teams["attachments"][0]["content"]["body"]
    blocks = [t for t in every(body) if t.get("type") == "TextBlock"]
    assert all(
        re.fullmatch(r"ends \{\{DATE\([-\dTZ:]+,SHORT\)\}\} \{\{TIME\([-\dTZ:]+\)\}\}", t["text"])
        for t in blocks
    )
    assert len(json.dumps(slack)) < 20_000
    assert len(json.dumps(teams)) < 25_000
    assert {t.get("type") for t in every(body)} <= {"TextBlock", "RichTextBlock", "TextRun"}
    for said in [t["text"] for t in plain] + [t["text"] for t in every(body) if t.get("type") == "TextRun"][
        1:-1
    ]:
        live = re.sub(r"^[a-z ]+: ", "", said, flags=re.MULTILINE)
        assert not re.search(r"[@#:/.<&](?=[^\s\u2060])", live), said


def every(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a JSON value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from every(item)


def test_a_message_tells_what_a_reviewer_needs() -> None:
    event = replace(BASE, summary="Refund above the limit", text="Please look", escalation_id="esc_r1")
    slack = chat.message(event, "slack", None)
    assert slack["text"] == "high esc_r1 has a new note"
    assert slack["blocks"][1]["text"]["text"].splitlines() == [
        "what: Refund above the limit",
        "why: a.\u2060b",
        "for: team legal",
        "held by: alice",
        "by: a@\u2060x",
        "says: Please look",
    ]
    due = chat.message(replace(event, action="due", deadline=NOW), "slack", None)
    assert due["text"] == "high esc_r1 is due soon"
    assert "2026-11-23 10:00 UTC" in json.dumps(due)
