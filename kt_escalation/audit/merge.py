"""Judges a merge: carried commits must have led to each state that it takes from elsewhere.

See docs/design.md, *One line, and not the graph*. If a record or a policy file differs from the first
parent's, one chain of carried commits with one parent each must explain it. Every step of the chain must be
legal, for its own author and by the policies of the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from ..errors import GitFailed
from ..model import archive_file
from ..model.record import Record
from ..model.times import format_time
from ..policies.policy_set import Policies
from ..rules import judge_step
from ..rules.judge_step import Violation
from ..storage import history, layout
from ..storage.commits import Commit, touches_archives
from ..storage.trees import Change, Difference
from . import messages, steps
from .commit_contents import Side
from .messages import Brought
from .policies_in_force import at_fork, is_policy
from .steps import Reopening, Sides, State, by_record

if TYPE_CHECKING:
    from .judge import Judge

# So many ways in which a merge may have come to a state are tried; nobody honest has more than a few.
_MOST_CHAINS = 100
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

#: The files of a record, or the one of a policy: path, mode and id of each.
_Files = frozenset[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class _Step:
    """What one carried commit made of one record or policy file."""

    side: Side
    before: _Files
    after: _Files
    sides: Sides


class Merging:
    """Judges what one merge brings to its line parent from another one of its parents."""

    def __init__(
        self, judge: Judge, commit: Commit, difference: Difference, carried: Sequence[Side], other: str
    ) -> None:
        self._judge = judge
        self._commit = commit
        self._changes = difference.changes
        self._carried = carried
        self._other = other
        self._now = judge.policies.policies
        #: What it brought legally, for what its message says.
        self.brought: list[Brought] = []
        #: Whether its author has acted by it: brought policies in that were no admin's to change.
        self.acted = False
        # What was illegal on the line before it, with the last legal state.
        self._illegal: Mapping[str, State | None] = judge.records.illegal
        #: Where the other side has left the line, and what of it was found to be left out.
        self._first = judge.lines.above(commit.oid) or commit.parents[0]
        self._fork = judge.lines.newest_on(self._first, other)
        self._lost: set[str] = set()
        # The states that the line has had since then, by record or file.
        self._had: dict[str, set[frozenset[tuple[str, str]]]] = {}
        self._compactions: dict[str, tuple[list[tuple[str, Violation]], dict[str, str]]] = {}

    def judge(self) -> None:
        """Find what it may not bring, and what it may not leave out."""
        judge, commit = self._judge, self._commit
        forked = self._forked()
        if not (self._changes or forked.changes or forked.unsound or self._touched()):
            return
        self._illegal = dict(judge.records.illegal)
        self._authored_by_merges()
        steps = self._steps()
        brought = judge.records.by_record(self._changes)
        self._look_into_archives(brought)
        # What reopens another comes after it.
        for name in sorted(brought, key=lambda name: (self._reopens(brought[name]), name)):
            self._record(name, brought[name], steps.get(name, ()))
        self._archives()
        policies = [change for change in self._changes if is_policy(change.path)]
        if policies:
            judge.follow(commit, policies, partial(self._policy, steps))
        for change in self._changes:
            if judge.records.looks_at_all and judge.commits.is_foreign(change):
                expected = "expected nothing but escalations below queue/"
                judge.findings.find(self._author_of(change), change.path, Violation("foreign", expected))
        self._dropped(forked)
        self._gone_on_from(steps)

    def _touched(self) -> bool:
        """Whether any carried commit has another store than the line; what it did may have been undone again."""
        trees = self._judge.trees
        trees.entries([side.commit.tree for side in self._carried])
        [first] = trees.entries([self._judge.commits.tree_of(self._first)])
        return any(trees.entries([side.commit.tree]) != [first] for side in self._carried)

    def drops(self) -> None:
        """Find only what it may not leave out."""
        self._authored_by_merges()
        self._dropped(self._forked())
        self._gone_on_from(self._steps())

    def _forked(self) -> Difference:
        """What the other side has changed since it left the line."""
        judge = self._judge
        return judge.commits.between(
            judge.commits.tree_of(self._fork) if self._fork else None, judge.commits.tree_of(self._other)
        )

    # --- what its carried commits did ---------------------------------------------------------------

    def _steps(self) -> Mapping[str, Sequence[_Step]]:
        """What carried commits with one parent made of each record (by id) and each policy file (by path)."""
        found: dict[str, list[_Step]] = {}
        for side in self._carried:
            if len(side.commit.parents) != 1:
                continue
            difference = self._judge.commits.difference(side)
            pairs = self._judge.records.by_record(difference.changes)
            pairs |= {c.path: _alone(c) for c in difference.changes if is_policy(c.path)}
            for key, sides in pairs.items():
                before, after = self._states(key, side.commit.parents[0], side.commit.oid, sides)
                found.setdefault(key, []).append(_Step(side, before, after, sides))
        return found

    def _states(self, key: str, old: str, new: str, sides: Sides) -> tuple[_Files, _Files]:
        """What there was of a record or policy file before a change and after it.

        Who has an illegal record has more than one file of it, maybe, of which only some have changed.
        """
        if key not in self._illegal:
            return sides.before, sides.after
        return self._at(old, key), self._at(new, key)

    def _authored_by_merges(self) -> None:
        """Carried merges author nothing: what they have, one of their parents has."""
        judge = self._judge
        for side in self._carried:
            commit = side.commit
            if len(commit.parents) < 2:
                continue
            differing = [
                judge.commits.between(judge.commits.tree_of(parent), commit.tree) for parent in commit.parents
            ]
            changed = [_keys(judge.records.by_record(one.changes), one.changes) for one in differing]
            authored = set.intersection(*(set(keys) for keys in changed))
            if not authored and not any(one.unsound for one in differing):
                continue
            if authored and not judge_step.judge_policies(commit.email, self._now) and self._now.roster:
                judge.authors.people(commit, self._now, acts=True, newest=side.newest)
                continue
            expected = "expected a merge that leaves each file as one of its parents has it; rebase instead (`git rebase`)"
            for key in sorted(authored) or [layout.QUEUE]:
                path = changed[0].get(key, key)
                name = key if layout.id_of(path) == key else None
                judge.findings.find(commit, path, Violation("merge", expected), name)

    # --- records ------------------------------------------------------------------------------------

    def _record(self, name: str, sides: Sides, steps: Sequence[_Step]) -> None:
        judge = self._judge
        first: tuple[Sequence[_Step], list[tuple[Commit, str, Violation]]] | None = None
        ends = self._states(name, self._first, self._commit.oid, sides)
        if layout.archive_at(sides.path) and name not in self._illegal:
            # Neither side has a file of its own for it.
            ends = frozenset(), frozenset()
        for chain in self._chains(*ends, steps):
            found = self._walked(name, chain)
            if not found:
                return
            first = first or (chain, found)
        judge.records.illegal.setdefault(name, judge.commits.before(name, sides, self._first))
        if first is None:
            expected = f"expected {name} as the branch had it, or as the commits that it brings have led it on from there"
            judge.records.blame(name, self._commit, sides.path, Violation("merge", expected))
            return
        for commit, path, violation in first[1]:
            judge.records.blame(name, commit, path, violation)
        for step in first[0]:
            # Also what is illegal is what a message may say of it.
            self.brought += judge.statements.made(
                step.side.commit, name, *judge.commits.contents.sides(step.sides)
            )

    def _chains(self, before: _Files, after: _Files, steps: Sequence[_Step]) -> Iterator[list[_Step]]:
        """The rows of steps that lead from one state to another, each commit an ancestor of the next."""
        leading: dict[_Files, list[_Step]] = {}
        for step in steps:
            leading.setdefault(step.after, []).append(step)
        waiting: list[list[_Step]] = [[step] for step in leading.get(after, ())]
        tried = 0
        while waiting and tried < _MOST_CHAINS:
            tried += 1
            chain = waiting.pop()
            if chain[0].before == before:
                yield chain
            for step in leading.get(chain[0].before, ()):
                later = chain[0].side.commit.oid
                is_new = all(step is not other for other in chain)
                if is_new and self._judge.lines.is_above(step.side.commit.oid, later):
                    waiting.append([step, *chain])

    def _walked(self, name: str, chain: Sequence[_Step]) -> list[tuple[Commit, str, Violation]]:
        """What is wrong with a chain of steps of a record; if nothing is, the merge has brought it."""
        judge = self._judge
        illegal = name in judge.records.illegal
        legal = judge.records.illegal.get(name)
        brought: list[Brought] = []
        state: State | None = None
        for step in chain:
            judge.records.touching.add(step.side.commit.oid)
            commit = step.side.commit._replace(changes=judge.commits.difference(step.side).changes)
            olds, news = judge.commits.contents.sides(step.sides)
            if touches_archives(commit):
                found, folded = self._compaction(commit)
                if name in folded.values():
                    if found:
                        return [(commit, path, violation) for path, violation in found]
                    if not _same(step.before, self._at(self._commit.oid, name)):
                        lost = Violation("deleted", "expected what was compacted to be in its archive still")
                        return [(self._commit, step.sides.path, lost)]
                    brought.append(Brought(name, frozenset({"compact"}), ""))
                    continue
            if illegal:
                if not steps.is_restored(commit, self._now, legal, judge.commits.standing(commit.oid, name)):
                    return [(commit, (news or olds)[0].path, judge.not_restored)]
                illegal, state = False, legal
                brought += judge.statements.made(commit, name, olds, news)
                continue
            policies = at_fork(self._now, self._at_fork_of(commit))
            if any(old.problem for old in olds):
                return [(commit, (news or olds)[0].path, judge.not_restored)]
            wrong = list(
                steps.judge(
                    *(commit, policies, olds, news, self._reopening),
                    is_known=not olds and bool(news) and judge.records.exists(name),
                    now=judge.now,
                    least=self._now if not olds else None,
                )
            )
            if wrong:
                return [(commit, path, violation) for path, violation in wrong]
            state = news[0]
            before = olds[0].record if olds else None
            brought += messages.brought(name, before, state.record, author=commit.email)
        # Who has brought something back to what it was has proposed nothing by that.
        late = self._late(chain[1:] if name in judge.records.illegal else chain, state)
        if late is not None:
            return [late]
        judge.tally.steps += len(chain)
        self.brought += brought
        if name in judge.records.illegal:
            # To compact what is illegal makes it no better.
            if not illegal:
                judge.records.restored(name, state)
        elif state is not None:
            judge.records.know(name, state)
        return []

    def _at_fork_of(self, commit: Commit) -> Policies:
        """The policies of the line where a carried commit was made: at the newest of it that its parent reaches."""
        judge = self._judge
        fork = judge.lines.newest_on(self._first, commit.parents[0])
        return judge.policies_at(fork) if fork is not None else self._now

    def _reopens(self, sides: Sides) -> bool:
        _, news = self._judge.commits.contents.sides(sides)
        return any(state.record is not None and state.record.reopens is not None for state in news)

    def _reopening(self, record: Record) -> Reopening:
        """What a birth reopens, as the merge leaves it."""
        return self._judge.reopening(self._commit.oid, record)

    def _late(self, chain: Sequence[_Step], state: State | None) -> tuple[Commit, str, Violation] | None:
        """A proposal lands within its lease, else within the time that the settings give proposals."""
        claims = self._now.settings.claims
        at, arrived = self._commit.committed_at, self._judge.arrived(self._commit)
        if state is None or state.record is None or not chain:
            return None
        until = steps.lease_of(state)
        if until is not None and at - until > claims.clock_tolerance:
            expected = f"expected it to be merged within its lease, by {format_time(until)}"
            return chain[-1].side.commit, state.path, Violation("time", expected)
        if until is not None and arrived - until <= claims.clock_tolerance:
            return None
        for step in chain:
            _, news = self._judge.commits.contents.sides(step.sides)
            late = steps.too_late(step.side.commit, news[0] if news else None, arrived, self._now)
            if late is not None:
                return step.side.commit, state.path, late
        return None

    # --- archives -----------------------------------------------------------------------------------

    def _compaction(self, commit: Commit) -> tuple[list[tuple[str, Violation]], dict[str, str]]:
        """What is wrong with a carried commit that compacts, and what it moved."""
        if commit.oid not in self._compactions:
            self._compactions[commit.oid] = self._judge.archives.compacted(commit, self._now)
        return self._compactions[commit.oid]

    def _look_into_archives(self, brought: dict[str, Sides]) -> None:
        """Add the records of new archives that neither side has in a file of its own; one that is there twice is found."""
        judge = self._judge
        made = {c.path: c for c in self._changes if layout.archive_at(c.path) and c.old is None}
        for change in made.values():
            for name in judge.archives.names_in(change, made):
                if len(judge.commits.standing(self._commit.oid, name)) == 1:
                    brought.setdefault(name, _alone(change))
                    continue
                judge.records.illegal.setdefault(
                    name, next(iter(judge.commits.states(self._first, name)), None)
                )
                judge.records.blame(
                    name, self._commit, change.path, Violation("twice", f"expected {name} once")
                )
                brought.pop(name, None)

    def _archives(self) -> None:
        """Each archive that it brings was made by a carried commit, and none changes."""
        judge = self._judge
        for change in self._changes:
            if not layout.archive_at(change.path):
                continue
            if change.old is not None:
                judge.findings.find(self._commit, change.path, Violation("archive", archive_file.FINAL))
                continue
            if not judge.records.looks_at_all:
                continue
            makers = [
                side.commit._replace(changes=judge.commits.difference(side).changes)
                for side in self._carried
                if len(side.commit.parents) == 1
                and any(
                    made[0] == change.path and made[4] == change.new
                    for made in judge.commits.difference(side).changes
                )
            ]
            if not makers:
                expected = "expected each archive as one of the parents has it"
                judge.findings.find(self._commit, change.path, Violation("merge", expected))
            for maker in makers[:1]:
                for path, violation in self._compaction(maker)[0]:
                    judge.findings.find(maker, path, violation)

    # --- policies -----------------------------------------------------------------------------------

    def _policy(self, steps: Mapping[str, Sequence[_Step]], change: Change) -> Violation | None:
        """Why it may not bring a version of a policy file in; None if it may."""
        if self._judge.moves_root(self._commit, change):
            return self._judge.one_root
        alone, some = _alone(change), steps.get(change.path, ())
        wrong: Violation | None = None
        for chain in self._chains(alone.before, alone.after, some):
            found = next(self._by_no_admins(chain), None)
            if found is None:
                return None
            wrong = wrong or found
        # An admin's pull takes in what others have pushed, and approves none of it.
        pulled = (
            next(self._by_no_admins(some), None) if self._judge.statements.is_pull(self._commit) else None
        )
        if pulled:
            words = "a merge that git itself named approves nothing (`git merge --no-ff -m TEXT` does)"
            return replace(pulled, expected=f"{pulled.expected}; {words}")
        if not self._may_bring_policies():
            return wrong or self._not_brought()
        self.acted = True
        return self._judge.authors.unproven(self._commit, self._now, self._judge.newest)

    def _by_no_admins(self, steps: Iterable[_Step]) -> Iterator[Violation]:
        """The same of several commits, each named."""
        for step in steps:
            for violation in self._by_no_admin(step):
                yield replace(violation, commit=step.side.commit.oid, author=step.side.commit.email)

    def _by_no_admin(self, step: _Step) -> Iterator[Violation]:
        """Why a carried commit may not have changed a policy file."""
        commit = step.side.commit
        yield from judge_step.judge_policies(commit.email, self._now)
        unproven = self._judge.authors.unproven(commit, self._now, step.side.newest)
        if unproven is not None:
            yield unproven

    def _not_brought(self) -> Violation:
        admins = ", ".join(self._now.roster.with_role("admin")) if self._now.roster else ""
        if not admins:
            return Violation(
                "policies", "expected a version that a commit which it brings has made of the branch's"
            )
        return Violation(
            "policies", f"expected an admin of the roster before it ({admins}), where it brings its own"
        )

    def _may_bring_policies(self) -> bool:
        """Whether its author is an admin on both sides, by the line's policies in force and as the other side has them."""
        if self._now.roster is None:
            return False
        other = self._judge.commits.written_at(self._other)
        both = (self._now, other)
        by_right = not any(judge_step.judge_policies(self._commit.email, side) for side in both)
        return other.roster is not None and by_right

    def _may_leave_out_policies(self) -> bool:
        """Whether its author may leave out what the other side has made of policies: where nobody has a role, anybody."""
        nobody = self._now.roster is None and self._judge.commits.written_at(self._other).roster is None
        return nobody or self._may_bring_policies()

    # --- what it leaves out -------------------------------------------------------------------------

    def _dropped(self, forked: Difference) -> None:
        """What the other side had changed since the fork is there, or the line had it before."""
        judge = self._judge
        left = (
            judge.commits.between(judge.commits.tree_of(self._other), self._commit.tree)
            if forked.changes
            else Difference()
        )
        theirs, missing = by_record(forked.changes), by_record(left.changes)
        theirs |= {
            c.path: _alone(c) for c in forked.changes if is_policy(c.path) or layout.archive_at(c.path)
        }
        missing |= {c.path: _alone(c) for c in left.changes if is_policy(c.path) or layout.archive_at(c.path)}
        for key in sorted(theirs.keys() & missing.keys()):
            name = None if is_policy(key) or layout.archive_at(key) else key
            if name is not None and not judge.records.looks_at(name):
                continue
            if is_policy(key) and self._may_leave_out_policies():
                self.acted = self._now.roster is not None
                continue
            wanted = self._at(self._other, name) if name else theirs[key].after
            if not self._line_had(key, name, wanted):
                self._lose(
                    key,
                    theirs[key],
                    f"as {self._other[:12]} has it, which the branch never had; merge it, or revert it there first (`git revert`)",
                )

    def _lose(self, key: str, sides: Sides, expected: str) -> None:
        """Note, once for each, what the merge leaves out: a record by where the other side has it, or the fork had it."""
        if key in self._lost:
            return
        self._lost.add(key)
        paths = [sides.path]
        if not is_policy(key) and not layout.archive_at(key):
            sources = [self._other, *([self._fork] if self._fork else [])]
            # Where a tree cannot be read there is no path to name.
            paths = [path for at in sources for path, _, _ in sorted(self._at(at, key)) if path] + paths
        name = key if paths[0] != key else None
        self._judge.findings.find(
            self._commit, paths[0], Violation("dropped", f"expected {key} {expected}"), name
        )

    def _gone_on_from(self, steps: Mapping[str, Sequence[_Step]]) -> None:
        """What a carried commit legally made of something is there, or was gone on from, or the line had it since.

        Else a decision could vanish on its way: taken back by whoever pushes, or left out by a merge before this one.
        """
        lines = self._judge.lines
        for key, some in steps.items():
            name = None if is_policy(key) else key
            final = self._final(key)
            if len(some) == 1 and _same(some[0].after, final):
                continue
            # Who has taken back what he might change wants nothing of it.
            undone = self._judge.commits.version(self._fork, key) if name is None and self._fork else None
            # Steps from which something is there that may be, by what they go on from; the newest first.
            kept: dict[frozenset[tuple[str, str]], list[_Step]] = {}
            for step in reversed([step for step in some if self._is_legal(key, step)]):
                made = step.side.commit.oid
                if (
                    _same(step.after, final)
                    or step.after == undone
                    or self._line_had(key, name, step.after)
                    or any(
                        lines.is_above(made, on.side.commit.oid) for on in kept.get(_bytes(step.after), ())
                    )
                ):
                    kept.setdefault(_bytes(step.before), []).append(step)
                    continue
                if name is None and self._may_drop(step):
                    self.acted = True
                else:
                    self._lose(
                        key,
                        step.sides,
                        f"to go on from what {made[:12]} made of it; revert that on the branch itself, or rebase",
                    )

    def _final(self, key: str) -> _Files:
        """The state of a record, or the version of a policy file, that the merge has."""
        if is_policy(key):
            return self._judge.commits.version_in(self._commit.tree, key)
        return frozenset(self._judge.commits.standing(self._commit.oid, key))

    def _is_legal(self, key: str, step: _Step) -> bool:
        """Whether a carried step is legal by itself: where it was made, and by the line's own policies."""
        judge = self._judge
        commit = step.side.commit._replace(changes=judge.commits.difference(step.side).changes)
        if is_policy(key):
            there = judge.commits.written_at(commit.parents[0])
            by_line = there.roster is not None and not any(self._by_no_admin(step))
            return by_line and not judge_step.judge_policies(commit.email, there)
        if key in self._illegal and _same(step.before, self._at(self._first, key)):
            return steps.is_restored(
                commit, self._now, self._illegal[key], judge.commits.standing(commit.oid, key)
            )
        if touches_archives(commit):
            return False
        olds, news = judge.commits.contents.sides(step.sides)
        if not news or any(state.problem for state in (*olds, *news)):
            return False
        policies = at_fork(self._now, self._at_fork_of(commit))
        found = steps.judge(
            *(commit, policies, olds, news, self._reopening),
            is_known=False,
            now=judge.now,
            least=self._now if not olds else None,
        )
        return next(iter(found), None) is None

    def _may_drop(self, step: _Step) -> bool:
        """Whether its author may leave out a change of policies: an admin before it, by it, and on both sides."""
        if not self._may_bring_policies():
            return False
        commit = step.side.commit
        rosters = (
            self._judge.commits.written_at(commit.oid),
            self._judge.commits.written_at(commit.parents[0]),
        )
        return not any(judge_step.judge_policies(self._commit.email, policies) for policies in rosters)

    def _line_had(self, path: str, name: str | None, wanted: _Files) -> bool:
        """Whether the line has had a state of a record, or a version of a file, since the other side has left it."""
        if path not in self._had:
            self._had[path] = {_bytes(state) for state in self._states_of_line(path, name)}
        return _bytes(wanted) in self._had[path]

    def _states_of_line(self, path: str, name: str | None) -> Iterator[_Files]:
        judge, first = self._judge, self._first
        specs = history.pathspecs(judge.store, name) if name else [f":(top,literal){judge.store.full(path)}"]
        since = [first, *([f"^{self._fork}"] if self._fork else [])]
        line = judge.lines.of(first, self._fork)
        try:
            touching = set(judge.store.repository.rev_list([*since, "--full-history", "--", *specs]))
        except GitFailed:
            # Some tree on the way is one that git itself does not read.
            touching = set(line)
        for oid in line:
            # A merge that takes one side of it touches nothing, as git tells it.
            if oid in touching or len(judge.lines.parents(oid)) > 1:
                yield self._at(oid, name) if name else judge.commits.version(oid, path)

    def _at(self, commit: str, name: str) -> _Files:
        return frozenset(self._judge.commits.standing(commit, name))

    def _author_of(self, change: Change) -> Commit:
        """The carried commit that brought a version of a file, else the merge itself."""
        for side in reversed(self._carried):
            if len(side.commit.parents) == 1 and any(
                made.path == change.path and made.new == change.new
                for made in self._judge.commits.difference(side).changes
            ):
                return side.commit
        return self._commit


def _same(one: _Files, other: _Files) -> bool:
    """Whether two states are the same; one in an archive is still what its file was."""
    return _bytes(one) == _bytes(other)


def _bytes(state: _Files) -> frozenset[tuple[str, str]]:
    """What there is of a record or file, wherever it is."""
    return frozenset((mode, oid) for _, mode, oid in state)


def _alone(change: Change) -> Sides:
    """The change of one file as the sides of what has no other file."""
    return Sides((change,) if change.old else (), (change,) if change.new else ())


def _keys(named: Mapping[str, Sides], changes: Iterable[Change]) -> dict[str, str]:
    """What some changes are about, by record or policy file, with a path of each."""
    found = {name: sides.path for name, sides in named.items()}
    return found | {change.path: change.path for change in changes if is_policy(change.path)}
