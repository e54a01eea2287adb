"""A store that is open for reading: its snapshots, the reader, and the time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..model.times import to_millis
from ..storage.clone import GitStore
from ..storage.interface import Port, Snapshot

if TYPE_CHECKING:
    from ..audit.watched import Watched
    from ..rules.permissions import Actor
    from .following import Following

#: How long to wait for the clone's lock, and how long to try again after a lost race, in seconds.
LOCK_TIMEOUT = 60.0
RETRY_TIMEOUT = 30.0
# poll(2) counts milliseconds in 32 bits, a little under 25 days. A longer timeout is cut to this.
LONGEST_WAIT = 20 * 86_400.0


class ReadSession:
    """The store's port and clock, and the timeouts for it in seconds."""

    def __init__(
        self,
        port: Port,
        clock: Callable[[], datetime] | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        retry_timeout: float = RETRY_TIMEOUT,
    ) -> None:
        self.port = port
        self.clock = clock or (lambda: datetime.now(UTC))
        self.lock_timeout = min(lock_timeout, LONGEST_WAIT)
        self.retry_timeout = min(retry_timeout, LONGEST_WAIT)
        #: The judge for the records that somebody waits for, created at the first wait.
        self.watched: Watched | None = None
        self._following: Following | None = None
        self._opening = threading.Lock()

    @property
    def following(self) -> Following:
        """The loop that follows the store for all waits of this session."""
        from .following import Following

        with self._opening:
            if self._following is None:
                self._following = Following(self)
            return self._following

    @property
    def has_git(self) -> bool:
        """Whether the port is a clone."""
        return isinstance(self.port, GitStore)

    @property
    def git(self) -> GitStore:
        """The port as a clone. Raises BadInput for a store in memory."""
        if not isinstance(self.port, GitStore):
            raise BadInput(problem="this store has no git history")
        return self.port

    def snapshot(self, rev: str | None = None, *, fetch: bool = False, max_age: float = 0.0) -> Snapshot:
        """The state at ``rev``, by default the newest that this clone knows. ``fetch`` asks the remote first.

        An answer of the remote that is at most ``max_age`` seconds old is used again.
        """
        if fetch:
            tip = self.port.newest(self.retry_timeout, max_age)
            return tip if rev is None else self.port.read(rev)
        return self.port.read(rev)

    def actor(self, snapshot: Snapshot, *, named: bool = True) -> Actor:
        """The reader and the time. With ``named`` False the reader is nobody, so git's identity is not needed.

        Raises NoIdentity.
        """
        from ..policies.policy_set import assemble
        from ..rules import permissions

        email = self.port.author().email if named else "nobody@localhost"
        return permissions.actor(email, to_millis(self.clock()), assemble(*snapshot.policies()))

    def close(self) -> None:
        """End all waits and the helper process that reads git objects. The session may be used again afterwards."""
        with self._opening:
            following, self._following = self._following, None
        if following is not None:
            following.close()
        if isinstance(self.port, GitStore):
            self.port.close()
