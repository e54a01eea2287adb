"""Finds problems that could stop a clone from working: one finding for each check, with its remedy."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from .actions.read_session import ReadSession
from .errors import HistoryRewritten, KtError
from .frozen import dataclass
from .git.process import Done
from .git.push_result import folder_of_another, trust_hint
from .git.repository import MINIMUM
from .model.text import plural
from .policies.policy_set import Policies, assemble
from .rules import due_actions, permissions
from .storage import layout, lock
from .storage.clone import GitStore
from .storage.hook_settings import guard_by
from .storage.interface import Entry, Invalid, Snapshot
from .storage.store_branch import alike, head_in, tip_in

# A history with this many commits should have changed-path filters, which find the commits of one file
# faster.
_MANY = 10_000


YOU, ADMIN, SERVER = "you", "admin", "server"


@dataclass(frozen=True)
class Finding:
    """The result of one check: whether it passed, what was found, and the remedy.

    ``fixed_by`` says who can fix it: `YOU` in this clone, an `ADMIN` of the roster, or the administrator of
    the `SERVER`. A finding that is ok and has a remedy is a warning.
    """

    check: str
    ok: bool
    detail: str
    remedy: str
    fixed_by: str = YOU


def examine_store(session: ReadSession) -> Sequence[Finding]:
    """Look at the clone, and at the files, policies and proofs of its store."""
    if not isinstance(session.port, GitStore):
        return []
    found = examine(session.port, session.retry_timeout)
    try:
        snapshot = session.port.read()
    except KtError as error:
        if any(not finding.ok and finding.detail == error.summary for finding in found):
            return found
        return [*found, Finding("store", False, error.summary, error.remedy)]
    policies = assemble(*snapshot.policies())
    return [*found, *_proofs(session.port, policies), *_contents(session, snapshot, policies)]


def examine(store: GitStore, timeout: float) -> list[Finding]:
    """Check git, the identity, the remote, the branch and the lock."""
    repository = store.repository
    found: list[Finding] = []
    version = repository.version()
    wanted = ".".join(map(str, MINIMUM))
    shown = ".".join(map(str, version))
    remedy = "" if version >= MINIMUM else f"install git {wanted} or newer"
    found.append(Finding("git", version >= MINIMUM, f"git {shown}", remedy))
    try:
        author = store.author()
        found.append(Finding("identity", True, f"{author.name} <{author.email}>", ""))
    except KtError as error:
        found.append(Finding("identity", False, error.summary, error.remedy))
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
        detail = "this clone is shallow: what reads or judges history (log, events, verify, check, wait) does not work"
        found.append(Finding("history", True, detail, "git fetch --unshallow"))
    elif repository.has_more_than(_MANY) and not repository.has_path_filters:
        write = "git commit-graph write --reachable --changed-paths"
        detail = f"more than {_MANY:,} commits and no changed-path filters: `{write}` makes `log --id` quick"
        found.append(Finding("history", True, detail, ""))
    return found


def _remote(store: GitStore, timeout: float) -> list[Finding]:
    try:
        remote = store.remote
    except KtError as error:
        return [Finding("remote", False, error.summary, "git config --unset kt.remote")]
    try:
        store.location.require_remote_choice()
    except KtError as error:
        return [Finding("remote", False, error.summary, "git config kt.remote NAME")]
    repository, branch = store.repository, store.branch
    if remote is None:
        well = branch is not None
        detail = f"the branch {branch} of this repository" if branch else "the head is detached"
        remedy = "switch to the branch with `git switch BRANCH`, or name it with `git config kt.branch NAME`"
        others = repository.branches() if branch and not repository.tip_of(f"refs/heads/{branch}") else []
        if others:
            well, detail = False, f"there is no branch {branch}, though there is {', '.join(others[:3])}"
            remedy = guard_by(repository, "kt.branch", others[0] if len(others) == 1 else "NAME")
        return [
            Finding("remote", True, "none: the queue is this repository alone", ""),
            Finding("branch", well, detail, "" if well else remedy),
            *(_hidden(store, f"refs/heads/{branch}", branch) if branch else ()),
        ]
    start = time.monotonic()
    asked = repository.ask_remote_head(remote, timeout, f"refs/heads/{branch or 'HEAD'}")
    took = time.monotonic() - start
    words = f"no answer within {timeout:.0f} s" if asked.timed_out else asked.words
    if asked.status == 0:
        reached = Finding("remote", True, f"{remote} answered in {took * 1000:.0f} ms", "")
    else:
        reached = _not_reached(remote, words)
    return [reached, *_branch(store, remote, branch, asked, timeout)]


def _not_reached(remote: str, words: str) -> Finding:
    folder = folder_of_another(words)
    if folder is not None:
        detail = f"{remote} is there, but git refuses to read it, because its folder {folder} belongs to another user"
        return Finding("remote", False, detail, trust_hint(folder))
    remedy = f"check the network, and the address: `git remote get-url {shlex.quote(remote)}`"
    return Finding("remote", False, f"{remote} did not answer: {words}", remedy)


def _ahead(store: GitStore, remote: str, branch: str) -> int:
    """The number of commits of the local store branch that change the queue and are not on the remote, as last seen."""
    here = store.repository.tip_of(f"refs/heads/{branch}")
    there = store.repository.tip_of(f"refs/remotes/{remote}/{branch}")
    queue = f":(top,literal){store.full(layout.QUEUE)}"
    return store.repository.count([here, f"^{there}"], [queue]) if here and there else 0


def _rewritten(
    store: GitStore, remote: str, branch: str, asked: Done, timeout: float
) -> HistoryRewritten | None:
    """The error that other commands raise if the remote's history was rewritten. None if it was not."""
    repository = store.repository
    seen = repository.tip_of(f"refs/remotes/{remote}/{branch}")
    found = tip_in(branch, asked)
    if seen is None or found is None or found == seen:
        return None
    if repository.tip_of(found) is None:
        repository.fetch_branch(remote, branch, timeout)
    if repository.tip_of(found) is None:
        return None
    if repository.is_ancestor(seen, found) and store.newest_tip.goes_on(found, seen):
        return None
    return HistoryRewritten(branch=branch, remote=remote, seen=seen[:12])


