"""`kt gateway mcp`: reviews for agents, over the Model Context Protocol on stdin and stdout.

See docs/adapters/mcp.md. The SDK is imported only here. No tool can decide. An agent may run an action only
if the answer has `release` true.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import PARSE_ERROR, CallToolResult, ErrorData, InputRequiredResult, JSONRPCError, TextContent
from pydantic import Field, ValidationError

from .. import __version__
from ..errors import BadInput, Conflict, IllegalRecord, KtError, ReleaseNeeded, WaitTimeout
from ..frozen import dataclass
from ..model.pydantic_schema import invalid
from ..model.record import Record
from ..model.value import plain
from ..results import Decision
from . import answers
from .tasks import AsyncGateway
from .tool_calls import REASON_CODE, digest_of, draft_of

if TYPE_CHECKING:
    # The SDK names these types in a private module alone, so nothing but mypy reads it.
    from mcp.shared._stream_protocols import ReadStream, WriteStream

#: How often a client is told that its call is still held, in seconds.
PROGRESS_SECONDS = 5.0
_INSTRUCTIONS = """\
People decide here what you may run. Ask with request_review before you run a tool that needs review. Run it only if the
answer has "release": true; if it has an amendment, run amendment.value in place of your arguments. While the answer is
"pending", call await_review. Everything else, errors included, means: do not run it.
"""

_Answer = Annotated[CallToolResult, dict[str, Any]]
_Id = Annotated[str, Field(description="The escalation_id of the review.")]
_Tool = Annotated[str, Field(description="The name of the tool that you want to run.")]
_Input = Annotated[
    dict[str, Any], Field(description="Its arguments, exactly as you will run it. Reviewers see them.")
]
_Hold = Annotated[
    float | None, Field(ge=0, description="Wait at most so many seconds. The server has a limit of its own.")
]
_Amended = Annotated[
    bool, Field(description="You run amendment.value in place of your arguments if a reviewer changed them.")
]


@dataclass(frozen=True)
class McpOptions:
    """The longest hold in seconds, and texts about this machine that no answer may contain."""

    hold: float = 25.0
    hidden: tuple[str, ...] = field(default=(), repr=False)


class Tools:
    """The five tools, over one gateway."""

    def __init__(self, gateway: AsyncGateway, options: McpOptions) -> None:
        self._gateway, self._options = gateway, options

    async def request_review(
        self,
        ctx: Context[Any],
        tool: _Tool,
        input: _Input,  # noqa: A002 - the key's name in the digest
        summary: Annotated[str | None, Field(description="What it is about, in one line.")] = None,
        request_id: Annotated[
            str | None,
            Field(description="Your id for this request. The same id and arguments find the same review."),
        ] = None,
        reason_code: Annotated[str, Field(description="Why a human is asked.")] = REASON_CODE,
        severity: Literal["low", "medium", "high", "critical"] = "medium",
        edit_schema: Annotated[
            dict[str, Any] | None, Field(description="The JSON Schema that a reviewer's change must fit.")
        ] = None,
        hold: _Hold = None,
        amended: _Amended = False,
    ) -> _Answer:
        """Ask people whether you may run a tool, and wait for their decision.

        Run the tool only if the answer has "release": true. "pending" means that nobody has decided yet.
        """

        async def work() -> dict[str, Any]:
            draft = draft_of(
                tool,
                input,
                caller=_client(ctx),
                request_id=request_id,
                edit_schema=edit_schema,
                summary=summary,
                reason_code=reason_code,
                severity=severity,
            )
            limit = self._limit(hold)
            asking = self._gateway.ask(draft, timeout=limit, amended=amended)
            return await self._held(ctx, limit, asking)

        return await self._answered(work)

    async def await_review(
        self,
        ctx: Context[Any],
        escalation_id: _Id,
        tool: _Tool,
        input: _Input,  # noqa: A002
        hold: _Hold = None,
        amended: _Amended = False,
    ) -> _Answer:
        """Continue to wait for the decision on a pending review, and take it. Give the same tool and input."""

        async def work() -> dict[str, Any]:
            limit = self._limit(hold)
            digest = digest_of(tool, input)
            return await self._held(ctx, limit, self._taken(escalation_id, digest, limit, amended))

        return await self._answered(work)

    async def get_review(self, escalation_id: _Id) -> _Answer:
        """Get a review, without waiting. The answer never permits you to run anything."""

        async def work() -> dict[str, Any]:
            try:
                await self._gateway.wait(escalation_id, timeout=0, amended=True)
            except IllegalRecord:
                raise
            except (WaitTimeout, Conflict):
                # The caller wanted the remote's newest state, proved. The decision itself is taken by
                # await_review.
                pass
            return _shown((await self._gateway.get(escalation_id)).record)

        return await self._answered(work)

    async def list_reviews(
        self,
        status: Literal["open", "queued", "claimed", "resolved", "all"] = "open",
        limit: Annotated[int, Field(ge=1, le=200)] = 50,
        cursor: Annotated[str | None, Field(description="next_cursor of the previous page.")] = None,
    ) -> _Answer:
        """List reviews, the most severe and oldest first. The answer never permits you to run anything."""

        async def work() -> dict[str, Any]:
            found = await self._gateway.list(status=status, limit=limit, cursor=cursor)
            return {
                "reviews": [_shown(record) for record in found.records],
                "next_cursor": found.next_cursor,
                "unreadable": len(found.invalid),
            }

        return await self._answered(work)

    async def withdraw_review(
        self,
        escalation_id: _Id,
        reason: Annotated[str, Field(description="Why you no longer need it, for the people who review.")],
    ) -> _Answer:
        """Withdraw a review that you asked for and that is not decided."""

        async def work() -> dict[str, Any]:
            found = await self._gateway.withdraw(escalation_id, reason)
            return {"escalation_id": escalation_id, "status": "withdrawn", "changed": found.changed}

        return await self._answered(work)

    # --- how they answer --------------------------------------------------------------------------

    def _limit(self, hold: float | None) -> float:
        return self._options.hold if hold is None else min(hold, self._options.hold)

    async def _taken(self, name: str, digest: str, timeout: float, amended: bool) -> Decision:
        """The decision on an existing escalation. A decision for one use is taken."""
        try:
            return await self._gateway.wait(name, timeout=timeout, digest=digest, amended=amended)
        except ReleaseNeeded:
            return await self._gateway.release(name, digest=digest, amended=amended)

    async def _held(
        self, ctx: Context[Any], limit: float, asking: Coroutine[Any, Any, Decision]
    ) -> dict[str, Any]:
        """Wait for a result. Every few seconds the client gets a progress message."""
        asked = asyncio.ensure_future(asking)
        begun = asyncio.get_running_loop().time()
        try:
            while not (await asyncio.wait([asked], timeout=PROGRESS_SECONDS))[0]:
                past = asyncio.get_running_loop().time() - begun
                await ctx.report_progress(min(past, limit), limit, "waiting for a reviewer")
            decision = asked.result()
        except WaitTimeout as error:
            if not error.escalation_id:
                raise
            return {"status": "pending", "escalation_id": error.escalation_id, "release": False}
        finally:
            asked.cancel()
        return {"status": "decided", **decision.as_json()}

    async def _answered(self, work: Callable[[], Coroutine[Any, Any, dict[str, Any]]]) -> CallToolResult:
        try:
            body, is_wrong = await work(), False
        except KtError as error:
            body, is_wrong = answers.failed(error, self._options.hidden).body, True
        return _result(body, is_wrong)


def _result(body: dict[str, Any], is_wrong: bool) -> CallToolResult:
    words = [TextContent(type="text", text=json.dumps(body, ensure_ascii=False))]
    return CallToolResult(content=words, structured_content=body, is_error=is_wrong)


class _McpServer(MCPServer[Any]):  # type: ignore[misc]  # the SDK is an extra
    """The SDK's server. Refusals by the SDK itself are returned in the form of kt's errors."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool. Unknown ones and arguments of another form are `bad_input`."""
        try:
            return await super().call_tool(name, arguments, context)
        except UnexpectedToolError:
            raise
        except ToolError as error:
            cause = error.__cause__
            wrong = (
                str(invalid(cause))
                if isinstance(cause, ValidationError)
                else f"there is no tool {name[:80]!r}"
            )
            return _result(answers.failed(BadInput(problem=wrong)).body, True)

    async def run_stdio_async(self) -> None:
        """Serve on stdin and stdout until stdin ends."""
        inner = self._lowlevel_server
        async with stdio_server() as (given, answering):
            await inner.run(_Messages(given, answering), answering, inner.create_initialization_options())


