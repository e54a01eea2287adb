"""Collects everything about some escalations in one tar file, to show a case to others. See docs/evidence.md.

The tar has a README that describes it and how to check it; the history as a git bundle, or only the objects
of the steps; and the commits, records, roster and policies as text.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import IO, BinaryIO

from ..actions.opening import opened
from ..errors import NotAStore, ShallowClone
from ..frozen import dataclass
from ..git.objects import FILE, TREE, TreeEntry
from ..model.times import format_time
from ..model.vocabulary import MAX_BYTES
from ..policies.policy_set import Policies, assemble
from ..rules.permissions import known_as
from ..storage import history, layout, lookup
from ..storage.clone import GitStore
from ..storage.interface import Progress
from ..storage.snapshot import GitSnapshot
from ..storage.trees import ABSENT, FileChange
from . import dossier
from .dossier import Copy, Dossier, Waived
from .log import in_step
from .offline_check import BUNDLE, PACK, TEXTS

# Names of files that have no special meaning in a shell. `offline_check` has the same pattern.
_PLAIN = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_PLAIN_NAME = re.compile(_PLAIN, re.ASCII)
# Where the files of a case can be, below the store's folder.
_PLAIN_PATH = re.compile(
    rf"(?:{layout.QUEUE}|(?:{layout.RESOLVED}|{layout.RELEASED})(?:/{_PLAIN}){{3}})/{_PLAIN}", re.ASCII
)


@dataclass(frozen=True)
class Evidence:
    """The summary of an evidence file.

    ``revision`` is the commit up to which everything is shown and judged. ``tip`` is the last commit of the
    bundle, which is the same, or None without a bundle. ``steps`` are the commits that changed the
    escalations, oldest first. ``sha256`` and ``size`` (bytes) are those of the tar file.
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
    """Write the evidence about escalations, and about those that they reopen or that reopen them.

    ``wanted`` are ids or unique prefixes. ``minimal`` leaves out the store's history. The same commit gives
    the same bytes in every clone, with the same version of git.

    Raises NotFound, AmbiguousId, BadInput, NotAStore, ShallowClone, GitFailed.
    """
    with closing(opened(path, progress)) as store:
        if store.repository.is_shallow:
            raise ShallowClone(where=str(path))
        snapshot = lookup.snapshot(store, rev, fetch=fetch)
        ids = _family(snapshot, [lookup.named(snapshot, text) for text in wanted])
        case = _Case(store, snapshot, ids, minimal=minimal)
        page = case.page()
        counted = _Counted(out)
        with tarfile.open(fileobj=counted, mode="w|") as tar:
            top, when = f"evidence-{case.ids[0]}", case.when
            _add(tar, f"{top}/README.md", dossier.page(page).encode(), when)
            with tempfile.TemporaryFile() as pack:
                pack.writelines(case.objects() if minimal else case.bundle())
                _add_file(tar, f"{top}/{PACK if minimal else BUNDLE}", pack, when)
            for name, data in sorted(case.files.items()):
                _add(tar, f"{top}/{name}", data, when)
        commits = tuple(step.commit for step in page.steps)
        tip = None if minimal else snapshot.revision
        return Evidence(case.ids, snapshot.revision, tip, commits, counted.digest.hexdigest(), counted.size)


