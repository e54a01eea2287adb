"""Lists escalations as rows, without importing the rules or the model unless a filter needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..model import query
from ..model.query import Page, Query
from ..model.summary import Row
from ..storage.interface import Invalid, Snapshot
from .read_session import ReadSession


@dataclass(frozen=True)
class Rows:
    """A page of rows, which cost less than records, and the files that could not be read.

    ``hint`` says why the page may be empty, if that is known.
    """

    page: Page
    invalid: tuple[Invalid, ...]
    snapshot: Snapshot
    hint: str | None = None

    def plain(self) -> Sequence[dict[str, Any]]:
        """The records of the page as plain JSON values; while the store is open."""
        return list(self.snapshot.plain(self.page.rows))


def rows(session: ReadSession, wanted: Query, *, rev: str | None, fetch: bool) -> Rows:
    """The page of escalations that match. Raises BadInput, NotAStore, NoIdentity."""
    snapshot = session.snapshot(rev, fetch=fetch)
    found: list[Row] = []
    invalid: list[Invalid] = []
    for resolved, statuses in ((False, {"queued", "claimed"}), (True, {"resolved"})):
        if wanted.statuses & statuses:
            more, unreadable = snapshot.rows(resolved=resolved)
            found += more
            invalid += unreadable
    if wanted.mine or wanted.overdue or wanted.claimable:
        found = _narrowed(session, snapshot, [*filter(wanted.matches, found)], wanted)
    page = query.select(found, wanted)
    hint = _unknown_team(snapshot, wanted.team) if wanted.team and not page.rows else None
    return Rows(page, tuple(sorted(invalid, key=lambda item: item.path)), snapshot, hint)


def _unknown_team(snapshot: Snapshot, team: str) -> str | None:
    """Why nothing is routed to a team, if the roster does not list it."""
    from ..policies.policy_set import assemble

    roster = assemble(*snapshot.policies()).roster
    if roster is None or roster.has_team(team):
        return None
    teams = ", ".join(sorted(each.team_id for each in roster.teams))
    return (
        f"the roster has no team {team[:80]}; its teams are {teams}" if teams else "the roster has no teams"
    )


def _narrowed(session: ReadSession, snapshot: Snapshot, found: list[Row], wanted: Query) -> list[Row]:
    """The rows that pass the filters that need the rules."""
    from . import candidates

    if wanted.mine:
        act = session.act(snapshot)
        found = [row for row in found if candidates.is_mine(row, act)]
    for asked, test in (
        (wanted.overdue, candidates.is_overdue),
        (wanted.claimable, candidates.is_claimable),
    ):
        if asked:
            act = session.act(snapshot, named=test is candidates.is_claimable)
            entries = snapshot.entries(found)
            found = [
                row for row, entry in zip(found, entries, strict=True) if test(snapshot, entry.record, act)
            ]
    return found
