"""Random legal histories: graphs of commits that the desk itself makes, with branches and pull requests.

A history is made in memory from one number, the same one from the same number, and then written to
real git with thousands of others by one `git fast-import`. Side branches and the line that they fork
from touch different records, as people do who agree who does what, and one of them at a time makes
archives. Branches come back in every way that a forge has: by a merge commit, after *Update branch*, as a
squash, rebased, by a merge queue, by a fast-forward, or by `git pull`. Merges are made first and then
held against the rules of docs/design.md, *One line, and not the graph*, read here by brute force; one that the rules refuse
(because the policies have moved on, say, or because the branch has become too old) is left out.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha1
from itertools import pairwise
from pathlib import Path
from random import Random

from kt_escalation import KtError, Store
from kt_escalation.actions import drafts
from kt_escalation.model import archive_file, ids
from kt_escalation.model.record import Record
from kt_escalation.model.vocabulary import CATEGORIES, DECISIONS, SEVERITIES
from kt_escalation.policies.policy_file import PolicyFile
from kt_escalation.policies.policy_set import Policies, assemble
from kt_escalation.rules import judge_step, transitions
from kt_escalation.rules.permissions import actor, is_admin
from kt_escalation.storage import layout, lookup, yaml_text
from kt_escalation.storage.commit_message import Message
from kt_escalation.storage.interface import Author, Request, Snapshot
from kt_escalation.testing import MemoryCommit as Files
from kt_escalation.testing import MemorySnapshot

PACK = "policies/policy-config.yaml"
ROSTER = "policies/roster.yaml"
SETTINGS = "policies/settings.yaml"
#: The folder of the store in a monorepo, where a history has one.
ROOT = "ops/review"
ROOT_FILE = ".kt.yaml"
PEOPLE = ("alice", "bob", "carol", "dave", "boss", "gw", "eve")
#: Everybody's addresses; who has two acts under both.
ADDRESSES = {
    "alice": ("alice@example.com", "Alice@Home.example"),
    "bob": ("bob@example.com",),
    "carol": ("carol@example.com", "c.arol@example.com"),
    "dave": ("dave@example.com",),
    "boss": ("boss@example.com", "BOSS@example.com"),
    "gw": ("gw@example.com",),
    "eve": ("eve@example.com",),
}
#: The address under which a forge merges.
FORGE = "noreply@forge.example"
ROLES = {
    "alice": "[reviewer]",
    "bob": "[reviewer, gateway]",
    "carol": "[reviewer, admin]",
    "dave": "[reviewer]",
    "boss": "[admin]",
    "gw": "[gateway]",
    "eve": "[auditor]",
}
RULES = (
    "",
    """\
rules:
  - match: {severity: critical}
    approvals: 2
    claim_within: 15m
    resolve_within: 4h
    fallback: {team_id: security}
""",
    """\
rules:
  - match: {model: gpt-4o}
    claim_within: 10m
    fallback: {user_id: carol}
  - match: {team_id: legal}
    approvals: 2
  - resolve_within: 1h
""",
)
MODELS = ("gpt-4o", "chat", "other")
#: Which branch may make archives is its own to say, as a record is: two would take the same number.
ARCHIVES = "archives"
#: How old the steps of a branch may be when they are merged, where the settings say nothing else.
PROPOSALS = timedelta(days=14)
#: So much earlier it is merged, so that a check that is made a little later says the same.
HASTE = timedelta(minutes=10)

State = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Commit:
    """One commit of the graph."""

    parents: tuple[int, ...]
    email: str
    seconds: int
    message: str
    #: What it changes against its first parent (None: removed).
    files: Mapping[str, bytes | None]
    #: All files that it has.
    tree: Mapping[str, bytes]
    #: The records that it changed, before and after.
    steps: tuple[tuple[Record | None, Record], ...] = ()
    #: Who made it of the author's work, and when the author did it, where that is somebody else or earlier.
    committer: str | None = None
    authored: int | None = None

    @property
    def when(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    @property
    def identity(self) -> tuple[object, ...]:
        """All that git makes its id of."""
        authored = self.seconds if self.authored is None else self.authored
        people = self.email, authored, self.committer or self.email, self.seconds
        return self.parents, people, self.message, self.tree


def tree_of(files: Mapping[str, bytes]) -> str | None:
    """The git tree id of the plain files below `policies/`, None where there is none."""
    entries = sorted((path.partition("/")[2], data) for path, data in files.items() if is_policy(path))
    if not entries:
        return None
    body = b"".join(b"100644 %s\0%s" % (n.encode(), _oid("blob", d)) for n, d in entries)
    return _oid("tree", body).hex()


def is_policy(path: str) -> bool:
    """Whether a path is below `policies/`."""
    return path.startswith(f"{layout.POLICIES}/")


def in_store(path: str) -> bool:
    """Whether a path is the store's."""
    return path.startswith((f"{layout.POLICIES}/", f"{layout.QUEUE}/")) or path == ROOT_FILE


