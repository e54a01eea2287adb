"""Where a clone keeps its store: the folder, the remote and the clone's own files. See docs/setup.md."""

from __future__ import annotations

import os
import shlex
from functools import cached_property
from pathlib import Path

from ..errors import BadInput, NotAStore
from ..git.repository import Repository
from . import layout, trees
from .trees import KT_YAML

# A `.kt.yaml` with more bytes is refused.
MAX_KT_YAML = 4096


class Location:
    """The folder and the remote of the store in one repository.

    Both are read at first use. Raises BadInput if the settings contradict each other or the repository.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    # --- the folder -------------------------------------------------------------------------------

    @cached_property
    def root(self) -> str:
        """The store's folder: `kt.root` of this clone, else what `.kt.yaml` names in the newest known commit."""
        refs = [f"refs/remotes/{self.repository.config.get('kt.remote') or 'origin'}/HEAD", "HEAD"]
        tip = next((ref for ref in refs if self.repository.objects.id_of(f"{ref}^{{commit}}")), None)
        return self.root_at(tip)

    def root_at(self, commit: str | None) -> str:
        """The store's folder: `kt.root` of this clone, else what `.kt.yaml` names at a commit. Raises BadInput."""
        asked = self.repository.config.get("kt.root")
        if asked is not None:
            return root_of(asked)
        found = self.root_named(commit)
        if found is None:
            raise BadInput(
                problem=f"{KT_YAML} cannot be read; it says `root: FOLDER` and nothing else",
                hint="fix it, or name the folder with `git config kt.root FOLDER`",
            )
        return found

    def root_named(self, commit: str | None) -> str | None:
        """The folder that `.kt.yaml` names at a commit; empty for the top, None if that file cannot be read."""
        if commit is None:
            return ""
        tree = self.repository.objects.id_of(f"{commit}^{{tree}}")
        entry = trees.Trees(self.repository, "").entries([tree])[0].kt_yaml if tree else None
        if entry is None or entry == tree:
            # An unreadable tree names nothing; the reader of the store reports it.
            return ""
        [found] = self.repository.objects.get([entry.partition(" ")[2]], largest=MAX_KT_YAML)
        from . import yaml_text

        try:
            return root_of(yaml_text.root_in((found.data if found else None) or b""))
        except (BadInput, yaml_text.Malformed):
            return None

    def full(self, path: str) -> str:
        """A path below the store's folder as a path from the repository's top."""
        return f"{self.root}/{path}" if self.root else path

    def below(self, path: str) -> str:
        """A path from the repository's top as a path below the store's folder."""
        return path.removeprefix(f"{self.root}/") if self.root else path

    @property
    def where(self) -> Path:
        """The store's folder on this machine, for messages."""
        return (self.repository.toplevel or self.repository.git_dir) / self.root

    @property
    def address(self) -> str:
        """The remote's address, or the repository's folder if there is no remote."""
        found = self.repository.config.get(f"remote.{self.remote}.url") if self.remote else None
        return found or str(self.repository.toplevel or self.repository.git_dir)

    @property
    def lock_folder(self) -> Path:
        """The folder of kt's own files in this clone, which all its worktrees share."""
        return self.repository.common_dir / "kt"

    def not_a_store(self, commit: str) -> NotAStore:
        """The error for a commit without a store in this folder; it says where a store may be."""
        problem = f"{commit[:12]} has neither queue/ nor policies/ there"
        folders = self.repository.folders(commit)
        inside = f"/{layout.POLICIES}"
        found = sorted(name.removesuffix(inside) for name in folders if name.endswith(inside))
        if self.root and self.repository.config.get("kt.root") is None:
            hint = (
                f"{KT_YAML} names that folder: if the store is elsewhere, undo that change (`git log -- {KT_YAML}` shows it); "
                "until then name the store's folder with `git config kt.root FOLDER`, empty for the top"
            )
            return NotAStore(where=str(self.where), problem=problem, hint=hint)
        if self.root or not found:
            return NotAStore(where=str(self.where), problem=problem)
        hint = f"if the store is in {found[0]}, run `git config kt.root {shlex.quote(found[0])}`; else make one with `kt escalation init`"
        return NotAStore(where=str(self.where), problem=problem, hint=hint)

    # --- the remote -------------------------------------------------------------------------------

    @cached_property
    def remote(self) -> str | None:
        """The remote: `kt.remote`, else `origin`, else none."""
        known = self.repository.remotes()
        asked = self.repository.config.get("kt.remote")
        if asked and asked not in known:
            raise BadInput(problem=f"kt.remote is {asked!r}, but there is no such remote; see `git remote`")
        return asked or ("origin" if asked is None and "origin" in known else None)

    def require_remote_choice(self) -> None:
        """Raise BadInput if it is not clear which remote, or which address of it, holds the store.

        Without this check a commit that nobody else sees would look like one that has landed.
        """
        if self.remote is not None and len(self.repository.push_urls(self.remote)) > 1:
            raise BadInput(
                problem=f"{self.remote} is pushed to several places, and a change lands in one; name the store's with "
                f"`git config --replace-all remote.{shlex.quote(self.remote)}.pushurl URL`, and mirror from there"
            )
        if self.remote is None and self.repository.config.get("kt.remote") is None:
            others = sorted(self.repository.remotes())
            if others:
                raise BadInput(
                    problem=f"none of the remotes ({', '.join(others)}) is called origin; say which holds the store "
                    f"with `git config kt.remote {shlex.quote(others[0])}`, or that none does with `git config kt.remote ''`"
                )

    def local_remote(self) -> Path | None:
        """The remote's folder if it is on this machine, else None."""
        if self.remote is None:
            return None
        address = self.repository.push_address(self.remote).removeprefix("file://")
        path = os.path.join(self.repository.toplevel or self.repository.git_dir, address)  # noqa: PTH118
        # A Path's own is_dir raises for a name that is too long.
        return Path(path).resolve() if address and os.path.isdir(path) else None  # noqa: PTH112


def root_of(text: str) -> str:
    """The folder that `kt.root` names, empty for the repository's top. Raises BadInput."""
    root = text.strip("/")
    parts = root.split("/") if root else []
    if any(part in ("", ".", "..", ".git") for part in parts) or any(ord(char) < 32 for char in root):
        raise BadInput(problem=f"kt.root is {text!r}; it must be a folder below the repository's top")
    return root