class _Messages:
    """The messages on stdin. A line that is not a message gets an error, because the SDK would leave its caller waiting."""

    def __init__(self, given: ReadStream[Any], answering: WriteStream[SessionMessage]) -> None:
        self._given, self._answering = given, answering

    async def __anext__(self) -> SessionMessage:
        async for message in self._given:
            if isinstance(message, SessionMessage):
                return message
            await self._answering.send(SessionMessage(_no_message(message)))
        raise StopAsyncIteration

    receive = __anext__

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        await self._given.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _no_message(error: Exception) -> JSONRPCError:
    """The error for a line that is not a message, with the line's id if that can be read."""
    found = error.errors()[0] if isinstance(error, ValidationError) else None
    try:
        line = json.loads(found["input"]) if found is not None and found["type"] == "json_invalid" else None
    except (ValueError, RecursionError):
        line = None
    name = line.get("id") if isinstance(line, dict) else None
    is_known = type(name) is int or (isinstance(name, str) and name.isascii())
    words = "that line is not a message of JSON-RPC" + (f": {found['msg']}" if found is not None else "")
    return JSONRPCError(
        jsonrpc="2.0", id=name if is_known else None, error=ErrorData(code=PARSE_ERROR, message=words)
    )


def _client(ctx: Context[Any]) -> str:
    """The client's name, as it introduced itself."""
    params = ctx.session.client_params
    return params.client_info.name if params is not None else ""


def _shown(record: Record) -> dict[str, Any]:
    """The parts of a review that an agent sees."""
    end = record.resolution
    keys = (
        "escalation_id",
        "status",
        "severity",
        "reason_code",
        "summary",
        "created_at",
        "request_id",
        "route",
    )
    found = plain(record)
    return {key: found[key] for key in keys if key in found} | (
        {"outcome": end.outcome, "reason": end.reason} if end is not None else {}
    )


def server_of(gateway: AsyncGateway, options: McpOptions) -> MCPServer[Any]:
    """The server with its tools."""
    server = _McpServer(
        "kt", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING", subscriptions=False
    )
    tools = Tools(gateway, options)
    for tool in (
        tools.request_review,
        tools.await_review,
        tools.get_review,
        tools.list_reviews,
        tools.withdraw_review,
    ):
        server.add_tool(tool, structured_output=True)
    return server


async def serve(gateway: AsyncGateway, options: McpOptions) -> None:
    """Serve on stdin and stdout until stdin ends."""
    await server_of(gateway, options).run_stdio_async()
