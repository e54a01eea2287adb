"""Random legal histories: graphs of commits that the desk itself makes, with branches and merges.

A history is made in memory from one number, the same one from the same number, and then written to
real git with thousands of others by one `git fast-import`. Side branches and the line that they fork
from touch different records, as people do who agree who does what, and one of them at a time makes
archives. A merge is left out where the line has since changed its policies so that a step of the side
would no longer be allowed on it: that one is not legal (design, section 9, *One line of states*).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha1
from pathlib import Path
from random import Random

from memory import Commit as Files
from memory import MemorySnapshot

from kt_escalation import KtError, Store, intake
from kt_escalation.core import compaction, ids, transitions, verify
from kt_escalation.core.model import Record
from kt_escalation.core.policies import Policies, assemble
from kt_escalation.core.rights import act, is_admin
from kt_escalation.core.words import CATEGORIES, DECISIONS, SEVERITIES
from kt_escalation.store import codec, layout
from kt_escalation.store.message import Message
from kt_escalation.store.port import Author, Change, Entry, Snapshot

PACK = "policies/policy-config.yaml"
ROSTER = "policies/roster.yaml"
SETTINGS = "policies/settings.yaml"
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


@dataclass(frozen=True)
class Commit:
    """One commit of the graph; files are what it changes against its first parent (None: removed)."""

    parents: tuple[int, ...]
    email: str
    seconds: int
    message: str
    files: Mapping[str, bytes | None]
    #: The records of it that changed, before and after, for replaying.
    steps: tuple[tuple[Record | None, Record], ...] = ()
    #: The tree id of `policies/` before it, and after it.
    policies: str | None = None
    after: str | None = None


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


def unfolded(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files as they were before anything was compacted."""
    found: dict[str, bytes] = {}
    for path, data in files.items():
        if layout.archive_at(path) is None:
            found[path] = data
        elif path.endswith(layout.SUFFIX):
            found.update(_files_in(data))
    return found


@lru_cache(1000)
def _files_in(archive: bytes) -> Mapping[str, bytes]:
    return {layout.path_of(codec.loads(data)): data for data in compaction.read(archive)}


def _oid(kind: str, data: bytes) -> bytes:
    return sha1(b"%s %d\0" % (kind.encode(), len(data)) + data, usedforsecurity=False).digest()


class _Snapshot(MemorySnapshot):
    """The files of a line, with the real id of the policies' tree."""

    def __init__(self, line: Line) -> None:
        super().__init__(Files(str(line.tip), unfolded(line.files), line.writer, ""))
        self._tree = tree_of(line.files)

    def policies(self) -> tuple[str | None, Mapping[str, object]]:
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
        #: Where this branch and the line that it came from were last the same, and the policies there.
        self.fork = tip
        self.shared = self.policy_files()
        #: Whether somebody who is no admin has changed policies here: an admin must merge it.
        self.pending = False
        #: Whether the line that it came from was merged into it.
        self.updated = False

    def policy_files(self) -> dict[str, bytes]:
        return {path: data for path, data in self.files.items() if is_policy(path)}

    def policies(self) -> Policies:
        return self.graph.assembled(self.files)

    @contextmanager
    def writing(self, timeout: float) -> Iterator[None]:
        yield

    @contextmanager
    def turn(self, lists: bool) -> Iterator[None]:
        yield

    def author(self) -> Author:
        return self.writer

    def read(self, rev: str | None = None) -> _Snapshot:
        return _Snapshot(self)

    def commit(
        self,
        base: Snapshot,
        changes: Sequence[Change],
        message: str,
        author: Author,
        when: datetime,
        timeout: float,
        others: Mapping[str, bytes | None],
    ) -> str:
        assert not others
        files: dict[str, bytes | None] = {}
        steps = []
        for change in changes:
            if change.old and change.old.path != layout.path_of(change.new):
                files[change.old.path] = None
            files[layout.path_of(change.new)] = codec.dumps(change.new)
            steps.append((change.old.record if change.old else None, change.new))
            self.own.add(change.new.escalation_id)
        self.put(files, message, author.email, when, steps)
        return str(self.tip)

    def put(
        self,
        files: Mapping[str, bytes | None],
        message: str,
        email: str,
        when: datetime,
        steps: Iterable[tuple[Record | None, Record]] = (),
        others: tuple[int, ...] = (),
    ) -> None:
        """A commit on this branch."""
        before, parents = tree_of(self.files), (self.tip, *others)
        for path, data in files.items():
            if data is None:
                self.files.pop(path, None)
            else:
                self.files[path] = data
        seconds, after = int(when.timestamp()), tree_of(self.files)
        made = Commit(parents, email, seconds, message, dict(files), tuple(steps), before, after)
        self.tip = self.graph.add(made)

    def blob_id(self, record: Record) -> str:
        return _oid("blob", codec.dumps(record)).hex()

    def contains(self, snapshot: Snapshot, commit: str) -> bool:
        return int(commit) in self.graph.ancestors(int(snapshot.revision))

    def follow(self, revision: str) -> str | None:
        return None


