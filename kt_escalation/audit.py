"""The use cases of who checks: is every step in a stretch of history legal (design, section 9)?

One judge says what one step contains (`core.verify`); here each commit of the graph is laid before it,
with the policies at its parent, and what only the graph can tell is told: forks, merges that drop or
invent, side branches whose rights were lost meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice

from . import lookup
from .core import compaction, rights, signatures, story, verify
from .core.compaction import Folding
from .core.model import Record
from .core.policies import Policies, assemble
from .core.policies_file import OURS, WAIVERS
from .core.roster import Roster, person
from .core.times import format_time
from .core.verify import Context, Violation
from .core.words import MAX_BYTES
from .errors import NotAllowed, NotAStore
from .store import codec, folding, graph, layout
from .store.gitstore import GitStore
from .store.graph import Change, Commit
from .store.message import MAX_NAMED
from .store.objects import REQUESTS_AT_ONCE, Object
from .store.port import Entry, Progress
from .store.snapshot import GitSnapshot

_PLAIN = "100644"
_NOT_CANONICAL = "is not in canonical form"
_QUEUE_FILES, _POLICY_FILES = f"{layout.QUEUE}/", f"{layout.POLICIES}/"


@dataclass(frozen=True)
class Offence:
    """A violation where it happened; ``expected`` is a sentence of what is wrong and was expected."""

    commit: str
    author: str
    path: str
    rule: str
    expected: str
    escalation_id: str | None = None


@dataclass
class Tally:
    """What was looked at."""

    commits: int = 0
    steps: int = 0
    imported: int = 0
    #: Commits that did something: signed as required, signed though nobody asked, not signed.
    held: int = 0
    unasked: int = 0
    unsigned: int = 0
    people: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Standard:
    """What steps are judged by besides the policies at their parents: a base's policies and our own clock.

    For a pull request or a push: what its base says counts, and nothing may come from the future.
    """

    policies: Policies
    now: datetime


@dataclass(frozen=True, slots=True)
class _Content:
    """What a blob holds: a record or what is wrong with it, and the digest of what it shows, if known."""

    record: Record | None
    problem: str | None
    shown: str | None = None


@dataclass(frozen=True, slots=True)
class _State:
    """One side of a step: the file, and the record in it or what is wrong with it."""

    path: str
    mode: str
    oid: str
    record: Record | None
    problem: str | None
    shown: str | None = None


_Step = tuple[str, _State | None, _State | None]

#: The legal states of a record, oldest first, up to a commit; `lifeline` tells them.
Former = Callable[[str, str], Sequence[Record]]


@dataclass(frozen=True)
class Only:
    """The one record that is looked at, and where it can be, as git's pathspecs; ``merged`` if merges touch it."""

    escalation_id: str
    paths: Sequence[str]
    merged: bool


@dataclass(frozen=True, slots=True)
class _Asked:
    """A commit whose signature is asked for, and by which policies; ``counts`` if the tally shows it."""

    commit: Commit
    newest_before: datetime
    policies: tuple[Policies, ...]
    counts: bool = True


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_NOTHING: frozenset[str] = frozenset()
# So many commits are read from git ahead of the judging.
_AT_ONCE = 200
# Contents that may come up again, as the state before the next step; at most this many.
_REMEMBERED = 4_000
# Signatures are checked by so many commits at a time.
_SIGNATURES_AT_ONCE = 500


