"""Numbers about a queue: each is what docs/evidence.md says that it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import Lab, git, kt, record_text
from strategies import records
from terminal import at_a_terminal

from kt_escalation.model.record import Claim, Record, Requires, Resolution, Review, Route
from kt_escalation.model.text import is_hidden
from kt_escalation.model.vocabulary import Outcome
from kt_escalation.policies.policy_file import PolicyFile
from kt_escalation.policies.policy_set import Policies, assemble
from kt_escalation.reporting import statistics
from kt_escalation.reporting.statistics import By, Tally, Window

START = datetime(2026, 11, 23, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICIES = assemble(
    "1" * 40,
    {
        "policies/roster.yaml": PolicyFile(
            {
                "users": [
                    {
                        "user_id": "alice",
                        "emails": ["alice@example.com", "A@home.example"],
                        "roles": ["reviewer"],
                    },
                    {"user_id": "bob", "emails": ["bob@example.com"], "roles": ["reviewer"]},
                ],
                "teams": [{"team_id": "legal", "members": ["alice", "bob"]}],
            }
        )
    },
)


def at(minutes: float) -> datetime:
    return START + minutes * MINUTE


def record(name: str, raised: float = 0, **keys: Any) -> Record:
    """A queued escalation that was raised so many minutes after the start."""
    times = dict.fromkeys(("created_at", "raised_at", "queued_at"), at(raised))
    known = {"status": "queued", "reason_code": "a.b", "raised_by": "gw", "route": Route(source="default")}
    return Record(escalation_id=f"esc_{name}", **{**known, **times, **keys})


def claim(who: str, minutes: float, number: str = "c1", until: float | None = None) -> Claim:
    expires = at(until) if until is not None else None
    return Claim(claim_id=number, claimed_by=who, claimed_at=at(minutes), expires_at=expires)


def review(who: str, minutes: float, outcome: Outcome = "approved", number: str = "c1") -> Review:
    return Review(
        reviewer=who, outcome=outcome, reason="so", reviewed_at=at(minutes), claim_id=number, shown="0" * 64
    )


def decided(
    name: str, who: str, claimed: float, end: float, outcome: Outcome = "approved", **keys: Any
) -> Record:
    """An escalation that somebody claimed and decided."""
    said = (review(who, end, outcome),)
    resolution = Resolution(outcome=outcome, reason="so", resolved_by=who, resolved_at=at(end))
    life = {"status": "resolved", "claim": claim(who, claimed), "reviews": said, "resolution": resolution}
    return record(name, **{**life, **keys})


def tally(
    found: Sequence[Record],
    *,
    by: By | None = None,
    now: float = 1000,
    claims: statistics.ClaimTimes | None = None,
    policies: Policies = POLICIES,
    **more: Any,
) -> Tally:
    known = {one.escalation_id: one for one in found}
    made = Tally(policies, at(now), claims or {}, known.get, by=(by,) if by else (), **more)
    for one in found:
        made.add(one)
    return made


# --- percentiles ------------------------------------------------------------------------------------

SECONDS = st.integers(0, 10**9).map(lambda millis: millis / 1000)


@given(st.lists(SECONDS, min_size=1, max_size=300))
def test_percentiles_lie_in_order_within_what_was_measured(seconds: list[float]) -> None:
    found = statistics.spans(seconds)
    assert found.count == len(seconds)
    assert found.p50 is not None
    assert found.p90 is not None
    assert found.p99 is not None
    assert min(seconds) <= found.p50 <= found.p90 <= found.p99 <= max(seconds)


@given(st.lists(SECONDS, max_size=50), st.randoms())
def test_percentiles_do_not_ask_in_which_order(seconds: list[float], random: Any) -> None:
    shuffled = list(seconds)
    random.shuffle(shuffled)
    assert statistics.spans(shuffled) == statistics.spans(seconds)


def test_percentiles_of_a_hundred_and_one_are_themselves() -> None:
    assert statistics.spans(float(n) for n in range(101)) == statistics.Spans(101, 50.0, 90.0, 99.0)
    assert statistics.spans([1.0, 2.0]) == statistics.Spans(2, 1.5, 1.9, 1.99)
    assert statistics.spans([7.0]) == statistics.Spans(1, 7.0, 7.0, 7.0)
    assert statistics.spans([]) == statistics.Spans(0, None, None, None)


# --- what is counted --------------------------------------------------------------------------------


def test_raised_open_resolved_and_outcomes() -> None:
    end = Resolution(outcome="expired", reason="late", resolved_by="cron", resolved_at=at(60))
    found = [
        record("a"),
        decided("b", "alice", 10, 30),
        decided("c", "bob", 20, 50, "denied"),
        record("d", status="resolved", resolution=end),
    ]
    total = tally(found).total
    assert (total.raised, total.open, total.resolved) == (4, 1, 3)
    assert total.outcomes == {
        "approved": 1,
        "redacted": 0,
        "rewritten": 0,
        "denied": 1,
        "expired": 1,
        "withdrawn": 0,
    }
    assert total.time_to_claim == statistics.Spans(2, 900.0, 1140.0, 1194.0)
    assert total.time_to_resolve.count == 3
    assert total.time_to_resolve.p50 == 3000.0


def test_overdue_is_what_a_listing_calls_overdue() -> None:
    soon = Requires(resolve_within=10 * MINUTE)
    found = [
        record("a", requires=soon),
        record("b"),
        record("c", status="claimed", claim=claim("bob", 1, until=9)),
    ]
    assert tally(found, now=5).total.overdue == 0
    assert tally(found, now=30).total.overdue == 2


def test_the_first_claim_counts_where_the_record_holds_a_later_one() -> None:
    again = decided("a", "bob", 50, 60, queued_at=at(40))
    plain = decided("b", "bob", 50, 60)
    assert [statistics.has_earlier_claims(one) for one in (again, plain)] == [True, False]
    told = tally([again], claims={"esc_a": {"c0": at(10), "c1": at(50)}})
    assert told.total.time_to_claim.p50 == 600.0
    assert tally([plain]).total.time_to_claim.p50 == 3000.0


def test_what_may_hide_a_claim_is_asked_of_history() -> None:
    assert statistics.has_earlier_claims(record("a", status="claimed", claim=claim("bob", 1, until=9)))
    assert statistics.has_earlier_claims(record("b", reviews=(review("alice", 3),), queued_at=at(3)))
    two = decided("c", "bob", 5, 6, reviews=(review("alice", 3, number="c0"), review("bob", 6)))
    assert statistics.has_earlier_claims(two)
    assert not statistics.has_earlier_claims(record("d"))


def test_who_is_born_claimed_waited_for_nobody() -> None:
    born = decided("a", "bob", 0, 5, route=Route(user_id="bob", source="event"))
    assert tally([born]).total.time_to_claim.count == 0
    assert tally([born]).total.time_to_resolve.count == 1


def test_second_reviews_and_who_gave_them() -> None:
    two = decided("a", "bob", 20, 30, reviews=(review("alice", 10, number="c0"), review("bob", 30)))
    made = tally([two], claims={"esc_a": {"c0": at(4), "c1": at(20)}}, by="reviewer")
    assert made.total.second_reviews == 1
    alice, bob = made.reviewers
    assert (alice.key, alice.second_reviews, alice.time_to_decide.p50) == ("alice", 0, 360.0)
    assert (bob.key, bob.second_reviews, bob.time_to_decide.p50) == ("bob", 1, 600.0)


def test_a_reversal_is_a_reopening_that_ends_otherwise() -> None:
    first = decided("a", "alice", 1, 2)
    same = decided("b", "bob", 5, 6, reopens="esc_a")
    other = decided("c", "bob", 8, 9, "denied", reopens="esc_b")
    made = tally([first, same, other, record("d", reopens="esc_c")], by="reviewer")
    assert (made.total.reopened, made.total.reversals) == (3, 1)
    assert {row.key: row.reversed for row in made.reviewers} == {"alice": 0, "bob": 1}


def test_one_person_under_two_addresses_is_one_line() -> None:
    found = [
        decided("a", "a@HOME.example", 1, 2),
        decided("b", "alice", 1, 4, "denied"),
        record("c", status="claimed", claim=claim("alice@example.com", 5)),
        record("d", status="claimed", claim=claim("Stranger@example.com", 5, until=6)),
    ]
    [alice] = tally(found, by="reviewer").reviewers
    assert (alice.key, alice.decisions, alice.approval_share, alice.holds) == ("alice", 2, 0.5, 1)
    names = [row.key for row in tally(found, by="reviewer", policies=Policies()).reviewers]
    assert names == ["a@home.example", "alice", "alice@example.com"]


def test_groups_by_team_policy_and_model() -> None:
    legal = Route(team_id="legal", source="default")
    found = [
        record("a", route=legal, model="m1", policy="pii"),
        decided("b", "bob", 1, 2, route=legal, model="m2"),
        record("c", model="m1"),
    ]
    assert [(row.key, row.raised, row.resolved) for row in tally(found, by="team").rows("team")] == [
        ("legal", 2, 1),
        (None, 1, 0),
    ]
    assert [(row.key, row.raised) for row in tally(found, by="model").rows("model")] == [("m1", 2), ("m2", 1)]
    assert [(row.key, row.raised) for row in tally(found, by="policy").rows("policy")] == [
        ("pii", 1),
        (None, 2),
    ]


def test_each_number_counts_in_the_period_in_which_it_happened() -> None:
    days = 24 * 60
    one = decided("a", "bob", 8 * days, 40 * days)
    by_month = {row.key: row for row in tally([one], by="period").rows("period")}
    assert {key: (row.raised, row.time_to_claim.count, row.resolved) for key, row in by_month.items()} == {
        "2026-11": (1, 0, 0),
        "2026-12": (0, 1, 0),
        "2027-01": (0, 0, 1),
    }
    weeks = [row.key for row in tally([one], by="period", period="week").rows("period")]
    assert weeks == ["2026-W48", "2026-W49", "2026-W53"]
    assert tally([one], by="period", period="day").rows("period")[0].key == "2026-11-23"


def test_a_window_holds_its_beginning_and_not_its_end() -> None:
    found = [record("a"), record("b", 10), decided("c", "bob", 5, 10, raised=1)]
    made = tally(found, by="reviewer", window=Window(at(0), at(10)))
    assert (made.total.raised, made.total.resolved, made.reviewers) == (2, 0, ())
    made = tally(found, by="reviewer", window=Window(at(10), None))
    assert (made.total.raised, made.total.resolved) == (1, 1)
    assert [row.decisions for row in made.reviewers] == [1]


@settings(max_examples=examples(20))
@given(st.lists(records(), max_size=8), st.sampled_from(["period", "team", "policy", "model"]))
def test_groups_add_up_to_the_total(found: list[Record], by: By) -> None:
    made = tally(found, by=by)
    for name in ("raised", "resolved", "open", "overdue", "second_reviews", "reopened", "reversals"):
        assert sum(getattr(row, name) for row in made.rows(by)) == getattr(made.total, name)
    assert made.total.raised == len(found)
    assert sum(made.total.outcomes.values()) == made.total.resolved
    assert sum(row.time_to_claim.count for row in made.rows(by)) == made.total.time_to_claim.count


# --- the command ------------------------------------------------------------------------------------


def stat(cwd: Path, *args: str) -> Any:
    ran = kt("stats", *args, "--json", cwd=cwd)
    assert ran.code == 0, ran.err
    return ran.json


def states(name: str, *claims: tuple[str, int] | None) -> list[str]:
    """An escalation's texts, one for each claim; None: it was given back, half an hour after the claim."""
    found, queued = [], 0
    for held in claims:
        if held is None:
            queued += 30
        keys = {
            "queued_at": f'"2026-11-23T09:{queued:02}:00.000Z"',
            "status": "claimed" if held else "queued",
        }
        text = record_text(name, **keys)
        if held:
            who, minute = held
            text += (
                f"claim:\n  claim_id: {who}{minute}\n  claimed_by: {who}@example.com\n"
                f'  claimed_at: "2026-11-23T09:{minute:02}:00.000Z"\n'
            )
        found.append(text)
    return found


