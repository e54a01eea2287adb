"""Policy files in a folder, committed or not, so that you can check them while you edit them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import BadInput
from ..model.vocabulary import MAX_BYTES
from ..policies.policy_file import PolicyFile
from . import layout, yaml_text


def policy_files(folder: Path) -> Mapping[str, PolicyFile]:
    """The files of a `policies/` folder by their path below the store's top.

    Notes duplicate keys, and reads on. Raises BadInput if there is no such folder.
    """
    if not folder.is_dir():
        raise BadInput(problem=f"{folder} is not a folder; name one that holds policy packs")
    found: dict[str, PolicyFile] = {}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(layout.SUFFIX):
            found[f"{layout.POLICIES}/{path.name}"] = _read(path)
    return found


def _read(path: Path) -> PolicyFile:
    if path.is_symlink() or not path.is_file():
        return PolicyFile(problem="is not a plain file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return PolicyFile(problem=f"cannot be read: {error.strerror}")
    if len(data) > MAX_BYTES:
        return PolicyFile(problem=f"is larger than {MAX_BYTES // 1024} KiB")
    return yaml_text.policy_file(f"{layout.POLICIES}/{path.name}", data, go_on=True)