def unfolded(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files as they were before anything was compacted."""
    found: dict[str, bytes] = {}
    for path, data in files.items():
        if layout.archive_at(path) is None:
            found[path] = data
        elif path.endswith(layout.SUFFIX):
            found.update(_files_in(data))
    return found


def archived(files: Mapping[str, bytes]) -> set[str]:
    """The escalations in the archives among some files."""
    archives = [
        data for path, data in files.items() if layout.archive_at(path) and path.endswith(layout.SUFFIX)
    ]
    return {name for data in archives for path in _files_in(data) if (name := layout.id_of(path))}


def is_pull(message: str) -> bool:
    """Whether git itself has called a merge a pull of the store's branch."""
    return message.startswith(("Merge branch 'main' into ", "Merge branch 'main' of "))


@lru_cache(1000)
def _files_in(archive: bytes) -> Mapping[str, bytes]:
    return {layout.path_of(yaml_text.loads(data)): data for data in archive_file.read(archive)}


@lru_cache(20_000)
def _record(data: bytes) -> Record:
    return yaml_text.loads(data)


def _oid(kind: str, data: bytes) -> bytes:
    return sha1(b"%s %d\0" % (kind.encode(), len(data)) + data, usedforsecurity=False).digest()


class _Snapshot(MemorySnapshot):
    """The files of a branch, with the policies that are in force there and the real id of their tree."""

    def __init__(self, line: Line) -> None:
        files = {path: data for path, data in unfolded(line.files).items() if not is_policy(path)}
        force = line.graph.tree_in_force(line.tip)
        super().__init__(Files(str(line.tip), {**files, **force}, line.writer, ""))
        self._tree = tree_of(line.graph.named(line.tip))

    def policies(self, *, kept: bool = False) -> tuple[str | None, Mapping[str, PolicyFile]]:
        return self._tree, super().policies()[1]


class Line:
    """One branch, as a port that the desk writes to."""

    remote = "memory"

    def __init__(self, graph: Graph, tip: int, files: Mapping[str, bytes], own: set[str]) -> None:
        self.graph = graph
        self.tip = tip
        self.files = dict(files)
        self.writer = Author("Nobody", "nobody@example.com")
        #: The escalations that this branch may touch, and no other meanwhile.
        self.own = own

    def policy_files(self) -> dict[str, bytes]:
        return {path: data for path, data in self.files.items() if is_policy(path)}

    def policies(self) -> Policies:
        return self.graph.in_force(self.tip)

    @contextmanager
    def writing(self, timeout: float) -> Iterator[None]:
        yield

    @contextmanager
    def turn(self, meanwhile: Callable[[], None]) -> Iterator[None]:
        yield

    def author(self) -> Author:
        return self.writer

    def read(self, rev: str | None = None) -> _Snapshot:
        return _Snapshot(self)

    def prepare(self, request: Request, proposal: object = None) -> _Prepared:
        assert not request.others
        assert proposal is None
        return _Prepared(self, request)

    def put(
        self,
        files: Mapping[str, bytes | None],
        message: str,
        email: str,
        when: datetime,
        steps: Iterable[tuple[Record | None, Record]] = (),
        others: tuple[int, ...] = (),
        *,
        committer: str | None = None,
        authored: int | None = None,
    ) -> None:
        """A commit on this branch."""
        for path, data in files.items():
            if data is None:
                self.files.pop(path, None)
            else:
                self.files[path] = data
        seconds = int(when.timestamp())
        parents, tree = (self.tip, *others), dict(self.files)
        made = Commit(parents, email, seconds, message, dict(files), tree, tuple(steps), committer, authored)
        self.tip = self.graph.add(made)

    def back(self, tip: int) -> None:
        """Stand where the branch stood before; what was made since is nobody's."""
        self.tip, self.files = tip, dict(self.graph.commits[tip].tree)

    def blob_id(self, record: Record) -> str:
        return _oid("blob", yaml_text.dumps(record)).hex()

    def contains(self, snapshot: Snapshot, commit: str) -> bool:
        return int(commit) in self.graph.ancestors(int(snapshot.revision))

    def follow(self, revision: str) -> str | None:
        return None


class _Prepared:
    """A commit of one who writes alone: it lands when it is sent."""

    def __init__(self, line: Line, request: Request) -> None:
        self._line = line
        self._request = request
        # Its number is the next one's.
        self.commit = str(len(line.graph.commits))

    def send(self, timeout: float) -> None:
        """Put it on the branch."""
        line, request = self._line, self._request
        files: dict[str, bytes | None] = {}
        steps = []
        for change in request.changes:
            if change.old and change.old.path != layout.path_of(change.new):
                files[change.old.path] = None
            files[layout.path_of(change.new)] = yaml_text.dumps(change.new)
            steps.append((change.old.record if change.old else None, change.new))
            line.own.add(change.new.escalation_id)
        line.put(files, request.message, request.author.email, request.when, steps)
        assert str(line.tip) == self.commit

    def settle(self) -> None:
        """Nobody else has to learn of it."""


# The port's `tip` is a method and a branch's is a commit; the desk gets this face of it.
class _Port:
    def __init__(self, line: Line) -> None:
        self._line = line

    def __getattr__(self, name: str) -> object:
        return getattr(self._line, name)

    def newest(self, timeout: float, max_age: float = 0.0) -> _Snapshot:
        return self.tip(timeout)

    def tip(self, timeout: float) -> _Snapshot:
        return self._line.read()

    def guess(self, timeout: float) -> _Snapshot:
        return self._line.read()

    def confirm(self, snapshot: Snapshot, timeout: float) -> None:
        """One who writes alone always guesses right."""


@dataclass
class Graph:
    """All commits of one history, and what the rules say of them, as far as a merge needs it.

    Nothing here is quick or clever. It is stricter than the rules where that is simpler: it may leave a
    legal merge out, and must never let an illegal one in.
    """

    commits: list[Commit] = field(default_factory=list)
    _assembled: dict[tuple[str | None, ...], Policies] = field(default_factory=dict)
    _ancestors: dict[int, frozenset[int]] = field(default_factory=dict)
    _parents: dict[int, int | None] = field(default_factory=dict)
    _states: dict[int, dict[str, State]] = field(default_factory=dict)
    _foul: dict[int, tuple[frozenset[str], frozenset[int]]] = field(default_factory=dict)
    _force: dict[int, dict[str, bytes]] = field(default_factory=dict)

    def add(self, commit: Commit) -> int:
        """The number of a commit; what git would give the id of an older one is that one."""
        same = (at for at, other in enumerate(self.commits) if other.identity == commit.identity)
        if (at := next(same, None)) is not None:
            return at
        self.commits.append(commit)
        return len(self.commits) - 1

    def ancestors(self, tip: int) -> frozenset[int]:
        """The commit and all that it contains."""
        if tip not in self._ancestors:
            above = [self.ancestors(parent) for parent in self.commits[tip].parents]
            self._ancestors[tip] = frozenset({tip}).union(*above)
        return self._ancestors[tip]

    # --- the line -----------------------------------------------------------------------------------

    def line_parent(self, at: int) -> int | None:
        """The commit that a commit follows on the line."""
        if at not in self._parents:
            self._parents[at] = self._line_parent(at)
        return self._parents[at]

    def _line_parent(self, at: int) -> int | None:
        parents = self.commits[at].parents
        if len(parents) != 2:
            return parents[0] if parents else None
        first, second = parents
        base = self.base(first, second)
        if base is None or base not in self.line(second) or self.store(at) != self.store(second):
            return first
        if self.store(at) == self.store(first):
            return first
        since = self.line(first)
        since = since[: since.index(base)]
        # An admin may have approved something by a merge along its second parent: it must stay on the line.
        along = any(self.line_parent(on) != self.commits[on].parents[0] for on in since)
        return second if not along and all(self.store(on) == self.store(base) for on in since) else first

    def line(self, tip: int) -> list[int]:
        """The line up to a commit, newest first, itself included."""
        line = [tip]
        while (parent := self.line_parent(line[-1])) is not None:
            line.append(parent)
        return line

    def base(self, first: int, second: int) -> int | None:
        """The newest commit of one's line that another reaches."""
        within = self.ancestors(second)
        return next((on for on in self.line(first) if on in within), None)

    def store(self, at: int) -> dict[str, bytes]:
        return {path: data for path, data in self.commits[at].tree.items() if in_store(path)}

    def has_store(self, at: int) -> bool:
        tree = self.commits[at].tree
        return ROSTER in tree or SETTINGS in tree or any(path.startswith("queue/") for path in tree)

    # --- policies -----------------------------------------------------------------------------------

    def assembled(self, files: Mapping[str, bytes], named: Mapping[str, bytes] | None = None) -> Policies:
        """The policies in some files, under the tree id of others where it is said."""
        files = {path: data for path, data in files.items() if is_policy(path)}
        tree = tree_of(files if named is None else named)
        key = (tree_of(files), tree)
        if key not in self._assembled:
            read = {path: yaml_text.policy_file(path, data) for path, data in files.items()}
            self._assembled[key] = assemble(tree, read)
        return self._assembled[key]

    def may_change(self, email: str, policies: Policies, when: datetime) -> bool:
        """Whether somebody is an admin; without a roster everybody is."""
        return is_admin(actor(email, when, policies))

    def foul(self, at: int) -> tuple[frozenset[str], frozenset[int]]:
        """The policy files that are as nobody was allowed to make them, and the commits on the line to blame."""
        if at not in self._foul:
            self._foul[at] = self._fouled(at)
        return self._foul[at]

    def _fouled(self, at: int) -> tuple[frozenset[str], frozenset[int]]:
        parent = self.line_parent(at)
        if parent is None or not self.has_store(parent):
            return frozenset(), frozenset()
        commit, (files, blamed) = self.commits[at], self.foul(parent)
        changed = frozenset(self.policies_that_differ(parent, at))
        if self.acted(at):
            within = self.ancestors(commit.parents[0])
            return frozenset(), frozenset(on for on in blamed if on in within)
        if len(commit.parents) > 1 or self.may_change(commit.email, self.in_force(parent), commit.when):
            return files - changed, blamed
        return files | changed, blamed | ({at} if changed else set())

    def acted(self, at: int) -> bool:
        """Whether a merge along its second parent is by an admin, who vouches for what that has changed."""
        commit = self.commits[at]
        if len(commit.parents) != 2 or self.line_parent(at) != commit.parents[1] or is_pull(commit.message):
            return False
        return self.has_store(commit.parents[0]) and all(
            self.may_change(commit.email, self.in_force(on), commit.when) for on in commit.parents
        )

    def policies_that_differ(self, one: int, other: int) -> list[str]:
        here, there = self.commits[one].tree, self.commits[other].tree
        return sorted(p for p in {*here, *there} if is_policy(p) and here.get(p) != there.get(p))

    def tree_in_force(self, at: int) -> dict[str, bytes]:
        """The policy files in force at a commit: of each, the newest version on its line that was legal."""
        if at not in self._force:
            line, found = self.line(at), {}
            for path in {path for on in line for path in self.policies_at(on)}:
                newest = next(on for on in line if path not in self.foul(on)[0])
                if path in self.policies_at(newest):
                    found[path] = self.commits[newest].tree[path]
            self._force[at] = found
        return self._force[at]

    def policies_at(self, at: int) -> dict[str, bytes]:
        return {path: data for path, data in self.commits[at].tree.items() if is_policy(path)}

    def named(self, at: int) -> dict[str, bytes]:
        """The files of the policies that records name: of the tree that is there, if none has had those in force since then."""
        force = self.tree_in_force(at)
        for on in self.line(at):
            if self.policies_at(on) == force:
                return force
            if self.tree_in_force(on) != force:
                break
        return self.policies_at(at)

    def in_force(self, at: int) -> Policies:
        return self.assembled(self.tree_in_force(at), self.named(at))

    # --- merges -------------------------------------------------------------------------------------

    def state(self, at: int, name: str) -> State:
        """What a commit has of an escalation, by path; of what is compacted as it was before."""
        return self.states(at).get(name, ())

    def states(self, at: int) -> dict[str, State]:
        if at not in self._states:
            self._states[at] = states_of(self.commits[at].tree)
        return self._states[at]

    def record(self, at: int, name: str | None) -> Record | None:
        state = self.state(at, name) if name is not None else ()
        return _record(state[0][1]) if state else None

    def is_legal(self, at: int) -> bool:
        """Whether a commit that was made on a line may stay there."""
        commit = self.commits[at]
        parent = self.line_parent(at)
        assert parent is not None
        if len(commit.parents) == 1:
            force = self.in_force(parent)
            changes = self.policies_that_differ(parent, at)
            return (not changes or self.may_change(commit.email, force, commit.when)) and all(
                self.is_legal_step(at, old, new, parent, parent) for old, new in commit.steps
            )
        first, second = commit.parents[:2]
        if parent == second:
            return self.foul(at)[1] <= self.foul(first)[1]
        if len(commit.parents) > 2:
            return self.store(at) == self.store(first)
        return self.has_store(first) and self.is_legal_merge(at, first, second)

    def is_legal_merge(self, at: int, first: int, second: int) -> bool:
        """Whether a merge brings into its first parent's line only what its carried commits explain."""
        commit, base = self.commits[at], self.base(first, second)
        carried = sorted(self.ancestors(second) - self.ancestors(first))
        plain = [c for c in carried if len(self.commits[c].parents) == 1]
        if not all(self.authors_nothing(c) for c in carried if len(self.commits[c].parents) == 2):
            return False
        force = self.in_force(first)
        written = self.assembled(self.commits[second].tree)
        both = None not in (force.roster, written.roster) and all(
            self.may_change(commit.email, policies, commit.when) for policies in (force, written)
        )
        # Whoever pulls approves nothing.
        vouches = both and not is_pull(commit.message)
        before, after, came = self.states(first), self.states(at), self.states(second)
        start = self.states(base) if base is not None else {}
        folded = [c for c in plain if any(map(layout.archive_at, self.commits[c].files))]
        if not all(self.may_change(self.commits[c].email, force, commit.when) for c in folded):
            return False
        if {name for name in after if self.is_double(at, name)}:
            return False
        for name in {*before, *after, *came}:
            here, there, new = before.get(name, ()), came.get(name, ()), after.get(name, ())
            if here != new and not self.chain(name, here, new, plain, first, commit.seconds):
                return False
            if start.get(name, ()) != there != new and not any(
                self.state(on, name) == there for on in self.line(first) if base is None or on > base
            ):
                return False
        for path in {p for c in (first, second, at) for p in self.commits[c].tree if is_policy(p)}:
            here, there, new = (self.commits[c].tree.get(path) for c in (first, second, at))
            if here != new and not vouches and not self.led(path, here, new, plain, force, at):
                return False
            was = self.commits[base].tree.get(path) if base is not None else None
            if was != there != new and not both and not self.had(path, there, first, base):
                return False
        return self.goes_on(at, first, base, plain, force, both)

    def goes_on(
        self, at: int, first: int, base: int | None, plain: Sequence[int], force: Policies, both: bool
    ) -> bool:
        """Whether a merge goes on from all that its carried commits have legally made, or the line had it since."""
        line = self.line_since(first, base)
        shared = first if base is None else base
        moves: dict[str, list[tuple[int, object, object]]] = {}
        for on in plain:
            commit, parent = self.commits[on], self.commits[on].parents[0]
            for path in self.policies_that_differ(parent, on):
                before = self.commits[parent].tree.get(path)
                vouched = both and all(
                    self.may_change(
                        self.commits[at].email, self.assembled(self.commits[there].tree), commit.when
                    )
                    for there in (parent, on)
                )
                if self.may_make(on, force) and not vouched:
                    moves.setdefault(path, []).append((on, before, commit.tree.get(path)))
            for old, new in commit.steps:
                name = new.escalation_id
                if self.is_legal_step(on, old, new, first, shared):
                    moves.setdefault(name, []).append((on, self.state(parent, name), self.state(on, name)))
        for key, some in moves.items():
            for on, _, made in some:
                left = self.base(first, self.commits[on].parents[0])
                if any(self.version(c, key) == made for c in self.line_since(first, left)):
                    # A squash or a rebase has brought it since the commit's branch left the line.
                    continue
                reached = [(on, made)]
                for here, state in reached:
                    reached += [
                        (later, after)
                        for later, before, after in some
                        if before == state and here in self.ancestors(later) and (later, after) not in reached
                    ]
                states = [state for _, state in reached]
                wanted = [self.version(c, key) for c in (at, *line)]
                wanted += [self.version(base, key)] if is_policy(key) and base is not None else []
                if not any(state in wanted for state in states):
                    return False
        return True

    def line_since(self, tip: int, base: int | None) -> list[int]:
        """The line up to a commit, newest first, without ``base`` and what is before it."""
        line = self.line(tip)
        return line if base is None else line[: line.index(base)]

    def version(self, at: int, key: str) -> object:
        """A policy file or the state of an escalation at a commit."""
        return self.commits[at].tree.get(key) if is_policy(key) else self.state(at, key)

    def is_double(self, at: int, name: str) -> bool:
        """Whether an escalation is in an archive and in a file of its own as well."""
        files = self.commits[at].tree
        return name in archived(files) and any(layout.id_of(path) == name for path in files)

    def may_make(self, at: int, force: Policies) -> bool:
        """Whether a carried change of policies is an admin's, by the line's policies and by those before it."""
        commit = self.commits[at]
        there = self.assembled(self.commits[commit.parents[0]].tree)
        return self.may_change(commit.email, force, commit.when) and (
            force.roster is None or self.may_change(commit.email, there, commit.when)
        )

    def had(self, path: str, version: bytes | None, tip: int, base: int | None) -> bool:
        """Whether some commit of a line after another one has made a file as it is given, or has removed it."""
        line = [on for on in self.line(tip) if base is not None and on >= base]
        return any(
            self.commits[on].tree.get(path) == version != self.commits[before].tree.get(path)
            for on, before in pairwise(line)
        )

    def authors_nothing(self, at: int) -> bool:
        """Whether a merge has of each escalation and policy file what one of its parents has."""
        parents = self.commits[at].parents
        states = [self.states(parent) for parent in parents]
        mine = self.states(at)
        return all(
            any(state.get(name) == mine.get(name) for state in states) for name in {*mine}.union(*states)
        ) and all(
            any(self.commits[c].tree.get(path) == self.commits[at].tree.get(path) for c in parents)
            for c in (at, *parents)
            for path in self.commits[c].tree
            if is_policy(path)
        )

    def led(
        self,
        path: str,
        state: bytes | None,
        end: bytes | None,
        plain: Sequence[int],
        force: Policies,
        merge: int,
        left: set[bytes | None] | None = None,
    ) -> bool:
        """Whether commits by admins lead a policy file from one version to another, which are not too old for a merge.

        ``left`` are the versions that the line went on from since the branch of the first one left it.
        """
        latest = self.commits[merge].seconds - (PROPOSALS - HASTE).total_seconds()
        for number, at in enumerate(plain):
            commit = self.commits[at]
            was = self.commits[commit.parents[0]].tree.get(path)
            now = commit.tree.get(path)
            if was != state or now == was or not self.may_make(at, force):
                continue
            gone = (
                self.left(path, self.commits[merge].parents[0], commit.parents[0]) if left is None else left
            )
            if commit.seconds <= latest or {was, now} & gone:
                continue
            later = [c for c in plain[number + 1 :] if at in self.ancestors(c)]
            if now == end or self.led(path, now, end, later, force, merge, gone):
                return True
        return False

    def left(self, path: str, tip: int, other: int) -> set[bytes | None]:
        """The versions of a file that a line went on from since another commit's branch left it."""
        base, line = self.base(tip, other), self.line(tip)
        since = line if base is None else line[: line.index(base) + 1]
        versions = [self.commits[on].tree.get(path) for on in since]
        return {old for new, old in pairwise(versions) if old != new}

    def chain(
        self, name: str, state: State, end: State, plain: Sequence[int], first: int, seconds: int
    ) -> bool:
        """Whether legal steps lead an escalation from one state to another, and not too late."""
        for number, at in enumerate(plain):
            commit = self.commits[at]
            was, now = self.state(commit.parents[0], name), self.state(at, name)
            if was != state or now == was:
                continue
            since = self.base(first, commit.parents[0])
            assert since is not None
            steps = [(old, new) for old, new in commit.steps if new.escalation_id == name]
            if not steps or not all(self.is_legal_step(at, old, new, first, since) for old, new in steps):
                continue
            later = [c for c in plain[number + 1 :] if at in self.ancestors(c)]
            if now != end and not self.chain(name, now, end, later, first, seconds):
                continue
            last = _record(end[0][1]) if end else None
            if last is not None and last.status == "claimed" and last.claim and last.claim.expires_at:
                if seconds + HASTE.total_seconds() <= last.claim.expires_at.timestamp():
                    return True
            elif seconds - steps[0][1].last_time.timestamp() < (PROPOSALS - HASTE).total_seconds():
                return True
        return False

    def is_legal_step(self, at: int, old: Record | None, new: Record, line: int, fork: int) -> bool:
        """Whether a step is legal by the roster of one commit and the routing and leases of another.

        A birth must ask for as much as the rules of both do.
        """
        commit = self.commits[at]
        mine, shared = self.tree_in_force(line), self.tree_in_force(fork)
        files = {**{p: d for p, d in shared.items() if p != ROSTER}, **_only(mine, ROSTER)}
        if old is None and _only(mine, SETTINGS) != _only(shared, SETTINGS):
            return False
        parent = commit.parents[0]
        origin = self.record(parent, new.reopens)
        deciders = lookup.reviewers(new, lambda name: self.record(parent, name))
        policies = self.assembled(files, self.named(fork))
        then = actor(commit.email, commit.when, self.in_force(parent))
        if then.name != actor(commit.email, commit.when, policies).name:
            # Its message names who did it as people were known there.
            return False
        told = judge_step.StepContext(commit.email, commit.when, policies, deciders, origin)
        return not judge_step.judge(old, new, told)


def _only(files: Mapping[str, bytes], path: str) -> dict[str, bytes]:
    return {path: files[path]} if path in files else {}


@dataclass
class History:
    """A legal history: its commits, and the newest of them."""

    seed: int
    graph: Graph
    tip: int
    #: A time by which everything in it has happened.
    now: datetime
    #: The folder of the store.
    root: str = ""
    #: What was merged as pull requests: the line's tip before, the branch's, and the merge.
    requests: list[tuple[int, int, int]] = field(default_factory=list)
    #: How often each way of merging was taken.
    methods: list[str] = field(default_factory=list)


def make(seed: int) -> History:
    """The history that a number stands for."""
    return _Maker(seed).run()


class _Maker:
    """Makes one history."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now = datetime(2026, 11, 23, 10, tzinfo=UTC) + timedelta(
            milliseconds=self.random.randrange(10**9)
        )
        self.graph = Graph()
        self.tolerance = self.random.choice((0, 1, 30, 120, 120, 120))
        self.raised = 0
        self.pulls = 0
        #: Branches that were squashed, rebased or picked from, and can still be merged.
        self.left: list[Line] = []
        self.requests: list[tuple[int, int, int]] = []
        self.methods: list[str] = []

    def run(self) -> History:
        root = ROOT if self.seed % 4 == 1 else ""
        main = self.begin(root)
        self.lines = [main]
        self.above: dict[int, Line] = {}
        for _ in range(self.random.randint(8, 40)):
            self.pass_time()
            line = self.random.choice(self.lines)
            whats: list[tuple[Callable[[Line], object], int]] = [
                (self.act, 20), (self.squash, 3), (self.policy, 3), (self.elsewhere, 1), (self.fork, 5),
                (self.join, 3), (self.update, 3), (self.compact, 3), (self.request, 8), (self.pull, 2),
                (self.foreign, 1), (self.keep, 1), (self.again, 2),
            ]  # fmt: skip
            what = self.random.choices([w for w, _ in whats], [n for _, n in whats])[0]
            what(line)
        for line in list(self.lines[1:]):
            if self.random.random() < 0.8:
                self.pass_time()
                self.join(line)
        until = self.now + timedelta(seconds=self.tolerance + 1)
        assert not self.graph.foul(main.tip)[1]
        kept = [found for found in self.requests if found[2] in self.graph.ancestors(main.tip)]
        return History(self.seed, self.graph, main.tip, until, root, kept, self.methods)

    # --- how it begins ------------------------------------------------------------------------------

    def begin(self, root: str) -> Line:
        files: dict[str, bytes] = {}
        if self.random.random() < 0.9:
            files[PACK] = self.pack()
        if self.random.random() < 0.8:
            files[SETTINGS] = self.settings()
        if self.random.random() < 0.6:
            files[ROSTER] = self.roster()
        if not files or set(files) == {PACK}:
            files[f"{layout.QUEUE}/.gitkeep"] = b""
        if root and self.seed % 8 == 1:
            files[ROOT_FILE] = f"root: {root}\n".encode()
        hello = {"README.md": b"Hello\n"}
        how = self.random.choice(("at once", "at once", "later", "later", "merged"))
        whole = {**hello, **files} if how == "at once" else hello
        seconds = int(self.now.timestamp())
        first = Commit((), "boss@example.com", seconds, "A repository\n", whole, whole)
        line = Line(self.graph, self.graph.add(first), whole, {ARCHIVES})
        if how == "later":
            line.put(files, "A store in it\n", "alice@example.com", self.now)
        elif how == "merged":
            # The store is set up on a branch while the line goes on with something else.
            side = Line(self.graph, line.tip, line.files, set())
            side.put(files, "A store in it\n", "boss@example.com", self.now)
            self.methods.append("set-up")
            for _ in range(self.random.randint(0, 2)):
                self.pass_time()
                self.act(side)
            for _ in range(self.random.randint(0, 2)):
                self.elsewhere(line)
            self.pass_time()
            line.own |= side.own
            brought = {path: data for path, data in side.files.items() if line.files.get(path) != data}
            by = self.random.choice(("alice@example.com", "boss@example.com", FORGE))
            line.put(brought, self.words(side.tip, line.tip), by, self.clock(), others=(side.tip,))
            assert self.graph.line_parent(line.tip) == side.tip
        return line

    def pack(self) -> bytes:
        if self.random.random() < 0.3:
            return b"pack: {enabled: true}\n"
        team = self.random.choice(("legal", "security"))
        whom = self.random.choice(("{team_id: security}", "{user_id: bob}", "{user_id: carol@example.com}"))
        return (
            "providers:\n  targets:\n    - id: openai\n"
            f"      escalation_routing: {{team_id: {team}}}\n      models:\n"
            f"        - model_id: gpt-4o\n          aliases: [chat]\n          escalation_routing: {whom}\n"
        ).encode()

    def settings(self) -> bytes:
        lease = self.random.choice(("", "lease: 30m, ", "lease: 2h, "))
        limit = self.random.choice(("", ", max_per_reviewer: 3"))
        rules = self.random.choice(RULES)
        route = self.random.choice(("", "default_route: {team_id: legal}\n"))
        return f"{route}claims: {{{lease}clock_tolerance: {self.tolerance}{limit}}}\n{rules}".encode()

    def roster(self) -> bytes:
        there = [who for who in PEOPLE if who in ("boss", "gw") or self.random.random() < 0.8]
        legal = [who for who in there if who in ("alice", "bob", "carol") and self.random.random() < 0.8]
        security = [who for who in there if who in ("bob", "carol", "dave") and self.random.random() < 0.8]
        users = [
            f"  - {{user_id: {who}, emails: [{', '.join(ADDRESSES[who])}], roles: {ROLES[who]}}}\n"
            for who in there
        ]
        teams = f"  - {{team_id: legal, members: [{', '.join(legal)}]}}\n"
        teams += f"  - {{team_id: security, members: [{', '.join(security)}]}}\n"
        return f"teams:\n{teams}users:\n{''.join(users)}".encode()

    # --- what happens -------------------------------------------------------------------------------

    def pass_time(self) -> None:
        span = self.random.choice((0.0, 0.3, 5.0, 60.0, 600.0, 2400.0, 9000.0))
        self.now += timedelta(milliseconds=int(span * 1000 * self.random.random()))

    def clock(self) -> datetime:
        """Somebody's clock, which may be off as far as the tolerance allows."""
        half = self.tolerance * 500
        return self.now + timedelta(milliseconds=self.random.choice((0, 0, self.random.randint(-half, half))))

    def somebody(self) -> Author:
        who = self.random.choice(PEOPLE)
        return Author(who.title(), self.random.choice(ADDRESSES[who]))

    def act(self, line: Line, by: Author | None = None) -> bool:
        """Let somebody do something; what is refused is not done."""
        line.writer = by or self.somebody()
        store = self.desk(line)
        before = line.tip
        try:
            self.random.choice(
                (self.raise_, self.raise_, self.take, self.take, self.decide, self.decide, self.govern)
            )(line, store)
        except KtError as error:
            assert error.exit_code not in (5, 8, 9), error
        if line.tip != before and self.random.random() < 0.2:
            # Somebody's own words: trailers need not be there.
            self.graph.commits[line.tip] = replace(self.graph.commits[line.tip], message="by hand\n")
        return line.tip != before

    def names(self, line: Line, *statuses: str) -> list[str]:
        """The escalations that are this branch's to touch."""
        found = []
        for path, data in sorted(unfolded(line.files).items()):
            name = layout.id_of(path)
            if name in line.own and name is not None:
                status = yaml_text.loads(data).status
                if status in statuses:
                    found.append(name)
        return found

    def some(self, names: Sequence[str]) -> list[str]:
        most = self.random.choice((1, 1, 1, 2, 3))
        return self.random.sample(list(names), min(most, len(names)))

    def raise_(self, line: Line, store: Store) -> None:
        if self.random.random() < 0.25:
            whom = self.random.choice(("alice", "bob", "Carol@example.com", "dave@example.com"))
            routing = self.random.choice(({"user_id": whom}, {"team_id": "legal"}))
            store.raise_event(
                {
                    "request_id": self.request_id(),
                    "verdict": "escalate",
                    "reason_code": "oversight.required",
                    "timestamp": self.random.choice(("2026-11-01T00:00:00Z", "2027-11-01T00:00:00Z")),
                    "details": {"scores": {"toxicity": 0.25}},
                    "metadata": {"escalation_routing": routing},
                },
                model=self.random.choice(MODELS),
            )
            return
        items = []
        for number in range(self.random.choice((1, 1, 1, 2, 4))):
            keys = {
                "request_id": self.request_id(),
                "reason_code": "oversight.required",
                "severity": self.random.choice(SEVERITIES),
                "model": self.random.choice(MODELS),
            }
            if self.random.random() < 0.2:
                del keys["request_id"]
                keys["escalation_id"] = f"esc_{ids.ulid(self.now, self.random.randbytes(10))}"
            items.append((number + 1, drafts.from_keys(keys)))
        store.raise_lines(items)

    def request_id(self) -> str:
        self.raised += 1
        return f"h{self.seed}-{self.raised}"

    def take(self, line: Line, store: Store) -> None:
        queued, claimed = self.names(line, "queued"), self.names(line, "claimed")
        kind = self.random.choice(("claim", "claim", "claim", "over", "renew", "unclaim", "force"))
        if kind == "claim" and queued:
            store.claim_many(self.some(queued))
        elif claimed:
            chosen = self.some(claimed)
            if kind == "over":
                store.claim_many(chosen[:1])
            elif kind == "renew":
                store.renew_many(chosen)
            elif kind == "unclaim":
                store.unclaim_many(chosen)
            elif kind == "force":
                store.unclaim_many(chosen, force_reason="away\nfor long")

    def decide(self, line: Line, store: Store) -> None:
        claimed = self.names(line, "claimed")
        mine = [n for n in claimed if self.holds(line, n)]
        chosen = self.some(mine or claimed)
        if self.random.random() < 0.3 and (opened := self.names(line, "queued", "claimed")):
            store.note(
                self.random.choice(opened), self.random.choice(("Hm.", "Asked legal\n\n    twice", "Hm."))
            )
        elif chosen:
            outcome = self.random.choice((*DECISIONS, "approved", "approved", "allow"))
            category = self.random.choice((None, *CATEGORIES))
            store.resolve_many(chosen, outcome, "because\nof it", category=category)

    def holds(self, line: Line, name: str) -> bool:
        record = yaml_text.loads(line.files[layout.open_path(name)])
        who = actor(line.writer.email, self.now, line.policies())
        return record.claim is not None and who.is_me(record.claim.claimed_by)

    def govern(self, line: Line, store: Store) -> None:
        kind = self.random.choice(("assign", "assign", "reopen", "reopen", "sweep", "sweep"))
        opened, resolved = self.names(line, "queued", "claimed"), self.names(line, "resolved")
        if kind == "assign" and opened:
            user = self.random.choice((None, "alice", "bob@example.com", "carol", "dave@example.com"))
            team = self.random.choice(("legal", "security")) if user is None else None
            store.assign_many(self.some(opened), "better there", user=user, team=team)
        elif kind == "reopen" and resolved:
            store.reopen(self.random.choice(resolved), "It was wrong")
        elif kind == "sweep" and self.is_alone(line):
            store.sweep()

    def is_alone(self, line: Line) -> bool:
        """Whether all that is open is this branch's own: a sweep takes whatever is due."""
        names = {layout.id_of(path) for path in line.files if path.startswith(f"{layout.QUEUE}/")} - {None}
        return names <= line.own

    def squash(self, line: Line) -> None:
        """Several steps of one person's in one commit, as `git rebase --interactive` makes it."""
        start, by = line.tip, self.somebody()
        for _ in range(self.random.randint(2, 4)):
            self.act(line, by)
            if self.random.random() < 0.5:
                self.pass_time()
        made = self.since(start, line.tip)
        last = self.graph.commits[line.tip]
        if len(made) > 1 and self.tells(made):
            whole, end = line.files, line.tip
            line.back(start)
            if not self.put_whole(line, whole, "all in one\n", by.email, last.when):
                line.tip, line.files = end, dict(self.graph.commits[end].tree)

    def since(self, start: int, tip: int) -> list[int]:
        """The commits of the line since one of them, newest first."""
        line = self.graph.line(tip)
        return line[: line.index(start)]

    def put_whole(
        self,
        line: Line,
        whole: Mapping[str, bytes],
        message: str,
        email: str,
        when: datetime,
        committer: str | None = None,
    ) -> bool:
        """Whether all that leads to some files could be had as one commit, which is legal."""
        files = differing(line.files, whole)
        before = self.graph.states(line.tip)
        steps = [
            (_record(before[name][0][1]) if name in before else None, _record(state[0][1]))
            for name, state in states_of(whole).items()
            if before.get(name) != state
        ]
        return bool(files) and self.keeps(
            line, lambda: line.put(files, message, email, when, steps, committer=committer)
        )

    def keeps(self, line: Line, make: Callable[[], None]) -> bool:
        """Whether a commit on the line could be made and is legal; else it is taken back."""
        before = line.tip
        make()
        legal = self.graph.is_legal(line.tip)
        if not legal:
            line.back(before)
        return legal

    def tells(self, made: Sequence[int]) -> bool:
        """Whether the records themselves tell all that was done to each (design, section 9, *Squashes*)."""
        told: dict[str, list[str]] = {}
        reopened = set()
        for at in reversed(made):
            for old, new in self.graph.commits[at].steps:
                told.setdefault(new.escalation_id, []).append(_kind(old, new))
                reopened.add(new.reopens if old is None else None)
        # What is reopened is resolved at the parent.
        return not reopened & told.keys() and all(
            len(kinds) == 1 or set(kinds) <= {"raise", "claim", "note", "decide"} for kinds in told.values()
        )

    def compact(self, _: Line) -> None:
        """After a while an admin folds what the branch that makes archives has resolved in months that are over."""
        line = next(line for line in self.lines if ARCHIVES in line.own)
        self.settle(line)
        self.now += timedelta(days=self.random.choice((10, 40)))
        by = self.admin(line)
        members = [
            archive_file.Member(month, name, path, "", len(data))
            for path, data in line.files.items()
            if (month := layout.month_of(path))
            and archive_file.is_closed(month, self.now.replace(microsecond=0))
            if (name := layout.id_of(path)) in line.own and name is not None
        ]
        files: dict[str, bytes | None] = {}
        for batch in archive_file.batches(members, layout.last_archives(line.files)):
            archive, beside = layout.both(batch.name)
            files[archive] = archive_file.write(line.files[member.path] for member in batch.members)
            files[beside] = archive_file.write_ids(member.escalation_id for member in batch.members)
            files.update((member.path, None) for member in batch.members)
        if files:
            names = [member.escalation_id for member in members]
            message = str(Message("compact", names, actor(by.email, self.now, line.policies()).name))
            line.put(files, self.random.choice((message, message, "by hand\n")), by.email, self.now)

    def settle(self, line: Line) -> None:
        """Let who may deny some of what is open: chance alone seldom brings the right people together."""
        for name in self.some(self.names(line, "queued", "claimed")):
            for who in self.random.sample(PEOPLE, len(PEOPLE)):
                line.writer = Author(who.title(), self.random.choice(ADDRESSES[who]))
                with suppress(KtError):
                    store = self.desk(line)
                    store.claim_many([name])
                    store.resolve_many([name], "denied", "No.")
                    break

    def desk(self, line: Line) -> Store:
        """The desk for whoever writes, by a clock of their own."""
        now = self.clock()
        store = Store(_Port(line), clock=lambda: now)  # type: ignore[arg-type]
        # A history follows from its number alone, and so do the ids in it.
        store._session.random_bytes = self.random.randbytes
        return store

    def admin(self, line: Line) -> Author:
        """Somebody who is an admin on that branch."""
        return self.random.choice(
            [
                Author(who.title(), ADDRESSES[who][0])
                for who in PEOPLE
                if is_admin(actor(ADDRESSES[who][0], self.now, line.policies()))
            ]
        )

    def elsewhere(self, line: Line) -> None:
        """A commit that is none of the store's business, though it may hold what a store must not."""
        files: dict[str, bytes | None] = {}
        if self.random.random() < 0.7:
            name = f"{self.random.randrange(10**6)}"
            files = self.random.choice(
                (
                    {"src/main.py": f"# {self.random.random()}\n".encode()},
                    {f"src/{name}.py": b""},
                    {f"bin/{name}": b"#!/bin/sh\n"},
                    {f"links/{name}": b"../nowhere"},
                    {f"modules/{name}": b"1" * 40},
                )
            )
        line.put(files, "something else\n\nKt-Note: nothing\n", "mallory@example.com", self.clock())

    def keep(self, line: Line) -> None:
        """An empty `.gitkeep` in the queue, or none."""
        path = f"{layout.QUEUE}/.gitkeep"
        if path not in line.files:
            line.put({path: b""}, "keep the folder\n", self.somebody().email, self.clock())
        elif ROSTER in line.files or SETTINGS in line.files:
            line.put({path: None}, "not needed\n", self.somebody().email, self.clock())

    def policy(self, line: Line, by: Author | None = None) -> None:
        """Somebody changes policies: an admin, or on a side branch anybody for an admin to merge."""
        by = by or self.somebody()
        allowed = is_admin(actor(by.email, self.now, line.policies()))
        if not allowed and line is self.lines[0]:
            return
        path, text = self.random.choice(
            ((PACK, self.pack()), (SETTINGS, self.settings()), (ROSTER, self.roster()))
        )
        files: dict[str, bytes | None] = {path: text}
        if self.random.random() < 0.1 and PACK in line.files and len(line.policy_files()) > 1:
            files = {PACK: None}
        if all(line.files.get(p) == data for p, data in files.items()):
            return
        if allowed and self.random.random() < 0.2 and (name := self.a_note(line, by)) is not None:
            # One commit may do both: policies and a step that the old ones allow.
            files.update(name)
        steps = [
            (yaml_text.loads(line.files[p]), yaml_text.loads(data))
            for p, data in files.items()
            if data is not None and not is_policy(p)
        ]
        line.put(files, f"change {path}\n", by.email, self.now, steps)

    def a_note(self, line: Line, by: Author) -> dict[str, bytes | None] | None:
        """A record's file with a note more."""
        opened = self.names(line, "queued", "claimed")
        if not opened:
            return None
        path = layout.open_path(self.random.choice(opened))
        try:
            told = transitions.note(
                yaml_text.loads(line.files[path]), actor(by.email, self.now, line.policies()), "New rules"
            )
        except KtError:
            return None
        return {path: yaml_text.dumps(told)} if yaml_text.dumps(told) != line.files[path] else None

    # --- branches -----------------------------------------------------------------------------------

    def fork(self, line: Line) -> None:
        """A side branch, which takes some of the records for itself."""
        if len(self.lines) > 3:
            return
        mine = {name for name in sorted(line.own) if self.random.random() < 0.5}
        side = Line(self.graph, line.tip, line.files, mine)
        line.own -= mine
        self.lines.append(side)
        self.above[id(side)] = line

    def join(self, side: Line) -> None:
        """Bring a side branch back to the line that it came from."""
        if side is self.lines[0] or any(self.above.get(id(other)) is side for other in self.lines):
            return
        line = self.above[id(side)]
        if self.land(line, side):
            line.own |= side.own
            self.lines.remove(side)

    def request(self, line: Line) -> None:
        """One pull request or, for a merge queue, two; each of a few commits by one or two people."""
        queue = self.random.random() < 0.2
        sides = []
        for _ in range(2 if queue else 1):
            mine = set(self.some(sorted(line.own - {ARCHIVES}))) if line.own - {ARCHIVES} else set()
            line.own -= mine
            side = Line(self.graph, line.tip, line.files, mine)
            people = [self.somebody() for _ in range(self.random.choice((1, 1, 2)))]
            subject = self.random.choice(("records", "records", "policies", "both"))
            wanted, tries = self.random.randint(1, 4), 0
            while len(self.since(line.tip, side.tip)) < wanted and tries < 10:
                tries += 1
                by = self.random.choice(people)
                if subject == "policies" or (subject == "both" and self.random.random() < 0.4):
                    self.policy(side, by)
                else:
                    self.act(side, by)
                if self.random.random() < 0.3:
                    self.pass_time()
            sides.append(side)
        for _ in range(self.random.choice((0, 0, 1, 2))):
            self.random.choice((self.act, self.act, self.elsewhere, self.policy))(line)
            self.pass_time()
        for side in sides:
            if side.tip not in self.graph.ancestors(line.tip):
                self.land(line, side, "queue" if queue else None)
            # What was not merged is closed, and its records are the line's as they were.
            line.own |= side.own

    def land(self, line: Line, side: Line, how: str | None = None) -> bool:
        """Whether a branch could be brought into its line in one of the ways."""
        ways: dict[str, tuple[Callable[[Line, Line], bool], int]] = {
            "merge": (self.merge, 5), "update": (self.updated, 3), "squash": (self.squashed, 3),
            "rebase": (self.rebased, 3), "fast-forward": (self.forwarded, 2), "pick": (self.picked, 2),
            "turned": (self.turned, 1), "queue": (self.queued, 0),
        }  # fmt: skip
        how = how or self.random.choices(list(ways), [weight for _, weight in ways.values()])[0]
        done = ways[how][0](line, side)
        if done:
            self.methods.append(how)
        return done

    def merge(self, line: Line, side: Line, by: str | None = None) -> bool:
        """A merge commit, by anybody or by the forge; else by an admin, who vouches for policies."""
        if side.tip in self.graph.ancestors(line.tip):
            return True
        before = line.tip
        whole = self.three_way(line.tip, side.tip)
        someone = self.random.choice((FORGE, self.somebody().email))
        words = self.words(side.tip, before, whole)
        for email in (by or someone, self.admin(line).email):
            put = lambda email=email: line.put(  # noqa: E731 - it is made with each address
                differing(line.files, whole), words, email, self.clock(), others=(side.tip,)
            )
            if self.keeps(line, put):
                if self.is_for_anybody(before, side.tip, line.tip):
                    self.requests.append((before, side.tip, line.tip))
                return True
        return False

    def is_for_anybody(self, base: int, head: int, merged: int) -> bool:
        """Whether a request can be checked before anybody merges it: it is new, clean, and needs nobody's rights."""
        graph, seconds = self.graph, self.graph.commits[merged].seconds
        if graph.foul(base)[1] or not graph.has_store(base):
            return False
        for at in graph.ancestors(head) - graph.ancestors(base):
            commit = graph.commits[at]
            leases = [new.claim.expires_at for _, new in commit.steps if new.claim and new.claim.expires_at]
            if seconds - commit.seconds > PROPOSALS.total_seconds() or any(map(is_policy, commit.files)):
                return False
            if any(until.timestamp() < seconds + HASTE.total_seconds() for until in leases):
                return False
        return True

    def queued(self, line: Line, side: Line) -> bool:
        return self.merge(line, side, FORGE)

    def updated(self, line: Line, side: Line) -> bool:
        """Bring the branch up to date first, as the forge's button does."""
        return self.bring_up_to_date(line, side) and self.merge(line, side)

    def update(self, side: Line) -> None:
        """Bring a side branch up to date by merging its line into it."""
        if side is not self.lines[0]:
            self.bring_up_to_date(self.above[id(side)], side)

    def bring_up_to_date(self, line: Line, side: Line) -> bool:
        if line.tip in self.graph.ancestors(side.tip):
            return True
        whole = self.three_way(side.tip, line.tip)
        words = self.random.choice(("Merge branch 'main' into topic\n", "Go on from what is new\n"))
        by = self.somebody().email
        return self.keeps(
            side, lambda: side.put(differing(side.files, whole), words, by, self.clock(), others=(line.tip,))
        )

    def forwarded(self, line: Line, side: Line) -> bool:
        """The branch becomes the line, where the line has not moved."""
        blamed = self.graph.foul(side.tip)[1] - self.graph.foul(line.tip)[1]
        if line.tip not in self.graph.line(side.tip) or blamed:
            return False
        line.tip, line.files = side.tip, dict(side.files)
        return True

    def turned(self, line: Line, side: Line) -> bool:
        """`git pull` on the branch and a push of that: the line is what comes in."""
        before = side.tip
        return (self.bring_up_to_date(line, side) and self.forwarded_over(line, side)) or bool(
            side.back(before)
        )

    def forwarded_over(self, line: Line, side: Line) -> bool:
        if self.graph.foul(side.tip)[1]:
            return False
        line.tip, line.files = side.tip, dict(side.files)
        return True

    def squashed(self, line: Line, side: Line) -> bool:
        """All of the branch in one commit by its author, made by the forge."""
        made = self.brought(line, side)
        authors = {self.graph.commits[at].email for at in made}
        folded = any(layout.archive_at(path) for at in made for path in self.graph.commits[at].files)
        if len(authors) != 1 or folded or not self.tells(made):
            return False
        whole = self.three_way(line.tip, side.tip)
        self.pulls += 1
        words = f"A pull request (#{self.pulls})\n"
        there = (all(line.files.get(p) == d for p, d in self.graph.commits[at].files.items()) for at in made)
        if self.random.random() < 0.6 and not any(there):
            # As GitHub does where it is asked for the commits' messages. Of one that was picked before, the squash brings
            # nothing, so its message would say what it did not do (rule `message`).
            said = [self.graph.commits[at].message for at in reversed(made)]
            words += "".join(f"\n* {text}" for text in said)
        done = self.put_whole(line, whole, words, authors.pop(), self.now, FORGE)
        if done:
            self.left.append(side)
        return done

    def brought(self, line: Line, side: Line) -> list[int]:
        """The branch's own commits, newest first, without merges."""
        news = self.graph.ancestors(side.tip) - self.graph.ancestors(line.tip)
        return [at for at in sorted(news, reverse=True) if len(self.graph.commits[at].parents) == 1]

    def rebased(self, line: Line, side: Line) -> bool:
        """Each of the branch's commits anew on the line: the same author, another date and committer."""
        before = line.tip
        by = self.random.choice((FORGE, None))
        if all(self.pick(line, at, by) for at in reversed(self.brought(line, side))):
            self.left.append(side)
            return line.tip != before
        line.back(before)
        return False

    def pick(self, line: Line, at: int, by: str | None) -> bool:
        """Whether a commit could be made anew on the line as it is there."""
        commit, parent = self.graph.commits[at], self.graph.commits[self.graph.commits[at].parents[0]]
        if any(line.files.get(path) != parent.tree.get(path) for path in commit.files):
            return all(line.files.get(path) == data for path, data in commit.files.items())
        return self.keeps(
            line,
            lambda: line.put(
                commit.files,
                commit.message,
                commit.email,
                self.now,
                commit.steps,
                committer=by,
                authored=commit.authored or commit.seconds,
            ),
        )

    def picked(self, line: Line, side: Line) -> bool:
        """One commit of the branch is had early, by `git cherry-pick`; then the branch is merged."""
        made = self.brought(line, side)
        before = line.tip
        if not made or not self.pick(line, made[-1], None) or line.tip == before:
            return False
        self.pass_time()
        if not self.merge(line, side):
            self.left.append(side)
        return True

    def again(self, _: Line) -> None:
        """A branch that was squashed or rebased is merged all the same."""
        if self.left:
            self.methods.append("again")
            self.merge(self.lines[0], self.random.choice(self.left))

    def pull(self, line: Line) -> None:
        """Somebody who has only work elsewhere pulls, which merges, and pushes that."""
        local = Line(self.graph, line.tip, line.files, set())
        for _ in range(self.random.randint(1, 2)):
            self.elsewhere(local)
        for _ in range(self.random.randint(1, 2)):
            self.random.choice((self.act, self.act, self.elsewhere, self.policy))(line)
        if line.tip in self.graph.ancestors(local.tip):
            return
        whole = self.three_way(local.tip, line.tip)
        words = "Merge branch 'main' of git.example.com:store\n"
        local.put(
            differing(local.files, whole), words, "mallory@example.com", self.clock(), others=(line.tip,)
        )
        assert self.graph.line_parent(local.tip) == line.tip or self.graph.is_legal(local.tip)
        line.tip, line.files = local.tip, local.files
        self.methods.append("pull")

    def foreign(self, line: Line) -> None:
        """A merge of what is not the store's: two branches at once, or another history."""
        tips = []
        if self.random.random() < 0.5:
            seconds, name = int(self.now.timestamp()), f"vendor/{self.random.randrange(10**6)}"
            files = {name: b"theirs\n"}
            tips.append(self.graph.add(Commit((), "mallory@example.com", seconds, "theirs\n", files, files)))
        else:
            for _ in range(2):
                at = self.random.choice(self.graph.line(line.tip)[:6])
                other = Line(self.graph, at, self.graph.commits[at].tree, set())
                self.elsewhere(other)
                tips.append(other.tip)
        whole = dict(line.files)
        for tip in tips:
            news = self.graph.commits[tip]
            whole |= {path: data for path, data in news.files.items() if data is not None}
        by = self.random.choice((FORGE, self.somebody().email))
        line.put(differing(line.files, whole), "Merge theirs\n", by, self.clock(), others=tuple(tips))
        assert self.graph.is_legal(line.tip)
        self.methods.append("octopus" if len(tips) > 1 else "unrelated")

    # --- contents -----------------------------------------------------------------------------------

    def three_way(self, first: int, second: int) -> dict[str, bytes]:
        """What a merge has: what one of the two has changed; what both have, as the first or as chance has it."""
        common = self.graph.ancestors(first) & self.graph.ancestors(second)
        base = self.graph.commits[max(common)].tree if common else {}
        ours, theirs = self.graph.commits[first].tree, self.graph.commits[second].tree
        whole: dict[str, bytes] = {}
        for path in sorted({*base, *ours, *theirs}):
            was, here, there = base.get(path), ours.get(path), theirs.get(path)
            chosen = there if here == was else here
            if is_policy(path) and was != here != there != was:
                chosen = self.random.choice((here, there))
            if chosen is not None:
                whole[path] = chosen
        # To git a file that was compacted and squashed before is new: people leave it out (`git rm`).
        for name in archived(whole):
            whole = {path: data for path, data in whole.items() if layout.id_of(path) != name}
        # Of a record that both have moved, the first's path is the one that counts.
        for name, state in states_of(whole).items():
            if len(state) > 1:
                mine = dict(self.graph.state(first, name))
                for path, _ in state:
                    if path not in mine:
                        whole.pop(path, None)
        return whole

    def words(self, side: int, line: int, whole: Mapping[str, bytes] | None = None) -> str:
        """What a merge says: git's own words, a forge's, or the request's title."""
        self.pulls += 1
        last = self.graph.commits[side]
        title = last.message.partition("\n")[0]
        brought = (
            whole is not None
            and bool(last.steps)
            and all(
                states_of(whole).get(new.escalation_id)
                == self.graph.state(side, new.escalation_id)
                != self.graph.state(line, new.escalation_id)
                for _, new in last.steps
            )
        )
        return self.random.choice(
            (
                "Merge branch 'topic'\n",
                f"Merge pull request #{self.pulls} from example/topic\n\n{title}\n",
                f"{title} (#{self.pulls})\n" if brought else "Merge\n",
            )
        )


def differing(here: Mapping[str, bytes], there: Mapping[str, bytes]) -> dict[str, bytes | None]:
    """What has to be changed to get from some files to others."""
    return {path: there.get(path) for path in {*here, *there} if here.get(path) != there.get(path)}


def states_of(files: Mapping[str, bytes]) -> dict[str, State]:
    """The files of each escalation, as they were before anything was compacted."""
    found: dict[str, State] = {}
    for path, data in sorted(unfolded(files).items()):
        if (name := layout.id_of(path)) is not None:
            found[name] = (*found.get(name, ()), (path, data))
    return found


def _kind(old: Record | None, new: Record) -> str:
    """What a step was, as far as squashing asks."""
    if old is None:
        return "raise" if new.reopens is None else "reopen"
    if len(new.reviews) > len(old.reviews):
        return "decide"
    if new.route != old.route or new.resolution is not None or (old.claim and new.claim is None):
        return "other"
    if new.claim is not None and not new.claim.same_as(old.claim):
        return "claim"
    return "note" if len(new.notes) > len(old.notes) else "renew"


# --- into git -----------------------------------------------------------------------------------------

MODES = {"links": "120000", "bin": "100755", "modules": "160000"}


def write(histories: Iterable[History], repository: Path) -> dict[int, list[str]]:
    """Write histories into a repository by one `git fast-import`; the commits' ids by seed."""
    marks: dict[int, list[int]] = {}
    parts: list[bytes] = []
    count = 0
    for history in histories:
        mine = marks[history.seed] = []
        for commit in history.graph.commits:
            count += 1
            mine.append(count)
            if not commit.parents:
                parts.append(b"reset refs/heads/any\n\n")
            parts.append(_commit(commit, count, mine, history.root))
    exported = repository / "marks"
    subprocess.run(
        ["git", "fast-import", "--quiet", "--force", f"--export-marks={exported}"],
        cwd=repository,
        input=b"".join(parts),
        check=True,
        capture_output=True,
    )
    by_mark = dict(line.split() for line in exported.read_text().splitlines())
    return {seed: [by_mark[f":{mark}"] for mark in mine] for seed, mine in marks.items()}


def _commit(commit: Commit, mark: int, mine: Sequence[int], root: str) -> bytes:
    authored = commit.seconds if commit.authored is None else commit.authored
    message = commit.message.encode()
    lines = [
        f"commit refs/heads/any\nmark :{mark}\n"
        f"author Somebody <{commit.email}> {authored} +0000\n"
        f"committer Somebody <{commit.committer or commit.email}> {commit.seconds} +0000\n"
        f"data {len(message)}\n".encode(),
        message,
        b"\n",
    ]
    for at, parent in enumerate(commit.parents):
        lines.append(f"{'merge' if at else 'from'} :{mine[parent]}\n".encode())
    for path, data in commit.files.items():
        full = f"{root}/{path}" if root and in_store(path) and path != ROOT_FILE else path
        mode = MODES.get(path.partition("/")[0], "100644")
        if data is None:
            lines.append(f"D {full}\n".encode())
        elif mode == "160000":
            lines.append(f"M {mode} {data.decode()} {full}\n".encode())
        else:
            lines += [f"M {mode} inline {full}\ndata {len(data)}\n".encode(), data, b"\n"]
    lines.append(b"\n")
    return b"".join(lines)
