"""The store in a git repository: snapshots of its commits, and commits that land or say why not.

The steps are those of design, section 5; which record changes, and whether it may, is not known here.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.row import Row, row_of
from ..core.words import MAX_BYTES
from ..errors import (
    BadInput,
    BranchTaken,
    GitFailed,
    HistoryRewritten,
    Interrupted,
    NoStoreBranch,
    NotAStore,
    OutcomeUnknown,
    PathStaged,
    PushRefused,
    RemoteFault,
    RemoteUnreachable,
)
from . import cache, faults, layout
from .git import FILE, TREE, Done, Repository, TreeEntry, Underway, chunks
from .line import Line, Turn
from .port import PROPOSALS, Author, Change, Entry, Invalid, Proposal, Snapshot, Stale, Unanswered, WrongGuess

if TYPE_CHECKING:
    from ..core.model import Record
    from ..core.policies_file import PolicyFile
    from .archive_index import Index
    from .archives import Archive, Place

    #: What is known of a blob: its bytes, the record in them, or as text what keeps it from being read.
    Held = bytes | Record | str

INTERRUPT_SECONDS = 5.0
FETCH_PAUSE_SECONDS = 0.1
# What fits into a file's name everywhere, for that is what a branch is on most servers.
MAX_BRANCH = 200
FETCH_OBJECTS_SECONDS = 60.0
# Whole records are kept by blob id, which names their content for ever; this many at most.
_REMEMBERED = 20_000
_FIRST_FEW = 8
# How many files are read at once where all of them are, and how many records are kept meanwhile.
_AT_ONCE = 500
_KEPT = 2_000
_BAD_MODES = {"120000": "a symbolic link", "160000": "a submodule", "100755": "executable", TREE: "a folder"}


@dataclass
class Built:
    """A commit in the making: what it is to say, and the objects (id, kind, bytes) that it needs."""

    parents: list[str]
    message: str
    author: Author
    seconds: int
    #: Of each file that it writes, the (mode, id); None for those that go.
    ids: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    objects: list[tuple[str, str, bytes]] = field(default_factory=list)
    tree: str = ""


class GitStore:
    """A store below `kt.root` of one repository.

    Raises NotAStore and GitFailed where there is no repository to work with, BadInput for settings
    that cannot be.
    """

    def __init__(self, start: Path, *, quarantined: bool = False) -> None:
        self.repository = Repository(start, quarantined=quarantined)
        self.root = root_of(self.repository.config.get("kt.root", ""))
        self._parsed: dict[str, Record] = {}
        #: The policies that were read last, by their tree's id.
        self.policies: tuple[str, Mapping[str, PolicyFile]] | None = None
        self._left: str | None = None
        self._branch = ""
        self._said = ""
        # The commit that is taken for the newest one, and the fetch under way that will tell.
        self._guessed: str | None = None
        self._asked: Underway | None = None
        # What those of this host who write to the same remote have told us.
        self._turn = Turn()

    # --- which remote, which branch ---------------------------------------------------------------

    @cached_property
    def remote(self) -> str | None:
        """The remote: `kt.remote`, else `origin`, else none (design, section 2)."""
        known = self.repository.remotes()
        asked = self.repository.config.get("kt.remote")
        if asked and asked not in known:
            raise BadInput(problem=f"kt.remote is {asked!r}, but there is no such remote; see `git remote`")
        return asked or ("origin" if asked is None and "origin" in known else None)

    def require_remote_choice(self) -> None:
        """Raise BadInput where there are remotes and nothing says which of them holds the store.

        To take none of them would make a commit that nobody else sees look like one that has landed.
        """
        if self.remote is None and self.repository.config.get("kt.remote") is None:
            others = sorted(self.repository.remotes())
            if others:
                raise BadInput(
                    problem=f"none of the remotes ({', '.join(others)}) is called origin; say which holds the store "
                    f"with `git config kt.remote {others[0]}`, or that none does with `git config kt.remote ''`"
                )

    @property
    def branch(self) -> str | None:
        """The store branch as far as it is known without asking anybody."""
        asked = self.repository.config.get("kt.branch")
        if asked:
            return asked
        return self.repository.remote_head(self.remote) if self.remote else self.repository.head_branch()

    @property
    def own_branch(self) -> str | None:
        """The store branch of a server's repository: whatever remotes it has, others push to it."""
        return self.repository.config.get("kt.branch") or self.repository.head_branch()

    def branch_to_write(self, timeout: float) -> str:
        """The store branch, asking the remote once where nothing here says it. Raises NoStoreBranch."""
        known = self.branch
        if known:
            return known
        if self.remote is None:
            raise NoStoreBranch(
                problem="the head is detached and there is no remote",
                hint="switch to the branch with `git switch`, or name it with `git config kt.branch NAME`",
            )
        asked = self.repository.ask_remote_head(self.remote, timeout)
        if asked.status != 0:
            raise self._unreachable(asked, timeout)
        found = head_in(asked)
        if found is None:
            raise self.headless(timeout)
        self.repository.remember_remote_head(self.remote, found)
        return found

    def headless(self, timeout: float) -> NoStoreBranch:
        """The error for a remote whose HEAD names no branch that exists; ``branches`` are those that do."""
        remote = self.remote
        asked = self.repository.ask_branches(remote or "", timeout)
        found = re.findall(r"\trefs/heads/(\S+)$", asked.text, re.MULTILINE) if asked.status == 0 else []
        branches = [branch for branch in found if not branch.startswith((PROPOSALS, "refs/"))]
        problem = f"the HEAD of {remote} names no branch that exists"
        if not branches:
            return NoStoreBranch(
                problem=problem,
                hint=f"push the store first with `git push -u {remote} HEAD`, "
                "or name the branch with `git config kt.branch NAME`",
            )
        here = self.repository.head_branch()
        name = here if here in branches else branches[0] if len(branches) == 1 else "NAME"
        return NoStoreBranch(
            problem=f"{problem}, though it has {', '.join(branches[:3])}",
            hint=f"if the store is on {name}, run `git symbolic-ref HEAD refs/heads/{name}` on the server, "
            f"or here `git remote set-head {remote} {name}`",
            branches=branches,
        )

    def learn_head(self, timeout: float) -> str | None:
        """Remember what the remote's HEAD names, after the store's first push; a warning where it is not that."""
        if self.remote is None or self.repository.config.get("kt.branch"):
            return None
        asked = self.repository.ask_remote_head(self.remote, timeout)
        found = head_in(asked)
        if found == self._branch:
            # What is not remembered is asked again.
            with suppress(GitFailed):
                self.repository.remember_remote_head(self.remote, found)
        if asked.status != 0 or found == self._branch:
            return None
        return (
            f"the HEAD of {self.remote} names {found or 'no branch that exists'}, so other clones do not find the store "
            f"on {self._branch}; run `git symbolic-ref HEAD refs/heads/{self._branch}` on the server, "
            f"or in each clone `git remote set-head {self.remote} {self._branch}`"
        )

    # --- a server's repository ----------------------------------------------------------------------

    def holds(self, commit: str) -> bool:
        """Whether a commit holds a store where `kt.root` says."""
        try:
            self.at(commit)
        except NotAStore:
            return False
        return True

    def folders_of_stores(self, commit: str) -> list[str]:
        """The folders of a commit that look like a store's: with both `queue/` and `policies/`; "" is the top."""
        folders = set(self.repository.folders(commit))
        tops = {name.rpartition("/")[0] for name in folders}
        both = [[f"{top}/{name}".lstrip("/") for name in (layout.QUEUE, layout.POLICIES)] for top in tops]
        return sorted(top for top, names in zip(tops, both, strict=True) if folders.issuperset(names))

    def guard_by(self, key: str, value: str) -> str:
        """The command that lets the hook of this server's repository guard another branch or folder."""
        where = shlex.quote(str(self.repository.toplevel or self.repository.git_dir))
        if key == "kt.branch" and not self.repository.config.get(key):
            return f"git -C {where} symbolic-ref HEAD refs/heads/{value}"
        return f"git -C {where} config {key} {value}"

    # --- reading ----------------------------------------------------------------------------------

    def author(self) -> Author:
        return self.repository.author()

    def read(self, rev: str | None = None) -> GitSnapshot:
        commit = self.repository.commit_of(rev) if rev is not None else self._committed()
        if commit is None:
            if rev is not None:
                raise BadInput(problem=f"{rev!r} names no commit; see `git log --all`")
            hint = {"hint": "ask the remote with --fetch, or make a store with `kt escalation init`"}
            raise NotAStore(
                where=str(self._where), problem="it has no commit yet", **(hint if self.remote else {})
            )
        return self.at(commit)

    def _committed(self) -> str | None:
        """The local store branch if it contains the remote-tracking one, else that (design, section 8)."""
        branch = self.branch
        if branch is None:
            return self.repository.commit_of("HEAD")
        local = self.repository.tip_of(f"refs/heads/{branch}")
        tracking = self.repository.tip_of(f"refs/remotes/{self.remote}/{branch}") if self.remote else None
        if local and tracking and local != tracking:
            return local if self.repository.is_ancestor(tracking, local) else tracking
        if not (local or tracking) and self.repository.config.get("kt.branch"):
            raise NoStoreBranch(
                problem=f"kt.branch is {branch}, and there is no such branch here",
                hint="fetch it, or name another with `git config kt.branch NAME`",
            )
        return local or tracking or self.repository.commit_of("HEAD")

    def tip(self, timeout: float) -> GitSnapshot:
        faults.point("before-fetch")
        # What was asked before this is not the newest any more.
        self._stop_asking()
        self._guessed = None
        branch, commit = self._fetched(timeout)
        if commit is None:
            raise NotAStore(where=str(self._where), problem=f"branch {branch} has no commit yet")
        faults.point("after-fetch")
        return self.at(commit)

    def guess(self, timeout: float) -> GitSnapshot:
        branch, ref = self._place(timeout)
        known = self.repository.tip_of(ref) if self.remote else None
        if self.remote is None or known is None:
            return self.tip(timeout)
        if self._turn.last not in ("", known):
            # Somebody of this host has pushed since: to guess would be in vain.
            return self.tip(timeout)
        faults.point("before-fetch")
        self._guessed = known
        if not self._turn.again:
            self._asked = self.repository.fetch(self.remote, branch)
        try:
            return self.at(known)
        except NotAStore:
            # It may have become one since.
            return self.tip(timeout)

    def confirm(self, snapshot: Snapshot, timeout: float) -> None:
        if snapshot.revision == self._guessed:
            self._confirm(timeout)

    def _confirm(self, timeout: float) -> None:
        guessed, self._guessed = self._guessed, None
        _, newest = self._fetched(timeout)
        faults.point("after-fetch")
        if newest and newest != guessed:
            raise WrongGuess(self.at(newest))

    def _place(self, timeout: float) -> tuple[str, str]:
        """The store branch, and the ref of this clone that says where it is."""
        self.require_remote_choice()
        branch = self._branch = self.branch_to_write(timeout)
        return branch, f"refs/remotes/{self.remote}/{branch}" if self.remote else f"refs/heads/{branch}"

    def _fetched(self, timeout: float) -> tuple[str, str | None]:
        """The store branch and its newest commit."""
        branch, ref = self._place(timeout)
        if self.remote:
            self._fetch(branch, ref, timeout)
        commit = self.repository.tip_of(ref)
        if self.remote and commit:
            self._line.tip = commit
        return branch, commit

    def _fetch(self, branch: str, ref: str, timeout: float) -> None:
        """Wait for the fetch that is under way, or for one that is begun here."""
        remote = self.remote or ""
        end = time.monotonic() + timeout
        while True:
            self._asked = self._asked or self.repository.fetch(remote, branch)
            done = self._asked.answer(max(0.1, end - time.monotonic()))
            if done is None:
                self._stop_asking()
                raise self._unreachable(None, timeout)
            self._asked = None
            if done.status == 0:
                return
            if "non-fast-forward" in done.err:
                seen = self.repository.commit_of(ref)
                raise HistoryRewritten(branch=branch, remote=remote, seen=(seen or "")[:12])
            if "couldn't find remote ref" in done.err:
                raise NoStoreBranch(
                    problem=f"{remote} has no branch {branch}",
                    hint=f"push the store with `git push {remote} {branch}`, "
                    "or name another branch with `git config kt.branch NAME`",
                )
            # Another fetch in this clone moves the same ref: that passes.
            if "cannot lock ref" not in done.err or time.monotonic() + FETCH_PAUSE_SECONDS > end:
                raise self._unreachable(done, timeout)
            time.sleep(FETCH_PAUSE_SECONDS)

    def _stop_asking(self) -> None:
        asked, self._asked = self._asked, None
        if asked:
            asked.give_up()

    def _unreachable(self, done: Done | None, timeout: float) -> RemoteUnreachable:
        from .push import remote_words

        if done is None or done.timed_out:
            return RemoteUnreachable(remote=self.remote, words=f"no answer within {timeout:.0f} s")
        return RemoteUnreachable(remote=self.remote, words=remote_words(done.err) or done.words)

    def blob_of(self, data: bytes) -> str:
        """The id that bytes have as a blob."""
        return self.repository.object_id("blob", data)

    def blob_id(self, record: Record) -> str:
        from . import codec

        return self.repository.object_id("blob", codec.dumps(record))

    def contains(self, snapshot: Snapshot, commit: str) -> bool:
        return self.repository.is_ancestor(commit, snapshot.revision)

    def at(self, commit: str) -> GitSnapshot:
        """The store at a commit. Raises NotAStore."""
        return GitSnapshot(self, commit)

    def start(self, timeout: float) -> str | None:
        """The commit to make a store on, None where there is none yet."""
        if self.remote:
            try:
                return self._fetched(timeout)[1]
            except NoStoreBranch as error:
                if "branches" in error.facts:
                    # One of them may well be the store's, and nobody wants a second one beside it.
                    here = self.repository.head_branch() or "NAME"
                    new = f"for a new store on {here} run `git config kt.branch {here}` first"
                    raise NoStoreBranch(**{**error.facts, "hint": f"{error.remedy}; {new}"}) from None
        head = self.repository.head_branch()
        self._branch = self.branch or head or ""
        return self.repository.commit_of("HEAD")

    def not_a_store(self, commit: str) -> NotAStore:
        """The error for a commit without a store where `kt.root` says, with where one may be."""
        problem = f"{commit[:12]} has neither queue/ nor policies/ there"
        folders = self.repository.folders(commit)
        inside = f"/{layout.POLICIES}"
        found = sorted(name.removesuffix(inside) for name in folders if name.endswith(inside))
        if self.root or not found:
            return NotAStore(where=str(self._where), problem=problem)
        hint = f"if the store is in {found[0]}, run `git config kt.root {found[0]}`; else make one with `kt escalation init`"
        return NotAStore(where=str(self._where), problem=problem, hint=hint)

    @property
    def _where(self) -> Path:
        return (self.repository.toplevel or self.repository.git_dir) / self.root

    def full(self, path: str) -> str:
        """A path below the store's top as one from the repository's top."""
        return f"{self.root}/{path}" if self.root else path

    def below(self, path: str) -> str:
        """A path from the repository's top as one below the store's top."""
        return path.removeprefix(f"{self.root}/") if self.root else path

    def parse(self, path: str, oid: str, data: Held) -> Entry | Invalid:
        """What a file below `queue/` holds; ``data`` as text says why it could not be read."""
        found = self._record(oid, data)
        if isinstance(found, str):
            return Invalid(self.full(path), found, layout.id_of(path))
        wrong = layout.misplaced(found, path)
        if wrong:
            return Invalid(self.full(path), wrong, layout.id_of(path))
        return Entry(found, self.full(path), oid)

    def parse_archived(self, archive: Archive, escalation_id: str, oid: str, data: Held) -> Entry | Invalid:
        """What an archive holds for an id: an entry with the archive's path and the id of its own bytes."""
        path = self.full(archive.path)
        found = self._record(oid, data)
        if isinstance(found, str):
            return Invalid(path, f"{escalation_id}: {found}", escalation_id)
        wrong = layout.misfiled(found, archive.name.month, escalation_id)
        return Invalid(path, wrong, escalation_id) if wrong else Entry(found, path, oid)

    def _record(self, oid: str, data: Held) -> Record | str:
        """The record in the bytes that an id names, or what keeps it from being read."""
        found = self._parsed.get(oid)
        if found is None:
            read = _load(data) if isinstance(data, bytes) else data
            if isinstance(read, str):
                return read
            self.remember(oid, found := read)
        return found

    def known(self, oids: Iterable[str]) -> dict[str, Held]:
        """The whole records of those of the blobs that this process has; it may forget them any time."""
        return {oid: self._parsed[oid] for oid in oids if oid in self._parsed}

    def remember(self, oid: str, record: Record) -> None:
        """Keep a whole record for whoever asks for it next in this process."""
        if len(self._parsed) >= _REMEMBERED:
            self._parsed.clear()
        self._parsed[oid] = record

    @cached_property
    def cache(self) -> cache.Cache:
        """What this clone has read before."""
        return cache.Cache(self.lock_folder / "records")

    @cached_property
    def index(self) -> Index:
        """Which id is in which archive; a file beside the lock, which all worktrees share."""
        from .archive_index import Index

        return Index(self.lock_folder, self.archive_blobs)

    def contents(self, data: str | None, beside: str | None) -> Mapping[str, bytes]:
        """An archive's files by id, from the ids of both of its blobs. Raises BadArchive, GitFailed."""
        from ..core.compaction import contents

        wanted = [oid for oid in (data, beside) if oid is not None]
        read = dict(zip(wanted, self.archive_blobs(wanted), strict=True))
        return contents(read.get(data or ""), read.get(beside or ""))

    def archive_blobs(self, oids: Sequence[str]) -> list[bytes | None]:
        """The bytes of archives' files, None for what is too large to be one. Raises GitFailed for what is missing."""
        from ..core.compaction import MAX_ARCHIVE

        found = self.repository.objects.get(oids, largest=MAX_ARCHIVE)
        for oid, item in zip(oids, found, strict=True):
            if item is None:
                words = f"{oid}, a part of the store's archives, is missing from this clone; run `git fetch`"
                raise GitFailed(command="cat-file", words=words)
        return [item.data if item else None for item in found]

    # --- writing ----------------------------------------------------------------------------------

    @contextmanager
    def writing(self, timeout: float) -> Iterator[None]:
        from . import lock

        with lock.held(self.lock_folder, timeout):
            try:
                yield
            finally:
                self._stop_asking()

    @contextmanager
    def turn(self) -> Iterator[None]:
        if self.remote is None:
            yield
            return
        with self._line.turn() as self._turn:
            yield

    @cached_property
    def _line(self) -> Line:
        config = self.repository.config
        return Line(config.get(f"remote.{self.remote}.pushurl") or config[f"remote.{self.remote}.url"])

    @property
    def lock_folder(self) -> Path:
        """Where the clone's lock is: shared by all its worktrees."""
        return self.repository.common_dir / "kt"

    def commit(
        self,
        base: Snapshot,
        changes: Sequence[Change],
        message: str,
        author: Author,
        when: datetime,
        timeout: float,
        others: Mapping[str, bytes | None] | None = None,
    ) -> str:
        end = time.monotonic() + timeout
        files = {**self._files(changes), **(others or {})}
        return self.commit_files(base.revision, files, message, author, when, end)

    def _files(self, changes: Sequence[Change]) -> dict[str, bytes | None]:
        """The files that changes write, None for those that go."""
        from . import codec

        files: dict[str, bytes | None] = {}
        for change in changes:
            path = self.full(layout.path_of(change.new))
            if change.old and change.old.path != path:
                files[change.old.path] = None
            files.update(dict.fromkeys(change.removed))
            files[path] = codec.dumps(change.new)
        return files

    def commit_files(
        self,
        base: str | None,
        files: Mapping[str, bytes | None],
        message: str,
        author: Author,
        when: datetime,
        end: float,
    ) -> str:
        """Write files (None: delete) on top of a commit and land that, until the monotonic time ``end``.

        Without a ``base`` the commit begins the store branch.

        Raises as `Port.commit` does.
        """
        built = self._build(base, files, message, author, when)
        if self._asked:
            # The remote has had the time to answer; where it has moved, nothing is written at all.
            self._confirm(end - time.monotonic())
        commit = self._write(built)
        if self.remote:
            # A store that begins on commits of this clone's own begins a branch that the remote lacks.
            there = self.repository.tip_of(f"refs/remotes/{self.remote}/{self._branch}")
            self._push(commit, self._branch, end, lease=base if base == there else "")
        else:
            self._land_here(commit, base, message.partition("\n")[0], built.ids)
        return commit

    def _build(
        self,
        base: str | None,
        files: Mapping[str, bytes | None],
        message: str,
        author: Author,
        when: datetime,
    ) -> Built:
        """A commit that is not written yet."""
        faults.point("before-build")
        built = Built([base] if base else [], message, author, int(when.timestamp()))
        for path, blob in files.items():
            built.ids[path] = (FILE, self._object("blob", blob, built)) if blob is not None else None
        leaves = {tuple(path.split("/")): entry for path, entry in built.ids.items()}
        built.tree = self._rebuild(f"{base}^{{tree}}" if base else None, leaves, built) or ""
        return built

    def _write(self, built: Built) -> str:
        """Write a commit that no ref names yet, signed where the user's git signs; its id."""
        flush = self.remote is None
        made = (built.tree, built.parents, built.message, built.author, built.seconds)
        if self.repository.signs:
            self.repository.write_objects(built.objects, flush=flush)
            commit = self.repository.signed_commit(*made, flush=flush)
        else:
            commit = self._object("commit", self.repository.format_commit(*made), built)
            self.repository.write_objects(built.objects, flush=flush)
        faults.point("after-build")
        faults.point("before-push")
        return commit

    def _object(self, kind: str, data: bytes, built: Built) -> str:
        """The id of an object that is to be written with the others."""
        oid = self.repository.object_id(kind, data)
        built.objects.append((oid, kind, data))
        return oid

    def _rebuild(
        self,
        old: str | None,
        leaves: Mapping[tuple[str, ...], tuple[str, str] | None],
        built: Built,
    ) -> str | None:
        """The id of the tree ``old`` with leaves set or removed; None if nothing is left in it.

        What does not change is carried over as the bytes that it is.
        """
        lines: dict[bytes, bytes] = {}
        if old:
            [found] = self.repository.objects.get([old])
            if found is None or found.data is None:
                raise GitFailed(command="cat-file", words=f"the tree {old} is missing")
            lines = self.repository.tree_lines(found.data)
        below: dict[str, dict[tuple[str, ...], tuple[str, str] | None]] = {}
        for (name, *rest), leaf in leaves.items():
            if rest:
                below.setdefault(name, {})[tuple(rest)] = leaf
            elif leaf is None:
                lines.pop(os.fsencode(name), None)
            else:
                lines[os.fsencode(name)] = self.repository.tree_line(TreeEntry(leaf[0], name, leaf[1]))
        for name, inner in below.items():
            key = os.fsencode(name)
            [was] = self.repository.parse_tree(lines[key]) if key in lines else [None]
            subtree = self._rebuild(was.oid if was and was.mode == TREE else None, inner, built)
            if subtree:
                lines[key] = self.repository.tree_line(TreeEntry(TREE, name, subtree))
            else:
                lines.pop(key, None)
        return self._object("tree", self.repository.join_tree(lines), built) if lines else None

    def _push(
        self,
        commit: str,
        branch: str,
        end: float,
        *,
        lease: str | None,
        proposed: bool = False,
        refspec: str | None = None,
    ) -> None:
        """Push a commit to a branch that is at ``lease``: empty if there is none, None where that is not known.

        A remote that was set back to an earlier commit would take the push for a fast-forward otherwise.
        """
        from .push import Answer, classify, is_astray, our_hint

        remote = self.remote or ""
        push = self.repository.push(remote, commit, branch, lease, refspec)
        interrupted = False
        try:
            done = push.answer(end - time.monotonic())
        except KeyboardInterrupt:
            # The push is beyond ^C, so its answer is worth a moment's wait (design, section 5).
            interrupted = True
            try:
                done = push.answer(INTERRUPT_SECONDS)
            except KeyboardInterrupt:
                done = None
        if done is None:
            push.give_up()
            if interrupted:
                raise self.unknown(commit, "interrupted", branch)
            raise Unanswered(commit, "no answer in time")
        out = done.out.decode(errors="replace")
        if refspec is None and is_astray(branch, out, done.err):
            if self.repository.push_address(remote).startswith(("http://", "https://")):
                # Over HTTP git makes two of each push, and hands to the second one no pattern (git-remote-http).
                raise self._alike(branch, end)
            with self.repository.pattern(commit, branch) as pattern:
                self._push(commit, branch, end, lease=lease, proposed=proposed, refspec=pattern)
            return
        self._said = done.err
        pushed = classify(done.status, out, done.err)
        if pushed.answer is Answer.LANDED:
            self.repository.set_tracking(remote, branch, commit)
            if not proposed:
                self._line.tip = commit
            return
        facts = {"remote": remote, "branch": branch, "words": pushed.words}
        ours = our_hint(pushed.words)
        if ours:
            facts["hint"] = ours
        elif proposed:
            facts["hint"] = "ask who guards {branch}, or give another name with --branch NAME"
        if pushed.answer is Answer.UNKNOWN:
            if interrupted:
                raise self.unknown(commit, "interrupted", branch)
            raise Unanswered(commit, pushed.words)
        if interrupted:
            raise Interrupted
        if pushed.answer is Answer.LOST:
            self._line.end()
            raise Stale
        raise (RemoteFault if pushed.answer is Answer.FAULT else PushRefused)(**facts)

    def _alike(self, branch: str, end: float) -> PushRefused:
        """The error for a remote that has something which git takes for the branch as well, with the cure."""
        remote = self.remote or ""
        asked = self.repository.ask_branch(remote, branch, max(end - time.monotonic(), 0.1))
        [ref, *_] = [*alike(branch, asked), f"refs/heads/refs/heads/{branch}"]
        return PushRefused(
            says="{branch} on {remote} cannot be pushed to: git takes {alike} there for it as well",
            hint="delete that with `git push {remote} --delete {alike}`, which whoever may push can do",
            remote=remote,
            branch=branch,
            alike=ref,
        )

    def require_proposable(self, branch: str) -> None:
        from ..core import forges

        self.require_remote_choice()
        if self.remote is None:
            raise BadInput(
                problem="--branch proposes a change on the remote, and this store has none; do it without --branch"
            )
        forge = self.repository.config.get("kt.forge")
        if forge and forge not in forges.FORGES:
            raise BadInput(problem=f"kt.forge is {forge!r}; it is one of {', '.join(forges.FORGES)}")
        if branch:
            self.require_branch_name(branch)

    def require_branch_name(self, branch: str) -> None:
        """Raise BadInput for what cannot be a branch's name, or is better not."""
        odd = branch.startswith(("-", "refs/")) or branch == "HEAD" or len(branch.encode()) > MAX_BRANCH
        if odd or not self.repository.is_branch_name(branch):
            raise BadInput(
                problem=f"{branch[:80]!r} is no name for a branch; give one such as kt/claim/esc_abc123"
            )

    def proposal(self, branch: str, tip: Snapshot, timeout: float) -> Proposal | None:
        if branch == self._branch:
            raise BadInput(problem=f"{branch} is the store branch itself; propose on another branch")
        remote = self.remote or ""
        asked = self.repository.ask_branch(remote, branch, timeout)
        if asked.status != 0:
            raise self._unreachable(asked, timeout)
        found = re.search(rf"^([0-9a-f]+)\trefs/heads/{re.escape(branch)}$", asked.text, re.MULTILINE)
        if found is None:
            return None
        commit = found[1]
        got = self.repository.fetch_branch(remote, branch, timeout)
        if got.timed_out:
            raise self._unreachable(got, timeout)
        if self.repository.commit_of(commit) is None:
            raise Stale
        if self.repository.is_ancestor(commit, tip.revision):
            return Proposal(commit, merged=True)
        fork = self.repository.merge_base(tip.revision, commit)
        if fork is None:
            return Proposal(commit)
        return Proposal(
            commit,
            False,
            self._store_at(commit),
            self._store_at(fork),
            self.repository.emails([commit, f"^{tip.revision}"]),
            self.repository.changed(fork, commit),
        )

    def _store_at(self, commit: str) -> GitSnapshot | None:
        try:
            return self.at(commit)
        except NotAStore:
            return None

    def propose(
        self,
        base: Snapshot,
        changes: Sequence[Change],
        message: str,
        author: Author,
        when: datetime,
        branch: str,
        was: str | None,
        timeout: float,
    ) -> str:
        end = time.monotonic() + timeout
        commit = self._write(self._build(base.revision, self._files(changes), message, author, when))
        try:
            self._push(commit, branch, end, lease=was or "", proposed=True)
        except Stale:
            inside = re.search(r"'refs/heads/([^']+)' exists; cannot create", self._said)
            if inside:
                raise BranchTaken(
                    says="the branch {branch} cannot be made on {remote}: "
                    "there is a branch {beside}, and git cannot have both",
                    hint="give another name with --branch NAME, or have {beside} renamed by whoever made it",
                    branch=branch,
                    remote=self.remote,
                    beside=inside[1],
                ) from None
            raise
        return commit

    def request_address(self, branch: str) -> str | None:
        from ..core import forges

        address = self.repository.push_address(self.remote or "")
        forge = self.repository.config.get("kt.forge")
        return forges.request_address(address, self._branch, branch, forge or None, self._said)

    def unknown(self, commit: str, words: str, branch: str = "") -> OutcomeUnknown:
        """The error for a push that nobody has answered, to the store branch if no other is named."""
        find = f"git fetch {self.remote} && git log {self.remote}/{branch or self._branch}"
        return OutcomeUnknown(commit=commit, remote=self.remote, words=words, find=find)

    def _land_here(
        self, commit: str, base: str | None, subject: str, ids: Mapping[str, tuple[str, str] | None]
    ) -> None:
        """Move the local branch, and the index with it where the branch is checked out (design, 5.6)."""
        branch = self._branch
        ref = f"refs/heads/{branch}"
        self._left = None
        here = self._checkout_of(branch)
        if here is None:
            if not self.repository.update_ref(ref, commit, base, subject):
                raise Stale
            return
        paths = list(ids)
        was = self._entries_at(base, paths)
        index = here.index_entries(paths)
        for path in paths:
            if index.get(path) != was[path]:
                if self.repository.commit_of(ref) != base:
                    # A plain `git commit` came first, and the index went with it.
                    raise Stale
                raise PathStaged(path=path)
        done = here.fast_forward(commit, subject, flush=True)
        if done.status == 0 and here.commit_of("HEAD") == commit:
            return
        if base is None:
            raise GitFailed(command="merge", words=done.words)
        if here.commit_of("HEAD") != base:
            raise Stale
        # Some touched file is dirty: the branch and the index move, that file stays as it is.
        dirty = here.modified(paths) | {path for path in paths if was[path] is None and _exists(here, path)}
        if not here.move_branch_and_index(
            ref, commit, base, subject, ids, [p for p in paths if p not in dirty]
        ):
            raise Stale
        if dirty:
            self._left = f"{', '.join(sorted(dirty)[:3])} has local changes and was left as it is"

    def _entries_at(self, commit: str | None, paths: Sequence[str]) -> dict[str, tuple[str, str] | None]:
        """(mode, id) of paths in a commit; each folder is read once, however many of its files are asked."""
        found: dict[str, tuple[str, str] | None] = dict.fromkeys(paths)
        if commit is None:
            return found
        folders = sorted({path.rpartition("/")[0] for path in paths})
        trees = self.repository.objects.get([f"{commit}:{folder}" for folder in folders])
        for folder, tree in zip(folders, trees, strict=True):
            if tree is None or tree.data is None or tree.kind != "tree":
                continue
            for entry in self.repository.parse_tree(tree.data):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if path in found and entry.mode != TREE:
                    found[path] = (entry.mode, entry.oid)
        return found

    def _checkout_of(self, branch: str) -> Repository | None:
        """The worktree, this one or another, that has the branch checked out."""
        if self.repository.toplevel and self.repository.head_branch() == branch:
            return self.repository
        other = self.repository.worktree_of(branch)
        if other is None or not other.is_dir() or other == self.repository.toplevel:
            return None
        found = Repository(other)
        return found if found.toplevel else None

    def follow(self, revision: str) -> str | None:
        faults.point("after-push")
        faults.point("before-follow")
        left = self._left if self.remote is None else self._fast_forward(revision)
        faults.point("after-follow")
        return left

    def _fast_forward(self, revision: str) -> str | None:
        branch = self._branch
        if self.repository.toplevel is None or self.repository.head_branch() != branch:
            return None
        if self.repository.tip_of(f"refs/heads/{branch}") == revision:
            return None
        done = self.repository.fast_forward(revision, "kt", flush=False)
        if done.status == 0:
            return None
        if "Not possible to fast-forward" in done.err:
            return f"{branch} has commits of its own; bring it along with `git pull --rebase`"
        files = re.findall(r"^\t(\S.*)$", done.err, re.MULTILINE)
        along = f"bring it along with `git merge --ff-only {self.remote}/{branch}`"
        if files:
            return f"{', '.join(files[:3])} has local changes; stash or undo them, then {along}"
        return f"{done.words}; {along}"

    def close(self) -> None:
        """End the git process that reads objects, and close the index of archives."""
        self.repository.objects.close()
        if "index" in self.__dict__:
            self.index.close()


