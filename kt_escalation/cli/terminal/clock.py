"""Times for people at a terminal: local, and no more of them than is needed. JSON has the exact ones."""

from __future__ import annotations

from datetime import datetime, timedelta


def local(moment: datetime, now: datetime) -> str:
    """A time in the zone of this machine: ``14:05`` of today, ``Mon 14:05`` within six days, else with the date."""
    at, today = moment.astimezone(), now.astimezone()
    if at.date() == today.date():
        return f"{at:%H:%M}"
    if abs(at - today) < timedelta(days=6):
        return f"{at:%a %H:%M}"
    return f"{at:%Y-%m-%d %H:%M}"