def test_a_first_claim_that_the_record_has_forgotten_comes_from_history(lab: Lab) -> None:
    lab.escalations("one", "two")
    for text in states("one", ("bob", 5), None, ("alice", 50)):
        lab.put({"queue/esc_one.yaml": text}, "step")
    clone = lab.clone("alice")
    assert stat(clone)["total"]["time_to_claim"] == {"count": 1, "p50": 300.0, "p90": 300.0, "p99": 300.0}


def test_history_on_a_side_branch_counts_as_well(lab: Lab) -> None:
    lab.escalations("one")
    clone = lab.clone("alice")
    git("switch", "--quiet", "-c", "side", cwd=clone)
    for text in states("one", ("bob", 5), None, ("alice", 50)):
        (clone / "queue/esc_one.yaml").write_text(text)
        git("commit", "--quiet", "-am", "step", cwd=clone)
    git("switch", "--quiet", "main", cwd=clone)
    git("merge", "--quiet", "--no-ff", "--no-edit", "side", cwd=clone)
    assert stat(clone)["total"]["time_to_claim"]["p50"] == 300.0


def test_a_shallow_clone_is_enough_until_history_is_needed(lab: Lab) -> None:
    lab.escalations("one")
    lab.put({"README.md": "more\n"})
    shallow = lab.clone("shallow", "--depth", "1")
    assert stat(shallow)["total"]["raised"] == 1
    for text in states("one", ("bob", 5), None):
        lab.put({"queue/esc_one.yaml": text}, "step")
    ran = kt("stats", "--json", cwd=lab.clone("later", "--depth", "1"))
    assert (ran.code, ran.error["code"]) == (2, "shallow_clone")


