"""The violations that a run of the judge has found, and the waivers that accept some of them."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from ..policies.waivers import Waiver
from ..rules.judge_step import Violation
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.trees import KT_YAML
from .mark import Key


class Findings:
    """Collects violations in the order in which they are found."""

    def __init__(self, store: GitStore) -> None:
        self._store = store
        #: What this run has found.
        self.found: list[Violation] = []
        #: What was found up to the mark from which this run goes on.
        self.earlier: list[Violation] = []
        #: What waivers accept that were added rightly, and what was wrong with records that have been restored since.
        self.accepted: set[Key] = set()
        self.healed: set[Key] = set()

    def resume(self, found: Iterable[Violation], accepted: Iterable[Key], healed: Iterable[Key]) -> None:
        """Go on from what another run has found."""
        self.earlier, self.accepted, self.healed = list(found), set(accepted), set(healed)

    def find(self, commit: Commit, path: str, violation: Violation, name: str | None = None) -> Violation:
        """Note a violation of a commit; one that names a commit already keeps that."""
        # What leads to the store is named from the top, as is the file that says where it is.
        above = path == KT_YAML or f"{self._store.root}/".startswith(f"{path}/")
        where = path if above else self._store.full(path)
        if violation.commit:
            found = replace(violation, path=where, escalation_id=name)
        else:
            found = replace(violation, commit=commit.oid, author=commit.email, path=where, escalation_id=name)
        self.found.append(found)
        return found

    def of_record(self, name: str) -> list[Violation]:
        """All violations of one record."""
        return [found for found in (*self.earlier, *self.found) if found.escalation_id == name]

    def drop(self, keys: Container[tuple[str, str, str]]) -> None:
        """Take back what was found: rule, commit and path of each."""
        for told in (self.found, self.earlier):
            told[:] = [found for found in told if (found.rule, found.commit, found.path) not in keys]

    def accept(self, waivers: Iterable[Waiver], by: Commit) -> list[Violation]:
        """Accept what new waivers name of what was found before the commit that adds them; what is accepted now."""
        named = {waiver.key for waiver in waivers}
        every = (*self.earlier, *self.found)
        now = [
            found
            for found in every
            if found.commit != by.oid and key(found) in named and key(found) not in self.accepted
        ]
        self.accepted.update(map(key, now))
        return now


def key(violation: Violation) -> Key:
    """What a waiver names of a violation."""
    return violation.commit, violation.rule, violation.path
