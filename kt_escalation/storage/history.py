"""The steps in git history: the commit, the record before it and the record after it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice

from ..errors import ShallowClone
from ..frozen import dataclass
from ..git.commit import Commit
from ..git.log import in_glob
from ..git.objects import chunks
from ..model.archive_file import BadArchive
from ..model.progress import counted
from ..model.record import Record
from ..model.release import Release
from ..model.vocabulary import MAX_BYTES
from . import commit_message, layout, yaml_text
from .archives import Archive, among
from .clone import GitStore
from .interface import Entry
from .snapshot import GitSnapshot

# How many commits' files are read from git in one go.
_AT_ONCE = 200
# How many blobs are remembered. A blob comes up again as the other side of the next step.
_REMEMBERED = 2_000
# A release id stands within so many bytes of a release's file, and in no record before a text that may be longer.
_HEAD_OF_RELEASE = 600
#: Called with the id of a blob and the record in it.
Keep = Callable[[str, Record], None]
#: The label under which progress is reported while many commits are read.
READING = "reading history"


@dataclass(frozen=True)
class Side:
    """The record or release on one side of a commit, or why it cannot be read. All are None if there is no file."""

    record: Record | None = None
    problem: str | None = None
    release: Release | None = None

    def at(self, *, released: bool) -> Side:
        """The same at the path of a release, or of a record. There the other one is a problem."""
        if released and self.record:
            return Side(problem="is a record, and no release")
        if self.release and not released:
            return Side(problem="is a release, and no record")
        return self


_NO_FILE = Side()


@dataclass(frozen=True)
class Step:
    """What one commit did to one escalation: to its record, or to its release.

    A compaction changes no escalation. It is one step without files, whose ``archived`` says what it moved.
    If all escalations were asked for, it has no id.
    """

    commit: str
    author: str
    email: str
    committed_at: datetime
    escalation_id: str
    before: Side
    after: Side
    archived: str | None = None


class Sides:
    """The records on the sides of commits, by blob id. Remembers the last few thousand."""

    def __init__(self, store: GitStore) -> None:
        self._store = store
        self._known: dict[str, Side] = {}

    def learn(self, oids: Iterable[str], keep: Keep = lambda _, __: None) -> list[str]:
        """Read the blobs that are not known yet, and return the ids of those that this clone lacks.

        ``keep`` is called with each record that is read.
        """
        if len(self._known) > _REMEMBERED:
            # If one is needed later, it is read again.
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

    def of(self, oid: str, *, released: bool = False) -> Side:
        """What a blob holds at the path of a record, or of a release. Call `learn` with its id first."""
        return (self._known.get(oid) or Side(problem="cannot be read here")).at(released=released)


def _side(data: bytes | None) -> Side:
    if data is None:
        return Side(problem=f"is larger than {MAX_BYTES // 1024} KiB")
    try:
        if b"\nrelease_id: " in data[:_HEAD_OF_RELEASE]:
            return Side(release=yaml_text.load_release(data))
        return Side(yaml_text.loads(data))
    except yaml_text.Malformed as error:
        return Side(problem=str(error))


def steps(
    store: GitStore,
    revision: str,
    escalation_id: str | None = None,
    limit: int = 0,
    actors: Sequence[str] = (),
) -> Iterator[Step]:
    """The steps of history, newest first: of all escalations, of one, or of commits whose message names an actor.

    Raises ShallowClone where history is cut off, as git shows the last commit there as one that made all files.
    """
    commits: Iterable[Commit]
    if actors:
        commits = _by(store, revision, actors)
    elif escalation_id is None:
        queue = f":(top,literal){store.full(layout.QUEUE)}"
        commits = store.repository.log(revision, [queue], limit)
        if store.progress:
            # Not every commit is about an escalation.
            total = store.repository.count([revision])
            commits = counted(store.progress, READING, commits, min(limit or total, total))
    else:
        commits = islice(_life(store, revision, escalation_id, limit), limit or None)
    if cut_off := store.repository.cut_off:
        commits = _down_to(store, cut_off, commits, revision if actors else None)
    sides = Sides(store)
    for batch in chunks(commits, _AT_ONCE):
        yield from _read(store, batch, escalation_id, sides)


def _down_to(
    store: GitStore, cut_off: Collection[str], commits: Iterable[Commit], revision: str | None
) -> Iterator[Commit]:
    """The commits down to those whose parents are lacking. Raises ShallowClone there.

    ``revision`` is where a search of messages began, which may leave out the commits at the cut.
    """
    cut = ShallowClone(where=str(store.repository.toplevel or store.repository.git_dir))
    for commit in commits:
        if commit.oid in cut_off:
            raise cut
        yield commit
    if revision is not None and any(store.repository.is_ancestor(one, revision) for one in cut_off):
        raise cut


def _by(store: GitStore, revision: str, actors: Sequence[str]) -> Iterator[Commit]:
    """The commits whose message names an actor, with their changes of the queue."""
    queue = f"{store.full(layout.QUEUE)}/"
    for commit in store.repository.log_of_words(revision, [*map(commit_message.of_actor, actors)]):
        yield commit._replace(changes=tuple(it for it in commit.changes if it.path.startswith(queue)))


def _life(store: GitStore, revision: str, escalation_id: str, limit: int) -> Iterable[Commit]:
    """The commits that changed an escalation's files."""
    snapshot = store.at(revision)
    archives = [path for place in snapshot.places(escalation_id) for path in layout.both(place.archive.name)]
    found = snapshot.find(escalation_id)
    if isinstance(found, Entry):
        homes = [*archives, layout.path_of(found.record), layout.open_path(escalation_id)]
        life = _moves(store, revision, list(dict.fromkeys(homes)))
        uses = _uses(store, snapshot, found.record)
        if life is not None and uses is not None:
            return _together(store, uses, life)
    # The file was also in another place. Asking for all places takes git longer.
    places = everywhere(store, revision, escalation_id)
    places += [f":(top,literal){store.full(path)}" for path in _archives_of_release(snapshot, escalation_id)]
    places.append(release_pathspec(store, escalation_id))
    return store.repository.log(revision, places, limit)