def test_a_life_by_commands(lab: Lab) -> None:
    clone = lab.clone("alice")
    kt("raise", "--request-id", "one", "--reason-code", "a.b", "--model", "m", cwd=clone)
    kt("claim", "--id", "esc_one", cwd=clone)
    kt("resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "fine", cwd=clone)
    again = kt("reopen", "--id", "esc_one", "--reason", "no", "--json", cwd=clone).json["escalation"]
    kt("claim", "--id", again["escalation_id"], cwd=clone)
    kt("resolve", "--id", again["escalation_id"], "--outcome", "denied", "--reason", "no", cwd=clone)
    found = stat(clone, "--by", "reviewer", "--since", "1h")
    assert (found["total"]["raised"], found["total"]["reversals"], found["by"]) == (2, 1, "reviewer")
    [alice] = found["rows"]
    assert (alice["key"], alice["decisions"], alice["reversed"]) == ("alice@example.com", 2, 1)
    assert alice["approval_share"] == 0.5
    assert alice["time_to_decide"]["count"] == 2
    assert found["revision"] == lab.tip()


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        (("period",), ["2026-11"]),
        (("period", "--period", "week"), ["2026-W48"]),
        (("team",), ["legal", None]),
        (("reviewer",), []),
        (("policy",), ["pii", None]),
        (("model",), ["m1", "m2"]),
    ],
)
def test_each_dimension_by_command(lab: Lab, by: tuple[str, ...], keys: list[str | None]) -> None:
    one = record_text("one", model="m1", policy="pii").replace("route:\n", "route:\n  team_id: legal\n")
    lab.put({"queue/esc_one.yaml": one, "queue/esc_two.yaml": record_text("two", model="m2")})
    found = stat(lab.clone("alice"), "--by", *by)
    assert [row["key"] for row in found["rows"]] == keys
    assert found["total"]["raised"] == 2
    assert sum(row["raised"] for row in found["rows"] if by != ("reviewer",)) == 2 * bool(keys)


