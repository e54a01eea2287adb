"""The use cases: everything that people and gateways do with a store.

Each reads the newest state, runs a rule on it and commits the result. If somebody else was first, it starts
again. See docs/design.md, *How a step is committed*. Nothing here knows git, YAML or a terminal.
"""

from __future__ import annotations

import os
import random
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .actions import candidates, inputs, stream
from .actions.commit_loop import Decide, Lander, Plan, require_had
from .actions.group_commit import GroupCommit
from .actions.listing import LOCK_TIMEOUT, RETRY_TIMEOUT, Shelf
from .actions.opening import opened
from .errors import (
    BadInput,
    BranchTaken,
    BrokenPolicies,
    Failure,
    KtError,
    NotFound,
    NothingToClaim,
    NothingToRestore,
    PushRefused,
    RemoteUnreachable,
    SeveralFailed,
    UnreadableRecord,
    WaitTimeout,
)
from .model import canonical, deadlines, ids, query
from .model.progress import told
from .model.query import Key, Query
from .model.record import Record
from .model.times import format_time
from .policies.policy_file import WAIVERS
from .policies.policy_set import Policies, assemble
from .results import Compacted, Found, Line, Listing, Moment, Result, Swept
from .rules import due_actions, permissions, transitions
from .rules.available_actions import Move, moves
from .rules.permissions import Act
from .storage import lookup
from .storage.clone import GitStore
from .storage.commit_message import Message, Words
from .storage.interface import Change, Entry, Invalid, Port, Progress, Snapshot
from .storage.snapshot import GitSnapshot

if TYPE_CHECKING:
    from .actions.initialize import Made
    from .doctor import Finding
    from .model.event import Event
    from .storage.compaction import Fold
    from .storage.effect import OnEffect

# What only some of the actions need is imported there: a claim does not pay for history.

#: How long ago a month must have ended to be compacted, where nothing else is said (design, section 10).
COMPACT_BEFORE = timedelta(days=90)
# How many actions a sweep's commit message tells in words; its changes tell the others.
TOLD = 100


class HasFileno(Protocol):
    """An open file, pipe or socket."""

    def fileno(self) -> int:
        """The number of its descriptor."""


