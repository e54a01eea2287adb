"""What the use cases ask of a snapshot: which record is meant, who decided, why nothing can be claimed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .core import ids, rights, sweep, transitions
from .core.model import Record
from .core.rights import Act
from .core.row import Row
from .errors import AmbiguousId, BadInput, KtError, NotFound, UnreadableRecord
from .store.gitstore import GitStore
from .store.port import Entry, Invalid, Snapshot
from .store.snapshot import GitSnapshot

# How long a reader waits for the remote, in seconds.
_FETCH_SECONDS = 30.0


def snapshot(store: GitStore, rev: str | None, *, fetch: bool) -> GitSnapshot:
    """The store at a revision, by default the newest that is known here; ``fetch`` asks the remote first."""
    if fetch:
        tip = store.newest(_FETCH_SECONDS)
        if rev is None:
            return tip
    return store.read(rev)


def existing(snapshot: Snapshot, escalation_id: str) -> Record | None:
    """The record with that id, None if there is none. Raises UnreadableRecord."""
    found = snapshot.find(escalation_id)
    if isinstance(found, Invalid):
        raise UnreadableRecord(path=found.path, problem=found.error, escalation_id=escalation_id)
    return found.record if found else None


def record_of(snapshot: Snapshot, escalation_id: str | None) -> Record | None:
    """The record with that id, None if it is not there or cannot be read."""
    found = snapshot.find(escalation_id) if escalation_id is not None else None
    return found.record if isinstance(found, Entry) else None


def entry(snapshot: Snapshot, escalation_id: str) -> Entry:
    """The record with that id and where it is. Raises NotFound, UnreadableRecord."""
    found = snapshot.find(escalation_id)
    if found is None:
        raise NotFound(escalation_id=escalation_id)
    if isinstance(found, Invalid):
        raise UnreadableRecord(path=found.path, problem=found.error, escalation_id=escalation_id)
    return found


def named(snapshot: Snapshot, text: str) -> str:
    """The id that a text names: itself, or the only one that it begins, open ones first (design, 8)."""
    if ids.is_escalation_id(text) and snapshot.find(text) is not None:
        return text
    if not ids.is_prefix(text):
        if ids.is_escalation_id(text):
            raise NotFound(escalation_id=text)
        how = "give a whole one such as esc_abc123, or at least 4 characters after esc_"
        raise BadInput(problem=f"{text[:80]!r} is no escalation id", hint=ids.how_to_give(text, how))
    for resolved in (False, True):
        fits = sorted(snapshot.ids(resolved=resolved, prefix=text))
        if len(fits) == 1:
            return fits[0]
        if fits:
            shown = ", ".join(fits[:5]) + (f" and {len(fits) - 5} more" if len(fits) > 5 else "")
            raise AmbiguousId(prefix=text, candidates=shown)
    raise NotFound(escalation_id=text)


def whole(snapshot: Snapshot, escalation_id: str) -> str:
    """A whole id of an escalation that is there. Raises NotFound, and BadInput for the beginning of others."""
    if snapshot.find(escalation_id) is not None:
        return escalation_id
    fits = [name for done in (False, True) for name in snapshot.ids(resolved=done, prefix=escalation_id)]
    if fits:
        more = f" and {len(fits) - 3} more" if len(fits) > 3 else ""
        raise BadInput(
            problem=f"{escalation_id} is not a whole id, but the beginning of {', '.join(fits[:3])}{more}",
            hint="give the whole id",
        )
    raise NotFound(escalation_id=escalation_id)


def held(snapshot: Snapshot, act: Act) -> int:
    """How many live claims the actor has; asked only where there is a limit."""
    if act.policies.settings.claims.max_per_reviewer is None:
        return 0
    rows, _ = snapshot.rows(resolved=False)
    mine = [row for row in rows if row.holder is not None and act.is_me(row.holder)]
    return sum(not transitions.lapsed(entry.record, act) for entry in snapshot.entries(mine))


def deciders(snapshot: Snapshot, record: Record) -> tuple[str, ...]:
    """Who decided what a record reopens; asked only where two people are needed. Raises UnreadableRecord."""
    if record.reopens is None or record.requires.approvals < 2:
        return ()
    found = existing(snapshot, record.reopens)
    return tuple(review.reviewer for review in found.reviews) if found else ()


def open_reopener(snapshot: Snapshot, escalation_id: str, *, but: str | None = None) -> Record | None:
    """An open escalation that reopens that one, or one that reopened it, and so on; ``but`` is left out."""
    waiting = [escalation_id]
    while waiting:
        for record in snapshot.reopeners(waiting.pop()):
            if record.escalation_id == but:
                continue
            if record.resolution is None:
                return record
            waiting.append(record.escalation_id)
    return None


def is_claim(row: Row, act: Act, claim_id: str) -> bool:
    """Whether the actor holds it under that claim id."""
    return row.claim_id == claim_id and row.holder is not None and act.is_me(row.holder)


def is_mine(row: Row, act: Act) -> bool:
    """Whether the actor holds it."""
    return row.status == "claimed" and row.holder is not None and act.is_me(row.holder)


def is_overdue(_: Snapshot, record: Record, act: Act) -> bool:
    """Whether it wants attention before its turn."""
    return sweep.overdue(record, act.policies, act.now) is not None


def is_claimable(snapshot: Snapshot, record: Record, act: Act) -> bool:
    """Whether the actor could claim it now."""
    free = record.status == "queued" or (record.status == "claimed" and transitions.lapsed(record, act))
    try:
        return free and rights.why_not(record, act.policies, act.actor, deciders(snapshot, record)) is None
    except UnreadableRecord:
        # Whether the actor is one who decided already cannot be known.
        return False


@dataclass
class Why:
    """Why nothing could be claimed."""

    holders: dict[str, int] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    proposals: int = 0

    def held(self, record: Record) -> None:
        """Count one that somebody holds."""
        if record.claim:
            self.holders[record.claim.claimed_by] = self.holders.get(record.claim.claimed_by, 0) + 1

    def proposed(self) -> None:
        """Count one that a pull request would claim."""
        self.proposals += 1

    def refused(self, error: KtError) -> None:
        """Note one that the actor may not take."""
        self.refusals.append(str(error.facts.get("missing", error.message)))

    def text(self, team: str | None) -> str:
        """The reason, for people."""
        held = ", ".join(f"{name} {count}" for name, count in sorted(self.holders.items()))
        if self.proposals:
            held = ", ".join(filter(None, (held, f"{self.proposals} proposed to be")))
        if self.refusals:
            count = len(self.refusals)
            which = "the one that waits is not" if count == 1 else f"none of the {count} waiting is"
            why = f"{which} for you ({self.refusals[0]})"
            return f"{why}; the others are held ({held})" if held else why
        if held:
            count = sum(self.holders.values()) + self.proposals
            return f"the only one is held ({held})" if count == 1 else f"all {count} are held ({held})"
        return f"nothing waits for team {team}" if team else "the queue is empty"

    def facts(self) -> dict[str, Any]:
        """The reason, for scripts."""
        state = "not_for_you" if self.refusals else "all_held" if self.holders or self.proposals else "empty"
        return {"state": state, "held_by": dict(sorted(self.holders.items()))}
