"""Moves a branch of this repository and, if it is checked out, the index and the files with it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GitFailed, GitLocked, KtError
from .process import Done, Underway
from .refs import held_lock, is_race

if TYPE_CHECKING:
    from .repository import Repository

# The exit code of the script if nothing moved: the user changed the index after it was read, the index is
# locked, or the ref did not move. Exit code 1 means that git or the disk failed before that.
_CHANGED, _LOCKED, _NOT_MOVED = 5, 6, 9
# What the script prints once the branch has moved, and if the files could not be updated.
_MOVED, _LEFT = b"moved\n", b"left\n"
# git's exit code if it gives up by itself. A higher code from a shell means that a signal ended the command.
_FATAL = 128
# A shell that moves a branch, and each git that it starts, has the git folder open and locked (flock). The
# lock ends with the last of them, and no other process can be mistaken for one. If kt was killed, the next kt
# waits this long for such a shell, and looks this often, in seconds.
_PATIENCE, _LOOK_AGAIN = 5.0, 0.02

# One shell in its own session does everything, so if kt dies in between, nothing is left half done. The order
# is lock, index, ref, files. The index comes before the ref on purpose: there is never a branch with our
# commit and an index without it, because the user's next `git commit` would then revert our step. The lock is
# git's own index lock, so a user who commits in between is told to wait. If the ref does not move, the old
# index is put back. If the shell itself is killed in between, the lock file stays and names its owner.
# `recover` resolves that before the next change. If somebody deletes the lock by hand, as git advises, the
# index has our step and nothing is reverted.
_SCRIPT = """
git_dir=$1 work_tree=$2 message=$3 ref=$4 new=$5 old=$6 lists=$7
index=$git_dir/index lock=$git_dir/index.lock mine=$git_dir/kt-index
locked=
g() { git --git-dir="$git_dir" --work-tree="$work_tree" -c core.fsync=all -c core.fsyncMethod=fsync "$@"; }
is_at() { [ "$(g show-ref --verify --hash -- "$ref" 2>/dev/null)" = "$1" ]; }
settle() {
    if ! is_at "$new"; then
        if [ -e "$mine.old" ]; then mv -f "$mine.old" "$index"; fi
        if [ -e "$mine.none" ]; then rm -f "$index"; fi
    fi
    rm -f "$mine" "$mine.old" "$mine.none" "$mine.lock" "$lock"
}
trap '[ -z "$locked" ] || settle; rm -rf -- "$lists"' EXIT
trap 'exit 143' HUP INT TERM
trap '' PIPE

tries=0
until (set -C; : >"$lock") 2>/dev/null; do
    tries=$((tries + 1))
    if [ $tries -ge 20 ]; then
        [ ! -e "$lock" ] || exit 6
        echo "cannot create $lock" >&2
        exit 1
    fi
    sleep 0.05 2>/dev/null || sleep 1
done
locked=yes
echo "kt $new $ref" >"$lock" || exit 1

if [ -e "$index" ]; then
    cmp -s "$index" "$lists/before" || exit 5
    cp -p "$index" "$mine" || exit 1
else
    [ ! -e "$lists/before" ] || exit 5
fi
GIT_INDEX_FILE=$mine g update-index -z --index-info <"$lists/entries" || exit 1
if [ -e "$index" ]; then
    ln "$index" "$mine.old" 2>/dev/null || cp -p "$index" "$mine.old" || exit 1
else
    : >"$mine.none" || exit 1
fi
mv -f "$mine" "$index" || exit 1
g update-ref -m "$message" "$ref" "$new" "$old" || is_at "$new" || exit 9
locked=
rm -f "$mine.old" "$mine.none" "$lock"
echo moved

