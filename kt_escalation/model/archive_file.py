"""Archives of resolved records and of releases: their format, which months go into them, and whether one is correct.

An archive holds the exact bytes of each file after a line `---`, in id order. A file beside it lists the ids,
sorted. An archive never changes. Later files of the same month go into the archive with the next number.
See docs/compaction.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

from ..frozen import dataclass
from . import ids
from .vocabulary import MAX_BYTES

#: The largest archive. Hosts recommend this as the largest size of one object; see docs/compaction.md.
MAX_ARCHIVE = 1024 * 1024
#: The most archives in one commit. This bounds memory, and the time that a server's hook needs.
MOST_ARCHIVES = 64
#: The number of a month's first archive.
FIRST = 1

_SEPARATOR = b"---\n"
_BETWEEN = b"\n---\n"


class BadArchive(ValueError):
    """The bytes are not an archive. The message says why."""


#: What an archive holds: records or releases. It is the folder below `queue/`.
ArchiveKind = Literal["resolved", "released"]


@dataclass(frozen=True)
class ArchiveName:
    """The name of an archive's file: the month (`2026/03`), the number, and whether it is the file of ids."""

    month: str
    number: int
    is_ids: bool = False
    kind: ArchiveKind = "resolved"

    @property
    def series(self) -> str:
        """What its number counts: the archives of one kind and month, such as `resolved/2026/03`."""
        return f"{self.kind}/{self.month}"


@dataclass(frozen=True)
class Member:
    """The file of a resolved record or of a release, to be put into an archive."""

    month: str
    escalation_id: str
    path: str
    oid: str
    size: int
    kind: ArchiveKind = "resolved"


@dataclass(frozen=True)
class Batch:
    """The files of one new archive, in id order."""

    name: ArchiveName
    members: tuple[Member, ...]


@dataclass(frozen=True)
class NewArchive:
    """An archive that a commit adds. ``read`` returns its files by id, or raises BadArchive.

    It is read when it is judged, so only one archive is in memory at a time.
    """

    name: ArchiveName
    path: str
    read: Callable[[], Mapping[str, bytes]]


@dataclass(frozen=True)
class ArchiveChanges:
    """What a commit did to archives: the ones it added, and the files it deleted that might be in them (blob id by path).

    ``highest`` is the number of each series' last archive before the commit. ``changed`` are archive files
    that the commit changed or deleted. ``others`` are all other paths that it touched.
    """

    made: Sequence[NewArchive]
    deleted: Mapping[str, str]
    highest: Mapping[str, int]
    changed: Sequence[str] = ()
    others: Sequence[str] = ()


@dataclass
class Verdict:
    """The result of judging: violations as (path, rule, expected), and the deleted files that are in an archive."""

    violations: list[tuple[str, str, str]] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)


def month_end(month: str) -> datetime | None:
    """The first moment after a month such as `2026/03`, in UTC. None if the text is not a month."""
    year, _, number = month.partition("/")
    try:
        start = datetime(int(year), int(number), 1, tzinfo=UTC)
        return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    except ValueError:
        return None


def is_closed(month: str, limit: datetime) -> bool:
    """Whether a month ended at or before a time."""
    end = month_end(month)
    return end is not None and end <= limit


def why_unfit(data: bytes) -> str | None:
    """The reason why a file cannot go into an archive, or None. Its bytes must not look like a separator."""
    if not data.endswith(b"\n"):
        return "does not end in a line feed"
    if data.startswith(_SEPARATOR) or _BETWEEN in data:
        return "holds a line ---"
    return None


def batches(members: Iterable[Member], highest: Mapping[str, int]) -> Iterator[Batch]:
    """Distribute files over new archives, month by month, and fill each archive as far as possible."""
    last = dict(highest)
    held: list[Member] = []
    size = 0

    def batch() -> Batch:
        name = ArchiveName(held[0].month, 0, kind=held[0].kind)
        last[name.series] = last.get(name.series, FIRST - 1) + 1
        return Batch(replace(name, number=last[name.series]), tuple(held))

    for member in sorted(members, key=lambda member: (member.month, member.kind, member.escalation_id)):
        takes = len(_SEPARATOR) + member.size
        other = held and (member.month, member.kind) != (held[0].month, held[0].kind)
        if held and (other or size + takes > MAX_ARCHIVE):
            yield batch()
            held, size = [], 0
        held.append(member)
        size += takes
    if held:
        yield batch()


