"""The use case of who must show a case to others: everything about some escalations in one file.

The file is a tar: a page that says what it is and how to check it, the history as a git bundle (or only the
objects of the steps), and commits, records, roster and policies as text (design, section 1, *auditor*).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO

from . import lookup
from .core import dossier, story
from .core.dossier import BUNDLE, PACK, Copy, Dossier
from .core.policies import assemble
from .core.rights import known_as
from .core.roster import Roster
from .core.text import is_hidden
from .core.times import format_time
from .core.words import MAX_BYTES
from .errors import NotAStore, ShallowClone
from .store import graph, history, layout
from .store.gitstore import GitStore
from .store.objects import FILE
from .store.port import Progress
from .store.snapshot import GitSnapshot

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Evidence:
    """What was put together.

    ``tip`` is the last commit of the bundle, None without one; ``steps`` are the commits that did something
    to the escalations, oldest first; ``sha256`` and ``size`` (bytes) are the artefact's.
    """

    escalation_ids: tuple[str, ...]
    revision: str
    tip: str | None
    steps: tuple[str, ...]
    sha256: str
    size: int


def evidence(
    path: str | os.PathLike[str],
    wanted: Sequence[str],
    out: BinaryIO,
    *,
    minimal: bool = False,
    rev: str | None = None,
    fetch: bool = False,
    progress: Progress | None = None,
) -> Evidence:
    """Write all that is known of some escalations, and of those that they reopen or that reopen them.

    ``wanted`` are ids or unique prefixes. ``minimal`` leaves the store's history out. The same commit gives
    the same texts everywhere; a pack's bytes are git's own affair.
    Raises NotFound, AmbiguousId, BadInput, NotAStore, ShallowClone, GitFailed.
    """
    store = GitStore(Path(path), progress=progress)
    try:
        if store.repository.is_shallow:
            raise ShallowClone(where=str(path))
        snapshot = lookup.snapshot(store, rev, fetch=fetch)
        case = _Case(store, snapshot, _family(snapshot, [lookup.named(snapshot, text) for text in wanted]))
        page = case.page(minimal)
        counted = _Counted(out)
        with tarfile.open(fileobj=counted, mode="w|") as tar:
            top, when = f"evidence-{case.ids[0]}", case.when
            _add(tar, f"{top}/README.md", dossier.page(page).encode(), when)
            with tempfile.TemporaryFile() as pack:
                pack.writelines(case.objects() if page.tip is None else case.bundle(page.tip))
                _add_file(tar, f"{top}/{PACK if page.tip is None else BUNDLE}", pack, when)
            for name, data in sorted(case.files.items()):
                _add(tar, f"{top}/{name}", data, when)
        commits = tuple(step.commit for step in page.steps)
        return Evidence(
            case.ids, snapshot.revision, page.tip, commits, counted.digest.hexdigest(), counted.size
        )
    finally:
        store.close()


class _Counted(io.RawIOBase):
    """What is written, passed on and counted."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.digest.update(data)
        self.size += len(data)
        self._out.write(data)
        return len(data)


