"""`verify`: judges the history up to the newest commit or in a range, and remembers the result in this clone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ..errors import BadInput, NotAStore, ShallowClone, UnreadableStore
from ..model.text import plural
from ..rules.judge_step import Violation
from ..storage import commits, layout
from ..storage.clone import GitStore
from ..storage.interface import Progress
from .mark import Mark, remember, remembered
from .report import Report, reported
from .run import History, Run
from .scope import Scope

#: The name of the clone's marks from full runs of `verify`, by branch.
FULL = "verified"


def verify(
    path: str | os.PathLike[str] = ".",
    wanted: str | None = None,
    *,
    afresh: bool = False,
    require_signatures: bool = False,
    contains: str | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Report:
    """Judge the whole history up to HEAD, or a range such as ``A..B``.

    Without a range, the clone stores the last commit of the published branch without violations, or with only
    waived ones, and the next run judges only new commits, unless ``afresh``. ``require_signatures`` requires
    signatures even if the settings do not. ``contains`` is a commit that the line must have. ``progress`` is
    called for commits. Raises ShallowClone, BadInput, NotAStore.
    """
    with closing(opened(path)) as store:
        start, tip = _range(store, wanted)
        require_store(store, tip)
        history = History(store)
        scope = Scope(now or datetime.now(UTC), always_signed=require_signatures)
        if start is not None:
            run = history.run(tip, scope, since=_before(history, tip, start, scope.now), progress=progress)
            report = reported(run, tip, only_new=True)
        else:
            report = _remembered(history, tip, scope, afresh=afresh or require_signatures, progress=progress)
        if contains is not None:
            report = _contains(history, report, tip, commit_of(store, contains))
        return replace(report, nobody_proven=report.nobody_proven and not require_signatures)


def opened(path: str | os.PathLike[str]) -> GitStore:
    """The store at a path. Raises ShallowClone if history is missing, and NotAStore."""
    store = GitStore(Path(path))
    try:
        require_history(store)
    except BaseException:
        store.close()
        raise
    return store


def require_history(store: GitStore) -> None:
    """Raise ShallowClone if this clone lacks commits or trees."""
    repository = store.repository
    where = str(repository.toplevel or repository.git_dir)
    if repository.is_shallow:
        raise ShallowClone(where=where)
    if any(
        _omits_trees(value)
        for name, value in repository.config.items()
        if name.endswith(".partialclonefilter")
    ):
        raise ShallowClone(
            where=where,
            says="{where} is a clone without trees, and history is judged by them",
            hint="get them with `git fetch --refetch --filter=blob:none`",
        )


def _omits_trees(wanted: str) -> bool:
    """Whether a partial clone's filter leaves out trees (git-rev-list, *--filter*)."""
    kind, _, rest = wanted.partition(":")
    if kind == "combine":
        from urllib.parse import unquote

        return any(_omits_trees(unquote(part)) for part in rest.split("+"))
    return kind in ("tree", "object")


def _before(history: History, tip: str, start: str, now: datetime) -> Mark:
    resting = history.lines(tip).resting(tip, start)
    if resting is None:
        raise BadInput(
            problem=f"{start[:12]} is not on the line of {tip[:12]}, so nothing lies between them on it"
        )
    return history.known(resting, remembered(history.store, FULL), now)


def _remembered(
    history: History, tip: str, scope: Scope, *, afresh: bool, progress: Progress | None
) -> Report:
    store = history.store
    end = _end(store, tip)
    known = None if afresh else next(iter(remembered(store, FULL)), None)
    if known is not None and known.root != store.root and "kt.root" not in store.repository.config:
        where = store.full(layout.QUEUE)
        expected = f"expected the folder {known.root or 'at the top'}, where this clone has verified the store before"
        wrong = Violation("root", expected, tip, commits.header(store, tip).email, where)
        return replace(reported(history.run(tip, scope, progress=progress), tip), violations=(wrong,))
    ahead = end is not None and end != tip and store.repository.is_ancestor(end, tip)
    passing = end if ahead else None
    since = history.usable(tip, [known] if known is not None else [])
    run = history.run(tip, scope, since=since, passing=passing, progress=progress)
    report = reported(run, tip)
    if end is None:
        return report
    report = replace(report, notes=tuple(_notes(store, run, tip, end, is_new=known is None and not afresh)))
    if known is not None and not _goes_on(history, end, known.commit):
        return replace(report, violations=(_rewritten(store, end, known.commit), *report.violations))
    is_published = end == tip or store.repository.is_ancestor(tip, end)
    if report.clean and is_published and (known is None or _goes_on(history, tip, known.commit)):
        _keep(store, run.mark(tip))
    elif report.clean and ahead and not report.waived:
        # Commits that are not pushed may still be undone, and waivers among them with them.
        _keep(store, run.mark(end))
    return report


