"""Creates a store: the layout, sample policies and the CI check, as one commit."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Unpack

from ..errors import BadInput, NotAStore, exhausted
from ..frozen import dataclass
from ..git.repository import author_outside, init
from ..model.times import to_millis
from ..storage import layout
from ..storage.clone import GitStore
from ..storage.effect import LAST_LOOK, LEAST_FOR_PUSH, LOOK_AGAIN, Effect, EffectOutcome
from ..storage.interface import Author, Stale
from ..storage.location import root_of
from ..storage.trees import Trees
from .options import OpenOptions
from .read_session import LOCK_TIMEOUT, RETRY_TIMEOUT

MESSAGE = "kt: init the store\n"
#: The files that bring the check into a forge's CI, from the repository's top, and their templates.
CI: Mapping[str, Mapping[str, str]] = {
    "github": {".github/workflows/kt-escalation.yml": "github-workflow.yml"},
    "gitlab": {".gitlab/kt-escalation.yml": "gitlab-job.yml", ".gitlab-ci.yml": "gitlab-ci.yml"},
}


_NOT_INSTALLED = (
    "kt is not installed, and is on no package index yet: replace this line with `pip install` and a source that you "
    "trust, as `kt escalation init --ci {ci} --install SPEC` does"
)
# A requirement as pip takes it (PEP 508): a name, extras, and versions or an address.
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[A-Za-z0-9._, -]*\])? *(@ *(?P<url>\S+)|[~=!<>][^/\\]*)?",
    re.ASCII,
)
# pip takes this for a file if there is one of that name in the job's folder.
_ARCHIVE = re.compile(r".*\.(whl|zip|t?gz|tar|t?bz2?|t?xz|t?lz|lzma)", re.ASCII | re.IGNORECASE)
_ADDRESS = re.compile(r"((git\+)?(https|ssh)://|file:///)\S+", re.ASCII)


@dataclass(frozen=True)
class InitResult:
    """The result of `init`: its commit (None if nothing was missing), whether the store is new, and warnings."""

    commit: str | None
    new: bool
    warnings: tuple[str, ...] = ()


def create(
    folder: Path, ci: str | None = None, install: str | None = None, **options: Unpack[OpenOptions]
) -> InitResult:
    """Create a store in a folder, and with ``ci`` (a key of `CI`) the check of pull requests.

    ``install`` is what the check's job installs with pip. Without it, the job fails and says why. If the
    folder is below the top of a repository, it becomes that repository's `kt.root`. If there is a store
    already, only the check is added. No file is ever overwritten. Raises BadInput and the errors of writing.
    """
    if install is not None:
        require_installable(install)
    begun = _Begun()
    on_effect = options.get("on_effect")
    if on_effect:
        on_effect(begun)
    try:
        _create(begun, folder, ci, install, options)
    except (Exception, KeyboardInterrupt) as caught:
        words = (
            "interrupted" if isinstance(caught, KeyboardInterrupt) else str(caught) or type(caught).__name__
        )
        if begun.outcome is EffectOutcome.SENT:
            raise begun.given_up(words) from caught
        if begun.outcome is not EffectOutcome.LANDED:
            raise
        begun.warn(f"cut short after the commit: {words}")
    return begun.made


@dataclass
class _Begun(Effect):
    """The progress of the commit that creates a store, and the result for the caller."""

    made: InitResult = InitResult(None, False)

    def warn(self, text: str | None) -> None:
        """Add a warning about a problem after the commit."""
        if text:
            self.made = replace(self.made, warnings=(*self.made.warnings, text))


def _create(begun: _Begun, folder: Path, ci: str | None, install: str | None, options: OpenOptions) -> None:
    """Create the store, and record the outcome."""
    progress = options.get("progress")
    author = _author(folder)
    with _made(folder):
        try:
            store = GitStore(folder, progress=progress)
        except NotAStore:
            init(folder)
            store = GitStore(folder, progress=progress)
        try:
            if inside := _inside(store, folder):
                store.location.root = inside
            _begin(begun, store, author, ci, install, options)
        finally:
            store.close()


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder for what follows. If that fails, remove what is still empty of it."""
    # A Path's own is_dir raises for a name that is too long.
    new = [path for path in (folder, *folder.parents) if not os.path.isdir(path)]  # noqa: PTH112
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(problem=f"{folder}: {error.strerror}") from None
        yield
    except BaseException:
        with suppress(OSError):
            for path in new:
                path.rmdir()
        raise