def test_an_empty_store_counts_nothing(lab: Lab) -> None:
    clone = lab.clone("alice")
    found = stat(clone, "--by", "period")
    assert found["total"]["raised"] == 0
    assert found["rows"] == []
    assert found["period"] == "month"
    assert kt("stats", "--by", "reviewer", cwd=clone).out.count("\n") == 1


def test_what_cannot_be_read_is_named_and_not_counted(lab: Lab) -> None:
    lab.escalations("one")
    lab.put({"queue/esc_torn.yaml": "<<<<<<< HEAD\n"})
    ran = kt("stats", "--json", cwd=lab.clone("alice"))
    assert ran.json["total"]["raised"] == 1
    assert [item["path"] for item in ran.json["invalid"]] == ["queue/esc_torn.yaml"]
    assert "queue/esc_torn.yaml" in ran.err
    assert "it is not counted" in ran.err


@pytest.mark.parametrize(
    "args",
    [
        ("--period", "day"),
        ("--since", "soon"),
        ("--until", "soon"),
        ("--since", "1h", "--until", "2h"),
        ("--by", "colour"),
    ],
)
def test_what_makes_no_sense_is_refused(lab: Lab, args: tuple[str, ...]) -> None:
    ran = kt("stats", *args, "--json", cwd=lab.clone("alice"))
    assert ran.code == 2
    assert ran.out == ""
    assert args[-2] in ran.error["message"]


def test_a_plain_table_without_a_terminal_and_a_wide_one_with(lab: Lab) -> None:
    lab.put({"queue/esc_evil.yaml": record_text("evil", model=json.dumps("\x1b[2J\u202em"))})
    clone = lab.clone("alice")
    head, row, total = kt("stats", "--by", "model", cwd=clone).out.splitlines()
    assert head.split("\t")[:3] == ["model", "raised", "resolved"]
    assert row.split("\t")[:3] == ["\\x1b[2J\\u202em", "1", "0"]
    assert total.startswith("total\t1\t0")
    assert len({line.count("\t") for line in (head, row, total)}) == 1
    code, shown = at_a_terminal("stats", "--by", "model", cwd=clone)
    assert code == 0
    assert shown.startswith("MODEL")
    assert not any(map(is_hidden, shown.replace("\n", "")))
