"""A store with a roster and settings, and escalations that are some time old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from forge import SETTINGS
from lab import Lab, kt, record_text

from kt_escalation.model.times import format_time

ROSTER = """\
teams:
  - {team_id: legal, members: [alice, bob]}
  - {team_id: security, members: [carol, dora]}
users:
  - {user_id: alice, emails: [alice@example.com, alice@home.example], roles: [reviewer]}
  - {user_id: bob, emails: [bob@example.com], roles: [reviewer]}
  - {user_id: carol, emails: [carol@example.com], roles: [reviewer]}
  - {user_id: dora, emails: [dora@example.com], roles: [reviewer]}
  - {user_id: boss, emails: [boss@example.com], roles: [admin]}
  - {user_id: gw, emails: [gw@example.com, seed@example.com], roles: [gateway]}
  - {user_id: eve, emails: [eve@example.com], roles: [auditor]}
"""


GOVERNED = {"policies/roster.yaml": ROSTER, "policies/settings.yaml": SETTINGS}


def ago(**span: int) -> str:
    return f'"{format_time(datetime.now(UTC) - timedelta(**span))}"'


def critical(name: str, **since: int) -> str:
    """A critical escalation as it was raised that long ago."""
    then = ago(**since)
    text = record_text(name, "critical", created_at=then, raised_at=then, raised_by="gw", queued_at=then)
    return text.replace("source: default", "team_id: legal\n  source: default").replace(
        "  approvals: 1\n",
        "  approvals: 2\n  claim_within: 15m\n  resolve_within: 4h\n  fallback:\n    team_id: security\n",
    )


def put(lab: Lab, **texts: str) -> None:
    lab.put({f"queue/esc_{name}.yaml": text for name, text in texts.items()})


def raised(lab: Lab, name: str, **flags: str) -> str:
    given = [word for key, value in flags.items() for word in (f"--{key}", value)]
    gw = lab.folder / "gw"
    if not gw.exists():
        lab.clone("gw")
    ran = kt("raise", "--request-id", name, "--reason-code", "a.b", *given, cwd=gw)
    assert ran.code == 0, ran.err
    return f"esc_{name}"
