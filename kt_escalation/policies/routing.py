"""Reads policy packs like the gateway, and routes escalations by them. See docs/operator.md.

Only the keys for routing are read. All others belong to the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..frozen import dataclass
from ..model.record import Fallback, Route
from ..model.text import visible
from ..model.value import KeyPath
from ..model.vocabulary import MAX_BYTES, MAX_NAME

_T = TypeVar("_T")

# The longest part of a file's name in a route's source.
LONGEST_FILE = 200
# The most faults of a pack that are listed.
MOST_FAULTS = 1000

TOO_LARGE = (
    f"with the YAML aliases written out, the targets up to here are larger than {MAX_BYTES // 1024} KiB; "
    "repeat less, or split the pack"
)


class PackFault(ValueError):
    """A fault in the parts of a pack that routing needs. ``path`` leads to it from the top."""

    def __init__(self, path: KeyPath, problem: str) -> None:
        super().__init__(f"{dotted(path)}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


def dotted(path: KeyPath) -> str:
    """A path in text form: ``providers.targets[0].models[1]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True)
class ModelEntry:
    """One model of a target: its id, its aliases, and its own routing, if any.

    ``path`` leads to it from its target, because targets can share a list of models. It is empty if the target
    itself names the model.
    """

    model_id: str
    aliases: tuple[str, ...]
    routing: Fallback | None
    path: KeyPath


@dataclass(frozen=True)
class Target:
    """One provider target of a pack."""

    target_id: str
    models: tuple[ModelEntry, ...]
    routing: Fallback | None
    path: KeyPath


@dataclass(frozen=True)
class Pack:
    """One policy file, enabled or not: its path below the store's folder, and its targets in order."""

    file: str
    enabled: bool
    targets: tuple[Target, ...]


def read_pack(file: str, document: Any) -> tuple[Pack, tuple[PackFault, ...]]:
    """Read the routing of a policy file. Returns it with all faults in the parts that routing needs.

    Parts with a fault are left out of the pack.
    """
    reader = _Reader()
    top = reader.mapping(document, ())
    pack = reader.mapping(top.get("pack"), ("pack",))
    enabled = pack.get("enabled", True)
    if not isinstance(enabled, bool):
        reader.fault(("pack", "enabled"), "must be true or false")
        enabled = True
    providers = reader.mapping(top.get("providers"), ("providers",))
    targets = reader.targets(providers.get("targets"), ("providers", "targets"))
    return Pack(file, enabled, targets), tuple(reader.faults)


class _Unreadable(PackFault):
    """A fault because of which the rest of a pack is not read."""


