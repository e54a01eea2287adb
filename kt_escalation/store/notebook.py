"""What a clone remembers for itself, beside its lock; it can be deleted at any time."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

_VERIFIED = "verified"


def verified(folder: Path, branch: str) -> str | None:
    """The last tip of a branch that was found clean or waived, None if none is remembered."""
    return _read(folder).get(branch)


def remember_verified(folder: Path, branch: str, commit: str) -> None:
    """Remember a branch's tip; that it cannot be written costs the next run time and nothing else."""
    known = {**_read(folder), branch: commit}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=_VERIFIED)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{oid} {branch}\n" for branch, oid in known.items())
        os.replace(name, folder / _VERIFIED)  # noqa: PTH105 - one step, whoever reads meanwhile
    except OSError:
        return


def _read(folder: Path) -> dict[str, str]:
    """Tips by branch; a line that is none is left out."""
    try:
        text = (folder / _VERIFIED).read_text("utf-8", errors="surrogateescape")
    except OSError:
        return {}
    found = re.findall(r"^([0-9a-f]{40}(?:[0-9a-f]{24})?)(?: (.*))?$", text, re.MULTILINE)
    return {branch: oid for oid, branch in found}
