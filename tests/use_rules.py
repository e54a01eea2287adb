"""What may be made of a decision for one use, by rules of the tests' own; and what forgers make of it. See docs/gateway.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from random import Random

from kt_escalation.model.record import Record
from kt_escalation.model.release import Receipt, Release
from kt_escalation.storage import yaml_text

PLAIN = "100644"
#: A file as a tree has it: its mode and its blob.
File = tuple[str, str]
Changes = dict[str, bytes | File | None]
USE = re.compile(r"queue/released/(\d{4}/\d\d/\d\d)/(esc_[a-z0-9][a-z0-9_-]{0,59})\.yaml", re.ASCII)
#: git has times in seconds, a release in milliseconds.
SECOND = timedelta(seconds=1)


def id_of(path: str) -> str | None:
    """Whose release a path is."""
    found = USE.fullmatch(path)
    return found[2] if found else None


def path_of(record: Record) -> str:
    """Where the release of a resolved record belongs."""
    assert record.resolution
    return f"queue/released/{record.resolution.resolved_at:%Y/%m/%d}/{record.escalation_id}.yaml"


def read(data: bytes | None) -> Release | None:
    """The release in a file's bytes, if it is one."""
    try:
        return yaml_text.load_release(data) if data is not None else None
    except yaml_text.Malformed:
        return None


def release(record: Record, who: str, under: str, at: datetime) -> Release:
    """The release of a resolved record by somebody."""
    assert record.resolution
    return Release.parse(
        {
            "escalation_id": record.escalation_id,
            "outcome": record.resolution.outcome,
            "resolved_at": record.resolution.resolved_at,
            "release_id": under,
            "released_by": who,
            "released_at": at,
        }
    )


# --- who may make what ----------------------------------------------------------------------------------


def is_release(
    new: Release, record: Record, who: str, at: datetime, landed: datetime, tolerance: timedelta
) -> bool:
    """Whether it is the release of a decision that came to the line at some time, by the author of a commit of some time."""
    assert record.resolution
    until = max(landed, record.resolution.resolved_at) + (record.requires.valid_for or timedelta())
    return (
        new == release(record, who, new.release_id, new.released_at)
        and new.released_at >= record.last_time
        and abs(new.released_at - at) < tolerance + SECOND
        and (record.requires.valid_for is None or max(at, new.released_at) <= until)
    )


def is_late(record: Record, at: datetime, landed: datetime) -> bool:
    """Whether a time is after that in which a decision may be used, which came to the line at some time."""
    within, end = record.requires.valid_for, record.resolution
    return within is not None and end is not None and at > max(landed, end.resolved_at) + within


def is_receipt(
    old: Release, new: Release, who: str, at: datetime, tolerance: timedelta, *, is_mine: bool, is_admin: bool
) -> bool:
    """Whether one became the other by a receipt of a commit's author, who has released it himself, or is an admin."""
    receipt, was = new.receipt, old.receipt
    if receipt is None or new.replace(receipt=None) != old.replace(receipt=None):
        return False
    settles = was is not None and was.status == "unknown" != receipt.status
    may = (is_admin and receipt.reason is not None) if settles else (is_mine and was is None)
    return (
        may
        and receipt.receipt_by == who
        and receipt.receipt_at >= old.last_time
        and abs(receipt.receipt_at - at) < tolerance + SECOND
    )


# --- what is made of it ---------------------------------------------------------------------------------


