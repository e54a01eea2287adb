"""The part of `Store` for reviewers and admins: the steps of an escalation after it was raised."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Unpack

from .actions import claim, decide, manage
from .actions.options import BatchOptions, CommitOptions, NoteOptions, Options
from .actions.session import Session
from .audit_store import AuditStore
from .model.query import Key
from .results import Result


class ReviewStore(AuditStore):
    """A store in which escalations are claimed, handed on and decided."""

    _session: Session

    def claim(self, escalation_id: str, **options: Unpack[CommitOptions]) -> Result:
        """Claim an escalation. Raises NotFound, NotAllowed, AlreadyClaimed, AlreadyResolved, ClaimIdDiffers."""
        return claim.claim(self._session, [escalation_id], Options(**options))

    def claim_many(self, escalation_ids: Collection[str], **options: Unpack[BatchOptions]) -> Result:
        """Claim several escalations. Raises as `claim`, or SeveralFailed."""
        return claim.claim(self._session, escalation_ids, Options(**options))

    def claim_next(
        self,
        *,
        team: str | None = None,
        count: int = 1,
        until: Key | None = None,
        passing: Collection[str] = (),
        **options: Unpack[CommitOptions],
    ) -> Result:
        """Claim the next ``count`` escalations that the caller may claim: the most severe first, then the oldest.

        With an empty ``branch``, escalations are left out if somebody already proposes to claim them.
        ``until`` leaves out those with a later turn (`query.turn`), and ``passing`` those with these ids.
        Raises NothingToClaim, which says whether the queue is empty, all are held, or none is for the caller.
        """
        return claim.claim_next(
            self._session, Options(**options), team=team, count=count, until=until, passing=passing
        )

    def renew(self, escalation_id: str, **options: Unpack[CommitOptions]) -> Result:
        """Begin the lease of the caller's claim again. Raises NotFound, NotAllowed, NotClaimed, NotHolder."""
        return claim.renew(self._session, [escalation_id], Options(**options))

    def renew_many(self, escalation_ids: Collection[str], **options: Unpack[BatchOptions]) -> Result:
        """Begin the leases of several claims again. Raises as `renew`, or SeveralFailed."""
        return claim.renew(self._session, escalation_ids, Options(**options))

    def unclaim(
        self, escalation_id: str, *, force_reason: str | None = None, **options: Unpack[CommitOptions]
    ) -> Result:
        """Give an escalation back to the queue. Raises NotFound, NotClaimed, NotHolder, AlreadyResolved.

        With ``force_reason`` an admin gives back what somebody else holds. The reason becomes a note.
        """
        return claim.unclaim(self._session, [escalation_id], Options(**options), force_reason=force_reason)

    def unclaim_many(
        self,
        escalation_ids: Collection[str],
        *,
        force_reason: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> Result:
        """Give several escalations back. Raises as `unclaim`, or SeveralFailed."""
        return claim.unclaim(self._session, escalation_ids, Options(**options), force_reason=force_reason)

    def assign(
        self,
        escalation_id: str,
        reason: str,
        *,
        user: str | None = None,
        team: str | None = None,
        **options: Unpack[CommitOptions],
    ) -> Result:
        """Hand an escalation to a user, who then holds it, or to a team's queue. For the holder and admins.

        Raises BadInput, NotFound, NotAllowed, NotHolder, AlreadyResolved.
        """
        return manage.assign(self._session, [escalation_id], reason, Options(**options), user=user, team=team)

    def assign_many(
        self,
        escalation_ids: Collection[str],
        reason: str,
        *,
        user: str | None = None,
        team: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> Result:
        """Hand several escalations to a user or a team. Raises as `assign`, or SeveralFailed."""
        return manage.assign(self._session, escalation_ids, reason, Options(**options), user=user, team=team)

    def resolve(
        self,
        escalation_id: str,
        outcome: str,
        reason: str,
        *,
        category: str | None = None,
        shown: str | None = None,
        amendment: Any = None,
        **options: Unpack[CommitOptions],
    ) -> Result:
        """Decide an escalation that the caller holds.

        ``outcome`` is an outcome of a record or a verb of the gateway. ``shown`` is the digest that `get`
        returned. ``amendment`` is what the request is released as, a JSON value or a text, with redacted and
        rewritten only. Until its quorum is complete the escalation goes back to the queue.
        Raises BadInput, BadAmendment, NotFound, NotAllowed, NotClaimed, NotHolder, AlreadyResolved, ShownDiffers.
        """
        how = Options(**options)
        return decide.resolve(
            self._session, [escalation_id], outcome, reason, how, category, shown, amendment
        )

    def resolve_many(
        self,
        escalation_ids: Collection[str],
        outcome: str,
        reason: str,
        *,
        category: str | None = None,
        shown: str | Mapping[str, str] | None = None,
        amendment: Any = None,
        **options: Unpack[BatchOptions],
    ) -> Result:
        """Decide several escalations in the same way. Raises as `resolve`, or SeveralFailed.

        ``shown`` maps each id to the digest that `get` returned.
        """
        how = Options(**options)
        return decide.resolve(self._session, escalation_ids, outcome, reason, how, category, shown, amendment)

    def withdraw(self, escalation_id: str, reason: str, **options: Unpack[NoteOptions]) -> Result:
        """Resolve an open escalation as withdrawn, which releases nothing.

        For the person who raised it, and for admins.
        Raises NotFound, NotAllowed, AlreadyResolved.
        """
        return decide.withdraw(self._session, [escalation_id], reason, Options(**options))

    def withdraw_many(
        self, escalation_ids: Collection[str], reason: str, **options: Unpack[BatchOptions]
    ) -> Result:
        """Withdraw several escalations. Raises as `withdraw`, or SeveralFailed."""
        return decide.withdraw(self._session, escalation_ids, reason, Options(**options))

    def note(self, escalation_id: str, text: str, **options: Unpack[NoteOptions]) -> Result:
        """Add a note to an open escalation. Raises NotFound, NotAllowed, AlreadyResolved."""
        return decide.note(self._session, [escalation_id], text, Options(**options))

    def reopen(self, escalation_id: str, reason: str) -> Result:
        """Raise a resolved escalation again, as a new one.

        Raises NotFound, NotAllowed, NotResolved, AlreadyReopened.
        """
        return manage.reopen(self._session, escalation_id, reason)

    def restore(self, escalation_id: str, reason: str) -> Result:
        """Bring an illegal or unreadable record back to its last legal state. For admins.

        A record that never was legal is deleted. Raises NotFound, NotAllowed, NothingToRestore.
        """
        return manage.restore(self._session, escalation_id, reason)
