"""Takes decisions for their one use.

The journal has a line before the release is pushed, and another before the decision is returned.
"""

from __future__ import annotations

from dataclasses import replace

from ..actions import use
from ..actions.session import Session
from ..errors import KtError
from ..model.times import format_time, to_millis
from ..results import Decision
from .held import HeldRequest
from .journal import Journal


class Uses:
    """Takes decisions for one gateway."""

    def __init__(self, session: Session, notes: Journal) -> None:
        self._session, self._journal = session, notes

    def take(self, held: HeldRequest) -> Decision:
        """Release a decision, after a line in the journal.

        Raises as `Store.release`, and AlreadyReleased by the journal.
        """
        name = held.escalation_id or ""
        token = self._journal.begin(name, self._session.token(), self._now())
        return use.release(self._session, name, digest=held.digest, release_id=token, amended=held.amended)

    def given(self, found: Decision) -> Decision | Exception:
        """The decision to return, after a line in the journal; or the error why it may not be returned."""
        if found.release_id is None:
            return found
        try:
            if found.release_commit is not None:
                self._journal.pin(None, found.release_commit)
            self._journal.give(found.escalation_id, found.release_id, self._now())
        except (KtError, OSError) as error:
            return error
        # No caller got a decision that was begun under this id. So this is the only permission to run.
        return replace(found, changed=True, repeat=False)

    def _now(self) -> str:
        return format_time(to_millis(self._session.clock()))
