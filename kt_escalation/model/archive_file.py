"""Archives of resolved records: their format, the months that go into them, and whether one is correct.

An archive is `---` and each file's exact bytes, in id order, with the sorted ids in a file beside it. It
never changes; later records of its month go into the archive with the next number. See docs/compaction.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from . import ids
from .vocabulary import MAX_BYTES

#: An archive's size at most (design, section 10): what hosts recommend for one object.
MAX_ARCHIVE = 1024 * 1024
#: How many archives one commit makes at most; so memory, and the time of a server's hook, are bounded.
MOST_ARCHIVES = 64
#: The first archive of a month.
FIRST = 1

_SEPARATOR = b"---\n"
_BETWEEN = b"\n---\n"


class BadArchive(ValueError):
    """Bytes that are no archive; the text says why."""


@dataclass(frozen=True)
class Name:
    """What an archive's file is called by: its month (`2026/03`), its number in it, and which of the two it is."""

    month: str
    number: int
    is_ids: bool = False


@dataclass(frozen=True)
class Member:
    """A resolved record's file that may go into an archive."""

    month: str
    escalation_id: str
    path: str
    oid: str
    size: int


@dataclass(frozen=True)
class Batch:
    """The files of one archive to be made, in id order."""

    name: Name
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Made:
    """An archive that a commit brings in; ``read`` gives its files by id, or raises BadArchive.

    It is read when it is judged, so that of many archives only one is in memory.
    """

    name: Name
    path: str
    read: Callable[[], Mapping[str, bytes]]


@dataclass(frozen=True)
class Folding:
    """What a commit did to archives: those it made, and the record files that it deleted (id of bytes by path).

    ``highest`` is the number of the last archive in each month before it; ``changed`` are archives'
    files that it changed or deleted, ``others`` whatever else it touched.
    """

    made: Sequence[Made]
    deleted: Mapping[str, str]
    highest: Mapping[str, int]
    changed: Sequence[str] = ()
    others: Sequence[str] = ()


@dataclass
class Verdict:
    """What the judge found: violations as (path, rule, expected), and the deleted files that are in an archive."""

    violations: list[tuple[str, str, str]] = field(default_factory=list)
    folded: dict[str, str] = field(default_factory=dict)


def month_end(month: str) -> datetime | None:
    """The first moment after a month such as `2026/03`, in UTC; None for what is no month."""
    year, _, number = month.partition("/")
    try:
        start = datetime(int(year), int(number), 1, tzinfo=UTC)
        return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    except ValueError:
        return None


def is_closed(month: str, limit: datetime) -> bool:
    """Whether a month is wholly before a moment."""
    end = month_end(month)
    return end is not None and end <= limit


def why_unfit(data: bytes) -> str | None:
    """What keeps a file's bytes from being told apart in an archive, None if nothing does."""
    if not data.endswith(b"\n"):
        return "does not end in a line feed"
    if data.startswith(_SEPARATOR) or _BETWEEN in data:
        return "holds a line ---"
    return None


def batches(members: Iterable[Member], highest: Mapping[str, int]) -> Iterator[Batch]:
    """The archives to be made of some files, month by month, each as full as it can be."""
    last = dict(highest)
    held: list[Member] = []
    size = 0

    def batch() -> Batch:
        month = held[0].month
        last[month] = last.get(month, FIRST - 1) + 1
        return Batch(Name(month, last[month]), tuple(held))

    for member in sorted(members, key=lambda member: (member.month, member.escalation_id)):
        takes = len(_SEPARATOR) + member.size
        if held and (member.month != held[0].month or size + takes > MAX_ARCHIVE):
            yield batch()
            held, size = [], 0
        held.append(member)
        size += takes
    if held:
        yield batch()


def write(files: Iterable[bytes]) -> bytes:
    """The archive that holds these files, which are in id order."""
    return b"".join(part for data in files for part in (_SEPARATOR, data))


def write_ids(names: Iterable[str]) -> bytes:
    """The file of ids beside an archive."""
    return "".join(f"{name}\n" for name in names).encode()


