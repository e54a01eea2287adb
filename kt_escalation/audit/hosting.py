"""The hook of a server's repository: installs it, reports what it guards, and removes it. See docs/servers.md."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from ..errors import BadInput, KtError, NotAStore
from ..frozen import dataclass
from ..git.repository import Repository
from ..model.text import plural
from ..policies.policy_set import Policies, assemble
from ..policies.roster import is_forge, logged_in
from ..storage import hook_settings, server_hook
from ..storage.clone import GitStore
from ..storage.interface import PROPOSALS
from ..storage.location import root_of
from ..storage.proposals import require_branch_name
from .hook import judge_branch
from .mark import Mark

#: The memory limit of the hook and of each git that it starts, in bytes.
HOOK_MEMORY = 512 << 20

# git checks each object as well, beside kt's own strict reading of trees.
_CHECKS = {"receive.fsckObjects": "true", "receive.fsck.badFilemode": "error"}
# A commit-graph makes `rev-list S ^P` fast, on which the time of the hook depends.
_GRAPHS = {"core.commitGraph": "true", "fetch.writeCommitGraph": "true", "gc.writeCommitGraph": "true"}
# Limits of one push: its size, and the memory of git when it unpacks, packs and reads.
_BOUNDS = {
    "receive.maxInputSize": "256m",
    "core.bigFileThreshold": "16m",
    "core.packedGitWindowSize": "32m",
    "core.packedGitLimit": "256m",
    "pack.windowMemory": "64m",
    "pack.deltaCacheSize": "32m",
    "pack.threads": "1",
}
_BRANCH, _ROOT, _START, _PUSHER, _LOGINS = "kt.branch", "kt.root", "kt.start", "kt.pusherFrom", "kt.logins"
# The settings that `install` made, as `key=value` with spaces between, URL-encoded: `uninstall` removes only these.
_OURS = "kt.installed"


@dataclass(frozen=True)
class HookSettings:
    """The hook's settings in a server repository's configuration, so that nothing is guessed at run time.

    ``pusher_from`` is the variable that names the pusher. ``logins`` is the forge whose logins these names
    are.
    """

    branch: str | None
    root: str
    start: str | None
    pusher_from: str | None
    logins: str | None


def pins(repository: Repository) -> HookSettings:
    """The settings of a server's repository."""
    config = repository.config
    return HookSettings(
        config.get(_BRANCH) or repository.head_branch(),
        root_of(config.get(_ROOT, "")),
        config.get(_START) or None,
        # An empty setting is a variable that is never set, so every acting commit is refused.
        config.get(_PUSHER.lower()),
        config.get(_LOGINS) or None,
    )


def pushing(server: str | os.PathLike[str], environ: Mapping[str, str]) -> tuple[HookSettings, str | None]:
    """The settings, and the pusher's name. None if the server is not asked for it, or does not say it.

    A forge's login is matched with the roster's `logins` of that forge and nothing else, by the roster in force on
    the store branch. One that no user has stays `forge:login`, which is nobody's id or e-mail. Raises NotAStore,
    BadInput.
    """
    with closing(_opened(server)) as store:
        pinned = pins(store.repository)
        name = environ.get(pinned.pusher_from, "").strip(" \t\r\n") if pinned.pusher_from else ""
        if not name:
            return pinned, None
        if pinned.logins is None:
            # With a colon it could be read as a login, which nothing says that it is.
            return pinned, f":{name}" if ":" in name else name
        # Not the roster as it stands there: somebody who could write it unseen could name themselves.
        roster = _in_force(store, judge_branch(store, datetime.now(UTC))).roster
        user = logged_in(roster, pinned.logins, name) if roster else None
        return pinned, user or f"{pinned.logins}:{name}"


@dataclass(frozen=True)
class Installed:
    """A server's hook: its file, the branch that it guards, the folder of the store, and warnings."""

    path: Path
    branch: str | None
    root: str
    pusher_from: str | None
    logins: str | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class HookStatus:
    """The state of a server's hook.

    ``problems`` are reasons why it does not guard the branch, ``warnings`` other remarks.
    """

    repository: Path
    hooks_path: Path
    runs: bool
    branch: str | None
    root: str
    pusher_from: str | None
    nobody_proven: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    #: Whether kt's hook is there, even if git would not run it.
    installed: bool = False

    @property
    def ok(self) -> bool:
        """Whether the hook judges every push to the store branch."""
        return not self.problems


@dataclass(frozen=True)
class Removed:
    """What `uninstall` removed: the hook's file (None if kt's hook was not there), and settings."""

    path: Path | None
    settings: tuple[str, ...]


