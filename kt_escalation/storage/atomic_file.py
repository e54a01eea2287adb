"""Writes a small file whole or not at all, and flushes it to disk."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace the file's content with ``data``, and flush it to disk. Raises OSError.

    A reader gets either the old content or the new one. ``mode`` is narrowed by the umask.
    """
    new = beside(path)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        flush_folder(path.parent)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def beside(path: Path) -> Path:
    """A new, unique name in the file's folder."""
    return path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk (fsync(2)). Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
