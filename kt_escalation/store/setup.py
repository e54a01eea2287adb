"""Making a store: the layout, sample policies and the check for CI, as one commit (design, section 8, `init`)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

from ..errors import BadInput, NotAStore, RetriesExhausted
from . import git
from .gitstore import GitStore
from .port import Author, Progress, Stale, Unanswered

MESSAGE = "kt: init the store\n"
#: The files that bring the check into a forge's CI, from the repository's top, and their templates.
CI: Mapping[str, Mapping[str, str]] = {
    "github": {".github/workflows/kt-escalation.yml": "github-workflow.yml"},
    "gitlab": {".gitlab/kt-escalation.yml": "gitlab-job.yml", ".gitlab-ci.yml": "gitlab-ci.yml"},
}


@dataclass(frozen=True)
class Made:
    """What `init` has done: its commit, None if all was there; whether the store is new; and warnings."""

    commit: str | None
    new: bool
    warnings: tuple[str, ...] = ()


def create(
    folder: Path,
    now: datetime,
    lock_timeout: float,
    retry_timeout: float,
    ci: str | None = None,
    progress: Progress | None = None,
) -> Made:
    """Make a store in a folder, and with ``ci`` (a key of `CI`) the check of pull requests.

    A folder inside a repository, but not its top, becomes that repository's `kt.root`. To a store that is
    there already only the check is added, and no file is ever overwritten. ``progress`` is told of what lasts.
    Raises BadInput and what writing raises.
    """
    author = _author(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(problem=f"{folder}: {error.strerror}") from None
    try:
        store = GitStore(folder, progress=progress)
    except NotAStore:
        git.init(folder)
        store = GitStore(folder, progress=progress)
    try:
        inside = store.repository.inside(folder)
        if inside and store.root and inside != store.root:
            raise BadInput(
                problem=f"this repository has its store in {store.root}; for another one in {inside}, "
                "point git config kt.root there first"
            )
        if inside and not store.root:
            store.repository.configure("kt.root", inside)
            store.close()
            store = GitStore(folder, progress=progress)
        return _begin(store, author, now, lock_timeout, retry_timeout, ci)
    finally:
        store.close()


def _author(folder: Path) -> Author:
    """Who acts there, asked before anything is made. Raises NoIdentity."""
    here = folder.absolute()
    while not os.path.isdir(here):  # noqa: PTH112 - a Path's own is_dir raises for a name too long
        here = here.parent
    try:
        store = GitStore(here)
    except NotAStore:
        return git.author_outside(here)
    try:
        return store.author()
    finally:
        store.close()


def _begin(
    store: GitStore, author: Author, now: datetime, lock_timeout: float, retry_timeout: float, ci: str | None
) -> Made:
    with store.writing(lock_timeout):
        end = time.monotonic() + retry_timeout
        attempts = 0
        while True:
            attempts += 1
            base = store.start(max(end - time.monotonic(), 0.1))
            new = base is None or not store.holds(base)
            files = _policies(store) if new else {}
            check, warnings = _check(store, base, ci) if ci else ({}, ())
            files |= check
            if not files:
                return Made(None, False, warnings)
            message = MESSAGE if new else f"kt: check what is proposed on {ci}\n"
            try:
                commit = store.commit_files(base, files, message, author, now, end)
            except Stale:
                if time.monotonic() >= end:
                    raise RetriesExhausted(attempts=attempts, seconds=retry_timeout) from None
                continue
            except Unanswered as unanswered:
                raise store.unknown(unanswered.commit, unanswered.words) from None
            left = store.follow(commit)
            told = [
                f"the checkout was left as it is: {left}" if left else None,
                store.learn_head(retry_timeout) if new else None,
            ]
            return Made(commit, new, (*warnings, *filter(None, told)))


def _template(name: str) -> bytes:
    return resources.files("kt_escalation.templates").joinpath(name).read_bytes()


def _policies(store: GitStore) -> dict[str, bytes | None]:
    return {store.full("policies/policy-config.yaml"): _template("policy-config.yaml")}


def _check(store: GitStore, base: str | None, ci: str) -> tuple[dict[str, bytes | None], tuple[str, ...]]:
    """The files of the check that are not there yet, and what is to be said about those that are."""
    files: dict[str, bytes | None] = {}
    warnings = []
    for path, template in CI[ci].items():
        # JSON's strings are YAML's as well.
        root = json.dumps(store.root, ensure_ascii=False)
        text = _template(template).replace(b'"@ROOT@"', root.encode())
        there = store.repository.objects.get([f"{base}:{path}"])[0] if base else None
        if there is None:
            files[path] = text
        elif there.data != text:
            warnings.append(f"{path} is there already and was left as it is")
            if path == ".gitlab-ci.yml" and b"kt-escalation.yml" not in (there.data or b""):
                warnings[-1] += "; add to its `include:` the line `- local: .gitlab/kt-escalation.yml`"
    return files, tuple(warnings)
