"""Everything that uses the network: listing a remote's refs, fetching and pushing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .command import NO_MAINTENANCE, Git
from .process import Done, Underway

_FETCH = (
    *(*NO_MAINTENANCE, "fetch", "--no-progress", "--no-tags"),
    *("--no-write-fetch-head", "--no-recurse-submodules", "--no-prune", "--refmap="),
)
# git's own account of what it starts and of what it exchanges with the remote, and in it a push's commands.
_TRACES = ("GIT_TRACE", "GIT_TRACE_PACKET")
_LONGEST_LINE = 1 << 16
_COMMANDS = re.compile(rb"> [0-9a-f]{40,64} [0-9a-f]{40,64} refs/")


class Remotes(Git):
    """The remotes of a repository. What takes long is started and waited for by the caller."""

    def remotes(self) -> frozenset[str]:
        """The names of the configured remotes."""
        return frozenset(
            key.removeprefix("remote.").removesuffix(".url")
            for key in self.config
            if key.startswith("remote.") and key.endswith(".url")
        )

    def push_urls(self, remote: str) -> list[str]:
        """Where pushes to a remote go, as the configuration has it."""
        return self.values(f"remote.{remote}.pushurl") or self.values(f"remote.{remote}.url")

    def push_address(self, remote: str) -> str:
        """Where pushes to a remote go; empty if nothing says it."""
        return self._asked("remote", "get-url", "--push", "--", remote, fine=(0, 2)).text

    def ask_remote_head(self, remote: str, timeout: float, *also: str) -> Done:
        """Ask the remote what its HEAD names, and for other refs by the end of their names (git-ls-remote)."""
        asked = ("ls-remote", "--symref", "--", remote, "HEAD", *also)
        return self._run(*asked, timeout=timeout, session=True)

    def ask_branches(self, remote: str, timeout: float) -> Done:
        """Ask the remote for all of its branches."""
        return self._run("ls-remote", "--heads", "--", remote, timeout=timeout, session=True)

    def ask_branch(self, remote: str, branch: str, timeout: float) -> Done:
        """Ask the remote where a branch is (git-ls-remote)."""
        return self._run("ls-remote", "--", remote, f"refs/heads/{branch}", timeout=timeout, session=True)

    def fetch(self, remote: str, branch: str) -> Underway:
        """Start fetching one branch into its remote-tracking ref, by fast-forward only; nothing else is touched."""
        refs = f"refs/heads/{branch}:refs/remotes/{remote}/{branch}"
        return self._start([*_FETCH, "--", remote, refs], session=True)

    def fetch_branch(self, remote: str, branch: str, timeout: float) -> Done:
        """Get the commits of a branch and move no ref."""
        return self._run(*_FETCH, "--", remote, f"refs/heads/{branch}", timeout=timeout, session=True)

    def fetch_objects(self, remote: str, oids: Sequence[str], timeout: float) -> None:
        """Fetch objects that a partial clone lacks, in one go; what does not come is missed when read."""
        self._run(
            "-c",
            "fetch.negotiationAlgorithm=noop",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--filter=blob:none",
            "--stdin",
            "--",
            remote,
            stdin="".join(f"{oid}\n" for oid in oids).encode(),
            timeout=timeout,
            session=True,
        )

    def missing(self, tree: str) -> list[str]:
        """The objects below a tree that this partial clone lacks."""
        done = self._asked("rev-list", "--objects", "--missing=print", tree)
        return [line[1:] for line in done.text.split("\n") if line.startswith("?")]

    @contextmanager
    def pattern(self, commit: str, branch: str) -> Iterator[str]:
        """A refspec that pushes a commit to a branch and cannot mean any other, whatever the remote has.

        Where that has a branch or tag called `refs/heads/<branch>`, the plain one fits that as well; a pattern
        fits whole names only, but wants a ref to come from (git-push, *refspec*).
        """
        ref = f"refs/kt/{commit}/{branch}"
        self._must("update-ref", ref, commit)
        try:
            yield f"refs/kt/{commit}/*:refs/heads/*"
        finally:
            self._run("update-ref", "-d", ref, session=True)

    def push(
        self, remote: str, commit: str, branch: str, lease: str | None = None, refspec: str | None = None
    ) -> Push:
        """Start pushing exactly that commit to exactly that branch.

        By fast-forward only; with a ``lease`` if the branch still is at that commit (empty: does not exist).
        ``refspec`` is what `pattern` gives.
        """
        held = () if lease is None else (f"--force-with-lease=refs/heads/{branch}:{lease}",)
        args = [
            *("-c", "push.followTags=false", "-c", "push.recurseSubmodules=no"),
            *("push", "--porcelain", "--no-progress", *held, "--"),
            *(remote, refspec or f"{commit}:refs/heads/{branch}"),
        ]
        account, env = None, {}
        if self._may_trace():
            # On stderr, which is drained whatever comes: a file could not be written, and nobody would know.
            account, env = Account(), dict.fromkeys(_TRACES, "2")
            if self._is_path(remote):
                # Hooks over there would inherit it.
                program = self.config.get(f"remote.{remote}.receivepack", "git-receive-pack")
                unset = " ".join(f"-u {name}" for name in _TRACES)
                args.insert(args.index("--"), f"--receive-pack=env {unset} {program}")
        return Push(self._start(args, env=env, session=True, on_stderr=account), account)

    def _may_trace(self) -> bool:
        """Whether git's trace of a push is ours alone: a hook of this clone would see it, and the user may want it."""
        hooks = self.common_dir / "hooks"
        if "core.hookspath" in self.config:
            hooks = (self.toplevel or self.git_dir) / Path(self.config["core.hookspath"]).expanduser()
        is_asked = any(name in os.environ for name in _TRACES)
        rewritten = any(key.endswith("insteadof") for key in self.config)
        return not (is_asked or rewritten or (hooks / "pre-push").exists())

    def _is_path(self, remote: str) -> bool:
        """Whether a remote is a folder of this machine."""
        where = (self.push_urls(remote) or [remote])[-1].removeprefix("file://")
        return os.path.isdir(os.path.join(self.toplevel or self.git_dir, where))  # noqa: PTH112, PTH118 - names too long


class Account:
    """What git's own trace says of a push while it goes on."""

    def __init__(self) -> None:
        self.has_begun = self.has_sent = False
        self._rest = b""

    def __call__(self, said: bytes) -> None:
        *lines, rest = (self._rest + said).split(b"\n")
        self._rest = rest[-_LONGEST_LINE:]
        for line in lines:
            self.has_begun |= b" push " in line
            self.has_sent |= _COMMANDS.search(line) is not None


class Push:
    """A push from its start to its end."""

    def __init__(self, process: Underway, account: Account | None) -> None:
        self._process = process
        self._account = account

    def answer(self, timeout: float) -> Done | None:
        """Its end, None if there is none within ``timeout`` seconds; it may be asked again."""
        return self._process.answer(timeout)

    def give_up(self) -> None:
        """End it if it has not ended."""
        self._process.give_up()

    def has_sent(self) -> bool:
        """Whether something is known to have been sent by now."""
        return self._account is not None and self._account.has_sent

    def may_have_sent(self) -> bool:
        """Whether anything may have been sent by now: git sends nothing before the remote has said where its refs are.

        To be asked once it has ended. Where git's trace cannot tell, it may.
        """
        # Without the line on its own start nothing was traced at all.
        return self._account is None or not self._account.has_begun or self._account.has_sent
