"""The journal of a gateway's releases, in a folder outside the clone.

A decision is returned once, even if the remote loses commits. A line is flushed to disk before a release is
pushed (`begun`), and again before the decision is returned (`given`). A given decision is never returned
again. If a process ended between the two, nobody acted on the decision, so the next gateway may use it. Each
process holds a lock on a file of its own, and its lines name that file by its identity. A copied journal has
other files, which say nothing about the process, so a gateway uses no begun release from a copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import AlreadyReleased, BadInput
from ..frozen import dataclass
from ..storage import atomic_file
from ..storage.clone import GitStore

_RELEASES, _PINS, _LIVE = "releases.ndjson", "pins.json", ".live"
_KEYS = ("escalation_id", "release_id", "state", "owner", "file", "at")


@dataclass(frozen=True)
class Pins:
    """The identity of a journal's store: the remote, branch and folder, the first commit, and the newest commit that was seen."""

    remote: str
    branch: str
    root: str
    start: str | None = None
    tip: str | None = None


def folder_of(store: GitStore) -> Path:
    """The default folder for the journal of a store: below `$XDG_STATE_HOME` (else `~/.local/state`)."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    pins = pins_of(store)
    name = hashlib.sha256(f"{pins.remote}\0{pins.branch}\0{pins.root}".encode()).hexdigest()[:32]
    return Path(state) / "kt-escalation" / "gateway" / name


def pins_of(store: GitStore) -> Pins:
    """The identity that a journal of this store has."""
    config = store.repository.config
    remote = config.get(f"remote.{store.remote}.url", "") if store.remote else str(store.repository.git_dir)
    return Pins(remote, store.branch or "", store.root)


class Journal:
    """The journal of one process. Several processes may share the folder.

    Raises BadInput if the journal belongs to another store, or cannot be read or written.
    """

    def __init__(self, folder: Path, pins: Pins) -> None:
        self._folder = folder
        self._owner = os.urandom(16).hex()
        self._lines: dict[str, dict[str, Any]] = {}
        self._read = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(folder / _RELEASES, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._live = os.open(folder / f"{self._owner}{_LIVE}", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._live, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._identity = _identity(self._live)
            atomic_file.flush_folder(folder)
            with self._locked():
                self._load()
                self.pins = self._pinned(pins)
        except OSError as error:
            raise BadInput(problem=f"the journal cannot be used: {error.strerror}") from None

    # --- releases ---------------------------------------------------------------------------------

    def begin(self, escalation_id: str, release_id: str, at: str) -> str:
        """Record that a decision is about to be released.

        Returns the release id, which a process that has died may have chosen.
        Raises AlreadyReleased if the decision was returned before, or if another process is about to return
        it.
        """
        with self._locked():
            self._load()
            line = self._lines.get(escalation_id)
            if line is not None:
                self._require_ours(line)
                release_id = str(line["release_id"])
                if line["owner"] == self._owner:
                    return release_id
            self._append(escalation_id, release_id, "begun", at)
            return release_id

    def give(self, escalation_id: str, release_id: str, at: str) -> None:
        """Record that the decision is returned now.

        It is never returned again. Raises AlreadyReleased if it was returned before.
        """
        with self._locked():
            self._load()
            self._require_ours(self._lines[escalation_id])
            self._append(escalation_id, release_id, "given", at)

    def given(self, escalation_id: str) -> str | None:
        """The release id under which the decision was returned, or None."""
        with self._locked():
            self._load()
            line = self._lines.get(escalation_id)
            return str(line["release_id"]) if line is not None and line["state"] == "given" else None

    def _require_ours(self, line: dict[str, Any]) -> None:
        """Raise AlreadyReleased if the decision was returned, or if another process may be about to return it."""
        if line["state"] == "given" or not (line["owner"] == self._owner or self._has_ended(line)):
            raise AlreadyReleased(
                escalation_id=str(line["escalation_id"]),
                released_by="this gateway",
                released_at=str(line["at"]),
                release_id=str(line["release_id"]),
            )

    # --- pins -------------------------------------------------------------------------------------

    def pin(self, start: str | None, tip: str) -> None:
        """Record the store's first commit and the newest commit that was seen."""
        self.pins = Pins(self.pins.remote, self.pins.branch, self.pins.root, start or self.pins.start, tip)
        atomic_file.write(self._folder / _PINS, json.dumps(vars(self.pins)).encode(), 0o600)

    def close(self) -> None:
        """Close the files.

        While a release is begun, the file that shows whether this process has ended is not removed.
        """
        if not any(
            line["owner"] == self._owner and line["state"] == "begun" for line in self._lines.values()
        ):
            (self._folder / f"{self._owner}{_LIVE}").unlink(missing_ok=True)
        os.close(self._live)
        os.close(self._file)

    # --- the files --------------------------------------------------------------------------------

    def _pinned(self, pins: Pins) -> Pins:
        path = self._folder / _PINS
        try:
            known = Pins(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            atomic_file.write(path, json.dumps(vars(pins)).encode(), 0o600)
            return pins
        except (ValueError, TypeError):
            raise BadInput(problem="the journal's pins cannot be read") from None
        if (known.remote, known.branch, known.root) != (pins.remote, pins.branch, pins.root):
            raise BadInput(
                problem="the journal belongs to another store, remote or branch",
                hint="give this gateway a journal of its own",
            )
        return known

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _load(self) -> None:
        """Read the lines that were added since.

        A last line without a line feed was cut off by a crash and is ignored.
        """
        data = os.pread(self._file, os.fstat(self._file).st_size - self._read, self._read)
        whole, end, cut = data.rpartition(b"\n")
        if cut:
            os.ftruncate(self._file, self._read + len(whole) + len(end))
        for text in whole.splitlines():
            try:
                line = json.loads(text)
                self._lines[line["escalation_id"]] = {key: line[key] for key in _KEYS}
            except (ValueError, KeyError, TypeError):
                raise BadInput(
                    problem="the journal cannot be read: it has a line that kt did not write"
                ) from None
        self._read += len(whole) + len(end)

    def _append(self, escalation_id: str, release_id: str, state: str, at: str) -> None:
        values = (escalation_id, release_id, state, self._owner, self._identity, at)
        data = json.dumps(dict(zip(_KEYS, values, strict=True))).encode() + b"\n"
        os.write(self._file, data)
        os.fsync(self._file)
        self._load()

    def _has_ended(self, line: dict[str, Any]) -> bool:
        """Whether the process that wrote a line has certainly ended: the kernel has released the lock on its file."""
        with suppress(FileNotFoundError):
            handle = os.open(self._folder / f"{line['owner']}{_LIVE}", os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return _identity(handle) == str(line["file"])
            except BlockingIOError:
                return False
            finally:
                os.close(handle)
        return False


def _identity(handle: int) -> str:
    """The identity of a file, which a copy does not have: nobody can choose the time of an inode's last change."""
    found = os.fstat(handle)
    return f"{found.st_ino}-{found.st_ctime_ns}"
