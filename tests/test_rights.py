"""Who may do what: every cell of the table in docs/rights.md, and the rules beyond it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from pathlib import Path
from unicodedata import normalize

import pytest
from sample_policies import FOUR_EYES, LEASE, NOW, ROLES, policies, record

from kt_escalation.errors import AlreadyClaimed, KtError, NotAllowed
from kt_escalation.model.record import Fallback, Record
from kt_escalation.policies.policy_set import Policies
from kt_escalation.policies.roster import Roster, logged_in, person
from kt_escalation.rules import creation, due_actions, judge_step, transitions
from kt_escalation.rules.permissions import Actor, actor, known_as, quorum

pytestmark = pytest.mark.fast

ROUTES = {
    "mine": ({"team_id": "legal"}, {"user_id": "me"}, {}),
    "not mine": ({"team_id": "security"}, {"user_id": "other"}),
}
STATES = ("queued", "held by you", "held by another", "lapsed", "resolved")


def _swept(before: Record, me: Actor) -> Record:
    done = due_actions.due([before], me, "new")
    return done[0].after if done else before


#: A team that is neither of the routes, so that assigning to it is never a repeat.
ELSEWHERE = Fallback(team_id="elsewhere")
ACTIONS: dict[str, Callable[[Record, Actor], Record]] = {
    "claim": lambda before, me: transitions.claim(before, me, "new"),
    "renew": transitions.renew,
    "unclaim": transitions.unclaim,
    "unclaim --force": lambda before, me: transitions.unclaim(before, me, force_reason="away"),
    "resolve": lambda before, me: transitions.resolve(before, me, "approved", "fine"),
    "assign": lambda before, me: transitions.assign(before, me, ELSEWHERE, "better there", "new"),
    "note": lambda before, me: transitions.note(before, me, "hm"),
    "sweep": _swept,
    "reopen": lambda before, me: creation.reopen(before, me, "it was wrong", f"esc_{'0' * 26}"),
}


def cells() -> list[tuple[str, str, dict[str, str], str, str]]:
    """Every cell of the table: action, role, route, state, and what it says."""
    page = (Path(__file__).parent.parent / "docs/rights.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in page.splitlines() if "|" in line
    ]
    head, body = rows[0], rows[2:]
    assert head == ["action", "role", "route", *STATES]
    found = []
    for action, roles, routes, *said in body:
        wanted = [*ROUTES["mine"], *ROUTES["not mine"]] if routes == "any" else ROUTES[routes]
        for role, route in product(roles.split(", "), wanted):
            found += [(action, role, route, state, what) for state, what in zip(STATES, said, strict=True)]
    return found


def test_the_table_has_every_cell_once() -> None:
    found = [(action, role, str(route), state) for action, role, route, state, _ in cells()]
    routes = [str(route) for kind in ROUTES.values() for route in kind]
    assert sorted(found) == sorted(product(ACTIONS, (*ROLES, "stranger"), routes, STATES))


@pytest.mark.parametrize(("action", "role", "route", "state", "said"), cells())
def test_a_cell_of_the_table(action: str, role: str, route: dict[str, str], state: str, said: str) -> None:
    rules = policies(role)
    me = actor("me@example.com", NOW, rules)
    before = record(state, route)
    if role == "stranger" and before.claim and before.claim.claimed_by == "me":
        before = before.replace(claim=before.claim.replace(claimed_by="me@example.com"))
    try:
        after = ACTIONS[action](before, me)
    except KtError as error:
        assert str(error.exit_code) == said, error.message
        if error.exit_code == 3:
            assert me.name in error.message
        return
    assert ("same" if after is before else "ok") == said
    if after is not before:
        told = judge_step.StepContext("me@example.com", NOW, rules, reopened=before)
        if action == "reopen":
            assert judge_step.judge(None, after, told) == ()
        else:
            assert judge_step.judge(before, after, told) == ()


@pytest.mark.parametrize("email", ["me@example.com", "me@home.example", "ME@EXAMPLE.COM"])
def test_one_person_under_any_address_is_one_person(email: str) -> None:
    rules = policies("reviewer")
    first = transitions.claim(record(requires=FOUR_EYES), actor("me@example.com", NOW, rules), "a")
    reviewed = transitions.resolve(first, actor("Me@Home.example", NOW, rules), "approved", "fine")
    assert reviewed.status == "queued"
    assert reviewed.claim is None
    again = transitions.claim(reviewed, actor(email, NOW, rules), "b")
    with pytest.raises(NotAllowed, match=r"decided so already, and may only decide otherwise; other may"):
        transitions.resolve(again, actor(email, NOW, rules), "approved", "fine as I said")
    assert transitions.resolve(again, actor(email, NOW, rules), "denied", "no").resolution


def test_nobody_is_somebody_else_whose_address_or_login_looks_alike() -> None:
    """Each letter that some reading of Unicode takes for one of ASCII, in the place of one that is there."""
    alike = [
        (char, plain)
        for char in map(chr, range(0x80, sys.maxunicode + 1))
        for plain in {char.casefold(), char.lower(), char.upper(), normalize("NFKC", char).lower()}
        if plain.isascii() and plain.isalpha()
    ]
    assert {"\u017f", "\u212a", "\u00df", "\ufb01"} <= {char for char, _ in alike}
    for char, plain in alike:
        name = f"a{plain.lower()}z"
        user = {"user_id": "boss", "emails": [f"{name}@example.com"], "logins": [f"gitlab:{name}"]}
        roster = Roster.parse({"users": [user]})
        for address in (f"{name}@example.com", f"{name}@example.com".upper()):
            assert person(roster, address) == known_as(address, roster) == "boss"
        assert logged_in(roster, "gitlab", name.upper()) == "boss"
        stranger = f"a{char}z@example.com"
        assert "boss" not in (person(roster, stranger), known_as(stranger, roster))
        assert person(None, stranger) != person(None, f"{name}@example.com")
        assert logged_in(roster, "gitlab", f"a{char}z") is None


def test_two_people_of_one_mind_release_and_one_denial_ends_it() -> None:
    rules = policies("reviewer")
    me, other = actor("me@example.com", NOW, rules), actor("other@example.com", NOW, rules)
    first = transitions.resolve(
        transitions.claim(record(requires=FOUR_EYES), me, "a"), me, "approved", "fine"
    )
    missing = quorum(first, rules)
    assert missing
    assert (missing.approvals, missing.given, missing.missing) == (2, {"approved": 1}, 1)
    assert missing.candidates == ("other",)
    held = transitions.claim(first, other, "b")
    agreed = transitions.resolve(held, other, "approved", "fine too")
    assert agreed.resolution
    assert agreed.resolution.outcome == "approved"
    assert len(agreed.reviews) == 2
    split = transitions.resolve(held, other, "redacted", "without the name")
    assert split.status == "queued"
    assert split.resolution is None
    denied = transitions.resolve(held, other, "denied", "no")
    assert denied.resolution
    assert denied.resolution.outcome == "denied"
    assert quorum(agreed, rules) is None


def test_who_raised_it_or_decided_what_it_reopens_is_no_second_pair_of_eyes() -> None:
    rules = policies("reviewer")
    me = actor("me@example.com", NOW, rules)
    for name in ("me", "me@home.example"):
        with pytest.raises(NotAllowed, match="me may not claim esc_one: raised it, and it needs 2 people"):
            transitions.claim(record(requires=FOUR_EYES, raised_by=name), me, "a")
        with pytest.raises(NotAllowed, match="decided what it reopens"):
            transitions.claim(record(requires=FOUR_EYES, reopens="esc_old"), me, "a", deciders=[name])
    assert transitions.claim(record(raised_by="me"), me, "a").claim
    with pytest.raises(NotAllowed, match="me raised it"):
        transitions.assign(
            record(requires=FOUR_EYES, raised_by="me"),
            actor("boss@example.com", NOW, rules),
            Fallback(user_id="me"),
            "you know it",
            "a",
        )


def test_a_refusal_says_what_is_missing_and_who_has_it() -> None:
    auditor = actor("me@example.com", NOW, policies("auditor"))
    with pytest.raises(NotAllowed) as refused:
        transitions.claim(record(), auditor, "a")
    assert refused.value.message == "me may not claim esc_one: does not have the role reviewer; other may"
    reviewer = actor("me@example.com", NOW, policies("reviewer"))
    with pytest.raises(NotAllowed) as refused:
        transitions.claim(record(route={"team_id": "security"}), reviewer, "a")
    assert refused.value.message == "me may not claim esc_one: it is routed to team security; other may"


@pytest.mark.parametrize(("late", "lapsed"), [(0, False), (119, False), (120, False), (121, True)])
def test_a_lease_is_over_only_after_the_tolerance(late: int, lapsed: bool) -> None:
    before = record("lapsed")
    assert before.claim
    assert before.claim.expires_at
    me = actor("me@example.com", before.claim.expires_at + timedelta(seconds=late), policies("reviewer"))
    if lapsed:
        after = transitions.claim(before, me, "new")
        assert after.claim
        assert after.claim.claimed_by == "me"
        assert after.claim.expires_at == me.now + LEASE
    else:
        with pytest.raises(AlreadyClaimed):
            transitions.claim(before, me, "new")


def test_a_late_holder_is_told_who_has_it_now() -> None:
    rules = policies("reviewer")
    taken = transitions.claim(record("lapsed"), actor("me@example.com", NOW, rules), "new")
    with pytest.raises(KtError) as refused:
        transitions.resolve(taken, actor("other@example.com", NOW, rules), "approved", "late")
    assert refused.value.exit_code == 6
    assert "held by me since 2026-11-23T12:00:00.000Z" in refused.value.message


def test_the_limit_counts_and_says_so() -> None:
    rules = policies("reviewer", claims={"max_per_reviewer": 2})
    me = actor("me@example.com", NOW, rules)
    assert transitions.claim(record(), me, "a", held=1).claim
    with pytest.raises(NotAllowed, match="me may not claim esc_one: holds 2 already and the limit is 2"):
        transitions.claim(record(), me, "a", held=2)


@pytest.mark.parametrize(
    ("parent", "author", "legal"),
    [
        ("reviewer", "me@example.com", False),
        ("admin", "me@example.com", True),
        ("admin", "ME@home.example", True),
        ("reviewer", "stranger@example.com", False),
        ("none", "stranger@example.com", True),
    ],
)
def test_policies_change_by_an_admin_of_the_roster_before(parent: str, author: str, legal: bool) -> None:
    before = Policies() if parent == "none" else policies(parent)
    assert (judge_step.judge_policies(author, before) == ()) == legal


def test_a_right_that_one_gives_oneself_is_no_right_in_the_same_commit_or_the_next() -> None:
    before, enrolled = policies("auditor"), policies("reviewer")
    # In one commit the parent's roster counts for both halves of it.
    claimed = transitions.claim(record(), actor("me@example.com", NOW, enrolled), "a")
    told = judge_step.StepContext("me@example.com", NOW, before)
    assert [v.rule for v in judge_step.judge(record(), claimed, told)] == ["not_allowed"]
    # In two commits the first of them is the violation.
    assert [v.rule for v in judge_step.judge_policies("me@example.com", before)] == ["policies"]
