"""Finds the violations in one step of a record. See docs/rules.md.

A step is judged by taking it again: the matching rule of `transitions` runs on the state before, for the
step's author and time, and must give the state after. So the judge accepts exactly what a command allows, by
the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from ..errors import BadAmendment, KtError
from ..frozen import dataclass
from ..model import canonical, deadlines, ids
from ..model.record import Draft, Fallback, Record, Review, Route
from ..model.times import format_duration, format_time
from ..policies.decision_event import Raisable
from ..policies.policy_file import ROSTER
from ..policies.policy_set import Policies
from . import creation, difference, due_actions, transitions
from .permissions import Actor, actor, known_as

# The keys of a record that a draft may have. Raising decides the rest.
_GIVEN = ("severity", "reason_code", "summary", "created_at", "request_id", "agent_id", "session_id",
          "config_version", "provider", "model", "policy", "event_context", "action", "labels")  # fmt: skip

# git stores a commit's time in whole seconds, a record in milliseconds.
_COMMIT_TIME = timedelta(seconds=1)

# The id of a claim that raising must have made, in a record that has none.
_NO_CLAIM = "none"

_Move = partial[Record]
_Told = Callable[[Record, Actor], Record]


@dataclass(frozen=True)
class Violation:
    """One rule that a step breaks, and a sentence with what was expected.

    The code that looks at commits fills in where it happened. ``path`` is that of a file in the repository.
    """

    rule: str
    expected: str
    commit: str = ""
    author: str = ""
    path: str = ""
    escalation_id: str | None = None


class StepContext(NamedTuple):
    """What a step is judged by: the policies in force before it, the commit's time, and its author.

    ``deciders`` are the people who decided what the record reopens. ``reopened`` is the record that it
    reopens, and ``reopener`` an open record that already reopens it. ``shown`` is the digest of the content
    before the step, if it is already known. ``now`` is the judge's clock, if the step was made just now.
    ``least`` are other policies whose requirements a new record must also meet.
    """

    email: str
    committed_at: datetime
    policies: Policies
    deciders: tuple[str, ...] = ()
    reopened: Record | None = None
    reopener: Record | None = None
    shown: str | None = None
    now: datetime | None = None
    least: Policies | None = None


def judge(before: Record | None, after: Record | None, context: StepContext) -> tuple[Violation, ...]:
    """The violations of one step of one record. Empty if the step is legal."""
    if after is None:
        return (Violation("deleted", "a record is never deleted"),) if before else ()
    if before is None:
        return _creation(after, context)
    if before == after:
        return (Violation("unchanged", "a file whose content is equal is not written again"),)
    if before.resolution is not None:
        return (Violation("resolved", "a resolved record never changes; reopen it to correct a decision"),)
    refused: KtError | None = None
    made: Record | None = None
    for move in _possible_rules(before, after, context):
        try:
            if (state := move()) == after:
                by_time = move.func is _sweep or (move.func is transitions.claim and before.claim is not None)
                early = _too_early(after, context) if by_time else ()
                return early or _times(before, after, context)
            made = made or state
        except KtError as error:
            refused = refused or error
        except ValueError:
            # The expected record cannot be written, so there is nothing to compare with.
            continue
    replayed = _replayed(before, after, context)
    if replayed is not None:
        return replayed
    if refused is not None:
        return (Violation(_rule_of(refused, after), refused.summary),)
    return (_difference(before, made or before, after),)


def _rule_of(refused: KtError, after: Record) -> str:
    """The rule's name for a step that a command would refuse: the code of the error, or a more specific name."""
    if isinstance(refused, BadAmendment):
        return "amendment"
    is_withdrawn = after.resolution is not None and after.resolution.outcome == "withdrawn"
    return "withdraw" if is_withdrawn else refused.code


def _difference(before: Record, made: Record, after: Record) -> Violation:
    """The violation of a step that differs from the most similar rule."""
    end = after.resolution
    if made == before and end is not None and end.outcome == "expired":
        return _not_due("expiry", deadlines.resolve_by(before))
    if made == before and after.route.source == "fallback" != before.route.source:
        return _not_due("fallback", deadlines.claim_by(before))
    if end is not None and made.resolution is None and len(after.reviews) <= len(before.reviews) + 1:
        expected = f"expected {before.requires.approvals} people's reviews, or one denial; it has {len(after.reviews)}"
        return Violation("quorum", expected)
    rule, expected = difference.named(made, after, "transition")
    if rule == "transition":
        expected = f"{expected}: no action changes that"
    return Violation(rule, expected)


def _too_early(after: Record, context: StepContext) -> tuple[Violation, ...]:
    """Steps that only time allows are checked without clock tolerance, so nobody gains by being early."""
    latest = after.last_time
    if latest - context.committed_at >= _COMMIT_TIME:
        expected = f"expected a commit time no earlier than the times in the record, {format_time(latest)}"
        return (Violation("deadline", expected),)
    if context.now is not None and latest > context.now:
        return (Violation("deadline", f"expected no time later than now, {format_time(context.now)}"),)
    return ()


