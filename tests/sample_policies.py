"""A small roster with settings, and one record in each state, in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kt_escalation.model.record import Claim, Record, Requires, Resolution, Review, Route
from kt_escalation.policies.policy_file import PolicyFile
from kt_escalation.policies.policy_set import Policies, assemble

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


LEASE = timedelta(hours=1)


ROLES = ("reviewer", "admin", "gateway", "auditor")


SHOWN = "0" * 64


def policies(role: str, **settings: object) -> Policies:
    """A roster with me in one role, another reviewer, an admin, and settings."""
    users = [
        {"user_id": "other", "emails": ["other@example.com"], "roles": ["reviewer"]},
        {"user_id": "boss", "emails": ["boss@example.com"], "roles": ["admin"]},
        {"user_id": "gw", "emails": ["gw@example.com"], "roles": ["gateway"]},
    ]
    if role in ROLES:
        users.append({"user_id": "me", "emails": ["me@example.com", "Me@Home.example"], "roles": [role]})
    teams = [
        {"team_id": "legal", "members": ["me", "other"]},
        {"team_id": "security", "members": ["other"]},
        {"team_id": "elsewhere", "members": []},
    ]
    files = {
        "policies/roster.yaml": PolicyFile({"users": users, "teams": teams}),
        "policies/settings.yaml": PolicyFile({"claims": {"lease": "1h"}, **settings}),
    }
    found = assemble("1" * 40, files)
    found.require_sound()
    return found


def record(state: str = "queued", route: dict[str, str] | None = None, **keys: object) -> Record:
    made = Record(
        escalation_id="esc_one",
        status="queued",
        reason_code="a.b",
        created_at=NOW - 3 * LEASE,
        raised_at=NOW - 3 * LEASE,
        raised_by="gw",
        queued_at=NOW - 3 * LEASE,
        route=Route(source="default", **(route or {})),
    ).replace(**keys)
    since = NOW - (2 * LEASE if state == "lapsed" else LEASE / 2)
    holder = "me" if state == "held by you" else "other"
    claim = Claim(claim_id="c1", claimed_by=holder, claimed_at=since, expires_at=since + LEASE)
    if state == "queued":
        return made
    if state != "resolved":
        return made.replace(status="claimed", claim=claim)
    end = Resolution(outcome="denied", reason="no", resolved_by="other", resolved_at=NOW - LEASE / 4)
    review = Review(
        reviewer="other",
        outcome="denied",
        reason="no",
        reviewed_at=end.resolved_at,
        claim_id="c1",
        shown=SHOWN,
    )
    return made.replace(status="resolved", claim=claim, reviews=(review,), resolution=end)


FOUR_EYES = Requires(approvals=2)
