"""A mark: the state of the judge at one commit of the line, from which the next run continues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import field, fields, replace
from datetime import UTC, datetime
from typing import Any

from ..frozen import dataclass
from ..model.value import plain
from ..policies.waivers import Waiver
from ..rules.judge_step import Violation
from ..storage import notebook
from ..storage.clone import GitStore

# Raise it whenever what a mark holds changes its meaning: a mark of another build is none.
_FORMAT = 4
#: What a waiver names of a violation: commit, rule and path.
ViolationKey = tuple[str, str, str]


@dataclass(frozen=True)
class PolicyMark:
    """The policies at a commit: those in force, and the state of each file (`policies_in_force.InForce`).

    ``eras`` are the commits of the line with which policies came into force, oldest first, each with the tree
    of `policies/`. ``legal`` is the legal version of each file (mode, id). ``wrong`` are the commits whose
    illegal changes a file still has. ``unauthorised`` are changes (commit, path) that an admin might admit,
    and ``proposed`` the waivers that each of them has written. ``standing`` are the waivers in the file, and
    ``waivers`` those that count. ``gathered`` are the files of policies that no tree of the line has together
    (path, mode, id), by the ids that stand for such trees in ``eras``.
    """

    eras: tuple[tuple[str, str | None], ...] = ()
    legal: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    wrong: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unauthorised: tuple[tuple[str, str], ...] = ()
    proposed: Mapping[str, tuple[Waiver, ...]] = field(default_factory=dict)
    standing: tuple[Waiver, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    gathered: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Mark:
    """The state of the judge at ``commit``, a commit of the line.

    ``start`` is the store's first commit, or None if it has none yet. ``root`` is its folder, and ``named``
    are the folders that `.kt.yaml` named before. ``sound`` is the newest commit so far whose tree could be
    read. ``newest`` is the newest time of a commit that acted, in seconds. ``refused`` are commits of the
    line with refused trees, each with the previous commit whose trees count. ``illegal`` has each illegal
    record with its last legal state (path, mode, id), ``owed`` the violations that waivers must accept before
    it is legal again, ``waived`` the records whose history only a waiver accepts, and ``doubted`` the
    commits that changed a record, with which something is wrong as a whole. ``found`` are all violations,
    ``accepted`` those that waivers accept, and ``healed`` those that were restored since.
    """

    commit: str
    start: str | None
    root: str
    sound: str | None
    policies: PolicyMark
    newest: float = 0.0
    named: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    illegal: Mapping[str, tuple[str, str, str] | None] = field(default_factory=dict)
    owed: Mapping[str, tuple[ViolationKey, ...]] = field(default_factory=dict)
    waived: tuple[str, ...] = ()
    doubted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    found: tuple[Violation, ...] = ()
    accepted: tuple[ViolationKey, ...] = ()
    healed: tuple[ViolationKey, ...] = ()
    #: Of releases: the decisions that may be used for a time (file, when it came, until when), and the releases that are
    #: illegal with all their files as they legally were (`releases.Releases`).
    usable: Mapping[str, tuple[str, str, str, float, float]] = field(default_factory=dict)
    unreleased: Mapping[str, tuple[tuple[str, str, str], ...]] = field(default_factory=dict)
    #: How many commits of the line were counted up to the mark, and some of them at regular distances, oldest first.
    count: int = 0
    milestones: tuple[str, ...] = ()

    def moved(self, commit: str) -> Mark:
        """The mark at another commit of the line whose store has the same history."""
        return self if commit == self.commit else replace(self, commit=commit, count=0, milestones=())

    @property
    def newest_at(self) -> datetime:
        """The newest date of a commit that acted."""
        return datetime.fromtimestamp(self.newest, UTC)

    @property
    def unexcused(self) -> list[Violation]:
        """The violations up to the mark that no waiver accepts."""
        listed = {waiver.key for waiver in self.policies.waivers} & set(self.accepted)
        return [found for found in self.found if (found.commit, found.rule, found.path) not in listed]

    def plain(self) -> dict[str, Any]:
        """The mark as JSON values."""
        policies = {one.name: getattr(self.policies, one.name) for one in fields(self.policies)}
        for name in ("standing", "waivers"):
            policies[name] = _plain(policies[name])
        policies["proposed"] = {commit: _plain(some) for commit, some in self.policies.proposed.items()}
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        found = [vars(violation) for violation in self.found]
        return {"format": _FORMAT, **values, "policies": policies, "found": found}

    @classmethod
    def of(cls, values: object) -> Mark | None:
        """The mark from JSON values, or None if they are not one."""
        try:
            given = dict(values)  # type: ignore[call-overload]
            if given.pop("format") != _FORMAT:
                return None
            policies = dict(given.pop("policies"))
            for name in ("standing", "waivers"):
                policies[name] = _waivers(policies[name])
            proposed = policies.pop("proposed").items()
            policies["proposed"] = {commit: _waivers(some) for commit, some in proposed}
            found = tuple(Violation(**violation) for violation in given.pop("found"))
            given = {name: _frozen(value) for name, value in given.items()}
            policies = {name: _frozen(value) for name, value in policies.items()}
            return cls(**given, policies=PolicyMark(**policies), found=found)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def _plain(waivers: Iterable[Waiver]) -> list[dict[str, str]]:
    return [plain(waiver) for waiver in waivers]


def _waivers(values: Iterable[Mapping[str, str]]) -> tuple[Waiver, ...]:
    return tuple(map(Waiver.parse, values))


def _frozen(value: Any) -> Any:
    """JSON lists as tuples."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return {key: _frozen(one) for key, one in value.items()} if isinstance(value, dict) else value


def remembered(store: GitStore, name: str, branch: str | None = None) -> list[Mark]:
    """The marks that this clone has stored under a name, the newest first.

    Marks of commits that are gone are left out.
    ``branch`` is the branch of the marks; the default is this clone's store branch.
    """
    found = (notebook.read(store.lock_folder, name) or {}).get(branch or store.branch or "")
    marks = [Mark.of(values) for values in found] if isinstance(found, list) else []
    objects = store.repository.objects
    return [mark for mark in marks if mark is not None and objects.id_of(f"{mark.commit}^{{commit}}")]


def remember(store: GitStore, name: str, mark: Mark, branch: str | None = None, *, most: int = 1) -> None:
    """Store a mark, together with up to ``most`` - 1 of the newest earlier ones.

    If it cannot be written, the next run only takes longer.
    """
    with suppress(OSError, ValueError):
        known = notebook.read(store.lock_folder, name) or {}
        branch = branch or store.branch or ""
        before = known.get(branch) if most > 1 else None
        others = (
            [one for one in before if one.get("commit") != mark.commit] if isinstance(before, list) else []
        )
        notebook.write(store.lock_folder, name, {**known, branch: [mark.plain(), *others][:most]})
