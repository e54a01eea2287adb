"""A listing judges one escalation of each standing: its answer is that of judging every one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from kt_escalation.actions import candidates, listing
from kt_escalation.actions.read_session import ReadSession
from kt_escalation.model.query import Query
from kt_escalation.model.record import Claim, Record, Requires, Resolution, Review, Route
from kt_escalation.model.summary import RecordSummary
from kt_escalation.storage import layout, yaml_text
from kt_escalation.storage.interface import Author, Entry
from kt_escalation.testing import MemoryRemote, MemorySnapshot, MemoryStore

pytestmark = pytest.mark.fast

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ROSTER = """\
teams:
  - {team_id: legal, members: [alice, bob]}
  - {team_id: triage, members: [carol]}
  - {team_id: nobody, members: []}
users:
  - {user_id: alice, emails: [alice@example.com, al@example.com], roles: [reviewer]}
  - {user_id: bob, emails: [bob@example.com], roles: [reviewer]}
  - {user_id: carol, emails: [carol@example.com], roles: [reviewer]}
  - {user_id: gw, emails: [gw@example.com], roles: [gateway]}
"""
# alice under three names, and somebody who has left.
PEOPLE = st.sampled_from(["alice", "al@example.com", "ALICE@example.com", "bob", "carol", "gone"])
# Around now, and around the tolerance for clocks.
MOMENTS = st.sampled_from([-60, -3, -2, -1, 0, 1, 60]).map(lambda minutes: NOW + minutes * MINUTE)
ROUTES = st.sampled_from([{}, *({"team_id": t} for t in ("legal", "triage", "nobody", "lost"))]) | PEOPLE.map(
    lambda who: {"user_id": who}
)


def review(who: str, outcome: str = "approved") -> Review:
    return Review(
        reviewer=who, outcome=outcome, reason="x", reviewed_at=NOW, claim_id="c", shown="0" * 64
    )  # fmt: skip


_WITHIN = st.none() | st.integers(0, 3).map(lambda count: count * MINUTE)
# All that a rule could read of an escalation that waits.
_TRAITS = st.fixed_dictionaries(
    {
        "held": st.booleans(),
        "by": PEOPLE,
        "until": st.none() | MOMENTS,
        "since": MOMENTS,
        "raised_by": PEOPLE,
        "route": ROUTES,
        "approvals": st.integers(1, 3),
        "claim_within": _WITHIN,
        "resolve_within": _WITHIN,
        "reviews": st.lists(PEOPLE, max_size=2, unique=True),
        "reopens": st.sampled_from([None, None, "esc_done"]),
    }
)


@st.composite
def waiting(draw: st.DrawFn) -> list[Record]:
    """Open escalations that are alike but for a trait or two each."""
    base, found = draw(_TRAITS), []
    for number in range(draw(st.integers(2, 6))):
        other = draw(_TRAITS)
        differs = draw(st.sets(st.sampled_from(sorted(base)), max_size=2))
        found.append(_made(number, {**base, **{name: other[name] for name in differs}}))
    return found


def _made(number: int, of: dict[str, Any]) -> Record:
    since = of["since"]
    return Record(
        escalation_id=f"esc_{number:03}",
        status="claimed" if of["held"] else "queued",
        claim=Claim(claim_id="c", claimed_by=of["by"], claimed_at=since, expires_at=of["until"])
        if of["held"]
        else None,
        reason_code="a.b",
        created_at=since,
        raised_at=since,
        queued_at=since,
        raised_by=of["raised_by"],
        route=Route(**of["route"], source="default"),
        requires=Requires(**{name: of[name] for name in ("approvals", "claim_within", "resolve_within")}),
        reviews=tuple(map(review, of["reviews"])),
        reopens=of["reopens"],
    )


END = Resolution(outcome="denied", reason="no", resolved_by="bob", resolved_at=NOW)
DONE = Record(
    escalation_id="esc_done",
    status="resolved",
    reason_code="a.b",
    created_at=NOW,
    raised_at=NOW,
    queued_at=NOW,
    raised_by="gw",
    route=Route(source="default"),
    reviews=(review("al@example.com", "denied"),),
    resolution=END,
)


@given(waiting(), st.booleans())
@settings(max_examples=examples(60))
def test_what_is_listed_is_what_the_rules_say_of_each(records: list[Record], roster: bool) -> None:
    files = {layout.path_of(record): yaml_text.dumps(record) for record in (*records, DONE)}
    remote = MemoryRemote({**files, **({"policies/roster.yaml": ROSTER} if roster else {})})
    session = ReadSession(MemoryStore(remote, Author("Alice", "alice@example.com")), lambda: NOW)
    snapshot = session.snapshot()
    entries = [entry for entry in snapshot.open() if isinstance(entry, Entry)]
    assert len(entries) == len(records)
    actor = session.actor(snapshot)
    for query, rule in (
        (Query(overdue=True), candidates.is_overdue),
        (Query(claimable=True), candidates.is_claimable),
    ):
        wanted = {entry.record.escalation_id for entry in entries if rule(snapshot, entry.record, actor)}
        found = listing.rows(session, query, rev=None, fetch=False)
        assert {row.escalation_id for row in found.page.rows} == wanted


def test_another_team_or_person_is_another_standing() -> None:
    traits = {"held": False, "since": NOW, "raised_by": "gw", "approvals": 1, "reviews": [], "reopens": None}
    rest = dict.fromkeys(("by", "until", "claim_within", "resolve_within"))
    routes = [
        {"team_id": "triage"},
        {"team_id": "legal"},
        {"user_id": "bob"},
        {"user_id": "alice"},
        {"team_id": "lost"},
    ]
    made = [_made(number, {**traits, **rest, "route": route}) for number, route in enumerate(routes)]
    files = {layout.path_of(record): yaml_text.dumps(record) for record in made}
    remote = MemoryRemote({**files, "policies/roster.yaml": ROSTER})
    session = ReadSession(MemoryStore(remote, Author("Alice", "alice@example.com")), lambda: NOW)
    found = listing.rows(session, Query(claimable=True), rev=None, fetch=False)
    assert [row.escalation_id for row in found.page.rows] == ["esc_001", "esc_003"]


def test_of_many_of_one_standing_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    one = DONE.replace(status="queued", resolution=None, reviews=(), route=Route(team_id="legal", source="x"))
    many = [one.replace(escalation_id=f"esc_{number:03}") for number in range(200)]
    files = {layout.path_of(record): yaml_text.dumps(record) for record in many}
    remote = MemoryRemote({**files, "policies/roster.yaml": ROSTER})
    session = ReadSession(MemoryStore(remote, Author("Carol", "carol@example.com")), lambda: NOW)
    read: list[str] = []
    entries = MemorySnapshot.entries

    def counted(snapshot: MemorySnapshot, rows: Sequence[RecordSummary]) -> Iterator[Entry]:
        read.extend(row.escalation_id for row in rows)
        return entries(snapshot, rows)

    monkeypatch.setattr(MemorySnapshot, "entries", counted)
    for query in (Query(overdue=True), Query(claimable=True)):
        read.clear()
        assert listing.rows(session, query, rev=None, fetch=False).page.rows == ()
        assert len(read) == 1


def test_who_decided_the_one_that_is_reopened_is_not_overlooked() -> None:
    traits = {"held": False, "since": NOW, "raised_by": "gw", "route": {}, "approvals": 2, "reviews": []}
    rest = dict.fromkeys(("by", "until", "claim_within", "resolve_within"))
    made = [_made(number, {**traits, **rest, "reopens": of}) for number, of in enumerate((None, "esc_done"))]
    files = {layout.path_of(record): yaml_text.dumps(record) for record in (*made, DONE)}
    remote = MemoryRemote({**files, "policies/roster.yaml": ROSTER})
    session = ReadSession(MemoryStore(remote, Author("Alice", "alice@example.com")), lambda: NOW)
    found = listing.rows(session, Query(claimable=True), rev=None, fetch=False)
    assert [row.escalation_id for row in found.page.rows] == ["esc_000"]