def _inside(store: GitStore, folder: Path) -> str:
    """The path of a folder below the top of the repository. Raises BadInput if no store can be there."""
    inside = store.repository.inside(folder)
    try:
        return root_of(inside)
    except BadInput:
        raise BadInput(problem=f"no store can be in {inside!r}; give a folder with a plain name") from None


def _require_one(store: GitStore, base: str | None) -> None:
    """Raise BadInput if a commit has a store in another folder, as far as this clone and the commit tell."""
    known = store.location.root_at(base)
    if base is None or known == store.root:
        return
    found = f"this repository has its store in {known}"
    if not known:
        [tree] = store.repository.objects.ids_of([f"{base}^{{tree}}"])
        if store.holds(base) or tree is None or not Trees(store.repository, "").has_store(tree):
            return
        # A queue/ of something else has that name as well.
        found = f"kt takes {layout.QUEUE}/ and {layout.POLICIES}/ in the top folder of this repository for a store"
    top = shlex.quote(str(store.repository.toplevel or store.repository.git_dir))
    value = f"{'-- ' * store.root.startswith('-')}kt.root {shlex.quote(store.root)}"
    raise BadInput(
        problem=f"{found}; for another one in {store.root or 'the top folder'}, run `git -C {top} config {value}` first"
    )


def require_installable(spec: str) -> None:
    """Raise BadInput for a text that the job must not pass to pip.

    It must be one requirement, address or absolute path, and not an option. A path inside the checkout is
    refused, because the job would run code of the branch that it judges.
    """
    if not spec.isprintable() or not spec.strip() or spec != spec.strip() or "${{" in spec:
        raise BadInput(
            problem="--install is empty, or has line breaks, blanks around it, or ${{, which GitHub would fill in"
        )
    if spec.startswith("-"):
        raise BadInput(
            problem=f"--install is {spec[:80]!r}, an option of pip",
            hint="give one requirement, address or absolute path",
        )
    found = _REQUIREMENT.fullmatch(spec)
    url = found["url"] if found else spec
    named = found is not None and url is None and not _ARCHIVE.fullmatch(found["name"])
    if not (named or spec.startswith("/") or _ADDRESS.fullmatch(url or "")):
        raise BadInput(
            problem=f"--install is {spec[:80]!r}, which is not a requirement, an https, ssh or file address, or an absolute path",
            hint="a path inside the repository would be code of the branch that is judged",
        )


def _author(folder: Path) -> Author:
    """The author of the commits, read before anything is written. Raises NoIdentity."""
    here = folder.absolute()
    while not os.path.isdir(here):  # noqa: PTH112 - a Path's own is_dir raises for a name too long
        here = here.parent
    try:
        store = GitStore(here)
    except NotAStore:
        return author_outside(here)
    try:
        return store.author()
    finally:
        store.close()


