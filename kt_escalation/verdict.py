"""The three questions of who checks: is the history legal, would this pull request be, is this push."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from . import lifeline, lookup
from .audit import Audit, Offence, Standard
from .core import signatures
from .core.policies_file import WAIVERS
from .core.rights import known_as
from .core.text import plural
from .core.waivers import Waiver
from .errors import BadInput, KtError, NotAStore, ShallowClone
from .store import graph, layout, notebook, server_hook
from .store.gitstore import GitStore
from .store.graph import Commit
from .store.notebook import Verified
from .store.port import PROPOSALS, Entry, Progress
from .store.snapshot import GitSnapshot, root_of

#: How long the remote may take to say which branch is the store's, in seconds.
ASK_SECONDS = 30.0

# The rules that a change of policies breaks.
_OF_POLICIES = signatures.RULES | {"policies"}

# A commit that was clean or waived, and what was waived up to it.
_Known = tuple[str, tuple[Offence, ...]]


@dataclass(frozen=True)
class Signatures:
    """The commits that did something: signed as it was required, signed unasked, and not signed."""

    held: int
    unasked: int
    unsigned: int


@dataclass(frozen=True)
class Report:
    """What was judged, and what was found: violations, and those that a waiver accepts.

    ``notes`` say what the judge cannot decide by itself.
    """

    revision: str
    commits: int
    steps: int
    imported: int
    signatures: Signatures
    people: tuple[str, ...]
    violations: tuple[Offence, ...]
    waived: tuple[Offence, ...] = ()
    since: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing was found that no waiver accepts."""
        return not self.violations


