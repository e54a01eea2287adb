"""What could keep a clone from working: one finding per question, each with its remedy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..core.text import plural
from ..errors import KtError
from . import layout, lock
from .git import MINIMUM
from .gitstore import GitStore, alike, head_in
from .process import Done

# From so many commits on it is worth a command to find those of one file faster.
_MANY = 10_000


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is well, what was seen, and what to do if not."""

    check: str
    ok: bool
    detail: str
    remedy: str


def examine(store: GitStore, timeout: float) -> list[Finding]:
    """Look at git, the identity, the remote, the branch and the lock."""
    repository = store.repository
    found: list[Finding] = []
    version = repository.version()
    wanted = ".".join(map(str, MINIMUM))
    shown = ".".join(map(str, version))
    found.append(Finding("git", version >= MINIMUM, f"git {shown}", f"install git {wanted} or newer"))
    try:
        author = store.author()
        found.append(Finding("identity", True, f"{author.name} <{author.email}>", ""))
    except KtError as error:
        found.append(Finding("identity", False, error.what, error.remedy))
    found += _remote(store, timeout)
    hindrance = lock.hindrance(store.lock_folder)
    if hindrance:
        found.append(Finding("lock", False, f"the clone's lock cannot be taken: {hindrance}", lock.LET_WRITE))
    elif lock.is_free(store.lock_folder):
        found.append(Finding("lock", True, "nobody holds the clone's lock", ""))
    else:
        known = lock.holder(store.lock_folder)
        detail, remedy = "another process holds the clone's lock", "wait for it"
        if known:
            detail = f"process {known['pid']} holds the clone's lock since {known['since']}"
            remedy = f"wait for it, or end it with `kill {known['pid']}` if it hangs"
        found.append(Finding("lock", False, detail, remedy))
    if repository.is_shallow:
        remedy = "reading and writing work; for `log` over all of history run `git fetch --unshallow`"
        found.append(Finding("history", True, f"this clone is shallow: {remedy}", ""))
    elif repository.has_more_than(_MANY) and not repository.has_path_filters:
        write = "git commit-graph write --reachable --changed-paths"
        detail = f"more than {_MANY:,} commits and no changed-path filters: `{write}` makes `log --id` quick"
        found.append(Finding("history", True, detail, ""))
    return found


def _remote(store: GitStore, timeout: float) -> list[Finding]:
    try:
        remote = store.remote
    except KtError as error:
        return [Finding("remote", False, error.what, "git config --unset kt.remote")]
    try:
        store.require_remote_choice()
    except KtError as error:
        return [Finding("remote", False, error.what, "git config kt.remote NAME")]
    repository, branch = store.repository, store.branch
    if remote is None:
        well = branch is not None
        detail = f"the branch {branch} of this repository" if branch else "the head is detached"
        remedy = "git switch BRANCH, or git config kt.branch NAME"
        others = repository.branches() if branch and not repository.tip_of(f"refs/heads/{branch}") else []
        if others:
            well, detail = False, f"there is no branch {branch}, though there is {', '.join(others[:3])}"
            remedy = store.guard_by("kt.branch", others[0] if len(others) == 1 else "NAME")
        return [
            Finding("remote", True, "none: the queue is this repository alone", ""),
            Finding("branch", well, detail, remedy),
        ]
    start = time.monotonic()
    asked = repository.ask_remote_head(remote, timeout, f"refs/heads/{branch or 'HEAD'}")
    took = time.monotonic() - start
    words = f"no answer within {timeout:.0f} s" if asked.timed_out else asked.words
    reached = Finding(
        "remote",
        asked.status == 0,
        f"{remote} answered in {took * 1000:.0f} ms"
        if asked.status == 0
        else f"{remote} did not answer: {words}",
        f"check the network and `git remote get-url {remote}`",
    )
    return [reached, *_branch(store, remote, branch, asked, timeout)]


def _ahead(store: GitStore, remote: str, branch: str) -> int:
    """How many commits of the store branch here change the queue, and were not on the remote when that was last asked."""
    here = store.repository.tip_of(f"refs/heads/{branch}")
    there = store.repository.tip_of(f"refs/remotes/{remote}/{branch}")
    queue = f":(top,literal){store.full(layout.QUEUE)}"
    return store.repository.count([here, f"^{there}"], [queue]) if here and there else 0


def _branch(
    store: GitStore, remote: str, branch: str | None, asked: Done, timeout: float
) -> Iterator[Finding]:
    head = head_in(asked)
    if asked.status != 0:
        detail = f"{branch} on {remote}" if branch else f"not known, and {remote} cannot be asked"
        yield Finding("branch", branch is not None, detail, "git config kt.branch NAME")
    elif store.repository.config.get("kt.branch") or (branch and head == branch):
        ahead = _ahead(store, remote, branch) if branch else 0
        if ahead:
            commits = plural(ahead, "commit")
            detail = f"{branch} here has {commits} to the queue that {remote} has not, and reading takes them for the store"
            remedy = f"git push {remote} {branch}, or give them up with git reset --keep {remote}/{branch}"
            yield Finding("branch", False, detail, remedy)
        else:
            yield Finding("branch", True, f"{branch} on {remote}", "")
    elif head is not None and branch is not None:
        detail = f"{branch} here, but the HEAD of {remote} names {head}"
        yield Finding("branch", False, detail, f"git remote set-head {remote} --auto")
    elif head is None and "branches" in (found := store.headless(timeout)).facts:
        yield Finding("branch", False, found.what, found.remedy)
    else:
        detail = (
            f"{branch} on {remote}" if branch else f"not known yet; it is asked of {remote} when first needed"
        )
        yield Finding("branch", True, detail, "")
    for ref in alike(branch, asked) if branch else ():
        detail = f"{ref} on {remote} fits every push to {branch} as well, so git refuses them"
        yield Finding("branch", False, detail, f"git push {remote} --delete {ref}")
