"""Judges the end of a long line in another process, while this one judges what comes before it.

The second run continues from a guessed mark: the result of a first half without violations. If the first half
has any other result, the second run is discarded. So the guess affects the time and never the result.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ..model.vocabulary import RELEASING
from ..policies.settings import Settings
from ..rules.releasing import Decided
from ..storage import commits, layout
from ..storage.clone import GitStore
from ..storage.trees import Trees
from . import milestones
from .commit_contents import LONG_AGO, CommitContents
from .mark import Mark, PolicyMark
from .releases import KEPT_FOR, TimedDecision, is_decided, is_kept
from .scope import Scope

# Policies that change more often are not guessed, as that takes longer than it saves.
_MOST_ERAS = 500
# Nor is what may still be used, if so many files have to be read for it or it is so much.
_MOST_READ, _MOST_USABLE = 5_000, 200


def first_share(count: int) -> int:
    """How many of a line's commits this process judges. The other one begins half a second later, so it gets less."""
    return count * 51 // 100


def guessed(store: GitStore, trees: Trees, line: Sequence[str]) -> Mark | None:
    """The mark in the middle of a line, if nothing before it was illegal.

    None if the store starts later, or if too much would have to be read.
    """
    contents = CommitContents(store, trees)
    middle = first_share(len(line))

    def policies(at: int) -> str | None:
        return contents.policies_tree(contents.tree_of(line[at]))

    def changed(low: int, high: int) -> Iterator[int]:
        """The commits where the policies changed, if they never changed back."""
        if policies(low) != policies(high):
            if high - low == 1:
                yield high
            else:
                between = (low + high) // 2
                yield from changed(low, between)
                yield from changed(between, high)

    start = bisect_left(range(middle), True, key=lambda at: trees.has_store(contents.tree_of(line[at])))
    if start == middle:
        return None
    eras = [start, *islice(changed(start, middle), _MOST_ERAS)]
    if len(eras) > _MOST_ERAS:
        return None
    dates = (one.committed_at for one in commits.changing(store, line[middle], line[start]))
    newest = max(dates, default=LONG_AGO)
    since = _first_day(newest, [contents.written.of(policies(at)).settings for at in eras])
    usable = _usable(contents, line[start : middle + 1], newest, since)
    if usable is None:
        return None
    waivers = contents.written_at(line[middle]).waivers
    return Mark(
        line[middle],
        line[start],
        store.root,
        line[middle],
        PolicyMark(
            tuple((line[at], policies(at)) for at in eras),
            trees.policies(contents.tree_of(line[middle])),
            standing=tuple(sorted(waivers, key=lambda waiver: waiver.key)),
            waivers=waivers,
        ),
        newest.timestamp(),
        usable=usable,
        count=middle + 1,
        milestones=milestones.extended((), 0, line[: middle + 1]),
    )


def _first_day(newest: datetime, eras: Sequence[Settings]) -> datetime | None:
    """The first day of decisions that may still be used within a time limit. None if there are no such limits."""
    spans = [rule.valid_for for one in eras for rule in one.rules if rule.single_use and rule.valid_for]
    if not spans:
        return None
    # A decision may have been made long before a merge brought it.
    late = max(one.claims.proposals + one.claims.clock_tolerance for one in eras) + KEPT_FOR
    return newest - max(spans) - late


def _usable(
    contents: CommitContents, line: Sequence[str], newest: datetime, since: datetime | None
) -> dict[str, TimedDecision] | None:
    """The decisions with a time limit that may be used at the end of a line. None if there are too many to read."""
    snapshot, began = contents.snapshot(line[-1]), contents.snapshot(line[0])
    if since is None or snapshot is None or began is None:
        return {}
    first = f"{layout.RESOLVED}/{layout.day_of(since)}/"
    files = [file for file in snapshot.files.resolved_files if file[0] >= first]
    if len(files) > _MOST_READ:
        return None
    found: dict[str, TimedDecision] = {}
    for path, entry in files:
        state = contents.contents.state(path, entry.mode, entry.oid)
        record, name = state.record, layout.id_of(path) or ""
        if record is None or not (record.requires.single_use and record.requires.valid_for):
            continue
        if record.resolution is None or record.resolution.outcome not in RELEASING:
            continue
        if snapshot.has_release(name) or is_decided(began, name):
            continue
        at = milestones.first(line, lambda commit, path=path: _has_file(contents, commit, path))  # type: ignore[misc]
        landed = commits.header(contents.store, line[at]).committed_at
        until = Decided(record, landed).until
        if until is not None and is_kept(until, newest):
            found[name] = (*state.file, landed.timestamp(), until.timestamp())
            if len(found) > _MOST_USABLE:
                return None
    return found


def _has_file(contents: CommitContents, commit: str, path: str) -> bool:
    snapshot = contents.snapshot(commit)
    return snapshot is not None and snapshot.has_file(path)


class SecondHalf:
    """A run from a mark to the tip, in another process."""

    def __init__(self, store: GitStore, mark: Mark, tip: str, scope: Scope, passing: str | None) -> None:
        self._mark = mark
        asked = {
            "path": str(store.repository.toplevel or store.repository.git_dir),
            "mark": mark.plain(),
            "tip": tip,
            "passing": passing,
            "now": scope.now.isoformat(),
            "only": sorted(scope.only) if scope.only is not None else None,
            "always_signed": scope.always_signed,
            "keeps": scope.keeps,
        }
        # What lies in the folder that a user works in is none of its modules.
        isolated = "-I" if sys.flags.isolated else "-P"
        self._process = subprocess.Popen(
            [sys.executable, isolated, "-m", __spec__.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin  # noqa: S101 - opened as a pipe above
        try:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self.close()

    def answer(self, mark: Mark) -> dict[str, Any] | None:
        """The run's result if it began at ``mark``. None if it did not, or if the process died."""
        if mark != self._mark or self._process.returncode is not None:
            return None
        assert self._process.stdout  # noqa: S101 - opened as a pipe above
        try:
            found: dict[str, Any] = json.loads(self._process.stdout.read())
        except ValueError:
            return None
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Answer the question in the first line of the input."""
    from .run import History

    # Nothing here refers to itself, and looking for what does takes time.
    gc.disable()
    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    mark = Mark.of(asked["mark"])
    store = GitStore(Path(asked["path"]))
    if mark is None or mark.root != store.root:
        return
    only = frozenset(asked["only"]) if asked["only"] is not None else None
    scope = Scope(
        datetime.fromisoformat(asked["now"]), only, always_signed=asked["always_signed"], keeps=asked["keeps"]
    )
    run = History(store).run(asked["tip"], scope, since=mark, passing=asked["passing"])
    json.dump(run.plain(asked["tip"]), sys.stdout)
    store.close()


def _end_with_the_input() -> None:
    """End this process when its input closes: nobody waits for the answer any more."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main()