cd "$work_tree" || exit 0
write() { g -c core.hooksPath=/dev/null checkout-index -q -z "$@" --stdin <"$lists/write"; }
{ xargs -0 rm -f -- <"$lists/remove" && { write -u || write; }; } || echo left
xargs -0 rmdir -p -- <"$lists/folders" 2>/dev/null
exit 0
"""


@dataclass
class Move:
    """A move of ``ref`` from ``old`` (None: it does not exist) to ``new``, ready to run.

    If the branch is checked out in ``repository``, ``index`` is a copy of the index as it was read. It is in
    a temporary folder that is removed with this object.
    """

    repository: Repository
    ref: str
    new: str
    old: str | None
    message: str
    checked_out: bool = False
    _lists: Path | None = None

    def __post_init__(self) -> None:
        if self.checked_out:
            self._lists = Path(tempfile.mkdtemp(prefix="kt-"))
            # The script also removes it, in case this process has died.
            weakref.finalize(self, shutil.rmtree, self._lists, ignore_errors=True)
            index = self.repository.git_dir / "index"
            if index.exists():
                shutil.copy2(index, self.index)

    @property
    def index(self) -> Path:
        """The copy of the index. It does not exist if the repository has no index."""
        assert self._lists  # noqa: S101 - asked only where the branch is checked out
        return self._lists / "before"

    def plan(
        self,
        entries: Mapping[str, tuple[str, str] | None],
        was: Mapping[str, tuple[str, str] | None],
        dirty: Iterable[str],
    ) -> None:
        """Set the new entries of the index: (mode, id) by path, None to remove. ``was`` are the old entries.

        The files are updated too, except those in ``dirty``.
        """
        gone = "0" * len(self.new)
        left = set(dirty)
        follow = [path for path in entries if path not in left]
        vanish = [path for path in follow if entries[path] is None]
        self._list(
            "entries",
            (f"{e[0]} {e[1]}\t{path}" if e else f"0 {gone}\t{path}" for path, e in entries.items()),
        )
        self._list("write", (path for path in follow if entries[path] is not None))
        self._list("remove", (path for path in follow if was[path] is not None))
        self._list("folders", sorted({path.rpartition("/")[0] for path in vanish} - {""}))

    def _list(self, name: str, lines: Iterable[str]) -> None:
        # The list may be too long for a command line.
        (self.index.parent / name).write_bytes(os.fsencode("".join(f"{line}\0" for line in lines)))

    def start(self) -> Underway:
        """Start the move. From here on it continues without this process."""
        old = self.old or "0" * len(self.new)
        git_dir = self.repository.git_dir
        with _held(git_dir, fcntl.LOCK_SH) as held:
            if self._lists is None:
                return self.repository.begin_update_ref(self.ref, self.new, old, self.message, held)
            args = [git_dir, self.repository.toplevel, self.message, self.ref, self.new, old]
            return self.repository.begin_script(_SCRIPT, [*map(str, args), str(self._lists)], held)

    def has_moved(self, done: Done) -> bool | None:
        """Whether the branch has moved. None if the ref has to be read to know."""
        if done.status == 0 or (self._lists and _MOVED in done.out):
            return True
        # A killed script may have finished its work without saying so.
        return False if 0 < done.status <= _FATAL else None

    def left(self, done: Done) -> str:
        """Why the files could not be updated although the branch has moved. Empty if they were updated."""
        return done.words if _LEFT in done.out else ""

    def refusal(self, done: Done) -> KtError | None:
        """Why the branch has not moved. None if another commit was first."""
        if done.status == _CHANGED or is_race(done.err):
            return None
        index = str(self.repository.git_dir / "index.lock") if self._lists else None
        lock = index if done.status == _LOCKED else held_lock(done.err)
        if lock:
            return GitLocked(lock=lock)
        command = "update-ref" if self._lists is None or done.status == _NOT_MOVED else "update-index"
        return GitFailed(command=command, words=done.words)


def recover(repository: Repository) -> bool:
    """Clean up after a shell of ours that was killed. Waits a moment for a shell that is still running.

    If its branch has moved, the index is already right. Otherwise the old index is put back. Returns whether
    no shell of ours is running any more.
    """
    index = repository.git_dir / "index"
    lock, mine = index.with_name("index.lock"), index.with_name("kt-index")
    with _held(repository.git_dir, fcntl.LOCK_EX) as held:
        if not held:
            return False
        try:
            who, commit, ref = lock.read_text().rstrip("\n").split(" ", 2)
        except (OSError, ValueError):
            # There is no lock file, or it is git's own.
            return True
        if who != "kt":
            return True
        old, none = mine.with_suffix(".old"), mine.with_suffix(".none")
        if repository.tip_of(ref) != commit:
            if old.exists():
                old.replace(index)
            elif none.exists():
                index.unlink(missing_ok=True)
        for left in (mine, old, none, mine.with_suffix(".lock"), lock):
            left.unlink(missing_ok=True)
        return True


@contextmanager
def _held(git_dir: Path, how: int) -> Iterator[tuple[int, ...]]:
    """Open and lock the git folder. None if that is not possible."""
    handle, until = os.open(git_dir, os.O_RDONLY), time.monotonic() + _PATIENCE
    try:
        got: tuple[int, ...] = ()
        # Not every file system can lock a folder.
        with suppress(OSError):
            while not got:
                try:
                    fcntl.flock(handle, how | fcntl.LOCK_NB)
                    got = (handle,)
                except BlockingIOError:
                    if time.monotonic() >= until:
                        break
                    time.sleep(_LOOK_AGAIN)
        yield got
    finally:
        os.close(handle)
