"""`kt gateway serve`: each call over a real socket, what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from gateways import DIGEST, draft
from hypothesis import HealthCheck, settings
from lab import kt_gateway
from room import Room
from served import AUTH, TOKEN, Answered, Served, until

from kt_escalation.gateway.server import listening

LITELLM = "/beta/litellm_basic_guardrail_api"


@pytest.fixture(scope="module")
def served(room: Room) -> Iterator[Served]:
    made = Served(room.gw, room.folder / "served", "--hold", "8s", "--excerpt", "20", "--header", "X-Team")
    yield made
    code, err = made.end()
    assert code == 0, err
    assert "Traceback" not in err


def submitted(served: Served, *call: Any, **options: Any) -> Future[Answered]:
    """The answer to a call, when it comes."""
    pool = ThreadPoolExecutor(1)
    found = pool.submit(served.call, *call, **options)
    pool.shutdown(wait=False)
    return found


def held(served: Served, room: Room, name: str, *call: Any, **options: Any) -> Future[Answered]:
    """The answer to a call that raises a request of that name and is held."""
    found = submitted(served, *call, **options)
    until(lambda: found.done() or bool(room.commits("raise", name)))
    return found


def plain(name: str, **more: Any) -> dict[str, Any]:
    return {"request_id": name, "reason_code": "a.b", **more}


def test_a_review_is_held_decided_and_released_once(room: Room, served: Served) -> None:
    asked = held(served, room, "esc_h1", "POST", "/v1/reviews", draft("h1"))
    room.decide("h1")
    answer = asked.result(20)
    assert answer.status == 200, answer.data
    found = answer.json
    assert (found["outcome"], found["release"], found["changed"]) == ("approved", True, True)
    assert found["digest"] == DIGEST
    assert found["by"] == ["alice"]
    again = served.call("POST", "/v1/reviews", draft("h1"))
    assert (again.status, again.code) == (409, "already_released")
    receipt = served.call("POST", "/v1/reviews/esc_h1/receipt", {"status": "executed"})
    assert receipt.status == 200
    assert receipt.json["receipt"]["status"] == "executed"
    assert served.call("POST", "/v1/reviews/esc_h1/receipt", {"status": "failed"}).code == "other_receipt"


def test_what_is_pending_is_asked_for_again_at_its_place(room: Room, served: Served) -> None:
    asked = served.call("POST", "/v1/reviews?hold=0.5", draft("h2"))
    assert asked.status == 202, asked.data
    assert asked.json["escalation_id"] == "esc_h2"
    assert asked.headers["retry-after"] == "5"
    place = asked.headers["location"]
    assert place == "/v1/reviews/esc_h2"
    assert served.call("GET", f"{place}?hold=0").status == 202
    assert served.call("POST", f"{place}/release", {"digest": DIGEST}).code == "not_resolved"
    room.decide("h2")
    assert served.call("GET", place).code == "release_needed"
    assert served.call("POST", f"{place}/release", {}).status == 400
    assert served.call("POST", f"{place}/release", {"digest": DIGEST}).json["release"] is True


@pytest.mark.parametrize("hold", ["0", "0.01"])
def test_who_never_holds_is_told_what_was_raised_and_decided(room: Room, served: Served, hold: str) -> None:
    name = f"brief{hold[-1]}"
    for asked in (draft(name), plain(f"{name}-plain")):
        call = ("POST", f"/v1/reviews?hold={hold}", asked)
        first = served.call(*call)
        assert (first.status, first.json.get("escalation_id")) == (202, f"esc_{asked['request_id']}"), (
            first.data
        )
        assert served.call(*call).status == 202
        room.decide(asked["request_id"])
        found = served.call(*call)
        assert found.status == 200, found.data
        assert found.json["release"] is True, found.data


def test_a_denial_is_an_answer_and_what_is_taken_back_releases_nothing(room: Room, served: Served) -> None:
    for name in ("h3", "h4"):
        assert served.call("POST", "/v1/reviews?hold=0.1", plain(name)).status in (202, 503)
    until(lambda: served.call("GET", "/v1/reviews/esc_h4?hold=0").status == 202)
    room.decide("h3", outcome="denied")
    denied = served.call("GET", "/v1/reviews/esc_h3")
    assert denied.status == 200
    assert denied.json["release"] is False
    taken = served.call("DELETE", "/v1/reviews/esc_h4?reason=nobody+asks")
    assert taken.status == 200
    assert taken.json["changed"] is True
    assert served.call("GET", "/v1/reviews/esc_h4").json["outcome"] == "withdrawn"


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        (("POST", "/v1/reviews", b"{"), 400, "bad_input"),
        (("POST", "/v1/reviews", b'{"a": 1, "a": 2}'), 400, "bad_input"),
        (("POST", "/v1/reviews", b"[" * 100_000), 400, "bad_input"),
        (("POST", "/v1/reviews", []), 400, "bad_input"),
        (("POST", "/v1/reviews", {"reason_code": "A b"}), 400, "bad_input"),
        (("POST", "/v1/reviews?hold=301", plain("x")), 400, "bad_input"),
        (("POST", "/v1/reviews?hold=NaN", plain("x")), 400, "bad_input"),
        (
            ("POST", "/v1/reviews", {"verdict": "allow", "request_id": "x", "reason_code": "a.b"}),
            400,
            "bad_input",
        ),
        (("POST", "/v1/reviews", b" " * 10_000_000), 413, "too_large"),
        (("GET", "/v1/reviews/esc_nobody?hold=0"), 404, "not_found"),
        (("GET", "/v1/reviews/..%2f..%2fetc?hold=0"), 404, "not_found"),
        (("GET", "/v1/reviews/ESC?hold=0"), 400, "bad_input"),
        (("POST", "/v1/reviews", plain("one", severity="high")), 409, "different_content"),
        (("PUT", "/v1/reviews"), 405, "method_not_allowed"),
        (("GET", "/nowhere"), 404, "not_found"),
    ],
)
def test_what_cannot_be_used_is_refused(
    served: Served, call: tuple[Any, ...], status: int, code: str
) -> None:
    began = time.monotonic()
    try:
        answer = served.call(*call)
    except (BrokenPipeError, ConnectionResetError):
        # It answered and closed before it was sent all of it.
        assert status == 413
        return
    assert (answer.status, answer.code) == (status, code), answer.data
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"X-API-Key": f"{TOKEN}x"},
        {"X-API-Key": "é"},
    ],
)
def test_without_the_token_nothing_is_answered(served: Served, headers: dict[str, str]) -> None:
    began = time.monotonic()
    for method, path in (("POST", "/v1/reviews"), ("GET", "/metrics"), ("GET", "/openapi.json")):
        answer = served.call(method, path, headers=headers, token=False)
        assert (answer.status, answer.code) == (401, "unauthorized")
    assert served.call("GET", "/healthz", headers=headers, token=False).json == {"ok": True}
    blocked = served.call("POST", LITELLM, {"texts": ["a"]}, headers=headers, token=False)
    assert (blocked.status, blocked.json["action"]) == (200, "BLOCKED")
    assert served.call("GET", "/ext_authz/a", headers=headers, token=False).status == 403
    assert time.monotonic() - began < 10


def test_the_other_header_of_the_token_and_metrics(served: Served) -> None:
    answer = served.call("GET", "/metrics", headers={"x-api-key": TOKEN}, token=False)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    text = answer.data.decode()
    for name in ("held", "oldest_seconds", "raised_total", "failures_total", "fetches_total"):
        assert f"kt_gateway_{name} " in text
    assert text.endswith("# EOF\n")


def litellm(name: str, *texts: str, **more: Any) -> dict[str, Any]:
    """A call of LiteLLM's guardrail, as it sends it."""
    return {
        "texts": [*texts],
        "images": [],
        "request_data": {"user_api_key_hash": "5f", "user_api_key_user_id": "u1"},
        "request_headers": {"x-request-id": name, "idempotency-key": "[present]", "user-agent": "openai"},
        "input_type": "request",
        "litellm_call_id": str(uuid4()),
        "litellm_trace_id": "t",
        **more,
    }


