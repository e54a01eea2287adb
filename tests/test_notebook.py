"""What a clone notes for itself: read back as it was written, by this clone and nobody else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from lab import unwritable

from kt_escalation.storage import notebook

NOTE = {"main": {"commit": "0" * 40, "waived": [{"rule": "\u00fc"}]}, "n": [1, None, True]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone's folder with one note in it."""
    notebook.write(tmp_path / "kt", "mark", NOTE)
    return tmp_path / "kt"


def test_a_note_is_read_as_it_was_written_and_replaced_as_a_whole(folder: Path) -> None:
    assert notebook.read(folder, "mark") == NOTE
    notebook.write(folder, "mark", {"b": 2})
    assert notebook.read(folder, "mark") == {"b": 2}
    assert notebook.read(folder, "other") is None
    assert sorted(path.name for path in folder.iterdir()) == ["key", "mark"]


def test_every_byte_counts(folder: Path) -> None:
    right = (folder / "mark").read_bytes()
    for at in range(len(right)):
        (folder / "mark").write_bytes(right[:at] + bytes([right[at] ^ 1]) + right[at + 1 :])
        assert notebook.read(folder, "mark") is None, at
    for wrong in (right[:-1], right + b" ", b"", right.partition(b"\n")[2], json.dumps(NOTE).encode()):
        (folder / "mark").write_bytes(wrong)
        assert notebook.read(folder, "mark") is None, wrong
    (folder / "mark").write_bytes(right)
    assert notebook.read(folder, "mark") == NOTE


def test_a_note_of_another_name_or_clone_is_none(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "mark", folder / "verified")
    assert notebook.read(folder, "verified") is None
    notebook.write(tmp_path / "other", "mark", {"b": 2})
    shutil.copy(tmp_path / "other/mark", folder / "mark")
    assert notebook.read(folder, "mark") is None
    (folder / "key").unlink()
    assert notebook.read(folder, "mark") is None


def test_what_cannot_be_written_is_said_and_the_old_note_stays(folder: Path) -> None:
    with pytest.raises(ValueError, match="at most"):
        notebook.write(folder, "mark", {"a": "x" * notebook.LARGEST})
    with pytest.raises(ValueError, match="JSON compliant"):
        notebook.write(folder, "mark", {"a": float("nan")})
    (folder / "dir").mkdir()
    with pytest.raises(OSError, match="dir"):
        notebook.write(folder, "dir", NOTE)
    assert notebook.read(folder, "dir") is None
    assert sorted(path.name for path in folder.iterdir()) == ["dir", "key", "mark"]
    assert notebook.read(folder, "mark") == NOTE


def test_where_nothing_can_be_written_the_caller_learns_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r".+"):
        notebook.write(unwritable(tmp_path), "mark", NOTE)
