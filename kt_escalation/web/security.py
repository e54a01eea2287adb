"""Decides which requests the desk accepts: only those of its own pages in one browser.

See docs/desk.md, *What it refuses*.
Every request passes `Guard` first, and every response gets the same security headers.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "kt_desk"
#: The name of the field, in each form, that proves that the page came from here.
CSRF = "csrf"
#: Where a form's fields are put for the pages: each name with its values.
FORM = "kt.form"
#: Pages that need no session: the door, where the token is exchanged, and files without any secret.
OPEN = frozenset({"/", "/session", "/desk.js", "/desk.css", "/report.css", "/icon.svg"})
_FORMS = "application/x-www-form-urlencoded"
#: The largest body. A reason has at most 16 KiB, an amendment 24 KiB, each character at most nine bytes in a form.
MAX_BODY = 1_000_000
_SECRET_BYTES = 32
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    # With no-referrer a browser would call the origin of our own forms "null".
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def _secret() -> str:
    return secrets.token_urlsafe(_SECRET_BYTES)


@dataclass
class Keys:
    """The secrets of one desk, made when it starts and forgotten when it ends.

    ``launch`` opens the desk once. ``room`` is the path of all pages. Cookies do not depend on the port, but
    a cookie with this path is not sent to other servers on this machine.
    """

    launch: str = field(default_factory=_secret)
    session: str = field(default_factory=_secret)
    csrf: str = field(default_factory=_secret)
    room: str = field(default_factory=lambda: f"/{_secret()}")
    _used: bool = False

    def exchange(self, token: str) -> bool:
        """Whether the token opens the desk. A token works only once."""
        good = _same(token, self.launch) and not self._used
        self._used = self._used or good
        return good

    def cookie(self) -> str:
        """The Set-Cookie header for the browser that has exchanged the token."""
        return f"{COOKIE}={self.session}; Path={self.room}/; HttpOnly; SameSite=Strict"


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


class ForeignRequest(Exception):
    """The request does not come from the desk's own pages. ``status`` is the response's status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Guard:
    """An ASGI application in front of another one.

    It refuses foreign requests and adds security headers to responses.
    """

    def __init__(self, app: ASGIApp, keys: Keys, host: str) -> None:
        self._app = app
        self._keys = keys
        self._hosts = frozenset({host})
        self._origins = frozenset({f"http://{host}"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a 4xx status and one line."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _with(message.get("headers", ()))}
            await send(message)

        try:
            if scope["type"] != "http":
                raise ForeignRequest(403, "only HTTP")
            headers = _read(scope["headers"])
            self._check_sender(scope["method"], headers)
            self._check_session(scope["path"], headers)
            if scope["method"] == "POST":
                receive = await self._checked_body(scope, headers, receive)
        except ForeignRequest as error:
            await _refuse(scope, closed, error)
            return
        await self._app(scope, receive, closed)

    def _check_sender(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse a request with another host name (DNS rebinding), from another site's page, or in a form that our pages never send."""
        if headers.get("host") not in self._hosts:
            raise ForeignRequest(421, "this is not the desk's address")
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins:
            raise ForeignRequest(403, "another site asks")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise ForeignRequest(403, "another site asks")
        if method not in ("GET", "HEAD", "POST"):
            raise ForeignRequest(405, "only GET and POST")
        if method == "POST" and origin is None:
            raise ForeignRequest(403, "a request that changes something must name its origin")

    def _check_session(self, path: str, headers: Mapping[str, str]) -> None:
        if path in OPEN:
            return
        if not path.startswith(f"{self._keys.room}/"):
            raise ForeignRequest(404, "there is nothing here")
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            found = None
        if found is None or not _same(found.value, self._keys.session):
            raise ForeignRequest(401, "open the desk by the address that its terminal has printed")

    async def _checked_body(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Receive:
        """Read the body of a request that changes something, check its CSRF token, and keep its fields for the page."""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORMS:
            raise ForeignRequest(415, "only forms")
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ForeignRequest(400, "the request was cut short")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY:
                raise ForeignRequest(413, "that is too long")
        try:
            form = parse_qs(
                body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"
            )
        except (UnicodeError, ValueError):
            raise ForeignRequest(400, "that is not a form") from None
        if scope["path"] not in OPEN and not _same(form.get(CSRF, [""])[0], self._keys.csrf):
            raise ForeignRequest(403, "this form is not from a page of this desk")
        scope[FORM] = form

        async def nothing_left() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        return nothing_left


def _read(raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The headers by name. Raises Refused if a header that is checked occurs twice."""
    found: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1").lower()
        if key in found and key in ("host", "origin", "sec-fetch-site", "cookie", "content-type"):
            raise ForeignRequest(400, "a header occurs twice")
        found[key] = value.decode("latin-1")
    return found


def _with(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in given if name.decode("latin-1").lower() not in _HEADERS]
    return [*kept, *((name.encode(), value.encode()) for name, value in _HEADERS.items())]


async def _refuse(scope: Scope, send: Send, error: ForeignRequest) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{error}\n".encode()})