# The port's `tip` is a method and a branch's is a commit; the desk gets this face of it.
class _Port:
    def __init__(self, line: Line) -> None:
        self._line = line

    def __getattr__(self, name: str) -> object:
        return getattr(self._line, name)

    def tip(self, timeout: float) -> _Snapshot:
        return self._line.read()

    def guess(self, timeout: float) -> _Snapshot:
        return self._line.read()

    def confirm(self, snapshot: Snapshot, timeout: float) -> None:
        """One who writes alone always guesses right."""


class _Desk(Store):
    """The desk with claim ids that come from a history's own number."""

    random: Random

    def _nonce(self) -> str:
        return ids.ulid(self._clock(), self.random.randbytes(ids.ULID_RANDOM_BYTES))


@dataclass
class Graph:
    """All commits of one history."""

    commits: list[Commit] = field(default_factory=list)
    _assembled: dict[str | None, Policies] = field(default_factory=dict)

    def add(self, commit: Commit) -> int:
        self.commits.append(commit)
        return len(self.commits) - 1

    def ancestors(self, tip: int) -> set[int]:
        """The commit and all that it contains."""
        found: set[int] = set()
        waiting = [tip]
        while waiting:
            at = waiting.pop()
            if at not in found:
                found.add(at)
                waiting.extend(self.commits[at].parents)
        return found

    def first_line(self, tip: int) -> list[int]:
        """The first parents of a commit, newest first, itself included."""
        line = [tip]
        while self.commits[line[-1]].parents:
            line.append(self.commits[line[-1]].parents[0])
        return line

    def assembled(self, files: Mapping[str, bytes]) -> Policies:
        tree = tree_of(files)
        if tree not in self._assembled:
            read = {path: codec.policy_file(path, data) for path, data in files.items() if is_policy(path)}
            self._assembled[tree] = assemble(tree, read)
        return self._assembled[tree]

    def after(self, at: int) -> str | None:
        """The tree id of `policies/` at a commit."""
        return self.commits[at].after


