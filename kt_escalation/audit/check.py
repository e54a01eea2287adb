"""`check`: what a pull request would bring in, judged against the store branch as it is now, by our own clock."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

from ..core.roster import Roster, logged_in, person
from ..core.verify import Violation
from ..errors import BadInput
from ..store import commits, layout
from ..store.commits import Commit
from ..store.gitstore import GitStore
from ..store.port import Entry, Progress
from ..store.snapshot import GitSnapshot
from .judge import Scope
from .records import by_record
from .replay import History, Run
from .report import Report, reported
from .verify import commit_of, opened

#: How long the remote may take to say which branch is the store's, in seconds.
ASK_SECONDS = 30.0
METHODS = ("merge", "rebase", "squash")
# The files that run the check, which a request must not change unseen.
_RUNS_CHECKS = re.compile(r"\.github/workflows/|\.gitlab-ci\.yml$|\.gitlab/|\.gitea/|\.forgejo/")


@dataclass(frozen=True)
class Actor:
    """Who sent a request, as the host says: a login there, or without a forge an id or e-mail of the roster."""

    name: str
    forge: str | None = None

    def user(self, roster: Roster | None) -> str | None:
        """Who that is, None for nobody on the roster."""
        if self.forge is not None:
            return logged_in(roster, self.forge, self.name) if roster else None
        return person(roster, self.name)


def check(
    path: str | os.PathLike[str] = ".",
    wanted: str | None = None,
    *,
    now: datetime,
    method: str | None = None,
    actors: Sequence[Actor] | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Judge what a pull request would bring in.

    ``wanted`` is ``BASE..HEAD``; without it, the remote's store branch and HEAD. ``method`` says how it will land,
    without it as git would merge it; all ``actors`` must be the author of all that acts in it. ``strict`` makes a
    violation of a change to the files that run the check. Raises ShallowClone, BadInput, NotAStore.
    """
    with closing(opened(path)) as store:
        base, head = _pull_request(store, wanted)
        store.at(base)
        history = History(store)
        scope = Scope(now, arriving=True)
        landing = _Landing(history, base, head, now)
        run, moved = landing.run(scope, method, progress)
        report = reported(run, head, may_waive=False)
        names = {violation.escalation_id for violation in moved}
        kept = [
            v for v in report.violations if not (v.rule in ("merge", "dropped") and v.escalation_id in names)
        ]
        found = [landing.named(violation) for violation in (*kept, *moved)]
        roster = run.judge.policies.policies.roster
        if actors is not None:
            found += _not_theirs(run, actors, roster, store)
        changed = [
            name for name in store.repository.changed(landing.fork or base, head) if _RUNS_CHECKS.match(name)
        ]
        notes = list(landing.notes(wanted))
        if changed and strict:
            email = store.repository.email_of(head)
            found += [
                Violation("foreign", "expected no change of what runs this check", head, email, p)
                for p in changed
            ]
        elif changed:
            notes.append(f"changes what runs this check: {', '.join(sorted(changed)[:5])}")
        proven = report.nobody_proven and actors is None
        return replace(
            report,
            violations=tuple(dict.fromkeys(found)),
            notes=tuple(notes),
            since=base,
            nobody_proven=proven,
        )


