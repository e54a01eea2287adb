"""The server's pre-receive hook: lists the violations of a push. See docs/servers.md."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ..errors import KtError
from ..policies.roster import Roster, logged_in, person
from ..storage import hook_settings
from ..storage.clone import GitStore
from ..storage.interface import PROPOSALS
from ..storage.push_ledger import Ledger
from .mark import Mark, remember, remembered
from .report import author_named, reported, violation_line
from .run import History
from .scope import Acted, Scope

#: The name of the server's marks of its store branch.
RECEIVED = "received"
# Of several pushes at the same time, each leaves a mark and only one lands.
_KEPT = 8
# A push to refs/heads/main fits refs/heads/refs/heads/main as well (git-push, *refspec*, unambiguous names).
_NAMED_LIKE_REFS = re.compile(r"refs/(heads|tags)/refs/")
# What git calls the remote of a clone. Its name stands for the branch that the remote's HEAD names (gitrevisions).
_REMOTE = "origin"


def receive(
    path: str | os.PathLike[str],
    updates: Iterable[tuple[str, str, str]],
    *,
    now: datetime,
    pusher: str | None = None,
    anonymous: bool = True,
) -> Iterator[str]:
    """The reasons to refuse a push, one line each. None if the server may accept it.

    ``updates`` are old id, new id and ref as git gives them (githooks documentation, *pre-receive*).
    ``pusher`` is the pusher's name from the server. ``anonymous`` means that the server does not name
    pushers. A push to another ref may neither hide the store branch nor take its place. The pusher of every
    new commit is recorded in the ledger.
    """
    wanted = list(updates)
    refused = False
    try:
        with closing(GitStore(Path(path), quarantined=True)) as store:
            push = _Push(store, wanted, now, pusher, anonymous=anonymous)
            for line in push.judged():
                refused = True
                yield line
            if not refused and push.mark is not None:
                remember(store, RECEIVED, push.mark, store.branches.own, most=_KEPT)
            if not refused and pusher is not None:
                tips = [new for _, new, _ in wanted if new.strip("0")]
                before = [f"^{old}" for old, *_ in wanted if old.strip("0")]
                # A new branch contains the store branch, whose commits are not pushed again.
                if store.branches.own and (
                    main := store.repository.tip_of(f"refs/heads/{store.branches.own}")
                ):
                    before.append(f"^{main}")
                new = store.repository.new_commits(tips)
                known = set(new)
                pushed = store.repository.rev_list([*tips, *before]) if tips else []
                again = [commit for commit in pushed if commit not in known]
                Ledger(store.lock_folder).record(pusher, new, again)
    except KtError as error:
        yield f"on the server: {error.message}"


def judge_branch(store: GitStore, now: datetime) -> Mark | None:
    """Judge a server's store branch now, so that only the new commits of the next push are judged.

    None without a store.
    """
    tip = store.repository.tip_of(f"refs/heads/{store.branches.own}") if store.branches.own else None
    return _judged(History(store), tip, now) if tip is not None and store.holds(tip) else None


def _judged(history: History, commit: str, now: datetime) -> Mark:
    """The mark at a commit of the store branch. Several are kept, because not every accepted push lands."""
    store = history.store
    marks = remembered(store, RECEIVED, store.branches.own)
    known = history.known(commit, marks, now)
    if known not in marks:
        remember(store, RECEIVED, known, store.branches.own, most=_KEPT)
    return known


class _Push:
    """One push of some refs."""

    def __init__(
        self,
        store: GitStore,
        updates: Sequence[tuple[str, str, str]],
        now: datetime,
        pusher: str | None,
        *,
        anonymous: bool,
    ) -> None:
        self._store = store
        self._updates = updates
        self._now = now
        self._pusher = pusher
        self._anonymous = anonymous
        #: The mark at the new tip of the store branch.
        self.mark: Mark | None = None

    def judged(self) -> Iterator[str]:
        """The reasons to refuse the push."""
        store = self._store
        guarded = f"refs/heads/{store.branches.own}" if store.branches.own else None
        is_there = guarded is not None and (
            any(ref == guarded for *_, ref in self._updates) or store.repository.tip_of(guarded) is not None
        )
        for old, new, ref in self._updates:
            if ref == guarded:
                yield from self._received(old, new)
            elif new.strip("0") and self._hides(ref):
                yield f"{ref} could be taken for the store branch or hide its content, so nobody may create it"
            elif not is_there:
                yield from self._in_its_place(old, new, ref)

    def _hides(self, ref: str) -> bool:
        """Whether the pushed ref would hide the store branch from people who name it."""
        branch = self._store.branches.own
        if ref.startswith("refs/replace/") or _NAMED_LIKE_REFS.match(ref):
            return True
        name = ref.partition("/")[2].partition("/")[2].casefold()
        meant = (f"{branch}".casefold(), "head")
        if ref.startswith("refs/tags/"):
            # A clone prefers a tag origin/main to the remote's branch, and the server does not know its remotes' names.
            return name == _REMOTE or name.endswith(tuple(f"/{one}" for one in meant)) or name in meant
        # A branch HEAD is fetched to where a clone keeps the remote's HEAD. A branch feature/main hides nothing.
        return name in (*meant, f"heads/{meant[0]}")

    def _in_its_place(self, old: str, new: str, ref: str) -> Iterator[str]:
        """The message for a store that is pushed to another branch while the guarded branch does not exist."""
        store = self._store
        branch = ref.removeprefix("refs/heads/")
        if branch == ref or branch.startswith(PROPOSALS):
            return
        if any(oid.strip("0") and store.holds(oid) for oid in (old, new)):
            yield (
                f"{branch} holds a store, but this hook guards {store.branches.own or 'HEAD'}, which is not a branch there; "
                f"on the server run `{hook_settings.guard_by(store.repository, 'kt.branch', branch)}`"
            )

    def _received(self, old: str, new: str) -> Iterator[str]:
        store = self._store
        if not new.strip("0"):
            yield "the store branch is never deleted"
            return
        known = bool(old.strip("0"))
        if known and not store.repository.is_ancestor(old, new):
            yield "the store branch is never rewritten; fetch, and make your change on top of it"
            return
        held = known and store.holds(old)
        if not held and not store.holds(new):
            # The branch of a project that has no store yet, unless the hook looks for it in the wrong place.
            yield from hook_settings.elsewhere(store.location, new)
            return
        history = History(store)
        lines = history.lines(new, old if known else None)
        since = None
        if known:
            resting = lines.resting(new, old)
            if resting is None:
                yield "a merge must have the store branch as its first parent; merge into it, not it into yours"
                return
            since = replace(_judged(history, old, self._now), commit=resting)
        run = history.run(new, Scope(self._now, arriving=True), since=since, lines=lines)
        found = reported(run, new, only_new=True, may_waive=False).violations
        for violation in found:
            yield violation_line(violation)
        if not found:
            self.mark = run.judge.mark(new)
        pinned = store.repository.config.get("kt.start")
        if pinned and not known and run.judge.start != pinned:
            yield f"the store began with {pinned[:12]} here, and this one begins with {str(run.judge.start)[:12]}"
        if held:
            policies = run.judge.policies
            # Without a roster people are known by e-mail only; the first roster says who pushes it.
            yield from self._pushed_by(
                run.judge.authors.acted, policies.at(-1).roster or policies.policies.roster
            )

    def _pushed_by(self, acted: Sequence[Acted], roster: Roster | None) -> Iterator[str]:
        """Violations for commits whose authors neither push them now nor, by this server's ledger, pushed them before."""
        if self._pusher is None:
            if acted and not self._anonymous:
                yield "this server does not say who is pushing; its administrator set the hook to ask for that"
            return
        pusher = _known(self._pusher, roster)
        others = [one for one in acted if person(roster, one.actor) != pusher]
        if not others:
            return
        known = Ledger(self._store.lock_folder).who({one.commit.oid for one in others})
        for one in others:
            names = {_known(name, roster) for name in known.get(one.commit.oid, ())}
            if person(roster, one.actor) not in names:
                or_theirs = f", or one that {one.actor} has pushed here" if one.actor else ""
                yield (
                    f"commit {one.commit.oid[:12]} by {author_named(one.commit.email)}: pusher: expected a commit by "
                    f"{self._pusher}, who is pushing{or_theirs}{'' if roster else _NO_ROSTER}"
                )


_NO_ROSTER = "; there is no roster yet that says who they are: push policies/roster.yaml first"


def _known(name: str, roster: Roster | None) -> str:
    """The person behind a name from the server. In a login, the forge and a colon come first (`hosting.pushing`)."""
    forge, colon, login = name.partition(":")
    return (logged_in(roster, forge, login) if roster and colon else None) or person(roster, name)
