"""A store in memory, for the tests of programs that use kt: no git, no disk, a thousand actions a second.

    remote = MemoryRemote()
    gateway, alice = remote.store("gateway@example.com"), remote.store("alice@example.com")

The rules are those of every store; kt's own tests hold this store and one in git to the same promises. There is
no git history, so `log`, `events`, `watch` and the methods of `AuditStore` raise BadInput. See docs/python.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha1
from threading import Lock
from typing import Any, Unpack

from .actions.options import OpenOptions
from .errors import BadInput
from .frozen import dataclass
from .model.record import Record
from .model.release import Release
from .model.summary import RecordSummary, summary_of
from .policies.policy_file import PolicyFile
from .storage import layout, yaml_text
from .storage.interface import (
    Author,
    Change,
    Entry,
    Invalid,
    Onto,
    Proposal,
    Request,
    Snapshot,
    Stale,
    WrongGuess,
)
from .store import Store


@dataclass(frozen=True)
class MemoryCommit:
    """One commit: the files after it, its author, and its message."""

    id: str
    files: Mapping[str, bytes]
    author: Author
    message: str


class MemoryRemote:
    """The remote that all stores of a test share.

    ``files`` are the initial files by path, such as ``{"policies/roster.yaml": "admins: …"}``.
    """

    def __init__(self, files: Mapping[str, bytes | str] | None = None) -> None:
        first = {
            path: data.encode() if isinstance(data, str) else data for path, data in (files or {}).items()
        }
        self.commits = [MemoryCommit(f"{1:040x}", first, Author("Seed", "seed@example.com"), "start")]
        self.made = 1
        #: Held while a commit is added, so that several threads may push.
        self.lock = Lock()
        #: The content of each other branch: its commit, and the commit of the store branch that it was made
        #: on.
        self.branches: dict[str, tuple[MemoryCommit, MemoryCommit]] = {}

    def store(self, email: str, name: str = "", **options: Unpack[OpenOptions]) -> Store:
        """A store as one person opens it. The keywords are those of `Store.open`."""
        return Store(MemoryStore(self, Author(name or email.partition("@")[0], email)), **options)


class MemorySnapshot:
    """The files of one commit. Implements `interface.Snapshot`."""

    def __init__(self, commit: MemoryCommit) -> None:
        self._commit = commit

    @property
    def revision(self) -> str:
        """The id of the commit."""
        return self._commit.id

    def _under(self, resolved: bool) -> Iterator[Entry | Invalid]:
        for path in sorted(self._commit.files):
            if path.startswith(f"{layout.RELEASED}/"):
                continue
            if path.startswith(f"{layout.QUEUE}/") and path.startswith(f"{layout.RESOLVED}/") == resolved:
                yield self._parsed(path)

    def _parsed(self, path: str) -> Entry | Invalid:
        if layout.id_of(path) is None:
            return Invalid(path, "is not named as an escalation's file")
        data = self._commit.files[path]
        try:
            record = yaml_text.loads(data)
        except yaml_text.Malformed as error:
            return Invalid(path, str(error), layout.id_of(path))
        wrong = layout.misplaced(record, path)
        if wrong:
            return Invalid(path, wrong, layout.id_of(path))
        return Entry(record, path, _blob_id(data))

    def open(self) -> Iterator[Entry | Invalid]:
        return self._under(resolved=False)

    def resolved(self) -> Iterator[Entry | Invalid]:
        return self._under(resolved=True)

    def rows(self, *, resolved: bool) -> tuple[list[RecordSummary], list[Invalid]]:
        items = list(self._under(resolved))
        entries = [item for item in items if isinstance(item, Entry)]
        rows = [summary_of(entry.record, entry.path, entry.blob) for entry in entries]
        return rows, [item for item in items if isinstance(item, Invalid)]

    def entries(self, rows: Sequence[RecordSummary]) -> Iterator[Entry]:
        for row in rows:
            found = self._parsed(row.path)
            if isinstance(found, Entry):
                yield found

    def plain(self, rows: Sequence[RecordSummary]) -> Iterator[dict[str, Any]]:
        for entry in self.entries(rows):
            yield entry.record.as_dict()

    def learn(self, escalation_ids: Sequence[str]) -> None:
        """Everything is in memory already."""

    def find(self, escalation_id: str) -> Entry | Invalid | None:
        fits = [path for path in self._commit.files if layout.id_of(path) == escalation_id]
        return self._parsed(min(fits, key=lambda path: path.startswith(layout.RESOLVED))) if fits else None

    def paths(self, escalation_id: str) -> Sequence[str]:
        return [path for path in self._commit.files if layout.id_of(path) == escalation_id]

    def release(self, record: Record) -> Release | Invalid | None:
        path = layout.release_path(record)
        data = self._commit.files.get(path)
        try:
            return yaml_text.load_release(data) if data is not None else None
        except yaml_text.Malformed as error:
            return Invalid(path, str(error), record.escalation_id)

    def reopeners(self, escalation_id: str) -> Sequence[Record]:
        entries = [e for e in (*self.open(), *self.resolved()) if isinstance(e, Entry)]
        fits = [entry.record for entry in entries if entry.record.reopens == escalation_id]
        return sorted(fits, key=lambda record: (record.raised_at, record.escalation_id))

    def ids(self, *, resolved: bool, prefix: str = "") -> Sequence[str]:
        paths = [p for p in sorted(self._commit.files) if p.startswith(layout.RESOLVED) == resolved]
        return [found for found in map(layout.id_of, paths) if found and found.startswith(prefix)]

    def policies(self, *, kept: bool = False) -> tuple[str | None, Mapping[str, PolicyFile]]:
        found: dict[str, PolicyFile] = {}
        for path, data in self._commit.files.items():
            if path.startswith(f"{layout.POLICIES}/"):
                found[path] = yaml_text.policy_file(path, data)
        return ("1" * 40 if found else None), found


def _blob_id(data: bytes) -> str:
    return sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()


@dataclass
class MemoryPush:
    """A commit on its way to a remote. See `interface.Prepared`."""

    remote: MemoryRemote
    made: MemoryCommit
    base: MemoryCommit
    proposal: Onto | None

    @property
    def commit(self) -> str:
        return self.made.id

    def send(self, timeout: float) -> Exception | None:
        """Add the commit, unless something else was added since."""
        with self.remote.lock:
            if self.proposal:
                there = self.remote.branches.get(self.proposal.branch)
                if (there[0].id if there else None) != self.proposal.was:
                    return Stale()
                self.remote.branches[self.proposal.branch] = (self.made, self.base)
                return None
            if self.base.id != self.remote.commits[-1].id:
                return Stale()
            self.remote.commits.append(self.made)
            return None

    def settle(self) -> None:
        pass


class MemoryStore:
    """One person's clone of a remote. Implements `interface.Port`."""

    def __init__(self, remote: MemoryRemote, author: Author) -> None:
        self._remote = remote
        self._author = author
        self.remote = "memory"
        # The newest state that this person has seen, like a clone's remote-tracking ref; and a guess.
        self._seen = remote.commits[-1]
        self._guessed: str | None = None

    @contextmanager
    def writing(self, timeout: float) -> Iterator[None]:
        yield

    @contextmanager
    def turn(self, meanwhile: Callable[..., None]) -> Iterator[None]:
        yield

    def author(self) -> Author:
        return self._author

    def read(self, rev: str | None = None) -> MemorySnapshot:
        for commit in reversed(self._remote.commits):
            if rev in (None, commit.id):
                return MemorySnapshot(commit)
        raise BadInput(problem=f"{rev!r} names no commit")

    def newest(self, timeout: float, max_age: float = 0.0) -> MemorySnapshot:
        return self.tip(timeout)

    def tip(self, timeout: float) -> MemorySnapshot:
        self._seen, self._guessed = self._remote.commits[-1], None
        return self.read()

    def guess(self, timeout: float) -> MemorySnapshot:
        self._guessed = self._seen.id
        return MemorySnapshot(self._seen)

    def confirm(self, snapshot: Snapshot, timeout: float) -> None:
        guessed, self._guessed = self._guessed, None
        if snapshot.revision == guessed and guessed != self._remote.commits[-1].id:
            raise WrongGuess(self.tip(timeout))

    def prepare(self, request: Request, proposal: Onto | None = None) -> MemoryPush:
        [on] = [commit for commit in self._remote.commits if commit.id == request.base.revision]
        made = self._on(on, request.changes, request.author, request.message, request.others)
        return MemoryPush(self._remote, made, on, proposal)

    def _on(
        self,
        base: MemoryCommit,
        changes: Sequence[Change],
        author: Author,
        message: str,
        others: Mapping[str, bytes | None] | None = None,
    ) -> MemoryCommit:
        files = dict(base.files)
        for change in changes:
            for path in (change.old.path if change.old else None, *change.removed):
                if path is not None:
                    files.pop(path, None)
            files[layout.path_of(change.new)] = yaml_text.dumps(change.new)
        for path, data in (others or {}).items():
            files.pop(path, None)
            if data is not None:
                files[path] = data
        with self._remote.lock:
            self._remote.made += 1
            return MemoryCommit(f"{self._remote.made:040x}", files, author, message)

    def require_proposable(self, branch: str) -> None:
        if " " in branch:
            raise BadInput(problem=f"{branch!r} is not a name for a branch")

    def proposal(self, branch: str, tip: Snapshot, timeout: float) -> Proposal | None:
        if branch == "main":
            raise BadInput(problem="main is the store branch itself")
        if branch not in self._remote.branches:
            return None
        commit, base = self._remote.branches[branch]
        if any(commit.id == landed.id for landed in self._remote.commits):
            return Proposal(commit.id, merged=True)
        paths = {
            path for path in {*commit.files, *base.files} if commit.files.get(path) != base.files.get(path)
        }
        emails = frozenset({commit.author.email})
        return Proposal(
            commit.id, False, MemorySnapshot(commit), MemorySnapshot(base), emails, frozenset(paths)
        )

    def proposals(self, escalation_id: str, tip: Snapshot, timeout: float) -> Mapping[str, Proposal]:
        return {}

    def request_address(self, branch: str) -> str | None:
        return None

    def blob_id(self, record: Record) -> str:
        return _blob_id(yaml_text.dumps(record))

    def contains(self, snapshot: Snapshot, commit: str) -> bool:
        until = [c.id for c in self._remote.commits]
        return commit in until[: until.index(snapshot.revision) + 1]

    def follow(self, revision: str) -> str | None:
        return None
