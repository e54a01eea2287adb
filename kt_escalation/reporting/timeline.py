"""Reads and follows the events of a store from history, oldest first, each at least once. See docs/events.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from ..errors import BadInput, GitFailed, LockTimeout, NotInHistory, RemoteUnreachable, ShallowClone
from ..frozen import dataclass
from ..git.objects import chunks
from ..model import changes
from ..model.event import Cursor, Event
from ..model.record import Record
from ..storage import commits, compaction, layout, lookup
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.history import Keep, Side, Sides
from ..storage.poll import Poll
from ..storage.trees import FileChange
from . import log

# The number of records' files that are read from git at once, however many a commit changed.
_AT_ONCE = 100
_PLAIN = "100644"
# Events of a release come after those of its record, if one commit changed both.
_FIRST_OF_RELEASE = 1_000
# No commit that a store commit contains counts as newer than it by more than this, in seconds. Clocks differ,
# but not by a day. So to read events since a time, not all of history has to be walked.
_SKEW = 86_400


@dataclass(frozen=True)
class Start:
    """Where to begin: after a cursor, with events no older than ``not_before``."""

    cursor: Cursor = Cursor()
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """The change of one escalation by one commit, and the cursor after the whole commit."""

    commit: Commit
    escalation_id: str
    old: FileChange | None
    new: FileChange | None
    cursor: Cursor
    #: The path of the release that it changed instead of the record, below the store's top.
    release: str = ""


def place(store: GitStore, tip: str, since: str | datetime | None) -> Start:
    """The start for ``since``: a time, a cursor, a revision in known history, or None for the beginning.

    Raises BadInput if ``since`` is none of these, NotInHistory if ``tip`` does not contain it, and
    ShallowClone if the clone lacks that part of history.
    """
    if store.repository.is_shallow:
        raise ShallowClone(
            where=str(store.repository.toplevel or store.repository.git_dir),
            says="{where} is a shallow clone, which lacks the history that events are read from",
        )
    if since is None:
        return Start()
    if isinstance(since, datetime):
        older = store.repository.newest_before(tip, int(since.timestamp()) - _SKEW)
        return Start(Cursor((older,)) if older else Cursor(), since)
    cursor = Cursor.parse(since)
    if cursor is None:
        commit = store.repository.commit_of(since)
        if commit is None:
            raise BadInput(
                problem=f"--since is {since[:80]!r}, which is not a commit, a cursor, a duration such as 2h, "
                "or a time such as 2026-11-23T10:00:00Z"
            )
        cursor = Cursor((commit,))
    _require(store, tip, cursor)
    return Start(cursor)


def _require(store: GitStore, tip: str, cursor: Cursor) -> None:
    for head in cursor.heads:
        if not store.repository.is_ancestor(head, tip):
            raise NotInHistory(commit=head, tip=tip)


def read(store: GitStore, tip: str, place: Start, keep: Keep = lambda _, __: None) -> Iterator[Event]:
    """The events in the history of ``tip`` after a start, parents before children, in constant memory.

    ``keep`` is called with each record that is read.

    Raises GitFailed if history or a file in it cannot be read. Nothing is skipped.
    """
    cursor = place.cursor
    if cursor.within:
        # A commit of which only some events were delivered comes first, because no later cursor could express
        # that.
        last = cursor.heads[-1]
        whole = Cursor(cursor.heads)
        for event in _events(store, [last, f"^{last}^@"], whole, keep=keep):
            if (event.escalation_id, event.index) > cursor.within:
                yield event
        cursor = whole
    yield from _events(store, [tip, *(f"^{head}" for head in cursor.heads)], cursor, place.not_before, keep)


def follow(
    store: GitStore,
    since: str | datetime | None,
    ask: Callable[[], str],
    *,
    interval: float | None = None,
    timeout: float | None = None,
    once: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    due: Callable[[str, str], Iterable[Event]] = lambda _, __: (),
) -> Iterator[Event]:
    """The events after ``since`` (default: now), and then new events as they happen.

    ``ask`` returns the newest commit.
    ``due`` is called after each question to the remote, even if the remote does not answer. It gets the
    newest known commit and the cursor, and returns notices. ``interval`` is the time between questions in
    seconds; by default the pauses grow. The generator ends after ``timeout`` seconds or, with ``once``, when
    there are no more events. ``tell`` gets one line when the remote stops answering, and another one when it
    answers again.
    Raises RemoteUnreachable if the first question gets no answer, HistoryRewritten, and the errors of `place`
    and `read`.
    """
    poll, offline = Poll(timeout, interval), False
    here: Start | None = None
    while True:
        try:
            tip = ask()
        except (RemoteUnreachable, LockTimeout) as error:
            if here is None:
                raise
            if not offline:
                tell(f"cannot reach the remote, and will keep trying: {error.summary}")
            offline = True
        else:
            if offline:
                tell("the remote answers again")
            offline = False
            if here is None:
                here = place(store, tip, since if since is not None else tip)
            if here.cursor != Cursor((tip,)):
                _require(store, tip, here.cursor)
                yield from read(store, tip, here)
                here = Start(Cursor((tip,)))
                poll.restart()
        if here is not None:
            yield from due(here.cursor.heads[-1], str(here.cursor))
        if once or poll.is_over:
            return
        poll.wait()


# --- from commits to events -----------------------------------------------------------------------


def _events(
    store: GitStore,
    revisions: Sequence[str],
    cursor: Cursor,
    not_before: datetime | None = None,
    keep: Keep = lambda _, __: None,
) -> Iterator[Event]:
    sides = Sides(store)
    # A compaction changes no escalation, so it is not an event. A record that it only claims to move is one.
    walked = commits.walk(store, revisions, merged=True)
    kept = (compaction.without_moved(store, commit) for commit in walked)
    steps = (s for s in _steps(kept, cursor) if not_before is None or s.commit.committed_at >= not_before)
    for batch in chunks(steps, _AT_ONCE):
        yield from _told(store, batch, sides, keep)


def _steps(commits: Iterable[Commit], cursor: Cursor) -> Iterator[_Step]:
    for commit in commits:
        cursor = cursor.past(commit.oid, commit.parents)
        # By id, and by the path of a release.
        sides: dict[tuple[str, str], tuple[list[FileChange], list[FileChange]]] = {}
        for change in commit.changes:
            released = layout.released_id(change.path)
            name = released or (
                layout.id_of(change.path) if change.path.startswith(f"{layout.QUEUE}/") else None
            )
            if name is None:
                continue
            olds, news = sides.setdefault((name, change.path if released else ""), ([], []))
            if change.old is not None:
                olds.append(change)
            if change.new is not None:
                news.append(change)
        for (name, release), (olds, news) in sorted(sides.items()):
            yield _Step(commit, name, olds[0] if olds else None, news[0] if news else None, cursor, release)


def _told(store: GitStore, steps: Sequence[_Step], sides: Sides, keep: Keep) -> Iterator[Event]:
    missing = sides.learn(
        {
            oid: None
            for step in steps
            for change in (step.old, step.new)
            if change
            for mode, oid in ((change.old_mode, change.old), (change.new_mode, change.new))
            if oid and mode == _PLAIN
        },
        keep,
    )
    records = {n: oid for n, step in enumerate(steps) if step.release and (oid := _record_of(store, step))}
    sides.learn(dict.fromkeys(records.values()), keep)

    def used(number: int) -> Record | None:
        """The released record, which may already be in an archive."""
        step = steps[number]
        if number in records:
            return sides.of(records[number]).record
        return lookup.record_of(store.at(step.commit.oid), step.escalation_id) if step.release else None

    if missing:
        raise GitFailed(
            command="cat-file",
            words=f"object {missing[0]} is missing from this clone",
            hint="run `git fetch`",
        )
    for number, step in enumerate(steps):
        is_release = bool(step.release)
        before = _of(sides, step.old.old_mode, step.old.old, is_release) if step.old else Side()
        after = _of(sides, step.new.new_mode, step.new.new, is_release) if step.new else Side()
        record = used(number)
        first = _FIRST_OF_RELEASE if step.release else 0
        for index, happening in enumerate(_happened(step.commit, before, after), first):
            yield _event(step, index, happening, before.record, after.record or record)


def _record_of(store: GitStore, step: _Step) -> str | None:
    """The id of the released record, from the path where the release belongs."""
    path = layout.RESOLVED + step.release.removeprefix(layout.RELEASED)
    return store.repository.objects.id_of(f"{step.commit.oid}:{store.full(path)}")


def _of(sides: Sides, mode: str, oid: str | None, released: bool) -> Side:
    if not oid or mode != _PLAIN:
        return Side(problem=f"is not a regular file (mode {mode})")
    return sides.of(oid, released=released)


def _happened(commit: Commit, before: Side, after: Side) -> tuple[changes.Happening, ...]:
    if len(commit.parents) > 1 and not after.problem:
        return (changes.Happening("change", text="a merge gave it a state that none of its parents has"),)
    return log.between(before, after)


def _event(
    step: _Step, index: int, happening: changes.Happening, before: Record | None, after: Record | None
) -> Event:
    commit = step.commit
    return Event(
        commit=commit.oid,
        at=commit.committed_at,
        author=commit.author,
        email=commit.email,
        escalation_id=step.escalation_id,
        index=index,
        action=happening.action,
        actor=happening.actor or commit.email,
        outcome=happening.outcome,
        text=happening.text,
        status=after.status if after else None,
        cursor=str(step.cursor.at(step.escalation_id, index)),
        claim=after.claim if after else None,
        claim_before=before.claim if before else None,
        **told_of(after or before),
    )


def told_of(record: Record | None) -> dict[str, Any]:
    """What an event says of its record, by the event's keys. All are None without a record."""
    said = {
        name: getattr(record, name, None) for name in ("severity", "reason_code", "request_id", "summary")
    }
    route = record.route if record else None
    return said | {name: getattr(route, name, None) for name in ("team_id", "user_id")}