def open_ones(room: Room, kind: str) -> list[Any]:
    """The undecided ones that are about an action of a kind."""
    found = room.alice.list(fetch=True).records
    return [one for one in found if one.action and one.action.kind == kind and one.status == "queued"]


def test_litellm_has_its_texts_released_amended_or_blocked(room: Room, served: Served) -> None:
    asked = held(served, room, "esc_l1", "POST", LITELLM, litellm("l1", "Pay bob 100 EUR, whatever it says"))
    room.decide("l1")
    assert asked.result(20).json == {"action": "NONE"}
    record = room.alice.get("esc_l1", fetch=True).record
    assert record.reason_code == "gateway.review"
    assert record.event_context is not None
    assert record.event_context["excerpt"] == "Pay bob 100 EUR, wha"
    assert str(record.event_context["prompt_hash"]).startswith("hmac-sha256:")
    asked = held(served, room, "esc_l2", "POST", LITELLM, litellm("l2", "Pay bob", "100"))
    room.decide("l2", outcome="rewritten", amendment={"texts": ["Pay bob", "10"]})
    assert asked.result(20).json == {"action": "GUARDRAIL_INTERVENED", "texts": ["Pay bob", "10"]}
    asked = held(served, room, "esc_l3", "POST", LITELLM, litellm("l3", "no"))
    room.decide("l3", outcome="denied")
    answer = asked.result(20).json
    assert answer["action"] == "BLOCKED"
    assert "denied" in answer["blocked_reason"]
    # Of a streamed answer LiteLLM would send the original, and it does not say whether it is one.
    asked = submitted(served, "POST", LITELLM, litellm("[present]", "Paid eve", input_type="response"))
    until(lambda: asked.done() or bool(open_ones(room, "model.response")))
    [name] = [one.escalation_id for one in open_ones(room, "model.response")]
    room.decide(name.removeprefix("esc_"), outcome="redacted", amendment={"texts": ["Paid somebody"]})
    answer = asked.result(20).json
    assert answer["action"] == "BLOCKED"
    assert answer["blocked_reason"].startswith(f"{name}: redacted")


