"""Judges releases and receipts along the line: each decision is used once, in its time, by a plain commit.

See docs/rules.md and docs/gateway.md. The steps that were judged tell which decisions may be released. A
decision counts only from the commit of the line that brought it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from ..frozen import dataclass
from ..git.objects import FILE
from ..model.record import Record
from ..model.release import Release
from ..model.vocabulary import MAX_BYTES, RELEASING
from ..policies.policy_set import Policies
from ..rules import permissions, releasing
from ..rules.judge_step import Violation
from ..rules.releasing import Decided
from ..storage import layout, lookup, yaml_text
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.interface import Entry
from ..storage.snapshot import GitSnapshot
from ..storage.trees import FileChange
from .commit_contents import CommitContents
from .findings import Findings, key
from .judged_line import JudgedLine
from .known_records import KnownRecords
from .messages import Brought
from .record_files import State
from .scope import RunCounts, Scope

#: What a mark keeps of a decision that may be released for a time: its file (path, mode, id), when it came to the line,
#: and until when it may be released, in seconds.
TimedDecision = tuple[str, str, str, float, float]

#: All files of a release: path, mode and id of each.
Standing = tuple[tuple[str, str, str], ...]

#: How long after its time a mark keeps a decision: clocks differ, and who is late is told so for a while.
KEPT_FOR = timedelta(days=1)

#: What is wrong with a release or receipt that a pull request or a merge brings.
ON_THE_LINE = Violation(
    "release", "expected releases and receipts as plain commits on the store branch, by their own authors"
)


@dataclass(frozen=True)
class _Usable:
    """A decision that was not released yet: its file (path, mode, id), its arrival on the line, and the end of its time."""

    file: tuple[str, str, str]
    landed: datetime
    until: datetime | None


class Releases:
    """Follows the decisions that may be released, and the releases."""

    def __init__(
        self,
        store: GitStore,
        scope: Scope,
        judged: JudgedLine,
        commits: CommitContents,
        records: KnownRecords,
        findings: Findings,
        tally: RunCounts,
    ) -> None:
        self._store = store
        self._scope = scope
        self._judged = judged
        self._commits = commits
        self._records = records
        self._findings = findings
        self._tally = tally
        records.followers.append(self._follow)
        #: Decisions for one use that were not used yet, by id.
        self.usable: dict[str, _Usable] = {}
        # Hashes of the ids that this run has seen released.
        self._used: set[int] = set()
        # The ids whose only releases at the mark were illegal.
        self._unused: frozenset[str] = frozenset()
        # The commit that started the store, and the store at it.
        self._start: str | None = None
        self._beginning: GitSnapshot | None = None
        #: Releases that are illegal now, each with all files of it as they legally were (path, mode, id).
        self.illegal: dict[str, Standing] = {}

    # --- what may be released -----------------------------------------------------------------------

    def _follow(self, name: str, state: State, arrived: datetime) -> None:
        """Note the new legal state of a record, and its arrival on the line."""
        record = state.record
        end = record.resolution if record is not None else None
        if record is None or end is None or layout.archive_at(state.path):
            return
        if self._scope.keeps or self._scope.only is not None:
            self._records.landed.setdefault(name, arrived)
        if record.requires.single_use and end.outcome in RELEASING and not self._is_imported(name):
            self.usable.setdefault(name, _Usable(state.file, arrived, Decided(record, arrived).until))

    def resume(
        self,
        usable: Mapping[str, TimedDecision],
        illegal: Mapping[str, Standing],
        start: str | None,
    ) -> None:
        """Continue from the mark of another run, in a store that started with a commit."""
        self._start = start
        self.illegal = dict(illegal)
        self._unused = frozenset(name for name, legal in illegal.items() if not legal)
        for name, (path, mode, oid, landed, until) in usable.items():
            self.usable[name] = _Usable(
                (path, mode, oid),
                datetime.fromtimestamp(landed, UTC),
                datetime.fromtimestamp(until, UTC),
            )

    def kept(self) -> dict[str, TimedDecision]:
        """The decisions for a mark: those that may still be released, for a limited time.

        Decisions without a time limit are found in the tree of the mark, however many they are.
        """
        return {
            name: (*one.file, one.landed.timestamp(), one.until.timestamp())
            for name, one in self.usable.items()
            if one.until is not None and is_kept(one.until, self._judged.newest)
        }

    def _at_any_time(self, name: str) -> _Usable | None:
        """A decision from before the mark without a time limit.

        The decisions of the store's first commit cannot be proved. Of a record that was illegal at the mark, the last
        legal state counts.
        """
        if self._is_imported(name):
            return None
        record, oid = self._at_mark(name)
        if record is None or not record.requires.single_use or record.requires.valid_for is not None:
            return None
        end = record.resolution
        if end is None or end.outcome not in RELEASING:
            return None
        return _Usable((layout.path_of(record), FILE, oid), end.resolved_at, None)

    def _at_mark(self, name: str) -> tuple[Record | None, str]:
        """The last legal state of a record at the mark, and its blob id."""
        if name in self._records.illegal_at_mark:
            state = self._records.illegal_at_mark[name]
            return (state.record, state.oid) if state else (None, "")
        base = self._records.base
        entry = base.find(name) if base is not None else None
        return (entry.record, entry.blob) if isinstance(entry, Entry) else (None, "")

    def _is_imported(self, name: str) -> bool:
        """Whether a record's decision, or a part of it, was there when the store began."""
        began = self._began()
        return began is not None and is_decided(began, name)

    def _began(self) -> GitSnapshot | None:
        """The store at its start."""
        if self._beginning is None and self._start is not None:
            self._beginning = self._commits.snapshot(self._start)
        return self._beginning

    # --- what was released --------------------------------------------------------------------------

    def changed(self, changes: Iterable[FileChange]) -> dict[str, list[FileChange]]:
        """The changes of releases that this run looks at, by id."""
        found: dict[str, list[FileChange]] = {}
        for change in changes:
            name = layout.released_id(change.path)
            if name is not None and self._records.looks_at(name):
                found.setdefault(name, []).append(change)
        return found

    def imported(self, commit: Commit, changes: Iterable[FileChange]) -> None:
        """Note the releases at the store's start. Decisions from before the start release nothing.

        Nobody can prove how either came about.
        """
        self._start = commit.oid
        self._tally.imported += len(self.changed(changes))
        self.usable.clear()

    def refuse(self, commit: Commit, changes: Sequence[FileChange], *, is_carried: bool = False) -> None:
        """Note the releases that a merge or a carried commit changes.

        Only plain commits on the line may change them. What a merge leaves out of a carried commit is not on
        the line, so it makes no release illegal.
        """
        for name, some in self.changed(changes).items():
            if is_carried:
                found = self._findings.find(commit, some[0].path, ON_THE_LINE, name)
                self._findings.healed.add(key(found))
            else:
                self._blame(name, commit, some[0].path, ON_THE_LINE)
        for change in changes:
            if change.path.startswith(layout.RELEASED) and layout.archive_at(change.path):
                self._findings.find(commit, change.path, ON_THE_LINE)
        if not is_carried:
            self.archived(commit, changes)

    def archived(self, commit: Commit, changes: Sequence[FileChange]) -> None:
        """Note the ids in archives of releases that a commit adds: also a forged one says that a decision was used.

        Those in archives that it changes or deletes stay used, whatever is left of their releases.
        """
        parent = self._judged.sound or commit.parents[0]
        for before, after in self._commits.archives_changed(commit, changes, "released"):
            old, new = (self._commits.ids_in(files[1]) if files else [] for files in (before, after))
            self._used.update(map(hash, new))
            snapshot = self._commits.snapshot(parent)
            # Of a new one that was not released, nobody can know who did it.
            doubted = [*old, *(name for name in new if snapshot is None or not snapshot.has_release(name))]
            for name in filter(self._records.looks_at, doubted):
                self.illegal.setdefault(name, self._standing(parent, name))

    def judge(
        self, commit: Commit, now: Policies, changed: Mapping[str, list[FileChange]], brought: list[Brought]
    ) -> None:
        """Judge the changes of releases by a plain commit on the line."""
        for name, changes in changed.items():
            self._tally.steps += 1
            self._records.touch(name, commit.oid)
            self._one(commit, now, name, changes, brought)

    def _one(
        self, commit: Commit, now: Policies, name: str, changes: list[FileChange], brought: list[Brought]
    ) -> None:
        change = next((one for one in changes if one.new is not None), changes[0])
        if name in self.illegal:
            if self._restored(commit, now, name):
                brought.append(Brought(name, frozenset({"restore"}), ""))
            else:
                wrong = "expected its last legal state, or none, by an admin, before anything else"
                self._blame(name, commit, change.path, Violation("release", wrong))
            return
        if len(changes) > 1 or change.new is None:
            self._blame(
                name, commit, change.path, Violation("release", "expected a release to stay where it is")
            )
            return
        after = read(self._store, change.new, change.new_mode)
        if isinstance(after, str):
            self._blame(name, commit, change.path, Violation("release", f"expected a release; it {after}"))
            return
        is_arriving = self._scope.arriving and self._records.base is not None
        made = releasing.ReleaseCommit(
            commit.email,
            commit.committed_at,
            now,
            self._scope.now if is_arriving else None,
        )
        found: Iterable[Violation]
        if change.old is None:
            brought.append(_brought("release", after, after.released_by))
            found = self._released(commit, name, change.path, after, made)
        else:
            by = after.receipt.receipt_by if after.receipt else ""
            brought.append(_brought("receipt", after, by))
            before = read(self._store, change.old, change.old_mode)
            found = (
                [Violation("receipt", f"expected a release before it; that {before}")]
                if isinstance(before, str)
                else releasing.judge_receipt(before, after, made)
            )
        for violation in found:
            self._blame(name, commit, change.path, violation)

    def _released(
        self, commit: Commit, name: str, path: str, after: Release, made: releasing.ReleaseCommit
    ) -> Iterable[Violation]:
        """The violations of a new release."""
        if any(layout.id_of(one.path) == name for one in commit.changes):
            return [
                Violation("release", "expected a commit of its own, after the one that brought the decision")
            ]
        one = self.usable.get(name) or self._at_any_time(name)
        if one is not None and one.until is not None and not is_kept(one.until, self._judged.newest):
            # A run from a mark does not know it any more.
            one = None
        record = self._commits.contents.state(*one.file).record if one is not None else None
        decided = None
        believed = self._records.is_believed(name)
        if record is not None and one is not None and believed and not self._is_used(name):
            if layout.release_path(record) != path:
                return [Violation("release", f"expected it at {layout.release_path(record)}")]
            decided = Decided(record, one.landed, None, self._reopener(commit, name))
        found = list(releasing.judge(decided, after, made))
        if not found:
            # One that is illegal uses nothing: an admin takes it back, and the decision can still be used.
            self.usable.pop(name, None)
            self._used.add(hash(name))
        return found

    def _is_used(self, name: str) -> bool:
        """Whether a decision was released before. The release may be in an archive now."""
        before = (None if name in self._unused else self._records.base, self._began())
        return hash(name) in self._used or any(one is not None and one.has_release(name) for one in before)

    def _reopener(self, commit: Commit, name: str) -> Record | None:
        """An escalation that reopens this one, unless legal steps withdrew it.

        Illegal steps that removed it do not count.
        """
        known = self._records
        lost = [one for state in known.illegal.values() if (one := reopening_in(state))]
        is_reopened = (
            self._scope.only is not None
            or name in self._commits.contents.reopened
            or (known.base is not None and known.base.is_reopened(name))
            or any(one.reopens == name for one in lost)
        )
        snapshot = self._commits.snapshot(self._judged.sound or commit.parents[0]) if is_reopened else None
        if snapshot is None:
            return None
        found = list(lookup.reopeners(snapshot, name))
        names = {name, *(one.escalation_id for one in found)}
        found += [one for one in lost if one.reopens in names]
        return lookup.effective_reopening(found, known.illegal.keys() | known.waived)

    def _restored(self, commit: Commit, now: Policies, name: str) -> bool:
        """Whether an admin restored the legal files of an illegal release, or deleted them all if there were none."""
        if not permissions.is_admin(permissions.actor(commit.email, commit.committed_at, now)):
            return False
        if self._standing(commit.oid, name) != self.illegal[name]:
            return False
        if not self.illegal.pop(name):
            # Only a forged archive can have said that it was used.
            self._used.discard(hash(name))
        self._findings.heal(name, of_release=True)
        return True

    def _blame(self, name: str, commit: Commit, path: str, violation: Violation) -> None:
        if name not in self.illegal:
            # A forged file may stand beside the legal one, which must then stay.
            self.illegal[name] = self._standing(self._judged.sound or commit.parents[0], name)
        self._findings.find(commit, path, violation, name)

    def _standing(self, commit: str, name: str) -> Standing:
        """All files of a release at a commit."""
        snapshot = self._commits.snapshot(commit)
        return tuple(snapshot.release_files_of(name)) if snapshot else ()


