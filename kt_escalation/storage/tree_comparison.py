"""Compares trees in a process of its own, so that the judge of a long history does not wait for it.

`python -m kt_escalation.storage.tree_comparison GIT_DIR ROOT` reads lists of root trees from its input, compares each
with the previous one, and writes the differences and the new records. It uses `Trees.differences`, so there
is only one reader.
"""

from __future__ import annotations

import gc
import marshal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from ..git.objects import Object
from ..git.repository import Repository
from ..model.vocabulary import MAX_BYTES
from . import layout
from .trees import Change, Difference, Trees, Unsound


class Ahead:
    """The differences between consecutive root trees, asked for before they are needed.

    Answers come in the order of the questions; at most two may be open, so that neither side waits for the other.
    """

    def __init__(self, repository: Repository, root: str, trees: Trees) -> None:
        self._trees = trees
        self._open: list[Sequence[str | None]] = []
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            # What lies in the folder that a user works in is none of its modules.
            [
                sys.executable,
                "-I" if sys.flags.isolated else "-P",
                "-m",
                __spec__.name,
                str(repository.git_dir),
                root,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, roots: Sequence[str | None]) -> None:
        """Ask what differs between each of these and the one before it."""
        self._open.append(roots)
        if self._process is None:
            return
        assert self._process.stdin  # noqa: S101 - opened as a pipe above
        try:
            marshal.dump(list(roots), self._process.stdin)
            self._process.stdin.flush()
        except OSError:
            self.close()

    def answer(self) -> tuple[list[Difference], dict[str, Object]]:
        """What differs between those that were asked for first, and records of it by id, as many as were read.

        Compared here where that process has died.
        """
        roots = self._open.pop(0)
        if self._process is not None:
            assert self._process.stdout  # noqa: S101 - opened as a pipe above
            try:
                # Both ends of the pipe are ours.
                told, blobs = marshal.load(self._process.stdout)  # noqa: S302
                return [_difference(*one) for one in told], {one[0]: Object(*one) for one in blobs}
            except (EOFError, ValueError, TypeError):
                self.close()
        return self._trees.differences(list(pairwise(roots))), {}

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _difference(
    changes: Sequence[tuple[str, str, str, str | None, str | None]],
    modes: Sequence[tuple[str, str]],
    unsound: tuple[str, str] | None,
) -> Difference:
    return Difference(tuple(map(Change._make, changes)), tuple(modes), Unsound(*unsound) if unsound else None)


def _told(one: Difference) -> tuple[object, ...]:
    unsound = (one.unsound.problem, one.unsound.path) if one.unsound else None
    return [tuple(change) for change in one.changes], one.modes, unsound


def _records(differences: Iterable[Difference], known: dict[str, None]) -> list[str]:
    """The ids of records on either side that were not told before."""
    wanted = [
        oid
        for one in differences
        for change in one.changes
        if layout.id_of(change.path) and change.path.startswith(f"{layout.QUEUE}/")
        for oid in (change.old, change.new)
        if oid is not None and oid not in known
    ]
    found = list(dict.fromkeys(wanted))
    known.update(dict.fromkeys(found))
    return found


def main(git_dir: str, root: str) -> None:
    """Answer until nobody asks any more."""
    # Nothing here refers to itself, and looking for what does takes a tenth of the time.
    gc.disable()
    repository = Repository(Path(git_dir))
    trees = Trees(repository, root)
    known: dict[str, None] = {}
    try:
        while True:
            roots = marshal.load(sys.stdin.buffer)  # noqa: S302 - our own caller's
            found = trees.differences(list(pairwise(roots)))
            blobs = repository.objects.get(_records(found, known), MAX_BYTES)
            told = [_told(one) for one in found], [tuple(blob) for blob in blobs if blob]
            marshal.dump(told, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    except (EOFError, OSError):
        pass
    finally:
        repository.objects.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