def write(files: Iterable[bytes]) -> bytes:
    """The bytes of an archive with these files, which must be in id order."""
    return b"".join(part for data in files for part in (_SEPARATOR, data))


def write_ids(names: Iterable[str]) -> bytes:
    """The bytes of the file of ids beside an archive."""
    return "".join(f"{name}\n" for name in names).encode()


def read(data: bytes) -> list[bytes]:
    """The files in an archive, in order. Raises BadArchive."""
    if len(data) > MAX_ARCHIVE:
        raise BadArchive(f"is larger than {MAX_ARCHIVE // 1024} KiB")
    if not data.startswith(_SEPARATOR) or not data.endswith(b"\n"):
        raise BadArchive("is not an archive: it must begin with --- and end in a line feed")
    return [piece + b"\n" for piece in data[len(_SEPARATOR) : -1].split(_BETWEEN)]


def read_ids(data: bytes) -> list[str]:
    """The ids in the file beside an archive. Raises BadArchive unless they are ids, sorted, one on a line."""
    try:
        *names, rest = data.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise BadArchive("holds a record without a valid escalation id") from None
    if rest or not names or not all(map(ids.is_escalation_id, names)):
        raise BadArchive("holds a line that is not an escalation id, or its last line has no line feed")
    if any(one >= other for one, other in pairwise(names)):
        raise BadArchive("is not sorted, each id once")
    return names


def contents(data: bytes | None, beside: bytes | None) -> Mapping[str, bytes]:
    """An archive's files by id, from the bytes of the archive and of its ids (None: missing or too large).

    Raises BadArchive unless both are well-formed and agree.
    """
    if data is None:
        raise BadArchive(f"is missing, not a regular file, or larger than {MAX_ARCHIVE // 1024} KiB")
    if beside is None:
        raise BadArchive("has no file of ids beside it, or that is not a regular file")
    pieces, names = read(data), read_ids(beside)
    if len(pieces) != len(names):
        raise BadArchive(f"holds {len(pieces)} records, and {len(names)} ids are listed beside it")
    if any(len(piece) > MAX_BYTES for piece in pieces):
        raise BadArchive(f"holds a record larger than {MAX_BYTES // 1024} KiB")
    return dict(zip(names, pieces, strict=True))


#: The message for any change of an existing archive.
FINAL = "an archive never changes and is never deleted"


def judge(changes: ArchiveChanges, now: datetime, blob_id: Callable[[bytes], str]) -> Verdict:
    """Judge what a commit of the time ``now`` did to archives. Who made the commit is judged elsewhere.

    ``blob_id`` computes the id of bytes. Deleted files that are in no archive are left to the judge of
    records.
    """
    verdict = Verdict()
    for path in changes.changed:
        verdict.violations.append((path, "archive", FINAL))
    gone = {
        (path.rpartition("/")[0].rpartition("/")[0], path.rpartition("/")[2].partition(".")[0]): (path, oid)
        for path, oid in changes.deleted.items()
    }
    last = dict(changes.highest)
    final: dict[str, str] = {}

    def wrong(made: NewArchive, expected: str) -> None:
        verdict.violations.append((made.path, "compaction", f"expected {expected}"))

    for made in sorted(changes.made, key=lambda made: (made.name.series, made.name.number)):
        month, series = made.name.month, made.name.series
        expected = last.get(series, FIRST - 1) + 1
        if made.name.number != expected:
            wrong(made, f"the next number of {month}, {expected}")
        last[series] = max(expected, made.name.number)
        if not is_closed(month, now):
            wrong(made, f"a month that is over; {month} is not")
        try:
            files = made.read()
        except BadArchive as error:
            wrong(made, f"an archive; it {error}")
            continue
        if min(files) <= final.get(series, ""):
            wrong(made, "ids in order through all archives that one commit makes of a month")
        final[series] = max(files)
        folder = made.path.rpartition("/")[0]
        for name, data in files.items():
            path, oid = gone.get((folder, name), ("", ""))
            if not path:
                wrong(made, f"only what the same commit moves there; {name} is not")
            elif blob_id(data) != oid:
                wrong(made, f"{name} byte for byte as it was in {path}")
            elif path in verdict.moved:
                wrong(made, f"{name} once")
            else:
                verdict.moved[path] = name
    if changes.made and changes.others:
        verdict.violations.append(
            (changes.others[0], "compaction", "expected nothing else in a commit that compacts")
        )
    return verdict
