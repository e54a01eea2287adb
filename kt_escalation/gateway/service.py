"""What each HTTP call of `kt gateway serve` does: who may ask, what a body holds, and the answer of the gateway."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Coroutine
from dataclasses import field
from typing import Any, Literal

from fastapi import Request
from starlette.requests import ClientDisconnect

from ..errors import Amended, Interrupted, WaitTimeout
from ..frozen import dataclass
from ..results import Decision
from ..storage import yaml_text
from . import answers, contracts
from .answers import Answer, Refused
from .tasks import AsyncGateway, CallerGone, unless_gone

#: The largest body, in bytes.
LARGEST_BODY = 1 << 20
#: The path below which a proxy's requests are, as Envoy's `ext_authz` sends them.
AUTHZ = "/ext_authz"
# How long a body may take to arrive, in seconds.
_BODY_SECONDS = 5.0
# A shorter hold than this, in seconds, is one look.
_SHORTEST_HOLD = 1.0


@dataclass(frozen=True)
class HttpOptions:
    """The settings of the server.

    They are the token, the default hold in seconds, the most requests to hold, how many characters of a text
    and which headers reviewers see, and whether a review is kept or withdrawn when its caller disconnects.
    """

    token: str
    hold: float = 25.0
    max_held: int = 1000
    excerpt: int = 0
    headers: tuple[str, ...] = ()
    on_cancel: Literal["keep", "withdraw"] = "keep"
    #: Texts of this machine that no body may carry.
    hidden: tuple[str, ...] = field(default=(), repr=False)


class Service:
    """The HTTP calls of one gateway."""

    def __init__(self, gateway: AsyncGateway, options: HttpOptions, log: Callable[[str], object]) -> None:
        self.gateway, self.options, self.log = gateway, options, log
        self.key = contracts.key_of(options.token)
        self.is_stopping = False
        self._token = options.token.encode()

    # --- who may ----------------------------------------------------------------------------------

    def is_known(self, request: Request) -> bool:
        """Whether a request has the token, as `Authorization: Bearer` or `x-api-key`."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        given = [token.strip()] if kind.lower() == "bearer" else []
        given.append(request.headers.get("x-api-key", ""))
        return any(hmac.compare_digest(one.encode(), self._token) for one in given)

    def require_room(self) -> None:
        """Raise Refused if `--max-held` requests are held already, or if the server is stopping."""
        if self.is_stopping:
            raise Refused(
                503, "interrupted", "the gateway is stopping; send the request again", Retry_After="2"
            )
        if self.gateway.metrics().held >= self.options.max_held:
            raise Refused(
                429, "too_many", f"{self.options.max_held} requests are held already", Retry_After="5"
            )

    # --- calls ------------------------------------------------------------------------------------

    async def body(self, request: Request) -> dict[str, Any]:
        """The JSON object in a body. Raises Refused, also if the body is too large or arrives too slowly."""
        data = bytearray()
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for chunk in request.stream():
                    data += chunk
                    if len(data) > LARGEST_BODY:
                        raise Refused(
                            413, "too_large", f"a body has at most {LARGEST_BODY} bytes", Connection="close"
                        )
        except ClientDisconnect:
            raise CallerGone from None
        except TimeoutError:
            raise Refused(
                408, "too_slow", f"a body arrives within {_BODY_SECONDS:.0f} s", Connection="close"
            ) from None
        try:
            value = yaml_text.load_json(bytes(data))
        except yaml_text.Malformed as error:
            raise Refused(400, "bad_input", f"the body is not JSON that kt takes: {error}") from None
        if not isinstance(value, dict):
            raise Refused(400, "bad_input", "the body is not a JSON object")
        return value

    async def held(self, request: Request, asking: Coroutine[Any, Any, Decision]) -> Decision:
        """Wait for the decision. Stops waiting and raises CallerGone when the caller disconnects."""
        return await unless_gone(asking, _gone(request))

    async def review(self, request: Request, asking: Coroutine[Any, Any, Decision]) -> Answer:
        """The response to a request for a decision: the decision, or 202 while there is none."""
        try:
            return answers.decided(await self.held(request, asking))
        except WaitTimeout as error:
            if not error.escalation_id or error.status == "not known":
                return answers.failed(error)
            return answers.pending(error.escalation_id, str(error.status))

    async def litellm(self, request: Request) -> dict[str, Any]:
        """LiteLLM's response. Errors block too: with `fail_open`, LiteLLM lets any other status pass."""
        if not self.is_known(request):
            return contracts.litellm_block("the gateway's token is missing or wrong")
        try:
            body = await self.body(request)
            self.require_room()
            draft = contracts.litellm_draft(
                body,
                self.key,
                self.options.excerpt,
                request_id=contracts.litellm_request_id(body, request.headers),
                caller=contracts.litellm_caller(body.get("request_data")),
            )
            # LiteLLM does not say whether an answer is a stream.
            asking = self._ask(draft, amended=contracts.litellm_amends(body))
            return contracts.litellm_answer(await self.held(request, asking), body)
        except Amended as error:
            return contracts.litellm_block(f"{error.outcome}: {contracts.UNCHANGED}", error.escalation_id)
        except WaitTimeout as error:
            return contracts.litellm_block("not decided yet; send it again", error.escalation_id)
        except Exception as error:
            return contracts.litellm_block(self._words(error))

    async def authz(self, request: Request) -> tuple[int, dict[str, str]]:
        """The proxy's response: 200 for an unchanged release, 403 for everything else."""
        if not self.is_known(request):
            return 403, {"x-kt-reason": "the gateway's token is missing or wrong"}
        try:
            self.require_room()
            target = request.url.path.removeprefix(AUTHZ) or "/"
            target += f"?{request.url.query}" if request.url.query else ""
            draft = contracts.authz_draft(
                request.method, target, request.headers, self.options.headers, self.key
            )
            return contracts.authz_answer(await self.held(request, self._ask(draft, amended=False)))
        except WaitTimeout as error:
            return 403, {
                "x-kt-escalation": error.escalation_id,
                "x-kt-outcome": "pending",
                "x-kt-reason": "not decided yet; send it again",
                "retry-after": "5",
            }
        except Exception as error:
            return 403, {"x-kt-reason": contracts.header_text(self._words(error))}

    def failed(self, error: Exception) -> Answer:
        """The response for an error. Errors that the caller did not cause are logged."""
        if isinstance(error, Refused):
            return error.answer
        found = answers.failed(error, self.options.hidden)
        if found.status >= 500 and not isinstance(error, Interrupted | CallerGone):
            self.log(f"{type(error).__name__}: {error}")
        return found

    def _ask(self, draft: dict[str, Any], *, amended: bool) -> Coroutine[Any, Any, Decision]:
        options = self.options
        timeout = seconds_of(options.hold)
        return self.gateway.ask(draft, timeout=timeout, on_cancel=options.on_cancel, amended=amended)

    def _words(self, error: Exception) -> str:
        body = self.failed(error).body["error"]
        return f"{body['code']}: {body['message']}"


def seconds_of(hold: float) -> float:
    """The seconds to wait. A shorter hold allows one look, so that repeated requests make progress."""
    return 0.0 if hold < _SHORTEST_HOLD else hold


async def _gone(request: Request) -> None:
    """Return when the caller has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
