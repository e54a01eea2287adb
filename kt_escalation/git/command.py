"""An opened repository, and how git runs in it.

Every call names its repository, passes values after `--` or as full object ids, uses the C locale and never
prompts. git inherits no variable that could select another repository, index or date. User settings that
change git's output for programs are switched off (`_OURS`), and refs are written in full.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from ..errors import GitFailed, NotAStore
from ..model.progress import Progress, Wait
from .objects import Objects
from .people import Author
from .process import Done, Underway, command_of, environment

_WAITING = "waiting for git"

#: git flushes objects, references and the index to the disk before it succeeds (git-config, core.fsync).
FLUSH = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync")
#: Options that turn off git's maintenance.
NO_MAINTENANCE = ("-c", "gc.auto=0", "-c", "maintenance.auto=false")
# User settings that change git's output, or make a command fail (git-config). Settings that the arguments of
# a call override are not listed. To override them takes less than a tenth of a millisecond.
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
_LAZY_FETCH_SECONDS = 120.0


class Git:
    """One repository as git sees it from a folder.

    ``quarantined`` is for a server's hook, whose new objects are not yet part of the repository. ``progress``
    is called while kt waits for git.

    Raises NotAStore if there is no repository, GitFailed if git refuses to use it.
    """

    def __init__(self, start: Path, *, quarantined: bool = False, progress: Progress | None = None) -> None:
        self._quarantined = quarantined
        self._progress = progress
        self._author: tuple[tuple[str | None, ...], Author] | None = None
        # The folder for new objects, if they do not go into the repository.
        self._apart: dict[str, str] = {}
        self._folder = start
        self._base: tuple[str, ...] = ("git", "--no-pager")
        if not os.path.isdir(start):  # noqa: PTH112 - a Path's own is_dir raises for a name too long
            raise _no_folder(str(start))
        # Two git processes run at once, so that opening a store takes only as long as one.
        configured = self._start(("config", "--null", "--list"))
        try:
            asked = self._run(
                "rev-parse",
                "--absolute-git-dir",
                "--git-common-dir",
                "--show-object-format",
                "--is-inside-work-tree",
                "--show-toplevel",
            )
            listed = configured.finish()
        finally:
            configured.give_up()
        lines = asked.text.split("\n")
        if len(lines) < 4 and "not a git repository" in asked.err:
            raise NotAStore(where=str(start), problem="it is not in a git repository")
        # Outside a checkout it fails, but has printed the rest.
        if len(lines) < 4 or (asked.status != 0 and (lines[3] == "true" or asked.status != 128)):
            raise GitFailed(command="rev-parse", words=asked.words)
        if listed.status != 0:
            raise GitFailed(command="config", words=listed.words)
        #: The whole git configuration, with the last value of each key. A key without a value is true.
        self.config = _settings(listed.out)
        self._listed = listed.out
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
        """Whether all objects that are read are stored in the repository itself, where other processes find them too."""
        return not self._quarantined and not self._apart

    def values(self, key: str) -> list[str]:
        """All values of a key in the configuration."""
        begin = os.fsencode(f"{key}\n")
        return [
            os.fsdecode(item[len(begin) :]) for item in self._listed.split(b"\0") if item.startswith(begin)
        ]

    def flag(self, key: str) -> bool:
        """A boolean in the configuration, as git reads it."""
        return self.config.get(key, "").lower() in ("true", "yes", "on", "1")

    @cached_property
    def is_partial(self) -> bool:
        """Whether objects may be missing here and are fetched when read (partial clone)."""
        return any(key.endswith((".promisor", ".partialclonefilter")) for key in self.config)

    @property
    def is_shallow(self) -> bool:
        """Whether the history is cut off here (shallow clone)."""
        return (self.common_dir / "shallow").exists()

    @property
    def cut_off(self) -> frozenset[str]:
        """The commits whose parents a shallow clone lacks (gitrepository-layout, `shallow`)."""
        with suppress(FileNotFoundError):
            return frozenset((self.common_dir / "shallow").read_text().split())
        return frozenset()

    @cached_property
    def is_bare(self) -> bool:
        """Whether the repository has no working tree. The `.git` folder of a clone is not bare."""
        return self._asked("rev-parse", "--is-bare-repository").text == "true"

    def version(self) -> tuple[int, ...]:
        """The version of git."""
        found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", self._asked("version").text)
        return tuple(int(part) for part in found.groups() if part) if found else (0,)

    def reader(self) -> Objects:
        """A second object reader, independent of `objects`."""
        command = ["cat-file", "--batch-command", "--buffer"]
        silence = _LAZY_FETCH_SECONDS if self.is_partial else None
        return Objects(lambda: self._start(command, stdin=True), silence)

    # --- running ----------------------------------------------------------------------------------

    def _start(
        self,
        args: Sequence[str],
        *,
        stdin: bool = False,
        env: Mapping[str, str] | None = None,
        session: bool = False,
        program: Sequence[str] | None = None,
        on_stderr: Callable[[bytes], object] | None = None,
        inherits: Sequence[int] = (),
    ) -> Underway:
        """Start git. With ``session``, signals to our terminal do not reach it."""
        try:
            return Underway(
                program or self._base,
                args,
                cwd=self._folder,
                env={**environment(self._quarantined), **self._apart, **(env or {})},
                stdin=stdin,
                session=session,
                on_stderr=on_stderr,
                inherits=inherits,
            )
        except FileNotFoundError as error:
            raise _no_folder(str(self._folder)) from error

    def _run(
        self,
        *args: str,
        stdin: bytes | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        session: bool = False,
    ) -> Done:
        """Run git to its end. Network commands have ``timeout`` seconds. Raises GitFailed if git is silent."""
        process = self._start(args, stdin=stdin is not None, env=env, session=session)
        try:
            if stdin is not None:
                process.give(stdin)
            if timeout is not None:
                return process.answer(timeout) or process.give_up()
            # A command that writes may ask for a passphrase on this terminal, so only reads report progress.
            return process.finish(None if session else self._wait())
        except BaseException:
            # A command that writes always runs to its end.
            if not session:
                process.give_up()
            raise

    def _asked(
        self,
        *args: str,
        fine: Collection[int] = (0,),
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command that reads. Raises GitFailed if the exit code is not in ``fine``."""
        done = self._run(*args, env=env)
        if done.status not in fine:
            raise GitFailed(command=command_of(args), words=done.words)
        return done

    def _must(self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> Done:
        """Run a command that writes and is expected to succeed. Raises GitFailed."""
        done = self._run(*args, stdin=stdin, env=env, session=True)
        if done.status != 0:
            raise GitFailed(command=command_of(args), words=done.words)
        return done

    def _stream(self, *args: str, stdin: bytes | None = None) -> Generator[bytes, None, None]:
        """Yield git's output as it comes, or until it is closed. Raises GitFailed, also at the end of the output."""
        process = self._start(args, stdin=stdin is not None)
        if stdin is not None:
            process.give(stdin)
        yield from process.stream(self._wait())

    def _wait(self) -> Wait | None:
        return Wait(self._progress, _WAITING) if self._progress else None


def _no_folder(where: str) -> NotAStore:
    return NotAStore(where=where, problem="there is no such folder", hint="name one that is there")


def _settings(listed: bytes) -> Mapping[str, str]:
    found = {}
    for item in listed.split(b"\0"):
        key, newline, value = os.fsdecode(item).partition("\n")
        if key:
            found[key] = value if newline else "true"
    return found
