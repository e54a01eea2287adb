"""Times for people at a terminal: local, and as short as possible. JSON has the exact times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ...model.times import moments_in

# The most characters of a time.
_WIDTH = len("2026-11-23 14:05")


def local(moment: datetime, now: datetime) -> str:
    """A local time: ``14:05`` for today, ``Mon 14:05`` within six days, else with the date."""
    at, today = moment.astimezone(), now.astimezone()
    if at.date() == today.date():
        return f"{at:%H:%M}"
    if abs(at - today) < timedelta(days=6):
        return f"{at:%a %H:%M}"
    return f"{at:%Y-%m-%d %H:%M}"


def spoken(text: str) -> str:
    """A message for people, with its exact times replaced by local ones."""
    now = datetime.now(UTC)
    return "".join(part if isinstance(part, str) else local(part, now) for part in moments_in(text))


def column(moment: datetime) -> str:
    """A time as the first column of a journal."""
    return local(moment, datetime.now(UTC)).ljust(_WIDTH)