class Audit:
    """Judges the commits of one store that revisions name (`tip`, `^base`), in one pass, parents first.

    What has been judged is forgotten, so memory does not grow with history; only between a fork and its
    merge are the states of records kept, and only there can two commits take one state to different ones.
    """

    def __init__(
        self,
        store: GitStore,
        revisions: Sequence[str],
        base: str | None = None,
        *,
        former: Former,
        standard: Standard | None = None,
        always_signed: bool = False,
        only: Only | None = None,
    ) -> None:
        self._store = store
        self._former = former
        self._only = only
        self._tip = next(revision for revision in revisions if not revision.startswith("^"))
        self._until = [revision for revision in revisions if revision.startswith("^")]
        self._standard = standard
        self._always_signed = always_signed
        # What was there before the commits that are judged; nothing, where they begin the history.
        self._base = self._snapshot(base) if base is not None else None
        self._shape = graph.NO_SHAPE if only else graph.shape(store, revisions)
        self._signatures = iter(()) if only else store.repository.signed(revisions)
        # The commits so far that carry a signature.
        self._signed: set[str] = set()
        self.tally = Tally()
        self._contents: dict[str, _Content] = {}
        # The policies as they are written, by their tree.
        self._written: dict[str | None, Policies] = {}
        # The policies that count, and whether there is a store, at commits whose children are still to come.
        self._policies: dict[str, Policies] = {}
        self._stores: dict[str, bool] = {}
        # Between a fork and its merge, the line of states of each record: what each became, and where.
        self._next: dict[tuple[str, str | None], tuple[str | None, str]] = {}
        self._forked = only is not None and only.merged
        # Hashes of the names that have been born: a number each, whatever the names are.
        self._born: set[int] = set()
        # The same of those that are in an archive.
        self._archived: set[int] = set()
        self._guilty: set[tuple[str, str]] = set()
        # Policy changes by who was no admin, until a merge by one brings them in.
        self._pending: dict[str, list[Offence]] = {}
        self._unchecked: list[_Asked] = []
        # The latest date among each commit and what it contains, and what lies before all that is judged here,
        # of which git is asked only for the sake of a signature.
        self._newest: dict[str, tuple[datetime, frozenset[str]]] = {}
        self._older: dict[str, datetime] = {}
        # Merges that are not on the tip's first-parent line, until one on it brings them there.
        self._merges: dict[str, Commit] = {}
        self._starts: list[Commit] = []
        #: The commits that change what is waived, parents first.
        self.waiving: dict[str, None] = {}

    @property
    def after(self) -> str | None:
        """The commit that those to be judged follow in a single line, None where they are none."""
        return self._shape.after

    def know(self, commits: Iterable[Commit]) -> None:
        """Take the steps of commits as they are, parents before children: what the judged ones build on."""
        for commit in commits:
            for name, olds, news in _files_of(commit):
                was, became = olds[0].old if olds else None, news[0].new if news else None
                self._next[(name, was)] = (became, commit.oid)

    def judge(self, commits: Iterable[Commit], progress: Progress | None = None) -> Iterator[Offence]:
        """The violations of the commits, which are those that the revisions name."""
        for some in self._learned(commits):
            for commit in some:
                self.tally.commits += 1
                self._look_for_signature(commit)
                self._forked |= commit.oid in self._shape.starts
                yield from self._one(commit)
                self._pass_on(commit)
            if len(self._unchecked) >= _SIGNATURES_AT_ONCE:
                yield from self._check_signatures()
            if progress is not None:
                progress("judging commits", self.tally.commits, self._shape.count)
        yield from self._check_signatures()
        yield from self._other_starts()
        for offences in self._pending.values():
            yield from offences

    def began_with(self, commit: Commit) -> bool:
        """Whether there was no store before a commit that has been judged."""
        return any(start.oid == commit.oid for start in self._starts)

    def life(self, commits: Iterable[Commit]) -> Iterator[tuple[Commit, Sequence[Offence]]]:
        """Each of the commits that touch the ``only`` record, with what it did wrong to that one."""
        for commit in commits:
            yield commit, [*self._one(commit), *self._check_signatures()]

    def _one(self, commit: Commit) -> Iterator[Offence]:
        if len(commit.parents) > 1:
            yield from self._merge(commit)
        elif commit.changes:
            yield from self._plain(commit)

    def _pass_on(self, commit: Commit) -> None:
        """Keep what the children of this commit need to know, and nothing else."""
        policies, is_store = self._policies_after(commit), self._is_store_after(commit)
        if commit.oid in self._shape.ends:
            self._forked = False
            self._next.clear()
            self._merges.clear()
        newest, older = self._before(commit)
        if not self._forked:
            self._policies.clear()
            self._stores.clear()
            self._newest.clear()
        self._policies[commit.oid], self._stores[commit.oid] = policies, is_store
        self._newest[commit.oid] = max(newest, commit.committed_at), older

    def _before(self, commit: Commit) -> tuple[datetime, frozenset[str]]:
        """The latest date among those judged here that a commit builds on, and what it builds on besides."""
        newest, older = commit.committed_at if not commit.parents else _LONG_AGO, _NOTHING
        for parent in commit.parents:
            date, before = self._newest.get(parent) or (_LONG_AGO, frozenset({parent}))
            newest, older = max(newest, date), older | before
        return newest, older

    def _newest_before(self, commit: Commit) -> datetime:
        """The latest date among all that a commit builds on."""
        newest, older = self._before(commit)
        for parent in older:
            if parent not in self._older:
                self._older[parent] = graph.newest(self._store, parent)
            newest = max(newest, self._older[parent])
        return newest

    # --- one commit -------------------------------------------------------------------------------

    def _plain(self, commit: Commit) -> Iterator[Offence]:
        parent = commit.parents[0] if commit.parents else None
        if parent is None or not self._is_store(parent):
            yield from self._imported_archives(commit)
            for name, _, news in self._by_record(commit):
                self.tally.imported += len(news)
                yield from self._imported(commit, name, news)
            yield from self._policies_written(commit, Policies(), commit.changes)
            self._starts.append(commit)
            self.waiving[commit.oid] = None
            return
        if any(change.path.startswith(_POLICY_FILES) for change in commit.changes):
            yield from self._policy_change(commit, parent)
        policies = self.policies(parent)
        taken: list[_Step] = []
        names: list[str] = []
        whole = commit
        if graph.touches_archives(commit):
            commit = yield from self._archives(commit, policies, names)
        for name, olds, news in self._by_record(commit):
            names.append(name)
            yield from self._step(commit, policies, name, olds, news, taken)
        self.tally.people.add(rights.known_as(commit.email, policies.roster))
        self._ask(whole, policies, *([self._standard.policies] if self._standard else []))
        yield from self._foreign(commit, commit.changes)
        yield from self._trailers(commit, names, taken, policies.roster)
        if self._standard is not None:
            yield from self._by_standard(commit, taken, self._standard)

    def _by_record(self, commit: Commit) -> Iterator[tuple[str, list[_State], list[_State]]]:
        for name, olds, news in _files_of(commit):
            if self._only and name != self._only.escalation_id:
                continue
            yield (
                name,
                [self._state(change.path, change.old_mode, change.old or "") for change in olds],
                [self._state(change.path, change.new_mode, change.new or "") for change in news],
            )

    def _learned(self, commits: Iterable[Commit]) -> Iterator[Sequence[Commit]]:
        """The commits, some at a time, once it is known what their files hold; git reads on while they are judged."""
        coming = iter(commits)
        blobs = self._store.repository.reader()
        try:
            # The first are asked for like anything else: often there are no more.
            some = list(islice(coming, _AT_ONCE))
            wanted = self._wanted(some)
            asking = iter([self._store.repository.objects.get(wanted[:REQUESTS_AT_ONCE], MAX_BYTES)])
            while some:
                found = next(asking)
                found += self._store.repository.objects.get(wanted[REQUESTS_AT_ONCE:], MAX_BYTES)
                following = list(islice(coming, _AT_ONCE))
                more = self._wanted(following, besides=frozenset(wanted))
                asking = blobs.asking(more[:REQUESTS_AT_ONCE], MAX_BYTES)
                next(asking)
                known = self._contents
                if len(known) > _REMEMBERED:
                    # What was read last is what comes up again; the rest may be read anew.
                    known = dict(islice(known.items(), len(known) - _REMEMBERED // 2, None))
                known.update(zip(wanted, map(_content, found), strict=True))
                self._contents = known
                next(asking)
                yield some
                some, wanted = following, more
        finally:
            blobs.close()

    def _wanted(self, commits: Sequence[Commit], besides: Container[str] = ()) -> list[str]:
        """The files of some commits that are not known yet, ``besides`` those that are being read."""
        oids = {
            oid: None
            for commit in commits
            # What a compaction deletes is compared by its id alone.
            if not graph.touches_archives(commit)
            for change in commit.changes
            if change.path.startswith(_QUEUE_FILES) and layout.id_of(change.path)
            for oid in (change.old, change.new)
            if oid is not None and oid not in self._contents and oid not in besides
        }
        return list(oids)

    def _state(self, path: str, mode: str, oid: str) -> _State:
        if mode != _PLAIN:
            return _State(path, mode, oid, None, f"is no plain file (mode {mode})")
        if oid not in self._contents:
            [found] = self._store.repository.objects.get([oid], largest=MAX_BYTES)
            self._contents[oid] = _content(found)
        content = self._contents[oid]
        wrong = content.problem
        if content.record is not None:
            wrong = layout.misplaced(content.record, path) or wrong
        return _State(path, mode, oid, content.record, wrong, content.shown)

    def _imported(self, commit: Commit, name: str, news: Sequence[_State]) -> Iterator[Offence]:
        for state in news:
            if state.problem:
                yield self._offence(commit, state.path, "file", f"expected a record: {state.problem}", name)
        if news:
            self._born.add(hash(name))
            if self._forked:
                self._next[(name, None)] = (news[0].oid, commit.oid)

    def _step(
        self,
        commit: Commit,
        policies: Policies,
        name: str,
        olds: Sequence[_State],
        news: Sequence[_State],
        taken: list[_Step],
    ) -> Iterator[Offence]:
        """Judge what a commit does to one record; a legal step joins those that were ``taken``."""
        self.tally.steps += 1
        found = list(self._wrongs(commit, policies, name, olds, news))
        old, new = olds[0] if olds else None, news[0] if news else None
        if old is None:
            self._born.add(hash(name))
        if not found:
            taken.append((name, old, new))
        elif self._is_restored(commit, policies, name, olds, news):
            # The line goes on from there: what had been made of that state is undone.
            became = new.oid if new else None
            self._next.pop((name, became), None)
            self._next[(name, old.oid if old else None)] = (became, commit.oid)
        else:
            self._guilty.add((commit.oid, name))
            yield from found

    def _wrongs(
        self,
        commit: Commit,
        policies: Policies,
        name: str,
        olds: Sequence[_State],
        news: Sequence[_State],
    ) -> Iterator[Offence]:
        """What is wrong with a step, if it is no restoration."""
        if news and not olds and self._is_archived(commit.parents[0], name):
            yield self._offence(
                commit, news[0].path, "twice", f"expected {name} in its archive, and nowhere else", name
            )
            return
        old = olds[0] if olds else None
        new = news[0] if news else None
        where = (new or old or _NOWHERE).path
        if len(news) > 1 or (new is not None and old is None and self._exists(name)):
            yield self._offence(commit, where, "twice", f"expected one file for {name}", name)
            return
        if self._forked:
            yield from self._line(commit, name, where, old, new)
        if new is not None and new.problem:
            rule = "canonical" if new.problem is _NOT_CANONICAL else "file"
            yield self._offence(
                commit, where, rule, f"expected a record where it belongs: {new.problem}", name
            )
            return
        if old is not None and old.record is None:
            if new is not None:
                expected = "expected a former legal state of it, by an admin (`kt escalation restore`)"
                yield self._offence(commit, where, "restore", expected, name)
            return
        told = self._context(commit, policies, old, new)
        for violation in verify.judge(old.record if old else None, new.record if new else None, told):
            yield self._offence(commit, where, violation.rule, violation.expected, name)

    def _line(
        self, commit: Commit, name: str, where: str, old: _State | None, new: _State | None
    ) -> Iterator[Offence]:
        """One line of states: nothing may take the same state to a different one."""
        key = (name, old.oid if old else None)
        became = new.oid if new else None
        known = self._next.setdefault(key, (became, commit.oid))
        if known[0] != became:
            yield self._offence(
                commit, where, "fork", f"expected what commit {known[1][:12]} made of the same state", name
            )

    def _is_restored(
        self, commit: Commit, policies: Policies, name: str, olds: Sequence[_State], news: Sequence[_State]
    ) -> bool:
        """Whether an admin brought a record back to a state that was legal once (section 9, *The way back*)."""
        if len(news) != 1 or news[0].problem or not commit.parents:
            return False
        if not rights.is_admin(rights.act(commit.email, commit.committed_at, policies)):
            return False
        legal = self._former(commit.parents[0], name)
        if not olds and self._is_archived(commit.parents[0], name):
            return False
        broken = not olds or any(old.problem or old.record not in legal for old in olds)
        return broken and news[0].record in legal

    def _context(self, commit: Commit, policies: Policies, old: _State | None, new: _State | None) -> Context:
        shown = old.shown if old else None
        record = new.record if new else None
        if record is None or record.reopens is None:
            return Context(commit.email, commit.committed_at, policies, shown=shown)
        parent = commit.parents[0]
        origin = self._record_at(parent, record.reopens)
        deciders = tuple(review.reviewer for review in origin.reviews) if origin else ()
        snapshot = self._snapshot(parent)
        again = lookup.open_reopener(snapshot, record.reopens) if snapshot else None
        return Context(commit.email, commit.committed_at, policies, deciders, origin, again, shown)

    def _by_standard(
        self,
        commit: Commit,
        taken: Sequence[_Step],
        standard: Standard,
    ) -> Iterator[Offence]:
        policies, now = standard.policies, standard.now
        tolerance = policies.settings.claims.clock_tolerance
        if commit.committed_at - now > tolerance:
            expected = f"expected a commit no later than now, {format_time(now)}; it is of {format_time(commit.committed_at)}"
            yield self._offence(commit, layout.QUEUE, "time", expected)
        same = self.policies(commit.parents[0]).tree == policies.tree
        for name, old, new in taken:
            if new is None or new.record is None:
                continue
            if new.record.last_time - now > tolerance:
                expected = f"expected no time later than now, {format_time(now)}; the last is {format_time(new.record.last_time)}"
                yield self._offence(commit, new.path, "time", expected, name)
            if not same:
                for violation in self._judged_by(policies, old, new, commit):
                    expected = f"by the policies of the base: {violation.expected}"
                    yield self._offence(commit, new.path, violation.rule, expected, name)

    def _judged_by(
        self, policies: Policies, old: _State | None, new: _State, step: Commit
    ) -> tuple[Violation, ...]:
        """A step judged by other policies; where a birth was routed from counts as it says."""
        there = replace(policies, tree=new.record.route.policies if new.record else None)
        told = self._context(step, there, old, new)
        return verify.judge(old.record if old else None, new.record, told)

    def _foreign(self, commit: Commit, changes: Iterable[Change]) -> Iterator[Offence]:
        for change in changes:
            if change.new is None:
                continue
            if change.path in (layout.QUEUE, layout.POLICIES):
                yield self._offence(commit, change.path, "foreign", f"expected a folder at {change.path}")
            file = change.path.rpartition("/")[2]
            stray = layout.id_of(change.path) is None and file not in layout.HARMLESS
            if change.path.startswith(_QUEUE_FILES) and stray:
                yield self._offence(
                    commit, change.path, "foreign", "expected nothing but escalations below queue/"
                )

    def _policy_change(self, commit: Commit, parent: str) -> Iterator[Offence]:
        if any(change.path == WAIVERS for change in commit.changes):
            self.waiving[commit.oid] = None
        offences = [
            self._offence(commit, layout.POLICIES, violation.rule, violation.expected)
            for violation in verify.judge_policies(commit.email, self.policies(parent))
        ]
        if offences:
            self._pending[commit.oid] = offences
        yield from self._policies_written(commit, self.policies(parent), commit.changes)

    def _policies_written(
        self, commit: Commit, before: Policies, changes: Iterable[Change]
    ) -> Iterator[Offence]:
        files = {change.path for change in changes if change.new is not None} & OURS
        if files:
            for path, violation in verify.judge_written(before, self._written_at(commit.oid), files):
                yield self._offence(commit, path, violation.rule, violation.expected)

    def _trailers(
        self,
        commit: Commit,
        names: Sequence[str],
        taken: Sequence[_Step],
        roster: Roster | None,
    ) -> Iterator[Offence]:
        """What the message says, where it says it in trailers, is what the records say."""
        said: dict[str, list[str]] = {}
        for key, value in commit.trailers:
            if key.startswith("Kt-"):
                said.setdefault(key, []).append(value)
        if not said:
            return
        steps = [(old, new) for _, old, new in taken if new is not None]
        for rule, expected in _disagreements(said, sorted(names), steps, roster):
            yield self._offence(commit, layout.QUEUE, rule, expected)

    # --- signatures -------------------------------------------------------------------------------

    def _ask(self, commit: Commit, *by: Policies) -> None:
        """Ask for the signature of a commit that does something, if any of these policies requires one."""
        asking = tuple(policies for policies in by if self._is_required(policies))
        signed = commit.oid in self._signed
        self.tally.unsigned += not signed
        self.tally.unasked += signed and not asking
        if asking:
            self._unchecked.append(_Asked(commit, self._newest_before(commit), asking))

    def _look_for_signature(self, commit: Commit) -> None:
        for oid, is_signed in self._signatures:
            if is_signed:
                self._signed.add(oid)
            if oid == commit.oid:
                break

    def _is_required(self, policies: Policies) -> bool:
        return self._always_signed or policies.settings.signatures == "required"

    def _check_signatures(self) -> Iterator[Offence]:
        """The signatures of commits that must have one."""
        asked, self._unchecked = self._unchecked, []
        told: dict[str, signatures.Signature] = {}
        for oid, found in self._store.repository.signatures([one.commit.oid for one in asked]):
            told[oid] = signatures.Signature(*found)
        for one in asked:
            commit = one.commit
            signature = told.get(commit.oid, signatures.UNCHECKED)
            who = signatures.Signed(commit.email, commit.committer, commit.committed_at, one.newest_before)
            wrong = [found for by in one.policies for found in signatures.judge(signature, who, by)]
            self.tally.held += one.counts and not wrong
            path = commit.changes[0].path if commit.changes else layout.POLICIES
            for violation in wrong:
                yield self._offence(commit, path, violation.rule, violation.expected)

    # --- archives ---------------------------------------------------------------------------------

    def _archives(
        self, commit: Commit, policies: Policies, names: list[str]
    ) -> Generator[Offence, None, Commit]:
        """Judge what a commit did to archives; what is left of it to judge. ``names`` gets what was moved."""
        done = folding.done_by(self._store, commit, self._snapshot(commit.parents[0]))
        verdict = compaction.judge(done, commit.committed_at, self._store.blob_of)
        for path, rule, expected in verdict.violations:
            yield self._offence(commit, path, rule, expected)
        if done.made:
            yield from self._compacted_by(commit, policies, "")
            yield from self._compaction_told(commit, policies.roster)
            if self._standard is not None:
                yield from self._compacted_by_standard(commit, done, self._standard)
        for path, name in verdict.folded.items():
            self._archived.add(hash(name))
            if self._forked:
                self._next.setdefault((name, done.deleted[path]), (None, commit.oid))
        names += verdict.folded.values()
        return graph.without(commit, verdict.folded)

    def _compacted_by(self, commit: Commit, policies: Policies, where: str) -> Iterator[Offence]:
        """A compaction is for admins, by the policies given."""
        try:
            who = rights.act(commit.email, commit.committed_at, policies)
            rights.require_role(who, "compact", "the store", "admin")
        except NotAllowed as error:
            yield self._offence(commit, layout.RESOLVED, error.code, f"{where}{error.what}")

    def _compacted_by_standard(self, commit: Commit, done: Folding, standard: Standard) -> Iterator[Offence]:
        limit = standard.now + standard.policies.settings.claims.clock_tolerance
        for month in sorted({made.name.month for made in done.made}):
            if not compaction.is_closed(month, limit):
                expected = (
                    f"expected a month that is over by now, {format_time(standard.now)}; {month} is not"
                )
                yield self._offence(commit, layout.RESOLVED, "compaction", expected)
        if self.policies(commit.parents[0]).tree != standard.policies.tree:
            yield from self._compacted_by(commit, standard.policies, "by the policies of the base: ")

    def _compaction_told(self, commit: Commit, roster: Roster | None) -> Iterator[Offence]:
        """What a compaction's message says, where it says it, is what was done, and by whom."""
        me = rights.known_as(commit.email, roster)
        said = dict(commit.trailers)
        if said.get("Kt-Action", "compact") != "compact":
            yield self._offence(commit, layout.QUEUE, "trailers", "expected Kt-Action: compact")
        if person(roster, said.get("Kt-Actor", me)) != person(roster, me):
            yield self._offence(commit, layout.QUEUE, "trailers", f"expected Kt-Actor: {me}")

    def _imported_archives(self, commit: Commit) -> Iterator[Offence]:
        """The archives that the first commit brings, each of whose records is one that is imported."""
        if not graph.touches_archives(commit):
            return
        for made in folding.done_by(self._store, commit, None).made:
            try:
                files = made.read()
            except compaction.BadArchive as error:
                yield self._offence(commit, made.path, "file", f"expected an archive; it {error}")
                continue
            self.tally.imported += len(files)
            for name, data in files.items():
                content = _content(Object("", "blob", len(data), data))
                wrong = content.problem
                if content.record is not None:
                    wrong = layout.misfiled(content.record, made.name.month, name) or wrong
                if wrong is not None:
                    yield self._offence(commit, made.path, "file", f"expected a record: {name} {wrong}", name)
                elif hash(name) in self._born:
                    yield self._offence(commit, made.path, "twice", f"expected {name} once", name)
                self._born.add(hash(name))
                self._archived.add(hash(name))

    def _merged_archives(self, commit: Commit, differing: Sequence[Sequence[Change]]) -> Iterator[Offence]:
        """A merge has each archive that any of its parents has, and no other."""
        parts = [{c.path: c for c in changes if layout.archive_at(c.path)} for changes in differing]
        for path in sorted({path for side in parts for path in side}):
            found = [side[path] for side in parts if path in side]
            if any(change.old is not None for change in found):
                yield self._offence(commit, path, "archive", "an archive never changes and is never deleted")
            elif len(found) == len(differing):
                yield self._offence(
                    commit, path, "merge", "expected each archive as one of the parents has it"
                )

    def _is_archived(self, commit: str, name: str) -> bool:
        """Whether a record is in an archive at a commit."""
        if hash(name) not in self._archived and not (self._base and self._base.places(name)):
            return False
        snapshot = self._snapshot(commit)
        return snapshot is not None and bool(snapshot.places(name))

    def _is_moved(self, commit: str, name: str, oid: str | None) -> bool:
        """Whether the record that a file held is in an archive at a commit, byte for byte."""
        snapshot = self._snapshot(commit)
        found = snapshot.find(name) if snapshot else None
        return isinstance(found, Entry) and found.blob == oid

    # --- merges -----------------------------------------------------------------------------------

    def _merge(self, commit: Commit) -> Iterator[Offence]:
        paths = self._only.paths if self._only else None
        differing = [graph.differences(self._store, parent, commit.oid, paths) for parent in commit.parents]
        if any(differing):
            yield from self._merged_policies(commit, differing)
            yield from self._merged_archives(commit, differing)
            yield from self._merged_records(commit, differing)
            own = set.intersection(*({change.path for change in changes} for changes in differing))
            yield from self._foreign(
                commit, [c for c in differing[0] if c.path in own and not layout.archive_at(c.path)]
            )
        if commit.oid in self._line_of_merges:
            yield from self._brought_in(commit)
        else:
            self._merges[commit.oid] = commit

    @cached_property
    def _line_of_merges(self) -> frozenset[str]:
        """The merges on the tip's first-parent line; others carry steps from branch to branch."""
        return frozenset(self._first_parents("--merges"))

    def _first_parents(self, *options: str) -> list[str]:
        return self._store.repository.rev_list(["--first-parent", *options, self._tip, *self._until])

    def _merged_policies(self, commit: Commit, differing: Sequence[Sequence[Change]]) -> Iterator[Offence]:
        """A merge takes the policies of the side that has changed them; all else is for an admin."""
        if not any(change.path.startswith(_POLICY_FILES) for changes in differing for change in changes):
            return
        bases = self._store.repository.merge_bases(commit.parents)
        # Histories that share nothing have in common that they began without policies.
        before = {self._tree_at(base) for base in bases} or {None}
        sides = {self._tree_at(parent) for parent in commit.parents}
        if {self._tree_at(commit.oid)} == (sides - before or sides):
            return
        self.waiving[commit.oid] = None
        first = self.policies(commit.parents[0])
        offences = verify.judge_policies(commit.email, first)
        for violation in offences:
            yield self._offence(commit, layout.POLICIES, violation.rule, violation.expected)
        if not offences:
            self._ask(commit, first)
        own = set.intersection(*({change.path for change in changes} for changes in differing))
        yield from self._policies_written(commit, first, [c for c in differing[0] if c.path in own])

    def _brought_in(self, merge: Commit) -> Iterator[Offence]:
        """What a merge brings to the line, judged by the rights of the line."""
        now = self.policies(merge.parents[0])
        side = self._side(merge)
        # By which merge an admin has brought in what; also by one on the side branch itself.
        admitted: dict[str, Commit] = {}
        for inner in [*(self._merges[oid] for oid in side if oid in self._merges), merge]:
            brought = side if inner is merge else self._side(inner)
            if self._admit(inner, now, brought, side):
                admitted.update(dict.fromkeys(brought, inner))
        yield from self._replayed(merge, side, now, admitted)

    def _admit(self, merge: Commit, now: Policies, brought: Iterable[str], side: Iterable[str]) -> bool:
        """Excuse the policy changes of a side branch that a merge by an admin brings in; whether it is one's.

        An admin by the roster of the line: a side branch could make its own.
        """
        if verify.judge_policies(merge.email, now):
            return False
        admitted = self._pending.keys() & set(brought) & set(side)
        if admitted:
            self._ask(merge, now)
        for oid in admitted:
            del self._pending[oid]
        return True

    def _merged_records(self, commit: Commit, differing: Sequence[Sequence[Change]]) -> Iterator[Offence]:
        versions: dict[str, list[dict[str, Change]]] = {}
        for index, changes in enumerate(differing):
            for change in changes:
                name = layout.id_of(change.path) if change.path.startswith(_QUEUE_FILES) else None
                if name is None:
                    continue
                sides = versions.setdefault(name, [{} for _ in differing])
                sides[index][change.path] = change
        for name, sides in sorted(versions.items()):
            paths = [path for side in sides for path in side]
            if all(sides):
                yield self._offence(
                    commit, paths[0], "merge", "expected each record as one of the parents has it", name
                )
                continue
            for side in filter(None, sides):
                olds = [change.old for change in side.values() if change.old is not None]
                news = [change.new for change in side.values() if change.new is not None]
                was, became = olds[0] if olds else None, news[0] if news else None
                if was is None and self._is_archived(commit.oid, name):
                    expected = f"expected {name} in its archive, and nowhere else"
                    yield self._offence(commit, paths[0], "twice", expected, name)
                elif not self._leads(name, was, became) and not (
                    became is None and self._is_moved(commit.oid, name, was)
                ):
                    known = self._next.get((name, became))
                    by = f", which commit {known[1][:12]} had taken further" if known else ""
                    yield self._offence(
                        commit, paths[0], "merge", f"expected the newest state of {name}{by}", name
                    )

    def _leads(self, name: str, old: str | None, new: str | None) -> bool:
        """Whether the line of states leads from one to the other."""
        seen = {old}
        while old != new:
            step = self._next.get((name, old))
            if step is None or step[0] in seen:
                return False
            old = step[0]
            seen.add(old)
        return True

    def _side(self, commit: Commit) -> list[str]:
        """The commits that a merge brings to its first parent."""
        first, *others = commit.parents
        return self._store.repository.rev_list([*others, f"^{first}", *self._until])

    def _replayed(
        self, merge: Commit, side: Sequence[str], now: Policies, admitted: Mapping[str, Commit]
    ) -> Iterator[Offence]:
        """The steps of a side branch, judged by the rights of the line that they come to."""
        first, *others = merge.parents
        known = (self._policies.get(oid, now).tree for oid in (*side, *others))
        if not self._only and all(tree == now.tree for tree in known):
            return
        also = f", also of the branch that merge {merge.oid[:12]} brings it to"
        paths = self._only.paths if self._only else None
        # Merges on whose word a change of policies counts here: they are held to the signatures of this line.
        vouching: dict[str, Commit] = {}
        for step in graph.walk(self._store, [*others, f"^{first}", *self._until], paths=paths):
            begins = len(step.parents) != 1 or not self._is_store(step.parents[0])
            if begins or not step.changes or self.policies(step.parents[0]).tree == now.tree:
                continue
            if self._is_required(now):
                self._unchecked.append(_Asked(step, self._newest_before(step), (now,), counts=False))
            if any(change.path.startswith(_POLICY_FILES) for change in step.changes):
                if step.oid not in admitted:
                    for violation in verify.judge_policies(step.email, now):
                        yield self._offence(
                            step, layout.POLICIES, violation.rule, f"{violation.expected}{also}"
                        )
                elif self._is_required(now):
                    vouching.setdefault(admitted[step.oid].oid, admitted[step.oid])
            if graph.touches_archives(step):
                where = f"on the branch that merge {merge.oid[:12]} brings it to: "
                yield from self._compacted_by(step, now, where)
                continue
            for name, olds, news in self._by_record(step):
                if not news or news[0].record is None or (step.oid, name) in self._guilty:
                    continue
                for violation in self._judged_by(now, olds[0] if olds else None, news[0], step):
                    expected = f"on the branch that merge {merge.oid[:12]} brings it to: {violation.expected}"
                    yield self._offence(step, news[0].path, violation.rule, expected, name)
        for inner in vouching.values():
            # Where it stands its own rules ask for it, and where it excuses a change it has been asked already.
            asked = any(one.commit is inner and now in one.policies for one in self._unchecked)
            if not asked and (inner is merge or self.policies(inner.parents[0]).tree != now.tree):
                self._unchecked.append(_Asked(inner, self._newest_before(inner), (now,), counts=False))

    def _other_starts(self) -> Iterator[Offence]:
        """A history begins once; what begins elsewhere brings records that nobody has judged."""
        others = self._starts
        if self._base is None:
            start = graph.beginning(self._store, self._tip) if len(others) > 1 else others and others[0].oid
            others = [commit for commit in others if commit.oid != start]
        for commit in others:
            yield self.second_start(commit)

    def second_start(self, commit: Commit) -> Offence:
        """What is wrong with a commit that begins a store where there is one already."""
        return self._offence(commit, layout.QUEUE, "start", "expected no second beginning of the store")

    # --- the store at a commit --------------------------------------------------------------------

    def policies(self, commit: str) -> Policies:
        """The policies that what comes on top of a commit is judged by."""
        if commit not in self._policies:
            written = self._written_at(commit)
            sound = not (written.broken or written.has_no_admin)
            self._policies[commit] = written if sound else lookup.policies_at(self._store, commit)
        return self._policies[commit]

    def _policies_after(self, commit: Commit) -> Policies:
        """The same for a commit that has just been judged, from its parent where nothing has changed."""
        same = len(commit.parents) == 1 and not any(
            change.path.startswith(_POLICY_FILES) for change in commit.changes
        )
        return self.policies(commit.parents[0] if same else commit.oid)

    def _written_at(self, commit: str) -> Policies:
        """The policies as a commit has them, parsed once for each tree."""
        tree = self._tree_at(commit)
        if tree not in self._written:
            snapshot = self._snapshot(commit)
            self._written[tree] = assemble(*snapshot.policies()) if snapshot else Policies()
        return self._written[tree]

    def _tree_at(self, commit: str) -> str | None:
        """The tree id of `policies/` at a commit."""
        if commit in self._policies:
            return self._policies[commit].tree
        [found] = self._store.repository.objects.get(
            [f"{commit}:{self._store.full(layout.POLICIES)}"], largest=0
        )
        return found.oid if found and found.kind == "tree" else None

    def _snapshot(self, commit: str) -> GitSnapshot | None:
        try:
            return self._store.at(commit)
        except NotAStore:
            return None

    def _is_store(self, commit: str) -> bool:
        if commit not in self._stores:
            self._stores[commit] = self._snapshot(commit) is not None
        return self._stores[commit]

    def _is_store_after(self, commit: Commit) -> bool:
        same = len(commit.parents) == 1 and (
            not commit.changes or any(change.new is not None for change in commit.changes)
        )
        if not same:
            return self._snapshot(commit.oid) is not None
        return bool(commit.changes) or self._is_store(commit.parents[0])

    def _exists(self, name: str) -> bool:
        """Whether a record was there before, in these commits or at their base."""
        return hash(name) in self._born or (self._base is not None and self._base.has(name))

    def _record_at(self, commit: str, name: str) -> Record | None:
        snapshot = self._snapshot(commit)
        found = snapshot.find(name) if snapshot else None
        return getattr(found, "record", None)

    def _offence(
        self, commit: Commit, path: str, rule: str, expected: str, name: str | None = None
    ) -> Offence:
        return Offence(commit.oid, commit.email, self._store.full(path), rule, expected, name)


def _content(found: Object | None) -> _Content:
    """What a blob holds."""
    if found is None or found.kind != "blob":
        return _Content(None, "is no plain file")
    if found.data is None:
        return _Content(None, f"is larger than {MAX_BYTES // 1024} KiB")
    reading = codec.canonical_reading(found.data)
    if reading is not None:
        # Only what is claimed can be decided on.
        shown = reading.shown if reading.record.status == "claimed" else None
        return _Content(reading.record, None, shown)
    try:
        return _Content(codec.from_yaml(found.data), _NOT_CANONICAL)
    except codec.Malformed as error:
        return _Content(None, str(error))


def _files_of(commit: Commit) -> Iterator[tuple[str, list[Change], list[Change]]]:
    """The changes of a commit by record, in the order of ids: those that had a file before, and that have one after."""
    sides: dict[str, tuple[list[Change], list[Change]]] = {}
    for change in commit.changes:
        name = layout.id_of(change.path) if change.path.startswith(_QUEUE_FILES) else None
        if name is not None:
            olds, news = sides.setdefault(name, ([], []))
            olds += [change] if change.old is not None else []
            news += [change] if change.new is not None else []
    for name, (olds, news) in sorted(sides.items()) if len(sides) > 1 else sides.items():
        yield name, olds, news


_NOWHERE = _State(layout.QUEUE, _PLAIN, "", None, None)


def _disagreements(
    said: dict[str, list[str]],
    names: Sequence[str],
    steps: Sequence[tuple[_State | None, _State]],
    roster: Roster | None,
) -> Iterator[tuple[str, str]]:
    """What trailers say otherwise than records; one person under two addresses is one person."""
    actors = {person(roster, name) for name in said.get("Kt-Actor", [])}
    named = list(names[:MAX_NAMED])
    if said.get("Kt-Escalation", named) != named or not names:
        yield "trailers", f"expected Kt-Escalation: {', '.join(names) or 'none'}"
    count = said.get("Kt-Count", [str(len(names))])
    if count != [str(len(names))]:
        yield "trailers", f"expected Kt-Count: {len(names)}"
    for old, new in steps:
        told = story.between(old.record if old else None, new.record)
        actions = {happening.action for happening in told}
        for happening in told:
            if happening.actor and actors and actors != {person(roster, happening.actor)}:
                yield "trailers", f"expected Kt-Actor: {happening.actor}"
            outcome = happening.outcome
            if outcome and said.get("Kt-Outcome", [outcome]) != [outcome]:
                yield "trailers", f"expected Kt-Outcome: {outcome}"
        actions |= _also_called(actions, new.record)
        if not set(said.get("Kt-Action", [])) <= actions | {"sweep", "restore"}:
            yield "trailers", f"expected Kt-Action: {', '.join(sorted(actions))}"
        claim = new.record.claim if new.record else None
        if claim and said.get("Kt-Claim", [claim.claim_id]) != [claim.claim_id]:
            yield "trailers", f"expected Kt-Claim: {claim.claim_id}"


def _also_called(actions: set[str], after: Record | None) -> set[str]:
    """Other names that a message may give to actions which leave the very same record."""
    found = set()
    if "sweep" in actions and after is not None and after.resolution is None:
        # Whoever gives back when the lease is over does what a sweep would.
        found.add("unclaim")
    if "review" in actions:
        # In one commit with others that are resolved it goes by their name.
        found.add("resolve")
    if after is not None and after.route.source == "assigned" and actions & {"unclaim", "claim"}:
        # Assigned once more to whom it is routed to.
        found.add("assign")
    return found