def _uses(store: GitStore, snapshot: GitSnapshot, record: Record) -> list[Commit] | None:
    """The commits that released a record, wrote its receipt, or archived that.

    None if one of them did anything else.
    """
    if record.requires.single_use is None or record.resolution is None or snapshot.release(record) is None:
        return []
    archives = _archives_of_release(snapshot, record.escalation_id)
    return _moves(store, snapshot.revision, [*archives, layout.release_path(record)])


def _archives_of_release(snapshot: GitSnapshot, escalation_id: str) -> list[str]:
    places = snapshot.release_places(escalation_id)
    return [path for place in places for path in layout.both(place.archive.name)]


def _together(store: GitStore, uses: list[Commit], life: list[Commit]) -> list[Commit]:
    """The commits of a record and of its release in one order, newest first.

    After a release, the record can only be archived.
    """
    if not uses:
        return life
    last, rest = life[0], life[1:]
    if all(layout.archive_at(store.below(change.path)) is None for change in last.changes):
        return [*uses, *life]
    for at, one in enumerate(uses):
        if one.oid == last.oid:
            both = last._replace(changes=tuple(dict.fromkeys((*last.changes, *one.changes))))
            return [*uses[:at], both, *uses[at + 1 :], *rest]
        if store.repository.is_ancestor(one.oid, last.oid):
            return [*uses[:at], last, *uses[at:], *rest]
    return [*uses, *life]


def _moves(store: GitStore, revision: str, homes: Sequence[str]) -> list[Commit] | None:
    """The commits of a record that moved from the last of these paths to the first.

    None if one of them did anything else.
    git is asked for each path separately. That is fast if the commit-graph has changed-path filters, and as
    fast as one question for all paths if it has none.
    """
    life: list[Commit] = []
    for path in homes:
        commits = [c for c in store.repository.log_of_file(revision, store.full(path)) if c.changes]
        born = [commit.oid for commit in commits for change in commit.changes if change.old is None]
        left = [commit.oid for commit in commits for change in commit.changes if change.new is None]
        stays = not life or layout.archive_at(path) is not None
        if len(born) != 1 or left != ([] if stays else [life[-1].oid]):
            return None
        if life:
            if life[-1].oid != commits[0].oid:
                return None
            life[-1] = life[-1]._replace(changes=(*life[-1].changes, *commits.pop(0).changes))
        life += commits
    return life


def pathspecs(store: GitStore, escalation_id: str) -> list[str]:
    """The pathspecs of all paths at which an escalation's file can be, open or resolved."""
    return [
        f":(top,literal){store.full(layout.open_path(escalation_id))}",
        _in_days(store, layout.RESOLVED, escalation_id),
    ]


def release_pathspec(store: GitStore, escalation_id: str) -> str:
    """The pathspec of all paths at which an escalation's release can be."""
    return _in_days(store, layout.RELEASED, escalation_id)