class _Landing:
    """How a request comes to the store branch."""

    def __init__(self, history: History, base: str, head: str, now: datetime) -> None:
        self._history = history
        self._store = history.store
        self._base = base
        self._head = head
        self._now = now
        #: Where the request left the branch, None for a history of its own.
        self.fork = self._store.repository.merge_base(base, head)
        self._is_ahead = history.lines_of([base, head]).resting(head, base) is not None and self.fork == base
        # The commit that a merge of it would be; no repository has it.
        self._oid = "f" * len(base)

    def run(
        self, scope: Scope, method: str | None, progress: Progress | None
    ) -> tuple[Run, Sequence[Violation]]:
        """Judge it as it would land, and tell what the branch has changed meanwhile as well."""
        since = self._history.resumed(self._base)
        if method != "squash" and self._is_ahead:
            return self._history.run(self._head, scope, since=since, progress=progress), ()
        moved = list(self._moved())
        tree = self._store.repository.merged_tree(self._base, self._head)
        head = commits.header(self._store, self._head)
        parents = (self._base,) if method == "squash" else (self._base, self._head)
        # A squash is in the name of whoever opened the request, which is its author if it is one person's.
        email, message = (head.email, head.message) if method == "squash" else ("", "")
        made = Commit(self._oid, parents, tree or head.tree, head.author, email, email, self._now, message)
        lines = self._history.lines_of([self._base, self._head])
        lines.add(self._oid, parents)
        if tree is None:
            # git cannot merge it: what both have changed is all that can be said.
            made = replace(made, tree=commits.header(self._store, self._base).tree)
        run = self._history.run(self._oid, scope, since=since, lines=lines, synthetic=made, progress=progress)
        return run, moved

    def named(self, violation: Violation) -> Violation:
        """A violation of the merge that is yet to be made is the request's."""
        if violation.commit != self._oid:
            return violation
        return replace(violation, commit=self._head, author=self._store.repository.email_of(self._head))

    def notes(self, wanted: str | None) -> Iterator[str]:
        """What depends on how it comes in, which a request does not say."""
        repository = self._store.repository
        if repository.is_ancestor(self._base, self._head) and not self._is_ahead:
            yield (
                f"{self._head[:12]} has merged {self._base[:12]} into itself, so the server's hook takes it by a merge "
                "commit on the store branch (`git merge --no-ff`) and refuses it as a fast-forward"
            )
        branch = self._store.branch
        tip = repository.tip_of(f"refs/remotes/{self._store.remote}/{branch}") if self._store.remote else None
        if wanted is not None and tip is not None and tip != self._base:
            yield f"judged against {self._base[:12]}, and {branch} of {self._store.remote} is at {tip[:12]}"

    def _moved(self) -> Iterator[Violation]:
        """What the base has done since to records that the request changes as well."""
        fork, store = self.fork, self._store
        if fork is None or fork == self._base:
            return
        trees = [commits.header(store, commit).tree for commit in (fork, self._head, self._base)]
        mine, theirs = (
            by_record(found.changes)
            for found in self._history.trees.differences([(trees[0], trees[1]), (trees[0], trees[2])])
        )
        there = store.at(self._base)
        for name in sorted(mine.keys() & theirs.keys()):
            if mine[name].after == theirs[name].after:
                continue
            expected = f"expected the state that the base has by now: {_told(there, name)}"
            paths = [store.full(path) for path, _, _ in mine[name].before | mine[name].after]
            specs = [f":(top,literal){path}" for path in paths]
            made = store.repository.rev_list([self._head, f"^{self._base}", "--full-history", "--", *specs])
            # What only a merge brings is the merge's.
            by = made[-1] if made else self._head
            email = store.repository.email_of(by)
            yield Violation("moved", expected, by, email, store.full(layout.open_path(name)), name)


def _told(snapshot: GitSnapshot, name: str) -> str:
    found = snapshot.find(name)
    if not isinstance(found, Entry):
        return f"{name} cannot be read there"
    record = found.record
    if record.resolution is not None:
        return f"{name} is {record.resolution.outcome} by {record.resolution.resolved_by}"
    if record.claim is not None:
        return f"{name} is held by {record.claim.claimed_by}"
    return f"{name} is {record.status}"


def _not_theirs(
    run: Run, actors: Sequence[Actor], roster: Roster | None, store: GitStore
) -> Iterator[Violation]:
    """What acts in a request in somebody's name other than the host's word for who sent it."""
    if not actors:
        return
    users: Mapping[Actor, str | None] = {actor: actor.user(roster) for actor in actors}
    for acted in run.judge.acted:
        commit = acted.commit
        for actor, user in users.items():
            if not commit.email:
                continue
            if user is None or user != person(roster, acted.actor):
                who = f"{actor.forge}:{actor.name}" if actor.forge else actor.name
                expected = f"expected a commit by {user or who}, who sent the request; it is by {acted.actor}"
                yield Violation("pusher", expected, commit.oid, commit.email, store.full(layout.QUEUE))


def _pull_request(store: GitStore, wanted: str | None) -> tuple[str, str]:
    if wanted is not None:
        base, dots, head = wanted.partition("..")
        if not dots:
            raise BadInput(problem=f"{wanted!r} is no range; give BASE..HEAD")
        return commit_of(store, base or "HEAD"), commit_of(store, head.removeprefix(".") or "HEAD")
    if store.remote is None:
        raise BadInput(problem="there is no remote store branch to check against; give BASE..HEAD")
    branch = store.branch_to_write(ASK_SECONDS)
    tip = store.repository.commit_of(f"refs/remotes/{store.remote}/{branch}")
    if tip is None:
        hint = f"get it with `git fetch {shlex.quote(store.remote)}`, or give BASE..HEAD"
        raise BadInput(problem=f"{branch} of {store.remote} is not here to check against", hint=hint)
    return tip, commit_of(store, "HEAD")
