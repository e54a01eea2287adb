"""Times and durations in the forms that a store uses. See docs/record.md."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,12}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
#: The form that a store writes, as a regular expression. Python reads it much faster than other forms.
CANONICAL_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d\.\d{3}Z"
_CANONICAL = re.compile(CANONICAL_TIME, re.ASCII)
_IN_TEXT = re.compile(rf"(?<![\w.:-])({CANONICAL_TIME})(?!\w)", re.ASCII)
_DURATION = re.compile(r"(\d{1,9})([smhd]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
#: The first and the last year of a time in a store. No sum of such a time and some of the longest durations that a store
#: may have (`vocabulary.LONGEST`) is outside of what Python can hold, so the rules need not ask.
FIRST_YEAR, LAST_YEAR = 1970, 8999
#: The last second of the last year, in seconds since 1970.
LAST_SECOND = int(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp()) - 1


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time to a UTC datetime, cut to milliseconds. Raises ValueError if the text is not a time."""
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
        # RFC 3339 allows leap seconds. Python does not, so a leap second becomes the second before it.
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


def in_store(moment: datetime) -> datetime:
    """The same time if a store may have it. Raises ValueError for one before 1970 or after 8999."""
    if FIRST_YEAR <= moment.year <= LAST_YEAR:
        return moment
    raise ValueError(f"{format_time(moment)!r} is not a time from {FIRST_YEAR} to {LAST_YEAR}")


def format_time(moment: datetime) -> str:
    """A UTC datetime as ``2026-11-23T10:00:00.000Z``, the only form that a store writes."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def moments_in(text: str) -> tuple[str | datetime, ...]:
    """Split a text into its times and the text between them. Only times in the store's own form are found."""
    parts = _IN_TEXT.split(text)
    found = ((_time_or_text(part) if at % 2 else part) for at, part in enumerate(parts))
    return tuple(part for part in found if part != "")


def _time_or_text(text: str) -> str | datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def to_millis(moment: datetime) -> datetime:
    """The time in UTC, cut to milliseconds, which is the precision of a record."""
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def parse_duration(text: str) -> timedelta:
    """Parse ``90``, ``90s``, ``15m``, ``2h`` or ``7d`` to a timedelta.

    Raises ValueError if the text is not a duration.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text[:40]!r} is not a duration such as 90, 90s, 15m, 2h or 7d")
    try:
        return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    except OverflowError:
        raise ValueError(f"{text[:40]!r} is too long") from None


def format_duration(span: timedelta) -> str:
    """A timedelta in the largest unit without a remainder: ``90s``, ``15m``, ``4h``, ``7d``."""
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def age(span: timedelta) -> str:
    """A duration for people, in one unit: ``3d``, ``5h``, ``12m``, ``40s``."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def lasted(seconds: float | None) -> str:
    """A duration for people, in its two largest units: ``2d3h``, ``1h50m``, ``40s``. A dash for None."""
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
