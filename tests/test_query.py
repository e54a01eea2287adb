"""Which escalations a listing shows, in which order, and page by page (design, section 8)."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import json_values, texts

from kt_escalation.errors import BadInput
from kt_escalation.model import query
from kt_escalation.model.query import DEFAULT_SORT, SORTS, Page, Query, in_order, merge
from kt_escalation.model.record import Claim, Record, Resolution, Route
from kt_escalation.model.summary import RecordSummary, summary_of
from kt_escalation.model.vocabulary import SEVERITIES
from kt_escalation.storage import layout

pytestmark = pytest.mark.fast

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
EVERYTHING = Query(statuses=frozenset({"queued", "claimed", "resolved"}))
ORDERS = [f"{dash}{name}" for dash in ("", "-") for name in SORTS]


def line(name: str, **keys: Any) -> RecordSummary:
    made = {
        "status": "queued",
        "reason_code": "oversight.required",
        "created_at": NOON,
        "raised_at": NOON,
        "raised_by": "gw@example.com",
        "queued_at": NOON,
        "route": Route(source="default"),
    }
    record = Record(escalation_id=f"esc_{name}", **{**made, **keys})
    return summary_of(record, layout.path_of(record), "0" * 40)


def select(rows: Sequence[RecordSummary], wanted: Query, sort: str, limit: int, cursor: str | None) -> Page:
    return query.select(rows, replace(wanted, sort=sort, limit=limit, cursor=cursor))


def held(by: str) -> dict[str, Any]:
    return {"status": "claimed", "claim": Claim(claim_id="c", claimed_by=by, claimed_at=NOON)}


def ended(by: str) -> dict[str, Any]:
    end = Resolution(outcome="denied", reason="no", resolved_by=by, resolved_at=NOON)
    return {**held(by), "status": "resolved", "resolution": end}


def names(rows: Sequence[RecordSummary]) -> str:
    return " ".join(one.escalation_id.removeprefix("esc_") for one in rows)


# --- what is shown --------------------------------------------------------------------------------

FEW = (
    line("critical", severity="critical", created_at=NOON - timedelta(hours=1)),
    line("legal", route=Route(team_id="legal", source="event"), created_at=NOON - timedelta(hours=2)),
    line("erins", route=Route(user_id="Erin@example.com", source="event"), agent_id="a1", **held("erin")),
    line("frank", severity="low", agent_id="a1", **held("Frank@Example.com")),
    line("over", route=Route(team_id="legal", source="event"), **ended("frank@example.com")),
)


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Query(), "critical legal erins frank"),
        (Query(statuses=frozenset({"queued"})), "critical legal"),
        (Query(statuses=frozenset({"claimed"})), "erins frank"),
        (Query(statuses=frozenset({"resolved"})), "over"),
        (EVERYTHING, "critical legal erins over frank"),
        (Query(statuses=frozenset()), ""),
        (Query(severities=frozenset({"critical", "low"})), "critical frank"),
        (Query(severities=frozenset({"high"})), ""),
        (Query(team="legal"), "legal"),
        (Query(words="LEG esc_"), "legal"),
        (Query(words="esc_ nobody"), ""),
        (Query(words=" "), "critical legal erins frank"),
        (Query(statuses=EVERYTHING.statuses, team="legal"), "legal over"),
        (Query(team="LEGAL"), ""),
        (Query(user="erin"), "erins"),
        (Query(user="erin@EXAMPLE.com"), "erins"),
        (Query(user="frank@example.com"), "frank"),
        (Query(statuses=EVERYTHING.statuses, user="frank@example.com"), "over frank"),
        (Query(user="nobody"), ""),
        (Query(agent_id="a1"), "erins frank"),
        (Query(agent_id="A1"), ""),
        (Query(agent_id="a1", severities=frozenset({"low"})), "frank"),
        (Query(since=NOON - timedelta(hours=1)), "critical erins frank"),
        (Query(since=NOON), "erins frank"),
        (Query(since=NOON + timedelta(milliseconds=1)), ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_listing_shows_what_is_asked_for(wanted: Query, shown: str) -> None:
    assert names(select(FEW, wanted, DEFAULT_SORT, 0, None).rows) == shown


# --- in which order -------------------------------------------------------------------------------


def minutes(created: int, raised: int, queued: int) -> dict[str, datetime]:
    values = {"created_at": created, "raised_at": raised, "queued_at": queued}
    return {key: NOON + timedelta(minutes=value) for key, value in values.items()}


MIXED = (
    line("a", severity="low", **minutes(1, 4, 2)),
    line("b", severity="critical", **minutes(3, 3, 4)),
    line("c", severity="critical", **minutes(2, 2, 3)),
    line("d", severity="medium", **minutes(4, 1, 1)),
    line("e", severity="high", **minutes(5, 5, 5)),
    line("f", severity="high", **minutes(5, 5, 5)),
)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("severity", "c b e f d a"),
        ("created", "a c b d e f"),
        ("raised", "d c b a e f"),
        ("queued", "d a c b e f"),
        ("id", "a b c d e f"),
    ],
)
def test_each_order_and_its_reverse(sort: str, order: str) -> None:
    assert names(select(MIXED, EVERYTHING, sort, 0, None).rows) == order
    assert names(select(MIXED, EVERYTHING, f"-{sort}", 0, None).rows) == order[::-1]


def test_every_order_is_tried_and_the_default_is_the_one_in_which_claims_are_taken() -> None:
    assert set(SORTS) == {"severity", "created", "raised", "queued", "id"}
    assert tuple(in_order(MIXED)) == select(MIXED, EVERYTHING, DEFAULT_SORT, 0, None).rows


@pytest.mark.parametrize("sort", ["", "-", "--id", "Severity", "id ", "created_at", "severity,id", "id\n"])
def test_an_unknown_order_is_bad_input_that_names_the_known_ones(sort: str) -> None:
    with pytest.raises(BadInput, match="severity, created, raised, queued, id"):
        select(MIXED, EVERYTHING, sort, 0, None)


# --- page by page ---------------------------------------------------------------------------------

#: Few different times, so that many are equal and the id has to decide.
CLOCK = st.integers(0, 3).map(lambda minute: NOON + timedelta(minutes=minute))
MANY = st.lists(
    st.builds(
        lambda number, severity, created, raised, queued: line(
            str(number), severity=severity, created_at=created, raised_at=raised, queued_at=queued
        ),
        st.integers(0, 99),
        st.sampled_from(SEVERITIES),
        CLOCK,
        CLOCK,
        CLOCK,
    ),
    max_size=12,
    unique_by=lambda one: one.escalation_id,
)


@settings(max_examples=examples(150))
@given(MANY, st.sampled_from(ORDERS), st.integers(1, 5))
def test_pages_show_everything_exactly_once_and_in_order(
    rows: list[RecordSummary], sort: str, limit: int
) -> None:
    whole = select(rows, EVERYTHING, sort, 0, None)
    assert sorted(names(whole.rows).split()) == sorted(names(rows).split())
    assert whole.next_cursor is None
    seen: list[RecordSummary] = []
    cursor: str | None = None
    for _ in range(len(rows) + 1):
        page = select(rows[::-1], EVERYTHING, sort, limit, cursor)
        seen += page.rows
        assert (page.next_cursor is None) == (len(seen) == len(rows))
        assert len(page.rows) == limit or page.next_cursor is None
        cursor = page.next_cursor
        if cursor is None:
            break
    assert tuple(seen) == whole.rows


@settings(max_examples=examples(150))
@given(st.lists(MANY, min_size=2, max_size=3), st.sampled_from(ORDERS), st.integers(1, 5))
def test_the_pages_of_several_stores_are_merged_into_one_list(
    stores: list[list[RecordSummary]], sort: str, limit: int
) -> None:
    wanted = replace(EVERYTHING, sort=sort)

    def merged(wanted: Query) -> tuple[Sequence[tuple[int, RecordSummary]], str | None]:
        pages = {n: query.select(rows, replace(wanted, place=(n,))) for n, rows in enumerate(stores)}
        return merge(pages, wanted)

    whole, end = merged(wanted)
    assert end is None
    assert len(whole) == sum(map(len, stores))
    for n, rows in enumerate(stores):
        assert tuple(row for place, row in whole if place == n) == query.select(rows, wanted).rows
    keys = [SORTS[sort.removeprefix("-")](row) for _, row in whole]
    assert keys == sorted(keys, reverse=sort.startswith("-"))
    seen: list[tuple[int, RecordSummary]] = []
    cursor: str | None = None
    while True:
        page, cursor = merged(replace(wanted, limit=limit, cursor=cursor))
        seen += page
        assert (cursor is None) == (len(seen) == len(whole))
        if cursor is None:
            break
        assert len(page) == limit
    assert seen == [*whole]


@pytest.mark.parametrize("places", [(), (0,)])
def test_a_cursor_of_one_store_is_none_of_several_and_the_reverse(places: tuple[int, ...]) -> None:
    made = query.select(MIXED, replace(EVERYTHING, limit=2, place=places)).next_cursor
    other = () if places else (0,)
    with pytest.raises(BadInput, match="cursor"):
        query.select(MIXED, replace(EVERYTHING, cursor=made, place=other))


@settings(max_examples=examples(60))
@given(MANY, st.sampled_from(ORDERS), st.data())
def test_a_page_goes_on_where_it_ended_though_others_come_and_go(
    rows: list[RecordSummary], sort: str, data: st.DataObject
) -> None:
    whole = select(rows, EVERYTHING, sort, 0, None).rows
    first = select(rows, EVERYTHING, sort, 2, None)
    if first.next_cursor is None:
        return
    gone = data.draw(st.sets(st.sampled_from(names(whole).split())))
    left = [one for one in rows if names([one]) not in gone]
    rest = select(left, EVERYTHING, sort, 0, first.next_cursor).rows
    assert rest == tuple(one for one in whole[2:] if one in left)


def cursor_of(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


BAD = [
    *("", "x", "xx", "====", "a b", "ü", "\ud800", "-_-_", "W10", "e30", "bnVsbA", "A" * 5, "W" * 10_000),
    *(cursor_of(value) for value in (None, 1, "severity", [], {}, {"severity": 1}, [1], [None, 0, "", ""])),
    *(
        cursor_of(["severity", *key])
        for key in ([], [0], [0, ""], [0, "", "", ""], [0.5, "", ""], [None, "", ""])
    ),
    *(cursor_of(["severity", *key]) for key in (["0", "", ""], [0, 1, ""], [0, "", 1], [[0], "", ""])),
    *(cursor_of([sort, 0, "", ""]) for sort in ("-severity", "id", "Severity", "")),
]


@pytest.mark.parametrize("cursor", BAD, ids=lambda cursor: f"{cursor!r:.30}")
def test_what_is_no_cursor_of_this_order_is_bad_input(cursor: str) -> None:
    with pytest.raises(BadInput, match="cursor"):
        select(MIXED, EVERYTHING, "severity", 2, cursor)


@settings(max_examples=examples(150))
@given(
    texts()
    | json_values().map(cursor_of)
    | st.lists(json_values(), max_size=3).map(lambda key: cursor_of(["severity", *key]))
)
def test_any_cursor_gives_a_page_or_bad_input_and_nothing_else(cursor: str) -> None:
    try:
        assert select(MIXED, EVERYTHING, "severity", 2, cursor).rows is not None
    except BadInput as error:
        assert "cursor" in error.message


def test_a_negative_limit_is_bad_input() -> None:
    with pytest.raises(BadInput, match="limit is -1"):
        select(MIXED, EVERYTHING, "severity", -1, None)