def install(
    server: str | os.PathLike[str],
    command: Sequence[str],
    *,
    branch: str | None = None,
    root: str | None = None,
    pusher_from: str | None = None,
    logins: str | None = None,
    force: bool = False,
) -> Installed:
    """Install a command as pre-receive hook of a server's repository.

    It guards ``branch`` with the store in the folder ``root``. ``pusher_from`` is the variable in which the
    server names the pusher, ``logins`` the forge whose logins these names are. These settings are stored in
    the repository's configuration; a setting that is not given stays as it is. Without `kt.branch`, the hook
    guards the branch that HEAD names. ``force`` installs in a working clone too. Raises BadInput, NotAStore,
    GitFailed.
    """
    given = {_BRANCH: branch, _ROOT: root, _PUSHER: pusher_from, _LOGINS: logins}
    wanted = {key: value for key, value in given.items() if value is not None}
    with closing(_opened(server)) as store:
        repository = store.repository
        if not repository.is_bare and not force:
            raise BadInput(
                problem=f"{server} is a working clone, and pushes go to a server's bare repository",
                hint="name that one with --server, or give --force if people do push to this clone",
            )
        if branch is not None:
            require_branch_name(store.repository, branch)
        root_of(root or "")
        if logins is not None and not is_forge(logins):
            raise BadInput(problem=f"--logins is {logins[:40]!r}; give a forge's name such as gitlab")
        if logins is not None and pusher_from is None and repository.config.get(_PUSHER.lower()) is None:
            raise BadInput(problem="--logins says whose names --pusher-from gives; give that one too")
        path = server_hook.path_in(_own_hooks(repository))
        server_hook.write(path, command, repository.git_dir)
        broken = server_hook.why_not(path, repository.git_dir)
        if broken:
            server_hook.remove(path)
            raise BadInput(
                problem=f"the hook would not run: {broken}",
                hint="it runs Python with -I, which sees neither PYTHONPATH nor packages of one user: install kt "
                "in a virtual environment that the server's user can read, and run this with it",
            )
        _set(repository, {**wanted, **_unset(repository, {**_GRAPHS, **_BOUNDS}), **_CHECKS})
    with closing(_opened(server)) as store:
        known = _pin(store)
        pinned = pins(store.repository)
        warned = (*_unguarded(store), *_unclean(store, known), *_unproven(store, pinned, known))
        return Installed(path, store.branches.own, store.root, pinned.pusher_from, pinned.logins, warned)


def status(server: str | os.PathLike[str], *, branch: str | None = None) -> HookStatus:
    """The state of the hook for the store branch of a server's repository, or for another ``branch``.

    The hook is run once.
    Raises NotAStore, BadInput, GitFailed.
    """
    with closing(_opened(server)) as store:
        repository = store.repository
        hooks = repository.hooks_folder()
        broken = server_hook.why_not(server_hook.path_in(hooks), repository.git_dir)
        pinned = pins(repository)
        problems = [broken] if broken else []
        if branch is not None and branch != store.branches.own:
            cure = hook_settings.guard_by(store.repository, _BRANCH, branch)
            problems.append(f"it guards {store.branches.own or 'no branch'}, not {branch}; run `{cure}`")
        empty = not repository.branches()
        astray = list(_unguarded(store))
        warned = list(astray if empty and store.branches.own else ())
        problems += [] if warned else astray
        for key, value in _CHECKS.items():
            if repository.config.get(key.lower()) != value:
                where = shlex.quote(str(repository.git_dir))
                warned.append(f"{key} is not {value}; run `git -C {where} config {key} {value}`")
        known = judge_branch(store, datetime.now(UTC))
        warned += _unclean(store, known)
        unproven = list(_unproven(store, pinned, known))
        return HookStatus(
            repository.git_dir,
            hooks,
            broken is None,
            store.branches.own,
            store.root,
            pinned.pusher_from,
            bool(unproven),
            tuple(problems),
            (*warned, *unproven),
            installed=any(
                server_hook.calls_us(server_hook.path_in(folder))
                for folder in (hooks, repository.common_dir / "hooks")
            ),
        )


def seen_from_a_clone(server: Path) -> HookStatus | None:
    """The state of the hook of a remote in a folder on this machine. None if git refuses to open it."""
    try:
        return status(server)
    except KtError:
        return None


def _opened(server: str | os.PathLike[str]) -> GitStore:
    """The server's repository. Raises NotAStore."""
    try:
        return GitStore(Path(server))
    except NotAStore as error:
        hint = "name the server's bare repository with --server"
        raise NotAStore(where=error.where, problem=error.problem, hint=hint) from None


