"""Classifies the result of a push, from git's actual output (githooks, git-push --porcelain).

A lost race, a refusal by a rule, a fault of the repository, and no answer need four different reactions, so
they must never be confused. See docs/design.md, *How a step is committed*.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from enum import Enum

from ..frozen import dataclass


class PushAnswer(Enum):
    """The six possible results of a push."""

    LANDED = "landed"
    LOST = "lost"  # somebody else was first
    REFUSED = "refused"  # a rule, a hook or missing rights
    FAULT = "fault"  # the repository's own trouble
    UNREACHED = "unreached"  # nobody was there to be asked
    UNKNOWN = "unknown"  # no answer


@dataclass(frozen=True)
class Pushed:
    """The result of a push, and git's words. ``here`` is set if this clone refused it, and not the remote.

    ``reported`` is set if the remote reported the result for this ref, so it is not a guess.
    """

    answer: PushAnswer
    words: str
    here: bool = False
    reported: bool = False


_LOST = (
    "fetch first",
    "non-fast-forward",
    "stale info",
    "remote ref updated since checkout",
    "failed to update ref",
    "incorrect old value provided",
    "reference already exists",
    "atomic transaction failed",
    "failed to lock",
)
_CANNOT_LOCK = r"(?i)cannot lock ref .*(is at [0-9a-f]+ but expected|unable to create|file exists|exists)"
_FAULT = (
    "shallow update not allowed",
    "unpacker error",
    "missing necessary objects",
    "branch is currently checked out",
    "no such ref",
    "bad pack",
    "index-pack",
    "n/a (unpacker error)",
)
_DENIED = (
    "you are not allowed to push",
    "not allowed to push to protected branch",
    "protected branch hook declined",
    "repository rule violations",
)
# Messages of the transport before anything was sent: nothing can have landed.
_NO_ACCESS = (
    "terminal prompts disabled",
    "could not read username",
    "could not read password",
    "authentication failed",
    "permission denied (",
    "host key verification failed",
    "returned error: 401",
    "returned error: 403",
    "http 401",
    "http 403",
    "http 413",
)
# The same, if one side has SHA-1 ids and the other SHA-256.
_OTHER_HASH = "does not support this repository's hash algorithm"
_SHORT = 300
# No connection was made, or there is no repository, so nothing was sent. Only lines of git and ssh count,
# because a hook could print the same.
_UNREACHED = (
    r"(?im)^(ssh: (connect to host|could not resolve hostname) |fatal: (unable to connect to |repository '.*' not found"
    r"|'.*' does not appear to be a git repository|detected dubious ownership in repository at |unable to access '.*': (failed to connect to|could not resolve) ))"
)
# The connection broke after something was sent. Over HTTP, git then exits as if it had refused by itself.
_BROKEN = ("rpc failed", "unexpected disconnect", "hung up unexpectedly")


def classify(status: int, stdout: str, stderr: str) -> Pushed:
    """Classify a finished `git push --porcelain` of one ref.

    ``status`` is git's exit code, negative for a signal. Output that fits no known answer is classified as
    unknown; the caller then looks at the remote instead of guessing.
    """
    flag, summary = _ref_line(stdout)
    words = remote_words(stderr)
    if flag in (" ", "*", "+") and status == 0:
        return Pushed(PushAnswer.LANDED, "", reported=True)
    if flag == "=":
        # Somebody else made the same commit, as far as we can tell.
        return Pushed(PushAnswer.LOST, "up to date", reported=True)
    if flag == "!":
        return replace(_rejection(summary, words), reported=True)
    low = stderr.lower()
    own = "\n".join(line for line in low.splitlines() if line.startswith(("fatal: ", "error: ")))
    if any(mark in own for mark in _NO_ACCESS):
        # git's own words about the transport. A hook's words come after `remote: `.
        return Pushed(PushAnswer.REFUSED, words, reported=True)
    if _OTHER_HASH in low:
        return Pushed(PushAnswer.FAULT, words)
    if any(mark in low for mark in (*_NO_ACCESS, *_DENIED)):
        return Pushed(PushAnswer.REFUSED, words)
    if status == 1 and flag is None and not any(mark in low for mark in _BROKEN):
        # git says so before it has sent anything: a pre-push hook of this clone refused.
        return Pushed(PushAnswer.REFUSED, words or "without a word", here=True)
    if flag is None and re.search(_UNREACHED, stderr):
        return Pushed(PushAnswer.UNREACHED, words)
    return Pushed(PushAnswer.UNKNOWN, words or f"git push ended with status {status}")


# The hint if a clone and its remote use different object formats (git-config, `extensions.objectFormat`).
_CLONE_AGAIN = (
    "this clone and {remote} name objects by different algorithms (`git rev-parse --show-object-format`): clone again; "
    "of a remote that is empty, make the clone with `git init --object-format=sha256` (or sha1) and `git remote add`"
)


# git refuses to read a repository whose folder belongs to another user of the machine (git-config,
# `safe.directory`).
_OTHER_OWNER = r"detected dubious ownership in repository at '([^']+)'"


def folder_of_another(words: str) -> str | None:
    """The folder that git refuses to read because it belongs to another user, according to its message. Else None."""
    found = re.search(_OTHER_OWNER, words)
    return found[1] if found else None


def trust_hint(folder: str) -> str:
    """The command that lets git read a folder of another user.

    It must be run on the repository's machine, as git's user.
    """
    return f"if you trust it, run `git config --global --add safe.directory {shlex.quote(folder)}` on its machine"


# Our own hook's output begins like this. GitLab shows it on its pages only after the mark.
_OURS = r"(?:^| / )(?:GL-HOOK-ERR: )?kt: "


def hint_for(words: str) -> str | None:
    """The hint if this clone and its remote cannot talk, or if kt's own hook refused a push. Else None."""
    if _OTHER_HASH in words.lower() or "mismatched algorithms" in words:
        return _CLONE_AGAIN
    if not re.search(_OURS, words):
        return None
    if ": unsigned: " in words:
        return (
            "sign what you do: `git config gpg.format ssh`, `git config user.signingKey ~/.ssh/id_ed25519.pub`, "
            "`git config commit.gpgsign true`; see docs/signatures.md"
        )
    if "on the server" in words or "this server" in words:
        return "the administrator of the server can fix that"
    return "kt's hook on the server refused it, and says what it expected of the commit"


