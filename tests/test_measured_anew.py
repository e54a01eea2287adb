"""What two evaluations of one request measure anew is no content: the first stays, and the repeat is a repeat."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from counts import examples
from gateway_input import event
from gateways import draft
from hypothesis import given, settings
from hypothesis import strategies as st

from kt_escalation import Store
from kt_escalation.errors import DifferentContent
from kt_escalation.testing import MemoryRemote

NUMBERS = st.floats(0, 1, allow_nan=False) | st.integers(0, 2**40)
SCORES = st.dictionaries(st.sampled_from(["groundedness", "toxicity", "a.b"]), NUMBERS)
#: What each evaluation measures; a key may also be there once and missing once.
MEASURED = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.sampled_from(["2026-11-23T09:14:02Z", "2027-01-01T00:00:00Z"]),
        "scores": SCORES,
        "degraded_mode": st.booleans() | st.none(),
    },
)
LATENCIES = st.lists(st.none() | NUMBERS, min_size=3, max_size=3)
#: What was decided on, and is the same whenever it is evaluated.
CONTENT: dict[str, Any] = {
    "prompt_hash": "hmac-sha256:7265",
    "excerpt": "Refund 100",
    "policy_results": [
        {"policy_kind": "human-oversight", "verdict": "escalate"},
        {"policy_kind": "prompt-injection", "verdict": "allow", "detail": {"latency_ms": 3, "scores": [1]}},
        "a result that is no mapping",
    ],
}
#: One change each, which is other content; what looks like a measurement is one only where evaluations put it.
OTHERWISE: dict[str, Any] = {
    "another verdict": lambda it: it["policy_results"][0].update(verdict="block"),
    "one result less": lambda it: it["policy_results"].pop(),
    "results in another order": lambda it: it["policy_results"].reverse(),
    "a latency deeper in": lambda it: it["policy_results"][1]["detail"].update(latency_ms=4),
    "scores deeper in": lambda it: it["policy_results"][1]["detail"].update(scores=[2]),
    "scores of a result": lambda it: it["policy_results"][0].update(scores={"groundedness": 1}),
    "a latency of the whole": lambda it: it.update(latency_ms=4),
    "another prompt": lambda it: it.update(prompt_hash="hmac-sha256:7266"),
    "another key": lambda it: it.update(more=1),
}


def evaluated(measured: dict[str, Any], latencies: list[Any]) -> dict[str, Any]:
    """The context of one evaluation."""
    found = {**deepcopy(CONTENT), **measured}
    for result, latency in zip(found["policy_results"], latencies, strict=True):
        if latency is not None and isinstance(result, dict):
            result["latency_ms"] = latency
    return found


def store() -> tuple[MemoryRemote, Store]:
    world = MemoryRemote({"policies/policy-config.yaml": b"pack: {enabled: true}\n"})
    return world, world.store("gw@example.com")


@settings(max_examples=examples(40))
@given(MEASURED, LATENCIES, MEASURED, LATENCIES)
def test_a_request_that_is_evaluated_again_is_raised_once(
    once: dict[str, Any], latencies: list[Any], again: dict[str, Any], others: list[Any]
) -> None:
    world, gateway = store()
    first = gateway.create(draft("r", event_context=evaluated(once, latencies)))
    count = len(world.commits)
    repeat = gateway.create(draft("r", event_context=evaluated(again, others)))
    assert first.changed
    assert not repeat.changed
    assert len(world.commits) == count
    assert repeat.record == first.record


@pytest.mark.parametrize("how", OTHERWISE)
@pytest.mark.parametrize(
    "measured", [{}, {"scores": {"a.b": 1}, "degraded_mode": True}], ids=["alike", "anew"]
)
def test_all_else_is_content(how: str, measured: dict[str, Any]) -> None:
    world, gateway = store()
    gateway.create(draft("r", event_context=evaluated({}, [None] * 3)))
    other = evaluated(measured, [len(measured)] * 3)
    OTHERWISE[how](other)
    count = len(world.commits)
    with pytest.raises(DifferentContent, match="event_context"):
        gateway.create(draft("r", event_context=other))
    assert len(world.commits) == count


@settings(max_examples=examples(10))
@given(SCORES, NUMBERS, st.booleans())
def test_the_same_holds_of_a_gateways_own_events(
    scores: dict[str, Any], latency: float, degraded: bool
) -> None:
    world, gateway = store()
    first = gateway.raise_event(event())
    again = deepcopy(event(timestamp="2026-11-23T09:20:00Z"))
    again["details"] |= {"scores": scores, "degraded_mode": degraded}
    again["details"]["policy_results"][1]["latency_ms"] = latency
    count = len(world.commits)
    repeat = gateway.raise_event(again)
    assert not repeat.changed
    assert repeat.record == first.record
    assert len(world.commits) == count
    again["details"]["policy_results"][0]["verdict"] = "block"
    with pytest.raises(DifferentContent):
        gateway.raise_event(again)


def test_a_batch_may_have_one_request_as_it_was_evaluated_twice() -> None:
    world, gateway = store()
    lines = [draft("r", event_context=evaluated({"scores": {"a.b": one}}, [one] * 3)) for one in (1, 2)]
    found = gateway.raise_many(lines)
    assert len({record.escalation_id for record in found.records}) == 1
    assert len(world.commits) == 2
    assert found.records[0].as_dict()["event_context"]["scores"] == {"a.b": 1}
