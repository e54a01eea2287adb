"""Histories of decisions that are used: releases, receipts and archives of them, legal and forged, and who is guilty.

The oracle here is simple: it keeps of each decision what a person would write on its folder, and asks of each commit
whether the files of releases that it changed may be what they are now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import hostile
import use_rules
from hostile import PLAIN, Branch, File, email
from tale import Tale

from kt_escalation.model import archive_file
from kt_escalation.model.record import Record
from kt_escalation.model.release import Release
from kt_escalation.rules import creation
from kt_escalation.rules.permissions import actor
from kt_escalation.storage import layout

NAMES = ("esc_r1", "esc_r2", "esc_r3", "esc_r4")
#: Who may release, and who may settle what nobody knows: of the roster of `hostile`.
GATEWAYS, ADMINS = ("gw", "boss", "carol"), ("boss", "carol")
TOLERANCE = timedelta(minutes=1)
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
        return {path: file for path, file in files.items() if use_rules.id_of(path) == name}

    def read(self, file: File) -> Release | None:
        return use_rules.read(self.tale.graph.data(file)) if file[0] == PLAIN else None

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
            is_mine, is_admin = who == old.released_by, who in ADMINS
            return use_rules.is_receipt(old, new, who, now, TOLERANCE, is_mine=is_mine, is_admin=is_admin)
        record, landed = folder.record, folder.landed
        return (
            record is not None
            and landed is not None
            and not (before or folder.used or folder.reopened)
            and path == use_rules.path_of(record)
            and who in GATEWAYS
            and use_rules.is_release(new, record, who, now, landed, TOLERANCE)
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

    @property
    def next(self) -> datetime:
        """The time of the next commit: a minute passes before each."""
        return self.tale.graph.now + timedelta(minutes=1)

    @property
    def making(self) -> use_rules.Uses:
        """What can be made of the releases as they are."""
        graph, records = self.tale.graph, self.tale.graph.records(self.main)
        known = [records[name] for name in NAMES]
        return use_rules.Uses(self.random, self.main.files, graph.data, known, self.next)

    def decided(self) -> Record | None:
        records = [one.record for one in self.folders.values() if one.record is not None]
        return self.random.choice(records) if records else None

    def use(self) -> bool:
        """A release by a gateway; it may be too late."""
        made = self.making.use()
        return self.commit(made[0], made[1], "use") if made else True

    def answer(self) -> bool:
        """A receipt by who released it or, where that is not known, by an admin."""
        made = self.making.answer()
        return self.commit(made[0], made[1], "receipt") if made else True

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
        """A release or receipt that hardly anybody may make, or damage to one."""
        made = self.making.forged(EVERYBODY)
        return self.commit(made[1], self.random.choice(EVERYBODY), made[0]) if made else True

    def merge(self) -> bool:
        """A release, or damage to one, that comes by a merge, however right it would be as a commit of the line."""
        side = self.tale.side()
        made = self.making.use()
        changes: Mapping[str, object] = made[0] if made else {}
        if (there := sorted(self.making.files)) and self.random.random() < 0.5:
            changes = {self.random.choice(there): None}
        if not changes:
            return True
        [path] = changes
        name = use_rules.id_of(path) or ""
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
            if use_rules.id_of(path) and (release := self.read(file))
        }
        is_early = random.random() < 0.1
        if not found or any(layout.month_of(path) != "2026/11" for path in found):
            return True
        if not is_early:
            tale.graph.now = max(
                tale.graph.now, archive_file.month_end("2026/11") or tale.graph.now
            ) + timedelta(days=1)
        # An earlier archive, of which nothing came, may have moved the clock.
        is_early = is_early and tale.graph.now < (archive_file.month_end("2026/11") or tale.graph.now)
        chosen = sorted(path for path in found if random.random() < 0.8 or found[path].closed_at is None)
        who = random.choice((*ADMINS, *ADMINS, "gw"))
        held = [(use_rules.id_of(path) or "", tale.graph.data(self.main.files[path])) for path in chosen]
        forged = random.choice((None, None, None, "edited", "left out", "stays"))
        if forged == "edited":
            held = [(name, data.replace(b"outcome: approved", b"outcome: redacted")) for name, data in held]
        if not held:
            return True
        number = layout.last_archives(self.main.files).get("released/2026/11", 0) + 1
        files = hostile.archive("2026/11", number, held[1:] if forged == "left out" else held, "released")
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
