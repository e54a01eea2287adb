"""Whatever type a program gives to a method, it gets an error of kt that says what is needed, never a TypeError."""

from __future__ import annotations

import contextlib
import inspect
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from kt_escalation import Store
from kt_escalation.errors import BadInput, KtError
from kt_escalation.model import record, release
from kt_escalation.model.value import InvalidValue, Value
from kt_escalation.policies import policy_file, roster, settings, waivers
from kt_escalation.testing import MemoryRemote

#: What each parameter is given where another one is wrong.
RIGHT: dict[str, Any] = {
    "escalation_id": "esc_a",
    "escalation_ids": ["esc_a"],
    "outcome": "approved",
    "reason": "so it is",
    "text": "a note",
    "status": "executed",
    "items": [{"reason_code": "a.b"}],
    "event": {"event_type": "decision"},
    "commit": "0" * 40,
    "rule": "tree",
    "path": "queue",
    "timeout": 0,
    "source": 0,
    "revision": "0" * 40,
    "wait": lambda left: left,
}
WRONG: dict[str, list[Any]] = {
    "str": [5, 1.5, b"esc_a", ["esc_a"], {"a": 1}, object(), True, ""],
    "float": ["1s", b"1", [1], {}, object(), True, -1, -0.5, math.nan],
    "int": ["1", 1.5, [1], {}, object(), True, -1, 0],
    "Collection[str]": ["esc_a", 5, b"esc_a", object(), [5], [None]],
    "str | Mapping[str, str]": [5, b"x", ["x"], object(), {"esc_a": 5}, {}, "x"],
    "Iterable[Mapping[str, Any]]": ["esc_a", 5, b"esc_a", object(), [5], {"a": 1}],
    "Mapping[str, Any]": ["esc_a", 5, b"esc_a", object(), [5]],
}
#: For these any text is right: the ends of a range, and what a text of nothing means.
ANY_TEXT = {("claim_next", "team"), ("resolved_ids", "prefix")}


def parameters() -> Iterator[tuple[str, str, str]]:
    """Each parameter of a method that works on a store in memory as well, and the type that it asks for."""
    for method, function in inspect.getmembers(Store, inspect.isfunction):
        if method.startswith("_") or method == "init" or function.__module__.endswith("audit_store"):
            continue
        for name, parameter in inspect.signature(function).parameters.items():
            asked = str(parameter.annotation).removesuffix(" | None")
            is_checked = name not in ("rev", "provider", "model", "since") and (method, name) not in ANY_TEXT
            if asked in WRONG and parameter.kind is not parameter.VAR_KEYWORD and is_checked:
                yield method, name, asked


@pytest.mark.parametrize(("method", "name", "asked"), list(parameters()))
def test_a_wrong_type_is_an_error_of_kt(method: str, name: str, asked: str) -> None:
    for wrong in WRONG[asked]:
        remote = MemoryRemote()
        with remote.store("alice@example.com") as store:
            store.create(request_id="a", reason_code="a.b")
            store.claim("esc_a")
            if method in ("wait", "wait_and_release", "release", "receipt", "reopen"):
                store.resolve("esc_a", "approved", "so it is")
            given = {**_needed(method), name: wrong}
            if method.startswith("wait"):
                given.setdefault("timeout", 0)
            before = remote.commits[-1].id
            with pytest.raises(KtError):
                _call(getattr(store, method), given)
            assert remote.commits[-1].id == before


def _needed(method: str) -> dict[str, Any]:
    asked = inspect.signature(getattr(Store, method)).parameters.values()
    return {one.name: RIGHT[one.name] for one in asked if one.default is one.empty and one.name in RIGHT}


def _call(method: Any, given: dict[str, Any]) -> None:
    first = [given.pop("record")] if "record" in given else []
    method(*first, **given)


@pytest.mark.parametrize("timeout", [-1, math.nan, "1s", True])
def test_a_wait_says_what_a_timeout_is(timeout: Any) -> None:
    store = MemoryRemote().store("gw@example.com")
    store.create(request_id="a", reason_code="a.b")
    with pytest.raises(BadInput, match="the timeout must be a number of seconds from 0 on, or None, not "):
        store.wait("esc_a", timeout)


def test_what_a_store_in_memory_does_not_have_is_said_at_once() -> None:
    store = MemoryRemote().store("gw@example.com")
    for call in (store.log, store.events, store.watch, store.verify, store.stats):
        with pytest.raises(BadInput, match="no git history"):
            call()


ODD: tuple[Any, ...] = (
    None,
    5,
    -1,
    1.5,
    "x",
    "",
    [],
    {},
    True,
    [5],
    [None],
    {"a": []},
    {5: 5},
    10**30,
    "\x00",
)
MODELS = [
    kind
    for room in (record, release, roster, settings, waivers, policy_file)
    for _, kind in inspect.getmembers(room, inspect.isclass)
    if issubclass(kind, Value) and kind.__module__ == room.__name__
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_what_is_wrong_with_a_key_is_said_in_words_of_kt(model: type[Value]) -> None:
    said = set()
    for key in model.KEYS:
        for odd in ODD:
            with contextlib.suppress(BadInput):
                try:
                    model.parse({key: odd})
                except InvalidValue as error:
                    said |= {what for _, what in error.faults}
    assert not {what for what in said if re.search(r"\b([Ii]nput|should|Keys|String|Value)\b|\^", what)}
