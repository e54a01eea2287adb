"""Delivers events: their JSON, the command or webhook that takes them, and the cursor file. See docs/events.md.

Each event is repeated until it is delivered, in order, and only then does the cursor move. So after a kill at
any moment the same event is delivered again, and none is lost.
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
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from ..errors import BadInput, DeliveryFailed
from ..model.event import Cursor, Event, source
from ..model.times import parse_time
from ..storage import atomic_file

#: Where the webhook's secret comes from, and nowhere else: an option would stand in every process list.
SECRET = "KT_WEBHOOK_SECRET"  # noqa: S105 - the variable's name
# The sizes of a key that Standard Webhooks allows, in bytes.
_LEAST_KEY, _LONGEST_KEY = 24, 64
# What an exchange may take, from the first byte sent to the last one of the answer's head, before the try
# counts as failed (Standard Webhooks advises 15 to 30 s).
_ANSWER_SECONDS = 20.0
#: The first pause after a failed try, doubled up to the longest; the real one is a random part of it.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
#: No Retry-After makes us wait longer than this, in seconds.
LONGEST_ASKED = 3600.0
#: How often a failed try is repeated; about four minutes in all.
RETRIES = 8

FORMATS = ("json", "cloudevents")
_TYPES = {"json": "application/json", "cloudevents": "application/cloudevents+json; charset=utf-8"}


class Failed(Exception):
    """One try failed; ``after`` is when another is welcome, in seconds; ``final`` if none is."""

    def __init__(self, problem: str, *, after: float | None = None, final: bool = False) -> None:
        super().__init__(problem)
        self.after = after
        self.final = final


class Taker(Protocol):
    """What takes events."""

    def take(self, event_id: str, body: bytes) -> None:
        """Take one event, or raise Failed."""


# --- the bytes ------------------------------------------------------------------------------------


def body(event: Event, form: str, address: str) -> bytes:
    """One event as one line of JSON without its end: as it is, or as a CloudEvent in structured mode.

    All but plain ASCII is escaped. ``address`` is that of the store, which becomes the CloudEvent's
    source (CloudEvents 1.0, JSON event format).
    """
    if form != "cloudevents":
        return json.dumps(event.as_dict()).encode()
    # Nobody else pays for loading it.
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": source(address),
        "type": f"kt.escalation.{event.action}",
        "subject": event.escalation_id,
        "time": event.at,
        "datacontenttype": "application/json",
    }
    return JSONFormat().write(CloudEvent(attributes, event.as_dict()))


# --- a command ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A program that is run once for each event, with the event on its stdin; exit 0 takes it."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Command:
        """The command that a line means: split as a shell would, and run without one. Raises BadInput."""
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
        """Run it. Raises Failed."""
        try:
            # A file and no pipe: the command gets all of it, also where we are killed meanwhile.
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
    """The keys to sign with, from KT_WEBHOOK_SECRET; several, between spaces, while one replaces another.

    Raises BadInput, which never shows a secret.
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
    """What `webhook-signature` says: one `v1,…` for each key, between spaces (Standard Webhooks 1.0.0)."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    macs = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect what it is, a refusal: events go where the operator said, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        return None


class _Cuttable(http.client.HTTPConnection):
    """A connection that another thread may cut, whatever it is at."""

    _is_cut = False

    def connect(self) -> None:
        super().connect()
        if self._is_cut:
            self.close()
            raise TimeoutError

    def cut(self) -> None:
        """End what is sent and received, now or as soon as it is connected."""
        self._is_cut = True
        with contextlib.suppress(OSError):
            if self.sock:
                self.sock.shutdown(socket.SHUT_RDWR)


class _CuttableTLS(_Cuttable, http.client.HTTPSConnection):
    """The same over TLS."""


class _Exchange(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """One request and its answer, within a time for all of it.

    A timeout of a socket is for each read of its own, so a server that sends a byte now and then would never
    be given up.
    """

    def __init__(self) -> None:
        super().__init__()
        self._connections: list[_Cuttable] = []
        self._error: BaseException | None = None

    def run(self, request: urllib.request.Request, seconds: float) -> None:
        """Send it and read the answer's head. Raises as urllib does, and TimeoutError."""
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


def require_address(url: str) -> None:
    """Raise BadInput for what is no http or https address, or holds somebody's name or password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise BadInput(problem="--webhook is no address such as https://example.com/hook")
    if parts.username is not None or parts.password is not None:
        raise BadInput(problem="--webhook holds a user or a password; the signature says who sends")


@dataclass(frozen=True)
class Webhook:
    """An address that events are sent to by POST, signed as Standard Webhooks has it; 2xx takes one."""

    url: str
    keys: tuple[bytes, ...]
    form: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @classmethod
    def of(cls, url: str, keys: tuple[bytes, ...], form: str) -> Webhook:
        """The webhook at an http or https address. Raises BadInput."""
        require_address(url)
        return cls(url, keys, form)

    def take(self, event_id: str, body: bytes) -> None:
        """Send it once. Raises Failed."""
        now = int(self.clock().timestamp())
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked in `of`
            self.url,
            data=body,
            method="POST",
            headers={
                "Content-Type": _TYPES[self.form],
                "User-Agent": "kt-escalation",
                "webhook-id": event_id,
                "webhook-timestamp": str(now),
                "webhook-signature": signature(self.keys, event_id, now, body),
            },
        )
        # The path and the query of a webhook are often a secret: they are never shown.
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
    """How long a server asks us to wait, in seconds: a number or a date (RFC 9110, 10.2.3)."""
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
    """Hand one event over, trying again after growing pauses or when the taker asks for it.

    ``tell`` gets a line for each failed try. Raises DeliveryFailed when it was tried often enough.
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


class CursorFile:
    """A file that holds where to go on, replaced as a whole and flushed to disk at each step."""

    def __init__(self, name: str) -> None:
        self.path = Path(os.path.realpath(name))

    def read(self) -> str | None:
        """What it holds, a cursor or an RFC 3339 time; None if there is no such file yet. Raises BadInput."""
        try:
            text = self.path.read_bytes().decode("ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(problem=f"{self.path}: {getattr(error, 'strerror', 'is no cursor')}") from None
        if Cursor.parse(text) is None:
            try:
                parse_time(text)
            except ValueError:
                raise BadInput(
                    problem=f"{self.path} holds no cursor; name another file, or delete it and say with --since where to begin"
                ) from None
        return text

    def write(self, cursor: str) -> None:
        """Hold this from now on, also if the machine stops right after. Raises BadInput."""
        try:
            atomic_file.write(self.path, f"{cursor}\n".encode("ascii"))
        except OSError as error:
            raise BadInput(problem=f"{self.path} cannot be written: {error.strerror}") from None
