"""Delivers events: to a program, or to a webhook with signed requests.

Keeps the cursor file. See docs/events.md. An event is repeated until it is delivered, in order, and only then
does the cursor move. So if kt is killed at any moment, the same event is delivered again, and none is lost.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import random
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from ..errors import BadInput, DeliveryFailed
from ..frozen import dataclass
from ..model.event import Cursor, Event, source
from ..model.times import parse_time
from ..storage import atomic_file
from . import chat

#: The variable with the webhook's secret. There is no option for it, because options are visible in process
#: lists.
SECRET = "KT_WEBHOOK_SECRET"  # noqa: S105 - the variable's name
# The sizes of a key that Standard Webhooks allows, in bytes.
_LEAST_KEY, _LONGEST_KEY = 24, 64
# The longest time from the first byte sent to the last byte of the answer's head. After that, the try has
# failed (Standard Webhooks advises 15 to 30 s).
_ANSWER_SECONDS = 20.0
#: The first pause after a failed try, and the longest. Pauses double, and the real one is a random part.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
#: The longest pause that a Retry-After header can ask for, in seconds.
LONGEST_ASKED = 3600.0
#: How many times a failed try is repeated. All of them take about four minutes.
RETRIES = 8

_TYPES = {"cloudevents": "application/cloudevents+json; charset=utf-8"}


class Failed(Exception):
    """One try failed. ``after`` is the time to the next try in seconds, if known; ``final``: do not try again."""

    def __init__(self, problem: str, *, after: float | None = None, final: bool = False) -> None:
        super().__init__(problem)
        self.after = after
        self.final = final


class Taker(Protocol):
    """A destination of events."""

    def take(self, event_id: str, body: bytes) -> None:
        """Deliver one event, or raise Failed."""


# --- the bytes ------------------------------------------------------------------------------------


def body(event: Event, form: str, address: str, page: str | None = None) -> bytes:
    """One event as one line of JSON, without a line feed: plain, as a CloudEvent in structured mode, or for a chat.

    Everything but plain ASCII is escaped. ``address`` is that of the store, which becomes the CloudEvent's
    source (CloudEvents 1.0, JSON event format). ``page`` is that of a pull request, for chats.
    """
    if form in chat.FORMATS:
        return json.dumps(chat.message(event, form, page)).encode()
    content = event.as_dict()
    if form == "cloudevents":
        content = {
            "specversion": "1.0",
            "id": event.id,
            "source": source(address),
            "type": f"kt.escalation.{event.action}",
            "subject": event.escalation_id,
            "time": f"{event.at:%Y-%m-%dT%H:%M:%SZ}",
            "datacontenttype": "application/json",
            "data": content,
        }
    return json.dumps(content).encode()


# --- a command ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A program that runs once for each event, with the event on its stdin. Exit code 0 means delivered."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Command:
        """The command in a line of text, split like a shell would, but run without one. Raises BadInput."""
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise BadInput(problem=f"--exec {text[:80]!r} cannot be split into words: {error}") from None
        if not words:
            raise BadInput(problem="--exec is empty; give a command, such as --exec './notify --team legal'")
        if shutil.which(words[0]) is None:
            raise BadInput(
                problem=f"--exec: there is no program {words[0][:80]!r}; it is run without a shell, so write "
                "--exec \"sh -c '…'\" for what a shell does"
            )
        return cls(words)

    def take(self, event_id: str, body: bytes) -> None:  # noqa: ARG002 - it is in the body
        """Run the program. Raises Failed."""
        try:
            # A file instead of a pipe: the program gets all of it, even if kt is killed meanwhile.
            with tempfile.TemporaryFile() as file:
                file.write(body + b"\n")
                file.seek(0)
                done = subprocess.run(self.words, stdin=file, check=False)
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise Failed(f"{self.words[0]} could not be started: {words}") from None
        if done.returncode < 0:
            raise Failed(f"{self.words[0]} was ended by signal {-done.returncode}")
        if done.returncode:
            raise Failed(f"{self.words[0]} exited with {done.returncode}")


# --- a webhook ------------------------------------------------------------------------------------


def keys(environment: Mapping[str, str]) -> tuple[bytes, ...]:
    """The keys to sign with, from KT_WEBHOOK_SECRET.

    During a key change there are several, separated by spaces.
    Raises BadInput, whose message never shows a secret.
    """
    given = environment.get(SECRET, "").split()
    make = f'make one with `export {SECRET}="whsec_$(openssl rand -base64 32)"`'
    if not given:
        raise BadInput(problem=f"{SECRET} is not set, and nothing is sent unsigned; {make}")
    found = []
    for text in given:
        try:
            key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            raise BadInput(
                problem=f"{SECRET} is not base64, with or without whsec_ before it; {make}"
            ) from None
        if not _LEAST_KEY <= len(key) <= _LONGEST_KEY:
            raise BadInput(
                problem=f"{SECRET} holds a key of {len(key)} bytes; it must have {_LEAST_KEY} to {_LONGEST_KEY}; {make}"
            )
        found.append(key)
    return tuple(found)


def signature(keys: tuple[bytes, ...], event_id: str, timestamp: int, body: bytes) -> str:
    """Sign an event for a webhook: the header `webhook-signature` (Standard Webhooks 1.0.0).

    It has one `v1,…` for each key, separated by spaces.
    """
    signed = f"{event_id}.{timestamp}.".encode() + body
    macs = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as an error, so events go only to the address that the operator gave."""

    def redirect_request(self, *_: object) -> None:
        return None


