"""The violations that a run of the judge has found, and the waivers that accept some of them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace

from ..policies.waivers import Waiver
from ..rules.judge_step import Violation
from ..storage import layout
from ..storage.clone import GitStore
from ..storage.commits import Commit
from ..storage.trees import KT_YAML
from .mark import ViolationKey


class Findings:
    """Collects violations in the order in which they are found."""

    def __init__(self, store: GitStore) -> None:
        self._store = store
        #: What this run has found.
        self.found: list[Violation] = []
        #: The commits with which something is wrong as a whole, and not with one record. What is only said, or lies beside
        #: records, is not.
        self.guilty: set[str] = set()
        #: What was found before this run, up to its mark.
        self.earlier: list[Violation] = []
        #: The violations that legal waivers accept, and those of records that were restored since.
        self.accepted: set[ViolationKey] = set()
        self.healed: set[ViolationKey] = set()

    def resume(
        self, found: Iterable[Violation], accepted: Iterable[ViolationKey], healed: Iterable[ViolationKey]
    ) -> None:
        """Continue from the findings of another run."""
        self.earlier, self.accepted, self.healed = list(found), set(accepted), set(healed)
        self.guilty = self._guilty()

    def _guilty(self) -> set[str]:
        return {found.commit for found in (*self.earlier, *self.found) if _is_about_all(found)}

    def find(self, commit: Commit, path: str, violation: Violation, name: str | None = None) -> Violation:
        """Note a violation of a commit, unless the violation names another commit already."""
        # `.kt.yaml` and the folders above the store are named from the top of the repository.
        above = path == KT_YAML or f"{self._store.root}/".startswith(f"{path}/")
        where = path if above else self._store.full(path)
        if violation.commit:
            found = replace(violation, path=where, escalation_id=name)
        else:
            found = replace(violation, commit=commit.oid, author=commit.email, path=where, escalation_id=name)
        self.found.append(found)
        if _is_about_all(found):
            self.guilty.add(found.commit)
        return found

    def heal(self, name: str, *, of_release: bool) -> None:
        """Note that a record was restored, or its release: neither is restored by the other.

        This does not heal the violation of a merge that left out one of the record's changes.
        """
        for found in (*self.earlier, *self.found):
            is_release = layout.released_id(self._store.below(found.path)) is not None
            if found.escalation_id == name and found.rule != "dropped" and is_release == of_release:
                self.healed.add(key(found))

    def drop(self, keys: Container[tuple[str, str, str]]) -> None:
        """Remove violations, by rule, commit and path."""
        for told in (self.found, self.earlier):
            told[:] = [found for found in told if (found.rule, found.commit, found.path) not in keys]
        self.guilty = self._guilty()

    @property
    def standing(self) -> Iterator[Violation]:
        """What was found and is not waived."""
        return (found for found in (*self.earlier, *self.found) if key(found) not in self.accepted)

    def accept(self, waivers: Iterable[Waiver], by: Commit) -> list[Violation]:
        """Accept and return the violations that new waivers name; the commit that adds them cannot waive its own."""
        named = {waiver.key for waiver in waivers}
        every = (*self.earlier, *self.found)
        now = [
            found
            for found in every
            if found.commit != by.oid and key(found) in named and key(found) not in self.accepted
        ]
        self.accepted.update(map(key, now))
        return now


def _is_about_all(violation: Violation) -> bool:
    return violation.escalation_id is None and violation.rule not in ("message", "foreign")


def key(violation: Violation) -> ViolationKey:
    """The part of a violation that a waiver names."""
    return violation.commit, violation.rule, violation.path
