"""All of `policies/` at one commit as one value: packs, roster, settings, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from ..errors import BrokenPolicies
from .model import Route, explain
from .policies_file import PolicyFile
from .roster import Roster, tuples
from .routing import Pack, PackFault, parse_pack, route
from .settings import Settings

ROSTER = "policies/roster.yaml"
SETTINGS = "policies/settings.yaml"
WAIVERS = "policies/waivers.yaml"


@dataclass(frozen=True)
class Policies:
    """What holds at one commit. ``roster`` is None where there is none, and roles are not asked."""

    tree: str | None = None
    packs: tuple[Pack, ...] = ()
    broken_pack: str | None = None
    roster: Roster | None = None
    settings: Settings = Settings()
    faults: tuple[tuple[str, str], ...] = ()

    def require_sound(self) -> None:
        """Raise BrokenPolicies if the roster or the settings cannot be read (design, section 6)."""
        for file, problem in self.faults:
            if file in (ROSTER, SETTINGS):
                raise BrokenPolicies(where=file, problem=problem)

    def route(self, provider: str | None, model: str | None) -> Route:
        """Where an escalation for that target and model goes."""
        return route(self.packs, self.broken_pack, self.settings.default_route, self.tree, provider, model)


def assemble(tree: str | None, files: Mapping[str, PolicyFile]) -> Policies:
    """The policies in parsed files, given by path; faults are kept beside what could be read."""
    packs: list[Pack] = []
    broken: str | None = None
    roster: Roster | None = None
    settings = Settings()
    faults: list[tuple[str, str]] = []
    for path in sorted(files):
        file = files[path]
        problem = file.problem
        if problem is None:
            try:
                if path == ROSTER:
                    roster = Roster.model_validate(tuples(file.value))
                elif path == SETTINGS:
                    settings = Settings.model_validate(tuples(file.value))
                elif path != WAIVERS:
                    packs.append(parse_pack(path, file.value))
            except ValidationError as error:
                problem = explain(error)
            except PackFault as error:
                problem = str(error)
        if problem is not None:
            faults.append((path, problem))
            if path not in (ROSTER, SETTINGS, WAIVERS):
                broken = broken or path
    return Policies(tree, tuple(packs), broken, roster, settings, tuple(faults))
