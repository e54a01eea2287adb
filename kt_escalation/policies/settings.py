"""The settings: leases, quorum and deadlines, from `policies/settings.yaml`. See docs/operator.md."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from ..model.record import Duration, Fallback, OneLine, Requires, Route, Text
from ..model.value import ListOf, Value, between, plain
from ..model.vocabulary import Category, Severity
from .routing import Tried


class Claims(Value):
    """How long claims and proposals last, and how many claims one person may hold."""

    lease: Duration | None = None
    clock_tolerance: Duration = timedelta(minutes=2)
    max_per_reviewer: Annotated[int, between(1)] | None = None
    #: How long a proposed step may still be merged if there is no lease.
    proposals: Duration = timedelta(days=14)


class Match(Value):
    """The escalations that a rule applies to. An absent key matches everything."""

    severity: Severity | None = None
    reason_code: OneLine | None = None
    provider: OneLine | None = None
    model: OneLine | None = None
    policy: OneLine | None = None
    team_id: OneLine | None = None


class Rule(Value):
    """The requirements for matching escalations."""

    match: Match = Match.of({})
    approvals: Annotated[int, between(1, 20)] = 1
    claim_within: Duration | None = None
    resolve_within: Duration | None = None
    fallback: Fallback | None = None
    #: Whether a decision releases once only, and how long after `resolved_at` it may do so.
    single_use: bool = False
    valid_for: Duration | None = None

    def check(self) -> None:
        if (self.fallback is None) != (self.claim_within is None):
            raise ValueError("claim_within and fallback go together")


class Settings(Value):
    """The whole file. The defaults apply if there is no file."""

    default_route: Fallback | None = None
    claims: Claims = Claims.of({})
    signatures: Literal["required", "optional"] = "optional"
    rules: ListOf[Rule] = ()
    #: Texts that a reviewer may begin a reason with, by the category that goes with them.
    reasons: Mapping[Category, ListOf[Text]] = {}

    def requirements(
        self,
        *,
        severity: str,
        reason_code: str,
        provider: str | None,
        model: str | None,
        policy: str | None,
        route: Route,
        tried: list[Tried] | None = None,
    ) -> Requires:
        """The requirements of the first rule that matches an escalation. The rules tried are appended to ``tried``."""
        facts = {
            "severity": severity,
            "reason_code": reason_code,
            "provider": provider,
            "model": model,
            "policy": policy,
            "team_id": route.team_id,
        }
        for index, rule in enumerate(self.rules):
            wanted = plain(rule.match)
            differs = [key for key, value in wanted.items() if facts[key] != value]
            if tried is not None:
                why = f"asks for {rule.approvals} approval{'s' if rule.approvals > 1 else ''}"
                if differs:
                    key = differs[0]
                    why = f"{key} is {facts[key] or 'not given'}, not {wanted[key]}"
                tried.append(Tried(f"policies/settings.yaml#rules[{index}]", not differs, why))
            if not differs:
                return Requires(
                    approvals=rule.approvals,
                    claim_within=rule.claim_within,
                    resolve_within=rule.resolve_within,
                    fallback=rule.fallback,
                    single_use=True if rule.single_use else None,
                    valid_for=rule.valid_for,
                )
        return Requires()
