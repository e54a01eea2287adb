"""The steps that git history holds: which commit took which record from what to what."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

from ..core.compaction import BadArchive
from ..core.model import Record
from ..core.progress import told
from ..core.words import MAX_BYTES
from . import codec, layout
from .archives import Archive, among
from .gitstore import GitStore
from .port import Entry

# How many commits' files are read from git in one go.
_AT_ONCE = 200
# What was read last comes up again as the other side of the next step; at most this many are kept.
_REMEMBERED = 2_000
#: Takes the id of a blob and the record in it.
Keep = Callable[[str, Record], None]
#: What is told of reading many commits.
READING = "reading history"
# The end of the year 9999, in seconds since 1970.
LAST_SECOND = 253_402_300_799


@dataclass(frozen=True)
class Step:
    """What one commit did to one escalation; ``problem`` where a side of it cannot be read.

    A compaction changes no escalation: ``folded`` says what it moved, and of one that was asked for
    it is a step without sides, of all together one step without an id.
    """

    commit: str
    author: str
    email: str
    committed_at: datetime
    escalation_id: str
    before: Record | None
    after: Record | None
    problem: str | None = None
    folded: str | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """A record on one side of a commit, or why it cannot be read; neither where there is none."""

    record: Record | None = None
    problem: str | None = None


class Sides:
    """What files on the sides of commits hold, by the ids of their blobs: the last few thousand of them."""

    def __init__(self, store: GitStore) -> None:
        self._store = store
        self._known: dict[str, Side] = {}

    def learn(self, oids: Iterable[str], keep: Keep = lambda _, __: None) -> list[str]:
        """Read what is not known yet of some blobs; those that are missing from this clone.

        ``keep`` is handed each record that is read.
        """
        if len(self._known) > _REMEMBERED:
            # What is forgotten too early is read again.
            for oid in [*islice(self._known, _REMEMBERED // 2)]:
                del self._known[oid]
        unknown = [oid for oid in oids if oid not in self._known]
        missing = []
        for oid, blob in zip(unknown, self._store.repository.objects.get(unknown, MAX_BYTES), strict=True):
            if blob is None:
                missing.append(oid)
                continue
            self._known[oid] = side = _side(blob.data)
            if side.record:
                keep(oid, side.record)
        return missing

    def of(self, oid: str) -> Side:
        """What a blob holds that was to be learnt just now."""
        return self._known.get(oid) or Side(problem="cannot be read here")


def _side(data: bytes | None) -> Side:
    if data is None:
        return Side(problem=f"is larger than {MAX_BYTES // 1024} KiB")
    try:
        return Side(codec.loads(data))
    except codec.Malformed as error:
        return Side(problem=str(error))


@dataclass(frozen=True)
class _Commit:
    oid: str
    author: str
    email: str
    committed_at: datetime
    files: tuple[tuple[str, str, str], ...]


def steps(store: GitStore, revision: str, escalation_id: str | None = None, limit: int = 0) -> Iterator[Step]:
    """The steps of history, newest first; of one escalation, also through its move to `resolved/`."""
    commits: Iterable[_Commit]
    if escalation_id is None:
        queue = f":(top,literal){store.full(layout.QUEUE)}"
        commits = _commits(store.repository.log(revision, [queue], limit))
        if store.progress:
            # Not every commit is about an escalation.
            total = store.repository.count([revision])
            commits = told(store.progress, READING, commits, min(limit or total, total))
    else:
        commits = islice(_life(store, revision, escalation_id, limit), limit or None)
    sides = Sides(store)
    batch: list[_Commit] = []
    for commit in commits:
        batch.append(commit)
        if len(batch) == _AT_ONCE:
            yield from _read(store, batch, escalation_id, sides)
            batch = []
    yield from _read(store, batch, escalation_id, sides)


def _life(store: GitStore, revision: str, escalation_id: str, limit: int) -> Iterable[_Commit]:
    """The commits that touched an escalation's files."""
    snapshot = store.at(revision)
    archives = [path for place in snapshot.places(escalation_id) for path in layout.both(place.archive.name)]
    found = snapshot.find(escalation_id)
    if isinstance(found, Entry):
        homes = [*archives, layout.path_of(found.record), layout.open_path(escalation_id)]
        life = _moves(store, revision, list(dict.fromkeys(homes)))
        if life is not None:
            return life
    # It was somewhere else as well, so all places have to be asked for, which takes git longer.
    return _commits(store.repository.log(revision, everywhere(store, revision, escalation_id), limit))


def _moves(store: GitStore, revision: str, homes: Sequence[str]) -> list[_Commit] | None:
    """The commits of a file that went from the last of its homes to the first, None if it did anything else.

    Each file is asked for by itself, which is quick where the commit-graph has changed-path filters and no
    slower than one question for all where it has not.
    """
    life: list[_Commit] = []
    for path in homes:
        commits = [c for c in _commits(store.repository.log_of_file(revision, store.full(path))) if c.files]
        born = [commit.oid for commit in commits for _, old, _ in commit.files if not old.strip("0")]
        left = [commit.oid for commit in commits for _, _, new in commit.files if not new.strip("0")]
        stays = not life or layout.archive_at(path) is not None
        if len(born) != 1 or left != ([] if stays else [life[-1].oid]):
            return None
        if life:
            if life[-1].oid != commits[0].oid:
                return None
            life[-1] = replace(life[-1], files=(*life[-1].files, *commits.pop(0).files))
        life += commits
    return life