@dataclass
class History:
    """A legal history: its commits, and the newest of them."""

    seed: int
    graph: Graph
    tip: int
    #: A time by which everything in it has happened.
    now: datetime


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

    def run(self) -> History:
        main = self.begin()
        self.lines = [main]
        self.above: dict[int, Line] = {}
        for _ in range(self.random.randint(6, 40)):
            self.pass_time()
            line = self.random.choice(self.lines)
            whats: list[tuple[Callable[[Line], object], int]] = [
                (self.act, 20), (self.squash, 3), (self.policy, 3), (self.elsewhere, 1), (self.fork, 6),
                (self.join, 3), (self.update, 3), (self.compact, 3),
            ]  # fmt: skip
            what = self.random.choices([w for w, _ in whats], [n for _, n in whats])[0]
            what(line)
        for line in list(self.lines[1:]):
            if self.random.random() < 0.8:
                self.pass_time()
                self.join(line)
        return History(self.seed, self.graph, main.tip, self.now + timedelta(seconds=self.tolerance + 1))

    # --- how it begins ------------------------------------------------------------------------------

    def begin(self) -> Line:
        files: dict[str, bytes] = {}
        if self.random.random() < 0.9:
            files[PACK] = self.pack()
        if self.random.random() < 0.8:
            files[SETTINGS] = self.settings()
        if self.random.random() < 0.6:
            files[ROSTER] = self.roster()
        seconds = int(self.now.timestamp())
        first = Commit((), "boss@example.com", seconds, "A repository\n", {"README.md": b"Hello\n"})
        if not files or self.random.random() < 0.3:
            line = Line(self.graph, self.graph.add(first), {}, {ARCHIVES})
            if not files:
                files = {PACK: self.pack()}
            line.put(files, "A store in it\n", "alice@example.com", self.now)
        else:
            at = self.graph.add(replace(first, files=files, after=tree_of(files)))
            line = Line(self.graph, at, files, {ARCHIVES})
        line.shared = line.policy_files()
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
                status = codec.loads(data).status
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
                    "request_id": self.request(),
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
                "request_id": self.request(),
                "reason_code": "oversight.required",
                "severity": self.random.choice(SEVERITIES),
                "model": self.random.choice(MODELS),
            }
            if self.random.random() < 0.2:
                del keys["request_id"]
                keys["escalation_id"] = f"esc_{ids.ulid(self.now, self.random.randbytes(10))}"
            items.append((number + 1, intake.from_keys(keys)))
        store.raise_many(items)

    def request(self) -> str:
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
                store.renew(chosen)
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
        record = codec.loads(line.files[layout.open_path(name)])
        who = act(line.writer.email, self.now, line.policies())
        return record.claim is not None and who.is_me(record.claim.claimed_by)

    def govern(self, line: Line, store: Store) -> None:
        kind = self.random.choice(("assign", "assign", "reopen", "reopen", "sweep", "sweep"))
        opened, resolved = self.names(line, "queued", "claimed"), self.names(line, "resolved")
        if kind == "assign" and opened:
            user = self.random.choice((None, "alice", "bob@example.com", "carol", "dave@example.com"))
            team = self.random.choice(("legal", "security")) if user is None else None
            store.assign(self.some(opened), "better there", user=user, team=team)
        elif kind == "reopen" and resolved:
            store.reopen(self.random.choice(resolved), "It was wrong")
        elif kind == "sweep" and self.is_alone(line):
            store.sweep()

    def is_alone(self, line: Line) -> bool:
        """Whether all that is open is this branch's own: a sweep takes whatever is due."""
        names = {layout.id_of(path) for path in line.files if path.startswith(f"{layout.QUEUE}/")} - {None}
        return names <= line.own

    def squash(self, line: Line) -> None:
        """Several steps of one person's in one commit."""
        start, before, by = line.tip, dict(line.files), self.somebody()
        for _ in range(self.random.randint(2, 4)):
            self.act(line, by)
            if self.random.random() < 0.5:
                self.pass_time()
        made = [at for at in self.graph.first_line(line.tip) if at > start]
        if len(made) < 2 or not self.tells(made, line.policies()):
            return
        files: dict[str, bytes | None] = {
            path: line.files.get(path)
            for path in {*before, *line.files}
            if before.get(path) != line.files.get(path)
        }
        if not files:
            return
        last = self.graph.commits[line.tip]
        for _ in made:
            self.graph.commits.pop()
        line.tip, line.files = start, before
        first: dict[str, Record | None] = {}
        steps: dict[str, Record] = {}
        for path, data in sorted(before.items()):
            if (name := layout.id_of(path)) is not None:
                first[name] = codec.loads(data)
        for path, data in sorted(files.items()):
            name = layout.id_of(path)
            if name is not None and data is not None:
                steps[name] = codec.loads(data)
        pairs = [(first.get(name), after) for name, after in steps.items()]
        line.put(files, "all in one\n", by.email, datetime.fromtimestamp(last.seconds, UTC), pairs)

    def tells(self, made: Sequence[int], policies: Policies) -> bool:
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
            compaction.Member(month, name, path, "", len(data))
            for path, data in line.files.items()
            if (month := layout.month_of(path))
            and compaction.is_closed(month, self.now.replace(microsecond=0))
            if (name := layout.id_of(path)) in line.own and name is not None
        ]
        files: dict[str, bytes | None] = {}
        for batch in compaction.batches(members, layout.last_archives(line.files)):
            archive, beside = layout.both(batch.name)
            files[archive] = compaction.write(line.files[member.path] for member in batch.members)
            files[beside] = compaction.write_ids(member.escalation_id for member in batch.members)
            files.update((member.path, None) for member in batch.members)
        if files:
            names = [member.escalation_id for member in members]
            message = str(Message("compact", names, act(by.email, self.now, line.policies()).actor))
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
        store = _Desk(_Port(line), clock=lambda: now)  # type: ignore[arg-type]
        store.random = self.random
        return store

    def admin(self, line: Line) -> Author:
        """Somebody who is an admin on that branch."""
        return self.random.choice(
            [
                Author(who.title(), ADDRESSES[who][0])
                for who in PEOPLE
                if is_admin(act(ADDRESSES[who][0], self.now, line.policies()))
            ]
        )

    def elsewhere(self, line: Line) -> None:
        """A commit that is none of the store's business."""
        files = {} if self.random.random() < 0.3 else {"src/main.py": f"# {self.random.random()}\n".encode()}
        line.put(files, "something else\n\nKt-Note: nothing\n", "mallory@example.com", self.clock())

    def policy(self, line: Line) -> None:
        """Somebody changes policies: an admin, or on a side branch anybody for an admin to merge."""
        by = self.somebody()
        allowed = is_admin(act(by.email, self.now, line.policies()))
        if not allowed and line is self.lines[0]:
            return
        path, text = self.random.choice(
            ((PACK, self.pack()), (SETTINGS, self.settings()), (ROSTER, self.roster()))
        )
        files: dict[str, bytes | None] = {path: text}
        if self.random.random() < 0.1 and path in line.files and len(line.policy_files()) > 1:
            files = {path: None}
        if all(line.files.get(p) == data for p, data in files.items()):
            return
        if allowed and self.random.random() < 0.2 and (name := self.a_note(line, by)) is not None:
            # One commit may do both: policies and a step that the old ones allow.
            files.update(name)
        line.pending = line.pending or not allowed
        steps = [
            (codec.loads(line.files[p]), codec.loads(data))
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
                codec.loads(line.files[path]), act(by.email, self.now, line.policies()), "New rules"
            )
        except KtError:
            return None
        return {path: codec.dumps(told)} if codec.dumps(told) != line.files[path] else None

    # --- branches -----------------------------------------------------------------------------------

    def fork(self, line: Line) -> None:
        """A side branch, which takes some of the records for itself."""
        if len(self.lines) > 3 or line.pending:
            return
        mine = {name for name in sorted(line.own) if self.random.random() < 0.5}
        side = Line(self.graph, line.tip, line.files, mine)
        line.own -= mine
        self.lines.append(side)
        self.above[id(side)] = line

    def join(self, side: Line) -> None:
        """Merge a side branch into the line that it came from, or the line into it, or fast-forward."""
        if side is self.lines[0] or any(self.above.get(id(other)) is side for other in self.lines):
            return
        line = self.above[id(side)]
        straight = line.tip in self.graph.first_line(side.tip)
        if straight and not side.pending and self.random.random() < 0.5:
            line.tip, line.files = side.tip, dict(side.files)
        elif not self.merge(line, side):
            return
        line.own |= side.own
        self.lines.remove(side)

    def merge(self, line: Line, side: Line) -> bool:
        """Whether a merge was made: by whom it takes, and only if its steps are legal on the line as well."""
        if side.tip in self.graph.ancestors(line.tip):
            return True
        ours, theirs = line.policy_files(), side.policy_files()
        changed = [ours != side.shared, theirs != side.shared]
        news = self.graph.ancestors(side.tip) - self.graph.ancestors(line.tip)
        if not all(self.is_legal_on(line, at) for at in news):
            return False
        by = self.somebody()
        if side.pending or (all(changed) and ours != theirs):
            by = self.admin(line)
        files: dict[str, bytes | None] = {}
        for path in sorted({*line.files, *side.files}):
            name = layout.id_of(path)
            if is_policy(path) or path.startswith("src/"):
                continue
            if layout.archive_at(path) and path not in line.files:
                files[path] = side.files[path]
            if name is None or name not in side.own or line.files.get(path) == side.files.get(path):
                continue
            files[path] = side.files.get(path)
        for path in sorted({*ours, *theirs}):
            was, here, there = side.shared.get(path), ours.get(path), theirs.get(path)
            chosen = there if here == was else here if there == was else self.random.choice((here, there))
            if chosen != here:
                files[path] = chosen
        if not {**ours, **{p: d for p, d in files.items() if is_policy(p)}} and not ours:
            return False
        clean = not any(changed) and all(
            self.is_legal_on(side, at)
            for at in self.graph.ancestors(line.tip) - self.graph.ancestors(side.tip)
        )
        if clean and not side.pending and not side.updated and self.random.random() < 0.2:
            # The other way round, as `git pull` makes it: the line is what comes in.
            whole: dict[str, bytes] = {**line.files}
            for path, data in files.items():
                if data is None:
                    whole.pop(path, None)
                else:
                    whole[path] = data
            turned: dict[str, bytes | None] = {
                path: whole.get(path)
                for path in {*whole, *side.files}
                if whole.get(path) != side.files.get(path)
            }
            main = line.tip
            side.put(turned, "Merge the line into the branch\n", by.email, self.clock(), others=(main,))
            line.tip, line.files = side.tip, dict(side.files)
            return True
        line.put(files, "Merge a branch\n", by.email, self.clock(), others=(side.tip,))
        return True

    def is_legal_on(self, line: Line, at: int) -> bool:
        """Whether a commit's steps are legal by the policies of another line."""
        commit, there = self.graph.commits[at], line.policies()
        if commit.policies == there.tree:
            return True
        if len(commit.parents) == 1 and any(map(layout.archive_at, commit.files)):
            return is_admin(act(commit.email, datetime.fromtimestamp(commit.seconds, UTC), there))
        for old, new in commit.steps:
            email, moment = commit.email, datetime.fromtimestamp(commit.seconds, UTC)
            origin = self.record(line, new.reopens) or None
            deciders = tuple(review.reviewer for review in origin.reviews) if origin else ()
            told = verify.Context(email, moment, replace(there, tree=new.route.policies), deciders, origin)
            if verify.judge(old, new, told):
                return False
        return True

    def record(self, line: Line, name: str | None) -> Record | None:
        found = _Snapshot(line).find(name) if name is not None else None
        return found.record if isinstance(found, Entry) else None

    def kept(self, side: Line) -> set[str]:
        """The escalations that a branch and those that forked off it have for themselves."""
        below = [other for other in self.lines if self.above.get(id(other)) is side]
        return side.own.union(*(self.kept(other) for other in below))

    def update(self, side: Line) -> None:
        """Bring a side branch up to date by merging its line into it."""
        if side is self.lines[0]:
            return
        line = self.above[id(side)]
        if line.tip in self.graph.ancestors(side.tip) or line.pending:
            return
        ours, theirs = side.policy_files(), line.policy_files()
        if ours != side.shared and theirs != side.shared:
            return
        kept = self.kept(side)
        files = {
            path: line.files.get(path)
            for path in {*side.files, *line.files}
            if layout.id_of(path) not in kept
            and not is_policy(path)
            and not path.startswith("src/")
            and not (layout.archive_at(path) and path not in line.files)
            and line.files.get(path) != side.files.get(path)
        }
        if theirs != side.shared:
            files.update({p: theirs.get(p) for p in {*ours, *theirs} if ours.get(p) != theirs.get(p)})
        side.put(
            files, "Merge the line into the branch\n", self.somebody().email, self.clock(), others=(line.tip,)
        )
        side.fork, side.shared, side.updated = line.tip, theirs, True


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


