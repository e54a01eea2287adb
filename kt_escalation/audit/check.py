"""`check`: judges a pull request against the current store branch, by this machine's clock.

See docs/pull-requests.md.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime

from ..errors import BadInput, GitFailed, UnreadableStore
from ..policies.roster import Roster, person
from ..rules.judge_step import Violation
from ..storage import commits, layout
from ..storage.clone import GitStore
from ..storage.interface import Author, Entry, Progress
from ..storage.trees import KT_YAML
from . import releases, statements
from .mark import remembered
from .record_files import by_record
from .report import Report, reported
from .run import History, Run
from .scope import Scope, Sender
from .verify import FULL, commit_of, opened, require_store

#: The time for asking the remote which branch is the store's, in seconds.
ASK_SECONDS = 30.0
# Who merges what would land. With a blank in it, it is neither an e-mail nor a user id of a roster.
_WHOEVER_MERGES = "whoever merges"
# The files that run the check: a change of them gives a note, or with ``strict`` a violation.
_RUNS_CHECKS = re.compile(r"\.github/workflows/|\.gitlab-ci\.yml$|\.gitlab/|\.gitea/|\.forgejo/")


def check(
    path: str | os.PathLike[str] = ".",
    wanted: str | None = None,
    *,
    now: datetime,
    method: str | None = None,
    actors: Sequence[Sender] | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Judge what a pull request would bring in.

    ``wanted`` is ``BASE..HEAD``; the default is the remote's store branch and HEAD. ``method`` says how it
    will be merged; the default is as git would merge it. All ``actors`` must be the author of every commit
    that acts in it. With ``strict``, a change to the files that run the check is a violation. Raises
    ShallowClone, BadInput, NotAStore.
    """
    with closing(opened(path)) as store:
        base, head = _pull_request(store, wanted)
        # A request does not say where the store is that it is held against.
        store.location.root = store.location.root_at(base)
        # A base whose store cannot be read, or was deleted, may be repaired by the request.
        require_store(store, base)
        with store.repository.scratch():
            landing = _Landing(History(store), base, head, now, method)
            run = landing.run(Scope(now, arriving=True), progress)
            report = reported(run, head, only_new=True, may_waive=False)
            found = list(landing.found(report.violations))
            if actors is not None:
                found += _not_theirs(run, actors, run.judge.policies.policies.roster, store, landing)
            notes = list(landing.notes(wanted))
            try:
                names, landed = landing.changed()
            except GitFailed:
                # If git cannot walk a tree, the judge has reported it; without a violation the error stands.
                if not found:
                    raise
                names = landed = frozenset()
                notes.append("kt cannot tell whether it changes the files that run this check")
        email = commits.header(store, head).email
        found += [
            replace(releases.ON_THE_LINE, commit=head, author=email, path=name)
            for name in names | landed
            if layout.released_id(store.below(name))
        ]
        changed = [name for name in landed if _RUNS_CHECKS.match(name)]
        if changed and strict:
            found += [
                Violation("foreign", "expected no change of the files that run this check", head, email, p)
                for p in changed
            ]
        elif changed:
            notes.append(f"changes the files that run this check: {', '.join(sorted(changed)[:5])}")
        proven = report.nobody_proven and actors is None
        return replace(
            report,
            violations=tuple(dict.fromkeys(found)),
            notes=tuple(notes),
            since=base,
            nobody_proven=proven,
        )