def _not_due(what: str, when: datetime | None) -> Violation:
    until = f" before {format_time(when)}" if when else ", for which it has no deadline"
    return Violation("deadline", f"expected no {what}{until}")


def judge_policies(author: str, parent: Policies) -> tuple[Violation, ...]:
    """The violations of a change in `policies/`, which needs an admin of the parent's roster.

    Anyone may add the first roster, if it is known who did. See docs/rights.md.
    """
    roster = parent.roster
    if roster is None:
        expected = "expected a commit of which everybody can tell who made it"
        return () if author else (Violation("policies", expected),)
    user = roster.by_id.get(known_as(author, roster))
    if user and "admin" in user.roles:
        return ()
    admins = ", ".join(roster.with_role("admin")) or "nobody"
    return (Violation("policies", f"expected an admin of the roster before it ({admins})"),)


def judge_written(
    parent: Policies, written: Policies, files: Iterable[str]
) -> Iterator[tuple[str, Violation]]:
    """The violations in changed files of `policies/`, whoever made the change, by path.

    A file that cannot be read, or a roster that loses its last admin, would block everybody.
    """
    for path in sorted(files):
        if path in written.broken:
            yield path, Violation("policies", f"expected a file that can be read; {written.broken[path]}")
        elif path == ROSTER and written.has_no_admin and parent.roster and not parent.has_no_admin:
            were = ", ".join(parent.roster.with_role("admin"))
            yield (
                path,
                Violation(
                    "policies", f"expected somebody with the role admin ({were}); enrol another admin first"
                ),
            )


def _creation(after: Record, context: StepContext) -> tuple[Violation, ...]:
    who = actor(context.email, after.raised_at, context.policies)
    try:
        if after.reopens is None:
            born = _raised(after, who)
        elif context.reopened is None:
            return (Violation("reopens", f"expected {after.reopens} to be there and resolved"),)
        else:
            reason = after.notes[0].text if after.notes else ""
            born = creation.reopen(context.reopened, who, reason, after.escalation_id, context.reopener)
    except KtError as error:
        return (Violation(error.code, error.summary),)
    except ValueError as error:
        return (Violation("invalid_creation", f"expected a record as raising makes it: {error}"),)
    replayed = () if born == after else _replayed(born, after, context)
    if replayed is None:
        return (Violation(*difference.named(born, after, "invalid_creation")),)
    return _too_weak(after, context) or _times(None, after, context) or replayed


def _too_weak(after: Record, context: StepContext) -> tuple[Violation, ...]:
    """A record raised on a side branch must meet the requirements that the store branch has now."""
    if context.least is None:
        return ()
    asked = context.least.settings.requirements(
        severity=after.severity,
        reason_code=after.reason_code,
        provider=after.provider,
        model=after.model,
        policy=after.policy,
        route=after.route,
    )
    found = after.requires
    if found.approvals < asked.approvals:
        return (
            Violation(
                "quorum", f"expected requires.approvals {asked.approvals}, as the store branch requires now"
            ),
        )
    for key in ("resolve_within", "valid_for"):
        until, most = getattr(found, key), getattr(asked, key)
        if most is not None and (until is None or until > most):
            return (Violation("quorum", f"expected requires.{key} {format_duration(most)} at most"),)
    if asked.single_use and not found.single_use:
        return (Violation("quorum", "expected requires.single_use, as the store branch requires now"),)
    return ()


def _replayed(before: Record, after: Record, context: StepContext) -> tuple[Violation, ...] | None:
    """The violations of the actions that the later record describes, all by one author. None if they do not lead to it.

    So a squash that keeps every action of one person is legal, and a squash that hides another person's
    action is not. A claim over a lapsed one is judged by time as it is without a squash.
    """
    told: list[tuple[datetime, _Told]] = []
    # In the same millisecond, a claim comes before its decision. If the clock is behind the record's last
    # time, all actions get that time.
    if after.claim is not None and not after.claim.same_as(before.claim):
        token = after.claim.claim_id
        told.append((after.claim.claimed_at, partial(_claim, token, context.deciders)))
    told += [(note.at, partial(_note, note.text)) for note in after.notes[len(before.notes) :]]
    for review in after.reviews[len(before.reviews) :]:
        if all(claim is None or claim.claim_id != review.claim_id for claim in (before.claim, after.claim)):
            # If a review does not complete the quorum, only the claim's id remains in the record.
            told.append((review.reviewed_at, partial(_claim, review.claim_id, context.deciders)))
        told.append((review.reviewed_at, partial(_decide, review, context.deciders)))
    if after.resolution is not None and after.resolution.outcome == "withdrawn":
        told.append((after.resolution.resolved_at, partial(_withdraw, after.resolution.reason)))
    state, over_lapsed = before, False
    try:
        for moment, take in sorted(told, key=lambda pair: pair[0]):
            taken = take(state, actor(context.email, moment, context.policies))
            over_lapsed |= _is_over_lapsed(state, taken)
            state = taken
    except (KtError, ValueError):
        return None
    if state != after:
        return None
    return (_too_early(after, context) if over_lapsed else ()) or _times(before, after, context)


