"""A store in a git repository, for writing: finds the newest tip, and makes and pushes commits.

The steps are those of docs/design.md, *How a step is committed*. This module does not know which record
changes, or whether it may.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import (
    BadInput,
    BranchTaken,
    GitFailed,
    GitLocked,
    HistoryRewritten,
    Interrupted,
    NoStoreBranch,
    NotAStore,
    NothingToClaim,
    PathStaged,
    PushRefused,
    RemoteFault,
    RemoteUnreachable,
    UnreadableStore,
)
from ..git.move import Move, recover
from ..git.objects import FILE, TREE, TreeEntry
from ..git.process import Done, Underway
from ..git.refs import held_lock
from ..git.remote import Push
from ..git.repository import Repository
from ..model.progress import Wait, told
from . import layout, shared_fetch
from .interface import (
    PROPOSALS,
    Author,
    Change,
    Onto,
    Progress,
    Proposal,
    Request,
    Snapshot,
    Stale,
    Unanswered,
    WrongGuess,
)
from .push_queue import Line, Turn
from .snapshot import GitReader, GitSnapshot

if TYPE_CHECKING:
    from ..model.record import Record

INTERRUPT_SECONDS = 5.0
FETCH_PAUSE_SECONDS = 0.1
# So many new commits are looked at one by one before lines are asked for.
_NEAR = 64
# What fits into a file's name everywhere, for that is what a branch is on most servers.
MAX_BRANCH = 200
# The checkout is brought along however long that takes; it is asked for again after so many seconds.
_LONG = 3600.0


#: Whether the line of a commit goes on from another one that it contains; who knows lines can say.
GoesOn = Callable[["GitStore", str, str], bool]


class _Asked(NamedTuple):
    """A fetch that is under way, and where the branch was before it."""

    process: Underway
    seen: str | None


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


@dataclass
class Prepared:
    """A commit that is ready to be sent: to a branch of the remote that is at ``lease``, or by a ``move`` of our own.

    An empty ``lease`` stands for a branch that does not exist.
    """

    store: GitStore
    commit: str
    branch: str
    lease: str = ""
    proposed: bool = False
    move: Move | None = None

    def send(self, timeout: float) -> Exception | None:
        return self.store.send(self, timeout)

    def settle(self) -> None:
        self.store.settle(self)


class GitStore(GitReader):
    """The same store with its branch and its remote: what has landed there, and what is to.

    Raises what GitReader does.
    """

    def __init__(
        self,
        start: Path,
        *,
        quarantined: bool = False,
        progress: Progress | None = None,
        goes_on: GoesOn | None = None,
    ) -> None:
        super().__init__(start, quarantined=quarantined, progress=progress)
        self._knows_lines = goes_on
        self._left: str | None = None
        self._branch = ""
        self._said = ""
        # The commit that is taken for the newest one, and the fetch under way that will tell.
        self._guessed: str | None = None
        self._asked: _Asked | None = None
        # Whether the last push was refused since somebody seems to have been first.
        self._was_late = False
        # What those of this host who write to the same remote have told us.
        self._turn = Turn()

    # --- which remote, which branch ---------------------------------------------------------------

    def require_remote_choice(self) -> None:
        """Raise BadInput where there are remotes and nothing says which of them holds the store.

        To take none of them would make a commit that nobody else sees look like one that has landed.
        """
        if self.remote is not None and len(self.repository.push_urls(self.remote)) > 1:
            raise BadInput(
                problem=f"{self.remote} is pushed to several places, and a change lands in one; name the store's with "
                f"`git config --replace-all remote.{shlex.quote(self.remote)}.pushurl URL`, and mirror from there"
            )
        if self.remote is None and self.repository.config.get("kt.remote") is None:
            others = sorted(self.repository.remotes())
            if others:
                raise BadInput(
                    problem=f"none of the remotes ({', '.join(others)}) is called origin; say which holds the store "
                    f"with `git config kt.remote {shlex.quote(others[0])}`, or that none does with `git config kt.remote ''`"
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
                hint=f"push the store first with `git push -u {shlex.quote(remote or '')} HEAD`, "
                "or name the branch with `git config kt.branch NAME`",
            )
        here = self.repository.head_branch()
        name = shlex.quote(
            here if here and here in branches else branches[0] if len(branches) == 1 else "NAME"
        )
        return NoStoreBranch(
            problem=f"{problem}, though it has {', '.join(branches[:3])}",
            hint=f"if the store is on {name}, run `git symbolic-ref HEAD refs/heads/{name}` on the server, "
            f"or here `git remote set-head {shlex.quote(remote or '')} {name}`",
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
        name = shlex.quote(self._branch)
        return (
            f"the HEAD of {self.remote} names {found or 'no branch that exists'}, so other clones do not find the store "
            f"on {self._branch}; run `git symbolic-ref HEAD refs/heads/{name}` on the server, "
            f"or in each clone `git remote set-head {shlex.quote(self.remote)} {name}`"
        )

    def local_remote(self) -> Path | None:
        """The folder of the remote where that is one of this machine, None for all others and without one."""
        if self.remote is None:
            return None
        address = self.repository.push_address(self.remote).removeprefix("file://")
        path = os.path.join(self.repository.toplevel or self.repository.git_dir, address)  # noqa: PTH118
        # A Path's own is_dir raises for a name too long.
        return Path(path).resolve() if address and os.path.isdir(path) else None  # noqa: PTH112

    # --- a server's repository ----------------------------------------------------------------------

    def holds(self, commit: str) -> bool:
        """Whether a commit holds a store where `kt.root` says, be it one that cannot be read."""
        with suppress(UnreadableStore):
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

    def elsewhere(self, commit: str) -> Iterator[str]:
        """That a commit holds a store, but not where it is looked for."""
        found = self.folders_of_stores(commit)
        if found:
            there = self.root or "the top folder"
            name = found[0] if len(found) == 1 else "FOLDER"
            folders = ", ".join(folder or "the top folder" for folder in found[:3])
            yield (
                f"there is no store in {there}, where it is looked for, but in {folders}; "
                f"on the server run `{self.guard_by('kt.root', name or repr(name))}`"
            )

    def guard_by(self, key: str, value: str) -> str:
        """The command that lets the hook of this server's repository guard another branch or folder."""
        where = shlex.quote(str(self.repository.toplevel or self.repository.git_dir))
        if key == "kt.branch" and not self.repository.config.get(key):
            return f"git -C {where} symbolic-ref HEAD {shlex.quote(f'refs/heads/{value}')}"
        return f"git -C {where} config {key} {shlex.quote(value)}"

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
        # What was asked before this is not the newest any more.
        self._stop_asking()
        self._guessed = None
        branch, commit = self._fetched(timeout)
        if commit is None:
            raise NotAStore(where=str(self._where), problem=f"branch {branch} has no commit yet")
        return self.at(commit)

    def guess(self, timeout: float) -> GitSnapshot:
        branch, ref = self._place(timeout)
        known = self.repository.tip_of(ref) if self.remote else None
        if self.remote is None or known is None:
            return self.tip(timeout)
        if self._turn.last not in ("", known) and not self._has_heard(self._turn.last, known):
            # Somebody of this host has pushed since: to guess would be in vain.
            return self.tip(timeout)
        self._guessed = known
        if not self._turn.again:
            self._asked = self._ask(branch, ref)
        try:
            return self.at(known)
        except NotAStore:
            # It may have become one since.
            return self.tip(timeout)

    def _has_heard(self, commit: str, known: str) -> bool:
        """Whether what is known here goes on from a commit; one that is not here is newer."""
        there = self.repository.objects.id_of(f"{commit}^{{commit}}") is not None
        return there and self.repository.is_ancestor(commit, known)

    def newest(self, timeout: float, max_age: float = 0.0) -> GitSnapshot:
        branch, ref = self._place(timeout)
        if self.remote:
            name = f"{self.remote}/{branch}"

            def fetch() -> None:
                self._fetch(self._ask(branch, ref), branch, ref, timeout)

            if not shared_fetch.shared(self.lock_folder, name, fetch, timeout, max_age):
                raise self._unreachable(None, timeout)
        commit = self.repository.tip_of(ref)
        if commit is None:
            raise NotAStore(where=str(self._where), problem=f"branch {branch} has no commit yet")
        return self.at(commit)

    def confirm(self, snapshot: Snapshot, timeout: float) -> None:
        late, self._was_late = self._was_late, False
        if late:
            self._require_one_place(timeout)
        if snapshot.revision == self._guessed:
            self._confirm(timeout)

    def _confirm(self, timeout: float) -> None:
        guessed, self._guessed = self._guessed, None
        _, newest = self._fetched(timeout)
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
            asked, self._asked = self._asked or self._ask(branch, ref), None
            self._fetch(asked, branch, ref, timeout)
        commit = self.repository.tip_of(ref)
        if self.remote and commit:
            self._line.tip = commit
        return branch, commit

    def _fetch(self, asked: _Asked, branch: str, ref: str, timeout: float) -> None:
        """Wait for a fetch that is under way."""
        remote = self.remote or ""
        end = time.monotonic() + timeout
        while True:
            try:
                done = self._awaited("asking the remote", asked.process, max(0.1, end - time.monotonic()))
            except BaseException:
                asked.process.give_up()
                raise
            if done is None:
                asked.process.give_up()
                raise self._unreachable(None, timeout)
            if done.status == 0:
                self._require_line(branch, ref, asked.seen)
                return
            # Where this clone has pushed meanwhile, the answer is an older one.
            moved = self.repository.tip_of(ref) != asked.seen and time.monotonic() < end
            if "non-fast-forward" in done.err and not moved:
                seen = self.repository.commit_of(ref)
                raise HistoryRewritten(branch=branch, remote=remote, seen=(seen or "")[:12])
            if "couldn't find remote ref" in done.err:
                raise NoStoreBranch(
                    problem=f"{remote} has no branch {branch}",
                    hint=f"push the store with `git push {shlex.quote(remote)} {shlex.quote(branch)}`, "
                    "or name another branch with `git config kt.branch NAME`",
                )
            # Another fetch in this clone moves the same ref: that passes.
            passes = "cannot lock ref" in done.err or "non-fast-forward" in done.err
            if not passes or time.monotonic() + FETCH_PAUSE_SECONDS > end:
                held = held_lock(done.err)
                raise GitLocked(lock=held) if held else self._unreachable(done, timeout)
            time.sleep(FETCH_PAUSE_SECONDS)
            asked = self._ask(branch, ref)

    def _ask(self, branch: str, ref: str) -> _Asked:
        seen = self.repository.tip_of(ref)
        return _Asked(self.repository.fetch(self.remote or "", branch), seen)

    def _require_line(self, branch: str, ref: str, seen: str | None) -> None:
        """Raise HistoryRewritten, and forget the fetch, where what was seen before it is beside the line by now."""
        new = self.repository.tip_of(ref)
        if seen is None or new is None or self.goes_on(new, seen):
            return
        self.repository.update_ref(ref, seen, new, "kt: not on the line of what was fetched")
        raise HistoryRewritten(branch=branch, remote=self.remote or "", seen=seen[:12])

    def goes_on(self, commit: str, seen: str) -> bool:
        """Whether the line of a commit goes on from one that it contains, as far as this store can tell."""
        at: str | None = commit
        for _ in range(_NEAR):
            if at == seen:
                return True
            at, second = self.repository.objects.ids_of([f"{at}^1", f"{at}^2"])
            if at is None or second is not None:
                break
        return self._knows_lines is None or self._knows_lines(self, commit, seen)

    def _stop_asking(self) -> None:
        asked, self._asked = self._asked, None
        if asked:
            asked.process.give_up()

    def _unreachable(self, done: Done | None, timeout: float) -> RemoteUnreachable:
        from ..git.push_result import hint_for, remote_words

        if done is None or done.timed_out:
            return RemoteUnreachable(remote=self.remote, words=f"no answer within {timeout:.0f} s")
        words = remote_words(done.err) or done.words
        hint = hint_for(words)
        return RemoteUnreachable(remote=self.remote, words=words, **({"hint": hint} if hint else {}))

    def blob_id(self, record: Record) -> str:
        from . import yaml_text

        return self.repository.object_id("blob", yaml_text.dumps(record))

    def contains(self, snapshot: Snapshot, commit: str) -> bool:
        return self.repository.is_ancestor(commit, snapshot.revision)

    def start(self, timeout: float) -> str | None:
        """The commit to make a store on, None where there is none yet."""
        if self.remote:
            try:
                return self._fetched(timeout)[1]
            except NoStoreBranch as error:
                if "branches" in error.facts:
                    # One of them may well be the store's, and nobody wants a second one beside it.
                    here = self.repository.head_branch() or "NAME"
                    new = f"for a new store on {here} run `git config kt.branch {shlex.quote(here)}` first"
                    raise NoStoreBranch(**{**error.facts, "hint": f"{error.remedy}; {new}"}) from None
        head = self.repository.head_branch()
        self._branch = self.branch or head or ""
        return self.repository.commit_of("HEAD")

    @property
    def begun_on(self) -> str:
        """The store branch, once `start` has found where a store begins."""
        return self._branch

    # --- writing ----------------------------------------------------------------------------------

    @contextmanager
    def writing(self, timeout: float) -> Iterator[None]:
        from . import lock

        with lock.held(self.lock_folder, timeout, self.progress):
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
            try:
                yield
            except NothingToClaim:
                # Nobody comes back for more of it.
                self._line.end()
                raise

    @cached_property
    def _line(self) -> Line:
        config = self.repository.config
        return Line(config.get(f"remote.{self.remote}.pushurl") or config[f"remote.{self.remote}.url"])

    def prepare(self, request: Request, proposal: Onto | None = None) -> Prepared:
        files = {**self._files(request.changes), **request.others}
        made = (request.message, request.author, request.when)
        return self.prepare_files(request.base.revision, files, *made, proposal)

    def _files(self, changes: Sequence[Change]) -> dict[str, bytes | None]:
        """The files that changes write, None for those that go."""
        from . import yaml_text

        files: dict[str, bytes | None] = {}
        for change in told(self.progress, "writing escalations", changes, len(changes)):
            path = self.full(layout.path_of(change.new))
            if change.old and change.old.path != path:
                files[change.old.path] = None
            files.update(dict.fromkeys(change.removed))
            files[path] = yaml_text.dumps(change.new)
        return files

    def prepare_files(
        self,
        base: str | None,
        files: Mapping[str, bytes | None],
        message: str,
        author: Author,
        when: datetime,
        proposal: Onto | None = None,
    ) -> Prepared:
        """Make the commit that writes files (None: delete) on top of another.

        Without a ``base`` the commit begins the store branch. Raises as `Port.prepare` does.
        """
        built = self._build(base, files, message, author, when)
        commit = self._write(built)
        if proposal:
            return Prepared(self, commit, proposal.branch, proposal.was or "", proposed=True)
        if self.remote is None:
            subject = message.partition("\n")[0]
            return Prepared(self, commit, self._branch, move=self._move(commit, base, subject, built.ids))
        # A store that begins on commits of this clone's own begins a branch that the remote lacks.
        there = self.repository.tip_of(f"refs/remotes/{self.remote}/{self._branch}")
        return Prepared(self, commit, self._branch, (base or "") if there else "")

    def _build(
        self,
        base: str | None,
        files: Mapping[str, bytes | None],
        message: str,
        author: Author,
        when: datetime,
    ) -> Built:
        """A commit that is not written yet."""
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

    def send(self, prepared: Prepared, timeout: float) -> Exception | None:
        """See `port.Prepared`."""
        end = time.monotonic() + timeout
        if prepared.move is not None:
            return self._moved(prepared.move)
        refusal = self._pushed(prepared, end)
        if isinstance(refusal, Stale) and prepared.proposed:
            inside = re.search(r"'refs/heads/([^']+)' exists; cannot create", self._said)
            if inside:
                return BranchTaken(
                    says="the branch {branch} cannot be made on {remote}: "
                    "there is a branch {beside}, and git cannot have both",
                    hint="give another name with --branch NAME, or have {beside} renamed by whoever made it",
                    branch=prepared.branch,
                    remote=self.remote,
                    beside=inside[1],
                )
        return refusal

    def settle(self, prepared: Prepared) -> None:
        """See `port.Prepared`."""
        if self.remote is None:
            return
        if not prepared.proposed:
            # That it has landed has answered what the remote was asked beside it.
            self._guessed = None
            self._stop_asking()
            self._line.tip = prepared.commit
            known = self.repository.tip_of(f"refs/remotes/{self.remote}/{prepared.branch}")
            if known == prepared.commit:
                return
            if known not in (None, prepared.lease) and self.repository.is_ancestor(prepared.commit, known):
                # It has answered with what came after that.
                return
        self.repository.set_tracking(self.remote, prepared.branch, prepared.commit)

    def _answer(
        self, what: str, sent: str, work: Underway | Push, end: float
    ) -> tuple[Done, Exception | KeyboardInterrupt | None]:
        """The answer of what is on its way, and what was raised meanwhile.

        It is beyond ^C and whatever else may be raised here, so its answer is worth a moment's wait.
        Raises what was raised, or Unanswered, where no answer comes.
        """
        caught: Exception | KeyboardInterrupt | None = None
        done = None
        try:
            done = self._awaited(what, work, end - time.monotonic())
        except (Exception, KeyboardInterrupt) as error:
            caught = error
            with suppress(KeyboardInterrupt):
                done = self._awaited(
                    f"interrupted: waiting for the answer to {sent}", work, INTERRUPT_SECONDS
                )
        if done is None:
            work.give_up()
            raise caught or Unanswered("no answer in time")
        return done, caught

    def _pushed(self, prepared: Prepared, end: float, refspec: str | None = None) -> Exception | None:
        """Push a commit to a branch that is at its ``lease`` (empty: there is none); what `Port.send` gives.

        A remote that was set back to an earlier commit would take the push for a fast-forward otherwise.
        """
        from ..git.push_result import Answer, classify, hint_for, is_astray

        remote, commit, branch = self.remote or "", prepared.commit, prepared.branch
        push = self.repository.push(remote, commit, branch, prepared.lease, refspec)
        waited = end - time.monotonic()
        try:
            done, caught = self._answer("pushing", "the push", push, end)
        except (Exception, KeyboardInterrupt) as error:
            if push.may_have_sent():
                raise
            return Interrupted() if isinstance(error, KeyboardInterrupt) else self._unreachable(None, waited)
        out = done.out.decode(errors="replace")
        if refspec is None and is_astray(branch, out, done.err):
            if self.repository.push_address(remote).startswith(("http://", "https://")):
                # Over HTTP git makes two of each push, and hands to the second one no pattern (git-remote-http).
                return self._alike(branch, end)
            with self.repository.pattern(commit, branch) as pattern:
                return self._pushed(prepared, end, pattern)
        self._said = done.err
        pushed = classify(done.status, out, done.err)
        if pushed.answer is Answer.LANDED:
            return None
        # What a hook of the server's says is no answer: once anything was sent, only the report on the ref is one.
        unanswered = push.may_have_sent() if pushed.answer is Answer.UNKNOWN else push.has_sent()
        if not pushed.reported and unanswered:
            raise caught or Unanswered(pushed.words)
        if caught:
            return Interrupted() if isinstance(caught, KeyboardInterrupt) else caught
        if pushed.answer is Answer.LOST:
            self._line.end()
            self._was_late = not prepared.proposed
            return Stale(pushed.words)
        if pushed.answer in (Answer.UNREACHED, Answer.UNKNOWN):
            return self._unreachable(done, 0)
        facts = {"remote": remote, "branch": branch, "words": pushed.words}
        hint = hint_for(pushed.words)
        if pushed.here:
            facts["says"] = "the pre-push hook of this clone stopped the push to {branch}: {words}"
            facts["hint"] = (
                "it is in .git/hooks or where core.hooksPath says; mend it, or ask who put it there"
            )
        elif hint:
            facts["hint"] = hint
        elif prepared.proposed:
            facts["hint"] = "ask who guards {branch}, or give another name with --branch NAME"
        return (RemoteFault if pushed.answer is Answer.FAULT else PushRefused)(**facts)

    def _require_one_place(self, timeout: float) -> None:
        """Raise BadInput where pushes go to another repository than fetches come from. Raises as `tip` does."""
        remote, config = self.remote or "", self.repository.config
        if f"remote.{remote}.pushurl" not in config and not any(
            key.endswith(".pushinsteadof") for key in config
        ):
            return
        address = self.repository.push_address(remote)
        asked = self.repository.ask_branch(address, self._branch, timeout)
        there = asked.text.partition("\t")[0]
        _, newest = self._fetched(timeout)
        if asked.status != 0 or newest is None or (there and self._has_heard(there, newest)):
            return
        raise BadInput(
            problem=f"{remote} is pushed to another repository than it is fetched from: {self._branch} is at {newest[:12]} "
            f"in the one and {f'at {there[:12]}' if there else 'not there'} in the other; name the store's for both with "
            f"`git config --replace-all remote.{shlex.quote(remote)}.pushurl URL`, and mirror from there"
        )

    def _alike(self, branch: str, end: float) -> PushRefused:
        """The error for a remote that has something which git takes for the branch as well, with the cure."""
        remote = self.remote or ""
        asked = self.repository.ask_branch(remote, branch, max(end - time.monotonic(), 0.1))
        [ref, *_] = [*alike(branch, asked), f"refs/heads/refs/heads/{branch}"]
        return PushRefused(
            says="{branch} on {remote} cannot be pushed to: git takes {alike} there for it as well",
            hint="delete that with `git push {remote:sh} --delete {alike:sh}`, which whoever may push can do",
            remote=remote,
            branch=branch,
            alike=ref,
        )

    def require_proposable(self, branch: str) -> None:
        from ..git import pull_request_page

        self.require_remote_choice()
        if self.remote is None:
            raise BadInput(
                problem="--branch proposes a change on the remote, and this store has none; do it without --branch"
            )
        forge = self.repository.config.get("kt.forge")
        if forge and forge not in pull_request_page.FORGES:
            raise BadInput(
                problem=f"kt.forge is {forge!r}; it is one of {', '.join(pull_request_page.FORGES)}"
            )
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

    def request_address(self, branch: str) -> str | None:
        from ..git import pull_request_page

        address = self.repository.push_address(self.remote or "")
        forge = self.repository.config.get("kt.forge")
        return pull_request_page.request_address(address, self._branch, branch, forge or None, self._said)

    def facts_of(self, prepared: Prepared) -> dict[str, str | None]:
        """What is to be said where it cannot be learnt whether a commit landed."""
        there = f"{self.remote}/{prepared.branch}"
        find = f"git fetch {shlex.quote(self.remote or '')} && git log {shlex.quote(there)}"
        return {"remote": self.remote, "find": find if self.remote else f"git log {prepared.branch}"}

    def _move(
        self, commit: str, base: str | None, subject: str, ids: Mapping[str, tuple[str, str] | None]
    ) -> Move:
        """The move of the local branch, and of the index and files with it where it is checked out (design, 5.6)."""
        ref = f"refs/heads/{self._branch}"
        here = self._checkout_of(self._branch)
        self._left = None
        if here is None:
            return Move(self.repository, ref, commit, base, subject)
        recover(here)
        paths = list(ids)
        # git refreshes the index as it looks, so this comes before the copy of it.
        dirty = here.modified(paths)
        move = Move(here, ref, commit, base, subject, checked_out=True)
        was = self._entries_at(base, paths)
        index = here.index_entries(paths, move.index)
        for path in paths:
            if index.get(path) != was[path]:
                if self.repository.commit_of(ref) != base:
                    # A plain `git commit` came first, and the index went with it.
                    raise Stale
                raise PathStaged(path=path)
        # Some touched file is dirty: the branch and the index move, that file stays as it is.
        dirty |= {path for path in paths if was[path] is None and _exists(here, path)}
        move.plan(ids, was, dirty)
        self._left = (
            f"{', '.join(sorted(dirty)[:3])} has local changes and was left as it is" if dirty else None
        )
        return move

    def _moved(self, move: Move) -> Exception | None:
        """Move the local branch; what `Port.send` gives."""
        done, moved = None, None
        caught: Exception | KeyboardInterrupt | None
        try:
            done, caught = self._answer("moving the branch", "that", move.start(), time.monotonic() + _LONG)
            moved = move.has_moved(done)
        except (Exception, KeyboardInterrupt) as error:
            caught = error
        if moved is None:
            # Once nothing of it is on its way any more, the branch tells.
            if not recover(move.repository):
                raise caught or Unanswered("it is still under way")
            moved = self.repository.tip_of(move.ref) == move.new
        if moved:
            self._left = (move.left(done) if done else "") or self._left
            return None
        if caught:
            return Interrupted() if isinstance(caught, KeyboardInterrupt) else caught
        return (move.refusal(done) if done else None) or Stale()

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
        return self._left if self.remote is None else self._fast_forward(revision)

    def _awaited(self, what: str, work: Underway | Push, timeout: float) -> Done | None:
        """The answer of a process of git, None if there is none in time."""
        end = time.monotonic() + timeout
        wait = Wait(self.progress, what)
        done = None
        try:
            while done is None and (left := end - time.monotonic()) > 0:
                done = work.answer(min(left, wait.seconds or left))
                if done is None:
                    wait.lasts()
        finally:
            wait.ends()
        return done or work.answer(0)

    def _fast_forward(self, revision: str) -> str | None:
        branch = self._branch
        if self.repository.toplevel is None or self.repository.head_branch() != branch:
            return None
        if self.repository.tip_of(f"refs/heads/{branch}") == revision:
            return None
        along = f"bring it along with `git merge --ff-only {shlex.quote(f'{self.remote}/{branch}')}`"
        # git brings index and files along before it finds that the branch is locked.
        ref = self.repository.common_dir / f"refs/heads/{branch}.lock"
        for lock in (self.repository.git_dir / "HEAD.lock", ref):
            if lock.exists():
                return f"another git command holds {lock}; {along}"
        work = self.repository.fast_forward(revision, "kt")
        done = None
        while done is None:
            done = self._awaited("bringing the checkout along", work, _LONG)
        if done.status == 0:
            return None
        if "Not possible to fast-forward" in done.err:
            return f"{branch} has commits of its own; bring it along with `git pull --rebase`"
        held = held_lock(done.err)
        if held:
            return f"another git command holds {held}; {along}"
        files = re.findall(r"^\t(\S.*)$", done.err, re.MULTILINE)
        if files:
            return f"{', '.join(files[:3])} has local changes; stash or undo them, then {along}"
        return f"{done.words}; {along}"


def head_in(asked: Done) -> str | None:
    """The branch that the remote's HEAD names in an answer to `ask_remote_head`; None if there is no such branch."""
    found = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", asked.text, re.MULTILINE)
    return found[1] if found else None


def alike(branch: str, asked: Done) -> list[str]:
    """What git takes for the branch as well, in an answer to `ask_branch`; the longest first, which nothing else fits."""
    names = rf"\t(refs/(?:heads|tags)/(?:refs/heads/)+{re.escape(branch)})$"
    return sorted(re.findall(names, asked.text, re.MULTILINE), key=len, reverse=True)


def _exists(repository: Repository, path: str) -> bool:
    found = repository.toplevel / path if repository.toplevel else None
    return found is not None and (found.exists() or found.is_symlink())