def _begin(
    begun: _Begun,
    store: GitStore,
    author: Author,
    ci: str | None,
    install: str | None,
    options: OpenOptions,
) -> None:
    clock = options.get("clock") or (lambda: datetime.now(UTC))
    retry_timeout = options.get("retry_timeout", RETRY_TIMEOUT)
    with store.writing(options.get("lock_timeout", LOCK_TIMEOUT)):
        now = to_millis(clock())
        end = time.monotonic() + retry_timeout
        attempts = 0
        said, said_of, stuck = "", None, ""
        while True:
            attempts += 1
            base = store.newest_tip.start(max(end - time.monotonic(), 0.1))
            _require_one(store, base)
            stuck = said if base == said_of else ""
            new = base is None or not store.holds(base)
            files = _policies(store) if new else {}
            if new:
                # The store begins with its queue, so records that are raised after this commit have a history
                # that can be judged.
                files[store.full(f"{layout.QUEUE}/.gitkeep")] = b""
            check, warnings = _check(store, base, ci, install) if ci else ({}, ())
            files |= check
            if not files:
                begun.made = InitResult(None, False, warnings)
                begun.found(base or "")
                _remember_root(store, base)
                return
            message = MESSAGE if new else f"kt: check what is proposed on {ci}\n"
            try:
                prepared = store.writer.prepare_files(base, files, message, author, now)
                begun.facts = store.writer.facts_of(prepared)
                begun.made = InitResult(prepared.commit, new, warnings)
                seconds = max(end - time.monotonic(), LEAST_FOR_PUSH)
                try:
                    refusal = begun.send(prepared.commit, partial(prepared.send, seconds))
                except (Exception, KeyboardInterrupt):
                    if not _is_there(store, prepared.commit):
                        raise
                    begun.found(prepared.commit)
                    refusal = None
                if refusal is not None:
                    raise refusal
            except Stale as stale:
                said, said_of = str(stale), base
                if end - time.monotonic() < LEAST_FOR_PUSH:
                    raise exhausted(attempts, retry_timeout, store.remote, stuck) from None
                time.sleep(LOOK_AGAIN)
                continue
            _remember_root(store, prepared.commit)
            prepared.settle()
            left = store.follow(prepared.commit) if options.get("follow_checkout", True) else None
            begun.warn(f"the checkout was left as it is: {left}" if left else None)
            begun.warn(store.branches.learn_head(store.newest_tip.branch, retry_timeout) if new else None)
            return


def _remember_root(store: GitStore, commit: str | None) -> None:
    """Tell this clone in which folder its store is, if neither it nor a commit says so."""
    if store.location.root_at(commit) != store.root:
        store.repository.configure("kt.root", store.root)


def _is_there(store: GitStore, commit: str) -> bool:
    """Whether the remote's store branch contains the commit, after a push without an answer."""
    end = time.monotonic() + LAST_LOOK
    with suppress(Exception, KeyboardInterrupt):
        while True:
            tip = store.newest_tip.start(max(end - time.monotonic(), LOOK_AGAIN))
            if tip is not None and store.repository.is_ancestor(commit, tip):
                return True
            if time.monotonic() >= end:
                break
            time.sleep(LOOK_AGAIN)
    return False


def _template(name: str) -> bytes:
    return resources.files("kt_escalation.templates").joinpath(name).read_bytes()


def _policies(store: GitStore) -> dict[str, bytes | None]:
    return {store.full("policies/policy-config.yaml"): _template("policy-config.yaml")}


def _check(
    store: GitStore, base: str | None, ci: str, install: str | None
) -> tuple[dict[str, bytes | None], tuple[str, ...]]:
    """The files of the check that do not exist yet, and messages about those that do."""
    files: dict[str, bytes | None] = {}
    warnings = []
    branch = store.newest_tip.branch
    words = {
        "@ROOT@": store.root,
        "@NAME@": branch,
        # In a filter of GitHub's, + and a leading ! mean something.
        "@BRANCH@": re.sub(r"\+|^!", r"\\\g<0>", branch),
        "@INSTALL@": f"pip install {shlex.quote(install)}"
        if install is not None
        else f"echo {shlex.quote(_NOT_INSTALLED.format(ci=ci))} >&2; exit 1",
    }
    for path, template in CI[ci].items():
        text = _template(template)
        for place, told in words.items():
            # GitLab fills in variables in the values of variables.
            word = told.replace("$", "$$") if ci == "gitlab" and place in ("@ROOT@", "@NAME@") else told
            # JSON's strings are YAML's as well.
            text = text.replace(f'"{place}"'.encode(), json.dumps(word, ensure_ascii=False).encode())
        there = store.repository.objects.get([f"{base}:{path}"])[0] if base else None
        if there is None:
            files[path] = text
        elif there.data != text:
            warnings.append(f"{path} is there already and was left as it is")
            if path == ".gitlab-ci.yml" and b"kt-escalation.yml" not in (there.data or b""):
                warnings[-1] += "; add to its `include:` the line `- local: .gitlab/kt-escalation.yml`"
    if files and install is None:
        warnings.append(
            "the job fails until it knows where kt comes from, as kt is on no package index yet: name the source with "
            "--install, or write it into the job"
        )
    elif files and _REQUIREMENT.fullmatch(install or "") and "@" not in (install or ""):
        warnings.append(
            f"the job installs {install} from the index that pip uses there: make sure that you control that index"
        )
    return files, tuple(warnings)
