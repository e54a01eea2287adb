"""The use cases of who checks: is every step in a stretch of history legal (design, section 9)?

One judge says what one step contains (`core.verify`); here each commit of the graph is laid before it,
with the policies at its parent, and what only the graph can tell is told: forks, merges that drop or
invent, side branches whose rights were lost meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from . import lookup
from .core import rights, signatures, story, verify
from .core.model import MAX_BYTES, Record
from .core.policies import Policies, assemble
from .core.roster import Roster, person
from .core.times import format_time
from .core.verify import Context, Violation
from .errors import NotAStore
from .store import codec, graph, layout
from .store.git import Object
from .store.gitstore import GitSnapshot, GitStore
from .store.graph import Change, Commit

_PLAIN = "100644"


@dataclass(frozen=True)
class Offence:
    """A violation where it happened."""

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
    unsigned: int = 0
    people: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _State:
    """One side of a step: the file, and the record in it or what is wrong with it."""

    path: str
    mode: str
    oid: str
    record: Record | None
    problem: str | None


class Audit:
    """Judges the commits of one store, in the order in which they are given, those after ``base`` if any."""

    def __init__(self, store: GitStore, base: str | None = None) -> None:
        self._store = store
        # What was there before the commits that are judged; nothing, where they begin the history.
        self._base = self._snapshot(base) if base is not None else None
        self.tally = Tally()
        self._policies: dict[str | None, Policies] = {}
        self._trees: dict[str, str | None] = {}
        # The line of states of each record: what each state became, and in which commit.
        self._next: dict[tuple[str, str | None], tuple[str | None, str]] = {}
        # States that a row of legal steps led to, so that `restore` can be told from an edit.
        self._legal: dict[str, set[str]] = {}
        # Policy changes by who was no admin, until a merge by one brings them in.
        self._pending: dict[str, list[Offence]] = {}
        # The commits that did something, with the policies at their parent.
        self._acted: list[tuple[Commit, Policies]] = []
        self._steps_of: dict[str, list[tuple[_State | None, _State, Commit]]] = {}

    def judge(self, commits: Iterable[Commit]) -> Iterator[Offence]:
        """The violations of commits, parents before children."""
        for commit in commits:
            self.tally.commits += 1
            if len(commit.parents) > 1:
                yield from self._merge(commit)
            elif commit.changes:
                yield from self._plain(commit)
        for offences in self._pending.values():
            yield from offences

    # --- one commit -------------------------------------------------------------------------------

    def _plain(self, commit: Commit) -> Iterator[Offence]:
        parent = commit.parents[0] if commit.parents else None
        begins = parent is None or not self._is_store(parent)
        if not begins and any(change.path.startswith(f"{layout.POLICIES}/") for change in commit.changes):
            yield from self._policy_change(commit, commit.parents[0])
        names: list[str] = []
        for name, olds, news in self._by_record(commit):
            names.append(name)
            if begins:
                self.tally.imported += len(news)
                yield from self._imported(commit, name, news)
            else:
                yield from self._step(commit, commit.parents[0], name, olds, news)
        if not begins:
            self._acted.append((commit, self.policies(commit.parents[0])))
            yield from self._foreign(commit)
            yield from self._trailers(commit, names)

    def _by_record(self, commit: Commit) -> Iterator[tuple[str, list[_State], list[_State]]]:
        sides: dict[str, tuple[list[Change], list[Change]]] = {}
        for change in commit.changes:
            name = layout.id_of(change.path)
            if name is None or not change.path.startswith(f"{layout.QUEUE}/"):
                continue
            old, new = sides.setdefault(name, ([], []))
            if change.old is not None:
                old.append(change)
            if change.new is not None:
                new.append(change)
        oids = [
            oid
            for pair in sides.values()
            for oid in (*(c.old for c in pair[0]), *(c.new for c in pair[1]))
            if oid
        ]
        read = dict(zip(oids, self._store.repository.objects.get(oids, largest=MAX_BYTES), strict=True))
        for name, (old, new) in sorted(sides.items()):
            olds = [self._state(c.path, c.old_mode, c.old or "", read) for c in old]
            news = [self._state(c.path, c.new_mode, c.new or "", read) for c in new]
            yield name, olds, news

    def _state(self, path: str, mode: str, oid: str, read: Mapping[str, Object | None]) -> _State:
        found = read.get(oid)
        data = found.data if found else None
        if mode != _PLAIN or found is None or found.kind != "blob":
            return _State(path, mode, oid, None, f"is no plain file (mode {mode})")
        if data is None:
            return _State(path, mode, oid, None, f"is larger than {MAX_BYTES // 1024} KiB")
        try:
            record = codec.loads(data)
        except codec.Malformed as error:
            return _State(path, mode, oid, None, str(error))
        wrong = layout.misplaced(record, path)
        if wrong is None and codec.dumps(record) != data:
            wrong = "is not in canonical form"
        return _State(path, mode, oid, record, wrong)

    def _imported(self, commit: Commit, name: str, news: Sequence[_State]) -> Iterator[Offence]:
        for state in news:
            if state.problem:
                yield self._offence(commit, state.path, "file", f"a record; it {state.problem}", name)
            else:
                self._legal.setdefault(name, set()).add(state.oid)
        if news:
            self._next[(name, None)] = (news[0].oid, commit.oid)

    def _step(
        self, commit: Commit, parent: str, name: str, olds: Sequence[_State], news: Sequence[_State]
    ) -> Iterator[Offence]:
        self.tally.steps += 1
        old = olds[0] if olds else None
        new = news[0] if news else None
        where = (new or old or _NOWHERE).path
        policies = self.policies(parent)
        if new is not None and self._is_restored(commit, policies, name, olds, news):
            self._next[(name, old.oid if old else None)] = (new.oid, commit.oid)
            # The line goes on from there: what had been made of that state is undone.
            self._next.pop((name, new.oid), None)
            return
        if len(news) > 1 or (new is not None and old is None and self._exists(name)):
            yield self._offence(commit, where, "twice", f"one file for {name}", name)
            return
        yield from self._line(commit, name, where, old, new)
        if new is not None and new.problem:
            rule = "canonical" if new.problem.startswith("is not in canonical") else "file"
            yield self._offence(commit, where, rule, f"a record where it belongs; it {new.problem}", name)
            return
        if old is not None and old.record is None:
            if new is not None:
                expected = "a former legal state of it, by an admin (`kt escalation restore`)"
                yield self._offence(commit, where, "restore", expected, name)
            return
        record = new.record if new else None
        found = verify.judge(old.record if old else None, record, self._context(commit, parent, record))
        for violation in found:
            yield self._offence(commit, where, violation.rule, violation.expected, name)
        if not found and new is not None:
            self._legal.setdefault(name, set()).add(new.oid)
            self._steps_of.setdefault(commit.oid, []).append((old, new, commit))
        self.tally.people.add(rights.known_as(commit.email, policies.roster))

    def _line(
        self, commit: Commit, name: str, where: str, old: _State | None, new: _State | None
    ) -> Iterator[Offence]:
        """One line of states: nothing may take the same state to a different one."""
        key = (name, old.oid if old else None)
        became = new.oid if new else None
        known = self._next.setdefault(key, (became, commit.oid))
        if known[0] != became:
            yield self._offence(
                commit, where, "fork", f"what commit {known[1][:12]} made of the same state", name
            )

    def _is_restored(
        self, commit: Commit, policies: Policies, name: str, olds: Sequence[_State], news: Sequence[_State]
    ) -> bool:
        """Whether an admin brought a record back to a state that was legal once (section 9, *The way back*)."""
        legal = self._legal.get(name, set())
        broken = not olds or any(old.oid not in legal or old.problem for old in olds)
        who = rights.act(commit.email, commit.committed_at, policies)
        if not (broken and len(news) == 1 and news[0].oid in legal):
            return False
        return news[0].problem is None and rights.is_admin(who)

    def judge_signatures(self, *, always: bool = False) -> Iterator[Offence]:
        """The signatures of the commits seen so far, where the settings at their parent require them."""
        asked = []
        for commit, policies in self._acted:
            signed = self._store.repository.is_signed(commit.oid)
            self.tally.unsigned += not signed
            if always or policies.settings.signatures == "required":
                asked.append((commit, policies))
        verdicts = self._store.repository.signatures([commit.oid for commit, _ in asked])
        for commit, policies in asked:
            verdict, fingerprint = verdicts.get(commit.oid, ("E", ""))
            told = signatures.judge(verdict, fingerprint, commit.email, commit.committer, policies.roster)
            for violation in told:
                path = commit.changes[0].path
                yield self._offence(commit, path, violation.rule, violation.expected)

    def judge_by(self, policies: Policies, now: datetime) -> Iterator[Offence]:
        """The steps seen so far, by other policies than their parents' and by our own clock.

        For a pull request or a push: what its base says counts, and nothing may come from the future.
        """
        tolerance = policies.settings.claims.clock_tolerance
        for steps in self._steps_of.values():
            for old, new, step in steps:
                if new.record is None:
                    continue
                name = new.record.escalation_id
                if new.record.last_time - now > tolerance:
                    expected = f"no time later than now, {format_time(now)}"
                    yield self._offence(step, new.path, "time", expected, name)
                if self._trees.get(step.parents[0]) != policies.tree:
                    for violation in self._judged_by(policies, old, new, step):
                        expected = f"legal by the policies of the base: {violation.expected}"
                        yield self._offence(step, new.path, violation.rule, expected, name)

    def _judged_by(
        self, policies: Policies, old: _State | None, new: _State, step: Commit
    ) -> tuple[Violation, ...]:
        """A step judged by other policies; where a birth was routed from counts as it says."""
        told = self._context(step, step.parents[0], new.record)
        there = replace(policies, tree=new.record.route.policies if new.record else None)
        return verify.judge(old.record if old else None, new.record, replace(told, policies=there))

    def _context(self, commit: Commit, parent: str, record: Record | None) -> Context:
        policies = self.policies(parent)
        if record is None or record.reopens is None:
            return Context(commit.email, commit.committed_at, policies)
        origin = self._record_at(parent, record.reopens)
        deciders = tuple(review.reviewer for review in origin.reviews) if origin else ()
        snapshot = self._snapshot(parent)
        again = lookup.open_reopener(snapshot, record.reopens) if snapshot else None
        return Context(commit.email, commit.committed_at, policies, deciders, origin, again)

    def _foreign(self, commit: Commit) -> Iterator[Offence]:
        for change in commit.changes:
            file = change.path.rpartition("/")[2]
            stray = layout.id_of(change.path) is None and file not in layout.HARMLESS
            if change.path.startswith(f"{layout.QUEUE}/") and stray and change.new is not None:
                yield self._offence(commit, change.path, "foreign", "nothing but escalations below queue/")

    def _policy_change(self, commit: Commit, parent: str) -> Iterator[Offence]:
        offences = [
            self._offence(commit, layout.POLICIES, violation.rule, violation.expected)
            for violation in verify.judge_policies(commit.email, self.policies(parent))
        ]
        if offences:
            self._pending[commit.oid] = offences
        yield from ()

    def _trailers(self, commit: Commit, names: Sequence[str]) -> Iterator[Offence]:
        """What the message says, where it says it in trailers, is what the records say."""
        said: dict[str, list[str]] = {}
        for key, value in commit.trailers:
            if key.startswith("Kt-"):
                said.setdefault(key, []).append(value)
        if not said:
            return
        steps = [(old, new) for old, new, _ in self._steps_of.get(commit.oid, ())]
        roster = self.policies(commit.parents[0]).roster
        for rule, expected in _disagreements(said, sorted(names), steps, roster):
            yield self._offence(commit, layout.QUEUE, rule, expected)

    # --- merges -----------------------------------------------------------------------------------

    def _merge(self, commit: Commit) -> Iterator[Offence]:
        if not all(self._is_store(parent) for parent in commit.parents):
            return
        differing = [graph.differences(self._store, parent, commit.oid) for parent in commit.parents]
        if all(not changes for changes in differing):
            return
        yield from self._merged_policies(commit, differing)
        yield from self._merged_records(commit, differing)
        yield from self._replayed(commit)

    def _merged_policies(self, commit: Commit, differing: Sequence[Sequence[Change]]) -> Iterator[Offence]:
        first = self.policies(commit.parents[0])
        changed = [any(c.path.startswith(f"{layout.POLICIES}/") for c in changes) for changes in differing]
        by_admin = not verify.judge_policies(commit.email, first)
        if by_admin:
            for oid in self._side(commit):
                self._pending.pop(oid, None)
        elif all(changed):
            for violation in verify.judge_policies(commit.email, first):
                yield self._offence(commit, layout.POLICIES, violation.rule, violation.expected)

    def _merged_records(self, commit: Commit, differing: Sequence[Sequence[Change]]) -> Iterator[Offence]:
        versions: dict[str, list[dict[str, Change]]] = {}
        for index, changes in enumerate(differing):
            for change in changes:
                name = layout.id_of(change.path)
                if name is None or not change.path.startswith(f"{layout.QUEUE}/"):
                    continue
                sides = versions.setdefault(name, [{} for _ in differing])
                sides[index][change.path] = change
        for name, sides in sorted(versions.items()):
            paths = [path for side in sides for path in side]
            if all(sides):
                yield self._offence(
                    commit, paths[0], "merge", "each record as one of the parents has it", name
                )
                continue
            for side in filter(None, sides):
                olds = [change.old for change in side.values() if change.old is not None]
                news = [change.new for change in side.values() if change.new is not None]
                was, became = olds[0] if olds else None, news[0] if news else None
                if not self._leads(name, was, became):
                    known = self._next.get((name, became))
                    by = f", which commit {known[1][:12]} had taken further" if known else ""
                    yield self._offence(commit, paths[0], "merge", f"the newest state of {name}{by}", name)

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
        return self._store.repository.rev_list([*others, f"^{first}"])

    def _replayed(self, commit: Commit) -> Iterator[Offence]:
        """The steps of a side branch, judged by the rights of the line that they come to."""
        now = self.policies(commit.parents[0])
        for oid in self._side(commit):
            for old, new, step in self._steps_of.get(oid, ()):
                if new.record is None or self._trees.get(step.parents[0]) == now.tree:
                    continue
                for violation in self._judged_by(now, old, new, step):
                    expected = (
                        f"legal on the branch that merge {commit.oid[:12]} brings it to: {violation.expected}"
                    )
                    yield self._offence(step, new.path, violation.rule, expected, new.record.escalation_id)

    # --- the store at a commit --------------------------------------------------------------------

    def policies(self, commit: str) -> Policies:
        """The policies at a commit, parsed once for each tree."""
        if commit not in self._trees:
            name = f"{commit}:{self._store.full(layout.POLICIES)}"
            [found] = self._store.repository.objects.get([name], largest=0)
            self._trees[commit] = found.oid if found else None
        tree = self._trees[commit]
        if tree not in self._policies:
            snapshot = self._snapshot(commit)
            self._policies[tree] = assemble(*snapshot.policies()) if snapshot else Policies()
        return self._policies[tree]

    def _snapshot(self, commit: str) -> GitSnapshot | None:
        try:
            return self._store.at(commit)
        except NotAStore:
            return None

    def _is_store(self, commit: str) -> bool:
        return self._trees.get(commit) is not None or self._snapshot(commit) is not None

    def _exists(self, name: str) -> bool:
        """Whether a record was there before, in these commits or at their base."""
        return (name, None) in self._next or (self._base is not None and self._base.has(name))

    def _record_at(self, commit: str, name: str) -> Record | None:
        snapshot = self._snapshot(commit)
        found = snapshot.find(name) if snapshot else None
        return getattr(found, "record", None)

    def _offence(
        self, commit: Commit, path: str, rule: str, expected: str, name: str | None = None
    ) -> Offence:
        return Offence(commit.oid, commit.email, self._store.full(path), rule, expected, name)


_NOWHERE = _State(layout.QUEUE, _PLAIN, "", None, None)


def _disagreements(
    said: dict[str, list[str]],
    names: Sequence[str],
    steps: Sequence[tuple[_State | None, _State]],
    roster: Roster | None,
) -> Iterator[tuple[str, str]]:
    """What trailers say otherwise than records; one person under two addresses is one person."""
    actors = {person(roster, name) for name in said.get("Kt-Actor", [])}
    if said.get("Kt-Escalation", []) != list(names[: len(said.get("Kt-Escalation", []))]) or not names:
        yield "trailers", f"Kt-Escalation: {', '.join(names) or 'none'}"
    count = said.get("Kt-Count", [str(len(names))])
    if count != [str(len(names))]:
        yield "trailers", f"Kt-Count: {len(names)}"
    for old, new in steps:
        told = story.between(old.record if old else None, new.record)
        actions = {happening.action for happening in told}
        for happening in told:
            if happening.actor and actors and actors != {person(roster, happening.actor)}:
                yield "trailers", f"Kt-Actor: {happening.actor}"
            outcome = happening.outcome
            if outcome and said.get("Kt-Outcome", [outcome]) != [outcome]:
                yield "trailers", f"Kt-Outcome: {outcome}"
        action = said.get("Kt-Action", [""])[0]
        if action and action not in actions and action not in ("sweep", "restore"):
            yield "trailers", f"Kt-Action: {', '.join(sorted(actions))}"
        claim = new.record.claim if new.record else None
        if claim and said.get("Kt-Claim", [claim.claim_id]) != [claim.claim_id]:
            yield "trailers", f"Kt-Claim: {claim.claim_id}"