def _branch(
    store: GitStore, remote: str, branch: str | None, asked: Done, timeout: float
) -> Iterator[Finding]:
    head = head_in(asked)
    if asked.status != 0:
        detail = f"{branch} on {remote}" if branch else f"not known, and {remote} cannot be asked"
        yield Finding("branch", branch is not None, detail, "" if branch else "git config kt.branch NAME")
    elif branch and (rewritten := _rewritten(store, remote, branch, asked, timeout)):
        yield Finding("branch", False, rewritten.summary, rewritten.remedy)
    elif store.repository.config.get("kt.branch") or (branch and head == branch):
        ahead = _ahead(store, remote, branch) if branch else 0
        if branch and ahead:
            commits = plural(ahead, "commit")
            detail = f"{branch} here has {commits} to the queue that {remote} does not have, and kt reads them as part of the store"
            name, upstream = shlex.quote(branch), shlex.quote(f"{remote}/{branch}")
            give_up = f"git reset --keep {upstream}"
            if store.repository.head_branch() != branch:
                give_up = f"git branch --force {name} {upstream}"
            remedy = (
                f"if `kt escalation check {upstream}..{name}` finds no violation, push with "
                f"`git push {shlex.quote(remote)} {name}`; else the server's hook refuses them: "
                f"give them up with `{give_up}`, and make the steps with kt"
            )
            yield Finding("branch", False, detail, remedy)
        else:
            yield Finding("branch", True, f"{branch} on {remote}", "")
    elif head is not None and branch is not None:
        detail = f"{branch} here, but the HEAD of {remote} names {head}"
        yield Finding("branch", False, detail, f"git remote set-head {shlex.quote(remote)} --auto")
    elif head is None and (found := store.branches.headless(timeout)).branches:
        yield Finding("branch", False, found.summary, found.remedy)
    else:
        detail = (
            f"{branch} on {remote}" if branch else f"not known yet; kt asks {remote} when it first needs it"
        )
        yield Finding("branch", True, detail, "")
    for ref in alike(branch, asked) if branch else ():
        detail = f"{ref} on {remote} fits every push to {branch} as well, so git refuses them"
        remedy = f"git push {shlex.quote(remote)} --delete {shlex.quote(ref)}"
        yield Finding("branch", False, detail, remedy)
    if branch:
        yield from _hidden(store, f"refs/heads/{branch}", branch)
        yield from _hidden(store, f"refs/remotes/{remote}/{branch}", f"{remote}/{branch}")
        if store.repository.remote_head(remote) == branch:
            for name in (remote, f"{remote}/HEAD"):
                yield from _hidden(store, f"refs/remotes/{remote}/HEAD", name)