def is_astray(branch: str, stdout: str, stderr: str) -> bool:
    """Whether git mistook a branch or tag called `refs/heads/<branch>` for the branch, or could not choose."""
    found = re.search(r"^.\t[^\t:]*:([^\t]+)\t", stdout, re.MULTILINE)
    if found:
        return found[1] != f"refs/heads/{branch}"
    return "dst refspec" in stderr and "matches more than one" in stderr


def _rejection(summary: str, words: str) -> Pushed:
    low = summary.lower()
    reason = low.partition("(")[2]
    said = words or summary
    if "remote failed to report status" in low:
        return Pushed(PushAnswer.UNKNOWN, said)
    if "[remote rejected]" in low and "non-fast-forward" in reason:
        return Pushed(PushAnswer.REFUSED, said)
    if any(mark in reason for mark in _FAULT):
        # git's advice is for the administrator of the repository, and a page long.
        told = f"{summary} {words}".strip() if len(words) < _SHORT else summary
        return Pushed(PushAnswer.FAULT, said if summary in said else told)
    if any(mark in reason for mark in _LOST) or re.search(_CANNOT_LOCK, reason):
        # The part of all output that says why the ref was not moved. git's advice takes several lines.
        reasons = [line for line in said.split(" / ") if line.startswith("error: ")] or [said]
        return Pushed(PushAnswer.LOST, reasons[0].removeprefix("error: ").rstrip("."))
    return Pushed(PushAnswer.REFUSED, said)


def _ref_line(stdout: str) -> tuple[str | None, str]:
    for line in stdout.split("\n"):
        flag, tab, rest = line.partition("\t")
        if tab and len(flag) == 1 and "\t" in rest:
            return flag, rest.partition("\t")[2]
    return None, ""


# Lines of git that do not say what happened. kt gives its own advice.
_BESIDE = (
    "To ",
    "hint:",
    "error: failed to push some refs",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
)


def remote_words(stderr: str) -> str:
    """The remote's own words on one line, or git's words if there are none."""
    lines = [line.strip() for line in stderr.replace("\r", "\n").splitlines()]
    remote = [line.removeprefix("remote:").strip() for line in lines if line.startswith("remote:")]
    said = [line for line in remote if line] or [
        line.removeprefix("fatal: ").removeprefix("error: ")
        for line in lines
        if line and not line.startswith(_BESIDE)
    ]
    return " / ".join(said)
