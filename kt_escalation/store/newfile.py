"""A file for somebody else to read: all of it under its name, or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import BadInput


@contextmanager
def written(name: str) -> Iterator[BinaryIO]:
    """A file to write that takes its name only when it is whole; what is no plain file is written directly.

    Raises BadInput where it cannot be made.
    """
    target = Path(name)
    direct = target.exists() and not target.is_file()
    part = target if direct else target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
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
            # That is about an open file: this one.
            raise BadInput(problem=f"{name}: {error.strerror}") from None
        raise