class _Reader:
    """Reads a pack's values. Collects faults instead of stopping at the first.

    With YAML aliases, a few bytes can repeat a large part of the file. So each list is read once, its result is
    shared, and what is read is counted as if it were written out each time. Up to the limit of a file that is
    harmless, and no pack without aliases has more.
    """

    def __init__(self) -> None:
        self.faults: list[PackFault] = []
        # What has been read so far, as the least number of bytes that it takes in a file without aliases.
        self._size = 0
        # What was read of each list, by its identity, and its size.
        self._models: dict[int, tuple[tuple[ModelEntry, ...], int]] = {}
        self._aliases: dict[int, tuple[tuple[str, ...], int]] = {}

    def count(self, size: int, path: KeyPath) -> None:
        """Count a part before it is read. Raises _Unreadable if the pack is too large with it."""
        self._size += size
        if self._size > MAX_BYTES:
            raise _Unreadable(path, TOO_LARGE)

    def fault(self, path: KeyPath, problem: str) -> None:
        if len(self.faults) == MOST_FAULTS:
            raise _Unreadable(
                path, f"is the fault after {MOST_FAULTS} others; the rest of the pack is not read"
            )
        self.faults.append(PackFault(path, problem))

    def targets(self, value: Any, path: KeyPath) -> tuple[Target, ...]:
        items = enumerate(self.sequence(value, path))
        try:
            targets = [self.target(item, (*path, index)) for index, item in items]
        except _Unreadable as fault:
            self.faults.append(fault)
            return ()
        return tuple(target for target in targets if target)

    def target(self, value: Any, path: KeyPath) -> Target | None:
        self.count(1, path)
        if not isinstance(value, dict):
            self.fault(path, "must be a mapping")
            return None
        target: dict[str, Any] = value
        target_id = self.text(target.get("id"), (*path, "id"))
        if target.get("model") is not None and target.get("models") is not None:
            self.fault((*path, "model"), "a target has either model or models, not both")
        models = self.models(target.get("models"), (*path, "models"))
        if target.get("model") is not None:
            name = self.text(target["model"], (*path, "model"))
            models = (ModelEntry(name, (), None, ()),) if name else ()
        return Target(target_id, models, self.routing(target, path), path)

    def models(self, value: Any, path: KeyPath) -> tuple[ModelEntry, ...]:
        def read() -> tuple[ModelEntry, ...]:
            items = enumerate(self.sequence(value, path))
            found = [self.model(item, (*path, index)) for index, item in items]
            return tuple(model for model in found if model)

        return self._once(self._models, value, path, read)

    def model(self, value: Any, path: KeyPath) -> ModelEntry | None:
        self.count(1, path)
        if not isinstance(value, dict):
            self.fault(path, "must be a mapping")
            return None
        model: dict[str, Any] = value
        key = "model_id" if model.get("model_id") is not None else "id"
        aliases = self.aliases(model.get("aliases"), (*path, "aliases"))
        routing = self.routing(model, path)
        if model.get(key) is None:
            self.fault(path, "a model needs a model_id")
            return None
        # The last two parts of the path lead here from the target.
        return ModelEntry(self.text(model[key], (*path, key)), aliases, routing, path[-2:])

    def aliases(self, value: Any, path: KeyPath) -> tuple[str, ...]:
        def read() -> tuple[str, ...]:
            items = enumerate(self.sequence(value, path))
            return tuple([self.text(item, (*path, index)) for index, item in items])

        return self._once(self._aliases, value, path, read)

    def _once(
        self, known: dict[int, tuple[_T, int]], value: Any, path: KeyPath, read: Callable[[], _T]
    ) -> _T:
        """What ``read`` makes of a list. One that an alias repeats is counted again, and not read again."""
        if id(value) in known:
            found, size = known[id(value)]
            self.count(size, path)
            return found
        before = self._size
        found = read()
        if isinstance(value, list):
            known[id(value)] = found, self._size - before
        return found

    def routing(self, holder: dict[str, Any], path: KeyPath) -> Fallback | None:
        value, path = holder.get("escalation_routing"), (*path, "escalation_routing")
        if value is None:
            return None
        for name in (value.get("team_id"), value.get("user_id")) if isinstance(value, dict) else ():
            self.count(_size(name), path)
        try:
            return parse_routing(value, path)
        except PackFault as fault:
            self.fault(fault.path, fault.problem)
            return None

    def mapping(self, value: Any, path: KeyPath) -> dict[str, Any]:
        try:
            return _mapping(value, path)
        except PackFault as fault:
            self.fault(fault.path, fault.problem)
            return {}

    def sequence(self, value: Any, path: KeyPath) -> Sequence[Any]:
        if value is None or isinstance(value, list):
            return value or ()
        self.fault(path, "must be a list")
        return ()

    def text(self, value: Any, path: KeyPath) -> str:
        self.count(_size(value), path)
        try:
            return _text(value, path)
        except PackFault as fault:
            self.fault(fault.path, fault.problem)
            return ""


def pack_schema() -> dict[str, Any]:
    """The JSON Schema of the keys that `read_pack` reads. All other keys are the gateway's, and allowed."""
    text = {"type": "string", "pattern": r"\S"}
    name = {**text, "maxLength": MAX_NAME}
    nothing = {"type": "null"}
    routing = {
        "description": "Who its escalations go to: one team or one user of roster.yaml.",
        "anyOf": [
            {"type": "object", "required": ["team_id"], "properties": {"team_id": name, "user_id": nothing}},
            {"type": "object", "required": ["user_id"], "properties": {"user_id": name, "team_id": nothing}},
            nothing,
        ],
    }
    model = {
        "type": "object",
        "properties": {
            "aliases": _list_schema("Other names of the model.", text),
            "escalation_routing": routing,
        },
        "anyOf": [
            {"required": ["model_id"], "properties": {"model_id": text}},
            {"required": ["id"], "properties": {"id": text, "model_id": nothing}},
        ],
    }
    target = {
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": {**text, "description": "The name that an escalation's `provider` has."},
            "model": {**text, "description": "The one model that it offers.", "type": ["string", "null"]},
            "models": _list_schema("The models that it offers.", model),
            "escalation_routing": routing,
        },
        "anyOf": [{"properties": {"model": nothing}}, {"properties": {"models": nothing}}],
    }
    enabled = {"description": "Whether the pack counts.", "type": "boolean", "default": True}
    targets = _list_schema("The targets, in the order in which they are tried.", target)
    return {
        "description": "What kt reads of a policy pack.",
        "type": "object",
        "properties": {
            "pack": {"type": ["object", "null"], "properties": {"enabled": enabled}},
            "providers": {"type": ["object", "null"], "properties": {"targets": targets}},
        },
    }


