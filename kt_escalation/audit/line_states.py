"""The states that records and other files have had on the line, for what merges leave out."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..git.objects import chunks
from ..model.ids import is_escalation_id
from .commit_contents import CommitContents
from .line import Lines
from .policies_in_force import is_policy
from .record_files import by_record, record_at

#: The files of a record, or the one of a policy or archive: path, mode and id of each.
Files = frozenset[tuple[str, str, str]]
_Contents = frozenset[tuple[str, str]]
# So many commits are compared at a time.
_AT_ONCE = 256


def contents_of(state: Files) -> _Contents:
    """The modes and ids of some files, without their paths."""
    return frozenset((mode, oid) for _, mode, oid in state)


@dataclass(eq=False)
class LineStates:
    """Reads the states on the line as far back as somebody asks.

    Anybody can make many merges and commits that ask about the same part of the line. So each of its commits is
    compared with the one above it only once, and each state is read only once.
    """

    _lines: Lines
    _commits: CommitContents
    # For each commit that was read, one above it; what is between them was read too.
    _read_to: dict[str, str | None] = field(default_factory=dict, init=False)
    # The depth of the newest commit that made each state of a record (by id) or of another file (by path).
    _made: dict[str, dict[_Contents, int]] = field(default_factory=dict, init=False)
    # The depth of the newest commit that changed a policy file from each of its versions.
    _left: dict[str, dict[_Contents, int]] = field(default_factory=dict, init=False)
    # The commits that changed each record, if they are not in ``_made`` yet.
    _unread: dict[str, list[str]] = field(default_factory=dict, init=False)
    # The commits that cannot be compared, so that each may have made any state; how many are in ``_made``.
    _unsound: list[str] = field(default_factory=list, init=False)
    _newest_unsound: int = field(default=-1, init=False)
    _asked: dict[str, int] = field(default_factory=dict, init=False)

    def had(self, key: str, wanted: Files, tip: str, since: str | None) -> bool:
        """Whether a commit of a tip's line after ``since`` made a state of a record (by id) or file (by path).

        The tips of all questions must be on one line.
        """
        lowest = self._lines.depth(since) if since is not None else -1
        self._read(tip, lowest)
        unsound = self._unsound[self._asked.get(key, 0) :]
        self._asked[key] = len(self._unsound)
        for commit in (*self._unread.pop(key, ()), *unsound):
            self._note(key, self.at(commit, key), commit)
        return self._made.get(key, {}).get(contents_of(wanted), -1) > lowest

    def left(self, path: str, version: Files, tip: str, since: str | None) -> bool:
        """Whether a commit of a tip's line after ``since`` changed a policy file from a version to another one.

        It may have done so if its trees cannot be compared. The tips of all questions must be on one line.
        """
        lowest = self._lines.depth(since) if since is not None else -1
        self._read(tip, lowest)
        newest = self._left.get(path, {}).get(contents_of(version), -1)
        return max(newest, self._newest_unsound) > lowest

    def at(self, commit: str, key: str) -> Files:
        """The files of a record, or the version of another file, at a commit."""
        if is_escalation_id(key):
            return frozenset(self._commits.standing(commit, key))
        return self._commits.version(commit, key)

    def _note(self, key: str, state: Files, commit: str) -> None:
        _newest(self._made.setdefault(key, {}), contents_of(state), self._lines.depth(commit))

    def _read(self, tip: str, lowest: int) -> None:
        """Read what is not known of the line of a tip, down to and without a depth."""
        passed, new = [], []
        at: str | None = tip
        while at is not None and self._lines.depth(at) > lowest:
            passed.append(at)
            if at in self._read_to:
                at = self._read_to[at]
            else:
                new.append(at)
                at = self._lines.above(at)
        self._read_to.update(dict.fromkeys(passed, at))
        for commits in chunks(reversed(new), _AT_ONCE):
            self._compare(commits)

    def _compare(self, commits: list[str]) -> None:
        """Note what some commits changed against those above them on the line."""
        trees = []
        for commit in commits:
            above = self._lines.above(commit)
            trees.append((self._commits.tree_of(above) if above else None, self._commits.tree_of(commit)))
        for commit, difference in zip(commits, self._commits.differences(trees), strict=True):
            if difference.unsound:
                self._unsound.append(commit)
                self._newest_unsound = max(self._newest_unsound, self._lines.depth(commit))
            for name in by_record(difference.changes):
                self._unread.setdefault(name, []).append(commit)
            for change in difference.changes:
                if record_at(change.path) is None:
                    made = {(change.path, change.new_mode, change.new)} if change.new else ()
                    self._note(change.path, frozenset(made), commit)
                if is_policy(change.path):
                    before = frozenset({(change.old_mode, change.old)} if change.old else ())
                    _newest(self._left.setdefault(change.path, {}), before, self._lines.depth(commit))


def _newest(depths: dict[_Contents, int], contents: _Contents, depth: int) -> None:
    """Note the depth of a commit for a state, unless that of a newer one is noted."""
    depths[contents] = max(depths.get(contents, depth), depth)
