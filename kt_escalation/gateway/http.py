"""`kt gateway serve`: a gateway over HTTP, for programs in any language. See docs/adapters/http.md.

FastAPI and uvicorn are imported only here, in `service` and in `server`. The gateway fails closed: only a
release allows a request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..errors import BadInput, KtError
from . import answers
from .answers import Answer, Refused
from .options import LONGEST_HOLD
from .service import AUTHZ, LARGEST_BODY, Service, seconds_of
from .tasks import AsyncGateway, CallerGone

_OPEN = frozenset({"/healthz"})
_LITELLM = "/beta/litellm_basic_guardrail_api"

_Hold = Annotated[
    float | None,
    Query(ge=0, le=LONGEST_HOLD, description="How long to hold at most, in seconds.", allow_inf_nan=False),
]
_Amended = Annotated[bool, Query(description="You apply the amendment of a decision that has one.")]


def app_of(service: Service) -> FastAPI:
    """The FastAPI application with all calls."""
    app = FastAPI(
        title="kt gateway",
        version=__version__,
        description="Holds requests until people have decided. Only a decision with `release` may be run.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    _reviews(app, service)
    _uses(app, service)
    _gates(app, service)
    _looks(app, service)
    _errors(app, service)
    app.add_middleware(_Guard, service=service)
    return app


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
_WHAT = {
    400: "The input cannot be used.",
    401: "The token is missing or wrong.",
    403: "The gateway's identity may not do that.",
    404: "There is no such escalation.",
    408: "The body came too slowly.",
    409: "The id has other content, or the decision may not be released.",
    413: "The body is too large.",
    429: "Too many requests are held.",
    503: "The remote cannot be reached, or the gateway is stopping.",
}


def _documented(*statuses: int, **more: Any) -> dict[int | str, dict[str, Any]]:
    """The error responses of a call, for FastAPI's documentation."""
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": _WHAT[status], "content": {"application/json": {"schema": _ERROR}}}
        for status in statuses
    }
    return found | {int(name.removeprefix("s")): value for name, value in more.items()}


def _json(answer: Answer) -> Response:
    text = json.dumps(answer.body, ensure_ascii=False)
    return Response(text, answer.status, answer.headers, "application/json")


