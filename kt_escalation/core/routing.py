"""Policy packs as the gateway reads them, and where an escalation goes by them (design, section 7).

Only what routing needs is looked at; every other key of a pack is the gateway's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .model import Fallback, Route


class PackFault(ValueError):
    """Something that routing needs is wrong in a pack; ``path`` says where, from the top."""

    def __init__(self, path: tuple[str | int, ...], problem: str) -> None:
        super().__init__(f"{dotted(path)}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


def dotted(path: tuple[str | int, ...]) -> str:
    """A path as ``providers.targets[0].models[1]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True)
class ModelEntry:
    """One model of a target: its id, its aliases, and its own routing if it has one."""

    model_id: str
    aliases: tuple[str, ...]
    routing: Fallback | None
    path: tuple[str | int, ...]


@dataclass(frozen=True)
class Target:
    """One provider target of a pack."""

    target_id: str
    models: tuple[ModelEntry, ...]
    routing: Fallback | None
    path: tuple[str | int, ...]


@dataclass(frozen=True)
class Pack:
    """One enabled or disabled policy file: its path below the store's top and its targets in order."""

    file: str
    enabled: bool
    targets: tuple[Target, ...]


def parse_pack(file: str, document: Any) -> Pack:
    """The routing that a policy file holds.

    Raises PackFault for the first thing that routing needs and that is wrong.
    """
    top = _mapping(document, ())
    pack = _mapping(top.get("pack"), ("pack",))
    enabled = pack.get("enabled", True)
    if not isinstance(enabled, bool):
        raise PackFault(("pack", "enabled"), "must be true or false")
    providers = _mapping(top.get("providers"), ("providers",))
    path = ("providers", "targets")
    targets = tuple(
        _target(item, (*path, index)) for index, item in enumerate(_sequence(providers.get("targets"), path))
    )
    return Pack(file, enabled, targets)


def _target(value: Any, path: tuple[str | int, ...]) -> Target:
    target = _mapping(value, path)
    target_id = _text(target.get("id"), (*path, "id"))
    if "model" in target and "models" in target:
        raise PackFault((*path, "model"), "a target has either model or models, not both")
    if target.get("model") is not None:
        models: tuple[ModelEntry, ...] = (
            ModelEntry(_text(target["model"], (*path, "model")), (), None, path),
        )
    else:
        below = (*path, "models")
        models = tuple(
            _model(item, (*below, index)) for index, item in enumerate(_sequence(target.get("models"), below))
        )
    return Target(target_id, models, _routing(target, path), path)


def _model(value: Any, path: tuple[str | int, ...]) -> ModelEntry:
    model = _mapping(value, path)
    key = "model_id" if model.get("model_id") is not None else "id"
    aliases = tuple(
        _text(alias, (*path, "aliases", index))
        for index, alias in enumerate(_sequence(model.get("aliases"), (*path, "aliases")))
    )
    if model.get(key) is None:
        raise PackFault(path, "a model needs a model_id")
    return ModelEntry(_text(model[key], (*path, key)), aliases, _routing(model, path), path)


def _routing(holder: dict[str, Any], path: tuple[str | int, ...]) -> Fallback | None:
    if holder.get("escalation_routing") is None:
        return None
    path = (*path, "escalation_routing")
    return parse_routing(holder["escalation_routing"], path)


def parse_routing(value: Any, path: tuple[str | int, ...] = ()) -> Fallback:
    """An `escalation_routing`: exactly one of `team_id` and `user_id`; null counts as not set.

    Raises PackFault.
    """
    routing = _mapping(value, path)
    given = {key: routing[key] for key in ("team_id", "user_id") if routing.get(key) is not None}
    if len(given) != 1:
        raise PackFault(
            path, f"needs exactly one of team_id and user_id, has {'both' if given else 'neither'}"
        )
    [(key, name)] = given.items()
    name = _text(name, (*path, key))
    try:
        return Fallback(
            team_id=name if key == "team_id" else None, user_id=name if key == "user_id" else None
        )
    except ValueError:
        raise PackFault((*path, key), "must be one line without control characters") from None


def _mapping(value: Any, path: tuple[str | int, ...]) -> dict[str, Any]:
    if value is None and path:
        return {}
    if not isinstance(value, dict):
        raise PackFault(path, "must be a mapping")
    return value


def _sequence(value: Any, path: tuple[str | int, ...]) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise PackFault(path, "must be a list")
    return value


def _text(value: Any, path: tuple[str | int, ...]) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PackFault(path, "must be text that is not empty")
    return value


def route(
    packs: Sequence[Pack],
    broken: str | None,
    default: Fallback | None,
    tree: str | None,
    provider: str | None,
    model: str | None,
) -> Route:
    """Who an escalation for that target and model goes to.

    ``packs`` are in name order; ``broken`` names a pack that could not be read: then nothing in the
    packs can be trusted to have been the first match, and the default route is taken, so that the
    escalation is not lost. Model before target before default before nobody.
    """
    if broken:
        return _to(default, f"default ({broken} is broken)", tree)
    found = _match(packs, provider, model)
    if found:
        pack, target, entry = found
        if entry and entry.routing:
            return _to(entry.routing, f"{pack.file}#{dotted(entry.path)}", tree)
        if target.routing:
            return _to(target.routing, f"{pack.file}#{dotted(target.path)}", tree)
    return _to(default, "default", tree)


def _match(
    packs: Sequence[Pack], provider: str | None, model: str | None
) -> tuple[Pack, Target, ModelEntry | None] | None:
    targets = [(pack, target) for pack in packs if pack.enabled for target in pack.targets]
    if provider is not None:
        for pack, target in targets:
            if target.target_id == provider:
                return pack, target, _offers(target, model)
        return None
    for pack, target in targets:
        entry = _offers(target, model)
        if entry:
            return pack, target, entry
    return None


def _offers(target: Target, model: str | None) -> ModelEntry | None:
    """The target's entry for a model: a model id beats an alias."""
    if model is None:
        return None
    for entry in target.models:
        if entry.model_id == model:
            return entry
    for entry in target.models:
        if model in entry.aliases:
            return entry
    return None


def _to(whom: Fallback | None, source: str, tree: str | None) -> Route:
    return Route(
        team_id=whom.team_id if whom else None,
        user_id=whom.user_id if whom else None,
        source=source,
        policies=tree,
    )