class _Landing:
    """A pull request, and the way it would be merged into the store branch."""

    def __init__(self, history: History, base: str, head: str, now: datetime, method: str | None) -> None:
        self._history = history
        self._store = history.store
        self._base = base
        self._head = head
        self._method = method
        self._now = now
        # Where the request left the branch, None for a history of its own.
        self._fork = self._store.repository.merge_base(base, head)
        # The commit on the request's line whose store has the same history as the base.
        resting = history.lines(head, base).resting(head, base) if self._fork == base else None
        self._is_ahead = resting is not None
        # The files that git cannot merge.
        self._conflicts: list[str] = []
        # The commits that would be made, which are temporary objects, with the request's commit for each.
        self._made: dict[str, str] = {}
        #: The merge that would land, if one would.
        self.merge: str | None = None
        # The tip of the branch now.
        self._since = base
        # The tip of the branch after the request.
        self._tip = head
        if method == "rebase":
            self._tip = self._replayed() or self._merged(None)
        elif method == "squash":
            self._tip = self._squashed()
        elif resting is not None:
            self._since = resting
        else:
            tree, self._conflicts = self._store.repository.merged_tree(base, head)
            self._tip = self._merged(tree)

    def run(self, scope: Scope, progress: Progress | None) -> Run:
        """Judge the request in the form in which it would be merged."""
        since = self._history.known(self._since, remembered(self._store, FULL), scope.now, progress)
        return self._history.run(self._tip, scope, since=since, progress=progress)

    def changed(self) -> tuple[AbstractSet[str], AbstractSet[str]]:
        """The paths that the request changes, and those that it would change on the branch. Raises GitFailed."""
        repository = self._store.repository
        names = repository.changed(self._fork or self._base, self._head)
        # A request that has merged the base may have left out what the base has by now.
        return names, names if self._conflicts else repository.changed(self._base, self._tip)

    def of(self, commit: str) -> str:
        """The commit of the request that a commit would be made of, or the commit itself."""
        return self._made.get(commit, commit)

    def _merged(self, tree: str | None) -> str:
        """The merge that would land. Without its tree, the commits in it can still be judged."""
        head = commits.header(self._store, self._head)
        who = Author(head.author, _WHOEVER_MERGES)
        self.merge = self._write(tree or self._tree_of(self._base), [self._base, self._head], "", who)
        self._made[self.merge] = self._head
        return self.merge

    def _squashed(self) -> str:
        """The squash that would land."""
        tree, self._conflicts = self._store.repository.merged_tree(self._base, self._head)
        head = commits.header(self._store, self._head)
        # A host squashes in the name of the person who opened the request: its author, if it has one author.
        who = Author(head.author, head.email)
        made = self._write(tree or self._tree_of(self._base), [self._base], head.message, who)
        self._made[made] = self._head
        return made

    def _replayed(self) -> str | None:
        """The last of the commits that a rebase would make, None if git cannot make them.

        It makes every commit but the merges again, without its signature, and leaves out what the base has already.
        """
        repository = self._store.repository
        tip, tree = self._base, self._tree_of(self._base)
        made: dict[str, str] = {}
        for commit in commits.headers(self._store, [self._head, f"^{self._base}", "--no-merges"]):
            who = Author(commit.author, commit.email)
            before = self._tree_of(commit.parents[0]) if commit.parents else None
            after: str | None = commit.tree
            if before != tree:
                # Beside a commit with the tree so far and its own parent, git merges just what it changed.
                beside = self._write(tree, commit.parents, "", who)
                after, self._conflicts = repository.merged_tree(beside, commit.oid)
            if after is None:
                return None
            if after != tree or before == commit.tree:
                tip = self._write(after, [tip], commit.message, who, Author(commit.author, _WHOEVER_MERGES))
                made[tip] = commit.oid
                tree = after
        if repository.count([self._head, f"^{self._base}", "--merges"]):
            # Some hosts fast-forward a request that has merged the base. Its merges may bring what no rebase does.
            merged, self._conflicts = repository.merged_tree(self._base, self._head)
            if merged is not None:
                self._conflicts = sorted(repository.changed(merged, tree))
            if self._conflicts:
                return None
        self._made = made
        return tip

    def _write(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        author: Author,
        committer: Author | None = None,
    ) -> str:
        """A commit, as a temporary object."""
        repository, seconds = self._store.repository, int(self._now.timestamp())
        data = repository.format_commit(tree, parents, message, author, seconds, committer)
        oid = repository.object_id("commit", data)
        repository.write_objects([(oid, "commit", data)], flush=False)
        return oid

    def _tree_of(self, commit: str) -> str:
        return commits.header(self._store, commit).tree

    def found(self, violations: Sequence[Violation]) -> Iterator[Violation]:
        """The violations of the request's commits, and of the commits that would be made of them."""
        if self._tip == self._head:
            yield from violations
            return
        named = {self.of(violation.commit) for violation in violations}
        for commit in dict.fromkeys(self._made.values()):
            unread = statements.unread(commits.header(self._store, commit))
            if unread is not None and commit not in named:
                # A host makes another commit of it, of which nobody can say beforehand what it states.
                yield replace(unread, commit=commit, path=self._store.full(layout.QUEUE))
        mine = [violation for violation in violations if violation.commit in self._made]
        names = {violation.escalation_id for violation in mine} | self._names(self._conflicts)
        moved = {violation.escalation_id: violation for violation in self._moved(names)}
        for violation in violations:
            if violation.commit not in self._made:
                yield violation
            elif not self._conflicts and not (
                violation.rule in ("merge", "dropped") and violation.escalation_id in moved
            ):
                commit = self.of(violation.commit)
                yield replace(violation, commit=commit, author=self._email(commit))
        yield from moved.values()
        others = [path for path in self._conflicts if not self._names([path]) & moved.keys()]
        if others:
            more = f"; so do {len(others) - 1} more" if len(others) > 1 else ""
            how = "rebase" if self._method == "rebase" or any(map(self._is_ours, others)) else "merge"
            with_what = "the base or a merge of the request" if self._method == "rebase" else "the base"
            expected = (
                f"expected a request that git can {self._method or 'merge'}: this file conflicts with {with_what}{more}; "
                f"on the request's branch run `git {how} {self._base[:12]}`, then push it"
            )
            yield Violation("moved", expected, self._head, self._email(self._head), others[0])

    def notes(self, wanted: str | None) -> Iterator[str]:
        """Notes on what depends on the merge method, which a request does not name."""
        repository = self._store.repository
        if self._fork == self._base and not self._is_ahead and self._method not in ("rebase", "squash"):
            yield (
                f"{self._head[:12]} has merged {self._base[:12]} into itself, so the server's hook takes it by a merge "
                "commit on the store branch (`git merge --no-ff`) and refuses it as a fast-forward"
            )
        branch = self._store.branch
        tip = repository.tip_of(f"refs/remotes/{self._store.remote}/{branch}") if self._store.remote else None
        if wanted is not None and tip is not None and tip != self._base:
            yield f"judged against {self._base[:12]}, and {branch} of {self._store.remote} is at {tip[:12]}"

    def _moved(self, names: AbstractSet[str | None]) -> Iterator[Violation]:
        """Violations for records that the base has changed since the fork and the request changes too."""
        fork, store = self._fork, self._store
        if not names or fork is None or fork == self._base:
            return
        trees = [commits.header(store, commit).tree for commit in (fork, self._head, self._base)]
        mine, theirs = (
            by_record(found.changes)
            for found in self._history.trees.differences([(trees[0], trees[1]), (trees[0], trees[2])])
        )
        for name in sorted(mine.keys() & theirs.keys() & names):
            if mine[name].after == theirs[name].after:
                continue
            expected = f"expected the state that the base has by now: {_told(store, self._base, name)}"
            paths = [store.full(path) for path, _, _ in mine[name].before | mine[name].after]
            specs = [f":(top,literal){path}" for path in paths]
            made = store.repository.rev_list([self._head, f"^{self._base}", "--full-history", "--", *specs])
            # A change that only a merge has belongs to the merge.
            by = made[-1] if made else self._head
            yield Violation("moved", expected, by, self._email(by), store.full(layout.open_path(name)), name)

    def _names(self, paths: Sequence[str]) -> set[str]:
        """The ids of the records in some paths."""
        return {name for path in paths if self._is_ours(path) and (name := layout.id_of(path))}

    def _is_ours(self, path: str) -> bool:
        """Whether a path belongs to the store."""
        return path == KT_YAML or path.startswith(
            tuple(f"{self._store.full(folder)}/" for folder in (layout.QUEUE, layout.POLICIES))
        )

    def _email(self, commit: str) -> str:
        return commits.header(self._store, commit).email


