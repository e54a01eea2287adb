"""What strangers try against a desk: each attack over real loopback, and the state of the store that it left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from counts import examples
from desks import FORM, Served, desk
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import Lab, kt, kt_process

from kt_escalation.web.security import Guard, Keys

PAGES = ("", "decided", "state", "e/esc_one", "e/esc_one/history", "e/esc_one/alike")
CHANGES = ("next", "e/esc_one/claim", "e/esc_one/note", "e/esc_one/decide", "e/esc_one/alike/claim")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("desk"))
    for name in ("one", "two"):
        ran = kt("raise", "--request-id", name, "--reason-code", "a.b", cwd=lab.clone(f"gw-{name}"))
        assert ran.code == 0, ran.err
    return lab


@pytest.fixture(scope="module")
def served(place: Lab) -> Iterator[Served]:
    with desk(place.clone("alice")) as it:
        yield it


@pytest.fixture(scope="module", autouse=True)
def untouched(place: Lab) -> Iterator[None]:
    """No attack has changed the store."""
    before = place.tip()
    yield
    assert place.tip() == before


def test_the_desk_itself_works(served: Served) -> None:
    for page in PAGES:
        assert served.get(page).status == 200, page
    assert served.get(sec_fetch_site="same-origin", origin=served.origin).status == 200
    assert served.get(sec_fetch_site="none").status == 200


def test_every_answer_is_closed_to_others(served: Served) -> None:
    answers = [
        served.send("GET", path) for path in ("/", "/desk.js", "/desk.css", "/report.css", "/icon.svg", "/no")
    ]
    answers += [served.get(page) for page in PAGES]
    answers += [
        served.get(host="evil.example"),
        served.get("e/esc_no"),
        served.post("next", csrf=None, cookie=None),
    ]
    for answer in answers:
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
        assert "<style" not in answer.text
        assert "<script>" not in answer.text
        assert " style=" not in answer.text


@pytest.mark.parametrize("path", ["/", "/desk.js", *PAGES, *CHANGES])
@pytest.mark.parametrize(
    "host",
    [
        None,
        "evil.example",
        "evil.example:{port}",
        "localhost:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]:{port}",
    ],
)
def test_another_name_for_this_machine_gets_nothing(served: Served, path: str, host: str | None) -> None:
    """A page of evil.example whose name leads to 127.0.0.1 (rebinding) sends that name."""
    asked = path if path.startswith("/") else f"{served.room}{path}"
    name = host and host.format(port=served.port)
    answer = served.send("GET", asked, host=name, cookie=served.cookie)
    assert answer.status in (400, 421)
    assert len(answer.text) < 60
    answer = served.send(
        "POST", asked, f"csrf={served.csrf}", host=name, cookie=served.cookie, content_type=FORM
    )
    assert answer.status in (400, 421)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_another_sites_page_gets_nothing(served: Served, site: str) -> None:
    """Also one at another port of this machine, which for a browser is the same site."""
    assert served.get(sec_fetch_site=site).status == 403
    assert served.send("GET", "/", sec_fetch_site=site).status == 403
    assert served.post("next", sec_fetch_site=site).status == 403


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example", "http://127.0.0.1:1", "http://localhost:{port}", ""]
)
def test_another_origin_gets_nothing(served: Served, origin: str) -> None:
    name = origin.format(port=served.port)
    for path in CHANGES:
        assert served.post(path, origin=name).status == 403
    assert served.get(origin=name).status == 403
    assert served.send("OPTIONS", f"{served.room}next", origin=name).status == 403


def test_a_change_names_its_origin_and_carries_the_pages_token(served: Served) -> None:
    for path in CHANGES:
        assert served.post(path, origin=None).status == 403
        for token in ("", "guess", served.token, served.cookie.partition("=")[2], served.csrf[:-1]):
            assert served.post(path, {"csrf": token}).status == 403
        body = f'{{"csrf": "{served.csrf}"}}'
        sent = {"cookie": served.cookie, "origin": served.origin}
        for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x", None):
            assert served.send("POST", f"{served.room}{path}", body, content_type=kind, **sent).status == 415
        assert served.send("PUT", f"{served.room}{path}", body, **sent).status == 405
        # A link or a picture changes nothing either.
        assert served.get(f"{path}?csrf={served.csrf}").status in (404, 405)


@pytest.mark.parametrize(
    "cookie", [None, "", "kt_desk=", "kt_desk=guess", "kt_desk={token}", "other={session}"]
)
def test_without_the_session_there_is_no_page(served: Served, cookie: str | None) -> None:
    made = cookie and cookie.format(token=served.token, session=served.cookie.partition("=")[2])
    for path in PAGES:
        answer = served.get(path, cookie=made)
        assert answer.status == 401
        assert "esc_one" not in answer.text
    for path in CHANGES:
        assert served.post(path, cookie=made).status == 401
    assert served.get("live", cookie=made).status == 401


def test_the_cookie_goes_to_no_other_server_of_this_machine(place: Lab) -> None:
    with desk(place.clone("carol"), enter=False) as it:
        sent = {"origin": it.origin, "content_type": FORM}
        got = it.send("POST", "/session", urlencode({"token": it.token}), **sent)
        name, *rest = got.headers["set-cookie"].split("; ")
        # Cookies know no ports: its path is one that only the desk's own pages know.
        assert rest == [f"Path={got.text}", "HttpOnly", "SameSite=Strict"]
        assert len(got.text) > 40
        assert it.send("GET", "/e/esc_one", cookie=name).status == 404
        # The token in the address has been used, whoever it was.
        again = it.send("POST", "/session", urlencode({"token": it.token}), **sent)
        assert again.text == ""
        assert "set-cookie" not in again.headers
        door = it.send("GET", "/")
        assert it.token not in door.text
        assert name.partition("=")[2] not in door.text
        assert got.text not in door.text


def test_a_stolen_or_wrong_token_opens_nothing(place: Lab) -> None:
    with desk(place.clone("dora"), enter=False) as it:
        sent = {"origin": it.origin, "content_type": FORM}
        for token in ("", "guess", it.token[:-1], f"{it.token}x", "\u00e9"):
            got = it.send("POST", "/session", urlencode({"token": token}), **sent)
            assert got.text == ""
            assert "set-cookie" not in got.headers
        # From another site's form it is not even looked at.
        for other in ({"origin": "https://evil.example"}, {"origin": None}, {"sec_fetch_site": "cross-site"}):
            assert (
                it.send("POST", "/session", urlencode({"token": it.token}), **{**sent, **other}).status == 403
            )
        it.enter()


@pytest.mark.parametrize("twice", ["host", "origin", "cookie", "sec-fetch-site", "content-type"])
def test_a_header_that_comes_twice_is_refused(served: Served, twice: str) -> None:
    """What one reader of a request takes first and another last would be checked by one and used by the other."""
    lines = {
        "host": served.host,
        "origin": served.origin,
        "cookie": served.cookie,
        "sec-fetch-site": "same-origin",
        "content-type": FORM,
    }
    text = "".join(f"{name}: {value}\r\n" for name, value in [*lines.items(), (twice, lines[twice])])
    assert raw(served, f"GET {served.room} HTTP/1.1\r\n{text}\r\n").startswith("HTTP/1.1 400")


def raw(served: Served, request: str) -> str:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as line:
        line.sendall(request.encode())
        return line.recv(4096).decode("latin-1")


def test_long_and_broken_requests_end_early(served: Served) -> None:
    assert served.post("e/esc_one/note", {"note": "x" * 1_100_000}).status == 413
    sent = {"cookie": served.cookie, "origin": served.origin, "content_type": FORM}
    for body in ("%zz", "csrf", "csrf=%ff", ""):
        assert served.send("POST", f"{served.room}next", body, **sent).status in (400, 403)
    upgrade = f"GET {served.room}live HTTP/1.1\r\nHost: {served.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert " 401 " in raw(served, upgrade).splitlines()[0]


@pytest.mark.parametrize(
    "path", ["../", "e/..%2f..%2fetc", "e/-x", "e/esc_%00", "e/ESC_ONE", f"e/{'x' * 9000}", "%2e%2e/"]
)
def test_a_path_is_only_an_id(served: Served, path: str) -> None:
    assert 400 <= served.get(path).status < 500


def test_it_listens_on_loopback_alone(served: Served) -> None:
    listening = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.rpartition(":")[2], 16) == served.port:
                listening.append(local.rpartition(":")[0])
    assert listening == ["0100007F"]


def test_there_is_no_other_address_and_no_taken_port(served: Served, place: Lab) -> None:
    clone = place.folder / "alice"
    ran = kt("web", "--host", "example.com", cwd=clone)
    assert ran.code == 2
    assert "--host" in ran.err
    for port in (str(served.port), "65536"):
        ran = kt("web", "--no-open", "--port", port, cwd=clone)
        assert ran.code == 2
        assert f"port {port} is not available" in ran.err


def test_without_its_libraries_it_says_how_to_install_them(served: Served, tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text(
        "raise ModuleNotFoundError('No module named uvicorn', name='uvicorn')"
    )
    ran = kt_process("web", cwd=served.clone, env={"PYTHONPATH": str(tmp_path)})
    assert (ran.code == 2 and "web needs uvicorn" in ran.err and "[web]" in ran.err) or "`web`" in ran.err


GOOD = {
    "host": "127.0.0.1:8000",
    "origin": "http://127.0.0.1:8000",
    "sec-fetch-site": "same-origin",
    "cookie": "kt_desk={session}",
    "content-type": FORM,
    "csrf": "{csrf}",
}
BAD = {
    "host": [
        "",
        "127.0.0.1",
        "127.0.0.1:8000.evil.example",
        "localhost:8000",
        "127.0.0.1:8000 ",
        "127.1:8000",
    ],
    "origin": [
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:8000.evil.example",
        "https://127.0.0.1:8000",
        "HTTP://x",
    ],
    "sec-fetch-site": ["cross-site", "same-site", "Same-Origin", ""],
    "cookie": [
        "",
        "kt_desk=",
        "kt_desk={csrf}",
        "kt_desk={launch}",
        "x={session}",
        "kt_desk={session}x",
        '"',
        "\x7f",
    ],
    "content-type": ["", "text/plain", "application/json", "multipart/form-data"],
    "csrf": ["", "{session}", "{launch}", "x"],
}


@given(
    wrong=st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in BAD.items()}),
    missing=st.sets(st.sampled_from(["host", "origin", "cookie", "csrf", "content-type"]), max_size=1),
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "post"]),
)
@settings(max_examples=examples(300))
def test_a_request_passes_only_if_nothing_of_it_is_wrong(
    wrong: dict[str, str], missing: set[str], method: str
) -> None:
    keys = Keys()
    secrets = {"session": keys.session, "csrf": keys.csrf, "launch": keys.launch}
    sent = {name: value.format(**secrets) for name, value in {**GOOD, **wrong}.items() if name not in missing}
    csrf = sent.pop("csrf", None)
    body = urlencode({"csrf": csrf} if csrf is not None else {"x": ""}).encode()
    reached: list[str] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert 400 <= message["status"] < 500
            assert (b"x-frame-options", b"DENY") in message["headers"]

    headers = [(name.encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "method": method, "path": f"{keys.room}/next", "headers": headers}
    asyncio.run(Guard(inside, keys, GOOD["host"])(scope, receive, send))
    faults = {*wrong, *missing}
    if method in ("GET", "HEAD"):
        # These change nothing: they may have no origin, no form and no token.
        faults -= {"csrf", "content-type"} | (missing & {"origin"})
    assert bool(reached) == (not faults and method in ("GET", "HEAD", "POST"))