def _list_schema(description: str, items: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "type": ["array", "null"], "items": items}


def parse_routing(value: Any, path: KeyPath = ()) -> Fallback:
    """Parse an `escalation_routing`: exactly one of `team_id` and `user_id`. null counts as not set."""
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


def _mapping(value: Any, path: KeyPath) -> dict[str, Any]:
    if value is None and path:
        return {}
    if not isinstance(value, dict):
        raise PackFault(path, "must be a mapping")
    return value


def _size(value: Any) -> int:
    """The least number of bytes that an entry with this value takes in a file."""
    return len(value) + 1 if isinstance(value, str) else 1


def _text(value: Any, path: KeyPath) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PackFault(path, "must be text that is not empty")
    return value


@dataclass(frozen=True)
class Tried:
    """One rule that was tried for a route: its name, whether it decided, and why."""

    rule: str
    won: bool
    why: str


def route(
    packs: Sequence[Pack],
    broken: str | None,
    default: Fallback | None,
    tree: str | None,
    provider: str | None,
    model: str | None,
    tried: list[Tried] | None = None,
) -> Route:
    """The route of an escalation for a target and model.

    ``packs`` are in name order. ``broken`` names a pack that could not be read. Then no other pack can be
    trusted to be the first match, so the default route is used, and the escalation is not lost. The order is:
    model, target, default, nobody. The rules tried are appended to ``tried``, in order.
    """
    tried = [] if tried is None else tried
    source = "default"
    if broken:
        source = f"default ({_recordable_name(broken)} is broken)"
        tried.append(Tried(broken, False, "it cannot be read, so no pack is trusted to be the first match"))
    else:
        found = _match(packs, provider, model, tried)
        for holder in found:
            if holder.routing:
                tried.append(Tried(holder.source, True, f"it is routed to {_whom(holder.routing)}"))
                return _to(holder.routing, holder.source, tree)
            tried.append(Tried(holder.source, False, "it matches but has no escalation_routing"))
    if default:
        tried.append(
            Tried(
                "policies/settings.yaml#default_route", True, f"nothing before it decides: {_whom(default)}"
            )
        )
    else:
        tried.append(Tried("default", True, "nothing decides and there is no default_route: anyone"))
    return _to(default, source, tree)


@dataclass(frozen=True)
class _Holder:
    """A model or a target that matches, and its routing, if any."""

    source: str
    routing: Fallback | None


def _match(
    packs: Sequence[Pack], provider: str | None, model: str | None, tried: list[Tried]
) -> tuple[_Holder, ...]:
    """All matches, the most specific first."""
    for pack in packs:
        if not pack.enabled:
            tried.append(Tried(pack.file, False, "the pack is disabled"))
            continue
        for target in pack.targets:
            where = f"{_recordable_name(pack.file)}#{dotted(target.path)}"
            entry = _entry_for_model(target, model)
            if provider is not None and target.target_id != provider:
                tried.append(Tried(where, False, f"its id is {target.target_id}, not {provider}"))
            elif provider is None and entry is None:
                asked = "no model is named" if model is None else f"it does not offer {model}"
                tried.append(Tried(where, False, asked))
            else:
                whole = _Holder(where, target.routing)
                if entry is None or not entry.path:
                    return (whole,)
                return (_Holder(f"{where}.{dotted(entry.path)}", entry.routing), whole)
    return ()


def _entry_for_model(target: Target, model: str | None) -> ModelEntry | None:
    """The target's entry for a model. A model id has priority over an alias."""
    if model is None:
        return None
    for entry in target.models:
        if entry.model_id == model:
            return entry
    for entry in target.models:
        if model in entry.aliases:
            return entry
    return None


def _whom(whom: Fallback) -> str:
    return f"team {whom.team_id}" if whom.team_id else f"user {whom.user_id}"


def _to(whom: Fallback | None, source: str, tree: str | None) -> Route:
    return Route(
        team_id=whom.team_id if whom else None,
        user_id=whom.user_id if whom else None,
        source=source,
        policies=tree,
    )


def _recordable_name(file: str) -> str:
    """A file's name in a form that fits into a record. A strange name must not lose an escalation."""
    seen = visible(file)
    return seen if len(seen) <= LONGEST_FILE else f"{seen[: LONGEST_FILE - 1]}…"
