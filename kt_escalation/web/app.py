"""The desk's URLs: the page for each address, and the use case for each form."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from ..errors import BadInput, KtError, ShownDiffers
from ..model.vocabulary import AMENDING
from ..reporting import facts, limits
from .desk import MOST_DECIDED, VIEWS, Desk, Shown, Typed
from .pages import Pages
from .security import FORM, Guard, Keys

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ..results import Result
    from .live import Live

#: The status of an answer to an error, by the exit code that the command line would have.
_STATUS = {2: 400, 3: 403, 4: 503, 6: 409, 7: 404, 8: 503, 9: 503}
# How often an open page is told whether anything is new, in seconds.
_PULSE = 0.25
_FILES = {
    "/desk.js": ("kt_escalation.web.templates", "text/javascript"),
    "/desk.css": ("kt_escalation.web.templates", "text/css"),
    "/icon.svg": ("kt_escalation.web.templates", "image/svg+xml"),
    "/report.css": ("kt_escalation.templates", "text/css"),
}
_DONE = {
    "claim": "You hold it now. Read it, choose an outcome and give a reason; or give it back.",
    "unclaim": "It is back in the queue.",
    "renew": "Your lease has begun again.",
    "note": "Your note is on record.",
    "assign": "You handed it on.",
}


def create(desk: Desk, live: Live, keys: Keys, host: str, tell: Callable[[str], None]) -> ASGIApp:
    """The desk as an ASGI application behind its guard. ``tell`` is called with the traceback of a bug."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    pages = Pages(room=f"{keys.room}/", csrf=keys.csrf, me=desk.store.actor(), address=desk.store.address)
    site = _Site(desk, live, pages, keys.room)

    @app.exception_handler(Exception)
    async def on_bug(_: Request, error: Exception) -> Response:
        tell("".join(traceback.format_exception(error)))
        return site.page("problem", {"problem": "This is a bug in kt. The terminal has the details."}, 500)

    @app.get("/")
    def door() -> Response:
        return site.page("door", {})

    @app.post("/session")
    def session(request: Request) -> Response:
        if not keys.exchange(request.scope[FORM].get("token", [""])[0]):
            # An error's status would be one more line on the console.
            return Response("")
        return Response(f"{keys.room}/", headers={"set-cookie": keys.cookie()}, media_type="text/plain")

    for address, (package, kind) in _FILES.items():
        data = resources.files(package).joinpath(address[1:]).read_bytes()
        app.add_api_route(address, _file(data, kind))
    app.include_router(site.router(), prefix=keys.room)
    return Guard(app, keys, host)


def _file(data: bytes, kind: str) -> Callable[[], Response]:
    def answer() -> Response:
        return Response(data, media_type=kind)

    return answer


