"""Writes a file for the user, either completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import BadInput


@contextmanager
def written(name: str) -> Iterator[BinaryIO]:
    """Open a file to write. It gets its name only when it is complete. A pipe or device is written directly.

    Raises BadInput if the file cannot be created.
    """
    target = Path(name)
    direct = target.exists() and not target.is_file()
    part = target if direct else target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
    if not direct:
        _tidy(target)
    try:
        file = part.open("wb" if direct else "xb")
    except OSError as error:
        raise BadInput(problem=f"{name}: {error.strerror}") from None
    try:
        with file:
            yield file
        if not direct:
            part.replace(target)
    except BaseException as error:
        if not direct:
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            # An error without a file name comes from writing this file.
            raise BadInput(problem=f"{name}: {error.strerror}") from None
        raise


def _tidy(target: Path) -> None:
    """Remove unfinished copies of the same file, left by processes that were killed."""
    start = f".{target.name[:100]}."
    with suppress(OSError):
        for path in target.parent.iterdir():
            pid = path.name.removeprefix(start).removesuffix(".part")
            if path.name == f"{start}{pid}.part" and pid.isdecimal() and not _lives(int(pid)):
                path.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        # Another user's process, or a number that is no process here.
        return True
    return True
