"""A store for listings only: everything that a table needs, without importing the rules.

`desk.Store` extends it with everything else. A listing of escalations that this clone has read before needs
neither the model nor YAML, so this module imports them only when they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model import query
from ..model.query import Page, Query
from ..model.summary import Row
from ..model.times import to_millis
from ..storage.clone import GitStore
from ..storage.interface import Invalid, Port, Progress, Snapshot

if TYPE_CHECKING:
    from typing import Self

    from ..rules.permissions import Act

LOCK_TIMEOUT = 60.0
RETRY_TIMEOUT = 30.0
# poll(2) counts milliseconds in 32 bits, a little under 25 days; whoever asks for more waits this long.
LONGEST_WAIT = 20 * 86_400.0


@dataclass(frozen=True)
class Rows:
    """A page of rows, which cost less than records, and the files that could not be read."""

    page: Page
    invalid: tuple[Invalid, ...]
    snapshot: Snapshot

    def plain(self) -> Sequence[dict[str, Any]]:
        """The records of the page as plain JSON values; while the store is open."""
        return list(self.snapshot.plain(self.page.rows))


class Shelf:
    """An escalation store to look at; several threads may."""

    def __init__(
        self,
        port: Port,
        *,
        clock: Callable[[], datetime] | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        retry_timeout: float = RETRY_TIMEOUT,
    ) -> None:
        self._port = port
        self._clock = clock or (lambda: datetime.now(UTC))
        self._lock_timeout = min(lock_timeout, LONGEST_WAIT)
        self._retry_timeout = min(retry_timeout, LONGEST_WAIT)

    @classmethod
    def at(cls, path: str | os.PathLike[str], progress: Progress | None = None) -> Self:
        """The store in the repository that holds ``path``. Raises NotAStore, GitFailed, BadInput."""
        return cls(GitStore(Path(path), progress=progress))

    def close(self) -> None:
        """End the helper process that reads git objects; the store may be used again afterwards."""
        if isinstance(self._port, GitStore):
            self._port.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _snapshot(self, rev: str | None, fetch: bool, max_age: float = 0.0) -> Snapshot:
        if fetch:
            tip = self._port.newest(self._retry_timeout, max_age)
            return tip if rev is None else self._port.read(rev)
        return self._port.read(rev)

    def revision(self) -> str:
        """The newest commit that is known here. Raises NotAStore, NoStoreBranch."""
        return self._port.read().revision

    def rows(self, wanted: Query | None = None, *, rev: str | None = None, fetch: bool = False) -> Rows:
        """The escalations that match, from committed state: at once and offline unless ``fetch``.

        Raises BadInput, NotAStore, NoIdentity.
        """
        wanted = wanted or Query()
        snapshot = self._snapshot(rev, fetch)
        rows: list[Row] = []
        invalid: list[Invalid] = []
        for resolved, statuses in ((False, {"queued", "claimed"}), (True, {"resolved"})):
            if wanted.statuses & statuses:
                more, unreadable = snapshot.rows(resolved=resolved)
                rows += more
                invalid += unreadable
        if wanted.mine or wanted.overdue or wanted.claimable:
            rows = self._narrowed(snapshot, [*filter(wanted.matches, rows)], wanted)
        page = query.select(rows, wanted)
        return Rows(page, tuple(sorted(invalid, key=lambda item: item.path)), snapshot)

    def resolved_ids(self, prefix: str) -> Sequence[str]:
        """The ids of what is resolved that begin so, as this clone knows it. Raises NotAStore."""
        return sorted(self._port.read().ids(resolved=True, prefix=prefix))

    def _narrowed(self, snapshot: Snapshot, rows: list[Row], wanted: Query) -> list[Row]:
        """Those of the rows that are all that is asked; this is where the rules are needed."""
        from . import candidates

        if wanted.mine:
            act = self._reader(snapshot, needed=True)
            rows = [row for row in rows if candidates.is_mine(row, act)]
        for asked, test in (
            (wanted.overdue, candidates.is_overdue),
            (wanted.claimable, candidates.is_claimable),
        ):
            if asked:
                act = self._reader(snapshot, needed=test is candidates.is_claimable)
                entries = snapshot.entries(rows)
                rows = [
                    row for row, entry in zip(rows, entries, strict=True) if test(snapshot, entry.record, act)
                ]
        return rows

    def _reader(self, snapshot: Snapshot, *, needed: bool) -> Act:
        """Who looks, and now; the name only where it is needed."""
        from ..policies.policy_set import assemble
        from ..rules import permissions

        email = self._port.author().email if needed else "nobody@localhost"
        return permissions.act(email, to_millis(self._clock()), assemble(*snapshot.policies()))