class Uses:
    """What somebody may do, or forge, at some time to the releases in some files."""

    def __init__(
        self,
        random: Random,
        files: Mapping[str, File],
        data: Callable[[File], bytes],
        records: Iterable[Record],
        at: datetime,
    ) -> None:
        self.random = random
        self.at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        self.files = {path: file for path, file in sorted(files.items()) if id_of(path)}
        self.data = data
        records = sorted(records, key=lambda one: one.escalation_id)
        used = {id_of(path) for path in self.files}
        is_use = [one.requires.single_use is not None and releases(one) for one in records]
        self.free = [
            one for one, fits in zip(records, is_use, strict=True) if fits and one.escalation_id not in used
        ]
        self.others = [
            one
            for one, fits in zip(records, is_use, strict=True)
            if not fits and one.escalation_id not in used
        ]
        self.known = [
            (path, file, found)
            for path, file in self.files.items()
            if file[0] == PLAIN and (found := read(data(file)))
        ]

    def use(self, **more: object) -> tuple[Changes, str, Release] | None:
        """A release by a gateway: of what it changes, by whom, and which; with some keys as given."""
        if not self.free:
            return None
        record, who = self.random.choice(self.free), self.random.choice(("gw", "gw", "boss"))
        made = release(record, who, f"T{self.random.randrange(9)}", self.at).replace(**more)
        return {path_of(record): yaml_text.dumps_release(made)}, who, made

    def answer(self) -> tuple[Changes, str, Release] | None:
        """A receipt by who released it, or by an admin where that one did not know."""
        fits = [one for one in self.known if one[2].closed_at is not None]
        if not fits:
            return None
        path, _, before = self.random.choice(fits)
        unsettled = before.receipt is not None
        who = "boss" if unsettled else before.released_by
        receipt = Receipt(
            status=self.random.choice(("executed", "failed", "unknown")),
            receipt_by=who,
            receipt_at=self.at,
            reason="seen in the log" if unsettled else None,
        )
        made = before.replace(receipt=receipt)
        return {path: yaml_text.dumps_release(made)}, who, made

    def forged(self, people: tuple[str, ...]) -> tuple[str, Changes] | None:
        """Something that hardly anybody may do, and how it is called."""
        ways: list[Callable[[tuple[str, ...]], Changes | None]] = [
            self.by_nobody, self.edited, self.gone, self.elsewhere, self.untimely, self.spoiled, self.undecided, self.answered,
        ]  # fmt: skip
        self.random.shuffle(ways)
        return next(((way.__name__, changes) for way in ways if (changes := way(people))), None)

    def _anew(self, **more: object) -> Changes:
        made = self.use(**more)
        return made[0] if made else {}

    def by_nobody(self, people: tuple[str, ...]) -> Changes | None:
        return self._anew(released_by=self.random.choice(people))

    def untimely(self, _: tuple[str, ...]) -> Changes | None:
        return self._anew(released_at=self.at + self.random.choice((-1, 1)) * timedelta(hours=1))

    def edited(self, _: tuple[str, ...]) -> Changes | None:
        if not self.known:
            return None
        path, _file, found = self.random.choice(self.known)
        more = self.random.choice(({"release_id": "other"}, {"outcome": "redacted"}, {"receipt": None}))
        made = found.replace(**more)
        return {path: yaml_text.dumps_release(made)} if made != found else None

    def gone(self, _: tuple[str, ...]) -> Changes | None:
        return {self.random.choice(sorted(self.files)): None} if self.files else None

    def elsewhere(self, _: tuple[str, ...]) -> Changes | None:
        if not self.files:
            return {_moved(path, "10"): data for path, data in self._anew().items()}
        path = self.random.choice(sorted(self.files))
        file = self.files[path]
        return {_moved(path, "12"): file, path: None if self.random.random() < 0.5 else file}

    def spoiled(self, _: tuple[str, ...]) -> Changes | None:
        if not self.files:
            return {
                path: b"# a release\n" + data
                for path, data in self._anew().items()
                if isinstance(data, bytes)
            }
        path = self.random.choice(sorted(self.files))
        return {path: self.random.choice((b"no: release\n", ("100755", self.files[path][1]), b""))}

    def undecided(self, _: tuple[str, ...]) -> Changes | None:
        """A release of what was denied, is open, or is not for one use."""
        if not self.others:
            return None
        name = self.random.choice(self.others).escalation_id
        made = Release.parse({"escalation_id": name, "outcome": "approved", "resolved_at": self.at,
                                       "release_id": "T", "released_by": "gw", "released_at": self.at})  # fmt: skip
        return {f"queue/released/{self.at:%Y/%m/%d}/{name}.yaml": yaml_text.dumps_release(made)}

    def answered(self, people: tuple[str, ...]) -> Changes | None:
        """A receipt by anybody, at any time."""
        if not self.known:
            return None
        path, _, before = self.random.choice(self.known)
        late = timedelta(hours=2) if self.random.random() < 0.2 else timedelta()
        receipt = Receipt(
            status=self.random.choice(("executed", "failed", "unknown")),
            receipt_by=self.random.choice((*people, before.released_by, "gw")),
            receipt_at=self.at - late,
        )
        return {path: yaml_text.dumps_release(before.replace(receipt=receipt))}


def releases(record: Record) -> bool:
    """Whether a record's decision releases anything."""
    return record.resolution is not None and record.resolution.outcome in (
        "approved",
        "redacted",
        "rewritten",
    )


def _moved(path: str, month: str) -> str:
    """A path in another month's folder."""
    parts = path.split("/")
    return "/".join([*parts[:3], month, *parts[4:]])
