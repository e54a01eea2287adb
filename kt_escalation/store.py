"""The facade of a store: everything that people and gateways do with it, each in a method of a few lines.

The work is done in `actions` (whatever commits), `reporting` and `audit`. See docs/design.md, *How a step is
committed*.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .actions import claim, decide, inputs, manage, release, stream
from .actions.opening import opened
from .actions.raise_ import Raising
from .actions.read_session import LOCK_TIMEOUT, RETRY_TIMEOUT
from .actions.session import Session
from .errors import BadInput
from .model.query import Key
from .read_store import ReadStore
from .results import Compacted, Result, Swept
from .storage.interface import Port, Progress

if TYPE_CHECKING:
    from .actions.initialize import Made
    from .storage.effect import OnEffect

#: By default a month is compacted when it ended this long ago. See docs/compaction.md.
COMPACT_BEFORE = timedelta(days=90)


class HasFileno(Protocol):
    """An open file, pipe or socket."""

    def fileno(self) -> int:
        """The number of its descriptor."""


class Store(ReadStore):
    """An escalation store, opened from a checkout of its repository.

    Every action is on the remote's store branch before it returns, or raises an error of
    `kt_escalation.errors`, whose ``exit_code`` is that of the command line. A store may be used by
    several threads; each action reads the clock once.

    ``x`` takes one escalation and ``x_many`` several, which it commits together, all or nothing unless
    ``partial``. With a ``branch`` an action is proposed on that branch of the remote, and changes nothing until
    a pull request is merged; "" stands for kt/<action>/<id>. It raises BranchTaken if that branch holds
    something else.
    """

    _session: Session

    def __init__(
        self,
        port: Port,
        *,
        clock: Callable[[], datetime] | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        retry_timeout: float = RETRY_TIMEOUT,
        follow_checkout: bool = True,
        progress: Progress | None = None,
        on_effect: OnEffect | None = None,
    ) -> None:
        session = Session(
            *(port, clock, lock_timeout, retry_timeout),
            follow_checkout=follow_checkout,
            progress=progress,
            on_effect=on_effect,
        )
        super().__init__(session)
        self._raising = Raising(session)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = ".",
        *,
        clock: Callable[[], datetime] | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        retry_timeout: float = RETRY_TIMEOUT,
        follow_checkout: bool = True,
        progress: Progress | None = None,
        on_effect: OnEffect | None = None,
    ) -> Store:
        """Open the store in the repository that holds ``path``.

        Timeouts are in seconds. ``follow_checkout=False`` leaves the checkout where it is until
        `follow` is called. ``clock`` gives the time, for tests. ``progress`` is told, by what lasts, what is
        being done and how much of how much of it is. ``on_effect`` is called with the `Effect` of each action
        when the action begins: the one record of what has become of it, whatever is raised later.
        Raises NotAStore, GitFailed, BadInput.
        """
        return cls(
            opened(path, progress),
            clock=clock,
            lock_timeout=lock_timeout,
            retry_timeout=retry_timeout,
            follow_checkout=follow_checkout,
            progress=progress,
            on_effect=on_effect,
        )

    @staticmethod
    def init(
        path: str | os.PathLike[str] = ".",
        *,
        ci: str | None = None,
        install: str | None = None,
        clock: Callable[[], datetime] | None = None,
        progress: Progress | None = None,
        on_effect: OnEffect | None = None,
    ) -> Made:
        """Make a store in a folder: a repository if there is none, sample policies, the first commit.

        ``ci`` adds the check of pull requests for ``github`` or ``gitlab``, also to a store that is there
        already; ``install`` is what its job gives to pip, and without it the job fails until somebody writes
        that into it. ``progress`` is told of what lasts, ``on_effect`` as in `open`. Raises BadInput and as
        writing does.
        """
        from .actions import initialize

        if ci is not None and ci not in initialize.CI:
            raise BadInput(problem=f"ci is {ci!r}; it is one of {', '.join(initialize.CI)}")
        clock = clock or (lambda: datetime.now(UTC))
        timeouts = (LOCK_TIMEOUT, RETRY_TIMEOUT)
        return initialize.create(Path(path), clock, *timeouts, ci, install, progress, on_effect)

    @property
    def landed(self) -> str | None:
        """The last commit that this store has landed; a crash report names it."""
        return self._session.landed

    def follow(self, *, fetch: bool = True) -> str | None:
        """Bring the checkout to the newest state where that is safe; returns what stood in the way, else None.

        Without ``fetch`` that is the newest state that is known here, as it is after this store has committed.
        """
        port = self._session.port
        with port.writing(self._session.lock_timeout):
            newest = port.tip(self._session.retry_timeout) if fetch else port.read()
            return port.follow(newest.revision)

    # --- raising ----------------------------------------------------------------------------------

    def raise_(self, record: Mapping[str, Any] | None = None, /, **keys: Any) -> Result:
        """Raise one escalation from the keys of a record (docs/record.md).

        Raising the same again changes nothing. Threads of one store that raise at once share a commit.
        Raises BadInput, NotAllowed, DifferentContent, and what writing raises.
        """
        return self._raising.one(inputs.from_keys({**(record or {}), **keys}))

    def raise_event(
        self, event: Mapping[str, Any], *, provider: str | None = None, model: str | None = None
    ) -> Result:
        """Raise what a gateway's decision event asks for; ``skipped`` is 1 if it does not escalate."""
        return self._raising.one(inputs.from_event(event, provider=provider, model=model))

    def raise_many(self, items: Iterable[tuple[int, inputs.Item]], *, partial: bool = False) -> Result:
        """Raise several in one commit: pairs of a line number and a draft (or what was wrong with it).

        None counts as skipped. All or nothing; with ``partial`` all that can be had.
        Raises the fault, or SeveralFailed with every one of them.
        """
        return self._raising.several(items, partial=partial)

    def raise_stream(
        self,
        source: int | HasFileno,
        *,
        flush_count: int = stream.FLUSH_COUNT,
        flush_every: float | None = None,
        partial: bool = False,
        provider: str | None = None,
        model: str | None = None,
    ) -> Iterator[Result]:
        """Raise NDJSON of events and records as it comes: the result of each flush, when that has landed.

        ``source`` is a pipe, a FIFO, a socket or a file of which nothing was read yet. What is there is one
        commit when it is ``flush_count`` lines, ``flush_every`` seconds after the first of them, and at the
        end. ``lines`` of a result says what became of each line; each flush is all or nothing unless
        ``partial``. provider and model fill what the lines do not say.

        Raises BadInput at once; then what raising raises, with ``unacknowledged_from`` in the error's facts:
        the number of the first line of which no result was given.
        """
        if flush_count < 1 or (flush_every is not None and flush_every < 0):
            raise BadInput(problem="a flush is at least one line, and after no less than 0 seconds")
        return stream.raised(
            source if isinstance(source, int) else source.fileno(),
            lambda items, partial: self._raising.several(items, partial=partial),
            flush_count=flush_count,
            flush_every=flush_every,
            partial=partial,
            provider=provider,
            model=model,
        )

    # --- the life of an escalation ----------------------------------------------------------------

    def claim(self, escalation_id: str, *, claim_id: str | None = None, branch: str | None = None) -> Result:
        """Claim an escalation. Raises NotFound, NotAllowed, AlreadyClaimed, AlreadyResolved, ClaimIdDiffers."""
        return self.claim_many([escalation_id], claim_id=claim_id, branch=branch)

    def claim_many(
        self,
        escalation_ids: Sequence[str],
        *,
        claim_id: str | None = None,
        partial: bool = False,
        branch: str | None = None,
    ) -> Result:
        """Claim several escalations."""
        return claim.claim(self._session, escalation_ids, claim_id=claim_id, partial=partial, branch=branch)

    def claim_next(
        self,
        *,
        team: str | None = None,
        count: int = 1,
        claim_id: str | None = None,
        branch: str | None = None,
        until: Key | None = None,
        dry_run: bool = False,
        passing: Collection[str] = (),
    ) -> Result:
        """Claim the next ``count`` that the caller may claim: the most severe first, then the oldest.

        With an empty ``branch`` those are passed over that somebody proposes to claim already. ``until`` leaves
        those with a later turn (`query.turn`), ``passing`` are ids to pass over. ``dry_run`` only says what
        would be claimed. Raises NothingToClaim, which says whether the queue is empty, all are held, or none is
        for the caller.
        """
        return claim.claim_next(
            self._session,
            team=team,
            count=count,
            claim_id=claim_id,
            branch=branch,
            until=until,
            dry_run=dry_run,
            passing=passing,
        )

    def renew(
        self,
        escalation_ids: Sequence[str],
        *,
        claim_id: str | None = None,
        partial: bool = False,
        branch: str | None = None,
    ) -> Result:
        """Begin the leases of the caller's claims again. Raises NotAllowed, NotClaimed, NotHolder."""
        return claim.renew(self._session, escalation_ids, claim_id=claim_id, partial=partial, branch=branch)

    def unclaim(
        self,
        escalation_id: str,
        *,
        claim_id: str | None = None,
        force_reason: str | None = None,
        branch: str | None = None,
    ) -> Result:
        """Give an escalation back to the queue. Raises NotFound, NotClaimed, NotHolder, AlreadyResolved.

        With ``force_reason`` an admin gives back what somebody else holds; the reason becomes a note.
        """
        return self.unclaim_many([escalation_id], claim_id=claim_id, force_reason=force_reason, branch=branch)

    def unclaim_many(
        self,
        escalation_ids: Sequence[str],
        *,
        claim_id: str | None = None,
        force_reason: str | None = None,
        partial: bool = False,
        branch: str | None = None,
    ) -> Result:
        """Give several escalations back."""
        return release.unclaim(
            *(self._session, escalation_ids),
            claim_id=claim_id,
            force_reason=force_reason,
            partial=partial,
            branch=branch,
        )

    def assign(
        self,
        escalation_ids: Sequence[str],
        reason: str,
        *,
        user: str | None = None,
        team: str | None = None,
        claim_id: str | None = None,
        partial: bool = False,
        branch: str | None = None,
    ) -> Result:
        """Hand escalations to a user, who then holds them, or to a team's queue; for holders and admins.

        Raises BadInput, NotFound, NotAllowed, NotHolder, AlreadyResolved.
        """
        return manage.assign(
            *(self._session, escalation_ids, reason),
            user=user,
            team=team,
            claim_id=claim_id,
            partial=partial,
            branch=branch,
        )

    def resolve(
        self,
        escalation_id: str,
        outcome: str,
        reason: str,
        *,
        category: str | None = None,
        claim_id: str | None = None,
        shown: str | None = None,
        branch: str | None = None,
    ) -> Result:
        """Decide an escalation that the caller holds.

        ``outcome`` is an outcome of a record or a verb of the gateway; ``shown`` is the digest that `get`
        returned. Until its quorum is complete the escalation goes back to the queue.
        Raises BadInput, NotFound, NotAllowed, NotClaimed, NotHolder, AlreadyResolved, ShownDiffers.
        """
        return self.resolve_many(
            *([escalation_id], outcome, reason),
            category=category,
            claim_id=claim_id,
            shown=shown,
            branch=branch,
        )

    def resolve_many(
        self,
        escalation_ids: Sequence[str],
        outcome: str,
        reason: str,
        *,
        category: str | None = None,
        claim_id: str | None = None,
        shown: str | None = None,
        partial: bool = False,
        branch: str | None = None,
        dry_run: bool = False,
    ) -> Result:
        """Decide several escalations in the same way.

        ``dry_run`` asks the remote, raises what would be raised, and says what would change (``replaced``).
        """
        return decide.resolve(
            *(self._session, escalation_ids, outcome, reason),
            category=category,
            claim_id=claim_id,
            shown=shown,
            partial=partial,
            branch=branch,
            dry_run=dry_run,
        )

    def note(self, escalation_id: str, text: str, *, branch: str | None = None) -> Result:
        """Add a note to an open escalation. Raises NotFound, NotAllowed, AlreadyResolved."""
        return decide.note(self._session, escalation_id, text, branch=branch)

    def reopen(self, escalation_id: str, reason: str) -> Result:
        """Raise a resolved escalation again, as a new one that names it.

        Raises NotFound, NotAllowed, NotResolved, AlreadyReopened.
        """
        return manage.reopen(self._session, escalation_id, reason)

    def restore(self, escalation_id: str, reason: str) -> Result:
        """Bring an illegal or unreadable record back to its last legal state; for admins.

        A record that never was legal is deleted. Raises NotFound, NotAllowed, NothingToRestore.
        """
        return manage.restore(self._session, escalation_id, reason)

    # --- the store --------------------------------------------------------------------------------

    def waive(self, commit: str, rule: str, path: str, reason: str, *, branch: str | None = None) -> Result:
        """Accept one violation that `verify` names, by a line of `policies/waivers.yaml`; for admins.

        ``commit`` is the whole id. ``changed`` is False if it is listed already.
        Raises BadInput, NotAllowed, BrokenPolicies and what writing raises.
        """
        from .actions import waive

        return waive.waive(self._session, commit, rule, path, reason, branch=branch)

    def sweep(self, *, dry_run: bool = False) -> Swept:
        """Do what deadlines and leases ask for by now, in one commit; for anyone on the roster.

        A record that cannot be swept does not stop the others: it is in ``failed``. ``dry_run`` only says
        what would be done. Raises NotAllowed and what writing raises, and the error if nothing could be swept.
        """
        from .actions import sweep

        return sweep.sweep(self._session, dry_run=dry_run)

    def compact(self, before: timedelta = COMPACT_BEFORE, *, dry_run: bool = False) -> Compacted:
        """Move the resolved records of months that ended ``before`` ago into archives, in one commit; for admins.

        Afterwards only paths differ. ``dry_run`` only says what would be done.
        Raises BadInput, NotAllowed and what writing raises.
        """
        from .actions import compact

        return compact.compact(self._session, before, dry_run=dry_run)