def _keep(store: GitStore, mark: Mark | None) -> None:
    if mark is not None and mark.start is not None:
        remember(store, FULL, mark)


def _goes_on(history: History, tip: str, commit: str) -> bool:
    """Whether another commit is on the line of a commit."""
    if tip == commit:
        return True
    if not history.store.repository.is_ancestor(commit, tip):
        return False
    return history.lines(tip, commit).resting(tip, commit) is not None


def goes_on(store: GitStore, tip: str, seen: str) -> bool:
    """Whether a commit's line contains one of its ancestors. True if the history to tell is missing."""
    try:
        require_history(store)
    except ShallowClone:
        return True
    return _goes_on(History(store), tip, seen)


def _contains(history: History, report: Report, tip: str, commit: str) -> Report:
    if commit in history.lines(tip) and history.lines(tip).resting(tip, commit) is not None:
        return report
    return replace(report, violations=(_rewritten(history.store, tip, commit), *report.violations))


def require_store(store: GitStore, tip: str) -> None:
    """Raise NotAStore if no commit ever held a store; the judge reports a store that was deleted."""
    try:
        store.at(tip)
    except UnreadableStore:
        return
    except NotAStore:
        folders = [f":(top,literal){store.full(folder)}" for folder in (layout.QUEUE, layout.POLICIES)]
        if not store.repository.rev_list(["--max-count=1", "--full-history", tip, "--", *folders]):
            raise


def _end(store: GitStore, tip: str) -> str | None:
    """The end of the published store branch. None if this clone does not know it.

    It is the remote's branch as last seen; without a remote, a branch of this repository at the tip.
    """
    if store.branch is None:
        return None if store.remote else tip
    where = f"remotes/{store.remote}" if store.remote else "heads"
    return store.repository.tip_of(f"refs/{where}/{store.branch}")


def _notes(store: GitStore, run: Run, tip: str, end: str, *, is_new: bool) -> Iterator[str]:
    """Notes on facts that were not judged or cannot be known here."""
    if store.remote and end != tip and store.repository.is_ancestor(tip, end):
        count = len(store.repository.rev_list([end, f"^{tip}"]))
        yield (
            f"{store.remote}/{store.branch} is {plural(count, 'commit')} further than HEAD; "
            "they were not judged: `git pull` first"
        )
    if is_new and run.judge.tally.merges:
        yield (
            "this clone has not seen the branch before, so it cannot know which side of a merge was the branch; "
            "name a commit that you know to be on it with --contains COMMIT"
        )


def _rewritten(store: GitStore, end: str, known: str) -> Violation:
    expected = (
        f"expected a line that goes through {known[:12]}: ask the people who may rewrite the branch; if it was meant, "
        "`kt escalation verify --afresh` judges it again and continues from there"
    )
    return Violation("rewritten", expected, end, commits.header(store, end).email, store.full(layout.QUEUE))


def _range(store: GitStore, wanted: str | None) -> tuple[str | None, str]:
    if wanted is None:
        # Nothing is checked out yet: use the store branch of the remote.
        return None, store.repository.tip_of("HEAD") or store.read().revision
    start, dots, end = wanted.partition("..")
    if not dots:
        return None, commit_of(store, wanted)
    return commit_of(store, start or "HEAD"), commit_of(store, end or "HEAD")


def commit_of(store: GitStore, rev: str) -> str:
    """The commit that a revision names. Raises BadInput."""
    found = store.repository.commit_of(rev)
    if found is None:
        raise BadInput(problem=f"{rev!r} names no commit; see `git log --all`")
    return found