def pathspecs(store: GitStore, escalation_id: str) -> list[str]:
    """Where an escalation's file can be, open and resolved, as git's pathspecs."""
    root = "".join(f"\\{char}" if char in "*?[\\" else char for char in store.full(layout.RESOLVED))
    return [
        f":(top,literal){store.full(layout.open_path(escalation_id))}",
        f":(top,glob){root}/*/*/*/{escalation_id}{layout.SUFFIX}",
    ]


def everywhere(store: GitStore, revision: str, escalation_id: str) -> list[str]:
    """The same, with the archive that it is in by that revision."""
    paths = pathspecs(store, escalation_id)
    for place in store.at(revision).places(escalation_id):
        paths += [f":(top,literal){store.full(path)}" for path in layout.both(place.archive.name)]
    return paths


@dataclass(frozen=True)
class _Told:
    """What a commit did, with its compaction told apart from steps.

    ``folded`` gives the archive of each id that it moved, ``bringing`` are archives with others in them.
    """

    commit: _Commit
    folded: Mapping[str, str]
    bringing: Sequence[Archive]


def _told(store: GitStore, commit: _Commit) -> _Told:
    new = {store.below(path): oid for path, old, oid in commit.files if not old.strip("0")}
    archives = among(new)
    if not archives:
        return _Told(commit, {}, ())
    gone = {layout.id_of(path) for path, _, oid in commit.files if not oid.strip("0")}
    folded: dict[str, str] = {}
    bringing: list[Archive] = []
    for archive in archives:
        try:
            files = store.contents(archive.data, archive.ids)
        except BadArchive:
            continue
        folded.update((name, archive.path) for name in files if name in gone)
        if files.keys() - gone:
            bringing.append(archive)
    rest = tuple(file for file in commit.files if layout.id_of(file[0]) not in folded)
    return _Told(replace(commit, files=rest), folded, bringing)


def _read(
    store: GitStore, batch: Sequence[_Commit], escalation_id: str | None, sides: Sides
) -> Iterator[Step]:
    told = [_told(store, commit) for commit in batch]
    commits = [one.commit for one in told]
    sides.learn(
        {
            oid: None
            for commit in commits
            for path, old, new in commit.files
            for oid in (old, new)
            if oid.strip("0") and layout.id_of(path)
        }
    )

    def side(oid: str) -> Side:
        return sides.of(oid) if oid.strip("0") else Side()

    for one in told:
        commit = one.commit
        yield from _archived(store, one, escalation_id)
        pairs: dict[str, list[str]] = {}
        for path, old, new in commit.files:
            name = layout.id_of(path)
            if name:
                pair = pairs.setdefault(name, ["", ""])
                pair[0] = old if old.strip("0") else pair[0]
                pair[1] = new if new.strip("0") else pair[1]
        for name, (old, new) in sorted(pairs.items()):
            before, after = side(old), side(new)
            yield Step(
                commit.oid,
                commit.author,
                commit.email,
                commit.committed_at,
                name,
                before.record,
                after.record,
                before.problem or after.problem,
            )


def _archived(store: GitStore, told: _Told, escalation_id: str | None) -> Iterator[Step]:
    """What a commit did by archives: what it moved, and what came into the store in them."""
    commit = told.commit

    def step(
        name: str, after: Record | None = None, problem: str | None = None, folded: str | None = None
    ) -> Step:
        return Step(
            commit.oid, commit.author, commit.email, commit.committed_at, name, None, after, problem, folded
        )

    if escalation_id in told.folded:
        yield step(escalation_id or "", folded=f"into {told.folded[escalation_id or '']}")
    elif told.folded and escalation_id is None:
        count = len(set(told.folded.values()))
        words = f"{len(told.folded)} escalations into {count} archive{'s' if count > 1 else ''}"
        yield step("", folded=words)
    for archive in told.bringing:
        for name, data in store.contents(archive.data, archive.ids).items():
            if name not in told.folded and escalation_id in (None, name):
                after = _side(data)
                yield step(name, after.record, after.problem)


def _commits(answer: Iterator[bytes]) -> Iterator[_Commit]:
    """The commits in git's own answer, which is a row of NUL-ended tokens."""
    found = tokens(answer)
    head = ""
    files: list[tuple[str, str, str]] = []
    for token in found:
        if token[0] == ":":
            _, _, old, new, _ = token.split(" ")
            files.append((next(found), old, new))
        elif token[0] == "\x01":
            if head:
                yield _commit(head, files)
            head, files = token, []
    if head:
        yield _commit(head, files)


def _commit(head: str, files: Sequence[tuple[str, str, str]]) -> _Commit:
    oid, author, email, committed_at = head[1:].split("\n")
    return _Commit(oid, author, email, moment(committed_at), tuple(files))


def moment(seconds: str) -> datetime:
    """A committer's time, which may be any number or missing, as a time that exists."""
    return datetime.fromtimestamp(min(max(int(seconds or 0), 0), LAST_SECOND), UTC)


def tokens(chunks: Iterator[bytes]) -> Iterator[str]:
    """The NUL-ended parts of git's output that hold something."""
    rest = b""
    for chunk in chunks:
        whole, nul, tail = (rest + chunk).rpartition(b"\0")
        if nul:
            yield from filter(None, map(_unled, os.fsdecode(whole).split("\0")))
        rest = tail
    if rest:
        yield os.fsdecode(rest)


def _unled(token: str) -> str:
    return token.lstrip("\n") if token[:1] == "\n" else token
