"""Finds the command that installs one of kt's extras, depending on how kt was installed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import MissingExtra

NAME = "kt-escalation"


def missing(command: str, extra: str, error: ModuleNotFoundError) -> MissingExtra:
    """The error for a command or module whose libraries are not installed."""
    return MissingExtra(command=command, library=error.name, extra=extra, install=how_to_install(extra))


def how_to_install(extra: str, found: Mapping[str, Any] | None = None) -> str:
    """How to install an extra, as a clause of a sentence.

    ``found`` is pip's record of where kt came from (PEP 610); by default it is read here. kt is on no package
    index, so its name alone is never given: somebody else could register it. The pip on somebody's PATH may be
    that of another Python, so it is the pip of the Python that runs kt. uv makes environments without pip.
    """
    found = _direct_url() if found is None else found
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    if Path(sys.prefix, "uv-receipt.toml").exists():
        pip = "uv tool install --force"
    elif find_spec("pip") is None:
        pip = f"uv pip install --python {shlex.quote(sys.executable)}"
    url, inside = str(found.get("url") or ""), str(found.get("subdirectory") or "")
    if not url:
        return f"install the extra `{extra}` from where kt was installed from"
    if "dir_info" in found:
        path = Path(unquote(urlsplit(url).path))
        editable = "--editable " if found["dir_info"].get("editable") else ""
        return f"run `{pip} {editable}{shlex.quote(f'{path / inside}[{extra}]')}`"
    if "vcs_info" in found:
        vcs = found["vcs_info"]
        commit = vcs.get("commit_id") or vcs.get("requested_revision")
        url = f"{vcs.get('vcs', 'git')}+{url}{f'@{commit}' if commit else ''}"
        url += f"#subdirectory={inside}" if inside else ""
    return f"run `{pip} {shlex.quote(f'{NAME}[{extra}] @ {url}')}`"


def _direct_url() -> Mapping[str, Any]:
    """The first record of where kt was installed from. Empty if there is none."""
    for one in metadata.distributions(name=NAME):
        text = one.read_text("direct_url.json")
        if text:
            try:
                found = json.loads(text)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    return {}
