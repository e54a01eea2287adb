"""Compares the statements of commit messages about the store with the commits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ..git.trees import folded
from ..model import archive_file
from ..policies.policy_set import Policies
from ..rules.judge_step import Violation
from ..storage import commits, compaction, layout
from ..storage.clone import GitStore
from ..storage.commits import Commit, touches_archives, without
from ..storage.trees import Difference
from . import messages
from .commit_contents import CommitContents
from .findings import Findings
from .line import Lines
from .messages import Brought, Statement
from .record_files import State, by_record
from .scope import Scope

# So many false statements of one message are told; one waiver accepts them all.
_MOST_TOLD = 10


def unread(commit: Commit) -> Violation | None:
    """The violation of a commit that can be read in more than one way."""
    if not commit.unread:
        return None
    remedy = "commit again, or bring in a branch of others with `git merge --squash`"
    return Violation(
        "message", f"expected a commit that everybody reads in the same way; {commit.unread}: {remedy}"
    )


@dataclass(eq=False)
class Statements:
    """Compares messages with commits."""

    _store: GitStore
    _scope: Scope
    _lines: Lines
    _commits: CommitContents
    _findings: Findings
    _known: dict[str, list[Brought]] = field(default_factory=dict, init=False)

    @staticmethod
    def made(
        commit: Commit, name: str, olds: Sequence[State], news: Sequence[State], *, restored: bool = True
    ) -> list[Brought]:
        """The actions of a step, from the states before and after. ``restored`` means that it may be a restoration."""
        before, after = olds[0].record if olds else None, news[0].record if news else None
        return [
            one
            for tried in (False, True)[: 1 + restored]
            for one in messages.brought(name, before, after, author=commit.email, restored=tried)
        ]

    def brought_by(self, commit: Commit, difference: Difference) -> list[Brought]:
        """The actions of a commit, legal or not."""
        found: list[Brought] = []
        commit = commit._replace(changes=difference.changes)
        if touches_archives(commit):
            done = compaction.done_by(self._store, commit, None)
            verdict = archive_file.judge(done, commit.committed_at, self._store.reader.blob_of)
            found += [Brought(name, frozenset({"compact"}), "") for name in verdict.moved.values()]
            commit = without(commit, verdict.moved)
        for name, sides in by_record(commit.changes).items():
            olds, news = self._commits.contents.sides(sides)
            found += self.made(commit, name, olds, news)
        return found

    def brought_along(self, commit: Commit) -> Iterator[Brought]:
        """The actions that a merge may state if the line continues along its second parent: those of its request."""
        first = self._lines.fork(commit.oid)
        difference = self._commits.between(self._commits.tree_of(first or commit.parents[0]), commit.tree)
        yield from self.brought_by(commit, difference)
        for oid in self._lines.of(commit.parents[1], first):
            above = self._lines.above(oid)
            if above is not None:
                yield from self._brought_on_line(oid, above)

    def _brought_on_line(self, oid: str, above: str) -> list[Brought]:
        """The actions of a commit of the line. Several merges may state those of one request."""
        if oid not in self._known:
            done = self._commits.between(self._commits.tree_of(above), self._commits.tree_of(oid))
            # Most commits of a long request may do nothing.
            self._known[oid] = self.brought_by(commits.header(self._store, oid), done) if done.changes else []
        return self._known[oid]

    def brought_beside(self, merge: Commit, difference: Difference) -> Iterator[Brought]:
        """The actions that a carried merge may state: those of its own commits, on the records that it changed."""
        names = by_record(difference.changes)
        had = self._beside(merge.parents[:1])
        for oid in self._beside(merge.parents[1:]):
            side = self._commits.sides[oid]
            if oid in had or len(side.commit.parents) != 1:
                continue
            made = self.brought_by(side.commit, self._commits.difference(side))
            yield from (one for one in made if one.escalation_id in names)

    def _beside(self, commits: Sequence[str]) -> dict[str, None]:
        """Some commits and their ancestors, if they are beside the line and no merge has brought them."""
        found: dict[str, None] = {}
        waiting = list(commits)
        while waiting:
            oid = waiting.pop()
            if oid not in found and oid in self._commits.sides:
                found[oid] = None
                waiting += self._lines.parents(oid)
        return found

    def said(self, commit: Commit) -> list[Statement]:
        """The statements of a message about this store. A message may also be about a store in another folder."""
        if self._scope.only is not None:
            return []
        root = self._store.root
        return [
            one for one in messages.statements(commit.message) if not one.root or _is_same(one.root, root)
        ]

    def judge_unread(self, commit: Commit) -> None:
        """Note a commit that others may read in another way: with another author, or with other statements."""
        found = unread(commit) if self._scope.only is None else None
        if found is not None:
            self._findings.find(commit, layout.QUEUE, found)

    def untrue(
        self, commit: Commit, said: Sequence[Statement], brought: Sequence[Brought], now: Policies
    ) -> None:
        """Note false statements of a message."""
        if not said:
            return
        if self._store.root and not brought and all(one.root is None for one in said):
            # The message may be about a store at the top, which has no folder to name.
            above = self._lines.above(commit.oid)
            if above is not None and self._commits.other("").has_store(self._commits.tree_of(above)):
                return
        for expected in islice(messages.untrue(said, brought, now.roster, commit.email), _MOST_TOLD):
            self._findings.find(commit, layout.QUEUE, Violation("message", expected))

    def is_pull(self, commit: Commit) -> bool:
        """Whether a merge is a `git pull`: its author takes in commits and approves nothing."""
        return messages.is_pull(commit.message, self._store.branch, self._store.branches.own)


def _is_same(one: str, other: str) -> bool:
    """Whether two folders are the same at least on some file systems, and so for some who read the message."""
    return one == other or _folded(one) == _folded(other)


def _folded(path: str) -> list[str]:
    return [folded(os.fsencode(name)) for name in path.split("/")]
