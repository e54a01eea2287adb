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
# git's trace of the processes that it starts and of what it exchanges with the remote. It has a push's
# commands.
_TRACES = ("GIT_TRACE", "GIT_TRACE_PACKET")
_LONGEST_LINE = 1 << 16
_COMMANDS = re.compile(rb"> [0-9a-f]{40,64} [0-9a-f]{40,64} refs/")


class Remotes(Git):
    """The remotes of a repository. Slow operations are started here, and the caller waits for them."""

    def remotes(self) -> frozenset[str]:
        """The names of the configured remotes."""
        return frozenset(
            key.removeprefix("remote.").removesuffix(".url")
            for key in self.config
            if key.startswith("remote.") and key.endswith(".url")
        )

    def push_urls(self, remote: str) -> list[str]:
        """The addresses of pushes to a remote, from the configuration."""
        return self.values(f"remote.{remote}.pushurl") or self.values(f"remote.{remote}.url")

    def push_address(self, remote: str) -> str:
        """The address of pushes to a remote. Empty if there is none."""
        return self._asked("remote", "get-url", "--push", "--", remote, fine=(0, 2)).text

    def ask_remote_head(self, remote: str, timeout: float, *also: str) -> Done:
        """Ask the remote for the branch of its HEAD, and for other refs whose names end like this (git-ls-remote)."""
        asked = ("ls-remote", "--symref", "--", remote, "HEAD", *also)
        return self._run(*asked, timeout=timeout, session=True)

    def ask_branches(self, remote: str, timeout: float) -> Done:
        """Ask the remote for all of its branches."""
        return self._run("ls-remote", "--heads", "--", remote, timeout=timeout, session=True)

    def ask_branch(self, remote: str, branch: str, timeout: float) -> Done:
        """Ask the remote where a branch is (git-ls-remote)."""
        return self._run("ls-remote", "--", remote, f"refs/heads/{branch}", timeout=timeout, session=True)

    def fetch(self, remote: str, branch: str) -> Underway:
        """Start to fetch one branch into its remote-tracking ref, only by fast-forward. Nothing else changes."""
        refs = f"refs/heads/{branch}:refs/remotes/{remote}/{branch}"
        return self._start([*_FETCH, "--", remote, refs], session=True)

    def fetch_branch(self, remote: str, branch: str, timeout: float) -> Done:
        """Fetch the commits of a branch, and move no ref."""
        return self._run(*_FETCH, "--", remote, f"refs/heads/{branch}", timeout=timeout, session=True)

    def fetch_objects(self, remote: str, oids: Sequence[str], timeout: float) -> None:
        """Fetch objects that a partial clone lacks, with one command.

        If an object does not come, it is missing when it is read.
        """
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
        """A refspec that pushes a commit to exactly this branch, whatever other refs the remote has.

        If the remote has a branch or tag called `refs/heads/<branch>`, a plain refspec is ambiguous. A
        pattern matches only whole names, but needs a ref as its source (git-push, *refspec*).
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
        """Start to push exactly this commit to exactly this branch.

        Only by fast-forward. With a ``lease``, only if the branch is still at that commit (empty: does not
        exist). ``refspec`` is the result of `pattern`.
        """
        held = () if lease is None else (f"--force-with-lease=refs/heads/{branch}:{lease}",)
        args = [
            *("-c", "push.followTags=false", "-c", "push.recurseSubmodules=no"),
            *("push", "--porcelain", "--no-progress", *held, "--"),
            *(remote, refspec or f"{commit}:refs/heads/{branch}"),
        ]
        trace, env = None, {}
        if self._may_trace():
            # The trace goes to stderr, which is always read. If it went to a file, a failed write would be
            # unnoticed.
            trace, env = PushTrace(), dict.fromkeys(_TRACES, "2")
            if self._is_path(remote):
                # Hooks on the remote would inherit it.
                program = self.config.get(f"remote.{remote}.receivepack", "git-receive-pack")
                unset = " ".join(f"-u {name}" for name in _TRACES)
                args.insert(args.index("--"), f"--receive-pack=env {unset} {program}")
        return Push(self._start(args, env=env, session=True, on_stderr=trace), trace)

    def _may_trace(self) -> bool:
        """Whether kt may trace a push. A hook of this clone would see the trace, and the user may have set one."""
        hooks = self.common_dir / "hooks"
        if "core.hookspath" in self.config:
            hooks = (self.toplevel or self.git_dir) / Path(self.config["core.hookspath"]).expanduser()
        is_asked = any(name in os.environ for name in _TRACES)
        rewritten = any(key.endswith("insteadof") for key in self.config)
        return not (is_asked or rewritten or (hooks / "pre-push").exists())

    def _is_path(self, remote: str) -> bool:
        """Whether a remote is a folder on this machine."""
        where = (self.push_urls(remote) or [remote])[-1].removeprefix("file://")
        return os.path.isdir(os.path.join(self.toplevel or self.git_dir, where))  # noqa: PTH112, PTH118 - names too long


class PushTrace:
    """Reads git's trace of a push while it runs."""

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

    def __init__(self, process: Underway, trace: PushTrace | None) -> None:
        self._process = process
        self._trace = trace

    def answer(self, timeout: float) -> Done | None:
        """The finished process, or None if it does not end within ``timeout`` seconds. It can be called again."""
        return self._process.answer(timeout)

    def give_up(self) -> None:
        """Stop it if it is still running."""
        self._process.give_up()

    def has_sent(self) -> bool:
        """Whether git is known to have sent something."""
        return self._trace is not None and self._trace.has_sent

    def may_have_sent(self) -> bool:
        """Whether git may have sent anything. It sends nothing before the remote has listed its refs.

        To be called after the end of the push. If the trace does not tell, the answer is yes.
        """
        # If the line about git's own start is missing, nothing was traced at all.
        return self._trace is None or not self._trace.has_begun or self._trace.has_sent
