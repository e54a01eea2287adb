"""Events as chat messages: for Slack's incoming webhooks and for the workflows of Microsoft Teams.

See docs/telling.md. A message informs and links, and cannot decide anything. Text from a record is only in
elements without markup: `plain_text` in Slack (Block Kit, text object), `TextRun` in Teams (Adaptive Cards
1.2, RichTextBlock). Clients also find addresses and names after @ in plain text, so an invisible word joiner
breaks these. All other text is kt's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ..model.event import DUE, Event
from ..model.text import visible

#: The formats of this module.
FORMATS = ("slack", "teams")
# Slack allows 3,000 characters in a text, and 50 blocks in a message; Teams 28 KB in all. A message has at most eight
# lines of words from a record, and each character of them takes at most twelve bytes in JSON.
_LONGEST = 200
_JOINER = "\u2060"
# The characters that clients turn into links, mentions, channels or emoji.
_LIVE = re.compile(r"(?<=[@#:/.<&])(?=\S)")

_DONE = {
    "raise": "was raised",
    "claim": "was claimed",
    "renew": "is held for another lease",
    "unclaim": "was given back",
    "review": "was reviewed, and needs another reviewer",
    "resolve": "was resolved",
    "assign": "was handed on",
    "note": "has a new note",
    "sweep": "was changed by its deadline",
    "reopen": "was raised again",
    "restore": "was restored",
    "withdraw": "was withdrawn",
    "release": "was released to the gateway",
    "receipt": "has a receipt",
    "change": "was changed by hand",
    "delete": "was deleted",
    "unreadable": "cannot be read any more",
    DUE: "is due soon",
}
_COLOURS = {"critical": "attention", "high": "warning"}


def message(event: Event, form: str, page: str | None) -> dict[str, Any]:
    """The event as a message. ``page`` is the address of its pull request, if it has one."""
    return _slack(event, page) if form == "slack" else _teams(event, page)


def _title(event: Event, quote: str = "") -> str:
    """The event in kt's words, with the id. An id may contain characters with a meaning in markup, so it is quoted."""
    severity = f"{event.severity} " if event.severity else ""
    outcome = f" as {event.outcome}" if event.outcome and event.action in ("resolve", "sweep") else ""
    done = _DONE.get(event.action, "has changed")
    return f"{severity}{quote}{event.escalation_id}{quote} {done}{outcome}"


def _facts(event: Event) -> Iterator[tuple[str, str]]:
    """The facts of an event in the message: names, and texts from the record."""
    whom = f"team {event.team_id}" if event.team_id else f"user {event.user_id}" if event.user_id else None
    holder = event.claim.claimed_by if event.claim and event.status == "claimed" else None
    for name, said in (
        ("what", event.summary),
        ("why", event.reason_code),
        ("for", whom),
        ("held by", holder),
        ("by", None if event.action == DUE else event.actor),
        ("says", None if event.action == DUE else event.text),
    ):
        if said:
            yield name, _inert(said)


def _inert(text: str) -> str:
    """Text from a record as one short line in which no client finds an address, a name or an emoji."""
    words = visible(" ".join(text.split()))
    if len(words) > _LONGEST:
        words = f"{words[: _LONGEST - 1]}…"
    return _LIVE.sub(_JOINER, words)


def _command(event: Event) -> str:
    return f"kt escalation get {event.escalation_id}"


def _slack(event: Event, page: str | None) -> dict[str, Any]:
    said = "\n".join(f"{name}: {words}" for name, words in _facts(event))
    ours = [f"`{_command(event)}`"]
    if event.deadline is not None:
        at, utc = int(event.deadline.timestamp()), f"{event.deadline:%Y-%m-%d %H:%M} UTC"
        ours.insert(0, f"ends <!date^{at}^{{date_short_pretty}} {{time}}|{utc}>")
    if page is not None:
        ours.append(f"<{_address(page)}|Open the pull request>")
    title = {"type": "mrkdwn", "verbatim": True, "text": _title(event, "`")}
    blocks: list[dict[str, Any]] = [{"type": "section", "text": title}]
    if said:
        blocks.append({"type": "section", "text": {"type": "plain_text", "emoji": False, "text": said}})
    context = {"type": "mrkdwn", "verbatim": True, "text": "  ·  ".join(ours)}
    blocks.append({"type": "context", "elements": [context]})
    # Notifications show the first text, without markup.
    return {
        "text": _title(event),
        "mrkdwn": False,
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _teams(event: Event, page: str | None) -> dict[str, Any]:
    title = {"type": "TextRun", "text": _title(event), "weight": "bolder"}
    if event.severity in _COLOURS:
        title["color"] = _COLOURS[event.severity]
    body: list[dict[str, Any]] = [{"type": "RichTextBlock", "inlines": [title]}]
    if event.deadline is not None:
        at = _utc(event.deadline)
        body.append(
            {"type": "TextBlock", "wrap": True, "text": f"ends {{{{DATE({at},SHORT)}}}} {{{{TIME({at})}}}}"}
        )
    for name, words in _facts(event):
        label = {"type": "TextRun", "text": f"{name}  ", "isSubtle": True}
        body.append({"type": "RichTextBlock", "inlines": [label, {"type": "TextRun", "text": words}]})
    command = {"type": "TextRun", "text": _command(event), "fontType": "monospace"}
    body.append({"type": "RichTextBlock", "inlines": [command]})
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": body,
    }
    if page is not None:
        card["actions"] = [
            {"type": "Action.OpenUrl", "title": "Open the pull request", "url": _address(page)}
        ]
    attached = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attached]}


def _address(page: str) -> str:
    """An address without characters that could end the element around it."""
    return re.sub(r"[<>|\"\s]", "", page)


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