def _is_over_lapsed(before: Record, after: Record) -> bool:
    """Whether a claim took the place of another one, as only the end of its lease allows."""
    return before.claim is not None and after.claim is not None and not after.claim.same_as(before.claim)


def _note(text: str, state: Record, who: Actor) -> Record:
    return transitions.note(state, who, text)


def _claim(token: str, deciders: tuple[str, ...], state: Record, who: Actor) -> Record:
    return transitions.claim(state, who, token, deciders=deciders)


def _decide(review: Review, deciders: tuple[str, ...], state: Record, who: Actor) -> Record:
    return transitions.resolve(
        state,
        who,
        review.outcome,
        review.reason,
        category=review.category,
        claim_id=review.claim_id,
        digest=_shown(state, review, None),
        amendment=review.amendment,
        deciders=deciders,
    )


def _withdraw(reason: str, state: Record, who: Actor) -> Record:
    return transitions.withdraw(state, who, reason)


def _shown(before: Record, review: Review, known: str | None) -> str:
    """The digest of what a review decided on; older reviews have one that covers `schema_version` as well."""
    shown = known or canonical.shown(before)
    if review.shown != shown and review.shown == canonical.shown_before(before):
        return review.shown
    return shown


def _raised(after: Record, who: Actor) -> Record:
    """The record that raising makes from the given keys."""
    parts = vars(after)
    given = {key: value for key in _GIVEN if (value := parts[key]) is not None}
    routing = _whom(after.route) if after.route.source == "event" else None
    raisable = Raisable(Draft.of(given), frozenset(given), routing)
    name = after.escalation_id if after.request_id is None else ids.from_request(after.request_id)
    return creation.raise_(raisable, name, who, after.claim.claim_id if after.claim else _NO_CLAIM)


def _possible_rules(before: Record, after: Record, context: StepContext) -> Iterator[_Move]:
    """The rules that the step may follow, each ready to run again."""
    who = actor(context.email, after.last_time, context.policies)
    note = after.notes[-1].text if len(after.notes) == len(before.notes) + 1 else None
    token = after.claim.claim_id if after.claim else ""
    whom = _whom(after.route) if after.route.source == "assigned" else None
    if note is not None and whom is not None:
        yield partial(transitions.assign, before, who, whom, note, token, deciders=context.deciders)
    if after.route != before.route:
        yield partial(_sweep, before, who._replace(now=after.queued_at), token, context.deciders)
    elif len(after.reviews) == len(before.reviews) + 1:
        given = after.reviews[-1]
        decision = partial(
            transitions.resolve,
            category=given.category,
            claim_id=given.claim_id,
            digest=_shown(before, given, context.shown),
            amendment=given.amendment,
            deciders=context.deciders,
        )
        yield partial(decision, before, who, given.outcome, given.reason)
    elif after.resolution is not None and after.resolution.outcome == "withdrawn":
        yield partial(transitions.withdraw, before, who, after.resolution.reason)
    elif after.resolution is not None:
        yield partial(_sweep, before, who, token, context.deciders)
    elif after.claim is None and before.claim is not None:
        yield partial(transitions.unclaim, before, who, force_reason=note)
        yield partial(_sweep, before, who._replace(now=after.queued_at), token, context.deciders)
    elif after.claim is not None and not after.claim.same_as(before.claim):
        yield partial(transitions.claim, before, who, token, deciders=context.deciders)
    elif after.claim != before.claim:
        at = who._replace(now=_renewed_at(after, context))
        yield partial(transitions.renew, before, at, deciders=context.deciders)
    elif note is not None:
        yield partial(transitions.note, before, who, note)


def _sweep(before: Record, who: Actor, claim_id: str, deciders: tuple[str, ...]) -> Record:
    done = due_actions.due([before], who, claim_id, lambda _: deciders)
    return done[0].after if done else before


def _whom(route: Route) -> Fallback | None:
    try:
        return Fallback(team_id=route.team_id, user_id=route.user_id)
    except ValueError:
        return None


def _renewed_at(record: Record, context: StepContext) -> datetime:
    """The time when a lease was renewed, from its end."""
    lease = context.policies.settings.claims.lease
    until = record.claim.expires_at if record.claim else None
    return until - lease if until and lease else context.committed_at


def _times(before: Record | None, after: Record, context: StepContext) -> tuple[Violation, ...]:
    latest = after.last_time
    if before is not None and before.claim != after.claim:
        # An older lease may be longer than the settings now allow.
        latest = max(latest, _renewed_at(after, context))
    if latest - context.committed_at >= context.policies.settings.claims.clock_tolerance + _COMMIT_TIME:
        expected = f"expected no time later than the commit, {format_time(context.committed_at)}"
        return (Violation("time", expected),)
    return ()
