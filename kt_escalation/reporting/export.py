"""Exports every escalation at one commit, with digests that git alone can reconcile. See docs/evidence.md."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ..actions.opening import reading
from ..git.objects import SUBMODULE
from ..model.value import plain
from ..storage.interface import Entry, Invalid, Progress, Used
from ..storage.snapshot import GitSnapshot
from . import table
from .statistics import is_for_one_use

Format = Literal["jsonl", "csv"]


class Sink(Protocol):
    """A writable destination of bytes."""

    def write(self, data: bytes, /) -> object:
        """Write all of the bytes."""


@dataclass
class Exported:
    """The summary of an export.

    ``tree`` is the id of `queue/` at ``revision``, or None if there is no such folder. ``listing`` is the
    SHA-256 of the output of `git ls-tree -r -z` for it. ``sha256`` and ``size`` (bytes) are those of the
    exported file.
    """

    revision: str
    tree: str | None
    records: int = 0
    open: int = 0
    resolved: int = 0
    #: Releases, those whose receipt says executed, and decisions for one use that were not used.
    released: int = 0
    executed: int = 0
    unused: int = 0
    invalid: list[Invalid] = field(default_factory=list)
    listing: str = ""
    sha256: str = ""
    size: int = 0


def export(
    path: str | os.PathLike[str],
    out: Sink,
    form: Format = "jsonl",
    *,
    rev: str | None = None,
    fetch: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write every escalation at one commit, open and resolved, in the order of `git ls-tree -r`.

    A file that cannot be read is a row too, with the reason. The same commit gives the same bytes everywhere.
    Raises BadInput, NotAStore, GitFailed, and with ``fetch`` whatever fetching raises.
    """
    with reading(path, rev, fetch=fetch, progress=progress) as (_, snapshot):
        return _written(snapshot, out, form)


def _written(snapshot: GitSnapshot, out: Sink, form: Format) -> Exported:
    done = Exported(snapshot.revision, snapshot.queue_id)
    listing, digest = hashlib.sha256(), hashlib.sha256()

    def write(data: bytes) -> None:
        out.write(data)
        digest.update(data)
        done.size += len(data)

    put = _csv(write) if form == "csv" else _jsonl(write)
    last = None
    for where, file, item in snapshot.everything():
        if where != last:  # an archive is listed once for each record in it
            kind = "commit" if file.mode == SUBMODULE else "blob"
            listing.update(f"{file.mode} {kind} {file.oid}\t".encode() + os.fsencode(where) + b"\0")
            last = where
        if isinstance(item, Entry):
            done.records += 1
            done.resolved += item.record.resolution is not None
            done.unused += is_for_one_use(item.record)
            put(item.blob, where, {"escalation": item.record.as_dict()})
        elif isinstance(item, Used):
            receipt = item.release.receipt
            done.released += 1
            done.executed += receipt is not None and receipt.status == "executed"
            put(item.blob, where, {"release": plain(item.release)})
        elif isinstance(item, Invalid):
            done.invalid.append(item)
            put(file.oid, where, {"error": item.error})
    done.unused -= done.released
    done.open = done.records - done.resolved
    done.listing, done.sha256 = listing.hexdigest(), digest.hexdigest()
    return done


_Put = Callable[[str, str, Mapping[str, Any]], None]


def _jsonl(write: Callable[[bytes], None]) -> _Put:
    def put(blob: str, path: str, held: Mapping[str, Any]) -> None:
        line = json.dumps({"blob": blob, "path": path, **held})
        # The only ASCII control character that JSON does not escape.
        write(line.replace("\x7f", "\\u007f").encode() + b"\n")

    return put


def _csv(write: Callable[[bytes], None]) -> _Put:
    def line(cells: tuple[str, ...]) -> None:
        text = io.StringIO()
        csv.writer(text).writerow(cells)
        write(text.getvalue().encode())

    def put(blob: str, path: str, held: Mapping[str, Any]) -> None:
        release = held.get("release")
        shared = {key: release[key] for key in ("schema_version", "escalation_id")} if release else {}
        line(
            table.row(blob, path, held.get("escalation") or {**shared, "release": release}, held.get("error"))
        )

    line(table.COLUMNS)
    return put