def uninstall(server: str | os.PathLike[str]) -> Removed:
    """Remove kt's hook and the settings that came with it, and nothing else; the ledger of pushes stays.

    Raises BadInput, NotAStore.
    """
    with closing(_opened(server)) as store:
        repository = store.repository
        path = server_hook.path_in(repository.hooks_folder())
        removed = server_hook.remove(path)
        if not removed and server_hook.calls_us(path):
            raise BadInput(problem=f"{path} is another hook that calls kt; remove that line from it")
        gone = []
        for key, value in _set_by_us(repository).items():
            if repository.own_setting(key) == value:
                repository.forget(key)
                gone.append(key)
        repository.forget(_OURS)
        return Removed(path if removed else None, tuple(gone))


def _own_hooks(repository: Repository) -> Path:
    """The folder with this repository's hooks, if no setting outside the repository names it."""
    folder = repository.hooks_folder()
    asked = repository.config.get("core.hookspath")
    if asked is not None and repository.own_setting("core.hooksPath") is None:
        where = shlex.quote(str(repository.git_dir))
        own = shlex.quote(str(repository.common_dir / "hooks"))
        raise BadInput(
            problem=f"git looks for hooks in {folder}, since core.hooksPath is set for more than this repository; "
            "a hook there would judge them all",
            hint=f"to let this one have its own run `git -C {where} config core.hooksPath {own}`, then this again",
        )
    return folder


def _unset(repository: Repository, settings: Mapping[str, str]) -> dict[str, str]:
    """The settings that have no value yet."""
    return {key: value for key, value in settings.items() if repository.config.get(key.lower()) is None}


def _set(repository: Repository, settings: Mapping[str, str]) -> None:
    """Set keys, and record which of them were not set before."""
    ours = _set_by_us(repository)
    for key, value in settings.items():
        if key in ours or repository.own_setting(key) is None:
            ours[key] = value
        repository.configure(key, value)
    if ours:
        repository.configure(_OURS, " ".join(f"{key}={quote(value)}" for key, value in ours.items()))


def _set_by_us(repository: Repository) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in (repository.own_setting(_OURS) or "").split(" "))
    return {key: unquote(value) for key, equals, value in pairs if equals}


def _pin(store: GitStore) -> Mark | None:
    """Record the store's folder and first commit, and return its mark; None if there is no store yet."""
    branch = store.branches.own
    tip = store.repository.tip_of(f"refs/heads/{branch}") if branch else None
    if branch is None or tip is None or not store.holds(tip):
        return None
    _set(store.repository, {_BRANCH: branch, _ROOT: store.root})
    known = judge_branch(store, datetime.now(UTC))
    if known is not None and known.start is not None and store.repository.config.get(_START) is None:
        _set(store.repository, {_START: known.start})
    return known


def _unguarded(store: GitStore) -> Iterator[str]:
    """Warnings about what the hook does not guard, with the command that changes it."""
    branch = store.branches.own
    tip = store.repository.tip_of(f"refs/heads/{branch}") if branch else None
    if tip is None:
        others = [name for name in store.repository.branches() if not name.startswith(PROPOSALS)]
        name = others[0] if len(others) == 1 else "NAME" if branch == "main" else "main"
        missing = f"there is no branch {branch} yet" if branch else "HEAD names no branch there"
        yield (
            f"{missing}, and no other is guarded; if the store is to be on {name}, "
            f"run `{hook_settings.guard_by(store.repository, _BRANCH, name)}`"
        )
    elif not store.holds(tip):
        yield from hook_settings.elsewhere(store.location, tip)


def _unclean(store: GitStore, known: Mark | None) -> Iterator[str]:
    """A warning that the hook does not repair violations from before it was installed."""
    wrong = known.unexcused if known is not None else ()
    if wrong:
        yield (
            f"{plural(len(wrong), 'violation')} on {store.branches.own} from before this hook, which does not "
            "refuse later pushes because of them: see `kt escalation verify` in a clone"
        )


def _unproven(store: GitStore, pinned: HookSettings, known: Mark | None) -> Iterator[str]:
    """A warning that nothing here proves the actor's identity."""
    if pinned.pusher_from is not None or _in_force(store, known).settings.signatures == "required":
        return
    yield (
        "nothing proves names: the server is not asked who pushes, and the store does not require signatures, so "
        "whoever can push can act in anybody's name; see docs/servers.md for --pusher-from, docs/signatures.md for the other"
    )


def _in_force(store: GitStore, known: Mark | None) -> Policies:
    """The policies in force at a mark; none if there is no store."""
    tree = known.policies.eras[-1][1] if known is not None and known.policies.eras else None
    return assemble(tree, store.reader.policy_files(tree)) if tree is not None else Policies()