class _Cuttable(http.client.HTTPConnection):
    """A connection that another thread can close, whatever it is doing."""

    _is_cut = False

    def connect(self) -> None:
        super().connect()
        if self._is_cut:
            self.close()
            raise TimeoutError

    def cut(self) -> None:
        """Close the connection, now or as soon as it is made."""
        self._is_cut = True
        with contextlib.suppress(OSError):
            if self.sock:
                self.sock.shutdown(socket.SHUT_RDWR)


class _CuttableTLS(_Cuttable, http.client.HTTPSConnection):
    """The same as `_Cuttable`, over TLS."""


class _Exchange(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """One request and its answer, with a time limit for all of it.

    A socket's timeout is for each read, so it would never stop a server that sends a byte now and then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._connections: list[_Cuttable] = []
        self._error: BaseException | None = None

    def run(self, request: urllib.request.Request, seconds: float) -> None:
        """Send the request, and read the head of the answer. Raises like urllib, and TimeoutError."""
        thread = threading.Thread(target=self._run, args=(request, seconds), daemon=True)
        thread.start()
        try:
            thread.join(seconds)
        finally:
            late = thread.is_alive()
            if late:
                for connection in self._connections:
                    connection.cut()
        if late:
            raise TimeoutError("timed out")
        if self._error is not None:
            raise self._error

    def _run(self, request: urllib.request.Request, seconds: float) -> None:
        try:
            urllib.request.build_opener(_StayHere, self).open(request, timeout=seconds).close()
        except BaseException as error:
            self._error = error

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connection, _Cuttable), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connection, _CuttableTLS), req)

    def _connection(self, kind: type[_Cuttable], host: str, **how: Any) -> _Cuttable:
        made = kind(host, **how)
        self._connections.append(made)
        return made


def address_in(name: str) -> str:
    """The address in the first line of a file. In a file, no list of processes shows it. Raises BadInput."""
    try:
        text = Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(problem=f"{name}: {getattr(error, 'strerror', 'is not UTF-8')}") from None
    return (text.splitlines() or [""])[0].strip()


def require_address(url: str) -> None:
    """Raise BadInput unless it is an http or https address without a user name or password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise BadInput(problem="--webhook is not an address such as https://example.com/hook")
    if parts.username is not None or parts.password is not None:
        raise BadInput(
            problem="--webhook has a user name or a password in it; remove it, since the signature proves the sender"
        )


@dataclass(frozen=True)
class Webhook:
    """A webhook: events are sent by POST, signed by Standard Webhooks. A 2xx response means delivered.

    Without ``keys`` nothing is signed. This is for chats, whose addresses are the secret.
    """

    url: str
    keys: tuple[bytes, ...]
    form: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def take(self, event_id: str, body: bytes) -> None:
        """Send one event once. Raises Failed."""
        now = int(self.clock().timestamp())
        headers = {
            "Content-Type": _TYPES.get(self.form, "application/json"),
            "User-Agent": "kt-escalation",
        }
        if self.keys:
            headers |= {
                "webhook-id": event_id,
                "webhook-timestamp": str(now),
                "webhook-signature": signature(self.keys, event_id, now, body),
            }
        request = urllib.request.Request(  # noqa: S310 - `require_address` was called
            self.url, data=body, method="POST", headers=headers
        )
        # The path and the query of a webhook are often secret, so they are never shown.
        parts = urlsplit(self.url)
        where = f"{parts.scheme}://{parts.netloc}"
        try:
            _Exchange().run(request, _ANSWER_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            if 300 <= error.code < 400:
                raise Failed(
                    f"{where} answered {error.code}, a redirect; give its new address", final=True
                ) from None
            asked = _retry_after(error.headers.get("Retry-After"), self.clock())
            raise Failed(f"{where} answered {error.code}", after=asked, final=error.code == 410) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise Failed(f"{where} did not answer: {words}") from None


def _retry_after(text: str | None, now: datetime) -> float | None:
    """How long a server asks to wait, in seconds. The header has a number or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    try:
        if text.strip().isascii() and text.strip().isdigit():
            return min(float(text), LONGEST_ASKED)
        when = email.utils.parsedate_to_datetime(text)
        return min(max((when - now).total_seconds(), 0.0), LONGEST_ASKED)
    except (ValueError, TypeError, OverflowError):
        return None


# --- until it is taken ----------------------------------------------------------------------------


def hand_over(
    taker: Taker, event: Event, body: bytes, *, retries: int = RETRIES, tell: Callable[[str], None]
) -> None:
    """Deliver one event. Tries again after growing pauses, or when the receiver asks for it.

    ``tell`` gets a line for each failed try. Raises DeliveryFailed after the last one.
    """
    for tried in range(retries + 1):
        try:
            taker.take(event.id, body)
            return
        except Failed as failed:
            if failed.final or tried == retries:
                raise DeliveryFailed(
                    event_id=event.id, escalation_id=event.escalation_id, tries=tried + 1, problem=str(failed)
                ) from None
            longest = min(FIRST_PAUSE * 2 ** min(tried, 30), LONGEST_PAUSE)
            pause = longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
            pause = max(pause, failed.after or 0.0)
            tell(f"event {event.id}: {failed}; next try in {pause:.0f} s")
            time.sleep(pause)


# --- how far it has come --------------------------------------------------------------------------


class _OwnFile:
    """A file of this program alone. It is replaced as a whole, and flushed to disk, each time."""

    #: What is in it, for messages.
    holds: str

    def __init__(self, name: str) -> None:
        self.path = Path(os.path.realpath(name))

    def _text(self) -> str | None:
        try:
            return self.path.read_bytes().decode("ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            problem = getattr(error, "strerror", f"is not {self.holds}")
            raise BadInput(problem=f"{self.path}: {problem}") from None

    def _replace(self, text: str) -> None:
        try:
            atomic_file.write(self.path, text.encode("ascii"))
        except OSError as error:
            raise BadInput(problem=f"{self.path} cannot be written: {error.strerror}") from None


class CursorFile(_OwnFile):
    """A file with the position to continue from."""

    holds = "a cursor"

    def read(self) -> str | None:
        """The content: a cursor or an RFC 3339 time. None if the file does not exist yet. Raises BadInput."""
        text = self._text()
        if text is not None and Cursor.parse(text) is None:
            try:
                parse_time(text)
            except ValueError:
                raise BadInput(
                    problem=f"{self.path} does not hold a cursor; name another file, or delete this one and say with --since where to begin"
                ) from None
        return text

    def write(self, cursor: str) -> None:
        """Replace the content. It survives a crash of the machine right after. Raises BadInput."""
        self._replace(f"{cursor}\n")


class NoticesFile(_OwnFile):
    """A file with the ids of notices that were sent, one on each line."""

    holds = "a list of notices"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._ids = set((self._text() or "").splitlines())

    def __contains__(self, event_id: object) -> bool:
        return event_id in self._ids

    def add(self, event_id: str) -> None:
        """Add the id of a notice that was sent. Raises BadInput."""
        self._ids.add(event_id)
        self._replace("".join(f"{name}\n" for name in sorted(self._ids)))