def _told(store: GitStore, commit: str, name: str) -> str:
    found = None
    with suppress(UnreadableStore):
        found = store.at(commit).find(name)
    if not isinstance(found, Entry):
        return f"{name} cannot be read there"
    record = found.record
    if record.resolution is not None:
        return f"{name} is {record.resolution.outcome} by {record.resolution.resolved_by}"
    if record.claim is not None:
        return f"{name} is held by {record.claim.claimed_by}"
    return f"{name} is {record.status}"


def _not_theirs(
    run: Run, actors: Sequence[Sender], roster: Roster | None, store: GitStore, landing: _Landing
) -> Iterator[Violation]:
    """Violations for commits whose author is not the sender that the host names. The merge has no author yet."""
    if not actors:
        return
    users: Mapping[Sender, str | None] = {actor: actor.user(roster) for actor in actors}
    for acted in run.judge.authors.acted:
        commit = acted.commit
        for actor, user in users.items():
            # Anybody can write any address into a commit, so the merge is known by its id.
            if commit.oid == landing.merge:
                continue
            if user is None or user != person(roster, acted.actor):
                who = f"{actor.forge}:{actor.name}" if actor.forge else actor.name
                expected = f"expected a commit by {user or who}, who sent the request; it is by {acted.actor}"
                yield Violation(
                    "pusher", expected, landing.of(commit.oid), commit.email, store.full(layout.QUEUE)
                )


def _pull_request(store: GitStore, wanted: str | None) -> tuple[str, str]:
    if wanted is not None:
        base, dots, head = wanted.partition("..")
        if not dots:
            raise BadInput(problem=f"{wanted!r} is no range; give BASE..HEAD")
        return commit_of(store, base or "HEAD"), commit_of(store, head.removeprefix(".") or "HEAD")
    if store.remote is None:
        raise BadInput(problem="there is no remote store branch to check against; give BASE..HEAD")
    branch = store.branches.to_write(ASK_SECONDS)
    tip = store.repository.commit_of(f"refs/remotes/{store.remote}/{branch}")
    if tip is None:
        hint = f"get it with `git fetch {shlex.quote(store.remote)}`, or give BASE..HEAD"
        raise BadInput(problem=f"{branch} of {store.remote} is not here to check against", hint=hint)
    return tip, commit_of(store, "HEAD")