def _in_days(store: GitStore, folder: str, escalation_id: str) -> str:
    return f":(top,glob){in_glob(store.full(folder))}/*/*/*/{escalation_id}{layout.SUFFIX}"


def everywhere(store: GitStore, revision: str, escalation_id: str) -> list[str]:
    """The same as `pathspecs`, and the archive that holds the escalation at that revision."""
    paths = pathspecs(store, escalation_id)
    for place in store.at(revision).places(escalation_id):
        paths += [f":(top,literal){store.full(path)}" for path in layout.both(place.archive.name)]
    return paths


@dataclass(frozen=True)
class _Separated:
    """A commit's steps and its compaction, separated.

    ``archived`` maps each id that the commit archived to the archive. ``bringing`` lists the archives that hold
    other records as well.
    """

    commit: Commit
    archived: Mapping[str, str]
    bringing: Sequence[Archive]


def _separated(store: GitStore, commit: Commit) -> _Separated:
    new = {store.below(change.path): change.new or "" for change in commit.changes if change.old is None}
    archives = among(new)
    if not archives:
        return _Separated(commit, {}, ())
    deleted = [store.below(change.path) for change in commit.changes if change.new is None]
    gone_of = {
        "resolved": {layout.id_of(path) for path in deleted},
        "released": {layout.released_id(path) for path in deleted},
    }
    archived: dict[str, str] = {}
    moved: set[str] = set()
    bringing: list[Archive] = []
    for archive in archives:
        try:
            files = store.reader.archived.contents(archive.data, archive.ids)
        except BadArchive:
            continue
        kind = archive.name.kind
        gone = gone_of[kind]
        ours = {name for name in files if name in gone}
        # If the record and its release are both archived, the record's archive is named.
        archived.update(
            (name, archive.path)
            for name in files
            if name in ours and (kind == "resolved" or name not in archived)
        )
        moved.update(path for path in deleted if _name_in(path, kind) in ours)
        if kind == "resolved" and files.keys() - gone:
            bringing.append(archive)
    rest = tuple(change for change in commit.changes if store.below(change.path) not in moved)
    return _Separated(commit._replace(changes=rest), archived, bringing)


def _name_in(path: str, kind: str) -> str | None:
    return layout.id_of(path) if kind == "resolved" else layout.released_id(path)


def _read(
    store: GitStore, batch: Sequence[Commit], escalation_id: str | None, sides: Sides
) -> Iterator[Step]:
    told = [_separated(store, commit) for commit in batch]
    commits = [one.commit for one in told]
    sides.learn(
        {
            oid: None
            for commit in commits
            for change in commit.changes
            for oid in (change.old, change.new)
            if oid and (layout.id_of(change.path) or layout.released_id(store.below(change.path)))
        }
    )

    def side(oid: str | None, *, released: bool = False) -> Side:
        return sides.of(oid, released=released) if oid else _NO_FILE

    for one in told:
        commit = one.commit
        yield from _archived(store, one, escalation_id)
        pairs: dict[str, list[str | None]] = {}
        for change in commit.changes:
            name = layout.id_of(change.path)
            if name:
                pair = pairs.setdefault(name, [None, None])
                pair[0] = change.old or pair[0]
                pair[1] = change.new or pair[1]
        for name, (old, new) in sorted(pairs.items()):
            yield _step(commit, name, side(old), side(new))
        for change in commit.changes:
            name = layout.released_id(store.below(change.path))
            if name:
                yield _step(commit, name, side(change.old, released=True), side(change.new, released=True))


def _step(commit: Commit, name: str, before: Side, after: Side, archived: str | None = None) -> Step:
    return Step(commit.oid, commit.author, commit.email, commit.committed_at, name, before, after, archived)


def _archived(store: GitStore, told: _Separated, escalation_id: str | None) -> Iterator[Step]:
    """The steps of a commit that concern archives: records that it archived, and records that arrived in archives."""
    commit = told.commit
    name = escalation_id or ""
    if name in told.archived:
        yield _step(commit, name, _NO_FILE, _NO_FILE, f"into {told.archived[name]}")
    elif told.archived and escalation_id is None:
        count = len(set(told.archived.values()))
        words = f"{len(told.archived)} escalations into {count} archive{'s' if count > 1 else ''}"
        yield _step(commit, "", _NO_FILE, _NO_FILE, words)
    for archive in told.bringing:
        for name, data in store.reader.archived.contents(archive.data, archive.ids).items():
            if name not in told.archived and escalation_id in (None, name):
                yield _step(commit, name, _NO_FILE, _side(data).at(released=False))