def reopening_in(state: State | None) -> Record | None:
    """The record in a state if it reopens another one."""
    record = state.record if state is not None else None
    return record if record is not None and record.reopens is not None else None


def is_decided(began: GitSnapshot, name: str) -> bool:
    """Whether a record was decided, or reviewed, when the store began: nobody can prove by whom, so it releases nothing.

    All other records are decided by steps that can be proved.
    """
    record = lookup.record_of(began, name)
    return record is not None and (record.resolution is not None or record.reviews != ())


def is_kept(until: datetime, newest: datetime) -> bool:
    """Whether a mark keeps a decision with this end of its time.

    ``newest`` is the newest time of a commit that acted.
    """
    return until - newest >= -KEPT_FOR


def read(store: GitStore, oid: str, mode: str) -> Release | str:
    """The release in a blob, or its fault."""
    if mode != FILE:
        return f"is no plain file (mode {mode})"
    [found] = store.repository.objects.get([oid], MAX_BYTES)
    if found is None or found.data is None:
        return "cannot be read"
    try:
        return yaml_text.load_release(found.data)
    except yaml_text.Malformed as error:
        return str(error)


def _brought(action: str, after: Release, by: str) -> Brought:
    """The action that led to a release file's content, for the check of the message."""
    return Brought(after.escalation_id, frozenset({action}), by, release_id=after.release_id)