def read(data: bytes) -> list[bytes]:
    """The files that an archive holds. Raises BadArchive."""
    if len(data) > MAX_ARCHIVE:
        raise BadArchive(f"is larger than {MAX_ARCHIVE // 1024} KiB")
    if not data.startswith(_SEPARATOR) or not data.endswith(b"\n"):
        raise BadArchive("is no archive: it must begin with --- and end in a line feed")
    return [piece + b"\n" for piece in data[len(_SEPARATOR) : -1].split(_BETWEEN)]


def read_ids(data: bytes) -> list[str]:
    """The ids beside an archive. Raises BadArchive unless they are ids, sorted, one a line."""
    try:
        *names, rest = data.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise BadArchive("holds what is no escalation id") from None
    if rest or not names or not all(map(ids.is_escalation_id, names)):
        raise BadArchive("holds what is no escalation id, or its last line has no end")
    if any(one >= other for one, other in pairwise(names)):
        raise BadArchive("is not sorted, each id once")
    return names


def contents(data: bytes | None, beside: bytes | None) -> Mapping[str, bytes]:
    """An archive's files by id, from the bytes of both of its files; None for what is missing or too large.

    Raises BadArchive unless both are well made and agree.
    """
    if data is None:
        raise BadArchive(f"is missing, no plain file, or larger than {MAX_ARCHIVE // 1024} KiB")
    if beside is None:
        raise BadArchive("has no ids beside it, or they are no plain file")
    pieces, names = read(data), read_ids(beside)
    if len(pieces) != len(names):
        raise BadArchive(f"holds {len(pieces)} records, and {len(names)} ids stand beside it")
    if any(len(piece) > MAX_BYTES for piece in pieces):
        raise BadArchive(f"holds a record larger than {MAX_BYTES // 1024} KiB")
    return dict(zip(names, pieces, strict=True))


#: What is wrong with any change of an archive that is there.
FINAL = "an archive never changes and is never deleted"


def judge(folding: Folding, now: datetime, blob_id: Callable[[bytes], str]) -> Verdict:
    """What is wrong with what a commit of the time ``now`` did to archives, but for who made it.

    ``blob_id`` gives the id of bytes. A deleted file that is in no archive is left for the judge of
    records to find.
    """
    verdict = Verdict()
    for path in folding.changed:
        verdict.violations.append((path, "archive", FINAL))
    gone = {
        (path.rpartition("/")[0].rpartition("/")[0], path.rpartition("/")[2].partition(".")[0]): (path, oid)
        for path, oid in folding.deleted.items()
    }
    last = dict(folding.highest)
    final: dict[str, str] = {}

    def wrong(made: Made, expected: str) -> None:
        verdict.violations.append((made.path, "compaction", f"expected {expected}"))

    for made in sorted(folding.made, key=lambda made: (made.name.month, made.name.number)):
        month = made.name.month
        expected = last.get(month, FIRST - 1) + 1
        if made.name.number != expected:
            wrong(made, f"the next number of {month}, {expected}")
        last[month] = max(expected, made.name.number)
        if not is_closed(month, now):
            wrong(made, f"a month that is over; {month} is not")
        try:
            files = made.read()
        except BadArchive as error:
            wrong(made, f"an archive; it {error}")
            continue
        if min(files) <= final.get(month, ""):
            wrong(made, "ids in order through all archives that one commit makes of a month")
        final[month] = max(files)
        folder = made.path.rpartition("/")[0]
        for name, data in files.items():
            path, oid = gone.get((folder, name), ("", ""))
            if not path:
                wrong(made, f"only what the same commit moves there; {name} is not")
            elif blob_id(data) != oid:
                wrong(made, f"{name} byte for byte as it was in {path}")
            elif path in verdict.folded:
                wrong(made, f"{name} once")
            else:
                verdict.folded[path] = name
    if folding.made and folding.others:
        verdict.violations.append(
            (folding.others[0], "compaction", "expected nothing else in a commit that compacts")
        )
    return verdict