class _Site:
    """The pages that the guard protects."""

    def __init__(self, desk: Desk, live: Live, pages: Pages, room: str) -> None:
        self._room = room
        self._desk = desk
        self._live = live
        self._pages = pages
        self._figures = desk.figures

    def router(self) -> APIRouter:
        router = APIRouter()
        router.add_api_route("/", self._answering(self.queue, ("view", "q", "cursor")))
        for path, answer in (
            ("/decided", self.decided),
            ("/state", self.state),
            ("/state/figures", self.figures),
            ("/e/{name}", self.escalation),
            ("/e/{name}/history", self.history),
            ("/e/{name}/alike", self.alike),
        ):
            router.add_api_route(path, self._answering(answer))
        router.add_api_route("/live", self.events)
        for path, answer in (
            ("/next", self.next),
            ("/e/{name}/decide", self.decide),
            ("/e/{name}/alike/claim", self.claim_alike),
            ("/e/{name}/alike/decide", self.decide_alike),
            ("/e/{name}/{action}", self.actor),
        ):
            router.add_api_route(path, self._answering(answer), methods=["POST"])
        return router

    def page(self, name: str, given: Mapping[str, Any], status: int = 200) -> Response:
        """Render a page.

        It says so if the remote cannot be reached. For an ``error``, the header `x-kt-error` has its code.
        """
        html = self._pages.render(name, {"away": self._live.away, "here": "", "error": None, **given})
        error = given.get("error")
        headers = {"x-kt-error": error.code} if isinstance(error, KtError) else {}
        return HTMLResponse(html.encode("utf-8", "replace"), status, headers)

    def _answering(
        self, answer: Callable[[Request], Response], takes: Collection[str] = ()
    ) -> Callable[[Request], Response]:
        """The response to a request, whose query may have only the parameters that the page ``takes``, each once."""

        def answered(request: Request) -> Response:
            try:
                _check_parameters(request, takes)
                return answer(request)
            except KtError as error:
                # A form's answer is a page in its place. An error's status would be a line on the console.
                status = _status(error) if request.method == "GET" else 200
                return self.page("problem", {"problem": error.message, "error": error}, status)

        return answered

    # --- looking ----------------------------------------------------------------------------------

    def queue(self, request: Request) -> Response:
        asked = request.query_params
        view, words = asked.get("view", "claimable"), asked.get("q", "").strip()
        if view not in VIEWS:
            raise BadInput(problem=f"there is no view {view[:40]!r}; there are {', '.join(VIEWS)}")
        found = self._desk.queue(view, words, asked.get("cursor"))
        return self.page("queue", {"view": view, "q": words, "found": found})

    def escalation(self, request: Request) -> Response:
        shown = self._desk.shown(_name(request))
        return self._escalation(shown, Typed())

    def history(self, request: Request) -> Response:
        moments = tuple(self._desk.store.log(_name(request)))
        return self.page("history", {"id": _name(request), "moments": moments})

    def decided(self, _: Request) -> Response:
        return self.page("decided", {"found": self._desk.decided(), "most": MOST_DECIDED})

    def state(self, _: Request) -> Response:
        """The current queue, and the figures if they are known. Otherwise the script asks for the figures."""
        rows = self._desk.store.rows()
        found = self._figures.known(rows.snapshot.revision)
        return self.page(
            "state",
            {"figures": found, "rows": rows.page.rows, "at_case": f"{self._room}/e/", **(found or {})},
        )

    def figures(self, _: Request) -> Response:
        found = self._figures.read(self._desk.store.revision())
        return self.page("state", {"figures": found, "rows": (), "at_case": f"{self._room}/e/", **found})

    def alike(self, request: Request) -> Response:
        return self._alike(_name(request), Typed())

    async def events(self) -> Response:
        return StreamingResponse(self._told(), media_type="text/event-stream")

    async def _told(self) -> AsyncIterator[str]:
        self._live.listen()
        try:
            last = ""
            while not self._live.closed:
                told = self._live.told()
                # Sending a comment shows whether the page is still open.
                yield f"data: {told}\n\n" if told != last else ":\n\n"
                last = told
                await asyncio.sleep(_PULSE)
        finally:
            self._live.leave()

    # --- doing ------------------------------------------------------------------------------------

    def next(self, request: Request) -> Response:
        record = self._desk.claim_next(request.scope[FORM].get("passing", []))
        return RedirectResponse(f"{self._room}/e/{record.escalation_id}", 303)

    def actor(self, request: Request) -> Response:
        """Claim, give back, renew, note or hand on.

        If that is refused, show the reason beside what the reviewer typed.
        """
        action, typed = request.path_params["action"], Typed.of(request.scope[FORM])
        shown = self._desk.shown(_name(request))
        acts: Mapping[str, Callable[[], Result]] = {
            "claim": lambda: self._desk.claim([shown.record.escalation_id]),
            "unclaim": lambda: self._desk.unclaim(shown),
            "renew": lambda: self._desk.renew(shown),
            "note": lambda: self._desk.note(shown, typed),
            "assign": lambda: self._desk.assign(shown, typed),
        }
        if action not in acts:
            return self.page("problem", {"problem": "There is no such action."}, 404)
        try:
            result = acts[action]()
        except KtError as error:
            return self._escalation(self._again(shown), typed, error=error)
        # Text that was typed into other fields is kept.
        used = {"note": {"note": ""}, "assign": {"whom": "", "why": ""}}.get(action, {})
        return self._escalation(self._again(shown), replace(typed, **used), done=_DONE[action], result=result)

    def decide(self, request: Request) -> Response:
        """Ask for confirmation, then decide."""
        form = request.scope[FORM]
        typed, step = Typed.of(form), form.get("step", [""])[0]
        shown = self._desk.shown(_name(request))
        if step == "back":
            return self._escalation(shown, typed)
        try:
            result = self._desk.resolve(shown, typed, dry_run=step != "sure")
        except KtError as error:
            again = self._again(shown)
            if isinstance(error, ShownDiffers):
                typed = replace(typed, shown="")
            return self._escalation(again, typed, error=error)
        if step != "sure":
            return self.page("confirm", self._confirming(shown, typed, result))
        return self.page("done", {"result": result, "records": result.records})

    def _confirming(self, shown: Shown, typed: Typed, result: Result) -> dict[str, Any]:
        changed = None
        if typed.outcome in AMENDING and typed.amendment is not None:
            changed = facts.difference(facts.text_of(facts.original(shown.record)), typed.amendment)
        return {
            "shown": shown,
            "typed": typed,
            "fields": {name: value for name, value in asdict(typed).items() if value},
            "changed": changed,
            "effect": facts.outcomes(shown.found)[typed.outcome],
            "warnings": result.warnings,
        }

    def claim_alike(self, request: Request) -> Response:
        names = request.scope[FORM].get("id", [])
        try:
            self._desk.claim(names)
        except KtError as error:
            return self._alike(_name(request), Typed(), error=error, names=names)
        done = f"You hold {'it' if len(names) == 1 else 'them'} now."
        return self._alike(_name(request), Typed(), names=names, done=done)

    def decide_alike(self, request: Request) -> Response:
        form = request.scope[FORM]
        typed, step, names = Typed.of(form), form.get("step", [""])[0], form.get("id", [])
        digests = {name: form.get(f"shown.{name}", [""])[0] for name in names}
        if step == "back":
            return self._alike(_name(request), typed, names=names)
        try:
            result = self._desk.resolve_alike(digests, typed, dry_run=step != "sure")
        except KtError as error:
            return self._alike(_name(request), typed, error=error, names=names)
        if step == "sure":
            return self.page("done", {"result": result, "records": result.records})
        given = {"first": _name(request), "typed": typed, "digests": digests, "warnings": result.warnings}
        return self.page("confirm_alike", {**given, "chosen": self._desk.several(names)})

    # --- pages with something typed ---------------------------------------------------------------

    def _again(self, shown: Shown) -> Shown:
        """The escalation's current state, or its earlier state if the current one cannot be read."""
        try:
            return self._desk.shown(shown.record.escalation_id)
        except KtError:
            return shown

    def _escalation(
        self,
        shown: Shown,
        typed: Typed,
        *,
        error: KtError | None = None,
        done: str | None = None,
        result: Result | None = None,
    ) -> Response:
        record, now = shown.record, datetime.now(UTC)
        before, after = facts.text_of(facts.original(record)), facts.text_of(facts.proposed(record))
        given = {
            "shown": shown,
            "sections": tuple(facts.sections(shown.found, now, whole=True)),
            "effects": facts.outcomes(shown.found),
            "typed": typed,
            "original": before,
            "is_json": not isinstance(facts.original(record), str),
            "proposed": after if typed.amendment is None else typed.amendment,
            "limits": limits.spelled(record.action.edit_schema)
            if record.action and record.action.edit_schema
            else "",
            "amended": facts.difference(before, after) if before != after else (),
            "reasons": self._desk.reasons(),
            "error": error,
            "done": done,
            "warnings": result.warnings if result else (),
        }
        return self.page("escalation", given)

    def _alike(
        self,
        name: str,
        typed: Typed,
        *,
        error: KtError | None = None,
        names: list[str] | None = None,
        done: str = "",
    ) -> Response:
        given = {
            "first": name,
            "found": self._desk.alike(name),
            "typed": typed,
            "chosen": names,
            "reasons": self._desk.reasons(),
            "error": error,
            "done": done,
        }
        return self.page("alike", given)


def _check_parameters(request: Request, takes: Collection[str]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in takes:
            raise BadInput(problem=f"this page takes no {name[:40]!r} in its address")
        if names.count(name) > 1:
            raise BadInput(problem=f"{name} stands twice in the address")


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _status(error: KtError) -> int:
    return _STATUS.get(error.exit_code, 500)
