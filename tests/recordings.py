"""The pictures of a terminal in `docs/img`: what kt shows at a real one, at a time that stands still."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from lab import Lab
from rich.console import Console
from rich.text import Text
from terminal import Seat

from kt_escalation import Store

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
COLUMNS = 104
# kt as it is, but for the clock and for the ids of its claims.
_KT = f"""
import datetime, itertools, sys
from kt_escalation.actions import read_session
from kt_escalation.cli import main
from kt_escalation.cli.commands import read, review
from kt_escalation.cli.terminal import reviewing
class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz):
        return datetime.datetime.fromtimestamp({NOW.timestamp()}, tz)
read_session.datetime = read.datetime = reviewing.datetime = Clock
claims = itertools.count(1)
review.secrets.token_hex = lambda _: f"01kb{{next(claims):04}}"
main()
"""
# rich's own template fetches a font from elsewhere; a page of documentation must not.
_SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

ROSTER = """\
teams:
  - {team_id: legal, members: [alice, bob]}
  - {team_id: security, members: [carol]}
users:
  - {user_id: alice, emails: [alice@example.com], roles: [reviewer]}
  - {user_id: bob, emails: [bob@example.com], roles: [reviewer]}
  - {user_id: carol, emails: [carol@example.com], roles: [reviewer]}
  - {user_id: gw, emails: [gw@example.com], roles: [gateway]}
"""
SETTINGS = """\
default_route: {team_id: legal}
claims: {lease: 4h}
rules:
  - match: {severity: critical}
    approvals: 2
    claim_within: 15m
    fallback: {team_id: security}
  - match: {severity: high}
    resolve_within: 2h
"""
#: What is raised, and how many minutes ago.
RAISED: tuple[tuple[int, dict[str, object]], ...] = (
    (
        1440,
        {
            "request_id": "req_7h8m",
            "severity": "low",
            "reason_code": "cost.above_budget",
            "summary": "Nightly report asks for the large model",
        },
    ),
    (
        150,
        {
            "request_id": "req_7h6t",
            "severity": "high",
            "reason_code": "oversight.required",
            "summary": "Refund above the agent's limit",
            "agent_id": "agent-refunds",
            "policy": "human-oversight",
            "event_context": {
                "excerpt": "I have sent [AMOUNT] back to the card that ends in [DIGITS].",
                "policy_results": [
                    {
                        "policy_kind": "human-oversight",
                        "verdict": "escalate",
                        "reason_code": "oversight.required",
                    }
                ],
            },
        },
    ),
    (
        95,
        {
            "request_id": "req_7h5x",
            "reason_code": "quality.below_threshold",
            "summary": "Investment answer without a source",
        },
    ),
    (
        50,
        {
            "request_id": "req_7h3c",
            "severity": "high",
            "reason_code": "oversight.required",
            "summary": "Contract clause changed by the model",
        },
    ),
    (
        9,
        {
            "request_id": "req_7h2k",
            "severity": "critical",
            "reason_code": "pii.detected",
            "summary": "Answer names a patient and a diagnosis",
            "agent_id": "agent-clinic-letters",
            "provider": "anthropic-prod",
            "model": "claude-sonnet-4",
            "policy": "pii-detector",
            "event_context": {
                "excerpt": "[PERSON] was told on [DATE] that the biopsy showed [DIAGNOSIS].",
                "policy_results": [
                    {
                        "policy_kind": "prompt-injection",
                        "verdict": "allow",
                        "reason_code": "ok",
                        "phase": "input",
                    },
                    {
                        "policy_kind": "pii-detector",
                        "verdict": "escalate",
                        "reason_code": "pii.detected",
                        "phase": "output",
                        "details": {"kinds": ["person", "diagnosis"]},
                    },
                ],
                "scores": {"pii": 0.97, "injection": 0.02},
            },
        },
    ),
)


def store(folder: Path) -> Path:
    """Alice's clone of a store that is the same, to the last commit's id, whenever it is made."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
            patch.setenv(name, "2026-11-22T08:00:00Z")
        lab = Lab(folder)
        lab.put({"policies/roster.yaml": ROSTER, "policies/settings.yaml": SETTINGS})
    for minutes, keys in RAISED:
        with Store.open(_clone(lab, "gw"), clock=lambda ago=minutes: NOW - timedelta(minutes=ago)) as opened:
            opened.create(keys)
    bob = _clone(lab, "bob")
    with Store.open(bob, clock=lambda: NOW - timedelta(minutes=40)) as opened:
        opened.claim("esc_req_7h3c", claim_id="01kb9y2c")
    with Store.open(bob, clock=lambda: NOW - timedelta(minutes=4)) as opened:
        opened.note("esc_req_7h2k", "The clinic's contract allows letters to the patient's own doctor.")
    return lab.clone("alice")


def _clone(lab: Lab, name: str) -> Path:
    path = lab.folder / name
    return path if path.exists() else lab.clone(name)


def _review(seat: Seat) -> None:
    seat.press("q quit: ", "a")
    seat.write("The letter goes to the patient's own doctor; names are meant.")
    seat.press("Enter none: ", "2")
    seat.press("y or n: ", "y")
    seat.press("q quit: ", "q")


#: The pictures: a command, and what is typed at it.
SCENES: dict[str, tuple[list[str], Callable[[Seat], None]]] = {
    "list": (["list"], lambda _: None),
    "get": (["get", "--id", "esc_req_7h2k"], lambda _: None),
    "review": (["review"], _review),
}


def recorded(scene: str, clone: Path) -> str:
    """A scene at a terminal, as an SVG."""
    args, play = SCENES[scene]
    seat = Seat(*args, cwd=clone, columns=COLUMNS, program=(sys.executable, "-c", _KT))
    play(seat)
    assert seat.ended() == 0, seat.rest
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text(f"$ kt escalation {' '.join(args)}", style="bold"))
    console.print(Text.from_ansi(seat.raw.replace("\r\n", "\n")))
    return console.export_svg(title=f"kt escalation {args[0]}", code_format=_SVG, unique_id=f"kt-{scene}")