class Store(Shelf):
    """An escalation store, opened from a checkout of its repository.

    Every action lands on the remote's store branch before it returns, or raises an error of
    `kt_escalation.errors`, whose ``exit_code`` is that of the command line. A store may be used by
    several threads; each action reads the clock once.
    """

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
        super().__init__(port, clock=clock, lock_timeout=lock_timeout, retry_timeout=retry_timeout)
        self._progress = progress
        self._lander = Lander(
            port, self._clock, self._lock_timeout, self._retry_timeout, follow_checkout, progress, on_effect
        )
        self._raises = GroupCommit(self._raise_together)

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
        return self._lander.landed

    # --- reading ----------------------------------------------------------------------------------

    def list(self, wanted: Query | None = None, *, rev: str | None = None, fetch: bool = False) -> Listing:
        """What `rows` gives, as whole records."""
        found = self.rows(wanted, rev=rev, fetch=fetch)
        records = tuple(entry.record for entry in found.snapshot.entries(found.page.rows))
        return Listing(records, found.page.next_cursor, found.invalid)

    def get(self, escalation_id: str, *, rev: str | None = None, fetch: bool = False) -> Found:
        """One escalation by its id or a prefix of it that only it has.

        Raises NotFound, AmbiguousId, UnreadableRecord, BadInput.
        """
        snapshot = self._snapshot(rev, fetch)
        return self._found(snapshot, lookup.named(snapshot, escalation_id))

    def _found(self, snapshot: Snapshot, escalation_id: str) -> Found:
        """The escalation with that whole id. Raises NotFound, UnreadableRecord."""
        entry = lookup.entry(snapshot, escalation_id)
        record, policies = entry.record, assemble(*snapshot.policies())
        return Found(
            record,
            entry.path,
            entry.blob,
            snapshot.revision,
            canonical.shown(record),
            # Only what is resolved can be reopened.
            tuple(o.escalation_id for o in snapshot.reopeners(record.escalation_id))
            if record.resolution
            else (),
            self._quorum(snapshot, record, policies),
            deadlines.deadline(record),
            due_actions.overdue(record, policies, self._clock()),
        )

    @staticmethod
    def _quorum(snapshot: Snapshot, record: Record, policies: Policies) -> permissions.Quorum | None:
        try:
            return permissions.quorum(record, policies, lookup.deciders(snapshot, record))
        except UnreadableRecord:
            # Who may decide it depends on who decided what it reopens.
            return None

    def moves(self, found: Found) -> tuple[Move, ...]:
        """What the caller could do with an escalation as it was read, and why not what they could not.

        Raises NoIdentity, BrokenPolicies.
        """
        snapshot = self._port.read(found.commit)
        act = self._reader(snapshot, needed=True)
        act.policies.require_sound()
        record = found.record
        unknown: KtError | None = None
        deciders: tuple[str, ...] = ()
        try:
            deciders = lookup.deciders(snapshot, record)
        except UnreadableRecord as error:
            unknown = error
        could = moves(
            record,
            act,
            deciders=deciders,
            held=candidates.held(snapshot, act),
            reopener=lookup.open_reopener(snapshot, record.escalation_id) if record.resolution else None,
        )
        # Who has decided what it reopens may not be given it.
        barred = ("claim", "assign") if unknown else ()
        return tuple(Move(move.action, unknown) if move.action in barred else move for move in could)

    def log(
        self, escalation_id: str | None = None, *, rev: str | None = None, fetch: bool = False, limit: int = 0
    ) -> Iterator[Moment]:
        """What happened, newest first, from git history; of one escalation, through its whole life."""
        from .model import changes
        from .storage import history

        snapshot = self._snapshot(rev, fetch)
        wanted = lookup.named(snapshot, escalation_id) if escalation_id is not None else None
        if not isinstance(self._port, GitStore):
            raise BadInput(problem="this store has no git history")
        for step in history.steps(self._port, snapshot.revision, wanted, limit):
            told = changes.between(step.before, step.after)
            if step.folded:
                told = (changes.Happening("compact", text=step.folded),)
            if step.problem:
                told = (changes.Happening("unreadable", text=step.problem),)
            for happening in reversed(told):
                yield Moment(
                    step.commit,
                    step.committed_at,
                    step.author,
                    step.email,
                    step.escalation_id or None,
                    happening.action,
                    happening.actor,
                    happening.outcome,
                    happening.text,
                )

    def events(
        self, since: str | datetime | None = None, *, rev: str | None = None, fetch: bool = False
    ) -> Iterator[Event]:
        """What happened, oldest first: one event for each action on each escalation, from git history.

        ``since`` is a time, an event's ``cursor``, or a revision whose history is known; None begins
        at the start. Raises BadInput, NotInHistory, ShallowClone, at once.
        """
        from .reporting import timeline

        snapshot = self._snapshot(rev, fetch)
        return timeline.read(
            self._git, snapshot.revision, timeline.place(self._git, snapshot.revision, since)
        )

    def cursor(self, since: str | None = None) -> str:
        """The cursor that stands for a revision or a cursor, None for the remote's newest commit.

        Raises BadInput, NotInHistory, ShallowClone.
        """
        from .reporting import timeline

        tip = self._snapshot(None, fetch=True).revision
        return str(timeline.place(self._git, tip, tip if since is None else since).cursor)

    def watch(
        self,
        since: str | datetime | None = None,
        *,
        interval: float | None = None,
        timeout: float | None = None,
        once: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Event]:
        """The events since then and those to come, in order; without ``since`` those to come.

        Asks the remote every ``interval`` seconds, without one after pauses that grow from half a second
        to fifteen; ends after ``timeout`` seconds, with ``once`` when nothing is left. ``tell`` gets a
        line when the remote stops answering and when it answers again. Whoever keeps the ``cursor`` of
        the last event that was dealt with, and begins there, gets each at least once.
        Raises as `events` does, RemoteUnreachable where the remote did not answer at first, and
        HistoryRewritten.
        """
        from .reporting import timeline

        return timeline.follow(
            self._git,
            since,
            lambda: self._snapshot(None, fetch=True).revision,
            interval=interval,
            timeout=timeout,
            once=once,
            tell=tell,
        )

    @property
    def address(self) -> str:
        """Where the store is: the remote's address, without a remote the repository's own folder."""
        repository = self._git.repository
        found = repository.config.get(f"remote.{self._git.remote}.url") if self._git.remote else None
        return found or str(repository.toplevel or repository.git_dir)

    @property
    def _git(self) -> GitStore:
        if not isinstance(self._port, GitStore):
            raise BadInput(problem="this store has no git history")
        return self._port

    def policies(self, *, rev: str | None = None) -> Policies:
        """The policies at the newest committed state, faults included."""
        return assemble(*self._snapshot(rev, fetch=False).policies())

    def doctor(self) -> Sequence[Finding]:
        """What could keep this clone from working, each with its remedy."""
        from . import doctor
        from .doctor import Finding

        if not isinstance(self._port, GitStore):
            return []
        found = doctor.examine(self._port, self._retry_timeout)
        try:
            snapshot = self._port.read()
        except KtError as error:
            if any(not finding.ok and finding.detail == error.what for finding in found):
                return found
            return [*found, Finding("store", False, error.what, error.remedy)]
        policies = assemble(*snapshot.policies())
        return [*found, *self._proofs(policies), *self._contents(snapshot, policies)]

    def _contents(self, snapshot: Snapshot, policies: Policies) -> Iterator[Finding]:
        """What is wrong with the files of the store, for an admin to fix; without a roster everybody is one."""
        from .doctor import ADMIN, YOU, Finding

        fixed_by = ADMIN
        # Who nobody is finds it out by another finding.
        with suppress(KtError):
            author = self._port.author()
            fixed_by = (
                YOU if permissions.is_admin(permissions.act(author.email, self._clock(), policies)) else ADMIN
            )
        bad = [
            item
            for part in (snapshot.open(), snapshot.resolved())
            for item in part
            if isinstance(item, Invalid)
        ]
        for item in bad:
            path = shlex.quote(item.path)
            remedy = f"take it out of the queue with `git rm -- {path}`, commit and push"
            if item.escalation_id is not None:
                remedy = (
                    f"bring it back with `kt escalation restore --id {item.escalation_id} --reason TEXT`; "
                    f"what it was is in `git log -p -- {path}`"
                )
            yield Finding("files", False, f"{item.path}: {item.error}", remedy, fixed_by)
        if not bad:
            yield Finding("files", True, "every file below queue/ can be read", "")
        for entry in snapshot.open():
            lost = due_actions.nobody_left(entry.record, policies) if isinstance(entry, Entry) else None
            if lost and isinstance(entry, Entry):
                name = entry.record.escalation_id
                remedy = (
                    f"hand it on with `kt escalation assign --id {name} --team TEAM --reason TEXT`, "
                    "or change the roster"
                )
                yield Finding("people", False, f"{name}: {lost}", remedy, fixed_by)
        for fault in policies.faults:
            remedy = "fix it in a commit on the store branch; `kt policy lint` names every fault"
            yield Finding("policies", False, str(fault), remedy, fixed_by)

    def _proofs(self, policies: Policies) -> Iterator[Finding]:
        """Whether pushes are judged, as far as that can be seen from here, and whether anything proves names."""
        from .audit import hosting
        from .doctor import SERVER, Finding

        server = self._git.local_remote()
        guard = hosting.seen_from_a_clone(server) if server else None
        if guard and server:
            where = shlex.quote(str(server))
            if guard.ok:
                yield Finding("hook", True, f"the hook of {server} runs and guards {guard.branch}", "")
            elif guard.installed:
                remedy = f"see `kt escalation hook status --server {where}`"
                yield Finding("hook", False, guard.problems[0], remedy, SERVER)
            else:
                remedy = f"install kt's with `kt escalation hook install --server {where}`"
                yield Finding("hook", True, f"no hook judges what is pushed to {server}", remedy, SERVER)
        if policies.settings.signatures == "required":
            yield Finding("names", True, "each step is signed by its author", "")
        elif guard and guard.ok and guard.pusher_from is not None:
            yield Finding("names", True, f"the server says who pushes, in {guard.pusher_from}", "")
        else:
            detail = "nothing in the store proves names: who can push can act in anybody's name"
            remedy = "require signatures (docs/signatures.md), or let the server prove who pushes (docs/servers.md)"
            yield Finding("names", True, detail, remedy, SERVER)

    # --- raising ----------------------------------------------------------------------------------

    def raise_(self, record: Mapping[str, Any] | None = None, /, **keys: Any) -> Result:
        """Raise one escalation from the keys of a record (design, section 3).

        Raising the same again changes nothing. Threads of one store that raise at once share a commit.
        Raises BadInput, NotAllowed, DifferentContent, and what writing raises.
        """
        return self._raise_one(inputs.from_keys({**(record or {}), **keys}))

    def raise_event(
        self, event: Mapping[str, Any], *, provider: str | None = None, model: str | None = None
    ) -> Result:
        """Raise what a gateway's decision event asks for; ``skipped`` is 1 if it does not escalate."""
        return self._raise_one(inputs.from_event(event, provider=provider, model=model))

    def _raise_one(self, item: inputs.Item) -> Result:
        if item is None or isinstance(item, KtError):
            return self.raise_many([(inputs.ALONE, item)])
        return self._raises.join(item)

    def _raise_together(self, items: Sequence[inputs.Item]) -> Sequence[Result | Exception]:
        """Raise what several threads ask for in one commit; what comes of each."""
        if len(items) == 1:
            return [self.raise_many([(inputs.ALONE, items[0])])]
        try:
            result = self.raise_many(enumerate(items), partial=True)
        except SeveralFailed as error:
            return [failure.error for failure in error.failures]
        except PushRefused:
            # A server may refuse all for one of them.
            return [self._alone(item) for item in items]
        records = {record.escalation_id: record for record in result.records}
        return [
            line.error
            or replace(
                result,
                records=(records[line.escalation_id or ""],),
                changed=line.changed,
                written=int(line.changed),
                unchanged=int(not line.changed),
                failed=(),
                lines=(line._replace(number=inputs.ALONE),),
            )
            for line in result.lines
        ]

    def _alone(self, item: inputs.Item) -> Result | Exception:
        try:
            return self.raise_many([(inputs.ALONE, item)])
        except KtError as error:
            return error

    def raise_many(self, items: Iterable[tuple[int, inputs.Item]], *, partial: bool = False) -> Result:
        """Raise several in one commit: pairs of a line number and a draft (or what was wrong with it).

        None counts as skipped. All or nothing; with ``partial`` all that can be had.
        Raises the fault, or SeveralFailed with every one of them.
        """
        wanted = [(number, item, os.urandom(ids.ULID_RANDOM_BYTES)) for number, item in items]
        skipped = [Line(number) for number, item, _ in wanted if item is None]
        claim_id = self._nonce()

        def decide(snapshot: Snapshot, act: Act) -> Plan:
            new: dict[str, Record] = {}
            had: dict[str, Record] = {}
            lines, failed = [], []
            for number, item, randomness in told(self._progress, "raising", wanted, len(wanted)):
                try:
                    if item is None:
                        lines.append(Line(number))
                        continue
                    if isinstance(item, KtError):
                        raise item
                    name = transitions.escalation_id(item, act.now, randomness)
                    existing = new.get(name) or had.get(name) or lookup.existing(snapshot, name)
                    if existing:
                        transitions.same_as_raised(existing, item)
                        had[name] = existing
                    else:
                        raised = transitions.raise_(item, name, act, claim_id)
                        new[name] = had[name] = transitions.require_fit(raised)
                    lines.append(Line(number, name, changed=existing is None))
                except KtError as error:
                    lines.append(Line(number, error=error))
                    failed.append(Failure(number, error))
            return Plan(
                changes=tuple(Change(None, record) for record in new.values()),
                message=Message("raise", list(new), act.actor, text=_summary(new.values())),
                records=tuple(had.values()),
                unchanged=len(lines) - len(skipped) - len(failed) - len(new),
                failed=tuple(failed),
                lines=tuple(lines),
            )

        if len(skipped) == len(wanted):
            return Result((), None, False, skipped=len(skipped), lines=tuple(skipped))
        return replace(self._lander.land(decide, partial), skipped=len(skipped))

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
            lambda items, partial: self.raise_many(items, partial=partial),
            flush_count=flush_count,
            flush_every=flush_every,
            partial=partial,
            provider=provider,
            model=model,
        )

    # --- the life of an escalation ----------------------------------------------------------------

    # With a `branch`, an action is proposed there on the remote and changes nothing until a pull request is
    # merged; "" stands for kt/<action>/<id>. It raises BranchTaken where that branch holds something else.

    def claim(self, escalation_id: str, *, claim_id: str | None = None, branch: str | None = None) -> Result:
        """Take one escalation. Raises NotFound, NotAllowed, AlreadyClaimed, AlreadyResolved, ClaimIdDiffers."""
        return self.claim_many([escalation_id], claim_id=claim_id, branch=branch)

    def claim_many(
        self,
        escalation_ids: Sequence[str],
        *,
        claim_id: str | None = None,
        partial: bool = False,
        branch: str | None = None,
    ) -> Result:
        """Take several escalations in one commit, all or nothing unless ``partial``."""
        given = claim_id is not None
        token = inputs.claim_id(claim_id) or self._nonce()

        def step(snapshot: Snapshot, act: Act, entry: Entry, taken: int) -> Record:
            held = candidates.held(snapshot, act) + taken
            deciders = lookup.deciders(snapshot, entry.record)
            return transitions.claim(entry.record, act, token, given=given, deciders=deciders, held=held)

        return self._each("claim", escalation_ids, step, partial, branch, claim_id=token, detail=_over_lapsed)

    def renew(
        self,
        escalation_ids: Sequence[str],
        *,
        claim_id: str | None = None,
        partial: bool = False,
        branch: str | None = None,
    ) -> Result:
        """Hold what the caller holds for a whole lease more. Raises NotAllowed, NotClaimed, NotHolder."""
        inputs.claim_id(claim_id)

        def step(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
            return transitions.renew(entry.record, act, claim_id=claim_id)

        return self._each("renew", escalation_ids, step, partial, branch, claim_id=claim_id)

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
        """Take the next ``count`` at most: most severe, then oldest, of what the caller may take.

        With an empty ``branch`` what somebody proposes to claim already is passed over. ``until`` leaves
        what has its turn (`query.turn`) later than that; with ``dry_run`` only say what would be taken.
        Those whose ids are in ``passing`` are passed over.
        Raises NothingToClaim, which says whether the queue is empty, all is held, or none is for
        the caller.
        """
        if count < 1:
            raise BadInput(problem=f"count is {count}; it must be at least 1")
        given = claim_id is not None
        token = inputs.claim_id(claim_id) or self._nonce()
        proposed: set[str] = set()

        def decide(snapshot: Snapshot, act: Act) -> Plan:
            rows, unreadable = snapshot.rows(resolved=False)
            mine = [row for row in rows if given and candidates.is_claim(row, act, token)]
            if mine:
                had = snapshot.entries(query.in_order(mine))
                return Plan(records=tuple(entry.record for entry in had), unchanged=len(mine))
            held = candidates.held(snapshot, act)
            changes: list[Change] = []
            why = candidates.Why()
            fits = [
                row
                for row in query.in_order(rows)
                if (team is None or row.team_id == team)
                and (until is None or query.turn(row) <= until)
                and row.escalation_id not in passing
            ]
            for entry in snapshot.entries(fits):
                record = entry.record
                if record.escalation_id in proposed:
                    why.proposed()
                    continue
                if record.claim and not transitions.lapsed(record, act):
                    why.held(record)
                    continue
                try:
                    # What is written rests on the record itself, and not on what this clone has kept of it.
                    entry = lookup.entry(snapshot, record.escalation_id)
                    record, deciders = entry.record, lookup.deciders(snapshot, entry.record)
                    claimed = transitions.require_fit(
                        transitions.claim(
                            record, act, token, given=given, deciders=deciders, held=held + len(changes)
                        )
                    )
                except KtError as error:
                    why.refused(error)
                    continue
                if claimed is not record:
                    changes.append(Change(entry, claimed))
                if len(changes) == count:
                    break
            if not changes:
                lost = [item.path for item in unreadable]
                besides = f"; {', '.join(lost[:3])} cannot be read" if lost else ""
                raise NothingToClaim(why=f"{why.text(team)}{besides}", invalid=lost, **why.facts())
            named = [change.new.escalation_id for change in changes]
            detail = _over_lapsed([change.old.record for change in changes if change.old])
            return Plan(
                changes=tuple(changes),
                message=Message("claim", named, act.actor, claim_id=token, detail=detail),
                records=tuple(change.new for change in changes),
                warnings=tuple(f"{item.path} {item.error}; it was passed over" for item in unreadable),
                find=f"kt escalation get --fetch --id {named[0]}",
            )

        if dry_run:
            return self._would(decide, partial=False)
        while True:
            try:
                return self._lander.land(decide, False, branch)
            except BranchTaken as error:
                # Somebody proposes to take the first of these: the next one is as good.
                if branch or "commit" not in error.facts:
                    raise
                proposed.add(error.facts["branch"].rpartition("/")[2])

    def unclaim(
        self,
        escalation_id: str,
        *,
        claim_id: str | None = None,
        force_reason: str | None = None,
        branch: str | None = None,
    ) -> Result:
        """Give an escalation back to the queue. Raises NotFound, NotClaimed, NotHolder, AlreadyResolved."""
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
        """Give several back in one commit, all or nothing unless ``partial``.

        With ``force_reason`` an admin gives back what somebody else holds; the reason becomes a note.
        """
        inputs.claim_id(claim_id)
        reason = None if force_reason is None else inputs.words(force_reason, "the reason")

        def step(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
            return transitions.unclaim(entry.record, act, claim_id=claim_id, force_reason=reason)

        detail = _from_holder if reason else None
        return self._each(
            "unclaim", escalation_ids, step, partial, branch, claim_id=claim_id, text=reason, detail=detail
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
        whom = inputs.whom(user, team)
        words = inputs.words(reason, "the reason")
        inputs.claim_id(claim_id)
        token = self._nonce()

        def step(snapshot: Snapshot, act: Act, entry: Entry, _: int) -> Record:
            return transitions.assign(
                entry.record,
                act,
                whom,
                words,
                token,
                claim_id=claim_id,
                deciders=lookup.deciders(snapshot, entry.record),
            )

        return self._each(
            "assign",
            escalation_ids,
            step,
            partial,
            branch,
            claim_id=token if user is not None else None,
            text=words,
            detail=lambda _: f"to {user}" if user is not None else f"to team {team}",
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

        ``outcome`` is one of ours or a verb of the gateway; ``shown`` the digest that `get` gave.
        The record is queued again while its quorum is short.
        Raises BadInput, NotFound, NotAllowed, NotClaimed, NotHolder, AlreadyResolved, ShownDiffers.
        """
        return self.resolve_many(
            [escalation_id],
            outcome,
            reason,
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
        """Decide several in the same way in one commit, all or nothing unless ``partial``.

        With ``dry_run`` only ask the remote, raise what would be raised, and say what would change (``replaced``).
        """
        decided = inputs.outcome(outcome)
        kind = inputs.category(category)
        words = inputs.words(reason, "the reason")
        inputs.claim_id(claim_id)

        def step(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
            return transitions.resolve(
                entry.record, act, decided, words, category=kind, claim_id=claim_id, shown=shown
            )

        return self._each(
            *("resolve", escalation_ids, step, partial, branch),
            claim_id=claim_id,
            outcome=decided,
            text=words,
            dry_run=dry_run,
        )

    def note(self, escalation_id: str, text: str, *, branch: str | None = None) -> Result:
        """Say something about an open escalation. Raises NotFound, NotAllowed, AlreadyResolved."""
        words = inputs.words(text, "the note")

        def step(_: Snapshot, act: Act, entry: Entry, __: int) -> Record:
            return transitions.note(entry.record, act, words)

        return self._each("note", [escalation_id], step, False, branch, text=words)

    def reopen(self, escalation_id: str, reason: str) -> Result:
        """Raise anew what was resolved, as an escalation of its own that names it.

        Raises NotFound, NotAllowed, NotResolved, AlreadyReopened.
        """
        inputs.whole_ids([escalation_id])
        words = inputs.words(reason, "the reason")
        new_id = f"esc_{self._nonce()}"

        def decide(snapshot: Snapshot, act: Act) -> Plan:
            record = lookup.entry(snapshot, escalation_id).record
            again = lookup.open_reopener(snapshot, escalation_id)
            new = transitions.require_fit(transitions.reopen(record, act, words, new_id, again))
            if new.escalation_id != new_id:
                return Plan(records=(new,), unchanged=1)
            message = Message("reopen", [new_id], act.actor, detail=f"for {escalation_id}", text=words)
            return Plan((Change(None, new),), message, (new,))

        return self._lander.land(decide, partial=False)

    def restore(self, escalation_id: str, reason: str) -> Result:
        """Bring a record that is illegal or unreadable back to its last legal state; for admins.

        What never was legal is deleted. Raises NotFound, NotAllowed, NothingToRestore.
        """
        inputs.whole_ids([escalation_id])
        words = inputs.words(reason, "the reason")

        def decide(snapshot: Snapshot, act: Act) -> Plan:
            permissions.require_role(act, "restore", escalation_id, "admin")
            legal = self._last_legal(snapshot, escalation_id)
            found, paths = snapshot.find(escalation_id), snapshot.paths(escalation_id)
            if legal is None:
                _require_no_archive(snapshot, escalation_id)
                message = Message("restore", [escalation_id], act.actor, text=words)
                return Plan(message=message, others=dict.fromkeys(paths))
            whole = isinstance(found, Entry) and found.blob == self._port.blob_id(legal)
            if whole and len(paths) == 1:
                raise NothingToRestore(escalation_id=escalation_id)
            _require_no_archive(snapshot, escalation_id)
            message = Message("restore", [escalation_id], act.actor, text=words)
            return Plan((Change(None, legal, tuple(paths)),), message, (legal,))

        return self._lander.land(decide, partial=False)

    def _last_legal(self, snapshot: Snapshot, escalation_id: str) -> Record | None:
        """The last state of a record that a row of legal steps led to, None for what never was legal.

        Raises NotFound, ShallowClone.
        """
        from .audit import record_history

        last = record_history.life(self._git, snapshot.revision, escalation_id, self._clock()).last
        if last is not None and last.record is not None:
            return last.record
        if not snapshot.paths(escalation_id):
            raise NotFound(escalation_id=escalation_id)
        return None

    # --- policies ---------------------------------------------------------------------------------

    def waive(self, commit: str, rule: str, path: str, reason: str, *, branch: str | None = None) -> Result:
        """Accept one violation that `verify` names, by a line of `policies/waivers.yaml`; for admins.

        ``commit`` is the whole id. What is listed already stays as it is: ``changed`` is False. With a
        ``branch`` it is proposed there, as an action is.
        Raises BadInput, NotAllowed, BrokenPolicies and what writing raises.
        """
        waiver = inputs.waiver(commit, rule, path, reason)
        if not isinstance(self._port, GitStore):
            raise BadInput(problem="this store has no files to change")
        from .storage import yaml_text

        port, file = self._port, self._port.full(WAIVERS)
        name = commit[:12]

        def decide(snapshot: Snapshot, act: Act) -> Plan:
            if port.repository.commit_of(commit) != commit or not port.contains(snapshot, commit):
                raise BadInput(
                    problem=f"{commit} is no commit of the store branch",
                    hint="`kt escalation verify --json` gives the whole id of each violation's commit",
                )
            permissions.require_role(act, "waive", f"{rule} of {name}", "admin")
            here = assemble(*snapshot.policies())
            broken = here.broken.get(WAIVERS)
            if broken:
                raise BrokenPolicies(where=broken.where, problem=broken.problem)
            if any(known.covers(commit, rule, path) for known in here.waivers):
                return Plan()
            [there] = port.repository.objects.get([f"{snapshot.revision}:{file}"])
            try:
                data = yaml_text.with_item((there and there.data) or b"", "waivers", waiver.model_dump())
            except yaml_text.Malformed as error:
                raise BadInput(problem=f"{WAIVERS} {error}") from None
            return Plan(
                message=Words(f"Waive {rule} of {name}", waiver.reason),
                find=f"git log {name}.. -- {file}",
                others={file: data},
                called=f"waive/{name}-{rule}",
            )

        return self._lander.land(decide, partial=False, branch=branch)

    # --- time -------------------------------------------------------------------------------------

    def sweep(self, *, dry_run: bool = False) -> Swept:
        """Do what deadlines and leases ask for by now, in one commit; anyone on the roster may.

        A record for which that is not possible keeps nothing else from being swept: it is in ``failed``. With
        ``dry_run`` only say what that would be. Raises NotAllowed and what writing raises, and where nothing
        could be swept, why.
        """
        token = self._nonce()
        dues: tuple[due_actions.Due, ...] = ()
        invalid: tuple[Invalid, ...] = ()
        failed: tuple[Failure, ...] = ()

        def decide(snapshot: Snapshot, act: Act) -> Plan:
            nonlocal dues, invalid, failed
            rows, bad = snapshot.rows(resolved=False)
            invalid, now = tuple(bad), format_time(act.now)
            late = (row.escalation_id for row in rows if row.deadline is not None and row.deadline <= now)
            # What is written rests on the record itself, and not on what this clone has kept of it.
            items = (snapshot.find(name) for name in late)
            entries = {item.record.escalation_id: item for item in items if isinstance(item, Entry)}
            dues, failed = _that_fit(
                due_actions.due((entry.record for entry in entries.values()), act, token)
            )
            named = [due.before.escalation_id for due in dues]
            told = "\n".join(f"{due.before.escalation_id}: {due.kind}, {due.why}" for due in dues[:TOLD])
            alone = dues[0].after if len(dues) == 1 else None
            return Plan(
                tuple(Change(entries[due.before.escalation_id], due.after) for due in dues),
                Message(
                    "sweep",
                    named,
                    act.actor,
                    outcome=alone.resolution.outcome if alone and alone.resolution else None,
                    text=told,
                ),
                tuple(due.after for due in dues),
                failed=failed,
            )

        if dry_run:
            snapshot = self._snapshot(None, fetch=True)
            decide(snapshot, self._reader(snapshot, needed=True))
            return Swept(dues, Result((), snapshot.revision, False, failed=failed), invalid)
        result = self._lander.land(decide, partial=True)
        return Swept(dues, result, invalid)

    def compact(self, before: timedelta = COMPACT_BEFORE, *, dry_run: bool = False) -> Compacted:
        """Fold the resolved files of months that ended ``before`` ago into archives, in one commit; for admins.

        No command sees a difference but in paths. With ``dry_run`` only say what that would be.
        Raises BadInput, NotAllowed and what writing raises.
        """
        if not isinstance(self._port, GitStore):
            raise BadInput(problem="this store has no files to fold")
        from .storage import compaction

        port, known = self._port, compaction.Known()

        def fold(snapshot: Snapshot, act: Act) -> Fold:
            permissions.require_role(act, "compact", "the store", "admin")
            return compaction.fold(port, port.at(snapshot.revision), _ago(act.now, before), known)

        # All that there is to read is read before the clock of the commit runs.
        snapshot = self._snapshot(None, fetch=True)
        found = fold(snapshot, self._reader(snapshot, needed=True))

        def decide(snapshot: Snapshot, act: Act) -> Plan:
            nonlocal found
            found = fold(snapshot, act)
            if not found.batches:
                return Plan()
            first, *_, last = [*found.months, *found.months]
            span = first if first == last else f"{first} to {last}"
            return Plan(
                message=Message("compact", found.names, act.actor, detail=f"of {span.replace('/', '-')}"),
                others=compaction.files_of(port, port.at(snapshot.revision), found.batches),
            )

        done = Result((), snapshot.revision, False) if dry_run else self._lander.land(decide, partial=False)
        return Compacted(found.months, found.paths, found.left, found.more, done)

    def wait(
        self,
        escalation_id: str,
        timeout: float | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Found:
        """Wait until an escalation is resolved, asking the remote again and again; may run in a thread.

        ``escalation_id`` is the whole id: the beginning of one could come to mean another. ``timeout`` is in seconds, None for ever. The pauses grow from half a second to fifteen. ``tell`` gets
        a line about what is waited for, and whenever that changes.
        What is given back was decided by steps that `verify` has nothing against.
        Raises BadInput for what is not a whole id, NotFound, WaitTimeout, IllegalRecord, ShallowClone, and
        RemoteUnreachable where the remote never answered.
        """
        from .audit.verify import require_history
        from .reporting import timeline

        inputs.whole_ids([escalation_id])
        if isinstance(self._port, GitStore):
            require_history(self._port)
        end = None if timeout is None else time.monotonic() + timeout
        pause, last, told_last = timeline.FIRST_POLL, None, ""
        while True:
            try:
                # Others who wait in this clone ask as often, and half of the pause is old enough to ask again.
                snapshot = self._snapshot(None, fetch=True, max_age=0.0 if last is None else pause / 2)
                last = self._found(snapshot, lookup.whole(snapshot, escalation_id))
                if last.record.resolution is not None:
                    self._require_legal(last)
                    return last
                holder = f" by {last.record.claim.claimed_by}" if last.record.claim else ""
                line = (
                    f"{last.record.escalation_id} is {last.record.status}{holder}; waiting for the decision"
                )
                if line != told_last:
                    tell(line)
                    told_last = line
            except RemoteUnreachable:
                # The network may come and go while somebody thinks; only a first failure is told.
                if last is None:
                    raise
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                status = last.record.status if last else "not known"
                raise WaitTimeout(
                    escalation_id=escalation_id, seconds=timeout, status=status, record_status=status
                )
            nap = pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
            time.sleep(nap if left is None else min(nap, left))
            pause = min(pause * timeline.POLL_GROWTH, timeline.LONGEST_POLL)

    def _require_legal(self, found: Found) -> None:
        """Raise IllegalRecord unless the decision is what a row of legal steps led to, on a line that is legal."""
        from .audit import record_history

        if not isinstance(self._port, GitStore):
            return
        snapshot = self._port.at(found.commit)
        names, record = [found.record.escalation_id], found.record
        while record.reopens is not None and record.reopens not in names:
            names.append(record.reopens)
            origin = lookup.record_of(snapshot, record.reopens)
            if origin is None:
                break
            record = origin
        record_history.require_legal(self._port, found.commit, names, self._clock(), found.path)

    def follow(self, *, fetch: bool = True) -> str | None:
        """Bring the checkout to the newest state, where that is safe; what stood in the way, else None.

        Without ``fetch`` that is the newest that is known here, as it is after this store has landed something.
        """
        with self._port.writing(self._lock_timeout):
            newest = self._port.tip(self._retry_timeout) if fetch else self._port.read()
            return self._port.follow(newest.revision)

    # --- how a change is committed ----------------------------------------------------------------

    def _nonce(self) -> str:
        return ids.ulid(self._clock(), os.urandom(ids.ULID_RANDOM_BYTES))

    def _each(
        self,
        action: str,
        escalation_ids: Sequence[str],
        step: Callable[[Snapshot, Act, Entry, int], Record],
        partial: bool,
        branch: str | None,
        *,
        claim_id: str | None = None,
        outcome: str | None = None,
        text: str | None = None,
        detail: Callable[[Sequence[Record]], str] | None = None,
        dry_run: bool = False,
    ) -> Result:
        """Run one rule over each of some records and commit what it gives, all in one."""
        wanted = inputs.whole_ids(escalation_ids)

        def decide(snapshot: Snapshot, act: Act) -> Plan:
            changes: list[Change] = []
            records: list[Record] = []
            failed: list[Failure] = []
            for name in told(self._progress, "deciding", wanted, len(wanted)):
                try:
                    entry = lookup.entry(snapshot, name)
                    after = transitions.require_fit(step(snapshot, act, entry, len(changes)))
                except KtError as error:
                    failed.append(Failure(name, error))
                    continue
                records.append(after)
                if after is not entry.record:
                    changes.append(Change(entry, after))
            message = _message(action, changes, act, claim_id, outcome, text, detail)
            return Plan(
                changes=tuple(changes),
                message=message,
                records=tuple(records),
                unchanged=len(records) - len(changes),
                failed=tuple(failed),
                find=f"kt escalation get --fetch --id {wanted[0]}",
            )

        return self._would(decide, partial) if dry_run else self._lander.land(decide, partial, branch)

    def _would(self, decide: Decide, partial: bool) -> Result:
        """What landing it would come to on the newest state, of which ``replaced`` are those that would change."""
        snapshot = self._snapshot(None, fetch=True)
        plan = decide(snapshot, self._reader(snapshot, needed=True))
        require_had(plan, partial)
        replaced = tuple(change.old.record for change in plan.changes if change.old)
        return Result(plan.records, snapshot.revision, False, unchanged=plan.unchanged, replaced=replaced)


def _message(
    action: str,
    changes: Sequence[Change],
    act: Act,
    claim_id: str | None,
    outcome: str | None,
    text: str | None,
    detail: Callable[[Sequence[Record]], str] | None,
) -> Message | None:
    if not changes:
        return None
    more = detail([change.old.record for change in changes if change.old]) if detail else ""
    used = claim_id
    if action in ("resolve", "unclaim"):
        held = {
            change.old.record.claim.claim_id for change in changes if change.old and change.old.record.claim
        }
        used = held.pop() if len(held) == 1 else None
    if action == "resolve" and all(change.new.resolution is None for change in changes):
        action = "review"
        first = changes[0].new
        given = sum(1 for review in first.reviews if review.outcome == outcome)
        more = f"({given} of {first.requires.approvals})" if len(changes) == 1 else more
    named = [change.new.escalation_id for change in changes]
    return Message(action, named, act.actor, claim_id=used, outcome=outcome, detail=more, text=text)


def _ago(now: datetime, span: timedelta) -> datetime:
    """The moment that long before. Raises BadInput for what is no time ago."""
    if span < timedelta():
        raise BadInput(problem="before is less than nothing; give a duration such as 90d")
    try:
        return now - span
    except OverflowError:
        raise BadInput(problem="before is longer ago than time can say") from None


def _require_no_archive(snapshot: Snapshot, escalation_id: str) -> None:
    """Raise NothingToRestore for what is in an archive: that never changes."""
    places = snapshot.places(escalation_id) if isinstance(snapshot, GitSnapshot) else ()
    if places:
        raise NothingToRestore(
            says="{escalation_id} is in {path}, and an archive never changes",
            hint="take other files of that id out of the queue with `git rm`; what is wrong in the archive "
            "can only be accepted, in policies/waivers.yaml",
            escalation_id=escalation_id,
            path=places[0].archive.path,
        )


def _from_holder(before: Sequence[Record]) -> str:
    holders = sorted({record.claim.claimed_by for record in before if record.claim})
    return f"by force from {', '.join(holders)}" if holders else ""


def _over_lapsed(before: Sequence[Record]) -> str:
    holders = sorted({record.claim.claimed_by for record in before if record.claim})
    return f"over the lapsed claim of {', '.join(holders)}" if holders else ""


def _that_fit(found: Iterable[due_actions.Due]) -> tuple[tuple[due_actions.Due, ...], tuple[Failure, ...]]:
    """What is due and can be done, and what would make a record too large."""
    dues, failed = [], []
    for due in found:
        try:
            transitions.require_fit(due.after)
            dues.append(due)
        except KtError as error:
            failed.append(Failure(due.before.escalation_id, error))
    return tuple(dues), tuple(failed)


def _summary(records: Iterable[Record]) -> str | None:
    found = list(records)
    return found[0].summary if len(found) == 1 else None