def _family(snapshot: GitSnapshot, names: Sequence[str]) -> tuple[str, ...]:
    """Some escalations, with what they reopen and what reopens them, and so on."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found[name] = None
        record = lookup.record_of(snapshot, name)
        if record and record.reopens:
            waiting.append(record.reopens)
        waiting += [other.escalation_id for other in snapshot.reopeners(name)]
    return tuple(found)


class _Case:
    """The commits of some escalations, and the texts that go with them."""

    def __init__(self, store: GitStore, snapshot: GitSnapshot, ids: tuple[str, ...]) -> None:
        self._store = store
        self._snapshot = snapshot
        self.ids = ids
        #: The texts by name in the artefact.
        self.files: dict[str, bytes] = {}
        self.when = datetime.fromtimestamp(0).astimezone()
        self._left_out: dict[str, None] = {}
        self._policies: dict[str, Copy] = {}
        # What git is asked for by name to make a pack of the steps alone.
        self._objects: dict[str, None] = {}

    def page(self, minimal: bool) -> Dossier:
        """What there is to tell; fills ``files`` on the way."""
        steps: dict[str, list[history.Step]] = {}
        for name in self.ids:
            for step in history.steps(self._store, self._snapshot.revision, name):
                steps.setdefault(step.commit, []).append(step)
        ordered = self._in_order(steps)
        told = [self._step(number, steps[commit]) for number, commit in enumerate(ordered, 1)]
        tip = None if minimal else self._first_with(ordered)
        return Dossier(
            self.ids,
            self._snapshot.revision,
            tip,
            len(self._store.repository.rev_list([tip])) if tip else 0,
            self._store.root,
            self._store.repository.object_format == "sha256",
            told,
            tuple(self._policies.values()),
            tuple(self._left_out),
        )

    def bundle(self, tip: str) -> Iterator[bytes]:
        """A git bundle of the history up to a commit (gitformat-bundle)."""
        sha256 = self._store.repository.object_format == "sha256"
        yield b"# v3 git bundle\n@object-format=sha256\n" if sha256 else b"# v2 git bundle\n"
        yield f"{tip} HEAD\n{tip} refs/heads/main\n\n".encode()
        yield from self._store.repository.pack([tip], history=True)

    def objects(self) -> Iterator[bytes]:
        """A pack of the steps alone: commits and their parents, the folders on the way, records and policies."""
        found = self._store.repository.objects.get(list(self._objects), largest=0)
        yield from self._store.repository.pack(
            list(dict.fromkeys(thing.oid for thing in found if thing)), history=False
        )

    def _in_order(self, steps: Iterable[str]) -> list[str]:
        """Commits, parents before children."""
        specs = [spec for name in self.ids for spec in history.pathspecs(self._store, name)]
        listed = self._store.repository.rev_list([self._snapshot.revision, "--full-history", "--", *specs])
        known = set(steps)
        return [commit for commit in listed if commit in known]

    def _first_with(self, commits: Sequence[str]) -> str:
        """The first commit on the store's line that has all of them in its history."""
        if not commits:
            return self._snapshot.revision
        repository = self._store.repository
        line = repository.rev_list(["--first-parent", self._snapshot.revision])

        def has_all(commit: str) -> bool:
            return all(repository.is_ancestor(step, commit) for step in commits)

        at = bisect_left(line, True, key=has_all)
        return line[min(at, len(line) - 1)]

    def _step(self, number: int, steps: Sequence[history.Step]) -> dossier.Step:
        first = steps[0]
        commit, folder = first.commit, f"steps/{number:02}-{first.commit[:12]}"
        parent = self._store.repository.commit_of(f"{commit}^")
        self.when = first.committed_at
        [raw] = self._store.repository.objects.get([commit])
        data = raw.data if raw and raw.data else b""
        self.files[f"{folder}/commit.txt"] = data
        self._need(commit, parent)
        tree, roster = self._policies_at(parent)
        actor = known_as(first.email, roster)
        signature, keys = _signature(data), dossier.signers(roster, actor)
        if signature == "SSH" and keys:
            self.files[f"{folder}/signers"] = keys.encode()
        return dossier.Step(
            commit,
            parent,
            f"{first.author} <{first.email}>",
            first.committed_at,
            [line for step in steps for line in _told(step)],
            tree,
            dossier.roster_entry(roster, actor),
            signature or "no",
            f"{folder}/signers" if signature == "SSH" and keys else None,
            f"{folder}/commit.txt",
            list(self._copies(folder, commit, parent, {step.escalation_id for step in steps})),
        )

    def _copies(self, folder: str, commit: str, parent: str | None, ids: set[str]) -> Iterator[Copy]:
        """The records' files as a commit leaves them."""
        changed = graph.differences(self._store, parent, commit) if parent else self._all(commit, ids)
        for change in changed:
            name, path = layout.id_of(change.path), self._store.full(change.path)
            if name not in ids or any(is_hidden(char) for char in path):
                continue
            if change.old is not None and parent is not None:
                self._need_path(parent, path)
            if change.new is None:
                continue
            self._need_path(commit, path)
            if self._take(f"{folder}/{name}{layout.SUFFIX}", change.new, path):
                yield Copy(f"{folder}/{name}{layout.SUFFIX}", commit, path)

    def _all(self, commit: str, ids: set[str]) -> Iterator[graph.Change]:
        """The files of some records in a commit that begins the history, as changes."""
        for path, file, _ in self._store.at(commit).everything():
            inside = path.removeprefix(f"{self._store.root}/") if self._store.root else path
            if layout.id_of(inside) in ids:
                yield graph.Change(inside, graph.ABSENT, FILE, None, file.oid)

    def _policies_at(self, commit: str | None) -> tuple[str | None, Roster | None]:
        """The tree of the policies at a commit and the roster in it; its files become texts."""
        try:
            snapshot = self._store.at(commit) if commit else None
        except NotAStore:
            snapshot = None
        if snapshot is None or commit is None:
            return None, None
        tree, files = snapshot.policies()
        if tree is None:
            return None, None
        self._need_path(commit, self._store.full(layout.POLICIES))
        [listed] = self._store.repository.objects.get([tree])
        for entry in self._store.repository.parse_tree(listed.data if listed and listed.data else b""):
            path = f"{self._store.full(layout.POLICIES)}/{entry.name}"
            name = f"policies/{tree[:12]}/{entry.name}"
            if entry.mode == FILE:
                self._objects[entry.oid] = None
            if name in self._policies:
                continue
            plain = entry.mode == FILE and _PLAIN_NAME.fullmatch(entry.name)
            if plain and self._take(name, entry.oid, path):
                self._policies[name] = Copy(name, commit, path)
            elif not plain:
                self._left_out[path] = None
        return tree, assemble(tree, files).roster

    def _take(self, name: str, oid: str, path: str) -> bool:
        """Make a text of a blob; whether it could be."""
        [blob] = self._store.repository.objects.get([oid], largest=MAX_BYTES)
        if blob is None or blob.data is None:
            self._left_out[path] = None
            return False
        self.files[name] = blob.data
        return True

    def _need(self, *commits: str | None) -> None:
        for commit in commits:
            if commit is not None:
                self._objects.update({commit: None, f"{commit}^{{tree}}": None})

    def _need_path(self, commit: str, path: str) -> None:
        """The thing at a path of a commit, and the folders that lead to it."""
        parts = path.split("/")
        self._objects.update((f"{commit}:{'/'.join(parts[:end])}", None) for end in range(1, len(parts) + 1))


