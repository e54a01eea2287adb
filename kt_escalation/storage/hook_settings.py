"""Finds the folder and branch that a server's hook should guard, and the commands that change them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ..git.repository import Repository
from . import layout
from .location import Location


def folders_of_stores(repository: Repository, commit: str) -> list[str]:
    """The folders of a commit that look like a store, with both `queue/` and `policies/`. "" is the repository's top."""
    folders = set(repository.folders(commit))
    tops = {name.rpartition("/")[0] for name in folders}
    both = [[f"{top}/{name}".lstrip("/") for name in (layout.QUEUE, layout.POLICIES)] for top in tops]
    return sorted(top for top, names in zip(tops, both, strict=True) if folders.issuperset(names))


def elsewhere(location: Location, commit: str) -> Iterator[str]:
    """A warning if a commit holds a store, but not in the configured folder."""
    found = folders_of_stores(location.repository, commit)
    if found:
        there = location.root or "the top folder"
        name = found[0] if len(found) == 1 else "FOLDER"
        folders = ", ".join(folder or "the top folder" for folder in found[:3])
        yield (
            f"there is no store in the configured place, {there}, but there is one in {folders}; "
            f"on the server run `{guard_by(location.repository, 'kt.root', name)}`"
        )


def guard_by(repository: Repository, key: str, value: str) -> str:
    """The command with which this server's hook guards another branch or folder."""
    where = shlex.quote(str(repository.toplevel or repository.git_dir))
    if key == "kt.branch" and not repository.config.get(key):
        return f"git -C {where} symbolic-ref HEAD {shlex.quote(f'refs/heads/{value}')}"
    return f"git -C {where} config {key} {shlex.quote(value)}"
