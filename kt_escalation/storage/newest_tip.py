"""Finds the newest commit of the store branch: by a fetch, by a shared fetch, or by a guess that is checked later.

docs/performance.md explains the guess and the turns.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import NamedTuple

from ..errors import (
    BadInput,
    GitLocked,
    HistoryRewritten,
    KtError,
    NoStoreBranch,
    NotAStore,
    NothingToClaim,
)
from ..git.process import Underway
from ..git.refs import held_lock
from . import shared_fetch, waiting
from .interface import Snapshot, WrongGuess
from .push_queue import PushQueue, Turn
from .reader import Reader
from .snapshot import GitSnapshot
from .store_branch import StoreBranch

FETCH_PAUSE_SECONDS = 0.1
# The most time for a fetch before this store's turn.
_AHEAD_SECONDS = 5.0
# Without merges, about twice as many new commits are compared before the audit is loaded, which takes long.
_NEAR = 256

#: Whether the first-parent line of a commit contains an older commit: (new, old).
GoesOn = Callable[[str, str], bool]


class _Fetch(NamedTuple):
    """A running fetch, and the commit that the branch was at before it."""

    process: Underway
    seen: str | None


class NewestTip:
    """The newest commit of the store branch, and what this process knows about it.

    The methods raise RemoteUnreachable, HistoryRewritten, NoStoreBranch and NotAStore.
    """

    def __init__(self, reader: Reader, branches: StoreBranch, goes_on: GoesOn | None) -> None:
        self._reader = reader
        self._location = reader.location
        self._repository = reader.repository
        self._branches = branches
        self._audit_goes_on = goes_on
        #: The store branch, once it has been looked for.
        self.branch = ""
        # The guess: the commit that is assumed to be the newest, and the running fetch that will confirm it.
        self._guessed: str | None = None
        self._asked: _Fetch | None = None
        # Whether the last push was refused because another one seems to have been first.
        self._was_late = False
        # The fetch that `newest` waits for.
        self._shared: Underway | None = None
        # The state that other writers on this host have left for this turn.
        self._turn = Turn()

    # --- the newest commit ------------------------------------------------------------------------

    def tip(self, timeout: float) -> GitSnapshot:
        """See `interface.Port`."""
        # The answer to an earlier fetch may be out of date by now.
        self.stop_asking()
        self._guessed = None
        branch, commit = self._fetched(timeout)
        return self._snapshot(branch, commit)

    def guess(self, timeout: float) -> GitSnapshot:
        """See `interface.Port`."""
        branch, ref = self._place(timeout)
        known = self._repository.tip_of(ref) if self._location.remote else None
        if self._location.remote is None or known is None:
            return self.tip(timeout)
        if self._turn.last not in ("", known) and not self._has_heard(self._turn.last, known):
            # Another writer on this host has pushed since, so the guess would be wrong.
            return self.tip(timeout)
        self._guessed = known
        if not self._turn.again:
            self._asked = self._ask(branch, ref)
        try:
            return GitSnapshot(self._reader, known)
        except NotAStore:
            # A newer commit may have added the store.
            return self.tip(timeout)

    def newest(self, timeout: float, max_age: float) -> GitSnapshot:
        """See `interface.Port`."""
        branch, ref = self._place(timeout)
        if self._location.remote:
            name = f"{self._location.remote}/{branch}"

            def fetch() -> None:
                asked = self._ask(branch, ref)
                self._shared = asked.process
                try:
                    self._fetch(asked, branch, ref, timeout)
                finally:
                    self._shared = None

            if not shared_fetch.shared(self._location.lock_folder, name, fetch, timeout, max_age):
                raise waiting.unreachable(self._location.remote, None, timeout)
        return self._snapshot(branch, self._repository.tip_of(ref))

    def hang_up(self, *, now: bool = False) -> None:
        """End the fetch that another thread waits for in `newest`, which then fails.

        With ``now``, git gets no time to end.
        """
        process = self._shared
        if process is not None:
            process.ask_to_end(now=now)

    def asked_at(self) -> float | None:
        """When the remote was last asked for the store branch, in seconds since 1970.

        None if unknown or without a remote.
        git's own fetches are recognised by the files that they write, and pushes by the branch that they
        move.
        """
        remote = self._location.remote
        if remote is None:
            return None
        git = self._repository.common_dir
        found = [when] if (when := shared_fetch.last(self._location.lock_folder, remote)) is not None else []
        paths = [git / "FETCH_HEAD", *([git / "refs/remotes" / remote / self.branch] if self.branch else [])]
        for path in paths:
            with suppress(OSError):
                found.append(path.stat().st_mtime)
        return max(found, default=None)

    def start(self, timeout: float) -> str | None:
        """The commit on which to create a store, None if the branch has none yet."""
        if self._location.remote:
            try:
                return self._fetched(timeout)[1]
            except NoStoreBranch as error:
                if error.branches:
                    # A store may be on one of these branches already; do not create a second one beside it.
                    here = self._repository.head_branch() or "NAME"
                    new = f"for a new store on {here} run `git config kt.branch {shlex.quote(here)}` first"
                    error.hint = f"{error.remedy}; {new}"
                    raise error from None
        head = self._repository.head_branch()
        self.branch = self._branches.known or head or ""
        return self._repository.commit_of("HEAD")

    def _snapshot(self, branch: str, commit: str | None) -> GitSnapshot:
        if commit is None:
            where = str(self._location.where)
            raise NotAStore(where=where, problem=f"branch {branch} has no commit yet")
        return GitSnapshot(self._reader, commit)

    # --- whether a guess was right ----------------------------------------------------------------

    def confirm(self, snapshot: Snapshot, timeout: float) -> None:
        """See `interface.Port`."""
        late, self._was_late = self._was_late, False
        if late:
            self._require_one_place(timeout)
        if snapshot.revision == self._guessed:
            guessed, self._guessed = self._guessed, None
            _, newest = self._fetched(timeout)
            if newest and newest != guessed:
                raise WrongGuess(GitSnapshot(self._reader, newest))

    def landed(self, commit: str) -> None:
        """Note that our commit is the newest one now. This also answers a running fetch."""
        self._guessed = None
        self.stop_asking()
        self._queue.tip = commit

    def lost(self, *, store_branch: bool) -> None:
        """Note that a push lost a race to a push that does not take turns with this host."""
        self._queue.end_slice()
        self._was_late = store_branch

    def stop_asking(self) -> None:
        """End the running fetch, if any."""
        asked, self._asked = self._asked, None
        if asked:
            asked.process.give_up()

    def _has_heard(self, commit: str, known: str) -> bool:
        """Whether ``known`` contains a commit. A commit that this clone does not have is newer."""
        there = self._repository.objects.id_of(f"{commit}^{{commit}}") is not None
        return there and self._repository.is_ancestor(commit, known)

    def _require_one_place(self, timeout: float) -> None:
        """Raise BadInput if the remote's push address is another repository than its fetch address. Raises as `tip`."""
        remote, config = self._location.remote or "", self._repository.config
        if f"remote.{remote}.pushurl" not in config and not any(
            key.endswith(".pushinsteadof") for key in config
        ):
            return
        address = self._repository.push_address(remote)
        asked = self._repository.ask_branch(address, self.branch, timeout)
        there = asked.text.partition("\t")[0]
        _, newest = self._fetched(timeout)
        if asked.status != 0 or newest is None or (there and self._has_heard(there, newest)):
            return
        raise BadInput(
            problem=f"{remote} is pushed to another repository than it is fetched from: {self.branch} is at {newest[:12]} "
            f"in the one and {f'at {there[:12]}' if there else 'not there'} in the other; name the store's for both with "
            f"`git config --replace-all remote.{shlex.quote(remote)}.pushurl URL`, and mirror from there"
        )

    # --- turns ------------------------------------------------------------------------------------

    @contextmanager
    def turn(self, meanwhile: Callable[..., None]) -> Iterator[None]:
        """See `interface.Port`."""
        if self._location.remote is None:
            yield
            return

        def soon() -> None:
            # Little is left to be fetched and read in the turn itself, while the others wait. On a network the
            # round trips take longest, and this would double them.
            if self._location.local_remote():
                with suppress(KtError):
                    meanwhile(self._snapshot(*self._fetched(_AHEAD_SECONDS)))

        with self._queue.turn(meanwhile, soon) as self._turn:
            try:
                yield
            except NothingToClaim:
                # This writer will not come back for more, so the next one need not wait.
                self._queue.end_slice()
                raise

    @cached_property
    def _queue(self) -> PushQueue:
        config, remote = self._repository.config, self._location.remote
        return PushQueue(config.get(f"remote.{remote}.pushurl") or config[f"remote.{remote}.url"])

    # --- fetches ----------------------------------------------------------------------------------

    def _place(self, timeout: float) -> tuple[str, str]:
        """The store branch, and the ref of this clone that tracks it."""
        self._location.require_remote_choice()
        branch = self.branch = self._branches.to_write(timeout)
        remote = self._location.remote
        return branch, f"refs/remotes/{remote}/{branch}" if remote else f"refs/heads/{branch}"

    def _fetched(self, timeout: float) -> tuple[str, str | None]:
        """The store branch and its newest commit."""
        branch, ref = self._place(timeout)
        if self._location.remote:
            asked, self._asked = self._asked or self._ask(branch, ref), None
            self._fetch(asked, branch, ref, timeout)
        commit = self._repository.tip_of(ref)
        if self._location.remote and commit:
            self._queue.tip = commit
        return branch, commit

    def _ask(self, branch: str, ref: str) -> _Fetch:
        seen = self._repository.tip_of(ref)
        return _Fetch(self._repository.fetch(self._location.remote or "", branch), seen)

    def _fetch(self, asked: _Fetch, branch: str, ref: str, timeout: float) -> None:
        """Wait for a running fetch. If it fails because of a lock in this clone, start another one."""
        remote = self._location.remote or ""
        end = time.monotonic() + timeout
        while True:
            left = max(0.1, end - time.monotonic())
            try:
                done = waiting.awaited(self._reader.progress, "asking the remote", asked.process, left)
            except BaseException:
                asked.process.give_up()
                raise
            if done is None:
                asked.process.give_up()
                raise waiting.unreachable(remote, None, timeout)
            if done.status == 0:
                self._require_line(branch, ref, asked.seen)
                return
            # If this clone has pushed meanwhile, the fetch has an older commit than the ref.
            moved = self._repository.tip_of(ref) != asked.seen and time.monotonic() < end
            if "non-fast-forward" in done.err and not moved:
                seen = self._repository.commit_of(ref)
                raise HistoryRewritten(branch=branch, remote=remote, seen=(seen or "")[:12])
            if "couldn't find remote ref" in done.err:
                raise NoStoreBranch(
                    problem=f"{remote} has no branch {branch}",
                    hint=f"push the store with `git push {shlex.quote(remote)} {shlex.quote(branch)}`, "
                    "or name another branch with `git config kt.branch NAME`",
                )
            # Another fetch in this clone is moving the same ref; try again.
            passes = "cannot lock ref" in done.err or "non-fast-forward" in done.err
            if not passes or time.monotonic() + FETCH_PAUSE_SECONDS > end:
                held = held_lock(done.err)
                raise GitLocked(lock=held) if held else waiting.unreachable(remote, done, timeout)
            time.sleep(FETCH_PAUSE_SECONDS)
            asked = self._ask(branch, ref)

    def _require_line(self, branch: str, ref: str, seen: str | None) -> None:
        """If the fetched line does not contain ``seen``, set the ref back to it and raise HistoryRewritten."""
        new = self._repository.tip_of(ref)
        if seen is None or new is None or self.goes_on(new, seen):
            return
        self._repository.update_ref(ref, seen, new, "kt: not on the line of what was fetched")
        raise HistoryRewritten(branch=branch, remote=self._location.remote or "", seen=seen[:12])

    def goes_on(self, commit: str, seen: str) -> bool:
        """Whether the line of a commit continues from ``seen``, which it contains."""
        if commit == seen or self._follows_plainly(commit, seen):
            return True
        return self._audit_goes_on is None or self._audit_goes_on(commit, seen)

    def _follows_plainly(self, commit: str, seen: str) -> bool:
        """Whether ``seen`` is a near ancestor of a commit, with no merge between them. Each look covers twice as many commits."""
        look = 1
        while look <= _NEAR:
            asked = [f"{commit}~{back}^{parent}" for back in range(look) for parent in (1, 2)]
            found = self._repository.objects.ids_of(asked)
            for first, second in zip(found[::2], found[1::2], strict=True):
                if first is None or second is not None:
                    return False
                if first == seen:
                    return True
                commit = first
            look *= 2
        return False