def head_in(asked: Done) -> str | None:
    """The branch that the remote's HEAD names in an answer to `ask_remote_head`; None if there is no such branch."""
    found = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", asked.text, re.MULTILINE)
    return found[1] if found else None


def alike(branch: str, asked: Done) -> list[str]:
    """What git takes for the branch as well, in an answer to `ask_branch`; the longest first, which nothing else fits."""
    names = rf"\t(refs/(?:heads|tags)/(?:refs/heads/)+{re.escape(branch)})$"
    return sorted(re.findall(names, asked.text, re.MULTILINE), key=len, reverse=True)


_RESOLVED = layout.RESOLVED.rpartition("/")[2]


class GitSnapshot:
    """The store at one commit. Raises NotAStore where that holds neither `queue/` nor `policies/`."""

    def __init__(self, store: GitStore, commit: str) -> None:
        self._store = store
        self._commit = commit
        top = self._tree(f"{commit}:{store.root}" if store.root else f"{commit}^{{tree}}")
        folders = {entry.name: entry.oid for entry in top if entry.mode == TREE}
        if not {layout.QUEUE, layout.POLICIES} & set(folders):
            raise store.not_a_store(commit)
        self._queue_id = folders.get(layout.QUEUE)
        self._policies_id = folders.get(layout.POLICIES)

    @property
    def revision(self) -> str:
        return self._commit

    def _tree(self, name: str) -> list[TreeEntry]:
        return self._store.repository.parse_tree(self._tree_data(name))

    def _tree_data(self, name: str) -> bytes:
        [found] = self._store.repository.objects.get([name])
        return found.data if found and found.kind == "tree" and found.data else b""

    @cached_property
    def _queue(self) -> list[TreeEntry]:
        return self._store.repository.parse_tree(self._queue_data)

    @cached_property
    def _queue_data(self) -> bytes:
        return self._tree_data(self._queue_id) if self._queue_id else b""

    @cached_property
    def _queue_lines(self) -> Mapping[bytes, bytes]:
        """The lines of `queue/` by name: whoever wants one need not parse all of them."""
        return self._store.repository.tree_lines(self._queue_data)

    def open(self) -> Iterator[Entry | Invalid]:
        rows, invalid = self._rows(self._open_files, whole=True)
        yield from self.entries(rows)
        yield from invalid

    def resolved(self) -> Iterator[Entry | Invalid]:
        yield from self._read(self.resolved_files)
        for archive in self.archives:
            yield from self._archived(archive)

    def rows(self, *, resolved: bool) -> tuple[list[Row], list[Invalid]]:
        if not resolved:
            return self._rows(self._open_files, whole=False)
        rows: list[Row] = []
        invalid: list[Invalid] = []
        for item in self.resolved():
            if isinstance(item, Entry):
                rows.append(row_of(item.record, layout.path_of(item.record), item.blob))
            else:
                invalid.append(item)
        return rows, invalid

    def entries(self, rows: Sequence[Row]) -> Iterator[Entry]:
        from ..core.model import Record

        store = self._store
        for some in _growing(rows):
            archived = self._archived_of(some)
            held = store.known(row.blob for row in some)
            missing = [row for row in some if row.blob not in held]
            kept = store.cache.bodies(row.blob for row in missing)
            held.update(self._pieces(archived[row] for row in missing if row in archived))
            held.update(
                self.blobs([row.blob for row in missing if row not in archived and row.blob not in kept])
            )
            for row in some:
                data = held.get(row.blob, "")
                if row.blob in kept:
                    data = Record.model_validate(kept[row.blob])
                found = (
                    store.parse_archived(archived[row].archive, row.escalation_id, row.blob, data)
                    if row in archived
                    else store.parse(row.path, row.blob, data)
                )
                if not isinstance(found, Entry):
                    raise GitFailed(command="cat-file", words=f"{row.path} is not there any more")
                yield found

    def plain(self, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        for some in chunks(rows, cache.AT_ONCE):
            kept = self._store.cache.bodies(row.blob for row in some)
            entries = self.entries([row for row in some if row.blob not in kept])
            for row in some:
                yield kept[row.blob] if row.blob in kept else next(entries).record.as_dict()

    @cached_property
    def _open_files(self) -> list[tuple[str, TreeEntry]]:
        """All that stands in `queue/` itself."""
        return [
            (f"{layout.QUEUE}/{entry.name}", entry)
            for entry in self._queue
            if entry.name not in layout.HARMLESS and (entry.mode != TREE or entry.name != _RESOLVED)
        ]

    def _rows(
        self, files: Sequence[tuple[str, TreeEntry]], *, whole: bool
    ) -> tuple[list[Row], list[Invalid]]:
        """What files hold, one row each; what is not known yet is read, and kept for next time."""
        store = self._store
        known = store.cache.known
        new = [entry.oid for path, entry in files if entry.oid not in known and not refused(path, entry)]
        unread = self._learn(new, whole) if new else {}
        known = store.cache.known
        rows: list[Row] = []
        invalid: list[Invalid] = []
        for path, entry in files:
            row = known.get(entry.oid) or unread.get(entry.oid, "")
            if isinstance(row, Row) and row.path == path and entry.mode == FILE:
                rows.append(row)
                continue
            problem = refused(path, entry)
            if problem is None and isinstance(row, Row):
                problem = layout.out_of_place(row.escalation_id, row.status, row.path, path)
            invalid.append(Invalid(store.full(path), problem or str(row), layout.id_of(path)))
        store.cache.trim([entry.oid for _, entry in files])
        return rows, invalid

    def _learn(self, oids: Sequence[str], whole: bool) -> Mapping[str, str]:
        """Read blobs into the cache; which of them could not be read, and why."""
        if self._queue_id and self._store.repository.is_partial and self._store.remote:
            self._fetch_missing(self._queue_id)
        unread: dict[str, str] = {}
        for some in chunks(oids, cache.AT_ONCE):
            kept = []
            for oid, data in self.blobs(some):
                if isinstance(data, str):
                    unread[oid] = data
                    continue
                found = _load(data)
                if isinstance(found, str):
                    kept.append(cache.Kept(oid, found))
                    continue
                if whole:
                    self._store.remember(oid, found)
                row = row_of(found, layout.path_of(found), oid)
                kept.append(cache.Kept(oid, row, cache.body(found.as_dict())))
            if kept:
                self._store.cache.add(kept)
        return unread

    @property
    def queue_id(self) -> str | None:
        """The tree id of `queue/`, which stands for every byte below it."""
        return self._queue_id

    def everything(self) -> Iterator[tuple[str, TreeEntry, Entry | Invalid | None]]:
        """Every file below `queue/` by path, in git's order, and what it holds; None: nothing of ours.

        An archive's file comes once for each record in it. Unlike `open` and `resolved` it keeps a few
        thousand records in memory at most, however many there are.
        """
        if self._queue_id is None:
            return
        if self._store.repository.is_partial:
            self._fetch_missing(self._queue_id)
        files = self._store.repository.files(self._queue_id)
        parts = {path: archive for archive in self.archives for path in layout.both(archive.name)}
        while some := [(f"{layout.QUEUE}/{path}", entry) for path, entry in islice(files, _AT_ONCE)]:
            ours = [item for item in some if item[1].name not in layout.HARMLESS and item[0] not in parts]
            held = dict(zip((path for path, _ in ours), self._read(ours), strict=True))
            for path, entry in some:
                archive = parts.get(path)
                if archive is None:
                    yield self._store.full(path), entry, held.get(path)
                elif path == archive.path:
                    yield from ((self._store.full(path), entry, item) for item in self._archived(archive))
                else:
                    yield self._store.full(path), entry, None
                if len(self._store._parsed) > _KEPT:
                    self._store._parsed.clear()

    def _archived(self, archive: Archive) -> Iterator[Entry | Invalid]:
        """All that one archive holds."""
        from ..core.compaction import BadArchive

        try:
            files = self._store.contents(archive.data, archive.ids)
        except BadArchive as error:
            yield Invalid(self._store.full(archive.path), str(error))
            return
        for name, data in files.items():
            yield self._store.parse_archived(archive, name, self._store.blob_of(data), data)

    def _at(self, places: Sequence[Place], escalation_id: str | None = None) -> Iterator[Entry | Invalid]:
        """What stands at places in archives; ``escalation_id`` says what should."""
        from ..core.compaction import BadArchive

        for place in places:
            try:
                name, data = list(self._store.contents(place.archive.data, place.archive.ids).items())[
                    place.at
                ]
                if escalation_id not in (None, name):
                    raise BadArchive(f"holds {name} where the index has {escalation_id}")
            except (BadArchive, IndexError) as error:
                yield Invalid(self._store.full(place.archive.path), str(error), escalation_id)
            else:
                yield self._store.parse_archived(place.archive, name, self._store.blob_of(data), data)

    def _archived_of(self, rows: Sequence[Row]) -> dict[Row, Place]:
        """Those of the rows that have no file of their own, and where they are."""
        moved = [
            row
            for row in rows
            if row.status == "resolved"
            and f"{row.escalation_id}{layout.SUFFIX}" not in self._resolved_by_name
        ]
        return {row: places[0] for row in moved if (places := self.places(row.escalation_id))}

    def _pieces(self, places: Iterable[Place]) -> dict[str, bytes | str]:
        """The files at places in archives, by the ids of their bytes; each archive is read once."""
        from ..core.compaction import BadArchive

        wanted: dict[Archive, list[int]] = {}
        for place in places:
            wanted.setdefault(place.archive, []).append(place.at)
        found: dict[str, bytes | str] = {}
        for archive, numbers in wanted.items():
            with suppress(BadArchive, IndexError):
                files = [*self._store.contents(archive.data, archive.ids).values()]
                found.update((self._store.blob_of(data), data) for data in (files[at] for at in numbers))
        return found

    def _fetch_missing(self, tree: str, among: AbstractSet[str] | None = None) -> None:
        """Fetch what a partial clone lacks below a tree, or of that some blobs only, in one go."""
        missing = [oid for oid in self._store.repository.missing(tree) if among is None or oid in among]
        if len(missing) > 1 and self._store.remote:
            self._store.repository.fetch_objects(self._store.remote, missing, FETCH_OBJECTS_SECONDS)

    @cached_property
    def archives(self) -> tuple[Archive, ...]:
        """The archives, oldest month first; a file that lacks the one beside it makes none."""
        from .archives import among

        found = among({path: e.oid for path, e in self.below_resolved if e.mode == FILE})
        if found and self._queue_id and self._store.repository.is_partial and self._store.remote:
            self._fetch_missing(self._queue_id, {archive.ids for archive in found})
        return found

    @cached_property
    def resolved_files(self) -> list[tuple[str, TreeEntry]]:
        """The files below `queue/resolved/` that are no archives."""
        if not self.archives:
            return self.below_resolved
        parts = {oid for archive in self.archives for oid in (archive.data, archive.ids)}
        return [
            (path, entry)
            for path, entry in self.below_resolved
            if entry.oid not in parts or layout.archive_at(path) is None
        ]

    @cached_property
    def below_resolved(self) -> list[tuple[str, TreeEntry]]:
        """All files below `queue/resolved/`, by one round of reading for each level of folders."""
        level = [
            (f"{layout.QUEUE}/{e.name}", e.oid) for e in self._queue if e.mode == TREE and e.name == _RESOLVED
        ]
        files = []
        while level:
            trees = self._store.repository.objects.get([oid for _, oid in level])
            deeper = []
            for (path, _), tree in zip(level, trees, strict=True):
                for entry in self._store.repository.parse_tree(tree.data) if tree and tree.data else ():
                    below = f"{path}/{entry.name}"
                    if entry.mode == TREE:
                        deeper.append((below, entry.oid))
                    elif entry.name not in layout.HARMLESS:
                        files.append((below, entry))
            level = deeper
        return files

    def _read(self, files: Sequence[tuple[str, TreeEntry]]) -> Iterator[Entry | Invalid]:
        store = self._store
        held = store.known(entry.oid for _, entry in files)
        wanted = [entry.oid for path, entry in files if not refused(path, entry) and entry.oid not in held]
        held.update(self.blobs(wanted))
        for path, entry in files:
            problem = refused(path, entry)
            if problem:
                yield Invalid(store.full(path), problem, layout.id_of(path))
            else:
                yield store.parse(path, entry.oid, held.get(entry.oid, ""))

    def blobs(self, oids: Sequence[str]) -> Iterator[tuple[str, bytes | str]]:
        """Ids and their bytes, or what keeps them from being read."""
        for oid, found in zip(oids, self._store.repository.objects.get(oids, largest=MAX_BYTES), strict=True):
            if found is None:
                yield oid, "is missing from this clone; run `git fetch`"
            elif found.data is None:
                yield oid, f"is larger than {MAX_BYTES // 1024} KiB"
            else:
                yield oid, found.data

    def find(self, escalation_id: str) -> Entry | Invalid | None:
        name = f"{escalation_id}{layout.SUFFIX}"
        found = self._open_file(name) or self._resolved_by_name.get(name)
        if found:
            return next(iter(self._read([found])))
        return next(iter(self._at(self.places(escalation_id)[:1], escalation_id)), None)

    def places(self, escalation_id: str) -> Sequence[Place]:
        """Where in archives an id stands; more than one only where that is a violation."""
        return self._store.index.find(self.archives, escalation_id) if self.archives else ()

    def paths(self, escalation_id: str) -> Sequence[str]:
        name = f"{escalation_id}{layout.SUFFIX}"
        files = [f"{layout.QUEUE}/{entry.name}" for entry in self._queue if entry.name == name]
        files += [path for path, entry in self.resolved_files if entry.name == name]
        files += [place.archive.path for place in self.places(escalation_id)]
        return [self._store.full(path) for path in files]

    def has(self, escalation_id: str) -> bool:
        """Whether any file is named for that id, or any archive holds it."""
        name = f"{escalation_id}{layout.SUFFIX}"
        by_name = self._open_file(name) is not None or name in self._resolved_by_name
        return by_name or bool(self.places(escalation_id))

    def reopeners(self, escalation_id: str) -> Sequence[Record]:
        files = [*((f"{layout.QUEUE}/{entry.name}", entry) for entry in self._queue), *self.resolved_files]
        known = {self._store.full(path): (path, entry) for path, entry in files}
        named = self._store.repository.grep(
            self._commit,
            f'^reopens: "*{escalation_id}"*$',
            self._store.full(layout.QUEUE),
            leave_out="resolved/*/*/archive-*",
        )
        read = [*self._read([known[path] for path in named if path in known])]
        if self.archives:
            read += self._at(self._store.index.reopening(self.archives, escalation_id))
        found = [item.record for item in read if isinstance(item, Entry)]
        fits = [record for record in found if record.reopens == escalation_id]
        return sorted(fits, key=lambda record: (record.raised_at, record.escalation_id))

    def _open_file(self, name: str) -> tuple[str, TreeEntry] | None:
        line = self._queue_lines.get(os.fsencode(name))
        if line is None:
            return None
        [entry] = self._store.repository.parse_tree(line)
        return f"{layout.QUEUE}/{name}", entry

    @cached_property
    def _resolved_by_name(self) -> Mapping[str, tuple[str, TreeEntry]]:
        return {entry.name: (path, entry) for path, entry in self.resolved_files}

    def ids(self, *, resolved: bool, prefix: str = "") -> Sequence[str]:
        names = (
            (path for path, _ in self.resolved_files) if resolved else (entry.name for entry in self._queue)
        )
        found = [name for name in map(layout.id_of, names) if name and name.startswith(prefix)]
        if resolved and self.archives:
            found += self._store.index.beginning(self.archives, prefix)
        return found

    def policies(self) -> tuple[str | None, Mapping[str, PolicyFile]]:
        if self._policies_id is None:
            return None, {}
        # The same in every action of a store that lives on, nearly always.
        if self._store.policies and self._store.policies[0] == self._policies_id:
            return self._store.policies
        files = [
            entry
            for entry in self._tree(self._policies_id)
            if entry.name.endswith(layout.SUFFIX) and entry.mode != TREE
        ]
        found: dict[str, PolicyFile] = {}
        for entry, (_, data) in zip(files, self.blobs([entry.oid for entry in files]), strict=True):
            found[f"{layout.POLICIES}/{entry.name}"] = _policy_file(entry, data)
        self._store.policies = (self._policies_id, found)
        return self._store.policies


def root_of(text: str) -> str:
    """The folder that `kt.root` names, empty for the repository's top. Raises BadInput."""
    root = text.strip("/")
    parts = root.split("/") if root else []
    if any(part in ("", ".", "..", ".git") for part in parts) or any(ord(char) < 32 for char in root):
        raise BadInput(problem=f"kt.root is {text!r}; it must be a folder below the repository's top")
    return root


def refused(path: str, entry: TreeEntry) -> str | None:
    """Why a thing below `queue/` is no record's file, judged by its name and mode alone."""
    if entry.mode != FILE:
        return f"is {_BAD_MODES.get(entry.mode, 'no plain file')}, not an escalation's file"
    if layout.id_of(path) is None:
        return "is not named as an escalation's file"
    return None


def _growing(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows a few at a time and then more: whoever looks for the first that fits often has it soon."""
    at, size = 0, _FIRST_FEW
    while at < len(rows):
        yield rows[at : at + size]
        at, size = at + size, min(2 * size, cache.AT_ONCE)


def _load(data: bytes) -> Record | str:
    """The record in a blob's bytes, or what keeps them from being one."""
    from . import codec

    try:
        return codec.loads(data)
    except codec.Malformed as error:
        return str(error)


def _policy_file(entry: TreeEntry, data: bytes | str) -> PolicyFile:
    from ..core.policies_file import PolicyFile
    from . import codec

    if entry.mode not in (FILE, "100755"):
        return PolicyFile(problem=f"is {_BAD_MODES.get(entry.mode, 'no plain file')}")
    if isinstance(data, str):
        return PolicyFile(problem=data)
    return codec.policy_file(f"{layout.POLICIES}/{entry.name}", data)


def _exists(repository: Repository, path: str) -> bool:
    found = repository.toplevel / path if repository.toplevel else None
    return found is not None and (found.exists() or found.is_symlink())
