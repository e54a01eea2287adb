"""The policies in force: those of the newest commit of the line whose policies were legal. See docs/rules.md.

Each file is followed on its own: a legal change makes its version the legal one, an illegal change leaves the
previous one. In force are the legal versions of all files, also if no tree of the line has all of them.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from weakref import WeakValueDictionary

from ..git.objects import TreeEntry
from ..model.vocabulary import MAX_BYTES
from ..policies.policy_file import OURS, WAIVERS, PolicyFile
from ..policies.policy_set import Policies, assemble, read_packs
from ..policies.waivers import Waiver
from ..rules import judge_step
from ..rules.judge_step import Violation
from ..storage import layout, yaml_text
from ..storage.clone import GitStore
from ..storage.trees import KT_YAML, FileChange, Unsound
from .mark import PolicyMark

#: A version of a policy file: mode and id.
_Version = tuple[str, str]

# Earlier than any commit of the line.
_BEFORE = -2
# Versions that are kept though nobody uses them. Anybody can push versions that never come into force.
_KEPT = 16
POLICY_FILES = f"{layout.POLICIES}/"


def is_policy(path: str) -> bool:
    """Whether a path below the store's top is a policy file's."""
    return path.startswith(POLICY_FILES) or path == KT_YAML


class Written:
    """Reads the policies in trees. Those that are in use and the last few are not read again."""

    def __init__(self, store: GitStore) -> None:
        self._store = store
        #: Files that were in force together but are in no tree of the line, by the ids that stand for such a tree.
        self.gathered: dict[str, Mapping[str, _Version]] = {}
        self._last = lru_cache(_KEPT)(self._shared)
        # Whoever was given a version gets the same object for as long as it is used.
        self._used: WeakValueDictionary[str | None, Policies] = WeakValueDictionary()

    def of(self, tree: str | None) -> Policies:
        """The policies in a tree of `policies/`; if the tree cannot be read, all of kt's own files count as broken."""
        return self._last(tree)

    def gather(self, files: Mapping[str, _Version]) -> Policies:
        """The policies in some versions of files, as if a tree had them."""
        tree = hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()
        self.gathered[tree] = dict(files)
        return self.of(tree)

    def _shared(self, tree: str | None) -> Policies:
        policies = self._used.get(tree)
        if policies is None:
            policies = self._used[tree] = self._read(tree) if tree is not None else Policies()
        return policies

    def _read(self, tree: str) -> Policies:
        reader = self._store.reader
        try:
            entries = _entries(self.gathered[tree]) if tree in self.gathered else reader.policy_entries(tree)
        except Unsound as error:
            broken = PolicyFile(problem=error.problem)
            return assemble(tree, dict.fromkeys(sorted(OURS), broken))
        # A version that routes nothing needs no packs, and the packs of a folder can be many and large.
        packs = {path: entry for path, entry in entries.items() if path not in OURS}
        return assemble(
            tree,
            dict(reader.parsed_policies({path: entries[path] for path in entries.keys() - packs.keys()})),
            cache(lambda: read_packs(reader.parsed_policies(packs))),
        )

    def waivers(self, oid: str | None) -> frozenset[Waiver] | None:
        """The waivers in a blob, whatever its mode in a tree. None if it is absent or cannot be read."""
        found = self._store.repository.objects.get([oid], MAX_BYTES)[0] if oid else None
        if found is None or found.data is None:
            return None
        read = assemble(None, {WAIVERS: yaml_text.policy_file(WAIVERS, found.data)})
        return None if WAIVERS in read.broken else frozenset(read.waivers)


def _entries(files: Mapping[str, _Version]) -> dict[str, TreeEntry]:
    """The entries of files, as a reader finds them in a tree of `policies/`."""
    found = {}
    for path, (mode, oid) in files.items():
        name = path.removeprefix(POLICY_FILES)
        if "/" not in name and name.endswith(layout.SUFFIX):
            found[path] = TreeEntry(mode, name, oid)
    return found


