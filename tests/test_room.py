"""Room for deciding: what may fill a record, that it can be decided and swept; whose an id is; when it is due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from forge import Forge, identity
from governed import GOVERNED, critical, put, raised
from lab import Lab, git, kt
from sample_policies import FOUR_EYES, NOW, policies, record

from kt_escalation.errors import BadInput
from kt_escalation.model import canonical, ids
from kt_escalation.model.record import Draft, Fallback, Note, Record
from kt_escalation.model.vocabulary import MAX_BYTES, MAX_NOTED, MAX_OPEN, MAX_RAISED, MAX_TEXT
from kt_escalation.policies.decision_event import Raisable
from kt_escalation.rules import creation, due_actions, judge_step, size_limits, transitions
from kt_escalation.rules.permissions import Actor, actor

ULID = f"esc_{'0' * 26}"
RULES = policies("reviewer", rules=[])


def who(name: str, after: int = 0) -> Actor:
    return actor(f"{name}@example.com", NOW + timedelta(seconds=after), RULES)


def size(made: Record) -> int:
    return len(canonical.dumps(made).encode())


def filled(to: int, made: Record | None = None) -> Record:
    """A record with notes that make it just so many bytes large."""
    made = made or record(route={"team_id": "security"}, requires=record().requires)
    while (left := to - size(made)) > 0:
        text = "x" * max(1, min(left - 200, MAX_TEXT))
        made = made.replace(notes=(*made.notes, Note(by="boss", at=NOW - timedelta(hours=1), text=text)))
        if to < size(made) or left < 400:
            *notes, last = made.notes
            made = made.replace(notes=(*notes, last.replace(text=last.text + "x" * (to - size(made)))))
    assert size(made) == to
    return made


def draft(to: int) -> Raisable:
    """A draft whose record is just so many bytes large."""
    given = {"reason_code": "a.b", "request_id": "r", "event_context": {"excerpt": "x"}}
    small = creation.raise_(Raisable(Draft.of(given), frozenset(given)), "esc_r", who("gw"), "c")
    # A long text is a block: more by its head and its indent, and less by its quotes.
    given["event_context"] = {"excerpt": "x" * 200}
    long = creation.raise_(Raisable(Draft.of(given), frozenset(given)), "esc_r", who("gw"), "c")
    given["event_context"] = {"excerpt": "x" * (200 + to - size(long))}
    assert size(small) < size(long)
    return Raisable(Draft.of(given), frozenset(given))


def test_a_draft_of_192_kib_is_raised_and_not_a_byte_more() -> None:
    made = creation.raise_(draft(MAX_RAISED), "esc_r", who("gw"), "c")
    assert size(made) == MAX_RAISED
    with pytest.raises(
        BadInput, match="esc_r would be 196609 bytes, more than the 192 KiB of what is raised"
    ):
        creation.raise_(draft(MAX_RAISED + 1), "esc_r", who("gw"), "c")


# What adds a text to a record that stays open: by whom, of which record, and up to where.
STEPS: dict[str, tuple[str, Callable[[Record, Actor, str], Record], Callable[[int], Record], int]] = {
    "a note by who is of another team": ("me", transitions.note, filled, MAX_NOTED),
    "a note by an admin": ("boss", transitions.note, filled, MAX_NOTED),
    "a note by who may decide it": ("other", transitions.note, filled, MAX_OPEN),
    "handing it on": (
        "boss",
        lambda made, me, text: transitions.assign(made, me, Fallback(team_id="elsewhere"), text, "c"),
        filled, MAX_OPEN,
    ),
    "giving it back by force": (
        "boss",
        lambda made, me, text: transitions.unclaim(made, me, force_reason=text),
        lambda to: filled(to, record("held by another")), MAX_OPEN,
    ),
    "a first review of two": (
        "other",
        lambda made, me, text: transitions.resolve(made, me, "approved", text),
        lambda to: filled(to, record("held by another", requires=FOUR_EYES)), MAX_OPEN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_leaves_it_open_leaves_room_and_the_judge_says_the_same(name: str) -> None:
    actor, step, make, most = STEPS[name]
    before, me = make(most - 3_000), who(actor)
    text = "y" * 2_000
    text += "y" * (most - size(step(before, me, text)))
    full, told = step(before, me, text), judge_step.StepContext(f"{actor}@example.com", NOW, RULES)
    assert size(full) == most
    assert judge_step.judge(before, full, told) == ()
    with pytest.raises(BadInput, match=rf"would be {most + 1} bytes, more than the {most // 1024} KiB of"):
        step(before, me, f"{text}y")
    forged = _with_text(full, text, f"{text}y")
    assert size(forged) == most + 1
    [violation] = judge_step.judge(before, forged, told)
    assert violation.rule == "bad_input"
    assert f"{most + 1} bytes" in violation.expected


def _with_text(made: Record, old: str, new: str) -> Record:
    notes = tuple(n.replace(text=new) if n.text == old else n for n in made.notes)
    reviews = tuple(r.replace(reason=new) if r.reason == old else r for r in made.reviews)
    return made.replace(notes=notes, reviews=reviews)


def test_what_is_full_can_be_claimed_given_back_denied_and_swept() -> None:
    full = filled(MAX_OPEN)
    claimed = transitions.claim(full, who("other"), "c" * 64)
    assert transitions.unclaim(claimed, who("other")).status == "queued"
    assert size_limits.require_fit(transitions.renew(claimed, who("other", 60)))
    denied = transitions.resolve(claimed, who("other"), "denied", "z" * 3_000)
    assert MAX_OPEN + 6_000 < size(size_limits.require_fit(denied)) <= MAX_BYTES
    approved = transitions.resolve(claimed, who("other"), "approved", "fine", category="other")
    assert size_limits.require_fit(approved).status == "resolved"
    with pytest.raises(BadInput, match="more than the 256 KiB of a record; make it shorter"):
        size_limits.require_fit(transitions.resolve(claimed, who("other"), "denied", "z" * 5_000))
    late = full.replace(requires=full.requires.replace(resolve_within=timedelta(minutes=1)))
    [due] = due_actions.due([late], who("boss"), "c")
    assert size_limits.require_fit(due.after).resolution


def test_what_is_reopened_leaves_room_as_well() -> None:
    made = creation.raise_(draft(MAX_RAISED), "esc_r", who("gw"), "c")
    held = transitions.claim(made.replace(route=record().route), who("other"), "c")
    done = transitions.resolve(held, who("other"), "denied", "no")
    again = creation.reopen(done, who("other"), "x" * 16_000, ULID)
    assert MAX_RAISED < size(again) <= MAX_NOTED
    with pytest.raises(BadInput, match="more than the 224 KiB of what is reopened"):
        # Each of these characters takes ten in a record.
        creation.reopen(done, who("other"), "\U000e0001" * 4_000, ULID)


def test_another_team_cannot_fill_a_record_up_and_its_own_can_decide_it(lab: Lab) -> None:
    lab.put(GOVERNED)
    name = raised(lab, "one")
    carol, alice = lab.clone("carol"), lab.clone("alice")
    for number in range(20):
        ran = kt("note", "--id", name, "--text", f"{number} {'x' * 16_000}", "--json", cwd=carol)
        if ran.code:
            break
    assert ran.code == 2
    assert ran.error["code"] == "bad_input"
    assert "more than the 224 KiB of notes of those who may not decide it; make it shorter" in ran.err
    assert kt("note", "--id", name, "--text", "asked legal", cwd=alice).code == 0
    assert kt("claim", "--id", name, cwd=alice).code == 0
    ran = kt("resolve", "--id", name, "--outcome", "denied", "--reason", "x" * 9_000, cwd=alice)
    assert ran.code == 0, ran.err
    assert kt("verify", cwd=alice).code == 0


def test_what_cannot_be_swept_is_told_and_keeps_nothing_else_from_it(lab: Lab) -> None:
    lab.put(GOVERNED)
    large = critical("large", hours=5)
    large += f"event_context:\n  excerpt: {'x' * (MAX_BYTES - 100 - len(large))}\n"
    put(lab, large=large, late=critical("late", hours=5))
    eve = lab.clone("eve")
    for options in (("--dry-run",), ()):
        ran = kt("sweep", "--json", *options, cwd=eve)
        assert ran.code == 0
        assert [due["escalation_id"] for due in ran.json["due"]] == ["esc_late"]
        [failed] = ran.json["failed"]
        assert (failed["id"], failed["code"]) == ("esc_large", "bad_input")
        assert "esc_large was not swept: esc_large would be 26" in ran.err
    assert kt("get", "--id", "esc_late", "--json", cwd=eve).json["escalation"]["status"] == "resolved"
    alone = kt("sweep", cwd=eve)
    assert alone.code == 2, "of which nothing is swept is no success"
    assert "esc_large would be" in alone.err, "of which nothing is swept is no success"


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_id", "plain"),
    [
        ("req_1", True), ("h" + "0" * 39, True), ("h" + "g" * 40, True), ("0" * 25, True), ("8" + "0" * 25, True),
        ("0" * 25 + "i", True), ("h" + "0" * 40, False), ("h" + "0123456789abcdef" * 3, False),
        ("0" * 26, False), ("7zzzzzzzzzzzzzzzzzzzzzzzzz", False), ("REQ", False),
    ],
)  # fmt: skip
def test_the_id_of_a_request_is_neither_a_digest_of_another_nor_a_ulid(request_id: str, plain: bool) -> None:
    name = ids.from_request(request_id)
    assert (name == f"esc_{request_id}") is plain
    assert plain or (name == f"esc_h{name[5:]}" and len(name) == 45)
    assert not ids.is_ulid(name)


@pytest.mark.parametrize(
    ("name", "request_id", "free"),
    [
        (ULID, None, True), ("esc_req_1", None, False), (f"esc_h{'0' * 40}", None, False),
        (f"esc_8{'0' * 25}", None, False), (f"esc_{'0' * 25}u", None, False), ("esc_req_1", "req_1", True),
        ("esc_req_2", "req_1", False), (ULID, "req_1", False), (ULID, "0" * 26, False),
    ],
)  # fmt: skip
def test_nobody_takes_the_id_of_a_request_to_come(name: str, request_id: str | None, free: bool) -> None:
    keys = {"reason_code": "a.b", "request_id": request_id}
    given = {key: value for key, value in keys.items() if value is not None}
    wanted = Raisable(Draft.of({**given, "escalation_id": name}), frozenset(given))
    plain = creation.raise_(Raisable(Draft.of({"reason_code": "a.b"}), frozenset()), ULID, who("gw"), "c")
    born = plain.replace(**given, escalation_id=name)
    judged = judge_step.judge(None, born, judge_step.StepContext("gw@example.com", NOW, RULES))
    if free:
        creation.require_free_id(name, request_id)
        assert creation.escalation_id(wanted, NOW, b"\0" * 10) == name
        assert judged == ()
        return
    with pytest.raises(BadInput, match=r"escalation_id is "):
        creation.escalation_id(wanted, NOW, b"\0" * 10)
    with pytest.raises(BadInput, match=r"escalation_id is "):
        creation.raise_(wanted, name, who("gw"), "c")
    assert [violation.rule for violation in judged] in (["bad_input"], ["invalid_creation"])


def test_what_is_reopened_has_a_ulid() -> None:
    done = record("resolved")
    with pytest.raises(BadInput, match="esc_req_2, which only a request_id makes"):
        creation.reopen(done, who("other"), "wrong", "esc_req_2")
    again = creation.reopen(done, who("other"), "wrong", ULID)
    told = judge_step.StepContext("other@example.com", NOW, RULES, reopened=done)
    assert judge_step.judge(None, again, told) == ()
    [violation] = judge_step.judge(None, again.replace(escalation_id="esc_req_2"), told)
    assert violation.rule == "bad_input"


def test_a_command_and_the_judge_refuse_an_id_that_is_a_requests(forge: Forge) -> None:
    given = b"{reason_code: a.b, escalation_id: esc_req_9}"
    ran = kt("raise", "--file", "-", "--json", cwd=forge.path, stdin=given, env=identity("gw"))
    assert ran.code == 2
    assert "give that, or leave both out" in ran.error["message"]
    forge.as_kt_does("gw", "raise", "--request-id", "req_8", "--reason-code", "a.b")
    text = forge.read("queue/esc_req_8.yaml").replace("request_id: req_8\n", "")
    git("mv", "-f", "queue/esc_req_8.yaml", "queue/esc_req_9.yaml", cwd=forge.path)
    forge.write("queue/esc_req_9.yaml", text.replace("esc_req_8", "esc_req_9"))
    forge.commit("gw")
    ran = kt("verify", "--json", cwd=forge.path)
    assert [found["rule"] for found in ran.json["violations"]] == ["bad_input"]


# --- deadlines ------------------------------------------------------------------------------------


def test_a_deadline_is_due_at_its_very_moment_and_not_before_and_a_lease_only_after_the_tolerance() -> None:
    hours = timedelta(hours=3)
    asked = {"resolve_within": hours, "claim_within": hours, "fallback": Fallback(team_id="elsewhere")}
    tick, tolerance = timedelta(milliseconds=1), RULES.settings.claims.clock_tolerance
    for key in ("resolve_within", "claim_within"):
        requires = record().requires.replace(**{key: hours}, fallback=asked["fallback"])
        made = record(requires=requires)
        for now, expected in ((NOW - tick, []), (NOW, [made]), (NOW + tick, [made])):
            found = due_actions.due([made], actor("boss@example.com", now, RULES), "c")
            assert [due.before for due in found] == expected
            assert bool(due_actions.overdue(made, RULES, now)) is bool(expected)
    held = record("held by another")
    assert held.claim
    assert held.claim.expires_at
    end = held.claim.expires_at + tolerance
    for now, expected in ((end, []), (end + tick, ["release"])):
        found = due_actions.due([held], actor("boss@example.com", now, RULES), "c")
        assert [due.kind for due in found] == expected
        assert transitions.lapsed(held, actor("me@example.com", now, RULES)) is bool(expected)
