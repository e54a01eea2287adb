"""Histories of decisions that are used: releases, receipts and archives of them, legal and forged, and who is guilty.

The oracle here is simple: it keeps of each decision what a person would write on its folder, and asks of each commit
whether the files of releases that it changed may be what they are now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import hostile
from hostile import PLAIN, Branch, File, email
from tale import Tale

from kt_escalation.model import archive_file
from kt_escalation.model.record import Record
from kt_escalation.model.release import Receipt, Release
from kt_escalation.rules import creation
from kt_escalation.rules.permissions import actor
from kt_escalation.storage import layout, yaml_text

NAMES = ("esc_r1", "esc_r2", "esc_r3", "esc_r4")
#: Who may release, and who may settle what nobody knows: of the roster of `hostile`.
GATEWAYS, ADMINS = ("gw", "boss", "carol"), ("boss", "carol")
VALID, TOLERANCE = timedelta(hours=3), timedelta(minutes=1, seconds=1)
SETTINGS = "claims: {clock_tolerance: 1m}\nrules: [{single_use: true%s}]\n"
EVERYBODY = (*hostile.PEOPLE, "mallory")

Files = dict[str, File]


@dataclass
class Folder:
    """What is known of one decision."""

    record: Record | None = None
    landed: datetime | None = None
    used: bool = False
    reopened: bool = False
    #: The files of its release as they legally were, while they are illegal.
    legal: Files | None = None


@dataclass
class Uses:
    """A history from one number, and the guilty commits: of each group one at least, and no other."""

    seed: int
    tale: Tale = field(init=False)
    guilty: dict[frozenset[str], str] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)
    merged: int = 0

    def __post_init__(self) -> None:
        self.random = random = Random(self.seed)
        self.until = random.random() < 0.5
        rules = SETTINGS % (", valid_for: 3h" if self.until else "")
        files = {hostile.ROSTER: hostile.roster(*hostile.PEOPLE), hostile.SETTINGS: rules}
        self.tale = tale = Tale(files)
        self.folders = {name: Folder() for name in NAMES}
        for name in NAMES:
            self.decide(name)
        calm = [*[self.use] * 4, *[self.answer] * 5, self.mend, self.archive, self.archive]
        wild = [*calm, self.mend, self.mend, self.reopen, self.merge, *[self.forge] * 5]
        ways = calm if random.random() < 0.3 else wild
        for _ in range(random.randint(6, 14)):
            tale.graph.now += timedelta(minutes=random.choice((1, 5, 50)))
            if not random.choice(ways)():
                break

    @property
    def main(self) -> Branch:
        return self.tale.main

    def decide(self, name: str) -> None:
        """A life up to a decision, of which some release nothing and some are still open."""
        tale, random = self.tale, self.random
        tale.does(self.main, "gw", "raise", name)
        tale.does(self.main, "alice", "claim", name)
        outcome = random.choice(("approved", "approved", "approved", "denied", None))
        if outcome:
            tale.does(self.main, "alice", outcome, name)
            if outcome == "approved":
                self.folders[name].record = tale.record(self.main, name)
                self.folders[name].landed = tale.graph.now

    # --- what the oracle says -------------------------------------------------------------------

    def standing(self, name: str, files: Files | None = None) -> Files:
        files = self.main.files if files is None else files
        return {path: file for path, file in files.items() if layout.released_id(path) == name}

    def read(self, file: File) -> Release | None:
        try:
            return yaml_text.load_release(self.tale.graph.data(file)) if file[0] == PLAIN else None
        except yaml_text.Malformed:
            return None

    def is_legal(self, name: str, before: Files, after: Files, who: str) -> bool:
        """Whether somebody may have made these files of a release of those before."""
        folder, now = self.folders[name], self.tale.graph.now
        [path] = after if len(after) == 1 else [""]
        if not path or before.keys() - after.keys():
            return False
        new, old = self.read(after[path]), self.read(before[path]) if before else None
        if new is None:
            return False
        if old is not None:
            receipt, was = new.receipt, old.receipt
            settles = was is not None and was.status == "unknown" and who in ADMINS
            mine = was is None and who == old.released_by
            return (
                receipt is not None
                and receipt.receipt_by == who
                and abs(receipt.receipt_at - now) < TOLERANCE
                and (mine or (settles and receipt.status != "unknown" and receipt.reason is not None))
                and new.replace(receipt=None) == old.replace(receipt=None)
            )
        record, landed = folder.record, folder.landed
        return (
            record is not None
            and record.resolution is not None
            and landed is not None
            and not (before or folder.used or folder.reopened)
            and path == layout.release_path(record)
            and who in GATEWAYS
            and new == self.release(record, who, new.release_id, new.released_at)
            and abs(new.released_at - now) < TOLERANCE
            and (not self.until or now <= landed + VALID)
        )

    def commit(self, changes: dict[str, bytes | File | None], who: str, kind: str) -> bool:
        """A plain commit, and what the oracle says of it."""
        before = dict(self.main.files)
        oid = self.tale.put(self.main, changes, who)
        self.kinds.add(kind)
        for name in NAMES:
            was, now = self.standing(name, before), self.standing(name)
            if was == now:
                continue
            folder = self.folders[name]
            if folder.legal is not None:
                if who in ADMINS and now == folder.legal:
                    folder.legal = None
                    self.kinds.add("mended")
                else:
                    self.guilty[frozenset({oid})] = name
            elif self.is_legal(name, was, now, who):
                folder.used = True
                self.kinds.add("legal")
            else:
                folder.legal = was
                self.guilty[frozenset({oid})] = name
                self.kinds.add("guilty")
        return True

    # --- what people do -------------------------------------------------------------------------

    def release(self, record: Record, who: str, under: str, at: datetime) -> Release:
        end = record.resolution
        assert end is not None
        return Release.parse(
            {
                "escalation_id": record.escalation_id,
                "outcome": "approved",
                "resolved_at": end.resolved_at,
                "release_id": under,
                "released_by": who,
                "released_at": at,
            }
        )

    def written(self, record: Record, release: Release) -> dict[str, bytes | File | None]:
        return {layout.release_path(record): yaml_text.dumps_release(release)}

    @property
    def next(self) -> datetime:
        """The time of the next commit: a minute passes before each."""
        return self.tale.graph.now + timedelta(minutes=1)

    def decided(self) -> Record | None:
        records = [one.record for one in self.folders.values() if one.record is not None]
        return self.random.choice(records) if records else None

    def use(self) -> bool:
        """A release by a gateway; it may be the second one, or too late."""
        record, who = self.decided(), self.random.choice(("gw", "gw", "boss"))
        if record is None or self.standing(record.escalation_id):
            return True
        made = self.release(record, who, f"T{self.random.randrange(9)}", self.next)
        return self.commit(self.written(record, made), who, "use")

    def released(self) -> tuple[str, File, Release] | None:
        found = [
            (path, file, release)
            for path, file in self.main.files.items()
            if layout.released_id(path) and (release := self.read(file))
        ]
        return self.random.choice(found) if found else None

    def answer(self, *, forged: bool = False) -> bool:
        """A receipt, by who released it or, where that is not known, by an admin; or by anybody."""
        if (there := self.released()) is None:
            return True
        path, _, release = there
        unsettled = release.receipt is not None and release.receipt.status == "unknown"
        if release.receipt is not None and not unsettled and not forged:
            return True
        who = self.random.choice(EVERYBODY) if forged else "boss" if unsettled else release.released_by
        receipt = Receipt(
            status=self.random.choice(("executed", "failed", "unknown")),
            receipt_by=self.random.choice((who, "gw")) if forged else who,
            receipt_at=self.next
            - (timedelta(hours=2) if forged and self.random.random() < 0.2 else timedelta()),
            reason="seen in the log" if unsettled else None,
        )
        made = release.replace(receipt=receipt)
        return self.commit({path: yaml_text.dumps_release(made)}, who, "receipt")

    def mend(self) -> bool:
        """Somebody, an admin or not, brings a release back to what it legally was, or to something near it."""
        for name, folder in self.folders.items():
            if folder.legal is not None:
                back: dict[str, bytes | File | None] = dict.fromkeys(self.standing(name))
                who = self.random.choice((*ADMINS, *ADMINS, "gw"))
                return self.commit(back | folder.legal, who, "mend") if back | folder.legal else True
        return True

    def reopen(self) -> bool:
        """Somebody doubts a decision; from then on it cannot be used."""
        record = self.decided()
        if record is None or self.folders[record.escalation_id].reopened:
            return True
        who = actor(email("bob"), self.next, self.tale.graph.policies(self.main))
        again = creation.reopen(record, who, "Hm", f"esc_{record.escalation_id[-2:]:0>26}".replace("r", "0"))
        self.tale.put(self.main, self.tale.graph.written(self.main, again), "bob")
        self.folders[record.escalation_id].reopened = True
        return True

    def forge(self) -> bool:
        """A release that nobody may make, or damage to one."""
        ways: list[Callable[[], dict[str, bytes | File | None] | None]] = [
            self.by_nobody, self.edited, self.gone, self.elsewhere, self.untimely, self.spoiled, self.undecided,
        ]  # fmt: skip
        way = self.random.choice([*ways, None])
        if way is None:
            return self.answer(forged=True)
        changes = way()
        return self.commit(changes, self.random.choice(EVERYBODY), way.__name__) if changes else True

    def anew(self, **more: object) -> dict[str, bytes | File | None] | None:
        record = self.decided()
        if record is None or self.standing(record.escalation_id):
            return None
        made = self.release(record, "gw", "T", self.next).replace(**more)
        return self.written(record, made)

    def by_nobody(self) -> dict[str, bytes | File | None] | None:
        return self.anew(released_by=self.random.choice(EVERYBODY))

    def untimely(self) -> dict[str, bytes | File | None] | None:
        return self.anew(released_at=self.next + self.random.choice((-1, 1)) * timedelta(hours=1))

    def edited(self) -> dict[str, bytes | File | None] | None:
        if (there := self.released()) is None:
            return None
        path, _, release = there
        more = self.random.choice(({"release_id": "other"}, {"outcome": "redacted"}, {"receipt": None}))
        made = release.replace(**more)
        return {path: yaml_text.dumps_release(made)} if made != release else None

    def gone(self) -> dict[str, bytes | File | None] | None:
        return {there[0]: None} if (there := self.released()) else None

    def elsewhere(self) -> dict[str, bytes | File | None] | None:
        found = self.released() or None
        if found is None:
            made = self.anew() or {}
            return {path.replace("/11/", "/10/"): data for path, data in made.items()}
        moved = found[0].replace("/11/", "/12/")
        return {moved: found[1], found[0]: None if self.random.random() < 0.5 else found[1]}

    def spoiled(self) -> dict[str, bytes | File | None] | None:
        found = self.released()
        if found is None:
            return {
                path: b"# a release\n" + data
                for path, data in (self.anew() or {}).items()
                if isinstance(data, bytes)
            }
        path, file, _ = found
        return {path: self.random.choice((b"no: release\n", ("100755", file[1]), b""))}

    def undecided(self) -> dict[str, bytes | File | None] | None:
        """A release of what was denied, is open, or never was."""
        name = self.random.choice(
            [name for name in (*NAMES, "esc_none") if name == "esc_none" or self.folders[name].record is None]
        )
        if self.standing(name) or name == "esc_none":
            return None
        made = Release.parse({"escalation_id": name, "outcome": "approved", "resolved_at": self.next,
                                       "release_id": "T", "released_by": "gw", "released_at": self.next})  # fmt: skip
        return {f"{layout.RELEASED}/{self.next:%Y/%m/%d}/{name}.yaml": yaml_text.dumps_release(made)}

    def merge(self) -> bool:
        """A release, or damage to one, that comes by a merge, however right it would be as a commit of the line."""
        side, there = self.tale.side(), self.released()
        changes = {there[0]: None} if there and self.random.random() < 0.5 else self.anew()
        if not changes:
            return True
        [path] = changes
        name = layout.released_id(path) or ""
        carried = self.tale.put(side, changes, "gw")
        # Without a step of its own the line would go along the side.
        self.merged += 1
        self.tale.does(self.main, "gw", "raise", f"esc_m{self.merged}")
        was = self.standing(name)
        merge = self.tale.merge(self.main, side.tip, "gw")
        if self.folders[name].legal is None:
            self.folders[name].legal = was
        self.guilty[frozenset({carried, merge})] = name
        self.kinds.add("merge")
        return True

    def archive(self) -> bool:
        """The month is over, and somebody archives its releases, rightly or not. With a wrong archive the history ends."""
        tale, random = self.tale, self.random
        if any(folder.legal is not None for folder in self.folders.values()):
            return True
        found = {
            path: release
            for path, file in self.main.files.items()
            if layout.released_id(path) and (release := self.read(file))
        }
        is_early = random.random() < 0.1
        if not found or any(layout.month_of(path) != "2026/11" for path in found):
            return True
        if not is_early:
            tale.graph.now = max(
                tale.graph.now, archive_file.month_end("2026/11") or tale.graph.now
            ) + timedelta(days=1)
        chosen = sorted(path for path in found if random.random() < 0.8 or found[path].closed_at is None)
        who = random.choice((*ADMINS, *ADMINS, "gw"))
        held = [(layout.released_id(path) or "", tale.graph.data(self.main.files[path])) for path in chosen]
        forged = random.choice((None, None, None, "edited", "left out", "stays"))
        if forged == "edited":
            held = [(name, data.replace(b"outcome: approved", b"outcome: redacted")) for name, data in held]
        if not held:
            return True
        number = layout.last_archives(self.main.files).get("released/2026/11", 0) + 1
        made = hostile.archive("2026/11", number, held[1:] if forged == "left out" else held)
        files = {path.replace("/resolved/", "/released/"): data for path, data in made.items()}
        if forged == "left out" and len(held) == 1:
            return True
        kept = chosen[:1] if forged == "stays" else []
        gone: dict[str, object] = dict.fromkeys(path for path in chosen if path not in kept)
        is_closed = all(found[path].closed_at is None for path in chosen)
        oid = tale.put(self.main, gone | files, who)
        self.kinds.add("archive")
        if forged or is_early or who not in ADMINS or not is_closed:
            self.guilty[frozenset({oid})] = ""
            return False
        self.kinds.add("archived")
        return True


def make(seed: int) -> Uses:
    """The history that a number stands for."""
    return Uses(seed)


def disagreements(uses: Uses, found: set[str]) -> list[str]:
    """Where the guilty commits of another judge are not those of the oracle."""
    possible = {commit for group in uses.guilty for commit in group}
    told = [
        f"seed {uses.seed}: not guilty: {sorted(group)} {name}"
        for group, name in uses.guilty.items()
        if not group & found
    ]
    return told + [f"seed {uses.seed}: guilty for nothing: {commit}" for commit in sorted(found - possible)]
