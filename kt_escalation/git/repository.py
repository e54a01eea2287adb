"""A repository with all of kt's git operations, and the creation of a new one.

Each base class is one topic, with one function for each question. Only this module imports GitPython, and
only to create a repository, because the import takes longer than a whole listing. See docs/design.md,
*GitPython*.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..errors import GitFailed
from .checkout import Checkout
from .log import Log
from .people import Author, author_of
from .process import ENVIRONMENT, SILENCE_SECONDS, Underway, no_git, tell
from .refs import Refs
from .remote import Remotes
from .signatures import SignatureFacts as SignatureFacts
from .signatures import Signatures
from .writing import Writing

MINIMUM = (2, 39)
# The acting person, from the user's own settings. git must not guess.
_WHO = ("-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT")
_NAMED = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL")


class Repository(Refs, Writing, Log, Remotes, Checkout, Signatures):
    """One repository as git sees it from a folder. See `Git`."""

    def author(self) -> Author:
        """The acting person, from the user's own settings. git must not guess. Raises NoIdentity.

        It is read again if the environment names somebody else. Otherwise it stays as it was when the
        repository was opened, like the rest of the configuration.
        """
        named = tuple(os.environ.get(name) for name in _NAMED)
        if self._author is None or self._author[0] != named:
            done = self._asked(*_WHO, fine=(0, 128))
            self._author = (named, author_of(done.status, done.text))
        return self._author[1]

    def configure(self, key: str, value: str) -> None:
        """Set a key in this clone's configuration."""
        self._must("config", "--", key, value)

    def own_setting(self, key: str) -> str | None:
        """The value of a key in this repository's own configuration file, or None."""
        done = self._asked("config", "--local", "--get", key, fine=(0, 1))
        return done.text if done.status == 0 else None

    def forget(self, key: str) -> None:
        """Remove a key from this repository's own configuration file."""
        self._run("config", "--local", "--unset-all", key, session=True)

    def hooks_folder(self) -> Path:
        """The folder with the hooks for pushes to this repository (git-config, `core.hooksPath`)."""
        asked = Underway(
            ("git", "--git-dir=."), ("rev-parse", "--git-path", "hooks"), cwd=self.git_dir
        ).finish()
        if asked.status != 0:
            raise GitFailed(command="rev-parse", words=asked.words)
        return (self.git_dir / asked.text).resolve()


def author_outside(folder: Path) -> Author:
    """The person who would act in a repository that does not exist yet. Raises NoIdentity."""
    status, out, _ = _run_at(folder, *_WHO)
    return author_of(status, out)


def init(folder: Path) -> None:
    """Create a repository in a folder. Raises GitFailed."""
    status, _, err = _run_at(folder, "init", "--quiet")
    if status != 0:
        raise GitFailed(command="init", words=err.removeprefix("fatal: "))


def _run_at(folder: Path, *args: str) -> tuple[int, str, str]:
    try:
        from git.cmd import Git
    except ImportError as error:  # GitPython looks for the git program when it is imported.
        raise no_git(str(error).partition("\n")[0]) from error
    began = time.monotonic()
    status, out, err = Git(str(folder)).execute(
        ["git", *args],
        with_extended_output=True,
        with_exceptions=False,
        env=ENVIRONMENT,
        kill_after_timeout=SILENCE_SECONDS,
    )
    tell(args, began, int(status))
    return int(status), str(out), str(err)


def user_paths(key: str) -> list[str]:
    """The values of a key in the user's own configuration, as paths. `~` is the user's home (git-config)."""
    done = Underway(
        ("git",), ("config", "--global", "--includes", "--null", "--type=path", "--get-all", key)
    ).finish()
    # git exits 1 if the key or the file does not exist.
    if done.status not in (0, 1):
        raise GitFailed(command="config", words=done.words)
    return [os.fsdecode(value) for value in done.out.split(b"\0") if value]