def _told(step: history.Step) -> Iterator[str]:
    """What a commit did to one escalation, as lines."""
    happened = story.between(step.before, step.after)
    if step.folded:
        happened = (story.Happening("compact", text=step.folded),)
    if step.problem:
        happened = (story.Happening("unreadable", text=step.problem),)
    for it in happened:
        who = f" by {it.actor}" if it.actor else ""
        outcome = f" as {it.outcome}" if it.outcome else ""
        text = f": {it.text}" if it.text else ""
        yield (
            f"{format_time(step.committed_at)}  {step.commit[:12]}  {it.action} {step.escalation_id}"
            f"{outcome}{who}{text}"
        )


def _signature(commit: bytes) -> str | None:
    """What kind of signature a raw commit carries."""
    head = commit.partition(b"\n\n")[0]
    if b"\ngpgsig" not in head:
        return None
    return "SSH" if b"BEGIN SSH SIGNATURE" in head else "OpenPGP or other"


def _add(tar: tarfile.TarFile, name: str, data: bytes, when: datetime) -> None:
    _add_file(tar, name, io.BytesIO(data), when)


def _add_file(tar: tarfile.TarFile, name: str, file: IO[bytes], when: datetime) -> None:
    info = tarfile.TarInfo(name)
    info.size = file.seek(0, os.SEEK_END)
    info.mtime = int(when.timestamp())
    file.seek(0)
    tar.addfile(info, file)