class InForce:
    """Follows the policies along the line."""

    _not_plain = Violation("policies", "expected a plain file")

    def __init__(self, written: Written) -> None:
        self._written = written
        self.policies = Policies()
        #: The waivers in the newest legal version of their file, and those that its last legal change added.
        self.waivers: tuple[Waiver, ...] = ()
        self.added: frozenset[Waiver] = frozenset()
        # All waivers in the newest readable version of the file, legal or not.
        self._standing: frozenset[Waiver] = frozenset()
        #: The policies that were in force, and the number of judged commits when each came into force.
        self._since = [_BEFORE]
        self._history = [self.policies]
        self._now: dict[str, _Version] = {}
        self._legal: dict[str, _Version] = {}
        # The legal versions that the policies in force were read from.
        self._read_from: dict[str, _Version] = {}
        # The commits whose illegal changes each file still has; and all changes that only an admin may make, by others.
        self._wrong: dict[str, list[str]] = {}
        self._unauthorised: list[tuple[str, str]] = []
        # The policies in force before the mark: the commit that began them, and their tree.
        self._eras: tuple[tuple[str, str | None], ...] = ()
        # The waivers that each of these commits added.
        self._proposed: dict[str, frozenset[Waiver]] = {}

    def begin(
        self, at: int, tree: str | None, changes: Iterable[FileChange]
    ) -> Iterator[tuple[str, Violation]]:
        """Put the policies of the store's start in force, and yield their faults."""
        written = self._written.of(tree)
        self._now = {change.path: (change.new_mode, change.new) for change in changes if change.new}
        self._legal = dict(self._now)
        self.waivers = written.waivers
        self._standing = frozenset(written.waivers)
        self._settle(at, written)
        yield from judge_step.judge_written(Policies(), written, OURS & self._now.keys())
        yield from (
            (path, self._not_plain)
            for path, (mode, _) in self._now.items()
            if path in OURS and mode != "100644"
        )

    def mark(self, line: Sequence[str]) -> PolicyMark:
        """The state for a mark; ``line`` are the commits of this run."""
        put = zip(self._since, self._history, strict=True)
        eras = (*self._eras, *((line[at], policies.tree) for at, policies in put if at >= 0))
        return PolicyMark(
            eras,
            dict(self._legal),
            {path: tuple(some) for path, some in self._wrong.items()},
            tuple(self._unauthorised),
            {commit: tuple(some) for commit, some in self._proposed.items()},
            tuple(sorted(self._standing, key=lambda waiver: waiver.key)),
            self.waivers,
            {tree: dict(self._written.gathered[tree]) for _, tree in eras if tree in self._written.gathered},
        )

    def resume(self, known: PolicyMark, now: Mapping[str, _Version]) -> None:
        """Continue from a mark; ``now`` are the policy files at its commit."""
        self._eras = known.eras
        self._written.gathered.update(known.gathered)
        if known.eras:
            self._put(-1, self._written.of(known.eras[-1][1]))
        self._legal, self._now = dict(known.legal), dict(now)
        self._read_from = _within(self._legal)
        self._wrong = {path: list(some) for path, some in known.wrong.items()}
        self._unauthorised = list(known.unauthorised)
        self._proposed = {commit: frozenset(some) for commit, some in known.proposed.items()}
        self.waivers, self._standing = known.waivers, frozenset(known.standing)

    def before(self, depth: int, depth_of: Callable[[str], int]) -> Policies:
        """The policies in force at a commit of the line before the mark; ``depth`` is its position on the line."""
        for commit, tree in reversed(self._eras):
            if depth_of(commit) <= depth:
                return self._written.of(tree)
        return Policies()

    def at(self, position: int) -> Policies:
        """The policies in force after the commit at a position of the line."""
        return self._history[max(bisect_right(self._since, position) - 1, 0)]

    def change(
        self,
        at: int,
        commit: str,
        tree: str | None,
        changes: Sequence[FileChange],
        illegal: Callable[[FileChange], Violation | None],
    ) -> Iterator[tuple[str, Violation]]:
        """Follow the policy changes of a commit of the line.

        ``illegal`` says why a file's change is illegal, or None.
        """
        written = self._written.of(tree)
        self.added = frozenset()
        for change in changes:
            if change.new:
                self._now[change.path] = (change.new_mode, change.new)
            else:
                self._now.pop(change.path, None)
            damage = self._damage(change, written)
            found = illegal(change)
            if found is not None and found.rule == "policies" and damage is None:
                self._unauthorised.append((found.commit or commit, change.path))
                if change.path == WAIVERS:
                    self._proposed[found.commit or commit] = frozenset(written.waivers) - self._standing
            found = found or damage
            if found is None:
                self._accept(change.path)
                if change.path == WAIVERS:
                    # Waivers that somebody else had added before do not count.
                    self.added = frozenset(written.waivers) - self._standing
                    self.waivers = written.waivers
            else:
                self._wrong.setdefault(change.path, []).append(found.commit or commit)
                if self._now.get(change.path) == self._legal.get(change.path):
                    # The file has its legal version again, whoever restored it.
                    del self._wrong[change.path]
                yield change.path, found
        if any(change.path == WAIVERS for change in changes):
            # Who mends or restores a file does not add what was in it before.
            _, oid = self._now.get(WAIVERS, ("", None))
            listed = self._written.waivers(oid)
            self._standing = self._standing if listed is None else listed
        self._settle(at, written)

    def waive(self, at: int, tree: str | None, accepted: Iterable[tuple[str, str]]) -> None:
        """Accept illegal changes that a waiver names, given as commits and paths."""
        written = self._written.of(tree)
        for commit, path in accepted:
            if (commit, path) in self._unauthorised:
                self._unauthorised.remove((commit, path))
            commits = self._wrong.get(path, [])
            if commit in commits:
                commits.remove(commit)
                gone = path in OURS and (path in written.broken or path not in self._now)
                if not commits and not gone and path != KT_YAML:
                    self._accept(path)
            if path == WAIVERS and WAIVERS not in self._wrong:
                # Who accepts the change also accepts the waivers in it.
                self.waivers = written.waivers
                self.added |= frozenset(written.waivers)
        self._settle(at, written)

    def admissible(self, is_asked: Callable[[str], bool]) -> set[tuple[str, str]]:
        """The changes of those commits for which ``is_asked`` is true that an admin could have made, as commits and paths."""
        return {(commit, path) for commit, path in self._unauthorised if is_asked(commit)}

    def admit(self, at: int, tree: str | None, admitted: Collection[tuple[str, str]]) -> None:
        """Accept changes that an admin has merged, given as commits and paths."""
        written = self._written.of(tree)
        self._unauthorised = [found for found in self._unauthorised if found not in admitted]
        self.added = frozenset()
        for commit, path in admitted:
            # A later illegal change of the file by somebody else stays illegal.
            if self._wrong.get(path, [""])[-1] == commit:
                self._accept(path)
                if path == WAIVERS:
                    # Waivers that others had added before do not count.
                    self.added |= self._proposed.get(commit, frozenset())
                    self.waivers = written.waivers
        self._settle(at, written)

    def _accept(self, path: str) -> None:
        self._wrong.pop(path, None)
        if path in self._now:
            self._legal[path] = self._now[path]
        else:
            self._legal.pop(path, None)

    def _settle(self, at: int, written: Policies) -> None:
        """Put the legal versions in force. What is illegal in one file delays no change of another one."""
        legal = _within(self._legal)
        if _within(self._now) == legal:
            self._put(at, written)
        elif legal != self._read_from:
            self._put(at, self._written.gather(legal))
        self._read_from = legal

    def _put(self, at: int, policies: Policies) -> None:
        if not self._history or policies is not self._history[-1]:
            self._since.append(at)
            self._history.append(policies)
        self.policies = policies

    def _damage(self, change: FileChange, written: Policies) -> Violation | None:
        """The fault of a version, whoever wrote it: with missing or unreadable policies nobody could continue."""
        path = change.path
        if change.new is None and (path in OURS or path == KT_YAML) and path in self._legal:
            return Violation(
                "policies", f"expected {path} to stay; to take back its entries, change the file"
            )
        if change.new is not None and change.new_mode != "100644":
            return self._not_plain
        return next(
            (found for _, found in judge_step.judge_written(self.policies, written, {path} & OURS)), None
        )


def _within(files: Mapping[str, _Version]) -> dict[str, _Version]:
    """Those of some policy files that are in `policies/`."""
    return {path: version for path, version in files.items() if path != KT_YAML}


def at_fork(line: Policies, fork: Policies) -> Policies:
    """The policies for a carried step: people and quorum from the line, routing and lease from its fork."""
    if line is fork or line.tree == fork.tree:
        return line
    settings = line.settings.replace(
        default_route=fork.settings.default_route,
        claims=line.settings.claims.replace(lease=fork.settings.claims.lease),
        rules=fork.settings.rules,
    )
    return line.with_packs_of(fork, settings)