@pytest.mark.parametrize("kind", ["request", "response"])
def test_a_call_without_an_id_finds_its_decision_when_it_is_sent_again(
    room: Room, served: Served, kind: str
) -> None:
    def call() -> Any:
        # LiteLLM's own id of a call is another one each time.
        return served.call("POST", LITELLM, litellm("[present]", "Is it so", input_type=kind)).json

    def asked() -> list[str]:
        return [one.escalation_id for one in open_ones(room, f"model.{kind}")]

    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(call)
        until(lambda: calling.done() or bool(asked()))
        [name] = asked()
        room.decide(name.removeprefix("esc_"))
        assert calling.result(20) == {"action": "NONE"} == call()
    assert not asked()


@pytest.mark.parametrize(
    "body",
    [
        {"texts": "no list", "input_type": "request"},
        {"texts": ["a"], "input_type": "other"},
        {"texts": ["a"], "input_type": "request", "tools": [{"limit": 1 << 60}]},
        # The id of something else that was raised.
        litellm("one", "Pay eve"),
        [],
        b"{",
        b" " * 3_000_000,
    ],
)
def test_litellm_is_blocked_with_200_whatever_is_wrong(served: Served, body: Any) -> None:
    try:
        answer = served.call("POST", LITELLM, body)
    except (BrokenPipeError, ConnectionResetError):
        return
    assert answer.status == 200
    assert answer.json["action"] == "BLOCKED"
    assert answer.json["blocked_reason"]


def test_a_proxy_is_told_yes_or_no(room: Room, served: Served) -> None:
    pending = held(served, room, "esc_e0", "GET", "/ext_authz/e0", headers={"x-request-id": "e0"})
    headers = {"x-request-id": "e1", "X-Team": "red", "X-Other": "unseen"}
    asked = held(served, room, "esc_e1", "POST", "/ext_authz/pay/bob?token=secret", headers=headers)
    room.decide("e1")
    answer = asked.result(20)
    assert answer.status == 200
    assert answer.headers["x-kt-escalation"] == "esc_e1"
    assert answer.headers["x-kt-outcome"] == "approved"
    assert answer.headers["x-kt-reason"] == "so it is"
    context = room.alice.get("esc_e1", fetch=True).record.event_context
    assert context is not None
    assert (context["method"], context["path"]) == ("POST", "/pay/bob")
    assert context["headers"] == {"x-team": "red"}
    assert "secret" not in json.dumps(context)
    # The same id for something else, and a request without an id.
    assert served.call("POST", "/ext_authz/pay/eve?token=secret", headers=headers).status == 403
    assert served.call("POST", "/ext_authz/pay/bob?token=other", headers=headers).status == 403
    assert served.call("GET", "/ext_authz/pay/bob").status == 403
    # Whatever the method, the answer is yes or no.
    for method in ("PROPFIND", "TRACE", "OPTIONS", "ODD"):
        assert served.call(method, "/ext_authz/pay/bob", headers=headers).status == 403
    asked = held(served, room, "esc_e2", "GET", "/ext_authz", headers={"Idempotency-Key": "e2"})
    room.decide("e2", outcome="redacted")
    assert asked.result(20).status == 403
    answer = pending.result(20)
    assert answer.status == 403
    assert answer.headers["x-kt-outcome"] == "pending"
    assert answer.headers["x-kt-reason"].startswith("not decided yet")


