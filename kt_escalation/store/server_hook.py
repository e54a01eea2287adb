"""The pre-receive hook of a server's repository, as a file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ..errors import BadInput

_MARK = "# Installed by `kt escalation hook install`."


def install(git_dir: Path, command: Sequence[str]) -> Path:
    """Write the hook that runs ``command``; its path. Raises BadInput where another hook is there."""
    path = git_dir / "hooks" / "pre-receive"
    if path.exists() and _MARK not in path.read_text(errors="replace"):
        raise BadInput(problem=f"{path} is another hook; call this from it: {shlex.join(command)}")
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{_MARK}\nexec {shlex.join(command)}\n")
        path.chmod(0o755)
    except OSError as error:
        raise BadInput(problem=f"{path}: {error.strerror}") from None
    return path
