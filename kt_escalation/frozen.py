"""`dataclass` for frozen classes and for those that are compared by identity, made in less time.

The standard library compiles up to six methods for each class. A command loads some sixty of them and makes values of
a third, so this took a third of its time. Comparison, hash and text are functions that all classes share here, and
`__init__` is compiled by the standard library when the first value is made.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        """The decorator of the standard library, with the same options and the same result."""
        if cls is None and options == {"frozen": True}:
            return _frozen
        if cls is None and options == {"eq": False}:
            return _open
        return dataclasses.dataclass(cls, **options)


def _frozen(cls: type) -> Any:
    made = _open(cls, frozen=True)
    compared = [field.name for field in dataclasses.fields(made) if field.compare]
    made._compared = staticmethod(attrgetter(*compared) if compared else _nothing)
    _share(made, {"__eq__": _equal, "__hash__": _hash, "__setattr__": _set, "__delattr__": _delete})
    return made


def _open(cls: type, *, frozen: bool = False) -> Any:
    has_init = "__init__" in cls.__dict__
    made: Any = dataclasses.dataclass(init=False, eq=False, repr=False)(cls)
    if not has_init:
        made.__init__ = _Init(made, frozen=frozen)
    _share(made, {"__repr__": _text})
    return made


def _share(made: Any, functions: dict[str, Any]) -> None:
    for name, function in functions.items():
        # As in the standard library, what a class has of its own stays. Python takes the hash from one that compares.
        if made.__dict__.get(name) is None:
            setattr(made, name, function)


class _Init:
    """The `__init__` of a class, which takes the place of this one when it is first asked for."""

    def __init__(self, made: Any, *, frozen: bool) -> None:
        self._made, self._frozen = made, frozen

    def __get__(self, instance: object, owner: type) -> Any:
        made = self._made
        fields = [(field.name, field.type, _copied(field)) for field in dataclasses.fields(made)]
        # For a class without a docstring, the standard library writes one.
        own: dict[str, Any] = {"__doc__": "Only its `__init__` is used."}
        if hasattr(made, "__post_init__"):
            own["__post_init__"] = made.__post_init__
        twin: Any = dataclasses.make_dataclass(
            made.__name__, fields, frozen=self._frozen, eq=False, repr=False, namespace=own
        )
        twin.__init__.__qualname__ = f"{made.__qualname__}.__init__"
        made.__init__ = twin.__init__
        return made.__init__ if instance is None else made.__init__.__get__(instance, owner)


def _copied(field: dataclasses.Field[Any]) -> Any:
    make: Any = dataclasses.field
    return make(
        default=field.default, default_factory=field.default_factory, init=field.init, kw_only=field.kw_only
    )


def _nothing(_: object) -> tuple[()]:
    return ()


def _equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._compared(self) == self._compared(other)


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _text(self: Any) -> str:
    shown = (field.name for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def _set(_: object, name: str, value: object) -> None:  # noqa: ARG001 - the standard library's parameters
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(_: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