def _takes(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_DRAFT = {
    "type": "object",
    "description": "The keys of a record, or a decision event.",
    "properties": {"request_id": {"type": "string"}, "reason_code": {"type": "string"}},
}
_PENDING: dict[str, Any] = {"description": "Not decided yet: ask again at Location."}
_ALL = (400, 401, 403, 404, 408, 409, 413, 429, 503)


def _reviews(app: FastAPI, service: Service) -> None:
    gateway, usual = service.gateway, service.options.hold

    @app.post("/v1/reviews", responses=_documented(*_ALL, s202=_PENDING), openapi_extra=_takes(_DRAFT))
    async def ask(
        request: Request,
        hold: _Hold = None,
        amended: _Amended = False,
        on_cancel: Literal["keep", "withdraw"] | None = None,
    ) -> Response:
        """Raise an escalation, hold the request, and release the decision if it is for one use.

        The same request finds its review again.
        """
        draft = await service.body(request)
        service.require_room()
        asking = gateway.ask(
            draft,
            timeout=seconds_of(usual if hold is None else hold),
            on_cancel=on_cancel or service.options.on_cancel,
            amended=amended,
        )
        return _json(await service.review(request, asking))

    @app.get("/v1/reviews/{escalation_id}", responses=_documented(*_ALL, s202=_PENDING))
    async def look(
        request: Request, escalation_id: str, hold: _Hold = None, amended: _Amended = False
    ) -> Response:
        """Hold the request until an existing escalation is decided.

        A decision for one use is not taken: the status is 409 release_needed.
        """
        service.require_room()
        asking = gateway.wait(
            escalation_id, timeout=seconds_of(usual if hold is None else hold), amended=amended
        )
        return _json(await service.review(request, asking))


def _uses(app: FastAPI, service: Service) -> None:
    gateway = service.gateway

    @app.post(
        "/v1/reviews/{escalation_id}/release",
        responses=_documented(*_ALL),
        openapi_extra=_takes({"type": "object", "properties": {"digest": {"type": "string"}}}),
    )
    async def release(request: Request, escalation_id: str, amended: _Amended = False) -> Response:
        """Take a decision for its one use. Only one call gets the decision."""
        given = _only(await service.body(request), "digest")
        asking = gateway.release(escalation_id, digest=given.get("digest"), amended=amended)
        return _json(answers.decided(await service.held(request, asking)))

    receipt_keys = ("status", "result_digest", "reason")

    @app.post(
        "/v1/reviews/{escalation_id}/receipt",
        responses=_documented(*_ALL),
        openapi_extra=_takes(
            {
                "type": "object",
                "required": ["status"],
                "properties": {one: {"type": "string"} for one in receipt_keys},
            }
        ),
    )
    async def receipt(request: Request, escalation_id: str) -> Response:
        """Record the result of a release: executed, failed or unknown."""
        given = _only(await service.body(request), *receipt_keys)
        found = await gateway.receipt(
            escalation_id,
            given.get("status", ""),
            result_digest=given.get("result_digest"),
            reason=given.get("reason"),
        )
        return _json(Answer(200, found.as_json(), {}))

    @app.delete("/v1/reviews/{escalation_id}", responses=_documented(*_ALL))
    async def withdraw(
        escalation_id: str, reason: Annotated[str, Query()] = "withdrawn by the gateway"
    ) -> Response:
        """Withdraw an open escalation."""
        found = await gateway.withdraw(escalation_id, reason)
        return _json(
            Answer(
                200, {"escalation_id": escalation_id, "commit": found.commit, "changed": found.changed}, {}
            )
        )


def _only(body: dict[str, Any], *names: str) -> dict[str, str]:
    """The texts of a body. Raises BadInput if the body has other keys."""
    for name, value in body.items():
        if name not in names or not isinstance(value, str):
            raise BadInput(problem=f"{name[:80]!r} is not one of {', '.join(names)}, or not a text")
    return body


def _gates(app: FastAPI, service: Service) -> None:
    @app.post(_LITELLM, openapi_extra=_takes({"type": "object"}))
    async def litellm(request: Request) -> Response:
        """LiteLLM's generic guardrail. The status is always 200, and everything but a release blocks."""
        return _json(Answer(200, await service.litellm(request), {}))

    for path in (AUTHZ, f"{AUTHZ}/{{rest:path}}"):
        app.router.routes.append(Route(path, _Authz(service), include_in_schema=False))


class _Authz:
    """Envoy's HTTP ext_authz and nginx's auth_request: 200 passes, 403 does not.

    An application and no function, since Starlette lets every method through to one, also those of WebDAV.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, headers = await self._service.authz(Request(scope, receive))
        await Response(status_code=status, headers=headers)(scope, receive, send)


def _looks(app: FastAPI, service: Service) -> None:
    measures = CollectorRegistry()
    measures.register(_Measures(service.gateway))

    @app.get("/healthz", responses=_documented(503))
    async def healthz() -> Response:
        """Whether the server accepts requests."""
        if service.is_stopping:
            return _json(answers.refusal(503, "interrupted", "the gateway is stopping", {"Retry-After": "2"}))
        return _json(Answer(200, {"ok": True}, {}))

    @app.get(
        "/metrics",
        responses=_documented(401, s200={"content": {CONTENT_TYPE_LATEST.partition(";")[0]: {}}}),
        response_class=Response,
    )
    async def metrics() -> Response:
        """The gateway's metrics as OpenMetrics."""
        text: bytes = generate_latest(measures)  # type: ignore[no-untyped-call]
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


class _Measures:
    """Collects a gateway's metrics when a client asks for them."""

    def __init__(self, gateway: AsyncGateway) -> None:
        self._gateway = gateway

    def describe(self) -> list[Metric]:
        """No metrics are known before the gateway runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The current metrics."""
        now = self._gateway.metrics()
        yield GaugeMetricFamily("kt_gateway_held", "Requests that are held", value=now.held)
        yield GaugeMetricFamily(
            "kt_gateway_oldest_seconds", "How long the oldest of them is held", value=now.oldest
        )
        yield CounterMetricFamily("kt_gateway_raised", "Escalations that were raised", value=now.raised)
        decided = CounterMetricFamily(
            "kt_gateway_decided", "Decisions that were returned", labels=["outcome"]
        )
        for outcome, count in sorted(now.decided.items()):
            decided.add_metric([outcome], count)
        yield decided
        yield CounterMetricFamily(
            "kt_gateway_failures", "Fetches, commits and deadlines that failed", value=now.failures
        )
        yield CounterMetricFamily("kt_gateway_fetches", "Fetches from the remote", value=now.fetches)


def _errors(app: FastAPI, service: Service) -> None:
    async def failed(_: Request, error: Exception) -> Response:
        return _json(service.failed(error))

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)

    async def unfit(_: Request, error: Exception) -> Response:
        found = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        where = ".".join(str(part) for part in found.get("loc", ()))
        return _json(answers.refusal(400, "bad_input", f"{where}: {found.get('msg', 'is not valid')}"))

    async def unknown(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        code, message = (
            ("method_not_allowed", "this path does not take that method")
            if status == 405
            else ("not_found", "there is no such path")
        )
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        return _json(answers.refusal(status, code, message, headers))

    for kind, handler in (
        (KtError, failed),
        (Refused, failed),
        (CallerGone, gone),
        (RequestValidationError, unfit),
        (HTTPException, unknown),
    ):
        app.add_exception_handler(kind, handler)


class _Guard:
    """Middleware in front of all calls: checks the token and the body's size, hides the details of bugs."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refused(Request(scope))
        if refused is not None:
            await _json(refused)(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            self._service.log(f"{type(error).__name__}: {error}")
            if not begun:
                await _json(answers.failed(error))(scope, receive, send)

    def _refused(self, request: Request) -> Answer | None:
        path = request.url.path
        if path in _OPEN or path == _LITELLM or path.split("/", 2)[1:2] == [AUTHZ[1:]]:
            # These paths check the token themselves, or need none.
            return None
        if not self._service.is_known(request):
            headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
            return answers.refusal(401, "unauthorized", "the token is missing or wrong", headers)
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > LARGEST_BODY:
            return answers.refusal(
                413, "too_large", f"a body has at most {LARGEST_BODY} bytes", {"Connection": "close"}
            )
        return None
