"""Who decided once does not decide again what was decided, whichever way it comes back to them (docs/rights.md)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_policies import FOUR_EYES, LEASE, NOW, policies, record

from kt_escalation import KtError, Store
from kt_escalation.errors import AlreadyReopened, NotAllowed
from kt_escalation.model.record import Fallback, Record
from kt_escalation.rules import due_actions, judge_step, transitions
from kt_escalation.rules.permissions import Actor, actor
from kt_escalation.storage import lookup
from kt_escalation.storage.interface import Author
from kt_escalation.testing import MemoryRemote, MemoryStore

pytestmark = pytest.mark.fast

RULES = policies("reviewer")
ME, BOSS = actor("me@example.com", NOW, RULES), actor("boss@example.com", NOW, RULES)
AGAIN = record(requires=FOUR_EYES, reopens="esc_old")
MINE = transitions.claim(AGAIN, ME._replace(now=NOW - LEASE / 2), "c1")
UNCLAIMED = AGAIN.replace(
    requires=FOUR_EYES.replace(claim_within=LEASE, fallback=Fallback(user_id="me")), queued_at=NOW - 2 * LEASE
)


def _decided(before: Record, outcome: str = "approved", **more: object) -> Record:
    return transitions.resolve(before, ME, outcome, "fine", **more)  # type: ignore[arg-type]


def _swept(before: Record, **more: tuple[str, ...]) -> Record:
    return due_actions.due([before], BOSS, "new", lambda _: more.get("deciders", ()))[0].after


#: Each way in which somebody comes to hold an escalation, or uses that: who acts, on what, and how.
WAYS: dict[str, tuple[Actor, Record, Callable[..., Record]]] = {
    "claim": (ME, AGAIN, partial(transitions.claim, AGAIN, ME, "new")),
    "claim and decide": (
        ME,
        AGAIN,
        lambda **more: _decided(transitions.claim(AGAIN, ME, "new", **more), **more),
    ),
    "claim and deny": (
        ME,
        AGAIN,
        lambda **more: _decided(transitions.claim(AGAIN, ME, "new", **more), "denied", **more),
    ),
    "renew": (ME, MINE, partial(transitions.renew, MINE, ME)),
    "resolve": (ME, MINE, partial(_decided, MINE)),
    "assign": (
        BOSS,
        AGAIN.replace(requires=FOUR_EYES.replace(approvals=2)),
        partial(transitions.assign, AGAIN, BOSS, Fallback(user_id="me"), "you know it", "new"),
    ),
    "fallback": (BOSS, UNCLAIMED, partial(_swept, UNCLAIMED)),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_gives_it_to_who_decided_before(way: str) -> None:
    who, before, act = WAYS[way]
    if way == "assign":
        # Where two are missing it goes to a team; one is missing after somebody's review.
        other = actor("other@example.com", NOW - LEASE, RULES)
        before = transitions.resolve(transitions.claim(before, other, "x"), other, "approved", "ok")
        act = partial(transitions.assign, before, BOSS, Fallback(user_id="me"), "you know it", "new")
    after = act(deciders=["somebody-else"])
    context = judge_step.StepContext(f"{who.name}@example.com", NOW, RULES)
    assert judge_step.judge(before, after, context) == ()
    for name in ("me", "Me@home.example"):
        with pytest.raises(NotAllowed, match="decided what it reopens, and it needs 2 people"):
            act(deciders=(name,))
        [found] = judge_step.judge(before, after, context._replace(deciders=(name,)))
        assert found.rule == "not_allowed"


def test_where_one_approval_is_asked_the_same_person_may_decide_again() -> None:
    alone = record(reopens="esc_old")
    held = transitions.claim(alone, ME, "new", deciders=["me"])
    assert transitions.resolve(held, ME, "approved", "fine", deciders=["me"]).resolution


# --- whatever people do ---------------------------------------------------------------------------

PEOPLE = ("alice", "bob", "carol", "dora", "erin")
FILES = {
    "policies/roster.yaml": (
        "users:\n"
        + "".join(f"  - {{user_id: {who}, emails: [{who}@x.example], roles: [reviewer]}}\n" for who in PEOPLE)
        + "  - {user_id: boss, emails: [boss@x.example], roles: [admin, gateway]}\n"
    ).encode(),
    "policies/settings.yaml": b"claims: {lease: 1h}\nrules:\n"
    b"  - {match: {}, approvals: 2, claim_within: 30m, fallback: {user_id: alice}}\n",
}
STEPS = (
    "claim",
    "claim",
    "approved",
    "approved",
    "denied",
    "withdraw",
    "reopen",
    "reopen",
    "assign",
    "sweep",
    "wait",
)


class Chain:
    """One request in memory, reopened again and again."""

    def __init__(self) -> None:
        self.remote = MemoryRemote(FILES)
        self.now = datetime(2026, 11, 23, 10, tzinfo=UTC)
        self.store("boss").create(request_id="x", reason_code="a.b")
        self.names = ["esc_x"]

    def store(self, who: str) -> Store:
        return Store(MemoryStore(self.remote, Author(who, f"{who}@x.example")), clock=lambda: self.now)

    def step(self, what: str, who: str) -> None:
        """What somebody may not do is refused, with an error of ours."""
        store, name = self.store(who), self.names[-1]
        self.now += timedelta(seconds=1)
        with suppress(KtError):
            if what == "claim":
                store.claim(name)
            elif what == "withdraw":
                self.store("boss").withdraw(name, "no longer")
            elif what == "reopen":
                self.names.append(
                    self.store("boss").reopen(name, f"again {len(self.names)}").records[0].escalation_id
                )
            elif what == "assign":
                self.store("boss").assign(name, "better there", user=f"{who}@x.example")
            elif what == "sweep":
                store.sweep()
            elif what == "wait":
                self.now += timedelta(hours=1)
            else:
                store.resolve(name, what, "because")

    def records(self) -> list[Record]:
        snapshot = MemoryStore(self.remote, Author("boss", "boss@x.example")).read()
        return [found for name in self.names if (found := lookup.record_of(snapshot, name)) is not None]


@settings(max_examples=examples(60))
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(PEOPLE)), min_size=5, max_size=60))
def test_whatever_people_do_nobody_decides_two_of_a_chain(steps: list[tuple[str, str]]) -> None:
    chain = Chain()
    for what, who in steps:
        chain.step(what, who)
        before: set[str] = set()
        for one in chain.records():
            mine = {review.reviewer for review in one.reviews}
            holder = {one.claim.claimed_by} if one.claim and one.resolution is None else set()
            assert not before & (mine | holder), chain.records()
            before |= mine


def reopened(chain: Chain, times: int) -> None:
    """Let it be withdrawn and reopened so often, as anybody who may reopen can."""
    for _ in range(times):
        chain.step("withdraw", "boss")
        chain.step("reopen", "boss")


def decided_by_two(chain: Chain, *people: str) -> None:
    for who in people:
        chain.step("claim", who)
        chain.step("approved", who)
    chain.step("reopen", "boss")


@pytest.mark.parametrize("between", [0, 1, 2, 5])
def test_a_reopening_that_was_withdrawn_makes_nobody_new(between: int) -> None:
    chain = Chain()
    decided_by_two(chain, "alice", "bob")
    reopened(chain, between)
    newest = chain.names[-1]
    for who in ("alice", "bob"):
        with pytest.raises(
            NotAllowed, match=f"{who} may not claim {newest}: decided what it reopens.*; carol"
        ):
            chain.store(who).claim(newest)
        actions = {
            one.action: one for one in chain.store(who).available_actions(chain.store(who).get(newest))
        }
        assert isinstance(actions["claim"].refusal, NotAllowed)
    found = chain.store("carol").get(newest)
    assert found.quorum is not None
    assert found.quorum.candidates == ("carol", "dora", "erin")


def test_a_sweep_leaves_it_with_the_others_if_the_fallback_has_decided_and_says_so() -> None:
    chain = Chain()
    decided_by_two(chain, "alice", "bob")
    [_, again] = chain.names
    chain.store("boss").create(request_id="other", reason_code="a.b")
    chain.step("wait", "boss")
    for dry_run in (True, False):
        swept = chain.store("boss").sweep(dry_run=dry_run)
        assert [due.before.escalation_id for due in swept.due] == ["esc_other"]
        [told] = swept.result.warnings
        assert told.startswith(
            f"{again} does not go to its fallback: alice may not claim {again}: decided what"
        )
    # Once more it is the only one: nothing fails, and nothing is done.
    swept = chain.store("boss").sweep()
    assert (swept.due, swept.result.changed, len(swept.result.warnings)) == ((), False, 1)
    assert chain.store("carol").claim(again).changed


def test_a_chain_ends_before_it_is_too_long_to_ask_who_decided() -> None:
    chain = Chain()
    decided_by_two(chain, "alice", "bob")
    reopened(chain, 40)
    assert len(chain.names) == 33
    with pytest.raises(NotAllowed, match="decided what it reopens"):
        chain.store("alice").claim(chain.names[-1])
    chain.step("withdraw", "boss")
    with pytest.raises(AlreadyReopened, match="was reopened too often"):
        chain.store("boss").reopen(chain.names[-1], "again 32")


def test_a_circle_of_reopenings_has_an_end() -> None:
    circle = {name: record(requires=FOUR_EYES, reopens=other, escalation_id=name) for name, other in
              (("esc_a", "esc_b"), ("esc_b", "esc_c"), ("esc_c", "esc_a"))}  # fmt: skip
    assert lookup.reviewers(circle["esc_a"], circle.get) == ()


# --- over a lapsed claim --------------------------------------------------------------------------

LAPSED = record("lapsed", route={"team_id": "legal"})
TWICE = LAPSED.replace(requires=FOUR_EYES)
SQUASHES: dict[str, tuple[Record, tuple[str, ...]]] = {
    "claim": (LAPSED, ("claim",)),
    "claim and decision": (LAPSED, ("claim", "approved")),
    "claim and denial": (LAPSED, ("claim", "denied")),
    "claim, note and decision": (LAPSED, ("claim", "note", "approved")),
    "note and claim": (LAPSED, ("note", "claim")),
    "claim and review": (TWICE, ("claim", "approved")),
    "claim, review and another claim": (TWICE, ("claim", "approved", "claim")),
    "claim, review and another decision": (TWICE, ("claim", "approved", "claim", "denied")),
}


@pytest.mark.parametrize("name", SQUASHES)
def test_a_claim_over_a_lapsed_one_waits_for_its_time_in_any_squash(name: str) -> None:
    before, steps = SQUASHES[name]
    assert before.claim
    assert before.claim.expires_at
    first = before.claim.expires_at + RULES.settings.claims.clock_tolerance + timedelta(milliseconds=1)
    after = before
    for count, what in enumerate(steps):
        me = actor("me@example.com", first + timedelta(milliseconds=count), RULES)
        if what == "claim":
            after = transitions.claim(after, me, f"new{count}")
        elif what == "note":
            after = transitions.note(after, me, "look")
        else:
            after = transitions.resolve(after, me, what, "because")  # type: ignore[arg-type]
    at = partial(judge_step.StepContext, "me@example.com", policies=RULES)
    assert judge_step.judge(before, after, at(committed_at=after.last_time)) == ()
    for early in (1, 60, 119):
        [found] = judge_step.judge(before, after, at(committed_at=after.last_time - timedelta(seconds=early)))
        assert found.rule == "deadline"
    [found] = judge_step.judge(
        before, after, at(committed_at=after.last_time, now=first - timedelta(seconds=1))
    )
    assert found.rule == "deadline"
