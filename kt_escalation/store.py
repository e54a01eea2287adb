"""`Store`: everything that people and gateways do with a store, each in a method of a few lines.

`ReadStore` and `AuditStore` have the methods that only read, `ReviewStore` the steps from a claim to a decision.
The work is done in `actions` (whatever commits), `reporting` and `audit`. See docs/python.md, and docs/design.md, *How a step is committed*.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from .actions import inputs
from .actions.opening import opened
from .actions.options import FLUSH_COUNT, OpenOptions
from .actions.session import Session
from .errors import BadInput
from .model.vocabulary import RELEASING
from .results import Compacted, Decision, Received, Result, Swept
from .review_store import ReviewStore
from .storage.interface import Port

if TYPE_CHECKING:
    from .actions import drafts
    from .actions.initialize import InitResult
    from .actions.raise_ import Raising

#: By default a month is compacted when it ended this long ago. See docs/compaction.md.
COMPACT_BEFORE = timedelta(days=90)


class HasFileno(Protocol):
    """An open file, pipe or socket."""

    def fileno(self) -> int:
        """The number of its descriptor."""


class Store(ReviewStore):
    """An escalation store, opened from a checkout of its repository with `Store.open`.

    Every action is on the remote's store branch before it returns, or raises an error of
    `kt_escalation.errors`, whose ``exit_code`` is that of the command line. Several threads may use one store;
    each action reads the clock once.

    A method such as `claim` takes one escalation id; `claim_many` takes a list and commits all of them together.
    Actions have these keywords in common:

    - ``claim_id``: your own token for the claim; a different one is a conflict.
    - ``branch``: propose the change on this branch of the remote; "" stands for ``kt/<action>/<id>``. Nothing
      changes until the pull request is merged. Raises BranchTaken if that branch holds something else.
    - ``dry_run``: ask the remote, raise what would be raised, and say what would change (``replaced``).
    - ``partial``, for several: if some cannot be done, do the others. Otherwise it is all or nothing.
    """

    def __init__(self, port: Port, **options: Unpack[OpenOptions]) -> None:
        session = Session(port, **options)
        super().__init__(session)
        self._opening = threading.Lock()
        self._raised: Raising | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str] = ".", **options: Unpack[OpenOptions]) -> Store:
        """Open the store in the repository that contains ``path``.

        ``lock_timeout`` (60) and ``retry_timeout`` (30) are in seconds. ``follow_checkout=False`` leaves the files
        in the folder as they are until `follow` is called. ``progress(label, done, total)`` is called while a
        long operation runs. Raises NotAStore, GitFailed, BadInput.
        """
        return cls(opened(path, options.get("progress")), **options)

    @staticmethod
    def init(
        path: str | os.PathLike[str] = ".",
        *,
        ci: str | None = None,
        install: str | None = None,
        **options: Unpack[OpenOptions],
    ) -> InitResult:
        """Create a store in a folder: a repository if there is none, sample policies, the first commit.

        ``ci`` adds the check of pull requests for "github" or "gitlab", also to an existing store. ``install``
        is what its job installs with pip; without it the job fails until somebody fills it in. The other
        keywords are those of `open`. Raises BadInput and what writing raises.
        """
        from .actions import initialize

        if ci is not None and ci not in initialize.CI:
            raise BadInput(problem=f"ci is {ci!r}; it is one of {', '.join(initialize.CI)}")
        return initialize.create(Path(path), ci, install, **options)

    @property
    def landed(self) -> str | None:
        """The last commit that this store has landed; a crash report names it."""
        return self._session.landed

    def follow(self, *, fetch: bool = True) -> str | None:
        """Update the checkout to the newest state (without ``fetch``: that is known here) if that is safe.

        Returns what prevented it, else None.
        """
        port = self._session.port
        with port.writing(self._session.lock_timeout):
            newest = port.tip(self._session.retry_timeout) if fetch else port.read()
            return port.follow(newest.revision)

    # --- raising ----------------------------------------------------------------------------------

    @property
    def _raising(self) -> Raising:
        """Raises escalations for all threads of this store."""
        from .actions.raise_ import Raising

        with self._opening:
            if self._raised is None:
                self._raised = Raising(self._session)
            return self._raised

    def create(self, record: Mapping[str, Any] | None = None, /, **keys: Any) -> Result:
        """Raise one escalation, from the keys of a record (docs/record.md) as a mapping or as keywords.

        Raising the same escalation again changes nothing. Threads that raise at the same time share a commit.
        Raises BadInput, NotAllowed, DifferentContent, and what writing raises.
        """
        from .actions import drafts

        given = {} if record is None else drafts.mapping(record)
        return self._raising.one(drafts.from_keys({**given, **keys}))

    def raise_(self, record: Mapping[str, Any] | None = None, /, **keys: Any) -> Result:
        """The old name of `create`. It will be removed in the next release."""
        return self.create(record, **keys)

    def raise_event(
        self, event: Mapping[str, Any], *, provider: str | None = None, model: str | None = None
    ) -> Result:
        """Raise an escalation for a gateway's decision event. ``skipped`` is 1 if the event does not escalate."""
        from .actions import drafts

        return self._raising.one(drafts.from_event(event, provider=provider, model=model))

    def raise_many(
        self,
        items: Iterable[Mapping[str, Any]],
        *,
        partial: bool = False,
        provider: str | None = None,
        model: str | None = None,
    ) -> Result:
        """Raise several in one commit: records and decision events, each as a mapping.

        ``provider`` and ``model`` are for items that name none. Events that do not escalate are counted as
        skipped. Raises the error of a single item, or SeveralFailed with the number of each item that failed.
        """
        from .actions import drafts

        found = drafts.from_mappings(items, provider=provider, model=model)
        return self._raising.several(found, partial=partial)

    def raise_lines(self, lines: Iterable[tuple[int, drafts.Item]], *, partial: bool = False) -> Result:
        """Raise what `actions.drafts.read_items` has read from a file, each with its line number."""
        return self._raising.several(lines, partial=partial)

    def raise_stream(
        self,
        source: int | HasFileno,
        *,
        flush_count: int = FLUSH_COUNT,
        flush_every: float | None = None,
        partial: bool = False,
        provider: str | None = None,
        model: str | None = None,
    ) -> Iterator[Result]:
        """Raise NDJSON of events and records as it arrives.

        Yields the result of each commit when it has landed.
        ``source`` is a pipe, a FIFO, a socket or a file of which nothing was read yet. A commit has at most
        ``flush_count`` lines, and is made at most ``flush_every`` seconds after the first of them arrived.
        ``lines`` of a result says what became of each line. ``provider`` and ``model`` are for lines that name
        none. Raises BadInput at once; later errors have ``unacknowledged_from``: the number of the first line
        without a result.
        """
        from .actions import stream

        return stream.raised(
            source if isinstance(source, int) else source.fileno(),
            lambda items, partial: self._raising.several(items, partial=partial),
            flush_count=inputs.count(flush_count, "the number of lines of a flush"),
            flush_every=inputs.seconds(flush_every, "the time of a flush"),
            partial=partial,
            provider=provider,
            model=model,
        )

    # --- the use of a decision --------------------------------------------------------------------

    def release(
        self,
        escalation_id: str,
        *,
        digest: str | None = None,
        release_id: str | None = None,
        amended: bool = False,
        require_signatures: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Decision:
        """Take a decision for its one use.

        ``digest`` is that of the action that will be run. It is required if the record names an action.
        ``release_id`` is the caller's own token, by default a new ULID. ``tell`` gets a line with the release
        id before it is pushed. ``amended`` is as in `wait`.
        Run the action only if ``changed``, or if the record is not for a single use. ``repeat`` means that
        the decision was already taken under that id. Raises BadInput, NotFound, NotAllowed, NotResolved,
        NotReleasing, OtherAction, IllegalRecord, Amended, AlreadyReleased, AlreadyReopened, ReleaseExpired,
        and the errors of writing.
        """
        from .actions import use

        return use.release(
            *(self._session, escalation_id),
            digest=digest,
            release_id=release_id,
            amended=amended,
            signed=require_signatures,
            tell=lambda token: tell(f"releasing {escalation_id} under release id {token}"),
        )

    def wait_and_release(
        self,
        escalation_id: str,
        timeout: float | None = None,
        tell: Callable[[str], None] = lambda _: None,
        *,
        digest: str | None = None,
        release_id: str | None = None,
        amended: bool = False,
        require_signatures: bool = False,
        interval: float | None = None,
    ) -> Decision:
        """Wait as `wait` does, then `release`. A denial is a result too, with ``release`` False.

        Raises the errors of both.
        """
        from .actions import wait

        _, entry, _ = wait.resolved(self._session, escalation_id, timeout, tell, interval=interval)
        end = entry.record.resolution
        if end is not None and end.outcome not in RELEASING:
            return self.wait(escalation_id, 0, require_signatures=require_signatures)
        return self.release(
            escalation_id,
            digest=digest,
            release_id=release_id,
            amended=amended,
            require_signatures=require_signatures,
            tell=tell,
        )

    def receipt(
        self,
        escalation_id: str,
        status: str,
        *,
        result_digest: str | None = None,
        reason: str | None = None,
        release_id: str | None = None,
    ) -> Received:
        """Record the result of a release. For the person who released it.

        ``status`` is executed, failed or unknown. After unknown an admin may record the result, with a
        ``reason``. ``release_id`` is that of the caller's own release. Raises BadInput, NotFound, NotAllowed,
        NotReleased, OtherReceipt.
        """
        from .actions import use

        return use.receipt(
            *(self._session, escalation_id, status),
            result_digest=result_digest,
            reason=reason,
            release_id=release_id,
        )

    # --- the store --------------------------------------------------------------------------------

    def waive(self, commit: str, rule: str, path: str, reason: str, *, branch: str | None = None) -> Result:
        """Accept one violation that `verify` lists, by an entry in `policies/waivers.yaml`. For admins.

        ``commit`` is the whole id. Raises BadInput, NotAllowed, BrokenPolicies and the errors of writing.
        """
        from .actions import waive

        return waive.waive(self._session, commit, rule, path, reason, branch=branch)

    def sweep(self, *, dry_run: bool = False) -> Swept:
        """Apply all deadlines and leases that have passed, in one commit. For anyone on the roster.

        A record that cannot be swept does not stop the others: it is in ``failed``. ``dry_run`` only says
        what would be done. Raises NotAllowed and what writing raises, and the error if nothing could be swept.
        """
        from .actions import sweep

        return sweep.sweep(self._session, dry_run=dry_run)

    def sweeping(
        self,
        escalation_id: str,
        timeout: float | None,
        wait: Callable[[float | None], Decision],
        tell: Callable[[str], None] = lambda _: None,
    ) -> Decision:
        """The result of ``wait``. Meanwhile the escalation's deadlines are applied when they pass.

        So a wait ends even if nobody decides in time. ``wait`` is called with a number of seconds, for
        example ``lambda seconds: store.wait(name, seconds)``. Raises as `wait` and `sweep`.
        """
        from .actions import wait as waiting

        return waiting.sweeping(self._session, escalation_id, timeout, wait, tell)

    def compact(self, before: timedelta = COMPACT_BEFORE, *, dry_run: bool = False) -> Compacted:
        """Move the resolved records of months that ended ``before`` ago into archives, in one commit.

        For admins.
        Only paths change. Raises BadInput, NotAllowed and what writing raises.
        """
        from .actions import compact

        return compact.compact(self._session, before, dry_run=dry_run)
