"""Reads and writes the pre-receive hook of a server's repository.

It knows where git looks for the hook, the text of the file, and whether git would run it. See
docs/servers.md.
"""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import BadInput
from ..git.process import environment

NAME = "pre-receive"
#: Set for a trial run: with no update on stdin the command answers with this value on stderr.
PROBE = "KT_HOOK_PROBE"
PROBE_SECONDS = 30.0
_MARK = "# Installed by `kt escalation hook install`."
_SCRIPT = """\
#!/bin/sh
{mark}
broken() {{
    [ -z "$GL_REPOSITORY$GL_USERNAME" ] || printf 'GL-HOOK-ERR: ' >&2
    printf 'kt: the hook on the server is broken: it ended with status %s; %s\\n' "$1" {remedy} >&2
    exit 1
}}
can_judge() {{
    {check} 2>/dev/null
}}
# 0: it may come in. 1: it is refused, unless it is Python that ends so, since kt cannot be imported. All else: nothing was judged.
trap 'status=$?; case $status in 0) ;; 1) can_judge || broken 1; exit 1 ;; *) broken $status ;; esac' EXIT
{command}
"""


def path_in(folder: Path) -> Path:
    """The hook's file in the folder where git looks for hooks."""
    return folder / NAME


def is_ours(path: Path) -> bool:
    """Whether `write` has written the file."""
    return _MARK in _text(path)


def calls_us(path: Path) -> bool:
    """Whether a file is our hook, or another hook that runs our command."""
    text = _text(path)
    return _MARK in text or "kt_escalation" in text or "hook pre-receive" in text


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def install(git_dir: Path, command: Sequence[str]) -> Path:
    """Write the hook into the repository's own folder for hooks, as `write` does, and return its path."""
    path = path_in(git_dir / "hooks")
    write(path, command, git_dir)
    return path


def write(path: Path, command: Sequence[str], repository: Path) -> None:
    """Write the hook that runs ``command``. Raises BadInput if there is another hook, or the file cannot be written."""
    if path.exists() and not is_ours(path):
        raise BadInput(problem=f"{path} is another hook; call this from it: {shlex.join(command)}")
    again = f"kt escalation hook install --server {shlex.quote(str(repository))}"
    remedy = f"every push is refused until an administrator of the server runs `{again}` there"
    check = [command[0], "-I", "-c", "import kt_escalation.cli.edge"]
    text = _SCRIPT.format(
        mark=_MARK, remedy=shlex.quote(remedy), check=shlex.join(check), command=shlex.join(command)
    )
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text)
        part.chmod(0o755)
        # A push that is using the old hook continues with it.
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise BadInput(problem=f"{path}: {error.strerror}") from None


def remove(path: Path) -> bool:
    """Remove our own hook. Returns whether there was one. Raises BadInput if the file cannot be removed."""
    if not is_ours(path):
        return False
    try:
        path.unlink()
    except OSError as error:
        raise BadInput(problem=f"{path}: {error.strerror}") from None
    return True


def why_not(path: Path, git_dir: Path) -> str | None:
    """Why git would not run our hook from this file, or None. The hook is run once, without updates to judge."""
    if not path.exists():
        return f"there is no {path}"
    if not calls_us(path):
        return f"{path} is another hook and does not call kt"
    if not os.access(path, os.X_OK):
        return f"git leaves {path} out, since it is not executable; run `chmod +x {shlex.quote(str(path))}`"
    word = secrets.token_hex(8)
    try:
        tried = subprocess.run(
            [str(path)],
            cwd=git_dir,
            env={**environment(), "GIT_DIR": ".", PROBE: word},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} cannot be run: {getattr(error, 'strerror', None) or f'no answer within {PROBE_SECONDS:.0f} s'}"
    said = tried.stderr.decode(errors="replace")
    if tried.returncode == 0 and word in said:
        return None
    words = " / ".join(line.strip() for line in said.splitlines() if line.strip())[-400:]
    return f"{path} does not run kt (status {tried.returncode}){f': {words}' if words else ''}"