def verify(
    path: str | os.PathLike[str] = ".",
    wanted: str | None = None,
    *,
    afresh: bool = False,
    require_signatures: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Judge the whole history up to HEAD, or a range such as ``A..B``.

    Without a range the clone remembers the last commit of the published branch that was clean or waived: the
    next run looks at what is new since, unless ``afresh``. ``require_signatures`` asks for them where the
    settings do not. ``progress`` is told of commits; from the start again where what is new does not suffice.
    Raises ShallowClone, BadInput, NotAStore.
    """
    store = _open(path)
    try:
        start, tip = _range(store, wanted)
        _require_store(store, tip)
        if start is not None:
            return _judged(store, tip, [tip, f"^{start}"], require_signatures, progress, since=start)
        known = None if afresh or require_signatures else _known(store)
        goes_on = known is not None and store.repository.is_ancestor(known[0], tip)
        report = _since(store, tip, known if goes_on else None, require_signatures, progress)
        end = _end(store, tip)
        if end is None:
            return report
        report = replace(report, notes=tuple(_behind(store, tip, end)))
        if known is not None and not (goes_on if end == tip else store.repository.is_ancestor(known[0], end)):
            return replace(report, violations=(_rewritten(store, end, known[0]), *report.violations))
        if report.clean:
            _remember(store, report, end, goes_on=known is None or goes_on)
        return report
    finally:
        store.close()


def _require_store(store: GitStore, tip: str) -> None:
    """Raise NotAStore where no commit ever held one; a store that was deleted is for the judge."""
    try:
        store.at(tip)
    except NotAStore:
        if not store.repository.rev_list(["--max-count=1", tip, "--", *graph.folders(store)]):
            raise


def _known(store: GitStore) -> _Known | None:
    """What this clone remembers of the store branch, None where that is gone."""
    known = notebook.verified(store.lock_folder, store.branch)
    if known is None or store.repository.tip_of(known.commit) is None:
        return None
    try:
        return known.commit, tuple(Offence(**offence) for offence in known.waived)
    except TypeError:
        return None


def _end(store: GitStore, tip: str) -> str | None:
    """Where the store branch ends for everybody, None if that is not known here.

    On the remote, as last seen; without one in this repository, for want of a branch at the tip.
    """
    if store.branch is None:
        return None if store.remote else tip
    where = f"remotes/{store.remote}" if store.remote else "heads"
    return store.repository.tip_of(f"refs/{where}/{store.branch}")


def _since(
    store: GitStore, tip: str, known: _Known | None, signed: bool, progress: Progress | None
) -> Report:
    """What is new since what was clean, with what was waived then."""
    if known is None:
        return _judged(store, tip, [tip], signed, progress)
    start, waived = known
    new = [tip, f"^{start}"]
    waivers = {store.repository.objects.id_of(f"{at}:{store.full(WAIVERS)}") for at in (start, tip)}
    # A branch from before it may touch what was verified, and what is waived no more is a violation again:
    # then only the whole tells.
    audit = _audit(store, new, signed, start)
    if start in (tip, audit.after) and len(waivers) == 1:
        report = _judged_by(audit, store, tip, new, progress, start)
        if report.clean and not report.waived:
            return replace(report, waived=waived)
    return _judged(store, tip, [tip], signed, progress)


def _behind(store: GitStore, tip: str, end: str) -> Iterator[str]:
    """What was fetched and is not checked out was not judged, and nobody should think that it was."""
    if store.remote and end != tip and store.repository.is_ancestor(tip, end):
        count = len(store.repository.rev_list([end, f"^{tip}"]))
        yield (
            f"{store.remote}/{store.branch} is {plural(count, 'commit')} further than HEAD; "
            "they were not judged: `git pull` first"
        )


def _rewritten(store: GitStore, end: str, known: str) -> Offence:
    expected = (
        f"expected a history that contains {known[:12]}, which was verified in this clone: ask whoever may rewrite "
        "the branch; if it was meant, `kt escalation verify --afresh` judges it anew and goes on from there"
    )
    return Offence(end, store.repository.email_of(end), store.full(layout.QUEUE), "rewritten", expected)


def _remember(store: GitStore, report: Report, end: str, *, goes_on: bool) -> None:
    """Remember what everybody has of what was found clean; what is only here may be taken back.

    ``goes_on`` says that what was judged holds what is remembered.
    """
    tip = report.revision
    ahead = end != tip and store.repository.is_ancestor(end, tip)
    if ahead and not report.waived:
        # Had something been waived, it could be by waivers that are only here as well.
        notebook.remember_verified(store.lock_folder, store.branch, Verified(end))
    elif goes_on and (end == tip or (not ahead and store.repository.is_ancestor(tip, end))):
        waived = tuple(asdict(offence) for offence in report.waived)
        notebook.remember_verified(store.lock_folder, store.branch, Verified(tip, waived))


def check(
    path: str | os.PathLike[str] = ".",
    wanted: str | None = None,
    *,
    now: datetime,
    progress: Progress | None = None,
) -> Report:
    """Judge what a pull request would bring in, also against a base that has moved on.

    ``wanted`` is ``BASE..HEAD``; without it, the remote's store branch and HEAD. The base's policies
    count, and our own clock; ``progress`` is told of commits. Raises ShallowClone, BadInput, NotAStore.
    """
    store = _open(path)
    try:
        base, head = _pull_request(store, wanted)
        report = _judged_against(store, base, head, now, progress=progress)
        return replace(report, notes=tuple(_notes(store, base, head)))
    finally:
        store.close()


def _notes(store: GitStore, base: str, head: str) -> Iterator[str]:
    """What depends on how the head comes in, which a pull request does not say."""
    if store.repository.is_ancestor(base, head) and not store.repository.follows(base, head):
        yield (
            f"{head[:12]} has merged {base[:12]} into itself, so the server's hook takes it by a merge commit on "
            "the store branch (`git merge --no-ff`) and refuses it as a fast-forward"
        )


@dataclass(frozen=True)
class Installed:
    """A server's hook: its file, the branch that it guards, the folder in which the store is, and warnings."""

    path: Path
    branch: str | None
    root: str
    warnings: tuple[str, ...]


def install(
    server: str | os.PathLike[str],
    command: Sequence[str],
    *,
    branch: str | None = None,
    root: str | None = None,
) -> Installed:
    """Make a command a server repository's pre-receive hook, which guards ``branch`` with the store in ``root``.

    Those are kept in the repository's `kt.branch` and `kt.root`; without them they stay as they are, and
    without `kt.branch` it guards the branch that HEAD names. Raises BadInput, NotAStore.
    """
    settings = {key: value for key, value in (("kt.branch", branch), ("kt.root", root)) if value is not None}
    with closing(GitStore(Path(server))) as store:
        if branch is not None:
            store.require_branch_name(branch)
        root_of(root or "")
        path = server_hook.install(store.repository.common_dir, command)
        for key, value in settings.items():
            store.repository.configure(key, value)
    with closing(GitStore(Path(server))) as store:
        return Installed(path, store.own_branch, store.root, tuple(_unguarded(store)))


def _unguarded(store: GitStore) -> Iterator[str]:
    """What the hook of a server's repository does not guard as it stands, and how to let it."""
    branch = store.own_branch
    tip = store.repository.tip_of(f"refs/heads/{branch}") if branch else None
    if tip is None:
        others = [name for name in store.repository.branches() if not name.startswith(PROPOSALS)]
        name = others[0] if len(others) == 1 else "NAME" if branch == "main" else "main"
        missing = f"there is no branch {branch} yet" if branch else "HEAD names no branch there"
        yield (
            f"{missing}, and no other is guarded; if the store is to be on {name}, "
            f"run `{store.guard_by('kt.branch', name)}`"
        )
    elif not store.holds(tip):
        yield from _elsewhere(store, tip)


def _elsewhere(store: GitStore, commit: str) -> Iterator[str]:
    """That a commit holds a store, but not where `kt.root` says."""
    found = store.folders_of_stores(commit)
    if found:
        there = store.root or "the top folder"
        name = found[0] if len(found) == 1 else "FOLDER"
        yield (
            f"there is no store in {there}, where it is looked for, but in {', '.join(map(_called, found[:3]))}; "
            f"on the server run `{store.guard_by('kt.root', name or repr(name))}`"
        )


def _called(folder: str) -> str:
    return folder or "the top folder"


def receive(
    path: str | os.PathLike[str],
    updates: Iterable[tuple[str, str, str]],
    *,
    now: datetime,
    pusher: str | None = None,
    anonymous: bool = True,
) -> Iterator[str]:
    """What a server's pre-receive hook has against a push: one line each, none if it may come in.

    ``updates`` are old id, new id and ref as git gives them (githooks documentation, *pre-receive*);
    ``pusher`` is who the server says is pushing; ``anonymous`` whether it may say nothing. Of other
    branches than the store's it is only asked that they do not get in its way, or take its place.
    """
    wanted = list(updates)
    try:
        with closing(GitStore(Path(path), quarantined=True)) as store:
            guarded = f"refs/heads/{store.own_branch}" if store.own_branch else None
            is_there = guarded is not None and (
                any(ref == guarded for *_, ref in wanted) or store.repository.tip_of(guarded) is not None
            )
            for old, new, ref in wanted:
                if ref == guarded:
                    if pusher is None and not anonymous:
                        yield "this server does not say who is pushing; its administrator set the hook to ask for that"
                    yield from _received(store, old, new, now, pusher)
                elif new.strip("0") and _NAMED_LIKE_REFS.match(ref):
                    yield f"git would take {ref} for the branch of that name, and nobody could push to it any more"
                elif not is_there:
                    yield from _in_its_place(store, old, new, ref)
    except KtError as error:
        yield f"on the server: {error.message}"


# A push to refs/heads/main fits refs/heads/refs/heads/main as well (git-push, *refspec*, unambiguous names).
_NAMED_LIKE_REFS = re.compile(r"refs/(heads|tags)/refs/")


def _in_its_place(store: GitStore, old: str, new: str, ref: str) -> Iterator[str]:
    """That a store is pushed to a branch which the hook does not guard, while the one that it guards is not there."""
    branch = ref.removeprefix("refs/heads/")
    if branch == ref or branch.startswith(PROPOSALS):
        return
    if any(oid.strip("0") and store.holds(oid) for oid in (old, new)):
        yield (
            f"{branch} holds a store, but this hook guards {store.own_branch or 'HEAD'}, which is no branch there; "
            f"on the server run `{store.guard_by('kt.branch', branch)}`"
        )


def _received(store: GitStore, old: str, new: str, now: datetime, pusher: str | None) -> Iterator[str]:
    if not new.strip("0"):
        yield "the store branch is never deleted"
        return
    known = bool(old.strip("0"))
    if known and not store.repository.is_ancestor(old, new):
        yield "the store branch is never rewritten; fetch, and make your change on top of it"
        return
    if known and not store.repository.follows(old, new):
        yield "a merge must have the store branch as its first parent; merge into it, not it into yours"
        return
    held = known and store.holds(old)
    if not held and not store.holds(new):
        # The branch of a project that has no store yet, unless the hook looks for it in the wrong place.
        yield from _elsewhere(store, new)
        return
    report = _judged_against(store, old if held else None, new, now)
    for offence in report.violations:
        yield told(offence)
    if pusher is not None and held:
        yield from _pushed_by(store, old, new, pusher)


def _pushed_by(store: GitStore, old: str, new: str, pusher: str) -> Iterator[str]:
    """Who pushes is who acts; what others did comes in by a merge commit of the pusher's."""
    roster = lookup.policies_at(store, old).roster
    line = set(store.repository.rev_list(["--first-parent", new, f"^{old}"]))
    for commit in graph.walk(store, [new, f"^{old}"]):
        if commit.oid not in line or not (commit.changes or len(commit.parents) > 1):
            continue
        actor = known_as(commit.email, roster)
        if pusher.casefold() not in (actor.casefold(), actor.casefold().partition("@")[0]) and (
            known_as(pusher, roster) != actor
        ):
            yield f"commit {commit.oid[:12]} by {commit.email}: pusher: expected a commit by {pusher}, who is pushing"


def told(offence: Offence) -> str:
    """A violation in one line: which commit, by whom, in which file, against which rule, and what is wrong."""
    who = offence.author or "somebody without an e-mail"
    return f"commit {offence.commit[:12]} by {who}: {offence.path}: {offence.rule}: {offence.expected}"


def _judged_against(
    store: GitStore,
    base: str | None,
    head: str,
    now: datetime,
    progress: Progress | None = None,
) -> Report:
    store.at(base or head)
    revisions = [head, f"^{base}"] if base else [head]
    standard = Standard(lookup.policies_at(store, base or head), now)
    audit = Audit(store, revisions, base, former=partial(lifeline.legal_states, store), standard=standard)
    if base:
        audit.know(_since_forks(store, base, revisions))
    found = list(audit.judge(graph.walk(store, revisions), progress))
    if base:
        found += _moved(store, base, head)
    return _report(store, audit, head, found, since=base, waivers_at=base or head)


def _since_forks(store: GitStore, base: str, revisions: Sequence[str]) -> Iterator[Commit]:
    """What the base has done since the oldest branch forked off that comes in now."""
    lines = [line.split() for line in store.repository.parents(revisions)]
    new = {oid for oid, *_ in lines}
    forks = {parent for _, *above in lines for parent in above} - new - {base}
    if forks:
        common = store.repository.merge_bases([base, *sorted(forks)])
        yield from graph.walk(store, [base, *(f"^{commit}" for commit in common)])


def _moved(store: GitStore, base: str, head: str) -> Iterator[Offence]:
    """What the base has done meanwhile to records that the head changes as well."""
    fork = store.repository.merge_base(base, head)
    if fork is None or fork == base:
        return
    mine = {layout.id_of(change.path) for change in graph.differences(store, fork, head)}
    theirs = {layout.id_of(change.path) for change in graph.differences(store, fork, base)}
    names = sorted(filter(None, mine & theirs))
    if not names:
        return
    there = store.at(base)
    new = list(graph.walk(store, [head, f"^{base}"]))
    last = {layout.id_of(change.path): commit for commit in new for change in commit.changes}
    for name in names:
        # What only a merge brings is the merge's.
        by = last.get(name, new[-1])
        expected = f"expected the state that the base has by now: {_told(there, name)}"
        yield Offence(by.oid, by.email, store.full(layout.open_path(name)), "moved", expected, name)


def _told(snapshot: GitSnapshot, name: str) -> str:
    found = snapshot.find(name)
    if not isinstance(found, Entry):
        return f"{name} cannot be read there"
    record = found.record
    if record.resolution is not None:
        return f"{name} is {record.resolution.outcome} by {record.resolution.resolved_by}"
    if record.claim is not None:
        return f"{name} is held by {record.claim.claimed_by}"
    return f"{name} is {record.status}"


def _judged(
    store: GitStore,
    tip: str,
    revisions: Sequence[str],
    signed: bool,
    progress: Progress | None,
    since: str | None = None,
) -> Report:
    return _judged_by(_audit(store, revisions, signed, since), store, tip, revisions, progress, since)


def _audit(store: GitStore, revisions: Sequence[str], signed: bool, since: str | None) -> Audit:
    former = partial(lifeline.legal_states, store)
    return Audit(store, revisions, since, former=former, always_signed=signed)


def _judged_by(
    audit: Audit,
    store: GitStore,
    tip: str,
    revisions: Sequence[str],
    progress: Progress | None,
    since: str | None,
) -> Report:
    found = list(audit.judge(graph.walk(store, revisions), progress))
    return _report(store, audit, tip, found, since, waivers_at=tip)


def _report(
    store: GitStore, audit: Audit, tip: str, found: Sequence[Offence], since: str | None, waivers_at: str
) -> Report:
    waivers = lookup.policies_at(store, waivers_at).waivers
    if waivers_at == tip:
        waivers = _counting(store, audit, found, waivers)
    waived = tuple(o for o in found if any(_waives(waiver, o) for waiver in waivers))
    return Report(
        tip,
        audit.tally.commits,
        audit.tally.steps,
        audit.tally.imported,
        Signatures(audit.tally.held, audit.tally.unasked, audit.tally.unsigned),
        tuple(sorted(audit.tally.people)),
        tuple(dict.fromkeys(offence for offence in found if offence not in waived)),
        waived,
        since,
    )


def _counting(
    store: GitStore, audit: Audit, found: Sequence[Offence], waivers: tuple[Waiver, ...]
) -> tuple[Waiver, ...]:
    """Those of the waivers that came by a legal change, or by one that such a waiver accepts."""
    against = [o for o in found if o.commit in audit.waiving and o.rule in _OF_POLICIES]
    added = {oid: _added(store, oid) for oid in audit.waiving} if against else {}
    last = {waiver: oid for oid, some in added.items() for waiver in some}
    while True:
        illegal = {offence.commit for offence in against}
        counting = tuple(waiver for waiver in waivers if last.get(waiver) not in illegal)
        left = [o for o in against if not any(_waives(waiver, o) for waiver in counting)]
        if left == against:
            return counting
        against = left


def _added(store: GitStore, commit: str) -> set[Waiver]:
    """The waivers that a commit has and none of its parents."""
    [line] = store.repository.parents([f"{commit}^!"])
    here, *before = (set(lookup.policies_at(store, oid).waivers) for oid in line.split())
    return here.difference(*before)


def _waives(waiver: Waiver, offence: Offence) -> bool:
    """Whether a waiver accepts a violation."""
    return waiver.covers(offence.commit, offence.rule, offence.path)


def _open(path: str | os.PathLike[str]) -> GitStore:
    store = GitStore(Path(path))
    if store.repository.is_shallow:
        store.close()
        raise ShallowClone(where=str(path))
    return store


def _range(store: GitStore, wanted: str | None) -> tuple[str | None, str]:
    if wanted is None:
        # Where nothing is checked out yet, what the store branch has elsewhere.
        return None, store.repository.tip_of("HEAD") or store.read().revision
    start, dots, end = wanted.partition("..")
    if not dots:
        return None, _commit(store, wanted)
    return _commit(store, start or "HEAD"), _commit(store, end or "HEAD")


def _pull_request(store: GitStore, wanted: str | None) -> tuple[str, str]:
    if wanted is not None:
        base, dots, head = wanted.partition("..")
        if not dots:
            raise BadInput(problem=f"{wanted!r} is no range; give BASE..HEAD")
        return _commit(store, base or "HEAD"), _commit(store, head.removeprefix(".") or "HEAD")
    if store.remote is None:
        raise BadInput(problem="there is no remote store branch to check against; give BASE..HEAD")
    branch = store.branch_to_write(ASK_SECONDS)
    tip = store.repository.commit_of(f"refs/remotes/{store.remote}/{branch}")
    if tip is None:
        hint = f"get it with `git fetch {store.remote}`, or give BASE..HEAD"
        raise BadInput(problem=f"{branch} of {store.remote} is not here to check against", hint=hint)
    return tip, _commit(store, "HEAD")


def _commit(store: GitStore, rev: str) -> str:
    found = store.repository.commit_of(rev)
    if found is None:
        raise BadInput(problem=f"{rev!r} names no commit; see `git log --all`")
    return found
