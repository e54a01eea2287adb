"""The part of `Store` that reads the queue and its history: list, get, wait, log, events, watch.

A listing of escalations that this clone has read before needs neither the model nor YAML. So each method
imports what it needs when it is called.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Unpack

from .actions import listing
from .actions.listing import Filters, Rows
from .actions.read_session import ReadSession
from .errors import BadInput
from .model.query import Query
from .storage.interface import PROPOSALS, Progress

if TYPE_CHECKING:
    from typing import Self

    from .doctor import Finding
    from .model.event import Event
    from .policies.policy_set import Policies
    from .results import Decision, Found, Listing, Moment
    from .rules.available_actions import AvailableAction


class ReadStore:
    """An escalation store to read. Several threads may use one store.

    Reading is from committed state, at once and offline. With ``fetch=True`` the remote is asked first.
    ``rev`` reads an older commit.
    """

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    @classmethod
    def open(cls, path: str | os.PathLike[str] = ".", *, progress: Progress | None = None) -> ReadStore:
        """Open the store in the repository that contains ``path``. Raises NotAStore, GitFailed, BadInput."""
        from .actions.opening import opened

        return ReadStore(ReadSession(opened(path, progress)))

    def close(self) -> None:
        """End the helper process that reads git objects. The store may be used again afterwards."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def revision(self) -> str:
        """The newest commit that is known here. Raises NotAStore, NoStoreBranch."""
        return self._session.port.read().revision

    @property
    def address(self) -> str:
        """Where the store is: the remote's address, or the repository's folder if there is no remote."""
        return self._session.git.location.address

    def actor(self) -> str:
        """The acting person: the user of the roster with git's e-mail, or the e-mail. Raises NoIdentity, NotAStore."""
        return self._session.actor(self._session.snapshot()).name

    # --- escalations ------------------------------------------------------------------------------

    def rows(self, wanted: Query | None = None, *, rev: str | None = None, fetch: bool = False) -> Rows:
        """The escalations that match a query, as rows, which are cheaper than records.

        Raises BadInput, NotAStore, NoIdentity.
        """
        return listing.rows(self._session, wanted or Query(), rev=rev, fetch=fetch)

    def list(
        self,
        wanted: Query | None = None,
        *,
        rev: str | None = None,
        fetch: bool = False,
        **filters: Unpack[Filters],
    ) -> Listing:
        """The escalations that match, as whole records, the most severe and oldest first.

        Give filters as keywords, such as ``status="claimed", team="legal"``, or a `Query`. Without either,
        all open escalations match. Raises BadInput, NotAStore, NoIdentity.
        """
        if wanted is not None and filters:
            raise BadInput(problem="give a query or filters, not both")
        return listing.records(self._session, wanted or listing.query_of(**filters), rev=rev, fetch=fetch)

    def freshen(self, seconds: float) -> str | None:
        """Ask the remote, for at most so many seconds (0: not at all).

        Returns the age of this clone's state if it is not fresh, such as ``as of 10m ago``, with the reason.
        None if it is fresh, and without a remote. Raises HistoryRewritten.
        """
        from .errors import GitFailed, GitLocked, LockTimeout, RemoteUnreachable
        from .model.times import lasted

        why = ""
        if self._session.git.remote is None:
            return None
        if seconds > 0:
            try:
                self._session.port.newest(seconds)
            except (RemoteUnreachable, LockTimeout, GitLocked, GitFailed) as error:
                why = f": {error.summary}"
            else:
                return None
        at = self._session.git.newest_tip.asked_at()
        if at is None:
            return f"as of the last fetch{why}"
        return f"as of {lasted(max(self._session.clock().timestamp() - at, 0))} ago{why}"

    def proposed(self, revision: str) -> Mapping[str, str]:
        """The actions proposed on branches of the remote that this clone knows, by escalation id.

        Branches that ``revision`` contains are left out. Fetch all branches to know the newest ones.
        """
        return self._session.git.proposed(revision)

    def resolved_ids(self, prefix: str) -> Sequence[str]:
        """The ids of resolved escalations that begin with ``prefix``. Raises NotAStore."""
        return sorted(self._session.port.read().ids(resolved=True, prefix=prefix))

    def get(self, escalation_id: str, *, rev: str | None = None, fetch: bool = False) -> Found:
        """One escalation by its id, or by a prefix that no other id has.

        Raises NotFound, AmbiguousId, UnreadableRecord, BadInput.
        """
        from .actions import get, inputs
        from .storage import lookup

        name = inputs.one_id(escalation_id)
        snapshot = self._session.snapshot(rev, fetch=fetch)
        return get.found(self._session, snapshot, lookup.named(snapshot, name))

    def available_actions(self, found: Found) -> tuple[AvailableAction, ...]:
        """The actions that the caller may take on an escalation, and why others are refused.

        Raises NoIdentity, BrokenPolicies.
        """
        from .actions import get

        return get.available(self._session, found)

    def wait(
        self,
        escalation_id: str,
        timeout: float | None = None,
        tell: Callable[[str], None] = lambda _: None,
        *,
        digest: str | None = None,
        amended: bool = False,
        require_signatures: bool = False,
        interval: float | None = None,
        stop: threading.Event | None = None,
    ) -> Decision:
        """Wait until an escalation is resolved, and return the decision. May run in a thread.

        ``escalation_id`` is the whole id, because a prefix could later match another one. ``timeout`` is in
        seconds; None is no limit. The remote is asked repeatedly: the pauses grow from half a second to
        fifteen, or take ``interval`` seconds. ``tell`` gets a line about the state, and another one whenever
        it changes. All waits in one store share one fetch. A wait ends when the store is closed or ``stop``
        is set. Every step to the decision must be legal, as `verify` judges it. ``digest`` is that of the
        action that will be run; ``amended`` says that the caller applies amendments.
        A denial is a result too, with ``release`` False. Raises BadInput, NotFound, WaitTimeout,
        IllegalRecord, ShallowClone, Interrupted, and RemoteUnreachable if the remote never answered. Raises
        ReleaseNeeded for a decision for one use, which `Store.release` takes, and AlreadyReleased,
        OtherAction, Amended, ReleaseExpired or AlreadyReopened for a decision that may not be used.
        """
        from .actions import wait

        return wait.wait(
            *(self._session, escalation_id, timeout, tell),
            digest=digest,
            amended=amended,
            signed=require_signatures,
            interval=interval,
            stop=stop,
        )

    # --- history ----------------------------------------------------------------------------------

    def log(
        self, escalation_id: str | None = None, *, rev: str | None = None, fetch: bool = False, limit: int = 0
    ) -> Iterator[Moment]:
        """The actions on one escalation, or on all, newest first. ``limit`` counts commits; 0 reads all.

        Raises NotFound, AmbiguousId, BadInput, NotAStore, at once, and ShallowClone where history is cut off.
        """
        from .actions import inputs
        from .reporting import log
        from .storage import lookup

        snapshot = self._session.snapshot(rev, fetch=fetch)
        wanted = None
        if escalation_id is not None:
            wanted = lookup.named(snapshot, inputs.one_id(escalation_id))
        return log.moments(self._session.git, snapshot.revision, wanted, limit)

    def done_by_me(self) -> Iterator[Moment]:
        """The caller's actions, newest first, from the commits whose message names the caller.

        Raises NoIdentity, NotAStore, at once, and ShallowClone where history is cut off.
        """
        from .reporting import log

        snapshot = self._session.snapshot()
        actor = self._session.actor(snapshot)
        roster = actor.policies.roster
        user = roster.by_id.get(actor.person) if roster else None
        names = {actor.name, self._session.port.author().email, *(user.emails if user else ())}
        found = log.moments(self._session.git, snapshot.revision, None, 0, sorted(names))
        return (moment for moment in found if moment.actor and actor.is_me(moment.actor))

    def events(
        self, since: str | datetime | None = None, *, rev: str | None = None, fetch: bool = False
    ) -> Iterator[Event]:
        """The events, oldest first: one for each action on each escalation, from git history.

        ``since`` is a time, an event's ``cursor``, or a revision in known history. None begins at the start.
        Raises BadInput, NotInHistory, ShallowClone, at once.
        """
        from .reporting import timeline

        git, revision = self._session.git, self._session.snapshot(rev, fetch=fetch).revision
        return timeline.read(git, revision, timeline.place(git, revision, since))

    def cursor(self, since: str | None = None) -> str:
        """The cursor for a revision or a cursor's text. None stands for the remote's newest commit.

        Raises BadInput, NotInHistory, ShallowClone.
        """
        from .reporting import timeline

        tip = self._session.snapshot(fetch=True).revision
        return str(timeline.place(self._session.git, tip, tip if since is None else since).cursor)

    def watch(
        self,
        since: str | datetime | None = None,
        *,
        interval: float | None = None,
        timeout: float | None = None,
        once: bool = False,
        tell: Callable[[str], None] = lambda _: None,
        due: timedelta | None = None,
        told: Container[str] = (),
    ) -> Iterator[Event]:
        """The events after ``since`` (default: now), and then new events as they happen.

        With ``due``, there is also a notice (an event with a ``deadline``) for each open escalation whose
        deadline or lease ends within that time. A notice comes once in a run, and not at all if ``told`` has
        its id. The remote is asked every ``interval`` seconds, by default after pauses that grow from half a
        second to fifteen. The iterator ends after ``timeout`` seconds or, with ``once``, when there are no
        more events. ``tell`` is called with a line when the remote stops answering, and when it answers
        again.
        To get each event at least once, keep the ``cursor`` of the last event that you handled, and begin
        there. Raises as `events`, RemoteUnreachable if the first question gets no answer, and
        HistoryRewritten.
        """
        from .reporting import timeline
        from .reporting.due import notices

        done: set[str] = set()

        def ending(revision: str, cursor: str) -> Iterator[Event]:
            if due is None:
                return
            now = self._session.clock()
            for event in notices(self._session.port.read(revision), now, due, cursor, told):
                if event.id not in done:
                    yield event
                    done.add(event.id)

        return timeline.follow(
            self._session.git,
            since,
            lambda: self._session.snapshot(fetch=True).revision,
            interval=interval,
            timeout=timeout,
            once=once,
            tell=tell,
            due=ending,
        )

    def request_page(self, escalation_id: str, revision: str) -> str | None:
        """The address of the pull request that proposes an action on an escalation, if this clone knows its branch.

        Branches that ``revision`` contains are left out.
        """
        from .actions import inputs

        name, git = inputs.one_id(escalation_id), self._session.git
        action = git.proposed(revision).get(name)
        return git.request_address(f"{PROPOSALS}{action}/{name}") if action else None

    def is_me(self) -> Callable[[str], bool]:
        """Whether a name in a record is the caller's, by the current roster. Raises NoIdentity, NotAStore."""
        return self._session.actor(self._session.snapshot()).is_me

    # --- the store --------------------------------------------------------------------------------

    def policies(self, *, rev: str | None = None) -> Policies:
        """The policies at the newest committed state, with their faults. Raises NotAStore, BadInput."""
        from .policies.policy_set import assemble

        return assemble(*self._session.snapshot(rev).policies())

    def doctor(self) -> Sequence[Finding]:
        """Check this clone for problems. One finding for each check, with its remedy."""
        from . import doctor

        return doctor.examine_store(self._session)