def write(histories: Iterable[History], repository: Path) -> dict[int, list[str]]:
    """Write histories into a repository by one `git fast-import`; the commits' ids by seed."""
    marks: dict[int, list[int]] = {}
    parts: list[bytes] = []
    count = 0
    for history in histories:
        mine = marks[history.seed] = []
        parts.append(b"reset refs/heads/any\n\n")
        for commit in history.graph.commits:
            count += 1
            mine.append(count)
            parts.append(_commit(commit, count, mine))
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


def _commit(commit: Commit, mark: int, mine: Sequence[int]) -> bytes:
    who = f"Somebody <{commit.email}> {commit.seconds} +0000"
    message = commit.message.encode()
    lines = [
        f"commit refs/heads/any\nmark :{mark}\nauthor {who}\ncommitter {who}\ndata {len(message)}\n".encode(),
        message,
        b"\n",
    ]
    for at, parent in enumerate(commit.parents):
        lines.append(f"{'merge' if at else 'from'} :{mine[parent]}\n".encode())
    for path, data in commit.files.items():
        if data is None:
            lines.append(f"D {path}\n".encode())
        else:
            lines += [f"M 100644 inline {path}\ndata {len(data)}\n".encode(), data, b"\n"]
    lines.append(b"\n")
    return b"".join(lines)
