"""The judge: replays a store's history, oldest commit first, and lists the violations. See docs/rules.md.

`verify`, `check`, the server's hook and `wait` all use it. It keeps only the policies in force, the records
that are illegal now, and the ids that it has seen. It forgets everything else that it has judged.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

from ..git.objects import Object
from ..model.record import Record
from ..policies.policy_set import Policies
from ..policies.waivers import Waiver
from ..rules import judge_step
from ..rules.judge_step import Violation
from ..storage import commits, layout, lookup
from ..storage.clone import GitStore
from ..storage.commits import Commit, touches_archives
from ..storage.interface import Progress
from ..storage.tree_comparison import Ahead
from ..storage.trees import KT_YAML, Change, Difference, Trees
from . import steps
from .archives import Archives
from .authors import Authors
from .commit_contents import CommitContents, Side
from .findings import Findings
from .known_records import KnownRecords
from .line import Lines
from .mark import Mark
from .merge import Merging
from .messages import Brought
from .policies_in_force import InForce, is_policy
from .scope import Scope, Tally
from .statements import Statements
from .steps import Reopening, Sides, State

# So many commits of the line are read ahead of the judging.
_AT_ONCE = 256
# So many commits of the line are worth another process that compares their trees.
_LONG = 4_000
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Judge:
    """Judges one line of a store."""

    #: What is wrong with naming another folder, and with a step of what is illegal.
    one_root = Violation("root", "expected the folder that was named when the store began")
    not_restored = Violation(
        "restore",
        "expected its last legal state, by an admin (`kt escalation restore`), before anything else",
    )

    def __init__(self, store: GitStore, lines: Lines, scope: Scope, trees: Trees) -> None:
        self.store = store
        self.now = scope.now
        self.lines = lines
        self._scope = scope
        self.trees = trees
        self.commits = CommitContents(store, trees)
        self.policies = InForce(self.commits.written, store.root)
        self.tally = Tally()
        self.findings = Findings(store)
        self.records = KnownRecords(scope, self.findings)
        self.archives = Archives(store, scope, self.commits, self.records, self.findings, self.tally)
        self.statements = Statements(store, scope, lines, self.commits, self.findings)
        self.authors = Authors(store, scope, self.findings, self.policies, self.tally)
        #: The store's start, None where it has not begun.
        self.start: str | None = None
        #: A commit of the line of which a mark is kept.
        self.passing: str | None = None
        self.passed: Mark | None = None
        #: When the newest was made of what acted on the line.
        self.newest = _LONG_AGO
        # The folders that `.kt.yaml` named before the store began, and the commits from before that.
        self._named: set[str] = set()
        self._bare: set[str] = set()
        self._holding: dict[str, bool] = {}
        # The newest commit whose tree could be read, and its root tree.
        self._sound: str | None = None
        self._root: str | None = None
        self._line: Sequence[str] = ()
        self._at = 0
        self._position: dict[str, int] = {}
        self._newest_at: list[datetime] = []
        self._newest_there = _LONG_AGO

    def resume(self, known: Mark) -> None:
        """Go on from where another run has ended."""
        self.start, self._named = known.start, set(known.named)
        self.commits.read_as = dict(known.refused)
        # A tree that is refused counts for nothing; the next one is held against the last that was not.
        self._sound = known.sound
        self._root = self.commits.tree_of(known.sound) if known.sound is not None else None
        self.newest = self._newest_there = known.newest_at
        self.findings.resume(known.found, known.accepted, known.healed)
        base = self.commits.snapshot(known.sound) if self.start and known.sound else None
        illegal = {
            name: self.commits.contents.state(*file) if file else None for name, file in known.illegal.items()
        }
        owed = {name: set(keys) for name, keys in known.owed.items()}
        self.records.resume(base, illegal, owed, set(known.waived))
        self.policies.resume(known.policies, self.trees.policies(self._root) if base and self._root else {})
        self._position[known.commit] = -1
        if self.start is None:
            self._bare.add(known.commit)

    def mark(self, commit: str) -> Mark:
        """Where the next run may begin: what is known after the newest commit that was judged, which this is."""
        known, findings = self.records, self.findings
        return Mark(
            commit,
            self.start,
            self.store.root,
            self._sound,
            self.policies.mark(self._line),
            self.newest.timestamp() if self.newest > _LONG_AGO else 0.0,
            tuple(sorted(self._named)),
            dict(self.commits.read_as),
            {name: state.file if state else None for name, state in known.illegal.items()},
            {name: tuple(sorted(keys)) for name, keys in known.owed.items() if keys},
            tuple(sorted(known.waived)),
            (*findings.earlier, *dict.fromkeys(findings.found)),
            tuple(sorted(findings.accepted)),
            tuple(sorted(findings.healed)),
        )

    def judge(
        self,
        commits: Iterable[Commit],
        line: Sequence[str],
        signed: Iterator[tuple[str, bool]],
        progress: Progress | None = None,
    ) -> list[Violation]:
        """The violations of the commits of a line, and of those that its merges carry; parents come first.

        ``signed`` says of each, in the same order, whether it carries a signature.
        """
        self._line = line
        batches = self._batches(commits, set(line), signed)
        for some, found in self._compared(batches, len(line)):
            self._some(some, *found)
            if progress is not None and len(some) == _AT_ONCE:
                progress("judging commits", self._at, len(line))
        for side in self.commits.sides.values():
            self._begins_beside(side.commit)
        self.authors.check_signatures()
        if progress is not None:
            progress("judging commits", len(line), len(line))
        return list(dict.fromkeys(self.findings.found))

    # --- along the line -----------------------------------------------------------------------------

    def _batches(
        self, commits: Iterable[Commit], on_line: Container[str], signed: Iterator[tuple[str, bool]]
    ) -> Iterator[list[Commit]]:
        """The commits of the line, so many at a time; those beside it are kept until a merge brings them."""
        waiting: list[Commit] = []
        for commit in commits:
            self.tally.commits += 1
            if next(signed, (commit.oid, False)) == (commit.oid, True):
                self.authors.signed.add(commit.oid)
            if self._scope.arriving:
                self.authors.not_from_the_future(commit)
            if commit.oid in on_line:
                waiting.append(commit)
            else:
                self.commits.sides[commit.oid] = Side(commit)
            if len(waiting) == _AT_ONCE:
                yield waiting
                waiting = []
        yield waiting

    def _compared(
        self, batches: Iterable[list[Commit]], count: int
    ) -> Iterator[tuple[list[Commit], tuple[list[Difference], Mapping[str, Object]]]]:
        """Each batch with what each commit changed; of a long line another process compares the next one meanwhile."""
        last = self._root
        if count < _LONG or not self.store.repository.is_settled:
            for batch in batches:
                roots = [last, *(commit.tree for commit in batch)]
                last = roots[-1]
                yield batch, (self.trees.differences(list(pairwise(roots))), {})
            return
        ahead = Ahead(self.store.repository, self.store.root, self.trees)
        waiting: list[list[Commit]] = []
        try:
            for batch in batches:
                roots = [last, *(commit.tree for commit in batch)]
                last = roots[-1]
                ahead.ask(roots)
                waiting.append(batch)
                if len(waiting) == 2:
                    yield waiting.pop(0), ahead.answer()
            yield waiting.pop(0), ahead.answer()
        finally:
            ahead.close()

    def _some(
        self, commits: Sequence[Commit], found: Sequence[Difference], blobs: Mapping[str, Object]
    ) -> None:
        roots = [self._root, *(commit.tree for commit in commits)]
        if self.start is not None:
            changes = (change for one in found for change in one.changes if self.records.is_wanted(change))
            self.commits.contents.learn(changes, blobs)
        else:
            for trees in (self.trees, self.commits.other("")):
                trees.entries([commit.tree for commit in commits])
        for commit, root, known in zip(commits, roots, found, strict=False):
            difference: Difference | None = known
            if self.start is None:
                difference = self._begins(commit)
            elif root != self._root:
                # The tree before it was refused, so it is held against the last that was not.
                [difference] = self.trees.differences([(self._root, commit.tree)])
            if difference is not None:
                self._one(commit, difference)
            if self._root == commit.tree:
                # The newest that could be read; what it holds is what the next one goes on from.
                self._sound = commit.oid
            self._position[commit.oid] = self._at
            self._newest_at.append(self.newest)
            if commit.oid == self.passing:
                self.passed = self.mark(commit.oid)
            self._at += 1
            self.authors.check_some()

    def _begins(self, commit: Commit) -> Difference | None:
        """What the store's start brings, None before it."""
        if not self.trees.has_store(commit.tree):
            self._root = commit.tree
            self._bare.add(commit.oid)
            [top] = self.commits.other("").entries([commit.tree])
            named = self.store.location.root_named(commit.oid) if top.kt_yaml else ""
            if named is not None and self.commits.other(named).has_store(commit.tree):
                self._named.add(named)
            return None
        [found] = self.trees.differences([(None, commit.tree)])
        return found

    def _one(self, commit: Commit, difference: Difference) -> None:
        wrong = difference.unsound
        if wrong is not None:
            where = wrong.path.rstrip("/") or layout.QUEUE
            self.findings.find(
                commit, where, Violation("tree", f"expected a tree as git writes it; it {wrong.problem}")
            )
            self.start = self.start or commit.oid
            if self._sound is not None:
                self.commits.read_as[commit.oid] = self._sound
            self._carried(commit)
            return
        for path, kind in difference.modes:
            self.findings.find(commit, path, Violation("tree", f"expected a plain file; it is {kind}"))
        self._root = commit.tree
        if self.start is None:
            self.start = commit.oid
            self._begun(commit, difference)
            return
        above = self.lines.above(commit.oid) or ""
        gone = bool(difference.changes) and all(change.new is None for change in difference.changes)
        if gone or above in self._bare:
            if not self.trees.has_store(commit.tree):
                self._bare.add(commit.oid)
            elif not any(map(self._holds, commit.parents)):
                self._second_start(commit)
        if len(commit.parents) > 1:
            self._merge(commit, difference, self._carried(commit))
        else:
            self._plain(commit, difference)

    def _carried(self, commit: Commit) -> list[Side]:
        """What a merge brings beside its line, once it was seen that none of it does what no such commit may."""
        above = self.lines.above(commit.oid) or ""
        found = self._beyond(above, [parent for parent in commit.parents if parent != above])
        for side in found:
            self._beside(side)
        return found

    def _beyond(self, line: str, others: Sequence[str]) -> list[Side]:
        """The commits that some reach and a commit of the line does not, parents first."""
        return [
            self.commits.sides[oid] for oid in self.lines.carried(others, line) if oid in self.commits.sides
        ]

    def _begun(self, commit: Commit, difference: Difference) -> None:
        """The start: what it brings is imported, and nobody can say how that came about."""
        if len(commit.parents) > 1:
            self._second_start(commit)
        changes = [change for change in difference.changes if change.new]
        self.commits.contents.learn(changes, {})
        policies = [change for change in changes if is_policy(change.path)]
        for path, violation in self.policies.begin(
            self._at, self.commits.policies_tree(commit.tree), policies
        ):
            self.findings.find(commit, path, violation)
        commit = commit._replace(changes=tuple(changes))
        self.archives.imported(commit)
        for name, sides in self.records.by_record(changes).items():
            _, news = self.commits.contents.sides(sides)
            self.tally.imported += len(news)
            if len(news) > 1 or self.records.exists(name):
                self.findings.find(
                    commit, news[-1].path, Violation("twice", f"expected one file for {name}"), name
                )
            for path, violation in steps.faults(news):
                self.records.illegal[name] = None
                self.records.blame(name, commit, path, violation)
            self.records.know(name, news[0] if not news[0].problem else None)
            self.records.imported.add(name)
        self._foreign(commit, changes)
        self.newest = commit.committed_at
        if self._named - {self.store.location.root_named(commit.oid)}:
            self.findings.find(commit, KT_YAML, self.one_root)

    def _second_start(self, commit: Commit) -> None:
        expected = "expected one beginning of the store, by a commit with one parent at most"
        self.findings.find(commit, layout.QUEUE, Violation("start", expected))

    def _plain(self, commit: Commit, difference: Difference) -> None:
        """A commit with one parent."""
        now = self.policies.policies
        said = self.statements.said(commit)
        commit = commit._replace(changes=difference.changes)
        changed = self.records.by_record(commit.changes)
        policies = [change for change in commit.changes if is_policy(change.path)]
        tampered = any(change.old and layout.archive_at(change.path) for change in commit.changes)
        acts = bool(policies or tampered or (difference.changes if self._scope.only is None else changed))
        if not acts and not said:
            # Others are measured by it, whichever records are looked at.
            self.newest = self.authors.measured(commit, bool(difference.changes), self.newest)
            return
        brought: list[Brought] = []
        if touches_archives(commit) and (changed or self._scope.only is None):
            kept = self.archives.judged(commit, now, brought)
            changed = self.records.by_record(kept.changes)
            self._foreign(commit, kept.changes)
        else:
            self._foreign(commit, commit.changes)
            # Whatever is looked at: what an archive has is believed because none changes.
            self.archives.changed(commit)
        if self._scope.only is not None and changed:
            self.records.touching.add(commit.oid)
        for name, sides in changed.items():
            self._step(commit, now, name, sides, brought)
        self._reopened_once(commit, changed)
        if policies:
            self.follow(commit, policies, partial(self._by_no_admin, commit, now))
        self.authors.people(commit, now, acts=acts, newest=self.newest)
        self.statements.untrue(commit, said, brought, now)
        self.newest = self.authors.measured(commit, bool(difference.changes), self.newest)

    def _step(self, commit: Commit, now: Policies, name: str, sides: Sides, brought: list[Brought]) -> None:
        """Judge what a plain commit of the line does to one record."""
        self.tally.steps += 1
        olds, news = self.commits.contents.sides(sides)
        parent = self._sound or commit.parents[0]
        if name in self.records.illegal:
            if steps.is_restored(
                commit, now, self.records.illegal[name], self.commits.standing(commit.oid, name)
            ):
                self.records.restored(name, self.records.illegal[name])
            else:
                self.records.blame(name, commit, (news or olds)[0].path, self.not_restored)
            brought += self.statements.made(commit, name, olds, news)
            return
        is_known = not olds and bool(news) and self.records.exists(name)
        found = list(
            steps.judge(
                *(commit, now, olds, news, partial(self.reopening, parent)),
                is_known=is_known,
                now=self._scope.now,
            )
        )
        # Also an illegal step is what the message says of it.
        brought += self.statements.made(commit, name, olds, news, restored=bool(found))
        if not found:
            self.records.know(name, news[0])
            # A record does not say when its claim was renewed.
            is_renewal = any(steps.claim_of(old) == steps.claim_of(news[0]) != "" for old in olds)
            late = self._too_late(commit, now, news[0], is_renewal=is_renewal)
            if late is not None:
                self.findings.find(commit, news[0].path, late, name)
            return
        legal = olds[0] if olds else next(iter(self.commits.states(parent, name)), None) if is_known else None
        self.records.was_here(name)
        self.records.illegal[name] = legal
        for path, violation in found:
            self.records.blame(name, commit, path, violation)

    def _too_late(self, commit: Commit, now: Policies, state: State, *, is_renewal: bool) -> Violation | None:
        """Why a step comes too late that is yet to come in; of what is in already nobody knows when it came."""
        if not self._scope.arriving or self.records.base is None or is_renewal:
            return None
        until = steps.lease_of(state)
        if until is not None and self.now - until <= now.settings.claims.clock_tolerance:
            return None
        return steps.too_late(commit, state, self.now, now)

    def _reopened_once(self, commit: Commit, changed: Mapping[str, Sides]) -> None:
        """No two of what one commit raises reopen the same; that none did before is asked of each."""
        if len(changed) < 2:
            return
        first: dict[str, str] = {}
        for name, sides in changed.items():
            record = (
                self.commits.contents.sides(sides)[1][0].record if sides.news and not sides.olds else None
            )
            if record is None or record.reopens is None or record.resolution is not None:
                continue
            other = first.setdefault(record.reopens, name)
            if other != name:
                expected = f"expected {record.reopens} to be reopened once; {other} does as well"
                self.records.illegal.setdefault(name, None)
                self.records.blame(name, commit, sides.path, Violation("already_reopened", expected))

    def follow(
        self, commit: Commit, changes: Sequence[Change], illegal: Callable[[Change], Violation | None]
    ) -> None:
        """Follow a change of policies, and count the waivers that a legal one adds."""
        tree = self.commits.policies_tree(commit.tree)
        for path, violation in self.policies.change(self._at, commit.oid, tree, changes, illegal):
            self.findings.find(commit, path, violation)
        self._count_waivers(commit, tree)

    def _count_waivers(self, commit: Commit, tree: str | None) -> None:
        while waivers := self.policies.added:
            self.policies.added = frozenset()
            self._waive(commit, tree, waivers)

    def _waive(self, commit: Commit, tree: str | None, waivers: Iterable[Waiver]) -> None:
        """Accept what new waivers name, of what was found before the commit that adds them."""
        accepted = self.findings.accept(waivers, commit)
        self.records.excuse(accepted)
        self.policies.waive(
            self._at, tree, [(found.commit, self.store.below(found.path)) for found in accepted]
        )

    def _by_no_admin(self, commit: Commit, now: Policies, change: Change) -> Violation | None:
        """Why somebody may not change a policy file."""
        if self.moves_root(commit, change):
            return self.one_root
        found = next(iter(judge_step.judge_policies(commit.email, now)), None)
        return found or self.authors.unproven(commit, now, self.newest)

    # --- merges -------------------------------------------------------------------------------------

    def _beside(self, side: Side) -> None:
        """What no carried commit may do, whatever is taken of it: begin a store, speak untruly, be unsigned."""
        commit, now = side.commit, self.policies.policies
        self._begins_beside(commit)
        side.newest = max([self._newest_of(parent) for parent in commit.parents], default=_LONG_AGO)
        said = self.statements.said(commit)
        acts = moves = False
        if len(commit.parents) < 2 or said:
            difference = self.commits.difference(side)
            acts = len(commit.parents) < 2 and self._acts(difference)
            moves = len(commit.parents) < 2 and (bool(difference.changes) or difference.unsound is not None)
            if acts or said:
                self.authors.people(commit, now, acts=acts, newest=side.newest)
            if said:
                brought = () if difference.unsound else self.statements.brought_by(commit, difference)
                self.statements.untrue(commit, said, brought, now)
        side.newest = self.authors.measured(commit, moves, side.newest)

    def _acts(self, difference: Difference) -> bool:
        """Whether a carried commit does anything to what is looked at."""
        if self._scope.only is None:
            return bool(difference.changes) or difference.unsound is not None
        changed = self.records.by_record(difference.changes)
        return bool(changed) or any(is_policy(change.path) for change in difference.changes)

    def _begins_beside(self, commit: Commit) -> None:
        """A commit beside the line begins no store of its own."""
        if not any(map(self._holds, commit.parents)) and self.trees.has_store(commit.tree):
            self._second_start(commit)

    def _holds(self, commit: str) -> bool:
        """Whether a commit holds a store."""
        if commit in self._position:
            return commit not in self._bare
        if commit not in self._holding:
            self._holding[commit] = self.trees.has_store(self.commits.tree_of(commit))
        return self._holding[commit]

    def _newest_of(self, commit: str) -> datetime:
        """When the newest was made of what acted up to a commit."""
        side = self.commits.sides.get(commit)
        if side is not None:
            return side.newest
        at = self._position.get(commit)
        if at is not None:
            return self._newest_at[at] if at >= 0 else self._newest_there
        if commit not in self.lines or not self.authors.is_signed_by_rule(self.policies.policies):
            return _LONG_AGO
        # Before the mark nobody has kept it.
        limit = self._scope.now + self.policies.policies.settings.claims.clock_tolerance
        return max((date for date in commits.dates(self.store, commit) if date <= limit), default=_LONG_AGO)

    def _merge(self, commit: Commit, difference: Difference, carried: Sequence[Side]) -> None:
        said = self.statements.said(commit)
        now = self.policies.policies
        above = self.lines.above(commit.oid)
        brought: Sequence[Brought] = ()
        acted = False
        if difference.changes:
            self.tally.merges += 1
        if len(commit.parents) > 2:
            if difference.changes or said:
                self._octopus(commit, difference)
            for other in commit.parents[1:]:
                Merging(self, commit, difference, self._beyond(commit.parents[0], [other]), other).drops()
        elif above == commit.parents[0]:
            merging = Merging(self, commit, difference, carried, commit.parents[1])
            merging.judge()
            brought, acted = merging.brought, merging.acted
        else:
            # The line goes past the first parent, and what came in on that side may not get lost there.
            beside = Merging(self, commit, difference, carried, commit.parents[0])
            beside.drops()
            acted = self._admits(commit) or beside.acted
            brought = [*self.statements.brought_along(commit)] if said else ()
        if acted or said:
            self.authors.people(commit, now, acts=acted, newest=self.newest)
        self.statements.untrue(commit, said, brought, now)
        newest = max([self.newest, *(side.newest for side in carried)])
        self.newest = self.authors.measured(commit, acted, newest)
        for side in carried:
            del self.commits.sides[side.commit.oid]

    def _octopus(self, commit: Commit, difference: Difference) -> None:
        """A merge of more than two parents brings nothing of the store, and says nothing of it."""
        wrong = Violation("merge", "expected a merge of two parents, where it brings or says something")
        self.findings.find(commit, layout.QUEUE, wrong)
        for name, sides in self.records.by_record(difference.changes).items():
            self.records.illegal.setdefault(name, self.commits.before(name, sides, commit.parents[0]))
            self.records.blame(name, commit, sides.path, wrong)
        policies = [change for change in difference.changes if is_policy(change.path)]
        if policies:
            self.follow(commit, policies, lambda _: wrong)

    def _admits(self, commit: Commit) -> bool:
        """Whether a merge that the line goes past brings in, by an admin's hand, what was no admin's to change.

        Section 6: a change of policies is legal if an admin authored it, *or the merge that brings it in*. The admin
        is one where the request's branch left the line, and none by what it brings.
        """
        fork = self.lines.fork(commit.oid)
        if fork is None or not self._holds(fork):
            return False
        plain = {oid for oid in self.lines.of(commit.oid, fork) if len(self.lines.parents(oid)) == 1}
        asked = self.policies.admissible(plain)
        if not asked or self.statements.is_pull(commit):
            return False
        both = (self.policies_at(fork), self.policies.policies)
        if any(judge_step.judge_policies(commit.email, policies) for policies in both):
            return False
        if self.authors.unproven(commit, both[1], self.newest) is None:
            tree = self.commits.policies_tree(commit.tree)
            self.policies.admit(self._at, tree, asked)
            self._count_waivers(commit, tree)
            self.findings.drop({("policies", oid, self.store.full(path)) for oid, path in asked})
        # If not, it has acted all the same, and is told what its word lacks.
        return True

    # --- people, times and words --------------------------------------------------------------------

    # --- what a commit has beside records and policies ----------------------------------------------

    def _foreign(self, commit: Commit, changes: Iterable[Change]) -> None:
        if self._scope.only is not None:
            return
        for change in changes:
            if self.commits.is_foreign(change):
                expected = "expected nothing but escalations below queue/"
                self.findings.find(commit, change.path, Violation("foreign", expected))

    def arrived(self, commit: Commit) -> datetime:
        """When a merge comes to the line: at its date, and on a line that is there no earlier than now."""
        is_coming = self._scope.arriving and self.records.base is not None
        return max(commit.committed_at, self.now) if is_coming else commit.committed_at

    def moves_root(self, commit: Commit, change: Change) -> bool:
        """Whether a change of `.kt.yaml` names another folder for the store than when that began."""
        return self.commits.moves_root(self.start, commit, change)

    def policies_at(self, commit: str) -> Policies:
        """The policies that were in force at a commit of the line."""
        at = self._position.get(commit)
        if at is not None:
            return self.policies.at(at)
        return self.policies.before(self.lines.depth(commit), self.lines.depth)

    # --- records ------------------------------------------------------------------------------------

    def reopening(self, commit: str, record: Record) -> Reopening:
        """What is known at a commit of what a record reopens."""
        snapshot = self.commits.snapshot(commit)
        if record.reopens in self.records.illegal:
            # It cannot be reopened as it is, but who decided it before that still did.
            legal = self.records.illegal[record.reopens]
            return Reopening(decided=legal.record if legal else None)
        if snapshot is None or record.reopens is None:
            return Reopening()
        again = lookup.open_reopener(snapshot, record.reopens, but=record.escalation_id)
        return Reopening(lookup.record_of(snapshot, record.reopens), again)

    # --- what is found ------------------------------------------------------------------------------
