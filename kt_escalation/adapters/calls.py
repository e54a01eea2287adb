"""Tool calls that pause until people have decided. Several can wait together, with threads or with asyncio."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..errors import AlreadyReleased, Amended, ReleaseExpired, ReleaseNeeded
from ..frozen import dataclass
from ..gateway.tool_calls import REASON_CODE, draft_of
from ..model.record import Amendment
from ..model.vocabulary import AMENDING, RELEASING
from .steps import AnyGateway, Steps


@dataclass(frozen=True)
class Call:
    """A tool call that a model wants to make.

    ``request_id`` is the same each time the call is asked about. ``show`` puts its arguments and its
    ``description`` into git, where reviewers see them.
    """

    name: str
    arguments: Any
    request_id: str
    description: str | None = None
    reason_code: str = REASON_CODE
    show: bool = True

    def draft(self) -> dict[str, Any]:
        """The draft to raise for this call. Raises BadInput."""
        return draft_of(
            self.name,
            self.arguments,
            caller="",
            request_id=self.request_id,
            show=self.show,
            reason_code=self.reason_code,
            # The description of a call may contain its arguments.
            event_context={"description": self.description} if self.description and self.show else None,
        )


@dataclass(frozen=True)
class CallVerdict:
    """The decision on a call: whether it may be run, and with which ``arguments``.

    ``release_id`` stays the same if the decision is returned again. Pass it to the tool as an idempotency
    key, so that the call runs only once.
    """

    escalation_id: str
    outcome: str
    release: bool
    arguments: Any
    reason: str
    release_id: str | None = None

    @property
    def is_amended(self) -> bool:
        """Whether a reviewer changed the arguments."""
        return self.outcome in AMENDING

    @property
    def words(self) -> str:
        """Why the call is not run, as a text for a model or a person."""
        return f"{self.outcome}: {self.reason}"


def decide(
    gateway: AnyGateway,
    calls: Sequence[Call],
    timeout: float | None,
    *,
    again: bool = False,
    amends: bool = True,
) -> Steps[list[CallVerdict]]:
    """Raise all calls, wait for all decisions, then take each decision for its one use.

    ``again`` says that the process which took a decision of this gateway has died: the decision is returned
    once more. Without ``amends``, a decision that changes the arguments is not taken and releases nothing.
    Raises as `Gateway.ask`. After WaitTimeout all escalations stay open, and no decision is taken.
    """
    drafts = [call.draft() for call in calls]
    end = None if timeout is None else time.monotonic() + timeout
    names = []
    for draft in drafts:
        names.append((yield lambda draft=draft: gateway.create(draft)).record.escalation_id)  # type: ignore[misc]
    digests = [draft["action"]["digest"] for draft in drafts]
    for name, digest in zip(names, digests, strict=True):
        try:
            left = None if end is None else max(0.0, end - time.monotonic())
            yield lambda name=name, digest=digest, left=left: gateway.wait(  # type: ignore[misc]
                name, timeout=left, digest=digest, amended=True
            )
        # These errors are reported when the decision is taken.
        except (ReleaseNeeded, ReleaseExpired, AlreadyReleased):
            continue
    found = []
    for call, name, digest in zip(calls, names, digests, strict=True):
        found.append((yield from _taken(gateway, call, name, digest, again, amends)))
    return found


def _taken(
    gateway: AnyGateway, call: Call, name: str, digest: str, again: bool, amends: bool
) -> Steps[CallVerdict]:
    try:
        decision = yield lambda: gateway.release(name, digest=digest, amended=amends)
    except Amended as error:
        found = yield lambda: gateway.get(name)
        verdict = _verdict(call, name, error.outcome, found.amendment, error.reason, None)
        return replace(verdict, release=False)
    except ReleaseExpired as error:
        return CallVerdict(name, "expired", False, call.arguments, str(error))
    except AlreadyReleased as error:
        # Only the journal knows who got the decision: names in the store are chosen by others.
        if not again or (yield lambda: gateway.gave(name)) != error.release_id:
            raise
        # It was proved and released before; the remote must still have exactly that release.
        found = yield lambda: gateway.get(name)
        end, release = found.record.resolution, found.release
        if end is None or release is None or release.release_id != error.release_id:
            raise
        return _verdict(call, name, end.outcome, found.amendment, end.reason, release.release_id)
    return _verdict(call, name, decision.outcome, decision.amendment, decision.reason, decision.release_id)


def _verdict(
    call: Call, name: str, outcome: str, amendment: Amendment | None, reason: str, release_id: str | None
) -> CallVerdict:
    """The verdict of a decision. A change without the changed arguments releases nothing."""
    value: Any = call.arguments
    if outcome in AMENDING and amendment is not None:
        from ..model.value import plain

        value = plain(amendment)["value"]
    releases = outcome in RELEASING and (outcome not in AMENDING or amendment is not None)
    return CallVerdict(name, outcome, releases, value, reason, release_id)