class _Counted(io.RawIOBase):
    """Passes on what is written, and counts and digests it."""

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
    """The escalations, with those that they reopen and those that reopen them, at any distance."""
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
    """The commits of some escalations, and the texts to include."""

    def __init__(
        self, store: GitStore, snapshot: GitSnapshot, ids: tuple[str, ...], *, minimal: bool
    ) -> None:
        self._store = store
        self._snapshot = snapshot
        self._minimal = minimal
        self.ids = ids
        #: The texts by their name in the tar file.
        self.files: dict[str, bytes] = {}
        self.when = datetime.fromtimestamp(0).astimezone()
        self._left_out: dict[str, None] = {}
        # The objects to request from git for a pack of the steps alone.
        self._objects: dict[str, None] = {}

    def page(self) -> Dossier:
        """The content of the README. Also fills ``files``."""
        steps: dict[str, list[history.Step]] = {}
        for name in self.ids:
            for step in history.steps(self._store, self._snapshot.revision, name):
                steps.setdefault(step.commit, []).append(step)
        # Without the history, the content of the waivers could not be proved.
        last = Policies() if self._minimal else self._policies_at(self._snapshot.revision)
        accepted = [Waived(it.commit, it.rule, it.path, it.reason) for it in last.waivers]
        told = [
            self._step(number, commit, steps[commit], [it for it in accepted if it.commit == commit])
            for number, commit in enumerate(self._in_order(steps), 1)
        ]
        return Dossier(
            self.ids,
            self._snapshot.revision,
            self._minimal,
            self._store.repository.count([self._snapshot.revision]),
            self._store.root,
            last.tree,
            told,
            [it for it in accepted if it.commit not in steps and _id_in(it.path or "") in self.ids],
            tuple(self._left_out),
        )

    def bundle(self) -> Iterator[bytes]:
        """The history as a git bundle (gitformat-bundle)."""
        tip = self._snapshot.revision
        sha256 = self._store.repository.object_format == "sha256"
        yield b"# v3 git bundle\n@object-format=sha256\n" if sha256 else b"# v2 git bundle\n"
        yield f"{tip} HEAD\n{tip} refs/heads/main\n\n".encode()
        yield from self._store.repository.pack([tip], history=True)

    def objects(self) -> Iterator[bytes]:
        """A pack of only the steps: commits and their parents, the folders on the way, records and policies."""
        found = self._store.repository.objects.get(list(self._objects), largest=0)
        yield from self._store.repository.pack(
            list(dict.fromkeys(thing.oid for thing in found if thing)), history=False
        )

    def _in_order(self, steps: Iterable[str]) -> list[str]:
        """The commits, parents before children."""
        specs = [spec for name in self.ids for spec in history.pathspecs(self._store, name)]
        specs += [history.release_pathspec(self._store, name) for name in self.ids]
        listed = self._store.repository.rev_list([self._snapshot.revision, "--full-history", "--", *specs])
        known = set(steps)
        return [commit for commit in listed if commit in known]

    def _step(
        self, number: int, commit: str, steps: Sequence[history.Step], waived: Sequence[Waived]
    ) -> dossier.DossierStep:
        first, folder = steps[0], f"{TEXTS}/steps/{number:02}-{commit}"
        parent = self._store.repository.commit_of(f"{commit}^")
        self.when = first.committed_at
        [raw] = self._store.repository.objects.get([commit])
        data = raw.data if raw and raw.data else b""
        self.files[f"{folder}/commit.txt"] = data
        if self._minimal:
            self._need(commit, parent)
        policies = self._policies_at(parent)
        actor = known_as(first.email, policies.roster)
        return dossier.DossierStep(
            commit,
            parent,
            f"{first.author} <{first.email}>",
            first.committed_at,
            [line for step in steps for line in _event_lines(step)],
            policies.tree,
            dossier.roster_entry(policies, actor),
            _signature(data) or "no",
            list(self._copies(folder, commit, parent, {step.escalation_id for step in steps})),
            waived,
        )

    def _copies(self, folder: str, commit: str, parent: str | None, ids: set[str]) -> Iterator[Copy]:
        """Copies of the records' and releases' files after a commit."""
        changed = self._between(parent, commit) if parent else self._all(commit, ids)
        for change in changed:
            path = self._store.full(change.path)
            if _id_in(change.path) not in ids:
                continue
            if not _PLAIN_PATH.fullmatch(change.path):
                self._left_out[path] = None
                continue
            for side, oid in ((parent, change.old), (commit, change.new)):
                if side is not None and oid is not None:
                    self._need_path(side, path)
            # By its whole path: one commit may change a record and its release, or a record in two places.
            text = f"{folder}/{change.path}"
            if change.new is not None and self._take(text, change.new, path):
                yield Copy(text, path)

    def _between(self, old: str, new: str) -> tuple[FileChange, ...]:
        """The files of the store that differ between two commits. Raises UnreadableStore."""
        roots = self._store.repository.objects.ids_of([f"{old}^{{tree}}", f"{new}^{{tree}}"])
        [found] = self._store.reader.trees.differences([(roots[0], roots[1])])
        if found.unsound is not None:
            raise found.unsound
        return found.changes

    def _all(self, commit: str, ids: set[str]) -> Iterator[FileChange]:
        """The records' files in the first commit of the history, as changes."""
        for path, file, _ in self._store.at(commit).everything():
            inside = path.removeprefix(f"{self._store.root}/") if self._store.root else path
            if _id_in(inside) in ids:
                yield FileChange(inside, ABSENT, FILE, None, file.oid)

    def _policies_at(self, commit: str | None) -> Policies:
        """The policies of a commit. Their files become texts."""
        try:
            snapshot = self._store.at(commit) if commit else None
        except NotAStore:
            snapshot = None
        if snapshot is None or commit is None:
            return Policies()
        tree, files = snapshot.policies()
        if tree is None:
            return Policies()
        self._need_path(commit, self._store.full(layout.POLICIES))
        for entry in self._entries(tree):
            if entry.mode != FILE or not _PLAIN_NAME.fullmatch(entry.name):
                self._left_out[f"{self._store.full(layout.POLICIES)}/{entry.name}"] = None
            else:
                path = f"{self._store.full(layout.POLICIES)}/{entry.name}"
                self._take(f"{TEXTS}/policies/{tree}/{entry.name}", entry.oid, path)
            if entry.mode == FILE:
                self._objects[entry.oid] = None
        return assemble(tree, files)

    def _entries(self, tree: str) -> list[TreeEntry]:
        [listed] = self._store.repository.objects.get([tree])
        return self._store.repository.parse_tree(listed.data if listed and listed.data else b"")

    def _take(self, name: str, oid: str, path: str) -> bool:
        """Add a blob as a text. Returns whether that was possible."""
        if name in self.files:
            return True
        [blob] = self._store.repository.objects.get([oid], largest=MAX_BYTES)
        if blob is None or blob.data is None:
            self._left_out[path] = None
            return False
        self.files[name] = blob.data
        return True

    def _need(self, commit: str, parent: str | None) -> None:
        """The commits, and the folders that differ between them, which git needs to find the changed files."""
        for one in (commit, parent):
            if one is not None:
                self._objects.update({one: None, f"{one}^{{tree}}": None})
        path = self._store.full(layout.QUEUE)
        for one in (commit, parent):
            if one is not None:
                self._need_path(one, path)
        find = self._store.repository.objects.id_of
        self._need_folders(find(f"{parent}:{path}") if parent else None, find(f"{commit}:{path}"))

    def _need_folders(self, *sides: str | None) -> None:
        if sides[0] == sides[1]:
            return
        below: list[dict[str, str]] = []
        for tree in sides:
            entries = self._entries(tree) if tree else []
            below.append({entry.name: entry.oid for entry in entries if entry.mode == TREE})
            if tree:
                self._objects[tree] = None
        for name in below[0] | below[1]:
            self._need_folders(below[0].get(name), below[1].get(name))

    def _need_path(self, commit: str, path: str) -> None:
        """The object at a path of a commit, and the folders that lead to it."""
        parts = path.split("/")
        self._objects.update((f"{commit}:{'/'.join(parts[:end])}", None) for end in range(1, len(parts) + 1))


def _id_in(path: str) -> str | None:
    """The id that a record's or a release's file is named for."""
    return layout.id_of(path) or layout.released_id(path)


def _event_lines(step: history.Step) -> Iterator[str]:
    """What a commit did to one escalation, as lines."""
    for it in in_step(step):
        who = f" by {it.actor}" if it.actor else ""
        outcome = f" as {it.outcome}" if it.outcome else ""
        text = f": {it.text}" if it.text else ""
        yield (
            f"{format_time(step.committed_at)}  {step.commit[:12]}  {it.action} {step.escalation_id}"
            f"{outcome}{who}{text}"
        )


def _signature(commit: bytes) -> str | None:
    """The kind of a raw commit's signature."""
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