def test_slow_callers_are_let_go(served: Served) -> None:
    def ends(sent: bytes) -> float:
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as slow:
            slow.sendall(sent)
            began = time.monotonic()
            while slow.recv(4096):
                continue
            return time.monotonic() - began

    head = f"POST /v1/reviews HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n{{"
    with ThreadPoolExecutor(3) as pool:
        took = [*pool.map(ends, (b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Sl", head.encode()))]
    assert max(took) < 20


def test_no_body_names_the_machine(room: Room, served: Served) -> None:
    with room.away():
        answers = [
            served.call("POST", "/v1/reviews", plain("away")),
            served.call("GET", "/v1/reviews/esc_h9?hold=1"),
            served.call("POST", LITELLM, litellm("away-1", "a")),
            served.call("GET", "/ext_authz/a", headers={"x-request-id": "away-2"}),
        ]
    assert [one.status for one in answers] == [503, 503, 200, 403]
    assert answers[0].code == "remote_unreachable"
    assert answers[0].headers["retry-after"]
    assert answers[2].json["action"] == "BLOCKED"
    for one in answers:
        assert str(room.folder).encode() not in one.data
        assert not any(str(room.folder) in value for value in one.headers.values())


def test_a_caller_who_has_gone_is_not_held(room: Room, served: Served) -> None:
    data = json.dumps(plain("goes")).encode()
    with socket.create_connection(("127.0.0.1", served.port)) as caller:
        caller.sendall(
            b"POST /v1/reviews?on_cancel=withdraw HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n"
            b"Authorization: Bearer %s\r\n\r\n%s" % (len(data), TOKEN.encode(), data)
        )
        until(lambda: bool(room.commits("raise esc_goes")))
    until(lambda: bool(room.commits("withdraw esc_goes")))


def test_whatever_the_contract_allows_is_answered_by_it(served: Served) -> None:
    fuzz(served, 5)


@pytest.mark.soak
def test_whatever_the_contract_allows_is_answered_by_it_a_thousand_times(served: Served) -> None:
    fuzz(served, 300)


def fuzz(served: Served, examples: int) -> None:
    """Ask each call of /openapi.json with made-up input, and hold the answers to what it says of them."""
    # It takes a second to import, in each of the processes that collect the tests.
    import schemathesis
    from schemathesis.checks import CHECKS

    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{served.port}/openapi.json", headers=AUTH)
    checks = [
        CHECKS.get_one(name)
        for name in (
            "not_a_server_error",
            "status_code_conformance",
            "content_type_conformance",
            "response_schema_conformance",
        )
    ]
    calls = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
        @_given(operation)
        def ask(case: Any) -> None:
            nonlocal calls
            calls += 1
            case.query = {**(case.query or {}), **({"hold": 0} if "review" in case.path else {})}
            response = case.call(headers=AUTH)
            case.validate_response(response, checks=checks)

        ask()
    assert calls > examples


def _given(operation: Any) -> Callable[[Any], Any]:
    from hypothesis import given

    return given(case=operation.as_strategy())


def test_it_ends_in_time_and_the_request_finds_its_decision(room: Room, tmp_path: Path) -> None:
    served = Served(room.gw, tmp_path)
    asked = held(served, room, "esc_t1", "POST", "/v1/reviews", draft("t1"))
    began = time.monotonic()
    code, err = served.end()
    assert code == 0, err
    assert time.monotonic() - began < 5, err
    answer = asked.result(5)
    assert (answer.status, answer.code) == (503, "interrupted")
    assert answer.headers["retry-after"]
    room.decide("t1")
    served = Served(room.gw, tmp_path)
    assert served.call("POST", "/v1/reviews", draft("t1")).json["release"] is True
    served.end()
    assert len(room.commits("release esc_t1")) == 1 == len(room.commits("raise", "esc_t1"))


def test_no_answer_waits_for_the_one_before_it_to_be_acknowledged() -> None:
    """asyncio turns Nagle's algorithm off only for a socket that names its protocol: an answer took 44 ms, and takes 4."""
    for opened in (listening("127.0.0.1:0"), listening("localhost:0")):
        with opened:
            assert opened.proto == socket.IPPROTO_TCP


def test_a_token_or_an_address_that_cannot_be_used_is_refused(room: Room, tmp_path: Path) -> None:
    empty, token = tmp_path / "empty", tmp_path / "token"
    empty.write_text("\n")
    token.write_text(TOKEN)
    for args in (
        ("--token-file", str(tmp_path / "none")),
        ("--token-file", str(empty)),
        ("--token-file", str(token), "--listen", "nowhere"),
        ("--token-file", str(token), "--hold", "6m"),
        ("--token-file", str(token), "--header", "x user"),
    ):
        ran = kt_gateway("serve", *args, "--journal", str(tmp_path / "j"), cwd=room.gw)
        assert ran.code == 2, ran.err
        assert ran.err.startswith("kt: "), ran.err
        assert "[Errno" not in ran.err


def test_beyond_its_limit_it_says_so_and_holds_nobody_else(room: Room, tmp_path: Path) -> None:
    served = Served(room.gw, tmp_path, "--max-held", "2")
    try:
        with ThreadPoolExecutor(2) as pool:
            two = [pool.submit(served.call, "POST", "/v1/reviews?hold=4", plain(f"max{n}")) for n in range(2)]
            until(lambda: b"kt_gateway_held 2" in served.call("GET", "/metrics").data)
            for path in ("/v1/reviews/esc_max0?hold=0", "/v1/reviews/esc_nobody"):
                answer = served.call("GET", path)
                assert (answer.status, answer.code) == (429, "too_many")
                assert answer.headers["retry-after"]
            blocked = served.call("POST", LITELLM, litellm("max3", "a")).json
            assert blocked["action"] == "BLOCKED"
            assert "too_many" in blocked["blocked_reason"]
            assert [one.result(20).status for one in two] == [202, 202]
        assert served.call("GET", "/v1/reviews/esc_max0?hold=0").status == 202
    finally:
        assert served.end()[0] == 0


def test_what_asks_git_nothing_costs_no_memory(room: Room, served: Served) -> None:
    loaded(room, served, 3)


@pytest.mark.soak
def test_what_asks_git_nothing_costs_no_memory_for_a_minute(room: Room, served: Served) -> None:
    loaded(room, served, 60)


def loaded(room: Room, served: Served, seconds: float) -> float:
    """Ask what is refused, what is alive, and what was judged already, on eight connections at once; how many a second.

    The calls are bytes that were made before, so that the caller takes little of the machine.
    """
    if not room.commits("raise", "esc_load"):
        assert served.call("POST", "/v1/reviews?hold=0", plain("load")).status == 202
        room.decide("load", outcome="denied")
        assert served.call("GET", "/v1/reviews/esc_load").json["release"] is False
    calls = [
        (f"GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {token}\r\n\r\n".encode(), b"HTTP/1.1 %d " % status)
        for path, token, status in (
            ("/v1/reviews/esc_load", TOKEN, 200),
            ("/healthz", "", 200),
            ("/v1/reviews/esc_load", "wrong", 401),
        )
    ]
    fetched = "kt_gateway_fetches_total "

    def fetches() -> str:
        text = served.call("GET", "/metrics").data.decode()
        return next(line for line in text.splitlines() if line.startswith(fetched))

    def ask(number: int) -> int:
        count, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
                answer = b""
                # It closes the connection of whoever has no token.
                while b"connection: close" not in answer and time.monotonic() < end:
                    data, expected = calls[(number + count) % len(calls)]
                    connection.sendall(data)
                    answer = connection.recv(65536)
                    head, _, body = answer.partition(b"\r\n\r\n")
                    while len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]):
                        body += connection.recv(65536)
                    assert answer.startswith(expected), answer
                    count += 1
        return count

    with ThreadPoolExecutor(8) as pool:
        sum(pool.map(ask, range(8)))
        before, asked = memory(served), fetches()
        count = sum(pool.map(ask, range(8)))
    assert count > 16 * seconds
    assert fetches() == asked
    assert memory(served) < before + (8 << 20)
    return count / seconds


def memory(served: Served) -> int:
    """The bytes that the server has in memory."""
    pages = Path(f"/proc/{served.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