def _hidden(store: GitStore, ref: str, name: str) -> Iterator[Finding]:
    """Warn of refs here that other git commands take for the store branch."""
    for other in store.repository.preferred_to(ref, name):
        if store.repository.tip_of(other) == store.repository.tip_of(ref):
            continue
        detail = f"git commands take {name} for {other} here, not for {ref}, which kt reads"
        # It may name another ref, which stays. Somebody's branch may have commits that nothing else has.
        remedy = (
            f"git update-ref --no-deref -d {shlex.quote(other)}; if the remote has it too, delete it there"
        )
        if other.startswith("refs/heads/"):
            mine = shlex.quote(other.removeprefix("refs/heads/"))
            remedy = f"git branch -m {mine} NAME; if the remote has {mine} too, delete it there"
        yield Finding("branch", True, detail, remedy)


def _contents(session: ReadSession, snapshot: Snapshot, policies: Policies) -> Iterator[Finding]:
    """The faults in the store's files, which an admin can fix. Without a roster everybody is an admin."""
    fixed_by = ADMIN
    # A missing identity is another finding.
    with suppress(KtError):
        author = session.port.author()
        fixed_by = (
            YOU if permissions.is_admin(permissions.actor(author.email, session.clock(), policies)) else ADMIN
        )
    bad = [
        item for part in (snapshot.open(), snapshot.resolved()) for item in part if isinstance(item, Invalid)
    ]
    for item in bad:
        path = shlex.quote(item.path)
        remedy = f"take it out of the queue with `git rm -- {path}`, commit and push"
        if item.escalation_id is not None:
            remedy = (
                f"bring it back with `kt escalation restore --id {item.escalation_id} --reason TEXT`; "
                f"what it was is in `git log -p -- {path}`"
            )
        yield Finding("files", False, f"{item.path}: {item.error}", remedy, fixed_by)
    if not bad:
        yield Finding("files", True, "every file below queue/ can be read", "")
    for entry in snapshot.open():
        lost = due_actions.nobody_left(entry.record, policies) if isinstance(entry, Entry) else None
        if lost and isinstance(entry, Entry):
            name = entry.record.escalation_id
            remedy = (
                f"hand it on with `kt escalation assign --id {name} --team TEAM --reason TEXT`, "
                "or change the roster"
            )
            yield Finding("people", False, f"{name}: {lost}", remedy, fixed_by)
    for fault in policies.faults:
        remedy = "fix it in a commit on the store branch; `kt policy lint` names every fault"
        yield Finding("policies", False, str(fault), remedy, fixed_by)


def _proofs(git: GitStore, policies: Policies) -> Iterator[Finding]:
    """Whether pushes are judged, as far as this clone can see, and whether anything proves names."""
    from .audit import hosting

    server = git.location.local_remote()
    guard = hosting.seen_from_a_clone(server) if server else None
    if guard and server:
        where = shlex.quote(str(server))
        if guard.ok and guard.root != git.root:
            ours, theirs = (root or "the top of the repository" for root in (git.root, guard.root))
            words = f"the hook of {server} guards the store in {theirs}, and this clone's is in {ours}"
            remedy = f"let it guard this one with `kt escalation hook install --server {where} --root {shlex.quote(git.root)}`"
            yield Finding("hook", False, words, remedy, SERVER)
        elif guard.ok:
            yield Finding("hook", True, f"the hook of {server} runs and guards {guard.branch}", "")
        elif guard.installed:
            remedy = f"see `kt escalation hook status --server {where}`"
            yield Finding("hook", False, guard.problems[0], remedy, SERVER)
        else:
            remedy = f"install kt's with `kt escalation hook install --server {where}`"
            yield Finding("hook", True, f"no hook judges pushes to {server}", remedy, SERVER)
    if policies.settings.signatures == "required":
        yield Finding("names", True, "each step is signed by its author", "")
    elif guard and guard.ok and guard.pusher_from is not None:
        yield Finding("names", True, f"the server says who pushes, in {guard.pusher_from}", "")
    else:
        detail = "nothing in the store proves names: who can push can act in anybody's name"
        remedy = (
            "require signatures (docs/signatures.md), or let the server prove who pushes (docs/servers.md)"
        )
        yield Finding("names", True, detail, remedy, SERVER)
