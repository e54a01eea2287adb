"""A store with a past: months that are over and can be compacted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from forge import ROSTER, SETTINGS, Forge, identity
from gateways import DIGEST, GATEWAY_SETTINGS, draft
from lab import git, kt

from kt_escalation import Store


@contextmanager
def acting(who: str) -> Iterator[None]:
    """Be somebody, for code of this process."""
    before = dict(os.environ)
    os.environ.update(identity(who))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Past(Forge):
    """A store with a past: what was raised and resolved in months that are over, and something that is open."""

    def __init__(self, folder: Path, roster: str | None = ROSTER) -> None:
        self.path = folder / "store"
        git("init", "--quiet", str(self.path), cwd=folder)
        self.write("policies/policy-config.yaml", "pack: {enabled: true}\n")
        if roster is not None:
            self.write("policies/roster.yaml", roster)
        self.write("policies/settings.yaml", SETTINGS)
        self.commit(
            "boss", "start", GIT_AUTHOR_DATE="2024-01-01T00:00Z", GIT_COMMITTER_DATE="2024-01-01T00:00Z"
        )
        for day, name in enumerate(["anna", "berta", "clara"], start=5):
            self.lived(name, datetime(2024, 1, day, 10, tzinfo=UTC))
        self.lived("dora", datetime(2024, 3, 31, 23, 50, tzinfo=UTC))
        self.reopened("berta", datetime(2024, 4, 2, tzinfo=UTC))
        self.raised("one")

    def store(self, now: datetime) -> Store:
        return Store.open(self.path, clock=lambda: now)

    def lived(self, name: str, when: datetime) -> None:
        """A whole life of an escalation at a time of the past."""
        with acting("gw"), self.store(when) as store:
            store.create(request_id=name, reason_code="a.b", summary=f"About {name}")
        self.decided(f"esc_{name}", when)

    def decided(self, name: str, when: datetime) -> None:
        with acting("alice"), self.store(when + timedelta(minutes=5)) as store:
            store.claim(name)
            store.note(name, "Looked at it")
        with acting("alice"), self.store(when + timedelta(minutes=9)) as store:
            store.resolve(name, "denied", "---\nno: it is not")

    def reopened(self, name: str, when: datetime) -> None:
        with acting("bob"), self.store(when) as store:
            again = store.reopen(f"esc_{name}", "A second look").record.escalation_id
        self.decided(again, when)

    def compact(self, who: str = "boss") -> None:
        self.kt(who, "compact")

    def rules(self) -> list[str]:
        return [
            found["rule"] for found in kt("verify", "--afresh", "--json", cwd=self.path).json["violations"]
        ]


class UsedPast(Past):
    """A store whose decisions were used in months that are over, each with another end.

    anna's was executed, berta's has an unknown receipt and clara's none; dora's was never used.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store"
        git("init", "--quiet", str(self.path), cwd=folder)
        self.write("policies/roster.yaml", ROSTER)
        self.write("policies/settings.yaml", GATEWAY_SETTINGS.replace("    valid_for: 15m\n", ""))
        date = "2024-01-01T00:00Z"
        self.commit("boss", "start", GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date)
        for day, name in enumerate(["anna", "berta", "clara", "dora"], start=5):
            self.used(name, datetime(2024, 1, day, 10, tzinfo=UTC))
        self.raised("one")

    def used(self, name: str, when: datetime) -> None:
        with acting("gw"), self.store(when) as store:
            store.create(draft(name))
        with acting("alice"), self.store(when + timedelta(minutes=5)) as store:
            store.claim(f"esc_{name}")
            store.resolve(f"esc_{name}", "approved", "so be it")
        if name == "dora":
            return
        with acting("gw"), self.store(when + timedelta(minutes=7)) as store:
            store.release(f"esc_{name}", digest=DIGEST, release_id=f"T.{name}")
            if name in ("anna", "berta"):
                store.receipt(f"esc_{name}", "executed" if name == "anna" else "unknown")
