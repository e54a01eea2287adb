"""The judge: replays a store's history, oldest commit first, and lists the violations. See docs/rules.md.

`verify`, `check`, the server's hook and `wait` all use it. It keeps only the policies in force, the records
that are illegal now, and the ids that it has seen. It forgets everything else that it has judged.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise

from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.interface import Progress
from ..storage.trees import Difference, FileChange, Trees
from . import messages
from .commit_contents import SideCommit, refused
from .line import Lines
from .mark import Mark
from .merge import Merging
from .messages import Brought
from .parts import Parts
from .policies_in_force import is_policy
from .record_files import record_at
from .scope import Scope

# The commits of the line are read in batches of so many.
_BATCH = 256


class Judge:
    """Judges one line of a store."""

    def __init__(self, store: GitStore, lines: Lines, scope: Scope, trees: Trees) -> None:
        parts = Parts(store, lines, scope, trees)
        self._parts = parts
        self._store = store
        self._scope = scope
        self._lines = lines
        self._trees = trees
        self._judged = parts.judged
        #: For the callers: what the run reads, knows and finds.
        self.commits = parts.commits
        self.policies = parts.policies
        self.tally = parts.tally
        self.findings = parts.findings
        self.records = parts.records
        self.archives = parts.archives
        self.authors = parts.authors
        self.releases = parts.releases
        #: A commit of the line, and the mark at it once the run has passed it.
        self.passing: str | None = None
        self.passed: Mark | None = None

    @property
    def start(self) -> str | None:
        """The commit that starts the store, None where there is none."""
        return self._parts.start.commit

    def resume(self, known: Mark) -> None:
        """Continue from the mark of another run."""
        self.commits.read_as = dict(known.refused)
        is_sound = known.sound is not None and known.commit not in known.refused
        self._parts.start.resume(known.commit, known.start, known.named, is_sound=is_sound)
        root = self.commits.tree_of(known.sound) if known.sound is not None else None
        self._judged.resume(known.commit, known.sound, root, known.newest_at, (known.count, known.milestones))
        self.findings.resume(known.found, known.accepted, known.healed)
        base = self.commits.snapshot(known.sound) if self.start and known.sound else None
        illegal = {
            name: self.commits.contents.state(*file) if file else None for name, file in known.illegal.items()
        }
        owed = {name: set(keys) for name, keys in known.owed.items()}
        doubted = {name: set(keys) for name, keys in known.doubted.items()}
        self.records.resume(base, illegal, owed, set(known.waived), doubted)
        self._parts.releases.resume(known.usable, known.unreleased, known.start)
        self.policies.resume(known.policies, self._trees.policies(root) if base and root else {})

    def before_mark(self, judged: Callable[[], Judge]) -> None:
        """Say what judges the commits before the mark, if more has to be known of them than the mark holds."""
        self._parts.carried.before_mark = lambda: judged()._parts.carried

    def mark(self, commit: str) -> Mark:
        """The mark at ``commit``, the last one that was judged. The next run may begin there."""
        known, findings, newest = self.records, self.findings, self._judged.newest
        return Mark(
            commit,
            self.start,
            self._store.root,
            self._judged.sound,
            self.policies.mark(self._judged.commits),
            newest.timestamp(),
            tuple(sorted(self._parts.start.named)),
            dict(self.commits.read_as),
            {name: state.file if state else None for name, state in known.illegal.items()},
            {name: tuple(sorted(keys)) for name, keys in known.owed.items() if keys},
            tuple(sorted(known.waived)),
            {name: tuple(sorted(keys)) for name, keys in known.doubted.items() if keys},
            (*findings.earlier, *dict.fromkeys(findings.found)),
            tuple(sorted(findings.accepted)),
            tuple(sorted(findings.healed)),
            self._parts.releases.kept(),
            dict(self._parts.releases.illegal),
            *self._judged.milestones(commit),
        )

    def judge(
        self,
        commits: Iterable[tuple[Commit, bool]],
        line: Sequence[str],
        progress: Progress | None = None,
    ) -> list[Violation]:
        """The violations of a line and of the commits that its merges carry.

        ``commits`` has parents first, each with whether it has a signature.
        """
        self._judged.commits = line
        for batch in self._batches(commits, set(line)):
            self._batch(batch)
            if progress is not None and len(batch) == _BATCH:
                progress("judging commits", self._judged.count, len(line))
        for side in self.commits.sides.values():
            self._parts.start.judge_beside(side.commit)
        if progress is not None:
            progress("judging commits", len(line), len(line))
        return list(dict.fromkeys(self.findings.found))

    # --- along the line -----------------------------------------------------------------------------

    def _batches(
        self, commits: Iterable[tuple[Commit, bool]], on_line: Container[str]
    ) -> Iterator[list[Commit]]:
        """The commits of the line in batches; commits beside it are kept until a merge carries them in."""
        waiting: list[Commit] = []
        for read, is_signed in commits:
            commit = messages.shortened(read)
            self.tally.commits += 1
            if is_signed:
                self.authors.signed.add(commit.oid)
            if self._scope.arriving:
                self.authors.not_from_the_future(commit)
            if commit.oid in on_line:
                waiting.append(commit)
            else:
                self.commits.sides[commit.oid] = SideCommit(commit)
            if len(waiting) == _BATCH:
                yield waiting
                waiting = []
        yield waiting

    def _batch(self, commits: Sequence[Commit]) -> None:
        judged = self._judged
        roots = [judged.root, *(commit.tree for commit in commits)]
        guesses = [messages.files_told(commit) for commit in commits]
        found = self._trees.differences(list(pairwise(roots)), guesses)
        has_started = self.start is not None
        acting = (commit.oid for commit, one in zip(commits, found, strict=True) if one.changes)
        self.authors.read(acting, self.policies.policies)
        if has_started:
            self._learn(found)
        else:
            for trees in (self._trees, self.commits.other("")):
                trees.entries([commit.tree for commit in commits])
        for at, (commit, root, known) in enumerate(zip(commits, roots, found, strict=False)):
            difference: Difference | None = known
            if self.start is not None and not has_started:
                has_started = True
                self._learn(found[at:])
            if self.start is None:
                difference = self._first(commit)
            elif root != judged.root:
                # The tree before it was refused, so it is compared with the last that was not.
                [difference] = self._trees.differences([(judged.root, commit.tree)])
            if difference is not None:
                self._one(commit, difference)
            if judged.root == commit.tree:
                # Its tree could be read.
                judged.sound = commit.oid
            judged.add(commit.oid)
            if commit.oid == self.passing:
                self.passed = self.mark(commit.oid)
            judged.count += 1

    def _learn(self, found: Iterable[Difference]) -> None:
        """Read the records before and after some commits after the store's start, all at once."""
        changes = (change for one in found for change in one.changes if self.records.is_wanted(change))
        self.commits.contents.learn(changes)

    def _first(self, commit: Commit) -> Difference | None:
        """The changes of the store's first commit. None for a commit before it."""
        if self._parts.start.is_before(commit):
            self._judged.root = commit.tree
            return None
        [found] = self._trees.differences([(None, commit.tree)])
        return found

    def _one(self, commit: Commit, difference: Difference) -> None:
        start = self._parts.start
        wrong = difference.unsound
        if wrong is not None:
            self.findings.find(commit, *refused(wrong))
            start.commit = start.commit or commit.oid
            # Where none before it could be read, its own is asked once more, and cannot be.
            self.commits.read_as[commit.oid] = self._judged.sound or commit.oid
            self._parts.carried.judge(commit)
            return
        for path, kind in difference.modes:
            self.findings.find(commit, path, Violation("tree", f"expected a plain file; it is {kind}"))
        self._judged.root = commit.tree
        self.records.arrived = commit.committed_at
        self._parts.statements.judge_unread(commit)
        if start.commit is None:
            start.start(commit, difference)
            self._parts.releases.imported(commit, difference.changes)
            return
        start.judge_restart(commit, difference)
        if len(commit.parents) > 1:
            self._merge(commit, difference, self._parts.carried.judge(commit))
        else:
            self._plain(commit, difference)

    def _plain(self, commit: Commit, difference: Difference) -> None:
        """Judge a commit with one parent."""
        parts, judged, now = self._parts, self._judged, self.policies.policies
        said = parts.statements.said(commit)
        commit = Commit(*commit[:-1], difference.changes)
        changed = self.records.by_record(commit.changes)
        others = [change for change in commit.changes if not record_at(change.path)]
        policies = [change for change in others if is_policy(change.path)]
        archives = [change for change in others if layout.archive_at(change.path)]
        tampered = any(change.old for change in archives)
        released = parts.releases.changed(others)
        parts.releases.archived(commit, archives)
        acts = bool(
            policies or tampered or (difference.changes if self._scope.only is None else changed or released)
        )
        if not acts and not said:
            # Later dates are compared with it, whatever records the run looks at.
            judged.newest = self.authors.measured(commit, bool(difference.changes), judged.newest, now)
            return
        brought: list[Brought] = []
        moved: set[str] = set()
        if archives and (changed or released or self._scope.only is None):
            kept, moved = parts.archives.judged(commit, now, brought)
            changed, released = self.records.by_record(kept.changes), parts.releases.changed(kept.changes)
            self._foreign(commit, kept.changes)
        else:
            self._foreign(commit, others)
            # Even if the run looks at some records only: archives are trusted because none changes.
            parts.archives.changed(commit)
        named = parts.policy_changes.as_named_at(now, judged.sound or commit.parents[0])
        illegal = self.records.illegal.keys() & changed.keys()
        for name, sides in changed.items():
            self.records.touch(name, commit.oid)
            parts.steps.judge(commit, named, name, sides, brought)
        if archives:
            restored = illegal - self.records.illegal.keys()
            parts.archives.doubt(commit, archives, moved | restored, now, commit)
        parts.steps.reopened_once(commit, changed)
        parts.releases.judge(commit, now, released, brought)
        if policies:
            parts.policy_changes.follow(
                commit, policies, partial(parts.policy_changes.by_no_admin, commit, now)
            )
        self.authors.people(commit, now, acts=acts, newest=judged.newest)
        parts.statements.untrue(commit, said, brought, now)
        self.records.doubt(commit, changed)
        judged.newest = self.authors.measured(commit, bool(difference.changes), judged.newest, now)

    def _foreign(self, commit: Commit, changes: Iterable[FileChange]) -> None:
        """Note foreign files that a commit adds to the queue."""
        if self.records.looks_at_all:
            for change, violation in self.commits.foreign(changes):
                self.findings.find(commit, change.path, violation)

    # --- merges -------------------------------------------------------------------------------------

    def _merge(self, commit: Commit, difference: Difference, carried: Sequence[SideCommit]) -> None:
        parts, judged, now = self._parts, self._judged, self.policies.policies
        said = parts.statements.said(commit)
        above = self._lines.above(commit.oid)
        brought: Sequence[Brought] = ()
        acted = False
        if difference.changes:
            self.tally.merges += 1
            parts.releases.refuse(commit, difference.changes)
        if len(commit.parents) > 2:
            if difference.changes or said:
                self._octopus(commit, difference)
            for other in commit.parents[1:]:
                Merging(
                    parts, commit, difference, parts.carried.reached(commit.parents[0], [other]), other
                ).judge_omissions()
        elif above == commit.parents[0]:
            merging = Merging(parts, commit, difference, carried, commit.parents[1])
            merging.judge()
            brought, acted = merging.brought, merging.acted
        else:
            # The line goes past the first parent, whose changes must not get lost.
            beside = Merging(parts, commit, difference, carried, commit.parents[0])
            beside.judge_omissions()
            acted = parts.policy_changes.admit(commit) or beside.acted
            brought = [*parts.statements.brought_along(commit)] if said else ()
        if acted or said:
            self.authors.people(commit, now, acts=acted, newest=judged.newest)
        if not acted and not self._scope.arriving and self._brings(difference):
            # Its date is when what it brings came to the line, from which `valid_for` is counted.
            self.authors.not_from_the_future(commit)
        parts.statements.untrue(commit, said, brought, now)
        newest = max([judged.newest, *(side.newest for side in carried)])
        judged.newest = self.authors.measured(commit, acted, newest, now)
        for side in carried:
            if side.commit.oid in self.findings.guilty:
                self.records.doubt(side.commit, self.records.by_record(self.commits.difference(side).changes))
            del self.commits.sides[side.commit.oid]

    def _brings(self, difference: Difference) -> bool:
        """Whether a merge brings policies, or changes of the store that this run looks at."""
        if self.records.looks_at_all:
            return bool(difference.changes)
        is_policies = any(is_policy(change.path) for change in difference.changes)
        return is_policies or bool(self.records.by_record(difference.changes))

    def _octopus(self, commit: Commit, difference: Difference) -> None:
        """A merge of more than two parents may change nothing in the store, and state nothing about it."""
        wrong = Violation(
            "merge",
            "expected a merge of two parents: one of more may neither change the store nor state anything about it",
        )
        self.findings.find(commit, layout.QUEUE, wrong)
        self._parts.archives.were_here(commit, difference.changes)
        for name, sides in self.records.by_record(difference.changes).items():
            self.records.illegal.setdefault(name, self.commits.before(name, sides, commit.parents[0]))
            self.records.blame(name, commit, sides.path, wrong)
        self._parts.archives.doubt(commit, difference.changes, (), self.policies.policies, None)
        policies = [change for change in difference.changes if is_policy(change.path)]
        if policies:
            self._parts.policy_changes.follow(commit, policies, lambda _: wrong)
