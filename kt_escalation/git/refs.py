"""Reads and moves refs, resolves revisions, and answers which commit contains which."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import BadInput, GitFailed
from .command import FLUSH, Git
from .process import Underway

# The content of a symbolic ref's file. With reftable it is `refs/heads/.invalid`, and git has to be asked.
_SYMBOLIC = re.compile(r"ref: (refs/(?!heads/\.invalid)\S+)\n?")
# The refs that git tries for a short name (gitrevisions).
_MEANT_AS_WELL = ("refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}", "refs/remotes/{}/HEAD")
# The name at the start of a revision, and the rest; and names that are not those of branches.
_REVISION = re.compile(r"((?:[^~^:@]|@(?!\{))+)((?:[~^:]|@\{).*)?", re.DOTALL)
_NOT_A_REF = re.compile(r"@|[A-Z_]*HEAD|[0-9a-f]{40}|[0-9a-f]{64}")
# git takes four digits of an id and more (git-config, *core.abbrev*), unless a ref has that name.
_BEGINS_AN_ID = re.compile(r"[0-9a-f]{4,64}", re.IGNORECASE)
_UPSTREAM = re.compile(r"@\{(u|upstream|push)\}", re.IGNORECASE)


class Refs(Git):
    """The refs of a repository, and moving them."""

    def tip_of(self, ref: str) -> str | None:
        """The commit of a full ref, or None if it does not exist. Needs no extra process.

        If there is no such ref, git would also accept a tag called `refs/heads/main` (gitrevisions). This
        counts as no ref.
        """
        if ref.startswith("refs/"):
            return self._ref(ref, "^{commit}")
        return None if is_odd(ref) else self.objects.id_of(f"{ref}^{{commit}}")

    def _ref(self, ref: str, peeled: str = "") -> str | None:
        """The id of the object of a full ref, ``peeled`` as in gitrevisions. None if no ref has exactly this name."""
        if is_odd(ref):
            return None
        found, *alike = self.objects.ids_of(
            [f"{ref}{peeled}", *(rule.format(ref) for rule in _MEANT_AS_WELL)]
        )
        if not any(alike):
            return found
        done = self._asked("show-ref", "--verify", "--hash", "--", ref, fine=(0, 1, 128))
        return self.objects.id_of(f"{done.text}{peeled}") if done.status == 0 else None

    def commit_of(self, rev: str) -> str | None:
        """The commit for a revision as a user writes it (gitrevisions), or None if there is none.

        A branch has priority over a tag of the same name, and a full ref name over everything else. What could be
        the beginning of an id is read as one, because anybody who can push could give a tag that name. Raises
        BadInput if no commit has that beginning and a ref has that name.
        """
        rev = self._whole(rev)
        named = f"{rev}^{{commit}}"
        done = self._asked("rev-parse", "--verify", "--quiet", "--end-of-options", named, fine=(0, 1, 128))
        # Before git 2.43, rev-parse prints --end-of-options too.
        answer = done.text.split("\n")[-1]
        return answer if done.status == 0 and re.fullmatch(r"[0-9a-f]{40,64}", answer) else None

    def _whole(self, rev: str) -> str:
        """The revision with its first name replaced by an id, or by the full ref name for reflog syntax."""
        found = _REVISION.fullmatch(rev)
        if found is None or _NOT_A_REF.fullmatch(found[1]) or _UPSTREAM.match(found[2] or ""):
            return rev
        name, rest = found[1], found[2] or ""
        places: tuple[str, ...] = ("refs/heads/", "refs/remotes/", "refs/tags/")
        if name.startswith("refs/"):
            places = ("",)
        elif name.startswith(("heads/", "remotes/", "tags/")):
            places = ("refs/",)
        if _BEGINS_AN_ID.fullmatch(name):
            return self._begun(name, rest)
        for place in places:
            oid = self._ref(f"{place}{name}")
            if oid is not None:
                return f"{place}{rev}" if rest.startswith("@{") else f"{oid}{rest}"
        return "" if name.startswith("refs/") else rev

    def _begun(self, digits: str, rest: str) -> str:
        """A revision with the beginning of a commit's id replaced by the whole; empty if it names no one commit."""
        objects = self._asked("rev-parse", f"--disambiguate={digits}").text.split()
        commits = {*self.objects.ids_of([f"{oid}^{{commit}}" for oid in objects])} - {None}
        if len(commits) == 1:
            return f"{commits.pop()}{rest}"
        for kind in ("heads", "remotes", "tags"):
            if not commits and self._ref(f"refs/{kind}/{digits}") is not None:
                raise BadInput(
                    problem=f"{digits!r} looks like the beginning of an id, and no commit has it; "
                    f"give {kind}/{digits} if you mean the ref of this name"
                )
        return ""

    def head_branch(self) -> str | None:
        """The branch that is checked out. None if HEAD is detached."""
        return self._named(self.git_dir, "HEAD", "refs/heads/")

    def remote_head(self, remote: str) -> str | None:
        """The branch of the remote's HEAD when it was last asked."""
        prefix = f"refs/remotes/{remote}/"
        return self._named(self.common_dir, f"{prefix}HEAD", prefix)

    def _named(self, folder: Path, ref: str, prefix: str) -> str | None:
        """The target of a symbolic ref, without the prefix. None if it is not symbolic or points elsewhere.

        The ref is a file of one line (gitrepository-layout), so it is read without a process. With other ref
        storages there is no file, or it names ``.invalid``; then git is asked.
        """
        found = None
        with suppress(OSError):
            found = _SYMBOLIC.fullmatch(os.fsdecode((folder / ref).read_bytes()))
        name = found[1] if found else self._asked("symbolic-ref", "--quiet", ref, fine=(0, 1, 128)).text
        return name.removeprefix(prefix) if name.startswith(prefix) else None

    def branches(self) -> list[str]:
        """The branches of this repository."""
        found = self._asked("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").text
        return found.split("\n") if found else []

    def preferred_to(self, ref: str, name: str) -> list[str]:
        """The refs of this repository that git takes for a short ``name`` although ``ref`` is meant."""
        rules = [rule.format(name) for rule in _MEANT_AS_WELL]
        before = rules[: rules.index(ref)]
        found = self._asked("for-each-ref", "--format=%(refname)", "--", *before).text.split("\n")
        # git lists what is below these names too.
        return [one for one in found if one in before]

    def unmerged(self, remote: str, prefix: str, commit: str) -> list[str]:
        """The known branches of a remote that begin with ``prefix`` and have commits that ``commit`` lacks."""
        below = f"refs/remotes/{remote}/"
        asked = ("for-each-ref", f"--no-merged={commit}", "--format=%(refname)", f"{below}{prefix}")
        return [ref.removeprefix(below) for ref in self._asked(*asked).text.split("\n") if ref]

    def is_branch_name(self, name: str) -> bool:
        """Whether this is a valid name for a branch (git-check-ref-format)."""
        return self._asked("check-ref-format", f"refs/heads/{name}", fine=(0, 1)).status == 0

    def remember_remote_head(self, remote: str, branch: str) -> None:
        """Store the branch of the remote's HEAD, as `git remote set-head` does."""
        prefix = f"refs/remotes/{remote}/"
        self._must("symbolic-ref", f"{prefix}HEAD", f"{prefix}{branch}")

    def update_ref(self, ref: str, new: str, old: str | None, message: str) -> bool:
        """Move a ref if it is still at ``old`` (None: does not exist), with a flush. Returns whether it moved."""
        before = old if old is not None else "0" * len(new)
        done = self._run(*FLUSH, "update-ref", "-m", message, ref, new, before, session=True)
        if done.status != 0 and not is_race(done.err):
            raise GitFailed(command="update-ref", words=done.words)
        return done.status == 0

    def begin_update_ref(
        self, ref: str, new: str, old: str, message: str, inherits: Sequence[int]
    ) -> Underway:
        """Start to move a ref that is at ``old`` (zeros: does not exist), with a flush."""
        args = [*FLUSH, "update-ref", "-m", message, ref, new, old]
        return self._start(args, session=True, inherits=inherits)

    def set_tracking(self, remote: str, branch: str, commit: str) -> None:
        """Set the remote-tracking ref after a push. If this fails, the next fetch corrects it.

        If the remote's refspecs cover the branch, the push has already done so.
        """
        ref = f"refs/remotes/{remote}/{branch}"
        if self.tip_of(ref) != commit:
            self._run("update-ref", ref, commit, session=True)

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether ``new`` contains ``old``. Both are commit ids."""
        return self._asked("merge-base", "--is-ancestor", old, new, fine=(0, 1, 128)).status == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """The newest common ancestor of two commits. None if they share no history."""
        return self._asked("merge-base", one, other, fine=(0, 1)).text or None

    def new_commits(self, tips: Sequence[str]) -> list[str]:
        """The commits of some tips that no ref of this repository contains."""
        return self._asked("rev-list", *tips, "--not", "--all").text.split() if tips else []

    def rev_list(self, revisions: Sequence[str]) -> list[str]:
        """The commits that the revisions name, parents first."""
        return self._asked("rev-list", "--topo-order", "--reverse", *revisions).text.split()

    def count(self, revisions: Sequence[str], paths: Sequence[str] = ()) -> int:
        """The number of commits that the revisions name; with ``paths``, of those that touch them."""
        return int(self._asked("rev-list", "--count", *revisions, "--", *paths).text)

    def has_more_than(self, count: int) -> bool:
        """Whether the history of HEAD has more than this many commits."""
        counted = ("rev-list", "--count", f"--max-count={count + 1}", "HEAD", "--")
        # Before the first commit, HEAD has no commit.
        return self._asked(*counted, fine=(0, 128)).text == f"{count + 1}"

    def newest_before(self, commit: str, second: int) -> str | None:
        """The newest commit on the first-parent line that is no later than a time (seconds since 1970), or None."""
        if second < 0:
            return None
        age = f"--min-age={second}"
        return self._asked("rev-list", "--first-parent", "--max-count=1", age, commit, "--").text or None


def is_odd(ref: str) -> bool:
    """Whether the text cannot be a ref, nor be sent to git on one line."""
    return any(char <= " " for char in ref)


def is_race(err: str) -> bool:
    """Whether update-ref failed because the ref has moved, and for no other reason."""
    return "cannot lock ref" in err and ("but expected" in err or "already exists" in err)


def held_lock(err: str) -> str | None:
    """The lock file that another git command holds, according to git's output. Else None."""
    found = re.search(r"Unable to create '(.+?\.lock)': File exists", err)
    return found[1] if found else None
