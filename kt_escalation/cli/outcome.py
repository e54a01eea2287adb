"""What an action came to, printed for people or for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..core.text import visible
from ..core.times import format_time
from .app import put_json, warn

if TYPE_CHECKING:
    from ..answers import Result


def report(result: Result, as_json: bool, several: bool, done: str, same: str) -> None:
    """Print what an action came to; ``done`` and ``same`` are its sentences for one record."""
    for text in result.warnings:
        warn(text)
    if as_json:
        put_json(as_json_of(result, several))
        return
    for failure in result.failed:
        where = f"line {failure.where}" if isinstance(failure.where, int) else failure.where
        warn(f"{where}: {failure.error.message}")
    commit = (result.commit or "")[:12]
    if several:
        for record in result.records:
            click.echo(record.escalation_id)
        extra = [f"{result.unchanged} already so"] if result.unchanged else []
        extra += [f"{result.skipped} skipped that do not escalate"] if result.skipped else []
        extra += [f"{len(result.failed)} failed"] if result.failed else []
        inside = f" ({', '.join(extra)})" if extra else ""
        if result.proposed:
            warn(f"{result.written} proposed{inside} on branch {result.branch} in commit {commit}")
            warn(_request(result))
            return
        where = f" in commit {commit}" if result.changed else ""
        warn(f"{result.written} changed{inside}{where}")
        return
    for record in result.records:
        words = done if result.changed else same
        facts = {
            "id": record.escalation_id,
            "holder": record.claim.claimed_by if record.claim else "",
            "claim": record.claim.claim_id if record.claim else "",
            "until": f" until {format_time(record.claim.expires_at)}"
            if record.claim and record.claim.expires_at
            else "",
            "outcome": record.reviews[-1].outcome if record.reviews else "",
            "commit": commit,
            "status": record.status,
        }
        if result.proposed:
            words = same if result.found else done
            click.echo(visible(f"proposed on branch {result.branch}: {words.format_map(facts)}"))
        else:
            click.echo(visible(words.format_map(facts)))
    if result.proposed:
        click.echo(visible(_request(result)))


def _request(result: Result) -> str:
    """What is left to do with a proposal."""
    where = result.request_url or f"a pull request from {result.branch}"
    return f"nothing changes until it is merged; open {where}"


def as_json_of(result: Result, several: bool) -> dict[str, Any]:
    """The JSON of an action on one record, or on several (design, section 8)."""
    one: dict[str, Any] = {"commit": result.commit, "changed": result.changed}
    if result.proposed:
        one |= {"proposed": True, "branch": result.branch, "request_url": result.request_url}
    if not several:
        return {"escalation": result.records[0].as_dict(), **one}
    return {
        "escalations": [record.as_dict() for record in result.records],
        **one,
        "unchanged": result.unchanged,
        "skipped": result.skipped,
        "failed": [failure.as_json() for failure in result.failed],
    }
