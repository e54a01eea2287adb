"""What a clone remembers for itself, beside its lock; it can be deleted at any time."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

_VERIFIED = "verified"


def verified(folder: Path) -> str | None:
    """The last tip that was found clean or waived, None if none is remembered."""
    try:
        text = (folder / _VERIFIED).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", text) else None


def remember_verified(folder: Path, commit: str) -> None:
    """Remember a tip; that it cannot be written costs the next run time and nothing else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=_VERIFIED)
        with os.fdopen(handle, "w") as file:
            file.write(f"{commit}\n")
        os.replace(name, folder / _VERIFIED)  # noqa: PTH105 - one step, whoever reads meanwhile
    except OSError:
        return
