"""git, one function per question; the only module that imports GitPython.

Every call names its repository, passes values after `--` or as full object ids, speaks the C locale,
can never prompt, and inherits nothing that could point it at another repository, index or date; the user's
settings that would change what git answers to a program are switched off (`_OURS`), and refs are named whole
(design, section 5). The processes of a repository are started here: GitPython, whose import costs
more than a whole listing, runs git only where a repository is yet to be made.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, NamedTuple

from ..core.progress import Progress, Wait
from ..errors import GitFailed, NotAStore
from . import sshsig, trees
from .commit_signature import MAX_COMMIT, Kind, signature_of
from .objects import Object, Objects, TreeEntry, chunks, pack_of
from .people import Author, author_of
from .process import (
    BUFFER,
    ENVIRONMENT,
    Done,
    Underway,
    attend,
    environment,
    finish,
    line_ended,
    no_git,
    nul_ended,
    ready,
    widen,
)

MINIMUM = (2, 39)
_WAITING = "waiting for git"

#: Objects, references and the index reach the disk before git says done (git-config, core.fsync).
_FLUSH = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync")
#: Hooks of the checkout have nothing to do with bringing it along.
_NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")
# What the user may have set for reading at a terminal, and what would change an answer or be fatal to it (git-config).
# It costs less than a tenth of a millisecond. What the arguments of a call say already is not here.
_OURS = tuple(
    word
    for setting in (
        *("color.ui=false", "color.branch=false", "color.diff=false", "color.grep=false"),
        *("core.quotePath=false", "core.warnAmbiguousRefs=false"),
        *(f"diff.orderFile={os.devnull}", "diff.relative=false", "diff.renames=false", "diff.noprefix=false"),
        *("diff.ignoreSubmodules=none", "diff.submodule=short"),
        "fetch.writeCommitGraph=false",
        *("grep.column=false", "grep.extendedRegexp=false", "grep.fullName=true", "grep.lineNumber=false"),
        "grep.patternType=basic",
        *("i18n.commitEncoding=UTF-8", "i18n.logOutputEncoding=UTF-8"),
        *("log.decorate=false", "log.diffMerges=separate", "log.follow=false", "log.mailmap=false"),
        *("log.showRoot=true", "log.showSignature=false"),
        "submodule.recurse=false",
    )
    for word in ("-c", setting)
)
_NO_MAINTENANCE = ("-c", "gc.auto=0", "-c", "maintenance.auto=false")

# From this many new objects on, a pack is kept as one file instead of many loose ones.
_KEEP_PACK = 200
# Objects never change, so nobody may write to them.
_LOOSE_MODE = 0o444
# What a symbolic ref's file says; of `refs/heads/.invalid` git says itself what it stands for (reftable).
_SYMBOLIC = re.compile(r"ref: (refs/(?!heads/\.invalid)\S+)\n?")
# What git takes a name for where there is no ref of just that name (gitrevisions).
_MEANT_AS_WELL = ("refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}", "refs/remotes/{}/HEAD")
# What a revision begins with, a name, and what follows it; and such names as are no branch's.
_REVISION = re.compile(r"((?:[^~^:@]|@(?!\{))+)((?:[~^:]|@\{).*)?", re.DOTALL)
_NOT_A_REF = re.compile(r"@|[A-Z_]*HEAD|[0-9a-f]{40}|[0-9a-f]{64}")
_UPSTREAM = re.compile(r"@\{(u|upstream|push)\}", re.IGNORECASE)

_LAZY_FETCH_SECONDS = 120.0
# git takes about 10 ms to check a signature; whoever is in a hurry looks at the clock in between. And so many
# commits of the largest size are held at a time.
_SIGNATURES_AT_ONCE = 25


_FETCH = (
    *(*_NO_MAINTENANCE, "fetch", "--no-progress", "--no-tags"),
    *("--no-write-fetch-head", "--no-recurse-submodules", "--no-prune", "--refmap="),
)
# All that differs, whatever the user's settings or a .gitmodules in the tree would leave out.
_RAW = ("-z", "--raw", "--no-abbrev", "--no-renames", "--ignore-submodules=none")
_LOG = (*_RAW, "--topo-order", "--full-history", "--format=%x01%H%n%an%n%ae%n%ct%x00")
# Who acts, from the user's own settings and nothing guessed.
_WHO = ("-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT")
_NAMED = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL")


class SignatureFacts(NamedTuple):
    """What is known of a commit's signature, as `Repository.signatures` says it.

    Of a key that has expired by now it is also told when the signature was made and when the key expired, in
    seconds since 1970. ``why`` says what is wrong where the verdict alone does not.
    """

    verdict: str
    keys: tuple[str, ...] = ()
    made: int | None = None
    expired: int | None = None
    why: str = ""


class Repository:
    """One repository as git sees it from a folder.

    ``quarantined`` is for a server's hook, which looks at objects that are not taken in yet. ``progress`` is
    told while git has been asked something and says nothing.
    Raises NotAStore where there is none, GitFailed where git will not touch it.
    """

    def __init__(self, start: Path, *, quarantined: bool = False, progress: Progress | None = None) -> None:
        self._quarantined = quarantined
        self._progress = progress
        self._author: tuple[tuple[str | None, ...], Author] | None = None
        # Where git puts what it writes, while that is not into the repository.
        self._apart: dict[str, str] = {}
        self._folder = start
        self._base: tuple[str, ...] = ("git", "--no-pager")
        if not os.path.isdir(start):  # noqa: PTH112 - a Path's own is_dir raises for a name too long
            raise _no_folder(str(start))
        # Both are asked at once: opening a store takes as long as one git process.
        configured = self._start(("config", "--null", "--list"))
        asked = self._run(
            "rev-parse",
            "--absolute-git-dir",
            "--git-common-dir",
            "--show-object-format",
            "--is-inside-work-tree",
            "--show-toplevel",
        )
        #: All of git's configuration here, the last value of each key; a key without a value is true.
        self.config = _settings(finish(configured, None, None, session=False).out)
        lines = asked.text.split("\n")
        if len(lines) < 4:
            if "not a git repository" in asked.err:
                raise NotAStore(where=str(start), problem="it is not in a git repository")
            raise GitFailed(command="rev-parse", words=asked.words)
        self.git_dir = Path(lines[0])
        self.common_dir = (start / lines[1]).resolve()
        self.object_format = lines[2]
        self.toplevel = Path(lines[4]) if lines[3] == "true" and len(lines) > 4 else None
        self._folder = self.toplevel or self.git_dir
        self._base += (f"--git-dir={self.git_dir}",)
        if self.toplevel:
            self._base += (f"--work-tree={self.toplevel}",)
        self._base += _OURS
        self.objects = self.reader()

    @property
    def is_settled(self) -> bool:
        """Whether every object that is read is in the repository itself, where another process finds it as well."""
        return not self._quarantined and not self._apart

    # --- running ----------------------------------------------------------------------------------

    def _start(
        self,
        args: Sequence[str],
        *,
        stdin: bool = False,
        env: Mapping[str, str] | None = None,
        session: bool = False,
        program: Sequence[str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start git; with ``session`` beyond the reach of a signal to our terminal."""
        try:
            return subprocess.Popen(
                [*(program or self._base), *args],
                cwd=self._folder,
                env={**environment(self._quarantined), **self._apart, **(env or {})},
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=session,
                bufsize=BUFFER,
            )
        except FileNotFoundError as error:
            if error.filename == self._folder:
                raise _no_folder(str(self._folder)) from error
            raise no_git(error.strerror or str(error)) from error

    def _run(
        self,
        *args: str,
        stdin: bytes | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        session: bool = False,
    ) -> Done:
        process = self._start(args, stdin=stdin is not None, env=env, session=session)
        # What writes may ask for a passphrase on this terminal; only what reads is told of.
        if timeout is None and not session:
            wait = Wait(self._progress, _WAITING)
            while (done := attend(process, stdin, wait.seconds)) is None:
                stdin = None
                wait.lasts()
            wait.ends()
            return done
        return finish(process, stdin, timeout, session)

    def _must(self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> Done:
        """Run a command that writes and has no reason to fail."""
        done = self._run(*args, stdin=stdin, env=env, session=True)
        if done.status != 0:
            command = next(arg for arg in args if not arg.startswith("-") and "=" not in arg)
            raise GitFailed(command=command, words=done.words)
        return done

    # --- configuration and people -----------------------------------------------------------------

    def flag(self, key: str) -> bool:
        """A boolean of the configuration, as git reads it."""
        return self.config.get(key, "").lower() in ("true", "yes", "on", "1")

    @cached_property
    def is_partial(self) -> bool:
        """Whether objects may be missing here and fetched when read (partial clone)."""
        return any(key.endswith((".promisor", ".partialclonefilter")) for key in self.config)

    @property
    def is_shallow(self) -> bool:
        """Whether history is cut off here."""
        return (self.common_dir / "shallow").exists()

    def remotes(self) -> frozenset[str]:
        """The names of the configured remotes."""
        return frozenset(
            key.removeprefix("remote.").removesuffix(".url")
            for key in self.config
            if key.startswith("remote.") and key.endswith(".url")
        )

    def author(self) -> Author:
        """Who acts, from the user's own settings and nothing guessed. Raises NoIdentity.

        Asked again when the environment names somebody else; like the rest of the configuration it
        is otherwise as it was when the repository was opened.
        """
        named = tuple(os.environ.get(name) for name in _NAMED)
        if self._author is None or self._author[0] != named:
            done = self._run(*_WHO)
            self._author = (named, author_of(done.status, done.text))
        return self._author[1]

    def inside(self, folder: Path) -> str:
        """A folder's path below the repository's top, empty at the top and outside a checkout."""
        if self.toplevel is None:
            return ""
        path = folder.resolve().relative_to(self.toplevel.resolve()).as_posix()
        return "" if path == "." else path

    def configure(self, key: str, value: str) -> None:
        """Set a key of this clone's configuration."""
        self._must("config", key, value)

    def own_setting(self, key: str) -> str | None:
        """The value of a key in this repository's own configuration file, None if it is not set there."""
        done = self._run("config", "--local", "--get", key)
        return done.text if done.status == 0 else None

    def forget(self, key: str) -> None:
        """Remove a key from this repository's own configuration file."""
        self._run("config", "--local", "--unset-all", key, session=True)

    @cached_property
    def is_bare(self) -> bool:
        """Whether nothing is checked out from this repository; a `.git` folder of a clone is not bare."""
        return self._run("rev-parse", "--is-bare-repository").text == "true"

    def hooks_folder(self) -> Path:
        """Where git looks for the hooks of pushes to this repository (git-config, `core.hooksPath`)."""
        asked = subprocess.run(
            ["git", "--git-dir=.", "rev-parse", "--git-path", "hooks"],
            cwd=self.git_dir,
            env=environment(),
            capture_output=True,
            check=False,
        )
        if asked.returncode != 0:
            words = Done(asked.returncode, b"", asked.stderr.decode(errors="replace")).words
            raise GitFailed(command="rev-parse", words=words)
        return (self.git_dir / os.fsdecode(asked.stdout).rstrip("\n")).resolve()

    def version(self) -> tuple[int, ...]:
        """The version of git."""
        found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", self._run("version").text)
        return tuple(int(part) for part in found.groups() if part) if found else (0,)

    # --- refs -------------------------------------------------------------------------------------

    def tip_of(self, ref: str) -> str | None:
        """The commit that a full ref is at, None if there is no such ref; costs no process of its own.

        Where there is none, git would take a tag called `refs/heads/main` for it (gitrevisions): that is no
        such ref.
        """
        oid = self._ref(ref) if ref.startswith("refs/") else ref
        return self.objects.id_of(f"{oid}^{{commit}}") if oid and not _is_odd(oid) else None

    def _ref(self, ref: str) -> str | None:
        """The id of the object that a full ref is at, None if there is no ref of just that name."""
        if _is_odd(ref):
            return None
        found, *alike = self.objects.ids_of([ref, *(rule.format(ref) for rule in _MEANT_AS_WELL)])
        if found is None or not any(alike):
            return found
        done = self._run("show-ref", "--verify", "--hash", "--", ref)
        return done.text if done.status == 0 else None

    def commit_of(self, rev: str) -> str | None:
        """The commit that a revision names as a user gives it (gitrevisions), None if it names none.

        A branch comes before a tag of the same name, and before all else a ref that is named whole.
        """
        rev = self._whole(rev)
        done = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}")
        # Before 2.43, rev-parse repeats --end-of-options in its answer.
        answer = done.text.split("\n")[-1]
        return answer if done.status == 0 and re.fullmatch(r"[0-9a-f]{40,64}", answer) else None

    def _whole(self, rev: str) -> str:
        """A revision with the id, or for its reflog the whole name, of the ref that it begins with."""
        found = _REVISION.fullmatch(rev)
        if found is None or _NOT_A_REF.fullmatch(found[1]) or _UPSTREAM.match(found[2] or ""):
            return rev
        name, rest = found[1], found[2] or ""
        places: tuple[str, ...] = ("refs/heads/", "refs/remotes/", "refs/tags/")
        if name.startswith("refs/"):
            places = ("",)
        elif name.startswith(("heads/", "remotes/", "tags/")):
            places = ("refs/",)
        for place in places:
            oid = self._ref(f"{place}{name}")
            if oid is not None:
                return f"{place}{rev}" if rest.startswith("@{") else f"{oid}{rest}"
        return "" if name.startswith("refs/") else rev

    def head_branch(self) -> str | None:
        """The branch that is checked out, None for a detached head."""
        return self._named(self.git_dir, "HEAD", "refs/heads/")

    def remote_head(self, remote: str) -> str | None:
        """The branch that the remote's HEAD named when it was last asked."""
        prefix = f"refs/remotes/{remote}/"
        return self._named(self.common_dir, f"{prefix}HEAD", prefix)

    def _named(self, folder: Path, ref: str, prefix: str) -> str | None:
        """The ref that a symbolic ref names, without the prefix; None if it is none or names another.

        It is a file of one line (gitrepository-layout), read without a process. Where refs are kept
        in another way there is none, or one that names ``.invalid``; then git is asked.
        """
        found = None
        with suppress(OSError):
            found = _SYMBOLIC.fullmatch(os.fsdecode((folder / ref).read_bytes()))
        name = found[1] if found else self._run("symbolic-ref", "--quiet", ref).text
        return name.removeprefix(prefix) if name.startswith(prefix) else None

    def ask_remote_head(self, remote: str, timeout: float, *also: str) -> Done:
        """Ask the remote what its HEAD names, and for other refs by the end of their names (git-ls-remote)."""
        asked = ("ls-remote", "--symref", "--", remote, "HEAD", *also)
        return self._run(*asked, timeout=timeout, session=True)

    def ask_branches(self, remote: str, timeout: float) -> Done:
        """Ask the remote for all of its branches."""
        return self._run("ls-remote", "--heads", "--", remote, timeout=timeout, session=True)

    def branches(self) -> list[str]:
        """The branches of this repository."""
        return self._run("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").text.split()

    def remember_remote_head(self, remote: str, branch: str) -> None:
        """Remember it as `git remote set-head` does."""
        prefix = f"refs/remotes/{remote}/"
        self._must("symbolic-ref", f"{prefix}HEAD", f"{prefix}{branch}")

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether ``new`` contains ``old``; both are commit ids."""
        return self._run("merge-base", "--is-ancestor", old, new).status == 0

    def update_ref(self, ref: str, new: str, old: str | None, message: str) -> bool:
        """Move a ref if it still is at ``old`` (None: if it does not exist), flushed; whether it moved."""
        before = old if old is not None else "0" * len(new)
        done = self._run(*_FLUSH, "update-ref", "-m", message, ref, new, before, session=True)
        if done.status != 0 and not _is_race(done.err):
            raise GitFailed(command="update-ref", words=done.words)
        return done.status == 0

    def set_tracking(self, remote: str, branch: str, commit: str) -> None:
        """Make the remote-tracking ref say what a push has just made true; a failure is mended by the next fetch.

        The push has done so itself where the remote's refspecs cover the branch.
        """
        ref = f"refs/remotes/{remote}/{branch}"
        if self.tip_of(ref) != commit:
            self._run("update-ref", ref, commit, session=True)

    # --- network ----------------------------------------------------------------------------------

    def fetch(self, remote: str, branch: str) -> Underway:
        """Start fetching one branch into its remote-tracking ref, by fast-forward only; nothing else is touched."""
        refs = f"refs/heads/{branch}:refs/remotes/{remote}/{branch}"
        return Underway(self._start([*_FETCH, "--", remote, refs], session=True))

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
        done = self._run("rev-list", "--objects", "--missing=print", tree)
        return [line[1:] for line in done.text.split("\n") if line.startswith("?")]

    def folders(self, commit: str) -> list[str]:
        """All folders of a commit."""
        return self._run("ls-tree", "-r", "-d", "-z", "--name-only", commit).text.split("\0")[:-1]

    def files(self, tree: str) -> Iterator[tuple[str, TreeEntry]]:
        """All files below a tree with their paths, in git's order, a little at a time. Raises GitFailed."""
        for line in nul_ended(self._stream("ls-tree", "-r", "-z", "--full-tree", tree)):
            facts, _, path = os.fsdecode(line).partition("\t")
            mode, _, oid = facts.split(" ")
            yield path, TreeEntry(mode, path.rpartition("/")[2], oid)

    def grep(self, commit: str, pattern: str, folder: str, leave_out: str) -> list[str]:
        """The files below a folder of a commit that hold a line of a basic regular expression.

        ``leave_out`` is a pattern (gitglossary, *pathspec*, glob) of files below it that are not searched.
        """
        inside = "".join(f"\\{char}" if char in "*?[\\" else char for char in folder)
        where = [f":(top,literal){folder}", f":(top,glob,exclude){inside}/{leave_out}"]
        done = self._run("grep", "-G", "-a", "-l", "-z", "--full-name", "-e", pattern, commit, "--", *where)
        return [name.partition(":")[2] for name in done.text.split("\0") if name]

    def is_branch_name(self, name: str) -> bool:
        """Whether a branch may be called that (git-check-ref-format)."""
        return self._run("check-ref-format", f"refs/heads/{name}").status == 0

    def push_address(self, remote: str) -> str:
        """Where pushes to a remote go; empty if nothing says it."""
        return self._run("remote", "get-url", "--push", "--", remote).text

    def ask_branch(self, remote: str, branch: str, timeout: float) -> Done:
        """Ask the remote where a branch is (git-ls-remote)."""
        return self._run("ls-remote", "--", remote, f"refs/heads/{branch}", timeout=timeout, session=True)

    def fetch_branch(self, remote: str, branch: str, timeout: float) -> Done:
        """Get the commits of a branch and move no ref."""
        return self._run(*_FETCH, "--", remote, f"refs/heads/{branch}", timeout=timeout, session=True)

    def emails(self, revisions: Sequence[str]) -> frozenset[str]:
        """The authors' e-mails of the commits that the revisions name."""
        done = self._run("log", "-z", "--format=%ae", *revisions)
        return frozenset(done.text.split("\0")) - {""}

    def email_of(self, commit: str) -> str:
        """The author's e-mail of a commit."""
        return self._run("log", "--no-walk", "--no-show-signature", "--format=%ae", commit).text

    def changed(self, old: str, new: str) -> frozenset[str]:
        """All paths that differ between two commits."""
        done = self._run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)
        return frozenset(done.text.split("\0")) - {""}

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
    ) -> Underway:
        """Start pushing exactly that commit to exactly that branch.

        By fast-forward only; with a ``lease`` if the branch still is at that commit (empty: does not exist).
        ``refspec`` is what `pattern` gives.
        """
        held = () if lease is None else (f"--force-with-lease=refs/heads/{branch}:{lease}",)
        return Underway(
            self._start(
                [
                    "-c",
                    "push.followTags=false",
                    "-c",
                    "push.recurseSubmodules=no",
                    "push",
                    "--porcelain",
                    "--no-progress",
                    *held,
                    "--",
                    remote,
                    refspec or f"{commit}:refs/heads/{branch}",
                ],
                session=True,
            )
        )

    # --- objects ----------------------------------------------------------------------------------

    def reader(self) -> Objects:
        """A reader of objects of its own, to be asked beside `objects`."""
        command = ["cat-file", "--batch-command", "--buffer"]
        patience = _LAZY_FETCH_SECONDS if self.is_partial else None
        return Objects(lambda: self._start(command, stdin=True), patience)

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """Let objects that are written meanwhile go to a folder of their own, which is removed at the end."""
        # Quoted, as a colon would separate two folders (git, GIT_ALTERNATE_OBJECT_DIRECTORIES).
        own = str(self.common_dir / "objects").replace("\\", "\\\\").replace('"', '\\"')
        with tempfile.TemporaryDirectory(prefix="kt-") as folder:
            self.objects.close()
            self._apart = {"GIT_OBJECT_DIRECTORY": folder, "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{own}"'}
            try:
                yield
            finally:
                self.objects.close()
                self._apart = {}

    def object_id(self, kind: str, data: bytes) -> str:
        """The id that git gives to an object (gitformat-loose; sha1 or sha256 by the repository)."""
        import hashlib

        return hashlib.new(
            self._hash_name, b"%s %d\0" % (kind.encode(), len(data)) + data, usedforsecurity=False
        ).hexdigest()

    @property
    def _hash_name(self) -> str:
        return "sha256" if self.object_format == "sha256" else "sha1"

    def parse_tree(self, data: bytes) -> list[TreeEntry]:
        """The entries of a raw tree object. Raises UnreadableStore for one that git would not have written."""
        return trees.parse(data, self._width)

    def tree_lines(self, data: bytes) -> dict[bytes, bytes]:
        """The lines of a raw tree object by name, each as it is: to change few of many."""
        return {name: b"%s %s\0%s" % (mode, name, oid) for mode, name, oid in trees.lines(data, self._width)}

    @property
    def _width(self) -> int:
        """The length of an id in a tree."""
        return 32 if self.object_format == "sha256" else 20

    @staticmethod
    def join_tree(lines: Mapping[bytes, bytes]) -> bytes:
        """A raw tree object of these lines, in git's order: folders sort as if their names ended in a slash."""
        ordered = sorted(
            (name + b"/" if trees.is_folder(line.partition(b" ")[0]) else name, line)
            for name, line in lines.items()
        )
        return b"".join(line for _, line in ordered)

    @staticmethod
    def tree_line(entry: TreeEntry) -> bytes:
        """One line of a raw tree object."""
        return b"%s %s\0%s" % (entry.mode.encode(), os.fsencode(entry.name), bytes.fromhex(entry.oid))

    def write_objects(self, objects: Sequence[tuple[str, str, bytes]], *, flush: bool) -> None:
        """Store objects (id, kind, bytes): a few as git's loose ones, many as one pack that is kept.

        A process of git's costs more than writing these files. Where a repository is shared between
        users, git knows whose they must be.
        """
        if len(objects) < _KEEP_PACK and "core.sharedrepository" not in self.config:
            for oid, kind, data in objects:
                self._write_loose(oid, kind, data, flush=flush)
            return
        packed = pack_of([(kind, data) for _, kind, data in objects], self._hash_name)
        command = ("index-pack", "--stdin") if len(objects) >= _KEEP_PACK else ("unpack-objects", "-q")
        self._must(*(_FLUSH if flush else ()), *command, stdin=packed)

    def _write_loose(self, oid: str, kind: str, data: bytes, *, flush: bool) -> None:
        """Store one object under its name, whole or not at all (gitformat-loose)."""
        folder = self._apart.get("GIT_OBJECT_DIRECTORY") or self.common_dir / "objects"
        path = Path(folder) / oid[:2] / oid[2:]
        if path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        # What is left of one who was killed meanwhile is removed by `git gc`, by this name.
        part = path.with_name(f"tmp_obj_{os.urandom(8).hex()}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _LOOSE_MODE), "wb") as file:
                file.write(zlib.compress(b"%s %d\0%s" % (kind.encode(), len(data), data), 1))
                if flush:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def pack(self, wanted: Sequence[str], *, history: bool) -> Iterator[bytes]:
        """A pack in chunks: of just these objects or, with ``history``, of all that these commits lead to.

        Raises GitFailed where one is missing.
        """
        command = ("pack-objects", "--stdout", "-q", *(("--revs",) if history else ()))
        yield from self._stream(*command, stdin="".join(f"{oid}\n" for oid in wanted).encode())

    @property
    def signs(self) -> bool:
        """Whether the user's git signs commits."""
        return self.flag("commit.gpgsign")

    @staticmethod
    def format_commit(tree: str, parents: Sequence[str], message: str, author: Author, seconds: int) -> bytes:
        """A raw commit object without a signature, as commit-tree makes it; author and committer are the same."""
        above = "".join(f"parent {parent}\n" for parent in parents)
        who = f"{author.name} <{author.email}> {seconds} +0000"
        return f"tree {tree}\n{above}author {who}\ncommitter {who}\n\n{message}".encode(
            errors="surrogateescape"
        )

    def signed_commit(
        self, tree: str, parents: Sequence[str], message: str, author: Author, seconds: int, *, flush: bool
    ) -> str:
        """Write a commit that the user's git signs; author and committer are the same."""
        date = f"@{seconds} +0000"
        who = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", author.name), ("EMAIL", author.email), ("DATE", date))
        }
        above = [word for parent in parents for word in ("-p", parent)]
        done = self._must(
            *(_FLUSH if flush else ()),
            "commit-tree",
            "-S",
            *above,
            tree,
            stdin=message.encode(),
            env=who,
        )
        return done.text

    # --- the checkout -----------------------------------------------------------------------------

    def fast_forward(self, commit: str, action: str, *, flush: bool) -> Underway:
        """Bring branch, index and files along as `git merge --ff-only` does: all of it, or nothing.

        It refuses where that would touch anything that the user has changed, and does nothing where the
        branch has the commit already.
        """
        # Whether the repository wants tidying costs a process to ask: one commit in sixteen is enough.
        tidy = () if commit.endswith("0") else _NO_MAINTENANCE
        options = (
            "--ff-only",
            "--no-squash",
            "--quiet",
            "--no-stat",
            "--no-autostash",
            "--no-verify-signatures",
        )
        args = [*_NO_HOOKS, *tidy, *(_FLUSH if flush else ()), "merge", *options, commit]
        return Underway(self._start(args, env={"GIT_REFLOG_ACTION": action}, session=True))

    def worktree_of(self, branch: str) -> Path | None:
        """The linked or main worktree that has a branch checked out."""
        current: Path | None = None
        for line in self._run("worktree", "list", "--porcelain", "-z").text.split("\0"):
            if line.startswith("worktree "):
                current = Path(line.removeprefix("worktree "))
            elif line == f"branch refs/heads/{branch}":
                return current
        return None

    def index_entries(self, paths: Sequence[str]) -> dict[str, tuple[str, str]]:
        """(mode, id) of paths in the index; an unmerged path has mode ``unmerged``."""
        found: dict[str, tuple[str, str]] = {}
        for some in chunks(paths):
            done = self._run(
                "ls-files", "--stage", "-z", "--full-name", "--", *some, env={"GIT_LITERAL_PATHSPECS": "1"}
            )
            for line in done.text.split("\0"):
                if line:
                    facts, _, path = line.partition("\t")
                    mode, oid, stage = facts.split(" ")
                    found[path] = (mode, oid) if stage == "0" else ("unmerged", oid)
        return found

    def modified(self, paths: Sequence[str]) -> set[str]:
        """Those of the paths whose file differs from the index, in more than its times (`git diff-files` tells both)."""
        found: set[str] = set()
        options = ("--no-ext-diff", "--no-relative", "--no-renames", "--name-only", "-z")
        for some in chunks(paths):
            done = self._run(
                "-c", "diff.autoRefreshIndex=true", "diff", *options, "--", *some,
                env={"GIT_LITERAL_PATHSPECS": "1"},
            )  # fmt: skip
            if done.status != 0:
                raise GitFailed(command="diff", words=done.words)
            found.update(path for path in done.text.split("\0") if path)
        return found

    def move_branch_and_index(
        self,
        ref: str,
        new: str,
        old: str,
        message: str,
        entries: Mapping[str, tuple[str, str] | None],
        follow: Sequence[str],
    ) -> bool:
        """Move a checked-out branch and the index entries of some paths; whether it still was at ``old``.

        ``entries`` gives each path its (mode, id), or None to remove it; the files in ``follow`` are
        brought along. One shell in a session of its own does it all, so that our death in between
        leaves nothing half done.
        """
        gone = "0" * len(new)
        lines = [
            f"{entry[0]} {entry[1]}\t{path}" if entry else f"0 {gone}\t{path}"
            for path, entry in entries.items()
        ]
        # Too many for a command line; the shell takes the lists away when it ends.
        lists = Path(tempfile.mkdtemp(prefix="kt-"))
        for name, present in (("write", True), ("remove", False)):
            paths = [path for path in follow if (entries[path] is not None) == present]
            (lists / name).write_bytes(os.fsencode("".join(f"{path}\0" for path in paths)))
        script = """
            git_dir=$1 work_tree=$2 message=$3 ref=$4 new=$5 old=$6 lists=$7
            trap 'rm -rf -- "$lists"' EXIT
            exec 3<&0 </dev/null
            g() { git --git-dir="$git_dir" --work-tree="$work_tree" -c core.fsync=all "$@"; }
            g update-ref -m "$message" "$ref" "$new" "$old" || exit 9
            g update-index -z --index-info <&3 || exit 1
            g checkout-index -f -q -z --stdin <"$lists/write"
            cd "$work_tree" && xargs -0 rm -f -- <"$lists/remove"
        """
        args = [
            str(self.git_dir),
            str(self.toplevel),
            message,
            ref,
            new,
            old,
            str(lists),
        ]
        process = self._start(args, program=("sh", "-c", script, "kt"), stdin=True, session=True)
        done = finish(process, "".join(f"{line}\0" for line in lines).encode(), None, True)
        if done.status not in (0, 9) or (done.status == 9 and not _is_race(done.err)):
            raise GitFailed(command="update-index", words=done.words)
        return done.status == 0

    # --- history ----------------------------------------------------------------------------------

    def log(self, rev: str, paths: Sequence[str], limit: int) -> Iterator[bytes]:
        """Commits that touch what the pathspecs name, newest first, as raw chunks for `history` to read."""
        count = (f"--max-count={limit}",) if limit else ()
        return self._stream("log", *_LOG, *count, rev, "--", *paths)

    def log_of_file(self, rev: str, path: str) -> Iterator[bytes]:
        """The same for one file, from the repository's top.

        Only so, one literal path and no magic, does git ask the commit-graph's changed-path filters first.
        """
        return self._stream("--literal-pathspecs", "log", *_LOG, rev, "--", path)

    def has_more_than(self, count: int) -> bool:
        """Whether HEAD has more than so many commits in its history."""
        return (
            self._run("rev-list", "--count", f"--max-count={count + 1}", "HEAD", "--").text == f"{count + 1}"
        )

    @property
    def has_path_filters(self) -> bool:
        """Whether some part of the commit-graph tells which paths a commit may have changed (gitformat-commit-graph)."""
        folder = self.common_dir / "objects/info"
        for path in (folder / "commit-graph", *folder.glob("commit-graphs/graph-*.graph")):
            with suppress(OSError), path.open("rb") as file:
                # A header of eight bytes, whose seventh says how many chunks; a line of twelve for each.
                head = file.read(8)
                if b"BDAT" in file.read(12 * head[6]):
                    return True
        return False

    def walk(
        self,
        revisions: Sequence[str],
        form: str,
        paths: Sequence[str],
        *,
        merges: str = "off",
        every: bool = True,
    ) -> Iterator[bytes]:
        """The commits, parents first, with what each changed below the paths; all, or those that touch them.

        Nothing is told for a merge, or with ``merges="combined"`` what differs there from every parent.
        """
        order = (
            *("--topo-order", "--reverse", "--full-history", *(("--sparse",) if every else ())),
            *(f"--diff-merges={merges}", "--no-show-signature"),
        )
        return self._stream("log", *_RAW, *order, f"--format={form}", *revisions, "--", *paths)

    def headers(self, revisions: Sequence[str], form: str) -> Iterator[bytes]:
        """The commits in the order of `walk` without what they changed, NUL-ended."""
        options = ("--topo-order", "--reverse", "--no-show-signature", "--no-patch", f"--format={form}")
        return self._stream("log", "-z", *options, *revisions, "--")

    def merged_tree(self, one: str, other: str) -> tuple[str | None, list[str]]:
        """The tree that git makes by merging two commits, None where they conflict; and the files that do.

        Raises GitFailed (git-merge-tree).
        """
        options = ("--write-tree", "--allow-unrelated-histories", "--no-messages", "--name-only", "-z")
        done = self._run("merge-tree", *options, one, other)
        if done.status not in (0, 1):
            raise GitFailed(command="merge-tree", words=done.words)
        tree, *files = os.fsdecode(done.out).split("\0")
        return (tree if done.status == 0 else None), sorted(filter(None, files))

    def new_commits(self, tips: Sequence[str]) -> list[str]:
        """The commits that some tips have and no ref of this repository has."""
        return self._run("rev-list", *tips, "--not", "--all").text.split() if tips else []

    def merge_base(self, one: str, other: str) -> str | None:
        """The newest commit that both contain, None where they share no history."""
        return self._run("merge-base", one, other).text or None

    def merge_bases(self, commits: Sequence[str]) -> list[str]:
        """The newest commits that all of these contain."""
        return self._run("merge-base", "--all", "--octopus", *commits).text.split()

    def parents(self, revisions: Sequence[str]) -> Iterator[str]:
        """A line for each commit in the order of `walk`: its id and its parents' ids."""
        return line_ended(self._stream("rev-list", "--topo-order", "--reverse", "--parents", *revisions))

    def signed(self, revisions: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """Each commit in the order of `walk`, and whether it carries a signature, whatever that is worth."""
        rest = b""
        for chunk in self._stream("rev-list", "--topo-order", "--reverse", "--header", *revisions):
            *commits, rest = (rest + chunk).split(b"\0")
            for commit in commits:
                signed = b"\ngpgsig" in commit and b"\ngpgsig" in commit.partition(b"\n\n")[0]
                yield commit.partition(b"\n")[0].decode(), signed

    def signatures(self, commits: Sequence[str]) -> Iterator[tuple[str, SignatureFacts]]:
        """Each commit's signature: the verdict, and the keys that it is by.

        The verdict is that of `git log` (``%G?``). Nobody is trusted by name here: an SSH key that holds is
        ``U``, whoever it belongs to. The keys are an SSH key's fingerprint and its line (type and base64), or the
        fingerprints of an OpenPGP key and of its primary key. What is not a signature as git writes it has the
        verdict ``-``, which git has no letter for. SSH signatures are verified here, the others by git.
        Raises GitFailed.
        """
        for some in chunks(commits, _SIGNATURES_AT_ONCE):
            found = dict(
                zip(some, map(self._signature, self.objects.get(some, MAX_COMMIT), some), strict=True)
            )
            others = [oid for oid, facts in found.items() if facts is None]
            found |= self._signatures(others) if others else {}
            for oid in some:
                yield oid, found[oid] or SignatureFacts("E", why="git did not say whether it holds")

    def _signature(self, commit: Object | None, oid: str) -> SignatureFacts | None:
        """What is known of a raw commit's signature without asking git, None for one that only git can check."""
        if commit is None or commit.kind != "commit":
            raise GitFailed(command="cat-file", words=f"there is no commit {oid}")
        if commit.data is None:
            return SignatureFacts("-", why=f"the commit is larger than {MAX_COMMIT // 1024} KiB")
        found = signature_of(commit.data, self.object_format)
        if found.kind is Kind.OTHER:
            return None
        if found.kind is not Kind.SSH:
            return SignatureFacts("N" if found.kind is Kind.NONE else "-", why=found.why)
        try:
            key = sshsig.verify(found.signature, found.payload)
        except sshsig.SignatureRefused as refused:
            return SignatureFacts("B", why=f"it is bad: {refused}")
        return SignatureFacts("U", (key.fingerprint, key.line))

    def _signatures(self, commits: Sequence[str]) -> dict[str, SignatureFacts]:
        """What git says of OpenPGP and X.509 signatures."""
        form = ("--no-walk=unsorted", "--no-show-signature", "--format=%H %G? %GF %GP")
        done = self._run("log", *form, *commits)
        if done.status != 0:
            raise GitFailed(command="log", words=done.words)
        found = {}
        for line in done.text.split("\n"):
            oid, verdict, *keys = line.split(" ")
            if verdict == "N":
                # There is a signature, and git could not run what checks it.
                facts = SignatureFacts("E", why="git could not run `gpg` to check it")
            else:
                times = self._key_expiry(oid) if verdict == "Y" else (None, None)
                facts = SignatureFacts(verdict, tuple(key for key in keys if key), *times)
            found[oid] = facts
        return found

    def _key_expiry(self, commit: str) -> tuple[int | None, int | None]:
        """When an OpenPGP signature was made and when its key expired (GnuPG, doc/DETAILS)."""
        said = self._run("verify-commit", "--raw", commit).err
        made = re.search(r"^\[GNUPG:\] VALIDSIG \S+ \S+ (\d+) ", said, re.MULTILINE)
        ends = re.findall(r"^\[GNUPG:\] KEYEXPIRED (\d+)", said, re.MULTILINE)
        return int(made[1]) if made else None, min(map(int, ends), default=None)

    def follows(self, old: str, new: str) -> bool:
        """Whether ``old`` is on the first-parent line of ``new``."""
        if old == new:
            return True
        done = self._run("rev-list", "--first-parent", "--parents", new, f"^{old}")
        return done.text.rpartition("\n")[2].split()[1:2] == [old]

    def is_merge(self, commit: str) -> bool:
        """Whether a commit has several parents."""
        return self.objects.id_of(f"{commit}^2") is not None

    def rev_list(self, revisions: Sequence[str]) -> list[str]:
        """The commits that the revisions name, parents first."""
        return self._run("rev-list", "--topo-order", "--reverse", *revisions).text.split()

    def count(self, revisions: Sequence[str], paths: Sequence[str] = ()) -> int:
        """How many commits the revisions name; with ``paths`` only those that touch them."""
        return int(self._run("rev-list", "--count", *revisions, "--", *paths).text or 0)

    def newest_before(self, commit: str, second: int) -> str | None:
        """The newest on a commit's first-parent line that is no later than a second since 1970, None if all are."""
        if second < 0:
            return None
        age = f"--min-age={second}"
        return self._run("rev-list", "--first-parent", "--max-count=1", age, commit, "--").text or None

    def dates(self, commit: str, options: Sequence[str], paths: Sequence[str]) -> list[str]:
        """The committers' seconds of commits up to one that changed something below the paths."""
        form = ("--no-show-signature", "--format=%ct", *options)
        return self._run("log", *form, commit, "--", *paths).text.split()

    def diff_tree(self, old: str, new: str, paths: Sequence[str]) -> Iterator[bytes]:
        """What differs between two commits below the paths."""
        return self._stream("diff-tree", "-r", *_RAW, old, new, "--", *paths)

    def _stream(self, *args: str, stdin: bytes | None = None) -> Iterator[bytes]:
        process = self._start(args, stdin=stdin is not None)
        assert process.stdout  # noqa: S101 - opened as a pipe above
        widen(process)
        with process.stdout, process:
            if process.stdin and stdin is not None:
                process.stdin.write(stdin)
                process.stdin.close()
            yield from self._told(process.stdout) if self._progress else _whole(process.stdout)
            said = process.stderr.read().decode(errors="replace") if process.stderr else ""
        # Half an answer must not pass for a whole one.
        if process.returncode != 0:
            command = next(arg for arg in args if not arg.startswith("-"))
            raise GitFailed(command=command, words=Done(process.returncode, b"", said).words)

    def _told(self, pipe: IO[bytes]) -> Iterator[bytes]:
        """What comes through a pipe, as it comes, and a word while nothing does."""
        wait = Wait(self._progress, _WAITING)
        while True:
            while not ready(pipe, wait.seconds):
                wait.lasts()
            wait.ends()
            chunk = os.read(pipe.fileno(), BUFFER)
            if not chunk:
                return
            yield chunk


def _is_odd(ref: str) -> bool:
    """Whether no ref can be called that, nor anything be asked of git in one line."""
    return any(char <= " " for char in ref)


def _whole(pipe: IO[bytes]) -> Iterator[bytes]:
    while chunk := pipe.read(BUFFER):
        yield chunk


def _no_folder(where: str) -> NotAStore:
    return NotAStore(where=where, problem="there is no such folder", hint="name one that is there")


def _settings(listed: bytes) -> Mapping[str, str]:
    found = {}
    for item in listed.split(b"\0"):
        key, newline, value = os.fsdecode(item).partition("\n")
        if key:
            found[key] = value if newline else "true"
    return found


def author_outside(folder: Path) -> Author:
    """Who would act in a repository that is yet to be made there. Raises NoIdentity."""
    status, out, _ = _run_at(folder, *_WHO)
    return author_of(status, out)


def init(folder: Path) -> None:
    """Make a repository in a folder. Raises GitFailed."""
    status, _, err = _run_at(folder, "init", "--quiet")
    if status != 0:
        raise GitFailed(command="init", words=err.removeprefix("fatal: "))


def _run_at(folder: Path, *args: str) -> tuple[int, str, str]:
    try:
        from git.cmd import Git
    except ImportError as error:  # GitPython looks for the git program when it is imported
        raise no_git(str(error).partition("\n")[0]) from error
    status, out, err = Git(str(folder)).execute(
        ["git", *args], with_extended_output=True, with_exceptions=False, env=ENVIRONMENT
    )
    return int(status), str(out), str(err)


def user_paths(key: str) -> list[str]:
    """The values of a key in the user's own configuration, as paths in which `~` is their home (git-config).

    Raises GitFailed.
    """
    command = ("git", "config", "--global", "--includes", "--null", "--type=path", "--get-all", key)
    try:
        done = subprocess.run(command, env=environment(), capture_output=True, check=False)
    except FileNotFoundError as error:
        raise no_git(error.strerror or str(error)) from error
    # Without that key, or without the file, it ends with status 1.
    if done.returncode not in (0, 1):
        words = Done(done.returncode, b"", done.stderr.decode(errors="replace")).words
        raise GitFailed(command="config", words=words)
    return [os.fsdecode(value) for value in done.stdout.split(b"\0") if value]


def _is_race(err: str) -> bool:
    """Whether update-ref failed since the ref has moved, and not for a reason of its own."""
    return "cannot lock ref" in err and ("but expected" in err or "already exists" in err)
