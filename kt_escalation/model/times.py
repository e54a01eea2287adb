"""Points in time and durations in the store's form. See docs/record.md."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,12}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
#: The form that the store writes, as a regular expression; Python itself reads it much faster than any other.
CANONICAL_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d\.\d{3}Z"
_CANONICAL = re.compile(CANONICAL_TIME, re.ASCII)
_DURATION = re.compile(r"(\d{1,9})([smhd]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_time(text: str) -> datetime:
    """An RFC 3339 time as a UTC datetime cut to milliseconds.

    Raises ValueError if the text is none.
    """
    if _CANONICAL.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a time that exists") from None
    found = _RFC3339.fullmatch(text)
    if not found:
        raise ValueError(f"{text[:40]!r} is not an RFC 3339 time such as 2026-11-23T10:00:00Z")
    *date, fraction, zone = found.groups()
    micros = int((fraction or "0").ljust(3, "0")[:3]) * 1000
    try:
        year, month, day, hour, minute, second = (int(part) for part in date)
        # RFC 3339 allows a leap second; Python has none, so it becomes the second before.
        if second > 60:
            raise ValueError
        local = datetime(year, month, day, hour, minute, min(second, 59), micros, UTC)
        if zone in "Zz":
            return local
        sign = 1 if zone[0] == "+" else -1
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            raise ValueError
        return local - sign * timedelta(hours=hours, minutes=minutes)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not a time that exists") from None


def format_time(moment: datetime) -> str:
    """A UTC datetime as ``2026-11-23T10:00:00.000Z``, the only form that the store writes."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def to_millis(moment: datetime) -> datetime:
    """The moment in UTC, cut to the milliseconds that a record can hold."""
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def parse_duration(text: str) -> timedelta:
    """``90``, ``90s``, ``15m``, ``2h`` or ``7d`` as a timedelta.

    Raises ValueError if the text is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text[:40]!r} is not a duration such as 90, 90s, 15m, 2h or 7d")
    try:
        return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    except OverflowError:
        raise ValueError(f"{text[:40]!r} is longer than time can say") from None


def format_duration(span: timedelta) -> str:
    """A timedelta in the largest unit that holds it whole: ``90s``, ``15m``, ``4h``, ``7d``."""
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def age(span: timedelta) -> str:
    """How long ago, for people: ``3d``, ``5h``, ``12m``, ``40s``."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def lasted(seconds: float | None) -> str:
    """A duration in its two largest units, for people: ``2d3h``, ``1h50m``, ``12m5s``, ``40s``; a dash for none."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    for (unit, size), (below, part) in (
        (("d", 86400), ("h", 3600)),
        (("h", 3600), ("m", 60)),
        (("m", 60), ("s", 1)),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit}{f'{rest}{below}' if rest else ''}"
    return f"{whole}s"
