"""All policies at one commit as one value: packs, roster, settings, waivers, and their faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from ..errors import BrokenPolicies
from ..frozen import dataclass
from ..model.record import Route
from ..model.value import InvalidValue, Value
from .policy_file import OURS, ROSTER, SETTINGS, Fault, PolicyFile
from .roster import Roster, ambiguities
from .routing import Pack, PackFault, Tried, dotted, pack_schema, read_pack, route
from .settings import Settings
from .waivers import Waiver, Waivers

# The number of routes, by target and model, that are cached.
_TARGETS = 1000

_M = TypeVar("_M", bound=Value)


@dataclass(frozen=True)
class Packs:
    """All packs in name order, the path of the first broken one, and the faults of all."""

    packs: tuple[Pack, ...] = ()
    broken: str | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Policies:
    """The policies at one commit. If ``roster`` is None, there is no roster, and roles are not checked.

    ``packs`` are in name order, ``broken_pack`` is the path of the first that cannot be read, and ``faults`` are
    those of all files.
    """

    tree: str | None = None
    # Only routing needs the packs, and they can be many and large. The tree says which they are.
    _load_packs: Callable[[], Packs] = field(default=Packs, compare=False)
    roster: Roster | None = None
    settings: Settings = Settings.of({})
    waivers: tuple[Waiver, ...] = ()
    # Those of roster, settings and waivers.
    _own_faults: tuple[Fault, ...] = ()

    @property
    def packs(self) -> tuple[Pack, ...]:
        """The packs in name order."""
        return self._load_packs().packs

    @property
    def broken_pack(self) -> str | None:
        """The path of the first pack that cannot be read."""
        return self._load_packs().broken

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of all files, in the order of their names."""
        both = (*self._own_faults, *self._load_packs().faults)
        return tuple(sorted(both, key=lambda fault: fault.file))

    @property
    def broken(self) -> Mapping[str, Fault]:
        """The first fault of each of roster, settings and waivers that cannot be read, by path."""
        return {fault.file: fault for fault in reversed(self._own_faults)}

    @property
    def has_no_admin(self) -> bool:
        """Whether there is a roster without an admin."""
        return self.roster is not None and not self.roster.with_role("admin")

    def with_packs_of(self, other: Policies, settings: Settings) -> Policies:
        """These policies with the packs of another version, and with some settings."""
        return replace(self, tree=other.tree, _load_packs=other._load_packs, settings=settings)

    def require_sound(self) -> None:
        """Raise BrokenPolicies if the roster or the settings cannot be read. See docs/operator.md."""
        broken = [fault for fault in self._own_faults if fault.file in (ROSTER, SETTINGS)]
        if broken:
            more = f" (and {len(broken) - 1} more; see `kt policy lint`)" if len(broken) > 1 else ""
            raise BrokenPolicies(where=broken[0].where, problem=f"{broken[0].problem}{more}")

    def route(self, provider: str | None, model: str | None, tried: list[Tried] | None = None) -> Route:
        """The route of an escalation for a target and model. The rules tried are appended to ``tried``."""
        return self._routes(provider, model) if tried is None else self._route(provider, model, tried)

    def _route(self, provider: str | None, model: str | None, tried: list[Tried] | None = None) -> Route:
        found, default = self._load_packs(), self.settings.default_route
        return route(found.packs, found.broken, default, self.tree, provider, model, tried)

    @cached_property
    def _routes(self) -> Callable[[str | None, str | None], Route]:
        """The same as `route`, cached: there are many escalations, but few different targets and models."""
        return lru_cache(_TARGETS)(self._route)


def assemble(
    tree: str | None, files: Mapping[str, PolicyFile], load_packs: Callable[[], Packs] | None = None
) -> Policies:
    """The policies in parsed files, given by path. Faults are kept beside the parts that could be read.

    The packs are those in ``files``, unless ``load_packs`` returns them when they are needed.
    """
    roster: Roster | None = None
    settings = Settings.of({})
    waivers = Waivers.of({})
    faults: list[Fault] = []
    for path in sorted(OURS & files.keys()):
        file = files[path]
        found: list[Fault] = []
        if file.problem is not None:
            found.append(Fault(path, file.line, file.column, file.problem))
        elif path == ROSTER:
            roster = _read(Roster, path, file, found)
            for where, problem in ambiguities(roster) if roster else ():
                found.append(file.fault(path, where, problem))
        elif path == SETTINGS:
            settings = _read(Settings, path, file, found) or settings
        else:
            waivers = _read(Waivers, path, file, found) or waivers
        faults += found
    if load_packs is None:
        packs = read_packs((path, files[path]) for path in sorted(files.keys() - OURS))
        return Policies(tree, lambda: packs, roster, settings, waivers.waivers, tuple(faults))
    return Policies(tree, load_packs, roster, settings, waivers.waivers, tuple(faults))


def read_packs(files: Iterable[tuple[str, PolicyFile]]) -> Packs:
    """The packs in parsed files, given with their paths in name order."""
    packs: list[Pack] = []
    broken: str | None = None
    faults: list[Fault] = []
    for path, file in files:
        if file.problem is not None:
            faults.append(Fault(path, file.line, file.column, file.problem))
            broken = broken or path
            continue
        pack, wrong = read_pack(path, file.value)
        packs.append(pack)
        faults += [pack_fault(path, file, fault) for fault in wrong]
        if wrong and pack.enabled:
            broken = broken or path
    return Packs(tuple(packs), broken, tuple(faults))


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of `policies/<name>.yaml` (roster, settings or waivers), or of a ``pack``."""
    from ..model.pydantic_schema import json_schema

    kinds: Mapping[str, type[Value]] = {"roster": Roster, "settings": Settings, "waivers": Waivers}
    found = pack_schema() if name == "pack" else json_schema(kinds[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def pack_fault(path: str, file: PolicyFile, fault: PackFault) -> Fault:
    """A pack's fault with its position in the file."""
    return file.fault(path, fault.path, str(fault))


def _read(kind: type[_M], path: str, file: PolicyFile, faults: list[Fault]) -> _M | None:
    try:
        return kind.parse(file.value)
    except InvalidValue as error:
        for where, problem in error.faults:
            faults.append(file.fault(path, where, f"{dotted(where)}: {problem}" if where else problem))
        return None
