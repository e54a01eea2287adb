"""What a clone remembers for itself, beside its lock; it can be deleted at any time."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_VERIFIED = "verified"


@dataclass(frozen=True)
class Verified:
    """The last commit of a branch that was found clean or waived, and what was waived up to it, as JSON values."""

    commit: str
    waived: tuple[Mapping[str, Any], ...] = ()


def verified(folder: Path, branch: str | None) -> Verified | None:
    """What is remembered of a branch (None: of no branch), None if nothing is."""
    found = _read(folder).get(branch or "")
    if not isinstance(found, dict) or not re.fullmatch("[0-9a-f]{40,64}", str(found.get("commit"))):
        return None
    return Verified(found["commit"], tuple(found.get("waived", ())))


def remember_verified(folder: Path, branch: str | None, known: Verified) -> None:
    """Remember it of a branch; that it cannot be written costs the next run time and nothing else."""
    text = json.dumps({**_read(folder), branch or "": asdict(known)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=_VERIFIED)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(name, folder / _VERIFIED)  # noqa: PTH105 - one step, whoever reads meanwhile
    except OSError:
        return


def _read(folder: Path) -> dict[str, Any]:
    """What is remembered, by branch; nothing where it cannot be read."""
    try:
        found = json.loads((folder / _VERIFIED).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
