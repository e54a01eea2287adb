"""Promise 6, whatever happens: a decision is for one thing, once, in its time, and what was proposed never changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from forge import ROSTER
from gateways import DIGEST, GATEWAY_SETTINGS, draft
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from kt_escalation.errors import KtError
from kt_escalation.model.record import Record
from kt_escalation.model.release import Release
from kt_escalation.model.vocabulary import RELEASING
from kt_escalation.rules import amending
from kt_escalation.storage import layout, yaml_text
from kt_escalation.testing import MemoryRemote

NAMES = ("one", "two", "three")
PEOPLE = ("alice", "bob", "carol", "boss", "gw", "eve")
OUTCOMES = ("approved", "redacted", "rewritten", "denied")
VALUES = ({"amount": 1}, {"amount": 90, "to": "eve"}, {"amount": 900})
CODES = ("tool.call", "tool.two", "later.use")
OTHER = "sha256:" + "0" * 64
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FILES = {
    "policies/policy-config.yaml": b"pack: {enabled: true}\n",
    "policies/roster.yaml": ROSTER.encode(),
    "policies/settings.yaml": GATEWAY_SETTINGS.encode(),
}


class Gateways(RuleBasedStateMachine):
    """People and gateways who try everything, each in a clone of their own, and some behind the newest state."""

    def __init__(self) -> None:
        super().__init__()
        self.world = MemoryRemote(FILES)
        self.now = NOON
        self.stores = {who: self.world.store(f"{who}@example.com", clock=lambda: self.now) for who in PEOPLE}
        #: What each caller was told that it may run, by escalation.
        self.told: dict[str, list[str]] = {}
        #: What was proposed, and each amendment, as they were first seen.
        self.proposed: dict[str, Any] = {}
        self.seen = 0

    @initialize(outcome=st.sampled_from(["approved", "rewritten"]), steps=st.sampled_from([4, 4, 3, 2]))
    def begin(self, outcome: str, steps: int) -> None:
        """Most begin with one that was used already, so that what comes after is tried as well."""
        self.live("one", "tool.call", outcome, "gw", steps)

    def attempt(self, action: Any, *args: Any, **more: Any) -> Any:
        try:
            return action(*args, **more)
        except KtError:
            return None

    @rule(name=st.sampled_from(NAMES), code=st.sampled_from(CODES))
    def raise_one(self, name: str, code: str) -> None:
        self.attempt(self.stores["gw"].create, draft(name, code))

    @rule(
        who=st.sampled_from(PEOPLE),
        name=st.sampled_from(NAMES),
        outcome=st.sampled_from(OUTCOMES),
        value=st.none() | st.sampled_from(VALUES),
    )
    def decide(self, who: str, name: str, outcome: str, value: Any) -> None:
        store = self.stores[who]
        if self.attempt(store.claim, f"esc_{name}"):
            self.attempt(store.resolve, f"esc_{name}", outcome, "so", amendment=value)

    @rule(
        name=st.sampled_from(NAMES),
        code=st.sampled_from(CODES),
        outcome=st.sampled_from(["approved", "rewritten"]),
        user=st.sampled_from(["gw", "boss"]),
        steps=st.integers(1, 4),
    )
    def live(self, name: str, code: str, outcome: str, user: str, steps: int) -> None:
        """A life as it should be, or the beginning of one: raised, decided alike by two people, used, receipted."""
        self.raise_one(name, code)
        for who in ("alice", "bob") if steps > 1 else ():
            self.decide(who, name, outcome, VALUES[0] if outcome == "rewritten" else None)
        if steps > 2:
            self.release(user, name, DIGEST, "T1", amended=True)
        if steps > 3:
            self.receipt(user, name, "unknown", None)

    @rule(who=st.sampled_from(PEOPLE), name=st.sampled_from(NAMES))
    def withdraw(self, who: str, name: str) -> None:
        self.attempt(self.stores[who].withdraw, f"esc_{name}", "gone")

    @rule(who=st.sampled_from(PEOPLE), name=st.sampled_from(NAMES))
    def reopen(self, who: str, name: str) -> None:
        self.attempt(self.stores[who].reopen, f"esc_{name}", "again")

    @rule(
        who=st.sampled_from(PEOPLE),
        name=st.sampled_from(NAMES),
        digest=st.sampled_from([DIGEST, OTHER, None]),
        token=st.sampled_from(["T1", "T2", None]),
        amended=st.booleans(),
    )
    def release(self, who: str, name: str, digest: str | None, token: str | None, amended: bool) -> None:
        had = self.attempt(
            self.stores[who].release, f"esc_{name}", digest=digest, release_id=token, amended=amended
        )
        if had and had.changed:
            self.told.setdefault(f"esc_{name}", []).append(had.digest)

    @rule(
        who=st.sampled_from(PEOPLE),
        name=st.sampled_from(NAMES),
        status=st.sampled_from(["executed", "failed", "unknown"]),
        reason=st.none() | st.just("seen"),
    )
    def receipt(self, who: str, name: str, status: str, reason: str | None) -> None:
        self.attempt(self.stores[who].receipt, f"esc_{name}", status, reason=reason)

    @rule(span=st.sampled_from([timedelta(seconds=1), timedelta(minutes=14), timedelta(hours=5)]))
    def wait(self, span: timedelta) -> None:
        self.now += span

    @rule()
    def sweep(self) -> None:
        self.attempt(self.stores["boss"].sweep)

    @invariant()
    def each_decision_is_used_once_for_what_it_is(self) -> None:
        for before, after in zip(
            self.world.commits[self.seen :], self.world.commits[self.seen + 1 :], strict=False
        ):
            for path, data in after.files.items():
                if before.files.get(path) != data:
                    self._changed(before.files, after.files, path)
            assert {path for path in before.files if layout.released_id(path)} <= after.files.keys()
        self.seen = len(self.world.commits) - 1
        released = [name for path in self.world.commits[-1].files if (name := layout.released_id(path))]
        assert len(released) == len(set(released))
        assert all(len(digests) == 1 for digests in self.told.values())
        assert set(self.told) == set(released)

    def _changed(self, before: Any, after: Any, path: str) -> None:
        name = layout.released_id(path)
        if name is not None:
            release = yaml_text.load_release(after[path])
            if path in before:
                self._receipted(yaml_text.load_release(before[path]), release)
            else:
                self._released(before, release)
        elif layout.id_of(path):
            record = yaml_text.loads(after[path])
            first = self.proposed.setdefault(
                record.escalation_id, (record.action, record.requires.single_use)
            )
            assert (record.action, record.requires.single_use) == first
            for number, review in enumerate(record.reviews):
                key = f"{record.escalation_id}/{number}"
                assert review.amendment == self.proposed.setdefault(key, review.amendment)

    def _released(self, before: Any, release: Release) -> None:
        """A release was added: only to what was decided so before, and in time."""
        [record] = [yaml_text.loads(data) for path, data in before.items() if self._is(path, release)]
        end = record.resolution
        assert end is not None
        assert end.outcome in RELEASING
        assert record.requires.single_use
        assert (release.outcome, release.resolved_at) == (end.outcome, end.resolved_at)
        assert release.digest == amending.effective_digest(record)
        assert release.released_by in ("gw", "boss")
        assert self.told[release.escalation_id] == [release.digest]
        assert release.receipt is None
        assert release.released_at >= end.resolved_at
        within = record.requires.valid_for
        assert within is None or release.released_at <= end.resolved_at + within
        assert not any(self._reopens(data, record) for path, data in before.items() if layout.id_of(path))

    def _receipted(self, before: Release, after: Release) -> None:
        """A receipt was added, or an admin said what an unknown one was."""
        assert before.replace(receipt=after.receipt) == after
        assert after.receipt is not None
        if before.receipt is None:
            assert after.receipt.receipt_by == before.released_by
        else:
            assert before.receipt.status == "unknown" != after.receipt.status
            assert after.receipt.receipt_by == "boss"
            assert after.receipt.reason

    def _is(self, path: str, release: Release) -> bool:
        return layout.id_of(path) == release.escalation_id

    def _reopens(self, data: bytes, record: Record) -> bool:
        found = yaml_text.loads(data)
        is_withdrawn = found.resolution is not None and found.resolution.outcome == "withdrawn"
        return found.reopens == record.escalation_id and not is_withdrawn

    def teardown(self) -> None:
        files = self.world.commits[-1].files
        REACHED["releases"] += len(self.told)
        REACHED["receipts"] += sum(b"receipt:" in data for data in files.values())


#: What the machines have come to: a property of nothing would be no promise.
REACHED = {"releases": 0, "receipts": 0}


def test_a_decision_is_used_once_for_what_it_is() -> None:
    REACHED.update(releases=0, receipts=0)
    run_state_machine_as_test(Gateways, settings=settings(max_examples=25, stateful_step_count=40))
    assert min(REACHED.values()) > 0


@pytest.mark.soak
def test_a_decision_is_used_once_for_what_it_is_a_thousand_times() -> None:
    run_state_machine_as_test(Gateways, settings=settings(max_examples=1_000, stateful_step_count=60))
