"""The package's public names: what is exported, what may be given, and the store in memory, as a program uses them."""

from __future__ import annotations

import inspect
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import api_page
import pytest
from lab import Lab
from pages import TOP, UPDATE

import kt_escalation
from kt_escalation import Query, Store
from kt_escalation.errors import AlreadyClaimed, BadInput, ClaimIdDiffers, SeveralFailed, WaitTimeout
from kt_escalation.testing import MemoryRemote

PAGE = TOP / "docs/api.md"


@pytest.fixture
def remote() -> MemoryRemote:
    lease = "claims: {lease: 1h}\n"
    return MemoryRemote(
        {"policies/policy-config.yaml": "pack: {enabled: true}\n", "policies/settings.yaml": lease}
    )


@pytest.fixture
def store(remote: MemoryRemote) -> Store:
    """Alice's store, with three escalations."""
    seconds = itertools.count()
    began = datetime.now(UTC) - timedelta(minutes=10)
    alice = remote.store("alice@example.com", clock=lambda: began + timedelta(seconds=next(seconds)))
    for number, severity in enumerate(("low", "critical", "high"), 1):
        alice.create(request_id=f"r{number}", reason_code="a.b", severity=severity)
    return alice


# --- names --------------------------------------------------------------------------------------------


def test_every_name_is_there_once_and_shown_without_loading_anything() -> None:
    script = (
        "import sys, kt_escalation as k; found = set(dir(k)); "
        "print(set(k.__all__) <= found, 'kt_escalation.store' in sys.modules, 'pydantic' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "True False False\n"
    assert kt_escalation.__all__ == sorted({*kt_escalation._HOMES, "__version__"})
    for name in kt_escalation._HOMES:
        assert getattr(kt_escalation, name).__name__ == name


@pytest.mark.parametrize("name", sorted(name for name in dir(Store) if not name.startswith("_")))
def test_every_type_that_a_method_returns_is_exported(name: str) -> None:
    unknown = api_page.returned(name) - set(kt_escalation.__all__)
    assert not unknown


def test_the_page_is_what_the_docstrings_say() -> None:
    written = api_page.page()
    if UPDATE:
        PAGE.write_text(written)
    assert PAGE.read_text() == written, "write it again with `make api-page`"


# --- one and several ----------------------------------------------------------------------------------

ONE: dict[str, Callable[[Store, object], object]] = {
    "get": lambda store, given: store.get(given),  # type: ignore[arg-type]
    "wait": lambda store, given: store.wait(given, timeout=0),  # type: ignore[arg-type]
    "claim": lambda store, given: store.claim(given),  # type: ignore[arg-type]
    "renew": lambda store, given: store.renew(given),  # type: ignore[arg-type]
    "unclaim": lambda store, given: store.unclaim(given),  # type: ignore[arg-type]
    "assign": lambda store, given: store.assign(given, "why", team="legal"),  # type: ignore[arg-type]
    "resolve": lambda store, given: store.resolve(given, "denied", "why"),  # type: ignore[arg-type]
    "note": lambda store, given: store.note(given, "text"),  # type: ignore[arg-type]
    "reopen": lambda store, given: store.reopen(given, "why"),  # type: ignore[arg-type]
    "restore": lambda store, given: store.restore(given, "why"),  # type: ignore[arg-type]
    "withdraw": lambda store, given: store.withdraw(given, "why"),  # type: ignore[arg-type]
    "release": lambda store, given: store.release(given),  # type: ignore[arg-type]
    "wait_and_release": lambda store, given: store.wait_and_release(given, 0),  # type: ignore[arg-type]
    "receipt": lambda store, given: store.receipt(given, "executed"),  # type: ignore[arg-type]
    "sweeping": lambda store, given: store.sweeping(given, 0, lambda left: store.wait("esc_r1", left)),  # type: ignore[arg-type]
    "request_page": lambda store, given: store.request_page(given, "HEAD"),  # type: ignore[arg-type]
}
SEVERAL: dict[str, Callable[[Store, str], object]] = {
    "claim_many": lambda store, given: store.claim_many(given),
    "renew_many": lambda store, given: store.renew_many(given),
    "unclaim_many": lambda store, given: store.unclaim_many(given),
    "assign_many": lambda store, given: store.assign_many(given, "why", team="legal"),
    "resolve_many": lambda store, given: store.resolve_many(given, "denied", "why"),
    "withdraw_many": lambda store, given: store.withdraw_many(given, "why"),
    "evidence": lambda store, given: store.evidence(given, io.BytesIO()),
}


def test_every_method_that_takes_ids_is_tried_here() -> None:
    methods = {
        name: inspect.signature(getattr(Store, name))
        for name in dir(Store)
        if name[0] != "_" and callable(getattr(Store, name))
    }
    # Without an id, `log` tells of all.
    assert {name for name, told in methods.items() if "escalation_id" in told.parameters} == {*ONE, "log"}
    assert {name for name, told in methods.items() if "escalation_ids" in told.parameters} == set(SEVERAL)


@pytest.mark.parametrize("name", sorted(ONE))
def test_a_list_is_refused_where_one_is_needed(store: Store, name: str) -> None:
    with pytest.raises(BadInput, match="one escalation id is needed"):
        ONE[name](store, ["esc_r1"])


@pytest.mark.parametrize("name", sorted(SEVERAL))
def test_a_text_is_refused_where_a_list_is_needed(store: Store, name: str) -> None:
    with pytest.raises(BadInput, match="a list of escalation ids is needed, not 'esc_r1'"):
        SEVERAL[name](store, "esc_r1")


def test_a_program_claims_and_decides_one_and_several(store: Store, remote: MemoryRemote) -> None:
    assert store.claim("esc_r1", claim_id="one").record.status == "claimed"
    assert {record.status for record in store.claim_many({"esc_r2", "esc_r3"}).records} == {"claimed"}
    with pytest.raises(AlreadyClaimed) as held:
        remote.store("bob@example.com").claim("esc_r1")
    assert held.value.claimed_by == "alice@example.com"
    with pytest.raises(ClaimIdDiffers) as other:
        store.claim("esc_r1", claim_id="two")
    assert (other.value.claim_id, other.value.given) == ("one", "two")
    assert store.resolve("esc_r1", "denied", "No").record.resolution is not None
    assert len(store.resolve_many(["esc_r2", "esc_r3"], "approved", "Yes").records) == 2


@pytest.mark.parametrize("action", ["claim", "renew", "unclaim", "assign", "resolve", "note"])
def test_a_dry_run_of_any_action_says_what_would_change_and_changes_nothing(
    store: Store, action: str
) -> None:
    if action != "claim":
        store.claim("esc_r1")
    before = store.get("esc_r1").record
    act: dict[str, Callable[[], kt_escalation.Result]] = {
        "claim": lambda: store.claim("esc_r1", dry_run=True),
        "renew": lambda: store.renew("esc_r1", dry_run=True),
        "unclaim": lambda: store.unclaim("esc_r1", dry_run=True),
        "assign": lambda: store.assign("esc_r1", "why", team="legal", dry_run=True),
        "resolve": lambda: store.resolve("esc_r1", "denied", "why", dry_run=True),
        "note": lambda: store.note("esc_r1", "text", dry_run=True),
    }
    result = act[action]()
    assert not result.changed
    assert result.replaced == (before,)
    assert store.get("esc_r1").record == before


# --- raising and listing ------------------------------------------------------------------------------


def test_the_old_name_of_create_raises_the_same(store: Store) -> None:
    assert not store.raise_(request_id="r1", reason_code="a.b", severity="low").changed
    assert store.raise_({"request_id": "r9", "reason_code": "a.b"}).changed


def test_many_are_raised_from_mappings_records_and_events_alike(store: Store) -> None:
    event = {"request_id": "r5", "verdict": "escalate", "reason_code": "a.b"}
    result = store.raise_many(
        [{"request_id": "r4", "reason_code": "a.b"}, event, {**event, "verdict": "allow"}]
    )
    assert [line.number for line in result.lines] == [1, 2, 3]
    assert (result.written, result.skipped) == (2, 1)
    with pytest.raises(SeveralFailed) as wrong:
        store.raise_many([{"reason_code": "a.b"}, {"severity": "odd"}, {"severity": "odder"}])
    assert [failure.where for failure in wrong.value.failures] == [2, 3]
    for one in ({"reason_code": "a.b"}, "text"):
        with pytest.raises(BadInput, match="a list of records or events is needed"):
            store.raise_many(one)  # type: ignore[arg-type]


def test_a_list_takes_the_filters_of_the_command(store: Store) -> None:
    def listed(**filters: object) -> list[str]:
        return [record.escalation_id for record in store.list(**filters).records]  # type: ignore[arg-type]

    store.claim("esc_r1")
    assert listed() == ["esc_r2", "esc_r3", "esc_r1"]
    assert listed(status="claimed") == ["esc_r1"]
    assert listed(status=["claimed", "resolved"], mine=True) == ["esc_r1"]
    assert listed(severity="high") == ["esc_r3"]
    assert listed(severity=("high", "low"), sort="-id") == ["esc_r3", "esc_r1"]
    assert listed(request_id="r2") == ["esc_r2"]
    assert listed(request_id={"r2", "r3"}, claimable=True) == ["esc_r2", "esc_r3"]
    assert listed(team="legal") == listed(user="bob") == listed(agent_id="x") == listed(overdue=True) == []
    assert listed(since=datetime.now(UTC) + timedelta(hours=1)) == []
    page = store.list(limit=2)
    assert listed(limit=2, cursor=page.next_cursor) == ["esc_r1"]
    assert store.list(Query(limit=1)).records == page.records[:1]
    for wrong in ({"status": "odd"}, {"severity": ["odd"]}, {"request_id": ""}, {"sort": "odd"}):
        with pytest.raises(BadInput):
            listed(**wrong)
    with pytest.raises(BadInput, match="not both"):
        store.list(Query(), status="all")


def test_a_store_in_memory_refuses_what_needs_a_repository_and_waits(store: Store) -> None:
    for asked in (store.verify, store.lint, store.stats, lambda: list(store.log()), store.events):
        with pytest.raises(BadInput, match="no git history"):
            asked()
    with pytest.raises(WaitTimeout) as late:
        store.wait("esc_r1", timeout=0)
    assert (late.value.escalation_id, late.value.status) == ("esc_r1", "queued")


# --- reports, in a repository -------------------------------------------------------------------------


def test_all_that_auditors_and_authors_of_policies_ask_is_on_the_store(lab: Lab) -> None:
    lab.put({"queue/.gitkeep": ""})
    with Store.open(lab.clone("alice")) as store:
        store.create(request_id="r1", reason_code="a.b", severity="high")
        store.claim("esc_r1")
        store.resolve("esc_r1", "denied", "No")
        assert store.verify().clean
        assert store.check("HEAD..HEAD").clean
        out = io.BytesIO()
        assert store.export(out).records == 1
        assert json.loads(out.getvalue())["escalation"]["escalation_id"] == "esc_r1"
        assert store.evidence(["esc_r1"], io.BytesIO(), minimal=True).escalation_ids == ("esc_r1",)
        assert (store.stats("reviewer").total.resolved, store.stats().rows) == (1, ())
        html = io.BytesIO()
        assert len(store.report(html).cases) == 1
        assert b"esc_r1" in html.getvalue()
        assert store.lint().faults == ()
        assert store.route(severity="high").route.source
        assert store.replay(store.policies()) == (1, ())
        assert [moment.action for moment in store.log("esc_r1")] == ["resolve", "claim", "raise"]
        assert [event.action for event in store.events()] == ["raise", "claim", "resolve"]
